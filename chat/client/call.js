// @ts-check
/**
 * One call of the application: its request, the promise that its reply settles, and when it may be sent.
 * The queue (calls.js) sends it.
 */
import { ChatError } from "./protocol.js";

/** @import { Clock } from "./client.d.ts" */
/** @import { Connection } from "./connection.js" */
/** @import { Line } from "./protocol.js" */

/** A frame far over the server's limit ends the connection, and again at each new attempt. */
const MAX_REQUEST_CHARACTERS = 64 * 1024;
/** Limits of the calls without a reply: the server closes a connection (1008) that has sent 262,144
 * characters ahead of it. */
const MAX_CALLS_IN_FLIGHT = 64;
const MAX_CHARACTERS_IN_FLIGHT = 128 * 1024;
/** Unsent bytes in the socket above which the queue waits. */
const MAX_BUFFERED_BYTES = 1024 * 1024;
const BUFFER_CHECK_MS = 50;
/** How often a call is sent while the server's storage is unavailable. */
const MAX_STORAGE_FAILURES = 4;
/** The first delay after a failure of the server's storage. */
export const RETRY_DELAY_MS = 1_000;
/** A call that would have to wait longer has failed: all others would wait, too. */
const MAX_PAUSE_MS = 60_000;
/** After a rate limit only one call is in flight for this time. The others would be rejected, and the
 * server closes (1008) a client that ignores rejections. */
const CAREFUL_MS = 30_000;

/**
 * A call that waits for its reply. A `post` may be sent again, because the server knows its `cid`. A
 * `move` enters or leaves a room or changes the nickname, and may be sent again, too. A `query` is sent
 * once.
 *
 * @typedef {object} Call
 * @property {"post" | "move" | "query"} kind
 * @property {Line} request
 * @property {number} characters - length of the request
 * @property {boolean} wasSent - the server may have executed it
 * @property {Connection | undefined} sentOver - the connection on which it waits for its reply
 * @property {boolean} isDoubtful - it was sent in a session that is lost
 * @property {number} storageFailures
 * @property {() => void} cancelTimeout
 * @property {(answer: Line | ChatError) => void} settle
 * @property {Promise<unknown>} promise
 */

/**
 * Returns a call, and the promise of its result. `pick` turns its reply into that.
 *
 * @template T
 * @param {Call["kind"]} kind
 * @param {Line} request
 * @param {(reply: Line) => T} pick
 * @returns {{ call: Call, promise: Promise<T> }}
 */
export function newCall(kind, request, pick) {
  let settle = (/** @type {Line | ChatError} */ _answer) => {};
  /** @type {Promise<T>} */
  const promise = new Promise((resolve, reject) => {
    settle = (answer) => {
      if (answer instanceof ChatError) return reject(answer);
      try {
        resolve(pick(answer));
      } catch (error) {
        reject(error);
      }
    };
  });
  const call = {
    kind,
    request,
    characters: JSON.stringify(request).length,
    wasSent: false,
    sentOver: undefined,
    isDoubtful: false,
    storageFailures: 0,
    cancelTimeout() {},
    settle,
    promise,
  };
  return { call, promise };
}

/** Returns why a call can never be sent, if so. @param {Call} call */
export function errorOfSize({ characters }) {
  if (characters <= MAX_REQUEST_CHARACTERS) return undefined;
  const reason = `${characters} characters are too many (maximum ${MAX_REQUEST_CHARACTERS}).`;
  return new ChatError("too-long", `Cannot send: ${reason}`);
}

/** Decides when a queue may send. */
export class FlowControl {
  /** Present while nothing may be sent. @type {(() => void) | undefined} */
  #cancelPause;
  #carefulUntilMs = 0;
  #clock;
  #onContinue;

  /**
   * @param {Clock} clock
   * @param {() => void} onContinue - a pause is over
   */
  constructor(clock, onContinue) {
    this.#clock = clock;
    this.#onContinue = onContinue;
  }

  get isPaused() {
    return this.#cancelPause !== undefined;
  }

  /** Sends nothing for a time, unless there is a pause already. @param {number} ms */
  pause(ms) {
    this.#cancelPause ??= this.#clock.after(ms, () => {
      this.#cancelPause = undefined;
      this.#onContinue();
    });
  }

  /** Ends a pause. The caller sends. */
  endPause() {
    this.#cancelPause?.();
    this.#cancelPause = undefined;
  }

  /**
   * Whether a call may be sent. It counts among those in flight.
   *
   * @param {Connection} connection
   * @param {number} calls
   * @param {number} characters - the length of these calls
   */
  allows(connection, calls, characters) {
    const isCareful = this.#clock.monotonicMs() < this.#carefulUntilMs;
    if (calls > (isCareful ? 1 : MAX_CALLS_IN_FLIGHT)) return false;
    if (calls > 1 && characters > MAX_CHARACTERS_IN_FLIGHT) return false;
    if (connection.bufferedBytes > MAX_BUFFERED_BYTES) this.pause(BUFFER_CHECK_MS);
    return !this.isPaused;
  }

  /**
   * The milliseconds after which a rejected call is sent again; `undefined`: it has failed.
   *
   * @param {Call} call
   * @param {ChatError} error
   */
  retryDelayMs(call, error) {
    if (error.code === "too-fast") {
      if ((error.retryAfter ?? 0) > MAX_PAUSE_MS) return undefined;
      this.#carefulUntilMs = this.#clock.monotonicMs() + CAREFUL_MS;
      return error.retryAfter || RETRY_DELAY_MS;
    }
    if (error.code !== "unavailable" || ++call.storageFailures >= MAX_STORAGE_FAILURES) return;
    const maxMs = RETRY_DELAY_MS * 2 ** call.storageFailures;
    return maxMs / 2 * (1 + this.#clock.jitter());
  }
}
