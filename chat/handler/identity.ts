/**
 * Who a session speaks for: logging in, nicknames, registrations, and the other sessions of the same
 * user.
 *
 * A session that has signed in to a registration speaks for its user, as do that user's other
 * sessions. Every other session is a user of its own. Passwords are checked in registrations.ts.
 */
import type { Limits } from "../base/limits.ts";
import { reject, type Rejection, rejection, type Result } from "../base/rejections.ts";
import { hashToken, newToken } from "../base/tokens.ts";
import type { Sender } from "../delivery/sender.ts";
import type { Moderation } from "../moderation/moderation.ts";
import type { Confusables } from "../nicknames/confusables.ts";
import { Imitation } from "../nicknames/imitation.ts";
import { foldNickname, nicknameFrom } from "../nicknames/names.ts";
import type { Registrations } from "../nicknames/registrations.ts";
import type { ProtocolName } from "../kv/values.ts";
import type { ChangeResult } from "../storage/changes.ts";
import type { NewUsername } from "../storage/identities.ts";
import type { Storage } from "../storage/storage.ts";
import { type Changed, changedFrom } from "./changed.ts";
import type { Connection } from "../connections/connection.ts";

/** What {@linkcode Identity} is made of. */
export interface IdentityParts {
  readonly storage: Storage;
  readonly sender: Sender;
  readonly moderation: Moderation;
  readonly registrations: Registrations;
  readonly confusables: Confusables;
  readonly limits: Limits;
}

/** A nickname that was taken. `isTold`: the client has received a `nick` event about it. */
export type Taken<T = unknown> = Changed<{ nick: string; isTold: boolean } & T>;

/** A session of the client's user. */
export interface ListedSession {
  readonly id: string;
  /** Unix milliseconds at which it began. */
  readonly since: number;
  readonly protocol: ProtocolName;
  readonly isCurrent: boolean;
}

/** How often a client is to prove its password while the registration changes. */
const MAX_IDENTIFY_TRIES = 3;

/** The verbs about identity, for all connections of an instance. */
export class Identity {
  readonly #parts: IdentityParts;
  readonly #imitation: Imitation;

  constructor(parts: IdentityParts) {
    this.#parts = parts;
    this.#imitation = new Imitation(parts.confusables);
  }

  /** Takes a nickname for the first time. If `isResumable`, the result holds a resume token. */
  async login(
    connection: Connection,
    typed: string,
    isResumable: boolean,
  ): Promise<Result<{ nick: string; token: string }>> {
    const token = isResumable ? newToken() : "";
    const named = await this.rename(connection, typed, isResumable ? hashToken(token) : undefined);
    return named.ok ? { ...named, token } : named;
  }

