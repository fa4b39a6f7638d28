/**
 * Who may enter: a room, the chat, or a nickname; and what a session that resumes has lost meanwhile.
 *
 * The answer is worked out while the change is planned, and the change's commit depends on the last act:
 * after another act it is planned, and asked, again. So a ban and a join of the same moment have an order.
 * This file changes nothing by itself.
 */
import { decodeTime } from "@std/ulid";
import type { Clock } from "../base/clock.ts";
import { type Rejection, rejection, type Result } from "../base/rejections.ts";
import { openedRoomsKey, roomCountKey } from "../kv/keys.ts";
import type { RoomRules, Sanction } from "../kv/moderation_values.ts";
import { withTimeout } from "../kv/retry.ts";
import { countFrom } from "../kv/values.ts";
import { takeShared } from "../nicknames/shared_bucket.ts";
import type { Admit, Admitted } from "../storage/changes.ts";
import type { Session } from "../storage/records.ts";
import type { Resumable } from "../storage/takeover.ts";
import type { Roles } from "./roles.ts";
import type { RoomStates } from "./room_states.ts";
import {
  type FoundStanding,
  isNickname,
  isUser,
  type ModerationRows,
  type Person,
  type Reading,
} from "./rows.ts";

/** What {@linkcode Entries} is made of. */
export interface EntriesParts {
  readonly kv: Deno.Kv;
  readonly clock: Clock;
  readonly roles: Roles;
  readonly rows: ModerationRows;
  readonly states: RoomStates;
  /** Whether a registered user who opens a room moderates it. */
  readonly roomOwners: boolean;
  /** The number of acts that were delivered so far. */
  delivered(): number;
  shardOf(name: string): number;
}

/** A question to moderation while a change is planned. After a refusal it has the reason. */
export interface Gate {
  readonly admit: Admit;
  readonly rejection: Rejection | undefined;
}

/** The identity that a session is about to have. */
export interface NewIdentity {
  readonly nick: string;
  readonly claims: readonly string[];
  /** The ID of the registered user; absent: none. */
  readonly user?: string;
}

/** A session that may be resumed. */
export interface MayResume {
  readonly lastAct: string | null;
  /** Rooms in which it must not be any more. */
  readonly lostRooms: readonly string[];
}

/** Rooms that a user may open as their owner in a day: each leaves a row. */
const OWNED_ROOMS_RATE = { burst: 10, ms: 86_400_000 };

/** Answers who may enter, for one instance. */
export class Entries {
  readonly #parts: EntriesParts;

  constructor(parts: EntriesParts) {
    this.#parts = parts;
  }

  /** Returns the question whether a session may enter a room. */
  room(session: Session): Gate {
    return gate((room) => this.#admitToRoom(session, room));
  }

  /**
   * Returns why a session may not enter a room now; `undefined`: it may.
   *
   * @throws when KV cannot be read.
   */
  async whyNotEnter(session: Session, room: string): Promise<Rejection | undefined> {
    return this.#whyNotEnter(session, room, await this.#read(session, room));
  }

  /**
   * Returns the question whether a session may have an identity: whether it may be in the chat, and may
   * have that nickname in its rooms.
   */
  identity(session: Session, identity: NewIdentity): Gate {
    return gate((name) => this.#admitIdentity(session, identity, name));
  }

  /**
   * Returns whether a session may be resumed, and the rooms that it has lost.
   *
   * @throws when KV cannot be read.
   */
  async resume(found: Resumable): Promise<Result<MayResume>> {
    const { rows, shardOf } = this.#parts;
    const person = this.#personOf(found, found.address);
    // The takeover is submitted under the session's ID.
    const chat = await rows.read("", shardOf(found.id), { ...person, address: "", claims: [] });
    const { ban, kickedAt } = chat.standings[0]!.standing;
    if (ban !== undefined) return this.#bannedFromChat(ban);
    // A kick from the whole chat has ended the session, but its instance has crashed.
    if (kickedAt >= found.since) return rejection.badToken;
    const lostRooms: string[] = [];
    for (const room of found.rooms) {
      const { standings } = await rows.read(room, shardOf(room), {
        ...person,
        address: "",
        claims: [],
      });
      const { ban, kickedAt } = standings[0]!.standing;
      if (ban !== undefined || kickedAt > 0) lostRooms.push(room);
    }
    return { ok: true, lastAct: chat.lastAct, lostRooms };
  }

  /**
   * Loads what holds in the rooms of a session that this instance has taken over, or that speaks for another
   * user now.
   *
   * @throws when KV cannot be read.
   */
  async load(session: Session): Promise<void> {
    for (const room of session.rooms) await this.loadRoom(session, room);
  }

  /**
   * Loads what holds for a session in one room.
   *
   * @throws when KV cannot be read.
   */
  async loadRoom(session: Session, room: string): Promise<void> {
    await this.#read(session, room);
  }

  /** Reads what holds for a session in a room, and keeps it in memory. */
  async #read(session: Session, room: string): Promise<Reading> {
    const { rows, states, delivered, shardOf } = this.#parts;
    while (true) {
      const before = delivered();
      const person = this.#personOf(session, session.address);
      const reading = await rows.read(room, shardOf(room), person);
      // An act that was delivered meanwhile may not be in what was read.
      if (delivered() !== before || person.user !== session.user) continue;
      // A mute stays when the session begins to speak for another user.
      const mute = this.#sanctionOf(reading.standings, person, "mute")?.sanction ??
        states.muteOf(session, room);
      states.load(session, room, reading.rules, mute);
      return reading;
    }
  }

  async #admitToRoom(session: Session, room: string): Promise<Result<{ admitted: Admitted }>> {
    const { rows } = this.#parts;
    const reading = await this.#read(session, room);
    const why = this.#whyNotEnter(session, room, reading);
    if (why !== undefined) return why;
    const [{ subject, standing }] = reading.standings as [FoundStanding];
    const kicked = standing.kickedAt > 0
      ? [rows.putStanding(room, subject, { ...standing, kickedAt: 0 })]
      : [];
    const owned = await this.#ownership(session, room, reading);
    const { lastAct } = reading;
    const mutations = [...kicked, ...owned.mutations];
    return { ok: true, admitted: { lastAct, checks: owned.checks, mutations } };
  }

