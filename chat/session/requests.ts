/**
 * The requests of `chat.v1`, in one table: fields, rate limit, when they are allowed, and what each
 * does. The known types, the costs and the dispatch come from it.
 *
 * chat/docs/PROTOCOL.md describes the requests. What a request changes is in handler.ts; how a line
 * is read and a reply written is in chat_v1.ts.
 */
import * as z from "zod";
import type { ActionKind } from "../base/limits.ts";
import {
  countThatFits,
  encodedBytes,
  MAX_REPLY_BYTES,
  MAX_RESUME_BYTES,
} from "../delivery/encoded_size.ts";
import { encodeJson, encodeReply, encodeSent, type Ref } from "../delivery/json.ts";
import type { ChatV1 } from "./chat_v1.ts";
import type { Connection } from "./connection.ts";
import { MAX_HISTORY_EVENTS } from "./handler.ts";

/** A request whose fields are right. */
export interface ReadRequest {
  readonly ref: Ref;
  /** The text of a message; empty for all other requests. */
  readonly text: string;
  /** Carries out the request and replies. */
  run(v1: ChatV1, connection: Connection): void | Promise<void>;
}

/** A type of requests. */
export interface RequestType {
  /** The rate limit that it counts for. */
  readonly action: ActionKind;
  /** Whether it is allowed before the login, after it, or at any time. */
  readonly allowed: "before login" | "after login" | "always";
  /** Whether it waits until the client's earlier messages have been delivered. */
  readonly waitsForMessages: boolean;
  /** The most bytes of its reply, if that may be large. */
  readonly maxReplyBytes?: number;
  /** Reads the fields of a request. */
  read(value: object): ReadRequest | z.ZodError;
}

/** UTF-16 code units of a `ref`, a `cid` or an event ID. */
const MAX_ID_UNITS = 64;

/** Code units of a name, a password or a token. Shorter ones that are too long have their own code. */
const MAX_FIELD_UNITS = 64 * 1024;

/** Bytes of a frame. A text of the greatest length fits even if all of it is escaped. */
export const MAX_FRAME_BYTES = 256 * 1024;

const DEFAULT_PAGE_EVENTS = 50;

// `max` of zod counts code points: four bytes of UTF-8 each would pass as one character.
const atMost = (units: number) =>
  z.string().refine((value) => value.length <= units, `must have at most ${units} characters`);

// A lone surrogate cannot be written in UTF-8: strict JSON parsers refuse the whole line.
const short = atMost(MAX_ID_UNITS)
  .refine((value) => value.isWellFormed(), "has half a character");
const cid = short.min(1).optional();
const bounded = atMost(MAX_FIELD_UNITS);
const text = atMost(MAX_FRAME_BYTES).min(1).overwrite((sent) => sent.toWellFormed());

const ref = z.union([short, z.int()]).optional();

/** The schema of a request's `ref`. */
export const refSchema = ref;

const messageFields = z.object({ text, room: bounded.optional(), cid, ref });
const directFields = z.object({ to: bounded, text, cid, ref });
const resumeFields = z.object({
  token: bounded,
  last: short.optional(),
  direct: short.optional(),
  sent: short.optional(),
  ref,
});
const historyFields = z.object({
  room: bounded.optional(),
  before: short.optional(),
  after: short.optional(),
  limit: z.int().min(1).max(MAX_HISTORY_EVENTS).default(DEFAULT_PAGE_EVENTS),
  ref,
}).refine(({ before, after }) => before === undefined || after === undefined, {
  path: ["after"],
  message: "not together with before",
});
const identifyFields = z.object({ nick: bounded, password: bounded, ref });

/** What a row of the table says besides its fields and its action. */
type Options = Partial<Omit<RequestType, "action" | "read">>;

