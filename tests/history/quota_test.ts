/** The quota of history: bytes are counted exactly, and bounded per room and in all. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { openMetrics } from "../../chat/base/metrics.ts";
import { systemClock } from "../../chat/base/clock.ts";
import { eventId, eventIdPrefix, type RoomEvent } from "../../chat/feed/events.ts";
import { shardOf } from "../../chat/feed/shards.ts";
import { History } from "../../chat/history/history.ts";
import { retentionFrom } from "../../chat/base/limits.ts";
import { bytesOfRow, type KeptRow } from "../../chat/history/kept_rows.ts";
import type { Compactor } from "../../chat/history/compactor.ts";
import { Quota } from "../../chat/history/quota.ts";
import { retentionOf } from "../../chat/history/retention.ts";
import { NOTHING_TOLD, Revisions } from "../../chat/history/revisions.ts";
import { RowReader } from "../../chat/history/row_reader.ts";
import { encodeEvent } from "../../chat/history/rows.ts";
import type { Stream } from "../../chat/kv/keys.ts";
import { Hub, type Network, Process, simulatedKv, World } from "../cluster/sim_kv.ts";
import { compactingAfter } from "../support/fake_clock.ts";
import { Random } from "../support/random.ts";
import { countingKv } from "../support/faulty_kv.ts";
import { checkedHistory, historyCounter } from "../support/kv_rows.ts";
import { DenoKv, ServerProcess, testWithProgram } from "../support/processes.ts";
import { TestServer } from "../support/test_server.ts";
import { TextClient } from "../support/text_client.ts";
import { eventually } from "../support/wait.ts";
import { JsonClient, type JsonObject } from "../support/json_client.ts";

const MIB = 1024 * 1024;

const WEEK_MS = 7 * 86_400_000;

/** A clock on which waits of a second, such as that of compaction, take a moment. */
const quick = compactingAfter(50);

/** Returns the ID of the `n`th event of a test. */
function id(n: number): string {
  return `${eventIdPrefix("1")}${n.toString(16).padStart(8, "0")}`;
}

/** Sends `many` messages of a length, ten in a frame, and receives them. */
async function sayMany(client: JsonClient, many: number, length: number): Promise<JsonObject[]> {
  const lines: JsonObject[] = [];
  while (lines.length < many) {
    const texts = Array.from({ length: 10 }, (_, i) => `${lines.length + i} ${"x".repeat(length)}`);
    client.send(
      texts.map((text) => JSON.stringify({ type: "message", room: client.room, text })).join("\n"),
    );
    for (const text of texts) {
      lines.push(await client.next());
      assertEquals(lines.at(-1)!.text, text);
    }
  }
  return lines;
}

async function allPages(client: JsonClient): Promise<JsonObject[]> {
  const all: JsonObject[] = [];
  while (true) {
    const before = all[0]?.id;
    const { events, more } = await client.request({
      type: "history",
      room: client.room,
      limit: 100,
      before,
    });
    all.unshift(...events);
    if (!more) return all;
  }
}

/** Waits until nothing is left to compact or to remove. */
async function settledAt(kv: Deno.Kv, maxBytes: number, last: string): Promise<void> {
  await eventually(async () => {
    let newest = "";
    for await (const { value } of kv.list<{ events: string[][] }>({ prefix: ["log"] })) {
      const at = value.events.at(-1)![0]!;
      if (at > newest) newest = at;
    }
    return newest >= last && await historyCounter(kv) <= maxBytes;
  }, "history is within its quota");
}

Deno.test("Quota: a flooded room loses its oldest messages, and other rooms lose none", async () => {
  await using server = await TestServer.open({
    maxHistoryBytes: 10 * MIB,
    rateLimits: "off",
    clock: quick,
  });
  const ann = await JsonClient.login(server, "Ann", "quiet");
  await ann.sendMessage("hello");
  const eve = await JsonClient.login(server, "Eve", "loud");
  const said = await sayMany(eve, 200, 16_000);
  await settledAt(server.kv, 10 * MIB, said.at(-1)!.id);
  await eventually(
    async () => await historyCounter(server.kv, "log", "loud") <= MIB,
    "the room is within its part",
  );
  const left = await allPages(eve);
  assert(left.length > 40 && left.length < 70, `${left.length} messages`);
  assertEquals(left.map(({ id }) => id), said.slice(-left.length).map(({ id }) => id));
  assertEquals((await allPages(ann)).map(({ text }) => text), ["hello"]);
  // Pages forwards begin with the oldest event that is left.
  const forwards = await eve.request({
    type: "history",
    room: "loud",
    after: said[0]!.id,
    limit: 1,
  });
  assertEquals(forwards.events[0].id, left[0]!.id);
  await checkedHistory(server.kv);
  assertEquals(server.warnings, []);
});

