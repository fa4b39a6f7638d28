// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/** Draws the user's own name and the members of the room that is shown, again only if they have changed. */
import { avatar, browserStorage, nameOf, ui } from "./dom.js";
import { showMemberFilter, showMembers } from "./lists.js";

/** @import { Member, User } from "../client/client.js" */
/** @import { Chat } from "./chat.js" */

/** The people that are drawn. */
export class People {
  #openMenu;
  /** @type {readonly Member[] | undefined} */
  #members;
  /** @type {ReadonlySet<string> | undefined} */
  #ignored;
  /** The user's own nickname, and whether it is registered. */
  #name = "";

  /** @param {(button: HTMLElement, user: User) => void} openMenu */
  constructor(openMenu) {
    this.#openMenu = openMenu;
    ui.findMember.oninput = () => showMemberFilter();
  }

  /** Draws the people of a chat. @param {Chat} chat */
  draw({ client: { nick, user, registered }, shownRoom, ignored: { users: ignored } }) {
    if (browserStorage.get("nick") !== nick) browserStorage.set("nick", nick);
    if (this.#name !== `${nick} ${registered}`) {
      this.#name = `${nick} ${registered}`;
      ui.me.replaceChildren(avatar(nick), ...nameOf({ nick, registered }));
    }
    const members = shownRoom?.members;
    if (this.#members === members && this.#ignored === ignored) return;
    this.#members = members;
    this.#ignored = ignored;
    showMembers(ui.members, members ?? [], { ownId: user, ignored, openMenu: this.#openMenu });
    showMemberFilter();
  }
}
