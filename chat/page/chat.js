// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * The user's chat: the client, the room with its members, the direct messages, and their logs.
 *
 * The client reconnects, orders events and avoids duplicates (client/). The page around the logs is
 * page.js's.
 */
import { ChatClient } from "../client/client.js";
import { tabStorage, ui } from "./dom.js";
import { Log } from "./log.js";

/** @import { ChatError, ChatEvent, DirectEvent, RoomEvent, StateEvent } from "../client/client.js" */
/** @import { GapEvent, ResumedEvent } from "../client/client.js" */
/** @import { Entry } from "./entry.js" */
/** @import { LoadPage } from "./log.js" */

/**
 * - `changed`: something that the page shows has changed.
 * - `edit`: the user wants to edit a failed message.
 * - `entered`: the user is in another room, or in none.
 *
 * @typedef {object} ChatListener
 * @property {() => void} changed
 * @property {(entry: Entry) => void} edit
 * @property {(room?: string) => void} entered
 */

/** The user's chat. */
export class Chat {
  /** The members of the room. A new array for each change. @type {string[]} */
  members = [];
  /** @type {string | undefined} */
  room;
  /** The log of the room. @type {Log | undefined} */
  log;
  /** The other user, while direct messages are shown. @type {string | undefined} */
  to;
  /** The logs of direct messages by nickname. @type {Map<string, Log>} */
  directs = new Map();
  /** The events that arrived while the members are being loaded. @type {RoomEvent[] | undefined} */
  #duringLoad;
  #lastCid = "";
  #listener;

  /**
   * @param {{ nick: string, room?: string, access: string }} login
   * @param {ChatListener} listener
   */
  constructor(login, listener) {
    this.#listener = listener;
    this.client = new ChatClient(new URL("/ws", location.href.replace("http", "ws")), {
      ...login,
      session: {
        load: () => tabStorage.get("session"),
        save: (session) => tabStorage.set("session", session),
      },
      // Not randomUUID: browsers have that only on pages served over HTTPS.
      ids: () => this.#lastCid = crypto.getRandomValues(new Uint32Array(4)).join("-"),
    });
    for (const [nick, entries] of tabStorage.get("directs") ?? []) {
      const log = this.direct(nick);
      for (const entry of entries) log.add(entry);
      log.unread = 0;
    }
    this.client.on("*", (event) => this.#event(event));
  }

  /** The log that the page shows. */
  get shown() {
    return this.to === undefined ? this.log : this.direct(this.to);
  }

  /** All logs. */
  get logs() {
    return [...this.directs.values(), ...this.log ? [this.log] : []];
  }

  /** Returns the log of the direct messages with a user. */
  direct(/** @type {string} */ nick) {
    // Nicknames that differ in case only are one user's.
    const lowerCase = nick.toLowerCase();
    const known = [...this.directs].find(([each]) => each.toLowerCase() === lowerCase);
    if (known) return known[1];
    const log = this.#newLog(`Messages with ${nick}`);
    this.directs.set(nick, log);
    return log;
  }

  /**
   * Posts to the room, or to the user `to`. The log shows the message at once, as being sent.
   *
   * @param {"message" | "action"} type
   * @param {string} text
   * @param {string} [to]
   */
  post(type, text, to) {
    const { client } = this;
    const log = to === undefined ? this.log : this.direct(to);
    const posted = to !== undefined
      ? client.tell(to, text)
      : type === "action"
      ? client.act(text)
      : client.say(text);
    // The client has just asked for it.
    const cid = this.#lastCid;
    log?.send({ type, nick: client.nick, text, time: Date.now(), own: true, cid });
    posted.then(() => log?.sent(cid), (/** @type {ChatError} */ error) => {
      // The user is leaving the page.
      if (error.code !== "closed") log?.failed(cid, failureOf(error, to));
    });
  }

  /** @param {ChatEvent} event */
  #event(event) {
    switch (event.type) {
      case "message":
      case "action":
      case "joined":
      case "left":
      case "nick":
        return this.#roomEvent(event);
      case "direct":
        return this.#directEvent(event);
      case "gap":
        return this.#gap(event);
      case "resumed":
        return this.#resumed(event);
      case "state":
        return this.#stateChanged(event);
      case "error": // page.js shows errors.
      case "unknown":
        return;
      default:
        return /** @satisfies {never} */ (event);
    }
  }

