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
import { byId, count, Kept, make } from "./dom.js";
import { addressOf, placeOf, showMembers, showPlaces } from "./lists.js";

/** Milliseconds between two looks at the rooms, and after something that may have changed them. */
const LOOK = 8_000;
const SOON = 400;
/** Milliseconds for which "back" is shown; before which "connecting" is not. */
const SHOWN = 5_000;
const HASTE = 600;
/** Rooms that are remembered. */
const MOST_RECENT = 8;

const tab = new Kept("sessionStorage");
const home = new Kept("localStorage");
const text = /** @type {HTMLTextAreaElement} */ (byId("text"));

/** @type {Chat | undefined} */
let chat;
/** The rooms with somebody in them. @type {{ room: string, people: number }[]} */
let rooms = [];
/** With whom one talks alone. @type {string | undefined} */
let direct;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let looking;
let drawing = false;
/** Where the draft belongs that stands in the text. */
let drafted = "";

function start() {
  // Who closed the tab a moment ago takes their place in the next one.
  const left = home.get("left");
  home.set("left", null);
  if (left?.session && !tab.get("session") && Date.now() - left.at < left.session.grace * 1000) {
    tab.set("session", left.session);
  }
  const nick = home.get("nick");
  const { room } = placeOf(location.hash);
  byId("door-nick").value = nick ?? "";
  byId("door-room").value = room ?? "lobby";
  if (typeof nick === "string" || tab.get("session")) comeIn(nick ?? "", room);
  else openDoor("");
}

/** Asks for a nickname. */
function openDoor(/** @type {string} */ error) {
  byId("door").hidden = false;
  byId("chat").hidden = true;
  byId("door-where").hidden = chat !== undefined;
  byId("door-error").textContent = error;
  byId("door-nick").setAttribute("aria-invalid", String(error !== ""));
  byId("door-nick").focus();
}

/**
 * @param {string} nick
 * @param {string | undefined} room
 */
function comeIn(nick, room) {
  const made = chat = new Chat({ nick, room }, {
    logs: byId("logs"),
    changed: drawSoon,
    entered,
    edit: (entry) => {
      text.value = entry.text;
      keepDraft();
      text.focus();
    },
    came: (nick) => {
      if (direct !== undefined && !made.directs.has(direct)) {
        location.replace(addressOf({ direct: nick }));
      }
    },
  });
  const { client } = made;
  client.on("state", stateChanged);
  client.on("resumed", ({ recovered, missed }) => {
    const many = missed > 0
      ? `${count(missed, "thing")} happened meanwhile, all are here.`
      : "Nothing was missed.";
    back = recovered ? `Back online. ${many}` : "Back online. Some messages may be missing.";
  });
  client.on("error", ({ error }) => {
    failure = error.message;
    if (client.state === "online") notice(failure);
  });
  client.on("nick", ({ to }) => to === client.nick && named());
  for (const type of /** @type {const} */ (["joined", "left", "nick"])) client.on(type, lookSoon);
  byId("chat").hidden = !byId("door").hidden;
  stateChanged({ type: "state", state: "connecting" });
  if (room !== undefined && client.room !== room) join(room);
  else route();
  drawSoon();
}

/** Remembers the nickname. */
function named() {
  if (!chat) return;
  home.set("nick", chat.client.nick);
  if (document.activeElement !== byId("me-nick")) byId("me-nick").value = chat.client.nick;
  drawSoon();
}

/** What is said about coming back. */
let back = "";
/** What went wrong last. */
let failure = "";
let wasOnline = false;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let lineTimer;

/** @param {import("../client.js").StateEvent} event */
function stateChanged(event) {
  clearInterval(lineTimer);
  if (event.state === "online") cameOnline();
  else if (event.state === "connecting") {
    const connecting = () => say("Connecting…", "");
    if (wasOnline) connecting();
    else lineTimer = setTimeout(connecting, HASTE);
  } else if (event.state === "closed") {
    if (event.reason === "taken-over") {
      say("This chat goes on in another tab.", "bad", "", "Go on here");
    }
  } else if (event.state === "offline") wentOffline(event.retryAt);
}

/** @param {number | undefined} retryAt - None: the nickname was refused */
function wentOffline(retryAt) {
  if (retryAt === undefined) return openDoor(failure || "This nickname cannot be used.");
  const left = () => {
    const seconds = Math.ceil((retryAt - Date.now()) / 1000);
    say("Offline.", "bad", `Trying again${seconds > 0 ? ` in ${seconds} s.` : "…"}`, "Try now");
  };
  left();
  lineTimer = setInterval(left, 1000);
}

