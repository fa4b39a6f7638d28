/**
 * The `chat.v1` protocol: requests in JSON, checked against their schemas, and the replies to them.
 *
 * Connection hands in one line at a time; what it asks for is Handler's to do. Every request with a
 * `ref` gets exactly one reply with it. PROTOCOL.md describes all of it.
 */
import * as z from "zod";
import {
  countThatFits,
  encodedBytes,
  MAX_REPLY_BYTES,
  MAX_RESUME_BYTES,
} from "../delivery/encoded_size.ts";
import { costOf, DISCONNECT, messageCost, type RateLimiter, replyCost } from "./rate_limiter.ts";
import type { Handler, Session } from "./handler.ts";
import { MAX_HISTORY_EVENTS } from "./handler.ts";
import { encodeJson, encodeReply, encodeSent, type Ref } from "../delivery/json.ts";
import { type ActionKind, type Limits, sizeOf } from "../base/limits.ts";
import { reject, type Rejection, rejection, type Result } from "../base/rejections.ts";
import { CLOSE, RATE_LIMIT_REASON, type Sender, type Subscriber } from "../delivery/sender.ts";

/** What the protocol is made of. */
export interface ChatV1Parts {
  readonly handler: Handler;
  readonly sender: Sender;
  readonly limits: Limits;
  /** Milliseconds for which a place is kept. */
  readonly grace: number;
  /** Milliseconds for which what is said is kept. */
  readonly retention: number;
}

/** Characters of a `ref`, a `cid` or an id of ours. */
const MAX_ID_CHARS = 64;

/** Bytes of a frame. A text of the greatest length, all of it written with escapes, has room in it. */
const MAX_REQUEST_FRAME_BYTES = 256 * 1024;

/** A frame of more bytes is no mistake. */
const MAX_FRAME_BYTES = 4 * 1024 * 1024;

/** How deep a request may be nested: deeper is nothing that we would understand. */
const MAX_JSON_DEPTH = 16;

/** Code units of a name, a password or a token. What is shorter, but too long, has its own error code. */
const MAX_FIELD_UNITS = 64 * 1024;

const DEFAULT_PAGE_EVENTS = 50;

// A lone surrogate cannot be written in UTF-8: strict JSON parsers refuse the whole line.
const wellFormed = z.string().refine((value) => value.isWellFormed(), "it has half a character");
const short = wellFormed.max(MAX_ID_CHARS);
const cid = short.min(1).optional();
const ref = z.union([short, z.int()]).optional();
const bounded = z.string().max(MAX_FIELD_UNITS);
const text = z.string().min(1).max(MAX_REQUEST_FRAME_BYTES).overwrite((typed) =>
  typed.toWellFormed()
);
const words = { text, room: bounded.optional(), cid, ref };

const Request = z.discriminatedUnion("type", [
  z.object({ type: z.literal("message"), ...words }),
  z.object({ type: z.literal("action"), ...words }),
  z.object({
    type: z.literal("direct"),
    to: bounded,
    text,
    cid,
    ref,
  }),
  z.object({ type: z.literal("login"), nick: bounded, ref }),
  z.object({
    type: z.literal("resume"),
    token: bounded,
    last: short.optional(),
    direct: short.optional(),
    sent: short.optional(),
    ref,
  }),
  z.object({ type: z.literal("join"), room: bounded, ref }),
  z.object({ type: z.literal("leave"), ref }),
  z.object({ type: z.literal("nick"), nick: bounded, ref }),
  z.object({ type: z.literal("identify"), nick: bounded, password: bounded, ref }),
  z.object({ type: z.literal("register"), password: bounded, ref }),
  z.object({ type: z.literal("password"), password: bounded, new: bounded, ref }),
  z.object({ type: z.literal("unregister"), password: bounded, ref }),
  z.object({ type: z.literal("who"), nick: bounded, ref }),
  z.object({ type: z.literal("rooms"), ref }),
  z.object({ type: z.literal("members"), ref }),
  z.object({
    type: z.literal("history"),
    room: bounded.optional(),
    before: short.optional(),
    after: short.optional(),
    limit: z.int().min(1).max(MAX_HISTORY_EVENTS).default(DEFAULT_PAGE_EVENTS),
    ref,
  }).refine(({ before, after }) => before === undefined || after === undefined, {
    path: ["after"],
    message: "not together with before",
  }),
  z.object({ type: z.literal("ping"), ref }),
]);

