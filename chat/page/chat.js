// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * Somebody's chat: the connection, the room and its people, direct messages, and what is said.
 *
 * The connection is the client's (client.js): coming back, saying once, the order are its business.
 * How the page around the conversations looks is page.js's.
 */
import { ChatClient } from "../client/client.js";
import { tab, ui } from "./dom.js";
import { Log } from "./log.js";

/** @typedef {import("./log.js").Entry} Entry */
/** @typedef {import("../client/client.js").RoomEvent} RoomEvent */
/** @typedef {import("../client/client.js").ChatError} ChatError */

export class Chat {
  /** Who is in the room: another list when it changes. @type {string[]} */
  members = [];
  /** The room that one is in. @type {string | undefined} */
  room;
  /** Its conversation. @type {Log | undefined} */
  log;
  /** With whom one talks alone, if that is what is shown. @type {string | undefined} */
  to;
  /** @type {Map<string, Log>} */
  directs = new Map();
  /** What happened while it is asked who is here. @type {RoomEvent[] | undefined} */
  #late;
  #cid = "";
  #on;

  /**
   * @param {{ nick: string, room?: string, access: string }} who
   * @param {{ changed(): void, edit(entry: Entry): void, entered(room?: string): void }} on
   */
  constructor(who, on) {
    this.#on = on;
    const client = this.client = new ChatClient(
      new URL("/ws", location.href.replace("http", "ws")),
      {
        ...who,
        session: {
          load: () => tab.get("session"),
          save: (session) => tab.set("session", session),
        },
        // Not randomUUID: browsers have that only where the page came over HTTPS.
        ids: () => this.#cid = crypto.getRandomValues(new Uint32Array(4)).join("-"),
      },
    );
    for (const [nick, said] of tab.get("directs") ?? []) {
      const log = this.direct(nick);
      for (const entry of said) log.add(entry);
      log.unread = 0;
    }
    client.on("*", (event) => {
      const { type } = event;
      if (type === "direct") this.#told(event);
      else if (type === "gap") {
        if (event.room !== this.room) return;
        if (!event.recovered) this.log?.gap(undefined);
        this.#fill();
      } else if ("room" in event) this.#happened(event);
      else if (type === "resumed" && !event.recovered) {
        if (event.reason === "forgotten") { for (const log of this.logs) log.forgetIds(); }
        this.log?.gap(event.from);
      } else if (type === "state" && event.state === "online") {
        this.#enter(client.room);
        this.#fill();
      }
    });
  }

  /** The conversation that is shown. */
  get shown() {
    return this.to === undefined ? this.log : this.direct(this.to);
  }

  /** All conversations. */
  get logs() {
    return [...this.directs.values(), ...this.log ? [this.log] : []];
  }

  /** The conversation with somebody. */
  direct(/** @type {string} */ nick) {
    // The case of a nickname does not matter.
    const folded = nick.toLowerCase();
    const known = [...this.directs].find(([each]) => each.toLowerCase() === folded);
    if (known) return known[1];
    const log = this.#newLog(`Messages with ${nick}`);
    this.directs.set(nick, log);
    return log;
  }

  /**
   * Says something where it belongs; shown at once, as not sent yet.
   *
   * @param {"message" | "action"} type
   * @param {string} text
   * @param {string} [to] one person
   */
  say(type, text, to) {
    const { client } = this;
    const log = to === undefined ? this.log : this.direct(to);
    const said = to !== undefined
      ? client.tell(to, text)
      : type === "action"
      ? client.act(text)
      : client.say(text);
    const cid = this.#cid;
    log?.send({ type, nick: client.nick, text, time: Date.now(), own: true, cid });
    said.then(() => log?.sent(cid), (/** @type {ChatError} */ { code, message }) => {
      // The page is being left.
      if (code === "closed") return;
      const why = code === "unknown"
        ? "The connection was lost: it may have been sent, or not."
        : `Not sent: ${message.replace(/^Not sent: /, "")}`;
      log?.failed(cid, why);
    });
  }

  /**
   * @param {string} label
   * @param {import("./log.js").Ask} [ask]
   */
  #newLog(label, ask) {
    /** @type {Log} */
    const log = new Log(label, {
      ...this.#on,
      again: ({ type, text }) => {
        const [to] = [...this.directs].find(([, direct]) => direct === log) ?? [];
        this.say(type === "action" ? type : "message", text, to);
      },
    }, ask);
    ui.logs.append(log.element);
    return log;
  }

  /** @param {RoomEvent & { text?: string }} event */
  #happened(event) {
    const { id, type, nick, room, time } = event;
    const { client } = this;
    const own = nick === client.nick;
    if (own && type === "joined") this.#enter(room);
    if (own && type === "left" && client.room === undefined) return this.#enter();
    if (room !== this.room) return;
    if (type === "message" || type === "action") return this.log?.add({ ...event, own });
    this.#late?.push(event);
    this.#moved(event);
    const text = type === "nick" ? `is now ${event.to}` : type;
    if (!own) this.log?.add({ id, type: "quiet", nick, text, time });
    this.#on.changed();
  }

  /** Who is here now. @param {RoomEvent} event */
  #moved(event) {
    const { type, nick } = event;
    const others = this.members.filter((each) => each !== nick);
    if (type === "joined") this.members = [...others, nick];
    if (type === "left") this.members = others;
    if (type === "nick") this.members = this.members.map((each) => each === nick ? event.to : each);
  }

  /** @param {import("../client/client.js").DirectEvent} event */
  #told(event) {
    const { nick, to } = event;
    // Who writes to themself is told once.
    if (to === undefined && nick === this.client.nick) return;
    this.direct(to ?? nick).add({ ...event, type: "message", own: to !== undefined });
    // The server gives none that were seen: until the tab is closed, the browser keeps them.
    tab.set("directs", [...this.directs].map(([nick, { said }]) => [nick, said]));
  }

  /** The conversation of a room, or of none. @param {string} [room] */
  #enter(room) {
    if (room === this.room) return;
    this.log?.element.remove();
    this.room = room;
    this.members = [];
    this.log = room === undefined
      ? undefined
      : this.#newLog(`Messages in ${room}`, async (which) => {
        const { client } = this;
        const { events, more } = await client.history({ room, ...which });
        const entries = events.map((event) => ({ ...event, own: event.nick === client.nick }));
        return { entries, more };
      });
    this.#on.entered(room);
    if (this.client.state === "online") this.#fill();
  }

  /** What was said, and who is here: what happens while that is asked comes after the answer. */
  async #fill() {
    const { room, log } = this;
    if (!log) return;
    log.scrolled();
    const late = this.#late = /** @type {RoomEvent[]} */ ([]);
    const { nicks } = await this.client.members().catch(() => ({ nicks: undefined }));
    // Offline, or elsewhere by now: it is asked again then.
    if (!nicks || late !== this.#late || room !== this.room) return;
    this.members = nicks;
    for (const event of late) this.#moved(event);
    this.#late = undefined;
    this.#on.changed();
  }
}
