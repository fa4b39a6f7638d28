/**
 * Nicknames that imitate the server: a line of plain text that begins or ends with such a nickname
 * could be taken for a line of the server itself.
 *
 * The server's lines are made from the texts of delivery/text.ts and base/rejections.ts, so a line
 * that is added there counts here, too. This file judges nothing else about a nickname (names.ts).
 */
import { type Rejection, rejection } from "../base/rejections.ts";
import { encodeHistoryLine, encodeText, fixedReply, IS_SHOWN, ownReply } from "../delivery/text.ts";
import type { EventKind } from "../feed/events.ts";
import type { Confusables } from "./confusables.ts";
import { foldNickname } from "./names.ts";

/** Stands for a value in a line: a private-use character, which no nickname contains. */
const PLACEHOLDER = "\ue000";

// deno-lint-ignore no-control-regex -- all of ASCII is meant, controls included
const ASCII = /^[\x00-\x7f]*$/;

// In "[from {nick}] {text}" such a nickname seems to end early.
const CLOSING_BRACKET = /^[^[]*\] /;

/** The fixed text of the server's lines around a nickname. */
interface Forms {
  /** How lines begin that begin with fixed text. */
  readonly beginnings: readonly string[];
  /** What follows the nickname in lines that begin with one. */
  readonly middles: readonly string[];
}

/** Finds nicknames that imitate the server's lines. */
export class Imitation {
  readonly #confusables: Confusables;
  readonly #plain: Forms;
  #looks: Forms | undefined;

  constructor(confusables: Confusables) {
    this.#confusables = confusables;
    this.#plain = formsOf(serverLines());
  }

  /**
   * Whether a nickname imitates the server's lines: `Bob: hi`, `* Bob`, `[from Bob]`, `Bob left room.`,
   * `Not sent`; or looks like one of those.
   */
  matches(nick: string): boolean {
    const folded = foldNickname(nick);
    if (CLOSING_BRACKET.test(folded) || fits(generalized(folded), this.#plain)) return true;
    if (ASCII.test(nick)) return false;
    const look = (text: string) => this.#confusables.skeleton(text).toLowerCase();
    this.#looks ??= {
      beginnings: this.#plain.beginnings.map(look),
      middles: this.#plain.middles.map(look),
    };
    return fits(look(generalized(folded)), this.#looks);
  }
}

function fits(nick: string, { beginnings, middles }: Forms): boolean {
  // A message's line begins with "{nick}: ", an announcement's with "{nick} ".
  const message = `${nick}: `, announcement = `${nick} `;
  return middles.some((middle) => announcement.includes(middle)) ||
    beginnings.some((beginning) =>
      message.startsWith(beginning) || announcement.startsWith(beginning) ||
      beginning.startsWith(message)
    );
}

function formsOf(lines: readonly string[]): Forms {
  const beginnings = new Set<string>(), middles = new Set<string>();
  for (const line of lines) {
    const [beginning = "", middle = ""] = generalized(line).split(PLACEHOLDER);
    // A line without its full stop reads the same.
    if (beginning === "") middles.add(middle.replace(/\.$/, ""));
    // One character, such as a quotation mark, does not make a line of the server.
    else if (beginning.length > 1) beginnings.add(beginning);
  }
  middles.delete("");
  return { beginnings: [...beginnings], middles: [...middles] };
}

/** Returns the first line of each text of the server, with placeholders for all values. */
function serverLines(): string[] {
  const fields = {
    room: PLACEHOLDER,
    id: "",
    account: "",
    nick: PLACEHOLDER,
    text: PLACEHOLDER,
    time: 0,
    cid: "",
  };
  const kinds = (Object.keys(IS_SHOWN) as EventKind[]).filter((kind) => IS_SHOWN[kind]);
  const other = { user: "", nick: `${PLACEHOLDER}x`, isRegistered: false };
  const events = kinds.flatMap((kind) => {
    const to = kind === "nick" || kind === "direct" ? other : undefined;
    return [true, false].map((own) => encodeText({ kind, ...fields, to }, own));
  });
  const texts = [
    ...Object.values(fixedReply),
    ...Object.values(ownReply),
    ...Object.values(rejection),
  ];
  const lines = texts.map((each) => {
    // Every one of these functions puts its values into a line, whatever they are.
    const text = typeof each === "function"
      ? (each as (...values: unknown[]) => string | Rejection)(PLACEHOLDER, PLACEHOLDER)
      : each;
    return typeof text === "string" ? text : text.message;
  });
  const past = encodeHistoryLine({ kind: "message", ...fields });
  return [...events, past, ...lines].map((line) => line.split("\n", 1)[0]!);
}

/** Returns a line in lower case, with `0` for every digit. */
function generalized(line: string): string {
  return line.toLowerCase().replace(/\p{Nd}/gu, "0");
}
