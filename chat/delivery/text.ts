/**
 * The texts of the plain-text protocol: events and replies as lines.
 *
 * The replies of the original sample are fixed byte for byte (see PROTOCOL.md). The help
 * and the usage replies stand beside the commands (commands.ts). This file sends nothing.
 */
import { actNameFrom, sentenceOf } from "../base/acts.ts";
import type { EventKind, RoomEvent } from "../feed/events.ts";
import type { WireFormat } from "./subscriber.ts";

// Characters that a terminal would act on, or that would begin another line. A tab is harmless.
// deno-lint-ignore no-control-regex -- control characters are the subject of this expression
const UNSHOWN = /[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]/;
const EACH_UNSHOWN = new RegExp(`\\r\\n|${UNSHOWN.source}`, "g");

/**
 * Returns a text that a terminal can show safely: one line, whose further lines are indented by four
 * spaces, so that no text can look like another user's line. "\n" and "\r\n" are line breaks. Every
 * other control character except the tab becomes a control picture, or U+FFFD where none exists.
 *
 * Unicode's bidirectional controls stay: some languages need them.
 */
export function shown(text: string): string {
  return UNSHOWN.test(text) ? text.replace(EACH_UNSHOWN, picture) : text;
}

function picture(character: string): string {
  if (character === "\n" || character === "\r\n") return "\n    ";
  const code = character.charCodeAt(0);
  if (code < 0x20) return String.fromCharCode(0x2400 + code);
  return code === 0x7f ? "\u2421" : "\ufffd";
}

/** A template that passes its values through {@linkcode shown}, and keeps its own line breaks. */
function line(strings: TemplateStringsArray, ...values: (string | number)[]): string {
  return String.raw({ raw: strings }, ...values.map((value) => shown(String(value))));
}

/**
 * Returns an event as plain-text clients see it; empty: it is not shown. `isOwn`: as the session that
 * it is about sees it, or (for `direct`) the sessions of its author.
 */
export function encodeText(event: RoomEvent, isOwn: boolean): string {
  return shown(textOf(event, isOwn));
}

function textOf(event: RoomEvent, isOwn: boolean): string {
  const { kind, room, nick, text, to } = event;
  switch (kind) {
    case "message":
      return `${nick}: ${text}`;
    case "action":
      return `* ${nick} ${text}`;
    // With `to` the session stays in the room. The reply to its request tells it the new nickname.
    case "join":
      if (isOwn) return to === undefined ? `Joined chat room "${room}"` : "";
      return `${to?.nick ?? nick} joined room.`;
    case "leave":
      if (isOwn) return to === undefined ? `Left chat room "${room}"` : "";
      return `${nick} left room.`;
    case "nick":
      // Only the user changed: the session has signed in or out.
      if (to === undefined || to.nick === nick) return "";
      return isOwn ? `Nickname is: ${to.nick}` : `${nick} is now known as ${to.nick}.`;
    case "direct":
      return isOwn ? `[to ${to?.nick ?? ""}] ${text}` : `[from ${nick}] ${text}`;
    case "act":
      return `-- ${sentence(event, isOwn)}`;
    case "edit":
    case "delete":
    case "reaction":
    case "read":
    case "away":
    case "resume":
      return "";
    default:
      return kind satisfies never;
  }
}

/**
 * Returns the sentence that tells of an act. `isYou`: to the user that it is about. `namesRoom`: to readers
 * who may be elsewhere.
 */
function sentence(event: RoomEvent, isYou: boolean, namesRoom = isYou): string {
  const { room, nick, to, target = "", text, until, time, count, subject } = event;
  const act = actNameFrom(target);
  // A newer version of the program knows it.
  if (act === undefined) return `${nick}: ${target}`;
  const seconds = until === undefined ? undefined : (until - time) / 1000;
  const on = to?.nick ?? subject;
  return sentenceOf({ act, by: nick, on, isYou, room, namesRoom, text, seconds, count });
}

/** Whether plain-text clients are shown events of a kind. */
export const IS_SHOWN: Readonly<Record<EventKind, boolean>> = {
  message: true,
  action: true,
  join: true,
  leave: true,
  nick: true,
  direct: true,
  edit: false,
  delete: false,
  reaction: false,
  act: true,
  read: false,
  away: false,
  resume: false,
};

/**
 * Returns whether events of a kind change a room, its members or their nicknames. The member such an
 * event is about sees another text than the others, and receives it even when it reads too slowly.
 */
export function isMemberChange(kind: EventKind): boolean {
  switch (kind) {
    case "join":
    case "leave":
    case "nick":
    case "act":
      return true;
    case "message":
    case "action":
    case "direct":
    case "edit":
    case "delete":
    case "reaction":
    case "read":
    case "away":
    case "resume":
      return false;
    default:
      return kind satisfies never;
  }
}

