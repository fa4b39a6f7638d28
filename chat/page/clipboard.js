// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/** Copies text, and has the browser copy messages as they were typed. */
import { make } from "./dom.js";
import { sourceOf } from "./format.js";

/**
 * Copies a text. Returns whether that was possible.
 *
 * @param {string} text
 */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // It exists only on pages served over HTTPS, and may be forbidden.
  }
  const before = document.activeElement;
  const field = /** @type {HTMLTextAreaElement} */ (make("textarea.unseen", { value: text }));
  document.body.append(field);
  field.select();
  const isCopied = document.execCommand("copy");
  field.remove();
  /** @type {HTMLElement | null} */ (before)?.focus();
  return isCopied;
}

/** Has a selection in messages copied as it was typed: of several messages with their authors. */
export function copyAsTyped(/** @type {ClipboardEvent} */ event) {
  const selection = getSelection();
  const range = selection?.rangeCount ? selection.getRangeAt(0) : undefined;
  const container = range?.commonAncestorContainer;
  const around = container instanceof Element ? container : container?.parentElement;
  if (!range || !around?.closest(".rows")) return;
  const part = range.cloneContents();
  const posts = [...part.querySelectorAll(".post")];
  const text = posts.length === 0
    ? around.closest(".text") && sourceOf(part)
    : posts.map((post) => `${nameIn(post)}: ${sourceOf(textIn(post))}`).join("\n");
  if (!text) return;
  event.clipboardData?.setData("text/plain", text);
  event.preventDefault();
}

/** @param {Element} post */
function nameIn(post) {
  return post.querySelector(".who bdi")?.textContent ??
    post.querySelector(".unseen")?.textContent ??
    "";
}

/** @param {Element} post */
function textIn(post) {
  return post.querySelector(".text") ?? post;
}
