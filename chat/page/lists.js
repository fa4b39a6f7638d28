// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * The lists beside the conversation: rooms, direct messages and members. An update reuses the elements,
 * so that the keyboard focus stays on them.
 *
 * They hold no state besides their elements.
 */
import { avatar, make, nickname } from "./dom.js";

/**
 * A conversation: a room, or direct messages with the user `to`. Empty: none.
 *
 * @typedef {{ room?: string, to?: string }} Destination
 */
/** A row of a list. @typedef {Destination & { people?: number, unread?: number, current?: boolean }} Place */

/** Returns the fragment of a conversation's address: `#room` or `#@nickname`. */
export function fragmentOf(/** @type {Destination} */ { room = "", to }) {
  return to === undefined ? `#${encodeURIComponent(room)}` : `#@${encodeURIComponent(to)}`;
}

/**
 * Returns the conversation that a fragment names.
 *
 * @param {string} fragment
 * @returns {Destination}
 */
export function destinationOf(fragment) {
  try {
    const text = decodeURIComponent(fragment.replace(/^#@?/, "")).trim().normalize("NFC");
    if (!text) return {};
    return fragment[1] === "@" ? { to: text } : { room: text };
  } catch {
    return {};
  }
}

/**
 * Returns an address for display, with its characters decoded. An address that is not UTF-8 stays as
 * it is.
 *
 * @param {string} href
 */
export function readable(href) {
  try {
    return decodeURI(href);
  } catch {
    return href;
  }
}

/**
 * Makes a list show the items, in their order.
 *
 * @template T
 * @param {HTMLElement} list
 * @param {Map<string, T>} items by a key that identifies each
 * @param {(item: T, element: HTMLElement) => void} draw
 */
function show(list, items, draw) {
  const existing = new Map();
  for (const element of [.../** @type {any} */ (list.children)]) {
    if (items.has(element.key)) existing.set(element.key, element);
    else element.remove();
  }
  let index = 0;
  for (const [key, item] of items) {
    const element = existing.get(key) ?? make("li", { key });
    draw(item, element);
    const present = list.children[index++] ?? null;
    if (present !== element) list.insertBefore(element, present);
  }
}

/**
 * Shows rooms or direct messages.
 *
 * @param {HTMLElement} list
 * @param {Place[]} places
 */
export function showPlaces(list, places) {
  show(list, new Map(places.map((place) => [fragmentOf(place), place])), (place, element) => {
    const { room = "", to, people, unread, current } = place;
    if (!element.firstChild) {
      const icon = to ? avatar(to) : make("span.hash", { ariaHidden: "true" }, "#");
      const href = fragmentOf(place);
      element.append(make("a", { href }, icon, nickname(to ?? room), make("span", {})));
    }
    const link = /** @type {HTMLElement} */ (element.firstChild);
    link.ariaCurrent = current ? "page" : null;
    const count = /** @type {HTMLElement} */ (link.lastChild);
    count.className = unread ? "badge" : "people";
    count.textContent = `${unread || people || ""}`;
    count.title = unread ? "new messages" : "people";
  });
}

/**
 * Shows the members of a room.
 *
 * @param {HTMLElement} list
 * @param {string[]} nicks
 * @param {string} ownNick
 */
export function showMembers(list, nicks, ownNick) {
  // The user's own row has another key: it becomes another element after a rename.
  const items = new Map(nicks.map((nick) => [`${nick === ownNick} ${nick}`, nick]));
  show(list, items, (nick, element) => {
    if (element.firstChild) return;
    const row = nick === ownNick ? make("span", {}, avatar(nick), nickname(nick), "you") : make(
      "a",
      { href: fragmentOf({ to: nick }), title: `Message ${nick}` },
      avatar(nick),
      nickname(nick),
    );
    element.append(row);
  });
}
