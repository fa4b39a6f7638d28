/** Storage over a feed: rows and mirrors, events, claims, rooms, cleanup and takeover. */
import { assert, assertEquals } from "@std/assert";
import type { Operation } from "../../chat/feed/batch.ts";
import type { RoomEvent } from "../../chat/feed/events.ts";
import type { Feed } from "../../chat/feed/feed.ts";
import { Storage } from "../../chat/storage/storage.ts";
import { countingKv } from "../support/faulty_kv.ts";
import { connectionKeys } from "../support/kv_rows.ts";
import { keysOf, named, openStorage as open, STORAGE_DEFAULTS } from "../support/storage.ts";
import { eventually } from "../support/wait.ts";

Deno.test("Storage writes and removes every row together with its mirror", async () => {
  using kv = await Deno.openKv(":memory:");
  await using server = await open(kv);
  const { storage } = server;
  const mirrored = async (...rows: string[]) => {
    assertEquals(await keysOf(kv, "row"), rows);
    const mirror = await keysOf(kv, "reverse_lookup");
    assertEquals(mirror.map((each) => each.split(" ").reverse().join(" ")).sort(), rows);
  };
  storage.createConnection("1", "text");
  // A connection without a nickname has no rows.
  await mirrored();
  await storage.setUsername("1", named("Ann"));
  await mirrored("1 username_Ann");
  await storage.setRoom("1", "red");
  await mirrored("1 room_red", "1 username_Ann");
  await storage.setUsername("1", named("Anna"));
  await mirrored("1 room_red", "1 username_Anna");
  await storage.removeRoom("1", "red");
  await mirrored("1 username_Anna");
  await storage.deleteConnection("1");
  await mirrored();
  await eventually(async () => (await keysOf(kv, "room")).length === 0, "the room is gone");
  assertEquals(await keysOf(kv, "nick"), []);
  assertEquals(await keysOf(kv, "instance_row"), []);
});

Deno.test("Storage publishes one event for each change, in the order of the changes", async () => {
  using kv = await Deno.openKv(":memory:");
  await using server = await open(kv);
  const { storage, events } = server;
  await server.person("1", "Ann", "red");
  await storage.setUsername("1", named("Anna"));
  await storage.removeRoom("1", "red");
  await storage.setUsername("1", named("Ann"));
  await storage.setRoom("1", "red");
  await storage.deleteConnection("1");
  assertEquals(
    events.map(({ kind, nick, to }) => [kind, nick, to?.nick]),
    [
      ["join", "Ann", undefined],
      ["nick", "Ann", "Anna"],
      ["leave", "Anna", undefined],
      ["join", "Ann", undefined],
      ["leave", "Ann", undefined],
    ],
  );
});

Deno.test("Storage.setUsername gives a nickname to exactly one of a hundred concurrent connections", async () => {
  using kv = await Deno.openKv(":memory:");
  await using server = await open(kv);
  const { storage } = server;
  const ids = Array.from({ length: 100 }, (_, i) => `id${i}`);
  ids.forEach((id) => storage.createConnection(id, "text"));
  const outcomes = await Promise.all(
    ids.map(async (id, i) =>
      (await storage.setUsername(id, named(i % 2 === 0 ? "Ann" : "ANN"))).outcome
    ),
  );
  assertEquals(outcomes.filter((each) => each === "done").length, 1);
  assertEquals(outcomes.filter((each) => each === "conflict").length, 99);
  assertEquals(await keysOf(kv, "nick"), ["ann"]);
});

Deno.test("Storage.setUsername commits the other operations of a batch in which one check fails", async () => {
  using kv = await Deno.openKv(":memory:");
  await using server = await open(kv);
  const { storage } = server;
  await server.person("0", "Ann");
  const ids = Array.from({ length: 20 }, (_, i) => `id${i}`);
  ids.forEach((id) => storage.createConnection(id, "text"));
  const outcomes = await Promise.all(
    ids.map(async (id, i) =>
      (await storage.setUsername(id, named(i === 7 ? "ann" : `Bob${i}`))).outcome
    ),
  );
  assertEquals(outcomes, ids.map((_, i) => i === 7 ? "conflict" : "done"));
  assertEquals((await storage.getRecordByConnection("id7"))?.nick, "");
});

