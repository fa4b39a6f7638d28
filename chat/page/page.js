// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * The page, which starts here: it follows the address, draws what has changed and connects the parts.
 *
 * What is said in rooms and direct messages is chat.js's.
 */
import { Chat } from "./chat.js";
import { runCommand } from "./commands.js";
import { Composer } from "./composer.js";
import { avatar, browserStorage, nameOf, tabStorage, ui } from "./dom.js";
import { destinationOf, fragmentOf, showMembers } from "./lists.js";
import { ACCESS_TOKEN_NEEDED, closeLists, LoginForm, onFormSubmit } from "./login_form.js";
import { StatusLine } from "./status_line.js";
import { leaveSession, takeSession } from "./tab_session.js";
import { drawEmpty, drawHeader, drawPlaces, drawUnread } from "./view.js";

/** @import { ChatError, RoomReply, StateEvent, User } from "../client/client.js" */
/** @import { CommandContext } from "./commands.js" */
/** @import { Destination } from "./lists.js" */
/** @import { Login, Reason } from "./login_form.js" */

/** Milliseconds between two requests for the list of rooms, and after an event that may change it. */
const ROOMS_INTERVAL_MS = 8_000;
const ROOMS_DELAY_MS = 400;
/** Changes within so many milliseconds are drawn together. */
const DRAW_DELAY_MS = 16;

/** The page. */
class Page {
  /** @type {Chat | undefined} */
  #chat;
  #login = new LoginForm((login) => this.#submitLogin(login));
  #status = new StatusLine(this.#login, () => this.#retry());
  #composer = new Composer((text) => this.#send(text));
  /** @type {CommandContext | undefined} */
  #commands;
  /** The rooms that have members. @type {RoomReply[]} */
  #rooms = [];
  /** The members that are drawn. @type {readonly User[] | undefined} */
  #drawnMembers;
  /** The nickname that is drawn as the user's, and whether it is registered. */
  #drawnName = "";
  /** Follows "Back online." */
  #missingText = "";
  /** The last error of the client. @type {Reason | undefined} */
  #lastError;
  /** The error of the last login. @type {Reason | undefined} */
  #loginError;
  #wasOnline = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #roomsTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #drawTimer;

  start() {
    this.#listenToElements();
    this.#listenToWindow();
    takeSession();
    this.#followAddress();
    const nick = this.#login.nick = browserStorage.get("nick") ?? "";
    if (!nick) return this.#openLogin();
    this.#login.close();
    this.#enter(nick, destinationOf(location.hash).room);
  }

