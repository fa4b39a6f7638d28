/**
 * The users that acts are about: finds them, online or not, and says who is protected from acts.
 *
 * It changes nothing. A user that has gone is found by what an earlier act stored, so that a ban can end.
 */
import { rejection, type Result } from "../base/rejections.ts";
import type { UserRef } from "../feed/events.ts";
import type { RoomRules } from "../kv/moderation_values.ts";
import { foldNickname } from "../nicknames/names.ts";
import type { SoughtUser, Users } from "../nicknames/users.ts";
import type { Session } from "../storage/records.ts";
import type { Storage } from "../storage/storage.ts";
import type { Roles } from "./roles.ts";
import { type FoundStanding, isUser, type ModerationRows, type Person } from "./rows.ts";

/** What {@linkcode Targets} is made of. */
export interface TargetsParts {
  readonly storage: Storage;
  readonly users: Users;
  readonly roles: Roles;
  readonly rows: ModerationRows;
}

/** A user that an act is about. */
export interface Target extends Person {
  readonly ref: UserRef;
  /** The rooms that the user is in. */
  readonly rooms: readonly string[];
  readonly isOnline: boolean;
  readonly isOperator: boolean;
}

/** Finds the users that acts are about. */
export class Targets {
  readonly #parts: TargetsParts;

  constructor(parts: TargetsParts) {
    this.#parts = parts;
  }

  /**
   * Finds a user that is online or registered.
   *
   * @throws when KV cannot be read.
   */
  async find(sought: SoughtUser): Promise<Result<{ target: Target }>> {
    const { users, storage, roles } = this.#parts;
    const result = await users.find(sought);
    if (!result.ok) {
      return result.code === "not-online" ? rejection.noSuchUser(nameOf(sought)) : result;
    }
    const { user, nick, isRegistered, rooms, isOnline } = result.found;
    const sessions = await storage.listSessions(user, isRegistered);
    const account = isRegistered ? (await storage.readUser(user))?.account ?? "" : "";
    const target: Target = {
      ref: { user, nick, isRegistered },
      user,
      isRegistered,
      // A registered user could come back from it without signing in.
      address: sessions.find(({ address }) => address !== "")?.address ?? "",
      claims: isRegistered ? [] : sessions[0]?.claims ?? [],
      rooms,
      isOnline,
      isOperator: (account !== "" && roles.isOperatorAccount(account)) ||
        sessions.some((session) => roles.isOperator(session)),
    };
    return { ok: true, target };
  }

  /**
   * Finds everything that is stored in a place about a user, by the nickname of that time or by the user
   * ID. Reads all standings there.
   *
   * @throws when KV cannot be read.
   */
  async findStored(
    sought: SoughtUser,
    place: string,
  ): Promise<{ ref: UserRef; standings: FoundStanding[] } | undefined> {
    const all = await Array.fromAsync(this.#parts.rows.all(place));
    const nick = "nick" in sought
      ? sought.nick
      : all.find(({ subject }) => subject === sought.user)?.standing.nick;
    if (nick === undefined) return undefined;
    const folded = foldNickname(nick);
    const standings = all.filter(({ standing }) => foldNickname(standing.nick) === folded);
    const own = standings.find(({ subject }) => isUser(subject));
    if (own === undefined) return undefined;
    const ref = { user: own.subject, nick: own.standing.nick, isRegistered: false };
    return { ref, standings };
  }

  /** Returns why an act may not be done against a user; `undefined`: it may. */
  whyProtected(session: Session, target: Target, rules: RoomRules) {
    const { roles } = this.#parts;
    if (target.user === session.user) return rejection.notToYourself;
    if (target.isOperator) return rejection.protectedUser(target.ref.nick);
    const isModerator = target.isRegistered && rules.moderators.has(target.user);
    if (isModerator && !roles.isOperator(session)) return rejection.protectedUser(target.ref.nick);
    return undefined;
  }
}

/** Returns how a client named a user. */
export function nameOf(sought: SoughtUser): string {
  return "nick" in sought ? sought.nick : sought.user;
}
