/**
 * The requests of `chat.v1` about moderation: one for each act, derived from the table of acts; the role of
 * an operator, the record, and whom a user ignores.
 *
 * See requests.ts for the table that they belong to, and moderating.ts for what they change. `delete`
 * stands with the other requests about messages: most messages are deleted by their authors.
 */
import * as z from "zod";
import { type ActName, type ActRow, ACTS } from "../base/acts.ts";
import { MAX_REPLY_BYTES } from "../delivery/encoded_size.ts";
import { encodeReply, userFields } from "../delivery/json.ts";
import type { Connection } from "../connections/connection.ts";
import { MAX_RECORD_ACTS } from "../handler/moderating.ts";
import type { ChatV1 } from "./chat_v1.ts";
import { bounded, exactlyOne, fields, id, type RequestTypes, row } from "./request_types.ts";

const DEFAULT_RECORD_ACTS = 50;

const opFields = fields({ secret: bounded });
const userShape = { nick: bounded.optional(), user: id.optional() };
const ignoreFields = exactlyOne(fields(userShape), "nick", "user");
const recordFields = fields({
  room: bounded.optional(),
  before: id.optional(),
  limit: z.int().min(1).max(MAX_RECORD_ACTS).default(DEFAULT_RECORD_ACTS),
});

/** Every field that an act may have. Which ones a request has depends on its act. */
const actFields = fields({
  ...userShape,
  room: bounded.optional(),
  network: bounded.optional(),
  force: z.boolean().optional(),
  for: z.int().optional(),
  reason: bounded.optional(),
  text: bounded.optional(),
  seconds: z.int().optional(),
  count: z.int().optional(),
});

type ActFields = z.infer<typeof actFields>;

/** The requests about moderation, by name. */
export const MODERATION_REQUESTS: RequestTypes = {
  ...Object.fromEntries(
    (Object.keys(ACTS) as ActName[]).filter((act) => act !== "delete").map((act) => {
      const schema = schemaOf(ACTS[act]);
      return [
        act,
        row("command", schema, (v1, connection, sent) => {
          return carryOut(v1, connection, act, sent);
        }),
      ];
    }),
  ),
  op: row("nick", opFields, becomeOperator),
  ignore: row(
    "command",
    ignoreFields,
    (v1, connection, sent) => ignore(v1, connection, sent, true),
  ),
  unignore: row(
    "command",
    ignoreFields,
    (v1, connection, sent) => ignore(v1, connection, sent, false),
  ),
  ignored: row("command", fields({}), async (v1, connection, { ref }) => {
    const users = await v1.handler.moderating.ignored(connection);
    connection.replyLarge(encodeReply("ignored", ref, { users }), users.length);
  }, { maxReplyBytes: MAX_REPLY_BYTES }),
  modlog: row("command", recordFields, showRecord, { maxReplyBytes: MAX_REPLY_BYTES }),
};

/** Returns the schema of the request for an act: it demands the fields that the act needs. */
function schemaOf(act: ActRow): typeof actFields {
  const needed = [
    act.isChatWide || act.by === "member" ? undefined : "room",
    act.text === "topic" ? "text" : undefined,
    act.count?.name,
  ];
  return actFields.superRefine((value, context) => {
    const isGiven = (name: string) => value[name as keyof ActFields] !== undefined;
    const missing = needed.find((name) => name !== undefined && !isGiven(name));
    const subjects = ["nick", "user", "network"].filter(isGiven);
    const lacks = missing ?? (act.about === "user" && subjects.length === 0 ? "nick" : undefined);
    if (lacks !== undefined) {
      context.addIssue({ code: "custom", path: [lacks], message: "missing" });
    } else if (subjects.length > 1) {
      const message = `not together with ${subjects[0]}`;
      context.addIssue({ code: "custom", path: [subjects[1]!], message });
    }
  });
}

async function carryOut(
  v1: ChatV1,
  connection: Connection,
  act: ActName,
  { ref, room, nick, user, network, force, reason, text, ...sent }: ActFields,
): Promise<void> {
  const row: ActRow = ACTS[act];
  const result = await v1.handler.moderating.act(connection, {
    act,
    room,
    user: user !== undefined ? { user } : nick !== undefined ? { nick } : undefined,
    network,
    isForced: force,
    seconds: sent.for,
    text: row.text === "topic" ? text : reason,
    count: row.count === undefined ? undefined : sent[row.count.name as "seconds" | "count"],
  });
  v1.replyOk(connection, ref, result);
}

async function becomeOperator(
  v1: ChatV1,
  connection: Connection,
  { secret, ref }: z.infer<typeof opFields>,
): Promise<void> {
  const change = () => v1.handler.moderating.becomeOperator(connection, secret);
  const result = await v1.withRoomStates(connection, change);
  v1.replyOk(connection, ref, result, { role: "operator" });
}

async function ignore(
  v1: ChatV1,
  connection: Connection,
  { nick, user = "", ref }: z.infer<typeof ignoreFields>,
  isIgnored: boolean,
): Promise<void> {
  const sought = nick === undefined ? { user } : { nick };
  const result = await v1.handler.moderating.ignore(connection, sought, isIgnored);
  v1.replyOk(connection, ref, result, result.ok ? userFields(result.user) : undefined);
}

async function showRecord(
  v1: ChatV1,
  connection: Connection,
  { ref, ...query }: z.infer<typeof recordFields>,
): Promise<void> {
  const result = await v1.handler.moderating.record(connection, query);
  if (!result.ok) return v1.replyError(connection, ref, result);
  const { room, entries, more } = result;
  const events = entries.map(({ eventId, event }) => v1.encode(connection, event, eventId)).join(
    ",",
  );
  const head = encodeReply("modlog", ref, { room }).slice(0, -1);
  connection.replyLarge(`${head},"events":[${events}],"more":${more}}`);
}
