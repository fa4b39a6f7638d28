/**
 * The reading part of a shard: reads the rows that any instance committed, and delivers their events
 * in versionstamp order.
 *
 * It does not commit, and does not decide when to read: shard.ts runs one step at a time. It keeps
 * the shard's cursor, and knows whether other instances write the shard.
 */
import { yieldToEventLoop } from "../base/clock.ts";
import { elapsedMs, LONG_AGO, momentOf } from "../base/moment.ts";
import { feedRowsBetween } from "../kv/keys.ts";
import { eachWithTimeout, withTimeout } from "../kv/retry.ts";
import { feedRowFrom } from "../kv/values.ts";
import { hasAct, type Operation } from "./batch.ts";
import { eventId, eventIdPrefix, unpack } from "./events.ts";
import { FEED_ROW_MS, settleAll, type ShardContext } from "./shard_parts.ts";

/**
 * Milliseconds after which a shard cannot assume any more that every row after its cursor still
 * exists: other instances remove rows after {@linkcode FEED_ROW_MS}.
 */
const MAX_PAUSE_MS = FEED_ROW_MS / 2;

/** Milliseconds without foreign rows after which a shard returns to exclusive mode. */
const EXCLUSIVE_AFTER_MS = 5_000;

/** Feed rows in one read. A row has at most 64 KiB. */
const READ_BATCH_ROWS = 64;

/**
 * Frames sent to sockets before the event loop writes them out and reads more. What it reads shares
 * the next commit and, in `chat.v1`, its frames. With 4,096 frames, the throughput of a room of 1,000
 * fell by a quarter.
 */
const MAX_FRAMES_PER_TURN = 256;

/** Reads and delivers the rows of one shard. */
export class ShardReader {
  readonly #context: ShardContext;
  /** The versionstamp up to which everything has been delivered. */
  #cursor: string;
  /** The newest versionstamp at which the notification key was seen. */
  #notifiedAt = "";
  /** The start of the newest read that left nothing unread. Every row after the cursor is younger. */
  #currentAt = LONG_AGO;
  /** Monotonic time at which the shard fell behind, if it is behind. */
  #behindSinceMs = 0;
  #isLost = false;
  #isShared = false;
  /** Monotonic time at which a row of another instance was last found. */
  #foreignRowAtMs = 0;
  /** Own commits that will be delivered when their row is read, by their number. */
  readonly #awaitingRead = new Map<number, readonly Operation[]>();
  /** The versionstamp of the last act in the shard that was delivered; empty: there was none. */
  #lastAct: string;
  /** Frames sent since the event loop last ran. */
  #frames = 0;

  /** Nothing up to `versionstamp` is delivered. `lastAct`: see {@linkcode ShardReader.lastAct}. */
  constructor(versionstamp: string | null, lastAct: string | null, context: ShardContext) {
    this.#cursor = versionstamp ?? "";
    this.#lastAct = lastAct ?? "";
    this.#context = context;
  }

  /** The versionstamp up to which everything has been delivered, or is being delivered. */
  get cursor(): string {
    return this.#cursor;
  }

  /**
   * The versionstamp of the last act in the shard, as far as events were delivered; empty: there was none.
   */
  get lastAct(): string {
    return this.#lastAct;
  }

