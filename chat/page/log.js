// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * The log of one conversation: its entries in order, what is unread, and the scroll position.
 *
 * It holds about a thousand rows. Rows that it drops are loaded again when the user scrolls to them. It
 * uses no connection: a function that it is given loads history.
 */
import { make } from "./dom.js";
import { appendMembership, decorate, rowOf } from "./entry.js";
import { Unsent } from "./unsent.js";

/** @import { Entry, Row } from "./entry.js" */
/** @import { UnsentActions } from "./unsent.js" */

const MAX_ROWS = 1_000;
/** Rows that are dropped at once. */
const DROPPED_ROWS = 200;
/** Messages that are loaded at once, and direct messages that are kept for a reload. */
const PAGE_SIZE = 50;
/** Distance from an end, in pixels, at which more is loaded. */
const LOAD_DISTANCE_PX = 300;
/** Distance from the end, in pixels, that counts as the end. */
const END_DISTANCE_PX = 30;
/** A scroll position below the end of any log. */
const BOTTOM_PX = 1e9;

/** A page of history. @typedef {{ entries: Entry[], more: boolean }} Page */
/**
 * Loads the messages before or after an ID.
 *
 * @typedef {(query: { before?: string, after?: string, limit: number }) => Promise<Page>} LoadPage
 */
/** `changed`: the unread count changed, or whether the user is at the end.
 * @typedef {UnsentActions & { changed: () => void }} LogListener */

/** The log of a conversation. */
export class Log {
  /** The number of messages that the user has not seen. */
  unread = 0;
  /** Replaced when all rows are dropped, which ends a load in progress. @type {Row[]} */
  #rows = [];
  #ids = new Set();
  #unsent;
  #isAtEnd = true;
  /** Whether the newest row is in the document. */
  #hasNewest = true;
  /** Whether an entry arrived, and was not added, since the last load began. */
  #hasSkipped = false;
  /** Whether the server may have older messages. */
  #hasOlder;
  #isLoading = false;
  #lastScrollTop = 0;
  #onChange;
  #loadPage;

