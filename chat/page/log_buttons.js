// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * The buttons in the messages of a log: Edit and Delete in the user's own, and the one that opens the
 * menu in those of others. They follow the pointer.
 */
import { menuButton } from "./menu.js";
import { MessageButtons } from "./message_buttons.js";
import { Tools } from "./tools.js";

/** @import { Entry, Row } from "./entry.js" */
/** @import { Rows } from "./rows.js" */
/** @import { ToolActions } from "./tools.js" */

/**
 * What the buttons need besides editing.
 *
 * - `isIgnored`: whether the user ignores the author of an entry, which is hidden then.
 * - `openMenu`: opens, at a button, the menu of a message by another user.
 *
 * @typedef {object} MenuActions
 * @property {(entry: Entry) => boolean} isIgnored
 * @property {(button: HTMLElement, entry: Entry) => void} openMenu
 */
/** @typedef {ToolActions & MenuActions} ButtonActions */

/** The buttons of a log. */
export class LogButtons {
  #rows;
  #tools;
  /** The button of the menu. */
  #menu;

  /**
   * @param {Rows} rows
   * @param {ButtonActions} actions
   */
  constructor(rows, actions) {
    this.#rows = rows;
    this.#tools = new Tools(rows, actions);
    const openMenu = (/** @type {HTMLElement} */ button) => {
      if (this.#menu.row) actions.openMenu(button, this.#menu.row);
    };
    this.#menu = new MessageButtons(rows, {
      kind: "div.more",
      label: "This message",
      isEligible: (row) => isByOther(row) && !actions.isIgnored(row),
      buttons: [menuButton("Actions for this message", openMenu)],
    });
    rows.list.onpointerover = ({ target }) => this.#pointAt(target);
    rows.list.onclick = ({ target }) => this.#clicked(target);
  }

  /** Moves the buttons to the newest messages, unless the user uses them. */
  settle() {
    this.#tools.settle();
    this.#menu.settle();
  }

  /** Moves the buttons to the message under the pointer. */
  #pointAt(/** @type {EventTarget | null} */ target) {
    const element = /** @type {Element} */ (target).closest(".own, .other");
    if (!element) return;
    const buttons = element.classList.contains("own") ? this.#tools : this.#menu;
    buttons.moveTo(this.#rows.at(element));
  }

  /** Opens the menu from the name of a user, too. Keyboards reach the button, but not the name. */
  #clicked(/** @type {EventTarget | null} */ target) {
    this.#pointAt(target);
    const name = /** @type {Element} */ (target).closest(".other .who, .other .avatar");
    if (!name || !this.#menu.row?.element.contains(name)) return;
    this.#menu.element.querySelector("button")?.click();
  }
}

/** Whether an entry is a message by another user. @param {Row} row */
function isByOther({ id, type, own, user, deleted }) {
  const isMessage = type === "message" || type === "action";
  return isMessage && !own && Boolean(id && user) && deleted === undefined;
}
