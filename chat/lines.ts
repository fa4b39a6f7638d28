/**
 * The plain-text protocol: what a line means, and what is answered to it.
 *
 * Connection hands in one line at a time; what it asks for is Handler's to do. Every line gets an
 * answer, or an event that everybody sees. The words are in text.ts.
 */
import { countThatFits, encodedBytes, MAX_REPLY_BYTES, MAX_RESUME_BYTES } from "./encoded.ts";
import { costOf, ENOUGH, messageCost, type Pace, replyCost } from "./flood.ts";
import type { Handler, Speaker } from "./handler.ts";
import { MOST_PAST } from "./handler.ts";
import { type Deed, type Limits, sizeOf } from "./limits.ts";
import { type Refusal, refusal } from "./refusals.ts";
import { decodePlace } from "./place.ts";
import type { Back, Seen } from "./resume.ts";
import { CLOSE, type Peer, type Sender, TOO_FAST } from "./sender.ts";
import { encodePast, encodeText, further, HELP, nicknameIs, reply, shown } from "./text.ts";

/** What the plain-text protocol is made of. */
export interface LinesParts {
  readonly handler: Handler;
  readonly sender: Sender;
  readonly limits: Limits;
  /** Milliseconds for which a place is kept. */
  readonly grace: number;
}

/** A command: gets what follows its name, and the first word of that. */
type Command = (speaker: Speaker, rest: string, word: string) => void | Promise<void>;

/** As what commands are counted that are not just commands. */
const DEEDS: Readonly<Record<string, Deed>> = {
  me: "message",
  msg: "message",
  join: "join",
  register: "nick",
  identify: "nick",
  password: "nick",
  unregister: "nick",
};

/** How many events `/history` shows without a number. */
const PAST = 20;

/** The one command of whoever has no nickname yet. */
const IDENTIFY = /^\s*\/identify(?:\s(.*))?$/is;

/** A command with a password in it, typed so that it would be said to everybody. */
const SLIPPED = /^\s+\/(register|identify|password|unregister)\b/i;

