// @ts-check
/// <reference lib="dom" />
/** Opens menus and runs commands. It loads them when the user is in the chat (on_demand.js). */
import { Menu } from "./menu.js";

/** @import { Chat } from "./chat.js" */
/** @import { MenuItem } from "./menu.js" */
/** @import { Actions, OnDemand } from "./on_demand.js" */

/** The menus and commands of a page. */
export class Menus {
  /** What is loaded, once it is. @type {OnDemand | undefined} */
  loaded;
  #menu = new Menu();
  #chat;
  #actions;
  /** @type {Promise<OnDemand> | undefined} */
  #loading;

  /**
   * @param {Chat} chat
   * @param {Actions} actions
   */
  constructor(chat, actions) {
    this.#chat = chat;
    this.#actions = actions;
  }

  /**
   * Loads them, unless that is done, and then does something with them.
   *
   * @param {(loaded: OnDemand) => void} [run]
   */
  load(run = () => {}) {
    this.#loading ??= import("./on_demand.js").then(({ OnDemand }) =>
      this.loaded = new OnDemand(this.#chat, this.#actions)
    );
    this.#loading.then(run, () => {
      this.#loading = undefined;
      this.#actions.flash("A part of the page could not be loaded. Try again.");
    });
  }

  /**
   * Opens a menu at a button.
   *
   * @param {HTMLElement} button
   * @param {string} label for screen readers
   * @param {(loaded: OnDemand) => MenuItem[]} itemsOf
   */
  open(button, label, itemsOf) {
    this.load((loaded) => this.#menu.open(button, label, itemsOf(loaded)));
  }
}
