/**
 * Room names as clients type them, and the rooms that they lead to.
 *
 * The rules for names are in names.ts, and the lookalikes in confusables.ts. This file reads no
 * storage: whether a room exists is unknown here.
 */
import type { Limits } from "../base/limits.ts";
import type { Confusables } from "../nicknames/confusables.ts";
import { type Name, roomFrom } from "../nicknames/names.ts";
import { MAX_CLAIM_CHARS } from "../storage/claims.ts";

/** The rules for room names of one instance. */
export class RoomNames {
  readonly #confusables: Confusables;
  readonly #limits: Limits;

  constructor(confusables: Confusables, limits: Limits) {
    this.#confusables = confusables;
    this.#limits = limits;
  }

  /** Returns the form of a room name that Storage uses: a name that reads as ASCII becomes ASCII. */
  parse(typed: string): Name {
    const name = roomFrom(typed, this.#limits);
    if (!name.ok) return name;
    const reading = this.#confusables.readingOfRoom(name.name);
    // The reading may hold spaces, and more characters than the name.
    if (reading !== name.name) return roomFrom(reading, this.#limits);
    const look = this.#confusables.lookOfRoom(reading) ?? "";
    if (look.length <= MAX_CLAIM_CHARS) return name;
    return { ok: false, why: "Room name too long once its ligatures are expanded." };
  }

  /** Returns which of some rooms that have members a name leads to; `undefined`: none of them. */
  find(typed: string, rooms: ReadonlySet<string>): string | undefined {
    if (rooms.has(typed)) return typed;
    const name = this.parse(typed);
    if (!name.ok) return undefined;
    if (rooms.has(name.name)) return name.name;
    const look = this.#confusables.lookOfRoom(name.name);
    if (look === undefined) return undefined;
    for (const room of rooms) if (this.#confusables.lookOfRoom(room) === look) return room;
  }
}
