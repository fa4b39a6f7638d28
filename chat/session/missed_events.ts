/**
 * Finds the events that a client missed while it was not connected, and whether some may be missing.
 *
 * The sources are the streams of history: what the client did itself ("own"), joins and leaves
 * ("people"), messages ("log") and direct messages. This file sends nothing and changes no session,
 * except that it fills in the `cid`s of messages that the client sent over other instances.
 */
import type { Clock } from "../base/clock.ts";
import { encodedEventBytes, MAX_RESUME_BYTES } from "../delivery/encoded_size.ts";
import type { LoggedEvent } from "../feed/events.ts";
import type { History } from "../history/history.ts";
import type { Stream } from "../kv/keys.ts";
import { MAX_CLOCK_ERROR_MS } from "../history/retention.ts";
import { cidKey, MAX_CIDS, rememberCid, type Session } from "../storage/records.ts";
import type { Storage } from "../storage/storage.ts";

/** What the search is made of. */
export interface MissedEventsParts {
  readonly storage: Storage;
  readonly history: History;
  readonly clock: Clock;
  /** Milliseconds for which a dropped session can be resumed. */
  readonly graceMs: number;
}

/**
 * The IDs of the last events that a client saw: of a room, of the direct messages that it received,
 * and of those that it sent. Without `sent`, `direct` counts for both.
 */
export interface LastSeen {
  readonly last?: string;
  readonly direct?: string;
  readonly sent?: string;
}

/** An event that was missed; `isSent`: a direct message that the client itself sent. */
export interface MissedEntry extends LoggedEvent {
  readonly isSent: boolean;
}

/** The events that were missed. */
export interface MissedEvents {
  /** In order of their IDs; at most {@linkcode MAX_MISSED_EVENTS}. */
  readonly entries: readonly MissedEntry[];
  /** Whether no event is missing. */
  readonly recovered: boolean;
  /** Why events may be missing. */
  readonly reason?: GapReason;
  /** The ID of the first entry after which no event is missing, if that is known. */
  readonly from?: string;
}

type GapReason = "expired" | "too-many" | "history-off" | "unavailable";

/** The kept events of one stream after the last one that the client saw. */
interface StreamPart {
  readonly entries: readonly MissedEntry[];
  /** Whether the event that the client saw last is kept, so that no later one is missing. */
  readonly isFound: boolean;
  /** Whether no event is kept that is as old as that one. */
  readonly isClear: boolean;
}

/** A stream, and the event ID after which it must be complete. */
type Needed = readonly [Stream, string];

/** What a client did itself, as far as it is kept. */
interface OwnEvents {
  /** Its joins and leaves after the last event that it saw, newest first. */
  readonly moves: readonly LoggedEvent[];
  /** The newest move before those, if it was needed and is kept. */
  readonly before: LoggedEvent | undefined;
  /** Whether an event is kept that is as old as the last one that the client saw. */
  readonly isReached: boolean;
  /** Whether all kept events were read. */
  readonly isWhole: boolean;
}

/** A time in a room whose events the client may have missed: those after `from`, before `to`. */
interface RoomStay {
  readonly room: string;
  readonly from: string;
  readonly to: string;
  /** Whether `from` is the client's own join, and was missed as well. */
  readonly isFromJoin: boolean;
}

/** Returns whether a retention of so many milliseconds covers the time that the client was away. */
export type IsCovered = (retentionMs: number) => boolean;

/** Most events that a client is told when it resumes. */
export const MAX_MISSED_EVENTS = 1_000;

/** Most of a client's own events that are read. */
const MAX_OWN_READ = 4 * MAX_MISSED_EVENTS;

/**
 * Milliseconds: no client is away for longer than the grace and this before its drop is noticed. With
 * a longer retention, no event that the client missed has expired.
 */
const MAX_UNDETECTED_MS = 5 * 60_000;

/** Returns the newest entries, as many as a client may be told at once. */
function newestOf(entries: readonly MissedEntry[]): readonly MissedEntry[] {
  let bytes = 0, count = 0;
  while (count < Math.min(entries.length, MAX_MISSED_EVENTS)) {
    bytes += encodedEventBytes(entries[entries.length - 1 - count]!.event);
    if (bytes > MAX_RESUME_BYTES) break;
    count++;
  }
  return entries.slice(entries.length - count);
}

function sortById(entries: MissedEntry[]): MissedEntry[] {
  return entries.sort((a, b) =>
    a.eventId === b.eventId ? Number(a.isSent) - Number(b.isSent) : a.eventId < b.eventId ? -1 : 1
  );
}

function isMove({ event: { kind } }: LoggedEvent): boolean {
  return kind === "join" || kind === "leave";
}

/**
 * Returns the stays in rooms after `last`, newest first, of a client that made these `moves` and is
 * in `room` now; and whether it was in a room at `last`.
 */
