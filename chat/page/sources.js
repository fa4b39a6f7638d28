// @ts-check
/** What the message field completes: the people and rooms of the chat, commands and emoji. */

/** @import { RoomReply } from "../client/client.js" */
/** @import { Chat } from "./chat.js" */
/** @import { Candidate, Sources } from "./completion.js" */

/**
 * Returns the sources of completions.
 *
 * @param {() => Chat | undefined} chat
 * @param {() => readonly RoomReply[]} everyRoom
 * @param {() => readonly Candidate[]} commands
 * @returns {Sources}
 */
export function sourcesOf(chat, everyRoom, commands) {
  const nicks = (/** @type {string} */ sign) =>
    (chat()?.shown?.others ?? []).map(({ nick }) => ({
      name: nick,
      insert: sign + nick,
      note: "",
    }));
  return {
    "@": () => nicks("@"),
    "": () => nicks(""),
    "/": commands,
    "#": () => {
      const own = chat()?.rooms.all.map(({ name }) => name) ?? [];
      const names = new Set([...own, ...everyRoom().map(({ room }) => room)]);
      return [...names].map((name) => ({ name, insert: `#${name}`, note: "" }));
    },
    ":": async () => {
      const { EMOJI } = await import("./emoji.js");
      return [...EMOJI].map(([name, emoji]) => ({ name, insert: emoji, note: name }));
    },
  };
}
