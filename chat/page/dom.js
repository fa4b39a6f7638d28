// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * What everything on the page is made of: elements, texts with links, times, what the browser keeps.
 *
 * Nothing here makes markup of a text: texts become text nodes, and nothing else.
 */

/**
 * Makes an element. Properties are set as such where there are any, else as attributes.
 *
 * @param {string} tag
 * @param {Record<string, unknown>} [properties]
 * @param {(Node | string)[]} children
 * @returns {HTMLElement}
 */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) Reflect.set(element, name, value);
    else element.setAttribute(name, String(value));
  }
  element.append(...children);
  return element;
}

/**
 * The element of index.html with this id.
 *
 * @param {string} id
 * @returns {any} what the caller knows it to be
 */
export function byId(id) {
  return document.getElementById(id);
}

/** A nickname, whose direction of writing touches nothing around it. */
export function name(/** @type {string} */ nick) {
  return make("bdi", {}, nick);
}

/** Neither spaces, nor what ends a link in a text, nor what turns the direction of writing. */
const LINK = /\bhttps?:\/\/[^\s<>"`\p{Cc}\u200e\u200f\u202a-\u202e\u2066-\u2069]+/giu;

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
  for (const { 0: found, index } of text.matchAll(LINK)) {
    const address = withoutTail(found);
    const url = URL.canParse(address) ? new URL(address) : undefined;
    if (url?.protocol !== "http:" && url?.protocol !== "https:") continue;
    const rel = "noopener noreferrer nofollow";
    parts.push(text.slice(end, index));
    parts.push(make("a", { href: url.href, target: "_blank", rel, dir: "ltr" }, address));
    end = index + address.length;
  }
  parts.push(text.slice(end));
  return parts;
}

/** Without the full stop of the sentence, or the bracket around it, that an address ends with. */
function withoutTail(/** @type {string} */ address) {
  let tail = address.replace(/[.,:;!?'*_~]+$/u, "");
  while (/[)\]}]$/.test(tail)) {
    const last = tail.slice(-1);
    const first = { ")": "(", "]": "[", "}": "{" }[last] ?? "";
    if (tail.split(first).length >= tail.split(last).length) break;
    tail = tail.slice(0, -1).replace(/[.,:;!?'*_~]+$/u, "");
  }
  return tail;
}

/** Whether a text is a few emoji and nothing else: those are shown larger. */
export function isEmoji(/** @type {string} */ text) {
  return text.length < 40 &&
    /^(?:\p{Extended_Pictographic}[\p{Emoji_Modifier}\ufe0f\u200d]*|\p{RI}\p{RI}|\s){1,8}$/u.test(
      text,
    ) && text.trim() !== "";
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const date = new Intl.DateTimeFormat(undefined, { dateStyle: "long" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });

/** The time of day, with the date for whoever points at it. */
export function timeOf(/** @type {number} */ time) {
  const at = new Date(time);
  return make("time", { dateTime: at.toISOString(), title: full.format(at) }, clock.format(at));
}

/** The name of the day, as somebody who lives now would call it. */
export function dayOf(/** @type {number} */ time) {
  const at = new Date(time);
  const now = new Date();
  const days = Math.round((noon(now) - noon(at)) / 86_400_000);
  if (days === 0) return "Today";
  if (days === 1) return "Yesterday";
  return at.getFullYear() === now.getFullYear() ? day.format(at) : date.format(at);
}

/** A number that two times share if they are on one day here. */
export function noon(/** @type {Date} */ at) {
  return new Date(at.getFullYear(), at.getMonth(), at.getDate(), 12).getTime();
}

/** The colour, one of eight, and the letter that stand for somebody. */
export function face(/** @type {string} */ nick) {
  let sum = 0;
  for (const letter of nick) sum = Math.imul(sum ^ (letter.codePointAt(0) ?? 0), 16_777_619);
  const [first = ""] = new Intl.Segmenter().segment(nick);
  const letter = typeof first === "string" ? first : first.segment.toUpperCase();
  return { hue: `h${((sum ^ (sum >>> 15)) >>> 3) % 8}`, letter };
}

/** How many things. */
export function count(/** @type {number} */ many, /** @type {string} */ one) {
  return `${many} ${many === 1 ? one : one === "person" ? "people" : `${one}s`}`;
}

/** What the browser keeps, until the tab is closed or for good. It may be forbidden, or full. */
export class Kept {
  #storage;

  /** @param {"sessionStorage" | "localStorage"} where */
  constructor(where) {
    try {
      this.#storage = globalThis[where];
    } catch {
      // Then nothing is kept.
    }
  }

  /**
   * @param {string} key
   * @returns {any} what was kept, or null
   */
  get(key) {
    try {
      return JSON.parse(this.#storage?.getItem(`parley.${key}`) ?? "null");
    } catch {
      return null;
    }
  }

  /**
   * @param {string} key
   * @param {unknown} value - null forgets it
   */
  set(key, value) {
    try {
      if (value === null) this.#storage?.removeItem(`parley.${key}`);
      else this.#storage?.setItem(`parley.${key}`, JSON.stringify(value));
    } catch {
      // Then it is not kept.
    }
  }
}
