/**
 * The rows of one connection in KV: the checks and mutations that write, keep and remove them.
 *
 * Every row of a connection is listed in its `instance_row`, so that another instance can clean up
 * after this one, or take the connection over. This file does not commit.
 */
import type { Clock } from "../base/clock.ts";
import type { EventKind, RoomEvent } from "../feed/events.ts";
import {
  connectionKey,
  resumeKey,
  roomCountKey,
  roomSortKey,
  takeoverKey,
  usernameSortKey,
} from "../kv/keys.ts";
import { withTimeout } from "../kv/retry.ts";
import { addToCount, connectionFrom } from "../kv/values.ts";
import {
  changeClaims,
  type HeldClaims,
  heldFrom,
  NO_CLAIMS,
  type Ownership,
  storedHeld,
} from "./claims.ts";
import type { ConnectionRecord, Session } from "./records.ts";
import type { Table } from "./table.ts";

/** What {@linkcode ConnectionRows} is made of. */
export interface ConnectionRowsParts {
  readonly kv: Deno.Kv;
  readonly clock: Clock;
  /** The ID of this instance. */
  readonly instance: string;
  readonly table: Table;
  /** Milliseconds for which a registration keeps its claims while nobody holds them. */
  readonly registrationMs: number;
  /** Returns the folded form of a nickname, which is its first claim. */
  foldNickname(nick: string): string;
}

/** The fields of a record that its `instance_row` stores. */
export type ListedConnection =
  & Pick<Session, "nick" | "room" | "since" | "tokens" | "era" | "held">
  & { readonly id: string };

/** A row as it was read, and the check that holds as long as nobody changes it. */
export interface ListedRow {
  /** `undefined` if there is no row. */
  readonly connection: ListedConnection | undefined;
  readonly check: Deno.AtomicCheck;
}

/** A change of rows and the event that announces it, for one atomic operation. */
export interface Rows {
  readonly checks: Deno.AtomicCheck[];
  readonly mutations: Deno.KvMutation[];
  readonly event?: RoomEvent;
}

/** A change of a nickname. */
export interface Renaming {
  readonly nick: string;
  /** What the connection holds from then on, and the checks and mutations that change its claims. */
  readonly held: HeldClaims;
  readonly claims: Rows;
  /** The hash of a token that replaces the tokens `before`; `undefined` replaces none. */
  readonly token?: string;
  readonly before: readonly string[];
  readonly owner?: Ownership;
}

/** Makes the rows of this instance's connections. */
export class ConnectionRows {
  readonly #parts: ConnectionRowsParts;

  constructor(parts: ConnectionRowsParts) {
    this.#parts = parts;
  }

