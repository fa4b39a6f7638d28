// @ts-check
/**
 * Reads from the history what the client was not sent: one room at a time, page by page, as fast as the
 * server allows. It delivers nothing.
 */
import { RETRY_DELAY_MS } from "./call.js";
import { ChatError, eventsOf, isTemporary } from "./protocol.js";

/** @import { ActionEvent, DirectEvent, RoomMessageEvent } from "./client.d.ts" */
/** @import { Connection } from "./connection.js" */
/** @import { Line } from "./protocol.js" */

/** Pages of 100 messages that are read at once from one room. */
const MAX_PAGES = 10;
/** How often the pages are asked for while the server rejects the request as too fast or unavailable. */
const MAX_ATTEMPTS = 5;

/** The messages of a room after an ID. `reason` says why some may be missing; without it none is.
 * @typedef {{ events: Message[], reason?: string }} ReadResult */
/** @typedef {RoomMessageEvent | ActionEvent} Message */

/** Reads the histories of rooms. */
export class HistoryReader {
  /** The reading that ends last over each connection. At the same time, the readings would use up the
   * rate limit for each other.
   * @type {WeakMap<Connection, Promise<unknown>>} */
  #last = new WeakMap();

  /**
   * Reads the messages of a room after an ID, up to another one, which the last page may pass. It never
   * resolves if the connection ends while it waits.
   *
   * @param {Connection} connection
   * @param {string} room
   * @param {string} after
   * @param {() => string | undefined} until - `undefined`: up to the newest
   * @returns {Promise<ReadResult>}
   */
  read(connection, room, after, until) {
    const before = this.#last.get(connection) ?? Promise.resolve();
    const reading = before.then(() => readPages(connection, room, after, until));
    this.#last.set(connection, reading);
    return reading;
  }
}

/**
 * @param {Connection} connection
 * @param {string} room
 * @param {string} after
 * @param {() => string | undefined} until
 * @returns {Promise<ReadResult>}
 */
async function readPages(connection, room, after, until) {
  /** @type {Message[]} */
  const events = [];
  /** @type {string | undefined} */
  let reason;
  let attempts = 0;
  for (let page = 0; page < MAX_PAGES; page++) {
    let reply = await connection.ask({ type: "history", room, after, limit: 100 });
    while (isBusy(reply) && ++attempts < MAX_ATTEMPTS) {
      await connection.wait(reply.retryAfter || RETRY_DELAY_MS);
      reply = await connection.ask({ type: "history", room, after, limit: 100 });
    }
    const messages = messagesOf(reply, room);
    if (messages === undefined) return { events, reason: failureOf(reply) };
    events.push(...messages);
    const { more, complete } = /** @type {Line} */ (reply);
    if (complete !== true) reason = "expired";
    const last = messages.at(-1)?.id;
    if (more !== true || last === undefined) return { events, reason };
    const end = until();
    if (end !== undefined && last >= end) return { events, reason };
    after = last;
  }
  return { events, reason: "too-many" };
}

/**
 * Whether the same request may succeed later over the same connection.
 *
 * @param {Line | ChatError} reply
 * @returns {reply is ChatError}
 */
function isBusy(reply) {
  return reply instanceof ChatError && isTemporary(reply) && reply.code !== "offline";
}

/** @param {Line | ChatError} reply */
function failureOf(reply) {
  return reply instanceof ChatError && reply.code === "history-off" ? "history-off" : "unavailable";
}

/**
 * Returns the messages of a page; `undefined` if it is none.
 *
 * @param {Line | ChatError} reply
 * @param {string} room
 */
function messagesOf(reply, room) {
  if (reply instanceof ChatError || !Array.isArray(reply.events)) return undefined;
  const messages = /** @type {Message[]} */ (eventsOf(reply));
  return messages.filter((message) => message.room === room);
}
