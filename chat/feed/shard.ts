/**
 * One shard of the feed: a single pump that commits what waits, reads what others committed, and
 * delivers both in versionstamp order.
 *
 * Second half of the group commit, and the place where the chat's one order is made. Commit, read
 * and delivery of a shard never interleave: one of them moving the cursor under another would show
 * a row twice or never. It does not know rooms or sockets.
 */
import {
  type Batch,
  batchOf,
  bytesOfEvent,
  keyText,
  type Operation,
  type Outcome,
  takeBatch,
} from "./batch.ts";
import { type Clock, yieldToEventLoop } from "../base/clock.ts";
import {
  backOff,
  eachWithTimeout,
  retry,
  RETRY_FOR_MS,
  shouldLog,
  withTimeout,
} from "../kv/retry.ts";
import {
  eventId,
  eventIdPrefix,
  pack,
  type RoomEvent,
  type StoredEvent,
  unpack,
} from "./events.ts";
import { isRefusal } from "../kv/limits.ts";
import { elapsedMs, LONG_AGO, momentOf } from "../base/moment.ts";

/** Milliseconds a feed row is kept at least: longer than any lease, so that who is behind can catch up. */
export const FEED_ROW_MS = 10 * 60_000;

/**
 * Milliseconds after which a shard cannot take for granted any more that every row after its cursor
 * is still there: others remove rows when {@linkcode FEED_ROW_MS} is over.
 */
const MAX_PAUSE_MS = FEED_ROW_MS / 2;

/** Milliseconds without foreign rows after which a shard tries being alone again. */
const EXCLUSIVE_AFTER_MS = 5_000;

/** Feed rows in one read: a row has at most 64 KiB. */
const READ_BATCH_ROWS = 64;

/** Keys in one `getMany`: KV takes no more. */
const MAX_GETMANY_KEYS = 10;

/**
 * Frames handed to sockets before the event loop gets a turn to write them out and to read. What is
 * read then shares the next commit and, in `chat.v1`, its frames: in a room of 1,000 a turn only
 * after 4,096 frames took a quarter off what can be said.
 */
const FRAMES_PER_TURN = 256;

/**
 * Estimated bytes of messages that may wait in one shard. More is answered at once: memory has an
 * end. Changes of state do not count: of each connection there is one at a time.
 */
const MAX_QUEUED_BYTES = 4 * 1024 * 1024;

/**
 * Bytes of events that fit into a request of less than 1 KiB, the rest of it included. Deno's KV
 * Connect client writes a larger one in two pieces, and the second waits for a delayed TCP
 * acknowledgement: 44 ms instead of 1 (measured against denokv on the same machine).
 */
const SMALL_COMMIT_BYTES = 620;

/** Estimated bytes that wait, from which on a large and slow commit is faster than many small ones. */
const LARGE_COMMIT_FROM_BYTES = 32 * 1024;

/** What a shard is made of; the same for all shards of a feed. */
export interface ShardParts {
  /** For each shard a handle; they may all be the same. See {@linkcode Handles}. */
  readonly shards: readonly Deno.Kv[];
  /** Whether a larger request than {@linkcode SMALL_COMMIT_BYTES} takes much longer than a small one. */
  readonly smallIsFast: boolean;
  /** The instance's id: tells its own rows from those of others. */
  readonly instance: string;
  /** Holds as long as this instance's lease does: without it nothing may be written. */
  readonly lease: Deno.AtomicCheck;
  /** Checks that KV takes in one atomic, besides the shard's two. */
  readonly mostChecks: number;
  /** Milliseconds after which KV may remove a feed row: at least {@linkcode FEED_ROW_MS}. */
  readonly feedRowMs: number;
  /**
   * Takes an event with its id, to show it to whom it concerns on this instance. Says how many
   * frames that took.
   */
  deliver(event: RoomEvent, at: string, shard: number): number;
  /**
   * Called when all events of a commit have been delivered: what was held back to share a frame is
   * to be sent. Says how many frames that took; what it promises is waited for.
   */
  delivered(shard: number, versionstamp: string): number | Promise<number>;
  /** Called when the lease is found to be gone. */
  onLeaseLost(): void;
  readonly clock: Clock;
  /** Tells the operator of a fault of ours, once each. */
  warn(message: string): void;
}

