/**
 * The verbs about moderation: acts, the record, the operators' secret, and ignoring.
 *
 * Here the names that clients type become rooms. Who may do what is decided in chat/moderation/.
 */
import { reject, type Result } from "../base/rejections.ts";
import type { RoomState } from "../delivery/json.ts";
import type { UserRef } from "../feed/events.ts";
import type { Acted, ActRequest, Moderation, RecordPage } from "../moderation/moderation.ts";
import type { SoughtUser } from "../nicknames/users.ts";
import type { Storage } from "../storage/storage.ts";
import type { Connection } from "./connection.ts";
import type { RoomNames } from "./room_names.ts";

/** What {@linkcode Moderating} is made of. */
export interface ModeratingParts {
  readonly moderation: Moderation;
  readonly storage: Storage;
  readonly roomNames: RoomNames;
}

/** The verbs about moderation, for all connections of an instance. */
export class Moderating {
  readonly #parts: ModeratingParts;

  constructor(parts: ModeratingParts) {
    this.#parts = parts;
  }

  /**
   * Carries an act out, in the room that a name leads to or, without a room, in the whole chat.
   *
   * @throws when KV cannot be read.
   */
  async act({ session }: Connection, request: ActRequest): Promise<Acted> {
    const { moderation } = this.#parts;
    if (request.room === undefined) return await moderation.act(session, request);
    const found = await this.#roomOf(session.rooms, request.room);
    return found.ok ? await moderation.act(session, { ...request, room: found.room }) : found;
  }

  /**
   * Returns a page of the record of a room, or without one of everything. `before`: an event ID.
   *
   * @throws when KV cannot be read.
   */
  async record(
    { session }: Connection,
    typed: string | undefined,
    before: string | undefined,
    limit: number,
  ): Promise<Result<RecordPage & { room?: string }>> {
    const { moderation } = this.#parts;
    if (typed === undefined) return await moderation.modlog(session, undefined, before, limit);
    const found = await this.#roomOf(session.rooms, typed);
    if (!found.ok) return found;
    const page = await moderation.modlog(session, found.room, before, limit);
    return page.ok ? { ...page, room: found.room } : page;
  }

  /**
   * Makes the client's session an operator's, if the secret is right.
   *
   * @throws when KV cannot be read.
   */
  becomeOperator({ session, rateLimitKey }: Connection, secret: string): Promise<Result> {
    return this.#parts.moderation.becomeOperator(session, secret, rateLimitKey);
  }

  /** Returns the state of a room that the client is in. */
  stateOf({ session }: Connection, room: string): RoomState {
    return this.#parts.moderation.stateOf(session, room);
  }

  /**
   * Ignores a user, or ends that.
   *
   * @throws when KV cannot be read.
   */
  ignore(
    { session }: Connection,
    user: SoughtUser,
    isIgnored: boolean,
  ): Promise<Result<{ user: UserRef }>> {
    const { moderation } = this.#parts;
    return isIgnored ? moderation.ignore(session, user) : moderation.unignore(session, user);
  }

  /**
   * Returns the users that the client's user ignores.
   *
   * @throws when KV cannot be read.
   */
  async ignored({ session }: Connection): Promise<{ user: string; nick: string }[]> {
    const ignored = await this.#parts.moderation.ignoredBy(session);
    return [...ignored].map(([user, nick]) => ({ user, nick }));
  }

  /** Returns the room that a name leads to; the client need not be in it. */
  async #roomOf(own: ReadonlySet<string>, typed: string): Promise<Result<{ room: string }>> {
    const { roomNames, storage } = this.#parts;
    const room = roomNames.find(typed, own);
    if (room !== undefined) return { ok: true, room };
    const name = roomNames.parse(typed);
    if (!name.ok) return reject("bad-room", name.why);
    return { ok: true, room: await storage.resolveRoom(name.name) };
  }
}
