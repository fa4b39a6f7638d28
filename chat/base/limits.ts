/**
 * Every limit of the chat in one place, each with its unit and its reason.
 *
 * Stands below everything. It does not enforce anything; whoever meets the input does (server, flood,
 * names, Connection, Handler, Sender).
 */
import type { Rate } from "./token_bucket.ts";

/** The limits of one chat. All are whole numbers greater than zero. */
export interface Limits {
  /** Longest nickname, in code points. Longer ones break the layout of every client. */
  readonly nickname: number;
  /** Longest nickname, in bytes of UTF-8. Four a code point, so that every script has the same room. */
  readonly nicknameBytes: number;
  /** Longest room name, in code points. */
  readonly room: number;
  /** Longest room name, in bytes of UTF-8. It is part of a KV key, which ends at 2 KiB. */
  readonly roomBytes: number;
  /** Longest line, in bytes of UTF-8. A longer one is answered with an error line. */
  readonly messageBytes: number;
  /**
   * Longest frame, in bytes of UTF-8. A longer one is no slip of a typist, and closes the
   * connection with 1009 (RFC 6455, section 7.4.1).
   */
  readonly frameBytes: number;
  /** Messages of one connection that may wait for their commit; the next frame waits for room. */
  readonly pendingMessages: number;
  /** Frames of one connection that may wait to be handled; one more closes it with 1008. */
  readonly inboxFrames: number;
  /** The same in UTF-16 code units, so that few large frames do not cost more than many small ones. */
  readonly inboxUnits: number;
  /** Bytes that may wait unsent for one socket; past it the peer does not read, and is let go (1013). */
  readonly bufferedBytes: number;
  /**
   * Bytes that may wait for all sockets together before those for whom most waits are let go sooner.
   * A runtime that cannot cut a connection keeps what waits for a peer until the peer hangs up.
   */
  readonly bufferedBytesInAll: number;
  /** Seconds without any sign of life, pings included, after which the runtime drops a socket. */
  readonly idleSeconds: number;
}

/** The limits that a user may set, as flags and environment variables name them. */
export interface LimitSettings {
  /** Code points of a nickname: 1 to 128. Default 32. */
  readonly nickname?: number;
  /** Code points of a room name: 1 to 256. Default 64. */
  readonly room?: number;
  /** Bytes of a message: 1 to 24,576. Default 16,384. */
  readonly message?: number;
  /**
   * Bytes that may wait for somebody who does not read: 1,048,576 (what coming back needs) to
   * 67,108,864. Default 1,048,576.
   */
  readonly unread?: number;
}

/** So many within so many seconds: all at once, or in any other way. */
export interface Allowance {
  readonly many: number;
  readonly seconds: number;
}

/** What may be done how often, so that nobody is flooded. `off`: as often as one likes. */
export interface RateLimitSettings {
  /**
   * Messages of one connection; one of more than 1 KiB, or of more than four lines, counts as several.
   * Default 30 in 15 s.
   */
  readonly messages?: Allowance | "off";
  /** Other commands and requests; each 4 KiB of their replies count as one more. Default 120 in 30 s. */
  readonly commands?: Allowance | "off";
  /** Rooms that are entered. Default 30 in 60 s. */
  readonly joins?: Allowance | "off";
  /** Nicknames that are taken or tried, at login too. Default 20 in 60 s. */
  readonly nicks?: Allowance | "off";
  /**
   * Messages of all people together to one room, and of all to one person, counted as above. Default
   * 200 in 5 s.
   */
  readonly room?: Allowance | "off";
  /** Connections that an address opens. Default 100 in 60 s, and for this machine's own: off. */
  readonly connections?: Allowance | "off";
  /**
   * Nicknames that an address registers, on all instances together. Default 5 in a day, and for this
   * machine's own: off.
   */
  readonly registrations?: Allowance | "off";
  /**
   * How many times as much as one connection all of an address may do together. Default 10, and for
   * this machine's own: off.
   */
  readonly together?: number | "off";
  /** Seconds in which a connection must have a nickname. Default 60. */
  readonly unnamed?: number | "off";
}

/** How many may be connected to one instance. */
export interface ConnectionSettings {
  /** Connections in all: 1 to 1,000,000. Default 10,000. */
  readonly connections?: number;
  /** Connections from one address: the same. Default 100, and for this machine's own: no limit. */
  readonly perAddress?: number;
}

/** What may be done how often, by one and by all of an address: buckets, of which `undefined` is none. */
export interface RateLimits {
  readonly one: ActionRates;
  readonly address: ActionRates;
  /** For messages to one room, whoever sends them. */
  readonly room: Rate | undefined;
  readonly connection: Rate | undefined;
  readonly registration: Rate | undefined;
  /** Milliseconds; 0: no limit. */
  readonly unnamed: number;
  /** `Infinity`: no limit. */
  readonly connections: number;
  readonly perAddress: number;
  /** Whether addresses that many may share are counted like all others. */
  readonly countsShared: boolean;
  /** The same of registrations. */
  readonly registersShared: boolean;
}

