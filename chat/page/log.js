// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * One conversation as one sees it: its messages in order, days, who came and went, what is still
 * being sent, what is new, and where one has scrolled to.
 *
 * It holds at most a thousand rows; what leaves it is asked for again when one scrolls there. It
 * knows no connection: what was said before is asked for by a function that it was given.
 */
import { count, dayOf, face, isEmoji, linked, make, name, noon, timeOf } from "./dom.js";

/** Rows in the document, and how many leave it at once. */
const MOST_ROWS = 1_000;
const LEAVING = 200;
/** Messages that are asked for at once. */
const PAGE = 50;
/** Pixels from an end at which more is asked for, or which count as being there. */
const NEAR = 300;
const AT_END = 30;
/** Milliseconds within which somebody's messages stand together. */
const TOGETHER = 5 * 60_000;

/**
 * Something said, or a quiet line. Without `id` it did not happen on the server (yet).
 *
 * @typedef {object} Entry
 * @property {"message" | "action" | "quiet" | "note"} kind
 * @property {string} [id]
 * @property {string} nick
 * @property {string} text
 * @property {number} time
 * @property {boolean} [own]
 * @property {string} [cid]
 */
/** @typedef {Entry & { element: HTMLElement }} Row */
/**
 * - `ask`: what was said before, or after, an id; without it there is nothing but what is added.
 * - `again`, `edit`: what to do about something that was not sent.
 * - `changed`: how much is unread has changed, or whether one is at the end.
 *
 * @typedef {object} LogOptions
 * @property {string} label
 * @property {(which: { before?: string, after?: string, limit: number }) =>
 *   Promise<{ entries: Entry[], more: boolean }>} [ask]
 * @property {(entry: Entry) => void} again
 * @property {(entry: Entry) => void} edit
 * @property {() => void} changed
 */

export class Log {
  /** How many messages have come that nobody has seen. */
  unread = 0;
  /** @type {Row[]} */
  #rows = [];
  /** @type {Row[]} */
  #pending = [];
  /** Everything that came while the newest rows had left. @type {Entry[]} */
  #tail = [];
  #ids = new Set();
  #stuck = true;
  #atEnd = true;
  #more = false;
  #busy = false;
  #filled = false;
  #settling = false;
  #place = 0;
  /** How often all rows were let go: an answer to what was asked before is none any more. */
  #turn = 0;
  #options;

