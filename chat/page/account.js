// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * What users do with their nickname: the items of the menu at the own name, and what each asks. Passwords
 * are typed hidden, in fields that the browser's password store knows. It keeps nothing itself.
 */
import { ask, closeButton, show } from "./dialog.js";
import { make, timeOf } from "./dom.js";

/** @import { ChatClient } from "../client/client.js" */
/** @import { Attention } from "./attention.js" */
/** @import { Destination } from "./lists.js" */
/** @import { Field } from "./dialog.js" */
/** @import { MenuItem } from "./menu.js" */

/**
 * What the page does about the account.
 *
 * @typedef {object} AccountActions
 * @property {(text: string) => void} note - shows a line to the user only
 * @property {() => void} signOut - ends the session, and asks for another nickname
 * @property {(destination: Destination) => void} go
 * @property {Attention} attention
 */

/**
 * Returns the items of the menu at the user's own name.
 *
 * @param {ChatClient} client
 * @param {AccountActions} actions
 * @returns {MenuItem[]}
 */
export function accountItems(client, { note, signOut, go, attention }) {
  const { nick, registered } = client;
  /** @type {MenuItem[]} */
  const forGuests = [
    { label: "Register this nickname…", run: () => askForRegistration(client, note) },
    { label: "Sign in…", run: () => askForSignIn(client, note) },
  ];
  /** @type {MenuItem[]} */
  const forRegistered = [
    { label: "Change password…", run: () => askForNewPassword(client, note) },
    { label: "Release this nickname…", run: () => askForRelease(client, note), isDangerous: true },
  ];
  return [
    { label: "Change nickname…", run: () => askForNickname(client) },
    ...registered ? forRegistered : forGuests,
    { label: "Mentions of you", run: () => showMentions(attention, go), isApart: true },
    {
      label: `Turn notifications ${attention.notifies ? "off" : "on"}`,
      run: () => void attention.notify(!attention.notifies),
    },
    {
      label: `Turn sound ${attention.sounds ? "off" : "on"}`,
      run: () => attention.sounds = !attention.sounds,
    },
    { label: registered ? "Sign out" : `Leave as ${nick}`, run: signOut, isApart: true },
  ];
}

/**
 * Shows the latest mentions. A click goes to the place.
 *
 * @param {Attention} attention
 * @param {(destination: Destination) => void} go
 */
function showMentions({ mentions }, go) {
  const items = mentions.map(({ destination, place, nick, text, time }) => {
    const onclick = () => {
      dialog.close();
      go(destination);
    };
    const words = make("span", { dir: "auto" }, `${nick} in #${place}: ${text}`);
    return make("li", {}, make("button.mention", { onclick }, words, timeOf(time)));
  });
  const dialog = show(
    "Mentions of you",
    make(
      "div.record",
      {},
      make("h2", {}, "Mentions of you"),
      items.length ? make("ol", {}, ...items) : make("p", {}, "Nobody has mentioned you yet."),
      make("div.buttons", {}, closeButton("Close")),
    ),
  );
}

/** @param {ChatClient} client */
function askForNickname(client) {
  const text = client.registered ? "With another nickname you are no longer signed in." : "";
  ask({
    title: "Change nickname",
    text,
    action: "Change",
    fields: {
      nick: { label: "Nickname", kind: "text", value: client.nick, isRequired: true },
    },
    submit: ({ nick = "" }) => client.rename(nick),
  });
}

/**
 * @param {ChatClient} client
 * @param {(text: string) => void} note
 */
function askForRegistration(client, note) {
  const { nick } = client;
  ask({
    title: `Register ${nick}`,
    text: "Nobody else can use the nickname then. Without the password it cannot be got back.",
    action: "Register",
    fields: { nick: own(nick), password: newPassword("Password") },
    async submit({ password = "" }) {
      await client.register(password);
      note(`${client.nick} is registered. You'll need the password next time.`);
    },
  });
}

/**
 * @param {ChatClient} client
 * @param {(text: string) => void} note
 */
function askForSignIn(client, note) {
  ask({
    title: "Sign in to a registered nickname",
    action: "Sign in",
    fields: { nick: { ...own(client.nick), isFixed: false }, password: password("Password") },
    async submit({ nick = "", password = "" }) {
      await client.identify(nick, password);
      note(`You are signed in as ${client.nick}.`);
    },
  });
}

/**
 * @param {ChatClient} client
 * @param {(text: string) => void} note
 */
function askForNewPassword(client, note) {
  ask({
    title: `Change the password of ${client.nick}`,
    text: "Your sessions on other devices end.",
    action: "Change",
    fields: {
      nick: own(client.nick),
      before: password("Present password"),
      after: newPassword("New password"),
    },
    async submit({ before = "", after = "" }) {
      await client.changePassword(before, after);
      note("Password changed.");
    },
  });
}

/**
 * @param {ChatClient} client
 * @param {(text: string) => void} note
 */
function askForRelease(client, note) {
  const { nick } = client;
  ask({
    title: `Release ${nick}?`,
    text: "Anyone can use and register it then. This cannot be undone.",
    action: "Release",
    fields: { nick: own(nick), password: password("Password") },
    async submit({ password = "" }) {
      await client.unregister(password);
      note(`${nick} is no longer registered.`);
    },
  });
}

/** The nickname, by which the password store finds the password. @param {string} nick @returns {Field} */
function own(nick) {
  return {
    label: "Nickname",
    kind: "text",
    value: nick,
    isRequired: true,
    isFixed: true,
    autocomplete: "username",
  };
}

/** @param {string} label @returns {Field} */
function password(label) {
  return { label, kind: "password", isRequired: true, autocomplete: "current-password" };
}

/** @param {string} label @returns {Field} */
function newPassword(label) {
  return { label, kind: "password", isRequired: true, autocomplete: "new-password" };
}
