/**
 * Finds users, on any instance: by nickname or by user ID, online or (if registered) not.
 *
 * It reads, and changes nothing.
 */
import type { Limits } from "../base/limits.ts";
import { reject, rejection, type Result } from "../base/rejections.ts";
import type { UserRef } from "../feed/events.ts";
import { foldNickname, nicknameFrom } from "../nicknames/names.ts";
import type { Registrations } from "../nicknames/registrations.ts";
import type { Storage } from "../storage/storage.ts";

/** What {@linkcode Users} is made of. */
export interface UsersParts {
  readonly storage: Storage;
  readonly registrations: Registrations;
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
      ? await this.#ofAccount(holder.account)
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

  async #ofAccount(account: string): Promise<FoundUser | undefined> {
    const registration = await this.#parts.registrations.find(account);
    // An earlier version of the program registered it, and its owner has not been back since.
    if (registration === undefined || registration.user === "") return undefined;
    return await this.#registered(registration.user);
  }

  async #registered(user: string): Promise<FoundUser | undefined> {
    const { storage, registrations } = this.#parts;
    const value = await storage.readUser(user);
    if (value === undefined) return undefined;
    const registration = await registrations.find(value.account);
    if (registration?.user !== user) return undefined;
    const [session] = value.sessions;
    const record = session && await storage.getRecordByConnection(session.id);
    const rooms = Object.keys(value.rooms).filter((room) => value.rooms[room]!.length > 0).sort();
    return {
      user,
      nick: record?.nick ?? registration.nick,
      isRegistered: true,
      isOnline: session !== undefined,
      rooms,
    };
  }
}
