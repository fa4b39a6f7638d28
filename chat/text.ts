/**
 * The plain-text protocol's words: what a client is told, byte for byte.
 *
 * A helper below the way of a message: Handler takes its replies from here, Sender its events. The
 * replies of the original sample are fixed; see README.md, "Protocol".
 */
import type { RoomEvent } from "./events.ts";

/** What an event looks like to somebody in the room; `own`: to the one whom it is about. */
export function encodeText({ kind, room, nick, text }: RoomEvent, own: boolean): string {
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
      return own ? nicknameIs(text) : `${nick} is now known as ${text}.`;
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
  return `Nickname is: ${nick}`;
}

/** The fixed replies. */
export const reply = {
  welcome: (nick: string) => `Using nickname: ${nick}\nType /help for list of commands.`,
  currentNickname: (nick: string) => `Current nickname: ${nick}`,
  unknownCommand: (command: string) => `Unknown command: ${command}`,
  notInRoom: "Not currently in a room. Type /join {room_name} to do so.",
  cannotSend: "Cannot send message if not in chatroom.",
} as const;

/** Replies where the sample is silent or crashes, and those to our own commands. */
export const further = {
  tryNickname: (why: string) => `${why} Type the nickname that you want to use.`,
  joinWhat: "Which room? Type /join {room_name} to join one.",
  noRooms: "There are no rooms yet. Type /join {room_name} to open one.",
  meWhat: "What do you do? Type /me {action}.",
  msgWhat: "To whom, and what? Type /msg {nickname} {text}.",
  sentTo: (nick: string, text: string) => `[to ${nick}] ${text}`,
  whoWhat: "Who? Type /who {nickname}.",
  isInRoom: (nick: string, room: string) => `${nick} is in room "${room}".`,
  isInNone: (nick: string) => `${nick} is online, in no room.`,
  registered: (nick: string) =>
    `The nickname "${nick}" is registered. If it is yours, type /identify {password}; ` +
    "if not, choose another one.",
  registerWhat: "With which password? Type /register {password}; it is one word.",
  identifyWhat: "Type /identify {password}, or /identify {nickname} {password}.",
  passwordWhat: "Type /password {old password} {new password}; each is one word.",
  unregisterWhat: "Type /unregister {password}.",
  nowRegistered: (nick: string) =>
    `The nickname "${nick}" is yours. To use it another time, type it, and then ` +
    "/identify {password}.",
  identified: (nick: string) => `You are identified as ${nick}.`,
  passwordChanged: "The password is changed.",
  unregistered: (nick: string) => `The nickname "${nick}" is not registered any more.`,
  notSaid: "Not sent: this looks like a password. A command starts with its /.",
  historyWhat: (most: number) => `How many? Type /history {n}, with a number from 1 to ${most}.`,
  nothingSaid: "Nothing has been said here yet.",
  comeBack: (token: string, seconds: number) =>
    `To come back within ${seconds} s: ?resume=${token}&last={id}`,
  welcomeBack: (nick: string, room: string | undefined) =>
    room === undefined
      ? `Welcome back, ${nick}. You are in no room.`
      : `Welcome back, ${nick}. You are in room "${room}".`,
  missed: (many: number) => many === 0 ? "You missed nothing." : `You missed the ${many} above.`,
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
