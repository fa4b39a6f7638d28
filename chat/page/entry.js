// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * Draws one entry of a conversation. Where entries stand is the log's (log.js).
 */
import { avatar, colour, dayOf, isSameDay, linkify, make } from "./dom.js";
import { nameOf, nickname, timeOf } from "./dom.js";

/** Milliseconds within which messages of one user are grouped. */
const GROUP_MS = 5 * 60_000;

/** One to eight emoji and nothing else: they are drawn larger. */
const EMOJI = /^(?:\p{RGI_Emoji}\s*){1,8}$/v;

/**
 * An entry of a conversation: a message or action, a `membership` line (joined, left, renamed), an `act`
 * of moderation, or a `note` that only this page shows. An entry without an `id` is not on the server, or not yet. `own`: it is
 * the user's. `edited` and `deleted` are times.
 *
 * @typedef {object} Entry
 * @property {"message" | "action" | "membership" | "act" | "note"} type
 * @property {string} [id]
 * @property {string} [user]
 * @property {string} nick
 * @property {true} [registered]
 * @property {string} text
 * @property {number} time
 * @property {boolean} [own]
 * @property {string} [cid]
 * @property {true} [kept]
 * @property {number} [edited]
 * @property {number} [deleted]
 */
/** An entry with its element. @typedef {Entry & { element: HTMLElement }} Row */

/**
 * Draws an entry and returns it with its element.
 *
 * @param {Entry} entry
 * @returns {Row}
 */
export function rowOf(entry) {
  return { ...entry, element: draw(entry) };
}

/**
 * @param {Entry} entry
 * @returns {HTMLElement}
 */
function draw(entry) {
  const { type, nick, text } = entry;
  switch (type) {
    case "membership":
    case "act":
    case "note": {
      const actor = nick ? [nickname(nick), " "] : [];
      return make("div", {}, make(`div.${type}`, { dir: "auto" }, ...actor, ...linkify(text)));
    }
    case "message":
    case "action":
      return drawPost(entry);
    default:
      return /** @satisfies {never} */ (type);
  }
}

/** @param {Entry} entry */
function drawPost(entry) {
  const { nick, text, time, own, edited, deleted } = entry;
  // The words of an action begin with the nickname.
  const isAction = entry.type === "action" && deleted === undefined;
  const actor = isAction ? [nickname(nick), " "] : [];
  const words = deleted === undefined
    ? make("div.text", { dir: "auto" }, ...actor, ...linkify(text))
    : make("div.text deleted", {}, "Message deleted");
  words.classList.toggle("emoji", EMOJI.test(text));
  const post = make(`div.post ${isAction ? "action" : "message"}`, {});
  if (!own) post.append(avatar(nick));
  if (!isAction) {
    post.append(make(own ? "p.unseen" : "p.who", {}, ...own ? ["You"] : nameOf(entry)));
  }
  const times = [timeOf(time)];
  if (edited !== undefined && deleted === undefined) times.push(timeOf(edited, "edited "));
  post.append(make("div.bubble", {}, words, ...times));
  return make(own ? "div.own" : "div.other", {}, colour(post, nick));
}

/**
 * Updates what depends on the entry before: the heading of a new day, and whether the message continues
 * a group.
 *
 * @param {Row} row
 * @param {Row | undefined} before
 */
export function decorate({ element, user, nick, own, time }, before) {
  const isSameDate = before !== undefined && isSameDay(before.time, time);
  element.querySelector(".day")?.remove();
  if (!isSameDate) element.prepend(make("p.day", {}, dayOf(time)));
  const isSameUser = before?.nick === nick && before.own === own && (own || before.user === user);
  const continues = isSameDate && before.type === "message" && isSameUser &&
    time - before.time < GROUP_MS;
  element.classList.toggle("first", !continues);
}

/**
 * Adds a membership line to an earlier one of the same day. Returns false where it needs its own row.
 *
 * @param {Row | undefined} last
 * @param {Entry} entry
 */
export function appendMembership(last, { id, nick, text, time }) {
  if (last?.type !== "membership" || !isSameDay(last.time, time)) return false;
  const line = last.element.lastElementChild;
  // 30 nodes are ten lines.
  if (!line || line.childNodes.length > 30) return false;
  line.append(" · ", nickname(nick), ` ${text}`);
  last.id = id;
  return true;
}
