/**
 * The row of a registered user: its sessions on all instances, and the rooms that each of them is in.
 *
 * Whether the others in a room are told of a join or leave depends on the user's other sessions there.
 * Every commit that changes these checks the row and sets it, so two instances never decide by the same
 * state. A draft is a row as it was read, and changes to it. This file does not commit.
 */
import type { Clock } from "../base/clock.ts";
import { estimateStringBytes, type UserRef } from "../feed/events.ts";
import { userKey } from "../kv/keys.ts";
import { withTimeout } from "../kv/retry.ts";
import { type ProtocolName, storedUser, userFrom, type UserSession } from "../kv/values.ts";

/** Sessions that a registered user may have at the same time. */
export const MAX_SESSIONS = 16;

/** Estimated bytes of a row with rooms: KV accepts 64 KiB in a value. */
export const MAX_ROW_BYTES = 63 * 1024;

/** Bytes of a session in a row, and of a room in which all sessions are, without its name. */
const SESSION_BYTES = 90, ROOM_BYTES = 54;

/** A user's row as it was read, with changes. */
export class UserDraft {
  readonly user: string;
  /** Holds as long as nobody changes the row. */
  readonly check: Deno.AtomicCheck;
  /** Whether another version of the program wrote the row, in a form that is not known here. */
  readonly isUnknown: boolean;
  #account = "";
  #exists = false;
  #isChanged = false;
  #sessions: UserSession[] = [];
  readonly #rooms: Map<string, readonly number[]>;
  /** The sessions in each room that are away; no room has none. */
  readonly #away: Map<string, readonly number[]>;

  constructor(user: string, { key, value, versionstamp }: Deno.KvEntryMaybe<unknown>) {
    const row = userFrom(value);
    this.user = user;
    this.check = { key, versionstamp };
    this.isUnknown = versionstamp !== null && row === undefined;
    this.#exists = row !== undefined;
    this.#account = row?.account ?? "";
    this.#sessions = [...row?.sessions ?? []];
    this.#rooms = new Map(row?.rooms);
    this.#away = new Map(row?.away);
  }

  /** Whether the registration has ended. Its sessions are about to be ended, too. */
  get hasEnded(): boolean {
    return this.#exists && this.#account === "";
  }

  /** Returns the number of a session; -1 if the user does not have it. */
  numberOf(id: string): number {
    return this.#sessions.find((session) => session.id === id)?.n ?? -1;
  }

