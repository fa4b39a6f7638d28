/**
 * How long each kind of stream of history is kept.
 *
 * It removes nothing: history.ts hides events whose time is over, and KV or quota.ts removes rows.
 */
import type { StreamKind } from "../kv/keys.ts";

/** Milliseconds for which each kind of stream is kept; 0: it is not kept. */
export type Retention = Readonly<Record<StreamKind, number>>;

/**
 * Milliseconds by which the time of an event may be wrong: the wall clocks of the instance that wrote
 * it and of the instance that reads it may each have jumped by an hour.
 */
export const MAX_CLOCK_ERROR_MS = 2 * 60 * 60_000;

/**
 * Milliseconds, besides the grace, for which streams that only serve to resume a session are kept. It
 * covers an unnoticed loss of the connection, a restart of the server, and wrong clocks.
 */
const RESUME_MARGIN_MS = MAX_CLOCK_ERROR_MS + 60 * 60_000;

/**
 * Returns how long each kind of stream is kept, given the milliseconds for which history is kept, those
 * for which a session can be resumed, and those for which acts of moderation are kept.
 */
export function retentionOf(historyMs: number, graceMs: number, actsMs = 0): Retention {
  const resumableMs = graceMs === 0 ? 0 : graceMs + RESUME_MARGIN_MS;
  return {
    log: historyMs,
    people: historyMs,
    conversation: historyMs,
    direct: resumableMs,
    sent: resumableMs,
    own: resumableMs,
    acts: actsMs,
  };
}

/** Returns the longest time in milliseconds for which any stream is kept. */
export function longestOf(retention: Retention): number {
  return Math.max(...Object.values(retention));
}
