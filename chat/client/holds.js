// @ts-check
/**
 * The lines of rooms that wait until what comes before them is known. It decides neither when a room has
 * to wait nor when it need not wait any more.
 */

/** @import { ActEvent, AwayEvent, DeletedEvent, EditedEvent, ReactionEvent } from "./client.d.ts" */
/** @import { RoomEvent, RoomStatusEvent } from "./client.d.ts" */
/** @import { Connection } from "./connection.js" */
/** @import { GapLine, Line } from "./protocol.js" */

/** An event that a later history or replay repeats.
 * @typedef {RoomEvent | AwayEvent | (EditedEvent | DeletedEvent | ReactionEvent) & { room: string }} OrderedEvent */
/** @typedef {ActEvent & { room: string }} RoomAct */
/** @typedef {Line & (OrderedEvent | RoomAct | RoomStatusEvent | GapLine)} RoomLine */
/**
 * Lines of a room that wait, because
 * - `lost`: the client is not back in the room after a lost session. `connection` is that over which it
 *   reads what it missed.
 * - `gap`: messages that the server left out are being read.
 * - `arrival`: the client enters the room. The reply will say which room the application meant.
 *
 * @typedef {object} Hold
 * @property {"lost" | "gap" | "arrival"} reason
 * @property {RoomLine[]} lines
 * @property {Connection} [connection]
 * @property {boolean} [isForgotten] - the IDs of the server start again
 */

/** How many lines may wait in all rooms together. A connection that brings more is abandoned. */
const MAX_HELD_LINES = 10_000;

/** The lines of a client that wait, by room. */
export class Holds {
  /** @type {Map<string, Hold>} */
  #holds = new Map();
  #lines = 0;

  /** What waits in a room; `undefined`: the room need not wait. @param {string} room */
  at(room) {
    return this.#holds.get(room);
  }

  /** The same, for a room that is not back after a lost session. @param {string} room */
  lost(room) {
    const hold = this.#holds.get(room);
    return hold?.reason === "lost" ? hold : undefined;
  }

  /**
   * Lets a room wait, unless it does already.
   *
   * @param {string} room
   * @param {Hold["reason"]} reason
   */
  hold(room, reason) {
    /** @type {Hold} */
    const hold = this.#holds.get(room) ?? { reason, lines: [] };
    this.#holds.set(room, hold);
    return hold;
  }

  /**
   * Adds a line. Returns false if too many lines wait now.
   *
   * @param {Hold} hold
   * @param {RoomLine} line
   */
  add(hold, line) {
    hold.lines.push(line);
    return ++this.#lines <= MAX_HELD_LINES;
  }

  /**
   * Returns the lines of a room that were held back, and holds no more.
   *
   * @param {string} room
   */
  release(room) {
    const lines = this.#holds.get(room)?.lines ?? [];
    this.#holds.delete(room);
    this.#lines -= lines.length;
    return lines;
  }

  /**
   * The room that the client entered by an event of this ID.
   *
   * @param {string} id
   * @returns {string | undefined}
   */
  arrivalOf(id) {
    for (const [room, { reason, lines: [first] }] of this.#holds) {
      if (reason === "arrival" && first?.type === "joined" && first.id === id) return room;
    }
  }

  /** Forgets rooms that no call entered. */
  dropArrivals() {
    for (const [room, { reason }] of this.#holds) if (reason === "arrival") this.release(room);
  }

  /** Forgets all lines. Rooms of a lost session go on waiting. */
  connectionLost() {
    for (const [room, hold] of [...this.#holds]) {
      this.release(room);
      if (hold.reason === "lost") {
        this.#holds.set(room, { ...hold, lines: [], connection: undefined });
      }
    }
  }
}
