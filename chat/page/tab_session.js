// @ts-check
/// <reference lib="dom" />
/**
 * The session that a tab keeps for a reload. A tab that is closed leaves it for the next one, so that a
 * user who closes the only tab and opens another is the same user.
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