function cameOnline() {
  byId("door").hidden = true;
  byId("chat").hidden = false;
  named();
  lookSoon();
  if (!wasOnline && chat) {
    draw(chat);
    focusText();
  }
  say(wasOnline ? back || "Back online." : "", "good");
  lineTimer = setTimeout(() => say("", ""), SHOWN);
  wasOnline = true;
  back = "";
}

/**
 * The state of the connection, for all to see and hear.
 *
 * @param {string} words
 * @param {string} look
 * @param {string} [rest] only to be seen: it changes too often to be heard
 * @param {string} [button]
 */
function say(words, look, rest = "", button) {
  if (!byId("door").hidden) {
    return void (byId("door-error").textContent = `${words} ${button ? "Trying again…" : ""}`
      .trim());
  }
  const [line, more, action] = byId("line").children;
  if (line.textContent !== words) line.textContent = words;
  byId("line").className = words === "" ? "" : `shown ${look}`;
  more.textContent = rest;
  action.hidden = button === undefined;
  action.textContent = button ?? "";
}

/** A line that is for oneself, where one looks. */
function notice(/** @type {string} */ words) {
  const log = shownLog();
  if (log) log.note(words);
  else {
    clearInterval(lineTimer);
    say(words, "bad");
    lineTimer = setTimeout(() => say("", ""), SHOWN);
  }
}

function shownLog() {
  return direct === undefined ? chat?.log : chat?.direct(direct);
}

/** Goes to a room. */
async function join(/** @type {string} */ room) {
  leaveDirect();
  try {
    await chat?.client.join(room);
  } catch (error) {
    const { code, message } = /** @type {import("../client.js").ChatError} */ (error);
    if (code !== "replaced" && code !== "closed") notice(message);
  }
  // Where one is now, whether that is there or not.
  if (chat?.client.state === "online") entered(chat.client.room);
}

function leaveDirect() {
  direct = undefined;
  drawSoon();
}

/** One is in a room now, or in none. */
function entered(/** @type {string | undefined} */ room) {
  if (room !== undefined) {
    const recent = /** @type {string[]} */ (home.get("rooms") ?? []);
    home.set("rooms", [room, ...recent.filter((each) => each !== room)].slice(0, MOST_RECENT));
  }
  if (direct === undefined && placeOf(location.hash).room !== room) {
    history.replaceState(null, "", addressOf({ room }));
  }
  closeDrawer();
  swapDraft();
  drawSoon();
}

/** Follows the address. */
function route() {
  const place = placeOf(location.hash);
  closeDrawer();
  if (!chat) return void (byId("door-room").value = place.room ?? "lobby");
  direct = place.direct;
  if (direct !== undefined) chat.direct(direct);
  else if (place.room !== undefined && place.room !== chat.client.room) join(place.room);
  else if (place.room === undefined && chat.client.room !== undefined) {
    history.replaceState(null, "", addressOf({ room: chat.client.room }));
  }
  swapDraft();
  drawSoon();
  if (chat.client.state === "online") focusText();
}

/** Where nothing pops up when one does that. */
function focusText() {
  if (!matchMedia("(pointer: coarse)").matches) text.focus({ preventScroll: true });
}

/** What was typed and not sent stays with its conversation. */
function swapDraft() {
  const where = direct === undefined && chat?.room === undefined
    ? ""
    : addressOf({ room: chat?.room, direct });
  if (where === drafted) return;
  drafted = where;
  text.value = where ? tab.get(`draft.${where}`) ?? "" : "";
}

function keepDraft() {
  if (drafted) tab.set(`draft.${drafted}`, text.value || null);
}

/** Draws once for all that happens together. */
function drawSoon() {
  if (drawing) return;
  drawing = true;
  queueMicrotask(() => {
    drawing = false;
    if (chat) draw(chat);
  });
}

