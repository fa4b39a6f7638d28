// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * The page: the door, what is shown where, the keyboard, the address. It begins here.
 *
 * What is said and by whom is chat.js's business; here is only what somebody sees of it.
 */
import { Chat } from "./chat.js";
import { command } from "./commands.js";
import { face, home, name, tab, ui } from "./dom.js";
import { addressOf, placeOf, readable, showMembers, showPlaces } from "./lists.js";

/** Milliseconds between two looks at the rooms, and after something that may have changed them. */
const LOOK = 8_000;
const SOON = 400;
/** Milliseconds for which "back" is shown; before which "connecting" is not. */
const SHOWN = 5_000;
const HASTE = 600;
/** Milliseconds within which all that happens is drawn at once. */
const TOGETHER = 16;
/** What is wrong where an access token is needed. */
const PRIVATE = "private";

/** @typedef {{ code: string, message: string }} Why */

/** @type {Chat | undefined} */
let chat;
/** The rooms with somebody in them. @type {import("../client/client.js").RoomReply[]} */
let rooms = [];
/** Where the draft belongs that stands in the text. */
let drafted = "";
/** The members that are shown. @type {string[] | undefined} */
let members;
/** What is said about coming back. */
let back = "";
/** What went wrong last, and why what was tried at the door was. @type {Why | undefined} */
let failure;
/** @type {Why | undefined} */
let refused;
let wasOnline = false;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let looking;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let drawing;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let lineTimer;

function start() {
  // Who closed the tab a moment ago takes their place in the next one.
  const left = home.get("left");
  home.set("left", null);
  if (!tab.get("session") && Date.now() - left?.at < left?.session?.grace * 1000) {
    tab.set("session", left.session);
  }
  route();
  const nick = ui.doorNick.value = home.get("nick") ?? "";
  if (!nick) return openDoor();
  atDoor(false);
  comeIn(nick, placeOf(location.hash).room);
}

/** Asks for a nickname, and for what else is needed. @param {Why} [why] it is asked again */
function openDoor({ code, message } = { code: "", message: "" }) {
  atDoor(true);
  ui.doorRoom.disabled = chat !== undefined && code !== PRIVATE;
  ui.doorError.textContent = message;
  const secret = code === PRIVATE
    ? "Access token"
    : /^nickname-registered|password|attempts|busy/.test(code)
    ? "Password"
    : "";
  ui.doorSecret.hidden = !secret;
  ui.doorLabel.textContent = secret;
  (secret ? ui.doorWord : ui.doorNick).focus();
}

/** A page is not told why a socket was refused: it may be that an access token is needed. */
async function askWhy() {
  const headers = { authorization: `Bearer ${home.get("token")}` };
  const { status } = await fetch("/ws", { headers });
  if (status !== 401 || wasOnline) return;
  chat?.client.detach();
  openDoor({ code: PRIVATE, message: "This chat is private: its access token is needed." });
}

function atDoor(/** @type {boolean} */ isThere) {
  ui.door.hidden = !isThere;
  ui.chat.hidden = isThere;
}

/**
 * @param {string} nick
 * @param {string | undefined} room
 */
function comeIn(nick, room) {
  chat = new Chat({ nick, room, access: home.get("token") ?? "" }, {
    changed: drawSoon,
    entered,
    edit: ({ text }) => {
      ui.text.value = text;
      keepDraft();
      ui.text.focus();
    },
  });
  const { client } = chat;
  client.on("state", stateChanged);
  client.on("resumed", ({ recovered, missed }) => {
    const all = missed ? "What you missed is here." : "Nothing was missed.";
    back = recovered ? all : "Some messages may be missing.";
  });
  client.on("error", ({ error }) => {
    failure = error;
    if (client.state === "online") notice(error.message);
  });
  client.on("joined", () => lookSoon());
  client.on("left", () => lookSoon());
  stateChanged({ type: "state", state: "connecting" });
  if (room !== undefined && client.room !== room) join(room);
  else route();
}

/** @param {import("../client/client.js").StateEvent} event */
function stateChanged(event) {
  clearInterval(lineTimer);
  if (event.state === "online") cameOnline();
  else if (event.state === "connecting") {
    lineTimer = setTimeout(() => say("Connecting…"), HASTE);
  } else if (event.state === "closed") {
    if (event.reason === "taken-over") say("This chat goes on in another tab.");
  } else if (event.state === "offline") {
    const { retryAt } = event;
    if (!retryAt) return openDoor(refused ?? failure);
    if (!wasOnline) askWhy().catch(() => {});
    const left = () => {
      const seconds = Math.ceil((retryAt - Date.now()) / 1000);
      say("Offline.", `Trying again${seconds > 0 ? ` in ${seconds} s` : "…"}`, "Try now");
    };
    left();
    lineTimer = setInterval(left, 1000);
  }
}

