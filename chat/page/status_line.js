// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * The line that shows the state of the connection. While the login form is open, the line stands there.
 */
import { ui } from "./dom.js";

/** @import { LoginForm } from "./login_form.js" */

/** How long "Back online." stays. */
const FLASH_MS = 5_000;
/** A connection that opens faster than this shows no "Connecting…". */
const CONNECTING_DELAY_MS = 600;

/** The status line. */
export class StatusLine {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #login;

  /**
   * @param {LoginForm} login
   * @param {() => void} onPress - the user presses the button
   */
  constructor(login, onPress) {
    this.#login = login;
    ui.status.lastElementChild.onclick = onPress;
  }

  /**
   * Shows a text, and a button if it is given, until the next one.
   *
   * @param {string} text
   * @param {string} [button]
   */
  show(text, button) {
    clearTimeout(this.#timer);
    this.#draw(text, "", button);
  }

  /** Shows a text for five seconds. */
  flash(/** @type {string} */ text) {
    this.show(text);
    this.#timer = setTimeout(() => this.#draw(""), FLASH_MS);
  }

  /** Shows that the page is connecting, unless that is done soon. */
  connecting() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#draw("Connecting…"), CONNECTING_DELAY_MS);
  }

  /**
   * Shows that the page is offline, with the seconds until the next attempt.
   *
   * @param {number} retryAt
   * @param {string} [why]
   */
  offline(retryAt, why = "Offline.") {
    clearTimeout(this.#timer);
    const seconds = Math.ceil((retryAt - Date.now()) / 1000);
    this.#draw(why, `Reconnecting${seconds > 0 ? ` in ${seconds} s` : ""}…`, "Retry now");
    this.#timer = setTimeout(() => this.offline(retryAt, why), 1000);
  }

  /** Shows that the user has sent too much, with the seconds until the rest is sent. */
  waiting(/** @type {number} */ until) {
    clearTimeout(this.#timer);
    const seconds = Math.ceil((until - Date.now()) / 1000);
    if (seconds <= 0) return this.#draw("");
    this.#draw("You are sending too fast.", `The rest is sent in ${seconds} s.`);
    this.#timer = setTimeout(() => this.waiting(until), 1000);
  }

  /** Shows nothing new, and stops counting. */
  stop() {
    clearTimeout(this.#timer);
  }

  /**
   * @param {string} text
   * @param {string} [detail] not read out by screen readers: it changes every second
   * @param {string} [button]
   */
  #draw(text, detail = "", button = "") {
    if (this.#login.isOpen) return this.#login.report(`${text} ${detail}`);
    const [spoken, silent, action] = ui.status.children;
    // Without a change screen readers stay silent.
    if (spoken.textContent !== text) spoken.textContent = text;
    silent.textContent = detail;
    ui.status.className = button && "bad";
    action.hidden = !button;
    action.textContent = button;
  }
}