  /** Returns the mutation that writes the connection's `instance_row`. */
  putInstanceRow({ id, nick, room, since, tokens, era, held }: ListedConnection): Deno.KvMutation {
    const value = { nick, room, since, tokens, era, ...storedHeld(held) };
    return { type: "set", key: connectionKey(this.#parts.instance, id), value };
  }

  /** Returns the mutation that leads from a token's hash to the connection that it resumes. */
  putToken(token: string, id: string): Deno.KvMutation {
    return { type: "set", key: resumeKey(token), value: { id, instance: this.#parts.instance } };
  }

  /** Returns the mutations after which the tokens resume nothing. */
  deleteTokens(tokens: readonly string[]): Deno.KvMutation[] {
    return tokens.map((token) => ({ type: "delete", key: resumeKey(token) }));
  }

  /** Returns the checks that hold as long as no other instance has taken the connection over. */
  takeoverCheck(
    { id, era, tokens }: Pick<Session, "id" | "era" | "tokens">,
    instance = this.#parts.instance,
  ): Deno.AtomicCheck[] {
    if (tokens.length === 0) return [];
    return [{ key: takeoverKey(instance, id, era), versionstamp: null }];
  }

  /** Returns the operation that gives a connection a nickname. */
  rename(record: Session, { nick, held, token, before, claims, owner }: Renaming): Rows {
    const { table, clock } = this.#parts;
    const { id, nick: old, room, isStored: stored } = record;
    const mutations: Deno.KvMutation[] = [
      ...token === undefined ? [] : this.deleteTokens(before),
      ...stored ? table.delete(id, usernameSortKey(old)) : [],
      ...table.put(id, usernameSortKey(nick), { nick }),
      this.putInstanceRow({ ...record, nick, held }),
      ...record.tokens.map((each) => this.putToken(each, id)),
      ...claims.mutations,
      ...owner?.mutations ?? [],
    ];
    const checks = [...this.takeoverCheck(record), ...claims.checks, ...owner?.checks ?? []];
    // A client that only proves that its nickname is its own keeps the nickname: no event.
    if (room === undefined || (owner !== undefined && nick === old)) return { checks, mutations };
    mutations.push(...table.put(id, roomSortKey(room), { nick }));
    return { checks, mutations, event: newEvent(clock, "nick", record, room, nick) };
  }

  /** Returns the operation that puts a connection, which is in no room, into a room. */
  join(record: Session, room: string): Rows {
    const { table, clock } = this.#parts;
    const { id, nick } = record;
    const mutations = [
      ...table.put(id, roomSortKey(room), { nick }),
      addToCount(roomCountKey(room), 1),
      this.putInstanceRow({ ...record, room }),
    ];
    const event = newEvent(clock, "join", record, room);
    return { checks: this.takeoverCheck(record), mutations, event };
  }

  /** Returns the operation that takes a connection out of its room. */
  leave(record: Session, room: string): Rows {
    const { table, clock } = this.#parts;
    const mutations = [
      ...table.delete(record.id, roomSortKey(room)),
      addToCount(roomCountKey(room), -1),
      this.putInstanceRow({ ...record, room: undefined }),
    ];
    const event = newEvent(clock, "leave", record, room);
    return { checks: this.takeoverCheck(record), mutations, event };
  }

  /** Returns the operation that removes all rows of a connection, with the event of its leaving. */
  removal(connection: ListedConnection, instance = this.#parts.instance): Rows {
    const { table, registrationMs, clock } = this.#parts;
    const { id, nick, room, tokens, held } = connection;
    const checks = this.takeoverCheck(connection, instance);
    const mutations: Deno.KvMutation[] = [
      ...table.delete(id, usernameSortKey(nick)),
      ...this.deleteTokens(tokens),
      { type: "delete", key: connectionKey(instance, id) },
      ...changeClaims(id, held, NO_CLAIMS, registrationMs).mutations,
    ];
    if (room === undefined) return { checks, mutations };
    mutations.push(...table.delete(id, roomSortKey(room)), addToCount(roomCountKey(room), -1));
    return { checks, mutations, event: newEvent(clock, "leave", connection, room) };
  }

  /**
   * Reads a connection of any instance by its rows in the table.
   *
   * @throws when KV cannot be read.
   */
  async read(id: string): Promise<ConnectionRecord | undefined> {
    const rows = [...await this.#parts.table.query(id)];
    const name = rows.find(([sk]) => sk.startsWith(usernameSortKey("")));
    const room = rows.find(([sk]) => sk.startsWith(roomSortKey("")));
    return name && { id, nick: name[1].nick, room: room?.[0].slice(roomSortKey("").length) };
  }

  /**
   * Reads the `instance_row` of a connection of any instance.
   *
   * @throws when KV cannot be read.
   */
  async readInstanceRow(id: string, instance = this.#parts.instance): Promise<ListedRow> {
    const { kv, clock } = this.#parts;
    const key = connectionKey(instance, id);
    const { value, versionstamp } = await withTimeout(clock, kv.get<unknown>(key));
    return {
      connection: versionstamp === null ? undefined : this.parse(id, value),
      check: { key, versionstamp },
    };
  }

  /** Reads the value of an `instance_row`. */
  parse(id: string, value: unknown): ListedConnection {
    const row = connectionFrom(value);
    const { nick, room, since, tokens, era } = row;
    const folded = nick === "" ? undefined : this.#parts.foldNickname(nick);
    return { id, nick, room, since, tokens, era, held: heldFrom(row, folded) };
  }
}

/** Returns an event about a connection, with the present time. */
export function newEvent(
  clock: Clock,
  kind: EventKind,
  { id, nick }: Pick<ConnectionRecord, "id" | "nick">,
  room: string,
  text = "",
): RoomEvent {
  return { kind, room, id, nick, text, time: clock.now(), cid: "" };
}
