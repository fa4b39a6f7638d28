// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * The lists beside the conversation: rooms, direct messages and members. An update reuses the elements,
 * so that the keyboard focus stays on them.
 *
 * They hold no state besides their elements.
 */
import { avatar, browserStorage, make, nameOf, ui } from "./dom.js";
import { menuButton } from "./menu.js";

/** @import { Member, User } from "../client/client.js" */

/**
 * A conversation: a room, or direct messages with a user, given by their ID or by a nickname. Empty:
 * none.
 *
 * @typedef {{ room?: string, user?: string, nick?: string, message?: string }} Destination `message`: the ID of
 *   one in it
 */
/**
 * A row of a list: a room, or direct messages with the user who has the nickname.
 *
 * @typedef {object} Place
 * @property {string} [room]
 * @property {User} [user]
 * @property {number} [people]
 * @property {number} [unread]
 * @property {boolean} [concerns] whether an unread message concerns the user
 * @property {boolean} [current]
 */

/**
 * Returns the fragment of a conversation's address: `#room`, `#=user` or `#@nickname`. The ID and the
 * nickname have marks that are escaped in the name of a room.
 *
 * @param {Destination} destination
 */
export function fragmentOf({ room = "", user, nick, message }) {
  const place = encodeURIComponent(user ?? nick ?? room);
  const mark = user !== undefined ? "=" : nick !== undefined ? "@" : "";
  return `#${mark}${place}${message ? `&message=${encodeURIComponent(message)}` : ""}`;
}

/**
 * Returns the conversation that a fragment names.
 *
 * @param {string} fragment
 * @returns {Destination}
 */
export function destinationOf(fragment) {
  try {
    const [place = "", rest] = fragment.split("&message=");
    const text = decodeURIComponent(place.replace(/^#[@=]?/, "")).trim().normalize("NFC");
    if (!text) return {};
    const message = rest && decodeURIComponent(rest);
    if (fragment[1] === "=") return { user: text, message };
    return fragment[1] === "@" ? { nick: text, message } : { room: text, message };
  } catch {
    return {};
  }
}

/** Keeps the access token that an invitation carries in its address, and shows the address without it. */
export function takeAccessToken() {
  const [, fragment, token] = /^(#.*)&(token=[^&]+)$/.exec(location.hash) ?? [];
  if (fragment === undefined) return;
  browserStorage.set("token", new URLSearchParams(token).get("token"));
  history.replaceState(null, "", fragment);
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

/** The most unread messages that a count names. */
const MAX_COUNT = 99;

/**
 * Shows rooms or direct messages.
 *
 * @param {HTMLElement} list
 * @param {Place[]} places
 */
export function showPlaces(list, places) {
  const items = new Map(places.map((place) => [addressOf(place), place]));
  show(list, items, (place, element) => {
    const { room = "", user, people, unread = 0, concerns, current } = place;
    const link = element.firstElementChild ?? make("a", { href: addressOf(place) });
    element.append(link);
    const { nick, registered } = user ?? { nick: room };
    const label = `${nick} ${registered}`;
    if (link.getAttribute("data-label") !== label) {
      link.setAttribute("data-label", label);
      const icon = user ? avatar(nick) : make("span.hash", { ariaHidden: "true" }, "#");
      link.replaceChildren(icon, ...nameOf({ nick, registered }), make("span", {}));
    }
    link.ariaCurrent = current ? "page" : null;
    const count = /** @type {HTMLElement} */ (link.lastChild);
    count.className = unread ? "badge" : "people";
    const many = unread > MAX_COUNT ? `${MAX_COUNT}+` : `${unread || people || ""}`;
    count.textContent = concerns ? `@ ${many}` : many;
    count.title = unread ? `new messages${concerns ? ", for you" : ""}` : "people";
  });
}

function addressOf(/** @type {Place} */ { room, user }) {
  return fragmentOf({ room, user: user?.user });
}

/** Rows from which on a list has a field that filters it. */
const MANY_ROWS = 12;

/**
 * Hides the rows of lists that do not contain what is typed in a field.
 *
 * @param {HTMLInputElement} field
 * @param {HTMLElement[]} lists
 */
export function filterLists(field, ...lists) {
  const wanted = field.value.trim().toLowerCase();
  for (const row of lists.flatMap((list) => [...list.children])) {
    /** @type {HTMLElement} */ (row).hidden = !row.textContent?.toLowerCase().includes(wanted);
  }
}

/** Shows the field that filters the members, if there are many. */
export function showMemberFilter() {
  ui.findMember.hidden = ui.members.children.length < MANY_ROWS;
  if (ui.findMember.hidden) ui.findMember.value = "";
  filterLists(ui.findMember, ui.members);
}

/**
 * What the list of members needs to know.
 *
 * @typedef {object} MembersOptions
 * @property {string} ownId
 * @property {ReadonlySet<string>} ignored the IDs of the users who are ignored
 * @property {(button: HTMLElement, member: User) => void} openMenu
 */

/**
 * Shows the members of a room.
 *
 * @param {HTMLElement} list
 * @param {readonly Member[]} members
 * @param {MembersOptions} options
 */
export function showMembers(list, members, { ownId, ignored, openMenu }) {
  // What is drawn is part of the key: after a change the row is another element.
  const keyOf = (/** @type {User} */ { user, nick, registered }) =>
    [user, user === ownId, registered, nick].join(" ");
  show(list, new Map(members.map((each) => [keyOf(each), each])), (member, element) => {
    const { user, nick, away = false } = member;
    element.classList.toggle("ignoredMember", ignored.has(user));
    // The style adds the word: another row would lose the focus.
    element.classList.toggle("awayMember", away);
    if (element.firstChild) return;
    const content = [avatar(nick), ...nameOf(member)];
    if (user === ownId) return element.append(make("span", {}, ...content, "you"));
    const link = make("a", { href: fragmentOf({ user }), title: `Message ${nick}` }, ...content);
    element.append(link, menuButton(`Actions for ${nick}`, (button) => openMenu(button, member)));
  });
}
