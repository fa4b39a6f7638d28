/**
 * The commands of the plain-text protocol, in one table: name, usage, help, rate limit and what each
 * does. The help, the usage replies, the rate limits and the dispatch come from it.
 *
 * The help of the sample's commands is fixed byte for byte. How a line is split is in plain_text.ts;
 * what a command changes is in handler.ts.
 */
import { countThatFits, encodedBytes, MAX_REPLY_BYTES } from "../delivery/encoded_size.ts";
import { encodeHistoryLine, fixedReply, ownReply, shown } from "../delivery/text.ts";
import type { Connection } from "../connections/connection.ts";
import type { Command, Outcome } from "./command.ts";
import { MODERATION_COMMANDS } from "./moderation_commands.ts";
import type { PlainText } from "./plain_text.ts";
import { MAX_HISTORY_EVENTS } from "../handler/reading.ts";
import { endSession, listSessions } from "./session_commands.ts";

/** Events that `/history` shows without a number. */
const DEFAULT_HISTORY_EVENTS = 20;

/** Every command, in the order of the help. */
export const COMMANDS: readonly Command[] = [
  {
    name: "help",
    usage: "/help",
    action: "command",
    run: (_plain, connection) => connection.reply(HELP),
  },
  {
    name: "join",
    usage: "/join {room}",
    action: "join",
    run: (plain, connection, { word }) => join(plain, connection, word),
  },
  {
    name: "nick",
    usage: "/nick {nickname}",
    // Without a nickname it only asks for the present one.
    action: (word) => word === "" ? "command" : "nick",
    run: (plain, connection, { word }) => rename(plain, connection, word),
  },
  {
    name: "room",
    usage: "/room",
    action: "command",
    run: (_plain, connection) => connection.reply(shown(connection.room ?? fixedReply.notInRoom)),
  },
  {
    name: "ls",
    usage: "/ls",
    action: "command",
    maxReplyBytes: MAX_REPLY_BYTES,
    run: (plain, connection) => list(plain, connection),
  },
  {
    name: "quit",
    usage: "/quit",
    action: "command",
    run: (plain, connection) => quit(plain, connection),
  },
  {
    name: "history",
    usage: "/history {n}",
    usageNote: `, n from 1 to ${MAX_HISTORY_EVENTS}`,
    help: [
      `Show the last {n} messages of the room, ${DEFAULT_HISTORY_EVENTS}`,
      "if no {n} is provided. Times are UTC.",
    ],
    action: "command",
    maxReplyBytes: MAX_REPLY_BYTES,
    run: (plain, connection, { word }) => showHistory(plain, connection, word),
  },
  {
    name: "me",
    usage: "/me {action}",
    usageNote: ", for example /me waves",
    help: ["Describe what you are doing."],
    action: "message",
    run: (plain, connection, { rest }) => {
      if (rest.trim() === "") return "usage";
      const { room } = connection;
      if (room === undefined) return connection.reply(fixedReply.cannotSend);
      return plain.say(connection, room, "action", rest);
    },
  },
  {
    name: "msg",
    usage: "/msg {nickname} {text}",
    help: ["Send {text} privately to {nickname}."],
    action: "message",
    run: (plain, connection, { rest }) => sendDirect(plain, connection, rest),
  },
  {
    name: "who",
    usage: "/who {nickname}",
    help: ["Show which rooms {nickname} is in."],
    action: "command",
    run: (plain, connection, { rest }) => who(plain, connection, rest),
  },
  {
    name: "register",
    usage: "/register {password}",
    usageNote: " (no spaces)",
    help: [
      "Register your nickname. Nobody else can use it",
      "without the password.",
    ],
    action: "nick",
    hasPassword: true,
    run: (plain, connection, { rest }) => register(plain, connection, rest),
  },
  {
    name: "identify",
    usage: "/identify {password} or /identify {nickname} {password}",
    help: [
      "Sign in to a registered nickname. Right after",
      "being asked, /identify {password} is enough.",
    ],
    action: "nick",
    hasPassword: true,
    run: (plain, connection, { rest }) => identify(plain, connection, rest),
  },
  {
    name: "password",
    usage: "/password {old} {new}",
    usageNote: " (no spaces in either)",
    help: ["Change the password of your nickname."],
    action: "nick",
    hasPassword: true,
    run: (plain, connection, { rest }) => changePassword(plain, connection, rest),
  },
  {
    name: "unregister",
    usage: "/unregister {password}",
    help: ["Release your registered nickname."],
    action: "nick",
    hasPassword: true,
    run: (plain, connection, { rest }) => unregister(plain, connection, rest),
  },
  {
    name: "sessions",
    usage: "/sessions",
    help: ["List your connections, on this and other devices."],
    action: "command",
    run: (plain, connection) => listSessions(plain, connection),
  },
  {
    name: "end",
    usage: "/end {n}",
    usageNote: ", n as /sessions shows it",
    help: ["End one of your connections."],
    action: "command",
    run: (plain, connection, { word }) => endSession(plain, connection, word),
  },
  ...MODERATION_COMMANDS,
];

