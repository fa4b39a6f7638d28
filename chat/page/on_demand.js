// @ts-check
/// <reference lib="dom" />
/**
 * What the page loads after the user is in the chat: menus, their dialogs, and the commands. So the first
 * view does not wait for them.
 */
import { accountItems } from "./account.js";
import { commandContext } from "./command_context.js";
import { commandList, runCommand } from "./commands.js";
import { browserStorage } from "./dom.js";
import { messageItems } from "./message_items.js";
import { Moderation } from "./moderation.js";
import { placeItems } from "./place_items.js";

/** @import { User } from "../client/client.js" */
/** @import { AccountActions } from "./account.js" */
/** @import { Chat } from "./chat.js" */
/** @import { PageActions } from "./command_context.js" */
/** @import { Entry } from "./entry.js" */
/** @import { ModerationActions } from "./moderation.js" */

/**
 * What the page does for menus and commands.
 *
 * @typedef {PageActions & ModerationActions & AccountActions & OwnActions} Actions
 */
/**
 * @typedef {object} OwnActions
 * @property {() => void} leave - leaves the room that is shown
 * @property {(text: string) => void} quote - quotes a text in the message field
 * @property {(text: string) => void} flash - shows a line for a moment
 */

/** The menus and commands of a chat. */
export class OnDemand {
  #chat;
  #actions;
  #moderation;
  #commands;

  /**
   * @param {Chat} chat
   * @param {Actions} actions
   */
  constructor(chat, actions) {
    this.#chat = chat;
    this.#actions = actions;
    this.#moderation = new Moderation(chat, actions);
    this.#commands = commandContext(chat, this.#moderation, actions);
  }

  /** All commands, for completion. */
  get commands() {
    return commandList();
  }

  /** Runs a line that begins with a slash. */
  run(/** @type {string} */ line) {
    return runCommand(line, this.#commands);
  }

  /** Returns the items of the menu of a user. */
  userItems(/** @type {User} */ user) {
    return this.#moderation.userItems(user);
  }

  /** Returns the items of the menu of a message. */
  messageItems(/** @type {Entry} */ entry) {
    const { user = "", nick, registered, own } = entry;
    const items = messageItems(this.#chat, entry, this.#actions);
    if (own) return items;
    const [first, ...rest] = this.#moderation.userItems({ user, nick, registered }, entry);
    return first ? [...items, { ...first, isApart: true }, ...rest] : items;
  }

  /** Returns the items of the menu of the conversation that is shown. */
  placeItems() {
    const invite = async () => {
      const { showInvitation } = await import("./invite.js");
      showInvitation(location.href, browserStorage.get("token") ?? "");
    };
    return placeItems(this.#chat, this.#moderation, { ...this.#actions, invite });
  }

  /** Returns the items of the menu of the user's own nickname. */
  accountItems() {
    return accountItems(this.#chat.client, this.#actions);
  }
}
