// @ts-check
/**
 * The words after a command for an act: whom it is about, for how long, and why. The rules are those of
 * the terminal (protocols/act_words.ts), with which tests/browser/acts_test.ts compares them.
 */
import { ACTS } from "./acts.js";

/** @import { ActName } from "../client/client.js" */

/**
 * What the words say, as the client takes it.
 *
 * @typedef {object} ActWords
 * @property {string} [nick]
 * @property {string} [network]
 * @property {true} [force]
 * @property {number} [for] seconds
 * @property {number} [seconds] of slow mode
 * @property {number} [count]
 * @property {string} [reason]
 * @property {string} [text] the topic
 */

const FORCE = "--force";

/** @type {Readonly<Record<string, number>>} */
const SECONDS_OF_UNIT = { d: 86_400, h: 3600, m: 60, s: 1 };

/** Returns what stands after a command. */
export function usageOfAct(/** @type {ActName} */ name) {
  const { about, takesTime, number, text } = ACTS[name];
  const parts = [about.startsWith("user") ? "nickname" : "", takesTime && "time", number, text];
  return parts.filter(Boolean).join(" ");
}

/**
 * Reads the words after a command. Returns `"usage"` if a part is missing, and `"bad-time"` if a time has
 * another form than `10m`.
 *
 * @param {ActName} name
 * @param {string} line
 * @returns {ActWords | "usage" | "bad-time"}
 */
export function actWordsFrom(name, line) {
  const { takesTime, number, text } = ACTS[name];
  const words = new Words(line);
  const read = subjectFrom(name, words);
  if (read === "usage") return read;
  if (takesTime && /^[+-]?\d/.test(words.peek())) {
    const seconds = secondsIn(words.next());
    if (seconds === undefined) return "bad-time";
    read.for = seconds;
  }
  if (number) {
    const digits = words.next();
    if (!/^\d{1,9}$/.test(digits)) return "usage";
    read[number] = Number(digits);
  }
  const { rest } = words;
  if (text === undefined) return rest ? "usage" : read;
  if (text === "topic") read.text = rest;
  else if (rest) read.reason = rest;
  return read;
}

/**
 * @param {ActName} name
 * @param {Words} words
 * @returns {ActWords | "usage"}
 */
function subjectFrom(name, words) {
  const { about, takesNetwork, takesTime } = ACTS[name];
  if (!about.startsWith("user")) return {};
  const { isQuoted } = words;
  const word = words.peek();
  if (about === "user or room") {
    // A nickname that reads as a time stands in quotes.
    const isTime = !isQuoted && takesTime && secondsIn(word) !== undefined;
    if (!word || isTime) return {};
  }
  if (!word) return "usage";
  words.next();
  if (!takesNetwork || isQuoted || !isNetwork(word)) return { nick: word };
  if (words.peek() !== FORCE) return { network: word };
  words.next();
  return { network: word, force: true };
}

/** Returns the seconds in `10m` or the like. @param {string} word */
function secondsIn(word) {
  const [, number, unit = ""] = /^(\d{1,9})([smhd])$/.exec(word) ?? [];
  return number === undefined ? undefined : Number(number) * (SECONDS_OF_UNIT[unit] ?? 1);
}

/** Whether a word is an IP address, or a network such as `10.0.0.0/8`. @param {string} word */
function isNetwork(word) {
  const [, address = "", bits = "0"] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(word) ?? [];
  if (address.includes(":")) return Number(bits) <= 128 && URL.canParse(`http://[${address}]/`);
  return Number(bits) <= 32 && /^\d+(\.\d+){3}$/.test(address) &&
    URL.canParse(`http://${address}/`);
}

/** The words of a line, read one after the other. */
class Words {
  rest;

  constructor(/** @type {string} */ line) {
    this.rest = line.trim();
  }

  /** Whether the next word stands in double quotes. */
  get isQuoted() {
    return /^"[^"]*"(?!\S)/.test(this.rest);
  }

  /** Returns the next word, without its quotes; empty: there is none. */
  peek() {
    const [, quoted] = /^"([^"]*)"(?!\S)/.exec(this.rest) ?? [];
    return quoted ?? /^\S*/.exec(this.rest)?.[0] ?? "";
  }

  /** Returns the next word, and reads it. */
  next() {
    const word = this.peek();
    this.rest = this.rest.slice(word.length + (this.isQuoted ? 2 : 0)).trimStart();
    return word;
  }
}
