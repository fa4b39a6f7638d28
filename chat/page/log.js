// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * One conversation as one sees it: its messages in order, days, who came and went, what is still
 * being sent, what is new, and where one has scrolled to.
 *
 * It holds about a thousand rows; what leaves it is asked for again when one scrolls there. It knows
 * no connection: what was said before is asked for by a function that it was given.
 */
import { dayOf, dye, face, isSameDay, linked, make, name, timeOf } from "./dom.js";

/** Rows in the document, and how many leave it at once. */
const MOST_ROWS = 1_000;
const LEAVING = 200;
/** Messages that are asked for at once, and that are kept of those that nobody can be asked for. */
const PAGE = 50;
/** Pixels from an end at which more is asked for, or which count as being there. */
const NEAR = 300;
const AT_END = 30;
/** Further down than any log is high. */
const BOTTOM = 1e9;
/** Milliseconds within which somebody's messages stand together. */
const TOGETHER = 5 * 60_000;

/** A few emoji and nothing else: those are shown larger. */
const EMOJI = /^(?:\p{RGI_Emoji}\s*){1,8}$/v;

/**
 * Something said, or a quiet line, or a note. Without `id` it did not happen on the server (yet).
 *
 * @typedef {object} Entry
 * @property {"message" | "action" | "quiet" | "note"} type
 * @property {string} [id]
 * @property {string} nick
 * @property {string} text
 * @property {number} time
 * @property {boolean} [own]
 * @property {string} [cid]
 */
/** @typedef {Entry & { element: HTMLElement }} Row */
/** @typedef {{ entries: Entry[], more: boolean }} Answer */
/**
 * What was said before, or after, an id.
 *
 * @typedef {(which: { before?: string, after?: string, limit: number }) => Promise<Answer>} Ask
 */
/**
 * - `again`, `edit`: what to do about something that was not sent.
 * - `changed`: how much is unread has changed, or whether one is at the end.
 *
 * @typedef {object} LogOptions
 * @property {(entry: Entry) => void} again
 * @property {(entry: Entry) => void} edit
 * @property {() => void} changed
 */

export class Log {
  /** How many messages have come that nobody has seen. */
  unread = 0;
  /** Replaced when all are let go: who still adds to the old ones is late. @type {Row[]} */
  #rows = [];
  #ids = new Set();
  /** What is being sent, or was not, by `cid`. @type {Map<string | undefined, Row>} */
  #pending = new Map();
  /** Whether one is at the end, and whether the newest is there at all. */
  #stuck = true;
  #whole = true;
  /** Whether something came that is not there, since the newest was asked for. */
  #came = false;
  /** Whether more was said before. */
  #more;
  #busy = false;
  #lastTop = 0;
  #on;

  /**
   * @param {string} label
   * @param {LogOptions} on
   * @param {Ask} [ask] without it there is nothing but what is added
   */
  constructor(label, on, ask) {
    this.#on = on;
    this.ask = ask;
    this.#more = ask !== undefined;
    this.top = make("p.top", {});
    this.list = make("div.rows", {});
    this.waiting = make("div.rows", {});
    const onscroll = () => this.scrolled();
    this.scroller = make(
      "div.log",
      { role: "log", tabIndex: 0, ariaLabel: label, onscroll },
      this.top,
      this.list,
      this.waiting,
    );
    this.jump = make("button.jump main", { onclick: () => this.toEnd() });
    this.element = make("section.conversation", { hidden: true }, this.scroller, this.jump);
    // More to read, the keyboard of a phone, a longer draft: who is at the end stays there.
    const sizes = new ResizeObserver(() => this.#stuck && this.#scrollTo(BOTTOM));
    for (const each of [this.scroller, this.list, this.waiting]) sizes.observe(each);
  }

  /** Whether there is nothing to read. */
  get isEmpty() {
    return !this.#more && this.#pending.size === 0 && this.#rows.length < 3 &&
      this.#rows.every(({ type }) => type === "quiet");
  }

  /** Whether something is still being sent. */
  get isSending() {
    return this.waiting.querySelector(".sending") !== null;
  }

  /** The newest messages. */
  get said() {
    const said = this.#rows.filter(({ type }) => type === "message").slice(-PAGE);
    return said.map(({ element: _, ...entry }) => entry);
  }

  /** What is at the end and looked at is read. */
  look() {
    if (this.#isSeen) this.unread = 0;
    this.#changed();
  }

  get #isSeen() {
    return this.#stuck && !this.element.hidden && !document.hidden;
  }

  #changed() {
    this.jump.hidden = this.#stuck;
    const { unread } = this;
    const news = unread === 1 ? "1 new message" : `${unread} new messages`;
    this.jump.textContent = `↓ ${unread ? news : "Newest"}`;
    this.#on.changed();
  }

