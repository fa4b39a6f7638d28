/**
 * Writes frames to sockets, within the limits of unsent data.
 *
 * The only file that calls `socket.send`. Events that do not fit are not sent; a client for which
 * not even a reply fits is closed. Which client receives what is decided in sender.ts and rooms.ts.
 */
import { type Backpressure, FRAME_OVERHEAD_BYTES, UNCHECKED_BYTES } from "./backpressure.ts";
import { CLOSE, type CloseReason } from "../base/close_codes.ts";
import { MAX_REPLY_BYTES } from "./encoded_size.ts";
import type { Subscriber } from "./subscriber.ts";

const OPEN = 1;

/** Writes the frames of one instance. */
export class Writer {
  readonly #backpressure: Backpressure;
  readonly #maxHeldUnits: number;
  readonly #close: (subscriber: Subscriber, why: CloseReason) => void;
  /** Subscribers with pending lines. */
  readonly #dirty = new Set<Subscriber>();

  /** `close` is called for a client that reads too slowly. */
  constructor(
    backpressure: Backpressure,
    maxHeldUnits: number,
    close: (subscriber: Subscriber, why: CloseReason) => void,
  ) {
    this.#backpressure = backpressure;
    this.#maxHeldUnits = maxHeldUnits;
    this.#close = close;
  }

  /** Sends a reply, or an event that the client must receive; closes the client if it does not fit. */
  send(subscriber: Subscriber, text: string): void {
    const { socket } = subscriber;
    if (socket.readyState !== OPEN) return;
    subscriber.maxUnsentBytes += 3 * text.length + FRAME_OVERHEAD_BYTES;
    if (subscriber.maxUnsentBytes > UNCHECKED_BYTES) {
      const unsent = socket.bufferedAmount;
      // A large reply is counted at once: there may be no further frame for a long while.
      if (unsent + text.length <= UNCHECKED_BYTES) subscriber.maxUnsentBytes = unsent;
      else if (this.#backpressure.exceedsLimit(socket, text.length, MAX_REPLY_BYTES)) {
        return this.#close(subscriber, CLOSE.slowReader);
      }
    }
    socket.send(text);
  }

  /** Sends events unless too much is unsent. Returns whether they were sent, or need not be. */
  sendIfItFits(subscriber: Subscriber, text: string): boolean {
    const { socket } = subscriber;
    if (socket.readyState !== OPEN) return true;
    // A code unit takes at most three bytes. Below that bound `bufferedAmount` is not read: to read it
    // for every frame cost 7 % in rooms of ten.
    subscriber.maxUnsentBytes += 3 * text.length + FRAME_OVERHEAD_BYTES;
    if (subscriber.maxUnsentBytes > UNCHECKED_BYTES && this.#isOver(subscriber, text.length)) {
      return false;
    }
    socket.send(text);
    return true;
  }

  /** Holds an event, unless it is from before the resume. Closes the client if too much is held. */
  hold(subscriber: Subscriber, text: string, eventId: string): void {
    if (eventId < subscriber.takeoverEventId) return;
    subscriber.heldUnits += text.length;
    if (subscriber.heldUnits > this.#maxHeldUnits) {
      return this.#close(subscriber, CLOSE.slowReader);
    }
    subscriber.heldEvents!.push({ eventId, text });
  }

  /** Queues a reply for the next frame. Returns whether no other reply was queued. */
  queue(subscriber: Subscriber, line: string): boolean {
    const isFirst = this.#dirty.size === 0;
    subscriber.pendingLines += subscriber.pendingLines === "" ? line : `\n${line}`;
    this.#dirty.add(subscriber);
    return isFirst;
  }

  /** Returns a client's queued replies, and takes them out of the queue. */
  takeQueued(subscriber: Subscriber): string {
    const { pendingLines } = subscriber;
    subscriber.pendingLines = "";
    this.#dirty.delete(subscriber);
    return pendingLines;
  }

  /** Drops a client's queued replies. */
  forget(subscriber: Subscriber): void {
    this.#dirty.delete(subscriber);
  }

  /** Sends the queued replies. Returns the number of frames. */
  flush(): number {
    if (this.#dirty.size === 0) return 0;
    let frames = 0;
    for (const subscriber of this.#dirty) {
      const { pendingLines } = subscriber;
      subscriber.pendingLines = "";
      this.send(subscriber, pendingLines);
      frames++;
    }
    this.#dirty.clear();
    return frames;
  }

  /** Returns whether too much is unsent, by the socket's present `bufferedAmount`. */
  #isOver(subscriber: Subscriber, length: number): boolean {
    // Otherwise the events of one room could prevent that it ever catches up in another one.
    if (subscriber.gaps > 0) return true;
    const unsent = subscriber.socket.bufferedAmount;
    // While much is unsent, every further frame is counted.
    if (unsent > UNCHECKED_BYTES) {
      return this.#backpressure.exceedsLimit(subscriber.socket, length);
    }
    subscriber.maxUnsentBytes = unsent;
    return false;
  }
}
