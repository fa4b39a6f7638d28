// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * All rooms that the user is in, with what the server and the tab know about unread messages. The client
 * decides which rooms these are: this follows it.
 */
import { tabStorage } from "./dom.js";
import { RoomConversation } from "./room.js";

/** @import { RoomState } from "../client/client.js" */
/** @import { ConversationContext } from "./conversation.js" */

/** The rooms of the user. */
export class Rooms {
  /** @type {Map<string, RoomConversation>} */
  #byName = new Map();
  /** What the welcome said about rooms that are not joined yet. @type {Map<string, RoomState>} */
  #states = new Map();
  /** The unread messages before a reload. @type {Map<string, number>} */
  #unreadBefore = new Map(tabStorage.get("unread") ?? []);
  #context;

  /** @param {ConversationContext} context */
  constructor(context) {
    this.#context = context;
  }

  /** All rooms, in the order of joining. */
  get all() {
    return [...this.#byName.values()];
  }

  /** Returns a room, if the user is in it. */
  get(/** @type {string | undefined} */ name = "") {
    return this.#byName.get(name);
  }

  /** Opens the rooms that the client is in, and closes the others. */
  sync() {
    const names = this.#context.client.rooms;
    for (const [name, room] of this.#byName) {
      if (names.includes(name)) continue;
      room.close();
      this.#byName.delete(name);
    }
    for (const name of names) {
      if (this.#byName.has(name)) continue;
      const room = new RoomConversation(this.#context, name);
      this.#byName.set(name, room);
      room.log.marker.addBefore(this.#unreadBefore.get(name) ?? 0);
      this.#unreadBefore.delete(name);
      const state = this.#states.get(name);
      if (state) room.restore(state);
      this.#states.delete(name);
    }
  }

  /**
   * Takes over what a welcome says about rooms.
   *
   * @param {readonly RoomState[]} states
   * @param {boolean} isNewUser whether nothing was missed: else a `resumed` ends what was
   */
  restore(states, isNewUser) {
    for (const state of states) this.get(state.room)?.restore(state);
    this.#states = new Map(states.map((state) => [state.room, state]));
    this.sync();
    for (const { room, unread } of states) {
      const marker = this.get(room)?.log.marker;
      if (marker) marker.isCatchingUp = !isNewUser && unread !== undefined;
    }
  }

  /** Notes that members may have come and gone unseen. */
  forgetMembers() {
    for (const room of this.all) room.forgetMembers();
  }

  /** Keeps the unread counts for a reload of the tab. */
  save() {
    const unread = this.all.filter(({ log }) => log.unread > 0);
    tabStorage.set("unread", unread.map(({ name, log }) => [name, log.unread]));
  }
}
