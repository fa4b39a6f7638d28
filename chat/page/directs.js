// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * All direct messages of the user: one conversation for each other user, under their present nickname.
 * The tab keeps them for a reload.
 */
import { DirectConversation } from "./direct.js";
import { tabStorage } from "./dom.js";

/** @import { ConversationState, DirectEvent, NickEvent, User } from "../client/client.js" */
/** @import { ConversationContext } from "./conversation.js" */
/** @import { StoredDirect } from "./direct.js" */

/** The conversations of direct messages. */
export class Directs {
  /** By the ID of the other user. @type {Map<string, DirectConversation>} */
  #byUser = new Map();
  #context;

  /** @param {ConversationContext} context */
  constructor(context) {
    this.#context = context;
    /** @type {StoredDirect[]} */
    const kept = tabStorage.get("directs") ?? [];
    for (const stored of kept) this.of(stored.user).addStored(stored);
  }

  /** All conversations. */
  get all() {
    return [...this.#byUser.values()];
  }

  /** Returns the conversation with a user, if there is one. */
  get(/** @type {string | undefined} */ user = "") {
    return this.#byUser.get(user);
  }

  /** Returns the conversation with a user, and takes over their present nickname. */
  of(/** @type {User} */ user) {
    const known = this.learn(user);
    if (known) return known;
    const direct = new DirectConversation(this.#context, userOf(user));
    this.#byUser.set(user.user, direct);
    return direct;
  }

  /** Notes the present nickname of a user. Returns the conversation with them, if there is one. */
  learn(/** @type {User} */ user) {
    const direct = this.get(user.user);
    if (!direct) return;
    const { nick, registered } = direct.user;
    if (nick !== user.nick || registered !== user.registered) direct.rename(userOf(user));
    return direct;
  }

  /**
   * Continues the conversation with a user who has signed in, and so speaks for another user from now on.
   * That with a registered user who signs out stays: the user may have other sessions. Returns whether
   * the conversation has another ID now.
   *
   * @param {NickEvent} event
   */
  move({ user, registered, to }) {
    const direct = this.get(user);
    if (!direct || registered || user === to.user || this.get(to.user)) return false;
    this.#byUser.delete(user);
    this.#byUser.set(to.user, direct);
    direct.rename(userOf(to));
    this.save();
    return true;
  }

  /** Closes the conversation with a user. A new message opens it again. */
  close(/** @type {string} */ user) {
    this.get(user)?.close();
    this.#byUser.delete(user);
    this.save();
  }

  /** Takes over what a welcome says about conversations. */
  restore(/** @type {readonly ConversationState[]} */ states) {
    for (const state of states) {
      const direct = this.of(state);
      direct.restore(state);
      direct.log.marker.isCatchingUp = true;
    }
    this.save();
  }

  /** Notes that the unread messages have arrived that the welcome counted. */
  caughtUp() {
    for (const { log } of this.all) log.marker.isCatchingUp = false;
  }

  /** Adds a direct message. */
  receive(/** @type {DirectEvent} */ event) {
    this.of(this.otherOf(event)).receive(event);
    this.save();
  }

  /** The other user of a direct message. @param {User & { to?: User }} event @returns {User} */
  otherOf(event) {
    const { to = event } = event;
    return this.#context.isOwn(event.user) ? to : event;
  }

  /** Loads from the history from now on: the user has signed in. */
  expectHistory() {
    for (const { user, log } of this.all) if (user.registered) log.expectHistory();
  }

  /** Keeps the conversations, with their newest messages, for a reload of the tab. */
  save() {
    tabStorage.set("directs", this.all.map(({ stored }) => stored));
  }
}

/** The user whom an event or a state names. @param {User} named @returns {User} */
function userOf({ user, nick, registered }) {
  return registered ? { user, nick, registered } : { user, nick };
}
