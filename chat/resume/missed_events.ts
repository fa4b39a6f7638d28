/**
 * Finds the events that a client missed while it was not connected, and whether some may be missing:
 * for each room, and for the direct messages.
 *
 * The sources are the streams of history: joins and leaves ("people"), messages ("log"), direct
 * messages, and what the session did itself (own_events.ts). This file sends nothing and changes no
 * session. Memory is bounded whatever the rooms hold: see missed_parts.ts.
 */
import type { Clock } from "../base/clock.ts";
import { eachOf } from "../base/each_of.ts";
import { encodedBytes, encodedEventBytes, MAX_RESUME_BYTES } from "../delivery/encoded_size.ts";
import type { LoggedEvent } from "../feed/events.ts";
import type { History } from "../history/history.ts";
import { inOrder } from "../history/in_order.ts";
import { MAX_CLOCK_ERROR_MS } from "../history/retention.ts";
import { DIRECT_FEED_NAME, type Stream } from "../kv/keys.ts";
import type { Session } from "../storage/records.ts";
import type { Storage } from "../storage/storage.ts";
import { fillEdits } from "./missed_edits.ts";
import { type FoundPart, type MissedPart, missedPart, MissedParts } from "./missed_parts.ts";
import { isMove, type OwnEvents, readOwn } from "./own_events.ts";
import { type RoomStay, staysOf } from "./room_stays.ts";

/** What the search is made of. */
export interface MissedEventsParts {
  readonly storage: Storage;
  readonly history: History;
  readonly clock: Clock;
  /** Milliseconds for which a dropped session can be resumed. */
  readonly graceMs: number;
}

/** The IDs of the last events that a client saw. */
export interface LastSeen {
  /** In each room that it was in. */
  readonly last: ReadonlyMap<string, string>;
  /** Of the direct messages, sent and received. */
  readonly direct?: string;
}

/** One search: for whom, and up to which event. */
interface Search {
  readonly session: Session;
  /** The rooms in which the session was before its own events were read. */
  readonly joined: ReadonlySet<string>;
  /** The ID of the event that resumed the session: later events are held for its client. */
  readonly now: string;
  readonly seen: LastSeen;
  readonly own: OwnEvents;
  readonly isCovered: IsCovered;
  readonly found: MissedParts;
}

/** The kept events of one stay in a room. */
interface StayEvents {
  /** Newest first. */
  readonly entries: LoggedEvent[];
  /** The ID after which the streams must be complete: that of the join, or of the last seen event. */
  readonly start: string;
  /** Whether the event at which the stay begins for the client is kept, so that no later one is missing. */
  readonly isFound: boolean;
  /** Whether no event is kept that is as old as that one. */
  readonly isClear: boolean;
  /** Whether the session's own join, at which the stay began, is known. */
  readonly isJoined: boolean;
  /** Whether there are too many. */
  readonly isCut: boolean;
}

/** Returns whether a retention of so many milliseconds covers the time that the client was away. */
export type IsCovered = (retentionMs: number) => boolean;

/**
 * Milliseconds: no client is away for longer than the grace and this before its drop is noticed. With
 * a longer retention, no event that the client missed has expired.
 */
const MAX_UNDETECTED_MS = 5 * 60_000;

/**
 * Milliseconds by which direct messages may seem older than a session that received them. A client that
 * has seen none may be told some of that time which its user's other sessions have received.
 */
const MAX_DIRECT_SKEW_MS = 10 * 60_000;

/** The least bytes for events, however many rooms the reply names. */
const MIN_EVENT_BYTES = 64 * 1024;

/** Bytes of a `resumed` besides the room's name. */
const RESUMED_BYTES = 128;

