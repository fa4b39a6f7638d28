/**
 * The plain-text protocol: one frame is one line, a command or a message.
 *
 * Connection hands in one line at a time. Every line has a reply, or an event that the whole room
 * sees. The commands are in commands.ts, the texts in text.ts.
 */
import { frameTooLarge } from "../base/close_codes.ts";
import type { Limits } from "../base/limits.ts";
import type { Metrics } from "../base/metrics.ts";
import { type Rejection, rejection } from "../base/rejections.ts";
import { authorOf } from "../feed/events.ts";
import type { Sender } from "../delivery/sender.ts";
import { encodeText, fixedReply, ownReply, shown } from "../delivery/text.ts";
import type { Command } from "./command.ts";
import { commandOf, COMMANDS, usageReply } from "./commands.ts";
import type { Connection, ParsedRequest, Protocol } from "../connections/connection.ts";
import type { Handler } from "../handler/handler.ts";
import { costOf, messageCost } from "../connections/rate_limiter.ts";

/** What the plain-text protocol is made of. */
export interface PlainTextParts {
  readonly handler: Handler;
  readonly sender: Sender;
  readonly limits: Limits;
  readonly metrics: Metrics;
}

/** The one command that a client without a nickname can use. */
const IDENTIFY = /^\s*\/identify(?:\s(.*))?$/is;

/** A command with a password after white space, which would be sent to the room. */
const MISTYPED_PASSWORD_COMMAND = new RegExp(
  `^\\s+/(${COMMANDS.filter((each) => each.hasPassword).map(({ name }) => name).join("|")})\\b`,
  "i",
);

/** The plain-text protocol, for all connections of an instance. */
export class PlainText implements Protocol {
  readonly wire = "text";
  readonly handler: Handler;
  readonly sender: Sender;
  readonly #limits: Limits;
  readonly #metrics: Metrics;

  constructor({ handler, sender, limits, metrics }: PlainTextParts) {
    this.handler = handler;
    this.sender = sender;
    this.#limits = limits;
    this.#metrics = metrics;
  }

  /** Returns the line of a frame, without a line break at its end. */
  split(connection: Connection, frame: string, bytes: number): readonly string[] {
    const { maxFrameBytes: frameBytes, maxMessageBytes: messageBytes } = this.#limits;
    // `websocat` sends the line break that was typed, other clients do not.
    if (bytes <= messageBytes) return [frame.replace(/\r?\n$/, "")];
    if (bytes > frameBytes) connection.close(frameTooLarge(frameBytes));
    else this.reject(connection, rejection.tooLong(bytes, messageBytes));
    return [];
  }

  /** Reads a line: the nickname, a command or a message. */
  parse(connection: Connection, line: string): ParsedRequest {
    if (!connection.isNamed) return this.#parseLogin(connection, line);
    if (line.startsWith("/")) return this.#parseCommand(connection, line.slice(1));
    return {
      action: "message",
      cost: () => messageCost(line),
      waitsForMessages: false,
      run: () => this.#sayLine(connection, line),
      reject: (why) => this.reject(connection, why),
    };
  }

  /** Tells the client that, and why, something was not done. */
  reject(connection: Connection, { code, message }: Rejection): void {
    this.#replyRejection(connection, code, shown(message));
  }

  /** Tells the client why it cannot have a nickname, and what to type next. */
  rejectNickname(connection: Connection, why: Rejection): void {
    if (why.code === "nickname-registered") {
      const line = ownReply.nicknameRegistered(connection.rejectedNick);
      this.#replyRejection(connection, why.code, line);
    } else if (why.code === "bad-nickname" && !connection.isNamed) {
      this.#replyRejection(connection, why.code, ownReply.chooseNickname(why.message));
    } else this.reject(connection, why);
  }

  #replyRejection(connection: Connection, code: Rejection["code"], line: string): void {
    this.#metrics.rejected(code);
    connection.reply(line);
  }

  /** Welcomes a client after its login. */
  welcome(connection: Connection, nick: string): void {
    connection.reply(fixedReply.welcome(nick));
  }

  /** Sends a message to the client's room. The author sees it with all others. */
  say(
    connection: Connection,
    room: string,
    kind: "message" | "action",
    text: string,
  ): void | Promise<void> {
    return this.handler.messages.say(connection, {
      kind,
      text,
      room,
      settle: (result) => {
        if (!result.ok) this.reject(connection, result);
      },
    });
  }

  /**
   * Signs a client in by `identify`, which returns whether that succeeded. Then shows the direct messages
   * that its user has not read. One that arrives meanwhile comes after them.
   */
  async withUnread(connection: Connection, identify: () => Promise<boolean>): Promise<void> {
    const { subscriber, session } = connection;
    const { user } = session;
    const { sender, handler: { welcome, reading } } = this;
    const known = new Set<string>();
    await reading.markShown(connection);
    sender.holdDirects(subscriber);
    try {
      if (!(await identify()) || session.user === user) return;
      const { conversations } = await welcome.stateOf(session);
      const unread = await welcome.unreadDirects(session.user, conversations);
      const read = new Map<string, string>();
      for (const { eventId, event } of unread.entries) {
        known.add(eventId);
        read.set(authorOf(event), eventId);
        connection.reply(encodeText(event, false));
      }
      connection.unshown = unread.unshown;
      await reading.markAll(session, read);
    } finally {
      sender.endCatchUp(subscriber, known);
    }
  }

  #sayLine(connection: Connection, line: string): void | Promise<void> {
    const { room } = connection;
    if (room === undefined) return connection.reply(fixedReply.cannotSend);
    if (line.charCodeAt(0) <= 0x20 && MISTYPED_PASSWORD_COMMAND.test(line)) {
      return connection.reply(ownReply.looksLikePassword);
    }
    return this.say(connection, room, "message", line);
  }

  #parseLogin(connection: Connection, line: string): ParsedRequest {
    const [identify, rest = ""] = IDENTIFY.exec(line) ?? [];
    return {
      action: "nick",
      cost: () => costOf(line.length),
      waitsForMessages: false,
      run: () =>
        identify === undefined
          ? this.#login(connection, line)
          : this.#run(connection, commandOf("identify")!, rest),
      reject: (why) => this.reject(connection, why),
    };
  }

  #parseCommand(connection: Connection, line: string): ParsedRequest {
    const space = line.indexOf(" ");
    const name = (space < 0 ? line : line.slice(0, space)).toLowerCase();
    const rest = space < 0 ? "" : line.slice(space + 1);
    const command = commandOf(name);
    const { action = "command" } = command ?? {};
    const kind = typeof action === "function" ? action(firstWordOf(rest)) : action;
    return {
      action: kind,
      cost: () => kind === "message" ? messageCost(line) : costOf(line.length),
      waitsForMessages: true,
      maxReplyBytes: command?.maxReplyBytes,
      run: () =>
        command === undefined
          ? connection.reply(fixedReply.unknownCommand(name))
          : this.#run(connection, command, rest),
      reject: (why) => this.reject(connection, why),
    };
  }

  async #run(connection: Connection, command: Command, rest: string): Promise<void> {
    const outcome = await command.run(this, connection, { rest, word: firstWordOf(rest) });
    if (outcome === "usage") connection.reply(usageReply(command));
  }

  async #login(connection: Connection, line: string): Promise<void> {
    const result = await this.handler.identity.login(connection, line, false);
    if (result.ok) this.welcome(connection, result.nick);
    else this.rejectNickname(connection, result);
  }
}

function firstWordOf(rest: string): string {
  return rest.trim().split(/\s/u, 1)[0]!;
}