Deno.test("Quota: acts of moderation are neither counted nor removed, whatever else is, until they expire", async () => {
  using kv = await Deno.openKv(":memory:");
  const quota = new Quota({ kv, clock: systemClock, maxBytes: 10 * MIB, retentionMs: WEEK_MS });
  const now = Date.now();
  const rowsOf = (stream: Stream, from: number, bytes: number, untilMs: number) =>
    Array.from({ length: 200 }, (_, n): KeptRow => {
      return { stream, id: id(from + n), last: id(from + n), bytes, untilMs };
    });
  const acts = rowsOf(["acts", "red"], 0, 64 * 1024, now + WEEK_MS);
  const messages = rowsOf(["log", "blue"], 1000, 64 * 1024, now + 2 * WEEK_MS);
  await write(kv, quota, acts);
  assertEquals(await historyCounter(kv), 0);
  await write(kv, quota, messages);
  while (!(await quota.enforce(now)));
  const left = async (kind: string) => (await Array.fromAsync(kv.list({ prefix: [kind] }))).length;
  assertEquals(await left("acts"), 200);
  assert(await left("log") < 160, "the quota holds for messages");
  const counted = await historyCounter(kv);
  while (!(await quota.enforce(now + WEEK_MS + 120_000)));
  assertEquals(await left("acts"), 0);
  assertEquals(await historyCounter(kv), counted);
  assertEquals(await left("history_row"), await left("log"));
});

Deno.test("Quota: above the total quota, the oldest messages of all rooms are removed first", async () => {
  await using server = await TestServer.open({
    maxHistoryBytes: MIB,
    rateLimits: "off",
    clock: quick,
  });
  const speakers: JsonClient[] = [];
  const said: JsonObject[][] = [];
  for (const room of ["a", "b", "c"]) {
    const client = await JsonClient.login(server, `in ${room}`, room);
    speakers.push(client);
    said.push(await sayMany(client, 30, 16_000));
    await settledAt(server.kv, MIB, said.at(-1)!.at(-1)!.id);
  }
  const left = await Promise.all(speakers.map(allPages));
  assertEquals(left[0], []);
  assert(left[1]!.length > 0 && left[1]!.length < 30, `${left[1]!.length} in the middle`);
  assertEquals(left[1]!.at(-1), said[1]!.at(-1));
  assertEquals(left[2], said[2]);
  const { bytes } = await checkedHistory(server.kv);
  assert(bytes <= MIB && bytes > MIB / 2, `${bytes} bytes`);
});

Deno.test("Quota: without a limit, rows are counted and kept until their time is over", async () => {
  await using server = await TestServer.open({
    maxHistoryBytes: Infinity,
    rateLimits: "off",
    clock: quick,
  });
  const ann = await JsonClient.login(server, "Ann", "red");
  const said = await sayMany(ann, 100, 16_000);
  await settledAt(server.kv, Infinity, said.at(-1)!.id);
  assertEquals(await allPages(ann), said);
  const { bytes } = await checkedHistory(server.kv);
  assert(bytes > 1_600_000, `${bytes} bytes`);
});

