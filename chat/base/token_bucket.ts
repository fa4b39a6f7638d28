/**
 * How much may be done in a while: token buckets, and a memory of many that is bounded.
 *
 * A helper below the way of a message. A bucket is one number, the time at which it will be full
 * again (the generic cell rate algorithm), so that nothing has to run while nobody asks. It does not
 * know what is counted, nor what is done with whoever asks for too much.
 */

/** So much at once, and so much again each so many milliseconds. */
export interface Rate {
  /** What a full bucket holds: a whole number greater than zero. */
  readonly burst: number;
  /** Milliseconds in which an empty bucket becomes full. */
  readonly ms: number;
}

/** Milliseconds that rounding may be off: Unix time in a double leaves no more than that. */
const ROUNDING = 0.01;

/**
 * How many full buckets one can be in debt at most. Debt is what was really sent, so it should not be
 * forgiven: with the default limits a hundred clients of one address that all ask for the largest
 * reply at once are five full buckets in debt. The bound is against numbers that make no sense.
 */
const MAX_DEBT = 10;

/** What somebody may still do. New, it is full. */
export class TokenBucket {
  /** Unix milliseconds at which it will be full. */
  #full = 0;

  /**
   * Takes so much out of it and returns 0, if that much is in it; otherwise nothing is taken, and the
   * milliseconds until it is are returned. What costs more than a full bucket needs a full bucket, and
   * leaves a debt: the next one waits until that is paid.
   */
  take(rate: Rate, cost: number, now: number): number {
    const { burst, ms } = rate;
    const full = this.#fullAt(rate, now);
    const wait = full + Math.min(cost, burst) * (ms / burst) - now - ms;
    if (wait > ROUNDING) return wait;
    this.#spend(rate, cost, full, now);
    return 0;
  }

  /**
   * Takes so much out of it, after the fact: for what could not be known before. If less is in it, the
   * rest is a debt, and the next {@linkcode TokenBucket.take} waits until that is paid.
   */
  spend(rate: Rate, cost: number, now: number): void {
    this.#spend(rate, cost, this.#fullAt(rate, now), now);
  }

  /** Whether it is as good as a new one. */
  isFull(now: number): boolean {
    return this.#full <= now;
  }

  #spend({ burst, ms }: Rate, cost: number, full: number, now: number): void {
    this.#full = Math.min(full + cost * (ms / burst), now + (1 + MAX_DEBT) * ms);
  }

  #fullAt({ ms }: Rate, now: number): number {
    // It is never further away than that, unless the clock was set back: nobody is to wait for that.
    const furthest = now + (1 + MAX_DEBT) * ms + ROUNDING;
    return this.#full > furthest ? now : Math.max(this.#full, now);
  }
}

/** Something that need not be remembered for ever. */
export interface Expirable {
  /** Whether it is as good as a new one. */
  isFull(now: number): boolean;
}

/** How many of the oldest are looked at, each time that one is asked for. */
const LOOKS = 2;

/** How many of the oldest are looked at for one to forget, when there is no room for another. */
const MOST_LOOKS = 64;

/**
 * Things by their keys, each made when it is first asked for, and forgotten a while after it is as
 * good as new. No timer does that: whoever comes clears away what lies there longest.
 */
export class TokenBucketMap<Thing extends Expirable> {
  readonly #things = new Map<string, Thing>();
  readonly #make: () => Thing;
  readonly #most: number;

  /** At `most` things it forgets some that are not as good as new, rather than grow. */
  constructor(make: () => Thing, most: number) {
    this.#make = make;
    this.#most = most;
  }

  /** How many it holds. */
  get size(): number {
    return this.#things.size;
  }

  /** The thing with a key. */
  at(key: string, now: number): Thing {
    this.#clear(LOOKS, now);
    const known = this.#things.get(key);
    if (known !== undefined) return known;
    if (this.#things.size >= this.#most) this.#clear(MOST_LOOKS, now);
    if (this.#things.size >= this.#most) this.#things.delete(this.#things.keys().next().value!);
    const thing = this.#make();
    this.#things.set(key, thing);
    return thing;
  }

  #clear(looks: number, now: number): void {
    for (const [key, thing] of this.#things) {
      if (looks-- === 0) return;
      this.#things.delete(key);
      // To the end of the row, to be looked at again when all others have been.
      if (!thing.isFull(now)) this.#things.set(key, thing);
    }
  }
}
