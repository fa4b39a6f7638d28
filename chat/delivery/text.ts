/**
 * The plain-text protocol's words: what a client is told, byte for byte.
 *
 * A helper below the way of a message: Handler takes its replies from here, Sender its events. The
 * replies of the original sample are fixed; see README.md, "Protocol".
 */
import type { RoomEvent } from "../feed/events.ts";

// What a terminal would act on, or take for the beginning of another line. A tab is harmless.
// deno-lint-ignore no-control-regex -- control characters are what this is about
const UNSHOWN = /[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]/;
const EACH_UNSHOWN = new RegExp(`\\r\\n|${UNSHOWN.source}`, "g");

/**
 * Returns a text as a terminal may show it: one line, whose further lines are indented by four
 * spaces, so that none looks like an event of its own. "\n" and "\r\n" are line breaks; all other
 * control characters but the tab become control pictures, or U+FFFD where there is none.
 *
 * The bidirectional controls of Unicode are left as they are: languages need them.
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

/** A template whose values are shown by {@linkcode shown}: its own line breaks stay. */
function line(strings: TemplateStringsArray, ...values: (string | number)[]): string {
  return String.raw({ raw: strings }, ...values.map((value) => shown(String(value))));
}

/** What an event looks like to somebody in the room; `own`: to the one whom it is about. */
export function encodeText(event: RoomEvent, own: boolean): string {
  return shown(written(event, own));
}

function written({ kind, room, nick, text }: RoomEvent, own: boolean): string {
  switch (kind) {
    case "message":
      return `${nick}: ${text}`;
    case "action":
      return `* ${nick} ${text}`;
    case "join":
      return own ? `Joined chat room "${room}"` : `${nick} joined room.`;
    case "leave":
      return own ? `Left chat room "${room}"` : `${nick} left room.`;
    case "nick":
      return own ? `Nickname is: ${text}` : `${nick} is now known as ${text}.`;
    case "direct":
      return `[from ${nick}] ${text}`;
    case "resume":
      return "";
  }
}

/** Whether the one whom an event is about is shown something else than the others. */
export function isPersonal({ kind }: RoomEvent): boolean {
  return kind !== "message" && kind !== "action";
}

/** The reply to a change of nickname. */
export function nicknameIs(nick: string): string {
  return line`Nickname is: ${nick}`;
}

/** The fixed replies. */
export const reply = {
  welcome: (nick: string) => line`Using nickname: ${nick}\nType /help for list of commands.`,
  currentNickname: (nick: string) => line`Current nickname: ${nick}`,
  unknownCommand: (command: string) => line`Unknown command: ${command}`,
  notInRoom: "Not currently in a room. Type /join {room_name} to do so.",
  cannotSend: "Cannot send message if not in chatroom.",
} as const;

/** Replies where the sample is silent or crashes, and those to our own commands. */
export const further = {
  tryNickname: (why: string) => line`${why} Type the nickname that you want to use.`,
  joinWhat: "Which room? Type /join {room_name} to join one.",
  noRooms: "There are no rooms yet. Type /join {room_name} to open one.",
  meWhat: "What do you do? Type /me {action}.",
  msgWhat: "To whom, and what? Type /msg {nickname} {text}.",
  sentTo: (nick: string, text: string) => line`[to ${nick}] ${text}`,
  whoWhat: "Who? Type /who {nickname}.",
  isInRoom: (nick: string, room: string) => line`${nick} is in room "${room}".`,
  isInNone: (nick: string) => line`${nick} is online, in no room.`,
  registered: (nick: string) =>
    line`The nickname "${nick}" is registered. If it is yours, type /identify {password}; ` +
    "if not, choose another one.",
  registerWhat: "With which password? Type /register {password}; it is one word.",
  identifyWhat: "Type /identify {password}, or /identify {nickname} {password}.",
  passwordWhat: "Type /password {old password} {new password}; each is one word.",
  unregisterWhat: "Type /unregister {password}.",
  nowRegistered: (nick: string) =>
    line`The nickname "${nick}" is yours. To use it another time, type it, and then ` +
    "/identify {password}.",
  identified: (nick: string) => line`You are identified as ${nick}.`,
  passwordChanged: "The password is changed.",
  unregistered: (nick: string) => line`The nickname "${nick}" is not registered any more.`,
  notSaid: "Not sent: this looks like a password. A command starts with its /.",
  historyWhat: (most: number) =>
    line`How many? Type /history {n}, with a number from 1 to ${most}.`,
  nothingSaid: "Nothing has been said here yet.",
  andMore: (many: number) => `… and ${many.toLocaleString("en-US")} more`,
  /** In place of events that a reader could not be sent. `many`: those of them that were said. */
  tooSlow: (many: number) =>
    many === 0
      ? "You missed who came and went: your connection is too slow. Type /ls to see who is here."
      : `You missed ${many === 1 ? "1 message" : `${many.toLocaleString("en-US")} messages`}: ` +
        "your connection is too slow. Type /history to read them.",
  comeBack: (token: string, seconds: number) =>
    line`To come back within ${seconds} s: ?resume=${token}&last={id}`,
  welcomeBack: (nick: string, room: string | undefined) =>
    room === undefined
      ? line`Welcome back, ${nick}. You are in no room.`
      : line`Welcome back, ${nick}. You are in room "${room}".`,
  missed: (many: number) =>
    many === 0 ? "You missed nothing." : line`You missed the ${many} above.`,
  missedMore: "You may have missed more than this. Type /history to see what was said.",
} as const;

/** A line of history: what was said, and when (UTC, to the minute). */
export function encodePast(event: RoomEvent): string {
  const time = new Date(event.time).toISOString();
  return `[${time.slice(0, 10)} ${time.slice(11, 16)}] ${encodeText(event, false)}`;
}

/** The sample's help, unchanged, then our own commands in the same shape. */
export const HELP = `Commands available:
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
with a / will be sent to everyone else in the room.

    /history {n}
          Show the last {n} messages of the room, 20
          if no {n} is provided. Times are UTC.
    /me {action}
          Tell the room what you do.
    /msg {nickname} {text}
          Say {text} to {nickname} alone.
    /who {nickname}
          Tell which room {nickname} is in.
    /register {password}
          Keep your nickname for yourself. From then on
          nobody can use it without the password.
    /identify {nickname} {password}
          Use a nickname that is registered. After it was
          refused, /identify {password} is enough.
    /password {old password} {new password}
          Change the password of your nickname.
    /unregister {password}
          Give up the registration of your nickname.`;