Deno.test("Quota: a client that resumes is told if events it has not seen were removed", async () => {
  for (const kind of ["log", "people", "direct", "own", "log of a room left"] as const) {
    await using server = await TestServer.open({ maxHistoryBytes: 10 * MIB, clock: quick });
    const { kv } = server;
    const ann = await JsonClient.connect(server);
    const { token } = await ann.request({ type: "login", nick: "Ann" });
    ann.send({ type: "join", room: "red" });
    const { id: joined } = await ann.next();
    if (kind === "log of a room left") await ann.requestAll({ type: "leave", room: "red" });
    ann.connection.socket.close(4000);
    await ann.connection.closed;
    const has = async (prefix: string[]) => (await Array.fromAsync(kv.list({ prefix }))).length > 0;
    await eventually(() => has(["people", "red"]), "her coming is folded");
    const [{ key: [, , id] }] = await Array.fromAsync(
      kv.list({ prefix: ["reverse_lookup", "username_Ann"] }),
    ) as [Deno.KvEntry<unknown>];
    // Rows of the largest size, right after her join.
    const at = (n: number) => joined.slice(0, -3) + n.toString(16).padStart(3, "0");
    const isRooms = kind.startsWith("log") || kind === "people";
    const stream: Stream = [
      kind === "log of a room left" ? "log" : kind,
      isRooms ? "red" : String(id),
    ];
    const rows = Array.from({ length: 20 }, (_, n): KeptRow => {
      const untilMs = Date.now() + WEEK_MS;
      return { stream, id: at(n + 1), last: at(n + 1), bytes: 64 * 1024, untilMs };
    });
    const parts = { kv, clock: systemClock, maxBytes: 10 * MIB, retentionMs: WEEK_MS };
    const quota = new Quota(parts);
    const what = kind === "people" ? "leave" : isRooms ? "message" : "direct";
    const event = kind === "own"
      ? ["message", "red", "", "", Date.now(), "cid"]
      : [what, "01A", "Eve", kind === "people" ? "" : "hello", Date.now(), ""];
    const to = kind === "direct" ? ["", String(id), "Ann", 0] : [];
    await write(kv, quota, rows, (id) => ({ v: 1, events: [[id, ...event, ...to]] }));
    if (kind === "log") {
      // Other events that she missed, from before the removed ones.
      const at = `${joined}0`;
      const events = [[at, "join", "01A", "Eve", "", Date.now(), ""]];
      await kv.set(["people", "red", at], { v: 1, events });
    }
    while (!(await quota.enforce(Date.now())));
    const left = (await Array.fromAsync(kv.list({ prefix: [...stream] }))).length;
    assert(left > 10 && left < 17, `${left} are left`);
    const back = await JsonClient.connect(server);
    back.send({ type: "resume", token, last: { red: joined } });
    const lines: JsonObject[] = [];
    const isEnd = ({ type, room }: JsonObject) =>
      type === "resumed" && (room !== undefined) === (kind !== "direct");
    do lines.push(await back.next()); while (!isEnd(lines.at(-1)!));
    const { recovered, reason, from } = lines.at(-1)!;
    assertEquals([recovered, reason], [false, "expired"], kind);
    // From there on, after everything that was removed, nothing is missing.
    const [oldest] = await Array.fromAsync(kv.list({ prefix: [...stream] }, { limit: 1 }));
    const told = lines.slice(1, -1).filter(({ type }) => type !== "resumed").map(({ id }) => id);
    if (kind === "log") assertEquals(told[0], `${joined}0`);
    assertEquals(from, told.find((id) => id >= String(oldest!.key[2])), kind);
  }
});

Deno.test("Quota: a client that resumes is not told of removed events from before its join", async () => {
  await using server = await TestServer.open({ maxHistoryBytes: 10 * MIB, clock: quick });
  const { kv } = server;
  const bob = await JsonClient.login(server, "Bob", "red");
  const early = await bob.sendMessage("one");
  await bob.sendMessage("not for Ann");
  const ann = await JsonClient.connect(server);
  const { token } = await ann.request({ type: "login", nick: "Ann" });
  ann.send({ type: "join", room: "red" });
  const { id: joined } = await ann.next();
  await bob.expect({ type: "joined" });
  const words = await bob.sendMessage("for Ann");
  await ann.expect({ text: "for Ann" });
  ann.connection.socket.close(4000);
  await ann.connection.closed;
  await settledAt(kv, Infinity, words);
  const at = (n: number) => joined.slice(0, -3) + n.toString(16).padStart(3, "0");
  const rows = Array.from({ length: 20 }, (_, n): KeptRow => {
    const untilMs = Date.now() + WEEK_MS;
    return { stream: ["people", "red"], id: at(n + 1), last: at(n + 1), bytes: 64 * 1024, untilMs };
  });
  const parts = { kv, clock: systemClock, maxBytes: 10 * MIB, retentionMs: WEEK_MS };
  const quota = new Quota(parts);
  await write(kv, quota, rows);
  while (!(await quota.enforce(Date.now())));
  const people = await Array.fromAsync(kv.list({ prefix: ["people", "red"] }));
  assert(people.every(({ key }) => String(key[2]) > joined), "her joining is removed");
  // Her own events are not kept any more: she joined long ago.
  for await (const { key } of kv.list({ prefix: ["own"] })) await kv.delete(key);
  const back = await JsonClient.connect(server);
  back.send({ type: "resume", token, last: { red: early } });
  await back.expect({ type: "welcome" }, { type: "message", text: "for Ann" });
  await back.expect({ type: "resumed", recovered: false, reason: "expired" });
});

Deno.test("Quota: the newest removed event of a stream stays recorded when an older row is removed", async () => {
  using kv = await Deno.openKv(":memory:");
  const quota = new Quota({ kv, clock: systemClock, maxBytes: MIB, retentionMs: WEEK_MS });
  const stream: Stream = ["sent", "01A"];
  await write(kv, quota, [row(stream, 50, MIB), row(["log", "red"], 60, MIB / 2)]);
  while (!(await quota.enforce(Date.now())));
  assertEquals((await checkedHistory(kv)).ids, [id(60)]);
  // Another shard writes an earlier event later.
  await write(kv, quota, [row(stream, 40, MIB)]);
  while (!(await quota.enforce(Date.now())));
  assertEquals((await checkedHistory(kv)).ids, [id(60)]);
  assertEquals(await quota.evictedAfter([[stream, id(45)], [["log", "red"], ""]]), id(50));
  assertEquals(await quota.evictedAfter([[stream, id(50)]]), "");
});

