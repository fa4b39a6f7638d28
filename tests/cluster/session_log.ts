/**
 * What one session of `chat.v1` received in a simulated run, over all of its connections, and the
 * comparison of that with the feed. It sends nothing; devices.ts does.
 */
import { assert, assertEquals } from "@std/assert";
import type { FeedLog } from "./feed_log.ts";

/** One line from the server. */
// deno-lint-ignore no-explicit-any -- the checks of this file read the fields that a line must have
export type Line = Record<string, any>;

/** Received events of a room between which none may be missing. */
interface Run {
  readonly ids: string[];
  /** The first one is the session's own join. */
  readonly isFromJoin: boolean;
}

/** A room, as the session knows it. */
export interface RoomView {
  isIn: boolean;
  /** The client asked to leave, and does not know how that ended: a `left` of its user may be its own. */
  isLeaving: boolean;
  /** Such a `left` was the last event: it was its own, or the session is another user from then on. */
  mayBeOut: boolean;
  /** The IDs of acts about its user that came while the client was not surely in the room. */
  readonly outside: Set<string>;
  /** The ID of the last event received; `undefined`: none to resume from. */
  last: string | undefined;
  readonly runs: Run[];
  /** The lines since the last `welcome`, until the room's `resumed`: only then they count. */
  missed: Line[] | undefined;
  /** The server has told that the session is not in the room, and that events may be missing. */
  isCut: boolean;
  /** The members by their user IDs, and whether they are away, from a `members` reply and the events after it. */
  members: Map<string, boolean> | undefined;
}

/** A time during which a session was one user, as far as the client knows. */
interface Period {
  readonly user: string;
  /** From this virtual time on no direct message may be missing. */
  sinceMs: number;
  /** The ID of the newest direct message received. */
  newest: string;
  isOver: boolean;
}

/** The events that one session received. */
export class SessionLog {
  readonly id: string;
  readonly rooms = new Map<string, RoomView>();
  /** The ID of the last direct message received. */
  direct: string | undefined;
  /** The lines that carry a text, to compare the text. */
  readonly texts: { readonly id: string; readonly text: string; readonly isDeleted: boolean }[] =
    [];
  readonly #periods: Period[] = [];
  readonly #seen = new Set<string>();
  readonly #directs: Line[] = [];
  readonly #marked = new Map<string, string>();
  #missedDirects: Line[] = [];
  /** The rooms that wait for their `resumed`, while missed events arrive. */
  #waiting: Set<string> | undefined;
  #lastOnResume = new Set<string>();

  constructor(readonly name: string, welcome: Line, nowMs: number) {
    this.id = welcome.session;
    this.becomes(welcome.user, nowMs);
    assertEquals(joinedIn(welcome), [], `${name} has just logged in`);
  }

  get user(): string {
    return this.#periods.at(-1)!.user;
  }

  /** Whether the client knows how its last change of user ended. */
  get knowsUser(): boolean {
    return !this.#periods.at(-1)!.isOver;
  }

  /** The rooms that the session is in. */
  get joined(): string[] {
    return [...this.rooms].filter(([, { isIn }]) => isIn).map(([room]) => room);
  }

  /** Returns what a `resume` request tells the server. */
  lastSeen(): { last: Record<string, string>; direct?: string } {
    const last: Record<string, string> = {};
    for (const [room, view] of this.rooms) {
      if (view.last !== undefined) last[room] = view.last;
    }
    this.#lastOnResume = new Set(Object.keys(last));
    return this.direct === undefined ? { last } : { last, direct: this.direct };
  }

  view(room: string): RoomView {
    let view = this.rooms.get(room);
    if (view === undefined) {
      view = {
        isIn: false,
        isLeaving: false,
        mayBeOut: false,
        outside: new Set(),
        last: undefined,
        runs: [],
        missed: undefined,
        isCut: false,
        members: undefined,
      };
      this.rooms.set(room, view);
    }
    return view;
  }

  /** The client learns that the session is this user from now on. */
  becomes(user: string, nowMs: number): void {
    const before = this.#periods.at(-1);
    if (before?.user === user && !before.isOver) return;
    this.mayChange();
    this.#periods.push({ user, sinceMs: nowMs, newest: "", isOver: false });
  }

  /** The client sends a request that may change which user the session is. */
  mayChange(): void {
    const before = this.#periods.at(-1);
    if (before !== undefined) before.isOver = true;
  }

  /** The session is not in a room any more. */
  hasLeft(room: string): void {
    Object.assign(this.view(room), {
      isIn: false,
      isLeaving: false,
      mayBeOut: false,
      last: undefined,
      members: undefined,
    });
  }

  /** The session was resumed: missed events follow. */
  resumed(welcome: Line, nowMs: number): void {
    assertEquals(welcome.session, this.id, `${this.name} resumed another session`);
    this.becomes(welcome.user, nowMs);
    // Without an ID of a registered user's last direct message the server goes by the time, and clocks jump.
    if (this.direct === undefined && this.user !== this.id) this.#periods.at(-1)!.sinceMs = nowMs;
    const joined = joinedIn(welcome);
    for (const room of joined) this.view(room);
    this.#waiting = new Set([...joined, ...this.#lastOnResume]);
    for (const [room, view] of this.rooms) {
      view.isIn = joined.includes(room);
      view.isLeaving = view.mayBeOut = false;
      if (!view.isIn) view.members = undefined;
      view.missed = this.#waiting.has(room) ? [] : undefined;
    }
  }

