/**
 * What can happen in a room, the form in which it is stored, and the ids by which it is ordered.
 *
 * A helper below the way of a message: Storage and Handler make events, the feed orders them,
 * Sender shows them. What an event looks like to a client is not said here (see text.ts, json.ts).
 */

/** Every kind of event, in the spelling in which it is stored. Append only: rows outlive programs. */
const EVENT_KINDS = ["message", "action", "join", "leave", "nick", "direct", "resume"] as const;

/**
 * `message` and `action` (`/me`) are said to a room; `join`, `leave` and `nick` change who is in it;
 * `direct` is said to one connection, in whatever room it is, or in none; `resume` is shown to
 * nobody: from there on another instance, or another socket, has the connection.
 */
export type EventKind = typeof EVENT_KINDS[number];

/** Something that happened, mostly in a room. All kinds have the same fields, so that code stays fast. */
export interface RoomEvent {
  readonly kind: EventKind;
  /** For `direct`, and in no room, empty. */
  readonly room: string;
  /** The connection it is about; for `direct` the one it is for. */
  readonly id: string;
  /** Whose doing it is, by nickname; for `nick` the old one. */
  readonly nick: string;
  /** What was said; for `nick` the new nickname; for `resume` the instance that has it now; else empty. */
  readonly text: string;
  /** When it was asked for, by the clock of the instance that did, in Unix milliseconds. */
  readonly time: number;
  /** The client's own id of what it said, or empty. */
  readonly cid: string;
  /** Only for `direct`: the connection that said it, if that can be resumed. */
  readonly from?: string;
  /** Only for `direct`: the nickname of the one it is for, as it is written. */
  readonly to?: string;
}

/** An event, and its place in the one order. */
export interface LoggedEvent {
  /** See {@linkcode eventId}. */
  readonly eventId: string;
  readonly event: RoomEvent;
}

/** An event as it stands in a feed row. */
export type StoredEvent = readonly (string | number)[];

/** The stored form of an event. A tuple: the names of its fields would double the row. */
export function pack(event: RoomEvent): StoredEvent {
  const { kind, room, id, nick, text, time, cid } = event;
  if (kind === "direct") {
    return [kind, room, id, nick, text, time, cid, event.from ?? "", event.to ?? ""];
  }
  return cid === "" ? [kind, room, id, nick, text, time] : [kind, room, id, nick, text, time, cid];
}

/** The event in a stored form, or `undefined` for what this version of the program does not know. */
export function unpack(stored: unknown): RoomEvent | undefined {
  if (!Array.isArray(stored) || stored.length < 6) return undefined;
  const [kind, room, id, nick, text, time, cid = ""] = stored as unknown[];
  if (
    typeof room !== "string" || typeof id !== "string" || typeof nick !== "string" ||
    typeof text !== "string" || typeof time !== "number" || typeof cid !== "string"
  ) return undefined;
  const known = EVENT_KINDS.find((each) => each === kind);
  if (known !== "direct") return known && { kind: known, room, id, nick, text, time, cid };
  // Rows of earlier versions say neither.
  const [from, to] = stored.slice(7).map(String);
  return { kind: known, room, id, nick, text, time, cid, from: from || undefined, to };
}

/** An upper bound of what an event takes in a KV value (V8's serialisation), in bytes. */
export function estimateStoredBytes(
  { kind, room, id, nick, text, cid, from, to }: RoomEvent,
): number {
  // 40: the tuple itself, its kind and its time.
  return (kind === "direct"
    ? 8 + estimateStringBytes(from ?? "") + estimateStringBytes(to ?? "")
    : 0) +
    40 + estimateStringBytes(room) + estimateStringBytes(id) + estimateStringBytes(nick) +
    estimateStringBytes(text) +
    (cid === "" ? 0 : estimateStringBytes(cid));
}

/** The same, wider and quicker: for every event, only to keep memory and rows within bounds. */
export function maxStoredBytes({ kind, room, id, nick, text, cid, from, to }: RoomEvent): number {
  const direct = kind === "direct" ? (from ?? "").length + (to ?? "").length : 0;
  return 80 + 2 * (room.length + id.length + nick.length + text.length + cid.length + direct);
}

/**
 * What the ids of the events of one commit begin with. A versionstamp without the zeros in front,
 * and in front of that its length as a letter, so that ids still compare as strings.
 */
export function eventIdPrefix(versionstamp: string): string {
  const digits = versionstamp.replace(/^0+/, "");
  return String.fromCharCode(97 + digits.length) + digits;
}

/** The id of the event at `index` of a commit: its place in the one order, compared as a string. */
export function eventId(prefix: string, index: number): string {
  return prefix + index.toString(16).padStart(3, "0");
}

/** What is greater than every id of that commit, and less than every later one. */
export function afterCommit(versionstamp: string): string {
  return eventIdPrefix(versionstamp) + "~";
}

// deno-lint-ignore no-control-regex -- the whole of Latin-1 is meant, controls included
const BEYOND_LATIN1 = /[^\x00-\xff]/;

/**
 * An upper bound of what a string takes in V8's serialisation, in bytes: one a character where that is
 * enough, else two; before that a tag, the length in one to three bytes, and one more so that two
 * bytes stand at an even place.
 */
export function estimateStringBytes(text: string): number {
  return 5 + (BEYOND_LATIN1.test(text) ? 2 * text.length : text.length);
}
