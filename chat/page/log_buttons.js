// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * The buttons in the messages of a log: the one that opens the menu, and in what the user can edit also Edit
 * and Delete. They follow the pointer.
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
 *
 * @typedef {object} MenuActions
 * @property {(entry: Entry) => boolean} isIgnored
 * @property {(entry: Entry, emoji: string) => void} react adds the user's reaction, or takes it back
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
      isEligible: (row) => isMessage(row) && !actions.canEdit(row) && !actions.isIgnored(row),
      buttons: [menuButton("Actions for this message", openMenu)],
    });
    rows.list.onpointerover = ({ target }) => this.#pointAt(target);
    rows.list.onclick = ({ target }) => {
      const element = /** @type {Element} */ (target);
      const reaction = /** @type {HTMLButtonElement | null} */ (element.closest(".reaction"));
      const row = reaction && rows.at(reaction);
      if (row) actions.react(row, reaction.value);
      else this.#clicked(element);
    };
  }

  /** Moves the buttons to the newest messages, unless the user uses them. */
  settle() {
    this.#tools.settle();
    this.#menu.settle();
  }

  /** Edits the user's last message. Returns whether there is one that can be edited. */
  editLast() {
    return this.#tools.editLast();
  }

  /** Moves the buttons to the message under the pointer. */
  #pointAt(/** @type {EventTarget | null} */ target) {
    const element = /** @type {Element} */ (target).closest(".own, .other");
    if (!element) return;
    const row = this.#rows.at(element);
    this.#tools.moveTo(row);
    this.#menu.moveTo(row);
  }

  /** Opens the menu from the name of a user, too. Keyboards reach the button, but not the name. */
  #clicked(/** @type {EventTarget | null} */ target) {
    this.#pointAt(target);
    const name = /** @type {Element} */ (target).closest(".other .who, .other .avatar");
    if (!name || !this.#menu.row?.element.contains(name)) return;
    this.#menu.element.querySelector("button")?.click();
  }
}

/** Whether an entry is a message that the server has. @param {Row} row */
function isMessage({ id, type, user, deleted }) {
  return (type === "message" || type === "action") && Boolean(id && user) && deleted === undefined;
}
