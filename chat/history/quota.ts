/**
 * The quota of history: counts the bytes of its rows, per stream and in all, and decides when rows are
 * removed: the oldest ones over the quota, and those that have expired.
 *
 * Each row of history has an index row, which is written and removed in the same commit as the row
 * and its part of the counters, so the counters are right after a crash. The quota does not know what
 * an event says, nor how long events are kept.
 */
import type { Clock } from "../base/clock.ts";
import { HISTORY_BYTES_KEY, historyIndexKey, type Stream, streamBytesKey } from "../kv/keys.ts";
import { addToCount } from "../kv/values.ts";
import { groupsOf, type KeptRow, laterOf } from "./kept_rows.ts";
import { nameOf } from "./streams.ts";
import { COUNTED_KINDS, isCounted, Removal } from "./removal.ts";

/** What a quota is made of. */
export interface QuotaParts {
  readonly kv: Deno.Kv;
  readonly clock: Clock;
  /** Bytes that all rows may take; `Infinity`: there is no limit, but rows are counted. */
  readonly maxBytes: number;
  /** The longest time in milliseconds for which a row is kept. */
  readonly retentionMs: number;
}

/** A stream may take this part of all bytes, so that one room cannot displace all others. */
const STREAM_PART = 10;

/** Bytes that a stream may take at least, if the quota of all allows it. */
const MIN_STREAM_BYTES = 1024 * 1024;

/**
 * An instance reads a counter again after it has written this part of the counter's quota itself: a
 * read for each row would double the requests. So removal begins that far below the quota, and ends as
 * far again below that.
 */
const READ_PART = 32;

/** Streams of which an instance remembers how much it has written. */
const MAX_STREAMS = 10_000;

/** Removals before other work runs. */
const MAX_REMOVALS = 20;

/** Milliseconds after which rows whose time is over are removed: many at once, not each alone. */
const EXPIRY_DELAY_MS = 60_000;

/** Counts and bounds the rows of one instance's history. */
export class Quota {
  readonly #maxBytes: number;
  readonly #maxStreamBytes: number;
  readonly #removal: Removal;
  /** Bytes that this instance has written since it last read the counter, by stream. */
  readonly #written = new Map<string, { readonly stream: Stream; bytes: number }>();
  /** The same of all streams. Unknown at the start. */
  #writtenInAll = Infinity;
  /** Unix milliseconds at which the time of the first row is over, as far as is known. */
  #expiryMs = -Infinity;