/** Returns a row of the table. By default it is allowed after the login and waits for messages. */
function row<Fields extends { ref?: Ref; text?: string }>(
  action: ActionKind,
  schema: z.ZodType<Fields>,
  run: (v1: ChatV1, connection: Connection, fields: Fields) => void | Promise<void>,
  { allowed = "after login", waitsForMessages = true, maxReplyBytes }: Options = {},
): RequestType {
  return {
    action,
    allowed,
    waitsForMessages,
    maxReplyBytes,
    read(value) {
      const { success, data, error } = schema.safeParse(value);
      if (!success) return error;
      const { ref, text = "" } = data;
      return { ref, text, run: (v1, connection) => run(v1, connection, data) };
    },
  };
}

/** Every type of requests, by its name. */
export const REQUESTS: Readonly<Record<string, RequestType>> = {
  login: row("nick", z.object({ nick: bounded, ref }), login, { allowed: "before login" }),
  resume: row("command", resumeFields, resume, {
    allowed: "before login",
    maxReplyBytes: MAX_RESUME_BYTES,
  }),
  join: row("join", z.object({ room: bounded, ref }), async (v1, connection, { room, ref }) => {
    v1.replyOk(connection, ref, await v1.handler.join(connection, room));
  }),
  leave: row("command", z.object({ ref }), async (v1, connection, { ref }) => {
    v1.replyOk(connection, ref, await v1.handler.leave(connection));
  }),
  nick: row("nick", z.object({ nick: bounded, ref }), async (v1, connection, { nick, ref }) => {
    const result = await v1.handler.rename(connection, nick);
    v1.replyOk(connection, ref, result);
  }),
  identify: row("nick", identifyFields, identify, { allowed: "always" }),
  register: row(
    "nick",
    z.object({ password: bounded, ref }),
    async (v1, connection, { password, ref }) => {
      v1.replyOk(connection, ref, await v1.handler.register(connection, password));
    },
  ),
  password: row(
    "nick",
    z.object({ password: bounded, new: bounded, ref }),
    async (v1, connection, { password, new: newPassword, ref }) => {
      // Without a ref there is no reply that could tell a new token.
      const renewsToken = ref !== undefined;
      const { handler } = v1;
      const result = await handler.changePassword(connection, password, newPassword, renewsToken);
      v1.replyOk(connection, ref, result);
    },
  ),
  unregister: row(
    "nick",
    z.object({ password: bounded, ref }),
    async (v1, connection, { password, ref }) => {
      v1.replyOk(connection, ref, await v1.handler.unregister(connection, password));
    },
  ),
  message: row("message", messageFields, sayAs("message"), { waitsForMessages: false }),
  action: row("message", messageFields, sayAs("action"), { waitsForMessages: false }),
  direct: row("message", directFields, sendDirect),
  who: row("command", z.object({ nick: bounded, ref }), async (v1, connection, { nick, ref }) => {
    const found = await v1.handler.findOnline(nick);
    if (!found.ok) return v1.replyError(connection, ref, found);
    const { record } = found;
    v1.reply(connection, "who", ref, { nick: record.nick, room: record.room ?? null });
  }),
  rooms: row("command", z.object({ ref }), listRooms, { maxReplyBytes: MAX_REPLY_BYTES }),
  members: row("command", z.object({ ref }), listMembers, { maxReplyBytes: MAX_REPLY_BYTES }),
  history: row("command", historyFields, showHistory, { maxReplyBytes: MAX_REPLY_BYTES }),
  ping: row("command", z.object({ ref }), (v1, connection, { ref }) => {
    if (ref !== undefined) v1.reply(connection, "pong", ref);
  }, { allowed: "always" }),
};

async function login(
  v1: ChatV1,
  connection: Connection,
  { nick, ref }: { nick: string; ref?: Ref },
): Promise<void> {
  const result = await v1.handler.login(connection, nick, true);
  if (!result.ok) return v1.replyError(connection, ref, result);
  v1.welcome(connection, ref, result.token);
}

