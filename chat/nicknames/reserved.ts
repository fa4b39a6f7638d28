/**
 * Whether a nickname reads as a reserved one, for people who do not look closely: `ADMlN`, `adrnin`,
 * `adm1n`, `a.d.m.i.n`, `admiṇ`.
 *
 * A helper of likeness.ts. It is stricter than what tells ordinary nicknames apart, where `l1` and
 * `11` are two people. A longer word that holds a reserved name (`Adminton`) is not that name.
 */

/** Letters that other characters are written for. All of `1`, `l`, `|` and `!` stand for `i`. */
const WRITTEN_FOR: Readonly<Record<string, string>> = {
  ...{ "0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "7": "t" },
  ...{ l: "i", "|": "i", "!": "i", "@": "a", $: "s" },
};

/** Pairs of letters that look like one. */
const PAIRS: readonly (readonly [string, string])[] = [["rn", "m"], ["vv", "w"], ["cl", "d"]];

// White on black, and regional indicators: Unicode decomposes none of them.
const ENCLOSED_FROM = [0x1f150, 0x1f170, 0x1f1e6];

// In the order of the alphabet, of which x has none.
const SMALL_CAPITALS = "ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘꞯʀꜱᴛᴜᴠᴡxʏᴢ";

const MARKS = /[\p{M}\p{Default_Ignorable_Code_Point}]/gu;
const WORDY = /[\p{L}\p{N}]/u;

// deno-lint-ignore no-control-regex -- all of ASCII is meant, controls included
const ASCII = /^[\x00-\x7f]*$/;

/**
 * Returns a name in plain lower-case letters, as far as it can be read so. `skeleton` is that of
 * UTS 39. Signs stay, because they may stand for letters.
 */
export function plainLetters(name: string, skeleton: (text: string) => string): string {
  let plain = "";
  for (const character of [...name].map(enclosed).join("").normalize("NFKD").replace(MARKS, "")) {
    plain += ASCII.test(character) ? character.toLowerCase() : plainLetter(character, skeleton);
  }
  for (const [pair, letter] of PAIRS) plain = plain.replaceAll(pair, letter);
  return plain;
}

/**
 * Whether `text` reads as `name`, both of {@linkcode plainLetters}: letter by letter, with any signs
 * around and between them. Takes time in proportion to the product of their lengths.
 */
export function readsAs(text: string, name: string): boolean {
  const letters = [...name].filter((each) => WORDY.test(each)).map(meant);
  if (letters.length === 0) return false;
  // How many of the letters may have been read. A sign is one of them, or nothing.
  let read = new Set([0]);
  for (const character of text) {
    const next = new Set<number>();
    for (const many of read) {
      if (!WORDY.test(character)) next.add(many);
      if (letters[many] === meant(character)) next.add(many + 1);
    }
    read = next;
  }
  return read.has(letters.length);
}

function meant(character: string): string {
  return WRITTEN_FOR[character] ?? character;
}

function enclosed(character: string): string {
  const point = character.codePointAt(0)!;
  const first = ENCLOSED_FROM.find((from) => point >= from && point < from + 26);
  return first === undefined ? character : String.fromCharCode(0x61 + point - first);
}

function plainLetter(character: string, skeleton: (text: string) => string): string {
  const small = [...SMALL_CAPITALS].indexOf(character);
  if (small >= 0) return String.fromCharCode(0x61 + small);
  const [look = character] = [character, character.toLowerCase()]
    .map((each) => skeleton(each).normalize("NFKD").replace(MARKS, "").toLowerCase())
    .filter((each) => ASCII.test(each));
  // A sign that looks like a letter is a sign still.
  if (!WORDY.test(character) && WORDY.test(look)) return look === "l" ? "|" : character;
  return look;
}
