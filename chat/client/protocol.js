// @ts-check
/**
 * The lines of `chat.v1` as the client reads them (see PROTOCOL.md): types, validation, error codes and
 * close codes. It holds no state and opens no connection.
 */

/** @import { ActEvent, ActionEvent, AwayEvent, DeletedEvent, DirectEvent } from "./client.d.ts" */
/** @import { EditedEvent, Member } from "./client.d.ts" */
/** @import { ReactionEvent, ReadEvent, ResumedEvent, RoomEvent, RoomMessageEvent } from "./client.d.ts" */
/** @import { ModlogReply, RoomState, RoomStatusEvent } from "./client.d.ts" */
/** @import { TypingEvent, User, WelcomeEvent } from "./client.d.ts" */

/** A line of JSON: a request to the server, a reply or an event.
 * @typedef {Record<string, unknown> & { type: string }} Line */
/** The server left out `missed` events of a room after the ID `after`, up to and including `until`.
 * @typedef {{ type: "gap", room: string, after: string, until: string, missed: number }} GapLine */
/** @typedef {{ type: "error", code: string, message: string, retryAfter?: number }} ErrorLine */
/** A line that the server sends without a request. An error may answer one.
 * @typedef {RoomEvent | AwayEvent | EditedEvent | DeletedEvent | ReactionEvent | DirectEvent | ReadEvent | TypingEvent | ActEvent
 *   | RoomStatusEvent | ResumedEvent | GapLine | ErrorLine} ServerEvent */
/** @typedef {"welcome" | "ok" | "who" | "rooms" | "members" | "history" | "sessions" | "modlog"
 *   | "ignored" | "pong"} ReplyType */
/** Fields that a line must have, each with an example of its value.
 * @typedef {{ readonly [field: string]: string | number | boolean | readonly [] | Shape }} Shape */

/** The subprotocol of the WebSocket. */
export const PROTOCOL = "chat.v1";

/** Close code of a connection that this client abandons. With 1000 the server would end the session. */
export const ABANDONED = 4000;
/** Close code: another connection resumed the session. */
export const TAKEN_OVER = 4001;
/** Close code: the user ended the session from another device. */
export const ENDED = 4002;
/** Close code: the client ignored rate limits, or its user is banned or kicked. */
export const POLICY_VIOLATION = 1008;
/** Close code: the client reads too slowly, or the server shuts down. */
export const TRY_AGAIN_LATER = 1013;

/** @satisfies {Shape} */
const USER = { user: "", nick: "" };
/** @satisfies {Shape} */
const IN_ROOM = { id: "", room: "", ...USER };
/** @satisfies {Shape} */
const DIRECT = { id: "", to: USER, ...USER };

/** The forms of each event: a line has one of them.
 * @type {Readonly<Record<ServerEvent["type"], readonly Shape[]>>} */
const EVENT_SHAPES = {
  message: [{ ...IN_ROOM, text: "" }],
  action: [{ ...IN_ROOM, text: "" }],
  joined: [IN_ROOM],
  left: [IN_ROOM],
  nick: [{ ...IN_ROOM, to: USER }],
  away: [{ ...IN_ROOM, away: true }],
  direct: [{ ...DIRECT, text: "" }],
  edited: [{ ...IN_ROOM, target: "", text: "" }, { ...DIRECT, target: "", text: "" }],
  deleted: [{ ...IN_ROOM, target: "" }, { ...DIRECT, target: "" }],
  reaction: [
    { ...IN_ROOM, target: "", emoji: "", count: 0 },
    { ...DIRECT, target: "", emoji: "", count: 0 },
  ],
  typing: [USER],
  read: [{ room: "", id: "" }, { with: "", id: "" }],
  act: [{ id: "", ...USER, act: "" }],
  room: [{ room: "" }],
  resumed: [{ recovered: true, missed: 0 }],
  gap: [{ room: "", after: "", until: "", missed: 0 }],
  error: [{ code: "", message: "" }],
};

/** @type {Readonly<Record<ReplyType, readonly Shape[]>>} */
const REPLY_SHAPES = {
  welcome: [{ ...USER, token: "", rooms: [] }],
  ok: [{}],
  who: [{ ...USER, rooms: [] }],
  rooms: [{ rooms: [] }],
  members: [{ room: "", members: [] }],
  history: [{ events: [] }],
  sessions: [{ sessions: [] }],
  modlog: [{ events: [] }],
  ignored: [{ users: [] }],
  pong: [{}],
};

/** @type {Readonly<Record<string, readonly Shape[]>>} */
const SHAPES = { ...EVENT_SHAPES, ...REPLY_SHAPES };

/** An error of the server or of the client; `client.d.ts` lists the client's codes. */
export class ChatError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {number} [retryAfter] milliseconds
   */
  constructor(code, message, retryAfter) {
    super(message);
    this.name = "ChatError";
    /** @readonly */
    this.code = code;
    /** @readonly */
    this.retryAfter = retryAfter;
  }
}

/**
 * Parses a line of the server. Returns `undefined` if it is not valid. Lines of unknown types need no
 * fields.
 *
 * @param {string} text
 * @returns {Line | undefined}
 */
export function parse(text) {
  try {
    const line = JSON.parse(text);
    return isWellFormed(line) ? line : undefined;
  } catch {
    return undefined;
  }
}

/**
 * @param {unknown} value
 * @returns {value is Line}
 */
function isWellFormed(value) {
  if (!isObject(value) || typeof value.type !== "string") return false;
  // An own property: a type may be "constructor".
  if (!Object.hasOwn(SHAPES, value.type)) return true;
  return (SHAPES[value.type] ?? []).some((shape) => hasShape(value, shape));
}

