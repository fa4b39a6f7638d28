// @ts-check
/// <reference lib="dom" />
/**
 * The items of the menu of a message that everyone has: reply, copy the text, copy a link to it. What is
 * done to its author is moderation.js's.
 */
import { copy } from "./clipboard.js";
import { fragmentOf } from "./lists.js";
import { REACTIONS } from "./reactions.js";

/** @import { Chat } from "./chat.js" */
/** @import { Entry } from "./entry.js" */
/** @import { MenuItem } from "./menu.js" */

/**
 * Returns the items for a message in the conversation that is shown.
 *
 * @param {Chat} chat
 * @param {Entry} entry
 * @param {{ quote: (text: string) => void, flash: (text: string) => void }} actions
 * @returns {MenuItem[]}
 */
export function messageItems(chat, { id = "", nick, text, own, ...rest }, { quote, flash }) {
  const isKept = chat.shownDirect === undefined || rest.kept === true;
  const take = (/** @type {string} */ copied, /** @type {string} */ what) => async () =>
    flash(await copy(copied) ? `${what} copied.` : "Nothing was copied: the browser forbids it.");
  const link = new URL(fragmentOf({ ...chat.destination, message: id }), location.href).href;
  const entry = { id, nick, text, own, ...rest };
  return [
    ...isKept ? reactionItems(chat, entry) : [],
    { label: "Reply", run: () => quote(own ? text : `${nick}: ${text}`) },
    { label: "Copy text", run: take(text, "Text") },
    { label: "Copy link", run: take(link, "Link") },
  ];
}

/**
 * @param {Chat} chat
 * @param {Entry} entry
 * @returns {MenuItem[]}
 */
function reactionItems(chat, entry) {
  return REACTIONS.map((emoji) => ({
    label: emoji,
    isShort: true,
    run: () => chat.shown?.react(entry, emoji),
  }));
}
