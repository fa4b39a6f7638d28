// @ts-check
/**
 * The queue of calls that wait for a reply. It sends them in order while the client is online, sends
 * them again over the next connection, and delays them when the server asks for that.
 */
import { ChatError, isRename } from "./protocol.js";

/** @import { Clock, DirectEvent, RoomEvent } from "./client.d.ts" */
/** @import { Connection } from "./connection.js" */
/** @import { Line } from "./protocol.js" */

/** How long a question waits for its reply, waiting for a connection included. */
const REPLY_TIMEOUT_MS = 30_000;
/** Limits of the calls without a reply: the server closes a connection (1008) that has sent 262,144
 * characters ahead of it. */
const MAX_CALLS_IN_FLIGHT = 64;
const MAX_CHARACTERS_IN_FLIGHT = 128 * 1024;
/** A frame far over the server's limit ends the connection, and again at each new attempt. */
const MAX_REQUEST_CHARACTERS = 64 * 1024;
/** Unsent bytes in the socket above which the queue waits. */
const MAX_BUFFERED_BYTES = 1024 * 1024;
const BUFFER_CHECK_MS = 50;
/** How often a call is sent while the server's storage is unavailable. */
const MAX_STORAGE_FAILURES = 4;
/** The first delay after a failure of the server's storage. */
export const RETRY_DELAY_MS = 1_000;
/** After a rate limit only one call is in flight for this time. The others would be rejected, and the
 * server closes (1008) a client that ignores rejections. */
const CAREFUL_MS = 30_000;

/**
 * A call that waits for its reply. A `post` may be sent again, because the server knows its `cid`. A
 * `move` changes the room or the nickname; nothing overtakes it. A `query` is sent once.
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

/** The calls without a reply, in the order in which they were made. */
export class CallQueue {
  /** @type {Call[]} */
  #calls = [];
  /** Present while the client is online. @type {Connection | undefined} */
  #connection;
  /** Present while nothing may be sent. @type {(() => void) | undefined} */
  #cancelPause;
  #carefulUntilMs = 0;
  #isClosed = false;
  #clock;
  #maxCalls;
  #onRename;

  /**
   * @param {Clock} clock
   * @param {number} maxCalls
   * @param {(nick: string) => void} onRename - the server confirmed another nickname
   */
  constructor(clock, maxCalls, onRename) {
    this.#clock = clock;
    this.#maxCalls = maxCalls;
    this.#onRename = onRename;
  }

