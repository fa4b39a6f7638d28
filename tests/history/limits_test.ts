/**
 * What history writes when the names of rooms are so long that one commit cannot hold their keys, and
 * when KV's client repeats its commits.
 */
import { assertEquals } from "@std/assert";
import { eventId, eventIdPrefix, pack, type RoomEvent } from "../../chat/feed/events.ts";
import { History } from "../../chat/history/history.ts";
import { MAX } from "../../chat/base/limits.ts";
import { retentionOf } from "../../chat/history/retention.ts";
import { compactingAfter } from "../support/fake_clock.ts";
import { committingThrough, countingKv, eventually, repeating } from "../support/test_server.ts";

/** A clock on which history is compacted soon, and not after a second. */
const quick = compactingAfter(10);

/** Rooms whose messages are one row of the feed, and whose keys are more than KV takes in a commit. */
const ROOMS = Array.from({ length: 170 }, (_, i) => `${i}`.padEnd(MAX.room, "é"));

function eventsOf(round: number): RoomEvent[] {
  return ROOMS.map((room) => {
    const text = `${round}`;
    return { kind: "message", room, id: "1", nick: "Ann", text, time: Date.now(), cid: "" };
  });
}

/** Writes rows of the feed, one a round. Gives their versionstamps. */
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
    kv,
    clock: quick,
    retention: retentionOf(86_400_000, 30_000),
    maxBytes: Infinity,
    shards: 1,
    shardOf: () => 0,
    feedRowMs,
    warn: () => {},
  });
}

/** Waits until all rows of the feed are in history, and compares that with what was said. */
async function isComplete(kv: Deno.Kv, rounds: number, upTo: string): Promise<void> {
  const isDone = async () => (await kv.get<{ upTo: string }>(["fold", 0])).value?.upTo === upTo;
  await eventually(isDone, "the rows are compacted");
  for (const room of ROOMS) {
    const rows = await Array.fromAsync(kv.list<{ events: string[][] }>({ prefix: ["log", room] }));
    const said = rows.flatMap(({ value }) => value.events.map((event) => event[4]));
    assertEquals(said, Array.from({ length: rounds }, (_, round) => `${round}`));
  }
}

Deno.test("History compacts rows with more key bytes than one commit takes, left by a crash", async () => {
  using kv = await Deno.openKv(":memory:");
  const stamps = await writeFeed(kv, 4);
  const history = open(kv);
  history.start([stamps.at(-1)!]);
  await isComplete(kv, 4, stamps.at(-1)!);
  await history.close();
});

Deno.test("History compacts rows with more key bytes than one commit takes, from memory", async () => {
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

Deno.test("History says nothing twice when a crash comes between the commits of one row", async () => {
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
    // What has been written so far is not shown to anybody: the cursor has not come there.
    const history = open(kv);
    history.start([stamps.at(-1)!]);
    await isComplete(kv, 4, stamps.at(-1)!);
    await history.close();
    await dead.close();
  }
});

Deno.test("History removes the rows that it compacted, also when KV's client repeats that commit", async () => {
  using kv = await Deno.openKv(":memory:");
  const stamps = await writeFeed(kv, 4);
  const history = open(committingThrough(kv, repeating), 50);
  history.start([stamps.at(-1)!]);
  await isComplete(kv, 4, stamps.at(-1)!);
  const isEmpty = async () => (await Array.fromAsync(kv.list({ prefix: ["feed"] }))).length === 0;
  await eventually(isEmpty, "the rows are removed from the feed");
  await history.close();
});
