/**
 * The rows of one session in KV: the checks and mutations that write, keep and remove them.
 *
 * Every row of a session is listed in its `instance_row`, so that another instance can clean up after
 * this one, or take the session over. This file does not commit.
 */
import type { Clock } from "../base/clock.ts";
import type { EventKind, RoomEvent, UserRef } from "../feed/events.ts";
import {
  connectionKey,
  resumeKey,
  roomSortKey,
  takeoverKey,
  usernameRow,
  usernameSortKey,
} from "../kv/keys.ts";
import { eachWithTimeout, withTimeout } from "../kv/retry.ts";
import { connectionFrom, type ProtocolName, tableValueFrom } from "../kv/values.ts";
import type { ConnectionRecord, Session, Speaker, Untold } from "./records.ts";
import type { Table } from "./table.ts";

/** What {@linkcode SessionRows} is made of. */
export interface SessionRowsParts {
  readonly kv: Deno.Kv;
  readonly clock: Clock;
  /** The ID of this instance. */
  readonly instance: string;
  readonly table: Table;
  /** Returns the folded form of a nickname, which is its first claim. */
  foldNickname(nick: string): string;
}

/** A session as its `instance_row` describes it. */
export interface ListedSession {
  readonly id: string;
  readonly nick: string;
  readonly account: string;
  readonly user: string;
  readonly since: number;
  readonly protocol: ProtocolName;
  /** All of its rooms, also those that are not told of its last change. */
  readonly rooms: ReadonlySet<string>;
  readonly untold: Untold | undefined;
  readonly tokens: readonly string[];
  readonly era: string;
  readonly claims: readonly string[];
  readonly address: string;
  readonly isOperator: boolean;
  readonly ignored: ReadonlyMap<string, string>;
  readonly isAway: boolean;
  /**
   * Those of its claims that go back to the registration `account`, if an earlier version of the program
   * wrote the row; otherwise absent. Such a session can only be removed.
   */
  readonly kept?: readonly string[];
}

/** A row as it was read, and the check that holds as long as nobody changes it. */
export interface ListedRow {
  /** `undefined` if there is no row. */
  readonly session: ListedSession | undefined;
  readonly check: Deno.AtomicCheck;
}

/** Makes the rows of sessions. */
export class SessionRows {
  readonly #parts: SessionRowsParts;

  constructor(parts: SessionRowsParts) {
    this.#parts = parts;
  }

  /** Returns the mutation that writes the `instance_row` of a session that this instance has. */
  putInstanceRow(session: ListedSession, instance = this.#parts.instance): Deno.KvMutation {
    const { id, nick, account, user, rooms, untold, since, protocol, tokens, era, claims } =
      session;
    // Each room once: the row must not exceed the 64 KiB of a KV value.
    const told = [...rooms].filter((room) => !untold?.rooms.has(room));
    const value: Record<string, unknown> = { nick, rooms: told, since, tokens, era, account, user };
    value.protocol = protocol;
    if (session.address !== "") value.address = session.address;
    if (session.isOperator) value.operator = true;
    if (session.isAway) value.away = true;
    if (session.ignored.size > 0) value.ignored = [...session.ignored];
    if (untold !== undefined) value.untold = { ...untold, rooms: [...untold.rooms] };
    // A row without claims stands for a session that holds its folded nickname only.
    const isUsual = claims.length === 1 && claims[0] === this.#parts.foldNickname(nick);
    if (!isUsual) value.claims = claims;
    return { type: "set", key: connectionKey(instance, id), value };
  }

  /** Returns the mutations that write the row with the session's nickname, and its mirror. */
  putName(id: string, ref: UserRef): Deno.KvMutation[] {
    const { table, instance } = this.#parts;
    return table.put(id, usernameSortKey(ref.nick), { ...tableValue(ref), instance });
  }

  /** Returns the mutations that remove the row with the session's nickname, and its mirror. */
  deleteName(id: string, nick: string): Deno.KvMutation[] {
    return this.#parts.table.delete(id, usernameSortKey(nick));
  }

