/**
 * How often something may be tried: buckets of tokens that fill up again with time.
 *
 * A helper below the way of a message. It does not know what is tried, nor by whom; what a key
 * means is its caller's business. Unlike those of buckets.ts they also stand in rows, which instances
 * with other clocks read.
 */
import type { Clock } from "../base/clock.ts";

/** Says how long to wait. Another one may stand in for {@linkcode Attempts}. */
export interface Limiter {
  /** Takes one try. Returns the milliseconds to wait until there is one; 0: it may be done. */
  take(key: string): number;
  /** Gives a part of one back, from 0 to 1. */
  give(key: string, part: number): void;
}

/** How many tries there are, and how fast they come back. */
export interface Pace {
  /** Tries at once. */
  readonly burst: number;
  /** Milliseconds for one more. */
  readonly every: number;
}

/** A bucket: how many tries there were left, and when that was, in milliseconds of its keeper's clock. */
export interface Bucket {
  readonly left: number;
  readonly at: number;
}

/** Keys that are remembered; of more, those that tried the longest time ago are forgotten. */
const MOST_KEYS = 10_000;

/** What is left in a bucket now; a clock that was turned back takes nothing away. */
export function refilled({ burst, every }: Pace, bucket: Bucket | undefined, now: number): number {
  if (bucket === undefined) return burst;
  return Math.min(burst, bucket.left + Math.max(0, now - bucket.at) / every);
}

/** Milliseconds until there is a whole try in what is left. */
export function waitFor({ every }: Pace, left: number): number {
  return left >= 1 ? 0 : Math.ceil((1 - left) * every);
}

/** Tries, counted in this process. */
export class Attempts implements Limiter {
  readonly #clock: Clock;
  readonly #pace: Pace;
  readonly #buckets = new Map<string, Bucket>();

  constructor(clock: Clock, limiter: Pace) {
    this.#clock = clock;
    this.#pace = limiter;
  }

  take(key: string): number {
    const now = this.#clock.monotonicMs();
    const left = refilled(this.#pace, this.#buckets.get(key), now);
    const wait = waitFor(this.#pace, left);
    if (wait === 0) this.#put(key, { left: left - 1, at: now });
    return wait;
  }

  give(key: string, part: number): void {
    const bucket = this.#buckets.get(key);
    if (bucket !== undefined) this.#put(key, { ...bucket, left: bucket.left + part });
  }

  #put(key: string, bucket: Bucket): void {
    // The youngest stand last.
    this.#buckets.delete(key);
    this.#buckets.set(key, bucket);
    if (this.#buckets.size > MOST_KEYS) this.#buckets.delete(this.#buckets.keys().next().value!);
  }
}
