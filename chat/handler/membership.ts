/**
 * The rooms of a session: entering and leaving them, and who is in which.
 *
 * A `chat.v1` session may be in several rooms. A plain-text session is in one at most: it moves.
 */
import type { Limits } from "../base/limits.ts";
import { reject, type Rejection, rejection, type Result } from "../base/rejections.ts";
import type { Moderation } from "../moderation/moderation.ts";
import type { FoundUser, SoughtUser, Users } from "../nicknames/users.ts";
import type { ChangeResult } from "../storage/changes.ts";
import type { Speaker } from "../storage/records.ts";
import type { Storage } from "../storage/storage.ts";
import { type Changed, changedFrom } from "./changed.ts";
import type { Connection } from "../connections/connection.ts";
import type { RoomNames } from "./room_names.ts";

/** What {@linkcode Membership} is made of. */
export interface MembershipParts {
  readonly storage: Storage;
  readonly moderation: Moderation;
  readonly users: Users;
  readonly roomNames: RoomNames;
  readonly limits: Limits;
}

/** The verbs about rooms, for all connections of an instance. */
export class Membership {
  readonly #parts: MembershipParts;

  constructor(parts: MembershipParts) {
    this.#parts = parts;
  }

  /** Enters a further room. In a room that the session is in already, nothing changes. */
  async join({ session }: Connection, typed: string): Promise<Changed<{ room: string }>> {
    const { storage, roomNames, moderation } = this.#parts;
    const name = roomNames.parse(typed);
    if (!name.ok) return reject("bad-room", name.why);
    const gate = moderation.enter(session);
    const result = await storage.setRoom(session.id, name.name, gate.admit);
    const changed = this.#changedFrom(result, gate.rejection);
    // The name may lead to a room that looks like it.
    return changed.ok
      ? { ...changed, room: roomNames.find(typed, session.rooms) ?? name.name }
      : changed;
  }

  /** Enters a room, after leaving all others. */
  async moveTo(connection: Connection, typed: string): Promise<Changed<{ room: string }>> {
    const { roomNames, storage, moderation } = this.#parts;
    const name = roomNames.parse(typed);
    if (!name.ok) return reject("bad-room", name.why);
    const { session } = connection;
    // An earlier join that seemed to fail may have been carried out: it would be in two rooms.
    if (session.isUncertain) await storage.prepare(session.id);
    if (session.isUncertain) return rejection.notDone;
    if (session.rooms.size > 0) {
      // A client that may not enter the room keeps the one that it is in.
      const room = await storage.resolveRoom(name.name);
      const why = await moderation.whyNotEnter(session, room);
      if (why !== undefined) return why;
    }
    for (const room of [...session.rooms]) {
      const left = await this.leave(connection, room);
      if (!left.ok) return left;
    }
    return await this.join(connection, typed);
  }

  /** Leaves a room. */
  async leave({ session }: Connection, typed: string): Promise<Changed> {
    const room = this.#parts.roomNames.find(typed, session.rooms);
    if (room === undefined) return rejection.notInThatRoom(typed);
    return this.#changedFrom(await this.#parts.storage.removeRoom(session.id, room));
  }

  /**
   * Returns the rooms that have members and that a client may know of, in order of their names, and the
   * number of members.
   */
  async rooms({ session }: Connection): Promise<Map<string, number>> {
    const { storage, moderation } = this.#parts;
    const rooms = await storage.listRooms();
    const visible = await moderation.visible(session, rooms.keys());
    for (const room of rooms.keys()) if (!visible.has(room)) rooms.delete(room);
    return rooms;
  }

  /**
   * Finds a user, with those of the user's rooms that the client may know of.
   *
   * @throws when KV cannot be read.
   */
  async who({ session }: Connection, sought: SoughtUser): Promise<Result<{ found: FoundUser }>> {
    const { users, moderation } = this.#parts;
    const result = await users.find(sought);
    if (!result.ok) return result;
    const rooms = [...await moderation.visible(session, result.found.rooms)];
    return { ok: true, found: { ...result.found, rooms } };
  }

  /** Returns the members of one of the session's rooms, in the order of their oldest sessions. */
  async members(
    { session }: Connection,
    typed: string,
  ): Promise<Result<{ room: string; members: readonly Speaker[] }>> {
    const room = this.#parts.roomNames.find(typed, session.rooms);
    if (room === undefined) return rejection.notInThatRoom(typed);
    return { ok: true, room, members: await this.#parts.storage.getMembers(room) };
  }

  #changedFrom(result: ChangeResult, why?: Rejection): Changed {
    return changedFrom(result, this.#parts.limits, why);
  }
}