/**
 * Returns a line of history: the event, and its time in UTC to the minute. Empty for a message that
 * was deleted: the caller leaves it out.
 */
export function encodeHistoryLine(event: RoomEvent): string {
  if (event.deletedAt !== undefined) return "";
  return `[${minuteOf(event.time)}] ${encodeText(event, false)}`;
}

/** Returns a line of the record: an act, and its time. `namesRoom`: other lines are about other rooms. */
export function encodeRecordLine(event: RoomEvent, namesRoom: boolean): string {
  return shown(`[${minuteOf(event.time)}] -- ${sentence(event, false, namesRoom)}`);
}

/** Returns a time in UTC to the minute; `time` in Unix milliseconds. */
export function minuteOf(time: number): string {
  const iso = new Date(time).toISOString();
  return `${iso.slice(0, 10)} ${iso.slice(11, 16)}`;
}

/** The replies that the sample fixes. */
export const fixedReply = {
  welcome: (nick: string) => line`Using nickname: ${nick}\nType /help for list of commands.`,
  currentNickname: (nick: string) => line`Current nickname: ${nick}`,
  nicknameIs: (nick: string) => line`Nickname is: ${nick}`,
  unknownCommand: (command: string) => line`Unknown command: ${command}`,
  notInRoom: "Not currently in a room. Type /join {room_name} to do so.",
  cannotSend: "Cannot send message if not in chatroom.",
} as const;

/** The replies where the sample is silent or crashes, and those to our own commands. */
export const ownReply = {
  /** A client without a nickname was rejected. Some reasons ask for another nickname already. */
  chooseNickname: (why: string) =>
    why.includes("Choose another")
      ? shown(why)
      : line`${why} Type the nickname that you want to use.`,
  /** For a command whose arguments are wrong. */
  usage: (usage: string) => line`Usage: ${usage}`,
  whichRoom: "Which room? Type /join {room}.",
  noRooms: "No rooms yet. Type /join {room} to start one.",
  isInRoom: (nick: string, room: string) => line`${nick} is in room "${room}".`,
  /** For two rooms or more. */
  isInRooms: (nick: string, ...rooms: string[]) => {
    const [last = "", ...others] = rooms.map((room) => `"${room}"`).reverse();
    const list = others.length === 0 ? last : `${others.reverse().join(", ")} and ${last}`;
    return line`${nick} is in rooms ${list}.`;
  },
  isOffline: (nick: string) => line`${nick} is offline.`,
  isInNoRoom: (nick: string) => line`${nick} is online, but not in a room.`,
  nicknameRegistered: (nick: string) =>
    line`"${nick}" is registered. If it is yours, type /identify {password}; ` +
    "otherwise choose another nickname.",
  nowRegistered: (nick: string) =>
    line`"${nick}" is now registered to you. Next time, enter it as your nickname, then type ` +
    "/identify {password}.",
  identified: (nick: string) => line`You are signed in as ${nick}.`,
  passwordChanged: "Password changed.",
  unregistered: (nick: string) => line`"${nick}" is no longer registered.`,
  /**
   * A line of `/sessions`, whose number `/end` takes; `since` as {@linkcode minuteOf} returns it. A
   * line that began with the number or a word would forbid nicknames (see nicknames/imitation.ts).
   */
  session: (number: number, protocol: WireFormat, since: string, isCurrent: boolean) =>
    line`#${number} ${protocol === "json" ? "chat.v1" : "plain text"} since ${since} UTC` +
    (isCurrent ? " (this session)" : ""),
  sessionEnded: "Session ended.",
  topic: (topic: string) => line`-- Topic: ${topic}`,
  isOperator: "You are an operator now.",
  ignored: (nick: string) => line`You ignore ${nick} now.`,
  unignored: (nick: string) => line`You no longer ignore ${nick}.`,
  reported: "Your report was sent to the moderators.",
  ignoresNobody: "You ignore nobody.",
  noActs: "Nothing has been recorded here yet.",
  looksLikePassword:
    "Not sent: that looks like a command with a password. Remove the space before the /.",
  noMessages: "No messages here yet.",
  andMore: (count: number) => `… and ${count.toLocaleString("en-US")} more`,
  /** Sent in place of events that a slow reader was not sent; `messages` of them were messages. */
  tooSlow: (messages: number) =>
    messages === 0
      ? "You missed who joined and left: your connection is too slow. Type /ls to see who is here."
      : `You missed ${
        messages === 1 ? "1 message" : `${messages.toLocaleString("en-US")} messages`
      }: ` +
        "your connection is too slow. Type /history to read them.",
} as const;