/** The form of a feed row. Rows with another `v` were written by another version. */
interface FeedRow {
  readonly v: 1;
  readonly from: string;
  /** The writer's count of its commits to this shard: `from` and `n` together are unique. */
  readonly n: number;
  readonly events: readonly StoredEvent[];
}

/**
 * What makes a commit succeed at most once however often it is tried, and lets it move on when it
 * did: `bell` while alone (nobody has written the shard since), else `turn`, a row of our own.
 */
type Guard = "bell" | "turn";

/** The bell of a shard: set by every commit that adds to its feed. */
export function notifyKey(shard: number): Deno.KvKey {
  return ["bell", shard];
}

/** One shard. Made by the feed, started by {@linkcode Shard.notify} or {@linkcode Shard.submit}. */
export class Shard {
  readonly #parts: ShardParts;
  readonly #kv: Deno.Kv;
  readonly #index: number;
  readonly #queue: Operation[] = [];
  #queuedBytes = 0;
  /** Halves of batches that KV refused, the first one last: each is to be committed by itself. */
  readonly #halves: Batch[] = [];
  /** The versionstamp up to which everything has been delivered. */
  #cursor: string;
  /** The newest versionstamp that the bell was seen at. */
  #notifiedAt = "";
  /** When the newest read began that left nothing unread. Every row after the cursor is younger. */
  #currentAt = LONG_AGO;
  /** Since when it has been known that something is unread, by the monotonic clock. */
  #behindSinceMs = 0;
  /** Rows may have been removed before they were read: nothing may be delivered any more. */
  #over = false;
  #shared = false;
  #foreignRowAtMs = 0;
  #pumping: Promise<void> | undefined;
  /** Called when the next commit, or the next read, and its delivery are done. */
  #afterStep: (() => void)[] = [];
  #commits = 0;
  /** A commit was given up, and may yet be written. */
  #uncertain = false;
  #turn: string | null = null;
  /** Commits whose row is to be delivered by reading, by their number. */
  readonly #awaitingRead = new Map<number, readonly Operation[]>();
  #frames = 0;

  /** `bell` is where the shard's bell stands: nothing before it is delivered. */
  constructor(index: number, bell: string | null, parts: ShardParts) {
    this.#index = index;
    this.#cursor = bell ?? "";
    this.#parts = parts;
    this.#kv = parts.shards[index]!;
  }

  /** Takes an operation for the next commit, or settles it as failed where too many wait. */
  submit(operation: Operation): void {
    const bytes = weight(operation);
    if (this.#over || (bytes > 0 && this.#queuedBytes + bytes > MAX_QUEUED_BYTES)) {
      return operation.settle("failed");
    }
    this.#queuedBytes += bytes;
    this.#queue.push(operation);
    this.#wake();
  }

