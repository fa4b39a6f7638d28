/** Ending sessions of a user: here, on another instance, on a dead one, and against other changes. */
import { assert, assertEquals } from "@std/assert";
import { kvWith } from "../support/faulty_kv.ts";
import { keysOf, membersOf, named, openStorage, signedIn } from "../support/storage.ts";
import { ToldRooms } from "../support/told_rooms.ts";

/** Removes what a crashed instance leaves besides its sessions. */
async function removeLease(kv: Deno.Kv, instance: string): Promise<void> {
  for await (const { key } of kv.list({ prefix: ["instance", instance] })) await kv.delete(key);
  await kv.delete(["instance", instance]);
}

/** Returns the check by which an instance may clean up another one. */
async function claimOf(kv: Deno.Kv, instance: string): Promise<Deno.AtomicCheck> {
  const key = ["instance", instance];
  return { key, versionstamp: (await kv.get(key)).versionstamp };
}

Deno.test("Storage.endSession ends a session here and on another instance, with all of its rows", async () => {
  using kv = await Deno.openKv(":memory:");
  await using one = await openStorage(kv, "01A");
  await using other = await openStorage(kv, "01B");
  await one.share();
  await other.share();
  await one.person("1", signedIn("Ann", "A", "token 1"), "red", "blue");
  await one.person("2", signedIn("Ann", "A", "token 2"), "red");
  await other.person("3", signedIn("Ann", "A"), "red", "green");
  for (const id of ["2", "3"]) {
    await one.storage.reached();
    one.told();
    assertEquals(await one.storage.endSession("A", id), "done");
    await other.storage.reached();
    const told = one.told();
    assertEquals(told[0], "resume  Ann@A");
    assert(told.includes("quiet leave red Ann@A"));
    assertEquals(told.includes("leave green Ann@A"), id === "3");
    assertEquals([one.storage.session(id), other.storage.session(id)], [undefined, undefined]);
    assertEquals(await keysOf(kv, "row", id), []);
    assertEquals(await one.storage.endSession("A", id), "not-found");
  }
  assertEquals(await keysOf(kv, "instance_row"), ["01A 1"]);
  assertEquals(await keysOf(kv, "resume"), ["token 1"]);
  assertEquals([...await one.storage.listRooms()], [["blue", 1], ["red", 1]]);
  const row = (await one.storage.readUser("A"))!;
  assertEquals(row.sessions.map(({ id }) => id), ["1"]);
  assertEquals(row.rooms.get("green"), []);
});

Deno.test("Storage.endSession finds only sessions of the user", async () => {
  using kv = await Deno.openKv(":memory:");
  await using server = await openStorage(kv);
  const { storage } = server;
  await server.person("1", signedIn("Ann", "A"));
  await server.person("2", signedIn("Bob", "B"));
  await server.person("3", "Cy");
  for (
    const [user, id] of [["A", "2"], ["A", "3"], ["3", "3"], ["nobody", "1"], ["A", "x"]] as const
  ) {
    assertEquals(await storage.endSession(user, id), "not-found");
  }
  // A session that has signed out is not the user's any more.
  await storage.setUsername("1", named("Dan"));
  assertEquals(await storage.endSession("A", "1"), "not-found");
  assertEquals(storage.session("1")?.nick, "Dan");
});

Deno.test("Storage.endSession ends a session of a dead instance, before or after its cleanup", async () => {
  using kv = await Deno.openKv(":memory:");
  await using alive = await openStorage(kv, "01B");
  await alive.share();
  await alive.person("9", signedIn("Ann", "A"), "red");
  const dead = await openStorage(kv, "01A");
  await dead.person("1", signedIn("Ann", "A", "token 1"), "red", "blue");
  await dead.person("2", signedIn("Ann", "A", "token 2"), "red", "green");
  await dead.crash();
  const claim = await claimOf(kv, "01A");
  assertEquals(await alive.storage.endSession("A", "1"), "done");
  // Sessions in their grace stay.
  assertEquals(await alive.storage.cleanUp("01A", claim, false), { gone: 0, left: 1 });
  assertEquals(await alive.storage.endSession("A", "2"), "done");
  assertEquals(await alive.storage.cleanUp("01A", claim, true), { gone: 0, left: 0 });
  assertEquals([...await alive.storage.listRooms()], [["red", 1]]);
  assertEquals(await membersOf(alive.storage, "red"), ["Ann@A"]);
  await removeLease(kv, "01A");
});

Deno.test("Storage.endSession and the cleanup of the session's instance do not disturb each other", async () => {
  using kv = await Deno.openKv(":memory:");
  await using one = await openStorage(kv, "01B");
  await using other = await openStorage(kv, "01C");
  await one.share();
  await other.share();
  const dead = await openStorage(kv, "01A");
  const ids = Array.from({ length: 16 }, (_, i) => `${10 + i}`);
  for (const id of ids) await dead.person(id, signedIn("Ann", "A"), "red", "blue", "green");
  await dead.crash();
  const [cleanup, again, ...ended] = await Promise.all([
    one.storage.cleanUp("01A", await claimOf(kv, "01A"), true),
    // The other instance takes the claim away in the middle.
    kv.set(["instance", "01A"], "claimed").then(async () =>
      await other.storage.cleanUp("01A", await claimOf(kv, "01A"), true)
    ),
    ...ids.map((id, i) => (i % 2 === 0 ? one : other).storage.endSession("A", id)),
  ]);
  assertEquals([cleanup?.left ?? 0, again?.left], [0, 0]);
  for (const outcome of ended) assert(outcome !== "failed");
  await one.storage.reached();
  assertEquals(await keysOf(kv, "row"), []);
  assertEquals(await keysOf(kv, "instance_row"), []);
  assertEquals([...await one.storage.listRooms()], []);
  assertEquals((await one.storage.readUser("A"))?.sessions, []);
  const told = new ToldRooms();
  for (const event of one.events) told.apply(event);
  assertEquals(told.usersIn("red"), []);
  await removeLease(kv, "01A");
});

