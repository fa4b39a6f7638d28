/**
 * The `chat.v1` protocol: a frame holds one or more JSON objects, one a line.
 *
 * Connection hands in one line at a time. A request with a `ref` has exactly one reply with it. The
 * requests are in requests.ts; chat/docs/PROTOCOL.md describes the protocol.
 */
import type { ZodError } from "zod";
import { frameTooLarge } from "../base/close_codes.ts";
import { type Limits, utf8Size } from "../base/limits.ts";
import type { Metrics } from "../base/metrics.ts";
import { reject, type Rejection, rejection, type Result } from "../base/rejections.ts";
import {
  encodeJson,
  encodeReply,
  encodeRoomState,
  type Ref,
  type UserFields,
  userFields,
} from "../delivery/json.ts";
import type { Sender } from "../delivery/sender.ts";
import type { RoomEvent } from "../feed/events.ts";
import { userRefOf } from "../storage/records.ts";
import type { Connection, ParsedRequest, Protocol } from "../connections/connection.ts";
import type { Handler } from "../handler/handler.ts";
import { readObject } from "./json_object.ts";
import { costOf, messageCost } from "../connections/rate_limiter.ts";
import {
  MAX_FRAME_BYTES,
  type ReadRequest,
  ref as refSchema,
  type RequestType,
} from "./request_types.ts";
import { REQUESTS } from "./requests.ts";
import type { ConversationState, UserState } from "../handler/welcome.ts";

/** The name of the subprotocol. */
export const CHAT_V1 = "chat.v1";

/** What the protocol is made of. */
export interface ChatV1Parts {
  readonly handler: Handler;
  readonly sender: Sender;
  readonly limits: Limits;
  readonly metrics: Metrics;
  /** Milliseconds for which a dropped session can be resumed. */
  readonly graceMs: number;
  /** Milliseconds for which messages are kept. */
  readonly retentionMs: number;
  /** Milliseconds within which users may edit and delete their messages. */
  readonly editMs: number;
}

/** Bytes of a frame that closes the connection: no honest client sends so much. */
const MAX_ACCEPTED_BYTES = 4 * 1024 * 1024;

/** Code units of an unknown type that are repeated in the error. */
const MAX_QUOTED_UNITS = 64;

const notNamed = reject("not-named", 'First log in: {"type":"login","nick":…}.');
const alreadyNamed = reject("already-named", "Already logged in.");

/** The `chat.v1` protocol, for all connections of an instance. */
export class ChatV1 implements Protocol {
  readonly wire = "json";
  readonly name = CHAT_V1;
  readonly handler: Handler;
  readonly sender: Sender;
  readonly #parts: ChatV1Parts;

  constructor(parts: ChatV1Parts) {
    this.handler = parts.handler;
    this.sender = parts.sender;
    this.#parts = parts;
  }

  /** Returns the requests of a frame, one a line. */
  split(connection: Connection, frame: string, bytes: number): readonly string[] {
    if (bytes <= MAX_FRAME_BYTES) {
      return frame.includes("\n")
        ? frame.split("\n").filter((line) => line.trim() !== "")
        : [frame];
    }
    if (bytes > MAX_ACCEPTED_BYTES) connection.close(frameTooLarge(MAX_FRAME_BYTES));
    else this.reject(connection, rejection.tooLong(bytes, MAX_FRAME_BYTES));
    return [];
  }

  /** Reads a request. */
  parse(connection: Connection, line: string): ParsedRequest {
    const { type, request, ref, rejection } = readRequest(line);
    const { action = "command", allowed, waitsForMessages = false, maxReplyBytes } = type ?? {};
    const wrongTime = connection.isNamed
      ? allowed === "before login" ? alreadyNamed : undefined
      : allowed === "after login"
      ? notNamed
      : undefined;
    return {
      action,
      cost: () => Math.max(costOf(line.length), messageCost(request?.text ?? "")),
      rejection: rejection ?? wrongTime,
      waitsForMessages,
      maxReplyBytes,
      run: () => request?.run(this, connection),
      reject: (why) => this.replyError(connection, ref, why),
    };
  }

  /** Sends an error without a `ref`. */
  reject(connection: Connection, why: Rejection): void {
    this.replyError(connection, undefined, why);
  }

  /** Sends a reply. */
  reply(connection: Connection, type: string, ref: Ref, fields?: Record<string, unknown>): void {
    connection.reply(encodeReply(type, ref, fields));
  }

  /** Sends an error. */
  replyError(connection: Connection, ref: Ref, { code, message, retryAfterMs }: Rejection): void {
    this.#parts.metrics.rejected(code);
    this.reply(connection, "error", ref, { code, message, retryAfter: retryAfterMs });
  }

  /** Sends `ok` with the event's ID and more fields, if the request had a `ref`, or the error. */
  replyOk(
    connection: Connection,
    ref: Ref,
    result: Result<{ eventId?: string }>,
    more?: object,
  ): void {
    if (!result.ok) return this.replyError(connection, ref, result);
    if (ref !== undefined) this.reply(connection, "ok", ref, { id: result.eventId, ...more });
  }

