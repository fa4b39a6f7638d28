// @ts-check
/**
 * What a line means that begins with a slash: the commands of plain text, with their answers.
 *
 * It knows neither the page nor the connection, only what it may do to them.
 */

export const HELP = `/join room – go to a room, or open it
/nick name – change your nickname
/me does something – say what you do
/msg name text – write to one person (a name with spaces in "quotes")
/ls – who is here, or which rooms there are
/who name – which room somebody is in
/room – the room you are in
/history n – load n older messages
/quit – leave the room
/help – this list`;

/**
 * What the commands need.
 *
 * @typedef {object} Doing
 * @property {import("../client.js").ChatClient} client
 * @property {(text: string) => void} note
 * @property {(room: string) => Promise<void>} join
 * @property {(text: string) => void} act
 * @property {(nick: string, text: string) => void} tell
 * @property {(limit: number) => void} older
 */

const NO_ROOM = "Not currently in a room. Type /join {room_name} to do so.";

/** @type {Record<string, (doing: Doing, rest: string) => unknown>} */
const COMMANDS = {
  "/help": ({ note }) => note(HELP),
  "/join": ({ note, join }, rest) =>
    rest ? join(rest) : note("Which room? Type /join {room_name} to join one."),
  "/nick": async ({ client, note }, rest) => {
    if (!rest) return note(`Current nickname: ${client.nick}`);
    await client.rename(rest);
    note(`Nickname is: ${client.nick}`);
  },
  "/room": ({ client, note }) => note(client.room ?? NO_ROOM),
  "/ls": async ({ client, note }) => {
    if (client.room !== undefined) return note((await client.members()).nicks.join("\n"));
    const rooms = (await client.rooms()).map(({ room }) => room).join("\n");
    note(rooms || "There are no rooms yet. Type /join {room_name} to open one.");
  },
  "/quit": ({ client, note }) => client.room === undefined ? note(NO_ROOM) : client.leave(),
  "/history": ({ note, older }, rest) => {
    const limit = rest === "" ? 20 : /^\d{1,3}$/.test(rest) ? Number(rest) : 0;
    if (limit >= 1 && limit <= 100) older(limit);
    else note("How many? Type /history {n}, with a number from 1 to 100.");
  },
  "/me": ({ note, act }, rest) => rest ? act(rest) : note("What do you do? Type /me {action}."),
  "/msg": ({ note, tell }, rest) => {
    const [, quoted, word, text = ""] = /^(?:"([^"]*)"|(\S+))\s+(.*)$/s.exec(rest) ?? [];
    if (text) tell(quoted ?? word ?? "", text);
    else note("To whom, and what? Type /msg {nickname} {text}.");
  },
  "/who": async ({ client, note }, rest) => {
    if (!rest) return note("Who? Type /who {nickname}.");
    const { nick, room } = await client.who(rest);
    note(room === null ? `${nick} is online, in no room.` : `${nick} is in room "${room}".`);
  },
};

/**
 * Does what a line says, if it is a command.
 *
 * @param {string} line
 * @param {Doing} doing
 * @returns {boolean}
 */
export function command(line, doing) {
  if (!line.startsWith("/")) return false;
  const [, typed = "", rest = ""] = /^(\S*)\s*(.*)$/s.exec(line) ?? [];
  const word = typed.toLowerCase();
  const run = Object.hasOwn(COMMANDS, word) ? COMMANDS[word] : undefined;
  if (!run) doing.note(`Unknown command: ${word.slice(1)}`);
  else {
    Promise.resolve().then(() => run(doing, rest.trim())).catch((error) => {
      if (error.code !== "replaced") doing.note(error.message);
    });
  }
  return true;
}