  /** The connection was lost. Missed events that were not confirmed will come again. */
  lost(): void {
    this.#waiting = undefined;
    this.#missedDirects = [];
    for (const view of this.rooms.values()) view.missed = undefined;
  }

  /** Whether missed events still arrive. */
  get isCatchingUp(): boolean {
    return this.#waiting !== undefined;
  }

  /** Takes note of an event. */
  receive(line: Line, nowMs: number): void {
    const { type, room, id } = line;
    if (type === "resumed") return this.#caughtUp(line, nowMs);
    // The state of a room is no event: it has no place in the order.
    if (type === "room") return;
    if (type === "read") {
      // A session that signs in gets the markers of its new user.
      if (!this.knowsUser) return;
      const name = `${this.user} ${line.room ?? line.with}`;
      const before = this.#marked.get(name) ?? "";
      assert(id > before, `${this.name}: the marker of ${name} went back to ${id}`);
      this.#marked.set(name, id);
      return;
    }
    if (room === undefined) {
      if (this.isCatchingUp) this.#missedDirects.push(line);
      else this.#acceptDirect(line);
      return;
    }
    const view = this.view(room);
    if (view.missed !== undefined) return void view.missed.push(line);
    const isAboutUser = line.on?.user === this.user && (!view.isIn || view.mayBeOut);
    // While it is unknown which user the session is, an act elsewhere may be about it.
    if (type === "act" && (isAboutUser || !this.knowsUser && !view.isIn)) {
      this.#note(line);
      return void view.outside.add(id);
    }
    assert(!this.isCatchingUp, `${this.name} received ${type} ${id} before it had caught up`);
    this.#accept(view, line);
    if (view.runs.length === 0 || view.isCut) view.runs.push({ ids: [], isFromJoin: true });
    view.isCut = false;
    view.runs.at(-1)!.ids.push(id);
  }

