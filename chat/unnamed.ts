/**
 * Whoever connects and does not say who they are: they are waited for, but not for ever.
 *
 * Beside the way of a message. One timer for all of an instance, and only while somebody is waited
 * for. It does not know what a connection is.
 */
import type { Clock } from "./clock.ts";

/** Somebody who may have a nickname, or be gone, by the time that they are asked. */
export interface Newcomer {
  /** Their time is over: if they are there and have no nickname, they are told so, and let go. */
  expire(seconds: number): void;
}

/** Who came when, and how long they are waited for. */
export class Unnamed {
  readonly #clock: Clock;
  readonly #ms: number;
  /** In the order in which they came, which is that in which their time is over. */
  readonly #since = new Map<Newcomer, number>();
  #cancel: (() => void) | undefined;

  /** `ms` is how long somebody may take; 0: as long as they like. */
  constructor(clock: Clock, ms: number) {
    this.#clock = clock;
    this.#ms = ms;
  }

  /** Somebody came. */
  add(newcomer: Newcomer): void {
    if (this.#ms === 0) return;
    this.#since.set(newcomer, this.#clock.monotonicMs());
    this.#cancel ??= this.#clock.after(this.#ms, () => this.#look());
  }

  /** Somebody went. */
  remove(newcomer: Newcomer): void {
    this.#since.delete(newcomer);
  }

  /** Nobody is waited for any more. */
  close(): void {
    this.#cancel?.();
    this.#since.clear();
  }

  #look(): void {
    this.#cancel = undefined;
    const now = this.#clock.monotonicMs();
    for (const [newcomer, since] of this.#since) {
      const left = since + this.#ms - now;
      if (left > 0) {
        this.#cancel = this.#clock.after(left, () => this.#look());
        return;
      }
      this.#since.delete(newcomer);
      newcomer.expire(this.#ms / 1000);
    }
  }
}
