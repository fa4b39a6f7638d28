// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * The scroll position of a log: whether the user is at the end, where new rows keep them, or reads above
 * it, where no change of the rows moves what they read. It loads and counts nothing.
 */

/** Distance from the end, in pixels, that counts as the end. */
const END_DISTANCE_PX = 30;
/** A scroll position below the end of any log. */
const BOTTOM_PX = 1e9;

/** The scroll position of an element that scrolls. */
export class ScrollPosition {
  isAtEnd = true;
  #scroller;
  #lastTop = 0;

  /**
   * @param {HTMLElement} scroller
   * @param {HTMLElement[]} contents
   */
  constructor(scroller, contents) {
    this.#scroller = scroller;
    // New rows, a phone's keyboard or a longer draft change sizes: the end stays in view.
    const sizes = new ResizeObserver(() => {
      if (this.isAtEnd) this.#scrollTo(BOTTOM_PX);
    });
    for (const each of [scroller, ...contents]) sizes.observe(each);
  }

  /** The distance from the start, in pixels. */
  get fromStart() {
    return this.#scroller.scrollTop;
  }

  /** The distance from the end, in pixels. */
  get fromEnd() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    return scrollHeight - scrollTop - clientHeight;
  }

  /**
   * Shows an element, where new rows do not move it.
   *
   * @param {HTMLElement} element
   * @param {"center" | "start"} [block]
   */
  show(element, block = "center") {
    this.leaveEnd();
    element.scrollIntoView({ block });
    this.#lastTop = this.fromStart;
  }

  /** Whether an element is above what the user sees. */
  isAbove(/** @type {HTMLElement} */ element) {
    return element.getBoundingClientRect().top < this.#scroller.getBoundingClientRect().top;
  }

  /** Notes that the user reads above the end. */
  leaveEnd() {
    this.isAtEnd = false;
  }

  /** Goes to the end. */
  toEnd() {
    this.isAtEnd = true;
    this.#scrollTo(BOTTOM_PX);
  }

  /**
   * Notes that the user, or a change of the rows, has scrolled. Returns whether the user has come to the
   * end or left it.
   *
   * @param {boolean} hasNewest whether the last row is the newest one
   */
  moved(hasNewest) {
    const top = this.fromStart;
    // New rows do not move the user away from the end; only scrolling up does.
    const isAtEnd = this.fromEnd < END_DISTANCE_PX
      ? hasNewest
      : this.isAtEnd && top >= this.#lastTop;
    this.#lastTop = top;
    if (isAtEnd === this.isAtEnd) return false;
    this.isAtEnd = isAtEnd;
    return true;
  }

  /** Changes rows above the visible ones, which stay where they are. */
  keepBelow(/** @type {() => void} */ change) {
    const below = this.#scroller.scrollHeight - this.fromStart;
    change();
    this.#scrollTo(this.#scroller.scrollHeight - below);
  }

  /**
   * Changes a row. If it is above the visible ones, these stay where they are.
   *
   * @param {() => Element | undefined} change returns the row's element
   */
  keepAround(change) {
    const { scrollHeight } = this.#scroller;
    const element = change();
    const top = this.#scroller.getBoundingClientRect().top;
    if (!element || this.isAtEnd || element.getBoundingClientRect().top >= top) return;
    this.#scrollTo(this.fromStart + this.#scroller.scrollHeight - scrollHeight);
  }

  /** @param {number} top */
  #scrollTo(top) {
    this.#scroller.scrollTop = top;
    this.#lastTop = this.fromStart;
  }
}
