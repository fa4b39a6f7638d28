/**
 * The commands of the plain-text protocol about the user's other sessions: `/sessions` and `/end`.
 *
 * commands.ts is the table of commands.
 */
import { rejection } from "../base/rejections.ts";
import { minuteOf, ownReply } from "../delivery/text.ts";
import type { Connection } from "../connections/connection.ts";
import type { ListedSession } from "../handler/identity.ts";
import type { PlainText } from "./plain_text.ts";

/** Lists the sessions of the client's user, with the numbers that `/end` takes. */
export async function listSessions(plain: PlainText, connection: Connection): Promise<void> {
  const sessions = await plain.handler.identity.sessions(connection);
  connection.listedSessions = sessions.map(({ id }) => id);
  connection.reply(sessions.map(lineOf).join("\n"));
}

/** Ends the session that has a number in the last list, or would have it in a new one. */
export async function endSession(
  plain: PlainText,
  connection: Connection,
  word: string,
): Promise<void | "usage"> {
  if (!/^\d{1,3}$/.test(word)) return "usage";
  const { identity } = plain.handler;
  const listed = connection.listedSessions ??
    (await identity.sessions(connection)).map(({ id }) => id);
  const id = listed[Number(word) - 1];
  if (id === undefined) return plain.reject(connection, rejection.noSuchSession);
  if (id === connection.id) return await plain.handler.endOwn(connection);
  const result = await identity.endSession(connection, id);
  if (!result.ok) plain.reject(connection, result);
  else connection.reply(ownReply.sessionEnded);
}

function lineOf({ protocol, since, isCurrent }: ListedSession, index: number): string {
  return ownReply.session(index + 1, protocol, minuteOf(since), isCurrent);
}
