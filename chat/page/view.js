// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * Draws what surrounds the log of a conversation: header, lists of places, hint, unread counts. It
 * holds no state.
 */
import { inWords } from "./acts.js";
import { linkify, nameOf, ui } from "./dom.js";
import { readable, showPlaces } from "./lists.js";

/** @import { RoomReply } from "../client/client.js" */
/** @import { Chat } from "./chat.js" */

/** Draws the title, the number of members, and what the composer writes to. */
export function drawHeader(/** @type {Chat} */ { client, shown, shownRoom, shownDirect }) {
  const named = shownDirect?.user ?? { nick: shownRoom?.name ?? "Parley" };
  const label = `${named.nick} ${shownDirect?.user.registered}`;
  if (ui.title.dataset.label !== label) ui.title.replaceChildren(...nameOf(named));
  ui.title.dataset.label = label;
  ui.title.className = shownRoom ? "room" : "";
  const people = shownRoom?.members.length ?? 0;
  ui.openPeople.textContent = `${people}`;
  ui.openPeople.ariaLabel = ui.peopleTitle.textContent = `${people} online`;
  ui.openPeople.hidden = ui.people.hidden = !shownRoom;
  ui.roomMenu.hidden = !shown;
  ui.composer.hidden = !shown || client.state === "closed";
  ui.text.placeholder = `Message ${shownRoom ? "#" : ""}${named.nick}`;
}

/** room-10 comes after room-2. */
const NATURAL = new Intl.Collator([], { numeric: true });
const UNTIL = new Intl.DateTimeFormat([], { dateStyle: "medium", timeStyle: "short" });

/** Draws what moderators have decided for the room: the topic, and who may write or join. */
export function drawRules(/** @type {Chat} */ { shownRoom }) {
  const { topic = "", slow, locked, private: isPrivate, muted = 0 } = shownRoom?.channel.state ??
    {};
  drawText(ui.topic, topic);
  ui.topic.title = topic;
  drawText(
    ui.rules,
    [
      mutedText(muted),
      slow ? `Slow mode: one message in ${inWords(slow)}.` : "",
      locked ? "Locked: only registered users may join." : "",
      isPrivate ? "Private: only invited users may join." : "",
    ].filter(Boolean).join(" "),
  );
}

/** @param {number | true} muted */
function mutedText(muted) {
  if (muted === true) return "You can only read here.";
  return muted > Date.now() ? `You can only read here until ${UNTIL.format(muted)}.` : "";
}

/**
 * Shows a text, or hides the element without one. Screen readers stay silent if nothing changes.
 *
 * @param {HTMLElement} element
 * @param {string} text
 */
function drawText(element, text) {
  element.hidden = !text;
  if (element.textContent !== text) element.replaceChildren(...linkify(text));
}

/**
 * Draws the lists of direct messages, of the user's rooms, and of other rooms.
 *
 * @param {Chat} chat
 * @param {RoomReply[]} everyRoom the rooms that have members
 */
export function drawPlaces({ rooms, directs, shown }, everyRoom) {
  const people = new Map(everyRoom.map(({ room, people }) => [room, people]));
  showPlaces(
    ui.directs,
    directs.all.map((direct) => ({
      user: direct.user,
      unread: direct.log.unread,
      current: direct === shown,
    })),
  );
  const joined = rooms.all.map((room) => ({
    room: room.name,
    people: room === shown ? room.members.length : people.get(room.name),
    unread: room.log.unread,
    concerns: room.isConcerning,
    current: room === shown,
  }));
  const others = everyRoom.filter(({ room }) => !rooms.get(room));
  showPlaces(ui.rooms, joined.sort(byName));
  showPlaces(ui.otherRooms, others.sort(byName));
}

/**
 * @param {{ room: string }} one
 * @param {{ room: string }} other
 */
function byName(one, other) {
  return NATURAL.compare(one.room, other.room);
}

/** Draws the hint of a conversation without messages. */
export function drawEmpty(/** @type {Chat} */ chat) {
  const [title, hint] = hintOf(chat);
  const [strong, p] = ui.empty.children;
  strong.textContent = title;
  p.textContent = hint;
  ui.empty.hidden = chat.shown?.log.isEmpty === false;
  ui.share.hidden = chat.shownRoom?.members.length !== 1;
  ui.address.textContent = readable(location.href);
}

/** Returns the title and the text of the hint. */
function hintOf(/** @type {Chat} */ { client, shownRoom, shownDirect }) {
  if (shownDirect) {
    const { nick, registered } = shownDirect.user;
    const isKept = registered && client.registered;
    const kept = isKept ? "like the messages of rooms" : "only as long as both of you are here";
    return [`You and ${nick}`, `Private between you and ${nick}. The server keeps it ${kept}.`];
  }
  if (!shownRoom) {
    return client.state === "online"
      ? ["You're not in a room", "Pick one from the list or create a new one."]
      : ["Connecting…", ""];
  }
  return shownRoom.members.length > 1
    ? ["No messages yet", "Say hello."]
    : ["You're the first one here", "Invite others with this link:"];
}

/**
 * Draws the numbers of unread messages, in the page and its title. Returns the number of conversations with
 * messages that concern the user.
 */
export function drawUnread(/** @type {Chat} */ chat) {
  const { conversations, rooms, shown, shownRoom, shownDirect } = chat;
  const unread = conversations.reduce((sum, { log }) => sum + log.unread, 0);
  const elsewhere = unread - (shown?.log.unread ?? 0);
  ui.elsewhere.textContent = elsewhere || "";
  ui.openPlaces.ariaLabel = elsewhere ? `Rooms, ${elsewhere} new messages` : "Rooms";
  const name = shownRoom ? `#${shownRoom.name}` : shownDirect?.user.nick;
  const mark = rooms.all.some(({ isConcerning }) => isConcerning) ? "@" : "";
  document.title = `${unread ? `(${mark}${unread}) ` : ""}${shown ? `${name} · ` : ""}Parley`;
  return conversations.filter(({ isConcerning }) => isConcerning).length;
}
