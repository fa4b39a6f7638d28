// @ts-check
/**
 * The commands of the page: lines that begin with a slash, and what they answer.
 *
 * A command acts through the functions that it is given. It touches neither the document nor the
 * connection.
 */

import { actWordsFrom, usageOfAct } from "./act_words.js";
import { ACTS } from "./acts.js";

/** @import { ActName, ChatClient, ChatError, Room, SessionInfo, WhoReply } from "../client/client.js" */
/** @import { Moderation } from "./moderation.js" */

/**
 * What commands act on. It is one object for all commands of a page.
 *
 * @typedef {object} CommandContext
 * @property {ChatClient} client
 * @property {() => Room | undefined} room - the room that is shown
 * @property {(text: string) => void} note - shows a line to the user only
 * @property {(room: string) => void} join
 * @property {() => Promise<void>} leave - leaves the room that is shown
 * @property {(text: string) => void} emote
 * @property {Pick<Moderation, "act" | "ignore">} moderation
 * @property {(room: Room | undefined) => void} showRecord - of a room, or of the whole chat
 * @property {(nick: string, text: string) => Promise<void>} tell
 * @property {(limit: number) => void} loadOlder
 * @property {(line: string) => void} giveBack - returns a line to the user
 * @property {readonly SessionInfo[]} sessions - those that /sessions has listed
 */
/**
 * A command. `run` returns the answer to show, if any; an empty answer shows the usage. `isMessage`: the
 * line comes back to the user after an error. What secrets.js calls a secret is not kept anywhere.
 *
 * @typedef {object} Command
 * @property {true} [isMessage]
 * @property {string} usage
 * @property {(context: CommandContext, argument: string) => unknown} run
 */

const NO_ROOM = "You are not in a room. Type /join {room} to enter one.";

const DATE_AND_TIME = new Intl.DateTimeFormat([], { dateStyle: "medium", timeStyle: "short" });

/** The commands for acts. The menu deletes single messages. @type {Readonly<Record<string, Command>>} */
const ACT_COMMANDS = Object.fromEntries(
  /** @type {ActName[]} */ (Object.keys(ACTS)).filter((name) => name !== "delete").map((name) => [
    `/${name}`,
    {
      usage: `${usageOfAct(name)} – ${ACTS[name].help}`.trim(),
      run: (context, argument) => runAct(name, context, argument),
    },
  ]),
);

/** @type {Readonly<Record<string, Command>>} */
const COMMANDS = {
  "/join": {
    usage: "room – join or create a room",
    run: ({ join }, room) => room && join(room),
  },
  "/nick": {
    usage: "name – change your nickname",
    async run({ client }, nick) {
      if (!nick) return `Current nickname: ${client.nick}`;
      await client.rename(nick);
      return `Nickname is: ${client.nick}`;
    },
  },
  "/register": {
    usage: "password – register your nickname",
    async run({ client }, password) {
      if (!/^\S+$/.test(password)) return "";
      await client.register(password);
      return `${client.nick} is registered. You'll need the password next time.`;
    },
  },
  "/identify": {
    usage: "name password – sign in to a registered nickname",
    async run({ client }, argument) {
      const [, nick, password] = /^\s*"?(.*?)"?\s(\S+)$/s.exec(` ${argument}`) ?? [];
      if (!password) return "";
      await client.identify(nick || client.nick, password);
      return `You are signed in as ${client.nick}.`;
    },
  },
  "/password": {
    usage: "old new – change the password of your nickname",
    async run({ client }, argument) {
      const [oldPassword, newPassword, ...rest] = argument.split(/\s+/);
      if (!oldPassword || !newPassword || rest.length > 0) return "";
      await client.changePassword(oldPassword, newPassword);
      return "Password changed.";
    },
  },
  "/unregister": {
    usage: "password – release your nickname",
    async run({ client }, password) {
      if (!/^\S+$/.test(password)) return "";
      await client.unregister(password);
      return `${client.nick} is no longer registered.`;
    },
  },
  "/me": {
    usage: "waves – describe an action",
    run: ({ emote }, text) => text && emote(text),
  },
  "/msg": {
    isMessage: true,
    usage: 'name text – send a private message (a name with spaces in "quotes")',
    run({ tell }, argument) {
      const [, quoted, word, text] = /^(?:"([^"]*)"|(\S+))\s+(.+)$/s.exec(argument) ?? [];
      return text ? tell(quoted ?? word ?? "", text) : "";
    },
  },
  "/ls": {
    usage: "– list the members of this room, or the rooms",
    async run({ client, room }) {
      const shown = room();
      if (shown) return (await shown.members()).members.map(({ nick }) => nick).join("\n");
      return (await client.list()).map(({ room }) => room).join("\n") || "No rooms yet.";
    },
  },
  "/who": {
    usage: "name – show which rooms a user is in",
    run: async ({ client }, argument) => argument && describe(await client.who(argument)),
  },
  "/room": {
    usage: "– show the rooms you are in",
    run: ({ client }) => client.rooms.join("\n") || NO_ROOM,
  },
  "/history": {
    usage: "n – load n older messages, from 1 to 100",
    run: ({ loadOlder }, limit) =>
      /^([1-9]\d?|100)?$/.test(limit) ? loadOlder(Number(limit) || 20) : "",
  },
  "/quit": {
    usage: "– leave this room",
    run: ({ room, leave }) => room() ? leave() : "This is not a room.",
  },
  "/sessions": {
    usage: "– list your sessions: the tabs and devices on which you are online",
    async run(context) {
      context.sessions = await context.client.sessions();
      return context.sessions.map(lineOf).join("\n");
    },
  },
  "/end": {
    usage: "n – end a session that /sessions has listed",
    async run({ client, sessions }, number) {
      if (!/^\d+$/.test(number)) return "";
      const session = sessions[Number(number) - 1];
      if (!session) return "There is no such session. Type /sessions to list them.";
      if (session.current) return "This is the session that you are using.";
      await client.endSession(session.session);
      return `Session ${number} has ended.`;
    },
  },
  "/ignore": {
    usage: "name – hide what a user writes; without a name: list whom you ignore",
    async run({ client, moderation }, argument) {
      const nick = unquoted(argument);
      if (nick) return moderation.ignore({ nick }, true);
      return (await client.ignored()).map(({ nick }) => nick).join("\n") || "You ignore nobody.";
    },
  },
  "/unignore": {
    usage: "name – show again what a user writes",
    run({ moderation }, argument) {
      const nick = unquoted(argument);
      return nick && moderation.ignore({ nick }, false);
    },
  },
  ...ACT_COMMANDS,
  "/modlog": {
    usage: "– show what moderators did in this room, or outside a room in the whole chat",
    run: ({ showRecord, room }) => showRecord(room()),
  },
  "/op": {
    usage: "secret – become an operator until you disconnect",
    async run({ client }, secret) {
      if (!secret.trim()) return "";
      await client.op(secret.trim());
      return "You are an operator now.";
    },
  },
  "/help": {
    usage: "– show this list",
    run: () => Object.keys(COMMANDS).map(usageOf).join("\n"),
  },
};

