/**
 * The error codes of the protocol, and the rejections that use them: a code for programs, and a
 * message for people.
 *
 * The codes are stable. chat/docs/PROTOCOL.md lists them, and a test compares the two lists. This
 * file does not decide when a request is rejected.
 */
import { inWords } from "./durations.ts";

/** Every error code: when the server uses it, and whether the error then carries `retryAfter`. */
export const ERROR_CODES = {
  "malformed": { when: "a line is not a JSON object, or is ambiguous", retryAfter: false },
  "unknown-type": { when: "no request has this type", retryAfter: false },
  "bad-request": { when: "a field is missing or has the wrong form", retryAfter: false },
  "too-long": { when: "a text or a frame is longer than allowed", retryAfter: false },
  "not-named": { when: "the client has not logged in yet", retryAfter: false },
  "already-named": { when: "the client has logged in already", retryAfter: false },
  "bad-nickname": { when: "the nickname breaks a rule, or is reserved", retryAfter: false },
  "nickname-taken": { when: "another user has the nickname or a lookalike", retryAfter: false },
  "nickname-registered": { when: "the nickname needs its password", retryAfter: false },
  "already-registered": { when: "the client has registered this nickname", retryAfter: false },
  "not-registered": { when: "the nickname is not registered", retryAfter: false },
  "not-identified": { when: "the client's nickname is not registered to it", retryAfter: false },
  "wrong-password": { when: "the password does not match", retryAfter: false },
  "bad-password": { when: "the password breaks a rule", retryAfter: false },
  "too-many-attempts": { when: "an address or nickname had too many tries", retryAfter: true },
  "busy": { when: "too many passwords are being checked", retryAfter: true },
  "registration-off": { when: "the server registers no nicknames", retryAfter: false },
  "registration-limit": { when: "an address registered too many nicknames", retryAfter: true },
  "bad-room": { when: "the room name breaks a rule", retryAfter: false },
  "not-in-room": { when: "the client is not in this room", retryAfter: false },
  "too-many-rooms": {
    when: "the user is in as many rooms as the server allows",
    retryAfter: false,
  },
  "too-many-sessions": { when: "the user has as many sessions as possible", retryAfter: false },
  "no-such-session": { when: "the user has no session of this ID", retryAfter: false },
  "no-such-message": {
    when: "there is no such message of the client, or no longer",
    retryAfter: false,
  },
  "too-many-reactions": {
    when: "the message has as many reactions as possible",
    retryAfter: false,
  },
  "edit-too-late": { when: "the message is too old to be edited or deleted", retryAfter: false },
  "not-online": { when: "no online user has this nickname", retryAfter: false },
  "banned": { when: "the user, address or network is banned", retryAfter: true },
  "muted": { when: "the user, or the room, may only read", retryAfter: true },
  "locked": { when: "only registered users may join the room", retryAfter: false },
  "private": { when: "only invited users may join the room", retryAfter: false },
  "not-a-moderator": { when: "only moderators of the room may do that", retryAfter: false },
  "not-an-operator": { when: "only operators may do that", retryAfter: false },
  "protected-user": {
    when: "no one may do that to oneself, operators or other moderators",
    retryAfter: false,
  },
  "no-such-user": { when: "there is no such user, or not in this state", retryAfter: false },
  "bad-act": { when: "a part of an act of moderation has the wrong form", retryAfter: false },
  "bad-time": { when: "a time is not one such as 10m or 7d", retryAfter: false },
  "not-allowed": { when: "the client may not read this history", retryAfter: false },
  "history-off": { when: "the server keeps no history", retryAfter: false },
  "bad-token": { when: "the session of this token has expired", retryAfter: false },
  "unavailable": { when: "storage does not answer", retryAfter: true },
  "too-fast": { when: "a rate limit is exceeded, or unsent replies are large", retryAfter: true },
  "too-late": { when: "the client chose no nickname in time; it is closed", retryAfter: false },
} as const satisfies Record<string, { when: string; retryAfter: boolean }>;

/** An error code. */
export type ErrorCode = keyof typeof ERROR_CODES;

/** The reason why a request was not carried out. The connection stays open. */
export interface Rejection {
  readonly ok: false;
  readonly code: ErrorCode;
  readonly message: string;
  /** Milliseconds after which the client may try again, for causes that pass by themselves. */
  readonly retryAfterMs?: number;
}