  /** Called when every act in the shard up to this versionstamp has been delivered. */
  actsDelivered(versionstamp: string | null): void {
    // Only a person can have removed the key of the last act.
    if (versionstamp === null) this.#lastAct = "";
    else if (versionstamp > this.#lastAct) this.#lastAct = versionstamp;
  }

  /** Whether rows may have been removed before they were read. Then nothing more is delivered. */
  get isLost(): boolean {
    return this.#isLost;
  }

  /** Whether there are rows that have not been read. */
  get isBehind(): boolean {
    return !this.#isLost && this.#notifiedAt > this.#cursor;
  }

  /** Whether other instances have written the shard recently. */
  isShared(): boolean {
    const quietMs = this.#context.parts.clock.monotonicMs() - this.#foreignRowAtMs;
    if (quietMs > EXCLUSIVE_AFTER_MS) this.#isShared = false;
    return this.#isShared;
  }

  /** Called when another instance has written the shard. */
  enterSharedMode(): void {
    this.#isShared = true;
    this.#foreignRowAtMs = this.#context.parts.clock.monotonicMs();
  }

  /** Called when the notification key was seen at this versionstamp. Returns whether that is news. */
  notify(versionstamp: string | null): boolean {
    if (versionstamp === null || versionstamp <= this.#notifiedAt) return false;
    if (!this.isBehind) this.#behindSinceMs = this.#context.parts.clock.monotonicMs();
    this.#notifiedAt = versionstamp;
    return true;
  }

  /** Leaves the delivery of an own commit to the read that finds its row. */
  awaitRead(n: number, operations: readonly Operation[]): void {
    this.#awaitingRead.set(n, operations);
  }

  /** Takes back {@linkcode ShardReader.awaitRead}. Returns false if the row has been delivered. */
  cancelAwaitRead(n: number): boolean {
    return this.#awaitingRead.delete(n);
  }

  /** Reads and delivers the rows after the cursor. Returns whether KV could be read. */
  catchUp(): Promise<boolean> {
    return this.#context.retry(() => this.#readRows());
  }

  /** Moves the cursor to an own commit, with no row before it unread, and delivers the commit. */
  async deliverCommitted(operations: readonly Operation[], versionstamp: string): Promise<void> {
    this.#cursor = versionstamp;
    await this.#deliverOwn(operations, versionstamp);
  }

  async #readRows(): Promise<void> {
    const { kv, index, parts: { clock } } = this.#context;
    const upTo = this.#notifiedAt;
    for (let hasMore = true; hasMore;) {
      const startedAt = momentOf(clock);
      const selector = feedRowsBetween(index, this.#cursor);
      const list = kv.list<unknown>(selector, { limit: READ_BATCH_ROWS });
      const rows = await Array.fromAsync(eachWithTimeout(clock, list));
      if (!(await this.#isComplete())) return this.#lose();
      for (const { value, versionstamp } of rows) {
        // Before the delivery: a row is delivered at most once, whatever error its delivery throws.
        this.#cursor = versionstamp;
        await this.#deliverRow(value, versionstamp);
      }
      hasMore = rows.length === READ_BATCH_ROWS;
      if (!hasMore) this.#currentAt = startedAt;
    }
    // The notification was seen before the read, so all rows up to it were found. A row that was
    // removed, by expiry or by hand, must not make the shard look for it for ever.
    if (upTo > this.#cursor) this.#cursor = upTo;
  }

  /**
   * Returns whether no row can have been removed between the cursor and the rows just read. Asked
   * after the read, because the process may be suspended between any two steps. An instance that was
   * suspended has lost its lease long before rows are removed. An instance that runs, but cannot
   * read KV, may still hold its lease.
   */
  async #isComplete(): Promise<boolean> {
    const { kv, parts: { clock, lease } } = this.#context;
    if (elapsedMs(clock, this.#currentAt) < MAX_PAUSE_MS) return true;
    if (clock.monotonicMs() - this.#behindSinceMs >= MAX_PAUSE_MS) return false;
    const held = await withTimeout(clock, kv.get(lease.key));
    return held.versionstamp === lease.versionstamp;
  }

  /** Ends the instance: rows that it has not read may have been removed. */
  #lose(): void {
    this.#isLost = true;
    for (const operations of this.#awaitingRead.values()) settleAll(operations, "failed");
    this.#awaitingRead.clear();
    this.#context.failQueue();
    this.#context.parts.onLeaseLost();
  }

  async #deliverRow(value: unknown, versionstamp: string): Promise<void> {
    const { index, parts: { instance, warn, deliver } } = this.#context;
    const row = feedRowFrom(value);
    if (row === undefined) return warn("Skipped a feed row of an unknown version");
    const isOwn = row.from === instance;
    const own = isOwn ? this.#awaitingRead.get(row.n) : undefined;
    if (own !== undefined) {
      this.#awaitingRead.delete(row.n);
      return await this.#deliverOwn(own, versionstamp);
    }
    if (!isOwn) this.#foreignRow(row.events[0]);
    const prefix = eventIdPrefix(versionstamp);
    for (const [i, stored] of row.events.entries()) {
      const event = unpack(stored);
      if (event === undefined) warn("Skipped an event of an unknown kind");
      else {
        if (event.kind === "act") this.actsDelivered(versionstamp);
        this.#frames += deliver(event, eventId(prefix, i), index);
      }
      if (this.#frames >= MAX_FRAMES_PER_TURN) await this.#yield();
    }
    await this.#endCommit(versionstamp);
  }

  /** Another instance has written a row, with this event first. */
  #foreignRow(stored: unknown): void {
    this.enterSharedMode();
    const first = unpack(stored);
    const { clock, metrics } = this.#context.parts;
    // The clocks of two machines may differ.
    if (first !== undefined) metrics.delivered(Math.max(0, clock.now() - first.time) / 1000);
  }

  async #deliverOwn(operations: readonly Operation[], versionstamp: string): Promise<void> {
    const { index, parts } = this.#context;
    const prefix = eventIdPrefix(versionstamp);
    let i = 0;
    for (const operation of operations) {
      const { events = [], settle } = operation;
      if (hasAct(operation)) this.#actDelivered(operation, versionstamp);
      const first = events.length === 0 ? undefined : eventId(prefix, i);
      for (const event of events) this.#frames += parts.deliver(event, eventId(prefix, i++), index);
      settle("done", first);
      if (this.#frames >= MAX_FRAMES_PER_TURN) await this.#yield();
    }
    await this.#endCommit(versionstamp);
  }

  #actDelivered({ copies }: Operation, versionstamp: string): void {
    this.actsDelivered(versionstamp);
    // In exclusive mode nothing else tells the other shards.
    for (const shard of copies?.keys() ?? []) this.#context.copied(shard, versionstamp);
  }

  async #endCommit(versionstamp: string): Promise<void> {
    const { index, parts } = this.#context;
    const frames = parts.commitDelivered(index, versionstamp);
    this.#frames += typeof frames === "number" ? frames : await frames;
    if (this.#frames >= MAX_FRAMES_PER_TURN) await this.#yield();
  }

  #yield(): Promise<void> {
    this.#frames = 0;
    return yieldToEventLoop(this.#context.parts.clock);
  }
}
