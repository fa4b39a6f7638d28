/**
 * Events: what can happen in a room, the form in which it is stored, and the IDs that order it.
 *
 * Storage and Handler create events, the feed orders them, and Sender sends them. The form that a
 * client receives is not defined here (see delivery/text.ts and delivery/json.ts).
 */

/** Every kind of event, as it is stored. Append only: rows outlive programs. */
const EVENT_KINDS = [
  "message",
  "action",
  "join",
  "leave",
  "nick",
  "direct",
  "resume",
  "edit",
  "delete",
  "read",
  "act",
  "reaction",
  "away",
] as const;

/**
 * The kind of an event.
 *
 * - `message` and `action` (`/me`) are sent to a room.
 * - `join`, `leave` and `nick` change its members. A `nick` may also change the user: the session has
 *   signed in to a registration, or out of it.
 * - `edit` and `delete` change an earlier message of the same author, in a room or to one user.
 * - `direct` is a message to one user. All sessions of both users receive it.
 * - `read` moves a user's read marker. Only the sessions of that user receive it.
 * - `act` is an act of moderation (see {@linkcode ACTS}), in a room or on the whole chat. A quiet one
 *   only tells a shard: see {@linkcode Operation.copies}.
 * - `reaction` adds an emoji to an earlier message, or removes it, in a room or between two users.
 * - `away` tells that the client of a session is away from a room, or back.
 * - `resume` is sent to no client: from then on another instance, or another socket, has the session.
 */
export type EventKind = typeof EVENT_KINDS[number];

/** A user as events and lists name it. */
export interface UserRef {
  /** The user's ID: that of its registration or, for an unregistered user, of its session. */
  readonly user: string;
  readonly nick: string;
  /** Whether the user has signed in to a registered nickname. */
  readonly isRegistered: boolean;
}

/** An event. All kinds have the same fields, which keeps property access fast. */
export interface RoomEvent {
  readonly kind: EventKind;
  /** Empty for `direct`, for an `act` on the whole chat, for what belongs to direct messages, and for a session in no room. */
  readonly room: string;
  /** The ID of the session that caused it. */
  readonly id: string;
  /** The user ID of the author's registration; empty: the author is not registered. */
  readonly account: string;
  /** The nickname of the author; for `nick` the old one. */
  readonly nick: string;
  /** The message, or its new text; for `reaction` the emoji; for `resume` the instance that has the session now; for `act` the
   * reason or the topic; else empty. */
  readonly text: string;
  /** Unix milliseconds of the request, by the clock of the author's instance. */
  readonly time: number;
  /** The ID that the client gave its message, or empty. For `resume` the hash of the new token. */
  readonly cid: string;
  /**
   * For `nick`: the user from then on. For `direct`: the receiver. For `act`: the user concerned. For `edit`, `delete` and `read`
   * outside rooms: the other user of the conversation.
   *
   * For `join` and `leave`: the session stays in the room, and speaks for this user from then on. A
   * `leave` tells that the earlier user has no other session there, a `join` that the new one had none.
   */
  readonly to?: UserRef;
  /** For `edit` and `delete`: the ID of the message. For `read`: the ID up to which all is read.
   * For `act`: its name. */
  readonly target?: string;
  /**
   * For `join` and `leave`: another session of the user is in the room, so the room is not told. Only
   * the session itself is. For `nick`: both users have other sessions in the room, so no client is told.
   * The event only keeps lists of members right. For `away`: the user's state in the room stays the same.
   */
  readonly isQuiet?: boolean;
  /** For `act`: Unix milliseconds at which it ends by itself; absent: it does not. */
  readonly until?: number;
  /** For `act`: the network, or the ID of the message, that it is about. */
  readonly subject?: string;
  /** For `act`: its number, such as the seconds of slow mode. For `reaction`: how many users have reacted
   * with the emoji after it. For `away`: 1 away, 0 back. */
  readonly count?: number;
  /** For `reaction`: it is taken back. */
  readonly isRemoved?: boolean;
  /** Only in history. Unix milliseconds at which the message was edited or deleted; absent: never. */
  readonly editedAt?: number;
  readonly deletedAt?: number;
  /** Only in history. Who reacted to the message: see base/reactions.ts. */
  readonly reactions?: string;
}

/** An event and its ID. */
export interface LoggedEvent {
  /** See {@linkcode eventId}. */
  readonly eventId: string;
  readonly event: RoomEvent;
}

