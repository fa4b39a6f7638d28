import { assert, assertEquals, assertRejects } from "@std/assert";
import { systemClock } from "../../chat/base/clock.ts";
import type { RoomEvent } from "../../chat/feed/events.ts";
import { Feed } from "../../chat/feed/feed.ts";
import { Confusables } from "../../chat/nicknames/confusables.ts";
import { Storage } from "../../chat/storage/storage.ts";
import { countingKv, eventually, feedParts, rowsOf } from "../support/test_server.ts";

const names = { confusables: new Confusables(), keepNicknames: 86_400_000, keepRooms: 86_400_000 };

/** Storage over a feed, without anything before or after them on the way of a message. */
async function open(kv: Deno.Kv, instance = "01A") {
  const events: RoomEvent[] = [];
  const parts = await feedParts(kv, instance, {
    deliver(event, at) {
      storage.apply(event, at);
      events.push(event);
      return 1;
    },
  });
  const feed = new Feed(parts);
  const storage = new Storage({ kv, feed, clock: systemClock, instance, ...names });
  await feed.open();
  const person = async (id: string, nick: string, room?: string) => {
    storage.createConnection(id);
    assertEquals((await storage.setUsername(id, nick)).outcome, "done");
    if (room !== undefined) assertEquals((await storage.setRoom(id, room)).outcome, "done");
  };
  return {
    storage,
    feed,
    events,
    person,
    [Symbol.asyncDispose]: async () => {
      await storage.deleteAll(false);
      await feed.close();
      await kv.delete(parts.lease.key);
      for await (const turn of kv.list({ prefix: parts.lease.key })) await kv.delete(turn.key);
    },
  };
}

async function keysOf(kv: Deno.Kv, ...prefix: Deno.KvKey): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of kv.list({ prefix })) keys.push(key.slice(prefix.length).join(" "));
  return keys;
}

Deno.test("every row has its mirror, through all that a connection does, and both go with it", async () => {
  using kv = await Deno.openKv(":memory:");
  await using house = await open(kv);
  const { storage } = house;
  const mirrored = async (...rows: string[]) => {
    assertEquals(await keysOf(kv, "row"), rows);
    const mirror = await keysOf(kv, "reverse_lookup");
    assertEquals(mirror.map((each) => each.split(" ").reverse().join(" ")).sort(), rows);
  };
  storage.createConnection("1");
  // Whoever has no name yet is nobody's business.
  await mirrored();
  await storage.setUsername("1", "Ann");
  await mirrored("1 username_Ann");
  await storage.setRoom("1", "red");
  await mirrored("1 room_red", "1 username_Ann");
  await storage.setUsername("1", "Anna");
  await mirrored("1 room_red", "1 username_Anna");
  await storage.removeRoom("1");
  await mirrored("1 username_Anna");
  await storage.deleteConnection("1");
  await mirrored();
  await eventually(async () => (await keysOf(kv, "room")).length === 0, "the room is gone");
  assertEquals(await keysOf(kv, "nick"), []);
  assertEquals(await keysOf(kv, "instance_row"), []);
});

Deno.test("each change is announced by one event, in the order of the changes", async () => {
  using kv = await Deno.openKv(":memory:");
  await using house = await open(kv);
  const { storage, events } = house;
  await house.person("1", "Ann", "red");
  await storage.setUsername("1", "Anna");
  await storage.removeRoom("1");
  await storage.setUsername("1", "Ann");
  await storage.setRoom("1", "red");
  await storage.deleteConnection("1");
  assertEquals(
    events.map(({ kind, nick, text }) => [kind, nick, text]),
    [
      ["join", "Ann", ""],
      ["nick", "Ann", "Anna"],
      ["leave", "Anna", ""],
      ["join", "Ann", ""],
      ["leave", "Ann", ""],
    ],
  );
});