  /**
   * Changes the nickname. The result holds no event ID if the client is in no room. With the hash of
   * a token, the session can be resumed by that token from now on.
   */
  async rename(connection: Connection, typed: string, tokenHash?: string): Promise<Taken> {
    const { confusables, limits } = this.#parts;
    const name = nicknameFrom(typed, limits);
    if (!name.ok) return reject("bad-nickname", name.why);
    const { name: nick } = name;
    const claims = confusables.claims(nick);
    if (claims === undefined) return rejection.nicknameTooLong;
    if (this.#imitation.matches(nick)) return rejection.nicknameImitates;
    // The owner of a nickname that was registered before it was reserved may change its case.
    const isOwn = connection.session.account === foldNickname(nick);
    if (!isOwn && confusables.isReserved(nick)) return rejection.nicknameReserved(nick);
    const result = await this.#take(connection, { nick, claims, token: tokenHash });
    if (!result.ok && result.code === "nickname-registered") connection.rejectedNick = nick;
    return result;
  }

  /** Notes that the client is away, or back. Its rooms are told if that changes the user's state there. */
  async setAway({ session }: Connection, isAway: boolean): Promise<Changed> {
    const { storage, limits } = this.#parts;
    return changedFrom(await storage.setAway(session.id, isAway), limits);
  }

  /**
   * Signs in to a registered nickname; without `typed`, to the one that was rejected last, or else to
   * the present one. For a connection without a nickname this is its login: if `isResumable`, the
   * result holds a resume token.
   */
  async identify(
    connection: Connection,
    typed: string | undefined,
    password: string,
    isResumable: boolean,
  ): Promise<Taken<{ token: string }>> {
    const { session, rejectedNick, rateLimitKey } = connection;
    const { user: former } = session;
    const name = nicknameFrom(typed ?? (rejectedNick || session.nick), this.#parts.limits);
    if (!name.ok) return reject("bad-nickname", name.why);
    // The nickname may have been registered before this rule existed.
    if (this.#imitation.matches(name.name)) return rejection.nicknameImitates;
    const token = isResumable && session.nick === "" ? newToken() : "";
    const tokenHash = token === "" ? undefined : hashToken(token);
    for (let tries = 1;; tries++) {
      const { registrations, storage, moderation } = this.#parts;
      const proof = await registrations.prove(name.name, password, rateLimitKey);
      if (!proof.ok) return proof;
      const { spelling: nick, claims, owner } = proof;
      const gate = moderation.mayBecome(session, { nick, claims, user: owner.user });
      const result = await storage.setUsername(session.id, {
        nick,
        claims,
        token: tokenHash,
        owner,
        admit: gate.admit,
      });
      // Another session of the user has signed in, or changed the password, since the proof.
      if (result.outcome === "conflict" && tries < MAX_IDENTIFY_TRIES) continue;
      const taken = await this.#taken(connection, former, nick, result, gate.rejection);
      if (!taken.ok) return taken;
      connection.rejectedNick = "";
      return { ...taken, token };
    }
  }

  /** Registers the present nickname. The session speaks for the new user from then on. */
  async register(connection: Connection, password: string): Promise<Changed<{ user: string }>> {
    const { session, rateLimitKey, handshake } = connection;
    const { user: former } = session;
    const countedFor = handshake.admission?.registersFrom;
    const { registrations } = this.#parts;
    const result = await registrations.register(session, password, rateLimitKey, countedFor);
    return await this.#changed(connection, former, result);
  }

  /**
   * Changes the password of the present nickname, and ends the user's other sessions: somebody may have
   * signed in by the old password. If `renewsToken`, a session that can be resumed gets a new token,
   * and the old ones end.
   */
  async changePassword(
    { session, rateLimitKey }: Connection,
    oldPassword: string,
    newPassword: string,
    renewsToken: boolean,
  ): Promise<Result<{ token?: string }>> {
    const { registrations } = this.#parts;
    const token = renewsToken && session.tokens.length > 0 ? newToken() : undefined;
    const changed = await registrations.changePassword(
      session,
      oldPassword,
      newPassword,
      rateLimitKey,
      token && hashToken(token),
    );
    return changed.ok ? { ok: true, token } : changed;
  }

  /**
   * Releases the registration of the present nickname, and ends the user's other sessions. The session
   * keeps the nickname, and is a user of its own from then on.
   */
  async unregister(connection: Connection, password: string): Promise<Changed<{ user: string }>> {
    const { session, rateLimitKey } = connection;
    const { user: former } = session;
    const result = await this.#parts.registrations.unregister(session, password, rateLimitKey);
    return await this.#changed(connection, former, result);
  }

  /**
   * Returns the sessions of the client's user, the oldest first.
   *
   * @throws when KV cannot be read.
   */
  async sessions({ session }: Connection): Promise<ListedSession[]> {
    const { id, since, protocol, user } = session;
    const own: ListedSession = { id, since, protocol, isCurrent: true };
    if (session.account === "") return [own];
    const { sessions = [] } = await this.#parts.storage.readUser(user) ?? {};
    return sessions.map(({ id, since, protocol }) => ({
      ...{ id, since, protocol },
      isCurrent: id === session.id,
    }));
  }

  /** Ends another session of the client's user, wherever it is. */
  async endSession({ session }: Connection, id: string): Promise<Result> {
    if (session.account === "") return rejection.noSuchSession;
    const outcome = await this.#parts.storage.endSession(session.user, id);
    switch (outcome) {
      case "done":
        return { ok: true };
      case "not-found":
        return rejection.noSuchSession;
      case "failed":
        return rejection.notDone;
      default:
        return outcome satisfies never;
    }
  }

  async #take(connection: Connection, username: NewUsername): Promise<Taken> {
    const { storage, registrations, moderation } = this.#parts;
    const { session } = connection;
    const { user: former } = session;
    const { nick, claims } = username;
    const isOwn = session.account !== "" && session.account === claims[0];
    const user = isOwn ? session.user : undefined;
    const gate = moderation.mayBecome(session, { nick, claims, user });
    const take = () => storage.setUsername(session.id, { ...username, admit: gate.admit });
    let result = await take();
    if (result.outcome === "conflict") {
      const why = await registrations.explainConflict(session.id, nick, claims);
      if (why !== undefined) return why;
      // The claims were stale and are free now.
      result = await take();
    }
    if (result.outcome === "conflict") return rejection.nicknameAlike(nick);
    return await this.#taken(connection, former, nick, result, gate.rejection);
  }

  async #taken(
    connection: Connection,
    former: string,
    nick: string,
    result: ChangeResult,
    why?: Rejection,
  ): Promise<Taken> {
    await this.#userChanged(connection, former);
    const changed = changedFrom(result, this.#parts.limits, why);
    return changed.ok ? { ...changed, nick, isTold: result.isTold } : changed;
  }

  async #changed(
    connection: Connection,
    former: string,
    result: Changed,
  ): Promise<Changed<{ user: string }>> {
    await this.#userChanged(connection, former);
    return result.ok ? { ...result, user: connection.session.user } : result;
  }

  /** A change that seemed to fail may have been made: the record then says who the user is. */
  async #userChanged({ subscriber, session }: Connection, former: string): Promise<void> {
    const { sender, moderation } = this.#parts;
    sender.setUser(subscriber, session.user);
    if (session.user !== former) await moderation.identityChanged(session);
  }
}
