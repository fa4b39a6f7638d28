/**
 * The `chat.v1` protocol: requests in JSON, checked against their schemas, and the replies to them.
 *
 * Connection hands in one line at a time; what it asks for is Handler's to do. Every request with a
 * `ref` gets exactly one reply with it. PROTOCOL.md describes all of it.
 */
import * as z from "zod";
import { countThatFits, encodedBytes, MAX_REPLY_BYTES, MAX_RESUME_BYTES } from "./encoded.ts";
import { costOf, ENOUGH, messageCost, type Pace, replyCost } from "./flood.ts";
import type { Handler, Speaker } from "./handler.ts";
import { MOST_PAST } from "./handler.ts";
import { encodeJson, encodeReply, encodeSent, type Ref } from "./json.ts";
import { type Deed, type Limits, sizeOf } from "./limits.ts";
import { type Refusal, refusal, refuse, type Result } from "./refusals.ts";
import { CLOSE, type Peer, type Sender, TOO_FAST } from "./sender.ts";

/** What the protocol is made of. */
export interface RequestsParts {
  readonly handler: Handler;
  readonly sender: Sender;
  readonly limits: Limits;
  /** Milliseconds for which a place is kept. */
  readonly grace: number;
  /** Milliseconds for which what is said is kept. */
  readonly retention: number;
}

/** Characters of a `ref`, a `cid` or an id of ours. */
const MOST_ID = 64;

/** Bytes of a frame. A text of the greatest length, all of it written with escapes, has room in it. */
const FRAME = 256 * 1024;

/** A frame of more bytes is no mistake. */
const MOST_FRAME = 4 * 1024 * 1024;

/** How deep a request may be nested: deeper is nothing that we would understand. */
const MOST_DEPTH = 16;

/** Code units of a name, a password or a token. What is shorter, but too long, has its own error code. */
const MAX_FIELD_UNITS = 64 * 1024;

const PAGE = 50;

// A lone surrogate cannot be written in UTF-8: strict JSON parsers refuse the whole line.
const wellFormed = z.string().refine((value) => value.isWellFormed(), "it has half a character");
const short = wellFormed.max(MOST_ID);
const cid = short.min(1).optional();
const ref = z.union([short, z.int()]).optional();
const bounded = z.string().max(MAX_FIELD_UNITS);
const text = z.string().min(1).max(FRAME).overwrite((typed) => typed.toWellFormed());
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
    limit: z.int().min(1).max(MOST_PAST).default(PAGE),
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
  [Type in Request["type"]]: (speaker: Speaker, request: Of<Type>) => void | Promise<void>;
};

