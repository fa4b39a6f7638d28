/**
 * History when one commit cannot hold the keys of long room names, and when KV's client repeats
 * commits.
 */
import { assertEquals } from "@std/assert";
import { openMetrics } from "../../chat/base/metrics.ts";
import { eventId, eventIdPrefix, pack, type RoomEvent } from "../../chat/feed/events.ts";
import { History } from "../../chat/history/history.ts";
import { OPTIONS } from "../../chat/base/options.ts";
import { retentionOf } from "../../chat/history/retention.ts";
import { compactingAfter } from "../support/fake_clock.ts";
import { commitTwice, countingKv, interceptCommits } from "../support/faulty_kv.ts";
import { eventually } from "../support/wait.ts";

/** A clock on which history is compacted soon, and not after a second. */
const quick = compactingAfter(10);

/** Rooms whose messages fit into one feed row, but whose keys do not fit into one commit. */
const ROOMS = Array.from({ length: 170 }, (_, i) => `${i}`.padEnd(OPTIONS["max-room"].max, "é"));

function eventsOf(round: number): RoomEvent[] {
  return ROOMS.map((room) => {
    const text = `${round}`;
    const time = Date.now();
    return { kind: "message", room, id: "1", account: "", nick: "Ann", text, time, cid: "" };
  });
}

/** Writes feed rows, one for each round. Returns their versionstamps. */
async function writeFeed(kv: Deno.Kv, rounds: number): Promise<string[]> {
  const stamps: string[] = [];
  for (let round = 0; round < rounds; round++) {
    const row = { v: 1, from: "01A", n: round, events: eventsOf(round).map(pack) };
    const written = await kv.atomic().set(["feed", 0, kv.commitVersionstamp()], row).commit();
    if (written.ok) stamps.push(written.versionstamp);
  }
  return stamps;
}

function open(kv: Deno.Kv, feedRowMs = 600_000): History {
  return new History({
    metrics: openMetrics(),
    kv,
    clock: quick,
    retention: retentionOf(86_400_000, 30_000),
    maxBytes: Infinity,
    shards: 1,
    shardOf: () => 0,
    feedRowMs,
    submit: () => {},
    warn: () => {},
  });
}

/** Waits until all feed rows are compacted, and compares history with the messages. */
async function isComplete(kv: Deno.Kv, rounds: number, upTo: string): Promise<void> {
  const isDone = async () => (await kv.get<{ upTo: string }>(["fold", 0])).value?.upTo === upTo;
  await eventually(isDone, "the rows are compacted");
  for (const room of ROOMS) {
    const rows = await Array.fromAsync(kv.list<{ events: string[][] }>({ prefix: ["log", room] }));
    const said = rows.flatMap(({ value }) => value.events.map((event) => event[4]));
    assertEquals(said, Array.from({ length: rounds }, (_, round) => `${round}`));
  }
}

Deno.test("History compacts feed rows left by a crash with more key bytes than one commit takes", async () => {
  using kv = await Deno.openKv(":memory:");
  const stamps = await writeFeed(kv, 4);
  const history = open(kv);
  history.start([stamps.at(-1)!]);
  await isComplete(kv, 4, stamps.at(-1)!);
  await history.close();
});

Deno.test("History compacts events in memory with more key bytes than one commit takes", async () => {
  using kv = await Deno.openKv(":memory:");
  const history = open(kv);
  history.start([null]);
  await history.backwards(["log", ROOMS[0]!]).next();
  const stamps = await writeFeed(kv, 4);
  for (const [round, stamp] of stamps.entries()) {
    for (const [i, event] of eventsOf(round).entries()) {
      history.add(event, eventId(eventIdPrefix(stamp), i), 0);
    }
    await history.commitDelivered(0, stamp);
  }
  await isComplete(kv, 4, stamps.at(-1)!);
  await history.close();
});

Deno.test("History shows nothing twice after a crash between the commits of one feed row", async () => {
  for (const survives of [1, 2, 3, 4]) {
    using kv = await Deno.openKv(":memory:");
    const stamps = await writeFeed(kv, 4);
    let commits = 0;
    const dying = countingKv(kv, (what) => {
      if (what === "commit" && ++commits > survives) throw new Error("dead");
    });
    const dead = open(dying.kv);
    dead.start([stamps.at(-1)!]);
    await eventually(() => commits > survives, "it is dead");
    // The rows written so far are not shown, because the cursor is still before them.
    const history = open(kv);
    history.start([stamps.at(-1)!]);
    await isComplete(kv, 4, stamps.at(-1)!);
    await history.close();
    await dead.close();
  }
});

Deno.test("History removes the feed rows that it compacted, even if KV's client repeats the commit", async () => {
  using kv = await Deno.openKv(":memory:");
  const stamps = await writeFeed(kv, 4);
  const history = open(interceptCommits(kv, commitTwice), 50);
  history.start([stamps.at(-1)!]);
  await isComplete(kv, 4, stamps.at(-1)!);
  const isEmpty = async () => (await Array.fromAsync(kv.list({ prefix: ["feed"] }))).length === 0;
  await eventually(isEmpty, "the rows are removed from the feed");
  await history.close();
});
