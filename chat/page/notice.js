// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/** A line that stays until the user dismisses it: what a moderator did to the user, and why. */
import { ui } from "./dom.js";

/** The notice. */
export class Notice {
  constructor() {
    ui.notice.lastElementChild.onclick = () => this.close();
  }

  /** What it shows; empty: nothing. */
  get text() {
    return ui.notice.hidden ? "" : ui.notice.firstElementChild.textContent;
  }

  /** Shows a text instead of the one before. */
  show(/** @type {string} */ text) {
    ui.notice.hidden = false;
    ui.notice.firstElementChild.textContent = text;
  }

  /** Shows nothing. The focus goes to the message field: the button is gone. */
  close() {
    ui.notice.hidden = true;
    ui.text.focus();
  }
}
