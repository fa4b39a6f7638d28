/**
 * What a row of the table of requests is, and the fields that requests share.
 *
 * The rows stand in identity_requests.ts, room_requests.ts, message_requests.ts and
 * moderation_requests.ts; requests.ts joins them.
 */
import * as z from "zod";
import type { ActionKind } from "../base/limits.ts";
import type { Ref } from "../delivery/json.ts";
import type { ChatV1 } from "./chat_v1.ts";
import type { Connection } from "../connections/connection.ts";

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

/** Types of requests, by name. */
export type RequestTypes = Readonly<Record<string, RequestType>>;

/** What a row of the table says besides its fields and its action. */
type Options = Partial<Omit<RequestType, "action" | "read">>;

/** UTF-16 code units of a `ref`, a `cid`, or the ID of an event, a user or a session. */
const MAX_ID_UNITS = 64;

/** Code units of a name, a password or a token. Shorter ones that are too long have their own code. */
const MAX_FIELD_UNITS = 64 * 1024;

/** Bytes of a frame. A text of the greatest length fits even if all of it is escaped. */
export const MAX_FRAME_BYTES = 256 * 1024;

// `max` of zod counts code points: four bytes of UTF-8 each would pass as one character.
const atMost = (units: number) =>
  z.string().refine((value) => value.length <= units, `must have at most ${units} characters`);

/** A `ref`, a `cid` or an ID. A lone surrogate cannot be written in UTF-8: strict parsers refuse it. */
export const id = atMost(MAX_ID_UNITS)
  .refine((value) => value.isWellFormed(), "has half a character");

/** The client's own ID of a message. */
export const cid = id.min(1).optional();

/** A name, a password or a token. */
export const bounded = atMost(MAX_FIELD_UNITS);

/** The text of a message. */
export const text = atMost(MAX_FRAME_BYTES).min(1).overwrite((sent) => sent.toWellFormed());

/** The `ref` of a request. */
export const ref = z.union([id, z.int()]).optional();

/** Returns the schema of a request's fields. */
export function fields<Shape extends z.ZodRawShape>(shape: Shape) {
  return z.object({ ...shape, ref });
}

/**
 * Returns a schema that also demands exactly one of two fields. Without either, the first counts as
 * missing.
 */
export function exactlyOne<Schema extends z.ZodObject>(
  schema: Schema,
  one: string,
  other: string,
): Schema {
  return schema.superRefine((value, context) => {
    const hasOne = value[one] !== undefined;
    if (hasOne !== (value[other] !== undefined)) return;
    const path = [hasOne ? other : one];
    context.addIssue({ code: "custom", path, message: `not together with ${one}` });
  });
}

/** Returns a row of the table. By default it is allowed after the login and waits for messages. */
export function row<Fields extends { ref?: Ref; text?: string }>(
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