function cameOnline() {
  atDoor(false);
  lookSoon();
  draw();
  if (!wasOnline) focusText();
  // One wanted into a room, and was not let in.
  const isOutside = chat?.client.room === undefined && placeOf(location.hash).room;
  flash(isOutside ? failure?.message ?? "" : wasOnline ? `Back online. ${back}` : "");
  wasOnline = true;
  back = "";
  failure = refused = undefined;
}

/**
 * The state of the connection, for all to see and hear.
 *
 * @param {string} words
 * @param {string} [rest] only to be seen: it changes too often to be heard
 * @param {string} [button]
 */
function say(words, rest = "", button = "") {
  if (!ui.door.hidden) return void (ui.doorError.textContent = `${words} ${rest}`);
  const [line, more, action] = ui.line.children;
  if (line.textContent !== words) line.textContent = words;
  ui.line.className = button && "bad";
  more.textContent = rest;
  action.hidden = !button;
  action.textContent = button;
}

function flash(/** @type {string} */ words) {
  clearInterval(lineTimer);
  say(words);
  lineTimer = setTimeout(() => say(""), SHOWN);
}

/** A line that is for oneself, where one looks. */
function notice(/** @type {string} */ words) {
  const log = chat?.shown;
  if (log) log.note(words);
  else flash(words);
}

/** Goes to a room. */
async function join(/** @type {string} */ room) {
  shown();
  try {
    await chat?.client.join(room);
  } catch (error) {
    const { code, message } = /** @type {import("../client/client.js").ChatError} */ (error);
    if (code === "replaced" || code === "closed") return;
    notice(message);
  }
  // Where one is now, whether that is there or not.
  entered(chat?.client.room);
}

/** One is in a room now, or in none. */
function entered(/** @type {string | undefined} */ room) {
  if (chat?.to === undefined) history.replaceState(null, "", addressOf({ room }));
  shown();
}

/** Follows the address. */
function route() {
  const { room, to } = placeOf(location.hash);
  ui.doorRoom.value = room ?? "lobby";
  if (!chat) return;
  chat.to = to;
  if (room !== undefined && room !== chat.client.room) join(room);
  else entered(chat.client.room);
  if (chat.client.state === "online") focusText();
}

function go(/** @type {import("./lists.js").Where} */ where) {
  location.hash = addressOf(where);
}

/** Something else is shown: what was typed and not sent stays with its conversation. */
function shown() {
  closeLists();
  const where = addressOf(chat ?? {});
  if (where !== drafted) ui.text.value = tab.get(`draft.${where}`) ?? "";
  drafted = where;
  drawSoon();
}

function keepDraft() {
  tab.set(`draft.${drafted}`, ui.text.value);
}

function closeLists() {
  for (const list of document.querySelectorAll(":popover-open")) {
    /** @type {HTMLElement} */ (list).hidePopover();
  }
}

/** Where no keyboard pops up when one does that. */
function focusText() {
  if (!matchMedia("(pointer: coarse)").matches) ui.text.focus();
}

function drawSoon() {
  drawing ??= setTimeout(draw, TOGETHER);
}

function draw() {
  clearTimeout(drawing);
  drawing = undefined;
  if (!chat) return;
  const { client, room, to, logs, shown: log } = chat;
  for (const each of logs) {
    if (each.element.hidden !== (each === log)) continue;
    each.element.hidden = each !== log;
    each.look();
  }
  if (home.get("nick") !== client.nick) home.set("nick", client.nick);
  if (ui.me.lastChild?.textContent !== client.nick) {
    ui.me.replaceChildren(face(client.nick), name(client.nick));
  }
  const isRoom = to === undefined && room !== undefined;
  ui.title.replaceChildren(name(to ?? room ?? "Parley"));
  ui.title.className = isRoom ? "room" : "";
  const { length } = chat.members;
  const people = `${length} ${length === 1 ? "person" : "people"}`;
  ui.openPeople.textContent = people;
  ui.peopleTitle.textContent = `${people} here`;
  ui.openPeople.hidden = ui.people.hidden = !isRoom;
  ui.composer.hidden = !log;
  ui.text.placeholder = `Write to ${to ?? `#${room}`}`;
  if (members !== chat.members) showMembers(ui.members, members = chat.members, client.nick);
  drawPlaces(chat);
  drawEmpty(chat);
  const unread = logs.reduce((sum, { unread }) => sum + unread, 0);
  ui.elsewhere.textContent = unread - (log?.unread ?? 0) || "";
  document.title = `${unread ? `(${unread}) ` : ""}${log ? `${to ?? `#${room}`} · ` : ""}Parley`;
}

