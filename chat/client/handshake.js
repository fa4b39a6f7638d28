// @ts-check
/**
 * Brings the client into the chat over a new connection: resumes the session, or logs in, enters the
 * room again and reads what it missed there. It does not decide when to connect.
 */
import { readMissed } from "./inbox.js";
import { ChatError, idOf, isBusy, isRoomEvent, isTemporary } from "./protocol.js";

/** @import { Clock } from "./client.d.ts" */
/** @import { Call, CallQueue } from "./calls.js" */
/** @import { Connection } from "./connection.js" */
/** @import { Inbox } from "./inbox.js" */
/** @import { Listeners } from "./listeners.js" */
/** @import { Line } from "./protocol.js" */
/** @import { SessionState } from "./session.js" */

/** The delay, and up to twice that, before the client asks again for its own nickname, which the server
 * still keeps for a lost connection. */
const OWN_NICK_RETRY_MS = 1_000;

/**
 * - `online`: the client is in the chat.
 * - `refused`: the server refused the nickname; only the application can choose another.
 * - `failed`: the attempt failed; another one may succeed.
 *
 * @typedef {object} HandshakeListener
 * @property {(connection: Connection) => void} online
 * @property {(connection: Connection, error: ChatError) => void} refused
 * @property {(connection: Connection, error: unknown) => void} failed
 */

/** The handshakes of a client, one for each connection. */
export class Handshake {
  /** Until then a taken nickname may be the client's own, kept for a lost connection. */
  #ownNickUntilMs = 0;
  /** The server refused the nickname: a waiting rename is tried instead. */
  #isNickRefused = false;
  /** A session was lost, which is not reported to the listeners yet. */
  #hasLostSession = false;
  #session;
  #calls;
  #inbox;
  #listeners;
  #clock;
  #on;

  /**
   * @param {{ session: SessionState, calls: CallQueue, inbox: Inbox, listeners: Listeners,
   *   clock: Clock }} parts
   * @param {HandshakeListener} on
   */
  constructor({ session, calls, inbox, listeners, clock }, on) {
    this.#session = session;
    this.#calls = calls;
    this.#inbox = inbox;
    this.#listeners = listeners;
    this.#clock = clock;
    this.#on = on;
    if (session.tokens.length === 0) inbox.hold();
  }

  /** Resumes or logs in over a connection that has opened. @param {Connection} connection */
  start(connection) {
    const token = this.#session.tokens[0];
    if (token === undefined) return this.#run(connection, this.#logIn(connection));
    // While the room is being entered again, the missed events come from the history.
    const last = this.#inbox.isHolding ? undefined : this.#session.position.last;
    const { received, sent } = this.#session.direct;
    // One of the two alone would count for both.
    const direct = received || sent ? { direct: received ?? "", sent } : {};
    connection.send({ type: "resume", token, last, ...direct }, (reply) => {
      if (!(reply instanceof ChatError)) return this.#resumed(connection, token, reply);
      if (isTemporary(reply)) return this.#on.failed(connection, reply);
      this.#session.tokens = this.#session.tokens.slice(1);
      if (this.#session.tokens.length === 0) this.#sessionLost();
      this.start(connection);
    });
  }

  /**
   * @param {Connection} connection
   * @param {Promise<void>} steps
   */
  #run(connection, steps) {
    steps.catch((error) => this.#on.failed(connection, error));
  }

  #sessionLost() {
    this.#keepAskingForOwnNick();
    this.#session.direct = { received: undefined, sent: "" };
    this.#hasLostSession = true;
    this.#inbox.hold();
    this.#calls.sessionLost();
  }

