// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * The field in which the user writes. It keeps one draft for each conversation, until the tab is closed,
 * but no passwords.
 */
import { holdsSecret } from "./commands.js";
import { tabStorage, ui } from "./dom.js";
import { onFormSubmit } from "./login_form.js";

/** The message field. */
export class Composer {
  /** The conversation that the draft belongs to. */
  #key = "";
  #onSend;

  /** @param {(text: string) => void} onSend */
  constructor(onSend) {
    this.#onSend = onSend;
    onFormSubmit(ui.composer, () => {
      this.#send();
      ui.text.focus();
    });
    ui.text.oninput = () => this.#saveDraft();
    ui.text.onkeydown = (/** @type {KeyboardEvent} */ event) => {
      // While an input method composes a word, Enter ends the word.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#send();
    };
  }

  /** Shows the draft of a conversation, which `key` identifies. */
  open(/** @type {string} */ key) {
    if (key === this.#key) return;
    ui.text.value = tabStorage.get(`draft.${key}`) ?? "";
    this.#key = key;
  }

  /** Replaces the draft and focuses the field. */
  edit(/** @type {string} */ text) {
    ui.text.value = text;
    this.#saveDraft();
    ui.text.focus();
  }

  /** Returns a line that could not be sent, unless the user has begun another one. */
  giveBack(/** @type {string} */ line) {
    if (!ui.text.value) this.edit(line);
  }

  /** Focuses the field, except on devices where that would open a keyboard. */
  focus() {
    if (!matchMedia("(pointer: coarse)").matches) ui.text.focus();
  }

  #send() {
    const text = ui.text.value.trimEnd();
    if (!text) return;
    this.#onSend(text);
    ui.text.value = "";
    this.#saveDraft();
  }

  #saveDraft() {
    const draft = ui.text.value;
    tabStorage.set(`draft.${this.#key}`, holdsSecret(draft) ? "" : draft);
  }
}
