// @ts-check
/**
 * Puts incoming events into one order and delivers each of them once: during a replay, after a login,
 * and where the server left events out because the connection was slow.
 */
import { RETRY_DELAY_MS } from "./calls.js";
import { ChatError, errorOf, isReply, isRoomText, isServerEvent, isTemporary } from "./protocol.js";

/** @import { ActionEvent, DirectEvent, RoomEvent, RoomMessageEvent } from "./client.d.ts" */
/** @import { CallQueue } from "./calls.js" */
/** @import { Connection } from "./connection.js" */
/** @import { Listeners } from "./listeners.js" */
/** @import { GapLine, Line, ResumedLine } from "./protocol.js" */
/** @import { SessionState } from "./session.js" */

/** Pages of 100 messages that are read from the history to close one gap. */
const MAX_PAGES = 10;
/** How often a page is asked for while the server rejects the request as too fast or unavailable. */
const MAX_PAGE_ATTEMPTS = 5;

/** Receives the events of a client and delivers them to its listeners. */
export class Inbox {
  /** The room events received since a login, until the room's missed events are delivered.
   * @type {Line[] | undefined} */
  #held;
  /** The room events received while missed messages are read from the history.
   * @type {Line[] | undefined} */
  #heldByGap;
  /** The replay that the server is sending, and the room in which it ends.
   * @type {{ connection: Connection, room: string | undefined } | undefined} */
  #replay;
  #session;
  #calls;
  #listeners;
  #onReplayed;

  /**
   * @param {SessionState} session
   * @param {CallQueue} calls
   * @param {Listeners} listeners
   * @param {(connection: Connection) => void} onReplayed - a replay over a connection is complete
   */
  constructor(session, calls, listeners, onReplayed) {
    this.#session = session;
    this.#calls = calls;
    this.#listeners = listeners;
    this.#onReplayed = onReplayed;
  }

  /** Whether room events are held back. */
  get isHolding() {
    return this.#held !== undefined;
  }

  /** Holds room events back until `release`. Drops those that are held already. */
  hold() {
    this.#held = [];
  }

  /** Returns the events that were held back, and holds no more. */
  release() {
    const held = this.#held ?? [];
    this.#held = undefined;
    return held;
  }

  /**
   * Expects a replay, after which the client is in a room.
   *
   * @param {Connection} connection
   * @param {string | undefined} room
   */
  expectReplay(connection, room) {
    this.#replay = { connection, room };
  }

  /** Forgets what belonged to the connection: the next replay delivers all that followed. */
  connectionLost() {
    this.#heldByGap = undefined;
    this.#replay = undefined;
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
    const held = this.#held ?? this.#heldByGap;
    switch (line.type) {
      case "message":
      case "action":
      case "joined":
      case "left":
      case "nick":
        return held ? void held.push(line) : this.deliver(line);
      case "gap":
        return held ? void held.push(line) : void this.#closeGap(line, connection);
      case "direct":
        return this.#deliverDirect(line);
      case "resumed":
        // After a login the client reports the end itself.
        return this.#held ? undefined : this.#replayed(line);
      case "error":
        return this.#listeners.report(errorOf(line));
      default:
        return /** @satisfies {never} */ (line);
    }
  }

  /**
   * Delivers a room event, unless it was delivered before.
   *
   * @param {RoomEvent} event
   */
  deliver(event) {
    const session = this.#session;
    const { room, last } = session.position;
    const isOwn = event.nick === session.nick;
    if (event.room === room) {
      if (last !== undefined && event.id <= last) return;
      const hasLeft = isOwn && event.type === "left";
      session.position = { room: hasLeft ? undefined : room, last: event.id };
    } else if (
      isOwn && event.type === "joined" || this.#replay && event.room === this.#replay.room
    ) {
      session.position = { room: event.room, last: event.id };
    }
    if (isOwn && event.type === "nick") session.nick = event.to;
    if (isOwn) this.#calls.delivered(event);
    this.#listeners.emit(event);
  }

