/**
 * A day of a chat in short: people talk in lengths as people do, move, leave, come back.
 *
 * The same day for every peer: chance comes from a seed. It decides what happens next, and knows
 * neither sockets nor time.
 */
import { Random } from "../support/random.ts";
import type { Crowd } from "./crowd.ts";
import { MARKER } from "./crowd.ts";
import type { Wire } from "./wire.ts";

/** Of all that happens: moves to another room, and goodbyes. The rest is talk. */
const MOVES = 0.04, GOODBYES = 0.02;
/** Half of what people say is shorter than this; one in a hundred is ten times as long. */
const MEDIAN_BYTES = 34, MOST_BYTES = 1500;

/** What a day needs to know of its people. */
export interface People {
  readonly crowd: Crowd;
  readonly wire: Wire;
  readonly rooms: readonly string[];
  /** In which room each client is. */
  readonly roomOf: number[];
  /** What each client said and did not see yet. */
  readonly outstanding: Int32Array;
  /** A nickname that was never used. */
  freshNick(id: number): string;
  said(id: number): void;
}

/** The day. */
export class Day {
  readonly #people: People;
  readonly #random = new Random(1);
  /** Who left, and comes back. */
  readonly #away: number[] = [];

  constructor(people: People) {
    this.#people = people;
  }

  /** Somebody has gone, as they wanted to. */
  gone(id: number): void {
    this.#away.push(id);
  }

  /** One more thing happens. */
  next(): void {
    const { crowd, wire, rooms, roomOf, outstanding } = this.#people;
    const what = this.#random.next();
    const id = Math.floor(this.#random.next() * outstanding.length);
    const back = what < GOODBYES ? this.#away.shift() : undefined;
    if (back !== undefined) {
      crowd.enter(back, wire.enter(this.#people.freshNick(back), rooms[roomOf[back]!]!));
    }
    if (!crowd.isIn(id)) return;
    const from = rooms[roomOf[id]!]!;
    if (what >= GOODBYES + MOVES) {
      crowd.say(id, from, this.#length());
      this.#people.said(id);
    } else if (outstanding[id] !== 0) {
      // Whoever waits for an echo stays until it is there, so that what is lost can be counted.
    } else if (what < GOODBYES) {
      crowd.leave(id);
    } else {
      roomOf[id] = (roomOf[id]! + 1 + Math.floor(this.#random.next() * (rooms.length - 1))) %
        rooms.length;
      crowd.take(id, wire.move(from, rooms[roomOf[id]!]!));
    }
  }

  /** Lengths spread log-normally, as those of chat messages do. */
  #length(): number {
    const normal = Math.sqrt(-2 * Math.log(1 - this.#random.next())) *
      Math.cos(2 * Math.PI * this.#random.next());
    const bytes = Math.round(MEDIAN_BYTES * Math.exp(normal));
    return Math.min(Math.max(bytes, MARKER), MOST_BYTES);
  }
}
