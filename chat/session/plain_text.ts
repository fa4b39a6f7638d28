/**
 * The plain-text protocol: what a line means, and what is answered to it.
 *
 * Connection hands in one line at a time; what it asks for is Handler's to do. Every line gets an
 * answer, or an event that everybody sees. The words are in text.ts.
 */
import {
  countThatFits,
  encodedBytes,
  MAX_REPLY_BYTES,
  MAX_RESUME_BYTES,
} from "../delivery/encoded_size.ts";
import { costOf, DISCONNECT, messageCost, type RateLimiter, replyCost } from "./rate_limiter.ts";
import type { Handler, Session } from "./handler.ts";
import { MAX_HISTORY_EVENTS } from "./handler.ts";
import { type ActionKind, type Limits, sizeOf } from "../base/limits.ts";
import { type Rejection, rejection } from "../base/rejections.ts";
import { decodePlace } from "../delivery/position.ts";
import type { Resumption, Seen } from "./resume.ts";
import { CLOSE, RATE_LIMIT_REASON, type Sender, type Subscriber } from "../delivery/sender.ts";
import {
  encodePast,
  encodeText,
  further,
  HELP,
  nicknameIs,
  reply,
  shown,
} from "../delivery/text.ts";

/** What the plain-text protocol is made of. */
export interface PlainTextParts {
  readonly handler: Handler;
  readonly sender: Sender;
  readonly limits: Limits;
  /** Milliseconds for which a place is kept. */
  readonly grace: number;
}

/** A command: gets what follows its name, and the first word of that. */
type Command = (session: Session, rest: string, word: string) => void | Promise<void>;

/** As what commands are counted that are not just commands. */
const DEEDS: Readonly<Record<string, ActionKind>> = {
  me: "message",
  msg: "message",
  join: "join",
  register: "nick",
  identify: "nick",
  password: "nick",
  unregister: "nick",
};

/** How many events `/history` shows without a number. */
const DEFAULT_HISTORY_LINES = 20;

/** The one command of whoever has no nickname yet. */
const IDENTIFY = /^\s*\/identify(?:\s(.*))?$/is;

/** A command with a password in it, typed so that it would be said to everybody. */
const MISTYPED_PASSWORD_COMMAND = /^\s+\/(register|identify|password|unregister)\b/i;

