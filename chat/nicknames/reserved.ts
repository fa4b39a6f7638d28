/**
 * Whether a nickname reads as a reserved one to a user who does not look closely: `ADMlN`, `adrnin`,
 * `adm1n`, `a.d.m.i.n`, `admiṇ`.
 *
 * This comparison is stricter than that of ordinary nicknames, where `l1` and `11` are two people. A
 * longer word that contains a reserved name (`Adminton`) is not that name.
 */

/** Letters that other characters stand for. All of `1`, `l`, `|` and `!` stand for `i`. */
const STANDS_FOR: Readonly<Record<string, string>> = {
  "0": "o",
  "1": "i",
  "3": "e",
  "4": "a",
  "5": "s",
  "7": "t",
  l: "i",
  "|": "i",
  "!": "i",
  "@": "a",
  $: "s",
};

/** Pairs of letters that look like one letter. */
const PAIRS: readonly (readonly [string, string])[] = [["rn", "m"], ["vv", "w"], ["cl", "d"]];

// The first letters of alphabets that are white on black, and of the regional indicators: NFKD
// decomposes none of them.
const ENCLOSED_ALPHABETS = [0x1f150, 0x1f170, 0x1f1e6];

// In the order of the alphabet. There is no small capital x.
const SMALL_CAPITALS = "ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘꞯʀꜱᴛᴜᴠᴡxʏᴢ";

const MARKS = /[\p{M}\p{Default_Ignorable_Code_Point}]/gu;
const LETTER_OR_NUMBER = /[\p{L}\p{N}]/u;

// deno-lint-ignore no-control-regex -- all of ASCII is meant, controls included
const ASCII = /^[\x00-\x7f]*$/;

/**
 * Returns a name in plain lower-case letters, as far as it reads as such. `skeleton` is that of
 * UTS 39. Signs stay, because they may stand for letters.
 */
export function plainLetters(name: string, skeleton: (text: string) => string): string {
  let plain = "";
  const decomposed = [...name].map(withoutEnclosure).join("").normalize("NFKD").replace(MARKS, "");
  for (const character of decomposed) {
    plain += ASCII.test(character) ? character.toLowerCase() : plainLetter(character, skeleton);
  }
  for (const [pair, letter] of PAIRS) plain = plain.replaceAll(pair, letter);
  return plain;
}

/**
 * Whether `text` reads as `name`, letter by letter, with any signs around and between the letters.
 * Both are results of {@linkcode plainLetters}. Takes time in proportion to the product of their
 * lengths.
 */
export function readsAs(text: string, name: string): boolean {
  const letters = [...name].filter((each) => LETTER_OR_NUMBER.test(each)).map(letterOf);
  if (letters.length === 0) return false;
  // The possible numbers of letters read so far: a sign counts as a letter, or as nothing.
  let counts = new Set([0]);
  for (const character of text) {
    const next = new Set<number>();
    for (const count of counts) {
      if (!LETTER_OR_NUMBER.test(character)) next.add(count);
      if (letters[count] === letterOf(character)) next.add(count + 1);
    }
    counts = next;
  }
  return counts.has(letters.length);
}

function letterOf(character: string): string {
  return STANDS_FOR[character] ?? character;
}

function withoutEnclosure(character: string): string {
  const point = character.codePointAt(0)!;
  const first = ENCLOSED_ALPHABETS.find((from) => point >= from && point < from + 26);
  return first === undefined ? character : String.fromCharCode(0x61 + point - first);
}

function plainLetter(character: string, skeleton: (text: string) => string): string {
  const small = [...SMALL_CAPITALS].indexOf(character);
  if (small >= 0) return String.fromCharCode(0x61 + small);
  const [look = character] = [character, character.toLowerCase()]
    .map((each) => skeleton(each).normalize("NFKD").replace(MARKS, "").toLowerCase())
    .filter((each) => ASCII.test(each));
  // A sign that looks like a letter stays a sign.
  if (!LETTER_OR_NUMBER.test(character) && LETTER_OR_NUMBER.test(look)) {
    return look === "l" ? "|" : character;
  }
  return look;
}
