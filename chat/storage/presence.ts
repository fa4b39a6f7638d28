/**
 * Plans how a session enters and leaves rooms and changes its identity in them: rows, numbers of
 * members, and the events that tell the room.
 *
 * A registered user is in a room while one of its sessions is: only the first join and the last leave
 * are told. It is away in a room when all of its sessions there are: only changes of that are told.
 *
 * Each plan belongs to one atomic operation, with the drafts of the users' rows that it changes. This
 * file reads and commits nothing.
 */
import type { Clock } from "../base/clock.ts";
import { estimateStringBytes, type RoomEvent, type UserRef } from "../feed/events.ts";
import { roomCountKey } from "../kv/keys.ts";
import { addToCount } from "../kv/values.ts";
import { type Session, type Speaker, speakerOf, type Untold } from "./records.ts";
import { type ListedSession, newEvent, refOfListed, type SessionRows } from "./rows.ts";
import { MAX_ROW_BYTES, type UserDrafts } from "./users.ts";

/** What {@linkcode Presence} is made of. */
export interface PresenceParts {
  readonly clock: Clock;
  readonly rows: SessionRows;
  /** Rooms that a user may be in at the same time. */
  readonly maxRooms: number;
  /** Returns the shard of the feed that a room belongs to. */
  shardOf(room: string): number;
}

/** A change of rows, and the events that tell it. */
export interface Planned {
  /** The room or session whose operations keep their order with this one; absent: as the caller says. */
  readonly name?: string;
  readonly checks?: readonly Deno.AtomicCheck[];
  readonly mutations: readonly Deno.KvMutation[];
  readonly events?: readonly RoomEvent[];
  /** See Operation.lastAct. */
  readonly lastAct?: string | null;
}

/** The identity or state that a session gives up, with its number in the row of that user. */
export type FormerIdentity = Omit<Untold, "rooms">;

/** Rooms whose change is told in one operation: their keys must fit into one commit. */
const ROOMS_PER_OPERATION = 16;

/** Estimated bytes of an `instance_row` without rooms and claims. */
const INSTANCE_ROW_BYTES = 2048;

/** Plans changes of presence. */
export class Presence {
  readonly #parts: PresenceParts;

  constructor(parts: PresenceParts) {
    this.#parts = parts;
  }

  /** Divides rooms into groups, each for one operation: all rooms of a group have one shard. */
  groupsOf(rooms: Iterable<string>): string[][] {
    const byShard = Map.groupBy(rooms, (room) => this.#parts.shardOf(room));
    return [...byShard.values()].flatMap((all) => {
      const groups: string[][] = [];
      for (let i = 0; i < all.length; i += ROOMS_PER_OPERATION) {
        groups.push(all.slice(i, i + ROOMS_PER_OPERATION));
      }
      return groups;
    });
  }

  /** Plans that a session enters a room. Refuses if it, or its user, would be in too many rooms. */
  join(
    session: Session,
    room: string,
    drafts: UserDrafts,
  ): Planned | "too-many-rooms" | "conflict" {
    const { clock, rows, maxRooms } = this.#parts;
    const { id } = session;
    const ref = speakerOf(session);
    const draft = drafts.of(ref);
    const rooms = new Set(session.rooms).add(room);
    if (rooms.size > maxRooms || !fits(rooms, session)) return "too-many-rooms";
    // Another session has ended the registration, or other sessions took the place of this one.
    if (draft !== undefined && (draft.hasEnded || !draft.add(session))) return "conflict";
    if (draft?.makePlace([room], maxRooms) === false) return "too-many-rooms";
    const wasAway = draft?.isAwayIn(room);
    const isQuiet = draft?.enter(room, id, ref.isAway) ?? false;
    // A user that has joined counts as present until the event after it.
    const isKnown = isQuiet && wasAway === true;
    const away = this.#away(
      id,
      ref,
      room,
      isKnown,
      draft?.isAwayIn(room) ?? ref.isAway,
      ref.isAway,
    );
    return {
      mutations: [
        ...rows.putRoom(id, ref, room),
        ...isQuiet ? [] : [addToCount(roomCountKey(room), 1)],
        rows.putInstanceRow({ ...session, rooms }),
      ],
      events: [quietIf(isQuiet, newEvent(clock, "join", id, ref, room)), ...away],
    };
  }

