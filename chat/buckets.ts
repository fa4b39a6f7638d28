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

/** What somebody may still do. New, it is full. */
export class Bucket {
  /** Unix milliseconds at which it will be full. */
  #full = 0;

  /**
   * Takes so much out of it, if that is in it, and returns 0; otherwise nothing is taken, and the
   * milliseconds until it is in it are returned. What costs more than a full bucket costs just that.
   */
  take(rate: Rate, cost: number, now: number): number {
    const full = this.#after(rate, cost, now);
    const wait = full - now - rate.ms;
    if (wait > ROUNDING) return wait;
    this.#full = full;
    return 0;
  }

  /** Takes so much out of it, or all that is in it. */
  spend(rate: Rate, cost: number, now: number): void {
    this.#full = Math.min(this.#after(rate, cost, now), now + rate.ms);
  }

  /** Whether it is as good as a new one. */
  isFull(now: number): boolean {
    return this.#full <= now;
  }

  #after({ burst, ms }: Rate, cost: number, now: number): number {
    // It is never further away than that, unless the clock was set back: nobody is to wait for that.
    const full = this.#full > now + ms + ROUNDING ? now : Math.max(this.#full, now);
    return full + Math.min(cost, burst) * (ms / burst);
  }
}

/** Something that need not be remembered for ever. */
export interface Forgettable {
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
export class Memory<Thing extends Forgettable> {
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
