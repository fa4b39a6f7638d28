// @ts-check
/// <reference lib="dom" />
/**
 * The session that a tab keeps for a reload. A tab that is closed leaves it for the next one, so that a
 * user who closes the only tab and opens another is the same user. A tab whose session goes on in another
 * one can ask for it back.
 */
import { browserStorage, tabStorage } from "./dom.js";

/** Takes the session of a tab that was closed a moment ago, unless this tab has its own. */
export function takeSession() {
  const left = browserStorage.get("left");
  browserStorage.set("left", null);
  if (!tabStorage.get("session") && Date.now() - left?.at < left?.session?.grace * 1000) {
    tabStorage.set("session", left.session);
  }
}

/** Leaves the session for the next tab: this one may be closed, and not only reloaded. */
export function leaveSession() {
  browserStorage.set("left", { at: Date.now(), session: tabStorage.get("session") });
}

/** Forgets the user: somebody else may use this device from now on. */
export function forgetUser() {
  for (const key of ["session", "directs", "ownIds", "mentions"]) tabStorage.set(key, null);
  browserStorage.set("nick", "");
}

/** Milliseconds within which another tab answers. */
const ANSWER_MS = 500;
/** The name under which the tabs of a browser talk to each other. */
const CHANNEL = "parley.session";

/**
 * Gives the session to another tab that had it before, when that one asks for it.
 *
 * @param {() => boolean} giveAway ends the use here, and returns whether this tab had the session
 */
export function shareSession(giveAway) {
  const channel = new BroadcastChannel(CHANNEL);
  // Before the tab can be duplicated.
  const id = tabId();
  channel.onmessage = ({ data }) => {
    if (data !== id || !giveAway()) return;
    channel.postMessage({ session: tabStorage.get("session") });
    tabStorage.set("session", null);
  };
}

/**
 * Asks the tab that has taken the session over for it. Without an answer the next login begins a new one.
 *
 * @returns {Promise<void>}
 */
export function takeSessionBack() {
  const channel = new BroadcastChannel(CHANNEL);
  const { promise, resolve } = Promise.withResolvers();
  channel.onmessage = ({ data }) => {
    if (!data?.session) return;
    tabStorage.set("session", data.session);
    resolve(undefined);
  };
  channel.postMessage(tabId());
  setTimeout(resolve, ANSWER_MS);
  return promise.finally(() => channel.close());
}

/** What a tab and its duplicates have in common, because the browser copies their storage. */
function tabId() {
  const known = tabStorage.get("tab");
  if (known) return known;
  const id = crypto.getRandomValues(new Uint32Array(4)).join("-");
  tabStorage.set("tab", id);
  return id;
}
