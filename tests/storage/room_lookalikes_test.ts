/** Rooms that look alike are one room, and only those. */
import { assertEquals } from "@std/assert";
import { RoomLooks } from "../../chat/storage/room_lookalikes.ts";
import { Confusables } from "../../chat/nicknames/confusables.ts";
import { systemClock } from "../../chat/base/clock.ts";
import { eventually, House } from "../support/test_server.ts";
import { Speaker } from "../support/json_client.ts";

/** Joins, and returns the name of the room that it turned out to be. */
async function joins(speaker: Speaker, room: string): Promise<string> {
  const heard = await speaker.hearsUntilAnswer({ type: "join", room });
  const joined = heard.findLast(({ type }) => type === "joined");
  return joined?.room ?? heard.at(-1)!.code;
}

Deno.test("a name that reads as ASCII, or has other spaces, leads to the room of that name", async () => {
  await using house = await House.open({ flood: "off" });
  const ann = await Speaker.enter(house, "Ann", "general");
  const bob = await Speaker.enter(house, "Bob");
  for (
    const name of [
      ...[
        "gеnеrаl",
        "ｇｅｎｅｒａｌ",
        " general ",
        "\u00a0general",
        "𝐠𝐞𝐧𝐞𝐫𝐚𝐥",
        "ⓖⓔⓝⓔⓡⓐⓛ",
        "generaⅼ",
      ],
    ]
  ) {
    assertEquals(await joins(bob, name), "general", name);
    await ann.hears({ type: "joined", room: "general", nick: "Bob" });
    await bob.hearsUntilAnswer({ type: "leave" });
    await ann.hears({ type: "left", room: "general", nick: "Bob" });
  }
  assertEquals(await joins(bob, "the\u3000 red\u00a0room"), "the red room");
  for (const blank of [" ", "\u00a0\u2003", "\u3000"]) {
    assertEquals(await joins(bob, blank), "bad-room");
  }
});

Deno.test("rooms of plain ASCII are told apart by every character and by case", async () => {
  await using house = await House.open();
  const ann = await Speaker.enter(house, "Ann");
  for (const name of ["l1", "11", "Red", "red", "rn", "m"]) {
    assertEquals(await joins(ann, name), name);
  }
});

Deno.test("of two names that look alike the second leads to the room of the first", async () => {
  await using house = await House.open({ flood: "off" });
  const ann = await Speaker.enter(house, "Ann");
  const bob = await Speaker.enter(house, "Bob");
  const alike = [
    ["привет", "пpивeт"],
    ["Привет", "Пpивeт"],
    ["カラオケ", "力ラオケ"],
    ["café", "cafе\u0301"],
    ["❤️", "❤"],
    ["חדר 12", "12 חדר"],
  ];
  for (const [first, second] of alike) {
    assertEquals(await joins(ann, first!), first!.normalize("NFC"));
    assertEquals(await joins(bob, second!), first!.normalize("NFC"), second);
  }
  for (const name of ["привет!", "日本", "דנה", "חדר 21", "دردشة", "ПРИВЕТ"]) {
    assertEquals(await joins(bob, name), name);
  }
});

Deno.test("who names the room as it is not written says something in it, and reads its history", async () => {
  await using house = await House.open();
  const ann = await Speaker.enter(house, "Ann", "привет");
  await ann.says("hi", { room: "пpивeт" });
  const { room, events } = await ann.asks({ type: "history", room: " пpивeт" });
  assertEquals([room, events.length], ["привет", 1]);
  await ann.isRefused({ type: "message", text: "BOO", room: "пока" }, "not-in-room");
  await ann.isRefused({ type: "history", room: "пока" }, "not-allowed");
});

Deno.test("with open history a name that looks like a room's gives the history of that room", async () => {
  await using house = await House.open({ openHistory: true });
  const ann = await Speaker.enter(house, "Ann", "привет");
  const bob = await Speaker.enter(house, "Bob");
  await ann.says("hi");
  const { room, events } = await bob.asks({ type: "history", room: "пpивeт" });
  assertEquals([room, events.length], ["привет", 1]);
});

Deno.test("of many who join lookalikes at the same instant all are in one room", async () => {
  await using house = await House.open({ flood: "off" });
  const people = await Promise.all(
    Array.from({ length: 8 }, (_, i) => Speaker.enter(house, `p${i}`)),
  );
  for (const [i, each] of people.entries()) {
    each.say({ type: "join", room: i % 2 ? "привет" : "пpивeт" });
  }
  const rooms = await Promise.all(people.map(async (each) => {
    let line = await each.next();
    while (line.type !== "joined") line = await each.next();
    return line.room;
  }));
  assertEquals(new Set(rooms).size, 1);
  const heard = await people[0]!.hearsUntilAnswer({ type: "rooms" });
  assertEquals(heard.at(-1)!.rooms, [{ room: rooms[0], people: 8 }]);
});

Deno.test("the look of a room outlives the room as long as its history, and belongs to it again", async () => {
  await using house = await House.open();
  const ann = await Speaker.enter(house, "Ann", "привет");
  const look = ["room_look", new Confusables().lookOfRoom("привет")!];
  const row = async () => (await house.kv.get<{ v: 1; room: string; empty: boolean }>(look)).value;
  assertEquals((await row())?.empty, false);
  await ann.hearsUntilAnswer({ type: "leave" });
  await eventually(async () => (await row())?.empty === true, "the look is free to expire");
  assertEquals(await joins(ann, "пpивeт"), "привет");
  assertEquals(await row(), { v: 1, room: "привет", empty: false });
});

Deno.test("without history the look of a room goes with it", async () => {
  await using house = await House.open({ history: 0 });
  const ann = await Speaker.enter(house, "Ann", "привет");
  await ann.hearsUntilAnswer({ type: "leave" });
  const rows = async () => {
    const found = [];
    for await (const { key } of house.kv.list({ prefix: ["room_look"] })) found.push(key);
    return found.length;
  };
  await eventually(async () => await rows() === 0, "the look is removed");
  assertEquals(await joins(ann, "пpивeт"), "пpивeт");
});

Deno.test("RoomLooks passes over rows that it does not know", async () => {
  using kv = await Deno.openKv(":memory:");
  const likeness = new Confusables();
  const looks = new RoomLooks({ kv, clock: systemClock, likeness, lifetime: 1000 });
  await kv.set(["room_look", likeness.lookOfRoom("привет")!], "something newer");
  assertEquals((await looks.entered("привет")).room, "привет");
  assertEquals((await looks.emptied("привет")).mutations, []);
  assertEquals(await looks.entered("red"), { room: "red", checks: [], mutations: [] });
});
