// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * The messages of a conversation that the server has not confirmed: sent, or failed with a reason.
 */
import { make } from "./dom.js";
import { rowOf } from "./entry.js";

/** @import { Entry, Row } from "./entry.js" */

/**
 * What the buttons of a failed message do.
 *
 * @typedef {object} UnsentActions
 * @property {(entry: Entry) => void} retry
 * @property {(entry: Entry) => void} edit
 */

/** The unconfirmed messages, by `cid`, and the list that shows them. */
export class Unsent {
  /** @type {Map<string | undefined, Row>} */
  #rows = new Map();
  #actions;

  /** @param {UnsentActions} actions */
  constructor(actions) {
    this.#actions = actions;
    this.list = make("div.rows", {});
  }

  get isEmpty() {
    return this.#rows.size === 0;
  }

  /** Whether a message waits for its confirmation. */
  get isSending() {
    return this.list.querySelector(".sending") !== null;
  }

  /** Shows a message as being sent. */
  add(/** @type {Entry} */ entry) {
    const row = rowOf(entry);
    row.element.classList.add("sending", "first");
    this.#rows.set(row.cid, row);
    this.list.append(row.element);
  }

  /** Shows a message as sent. Its event may not have arrived yet. */
  sent(/** @type {string} */ cid) {
    this.#rows.get(cid)?.element.classList.remove("sending");
  }

  /**
   * Shows why a message failed, with buttons to retry or edit it.
   *
   * @param {string} cid
   * @param {string} reason
   */
  failed(cid, reason) {
    const row = this.#rows.get(cid);
    if (!row) return;
    row.element.classList.replace("sending", "failed");
    const button = (/** @type {string} */ label, /** @type {(entry: Entry) => void} */ act) => {
      const onclick = () => {
        this.remove(cid);
        act(row);
      };
      return make("button", { onclick }, label);
    };
    const { retry, edit } = this.#actions;
    row.element.append(
      make(
        "p.failure",
        { role: "alert" },
        reason,
        button("Try again", retry),
        button("Edit", edit),
      ),
    );
  }

  /** Removes a message, whose event has arrived or which is tried again. */
  remove(/** @type {string | undefined} */ cid) {
    this.#rows.get(cid)?.element.remove();
    this.#rows.delete(cid);
  }
}
