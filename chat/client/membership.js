// @ts-check
/**
 * What the replies change: who the user is, and which rooms the client is in. After a lost session it
 * enters the rooms again and delivers what was said there meanwhile.
 */
import { ChatError, idInOrder, idOf, isTemporary, resumedEvent } from "./protocol.js";

/** @import { CallQueue } from "./calls.js" */
/** @import { Connection } from "./connection.js" */
/** @import { HistoryReader } from "./history_reader.js" */
/** @import { Inbox } from "./inbox.js" */
/** @import { Listeners } from "./listeners.js" */
/** @import { Line } from "./protocol.js" */
/** @import { SessionState } from "./session.js" */

/** The rooms of a client. */
export class Membership {
  #session;
  #calls;
  #inbox;
  #listeners;
  #history;

  /**
   * @param {{ session: SessionState, calls: CallQueue, inbox: Inbox, listeners: Listeners,
   *   history: HistoryReader }} parts
   */
  constructor({ session, calls, inbox, listeners, history }) {
    this.#session = session;
    this.#calls = calls;
    this.#inbox = inbox;
    this.#listeners = listeners;
    this.#history = history;
  }

  /**
   * Returns to the rooms of a lost session. The caller then sends the calls.
   *
   * @param {Connection} connection
   * @param {ReadonlySet<string>} joined - the rooms that the session is in
   */
  online(connection, joined) {
    for (const room of this.#session.rooms.toReversed()) {
      if (this.#inbox.holds.lost(room) === undefined) continue;
      if (joined.has(room)) void this.#return(room, connection, undefined);
      else this.#calls.joinFirst(room);
    }
  }

  /**
   * Notes what a request has changed. Returns what its call is settled with.
   *
   * @param {Line} request
   * @param {Line | ChatError} reply
   * @param {Connection} connection
   * @returns {Line | ChatError}
   */
  replied(request, reply, connection) {
    switch (request.type) {
      case "join":
        if (reply instanceof ChatError) this.#notJoined(request, reply, connection);
        else this.#joined(request, reply, connection);
        if (!this.#calls.isInFlight((each) => each.type === "join" && each !== request)) {
          this.#inbox.holds.dropArrivals();
        }
        return reply;
      case "leave":
        return this.#leaveReplied(request, reply);
      case "nick":
      case "identify":
      case "register":
      case "unregister":
        if (!(reply instanceof ChatError)) this.#session.identify(this.#userAfter(request, reply));
        return reply;
      default:
        return reply;
    }
  }

  /**
   * @param {Line} request
   * @param {Line} reply
   */
  #userAfter(request, reply) {
    const session = this.#session;
    const nick = reply.nick ?? request.nick ?? session.nick;
    const isUserTold = reply.user !== undefined;
    const user = isUserTold ? reply.user : session.user;
    if (request.type === "register") return { user, nick, registered: true };
    if (request.type === "unregister") return { user, nick };
    return { user, nick, registered: isUserTold ? reply.registered : session.registered };
  }

  /**
   * @param {Line} request
   * @param {Line} reply
   * @param {Connection} connection
   */
  #joined(request, reply, connection) {
    const session = this.#session;
    const { id } = idOf(reply);
    const asked = session.nameOf(String(request.room));
    const room = typeof reply.room === "string"
      ? reply.room
      : this.#inbox.holds.arrivalOf(id) ?? asked;
    if (room !== asked) {
      this.forget(asked);
      session.correct(String(request.room), room);
    }
    if (this.#inbox.holds.lost(room)) return void this.#return(room, connection, id);
    session.enter(room);
    for (const line of this.#inbox.holds.release(room)) this.#inbox.receive(line, connection);
  }

  /**
   * @param {Line} request
   * @param {ChatError} error
   * @param {Connection} connection
   */
  #notJoined(request, error, connection) {
    const room = this.#session.nameOf(String(request.room));
    if (this.#inbox.holds.lost(room) === undefined) return;
    // The client tries again over the next connection.
    if (isTemporary(error)) return connection.abandon(`"${room}" cannot be entered`);
    const hasMissed = this.#session.lastIn(room) !== null;
    this.forget(room);
    this.#listeners.report(error);
    if (!hasMissed) return;
    this.#listeners.emit(resumedEvent({ room, missed: 0, reason: "not-in-room" }));
  }

  /**
   * @param {Line} request
   * @param {Line | ChatError} reply
   */
  #leaveReplied(request, reply) {
    const room = this.#session.nameOf(String(request.room));
    // After a lost session the client may have left before it was back.
    const isOut = reply instanceof ChatError && reply.code === "not-in-room" &&
      this.#session.has(room);
    if (reply instanceof ChatError && !isOut) return reply;
    this.forget(room);
    return { type: "ok" };
  }

  /** Forgets a room that the client is not in any more. @param {string} room */
  forget(room) {
    this.#inbox.holds.release(room);
    this.#session.exit(room);
    this.#calls.rejectDoubtful((each) => each === room);
  }

  /**
   * Delivers what was said in a room while the client was away, then what was held back.
   *
   * @param {string} room
   * @param {Connection} connection
   * @param {string | undefined} entryId - the ID of the event by which the client is in the room again
   */
  async #return(room, connection, entryId) {
    const hold = this.#inbox.holds.lost(room);
    if (hold === undefined) return;
    hold.connection = connection;
    const session = this.#session;
    const last = session.lastIn(room);
    // The first event after the return. It may arrive while the history is read.
    const firstId = () => entryId || hold.lines.map(idInOrder).find((id) => id !== undefined);
    /** @type {Awaited<ReturnType<HistoryReader["read"]>>} */
    let missed = { events: [] };
    const id = firstId();
    if (last !== null && id !== undefined && id <= last) {
      session.advance(room, null);
      hold.isForgotten = true;
    } else if (last !== null) missed = await this.#history.read(connection, room, last, firstId);
    // Meanwhile the connection may be lost, or the client may have left the room.
    if (this.#inbox.holds.lost(room) !== hold || hold.connection !== connection) return;
    // From here on everything is synchronous: no line overtakes the events that were held back.
    const from = firstId();
    const events = missed.events.filter((event) => from === undefined || event.id < from);
    const lines = this.#inbox.holds.release(room);
    for (const event of events) this.#inbox.deliver(event);
    this.#calls.rejectDoubtful((each) => each === room);
    if (last !== null || hold.isForgotten) {
      const reason = hold.isForgotten ? "forgotten" : missed.reason;
      this.#listeners.emit(resumedEvent({ room, missed: events.length, reason, from }));
    }
    this.#inbox.resetState(room);
    for (const line of lines) {
      // A room that is held has no older events, except after a lost reply to `join`.
      const id = idInOrder(line);
      if (id === undefined || id >= (from ?? "")) this.#inbox.receive(line, connection);
    }
    session.save();
  }
}
