/**
 * Which nicknames look alike, and what a nickname therefore claims for itself alone.
 *
 * A helper below the way of a message, over the data of Unicode TS 39 (confusables.ts). It does not
 * know who has which name: Storage claims what is worked out here. Names of plain ASCII are never
 * held against each other (`l1` and `11`, `rn` and `m` are different people, as the wire's contract
 * has it); everything else is held against them and against itself.
 */
import { CONFUSABLES } from "./confusables_data.ts";
import { foldNickname } from "./names.ts";
import { plainLetters, readsAs } from "./reserved.ts";

/** Code units of a claim: at three bytes each it is part of a KV key, which ends at 2 KiB. */
export const MAX_CLAIM_CHARS = 600;

/** Names that sound like the server, or like whoever runs it. */
export const DEFAULT_RESERVED: readonly string[] = [
  ...["admin", "administrator", "moderator", "operator", "parley", "root", "server", "staff"],
  ...["support", "sysadmin", "sysop", "system"],
];

// deno-lint-ignore no-control-regex -- all of ASCII is meant, controls included
const ASCII = /^[\x00-\x7f]*$/;
const INVISIBLE = /\p{Default_Ignorable_Code_Point}/gu;
const DIGIT = /^\p{Nd}$/u;

// The blocks in which what is not assigned yet is written from right to left, too.
const RIGHT_TO_LEFT =
  /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefe\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;
const LEFT_TO_RIGHT = /\p{Nd}|[^\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefe\P{L}]/u;

const WORDS_OF_ONE_DIRECTION = new RegExp(
  `(?:(?:${RIGHT_TO_LEFT.source})\\p{M}*)+|(?:(?!${RIGHT_TO_LEFT.source})[\\p{L}\\p{N}]\\p{M}*)+|.`,
  "gu",
);

const BRACKET = /[\p{Ps}\p{Pe}<>]/gu;

/** Stands before what is no nickname but a look: no nickname begins with it. */
const LOOK = "/";

/** What nicknames look like. The table is unpacked (about 7 ms) when it is wanted first. */
export class Confusables {
  #prototypes: Map<number, string> | undefined;
  readonly #reserved: Set<string>;

  /** `reserved`: names that nobody can take. */
  constructor(reserved: readonly string[] = DEFAULT_RESERVED) {
    this.#reserved = new Set(reserved.map(foldNickname).filter((name) => name !== ""));
  }