/** Rooms that are read at the same time. */
const MAX_ROOMS_AT_ONCE = 4;

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
   * Returns the events that a client missed: of each room that the session is in or that the client
   * names, and of the direct messages. `now` is the ID of the takeover, from which on events are held.
   * Some of the held ones may be among the returned ones.
   *
   * @throws when KV cannot be read.
   */
  async read(
    session: Session,
    now: string,
    seen: LastSeen,
    isCovered: IsCovered,
  ): Promise<readonly MissedPart[]> {
    const lastIds = [...seen.last.values()];
    // A leave that is delivered from here on is found in the room, or held.
    const joined = new Set(session.rooms);
    const own = await readOwn(this.#parts, session, {
      last: lastIds.reduce((oldest, each) => each < oldest ? each : oldest, "~"),
      joined: joined.difference(new Set(seen.last.keys())),
    });
    const rooms = roomsOf(session, seen);
    const found = new MissedParts(eventBytesBeside(rooms));
    const search: Search = { session, joined, now, seen, own, isCovered, found };
    await eachOf([undefined, ...rooms], MAX_ROOMS_AT_ONCE, async (room) => {
      found.add(
        room === undefined ? await this.#readDirect(search) : await this.#readRoom(search, room),
      );
    });
    await this.#checkEvictions(found.all());
    await fillEdits(this.#parts.history, session.user, found);
    return found.all().map(missedPart);
  }

  /** Finds out of which parts events were evicted. Mostly there are none: that takes one read. */
  async #checkEvictions(parts: readonly FoundPart[]): Promise<void> {
    const { history } = this.#parts;
    if (await history.evictedAfter(parts.flatMap(({ needed }) => needed)) === "") return;
    for (const part of parts) {
      const { room, needed, unjoined } = part;
      // A later event may have been evicted to make room although the last seen one is still there.
      part.evicted = await history.evictedAfter(needed);
      if (part.evicted === "" || room === undefined || unjoined === undefined) continue;
      // If the session's join was evicted, older events may be from before it.
      const joins = await history.evictedAfter([[["people", room], unjoined]]);
      part.entries = part.entries.filter(({ eventId }) => eventId > joins);
    }
  }

  async #readRoom(search: Search, room: string): Promise<FoundPart> {
    const { session, joined, now, seen, own } = search;
    const { history } = this.#parts;
    const last = seen.last.get(room);
    const moves = own.moves.filter(({ event }) => event.room === room);
    const stays = staysOf(joined.has(room), moves, last, this.#endOf(room, now));
    const nothing = { room, entries: [], isCut: false, needed: [], evicted: "" };
    if (stays.length === 0) return { ...nothing, reason: "not-in-room" };
    if (history.retentionMs === 0) return { ...nothing, reason: "history-off" };
    const newestFirst: LoggedEvent[] = [];
    const needed: [Stream, string][] = [[["own", session.id], last ?? stays[0]!.from]];
    let isCertain = true, isCut = false, unjoined: string | undefined;
    for (const stay of stays) {
      const events = await this.#readStay(search, room, stay, moves);
      for (const entry of events.entries) newestFirst.push(entry);
      needed.push([["people", room], events.start], [["log", room], events.start]);
      if (!events.isJoined) unjoined = events.start;
      isCut = events.isCut;
      if (isCut) break;
      isCertain &&= this.#isCertain(search, stay, events, last);
    }
    const reason = isCertain || isCut ? undefined : "expired";
    return { ...nothing, entries: newestFirst.reverse(), isCut, needed, unjoined, reason };
  }

  /**
   * Returns the end of the missed events of a shard. Those after the takeover `now` may have been
   * delivered here before it, because it is in another shard. What is not delivered yet will be.
   */
  #endOf(name: string, now: string): string {
    const delivered = this.#parts.history.deliveredEnd(name);
    return delivered > now ? delivered : now;
  }

  /** Returns whether no event of a stay is missing, unless some were evicted. */
  #isCertain(
    { session, own, isCovered }: Search,
    { join }: RoomStay,
    { isFound, isClear, isJoined }: StayEvents,
    last: string | undefined,
  ): boolean {
    const { history, clock } = this.#parts;
    if (isFound) return true;
    // No stay between the last seen event and that join is unknown.
    const areMovesKnown = last === undefined || own.oldestId <= last ||
      (own.isWhole && isCovered(history.retentionOf("own")));
    if (isJoined && join === undefined && areMovesKnown) return true;
    // No kept event is as old as the last seen one, so all events after that one are kept.
    const isOld = clock.now() - session.since > history.retentionMs - MAX_CLOCK_ERROR_MS;
    return isClear && isOld && join === undefined && last !== undefined &&
      isCovered(history.retentionMs);
  }

  /** Returns the kept events of a stay. `moves` are the session's joins and leaves in that room. */
  async #readStay(
    { session, found }: Search,
    room: string,
    { from, to, join, leave }: RoomStay,
    moves: readonly LoggedEvent[],
  ): Promise<StayEvents> {
    const { history } = this.#parts;
    const entries: LoggedEvent[] = [];
    let start = from, bytes = 0, isFound = false, isOlder = false, isJoined = false, isCut = false;
    const streams: Stream[] = [["people", room], ["log", room]];
    const kept = streams.map((stream) => history.backwards(stream, to));
    for await (const entry of inOrder(kept, "newest first")) {
      const { eventId, event } = entry;
      isFound = eventId === from;
      isOlder = eventId < from;
      if (isFound && join !== undefined) entries.push(entry);
      if (isFound || isOlder) break;
      bytes += encodedEventBytes(event);
      isCut = found.isFull(eventId, entries.length, bytes);
      if (isCut) break;
      entries.push(entry);
      // Events before its join are not for the client, whatever it claims to have seen.
      isJoined = event.kind === "join" && event.id === session.id && isMove(event);
      if (isJoined) {
        start = eventId;
        break;
      }
    }
    // The room was not told of these if the user had another session there.
    if (leave?.event.isQuiet) entries.unshift(leave);
    if (join?.event.isQuiet && !isCut && !isJoined) entries.push(join);
    isFound ||= isOlder && moves.some(({ eventId }) => eventId === from);
    const isClear = !isFound && !isOlder && !isJoined && !isCut;
    return { entries, start, isFound, isClear, isJoined: isJoined || join !== undefined, isCut };
  }

  /** Returns the direct messages of the session's user after the last one that the client saw. */
  async #readDirect({ session, now, seen, isCovered, found }: Search): Promise<FoundPart> {
    const { history } = this.#parts;
    const { user, id, since } = session;
    const { direct: last = "" } = seen;
    // An unregistered user has no direct messages from before its session.
    const sinceMs = last === "" && user !== id ? since - MAX_DIRECT_SKEW_MS : -Infinity;
    // The session was a user of its own before it signed in.
    const streams: Stream[] = user === id ? [["direct", id]] : [["direct", user], ["direct", id]];
    const newestFirst: LoggedEvent[] = [];
    let bytes = 0, isFound = false, isClear = true, isCut = false;
    const end = this.#endOf(DIRECT_FEED_NAME, now);
    const kept = streams.map((stream) => history.backwards(stream, end));
    for await (const entry of inOrder(kept, "newest first")) {
      const { eventId, event } = entry;
      isFound = eventId === last;
      isClear = eventId > last;
      if (!isClear || event.time < sinceMs) break;
      bytes += encodedEventBytes(event);
      isCut = found.isFull(eventId, newestFirst.length, bytes);
      if (isCut) break;
      newestFirst.push(entry);
    }
    const isCertain = isFound || isCut || (isClear && isCovered(history.retentionOf("direct")));
    const needed = streams.map((stream) => [stream, last] as const);
    const entries = newestFirst.reverse();
    const reason = isCertain ? undefined : "expired";
    return { room: undefined, entries, isCut, needed, evicted: "", reason };
  }
}

/** Returns the rooms of which a client is told what it missed. */
export function roomsOf(session: Session, { last }: LastSeen): string[] {
  return [...session.rooms.union(new Set(last.keys()))];
}

/** Returns the bytes that events may take in a reply that also says how each room was resumed. */
function eventBytesBeside(rooms: readonly string[]): number {
  const bytes = rooms.reduce((sum, room) => sum + encodedBytes(room) + RESUMED_BYTES, 0);
  return Math.max(MIN_EVENT_BYTES, MAX_RESUME_BYTES - bytes);
}