/** The meaning of lines. `resumable`: it is spoken by people who may come back. */
export class PlainText {
  readonly wire: "text" | "text with ids";
  readonly #handler: Handler;
  readonly #grace: number;
  readonly #sender: Sender;
  readonly #limits: Limits;
  readonly #resumable: boolean;
  readonly #commands = new Map<string, Command>([
    ["help", (session) => this.#reply(session, HELP)],
    ["join", (session, _, room) => this.#join(session, room)],
    ["nick", (session, _, nick) => this.#nick(session, nick)],
    ["room", (session) => this.#reply(session, shown(session.record.room ?? reply.notInRoom))],
    ["ls", (session) => this.#largeCommand(session, () => this.#list(session))],
    ["quit", (session) => this.#quit(session)],
    [
      "history",
      (session, _, many) => this.#largeCommand(session, () => this.#history(session, many)),
    ],
    ["me", (session, action) => this.#act(session, action)],
    ["msg", (session, rest) => this.#tell(session, rest)],
    ["who", (session, nick) => this.#who(session, nick)],
    ["register", (session, rest) => this.#register(session, rest)],
    ["identify", (session, rest) => this.#identify(session, rest)],
    ["password", (session, rest) => this.#changePassword(session, rest)],
    ["unregister", (session, rest) => this.#unregister(session, rest)],
  ]);

  constructor({ handler, sender, limits, grace }: PlainTextParts, resumable: boolean) {
    this.#handler = handler;
    this.#grace = grace;
    this.#sender = sender;
    this.#limits = limits;
    this.#resumable = resumable;
    this.wire = resumable ? "text with ids" : "text";
  }

  /** A new connection, of somebody who comes back if there is a token. */
  async open(
    id: string,
    subscriber: Subscriber,
    address: string,
    limiter: RateLimiter | undefined,
    token: string,
    seen: Seen,
  ): Promise<Session> {
    const session = this.#handler.open(id, subscriber, address, limiter);
    if (token !== "") await this.#comeBack(session, token, seen);
    return session;
  }

  /** The lines of a frame: one, or none if it is too long. */
  split(subscriber: Subscriber, frame: string, bytes: number): string[] {
    const { frameBytes, messageBytes } = this.#limits;
    if (bytes > frameBytes) {
      this.#sender.close(subscriber, CLOSE.tooBig, `a frame has at most ${frameBytes} bytes`);
    } else if (bytes > messageBytes) {
      this.#sender.reply(subscriber, rejection.tooLong(bytes, messageBytes).message);
    } else {
      // `websocat` sends the end of the line that was typed with it, others do not.
      return [frame.replace(/\r?\n$/, "")];
    }
    return [];
  }

  /** Handles a line. The next one may come when what is returned has resolved. */
  handle(session: Session, line: string): void | Promise<void> {
    const { limiter } = session;
    if (limiter !== undefined) {
      const action = deedOf(session, line);
      const isMessage = action === "message";
      const wait = limiter.take(action, isMessage ? messageCost(line) : costOf(line.length));
      if (wait > 0) return this.#slowDown(session, action, wait);
    }
    if (session.record.nick === "") {
      const identify = IDENTIFY.exec(line);
      if (identify === null) return this.#login(session, line);
      return this.#identify(session, identify[1] ?? "");
    }
    if (session.tokenUnconfirmed) {
      return this.#handler.confirmToken(session).then(() => this.#do(session, line));
    }
    return this.#do(session, line);
  }

  #do(session: Session, line: string): void | Promise<void> {
    if (line.startsWith("/")) return this.#command(session, line.slice(1));
    if (session.record.room === undefined) return this.#reply(session, reply.cannotSend);
    if (line.charCodeAt(0) <= 0x20 && MISTYPED_PASSWORD_COMMAND.test(line)) {
      return this.#reply(session, further.notSaid);
    }
    return this.#say(session, "message", line);
  }

  /** Tells somebody that, and why, something was not done, whatever it was. */
  reject(subscriber: Subscriber, { message }: Rejection): void {
    this.#sender.reply(subscriber, shown(message));
  }

  #slowDown({ subscriber }: Session, action: ActionKind, wait: number): void {
    if (wait === DISCONNECT) this.#sender.close(subscriber, CLOSE.policy, RATE_LIMIT_REASON);
    else this.reject(subscriber, rejection.tooFast(action === "message", wait));
  }

  async #login(session: Session, line: string): Promise<void> {
    const result = await this.#handler.login(session, line, this.#resumable);
    if (!result.ok) return this.#refuseNickname(session, result);
    this.#welcome(session, result);
  }

  #welcome(session: Session, { nick, token }: { nick: string; token: string }): void {
    this.#reply(session, reply.welcome(nick));
    if (this.#resumable) this.#reply(session, this.#howToComeBack(token));
  }

  async #comeBack(session: Session, token: string, seen: Seen): Promise<void> {
    const { limiter } = session;
    const wait = limiter?.take("command", 1) ?? 0;
    const why = wait > 0
      ? rejection.tooFast(false, wait)
      : await this.#large(session, () => this.#resume(session, token, seen), MAX_RESUME_BYTES);
    if (why !== undefined) this.#reply(session, further.tryNickname(why.message));
  }

  async #resume(session: Session, token: string, seen: Seen): Promise<void> {
    const { last = "" } = seen;
    const place = decodePlace(last);
    // What is no place names nothing that was seen: then something may be missing.
    const known = place === undefined
      ? seen
      : { last: place.room || undefined, direct: place.direct, sent: place.sent };
    const back = await this.#handler.resume(session, token, known);
    if (!back.ok) return this.#reply(session, further.tryNickname(back.message));
    const { nick, room } = back.record;
    this.#reply(session, further.welcomeBack(nick, room));
    this.#reply(session, this.#howToComeBack(back.token));
    if (place !== undefined) this.#sender.continueFrom(session.subscriber, place);
    this.#showMissed(session, back, seen);
    this.#handler.endCatchUp(session, back);
  }

  #showMissed(session: Session, back: Resumption, { last }: Seen): void {
    const { record, entries, recovered } = back;
    // Whoever does not say what they saw last cannot be told what came after it.
    if (last === undefined) return this.#reply(session, further.missedMore);
    let bytes = 0;
    for (const { eventId, event, isSent } of entries) {
      const personal = event.id === record.id && /^(join|leave|nick)$/.test(event.kind);
      const text = isSent
        ? further.sentTo(event.to ?? "", event.text)
        : encodeText(event, personal);
      const part = isSent ? "sent" : event.kind === "direct" ? "direct" : "room";
      // A place, of at most three IDs, stands in front of it.
      bytes += sizeOf(text, 0) + 3 * (eventId.length + 1);
      this.#sender.show(session.subscriber, text, eventId, part);
    }
    session.limiter?.charge("command", replyCost(bytes));
    this.#reply(session, recovered ? further.missed(entries.length) : further.missedMore);
  }

  #howToComeBack(token: string): string {
    return further.comeBack(token, this.#grace / 1000);
  }

  async #command(session: Session, line: string): Promise<void> {
    // What was said before is seen before the answer, and in the room where it was said.
    await this.#handler.whenIdle(session);
    const space = line.indexOf(" ");
    const name = (space < 0 ? line : line.slice(0, space)).toLowerCase();
    const rest = space < 0 ? "" : line.slice(space + 1);
    const command = this.#commands.get(name);
    if (command === undefined) this.#reply(session, reply.unknownCommand(name));
    else await command(session, rest, rest.trim().split(/\s/u, 1)[0]!);
  }

  async #nick(session: Session, typed: string): Promise<void> {
    const { nick, room } = session.record;
    if (typed === "") return this.#reply(session, reply.currentNickname(nick));
    const result = await this.#handler.rename(session, typed);
    if (!result.ok) this.#refuseNickname(session, result);
    // In a room the event says so.
    else if (room === undefined) this.#reply(session, nicknameIs(result.nick));
  }

  async #join(session: Session, typed: string): Promise<void> {
    if (typed === "") return this.#reply(session, further.joinWhat);
    const result = await this.#handler.join(session, typed);
    if (!result.ok) this.#refuse(session, result);
  }

  async #quit(session: Session): Promise<void> {
    if (session.record.room === undefined) return this.#reply(session, reply.notInRoom);
    const result = await this.#handler.leave(session);
    if (!result.ok) this.#refuse(session, result);
  }

  async #list(session: Session): Promise<void> {
    if (session.record.room !== undefined) {
      const members = await this.#handler.members(session);
      if (members.ok) this.#replyList(session, members.nicks);
      return;
    }
    const rooms = [...(await this.#handler.rooms()).keys()];
    if (rooms.length === 0) this.#reply(session, further.noRooms);
    else this.#replyList(session, rooms);
  }

  #replyList(session: Session, names: readonly string[]): void {
    const fits = countThatFits(names, MAX_REPLY_BYTES, (name) => encodedBytes(name) + 1);
    const lines = names.slice(0, fits).map(shown);
    if (fits < names.length) lines.push(further.andMore(names.length - fits));
    this.#replyLarge(session, lines.join("\n"), names.length);
  }

  async #history(session: Session, typed: string): Promise<void> {
    const limit = typed === ""
      ? DEFAULT_HISTORY_LINES
      : /^\d{1,9}$/.test(typed)
      ? Number(typed)
      : 0;
    if (limit < 1 || limit > MAX_HISTORY_EVENTS) {
      return this.#reply(session, further.historyWhat(MAX_HISTORY_EVENTS));
    }
    if (session.record.room === undefined) return this.#reply(session, reply.notInRoom);
    const result = await this.#handler.history(session, { limit });
    if (!result.ok) return this.#refuse(session, result);
    const past = result.entries.map(({ event }) => encodePast(event));
    this.#replyLarge(session, past.length === 0 ? further.nothingSaid : past.join("\n"));
  }

