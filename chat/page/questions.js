// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * What the page asks before an act of moderation: the reason, the time, the number, and whether the user
 * means what cannot be undone.
 */
import { ACTS, inWords, MAX_ACT_TEXT_CHARS } from "./acts.js";

/** @import { ActName } from "../client/client.js" */
/** @import { Field, Question, Values } from "./dialog.js" */
/** @import { ActWords } from "./act_words.js" */

/** Seconds that a user can choose; empty: without an end. */
const TIMES = ["600", "3600", "86400", "604800", ""];
/** Seconds of slow mode that a user can choose. */
const INTERVALS = ["0", "5", "10", "30", "60", "300", "3600"];
/** Messages that the page offers to delete at once, and the most that the server deletes. */
const DEFAULT_PURGED = 10, MAX_PURGED = 100;

const NO_WAY_BACK = "This is for everyone, and cannot be undone.";

/**
 * The words of each question. `{nick}` is the user concerned.
 *
 * @type {Readonly<Partial<Record<ActName, { title: string, text?: string, action: string }>>>}
 */
const WORDS = {
  kick: { title: "Kick {nick}?", text: "{nick} can come back at once.", action: "Kick" },
  ban: {
    title: "Ban {nick}?",
    text: "{nick} leaves, and cannot come back until the ban ends.",
    action: "Ban",
  },
  unban: { title: "Unban a user", action: "Unban" },
  mute: {
    title: "Mute {nick}?",
    text: "{nick} can only read until the mute ends.",
    action: "Mute",
  },
  slow: { title: "Slow mode", text: "How often each user may write.", action: "Save" },
  topic: { title: "Topic", action: "Save" },
  invite: { title: "Invite a user", action: "Invite" },
  purge: { title: "Delete messages by {nick}?", text: NO_WAY_BACK, action: "Delete" },
  delete: { title: "Delete this message by {nick}?", text: NO_WAY_BACK, action: "Delete" },
  report: {
    title: "Report {nick}",
    text: "The moderators who are online see it, and it is recorded.",
    action: "Report",
  },
};

/** @param {string} seconds @returns {[string, string]} */
function intervalChoice(seconds) {
  return [seconds, Number(seconds) ? inWords(Number(seconds)) : "no limit"];
}

/** @param {string} [present] */
function intervalsWith(present = "0") {
  return INTERVALS.includes(present) ? INTERVALS : [present, ...INTERVALS];
}

/** @type {Readonly<Record<string, Field>>} */
const FIELDS = {
  nick: { label: "Nickname", kind: "text", isRequired: true },
  for: {
    label: "Time",
    kind: "choice",
    value: TIMES[0],
    choices: TIMES.map((each) => [each, each ? inWords(Number(each)) : "for good"]),
  },
  count: {
    label: `How many of the last messages (1 to ${MAX_PURGED})`,
    kind: "number",
    value: String(DEFAULT_PURGED),
    isRequired: true,
    min: 1,
    max: MAX_PURGED,
  },
  seconds: {
    label: "One message in",
    kind: "choice",
  },
  text: { label: "Topic (empty: none)", kind: "text", max: MAX_ACT_TEXT_CHARS },
  reason: { label: "Reason", kind: "text", max: MAX_ACT_TEXT_CHARS },
  everywhere: { label: "In the whole chat, not only in this room", kind: "check" },
};

/**
 * What a question is about.
 *
 * @typedef {object} QuestionOptions
 * @property {string} [nick] the user concerned; absent: the dialog asks for it
 * @property {boolean} [isOperator] who may also act on the whole chat
 * @property {Readonly<Record<string, string>>} [values] what the fields show first
 */

/**
 * Returns the question that the page asks before an act.
 *
 * @param {ActName} name
 * @param {QuestionOptions} options
 * @param {(words: ActWords, isChatWide: boolean) => Promise<unknown>} submit
 * @returns {Question}
 */
export function questionOf(name, { nick, isOperator = false, values = {} }, submit) {
  const { about, isChatWide, takesTime, text, number } = ACTS[name];
  const asksForUser = about === "user" && nick === undefined;
  const names = [
    ...asksForUser ? ["nick"] : [],
    ...takesTime ? ["for"] : [],
    ...number ? [number] : [],
    ...text ? [text === "topic" ? "text" : text] : [],
    ...isChatWide && isOperator ? ["everywhere"] : [],
  ];
  const fields = names.map((each) => [each, {
    ...FIELDS[each],
    ...each in values ? { value: values[each] } : {},
    // A command may have set another number of seconds.
    ...each === "seconds" ? { choices: intervalsWith(values.seconds).map(intervalChoice) } : {},
    ...each === "reason" && name === "report" ? { isRequired: true } : {},
  }]);
  const { title, text: explanation = "", action } = WORDS[name] ?? { title: name, action: name };
  const isOnAll = about === "user or room" && nick === undefined;
  const worded = (/** @type {string} */ template) =>
    template.replaceAll("{nick}", () => nick ?? "");
  return {
    title: isOnAll ? "Mute everyone?" : worded(title),
    text: isOnAll ? "Only moderators can write until the mute ends." : worded(explanation),
    action,
    fields: Object.fromEntries(fields),
    submit: (entered) => submit(wordsIn(entered), Boolean(entered.everywhere)),
  };
}

/** Returns what the user entered, as the client takes it. @param {Values} entered @returns {ActWords} */
function wordsIn({ nick, for: time, count, seconds, reason, text }) {
  return {
    ...nick ? { nick } : {},
    ...time ? { for: Number(time) } : {},
    ...count ? { count: Number(count) } : {},
    ...seconds ? { seconds: Number(seconds) } : {},
    ...reason ? { reason } : {},
    ...text === undefined ? {} : { text },
  };
}
