/**
 * What the operator reads: one line a fact, and a fault that repeats once a minute at the most.
 *
 * A helper below the way of a message. It never sees what people say.
 */
import type { Clock } from "./clock.ts";

/** Milliseconds for which a warning of the same cause is only counted. */
const QUIET_MS = 60_000;

/** Causes that are told apart. Of more, only their number is told. */
const MAX_CAUSES = 50;

/** Characters of a warning. Some hold what others said, as an error of storage. */
const MAX_LENGTH = 500;

/** Where the lines go. */
export interface Log {
  log(message: string): void;
  warn(message: string): void;
}

/** What was warned of. */
interface Cause {
  readonly at: number;
  /** How many warnings were not written since. */
  more: number;
}

/**
 * A log that writes a warning of one cause once a minute, however often it comes: the next line says
 * how many were left out. Warnings that differ in numbers, ids and quoted words have one cause.
 */
export function quietLog(log: Log, clock: Clock): Log {
  const causes = new Map<string, Cause>();
  return {
    log: (message) => log.log(message),
    warn(message) {
      const now = clock.monotonicMs();
      for (const [each, { at }] of causes) {
        if (now - at >= 2 * QUIET_MS) causes.delete(each);
      }
      const cause = causes.size < MAX_CAUSES || causes.has(causeOf(message))
        ? causeOf(message)
        : "other causes";
      const known = causes.get(cause);
      if (known !== undefined && now - known.at < QUIET_MS) {
        known.more++;
        return;
      }
      causes.set(cause, { at: now, more: 0 });
      const line = message.slice(0, MAX_LENGTH);
      log.warn(known?.more ? `${line} (and ${known.more} like it before)` : line);
    },
  };
}

/** What warnings of one cause have in common. */
function causeOf(message: string): string {
  return message.slice(0, MAX_LENGTH).replace(/"[^"]*"|'[^']*'|\b\w*\d\w*\b/g, "#");
}
