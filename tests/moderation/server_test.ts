/** Moderation through the front door of a real server: HTTP, both protocols. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { standingKey } from "../../chat/kv/keys.ts";
import { subjectsOf } from "../../chat/moderation/rows.ts";
import { requestUpgrade } from "../support/raw_socket.ts";
import { JsonClient } from "../support/json_client.ts";
import { TestServer } from "../support/test_server.ts";

const NO_END = 8.64e15;

/** Stores a ban of a nickname, as an act does. */
async function banNickname(kv: Deno.Kv, room: string, nick: string, until: number) {
  const person = { user: "01GONE", isRegistered: false, address: "", claims: [nick.toLowerCase()] };
  const ban = { until, reason: "spam", by: "Olga", at: 1 };
  for (const subject of subjectsOf(person)) {
    await kv.set(standingKey(room, subject), { v: 1, nick, ban });
  }
}

Deno.test("a banned address gets 403 with the reason and the time left, at the upgrade and at GET /ws", async () => {
  using kv = await Deno.openKv(":memory:");
  const until = Date.now() + 600_000;
  await kv.set(["banned_network", "127.0.0.0/8"], { until, reason: "bots", by: "Olga", at: 1 });
  await using server = await TestServer.open({ kv });
  const { status, text, header } = await requestUpgrade(server.port);
  assertEquals(status, 403);
  assertEquals(text, "Your address is banned from this chat for another 10 minutes: bots\n");
  assertEquals(Number(header("retry-after")) > 590, true);
  const asked = await fetch(`http://127.0.0.1:${server.port}/ws`);
  assertEquals(asked.status, 403);
  assertStringIncludes(await asked.text(), "bots");
  // The page itself is served: it shows the reason.
  const page = await fetch(`http://127.0.0.1:${server.port}/`, {
    headers: { accept: "text/html" },
  });
  await page.body?.cancel();
  assertEquals(page.status, 200);
});

Deno.test("a banned nickname is refused in both protocols: at the login, at a rename, and in a room", async () => {
  using kv = await Deno.openKv(":memory:");
  await banNickname(kv, "", "Troll", NO_END);
  await banNickname(kv, "red", "Bob", NO_END);
  await using server = await TestServer.open({ kv });
  const why = '"Troll" looks like the nickname of a banned user.';
  const text = await server.connect();
  await text.request("Troll", why);
  await text.request("Bob", "Using nickname: Bob\nType /help for list of commands.");
  await text.request("/join red", '"Bob" looks like the nickname of a banned user.');
  await text.request("/nick Troll", why);
  await text.request("/join blue", 'Joined chat room "blue"');
  await text.request("/nick Rob", "Nickname is: Rob");
  await text.disconnect();
  const client = await JsonClient.connect(server);
  const refused = await client.request({ type: "login", nick: "Troll" });
  assertEquals([refused.code, refused.message], ["banned", why]);
  assertEquals((await client.request({ type: "login", nick: "Bob" })).type, "welcome");
  assertEquals((await client.request({ type: "join", room: "red" })).code, "banned");
});

Deno.test("messages of an ignored user are neither in history nor among those that a client missed", async () => {
  await using server = await TestServer.open();
  const ann = await JsonClient.login(server, "Ann", "red");
  const troll = await JsonClient.login(server, "Troll", "red");
  const cy = await JsonClient.login(server, "Cy", "red");
  // Events of the others come before the reply.
  const ask = async (client: JsonClient, request: object) =>
    (await client.requestAll(request)).at(-1)!;
  const say = async (client: JsonClient, text: string) =>
    (await ask(client, { type: "message", room: "red", text })).id as string;
  assertEquals((await ask(ann, { type: "ignore", nick: "Troll" })).type, "ok");
  await say(troll, "one");
  const last = await say(cy, "two");
  await say(troll, "three");
  const page = await ask(ann, { type: "history", room: "red" });
  assertEquals(page.events.map(({ text }: { text: string }) => text), ["two"]);
  const all = await ask(cy, { type: "history", room: "red" });
  assertEquals(all.events.length, 3);
  const { token } = ann.welcome;
  ann.connection.socket.close(3000);
  await ann.connection.closed;
  await say(troll, "four");
  await say(cy, "five");
  const back = await JsonClient.connect(server);
  const heard = await back.requestAll({ type: "resume", token, last: { red: last } });
  while (heard.at(-1)!.type !== "resumed" || heard.at(-1)!.room !== undefined) {
    heard.push(await back.next());
  }
  const texts = heard.filter(({ type }) => type === "message").map(({ text }) => text);
  assertEquals(texts, ["five"]);
  const inRoom = heard.find(({ type, room }) => type === "resumed" && room === "red")!;
  assertEquals([inRoom.recovered, inRoom.missed], [true, 1]);
  await say(troll, "six");
  await say(cy, "seven");
  assertEquals((await back.next()).text, "seven");
});

Deno.test("a plain-text client that may not enter a room keeps the room that it is in", async () => {
  using kv = await Deno.openKv(":memory:");
  await kv.set(["room_rules", "red"], { v: 1, moderators: [], locked: true });
  await using server = await TestServer.open({ kv });
  const carl = await server.login("Carl", "blue");
  await carl.request("/join red", 'Only registered users may join "red".');
  await carl.request("hi", "Carl: hi");
});
