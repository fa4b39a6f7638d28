/**
 * What waits for those who do not read, and when that is too much.
 *
 * A helper of Sender. A socket queues without bound, and a runtime that cannot cut a connection keeps
 * the queue of a peer that reads nothing until that peer hangs up, also when it has been closed: so
 * what waits for all of them together is bounded, too. It closes nothing itself.
 */
import type { Clock } from "./clock.ts";

/** A socket whose queue can be seen. */
export interface Queue {
  readonly bufferedAmount: number;
}

/** Bytes that may wait for anybody without a further look. */
export const UNSUSPICIOUS = 64 * 1024;

/** Bytes that a frame in a queue counts besides its own: Deno 2.9 takes some 900 for each. */
export const FRAME = 512;

/**
 * Milliseconds for which only the text itself is counted: one commit may put thousands of frames in a
 * queue, before the system is given any of them, and nobody could have read them by then.
 */
const MOMENT = 250;

/** Bytes that everybody may have waiting, however much waits for others. */
const LEAST = 128 * 1024;

/** What waits for somebody. */
interface Owed {
  /** Bytes of text, with the frame that was added last. */
  waits: number;
  /** How many frames that is, as far as can be known. */
  frames: number;
  /** What is counted. */
  bytes: number;
  /** Since when the queue is long, and has not become much shorter. */
  since: number;
  /** It is closed, and its queue is kept by the runtime: it does not say any more how long it is. */
  closed: boolean;
}

/** The queues that are long. */
export class Backlog {
  readonly #most: number;
  readonly #mostInAll: number;
  readonly #clock: Clock;
  readonly #owed = new Map<Queue, Owed>();
  #inAll = 0;
  #looks = 0;

  /** `most` bytes for one, `mostInAll` for all together. */
  constructor(most: number, mostInAll: number, clock: Clock) {
    this.#clock = clock;
    this.#most = most;
    this.#mostInAll = mostInAll;
  }

  /** Bytes that are counted for all together. */
  get inAll(): number {
    return this.#inAll;
  }

  /**
   * Whether it is too much that one more frame of that length waits behind what waits already. Asked
   * for each frame as long as that is more than {@linkcode UNSUSPICIOUS}, and not otherwise.
   */
  isTooMuch(socket: Queue, length: number): boolean {
    const waits = socket.bufferedAmount;
    const now = this.#clock.monotonicMs();
    const owed = this.#owed.get(socket) ?? this.#add(socket, waits, length, now);
    if (waits < owed.waits / 2) owed.since = now;
    // What has been sent since has taken its share of the frames with it.
    owed.frames = owed.frames * Math.min(1, waits / owed.waits) + 1;
    owed.waits = waits + length;
    this.#count(owed, owed.waits + owed.frames * FRAME);
    if (waits > this.#most) return true;
    if (now - owed.since < MOMENT) return false;
    if (owed.bytes > this.#most) return true;
    return this.#inAll > this.#mostInAll && owed.bytes > this.#share();
  }

  /** A socket is being closed: what waits for it is kept. */
  closing(socket: Queue): void {
    const owed = this.#owed.get(socket);
    if (owed !== undefined) owed.closed = true;
  }

  /** A socket is gone, and what waited for it. */
  gone(socket: Queue): void {
    const owed = this.#owed.get(socket);
    if (owed === undefined) return;
    this.#count(owed, 0);
    this.#owed.delete(socket);
  }

  /** What each may have, when all together have too much. */
  #share(): number {
    // Those who have caught up are not told of. Looking once for each of them costs nothing on average.
    if (++this.#looks > this.#owed.size) {
      this.#looks = 0;
      for (const [socket, { closed }] of this.#owed) {
        if (!closed && socket.bufferedAmount <= UNSUSPICIOUS) this.gone(socket);
      }
      if (this.#inAll <= this.#mostInAll) return this.#most;
    }
    return Math.max(LEAST, this.#mostInAll / this.#owed.size);
  }

  #add(socket: Queue, waits: number, length: number, since: number): Owed {
    // More did not come while nobody looked.
    const frames = 1 + Math.min(waits / Math.max(1, length), UNSUSPICIOUS / FRAME);
    const owed = { waits, frames, bytes: 0, since, closed: false };
    this.#owed.set(socket, owed);
    return owed;
  }

  #count(owed: Owed, bytes: number): void {
    this.#inAll += bytes - owed.bytes;
    owed.bytes = bytes;
  }
}
