/**
 * What may be called what: nicknames and room names, how they are normalised, and when two
 * nicknames are the same.
 *
 * A helper below the way of a message. It does not know who has which name: that is Storage's.
 */
import type { Limits } from "../base/limits.ts";

/** A name that may be used, or one line for the person who typed it that says why not. */
export type Name =
  | { readonly ok: true; readonly name: string }
  | { readonly ok: false; readonly why: string };

const encoder = new TextEncoder();

// Controls, line and paragraph separators, surrogates, private use and unassigned code points; what
// stands for something that is not there.
const UNPRINTABLE = /[\p{Cc}\p{Zl}\p{Zp}\p{Cs}\p{Co}\p{Cn}\ufff9-\ufffd]/u;
const BIDIRECTIONAL = /\p{Bidi_Control}/u;
// What Unicode calls so, and two symbols that are blank: of Braille, and of music.
const INVISIBLE = /[\p{Default_Ignorable_Code_Point}\u2800\u{1d159}]/gu;
const SPACES = /\p{Zs}+/gu;

// What emoji and some scripts are joined with: allowed there, and not to tell two names apart.
const JOINING = [
  // A pictograph is shown in colour or not, and several are one.
  /(?<=\p{Extended_Pictographic}\p{Emoji_Modifier}?)[\ufe0e\ufe0f]/u,
  /(?<=[\p{Extended_Pictographic}\p{Emoji_Modifier}\ufe0f])\u200d(?=\p{Extended_Pictographic})/u,
  // Keycaps, and flags of regions.
  /(?<=[0-9#*])\ufe0f(?=\u20e3)/u,
  /(?<=\u{1f3f4})[\u{e0020}-\u{e007e}]+\u{e007f}/u,
  // Half forms and ligatures, also at the end of a word (RFC 5892, appendix A, is stricter).
  /(?<=[\p{scx=Arab}\p{scx=Syrc}\p{scx=Nkoo}\p{scx=Mong}\p{scx=Deva}\p{scx=Beng}\p{scx=Guru}])[\u200c\u200d]/u,
  /(?<=[\p{scx=Gujr}\p{scx=Orya}\p{scx=Taml}\p{scx=Telu}\p{scx=Knda}\p{scx=Mlym}])[\u200c\u200d]/u,
  /(?<=[\p{scx=Sinh}\p{scx=Khmr}\p{scx=Mymr}\p{scx=Tibt}])[\u200c\u200d]/u,
];
const JOINERS = new RegExp(JOINING.map(({ source }) => source).join("|"), "gu");

// A mark at the end of a word is how half of the world's scripts write vowels. Without a letter
// before it, it lands on what the chat writes there; heaps of them cover the lines around (UTS 39,
// section 5.4, has both rules).
const STRAY_MARK = /(?:^|\p{Z})\p{M}/u;
const HEAP_OF_MARKS = /\p{Mn}{5}|(\p{Mn})\1/u;

/**
 * Code units of a typed name for each character that it may have. A character takes at most two, and
 * at most four before NFC composes it. A longer name is refused unread: NFC takes quadratic time on a
 * long run of combining marks.
 */
const MAX_UNITS_PER_CHARACTER = 8;

/** Bytes of a folded name: folding may make eighteen characters of one, and a KV key ends at 2 KiB. */
const MOST_FOLDED_BYTES = 1024;

/**
 * A nickname as it will be shown: NFC, without white space around it.
 *
 * What may be in it is what the FreeformClass of PRECIS allows (RFC 8264, which RFC 8266 takes for
 * nicknames), and the joiners of emoji, which it does not.
 */
export function nicknameFrom(typed: string, limits: Limits): Name {
  const trimmed = typed.trim();
  const tooLong = measure("nickname", trimmed, limits.nickname);
  if (tooLong !== undefined) return tooLong;
  const name = trimmed.normalize("NFC");
  const folded = foldNickname(name);
  if (name.startsWith("/") || folded.startsWith("/")) {
    return refuse('A nickname cannot start with "/".');
  }
  if (STRAY_MARK.test(name)) return refuse("A nickname cannot hold a combining mark on nothing.");
  if (HEAP_OF_MARKS.test(name.normalize("NFD"))) {
    return refuse("A nickname cannot hold so many combining marks on one letter.");
  }
  if (encoder.encode(folded).length > MOST_FOLDED_BYTES) {
    return refuse("A nickname cannot hold so many ligatures.");
  }
  return check("nickname", name, folded, limits.nickname, limits.nicknameBytes);
}

/**
 * A room name in NFC, without white space around it, and with one plain space for each run of spaces
 * inside. Rooms that differ in case are different rooms. Which room a name leads to that looks like
 * another one is not decided here: see {@linkcode Likeness.room}.
 */
export function roomFrom(typed: string, limits: Limits): Name {
  const trimmed = typed.trim();
  const tooLong = measure("room name", trimmed, limits.room);
  if (tooLong !== undefined) return tooLong;
  const name = trimmed.normalize("NFC").replace(SPACES, " ").trim();
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
  const length = lengthOf(name);
  if (length > most) return refuseLength(what, most, length);
  // Reached only by limits that give less than four bytes a character.
  const bytes = encoder.encode(name).length;
  if (bytes > mostBytes) {
    return refuse(`A ${what} can have at most ${mostBytes} bytes, this one has ${bytes}.`);
  }
  return { ok: true, name };
}

/** Refuses a name that is too long to be normalised. */
function measure(what: string, typed: string, most: number): Name | undefined {
  if (typed.length <= most * MAX_UNITS_PER_CHARACTER) return undefined;
  return refuseLength(what, most, lengthOf(typed));
}

function lengthOf(name: string): number {
  let length = 0;
  for (const _ of name) length++;
  return length;
}

function refuseLength(what: string, most: number, length: number): Name {
  return refuse(`A ${what} can have at most ${most} characters, this one has ${length}.`);
}

function refuse(why: string): Name {
  return { ok: false, why };
}
