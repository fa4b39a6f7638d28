// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * What everything on the page is made of: elements, texts with links, times, what the browser keeps.
 *
 * Nothing here makes markup of a text: texts become text nodes, and nothing else.
 */

/** The elements of index.html by their ids: who uses one knows what it is. */
export const ui = Object.fromEntries(
  [...document.querySelectorAll("[id]")].map((element) => [
    element.id,
    /** @type {any} */ (element),
  ]),
);

/**
 * Makes an element.
 *
 * @param {string} kind its tag, with a point before its classes, if any
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

/** A nickname, whose direction of writing touches nothing around it. */
export function name(/** @type {string} */ nick) {
  return make("bdi", {}, nick);
}

/**
 * No spaces, nor what ends a link in a text, nor what turns the direction of writing. Brackets only
 * in pairs, and no full stop of a sentence at the end.
 */
const CHARACTER = String.raw`[^\s<>"()\x60\p{Cc}\p{Bidi_C}]`;
const LINK = new RegExp(
  String.raw`\bhttps?://(?:\(${CHARACTER}*\)|${CHARACTER})+(?<![.,:;!?'*_~\]}])`,
  "giu",
);

/**
 * A text as nodes, its http(s) addresses as links.
 *
 * @param {string} text
 * @returns {(Node | string)[]}
 */
export function linked(text) {
  /** @type {(Node | string)[]} */
  const parts = [];
  let end = 0;
  for (const { 0: address, index } of text.matchAll(LINK)) {
    if (!URL.canParse(address)) continue;
    const rel = "noopener noreferrer nofollow";
    parts.push(
      text.slice(end, index),
      make("a", { href: address, target: "_blank", rel, dir: "ltr" }, address),
    );
    end = index + address.length;
  }
  return [...parts, text.slice(end)];
}

const clock = new Intl.DateTimeFormat([], { timeStyle: "short" });
const date = new Intl.DateTimeFormat([], { dateStyle: "full" });

/** The time of day, with the date for whoever points at it. */
export function timeOf(/** @type {number} */ time) {
  const at = new Date(time);
  return make("small", { title: at.toLocaleString() }, clock.format(at));
}

/** The name of the day, as somebody who lives now would call it. */
export function dayOf(/** @type {number} */ time) {
  const now = new Date();
  if (isSameDay(time, now)) return "Today";
  return isSameDay(time, now.setDate(now.getDate() - 1)) ? "Yesterday" : date.format(time);
}

/** @param {(number | Date)[]} times */
export function isSameDay(...times) {
  const [one, other] = times.map((time) => new Date(time).toDateString());
  return one === other;
}

/** The colour that stands for somebody, on an element. */
export function dye(/** @type {HTMLElement} */ element, /** @type {string} */ nick) {
  let sum = 0;
  for (const letter of nick) sum = (sum * 43 + (letter.codePointAt(0) ?? 0)) % 360;
  element.classList.add("dyed");
  element.style.setProperty("--angle", `${sum}`);
  return element;
}

/** The picture of somebody: a letter. */
export function face(/** @type {string} */ nick) {
  const [first] = new Intl.Segmenter().segment(nick);
  return dye(
    make("span.face", { ariaHidden: "true" }, first?.segment.toUpperCase() ?? ""),
    nick,
  );
}

/**
 * What the browser keeps, until the tab is closed or for good. It may be forbidden, or full: then
 * nothing is kept.
 *
 * @param {"sessionStorage" | "localStorage"} where
 */
function kept(where) {
  return {
    /** @param {string} key @returns {any} what was kept, or null */
    get(key) {
      try {
        return JSON.parse(globalThis[where].getItem(`parley.${key}`) ?? "null");
      } catch {
        return null;
      }
    },
    /** @param {string} key @param {unknown} value */
    set(key, value) {
      try {
        globalThis[where].setItem(`parley.${key}`, JSON.stringify(value));
      } catch {
        // See above.
      }
    },
  };
}

export const tab = kept("sessionStorage");
export const home = kept("localStorage");