function staysOf(
  room: string | undefined,
  moves: readonly LoggedEvent[],
  last: string,
  now: string,
): { stays: RoomStay[]; isInRoom: boolean } {
  const stays: RoomStay[] = [];
  let to = now;
  for (const { eventId, event } of moves) {
    if (event.kind === "leave") {
      room = event.room;
      // Its own leave is the last event of a room that a client sees.
      to = `${eventId}\0`;
    } else {
      stays.push({ room: event.room, from: eventId, to, isFromJoin: true });
      room = undefined;
    }
  }
  if (room !== undefined) stays.push({ room, from: last, to, isFromJoin: false });
  return { stays, isInRoom: room !== undefined };
}

/** The search for missed events, for all connections of an instance. */
export class MissedEventsReader {
  readonly #parts: MissedEventsParts;

  constructor(parts: MissedEventsParts) {
    this.#parts = parts;
  }

  /**
   * Returns the test whether a retention covers the time that a client was away. `aliveAt` is the
   * Unix time in milliseconds at which the client's instance was last alive, if that is known.
   */
  coverage(aliveAt = -Infinity): IsCovered {
    const { clock, graceMs } = this.#parts;
    const awayMs = graceMs + MAX_UNDETECTED_MS + Math.max(0, clock.now() - aliveAt);
    return (retentionMs) => retentionMs > awayMs + MAX_CLOCK_ERROR_MS;
  }

  /**
   * Returns the events before `eventId` that a client missed.
   *
   * @throws when KV cannot be read.
   */
  async read(
    session: Session,
    eventId: string,
    seen: LastSeen,
    isCovered: IsCovered,
  ): Promise<MissedEvents> {
    const { history } = this.#parts;
    const own = await this.readOwn(session, seen.last);
    const rooms = await this.#readRooms(session, eventId, seen.last, own, isCovered);
    const lastSent = seen.sent ?? seen.direct ?? "";
    const received = await this.#readDirect(session.id, "direct", seen.direct ?? "");
    const sent = await this.#readDirect(session.id, "sent", lastSent);
    const isKept = isCovered(history.retentionOf("direct"));
    const isOneId = seen.sent === undefined;
    const isComplete = ({ isFound, isClear }: StreamPart, other: StreamPart) =>
      isFound || (isOneId && other.isFound) || (isClear && isKept);
    const areComplete = isComplete(received, sent) && isComplete(sent, received);
    // A later event may have been evicted to make room although the last seen one is still there.
    const evicted = await history.evictedAfter([
      ...rooms.needed,
      [["direct", session.id], seen.direct ?? ""],
      [["sent", session.id], lastSent],
    ]);
    const all = sortById([...rooms.entries, ...received.entries, ...sent.entries]);
    const entries = newestOf(all);
    const tooMany = entries.length < all.length ? "too-many" : undefined;
    const reason = areComplete && evicted === "" ? rooms.reason ?? tooMany : "expired";
    if (reason === undefined) return { entries, recovered: true };
    // Without any history, no part of a room's events is complete.
    const from = rooms.reason === "history-off"
      ? undefined
      : entries.find(({ eventId }) => eventId > evicted)?.eventId;
    return { entries, recovered: false, reason, from };
  }

  /**
   * Returns what a client did itself, from the newest event back to `last`. Fills in the `cid`s of
   * the messages that it sent, if they are not known yet.
   *
   * @throws when KV cannot be read.
   */
  async readOwn(session: Session, last = ""): Promise<OwnEvents> {
    const { history, storage } = this.#parts;
    // The client's rooms are in several shards, and each is read up to the present by itself.
    await storage.reached();
    const moves: LoggedEvent[] = [];
    const sentIds = new Map<string, string>();
    let before: LoggedEvent | undefined, isReached = false, isWhole = true, read = 0;
    for await (const entry of history.newestOf(["own", session.id])) {
      const { eventId, event: { kind, cid } } = entry;
      isReached ||= eventId <= last;
      const wasInRoom = (moves.at(-1)?.event.kind ?? (session.room && "leave")) === "leave";
      const isRecalled = session.areCidsRecalled || sentIds.size >= MAX_CIDS;
      const isEnough = isRecalled && isReached && (wasInRoom || before !== undefined);
      if (isEnough || ++read > MAX_OWN_READ) {
        isWhole = false;
        break;
      }
      if (!isMove(entry)) {
        if (!isRecalled) sentIds.set(cidKey(kind, cid), eventId);
      } else if (eventId > last) moves.push(entry);
      else before ??= entry;
    }
    if (!session.areCidsRecalled) {
      for (const [key, eventId] of [...sentIds].reverse()) rememberCid(session, key, eventId);
      session.areCidsRecalled = true;
    }
    return { moves, before, isReached, isWhole };
  }