Deno.test("of a hundred who claim one nickname at the same instant exactly one gets it", async () => {
  using kv = await Deno.openKv(":memory:");
  await using house = await open(kv);
  const { storage } = house;
  const ids = Array.from({ length: 100 }, (_, i) => `id${i}`);
  ids.forEach((id) => storage.createConnection(id));
  const outcomes = await Promise.all(
    ids.map(async (id, i) => (await storage.setUsername(id, i % 2 === 0 ? "Ann" : "ANN")).outcome),
  );
  assertEquals(outcomes.filter((each) => each === "done").length, 1);
  assertEquals(outcomes.filter((each) => each === "taken").length, 99);
  assertEquals(await keysOf(kv, "nick"), ["ann"]);
});

Deno.test("a failed check hurts only its own operation: the others of its commit are done", async () => {
  using kv = await Deno.openKv(":memory:");
  await using house = await open(kv);
  const { storage } = house;
  await house.person("0", "Ann");
  const ids = Array.from({ length: 20 }, (_, i) => `id${i}`);
  ids.forEach((id) => storage.createConnection(id));
  const outcomes = await Promise.all(
    ids.map(async (id, i) => (await storage.setUsername(id, i === 7 ? "ann" : `Bob${i}`)).outcome),
  );
  assertEquals(outcomes, ids.map((_, i) => i === 7 ? "taken" : "done"));
  assertEquals((await storage.getRecordByConnection("id7"))?.nick, "");
});

Deno.test("a nickname is free again when its owner takes another, or leaves", async () => {
  using kv = await Deno.openKv(":memory:");
  await using house = await open(kv);
  const { storage } = house;
  await house.person("1", "Ann");
  await house.person("2", "Bob");
  assertEquals((await storage.setUsername("2", "Ann")).outcome, "taken");
  await storage.setUsername("1", "Cy");
  assertEquals((await storage.setUsername("2", "ANN")).outcome, "done");
  await storage.deleteConnection("2");
  assertEquals((await storage.setUsername("1", "Ann")).outcome, "done");
});

Deno.test("changing the case of one's own nickname is no conflict", async () => {
  using kv = await Deno.openKv(":memory:");
  await using house = await open(kv);
  await house.person("1", "ann");
  assertEquals((await house.storage.setUsername("1", "Ann")).outcome, "done");
  assertEquals((await house.storage.getRecordByConnection("1"))?.nick, "Ann");
  assertEquals(await keysOf(kv, "nick"), ["ann"]);
});

Deno.test("who is in a room is one list, in order of connection id, and no read per member", async () => {
  using kv = await Deno.openKv(":memory:");
  const counting = countingKv(kv);
  await using house = await open(counting.kv);
  const ids = Array.from({ length: 300 }, (_, i) => `id${String(999 - i)}`);
  await Promise.all(ids.map((id) => house.person(id, `nick ${id}`, "red")));
  await house.person("id0", "elsewhere", "blue");
  const { gets, lists } = counting.use;
  const people = await house.storage.getConnectionIdsByRoom("red");
  assertEquals([...people.keys()], ids.toReversed());
  assertEquals(people.get("id999"), "nick id999");
  assertEquals([counting.use.gets - gets, counting.use.lists - lists], [0, 1]);
});

Deno.test("rooms are listed by name, each once, without those whom everybody left", async () => {
  using kv = await Deno.openKv(":memory:");
  const counting = countingKv(kv);
  await using house = await open(counting.kv);
  const { storage } = house;
  await house.person("1", "Ann", "red");
  await house.person("2", "Bob", "red");
  await house.person("3", "Cy", "blue");
  const { gets, lists } = counting.use;
  assertEquals([...await storage.listRooms()], [["blue", 1], ["red", 2]]);
  assertEquals([counting.use.gets - gets, counting.use.lists - lists], [0, 1]);
  await storage.removeRoom("3");
  await storage.removeRoom("1");
  assertEquals([...await storage.listRooms()], [["red", 1]]);
  await storage.deleteConnection("2");
  assertEquals([...await storage.listRooms()], []);
  await eventually(async () => (await keysOf(kv, "room")).length === 0, "the rooms are gone");
});

