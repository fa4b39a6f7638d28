// @ts-check
/**
 * Puts incoming events into one order a room and delivers each of them once: during a replay, after a
 * login, and where the server left events out because the connection was slow.
 */
import { Holds } from "./holds.js";
import { changesUser, errorOf, isReply, isServerEvent, resumedEvent } from "./protocol.js";
import { NO_STATE } from "./session.js";

/** @import { ActEvent, DeletedEvent, DirectEvent, EditedEvent, ResumedEvent } from "./client.d.ts" */
/** @import { ReactionEvent, RoomStatusEvent } from "./client.d.ts" */
/** @import { CallQueue } from "./calls.js" */
/** @import { Connection } from "./connection.js" */
/** @import { HistoryReader } from "./history_reader.js" */
/** @import { OrderedEvent, RoomAct, RoomLine } from "./holds.js" */
/** @import { Listeners } from "./listeners.js" */
/** @import { GapLine, Line } from "./protocol.js" */
/** @import { SessionState } from "./session.js" */

/** Receives the events of a client and delivers them to its listeners. */
export class Inbox {
  /** The lines that wait. */
  holds = new Holds();
  /** The replay that the server is sending, and the rooms that the session is in.
   * @type {{ connection: Connection, rooms: Set<string> } | undefined} */
  #replay;
  /** The direct messages since `countDirects`. */
  #directs = { arrived: 0, delivered: 0 };
  #session;
  #calls;
  #listeners;
  #history;
  #onReplayed;

  /**
   * @param {{ session: SessionState, calls: CallQueue, listeners: Listeners, history: HistoryReader }} parts
   * @param {(connection: Connection, rooms: Set<string>) => void} onReplayed - a replay is complete
   */
  constructor({ session, calls, listeners, history }, onReplayed) {
    this.#session = session;
    this.#calls = calls;
    this.#listeners = listeners;
    this.#history = history;
    this.#onReplayed = onReplayed;
  }

  /** Holds the events of all rooms back until each is released: the session is lost, or begins. */
  holdAll() {
    for (const room of this.#session.rooms) {
      if (!this.#session.isExpelled(room)) this.holds.hold(room, "lost");
      // The client must not go back by itself.
      else this.#dropExpelled(room);
    }
  }

  /** Counts the direct messages from here on. Returns the count, which goes on. */
  countDirects() {
    return this.#directs = { arrived: 0, delivered: 0 };
  }

  /**
   * Expects a replay, after which the session is in these rooms.
   *
   * @param {Connection} connection
   * @param {Set<string>} rooms
   */
  expectReplay(connection, rooms) {
    this.#replay = { connection, rooms };
  }

  /** Forgets what belonged to the connection: the next replay, or the history, has all that followed. */
  connectionLost() {
    this.#replay = undefined;
    this.holds.connectionLost();
  }

  /**
   * Handles a line that answers no request.
   *
   * @param {Line} line
   * @param {Connection} connection
   */
  receive(line, connection) {
    // A late reply.
    if (isReply(line)) return;
    if (!isServerEvent(line)) return this.#listeners.emit({ type: "unknown", line });
    switch (line.type) {
      case "message":
      case "action":
      case "joined":
      case "left":
      case "nick":
      case "away":
      case "room":
      case "gap":
        return this.#receiveInRoom(line, connection);
      case "act":
        return this.#receiveAct(line, connection);
      case "edited":
      case "deleted":
      case "reaction":
        if (typeof line.room !== "string") return this.#deliverDirect(line);
        return this.#receiveInRoom(/** @type {RoomLine} */ (line), connection);
      case "direct":
        return this.#deliverDirect(line);
      case "read":
        // It has no place in the order.
        if (line.room === undefined || this.#session.has(line.room)) this.#listeners.emit(line);
        return;
      case "typing":
        if (line.room === undefined || this.#session.has(line.room)) this.#listeners.emit(line);
        return;
      case "resumed":
        return this.#replayed(line);
      case "error":
        return this.#listeners.report(errorOf(line));
      default:
        return /** @satisfies {never} */ (line);
    }
  }

  /**
   * Tells that nothing is known of the state of a room which the client is in again: the server says
   * more only if something is set.
   *
   * @param {string} room
   */
  resetState(room) {
    if (this.#session.stateOf(room) === NO_STATE) return;
    this.#deliverState({ type: "room", room });
  }

  /**
   * Delivers an event of a room that the client is in, unless it was delivered before.
   *
   * @param {OrderedEvent} event
   */
  deliver(event) {
    const session = this.#session;
    const { room } = event;
    const last = session.lastIn(room);
    if (!session.has(room) || last !== null && event.id <= last) return;
    session.advance(room, event.id);
    if (session.isSelf(event.user)) this.#deliverOwn(event);
    this.#listeners.emit(event);
  }

  /** @param {OrderedEvent} event */
  #deliverOwn(event) {
    const isInFlight = this.#calls.isInFlight.bind(this.#calls);
    switch (event.type) {
      case "message":
      case "action":
        return this.#calls.delivered(event);
      case "nick":
        // Another session of the user may have changed its nickname.
        if (isInFlight(changesUser)) this.#session.identify(event.to);
        return;
      case "left": {
        const { room, user } = event;
        const isLeave = (/** @type {Line} */ request) =>
          request.type === "leave" && this.#session.nameOf(String(request.room)) === room;
        // A session that signs in or out may end the membership of the user that it was, and stay. A
        // replay ends with the rooms that the session is in.
        const mayStay = user !== this.#session.user || isInFlight(changesUser) ||
          this.#replay !== undefined;
        const isExpelled = this.#session.isExpelled(room);
        if (isInFlight(isLeave) || isExpelled || !mayStay) this.#session.exit(room);
      }
    }
  }

  /**
   * @param {Line & ActEvent} act
   * @param {Connection} connection
   */
  #receiveAct(act, connection) {
    const { room } = act;
    const isHere = room !== undefined &&
      (this.#session.has(room) || this.holds.at(room) !== undefined);
    // An invitation, or a report from a room that the user moderates, comes from elsewhere.
    if (!isHere) return this.#listeners.emit(act);
    this.#receiveInRoom(/** @type {Line & RoomAct} */ (act), connection);
  }

  /** Delivers an act in a room, unless it was delivered before. @param {RoomAct} event */
  #deliverAct(event) {
    const { room, id, act, on } = event;
    if (!this.#session.noteAct(room, id)) return;
    const isExpelled = (act === "kick" || act === "ban") && on !== undefined &&
      this.#session.isSelf(on.user);
    if (isExpelled) this.#session.expel(room);
    this.#listeners.emit(event);
  }

  /** @param {RoomStatusEvent} event */
  #deliverState(event) {
    this.#session.setState(event);
    this.#listeners.emit(event);
  }

  /** Forgets a room that the client was told to be out of when the session was lost. @param {string} room */
  #dropExpelled(room) {
    this.#session.exit(room);
    this.#listeners.emit(resumedEvent({ room, missed: 0, reason: "not-in-room" }));
  }

  /**
   * @param {RoomLine} line
   * @param {Connection} connection
   */
  #receiveInRoom(line, connection) {
    const { room } = line;
    const isEntered = line.type === "joined" && this.#session.isSelf(line.user) &&
      this.#calls.isInFlight(({ type }) => type === "join");
    if (!this.#session.has(room) && isEntered) this.holds.hold(room, "arrival");
    const hold = this.holds.at(room);
    if (hold) {
      if (!this.holds.add(hold, line)) connection.abandon("too many events wait");
    } else if (!this.#session.has(room)) {
      // The client has left the room, or never was in it.
    } else if (line.type === "gap") void this.#closeGap(line, connection);
    else if (line.type === "act") this.#deliverAct(line);
    else if (line.type === "room") this.#deliverState(line);
    else this.deliver(line);
  }

  /** @param {DirectEvent | EditedEvent | DeletedEvent | ReactionEvent} event */
  #deliverDirect(event) {
    const session = this.#session;
    const isMessage = event.type === "direct";
    if (isMessage) this.#directs.arrived++;
    if (event.id <= (session.direct ?? "")) return;
    session.direct = event.id;
    if (isMessage) this.#directs.delivered++;
    if (isMessage && session.isSelf(event.user)) this.#calls.delivered(event);
    this.#listeners.emit(event);
  }

