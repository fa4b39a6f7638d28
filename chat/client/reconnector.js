// @ts-check
/**
 * Keeps the client connected: opens one connection after another, until the client is closed. It knows
 * the state of the client, and puts its parts together.
 */
import { Backoff } from "./backoff.js";
import { CallQueue } from "./calls.js";
import { Connection } from "./connection.js";
import { Handshake } from "./handshake.js";
import { HistoryReader } from "./history_reader.js";
import { Inbox } from "./inbox.js";
import { Membership } from "./membership.js";
import { ABANDONED, ChatError, ENDED, isExpulsion, PROTOCOL, TAKEN_OVER } from "./protocol.js";

/** @import { ClientOptions, Clock, RoomStatus, StateEvent } from "./client.d.ts" */
/** @import { Listeners } from "./listeners.js" */
/** @import { SessionState } from "./session.js" */

/** The default of `outbox`. */
const MAX_CALLS = 256;
/** How long `retryNow` waits for a sign that the connection still works. */
const RETRY_NOW_PONG_TIMEOUT_MS = 5_000;

/** The connections of a client. */
export class Reconnector {
  #url;
  #protocols;
  #openSocket;
  #clock;
  #session;
  #listeners;
  #inbox;
  /** @type {Membership} */
  #membership;
  #handshake;
  #backoff;
  /** The calls that wait for a reply. @type {CallQueue} */
  calls;
  /** @type {StateEvent} */
  #state = { type: "state", state: "connecting" };
  /** @type {Connection | undefined} */
  #connection;
  #cancelRetry = () => {};

  /**
   * @param {string} url
   * @param {ClientOptions} options
   * @param {{ clock: Clock, session: SessionState, listeners: Listeners }} parts
   */
  constructor(url, options, { clock, session, listeners }) {
    this.#url = url;
    this.#protocols = protocolsFor(options.access);
    this.#openSocket = options.connect ?? ((url, protocols) => new WebSocket(url, protocols));
    this.#clock = clock;
    this.#session = session;
    this.#listeners = listeners;
    const calls = this.calls = new CallQueue(clock, options.outbox ?? MAX_CALLS, {
      nameOf: (room) => session.nameOf(room),
      isSlow: (room) => isSlow(session.stateOf(room)),
      paused: (ms) => listeners.emit({ type: "paused", until: clock.now() + ms }),
      replied: (request, reply, connection) => this.#membership.replied(request, reply, connection),
    });
    const history = new HistoryReader();
    const online = this.#online.bind(this);
    const inbox = this.#inbox = new Inbox({ session, calls, listeners, history }, online);
    const membership = new Membership({ session, calls, inbox, listeners, history });
    this.#membership = membership;
    this.#handshake = new Handshake({ session, calls, inbox, membership, listeners, clock }, {
      online,
      refused: (connection, error) => this.#refused(connection, error),
      failed: (connection, error) => this.#failed(connection, error),
    });
    this.#backoff = new Backoff(clock);
  }

  get state() {
    return this.#state.state;
  }

  /** Reconnects at once if the client is offline; checks the connection if it is online. */
  retryNow() {
    if (this.state === "offline") this.#retry();
    else if (this.state === "online") this.#connection?.probe(RETRY_NOW_PONG_TIMEOUT_MS);
  }

  /** Tries the next nickname if the server refused the one before, or has banned the user. */
  nickChosen() {
    if (this.#state.state === "offline" && this.#state.retryAt === undefined) this.#retry();
  }

  /** Opens a connection. Throws if the platform cannot. */
  connect() {
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
      this.connect();
    } catch (error) {
      this.#listeners.report(new ChatError("offline", `Cannot open a WebSocket: ${error}`));
      this.#lost(ABANDONED, "no WebSocket could be opened");
    }
  }

  /**
   * @param {Connection} connection
   * @param {ReadonlySet<string>} rooms - those that the session is in
   */
  #online(connection, rooms) {
    if (connection !== this.#connection) return;
    this.#backoff.online();
    this.calls.online(connection);
    this.#membership.online(connection, rooms);
    this.#setState({ type: "state", state: "online" });
    this.#session.save();
    this.calls.send();
  }

  /**
   * @param {number} code
   * @param {string} reason
   */
  #lost(code, reason) {
    this.#connection = undefined;
    this.#inbox.connectionLost();
    this.calls.offline();
    // With two tokens it may have been this client: an earlier connection that it abandoned while the
    // server was still resuming it.
    const isTakenOver = code === TAKEN_OVER && this.#session.tokens.length < 2;
    if (isTakenOver || code === ENDED) {
      // Another client has the session. A saved token would take it back, and so on.
      this.#session.tokens = [];
      return void this.#shutDown(isTakenOver ? "taken-over" : "ended", code);
    }
    if (isExpulsion(code, reason)) {
      // The user must not come back at once, but may when the application says so.
      this.#handshake.sessionEnded();
      this.#session.save();
      return this.#setState({ type: "state", state: "offline", code, reason });
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

  /** Leaves the chat for good. */
  async close() {
    this.#session.tokens = [];
    await this.#shutDown("closed", 1000);
  }

  /** Closes the connection without leaving. */
  async detach() {
    await this.#shutDown("detached", ABANDONED);
  }

  /**
   * @param {"closed" | "detached" | "taken-over" | "ended"} reason
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
    this.calls.close();
    await connection?.close(code);
  }

  /** @param {StateEvent} state */
  #setState(state) {
    this.#state = state;
    this.#listeners.emit(state);
  }
}

/** Whether a room has slow mode, from which its moderators are exempt. @param {RoomStatus} state */
function isSlow({ slow, role }) {
  return slow !== undefined && role === undefined;
}

/** The subprotocols to offer. @param {string | undefined} accessToken */
function protocolsFor(accessToken) {
  if (!accessToken) return PROTOCOL;
  // Browsers cannot send other headers with a WebSocket, and a subprotocol allows few characters.
  const base64 = btoa(String.fromCharCode(...new TextEncoder().encode(accessToken)));
  const encoded = base64.replace(/=/g, "").replace(/\+/g, "-").replace(/\//g, "_");
  return [PROTOCOL, `chat.token.${encoded}`];
}
