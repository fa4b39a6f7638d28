/**
 * Tells people that a user writes. Nothing of it is stored, ordered or counted as a message: who is away for
 * a moment misses it.
 *
 * Other instances learn of it over one key that is overwritten, at most once a second (Feed.pass).
 */
import type { Clock } from "../base/clock.ts";
import { rejection, type Result } from "../base/rejections.ts";
import { type Rate, TokenBucket, TokenBucketMap } from "../base/token_bucket.ts";
import type { Connection } from "../connections/connection.ts";
import type { Sender } from "../delivery/sender.ts";
import type { UserRef } from "../feed/events.ts";
import type { Feed } from "../feed/feed.ts";
import type { Moderation } from "../moderation/moderation.ts";
import type { Place } from "../storage/read_markers.ts";
import { type Session, userRefOf } from "../storage/records.ts";
import type { RoomNames } from "./room_names.ts";

/** What telling is made of. */
export interface TypingParts {
  readonly feed: Feed;
  readonly sender: Sender;
  readonly moderation: Moderation;
  readonly roomNames: RoomNames;
  readonly clock: Clock;
  /** Whether people are told at all. */
  readonly isTypingTold: boolean;
}

/** That a user writes: in a room, or to a user. */
export interface Told {
  readonly room?: string;
  readonly to?: string;
  readonly user: UserRef;
}

/** How often a place is told of a user. */
const USER_RATE: Rate = { burst: 1, ms: 3_000 };
/** How often a room is told, of all its users together. */
const ROOM_RATE: Rate = { burst: 5, ms: 1_000 };
/** Milliseconds between two notes to the other instances. */
const PASS_INTERVAL_MS = 1_000;
/** Users and places that are remembered, and that one note holds. */
const MAX_REMEMBERED = 10_000, MAX_PASSED = 50;

/** Tells who writes, for all connections of an instance. */
export class Typing {
  readonly #parts: TypingParts;
  /** How often places were told lately: of each user, and each room of all. */
  readonly #buckets = new TokenBucketMap(() => new TokenBucket(), MAX_REMEMBERED);
  /** What the other instances are told next, with the session of each. */
  #waiting: { readonly told: Told; readonly session: Session }[] = [];
  #isPassing = false;

  constructor(parts: TypingParts) {
    this.#parts = parts;
  }

  /** Tells the others in a place that the client's user writes. Too often is left out in silence. */
  tell({ session }: Connection, place: Place): Result {
    const { roomNames, moderation, isTypingTold } = this.#parts;
    if (!isTypingTold) return { ok: true };
    const user = userRefOf(session);
    if ("user" in place) {
      this.#tell(session, { to: place.user, user });
      return { ok: true };
    }
    const room = roomNames.find(place.room, session.rooms);
    if (room === undefined) return rejection.notInThatRoom(place.room);
    const why = moderation.whyConflict(session, room);
    if (why !== undefined) return why;
    this.#tell(session, { room, user });
    return { ok: true };
  }

  /** Tells this instance's clients what another one has passed on. What is malformed is left out. */
  heard(passed: unknown): void {
    for (const told of Array.isArray(passed) ? passed.slice(0, MAX_PASSED) : []) {
      if (isTold(told)) this.#parts.sender.tellTyping(told);
    }
  }

  #tell(session: Session, told: Told): void {
    const { sender, clock } = this.#parts;
    const nowMs = clock.monotonicMs();
    const { user, room, to } = told;
    const bucketOf = (key: readonly unknown[]) => this.#buckets.get(JSON.stringify(key), nowMs);
    if (bucketOf([user.user, room, to]).take(USER_RATE, 1, nowMs) > 0) return;
    // A frame for each member: in a lively room a few are enough.
    if (room !== undefined && bucketOf([room]).take(ROOM_RATE, 1, nowMs) > 0) return;
    sender.tellTyping(told);
    if (!this.#parts.feed.isShared || this.#waiting.length === MAX_PASSED) return;
    this.#waiting.push({ told, session });
    void this.#pass();
  }

  async #pass(): Promise<void> {
    if (this.#isPassing) return;
    this.#isPassing = true;
    // Meanwhile a user may have left the room, or may not write there any more.
    const told = this.#waiting.filter(({ told: { room }, session }) =>
      room === undefined ||
      session.rooms.has(room) && this.#parts.moderation.whyConflict(session, room) === undefined
    ).map(({ told }) => told);
    this.#waiting = [];
    // What is lost is told again in three seconds.
    await this.#parts.feed.pass(told).catch(() => {});
    this.#parts.clock.after(PASS_INTERVAL_MS, () => {
      this.#isPassing = false;
      if (this.#waiting.length > 0) void this.#pass();
    });
  }
}

function isTold(value: unknown): value is Told {
  if (typeof value !== "object" || value === null) return false;
  const { room, to, user } = value as Record<string, unknown>;
  const isPlace = typeof room === "string" ? to === undefined : typeof to === "string";
  if (!isPlace || typeof user !== "object" || user === null) return false;
  const { user: id, nick, isRegistered } = user as Record<string, unknown>;
  return typeof id === "string" && typeof nick === "string" && typeof isRegistered === "boolean";
}
