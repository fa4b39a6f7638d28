// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * Formats the text of a message as nodes: code, bold, italics, quotes, lists, links and mentions.
 *
 * Text becomes text nodes only. Elements remember the marks that they hide, so that a copy is what was
 * typed. The time is linear in the length of the text, whatever it holds.
 */
import { LINK, linkOf, make } from "./dom.js";

/** A part of a text that names a user. `isOwn`: it is this user.
 * @typedef {{ start: number, end: number, isOwn: boolean }} Mention */
/** Finds the mentions in a text, in order. @typedef {(text: string) => Mention[]} FindMentions */

/** Lines of a block from which on it is folded, and those that are shown then. */
const FOLDED_LINES = 20, SHOWN_LINES = 12;

/** A line that opens or closes a block of code. The word after it names the language. */
const FENCE = /^```\w*\s*$/;
const QUOTE = /^> ?/;
/** A line of a list. Its mark stays visible. */
const ITEM = /^\s*(?:[-*•]|\d{1,3}[.)])\s+\S/;

/**
 * Marks inside a line. A mark begins and ends at the edge of a word, so `snake_case` and `2*3*4` stay as
 * they are.
 */
const INLINE = new RegExp(
  [
    "`(?<code>[^`\\n]+)`",
    `(?<link>${LINK.source})`,
    "\\*\\*(?<strong>[^*\\s](?:[^*\\n]*[^*\\s])?)\\*\\*",
    "(?<![\\p{L}\\p{N}*])\\*(?<bold>[^*\\s](?:[^*\\n]*[^*\\s])?)\\*(?![\\p{L}\\p{N}*])",
    "(?<![\\p{L}\\p{N}_])_(?<italic>[^_\\s](?:[^_\\n]*[^_\\s])?)_(?![\\p{L}\\p{N}_])",
  ].join("|"),
  "giu",
);

/**
 * Formats a text.
 *
 * @param {string} text
 * @param {FindMentions} [find]
 * @returns {(Node | string)[]}
 */
export function format(text, find = () => []) {
  const lines = text.split("\n");
  const fences = lines.flatMap((line, index) => FENCE.test(line) ? [index] : []);
  /** @type {(Node | string)[]} */
  const nodes = [];
  // Each fence is looked at once: a search for its end would take a time that grows with their square.
  let fence = 0;
  for (let index = 0; index < lines.length; index++) {
    const line = lines[index] ?? "";
    const close = index === fences[fence] ? fences[fence + 1] : undefined;
    if (close !== undefined) {
      fence += 2;
      nodes.push(drawBlock(lines.slice(index, close + 1), close === lines.length - 1));
      index = close;
      continue;
    }
    const end = index === lines.length - 1 ? "" : "\n";
    const [quote] = QUOTE.exec(line) ?? [];
    const words = inline(quote === undefined ? line : line.slice(quote.length), find);
    if (quote !== undefined) nodes.push(hiding(make("span.quote", {}, ...words), quote, end));
    else if (ITEM.test(line)) nodes.push(hiding(make("span.item", {}, ...words), "", end));
    else nodes.push(...words, end);
  }
  return nodes;
}

/**
 * Formats what stands in one line.
 *
 * @param {string} text
 * @param {FindMentions} find
 * @returns {(Node | string)[]}
 */
function inline(text, find) {
  /** @type {(Node | string)[]} */
  const nodes = [];
  let end = 0;
  for (const match of text.matchAll(INLINE)) {
    const { code, link, strong, bold, italic } = match.groups ?? {};
    const element = link ? linkOf(link) : undefined;
    if (link && !element) continue;
    nodes.push(...mentions(text.slice(end, match.index), find));
    end = match.index + match[0].length;
    if (element) nodes.push(element);
    else if (code) nodes.push(hiding(make("code", {}, code), "`", "`"));
    else if (italic) nodes.push(hiding(make("em", {}, ...inline(italic, find)), "_", "_"));
    else {
      const mark = strong ? "**" : "*";
      nodes.push(hiding(make("b", {}, ...inline(strong || bold || "", find)), mark, mark));
    }
  }
  nodes.push(...mentions(text.slice(end), find));
  return nodes;
}

/**
 * @param {string} text
 * @param {FindMentions} find
 */
function mentions(text, find) {
  /** @type {(Node | string)[]} */
  const nodes = [];
  let from = 0;
  for (const { start, end, isOwn } of find(text)) {
    const name = text.slice(start, end);
    nodes.push(text.slice(from, start), make(isOwn ? "mark.own" : "mark", { dir: "auto" }, name));
    from = end;
  }
  nodes.push(text.slice(from));
  return nodes.filter((each) => each !== "");
}

/**
 * Draws a block of code. A long one is folded.
 *
 * @param {string[]} lines with the fences
 * @param {boolean} isLast whether no line follows
 */
function drawBlock(lines, isLast) {
  const inner = lines.slice(1, -1);
  const code = make("code", {}, inner.join("\n"));
  const block = make("pre", { dir: "ltr" }, code);
  // An empty block has no line between its fences.
  const close = `${inner.length > 0 ? "\n" : ""}${lines.at(-1)}`;
  hiding(code, `${lines[0]}\n`, close + (isLast ? "" : "\n"));
  if (inner.length > FOLDED_LINES) fold(block, inner.length);
  return block;
}

/**
 * @param {HTMLElement} block
 * @param {number} lines
 */
function fold(block, lines) {
  const button = make("button", {
    type: "button",
    onclick: () => {
      const isFolded = block.classList.toggle("folded");
      button.textContent = isFolded ? `Show all ${lines} lines` : "Show less";
      button.ariaExpanded = String(!isFolded);
    },
  });
  block.style.setProperty("--lines", String(SHOWN_LINES));
  block.append(button);
  button.click();
}

/**
 * Notes which characters of the text an element hides before and after its content.
 *
 * @param {HTMLElement} element
 * @param {string} before
 * @param {string} after
 */
function hiding(element, before, after) {
  element.setAttribute("data-before", before);
  element.setAttribute("data-after", after);
  return element;
}

/**
 * Returns what was typed for nodes that `format` made, or for a part of them.
 *
 * @param {Node} node
 * @returns {string}
 */
export function sourceOf(node) {
  if (!(node instanceof Element)) {
    return node.nodeType === Node.TEXT_NODE
      ? node.textContent ?? ""
      : [...node.childNodes].map(sourceOf).join("");
  }
  if (node.tagName === "BUTTON") return "";
  const content = [...node.childNodes].map(sourceOf).join("");
  return `${node.getAttribute("data-before") ?? ""}${content}${
    node.getAttribute("data-after") ?? ""
  }`;
}
