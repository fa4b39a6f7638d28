/**
 * Whom users ignore: kept with the registration, or for other users with the session.
 *
 * Nobody else is told. All sessions of a registered user learn of a change by an event that no client is
 * sent. What is not delivered is decided in delivery/ignoring.ts.
 */
import type { Clock } from "../base/clock.ts";
import { rejection, type Result } from "../base/rejections.ts";
import { authorOf, type RoomEvent, type UserRef } from "../feed/events.ts";
import { DIRECT_FEED_NAME, ignoredKey } from "../kv/keys.ts";
import { ignoredFrom, storedIgnored } from "../kv/moderation_values.ts";
import { backOff, withTimeout } from "../kv/retry.ts";
import type { SoughtUser, Users } from "../nicknames/users.ts";
import { foldNickname } from "../nicknames/names.ts";
import { accountOf, type Session } from "../storage/records.ts";
import type { Storage } from "../storage/storage.ts";
import { nameOf } from "./targets.ts";

/** What {@linkcode Ignores} is made of. */
export interface IgnoresParts {
  readonly kv: Deno.Kv;
  readonly clock: Clock;
  readonly storage: Storage;
  readonly users: Users;
  /** Milliseconds for which the list of a registered user is kept after its last change. */
  readonly lifetimeMs: number;
  /** Called when the list of a session of this instance is known or has changed. */
  changed(session: Session, ignored: ReadonlyMap<string, string>): void;
}

/** Users that a registered user ignores, at most. */
export const MAX_IGNORED = 500;

/** Users that an unregistered user ignores, at most: they are part of a row with other things. */
export const MAX_IGNORED_UNREGISTERED = 100;

/** Attempts to change a list while other sessions of the user do. */
const MAX_ATTEMPTS = 10;

/** The name under which the event of a change stands in place of an act's name. */
const CHANGED = "ignored";

/** Returns whether an event only says that somebody ignores other users than before. */
export function isIgnoresChanged({ kind, target }: RoomEvent): boolean {
  return kind === "act" && target === CHANGED;
}

/** Whom the users of one instance ignore. */
export class Ignores {
  readonly #parts: IgnoresParts;

  constructor(parts: IgnoresParts) {
    this.#parts = parts;
  }

