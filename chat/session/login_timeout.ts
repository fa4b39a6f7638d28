/**
 * Whoever connects and does not say who they are: they are waited for, but not for ever.
 *
 * Beside the way of a message. One timer for all of an instance, and only while somebody is waited
 * for. It does not know what a connection is.
 */
import type { Clock } from "../base/clock.ts";

/** Somebody who may have a nickname, or be gone, by the time that they are asked. */
export interface Unnamed {
  /** Their time is over: if they are there and have no nickname, they are told so, and let go. */
  expireLogin(seconds: number): void;
}

/** Who came when, and how long they are waited for. */
export class LoginTimeout {
  readonly #clock: Clock;
  readonly #ms: number;
  /** In the order in which they came, which is that in which their time is over. */
  readonly #deadlines = new Map<Unnamed, number>();
  #cancel: (() => void) | undefined;

  /** `ms` is how long somebody may take; 0: as long as they like. */
  constructor(clock: Clock, ms: number) {
    this.#clock = clock;
    this.#ms = ms;
  }

  /** Somebody came. */
  add(newcomer: Unnamed): void {
    if (this.#ms === 0) return;
    this.#deadlines.set(newcomer, this.#clock.monotonicMs());
    this.#cancel ??= this.#clock.after(this.#ms, () => this.#look());
  }

  /** Somebody went. */
  remove(newcomer: Unnamed): void {
    this.#deadlines.delete(newcomer);
  }

  /** Nobody is waited for any more. */
  close(): void {
    this.#cancel?.();
    this.#deadlines.clear();
  }

  #look(): void {
    this.#cancel = undefined;
    const now = this.#clock.monotonicMs();
    for (const [newcomer, since] of this.#deadlines) {
      const left = since + this.#ms - now;
      if (left > 0) {
        this.#cancel = this.#clock.after(left, () => this.#look());
        return;
      }
      this.#deadlines.delete(newcomer);
      newcomer.expireLogin(this.#ms / 1000);
    }
  }
}
