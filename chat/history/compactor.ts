/**
 * Compaction: writes the events of the feed into a few larger rows per stream, a moment after they
 * were delivered, and removes feed rows that are no longer needed.
 *
 * The feed is the write-ahead log of history. Exactly one instance compacts a feed row, because each
 * commit checks and moves the shard's cursor. Events after the cursor are in memory (memtable.ts), so
 * a crash loses nothing: the next instance compacts what the feed still holds.
 */
import { type Clock, delay } from "../base/clock.ts";
import type { Metrics } from "../base/metrics.ts";
import { eventId, eventIdPrefix, unpack } from "../feed/events.ts";
import { compactedKey, feedRowsBetween } from "../kv/keys.ts";
import { eachWithTimeout, retry, withTimeout } from "../kv/retry.ts";
import { compactedFrom, type CompactedValue, feedRowFrom } from "../kv/values.ts";
import { CompactedRows } from "./compacted_rows.ts";
import type { KeptRow } from "./kept_rows.ts";
import { Memtable } from "./memtable.ts";
import type { Quota } from "./quota.ts";
import type { Retention } from "./retention.ts";
import { divideIntoCommits, type PlannedRow, planRows } from "./rows.ts";

/** What a compactor is made of. */
export interface CompactorParts {
  readonly kv: Deno.Kv;
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly quota: Quota;
  readonly retention: Retention;
  /** How many shards the feed has. */
  readonly shards: number;
  /** Milliseconds for which a feed row must be kept. */
  readonly feedRowMs: number;
  /** Returns Unix time: see {@linkcode History}. */
  nowMs(): number;
  /** Tells the operator of a fault on the server's side. */
  warn(message: string): void;
}

/** Feed rows that are to be compacted together. */
interface Plan {
  /** The versionstamp of the last of them; `undefined`: there are none. */
  readonly upTo: string | undefined;
  readonly versionstamps: readonly string[];
  /** The rows of history that hold their events, divided into commits. */
  readonly commits: readonly PlannedRow[][];
}

/** Milliseconds between the delivery of an event and its compaction: later events share its rows. */
const COMPACT_AFTER_MS = 1_000;

/**
 * Milliseconds between two compactions that edits of uncompacted messages ask for: many would divide
 * the history of all rooms into small rows.
 */
const MIN_EARLY_INTERVAL_MS = 200;

/** Compactions that one edit waits for. The first may have begun before the message was delivered. */
const MAX_EARLY_COMPACTIONS = 3;

/** Estimated bytes of events in a shard's memory from which compaction starts at once. */
const COMPACT_NOW_BYTES = 2 * 1024 * 1024;

/** Estimated bytes of events in a shard's memory from which the shard waits, to bound memory. */
const MAX_MEMTABLE_BYTES = 16 * 1024 * 1024;

/**
 * Estimated bytes of events, and streams, in one commit. KV takes 800 KiB and 1,000 mutations, and one
 * feed row may hold events of 700 streams.
 */
const MAX_COMMIT_BYTES = 600 * 1024;
const MAX_COMMIT_STREAMS = 250;

/** Feed rows, of at most 64 KiB, in one read after a crash. */
const READ_BATCH_ROWS = 32;

/** Compacts the feed of one instance's KV. */
export class Compactor {
  readonly #parts: CompactorParts;
  readonly #memtables: Memtable[];
  readonly #compacted: CompactedRows;
  #compacting: Promise<void> | undefined;
  /** Monotonic milliseconds at which the timer runs; `Infinity`: none is set. */
  #timerMs = Infinity;
  #cancelTimer = (): void => {};
  /** Monotonic milliseconds at which an edit last made a compaction start. */
  #earlyMs = -Infinity;
  /** The quota may be exceeded: there was no time yet to remove everything. */
  #isOverQuota = true;
  #hasEnded = false;

  constructor(parts: CompactorParts) {
    this.#parts = parts;
    this.#memtables = Array.from({ length: parts.shards }, () => new Memtable());
    this.#compacted = new CompactedRows(parts.clock, parts.feedRowMs);
  }

