/**
 * Confusables: names that look alike, by the table of Unicode's UTS 39, and the claims that follow.
 *
 * Two names of plain ASCII never count as alike: `l1` and `11`, `rn` and `m` are different people,
 * as the contract requires. Every other name is compared with ASCII names and with each other. This
 * file does not know which names are taken: storage/claims.ts does.
 */
import { MAX_CLAIM_CHARS } from "../storage/claims.ts";
import TABLE from "./confusables.txt" with { type: "text" };
import { foldNickname } from "./names.ts";
import { plainLetters, readsAs } from "./reserved.ts";

/** Names that could pass for the server or its staff. */
export const DEFAULT_RESERVED: readonly string[] = [
  "admin",
  "administrator",
  "moderator",
  "operator",
  "parley",
  "root",
  "server",
  "staff",
  "support",
  "sysadmin",
  "sysop",
  "system",
];

// deno-lint-ignore no-control-regex -- all of ASCII is meant, controls included
const ASCII = /^[\x00-\x7f]*$/;
const INVISIBLE = /\p{Default_Ignorable_Code_Point}/gu;
const DIGIT = /^\p{Nd}$/u;

// Whole blocks: their unassigned code points are written from right to left, too.
const RIGHT_TO_LEFT =
  /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefe\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;
const LEFT_TO_RIGHT = /\p{Nd}|[^\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefe\P{L}]/u;

const WORDS_OF_ONE_DIRECTION = new RegExp(
  `(?:(?:${RIGHT_TO_LEFT.source})\\p{M}*)+|(?:(?!${RIGHT_TO_LEFT.source})[\\p{L}\\p{N}]\\p{M}*)+|.`,
  "gu",
);

const BRACKET = /[\p{Ps}\p{Pe}<>]/gu;

/** Begins a claim that is a look and not a nickname: no nickname begins with it. */
const LOOK_PREFIX = "/";

/** Compares names by their looks. The first use unpacks the table, which takes about 7 ms. */
export class Confusables {
  #prototypes: Map<number, string> | undefined;
  readonly #reserved: Set<string>;

  /** `reserved` are nicknames that no client can take. */
  constructor(reserved: readonly string[] = DEFAULT_RESERVED) {
    this.#reserved = new Set(reserved.map(foldNickname).filter((name) => name !== ""));
  }