const BY_NAME: ReadonlyMap<string, Command> = new Map(COMMANDS.map((each) => [each.name, each]));

/** Returns the command of a name in lower case. */
export function commandOf(name: string): Command | undefined {
  return BY_NAME.get(name);
}

/** Returns the reply to a command whose arguments are wrong. */
export function usageReply({ usage, usageNote = "" }: Command): string {
  return ownReply.usage(`${usage}${usageNote}`);
}

/** The help of the sample, which is fixed. */
const SAMPLE_HELP = `Commands available:
    /help
          Display this message.
    /join {chat_room_name}
          Join a chatroom named {chat_room_name}.
    /nick {nickname}
          Change your name to {nickname}. If no {nickname}
          is provided then your current name will be printed
    /room
          Print out the name of the room you are currently\x20
          in.
    /ls
          If you are in a room, list all users also in the
          room. Otherwise, list all rooms.
    /quit
          Leave current room.

If you are in a room, raw text messages that do not start\x20
with a / will be sent to everyone else in the room.`;

/** The reply to `/help`: the sample's, then our own commands in the same shape. */
export const HELP: string = `${SAMPLE_HELP}\n\n${COMMANDS.flatMap(helpOf).join("\n")}`;

function helpOf({ usage, help }: Command): string[] {
  return help === undefined ? [] : [`    ${usage}`, ...help.map((line) => `          ${line}`)];
}

async function join(plain: PlainText, connection: Connection, room: string): Promise<void> {
  if (room === "") return connection.reply(ownReply.whichRoom);
  const result = await plain.handler.membership.moveTo(connection, room);
  if (!result.ok) return plain.reject(connection, result);
  const { topic = "" } = plain.handler.moderating.stateOf(connection, result.room) ?? {};
  if (topic !== "") connection.reply(ownReply.topic(topic));
}

async function rename(plain: PlainText, connection: Connection, typed: string): Promise<void> {
  const { nick } = connection.session;
  if (typed === "") return connection.reply(fixedReply.currentNickname(nick));
  await plain.handler.reading.markShown(connection);
  const result = await plain.handler.identity.rename(connection, typed);
  if (!result.ok) plain.rejectNickname(connection, result);
  // Otherwise the delivered event says so.
  else if (!result.isTold) connection.reply(fixedReply.nicknameIs(result.nick));
}

async function quit(plain: PlainText, connection: Connection): Promise<void> {
  const { room } = connection;
  if (room === undefined) return connection.reply(fixedReply.notInRoom);
  const result = await plain.handler.membership.leave(connection, room);
  if (!result.ok) plain.reject(connection, result);
}

async function list({ handler }: PlainText, connection: Connection): Promise<void> {
  const { room } = connection;
  if (room !== undefined) {
    const result = await handler.membership.members(connection, room);
    if (result.ok) replyNames(connection, result.members.map(({ nick }) => nick));
    return;
  }
  const rooms = [...(await handler.membership.rooms(connection)).keys()];
  if (rooms.length === 0) connection.reply(ownReply.noRooms);
  else replyNames(connection, rooms);
}

function replyNames(connection: Connection, names: readonly string[]): void {
  const fits = countThatFits(names, MAX_REPLY_BYTES, (name) => encodedBytes(name) + 1);
  const lines = names.slice(0, fits).map(shown);
  if (fits < names.length) lines.push(ownReply.andMore(names.length - fits));
  connection.replyLarge(lines.join("\n"), names.length);
}

async function showHistory(
  plain: PlainText,
  connection: Connection,
  typed: string,
): Promise<Outcome> {
  const limit = typed === "" ? DEFAULT_HISTORY_EVENTS : /^\d{1,9}$/.test(typed) ? Number(typed) : 0;
  if (limit < 1 || limit > MAX_HISTORY_EVENTS) return "usage";
  const { room } = connection;
  if (room === undefined) return connection.reply(fixedReply.notInRoom);
  const result = await plain.handler.reading.history(connection, { place: { room }, limit });
  if (!result.ok) return plain.reject(connection, result);
  const lines = result.entries.map(({ event }) => encodeHistoryLine(event))
    .filter((line) => line !== "");
  connection.replyLarge(lines.length === 0 ? ownReply.noMessages : lines.join("\n"));
}

