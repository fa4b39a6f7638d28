/**
 * The limits of a chat, each with its unit and its reason: what `startChat` accepts, and what follows.
 *
 * The ranges and defaults stand in {@linkcode OPTIONS}. This file enforces no limit: the code that
 * meets the input does (the HTTP router, rate limiter, names, Connection, Handler, Sender).
 */
import {
  type Allowance,
  ALLOWANCE_RANGE,
  type AllowanceName,
  DEFAULT_RATES,
  type NumberFlag,
  OPTIONS,
} from "./options.ts";
import type { Rate } from "./token_bucket.ts";

export type { Allowance } from "./options.ts";

/** The limits of one chat. All are whole numbers greater than zero. */
export interface Limits {
  /** Longest nickname, in code points. Longer ones break the layout of every client. */
  readonly maxNicknameChars: number;
  /** Longest nickname, in bytes of UTF-8: four a code point, so that every script has the same room. */
  readonly maxNicknameBytes: number;
  /** Longest room name, in code points. */
  readonly maxRoomChars: number;
  /** Longest room name, in bytes of UTF-8. It is part of a KV key, which ends at 2 KiB. */
  readonly maxRoomBytes: number;
  /** Rooms that a user may be in at the same time, over all of its sessions. */
  readonly maxRooms: number;
  /** Longest line, in bytes of UTF-8. The server answers a longer line with an error. */
  readonly maxMessageBytes: number;
  /**
   * Longest frame, in bytes of UTF-8. No user types a longer one by mistake, so it closes the
   * connection with 1009 (RFC 6455, section 7.4.1).
   */
  readonly maxFrameBytes: number;
  /** Messages of one connection whose commits may be pending; the next frame waits. */
  readonly maxPendingMessages: number;
  /** Frames of one connection that may be queued; one more closes it with 1008. */
  readonly maxInboxFrames: number;
  /** UTF-16 code units in that queue, so that few large frames cost no more than many small ones. */
  readonly maxInboxCodeUnits: number;
  /** Unsent bytes that one socket may hold; above it the client is disconnected with 1013. */
  readonly maxUnsentBytes: number;
  /**
   * Unsent bytes that all sockets together may hold; above it the server disconnects the slowest
   * readers first. A runtime that cannot cut a connection keeps its unsent data until the peer closes.
   */
  readonly maxTotalUnsentBytes: number;
  /** Seconds without any frame, pings included, after which the runtime drops a socket. */
  readonly idleSeconds: number;
}

/** The limits that the operator may set; ranges and defaults stand in {@linkcode OPTIONS}. */
export interface LimitSettings {
  /** Code points of a nickname (`--max-nickname`). */
  readonly maxNicknameChars?: number;
  /** Code points of a room name (`--max-room`). */
  readonly maxRoomChars?: number;
  /** Rooms that a user may be in (`--max-rooms`). */
  readonly maxRooms?: number;
  /** Bytes of a message (`--max-message`). */
  readonly maxMessageBytes?: number;
  /** Unsent bytes of a connection (`--max-unread`). */
  readonly maxUnsentBytes?: number;
}

/** Changes to the rate limits; their defaults and meanings are those of {@linkcode DEFAULT_RATES}. */
export type RateLimitSettings = {
  readonly [Name in keyof typeof DEFAULT_RATES]?: RateSetting<Name> | "off";
};

type RateSetting<Name> = Name extends AllowanceName ? Allowance : number;

/** How many clients may be connected to one instance. */
export interface ConnectionSettings {
  /** Connections in total (`--max-connections`). */
  readonly maxConnections?: number;
  /** Connections from one address (`--max-per-address`). By default loopback has no limit. */
  readonly maxPerAddress?: number;
}

/** The rate limits of one connection and of one address; `undefined` means no limit. */
export interface RateLimits {
  readonly connectionActions: ActionRates;
  readonly addressActions: ActionRates;
  /** Messages to one room, from all senders. */
  readonly roomMessages: Rate | undefined;
  readonly newConnections: Rate | undefined;
  readonly registrations: Rate | undefined;
  /** Milliseconds within which a connection must choose a nickname; 0: no limit. */
  readonly loginTimeoutMs: number;
  /** Connections of the instance; `Infinity`: no limit. */
  readonly maxConnections: number;
  /** Connections of one address; `Infinity`: no limit. */
  readonly maxPerAddress: number;
  /** Whether loopback addresses, which many clients may share, are limited like all others. */
  readonly limitsLoopback: boolean;
  /** Whether registrations from loopback addresses are limited. */
  readonly limitsLoopbackRegistrations: boolean;
}

