// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/** A room that the user is in: its log, and its members. */
import { Conversation } from "./conversation.js";

/** @import { AwayEvent, Member, RoomEvent } from "../client/client.js" */
/** @import { ConversationContext } from "./conversation.js" */

/** A membership event. @typedef {Extract<RoomEvent, { type: "joined" | "left" | "nick" }>} Membership */

/** A room. */
export class RoomConversation extends Conversation {
  /** The members. A new array for each change. @type {readonly Member[]} */
  members = [];
  #areMembersLoaded = false;
  /** The events that arrived while the members are being loaded. @type {(Membership | AwayEvent)[] | undefined} */
  #duringLoad;

  /**
   * @param {ConversationContext} context
   * @param {string} name
   */
  constructor(context, name) {
    super(context, `Messages in ${name}`);
    this.name = name;
  }

  /** @override */
  get channel() {
    return this.context.client.room(this.name);
  }

  /** @override */
  get place() {
    return { destination: { room: this.name }, label: this.name };
  }

  /** @override */
  get others() {
    return this.members;
  }

  /**
   * @override
   * @param {"message" | "action"} type
   * @param {string} text
   */
  send(type, text) {
    return type === "action" ? this.channel.emote(text) : this.channel.say(text);
  }

  /** Handles an event of the room. */
  receive(/** @type {RoomEvent} */ event) {
    if (event.type === "message" || event.type === "action") {
      return this.arrived(this.entryOf(event));
    }
    this.#duringLoad?.push(event);
    this.#updateMembers(event);
    const { id, nick, time } = event;
    if (!this.context.isOwn(event.user)) {
      this.log.add({ id, type: "membership", nick, text: textOf(event), time });
    }
    this.context.changed();
  }

  /** Notes that a member is away, or back. */
  setAway(/** @type {AwayEvent} */ event) {
    this.#duringLoad?.push(event);
    this.#updateMembers(event);
    this.context.changed();
  }

  /** Loads the members if they may have changed since the last load. */
  async loadMembers() {
    if (this.#areMembersLoaded) return;
    this.#areMembersLoaded = true;
    const events = this.#duringLoad = /** @type {(Membership | AwayEvent)[]} */ ([]);
    const reply = await this.channel.members().catch(() => undefined);
    // A later call loads them.
    if (events !== this.#duringLoad) return;
    this.#duringLoad = undefined;
    if (!reply) return this.forgetMembers();
    this.members = reply.members;
    for (const event of events) this.#updateMembers(event);
    this.context.changed();
  }

  /** Notes that joins or leaves may have been missed. */
  forgetMembers() {
    this.#areMembersLoaded = false;
  }

  /** @param {Membership | AwayEvent} event */
  #updateMembers(event) {
    const others = this.members.filter(({ user }) => user !== event.user);
    switch (event.type) {
      case "joined":
        this.members = [...others, event];
        return;
      case "left":
        this.members = others;
        return;
      case "nick":
        this.members = this.members.map((each) =>
          each.user === event.user ? withAway(event.to, each.away) : each
        );
        return;
      case "away":
        this.members = this.members.map((each) =>
          each.user === event.user ? withAway(each, event.away) : each
        );
        return;
      default:
        return /** @satisfies {never} */ (event);
    }
  }
}

/** @param {Member} member @param {boolean} [away] @returns {Member} */
function withAway({ user, nick, registered }, away) {
  return { user, nick, ...registered && { registered }, ...away && { away } };
}

/** @param {Membership} event */
function textOf(event) {
  if (event.type !== "nick") return event.type;
  if (event.to.nick !== event.nick) return `is now ${event.to.nick}`;
  return event.to.registered ? "is signed in now" : "is no longer signed in";
}