  /**
   * Adds a call and sends it as soon as possible. `pick` turns its reply into its result.
   *
   * @template T
   * @param {Call["kind"]} kind
   * @param {Line} request
   * @param {(reply: Line) => T} pick
   * @returns {Promise<T>}
   */
  add(kind, request, pick) {
    if (this.#isClosed) return Promise.reject(closedError());
    const characters = JSON.stringify(request).length;
    if (characters > MAX_REQUEST_CHARACTERS) {
      const reason = `${characters} characters are too many (maximum ${MAX_REQUEST_CHARACTERS}).`;
      return Promise.reject(new ChatError("too-long", `Cannot send: ${reason}`));
    }
    if (kind === "move") this.#replaceLastMove(request);
    if (this.#calls.length >= this.#maxCalls) {
      const reason = `${this.#maxCalls} calls are waiting for a reply.`;
      return Promise.reject(new ChatError("full", `Cannot send: ${reason}`));
    }
    let settle = (/** @type {Line | ChatError} */ _answer) => {};
    /** @type {Promise<T>} */
    const promise = new Promise((resolve, reject) => {
      settle = (answer) => answer instanceof ChatError ? reject(answer) : resolve(pick(answer));
    });
    /** @type {Call} */
    const call = {
      kind,
      request,
      characters,
      wasSent: false,
      sentOver: undefined,
      isDoubtful: false,
      storageFailures: 0,
      cancelTimeout() {},
      settle,
      promise,
    };
    if (kind === "query") {
      const error = new ChatError("offline", "The server did not answer in time.");
      call.cancelTimeout = this.#clock.after(REPLY_TIMEOUT_MS, () => this.settle(call, error));
    }
    this.#calls.push(call);
    this.send();
    return promise;
  }

  /**
   * Settles a call, unless it is settled already, and sends what waited for it.
   *
   * @param {Call} call
   * @param {Line | ChatError} answer
   */
  settle(call, answer) {
    const index = this.#calls.indexOf(call);
    if (index < 0) return;
    this.#calls.splice(index, 1);
    call.cancelTimeout();
    call.settle(answer);
    this.send();
  }

  /** Notes that the client is online. The caller then calls `send`. */
  online(/** @type {Connection} */ connection) {
    this.#connection = connection;
  }

  /** Sends nothing more until the client is online again. */
  offline() {
    this.#connection = undefined;
    this.#cancelPause?.();
    this.#cancelPause = undefined;
  }

  /** Rejects all calls, and those that are added later. */
  close() {
    this.offline();
    this.#isClosed = true;
    for (const call of [...this.#calls]) {
      // An application that closes the client need not handle the rejections that this causes.
      call.promise.catch(() => {});
      this.settle(call, closedError());
    }
  }

  /** Sends as many calls as may be in flight, in order: a call that was sent before is sent first. */
  send() {
    const connection = this.#connection;
    if (connection === undefined) return;
    const isCareful = this.#clock.monotonicMs() < this.#carefulUntilMs;
    const maxInFlight = isCareful ? 1 : MAX_CALLS_IN_FLIGHT;
    let inFlight = 0;
    let charactersInFlight = 0;
    for (const call of [...this.#calls]) {
      if (this.#cancelPause) return;
      // A move is sent alone: a call behind it may mean another room, or come from another nickname.
      if (call.kind === "move" && inFlight > 0) return;
      inFlight++;
      charactersInFlight += call.characters;
      if (call.sentOver === undefined) {
        if (inFlight > maxInFlight) return;
        if (inFlight > 1 && charactersInFlight > MAX_CHARACTERS_IN_FLIGHT) return;
        if (connection.bufferedBytes > MAX_BUFFERED_BYTES) return this.#pause(BUFFER_CHECK_MS);
        call.sentOver = connection;
        call.wasSent = true;
        connection.send(call.request, (reply) => this.#replied(call, connection, reply));
      }
      if (call.kind === "move") return;
    }
  }

  /** The oldest call that changes the nickname. */
  get firstRename() {
    return this.#calls.find(({ request }) => isRename(request));
  }

  /**
   * The room that the client will be in when all calls are done.
   *
   * @param {string | undefined} room - its present room
   */
  roomAfterAll(room) {
    const last = this.#calls.findLast(({ request: { type } }) =>
      type === "join" || type === "leave"
    );
    return last ? last.request.room : room;
  }

  /**
   * Settles the move whose reply was lost, if the resumed session shows that it was executed.
   *
   * @param {string} nick
   * @param {string | undefined} room
   */
  resumed(nick, room) {
    const move = this.#calls.find(({ kind, wasSent }) => kind === "move" && wasSent);
    if (move === undefined) return;
    const { request } = move;
    // The nickname does not show whether a password was accepted.
    if (request.type === "identify") return;
    const isDone = request.type === "nick" ? request.nick === nick : request.room === room;
    if (isDone) this.settle(move, { type: "ok" });
  }

  /** Notes that the session is lost, in which calls may have been executed. */
  sessionLost() {
    for (const call of this.#calls.filter(({ wasSent }) => wasSent)) {
      if (call.kind === "post") call.isDoubtful = true;
      // A move belonged to the lost session. Queries have failed by now.
      else call.wasSent = false;
    }
  }

  /** Rejects posts that the server may have executed and that it does not remember. */
  rejectSentPosts() {
    for (const call of this.#calls) call.isDoubtful ||= call.kind === "post" && call.wasSent;
    this.rejectDoubtful();
  }

  /** Rejects posts of the lost session which the history does not contain. */
  rejectDoubtful() {
    const error = new ChatError(
      "unknown",
      "The connection was lost. This may have been delivered.",
    );
    for (const call of this.#calls.filter(({ isDoubtful }) => isDoubtful)) this.settle(call, error);
  }

  /**
   * Settles a post whose own event arrived: the reply may have been lost.
   *
   * @param {RoomEvent | DirectEvent} event
   */
  delivered(event) {
    if (!("cid" in event) || event.cid === undefined) return;
    const call = this.#calls.find(({ kind, request }) =>
      kind === "post" && request.cid === event.cid
    );
    if (call) this.settle(call, { type: "ok", id: event.id });
  }

  /**
   * @param {Call} call
   * @param {Connection} connection
   * @param {Line | ChatError} reply
   */
  #replied(call, connection, reply) {
    if (call.sentOver !== connection) return;
    call.sentOver = undefined;
    if (reply instanceof ChatError) {
      // The call is sent again over the next connection.
      if (reply.code === "offline" && call.kind !== "query") return;
      const delayMs = this.#retryDelayMs(call, reply);
      if (delayMs !== undefined) {
        // A post may be stored in spite of the error: it stays marked as sent.
        if (call.kind !== "post") call.wasSent = false;
        return this.#pause(delayMs);
      }
    } else if (isRename(call.request)) {
      // Outside all rooms no event reports the new nickname.
      this.#onRename(String(reply.nick ?? call.request.nick));
    }
    this.settle(call, reply);
  }

  /**
   * The milliseconds after which a rejected call is sent again; `undefined`: it has failed.
   *
   * @param {Call} call
   * @param {ChatError} error
   */
  #retryDelayMs(call, error) {
    if (error.code === "too-fast") {
      this.#carefulUntilMs = this.#clock.monotonicMs() + CAREFUL_MS;
      return error.retryAfter || RETRY_DELAY_MS;
    }
    if (error.code !== "unavailable" || ++call.storageFailures >= MAX_STORAGE_FAILURES) return;
    const maxMs = RETRY_DELAY_MS * 2 ** call.storageFailures;
    return maxMs / 2 * (1 + this.#clock.jitter());
  }

  /**
   * Rejects the last call if it is a move that was not sent and that the new one makes pointless: a
   * client that changed rooms three times while offline enters the last one only.
   *
   * @param {Line} request
   */
  #replaceLastMove(request) {
    const last = this.#calls.at(-1);
    if (last?.kind !== "move" || last.wasSent) return;
    if (isRename(last.request) !== isRename(request)) return;
    this.settle(last, new ChatError("replaced", "A later call replaced this one."));
  }

  /** @param {number} ms */
  #pause(ms) {
    if (this.#cancelPause) return;
    this.#cancelPause = this.#clock.after(ms, () => {
      this.#cancelPause = undefined;
      this.send();
    });
  }
}

function closedError() {
  return new ChatError("closed", "The client is closed.");
}
