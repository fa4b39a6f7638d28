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
import { LogButtons } from "./log_buttons.js";
import { countsAfter } from "./reactions.js";
import { ReadMarker } from "./read_marker.js";
import { Rows } from "./rows.js";
import { ScrollPosition } from "./scroll_position.js";
import { Unsent } from "./unsent.js";

/** @import { Entry } from "./entry.js" */
/** @import { ButtonActions } from "./log_buttons.js" */
/** @import { Reacted } from "./reactions.js" */
/** @import { UnsentActions } from "./unsent.js" */

const MAX_ROWS = 1_000;
/** Rows that are dropped at once. */
const DROPPED_ROWS = 200;
/** Messages that are loaded at once, and direct messages that are kept for a reload. */
const PAGE_SIZE = 50;
/** Distance from an end, in pixels, at which more is loaded. */
const LOAD_DISTANCE_PX = 300;

/** A page of history. @typedef {{ entries: Entry[], more: boolean }} Page */
/**
 * What a log needs from its conversation.
 *
 * - `changed`: the unread count changed, or whether the user is at the end.
 * - `loadPage`: loads the messages before or after an ID; `undefined`: there is no history. It rejects
 *   if a later attempt may succeed.
 *
 * @typedef {object} LogOwnActions
 * @property {() => void} changed
 * @property {(query: HistoryQuery) => Promise<Page | undefined>} loadPage
 */
/** @typedef {{ before?: string, after?: string, limit: number }} HistoryQuery */
/** @typedef {LogOwnActions & UnsentActions & ButtonActions} LogActions */

/** The log of a conversation. */
export class Log {
  /** What the user has read, and how much is unread. */
  marker = new ReadMarker();
  #rows;
  #unsent;
  #buttons;
  #actions;
  #position;
  /** Whether the newest row is in the document. */
  #hasNewest = true;
  /** Whether an entry arrived, and was not added, since the last load began. */
  #hasSkipped = false;
  /** Whether the server may have older messages. */
  #hasOlder = true;
  /** Whether the conversation has a history. */
  #hasHistory = true;
  /** Whether a page of it was loaded. */
  #hasLoaded = false;
  #isLoading = false;
  /** How often all rows were dropped, which ends a load in progress. */
  #restarts = 0;

  /**
   * @param {string} label
   * @param {LogActions} actions
   */
  constructor(label, actions) {
    this.#actions = actions;
    this.#rows = new Rows(actions.isIgnored, actions.findMentions);
    this.#unsent = new Unsent(actions);
    this.#buttons = new LogButtons(this.#rows, actions);
    this.top = make("p.top", {});
    this.scroller = make(
      "div.log",
      { role: "log", tabIndex: 0, ariaLabel: label, onscroll: () => this.scrolled() },
      this.top,
      this.#rows.list,
      this.#unsent.list,
    );
    this.jump = make("button.jump main", { onclick: () => this.scrollToEnd() });
    this.element = make("section.conversation", { hidden: true }, this.scroller, this.jump);
    this.#position = new ScrollPosition(this.scroller, [this.#rows.list, this.#unsent.list]);
  }

  /** The number of messages that the user has not seen. */
  get unread() {
    return this.marker.unread;
  }

