/**
 * What the feed says happened: every event of a simulated run in its order, and what follows from it.
 *
 * Reading the log checks it: who joins was not in the room, who leaves was, another session of the user
 * is there exactly when an event says so, and no deleted message changes. It compares nothing with
 * what clients received, or with other rows.
 */
import { assert, assertEquals } from "@std/assert";
import { type ActName, ACTS } from "../../chat/base/acts.ts";
import {
  authorOf,
  eventId,
  eventIdPrefix,
  type LoggedEvent,
  type RoomEvent,
  unpack,
} from "../../chat/feed/events.ts";

type FeedRow = Deno.KvEntry<{ from: string; n: number; events: unknown[] }>;

/** Returns whether members of the room are told of an event, unless it is quiet. */
export function isShown({ kind, target = "" }: RoomEvent): boolean {
  return kind !== "act" || ACTS[target as ActName].isShown;
}

/** A message, in a room or to one user, after all of its edits. */
export interface LoggedMessage {
  readonly id: string;
  readonly event: RoomEvent;
  /** Every text that it had, the newest last. */
  readonly texts: string[];
  isDeleted: boolean;
  /** The reactions to it: user and emoji. */
  readonly reactions: Set<string>;
}

/** The events of a run. */
export class FeedLog {
  /** Every event, in the order of IDs. */
  readonly entries: readonly LoggedEvent[];
  /** At the end: the users of the sessions in each room. */
  readonly rooms = new Map<string, Map<string, string>>();
  /** Every message by its ID. */
  readonly messages = new Map<string, LoggedMessage>();
  /** Up to where a user has read a room or a conversation, by user and name. */
  readonly markers = new Map<string, string>();
  /** The users that each session was. */
  readonly usersOf = new Map<string, Set<string>>();
  /** The sessions in each room that are away. */
  readonly #away = new Map<string, Set<string>>();
  /** What the members of each room were told: which users are there, and whether they are away. */
  readonly told = new Map<string, Map<string, boolean>>();
  /** Sessions that another session of the user ended. */
  readonly #ended = new Set<string>();

  constructor(rows: readonly Deno.KvEntry<unknown>[]) {
    const feed = rows as FeedRow[];
    // Copies of acts in other shards belong to the commit with the same versionstamp, and have the number 0.
    const own = feed.filter(({ value }) => value.n > 0);
    const commits = own.map(({ key, value: { from, n } }) => [key[1], from, n].join(" "));
    assertEquals(new Set(commits).size, commits.length, "a commit was written twice");
    this.entries = feed.flatMap(({ value, versionstamp }) => {
      const prefix = eventIdPrefix(versionstamp);
      return value.events.map((event, i) => ({
        eventId: eventId(prefix, i),
        event: unpack(event)!,
      }));
    }).sort((a, b) => a.eventId < b.eventId ? -1 : 1);
    for (const [i, entry] of this.entries.entries()) {
      this.#apply(entry);
      this.#tell(entry);
      const next = this.entries[i + 1]?.eventId.slice(0, -3);
      if (next !== entry.eventId.slice(0, -3)) this.#checkAway(entry.eventId);
    }
  }

  /** Returns the events of a room that a session of `chat.v1` receives: while it is in the room. */
  visibleTo(session: string, room: string): LoggedEvent[] {
    let isIn = false;
    return this.entries.filter(({ event }) => {
      if (event.room !== room) return false;
      const isOwnMove = event.id === session && event.to === undefined &&
        (event.kind === "join" || event.kind === "leave");
      if (isOwnMove) {
        isIn = event.kind === "join";
        return true;
      }
      return isIn && !event.isQuiet && event.kind !== "read" && isShown(event);
    });
  }

  /** Returns the direct messages that a user sent or received. */
  directsOf(user: string): LoggedEvent[] {
    return this.entries.filter(({ event }) =>
      event.kind === "direct" && (authorOf(event) === user || event.to!.user === user)
    );
  }

  /** Returns the messages of a room as history must have them. */
  saidIn(room: string): LoggedMessage[] {
    return [...this.messages.values()].filter(({ event }) =>
      event.kind !== "direct" && event.room === room
    );
  }

  /** Returns the users in a room at the end. */
  membersOf(room: string): Set<string> {
    return new Set(this.rooms.get(room)?.values());
  }

