// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * The page, which starts here: it follows the address, draws what has changed and connects the parts.
 *
 * What is said in rooms and direct messages is chat.js's.
 */
import { Chat } from "./chat.js";
import { commandContext } from "./command_context.js";
import { runCommand } from "./commands.js";
import { Composer } from "./composer.js";
import { avatar, browserStorage, nameOf, tabStorage, ui } from "./dom.js";
import { destinationOf, fragmentOf, showMembers } from "./lists.js";
import { ACCESS_TOKEN_NEEDED, closeLists, LoginForm, onFormSubmit } from "./login_form.js";
import { Menu } from "./menu.js";
import { Moderation } from "./moderation.js";
import { Notice } from "./notice.js";
import { RoomList } from "./room_list.js";
import { StatusLine } from "./status_line.js";
import { leaveSession, takeSession } from "./tab_session.js";
import { drawEmpty, drawHeader, drawPlaces, drawRules, drawUnread } from "./view.js";

/** @import { ChatError, StateEvent, User } from "../client/client.js" */
/** @import { CommandContext } from "./commands.js" */
/** @import { Entry } from "./entry.js" */
/** @import { Destination } from "./lists.js" */
/** @import { Login, Reason } from "./login_form.js" */

/** Changes within so many milliseconds are drawn together. */
const DRAW_DELAY_MS = 16;
/** Codes of errors that say why a moderator keeps the user out. They stay until the user has read them. */
const KEPT_OUT = ["banned", "locked", "private"];
/** The code with which the server closes the connections of a user who must not come back by itself. */
const REMOVED_CODE = 1008;

/** The page. */
class Page {
  /** @type {Chat | undefined} */
  #chat;
  #login = new LoginForm((login) => this.#submitLogin(login));
  #status = new StatusLine(this.#login, () => this.#retry());
  #composer = new Composer((text) => this.#send(text));
  #menu = new Menu();
  #notice = new Notice();
  /** @type {Moderation | undefined} */
  #moderation;
  /** @type {CommandContext | undefined} */
  #commands;
  #roomList = new RoomList(() => this.#chat?.client, () => this.#drawSoon());
  /** The members that are drawn. @type {readonly User[] | undefined} */
  #drawnMembers;
  /** The users who are drawn as ignored. @type {ReadonlySet<string> | undefined} */
  #drawnIgnored;
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
      openMenu: (button, { user = "", nick, registered, ...entry }) =>
        this.#openUserMenu(button, { user, nick, registered }, { ...entry, nick }),
      told: (text) => this.#notice.show(text),
    });
    this.#chat = chat;
    const actions = {
      go: (/** @type {Destination} */ destination) => this.#go(destination),
      note: (/** @type {string} */ text) => this.#note(text),
      fail: (/** @type {ChatError} */ error) => this.#fail(error),
      giveBack: (/** @type {string} */ line) => this.#composer.giveBack(line),
    };
    const moderation = this.#moderation = new Moderation(chat, actions);
    this.#commands = commandContext(chat, moderation, actions);
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
      if (client.state === "online") this.#fail(error);
    });
    client.on("joined", () => this.#roomList.loadSoon());
    client.on("left", () => this.#roomList.loadSoon());
    this.#stateChanged({ type: "state", state: "connecting" });
    const { user, nick: other } = destinationOf(location.hash);
    const isDirect = user !== undefined || other !== undefined;
    if (room !== undefined && !isDirect) history.replaceState(null, "", fragmentOf({ room }));
    this.#followAddress();
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
          if (event.code === REMOVED_CODE) return void this.#removed(event.reason);
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

  /** Says why a moderator has ended the session. @param {string} reason */
  async #removed(reason) {
    // Without an act that concerns the user the address is banned.
    const refusal = this.#notice.text ? undefined : await fetch("/ws").catch(() => undefined);
    const text = refusal?.status === 403 ? await refusal.text() : this.#notice.text;
    this.#openLogin({ code: reason, message: text || "A moderator ended your session." });
  }

  /** @param {Extract<StateEvent, { state: "closed" }>["reason"]} reason */
  #closed(reason) {
    this.#status.stop();
    if (reason === "taken-over") this.#status.show("Parley is open in another tab.");
    if (reason !== "ended") return;
    // Somebody else may use this device from now on.
    tabStorage.set("directs", null);
    this.#draw();
    this.#status.show("This session was ended from another device.", "Log in again");
  }

  /** Tries to come back: over a new connection, or with a new session. */
  #retry() {
    if (this.#chat?.client.state === "closed") location.reload();
    else this.#chat?.client.retryNow();
  }

  #online() {
    this.#login.close();
    this.#roomList.loadSoon();
    this.#draw();
    if (!this.#wasOnline) this.#composer.focus();
    // The address names a room that the server did not let the user enter.
    const { room } = destinationOf(location.hash);
    const isOutside = room !== undefined && !this.#chat?.client.rooms.includes(room);
    const backText = this.#wasOnline ? `Back online.${this.#missingText}` : "";
    if (isOutside && this.#lastError) this.#fail(this.#lastError);
    else this.#status.flash(backText);
    this.#wasOnline = true;
    this.#missingText = "";
    this.#lastError = this.#loginError = undefined;
  }

  /**
   * Asks for an access token if the server needs one, or says that the address is banned: browsers do
   * not say why a WebSocket failed.
   */
  async #checkAccess() {
    const token = browserStorage.get("token");
    const answer = await fetch("/ws", { headers: { authorization: `Bearer ${token}` } });
    const { status } = answer;
    if (status !== 401 && status !== 403 || this.#wasOnline) return;
    this.#chat?.client.detach();
    if (status === 403) return this.#status.show(await answer.text(), "Try again");
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
  #fail(/** @type {Reason} */ { code, message }) {
    if (KEPT_OUT.includes(code)) this.#notice.show(message);
    else if (code !== "replaced" && code !== "closed") this.#note(message);
  }

  /**
   * @param {HTMLElement} button
   * @param {User} user
   * @param {Entry} [message]
   */
  #openUserMenu(button, user, message) {
    const items = this.#moderation?.userItems(user, message) ?? [];
    this.#menu.open(button, `Actions for ${user.nick}`, items);
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
    const { shownRoom: { members } = { members: undefined }, ignored: { users: ignored } } = chat;
    if (this.#drawnMembers !== members || this.#drawnIgnored !== ignored) {
      const openMenu = this.#openUserMenu.bind(this);
      showMembers(ui.members, members ?? [], { ownId: user, ignored, openMenu });
    }
    this.#drawnMembers = members;
    this.#drawnIgnored = ignored;
    drawHeader(chat);
    drawRules(chat);
    drawPlaces(chat, this.#roomList.rooms);
    drawEmpty(chat);
    drawUnread(chat);
  }

  #listenToElements() {
    onFormSubmit(ui.join, () => {
      this.#go({ room: ui.joinRoom.value.trim() });
      ui.joinRoom.value = "";
    });
    ui.me.onclick = () => this.#openLogin();
    ui.roomMenu.onclick = () =>
      this.#menu.open(ui.roomMenu, "This room", this.#moderation?.roomItems() ?? []);
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
      this.#roomList.loadSoon();
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
