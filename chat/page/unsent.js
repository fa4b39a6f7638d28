// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * The messages of a conversation that the server has not confirmed. While one is being sent, it stands
 * below the log. Once it has failed it is a row of the log, with its reason, and is not this file's any more.
 */
import { make } from "./dom.js";
import { rowOf } from "./entry.js";

/** @import { Entry, Row } from "./entry.js" */
/** @import { FindMentions } from "./format.js" */

/**
 * What the buttons of a failed message do. It is removed before.
 *
 * @typedef {object} UnsentActions
 * @property {(entry: Entry) => void} retry
 * @property {(entry: Entry) => void} edit
 * @property {() => void} edited - the user has dealt with the message
 * @property {FindMentions} findMentions
 */

/** The unconfirmed messages, by `cid`, and the list that shows them. */
export class Unsent {
  /** @type {Map<string | undefined, Row>} */
  #rows = new Map();
  #actions;

  /** @param {UnsentActions} actions */
  constructor(actions) {
    this.#actions = actions;
    this.list = make("div.rows", { role: "list" });
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
    const row = rowOf({ ...entry, ahead: [...this.#rows.keys()] }, this.#actions.findMentions);
    row.element.classList.add("sending", "first");
    this.#rows.set(row.cid, row);
    this.list.append(row.element);
  }

  /** Shows a message as sent. Its event may not have arrived yet. */
  sent(/** @type {string} */ cid) {
    this.#rows.get(cid)?.element.classList.remove("sending");
  }

  /**
   * Takes a failed message out of the list, adds the reason and buttons, and returns it.
   *
   * @param {string} cid
   * @param {string} reason
   * @param {(row: Row) => void} remove takes it out of the log
   * @returns {Row | undefined} `undefined`: its event has arrived
   */
  failed(cid, reason, remove) {
    const row = this.#rows.get(cid);
    if (!row) return;
    this.remove(cid);
    row.element.classList.replace("sending", "failed");
    const button = (/** @type {string} */ label, /** @type {(entry: Entry) => void} */ act) => {
      const onclick = () => {
        remove(row);
        act(row);
      };
      return make("button", { onclick }, label);
    };
    const { retry, edit, edited } = this.#actions;
    const buttons = [
      button("Try again", retry),
      button("Edit", edit),
      button("Discard", () => edited()),
    ];
    row.element.append(make("p.failure", { role: "alert" }, reason, ...buttons));
    return { ...row, failure: reason };
  }

  /** Removes a message that is confirmed, or has failed. */
  remove(/** @type {string | undefined} */ cid) {
    this.#rows.get(cid)?.element.remove();
    this.#rows.delete(cid);
  }
}
