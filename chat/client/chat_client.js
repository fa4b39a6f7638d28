// @ts-check
/**
 * The public class of the client: its calls, and the life of its connection. `client.d.ts` documents
 * every public member; the JSDoc types below tie them to it.
 *
 * It draws nothing and keeps no list of messages or members. Calls that wait are lost with the page.
 */
import { Backoff } from "./backoff.js";
import { CallQueue } from "./calls.js";
import { Connection } from "./connection.js";
import { Handshake } from "./handshake.js";
import { Inbox } from "./inbox.js";
import { Listeners } from "./listeners.js";
import { ABANDONED, ChatError, idOf, PROTOCOL, TAKEN_OVER } from "./protocol.js";
import { SessionState } from "./session.js";

/** @import { ChatClient as Api, ClientOptions, Clock, HistoryReply, MembersReply } from "./client.d.ts" */
/** @import { RoomReply, StateEvent } from "./client.d.ts" */
/** @import { Line } from "./protocol.js" */

/** The default of `outbox`. */
const MAX_CALLS = 256;
/** The default of the limit of `events`. */
const MAX_UNREAD_EVENTS = 1_000;
/** How long `retryNow` waits for a sign that the connection still works. */
const RETRY_NOW_PONG_TIMEOUT_MS = 5_000;

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

/** See `client.d.ts`. */
export class ChatClient {
  #url;
  #protocols;
  #openSocket;
  #clock;
  #newId;
  #session;
  #calls;
  #inbox;
  #handshake;
  #backoff;
  #listeners = new Listeners();
  /** @type {StateEvent} */
  #state = { type: "state", state: "connecting" };
  /** @type {Connection | undefined} */
  #connection;
  #cancelRetry = () => {};

