// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * The lists at the sides: rooms, direct messages, people. What is drawn is kept, so that whoever
 * stands on it with the keyboard stays there.
 *
 * They know nothing but what they are told to show.
 */
import { count, face, make, name } from "./dom.js";

/**
 * Has a list show these, in this order.
 *
 * @template T
 * @param {HTMLElement} list
 * @param {T[]} items
 * @param {(item: T) => string} key
 * @param {(item: T, element: HTMLElement) => void} draw
 */
function show(list, items, key, draw) {
  const drawn = new Map(
    [...list.children].map((element) => [element.getAttribute("data-key"), element]),
  );
  let place = list.firstElementChild;
  for (const item of items) {
    const known = drawn.get(key(item));
    const element = /** @type {HTMLElement} */ (known ?? make("li", { "data-key": key(item) }));
    drawn.delete(key(item));
    draw(item, element);
    if (element === place) place = place.nextElementSibling;
    else list.insertBefore(element, place);
  }
  for (const element of drawn.values()) element.remove();
}

/** Where an address leads: `#room`, or `#@nickname`. */
export function addressOf(/** @type {{ room?: string, direct?: string }} */ { room, direct }) {
  return direct !== undefined
    ? `#@${encodeURIComponent(direct)}`
    : room !== undefined
    ? `#${encodeURIComponent(room)}`
    : "#";
}

/** The other way round. */
export function placeOf(/** @type {string} */ hash) {
  try {
    const text = decodeURIComponent(hash.replace(/^#@?/, "")).trim().normalize("NFC");
    if (text === "") return {};
    return hash.startsWith("#@") ? { direct: text } : { room: text };
  } catch {
    return {};
  }
}

/** @typedef {{ room?: string, direct?: string, people?: number, unread: number, current: boolean }} Place */

/**
 * @param {HTMLElement} list
 * @param {Place[]} places
 */
export function showPlaces(list, places) {
  show(list, places, addressOf, (place, element) => {
    const { room, direct, people, unread, current } = place;
    if (!element.firstChild) {
      const label = room === undefined
        ? [mark(direct ?? ""), name(direct ?? "")]
        : [make("span", { className: "hash", "aria-hidden": "true" }, "#"), name(room)];
      element.append(make("a", { href: addressOf(place) }, ...label, make("span")));
    }
    const link = /** @type {HTMLElement} */ (element.firstChild);
    const end = /** @type {HTMLElement} */ (link.lastChild);
    if (current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
    end.className = unread > 0 ? "badge" : "people";
    const shown = unread > 0 ? unread : people || "";
    const spoken = unread > 0
      ? ` ${count(unread, "new message")}`
      : people
      ? count(people, "person")
      : "";
    end.replaceChildren(
      make("span", { "aria-hidden": "true" }, String(shown)),
      make("span", { className: "hidden" }, ` ${spoken}`),
    );
  });
}

/**
 * @param {HTMLElement} list
 * @param {string[]} nicks
 * @param {string} own
 */
export function showMembers(list, nicks, own) {
  show(list, nicks, (nick) => nick, (nick, element) => {
    const isOwn = nick === own;
    if (element.firstChild && element.classList.contains("own") === isOwn) return;
    element.classList.toggle("own", isOwn);
    if (isOwn) element.replaceChildren(make("span", {}, mark(nick), name(nick), " (you)"));
    else {
      const title = `Write to ${nick}`;
      const href = addressOf({ direct: nick });
      element.replaceChildren(make("a", { href, title }, mark(nick), name(nick)));
    }
  });
}

function mark(/** @type {string} */ nick) {
  const { hue, letter } = face(nick);
  return make("span", { className: `face ${hue}`, "aria-hidden": "true" }, letter);
}
