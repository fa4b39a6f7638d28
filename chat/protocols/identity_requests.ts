/**
 * The requests of `chat.v1` about identity: logging in, resuming, nicknames, passwords and sessions.
 *
 * See requests.ts for the table that they belong to, and identity.ts for what they change.
 */
import * as z from "zod";
import { MAX_REPLY_BYTES, MAX_RESUME_BYTES } from "../delivery/encoded_size.ts";
import { encodeReply, type Ref } from "../delivery/json.ts";
import type { ChatV1 } from "./chat_v1.ts";
import type { Connection } from "../connections/connection.ts";
import { bounded, fields, id, type RequestTypes, row } from "./request_types.ts";

/** Rooms that a `resume` may name: those that a client was in, and those that it has just left. */
const MAX_LAST_ROOMS = 400;

const passwordFields = fields({ password: bounded });
const identifyFields = fields({ nick: bounded, password: bounded });
const changePasswordFields = fields({ password: bounded, new: bounded });
const resumeFields = fields({
  token: bounded,
  last: z.record(bounded, id)
    .refine(
      (last) => Object.keys(last).length <= MAX_LAST_ROOMS,
      `has more than ${MAX_LAST_ROOMS} rooms`,
    )
    .default({}),
  direct: id.optional(),
});

/** The requests about identity, by name. */
export const IDENTITY_REQUESTS: RequestTypes = {
  login: row("nick", fields({ nick: bounded }), login, { allowed: "before login" }),
  resume: row("command", resumeFields, resume, {
    allowed: "before login",
    maxReplyBytes: MAX_RESUME_BYTES + MAX_REPLY_BYTES,
  }),
  nick: row("nick", fields({ nick: bounded }), async (v1, connection, { nick, ref }) => {
    const change = () => v1.handler.identity.rename(connection, nick);
    const result = await v1.withRoomStates(connection, change);
    v1.replyOk(connection, ref, result, result.ok ? v1.userOf(connection) : undefined);
  }),
  identify: row("nick", identifyFields, identify, {
    allowed: "always",
    maxReplyBytes: 2 * MAX_REPLY_BYTES,
  }),
  register: row("nick", passwordFields, async (v1, connection, { password, ref }) => {
    const change = () => v1.handler.identity.register(connection, password);
    const result = await v1.withRoomStates(connection, change);
    v1.replyOk(connection, ref, result, result.ok ? { user: result.user } : undefined);
  }),
  password: row("nick", changePasswordFields, changePassword),
  unregister: row("nick", passwordFields, async (v1, connection, { password, ref }) => {
    const change = () => v1.handler.identity.unregister(connection, password);
    const result = await v1.withRoomStates(connection, change);
    v1.replyOk(connection, ref, result, result.ok ? { user: result.user } : undefined);
  }),
  away: row("command", fields({ away: z.boolean() }), async (v1, connection, { away, ref }) => {
    const result = await v1.handler.identity.setAway(connection, away);
    // Its events have several IDs, or none that this client receives.
    v1.replyOk(connection, ref, result.ok ? { ok: true } : result);
  }),
  sessions: row("command", fields({}), listSessions),
  end: row("command", fields({ session: id }), endSession),
};

async function login(
  v1: ChatV1,
  connection: Connection,
  { nick, ref }: { nick: string; ref?: Ref },
): Promise<void> {
  const result = await v1.handler.identity.login(connection, nick, true);
  if (!result.ok) return v1.replyError(connection, ref, result);
  await v1.welcome(connection, ref, result.token);
}

/** For a client without a nickname this is its login. */
async function identify(
  v1: ChatV1,
  connection: Connection,
  { nick, password, ref }: z.infer<typeof identifyFields>,
): Promise<void> {
  const { identity } = v1.handler;
  if (!connection.isNamed) return await identifyAtLogin(v1, connection, { nick, password, ref });
  const change = () => identity.identify(connection, nick, password, true);
  const result = await v1.withRoomStates(connection, change);
  if (!result.ok || ref === undefined) return v1.replyOk(connection, ref, result);
  const { fields, counted } = await v1.stateOf(connection);
  connection.replyLarge(encodeReply("ok", ref, { id: result.eventId, ...fields }), counted);
}

/** A direct message that arrives meanwhile is delivered after the earlier ones. */
async function identifyAtLogin(
  v1: ChatV1,
  connection: Connection,
  { nick, password, ref }: z.infer<typeof identifyFields>,
): Promise<void> {
  const { handler, sender } = v1;
  const { subscriber } = connection;
  const known = new Set<string>();
  sender.holdDirects(subscriber);
  try {
    const result = await handler.identity.identify(connection, nick, password, true);
    if (!result.ok) return v1.replyError(connection, ref, result);
    const conversations = await v1.welcome(connection, ref, result.token);
    const unread = await handler.welcome.unreadDirects(connection.session.user, conversations);
    if (unread.entries.length === 0) return;
    const lines = unread.entries.map(({ event, eventId }) => {
      known.add(eventId);
      return v1.encode(connection, event, eventId);
    });
    connection.replyLarge(lines.join("\n"));
  } finally {
    sender.endCatchUp(subscriber, known);
  }
}

async function resume(
  v1: ChatV1,
  connection: Connection,
  { token, last, direct, ref }: z.infer<typeof resumeFields>,
): Promise<void> {
  const seen = { last: new Map(Object.entries(last)), direct };
  const resumption = await v1.handler.resume(connection, token, seen);
  if (!resumption.ok) return v1.replyError(connection, ref, resumption);
  await v1.welcome(connection, ref, resumption.token);
  const lines: string[] = [];
  for (const { room, entries, recovered, reason, from } of resumption.parts) {
    for (const { eventId, event } of entries) lines.push(v1.encode(connection, event, eventId));
    const resumed = { room, recovered, missed: entries.length, reason, from };
    lines.push(encodeReply("resumed", undefined, resumed));
    const state = room === undefined ? "" : v1.roomStateOf(connection, room);
    if (state !== "") lines.push(state);
  }
  connection.replyLarge(lines.join("\n"));
  await v1.handler.endCatchUp(connection, resumption);
}

async function changePassword(
  v1: ChatV1,
  connection: Connection,
  { password, new: newPassword, ref }: z.infer<typeof changePasswordFields>,
): Promise<void> {
  // Without a ref there is no reply that could tell a new token.
  const renewsToken = ref !== undefined;
  const { identity } = v1.handler;
  const result = await identity.changePassword(connection, password, newPassword, renewsToken);
  v1.replyOk(connection, ref, result, result.ok ? { token: result.token } : undefined);
}

async function listSessions(
  v1: ChatV1,
  connection: Connection,
  { ref }: { ref?: Ref },
): Promise<void> {
  const sessions = await v1.handler.identity.sessions(connection);
  v1.reply(connection, "sessions", ref, {
    sessions: sessions.map(({ id, since, protocol, isCurrent }) => ({
      session: id,
      since,
      protocol: protocol === v1.wire ? v1.name : protocol,
      current: isCurrent || undefined,
    })),
  });
}

/** Ending the own session is a departure: its reply comes before the close. */
async function endSession(
  v1: ChatV1,
  connection: Connection,
  { session, ref }: { session: string; ref?: Ref },
): Promise<void> {
  if (session === connection.id) {
    v1.replyOk(connection, ref, { ok: true });
    return await v1.handler.endOwn(connection);
  }
  v1.replyOk(connection, ref, await v1.handler.identity.endSession(connection, session));
}