Deno.test("Storage: of an ending and a resume of the same moment exactly one wins", async () => {
  using kv = await Deno.openKv(":memory:");
  await using one = await openStorage(kv, "01A");
  await using other = await openStorage(kv, "01B");
  await one.share();
  await other.share();
  await one.person("0", signedIn("Ann", "A"));
  for (let i = 0; i < 20; i++) {
    const token = `token ${i}`, id = `1${i}`;
    await one.person(id, signedIn("Ann", "A", token), "red", "blue");
    const found = (await other.storage.findResumable(token))!;
    const [taken, ended] = await Promise.all([
      i % 2 === 0
        ? other.storage.takeOver(found, `fresh ${i}`)
        : one.storage.takeOver(found, "fresh"),
      i % 3 === 0 ? one.storage.endSession("A", id) : other.storage.endSession("A", id),
    ]);
    // The ending starts over if the resume was first. So it always succeeds in the end.
    assertEquals(ended, "done");
    // Which of them is first depends on the machine.
    if (taken.outcome !== "done") assertEquals(taken.outcome, "conflict");
    await one.storage.reached();
    await other.storage.reached();
    assertEquals([one.storage.session(id), other.storage.session(id)], [undefined, undefined]);
    assertEquals(await keysOf(kv, "row", id), []);
  }
  assertEquals([...await one.storage.listRooms()], []);
  assertEquals(await keysOf(kv, "resume"), []);
});

Deno.test("Storage: an ending and the session's own changes of the same moment leave no rows", async () => {
  using kv = await Deno.openKv(":memory:");
  await using one = await openStorage(kv, "01A");
  await using other = await openStorage(kv, "01B");
  await one.share();
  await other.share();
  await other.person("0", signedIn("Ann", "A"), "red");
  for (let i = 0; i < 20; i++) {
    const id = `1${i}`, { storage } = one;
    await one.person(id, signedIn("Ann", "A"), "red", "blue");
    const results = await Promise.all([
      i % 2 === 0 ? other.storage.endSession("A", id) : storage.endSession("A", id),
      storage.setRoom(id, "green"),
      storage.removeRoom(id, "red"),
      storage.setUsername(id, named(`Bob${i}`)),
      i % 3 === 0 ? storage.deleteConnection(id) : undefined,
    ]);
    assert(results[0] !== "failed");
    // A session that was signed out before it could be ended stays.
    await storage.deleteConnection(id);
    await one.storage.reached();
    await other.storage.reached();
    assertEquals(await keysOf(kv, "row", id), [], `round ${i}: ${results[0]}`);
    assertEquals(one.storage.session(id), undefined);
  }
  assertEquals([...await one.storage.listRooms()], [["red", 1]]);
  const told = new ToldRooms();
  for (const event of other.events) told.apply(event);
  assertEquals([told.usersIn("red"), told.usersIn("blue"), told.usersIn("green")], [["A"], [], []]);
  assertEquals(await keysOf(kv, "nick"), ["ann"]);
});

Deno.test("Storage.endOtherSessions ends all sessions of a user on all instances but one", async () => {
  using kv = await Deno.openKv(":memory:");
  await using one = await openStorage(kv, "01A");
  await using other = await openStorage(kv, "01B");
  await one.share();
  await other.share();
  for (let i = 0; i < 16; i++) {
    await (i % 2 === 0 ? one : other).person(`${10 + i}`, signedIn("Ann", "A"), "red");
  }
  await one.storage.endOtherSessions("A", "10");
  assertEquals((await one.storage.readUser("A"))?.sessions.map(({ id }) => id), ["10"]);
  assertEquals((await one.storage.readUser("A"))?.rooms.get("red")?.length, 1);
  assertEquals(await keysOf(kv, "row", "11"), []);
});

Deno.test("Storage.endSession removes a session from its user's row that has no rows of its own", async () => {
  using kv = await Deno.openKv(":memory:");
  await using server = await openStorage(kv);
  await server.person("1", signedIn("Ann", "A"));
  const entry = (await kv.get<{ sessions: unknown[]; rooms: unknown[] }>(["user", "A"])).value!;
  const ghost = { id: "ghost", n: 7, since: 0, protocol: "json" };
  await kv.set(["user", "A"], {
    ...entry,
    sessions: [...entry.sessions, ghost],
    rooms: [["red", "7"]],
  });
  assertEquals(await server.storage.endSession("A", "ghost"), "done");
  assertEquals((await server.storage.readUser("A"))?.sessions.map(({ id }) => id), ["1"]);
  assertEquals((await server.storage.readUser("A"))?.rooms.get("red"), []);
});

Deno.test("Storage.endSession says that it failed while KV does not answer", async () => {
  using kv = await Deno.openKv(":memory:");
  let isAway = false;
  const faulty = kvWith(kv, {
    get: ((key: Deno.KvKey) => {
      if (isAway) return Promise.reject(new Error("away"));
      return kv.get(key);
    }) as Deno.Kv["get"],
  });
  await using server = await openStorage(faulty);
  await server.person("1", signedIn("Ann", "A"));
  isAway = true;
  assertEquals(await server.storage.endSession("A", "1"), "failed");
  isAway = false;
  assertEquals(await server.storage.endSession("A", "1"), "done");
});
