// @ts-check
/**
 * The public class of the client: its calls, and the life of its connection. `client.d.ts` documents
 * every public member; the JSDoc types below tie them to it.
 *
 * It draws nothing and keeps no list of messages or members. Calls that wait are lost with the page.
 */
import { Listeners } from "./listeners.js";
import { actsOf, idOf, listOf, userOf, welcomeEvent } from "./protocol.js";
import { Reconnector } from "./reconnector.js";
import { Conversation, noResult, Room, sendDirect } from "./room.js";
import { SessionState } from "./session.js";

/** @import { ChatClient as Api, ClientOptions, Clock, RoomReply, SessionInfo } from "./client.d.ts" */
/** @import { Line } from "./protocol.js" */
/** @import { PlaceParts } from "./room.js" */

/** The default of the limit of `events`. */
const MAX_UNREAD_EVENTS = 1_000;

/** @type {Clock} */
const SYSTEM_CLOCK = {
  now: () => Date.now(),
  monotonicMs: () => performance.now(),
  after(ms, run) {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
  jitter: () => Math.random(),
};

/** How often a place is told that the user writes. */
const TYPING_INTERVAL_MS = 3_000;

/** See `client.d.ts`. */
export class ChatClient {
  #clock;
  #session;
  #calls;
  #reconnector;
  #listeners = new Listeners();
  /** @type {PlaceParts} */
  #parts;
  /** When each place was last told that the user writes. @type {Map<string, number>} */
  #toldAt = new Map();

  /**
   * @param {string | URL} url
   * @param {ClientOptions} options
   */
  constructor(url, options) {
    const clock = this.#clock = options.clock ?? SYSTEM_CLOCK;
    const listeners = this.#listeners;
    const session = this.#session = new SessionState(options);
    this.#reconnector = new Reconnector(String(url), options, { clock, session, listeners });
    const calls = this.#calls = this.#reconnector.calls;
    const mayTell = this.#mayTell.bind(this);
    this.#parts = { session, calls, listeners, mayTell, newId: options.ids ?? randomId };
    this.#reconnector.connect();
  }

  /**
   * Whether it is time to tell a place that the user writes. If so, that counts.
   *
   * @param {string} place
   */
  #mayTell(place) {
    const nowMs = this.#clock.monotonicMs();
    const isSoon = nowMs - (this.#toldAt.get(place) ?? -Infinity) < TYPING_INTERVAL_MS;
    if (this.state !== "online" || isSoon) return false;
    this.#toldAt.set(place, nowMs);
    return true;
  }

  get user() {
    return this.#session.user;
  }

  get nick() {
    return this.#session.nick;
  }

  get registered() {
    return this.#session.registered;
  }

  /** @returns {readonly string[]} */
  get rooms() {
    return this.#session.rooms;
  }

  get state() {
    return this.#reconnector.state;
  }

  /** @type {Api["on"]} */
  on(type, listener) {
    return this.#listeners.add(type, listener);
  }

  /** @type {Api["events"]} */
  events({ limit = MAX_UNREAD_EVENTS } = {}) {
    return this.#listeners.iterate(limit);
  }

  /** @type {Api["join"]} */
  join(name) {
    const room = this.room(name);
    const request = { type: "join", room: name.normalize("NFC") };
    return this.#calls.add("move", request, () => room);
  }

  /** @type {Api["room"]} */
  room(name) {
    return new Room(this.#parts, name);
  }

  /** @type {Api["direct"]} */
  direct(user) {
    return new Conversation(this.#parts, user);
  }

  /** @type {Api["tell"]} */
  tell(nick, text) {
    return sendDirect(this.#parts, { to: nick }, text);
  }

  /** @type {Api["rename"]} */
  rename(nick) {
    return this.#rename({ type: "nick", nick: nick.trim().normalize("NFC") }, noResult);
  }

  /** @type {Api["setAway"]} */
  setAway(away) {
    return this.#calls.add("query", { type: "away", away }, noResult);
  }

  /** @type {Api["identify"]} */
  identify(nick, password) {
    const request = { type: "identify", nick: nick.trim().normalize("NFC"), password };
    return this.#rename(request, (reply) => {
      this.#remember(password);
      // A login is answered by a "welcome" instead, which has been told already.
      if (reply.type === "ok") this.#listeners.emit(welcomeEvent(reply));
    });
  }

  /** @type {Api["register"]} */
  register(password) {
    return this.#calls.add("query", { type: "register", password }, () => this.#remember(password));
  }

  /** @type {Api["changePassword"]} */
  changePassword(password, newPassword) {
    const request = { type: "password", password, new: newPassword };
    return this.#calls.add("query", request, ({ token }) => {
      // Older tokens end with the old password.
      if (token) this.#session.tokens = [String(token)];
      this.#remember(newPassword);
      this.#session.save();
    });
  }

  /** @type {Api["unregister"]} */
  unregister(password) {
    return this.#calls.add("query", { type: "unregister", password }, () => {
      this.#session.credentials = undefined;
    });
  }

  /** @type {Api["who"]} */
  who(nick) {
    return this.#calls.add("query", { type: "who", nick }, (reply) => ({
      ...userOf(reply),
      rooms: /** @type {string[]} */ (reply.rooms ?? []),
      online: reply.online === true,
    }));
  }

  /** @type {Api["list"]} */
  list() {
    return this.#calls.add(
      "query",
      { type: "rooms" },
      (reply) => /** @type {RoomReply[]} */ (/** @type {unknown[]} */ (listOf(reply, "rooms"))),
    );
  }

  /** @type {Api["sessions"]} */
  sessions() {
    return this.#calls.add(
      "query",
      { type: "sessions" },
      (
        reply,
      ) => /** @type {SessionInfo[]} */ (/** @type {unknown[]} */ (listOf(reply, "sessions"))),
    );
  }

  /** @type {Api["endSession"]} */
  endSession(session) {
    return this.#calls.add("query", { type: "end", session }, noResult);
  }

  /** @type {Api["ping"]} */
  ping() {
    const sentAtMs = this.#clock.monotonicMs();
    return this.#calls.add("query", { type: "ping" }, () => this.#clock.monotonicMs() - sentAtMs);
  }

  /** @type {Api["act"]} */
  act(name, ...[fields]) {
    return this.#calls.add("query", { ...fields, type: name }, idOf);
  }

  /** @type {Api["modlog"]} */
  modlog(query) {
    return this.#calls.add("query", { type: "modlog", ...query }, actsOf);
  }

  /** @type {Api["op"]} */
  op(secret) {
    return this.#calls.add("query", { type: "op", secret }, noResult);
  }

  /** @type {Api["ignore"]} */
  ignore(user) {
    return this.#calls.add("query", { type: "ignore", ...user }, userOf);
  }

  /** @type {Api["unignore"]} */
  unignore(user) {
    return this.#calls.add("query", { type: "unignore", ...user }, userOf);
  }

  /** @type {Api["ignored"]} */
  ignored() {
    return this.#calls.add(
      "query",
      { type: "ignored" },
      (reply) => listOf(reply, "users").map(userOf),
    );
  }

  /** @type {Api["retryNow"]} */
  retryNow() {
    this.#reconnector.retryNow();
  }

  /** @type {Api["close"]} */
  close() {
    return this.#reconnector.close();
  }

  /** @type {Api["detach"]} */
  detach() {
    return this.#reconnector.detach();
  }

  /**
   * @template T
   * @param {Line} request
   * @param {(reply: Line) => T} pick
   * @returns {Promise<T>}
   */
  #rename(request, pick) {
    const renamed = this.#calls.add("move", request, pick);
    this.#reconnector.nickChosen();
    return renamed;
  }

  /** Keeps the password of the present nickname. @param {string} password */
  #remember(password) {
    this.#session.credentials = { nick: this.nick, password };
  }
}

/** Not randomUUID: browsers have that only on pages served over HTTPS. */
function randomId() {
  return crypto.getRandomValues(new Uint32Array(4)).join("-");
}
