/**
 * The words after a command for an act: whom it is about, for how long, and why.
 *
 * The rules follow from the table of acts, so a new act needs none of its own. Whether the act may be done,
 * and whether its parts have the right form, is decided in moderation/.
 */
import { type ActName, type ActRow, ACTS } from "../base/acts.ts";
import { parseDuration } from "../base/durations.ts";
import { networkFrom } from "../base/networks.ts";

/** What the words after the command say. */
export interface ActWords {
  readonly user?: { readonly nick: string };
  readonly network?: string;
  readonly isForced?: boolean;
  readonly seconds?: number;
  readonly count?: number;
  readonly text?: string;
}

/** The word after a network that says that a large one is meant. */
const FORCE = "--force";

/** Returns the words after a command with its parts: `{nickname} {time} {reason}`. */
export function usageOf(act: ActName): string {
  const row: ActRow = ACTS[act];
  const hasUser = row.about === "user" || row.about === "user or room";
  const parts = [
    hasUser ? "nickname" : undefined,
    row.takesTime ? "time" : undefined,
    row.count?.name,
    row.text,
  ];
  return parts.filter((part) => part !== undefined).map((part) => ` {${part}}`).join("");
}

/**
 * Reads the words after a command. A nickname with spaces stands in double quotes. A word that begins
 * with a digit, where a time may stand, is a time: `"bad-time"` if it has another form. `"usage"`: a part is
 * missing.
 */
export function actWordsFrom(act: ActName, rest: string): ActWords | "usage" | "bad-time" {
  const row: ActRow = ACTS[act];
  const words = new Words(rest);
  const subject = subjectFrom(row, words);
  if (subject === "usage") return subject;
  let seconds: number | undefined, count: number | undefined;
  if (row.takesTime && /^[+-]?\d/.test(words.peek())) {
    seconds = parseDuration(words.next());
    if (seconds === undefined) return "bad-time";
  }
  if (row.count !== undefined) {
    const word = words.next();
    if (!/^\d{1,9}$/.test(word)) return "usage";
    count = Number(word);
  }
  const text = words.rest;
  if (row.text === undefined && text !== "") return "usage";
  return { ...subject, seconds, count, text };
}

/** Reads whom an act is about. */
function subjectFrom(
  row: ActRow,
  words: Words,
): Pick<ActWords, "user" | "network" | "isForced"> | "usage" {
  if (row.about === "room" || row.about === "message") return {};
  const isQuoted = words.isQuoted;
  const word = words.peek();
  if (row.about === "user or room") {
    // A nickname that reads as a time stands in quotes.
    const isTime = !isQuoted && row.takesTime && parseDuration(word) !== undefined;
    if (word === "" || isTime) return {};
  }
  if (word === "") return "usage";
  words.next();
  if (!row.takesNetwork || isQuoted || networkFrom(word) === undefined) {
    return { user: { nick: word } };
  }
  const isForced = words.peek() === FORCE;
  if (isForced) words.next();
  return { network: word, isForced };
}

/** The words of a line, read one after the other. */
class Words {
  #rest: string;

  constructor(line: string) {
    this.#rest = line.trim();
  }

  /** What was not read yet. */
  get rest(): string {
    return this.#rest;
  }

  /** Whether the next word stands in double quotes. */
  get isQuoted(): boolean {
    return /^"[^"]*"(?!\S)/.test(this.#rest);
  }

  /** Returns the next word, without its quotes; empty: there is none. */
  peek(): string {
    return this.isQuoted ? this.#rest.slice(1, this.#rest.indexOf('"', 1)) : this.#wordAtStart();
  }

  /** Returns the next word, and reads it. */
  next(): string {
    const word = this.peek();
    const units = this.isQuoted ? word.length + 2 : word.length;
    this.#rest = this.#rest.slice(units).trimStart();
    return word;
  }

  #wordAtStart(): string {
    return this.#rest.split(/\s/u, 1)[0]!;
  }
}