Deno.test("Quota: a client that resumes is told nothing if no event it missed was removed", async () => {
  await using server = await TestServer.open({
    maxHistoryBytes: MIB,
    rateLimits: "off",
    clock: quick,
  });
  const eve = await JsonClient.login(server, "Eve", "red");
  const ann = await JsonClient.connect(server);
  const { token } = await ann.request({ type: "login", nick: "Ann" });
  ann.send({ type: "join", room: "red" });
  await ann.next();
  await eve.expect({ type: "joined", nick: "Ann" });
  const said = await sayMany(eve, 100, 16_000);
  let last = "";
  while (last !== said.at(-1)!.id) last = (await ann.next()).id;
  await settledAt(server.kv, MIB, last);
  ann.connection.socket.close(4000);
  await ann.connection.closed;
  await eve.sendMessage("after");
  const back = await JsonClient.connect(server);
  back.send({ type: "resume", token, last: { red: last } });
  await back.expect({ type: "welcome" }, { type: "message", text: "after" });
  await back.expect({ type: "resumed", recovered: true, missed: 1 });
});

Deno.test("Quota: uncounted rows of an older version are shown, and removed first", async () => {
  using kv = await Deno.openKv(":memory:");
  const old = Array.from({ length: 30 }, (_, n) => n);
  for (const n of old) {
    const events = [[id(n), "message", "01A", "Ann", `old ${n}`, Date.now(), ""]];
    await kv.set(["log", "red", id(n)], { v: 1, events }, { expireIn: WEEK_MS });
  }
  await kv.set(["bell", shardOf("red", 8)], 1);
  await using server = await TestServer.open({
    kv,
    maxHistoryBytes: MIB,
    rateLimits: "off",
    clock: quick,
  });
  const ann = await JsonClient.login(server, "Ann", "red");
  assertEquals((await allPages(ann)).map(({ text }) => text), old.map((n) => `old ${n}`));
  const said = await sayMany(ann, 100, 16_000);
  await settledAt(kv, MIB, said.at(-1)!.id);
  // Reading backwards finds no gap, because the newest rows are left.
  const left = await allPages(ann);
  assert(left.length > 0 && left.length < 70, `${left.length} messages`);
  assertEquals(left, said.slice(-left.length));
  await checkedHistory(kv);
});

Deno.test("Quota: above the total quota, uncounted rows are removed before other rows of their room", async () => {
  using kv = await Deno.openKv(":memory:");
  const rooms = Array.from({ length: 20 }, (_, i) => `room ${i}`);
  for (const room of rooms.slice(0, 10)) {
    for (let n = 0; n < 15; n++) await kv.set(["log", room, id(n)], { v: 1, events: [] });
  }
  const parts = { kv, clock: systemClock, maxBytes: 2 * MIB, retentionMs: WEEK_MS };
  const quota = new Quota(parts);
  const rows = Array.from({ length: 200 }, (_, i) => {
    return row(["log", rooms[i % 20]!], 100 + i, 20_000);
  });
  await write(kv, quota, rows);
  while (!(await quota.enforce(Date.now())));
  for (const room of rooms) {
    const left = (await Array.fromAsync(kv.list({ prefix: ["log", room] }))).map(({ key }) =>
      key[2]
    );
    const counted = rows.filter(({ stream }) => stream[1] === room).map(({ id }) => id);
    assert(left.length > 0 && left.length < 10, `${left.length} of ${room}`);
    assertEquals(left, counted.slice(-left.length), room);
  }
  await checkedHistory(kv);
});

Deno.test("Quota: expired rows are no longer counted, even if KV has not removed all of them", async () => {
  using kv = await Deno.openKv(":memory:");
  const quota = new Quota({ kv, clock: systemClock, maxBytes: 2 * MIB, retentionMs: 1_000 });
  const rows = Array.from(
    { length: 300 },
    (_, n) => row(["log", `room ${n % 20}`], n, 10_000, n * 1_000),
  );
  await write(kv, quota, rows);
  for (const { stream, id } of rows.slice(0, 40)) await kv.delete([...stream, id]);
  while (!(await quota.enforce(149_000)));
  const { ids, bytes } = await checkedHistory(kv);
  assertEquals(ids, rows.slice(150).map(({ id }) => id));
  // Its bytes were above the quota, too: expired rows are not recorded as removed early.
  assert(bytes > MIB, `${bytes} bytes`);
  assertEquals(await Array.fromAsync(kv.list({ prefix: ["history_evicted"] })), []);
});

