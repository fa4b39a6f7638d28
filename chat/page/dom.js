// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * Helpers for the page: elements, links in text, times and the browser's storage.
 *
 * Text becomes text nodes only. Nothing here parses text as HTML.
 */

/** The elements of index.html by their IDs. Untyped: each caller knows the kind of its elements. */
export const ui = Object.fromEntries(
  [...document.querySelectorAll("[id]")].map((element) => [
    element.id,
    /** @type {any} */ (element),
  ]),
);

/**
 * Creates an element.
 *
 * @param {string} kind its tag, followed by a full stop and its classes, if any
 * @param {Record<string, unknown>} properties of the element
 * @param {(Node | string)[]} children
 * @returns {HTMLElement}
 */
export function make(kind, properties, ...children) {
  const [tag = "", className = ""] = kind.split(".");
  const element = Object.assign(document.createElement(tag), { className }, properties);
  element.append(...children);
  return element;
}

/** Creates a nickname, isolated from the direction of the text around it. */
export function nickname(/** @type {string} */ nick) {
  return make("bdi", {}, nick);
}

/**
 * Creates a user's nickname, followed by a mark if it is registered. No nickname can imitate the mark:
 * its background is no text.
 *
 * @param {{ nick: string, registered?: boolean }} user
 */
export function nameOf({ nick, registered }) {
  const mark = { role: "img", ariaLabel: "registered", title: "Registered nickname" };
  return [nickname(nick), ...registered ? [make("span.mark", mark)] : []];
}

/**
 * A character of a link: no spaces, no characters that end a link in text, no control characters and
 * no direction marks. Brackets match in pairs; punctuation at the end belongs to the sentence.
 */
const LINK_CHARACTER = String.raw`[^\s<>"()\x60\p{Cc}\p{Bidi_C}]`;
/** An address in a text: of the web, or of mail. */
export const LINK = new RegExp(
  String
    .raw`\b(?:https?://|www\.|mailto:)(?:\(${LINK_CHARACTER}*\)|${LINK_CHARACTER})+(?<![.,:;!?'*_~\]}])`,
  "giu",
);

/**
 * Returns the link for an address that {@linkcode LINK} has found; `undefined` if it is none after all.
 *
 * @param {string} address
 */
export function linkOf(address) {
  const href = /^www\./i.test(address) ? `https://${address}` : address;
  const isMail = /^mailto:/i.test(address);
  if (!URL.canParse(href) || isMail && !address.includes("@")) return;
  const rel = "noopener noreferrer nofollow";
  return make("a", { href, target: isMail ? "" : "_blank", rel, dir: "ltr" }, address);
}

/**
 * Converts text to nodes, with the addresses in it as links.
 *
 * @param {string} text
 * @returns {(Node | string)[]}
 */
export function linkify(text) {
  /** @type {(Node | string)[]} */
  const parts = [];
  let end = 0;
  for (const { 0: address, index } of text.matchAll(LINK)) {
    const link = linkOf(address);
    if (!link) continue;
    parts.push(text.slice(end, index), link);
    end = index + address.length;
  }
  parts.push(text.slice(end));
  return parts;
}

const TIME_OF_DAY = new Intl.DateTimeFormat([], { timeStyle: "short" });
const FULL_DATE = new Intl.DateTimeFormat([], { dateStyle: "full" });

/**
 * Creates the time of day, with the date as its tooltip.
 *
 * @param {number} time
 * @param {string} [before] text before it
 */
export function timeOf(time, before = "") {
  const date = new Date(time);
  return make("small", { title: date.toLocaleString() }, before + TIME_OF_DAY.format(date));
}

/** Returns the name of a day: "Today", "Yesterday" or the date. */
export function dayOf(/** @type {number} */ time) {
  const now = new Date();
  if (isSameDay(time, now)) return "Today";
  return isSameDay(time, now.setDate(now.getDate() - 1)) ? "Yesterday" : FULL_DATE.format(time);
}

/**
 * Whether two times are on the same day, in the browser's time zone.
 *
 * @param {number | Date} one
 * @param {number | Date} other
 */
export function isSameDay(one, other) {
  return new Date(one).toDateString() === new Date(other).toDateString();
}

/**
 * Gives an element the colour of a nickname. Similar nicknames have colours that are far apart. Returns
 * the element.
 */
export function colour(/** @type {HTMLElement} */ element, /** @type {string} */ nick) {
  let hash = 0;
  // FNV-1a, and the finish of MurmurHash3: each bit of the nickname changes half of the bits.
  for (const letter of nick) hash = Math.imul(hash ^ (letter.codePointAt(0) ?? 0), 0x01000193);
  hash = Math.imul(hash ^ hash >>> 16, 0x85ebca6b);
  hash = Math.imul(hash ^ hash >>> 13, 0xc2b2ae35);
  const bits = (hash ^ hash >>> 16) >>> 0;
  element.classList.add("coloured");
  element.style.setProperty("--angle", `${bits % 24 * 15}`);
  // Neighbouring angles look alike, so the strength differs, too.
  element.style.setProperty("--chroma", (bits >>> 8) % 2 ? ".14" : ".07");
  return element;
}

/** Creates a user's avatar: the first letter of the nickname. */
export function avatar(/** @type {string} */ nick) {
  const [first] = new Intl.Segmenter().segment(nick);
  const letter = first?.segment.toUpperCase() ?? "";
  return colour(make("span.avatar", { ariaHidden: "true" }, letter), nick);
}

/**
 * JSON values in a storage of the browser. If the storage is forbidden or full, values are lost.
 *
 * @param {"sessionStorage" | "localStorage"} storage
 */
function jsonStorage(storage) {
  return {
    /** @param {string} key @returns {any} the stored value, or null */
    get(key) {
      try {
        return JSON.parse(globalThis[storage].getItem(`parley.${key}`) ?? "null");
      } catch {
        return null;
      }
    },
    /** @param {string} key @param {unknown} value */
    set(key, value) {
      try {
        globalThis[storage].setItem(`parley.${key}`, JSON.stringify(value));
      } catch {
        // The page works without storage.
      }
    },
  };
}

/** Values that last until the tab is closed. */
export const tabStorage = jsonStorage("sessionStorage");
/** Values that last. */
export const browserStorage = jsonStorage("localStorage");