  /** Plans that a session leaves a room for good. */
  leave(session: Session, room: string, drafts: UserDrafts): Planned {
    const rooms = new Set(session.rooms);
    rooms.delete(room);
    const { mutations, events } = this.#exit(session, speakerOf(session), room, drafts, false);
    return {
      mutations: [...mutations, this.#parts.rows.putInstanceRow({ ...session, rooms })],
      events,
    };
  }

  /** Plans that a session that ends is taken out of some rooms. Registered users keep them in mind. */
  removal(session: ListedSession, rooms: readonly string[], drafts: UserDrafts): Planned {
    const plans = rooms.map((room) => {
      const known = session.untold?.rooms.has(room) ? session.untold : refOfListed(session);
      return this.#exit(session, known, room, drafts, true);
    });
    return {
      mutations: plans.flatMap(({ mutations }) => mutations),
      events: plans.flatMap(({ events }) => events),
    };
  }

  /** Plans that some rooms of the session `id` learn of its change of identity, or that it is away or back. */
  move(
    id: string,
    rooms: readonly string[],
    from: FormerIdentity,
    to: Speaker,
    drafts: UserDrafts,
  ): Required<Pick<Planned, "mutations" | "events">> {
    const mutations: Deno.KvMutation[] = [];
    const events: RoomEvent[] = [];
    for (const room of rooms) {
      const told = from.user === to.user
        ? this.#changeIn(room, id, from, to, drafts)
        : this.#moveIn(room, id, from, to, drafts);
      for (const { kind } of told) {
        if (kind === "join") mutations.push(addToCount(roomCountKey(room), 1));
        if (kind === "leave") mutations.push(addToCount(roomCountKey(room), -1));
      }
      mutations.push(...this.#parts.rows.putRoom(id, to, room));
      events.push(...told);
    }
    return { mutations, events };
  }

  /** The session speaks for the same user: its nickname changes, or whether it is away. */
  #changeIn(
    room: string,
    id: string,
    from: FormerIdentity,
    to: Speaker,
    drafts: UserDrafts,
  ): RoomEvent[] {
    if (from.isAway === to.isAway) return [this.#renamed(room, id, from, to)];
    const draft = drafts.of(to);
    const wasAway = draft?.isAwayIn(room) ?? from.isAway;
    draft?.enter(room, id, to.isAway);
    return this.#away(id, to, room, wasAway, draft?.isAwayIn(room) ?? to.isAway, true);
  }

  /** The session speaks for another user. */
  #moveIn(
    room: string,
    id: string,
    from: FormerIdentity,
    to: Speaker,
    drafts: UserDrafts,
  ): RoomEvent[] {
    const { clock } = this.#parts;
    const [former, next] = [drafts.of(from), drafts.of(to)];
    const formerWasAway = former?.isAwayIn(room) ?? false;
    const formerStays = former?.exit(room, from.n, true) ?? false;
    const wasAway = next?.isAwayIn(room) ?? false;
    const isThere = next?.enter(room, id, to.isAway) ?? false;
    const renamed = this.#renamed(room, id, from, to);
    let event: RoomEvent = renamed;
    if (formerStays && isThere) event = { ...renamed, isQuiet: true };
    else if (formerStays) event = { ...newEvent(clock, "join", id, to, room), to: userOf(to) };
    else if (isThere) event = { ...newEvent(clock, "leave", id, from, room), to: userOf(to) };
    // A change of nickname keeps the state.
    const isKnown = event === renamed ? from.isAway : wasAway;
    return [
      event,
      ...this.#away(id, from, room, formerWasAway, former?.isAwayIn(room)),
      ...this.#away(id, to, room, isKnown, next?.isAwayIn(room) ?? to.isAway),
    ];
  }

  #renamed(room: string, id: string, from: UserRef, to: UserRef): RoomEvent {
    return { ...newEvent(this.#parts.clock, "nick", id, from, room), to: userOf(to) };
  }

  /**
   * Returns the event after which clients know whether a user is away in a room: `isKnown` is what they
   * know, `isAway` what is true; `undefined`: the user is not there. If they know it, the event is quiet,
   * and only there if lists of members must learn that the session itself is away, or back.
   */
  #away(
    id: string,
    ref: UserRef & { readonly isAway?: boolean },
    room: string,
    isKnown: boolean,
    isAway: boolean | undefined,
    isListed = false,
  ): RoomEvent[] {
    const isQuiet = isAway === isKnown;
    if (isAway === undefined || isQuiet && !isListed) return [];
    const count = Number(isQuiet ? ref.isAway : isAway);
    return [quietIf(isQuiet, { ...newEvent(this.#parts.clock, "away", id, ref, room), count })];
  }

  #exit(
    { id }: { readonly id: string },
    known: UserRef & { readonly n?: number },
    room: string,
    drafts: UserDrafts,
    isRemembered: boolean,
  ): { mutations: Deno.KvMutation[]; events: RoomEvent[] } {
    const { clock, rows } = this.#parts;
    const draft = drafts.of(known);
    const wasAway = draft?.isAwayIn(room) ?? false;
    const isQuiet = draft?.exit(room, known.n ?? draft.numberOf(id), isRemembered) ?? false;
    return {
      mutations: [
        ...rows.deleteRoom(id, room),
        ...isQuiet ? [] : [addToCount(roomCountKey(room), -1)],
      ],
      events: [
        quietIf(isQuiet, newEvent(clock, "leave", id, known, room)),
        // The session may have been the only one of the user that was not away.
        ...this.#away(id, known, room, wasAway, draft?.isAwayIn(room)),
      ],
    };
  }
}

/** Returns only the user, as events have it. */
function userOf({ user, nick, isRegistered }: UserRef): UserRef {
  return { user, nick, isRegistered };
}

function quietIf(isQuiet: boolean, event: RoomEvent): RoomEvent {
  return isQuiet ? { ...event, isQuiet } : event;
}

/** Returns whether the `instance_row` of a session in these rooms fits into a KV value. */
function fits(rooms: ReadonlySet<string>, { claims, ignored }: Session): boolean {
  let bytes = INSTANCE_ROW_BYTES;
  for (const text of [...rooms, ...claims, ...[...ignored].flat()]) {
    bytes += estimateStringBytes(text);
  }
  return bytes <= MAX_ROW_BYTES;
}