/** What is counted apart: commands that are none of the others, too. */
export type ActionKind = "message" | "command" | "join" | "nick";

/** How often each may be done. */
export type ActionRates = Readonly<Record<ActionKind, Rate | undefined>>;

/** What is kept, and for how long. */
export interface RetentionSettings {
  /** Seconds for which what is said is kept: 0 (it is not) to ten years. Default 7 days. */
  readonly history?: number;
  /**
   * Bytes that history may take in KV: 1,048,576 to 2^50, or `Infinity`: no limit. The oldest of it is
   * removed first. A tenth of it, but at least a mebibyte, may be one room's. Default 1 GiB.
   */
  readonly maxHistory?: number;
  /** Whether everybody may see the history of every room, and not only who is in it. Default: no. */
  readonly openHistory?: boolean;
  /** Seconds for which the place of somebody who dropped out is kept: 0 to an hour. Default 30. */
  readonly grace?: number;
  /**
   * Seconds for which a registered nickname is kept whose owner does not come: to ten years; 0: none
   * can be registered. Default a year: else what somebody registered once would be gone for ever.
   */
  readonly registered?: number;
}

/** The same, in milliseconds. */
export interface Retention {
  readonly retention: number;
  /** Bytes; `Infinity`: no limit. */
  readonly maxHistory: number;
  readonly openHistory: boolean;
  readonly grace: number;
  readonly registered: number;
}

/** What each setting may be at the most, and why: what KV can hold. */
export const MAX = {
  /** 512 bytes of UTF-8 in a key of 2 KiB, which holds it twice at the most. */
  nickname: 128,
  /** 1,024 bytes of UTF-8 in a key of 2 KiB. */
  room: 256,
  /** In a KV value (64 KiB) a text may take two bytes a character, and others share the row. */
  message: 24 * 1024,
  /** More is no backlog but a leak. */
  unread: 64 * 1024 * 1024,
  /** More than any process can hold. */
  connections: 1_000_000,
  perAddress: 1_000_000,
  /** More than anybody can do: what is meant is off. */
  many: 1_000_000,
  /** A day. */
  seconds: 86_400,
  /** Ten years. */
  history: 3650 * 86_400,
  /** An hour: so long nobody else can have the nickname. */
  grace: 3600,
  /** Ten years. */
  registered: 3650 * 86_400,
  /** More than a disk holds: what is meant is off. */
  maxHistory: 2 ** 50,
} as const;

/** What a setting must be at the least, where that is more than 1. */
export const MIN = {
  /** What is told to whoever comes back, and a page of history, must have room in it. */
  unread: 1024 * 1024,
  /** The program alone takes some 100 MiB. */
  memoryBytes: 192 * 1024 * 1024,
  /** Less is one page of long messages. */
  maxHistory: 1024 * 1024,
} as const;

/**
 * What follows from a user's settings of what is kept.
 *
 * @throws {RangeError} when a setting is not a number from 0 (or what stands in {@linkcode MIN}) to
 * its maximum.
 */
export function retentionFrom(
  {
    history = 7 * 86_400,
    maxHistory = 1024 ** 3,
    openHistory = false,
    grace = 30,
    registered = 365 * 86_400,
  }: RetentionSettings = {},
): Retention {
  for (const [name, seconds] of Object.entries({ history, grace, registered })) {
    const most = MAX[name as "history" | "grace" | "registered"];
    if (!(seconds >= 0 && seconds <= most)) {
      throw new RangeError(`${name} must be a number of seconds from 0 to ${most}`);
    }
  }
  if (maxHistory !== Infinity) {
    assertWhole("maxHistory", maxHistory, MIN.maxHistory, MAX.maxHistory);
  }
  return {
    retention: history * 1000,
    maxHistory,
    openHistory,
    grace: grace * 1000,
    registered: registered * 1000,
  };
}

/** How many of the slowest may have all that one may have. */
const SLOW = 256;

/**
 * The limits that follow from a user's settings. Where everybody is `trusted` nothing is bounded just
 * to keep some from getting in the others' way.
 *
 * @throws {RangeError} when a setting is not a whole number from 1 (or what stands there) to its
 * maximum.
 */