/** The meaning of lines. `resumable`: it is spoken by people who may come back. */
export class Lines {
  readonly wire: "text" | "text with ids";
  readonly #handler: Handler;
  readonly #grace: number;
  readonly #sender: Sender;
  readonly #limits: Limits;
  readonly #resumable: boolean;
  readonly #commands = new Map<string, Command>([
    ["help", (speaker) => this.#reply(speaker, HELP)],
    ["join", (speaker, _, room) => this.#join(speaker, room)],
    ["nick", (speaker, _, nick) => this.#nick(speaker, nick)],
    ["room", (speaker) => this.#reply(speaker, shown(speaker.record.room ?? reply.notInRoom))],
    ["ls", (speaker) => this.#largeCommand(speaker, () => this.#list(speaker))],
    ["quit", (speaker) => this.#quit(speaker)],
    [
      "history",
      (speaker, _, many) => this.#largeCommand(speaker, () => this.#history(speaker, many)),
    ],
    ["me", (speaker, action) => this.#act(speaker, action)],
    ["msg", (speaker, rest) => this.#tell(speaker, rest)],
    ["who", (speaker, nick) => this.#who(speaker, nick)],
    ["register", (speaker, rest) => this.#register(speaker, rest)],
    ["identify", (speaker, rest) => this.#identify(speaker, rest)],
    ["password", (speaker, rest) => this.#changePassword(speaker, rest)],
    ["unregister", (speaker, rest) => this.#unregister(speaker, rest)],
  ]);

  constructor({ handler, sender, limits, grace }: LinesParts, resumable: boolean) {
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
    peer: Peer,
    address: string,
    pace: Pace | undefined,
    token: string,
    seen: Seen,
  ): Promise<Speaker> {
    const speaker = this.#handler.open(id, peer, address, pace);
    if (token !== "") await this.#comeBack(speaker, token, seen);
    return speaker;
  }

  /** The lines of a frame: one, or none if it is too long. */
  split(peer: Peer, frame: string, bytes: number): string[] {
    const { frameBytes, messageBytes } = this.#limits;
    if (bytes > frameBytes) {
      this.#sender.close(peer, CLOSE.tooBig, `a frame has at most ${frameBytes} bytes`);
    } else if (bytes > messageBytes) {
      this.#sender.reply(peer, refusal.tooLong(bytes, messageBytes).message);
    } else {
      // `websocat` sends the end of the line that was typed with it, others do not.
      return [frame.replace(/\r?\n$/, "")];
    }
    return [];
  }

  /** Handles a line. The next one may come when what is returned has resolved. */
  handle(speaker: Speaker, line: string): void | Promise<void> {
    const { pace } = speaker;
    if (pace !== undefined) {
      const deed = deedOf(speaker, line);
      const isMessage = deed === "message";
      const wait = pace.take(deed, isMessage ? messageCost(line) : costOf(line.length));
      if (wait > 0) return this.#slowDown(speaker, deed, wait);
    }
    if (speaker.record.nick === "") {
      const identify = IDENTIFY.exec(line);
      if (identify === null) return this.#login(speaker, line);
      return this.#identify(speaker, identify[1] ?? "");
    }
    if (speaker.unconfirmed) {
      return this.#handler.confirm(speaker).then(() => this.#do(speaker, line));
    }
    return this.#do(speaker, line);
  }

  #do(speaker: Speaker, line: string): void | Promise<void> {
    if (line.startsWith("/")) return this.#command(speaker, line.slice(1));
    if (speaker.record.room === undefined) return this.#reply(speaker, reply.cannotSend);
    if (line.charCodeAt(0) <= 0x20 && SLIPPED.test(line)) {
      return this.#reply(speaker, further.notSaid);
    }
    return this.#say(speaker, "message", line);
  }

  /** Tells somebody that, and why, something was not done, whatever it was. */
  refuse(peer: Peer, { message }: Refusal): void {
    this.#sender.reply(peer, shown(message));
  }

  #slowDown({ peer }: Speaker, deed: Deed, wait: number): void {
    if (wait === ENOUGH) this.#sender.close(peer, CLOSE.policy, TOO_FAST);
    else this.refuse(peer, refusal.tooFast(deed === "message", wait));
  }

  async #login(speaker: Speaker, line: string): Promise<void> {
    const result = await this.#handler.login(speaker, line, this.#resumable);
    if (!result.ok) return this.#refuseNickname(speaker, result);
    this.#welcome(speaker, result);
  }

  #welcome(speaker: Speaker, { nick, token }: { nick: string; token: string }): void {
    this.#reply(speaker, reply.welcome(nick));
    if (this.#resumable) this.#reply(speaker, this.#howToComeBack(token));
  }

  async #comeBack(speaker: Speaker, token: string, seen: Seen): Promise<void> {
    const { pace } = speaker;
    const wait = pace?.take("command", 1) ?? 0;
    const why = wait > 0
      ? refusal.tooFast(false, wait)
      : await this.#large(speaker, () => this.#resume(speaker, token, seen), MAX_RESUME_BYTES);
    if (why !== undefined) this.#reply(speaker, further.tryNickname(why.message));
  }

  async #resume(speaker: Speaker, token: string, seen: Seen): Promise<void> {
    const { last = "" } = seen;
    const place = decodePlace(last);
    // What is no place names nothing that was seen: then something may be missing.
    const known = place === undefined
      ? seen
      : { last: place.room || undefined, direct: place.direct, sent: place.sent };
    const back = await this.#handler.comeBack(speaker, token, known);
    if (!back.ok) return this.#reply(speaker, further.tryNickname(back.message));
    const { nick, room } = back.record;
    this.#reply(speaker, further.welcomeBack(nick, room));
    this.#reply(speaker, this.#howToComeBack(back.token));
    if (place !== undefined) this.#sender.continueFrom(speaker.peer, place);
    this.#showMissed(speaker, back, seen);
    this.#handler.caughtUp(speaker, back);
  }

  #showMissed(speaker: Speaker, back: Back, { last }: Seen): void {
    const { record, entries, recovered } = back;
    // Whoever does not say what they saw last cannot be told what came after it.
    if (last === undefined) return this.#reply(speaker, further.missedMore);
    let bytes = 0;
    for (const { at, event, isSent } of entries) {
      const personal = event.id === record.id && /^(join|leave|nick)$/.test(event.kind);
      const text = isSent
        ? further.sentTo(event.to ?? "", event.text)
        : encodeText(event, personal);
      const part = isSent ? "sent" : event.kind === "direct" ? "direct" : "room";
      // A place, of at most three IDs, stands in front of it.
      bytes += sizeOf(text, 0) + 3 * (at.length + 1);
      this.#sender.show(speaker.peer, text, at, part);
    }
    speaker.pace?.spend("command", replyCost(bytes));
    this.#reply(speaker, recovered ? further.missed(entries.length) : further.missedMore);
  }

  #howToComeBack(token: string): string {
    return further.comeBack(token, this.#grace / 1000);
  }

  async #command(speaker: Speaker, line: string): Promise<void> {
    // What was said before is seen before the answer, and in the room where it was said.
    await this.#handler.quiet(speaker);
    const space = line.indexOf(" ");
    const name = (space < 0 ? line : line.slice(0, space)).toLowerCase();
    const rest = space < 0 ? "" : line.slice(space + 1);
    const command = this.#commands.get(name);
    if (command === undefined) this.#reply(speaker, reply.unknownCommand(name));
    else await command(speaker, rest, rest.trim().split(/\s/u, 1)[0]!);
  }

  async #nick(speaker: Speaker, typed: string): Promise<void> {
    const { nick, room } = speaker.record;
    if (typed === "") return this.#reply(speaker, reply.currentNickname(nick));
    const result = await this.#handler.rename(speaker, typed);
    if (!result.ok) this.#refuseNickname(speaker, result);
    // In a room the event says so.
    else if (room === undefined) this.#reply(speaker, nicknameIs(result.nick));
  }

  async #join(speaker: Speaker, typed: string): Promise<void> {
    if (typed === "") return this.#reply(speaker, further.joinWhat);
    const result = await this.#handler.join(speaker, typed);
    if (!result.ok) this.#refuse(speaker, result);
  }

  async #quit(speaker: Speaker): Promise<void> {
    if (speaker.record.room === undefined) return this.#reply(speaker, reply.notInRoom);
    const result = await this.#handler.leave(speaker);
    if (!result.ok) this.#refuse(speaker, result);
  }

  async #list(speaker: Speaker): Promise<void> {
    if (speaker.record.room !== undefined) {
      const members = await this.#handler.members(speaker);
      if (members.ok) this.#replyList(speaker, members.nicks);
      return;
    }
    const rooms = [...(await this.#handler.rooms()).keys()];
    if (rooms.length === 0) this.#reply(speaker, further.noRooms);
    else this.#replyList(speaker, rooms);
  }

  #replyList(speaker: Speaker, names: readonly string[]): void {
    const fits = countThatFits(names, MAX_REPLY_BYTES, (name) => encodedBytes(name) + 1);
    const lines = names.slice(0, fits).map(shown);
    if (fits < names.length) lines.push(further.andMore(names.length - fits));
    this.#replyLarge(speaker, lines.join("\n"), names.length);
  }

  async #history(speaker: Speaker, typed: string): Promise<void> {
    const limit = typed === "" ? PAST : /^\d{1,9}$/.test(typed) ? Number(typed) : 0;
    if (limit < 1 || limit > MOST_PAST) {
      return this.#reply(speaker, further.historyWhat(MOST_PAST));
    }
    if (speaker.record.room === undefined) return this.#reply(speaker, reply.notInRoom);
    const result = await this.#handler.history(speaker, { limit });
    if (!result.ok) return this.#refuse(speaker, result);
    const past = result.entries.map(({ event }) => encodePast(event));
    this.#replyLarge(speaker, past.length === 0 ? further.nothingSaid : past.join("\n"));
  }

