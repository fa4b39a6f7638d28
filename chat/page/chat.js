// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * The user's chat: the client, the rooms that the user is in, the direct messages, and which of these
 * the page shows.
 *
 * The client reconnects, orders events and avoids duplicates (client/). What is inside a conversation is
 * conversation.js's, the page around it is page.js's.
 */
import { ChatClient } from "../client/client.js";
import { predicateOf } from "./acts.js";
import { tellAway } from "./away.js";
import { Directs } from "./directs.js";
import { tabStorage } from "./dom.js";
import { Ignored } from "./ignored.js";
import { Rooms } from "./rooms.js";

/** @import { ActEvent, ChatError, ChatEvent, DeletedEvent } from "../client/client.js" */
/** @import { EditedEvent, GapEvent, NickEvent, ReactionEvent, ResumedEvent } from "../client/client.js" */
/** @import { RoomEvent, StateEvent, User, WelcomeEvent } from "../client/client.js" */
/** @import { ConversationContext } from "./conversation.js" */
/** @import { Entry } from "./entry.js" */
/** @import { Destination } from "./lists.js" */

/**
 * - `changed`: something that the page shows has changed.
 * - `opened`: another conversation is shown, or none.
 * - `failed`: a room of the user could not be joined.
 * - `edit`: the user wants to edit a failed message.
 * - `edited`: the user has finished an edit.
 * - `openMenu`: the user wants the menu of a message by another user.
 * - `told`: a moderator did something that the user must know, wherever the user is.
 *
 * @typedef {object} ChatListener
 * @property {() => void} changed
 * @property {() => void} opened
 * @property {(error: ChatError) => void} failed
 * @property {(entry: Entry) => void} edit
 * @property {() => void} edited
 * @property {(button: HTMLElement, entry: Entry) => void} openMenu
 * @property {(text: string) => void} told
 * @property {ConversationContext["concerned"]} concerned
 */

/** The user's chat. */
export class Chat {
  /** The conversation that is shown, or will be as soon as the user is in its room. @type {Destination} */
  destination = {};
  /** The conversation that the user waits for. @type {Destination | undefined} */
  #opening;
  #user = "";
  /**
   * The IDs that this tab had while its user was not registered: messages under any of them are the
   * user's own. Those of a registered nickname may be those of another person at this device.
   */
  #ownIds = new Set(/** @type {string[]} */ (tabStorage.get("ownIds") ?? []));
  /** The user that the rooms are of. Another one joins the rooms of its other sessions. */
  #welcomedUser = tabStorage.get("session")?.user;
  #editMs = 0;
  #lastCid = "";
  #listener;
  /** @type {ConversationContext} */
  #context;