/** The result of an operation, or the reason why it was not carried out. */
export type Result<T = unknown> = ({ readonly ok: true } & T) | Rejection;

/** Returns a rejection. */
export function reject(code: ErrorCode, message: string, retryAfterMs?: number): Rejection {
  return { ok: false, code, message, retryAfterMs };
}

/** Milliseconds after which a client may try again when storage did not answer. */
const STORAGE_RETRY_MS = 3_000;

/** Milliseconds after which a client may try again when too many passwords wait to be hashed. */
const HASHING_RETRY_MS = 2_000;

/** Milliseconds after which a client may ask again for a large reply that did not fit. */
const UNSENT_RETRY_MS = 1_000;

/** Code units of a room name that are repeated in a message. */
const MAX_QUOTED_UNITS = 64;

/** The rejections whose message is shared by several callers, or depends on a value. */
export const rejection = {
  tooFast: (isMessage: boolean, waitMs: number) => {
    const wait = secondsFrom(waitMs);
    const message = isMessage
      ? `Not sent: you are sending too fast. Wait ${wait}.`
      : `Too many commands. Wait ${wait} and try again.`;
    return reject("too-fast", message, Math.ceil(waitMs));
  },
  tooMuchUnsent: reject(
    "too-fast",
    "Earlier replies are still being sent to you. Wait 1 second and try again.",
    UNSENT_RETRY_MS,
  ),
  tooLate: (seconds: number) =>
    reject("too-late", `Disconnected: no nickname within ${seconds} seconds.`),
  nicknameTaken: (nick: string) =>
    reject(
      "nickname-taken",
      `"${nick}" is taken. Choose another nickname. If it is you on another device, register ` +
        "the nickname there. Then you can use it on both.",
    ),
  nicknameAlike: (nick: string) =>
    reject(
      "nickname-taken",
      `"${nick}" looks too much like a nickname already in use. Choose another.`,
    ),
  nicknameRegistered: (nick: string) =>
    reject(
      "nickname-registered",
      `"${nick}" is registered. Enter its password, or choose another nickname.`,
    ),
  nicknameReserved: (nick: string) =>
    reject("bad-nickname", `"${nick}" is reserved. Choose another nickname.`),
  nicknameImitates: reject(
    "bad-nickname",
    "Nicknames cannot look like the beginning or end of one of the server's own lines.",
  ),
  nicknameTooLong: reject("bad-nickname", "Nickname too long once its ligatures are expanded."),
  registeredAlready: (nick: string) =>
    reject("already-registered", `You have already registered "${nick}".`),
  registrationOff: reject("registration-off", "This server registers no nicknames."),
  notRegistered: (nick: string) => reject("not-registered", `"${nick}" is not registered.`),
  notIdentified: reject("not-identified", "You are not signed in to a registered nickname."),
  wrongPassword: reject("wrong-password", "Wrong password."),
  tooManyAttempts: (waitMs: number) =>
    reject(
      "too-many-attempts",
      `Too many wrong passwords. Wait ${secondsFrom(waitMs)}.`,
      Math.ceil(waitMs),
    ),
  tooManyRegistrations: (waitMs: number) => {
    const minutes = Math.ceil(waitMs / 60_000);
    const time = minutes > 90 ? `${Math.ceil(minutes / 60)} hours` : `${minutes} min`;
    return reject(
      "registration-limit",
      `Too many nicknames were registered from your address. Try again in ${time}.`,
      Math.ceil(waitMs),
    );
  },
  busy: reject(
    "busy",
    "Server busy checking passwords. Try again in a few seconds.",
    HASHING_RETRY_MS,
  ),
  notInRoom: reject("not-in-room", "You are not in a room."),
  notInThatRoom: (room: string) => reject("not-in-room", `You are not in room "${quoted(room)}".`),
  tooManyRooms: (max: number) =>
    reject("too-many-rooms", `You are in ${max} rooms already. Leave one first.`),
  tooManySessions: (max: number) =>
    reject("too-many-sessions", `You have ${max} sessions already. End one of them first.`),
  noSuchSession: reject("no-such-session", "You have no such session."),
  tooManyReactions: reject("too-many-reactions", "This message has too many reactions."),
  noSuchMessage: reject("no-such-message", "You have no such message here. It may be deleted."),
  editTooLate: reject("edit-too-late", "This message is too old to be changed."),
  editOff: reject("edit-too-late", "Messages cannot be changed on this server."),
  notOnline: (nick: string) => reject("not-online", `No one named "${nick}" is online.`),
  userNotOnline: reject("not-online", "This user is not online."),
  notAllowed: (room: string) => reject("not-allowed", `Join "${quoted(room)}" to see its history.`),
  bannedFromRoom: (room: string, reason: string, waitMs: number | undefined) =>
    rejectFor("banned", `You are banned from "${quoted(room)}"`, reason, waitMs),
  bannedFromChat: (reason: string, waitMs: number | undefined) =>
    rejectFor("banned", "You are banned from this chat", reason, waitMs),
  lookalikeOfBanned: (nick: string) =>
    reject("banned", `"${quoted(nick)}" looks like the nickname of a banned user.`),
  muted: (room: string, reason: string, waitMs: number | undefined) =>
    rejectFor("muted", `You are muted in "${quoted(room)}"`, reason, waitMs),
  roomMuted: (room: string, waitMs: number | undefined) =>
    rejectFor("muted", `Only moderators may write in "${quoted(room)}" now`, "", waitMs),
  slowMode: (waitMs: number) =>
    reject(
      "too-fast",
      `Not sent: this room is in slow mode. Wait ${secondsFrom(waitMs)}.`,
      Math.ceil(waitMs),
    ),
  locked: (room: string) => reject("locked", `Only registered users may join "${quoted(room)}".`),
  private: (room: string) => reject("private", `Only invited users may join "${quoted(room)}".`),
  notAModerator: (room: string) =>
    reject("not-a-moderator", `You are not a moderator of "${quoted(room)}".`),
  notAnOperator: reject("not-an-operator", "You are not an operator of this chat."),
  protectedUser: (nick: string) =>
    reject("protected-user", `You cannot do that to ${quoted(nick)}.`),
  notToYourself: reject("protected-user", "You cannot do that to yourself."),
  noSuchUser: (name: string) => reject("no-such-user", `There is no user "${quoted(name)}".`),
  notRegisteredUser: (nick: string) =>
    reject("no-such-user", `"${quoted(nick)}" is not registered.`),
  notInRoomUser: (nick: string, room: string) =>
    reject("no-such-user", `${quoted(nick)} is not in "${quoted(room)}".`),
  notInState: (nick: string, state: string) =>
    reject("no-such-user", `${quoted(nick)} is not ${state}.`),
  badTime: reject("bad-time", "A time is a number with s, m, h or d, such as 10m or 7d."),
  badAct: (why: string) => reject("bad-act", why),
  historyOff: reject("history-off", "This server keeps no history."),
  badToken: reject("bad-token", "This session has expired."),
  tooLong: (bytes: number, maxBytes: number) => {
    const sizes = `${bytes.toLocaleString("en-US")} of ${maxBytes.toLocaleString("en-US")} bytes`;
    return reject("too-long", `Too long: ${sizes}. Shorten it or send it in parts.`);
  },
  notSent: reject(
    "unavailable",
    "Not sent: the server cannot save messages right now. Try again in a moment.",
    STORAGE_RETRY_MS,
  ),
  notDone: reject(
    "unavailable",
    "That did not work: the server cannot save changes right now. Try again in a moment.",
    STORAGE_RETRY_MS,
  ),
} as const;

function rejectFor(
  code: ErrorCode,
  what: string,
  reason: string,
  waitMs: number | undefined,
): Rejection {
  const time = waitMs === undefined ? "" : ` for another ${inWords(waitMs / 1000)}`;
  const why = reason === "" ? "." : `: ${reason}`;
  return reject(code, `${what}${time}${why}`, waitMs && Math.ceil(waitMs));
}

function secondsFrom(ms: number): string {
  const seconds = Math.ceil(ms / 1000);
  return `${seconds} ${seconds === 1 ? "second" : "seconds"}`;
}

/** Returns the beginning of what a client sent, without half of a surrogate pair at its end. */
function quoted(sent: string): string {
  return sent.slice(0, MAX_QUOTED_UNITS).toWellFormed();
}
