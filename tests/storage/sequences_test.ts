/** Changes that are told in several rooms: a sequence of operations that any instance can finish. */
import { assert, assertEquals } from "@std/assert";
import { compactingAfter } from "../support/fake_clock.ts";
import { countingKv } from "../support/faulty_kv.ts";
import { connectionKeys } from "../support/kv_rows.ts";
import { keysOf, membersOf, named, openStorage, signedIn } from "../support/storage.ts";
import { ToldRooms } from "../support/told_rooms.ts";
import { eventually } from "../support/wait.ts";

/** Rooms of which several have the same shard, and several do not. */
const ROOMS = Array.from({ length: 20 }, (_, i) => `room ${i}`);

/** Returns a KV that refuses some commits: `refuse` gets the number of a commit since `reset`. */
function refusingKv(kv: Deno.Kv) {
  const faults = { refuse: (_commit: number): boolean => false, commits: 0 };
  const counting = countingKv(kv, (call) => {
    if (call === "commit" && faults.refuse(++faults.commits)) throw new Error("Too many mutations");
  });
  return {
    kv: counting.kv,
    /** From now on: refuses all commits after so many. */
    refuseAfter(commits: number) {
      faults.commits = 0;
      faults.refuse = (commit) => commit > commits;
    },
    accept: () => void (faults.refuse = () => false),
    get commits() {
      return faults.commits;
    },
  };
}

/** Asserts that the rooms were told what KV has. */
async function assertTold(server: Awaited<ReturnType<typeof openStorage>>, rooms = ROOMS) {
  await server.storage.reached();
  const told = new ToldRooms();
  for (const event of server.events) told.apply(event);
  const counts = await server.storage.listRooms();
  for (const room of rooms) {
    const members = (await server.storage.getMembers(room)).map(({ user }) => user).sort();
    assertEquals(told.usersIn(room), members, room);
    const away = (await server.storage.getMembers(room)).filter(({ isAway }) => isAway);
    assertEquals(told.awayIn(room), away.map(({ user }) => user).sort(), room);
    assertEquals(counts.get(room) ?? 0, members.length, room);
  }
}

Deno.test("Storage.setUsername tells many rooms in one operation for each shard, of at most 16 rooms", async () => {
  using kv = await Deno.openKv(":memory:");
  const faults = refusingKv(kv);
  await using server = await openStorage(faults.kv, "01A", { maxRooms: 200 });
  const rooms = Array.from({ length: 150 }, (_, i) => `room ${i}`);
  await server.person("1", "Ann", ...rooms);
  faults.refuseAfter(Infinity);
  await server.storage.setUsername("1", named("Anna"));
  const shards = new Map<number, number>();
  for (const room of rooms) {
    const shard = server.feed.shardOf(room);
    shards.set(shard, (shards.get(shard) ?? 0) + 1);
  }
  const expected = [...shards.values()].reduce((sum, each) => sum + Math.ceil(each / 16), 0);
  assertEquals(faults.commits, expected);
  assertEquals(server.events.filter(({ kind }) => kind === "nick").length, 150);
  await assertTold(server, rooms);
});

