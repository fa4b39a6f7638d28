/**
 * The commands of the plain-text protocol about moderation: one for each act, derived from the table of
 * acts; the role of an operator, the record, and whom a user ignores.
 *
 * commands.ts is the table of commands; act_words.ts reads their arguments. `delete` has no command: a
 * terminal does not show the IDs of messages.
 */
import { type ActName, type ActRow, ACTS } from "../base/acts.ts";
import { rejection } from "../base/rejections.ts";
import { MAX_REPLY_BYTES } from "../delivery/encoded_size.ts";
import { encodeRecordLine, encodeText, fixedReply, ownReply, shown } from "../delivery/text.ts";
import type { Connection } from "../connections/connection.ts";
import { MAX_RECORD_ACTS } from "../handler/moderating.ts";
import { actWordsFrom, usageOf } from "./act_words.ts";
import type { Arguments, Command, Outcome } from "./command.ts";
import type { PlainText } from "./plain_text.ts";

/** Acts that `/modlog` shows without a number. */
const DEFAULT_RECORD_ACTS = 20;

/** Columns of a line of help, without its indentation. */
const HELP_COLUMNS = 50;

/** The commands for acts. */
const ACT_COMMANDS: readonly Command[] = (Object.keys(ACTS) as ActName[])
  .filter((act) => act !== "delete")
  .map((act) => ({
    name: act,
    usage: `/${act}${usageOf(act)}`,
    usageNote: noteOf(ACTS[act]),
    help: helpOf(ACTS[act]),
    action: "command",
    run: (plain, connection, { rest }) => carryOut(plain, connection, act, rest),
  }));

/** The commands about moderation, in the order of the help. */
export const MODERATION_COMMANDS: readonly Command[] = [
  {
    name: "ignore",
    usage: "/ignore {nickname}",
    help: [
      "Do not show what {nickname} writes. Without a",
      "{nickname}, list whom you ignore.",
    ],
    action: "command",
    maxReplyBytes: MAX_REPLY_BYTES,
    run: (plain, connection, args) =>
      args.rest.trim() === ""
        ? listIgnored(plain, connection)
        : ignore(plain, connection, args, true),
  },
  {
    name: "unignore",
    usage: "/unignore {nickname}",
    help: ["Show again what {nickname} writes."],
    action: "command",
    run: (plain, connection, args) => ignore(plain, connection, args, false),
  },
  ...ACT_COMMANDS,
  {
    name: "modlog",
    usage: "/modlog {n}",
    usageNote: `, n from 1 to ${MAX_RECORD_ACTS}`,
    help: [
      "Moderators: show the last {n} acts in the room.",
      "Operators outside a room: of the whole chat.",
    ],
    action: "command",
    maxReplyBytes: MAX_REPLY_BYTES,
    run: (plain, connection, { word }) => showRecord(plain, connection, word),
  },
  {
    name: "op",
    usage: "/op {secret}",
    help: ["Become an operator until you disconnect."],
    action: "nick",
    hasPassword: true,
    run: (plain, connection, { rest }) => becomeOperator(plain, connection, rest),
  },
];

async function carryOut(
  plain: PlainText,
  connection: Connection,
  act: ActName,
  rest: string,
): Promise<Outcome> {
  const row: ActRow = ACTS[act];
  const words = actWordsFrom(act, rest);
  if (words === "usage") return words;
  if (words === "bad-time") return plain.reject(connection, rejection.badTime);
  // Networks are banned from the whole chat, wherever the operator is.
  const room = words.network === undefined ? connection.room : undefined;
  if (room === undefined && !row.isChatWide && row.by !== "member") {
    return connection.reply(fixedReply.notInRoom);
  }
  const result = await plain.handler.moderating.act(connection, { act, room, ...words });
  if (!result.ok) return plain.reject(connection, result);
  // Otherwise a delivered event says so: that of the room or, of the whole chat, of all operators.
  if (act === "report") connection.reply(ownReply.reported);
  else if (!row.isShown) connection.reply(encodeText(result.event, false));
}

async function becomeOperator(
  plain: PlainText,
  connection: Connection,
  rest: string,
): Promise<Outcome> {
  const secret = rest.trim();
  if (secret === "") return "usage";
  const result = await plain.handler.moderating.becomeOperator(connection, secret);
  if (!result.ok) plain.reject(connection, result);
  else connection.reply(ownReply.isOperator);
}

async function ignore(
  plain: PlainText,
  connection: Connection,
  { rest }: Arguments,
  isIgnored: boolean,
): Promise<Outcome> {
  const nick = rest.trim().replace(/^"(.*)"$/s, "$1");
  if (nick === "") return "usage";
  const result = await plain.handler.moderating.ignore(connection, { nick }, isIgnored);
  if (!result.ok) return plain.reject(connection, result);
  const { nick: other } = result.user;
  connection.reply(isIgnored ? ownReply.ignored(other) : ownReply.unignored(other));
}

async function listIgnored({ handler }: PlainText, connection: Connection): Promise<void> {
  const users = await handler.moderating.ignored(connection);
  if (users.length === 0) return connection.reply(ownReply.ignoresNobody);
  connection.replyLarge(users.map(({ nick }) => shown(nick)).join("\n"), users.length);
}

async function showRecord(
  plain: PlainText,
  connection: Connection,
  typed: string,
): Promise<Outcome> {
  const limit = typed === "" ? DEFAULT_RECORD_ACTS : /^\d{1,9}$/.test(typed) ? Number(typed) : 0;
  if (limit < 1 || limit > MAX_RECORD_ACTS) return "usage";
  const { room } = connection;
  const result = await plain.handler.moderating.record(connection, { room, limit });
  if (!result.ok) return plain.reject(connection, result);
  const lines = result.entries.map(({ event }) => encodeRecordLine(event, room === undefined));
  connection.replyLarge(lines.length === 0 ? ownReply.noActs : lines.join("\n"));
}

function noteOf({ takesTime, isAgainst }: ActRow): string | undefined {
  if (!takesTime || !isAgainst) return undefined;
  return ', for example 10m or 7d; "…" around a nickname with spaces';
}

/** Returns the lines of help of an act. */
function helpOf({ by, help, isChatWide, takesNetwork }: ActRow): string[] {
  const who = by === "member" ? "" : by === "operator" ? "Operators: " : "Moderators: ";
  const first = who === "" ? help.charAt(0).toUpperCase() + help.slice(1) : `${who}${help}`;
  const more = takesNetwork
    ? " Operators outside a room: from the chat, also an address or network."
    : isChatWide
    ? " Operators outside a room: from the chat."
    : "";
  return wrapped(`${first}.${more}`);
}

/** Returns a text as lines of at most {@linkcode HELP_COLUMNS}. */
function wrapped(text: string): string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const line = lines.at(-1);
    if (line !== undefined && line.length + 1 + word.length <= HELP_COLUMNS) {
      lines[lines.length - 1] = `${line} ${word}`;
    } else lines.push(word);
  }
  return lines;
}
