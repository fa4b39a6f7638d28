// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * The direct messages with one user, who is known by their ID: a user with the same nickname is another
 * conversation. The server keeps those of two registered users; the tab keeps the others for a reload.
 */
import { Conversation } from "./conversation.js";

/** @import { ChatError, DirectEvent, User } from "../client/client.js" */
/** @import { ConversationContext } from "./conversation.js" */
/** @import { Entry } from "./entry.js" */

/** What the tab keeps of a conversation.
 * @typedef {{ user: User, entries: Entry[], unread: number }} StoredDirect */

/** Direct messages. */
export class DirectConversation extends Conversation {
  /** The other user, as last seen. @type {User} */
  user;

  /**
   * @param {ConversationContext} context
   * @param {User} user
   */
  constructor(context, user) {
    super(context, labelOf(user));
    this.user = user;
  }

  /** @override */
  get channel() {
    return this.context.client.direct(this.user.user);
  }

  /** What the tab keeps: no messages that the server keeps. @type {StoredDirect} */
  get stored() {
    const { user, nick, registered } = this.user;
    const isKept = registered && this.context.client.registered;
    return {
      user: { user, nick, registered },
      entries: isKept ? [] : this.log.newest,
      unread: this.log.unread,
    };
  }

  /** Shows the messages that the tab kept. */
  addStored(/** @type {StoredDirect} */ { entries, unread }) {
    for (const entry of entries) this.log.add(entry);
    this.log.marker.readAll();
    this.log.marker.addBefore(unread);
  }

  /** @override */
  get place() {
    return { destination: { user: this.user.user }, label: this.user.nick };
  }

  /** @override @param {Entry} entry */
  isKept({ kept }) {
    return kept === true;
  }

  /** @override @param {ChatError} error */
  failureOf(error) {
    return error.code === "not-online"
      ? `${this.user.nick} is offline. Messages to offline users are not stored.`
      : super.failureOf(error);
  }

  /** Handles a direct message. */
  receive(/** @type {DirectEvent} */ event) {
    this.arrived(this.entryOf(event), true);
  }

  /** Takes over the present nickname, and the present ID if the user has registered or signed in. */
  rename(/** @type {User} */ user) {
    const before = this.user;
    this.user = user;
    if (user.nick !== before.nick) this.log.scroller.ariaLabel = labelOf(user);
    if (user.registered && !before.registered) this.log.expectHistory();
  }
}

function labelOf(/** @type {User} */ { nick }) {
  return `Messages with ${nick}`;
}