/** As what requests are counted that are not just requests. */
const DEEDS: Readonly<Partial<Record<Request["type"], Deed>>> = {
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
export class Requests {
  readonly wire = "json";
  readonly #parts: RequestsParts;
  readonly #verbs: Verbs = {
    login: (speaker, request) => this.#login(speaker, request),
    resume: (speaker, request) => this.#comeBack(speaker, request),
    join: async (speaker, { room, ref }) =>
      this.#ok(speaker, ref, await this.#parts.handler.join(speaker, room)),
    leave: async (speaker, { ref }) =>
      this.#ok(speaker, ref, await this.#parts.handler.leave(speaker)),
    nick: async (speaker, { nick, ref }) =>
      this.#ok(speaker, ref, await this.#parts.handler.rename(speaker, nick)),
    identify: (speaker, request) => this.#identify(speaker, request),
    register: async (speaker, { password, ref }) =>
      this.#ok(speaker, ref, await this.#parts.handler.register(speaker, password)),
    password: async (speaker, { password, new: fresh, ref }) => {
      // Without a ref there is no reply in which a new token could be told.
      const renews = ref !== undefined;
      const { handler } = this.#parts;
      this.#ok(speaker, ref, await handler.changePassword(speaker, password, fresh, renews));
    },
    unregister: async (speaker, { password, ref }) =>
      this.#ok(speaker, ref, await this.#parts.handler.unregister(speaker, password)),
    message: (speaker, request) => this.#say(speaker, request),
    action: (speaker, request) => this.#say(speaker, request),
    direct: (speaker, request) => this.#tell(speaker, request),
    who: (speaker, request) => this.#who(speaker, request),
    rooms: (speaker, request) => this.#rooms(speaker, request),
    members: async (speaker, { ref }) => {
      const result = await this.#parts.handler.members(speaker);
      if (!result.ok) return this.#refuse(speaker.peer, ref, result);
      const { room, nicks } = result;
      const fits = countThatFits(nicks, MAX_REPLY_BYTES, (nick) => encodedBytes(nick) + 3);
      const more = fits < nicks.length || undefined;
      const list = { room, nicks: nicks.slice(0, fits), more };
      this.#replyLarge(speaker, encodeReply("members", ref, list), nicks.length);
    },
    history: (speaker, request) => this.#history(speaker, request),
    ping: (speaker, { ref }) => ref === undefined ? undefined : this.#reply(speaker, "pong", ref),
  };

  constructor(parts: RequestsParts) {
    this.#parts = parts;
  }

  /** A new connection. */
  open(id: string, peer: Peer, address: string, pace: Pace | undefined): Speaker {
    return this.#parts.handler.open(id, peer, address, pace);
  }

  /** The requests of a frame, one a line; none if it is too long. */
  split(peer: Peer, frame: string, bytes: number): string[] {
    if (bytes > MOST_FRAME) {
      this.#parts.sender.close(peer, CLOSE.tooBig, `a frame has at most ${FRAME} bytes`);
    } else if (bytes > FRAME) {
      const message = `Not done: this frame has ${bytes} bytes, and at most ${FRAME} are allowed.`;
      this.#refuse(peer, undefined, refuse("too-long", message));
    } else if (!frame.includes("\n")) {
      return [frame];
    } else {
      return frame.split("\n").filter((line) => line.trim() !== "");
    }
    return [];
  }

  /** Handles a request. The next one may come when what is returned has resolved. */
  handle(speaker: Speaker, line: string): void | Promise<void> {
    const read = readRequest(line);
    const { pace } = speaker;
    if (pace !== undefined) {
      const deed = (read.ok ? DEEDS[read.request.type] : undefined) ?? "command";
      const text = read.ok && "text" in read.request ? read.request.text : "";
      const wait = pace.take(deed, Math.max(costOf(line.length), messageCost(text)));
      if (wait > 0) {
        const ref = read.ok ? read.request.ref : read.ref;
        return this.#slowDown(speaker.peer, ref, deed, wait);
      }
    }
    if (!read.ok) return this.#refuse(speaker.peer, read.ref, read);
    const { request } = read;
    const { type, ref } = request;
    const isNamed = speaker.record.nick !== "";
    if (type === "login" || type === "resume") {
      if (isNamed) return this.#refuse(speaker.peer, ref, alreadyNamed);
    } else if (!isNamed && type !== "ping" && type !== "identify") {
      return this.#refuse(speaker.peer, ref, notNamed);
    }
    if (speaker.unconfirmed) {
      return this.#parts.handler.confirm(speaker).then(() => this.#perform(speaker, request));
    }
    return this.#perform(speaker, request);
  }

  /** Tells somebody that, and why, something was not done, whatever it was. */
  refuse(peer: Peer, why: Refusal): void {
    this.#refuse(peer, undefined, why);
  }

  #slowDown(peer: Peer, ref: Ref, deed: Deed, wait: number): void {
    if (wait === ENOUGH) this.#parts.sender.close(peer, CLOSE.policy, TOO_FAST);
    else this.#refuse(peer, ref, refusal.tooFast(deed === "message", wait));
  }

  #perform(speaker: Speaker, request: Request): void | Promise<void> {
    const { type, ref } = request;
    const verb = this.#verbs[type] as (speaker: Speaker, request: Request) => void | Promise<void>;
    if (type === "message" || type === "action") return verb(speaker, request);
    // What was said before is seen before the answer.
    const quiet = this.#parts.handler.quiet(speaker);
    const act = () => this.#large(speaker, request, () => verb(speaker, request));
    const work = quiet === undefined ? act() : quiet.then(act);
    return work?.catch((error) => {
      this.#refuse(speaker.peer, ref, refusal.notDone);
      throw new Answered(error);
    });
  }

  /** Does what a request asks for, unless its reply is large and does not fit now. */
  #large(
    { peer }: Speaker,
    { type, ref }: Request,
    act: () => void | Promise<void>,
  ): void | Promise<void> {
    const maxBytes = LARGE[type];
    if (maxBytes === undefined) return act();
    const release = this.#parts.sender.reserve(peer, maxBytes);
    if (release === undefined) return this.#refuse(peer, ref, refusal.tooMuchUnsent);
    return Promise.resolve(act()).finally(release);
  }

  async #login(speaker: Speaker, { nick, ref }: Of<"login">): Promise<void> {
    const result = await this.#parts.handler.login(speaker, nick, true);
    if (!result.ok) return this.#refuse(speaker.peer, ref, result);
    this.#welcome(speaker, ref, result.token);
  }

  /** Whoever has no nickname yet logs in by this. */
  async #identify(speaker: Speaker, { nick, password, ref }: Of<"identify">): Promise<void> {
    const isLogin = speaker.record.nick === "";
    const result = await this.#parts.handler.identify(speaker, nick, password, true);
    if (!result.ok) this.#refuse(speaker.peer, ref, result);
    else if (isLogin) this.#welcome(speaker, ref, result.token);
    else if (ref !== undefined) {
      this.#reply(speaker, "ok", ref, { id: result.at, nick: result.nick });
    }
  }

  async #comeBack(
    speaker: Speaker,
    { token, last, direct, sent, ref }: Of<"resume">,
  ): Promise<void> {
    const { handler } = this.#parts;
    const { peer } = speaker;
    const back = await handler.comeBack(speaker, token, { last, direct, sent });
    if (!back.ok) return this.#refuse(peer, ref, back);
    this.#welcome(speaker, ref, back.token);
    const { entries, recovered, reason, from } = back;
    const lines = entries.map(({ at, event, isSent }) =>
      isSent ? encodeSent(event, at) : encodeJson(event, at)
    );
    const resumed = { recovered, missed: entries.length, reason, from };
    const end = encodeReply("resumed", undefined, resumed);
    this.#replyLarge(speaker, [...lines, end].join("\n"));
    handler.caughtUp(speaker, back);
  }

  #welcome(speaker: Speaker, ref: Ref, token: string): void {
    const { limits, grace, retention } = this.#parts;
    const { nick, room, held } = speaker.record;
    const registered = held.account === "" ? undefined : true;
    this.#reply(speaker, "welcome", ref, {
      ...{ nick, registered, room, token, grace: grace / 1000, history: retention / 1000 },
      limits: { text: limits.messageBytes, nick: limits.nickname, room: limits.room },
    });
  }

  #say(speaker: Speaker, request: Of<"message" | "action">): void | Promise<void> {
    const { type: kind, text, room, cid, ref } = request;
    const { peer } = speaker;
    const tooLong = this.#tooLong(text);
    if (tooLong !== undefined) return this.#refuse(peer, ref, tooLong);
    return this.#parts.handler.say(speaker, {
      ...{ kind, text, cid, only: room },
      settle: (result) => {
        if (!result.ok) this.#refuse(peer, ref, result);
        else if (ref !== undefined) {
          this.#parts.sender.confirm(peer, encodeReply("ok", ref, { id: result.at }));
        }
      },
    });
  }

  async #tell(speaker: Speaker, { to, text, cid, ref }: Of<"direct">): Promise<void> {
    const { handler, sender } = this.#parts;
    const tooLong = this.#tooLong(text);
    const result = tooLong ?? await handler.tell(speaker, to, text, cid);
    if (!result.ok) return this.#refuse(speaker.peer, ref, result);
    const { at, told } = result;
    if (told !== undefined) sender.reply(speaker.peer, encodeSent(told, at!));
    this.#ok(speaker, ref, result);
  }

  async #who(speaker: Speaker, { nick, ref }: Of<"who">): Promise<void> {
    const found = await this.#parts.handler.find(nick);
    if (!found.ok) return this.#refuse(speaker.peer, ref, found);
    const { record } = found;
    this.#reply(speaker, "who", ref, { nick: record.nick, room: record.room ?? null });
  }

  async #rooms(speaker: Speaker, { ref }: Of<"rooms">): Promise<void> {
    const rooms = await this.#parts.handler.rooms();
    const list = [...rooms].map(([room, people]) => ({ room, people }));
    // What stands around the name, and the number.
    const fits = countThatFits(list, MAX_REPLY_BYTES, ({ room }) => encodedBytes(room) + 40);
    const more = fits < list.length || undefined;
    const reply = encodeReply("rooms", ref, { rooms: list.slice(0, fits), more });
    this.#replyLarge(speaker, reply, list.length);
  }

  async #history(speaker: Speaker, { ref, ...page }: Of<"history">): Promise<void> {
    const result = await this.#parts.handler.history(speaker, page);
    if (!result.ok) return this.#refuse(speaker.peer, ref, result);
    const { room, entries, more } = result;
    const events = entries.map(({ at, event }) => encodeJson(event, at)).join(",");
    const head = encodeReply("history", ref, { room }).slice(0, -1);
    this.#replyLarge(speaker, `${head},"events":[${events}],"more":${more}}`);
  }

  #tooLong(text: string): Refusal | undefined {
    const { messageBytes } = this.#parts.limits;
    const bytes = sizeOf(text, messageBytes);
    return bytes > messageBytes ? refusal.tooLong(bytes, messageBytes) : undefined;
  }

  #ok(speaker: Speaker, ref: Ref, result: Result<{ at?: string; token?: string }>): void {
    if (!result.ok) return this.#refuse(speaker.peer, ref, result);
    const { at: id, token } = result;
    if (ref !== undefined) this.#reply(speaker, "ok", ref, { id, token });
  }

  #reply({ peer }: Speaker, type: string, ref: Ref, fields?: Record<string, unknown>): void {
    this.#parts.sender.reply(peer, encodeReply(type, ref, fields));
  }

  /** Sends a reply that is charged by its bytes, and by the rows that were read for it. */
  #replyLarge(speaker: Speaker, text: string, rows = 0): void {
    speaker.pace?.spend("command", replyCost(sizeOf(text, 0), rows));
    this.#parts.sender.reply(speaker.peer, text);
  }

  #refuse(peer: Peer, ref: Ref, { code, message, retryAfter }: Refusal): void {
    this.#parts.sender.reply(peer, encodeReply("error", ref, { code, message, retryAfter }));
  }
}