  /** The bell was seen at this versionstamp: whatever is new is read and delivered. */
  notify(versionstamp: string | null): void {
    if (versionstamp === null || versionstamp <= this.#notifiedAt) return;
    if (!this.#isBehind()) this.#behindSinceMs = this.#parts.clock.monotonicMs();
    this.#notifiedAt = versionstamp;
    this.#wake();
  }

  /** Resolves when nothing waits any more. */
  async idle(): Promise<void> {
    while (this.#pumping !== undefined) await this.#pumping;
  }

  /** Resolves when everything up to this versionstamp of the bell has been delivered. */
  async reached(bell: string | null): Promise<void> {
    this.notify(bell);
    // The cursor moves before a row is shown: so one step is waited for in any case.
    while (this.#pumping !== undefined) {
      await new Promise<void>((resolve) => this.#afterStep.push(resolve));
      if (this.#cursor >= (bell ?? "")) return;
    }
  }

  #stepped(): void {
    for (const resolve of this.#afterStep.splice(0)) resolve();
  }

  #wake(): void {
    this.#pumping ??= this.#pump().finally(() => {
      this.#pumping = undefined;
      this.#stepped();
      // What came in between the pump's last look and this moment.
      if (this.#isBusy()) this.#wake();
    });
  }

  #isBusy(): boolean {
    return this.#uncertain || this.#isBehind() || this.#halves.length > 0 || this.#queue.length > 0;
  }

  #isBehind(): boolean {
    return !this.#over && this.#notifiedAt > this.#cursor;
  }

  async #pump(): Promise<void> {
    // What is submitted in the same turn of the event loop shares the commit.
    await Promise.resolve();
    while (this.#isBusy()) {
      if (this.#uncertain) await this.#retry(() => this.#resolveDoubt());
      else if (this.#isBehind()) await this.#catchUp();
      else await this.#commit(this.#takeBatch());
      this.#stepped();
    }
  }

  #takeBatch(): Batch {
    const half = this.#halves.pop();
    if (half !== undefined) return half;
    const small = this.#parts.smallIsFast && this.#queuedBytes < LARGE_COMMIT_FROM_BYTES;
    const batch = takeBatch(
      this.#queue,
      small ? SMALL_COMMIT_BYTES : undefined,
      this.#parts.mostChecks,
    );
    for (const operation of batch.operations) this.#queuedBytes -= weight(operation);
    return batch;
  }

  async #commit(batch: Batch): Promise<void> {
    const n = ++this.#commits;
    let { operations, checks } = batch;
    let guard = this.#chooseGuard(operations);
    let failures = 0, since = 0;
    while (operations.length > 0) {
      let result: Deno.KvCommitResult | Deno.KvCommitError;
      try {
        const atomic = this.#atomic(n, guard, operations, checks);
        result = await withTimeout(this.#parts.clock, atomic.commit());
      } catch (error) {
        if (isRefusal(error)) {
          // This try wrote nothing, but an earlier one may have, or may yet.
          if (failures > 0) {
            ({ operations } = await this.#findConflicts(n, guard, operations, checks, true));
          }
          return this.#halve(operations, error as Error);
        }
        // It may have been written all the same. Trying again is safe: the guard lets one try pass.
        if (failures++ === 0) since = this.#parts.clock.monotonicMs();
        if (shouldLog(failures)) this.#warn(error);
        if (this.#parts.clock.monotonicMs() - since > RETRY_FOR_MS) {
          return this.#failAll(operations, true);
        }
        await backOff(this.#parts.clock, failures);
        continue;
      }
      if (result.ok) return await this.#committed(n, guard, operations, result.versionstamp);
      const kept = await this.#findConflicts(n, guard, operations, checks, failures > 0);
      // Another guard is safe only when no earlier try can pass any more, or there was none.
      if (kept.broken || failures === 0) guard = this.#chooseGuard(kept.operations);
      ({ operations, checks } = kept);
    }
  }

  /**
   * KV refuses a commit as invalid, and always will: its halves are tried apart, until the operation
   * at fault is alone and fails alone.
   */
  #halve(operations: Operation[], { message }: Error): void {
    if (operations.length === 0) return;
    if (operations.length === 1) {
      this.#parts.warn(`storage refuses an operation: ${message}`);
      return settle(operations, "failed");
    }
    const middle = operations.length >> 1;
    this.#halves.push(batchOf(operations.slice(middle)), batchOf(operations.slice(0, middle)));
  }

  /** Nobody else writes here, as far as is known: then the bell itself is the guard. */
  #chooseGuard(operations: readonly Operation[]): Guard {
    if (
      this.#shared && this.#parts.clock.monotonicMs() - this.#foreignRowAtMs > EXCLUSIVE_AFTER_MS
    ) {
      this.#shared = false;
    }
    return !this.#shared && operations.some(hasEvent) ? "bell" : "turn";
  }

  #guardCheck(guard: Guard): Deno.AtomicCheck {
    return guard === "bell"
      ? { key: notifyKey(this.#index), versionstamp: this.#cursor || null }
      : { key: this.#turnKey(), versionstamp: this.#turn };
  }

  #turnKey(): Deno.KvKey {
    return ["instance", this.#parts.instance, this.#index];
  }

  #atomic(
    n: number,
    guard: Guard,
    operations: readonly Operation[],
    checks: readonly Deno.AtomicCheck[],
  ): Deno.AtomicOperation {
    const { lease, instance, feedRowMs: rowLife } = this.#parts;
    const atomic = this.#kv.atomic().check(this.#guardCheck(guard), lease, ...checks);
    // Before all others: that a sum finds no number KV notices only while it writes, and then it
    // refuses the commit but keeps what it has written so far.
    for (const { mutations } of operations) {
      if (mutations?.some(isSum)) atomic.mutate(...mutations.filter(isSum));
    }
    if (guard === "turn") atomic.set(this.#turnKey(), n);
    const events: StoredEvent[] = [];
    for (const { mutations, event } of operations) {
      if (mutations !== undefined) atomic.mutate(...mutations.filter((each) => !isSum(each)));
      if (event !== undefined) events.push(pack(event));
    }
    if (events.length > 0) {
      const row: FeedRow = { v: 1, from: instance, n, events };
      const key = ["feed", this.#index, this.#kv.commitVersionstamp()];
      atomic.set(key, row, { expireIn: rowLife }).set(notifyKey(this.#index), n);
    }
    return atomic;
  }

  async #committed(
    n: number,
    guard: Guard,
    operations: readonly Operation[],
    versionstamp: string,
  ): Promise<void> {
    if (guard === "turn") this.#turn = versionstamp;
    if (!operations.some(hasEvent)) return settle(operations, "done");
    if (guard === "turn") {
      // Rows of others may stand before this one: it is delivered when it is read.
      this.#awaitingRead.set(n, operations);
      return this.notify(versionstamp);
    }
    // The guard held: nothing can stand between the cursor and this row.
    this.#cursor = versionstamp;
    // Before the next commit begins: while these are shown more comes in, and shares it. (To commit
    // and to show at the same time was tried: smaller commits, smaller frames, 10 to 20 % slower.)
    await this.#deliverOwn(operations, versionstamp);
  }

  /**
   * After a failed check: finds out whose it was. An operation whose own check fails is a conflict
   * and hurts only itself; the rest is returned, to be tried again. `broken` says that the guard
   * failed, so that no earlier try can pass any more.
   */
  async #findConflicts(
    n: number,
    guard: Guard,
    operations: Operation[],
    checks: Deno.AtomicCheck[],
    unsure: boolean,
  ): Promise<Batch & { broken: boolean }> {
    const { lease, onLeaseLost: lost } = this.#parts;
    const nothing = { operations: [], checks: [], broken: true };
    const asked = [this.#guardCheck(guard), lease, ...checks];
    const stale = new Set<string>();
    let guardAt: string | null = null, guardIs: unknown;
    const read = await this.#retry(async () => {
      const found = await this.#entries(asked.map(({ key }) => key));
      ({ versionstamp: guardAt, value: guardIs } = found[0]!);
      stale.clear();
      asked.forEach(({ key, versionstamp }, i) => {
        if (found[i]!.versionstamp !== versionstamp) stale.add(keyText(key));
      });
    });
    if (!read) return this.#failAll(operations, unsure), nothing;
    if (stale.has(keyText(lease.key))) {
      settle(operations, "failed");
      lost();
      return nothing;
    }
    let broken = stale.has(keyText(asked[0]!.key));
    // A turn holds the number of the commit that moved it.
    let passed = guardIs === n;
    if (unsure && !broken) {
      // Nobody may be told how it ended while a try from before can pass yet.
      const barred = await this.#invalidateGuard(n, guard);
      if (barred === undefined) return this.#failAll(operations, unsure), nothing;
      broken = true;
      ({ passed, at: guardAt } = barred);
    }
    if (broken) {
      if (guard === "turn") this.#turn = guardAt;
      else this.#enterSharedMode();
      const silent = !operations.some(hasEvent);
      // Also when no try seemed to fail: KV Connect's client repeats a commit whose answer was lost
      // by itself, and then says that its check failed.
      if (silent && passed) return settle(operations, "done"), nothing;
      // A try whose answer was lost is found among the rows; otherwise somebody else was here.
      this.#awaitingRead.set(n, operations);
      this.notify(guardAt);
      const seen = await this.#catchUp();
      if (!this.#awaitingRead.delete(n)) return nothing;
      if (!seen) return this.#failAll(operations, unsure), nothing;
    }
    const isStale = ({ key }: Deno.AtomicCheck) => stale.has(keyText(key));
    const kept = operations.filter((operation) => !operation.checks?.some(isStale));
    settle(operations.filter((operation) => operation.checks?.some(isStale)), "conflict");
    return { ...batchOf(kept), broken };
  }

  /**
   * Moves a guard that still stands, so that no try from before can pass any more. Says whether one
   * had passed by then; `undefined` if storage does not answer.
   */
  async #invalidateGuard(
    n: number,
    guard: Guard,
  ): Promise<{ passed: boolean; at: string } | undefined> {
    const { clock, lease } = this.#parts;
    const check = this.#guardCheck(guard);
    let barred: { passed: boolean; at: string } | undefined;
    await this.#retry(async () => {
      const { versionstamp, value } = await withTimeout(clock, this.#kv.get<unknown>(check.key));
      if (versionstamp !== null && versionstamp !== check.versionstamp) {
        barred = { passed: value === n, at: versionstamp };
        return;
      }
      const bar = this.#kv.atomic().check(check, lease).set(check.key, -n);
      const moved = await withTimeout(clock, bar.commit());
      if (!moved.ok) throw new Error("the guard of a commit was moved, or the lease is gone");
      barred = { passed: false, at: moved.versionstamp };
    });
    return barred;
  }

  async #entries(keys: readonly Deno.KvKey[]): Promise<Deno.KvEntryMaybe<unknown>[]> {
    const found: Deno.KvEntryMaybe<unknown>[] = [];
    for (let i = 0; i < keys.length; i += MAX_GETMANY_KEYS) {
      const some = this.#kv.getMany<unknown[]>(keys.slice(i, i + MAX_GETMANY_KEYS));
      found.push(...await withTimeout(this.#parts.clock, some));
    }
    return found;
  }

  /** Somebody else writes this shard. */
  #enterSharedMode(): void {
    this.#shared = true;
    this.#foreignRowAtMs = this.#parts.clock.monotonicMs();
  }

  /** Reads and delivers what stands after the cursor. Returns whether it could be read. */
  #catchUp(): Promise<boolean> {
    return this.#retry(() => this.#readOn());
  }

  /**
   * Moves both guards, so that no try from before can pass any more, and rings: what did pass is
   * read, and shown even to those who were told that it failed.
   */
  async #resolveDoubt(): Promise<void> {
    const { clock, lease, onLeaseLost: lost } = this.#parts;
    const n = ++this.#commits;
    const asked: [Deno.KvKey, Deno.KvKey] = [this.#turnKey(), lease.key];
    const [turn, held] = await withTimeout(clock, this.#kv.getMany<[unknown, unknown]>(asked));
    if (held.versionstamp !== lease.versionstamp) {
      this.#uncertain = false;
      return lost();
    }
    // The check of the turn: nor can this one pass later than it seems to, over a newer commit.
    const move = this.#kv.atomic().check(lease, turn).set(notifyKey(this.#index), n).set(
      turn.key,
      n,
    );
    const moved = await withTimeout(clock, move.commit());
    if (!moved.ok) throw new Error("the guards of a commit were moved meanwhile");
    this.#uncertain = false;
    this.#turn = moved.versionstamp;
    this.notify(moved.versionstamp);
  }

  async #readOn(): Promise<void> {
    const { clock } = this.#parts;
    const upTo = this.#notifiedAt;
    const prefix = ["feed", this.#index];
    for (let more = true; more;) {
      const began = momentOf(clock);
      // Longer than the cursor and with it in front: after it, and before any other versionstamp.
      const selector = { prefix, start: [...prefix, `${this.#cursor}0`] };
      const list = this.#kv.list<unknown>(selector, { limit: READ_BATCH_ROWS });
      const rows = await Array.fromAsync(eachWithTimeout(clock, list));
      if (!(await this.#isComplete())) return this.#lose();
      for (const { value, versionstamp } of rows) {
        // Before delivery: a row is shown at most once, whatever goes wrong with it.
        this.#cursor = versionstamp;
        await this.#deliverRow(value, versionstamp);
      }
      more = rows.length === READ_BATCH_ROWS;
      if (!more) this.#currentAt = began;
    }
    // The bell was seen before the read, so all rows up to it have been: one that is not there
    // (expired, or removed by hand) must not make us look for it for ever.
    if (upTo > this.#cursor) this.#cursor = upTo;
  }

  /**
   * Whether no row can have been removed between the cursor and what has just been read. To be asked
   * after the read: a process may be stopped between any two steps. An instance that slept has lost
   * its lease long before rows are removed. One that is awake, but cannot read, may hold it.
   */
  async #isComplete(): Promise<boolean> {
    const { clock, lease } = this.#parts;
    if (elapsedMs(clock, this.#currentAt) < MAX_PAUSE_MS) return true;
    if (clock.monotonicMs() - this.#behindSinceMs >= MAX_PAUSE_MS) return false;
    const held = await withTimeout(clock, this.#kv.get(lease.key));
    return held.versionstamp === lease.versionstamp;
  }

  /** The instance is over: what it has not read may be gone. */
  #lose(): void {
    this.#over = true;
    for (const operations of this.#awaitingRead.values()) settle(operations, "failed");
    this.#awaitingRead.clear();
    this.#failAll([], false);
    this.#parts.onLeaseLost();
  }

  async #deliverRow(value: unknown, versionstamp: string): Promise<void> {
    const { instance, warn, deliver } = this.#parts;
    const row = value as Partial<FeedRow> | null;
    if (row?.v !== 1 || !Array.isArray(row.events) || typeof row.n !== "number") {
      return warn("a feed row of an unknown version was skipped");
    }
    const own = row.from === instance ? this.#awaitingRead.get(row.n) : undefined;
    if (own !== undefined) {
      this.#awaitingRead.delete(row.n);
      return await this.#deliverOwn(own, versionstamp);
    }
    if (row.from !== instance) this.#enterSharedMode();
    const prefix = eventIdPrefix(versionstamp);
    for (const [index, stored] of row.events.entries()) {
      const event = unpack(stored);
      if (event === undefined) warn("an event of an unknown kind was skipped");
      else this.#frames += deliver(event, eventId(prefix, index), this.#index);
      if (this.#frames >= FRAMES_PER_TURN) await this.#yield();
    }
    await this.#delivered(versionstamp);
  }

  async #deliverOwn(operations: readonly Operation[], versionstamp: string): Promise<void> {
    const prefix = eventIdPrefix(versionstamp);
    let index = 0;
    for (const { event, settle } of operations) {
      if (event === undefined) {
        settle("done");
        continue;
      }
      const at = eventId(prefix, index++);
      this.#frames += this.#parts.deliver(event, at, this.#index);
      settle("done", at);
      if (this.#frames >= FRAMES_PER_TURN) await this.#yield();
    }
    await this.#delivered(versionstamp);
  }

  async #delivered(versionstamp: string): Promise<void> {
    const frames = this.#parts.delivered(this.#index, versionstamp);
    this.#frames += typeof frames === "number" ? frames : await frames;
    if (this.#frames >= FRAMES_PER_TURN) await this.#yield();
  }

  #yield(): Promise<void> {
    this.#frames = 0;
    return yieldToEventLoop(this.#parts.clock);
  }

  /** Does something with storage, again and again; when that does not help, who waits is told. */
  async #retry(attempt: () => Promise<void>): Promise<boolean> {
    const worked = await retry(this.#parts.clock, attempt, (error) => this.#warn(error));
    if (!worked) this.#failAll([], false);
    return worked;
  }

  /** Storage is away: everybody who waits is told, rather than kept waiting. */
  #failAll(operations: readonly Operation[], unsure: boolean): void {
    this.#uncertain ||= unsure;
    settle(operations, "failed");
    this.#queuedBytes = 0;
    for (const half of this.#halves.splice(0).reverse()) settle(half.operations, "failed");
    settle(this.#queue.splice(0), "failed");
  }

  #warn(error: unknown): void {
    const reason = error instanceof Error ? error.message : String(error);
    this.#parts.warn(`storage does not answer: ${reason}`);
  }
}

function isSum({ type }: Deno.KvMutation): boolean {
  return type === "sum";
}

function hasEvent(operation: Operation): boolean {
  return operation.event !== undefined;
}

function settle(operations: readonly Operation[], outcome: Outcome): void {
  for (const operation of operations) operation.settle(outcome);
}

/** An estimate of the memory that a message holds while it waits, in bytes. */
function weight(operation: Operation): number {
  return operation.mutations === undefined ? bytesOfEvent(operation) : 0;
}
