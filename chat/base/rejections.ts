/**
 * Rejections: why an action was not done, as a code for programs and a message for users.
 *
 * The plain-text protocol sends the message, chat.v1 both. docs/PROTOCOL.md lists the codes, which do
 * not change.
 */

/** Why an action was not done. The connection stays open. */
export interface Rejection {
  readonly ok: false;
  readonly code: string;
  readonly message: string;
  /** Milliseconds after which another try may succeed, if that depends on time. */
  readonly retryAfter?: number;
}

/** The result of an action, or why it was not done. */
export type Result<T = unknown> = ({ readonly ok: true } & T) | Rejection;

/** Returns a rejection. `retryAfter`: milliseconds. */
export function reject(code: string, message: string, retryAfter?: number): Rejection {
  return { ok: false, code, message, retryAfter };
}

/** Milliseconds after which a client may try again if storage did not answer. */
const STORAGE_RETRY_MS = 3_000;

/** Milliseconds after which a client may try again if too many passwords wait to be hashed. */
const HASHING_RETRY_MS = 2_000;

/** The rejections of the chat. */
export const rejection = {
  /** `ms`: milliseconds to wait. */
  tooFast: (isMessage: boolean, ms: number): Rejection => {
    const seconds = Math.ceil(ms / 1000);
    const wait = `Please wait ${seconds} ${seconds === 1 ? "second" : "seconds"}.`;
    const what = isMessage ? "Not sent: that was too much" : "Not done: that was too often";
    const message = `${what} in a short time. ${wait}`;
    return { ok: false, code: "too-fast", message, retryAfter: Math.ceil(ms) };
  },
  /** A large reply does not fit into the unsent data that one client, or all, may have. */
  tooMuchUnsent: {
    ok: false,
    code: "too-fast",
    message:
      "Not done: too much of what was sent before is still on its way. Please wait 1 second.",
    retryAfter: 1_000,
  } as Rejection,
  tooLate: (seconds: number) =>
    reject("too-late", `No nickname was chosen within ${seconds} seconds: goodbye.`),
  nicknameTaken: (nick: string) =>
    reject("nickname-taken", `The nickname "${nick}" is taken. Please choose another one.`),
  nicknameAlike: (nick: string) =>
    reject(
      "nickname-taken",
      `The nickname "${nick}" looks like one that is taken. Please choose another one.`,
    ),
  nicknameRegistered: (nick: string) =>
    reject(
      "nickname-registered",
      `The nickname "${nick}" is registered. Whoever knows its password can identify for it.`,
    ),
  nicknameReserved: (nick: string) =>
    reject("bad-nickname", `The nickname "${nick}" is reserved. Please choose another one.`),
  nicknameImitates: reject(
    "bad-nickname",
    "A nickname cannot look like the beginning or end of one of the chat's own lines.",
  ),
  nicknameTooLong: reject("bad-nickname", "Nickname too long once its ligatures are expanded."),
  onlineAlready: (nick: string) =>
    reject("nickname-taken", `"${nick}" is online over another connection. Close that one first.`),
  registeredAlready: (nick: string) =>
    reject("already-registered", `The nickname "${nick}" is registered already, and it is yours.`),
  registrationOff: reject("registration-off", "Nicknames cannot be registered here."),
  notRegistered: (nick: string) =>
    reject("not-registered", `The nickname "${nick}" is not registered.`),
  notIdentified: reject("not-identified", "Your nickname is not registered, or not by you."),
  wrongPassword: reject("wrong-password", "The password is wrong."),
  tooManyAttempts: (ms: number) =>
    reject(
      "too-many-attempts",
      `Too many passwords were tried. Please wait ${Math.ceil(ms / 1000)} s.`,
      Math.ceil(ms),
    ),
  /** `ms`: milliseconds to wait. */
  tooManyRegistrations: (ms: number) => {
    const minutes = Math.ceil(ms / 60_000);
    const time = minutes > 90 ? `${Math.ceil(minutes / 60)} hours` : `${minutes} min`;
    return reject(
      "registration-limit",
      "Not done: too many nicknames were registered from your address. " +
        `Please try again in ${time}.`,
      Math.ceil(ms),
    );
  },
  busy: reject(
    "busy",
    "Not done: too many passwords are being checked. Please try again soon.",
    HASHING_RETRY_MS,
  ),
  notInRoom: reject("not-in-room", "Not currently in a room."),
  notInThatRoom: (room: string) =>
    reject("not-in-room", `You are not in room "${beginningOf(room)}".`),
  notOnline: (nick: string) => reject("not-online", `Nobody called "${nick}" is online.`),
  notAllowed: (room: string) =>
    reject("not-allowed", `Only who is in room "${beginningOf(room)}" may see its history.`),
  historyOff: reject("history-off", "No history is kept here."),
  badToken: reject("bad-token", "There is nothing to come back to with this token."),
  tooLong: (bytes: number, most: number) =>
    reject("too-long", `Not sent: this line has ${bytes} bytes, and at most ${most} are allowed.`),
  notSent: reject(
    "unavailable",
    "Not sent: the chat's storage does not answer. Please try again in a moment.",
    STORAGE_RETRY_MS,
  ),
  notDone: reject(
    "unavailable",
    "Not done: the chat's storage does not answer. Please try again in a moment.",
    STORAGE_RETRY_MS,
  ),
} as const;

/** Returns the first characters of a user's input, to repeat it. Never splits a character. */
function beginningOf(typed: string): string {
  return typed.slice(0, 64).toWellFormed();
}