/** A request, as the schemas have it. */
export type Request = z.infer<typeof Request>;

type Of<Type extends Request["type"]> = Extract<Request, { type: Type }>;

/** What each request does. What it does once it is done is sent by itself. */
type Verbs = {
  [Type in Request["type"]]: (session: Session, request: Of<Type>) => void | Promise<void>;
};

/** As what requests are counted that are not just requests. */
const DEEDS: Readonly<Partial<Record<Request["type"], ActionKind>>> = {
  message: "message",
  action: "message",
  direct: "message",
  join: "join",
  login: "nick",
  nick: "nick",
  identify: "nick",
  register: "nick",
  password: "nick",
  unregister: "nick",
};

/** The requests with large replies, and the most bytes of those. */
const LARGE: Readonly<Partial<Record<Request["type"], number>>> = {
  resume: MAX_RESUME_BYTES,
  rooms: MAX_REPLY_BYTES,
  members: MAX_REPLY_BYTES,
  history: MAX_REPLY_BYTES,
};

const TYPES: readonly string[] = Request.options.map(({ shape }) => shape.type.value);

/** The meaning of requests. */
export class ChatV1 {
  readonly wire = "json";
  readonly #parts: ChatV1Parts;
  readonly #verbs: Verbs = {
    login: (session, request) => this.#login(session, request),
    resume: (session, request) => this.#comeBack(session, request),
    join: async (session, { room, ref }) =>
      this.#ok(session, ref, await this.#parts.handler.join(session, room)),
    leave: async (session, { ref }) =>
      this.#ok(session, ref, await this.#parts.handler.leave(session)),
    nick: async (session, { nick, ref }) =>
      this.#ok(session, ref, await this.#parts.handler.rename(session, nick)),
    identify: (session, request) => this.#identify(session, request),
    register: async (session, { password, ref }) =>
      this.#ok(session, ref, await this.#parts.handler.register(session, password)),
    password: async (session, { password, new: fresh, ref }) => {
      // Without a ref there is no reply in which a new token could be told.
      const renews = ref !== undefined;
      const { handler } = this.#parts;
      this.#ok(session, ref, await handler.changePassword(session, password, fresh, renews));
    },
    unregister: async (session, { password, ref }) =>
      this.#ok(session, ref, await this.#parts.handler.unregister(session, password)),
    message: (session, request) => this.#say(session, request),
    action: (session, request) => this.#say(session, request),
    direct: (session, request) => this.#tell(session, request),
    who: (session, request) => this.#who(session, request),
    rooms: (session, request) => this.#rooms(session, request),
    members: async (session, { ref }) => {
      const result = await this.#parts.handler.members(session);
      if (!result.ok) return this.#refuse(session.subscriber, ref, result);
      const { room, nicks } = result;
      const fits = countThatFits(nicks, MAX_REPLY_BYTES, (nick) => encodedBytes(nick) + 3);
      const more = fits < nicks.length || undefined;
      const list = { room, nicks: nicks.slice(0, fits), more };
      this.#replyLarge(session, encodeReply("members", ref, list), nicks.length);
    },
    history: (session, request) => this.#history(session, request),
    ping: (session, { ref }) => ref === undefined ? undefined : this.#reply(session, "pong", ref),
  };

  constructor(parts: ChatV1Parts) {
    this.#parts = parts;
  }

  /** A new connection. */
  open(
    id: string,
    subscriber: Subscriber,
    address: string,
    limiter: RateLimiter | undefined,
  ): Session {
    return this.#parts.handler.open(id, subscriber, address, limiter);
  }

  /** The requests of a frame, one a line; none if it is too long. */
  split(subscriber: Subscriber, frame: string, bytes: number): string[] {
    if (bytes > MAX_FRAME_BYTES) {
      this.#parts.sender.close(
        subscriber,
        CLOSE.tooBig,
        `a frame has at most ${MAX_REQUEST_FRAME_BYTES} bytes`,
      );
    } else if (bytes > MAX_REQUEST_FRAME_BYTES) {
      const message =
        `Not done: this frame has ${bytes} bytes, and at most ${MAX_REQUEST_FRAME_BYTES} are allowed.`;
      this.#refuse(subscriber, undefined, reject("too-long", message));
    } else if (!frame.includes("\n")) {
      return [frame];
    } else {
      return frame.split("\n").filter((line) => line.trim() !== "");
    }
    return [];
  }

  /** Handles a request. The next one may come when what is returned has resolved. */
  handle(session: Session, line: string): void | Promise<void> {
    const read = readRequest(line);
    const { limiter } = session;
    if (limiter !== undefined) {
      const action = (read.ok ? DEEDS[read.request.type] : undefined) ?? "command";
      const text = read.ok && "text" in read.request ? read.request.text : "";
      const wait = limiter.take(action, Math.max(costOf(line.length), messageCost(text)));
      if (wait > 0) {
        const ref = read.ok ? read.request.ref : read.ref;
        return this.#slowDown(session.subscriber, ref, action, wait);
      }
    }
    if (!read.ok) return this.#refuse(session.subscriber, read.ref, read);
    const { request } = read;
    const { type, ref } = request;
    const isNamed = session.record.nick !== "";
    if (type === "login" || type === "resume") {
      if (isNamed) return this.#refuse(session.subscriber, ref, alreadyNamed);
    } else if (!isNamed && type !== "ping" && type !== "identify") {
      return this.#refuse(session.subscriber, ref, notNamed);
    }
    if (session.tokenUnconfirmed) {
      return this.#parts.handler.confirmToken(session).then(() => this.#perform(session, request));
    }
    return this.#perform(session, request);
  }

  /** Tells somebody that, and why, something was not done, whatever it was. */
  reject(subscriber: Subscriber, why: Rejection): void {
    this.#refuse(subscriber, undefined, why);
  }

  #slowDown(subscriber: Subscriber, ref: Ref, action: ActionKind, wait: number): void {
    if (wait === DISCONNECT) this.#parts.sender.close(subscriber, CLOSE.policy, RATE_LIMIT_REASON);
    else this.#refuse(subscriber, ref, rejection.tooFast(action === "message", wait));
  }

  #perform(session: Session, request: Request): void | Promise<void> {
    const { type, ref } = request;
    const verb = this.#verbs[type] as (session: Session, request: Request) => void | Promise<void>;
    if (type === "message" || type === "action") return verb(session, request);
    // What was said before is seen before the answer.
    const quiet = this.#parts.handler.whenIdle(session);
    const act = () => this.#large(session, request, () => verb(session, request));
    const work = quiet === undefined ? act() : quiet.then(act);
    return work?.catch((error) => {
      this.#refuse(session.subscriber, ref, rejection.notDone);
      throw new AnsweredError(error);
    });
  }

  /** Does what a request asks for, unless its reply is large and does not fit now. */
  #large(
    { subscriber }: Session,
    { type, ref }: Request,
    act: () => void | Promise<void>,
  ): void | Promise<void> {
    const maxBytes = LARGE[type];
    if (maxBytes === undefined) return act();
    const release = this.#parts.sender.reserve(subscriber, maxBytes);
    if (release === undefined) return this.#refuse(subscriber, ref, rejection.tooMuchUnsent);
    return Promise.resolve(act()).finally(release);
  }

  async #login(session: Session, { nick, ref }: Of<"login">): Promise<void> {
    const result = await this.#parts.handler.login(session, nick, true);
    if (!result.ok) return this.#refuse(session.subscriber, ref, result);
    this.#welcome(session, ref, result.token);
  }

  /** Whoever has no nickname yet logs in by this. */
  async #identify(session: Session, { nick, password, ref }: Of<"identify">): Promise<void> {
    const isLogin = session.record.nick === "";
    const result = await this.#parts.handler.identify(session, nick, password, true);
    if (!result.ok) this.#refuse(session.subscriber, ref, result);
    else if (isLogin) this.#welcome(session, ref, result.token);
    else if (ref !== undefined) {
      this.#reply(session, "ok", ref, { id: result.at, nick: result.nick });
    }
  }

  async #comeBack(
    session: Session,
    { token, last, direct, sent, ref }: Of<"resume">,
  ): Promise<void> {
    const { handler } = this.#parts;
    const { subscriber } = session;
    const back = await handler.resume(session, token, { last, direct, sent });
    if (!back.ok) return this.#refuse(subscriber, ref, back);
    this.#welcome(session, ref, back.token);
    const { entries, recovered, reason, from } = back;
    const lines = entries.map(({ eventId, event, isSent }) =>
      isSent ? encodeSent(event, eventId) : encodeJson(event, eventId)
    );
    const resumed = { recovered, missed: entries.length, reason, from };
    const end = encodeReply("resumed", undefined, resumed);
    this.#replyLarge(session, [...lines, end].join("\n"));
    handler.endCatchUp(session, back);
  }

  #welcome(session: Session, ref: Ref, token: string): void {
    const { limits, grace, retention } = this.#parts;
    const { nick, room, held } = session.record;
    const registered = held.account === "" ? undefined : true;
    this.#reply(session, "welcome", ref, {
      ...{ nick, registered, room, token, grace: grace / 1000, history: retention / 1000 },
      limits: { text: limits.messageBytes, nick: limits.nickname, room: limits.room },
    });
  }

  #say(session: Session, request: Of<"message" | "action">): void | Promise<void> {
    const { type: kind, text, room, cid, ref } = request;
    const { subscriber } = session;
    const tooLong = this.#tooLong(text);
    if (tooLong !== undefined) return this.#refuse(subscriber, ref, tooLong);
    return this.#parts.handler.say(session, {
      ...{ kind, text, cid, expectedRoom: room },
      settle: (result) => {
        if (!result.ok) this.#refuse(subscriber, ref, result);
        else if (ref !== undefined) {
          this.#parts.sender.queueLine(subscriber, encodeReply("ok", ref, { id: result.at }));
        }
      },
    });
  }

  async #tell(session: Session, { to, text, cid, ref }: Of<"direct">): Promise<void> {
    const { handler, sender } = this.#parts;
    const tooLong = this.#tooLong(text);
    const result = tooLong ?? await handler.sendDirect(session, to, text, cid);
    if (!result.ok) return this.#refuse(session.subscriber, ref, result);
    const { at: eventId, told } = result;
    if (told !== undefined) sender.reply(session.subscriber, encodeSent(told, eventId!));
    this.#ok(session, ref, result);
  }

  async #who(session: Session, { nick, ref }: Of<"who">): Promise<void> {
    const found = await this.#parts.handler.findOnline(nick);
    if (!found.ok) return this.#refuse(session.subscriber, ref, found);
    const { record } = found;
    this.#reply(session, "who", ref, { nick: record.nick, room: record.room ?? null });
  }

  async #rooms(session: Session, { ref }: Of<"rooms">): Promise<void> {
    const rooms = await this.#parts.handler.rooms();
    const list = [...rooms].map(([room, people]) => ({ room, people }));
    // What stands around the name, and the number.
    const fits = countThatFits(list, MAX_REPLY_BYTES, ({ room }) => encodedBytes(room) + 40);
    const more = fits < list.length || undefined;
    const reply = encodeReply("rooms", ref, { rooms: list.slice(0, fits), more });
    this.#replyLarge(session, reply, list.length);
  }

  async #history(session: Session, { ref, ...page }: Of<"history">): Promise<void> {
    const result = await this.#parts.handler.history(session, page);
    if (!result.ok) return this.#refuse(session.subscriber, ref, result);
    const { room, entries, more } = result;
    const events = entries.map(({ eventId, event }) => encodeJson(event, eventId)).join(",");
    const head = encodeReply("history", ref, { room }).slice(0, -1);
    this.#replyLarge(session, `${head},"events":[${events}],"more":${more}}`);
  }

  #tooLong(text: string): Rejection | undefined {
    const { messageBytes } = this.#parts.limits;
    const bytes = sizeOf(text, messageBytes);
    return bytes > messageBytes ? rejection.tooLong(bytes, messageBytes) : undefined;
  }

  #ok(session: Session, ref: Ref, result: Result<{ at?: string; token?: string }>): void {
    if (!result.ok) return this.#refuse(session.subscriber, ref, result);
    const { at: id, token } = result;
    if (ref !== undefined) this.#reply(session, "ok", ref, { id, token });
  }

  #reply({ subscriber }: Session, type: string, ref: Ref, fields?: Record<string, unknown>): void {
    this.#parts.sender.reply(subscriber, encodeReply(type, ref, fields));
  }

  /** Sends a reply that is charged by its bytes, and by the rows that were read for it. */
  #replyLarge(session: Session, text: string, rows = 0): void {
    session.limiter?.charge("command", replyCost(sizeOf(text, 0), rows));
    this.#parts.sender.reply(session.subscriber, text);
  }

  #refuse(subscriber: Subscriber, ref: Ref, { code, message, retryAfter }: Rejection): void {
    this.#parts.sender.reply(subscriber, encodeReply("error", ref, { code, message, retryAfter }));
  }
}

