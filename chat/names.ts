/**
 * What may be called what: nicknames and room names, how they are normalised, and when two
 * nicknames are the same.
 *
 * A helper below the way of a message. It does not know who has which name: that is Storage's.
 */
import type { Limits } from "./limits.ts";

/** A name that may be used, or one line for the person who typed it that says why not. */
export type Name =
  | { readonly ok: true; readonly name: string }
  | { readonly ok: false; readonly why: string };

const encoder = new TextEncoder();

// Controls, line and paragraph separators, surrogates, private use and unassigned code points.
const UNPRINTABLE = /[\p{Cc}\p{Zl}\p{Zp}\p{Cs}\p{Co}\p{Cn}]/u;
const BIDIRECTIONAL = /\p{Bidi_Control}/u;
const INVISIBLE = /\p{Default_Ignorable_Code_Point}/gu;
// What emoji and some scripts are joined with: allowed to be seen, not to tell two names apart.
const JOINERS = /[\u200c\u200d\ufe0e\ufe0f\u{e0020}-\u{e007f}]/gu;
const SPACES = /\p{Zs}+/gu;

/** A nickname as it will be shown: NFC, without white space around it. */
export function nicknameFrom(typed: string, limits: Limits): Name {
  const name = typed.normalize("NFC").trim();
  if (name.startsWith("/")) return refuse('A nickname cannot start with "/".');
  return check("nickname", name, foldNickname(name), limits.nickname, limits.nicknameBytes);
}

/** A room name as it will be shown and compared: NFC. Rooms that differ in case are different rooms. */
export function roomFrom(typed: string, limits: Limits): Name {
  const name = typed.normalize("NFC");
  return check("room name", name, name.replace(INVISIBLE, ""), limits.room, limits.roomBytes);
}

/**
 * What two nicknames have in common when they are the same one: RFC 8266, section 2.4 (spaces
 * mapped, trimmed and collapsed, lower case, NFKC), repeated until stable as its section 2.1
 * advises, and without the characters that cannot be seen.
 */
export function foldNickname(nickname: string): string {
  let folded = nickname;
  // Four rounds: RFC 8266 allows for strings that need up to three more than the first.
  for (let round = 0; round < 4; round++) {
    const next = folded.replace(INVISIBLE, "").replace(SPACES, " ").trim()
      .toLowerCase().normalize("NFKC");
    if (next === folded) break;
    folded = next;
  }
  return folded;
}

function check(
  what: string,
  name: string,
  visible: string,
  most: number,
  mostBytes: number,
): Name {
  if (UNPRINTABLE.test(name)) return refuse(`A ${what} cannot hold control characters.`);
  if (BIDIRECTIONAL.test(name)) {
    return refuse(`A ${what} cannot hold characters that change the direction of writing.`);
  }
  if (name.replace(JOINERS, "").search(INVISIBLE) >= 0) {
    return refuse(`A ${what} cannot hold invisible characters.`);
  }
  if (visible === "") return refuse(`A ${what} cannot be empty.`);
  const length = [...name].length;
  if (length > most) {
    return refuse(`A ${what} can have at most ${most} characters, this one has ${length}.`);
  }
  // Reached only by limits that give less than four bytes a character.
  const bytes = encoder.encode(name).length;
  if (bytes > mostBytes) {
    return refuse(`A ${what} can have at most ${mostBytes} bytes, this one has ${bytes}.`);
  }
  return { ok: true, name };
}

function refuse(why: string): Name {
  return { ok: false, why };
}
