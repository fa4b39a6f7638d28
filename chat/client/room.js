// @ts-check
/**
 * Rooms and conversations, as the application uses them. They hold a name or a user's ID and nothing
 * else: the application can make as many as it likes. `client.d.ts` documents their members.
 */
import { actsOf, eventsOf, idOf, listOf, memberOf } from "./protocol.js";

/** @import { ChatEvent, Conversation as ConversationApi, DirectEvent, HistoryReply } from "./client.d.ts" */
/** @import { ActionEvent, Room as RoomApi, RoomMessageEvent } from "./client.d.ts" */
/** @import { CallQueue } from "./calls.js" */
/** @import { Listeners } from "./listeners.js" */
/** @import { Line } from "./protocol.js" */
/** @import { SessionState } from "./session.js" */

/** What rooms and conversations are made of.
 * @typedef {object} PlaceParts
 * @property {SessionState} session
 * @property {CallQueue} calls
 * @property {Listeners} listeners
 * @property {() => string} newId - returns the ID of a message
 * @property {(place: string) => boolean} mayTell - whether it is time to tell a place that the user writes
 */

/** @implements {RoomApi} */
export class Room {
  #parts;
  #typed;

  /**
   * @param {PlaceParts} parts
   * @param {string} typed
   */
  constructor(parts, typed) {
    this.#parts = parts;
    this.#typed = typed.normalize("NFC");
  }

  get name() {
    return this.#parts.session.nameOf(this.#typed);
  }

  get joined() {
    return this.#parts.session.has(this.name);
  }

  get state() {
    return this.#parts.session.stateOf(this.name);
  }

  /** @type {RoomApi["on"]} */
  on(type, listener) {
    const isHere = (/** @type {ChatEvent} */ event) => "room" in event && event.room === this.name;
    return this.#parts.listeners.add(type, /** @type {never} */ (listener), isHere);
  }

  /** @type {RoomApi["say"]} */
  say(text) {
    return this.#post("message", text);
  }

  /** @type {RoomApi["emote"]} */
  emote(text) {
    return this.#post("action", text);
  }

  /** @type {RoomApi["act"]} */
  act(name, ...[fields]) {
    return this.#ask({ ...fields, type: name }, idOf);
  }

  /** @type {RoomApi["edit"]} */
  edit(id, text) {
    return this.#ask({ type: "edit", id, text }, noResult);
  }

  /** @type {RoomApi["delete"]} */
  delete(id, reason) {
    return this.#ask({ type: "delete", id, reason }, noResult);
  }

  /** @type {RoomApi["react"]} */
  react(id, emoji, remove = false) {
    return this.#ask(reactionRequest(id, emoji, remove), noResult);
  }

  /** @type {RoomApi["typing"]} */
  typing() {
    if (!this.#parts.mayTell(this.#typed)) return;
    // Nobody waits for it.
    this.#ask({ type: "typing" }, noResult).catch(() => {});
  }

  /** @type {RoomApi["markRead"]} */
  markRead(id) {
    return this.#ask({ type: "read", id }, noResult);
  }

  /** @type {RoomApi["members"]} */
  members() {
    return this.#ask({ type: "members" }, (reply) => {
      const members = listOf(reply, "members").map(memberOf);
      return { room: String(reply.room), members, ...reply.more === true ? { more: true } : {} };
    });
  }

  /** @type {RoomApi["history"]} */
  history(query) {
    return this.#ask(
      { type: "history", ...query },
      (reply) => /** @type {HistoryReply<RoomMessageEvent | ActionEvent>} */ (historyOf(reply)),
    );
  }

  /** @type {RoomApi["modlog"]} */
  modlog(query) {
    return this.#ask({ type: "modlog", ...query }, actsOf);
  }

  /** @type {RoomApi["leave"]} */
  leave() {
    const request = { type: "leave", room: this.#typed };
    return this.#parts.calls.add("move", request, noResult);
  }

  /**
   * @param {"message" | "action"} type
   * @param {string} text
   */
  #post(type, text) {
    const { calls, newId } = this.#parts;
    return calls.add("post", { type, room: this.#typed, text, cid: newId() }, idOf);
  }

  /**
   * @template T
   * @param {Line} request
   * @param {(reply: Line) => T} pick
   */
  #ask(request, pick) {
    return this.#parts.calls.add("query", { ...request, room: this.#typed }, pick);
  }
}