/** The kinds of action with rate limits of their own; `command` is every other action. */
export type ActionKind = "message" | "command" | "join" | "nick";

/** The rate limit of each kind of action. */
export type ActionRates = Readonly<Record<ActionKind, Rate | undefined>>;

/** What the server keeps, and how long; ranges and defaults stand in {@linkcode OPTIONS}. */
export interface RetentionSettings {
  /** Seconds for which messages are kept (`--history`); 0: not at all. */
  readonly historySeconds?: number;
  /**
   * Bytes that history may take in KV (`--max-history`), or `Infinity`. The oldest messages are removed
   * first. One room may take a tenth of it, and always 1 MiB.
   */
  readonly maxHistoryBytes?: number;
  /** Whether every user may read the history of every room, not only members. Default: false. */
  readonly openHistory?: boolean;
  /** Seconds for which a client can resume its session (`--grace`); 0: it cannot. */
  readonly graceSeconds?: number;
  /** Seconds for which an unused registration is kept (`--registered`); 0: no registrations. */
  readonly registrationSeconds?: number;
  /** Seconds for which users may edit and delete their own messages (`--edit`); 0: not at all. */
  readonly editSeconds?: number;
  /** Seconds for which acts of moderation are kept (`--mod-log`); 0: not at all. */
  readonly modLogSeconds?: number;
}

/** {@linkcode RetentionSettings} with all defaults, in milliseconds. */
export interface RetentionLimits {
  readonly historyMs: number;
  /** `Infinity`: no limit. */
  readonly maxHistoryBytes: number;
  readonly openHistory: boolean;
  readonly graceMs: number;
  readonly registrationMs: number;
  readonly editMs: number;
  readonly modLogMs: number;
}

/**
 * Returns the retention that the settings describe.
 *
 * @throws {RangeError} if a setting is outside its range in {@linkcode OPTIONS}.
 */
export function retentionFrom(settings: RetentionSettings = {}): RetentionLimits {
  const {
    historySeconds: history = OPTIONS.history.default,
    maxHistoryBytes: maxHistory = OPTIONS["max-history"].default,
    openHistory = false,
    graceSeconds: grace = OPTIONS.grace.default,
    registrationSeconds: registered = OPTIONS.registered.default,
    editSeconds: edit = OPTIONS.edit.default,
    modLogSeconds: modLog = OPTIONS["mod-log"].default,
  } = settings;
  assertDuration("historySeconds", history, "history");
  assertDuration("graceSeconds", grace, "grace");
  assertDuration("registrationSeconds", registered, "registered");
  assertDuration("editSeconds", edit, "edit");
  assertDuration("modLogSeconds", modLog, "mod-log");
  if (maxHistory !== Infinity) assertInRange("maxHistoryBytes", maxHistory, "max-history");
  return {
    historyMs: history * 1000,
    maxHistoryBytes: maxHistory,
    openHistory,
    graceMs: grace * 1000,
    registrationMs: registered * 1000,
    editMs: edit * 1000,
    modLogMs: modLog * 1000,
  };
}

/** How many of the slowest readers may fill their send buffers at the same time. */
const MAX_FULL_BUFFERS = 256;

/**
 * Returns the limits that the settings describe. `trusted` says that all clients are trusted: limits
 * that only keep one client from slowing others down are lifted.
 *
 * @throws {RangeError} if a setting is outside its range in {@linkcode OPTIONS}.
 */
export function limitsFrom(settings: LimitSettings = {}, trusted: boolean = false): Limits {
  const {
    maxNicknameChars: nickname = OPTIONS["max-nickname"].default,
    maxRoomChars: room = OPTIONS["max-room"].default,
    maxRooms: rooms = OPTIONS["max-rooms"].default,
    maxMessageBytes: message = OPTIONS["max-message"].default,
    maxUnsentBytes: unread = OPTIONS["max-unread"].default,
  } = settings;
  assertInRange("maxNicknameChars", nickname, "max-nickname");
  assertInRange("maxRoomChars", room, "max-room");
  assertInRange("maxRooms", rooms, "max-rooms");
  assertInRange("maxMessageBytes", message, "max-message");
  assertInRange("maxUnsentBytes", unread, "max-unread");
  return {
    maxNicknameChars: nickname,
    maxNicknameBytes: nickname * 4,
    maxRoomChars: room,
    maxRoomBytes: room * 4,
    maxRooms: rooms,
    maxMessageBytes: message,
    maxFrameBytes: 64 * 1024,
    // Few, because all messages of a commit are shown at once: one connection gets a small share of it.
    maxPendingMessages: trusted ? 256 : 16,
    maxInboxFrames: 1024,
    maxInboxCodeUnits: 256 * 1024,
    maxUnsentBytes: unread,
    maxTotalUnsentBytes: trusted ? Infinity : MAX_FULL_BUFFERS * unread,
    idleSeconds: 30,
  };
}

