/**
 * What this instance knows of the rooms that its sessions are in: their rules, and which sessions may not
 * write. It is loaded when a session enters a room, and changed by the acts that are delivered.
 *
 * Each message looks here, so a look reads nothing from KV, and costs the same with no ban as with ten
 * thousand. This file loads nothing itself, and takes no session out of a room.
 */
import { actNameFrom } from "../base/acts.ts";
import type { Clock } from "../base/clock.ts";
import { type Rejection, rejection } from "../base/rejections.ts";
import { authorOf, type RoomEvent } from "../feed/events.ts";
import {
  NO_END,
  NO_RULES,
  NO_STANDING,
  type RoomRules,
  type Sanction,
} from "../kv/moderation_values.ts";
import type { Session } from "../storage/records.ts";
import { rulesAfter, standingAfter } from "./effects.ts";

/** What {@linkcode RoomStates} is made of. */
export interface RoomStatesParts {
  readonly clock: Clock;
  /** Returns the sessions of this instance. */
  sessions(): readonly Session[];
  /** Returns whether a session is one of an operator. */
  isOperator(session: Session): boolean;
}

/** Why a session may not write in a room. */
interface Restriction {
  readonly mute?: Sanction;
  /** An act has taken it out of the room, and it has not joined again. */
  readonly isLeaving: boolean;
  /** The session is another user since, and what holds for that user is not loaded yet. */
  readonly isUnknown?: true;
}

/** The rules of a room, and when they were last set, in monotonic milliseconds. */
interface KnownRules {
  readonly rules: RoomRules;
  readonly atMs: number;
}

/** Milliseconds for which rules are kept without a session: a session may be about to enter. */
const ENTERING_MS = 60_000;

/** Rooms with rules from which on those without sessions are forgotten. */
const MIN_SWEPT_ROOMS = 256;

/** Users whose last message in one slow room is remembered. */
const MAX_REMEMBERED_USERS = 10_000;

/** The rooms of one instance. */
export class RoomStates {
  readonly #parts: RoomStatesParts;
  /** The rules of rooms that have some. Rooms without sessions here may stay until the next sweep. */
  readonly #rules = new Map<string, KnownRules>();
  /** The restrictions of sessions that have some, by room. */
  readonly #restrictions = new WeakMap<Session, Map<string, Restriction>>();
  /** Sessions that an act on the whole chat ends. */
  readonly #ended = new WeakSet<Session>();
  /** Monotonic milliseconds of each user's last message in slow rooms. */
  readonly #saidAt = new Map<string, Map<string, number>>();
  #sweepAt = MIN_SWEPT_ROOMS;

  constructor(parts: RoomStatesParts) {
    this.#parts = parts;
  }

  /** Returns the rules of a room in which a session of this instance is. */
  rulesOf(room: string): RoomRules {
    return this.#rules.get(room)?.rules ?? NO_RULES;
  }

  /** Returns the mute of a session in a room that it is in, if it has not ended. */
  muteOf(session: Session, room: string): Sanction | undefined {
    const mute = this.#restrictions.get(session)?.get(room)?.mute;
    return mute !== undefined && mute.until > this.#parts.clock.now() ? mute : undefined;
  }

  /** Returns whether a session moderates a room that it is in, as a moderator or an operator. */
  isModerator(session: Session, room: string): boolean {
    return this.#parts.isOperator(session) ||
      (session.account !== "" && this.rulesOf(room).moderators.has(session.user));
  }

  /** Sets what KV said of a room, and of a session that enters it or is in it. */
  load(session: Session, room: string, rules: RoomRules, mute: Sanction | undefined): void {
    this.#setRules(room, rules);
    // A join that is only planned does not end what an act has begun.
    const isLeaving = this.#restrictions.get(session)?.get(room)?.isLeaving ?? false;
    this.#restrict(session, room, mute || isLeaving ? { mute, isLeaving } : undefined);
  }

