// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/** What the commands of the page act on (commands.js), made of its parts. */
import { showRecord } from "./record.js";

/** @import { Chat } from "./chat.js" */
/** @import { CommandContext } from "./commands.js" */
/** @import { Destination } from "./lists.js" */
/** @import { Moderation } from "./moderation.js" */

/**
 * What commands do on the page.
 *
 * @typedef {object} PageActions
 * @property {(destination: Destination) => void} go
 * @property {(text: string) => void} note - shows a line to the user only
 * @property {(line: string) => void} giveBack - returns a line to the user
 */

/**
 * Returns what the commands of a page act on.
 *
 * @param {Chat} chat
 * @param {Moderation} moderation
 * @param {PageActions} actions
 * @returns {CommandContext}
 */
export function commandContext(chat, moderation, { go, note, giveBack }) {
  const { client } = chat;
  return {
    client,
    moderation,
    sessions: [],
    room: () => chat.shownRoom?.channel,
    note,
    join: (room) => go({ room }),
    leave: () => chat.leave(),
    showRecord: (room) => showRecord((query) => (room ?? client).modlog(query), room?.name),
    emote: (text) => {
      if (chat.shownRoom) chat.shownRoom.post("action", text);
      else note("/me works in rooms only.");
    },
    tell: async (nick, text) => {
      const direct = await chat.directWithNick(nick);
      direct.post("message", text);
      go({ user: direct.user.user });
    },
    loadOlder: (limit) => void chat.shown?.log.load("older", limit),
    giveBack,
  };
}