  /** @param {Line & ResumedEvent} line */
  #replayed(line) {
    const replay = this.#replay;
    const { room } = line;
    // After a lost session the client reports the end itself.
    if (replay === undefined || room !== undefined && !this.#isLive(room)) return;
    // The server remembers which messages it got, unless the client was away for too long.
    if (!line.recovered && line.reason === "expired") this.#calls.rejectSentPosts(room);
    if (room !== undefined && !replay.rooms.has(room)) this.#session.exit(room);
    if (room === undefined) this.#replay = undefined;
    this.#listeners.emit(line);
    if (room === undefined) this.#endReplay(replay);
    else this.resetState(room);
  }

  /** @param {{ connection: Connection, rooms: Set<string> }} replay */
  #endReplay({ connection, rooms }) {
    for (const room of this.#session.rooms) {
      if (this.#isLive(room) && !rooms.has(room)) this.#session.exit(room);
    }
    this.#onReplayed(connection, rooms);
  }

  /** Whether the client is in a room, and not about to return to it. @param {string} room */
  #isLive(room) {
    return this.#session.has(room) && this.holds.lost(room) === undefined;
  }

  /**
   * Reads from the history what the server left out, and delivers it before the events received since.
   *
   * @param {GapLine} gap
   * @param {Connection} connection
   */
  async #closeGap({ room, after, until, missed }, connection) {
    const hold = this.holds.hold(room, "gap");
    const { events, reason } = await this.#history.read(connection, room, after, () => until);
    // The connection was lost: the replay over the next one delivers everything. Or the client has left.
    if (this.holds.at(room) !== hold) return;
    const lines = this.holds.release(room);
    const filled = events.filter(({ id }) => id <= until);
    for (const event of filled) this.deliver(event);
    const recovered = reason === undefined;
    const gap = { room, missed, filled: filled.length, recovered };
    this.#listeners.emit({ type: "gap", ...gap, ...recovered ? {} : { reason } });
    // One of them may be the next gap: then those behind it are held again.
    for (const line of lines) this.receive(line, connection);
    this.#session.save();
  }
}