  /**
   * What only one person can have at a time, for whoever has this nickname: how it is written (as
   * {@linkcode foldNickname} has it) and, if it is not all ASCII, what it looks like. Two nicknames
   * are too much alike when they share a claim.
   *
   * Claims that begin with `/` are looks: the skeleton of UTS 39, section 4, of the name as it is
   * shown and as it is folded, so that neither case nor width hides anything. The others are
   * nicknames: itself, and what of ASCII it can be read as. They are six at the most: each is a
   * check of the operation that takes it, and denokv has room for eight. `undefined`: one is too long.
   */
  claims(nick: string): readonly string[] | undefined {
    const folded = foldNickname(nick);
    if (ASCII.test(nick)) return [folded];
    const all = [folded, ...this.#looks(nick, folded), ...this.#readings(nick)];
    if (all.some((claim) => claim.length > MAX_CLAIM_CHARS)) return undefined;
    return [...new Set(all)];
  }

  /** Whether a nickname is a reserved one, or reads as one (see reserved.ts). */
  isReserved(nick: string): boolean {
    if (this.#reserved.has(foldNickname(nick))) return true;
    const plain = (name: string) => plainLetters(name, (text) => this.skeleton(text));
    const letters = plain(nick);
    return [...this.#reserved].some((name) => readsAs(letters, plain(name)));
  }

  /**
   * What of ASCII a room's name can be read as, in its case, or else the name itself. So no room can
   * look like one whose name is all ASCII: the name leads to that one.
   */
  readingOfRoom(name: string): string {
    if (ASCII.test(name)) return name;
    let reading = "";
    for (const character of name.replace(INVISIBLE, "")) {
      const folded = character.normalize("NFKC");
      const read = ASCII.test(folded) ? folded : meaningInCase(character, this.skeleton(character));
      if (!ASCII.test(read)) return name;
      reading += read;
    }
    return reading;
  }

  /**
   * What names of rooms that look alike have in common; `undefined` for ASCII, where every name is
   * another one.
   */
  lookOfRoom(name: string): string | undefined {
    if (ASCII.test(name)) return undefined;
    if (!RIGHT_TO_LEFT.test(name) || !LEFT_TO_RIGHT.test(name)) return this.skeleton(name);
    // Where directions mix, the order of words is not to be seen, nor which way brackets open (UAX 9).
    const words = name.replace(BRACKET, "(").match(WORDS_OF_ONE_DIRECTION) ?? [];
    return words.map((word) => this.skeleton(word)).sort().join("");
  }

  /** The skeleton of UTS 39, section 4: the same for texts that look the same. */
  skeleton(text: string): string {
    const prototypes = this.#prototypes ??= unpack();
    let skeleton = "";
    for (const character of text.normalize("NFD").replace(INVISIBLE, "")) {
      skeleton += prototypes.get(character.codePointAt(0)!) ?? character;
    }
    return skeleton.normalize("NFD");
  }

  #looks(nick: string, folded: string): string[] {
    const looks = [...new Set([this.#look(nick), this.#look(folded)])];
    // Where directions mix, another order of the same characters may be shown as the same, and
    // brackets the other way round (UAX 9). To hold all orders against each other is stricter than
    // bidiSkeleton, and simple.
    if (RIGHT_TO_LEFT.test(folded) && LEFT_TO_RIGHT.test(folded)) {
      looks.push([...looks[0]!.replace(BRACKET, "(")].sort().join(""));
    }
    return looks.map((look) => LOOK + look);
  }

  /** A skeleton in which case makes no difference either, nor the likeness of `I`, `i` and `l`. */
  #look(text: string): string {
    return this.skeleton(this.skeleton(text).toLowerCase()).replaceAll("i", "l");
  }

  /**
   * The nicknames of ASCII that one can take this for, folded: read as it is shown, and as it is
   * meant; none if it has a character that looks like nothing in ASCII.
   */
  #readings(nick: string): string[] {
    let shown = "", meant = "";
    for (const character of nick.normalize("NFC").replace(INVISIBLE, "")) {
      const look = ASCII.test(character) ? character : this.skeleton(character);
      if (!ASCII.test(look)) return [];
      shown += look;
      meant += meaning(character, look.toLowerCase());
    }
    return [foldNickname(shown), foldNickname(meant)].filter((reading) => reading !== "");
  }
}

/** What a character of this look stands for, where the table has one prototype for several. */
function meaning(character: string, look: string): string {
  const folded = character.normalize("NFKC").toLowerCase();
  if (ASCII.test(folded)) return folded;
  if (look === "rn") return "m";
  if (look === "l" && /\p{Lu}/u.test(character)) return "i";
  if (DIGIT.test(character)) return look === "l" ? "1" : look === "o" ? "0" : look;
  return look;
}

/** The same in the case in which it is written. */
function meaningInCase(character: string, look: string): string {
  if (look === "rn") return "m";
  if (look === "l" && /\p{Lu}/u.test(character)) return "I";
  if (DIGIT.test(character)) return look === "l" ? "1" : look === "O" ? "0" : look;
  return look;
}

function unpack(): Map<number, string> {
  const prototypes = new Map<number, string>();
  let source = 0;
  for (const token of CONFUSABLES.trim().split(/\s/)) {
    const [distance, prototype] = token.split(":") as [string, string];
    source += parseInt(distance, 36);
    const points = prototype.split("+").map((point) => parseInt(point, 36));
    prototypes.set(source, String.fromCodePoint(...points));
  }
  return prototypes;
}