  /**
   * Returns whom a session's user ignores, by user ID, with nicknames.
   *
   * @throws when KV cannot be read.
   */
  async of(
    session: Pick<Session, "user" | "account" | "ignored">,
  ): Promise<ReadonlyMap<string, string>> {
    return session.account === "" ? session.ignored : (await this.#read(session.user)).ignored;
  }

  /**
   * Loads the list of a session: after its login, its resume, and each change of its user.
   *
   * @throws when KV cannot be read.
   */
  async load(session: Session): Promise<void> {
    this.#parts.changed(session, await this.of(session));
  }

  /**
   * Called when a session speaks for another user: loads whom that user ignores. Whom the session has
   * ignored before it signed in is added to that, as far as it fits.
   *
   * @throws when KV cannot be read.
   */
  async userChanged(session: Session): Promise<void> {
    const { ignored: own } = session;
    if (session.account !== "" && own.size > 0) {
      const added = (known: ReadonlyMap<string, string>) =>
        new Map([...known, ...own].slice(0, MAX_IGNORED));
      if (await this.#saveRegistered(session, added)) {
        await this.#parts.storage.saveOwn(session.id, () => ({ ignored: new Map() }));
      }
    }
    await this.load(session);
  }

  /**
   * Ignores a user, or no longer.
   *
   * @throws when KV cannot be read.
   */
  async set(
    session: Session,
    sought: SoughtUser,
    isIgnored: boolean,
  ): Promise<Result<{ user: UserRef }>> {
    const before = await this.of(session);
    const found = await this.#find(before, sought);
    if (!found.ok) return found;
    const { user } = found;
    if (user.user === session.user) return rejection.notToYourself;
    if (!isIgnored && !before.has(user.user)) return rejection.notInState(user.nick, "ignored");
    const most = session.account === "" ? MAX_IGNORED_UNREGISTERED : MAX_IGNORED;
    const change = (ignored: ReadonlyMap<string, string>) => {
      const changed = new Map(ignored);
      if (isIgnored) changed.set(user.user, user.nick);
      else changed.delete(user.user);
      return changed.size > most ? undefined : changed;
    };
    if (change(before) === undefined) {
      return rejection.badAct(`You can ignore at most ${most} users.`);
    }
    const isDone = session.account === ""
      ? await this.#saveOwn(session, change)
      : await this.#saveRegistered(session, change);
    return isDone ? { ok: true, user } : rejection.notDone;
  }

  /** Applies an event: a session of a registered user has changed the user's list. */
  apply(event: RoomEvent): void {
    const user = authorOf(event);
    for (const session of this.#parts.storage.sessions()) {
      // If KV does not answer, the session keeps the earlier list until it changes again.
      if (session.user === user) this.load(session).catch(() => {});
    }
  }

  /** Finds a user online, registered, or among those that are ignored. */
  async #find(
    ignored: ReadonlyMap<string, string>,
    sought: SoughtUser,
  ): Promise<Result<{ user: UserRef }>> {
    const found = await this.#parts.users.find(sought);
    if (found.ok) {
      const { user, nick, isRegistered } = found.found;
      return { ok: true, user: { user, nick, isRegistered } };
    }
    const gone = [...ignored].find(([user, nick]) =>
      "user" in sought ? user === sought.user : foldNickname(nick) === foldNickname(sought.nick)
    );
    if (gone === undefined) return rejection.noSuchUser(nameOf(sought));
    return { ok: true, user: { user: gone[0], nick: gone[1], isRegistered: false } };
  }

  async #saveOwn(session: Session, change: ListChange): Promise<boolean> {
    const { storage, changed } = this.#parts;
    const { outcome } = await storage.saveOwn(session.id, () => ({
      ignored: change(session.ignored) ?? session.ignored,
    }));
    if (outcome === "done") changed(session, session.ignored);
    return outcome === "done";
  }

  async #saveRegistered(session: Session, change: ListChange): Promise<boolean> {
    const { storage, clock, lifetimeMs: expireIn } = this.#parts;
    for (let attempts = 1; attempts <= MAX_ATTEMPTS; attempts++) {
      const { check, ignored } = await this.#read(session.user);
      const changed = change(ignored);
      if (changed === undefined) return false;
      const { key } = check;
      const { outcome } = await storage.submit(DIRECT_FEED_NAME, {
        checks: [check, ...storage.takeoverCheck(session)],
        mutations: [
          changed.size === 0
            ? { type: "delete", key }
            : { type: "set", key, value: storedIgnored(changed), expireIn },
        ],
        events: [this.#eventOf(session)],
      });
      if (outcome === "done") return true;
      if (outcome === "failed") return false;
      await backOff(clock, attempts);
    }
    return false;
  }

  #eventOf(session: Session): RoomEvent {
    return {
      kind: "act",
      room: "",
      id: session.id,
      account: accountOf(session),
      nick: session.nick,
      text: "",
      time: this.#parts.clock.now(),
      cid: "",
      target: CHANGED,
      isQuiet: true,
    };
  }

  async #read(
    user: string,
  ): Promise<{ check: Deno.AtomicCheck; ignored: ReadonlyMap<string, string> }> {
    const { kv, clock } = this.#parts;
    const { key, value, versionstamp } = await withTimeout(
      clock,
      kv.get<unknown>(ignoredKey(user)),
    );
    return { check: { key, versionstamp }, ignored: ignoredFrom(value) };
  }
}

/** Returns a changed list; `undefined`: it would be too long. */
type ListChange = (ignored: ReadonlyMap<string, string>) => Map<string, string> | undefined;