  /**
   * Returns the events after `last`, up to `now`, of the rooms that a client was in; and the streams
   * from which nothing may have been evicted for that to be complete.
   */
  async #readRooms(
    { id, room, since }: Session,
    now: string,
    last: string | undefined,
    { moves, before, isReached, isWhole }: OwnEvents,
    isCovered: IsCovered,
  ): Promise<{ entries: readonly MissedEntry[]; reason?: GapReason; needed: readonly Needed[] }> {
    const { history, clock } = this.#parts;
    const { stays, isInRoom } = staysOf(room, moves, last ?? "", now);
    // For a client that was in no room at `last`, an earlier move may be the event that it saw.
    const isLastEnough = last !== undefined && (isInRoom || before?.eventId === last);
    const needed: Needed[] = [[["own", id], isLastEnough ? last : ""]];
    if (history.retentionMs === 0) {
      return { entries: [], reason: stays.length === 0 ? undefined : "history-off", needed };
    }
    const areOwnKept = isWhole && isCovered(history.retentionOf("own"));
    // If the client was in no room at `last`: is `last` the move by which it left?
    let isCertain = isInRoom || last === undefined || before?.eventId === last ||
      (before === undefined && areOwnKept);
    if (last === undefined) {
      // The client may have seen all or none of the events of its earlier rooms.
      const presentStays = room === undefined ? 0 : 1;
      if (stays.splice(presentStays).length > 0 || !isWhole) isCertain = false;
    }
    const entries: MissedEntry[] = [];
    for (const stay of stays) {
      const part = await this.#readStay(stay, id);
      entries.push(...part.entries);
      needed.push([["people", stay.room], part.start], [["log", stay.room], part.start]);
      if (entries.length > MAX_MISSED_EVENTS) break;
      const isOld = clock.now() - since > history.retentionMs - MAX_CLOCK_ERROR_MS;
      // No kept event is as old as the last seen one, so all events after that one are kept.
      const isAllKept = part.isClear && isCovered(history.retentionMs) && !stay.isFromJoin &&
        last !== undefined && isOld;
      if (!part.isFound && !isAllKept && !(part.isJoined && (isReached || areOwnKept))) {
        isCertain = false;
      }
    }
    return { entries, reason: isCertain ? undefined : "expired", needed };
  }

  /**
   * Returns the kept events of a stay in a room after `start`. `isJoined` says that they begin with
   * the client's own join.
   */
  async #readStay(
    { room, from, to, isFromJoin }: RoomStay,
    id: string,
  ): Promise<StreamPart & { start: string; isJoined: boolean }> {
    const { history } = this.#parts;
    const entries: MissedEntry[] = [];
    let start = from, isFound = false, isClear = true, isJoined = false;
    for await (const entry of history.backwards(["people", room], to)) {
      if (entry.eventId <= from) {
        isFound = entry.eventId === from;
        isClear = isFound;
        if (isFound && isFromJoin) entries.push({ ...entry, isSent: false });
        break;
      }
      if (entries.push({ ...entry, isSent: false }) > MAX_MISSED_EVENTS) break;
      // Events before its join are not for the client, whatever it claims to have seen.
      isJoined = entry.event.kind === "join" && entry.event.id === id;
      if (isJoined) {
        start = entry.eventId;
        isClear = false;
        break;
      }
    }
    // The join is not kept. If it was evicted, older messages may be from before it.
    const isUnknown = isClear && !isFound && !isFromJoin;
    const evicted = isUnknown ? await history.evictedAfter([[["people", room], start]]) : "";
    const peopleCount = entries.length;
    for await (const entry of history.backwards(["log", room], to)) {
      if (entry.eventId === from) isFound = true;
      if (entry.eventId <= from) isClear = false;
      if (entry.eventId <= start || entry.eventId <= evicted) break;
      if (entries.push({ ...entry, isSent: false }) > peopleCount + MAX_MISSED_EVENTS) break;
    }
    return { entries, start, isFound, isClear, isJoined };
  }

  /** Returns the direct messages that a client received, or sent, after the last one that it saw. */
  async #readDirect(id: string, kind: "direct" | "sent", last: string): Promise<StreamPart> {
    const { history } = this.#parts;
    const entries: MissedEntry[] = [];
    const isSent = kind === "sent";
    const newestFirst = isSent ? history.newestOf([kind, id]) : history.backwards([kind, id]);
    let bytes = 0;
    for await (const entry of newestFirst) {
      const isFound = entry.eventId === last;
      if (entry.eventId <= last) return { entries, isFound, isClear: false };
      bytes += encodedEventBytes(entry.event);
      // No client is told more than this.
      if (entries.push({ ...entry, isSent }) > MAX_MISSED_EVENTS || bytes > MAX_RESUME_BYTES) break;
    }
    return { entries, isFound: false, isClear: true };
  }
}