const notNamed = reject("not-named", 'First log in: {"type":"login","nick":…}.');
const alreadyNamed = reject("already-named", "You have logged in already.");

/** A fault that the one who asked has been told of. */
export class AnsweredError extends Error {
  constructor(cause: unknown) {
    super(cause instanceof Error ? cause.message : String(cause), { cause });
  }
}

/** Reads a line; what is refused keeps its `ref` if that can be had. */
function readRequest(line: string): { ok: true; request: Request } | Rejection & { ref: Ref } {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return { ...notAnObject, ref: undefined };
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return { ...notAnObject, ref: undefined };
  }
  const { keys, depth } = shapeOf(line);
  const given = ref.safeParse((value as { ref?: unknown }).ref);
  const known = given.success ? given.data : undefined;
  if (depth > MAX_JSON_DEPTH) return { ...tooDeep, ref: known };
  // JSON.parse keeps the last of two, another reader the first: so neither may mean anything.
  if (keys !== Object.keys(value).length) return { ...keyTwice, ref: undefined };
  const parsed = Request.safeParse(value);
  if (parsed.success) return { ok: true, request: parsed.data };
  return { ...whatIsWrong(value, parsed.error), ref: known };
}

const notAnObject = reject("malformed", "This is not a JSON object.");
const tooDeep = reject("malformed", `Nested more than ${MAX_JSON_DEPTH} deep.`);
const keyTwice = reject("malformed", "A key is there twice.");

