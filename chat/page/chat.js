// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * Somebody's chat: the connection, the room and its people, direct messages, and what is said.
 *
 * The connection is the client's (client.js): coming back, saying once, the order are its business.
 * How the page around the conversations looks is page.js's.
 */
import { ChatClient } from "../client.js";
import { Kept } from "./dom.js";
import { Log } from "./log.js";

/** Direct messages that a tab keeps, of one person. */
const MOST_KEPT = 50;

/** @typedef {import("./log.js").Entry} Entry */
/** @typedef {import("../client.js").RoomEvent} RoomEvent */
/** @typedef {import("../client.js").ChatError} ChatError */

/** Not randomUUID: browsers have that only where the page came over HTTPS. */
function newId() {
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(36)).join("");
}

export class Chat {
  /** @type {string[]} */
  members = [];
  /** The room whose conversation is shown. @type {string | undefined} */
  room;
  /** @type {Log | undefined} */
  log;
  /** @type {Map<string, Log>} */
  directs = new Map();
  #kept = new Kept("sessionStorage");
  /** @type {Record<string, Entry[]>} */
  #said;
  /** Came while it was asked who is there. @type {RoomEvent[] | undefined} */
  #late;
  #cid = "";
  #on;

  /**
   * @param {{ nick: string, room?: string }} who
   * @param {{ logs: HTMLElement, changed(): void, edit(entry: Entry): void,
   *   entered(room: string | undefined): void, came(nick: string): void }} on
   */
  constructor(who, on) {
    this.#on = on;
    const { protocol, host } = location;
    this.client = new ChatClient(`${protocol === "https:" ? "wss" : "ws"}://${host}/ws`, {
      ...who,
      session: {
        load: () => this.#kept.get("session"),
        save: (session) => this.#kept.set("session", session),
      },
      ids: () => this.#cid,
    });
    this.#said = this.#kept.get("directs") ?? {};
    for (const nick of Object.keys(this.#said)) this.direct(nick);
    const { client } = this;
    for (const type of /** @type {const} */ (["message", "action", "joined", "left", "nick"])) {
      client.on(type, (event) => this.#happened(event));
    }
    client.on("direct", (event) => this.#told(event));
    client.on("resumed", ({ recovered, from }) => {
      if (!recovered) this.log?.gap(from);
    });
    client.on("state", ({ state }) => {
      if (state === "online") this.#cameOnline();
    });
  }

  /** How much nobody has read yet. */
  get unread() {
    const logs = [...this.directs.values(), ...this.log ? [this.log] : []];
    return logs.reduce((sum, { unread }) => sum + unread, 0);
  }

  /** Whether something would be lost with the page. */
  get isSending() {
    return [...this.directs.values()].some((log) => log.isSending) || this.log?.isSending === true;
  }

  /** The conversation with somebody. */
  direct(/** @type {string} */ nick) {
    const known = this.directs.get(this.#written(nick));
    if (known) return known;
    const log = this.#newLog(`Messages with ${nick}`, undefined);
    this.directs.set(nick, log);
    for (const entry of this.#said[nick] ?? []) log.add(entry);
    log.unread = 0;
    return log;
  }

  /** A nickname as it is written here already: its case does not matter. */
  #written(/** @type {string} */ nick) {
    const folded = nick.toLowerCase();
    return [...this.directs.keys()].find((each) => each.toLowerCase() === folded) ?? nick;
  }

  /**
   * Says something where it belongs; shown at once, as not sent yet.
   *
   * @param {"message" | "action"} kind
   * @param {string} text
   * @param {string} [to] one person
   */
  say(kind, text, to) {
    const log = to === undefined ? this.log : this.direct(to);
    if (!log) return;
    const cid = this.#cid = newId();
    log.send({ kind, nick: this.client.nick, text, time: Date.now(), cid });
    const said = to !== undefined
      ? this.client.tell(to, text)
      : kind === "action"
      ? this.client.act(text)
      : this.client.say(text);
    said.then(({ id }) => log.sent(cid, id), (/** @type {ChatError} */ { code, message }) => {
      // The page is being left.
      if (code === "closed") return;
      const why = code === "unknown"
        ? "The connection was lost: it may have been sent, or not."
        : `Not sent: ${message}`;
      log.failed(cid, why);
    });
  }

  /**
   * @param {string} label
   * @param {string | undefined} room
   */
  #newLog(label, room) {
    const ask = async (/** @type {{ before?: string, after?: string, limit: number }} */ which) => {
      if (room === undefined || this.client.room !== room) throw new Error("not in that room");
      const { events, more } = await this.client.history(which).catch((error) => {
        if (error.code !== "history-off") throw error;
        return { events: [], more: false };
      });
      const own = this.client.nick;
      const entries = events.map(({ type, ...said }) => (
        { kind: type, ...said, own: said.nick === own }
      ));
      return { entries, more };
    };
    const log = new Log({
      label,
      ask: room === undefined ? undefined : ask,
      again: ({ kind, text }) => {
        const to = [...this.directs].find(([, direct]) => direct === log)?.[0];
        this.say(kind === "action" ? "action" : "message", text, to);
      },
      edit: (entry) => this.#on.edit(entry),
      changed: () => this.#on.changed(),
    });
    this.#on.logs.append(log.element);
    return log;
  }

  /** @param {RoomEvent} event */
  #happened(event) {
    const { type, nick, room } = event;
    const { client } = this;
    if (type === "joined" && nick === client.nick) this.#enter(room);
    if (type === "left" && nick === client.nick && client.room === undefined) return this.#enter();
    if (room !== this.room) return;
    if (type === "message" || type === "action") {
      const { id, text, time, cid } = event;
      this.log?.add({ kind: type, id, nick, text, time, cid, own: nick === client.nick });
      return;
    }
    this.#late?.push(event);
    this.#moved(event);
    if (nick !== client.nick) {
      const text = type === "nick" ? `is now ${event.to}` : type;
      this.log?.add({ kind: "quiet", id: event.id, nick, text, time: event.time });
    }
    this.#on.changed();
  }

  /** Who is here now. @param {RoomEvent} event */
  #moved(event) {
    const { type, nick } = event;
    if (type === "joined" && !this.members.includes(nick)) this.members.push(nick);
    if (type === "left") this.members = this.members.filter((each) => each !== nick);
    if (type === "nick") {
      this.members = this.members.map((each) => each === nick ? event.to : each);
      this.#renamed(nick, event.to);
    }
  }

  /** A conversation goes on with whoever changed their nickname. */
  #renamed(/** @type {string} */ nick, /** @type {string} */ to) {
    const log = this.directs.get(nick);
    if (!log || this.directs.has(to)) return;
    this.directs.delete(nick);
    this.directs.set(to, log);
    this.#said[to] = this.#said[nick] ?? [];
    delete this.#said[nick];
    this.#on.came(to);
  }

  /** @param {import("../client.js").DirectEvent} event */
  #told({ id, nick, text, time, to, cid }) {
    // Who writes to themself is told once.
    if (to === undefined && nick === this.client.nick) return;
    const other = this.#written(to ?? nick);
    /** @type {Entry} */
    const entry = { kind: "message", id, nick, text, time, cid, own: to !== undefined };
    this.direct(other).add(entry);
    this.#said[other] = [...this.#said[other] ?? [], entry].slice(-MOST_KEPT);
    this.#kept.set("directs", this.#said);
    this.#on.changed();
  }

  /** The conversation of a room, or of none. @param {string} [room] */
  #enter(room) {
    if (room === this.room) return;
    this.log?.element.remove();
    this.room = room;
    this.members = [];
    this.log = room === undefined ? undefined : this.#newLog(`Messages in ${room}`, room);
    this.#on.entered(room);
    if (this.client.state === "online") this.#fill();
  }

  #cameOnline() {
    this.#enter(this.client.room);
    this.#fill();
    this.#on.changed();
  }

  #fill() {
    if (this.room === undefined) return;
    if (this.log?.isUnfilled) void this.log.older();
    void this.#ask();
  }

  /** Who is here: what happens while that is asked comes after the answer. */
  async #ask() {
    const late = this.#late = /** @type {RoomEvent[]} */ ([]);
    try {
      const { room, nicks } = await this.client.members();
      if (room !== this.room || late !== this.#late) return;
      this.members = nicks;
      for (const event of late) this.#moved(event);
    } catch {
      // Offline, or on the way elsewhere: it is asked again then.
    } finally {
      if (late === this.#late) this.#late = undefined;
    }
    this.#on.changed();
  }
}
