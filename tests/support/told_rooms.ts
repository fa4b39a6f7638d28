/**
 * What a client would believe of the members of rooms that only sees the events which the rooms are
 * told. It throws as soon as an event contradicts the ones before.
 */
import { assert } from "@std/assert";
import { authorOf, type RoomEvent } from "../../chat/feed/events.ts";
import { short } from "./storage.ts";

/** The users in each room, by what the rooms were told. */
export class ToldRooms {
  readonly #rooms = new Map<string, Set<string>>();

  /** Returns the users in a room, sorted. */
  usersIn(room: string): string[] {
    return [...this.#of(room)].sort();
  }

  /** Applies an event. */
  apply(event: RoomEvent): void {
    const { kind, room, to, isQuiet } = event;
    const author = authorOf(event);
    const users = this.#of(room);
    const text = `${short(event)}, with ${[...users]}`;
    switch (kind) {
      case "join":
        assert(users.has(author) === (isQuiet ?? false), text);
        users.add(author);
        break;
      case "leave":
        assert(users.has(author), text);
        if (!isQuiet) users.delete(author);
        break;
      case "nick":
        assert(users.has(author), text);
        assert(to!.user === author || users.has(to!.user) === (isQuiet ?? false), text);
        if (!isQuiet) users.delete(author);
        users.add(to!.user);
        break;
      default:
    }
    if (to !== undefined) assert(users.has(to.user), text);
  }

  #of(room: string): Set<string> {
    if (!this.#rooms.has(room)) this.#rooms.set(room, new Set());
    return this.#rooms.get(room)!;
  }
}
