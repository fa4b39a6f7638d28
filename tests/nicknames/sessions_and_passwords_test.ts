/** Passwords and resume tokens of registered nicknames, and where passwords must never appear. */
import { assert, assertEquals } from "@std/assert";
import { Speaker } from "../support/json_client.ts";
import { openTwo, ownedReply, SECRET } from "../support/registrations.ts";
import { eventually, House } from "../support/test_server.ts";

/** Returns the resume token of a client's welcome. */
function tokenOf({ person }: Speaker): string {
  const lines = person.transcript.map((line) => JSON.parse(line));
  return lines.find(({ type }) => type === "welcome").token;
}

Deno.test("a resumed session needs no password, and its nickname stays registered", async () => {
  using kv = await Deno.openKv(":memory:");
  await using houses = await openTwo(kv);
  const ann = await Speaker.enter(houses.one, "сосо", "red");
  await ann.asks({ type: "register", password: SECRET });
  const token = tokenOf(ann);
  const back = await Speaker.connect(houses.other);
  const welcome = await back.hearsUntilAnswer({ type: "resume", token });
  assertEquals([welcome.at(-1)!.nick, welcome.at(-1)!.registered], ["сосо", true]);
  assertEquals((await ann.person.closed).code, 4001);
  await back.hears({ type: "joined" }, { type: "resumed" });
  await back.asks({ type: "password", password: SECRET, new: "battery-staple" });
  await back.person.leave();
  await eventually(
    async () => typeof (await kv.get(["nick", "сосо"])).value === "object",
    "the claim is kept",
  );
  const eve = await Speaker.connect(houses.one);
  await eve.isRefused({ type: "login", nick: "сосо" }, "nickname-registered");
  await eve.isRefused({ type: "login", nick: "coco" }, "nickname-taken");
});

Deno.test("/password invalidates older resume tokens and sends a new one, in both protocols", async () => {
  await using house = await House.open();
  const resume = async (token: string) => {
    const speaker = await Speaker.connect(house);
    return await speaker.asks({ type: "resume", token });
  };
  const ann = await Speaker.connect(house);
  const { token: old } = await ann.asks({ type: "login", nick: "Ann" });
  await ann.asks({ type: "register", password: SECRET });
  const other = "another-horse";
  // A wrong password changes nothing.
  await ann.isRefused({ type: "password", password: other, new: other }, "wrong-password");
  const changed = await ann.asks({ type: "password", password: SECRET, new: other });
  assertEquals([changed.type, typeof changed.token], ["ok", "string"]);
  assertEquals((await resume(old)).code, "bad-token");
  assertEquals((await ann.asks({ type: "ping" })).type, "pong");
  assertEquals((await resume(changed.token)).type, "welcome");

  const bob = await house.connect("?resume=");
  await bob.asks("Bob", "Using nickname: Bob\nType /help for list of commands.");
  const how = /\?resume=([\w-]+)/;
  const [, first] = how.exec(await bob.next())!;
  await bob.asks(`/register ${SECRET}`, ownedReply("Bob"));
  await bob.asks(`/password ${SECRET} ${other}`, "Password changed.");
  const [, second] = how.exec(await bob.next())!;
  assertEquals((await resume(first!)).code, "bad-token");
  assertEquals((await resume(second!)).type, "welcome");
});

Deno.test("a password appears in no message, history, log or KV row", async () => {
  await using house = await House.open();
  const bob = await house.enter("Bob", "red");
  const ann = await house.enter("Ann", "red");
  await bob.hears("Ann joined room.");
  const words = ["pass-for-all-1", "pass-for-all-2", "pass-for-all-3"];
  await ann.asks(`/register ${words[0]}`, ownedReply("Ann"));
  await ann.asks(
    `/register  ${words[0]}  extra`,
    "Usage: /register {password} (no spaces)",
  );
  const slipped =
    "Not sent: that looks like a command with a password. Remove the space before the /.";
  for (const blank of [" ", "\t", "   "]) await ann.asks(`${blank}/identify ${words[0]}`, slipped);
  await ann.asks(` /Register ${words[0]}`, slipped);
  await ann.asks(`/password ${words[0]} ${words[1]}`, "Password changed.");
  await ann.asks(`/identify ${words[2]}`, "Wrong password.");
  await ann.asks(`/unregistre ${words[1]}`, "Unknown command: unregistre");
  const speaker = await Speaker.enter(house, "Cy", "red");
  await bob.hears("Cy joined room.");
  await ann.hears("Cy joined room.");
  for (const type of ["register", "identify", "password", "unregister"]) {
    const { message } = await speaker.asks({
      type,
      password: { is: words[0] },
      nick: "Ann",
      new: words[1],
    });
    assert(!JSON.stringify(message).includes("pass-for"), message);
  }
  // Any other line that begins with a blank is a message.
  await ann.asks(" /registered mail", "Ann:  /registered mail");
  await bob.hears("Ann:  /registered mail");
  await bob.hearsNothingElse();
  bob.say("/history");
  assert((await bob.next()).includes("mail"));
  const seen = [
    ...bob.transcript,
    ...ann.transcript,
    ...speaker.person.transcript,
    ...house.warnings,
  ];
  for await (const { key, value } of house.kv.list({ prefix: [] })) {
    seen.push(
      JSON.stringify([key, value], (_, each) => typeof each === "bigint" ? `${each}` : each),
    );
  }
  for (const word of words) assert(!seen.join("\n").includes(word), word);
});