for (const to of [named("Anna"), signedIn("Bob", "B")]) {
  const what = to.owner === undefined ? "a new nickname" : "a sign-in";

  /** Opens an instance on which half of the rooms know of the change. */
  const openHalfTold = async (kv: Deno.Kv, instance: string) => {
    const faults = refusingKv(kv);
    const server = await openStorage(faults.kv, instance);
    // Some of the rooms have other sessions of both users.
    await server.person("0", signedIn("Bob", "B"), ...ROOMS.slice(0, 10));
    await server.person("1", signedIn("Ann", "A", "token"), ...ROOMS);
    await server.person("2", signedIn("Ann", "A"), ...ROOMS.slice(5, 15));
    faults.refuseAfter(3);
    const { outcome } = await server.storage.setUsername("1", to);
    assertEquals(outcome, "done");
    const { nick, rooms, ...record } = server.storage.session("1")!;
    assertEquals([nick, rooms.size], [to.nick, ROOMS.length]);
    const untold = record.untold!;
    assert(untold.rooms.size > 0 && untold.rooms.size < ROOMS.length);
    assertEquals([untold.nick, untold.user], ["Ann", "A"]);
    for (const room of ROOMS) {
      const knowsNew = (await membersOf(server.storage, room)).some((each) =>
        each.startsWith(to.nick)
      );
      const wasThere = to.owner !== undefined && ROOMS.indexOf(room) < 10;
      assertEquals(knowsNew, wasThere || !untold.rooms.has(room), room);
    }
    return { server, faults };
  };

  Deno.test(`Storage finishes telling ${what} with the next change of the session`, async () => {
    using kv = await Deno.openKv(":memory:");
    const { server, faults } = await openHalfTold(kv, "01A");
    await using _ = server;
    // As long as that fails, the next change fails.
    assertEquals((await server.storage.setRoom("1", "new")).outcome, "failed");
    faults.accept();
    assertEquals((await server.storage.setRoom("1", "new")).outcome, "done");
    assertEquals(server.storage.session("1")!.untold, undefined);
    await assertTold(server, [...ROOMS, "new"]);
    const user = to.owner?.user ?? "1";
    for (const room of ROOMS) {
      assert((await server.storage.getMembers(room)).some((each) => each.user === user), room);
    }
  });

  Deno.test(`Storage.cleanUp announces the user that each room knows after half of ${what}`, async () => {
    using kv = await Deno.openKv(":memory:");
    await using alive = await openStorage(kv, "01B");
    await alive.share();
    const { server } = await openHalfTold(kv, "01A");
    await server.crash();
    const key = ["instance", "01A"];
    const claim = { key, versionstamp: (await kv.get(key)).versionstamp };
    assertEquals(await alive.storage.cleanUp("01A", claim, true), { gone: 3, left: 0 });
    await assertTold(alive);
    assertEquals(await keysOf(kv, "row"), []);
    assertEquals(await keysOf(kv, "instance_row"), []);
    for (const user of ["A", "B"]) {
      const row = await alive.storage.readUser(user);
      assertEquals([...row!.rooms.values()].flat(), []);
      assertEquals(row!.sessions, []);
    }
    await kv.delete(key);
    for await (const guard of kv.list({ prefix: key })) await kv.delete(guard.key);
  });

  Deno.test(`Storage.takeOver finishes telling ${what}`, async () => {
    using kv = await Deno.openKv(":memory:");
    await using other = await openStorage(kv, "01B");
    await other.share();
    const { server } = await openHalfTold(kv, "01A");
    const found = (await other.storage.findResumable("token"))!;
    assertEquals((await other.storage.takeOver(found, "fresh")).outcome, "done");
    const record = other.storage.session("1")!;
    assertEquals([record.nick, record.untold, record.rooms.size], [to.nick, undefined, 20]);
    await assertTold(other);
    await server.crash();
    const key = ["instance", "01A"];
    const claim = { key, versionstamp: (await kv.get(key)).versionstamp };
    assertEquals(await other.storage.cleanUp("01A", claim, true), { gone: 2, left: 0 });
    await assertTold(other);
    await kv.delete(key);
    for await (const guard of kv.list({ prefix: key })) await kv.delete(guard.key);
  });
}

Deno.test("Storage finishes telling that a session is away, also after a takeover", async () => {
  for (const takesOver of [false, true]) {
    using kv = await Deno.openKv(":memory:");
    const faults = refusingKv(kv);
    await using other = await openStorage(kv, "01B");
    await other.share();
    await using server = await openStorage(faults.kv, "01A");
    await server.share();
    await server.person("1", signedIn("Ann", "A", "token"), ...ROOMS);
    await server.person("2", signedIn("Ann", "A"), ...ROOMS.slice(5, 15));
    faults.refuseAfter(3);
    assertEquals((await server.storage.setAway("1", true)).outcome, "done");
    const { isAway, untold } = server.storage.session("1")!;
    assert(isAway && untold !== undefined && untold.rooms.size < ROOMS.length && !untold.isAway);
    // As long as the rest cannot be told, the next change fails.
    assertEquals((await server.storage.setAway("1", false)).outcome, "failed");
    faults.accept();
    const { storage } = takesOver ? other : server;
    if (takesOver) {
      const found = await storage.findResumable("token");
      assertEquals((await storage.takeOver(found!, "fresh")).outcome, "done");
    }
    // It is away already: the change only finishes what was begun.
    assertEquals((await storage.setAway("1", true)).outcome, "done");
    assertEquals(storage.session("1")!.untold, undefined);
    await assertTold(server);
    for (const [i, room] of ROOMS.entries()) {
      const members = await storage.getMembers(room);
      assertEquals(members.map((each) => each.isAway), [i < 5 || i >= 15], room);
    }
  }
});

