/**
 * The rows that make a room, and every name that looks like it, one room.
 *
 * A room whose name is all ASCII has no such row: a name that reads as ASCII is replaced by that
 * ASCII before it comes here (confusables.ts).
 *
 * A row stores the room's name as its creator wrote it. It does not expire while a connection is in
 * the room. Afterwards it stays as long as history keeps the room's messages.
 */
import type { Clock } from "../base/clock.ts";
import { roomLookKey } from "../kv/keys.ts";
import { withTimeout } from "../kv/retry.ts";
import { roomLookFrom, type RoomLookValue } from "../kv/values.ts";
import { MAX_CLAIM_CHARS } from "./claims.ts";

/** What {@linkcode RoomLookalikes} is made of. */
export interface RoomLookalikesParts {
  readonly kv: Deno.Kv;
  readonly clock: Clock;
  /** Milliseconds for which the row of an empty room stays; 0 removes it at once. */
  readonly emptyRoomMs: number;
  /** Returns what all names that look like this one have in common; `undefined` for ASCII. */
  lookOfRoom(name: string): string | undefined;
}

/** The room that a name leads to, and what must be committed with a join, or with a removal. */
export interface RoomLook {
  readonly room: string;
  /** Hold as long as nobody changes the row. */
  readonly checks: readonly Deno.AtomicCheck[];
  readonly mutations: readonly Deno.KvMutation[];
}

/** Reads the rows. Storage and Rooms commit what it returns. */
export class RoomLookalikes {
  readonly #parts: RoomLookalikesParts;

  constructor(parts: RoomLookalikesParts) {
    this.#parts = parts;
  }

  /**
   * Returns the room that a name leads to, with the mutations that keep the name for it while a
   * connection is in the room.
   *
   * @throws when KV cannot be read.
   */
  async forJoin(name: string): Promise<RoomLook> {
    const found = await this.#find(name);
    if (found === undefined) return { room: name, checks: [], mutations: [] };
    const { check, row } = found;
    const { key } = check;
    // Each mutation makes joins of the same moment fail each other's check: write only if needed.
    if (row !== undefined && !row.empty) return { room: row.room, checks: [check], mutations: [] };
    const room = row?.room ?? name;
    const value: RoomLookValue = { v: 1, room, empty: false };
    return { room, checks: [check], mutations: [{ type: "set", key, value }] };
  }

  /**
   * Returns what must be committed with the removal of an empty room.
   *
   * @throws when KV cannot be read.
   */
  async forRemoval(room: string): Promise<RoomLook> {
    const found = await this.#find(room);
    // An older version of the program created rooms without a row.
    if (found?.row?.room !== room) return { room, checks: [], mutations: [] };
    const { check } = found;
    const { key } = check;
    const { emptyRoomMs: expireIn } = this.#parts;
    const value: RoomLookValue = { v: 1, room, empty: true };
    const mutation: Deno.KvMutation = expireIn === 0
      ? { type: "delete", key }
      : { type: "set", key, value, expireIn };
    return { room, checks: [check], mutations: [mutation] };
  }

  async #find(
    name: string,
  ): Promise<{ check: Deno.AtomicCheck; row: RoomLookValue | undefined } | undefined> {
    const { kv, clock } = this.#parts;
    const look = this.#parts.lookOfRoom(name);
    // Older versions of the program accepted longer names.
    if (look === undefined || look.length > MAX_CLAIM_CHARS) return undefined;
    const key = roomLookKey(look);
    const { value, versionstamp } = await withTimeout(clock, kv.get<unknown>(key));
    return { check: { key, versionstamp }, row: roomLookFrom(value) };
  }
}
