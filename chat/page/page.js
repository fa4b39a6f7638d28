// @ts-check
/// <reference lib="dom" />
/**
 * The page, which starts here: it follows the address, draws what has changed and connects the parts.
 *
 * What is said in rooms and direct messages is chat.js's.
 */
import { Chat } from "./chat.js";
import { copy, copyAsTyped } from "./clipboard.js";
import { Composer, isTyped } from "./composer.js";
import { Attention } from "./attention.js";
import { browserStorage, tabStorage, ui } from "./dom.js";
import { installWorker } from "./install.js";
import { destinationOf, filterLists, fragmentOf, takeAccessToken } from "./lists.js";
import { ACCESS_TOKEN_NEEDED, closeLists, LoginForm, onFormSubmit } from "./login_form.js";
import { Menus } from "./menus.js";
import { Notice } from "./notice.js";
import { People } from "./people.js";
import { refusalFor } from "./refusal.js";
import { RoomList } from "./room_list.js";
import { sourcesOf } from "./sources.js";
import { StatusLine } from "./status_line.js";
import * as tabSession from "./tab_session.js";
import { Typing } from "./typing.js";
import { drawEmpty, drawHeader, drawPlaces, drawRules, drawUnread } from "./view.js";

/** @import { StateEvent } from "../client/client.js" */
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
  #composer = new Composer(
    {
      send: (text) => this.#send(text),
      editLast: () => this.#chat?.shown?.log.editLast() ?? false,
      typing: () => this.#chat?.shown?.channel.typing(),
    },
    sourcesOf(
      () => this.#chat,
      () => this.#roomList.rooms,
      () => this.#menus?.loaded?.commands ?? [],
    ),
  );
  #notice = new Notice();
  #typing = new Typing();
  #attention = new Attention(this.#notice, (destination) => this.#go(destination));
  /** @type {Menus | undefined} */
  #menus;
  #roomList = new RoomList(() => this.#chat?.client, () => this.#drawSoon());
  #people = new People((button, user) =>
    this.#menus?.open(button, `Actions for ${user.nick}`, (more) => more.userItems(user))
  );
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
    tabSession.takeSession();
    tabSession.shareSession(() => this.#giveAway());
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
      openMenu: (button, entry) =>
        this.#menus?.open(button, "Actions for this message", (more) => more.messageItems(entry)),
      told: (text) => this.#notice.show(text),
      concerned: ({ place: { destination, label }, log }, entry) => {
        const isSeen = log.isSeen && document.hasFocus();
        this.#attention.draw({ ...destination, message: entry.id }, label, entry, isSeen);
      },
    });
    this.#chat = chat;
    this.#menus = new Menus(chat, {
      go: (destination) => this.#go(destination),
      note: (text) => this.#note(text),
      fail: (error) => this.#fail(error),
      flash: (text) => this.#status.flash(text),
      giveBack: (line) => this.#composer.giveBack(line),
      quote: (text) => this.#composer.quote(text),
      attention: this.#attention,
      signOut: () => this.#signOut(),
      leave: () => this.#leave(),
    });
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
    client.on("paused", ({ until }) => this.#status.waiting(until));
    this.#typing.listen(client);
    client.on("joined", () => this.#roomList.loadSoon());
    client.on("left", () => this.#roomList.loadSoon());
    this.#stateChanged({ type: "state", state: "connecting" });
    const { user, nick: other } = destinationOf(location.hash);
    if (room !== undefined && (user ?? other) === undefined) {
      history.replaceState(null, "", fragmentOf({ room }));
    }
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
        this.#explainOffline(event.retryAt).catch(() => {});
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
    const refusal = this.#notice.text ? undefined : await refusalFor().catch(() => undefined);
    const text = refusal?.status === 403 ? refusal.text : this.#notice.text;
    this.#openLogin({ code: reason, message: text || "A moderator ended your session." });
  }

  /** @param {Extract<StateEvent, { state: "closed" }>["reason"]} reason */
  #closed(reason) {
    this.#status.stop();
    if (reason === "taken-over") return this.#goneElsewhere();
    if (reason !== "ended") return;
    // Somebody else may use this device from now on.
    tabStorage.set("directs", null);
    this.#draw();
    this.#status.show("This session was ended from another device.", "Log in again");
  }

  /** Says that the chat goes on in another tab. What is written here stays in the field. */
  #goneElsewhere() {
    this.#draw();
    this.#status.show("The chat goes on in another tab or window.", "Use it here");
  }

  /** Ends the session here, because another tab takes it. Returns whether there was one. */
  #giveAway() {
    const { client } = this.#chat ?? {};
    if (!client || client.state === "closed") return false;
    client.detach();
    this.#goneElsewhere();
    return true;
  }

  /** Tries to come back: over a new connection, or with the session of another tab, or a new one. */
  async #retry() {
    const { client } = this.#chat ?? {};
    if (client?.state !== "closed") return client?.retryNow();
    if (!tabStorage.get("session")) await tabSession.takeSessionBack();
    location.reload();
  }

  #online() {
    this.#login.close();
    this.#roomList.loadSoon();
    // While there is a connection.
    this.#menus?.load();
    this.#draw();
    if (!this.#wasOnline) this.#composer.focus();
    // The address names a room that the server did not let the user enter.
    const { room = "" } = destinationOf(location.hash);
    const isOutside = room && !this.#chat?.client.rooms.includes(room);
    if (isOutside && this.#lastError) this.#fail(this.#lastError);
    else this.#status.flash(this.#wasOnline ? `Back online.${this.#missingText}` : "");
    this.#wasOnline = true;
    this.#missingText = "";
    this.#lastError = this.#loginError = undefined;
  }

  /**
   * Asks the server why it accepts no connection: browsers do not say why a WebSocket failed. Asks for an
   * access token if the server needs one.
   *
   * @param {number} retryAt
   */
  async #explainOffline(retryAt) {
    const { client } = this.#chat ?? {};
    const token = browserStorage.get("token");
    const { status, text, seconds } = await refusalFor();
    if (client?.state !== "offline") return;
    switch (status) {
      case 401: {
        client.detach();
        const message = token ? text : "This chat is private. Enter its access token.";
        return this.#openLogin({ code: ACCESS_TOKEN_NEEDED, message });
      }
      case 403:
        client.detach();
        return this.#status.show(text, "Try again");
      case 429:
      case 503:
        return this.#status.offline(Math.max(retryAt, Date.now() + seconds * 1000), text);
    }
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

  /** Ends the session, and asks for a nickname: somebody else may use this device from now on. */
  async #signOut() {
    await this.#chat?.client.close();
    tabSession.forgetUser();
    location.reload();
  }

  #leave() {
    this.#chat?.leave().catch((error) => this.#fail(error));
  }

  /** Opens the conversation that the address names. */
  #followAddress() {
    takeAccessToken();
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
    this.#typing.show(this.#chat.destination);
    this.#draw();
    if (this.#chat.client.state === "online") this.#composer.focus();
  }

  /** Posts a message, or runs a command. */
  #send(/** @type {string} */ text) {
    if (/^\s*\//.test(text)) this.#menus?.load((more) => more.run(text.trim()));
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
    this.#people.draw(chat);
    drawHeader(chat);
    drawRules(chat);
    drawPlaces(chat, this.#roomList.rooms);
    filterLists(ui.joinRoom, ui.rooms, ui.otherRooms);
    drawEmpty(chat);
    this.#attention.count(drawUnread(chat));
  }

  #listenToElements() {
    onFormSubmit(ui.join, () => {
      this.#go({ room: ui.joinRoom.value.trim() });
      ui.joinRoom.value = "";
      this.#drawSoon();
    });
    ui.joinRoom.oninput = () => this.#drawSoon();
    ui.me.onclick = () => this.#menus?.open(ui.me, "Your nickname", (more) => more.accountItems());
    ui.roomMenu.onclick = () =>
      this.#menus?.open(ui.roomMenu, "This conversation", (more) => more.placeItems());
    ui.leave.onclick = () => this.#leave();
    ui.share.lastElementChild.onclick = async () => {
      if (await copy(location.href)) this.#status.flash("Link copied.");
    };
  }

  #listenToWindow() {
    const visible = () => {
      this.#chat?.shown?.log.returned();
      if (document.hidden) return;
      this.#chat?.client.retryNow();
      this.#roomList.loadSoon();
    };
    addEventListener("hashchange", () => this.#followAddress());
    addEventListener("online", visible);
    addEventListener("visibilitychange", visible);
    addEventListener("focus", () => this.#chat?.shown?.log.returned());
    addEventListener("pagehide", () => {
      this.#chat?.saveForReload();
      tabSession.leaveSession();
      this.#chat?.client.detach();
    });
    addEventListener("pageshow", ({ persisted }) => persisted && location.reload());
    addEventListener("beforeunload", (event) => {
      if (this.#chat?.conversations.some(({ log }) => log.isSending)) event.preventDefault();
    });
    addEventListener("keydown", (event) => {
      if (isTyped(event)) return ui.text.focus();
      if (event.key !== "Escape" || !this.#chat) return;
      if (this.#chat.client.state === "online") this.#login.close();
      this.#chat.shown?.log.scrollToEnd();
      ui.text.focus();
    });
    addEventListener("copy", copyAsTyped);
  }
}

new Page().start();
installWorker();
