// @ts-check
/**
 * Brings the client into the chat over a new connection: resumes the session, or logs in. It does not
 * decide when to connect, and enters no rooms.
 */
import { ChatError, isBusy, isTemporary, resumedEvent, welcomeEvent } from "./protocol.js";

/** @import { Clock } from "./client.d.ts" */
/** @import { Call } from "./call.js" */
/** @import { CallQueue } from "./calls.js" */
/** @import { Connection } from "./connection.js" */
/** @import { Inbox } from "./inbox.js" */
/** @import { Listeners } from "./listeners.js" */
/** @import { Membership } from "./membership.js" */
/** @import { Line } from "./protocol.js" */
/** @import { SessionState } from "./session.js" */

/** The delay, and up to twice that, before the client asks again for its own nickname, which the server
 * still keeps for a lost connection. */
const OWN_NICK_RETRY_MS = 1_000;
/** The server sends so many unread messages after a login, and counts so far. */
const MAX_UNREAD = 100;

/**
 * - `online`: the client has logged in; a fresh session is in no room. After a resume the inbox
 *   reports it, when the replay is complete.
 * - `refused`: the server refused the nickname, or has banned the user. Only the application can choose
 *   another nickname, or try again.
 * - `failed`: the attempt failed; another one may succeed.
 *
 * @typedef {object} HandshakeListener
 * @property {(connection: Connection, rooms: Set<string>) => void} online
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
  #membership;
  #listeners;
  #clock;
  #on;

  /**
   * @param {{ session: SessionState, calls: CallQueue, inbox: Inbox, membership: Membership,
   *   listeners: Listeners, clock: Clock }} parts
   * @param {HandshakeListener} on
   */
  constructor({ session, calls, inbox, membership, listeners, clock }, on) {
    this.#membership = membership;
    this.#session = session;
    this.#calls = calls;
    this.#inbox = inbox;
    this.#listeners = listeners;
    this.#clock = clock;
    this.#on = on;
    if (session.tokens.length === 0) inbox.holdAll();
  }

  /** Resumes or logs in over a connection that has opened. @param {Connection} connection */
  start(connection) {
    const token = this.#session.tokens[0];
    if (token === undefined) {
      this.#logIn(connection).catch((error) => this.#on.failed(connection, error));
      return;
    }
    const { direct } = this.#session;
    const last = Object.fromEntries(
      this.#session.rooms.flatMap((room) => {
        const id = this.#session.lastIn(room);
        // What was missed in a room that is not entered again yet comes from the history.
        return id === null || this.#inbox.holds.lost(room) ? [] : [[room, id]];
      }),
    );
    connection.send({ type: "resume", token, last, direct }, (reply) => {
      if (!(reply instanceof ChatError)) return this.#resumed(connection, token, reply);
      if (isTemporary(reply)) return this.#on.failed(connection, reply);
      if (reply.code === "banned") {
        this.sessionEnded();
        return this.#on.refused(connection, reply);
      }
      this.#session.tokens = this.#session.tokens.slice(1);
      if (this.#session.tokens.length === 0) this.#sessionLost();
      this.start(connection);
    });
  }

  /** Notes that the server has ended the session: the next connection begins with a login. */
  sessionEnded() {
    this.#session.tokens = [];
    this.#sessionLost();
  }

  #sessionLost() {
    this.#keepAskingForOwnNick();
    this.#hasLostSession = true;
    this.#inbox.holdAll();
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
    if (welcome.type !== "welcome") return this.#on.failed(connection, noWelcome());
    this.#session.welcome(welcome, [usedToken]);
    // The first request over the connection ends the old token. It has to be sent at once.
    connection.send({ type: "ping" }, (reply) => {
      if (reply instanceof ChatError) return;
      this.#session.tokens = this.#session.tokens.slice(0, 1);
    });
    const event = welcomeEvent(welcome);
    const rooms = new Set(event.rooms.filter(({ joined }) => joined).map(({ room }) => room));
    for (const room of rooms) this.#session.enter(room);
    // The client is online only after the replay, which shows which messages were delivered, and which
    // ends with the rooms that it has left.
    this.#inbox.expectReplay(connection, rooms);
    for (const room of this.#calls.resumed(this.#session.nick, rooms)) {
      // The end of the replay removes other rooms that the client has left.
      if (this.#inbox.holds.lost(room)) this.#membership.forget(room);
    }
    this.#listeners.emit(event);
  }

  /** @param {Connection} connection */
  async #logIn(connection) {
    while (true) {
      const rename = this.#isNickRefused ? this.#calls.firstRename : undefined;
      const nick = String(rename?.request.nick ?? this.#session.nick);
      const reply = await this.#requestLogin(connection, nick, rename);
      if (!(reply instanceof ChatError)) return;
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
   * @param {Call | undefined} rename - called after the server refused another nickname
   */
  async #requestLogin(connection, nick, rename) {
    const login = { type: "login", nick };
    if (rename?.request.type === "identify") {
      return await this.#ask(connection, rename.request, rename);
    }
    const { credentials } = this.#session;
    if (credentials === undefined || !isSameNick(credentials.nick, nick)) {
      return await this.#ask(connection, login, rename);
    }
    const { password } = credentials;
    const reply = await this.#ask(connection, { type: "identify", nick, password }, rename);
    const isUnregistered = reply instanceof ChatError && reply.code === "not-registered";
    return isUnregistered ? await this.#ask(connection, login, rename) : reply;
  }

  /**
   * Sends a login. A `welcome` is handled before the lines behind it.
   *
   * @param {Connection} connection
   * @param {Line} login
   * @param {Call | undefined} rename
   * @returns {Promise<Line | ChatError>}
   * @throws {ChatError} `malformed`
   */
  #ask(connection, login, rename) {
    return new Promise((resolve, reject) => {
      connection.send(login, (reply) => {
        if (reply instanceof ChatError) return resolve(reply);
        if (reply.type !== "welcome") return reject(noWelcome());
        this.#loggedIn(connection, reply, rename);
        resolve(reply);
      });
    });
  }

  /**
   * @param {Connection} connection
   * @param {Line} welcome
   * @param {Call | undefined} rename
   */
  #loggedIn(connection, welcome, rename) {
    const session = this.#session;
    const isSameUser = welcome.user === session.user;
    const hasDirects = session.direct !== undefined;
    const hasLostSession = this.#hasLostSession;
    this.#isNickRefused = false;
    this.#hasLostSession = false;
    session.welcome(welcome, []);
    // The messages of another user have nothing to do with those that were seen.
    if (!isSameUser) session.direct = undefined;
    this.#calls.rejectDoubtful((room) => !room || this.#inbox.holds.lost(room) === undefined);
    this.#listeners.emit(welcomeEvent(welcome));
    if (rename) this.#calls.settle(rename, welcome);
    if (hasLostSession && isSameUser) this.#reportUnread(connection, welcome);
    else if (hasLostSession && hasDirects) {
      this.#listeners.emit(resumedEvent({ missed: 0, reason: "expired" }));
    }
    this.#on.online(connection, new Set());
  }

  /**
   * Reports the end of the direct messages that the server sends to a registered user after the login.
   *
   * @param {Connection} connection
   * @param {Line} welcome
   */
  #reportUnread(connection, welcome) {
    const { directs } = welcomeEvent(welcome);
    const unread = directs.reduce((sum, each) => sum + (each.unread ?? 0), 0);
    const count = this.#inbox.countDirects();
    connection.send({ type: "ping" }, (reply) => {
      if (reply instanceof ChatError) return;
      const hasAll = unread < MAX_UNREAD && count.arrived >= unread;
      const reason = hasAll ? undefined : "too-many";
      this.#listeners.emit(resumedEvent({ missed: count.delivered, reason }));
    });
  }
}

function noWelcome() {
  return new ChatError("malformed", `The server answered a login with no "welcome".`);
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