  /**
   * Something that has just happened.
   *
   * @param {Entry} entry
   */
  add(entry) {
    const { id, type, own, cid } = entry;
    if (own) this.#drop(cid);
    if (id && this.#ids.has(id)) return;
    const isNew = type !== "quiet" && !own && !this.#isSeen;
    if (isNew) this.unread++;
    // Who reads far above the end is not disturbed by what comes there.
    if (!this.#stuck && this.ask && this.#rows.length >= MOST_ROWS) this.#whole = false;
    if (!this.#whole) this.#came = true;
    else if (type !== "quiet" || !this.#joinQuiet(entry)) {
      const { element } = this.#append(entry);
      if (isNew && this.unread === 1) {
        this.list.querySelector(".new")?.remove();
        element.prepend(make("p.new", {}, "New messages"));
        element.classList.add("first");
      }
      this.#trimTop();
    }
    this.#changed();
  }

  /** A line that only this page shows. */
  note(/** @type {string} */ text) {
    this.toEnd();
    this.#append({ type: "note", nick: "", text, time: Date.now() });
    this.#changed();
  }

  /** From now on the ids are others, and of what was said before nobody can be asked. */
  forgetIds() {
    this.#ids.clear();
    for (const row of this.#rows) delete row.id;
    this.#more = false;
  }

  /** Something may be missing, before the event with this id or at the end. */
  gap(/** @type {string | undefined} */ from) {
    const next = this.#rows.find(({ id }) => from && id && id >= from);
    const line = make("p.gap", {}, "Messages may be missing here.");
    this.list.insertBefore(line, next?.element ?? null);
  }

  /** Something that is being sent. */
  send(/** @type {Entry} */ entry) {
    this.toEnd();
    this.list.querySelector(".new")?.remove();
    const row = { ...entry, element: draw(entry) };
    row.element.classList.add("sending", "first");
    this.#pending.set(row.cid, row);
    this.waiting.append(row.element);
    this.#changed();
  }

  /** It was sent. Its event may have come, or not yet. */
  sent(/** @type {string} */ cid) {
    this.#pending.get(cid)?.element.classList.remove("sending");
  }

  /**
   * It was not sent, or nobody knows.
   *
   * @param {string} cid
   * @param {string} why
   */
  failed(cid, why) {
    const row = this.#pending.get(cid);
    if (!row) return;
    row.element.classList.replace("sending", "failed");
    const button = (/** @type {(entry: Entry) => void} */ act, /** @type {string} */ label) => {
      const onclick = () => {
        this.#drop(cid);
        act(row);
      };
      return make("button", { onclick }, label);
    };
    const { again, edit } = this.#on;
    row.element.append(
      make("p.fate", { role: "alert" }, why, button(again, "Try again"), button(edit, "Edit")),
    );
  }

  /**
   * Asks for what was said before all that is here, or after it.
   *
   * @returns {Promise<void>}
   */
  async load(newer = false, limit = PAGE) {
    if (this.#busy || !this.ask) return;
    this.#busy = true;
    this.#came = false;
    this.top.textContent = newer ? "" : "Loading…";
    const rows = this.#rows;
    const { id } = rows[newer ? "findLast" : "find"](({ id }) => id) ?? {};
    // Offline: it is asked for again when one is back, or scrolls.
    const answer = await this.ask({ [newer ? "after" : "before"]: id, limit }).catch(({ code }) => {
      if (code !== "history-off") return;
      this.ask = undefined;
      this.#more = false;
    });
    this.#busy = false;
    if (rows !== this.#rows) return this.load();
    if (answer && newer) this.#addNewer(answer);
    else if (answer) this.#addOlder(answer);
    this.top.textContent = this.#more || this.isEmpty ? "" : "The beginning of what is kept.";
    this.#changed();
    if (answer) this.scrolled();
  }

  /** @param {Answer} answer */
  #addNewer({ entries, more }) {
    for (const entry of entries) if (!this.#ids.has(entry.id)) this.#append(entry);
    this.#whole = !more && !this.#came;
    this.#trimTop();
  }

  /** @param {Answer} answer */
  #addOlder({ entries, more }) {
    // What has come meanwhile is in both.
    const first = this.#rows.find(({ id }) => id)?.id ?? "~";
    const old = entries.filter(({ id = "" }) => id < first && !this.#ids.has(id));
    const rows = old.map((entry) => ({ ...entry, element: draw(entry) }));
    for (const { id } of rows) this.#ids.add(id);
    this.#more = more && rows.length > 0;
    this.#keepPlace(() => {
      this.list.prepend(...rows.map(({ element }) => element));
      this.#rows.unshift(...rows);
      for (let i = 0; i <= rows.length; i++) this.#decorate(i);
    });
    if (this.#rows.length > MOST_ROWS && !this.#stuck) {
      this.#forget(MOST_ROWS - LEAVING);
      this.#whole = false;
    }
  }

  /** To the newest, which may have left. */
  toEnd() {
    this.#stuck = true;
    if (!this.#whole) {
      this.#forget(0);
      this.#rows = [];
      this.#whole = this.#more = true;
      this.load();
    }
    this.#scrollTo(BOTTOM);
    this.look();
  }

  /** @param {number} top */
  #scrollTo(top) {
    this.scroller.scrollTop = top;
    this.#lastTop = this.scroller.scrollTop;
  }

  /** Asks for more where there is more, and looks whether this is the end. */
  scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    const rest = scrollHeight - scrollTop - clientHeight;
    // More to read is no scrolling away from the end: only going up is.
    const stuck = rest < AT_END ? this.#whole : this.#stuck && scrollTop >= this.#lastTop;
    this.#lastTop = scrollTop;
    if (stuck !== this.#stuck) {
      this.#stuck = stuck;
      this.look();
    }
    if (scrollTop < NEAR && this.#more) this.load();
    else if (rest < NEAR && !this.#whole) this.load(true);
  }

  /** Changes what is above, and what is looked at stays where it is. */
  #keepPlace(/** @type {() => void} */ change) {
    const rest = this.scroller.scrollHeight - this.scroller.scrollTop;
    change();
    this.#scrollTo(this.scroller.scrollHeight - rest);
  }

  /**
   * @param {Entry} entry
   * @returns {Row}
   */
  #append(entry) {
    const row = { ...entry, element: draw(entry) };
    this.#ids.add(row.id);
    this.#rows.push(row);
    this.list.append(row.element);
    this.#decorate(this.#rows.length - 1);
    return row;
  }

  /** Who comes and goes is told in one line, as long as nobody says anything. */
  #joinQuiet(/** @type {Entry} */ { id, nick, text, time }) {
    const last = this.#rows.at(-1);
    if (last?.type !== "quiet" || !isSameDay(last.time, time)) return false;
    const line = last.element.lastElementChild;
    if (!line || line.childNodes.length > 30) return false;
    line.append(" · ", name(nick), ` ${text}`);
    last.id = id;
    return true;
  }

  /** What a row looks like because of the one before it: a new day, or somebody else. */
  #decorate(/** @type {number} */ at) {
    const row = this.#rows[at];
    if (!row) return;
    const { element, nick, own, time } = row;
    const before = this.#rows[at - 1];
    const sameDay = before && isSameDay(before.time, time);
    element.querySelector(".day")?.remove();
    if (!sameDay) element.prepend(make("p.day", {}, dayOf(time)));
    const follows = sameDay && before.type === "message" && before.nick === nick &&
      before.own === own && time - before.time < TOGETHER;
    element.classList.toggle("first", !follows);
  }