  /** @param {Reason} [reason] */
  #openLogin(reason) {
    this.#login.open(reason, {
      isLoggedIn: this.#chat?.client.state === "online",
      canChooseRoom: this.#chat === undefined || reason?.code === ACCESS_TOKEN_NEEDED,
    });
  }

  /** @param {Login} login */
  #submitLogin({ nick, room, secret }) {
    if (!this.#chat) return this.#enter(nick, room);
    const { client } = this.#chat;
    if (client.state === "closed") {
      browserStorage.set("token", secret);
      browserStorage.set("nick", nick);
      location.hash = fragmentOf({ room });
      return location.reload();
    }
    this.#loginError = undefined;
    (secret ? client.identify(nick, secret) : client.rename(nick)).then(() => {
      this.#login.close();
      this.#drawSoon();
    }, (error) => this.#openLogin(this.#loginError = error));
  }

  /**
   * Connects as a user.
   *
   * @param {string} nick
   * @param {string | undefined} room
   */
  #enter(nick, room) {
    const access = browserStorage.get("token") ?? "";
    const chat = new Chat({ nick, rooms: room === undefined ? [] : [room], access }, {
      changed: () => this.#drawSoon(),
      opened: () => this.#opened(),
      failed: (error) => this.#fail(error),
      edit: ({ text }) => this.#composer.edit(text),
      edited: () => this.#composer.focus(),
    });
    this.#chat = chat;
    this.#commands = this.#commandsFor(chat);
    const { client } = chat;
    client.on("state", (event) => this.#stateChanged(event));
    client.on("resumed", ({ recovered }) => {
      if (recovered) return;
      const text = " Older messages may be missing.";
      // After a lost session the client reads the history when it is online.
      if (client.state === "online") this.#status.flash(`Back online.${text}`);
      else this.#missingText = text;
    });
    client.on("error", ({ error }) => {
      this.#lastError = error;
      if (client.state === "online") this.#note(error.message);
    });
    client.on("joined", () => this.#loadRoomsAfter(ROOMS_DELAY_MS));
    client.on("left", () => this.#loadRoomsAfter(ROOMS_DELAY_MS));
    this.#stateChanged({ type: "state", state: "connecting" });
    const { user, nick: other } = destinationOf(location.hash);
    const isDirect = user !== undefined || other !== undefined;
    if (room !== undefined && !isDirect) history.replaceState(null, "", fragmentOf({ room }));
    this.#followAddress();
  }

  /** What the commands act on. @param {Chat} chat @returns {CommandContext} */
  #commandsFor(chat) {
    return {
      client: chat.client,
      sessions: [],
      room: () => chat.shownRoom?.channel,
      note: (text) => this.#note(text),
      join: (room) => this.#go({ room }),
      leave: () => chat.leave(),
      act: (text) => {
        if (chat.shownRoom) chat.shownRoom.post("action", text);
        else this.#note("/me works in rooms only.");
      },
      tell: async (nick, text) => {
        const direct = await chat.directWithNick(nick);
        direct.post("message", text);
        this.#go({ user: direct.user.user });
      },
      loadOlder: (limit) => void chat.shown?.log.load("older", limit),
      giveBack: (line) => this.#composer.giveBack(line),
    };
  }

  /** @param {StateEvent} event */
  #stateChanged(event) {
    switch (event.state) {
      case "connecting":
        return this.#status.connecting();
      case "online":
        return this.#online();
      case "offline":
        if (event.retryAt === undefined) {
          this.#status.stop();
          return this.#openLogin(this.#loginError ?? this.#lastError);
        }
        if (!this.#wasOnline) this.#checkAccess().catch(() => {});
        return this.#status.offline(event.retryAt);
      case "closed":
        return this.#closed(event.reason);
      default:
        return /** @satisfies {never} */ (event);
    }
  }

  /** @param {Extract<StateEvent, { state: "closed" }>["reason"]} reason */
  #closed(reason) {
    this.#status.stop();
    if (reason === "taken-over") this.#status.show("Parley is open in another tab.");
    if (reason !== "ended") return;
    // Somebody else may use this device from now on.
    tabStorage.set("directs", null);
    this.#status.show("This session was ended from another device.", "Log in again");
    this.#drawSoon();
  }

  /** Tries to come back: over a new connection, or with a new session. */
  #retry() {
    if (this.#chat?.client.state === "closed") location.reload();
    else this.#chat?.client.retryNow();
  }

  #online() {
    this.#login.close();
    this.#loadRoomsAfter(ROOMS_DELAY_MS);
    this.#draw();
    if (!this.#wasOnline) this.#composer.focus();
    // The address names a room that the server did not let the user enter.
    const { room } = destinationOf(location.hash);
    const isOutside = room !== undefined && !this.#chat?.client.rooms.includes(room);
    const backText = this.#wasOnline ? `Back online.${this.#missingText}` : "";
    this.#status.flash(isOutside ? this.#lastError?.message ?? "" : backText);
    this.#wasOnline = true;
    this.#missingText = "";
    this.#lastError = this.#loginError = undefined;
  }

  /** Asks for an access token if the server needs one: browsers do not say why a WebSocket failed. */
  async #checkAccess() {
    const token = browserStorage.get("token");
    const { status } = await fetch("/ws", { headers: { authorization: `Bearer ${token}` } });
    if (status !== 401 || this.#wasOnline) return;
    this.#chat?.client.detach();
    const message = token ? "Wrong access token." : "This chat is private. Enter its access token.";
    this.#openLogin({ code: ACCESS_TOKEN_NEEDED, message });
  }

  /** Shows a line to the user only, in the conversation if there is one. */
  #note(/** @type {string} */ text) {
    const log = this.#chat?.shown?.log;
    if (log) log.note(text);
    else this.#status.flash(text);
  }

  /** Says why something that the user wanted was not done. */
  #fail(/** @type {ChatError} */ { code, message }) {
    if (code !== "replaced" && code !== "closed") this.#note(message);
  }

  /** Opens the conversation that the address names. */
  #followAddress() {
    const destination = destinationOf(location.hash);
    this.#login.room = destination.room ?? "lobby";
    this.#chat?.open(destination).catch((error) => this.#fail(error));
  }

  #go(/** @type {Destination} */ destination) {
    location.hash = fragmentOf(destination);
  }

  /** Shows the conversation that the chat has opened, or that there is none. */
  #opened() {
    if (!this.#chat) return;
    const fragment = fragmentOf(this.#chat.destination);
    history.replaceState(null, "", fragment);
    closeLists();
    this.#composer.open(fragment);
    this.#draw();
    if (this.#chat.client.state === "online") this.#composer.focus();
  }

  /** Posts a message, or runs a command. */
  #send(/** @type {string} */ text) {
    if (!this.#commands) return;
    if (/^\s*\//.test(text)) runCommand(text.trim(), this.#commands);
    else this.#chat?.shown?.post("message", text);
  }

  async #loadRooms() {
    this.#loadRoomsAfter(ROOMS_INTERVAL_MS);
    const client = this.#chat?.client;
    if (document.hidden || client?.state !== "online") return;
    this.#rooms = await client.list().catch(() => this.#rooms);
    this.#drawSoon();
  }

  #loadRoomsAfter(/** @type {number} */ ms) {
    clearTimeout(this.#roomsTimer);
    this.#roomsTimer = setTimeout(() => this.#loadRooms(), ms);
  }

  #drawSoon() {
    this.#drawTimer ??= setTimeout(() => this.#draw(), DRAW_DELAY_MS);
  }

  #draw() {
    clearTimeout(this.#drawTimer);
    this.#drawTimer = undefined;
    const chat = this.#chat;
    if (!chat) return;
    for (const each of chat.conversations) each.log.isShown = each === chat.shown;
    if (chat.client.state === "online") chat.shownRoom?.loadMembers();
    const { nick, user, registered } = chat.client;
    if (browserStorage.get("nick") !== nick) browserStorage.set("nick", nick);
    if (this.#drawnName !== `${nick} ${registered}`) {
      this.#drawnName = `${nick} ${registered}`;
      ui.me.replaceChildren(avatar(nick), ...nameOf({ nick, registered }));
    }
    const members = chat.shownRoom?.members;
    if (this.#drawnMembers !== members) showMembers(ui.members, members ?? [], user);
    this.#drawnMembers = members;
    drawHeader(chat);
    drawPlaces(chat, this.#rooms);
    drawEmpty(chat);
    drawUnread(chat);
  }

  #listenToElements() {
    onFormSubmit(ui.join, () => {
      this.#go({ room: ui.joinRoom.value.trim() });
      ui.joinRoom.value = "";
    });
    ui.me.onclick = () => this.#openLogin();
    ui.leave.onclick = () => this.#chat?.leave().catch((error) => this.#fail(error));
    ui.share.lastElementChild.onclick = () => {
      // The clipboard API exists only on pages served over HTTPS.
      getSelection()?.selectAllChildren(ui.address);
      document.execCommand("copy");
    };
  }

  #listenToWindow() {
    const visible = () => {
      this.#chat?.shown?.log.update();
      if (document.hidden) return;
      this.#chat?.client.retryNow();
      this.#loadRoomsAfter(ROOMS_DELAY_MS);
    };
    addEventListener("hashchange", () => this.#followAddress());
    addEventListener("online", visible);
    addEventListener("visibilitychange", visible);
    addEventListener("focus", () => this.#chat?.shown?.log.update());
    addEventListener("pagehide", () => {
      this.#chat?.saveForReload();
      leaveSession();
      this.#chat?.client.detach();
    });
    addEventListener("pageshow", ({ persisted }) => persisted && location.reload());
    addEventListener("beforeunload", (event) => {
      if (this.#chat?.conversations.some(({ log }) => log.isSending)) event.preventDefault();
    });
    addEventListener("keydown", ({ key }) => {
      if (key !== "Escape" || !this.#chat) return;
      if (this.#chat.client.state === "online") this.#login.close();
      this.#chat.shown?.log.scrollToEnd();
      ui.text.focus();
    });
  }
}

new Page().start();
