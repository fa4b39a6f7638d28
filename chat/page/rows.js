// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * The drawn entries of a log, in order, and the list that holds their elements.
 *
 * They know nothing of scrolling and of what is read, which are the log's (log.js).
 */
import { make } from "./dom.js";
import { decorate, rowOf } from "./entry.js";
import { appendMembership } from "./membership_line.js";

/** @import { Entry, Row } from "./entry.js" */
/** @import { FindMentions } from "./format.js" */

/** The rows of a log. */
export class Rows {
  /** @type {Row[]} */
  #rows = [];
  #ids = new Set();
  #isHidden;
  #find;
  list = make("div.rows", {});

  /**
   * @param {(entry: Entry) => boolean} isHidden whether the user ignores the author
   * @param {FindMentions} find
   */
  constructor(isHidden, find) {
    this.#isHidden = isHidden;
    this.#find = find;
  }

  get length() {
    return this.#rows.length;
  }

  get firstId() {
    return this.#rows.find(({ id }) => id)?.id;
  }

  get lastId() {
    return this.#rows.findLast(({ id }) => id)?.id;
  }

  /** Whether all rows are membership lines. */
  get areMembership() {
    return this.#rows.every(({ type }) => type === "membership");
  }

  /** Whether there is an entry with an ID. */
  has(/** @type {string | undefined} */ id) {
    return this.#ids.has(id);
  }

  /** Returns the row that an element belongs to. */
  at(/** @type {Element} */ element) {
    return this.#rows.find((row) => row.element.contains(element));
  }

  /** Returns the row of the entry with an ID. */
  byId(/** @type {string} */ id) {
    return this.#rows.find((row) => row.id === id);
  }

  /** Returns the rows for which a condition holds. */
  filter(/** @type {(row: Row) => boolean} */ condition) {
    return this.#rows.filter(condition);
  }

  /** Returns the last row for which a condition holds. */
  findLast(/** @type {(row: Row) => boolean} */ condition) {
    return this.#rows.findLast(condition);
  }

  /** Hides the entries by users who are ignored now, and shows the others. */
  hideIgnored() {
    for (const row of this.#rows) this.#hide(row);
  }

  /** Returns the element of the first event that is not before an ID. */
  elementFrom(/** @type {string} */ from) {
    return this.#rows.find(({ id }) => id && id >= from)?.element;
  }

  /** Appends an entry. Returns its row, or `undefined` if it went into the last membership line. */
  append(/** @type {Entry} */ entry) {
    if (entry.type === "membership" && appendMembership(this.#rows.at(-1), entry)) return;
    const row = this.#rowOf(entry);
    this.#ids.add(row.id);
    this.adopt(row);
    return row;
  }

  /** Appends a row that is drawn already. */
  adopt(/** @type {Row} */ row) {
    this.#rows.push(row);
    this.list.append(row.element);
    this.#decorate(this.#rows.length - 1);
  }

  /** Removes one row. */
  remove(/** @type {Row} */ { element }) {
    const index = this.#rows.findIndex((row) => row.element === element);
    if (index < 0) return;
    this.#rows.splice(index, 1);
    element.remove();
    this.#decorate(index);
  }

  /** Puts older entries before the first row. */
  prepend(/** @type {Entry[]} */ entries) {
    const rows = entries.map((entry) => this.#rowOf(entry));
    for (const { id } of rows) this.#ids.add(id);
    this.list.prepend(...rows.map(({ element }) => element));
    this.#rows.unshift(...rows);
    for (let index = 0; index <= rows.length; index++) this.#decorate(index);
  }

  /**
   * Draws a row again with changes. Returns its new element, or `undefined` if there is no such row.
   *
   * @param {string} id
   * @param {Partial<Entry>} changes
   */
  change(id, changes) {
    const index = this.#rows.findIndex((row) => row.id === id);
    const old = this.#rows[index];
    if (!old) return;
    const row = this.#rowOf({ ...old, ...changes });
    this.#rows[index] = row;
    const divider = old.element.querySelector(".new");
    old.element.replaceWith(row.element);
    this.#decorate(index);
    if (divider) divideWith(divider, row.element);
    return row.element;
  }

  /** Shows a line "New messages" above a row, and nowhere else. */
  divideBefore(/** @type {HTMLElement} */ element) {
    this.removeDivider();
    divideWith(make("p.new", {}, "New messages"), element);
  }

  /** The line "New messages". */
  get divider() {
    return /** @type {HTMLElement | null} */ (this.list.querySelector(".new"));
  }

  /** Removes the line "New messages". */
  removeDivider() {
    this.divider?.remove();
  }

  /** Forgets all IDs. The rows stay. */
  forgetIds() {
    this.#ids.clear();
    for (const row of this.#rows) delete row.id;
  }

  /**
   * Removes rows from the document, except messages that failed: only this page has them.
   *
   * @param {number} start
   * @param {number} [count] default: all that follow
   */
  drop(start, count = Infinity) {
    const dropped = this.#rows.splice(start, count);
    this.#rows.splice(start, 0, ...dropped.filter(({ failure }) => failure !== undefined));
    for (const { id, element, failure } of dropped) {
      if (failure === undefined) element.remove();
      this.#ids.delete(id);
    }
    this.#decorate(start);
  }

  /** @param {Entry} entry */
  #rowOf(entry) {
    const row = rowOf(entry, this.#find);
    this.#hide(row);
    return row;
  }

  /** The heading of the day, which the row may have, stays. @param {Row} row */
  #hide(row) {
    row.element.classList.toggle("ignored", this.#isHidden(row));
  }

  /** @param {number} index */
  #decorate(index) {
    const row = this.#rows[index];
    if (row) decorate(row, this.#rows[index - 1]);
  }
}

/**
 * @param {Element} divider
 * @param {HTMLElement} element
 */
function divideWith(divider, element) {
  element.prepend(divider);
  element.classList.add("first");
}