const notNamed = refuse("not-named", 'First log in: {"type":"login","nick":…}.');
const alreadyNamed = refuse("already-named", "You have logged in already.");

/** A fault that the one who asked has been told of. */
export class Answered extends Error {
  constructor(cause: unknown) {
    super(cause instanceof Error ? cause.message : String(cause), { cause });
  }
}

/** Reads a line; what is refused keeps its `ref` if that can be had. */
function readRequest(line: string): { ok: true; request: Request } | Refusal & { ref: Ref } {
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
  if (depth > MOST_DEPTH) return { ...tooDeep, ref: known };
  // JSON.parse keeps the last of two, another reader the first: so neither may mean anything.
  if (keys !== Object.keys(value).length) return { ...keyTwice, ref: undefined };
  const parsed = Request.safeParse(value);
  if (parsed.success) return { ok: true, request: parsed.data };
  return { ...whatIsWrong(value, parsed.error), ref: known };
}

const notAnObject = refuse("malformed", "This is not a JSON object.");
const tooDeep = refuse("malformed", `Nested more than ${MOST_DEPTH} deep.`);
const keyTwice = refuse("malformed", "A key is there twice.");

function whatIsWrong(value: object, { issues }: z.ZodError): Refusal {
  const { type } = value as { type?: unknown };
  if (type === undefined) return refuse("bad-request", "type: it is missing.");
  if (typeof type !== "string") return refuse("bad-request", "type: it must be a string.");
  if (!TYPES.includes(type)) {
    return refuse(
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
  return refuse("bad-request", `${field}: ${why}.`);
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
