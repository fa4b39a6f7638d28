/**
 * The requests of `chat.v1` about rooms, and about who is where.
 *
 * See requests.ts for the table that they belong to, and membership.ts for what they change.
 */
import type * as z from "zod";
import { countThatFits, encodedBytes, MAX_REPLY_BYTES } from "../delivery/encoded_size.ts";
import { encodeReply, type Ref, userFields } from "../delivery/json.ts";
import type { ChatV1 } from "./chat_v1.ts";
import type { Connection } from "../connections/connection.ts";
import { bounded, exactlyOne, fields, id, type RequestTypes, row } from "./request_types.ts";

/** Bytes of a room in a list, besides its name: field names, punctuation and the number. */
const ROOM_BYTES = 40;

/** Bytes of a member in a list, besides the nickname: field names, punctuation and the user ID. */
const MEMBER_BYTES = 92;

const roomFields = fields({ room: bounded });
const whoFields = exactlyOne(
  fields({ nick: bounded.optional(), user: id.optional() }),
  "nick",
  "user",
);

/** The requests about rooms, by name. */
export const ROOM_REQUESTS: RequestTypes = {
  join: row("join", roomFields, async (v1, connection, { room, ref }) => {
    const result = await v1.handler.membership.join(connection, room);
    if (result.ok && result.eventId !== undefined) {
      const state = v1.roomStateOf(connection, result.room);
      if (state !== "") connection.reply(state);
    }
    v1.replyOk(connection, ref, result, result.ok ? { room: result.room } : undefined);
  }),
  leave: row("command", roomFields, async (v1, connection, { room, ref }) => {
    v1.replyOk(connection, ref, await v1.handler.membership.leave(connection, room));
  }),
  who: row("command", whoFields, findUser, { maxReplyBytes: MAX_REPLY_BYTES }),
  rooms: row("command", fields({}), listRooms, { maxReplyBytes: MAX_REPLY_BYTES }),
  members: row("command", roomFields, listMembers, { maxReplyBytes: MAX_REPLY_BYTES }),
};

async function findUser(
  v1: ChatV1,
  connection: Connection,
  { nick, user = "", ref }: z.infer<typeof whoFields>,
): Promise<void> {
  const result = await v1.handler.membership.who(
    connection,
    nick === undefined ? { user } : { nick },
  );
  if (!result.ok) return v1.replyError(connection, ref, result);
  const { rooms, isOnline: online, ...who } = result.found;
  connection.replyLarge(encodeReply("who", ref, { ...userFields(who), rooms, online }));
}

async function listRooms(
  v1: ChatV1,
  connection: Connection,
  { ref }: { ref?: Ref },
): Promise<void> {
  const rooms = await v1.handler.membership.rooms(connection);
  const list = [...rooms].map(([room, people]) => ({ room, people }));
  const bytesOf = ({ room }: { room: string }) => encodedBytes(room) + ROOM_BYTES;
  const fits = countThatFits(list, MAX_REPLY_BYTES, bytesOf);
  const more = fits < list.length || undefined;
  const reply = encodeReply("rooms", ref, { rooms: list.slice(0, fits), more });
  connection.replyLarge(reply, list.length);
}

async function listMembers(
  v1: ChatV1,
  connection: Connection,
  { room: typed, ref }: z.infer<typeof roomFields>,
): Promise<void> {
  const result = await v1.handler.membership.members(connection, typed);
  if (!result.ok) return v1.replyError(connection, ref, result);
  const { room, members } = result;
  const bytesOf = ({ nick }: { nick: string }) => encodedBytes(nick) + MEMBER_BYTES;
  const fits = countThatFits(members, MAX_REPLY_BYTES, bytesOf);
  const more = fits < members.length || undefined;
  const shown = members.slice(0, fits).map(({ isAway, ...user }) => ({
    ...userFields(user),
    away: isAway || undefined,
  }));
  connection.replyLarge(
    encodeReply("members", ref, { room, members: shown, more }),
    members.length,
  );
}
