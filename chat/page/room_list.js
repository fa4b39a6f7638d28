// @ts-check
/// <reference lib="dom" />
/** The list of the rooms that have members. The page asks for it again and again while the user looks. */

/** @import { ChatClient, RoomReply } from "../client/client.js" */

/** Milliseconds between two requests, and after an event that may change the list. */
const INTERVAL_MS = 8_000, DELAY_MS = 400;

/** The list of rooms. */
export class RoomList {
  /** The rooms, as last told. @type {RoomReply[]} */
  rooms = [];
  #client;
  #changed;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * @param {() => ChatClient | undefined} client
   * @param {() => void} changed
   */
  constructor(client, changed) {
    this.#client = client;
    this.#changed = changed;
  }

  /** Loads the list in a moment: it may have changed. */
  loadSoon() {
    this.#loadAfter(DELAY_MS);
  }

  async #load() {
    this.#loadAfter(INTERVAL_MS);
    const client = this.#client();
    if (document.hidden || client?.state !== "online") return;
    this.rooms = await client.list().catch(() => this.rooms);
    this.#changed();
  }

  #loadAfter(/** @type {number} */ ms) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#load(), ms);
  }
}
