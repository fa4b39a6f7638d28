/**
 * Counts the unsent data of slow clients, and says when it is too much.
 *
 * A socket queues without bound. A runtime that cannot cut a TCP connection keeps the queue of a
 * client that reads nothing until that client hangs up, even after a close. So the unsent data of all
 * clients together is bounded, too. This file closes nothing.
 */
import type { Clock } from "../base/clock.ts";

/** A socket whose unsent bytes can be read. */
export interface SendQueue {
  readonly bufferedAmount: number;
}

/** Unsent bytes that every client may have without being counted. */
export const UNCHECKED_BYTES = 64 * 1024;

/** Bytes that a queued frame counts besides its text: Deno 2.9 takes some 900 for each. */
export const FRAME_OVERHEAD_BYTES = 512;

/**
 * Milliseconds for which only the text itself is counted. One commit may queue thousands of frames
 * before the system receives any of them, and no client could have read them by then.
 */
const GRACE_MS = 250;

/** Unsent bytes that every client may have, however much others have. */
const MIN_SHARE_BYTES = 128 * 1024;

/** Milliseconds between two recounts of all queues, when together they are too long. */
const RECOUNT_MS = 250;

/** The queue of one socket. */
interface QueueState {
  /** Unsent bytes of text, the last frame included. */
  unsentBytes: number;
  /** Estimated number of frames in the queue. */
  frames: number;
  /** The bytes that are counted: text and overhead. */
  countedBytes: number;
  /** When the queue became long, or last became much shorter, in monotonic milliseconds. */
  sinceMs: number;
  /** The socket is closed, but the runtime keeps its queue, whose length cannot be read any more. */
  closed: boolean;
}

/** The long send queues of an instance. */
export class Backpressure {
  readonly #maxBytes: number;
  readonly #maxTotalBytes: number;
  readonly #clock: Clock;
  readonly #queues = new Map<SendQueue, QueueState>();
  #totalBytes = 0;
  /** Bytes of replies that are being made. */
  #reservedBytes = 0;
  #recountedMs = -Infinity;

  /** `maxBytes` bounds one queue, `maxTotalBytes` all queues together. */
  constructor(maxBytes: number, maxTotalBytes: number, clock: Clock) {
    this.#clock = clock;
    this.#maxBytes = maxBytes;
    this.#maxTotalBytes = maxTotalBytes;
  }

  /** The bytes that are counted for all queues together. */
  get totalBytes(): number {
    return this.#totalBytes;
  }

  /**
   * Returns whether one more frame of `bytes` would exceed a limit. Must be called for every frame
   * while more than {@linkcode UNCHECKED_BYTES} are unsent, and for no others. `allowance` raises the
   * limit of this one socket, for replies.
   */
  exceedsLimit(socket: SendQueue, bytes: number, allowance = 0): boolean {
    const unsent = socket.bufferedAmount;
    const now = this.#clock.monotonicMs();
    const queue = this.#queues.get(socket) ?? this.#add(socket, unsent, bytes, now);
    if (unsent < queue.unsentBytes / 2) queue.sinceMs = now;
    // The bytes that were sent since the last call took their share of the frames with them.
    queue.frames = queue.frames * Math.min(1, unsent / Math.max(1, queue.unsentBytes)) + 1;
    queue.unsentBytes = unsent + bytes;
    this.#recount(queue);
    if (!this.#isOver(queue, unsent, this.#maxBytes + allowance, now)) return false;
    // The caller does not send the frame, or closes the socket.
    queue.frames--;
    queue.unsentBytes = unsent;
    this.#recount(queue);
    return true;
  }

  /** Counts a socket's queue again, and returns its unsent bytes. */
  look(socket: SendQueue): number {
    const unsent = socket.bufferedAmount;
    const queue = this.#queues.get(socket);
    if (queue !== undefined && !queue.closed) {
      queue.frames *= Math.min(1, unsent / Math.max(1, queue.unsentBytes));
      queue.unsentBytes = unsent;
      this.#recount(queue);
    }
    return unsent;
  }

  /**
   * Reserves room for a reply of at most `bytes` that has yet to be made. Returns `undefined` if it
   * does not fit for this socket, or for all together. The caller must call the returned function
   * when the reply has been sent; a second call does nothing.
   */
  reserve(socket: SendQueue, bytes: number): (() => void) | undefined {
    if (socket.bufferedAmount + bytes > this.#maxBytes) return undefined;
    const isFull = () => this.#totalBytes + this.#reservedBytes + bytes > this.#maxTotalBytes;
    if (isFull()) {
      this.#recountAll(this.#clock.monotonicMs());
      if (isFull()) return undefined;
    }
    this.#reservedBytes += bytes;
    let isReserved = true;
    return () => {
      if (isReserved) this.#reservedBytes -= bytes;
      isReserved = false;
    };
  }

  /** Keeps counting a socket's queue as it is: the socket is being closed. */
  closing(socket: SendQueue): void {
    const queue = this.#queues.get(socket);
    if (queue !== undefined) queue.closed = true;
  }

  /** Removes a socket whose queue no longer exists. */
  remove(socket: SendQueue): void {
    const queue = this.#queues.get(socket);
    if (queue === undefined) return;
    this.#totalBytes -= queue.countedBytes;
    this.#queues.delete(socket);
  }

  #isOver(queue: QueueState, unsent: number, maxBytes: number, now: number): boolean {
    if (unsent > maxBytes) return true;
    const isInGrace = now - queue.sinceMs < GRACE_MS;
    if (!isInGrace && queue.countedBytes > maxBytes) return true;
    const bytes = isInGrace ? unsent : queue.countedBytes;
    return this.#totalBytes > this.#maxTotalBytes && bytes > this.#share(now);
  }

  /** Returns the bytes that each client may have unsent when all together have too many. */
  #share(now: number): number {
    this.#recountAll(now);
    if (this.#totalBytes <= this.#maxTotalBytes) return this.#maxBytes;
    return Math.max(MIN_SHARE_BYTES, this.#maxTotalBytes / this.#queues.size);
  }

  /** Counts all queues again: clients that caught up are not reported anywhere else. */
  #recountAll(now: number): void {
    if (now - this.#recountedMs < RECOUNT_MS) return;
    this.#recountedMs = now;
    for (const [socket, { closed }] of this.#queues) {
      if (!closed && this.look(socket) <= UNCHECKED_BYTES) this.remove(socket);
    }
  }

  #add(socket: SendQueue, unsentBytes: number, bytes: number, sinceMs: number): QueueState {
    // No more frames can have been queued while the queue was not counted.
    const frames = 1 +
      Math.min(unsentBytes / Math.max(1, bytes), UNCHECKED_BYTES / FRAME_OVERHEAD_BYTES);
    const queue = { unsentBytes, frames, countedBytes: 0, sinceMs, closed: false };
    this.#queues.set(socket, queue);
    return queue;
  }

  #recount(queue: QueueState): void {
    const bytes = queue.unsentBytes + queue.frames * FRAME_OVERHEAD_BYTES;
    this.#totalBytes += bytes - queue.countedBytes;
    queue.countedBytes = bytes;
  }
}
