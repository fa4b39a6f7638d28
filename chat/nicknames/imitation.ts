/**
 * Which nicknames could be read as one of the chat's own lines in plain text.
 *
 * A helper below the way of a message, over the words of text.ts and refusals.ts: a line that is
 * added there counts here by itself. It does not judge anything else about a nickname (names.ts).
 */
import type { EventKind } from "../feed/events.ts";
import type { Confusables } from "./confusables.ts";
import { foldNickname } from "./names.ts";
import { type Rejection, rejection } from "../base/rejections.ts";
import { encodePast, encodeText, further, reply } from "../delivery/text.ts";

/** Stands for a value in a line: a private character, which no nickname can hold. */
const VALUE = "\ue000";

const SHOWN: readonly EventKind[] = ["message", "action", "join", "leave", "nick", "direct"];

// deno-lint-ignore no-control-regex -- all of ASCII is meant, controls included
const ASCII = /^[\x00-\x7f]*$/;

// It would end the name in "[from {nick}] {text}" too early.
const EARLY_END = /^[^[]*\] /;

/** How lines begin, and what follows a nickname that a line begins with. */
interface Forms {
  readonly beginnings: readonly string[];
  readonly middles: readonly string[];
}

/** Tells nicknames that imitate the chat's own lines from all others. */
export class Imitation {
  readonly #likeness: Confusables;
  readonly #plain: Forms;
  #looks: Forms | undefined;

  constructor(confusables: Confusables) {
    this.#likeness = confusables;
    this.#plain = formsOf(ownLines());
  }

  /**
   * Whether a line that a nickname stands in could be taken for another one of ours: `Bob: hi`,
   * `* Bob`, `[from Bob]`, `Bob left room.`, `Not sent`, an event's ID; or looks like one of those.
   */
  isOne(nick: string): boolean {
    const folded = foldNickname(nick);
    if (isEventId(folded.split(" ", 1)[0]!) || EARLY_END.test(folded)) return true;
    if (fits(blurred(folded), this.#plain)) return true;
    if (ASCII.test(nick)) return false;
    const look = (text: string) => this.#likeness.skeleton(text).toLowerCase();
    this.#looks ??= {
      beginnings: this.#plain.beginnings.map(look),
      middles: this.#plain.middles.map(look),
    };
    return fits(look(blurred(folded)), this.#looks);
  }
}

function fits(nick: string, { beginnings, middles }: Forms): boolean {
  const said = `${nick}: `, named = `${nick} `;
  return middles.some((middle) => named.includes(middle)) ||
    beginnings.some((beginning) =>
      said.startsWith(beginning) || named.startsWith(beginning) || beginning.startsWith(said)
    );
}

function formsOf(lines: readonly string[]): Forms {
  const beginnings = new Set<string>(), middles = new Set<string>();
  for (const line of lines) {
    const [beginning = "", middle = ""] = blurred(line).split(VALUE);
    // Without its full stop it reads the same.
    if (beginning === "") middles.add(middle.replace(/\.$/, ""));
    // A single character, like a quotation mark, makes no line.
    else if (beginning.length > 1) beginnings.add(beginning);
  }
  middles.delete("");
  return { beginnings: [...beginnings], middles: [...middles] };
}

/** Every line that the chat makes, with {@linkcode VALUE} in the place of each value. */
function ownLines(): string[] {
  const about = { room: VALUE, id: "", nick: VALUE, text: VALUE, time: 0, cid: "" };
  const events = SHOWN.flatMap((kind) =>
    [true, false].map((own) => encodeText({ kind, ...about }, own))
  );
  const words = [...Object.values(reply), ...Object.values(further), ...Object.values(rejection)];
  const lines = words.map((each) => {
    // Each only puts its values into a line, whatever they are.
    const word = typeof each === "function"
      ? (each as (...values: unknown[]) => string | Rejection)(VALUE, VALUE)
      : each;
    return typeof word === "string" ? word : word.message;
  });
  const past = encodePast({ kind: "message", ...about });
  return [...events, past, ...lines].map((line) => line.split("\n", 1)[0]!);
}

/** A line in which neither case nor the values of digits count. */
function blurred(line: string): string {
  return line.toLowerCase().replace(/\p{Nd}/gu, "0");
}

/** Whether a word has the form of an event's ID (see events.ts): clients take it from a line's front. */
function isEventId(word: string): boolean {
  const digits = word.charCodeAt(0) - 97;
  return digits >= 5 && word.length === 1 + digits + 3 && /^[f-u][\da-f]+$/.test(word);
}
