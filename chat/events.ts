/**
 * What can happen in a room, and the form in which it is stored.
 *
 * A helper below the way of a message: Storage and Handler make events, the feed orders them,
 * Sender shows them. What an event looks like to a client is not said here (see text.ts).
 */

/** Every kind of event, in the spelling in which it is stored. Append only: rows outlive programs. */
const KINDS = ["message", "action", "join", "leave", "nick", "direct"] as const;

/**
 * `message` and `action` (`/me`) are said to a room; `join`, `leave` and `nick` change who is in it;
 * `direct` is said to one connection, in whatever room it is, or in none.
 */
export type Kind = typeof KINDS[number];

/** Something that happened, mostly in a room. All kinds have the same fields, so that code stays fast. */
export interface RoomEvent {
  readonly kind: Kind;
  /** For `direct` empty. */
  readonly room: string;
  /** The connection it is about; for `direct` the one it is for. */
  readonly id: string;
  /** Whose doing it is, by nickname; for `nick` the old one. */
  readonly nick: string;
  /** What was said; for `nick` the new nickname; else empty. */
  readonly text: string;
  /** When it was asked for, by the clock of the instance that did, in Unix milliseconds. */
  readonly time: number;
}

/** An event as it stands in a feed row. */
export type StoredEvent = readonly [string, string, string, string, string, number];

/** The stored form of an event. A tuple: the names of its fields would double the row. */
export function pack(event: RoomEvent): StoredEvent {
  return [event.kind, event.room, event.id, event.nick, event.text, event.time];
}

/** The event in a stored form, or `undefined` for what this version of the program does not know. */
export function unpack(stored: unknown): RoomEvent | undefined {
  if (!Array.isArray(stored) || stored.length < 6) return undefined;
  const [kind, room, id, nick, text, time] = stored as unknown[];
  if (
    typeof room !== "string" || typeof id !== "string" || typeof nick !== "string" ||
    typeof text !== "string" || typeof time !== "number"
  ) return undefined;
  const known = KINDS.find((each) => each === kind);
  return known && { kind: known, room, id, nick, text, time };
}

/** An upper bound of what an event takes in a KV value (V8's serialisation), in bytes. */
export function packedBytes(event: RoomEvent): number {
  return 64 + stringBytes(event.room) + stringBytes(event.id) + stringBytes(event.nick) +
    stringBytes(event.text);
}

// deno-lint-ignore no-control-regex -- the whole of Latin-1 is meant, controls included
const BEYOND_LATIN1 = /[^\x00-\xff]/;

// V8 writes a string in one byte a character where that is enough, else in two.
function stringBytes(text: string): number {
  return 8 + (BEYOND_LATIN1.test(text) ? 2 * text.length : text.length);
}