Deno.test("Storage.deleteConnection finishes a removal of which half failed", async () => {
  using kv = await Deno.openKv(":memory:");
  const faults = refusingKv(kv);
  await using server = await openStorage(faults.kv, "01A", { clock: compactingAfter(1) });
  await server.person("1", signedIn("Ann", "A", "token"), ...ROOMS);
  await server.person("2", signedIn("Ann", "A"), ...ROOMS.slice(5));
  faults.refuseAfter(3);
  const removed = server.storage.deleteConnection("1");
  await eventually(() => faults.commits > 4, "the removal fails");
  // What is left of it cannot be resumed.
  assertEquals(await server.storage.findResumable("token"), undefined);
  faults.accept();
  await removed;
  await assertTold(server);
  assertEquals(server.storage.session("1"), undefined);
  assertEquals(await keysOf(kv, "row", "1"), []);
  const row = (await server.storage.readUser("A"))!;
  assertEquals(row.sessions.map(({ id }) => id), ["2"]);
  assertEquals(row.rooms.size, ROOMS.length);
});

Deno.test("Storage.cleanUp finishes a removal of which an instance did half before it died", async () => {
  using kv = await Deno.openKv(":memory:");
  await using alive = await openStorage(kv, "01B");
  await alive.share();
  const faults = refusingKv(kv);
  const dead = await openStorage(faults.kv, "01A", { clock: compactingAfter(1) });
  await dead.person("1", "Ann", ...ROOMS);
  faults.refuseAfter(3);
  const removed = dead.storage.deleteConnection("1");
  await eventually(() => faults.commits > 4, "the removal fails");
  await dead.crash();
  await removed;
  const key = ["instance", "01A"];
  const claim = { key, versionstamp: (await kv.get(key)).versionstamp };
  assertEquals(await alive.storage.cleanUp("01A", claim, false), { gone: 1, left: 0 });
  await assertTold(alive);
  await kv.delete(key);
  for await (const guard of kv.list({ prefix: key })) await kv.delete(guard.key);
  await eventually(async () => (await keysOf(kv, "room")).length === 0, "the rooms are gone");
  assert((await connectionKeys(kv)).every(([first, id]) => first === "instance" && id === "01B"));
});

Deno.test("Storage keeps a session of 200 rooms with the longest names within KV's limits", async () => {
  using kv = await Deno.openKv(":memory:");
  for (const [letter, least] of [["n", 200], ["\u{10400}", 50]] as const) {
    await using server = await openStorage(kv, "01A", { maxRooms: 200, maxChecks: 8 });
    const name = (i: number) => letter.repeat(252) + String(1000 + i);
    const { storage } = server;
    for (const [id, username] of [["1", named("Ann")], ["2", signedIn("Bob", "B")]] as const) {
      await server.person(id, username);
      let joined = 0;
      for (; joined < 201; joined++) {
        const { outcome } = await storage.setRoom(id, name(joined));
        if (outcome === "too-many-rooms") break;
        assertEquals(outcome, "done");
      }
      assert(joined >= least && joined <= 200, `${joined} rooms`);
    }
    // Other sessions of the user in the same rooms do not make the row too large.
    const rooms = [...storage.session("2")!.rooms];
    for (let i = 0; i < 15; i++) {
      await server.person(`3${i}`, signedIn("Bob", "B"));
      for (const room of rooms) {
        assertEquals((await storage.setRoom(`3${i}`, room)).outcome, "done");
      }
    }
    assertEquals((await storage.setUsername("1", named("Anna"))).outcome, "done");
    assertEquals((await storage.setUsername("2", named("Bobby"))).outcome, "done");
    assertEquals(storage.session("2")!.untold, undefined);
    await assertTold(server, rooms);
    await storage.deleteAll(false);
    await assertTold(server, rooms);
  }
});