  /** @param {DirectEvent} event */
  #deliverDirect(event) {
    const way = event.to === undefined ? "received" : "sent";
    if (event.id <= (this.#session.direct[way] ?? "")) return;
    this.#session.direct = { ...this.#session.direct, [way]: event.id };
    if (way === "sent") this.#calls.delivered(event);
    this.#listeners.emit(event);
  }

  /** @param {ResumedLine} line */
  #replayed(line) {
    const replay = this.#replay;
    if (replay === undefined) return;
    this.#replay = undefined;
    const { position } = this.#session;
    if (position.room !== replay.room) {
      this.#session.position = { room: replay.room, last: undefined };
    }
    // The server remembers which messages it got, unless the client was away for too long.
    if (!line.recovered && line.reason === "expired") this.#calls.rejectSentPosts();
    this.#listeners.emit(line);
    this.#onReplayed(replay.connection);
  }

  /**
   * Reads from the history what the server left out, and delivers it before the events received since.
   *
   * @param {GapLine} gap
   * @param {Connection} connection
   */
  async #closeGap({ room, after, until, missed }, connection) {
    const held = this.#heldByGap = /** @type {Line[]} */ ([]);
    const { events, reason } = room === this.#session.position.room
      ? await readGap(connection, { room, after, until })
      : { events: [], reason: "unavailable" };
    // The connection was lost: the replay over the next one delivers everything.
    if (this.#heldByGap !== held) return;
    this.#heldByGap = undefined;
    for (const event of events) this.deliver(event);
    this.#listeners.emit({
      type: "gap",
      room,
      missed,
      filled: events.length,
      recovered: reason === undefined,
      reason,
    });
    // One of them may be the next gap: then those behind it are held again.
    for (const line of held) this.receive(line, connection);
    this.#session.save();
  }
}

/**
 * Reads the messages after one ID and up to another, that one included. `reason` says why some may be
 * missing.
 *
 * @param {Connection} connection
 * @param {{ room: string, after: string, until: string }} range
 */
async function readGap(connection, { room, after, until }) {
  let attempts = 0;
  const { events, failure } = await readPages(after, until, async (after) => {
    while (true) {
      const reply = await connection.ask({ type: "history", room, after, limit: 100 });
      if (!(reply instanceof ChatError)) return reply;
      if (!isTemporary(reply) || reply.code === "offline") return reply;
      if (++attempts === MAX_PAGE_ATTEMPTS) return reply;
      await connection.wait(reply.retryAfter || RETRY_DELAY_MS);
    }
  });
  const reason = failure instanceof ChatError
    ? failure.code === "history-off" ? "history-off" : "unavailable"
    : failure;
  return { events: events.filter(({ id }) => id <= until), reason };
}

/**
 * Reads the messages after an ID and before another from the client's room, as far as they are kept.
 *
 * @param {Connection} connection
 * @param {string} after
 * @param {string} until
 * @throws {ChatError} if a later attempt may succeed
 */
export async function readMissed(connection, after, until) {
  const { events, failure } = await readPages(
    after,
    until,
    (after) => connection.ask({ type: "history", after, limit: 100 }),
  );
  if (failure instanceof ChatError && isTemporary(failure)) throw failure;
  const reason = failure instanceof ChatError
    ? failure.code === "history-off" ? "history-off" : "expired"
    : failure ?? "expired";
  return { events: events.filter(({ id }) => id < until), reason };
}

/**
 * Reads pages of messages until one reaches the ID `until`, which it may pass. `failure` is the error
 * that ended it, or `too-many`.
 *
 * @param {string} after
 * @param {string} until
 * @param {(after: string) => Promise<Line | ChatError>} readPage
 * @returns {Promise<{ events: (RoomMessageEvent | ActionEvent)[], failure?: ChatError | "too-many" }>}
 */
async function readPages(after, until, readPage) {
  /** @type {(RoomMessageEvent | ActionEvent)[]} */
  const events = [];
  for (let page = 0; page < MAX_PAGES; page++) {
    const reply = await readPage(after);
    if (reply instanceof ChatError) return { events, failure: reply };
    const texts = /** @type {Line[]} */ (reply.events).filter(isRoomText);
    events.push(...texts);
    after = texts.at(-1)?.id ?? until;
    if (reply.more !== true || after >= until) return { events };
  }
  return { events, failure: "too-many" };
}
