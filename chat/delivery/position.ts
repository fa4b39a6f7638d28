/**
 * A place in plain text: one word that stands in front of every line of a client that may resume,
 * and that the client gives back as `last`.
 *
 * It names the last event of the room, the last direct message that was received, and the last one
 * that was sent: `{room}`, `{room}_{received}` or `{room}_{received}_{sent}`, each part empty if
 * there was none. One ID is not enough: events of the three come in no order among each other.
 */

/** The IDs of the last events that a client was shown, of each kind; empty: none. */
export interface Place {
  room: string;
  direct: string;
  sent: string;
}

/** What an ID looks like: see {@linkcode eventId}. */
const ID = /^[a-u][0-9a-f]{3,30}$/;

/** The place before any event. */
export function newPlace(): Place {
  return { room: "", direct: "", sent: "" };
}

/** The word for a place. */
export function encodePlace({ room, direct, sent }: Place): string {
  if (sent !== "") return `${room}_${direct}_${sent}`;
  return direct === "" ? room : `${room}_${direct}`;
}

/** The place that a word names, or `undefined` if the word is none. */
export function decodePlace(word: string): Place | undefined {
  const [room = "", direct = "", sent = "", ...more] = word.slice(0, 128).split("_");
  const isPlace = more.length === 0 && word !== "" &&
    [room, direct, sent].every((id) => id === "" || ID.test(id));
  return isPlace ? { room, direct, sent } : undefined;
}
