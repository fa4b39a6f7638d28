// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/** A line that stays until the user answers it: what a moderator did to the user, or a question. */
import { make, ui } from "./dom.js";

/** The notice. */
export class Notice {
  /** What it shows; empty: nothing. */
  get text() {
    return ui.notice.hidden ? "" : ui.notice.firstElementChild.textContent;
  }

  /** Shows a text instead of the one before. */
  show(/** @type {string} */ text) {
    this.#draw(text, { Dismiss: () => {} });
  }

  /**
   * Asks a question, unless something more important is shown.
   *
   * @param {string} text
   * @param {Readonly<Record<string, () => void>>} answers by the labels of their buttons
   */
  ask(text, answers) {
    if (!this.text) this.#draw(text, answers);
  }

  /**
   * @param {string} text
   * @param {Readonly<Record<string, () => void>>} answers
   */
  #draw(text, answers) {
    const buttons = Object.entries(answers).map(([label, run]) => {
      const onclick = () => {
        ui.notice.hidden = true;
        // The focused button is gone.
        ui.text.focus();
        run();
      };
      return make("button", { onclick }, label);
    });
    ui.notice.replaceChildren(make("span", { dir: "auto" }, text), ...buttons);
    ui.notice.hidden = false;
  }
}