  /** Returns an event as a line of JSON, for a client that reads it from history. */
  encode({ session }: Connection, event: RoomEvent, eventId: string): string {
    return encodeJson(event, eventId, this.#parts.retentionMs > 0, session.user);
  }

  /** Returns the fields that name the client's user. */
  userOf({ session }: Connection): UserFields {
    return userFields(userRefOf(session));
  }

  /** Welcomes a client after its login or resume. Returns its user's conversations. */
  async welcome(
    connection: Connection,
    ref: Ref,
    token: string,
  ): Promise<readonly ConversationState[]> {
    const { fields, conversations, counted } = await this.stateOf(connection);
    connection.replyLarge(encodeReply("welcome", ref, { token, ...fields }), counted);
    return conversations;
  }

  /**
   * Returns what a client is told when it begins to speak for a user: the user, its rooms and
   * conversations, and the server's limits. The reply that has the fields is charged for `counted`
   * messages.
   */
  async stateOf(
    connection: Connection,
  ): Promise<Pick<UserState, "conversations" | "counted"> & { fields: Record<string, unknown> }> {
    const { limits, graceMs, retentionMs, editMs } = this.#parts;
    const { session } = connection;
    const { rooms, conversations, counted } = await this.handler.welcome.stateOf(session);
    const fields = {
      ...this.userOf(connection),
      session: connection.id,
      grace: graceMs / 1000,
      history: retentionMs / 1000,
      edit: editMs / 1000,
      limits: {
        text: limits.maxMessageBytes,
        nick: limits.maxNicknameChars,
        room: limits.maxRoomChars,
        rooms: limits.maxRooms,
      },
      rooms: rooms.map(({ isJoined, ...room }) => ({ ...room, joined: isJoined })),
      directs: session.account === ""
        ? undefined
        : conversations.map(({ other, ...state }) => ({ ...userFields(other), ...state })),
    };
    return { fields, conversations, counted };
  }

  /** Returns the state of a room that a client is in, as a line; empty: nothing is set there. */
  roomStateOf(connection: Connection, room: string): string {
    const state = this.handler.moderating.stateOf(connection, room);
    return state === undefined ? "" : encodeRoomState(state);
  }

  /**
   * Runs a request that may change which user a session speaks for, or the session's role. Afterwards tells
   * the client the states of its rooms that have changed by that.
   */
  async withRoomStates<T>(connection: Connection, run: () => Promise<T>): Promise<T> {
    const { moderating } = this.handler;
    const stateOf = (room: string) =>
      encodeRoomState(moderating.stateOf(connection, room) ?? { room });
    const before = new Map([...connection.session.rooms].map((room) => [room, stateOf(room)]));
    const result = await run();
    for (const room of connection.session.rooms) {
      const state = stateOf(room);
      if (before.has(room) && before.get(room) !== state) connection.reply(state);
    }
    return result;
  }

  /** Returns the rejection of a text that is too long. */
  tooLong(text: string): Rejection | undefined {
    const { maxMessageBytes: messageBytes } = this.#parts.limits;
    const bytes = utf8Size(text, messageBytes);
    return bytes > messageBytes ? rejection.tooLong(bytes, messageBytes) : undefined;
  }
}

/** A line that was read; the `ref` of a wrong request is kept if it is right itself. */
interface ReadLine {
  readonly ref: Ref;
  readonly type?: RequestType;
  readonly request?: ReadRequest;
  readonly rejection?: Rejection;
}

function readRequest(line: string): ReadLine {
  const { value, rejection } = readObject(line);
  if (value === undefined) return { ref: undefined, rejection };
  const ref = refSchema.safeParse((value as { ref?: unknown }).ref).data;
  if (rejection !== undefined) return { ref, rejection };
  const { type: name } = value as { type?: unknown };
  if (name === undefined) return { ref, rejection: reject("bad-request", "type: missing.") };
  if (typeof name !== "string") {
    return { ref, rejection: reject("bad-request", "type: must be a string.") };
  }
  if (!Object.hasOwn(REQUESTS, name)) {
    const quoted = JSON.stringify(name.slice(0, MAX_QUOTED_UNITS));
    return { ref, rejection: reject("unknown-type", `Unknown request type ${quoted}.`) };
  }
  const type = REQUESTS[name]!;
  const request = type.read(value);
  // A wrong request counts as a command, whatever its type.
  if ("issues" in request) return { ref, rejection: wrongField(value, request) };
  return { ref: request.ref, type, request };
}

function wrongField(value: object, { issues }: ZodError): Rejection {
  const { path, code, message, ...issue } = issues[0]!;
  return reject("bad-request", `${shownPath()}: ${why()}.`);

  function shownPath(): string {
    return path.map(String).join(".").slice(0, MAX_QUOTED_UNITS).toWellFormed();
  }

  function why(): string {
    if (isMissing(value, path)) return "missing";
    if (code === "custom") return message;
    if (code !== "invalid_type" || !("expected" in issue)) {
      return message.charAt(0).toLowerCase() + message.slice(1);
    }
    switch (issue.expected) {
      case "int":
        return "must be a whole number";
      case "record":
        return "must be an object";
      default:
        return `must be a ${issue.expected}`;
    }
  }
}

function isMissing(value: object, path: readonly PropertyKey[]): boolean {
  let inner: unknown = value;
  for (const name of path) {
    if (typeof inner !== "object" || inner === null || !Object.hasOwn(inner, name)) return true;
    inner = (inner as Record<PropertyKey, unknown>)[name];
  }
  return false;
}
