// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/** The reactions to a message: their counts, and the buttons below it. */
import { make } from "./dom.js";

/** @import { ReactionCount } from "../client/client.js" */

/** The emoji with which users can react, as the server has them. */
export const REACTIONS = ["👍", "❤️", "😂", "🎉", "😮", "😢"];

/** A reaction that was added or removed. `count`: how many there are after it.
 * @typedef {{ emoji: string, count: number, isAdded: boolean, isOwn: boolean }} Reacted */

/**
 * Returns the counts after a reaction.
 *
 * @param {readonly ReactionCount[]} counts
 * @param {Reacted} reacted
 * @returns {ReactionCount[]}
 */
export function countsAfter(counts, { emoji, count: newCount, isAdded, isOwn }) {
  return REACTIONS.flatMap((each) => {
    const { count = 0, own = false } = counts.find((present) => present.emoji === each) ?? {};
    const isThis = each === emoji;
    // Not added: what was read from history may include this reaction already.
    const many = isThis ? newCount : count;
    const isMine = isThis && isOwn ? isAdded : own;
    if (many <= 0) return [];
    return [isMine ? { emoji: each, count: many, own: true } : { emoji: each, count: many }];
  });
}

/**
 * Draws the counts as buttons, which add or remove the user's reaction.
 *
 * @param {readonly ReactionCount[]} counts
 */
export function drawReactions(counts) {
  const buttons = counts.map(({ emoji, count, own = false }) =>
    make("button.reaction", {
      type: "button",
      value: emoji,
      ariaPressed: String(own),
      ariaLabel: `${emoji}, ${count} ${count === 1 ? "person" : "people"}`,
    }, `${emoji} ${count}`)
  );
  return make(
    "div.reactions",
    { role: "group", ariaLabel: "Reactions" },
    ...buttons,
  );
}