function drawPlaces(/** @type {Chat} */ { room, log, members, directs, shown }) {
  /** @type {(import("./lists.js").Place & { room: string })[]} */
  const places = rooms.filter((each) => each.room !== room);
  if (room !== undefined) {
    places.push({ room, people: members.length, unread: log?.unread, current: log === shown });
  }
  showPlaces(ui.rooms, places.sort((a, b) => a.room.localeCompare(b.room)));
  showPlaces(
    ui.directs,
    [...directs].map(([to, log]) => ({ to, unread: log.unread, current: log === shown })),
  );
}

/** What is there to see where there is nothing to read. */
function drawEmpty(/** @type {Chat} */ { client, room, to, members, shown }) {
  const isAlone = members.length < 2;
  const [title, hint] = to !== undefined
    ? [`You and ${to}`, "Only the two of you are shown this. The server keeps it for three hours."]
    : room === undefined
    ? client.state === "online"
      ? ["No room yet", "Choose a room, or open one by its name."]
      : ["Just a moment", ""]
    : isAlone
    ? ["Nobody else is here yet", "Share the address of this room:"]
    : ["Nothing has been said here yet", "Say hello."];
  const [strong, p] = ui.empty.children;
  strong.textContent = title;
  p.textContent = hint;
  ui.empty.hidden = shown?.isEmpty === false;
  ui.share.hidden = to !== undefined || room === undefined || !isAlone;
  ui.address.textContent = readable(location.href);
}

/** Looks at the rooms, unless nobody looks at the page. */
async function look() {
  lookSoon(LOOK);
  if (document.hidden || chat?.client.state !== "online") return;
  rooms = await chat.client.rooms().catch(() => rooms);
  drawSoon();
}

function lookSoon(ms = SOON) {
  clearTimeout(looking);
  looking = setTimeout(look, ms);
}

/** Sends what stands in the text. */
function send() {
  const typed = ui.text.value.trimEnd();
  if (!chat || !typed) return;
  const { client, to, log } = chat;
  const say = chat.say.bind(chat);
  if (/^\s*\//.test(typed)) {
    command(typed.trim(), {
      client,
      note: notice,
      join: (room) => go({ room }),
      act: (text) => to === undefined ? say("action", text) : notice("That is for rooms."),
      tell: (nick, text) => {
        say("message", text, nick);
        go({ to: nick });
      },
      older: (limit) => void log?.load(false, limit),
    });
  } else say("message", typed, to);
  ui.text.value = "";
  keepDraft();
}

/** @param {HTMLFormElement} form @param {() => void} submit */
function onSubmit(form, submit) {
  form.onsubmit = (event) => {
    event.preventDefault();
    closeLists();
    submit();
  };
}

function listen() {
  onSubmit(ui.door.firstElementChild, () => {
    const nick = ui.doorNick.value;
    const room = ui.doorRoom.value.trim().normalize("NFC") || undefined;
    const secret = ui.doorSecret.hidden ? "" : ui.doorWord.value;
    ui.doorError.textContent = ui.doorWord.value = "";
    if (!chat) return comeIn(nick, room);
    const { client } = chat;
    if (client.state === "closed") {
      home.set("token", secret);
      home.set("nick", nick);
      location.hash = addressOf({ room });
      return location.reload();
    }
    refused = undefined;
    (secret ? client.identify(nick, secret) : client.rename(nick)).then(() => {
      atDoor(false);
      drawSoon();
    }, (error) => openDoor(refused = error));
  });
  onSubmit(ui.join, () => {
    go({ room: ui.joinRoom.value.trim() });
    ui.joinRoom.value = "";
  });
  ui.me.onclick = () => openDoor();
  onSubmit(ui.composer, () => {
    send();
    ui.text.focus();
  });
  ui.line.lastElementChild.onclick = () => chat?.client.retryNow();
  ui.share.lastElementChild.onclick = () => {
    getSelection()?.selectAllChildren(ui.address);
    document.execCommand("copy");
  };
  ui.text.oninput = keepDraft;
  ui.text.onkeydown = (/** @type {KeyboardEvent} */ event) => {
    // Enter that ends the writing of a word in another script sends nothing.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  };
}

function listenOutside() {
  const look = () => {
    chat?.shown?.look();
    if (document.hidden) return;
    chat?.client.retryNow();
    lookSoon();
  };
  addEventListener("hashchange", route);
  addEventListener("online", look);
  addEventListener("visibilitychange", look);
  addEventListener("pagehide", () => {
    home.set("left", { at: Date.now(), session: tab.get("session") });
    chat?.client.detach();
  });
  addEventListener("pageshow", ({ persisted }) => persisted && location.reload());
  addEventListener("beforeunload", (event) => {
    if (chat?.logs.some(({ isSending }) => isSending)) event.preventDefault();
  });
  addEventListener("keydown", ({ key }) => {
    if (key === "Escape" && chat) {
      if (chat.client.state === "online") atDoor(false);
      chat.shown?.toEnd();
      ui.text.focus();
    }
  });
}

listen();
listenOutside();
start();