  #act(speaker: Speaker, action: string): void | Promise<void> {
    if (action.trim() === "") return this.#reply(speaker, further.meWhat);
    if (speaker.record.room === undefined) return this.#reply(speaker, reply.cannotSend);
    return this.#say(speaker, "action", action);
  }

  #say(speaker: Speaker, kind: "message" | "action", text: string): void | Promise<void> {
    return this.#handler.say(speaker, {
      kind,
      text,
      // Whoever said it sees it with everybody else.
      settle: (result) => result.ok || this.#refuse(speaker, result),
    });
  }

  async #tell(speaker: Speaker, rest: string): Promise<void> {
    const { nick, text } = splitAddressee(rest);
    if (text === "") return this.#reply(speaker, further.msgWhat);
    const result = await this.#handler.tell(speaker, nick, text);
    if (!result.ok) this.#refuse(speaker, result);
    else if (result.told !== undefined) {
      this.#sender.show(speaker.peer, further.sentTo(result.told.to!, text), result.at!, "sent");
    }
  }

  async #who(speaker: Speaker, typed: string): Promise<void> {
    if (typed.trim() === "") return this.#reply(speaker, further.whoWhat);
    const found = await this.#handler.find(typed);
    if (!found.ok) return this.#refuse(speaker, found);
    const { nick, room } = found.record;
    this.#reply(
      speaker,
      room === undefined ? further.isInNone(nick) : further.isInRoom(nick, room),
    );
  }

  async #register(speaker: Speaker, rest: string): Promise<void> {
    const [password, ...more] = wordsOf(rest);
    if (password === undefined || more.length > 0) {
      return this.#reply(speaker, further.registerWhat);
    }
    const result = await this.#handler.register(speaker, password);
    if (!result.ok) this.#refuse(speaker, result);
    else this.#reply(speaker, further.nowRegistered(speaker.record.nick));
  }

  async #identify(speaker: Speaker, rest: string): Promise<void> {
    const { record: { nick, room }, wanted } = speaker;
    // The password is the last word: so a nickname may have spaces in it.
    const { before, last: password } = splitLastWord(rest);
    if (password === "" || (before === "" && wanted === "" && nick === "")) {
      return this.#reply(speaker, further.identifyWhat);
    }
    const typed = before === "" ? undefined : before.replace(/^"(.*)"$/s, "$1");
    const result = await this.#handler.identify(speaker, typed, password, this.#resumable);
    if (!result.ok) this.#refuse(speaker, result);
    else if (nick === "") this.#welcome(speaker, result);
    else if (nick === result.nick) this.#reply(speaker, further.identified(nick));
    // In a room the event says so.
    else if (room === undefined) this.#reply(speaker, nicknameIs(result.nick));
  }

  async #changePassword(speaker: Speaker, rest: string): Promise<void> {
    const [password, fresh, ...more] = wordsOf(rest);
    if (fresh === undefined || more.length > 0) return this.#reply(speaker, further.passwordWhat);
    const result = await this.#handler.changePassword(speaker, password!, fresh, true);
    if (!result.ok) return this.#refuse(speaker, result);
    this.#reply(speaker, further.passwordChanged);
    if (result.token !== undefined) this.#reply(speaker, this.#howToComeBack(result.token));
  }

  async #unregister(speaker: Speaker, rest: string): Promise<void> {
    const [password, ...more] = wordsOf(rest);
    if (password === undefined || more.length > 0) {
      return this.#reply(speaker, further.unregisterWhat);
    }
    const result = await this.#handler.unregister(speaker, password);
    if (!result.ok) this.#refuse(speaker, result);
    else this.#reply(speaker, further.unregistered(speaker.record.nick));
  }

  #refuse({ peer }: Speaker, refusal: Refusal): void {
    this.refuse(peer, refusal);
  }

  #refuseNickname(speaker: Speaker, refusal: Refusal): void {
    const { code, message } = refusal;
    const isUnnamed = speaker.record.nick === "";
    if (code === "nickname-registered") this.#reply(speaker, further.registered(speaker.wanted));
    else if (code === "bad-nickname" && isUnnamed) {
      this.#reply(speaker, further.tryNickname(message));
    } else this.#refuse(speaker, refusal);
  }

  #reply({ peer }: Speaker, text: string): void {
    this.#sender.reply(peer, text);
  }

  /** Sends a reply that is charged by its bytes, and by the rows that were read for it. */
  #replyLarge(speaker: Speaker, text: string, rows = 0): void {
    speaker.pace?.spend("command", replyCost(sizeOf(text, 0), rows));
    this.#reply(speaker, text);
  }

  /** Does what ends in a large reply, unless that does not fit now: then returns why. */
  async #large(
    { peer }: Speaker,
    work: () => Promise<void>,
    maxBytes = MAX_REPLY_BYTES,
  ): Promise<Refusal | undefined> {
    const release = this.#sender.reserve(peer, maxBytes);
    if (release === undefined) return refusal.tooMuchUnsent;
    try {
      await work();
    } finally {
      release();
    }
  }

  async #largeCommand(speaker: Speaker, work: () => Promise<void>): Promise<void> {
    const why = await this.#large(speaker, work);
    if (why !== undefined) this.#refuse(speaker, why);
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
function deedOf({ record: { nick } }: Speaker, line: string): Deed {
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