async function sendDirect(
  plain: PlainText,
  connection: Connection,
  rest: string,
): Promise<Outcome> {
  const { nick, text } = splitRecipient(rest);
  if (text === "") return "usage";
  // The delivered event says that it was sent.
  const result = await plain.handler.messages.sendDirect(connection, { to: { nick }, text });
  if (!result.ok) plain.reject(connection, result);
}

async function who(plain: PlainText, connection: Connection, typed: string): Promise<Outcome> {
  if (typed.trim() === "") return "usage";
  const result = await plain.handler.membership.who(connection, { nick: typed });
  if (!result.ok) return plain.reject(connection, result);
  const { nick, rooms, isOnline } = result.found;
  const [room, ...others] = rooms;
  if (!isOnline) connection.reply(ownReply.isOffline(nick));
  else if (room === undefined) connection.reply(ownReply.isInNoRoom(nick));
  else if (others.length === 0) connection.reply(ownReply.isInRoom(nick, room));
  else connection.replyLarge(ownReply.isInRooms(nick, ...rooms));
}

async function register(plain: PlainText, connection: Connection, rest: string): Promise<Outcome> {
  const [password, ...more] = wordsOf(rest);
  if (password === undefined || more.length > 0) return "usage";
  const result = await plain.handler.identity.register(connection, password);
  if (!result.ok) plain.reject(connection, result);
  else connection.reply(ownReply.nowRegistered(connection.session.nick));
}

async function identify(plain: PlainText, connection: Connection, rest: string): Promise<Outcome> {
  const { session: { nick }, rejectedNick } = connection;
  // The password is the last word, so that a nickname may hold spaces.
  const { before, last: password } = splitLastWord(rest);
  if (password === "" || (before === "" && rejectedNick === "" && nick === "")) return "usage";
  const typed = before === "" ? undefined : before.replace(/^"(.*)"$/s, "$1");
  await plain.withUnread(connection, async () => {
    const result = await plain.handler.identity.identify(connection, typed, password, false);
    if (!result.ok) plain.reject(connection, result);
    else if (nick === "") plain.welcome(connection, result.nick);
    else if (nick === result.nick) connection.reply(ownReply.identified(nick));
    // Otherwise the delivered event says so.
    else if (!result.isTold) connection.reply(fixedReply.nicknameIs(result.nick));
    return result.ok;
  });
}

async function changePassword(
  plain: PlainText,
  connection: Connection,
  rest: string,
): Promise<Outcome> {
  const [oldPassword, newPassword, ...more] = wordsOf(rest);
  if (newPassword === undefined || more.length > 0) return "usage";
  const { identity } = plain.handler;
  const result = await identity.changePassword(connection, oldPassword!, newPassword, false);
  if (!result.ok) plain.reject(connection, result);
  else connection.reply(ownReply.passwordChanged);
}

async function unregister(
  plain: PlainText,
  connection: Connection,
  rest: string,
): Promise<Outcome> {
  const [password, ...more] = wordsOf(rest);
  if (password === undefined || more.length > 0) return "usage";
  const result = await plain.handler.identity.unregister(connection, password);
  if (!result.ok) plain.reject(connection, result);
  else connection.reply(ownReply.unregistered(connection.session.nick));
}

function wordsOf(rest: string): string[] {
  return rest.split(/\s+/u).filter((word) => word !== "");
}

/** Returns the last word of a line, and the part before it, both without white space around them. */
function splitLastWord(line: string): { before: string; last: string } {
  const trimmed = line.trim();
  // A regular expression for the last word takes cubic time on a line of spaces.
  let start = trimmed.length;
  while (start > 0 && trimmed.charAt(start - 1).trim() !== "") start--;
  return { before: trimmed.slice(0, start).trim(), last: trimmed.slice(start) };
}

/** Splits the arguments of `/msg`. A nickname that holds spaces stands in double quotes. */
function splitRecipient(rest: string): { nick: string; text: string } {
  const [, quoted, word, text] = /^\s*(?:"([^"]*)"|(\S+))\s(.*)$/s.exec(rest) ?? [];
  return { nick: quoted ?? word ?? "", text: text ?? "" };
}