/** An event in the form of a feed row. */
export type StoredEvent = readonly (string | number)[];

/** Returns the ID of the user that an event is by. */
export function authorOf({ account, id }: Pick<RoomEvent, "account" | "id">): string {
  return account || id;
}

/** Returns the author of an event; for `nick` with the old nickname. */
export function authorRef({ account, id, nick }: RoomEvent): UserRef {
  return { user: account || id, nick, isRegistered: account !== "" };
}

/** Fields of a stored event before those that only some kinds have. */
const COMMON_FIELDS = 8;

/** Returns the stored form of an event. It is a tuple, because field names would double the row. */
export function pack(event: RoomEvent): StoredEvent {
  const { kind, room, id, nick, text, time, cid, account } = event;
  const own = ownFields(event);
  if (own.length > 0) return [kind, room, id, nick, text, time, cid, account, ...own];
  if (account !== "") return [kind, room, id, nick, text, time, cid, account];
  return cid === "" ? [kind, room, id, nick, text, time] : [kind, room, id, nick, text, time, cid];
}

const NO_FIELDS: readonly (string | number)[] = [];

/** Returns the stored fields that only events of this kind have. */
function ownFields(event: RoomEvent): readonly (string | number)[] {
  const { kind, to, target = "", isQuiet } = event;
  switch (kind) {
    case "message":
    case "action":
      return storedRevisions(event);
    case "join":
    case "leave":
      if (to === undefined) return isQuiet ? [1] : [];
      return [Number(isQuiet ?? false), ...storedUser(to)];
    case "nick":
      return isQuiet ? [...storedUser(to), 1] : storedUser(to);
    case "direct":
      return [...storedUser(to), ...storedRevisions(event)];
    case "edit":
    case "delete":
    case "read":
      return [target, ...to === undefined ? [] : storedUser(to)];
    case "reaction":
      return [target, Number(event.isRemoved ?? false), event.count ?? 0, ...storedUser(to)];
    case "away":
      return isQuiet ? [event.count ?? 0, 1] : [event.count ?? 0];
    case "resume":
      return [];
    case "act": {
      const { until = 0, subject = "", count = -1 } = event;
      return [target, Number(isQuiet ?? false), until, count, subject, ...storedUser(to)];
    }
    default:
      return kind satisfies never;
  }
}

/** Returns what was done to a message, without the fields at the end that say nothing. */
function storedRevisions(
  { editedAt = 0, deletedAt = 0, reactions }: RoomEvent,
): readonly (string | number)[] {
  if (reactions !== undefined) return [editedAt, deletedAt, reactions];
  return editedAt + deletedAt === 0 ? NO_FIELDS : [editedAt, deletedAt];
}

function storedUser(to: UserRef | undefined): (string | number)[] {
  return to === undefined ? [] : [to.user, to.nick, Number(to.isRegistered)];
}

/** Returns the event in a stored form; `undefined` for a form or kind of another version. */
export function unpack(stored: unknown): RoomEvent | undefined {
  if (!Array.isArray(stored) || stored.length < 6) return undefined;
  const [name, room, id, nick, text, time, cid = "", account = ""] = stored as unknown[];
  if (
    typeof room !== "string" || typeof id !== "string" || typeof nick !== "string" ||
    typeof text !== "string" || typeof time !== "number" || typeof cid !== "string" ||
    typeof account !== "string"
  ) return undefined;
  const kind = EVENT_KINDS.find((each) => each === name);
  if (kind === undefined) return undefined;
  const event = { kind, room, id, account, nick, text, time, cid };
  const own = stored.slice(COMMON_FIELDS) as unknown[];
  switch (kind) {
    case "message":
    case "action":
      return own.length === 0 ? event : { ...event, ...revisedAt(own) };
    case "join":
    case "leave":
      if (own.length === 0) return event;
      return { ...event, isQuiet: own[0] === 1 || undefined, to: userFrom(own.slice(1)) };
    case "nick": {
      // Earlier versions stored the new nickname in place of the text, and changed no user.
      const to = userFrom(own) ?? { user: account || id, nick: text, isRegistered: account !== "" };
      return { ...event, text: "", to, isQuiet: own[3] === 1 || undefined };
    }
    case "direct": {
      const to = userFrom(own);
      // Earlier versions sent direct messages to sessions, which are over.
      return to && { ...event, to, ...revisedAt(own.slice(3)) };
    }
    case "edit":
    case "delete":
    case "read":
      return { ...event, target: String(own[0]), to: userFrom(own.slice(1)) };
    case "reaction": {
      const [target, removed, count, ...user] = own;
      const isRemoved = removed === 1 || undefined;
      const to = userFrom(user);
      return { ...event, target: String(target), isRemoved, count: Number(count), to };
    }
    case "away":
      return { ...event, count: own[0] === 1 ? 1 : 0, isQuiet: own[1] === 1 || undefined };
    case "resume":
      return event;
    case "act": {
      const [target, isQuiet, until, count, subject, ...user] = own;
      return {
        ...event,
        target: String(target),
        isQuiet: isQuiet === 1 || undefined,
        until: Number(until) || undefined,
        count: typeof count === "number" && count >= 0 ? count : undefined,
        subject: typeof subject === "string" && subject !== "" ? subject : undefined,
        to: userFrom(user),
      };
    }
    default:
      return kind satisfies never;
  }
}

