// @ts-check
/**
 * What the client knows about its session: who it is, which rooms it is in, what it has seen, and the
 * tokens to resume with. Loads and saves it; sends nothing.
 */
import { reportUncaught } from "./listeners.js";
import { isObject, userOf } from "./protocol.js";

/** @import { ClientOptions, RoomStatus, RoomStatusEvent, Session, SessionStore } from "./client.d.ts" */
/** @import { Line } from "./protocol.js" */

/** How long the server keeps a session, until its `welcome` names the time. */
const DEFAULT_GRACE_S = 30;
/** The state of a room that the client is not in. @type {RoomStatus} */
export const NO_STATE = Object.freeze({});

/** The client's session. Each change is saved with the next `save`. */
export class SessionState {
  /** The ID of the user, and the one before it: the server changes it when the user signs in or out, and
   * an unregistered user has another one in each session. */
  #user;
  #formerUser = "";
  /** The nickname, as the server last confirmed it. @type {string} */
  #nick;
  #isRegistered = false;
  /** The rooms that the client is in or will return to, each with the ID of the last event seen in it.
   * @type {Map<string, string | null>} */
  #rooms;
  /** The IDs of the acts told in these rooms after the last event seen.
   * @type {Map<string, Set<string>>} */
  #acts = new Map();
  /** What the server last told of these rooms. @type {Map<string, RoomStatus>} */
  #states = new Map();
  /** Those of these rooms that the user was kicked or banned from: the own `left` follows.
   * @type {Set<string>} */
  #expelled = new Set();
  /** Names of these rooms that the application uses, and that the server corrected.
   * @type {Map<string, string>} */
  #corrections = new Map();
  /** The ID of the last event seen among the direct messages. @type {string | undefined} */
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
  constructor({ nick, password, rooms = [], session: store }) {
    this.#store = store;
    const saved = load(store);
    this.#user = saved?.user ?? "";
    this.#nick = saved?.nick ?? nick;
    if (password !== undefined) this.credentials = { nick, password };
    this.#rooms = saved
      ? new Map(Object.entries(saved.rooms))
      : new Map(rooms.map((room) => [room.normalize("NFC"), null]));
    this.#direct = saved?.direct;
    this.#tokens = saved?.tokens ?? [];
    this.#graceS = saved?.grace ?? DEFAULT_GRACE_S;
  }

  get user() {
    return this.#user;
  }

  get nick() {
    return this.#nick;
  }

  get registered() {
    return this.#isRegistered;
  }

  /** Whether an ID is that of this user, or was before the last change. @param {string} user */
  isSelf(user) {
    return user === this.#user || user === this.#formerUser;
  }

  /** Takes over who the user is from then on. @param {Parameters<typeof userOf>[0]} line */
  identify(line) {
    const { user, nick, registered } = userOf(line);
    if (user !== this.#user) this.#formerUser = this.#user;
    this.#user = user;
    this.#nick = nick;
    this.#isRegistered = registered === true;
    this.#isDirty = true;
  }

  /** The names of the rooms, in the order of joining. */
  get rooms() {
    return [...this.#rooms.keys()];
  }

  /** Whether the client is in a room or will return to it. @param {string} room */
  has(room) {
    return this.#rooms.has(room);
  }

  /** The ID of the last event seen in a room; `null` if there is none. @param {string} room */
  lastIn(room) {
    return this.#rooms.get(room) ?? null;
  }

  /** Adds a room, unless the client is in it. @param {string} room */
  enter(room) {
    if (!this.has(room)) this.advance(room, null);
  }

  /**
   * Notes the last event seen in a room. `null` forgets it.
   *
   * @param {string} room
   * @param {string | null} id
   */
  advance(room, id) {
    this.#rooms.set(room, id);
    this.#acts.delete(room);
    this.#isDirty = true;
  }

  /** Removes a room. @param {string} room */
  exit(room) {
    this.#rooms.delete(room);
    this.#acts.delete(room);
    this.#states.delete(room);
    this.#expelled.delete(room);
    this.#isDirty = true;
  }

  /**
   * Notes an act in a room. Returns false for one that was told before: acts are not the last event seen,
   * because only those that the whole room sees have a place in its order, and so a replay repeats them.
   *
   * @param {string} room
   * @param {string} id
   */
  noteAct(room, id) {
    const acts = this.#acts.get(room) ?? new Set();
    if (acts.has(id)) return false;
    this.#acts.set(room, acts.add(id));
    return true;
  }

  /** Notes that a moderator has taken the user out of a room. @param {string} room */
  expel(room) {
    this.#expelled.add(room);
  }

  /** Whether a moderator has taken the user out of a room that the client has not left yet. @param {string} room */
  isExpelled(room) {
    return this.#expelled.has(room);
  }

  /** What moderators have decided for a room, as far as the server told. @param {string} room */
  stateOf(room) {
    return this.#states.get(room) ?? NO_STATE;
  }

  /** Takes over what the server tells of a room. @param {RoomStatusEvent} event */
  setState({ type: _type, room, ...state }) {
    if (this.has(room)) this.#states.set(room, state);
  }

  /** Returns the server's name of a room. @param {string} typed */
  nameOf(typed) {
    return this.#corrections.get(typed) ?? typed;
  }

  /**
   * Notes that the server calls a room `name`, which the application or the server itself called
   * `typed` before.
   *
   * @param {string} typed
   * @param {string} name
   */
  correct(typed, name) {
    this.#corrections.delete(name);
    for (const [earlier, room] of this.#corrections) {
      if (room === typed) this.#corrections.set(earlier, name);
      // Those of other rooms that the client has left are not needed: it would grow without a limit.
      else if (room !== name && !this.has(room)) this.#corrections.delete(earlier);
    }
    this.#corrections.set(typed, name);
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
  welcome({ user, nick, registered, token, grace }, olderTokens) {
    this.identify({ user, nick, registered });
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
    /** @type {Session} */
    const session = {
      tokens: [...this.#tokens],
      user: this.#user,
      nick: this.#nick,
      rooms: Object.fromEntries(this.#rooms),
      direct: this.#direct,
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
    const isComplete = Array.isArray(session?.tokens) && typeof session.nick === "string" &&
      isObject(session.rooms);
    return isComplete && session.tokens.length > 0 ? session : undefined;
  } catch (error) {
    // A browser may forbid its storage. The chat works all the same, without resuming after a reload.
    reportUncaught(error);
    return undefined;
  }
}