  /**
   * @param {string | URL} url
   * @param {ClientOptions} options
   */
  constructor(url, options) {
    this.#url = String(url);
    this.#protocols = protocolsFor(options.access);
    this.#openSocket = options.connect ?? ((url, protocols) => new WebSocket(url, protocols));
    this.#clock = options.clock ?? SYSTEM_CLOCK;
    this.#newId = options.ids ?? randomId;
    this.#session = new SessionState(options);
    this.#calls = new CallQueue(this.#clock, options.outbox ?? MAX_CALLS, (nick) => {
      this.#session.nick = nick;
    });
    this.#backoff = new Backoff(this.#clock);
    this.#inbox = new Inbox(
      this.#session,
      this.#calls,
      this.#listeners,
      (connection) => this.#online(connection),
    );
    this.#handshake = new Handshake({
      session: this.#session,
      calls: this.#calls,
      inbox: this.#inbox,
      listeners: this.#listeners,
      clock: this.#clock,
    }, {
      online: (connection) => this.#online(connection),
      refused: (connection, error) => this.#refused(connection, error),
      failed: (connection, error) => this.#failed(connection, error),
    });
    this.#connect();
  }

  get nick() {
    return this.#session.nick;
  }

  get room() {
    return this.#session.position.room;
  }

  get state() {
    return this.#state.state;
  }

  /** @type {Api["on"]} */
  on(type, listener) {
    return this.#listeners.add(type, listener);
  }

  /** @type {Api["events"]} */
  events({ limit = MAX_UNREAD_EVENTS } = {}) {
    return this.#listeners.iterate(limit);
  }

  /** @type {Api["say"]} */
  say(text) {
    return this.#calls.add("post", { type: "message", text, ...this.#destination() }, idOf);
  }

  /** @type {Api["act"]} */
  act(text) {
    return this.#calls.add("post", { type: "action", text, ...this.#destination() }, idOf);
  }

  /** @type {Api["tell"]} */
  tell(nick, text) {
    const request = { type: "direct", to: nick, text, cid: this.#newId() };
    return this.#calls.add("post", request, idOf);
  }

  /** @type {Api["join"]} */
  join(room) {
    return this.#calls.add("move", { type: "join", room: room.normalize("NFC") }, noResult);
  }

  /** @type {Api["leave"]} */
  leave() {
    return this.#calls.add("move", { type: "leave" }, noResult);
  }

  /** @type {Api["rename"]} */
  rename(nick) {
    return this.#rename({ type: "nick", nick: nick.trim().normalize("NFC") });
  }

  /** @type {Api["identify"]} */
  async identify(nick, password) {
    await this.#rename({ type: "identify", nick: nick.trim().normalize("NFC"), password });
    this.#session.credentials = { nick: this.nick, password };
  }

  /** @type {Api["register"]} */
  async register(password) {
    await this.#calls.add("query", { type: "register", password }, noResult);
    this.#session.credentials = { nick: this.nick, password };
  }

  /** @type {Api["changePassword"]} */
  async changePassword(password, newPassword) {
    const request = { type: "password", password, new: newPassword };
    await this.#calls.add("query", request, ({ token }) => {
      // Older tokens end with the old password.
      if (token) this.#session.tokens = [String(token)];
    });
    this.#session.credentials = { nick: this.nick, password: newPassword };
    this.#session.save();
  }

  /** @type {Api["unregister"]} */
  async unregister(password) {
    await this.#calls.add("query", { type: "unregister", password }, noResult);
    this.#session.credentials = undefined;
  }

  /** @type {Api["who"]} */
  who(nick) {
    return this.#calls.add("query", { type: "who", nick }, ({ nick, room }) => ({
      nick: String(nick),
      room: typeof room === "string" ? room : null,
    }));
  }

  /** @type {Api["rooms"]} */
  rooms() {
    return this.#calls.add(
      "query",
      { type: "rooms" },
      (reply) => /** @type {RoomReply[]} */ (reply.rooms),
    );
  }

  /** @type {Api["members"]} */
  members() {
    return this.#calls.add("query", { type: "members" }, (reply) => {
      const { room, nicks, more } = /** @type {Line & MembersReply} */ (reply);
      return more === true ? { room, nicks, more } : { room, nicks };
    });
  }

  /** @type {Api["history"]} */
  history({ room, before, after, limit } = {}) {
    const request = { type: "history", room, before, after, limit };
    return this.#calls.add("query", request, (reply) => {
      const { room, events, more } = /** @type {Line & HistoryReply} */ (reply);
      return { room, events, more: more === true };
    });
  }

  /** @type {Api["ping"]} */
  ping() {
    const sentAtMs = this.#clock.monotonicMs();
    return this.#calls.add("query", { type: "ping" }, () => this.#clock.monotonicMs() - sentAtMs);
  }

  /** @type {Api["retryNow"]} */
  retryNow() {
    if (this.state === "offline") this.#retry();
    else if (this.state === "online") this.#connection?.probe(RETRY_NOW_PONG_TIMEOUT_MS);
  }

  /** @type {Api["close"]} */
  async close() {
    this.#session.tokens = [];
    await this.#shutDown("closed", 1000);
  }

  /** @type {Api["detach"]} */
  async detach() {
    await this.#shutDown("detached", ABANDONED);
  }

  /** The room that a post goes to, after the calls before it, and its ID. */
  #destination() {
    return { room: this.#calls.roomAfterAll(this.room), cid: this.#newId() };
  }

  /** @param {Line} request */
  #rename(request) {
    const renamed = this.#calls.add("move", request, noResult);
    if (this.#state.state === "offline" && this.#state.retryAt === undefined) this.#retry();
    return renamed;
  }

  #connect() {
    this.#cancelRetry();
    const socket = this.#openSocket(this.#url, this.#protocols);
    const connection = new Connection(socket, this.#clock, {
      open: () => this.#handshake.start(connection),
      event: (line) => this.#inbox.receive(line, connection),
      malformed: (what) => this.#malformed(what),
      read: () => this.#session.save(),
      lost: (code, reason) => this.#lost(code, reason),
    });
    this.#connection = connection;
    // Last, because a listener may close the client.
    this.#setState({ type: "state", state: "connecting" });
  }

  #retry() {
    try {
      this.#connect();
    } catch (error) {
      this.#listeners.report(new ChatError("offline", `Cannot open a WebSocket: ${error}`));
      this.#lost(ABANDONED, "no WebSocket could be opened");
    }
  }

  /** @param {Connection} connection */
  #online(connection) {
    if (connection !== this.#connection) return;
    this.#backoff.online();
    this.#calls.online(connection);
    this.#setState({ type: "state", state: "online" });
    this.#session.save();
    this.#calls.send();
  }

  /**
   * @param {number} code
   * @param {string} reason
   */
  #lost(code, reason) {
    this.#connection = undefined;
    this.#inbox.connectionLost();
    this.#calls.offline();
    // With two tokens it may have been this client: an earlier connection that it abandoned while the
    // server was still resuming it.
    if (code === TAKEN_OVER && this.#session.tokens.length < 2) {
      // Another client has the session. A saved token would take it back, and so on.
      this.#session.tokens = [];
      return void this.#shutDown("taken-over", code);
    }
    const delayMs = this.#backoff.lost(code);
    this.#cancelRetry = this.#clock.after(delayMs, () => this.#retry());
    const retryAt = this.#clock.now() + delayMs;
    this.#setState({ type: "state", state: "offline", retryAt, code, reason });
  }

  /**
   * Waits for another nickname, without a connection.
   *
   * @param {Connection} connection
   * @param {ChatError} error
   */
  #refused(connection, error) {
    this.#connection = undefined;
    void connection.close(ABANDONED);
    this.#listeners.report(error);
    this.#setState({ type: "state", state: "offline", code: ABANDONED, reason: error.code });
  }

  /**
   * @param {Connection} connection
   * @param {unknown} error
   */
  #failed(connection, error) {
    // The loss of a connection has been reported already.
    if (connection !== this.#connection) return;
    const known = error instanceof ChatError ? error : new ChatError("malformed", String(error));
    this.#listeners.report(known);
    connection.abandon("the login failed");
  }

  /** @param {string} what */
  #malformed(what) {
    this.#listeners.report(
      new ChatError("malformed", `Cannot read ${what}: it is not ${PROTOCOL}.`),
    );
    // It may have been the reply that the login waits for.
    if (this.state === "connecting") this.#connection?.abandon("the login failed");
  }

  /**
   * @param {"closed" | "detached" | "taken-over"} reason
   * @param {number} code
   */
  async #shutDown(reason, code) {
    if (this.state === "closed") return;
    this.#cancelRetry();
    this.#session.saveNow();
    const connection = this.#connection;
    this.#connection = undefined;
    this.#inbox.connectionLost();
    this.#state = { type: "state", state: "closed", reason };
    this.#listeners.close(this.#state);
    this.#calls.close();
    await connection?.close(code);
  }

  /** @param {StateEvent} state */
  #setState(state) {
    this.#state = state;
    this.#listeners.emit(state);
  }
}

/** The subprotocols to offer. @param {string | undefined} accessToken */
function protocolsFor(accessToken) {
  if (!accessToken) return PROTOCOL;
  // Browsers cannot send other headers with a WebSocket, and a subprotocol allows few characters.
  const base64 = btoa(String.fromCharCode(...new TextEncoder().encode(accessToken)));
  const encoded = base64.replace(/=/g, "").replace(/\+/g, "-").replace(/\//g, "_");
  return [PROTOCOL, `chat.token.${encoded}`];
}

function noResult() {}

/** Not randomUUID: browsers have that only on pages served over HTTPS. */
function randomId() {
  return crypto.getRandomValues(new Uint32Array(4)).join("-");
}
