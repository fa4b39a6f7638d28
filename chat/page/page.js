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
import { avatar, browserStorage, nickname, tabStorage, ui } from "./dom.js";
import { destinationOf, fragmentOf, showMembers } from "./lists.js";
import { ACCESS_TOKEN_NEEDED, closeLists, LoginForm, onFormSubmit } from "./login_form.js";
import { StatusLine } from "./status_line.js";
import { drawEmpty, drawHeader, drawPlaces, drawUnread } from "./view.js";

/** @import { ChatError, RoomReply, StateEvent } from "../client/client.js" */
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
  #status = new StatusLine(this.#login, () => this.#chat?.client.retryNow());
  #composer = new Composer((text) => this.#send(text));
  /** The rooms that have members. @type {RoomReply[]} */
  #rooms = [];
  /** The members that are drawn. @type {string[] | undefined} */
  #drawnMembers;
  /** What to show when the page is online again. */
  #onlineText = "";
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
    // A tab that was closed a moment ago left its session for the next one.
    const left = browserStorage.get("left");
    browserStorage.set("left", null);
    if (!tabStorage.get("session") && Date.now() - left?.at < left?.session?.grace * 1000) {
      tabStorage.set("session", left.session);
    }
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
    const chat = new Chat({ nick, room, access: browserStorage.get("token") ?? "" }, {
      changed: () => this.#drawSoon(),
      entered: (room) => this.#entered(room),
      edit: ({ text }) => this.#composer.edit(text),
    });
    this.#chat = chat;
    const { client } = chat;
    client.on("state", (event) => this.#stateChanged(event));
    client.on("resumed", ({ recovered }) => {
      this.#onlineText = recovered ? "" : " Older messages may be missing.";
    });
    client.on("error", ({ error }) => {
      this.#lastError = error;
      if (client.state === "online") this.#note(error.message);
    });
    client.on("joined", () => this.#loadRoomsAfter(ROOMS_DELAY_MS));
    client.on("left", () => this.#loadRoomsAfter(ROOMS_DELAY_MS));
    this.#stateChanged({ type: "state", state: "connecting" });
    if (room !== undefined && client.room !== room) this.#join(room);
    else this.#followAddress();
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
        this.#status.stop();
        if (event.reason === "taken-over") this.#status.show("Parley is open in another tab.");
        return;
      default:
        return /** @satisfies {never} */ (event);
    }
  }

  #online() {
    this.#login.close();
    this.#loadRoomsAfter(ROOMS_DELAY_MS);
    this.#draw();
    if (!this.#wasOnline) this.#composer.focus();
    // The address names a room that the server did not let the user enter.
    const isOutside = this.#chat?.client.room === undefined && destinationOf(location.hash).room;
    const backText = this.#wasOnline ? `Back online.${this.#onlineText}` : "";
    this.#status.flash(isOutside ? this.#lastError?.message ?? "" : backText);
    this.#wasOnline = true;
    this.#onlineText = "";
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
    const log = this.#chat?.shown;
    if (log) log.note(text);
    else this.#status.flash(text);
  }

  async #join(/** @type {string} */ room) {
    this.#conversationChanged();
    try {
      await this.#chat?.client.join(room);
    } catch (error) {
      const { code, message } = /** @type {ChatError} */ (error);
      if (code === "replaced" || code === "closed") return;
      this.#note(message);
    }
    // The room that the client is in, which is the old one after an error.
    this.#entered(this.#chat?.client.room);
  }

  /** Shows the room that the user is in, or that there is none. */
  #entered(/** @type {string | undefined} */ room) {
    if (this.#chat?.to === undefined) history.replaceState(null, "", fragmentOf({ room }));
    this.#conversationChanged();
  }

  /** Opens the conversation that the address names. */
  #followAddress() {
    const { room, to } = destinationOf(location.hash);
    this.#login.room = room ?? "lobby";
    if (!this.#chat) return;
    this.#chat.to = to;
    if (room !== undefined && room !== this.#chat.client.room) this.#join(room);
    else this.#entered(this.#chat.client.room);
    if (this.#chat.client.state === "online") this.#composer.focus();
  }

  #go(/** @type {Destination} */ destination) {
    location.hash = fragmentOf(destination);
  }

  #conversationChanged() {
    closeLists();
    this.#composer.open(fragmentOf(this.#chat ?? {}));
    this.#drawSoon();
  }

  /** Posts a message, or runs a command. */
  #send(/** @type {string} */ text) {
    const chat = this.#chat;
    if (!chat) return;
    if (!/^\s*\//.test(text)) return chat.post("message", text, chat.to);
    runCommand(text.trim(), {
      client: chat.client,
      note: (text) => this.#note(text),
      join: (room) => this.#go({ room }),
      act: (text) => {
        if (chat.to === undefined) chat.post("action", text);
        else this.#note("/me works in rooms only.");
      },
      tell: (nick, text) => {
        chat.post("message", text, nick);
        this.#go({ to: nick });
      },
      loadOlder: (limit) => void chat.log?.load("older", limit),
    });
  }

  async #loadRooms() {
    this.#loadRoomsAfter(ROOMS_INTERVAL_MS);
    const client = this.#chat?.client;
    if (document.hidden || client?.state !== "online") return;
    this.#rooms = await client.rooms().catch(() => this.#rooms);
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
    for (const log of chat.logs) {
      if (log.element.hidden !== (log === chat.shown)) continue;
      log.element.hidden = log !== chat.shown;
      log.update();
    }
    const { nick } = chat.client;
    if (browserStorage.get("nick") !== nick) browserStorage.set("nick", nick);
    if (ui.me.lastChild?.textContent !== nick) ui.me.replaceChildren(avatar(nick), nickname(nick));
    if (this.#drawnMembers !== chat.members) {
      showMembers(ui.members, this.#drawnMembers = chat.members, nick);
    }
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
    ui.share.lastElementChild.onclick = () => {
      // The clipboard API exists only on pages served over HTTPS.
      getSelection()?.selectAllChildren(ui.address);
      document.execCommand("copy");
    };
  }

  #listenToWindow() {
    const visible = () => {
      this.#chat?.shown?.update();
      if (document.hidden) return;
      this.#chat?.client.retryNow();
      this.#loadRoomsAfter(ROOMS_DELAY_MS);
    };
    addEventListener("hashchange", () => this.#followAddress());
    addEventListener("online", visible);
    addEventListener("visibilitychange", visible);
    addEventListener("pagehide", () => {
      browserStorage.set("left", { at: Date.now(), session: tabStorage.get("session") });
      this.#chat?.client.detach();
    });
    addEventListener("pageshow", ({ persisted }) => persisted && location.reload());
    addEventListener("beforeunload", (event) => {
      if (this.#chat?.logs.some(({ isSending }) => isSending)) event.preventDefault();
    });
    addEventListener("keydown", ({ key }) => {
      if (key !== "Escape" || !this.#chat) return;
      if (this.#chat.client.state === "online") this.#login.close();
      this.#chat.shown?.scrollToEnd();
      ui.text.focus();
    });
  }
}

new Page().start();