  /** The events that are not compacted yet, by shard. */
  get memtables(): readonly Memtable[] {
    return this.#memtables;
  }

  /** Enforces the quota from now on, even if nothing is compacted. */
  start(): void {
    this.#schedule(COMPACT_AFTER_MS);
  }

  /**
   * Compacts the rows that the feed holds up to the versionstamp of each shard: what earlier instances
   * left. Resolves when that is done, or the compactor is closed.
   */
  async compactStored(versionstamps: readonly (string | null)[]): Promise<void> {
    await Promise.all(
      versionstamps.map((versionstamp, shard) => this.#compactShard(shard, versionstamp ?? "")),
    );
  }

  /**
   * Called when all events of a feed row are in their memtable. The shard must wait for a returned
   * promise.
   */
  commitDelivered(shard: number, versionstamp: string): Promise<void> | undefined {
    const memtable = this.#memtables[shard]!;
    const { compactedTo } = memtable;
    if (compactedTo !== undefined && versionstamp <= compactedTo) return undefined;
    memtable.versionstamps.push(versionstamp);
    if (memtable.bytes > MAX_MEMTABLE_BYTES) return this.#compact();
    if (memtable.bytes > COMPACT_NOW_BYTES) void this.#compact();
    else this.#schedule(COMPACT_AFTER_MS);
    return undefined;
  }

  /**
   * Waits until an event that was delivered is compacted, which it makes happen soon. `not-found`: no
   * such event is waiting for that. `failed`: KV does not answer, or the compactor is closed.
   */
  async compactTo(shard: number, eventId: string): Promise<"done" | "not-found" | "failed"> {
    const { clock } = this.#parts;
    const memtable = this.#memtables[shard]!;
    for (let i = 0; i <= MAX_EARLY_COMPACTIONS; i++) {
      if (eventId < memtable.end) return "done";
      if (memtable.find(eventId) === undefined) return "not-found";
      if (this.#hasEnded || i === MAX_EARLY_COMPACTIONS) break;
      const waitMs = this.#earlyMs + MIN_EARLY_INTERVAL_MS - clock.monotonicMs();
      if (waitMs > 0) await delay(clock, waitMs);
      if (this.#compacting === undefined) this.#earlyMs = clock.monotonicMs();
      const { end } = memtable;
      await this.#compact();
      if (i > 0 && memtable.end === end) break;
    }
    return "failed";
  }

  /** Stops starting anything. Await {@linkcode Compactor.idle} after that. */
  stop(): void {
    this.#hasEnded = true;
    this.#cancelTimer();
  }

  /** Resolves when no compaction is under way. Another instance compacts what is left. */
  async idle(): Promise<void> {
    await this.#compacting;
  }

  /** Compacts after `ms` milliseconds, unless that is due earlier. */
  #schedule(ms: number): void {
    const { clock } = this.#parts;
    const timerMs = clock.monotonicMs() + ms;
    if (this.#hasEnded || timerMs >= this.#timerMs) return;
    this.#cancelTimer();
    this.#timerMs = timerMs;
    this.#cancelTimer = clock.after(ms, () => {
      this.#timerMs = Infinity;
      void this.#compact();
    });
  }

  #compact(): Promise<void> {
    return this.#compacting ??= this.#compactAll().finally(() => {
      this.#compacting = undefined;
      const hasMore = this.#memtables.some(({ versionstamps }) => versionstamps.length > 0);
      if (this.#isOverQuota || hasMore) return this.#schedule(COMPACT_AFTER_MS);
      // In an idle chat nothing else may run for hours, so the removal of feed rows needs a timer.
      const ms = this.#compacted.untilDue();
      if (ms !== undefined) this.#schedule(Math.max(COMPACT_AFTER_MS, ms));
    });
  }

  async #compactAll(): Promise<void> {
    const { warn } = this.#parts;
    const warned = (error: unknown) => warn(`Cannot write history: ${(error as Error).message}`);
    for (const [shard, memtable] of this.#memtables.entries()) {
      if (memtable.compactedTo === undefined) continue;
      // Without the rows that arrive meanwhile: compacted at once, they would fill many small rows.
      const newest = memtable.versionstamps.at(-1);
      const isLeft = () => {
        const [oldest] = memtable.versionstamps;
        return oldest !== undefined && newest !== undefined && oldest <= newest;
      };
      while (!this.#hasEnded && (isLeft() || this.#compacted.isDue(shard))) {
        const worked = await this.#retry(() => this.#compactOnce(shard, memtable), warned);
        // The events stay in memory and in the feed.
        if (!worked) break;
        // Before the next commit: where rows are removed more slowly than written, writing waits.
        await this.#enforceQuota();
      }
    }
    if (this.#isOverQuota) await this.#enforceQuota();
  }

  #retry(attempt: () => Promise<void>, failed: (error: unknown) => void): Promise<boolean> {
    const counted = () =>
      attempt().catch((error) => {
        this.#parts.metrics.kvFailed("history");
        throw error;
      });
    return retry(this.#parts.clock, counted, failed);
  }

  async #enforceQuota(): Promise<void> {
    const { quota, nowMs, warn } = this.#parts;
    const warned = (error: unknown) =>
      warn(`Cannot remove old history: ${(error as Error).message}`);
    this.#isOverQuota = true;
    await this.#retry(async () => {
      this.#isOverQuota = !(await quota.enforce(nowMs()));
    }, warned);
  }

  /**
   * Compacts the oldest rows of a memtable, unless another instance has, and removes feed rows that
   * are old enough.
   */
  async #compactOnce(shard: number, memtable: Memtable): Promise<void> {
    const { kv, clock } = this.#parts;
    const cursor = await withTimeout(clock, kv.get<unknown>(compactedKey(shard)));
    const { upTo, rows } = compactedFrom(cursor.value);
    if (upTo > memtable.compactedTo!) {
      memtable.forget(upTo);
      if (memtable.versionstamps.length === 0) return;
    }
    const plan = this.#plan(memtable, rows);
    const removable = this.#compacted.removable(shard);
    if (plan.versionstamps.length === 0 && removable.length === 0) return;
    if (!await this.#write(cursor, plan, removable)) return;
    this.#compacted.forget(shard, removable.length);
    if (plan.upTo === undefined) return;
    this.#compacted.add(shard, plan.versionstamps);
    memtable.forget(plan.upTo);
  }

  /**
   * Plans the compaction of the oldest feed rows of a memtable. `written` of their history rows are
   * already written. More than one commit is planned only for a single feed row.
   */
  #plan(memtable: Memtable, written: number): Plan {
    const { retention, nowMs } = this.#parts;
    for (let maxRows = written > 0 ? 1 : Infinity;;) {
      const { streams, versionstamps } = memtable.takeOldest(
        MAX_COMMIT_BYTES,
        MAX_COMMIT_STREAMS,
        maxRows,
      );
      const rows = planRows(streams, retention, nowMs());
      const commits = divideIntoCommits(rows.slice(written));
      if (versionstamps.length <= 1 || commits.length <= 1) {
        return { upTo: versionstamps.at(-1), versionstamps, commits };
      }
      maxRows = versionstamps.length >> 1;
    }
  }

  /**
   * Writes the rows of a plan, moves the cursor to its end, and removes feed rows. Returns false if
   * another instance has moved the cursor.
   *
   * Each of several commits moves the cursor, all but the last one only within the next feed row: after
   * a crash, no instance counts again what was written. No reader sees rows after the cursor.
   */
  async #write(
    cursor: Deno.KvEntryMaybe<unknown>,
    { upTo, commits }: Plan,
    removable: readonly Deno.KvKey[] = [],
  ): Promise<boolean> {
    const { kv, clock } = this.#parts;
    const last = commits.at(-1) ?? [];
    let check: Deno.AtomicCheck = cursor;
    let { upTo: before, rows: written } = compactedFrom(cursor.value);
    for (const rows of [...commits.slice(0, -1), last]) {
      written += rows.length;
      const isLast = rows === last;
      const next = isLast ? { upTo: upTo ?? before, rows: 0 } : { upTo: before, rows: written };
      const atomic = kv.atomic().check(check);
      const kept = this.#addRows(atomic, rows);
      if (upTo !== undefined) atomic.set(cursor.key, { v: 1, ...next });
      if (isLast) { for (const key of removable) atomic.delete(key); }
      const result = await withTimeout(clock, atomic.commit());
      if (result.ok) check = { key: cursor.key, versionstamp: result.versionstamp };
      else {
        // KV Connect's client may have repeated a commit that succeeded.
        const found = await withTimeout(clock, kv.get<unknown>(cursor.key));
        if (upTo === undefined || !isEqual(compactedFrom(found.value), next)) return false;
        check = found;
      }
      this.#parts.quota.wrote(kept);
    }
    return true;
  }

  /** Adds the writing of rows to a commit, with all that the quota counts. */
  #addRows(atomic: Deno.AtomicOperation, rows: readonly PlannedRow[]): KeptRow[] {
    const kept: KeptRow[] = [];
    for (const row of rows) {
      if (row === undefined) continue;
      atomic.set(row.key, row.value, { expireIn: row.expireIn });
      kept.push(row.kept);
    }
    atomic.mutate(...this.#parts.quota.counting(kept));
    return kept;
  }

  /** Compacts what a shard's feed holds up to a versionstamp: mostly what a crash left. */
  async #compactShard(shard: number, upTo: string): Promise<void> {
    const { quota, nowMs, warn } = this.#parts;
    const memtable = this.#memtables[shard]!;
    const warned = (error: unknown) => warn(`Cannot compact history: ${(error as Error).message}`);
    // No caller can be told of a failure, and nothing can be read before: tries without end.
    while (!this.#hasEnded && memtable.compactedTo === undefined) {
      await this.#retry(async () => {
        await quota.begin(nowMs());
        if (await this.#compactStoredOnce(shard, upTo)) memtable.forget(upTo);
      }, warned);
    }
  }

  /** Compacts some stored rows. Returns whether all rows up to the versionstamp are compacted. */
  async #compactStoredOnce(shard: number, upTo: string): Promise<boolean> {
    const { kv, clock } = this.#parts;
    const cursor = await withTimeout(clock, kv.get<unknown>(compactedKey(shard)));
    const compacted = compactedFrom(cursor.value);
    if (compacted.upTo >= upTo) return true;
    const stored = await this.#readFeed(feedRowsBetween(shard, compacted.upTo, upTo));
    const plan = this.#plan(stored, compacted.rows);
    const last = plan.upTo ?? upTo;
    if (!await this.#write(cursor, { ...plan, upTo: last })) return false;
    if (plan.versionstamps.length > 0) {
      this.#compacted.add(shard, plan.versionstamps);
      this.#schedule(COMPACT_AFTER_MS);
    }
    return last >= upTo;
  }

  /** Reads feed rows into a memtable of their own: at least one row, and a little more than one commit holds. */
  async #readFeed(selector: Deno.KvListSelector): Promise<Memtable> {
    const { kv, clock } = this.#parts;
    const rows = kv.list<unknown>(selector, { limit: READ_BATCH_ROWS, batchSize: 8 });
    const memtable = new Memtable();
    for await (const { versionstamp, value } of eachWithTimeout(clock, rows)) {
      const prefix = eventIdPrefix(versionstamp);
      for (const [i, stored] of (feedRowFrom(value)?.events ?? []).entries()) {
        const event = unpack(stored);
        if (event !== undefined) memtable.add(event, eventId(prefix, i));
      }
      memtable.versionstamps.push(versionstamp);
      if (memtable.bytes > MAX_COMMIT_BYTES) break;
    }
    return memtable;
  }
}

function isEqual(one: CompactedValue, other: CompactedValue): boolean {
  return one.upTo === other.upTo && one.rows === other.rows;
}
