// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * The buttons with which users edit and delete their own messages, and the field in which they edit.
 * Where the buttons stand is message_buttons.js's.
 */
import { make } from "./dom.js";
import { menuButton } from "./menu.js";
import { MessageButtons } from "./message_buttons.js";

/** @import { ChatError } from "../client/client.js" */
/** @import { Entry, Row } from "./entry.js" */
/** @import { Rows } from "./rows.js" */

/**
 * What the buttons do. `canEdit`: whether the user may change a message; `edited` is called when they
 * have done so, or have cancelled.
 *
 * @typedef {object} ToolActions
 * @property {(row: Row) => boolean} canEdit
 * @property {(row: Row, text: string) => Promise<void>} save
 * @property {(row: Row) => Promise<void>} remove
 * @property {() => void} edited
 * @property {(button: HTMLElement, entry: Entry) => void} openMenu opens the menu of a message
 */

/** The buttons of a log. */
export class Tools {
  #actions;
  #buttons;

  /**
   * @param {Rows} rows
   * @param {ToolActions} actions
   */
  constructor(rows, actions) {
    this.#actions = actions;
    const openMenu = (/** @type {HTMLElement} */ button) => {
      if (this.#buttons.row) actions.openMenu(button, this.#buttons.row);
    };
    this.#buttons = new MessageButtons(rows, {
      kind: "div.tools",
      label: "Your message",
      isEligible: actions.canEdit,
      buttons: [
        menuButton("Actions for your message", openMenu),
        make("button.edit", { onclick: () => this.#edit() }, "Edit"),
        make("button", { onclick: () => this.#remove() }, "Delete"),
      ],
    });
  }

  /** Edits the user's last message. Returns whether there is one that can be edited. */
  editLast() {
    if (this.#buttons.element.hidden) return false;
    this.#buttons.toNewest();
    this.#edit();
    return this.#buttons.row !== undefined;
  }

  /** See {@linkcode MessageButtons.moveTo}. */
  moveTo(/** @type {Row | undefined} */ row) {
    this.#buttons.moveTo(row);
  }

  /** See {@linkcode MessageButtons.settle}. */
  settle() {
    this.#buttons.settle();
  }

  #edit() {
    const { row } = this.#buttons;
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
      bubble.hidden = this.#buttons.element.hidden = false;
      this.settle();
      this.#actions.edited();
    };
    const form = make(
      "form.editor",
      {},
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
    bubble.hidden = this.#buttons.element.hidden = true;
    bubble.after(form);
    field.focus();
  }

  #remove() {
    const { row } = this.#buttons;
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
