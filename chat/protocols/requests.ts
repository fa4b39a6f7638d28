/**
 * The requests of `chat.v1`, in one table: fields, rate limit, when they are allowed, and what each
 * does. The known types, the costs and the dispatch come from it.
 *
 * chat/docs/PROTOCOL.md describes the requests. What a request changes is behind handler.ts; how a
 * line is read and a reply written is in chat_v1.ts.
 */
import { IDENTITY_REQUESTS } from "./identity_requests.ts";
import { MESSAGE_REQUESTS } from "./message_requests.ts";
import { MODERATION_REQUESTS } from "./moderation_requests.ts";
import { fields, type RequestTypes, row } from "./request_types.ts";
import { ROOM_REQUESTS } from "./room_requests.ts";

/** Every type of requests, by its name. */
export const REQUESTS: RequestTypes = {
  ...IDENTITY_REQUESTS,
  ...ROOM_REQUESTS,
  ...MESSAGE_REQUESTS,
  ...MODERATION_REQUESTS,
  ping: row("command", fields({}), (v1, connection, { ref }) => {
    if (ref !== undefined) v1.reply(connection, "pong", ref);
  }, { allowed: "always" }),
};
