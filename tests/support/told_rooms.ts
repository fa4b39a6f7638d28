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
  /** Those who are away, each after the name of the room. */
  readonly #away = new Set<string>();

  /** Returns the users in a room, sorted. */
  usersIn(room: string): string[] {
    return [...this.#of(room)].sort();
  }

  /** Returns the users in a room who are away, sorted. */
  awayIn(room: string): string[] {
    return this.usersIn(room).filter((user) => this.#away.has(`${room} ${user}`));
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
        if (!isQuiet) this.#away.delete(`${room} ${to?.user ?? author}`);
        break;
      case "leave":
        assert(users.has(author), text);
        if (!isQuiet) {
          users.delete(author);
          this.#away.delete(`${room} ${author}`);
        }
        break;
      case "nick":
        assert(users.has(author), text);
        assert(to!.user === author || users.has(to!.user) === (isQuiet ?? false), text);
        if (!isQuiet) {
          users.delete(author);
          if (this.#away.delete(`${room} ${author}`)) this.#away.add(`${room} ${to!.user}`);
        }
        users.add(to!.user);
        break;
      case "away": {
        if (isQuiet) break;
        const name = `${room} ${author}`;
        assert(users.has(author) && this.#away.has(name) === (event.count === 0), text);
        if (event.count === 1) this.#away.add(name);
        else this.#away.delete(name);
        break;
      }
      default:
    }
    if (to !== undefined) assert(users.has(to.user), text);
  }

  #of(room: string): Set<string> {
    if (!this.#rooms.has(room)) this.#rooms.set(room, new Set());
    return this.#rooms.get(room)!;
  }
}
