/**
 * Every limit of the chat in one place, each with its unit and its reason.
 *
 * Stands below everything: it imports nothing. It does not enforce anything;
 * whoever meets the input does (names, Connection, Handler, Sender).
 */

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
}

/** What is kept, and for how long. */
export interface KeepSettings {
  /** Seconds for which what is said is kept: 0 (it is not) to ten years. Default 7 days. */
  readonly history?: number;
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
export interface Keeping {
  readonly retention: number;
  readonly openHistory: boolean;
  readonly grace: number;
  readonly registered: number;
}

/** What each setting may be at the most, and why: what KV can hold. */
export const MOST = {
  /** 512 bytes of UTF-8 in a key of 2 KiB, which holds it twice at the most. */
  nickname: 128,
  /** 1,024 bytes of UTF-8 in a key of 2 KiB. */
  room: 256,
  /** In a KV value (64 KiB) a text may take two bytes a character, and others share the row. */
  message: 24 * 1024,
  /** Ten years. */
  history: 3650 * 86_400,
  /** An hour: so long nobody else can have the nickname. */
  grace: 3600,
  /** Ten years. */
  registered: 3650 * 86_400,
} as const;

/**
 * What follows from a user's settings of what is kept.
 *
 * @throws {RangeError} when a setting is not a number from 0 to its maximum.
 */
export function keepingFrom(
  {
    history = 7 * 86_400,
    openHistory = false,
    grace = 30,
    registered = 365 * 86_400,
  }: KeepSettings = {},
): Keeping {
  for (const [name, seconds] of Object.entries({ history, grace, registered })) {
    const most = MOST[name as "history" | "grace" | "registered"];
    if (!(seconds >= 0 && seconds <= most)) {
      throw new RangeError(`${name} must be a number of seconds from 0 to ${most}`);
    }
  }
  return {
    retention: history * 1000,
    openHistory,
    grace: grace * 1000,
    registered: registered * 1000,
  };
}

/**
 * The limits that follow from a user's settings.
 *
 * @throws {RangeError} when a setting is not a whole number from 1 to its maximum.
 */
export function limitsFrom(settings: LimitSettings = {}): Limits {
  const pick = (name: keyof LimitSettings, usual: number): number => {
    const value = settings[name] ?? usual;
    if (!Number.isInteger(value) || value < 1 || value > MOST[name]) {
      throw new RangeError(`the longest ${name} must be a whole number from 1 to ${MOST[name]}`);
    }
    return value;
  };
  const nickname = pick("nickname", 32);
  const room = pick("room", 64);
  const messageBytes = pick("message", 16 * 1024);
  return {
    nickname,
    nicknameBytes: nickname * 4,
    room,
    roomBytes: room * 4,
    messageBytes,
    frameBytes: 64 * 1024,
    pendingMessages: 256,
    inboxFrames: 1024,
    inboxUnits: 256 * 1024,
    bufferedBytes: 1024 * 1024,
    idleSeconds: 30,
  };
}

const encoder = new TextEncoder();

/** Bytes of UTF-8, to hold against a limit: an upper bound of them where that is within `enough`. */
export function sizeOf(text: string, enough: number): number {
  return text.length * 3 <= enough ? text.length * 3 : encoder.encode(text).length;
}
