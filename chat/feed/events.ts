/**
 * Events: what can happen in a room, the form in which it is stored, and the IDs that order it.
 *
 * Storage and Handler create events, the feed orders them, and Sender sends them. The form that a
 * client receives is not defined here (see delivery/text.ts and delivery/json.ts).
 */

/** Every kind of event, as it is stored. Append only: rows outlive programs. */
const EVENT_KINDS = ["message", "action", "join", "leave", "nick", "direct", "resume"] as const;

/**
 * The kind of an event. `message` and `action` (`/me`) are sent to a room; `join`, `leave` and `nick`
 * change its members; `direct` is sent to one connection. `resume` is sent to no client: from then on
 * another instance, or another socket, has the connection.
 */
export type EventKind = typeof EVENT_KINDS[number];

/** An event. All kinds have the same fields, which keeps property access fast. */
export interface RoomEvent {
  readonly kind: EventKind;
  /** Empty for `direct`, and for a connection in no room. */
  readonly room: string;
  /** The ID of the connection that caused it; for `direct` that of the receiver. */
  readonly id: string;
  /** The nickname of the author; for `nick` the old one. */
  readonly nick: string;
  /** The message; for `nick` the new nickname; for `resume` the instance that has it now; else empty. */
  readonly text: string;
  /** Unix milliseconds of the request, by the clock of the author's instance. */
  readonly time: number;
  /** The ID that the client gave its message, or empty. For `resume` the hash of the new token. */
  readonly cid: string;
  /** Only for `direct`: the connection of the author, if it can be resumed. */
  readonly from?: string;
  /** Only for `direct`: the nickname of the receiver, as the receiver writes it. */
  readonly to?: string;
}

/** An event and its ID. */
export interface LoggedEvent {
  /** See {@linkcode eventId}. */
  readonly eventId: string;
  readonly event: RoomEvent;
}

/** An event in the form of a feed row. */
export type StoredEvent = readonly (string | number)[];

/** Returns the stored form of an event. It is a tuple, because field names would double the row. */
export function pack(event: RoomEvent): StoredEvent {
  const { kind, room, id, nick, text, time, cid } = event;
  if (kind === "direct") {
    return [kind, room, id, nick, text, time, cid, event.from ?? "", event.to ?? ""];
  }
  return cid === "" ? [kind, room, id, nick, text, time] : [kind, room, id, nick, text, time, cid];
}

/** Returns the event in a stored form; `undefined` for a form or kind of another version. */
export function unpack(stored: unknown): RoomEvent | undefined {
  if (!Array.isArray(stored) || stored.length < 6) return undefined;
  const [kind, room, id, nick, text, time, cid = ""] = stored as unknown[];
  if (
    typeof room !== "string" || typeof id !== "string" || typeof nick !== "string" ||
    typeof text !== "string" || typeof time !== "number" || typeof cid !== "string"
  ) return undefined;
  const known = EVENT_KINDS.find((each) => each === kind);
  if (known !== "direct") return known && { kind: known, room, id, nick, text, time, cid };
  // Rows of earlier versions have neither.
  const [from, to] = stored.slice(7).map(String);
  return { kind: known, room, id, nick, text, time, cid, from: from || undefined, to };
}

/** Returns an upper bound of the bytes of an event in a KV value (V8's serialisation). */
export function estimateStoredBytes(
  { kind, room, id, nick, text, cid, from, to }: RoomEvent,
): number {
  // 40: the tuple itself, its kind and its time.
  let bytes = 40 + estimateStringBytes(room) + estimateStringBytes(id) +
    estimateStringBytes(nick) + estimateStringBytes(text);
  if (cid !== "") bytes += estimateStringBytes(cid);
  if (kind === "direct") {
    bytes += 8 + estimateStringBytes(from ?? "") + estimateStringBytes(to ?? "");
  }
  return bytes;
}

/** Returns a wider bound that is quicker to compute, to bound memory and rows with every event. */
export function maxStoredBytes({ kind, room, id, nick, text, cid, from, to }: RoomEvent): number {
  const direct = kind === "direct" ? (from ?? "").length + (to ?? "").length : 0;
  return 80 + 2 * (room.length + id.length + nick.length + text.length + cid.length + direct);
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