  /**
   * @param {string} label
   * @param {LoadPage} [loadPage]
   */
  #newLog(label, loadPage) {
    /** @type {Log} */
    const log = new Log(label, {
      changed: this.#listener.changed,
      edit: this.#listener.edit,
      retry: ({ type, text }) => {
        const [to] = [...this.directs].find(([, direct]) => direct === log) ?? [];
        this.post(type === "action" ? "action" : "message", text, to);
      },
    }, loadPage);
    ui.logs.append(log.element);
    return log;
  }

  /** @param {RoomEvent} event */
  #roomEvent(event) {
    const { client } = this;
    const { id, type, nick, room, time } = event;
    const own = nick === client.nick;
    if (own && type === "joined") this.#enter(room);
    if (own && type === "left" && client.room === undefined) return this.#enter();
    if (room !== this.room) return;
    if (type === "message" || type === "action") return this.log?.add({ ...event, own });
    this.#duringLoad?.push(event);
    this.#updateMembers(event);
    const text = type === "nick" ? `is now ${event.to}` : type;
    if (!own) this.log?.add({ id, type: "membership", nick, text, time });
    this.#listener.changed();
  }

  /** @param {RoomEvent} event */
  #updateMembers(event) {
    const { nick } = event;
    switch (event.type) {
      case "joined":
        this.members = [...this.members.filter((each) => each !== nick), nick];
        return;
      case "left":
        this.members = this.members.filter((each) => each !== nick);
        return;
      case "nick":
        this.members = this.members.map((each) => each === nick ? event.to : each);
        return;
      case "message":
      case "action":
        return;
      default:
        return /** @satisfies {never} */ (event);
    }
  }

  /** @param {DirectEvent} event */
  #directEvent(event) {
    const { nick, to } = event;
    // A message to oneself arrives twice.
    if (to === undefined && nick === this.client.nick) return;
    this.direct(to ?? nick).add({ ...event, type: "message", own: to !== undefined });
    // The server does not replay messages that were delivered: the browser keeps them for a reload.
    tabStorage.set("directs", [...this.directs].map(([nick, { newest }]) => [nick, newest]));
  }

  /** @param {GapEvent} event */
  #gap({ room, recovered }) {
    if (room !== this.room) return;
    if (!recovered) this.log?.markGap(undefined);
    this.#loadMembers();
  }

  /** @param {ResumedEvent} event */
  #resumed({ recovered, reason, from }) {
    if (recovered) return;
    if (reason === "forgotten") { for (const log of this.logs) log.forgetIds(); }
    this.log?.markGap(from);
  }

  /** @param {StateEvent} event */
  #stateChanged({ state }) {
    if (state !== "online") return;
    this.#enter(this.client.room);
    this.#loadMembers();
  }

  /** Opens the log of a room, or of none. @param {string} [room] */
  #enter(room) {
    if (room === this.room) return;
    this.log?.element.remove();
    this.room = room;
    this.members = [];
    this.log = room === undefined
      ? undefined
      : this.#newLog(`Messages in ${room}`, async (query) => {
        const { client } = this;
        const { events, more } = await client.history({ room, ...query });
        const entries = events.map((event) => ({ ...event, own: event.nick === client.nick }));
        return { entries, more };
      });
    this.#listener.entered(room);
    if (this.client.state === "online") this.#loadMembers();
  }

  /** Loads the members, and applies the events that arrive meanwhile to the reply. */
  async #loadMembers() {
    const { room, log } = this;
    if (!log) return;
    log.scrolled();
    const events = this.#duringLoad = /** @type {RoomEvent[]} */ ([]);
    const reply = await this.client.members().catch(() => undefined);
    // Offline, or in another room by now: a later call loads them.
    if (!reply || events !== this.#duringLoad || room !== this.room) return;
    this.members = reply.nicks;
    for (const event of events) this.#updateMembers(event);
    this.#duringLoad = undefined;
    this.#listener.changed();
  }
}

/**
 * Says why a message was not sent.
 *
 * @param {ChatError} error
 * @param {string | undefined} to
 */
function failureOf({ code, message }, to) {
  if (code === "unknown") return "Connection lost. This may not have been delivered.";
  if (code === "not-online") return `${to} is offline. Messages to offline users are not stored.`;
  return `Not sent: ${message.replace(/^(Not sent|Cannot send): /, "")}`;
}