function whatIsWrong(value: object, { issues }: z.ZodError): Rejection {
  const { type } = value as { type?: unknown };
  if (type === undefined) return reject("bad-request", "type: it is missing.");
  if (typeof type !== "string") return reject("bad-request", "type: it must be a string.");
  if (!TYPES.includes(type)) {
    return reject(
      "unknown-type",
      `There is no request of the type ${JSON.stringify(type.slice(0, 64))}.`,
    );
  }
  const { path, code, message, ...issue } = issues[0]!;
  const field = path.join(".");
  const missing = !Object.hasOwn(value, field);
  const expected = "expected" in issue ? String(issue.expected) : undefined;
  const why = missing
    ? "it is missing"
    : code === "custom"
    ? message
    : expected !== undefined && code === "invalid_type"
    ? `it must be ${expected === "int" ? "a whole number" : `a ${expected}`}`
    : message.charAt(0).toLowerCase() + message.slice(1);
  return reject("bad-request", `${field}: ${why}.`);
}

/** How many keys a JSON object has at the top, twice the same counted twice, and how deep it goes. */
function shapeOf(json: string): { keys: number; depth: number } {
  let keys = 0, depth = 0, deepest = 0;
  for (let i = 0; i < json.length; i++) {
    switch (json.charCodeAt(i)) {
      case 0x22: // A string: up to its end, over what is escaped.
        for (i++; json.charCodeAt(i) !== 0x22; i++) if (json.charCodeAt(i) === 0x5c) i++;
        break;
      case 0x7b:
      case 0x5b:
        if (++depth > deepest) deepest = depth;
        break;
      case 0x7d:
      case 0x5d:
        depth--;
        break;
      case 0x3a:
        if (depth === 1) keys++;
    }
  }
  return { keys, depth: deepest };
}