  #act(session: Session, action: string): void | Promise<void> {
    if (action.trim() === "") return this.#reply(session, further.meWhat);
    if (session.record.room === undefined) return this.#reply(session, reply.cannotSend);
    return this.#say(session, "action", action);
  }

  #say(session: Session, kind: "message" | "action", text: string): void | Promise<void> {
    return this.#handler.say(session, {
      kind,
      text,
      // Whoever said it sees it with everybody else.
      settle: (result) => result.ok || this.#refuse(session, result),
    });
  }

  async #tell(session: Session, rest: string): Promise<void> {
    const { nick, text } = splitAddressee(rest);
    if (text === "") return this.#reply(session, further.msgWhat);
    const result = await this.#handler.sendDirect(session, nick, text);
    if (!result.ok) this.#refuse(session, result);
    else if (result.told !== undefined) {
      this.#sender.show(
        session.subscriber,
        further.sentTo(result.told.to!, text),
        result.at!,
        "sent",
      );
    }
  }

  async #who(session: Session, typed: string): Promise<void> {
    if (typed.trim() === "") return this.#reply(session, further.whoWhat);
    const found = await this.#handler.findOnline(typed);
    if (!found.ok) return this.#refuse(session, found);
    const { nick, room } = found.record;
    this.#reply(
      session,
      room === undefined ? further.isInNone(nick) : further.isInRoom(nick, room),
    );
  }

  async #register(session: Session, rest: string): Promise<void> {
    const [password, ...more] = wordsOf(rest);
    if (password === undefined || more.length > 0) {
      return this.#reply(session, further.registerWhat);
    }
    const result = await this.#handler.register(session, password);
    if (!result.ok) this.#refuse(session, result);
    else this.#reply(session, further.nowRegistered(session.record.nick));
  }

  async #identify(session: Session, rest: string): Promise<void> {
    const { record: { nick, room }, rejectedNick: wanted } = session;
    // The password is the last word: so a nickname may have spaces in it.
    const { before, last: password } = splitLastWord(rest);
    if (password === "" || (before === "" && wanted === "" && nick === "")) {
      return this.#reply(session, further.identifyWhat);
    }
    const typed = before === "" ? undefined : before.replace(/^"(.*)"$/s, "$1");
    const result = await this.#handler.identify(session, typed, password, this.#resumable);
    if (!result.ok) this.#refuse(session, result);
    else if (nick === "") this.#welcome(session, result);
    else if (nick === result.nick) this.#reply(session, further.identified(nick));
    // In a room the event says so.
    else if (room === undefined) this.#reply(session, nicknameIs(result.nick));
  }

  async #changePassword(session: Session, rest: string): Promise<void> {
    const [password, fresh, ...more] = wordsOf(rest);
    if (fresh === undefined || more.length > 0) return this.#reply(session, further.passwordWhat);
    const result = await this.#handler.changePassword(session, password!, fresh, true);
    if (!result.ok) return this.#refuse(session, result);
    this.#reply(session, further.passwordChanged);
    if (result.token !== undefined) this.#reply(session, this.#howToComeBack(result.token));
  }

  async #unregister(session: Session, rest: string): Promise<void> {
    const [password, ...more] = wordsOf(rest);
    if (password === undefined || more.length > 0) {
      return this.#reply(session, further.unregisterWhat);
    }
    const result = await this.#handler.unregister(session, password);
    if (!result.ok) this.#refuse(session, result);
    else this.#reply(session, further.unregistered(session.record.nick));
  }

  #refuse({ subscriber }: Session, rejection: Rejection): void {
    this.reject(subscriber, rejection);
  }

  #refuseNickname(session: Session, rejection: Rejection): void {
    const { code, message } = rejection;
    const isUnnamed = session.record.nick === "";
    if (code === "nickname-registered") {
      this.#reply(session, further.registered(session.rejectedNick));
    } else if (code === "bad-nickname" && isUnnamed) {
      this.#reply(session, further.tryNickname(message));
    } else this.#refuse(session, rejection);
  }

  #reply({ subscriber }: Session, text: string): void {
    this.#sender.reply(subscriber, text);
  }

  /** Sends a reply that is charged by its bytes, and by the rows that were read for it. */
  #replyLarge(session: Session, text: string, rows = 0): void {
    session.limiter?.charge("command", replyCost(sizeOf(text, 0), rows));
    this.#reply(session, text);
  }

  /** Does what ends in a large reply, unless that does not fit now: then returns why. */
  async #large(
    { subscriber }: Session,
    work: () => Promise<void>,
    maxBytes = MAX_REPLY_BYTES,
  ): Promise<Rejection | undefined> {
    const release = this.#sender.reserve(subscriber, maxBytes);
    if (release === undefined) return rejection.tooMuchUnsent;
    try {
      await work();
    } finally {
      release();
    }
  }

  async #largeCommand(session: Session, work: () => Promise<void>): Promise<void> {
    const why = await this.#large(session, work);
    if (why !== undefined) this.#refuse(session, why);
  }
}

