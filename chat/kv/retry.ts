/**
 * Timeouts and retries of calls to KV.
 *
 * It does not know what a call does: each caller says what to do when retries do not help.
 */
import { type Clock, delay } from "../base/clock.ts";

/** Milliseconds after which a call without an answer counts as failed. */
const CALL_TIMEOUT_MS = 4_000;

/** Milliseconds for which a failing call is tried again before its caller is told. */
export const RETRY_FOR_MS = 8_000;

/** Milliseconds before the first retry: a SQLite file that another worker writes is soon free again. */
const FIRST_BACKOFF_MS = 1;
const MAX_BACKOFF_MS = 1_000;

/** Failures in a row that are not logged: a busy SQLite file causes some. */
const SILENT_FAILURES = 3;

/** Waits before a retry: exponential backoff with jitter, at most {@linkcode MAX_BACKOFF_MS}. */
export function backOff(clock: Clock, failures: number): Promise<void> {
  const longestMs = Math.min(MAX_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** failures);
  return delay(clock, (1 + clock.jitter()) * longestMs / 2);
}

/**
 * Returns the answer of a call, if it arrives within `ms` milliseconds.
 *
 * @throws {Error} when it does not. The call may still take effect later, so the caller must be able
 * to handle both outcomes.
 */
export async function withTimeout<T>(
  clock: Clock,
  call: Promise<T>,
  ms: number = CALL_TIMEOUT_MS,
): Promise<T> {
  let cancel = (): void => {};
  const timeout = new Promise<never>((_, reject) => {
    const fail = () => reject(new Error(`no answer for ${ms / 1000} seconds`));
    cancel = clock.after(ms, fail);
  });
  try {
    return await Promise.race([call, timeout]);
  } finally {
    cancel();
  }
}

/** Yields the values of an iterator, such as a list in KV, each within {@linkcode CALL_TIMEOUT_MS}. */
export async function* eachWithTimeout<T>(clock: Clock, from: AsyncIterator<T>): AsyncGenerator<T> {
  while (true) {
    const { done, value } = await withTimeout(clock, from.next());
    if (done) return;
    yield value;
  }
}

/** Returns whether the operator should be told of this many failures in a row. */
export function shouldLog(failures: number): boolean {
  return failures > SILENT_FAILURES;
}

/**
 * Repeats an attempt until it succeeds, for at most {@linkcode RETRY_FOR_MS}. Passes errors to
 * `failed`, except the first few. Returns whether an attempt succeeded.
 */
export async function retry(
  clock: Clock,
  attempt: () => Promise<void>,
  failed: (error: unknown) => void,
): Promise<boolean> {
  const startedMs = clock.monotonicMs();
  for (let failures = 1;; failures++) {
    try {
      await attempt();
      return true;
    } catch (error) {
      if (shouldLog(failures)) failed(error);
      if (clock.monotonicMs() - startedMs > RETRY_FOR_MS) return false;
      await backOff(clock, failures);
    }
  }
}
