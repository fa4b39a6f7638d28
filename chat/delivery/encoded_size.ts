/**
 * How many bytes something takes on the wire, and how much fits into one reply.
 *
 * A helper below the way of a message: Handler bounds pages by it, RateLimiter charges by it. It
 * encodes nothing itself (see text.ts, json.ts), and its numbers are upper bounds.
 */
import type { RoomEvent } from "../feed/events.ts";

/**
 * Most bytes of one page of history or of one list. Four such replies fit into what may wait for one
 * socket ({@linkcode Limits.bufferedBytes}). The largest single event is smaller: 24 KiB of text, each
 * byte of it a six-byte escape, are 144 KiB.
 */
export const MAX_REPLY_BYTES = 256 * 1024;

/** Most bytes of what is told to a client that comes back. */
export const MAX_RESUME_BYTES = 2 * MAX_REPLY_BYTES;

/** Bytes of an event beside its strings: field names, punctuation, its ID and its time. */
const ENVELOPE_BYTES = 128;

/** What must be looked at one by one: everything but printable ASCII without `"` and `\`. */
const NOT_PLAIN = /[^ !#-\[\]-~]/;

/**
 * Returns the most bytes that a text takes, in `chat.v1` (a JSON string: `"` and `\` take two bytes,
 * most control characters and lone surrogates six) or in plain text (a line break takes five: four
 * spaces follow it).
 */
export function encodedBytes(text: string): number {
  if (!NOT_PLAIN.test(text)) return text.length;
  let bytes = 0;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit === 0x0a) bytes += 5;
    else if (unit < 0x20) bytes += 6;
    else if (unit === 0x22 || unit === 0x5c) bytes += 2;
    else if (unit < 0x7f) bytes += 1;
    // DEL and C1 are shown as one character of three bytes in plain text.
    else if (unit < 0xa0) bytes += 3;
    else if (unit < 0x800) bytes += 2;
    else if (unit < 0xd800 || unit > 0xdfff) bytes += 3;
    else if (isPair(text, i)) {
      bytes += 4;
      i++;
    } else bytes += 6;
  }
  return bytes;
}

/** Returns the most bytes that an event takes, its ID and field names included. */
export function encodedEventBytes({ room, nick, text, cid, to = "" }: RoomEvent): number {
  return ENVELOPE_BYTES + encodedBytes(room) + encodedBytes(nick) + encodedBytes(text) +
    encodedBytes(cid) + encodedBytes(to);
}

/** Returns how many of the first items fit into `maxBytes`; `bytesOf` says what one takes. */
export function countThatFits<T>(
  items: readonly T[],
  maxBytes: number,
  bytesOf: (item: T) => number,
): number {
  let bytes = 0;
  for (const [i, item] of items.entries()) {
    bytes += bytesOf(item);
    if (bytes > maxBytes) return i;
  }
  return items.length;
}

function isPair(text: string, i: number): boolean {
  const low = text.charCodeAt(i + 1);
  return text.charCodeAt(i) < 0xdc00 && low >= 0xdc00 && low <= 0xdfff;
}
