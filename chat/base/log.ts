/**
 * The operator's log: one line for each fact, and a repeated warning at most once a minute.
 *
 * It never contains what users write.
 */
import type { Clock } from "./clock.ts";

/** Milliseconds for which further warnings of the same cause are only counted. */
const QUIET_MS = 60_000;

/** Causes that are distinguished. All others count as one. */
const MAX_CAUSES = 50;

/** Characters of a warning. Some contain messages of other programs, such as an error of storage. */
const MAX_LENGTH = 500;

/** Where log lines go. */
export interface Log {
  log(message: string): void;
  warn(message: string): void;
}

/** A cause of warnings. */
interface Cause {
  /** Monotonic milliseconds at which a warning was last written. */
  readonly writtenMs: number;
  /** Warnings since then, which were not written. */
  skipped: number;
}

/**
 * Returns a log that writes warnings of one cause at most once a minute. The next line says how many
 * were skipped. Warnings that differ only in numbers, IDs and quoted words have one cause.
 */
export function quietLog(log: Log, clock: Clock): Log {
  const causes = new Map<string, Cause>();
  return {
    log: (message) => log.log(message),
    warn(message) {
      const now = clock.monotonicMs();
      for (const [each, { writtenMs }] of causes) {
        if (now - writtenMs >= 2 * QUIET_MS) causes.delete(each);
      }
      const cause = causes.size < MAX_CAUSES || causes.has(causeOf(message))
        ? causeOf(message)
        : "other causes";
      const known = causes.get(cause);
      if (known !== undefined && now - known.writtenMs < QUIET_MS) {
        known.skipped++;
        return;
      }
      causes.set(cause, { writtenMs: now, skipped: 0 });
      const line = message.slice(0, MAX_LENGTH);
      log.warn(known?.skipped ? `${line} (and ${known.skipped} like it before)` : line);
    },
  };
}

/** Returns what the warnings of one cause have in common. */
function causeOf(message: string): string {
  return message.slice(0, MAX_LENGTH).replace(/"[^"]*"|'[^']*'|\b\w*\d\w*\b/g, "#");
}
