/**
 * The missed events of each room and of the direct messages, within one bound for all of them.
 *
 * The newest events are kept: a client that missed more is told from which event on nothing is missing.
 * This file reads nothing.
 */
import { encodedEventBytes } from "../delivery/encoded_size.ts";
import type { LoggedEvent } from "../feed/events.ts";

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
  /** The ID of the newest event that was removed for the quota and would belong here; or empty. */
  readonly evicted: string;
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
      const entries = part.entries.filter((entry) => entry.eventId > eventId);
      part.isCut ||= entries.length < part.entries.length;
      part.entries = entries;
    }
  }

  /** Returns the parts as the client is told them: rooms in order of their names, then the directs. */
  all(): FoundPart[] {
    const rank = ({ room }: FoundPart) => room ?? "\uffff";
    return this.#parts.sort((one, other) => rank(one) < rank(other) ? -1 : 1);
  }
}

/** Returns a part as the client is told it. */
export function missedPart({ room, entries, isCut, reason, evicted }: FoundPart): MissedPart {
  const why = reason ?? (evicted !== "" ? "expired" : isCut ? "too-many" : undefined);
  if (why === undefined) return { room, entries, recovered: true };
  // Without any history, no part of a room's events is complete.
  const from = why === "history-off" ? undefined : entries.find(({ eventId }) => eventId > evicted);
  return { room, entries, recovered: false, reason: why, from: from?.eventId };
}