/** @implements {ConversationApi} */
export class Conversation {
  #parts;
  #user;

  /**
   * @param {PlaceParts} parts
   * @param {string} user
   */
  constructor(parts, user) {
    this.#parts = parts;
    this.#user = user;
  }

  get user() {
    return this.#user;
  }

  /** @type {ConversationApi["on"]} */
  on(type, listener) {
    const isHere = this.#has.bind(this);
    return this.#parts.listeners.add(type, /** @type {never} */ (listener), isHere);
  }

  /** @type {ConversationApi["say"]} */
  say(text) {
    return sendDirect(this.#parts, { user: this.#user }, text);
  }

  /** @type {ConversationApi["edit"]} */
  edit(id, text) {
    return this.#ask({ type: "edit", id, text }, noResult);
  }

  /** @type {ConversationApi["delete"]} */
  delete(id) {
    return this.#ask({ type: "delete", id }, noResult);
  }

  /** @type {ConversationApi["react"]} */
  react(id, emoji, remove = false) {
    return this.#ask(reactionRequest(id, emoji, remove), noResult);
  }

  /** @type {ConversationApi["typing"]} */
  typing() {
    if (!this.#parts.mayTell(this.#user)) return;
    // Nobody waits for it.
    this.#ask({ type: "typing" }, noResult).catch(() => {});
  }

  /** @type {ConversationApi["markRead"]} */
  markRead(id) {
    return this.#ask({ type: "read", id }, noResult);
  }

  /** @type {ConversationApi["history"]} */
  history(query) {
    return this.#ask(
      { type: "history", ...query },
      (reply) => /** @type {HistoryReply<DirectEvent>} */ (historyOf(reply)),
    );
  }

  /** Whether an event belongs to the conversation. @param {ChatEvent} event */
  #has(event) {
    if ("with" in event) return event.with === this.#user;
    // A change of the nickname has `to`, too, but also a room.
    if (!("to" in event) || event.to === undefined || "room" in event) return false;
    const users = [event.user, event.to.user];
    const { session } = this.#parts;
    // In the conversation with oneself both are this user.
    return session.isSelf(this.#user)
      ? users.every((user) => session.isSelf(user))
      : users.includes(this.#user);
  }

  /**
   * @template T
   * @param {Line} request
   * @param {(reply: Line) => T} pick
   */
  #ask(request, pick) {
    return this.#parts.calls.add("query", { ...request, with: this.#user }, pick);
  }
}

/**
 * Sends a direct message.
 *
 * @param {PlaceParts} parts
 * @param {{ user: string } | { to: string }} receiver - an ID or a nickname
 * @param {string} text
 * @returns {Promise<{ id: string, kept?: true }>}
 */
export function sendDirect({ calls, newId }, receiver, text) {
  return calls.add(
    "post",
    { type: "direct", ...receiver, text, cid: newId() },
    (reply) => reply.kept === true ? { ...idOf(reply), kept: true } : idOf(reply),
  );
}

/** @param {Line} reply */
function historyOf(reply) {
  const { more, complete } = reply;
  const page = { events: eventsOf(reply), more: more === true };
  return typeof complete === "boolean" ? { ...page, complete } : page;
}

/** Picks nothing from a reply. */
export function noResult() {}

/**
 * @param {string} id
 * @param {string} emoji
 * @param {boolean} remove
 */
function reactionRequest(id, emoji, remove) {
  const request = { type: "react", id, emoji };
  return remove ? { ...request, remove } : request;
}
