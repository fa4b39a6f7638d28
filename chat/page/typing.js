// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/** Shows who writes in the conversation that is shown. Screen readers are not told: it changes all the time. */
import { nickname, ui } from "./dom.js";

/** @import { ChatClient, TypingEvent } from "../client/client.js" */

/** Milliseconds after which a user who is not told of again does not write any more. */
const LASTING_MS = 5_000;
/** Users that are named. */
const MAX_NAMED = 2;

/** Who writes where. */
export class Typing {
  /** The nicknames of those who write, by place and user, each with a timer that ends it.
   * @type {Map<string, Map<string, { nick: string, timer: ReturnType<typeof setTimeout> }>>} */
  #places = new Map();
  #shown = "";

  /** Follows what a client tells. @param {ChatClient} client */
  listen(client) {
    client.on("typing", (event) => this.#add(event));
    for (const type of /** @type {const} */ (["message", "action", "left"])) {
      client.on(type, ({ room, user }) => this.#remove(room, user));
    }
    client.on("direct", ({ user }) => this.#remove(undefined, user));
  }

  /** Notes that a user writes in a room, or to this user. @param {TypingEvent} event */
  #add({ room, user, nick }) {
    const place = placeOf(room, user);
    const users = this.#places.get(place) ?? new Map();
    this.#places.set(place, users);
    clearTimeout(users.get(user)?.timer);
    users.set(user, { nick, timer: setTimeout(() => this.#remove(room, user), LASTING_MS) });
    this.#draw();
  }

  /**
   * Notes that a user does not write any more, because the message has arrived.
   *
   * @param {string | undefined} room
   * @param {string} user
   */
  #remove(room, user) {
    const place = placeOf(room, user);
    const users = this.#places.get(place);
    clearTimeout(users?.get(user)?.timer);
    if (!users?.delete(user)) return;
    if (users.size === 0) this.#places.delete(place);
    this.#draw();
  }

  /** Shows those who write in a conversation. @param {{ room?: string, user?: string }} destination */
  show({ room, user = "" }) {
    this.#shown = placeOf(room, user);
    this.#draw();
  }

  #draw() {
    const nicks = [...this.#places.get(this.#shown)?.values() ?? []].map(({ nick }) => nick);
    const [one = "", other = ""] = nicks;
    if (nicks.length === 0) ui.typing.replaceChildren();
    else if (nicks.length > MAX_NAMED) ui.typing.replaceChildren("Several people are typing…");
    else if (nicks.length === 1) ui.typing.replaceChildren(nickname(one), " is typing…");
    else ui.typing.replaceChildren(nickname(one), " and ", nickname(other), " are typing…");
  }
}

/**
 * @param {string | undefined} room
 * @param {string} user
 */
function placeOf(room, user) {
  return room === undefined ? `=${user}` : `#${room}`;
}
