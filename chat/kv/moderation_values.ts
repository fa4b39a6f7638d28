/**
 * The values of moderation in KV: rules of rooms, standings, banned networks, and who ignores whom.
 *
 * Apart from values.ts only because that file is long. Another version of the program may have written a
 * row: each function returns what it knows of it.
 */
import { fieldsOf, type UserPair, userPairsFrom } from "./values.ts";

/** Unix milliseconds that stand for "no end": the last time that a `Date` can hold. */
export const NO_END = 8.64e15;

/** What the moderators have decided for a room. */
export interface RoomRules {
  /** The moderators' nicknames when they were appointed, by user ID. */
  readonly moderators: ReadonlyMap<string, string>;
  /** Empty: there is none. */
  readonly topic: string;
  /** Seconds between two messages of a user; 0: no limit. */
  readonly slow: number;
  /** Whether only registered users may join. */
  readonly isLocked: boolean;
  /** Whether only invited users may join. */
  readonly isPrivate: boolean;
  /** Unix milliseconds until which only moderators may write; 0: everyone may. */
  readonly mutedUntil: number;
}

/** The rules of a room of which no moderator has decided anything. */
export const NO_RULES: RoomRules = {
  moderators: new Map(),
  topic: "",
  slow: 0,
  isLocked: false,
  isPrivate: false,
  mutedUntil: 0,
};

/** Reads the rules of a room. */
export function roomRulesFrom(value: unknown): RoomRules {
  const { moderators, topic, slow, locked, private: isPrivate, mutedUntil } = fieldsOf(value);
  return {
    moderators: new Map(userPairsFrom(moderators)),
    topic: typeof topic === "string" ? topic : "",
    slow: typeof slow === "number" ? slow : 0,
    isLocked: locked === true,
    isPrivate: isPrivate === true,
    mutedUntil: typeof mutedUntil === "number" ? mutedUntil : 0,
  };
}

/** Returns the stored form of rules; `undefined`: they say nothing. */
export function storedRoomRules(rules: RoomRules): Record<string, unknown> | undefined {
  const { moderators, topic, slow, isLocked, isPrivate, mutedUntil } = rules;
  const value: Record<string, unknown> = {};
  if (topic !== "") value.topic = topic;
  if (slow > 0) value.slow = slow;
  if (isLocked) value.locked = true;
  if (isPrivate) value.private = true;
  if (mutedUntil > 0) value.mutedUntil = mutedUntil;
  if (moderators.size === 0 && Object.keys(value).length === 0) return undefined;
  return { v: 1, moderators: [...moderators], ...value };
}

/** A ban or a mute. */
export interface Sanction {
  /** Unix milliseconds at which it ends; {@linkcode NO_END}: it does not. */
  readonly until: number;
  readonly reason: string;
  /** The nickname of the moderator. */
  readonly by: string;
  /** Unix milliseconds at which it began. */
  readonly at: number;
}

/** Reads a ban or a mute; `undefined` for another form. */
export function sanctionFrom(value: unknown): Sanction | undefined {
  const { until, reason, by, at } = fieldsOf(value);
  if (typeof until !== "number") return undefined;
  return {
    until,
    reason: typeof reason === "string" ? reason : "",
    by: typeof by === "string" ? by : "",
    at: typeof at === "number" ? at : 0,
  };
}

/** What acts say of a user, an address or a nickname in a room or in the whole chat. */
export interface Standing {
  /** The nickname of the user when the last act was done. */
  readonly nick: string;
  readonly ban?: Sanction;
  readonly mute?: Sanction;
  readonly isInvited: boolean;
  /** Unix milliseconds of a kick that an instance may not have carried out, because it crashed; 0: none. */
  readonly kickedAt: number;
}

/** The standing of a user of whom no act says anything. */
export const NO_STANDING: Standing = { nick: "", isInvited: false, kickedAt: 0 };

/** Reads a standing at the Unix time `nowMs`, without what has ended by then. */
export function standingFrom(value: unknown, nowMs: number): Standing {
  const { nick, ban, mute, invited, kickedAt } = fieldsOf(value);
  const valid = (sanction: Sanction | undefined) =>
    sanction !== undefined && sanction.until > nowMs ? sanction : undefined;
  return {
    nick: typeof nick === "string" ? nick : "",
    ban: valid(sanctionFrom(ban)),
    mute: valid(sanctionFrom(mute)),
    isInvited: invited === true,
    kickedAt: typeof kickedAt === "number" ? kickedAt : 0,
  };
}

/** Returns the stored form of a standing; `undefined`: it says nothing. */
export function storedStanding(standing: Standing): Record<string, unknown> | undefined {
  const { nick, ban, mute, isInvited, kickedAt } = standing;
  const value: Record<string, unknown> = {};
  if (ban !== undefined) value.ban = ban;
  if (mute !== undefined) value.mute = mute;
  if (isInvited) value.invited = true;
  if (kickedAt > 0) value.kickedAt = kickedAt;
  return Object.keys(value).length === 0 ? undefined : { v: 1, nick, ...value };
}

/** Reads the users that a registered user ignores, by ID, with their nicknames. */
export function ignoredFrom(value: unknown): ReadonlyMap<string, string> {
  return new Map<string, string>(userPairsFrom(fieldsOf(value).users) as UserPair[]);
}

/** Returns the stored form of the users that a registered user ignores. */
export function storedIgnored(ignored: ReadonlyMap<string, string>): Record<string, unknown> {
  return { v: 1, users: [...ignored] };
}