  #apply({ eventId: id, event }: LoggedEvent): void {
    const user = authorOf(event);
    const users = this.usersOf.get(event.id) ?? new Set();
    this.usersOf.set(event.id, users.add(user));
    switch (event.kind) {
      case "join":
      case "leave":
      case "nick":
        if (event.to !== undefined) users.add(event.to.user);
        return this.#move(id, event);
      case "message":
      case "action":
      case "direct":
        if (event.kind !== "direct") this.#checkPresent(id, event);
        this.messages.set(id, {
          id,
          event,
          texts: [event.text],
          isDeleted: false,
          reactions: new Set(),
        });
        return;
      case "reaction":
        return this.#react(id, event);
      case "edit":
      case "delete":
        return this.#revise(id, event);
      case "read": {
        const name = `${user} ${event.to === undefined ? "room" : "with"} ${
          event.to?.user ?? event.room
        }`;
        const before = this.markers.get(name) ?? "";
        assert(event.target! > before, `${id}: the marker of ${name} went back from ${before}`);
        this.markers.set(name, event.target!);
        return;
      }
      case "act":
        return;
      case "away":
      case "resume":
        if (event.kind === "resume" && event.cid === "") this.#ended.add(event.id);
        return;
      default:
        event.kind satisfies never;
    }
  }

  /** Applies what an event tells of who is away. */
  #tell({ eventId: at, event }: LoggedEvent): void {
    const { kind, room: name, id, isQuiet, to } = event;
    if (name === "") return;
    const user = authorOf(event);
    const away = this.#away.get(name) ?? new Set();
    const told = this.told.get(name) ?? new Map<string, boolean>();
    this.#away.set(name, away);
    this.told.set(name, told);
    if ((kind === "join" || kind === "leave") && to === undefined) away.delete(id);
    const isAway = event.count === 1;
    if (kind === "away" && this.#room(name).get(id) === user) {
      if (isAway) away.add(id);
      else away.delete(id);
    }
    if (isQuiet) return;
    if (kind === "away") {
      assertEquals(told.get(user), !isAway, `${at}: what was told of ${user} in ${name}`);
      told.set(user, isAway);
    } else if (kind === "join") told.set(to?.user ?? user, false);
    else if (kind === "leave") told.delete(user);
    else if (kind === "nick") {
      const before = told.get(user)!;
      told.delete(user);
      told.set(to!.user, before);
    }
  }

  /** Checks that rooms were told who is there and away, at the end of a commit. */
  #checkAway(at: string): void {
    for (const [name, room] of this.rooms) {
      const users = new Map<string, boolean>();
      for (const [session, user] of room) {
        const isAway = this.#away.get(name)?.has(session) ?? false;
        users.set(user, isAway && (users.get(user) ?? true));
      }
      assertEquals(this.told.get(name) ?? new Map(), users, `${at}: who is away in ${name}`);
    }
  }

  /** Checks that the author of a message was in the room, as the user that the room knows. */
  #checkPresent(at: string, event: RoomEvent): void {
    const { room, id, cid } = event;
    // Its instance may learn a little later that another session has ended it.
    if (this.#ended.has(id) && cid === "") return;
    assertEquals(this.#room(room).get(id), authorOf(event), `${at}: the author is in ${room}`);
  }

  #room(name: string): Map<string, string> {
    let room = this.rooms.get(name);
    if (room === undefined) this.rooms.set(name, room = new Map());
    return room;
  }

  /** Applies a join, a leave or a change of identity, and checks whom it must be told to. */
  #move(at: string, event: RoomEvent): void {
    const { kind, id, room: name, isQuiet = false, to } = event;
    if (name === "") return;
    const room = this.#room(name);
    // By a `join` with `to` a session stays: its author is the new user.
    const user = kind === "join" && to !== undefined ? room.get(id)! : authorOf(event);
    const what = `${at}: ${isQuiet ? "quiet " : ""}${kind} of session ${id} in ${name}`;
    const hasOther = (user: string) =>
      [...room].some(([session, of]) => session !== id && of === user);
    if (kind === "join" && to === undefined) {
      assert(!room.has(id), `${what}: it was in already`);
      assertEquals(hasOther(user), isQuiet, `${what}: other sessions of ${user}`);
      room.set(id, user);
      return;
    }
    assertEquals(room.get(id), user, `${what}: its user before`);
    if (to === undefined) {
      assertEquals(hasOther(user), isQuiet, `${what}: other sessions of ${user}`);
      room.delete(id);
      return;
    }
    if (to.user !== user) {
      // Told as a change of the nickname: the one user takes the place of the other, or nothing changes.
      const stays = kind === "join" || (kind === "nick" && isQuiet);
      const isThere = kind === "leave" || (kind === "nick" && isQuiet);
      assertEquals(hasOther(user), stays, `${what}: other sessions of ${user}`);
      assertEquals(hasOther(to.user), isThere, `${what}: other sessions of ${to.user}`);
    } else assertEquals([kind, isQuiet], ["nick", false], `${what}: the user stays the same`);
    room.set(id, to.user);
  }

  /** Applies a reaction, and checks that it changes something. */
  #react(at: string, event: RoomEvent): void {
    const message = this.messages.get(event.target!);
    if (message === undefined) throw new Error(`${at}: no message ${event.target}`);
    assert(!message.isDeleted, `${at}: ${event.target} was deleted before`);
    const reaction = `${authorOf(event)} ${event.text}`;
    const isAdded = !event.isRemoved;
    assertEquals(message.reactions.has(reaction), !isAdded, `${at}: ${reaction}`);
    if (isAdded) message.reactions.add(reaction);
    else message.reactions.delete(reaction);
    const same = [...message.reactions].filter((each) => each.endsWith(` ${event.text}`));
    assertEquals(event.count, same.length, `${at}: the count after ${reaction}`);
  }

  #revise(at: string, event: RoomEvent): void {
    const message = this.messages.get(event.target!);
    if (message === undefined) throw new Error(`${at}: no message ${event.target}`);
    const isModerated = event.kind === "delete" &&
      this.entries.some(({ event: { kind, target, subject } }) =>
        kind === "act" && target === "delete" && subject === event.target
      );
    if (!isModerated) assertEquals(authorOf(event), authorOf(message.event), `${at}: the author`);
    assertEquals(event.room, message.event.room, `${at}: the room`);
    assert(!message.isDeleted, `${at}: ${event.target} was deleted before`);
    if (event.kind === "delete") message.isDeleted = true;
    else message.texts.push(event.text);
  }
}
