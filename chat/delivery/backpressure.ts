/**
 * What waits for those who do not read, and when that is too much.
 *
 * A helper of Sender. A socket queues without bound, and a runtime that cannot cut a connection keeps
 * the queue of a peer that reads nothing until that peer hangs up, also when it has been closed: so
 * what waits for all of them together is bounded, too. It closes nothing itself.
 */
import type { Clock } from "../base/clock.ts";

/** A socket whose queue can be seen. */
export interface SendQueue {
  readonly bufferedAmount: number;
}

/** Bytes that may wait for anybody without a further look. */
export const UNCHECKED_BYTES = 64 * 1024;

/** Bytes that a frame in a queue counts besides its own: Deno 2.9 takes some 900 for each. */
export const FRAME_OVERHEAD_BYTES = 512;

/**
 * Milliseconds for which only the text itself is counted: one commit may put thousands of frames in a
 * queue, before the system is given any of them, and nobody could have read them by then.
 */
const GRACE_MS = 250;

/** Bytes that everybody may have waiting, however much waits for others. */
const MIN_SHARE_BYTES = 128 * 1024;

/** Milliseconds for which all queues are not looked at once more, when together they are too long. */
const SWEEP_MS = 250;

/** What waits for somebody. */
interface QueueState {
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
export class Backpressure {
  readonly #maxBytes: number;
  readonly #maxTotalBytes: number;
  readonly #clock: Clock;
  readonly #queues = new Map<SendQueue, QueueState>();
  #totalBytes = 0;
  /** Bytes of replies that are being made. */
  #reserved = 0;
  #sweptMs = -Infinity;

  /** `most` bytes for one, `mostInAll` for all together. */
  constructor(most: number, mostInAll: number, clock: Clock) {
    this.#clock = clock;
    this.#maxBytes = most;
    this.#maxTotalBytes = mostInAll;
  }

  /** Bytes that are counted for all together. */
  get inAll(): number {
    return this.#totalBytes;
  }

  /**
   * Whether it is too much that one more frame of that length waits behind what waits already. Asked
   * for each frame as long as that is more than {@linkcode UNCHECKED_BYTES}, and not otherwise. For one
   * socket so many bytes more than usual may wait as `allowance` says: for replies.
   */
  exceedsLimit(socket: SendQueue, length: number, allowance = 0): boolean {
    const waits = socket.bufferedAmount;
    const now = this.#clock.monotonicMs();
    const owed = this.#queues.get(socket) ?? this.#add(socket, waits, length, now);
    if (waits < owed.waits / 2) owed.since = now;
    // What has been sent since has taken its share of the frames with it.
    owed.frames = owed.frames * Math.min(1, waits / Math.max(1, owed.waits)) + 1;
    owed.waits = waits + length;
    this.#count(owed, owed.waits + owed.frames * FRAME_OVERHEAD_BYTES);
    if (!this.#isOver(owed, waits, this.#maxBytes + allowance, now)) return false;
    // The frame is not sent, or the socket is closed: it does not wait.
    owed.frames--;
    owed.waits = waits;
    this.#count(owed, owed.waits + owed.frames * FRAME_OVERHEAD_BYTES);
    return true;
  }

  /** Counts anew what waits for a socket, and returns its bytes. */
  look(socket: SendQueue): number {
    const waits = socket.bufferedAmount;
    const owed = this.#queues.get(socket);
    if (owed !== undefined && !owed.closed) {
      owed.frames *= Math.min(1, waits / Math.max(1, owed.waits));
      owed.waits = waits;
      this.#count(owed, owed.waits + owed.frames * FRAME_OVERHEAD_BYTES);
    }
    return waits;
  }

  /**
   * Keeps room for a reply of so many bytes that has yet to be made, or returns `undefined` if it does
   * not fit: for this socket, or for all together. The caller must call what is returned when the
   * reply has been sent; to call it twice does nothing.
   */
  reserve(socket: SendQueue, bytes: number): (() => void) | undefined {
    if (socket.bufferedAmount + bytes > this.#maxBytes) return undefined;
    const isFull = () => this.#totalBytes + this.#reserved + bytes > this.#maxTotalBytes;
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
  closing(socket: SendQueue): void {
    const owed = this.#queues.get(socket);
    if (owed !== undefined) owed.closed = true;
  }

  /** A socket is gone, and what waited for it. */
  remove(socket: SendQueue): void {
    const owed = this.#queues.get(socket);
    if (owed === undefined) return;
    this.#count(owed, 0);
    this.#queues.delete(socket);
  }

  #isOver(owed: QueueState, waits: number, most: number, now: number): boolean {
    if (waits > most) return true;
    const isMoment = now - owed.since < GRACE_MS;
    if (!isMoment && owed.bytes > most) return true;
    const bytes = isMoment ? waits : owed.bytes;
    return this.#totalBytes > this.#maxTotalBytes && bytes > this.#share(now);
  }

  /** What each may have, when all together have too much. */
  #share(now: number): number {
    this.#sweep(now);
    if (this.#totalBytes <= this.#maxTotalBytes) return this.#maxBytes;
    return Math.max(MIN_SHARE_BYTES, this.#maxTotalBytes / this.#queues.size);
  }

  /** Counts all queues anew: those who have caught up are not told of. */
  #sweep(now: number): void {
    if (now - this.#sweptMs < SWEEP_MS) return;
    this.#sweptMs = now;
    for (const [socket, { closed }] of this.#queues) {
      if (!closed && this.look(socket) <= UNCHECKED_BYTES) this.remove(socket);
    }
  }

  #add(socket: SendQueue, waits: number, length: number, since: number): QueueState {
    // More did not come while nobody looked.
    const frames = 1 +
      Math.min(waits / Math.max(1, length), UNCHECKED_BYTES / FRAME_OVERHEAD_BYTES);
    const owed = { waits, frames, bytes: 0, since, closed: false };
    this.#queues.set(socket, owed);
    return owed;
  }

  #count(owed: QueueState, bytes: number): void {
    this.#totalBytes += bytes - owed.bytes;
    owed.bytes = bytes;
  }
}
