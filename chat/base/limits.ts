/**
 * Every limit of the chat, with its unit and its reason, and the settings that limits follow from.
 *
 * It enforces nothing: the code that receives the input does (router, names, Connection, Handler,
 * RateLimiter, Sender).
 */
import type { Rate } from "./token_bucket.ts";

/** The limits of one chat. All are whole numbers greater than zero. */
export interface Limits {
  /** Code points of a nickname. Longer ones break the layout of every client. */
  readonly nickname: number;
  /** Bytes of UTF-8 of a nickname: four for each code point, so that no script is limited more. */
  readonly nicknameBytes: number;
  /** Code points of a room name. */
  readonly room: number;
  /** Bytes of UTF-8 of a room name. It is part of a KV key, which has at most 2 KiB. */
  readonly roomBytes: number;
  /** Bytes of UTF-8 of a message. A longer one is rejected with an error. */
  readonly messageBytes: number;
  /**
   * Bytes of UTF-8 of a frame. A longer one is no typing mistake, and closes the connection with 1009
   * (RFC 6455, section 7.4.1).
   */
  readonly frameBytes: number;
  /** Messages of one connection that may wait for their commit. After that the next frame waits. */
  readonly pendingMessages: number;
  /** Frames of one connection that may wait to be handled. One more closes it with 1008. */
  readonly inboxFrames: number;
  /** The same in UTF-16 code units, so that few large frames use no more memory than many small ones. */
  readonly inboxUnits: number;
  /** Unsent bytes of one socket. With more, the client does not read, and is disconnected with 1013. */
  readonly bufferedBytes: number;
  /**
   * Unsent bytes of all sockets together. With more, the clients with the most unsent data are
   * disconnected earlier. A runtime that cannot abort a connection keeps unsent data until the client
   * closes it.
   */
  readonly bufferedBytesInAll: number;
  /** Seconds without any frame, pings included, after which the runtime closes a socket. */
  readonly idleSeconds: number;
}

/** The limits that the operator can set, named like their flags and environment variables. */
export interface LimitSettings {
  /** Code points of a nickname: 1 to 128. Default 32. */
  readonly nickname?: number;
  /** Code points of a room name: 1 to 256. Default 64. */
  readonly room?: number;
  /** Bytes of a message: 1 to 24,576. Default 16,384. */
  readonly message?: number;
  /**
   * Unsent bytes of one connection: 1,048,576 (what resuming a session needs) to 67,108,864. Default
   * 1,048,576.
   */
  readonly unread?: number;
}

/** A number of actions within some seconds: all at once, or distributed in any way. */
export interface Allowance {
  readonly many: number;
  readonly seconds: number;
}

/** Rate limits. `off`: no limit. */
export interface RateLimitSettings {
  /**
   * Messages of one connection. A message of more than 1 KiB, or of more than four lines, counts as
   * several. Default 30 in 15 s.
   */
  readonly messages?: Allowance | "off";
  /** Other commands and requests. Every 4 KiB of a reply count as one more. Default 120 in 30 s. */
  readonly commands?: Allowance | "off";
  /** Rooms that a connection joins. Default 30 in 60 s. */
  readonly joins?: Allowance | "off";
  /** Nicknames that a connection requests, at login too. Default 20 in 60 s. */
  readonly nicks?: Allowance | "off";
  /**
   * Messages from all users together to one room, or to one user, counted like `messages`. Default 200
   * in 5 s.
   */
  readonly room?: Allowance | "off";
  /** Connections that an address opens. Default 100 in 60 s; off for addresses of this machine. */
  readonly connections?: Allowance | "off";
  /**
   * Nicknames that an address registers, on all instances together. Default 5 a day; off for addresses
   * of this machine.
   */
  readonly registrations?: Allowance | "off";
  /**
   * How many times the limits of one connection apply to all connections of an address together.
   * Default 10; off for addresses of this machine.
   */
  readonly together?: number | "off";
  /** Seconds within which a connection must have a nickname. Default 60. */
  readonly unnamed?: number | "off";
}

/** Limits of the connections to one instance. */
export interface ConnectionSettings {
  /** Connections in all: 1 to 1,000,000. Default 10,000. */
  readonly connections?: number;
  /** Connections from one address: the same range. Default 100; no limit for this machine's own. */
  readonly perAddress?: number;
}

/** Rate limits as token buckets; `undefined`: no limit. */
export interface RateLimits {
  /** For one connection. */
  readonly one: ActionRates;
  /** For all connections of an address together. */
  readonly address: ActionRates;
  /** For the messages from all users together to one room. */
  readonly room: Rate | undefined;
  readonly connection: Rate | undefined;
  readonly registration: Rate | undefined;
  /** Milliseconds within which a connection must have a nickname; 0: no limit. */
  readonly unnamed: number;
  /** `Infinity`: no limit. */
  readonly connections: number;
  readonly perAddress: number;
  /** Whether the limits apply to addresses that many clients may share, such as this machine's own. */
  readonly countsShared: boolean;
  /** The same for registrations. */
  readonly registersShared: boolean;
}

/** A kind of rate-limited action. `command` is every command or request of no other kind. */
export type ActionKind = "message" | "command" | "join" | "nick";

/** The rate of each kind of action; `undefined`: no limit. */
export type ActionRates = Readonly<Record<ActionKind, Rate | undefined>>;

