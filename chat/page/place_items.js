// @ts-check
/**
 * The items of the menu of the conversation that is shown: what everyone can do there, and what moderators
 * can do in the room.
 */

/** @import { Chat } from "./chat.js" */
/** @import { MenuItem } from "./menu.js" */
/** @import { Moderation } from "./moderation.js" */

/**
 * Returns the items of the menu of the conversation that is shown.
 *
 * @param {Chat} chat
 * @param {Moderation} moderation
 * @param {{ leave: () => void, invite: () => void }} actions
 * @returns {MenuItem[]}
 */
export function placeItems(chat, moderation, { leave, invite }) {
  const { shownDirect, shownRoom } = chat;
  if (shownDirect) {
    return [
      ...moderation.userItems(shownDirect.user).slice(1),
      { label: "Close this conversation", run: () => chat.closeDirect(), isApart: true },
    ];
  }
  if (!shownRoom) return [];
  const [first, ...rest] = moderation.roomItems();
  return [
    { label: "Invite people…", run: invite },
    { label: "Leave this room", run: leave },
    ...first ? [{ ...first, isApart: true }, ...rest] : [],
  ];
}