  #trimTop() {
    if (this.#rows.length <= MOST_ROWS) return;
    this.#keepPlace(() => {
      this.#forget(0, LEAVING);
      this.#decorate(0);
    });
    this.#more = this.ask !== undefined;
  }

  /**
   * @param {number} from
   * @param {number} [many]
   */
  #forget(from, many = MOST_ROWS * 2) {
    for (const { id, element } of this.#rows.splice(from, many)) {
      element.remove();
      this.#ids.delete(id);
    }
  }

  #drop(/** @type {string | undefined} */ cid) {
    this.#pending.get(cid)?.element.remove();
    this.#pending.delete(cid);
  }
}

/**
 * @param {Entry} entry
 * @returns {HTMLElement}
 */
function draw({ type, nick, text, time, own }) {
  const actor = nick && type !== "message" ? [name(nick), " "] : [];
  const words = make("div.text", { dir: "auto" }, ...actor, ...linked(text));
  if (type === "quiet" || type === "note") {
    words.className = type;
    return make("div", {}, words);
  }
  words.classList.toggle("emoji", EMOJI.test(text));
  const said = make(`div.said ${type}`, {});
  if (!own) said.append(face(nick));
  if (!actor[0]) said.append(make(own ? "p.unseen" : "p.who", {}, own ? "You" : name(nick)));
  said.append(make("div.bubble", {}, words, timeOf(time)));
  return make(own ? "div.own" : "div.other", {}, dye(said, nick));
}
