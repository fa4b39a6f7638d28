/**
 * Time, as the chat sees it, and how long it waits for storage: limits, backoff, patience.
 *
 * A helper below the way of a message. It knows nothing of what is waited for, so that a test can
 * put a clock of its own in its place.
 */

import { setImmediate } from "node:timers";

/** Where time comes from. */
export interface Clock {
  /**
   * Unix time in milliseconds. It may jump, either way: only for times that people read, and for
   * what outlives the process.
   */
  now(): number;
  /**
   * Milliseconds since some moment in the past; never goes back. For every duration. It may stand
   * still while the machine is suspended.
   */
  monotonicMs(): number;
  /** Runs something once after so many milliseconds; returns what cancels that. */
  after(ms: number, run: () => void): () => void;
  /** Runs something once, after what waits in the event loop: sockets are read and written first. */
  soon(run: () => void): void;
  /** A number from 0 to 1 that spreads waits, so that not everybody comes back at once. */
  jitter(): number;
}

/** The clock of the machine. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonicMs: () => performance.now(),
  after(ms, run) {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
  // A timer of 0 ms takes one or two.
  soon: (run) => void setImmediate(run),
  jitter: Math.random,
};

/** Milliseconds until a call to storage that gives no answer counts as failed. */
const CALL_TIMEOUT_MS = 4_000;

/** Milliseconds for which something that fails is tried again before whoever asked is told. */
export const RETRY_FOR_MS = 8_000;

/** Milliseconds: a SQLite file that another worker is writing is free again in no time. */
const FIRST_BACKOFF_MS = 1;
const MAX_BACKOFF_MS = 1_000;

/** Failures in a row that are nobody's business: see {@linkcode FIRST_BACKOFF_MS}. */
const SILENT_FAILURES = 3;

/** Waits so many milliseconds. */
export function delay(clock: Clock, ms: number): Promise<void> {
  return new Promise((resolve) => void clock.after(ms, resolve));
}

/** Lets what waits in the event loop have its turn. */
export function yieldToEventLoop(clock: Clock): Promise<void> {
  return new Promise((resolve) => clock.soon(resolve));
}

/** Waits longer after each failure, never as long as anybody else: exponential, with jitter. */
export function backOff(clock: Clock, failures: number): Promise<void> {
  const longest = Math.min(MAX_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** failures);
  return delay(clock, (1 + clock.jitter()) * longest / 2);
}

/**
 * The answer of a call, if it comes within {@linkcode CALL_TIMEOUT_MS}.
 *
 * @throws {Error} when it does not. The call may still do its work later: the caller must be able
 * to live with that.
 */
export async function withTimeout<T>(clock: Clock, call: Promise<T>): Promise<T> {
  let cancel = (): void => {};
  const limit = new Promise<never>((_, reject) => {
    const late = () => reject(new Error(`no answer for ${CALL_TIMEOUT_MS / 1000} seconds`));
    cancel = clock.after(CALL_TIMEOUT_MS, late);
  });
  try {
    return await Promise.race([call, limit]);
  } finally {
    cancel();
  }
}

/** What an iterator gives, each within {@linkcode CALL_TIMEOUT_MS}: a list in KV, for one. */
export async function* eachWithTimeout<T>(clock: Clock, from: AsyncIterator<T>): AsyncGenerator<T> {
  while (true) {
    const { done, value } = await withTimeout(clock, from.next());
    if (done) return;
    yield value;
  }
}

/** Whether so many failures in a row should be told to the operator. */
export function shouldLog(failures: number): boolean {
  return failures > SILENT_FAILURES;
}

/**
 * Does something that may fail until it works, for as long as {@linkcode RETRY_FOR_MS} lasts; failures
 * that go on are told to `failed`. Returns whether it worked.
 */
export async function retry(
  clock: Clock,
  attempt: () => Promise<void>,
  failed: (error: unknown) => void,
): Promise<boolean> {
  const since = clock.monotonicMs();
  for (let failures = 1;; failures++) {
    try {
      await attempt();
      return true;
    } catch (error) {
      if (shouldLog(failures)) failed(error);
      if (clock.monotonicMs() - since > RETRY_FOR_MS) return false;
      await backOff(clock, failures);
    }
  }
}