Deno.test("Quota: with history turned off, index rows and counters are removed with their rows", async () => {
  using kv = await Deno.openKv(":memory:");
  const quota = new Quota({ kv, clock: systemClock, maxBytes: MIB, retentionMs: 1_000 });
  const rows = Array.from({ length: 50 }, (_, n) => row(["direct", `${n}`], n, 100, 1_000));
  await write(kv, quota, rows);
  await using server = await TestServer.open({ kv, historySeconds: 0, clock: quick });
  const index = () => Array.fromAsync(kv.list({ prefix: ["history_row"] }));
  await eventually(async () => (await index()).length === 0, "all of it is gone");
  assertEquals((await checkedHistory(kv)).bytes, 0);
  assertEquals(await Array.fromAsync(kv.list({ prefix: ["history_bytes", "direct"] })), []);
  assertEquals(server.warnings, []);
});

function row(stream: Stream, n: number, bytes: number, untilMs = Number.MAX_SAFE_INTEGER): KeptRow {
  return { stream, id: id(n), last: id(n), bytes, untilMs };
}

async function write(
  kv: Deno.Kv,
  quota: Quota,
  rows: readonly KeptRow[],
  value: (id: string) => unknown = () => ({ v: 1, events: [] }),
): Promise<void> {
  await quota.begin(Date.now());
  for (let i = 0; i < rows.length; i += 100) {
    const some = rows.slice(i, i + 100);
    const atomic = kv.atomic();
    for (const { stream, id } of some) atomic.set([...stream, id], value(id));
    atomic.mutate(...quota.counting(some));
    await atomic.commit();
    quota.wrote(some);
  }
}

Deno.test("Quota: three instances with faults subtract each removed row exactly once", async () => {
  const only = Deno.env.get("SEED");
  const seeds = only === undefined ? Array.from({ length: 20 }, (_, i) => i + 1) : [Number(only)];
  for (const seed of seeds) {
    using kv = await Deno.openKv(":memory:");
    const random = new Random(seed), world = new World();
    const hub = new Hub(kv, world, random);
    const maxBytes = 40_000;
    let made = 0;
    const instance = async () => {
      const network: Network = {
        errorPercent: 20,
        silentPercent: 5,
        maxDelayMs: 30,
        lostWakePercent: 0,
        repeatPercent: 5,
        isDead: false,
        process: new Process(),
      };
      const clock = world.clock(0, random);
      const stormy = simulatedKv(hub, network);
      const quota = new Quota({ kv: stormy, clock, maxBytes, retentionMs: 60_000 });
      while (!(await quota.begin(world.now).then(() => true, () => false)));
      for (let step = 0; step < 30; step++) {
        const rows = Array.from({ length: random.below(8) }, () => {
          const kind = random.pick(["log", "people", "conversation", "direct", "own"] as const);
          const lives = random.pick([5_000, 600_000]);
          const room = `room ${random.below(12)}`;
          return row([kind, room], made++, 100 + random.below(2_000), world.now + lives);
        });
        const atomic = stormy.atomic();
        // A commit may be repeated on its way, so it has a check, like those of History.
        for (const { stream, id } of rows) {
          atomic.check({ key: [...stream, id], versionstamp: null });
          atomic.set([...stream, id], { v: 1 });
        }
        atomic.mutate(...quota.counting(rows));
        // A commit that seems to fail may have been written, or may be written later.
        const wait = clock.after(5_000, () => {});
        await Promise.race([atomic.commit(), world.delay(5_000)]).catch(() => {});
        wait();
        quota.wrote(rows);
        await quota.enforce(world.now).catch(() => {});
        await world.delay(random.below(400));
      }
    };
    await world.until(Promise.all([instance(), instance(), instance()]));
    await world.pass(20_000);
    await checkedHistory(kv);
    const last = new Quota({ kv, clock: systemClock, maxBytes, retentionMs: 60_000 });
    await last.begin(world.now);
    while (!(await last.enforce(world.now)));
    const { bytes } = await checkedHistory(kv);
    assert(bytes <= maxBytes, `seed ${seed}: ${bytes} bytes`);
    assert(bytes > maxBytes / 4, `seed ${seed}: only ${bytes} bytes are left`);
  }
});