  /**
   * Returns a nickname's claims: the nicknames and looks that it keeps from all others. Two nicknames
   * are too much alike if they share a claim. The first is the folded nickname. `undefined`: a claim
   * would be longer than {@linkcode MAX_CLAIM_CHARS}.
   *
   * A nickname that is not all ASCII also claims the ASCII nicknames that it reads as, and its looks,
   * which begin with `/`: the skeletons of UTS 39, section 4, of the name as it is written and as it
   * is folded, so that neither case nor width hides anything. There are at most six claims: each is a
   * check in the commit that takes the nickname, and denokv has room for eight.
   */
  claims(nick: string): readonly string[] | undefined {
    const folded = foldNickname(nick);
    if (ASCII.test(nick)) return [folded];
    const all = [folded, ...this.#looks(nick, folded), ...this.#readings(nick)];
    if (all.some((claim) => claim.length > MAX_CLAIM_CHARS)) return undefined;
    return [...new Set(all)];
  }

  /** Whether a nickname is reserved, or reads as a reserved one: see reserved.ts. */
  isReserved(nick: string): boolean {
    if (this.#reserved.has(foldNickname(nick))) return true;
    const plain = (name: string) => plainLetters(name, (text) => this.skeleton(text));
    const letters = plain(nick);
    return [...this.#reserved].some((name) => readsAs(letters, plain(name)));
  }

  /**
   * Returns the ASCII that a room's name reads as, in its case, or else the name itself. A name that
   * looks like an ASCII name thus leads to the room of that ASCII name.
   */
  readingOfRoom(name: string): string {
    if (ASCII.test(name)) return name;
    let reading = "";
    for (const character of name.replace(INVISIBLE, "")) {
      const folded = character.normalize("NFKC");
      const read = ASCII.test(folded)
        ? folded
        : readAs(character, this.skeleton(character), { one: "I", zero: "O" });
      if (!ASCII.test(read)) return name;
      reading += read;
    }
    return reading;
  }

  /** Returns the look that room names share if they look alike; `undefined` for an ASCII name. */
  lookOfRoom(name: string): string | undefined {
    if (ASCII.test(name)) return undefined;
    if (!RIGHT_TO_LEFT.test(name) || !LEFT_TO_RIGHT.test(name)) return this.skeleton(name);
    // Where directions mix, a reader sees neither the order of the words nor which way brackets
    // open (UAX 9).
    const words = name.replace(BRACKET, "(").match(WORDS_OF_ONE_DIRECTION) ?? [];
    return words.map((word) => this.skeleton(word)).sort().join("");
  }

  /** Returns the skeleton of UTS 39, section 4: texts that look the same have the same skeleton. */
  skeleton(text: string): string {
    const prototypes = this.#prototypes ??= unpackTable();
    let skeleton = "";
    for (const character of text.normalize("NFD").replace(INVISIBLE, "")) {
      skeleton += prototypes.get(character.codePointAt(0)!) ?? character;
    }
    return skeleton.normalize("NFD");
  }

  #looks(nick: string, folded: string): string[] {
    const looks = [...new Set([this.#look(nick), this.#look(folded)])];
    // Where directions mix, another order of the same characters may be shown the same way, and
    // brackets mirrored (UAX 9). Treating all orders as alike is stricter than bidiSkeleton, and
    // simpler.
    if (RIGHT_TO_LEFT.test(folded) && LEFT_TO_RIGHT.test(folded)) {
      looks.push([...looks[0]!.replace(BRACKET, "(")].sort().join(""));
    }
    return looks.map((look) => LOOK_PREFIX + look);
  }

  /** Returns a skeleton that also ignores case, and the likeness of `I`, `i` and `l`. */
  #look(text: string): string {
    return this.skeleton(this.skeleton(text).toLowerCase()).replaceAll("i", "l");
  }

  /**
   * Returns the folded ASCII nicknames that a nickname reads as: by its shapes, and by its meaning.
   * There are none if one of its characters looks like nothing in ASCII.
   */
  #readings(nick: string): string[] {
    let byShape = "", byMeaning = "";
    for (const character of nick.normalize("NFC").replace(INVISIBLE, "")) {
      const look = ASCII.test(character) ? character : this.skeleton(character);
      if (!ASCII.test(look)) return [];
      const folded = character.normalize("NFKC").toLowerCase();
      byShape += look;
      byMeaning += ASCII.test(folded)
        ? folded
        : readAs(character, look.toLowerCase(), { one: "i", zero: "o" });
    }
    return [foldNickname(byShape), foldNickname(byMeaning)].filter((reading) => reading !== "");
  }
}

/**
 * Returns what a character with this look means, where the table has one prototype for several
 * characters: capital letters look like `l`, as `one` is written, and digits like `l` and `zero`.
 */
function readAs(character: string, look: string, { one, zero }: Lookalikes): string {
  if (look === "rn") return "m";
  if (look === "l" && /\p{Lu}/u.test(character)) return one;
  if (DIGIT.test(character)) return look === "l" ? "1" : look === zero ? "0" : look;
  return look;
}

interface Lookalikes {
  readonly one: "I" | "i";
  readonly zero: "O" | "o";
}

function unpackTable(): Map<number, string> {
  const prototypes = new Map<number, string>();
  const tokens = TABLE.replace(/^#.*\n/gm, "").trim().split(/\s/);
  let source = 0;
  for (const token of tokens) {
    const [distance, prototype] = token.split(":") as [string, string];
    source += parseInt(distance, 36);
    const points = prototype.split("+").map((point) => parseInt(point, 36));
    prototypes.set(source, String.fromCodePoint(...points));
  }
  return prototypes;
}
