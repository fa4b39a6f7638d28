// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * The login form: nickname, room, and a password or access token where the server asks for one. It
 * covers the chat while it is open. It sends nothing.
 */
import { ui } from "./dom.js";

/** The code of a login that needs the access token of a private server. */
export const ACCESS_TOKEN_NEEDED = "access-token-needed";

/** What the user entered. @typedef {{ nick: string, room?: string, secret: string }} Login */
/** Why the form is open: an error of a login. @typedef {{ code: string, message: string }} Reason */

/** The login form. */
export class LoginForm {
  /** @param {(login: Login) => void} onSubmit */
  constructor(onSubmit) {
    onFormSubmit(ui.login.firstElementChild, () => {
      const login = {
        nick: ui.loginNick.value,
        room: ui.loginRoom.value.trim().normalize("NFC") || undefined,
        secret: ui.loginSecret.hidden ? "" : ui.loginPassword.value,
      };
      ui.loginError.textContent = ui.loginPassword.value = "";
      onSubmit(login);
    });
  }

  get isOpen() {
    return !ui.login.hidden;
  }

  /** Fills in the nickname. */
  set nick(/** @type {string} */ nick) {
    ui.loginNick.value = nick;
  }

  /** Fills in the room. */
  set room(/** @type {string} */ room) {
    ui.loginRoom.value = room;
  }

  /**
   * Opens the form.
   *
   * @param {Reason | undefined} reason
   * @param {{ isLoggedIn: boolean, canChooseRoom: boolean }} user
   */
  open(reason, { isLoggedIn, canChooseRoom }) {
    this.#show(true);
    const secret = secretFor(reason?.code ?? "");
    ui.loginRoom.disabled = !canChooseRoom;
    ui.loginError.textContent = reason?.message ?? "";
    ui.loginSecret.hidden = !secret;
    ui.loginLabel.textContent = secret;
    ui.loginButton.textContent = isLoggedIn ? "Save" : "Join";
    (secret ? ui.loginPassword : ui.loginNick).focus();
  }

  /** Closes the form and shows the chat. */
  close() {
    this.#show(false);
  }

  /** Shows a line below the nickname. */
  report(/** @type {string} */ text) {
    ui.loginError.textContent = text;
  }

  #show(/** @type {boolean} */ isOpen) {
    ui.login.hidden = !isOpen;
    ui.chat.hidden = isOpen;
  }
}

/**
 * The secret to ask for after an error; empty: none.
 *
 * @param {string} code
 */
function secretFor(code) {
  if (code === ACCESS_TOKEN_NEEDED) return "Access token";
  return /^nickname-registered|password|attempts|busy/.test(code) ? "Password" : "";
}

/**
 * Handles the submission of a form. The lists that lie over the page close.
 *
 * @param {HTMLFormElement} form
 * @param {() => void} submit
 */
export function onFormSubmit(form, submit) {
  form.onsubmit = (event) => {
    event.preventDefault();
    closeLists();
    submit();
  };
}

/** Closes the lists that lie over the page on a phone. */
export function closeLists() {
  for (const list of document.querySelectorAll(":popover-open")) {
    /** @type {HTMLElement} */ (list).hidePopover();
  }
}
