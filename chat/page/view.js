// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * Draws what surrounds the log of a conversation: header, lists of places, hint, unread counts. It
 * holds no state.
 */
import { nickname, ui } from "./dom.js";
import { readable, showPlaces } from "./lists.js";

/** @import { RoomReply } from "../client/client.js" */
/** @import { Chat } from "./chat.js" */
/** @import { Place } from "./lists.js" */

/** Draws the title, the number of members, and what the composer writes to. */
export function drawHeader(/** @type {Chat} */ { room, to, members, shown }) {
  const isRoom = to === undefined && room !== undefined;
  ui.title.replaceChildren(nickname(to ?? room ?? "Parley"));
  ui.title.className = isRoom ? "room" : "";
  ui.openPeople.textContent = ui.peopleTitle.textContent = `${members.length} online`;
  ui.openPeople.hidden = ui.people.hidden = !isRoom;
  ui.composer.hidden = !shown;
  ui.text.placeholder = `Message ${to ?? `#${room}`}`;
}

/**
 * Draws the lists of rooms and of direct messages.
 *
 * @param {Chat} chat
 * @param {RoomReply[]} rooms
 */
export function drawPlaces({ room, log, members, directs, shown }, rooms) {
  /** @type {(Place & { room: string })[]} */
  const places = rooms.filter((each) => each.room !== room);
  if (room !== undefined) {
    places.push({ room, people: members.length, unread: log?.unread, current: log === shown });
  }
  showPlaces(ui.rooms, places.sort((a, b) => a.room.localeCompare(b.room)));
  showPlaces(
    ui.directs,
    [...directs].map(([to, log]) => ({ to, unread: log.unread, current: log === shown })),
  );
}

/** Draws the hint of a conversation without messages. */
export function drawEmpty(/** @type {Chat} */ chat) {
  const [title, hint] = hintOf(chat);
  const [strong, p] = ui.empty.children;
  strong.textContent = title;
  p.textContent = hint;
  ui.empty.hidden = chat.shown?.isEmpty === false;
  ui.share.hidden = chat.to !== undefined || chat.room === undefined || chat.members.length > 1;
  ui.address.textContent = readable(location.href);
}

/** Returns the title and the text of the hint. */
function hintOf(/** @type {Chat} */ { client, room, to, members }) {
  if (to !== undefined) {
    return [`You and ${to}`, `Private between you and ${to}. The server keeps it for three hours.`];
  }
  if (room === undefined) {
    return client.state === "online"
      ? ["You're not in a room", "Pick one from the list or create a new one."]
      : ["Connecting…", ""];
  }
  return members.length > 1
    ? ["No messages yet", "Say hello."]
    : ["You're the first one here", "Invite others with this link:"];
}

/** Draws the numbers of unread messages, in the page and its title. */
export function drawUnread(/** @type {Chat} */ { room, to, logs, shown }) {
  const unread = logs.reduce((sum, { unread }) => sum + unread, 0);
  ui.elsewhere.textContent = unread - (shown?.unread ?? 0) || "";
  const conversation = shown ? `${to ?? `#${room}`} · ` : "";
  document.title = `${unread ? `(${unread}) ` : ""}${conversation}Parley`;
}
