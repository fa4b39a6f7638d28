// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/** The record of moderation as a list, newest first, by pages. It changes nothing. */
import { predicateOf } from "./acts.js";
import { closeButton, show } from "./dialog.js";
import { linkify, make, nickname } from "./dom.js";

/** @import { ActEvent, ChatError, ModlogQuery, ModlogReply } from "../client/client.js" */

/** Acts that are loaded at once. */
const PAGE_SIZE = 50;

const DATE_AND_TIME = new Intl.DateTimeFormat([], { dateStyle: "medium", timeStyle: "short" });

/**
 * Shows the record.
 *
 * @param {(query: ModlogQuery) => Promise<ModlogReply>} load
 * @param {string} [room] absent: the whole chat
 */
export function showRecord(load, room) {
  const title = room === undefined ? "Record of the whole chat" : `Record of "${room}"`;
  const list = make("ol", { tabIndex: 0, ariaLabel: title });
  const hint = make("p", { role: "status" });
  /** @type {string | undefined} */
  let before;
  const loadMore = async () => {
    older.hidden = true;
    hint.textContent = "Loading…";
    try {
      const { events, more } = await load({ before, limit: PAGE_SIZE });
      before = events[0]?.id ?? before;
      list.append(...events.toReversed().map(draw));
      older.hidden = !more;
      hint.textContent = list.childElementCount > 0 ? "" : "Nothing has been recorded here yet.";
    } catch (error) {
      hint.textContent = /** @type {ChatError} */ (error).message;
      older.hidden = false;
    }
  };
  const older = make("button", { type: "button", onclick: loadMore, hidden: true }, "Show older");
  const buttons = make("div.buttons", {}, older, closeButton("Close"));
  show(title, make("section.record", {}, make("h2", {}, title), list, hint, buttons));
  loadMore();
}

/** @param {ActEvent} event */
function draw(event) {
  const time = make("small", {}, DATE_AND_TIME.format(event.time));
  const words = linkify(` ${predicateOf(event, { namesRoom: true })}`);
  return make("li", { dir: "auto" }, time, " ", nickname(event.nick), ...words);
}
