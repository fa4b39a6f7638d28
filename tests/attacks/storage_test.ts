/** A client that writes as much as it can: the KV file stops growing at the history quota. */
import { assert } from "@std/assert";
import { openMetrics } from "../../chat/base/metrics.ts";
import { eventId, eventIdPrefix, type RoomEvent } from "../../chat/feed/events.ts";
import { History } from "../../chat/history/history.ts";
import { retentionOf } from "../../chat/history/retention.ts";
import { compactingAfter } from "../support/fake_clock.ts";
import { eventually } from "../support/wait.ts";

const MIB = 1024 * 1024;

const WEEK_MS = 7 * 86_400_000;

/** The most bytes of SQLite's write-ahead log: 1,000 pages, and one commit. */
const WAL_BYTES = 6 * MIB;

/** The most bytes of messages that wait to be compacted: so many are in the feed. */
const FEED_BYTES = 8 * MIB;

/** History is compacted after 5 ms, not after a second. */
const clock = compactingAfter(5);

/** Returns the bytes of a KV file and of its write-ahead log. */
async function bytesOf(file: string): Promise<number> {
  const sizes = ["", "-wal"].map(async (end) => {
    try {
      return (await Deno.stat(file + end)).size;
    } catch {
      return 0;
    }
  });
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size);
}

/** Stores `commits` commits of 50 messages as the feed does, and adds them to history. */
async function store(
  kv: Deno.Kv,
  history: History,
  commits: number,
  rooms: number,
): Promise<void> {
  for (let i = 0; i < commits; i++) {
    const events = Array.from({ length: 50 }, (_, n): RoomEvent => ({
      kind: "message",
      room: `room ${(i * 50 + n) % rooms}`,
      id: "01A",
      account: "",
      nick: "Eve",
      text: "x".repeat(1_000),
      time: Date.now(),
      cid: "",
    }));
    const stored = events.map(({ kind, room, id, nick, text, time }) =>
      [kind, room, id, nick, text, time] as const
    );
    const committed = await kv.atomic().set(["feed", 0, kv.commitVersionstamp()], {
      v: 1,
      n: i,
      from: "eve",
      events: stored,
    }).commit();
    const { versionstamp } = committed as Deno.KvCommitResult;
    for (const [n, event] of events.entries()) {
      history.add(event, eventId(eventIdPrefix(versionstamp), n), 0);
    }
    await history.commitDelivered(0, versionstamp);
  }
  // The feed must be empty, so that the file's size is that of history.
  const feed = async () => await Array.fromAsync(kv.list({ prefix: ["feed"] }, { limit: 1 }));
  await eventually(async () => (await feed()).length === 0, "everything is compacted");
}

Deno.test("History keeps the KV file at its quota, however much a client writes", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const sizes: Record<string, number[]> = {};
    for (const maxBytes of [10 * MIB, Infinity]) {
      const file = `${folder}/${maxBytes}`;
      using kv = await Deno.openKv(file);
      const warnings: string[] = [];
      const history = new History({
        metrics: openMetrics(),
        kv,
        clock,
        retention: retentionOf(WEEK_MS, 30_000),
        maxBytes,
        shards: 1,
        feedRowMs: 1,
        shardOf: () => 0,
        submit: () => {},
        warn: (message) => void warnings.push(message),
      });
      history.start([null]);
      const grown: number[] = sizes[`${maxBytes}`] = [];
      for (let part = 0; part < 4; part++) {
        await store(kv, history, 200, 20);
        grown.push(await bytesOf(file));
      }
      await history.close();
      assert(warnings.length === 0, warnings[0]);
    }
    const bounded = sizes[`${10 * MIB}`]!, free = sizes.Infinity!;
    const mib = (bytes: number) => `${(bytes / MIB).toFixed(1)} MiB`;
    // 40 MB of text are written. Without a quota all of it stays.
    assert(free.at(-1)! > 40 * MIB, mib(free.at(-1)!));
    for (const size of bounded) assert(size < 11 * MIB + FEED_BYTES + WAL_BYTES, mib(size));
    assert(
      bounded.at(-1)! < 1.1 * bounded[1]!,
      `${mib(bounded[1]!)}, then ${mib(bounded.at(-1)!)}`,
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
