// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * Draws one entry of a conversation. Where entries stand is the log's (log.js).
 */
import { avatar, colour, dayOf, isSameDay, linkify, make } from "./dom.js";
import { nameOf, nickname, timeOf } from "./dom.js";
import { format } from "./format.js";
import { drawMembership } from "./membership_line.js";
import { drawReactions } from "./reactions.js";

/** @import { ReactionCount } from "../client/client.js" */
/** @import { FindMentions } from "./format.js" */
/** @import { Group } from "./membership_line.js" */

/** Milliseconds within which messages of one user are grouped. */
const GROUP_MS = 5 * 60_000;

/** One to eight emoji and nothing else: they are drawn larger. */
const EMOJI = /^(?:\p{RGI_Emoji}\s*){1,8}$/v;

/**
 * An entry of a conversation: a message or action, a `membership` line (joined, left, renamed), an `act`
 * of moderation, or a `note` that only this page shows. An entry without an `id` is not on the server, or not yet. `own`: it is
 * the user's. `edited` and `deleted` are times. `failure`: why the server does not have it; `after`: the
 * ID of the newest event when it was sent; `ahead`: the user's messages that were being sent then.
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
 * @property {string} [failure]
 * @property {string} [after]
 * @property {(string | undefined)[]} [ahead]
 * @property {readonly ReactionCount[]} [reactions]
 */
/** An entry with its element; of a membership line also those who came later.
 * @typedef {Entry & { element: HTMLElement, groups?: Group[] }} Row */

/**
 * Draws an entry and returns it with its element.
 *
 * @param {Entry} entry
 * @param {FindMentions} find
 * @returns {Row}
 */
export function rowOf(entry, find) {
  const element = draw(entry, find);
  element.role = "listitem";
  return { ...entry, element };
}

/**
 * @param {Entry} entry
 * @param {FindMentions} find
 * @returns {HTMLElement}
 */
function draw(entry, find) {
  const { type, nick, text } = entry;
  switch (type) {
    case "membership":
      return make("div", {}, drawMembership([{ text, nicks: [nick], many: 1 }]));
    case "act":
    case "note": {
      const actor = nick ? [nickname(nick), " "] : [];
      return make("div", {}, make(`div.${type}`, { dir: "auto" }, ...actor, ...linkify(text)));
    }
    case "message":
    case "action":
      return drawPost(entry, find);
    default:
      return /** @satisfies {never} */ (type);
  }
}

/**
 * @param {Entry} entry
 * @param {FindMentions} find
 */
function drawPost(entry, find) {
  const { nick, text, time, own, edited, deleted } = entry;
  // The words of an action begin with the nickname.
  const isAction = entry.type === "action" && deleted === undefined;
  const actor = isAction ? [nickname(nick), " "] : [];
  const words = deleted === undefined
    ? make("div.text", { dir: "auto" }, ...actor, ...format(text, find))
    : make("div.text deleted", {}, "Message deleted");
  words.classList.toggle("emoji", EMOJI.test(text));
  const post = make(`div.post ${isAction ? "action" : "message"}`, {});
  if (!own && words.querySelector("mark.own")) post.classList.add("mentioned");
  if (!own) post.append(avatar(nick));
  if (!isAction) {
    post.append(make(own ? "p.unseen" : "p.who", {}, ...own ? ["You"] : nameOf(entry)));
  }
  const times = [timeOf(time)];
  if (edited !== undefined && deleted === undefined) times.push(timeOf(edited, "edited "));
  post.append(make("div.bubble", {}, words, ...times));
  if (entry.reactions?.length) post.append(drawReactions(entry.reactions));
  // The name is hidden where a message continues a group.
  const ariaLabel = `${own ? "You" : nick}, ${times[0]?.textContent}`;
  return make(own ? "div.own" : "div.other", { ariaLabel }, colour(post, nick));
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