  constructor({ kv, clock, maxBytes, retentionMs }: QuotaParts) {
    this.#maxBytes = maxBytes;
    this.#maxStreamBytes = Math.max(
      Math.floor(maxBytes / STREAM_PART),
      Math.min(maxBytes, MIN_STREAM_BYTES),
    );
    this.#removal = new Removal(kv, clock, retentionMs);
  }

  /**
   * Prepares for counting. Call it before the first row is written.
   *
   * @throws when KV does not answer. Then it may be called again.
   */
  async begin(nowMs: number): Promise<void> {
    await this.#removal.begin(nowMs);
  }

  /**
   * Returns what belongs into the commit that writes these rows, in place of others: their index rows,
   * and the changes of the sums of bytes. The keys of replaced rows must be among those of the new ones.
   */
  counting(rows: readonly KeptRow[], replaced: readonly KeptRow[] = []): Deno.KvMutation[] {
    const mutations = rows.map(({ stream, bytes, untilMs, id, last }): Deno.KvMutation => {
      const value = id === last ? [bytes, untilMs] : [bytes, untilMs, last];
      return { type: "set", key: historyIndexKey(stream, id), value };
    });
    let sum = 0;
    for (const { stream, bytes } of groupsOf(rows, replaced)) {
      if (!isCounted(stream)) continue;
      if (bytes !== 0) mutations.push(addToCount(streamBytesKey(stream), bytes));
      sum += bytes;
    }
    if (sum !== 0) mutations.push(addToCount(HISTORY_BYTES_KEY, sum));
    return mutations;
  }

  /** Called when the commit with these rows has succeeded. */
  wrote(rows: readonly KeptRow[], replaced: readonly KeptRow[] = []): void {
    for (const { stream, bytes, rows: [oldest] } of groupsOf(rows, replaced)) {
      this.#expiryMs = Math.min(this.#expiryMs, oldest!.untilMs);
      if (!isCounted(stream)) continue;
      const name = nameOf(stream);
      const before = this.#written.get(name)?.bytes ?? 0;
      this.#written.delete(name);
      this.#written.set(name, { stream, bytes: before + bytes });
      if (this.#written.size > MAX_STREAMS) {
        this.#written.delete(this.#written.keys().next().value!);
      }
      this.#writtenInAll += bytes;
    }
  }

  /**
   * Resolves when no instance removes rows: until then none may be replaced. Returns false if that
   * takes too long.
   *
   * @throws when KV does not answer.
   */
  async removalsEnded(): Promise<boolean> {
    return await this.#removal.ended();
  }

  /**
   * Removes rows whose time is over at the Unix time `nowMs`, and the oldest rows of each stream, and
   * of all, over their quota. Returns whether that is finished: one call removes a limited number.
   *
   * @throws when KV does not answer. No removal is half done then, and it may be called again.
   */
  async enforce(nowMs: number): Promise<boolean> {
    await this.begin(nowMs);
    const isExpiryDue = nowMs >= this.#expiryMs + EXPIRY_DELAY_MS;
    if (isExpiryDue && !(await this.#removeExpired(nowMs))) return false;
    if (this.#maxBytes === Infinity) return true;
    for (const [name, { stream, bytes }] of this.#written) {
      if (bytes < this.#maxStreamBytes / READ_PART) continue;
      const oldest = (excess: number) => this.#removal.oldestOf(stream, excess);
      if (!(await this.#trim(streamBytesKey(stream), this.#maxStreamBytes, oldest))) return false;
      this.#written.delete(name);
    }
    if (this.#writtenInAll < this.#maxBytes / READ_PART) return true;
    const oldest = async (excess: number) => {
      const rows = await this.#removal.oldest((_, bytes) => bytes < excess, COUNTED_KINDS);
      return await this.#removal.withUncounted(rows, nowMs);
    };
    if (!(await this.#trim(HISTORY_BYTES_KEY, this.#maxBytes, oldest))) return false;
    this.#writtenInAll = 0;
    return true;
  }

  /**
   * Returns the ID of the newest event that was removed for the quota and that is later than the event
   * ID given with its stream; empty if there is none. Read the events first: rows may be removed
   * meanwhile.
   *
   * @throws when KV cannot be read.
   */
  async evictedAfter(seen: readonly (readonly [Stream, string])[]): Promise<string> {
    const evicted = await this.#removal.evicted(seen.map(([stream]) => stream));
    let newest = "";
    for (const [i, id] of evicted.entries()) {
      if (typeof id === "string" && id > seen[i]![1]) newest = laterOf(id, newest);
    }
    return newest;
  }

  /** Removes rows whose time is over. Returns whether that is finished. */
  async #removeExpired(nowMs: number): Promise<boolean> {
    let nextMs: number;
    const isOver = ({ untilMs }: KeptRow) => {
      if (untilMs > nowMs) nextMs = Math.min(nextMs, untilMs);
      return untilMs <= nowMs;
    };
    for (let removals = 0; removals < MAX_REMOVALS; removals++) {
      nextMs = Infinity;
      // Without the lock: mostly there is nothing to remove.
      if ((await this.#removal.oldest(isOver)).length === 0) {
        this.#expiryMs = nextMs;
        return true;
      }
      const lock = await this.#removal.lock();
      await this.#removal.remove(lock, await this.#removal.oldest(isOver), false);
    }
    return false;
  }

  /**
   * If a counter has almost reached `maxBytes`, removes the oldest rows until it is a part below that.
   * Returns whether that is finished.
   */
  async #trim(
    counter: Deno.KvKey,
    maxBytes: number,
    oldest: (excess: number) => Promise<readonly KeptRow[]>,
  ): Promise<boolean> {
    const part = maxBytes / READ_PART;
    const enough = maxBytes - 2 * part;
    let limit = maxBytes - part;
    for (let removals = 0; removals < MAX_REMOVALS; removals++) {
      if (await this.#removal.bytes(counter) <= limit) return true;
      limit = enough;
      const lock = await this.#removal.lock();
      // Again: another instance may have removed rows meanwhile.
      const excess = await this.#removal.bytes(counter) - enough;
      const rows = excess > 0 ? await oldest(excess) : [];
      await this.#removal.remove(lock, rows, true);
      if (rows.length === 0) return true;
    }
    return false;
  }
}