Deno.test("a record is known for connections of other instances too", async () => {
  using kv = await Deno.openKv(":memory:");
  await using one = await open(kv, "01A");
  await using other = await open(kv, "01B");
  await one.person("1", "Ann", "red");
  assertEquals(await other.storage.getRecordByConnection("1"), {
    id: "1",
    nick: "Ann",
    room: "red",
  });
  assertEquals(await other.storage.getConnectionByNickname("ANN"), "1");
  assertEquals(await other.storage.getRecordByConnection("2"), undefined);
  assertEquals(await other.storage.getConnectionByNickname("Bob"), undefined);
});

Deno.test("sweeping removes all rows of a dead instance and announces its people, once", async () => {
  using kv = await Deno.openKv(":memory:");
  {
    const dead = await open(kv, "01A");
    await dead.person("1", "Ann", "red");
    await dead.person("2", "Bob");
    dead.storage.createConnection("3");
    dead.storage.abandon();
    await dead.feed.close();
  }
  await using alive = await open(kv, "01B");
  await alive.person("9", "Zoe", "red");
  const key = ["instance", "01A"];
  const claim = { key, versionstamp: (await kv.get(key)).versionstamp };
  const swept = await Promise.all([
    alive.storage.cleanUp("01A", claim, false),
    alive.storage.cleanUp("01A", { key, versionstamp: "00000000000000000001" }, false),
  ]);
  assertEquals(swept, [{ gone: 2, left: 0 }, undefined]);
  assertEquals(alive.events.map(({ kind, nick }) => `${kind} ${nick}`), ["join Zoe", "leave Ann"]);
  assertEquals(await keysOf(kv, "row"), ["9 room_red", "9 username_Zoe"]);
  assertEquals(await keysOf(kv, "instance_row"), ["01B 9"]);
  assertEquals([...await alive.storage.listRooms()], [["red", 1]]);
  await kv.delete(key);
  for await (const turn of kv.list({ prefix: key })) await kv.delete(turn.key);
});

Deno.test("rows of another version of the program are passed over", async () => {
  using kv = await Deno.openKv(":memory:");
  await using house = await open(kv);
  await house.person("1", "Ann", "red");
  await kv.set(["reverse_lookup", "room_red", "2"], { v: 9, who: "?" });
  await kv.set(["reverse_lookup", "room_red", "3"], "text");
  await kv.set(["room", "strange"], "not a number");
  await kv.set(["nick", "bob"], { not: "an id" });
  assertEquals([...await house.storage.getConnectionIdsByRoom("red")], [["1", "Ann"]]);
  assertEquals([...await house.storage.listRooms()], [["red", 1]]);
  assertEquals(await house.storage.getConnectionByNickname("bob"), undefined);
  await kv.delete(["reverse_lookup", "room_red", "2"]);
  await kv.delete(["reverse_lookup", "room_red", "3"]);
});

Deno.test("misuse by code is an error: a verb for a connection that does not exist", async () => {
  using kv = await Deno.openKv(":memory:");
  await using house = await open(kv);
  await assertRejects(() => house.storage.setRoom("nobody", "red"), TypeError);
  assert((await rowsOf(kv)).every(([first]) => first === "instance"));
});

Deno.test("of several tries to take a connection over the one that turns out to be written has it", async () => {
  using kv = await Deno.openKv(":memory:");
  await using one = await open(kv);
  one.storage.createConnection("1");
  await one.storage.setUsername("1", "Ann", "first");
  // Whatever is handed in is on its way for ever.
  const feed = { submit: () => {} } as unknown as Feed;
  const storage = new Storage({ kv, feed, clock: systemClock, instance: "01B", ...names });
  const found = (await storage.find("first"))!;
  for (const token of ["a", "b", "c"]) void storage.takeOver(found, token);
  storage.cancelTakeover("1", "c");
  const came: RoomEvent = {
    ...{ kind: "resume", room: "", id: "1", nick: "Ann", text: "01B", time: 0 },
    cid: "c",
  };
  storage.apply(came, "i001");
  assertEquals(storage.session("1"), undefined);
  storage.apply({ ...came, cid: "a" }, "i002");
  assertEquals(storage.session("1")?.tokens, ["a", "first"]);
  // Told late, by another shard: it has been taken over since.
  storage.apply({ ...came, cid: "b" }, "i001");
  assertEquals(storage.session("1")?.tokens, ["a", "first"]);
});
