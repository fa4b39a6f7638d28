// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * Dialogs: a question with a few fields, and a window with content. The focus returns to where it was.
 */
import { make, ui } from "./dom.js";

/** @import { ChatError } from "../client/client.js" */

/**
 * A field of a question. Its name is the key of its value.
 *
 * @typedef {object} Field
 * @property {string} label
 * @property {"text" | "password" | "number" | "choice" | "check"} kind
 * @property {string} [value] what it shows first
 * @property {readonly (readonly [value: string, label: string])[]} [choices]
 * @property {boolean} [isRequired]
 * @property {number} [max] of a number, or of the characters
 * @property {number} [min]
 * @property {boolean} [isFixed] whether the user cannot change it
 * @property {string} [autocomplete] what the browser may fill in; default: nothing
 */
/** The values of the fields by their names; of a check box "on" or empty.
 * @typedef {Readonly<Record<string, string>>} Values */
/**
 * A question.
 *
 * @typedef {object} Question
 * @property {string} title
 * @property {string} [text]
 * @property {string} action the label of the button
 * @property {Readonly<Record<string, Field>>} [fields]
 * @property {(values: Values) => Promise<unknown>} submit
 */

/**
 * Asks a question. If the answer is refused, the dialog says why and keeps what the user entered.
 *
 * @param {Question} question
 */
export function ask({ title, text = "", action, fields = {}, submit }) {
  const controls = Object.entries(fields).map(([name, field]) => ({ name, ...drawField(field) }));
  const failure = make("p.failure", { role: "alert" });
  const button = make("button.main", {}, action);
  const form = make(
    "form",
    {},
    make("h2", {}, title),
    ...text ? [make("p", {}, text)] : [],
    ...controls.map(({ element }) => element),
    failure,
    make("div.buttons", {}, closeButton("Cancel"), button),
  );
  const dialog = show(title, form);
  form.onsubmit = async (event) => {
    event.preventDefault();
    failure.textContent = "";
    /** @type {HTMLButtonElement} */ (button).disabled = true;
    try {
      await submit(Object.fromEntries(controls.map(({ name, value }) => [name, value()])));
      dialog.close();
    } catch (error) {
      const { message } = /** @type {ChatError} */ (error);
      failure.textContent = message;
      /** @type {HTMLButtonElement} */ (button).disabled = false;
    }
  };
}

/**
 * Opens a window.
 *
 * @param {string} label
 * @param {HTMLElement} content
 */
export function show(label, content) {
  const dialog = /** @type {HTMLDialogElement} */ (make("dialog", { ariaLabel: label }, content));
  dialog.onclose = () => {
    dialog.remove();
    // The button that opened it may be gone.
    if (document.activeElement === document.body) ui.text.focus();
  };
  // Escape closes the dialog, and does nothing else on the page.
  dialog.onkeydown = (event) => event.stopPropagation();
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** Creates a button that closes the dialog around it. */
export function closeButton(/** @type {string} */ label) {
  const button = make("button", {
    type: "button",
    onclick: () => button.closest("dialog")?.close(),
  });
  button.append(label);
  return button;
}

/**
 * @param {Field} field
 * @returns {{ element: HTMLElement, value: () => string }}
 */
function drawField(field) {
  const { label, kind, value: initial = "", choices = [], isRequired = false, max, min } = field;
  const { isFixed = false, autocomplete = "off" } = field;
  if (kind === "choice") {
    const options = choices.map(([value, text]) => make("option", { value }, text));
    const select = /** @type {HTMLSelectElement} */ (make("select", {}, ...options));
    select.value = initial;
    return { element: make("label", {}, label, select), value: () => select.value };
  }
  const properties = { required: isRequired, value: initial, autocomplete, readOnly: isFixed };
  const input = /** @type {HTMLInputElement} */ (make("input", properties));
  if (kind === "check") {
    input.type = "checkbox";
    const element = make("label.check", {}, input, label);
    return { element, value: () => input.checked ? "on" : "" };
  }
  if (kind === "number") Object.assign(input, { type: "number", min, max });
  else Object.assign(input, { dir: "auto", ...max === undefined ? {} : { maxLength: max } });
  if (kind === "password") input.type = kind;
  // Spaces belong to a password.
  const value = () => kind === "password" ? input.value : input.value.trim();
  return { element: make("label", {}, label, input), value };
}