  /**
   * Returns why a session may not write in a room; `undefined`: it may. It does not look at slow mode, but
   * at everything that an act may have changed.
   */
  whyNotWrite(session: Session, room: string): Rejection | undefined {
    if (this.#ended.has(session)) return rejection.bannedFromChat("", undefined);
    const restriction = this.#restrictions.get(session)?.get(room);
    const rules = this.#rules.get(room)?.rules;
    // Mostly there are neither.
    if (restriction === undefined && rules === undefined) return undefined;
    if (restriction?.isLeaving) return rejection.notInThatRoom(room);
    const mute = this.muteOf(session, room);
    if (mute !== undefined && !this.#parts.isOperator(session)) {
      return rejection.muted(room, mute.reason, this.waitOf(mute.until));
    }
    if (restriction?.isUnknown) return rejection.notDone;
    if (rules === undefined || rules.mutedUntil <= this.#parts.clock.now()) return undefined;
    if (this.isModerator(session, room)) return undefined;
    return rejection.roomMuted(room, this.waitOf(rules.mutedUntil));
  }

  /**
   * Counts a message in slow mode. Returns 0, or the milliseconds that the user must wait; then it is not
   * counted.
   */
  takeSlow(session: Session, room: string): number {
    const { slow } = this.rulesOf(room);
    if (slow === 0 || this.isModerator(session, room)) return 0;
    const nowMs = this.#parts.clock.monotonicMs();
    const waitMs = (this.#saidAt.get(room)?.get(session.user) ?? -Infinity) + slow * 1000 - nowMs;
    if (waitMs > 0) return waitMs;
    this.#remember(room, session.user, nowMs);
    return 0;
  }

  /** Returns the milliseconds until a Unix time; `undefined`: there is no end. */
  waitOf(until: number): number | undefined {
    return until === NO_END ? undefined : Math.max(1, until - this.#parts.clock.now());
  }

  /** Notes a message that was delivered: in slow mode it counts on all instances. */
  noteMessage(event: RoomEvent): void {
    const { room } = event;
    if (this.#rules.size === 0 || this.rulesOf(room).slow === 0) return;
    this.#remember(room, authorOf(event), this.#parts.clock.monotonicMs());
  }

  /** Notes that a session has entered a room: an act that took it out is over. */
  noteJoin(session: Session, room: string): void {
    const restriction = this.#restrictions.get(session)?.get(room);
    if (restriction === undefined) return;
    const { mute } = restriction;
    this.#restrict(session, room, mute && { mute, isLeaving: false });
  }

  /**
   * Notes that a session has left a room. If an act took it out, it changes no message there any more:
   * an edit of the same moment may still wait to be committed.
   */
  noteLeave(session: Session, room: string): void {
    const isLeaving = this.#restrictions.get(session)?.get(room)?.isLeaving ?? false;
    this.#restrict(session, room, isLeaving ? { isLeaving } : undefined);
  }

  /**
   * Notes that a session is another user in a room: it cannot write there until `load`. A mute stays:
   * signing in or out does not end it.
   */
  noteNewUser(session: Session, room: string): void {
    const { mute, isLeaving = false } = this.#restrictions.get(session)?.get(room) ?? {};
    this.#restrict(session, room, { mute, isLeaving, isUnknown: true });
  }

  /** Keeps a session from writing in a room that it is about to leave; without a room, in all rooms. */
  end(session: Session, room?: string): void {
    if (room === undefined) this.#ended.add(session);
    else this.#restrict(session, room, { isLeaving: true });
  }

  /** Returns whether an act on the whole chat has ended a session. */
  hasEnded(session: Session): boolean {
    return this.#ended.has(session);
  }

  /** Applies an act in a room to its rules, and to the mutes of these sessions. */
  apply(event: RoomEvent, concerned: readonly Session[]): void {
    const { room } = event;
    this.#setRules(room, rulesAfter(this.rulesOf(room), event));
    const act = actNameFrom(event.target ?? "");
    if (act !== "mute" && act !== "unmute") return;
    const { mute } = standingAfter(NO_STANDING, event);
    for (const session of concerned) {
      const before = this.#restrictions.get(session)?.get(room);
      const { isLeaving = false, isUnknown } = before ?? {};
      const isRestricted = mute !== undefined || isLeaving || isUnknown;
      this.#restrict(session, room, isRestricted ? { mute, isLeaving, isUnknown } : undefined);
    }
  }

  #setRules(room: string, rules: RoomRules): void {
    const isEmpty = rules.topic === "" && rules.slow === 0 && rules.mutedUntil === 0 &&
      !rules.isLocked && !rules.isPrivate && rules.moderators.size === 0;
    if (isEmpty) this.#rules.delete(room);
    else this.#rules.set(room, { rules, atMs: this.#parts.clock.monotonicMs() });
    if (rules.slow === 0) this.#saidAt.delete(room);
    if (this.#rules.size > this.#sweepAt) this.#sweep();
  }

  #restrict(session: Session, room: string, restriction: Restriction | undefined): void {
    let rooms = this.#restrictions.get(session);
    if (restriction === undefined) {
      rooms?.delete(room);
      return;
    }
    if (rooms === undefined) this.#restrictions.set(session, rooms = new Map());
    rooms.set(room, restriction);
  }

  #remember(room: string, user: string, nowMs: number): void {
    let users = this.#saidAt.get(room);
    if (users === undefined) this.#saidAt.set(room, users = new Map());
    // In the order of the times, so that the first one is the oldest.
    users.delete(user);
    users.set(user, nowMs);
    if (users.size > MAX_REMEMBERED_USERS) users.delete(users.keys().next().value!);
  }

  /** Forgets rooms in which no session of this instance is. */
  #sweep(): void {
    const live = new Set<string>();
    for (const { rooms } of this.#parts.sessions()) for (const room of rooms) live.add(room);
    const since = this.#parts.clock.monotonicMs() - ENTERING_MS;
    for (const [room, { atMs }] of this.#rules) {
      if (live.has(room) || atMs > since) continue;
      this.#rules.delete(room);
      this.#saidAt.delete(room);
    }
    this.#sweepAt = Math.max(MIN_SWEPT_ROOMS, 2 * this.#rules.size);
  }
}
