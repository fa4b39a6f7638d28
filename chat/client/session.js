// @ts-check
/**
 * What the client knows about its session: who it is, where it is, what it has seen, and the tokens to
 * resume with. Loads and saves it; sends nothing.
 */
import { reportUncaught } from "./listeners.js";

/** @import { ClientOptions, Session, SessionStore } from "./client.d.ts" */
/** @import { Line } from "./protocol.js" */

/** How long the server keeps a session, until its `welcome` names the time. */
const DEFAULT_GRACE_S = 30;

/** The client's session. Each change is saved with the next `save`. */
export class SessionState {
  /** The nickname, as the server last confirmed it. @type {string} */
  #nick;
  /** The room, and the ID of the last event seen in it. Outside all rooms `last` is the ID of the event
   * by which the client left. @type {{ room: string | undefined, last: string | undefined }} */
  #position;
  /** The IDs of the last direct message received and sent: two orders. Empty: none. Sessions of earlier
   * versions do not distinguish them. @type {{ received: string | undefined, sent: string | undefined }} */
  #direct;
  /** Newest first. The previous token stays until the server has heard from the client over the
   * connection that issued the newest: only then is it certain which of them works.
   * @type {string[]} */
  #tokens;
  #graceS;
  /** The password of a nickname, for a login after a lost session. Never saved.
   * @type {{ nick: string, password: string } | undefined} */
  credentials;
  /** @type {SessionStore | undefined} */
  #store;
  #isDirty = false;

  /** @param {ClientOptions} options */
  constructor({ nick, password, room, session: store }) {
    this.#store = store;
    const saved = load(store);
    this.#tokens = saved?.tokens ?? [];
    this.#nick = saved?.nick ?? nick;
    if (password !== undefined) this.credentials = { nick, password };
    this.#position = { room: saved ? saved.room : room?.normalize("NFC"), last: saved?.last };
    this.#direct = { received: saved?.direct, sent: saved ? saved.sent : "" };
    this.#graceS = saved?.grace ?? DEFAULT_GRACE_S;
  }

  get nick() {
    return this.#nick;
  }

  set nick(nick) {
    this.#nick = nick;
    this.#isDirty = true;
  }

  get position() {
    return this.#position;
  }

  set position(position) {
    this.#position = position;
    this.#isDirty = true;
  }

  get direct() {
    return this.#direct;
  }

  set direct(direct) {
    this.#direct = direct;
    this.#isDirty = true;
  }

  get tokens() {
    return this.#tokens;
  }

  set tokens(tokens) {
    this.#tokens = tokens;
    this.#isDirty = true;
  }

  /** Milliseconds for which the server keeps the nickname of a lost connection. */
  get graceMs() {
    return this.#graceS * 1000;
  }

  /**
   * Takes over what a `welcome` says.
   *
   * @param {Line} welcome
   * @param {string[]} olderTokens - tokens that still work
   */
  welcome({ nick, token, grace }, olderTokens) {
    this.nick = String(nick);
    this.tokens = [String(token), ...olderTokens];
    if (typeof grace === "number") this.#graceS = grace;
  }

  /** Saves the session if it changed since the last time. */
  save() {
    if (this.#isDirty) this.saveNow();
  }

  /** Saves the session; `null` without a token. */
  saveNow() {
    if (!this.#store) return;
    this.#isDirty = false;
    const { room, last } = this.#position;
    const session = {
      tokens: [...this.#tokens],
      nick: this.#nick,
      room,
      last,
      direct: this.#direct.received,
      sent: this.#direct.sent,
      grace: this.#graceS,
    };
    try {
      this.#store.save(this.#tokens.length > 0 ? session : null);
    } catch (error) {
      reportUncaught(error);
    }
  }
}

/**
 * Loads a session. Returns `undefined` if there is none that can be resumed.
 *
 * @param {SessionStore | undefined} store
 * @returns {Session | undefined}
 */
function load(store) {
  try {
    const session = store?.load();
    const isComplete = Array.isArray(session?.tokens) && typeof session.nick === "string";
    return isComplete && session.tokens.length > 0 ? session : undefined;
  } catch (error) {
    // A browser may forbid its storage. The chat works all the same, without resuming after a reload.
    reportUncaught(error);
    return undefined;
  }
}
