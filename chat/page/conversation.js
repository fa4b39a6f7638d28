// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * What rooms and direct messages have in common: a log, posting, editing, and telling the user's other
 * sessions what is read here.
 *
 * Members are room.js's, the other user is direct.js's.
 */
import { ui } from "./dom.js";
import { Log } from "./log.js";
import { mentionFinder } from "./mentions.js";

/** @import { ChatClient, ChatError, Conversation as Direct, Room, User } from "../client/client.js" */
/** @import { Entry } from "./entry.js" */
/** @import { FindMentions } from "./format.js" */
/** @import { Destination } from "./lists.js" */
/** @import { HistoryQuery, Page } from "./log.js" */

/** The shortest time between two read markers that a conversation sends. */
const READ_INTERVAL_MS = 1_000;
/** Codes of errors that say that a conversation has no history for this user. */
const NO_HISTORY = ["history-off", "not-allowed", "not-identified", "not-registered"];

/**
 * What conversations need from the chat.
 *
 * - `cidOf`: the ID that the client gave to the last message.
 * - `isOwn`: whether a user ID is, or was, this user's.
 * - `editMs`: for how long messages can be edited.
 * - `changed`: something that the page shows has changed.
 * - `edit`: the user wants to edit a failed message.
 * - `edited`: the user has finished an edit.
 * - `isIgnored`: whether the user ignores the one who has an ID.
 * - `openMenu`: opens the menu of a message by another user.
 * - `concerned`: a message that has just arrived is for this user, or mentions them.
 *
 * @typedef {object} ConversationContext
 * @property {ChatClient} client
 * @property {() => string} cidOf
 * @property {(user: string | undefined) => boolean} isOwn
 * @property {() => number} editMs
 * @property {() => void} changed
 * @property {(entry: Entry) => void} edit
 * @property {() => void} edited
 * @property {(user: string) => boolean} isIgnored
 * @property {(button: HTMLElement, entry: Entry) => void} openMenu
 * @property {(conversation: Conversation, entry: Entry) => void} concerned
 */

/** A conversation: a room or direct messages. */
export class Conversation {
  log;
  context;
  /** The ID up to which the server knows that the user has read, or is being told. */
  #toldId = "";
  /** The ID up to which the user has read here. */
  #seenId = "";
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #readTimer;
  /** The ID of the newest message that concerns the user. */
  #concerningId = "";
  /** Finds mentions, as long as the nicknames are the same.
   * @type {{ nick: string, others: readonly User[], find: FindMentions } | undefined} */
  #finder;

  /**
   * @param {ConversationContext} context
   * @param {string} label
   */
  constructor(context, label) {
    this.context = context;
    this.log = new Log(label, {
      changed: () => {
        this.#tellRead();
        context.changed();
      },
      loadPage: (query) => this.#loadPage(query),
      canEdit: (entry) => this.canEdit(entry),
      save: ({ id = "" }, text) => this.channel.edit(id, text),
      remove: ({ id = "" }) => this.channel.delete(id),
      edited: context.edited,
      isIgnored: ({ user = "", own }) => !own && context.isIgnored(user),
      openMenu: context.openMenu,
      findMentions: (text) => this.findMentions(text),
      react: (entry, emoji) => this.react(entry, emoji),
      edit: context.edit,
      retry: ({ type, text }) => this.post(type === "action" ? "action" : "message", text),
    });
    ui.logs.append(this.log.element);
  }

  /** What the client offers for this conversation. @returns {Room | Direct} */
  get channel() {
    throw new Error("A conversation is a room or direct messages.");
  }

  /** Where it is, and what notifications call it. @returns {{ destination: Destination, label: string }} */
  get place() {
    throw new Error("A conversation is a room or direct messages.");
  }

  /** The users who can be mentioned besides this one. @returns {readonly User[]} */
  get others() {
    return [];
  }

  /** Whether a message that concerns the user is unread. */
  get isConcerning() {
    return this.log.unread > 0 && this.#concerningId > this.log.marker.id;
  }

  /** Finds the users whom a text names. @type {FindMentions} */
  findMentions(text) {
    const { others, context: { client: { nick } } } = this;
    if (this.#finder?.nick !== nick || this.#finder.others !== others) {
      this.#finder = { nick, others, find: mentionFinder(nick, others) };
    }
    return this.#finder.find(text);
  }

