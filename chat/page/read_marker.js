// @ts-check
/**
 * What the user has read of a conversation, and how many messages of others are unread.
 *
 * It counts only. Whether the user sees a message is the log's to decide (log.js), and who is told of it
 * is the conversation's (conversation.js).
 */

/** The read marker of a conversation. IDs grow, compared as strings. */
export class ReadMarker {
  /** The ID of the newest message that is read; empty if unknown. */
  id = "";
  /** Whether the server has counted the messages that arrive now: they were said before its welcome. */
  isCatchingUp = false;
  /** The ID of the newest message of another user. */
  #newest = "";
  /** Unread messages that the server counted and that are not here. */
  #elsewhere = 0;
  /** The IDs of the unread messages that are here. @type {Set<string>} */
  #here = new Set();

  /** The number of unread messages. */
  get unread() {
    return this.#elsewhere + this.#here.size;
  }

  /** Whether a message that arrived is unread. */
  get hasUnreadHere() {
    return this.#here.size > 0;
  }

  /**
   * Takes over what the server says after a login.
   *
   * @param {string | undefined} read
   * @param {number | undefined} unread absent: the server does not know
   */
  restore(read, unread) {
    this.advance(read ?? "");
    if (unread === undefined) return;
    this.#elsewhere = Math.max(0, unread - this.#here.size);
  }

  /** Counts unread messages that arrived before the page was loaded. */
  addBefore(/** @type {number} */ unread) {
    this.#elsewhere += unread;
  }

  /** Counts a message of another user that has arrived. */
  add(/** @type {string} */ id) {
    if (id > this.#newest) this.#newest = id;
    if (id <= this.id) return;
    if (this.isCatchingUp && this.#elsewhere > 0) this.#elsewhere--;
    this.#here.add(id);
  }

  /**
   * Notes a page of history: messages that the server counted are here now.
   *
   * @param {string[]} ids of the messages of others, newest first
   * @param {boolean} hasOlder whether the server has older messages
   */
  addPage(ids, hasOlder) {
    for (const id of ids) {
      if (id > this.#newest) this.#newest = id;
      if (this.#elsewhere === 0 || id <= this.id) continue;
      this.#elsewhere--;
      this.#here.add(id);
    }
    if (!hasOlder || ids.some((id) => id <= this.id)) this.#elsewhere = 0;
  }

  /** Counts a deleted message no more. */
  remove(/** @type {string} */ id) {
    this.#here.delete(id);
  }

  /** Notes that all messages up to an ID are read. */
  advance(/** @type {string} */ id) {
    if (id <= this.id) return;
    this.id = id;
    this.#elsewhere = 0;
    for (const each of this.#here) if (each <= id) this.#here.delete(each);
  }

  /** Notes that all messages are read. */
  readAll() {
    this.advance(this.#newest);
    this.#elsewhere = 0;
    this.#here.clear();
  }
}
