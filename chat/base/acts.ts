/**
 * The acts of moderation, one row each: who may do it, what it is about, what it takes, and the sentence
 * by which people are told.
 *
 * The only place for these facts. Commands, requests, the record and the page's menus derive from this
 * table, or a test compares them with it. What an act changes is decided in moderation/acting.ts.
 */
import { inWords } from "./durations.ts";

/** A row of {@linkcode ACTS}. */
export interface ActRow {
  /** Who may do it in a room: its moderators and the operators, only operators, or every member. */
  readonly by: "moderator" | "operator" | "member";
  /** What it is about. `user or room`: without a user it is about the whole room. */
  readonly about: "user" | "room" | "message" | "user or room";
  /** Whether operators may do it without a room: then it concerns the whole chat. */
  readonly isChatWide?: true;
  /** Whether without a room it may be about an address or a network instead of a user. */
  readonly takesNetwork?: true;
  /** Whether it may end after a time. */
  readonly takesTime?: true;
  /** The text that it takes; absent: none. */
  readonly text?: "reason" | "topic";
  /** The number that it needs; absent: none. */
  readonly count?: { readonly name: string; readonly min: number; readonly max: number };
  /** Whether it is done against the user: not against oneself, operators or other moderators. */
  readonly isAgainst?: true;
  /** Whether the user must be registered. */
  readonly needsRegistered?: true;
  /** Whether all members of the room are told. Otherwise only the user concerned is, if there is one. */
  readonly isShown: boolean;
  /** What it does, for `/help` and documents. */
  readonly help: string;
  /** The sentence after the nickname of the moderator: see {@linkcode sentenceOf}. */
  readonly sentence: string;
  /** The sentence if there is no user (`user or room`), or the number is 0, or the text is empty. */
  readonly otherwise?: string;
}

/** Seconds between two messages of a user in slow mode, at most. */
const MAX_SLOW_SECONDS = 3600;

/** Messages that one act deletes, at most. */
const MAX_PURGED = 100;

/** Characters of a reason or a topic. */
export const MAX_ACT_TEXT_CHARS = 512;

/** All acts by their names, which are those of the commands and requests. */
export const ACTS = {
  kick: {
    by: "moderator",
    about: "user",
    isChatWide: true,
    text: "reason",
    isAgainst: true,
    isShown: true,
    help: "take a user out of the room; the user may come back",
    sentence: "kicked {on}{from}{reason}",
  },
  ban: {
    by: "moderator",
    about: "user",
    isChatWide: true,
    takesNetwork: true,
    takesTime: true,
    text: "reason",
    isAgainst: true,
    isShown: true,
    help: "take a user out of the room, and keep the user out",
    sentence: "banned {on}{from}{for}{reason}",
  },
  unban: {
    by: "moderator",
    about: "user",
    isChatWide: true,
    takesNetwork: true,
    text: "reason",
    isShown: true,
    help: "end a ban",
    sentence: "unbanned {on}{in}{reason}",
  },
  mute: {
    by: "moderator",
    about: "user or room",
    takesTime: true,
    text: "reason",
    isAgainst: true,
    isShown: true,
    help: "let a user, or all but the moderators, only read",
    sentence: "muted {on}{in}{for}{reason}",
    otherwise: "muted everyone but the moderators{for}{reason}",
  },
  unmute: {
    by: "moderator",
    about: "user or room",
    text: "reason",
    isShown: true,
    help: "let a user, or all, write again",
    sentence: "unmuted {on}{in}{reason}",
    otherwise: "unmuted the room{reason}",
  },
  slow: {
    by: "moderator",
    about: "room",
    count: { name: "seconds", min: 0, max: MAX_SLOW_SECONDS },
    isShown: true,
    help: "let each user write one message in so many seconds; 0: no limit",
    sentence: "set slow mode: one message in {span}",
    otherwise: "ended slow mode",
  },
  topic: {
    by: "moderator",
    about: "room",
    text: "topic",
    isShown: true,
    help: "set the topic, or remove it",
    sentence: "set the topic: {text}",
    otherwise: "removed the topic",
  },
  lock: {
    by: "moderator",
    about: "room",
    text: "reason",
    isShown: true,
    help: "let only registered users join",
    sentence: "locked the room: only registered users may join{reason}",
  },
  unlock: {
    by: "moderator",
    about: "room",
    isShown: true,
    help: "let everyone join again",
    sentence: "unlocked the room",
  },
  private: {
    by: "moderator",
    about: "room",
    isShown: true,
    help: "let only invited users join, and hide the room from others",
    sentence: "made the room private: only invited users may join",
  },
  public: {
    by: "moderator",
    about: "room",
    isShown: true,
    help: "end that the room is private",
    sentence: "made the room public",
  },
  invite: {
    by: "moderator",
    about: "user",
    isShown: false,
    help: "let a user into the private or locked room",
    sentence: "invited {on}{to}",
  },
  purge: {
    by: "moderator",
    about: "user",
    text: "reason",
    count: { name: "count", min: 1, max: MAX_PURGED },
    isAgainst: true,
    isShown: true,
    help: "delete the last messages of a user",
    sentence: "deleted {messages} by {on}{in}{reason}",
  },
  delete: {
    by: "moderator",
    about: "message",
    text: "reason",
    isAgainst: true,
    isShown: false,
    help: "delete a message",
    sentence: "deleted a message by {on}{in}{reason}",
  },
  mod: {
    by: "moderator",
    about: "user",
    needsRegistered: true,
    isShown: true,
    help: "make a registered user a moderator of the room",
    sentence: "made {on} a moderator{of}",
  },
  unmod: {
    by: "moderator",
    about: "user",
    isAgainst: true,
    isShown: true,
    help: "end that a user is a moderator of the room",
    sentence: "removed {on} as a moderator{of}",
  },
  report: {
    by: "member",
    about: "user",
    text: "reason",
    isShown: false,
    help: "tell the moderators who are online of a user",
    sentence: "reported {on}{in}{reason}",
  },
} as const satisfies Readonly<Record<string, ActRow>>;

