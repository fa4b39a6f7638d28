// @ts-check
/**
 * The queue of calls that wait for a reply. It sends them in order while the client is online, sends
 * them again over the next connection, and settles them.
 */
import { errorOfSize, FlowControl, newCall } from "./call.js";
import { changesUser, ChatError, isMove, isRename } from "./protocol.js";

/** @import { Clock, DirectEvent, RoomEvent } from "./client.d.ts" */
/** @import { Call } from "./call.js" */
/** @import { Connection } from "./connection.js" */
/** @import { Line } from "./protocol.js" */

/** How long a question waits for its reply, waiting for a connection included. */
const REPLY_TIMEOUT_MS = 30_000;

/**
 * - `nameOf`: returns the server's name of a room.
 * - `isSlow`: whether slow mode limits how often the user may write in a room.
 * - `paused`: the rate limits let the client wait so many milliseconds. What waits is sent afterwards.
 * - `replied`: the server answered a call for good. Returns what the call is settled with.
 *
 * @typedef {object} CallListener
 * @property {(room: string) => string} nameOf
 * @property {(room: string) => boolean} isSlow
 * @property {(ms: number) => void} paused
 * @property {(request: Line, reply: Line | ChatError, connection: Connection) => Line | ChatError} replied
 */

/** The calls without a reply, in the order in which they were made. */
export class CallQueue {
  /** @type {Call[]} */
  #calls = [];
  /** Present while the client is online. @type {Connection | undefined} */
  #connection;
  #isClosed = false;
  #clock;
  #maxCalls;
  #on;
  #flow;

  /**
   * @param {Clock} clock
   * @param {number} maxCalls
   * @param {CallListener} on
   */
  constructor(clock, maxCalls, on) {
    this.#clock = clock;
    this.#maxCalls = maxCalls;
    this.#on = on;
    this.#flow = new FlowControl(clock, () => this.send());
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
    const waiting = request.type === "read" ? this.#unsentRead(request) : undefined;
    if (waiting) {
      waiting.request = request;
      return /** @type {Promise<T>} */ (waiting.promise);
    }
    const { call, promise } = newCall(kind, request, pick);
    const error = this.#reasonToReject(call);
    if (error) {
      call.settle(error);
      return promise;
    }
    if (kind === "query") {
      const error = new ChatError("offline", "The server did not answer in time.");
      call.cancelTimeout = this.#clock.after(REPLY_TIMEOUT_MS, () => this.settle(call, error));
    }
    this.#calls.push(call);
    this.send();
    return promise;
  }