  /** Adds the user's reaction to a message, or takes it back. @param {Entry} entry @param {string} emoji */
  react({ id = "", reactions = [] }, emoji) {
    const isOwn = reactions.some((each) => each.emoji === emoji && each.own);
    this.channel.react(id, emoji, isOwn).catch(({ message }) => this.log.note(message));
  }

  /** Shows a message that has just arrived. */
  arrived(/** @type {Entry} */ entry, isForUser = false) {
    this.log.add(entry);
    const { id = "", text, user = "", own } = entry;
    if (own || id <= this.#concerningId || this.context.isIgnored(user)) return;
    if (!isForUser && !this.findMentions(text).some(({ isOwn }) => isOwn)) return;
    this.#concerningId = id;
    this.context.concerned(this, entry);
  }

  /**
   * Whether the server keeps a message, so that it can be edited.
   *
   * @param {Entry} _entry
   */
  isKept(_entry) {
    return true;
  }

  /** Whether the user may edit and delete an entry. */
  canEdit(/** @type {Entry} */ entry) {
    const { client, editMs } = this.context;
    return Boolean(entry.id) && entry.user === client.user && entry.deleted === undefined &&
      Date.now() - entry.time < editMs() && this.isKept(entry);
  }

  /**
   * Posts a message. The log shows it at once, as being sent.
   *
   * @param {"message" | "action"} type
   * @param {string} text
   */
  post(type, text) {
    const { log, context } = this;
    const posted = this.send(type, text);
    // The client has just asked for it.
    const cid = context.cidOf();
    const { nick } = context.client;
    log.send({ type, nick, text, time: Date.now(), own: true, cid });
    posted.then(() => log.sent(cid), (error) => log.failed(cid, this.failureOf(error)));
  }

  /**
   * @param {"message" | "action"} _type
   * @param {string} text
   * @returns {Promise<unknown>}
   */
  send(_type, text) {
    return this.channel.say(text);
  }

  /** Says why a message was not sent. @param {ChatError} error */
  failureOf({ code, message }) {
    if (code === "unknown") return "Connection lost. This may not have been delivered.";
    if (code === "closed") return "Not sent: this tab is not connected any more.";
    return `Not sent: ${message.replace(/^(Not sent|Cannot send): /, "")}`;
  }

  /** Takes over what the server says after a login, about what is read. */
  restore(/** @type {{ read?: string, unread?: number }} */ { read, unread }) {
    this.log.marker.restore(read, unread);
    this.#toldId = this.log.marker.id;
    this.log.update();
  }

  /** Notes that another session of the user has read the messages up to an ID. */
  readElsewhere(/** @type {string} */ id) {
    this.log.marker.advance(id);
    if (id > this.#toldId) this.#toldId = id;
    this.log.update();
  }

  /** Removes the log. */
  close() {
    clearTimeout(this.#readTimer);
    this.log.element.remove();
  }

  /** Tells the user's other sessions what the user has read here. */
  #tellRead() {
    const { id } = this.log.marker;
    if (!this.context.client.registered || id <= this.#toldId) return;
    if (!this.log.isSeen || !document.hasFocus()) return;
    this.#seenId = id;
    if (this.#readTimer === undefined) this.#sendRead();
  }

  #sendRead() {
    const before = this.#toldId;
    if (this.#seenId <= before) return;
    this.#toldId = this.#seenId;
    // The next message tells it again.
    this.channel.markRead(this.#toldId).catch(() => this.#toldId = before);
    this.#readTimer = setTimeout(() => {
      this.#readTimer = undefined;
      this.#sendRead();
    }, READ_INTERVAL_MS);
  }

  /**
   * @param {HistoryQuery} query
   * @returns {Promise<Page | undefined>}
   */
  async #loadPage(query) {
    try {
      const { events, more } = await this.channel.history(query);
      return { entries: events.map((event) => this.entryOf(event)), more };
    } catch (error) {
      const { code } = /** @type {ChatError} */ (error);
      if (!NO_HISTORY.includes(code)) throw error;
    }
  }

  /**
   * Converts a message to an entry of the log.
   *
   * @param {Omit<Entry, "type" | "own"> & { type: "message" | "action" | "direct" }} event
   * @returns {Entry}
   */
  entryOf(event) {
    const type = event.type === "action" ? "action" : "message";
    return { ...event, type, own: this.context.isOwn(event.user) };
  }
}
