// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * What the user can do to other users, their messages and a room: the items of the menus, and acting.
 *
 * The server decides what is allowed. The page offers what it probably allows, and shows why it refused.
 */
import { ACTS, predicateOf } from "./acts.js";
import { ask } from "./dialog.js";
import { questionOf } from "./questions.js";
import { showRecord } from "./record.js";

/** @import { ActName, ChatError, Room, User, UserTarget } from "../client/client.js" */
/** @import { ActWords } from "./act_words.js" */
/** @import { Chat } from "./chat.js" */
/** @import { Entry } from "./entry.js" */
/** @import { Destination } from "./lists.js" */
/** @import { MenuItem } from "./menu.js" */

/** What an act is about, besides its words: a user or a message. @typedef {{ user?: string }} Subject */
/**
 * What menus do besides acting.
 *
 * @typedef {object} ModerationActions
 * @property {(destination: Destination) => void} go
 * @property {(text: string) => void} note - shows a line to the user only
 * @property {(error: ChatError) => void} fail
 */

/** What the user of a chat can do to others. */
export class Moderation {
  #chat;
  #actions;

  /**
   * @param {Chat} chat
   * @param {ModerationActions} actions
   */
  constructor(chat, actions) {
    this.#chat = chat;
    this.#actions = actions;
  }

  /**
   * Acts in a room, or without one on the whole chat. If no event will say so, tells the user.
   *
   * @param {ActName} name
   * @param {Room | undefined} room
   * @param {ActWords & Subject} words
   * @param {string} [nick] of the user concerned
   * @throws {ChatError}
   */
  async act(name, room, words, nick = words.nick) {
    const { client } = this.#chat;
    const fields = /** @type {never} */ (words);
    // The names of acts and their fields belong together by ACTS.
    if (room) await room.act(/** @type {"report"} */ (name), fields);
    else await client.act(/** @type {"report"} */ (name), fields);
    if (name !== "invite" && name !== "report") return;
    const on = nick === undefined ? undefined : { user: "", nick };
    const told = { act: name, room: room?.name, on, time: 0, reason: words.reason };
    this.#actions.note(`You ${predicateOf(told)}.`);
  }

  /**
   * Ignores a user, or no longer, and says so.
   *
   * @param {UserTarget} target
   * @param {boolean} isIgnored
   * @throws {ChatError}
   */
  async ignore(target, isIgnored) {
    const { ignored } = this.#chat;
    const nick = isIgnored ? await ignored.add(target) : await ignored.remove(target);
    this.#actions.note(isIgnored ? `You ignore ${nick} now.` : `You no longer ignore ${nick}.`);
  }

  /**
   * Returns the items of the menu of a user in the conversation that is shown, or of the message that the
   * user wrote there.
   *
   * @param {User} user
   * @param {Entry} [message]
   * @returns {MenuItem[]}
   */
  userItems({ user, nick, registered }, message) {
    const room = this.#chat.shownRoom;
    const isIgnored = this.#chat.ignored.users.has(user);
    const ask = (/** @type {ActName} */ name) => () => this.#askAbout(name, { user, nick });
    /** @type {MenuItem[]} */
    const items = [
      { label: "Send a direct message", run: () => this.#actions.go({ user }) },
      {
        label: isIgnored ? "Stop ignoring" : "Ignore",
        run: () => this.#try(this.ignore({ user }, !isIgnored)),
      },
      { label: "Report…", run: ask("report") },
    ];
    const { role, private: isPrivate, locked } = room?.channel.state ?? {};
    if (!room || !role) return items;
    const act = (/** @type {ActName} */ name) => () =>
      this.#try(this.act(name, room.channel, { user }, nick));
    const id = message?.id;
    if (id) {
      const run = () => this.#askAboutMessage(room.channel, id, nick);
      items.push({ label: "Delete message…", run, isDangerous: true, isApart: true });
    }
    items.push({
      label: "Delete last messages…",
      run: ask("purge"),
      isDangerous: true,
      isApart: !id,
    });
    if (room.members.some((each) => each.user === user)) {
      items.push({ label: "Kick…", run: ask("kick"), isApart: true });
    }
    items.push(
      { label: "Ban…", run: ask("ban"), isDangerous: true },
      { label: "Mute…", run: ask("mute") },
      { label: "Unmute", run: act("unmute") },
    );
    if (isPrivate || locked) items.push({ label: "Invite", run: act("invite") });
    if (registered) {
      items.push(
        { label: "Make moderator", run: act("mod"), isApart: true },
        { label: "Remove as moderator", run: act("unmod") },
      );
    }
    return items;
  }

  /** Returns the items of the menu of the room that is shown: none for users who may do nothing. */
  roomItems() {
    const { shownRoom, client } = this.#chat;
    /** @type {MenuItem[]} */
    const items = [];
    const { channel: room } = shownRoom ?? {};
    const { role, locked, private: isPrivate, topic = "", slow = 0 } = room?.state ?? {};
    if (!room || !role) return items;
    const act = (/** @type {ActName} */ name) => () => this.#try(this.act(name, room, {}));
    const ask = (/** @type {ActName} */ name, values = {}) => () =>
      this.#askAbout(name, undefined, values);
    items.push(
      { label: "Topic…", run: ask("topic", { text: topic }) },
      { label: "Slow mode…", run: ask("slow", { seconds: String(slow) }) },
      locked
        ? { label: "Unlock", run: act("unlock") }
        : { label: "Lock: registered users only", run: act("lock") },
      isPrivate
        ? { label: "Make public", run: act("public") }
        : { label: "Make private: invited users only", run: act("private") },
      { label: "Mute everyone…", run: ask("mute"), isApart: true },
      { label: "Unmute everyone", run: act("unmute") },
      { label: "Invite…", run: ask("invite"), isApart: true },
      { label: "Unban…", run: ask("unban") },
      {
        label: "Record of this room",
        run: () => showRecord((query) => room.modlog(query), room.name),
        isApart: true,
      },
    );
    if (role === "operator") {
      const run = () => showRecord((query) => client.modlog(query));
      items.push({ label: "Record of the whole chat", run });
    }
    return items;
  }

  /**
   * Asks before an act in the room that is shown, or a report from direct messages.
   *
   * @param {ActName} name
   * @param {{ user: string, nick: string } | undefined} subject
   * @param {Record<string, string>} [values]
   */
  #askAbout(name, subject, values) {
    const room = this.#chat.shownRoom?.channel;
    const isOperator = room?.state.role === "operator";
    const user = subject && { user: subject.user };
    const options = { nick: subject?.nick, isOperator, values };
    ask(questionOf(name, options, (words, isChatWide) => {
      const place = isChatWide && ACTS[name].isChatWide ? undefined : room;
      return this.act(name, place, { ...words, ...user }, subject?.nick);
    }));
  }

  /**
   * @param {Room} room
   * @param {string} id
   * @param {string} nick
   */
  #askAboutMessage(room, id, nick) {
    ask(questionOf("delete", { nick }, ({ reason }) => room.delete(id, reason)));
  }

  #try(/** @type {Promise<unknown>} */ done) {
    done.catch(this.#actions.fail);
  }
}
