// @ts-check
/**
 * The acts of moderation as the page knows them: what each takes, and the sentence that tells people of
 * it.
 *
 * The server decides what an act does and who may do it. A page cannot import the server's table
 * (base/acts.ts), so tests/browser/acts_test.ts compares the two.
 */

/** @import { ActEvent, ActName } from "../client/client.js" */

/**
 * A row of {@linkcode ACTS}. `otherwise` is the sentence without the part that `needs` names.
 *
 * @typedef {object} ActRow
 * @property {"user" | "room" | "message" | "user or room"} about
 * @property {true} [isChatWide] - operators may do it without a room
 * @property {true} [takesNetwork] - without a room it may be about an address or a network
 * @property {true} [takesTime]
 * @property {"reason" | "topic"} [text]
 * @property {"seconds" | "count"} [number]
 * @property {string} help
 * @property {string} sentence
 * @property {string} [otherwise]
 * @property {"on" | "text" | "count"} [needs]
 */

/** All acts. @type {Readonly<Record<ActName, ActRow>>} */
export const ACTS = {
  kick: {
    about: "user",
    isChatWide: true,
    text: "reason",
    help: "take a user out of the room; the user may come back",
    sentence: "kicked {on}{from}{reason}",
  },
  ban: {
    about: "user",
    isChatWide: true,
    takesNetwork: true,
    takesTime: true,
    text: "reason",
    help: "take a user out of the room, and keep the user out",
    sentence: "banned {on}{from}{for}{reason}",
  },
  unban: {
    about: "user",
    isChatWide: true,
    takesNetwork: true,
    text: "reason",
    help: "end a ban",
    sentence: "unbanned {on}{in}{reason}",
  },
  mute: {
    about: "user or room",
    takesTime: true,
    text: "reason",
    help: "let a user, or all but the moderators, only read",
    sentence: "muted {on}{in}{for}{reason}",
    otherwise: "muted everyone but the moderators{for}{reason}",
    needs: "on",
  },
  unmute: {
    about: "user or room",
    text: "reason",
    help: "let a user, or all, write again",
    sentence: "unmuted {on}{in}{reason}",
    otherwise: "unmuted the room{reason}",
    needs: "on",
  },
  slow: {
    about: "room",
    number: "seconds",
    help: "let each user write one message in so many seconds; 0: no limit",
    sentence: "set slow mode: one message in {span}",
    otherwise: "ended slow mode",
    needs: "count",
  },
  topic: {
    about: "room",
    text: "topic",
    help: "set the topic, or remove it",
    sentence: "set the topic: {text}",
    otherwise: "removed the topic",
    needs: "text",
  },
  lock: {
    about: "room",
    text: "reason",
    help: "let only registered users join",
    sentence: "locked the room: only registered users may join{reason}",
  },
  unlock: {
    about: "room",
    help: "let everyone join again",
    sentence: "unlocked the room",
  },
  private: {
    about: "room",
    help: "let only invited users join, and hide the room from others",
    sentence: "made the room private: only invited users may join",
  },
  public: {
    about: "room",
    help: "end that the room is private",
    sentence: "made the room public",
  },
  invite: {
    about: "user",
    help: "let a user into the private or locked room",
    sentence: "invited {on}{to}",
  },
  purge: {
    about: "user",
    text: "reason",
    number: "count",
    help: "delete the last messages of a user",
    sentence: "deleted {messages} by {on}{in}{reason}",
  },
  delete: {
    about: "message",
    text: "reason",
    help: "delete a message",
    sentence: "deleted a message by {on}{in}{reason}",
  },
  mod: {
    about: "user",
    help: "make a registered user a moderator of the room",
    sentence: "made {on} a moderator{of}",
  },
  unmod: {
    about: "user",
    help: "end that a user is a moderator of the room",
    sentence: "removed {on} as a moderator{of}",
  },
  report: {
    about: "user",
    text: "reason",
    help: "tell the moderators who are online of a user",
    sentence: "reported {on}{in}{reason}",
  },
};

/** Characters of a reason or a topic, at most. */
export const MAX_ACT_TEXT_CHARS = 512;

/**
 * Returns what a sentence about an act says after the nickname of the moderator, without a full stop:
 * `banned Bob for 10 minutes: spam`. Names in it are isolated from the direction of the text around them.
 *
 * @param {Pick<ActEvent, "act" | "room" | "on" | "network" | "time" | "until" | "reason" | "text"
 *   | "count">} event
 * @param {{ isYou?: boolean, namesRoom?: boolean }} [reader] isYou: the reader is the user concerned;
 *   namesRoom: the reader may be in another room
 */
export function predicateOf(event, { isYou = false, namesRoom = isYou } = {}) {
  const { act, room, on, network, time, until, reason = "", text = reason, count = 0 } = event;
  // A later server may have other acts.
  if (!Object.hasOwn(ACTS, act)) return `${act}${on ? ` ${isolated(on.nick)}` : ""}`;
  const { sentence, otherwise, needs } = ACTS[act];
  const subject = on?.nick ?? network;
  const isMissing = needs && !{ on: subject, text, count }[needs];
  const where = room === undefined ? "the chat" : `"${isolated(room)}"`;
  const place = (/** @type {string} */ preposition) =>
    room === undefined || namesRoom ? ` ${preposition} ${where}` : "";
  /** @type {Readonly<Record<string, string>>} */
  const parts = {
    on: isYou ? "you" : isolated(subject ?? ""),
    from: place("from"),
    in: room === undefined ? "" : place("in"),
    of: place("of"),
    to: place("to"),
    for: until === undefined ? "" : ` for ${inWords((until - time) / 1000)}`,
    span: inWords(count),
    messages: count === 1 ? "1 message" : `${count} messages`,
    text,
    reason: text && `: ${text}`,
  };
  const template = isMissing ? otherwise ?? sentence : sentence;
  return template.replace(/\{(\w+)\}/g, (_, name) => parts[name] ?? "");
}

/** @param {string} name */
function isolated(name) {
  return name && `\u2068${name}\u2069`;
}

/** Units of time with their seconds, from the longest. @type {[string, number][]} */
const UNITS = [["day", 86_400], ["hour", 3600], ["minute", 60], ["second", 1]];

/**
 * Returns a number of seconds for a sentence, such as "10 minutes": rounded up to whole units, of the
 * longest of which there are at least two, or exactly one.
 *
 * @param {number} seconds
 */
export function inWords(seconds) {
  const whole = Math.max(1, Math.ceil(seconds));
  const fits = (/** @type {[string, number]} */ [, size]) => whole === size || whole >= 2 * size;
  const [unit, size] = UNITS.find(fits) ?? ["second", 1];
  const count = Math.ceil(whole / size);
  return `${count} ${unit}${count === 1 ? "" : "s"}`;
}