Deno.test("Quota: edits on three instances with faults, while rows are removed, keep the counters exact", async () => {
  const only = Deno.env.get("SEED");
  const seeds = only === undefined ? Array.from({ length: 20 }, (_, i) => i + 1) : [Number(only)];
  for (const seed of seeds) {
    using kv = await Deno.openKv(":memory:");
    const random = new Random(seed), world = new World();
    const hub = new Hub(kv, world, random);
    const retention = { ...retentionOf(60_000, 0), log: 60_000 };
    const maxBytes = 40_000;
    let made = 0;
    const outcomes: string[] = [];
    const instance = async () => {
      const network: Network = {
        errorPercent: 5,
        silentPercent: 2,
        maxDelayMs: 30,
        lostWakePercent: 0,
        repeatPercent: 5,
        isDead: false,
        process: new Process(),
      };
      const clock = world.clock(0, random);
      const stormy = simulatedKv(hub, network);
      const quota = new Quota({ kv: stormy, clock, maxBytes, retentionMs: 60_000 });
      while (!(await quota.begin(world.now).then(() => true, () => false)));
      const warn = () => {};
      const revisions = new Revisions({
        kv: stormy,
        clock,
        quota,
        compactor: { compactTo: () => Promise.resolve("done") } as unknown as Compactor,
        rows: new RowReader({ kv: stormy, clock, retention, warn }),
        shardOf: () => 0,
        async submit(_, { checks = [], mutations = [], settle }) {
          const commit = stormy.atomic().check(...checks).mutate(...mutations).commit();
          const result = await Promise.race([commit, world.delay(5_000)]).catch(() => {});
          settle(result === undefined ? "failed" : result.ok ? "done" : "conflict", id(made++));
        },
        warn,
      });
      for (let step = 0; step < 30; step++) {
        const n = made++, room = `room ${random.below(4)}`, stream: Stream = ["log", room];
        const stored = encodeEvent({ eventId: id(n), event: messageAt(room, world.now) }, "log");
        const lives = random.pick([5_000, 600_000]);
        const rows = [row(stream, n, 1_000, world.now + lives)];
        const atomic = stormy.atomic().check({ key: [...stream, id(n)], versionstamp: null });
        atomic.set([...stream, id(n)], { v: 1, events: [stored] }).mutate(...quota.counting(rows));
        const wait = clock.after(5_000, () => {});
        await Promise.race([atomic.commit(), world.delay(5_000)]).catch(() => {});
        wait();
        quota.wrote(rows);
        // Edits of the oldest rows, which are the next to be removed.
        const oldest = await Array.fromAsync(kv.list({ prefix: ["log"] }));
        const revising = Array.from({ length: 4 }, async () => {
          if (oldest.length === 0) return;
          const { key: [, room, target] } = oldest[random.below(oldest.length)]!;
          const kind = random.below(8) === 0 ? "delete" : "edit";
          const text = "x".repeat(random.below(2_000));
          const event = { ...messageAt(String(room), world.now), kind, text, target };
          await world.delay(random.below(100));
          const revision = revisions.revise(
            ["log", event.room],
            event as RoomEvent,
            [],
            NOTHING_TOLD,
          );
          outcomes.push((await revision).outcome);
        });
        await Promise.all([quota.enforce(world.now).catch(() => {}), ...revising]);
        await world.delay(random.below(200));
      }
    };
    await world.until(Promise.all([instance(), instance(), instance()]));
    await world.pass(20_000);
    await checkedHistory(kv);
    const last = new Quota({ kv, clock: systemClock, maxBytes, retentionMs: 60_000 });
    await last.begin(world.now);
    while (!(await last.enforce(world.now)));
    const { bytes } = await checkedHistory(kv);
    assert(bytes <= maxBytes, `seed ${seed}: ${bytes} bytes`);
    const done = outcomes.filter((each) => each === "done").length;
    assert(done > 10, `seed ${seed}: ${done} of ${outcomes.length} revisions`);
  }
});

/** Returns a message in a room of a given time. */
function messageAt(room: string, time: number): RoomEvent {
  return { ...message(room, "hello"), time };
}

/** A history without a chat. The test delivers the events. */
function historyOf(
  kv: Deno.Kv,
  warn: (message: string) => void,
  retention = retentionOf(WEEK_MS, 30_000),
): History {
  return new History({
    metrics: openMetrics(),
    ...{ kv, clock: quick, retention, maxBytes: Infinity, shards: 1, feedRowMs: 100 },
    shardOf: () => 0,
    submit: () => {},
    warn,
  });
}

function message(room: string, text: string): RoomEvent {
  const time = Date.now();
  return { kind: "message", room, id: "01A", account: "", nick: "Ann", text, time, cid: "" };
}