  /**
   * @param {{ nick: string, rooms: string[], access: string }} login
   * @param {ChatListener} listener
   */
  constructor(login, listener) {
    this.#listener = listener;
    this.client = new ChatClient(new URL("/ws", location.href.replace("http", "ws")), {
      ...login,
      session: {
        load: () => tabStorage.get("session"),
        save: (session) => tabStorage.set("session", session),
      },
      // Not randomUUID: browsers have that only on pages served over HTTPS.
      ids: () => this.#lastCid = crypto.getRandomValues(new Uint32Array(4)).join("-"),
    });
    this.ignored = new Ignored(this.client, (isFewer) => {
      for (const { log } of this.conversations) log.ignoredChanged(isFewer);
    });
    const { changed, edit, edited, openMenu, concerned } = listener;
    this.#context = {
      client: this.client,
      cidOf: () => this.#lastCid,
      isOwn: (user = "") => user === this.client.user || this.#ownIds.has(user),
      editMs: () => this.#editMs,
      isIgnored: (user) => this.ignored.users.has(user),
      ...{ changed, edit, edited, openMenu, concerned },
    };
    this.rooms = new Rooms(this.#context);
    this.directs = new Directs(this.#context);
    // Before the page shows the error: it may be that of a room that the client does not enter.
    this.client.on("error", () => this.#syncRooms());
    this.client.on("*", (event) => this.#receive(event));
    tellAway(this.client);
  }

  /** The room that is shown, if it is a room. */
  get shownRoom() {
    return this.rooms.get(this.destination.room);
  }

  /** The direct messages that are shown, if they are. */
  get shownDirect() {
    return this.directs.get(this.destination.user);
  }

  /** The conversation that is shown. */
  get shown() {
    return this.shownRoom ?? this.shownDirect;
  }

  /** All conversations. */
  get conversations() {
    return [...this.rooms.all, ...this.directs.all];
  }

  /**
   * Shows a conversation: joins the room, or asks who has the nickname. Until then, and after an error,
   * it shows the one that it showed before.
   *
   * @param {Destination} destination
   * @throws {ChatError}
   */
  async open(destination) {
    this.#opening = destination;
    try {
      const found = await this.#find(destination);
      if (this.#opening === destination) this.destination = found;
    } finally {
      // Else the user has asked for another one meanwhile.
      if (this.#opening === destination) {
        this.#opening = undefined;
        this.#syncRooms();
        this.#listener.opened();
        if (destination.message) this.shown?.log.showMessage(destination.message);
      }
    }
  }

  /**
   * Leaves the room that is shown.
   *
   * @throws {ChatError}
   */
  async leave() {
    await this.shownRoom?.channel.leave();
    this.#syncRooms();
  }

  /** Closes the direct messages that are shown. */
  closeDirect() {
    this.directs.close(this.destination.user ?? "");
    this.#syncRooms();
    if (this.shown) return;
    this.destination = {};
    this.#listener.opened();
  }

  /** Keeps in the tab what the server does not, for a reload. */
  saveForReload() {
    if (this.client.state === "closed") return;
    this.rooms.save();
    this.directs.save();
  }

  /**
   * Returns the conversation with the user who has a nickname.
   *
   * @param {string} nick
   * @throws {ChatError}
   */
  async directWithNick(nick) {
    return this.directs.of(await this.client.who(nick));
  }

  /**
   * Returns the destination of a conversation that exists.
   *
   * @param {Destination} destination
   * @returns {Promise<Destination>}
   */
  async #find({ room, user, nick }) {
    if (room !== undefined) {
      // The client enters it at its login, or is in it.
      if (this.client.rooms.includes(room)) return { room };
      return { room: (await this.client.join(room)).name };
    }
    if (nick !== undefined) return { user: (await this.directWithNick(nick)).user.user };
    if (user !== undefined) this.directs.of(this.#known(user));
    return { user };
  }

  /** A user whom the page has seen, or else one without a nickname. @returns {User} */
  #known(/** @type {string} */ user) {
    const members = this.rooms.all.flatMap(({ members }) => members);
    const known = this.directs.get(user)?.user ?? members.find((each) => each.user === user);
    return known ?? { user, nick: "Unknown user" };
  }

  /** @param {ChatEvent} event */
  #receive(event) {
    this.#rememberUser();
    switch (event.type) {
      case "message":
      case "action":
      case "joined":
      case "left":
      case "nick":
        return this.#receiveRoomEvent(event);
      case "direct":
        return this.directs.receive(event);
      case "away":
        return this.rooms.get(event.room)?.setAway(event);
      case "edited":
        return this.#change(event, { text: event.text, edited: event.time });
      case "deleted":
        return this.#change(event, { text: "", deleted: event.time });
      case "reaction":
        return this.#reacted(event);
      case "read":
        return this.#at(event.room, event.with)?.readElsewhere(event.id);
      case "gap":
        return this.#gap(event);
      case "welcome":
        return this.#welcome(event);
      case "resumed":
        return this.#resumed(event);
      case "state":
        return this.#stateChanged(event);
      case "act":
        return this.#acted(event);
      case "room":
        return this.#listener.changed();
      case "typing": // page.js shows these.
      case "paused":
      case "error":
      case "unknown":
        return;
      default:
        return /** @satisfies {never} */ (event);
    }
  }

  /** @param {RoomEvent} event */
  #receiveRoomEvent(event) {
    // The user may have entered or left the room by this event.
    if (event.type !== "message" && event.type !== "action") this.#syncRooms();
    if (event.type === "nick" && this.directs.move(event)) this.#follow(event);
    this.directs.learn(event.type === "nick" ? event.to : event);
    this.rooms.get(event.room)?.receive(event);
  }

  /**
   * @param {EditedEvent | DeletedEvent} event
   * @param {Partial<Entry>} changes
   */
  #change(event, changes) {
    this.#at(event.room, this.directs.otherOf(event).user)?.log.change(event.target, changes);
  }

