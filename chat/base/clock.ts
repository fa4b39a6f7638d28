/**
 * Time: the clock that everything asks, and two ways to wait.
 *
 * It knows nothing of storage: timeouts and retries of KV calls are in kv/retry.ts. Tests pass a clock
 * of their own.
 */

import { setImmediate } from "node:timers";

/** A source of time. */
export interface Clock {
  /**
   * Returns Unix time in milliseconds. It may jump in either direction: use it only for times that
   * people read, and for times that are stored.
   */
  now(): number;
  /**
   * Returns the milliseconds since some moment in the past. It never goes back: use it for every
   * duration. It may stop while the machine is suspended.
   */
  monotonicMs(): number;
  /** Runs a callback once, after `ms` milliseconds. Returns a function that cancels it. */
  after(ms: number, run: () => void): () => void;
  /** Runs a callback once, after the pending work of the event loop, such as sockets, is done. */
  soon(run: () => void): void;
  /** Returns a random number from 0 to 1 that spreads retries over time. */
  jitter(): number;
}

/** The clock of this machine. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonicMs: () => performance.now(),
  after(ms, run) {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
  // A timer of 0 ms takes 1 or 2 ms.
  soon: (run) => void setImmediate(run),
  jitter: Math.random,
};

/** Waits for `ms` milliseconds. */
export function delay(clock: Clock, ms: number): Promise<void> {
  return new Promise((resolve) => void clock.after(ms, resolve));
}

/** Lets the pending work of the event loop run first. */
export function yieldToEventLoop(clock: Clock): Promise<void> {
  return new Promise((resolve) => clock.soon(resolve));
}
