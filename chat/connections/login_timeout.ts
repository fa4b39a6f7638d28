/**
 * Expires connections that do not log in in time.
 *
 * One timer serves all connections of an instance, and runs only while some have not logged in. This
 * file closes nothing: the connection does that itself.
 */
import type { Clock } from "../base/clock.ts";

/** A connection whose time to log in can expire. */
export interface Expiring {
  /** Closes the connection, unless it has logged in or is closed already. */
  expireLogin(seconds: number): void;
}

/** The connections whose time to log in is running. */
export class LoginTimeout {
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  /** When each was added, in monotonic milliseconds, in that order. */
  readonly #addedMs = new Map<Expiring, number>();
  #cancel: (() => void) | undefined;

  /** `timeoutMs` is the time that a connection has to log in; 0: unlimited. */
  constructor(clock: Clock, timeoutMs: number) {
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
  }

  /** Starts a connection's time. */
  add(connection: Expiring): void {
    if (this.#timeoutMs === 0) return;
    this.#addedMs.set(connection, this.#clock.monotonicMs());
    this.#cancel ??= this.#clock.after(this.#timeoutMs, () => this.#expire());
  }

  /** Stops a connection's time. */
  remove(connection: Expiring): void {
    this.#addedMs.delete(connection);
  }

  /** Stops all times. */
  close(): void {
    this.#cancel?.();
    this.#addedMs.clear();
  }

  #expire(): void {
    this.#cancel = undefined;
    const now = this.#clock.monotonicMs();
    for (const [connection, addedMs] of this.#addedMs) {
      const left = addedMs + this.#timeoutMs - now;
      if (left > 0) {
        this.#cancel = this.#clock.after(left, () => this.#expire());
        return;
      }
      this.#addedMs.delete(connection);
      connection.expireLogin(this.#timeoutMs / 1000);
    }
  }
}