  /** Adds a session, unless it is there. Returns false if the user has {@linkcode MAX_SESSIONS}. */
  add(
    { id, since, protocol, account }: {
      readonly id: string;
      readonly since: number;
      readonly protocol: ProtocolName;
      readonly account: string;
    },
  ): boolean {
    if (this.numberOf(id) < 0) {
      if (this.#sessions.length >= MAX_SESSIONS) return false;
      // A session that has changed its user may still be in rooms here, under its number.
      const used = new Set([
        ...this.#sessions.map(({ n }) => n),
        ...[...this.#rooms.values()].flat(),
      ]);
      let n = 0;
      while (used.has(n)) n++;
      this.#sessions.push({ id, n, since, protocol });
    }
    this.#account = account;
    this.#exists = this.#isChanged = true;
    return true;
  }

  /** Removes a session. It stays in its rooms, under the returned number, until it exits them. */
  remove(id: string): number {
    const n = this.numberOf(id);
    this.#sessions = this.#sessions.filter((session) => session.id !== id);
    if (n >= 0) this.#isChanged = true;
    return n;
  }

  /** Removes a session that has no rows of its own, from its rooms, too. */
  forget(id: string): void {
    const n = this.remove(id);
    if (n >= 0) { for (const room of [...this.#rooms.keys()]) this.exit(room, n, true); }
  }

  /** Ends the registration: the row is removed with the user's last session. */
  end(): void {
    this.#account = "";
    this.#isChanged = true;
  }

  /** Has the row written, so that it expires later. */
  touch(): void {
    this.#isChanged = this.#exists;
  }

  /**
   * Forgets rooms without sessions, as many as must go before a session can enter `rooms`. Returns false
   * if the user is in too many rooms, or the row would be too large.
   */
  makePlace(rooms: Iterable<string>, maxRooms: number): boolean {
    const occupied = new Set(rooms);
    for (const [room, numbers] of this.#rooms) if (numbers.length > 0) occupied.add(room);
    if (occupied.size > maxRooms) return false;
    let bytes = SESSION_BYTES * MAX_SESSIONS;
    for (const room of occupied) bytes += this.#bytesOf(room);
    const remembered = [...this.#rooms.keys()].filter((room) => !occupied.has(room));
    let count = occupied.size;
    // The room that was left last is the last to be forgotten.
    for (const room of remembered.reverse()) {
      bytes += this.#bytesOf(room);
      if (++count <= maxRooms && bytes <= MAX_ROW_BYTES) continue;
      bytes -= this.#bytesOf(room);
      this.#rooms.delete(room);
      this.#isChanged = true;
    }
    return bytes <= MAX_ROW_BYTES;
  }

  /** Returns whether all of the user's sessions in a room are away; `undefined` if there are none. */
  isAwayIn(room: string): boolean | undefined {
    const { length = 0 } = this.#rooms.get(room) ?? [];
    return length === 0 ? undefined : this.#away.get(room)?.length === length;
  }

  /**
   * Puts a session into a room, or changes whether it is away there. Returns whether another session of
   * the user is in it.
   */
  enter(room: string, id: string, isAway: boolean): boolean {
    const n = this.numberOf(id);
    const others = (this.#rooms.get(room) ?? []).filter((each) => each !== n);
    if (others.length === 0) this.#rooms.delete(room);
    this.#rooms.set(room, [...others, n]);
    this.#setAway(room, n, isAway);
    this.#isChanged = true;
    return others.length > 0;
  }

  /**
   * Takes the session with this number out of a room. Returns whether another session of the user stays.
   * If none does, the room is remembered or forgotten.
   */
  exit(room: string, n: number, isRemembered: boolean): boolean {
    const numbers = this.#rooms.get(room);
    if (numbers === undefined) return false;
    const others = numbers.filter((each) => each !== n);
    if (others.length === numbers.length) return others.length > 0;
    this.#isChanged = true;
    this.#setAway(room, n, false);
    if (others.length === 0) this.#rooms.delete(room);
    if (others.length > 0 || isRemembered) this.#rooms.set(room, others);
    return others.length > 0;
  }

  /** Returns the mutations that write the row, or remove it after the end of the registration. */
  mutations(expireIn: number): Deno.KvMutation[] {
    const { key } = this.check;
    if (!this.#exists || !this.#isChanged) return [];
    if (this.#account === "" && this.#sessions.length === 0) return [{ type: "delete", key }];
    const value = storedUser({
      account: this.#account,
      sessions: this.#sessions,
      rooms: this.#rooms,
      away: this.#away,
    });
    return [{ type: "set", key, value, expireIn }];
  }

  #setAway(room: string, n: number, isAway: boolean): void {
    const others = (this.#away.get(room) ?? []).filter((each) => each !== n);
    const all = isAway ? [...others, n] : others;
    if (all.length === 0) this.#away.delete(room);
    else this.#away.set(room, all);
  }

  #bytesOf(room: string): number {
    // As if all sessions were in it: the row must not grow too large without a new room.
    return estimateStringBytes(room) + ROOM_BYTES;
  }
}

/** Drafts of the rows of some users. */
export class UserDrafts {
  readonly #drafts: ReadonlyMap<string, UserDraft>;

  private constructor(drafts: readonly UserDraft[]) {
    this.#drafts = new Map(drafts.map((draft) => [draft.user, draft]));
  }

  /**
   * Reads the rows of users.
   *
   * @throws when KV cannot be read.
   */
  static async read(kv: Deno.Kv, clock: Clock, users: readonly string[]): Promise<UserDrafts> {
    if (users.length === 0) return new UserDrafts([]);
    const entries = await withTimeout(clock, kv.getMany<unknown[]>(users.map(userKey)));
    return new UserDrafts(entries.map((entry, i) => new UserDraft(users[i]!, entry)));
  }

  /** Whether a row has a form that is not known here. */
  get hasUnknown(): boolean {
    return [...this.#drafts.values()].some(({ isUnknown }) => isUnknown);
  }

  /** Returns the draft of a user; `undefined` if the user is not registered, or the form is unknown. */
  of({ user, isRegistered }: UserRef): UserDraft | undefined {
    const draft = isRegistered ? this.#drafts.get(user) : undefined;
    return draft?.isUnknown ? undefined : draft;
  }

  /** Returns the checks and mutations of all drafts. */
  changes(expireIn: number): { checks: Deno.AtomicCheck[]; mutations: Deno.KvMutation[] } {
    const known = [...this.#drafts.values()].filter(({ isUnknown }) => !isUnknown);
    return {
      checks: known.map(({ check }) => check),
      mutations: known.flatMap((draft) => draft.mutations(expireIn)),
    };
  }
}