  /** Returns the mutations that write the row with a room of the session, and its mirror. */
  putRoom(id: string, speaker: Speaker, room: string): Deno.KvMutation[] {
    const value = tableValue(speaker);
    return this.#parts.table.put(
      id,
      roomSortKey(room),
      speaker.isAway ? { ...value, away: true } : value,
    );
  }

  /** Returns the mutations that remove the row with a room of the session, and its mirror. */
  deleteRoom(id: string, room: string): Deno.KvMutation[] {
    return this.#parts.table.delete(id, roomSortKey(room));
  }

  /** Returns the mutation that leads from a token's hash to the session that it resumes. */
  putToken(token: string, id: string): Deno.KvMutation {
    return { type: "set", key: resumeKey(token), value: { id, instance: this.#parts.instance } };
  }

  /** Returns the mutations after which the tokens resume nothing. */
  deleteTokens(tokens: readonly string[]): Deno.KvMutation[] {
    return tokens.map((token) => ({ type: "delete", key: resumeKey(token) }));
  }

  /**
   * Returns the checks that hold as long as no other instance has taken the session over. A session
   * that has neither a token nor a registration cannot be taken over.
   */
  takeoverCheck(
    { id, era, tokens, account }: Pick<Session, "id" | "era" | "tokens" | "account">,
    instance = this.#parts.instance,
  ): Deno.AtomicCheck[] {
    if (tokens.length === 0 && account === "") return [];
    return [{ key: takeoverKey(instance, id, era), versionstamp: null }];
  }

  /**
   * Reads a session of any instance by its rows in the table.
   *
   * @throws when KV cannot be read.
   */
  async read(id: string): Promise<ConnectionRecord | undefined> {
    const rows = [...await this.#parts.table.query(id)];
    const name = rows.find(([sk]) => sk.startsWith(usernameSortKey("")));
    if (name === undefined) return undefined;
    const [, { nick, account }] = name;
    const prefix = roomSortKey("");
    const rooms = rows.map(([sk]) => sk).filter((sk) => sk.startsWith(prefix));
    return {
      id,
      user: account ?? id,
      nick,
      isRegistered: account !== undefined,
      rooms: rooms.map((sk) => sk.slice(prefix.length)),
    };
  }

  /**
   * Returns the ID of the instance that has a session; `undefined` if there is no such session, or an
   * earlier version of the program has it.
   *
   * @throws when KV cannot be read.
   */
  async instanceOf(id: string): Promise<string | undefined> {
    const { kv, clock } = this.#parts;
    const rows = kv.list<unknown>(usernameRow(id), { limit: 1 });
    for await (const { value } of eachWithTimeout(clock, rows)) {
      return tableValueFrom(value)?.instance;
    }
    return undefined;
  }

  /**
   * Reads the `instance_row` of a session of any instance.
   *
   * @throws when KV cannot be read.
   */
  async readInstanceRow(id: string, instance = this.#parts.instance): Promise<ListedRow> {
    const { kv, clock } = this.#parts;
    const key = connectionKey(instance, id);
    const { value, versionstamp } = await withTimeout(clock, kv.get<unknown>(key));
    return {
      session: versionstamp === null ? undefined : this.parse(id, value),
      check: { key, versionstamp },
    };
  }

  /** Reads the value of an `instance_row`. */
  parse(id: string, value: unknown): ListedSession {
    const { untold, kept, ignored: pairs, ...row } = connectionFrom(value);
    const ignored = new Map(pairs);
    const rooms = new Set([...row.rooms, ...untold?.rooms ?? []]);
    const claims = row.claims ?? (row.nick === "" ? [] : [this.#parts.foldNickname(row.nick)]);
    if (row.user === "") {
      return { ...row, id, user: id, rooms, ignored, untold: undefined, claims, kept };
    }
    return {
      ...row,
      id,
      rooms,
      ignored,
      untold: untold && { ...untold, rooms: new Set(untold.rooms) },
      claims,
    };
  }
}

/** Returns the user that a listed session speaks for. In earlier versions each session was a user. */
export function refOfListed({ id, user, nick, account, kept }: ListedSession): UserRef {
  return kept === undefined
    ? { user, nick, isRegistered: account !== "" }
    : { user: id, nick, isRegistered: false };
}

function tableValue({ user, nick, isRegistered }: UserRef): { nick: string; account?: string } {
  return isRegistered ? { nick, account: user } : { nick };
}

/** Returns an event about a session, with the present time. */
export function newEvent(
  clock: Clock,
  kind: EventKind,
  id: string,
  { user, nick, isRegistered }: UserRef,
  room: string,
): RoomEvent {
  const account = isRegistered ? user : "";
  return { kind, room, id, account, nick, text: "", time: clock.now(), cid: "" };
}
