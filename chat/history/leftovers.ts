/**
 * Removes what no instance has in memory any more: feed rows that a crashed instance had compacted,
 * and direct messages that an earlier version stored for as long as the rest of history.
 *
 * Each instance removes the feed rows that it compacted itself (compacted_rows.ts). This looks only at
 * the oldest feed rows: in the steady state, one row for each shard every ten minutes.
 */
import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/log.ts";
import { compactedKey, feedRowsBetween, historyKindPrefix } from "../kv/keys.ts";
import { eachWithTimeout, retry, withTimeout } from "../kv/retry.ts";
import { compactedFrom, historyRowFrom } from "../kv/values.ts";
import { MAX_CLOCK_ERROR_MS } from "./retention.ts";

/** What Leftovers is made of. */
export interface LeftoversParts {
  readonly kv: Deno.Kv;
  readonly clock: Clock;
  /** How many shards the feed has. */
  readonly shards: number;
  /** Milliseconds for which a feed row must be kept. */
  readonly feedRowMs: number;
  /** Milliseconds for which direct messages are kept. */
  readonly retentionMs: number;
  /** Tells the operator of a fault on the server's side. */
  warn(message: string): void;
}

/** Rows in one read and in one removal. A feed row has at most 64 KiB. */
const MAX_ROWS = 32;

/** Removes leftovers, for one instance. */
export class Leftovers {
  readonly #parts: LeftoversParts;
  /**
   * Monotonic times at which old direct messages are looked for: at the start, and when all that were
   * stored before the start are too old.
   */
  #directDueMs: number[] = [];
  #cancelTimer = (): void => {};
  #cleaning: Promise<void> | undefined;
  #hasEnded = false;

  constructor(parts: LeftoversParts) {
    this.#parts = parts;
  }

  /** Removes what is too old now, and looks again every `feedRowMs` milliseconds. */
  start(): void {
    const { clock, retentionMs: retention } = this.#parts;
    this.#directDueMs = [-Infinity, clock.monotonicMs() + retention + MAX_CLOCK_ERROR_MS];
    this.#run();
  }

  /** Stops. Resolves when no removal is under way. */
  async close(): Promise<void> {
    this.#hasEnded = true;
    this.#cancelTimer();
    await this.#cleaning;
  }

  #run(): void {
    const { clock, feedRowMs, warn } = this.#parts;
    const failed = (error: unknown) => warn(`Cannot remove old rows: ${messageOf(error)}`);
    this.#cleaning = retry(clock, () => this.#clean(), failed).then(() => {
      if (!this.#hasEnded) this.#cancelTimer = clock.after(feedRowMs, () => this.#run());
    });
  }

  async #clean(): Promise<void> {
    const { clock, kv, shards, retentionMs: retention, feedRowMs } = this.#parts;
    for (let shard = 0; shard < shards; shard++) {
      const { value } = await withTimeout(clock, kv.get<unknown>(compactedKey(shard)));
      const { upTo } = compactedFrom(value);
      if (upTo !== "") await this.#remove(feedRowsBetween(shard, "", upTo), feedRowMs, true);
    }
    while (this.#directDueMs.length > 0 && this.#directDueMs[0]! <= clock.monotonicMs()) {
      await this.#remove({ prefix: historyKindPrefix("direct") }, retention, false);
      this.#directDueMs.shift();
    }
  }

  /** Removes rows whose newest event is older than `lifeMs`. `inOrder`: stops at the first younger one. */
  async #remove(selector: Deno.KvListSelector, lifeMs: number, inOrder: boolean): Promise<void> {
    const { clock, kv } = this.#parts;
    const old: Deno.KvKey[] = [];
    for await (const row of eachWithTimeout(clock, kv.list(selector, { batchSize: MAX_ROWS }))) {
      const timeMs = timeOf(row.value);
      if (this.#hasEnded) return;
      // KV removes a row of another version when it expires.
      if (timeMs === undefined) continue;
      if (timeMs + lifeMs + MAX_CLOCK_ERROR_MS <= clock.now()) old.push(row.key);
      else if (inOrder) break;
      if (old.length === MAX_ROWS) await this.#removeKeys(old.splice(0));
    }
    if (old.length > 0) await this.#removeKeys(old);
  }

  async #removeKeys(keys: readonly Deno.KvKey[]): Promise<void> {
    const { clock, kv } = this.#parts;
    const atomic = kv.atomic();
    for (const key of keys) atomic.delete(key);
    await withTimeout(clock, atomic.commit());
  }
}

/** Returns the time of the newest event in a row of the feed or of history; `undefined`: unknown form. */
function timeOf(value: unknown): number | undefined {
  // Feed rows have the same `v` and `events`, and in both the time is the sixth element of an event.
  const events = historyRowFrom(value)?.events ?? [];
  const times = events.map((event) => Array.isArray(event) ? event[5] as unknown : undefined)
    .filter((time) => typeof time === "number");
  return times.length === 0 ? undefined : Math.max(...times);
}
