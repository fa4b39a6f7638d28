/** Who is away in a room, and who is told. */
import { assertEquals } from "@std/assert";
import { JsonClient, type JsonObject } from "../support/json_client.ts";
import { TestServer } from "../support/test_server.ts";
import { eventually } from "../support/wait.ts";

const AWAY = { type: "away", away: true }, BACK = { type: "away", away: false };

/** Returns the nicknames of the members of a room who are away. */
async function awayIn(client: JsonClient, room = "red"): Promise<string[]> {
  const { members } = await client.request({ type: "members", room });
  return members.filter(({ away }: JsonObject) => away === true)
    .map(({ nick }: JsonObject) => nick);
}

/** Sends a request, and returns the types of what arrives. */
async function typesOf(client: JsonClient, request: object): Promise<string[]> {
  return (await client.requestAll(request)).map(({ type }) => type);
}

Deno.test("a room is told once that a user is away, and once that the user is back; nobody else is told", async () => {
  await using server = await TestServer.open();
  const tim = await server.login("Tim", "red");
  const ann = await JsonClient.login(server, "Ann", "red");
  const bob = await JsonClient.login(server, "Bob", "red");
  const eve = await JsonClient.login(server, "Eve", "blue");
  await ann.expect({ type: "joined", nick: "Bob" });
  for (const away of [true, false]) {
    const heard = await ann.requestAll({ type: "away", away });
    assertEquals(heard.map(({ type }) => type), ["away", "ok"]);
    const { id, time, ...line } = await bob.next();
    assertEquals([typeof id, typeof time], ["string", "number"]);
    assertEquals(line, { type: "away", room: "red", user: ann.user, nick: "Ann", away });
    assertEquals(await awayIn(bob), away ? ["Ann"] : []);
    // The same once more changes nothing.
    assertEquals(await typesOf(ann, { type: "away", away }), ["ok"]);
  }
  for (const client of [ann, bob, eve]) await client.expectNothingElse();
  await tim.expect("Ann joined room.", "Bob joined room.");
  await tim.expectNothingElse();
  await ann.expectError({ type: "away" }, "bad-request");
  await ann.expectError({ type: "away", away: "yes" }, "bad-request");
});

Deno.test("a user is away in a room when all of its sessions there are, also by leaving and joining", async () => {
  await using server = await TestServer.open();
  const bob = await JsonClient.login(server, "Bob", "red");
  const desk = await JsonClient.register(server, "Ann", "red");
  await bob.expect({ type: "joined", nick: "Ann" });
  const phone = await JsonClient.identify(server, "Ann", "red");
  assertEquals(await typesOf(desk, AWAY), ["ok"]);
  assertEquals(await awayIn(bob), []);
  assertEquals(await typesOf(phone, AWAY), ["away", "ok"]);
  await bob.expect({ type: "away", nick: "Ann", registered: true, away: true });
  await desk.expect({ type: "away", away: true });
  assertEquals(await typesOf(phone, BACK), ["away", "ok"]);
  await bob.expect({ type: "away", nick: "Ann", away: false });
  await desk.expect({ type: "away", away: false });
  // The only session that was not away leaves, and comes again.
  await phone.requestAll({ type: "leave", room: "red" });
  await bob.expect({ type: "away", nick: "Ann", away: true });
  await desk.expect({ type: "away", away: true });
  assertEquals(await awayIn(bob), ["Ann"]);
  await phone.requestAll({ type: "join", room: "red" });
  await bob.expect({ type: "away", nick: "Ann", away: false });
  await desk.expect({ type: "away", away: false });
  // It ends.
  await phone.connection.disconnect();
  await bob.expect({ type: "away", nick: "Ann", away: true });
  await desk.expect({ type: "away", away: true });
  // Signing out keeps it, and so does a message.
  await desk.requestAll({ type: "nick", nick: "Zoe" });
  await bob.expect({ type: "nick", nick: "Ann", to: { nick: "Zoe" } });
  await desk.requestAll({ type: "message", room: "red", text: "hello" });
  await bob.expect({ type: "message", nick: "Zoe" });
  assertEquals(await awayIn(bob), ["Zoe"]);
  await bob.expectNothingElse();
});

Deno.test("who is away joins a room as away, and each of many rooms is told", async () => {
  await using server = await TestServer.open({ rateLimits: "off" });
  const rooms = Array.from({ length: 24 }, (_, n) => `room${n}`);
  const ann = await JsonClient.login(server, "Ann");
  const bob = await JsonClient.login(server, "Bob");
  for (const client of [ann, bob]) for (const room of rooms) await client.join(room);
  const told: string[] = [];
  const tell = async (count: number, expected: object) => {
    while (told.length < count) {
      const line = await bob.next();
      assertEquals({ ...line, ...expected }, line);
      told.push(line.room);
    }
    assertEquals(told.splice(0).sort(), [...rooms].sort());
  };
  await ann.requestAll(AWAY);
  await tell(rooms.length, { type: "away", nick: "Ann", away: true });
  await ann.requestAll({ type: "leave", room: "room0" });
  await bob.expect({ type: "left", room: "room0" });
  assertEquals((await typesOf(ann, { type: "join", room: "room0" })).sort(), [
    "away",
    "joined",
    "ok",
  ]);
  await bob.expect({ type: "joined", room: "room0" }, { type: "away", room: "room0", away: true });
  assertEquals(await awayIn(bob, "room0"), ["Ann"]);
  await ann.requestAll(BACK);
  await tell(rooms.length, { type: "away", nick: "Ann", away: false });
  await bob.expectNothingElse();
});

Deno.test("who is away stays so on another instance, and a client that resumes is told what it missed", async () => {
  const kv = await Deno.openKv(":memory:");
  {
    await using one = await TestServer.open({ kv, local: false });
    await using other = await TestServer.open({ kv, local: false });
    const ann = await JsonClient.login(one, "Ann", "red");
    const bob = await JsonClient.login(other, "Bob", "red");
    const joined = await ann.next();
    await ann.requestAll(AWAY);
    await bob.expect({ type: "away", nick: "Ann", away: true });
    assertEquals(await awayIn(bob), ["Ann"]);
    ann.connection.socket.close(4000);
    await ann.connection.closed;
    const back = await JsonClient.connect(other);
    const { token } = ann.welcome;
    back.send({ type: "resume", token, last: { red: joined.id } });
    const lines: JsonObject[] = [];
    while (lines.at(-1)?.type !== "resumed" || lines.at(-1)!.room !== "red") {
      lines.push(await back.next());
    }
    assertEquals(lines.filter(({ type }) => type === "away").map(({ away }) => away), [true]);
    assertEquals(await awayIn(bob), ["Ann"]);
    // The session has not forgotten it.
    const types = (await back.requestAll(AWAY)).map(({ type }) => type);
    assertEquals(types.filter((type) => type !== "resumed"), ["ok"]);
    await back.requestAll(BACK);
    await bob.expect({ type: "away", nick: "Ann", away: false });
    const cid = await JsonClient.login(one, "Cid", "red");
    await eventually(async () => (await awayIn(cid)).length === 0, "Ann is back");
  }
  kv.close();
});
