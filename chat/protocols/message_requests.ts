/**
 * The requests of `chat.v1` about messages: sending, changing and reading them.
 *
 * See requests.ts for the table that they belong to; messages.ts, revisions.ts and reading.ts carry
 * them out.
 */
import * as z from "zod";
import { REACTIONS } from "../base/reactions.ts";
import { MAX_REPLY_BYTES } from "../delivery/encoded_size.ts";
import { encodeReply } from "../delivery/json.ts";
import type { Place } from "../storage/read_markers.ts";
import type { ChatV1 } from "./chat_v1.ts";
import type { Connection } from "../connections/connection.ts";
import { MAX_HISTORY_EVENTS } from "../handler/reading.ts";
import {
  bounded,
  cid,
  exactlyOne,
  fields,
  id,
  type RequestTypes,
  row,
  text,
} from "./request_types.ts";

const DEFAULT_PAGE_EVENTS = 50;

/** A room, or the ID of the other user of a conversation. */
const placeShape = { room: bounded.optional(), with: id.optional() };
const placeFields = <Shape extends z.ZodRawShape>(shape: Shape) =>
  exactlyOne(fields({ ...placeShape, ...shape }), "room", "with");

const messageFields = fields({ room: bounded, text, cid });
const directFields = exactlyOne(
  fields({ to: bounded.optional(), user: id.optional(), text, cid }),
  "to",
  "user",
);
const editFields = placeFields({ id, text });
const deleteFields = placeFields({ id, reason: bounded.optional() });
const reactFields = placeFields({
  id,
  emoji: z.enum(REACTIONS),
  remove: z.literal(true).optional(),
});
const readFields = placeFields({ id });
const historyFields = placeFields({
  before: id.optional(),
  after: id.optional(),
  limit: z.int().min(1).max(MAX_HISTORY_EVENTS).default(DEFAULT_PAGE_EVENTS),
}).refine(({ before, after }) => before === undefined || after === undefined, {
  path: ["after"],
  message: "not together with before",
});

/** The requests about messages, by name. */
export const MESSAGE_REQUESTS: RequestTypes = {
  message: row("message", messageFields, sayAs("message"), { waitsForMessages: false }),
  action: row("message", messageFields, sayAs("action"), { waitsForMessages: false }),
  direct: row("message", directFields, sendDirect),
  edit: row("message", editFields, revise),
  delete: row("message", deleteFields, remove),
  react: row("message", reactFields, react),
  typing: row("command", placeFields({}), (v1, connection, { ref, ...place }) => {
    v1.replyOk(connection, ref, v1.handler.typing.tell(connection, placeOf(place)));
  }),
  read: row("command", readFields, async (v1, connection, { id, ref, ...place }) => {
    v1.replyOk(connection, ref, await v1.handler.reading.markRead(connection, placeOf(place), id));
  }),
  history: row("command", historyFields, showHistory, { maxReplyBytes: MAX_REPLY_BYTES }),
};

function placeOf({ room, with: user = "" }: { room?: string; with?: string }): Place {
  return room === undefined ? { user } : { room };
}

function sayAs(kind: "message" | "action") {
  return (
    v1: ChatV1,
    connection: Connection,
    { text, room, cid, ref }: z.infer<typeof messageFields>,
  ): void | Promise<void> => {
    const tooLong = v1.tooLong(text);
    if (tooLong !== undefined) return v1.replyError(connection, ref, tooLong);
    return v1.handler.messages.say(connection, {
      kind,
      text,
      cid,
      room,
      settle: (result) => {
        if (!result.ok) return v1.replyError(connection, ref, result);
        if (ref === undefined) return;
        const reply = encodeReply("ok", ref, { id: result.eventId });
        v1.sender.queueLine(connection.subscriber, reply);
      },
    });
  };
}

async function sendDirect(
  v1: ChatV1,
  connection: Connection,
  { to, user = "", text, cid, ref }: z.infer<typeof directFields>,
): Promise<void> {
  const recipient = to === undefined ? { user } : { nick: to };
  const result = v1.tooLong(text) ??
    await v1.handler.messages.sendDirect(connection, { to: recipient, text, cid });
  v1.replyOk(connection, ref, result, result.ok ? { kept: result.isKept || undefined } : undefined);
}

async function revise(
  v1: ChatV1,
  connection: Connection,
  { id: target, text, ref, ...place }: z.infer<typeof editFields>,
): Promise<void> {
  const request = { place: placeOf(place), target, text };
  const result = v1.tooLong(text) ?? await v1.handler.revisions.revise(connection, request);
  v1.replyOk(connection, ref, result);
}

async function react(
  v1: ChatV1,
  connection: Connection,
  { id: target, emoji, remove, ref, ...place }: z.infer<typeof reactFields>,
): Promise<void> {
  const request = { place: placeOf(place), target, emoji, isAdded: remove !== true };
  v1.replyOk(connection, ref, await v1.handler.revisions.react(connection, request));
}

/** Deletes an own message or, as a moderator, one of another user. */
async function remove(
  v1: ChatV1,
  connection: Connection,
  { id: target, reason, ref, ...place }: z.infer<typeof deleteFields>,
): Promise<void> {
  const { revisions, moderating } = v1.handler;
  const own = await revisions.revise(connection, { place: placeOf(place), target });
  const { room } = place;
  const result = own.ok || room === undefined
    ? own
    : await moderating.deleteOther(connection, { room, id: target, reason }, own);
  v1.replyOk(connection, ref, result);
}

async function showHistory(
  v1: ChatV1,
  connection: Connection,
  { ref, before, after, limit, ...place }: z.infer<typeof historyFields>,
): Promise<void> {
  const query = { place: placeOf(place), before, after, limit };
  const result = await v1.handler.reading.history(connection, query);
  if (!result.ok) return v1.replyError(connection, ref, result);
  const { entries, more, isComplete } = result;
  const where = "room" in result.place ? { room: result.place.room } : { with: result.place.user };
  const events = entries.map(({ eventId, event }) => v1.encode(connection, event, eventId)).join(
    ",",
  );
  const head = encodeReply("history", ref, where).slice(0, -1);
  const complete = isComplete === undefined ? "" : `,"complete":${isComplete}`;
  connection.replyLarge(`${head},"events":[${events}],"more":${more}${complete}}`);
}
