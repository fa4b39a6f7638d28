/**
 * An ordinary day of a chat: clients send messages of ordinary lengths, change rooms, leave, and come
 * back.
 *
 * Random numbers come from a fixed seed, so that the day is the same for every peer. The day decides
 * what happens next. It knows neither sockets nor time.
 */
import { Random } from "../support/random.ts";
import type { BenchClients } from "./clients.ts";
import { MARKER_BYTES } from "./clients.ts";
import type { Wire } from "./wire.ts";

/** The shares of room changes and of departures. Everything else is a message. */
const MOVE_SHARE = 0.04, LEAVE_SHARE = 0.02;
/** Half of the messages are shorter than the median; one in a hundred is ten times as long. */
const MEDIAN_BYTES = 34, MAX_BYTES = 1500;

/** The clients of a day, and their state. */
export interface DayClients {
  readonly clients: BenchClients;
  readonly wire: Wire;
  readonly rooms: readonly string[];
  /** The room of each client, as an index of `rooms`. */
  readonly roomOf: number[];
  /** How many messages each client sent and did not receive yet. */
  readonly outstanding: Int32Array;
  /** Returns a nickname that was never used. */
  freshNick(id: number): string;
  /** Is called when a client has sent a message. */
  messageSent(id: number): void;
}

/** A day. */
export class Day {
  readonly #day: DayClients;
  readonly #random = new Random(1);
  /** Clients that left and will come back, the longest away first. */
  readonly #away: number[] = [];

  constructor(people: DayClients) {
    this.#day = people;
  }

  /** Is called when a client has left. */
  disconnected(id: number): void {
    this.#away.push(id);
  }

  /** Makes the next thing happen. */
  next(): void {
    const { clients: crowd, wire, rooms, roomOf, outstanding } = this.#day;
    const what = this.#random.next();
    const id = Math.floor(this.#random.next() * outstanding.length);
    const back = what < LEAVE_SHARE ? this.#away.shift() : undefined;
    if (back !== undefined) {
      crowd.connect(back, wire.join(this.#day.freshNick(back), rooms[roomOf[back]!]!));
    }
    if (!crowd.isReady(id)) return;
    const from = rooms[roomOf[id]!]!;
    if (what >= LEAVE_SHARE + MOVE_SHARE) {
      crowd.sendMessage(id, from, this.#length());
      this.#day.messageSent(id);
    } else if (outstanding[id] !== 0) {
      // A client that waits for its own message stays: otherwise a lost message could not be counted.
    } else if (what < LEAVE_SHARE) {
      crowd.disconnect(id);
    } else {
      roomOf[id] = (roomOf[id]! + 1 + Math.floor(this.#random.next() * (rooms.length - 1))) %
        rooms.length;
      crowd.runSteps(id, wire.move(from, rooms[roomOf[id]!]!));
    }
  }

  /** Returns a message length in bytes, from a log-normal distribution as in real chats. */
  #length(): number {
    const normal = Math.sqrt(-2 * Math.log(1 - this.#random.next())) *
      Math.cos(2 * Math.PI * this.#random.next());
    const bytes = Math.round(MEDIAN_BYTES * Math.exp(normal));
    return Math.min(Math.max(bytes, MARKER_BYTES), MAX_BYTES);
  }
}