/**
 * @param {unknown} value
 * @param {Shape} shape
 * @returns {boolean}
 */
function hasShape(value, shape) {
  if (!isObject(value)) return false;
  return Object.entries(shape).every(([field, example]) =>
    isObject(example) ? hasShape(value[field], /** @type {Shape} */ (example)) : (
      typeof value[field] === typeof example &&
      Array.isArray(value[field]) === Array.isArray(example)
    )
  );
}

/**
 * Whether a value is an object and no array.
 *
 * @param {unknown} value
 * @returns {value is Record<string, unknown>}
 */
export function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * Whether a parsed line is an event that this client knows.
 *
 * @param {Line} line
 * @returns {line is Line & ServerEvent}
 */
export function isServerEvent(line) {
  return Object.hasOwn(EVENT_SHAPES, line.type);
}

/** Whether a line can only be a reply. @param {Line} line */
export function isReply(line) {
  return Object.hasOwn(REPLY_SHAPES, line.type);
}

/**
 * Returns the valid messages of a history reply.
 *
 * @param {Line} reply
 * @returns {(RoomMessageEvent | ActionEvent | DirectEvent)[]}
 * @throws {ChatError} `malformed`
 */
export function eventsOf(reply) {
  const types = ["message", "action", "direct"];
  /** @type {unknown[]} */
  const events = listOf(reply, "events");
  return /** @type {(RoomMessageEvent | ActionEvent | DirectEvent)[]} */ (
    events.filter((event) => isWellFormed(event) && types.includes(event.type))
  );
}

/**
 * Returns the page of the record that a reply holds, without invalid acts.
 *
 * @param {Line} reply
 * @returns {ModlogReply}
 * @throws {ChatError} `malformed`
 */
export function actsOf(reply) {
  /** @type {unknown[]} */
  const events = listOf(reply, "events");
  const acts = events.filter((event) => isWellFormed(event) && event.type === "act");
  return { events: /** @type {ActEvent[]} */ (acts), more: reply.more === true };
}

/**
 * Returns the objects of a list in a reply. Their fields are not checked.
 *
 * @param {Line} reply
 * @param {string} field
 * @returns {Record<string, unknown>[]}
 * @throws {ChatError} `malformed`
 */
export function listOf(reply, field) {
  const list = reply[field];
  if (!Array.isArray(list)) throw new ChatError("malformed", `Cannot read a reply: no "${field}".`);
  return list.filter(isObject);
}

/**
 * Returns the user that a line names.
 *
 * @param {User | Record<string, unknown>} line
 * @returns {User}
 */
export function userOf({ user, nick, registered }) {
  const named = { user: String(user), nick: String(nick) };
  return registered === true ? { ...named, registered } : named;
}

/** Returns a member of a list. @param {Record<string, unknown>} line @returns {Member} */
export function memberOf(line) {
  return line.away === true ? { ...userOf(line), away: true } : userOf(line);
}

/**
 * Returns what a `welcome` tells the application.
 *
 * @param {Line} welcome
 * @returns {WelcomeEvent}
 */
export function welcomeEvent(welcome) {
  const { history, edit, limits, directs = [] } = welcome;
  const rooms = listOf(welcome, "rooms").filter(({ room }) => typeof room === "string");
  return {
    type: "welcome",
    ...userOf(welcome),
    rooms: /** @type {RoomState[]} */ (/** @type {unknown[]} */ (rooms)),
    directs: Array.isArray(directs) ? directs.filter((each) => hasShape(each, USER)) : [],
    history: Number(history) || 0,
    edit: Number(edit) || 0,
    limits: isObject(limits) ? limits : {},
  };
}

/** Converts an error line. @param {Line} line */
export function errorOf(line) {
  return new ChatError(String(line.code), String(line.message), Number(line.retryAfter ?? 0));
}

/**
 * The ID of an event that has its place in the order of a room; `undefined` for other lines. Not every act
 * has one.
 *
 * @param {{ type: string, id?: string }} line
 */
export function idInOrder({ type, id }) {
  return type === "act" ? undefined : id;
}

/** The ID that a reply names. @param {Line} reply */
export function idOf(reply) {
  return { id: String(reply.id ?? "") };
}

/** Whether a later attempt may succeed without a change by the user. @param {ChatError} error */
export function isTemporary({ code }) {
  return code === "offline" || code === "unavailable" || code === "too-fast";
}

/** Whether the server cannot check a password at present. @param {ChatError} error */
export function isBusy({ code }) {
  return code === "busy" || code === "too-many-attempts";
}

/** Whether the server closed a connection because the user was banned or kicked from the whole chat.
 *
 * @param {number} code
 * @param {string} reason
 */
export function isExpulsion(code, reason) {
  return code === POLICY_VIOLATION && (reason === "banned" || reason === "kicked");
}

/** Whether a request changes the nickname. @param {Line} request */
export function isRename({ type }) {
  return type === "nick" || type === "identify";
}

/** Whether a request changes who the session speaks for. @param {Line} request */
export function changesUser(request) {
  return isRename(request) || request.type === "register" || request.type === "unregister";
}

/** Whether a request enters or leaves a room. @param {Line} request */
export function isMove({ type }) {
  return type === "join" || type === "leave";
}

/**
 * Returns the end of the missed events of a room, or of the direct messages. `reason` says why some may
 * be missing.
 *
 * @param {{ room?: string, missed: number, reason?: string, from?: string }} end
 * @returns {ResumedEvent}
 */
export function resumedEvent({ room, missed, reason, from }) {
  const place = room === undefined ? {} : { room };
  if (reason === undefined) return { type: "resumed", ...place, recovered: true, missed };
  const start = from === undefined ? {} : { from };
  return { type: "resumed", ...place, recovered: false, missed, reason, ...start };
}