  /** Whether the log shows at most the user's own arrival. */
  get isEmpty() {
    const isWithoutMessages = this.#rows.length < 3 && this.#rows.areMembership;
    return !this.#hasOlder && this.#unsent.isEmpty && isWithoutMessages;
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

  /** Whether the user sees the end. */
  get isSeen() {
    return this.#position.isAtEnd && this.#hasNewest && !this.element.hidden && !document.hidden;
  }

  /** Shows the log, or hides it. */
  set isShown(/** @type {boolean} */ isShown) {
    if (this.element.hidden !== isShown) return;
    this.element.hidden = !isShown;
    this.returned();
    this.scrolled();
  }

  /** Marks all as read if the user sees the end. */
  update() {
    if (this.isSeen) this.marker.readAll();
    this.#buttons.settle();
    this.#changed();
  }

  /** The user looks again: goes to where the new messages begin, if that is above. */
  returned() {
    const { divider } = this.#rows;
    if (divider && this.marker.unread > 0 && this.isSeen) {
      // A page that was hidden has not followed the new rows.
      this.#position.toEnd();
      if (this.#position.isAbove(divider)) this.#position.show(divider, "start");
    }
    this.update();
  }

  /** Hides the messages of users who are ignored now. @param {boolean} isFewer fewer than before */
  ignoredChanged(isFewer) {
    this.#rows.hideIgnored();
    // The server has left out messages of users who were ignored until now.
    if (isFewer && this.#hasLoaded) this.#restart();
    this.update();
  }

  /** Drops all rows, and loads the newest. */
  #restart() {
    this.#rows.drop(0);
    this.#restarts++;
    this.#hasNewest = this.#hasOlder = true;
    this.load();
  }

  #changed() {
    const { unread } = this;
    this.jump.hidden = this.#position.isAtEnd;
    this.jump.textContent = unread ? `↓ ${unread} new message${unread === 1 ? "" : "s"}` : "↓";
    this.jump.ariaLabel = unread ? null : "Jump to latest";
    this.#actions.changed();
  }

  /** Adds an entry that has just happened. */
  add(/** @type {Entry} */ entry) {
    const { id, type, own, cid, deleted } = entry;
    if (own) this.#unsent.remove(cid);
    if (id && this.#rows.has(id)) return;
    const isMessage = type === "message" || type === "action";
    const isCounted = id && isMessage && !own && deleted === undefined;
    const isFirstUnread = isCounted && !this.isSeen && !this.marker.hasUnreadHere;
    if (isCounted) this.marker.add(id);
    // A user who reads far above the end keeps the rows there; the newest are loaded again later.
    if (!this.#position.isAtEnd && this.#hasHistory && this.#rows.length >= MAX_ROWS) {
      this.#hasNewest = false;
    }
    if (this.isSeen) this.marker.readAll();
    if (!this.#hasNewest) this.#hasSkipped = true;
    else {
      const row = this.#rows.append(entry);
      if (row && isFirstUnread) this.#rows.divideBefore(row.element);
      this.#trimTop();
    }
    if (isMessage) this.#buttons.settle();
    this.#changed();
  }

  /**
   * Shows that a message was edited or deleted.
   *
   * @param {string} id
   * @param {Partial<Entry>} changes
   */
  change(id, changes) {
    if (changes.deleted !== undefined) this.marker.remove(id);
    this.#position.keepAround(() => this.#rows.change(id, changes));
    this.#buttons.settle();
    this.#changed();
  }

  /**
   * Shows that a user has reacted to a message.
   *
   * @param {string} id
   * @param {Reacted} reacted
   */
  react(id, reacted) {
    const row = this.#rows.byId(id);
    if (row) this.change(id, { reactions: countsAfter(row.reactions ?? [], reacted) });
  }

  /** Adds a note that only this page shows. */
  note(/** @type {string} */ text) {
    this.scrollToEnd();
    this.#rows.append({ type: "note", nick: "", text, time: Date.now() });
    this.#changed();
  }

  /** Forgets all IDs, and loads no older messages: the server has lost its data. */
  forgetIds() {
    this.#rows.forgetIds();
    this.marker = new ReadMarker();
    this.#hasOlder = false;
  }

  /** Notes that the conversation may have a history from now on. */
  expectHistory() {
    this.#hasHistory = this.#hasOlder = true;
    this.scrolled();
  }

  /** Shows that messages may be missing, before the event with an ID or at the end. */
  markGap(/** @type {string | undefined} */ from) {
    // What is loaded later is complete, as far as the server has it.
    if (this.#rows.length === 0) return;
    const next = from === undefined ? undefined : this.#rows.elementFrom(from);
    const before = next ? next.previousElementSibling : this.#rows.list.lastElementChild;
    if (before?.className === "gap") return;
    const line = make("p.gap", {}, "Older messages may be missing here.");
    this.#rows.list.insertBefore(line, next ?? null);
  }

  /** Shows a message that is being sent. */
  send(/** @type {Entry} */ entry) {
    this.scrollToEnd();
    this.#rows.removeDivider();
    this.#unsent.add(entry);
    this.#changed();
  }

  /** Edits the user's last message. Returns whether there is one that can be edited. */
  editLast() {
    return this.#buttons.editLast();
  }

  /** Shows a message as sent. */
  sent(/** @type {string} */ cid) {
    this.#unsent.sent(cid);
  }

  /** Shows why a message was not sent. */
  failed(/** @type {string} */ cid, /** @type {string} */ reason) {
    const row = this.#unsent.failed(cid, reason, (failed) => this.#rows.remove(failed));
    if (row) this.#rows.adopt(row);
  }

  /**
   * Loads the messages before the first row, or after the last one.
   *
   * @param {"older" | "newer"} [direction]
   * @returns {Promise<void>}
   */
  async load(direction = "older", limit = PAGE_SIZE) {
    if (this.#isLoading || !this.#hasHistory) return;
    this.#isLoading = true;
    this.#hasSkipped = false;
    this.top.textContent = direction === "older" ? "Loading…" : "";
    const restarts = this.#restarts;
    const page = await this.#actions.loadPage(
      direction === "older"
        ? { before: this.#rows.firstId, limit }
        : { after: this.#rows.lastId, limit },
      // The next scroll or reconnect loads again.
    ).catch(() => "failed");
    this.#isLoading = false;
    if (restarts !== this.#restarts) return this.load();
    if (page === undefined) this.#hasHistory = this.#hasOlder = false;
    else if (typeof page === "object") this.#addPage(page, direction);
    const isAtStart = this.#hasHistory && !this.#hasOlder && !this.isEmpty;
    this.top.textContent = isAtStart ? "Start of history." : "";
    if (direction === "older" && restarts === 0) this.returned();
    else this.update();
    if (typeof page === "object") this.scrolled();
  }

  /**
   * @param {Page} page
   * @param {"older" | "newer"} direction
   */
  #addPage(page, direction) {
    this.#hasLoaded = true;
    if (direction === "newer") this.#addNewer(page);
    else this.#addOlder(page);
    const others = page.entries.filter((entry) =>
      !entry.own && entry.deleted === undefined && !this.#actions.isIgnored(entry)
    );
    const ids = others.map(({ id = "" }) => id).reverse();
    this.marker.addPage(ids, direction === "newer" || this.#hasOlder);
  }

  /** @param {Page} page */
  #addNewer({ entries, more }) {
    for (const entry of entries) if (!this.#rows.has(entry.id)) this.#rows.append(entry);
    this.#hasNewest = !more && !this.#hasSkipped;
    this.#trimTop();
  }

  /** @param {Page} page */
  #addOlder({ entries, more }) {
    // Entries that arrived during the load are in the page, too.
    const firstId = this.#rows.firstId ?? "~";
    const older = entries.filter(({ id = "" }) => id < firstId && !this.#rows.has(id));
    this.#hasOlder = more && older.length > 0;
    this.#position.keepBelow(() => this.#rows.prepend(older));
    this.#divideOlder(older);
    if (this.#rows.length > MAX_ROWS && !this.#position.isAtEnd) {
      this.#rows.drop(MAX_ROWS - DROPPED_ROWS);
      this.#hasNewest = false;
    }
  }

  /** Shows where the unread messages begin, if that is in a page of history. @param {Entry[]} entries */
  #divideOlder(entries) {
    const { id: read, unread } = this.marker;
    if (!read || unread === 0 || this.#rows.divider) return;
    if (!entries.some(({ id = "" }) => id <= read)) return;
    const first = entries.find(({ id = "", own }) => id > read && !own);
    const element = first && this.#rows.byId(first.id ?? "")?.element;
    if (element) this.#rows.divideBefore(element);
  }

  /** Scrolls to the newest row, and loads it if it was dropped. */
  scrollToEnd() {
    if (!this.#hasNewest) this.#restart();
    this.#position.toEnd();
    this.update();
  }

  /** Checks the scroll position: whether it is the end, and whether to load more. */
  scrolled() {
    if (this.#position.moved(this.#hasNewest)) this.update();
    // The scroll position of a hidden log changes with its rows.
    if (this.element.hidden) return;
    const { fromStart, fromEnd } = this.#position;
    if (fromStart < LOAD_DISTANCE_PX && this.#hasOlder) this.load();
    else if (fromEnd < LOAD_DISTANCE_PX && !this.#hasNewest) this.load("newer");
  }

  /**
   * Scrolls to a message and marks it. One that is not here is loaded, with those around it.
   *
   * @param {string} id
   */
  async showMessage(id) {
    if (!this.#rows.has(id)) await this.#loadAround(id);
    const element = this.#rows.byId(id)?.element;
    if (!element) return this.note("The message is not kept any more.");
    this.#position.show(element);
    element.classList.remove("found");
    // The mark fades each time.
    requestAnimationFrame(() => element.classList.add("found"));
  }

  /** Replaces the rows by those around a message. @param {string} id */
  async #loadAround(id) {
    // The newest page is on its way when the log is new.
    while (this.#isLoading) await new Promise((resolve) => setTimeout(resolve, 50));
    if (this.#rows.has(id) || !this.#hasHistory) return;
    this.#position.leaveEnd();
    this.#rows.drop(0);
    this.#hasOlder = true;
    const page = await this.#actions.loadPage({ after: id, limit: PAGE_SIZE / 2 }).catch(() => {});
    if (page) this.#addPage(page, "newer");
    await this.load();
  }

  #trimTop() {
    if (this.#rows.length <= MAX_ROWS) return;
    this.#position.keepBelow(() => this.#rows.drop(0, DROPPED_ROWS));
    this.#hasOlder = this.#hasHistory;
  }
}