  /** @param {LogOptions} options */
  constructor(options) {
    this.#options = options;
    this.top = make("p", { className: "top" });
    this.empty = make("div", { className: "empty" });
    this.list = make("div", { className: "rows" });
    this.scroller = make(
      "div",
      { className: "log", role: "log", tabIndex: 0, "aria-label": options.label },
      this.top,
      this.empty,
      this.list,
    );
    this.jump = make("button", { className: "jump", hidden: true, onclick: () => this.toEnd() });
    this.element = make("section", { className: "conversation", hidden: true }, this.scroller);
    this.element.append(this.jump);
    this.scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    // The keyboard of a phone, a longer draft: who is at the end stays there.
    new ResizeObserver(() => this.#stuck && this.#settle()).observe(this.scroller);
  }

  /** Whether there is anything to read. */
  get isEmpty() {
    return !this.#more && [...this.#rows, ...this.#pending].every(({ kind }) => kind === "quiet");
  }

  /** Whether what was said before has never been asked for with success. */
  get isUnfilled() {
    return !this.#filled;
  }

  /** Whether something is still being sent. */
  get isSending() {
    return this.#pending.some(({ element }) => element.classList.contains("sending"));
  }

  /** @param {boolean} shown */
  show(shown) {
    // What is not shown forgets where it was.
    if (!shown) this.#place = this.scroller.scrollTop;
    this.element.hidden = !shown;
    if (!shown) return;
    if (this.#stuck) this.#settle();
    else this.scroller.scrollTop = this.#place;
    this.look();
  }

  /** Whether the newest is being looked at. */
  get isSeen() {
    return !this.element.hidden && this.#stuck && this.#atEnd &&
      document.visibilityState === "visible";
  }

  /** What is at the end and looked at is read. */
  look() {
    if (this.isSeen) this.unread = 0;
    this.#changed();
  }

  #changed() {
    const away = !this.#stuck || !this.#atEnd;
    this.jump.hidden = !away;
    this.jump.textContent = this.unread > 0 ? `↓ ${count(this.unread, "new message")}` : "↓ Newest";
    this.#options.changed();
  }

  /**
   * Something that has just happened.
   *
   * @param {Entry} entry
   */
  add(entry) {
    if (entry.id !== undefined && this.#ids.has(entry.id)) return;
    if (entry.own && entry.cid !== undefined) this.#drop(entry.cid);
    const counts = entry.kind !== "quiet" && !entry.own;
    const isNew = counts && !this.isSeen;
    if (isNew) this.unread++;
    if (!this.#stuck && this.#rows.length >= MOST_ROWS) this.#atEnd = false;
    if (this.#atEnd) {
      if (entry.kind !== "quiet" || !this.#joinQuiet(entry)) {
        const row = this.#append(entry);
        if (isNew && this.unread === 1) this.#divide(row);
      }
      if (this.#stuck && this.#rows.length > MOST_ROWS) this.#trimTop();
    } else this.#tail = [...this.#tail.slice(1 - LEAVING), entry];
    if (entry.own) this.toEnd();
    this.#settle();
    this.#changed();
  }

  /**
   * A line that only this page shows.
   *
   * @param {string} text
   */
  note(text) {
    this.#append({ kind: "note", nick: "", text, time: Date.now() });
    this.toEnd();
    this.#changed();
  }

  /**
   * Something may be missing, before the event with this id or at the end.
   *
   * @param {string | undefined} from
   */
  gap(from) {
    const at = this.#rows.findIndex(({ id }) => from !== undefined && (id ?? "") >= from);
    const next = this.#rows[at];
    const line = make("p", { className: "gap" }, "Messages may be missing here.");
    if (next) next.element.before(line);
    else this.list.insertBefore(line, this.#pending[0]?.element ?? null);
  }

  /**
   * Something that is being sent.
   *
   * @param {Entry} entry
   */
  send(entry) {
    const row = { ...entry, own: true, element: draw({ ...entry, own: true }) };
    row.element.classList.add("sending", "first");
    this.#pending.push(row);
    this.list.append(row.element);
    this.list.querySelector(".new")?.remove();
    this.toEnd();
    this.#changed();
  }

  /**
   * @param {string} cid
   * @param {string} id of its event, which may have come or not
   */
  sent(cid, id) {
    const row = this.#pending.find((row) => row.cid === cid);
    row?.element.classList.remove("sending");
    if (this.#ids.has(id)) this.#drop(cid);
  }

  /**
   * It was not sent, or nobody knows.
   *
   * @param {string} cid
   * @param {string} why
   */
  failed(cid, why) {
    const row = this.#pending.find((row) => row.cid === cid);
    if (!row) return;
    row.element.classList.replace("sending", "failed");
    const again = () => {
      this.#drop(cid);
      this.#options.again(row);
    };
    const edit = () => {
      this.#drop(cid);
      this.#options.edit(row);
    };
    row.element.append(make(
      "p",
      { className: "fate", role: "alert" },
      make("span", {}, why),
      make("button", { onclick: again }, "Try again"),
      make("button", { onclick: edit }, "Edit"),
    ));
    this.#settle();
  }

  /** Asks for what was said before all that is here. */
  async older(limit = PAGE) {
    const { ask } = this.#options;
    if (this.#busy || !ask) return;
    this.#busy = true;
    this.scroller.ariaBusy = "true";
    this.top.textContent = "Loading…";
    const turn = this.#turn;
    const before = this.#rows.find(({ id }) => id !== undefined)?.id;
    try {
      const { entries, more } = await ask({ before, limit });
      if (turn !== this.#turn) return;
      this.#more = more;
      this.#filled = true;
      this.#prepend(entries);
      this.top.textContent = more || this.isEmpty ? "" : "The beginning of what is kept.";
    } catch {
      // Offline: it is asked for again when one is back, or scrolls.
      this.#more = true;
      this.top.textContent = "";
    } finally {
      this.#busy = false;
      this.scroller.ariaBusy = "false";
      this.#changed();
      if (turn !== this.#turn) void this.older();
    }
    // Too little to scroll, and so to ask for more.
    if (this.#more && this.#stuck && this.scroller.scrollHeight <= this.scroller.clientHeight) {
      if (!this.element.hidden && before !== this.#rows[0]?.id) await this.older();
    }
  }

  /** Asks for what was said after all that is here, when the newest had left. */
  async #newer() {
    const { ask } = this.#options;
    if (this.#busy || !ask) return;
    this.#busy = true;
    const turn = this.#turn;
    const after = this.#rows.findLast(({ id }) => id !== undefined)?.id;
    try {
      const { entries, more } = await ask({ after, limit: PAGE });
      if (turn !== this.#turn) return;
      const ends = !more ? this.#tail : [];
      for (const entry of [...entries, ...ends]) {
        const last = this.#rows.findLast(({ id }) => id !== undefined)?.id;
        if (entry.id !== undefined && entry.id <= (last ?? "")) continue;
        this.#append(entry);
      }
      this.#atEnd = !more;
      if (!more) this.#tail = [];
      if (this.#rows.length > MOST_ROWS) this.#keepPlace(() => this.#trimTop());
    } catch {
      // Offline: again at the next scroll.
    } finally {
      this.#busy = false;
      this.#changed();
      if (this.#atEnd) this.#scrolled();
      if (turn !== this.#turn) void this.older();
    }
  }

  /** To the newest, which may have left. */
  toEnd() {
    this.#stuck = true;
    if (!this.#atEnd) {
      this.#forget(this.#rows.splice(0));
      this.#turn++;
      this.#atEnd = true;
      this.#tail = [];
      this.#more = true;
      void this.older();
    }
    this.#settle();
    this.look();
  }

  /** Once for all that happens until the next picture. */
  #settle() {
    if (this.#settling) return;
    this.#settling = true;
    requestAnimationFrame(() => {
      this.#settling = false;
      if (this.#stuck) this.scroller.scrollTop = this.scroller.scrollHeight;
    });
  }

  #scrolled() {
    if (this.#settling || this.element.hidden) return;
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    const rest = scrollHeight - scrollTop - clientHeight;
    const stuck = rest < AT_END && this.#atEnd;
    if (stuck !== this.#stuck) {
      this.#stuck = stuck;
      this.look();
    }
    if (scrollTop < NEAR && this.#more) void this.older();
    else if (rest < NEAR && !this.#atEnd) void this.#newer();
  }

  /** @param {Entry[]} entries */
  #prepend(entries) {
    const first = this.#rows.find(({ id }) => id !== undefined)?.id;
    const old = entries.filter(({ id }) => first === undefined || (id ?? "") < first);
    const rows = old.map((entry) => ({ ...entry, element: draw(entry) }));
    for (const { id } of rows) this.#ids.add(id);
    this.#keepPlace(() => {
      this.list.prepend(...rows.map(({ element }) => element));
      this.#rows.unshift(...rows);
      for (let i = 0; i <= rows.length; i++) this.#decorate(i);
      if (this.#rows.length > MOST_ROWS && !this.#stuck) {
        this.#forget(this.#rows.splice(MOST_ROWS - LEAVING));
        this.#atEnd = false;
      }
    });
  }

  /**
   * @param {Entry} entry
   * @returns {Row}
   */
  #append(entry) {
    const row = { ...entry, element: draw(entry) };
    if (row.id !== undefined) this.#ids.add(row.id);
    this.#rows.push(row);
    this.list.insertBefore(row.element, this.#pending[0]?.element ?? null);
    this.#decorate(this.#rows.length - 1);
    return row;
  }

  /**
   * Who comes and goes is told in one line, as long as nobody says anything.
   *
   * @param {Entry} entry
   */
  #joinQuiet(entry) {
    const last = this.#rows.at(-1);
    if (last?.kind !== "quiet" || noon(new Date(last.time)) !== noon(new Date(entry.time))) {
      return false;
    }
    const line = last.element.querySelector(".quiet");
    if (!line || line.childNodes.length > 30) return false;
    line.append(" · ", name(entry.nick), ` ${entry.text}`);
    last.id = entry.id;
    if (entry.id !== undefined) this.#ids.add(entry.id);
    return true;
  }

  /** What a row looks like because of the one before it: a new day, or somebody else. */
  #decorate(/** @type {number} */ at) {
    const row = this.#rows[at];
    if (!row) return;
    const before = this.#rows[at - 1];
    const sameDay = before && noon(new Date(before.time)) === noon(new Date(row.time));
    row.element.querySelector(".day")?.remove();
    if (!sameDay) row.element.prepend(make("p", { className: "day" }, dayOf(row.time)));
    const follows = sameDay && before.kind === "message" && before.nick === row.nick &&
      before.own === row.own && row.time - before.time < TOGETHER;
    row.element.classList.toggle("first", !follows);
  }

  /** Shows where the new messages begin. */
  #divide(/** @type {Row} */ row) {
    this.list.querySelector(".new")?.remove();
    row.element.prepend(make("p", { className: "new" }, "New messages"));
    row.element.classList.add("first");
  }

  #trimTop() {
    this.#forget(this.#rows.splice(0, LEAVING));
    this.#more = this.#options.ask !== undefined;
    this.#decorate(0);
  }

  #forget(/** @type {Row[]} */ rows) {
    for (const { id, element } of rows) {
      element.remove();
      this.#ids.delete(id);
    }
  }

  #drop(/** @type {string} */ cid) {
    const at = this.#pending.findIndex((row) => row.cid === cid);
    if (at >= 0) this.#pending.splice(at, 1)[0]?.element.remove();
  }

  /**
   * Changes what is above, and what is looked at stays where it is.
   *
   * @param {() => void} change
   */
  #keepPlace(change) {
    const { top } = this.scroller.getBoundingClientRect();
    const held = this.#stuck
      ? undefined
      : this.#rows.find(({ element }) => element.getBoundingClientRect().bottom > top);
    const from = held?.element.getBoundingClientRect().bottom ?? 0;
    change();
    if (!held) return this.#settle();
    this.scroller.scrollTop += held.element.getBoundingClientRect().bottom - from;
  }
}

/**
 * @param {Entry} entry
 * @returns {HTMLElement}
 */
function draw(entry) {
  const { kind, nick, text, time, own } = entry;
  if (kind === "quiet") {
    return make("div", {}, make("p", { className: "quiet" }, name(nick), ` ${text}`));
  }
  if (kind === "note") {
    return make("div", {}, make("p", { className: "note", dir: "auto" }, ...linked(text)));
  }
  const { hue, letter } = face(nick);
  const words = make("div", { className: "text", dir: "auto" });
  if (kind === "action") words.append(name(nick), " ");
  words.append(...linked(text));
  if (isEmoji(text)) words.classList.add("emoji");
  const said = make("div", { className: `said ${kind} ${hue}` });
  const who = make("span", { className: "who" }, own ? "You" : name(nick));
  const picture = make("span", { className: "face", "aria-hidden": "true" }, letter);
  said.append(picture, who, make("div", { className: "bubble" }, words, timeOf(time)));
  return make("div", { className: own ? "own" : "other" }, said);
}