  /**
   * Adds a `join` before all other calls, unless the first call that concerns the room is one already.
   * It is sent with the next `send`.
   *
   * @param {string} room
   */
  joinFirst(room) {
    if (this.#calls.find((call) => this.#roomOf(call) === room)?.request.type === "join") return;
    const { call, promise } = newCall("move", { type: "join", room }, () => {});
    // The listener of the queue learns of a failure.
    promise.catch(() => {});
    this.#calls.unshift(call);
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
    this.#flow.endPause();
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

  /**
   * Sends as many calls as may be in flight, in order: a call that was sent before is sent first. A
   * call that changes the user is sent alone. Nothing overtakes a `join` or `leave` of the same room,
   * and neither overtakes what concerns the room: the server could reject one of the two for the time
   * being, and execute the other.
   */
  send() {
    const connection = this.#connection;
    if (connection === undefined || this.#flow.isPaused) return;
    let inFlight = 0;
    let charactersInFlight = 0;
    let isFirst = true;
    const busyRooms = new Set();
    const movingRooms = new Set();
    for (const call of this.#calls.filter(({ isDoubtful }) => !isDoubtful)) {
      const isAlone = changesUser(call.request);
      if (isAlone && !isFirst) return;
      isFirst = false;
      const room = this.#roomOf(call);
      const isMoving = isMove(call.request);
      const mustWait = movingRooms.has(room) || isMoving && busyRooms.has(room);
      if (room !== undefined) (isMoving ? movingRooms : busyRooms).add(room);
      if (mustWait) continue;
      inFlight++;
      charactersInFlight += call.characters;
      if (call.sentOver === undefined) {
        if (!this.#flow.allows(connection, inFlight, charactersInFlight)) return;
        this.#send(call, connection);
      }
      if (isAlone) return;
    }
  }

  /** The oldest call that changes the nickname. */
  get firstRename() {
    return this.#calls.find(({ request }) => isRename(request));
  }

  /**
   * Whether a request is in flight that meets a condition.
   *
   * @param {(request: Line) => boolean} isMeant
   */
  isInFlight(isMeant) {
    return this.#calls.some(({ sentOver, request }) => sentOver !== undefined && isMeant(request));
  }

  /**
   * Settles the moves whose replies were lost, if the resumed session shows that they were executed.
   * Returns the rooms that the client left by them.
   *
   * @param {string} nick
   * @param {ReadonlySet<string>} rooms - the rooms that the session is in
   */
  resumed(nick, rooms) {
    const left = [];
    for (const call of this.#calls.filter(({ kind, wasSent }) => kind === "move" && wasSent)) {
      const { type } = call.request;
      const room = this.#roomOf(call) ?? "";
      // The nickname does not show whether the password of an `identify` was accepted.
      const isDone = type === "nick" && call.request.nick === nick ||
        type === "join" && rooms.has(room) || type === "leave" && !rooms.has(room);
      if (isDone && type === "leave") left.push(room);
      if (isDone) this.settle(call, { type: "ok" });
    }
    return left;
  }

  /** Notes that the session is lost, in which calls may have been executed. */
  sessionLost() {
    for (const call of this.#calls.filter(({ wasSent }) => wasSent)) {
      if (call.kind === "post") call.isDoubtful = true;
      // A move belonged to the lost session. Queries have failed by now.
      else call.wasSent = false;
    }
  }

  /**
   * Rejects posts to a room that the server may have executed and that it does not remember.
   *
   * @param {string | undefined} room - `undefined`: direct messages
   */
  rejectSentPosts(room) {
    for (const call of this.#calls) {
      call.isDoubtful ||= call.kind === "post" && call.wasSent && this.#roomOf(call) === room;
    }
    this.rejectDoubtful((each) => each === room);
  }

  /**
   * Rejects posts of the lost session which the history does not contain.
   *
   * @param {(room: string | undefined) => boolean} isMeant - `undefined`: direct messages
   */
  rejectDoubtful(isMeant) {
    const error = new ChatError(
      "unknown",
      "The connection was lost. This may have been delivered.",
    );
    for (const call of this.#calls.filter(({ isDoubtful }) => isDoubtful)) {
      if (isMeant(this.#roomOf(call))) this.settle(call, error);
    }
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
    const kept = event.type === "direct" ? event.kept : undefined;
    if (call) this.settle(call, { type: "ok", id: event.id, kept });
  }

  /** The server's name of the room that a call concerns. @param {Pick<Call, "request">} call */
  #roomOf({ request: { room } }) {
    return typeof room === "string" ? this.#on.nameOf(room) : undefined;
  }

  /**
   * @param {Call} call
   * @param {Connection} connection
   */
  #send(call, connection) {
    call.sentOver = connection;
    call.wasSent = true;
    const room = this.#roomOf(call);
    const request = room === undefined ? call.request : { ...call.request, room };
    connection.send(request, (reply) => this.#replied(call, connection, reply));
  }

  /**
   * @param {Call} call
   * @param {Connection} connection
   * @param {Line | ChatError} reply
   */
  #replied(call, connection, reply) {
    if (call.sentOver !== connection) return;
    if (reply instanceof ChatError) {
      call.sentOver = undefined;
      // The call is sent again over the next connection.
      if (reply.code === "offline" && call.kind !== "query") return;
      const delayMs = this.#isSlowed(call, reply)
        ? undefined
        : this.#flow.retryDelayMs(call, reply);
      if (delayMs !== undefined) {
        // A post may be stored in spite of the error: it stays marked as sent.
        if (call.kind !== "post") call.wasSent = false;
        if (reply.code === "too-fast") this.#on.paused(delayMs);
        return this.#flow.pause(delayMs);
      }
    }
    this.settle(call, this.#on.replied(call.request, reply, connection));
  }

  /**
   * Whether a call may have been rejected by slow mode. Then it is not sent again: the others would have
   * to wait, too, maybe for an hour.
   *
   * @param {Call} call
   * @param {ChatError} error
   */
  #isSlowed(call, { code }) {
    const room = this.#roomOf(call);
    const isText = call.kind === "post" || call.request.type === "edit";
    return code === "too-fast" && isText && room !== undefined && this.#on.isSlow(room);
  }

  /**
   * Returns why a new call cannot be added. Makes room for one that replaces another.
   *
   * @param {Call} call
   */
  #reasonToReject(call) {
    const error = this.#isClosed ? closedError() : errorOfSize(call);
    if (error) return error;
    this.#replaceUnsent(call.request);
    if (this.#calls.length < this.#maxCalls) return undefined;
    const reason = `${this.#maxCalls} calls are waiting for a reply.`;
    return new ChatError("full", `Cannot send: ${reason}`);
  }

  /**
   * Rejects a call that was not sent and that the new one makes pointless: a `join` or `leave` if it
   * is the last call for the same room, a change of the nickname if it is the last call of all.
   *
   * @param {Line} request
   */
  #replaceUnsent(request) {
    const isSame = [isMove, isRename].find((isOne) => isOne(request));
    if (isSame === undefined) return;
    const room = this.#roomOf({ request });
    const last = this.#calls.findLast((call) => isRename(request) || this.#roomOf(call) === room);
    if (last === undefined || last.wasSent || !isSame(last.request)) return;
    this.settle(last, new ChatError("replaced", "A later call replaced this one."));
  }

  /** A call that moves the same read marker and was not sent. @param {Line} request */
  #unsentRead({ room, with: user }) {
    return this.#calls.find(({ request, wasSent }) =>
      !wasSent && request.type === "read" && request.room === room && request.with === user
    );
  }
}

function closedError() {
  return new ChatError("closed", "The client is closed.");
}
