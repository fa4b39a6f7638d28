// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * A group of buttons that stands in one message of a log: the one under the pointer, else the newest,
 * and the arrow keys move it. So it is as many stops of the Tab key as it has buttons, however long the
 * log is. What the buttons do is not known here.
 */
import { make } from "./dom.js";

/** @import { Row } from "./entry.js" */
/** @import { Rows } from "./rows.js" */

/**
 * @typedef {object} ButtonsOptions
 * @property {string} kind the tag and classes of the group
 * @property {string} label
 * @property {(row: Row) => boolean} isEligible whether the buttons may stand in a message
 * @property {HTMLElement[]} buttons
 */

/** Buttons of a log. */
export class MessageButtons {
  /** The message in which the buttons stand. @type {Row | undefined} */
  row;
  #rows;
  #isEligible;

  /**
   * @param {Rows} rows
   * @param {ButtonsOptions} options
   */
  constructor(rows, { kind, label, isEligible, buttons }) {
    this.#rows = rows;
    this.#isEligible = isEligible;
    this.element = make(kind, { role: "group", ariaLabel: label }, ...buttons);
    this.element.onkeydown = (event) => this.#keyPressed(event);
  }

  get #isFocused() {
    return this.element.contains(document.activeElement);
  }

  /** Moves the buttons to a message, if they may stand there, and are not used elsewhere. */
  moveTo(/** @type {Row | undefined} */ row) {
    if (row === undefined || row === this.row || !this.#isEligible(row)) return;
    // A button that was clicked keeps the focus, but is not used any more.
    const used = this.element.querySelector(":focus-visible, [aria-expanded=true]");
    if (!used) this.#place(row);
  }

  /** Moves the buttons to the newest message, unless the user uses them. */
  settle() {
    if (!this.#isFocused) this.toNewest();
  }

  /** Moves the buttons to the newest message. */
  toNewest() {
    this.#place(this.#rows.findLast(this.#isEligible));
  }

  #place(/** @type {Row | undefined} */ row) {
    this.row = row;
    const post = row?.element.querySelector(".post");
    if (!post) this.element.remove();
    else if (this.element.parentElement !== post) post.append(this.element);
  }

  /** @param {KeyboardEvent} event */
  #keyPressed(event) {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const rows = this.#rows.filter(this.#isEligible);
    const row = rows[rows.findIndex(({ id }) => id === this.row?.id) + step];
    if (!row) return;
    const focused = /** @type {HTMLElement} */ (document.activeElement);
    this.#place(row);
    // An element that moves loses the focus.
    focused.focus();
    row.element.scrollIntoView({ block: "nearest" });
  }
}