  #keepAskingForOwnNick() {
    this.#ownNickUntilMs = this.#clock.monotonicMs() + this.#session.graceMs;
  }

  /**
   * @param {Connection} connection
   * @param {string} usedToken
   * @param {Line} welcome
   */
  #resumed(connection, usedToken, welcome) {
    this.#session.welcome(welcome, [usedToken]);
    // The first request over the connection ends the old token. It has to be sent at once.
    connection.send({ type: "ping" }, (reply) => {
      if (reply instanceof ChatError) return;
      this.#session.tokens = this.#session.tokens.slice(0, 1);
    });
    const room = typeof welcome.room === "string" ? welcome.room : undefined;
    this.#calls.resumed(this.#session.nick, room);
    // The client is online only after the replay, which shows which messages were delivered, and which
    // ends the previous room first.
    if (!this.#inbox.isHolding) return this.#inbox.expectReplay(connection, room);
    this.#run(connection, this.#enterRoom(connection));
  }

  /** @param {Connection} connection */
  async #logIn(connection) {
    while (true) {
      const rename = this.#isNickRefused ? this.#calls.firstRename : undefined;
      const nick = String(rename?.request.nick ?? this.#session.nick);
      const reply = await this.#requestLogin(connection, nick, rename?.request);
      if (!(reply instanceof ChatError)) {
        this.#isNickRefused = false;
        this.#session.welcome(reply, []);
        if (rename) this.#calls.settle(rename, reply);
        return await this.#enterRoom(connection);
      }
      if (await this.#mustGiveUp(connection, reply, rename)) {
        return this.#on.refused(connection, reply);
      }
    }
  }

  /**
   * Decides what follows a failed login. Resolves to false when the login can be tried again.
   *
   * @param {Connection} connection
   * @param {ChatError} error
   * @param {Call | undefined} rename
   * @throws {ChatError} if a new connection may succeed
   */
  async #mustGiveUp(connection, error, rename) {
    const nowMs = this.#clock.monotonicMs();
    // The server may have logged the client in: its reply is lost.
    if (error.code === "offline") this.#keepAskingForOwnNick();
    // A user who entered a password sees at once that it cannot be checked; a reconnecting client waits.
    if (isTemporary(error) || (!rename && isBusy(error))) throw error;
    this.#isNickRefused = true;
    if (rename) {
      this.#calls.settle(rename, error);
      return false;
    }
    // The user chose another nickname meanwhile.
    if (this.#calls.firstRename) return false;
    if (error.code !== "nickname-taken" || nowMs >= this.#ownNickUntilMs) return true;
    await connection.wait(OWN_NICK_RETRY_MS * (1 + this.#clock.jitter()));
    return false;
  }

  /**
   * Logs in, with the password if the client knows it.
   *
   * @param {Connection} connection
   * @param {string} nick
   * @param {Line | undefined} rename - called after the server refused another nickname
   */
  async #requestLogin(connection, nick, rename) {
    const login = { type: "login", nick };
    if (rename?.type === "identify") return await connection.ask(rename);
    const { credentials } = this.#session;
    if (credentials === undefined || !isSameNick(credentials.nick, nick)) {
      return await connection.ask(login);
    }
    const { password } = credentials;
    const reply = await connection.ask({ type: "identify", nick, password });
    const isUnregistered = reply instanceof ChatError && reply.code === "not-registered";
    return isUnregistered ? await connection.ask(login) : reply;
  }

  /**
   * Enters the room after a login and delivers the events that the client missed there, then those that
   * arrived meanwhile.
   *
   * @param {Connection} connection
   */
  async #enterRoom(connection) {
    const session = this.#session;
    const { room, last } = session.position;
    /** @type {Awaited<ReturnType<typeof readMissed>>} */
    let missed = { events: [], reason: "expired" };
    /** @type {string | undefined} */
    let from;
    if (room !== undefined) {
      const reply = await connection.ask({ type: "join", room });
      if (!(reply instanceof ChatError)) {
        from = idOf(reply).id;
        if (last !== undefined && last < from) missed = await readMissed(connection, last, from);
        else {
          // The IDs of a server that lost its data start again.
          if (last !== undefined) missed.reason = "forgotten";
          session.position = { room, last: undefined };
        }
      } else if (isTemporary(reply)) throw reply;
      else this.#listeners.report(reply);
    }
    // From here on everything is synchronous: no line overtakes the events that were held back.
    const held = this.#inbox.release();
    if (from === undefined) session.position = { room: undefined, last: undefined };
    for (const event of missed.events) this.#inbox.deliver(event);
    this.#calls.rejectDoubtful();
    if (this.#hasLostSession) {
      this.#hasLostSession = false;
      const { events, reason } = missed;
      this.#listeners.emit({
        type: "resumed",
        recovered: false,
        missed: events.length,
        reason,
        from,
      });
    }
    for (const line of held) {
      if (!isRoomEvent(line) || line.id >= (from ?? "")) this.#inbox.receive(line, connection);
    }
    this.#on.online(connection);
  }
}

/**
 * Whether two nicknames are the same one, closely enough to know which password belongs to it: the
 * server's rules are stricter.
 *
 * @param {string} one
 * @param {string} other
 */
function isSameNick(one, other) {
  const [a, b] = [one, other].map((nick) => nick.trim().normalize("NFKC").toLowerCase());
  return a === b;
}
