// @ts-check
/**
 * The commands of the page: lines that begin with a slash, and what they answer.
 *
 * A command acts through the functions that it is given. It touches neither the document nor the
 * connection.
 */

/** @import { ChatClient, ChatError } from "../client/client.js" */

/**
 * What commands act on.
 *
 * @typedef {object} CommandContext
 * @property {ChatClient} client
 * @property {(text: string) => void} note - shows a line to the user only
 * @property {(room: string) => void} join
 * @property {(text: string) => void} act
 * @property {(nick: string, text: string) => void} tell
 * @property {(limit: number) => void} loadOlder
 */
/**
 * A command. `run` returns the answer to show, if any; an empty answer shows the usage.
 *
 * @typedef {object} Command
 * @property {string} usage
 * @property {(context: CommandContext, argument: string) => unknown} run
 */

const NO_ROOM = "You are not in a room. Type /join {room} to enter one.";

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
    run: ({ act }, text) => text && act(text),
  },
  "/msg": {
    usage: 'name text – send a private message (a name with spaces in "quotes")',
    run({ tell }, argument) {
      const [, quoted, word, text] = /^(?:"([^"]*)"|(\S+))\s+(.+)$/s.exec(argument) ?? [];
      return text ? tell(quoted ?? word ?? "", text) : "";
    },
  },
  "/ls": {
    usage: "– list the members of your room, or the rooms",
    async run({ client }) {
      if (client.room !== undefined) return (await client.members()).nicks.join("\n");
      const rooms = await client.rooms();
      return rooms.map(({ room }) => room).join("\n") || "No rooms yet.";
    },
  },
  "/who": {
    usage: "name – show which room a user is in",
    async run({ client }, argument) {
      if (!argument) return "";
      const { nick, room } = await client.who(argument);
      return room === null
        ? `${nick} is online, but not in a room.`
        : `${nick} is in room "${room}".`;
    },
  },
  "/room": {
    usage: "– show the room you are in",
    run: ({ client }) => client.room ?? NO_ROOM,
  },
  "/history": {
    usage: "n – load n older messages, from 1 to 100",
    run: ({ loadOlder }, limit) =>
      /^([1-9]\d?|100)?$/.test(limit) ? loadOlder(Number(limit) || 20) : "",
  },
  "/quit": {
    usage: "– leave the room",
    run: ({ client }) => client.room === undefined ? NO_ROOM : client.leave(),
  },
  "/help": {
    usage: "– show this list",
    run: () => Object.keys(COMMANDS).map(usageOf).join("\n"),
  },
};

function usageOf(/** @type {string} */ name) {
  return `${name} ${COMMANDS[name]?.usage}`;
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
    context.note(
      code === "nickname-registered"
        ? `"${argument}" is registered. If it's yours: /identify ${argument} {password}`
        : message,
    );
  }
}