export function limitsFrom(settings: LimitSettings = {}, trusted: boolean = false): Limits {
  const pick = (name: keyof LimitSettings, usual: number, least = 1): number => {
    const value = settings[name] ?? usual;
    assertWhole(name, value, least, MAX[name]);
    return value;
  };
  const nickname = pick("nickname", 32);
  const room = pick("room", 64);
  const messageBytes = pick("message", 16 * 1024);
  const bufferedBytes = pick("unread", MIN.unread, MIN.unread);
  return {
    nickname,
    nicknameBytes: nickname * 4,
    room,
    roomBytes: room * 4,
    messageBytes,
    frameBytes: 64 * 1024,
    // Few: so that a commit, after which all of it is shown at once, has little of one connection.
    pendingMessages: trusted ? 256 : 16,
    inboxFrames: 1024,
    inboxUnits: 256 * 1024,
    bufferedBytes,
    bufferedBytesInAll: trusted ? Infinity : SLOW * bufferedBytes,
    idleSeconds: 30,
  };
}

/**
 * What one room takes from everybody together. One that counts 1 takes a reader at most 2 KB: 1 KiB of
 * text, and nickname, room and field names. So 200 at once are 0.4 MB, less than may wait for one
 * socket, and 40 a second are 80 KB or 0.65 Mbit/s: a reader at 5 Mbit/s has the whole burst in 0.7 s.
 * One address may send 20 a second ({@linkcode RateLimitSettings.together}), so it cannot fill a room alone.
 */
const ROOM: Allowance = { many: 200, seconds: 5 };

/**
 * How often things may be done, and by how many: what a fast human and a polite bot need. A paste of
 * twenty lines should not be noticed, and schools have one address. (Ergo: 5 lines at once and 2 a
 * second after that, 16 connections and 32 new ones in 10 minutes from an address; InspIRCd: 10 at once
 * and 1 a second, 3 connections.)
 *
 * @throws {RangeError} when a setting is out of its range.
 */
export function rateLimitsFrom(
  flood: RateLimitSettings | "off" = {},
  { connections, perAddress }: ConnectionSettings = {},
): RateLimits {
  const isOff = flood === "off";
  const { together: factor, ...set } = isOff ? OFF : flood;
  const together = factor === "off" ? Infinity : factor ?? 10;
  if (together !== Infinity) assertWhole("together", together, 1, MAX.many);
  const one: Record<ActionKind, Rate | undefined> = {
    message: rateFrom("messages", set.messages ?? { many: 30, seconds: 15 }),
    command: rateFrom("commands", set.commands ?? { many: 120, seconds: 30 }),
    join: rateFrom("joins", set.joins ?? { many: 30, seconds: 60 }),
    nick: rateFrom("nicks", set.nicks ?? { many: 20, seconds: 60 }),
  };
  const times = (rate: Rate | undefined) =>
    rate && together !== Infinity ? { ...rate, burst: rate.burst * together } : undefined;
  const unnamed = set.unnamed ?? 60;
  if (unnamed !== "off") assertWhole("unnamed", unnamed, 1, MAX.seconds);
  for (const [name, value] of Object.entries({ connections, perAddress })) {
    if (value !== undefined) assertWhole(name, value, 1, MAX[name as keyof ConnectionSettings]);
  }
  return {
    one,
    address: {
      message: times(one.message),
      command: times(one.command),
      join: times(one.join),
      nick: times(one.nick),
    },
    room: rateFrom("room", set.room ?? ROOM),
    connection: rateFrom("connections", set.connections ?? { many: 100, seconds: 60 }),
    registration: rateFrom("registrations", set.registrations ?? { many: 5, seconds: 86_400 }),
    registersShared: set.registrations !== undefined,
    unnamed: unnamed === "off" ? 0 : unnamed * 1000,
    connections: connections ?? (isOff ? Infinity : 10_000),
    perAddress: perAddress ?? (isOff ? Infinity : 100),
    countsShared: [perAddress, factor, set.connections].some((each) =>
      each !== undefined && each !== "off"
    ),
  };
}

const OFF: RateLimitSettings = {
  messages: "off",
  commands: "off",
  joins: "off",
  nicks: "off",
  room: "off",
  connections: "off",
  registrations: "off",
  together: "off",
  unnamed: "off",
};

function rateFrom(name: string, allowance: Allowance | "off"): Rate | undefined {
  if (allowance === "off") return undefined;
  assertWhole(name, allowance.many, 1, MAX.many);
  assertWhole(`the seconds of ${name}`, allowance.seconds, 1, MAX.seconds);
  return { burst: allowance.many, ms: allowance.seconds * 1000 };
}

function assertWhole(name: string, value: number, least: number, most: number): void {
  if (Number.isInteger(value) && value >= least && value <= most) return;
  throw new RangeError(`${name} must be a whole number from ${least} to ${most}, not ${value}`);
}

const encoder = new TextEncoder();

/** Bytes of UTF-8, to hold against a limit: an upper bound of them where that is within `enough`. */
export function sizeOf(text: string, enough: number): number {
  return text.length * 3 <= enough ? text.length * 3 : encoder.encode(text).length;
}