/** How long history, sessions and registrations are kept. */
export interface RetentionSettings {
  /** Seconds for which messages are kept: 0 (they are not) to ten years. Default 7 days. */
  readonly history?: number;
  /**
   * Bytes that history may take in KV: 1,048,576 to 2^50, or `Infinity` for no limit. The oldest rows
   * are removed first. One room may take a tenth, but at least a mebibyte. Default 1 GiB.
   */
  readonly maxHistory?: number;
  /** Whether clients may read the history of rooms that they are not in. Default: no. */
  readonly openHistory?: boolean;
  /** Seconds for which a lost connection can be resumed: 0 to an hour. Default 30. */
  readonly grace?: number;
  /**
   * Seconds after which an unused registered nickname expires: up to ten years; 0: nicknames cannot be
   * registered. Default one year. Without an expiry, an abandoned nickname would be taken for ever.
   */
  readonly registered?: number;
}

/** The same with all defaults, in milliseconds. */
export interface Retention {
  readonly retention: number;
  /** Bytes; `Infinity`: no limit. */
  readonly maxHistory: number;
  readonly openHistory: boolean;
  readonly grace: number;
  readonly registered: number;
}

/** The largest value of each setting, with the reason. */
export const MAX = {
  /** 512 bytes of UTF-8. A key has at most 2 KiB, and holds a nickname at most twice. */
  nickname: 128,
  /** 1,024 bytes of UTF-8. A key has at most 2 KiB. */
  room: 256,
  /** A KV value has at most 64 KiB, a text may take two bytes a character, and others share the row. */
  message: 24 * 1024,
  /** More would be a leak, not backpressure. */
  unread: 64 * 1024 * 1024,
  /** More than any process can hold. */
  connections: 1_000_000,
  perAddress: 1_000_000,
  /** More than any client can do: use `off` instead. */
  many: 1_000_000,
  /** A day. */
  seconds: 86_400,
  /** Ten years. */
  history: 3650 * 86_400,
  /** An hour: for that time no other user can have the nickname. */
  grace: 3600,
  /** Ten years. */
  registered: 3650 * 86_400,
  /** More than a disk holds: use `off` instead. */
  maxHistory: 2 ** 50,
} as const;

/** The smallest value of a setting, where that is more than 1. */
export const MIN = {
  /** The missed events of a resumed session, or a page of history, must fit. */
  unread: 1024 * 1024,
  /** The program alone takes about 100 MiB. */
  memoryBytes: 192 * 1024 * 1024,
  /** About one page of long messages. */
  maxHistory: 1024 * 1024,
} as const;

/**
 * Returns how long everything is kept, from the operator's settings.
 *
 * @throws {RangeError} when a setting is not a number from 0, or its minimum in {@linkcode MIN}, to its
 * maximum.
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
    const max = MAX[name as "history" | "grace" | "registered"];
    if (!(seconds >= 0 && seconds <= max)) {
      throw new RangeError(`${name} must be a number of seconds from 0 to ${max}, not ${seconds}`);
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

/** Clients that may have the most unsent data at the same time. */
const MAX_SLOW_READERS = 256;

/**
 * Returns the limits that follow from the operator's settings. `isTrusted`: without the limits that
 * only protect clients from each other.
 *
 * @throws {RangeError} when a setting is not a whole number from its minimum to its maximum.
 */
export function limitsFrom(settings: LimitSettings = {}, isTrusted: boolean = false): Limits {
  const pick = (name: keyof LimitSettings, defaultValue: number, min = 1): number => {
    const value = settings[name] ?? defaultValue;
    assertWhole(name, value, min, MAX[name]);
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
    // Few, so that one connection takes a small part of a commit, which is delivered all at once.
    pendingMessages: isTrusted ? 256 : 16,
    inboxFrames: 1024,
    inboxUnits: 256 * 1024,
    bufferedBytes,
    bufferedBytesInAll: isTrusted ? Infinity : MAX_SLOW_READERS * bufferedBytes,
    idleSeconds: 30,
  };
}

/**
 * Messages from all users together to one room. A message that counts as 1 takes at most 2 KB for each
 * reader: 1 KiB of text, and nickname, room and field names. So 200 at once are 0.4 MB, less than the
 * unsent data that one socket may have, and 40 a second are 80 KB or 0.65 Mbit/s: a reader at 5 Mbit/s
 * receives the whole burst in 0.7 s. One address may send 20 a second
 * ({@linkcode RateLimitSettings.together}), so it cannot use up a room's limit alone.
 */
const ROOM_ALLOWANCE: Allowance = { many: 200, seconds: 5 };

/**
 * Returns the rate limits that follow from the operator's settings. The defaults are enough for a fast
 * user, a polite bot, a paste of twenty lines, and a school with one address. (Ergo: 5 lines at once
 * and 2 a second after that, 16 connections and 32 new ones in 10 minutes from an address; InspIRCd:
 * 10 at once and 1 a second, 3 connections.)
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
    room: rateFrom("room", set.room ?? ROOM_ALLOWANCE),
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

function assertWhole(name: string, value: number, min: number, max: number): void {
  if (Number.isInteger(value) && value >= min && value <= max) return;
  throw new RangeError(`${name} must be a whole number from ${min} to ${max}, not ${value}`);
}

const encoder = new TextEncoder();

/**
 * Returns the bytes of UTF-8 of a text, for comparison with a limit. If an upper bound of them is
 * within the limit, returns that bound, which is quicker.
 */
export function sizeOf(text: string, limit: number): number {
  return text.length * 3 <= limit ? text.length * 3 : encoder.encode(text).length;
}
