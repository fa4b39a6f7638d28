/**
 * The rooms: how many connections are in each, and the removal of empty ones.
 *
 * A room exists while its count is above zero. A commit only adds to the count, without a read, so
 * that many joins share a commit; an empty room is removed afterwards, in the background.
 */
import type { Clock } from "../base/clock.ts";
import { ROOM_COUNT_PREFIX, roomCountKey } from "../kv/keys.ts";
import { backOff, eachWithTimeout, withTimeout } from "../kv/retry.ts";
import { countFrom } from "../kv/values.ts";
import type { RoomLookalikes } from "./room_lookalikes.ts";

/** Attempts to remove an empty room: a file that another worker writes is busy for a moment. */
const MAX_REMOVAL_ATTEMPTS = 4;

/** The rooms of all instances. */
export class Rooms {
  readonly #kv: Deno.Kv;
  readonly #clock: Clock;
  readonly #lookalikes: RoomLookalikes;
  readonly #empty = new Set<string>();
  #removal: Promise<void> | undefined;

  constructor(kv: Deno.Kv, clock: Clock, lookalikes: RoomLookalikes) {
    this.#kv = kv;
    this.#clock = clock;
    this.#lookalikes = lookalikes;
  }

  /**
   * Returns the rooms with at least one connection in them, in order of their names, and how many
   * are in each. It starts the removal of the empty rooms that it finds.
   *
   * @throws when KV cannot be read.
   */
  async list(): Promise<Map<string, number>> {
    const rooms = new Map<string, number>();
    const entries = this.#kv.list<unknown>({ prefix: ROOM_COUNT_PREFIX }, { batchSize: 1000 });
    for await (const { key, value } of eachWithTimeout(this.#clock, entries)) {
      const name = String(key[1]);
      const people = countFrom(value);
      if (people > 0) rooms.set(name, people);
      else this.removeIfEmpty(name);
    }
    return rooms;
  }

  /** Removes a room later if nobody is in it. Rooms are removed one at a time. */
  removeIfEmpty(room: string): void {
    this.#empty.add(room);
    this.#removal ??= this.#removeAll().finally(() => this.#removal = undefined);
  }

  /** Resolves when every removal that was started has ended. */
  async whenIdle(): Promise<void> {
    await this.#removal;
  }

  async #removeAll(): Promise<void> {
    for (const room of this.#empty) {
      this.#empty.delete(room);
      for (let failures = 0; failures < MAX_REMOVAL_ATTEMPTS; failures++) {
        try {
          await this.#remove(room);
          break;
        } catch {
          // After the last attempt the empty room stays: lists leave it out and remove it later.
          await backOff(this.#clock, failures);
        }
      }
    }
  }

  async #remove(room: string): Promise<void> {
    const get = this.#kv.get<unknown>(roomCountKey(room));
    const { key, value, versionstamp } = await withTimeout(this.#clock, get);
    if (versionstamp === null || countFrom(value) > 0) return;
    const lookalikes = await this.#lookalikes.forRemoval(room);
    // The check fails if a connection has joined meanwhile.
    const removal = this.#kv.atomic().check({ key, versionstamp }, ...lookalikes.checks)
      .delete(key).mutate(...lookalikes.mutations).commit();
    await withTimeout(this.#clock, removal);
  }
}
