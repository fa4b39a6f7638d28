/**
 * The looks of rooms in KV: they make a room, and every name that looks like it, one room.
 *
 * Beside claims.ts, under Storage, which commits what is worked out here. A room whose name is all
 * ASCII has no such row: names that can be read as ASCII lead there without one (likeness.ts).
 *
 * A row holds the room's name as its creator wrote it. While somebody is in the room it does not
 * expire; afterwards it stays for as long as history shows what was said there.
 */
import type { Clock } from "../base/clock.ts";
import { withTimeout } from "../kv/retry.ts";
import { type Confusables, MAX_CLAIM_CHARS } from "../nicknames/confusables.ts";

/** What the looks of rooms are made of. */
export interface RoomLooksParts {
  readonly kv: Deno.Kv;
  readonly clock: Clock;
  readonly likeness: Confusables;
  /** Milliseconds for which an empty room's look stays its own; 0: not at all. */
  readonly lifetime: number;
}

/** Where a name leads to, and what has to be committed with a join, or with the room's removal. */
export interface RoomLook {
  /** The name of the room. */
  readonly room: string;
  readonly checks: readonly Deno.AtomicCheck[];
  readonly mutations: readonly Deno.KvMutation[];
}

/** The form of a row. `empty`: nobody is in the room, and the row expires. */
interface Row {
  readonly v: 1;
  readonly room: string;
  readonly empty: boolean;
}

/** Reads the looks of rooms. */
export class RoomLooks {
  readonly #parts: RoomLooksParts;

  constructor(parts: RoomLooksParts) {
    this.#parts = parts;
  }

  /**
   * Returns the room that a name leads to, with the mutations that keep its look for it while
   * somebody is there. The checks hold as long as nobody else has changed the look.
   *
   * @throws when KV cannot be read.
   */
  async entered(name: string): Promise<RoomLook> {
    const found = await this.#find(name);
    if (found === undefined) return { room: name, checks: [], mutations: [] };
    const { check, row } = found;
    const { key } = check;
    // Rewritten only where it has to be: many who join at once could not share a commit.
    if (row !== undefined && !row.empty) return { room: row.room, checks: [check], mutations: [] };
    const room = row?.room ?? name;
    const value: Row = { v: 1, room, empty: false };
    return { room, checks: [check], mutations: [{ type: "set", key, value }] };
  }

  /**
   * Returns what has to be committed when a room turned out to be empty.
   *
   * @throws when KV cannot be read.
   */
  async emptied(room: string): Promise<RoomLook> {
    const found = await this.#find(room);
    // An older version made rooms without a look.
    if (found?.row?.room !== room) return { room, checks: [], mutations: [] };
    const { check } = found;
    const { key } = check;
    const { lifetime: expireIn } = this.#parts;
    const value: Row = { v: 1, room, empty: true };
    const mutation: Deno.KvMutation = expireIn === 0
      ? { type: "delete", key }
      : { type: "set", key, value, expireIn };
    return { room, checks: [check], mutations: [mutation] };
  }

  async #find(
    name: string,
  ): Promise<{ check: Deno.AtomicCheck; row: Row | undefined } | undefined> {
    const { kv, clock, likeness: confusables } = this.#parts;
    const look = confusables.lookOfRoom(name);
    // Older versions let longer ones in.
    if (look === undefined || look.length > MAX_CLAIM_CHARS) return undefined;
    const key = ["room_look", look];
    const { value, versionstamp } = await withTimeout(clock, kv.get<unknown>(key));
    return { check: { key, versionstamp }, row: rowFrom(value) };
  }
}

/** Rows outlive programs: they are read as something unknown. */
function rowFrom(value: unknown): Row | undefined {
  const { room, empty } = (value ?? {}) as Record<string, unknown>;
  return typeof room === "string" ? { v: 1, room, empty: empty === true } : undefined;
}
