// @ts-check
/**
 * One WebSocket connection: requests and their replies, and whether the server still answers. It does
 * not reconnect and knows nothing of rooms.
 */
import { ABANDONED, ChatError, errorOf, parse, PROTOCOL } from "./protocol.js";

/** @import { Clock, WebSocketLike } from "./client.d.ts" */
/** @import { Line } from "./protocol.js" */

const OPEN_TIMEOUT_MS = 10_000;
/** After so much silence the client sends a ping. */
const MAX_SILENCE_MS = 20_000;
/** Longer than the 12 seconds that the server waits for its storage. */
const PONG_TIMEOUT_MS = 15_000;

/**
 * - `open`: the connection is open and speaks `chat.v1`.
 * - `event`: a line that answers no request.
 * - `malformed`: a frame or line that is not valid.
 * - `read`: all lines of a frame have been handled.
 * - `lost`: the connection ended, other than by `close`.
 *
 * @typedef {object} ConnectionListener
 * @property {() => void} open
 * @property {(line: Line) => void} event
 * @property {(what: string) => void} malformed
 * @property {() => void} read
 * @property {(code: number, reason: string) => void} lost
 */

/** One WebSocket, with the requests that wait for a reply. */
export class Connection {
  /** @type {Map<unknown, (reply: Line | ChatError) => void>} */
  #pending = new Map();
  /** @type {Set<() => void>} */
  #timers = new Set();
  #lastRef = 0;
  #isOpen = false;
  #hasEnded = false;
  #isProbing = false;
  #heardAtMs;
  #socket;
  #clock;
  #listener;

  /**
   * @param {WebSocketLike} socket
   * @param {Clock} clock
   * @param {ConnectionListener} listener
   */
  constructor(socket, clock, listener) {
    this.#socket = socket;
    this.#clock = clock;
    this.#listener = listener;
    this.#heardAtMs = clock.monotonicMs();
    socket.onopen = () => this.#opened();
    socket.onmessage = (/** @type {{ data: unknown }} */ { data }) => this.#read(data);
    socket.onclose = (/** @type {{ code: number, reason: string }} */ { code, reason }) =>
      this.#end(code, reason);
    socket.onerror = null;
    this.after(OPEN_TIMEOUT_MS, () => {
      if (!this.#isOpen) this.abandon("the connection did not open in time");
    });
  }

  /** Bytes that the socket has not sent yet. */
  get bufferedBytes() {
    return this.#socket.bufferedAmount;
  }

  /**
   * Sends a request. `onReply` runs as soon as the reply is read, before the lines behind it. If the
   * connection ends first, `onReply` receives an error with the code `offline`.
   *
   * @param {Line} request
   * @param {(reply: Line | ChatError) => void} onReply
   */
  send(request, onReply) {
    if (this.#hasEnded) return onReply(offlineError());
    const ref = ++this.#lastRef;
    this.#pending.set(ref, onReply);
    this.#socket.send(JSON.stringify({ ...request, ref }));
  }

  /**
   * Sends a request and resolves with its reply. It never rejects. Lines behind the reply in the same
   * frame are handled before the caller continues.
   *
   * @param {Line} request
   * @returns {Promise<Line | ChatError>}
   */
  ask(request) {
    return new Promise((resolve) => this.send(request, resolve));
  }

  /**
   * Runs a function later, unless the connection has ended by then.
   *
   * @param {number} ms
   * @param {() => void} run
   */
  after(ms, run) {
    const cancel = this.#clock.after(ms, () => {
      this.#timers.delete(cancel);
      run();
    });
    this.#timers.add(cancel);
  }

  /**
   * Resolves after a time. It never resolves if the connection ends before.
   *
   * @param {number} ms
   * @returns {Promise<void>}
   */
  wait(ms) {
    return new Promise((resolve) => this.after(ms, resolve));
  }

  /** Sends a ping, and abandons the connection if no line at all arrives in time. */
  probe(timeoutMs = PONG_TIMEOUT_MS) {
    if (this.#isProbing || !this.#isOpen) return;
    this.#isProbing = true;
    let isAlive = false;
    const heardAtMs = this.#heardAtMs;
    this.send({ type: "ping" }, () => isAlive = true);
    this.after(timeoutMs, () => {
      this.#isProbing = false;
      if (!isAlive && this.#heardAtMs === heardAtMs) this.abandon("the server does not answer");
    });
  }

  /**
   * Treats the connection as lost: reports it to the listener and closes the socket.
   *
   * @param {string} reason
   */
  abandon(reason) {
    this.#end(ABANDONED, reason);
    this.#closeSocket(ABANDONED);
  }

  /**
   * Closes the connection without reporting it as lost. Resolves when the socket is closed.
   *
   * @param {number} code
   */
  async close(code) {
    this.#listener = { ...this.#listener, lost() {} };
    this.#end(code, "");
    if (this.#socket.readyState === 3) return;
    await new Promise((/** @type {(value: void) => void} */ resolve) => {
      this.#socket.onclose = () => resolve();
      this.#closeSocket(code);
    });
  }

  /** @param {number} code */
  #closeSocket(code) {
    if (this.#socket.readyState < 2) this.#socket.close(code);
  }

  #opened() {
    this.#isOpen = true;
    this.#heardAtMs = this.#clock.monotonicMs();
    this.#watchSilence(MAX_SILENCE_MS);
    // Browsers refuse a server without the protocol. Other platforms would go on and log in with a
    // line of JSON as the nickname.
    const { protocol = PROTOCOL } = this.#socket;
    if (protocol === PROTOCOL) this.#listener.open();
    else this.#listener.malformed(`a handshake without the subprotocol ${PROTOCOL}`);
  }

  /**
   * @param {number} code
   * @param {string} reason
   */
  #end(code, reason) {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    for (const cancel of this.#timers) cancel();
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    const error = offlineError();
    for (const onReply of this.#pending.values()) onReply(error);
    this.#listener.lost(code, reason);
  }

  /** One timer for the connection, instead of one for each frame. */
  #watchSilence(/** @type {number} */ ms) {
    this.after(ms, () => {
      const silenceMs = this.#clock.monotonicMs() - this.#heardAtMs;
      const isSilent = silenceMs >= MAX_SILENCE_MS;
      if (isSilent) this.probe();
      this.#watchSilence(isSilent ? MAX_SILENCE_MS : MAX_SILENCE_MS - silenceMs);
    });
  }

  /** @param {unknown} data */
  #read(data) {
    this.#heardAtMs = this.#clock.monotonicMs();
    if (typeof data !== "string") return this.#listener.malformed("a frame that is not text");
    for (const text of data.split("\n")) {
      // A listener may have closed the client.
      if (this.#hasEnded) return;
      if (text !== "") this.#readLine(text);
    }
    this.#listener.read();
  }

  /** @param {string} text */
  #readLine(text) {
    const line = parse(text);
    if (line === undefined) return this.#listener.malformed(text.slice(0, 200));
    const onReply = this.#pending.get(line.ref);
    if (onReply === undefined) return this.#listener.event(line);
    this.#pending.delete(line.ref);
    onReply(line.type === "error" ? errorOf(line) : line);
  }
}

function offlineError() {
  return new ChatError("offline", "The connection was lost.");
}