  /**
   * @param {string} label
   * @param {LogListener} listener
   * @param {LoadPage} [loadPage] without it the log has no history
   */
  constructor(label, listener, loadPage) {
    this.#onChange = listener.changed;
    this.#unsent = new Unsent(listener);
    this.#loadPage = loadPage;
    this.#hasOlder = loadPage !== undefined;
    this.top = make("p.top", {});
    this.list = make("div.rows", {});
    this.scroller = make(
      "div.log",
      { role: "log", tabIndex: 0, ariaLabel: label, onscroll: () => this.scrolled() },
      this.top,
      this.list,
      this.#unsent.list,
    );
    this.jump = make("button.jump main", { onclick: () => this.scrollToEnd() });
    this.element = make("section.conversation", { hidden: true }, this.scroller, this.jump);
    // New rows, a phone's keyboard or a longer draft change sizes: the end stays in view.
    const sizes = new ResizeObserver(() => {
      if (this.#isAtEnd) this.#scrollTo(BOTTOM_PX);
    });
    for (const each of [this.scroller, this.list, this.#unsent.list]) sizes.observe(each);
  }

  /** Whether the log shows at most the user's own arrival. */
  get isEmpty() {
    return !this.#hasOlder && this.#unsent.isEmpty && this.#rows.length < 3 &&
      this.#rows.every(({ type }) => type === "membership");
  }

  /** Whether a message waits for its confirmation. */
  get isSending() {
    return this.#unsent.isSending;
  }

  /** The newest messages, at most 50. */
  get newest() {
    const messages = this.#rows.filter(({ type }) => type === "message").slice(-PAGE_SIZE);
    return messages.map(({ element: _, ...entry }) => entry);
  }

  get #isSeen() {
    return this.#isAtEnd && !this.element.hidden && !document.hidden;
  }

  /** Marks all as read if the user sees the end. */
  update() {
    if (this.#isSeen) this.unread = 0;
    this.#changed();
  }

  #changed() {
    const { unread } = this;
    this.jump.hidden = this.#isAtEnd;
    this.jump.textContent = unread ? `↓ ${unread} new message${unread === 1 ? "" : "s"}` : "↓";
    this.jump.ariaLabel = unread ? null : "Jump to latest";
    this.#onChange();
  }

  /** Adds an entry that has just happened. */
  add(/** @type {Entry} */ entry) {
    const { id, type, own, cid } = entry;
    if (own) this.#unsent.remove(cid);
    if (id && this.#ids.has(id)) return;
    const isNew = type !== "membership" && !own && !this.#isSeen;
    if (isNew) this.unread++;
    // A user who reads far above the end keeps the rows there; the newest are loaded again later.
    if (!this.#isAtEnd && this.#loadPage && this.#rows.length >= MAX_ROWS) this.#hasNewest = false;
    if (!this.#hasNewest) this.#hasSkipped = true;
    else if (type !== "membership" || !appendMembership(this.#rows.at(-1), entry)) {
      const { element } = this.#append(entry);
      if (isNew && this.unread === 1) this.#divideBefore(element);
      this.#trimTop();
    }
    this.#changed();
  }

  /** Shows a line "New messages" above a row. */
  #divideBefore(/** @type {HTMLElement} */ element) {
    this.#removeDivider();
    element.prepend(make("p.new", {}, "New messages"));
    element.classList.add("first");
  }

  #removeDivider() {
    this.list.querySelector(".new")?.remove();
  }

  /** Adds a note that only this page shows. */
  note(/** @type {string} */ text) {
    this.scrollToEnd();
    this.#append({ type: "note", nick: "", text, time: Date.now() });
    this.#changed();
  }

  /** Forgets all IDs, and loads no older messages: the server has lost its data. */
  forgetIds() {
    this.#ids.clear();
    for (const row of this.#rows) delete row.id;
    this.#hasOlder = false;
  }

  /** Shows that messages may be missing, before the event with an ID or at the end. */
  markGap(/** @type {string | undefined} */ from) {
    const next = this.#rows.find(({ id }) => from && id && id >= from);
    const line = make("p.gap", {}, "Older messages may be missing here.");
    this.list.insertBefore(line, next?.element ?? null);
  }

  /** Shows a message that is being sent. */
  send(/** @type {Entry} */ entry) {
    this.scrollToEnd();
    this.#removeDivider();
    this.#unsent.add(entry);
    this.#changed();
  }

  /** Shows a message as sent. */
  sent(/** @type {string} */ cid) {
    this.#unsent.sent(cid);
  }

  /** Shows why a message was not sent. */
  failed(/** @type {string} */ cid, /** @type {string} */ reason) {
    this.#unsent.failed(cid, reason);
  }

  /**
   * Loads the messages before the first row, or after the last one.
   *
   * @param {"older" | "newer"} [direction]
   * @returns {Promise<void>}
   */
  async load(direction = "older", limit = PAGE_SIZE) {
    if (this.#isLoading || !this.#loadPage) return;
    this.#isLoading = true;
    this.#hasSkipped = false;
    this.top.textContent = direction === "older" ? "Loading…" : "";
    const rows = this.#rows;
    const page = await this.#loadPage(
      direction === "older"
        ? { before: rows.find(({ id }) => id)?.id, limit }
        : { after: rows.findLast(({ id }) => id)?.id, limit },
    ).catch(({ code }) => {
      // Offline: the next scroll or reconnect loads again.
      if (code !== "history-off") return;
      this.#loadPage = undefined;
      this.#hasOlder = false;
    });
    this.#isLoading = false;
    if (rows !== this.#rows) return this.load();
    if (page && direction === "newer") this.#addNewer(page);
    else if (page) this.#addOlder(page);
    this.top.textContent = this.#hasOlder || this.isEmpty ? "" : "Start of history.";
    this.#changed();
    if (page) this.scrolled();
  }

  /** @param {Page} page */
  #addNewer({ entries, more }) {
    for (const entry of entries) if (!this.#ids.has(entry.id)) this.#append(entry);
    this.#hasNewest = !more && !this.#hasSkipped;
    this.#trimTop();
  }

  /** @param {Page} page */
  #addOlder({ entries, more }) {
    // Entries that arrived during the load are in the page, too.
    const firstId = this.#rows.find(({ id }) => id)?.id ?? "~";
    const older = entries.filter(({ id = "" }) => id < firstId && !this.#ids.has(id));
    const rows = older.map(rowOf);
    for (const { id } of rows) this.#ids.add(id);
    this.#hasOlder = more && rows.length > 0;
    this.#keepPosition(() => {
      this.list.prepend(...rows.map(({ element }) => element));
      this.#rows.unshift(...rows);
      for (let index = 0; index <= rows.length; index++) this.#decorate(index);
    });
    if (this.#rows.length > MAX_ROWS && !this.#isAtEnd) {
      this.#drop(MAX_ROWS - DROPPED_ROWS, Infinity);
      this.#hasNewest = false;
    }
  }

  /** Scrolls to the newest row, and loads it if it was dropped. */
  scrollToEnd() {
    this.#isAtEnd = true;
    if (!this.#hasNewest) {
      this.#drop(0, Infinity);
      this.#rows = [];
      this.#hasNewest = this.#hasOlder = true;
      this.load();
    }
    this.#scrollTo(BOTTOM_PX);
    this.update();
  }

  /** @param {number} top */
  #scrollTo(top) {
    this.scroller.scrollTop = top;
    this.#lastScrollTop = this.scroller.scrollTop;
  }

  /** Checks the scroll position: whether it is the end, and whether to load more. */
  scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    const distance = scrollHeight - scrollTop - clientHeight;
    // New rows do not move the user away from the end; only scrolling up does.
    const isAtEnd = distance < END_DISTANCE_PX
      ? this.#hasNewest
      : this.#isAtEnd && scrollTop >= this.#lastScrollTop;
    this.#lastScrollTop = scrollTop;
    if (isAtEnd !== this.#isAtEnd) {
      this.#isAtEnd = isAtEnd;
      this.update();
    }
    if (scrollTop < LOAD_DISTANCE_PX && this.#hasOlder) this.load();
    else if (distance < LOAD_DISTANCE_PX && !this.#hasNewest) this.load("newer");
  }

  /** Changes rows above the visible ones, which stay where they are. */
  #keepPosition(/** @type {() => void} */ change) {
    const below = this.scroller.scrollHeight - this.scroller.scrollTop;
    change();
    this.#scrollTo(this.scroller.scrollHeight - below);
  }

  /** @param {Entry} entry */
  #append(entry) {
    const row = rowOf(entry);
    this.#ids.add(row.id);
    this.#rows.push(row);
    this.list.append(row.element);
    this.#decorate(this.#rows.length - 1);
    return row;
  }

  /** @param {number} index */
  #decorate(index) {
    const row = this.#rows[index];
    if (row) decorate(row, this.#rows[index - 1]);
  }

  #trimTop() {
    if (this.#rows.length <= MAX_ROWS) return;
    this.#keepPosition(() => {
      this.#drop(0, DROPPED_ROWS);
      this.#decorate(0);
    });
    this.#hasOlder = this.#loadPage !== undefined;
  }

  /**
   * Removes rows from the document.
   *
   * @param {number} start
   * @param {number} count
   */
  #drop(start, count) {
    for (const { id, element } of this.#rows.splice(start, count)) {
      element.remove();
      this.#ids.delete(id);
    }
  }
}