function draw(/** @type {Chat} */ chat) {
  const { client, room, members } = chat;
  const log = shownLog();
  for (const each of [chat.log, ...chat.directs.values()]) {
    if (each && each.element.hidden === (each === log)) each.show(each === log);
  }
  const here = room !== undefined && direct === undefined;
  byId("title").replaceChildren(
    make("bdi", {}, direct ?? room ?? (client.state === "online" ? "No room" : "Parley")),
  );
  byId("title").className = here ? "room" : "";
  byId("subtitle").textContent = direct !== undefined
    ? "Only the two of you see this"
    : here
    ? count(members.length, "person")
    : client.state === "online"
    ? "Choose one, or open your own"
    : "";
  byId("people-count").textContent = String(members.length);
  byId("open-people").hidden = !here;
  byId("people").hidden = !here;
  byId("composer").hidden = log === undefined;
  text.placeholder = direct !== undefined ? `Write to ${direct}` : `Write to #${room}`;
  showMembers(byId("members"), members, client.nick);
  drawPlaces(chat);
  drawEmpty(chat);
  const { unread } = chat;
  const where = direct ?? (room === undefined ? "" : `#${room}`);
  document.title = `${unread > 0 ? `(${unread}) ` : ""}${where ? `${where} · ` : ""}Parley`;
}

function drawPlaces(/** @type {Chat} */ { room, log, members, directs }) {
  const people = new Map(rooms.map(({ room, people }) => [room, people]));
  for (const recent of home.get("rooms") ?? []) if (!people.has(recent)) people.set(recent, 0);
  if (room !== undefined) people.set(room, members.length);
  const places = [...people].map(([name, people]) => ({
    ...{ room: name, people, unread: name === room ? log?.unread ?? 0 : 0 },
    current: name === room && direct === undefined,
  }));
  places.sort((a, b) => a.room.localeCompare(b.room));
  showPlaces(byId("rooms"), places);
  byId("directs-title").hidden = directs.size === 0;
  const talks = [...directs].map(([nick, { unread }]) => (
    { direct: nick, unread, current: nick === direct }
  ));
  showPlaces(byId("directs"), talks);
  let elsewhere = 0;
  for (const { unread, current } of [...places, ...talks]) if (!current) elsewhere += unread;
  byId("elsewhere").hidden = elsewhere === 0;
  byId("elsewhere").textContent = String(elsewhere);
}

/** What is there to see where there is nothing to read. */
function drawEmpty(/** @type {Chat} */ { log, room, members, directs, client }) {
  const none = byId("none") ?? make("div", { className: "empty", id: "none" });
  if (room === undefined && direct === undefined) {
    const [title, hint] = client.state === "online"
      ? ["No room yet", "Choose a room on the left, or open one by its name."]
      : ["Just a moment", ""];
    none.replaceChildren(make("strong", {}, title), make("p", {}, hint));
    if (client.state === "online") {
      none.append(
        make("button", { className: "main", onclick: () => openDrawer("places") }, "Rooms"),
      );
    }
    byId("logs").prepend(none);
  } else none.remove();
  if (log) {
    const alone = members.length < 2;
    const title = alone ? "Nobody else is here yet" : "Nothing has been said here yet";
    const hint = alone ? "Share the address of this room:" : "Say hello.";
    setEmpty(log, title, hint, alone);
  }
  for (const [nick, log] of directs) {
    setEmpty(
      log,
      `You and ${nick}`,
      "What you write here is seen by the two of you, and kept in this tab.",
      false,
    );
  }
}

/**
 * @param {import("./log.js").Log} log
 * @param {string} title
 * @param {string} hint
 * @param {boolean} share
 */
function setEmpty(log, title, hint, share) {
  const wanted = log.isEmpty ? title : "";
  log.empty.hidden = !log.isEmpty;
  if (log.empty.firstChild?.textContent === wanted) return;
  if (!wanted) return log.empty.replaceChildren();
  log.empty.replaceChildren(make("strong", {}, title), make("p", {}, hint));
  if (!share) return;
  const copy = make("button", { type: "button" }, "Copy");
  copy.onclick = async () => {
    try {
      await navigator.clipboard.writeText(location.href);
      copy.textContent = "Copied";
    } catch {
      getSelection()?.selectAllChildren(address);
    }
  };
  const address = make("code", { dir: "ltr" }, decodeURI(location.href));
  log.empty.append(make("p", { className: "share" }, address, copy));
}

/** Looks at the rooms, unless nobody looks at the page. */
async function look() {
  clearTimeout(looking);
  looking = setTimeout(look, LOOK);
  if (chat?.client.state !== "online" || document.visibilityState !== "visible") return;
  try {
    rooms = await chat.client.rooms();
    drawSoon();
  } catch {
    // At the next look.
  }
}

