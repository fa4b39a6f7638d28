/**
 * Finds users, on any instance: by nickname or by user ID, online or (if registered) not.
 *
 * It reads, and changes nothing.
 */
import type { Limits } from "../base/limits.ts";
import { reject, rejection, type Result } from "../base/rejections.ts";
import type { UserRef } from "../feed/events.ts";
import { foldNickname, nicknameFrom } from "./names.ts";
import type { Storage } from "../storage/storage.ts";

/** What {@linkcode Users} is made of. */
export interface UsersParts {
  readonly storage: Storage;
  readonly limits: Limits;
}

/** Whom a client names: a user by nickname, in any spelling that leads to it, or by user ID. */
export type SoughtUser = { readonly nick: string } | { readonly user: string };

/** A user that was found. */
export interface FoundUser extends UserRef {
  readonly isOnline: boolean;
  /** The rooms in which the user has a session, in order of their names. */
  readonly rooms: readonly string[];
}

/** The users of the chat. */
export class Users {
  readonly #parts: UsersParts;

  constructor(parts: UsersParts) {
    this.#parts = parts;
  }

  /**
   * Finds an online or a registered user.
   *
   * @throws when KV cannot be read.
   */
  async find(sought: SoughtUser): Promise<Result<{ found: FoundUser }>> {
    if ("user" in sought) {
      const found = await this.#registered(sought.user) ?? await this.#unregistered(sought.user);
      return found === undefined ? rejection.userNotOnline : { ok: true, found };
    }
    const name = nicknameFrom(sought.nick, this.#parts.limits);
    if (!name.ok) return reject("bad-nickname", name.why);
    const holder = await this.#parts.storage.findClaim(foldNickname(name.name));
    if (holder === undefined) return rejection.notOnline(name.name);
    const found = "account" in holder
      ? await this.#registered(holder.user)
      : await this.#unregistered(holder.connection);
    return found === undefined ? rejection.notOnline(name.name) : { ok: true, found };
  }

  async #unregistered(session: string): Promise<FoundUser | undefined> {
    const record = await this.#parts.storage.getRecordByConnection(session);
    // A session that has signed in speaks for the registered user from then on.
    if (record === undefined || record.isRegistered) return undefined;
    const { user, nick, rooms } = record;
    return { user, nick, isRegistered: false, isOnline: true, rooms: [...rooms].sort() };
  }

  async #registered(user: string): Promise<FoundUser | undefined> {
    const { storage } = this.#parts;
    const value = await storage.readUser(user);
    if (value === undefined || value.account === "") return undefined;
    const holder = await storage.findClaim(value.account);
    if (holder === undefined || !("account" in holder) || holder.user !== user) return undefined;
    const [session] = value.sessions;
    const record = session && await storage.getRecordByConnection(session.id);
    const rooms = [...value.rooms].filter(([, sessions]) => sessions.length > 0)
      .map(([room]) => room).sort();
    const nick = record?.nick ?? holder.nick;
    return { user, nick, isRegistered: true, isOnline: session !== undefined, rooms };
  }
}
