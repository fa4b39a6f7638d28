/** Read markers over real sockets: they only move forward, and belong to the user. */
import { assert, assertEquals } from "@std/assert";
import { JsonClient, type JsonObject } from "../support/json_client.ts";
import { TestServer } from "../support/test_server.ts";

/** Returns what a new session of a registered user is told about a room. */
async function stateOf(server: TestServer, nick: string, room: string): Promise<JsonObject> {
  const client = await JsonClient.identify(server, nick);
  client.connection.socket.close(1000);
  await client.connection.closed;
  return client.welcome.rooms.find((each: JsonObject) => each.room === room);
}

Deno.test("read moves the marker of a room for all sessions of the user, and tells only these", async () => {
  await using server = await TestServer.open();
  const ann = await JsonClient.register(server, "Ann", "red");
  const phone = await JsonClient.identify(server, "Ann");
  const bob = await JsonClient.login(server, "Bob", "red");
  const joined = (await ann.next()).id;
  assertEquals(await stateOf(server, "Ann", "red"), { room: "red", joined: false });
  const ids = [];
  for (const text of ["one", "two", "three"]) ids.push(await bob.sendMessage(text));
  await ann.expect({ text: "one" }, { text: "two" }, { text: "three" });
  await ann.sendMessage("my own");
  await bob.expect({ text: "my own" });
  const read = { type: "read", room: "red" };
  for (const [id, unread] of [[joined, 3], [ids[0], 2], [ids[2], 0]] as const) {
    const heard = await ann.requestAll({ ...read, id });
    assertEquals(heard.at(-1), { type: "ok", ref: heard.at(-1)!.ref });
    await phone.expect({ type: "read", room: "red", id });
    assertEquals(await stateOf(server, "Ann", "red"), {
      room: "red",
      joined: false,
      read: id,
      unread,
    });
  }
  await phone.expectNothingElse();
  await bob.expectNothingElse();
});

Deno.test("a marker that would go back, or stays, is answered with ok, and no session is told", async () => {
  await using server = await TestServer.open();
  const ann = await JsonClient.register(server, "Ann", "red");
  const [first, second] = [await ann.sendMessage("one"), await ann.sendMessage("two")];
  const read = { type: "read", room: "red" };
  assertEquals((await ann.requestAll({ ...read, id: second })).map(({ type }) => type), [
    "read",
    "ok",
  ]);
  for (const id of [first, second]) {
    assertEquals((await ann.request({ ...read, id })).type, "ok");
  }
  assertEquals((await stateOf(server, "Ann", "red")).read, second);
});

Deno.test("of markers that many sessions move at once the furthest stays, and the sessions see them grow", async () => {
  using kv = await Deno.openKv(":memory:");
  await using one = await TestServer.open({ kv, local: false, rateLimits: "off" });
  await using other = await TestServer.open({ kv, local: false, rateLimits: "off" });
  const ann = await JsonClient.register(one, "Ann", "red");
  const ids: string[] = [];
  for (let i = 0; i < 40; i++) ids.push(await ann.sendMessage(`${i}`));
  const sessions = await Promise.all(
    [one, one, other, other].map((server) => JsonClient.identify(server, "Ann", "red")),
  );
  const newest = ids.at(-1)!;
  // Each session sends some of them, in an order of its own.
  await Promise.all(sessions.map(async (client, i) => {
    const own = ids.filter((_, n) => n % 4 === i);
    for (const id of i % 2 ? own : own.toReversed()) {
      const { type, message } = (await client.requestAll({ type: "read", room: "red", id })).at(
        -1,
      )!;
      assertEquals(type, "ok", message);
    }
  }));
  const state = await stateOf(one, "Ann", "red");
  assertEquals([state.read, state.unread], [newest, 0]);
  for (const { connection } of sessions) {
    const seen = connection.received.map((line) => JSON.parse(line))
      .filter(({ type }) => type === "read").map(({ id }) => id);
    assertEquals(seen, seen.toSorted());
    assertEquals(new Set(seen).size, seen.length);
  }
});

Deno.test("a marker that names nothing, or nothing that the user may read, is refused with one line", async () => {
  await using server = await TestServer.open();
  const ann = await JsonClient.register(server, "Ann", "red");
  const bob = await JsonClient.register(server, "Bob", "blue");
  const eve = await JsonClient.login(server, "Eve", "red");
  await ann.expect({ type: "joined", nick: "Eve" });
  const id = await ann.sendMessage("hello");
  const direct = (await ann.requestAll({ type: "direct", to: "Eve", text: "psst" })).at(-1)!.id;
  const elsewhere = await bob.sendMessage("elsewhere");
  await eve.expect({ text: "hello" }, { text: "psst" });
  const later = `z${"f".repeat(20)}`;
  const cases: [JsonClient, object, string][] = [
    [eve, { room: "red", id }, "not-identified"],
    [eve, { with: ann.user, id: direct }, "not-identified"],
    [ann, { room: "blue", id: elsewhere }, "not-in-room"],
    [ann, { room: "nowhere", id }, "not-in-room"],
    [ann, { room: "", id }, "not-in-room"],
    [ann, { id }, "bad-request"],
    [ann, { room: "red", with: bob.user, id }, "bad-request"],
    [ann, { room: "red" }, "bad-request"],
    [ann, { room: "red", id: "x".repeat(65) }, "bad-request"],
    // A conversation that does not exist, or is not kept.
    [ann, { with: bob.user, id }, "no-such-message"],
    [ann, { with: eve.user, id: direct }, "no-such-message"],
    [ann, { with: "nobody", id }, "no-such-message"],
    ...["", "~", "hello", "\u0000", "é", later].map(
      (id): [JsonClient, object, string] => {
        return [ann, { room: "red", id }, "no-such-message"];
      },
    ),
  ];
  for (const [client, fields, code] of cases) {
    await client.expectError({ type: "read", ...fields }, code);
  }
  assertEquals(await stateOf(server, "Ann", "red"), { room: "red", joined: false });
  // An earlier event of another room is only a place in the one order.
  assert(elsewhere > id);
  await ann.requestAll({ type: "read", room: "red", id });
  assertEquals((await stateOf(server, "Ann", "red")).read, id);
  for (const client of [ann, bob, eve]) await client.expectNothingElse();
  assertEquals(server.warnings, []);
});

Deno.test("unread messages are counted up to 100, without deleted ones and one's own", async () => {
  await using server = await TestServer.open({ rateLimits: "off" });
  const ann = await JsonClient.register(server, "Ann", "red");
  const first = await ann.sendMessage("first");
  const bob = await JsonClient.login(server, "Bob", "red");
  await ann.requestAll({ type: "read", room: "red", id: first });
  const ids: string[] = [];
  for (let i = 0; i < 105; i++) ids.push(await bob.sendMessage(`${i}`));
  assertEquals((await stateOf(server, "Ann", "red")).unread, 100);
  await ann.requestAll({ type: "read", room: "red", id: ids[94] });
  assertEquals((await stateOf(server, "Ann", "red")).unread, 10);
  await bob.requestAll({ type: "delete", room: "red", id: ids[100] });
  assertEquals((await stateOf(server, "Ann", "red")).unread, 9);
});

Deno.test("a marker stays when its user leaves the room and comes back", async () => {
  await using server = await TestServer.open();
  const ann = await JsonClient.register(server, "Ann", "red");
  const id = await ann.sendMessage("hello");
  await ann.requestAll({ type: "read", room: "red", id });
  await ann.requestAll({ type: "leave", room: "red" });
  await ann.join("red");
  assertEquals((await stateOf(server, "Ann", "red")).read, id);
});