Deno.test("Storage frees a nickname when its holder takes another one or is deleted", async () => {
  using kv = await Deno.openKv(":memory:");
  await using server = await open(kv);
  const { storage } = server;
  await server.person("1", "Ann");
  await server.person("2", "Bob");
  assertEquals((await storage.setUsername("2", named("Ann"))).outcome, "conflict");
  await storage.setUsername("1", named("Cy"));
  assertEquals((await storage.setUsername("2", named("ANN"))).outcome, "done");
  await storage.deleteConnection("2");
  assertEquals((await storage.setUsername("1", named("Ann"))).outcome, "done");
});

Deno.test("Storage.setUsername lets a connection change the case of its own nickname", async () => {
  using kv = await Deno.openKv(":memory:");
  await using server = await open(kv);
  await server.person("1", "ann");
  assertEquals((await server.storage.setUsername("1", named("Ann"))).outcome, "done");
  assertEquals((await server.storage.getRecordByConnection("1"))?.nick, "Ann");
  assertEquals(await keysOf(kv, "nick"), ["ann"]);
});

Deno.test("Storage.getConnectionIdsByRoom reads a room with one list, in order of connection IDs", async () => {
  using kv = await Deno.openKv(":memory:");
  const counting = countingKv(kv);
  await using server = await open(counting.kv);
  const ids = Array.from({ length: 300 }, (_, i) => `id${String(999 - i)}`);
  await Promise.all(ids.map((id) => server.person(id, `nick ${id}`, "red")));
  await server.person("id0", "elsewhere", "blue");
  const { gets, lists } = counting.use;
  const people = await server.storage.getConnectionIdsByRoom("red");
  assertEquals([...people.keys()], ids.toReversed());
  assertEquals(people.get("id999"), { nick: "nick id999", account: "" });
  assertEquals([counting.use.gets - gets, counting.use.lists - lists], [0, 1]);
});

Deno.test("Storage.listRooms returns each room with members once, by name, with one list", async () => {
  using kv = await Deno.openKv(":memory:");
  const counting = countingKv(kv);
  await using server = await open(counting.kv);
  const { storage } = server;
  await server.person("1", "Ann", "red");
  await server.person("2", "Bob", "red");
  await server.person("3", "Cy", "blue");
  const { gets, lists } = counting.use;
  assertEquals([...await storage.listRooms()], [["blue", 1], ["red", 2]]);
  assertEquals([counting.use.gets - gets, counting.use.lists - lists], [0, 1]);
  await storage.removeRoom("3", "blue");
  await storage.removeRoom("1", "red");
  assertEquals([...await storage.listRooms()], [["red", 1]]);
  await storage.deleteConnection("2");
  assertEquals([...await storage.listRooms()], []);
  await eventually(async () => (await keysOf(kv, "room")).length === 0, "the rooms are gone");
});

Deno.test("Storage finds connections of other instances by ID and by nickname", async () => {
  using kv = await Deno.openKv(":memory:");
  await using one = await open(kv, "01A");
  await using other = await open(kv, "01B");
  await one.person("1", "Ann", "red", "blue");
  assertEquals(await other.storage.getRecordByConnection("1"), {
    id: "1",
    user: "1",
    nick: "Ann",
    isRegistered: false,
    rooms: ["blue", "red"],
  });
  assertEquals(await other.storage.findClaim("ann"), { connection: "1" });
  assertEquals(await other.storage.getRecordByConnection("2"), undefined);
  assertEquals(await other.storage.findClaim("bob"), undefined);
});

Deno.test("Storage.cleanUp removes all rows of a dead instance once, and announces that its clients left", async () => {
  using kv = await Deno.openKv(":memory:");
  {
    const dead = await open(kv, "01A");
    await dead.person("1", "Ann", "red");
    await dead.person("2", "Bob");
    dead.storage.createConnection("3", "text");
    await dead.crash();
  }
  await using alive = await open(kv, "01B");
  await alive.person("9", "Zoe", "red");
  const key = ["instance", "01A"];
  const claim = { key, versionstamp: (await kv.get(key)).versionstamp };
  const results = await Promise.all([
    alive.storage.cleanUp("01A", claim, false),
    alive.storage.cleanUp("01A", { key, versionstamp: "00000000000000000001" }, false),
  ]);
  assertEquals(results, [{ gone: 2, left: 0 }, undefined]);
  assertEquals(alive.events.map(({ kind, nick }) => `${kind} ${nick}`), ["join Zoe", "leave Ann"]);
  assertEquals(await keysOf(kv, "row"), ["9 room_red", "9 username_Zoe"]);
  assertEquals(await keysOf(kv, "instance_row"), ["01B 9"]);
  assertEquals([...await alive.storage.listRooms()], [["red", 1]]);
  await kv.delete(key);
  for await (const turn of kv.list({ prefix: key })) await kv.delete(turn.key);
});