/** For a client without a nickname this is its login. */
async function identify(
  v1: ChatV1,
  connection: Connection,
  { nick, password, ref }: z.infer<typeof identifyFields>,
): Promise<void> {
  const isLogin = !connection.isNamed;
  const result = await v1.handler.identify(connection, nick, password, true);
  if (!result.ok) v1.replyError(connection, ref, result);
  else if (isLogin) v1.welcome(connection, ref, result.token);
  else if (ref !== undefined) {
    v1.reply(connection, "ok", ref, { id: result.eventId, nick: result.nick });
  }
}

async function resume(
  v1: ChatV1,
  connection: Connection,
  { token, last, direct, sent, ref }: z.infer<typeof resumeFields>,
): Promise<void> {
  const resumption = await v1.handler.resume(connection, token, { last, direct, sent });
  if (!resumption.ok) return v1.replyError(connection, ref, resumption);
  v1.welcome(connection, ref, resumption.token);
  const { entries, recovered, reason, from } = resumption;
  const lines = entries.map(({ eventId, event, isSent }) =>
    isSent ? encodeSent(event, eventId) : encodeJson(event, eventId)
  );
  const resumed = { recovered, missed: entries.length, reason, from };
  lines.push(encodeReply("resumed", undefined, resumed));
  connection.replyLarge(lines.join("\n"));
  v1.handler.endCatchUp(connection, resumption);
}

function sayAs(kind: "message" | "action") {
  return (
    v1: ChatV1,
    connection: Connection,
    { text, room, cid, ref }: z.infer<typeof messageFields>,
  ): void | Promise<void> => {
    const tooLong = v1.tooLong(text);
    if (tooLong !== undefined) return v1.replyError(connection, ref, tooLong);
    return v1.handler.say(connection, {
      kind,
      text,
      cid,
      expectedRoom: room,
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
  { to, text, cid, ref }: z.infer<typeof directFields>,
): Promise<void> {
  const result = v1.tooLong(text) ?? await v1.handler.sendDirect(connection, to, text, cid);
  if (!result.ok) return v1.replyError(connection, ref, result);
  const { eventId, event } = result;
  if (event !== undefined) connection.reply(encodeSent(event, eventId!));
  v1.replyOk(connection, ref, { ok: true, eventId });
}

async function listRooms(
  v1: ChatV1,
  connection: Connection,
  { ref }: { ref?: Ref },
): Promise<void> {
  const rooms = await v1.handler.rooms();
  const list = [...rooms].map(([room, people]) => ({ room, people }));
  // 40: field names, punctuation and the number.
  const fits = countThatFits(list, MAX_REPLY_BYTES, ({ room }) => encodedBytes(room) + 40);
  const more = fits < list.length || undefined;
  const reply = encodeReply("rooms", ref, { rooms: list.slice(0, fits), more });
  connection.replyLarge(reply, list.length);
}

async function listMembers(
  v1: ChatV1,
  connection: Connection,
  { ref }: { ref?: Ref },
): Promise<void> {
  const result = await v1.handler.members(connection);
  if (!result.ok) return v1.replyError(connection, ref, result);
  const { room, nicks } = result;
  // 3: quotation marks and a comma.
  const fits = countThatFits(nicks, MAX_REPLY_BYTES, (nick) => encodedBytes(nick) + 3);
  const more = fits < nicks.length || undefined;
  const reply = encodeReply("members", ref, { room, nicks: nicks.slice(0, fits), more });
  connection.replyLarge(reply, nicks.length);
}

async function showHistory(
  v1: ChatV1,
  connection: Connection,
  { ref, ...query }: z.infer<typeof historyFields>,
): Promise<void> {
  const result = await v1.handler.history(connection, query);
  if (!result.ok) return v1.replyError(connection, ref, result);
  const { room, entries, more } = result;
  const events = entries.map(({ eventId, event }) => encodeJson(event, eventId)).join(",");
  const head = encodeReply("history", ref, { room }).slice(0, -1);
  connection.replyLarge(`${head},"events":[${events}],"more":${more}}`);
}