  #whyNotEnter(
    session: Session,
    room: string,
    { rules, standings }: Reading,
  ): Rejection | undefined {
    const { roles, states } = this.#parts;
    if (roles.isOperator(session)) return undefined;
    const person = this.#personOf(session, session.address);
    const banned = this.#sanctionOf(standings, person, "ban");
    if (banned !== undefined) {
      const { until, reason } = banned.sanction;
      return isNickname(banned.subject)
        ? rejection.lookalikeOfBanned(session.nick)
        : rejection.bannedFromRoom(room, reason, states.waitOf(until));
    }
    const isRegistered = session.account !== "";
    const isInvited = standings[0]!.standing.isInvited ||
      (isRegistered && rules.moderators.has(session.user));
    if (isInvited) return undefined;
    if (rules.isPrivate) return rejection.private(room);
    return rules.isLocked && !isRegistered ? rejection.locked(room) : undefined;
  }

  /** Plans that the user who opens a room moderates it, if that is how the server is set up. */
  async #ownership(
    session: Session,
    room: string,
    { rules, rulesCheck }: Reading,
  ): Promise<{ checks: Deno.AtomicCheck[]; mutations: Deno.KvMutation[] }> {
    const { kv, clock, rows, roomOwners } = this.#parts;
    const nothing = { checks: [], mutations: [] };
    if (!roomOwners || session.account === "" || rulesCheck.versionstamp !== null) return nothing;
    const { key, value, versionstamp } = await withTimeout(clock, kv.get(roomCountKey(room)));
    if (countFrom(value) > 0) return nothing;
    if (await takeShared(kv, clock, openedRoomsKey(session.user), OWNED_ROOMS_RATE) > 0) {
      return nothing;
    }
    const owned: RoomRules = { ...rules, moderators: new Map([[session.user, session.nick]]) };
    return {
      checks: [rulesCheck, { key, versionstamp }],
      mutations: rows.putRules(room, owned),
    };
  }

  async #admitIdentity(
    session: Session,
    { nick, claims, user }: NewIdentity,
    name: string,
  ): Promise<Result<{ admitted: Admitted }>> {
    const { rows, states, shardOf } = this.#parts;
    const isRenamed = session.nick !== "" && session.nick !== nick;
    for (const room of isRenamed ? session.rooms : []) {
      const muted = states.whyNotWrite(session, room);
      if (muted !== undefined) return muted;
    }
    const isRegistered = user !== undefined;
    const { id, address } = session;
    const person: Person = { user: user ?? id, isRegistered, address, claims };
    const { lastAct, standings } = await rows.read("", shardOf(name), person);
    const banned = this.#sanctionOf(standings, person, "ban");
    if (banned !== undefined) {
      return isNickname(banned.subject)
        ? rejection.lookalikeOfBanned(nick)
        : this.#bannedFromChat(banned.sanction);
    }
    for (const room of isRenamed ? session.rooms : []) {
      const inRoom = await rows.read(room, shardOf(room), { ...person, address: "" });
      const why = this.#sanctionOf(inRoom.standings, person, "ban");
      if (why !== undefined) return rejection.lookalikeOfBanned(nick);
    }
    return { ok: true, admitted: { lastAct } };
  }

  #bannedFromChat({ reason, until }: Sanction): Rejection {
    return rejection.bannedFromChat(reason, this.#parts.states.waitOf(until));
  }

  /**
   * Returns the ban or mute of a person, and the subject that it is stored for. That of an address or
   * nickname holds for unregistered users, and for those who registered after it began.
   */
  #sanctionOf(
    standings: readonly FoundStanding[],
    { user, isRegistered }: Person,
    kind: "ban" | "mute",
  ): { subject: string; sanction: Sanction } | undefined {
    for (const { subject, standing } of standings) {
      const sanction = standing[kind];
      if (sanction === undefined) continue;
      const isOwn = isUser(subject);
      if (isOwn || !isRegistered || registeredAt(user) >= sanction.at) return { subject, sanction };
    }
    return undefined;
  }

  #personOf(
    { user, account, claims }: Pick<Session, "user" | "account" | "claims">,
    address: string,
  ): Person {
    const isRegistered = account !== "";
    return { user, isRegistered, address, claims: isRegistered ? [account] : claims };
  }
}

/** Returns a gate that asks, and keeps the reason of the last refusal. */
function gate(ask: (name: string) => Promise<Result<{ admitted: Admitted }>>): Gate {
  let rejection: Rejection | undefined;
  return {
    get rejection() {
      return rejection;
    },
    async admit(name) {
      const answer = await ask(name);
      rejection = answer.ok ? undefined : answer;
      return answer.ok ? answer.admitted : "refused";
    },
  };
}

/** Returns the Unix milliseconds at which a user registered: part of the ID. Unknown: long ago. */
function registeredAt(user: string): number {
  try {
    return decodeTime(user);
  } catch {
    return 0;
  }
}
