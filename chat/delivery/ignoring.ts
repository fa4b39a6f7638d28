/**
 * Which events a client is spared that ignores their author.
 *
 * It does not know who ignores whom: a subscriber has the list.
 */
import { authorOf, type EventKind, type RoomEvent } from "../feed/events.ts";
import type { Subscriber } from "./subscriber.ts";

/**
 * Returns whether clients that ignore a user are spared that user's events of a kind. A change of nickname
 * and what moderators do stay visible: lists of members depend on them.
 */
export function isIgnorable(kind: EventKind): boolean {
  switch (kind) {
    case "message":
    case "action":
    case "direct":
    case "edit":
    case "delete":
    case "reaction":
    case "join":
    case "leave":
    case "away":
      return true;
    case "nick":
    case "read":
    case "act":
    case "resume":
      return false;
    default:
      return kind satisfies never;
  }
}

/** Returns the ID of the user that an event is shown to be by. */
export function shownAuthorOf(event: RoomEvent): string {
  // With `to` the session speaks for another user from then on, who is the one that joined.
  return event.kind === "join" && event.to !== undefined ? event.to.user : authorOf(event);
}

/** Returns whether a subscriber ignores the author of an event. */
export function isIgnored({ ignored }: Pick<Subscriber, "ignored">, event: RoomEvent): boolean {
  return ignored !== undefined && isIgnorable(event.kind) && ignored.has(shownAuthorOf(event));
}
