/**
 * Token buckets for rate limits, and a map of buckets with a bounded size.
 *
 * A bucket is one number, the time at which it will be full again (the generic cell rate algorithm),
 * so it needs no timer. It does not know what is counted, nor how a client is rejected.
 */

/** The size of a bucket, and how fast it fills. */
export interface Rate {
  /** Tokens in a full bucket: a whole number greater than zero. */
  readonly burst: number;
  /** Milliseconds in which an empty bucket becomes full. */
  readonly ms: number;
}

/** Milliseconds of rounding error: a double holds Unix time that precisely. */
const ROUNDING_MS = 0.01;

/**
 * The largest debt, in full buckets. Debt is data that was really sent, so it should not be forgiven:
 * with the default limits, a hundred clients of one address that all request the largest reply at once
 * have a debt of five full buckets. The bound only excludes numbers that make no sense.
 */
const MAX_DEBT = 10;

/** A token bucket, full at first. */
export class TokenBucket {
  #fullMs: number;

  /** `fullMs` restores a bucket: the {@linkcode TokenBucket.fullMs} that it had. */
  constructor(fullMs = 0) {
    this.#fullMs = fullMs;
  }

  /** Milliseconds, by the caller's clock, at which it will be full. That is all of its state. */
  get fullMs(): number {
    return this.#fullMs;
  }

  /**
   * Takes `cost` tokens and returns 0, if the bucket holds them. Otherwise takes nothing, and returns
   * the milliseconds until it does. A cost of more than a full bucket needs a full bucket, and leaves a
   * debt: the next call waits until the debt is paid.
   */
  take(rate: Rate, cost: number, now: number): number {
    const { burst, ms } = rate;
    const full = this.#fullAt(rate, now);
    const wait = full + Math.min(cost, burst) * (ms / burst) - now - ms;
    if (wait > ROUNDING_MS) return wait;
    this.#spend(rate, cost, full, now);
    return 0;
  }

  /**
   * Takes `cost` tokens for an action that has happened, whose cost was not known before. If the bucket
   * holds fewer, the rest is a debt, and the next {@linkcode TokenBucket.take} waits until it is paid.
   * A negative cost gives tokens back, up to a full bucket.
   */
  spend(rate: Rate, cost: number, now: number): void {
    this.#spend(rate, cost, this.#fullAt(rate, now), now);
  }

  /** Returns whether the bucket is full, like a new one. */
  isFull(now: number): boolean {
    return this.#fullMs <= now;
  }

  #spend({ burst, ms }: Rate, cost: number, full: number, now: number): void {
    this.#fullMs = Math.min(full + cost * (ms / burst), now + (1 + MAX_DEBT) * ms);
  }

  #fullAt({ ms }: Rate, now: number): number {
    // It is never later than that, unless the clock was set back. No client should wait for that.
    const latest = now + (1 + MAX_DEBT) * ms + ROUNDING_MS;
    return this.#fullMs > latest ? now : Math.max(this.#fullMs, now);
  }
}

/** An object that a map may forget. */
export interface Expirable {
  /** Returns whether it is equal to a new one. */
  isFull(now: number): boolean;
}

/** How many of the oldest things each access checks. */
const CHECKS_PER_ACCESS = 2;

/** How many of the oldest things are checked when the map is full. */
const MAX_CHECKS = 64;

/**
 * A map whose things are created at their first access, and forgotten some time after they are equal
 * to new ones. It needs no timer: each access checks the oldest things.
 */
export class TokenBucketMap<Thing extends Expirable> {
  readonly #things = new Map<string, Thing>();
  readonly #make: () => Thing;
  readonly #maxSize: number;

  /** With `maxSize` things it forgets the oldest one, even if that is not equal to a new one. */
  constructor(make: () => Thing, maxSize: number) {
    this.#make = make;
    this.#maxSize = maxSize;
  }

  /** The number of things. */
  get size(): number {
    return this.#things.size;
  }

  /** Returns the thing of a key; creates it if there is none. */
  get(key: string, now: number): Thing {
    this.#forget(CHECKS_PER_ACCESS, now);
    const known = this.#things.get(key);
    if (known !== undefined) return known;
    if (this.#things.size >= this.#maxSize) this.#forget(MAX_CHECKS, now);
    if (this.#things.size >= this.#maxSize) this.#things.delete(this.#things.keys().next().value!);
    const thing = this.#make();
    this.#things.set(key, thing);
    return thing;
  }

  #forget(checks: number, now: number): void {
    for (const [key, thing] of this.#things) {
      if (checks-- === 0) return;
      this.#things.delete(key);
      // To the end: it is checked again after all others.
      if (!thing.isFull(now)) this.#things.set(key, thing);
    }
  }
}
