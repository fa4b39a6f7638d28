/**
 * What clients do about moderation: acts, the role of an operator, the record, and ignoring users.
 *
 * Here the names that clients type become rooms. Who may do what, and what it changes, is decided in
 * moderation/.
 */
import { type ActRow, ACTS } from "../base/acts.ts";
import { reject, type Rejection, rejection, type Result } from "../base/rejections.ts";
import type { Connection } from "../connections/connection.ts";
import { encodedEventBytes, MAX_REPLY_BYTES } from "../delivery/encoded_size.ts";
import type { RoomState } from "../delivery/json.ts";
import type { LoggedEvent, UserRef } from "../feed/events.ts";
import { isEventId } from "../history/streams.ts";
import type { Acted, ActRequest, Moderation } from "../moderation/moderation.ts";
import { MAX_RECORD_ACTS } from "../moderation/record.ts";
import type { SoughtUser } from "../nicknames/users.ts";
import type { Session } from "../storage/records.ts";
import type { Storage } from "../storage/storage.ts";
import type { RoomNames } from "./room_names.ts";

export { MAX_RECORD_ACTS };

/** What {@linkcode Moderating} is made of. */
export interface ModeratingParts {
  readonly moderation: Moderation;
  readonly storage: Storage;
  readonly roomNames: RoomNames;
}

/** The acts that a client asks for: the last ones, or those before the event with an ID. */
export interface RecordQuery {
  /** The room, as the client wrote it; absent: the whole chat. */
  readonly room?: string;
  readonly before?: string;
  readonly limit: number;
}

/** A page of the record, oldest first. */
export interface RecordReply {
  readonly room: string | undefined;
  readonly entries: readonly LoggedEvent[];
  /** Whether there are earlier acts. */
  readonly more: boolean;
}

/** The verbs about moderation, for all connections of an instance. */
export class Moderating {
  readonly #parts: ModeratingParts;

  constructor(parts: ModeratingParts) {
    this.#parts = parts;
  }

  /**
   * Carries an act out. `request.room` is as the client wrote it.
   *
   * @throws when KV cannot be read.
   */
  async act({ session }: Connection, request: ActRequest): Promise<Acted> {
    const found = await this.#roomOf(session, request.room);
    if (!found.ok) return found;
    const { room } = found;
    const row: ActRow = ACTS[request.act];
    // Who is not in the room could otherwise write to its moderators.
    if (row.by === "member" && room !== undefined && !session.rooms.has(room)) {
      return rejection.notInThatRoom(room);
    }
    return await this.#parts.moderation.act(session, { ...request, room });
  }

  /**
   * Deletes another user's message, if the client moderates the room; else returns `why`: the reason why
   * it could not delete it as its own.
   *
   * @throws when KV cannot be read.
   */
  async deleteOther(
    connection: Connection,
    { room, id, reason }: { room: string; id: string; reason?: string },
    why: Rejection,
  ): Promise<Result<{ eventId?: string }>> {
    const { session } = connection;
    const { moderation, roomNames } = this.#parts;
    const known = roomNames.find(room, session.rooms) ?? room;
    if (moderation.roleIn(session, known) === undefined) return why;
    const request = { act: "delete", room, message: id, text: reason } as const;
    const acted = await this.act(connection, request);
    // It is an own message, and the first reason says what is wrong with it.
    return acted === rejection.notToYourself ? why : acted;
  }

  /**
   * Makes the session an operator's if the secret is right.
   *
   * @throws when KV cannot be read.
   */
  becomeOperator({ session, rateLimitKey }: Connection, secret: string): Promise<Result> {
    return this.#parts.moderation.becomeOperator(session, secret, rateLimitKey);
  }

  /**
   * Ignores a user, or no longer.
   *
   * @throws when KV cannot be read.
   */
  ignore(
    { session }: Connection,
    sought: SoughtUser,
    isIgnored: boolean,
  ): Promise<Result<{ user: UserRef }>> {
    const { moderation } = this.#parts;
    return isIgnored ? moderation.ignore(session, sought) : moderation.unignore(session, sought);
  }

  /**
   * Returns the users that the client's user ignores, with their nicknames of that time.
   *
   * @throws when KV cannot be read.
   */
  async ignored({ session }: Connection): Promise<{ user: string; nick: string }[]> {
    const ignored = await this.#parts.moderation.ignoredBy(session);
    return [...ignored].map(([user, nick]) => ({ user, nick }));
  }

  /**
   * Returns a page of the record, of at most {@linkcode MAX_REPLY_BYTES}.
   *
   * @throws when KV cannot be read.
   */
  async record(
    { session }: Connection,
    { room: typed, before, limit }: RecordQuery,
  ): Promise<Result<RecordReply>> {
    const found = await this.#roomOf(session, typed);
    if (!found.ok) return found;
    const { room } = found;
    // Nothing is before an ID that is none.
    if (before !== undefined && !isEventId(before)) before = "";
    const page = await this.#parts.moderation.modlog(session, room, before, limit);
    if (!page.ok) return page;
    const fits = lastThatFit(page.entries);
    return {
      ok: true,
      room,
      entries: page.entries.slice(page.entries.length - fits),
      more: page.more || fits < page.entries.length,
    };
  }

  /** Returns the state of a room that the client is in; `undefined`: it says nothing. */
  stateOf({ session }: Connection, room: string): RoomState | undefined {
    if (!session.rooms.has(room)) return undefined;
    const state = this.#parts.moderation.stateOf(session, room);
    const { room: _name, ...rest } = state;
    return Object.values(rest).every((each) => each === undefined) ? undefined : state;
  }

  /** Returns the room that a name leads to; none for no name. */
  async #roomOf(
    session: Session,
    typed: string | undefined,
  ): Promise<Result<{ room: string | undefined }>> {
    if (typed === undefined) return { ok: true, room: undefined };
    const { roomNames, storage } = this.#parts;
    const own = roomNames.find(typed, session.rooms);
    if (own !== undefined) return { ok: true, room: own };
    const name = roomNames.parse(typed);
    if (!name.ok) return reject("bad-room", name.why);
    return { ok: true, room: await storage.resolveRoom(name.name) };
  }
}

/** Returns how many of the last entries fit into a reply: at least one, if there is one. */
function lastThatFit(entries: readonly LoggedEvent[]): number {
  let bytes = 0, count = 0;
  for (const { event } of entries.toReversed()) {
    bytes += encodedEventBytes(event);
    if (bytes > MAX_REPLY_BYTES && count > 0) break;
    count++;
  }
  return count;
}
