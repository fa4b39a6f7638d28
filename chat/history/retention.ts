/**
 * How long each kind of stream of history is kept.
 *
 * A helper below history. It writes and removes nothing: History and its rows ask here.
 */

/**
 * What a stream holds: the talk of a room, who came and went there, the direct messages that a
 * connection got, those that it sent, and what else it did (moves, and messages with a `cid`).
 */
export type StreamKind = "log" | "people" | "direct" | "sent" | "own";

/** Milliseconds for which each kind of stream is kept; 0: it is not kept. */
export type Retention = Readonly<Record<StreamKind, number>>;

/**
 * Milliseconds by which the time of an event may be wrong: the wall clock of the instance that wrote
 * it, and of the one that reads it, may each have jumped by an hour.
 */
export const MAX_CLOCK_ERROR_MS = 2 * 60 * 60_000;

/**
 * Milliseconds, besides the grace, for which that is kept which only serves to resume a session.
 * Longer than a lost connection goes unnoticed and a server is restarted, whatever the clocks do.
 */
const RESUME_MARGIN_MS = MAX_CLOCK_ERROR_MS + 60 * 60_000;

/** The retention for a history of so many milliseconds, where sessions can be resumed within the grace. */
export function retentionOf(historyMs: number, graceMs: number): Retention {
  const resumable = graceMs === 0 ? 0 : graceMs + RESUME_MARGIN_MS;
  return {
    log: historyMs,
    people: historyMs,
    direct: resumable,
    sent: resumable,
    own: resumable,
  };
}

/** The longest time in milliseconds for which anything is kept. */
export function longestOf(retention: Retention): number {
  return Math.max(...Object.values(retention));
}
