// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * Completes what the user types: nicknames after @ or with Tab, rooms after #, emoji after a colon, and
 * commands. The list stands above the field, which keeps the focus.
 *
 * What can be completed is told by the one who makes it. It sends nothing.
 */
import { make, ui } from "./dom.js";

/** A completion: the name that the user types, what is inserted, and a note that stands behind it in the list.
 * @typedef {{ name: string, insert: string, note: string }} Candidate */
/**
 * Where completions come from, by the sign before them; `""`: a word without a sign, with Tab. Each returns
 * all candidates, maybe later; those that begin with what was typed are offered.
 *
 * @typedef {Readonly<Record<"@" | "#" | ":" | "/" | "", Source>>} Sources
 */
/** @typedef {() => readonly Candidate[] | Promise<readonly Candidate[]>} Source */

/** Completions that are offered at once. */
const MAX_OFFERED = 8;
/** What stands before the caret: a sign at the start of a word, and the beginning of a name. */
const TOKEN = /(?:^|\s)([@#:])([^\s@#:]{0,32})$/u;
const COMMAND = /^\s*(\/)([a-z]*)$/i;
const WORD = /(?:^|\s)()([^\s@#:/]{1,32})$/u;

/** The completion of the message field. */
export class Completion {
  #sources;
  #changed;
  /** @type {Candidate[]} */
  #offered = [];
  #chosen = 0;
  /** Characters before the caret that a completion replaces. */
  #typed = 0;

  /**
   * @param {Sources} sources
   * @param {() => void} changed called when the text was completed
   */
  constructor(sources, changed) {
    this.#sources = sources;
    this.#changed = changed;
  }

  /** Offers what the text before the caret may become. */
  update(isAsked = false) {
    const before = ui.text.value.slice(0, ui.text.selectionStart);
    const match = COMMAND.exec(before) ?? TOKEN.exec(before) ??
      (isAsked ? WORD.exec(before) : null);
    const [, sign = "", typed = ""] = match ?? [];
    const isOffered = match !== null && (sign !== ":" || typed.length > 1 || isAsked) &&
      ui.text.selectionStart === ui.text.selectionEnd;
    this.#offered = [];
    this.#typed = sign.length + typed.length;
    this.#chosen = 0;
    const all = isOffered ? this.#sources[/** @type {keyof Sources} */ (sign)]() : [];
    if (all instanceof Promise) {
      all.then((candidates) => {
        const { value, selectionStart } = ui.text;
        if (value.slice(0, selectionStart) === before) this.#offer(candidates, typed);
      }, () => {});
    }
    this.#offer(all instanceof Promise ? [] : all, typed);
  }

  /**
   * @param {readonly Candidate[]} candidates
   * @param {string} typed
   */
  #offer(candidates, typed) {
    this.#offered = candidatesFrom(candidates, typed);
    this.#draw();
  }

  /** Offers nothing. */
  close() {
    this.#offered = [];
    this.#draw();
  }

  /**
   * Handles a key. Returns whether it was for the list.
   *
   * @param {KeyboardEvent} event
   */
  keyPressed({ key, shiftKey, ctrlKey, altKey, metaKey }) {
    if (shiftKey || ctrlKey || altKey || metaKey) return false;
    if (key === "Tab" && this.#offered.length === 0) {
      // A field without a word leaves the key to the page, so that the focus can move on.
      this.update(true);
      const many = this.#count;
      if (many === 1) this.#accept(0);
      return many > 0;
    }
    if (this.#offered.length === 0) return false;
    const step = { ArrowDown: 1, ArrowUp: -1 }[key];
    if (step !== undefined) {
      this.#chosen = (this.#chosen + step + this.#offered.length) % this.#offered.length;
      this.#draw();
    } else if (key === "Escape") this.close();
    else if (key === "Tab" || key === "Enter" && !this.#isComplete) this.#accept(this.#chosen);
    else return false;
    return true;
  }

  get #count() {
    return this.#offered.length;
  }

  /** Whether the text has the chosen completion already, so that Enter sends it. */
  get #isComplete() {
    const { selectionStart, value } = ui.text;
    const typed = value.slice(selectionStart - this.#typed, selectionStart);
    return this.#offered[this.#chosen]?.insert.toLowerCase() === typed.toLowerCase();
  }

  /** @param {number} index */
  #accept(index) {
    const candidate = this.#offered[index];
    if (!candidate) return;
    const { selectionStart } = ui.text;
    ui.text.setRangeText(
      `${candidate.insert} `,
      selectionStart - this.#typed,
      selectionStart,
      "end",
    );
    this.close();
    this.#changed();
    ui.text.focus();
  }

  #draw() {
    const options = this.#offered.map(({ insert, note }, index) =>
      make(
        "li",
        {
          id: `suggestion${index}`,
          role: "option",
          ariaSelected: String(index === this.#chosen),
          // The field keeps the focus.
          onmousedown: (/** @type {MouseEvent} */ event) => event.preventDefault(),
          onclick: () => this.#accept(index),
        },
        make("bdi", {}, insert),
        make("small", {}, note),
      )
    );
    ui.suggestions.hidden = options.length === 0;
    ui.suggestions.replaceChildren(...options);
    const chosen = options[this.#chosen];
    if (chosen) ui.text.setAttribute("aria-activedescendant", chosen.id);
    else ui.text.removeAttribute("aria-activedescendant");
  }
}

/**
 * Returns the candidates that begin with what was typed, besides their sign.
 *
 * @param {readonly Candidate[]} candidates
 * @param {string} typed
 */
function candidatesFrom(candidates, typed) {
  const wanted = typed.toLowerCase();
  const found = [];
  for (const candidate of candidates) {
    if (candidate.name.toLowerCase().startsWith(wanted)) found.push(candidate);
    if (found.length === MAX_OFFERED) break;
  }
  return found;
}