Deno.test("Storage.cleanUp of many sessions needs one list, however many there are", async () => {
  using kv = await Deno.openKv(":memory:");
  const dead = await open(kv, "01A");
  const ids = Array.from({ length: 2000 }, (_, i) => `1${10_000 + i}`);
  await Promise.all(ids.map((id) => dead.person(id, `nick ${id}`, "red", "blue")));
  await dead.crash();
  const counting = countingKv(kv);
  await using alive = await open(counting.kv, "01B");
  const key = ["instance", "01A"];
  const claim = { key, versionstamp: (await kv.get(key)).versionstamp };
  const { gets, lists, commits } = counting.use;
  assertEquals(await alive.storage.cleanUp("01A", claim, false), { gone: 2000, left: 0 });
  assertEquals(counting.use.lists - lists, 1);
  assert(counting.use.gets - gets < 200, `${counting.use.gets - gets} reads`);
  assert(counting.use.commits - commits < 200, `${counting.use.commits - commits} commits`);
  assertEquals(await keysOf(kv, "row"), []);
  await kv.delete(key);
  for await (const turn of kv.list({ prefix: key })) await kv.delete(turn.key);
});

Deno.test("Storage skips rows in forms that it does not know", async () => {
  using kv = await Deno.openKv(":memory:");
  await using server = await open(kv);
  await server.person("1", "Ann", "red");
  await kv.set(["reverse_lookup", "room_red", "2"], { v: 9, who: "?" });
  await kv.set(["reverse_lookup", "room_red", "3"], "text");
  await kv.set(["room", "strange"], "not a number");
  await kv.set(["nick", "bob"], { not: "an id" });
  assertEquals([...await server.storage.getConnectionIdsByRoom("red")], [["1", {
    nick: "Ann",
    account: "",
  }]]);
  assertEquals([...await server.storage.listRooms()], [["red", 1]]);
  assertEquals(await server.storage.findClaim("bob"), undefined);
  await kv.delete(["reverse_lookup", "room_red", "2"]);
  await kv.delete(["reverse_lookup", "room_red", "3"]);
});

Deno.test("Storage changes nothing of a session that this instance does not have", async () => {
  using kv = await Deno.openKv(":memory:");
  await using server = await open(kv);
  const { storage } = server;
  const results = await Promise.all([
    storage.setRoom("nobody", "red"),
    storage.removeRoom("nobody", "red"),
    storage.setUsername("nobody", named("Ann")),
    storage.saveRegistration("nobody", { checks: [], mutations: [] }, "token"),
  ]);
  assertEquals(results.map(({ outcome }) => outcome), Array(4).fill("conflict"));
  await storage.deleteConnection("nobody");
  assert((await connectionKeys(kv)).every(([first]) => first === "instance"));
});

Deno.test("Storage.apply lets the committed one of several takeover attempts have the connection", async () => {
  using kv = await Deno.openKv(":memory:");
  await using one = await open(kv);
  one.storage.createConnection("1", "text");
  await one.storage.setUsername("1", named("Ann", "first"));
  // A feed whose operations seem to fail, and may be committed later.
  const feed = {
    submit: (_name: string, { settle }: Operation) => settle("failed"),
  } as unknown as Feed;
  const storage = new Storage({ ...STORAGE_DEFAULTS, kv, feed, instance: "01B" });
  const found = (await storage.findResumable("first"))!;
  for (const token of ["a", "b", "c"]) {
    assertEquals((await storage.takeOver(found, token)).outcome, "failed");
  }
  storage.cancelTakeover("1", "c");
  const takeover: RoomEvent = {
    kind: "resume",
    room: "",
    id: "1",
    account: "",
    nick: "Ann",
    text: "01B",
    time: 0,
    cid: "c",
  };
  storage.apply(takeover, "i001");
  assertEquals(storage.session("1"), undefined);
  storage.apply({ ...takeover, cid: "a" }, "i002");
  assertEquals(storage.session("1")?.tokens, ["a", "first"]);
  // An older event of another shard, delivered late: a later takeover replaced this one.
  storage.apply({ ...takeover, cid: "b" }, "i001");
  assertEquals(storage.session("1")?.tokens, ["a", "first"]);
});
