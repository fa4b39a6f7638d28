// @ts-check
/**
 * Finds the users whom a text names: `@nickname` of those who are here, and the user's own nickname, also
 * without the sign. Case and the width of characters do not matter. It draws nothing.
 */

/** @import { Mention } from "./format.js" */

/** Signs that are looked at in one text. */
const MAX_SIGNS = 100;
/** Characters of the longest nickname that is looked for. */
const MAX_NICK_CHARS = 32;
/** A letter, digit or underscore: mostly a name ends before anything else. */
const WORD = /[\p{L}\p{N}\p{M}_]/u;
/** A letter of a script that has no spaces between words. */
const WITHOUT_SPACES =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]/u;

/**
 * Returns the form in which nicknames are compared. It keeps the length of what it can, so that places in it
 * are places in the text; where it cannot, the text is compared as it is.
 *
 * @param {string} text
 */
function fold(text) {
  const folded = text.toLowerCase();
  return folded.length === text.length ? folded : text;
}

/**
 * Returns the function that finds mentions, for a user among others.
 *
 * @param {string} own the user's nickname
 * @param {readonly { nick: string }[]} others
 * @returns {(text: string) => Mention[]}
 */
export function mentionFinder(own, others) {
  const ownName = fold(own);
  const names = new Set([ownName, ...others.map(({ nick }) => fold(nick))]);
  return (text) => {
    if (ownName === "") return [];
    const folded = fold(text);
    const found = [...atSigns(folded, names), ...occurrences(folded, ownName)];
    found.sort((one, other) => one.start - other.start || other.end - one.end);
    let end = 0;
    return found.filter((each) => {
      const isApart = each.start >= end;
      if (isApart) end = each.end;
      return isApart;
    }).map(({ start, end }) => {
      const name = folded.slice(start, end).replace(/^@/, "");
      return { start, end, isOwn: name === ownName };
    });
  };
}

/**
 * Whether a word goes on between two characters. `Ann-Marie`, `ann@example.org` and `ann.png` are one word.
 *
 * @param {string} text
 * @param {number} at the place of the second character
 */
function goesOn(text, at) {
  const [before = "", after = ""] = [text[at - 1], text[at]];
  if (WORD.test(before) && WORD.test(after)) {
    return !WITHOUT_SPACES.test(before) && !WITHOUT_SPACES.test(after);
  }
  return /[-.@]/.test(after) && WORD.test(before) && WORD.test(text[at + 1] ?? "") ||
    /[-.@]/.test(before) && WORD.test(after) && WORD.test(text[at - 2] ?? "");
}

/**
 * @param {string} text
 * @param {ReadonlySet<string>} names
 */
function atSigns(text, names) {
  const found = [];
  let signs = 0;
  for (let start = text.indexOf("@"); start >= 0; start = text.indexOf("@", start + 1)) {
    if (++signs > MAX_SIGNS) break;
    // An address of mail is no mention.
    if (WORD.test(text[start - 1] ?? "")) continue;
    for (let length = MAX_NICK_CHARS; length > 0; length--) {
      const end = start + 1 + length;
      if (end > text.length || goesOn(text, end)) continue;
      if (!names.has(text.slice(start + 1, end))) continue;
      found.push({ start, end });
      break;
    }
  }
  return found;
}

/**
 * @param {string} text
 * @param {string} name
 */
function occurrences(text, name) {
  const found = [];
  for (let start = text.indexOf(name); start >= 0; start = text.indexOf(name, start + 1)) {
    const end = start + name.length;
    if (!goesOn(text, start) && !goesOn(text, end)) found.push({ start, end });
  }
  return found;
}
