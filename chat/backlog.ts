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

/** Milliseconds for which all queues are not looked at once more, when together they are too long. */
const SWEEP_MS = 250;

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
  /** Bytes of replies that are being made. */
  #reserved = 0;
  #sweptMs = -Infinity;

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
   * for each frame as long as that is more than {@linkcode UNSUSPICIOUS}, and not otherwise. For one
   * socket so many bytes more than usual may wait as `allowance` says: for replies.
   */
  isTooMuch(socket: Queue, length: number, allowance = 0): boolean {
    const waits = socket.bufferedAmount;
    const now = this.#clock.monotonicMs();
    const owed = this.#owed.get(socket) ?? this.#add(socket, waits, length, now);
    if (waits < owed.waits / 2) owed.since = now;
    // What has been sent since has taken its share of the frames with it.
    owed.frames = owed.frames * Math.min(1, waits / Math.max(1, owed.waits)) + 1;
    owed.waits = waits + length;
    this.#count(owed, owed.waits + owed.frames * FRAME);
    if (!this.#isOver(owed, waits, this.#most + allowance, now)) return false;
    // The frame is not sent, or the socket is closed: it does not wait.
    owed.frames--;
    owed.waits = waits;
    this.#count(owed, owed.waits + owed.frames * FRAME);
    return true;
  }

  /** Counts anew what waits for a socket, and returns its bytes. */
  look(socket: Queue): number {
    const waits = socket.bufferedAmount;
    const owed = this.#owed.get(socket);
    if (owed !== undefined && !owed.closed) {
      owed.frames *= Math.min(1, waits / Math.max(1, owed.waits));
      owed.waits = waits;
      this.#count(owed, owed.waits + owed.frames * FRAME);
    }
    return waits;
  }

  /**
   * Keeps room for a reply of so many bytes that has yet to be made, or returns `undefined` if it does
   * not fit: for this socket, or for all together. The caller must call what is returned when the
   * reply has been sent; to call it twice does nothing.
   */
  reserve(socket: Queue, bytes: number): (() => void) | undefined {
    if (socket.bufferedAmount + bytes > this.#most) return undefined;
    const isFull = () => this.#inAll + this.#reserved + bytes > this.#mostInAll;
    if (isFull()) {
      this.#sweep(this.#clock.monotonicMs());
      if (isFull()) return undefined;
    }
    this.#reserved += bytes;
    let isHeld = true;
    return () => {
      if (isHeld) this.#reserved -= bytes;
      isHeld = false;
    };
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

  #isOver(owed: Owed, waits: number, most: number, now: number): boolean {
    if (waits > most) return true;
    const isMoment = now - owed.since < MOMENT;
    if (!isMoment && owed.bytes > most) return true;
    const bytes = isMoment ? waits : owed.bytes;
    return this.#inAll > this.#mostInAll && bytes > this.#share(now);
  }

  /** What each may have, when all together have too much. */
  #share(now: number): number {
    this.#sweep(now);
    if (this.#inAll <= this.#mostInAll) return this.#most;
    return Math.max(LEAST, this.#mostInAll / this.#owed.size);
  }

  /** Counts all queues anew: those who have caught up are not told of. */
  #sweep(now: number): void {
    if (now - this.#sweptMs < SWEEP_MS) return;
    this.#sweptMs = now;
    for (const [socket, { closed }] of this.#owed) {
      if (!closed && this.look(socket) <= UNSUSPICIOUS) this.gone(socket);
    }
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
