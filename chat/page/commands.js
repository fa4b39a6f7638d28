// @ts-check
/**
 * What a line means that begins with a slash: the commands of plain text, with their answers.
 *
 * It knows neither the page nor the connection, only what it may do to them.
 */

/**
 * What the commands need.
 *
 * @typedef {object} Doing
 * @property {import("../client/client.js").ChatClient} client
 * @property {(text: string) => void} note
 * @property {(room: string) => void} join
 * @property {(text: string) => void} act
 * @property {(nick: string, text: string) => void} tell
 * @property {(limit: number) => void} older
 */

const NO_ROOM = "Not currently in a room. Type /join {room_name} to do so.";

/**
 * What they are for, and what they do. What they answer is noted; an empty answer means that they do
 * not know what to do.
 *
 * @type {Record<string, [use: string, run: (doing: Doing, rest: string) => unknown]>}
 */
const COMMANDS = {
  "/join": ["room – go to a room, or open it", ({ join }, rest) => rest && join(rest)],
  "/nick": ["name – change your nickname", async ({ client }, rest) => {
    if (!rest) return `Current nickname: ${client.nick}`;
    await client.rename(rest);
    return `Nickname is: ${client.nick}`;
  }],
  "/register": ["password – keep your nickname for yourself", async ({ client }, rest) => {
    if (!/^\S+$/.test(rest)) return "";
    await client.register(rest);
    return `${client.nick} is yours: nobody can use it without the password.`;
  }],
  "/identify": ["name password – use a registered nickname", async ({ client }, rest) => {
    const [, nick, password] = /^\s*"?(.*?)"?\s(\S+)$/s.exec(` ${rest}`) ?? [];
    if (!password) return "";
    await client.identify(nick || client.nick, password);
    return `You are identified as ${client.nick}.`;
  }],
  "/password": ["old new – change the password of your nickname", async ({ client }, rest) => {
    const [old, fresh, ...more] = rest.split(/\s+/);
    if (!old || !fresh || more.length) return "";
    await client.changePassword(old, fresh);
    return "The password is changed.";
  }],
  "/unregister": ["password – give your nickname up", async ({ client }, rest) => {
    if (!/^\S+$/.test(rest)) return "";
    await client.unregister(rest);
    return `${client.nick} is not registered any more.`;
  }],
  "/me": ["does something – say what you do", ({ act }, rest) => rest && act(rest)],
  "/msg": ['name text – write to one person (a name with spaces in "quotes")', ({ tell }, rest) => {
    const [, quoted, word, text] = /^(?:"([^"]*)"|(\S+))\s+(.+)$/s.exec(rest) ?? [];
    return text ? tell(quoted ?? word ?? "", text) : "";
  }],
  "/ls": ["– who is here, or which rooms there are", async ({ client }) => {
    if (client.room !== undefined) return (await client.members()).nicks.join("\n");
    const rooms = await client.rooms();
    return rooms.map(({ room }) => room).join("\n") || "There are no rooms yet.";
  }],
  "/who": ["name – which room somebody is in", async ({ client }, rest) => {
    if (!rest) return "";
    const { nick, room } = await client.who(rest);
    return room === null ? `${nick} is online, in no room.` : `${nick} is in room "${room}".`;
  }],
  "/room": ["– the room you are in", ({ client }) => client.room ?? NO_ROOM],
  "/history": [
    "n – load n older messages, from 1 to 100",
    ({ older }, rest) => /^([1-9]\d?|100)?$/.test(rest) ? older(Number(rest) || 20) : "",
  ],
  "/quit": [
    "– leave the room",
    ({ client }) => client.room === undefined ? NO_ROOM : client.leave(),
  ],
  "/help": ["– this list", () => Object.keys(COMMANDS).map(usage).join("\n")],
};

function usage(/** @type {string} */ word) {
  return `${word} ${COMMANDS[word]?.[0]}`;
}

/**
 * Does what a line says that begins with a slash.
 *
 * @param {string} line
 * @param {Doing} doing
 */
export async function command(line, doing) {
  const [, typed = "", rest = ""] = /^(\S*)\s*(.*)$/s.exec(line) ?? [];
  const word = typed.toLowerCase();
  try {
    const answer = Object.hasOwn(COMMANDS, word)
      ? await COMMANDS[word]?.[1](doing, rest)
      : `Unknown command: ${word.slice(1)}`;
    if (typeof answer === "string") doing.note(answer || usage(word));
  } catch (error) {
    const { code, message } = /** @type {import("../client/client.js").ChatError} */ (error);
    const how = code === "nickname-registered" ? ` Type /identify ${rest} and its password.` : "";
    if (code !== "replaced") doing.note(message + how);
  }
}
