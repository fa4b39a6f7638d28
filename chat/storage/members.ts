/**
 * The members of rooms, cached: a room is read from KV when a client asks for it, and the feed's
 * events keep it up to date from then on.
 *
 * Reading a room of a thousand members from KV takes ten times as long as answering from here. A
 * session is in the list only after its join was delivered on this instance. Also joins and leaves
 * that are told to nobody come here: a user stays while one of its sessions does. This file knows no
 * keys.
 */
import type { Clock } from "../base/clock.ts";
import { authorRef, type RoomEvent } from "../feed/events.ts";
import type { TableValue } from "../kv/values.ts";
import type { Speaker } from "./records.ts";

/** Rooms in the cache; beyond that, the room that was read first is dropped. */
const MAX_CACHED_ROOMS = 256;

/** Milliseconds after which a room is read again, so that no error in the cache lasts. */
const CACHE_TTL_MS = 60_000;

/** The user that a session in a room speaks for. */
export interface Member {
  readonly nick: string;
  /** The user ID of a registered user, or empty. */
  readonly account: string;
  /** Whether the session is away; absent: it is not. */
  readonly isAway?: true;
}

/** The members of a room, by session ID. */
export type Members = Map<string, Member>;

interface CachedRoom {
  /** The start of the read, in milliseconds of the monotonic clock. */
  readonly readAtMs: number;
  /** Resolves when `members` is set. */
  readonly reading: Promise<void>;
  /** Events that were delivered during the read; they are applied after it. */
  readonly meanwhile: RoomEvent[];
  members: Members | undefined;
  /** A join has put a session at the end, where it may not belong. */
  isUnordered: boolean;
}

/** The members of rooms. */
export class MemberCache {
  readonly #clock: Clock;
  readonly #read: (room: string) => Promise<Members>;
  readonly #rooms = new Map<string, CachedRoom>();

  /** `read` returns a room's members from KV, in order of their session IDs. */
  constructor(clock: Clock, read: (room: string) => Promise<Members>) {
    this.#clock = clock;
    this.#read = read;
  }

  /**
   * Returns the sessions in a room, in order of their IDs. The caller must not keep the map: it
   * changes.
   *
   * @throws when KV cannot be read.
   */
  async of(room: string): Promise<ReadonlyMap<string, Member>> {
    let cached = this.#rooms.get(room);
    if (cached === undefined || cached.readAtMs + CACHE_TTL_MS < this.#clock.monotonicMs()) {
      cached = this.#load(room);
    }
    await cached.reading;
    if (cached.isUnordered) {
      cached.members = new Map([...cached.members!].sort(([a], [b]) => a < b ? -1 : 1));
      cached.isUnordered = false;
    }
    return cached.members!;
  }

  /** Applies an event that changes a room's members. The events must come in the feed's order. */
  apply(event: RoomEvent): void {
    const cached = this.#rooms.get(event.room);
    if (cached?.members === undefined) cached?.meanwhile.push(event);
    else applyTo(cached, cached.members, event);
  }

  #load(room: string): CachedRoom {
    const cached: CachedRoom = {
      readAtMs: this.#clock.monotonicMs(),
      reading: this.#read(room).then((members) => {
        // The read may include some of these events: applying them again changes nothing.
        for (const event of cached.meanwhile.splice(0)) applyTo(cached, members, event);
        cached.members = members;
      }, (error) => {
        if (this.#rooms.get(room) === cached) this.#rooms.delete(room);
        throw error;
      }),
      meanwhile: [],
      members: undefined,
      isUnordered: false,
    };
    this.#rooms.delete(room);
    this.#rooms.set(room, cached);
    if (this.#rooms.size > MAX_CACHED_ROOMS) this.#rooms.delete(this.#rooms.keys().next().value!);
    return cached;
  }
}

/**
 * Returns the users that some sessions speak for, each once, in the order of its first session. A user is
 * away if all of its sessions are.
 */
export function usersOf(members: ReadonlyMap<string, Member>): Speaker[] {
  const users = new Map<string, Speaker>();
  for (const [id, { nick, account, isAway = false }] of members) {
    const user = account || id;
    const known = users.get(user);
    if (known === undefined) users.set(user, { user, nick, isRegistered: account !== "", isAway });
    else if (known.isAway && !isAway) users.set(user, { ...known, isAway });
  }
  return [...users.values()];
}

/** Returns the members that rows of the table name. */
export function membersFrom(rows: ReadonlyMap<string, TableValue>): Members {
  return new Map([...rows].map(([id, { nick, account, away }]) => [
    id,
    memberOf(nick, account, away),
  ]));
}

/** Returns a member, in the form that has no `isAway` if it is not. */
function memberOf(nick: string, account = "", isAway = false): Member {
  return isAway ? { nick, account, isAway } : { nick, account };
}

function applyTo(
  cached: CachedRoom,
  members: Members,
  event: RoomEvent,
): void {
  const { kind, id, to } = event;
  switch (kind) {
    case "join":
    case "leave":
    case "nick": {
      if (kind === "leave" && to === undefined) {
        members.delete(id);
        break;
      }
      if (!members.has(id)) cached.isUnordered = true;
      // The user that the session speaks for from then on.
      const { user, nick, isRegistered } = to ?? authorRef(event);
      // A session that joins is away if an event says so. One that was there stays as it is.
      const isAway = kind === "join" && to === undefined ? undefined : members.get(id)?.isAway;
      members.set(id, memberOf(nick, isRegistered ? user : "", isAway));
      break;
    }
    case "away": {
      const member = members.get(id);
      // The session has left, or speaks for another user: the event is about the user's other sessions.
      if (member === undefined || member.account !== event.account) break;
      members.set(id, memberOf(member.nick, member.account, event.count === 1));
      break;
    }
    case "message":
    case "action":
    case "direct":
    case "resume":
    case "edit":
    case "delete":
    case "reaction":
    case "read":
    case "act":
      break;
    default:
      kind satisfies never;
  }
}
