// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * The field in which the user writes. It keeps one draft for each conversation, until the tab is closed,
 * but no passwords.
 */
import { Completion } from "./completion.js";
import { tabStorage, ui } from "./dom.js";
import { onFormSubmit } from "./login_form.js";
import { SECRET } from "./secrets.js";

/** @import { Sources } from "./completion.js" */

/** A character that can be seen: not white space, and none of those that are as empty. */
const VISIBLE = /[^\s\p{Cc}\p{Cf}\p{Zs}\u115f\u1160\u2800\u3164\uffa0]/u;

/**
 * - `send`: posts a text, or runs a command.
 * - `editLast`: edits the user's last message. Returns whether there is one.
 * - `typing`: the user writes.
 *
 * @typedef {object} ComposerActions
 * @property {(text: string) => void} send
 * @property {() => boolean} editLast
 * @property {() => void} typing
 */

/** The message field. */
export class Composer {
  /** The conversation that the draft belongs to. */
  #key = "";
  #actions;
  #completion;

  /**
   * @param {ComposerActions} actions
   * @param {Sources} sources of completions
   */
  constructor(actions, sources) {
    this.#actions = actions;
    this.#completion = new Completion(sources, () => this.#changed());
    onFormSubmit(ui.composer, () => {
      this.#send();
      ui.text.focus();
    });
    ui.text.oninput = () => {
      this.#changed();
      this.#completion.update();
      if (VISIBLE.test(ui.text.value) && !ui.text.value.startsWith("/")) actions.typing();
    };
    ui.text.onblur = () => this.#completion.close();
    ui.text.onkeydown = (/** @type {KeyboardEvent} */ event) => this.#keyPressed(event);
    ui.emoji.onclick = async () => {
      const { showPicker } = await import("./emoji_picker.js");
      showPicker(ui.emoji, (emoji) => this.#insert(emoji));
    };
    this.#changed();
  }

  /** Shows the draft of a conversation, which `key` identifies. */
  open(/** @type {string} */ key) {
    if (key === this.#key) return;
    ui.text.value = tabStorage.get(`draft.${key}`) ?? "";
    this.#key = key;
    this.#completion.close();
    this.#changed();
  }

  /** Replaces the draft and focuses the field. */
  edit(/** @type {string} */ text) {
    ui.text.value = text;
    this.#changed();
    ui.text.focus();
  }

  /** Puts a quote of a message before what the user has written. */
  quote(/** @type {string} */ text) {
    const lines = text.split("\n").map((line) => `> ${line}`);
    this.edit(`${lines.join("\n")}\n${ui.text.value}`);
  }

  /** Returns a line that could not be sent, unless the user has begun another one. */
  giveBack(/** @type {string} */ line) {
    if (!ui.text.value) this.edit(line);
  }

  /** Focuses the field, except on devices where that would open a keyboard. */
  focus() {
    if (!matchMedia("(pointer: coarse)").matches) ui.text.focus();
  }

  /** @param {KeyboardEvent} event */
  #keyPressed(event) {
    // While an input method composes a word, its keys are for that word.
    if (event.isComposing) return;
    const isForList = this.#completion.keyPressed(event);
    const isSend = !isForList && event.key === "Enter" && !event.shiftKey;
    const isEdit = !isForList && event.key === "ArrowUp" && !ui.text.value &&
      this.#actions.editLast();
    if (isForList || isSend || isEdit) event.preventDefault();
    if (isForList) event.stopPropagation();
    if (isSend) this.#send();
  }

  /** @param {string} text */
  #insert(text) {
    ui.text.setRangeText(text, ui.text.selectionStart, ui.text.selectionEnd, "end");
    this.#changed();
    ui.text.focus();
  }

  #send() {
    const text = ui.text.value.trimEnd();
    if (!VISIBLE.test(text)) return;
    this.#completion.close();
    this.#actions.send(text);
    ui.text.value = "";
    this.#changed();
  }

  /** Keeps the draft. */
  #changed() {
    const draft = ui.text.value;
    ui.send.disabled = !VISIBLE.test(draft);
    tabStorage.set(`draft.${this.#key}`, SECRET.test(draft) ? "" : draft);
  }
}

/**
 * Whether a key begins a message although the message field has no focus.
 *
 * @param {KeyboardEvent} event
 */
export function isTyped({ key, ctrlKey, altKey, metaKey, target }) {
  // A space presses the focused button.
  if ([...key].length !== 1 || key === " " || ctrlKey || altKey || metaKey) return false;
  const element = /** @type {HTMLElement} */ (target);
  return !element.closest("input, textarea, select, dialog, [popover]:popover-open, #login");
}
