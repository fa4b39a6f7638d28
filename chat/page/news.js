// @ts-check
/// <reference lib="dom" />
/**
 * Has screen readers read out what happens in a conversation. They read nothing of its log by themselves:
 * older history that is loaded is not news.
 */
import { make } from "./dom.js";

/** @import { Entry } from "./entry.js" */

/** Entries that are read out within so many milliseconds: in a lively room not all. */
const MAX_NEWS = 10, NEWS_MS = 5_000;

/** The news of a conversation. */
export class News {
  element = make("div.unseen news", { ariaLive: "polite" });

  /** Reads out what another user has said or done, but not who came and went. */
  tell(/** @type {Entry} */ { type, nick, text, own }) {
    if (own || type === "membership" || this.element.childElementCount >= MAX_NEWS) return;
    const line = make("p", {}, nick && nick + (type === "message" ? ": " : " "), text);
    this.element.append(line);
    setTimeout(() => line.remove(), NEWS_MS);
  }

  /** Forgets what is not read out yet, if it may be a message that was deleted. */
  changed(/** @type {Partial<Entry>} */ { deleted }) {
    if (deleted !== undefined) this.element.replaceChildren();
  }
}
