/**
 * The missed events of each room and of the direct messages, within one bound for all of them.
 *
 * The newest events are kept: a client that missed more is told from which event on nothing is missing.
 * This file reads nothing.
 */
import { encodedEventBytes } from "../delivery/encoded_size.ts";
import type { LoggedEvent } from "../feed/events.ts";
import type { Stream } from "../kv/keys.ts";

/** Why events may be missing. */
export type GapReason = "expired" | "too-many" | "history-off" | "unavailable" | "not-in-room";

/** What a client missed in one room, or of the direct messages. */
export interface MissedPart {
  /** `undefined`: direct messages. */
  readonly room: string | undefined;
  /** In order of their IDs. */
  readonly entries: readonly LoggedEvent[];
  /** Whether no event is missing. */
  readonly recovered: boolean;
  readonly reason?: GapReason;
  /** The ID of the first entry after which no event is missing, if that is known. */
  readonly from?: string;
  /** The IDs of events that are not told, and must not be delivered later either. */
  readonly leftOut?: readonly string[];
}

/** Missed events as they were found. */
export interface FoundPart {
  readonly room: string | undefined;
  /** In order of their IDs. */
  entries: readonly LoggedEvent[];
  /** Whether there are earlier ones, which are too many. */
  isCut: boolean;
  /** Why others may be missing. */
  readonly reason?: GapReason;
  /** The streams in which no event may have been evicted, each with the ID after which. */
  readonly needed: readonly (readonly [Stream, string])[];
  /** If the session's join is not known: the ID after which the events of the stay begin. */
  readonly unjoined?: string;
  /** The ID of the newest event that was evicted from the needed ones; empty: none was. */
  evicted: string;
  /** The IDs of events that were dropped from the entries. */
  leftOut?: string[];
}

/** Most events that a client is told when it resumes. */
export const MAX_MISSED_EVENTS = 1_000;

/** The parts that were found, with the newest events of all of them. */
export class MissedParts {
  readonly #maxBytes: number;
  readonly #parts: FoundPart[] = [];
  /** The ID of the newest event that was too much; empty: none was. */
  #cutoff = "";

  /** `maxBytes`: the most that the events may take on the wire. */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Returns whether a part is full: it has `count` events of `bytes`, and this event is older. */
  isFull(eventId: string, count: number, bytes: number): boolean {
    return eventId <= this.#cutoff || count >= MAX_MISSED_EVENTS || bytes > this.#maxBytes;
  }

  /** Adds a part, and drops the events of all parts that are too much with it. */
  add(part: FoundPart): void {
    this.#parts.push(part);
    const newestFirst = this.#parts.flatMap(({ entries }) => entries)
      .sort((one, other) => one.eventId > other.eventId ? -1 : 1);
    let bytes = 0;
    for (const [count, { eventId, event }] of newestFirst.entries()) {
      bytes += encodedEventBytes(event);
      if (this.isFull(eventId, count, bytes)) return this.cutUpTo(eventId);
    }
  }

  /** Drops all events up to an ID: they are too many. */
  cutUpTo(eventId: string): void {
    this.#cutoff = eventId;
    for (const part of this.#parts) {
      const before = part.entries.length;
      keepEntries(part, (entry) => entry.eventId > eventId ? entry : undefined);
      part.isCut ||= part.entries.length < before;
    }
  }

  /** Returns the parts as the client is told them: rooms in order of their names, then the directs. */
  all(): FoundPart[] {
    const rank = ({ room }: FoundPart) => room ?? "\uffff";
    return this.#parts.sort((one, other) => rank(one) < rank(other) ? -1 : 1);
  }
}

/** Replaces each entry of a part by what `kept` returns, or drops it if that is `undefined`. */
export function keepEntries(
  part: FoundPart,
  kept: (entry: LoggedEvent) => LoggedEvent | undefined,
): void {
  part.entries = part.entries.flatMap((entry) => {
    const replaced = kept(entry);
    if (replaced === undefined) (part.leftOut ??= []).push(entry.eventId);
    return replaced ?? [];
  });
}

/** Returns a part as the client is told it. */
export function missedPart(part: FoundPart): MissedPart {
  const { room, entries, isCut, reason, evicted, leftOut } = part;
  const why = reason ?? (evicted !== "" ? "expired" : isCut ? "too-many" : undefined);
  if (why === undefined) return { room, entries, recovered: true, leftOut };
  // Without any history, no part of a room's events is complete.
  const from = why === "history-off" ? undefined : entries.find(({ eventId }) => eventId > evicted);
  return { room, entries, recovered: false, reason: why, from: from?.eventId, leftOut };
}
