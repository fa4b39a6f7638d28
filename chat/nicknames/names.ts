/**
 * The rules of names: which nicknames and room names are valid, how they are normalized, and when
 * two nicknames are the same.
 *
 * This file does not know which names are taken, and does not compare names by their looks
 * (confusables.ts).
 */
import type { Limits } from "../base/limits.ts";

/** A valid name, normalized; or one line for the user that says why the typed name is not valid. */
export type Name =
  | { readonly ok: true; readonly name: string }
  | { readonly ok: false; readonly why: string };

const encoder = new TextEncoder();

// Controls, line and paragraph separators, surrogates, private use and unassigned code points;
// replacement and annotation characters.
const UNPRINTABLE = /[\p{Cc}\p{Zl}\p{Zp}\p{Cs}\p{Co}\p{Cn}\ufff9-\ufffd]/u;
const BIDIRECTIONAL = /\p{Bidi_Control}/u;
// Unicode's property, and two blank symbols that lack it: of Braille and of music.
const INVISIBLE = /[\p{Default_Ignorable_Code_Point}\u2800\u{1d159}]/gu;
const SPACES = /\p{Zs}+/gu;

// Invisible characters that join emoji, and letters of some scripts. A name may contain them there;
// folding removes them, so that they do not make two names different.
const JOINING = [
  // The style of a pictograph, and sequences of pictographs that are shown as one.
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

// Many scripts write vowels as marks, also at the end of a word. A mark without a letter before it is
// shown on the server's text before the name; many on one letter cover the lines around it. UTS 39,
// section 5.4, has both rules.
const LEADING_MARK = /(?:^|\p{Z})\p{M}/u;
const TOO_MANY_MARKS = /\p{Mn}{5}|(\p{Mn})\1/u;

/**
 * Code units of a typed name for each character that it may have. A character takes at most two, and
 * at most four before NFC composes it. A longer name is rejected before normalization: NFC takes
 * quadratic time on a long run of combining marks.
 */
const MAX_UNITS_PER_CHARACTER = 8;

/** Bytes of a folded name: folding may turn one character into eighteen; a KV key ends at 2 KiB. */
const MAX_FOLDED_BYTES = 1024;

/**
 * Returns a typed nickname as the server shows it: in NFC, without white space around it.
 *
 * A nickname may contain what the FreeformClass of PRECIS allows (RFC 8264, which RFC 8266 uses for
 * nicknames), and the joiners of emoji, which that class does not allow.
 */
export function nicknameFrom(typed: string, limits: Limits): Name {
  const trimmed = typed.trim();
  const tooLong = checkUnits("Nickname", trimmed, limits.maxNicknameChars);
  if (tooLong !== undefined) return tooLong;
  const name = trimmed.normalize("NFC");
  const folded = foldNickname(name);
  if (name.startsWith("/") || folded.startsWith("/")) {
    return invalid('Nicknames cannot start with "/".');
  }
  if (LEADING_MARK.test(name)) {
    return invalid("Nicknames cannot start a word with a combining mark.");
  }
  if (TOO_MANY_MARKS.test(name.normalize("NFD"))) {
    return invalid("Too many combining marks on one letter.");
  }
  if (encoder.encode(folded).length > MAX_FOLDED_BYTES) {
    return invalid("Nickname too long once its ligatures are expanded.");
  }
  return check("Nickname", name, folded, limits.maxNicknameChars, limits.maxNicknameBytes);
}

/**
 * Returns a typed room name in NFC, without white space around it, and with one plain space for each
 * run of spaces inside. Names that differ in case are different rooms. Confusables and Storage decide
 * which room a name leads to that looks like another one.
 */
export function roomFrom(typed: string, limits: Limits): Name {
  const trimmed = typed.trim();
  const tooLong = checkUnits("Room name", trimmed, limits.maxRoomChars);
  if (tooLong !== undefined) return tooLong;
  const name = trimmed.normalize("NFC").replace(SPACES, " ").trim();
  return check(
    "Room name",
    name,
    name.replace(INVISIBLE, ""),
    limits.maxRoomChars,
    limits.maxRoomBytes,
  );
}

/**
 * Returns the folded form of a nickname: two nicknames are the same if their folded forms are equal.
 * RFC 8266, section 2.4: spaces are mapped, trimmed and collapsed, then lower case and NFKC, repeated
 * until stable as its section 2.1 advises. Invisible characters are removed.
 */
export function foldNickname(nickname: string): string {
  let folded = nickname;
  // Four rounds: by RFC 8266 a string needs at most three after the first.
  for (let round = 0; round < 4; round++) {
    const next = folded.replace(INVISIBLE, "").replace(SPACES, " ").trim()
      .toLowerCase().normalize("NFKC");
    if (next === folded) break;
    folded = next;
  }
  return folded;
}

/** What a name is of, as messages about it begin. */
type Kind = "Nickname" | "Room name";

/** Checks a normalized name. `visible` is the name without invisible characters. */
function check(
  kind: Kind,
  name: string,
  visible: string,
  maxChars: number,
  maxBytes: number,
): Name {
  if (UNPRINTABLE.test(name)) return invalid(`${kind}s cannot contain control characters.`);
  if (BIDIRECTIONAL.test(name)) {
    return invalid(`${kind}s cannot contain text-direction controls.`);
  }
  if (name.replace(JOINERS, "").search(INVISIBLE) >= 0) {
    return invalid(`${kind}s cannot contain invisible characters.`);
  }
  if (visible === "") return invalid(`${kind}s cannot be empty.`);
  const length = lengthOf(name);
  if (length > maxChars) return tooManyChars(kind, length, maxChars);
  // Only reached if the operator allows fewer than four bytes a character.
  const bytes = encoder.encode(name).length;
  if (bytes > maxBytes) return invalid(`${kind} too long: ${bytes} bytes, maximum ${maxBytes}.`);
  return { ok: true, name };
}

/** Rejects a name that is too long to be normalized in linear time. */
function checkUnits(kind: Kind, typed: string, maxChars: number): Name | undefined {
  if (typed.length <= maxChars * MAX_UNITS_PER_CHARACTER) return undefined;
  return tooManyChars(kind, lengthOf(typed), maxChars);
}

/** Returns the number of code points. */
function lengthOf(name: string): number {
  let length = 0;
  for (const _ of name) length++;
  return length;
}

function tooManyChars(kind: Kind, length: number, maxChars: number): Name {
  return invalid(`${kind} too long: ${length} characters, maximum ${maxChars}.`);
}

function invalid(why: string): Name {
  return { ok: false, why };
}