/**
 * @param {ActName} name
 * @param {CommandContext} context
 * @param {string} argument
 */
async function runAct(name, { room, moderation }, argument) {
  const words = actWordsFrom(name, argument);
  if (words === "usage") return "";
  if (words === "bad-time") return "A time is a number with s, m, h or d, such as 10m or 7d.";
  // Networks are banned from the whole chat, wherever the operator is.
  const place = words.network === undefined ? room() : undefined;
  if (!place && !ACTS[name].isChatWide && name !== "report") return NO_ROOM;
  await moderation.act(name, place, words);
}

/** Returns a nickname without its quotes. @param {string} argument */
function unquoted(argument) {
  return argument.trim().replace(/^"(.*)"$/s, "$1");
}

/**
 * Describes a session.
 *
 * @param {SessionInfo} session
 * @param {number} index
 */
function lineOf({ since, protocol, current }, index) {
  const start = DATE_AND_TIME.format(since);
  return `${index + 1}. ${protocol}, since ${start}${current ? " (this one)" : ""}`;
}

/** Says where a user is. @param {WhoReply} reply */
function describe({ nick, rooms, online }) {
  if (!online) return `${nick} is offline.`;
  if (rooms.length === 0) return `${nick} is online, but not in a room.`;
  return `${nick} is in ${rooms.length === 1 ? "room" : "rooms"} ${
    rooms.map((room) => `"${room}"`).join(", ")
  }.`;
}

function usageOf(/** @type {string} */ name) {
  return `${name} ${COMMANDS[name]?.usage}`;
}

/** Returns all commands, for completion. */
export function commandList() {
  return Object.entries(COMMANDS).map(([name, { usage }]) => ({
    name: name.slice(1),
    insert: name,
    note: usage,
  }));
}

/**
 * Runs a line that begins with a slash, and shows its answer or error.
 *
 * @param {string} line
 * @param {CommandContext} context
 */
export async function runCommand(line, context) {
  const [, typed = "", argument = ""] = /^(\S*)\s*(.*)$/s.exec(line) ?? [];
  const name = typed.toLowerCase();
  // An own property: a user may type /constructor.
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (command === undefined) {
    const unknown = name === "/" ? "" : `Unknown command: ${name.slice(1)}. `;
    return context.note(`${unknown}Type /help for the list of commands.`);
  }
  try {
    const answer = await command.run(context, argument);
    if (typeof answer === "string") context.note(answer || usageOf(name));
  } catch (error) {
    const { code, message } = /** @type {ChatError} */ (error);
    // A later command replaced this one.
    if (code === "replaced") return;
    if (command.isMessage) context.giveBack(line);
    context.note(
      code === "nickname-registered"
        ? `"${argument}" is registered. If it's yours: /identify ${argument} {password}`
        : message,
    );
  }
}