  /** @param {ReactionEvent} event */
  #reacted(event) {
    const { room, target, emoji, count, removed, user } = event;
    const place = this.#at(room, room === undefined ? this.directs.otherOf(event).user : "");
    const isOwn = this.#context.isOwn(user);
    place?.log.react(target, { emoji, count, isAdded: !removed, isOwn });
  }

  /** Shows an act of moderation in its room, or where the user is. @param {ActEvent} event */
  #acted(event) {
    const { id, room, act, on, nick, time } = event;
    const isYou = on !== undefined && this.#context.isOwn(on.user);
    const place = this.rooms.get(room);
    // An act elsewhere has no place in the order of the events here.
    const entry = { type: /** @type {const} */ ("act"), nick, time };
    const text = predicateOf(event, { isYou, namesRoom: isYou || !place });
    if (place) place.log.add({ ...entry, id, text });
    else this.shown?.log.add({ ...entry, text });
    const isForUser = isYou && ["kick", "ban", "unban", "invite"].includes(act);
    const isElsewhere = act === "report" && (!place || place !== this.shown);
    if (!isForUser && !isElsewhere) return;
    this.#listener.told(`${nick} ${predicateOf(event, { isYou, namesRoom: true })}.`);
  }

  /** @param {GapEvent} event */
  #gap({ room, recovered }) {
    const conversation = this.rooms.get(room);
    if (!recovered) conversation?.log.markGap(undefined);
    conversation?.forgetMembers();
    this.#listener.changed();
  }

  /** @param {WelcomeEvent} event */
  #welcome({ user, rooms, directs, edit }) {
    this.#editMs = edit * 1000;
    const isNewUser = this.#welcomedUser !== user;
    this.#welcomedUser = user;
    this.rooms.restore(rooms, isNewUser);
    this.directs.restore(directs);
    this.#syncRooms();
    this.ignored.load();
    if (isNewUser) {
      const entered = this.client.rooms;
      for (const { room } of rooms) {
        if (!entered.includes(room)) this.client.join(room).catch(this.#listener.failed);
      }
    }
    // The server answers no request before it has sent the unread direct messages.
    const caughtUp = () => this.directs.caughtUp();
    this.client.ping().then(caughtUp, caughtUp);
  }

  /** @param {ResumedEvent} event */
  #resumed({ room, recovered, reason, from }) {
    const rooms = this.rooms.all.filter(({ name }) => name === room);
    for (const { log } of rooms) log.marker.isCatchingUp = false;
    if (recovered) return;
    for (const { log } of room === undefined ? this.directs.all : rooms) {
      if (reason === "forgotten") log.forgetIds();
      log.markGap(from);
    }
  }

  /** @param {StateEvent} event */
  #stateChanged({ state }) {
    if (state === "online") {
      this.#syncRooms();
      this.shown?.log.update();
      this.shown?.log.scrolled();
    } else this.rooms.forgetMembers();
  }

  /** Follows the client into and out of rooms. Shows another room if that one is closed. */
  #syncRooms() {
    this.rooms.sync();
    if (this.client.state !== "online" || this.#opening || this.shown) return;
    const room = this.rooms.all[0]?.name;
    if (room === this.destination.room) return;
    this.destination = { room };
    this.#listener.opened();
  }

  /** Notes under which ID the user speaks. */
  #rememberUser() {
    const { user, registered } = this.client;
    if (!user || user === this.#user) return;
    this.#user = user;
    if (registered) return this.directs.expectHistory();
    this.#ownIds.add(user);
    tabStorage.set("ownIds", [...this.#ownIds]);
  }

  /** Shows the conversation further that has another ID now. */
  #follow(/** @type {NickEvent} */ { user, to }) {
    if (this.destination.user !== user) return;
    this.destination = { user: to.user };
    this.#listener.opened();
  }

  /** The conversation that an event names: a room, or the direct messages with a user. */
  #at(/** @type {string | undefined} */ room, /** @type {string} */ user = "") {
    return room === undefined ? this.directs.get(user) : this.rooms.get(room);
  }
}
