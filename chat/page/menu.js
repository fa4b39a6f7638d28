// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * A menu that opens from a button: arrow keys move, Enter chooses, Escape closes, and the focus returns
 * to the button. What its items do is the caller's.
 */
import { make } from "./dom.js";

/**
 * An item. `isApart`: a line stands above it.
 *
 * @typedef {object} MenuItem
 * @property {string} label
 * @property {() => void} run
 * @property {boolean} [isDangerous]
 * @property {boolean} [isShort] whether it stands in one line with those beside it
 * @property {boolean} [isApart]
 */

/** Distance from the edges of the window, in pixels. */
const MARGIN_PX = 4;

/** The menu of the page: one is open at a time. */
export class Menu {
  #element;
  /** @type {HTMLElement | undefined} */
  #button;

  constructor() {
    this.#element = make("div.menu", {
      role: "menu",
      popover: "auto",
      onkeydown: (/** @type {KeyboardEvent} */ event) => this.#keyPressed(event),
      onbeforetoggle: (/** @type {ToggleEvent} */ { newState }) => {
        if (newState === "closed" && this.#button) this.#button.ariaExpanded = "false";
      },
    });
  }

  /**
   * Opens the menu at a button.
   *
   * @param {HTMLElement} button
   * @param {string} label for screen readers
   * @param {MenuItem[]} items
   */
  open(button, label, items) {
    this.#close();
    if (items.length === 0) return;
    this.#button = button;
    this.#element.ariaLabel = label;
    this.#element.replaceChildren(...items.flatMap((item) => this.#draw(item)));
    // Inside a list that lies over the page, which would close otherwise.
    (button.closest("[popover]") ?? document.body).append(this.#element);
    // The focus returns to the element that has it now.
    button.focus();
    this.#element.showPopover();
    button.ariaExpanded = "true";
    this.#place(button.getBoundingClientRect());
    this.#items[0]?.focus();
  }

  get #items() {
    /** @type {NodeListOf<HTMLElement>} */
    const items = this.#element.querySelectorAll("[role=menuitem]");
    return [...items];
  }

  /** @param {MenuItem} item */
  #draw({ label, run, isDangerous, isApart, isShort }) {
    const onclick = () => {
      this.#close();
      run();
    };
    const kind = isDangerous ? "button.dangerous" : isShort ? "button.short" : "button";
    const item = make(kind, { role: "menuitem", tabIndex: -1, type: "button", onclick }, label);
    return isApart ? [make("hr", {}), item] : [item];
  }

  /** @param {DOMRect} button */
  #place({ left, top, bottom }) {
    const { style, offsetWidth, offsetHeight } = this.#element;
    const isBelow = bottom + offsetHeight + MARGIN_PX <= innerHeight;
    const x = Math.min(left, innerWidth - offsetWidth - MARGIN_PX);
    style.left = `${Math.max(MARGIN_PX, x)}px`;
    style.top = `${isBelow ? bottom : Math.max(MARGIN_PX, top - offsetHeight)}px`;
  }

  #close() {
    if (this.#element.matches(":popover-open")) this.#element.hidePopover();
    this.#element.remove();
  }

  /** @param {KeyboardEvent} event */
  #keyPressed(event) {
    const items = this.#items;
    const index = items.findIndex((each) => each === document.activeElement);
    switch (event.key) {
      case "ArrowDown":
        items[(index + 1) % items.length]?.focus();
        break;
      case "ArrowUp":
        items.at(index - 1)?.focus();
        break;
      case "Home":
        items[0]?.focus();
        break;
      case "End":
        items.at(-1)?.focus();
        break;
      case "Escape":
      case "Tab":
        this.#close();
        break;
      default:
        return;
    }
    event.preventDefault();
    event.stopPropagation();
  }
}

/**
 * Creates a button that opens a menu.
 *
 * @param {string} label for screen readers
 * @param {(button: HTMLElement) => void} open
 */
export function menuButton(label, open) {
  const button = make("button.dots", {
    type: "button",
    ariaLabel: label,
    ariaHasPopup: "menu",
    ariaExpanded: "false",
    onclick: () => open(button),
  }, "⋯");
  return button;
}
