/**
 * Upper bounds of the bytes that texts and events take on the wire.
 *
 * Handler bounds pages of history by them, and RateLimiter charges by them. This file encodes
 * nothing (see text.ts and json.ts).
 */
import { REACTIONS } from "../base/reactions.ts";
import type { RoomEvent } from "../feed/events.ts";

/**
 * The most bytes of one page of history or of one list. Four such replies fit into the unsent data of
 * one socket ({@linkcode Limits.bufferedBytes}). The largest single event is smaller: 24 KiB of text,
 * each byte of it a six-byte escape, are 144 KiB.
 */
export const MAX_REPLY_BYTES = 256 * 1024;

/** The most bytes of missed events that a client receives when it resumes. */
export const MAX_RESUME_BYTES = 2 * MAX_REPLY_BYTES;

/** Bytes of an event besides its strings: field names, punctuation, its ID and its times. */
const ENVELOPE_BYTES = 168;

/** Further bytes of an event that names a second user, besides the user's ID and nickname. */
const USER_BYTES = 64;

/** Further bytes of an event that names another event, besides that one's ID. */
const TARGET_BYTES = 16;

/** The most bytes of the counts of all reactions to a message. */
const REACTIONS_BYTES = 16 + 48 * REACTIONS.length;

/** Matches everything but printable ASCII without `"` and `\`. */
const NOT_PLAIN = /[^ !#-\[\]-~]/;

/**
 * Returns the most bytes that a text takes: in `chat.v1` (a JSON string: `"` and `\` take two bytes,
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
    // Plain text shows DEL and C1 as one character of three bytes.
    else if (unit < 0xa0) bytes += 3;
    else if (unit < 0x800) bytes += 2;
    else if (unit < 0xd800 || unit > 0xdfff) bytes += 3;
    else if (isSurrogatePair(text, i)) {
      bytes += 4;
      i++;
    } else bytes += 6;
  }
  return bytes;
}

/** Returns the most bytes that an event takes, its ID and field names included. */
export function encodedEventBytes(event: RoomEvent): number {
  const { room, id, account, nick, text, cid, to, target } = event;
  let bytes = ENVELOPE_BYTES + encodedBytes(room) + (account || id).length + encodedBytes(nick) +
    encodedBytes(text) + encodedBytes(cid);
  if (to !== undefined) bytes += USER_BYTES + encodedBytes(to.user) + encodedBytes(to.nick);
  if (target !== undefined) bytes += TARGET_BYTES + encodedBytes(target);
  if (event.reactions !== undefined) bytes += REACTIONS_BYTES;
  return bytes;
}

/** Returns how many of the first items fit into `maxBytes`; `bytesOf` returns the bytes of one. */
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

function isSurrogatePair(text: string, i: number): boolean {
  const low = text.charCodeAt(i + 1);
  return text.charCodeAt(i) < 0xdc00 && low >= 0xdc00 && low <= 0xdfff;
}