function lookSoon() {
  clearTimeout(looking);
  looking = setTimeout(look, SOON);
}

/** Sends what stands in the text. */
function send() {
  const typed = text.value;
  if (typed.trim() === "" || !chat) return;
  const to = direct;
  const done = command(typed.trim(), {
    client: chat.client,
    note: notice,
    join,
    act: (words) => {
      if (to !== undefined) location.hash = addressOf({ room: chat?.room });
      if (chat?.room === undefined) notice("Cannot send message if not in chatroom.");
      else chat.say("action", words);
    },
    tell: (nick, words) => {
      chat?.say("message", words, nick);
      location.hash = addressOf({ direct: nick });
    },
    older: (limit) => chat?.log?.older(limit),
  });
  if (!done) chat.say("message", typed.replace(/\s+$/, ""), to);
  text.value = "";
  keepDraft();
}

/** Shows a list that a small screen has no room for. */
function openDrawer(/** @type {"places" | "people"} */ which) {
  document.body.dataset.drawer = which;
  byId("talk").inert = true;
  byId(`open-${which}`).setAttribute("aria-expanded", "true");
  (byId(which).querySelector("li a") ?? byId(which).querySelector("input"))?.focus();
}

function closeDrawer() {
  const which = document.body.dataset.drawer;
  if (!which) return;
  delete document.body.dataset.drawer;
  byId("talk").inert = false;
  byId(`open-${which}`).setAttribute("aria-expanded", "false");
  byId(`open-${which}`).focus();
}

/** The next conversation in the lists, or the one before. */
function step(/** @type {number} */ by) {
  const links = [...document.querySelectorAll("#rooms a, #directs a")];
  const at = links.findIndex((link) => link.hasAttribute("aria-current"));
  const next = links[(at + by + links.length) % links.length];
  if (next instanceof HTMLAnchorElement) next.click();
}

function listen() {
  byId("door").querySelector("form").onsubmit = (/** @type {Event} */ event) => {
    event.preventDefault();
    const nick = byId("door-nick").value;
    byId("door-error").textContent = "";
    if (chat) chat.client.rename(nick).catch(({ message }) => openDoor(message));
    else comeIn(nick, byId("door-room").value.trim().normalize("NFC") || undefined);
  };
  byId("join").onsubmit = (/** @type {Event} */ event) => {
    event.preventDefault();
    const room = byId("join-room").value.trim();
    byId("join-room").value = "";
    if (room) location.hash = addressOf({ room });
    closeDrawer();
  };
  byId("me").onsubmit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    try {
      await chat?.client.rename(byId("me-nick").value);
      byId("me-nick").blur();
    } catch (error) {
      notice(/** @type {Error} */ (error).message);
      byId("me-nick").value = chat?.client.nick;
    }
    named();
    closeDrawer();
  };
  byId("composer").onsubmit = (/** @type {Event} */ event) => {
    event.preventDefault();
    send();
    text.focus();
  };
  byId("line").querySelector("button").onclick = () => {
    if (chat?.client.state === "closed") location.reload();
    else chat?.client.retryNow();
  };
  byId("open-places").onclick = () => openDrawer("places");
  byId("open-people").onclick = () => openDrawer("people");
  byId("veil").onclick = closeDrawer;
  text.oninput = keepDraft;
  text.onkeydown = (event) => {
    // Enter that ends the writing of a word in another script sends nothing.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  };
}

function listenOutside() {
  addEventListener("hashchange", route);
  addEventListener("online", () => chat?.client.retryNow());
  addEventListener("pagehide", () => {
    home.set("left", { at: Date.now(), session: tab.get("session") });
    chat?.client.detach();
  });
  addEventListener("pageshow", ({ persisted }) => persisted && location.reload());
  addEventListener("focus", () => shownLog()?.look());
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState !== "visible") return;
    chat?.client.retryNow();
    shownLog()?.look();
    lookSoon();
  });
  addEventListener("beforeunload", (event) => {
    if (chat?.isSending) event.preventDefault();
  });
  addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      if (document.body.dataset.drawer) closeDrawer();
      else if (chat) {
        shownLog()?.toEnd();
        text.focus();
      }
    } else if (event.altKey && (event.key === "ArrowUp" || event.key === "ArrowDown")) {
      event.preventDefault();
      step(event.key === "ArrowUp" ? -1 : 1);
    }
  });
}

listen();
listenOutside();
start();
