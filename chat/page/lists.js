// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * The lists at the sides: rooms, direct messages, people. What is drawn is kept, so that whoever
 * stands on it with the keyboard stays there.
 *
 * They know nothing but what they are told to show.
 */
import { face, make, name } from "./dom.js";

/**
 * Where one is or may go: a room, or (`to`) to talk with one person.
 *
 * @typedef {{ room?: string, to?: string }} Where
 */
/** @typedef {Where & { people?: number, unread?: number, current?: boolean }} Place */

/** What an address ends with that leads there: `#room`, or `#@nickname`. */
export function addressOf(/** @type {Where} */ { room = "", to }) {
  return to === undefined ? `#${encodeURIComponent(room)}` : `#@${encodeURIComponent(to)}`;
}

/**
 * The other way round.
 *
 * @param {string} hash
 * @returns {Where}
 */
export function placeOf(hash) {
  try {
    const text = decodeURIComponent(hash.replace(/^#@?/, "")).trim().normalize("NFC");
    return !text ? {} : hash[1] === "@" ? { to: text } : { room: text };
  } catch {
    return {};
  }
}

/**
 * An address as a person reads it. One that is no UTF-8 stays as it is.
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
 * Has a list show these, in this order.
 *
 * @template T
 * @param {HTMLElement} list
 * @param {Map<string, T>} items by what tells them apart
 * @param {(item: T, element: HTMLElement) => void} draw
 */
function show(list, items, draw) {
  const drawn = new Map();
  for (const element of [.../** @type {any} */ (list.children)]) {
    if (items.has(element.key)) drawn.set(element.key, element);
    else element.remove();
  }
  let at = 0;
  for (const [key, item] of items) {
    const element = drawn.get(key) ?? make("li", { key });
    draw(item, element);
    const place = list.children[at++] ?? null;
    if (place !== element) list.insertBefore(element, place);
  }
}

/**
 * @param {HTMLElement} list
 * @param {Place[]} places
 */
export function showPlaces(list, places) {
  show(list, new Map(places.map((place) => [addressOf(place), place])), (place, element) => {
    const { room = "", to, people, unread, current } = place;
    if (!element.firstChild) {
      const mark = to ? face(to) : make("span.hash", { ariaHidden: "true" }, "#");
      const link = make("a", { href: addressOf(place) }, mark, name(to ?? room), make("span", {}));
      element.append(link);
    }
    const link = /** @type {HTMLElement} */ (element.firstChild);
    link.ariaCurrent = current ? "page" : null;
    const end = /** @type {HTMLElement} */ (link.lastChild);
    end.className = unread ? "badge" : "people";
    end.textContent = `${unread || people || ""}`;
    end.title = unread ? "new messages" : "people";
  });
}

/**
 * @param {HTMLElement} list
 * @param {string[]} nicks
 * @param {string} own
 */
export function showMembers(list, nicks, own) {
  // Another key, and so another element, for who has become oneself.
  const items = new Map(nicks.map((nick) => [`${nick === own} ${nick}`, nick]));
  show(list, items, (nick, element) => {
    if (element.firstChild) return;
    const [tag, what, rest] = nick === own
      ? ["span", {}, "(you)"]
      : ["a", { href: addressOf({ to: nick }), title: `Write to ${nick}` }, ""];
    element.append(make(tag, what, face(nick), name(nick), rest));
  });
}