Deno.test("History: a feed row with more rooms than one commit takes is compacted in parts, each once", async () => {
  const events = Array.from({ length: 700 }, (_, n) => message(`room ${n} ${"é".repeat(20)}`, "x"));
  for (const from of ["memory", "the feed", "both"]) {
    using kv = await Deno.openKv(":memory:");
    const warnings: string[] = [];
    const stored = events.map(({ kind, room, id, nick, text, time }) =>
      [kind, room, id, nick, text, time] as const
    );
    const commit = await kv.atomic()
      .set(["feed", 0, kv.commitVersionstamp()], { v: 1, n: 1, from: "x", events: stored })
      .commit();
    const { versionstamp } = commit as Deno.KvCommitResult;
    const histories = [from !== "the feed", from !== "memory"].flatMap((isLive, i) => {
      if (!isLive) return [];
      const history = historyOf(kv, (line) => void warnings.push(line));
      if (i === 1) history.start([versionstamp]);
      else {
        history.start([null]);
        for (const [n, event] of events.entries()) {
          history.add(event, eventId(eventIdPrefix(versionstamp), n), 0);
        }
        void history.commitDelivered(0, versionstamp);
      }
      return [history];
    });
    const all = async () => (await Array.fromAsync(kv.list({ prefix: ["log"] }))).length;
    await eventually(async () => {
      const { value } = await kv.get<{ upTo?: string }>(["fold", 0]);
      return value?.upTo === versionstamp;
    }, `all of it is folded, from ${from}`);
    assertEquals(await all(), 700, from);
    await checkedHistory(kv);
    for (const history of histories) await history.close();
    assertEquals(warnings, [], from);
  }
});

/** Lets an instance die in the middle of a feed row, and another one, which may keep less, continue. */
async function crashes(nextKeepsMs: number): Promise<void> {
  using kv = await Deno.openKv(":memory:");
  // One row for each room, and one for each `cid`.
  const events = Array.from({ length: 700 }, (_, n) => {
    const room = `room ${n} ${"é".repeat(20)}`;
    return ["message", room, `01A${n}`, "Ann", "x", Date.now(), "cid"] as const;
  });
  const committed = await kv.atomic()
    .set(["feed", 0, kv.commitVersionstamp()], { v: 1, n: 1, from: "x", events })
    .commit();
  const { versionstamp } = committed as Deno.KvCommitResult;
  let commits = 0;
  const { kv: dying } = countingKv(kv, (what) => {
    // One commit of the start of counting, and one with a part of the row.
    if (what === "commit" && ++commits > 2) throw new Error("dead");
  });
  const dead = historyOf(dying, () => {});
  dead.start([versionstamp]);
  await eventually(() => commits > 2, "it has died");
  await dead.close();
  const rowsOf = async (kind: string) =>
    (await Array.fromAsync(kv.list({ prefix: [kind] }))).length;
  const before = await rowsOf("log");
  await checkedHistory(kv);
  assert(before > 0 && before < 700, `${before} rows`);
  const warnings: string[] = [];
  const warn = (line: string) => void warnings.push(line);
  const next = historyOf(kv, warn, retentionOf(nextKeepsMs, 30_000));
  next.start([versionstamp]);
  await eventually(
    async () => (await kv.get(["feed", 0, versionstamp])).value === null,
    "all is folded",
  );
  await next.close();
  await checkedHistory(kv);
  assertEquals(await rowsOf("log"), nextKeepsMs === 0 ? before : 700);
  assertEquals(await rowsOf("own"), 700);
  assertEquals(warnings, []);
}

Deno.test("History: after a crash in the middle of a feed row, the next instance counts nothing twice", async () => {
  // In parallel, because the retries of the dead instance take eight seconds.
  await Promise.all([WEEK_MS, 0].map(crashes));
});

Deno.test("History: compacted feed rows of a dead instance are removed when their time is over", async () => {
  using kv = await Deno.openKv(":memory:");
  const feed = async () => (await Array.fromAsync(kv.list({ prefix: ["feed"] }))).length;
  let last = "";
  for (let n = 0; n < 300; n++) {
    const time = n < 299 ? 1 : Date.now();
    const row = { v: 1, n, from: "x", events: [["message", "red", "01A", "Ann", `${n}`, time]] };
    const committed = await kv.atomic().set(["feed", 0, kv.commitVersionstamp()], row).commit();
    last = (committed as Deno.KvCommitResult).versionstamp;
    // The last of them is not compacted yet.
    if (n === 298) await kv.set(["fold", 0], { v: 1, upTo: last });
  }
  const warnings: string[] = [];
  const history = historyOf(kv, (line) => void warnings.push(line));
  history.start([last]);
  await eventually(async () => (await feed()) === 0, "no row of the feed is left");
  const said = (await Array.fromAsync(kv.list<{ events: string[][] }>({ prefix: ["log"] })))
    .flatMap(({ value }) => value.events.map((event) => event[4]));
  assertEquals(said, ["299"]);
  await history.close();
  assertEquals(warnings, []);
});

Deno.test("retentionFrom accepts a quota from one mebibyte to one pebibyte, or no limit", () => {
  assertEquals(retentionFrom().maxHistoryBytes, 1024 ** 3);
  for (const maxHistory of [MIB, 2 ** 50, Infinity]) {
    assertEquals(retentionFrom({ maxHistoryBytes: maxHistory }).maxHistoryBytes, maxHistory);
  }
  for (const maxHistory of [0, -1, MIB - 1, MIB + 0.5, 2 ** 51, NaN, -Infinity]) {
    assertThrows(() => retentionFrom({ maxHistoryBytes: maxHistory }), RangeError, "maxHistory");
  }
});