function wordsOf(rest: string): string[] {
  return rest.split(/\s+/u).filter((word) => word !== "");
}

/** The last word of a line, and what stands before it, both without white space around them. */
function splitLastWord(line: string): { before: string; last: string } {
  const trimmed = line.trim();
  // By hand: a regular expression that looks for the last word takes cubic time on a line of spaces.
  let start = trimmed.length;
  while (start > 0 && trimmed.charAt(start - 1).trim() !== "") start--;
  return { before: trimmed.slice(0, start).trim(), last: trimmed.slice(start) };
}

/** As what a line is counted. */
function deedOf({ record: { nick } }: Session, line: string): ActionKind {
  if (nick === "") return "nick";
  if (!line.startsWith("/")) return "message";
  const [, name = "", word] = /^\/(\S*)(?: +(\S))?/.exec(line) ?? [];
  const command = name.toLowerCase();
  // Without a nickname it only asks for one's own.
  if (command === "nick") return word === undefined ? "command" : "nick";
  return Object.hasOwn(DEEDS, command) ? DEEDS[command]! : "command";
}

/** Splits what follows `/msg`: a nickname with spaces in it stands in double quotes. */
function splitAddressee(rest: string): { nick: string; text: string } {
  const [, quoted, word, text] = /^\s*(?:"([^"]*)"|(\S+))\s(.*)$/s.exec(rest) ?? [];
  return { nick: quoted ?? word ?? "", text: text ?? "" };
}