/** Every rate limit off. */
const NO_LIMITS = Object.fromEntries(
  Object.keys(DEFAULT_RATES).map((name) => [name, "off"]),
) as RateLimitSettings;

/**
 * Returns the rate limits that the settings describe.
 *
 * @throws {RangeError} if a setting is outside its range.
 */
export function rateLimitsFrom(
  settings: RateLimitSettings | "off" = {},
  { maxConnections: connections, maxPerAddress: perAddress }: ConnectionSettings = {},
): RateLimits {
  const isOff = settings === "off";
  const set = isOff ? NO_LIMITS : settings;
  const rate = (name: AllowanceName) => rateFrom(name, set[name]);
  const { together = DEFAULT_RATES.together, unnamed = DEFAULT_RATES.unnamed } = set;
  if (together !== "off") assertWhole("together", together, ALLOWANCE_RANGE.count);
  if (unnamed !== "off") assertWhole("unnamed", unnamed, ALLOWANCE_RANGE.seconds);
  if (connections !== undefined) assertInRange("maxConnections", connections, "max-connections");
  if (perAddress !== undefined) assertInRange("maxPerAddress", perAddress, "max-per-address");
  const one: ActionRates = {
    message: rate("messages"),
    command: rate("commands"),
    join: rate("joins"),
    nick: rate("nicks"),
  };
  const times = (rate: Rate | undefined) =>
    rate && together !== "off" ? { ...rate, burst: rate.burst * together } : undefined;
  return {
    connectionActions: one,
    addressActions: {
      message: times(one.message),
      command: times(one.command),
      join: times(one.join),
      nick: times(one.nick),
    },
    roomMessages: rate("room"),
    newConnections: rate("connections"),
    registrations: rate("registrations"),
    limitsLoopbackRegistrations: set.registrations !== undefined,
    loginTimeoutMs: unnamed === "off" ? 0 : unnamed * 1000,
    maxConnections: connections ?? (isOff ? Infinity : OPTIONS["max-connections"].default),
    maxPerAddress: perAddress ?? (isOff ? Infinity : OPTIONS["max-per-address"].default),
    limitsLoopback: [perAddress, set.together, set.connections].some((each) =>
      each !== undefined && each !== "off"
    ),
  };
}

function rateFrom(
  name: AllowanceName,
  allowance: Allowance | "off" = DEFAULT_RATES[name],
): Rate | undefined {
  if (allowance === "off") return undefined;
  assertWhole(name, allowance.count, ALLOWANCE_RANGE.count);
  assertWhole(`the seconds of ${name}`, allowance.seconds, ALLOWANCE_RANGE.seconds);
  return { burst: allowance.count, ms: allowance.seconds * 1000 };
}

/** Durations may be fractions of a second: tests use them. */
function assertDuration(name: string, seconds: number, flag: NumberFlag): void {
  const { min, max } = OPTIONS[flag];
  if (seconds >= min && seconds <= max) return;
  throw new RangeError(`${name} must be from ${min} to ${max} seconds; got ${seconds}`);
}

function assertInRange(name: string, value: number, flag: NumberFlag): void {
  assertWhole(name, value, OPTIONS[flag]);
}

function assertWhole(
  name: string,
  value: number,
  { min, max }: { readonly min: number; readonly max: number },
): void {
  if (Number.isInteger(value) && value >= min && value <= max) return;
  throw new RangeError(`${name} must be a whole number from ${min} to ${max}; got ${value}`);
}

const encoder = new TextEncoder();

/**
 * Returns the size of a text in bytes of UTF-8, for a comparison with a limit. An upper bound is
 * returned instead if it is at most `enough`: it takes no encoding.
 */
export function utf8Size(text: string, enough: number): number {
  return text.length * 3 <= enough ? text.length * 3 : encoder.encode(text).length;
}
