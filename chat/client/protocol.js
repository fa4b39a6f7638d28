// @ts-check
/**
 * The lines of `chat.v1` as the client reads them (see PROTOCOL.md): types, validation, error codes and
 * close codes. It holds no state and opens no connection.
 */

/** @import { ActionEvent, DirectEvent, RoomEvent, RoomMessageEvent } from "./client.d.ts" */

/** A line of JSON: a request to the server, a reply or an event.
 * @typedef {Record<string, unknown> & { type: string }} Line */
/** The server left out `missed` events after the ID `after`, up to and including `until`.
 * @typedef {{ type: "gap", room: string, after: string, until: string, missed: number }} GapLine */
/** The end of a replay, as the server sends it.
 * @typedef {{ type: "resumed", recovered: boolean, missed: number, reason?: string }} ResumedLine */
/** @typedef {{ type: "error", code: string, message: string, retryAfter?: number }} ErrorLine */
/** A line that the server sends without a request. An error may answer one.
 * @typedef {RoomEvent | DirectEvent | ResumedLine | GapLine | ErrorLine} ServerEvent */
/** @typedef {"welcome" | "ok" | "who" | "rooms" | "members" | "history" | "pong"} ReplyType */
/** Fields that a line must have, each with an example of the type of its value.
 * @typedef {Readonly<Record<string, unknown>>} Shape */

/** The subprotocol of the WebSocket. */
export const PROTOCOL = "chat.v1";

/** Close code of a connection that this client abandons. With 1000 the server would end the session. */
export const ABANDONED = 4000;
/** Close code: another connection resumed the session. */
export const TAKEN_OVER = 4001;
/** Close code: the client ignored rate limits. */
export const POLICY_VIOLATION = 1008;
/** Close code: the client reads too slowly, or the server shuts down. */
export const TRY_AGAIN_LATER = 1013;

/** @type {Readonly<Record<RoomEvent["type"], Shape>>} */
const ROOM_EVENT_SHAPES = {
  message: { id: "", room: "", nick: "", text: "" },
  action: { id: "", room: "", nick: "", text: "" },
  joined: { id: "", room: "", nick: "" },
  left: { id: "", room: "", nick: "" },
  nick: { id: "", room: "", nick: "", to: "" },
};

/** @type {Readonly<Record<ServerEvent["type"], Shape>>} */
const EVENT_SHAPES = {
  ...ROOM_EVENT_SHAPES,
  direct: { id: "", nick: "", text: "" },
  resumed: { recovered: true, missed: 0 },
  gap: { room: "", after: "", until: "", missed: 0 },
  error: { code: "", message: "" },
};

/** @type {Readonly<Record<ReplyType, Shape>>} */
const REPLY_SHAPES = {
  welcome: { nick: "", token: "" },
  ok: {},
  who: { nick: "" },
  rooms: { rooms: [] },
  members: { room: "", nicks: [] },
  history: { room: "", events: [] },
  pong: {},
};

/** @type {Readonly<Record<string, Shape>>} */
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
  if (typeof value !== "object" || value === null) return false;
  const line = /** @type {Record<string, unknown>} */ (value);
  if (typeof line.type !== "string") return false;
  // An own property: a type may be "constructor".
  const shape = Object.hasOwn(SHAPES, line.type) ? SHAPES[line.type] : {};
  return Object.entries(shape ?? {}).every(([field, example]) =>
    typeof line[field] === typeof example && Array.isArray(line[field]) === Array.isArray(example)
  );
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
 * Whether a parsed line is an event of a room.
 *
 * @param {Line} line
 * @returns {line is Line & RoomEvent}
 */
export function isRoomEvent(line) {
  return Object.hasOwn(ROOM_EVENT_SHAPES, line.type);
}

/**
 * Whether a line, also one inside a history reply, is a valid message or action.
 *
 * @param {Line} line
 * @returns {line is Line & (RoomMessageEvent | ActionEvent)}
 */
export function isRoomText(line) {
  return (line.type === "message" || line.type === "action") && isWellFormed(line);
}

/** Converts an error line. @param {Line} line */
export function errorOf(line) {
  return new ChatError(String(line.code), String(line.message), Number(line.retryAfter ?? 0));
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

/** Whether a request changes the nickname. @param {Line} request */
export function isRename({ type }) {
  return type === "nick" || type === "identify";
}
