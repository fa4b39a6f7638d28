/**
 * What the operator reads: one line a fact, and a fault that repeats only once in a while.
 *
 * A helper below the way of a message. It never sees what people say.
 */
import type { Clock } from "./clock.ts";

/** Milliseconds for which the same warning is not written again. */
const QUIET = 30_000;

/** Where the lines go. */
export interface Log {
  log(message: string): void;
  warn(message: string): void;
}

/** A log whose warnings do not repeat themselves within half a minute. */
export function quietLog(log: Log, clock: Clock): Log {
  const warned = new Map<string, number>();
  return {
    log: (message) => log.log(message),
    warn(message) {
      const now = clock.now();
      for (const [each, at] of warned) if (now - at > QUIET) warned.delete(each);
      if (warned.has(message)) return;
      warned.set(message, now);
      log.warn(message);
    },
  };
}