function userFrom([user, nick, isRegistered]: unknown[]): UserRef | undefined {
  if (typeof user !== "string" || typeof nick !== "string") return undefined;
  return { user, nick, isRegistered: isRegistered === 1 };
}

function revisedAt(
  [editedAt, deletedAt, reactions]: unknown[],
): Pick<RoomEvent, "editedAt" | "deletedAt" | "reactions"> {
  return {
    editedAt: Number(editedAt) || undefined,
    deletedAt: Number(deletedAt) || undefined,
    reactions: typeof reactions === "string" ? reactions : undefined,
  };
}

/** Bytes of the numbers that only an `act` has, and of the length of its subject. */
const ACT_BYTES = 40;

/** Returns an upper bound of the bytes of an event in a KV value (V8's serialisation). */
export function estimateStoredBytes(event: RoomEvent): number {
  const { kind, room, id, nick, text, cid, account, to, target } = event;
  // 40: the tuple itself, its kind and its time.
  let bytes = 40 + estimateStringBytes(room) + estimateStringBytes(id) +
    estimateStringBytes(nick) + estimateStringBytes(text);
  if (cid !== "") bytes += estimateStringBytes(cid);
  if (account !== "") bytes += estimateStringBytes(account) + 5;
  if (to !== undefined) bytes += estimateStringBytes(to.user) + estimateStringBytes(to.nick) + 32;
  if (target !== undefined) bytes += estimateStringBytes(target) + 10;
  if (event.reactions !== undefined) bytes += estimateStringBytes(event.reactions) + 10;
  if (kind === "act") bytes += ACT_BYTES + estimateStringBytes(event.subject ?? "");
  return bytes;
}

/** Returns a wider bound that is quicker to compute, to bound memory and rows with every event. */
export function maxStoredBytes(event: RoomEvent): number {
  const { kind, room, id, nick, text, cid, account, to, target } = event;
  const more = to === undefined ? 0 : to.user.length + to.nick.length + 16;
  const ofAct = kind === "act" ? ACT_BYTES + 2 * (event.subject?.length ?? 0) : 0;
  return 80 + ofAct + (target?.length ?? 0) + (event.reactions?.length ?? 0) +
    2 * (room.length + id.length + nick.length + text.length + cid.length + account.length + more);
}

/**
 * Returns the common beginning of the event IDs of one commit: the versionstamp without leading zeros,
 * after a letter for its length, so that IDs compare as strings.
 */
export function eventIdPrefix(versionstamp: string): string {
  const digits = versionstamp.replace(/^0+/, "");
  return String.fromCharCode(97 + digits.length) + digits;
}

/** Returns the ID of the event at `index` of a commit. IDs compare as strings, in the feed's order. */
export function eventId(prefix: string, index: number): string {
  return prefix + index.toString(16).padStart(3, "0");
}

/** Returns a string that is later than every event ID of a commit, and earlier than all later IDs. */
export function afterCommit(versionstamp: string): string {
  return eventIdPrefix(versionstamp) + "~";
}

// deno-lint-ignore no-control-regex -- all of Latin-1, control characters included
const BEYOND_LATIN1 = /[^\x00-\xff]/;

/**
 * Returns an upper bound of the bytes of a string in V8's serialisation: one byte a character in
 * Latin-1, else two; before that a tag, the length in one to three bytes, and one byte of padding.
 */
export function estimateStringBytes(text: string): number {
  return 5 + (BEYOND_LATIN1.test(text) ? 2 * text.length : text.length);
}