  #accept(view: RoomView, line: Line): void {
    const { id, room } = line;
    this.#note(line);
    assert(id > (view.last ?? ""), `${this.name}: ${id} comes after ${view.last} in ${room}`);
    view.last = id;
    if (line.type === "joined" && line.user === this.user) view.members = undefined;
    foldMembers(view, line);
    // A request that seemed to fail may be carried out all the same.
    view.isIn = true;
    view.mayBeOut = false;
    if (line.type !== "left") return;
    // While it is unknown which user the session is, any of them may be it.
    if (line.user !== this.user && this.knowsUser) return;
    // As long as the session is this user, a `left` of the user is its own: an act has taken it out.
    if (this.knowsUser && !view.isLeaving) this.hasLeft(room);
    else view.mayBeOut = true;
  }

  #acceptDirect(line: Line): void {
    const { type, id } = line;
    this.#note(line);
    this.#directs.push(line);
    if (this.direct === undefined || id > this.direct) this.direct = id;
    const period = this.#periods.at(-1)!;
    if (type === "direct" && id > period.newest) period.newest = id;
  }

  #note({ type, id, text, deleted }: Line): void {
    assert(!this.#seen.has(id), `${this.name} received ${id} twice`);
    this.#seen.add(id);
    if (type === "edited" || type === "act" || text === undefined) return;
    this.texts.push({ id, text, isDeleted: deleted !== undefined });
  }

  #caughtUp({ room, recovered, reason, from }: Line, nowMs: number): void {
    const waiting = this.#waiting;
    if (waiting === undefined) throw new Error(`${this.name} received a late resumed`);
    if (room === undefined) {
      assertEquals([...waiting], [], `${this.name}: rooms without a resumed`);
      this.#waiting = undefined;
      for (const line of this.#missedDirects) this.#acceptDirect(line);
      this.#missedDirects = [];
      if (!recovered) this.#periods.at(-1)!.sinceMs = nowMs;
      return;
    }
    assert(waiting.delete(room), `${this.name} received a second resumed of ${room}`);
    const view = this.view(room);
    const ids = view.missed!.map(({ id }) => id);
    const { isIn } = view;
    for (const line of view.missed!) this.#accept(view, line);
    Object.assign(view, { missed: undefined, isIn, mayBeOut: false });
    if (!view.isIn) view.last = undefined;
    if (recovered) {
      if (!this.#lastOnResume.has(room)) view.runs.push({ ids, isFromJoin: true });
      else view.runs.at(-1)!.ids.push(...ids);
      return;
    }
    view.members = undefined;
    view.isCut = reason === "not-in-room";
    const start = from === undefined ? ids.length : ids.indexOf(from);
    assert(start >= 0, `${this.name} was not sent the event ${from}`);
    for (const id of ids.slice(0, start)) view.runs.push({ ids: [id], isFromJoin: false });
    view.runs.push({ ids: ids.slice(start), isFromJoin: false });
  }

  /**
   * Compares what was received with the feed. `isOnline`: the client is connected, and nothing is under
   * way. `sentAtMs` returns the virtual time at which a direct message was requested.
   */
  check(log: FeedLog, isOnline: boolean, sentAtMs: (text: string) => number): void {
    for (const [room, view] of this.rooms) this.#checkRoom(log, room, view, isOnline);
    this.#checkDirects(log, isOnline, sentAtMs);
    for (const { id, text, isDeleted } of this.texts) {
      const message = log.messages.get(id);
      if (message === undefined) throw new Error(`${this.name} received ${id}, never stored`);
      if (isDeleted) assert(message.isDeleted && text === "", `${this.name}: ${id} is not deleted`);
      else assert(message.texts.includes(text), `${this.name}: ${id} never was "${text}"`);
    }
    if (!isOnline) return;
    const rooms = [...log.rooms].filter(([, sessions]) => sessions.has(this.id));
    const isSure = (room: string) => !this.view(room).mayBeOut;
    assertEquals(
      this.joined.filter(isSure).sort(),
      rooms.map(([room]) => room).filter(isSure).sort(),
      `the rooms of ${this.name}`,
    );
  }

  #checkRoom(log: FeedLog, room: string, view: RoomView, isOnline: boolean): void {
    const who = `${this.name} (${this.id}) in ${room}`;
    // A client that resumes is not told of an edit of a message that was deleted meanwhile.
    // An act about the session's user is told even outside the room.
    const isSkipped = (id: string) => skipped.has(id) || view.outside.has(id) || own.has(id);
    const visible = log.visibleTo(this.id, room);
    const skipped = new Set(
      visible.filter(({ event: { kind, target } }) =>
        kind === "edit" && log.messages.get(target!)!.isDeleted
      ).map(({ eventId }) => eventId),
    );
    const ids = visible.map(({ eventId }) => eventId);
    const users = this.#users(log);
    const own = new Set(
      log.entries.filter(({ eventId, event: { kind, room: name, to, isQuiet } }) =>
        kind === "act" && name === room && !isQuiet && users.has(to?.user ?? "") &&
        !ids.includes(eventId)
      ).map(({ eventId }) => eventId),
    );
    for (const id of view.outside) {
      assert(own.has(id) || ids.includes(id), `${who} was told of ${id}`);
    }
    const steady = ids.filter((id) => !isSkipped(id));
    for (const run of view.runs) {
      for (const id of run.ids) {
        assert(ids.includes(id) || own.has(id), `${who} received ${id}`);
      }
      const received = run.ids.filter((id) => !isSkipped(id));
      if (received.length === 0) continue;
      const start = steady.indexOf(received[0]!);
      assertEquals(received, steady.slice(start, start + received.length), `${who}: a run`);
      if (!run.isFromJoin) continue;
      const { event } = visible.find(({ eventId }) => eventId === received[0])!;
      assertEquals([event.kind, event.id], ["join", this.id], `${who}: the first event`);
    }
    if (!isOnline || view.isCut) return;
    const last = view.runs.findLast((run) => run.ids.some((id) => !isSkipped(id)));
    const end = view.runs.at(-1);
    // After lost events there may be a run that is still empty.
    if (last !== end && end?.isFromJoin === false) return;
    assertEquals(
      last?.ids.findLast((id) => !isSkipped(id)),
      steady.at(-1),
      `${who}: the last event`,
    );
  }

  /** Returns every user that the session was, as far as the client or the feed knows. */
  #users(log: FeedLog): Set<string> {
    return new Set([
      ...this.#periods.map(({ user }) => user),
      ...log.usersOf.get(this.id) ?? [],
    ]);
  }

  #checkDirects(log: FeedLog, isOnline: boolean, sentAtMs: (text: string) => number): void {
    const users = this.#users(log);
    for (const { type, id, user, to } of this.#directs) {
      const isOwn = users.has(user) || users.has(to.user);
      assert(isOwn, `${this.name} received the ${type} ${id} of ${user} and ${to.user}`);
    }
    for (const { user, sinceMs, newest, isOver } of this.#periods) {
      for (const { eventId, event } of log.directsOf(user)) {
        if (sentAtMs(event.text) <= sinceMs || this.#seen.has(eventId)) continue;
        const isDue = (isOnline && !isOver) || eventId < newest;
        assert(!isDue, `${this.name} (${this.id}, user ${user}) missed the direct ${eventId}`);
      }
    }
  }
}

function joinedIn({ rooms }: Line): string[] {
  return rooms.filter(({ joined }: Line) => joined).map(({ room }: Line) => room);
}

function foldMembers({ members }: RoomView, { type, user, away, to }: Line): void {
  if (members === undefined) return;
  switch (type) {
    case "joined":
      members.set(user, false);
      break;
    case "left":
      members.delete(user);
      break;
    case "nick":
      members.set(to.user, members.get(user) ?? false);
      if (to.user !== user) members.delete(user);
      break;
    case "away":
      members.set(user, away);
      break;
  }
}