/** The name of an act. */
export type ActName = keyof typeof ACTS;

/** Returns the name of an act in a text; `undefined` if it is none. */
export function actNameFrom(text: string): ActName | undefined {
  return Object.hasOwn(ACTS, text) ? text as ActName : undefined;
}

/** An act as a sentence tells it. */
export interface ToldAct {
  readonly act: ActName;
  /** The nickname of the moderator. */
  readonly by: string;
  /** The nickname of the user, or the network, that it is about; absent: neither. */
  readonly on?: string;
  /** Whether the sentence is for the user that it is about. */
  readonly isYou?: boolean;
  /** The room; empty: the whole chat. */
  readonly room: string;
  /** Whether the sentence names the room: its readers may be elsewhere. */
  readonly namesRoom?: boolean;
  /** The reason or the topic; empty: none. */
  readonly text: string;
  /** Seconds after which it ends; absent: it does not end by itself. */
  readonly seconds?: number;
  readonly count?: number;
}

/**
 * Returns the sentence that tells people of an act, without a full stop: `Ann banned Bob for 10 minutes:
 * spam`. The texts in it are as their authors wrote them: the caller makes them safe to show.
 */
export function sentenceOf(told: ToldAct): string {
  const { act, by, on, isYou = false, room, namesRoom = isYou, text, seconds, count } = told;
  const row: ActRow = ACTS[act];
  const isOtherwise = on === undefined && row.about === "user or room" ||
    row.text === "topic" && text === "" || row.count?.min === 0 && count === 0;
  const template = isOtherwise ? row.otherwise! : row.sentence;
  const where = room === "" ? "the chat" : `"${room}"`;
  const place = (preposition: string) => room === "" || namesRoom ? ` ${preposition} ${where}` : "";
  const parts: Readonly<Record<string, string>> = {
    on: isYou ? "you" : on ?? "",
    from: place("from"),
    in: room === "" ? "" : place("in"),
    of: place("of"),
    to: place("to"),
    for: seconds === undefined ? "" : ` for ${inWords(seconds)}`,
    span: inWords(count ?? 0),
    messages: count === 1 ? "1 message" : `${count ?? 0} messages`,
    text,
    reason: text === "" ? "" : `: ${text}`,
  };
  return `${by} ${template.replace(/\{(\w+)\}/g, (_, name) => parts[name] ?? "")}`;
}
