/** Passwords and resume tokens of registered nicknames, and where passwords must never appear. */
import { assert, assertEquals } from "@std/assert";
import { JsonClient } from "../support/json_client.ts";
import { openTwo, ownedReply, SECRET } from "../support/registrations.ts";
import { TestServer } from "../support/test_server.ts";

/** Returns the resume token of a client's welcome. */
function tokenOf({ connection: client }: JsonClient): string {
  const lines = client.received.map((line) => JSON.parse(line));
  return lines.find(({ type }) => type === "welcome").token;
}

Deno.test("a resumed session needs no password, and its nickname stays registered", async () => {
  using kv = await Deno.openKv(":memory:");
  await using houses = await openTwo(kv);
  const ann = await JsonClient.login(houses.one, "сосо", "red");
  await ann.requestAll({ type: "register", password: SECRET });
  const token = tokenOf(ann);
  const back = await JsonClient.connect(houses.other);
  const welcome = await back.request({ type: "resume", token });
  assertEquals([welcome.nick, welcome.registered, welcome.user], ["сосо", true, ann.user]);
  assertEquals((await ann.connection.closed).code, 4001);
  await back.expect({ type: "joined" }, { type: "nick" }, { type: "resumed" }, { type: "resumed" });
  await back.request({ type: "password", password: SECRET, new: "battery-staple" });
  await back.connection.disconnect();
  const eve = await JsonClient.connect(houses.one);
  await eve.expectError({ type: "login", nick: "сосо" }, "nickname-registered");
  await eve.expectError({ type: "login", nick: "coco" }, "nickname-taken");
});

Deno.test("a new password invalidates older resume tokens, and its reply has a new one", async () => {
  await using server = await TestServer.open();
  const resume = async (token: string) => {
    const client = await JsonClient.connect(server);
    return await client.request({ type: "resume", token });
  };
  const ann = await JsonClient.connect(server);
  const { token: old } = await ann.request({ type: "login", nick: "Ann" });
  await ann.request({ type: "register", password: SECRET });
  const other = "another-horse";
  // A wrong password changes nothing.
  await ann.expectError({ type: "password", password: other, new: other }, "wrong-password");
  const changed = await ann.request({ type: "password", password: SECRET, new: other });
  assertEquals([changed.type, typeof changed.token], ["ok", "string"]);
  assertEquals((await resume(old)).code, "bad-token");
  assertEquals((await ann.request({ type: "ping" })).type, "pong");
  assertEquals((await resume(changed.token)).type, "welcome");
});

Deno.test("a password appears in no message, history, log or KV row", async () => {
  await using server = await TestServer.open();
  const bob = await server.login("Bob", "red");
  const ann = await server.login("Ann", "red");
  await bob.expect("Ann joined room.");
  const words = ["pass-for-all-1", "pass-for-all-2", "pass-for-all-3"];
  await ann.request(`/register ${words[0]}`, ownedReply("Ann"));
  await ann.request(
    `/register  ${words[0]}  extra`,
    "Usage: /register {password} (no spaces)",
  );
  const slipped =
    "Not sent: that looks like a command with a password. Remove the space before the /.";
  for (const blank of [" ", "\t", "   "]) {
    await ann.request(`${blank}/identify ${words[0]}`, slipped);
  }
  await ann.request(` /Register ${words[0]}`, slipped);
  await ann.request(`/password ${words[0]} ${words[1]}`, "Password changed.");
  await ann.request(`/identify ${words[2]}`, "Wrong password.");
  await ann.request(`/unregistre ${words[1]}`, "Unknown command: unregistre");
  const client = await JsonClient.login(server, "Cy", "red");
  await bob.expect("Cy joined room.");
  await ann.expect("Cy joined room.");
  for (const type of ["register", "identify", "password", "unregister"]) {
    const { message } = await client.request({
      type,
      password: { is: words[0] },
      nick: "Ann",
      new: words[1],
    });
    assert(!JSON.stringify(message).includes("pass-for"), message);
  }
  // Any other line that begins with a blank is a message.
  await ann.request(" /registered mail", "Ann:  /registered mail");
  await bob.expect("Ann:  /registered mail");
  await bob.expectNothingElse();
  bob.send("/history");
  assert((await bob.next()).includes("mail"));
  const seen = [
    ...bob.received,
    ...ann.received,
    ...client.connection.received,
    ...server.warnings,
  ];
  for await (const { key, value } of server.kv.list({ prefix: [] })) {
    seen.push(
      JSON.stringify([key, value], (_, each) => typeof each === "bigint" ? `${each}` : each),
    );
  }
  for (const word of words) assert(!seen.join("\n").includes(word), word);
});
