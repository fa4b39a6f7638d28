/** Room names that look alike lead to one room, and no other names do. */
import { assertEquals } from "@std/assert";
import { RoomLookalikes } from "../../chat/storage/room_lookalikes.ts";
import { Confusables } from "../../chat/nicknames/confusables.ts";
import { systemClock } from "../../chat/base/clock.ts";
import { TestServer } from "../support/test_server.ts";
import { eventually } from "../support/wait.ts";
import { JsonClient } from "../support/json_client.ts";

/** Joins, and returns the name of the room that the client is in then, or the error code. */
async function join(client: JsonClient, room: string): Promise<string> {
  const heard = await client.requestAll({ type: "join", room });
  const joined = heard.findLast(({ type }) => type === "joined");
  return joined?.room ?? heard.at(-1)!.code;
}

Deno.test("a room name that reads as ASCII, or has other spaces, leads to the room of the ASCII name", async () => {
  await using server = await TestServer.open({ rateLimits: "off" });
  const ann = await JsonClient.login(server, "Ann", "general");
  const bob = await JsonClient.login(server, "Bob");
  const lookalikes = [
    "gеnеrаl",
    "ｇｅｎｅｒａｌ",
    " general ",
    "\u00a0general",
    "𝐠𝐞𝐧𝐞𝐫𝐚𝐥",
    "ⓖⓔⓝⓔⓡⓐⓛ",
    "generaⅼ",
  ];
  for (const name of lookalikes) {
    assertEquals(await join(bob, name), "general", name);
    await ann.expect({ type: "joined", room: "general", nick: "Bob" });
    await bob.requestAll({ type: "leave", room: name });
    await ann.expect({ type: "left", room: "general", nick: "Bob" });
  }
  assertEquals(await join(bob, "the\u3000 red\u00a0room"), "the red room");
  for (const blank of [" ", "\u00a0\u2003", "\u3000"]) {
    assertEquals(await join(bob, blank), "bad-room");
  }
});

Deno.test("ASCII room names that differ in one character, or in case, are different rooms", async () => {
  await using server = await TestServer.open();
  const ann = await JsonClient.login(server, "Ann");
  for (const name of ["l1", "11", "Red", "red", "rn", "m"]) {
    assertEquals(await join(ann, name), name);
  }
});

Deno.test("the second of two room names that look alike leads to the room of the first", async () => {
  await using server = await TestServer.open({ rateLimits: "off" });
  const ann = await JsonClient.login(server, "Ann");
  const bob = await JsonClient.login(server, "Bob");
  const alike = [
    ["привет", "пpивeт"],
    ["Привет", "Пpивeт"],
    ["カラオケ", "力ラオケ"],
    ["café", "cafе\u0301"],
    ["❤️", "❤"],
    ["חדר 12", "12 חדר"],
  ];
  for (const [first, second] of alike) {
    assertEquals(await join(ann, first!), first!.normalize("NFC"));
    assertEquals(await join(bob, second!), first!.normalize("NFC"), second);
  }
  for (const name of ["привет!", "日本", "דנה", "חדר 21", "دردشة", "ПРИВЕТ"]) {
    assertEquals(await join(bob, name), name);
  }
});

Deno.test("a lookalike of the current room's name works for messages and for history", async () => {
  await using server = await TestServer.open();
  const ann = await JsonClient.login(server, "Ann", "привет");
  await ann.sendMessage("hi", { room: "пpивeт" });
  const { room, events } = await ann.request({ type: "history", room: " пpивeт" });
  assertEquals([room, events.length], ["привет", 1]);
  await ann.expectError({ type: "message", text: "BOO", room: "пока" }, "not-in-room");
  await ann.expectError({ type: "history", room: "пока" }, "not-allowed");
});

Deno.test("with open history a lookalike of a room's name returns the history of that room", async () => {
  await using server = await TestServer.open({ openHistory: true });
  const ann = await JsonClient.login(server, "Ann", "привет");
  const bob = await JsonClient.login(server, "Bob");
  await ann.sendMessage("hi");
  const { room, events } = await bob.request({ type: "history", room: "пpивeт" });
  assertEquals([room, events.length], ["привет", 1]);
});

Deno.test("concurrent joins by names that look alike end in one room", async () => {
  await using server = await TestServer.open({ rateLimits: "off" });
  const people = await Promise.all(
    Array.from({ length: 8 }, (_, i) => JsonClient.login(server, `p${i}`)),
  );
  for (const [i, each] of people.entries()) {
    each.send({ type: "join", room: i % 2 ? "привет" : "пpивeт" });
  }
  const rooms = await Promise.all(people.map(async (each) => {
    let line = await each.next();
    while (line.type !== "joined") line = await each.next();
    return line.room;
  }));
  assertEquals(new Set(rooms).size, 1);
  const heard = await people[0]!.requestAll({ type: "rooms" });
  assertEquals(heard.at(-1)!.rooms, [{ room: rooms[0], people: 8 }]);
});

Deno.test("the lookalike row of an empty room expires with its history, and a join keeps it", async () => {
  await using server = await TestServer.open();
  const ann = await JsonClient.login(server, "Ann", "привет");
  const look = ["room_look", new Confusables().lookOfRoom("привет")!];
  const row = async () => (await server.kv.get<{ v: 1; room: string; empty: boolean }>(look)).value;
  assertEquals((await row())?.empty, false);
  await ann.requestAll({ type: "leave", room: "привет" });
  await eventually(async () => (await row())?.empty === true, "the row may expire");
  assertEquals(await join(ann, "пpивeт"), "привет");
  assertEquals(await row(), { v: 1, room: "привет", empty: false });
});

Deno.test("without history the lookalike row is removed with the room", async () => {
  await using server = await TestServer.open({ historySeconds: 0 });
  const ann = await JsonClient.login(server, "Ann", "привет");
  await ann.requestAll({ type: "leave", room: "привет" });
  const rows = async () => {
    const found = [];
    for await (const { key } of server.kv.list({ prefix: ["room_look"] })) found.push(key);
    return found.length;
  };
  await eventually(async () => await rows() === 0, "the row is removed");
  assertEquals(await join(ann, "пpивeт"), "пpивeт");
});

Deno.test("RoomLookalikes ignores rows in forms that it does not know", async () => {
  using kv = await Deno.openKv(":memory:");
  const confusables = new Confusables();
  const lookOfRoom = (name: string) => confusables.lookOfRoom(name);
  const lookalikes = new RoomLookalikes({
    kv,
    clock: systemClock,
    emptyRoomMs: 1000,
    lookOfRoom,
  });
  await kv.set(["room_look", lookOfRoom("привет")!], "something newer");
  assertEquals((await lookalikes.forJoin("привет")).room, "привет");
  assertEquals((await lookalikes.forRemoval("привет")).mutations, []);
  assertEquals(await lookalikes.forJoin("red"), { room: "red", checks: [], mutations: [] });
});
