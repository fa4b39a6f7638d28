/**
 * The feed rows that this instance has compacted, in memory, until they are old enough to be removed.
 *
 * It removes nothing itself: the compactor adds the removal to its commits. What a crashed instance
 * leaves is removed by leftovers.ts.
 */
import type { Clock } from "../base/clock.ts";
import { feedRowKey } from "../kv/keys.ts";
import { MAX_REMOVED_ROWS } from "./rows.ts";

const VERSIONSTAMP_CHARS = 20;

/** Feed rows of one shard that were compacted at the same time. */
interface CompactedBatch {
  readonly shard: number;
  /** Monotonic milliseconds. */
  readonly compactedMs: number;
  /** Versionstamps, one after the other: a list of strings takes three times as much memory. */
  versionstamps: string;
}

/** Compacted feed rows, the oldest first. */
export class CompactedRows {
  readonly #clock: Clock;
  readonly #feedRowMs: number;
  readonly #batches: CompactedBatch[] = [];

  /** `feedRowMs`: milliseconds for which a feed row must be kept. */
  constructor(clock: Clock, feedRowMs: number) {
    this.#clock = clock;
    this.#feedRowMs = feedRowMs;
  }

  /** Adds rows that have just been compacted. */
  add(shard: number, versionstamps: readonly string[]): void {
    const compactedMs = this.#clock.monotonicMs();
    this.#batches.push({ shard, compactedMs, versionstamps: versionstamps.join("") });
  }

  /** Returns the milliseconds until the first rows may be removed; `undefined` if there are none. */
  untilDue(): number | undefined {
    const first = this.#batches[0];
    return first && first.compactedMs + this.#feedRowMs - this.#clock.monotonicMs();
  }

  /** Returns whether rows of a shard may be removed. */
  isDue(shard: number): boolean {
    return this.#due(shard) !== undefined;
  }

  /** Returns the keys of rows that may be removed, as many as one commit may remove. */
  removable(shard: number): Deno.KvKey[] {
    const { versionstamps = "" } = this.#due(shard) ?? {};
    const count = Math.min(versionstamps.length / VERSIONSTAMP_CHARS, MAX_REMOVED_ROWS);
    return Array.from({ length: count }, (_, i) => {
      const start = i * VERSIONSTAMP_CHARS;
      return feedRowKey(shard, versionstamps.slice(start, start + VERSIONSTAMP_CHARS));
    });
  }

  /** Forgets the first rows of {@linkcode CompactedRows.removable}, which have been removed. */
  forget(shard: number, count: number): void {
    const batch = this.#due(shard);
    if (batch === undefined) return;
    batch.versionstamps = batch.versionstamps.slice(count * VERSIONSTAMP_CHARS);
    if (batch.versionstamps === "") this.#batches.splice(this.#batches.indexOf(batch), 1);
  }

  #due(shard: number): CompactedBatch | undefined {
    const first = this.#batches.find((each) => each.shard === shard);
    if (first === undefined) return undefined;
    return first.compactedMs + this.#feedRowMs <= this.#clock.monotonicMs() ? first : undefined;
  }
}
