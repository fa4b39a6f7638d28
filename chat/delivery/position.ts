/**
 * A client's position in plain text: one word in front of every line of a client that can resume.
 * The client gives the word back as `last` when it reconnects.
 *
 * The word names the last event of the room, the last direct message received and the last one sent:
 * `{room}`, `{room}_{received}` or `{room}_{received}_{sent}`, each part empty if there was none. One
 * ID is not enough, because events of the three streams have no order among each other.
 */

/** The IDs of the last events that a client was shown, one a stream; empty if there was none. */
export interface Position {
  room: string;
  direct: string;
  sent: string;
}

/** The form of an event ID: see {@linkcode eventId}. */
const ID = /^[a-u][0-9a-f]{3,30}$/;

/** Code units of a position that are read; a valid one is shorter. */
const MAX_UNITS = 128;

/** Returns the position of a client that was shown no event. */
export function newPosition(): Position {
  return { room: "", direct: "", sent: "" };
}

/** Returns the word for a position. */
export function encodePosition({ room, direct, sent }: Position): string {
  if (sent !== "") return `${room}_${direct}_${sent}`;
  return direct === "" ? room : `${room}_${direct}`;
}

/** Returns the position that a word names, or `undefined` for any other word. */
export function decodePosition(word: string): Position | undefined {
  const [room = "", direct = "", sent = "", ...more] = word.slice(0, MAX_UNITS).split("_");
  const isPosition = more.length === 0 && word !== "" &&
    [room, direct, sent].every((id) => id === "" || ID.test(id));
  return isPosition ? { room, direct, sent } : undefined;
}
