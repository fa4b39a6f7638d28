// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * The buttons with which users edit and delete their own messages, and the field in which they edit.
 *
 * A log has one pair of buttons: they stand in the message under the pointer, else in the newest one,
 * and the arrow keys move them. So they are two stops of the Tab key, however long the log is.
 */
import { make } from "./dom.js";

/** @import { ChatError } from "../client/client.js" */
/** @import { Row } from "./entry.js" */

/**
 * What the buttons do. `editable` returns the messages that the user may change, in order;
 * `edited` is called when they have done so, or have cancelled.
 *
 * @typedef {object} ToolActions
 * @property {() => Row[]} editable
 * @property {(row: Row, text: string) => Promise<void>} save
 * @property {(row: Row) => Promise<void>} remove
 * @property {() => void} edited
 */

/** The buttons of a log. */
export class Tools {
  /** @type {Row | undefined} */
  #row;
  #actions;

  /** @param {ToolActions} actions */
  constructor(actions) {
    this.#actions = actions;
    this.element = make(
      "div.tools",
      // Screen readers read what is added to a log, but not these.
      { role: "group", ariaLabel: "Your message", ariaLive: "off" },
      make("button", { onclick: () => this.#edit() }, "Edit"),
      make("button", { onclick: () => this.#remove() }, "Delete"),
    );
    this.element.onkeydown = (event) => this.#keyPressed(event);
  }

  get #isFocused() {
    return this.element.contains(document.activeElement);
  }

  /** Moves the buttons to a message, if the user may change it, and does not use them elsewhere. */
  moveTo(/** @type {Row | undefined} */ row) {
    if (row === undefined || row === this.#row || this.#isFocused) return;
    if (this.#actions.editable().includes(row)) this.#place(row);
  }

  /** Moves the buttons to the newest message, unless the user uses them. */
  settle() {
    if (!this.#isFocused) this.#place(this.#actions.editable().at(-1));
  }

  #place(/** @type {Row | undefined} */ row) {
    this.#row = row;
    const post = row?.element.querySelector(".post");
    if (!post) this.element.remove();
    else if (this.element.parentElement !== post) post.append(this.element);
  }

  /** @param {KeyboardEvent} event */
  #keyPressed(event) {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const rows = this.#actions.editable();
    const row = rows[rows.findIndex(({ id }) => id === this.#row?.id) + step];
    if (!row) return;
    const focused = /** @type {HTMLElement} */ (document.activeElement);
    this.#place(row);
    // An element that moves loses the focus.
    focused.focus();
    row.element.scrollIntoView({ block: "nearest" });
  }

  #edit() {
    const row = this.#row;
    const bubble = /** @type {HTMLElement | null} */ (row?.element.querySelector(".bubble"));
    if (!row || !bubble) return;
    const field = /** @type {HTMLTextAreaElement} */ (make("textarea", {
      value: row.text,
      rows: 1,
      dir: "auto",
      required: true,
      ariaLabel: "Edit message",
    }));
    const close = () => {
      form.remove();
      bubble.hidden = this.element.hidden = false;
      this.settle();
      this.#actions.edited();
    };
    const form = make(
      "form.editor",
      { ariaLive: "off" },
      field,
      make("button.main", {}, "Save"),
      make("button", { type: "button", onclick: close }, "Cancel"),
    );
    const save = async () => {
      const text = field.value.trimEnd();
      if (text && text !== row.text && !await this.#try(form, this.#actions.save(row, text))) {
        return;
      }
      if (text) close();
    };
    form.onsubmit = (event) => {
      event.preventDefault();
      save();
    };
    form.onkeydown = (event) => {
      if (event.key === "Escape") close();
      else if (event.key === "Enter" && event.target === field && !event.shiftKey) {
        // While an input method composes a word, Enter ends the word.
        if (event.isComposing) return;
        event.preventDefault();
        save();
      } else return;
      event.stopPropagation();
    };
    bubble.hidden = this.element.hidden = true;
    bubble.after(form);
    field.focus();
  }

  #remove() {
    const row = this.#row;
    if (!row || !confirm("Delete this message for everyone?")) return;
    this.#try(row.element, this.#actions.remove(row));
    this.#actions.edited();
  }

  /**
   * Waits for the server, and shows why it refused. Returns whether it agreed.
   *
   * @param {HTMLElement} element below which the reason stands
   * @param {Promise<void>} answer
   */
  async #try(element, answer) {
    element.querySelector(".failure")?.remove();
    try {
      await answer;
      return true;
    } catch (error) {
      const { message } = /** @type {ChatError} */ (error);
      element.append(make("p.failure", { role: "alert" }, message));
      return false;
    }
  }
}