Deno.test("Quota: the counted bytes of a row are from once to twice those in a file", async () => {
  const folder = await Deno.makeTempDir();
  try {
    // The number of streams, events in a row and characters of a text, and the name of a room.
    const forms = [
      [50, 1, 5, "room"],
      [2_000, 1, 5, "r"],
      [50, 1, 700, "room"],
      [50, 1, 1_200, "room"],
      [50, 1, 5, "ж".repeat(100)],
      [50, 100, 60, "room"],
    ] as const;
    for (const [streams, events, length, room] of forms) {
      const file = `${folder}/kv ${streams} ${events} ${length} ${room.length}`;
      const kv = await Deno.openKv(file);
      const parts = { kv, clock: systemClock, maxBytes: Infinity, retentionMs: WEEK_MS };
      const quota = new Quota(parts);
      let counted = 0;
      for (let n = 0; n < 4_000; n += 10 * events) {
        const atomic = kv.atomic();
        const rows = Array.from({ length: 10 }, (_, i): KeptRow => {
          const stream: Stream = ["log", `${room}${(n / events + i) % streams}`];
          const entries = Array.from({ length: events }, (_, j) => ({
            at: id(n + i * events + j),
            event: message(stream[1], "x".repeat(length)),
          }));
          const value = entries.map(({ at, event: { kind, id, nick, text, time, cid } }) =>
            [at, kind, id, nick, text, time, cid] as const
          );
          const first = entries[0]!.at, last = entries.at(-1)!.at;
          atomic.set([...stream, first], { v: 1, events: value }, { expireIn: WEEK_MS });
          const untilMs = Date.now() + WEEK_MS;
          return { stream, id: first, last, bytes: bytesOfRow(stream, value), untilMs };
        });
        atomic.mutate(...quota.counting(rows));
        await atomic.commit();
        for (const { bytes } of rows) counted += bytes;
      }
      kv.close();
      // An empty file has some pages.
      const { size } = await Deno.stat(file);
      const ratio = counted / (size - 40 * 1024);
      assert(ratio > 0.95 && ratio < 2, `${file}: ${counted} of ${size}`);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

testWithProgram(
  "denokv",
  "Quota: two processes on a real denokv (ten checks) count and remove exactly",
  async () => {
    await using server = await DenoKv.start();
    const flags = ["--kv", server.url, "--limits", "off", "--max-history", "1M"];
    await using one = await ServerProcess.start(flags, undefined, server.env);
    await using other = await ServerProcess.start(flags, undefined, server.env);
    const enter = async ({ url }: ServerProcess, nick: string, room: string) => {
      const client = new JsonClient(await TextClient.connect(url, "chat.v1"));
      assertEquals((await client.request({ type: "login", nick })).type, "welcome");
      await client.join(room);
      return client;
    };
    // Many streams with one row each: each counter is deleted with a check.
    const many = await Promise.all(Array.from({ length: 40 }, async (_, i) => {
      const client = await enter(i % 2 === 0 ? one : other, `Ann ${i}`, `room ${i}`);
      await client.sendMessage("hello");
      return client;
    }));
    const [eve, mallory] = [await enter(one, "Eve", "red"), await enter(other, "Mallory", "blue")];
    await Promise.all([sayMany(eve, 150, 16_000), sayMany(mallory, 150, 16_000)]);
    const before = Deno.env.get("DENO_KV_ACCESS_TOKEN");
    Deno.env.set("DENO_KV_ACCESS_TOKEN", DenoKv.TOKEN);
    try {
      using kv = await Deno.openKv(server.url);
      const isSettled = async () => {
        if (await historyCounter(kv) > MIB) return false;
        const { events } = await mallory.request({ type: "history", room: "blue", limit: 1 });
        return events.length === 1 && (await historyCounter(kv, "log", "room 0")) === 0;
      };
      await eventually(isSettled, "the oldest are removed");
      for (const client of many) {
        const { room } = client;
        assertEquals((await client.request({ type: "history", room })).events, []);
      }
      const said = await sayMany(eve, 10, 10);
      await settledAt(kv, MIB, said.at(-1)!.id);
      // A process may write or remove rows during the read.
      await eventually(async () => {
        const bytes = await checkedHistory(kv).then((found) => found.bytes, () => Infinity);
        return bytes <= MIB;
      }, "rows and counters agree, and are within the quota");
    } finally {
      if (before === undefined) Deno.env.delete("DENO_KV_ACCESS_TOKEN");
      else Deno.env.set("DENO_KV_ACCESS_TOKEN", before);
    }
    for (const { connection: client } of [...many, eve, mallory]) await client.disconnect();
  },
);
