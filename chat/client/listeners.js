// @ts-check
/**
 * The listeners of a client: delivers each event to all of them, or to a reader that iterates.
 */
import { ChatError } from "./protocol.js";

/** @import { ChatEvent, EventOf } from "./client.d.ts" */

/** A set of listeners by event type. After `close` they receive nothing more. */
export class Listeners {
  /** @type {Map<string, Set<(event: ChatEvent) => void>>} */
  #byType = new Map();
  #isClosed = false;

  /**
   * Adds a listener for the events of a type, or for those among them that `isFor` accepts. Returns a
   * function that removes it.
   *
   * @template {ChatEvent["type"] | "*"} T
   * @param {T} type
   * @param {(event: EventOf<T>) => void} listener
   * @param {(event: ChatEvent) => boolean} [isFor]
   * @returns {() => void}
   */
  add(type, listener, isFor = () => true) {
    const all = this.#byType.get(type) ?? new Set();
    this.#byType.set(type, all);
    // A new function, so that the same listener can be added twice.
    const call = (/** @type {ChatEvent} */ event) => {
      if (isFor(event)) listener(/** @type {never} */ (event));
    };
    all.add(call);
    return () => void all.delete(call);
  }

  /** @param {ChatEvent} event */
  emit(event) {
    if (!this.#isClosed) this.#deliver(event);
  }

  /** @param {ChatError} error */
  report(error) {
    this.emit({ type: "error", error });
  }

  /** Delivers the last event. @param {ChatEvent} last */
  close(last) {
    this.#isClosed = true;
    this.#deliver(last);
  }

  /**
   * Iterates over all events until `close`.
   *
   * @param {number} limit - how many events may wait for the reader
   * @returns {AsyncGenerator<ChatEvent, void, void>}
   * @throws {ChatError} `too-slow`
   */
  async *iterate(limit) {
    /** @type {ChatEvent[]} */
    const waiting = [];
    let wake = () => {};
    let isBehind = false;
    const remove = this.add("*", (event) => {
      if (waiting.length < limit) waiting.push(event);
      else isBehind = true;
      wake();
    });
    try {
      while (true) {
        const event = waiting.shift();
        if (event !== undefined) yield event;
        else if (isBehind) {
          throw new ChatError("too-slow", `Cannot read events: more than ${limit} were waiting.`);
        } else if (this.#isClosed) return;
        else await new Promise((/** @type {(value: void) => void} */ done) => wake = done);
      }
    } finally {
      remove();
    }
  }

  /** @param {ChatEvent} event */
  #deliver(event) {
    for (const type of [event.type, "*"]) {
      for (const listener of [...this.#byType.get(type) ?? []]) {
        try {
          listener(event);
        } catch (error) {
          reportUncaught(error);
        }
      }
    }
  }
}

/** Reports an error of the application's code as uncaught. @param {unknown} error */
export function reportUncaught(error) {
  if (typeof reportError === "function") reportError(error);
  else console.error(error);
}
