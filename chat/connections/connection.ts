/**
 * One WebSocket: takes its frames, checks every request against the limits, and runs the requests
 * one at a time, in order.
 *
 * The limits stand here once, in front of both protocols: frame and inbox sizes, rates, unsent data.
 * The protocol says what a line means, Handler carries it out, Sender sends.
 */
import { CLOSE, type CloseReason } from "../base/close_codes.ts";
import { type Fields, messageOf } from "../base/log.ts";
import { type ActionKind, type Limits, utf8Size } from "../base/limits.ts";
import { type Rejection, rejection } from "../base/rejections.ts";
import type { Sender } from "../delivery/sender.ts";
import type { Subscriber, WireFormat } from "../delivery/subscriber.ts";
import type { Session } from "../storage/records.ts";
import type { Admission } from "./admission.ts";
import { costOf, DISCONNECT, type RateLimiter, replyCost } from "./rate_limiter.ts";

/** What the server knows of a client when its WebSocket is accepted. */
export interface Handshake {
  /** The subprotocol that was agreed on; empty for plain text. */
  readonly subprotocol: string;
  /** The client's address, if it is known. */
  readonly address?: string;
  /** Whether many clients may have this address: it is one of this machine. */
  readonly isAddressShared?: boolean;
  /** Limits what the client does, and counts it until it leaves. */
  readonly admission?: Admission;
}

/** A request that the protocol has understood, or knows to be wrong. */
export interface ParsedRequest {
  /** The rate limit that the request counts for. */
  readonly action: ActionKind;
  /** Returns how much it costs there. It reads the whole text: without limits it is not called. */
  cost(): number;
  /** The reason why the request is wrong; then it is charged, rejected and not run. */
  readonly rejection?: Rejection;
  /** Whether the request waits until the client's earlier messages have been delivered. */
  readonly waitsForMessages: boolean;
  /** The most bytes of its reply, if that may be large: room is reserved before it runs. */
  readonly maxReplyBytes?: number;
  /** Carries out the request and replies to it. */
  run(): void | Promise<void>;
  /** Replies that the request is not carried out. */
  reject(why: Rejection): void;
}

/** A protocol: how lines are read, and how replies are written. */
export interface Protocol {
  readonly wire: WireFormat;
  /** Returns the lines of a frame. For a frame that is too long: none, after it was rejected. */
  split(connection: Connection, frame: string, bytes: number): readonly string[];
  /** Reads a line. */
  parse(connection: Connection, line: string): ParsedRequest;
  /** Sends a rejection that belongs to no request. */
  reject(connection: Connection, why: Rejection): void;
}

/** What becomes of the session of a connection. */
export interface SessionEvents {
  /** The client has received its newest resume token: it has sent a request since. */
  confirmToken(connection: Connection): Promise<void>;
  /** No more requests are taken. The client will be disconnected soon. */
  draining(connection: Connection): Promise<void>;
  /** The connection has ended. `dropped` means that the client did not leave by itself. */
  close(connection: Connection, dropped: boolean): Promise<void>;
}

/** What a connection is made of. */
export interface ConnectionParts {
  readonly handshake: Handshake;
  readonly subscriber: Subscriber;
  readonly session: Session;
  readonly protocol: Protocol;
  readonly sessions: SessionEvents;
  readonly sender: Sender;
  readonly limits: Limits;
  /** The number of times that the memory guard has looked. */
  readonly looks: { readonly count: number };
  warn(message: string, fields?: Fields): void;
}

/** A connection, from the opening of its socket to the removal of its rows. */
export class Connection {
  readonly #parts: ConnectionParts;
  readonly subscriber: Subscriber;
  readonly handshake: Handshake;
  /** Limits what the client does; `undefined`: nothing is limited. */
  readonly limiter: RateLimiter | undefined;
  /** The client's session. It changes as events are delivered; resuming replaces it. */
  session: Session;
  /** The last nickname that was rejected because it is registered; empty if none was. */
  rejectedNick = "";
  /** The sessions that `/sessions` listed last, by their IDs; `undefined`: none yet. */
  listedSessions: readonly string[] | undefined;
  /** Users from whom a plain-text client was not shown all unread direct messages; absent: none. */
  unshown: ReadonlySet<string> | undefined;
  /** Whether no request has shown yet that the client received its newest resume token. */
  tokenUnconfirmed = false;
  /** Messages that were submitted to the feed and are not settled yet. */
  #pendingMessages = 0;
  #wake: (() => void) | undefined;
  readonly #inbox: string[] = [];
  #inboxUnits = 0;
  /** The request that is running, if it takes time. */
  #busy: Promise<void> | undefined;
  #isClosedForInput = false;
  #ended: Promise<void> | undefined;
  /** The memory guard's number of looks when the last frame arrived. */
  #lastFrameLook = -1;

  constructor(parts: ConnectionParts) {
    this.#parts = parts;
    this.subscriber = parts.subscriber;
    this.handshake = parts.handshake;
    this.limiter = parts.handshake.admission?.limiter;
    this.session = parts.session;
  }

  /** Whether the client has logged in. */
  get isNamed(): boolean {
    return this.session.nick !== "";
  }

  /** Whether no frame has arrived since the memory guard looked last. */
  get isSilent(): boolean {
    return this.#lastFrameLook < this.#parts.looks.count;
  }

  /** The room of a plain-text client, which is in one at most. */
  get room(): string | undefined {
    return this.session.rooms.values().next().value;
  }

  /** The connection ID; after a resume, that of the resumed session. */
  get id(): string {
    return this.session.id;
  }

  /** The key of its password limits. Without a known address, limits are keyed by connection ID. */
  get rateLimitKey(): string {
    return this.handshake.address || this.id;
  }

  /** Takes a frame. */
  receive(frame: unknown): void {
    this.#lastFrameLook = this.#parts.looks.count;
    if (this.#isClosedForInput) return;
    if (typeof frame !== "string") return this.close(CLOSE.binaryFrame);
    const { limits, protocol } = this.#parts;
    const lines = protocol.split(this, frame, utf8Size(frame, limits.maxMessageBytes));
    if (lines.length === 0) return this.#chargeEmptyFrame(frame.length);
    for (const line of lines) {
      // A line before this one may have closed the connection.
      if (this.#isClosedForInput) return;
      if (this.#busy === undefined) {
        this.#handle(line);
        continue;
      }
      this.#inboxUnits += line.length;
      if (
        this.#inbox.push(line) > limits.maxInboxFrames ||
        this.#inboxUnits > limits.maxInboxCodeUnits
      ) {
        return this.close(CLOSE.inboxFull);
      }
    }
  }

  /** Sends a reply. Events that were delivered before go first. */
  reply(text: string): void {
    this.#parts.sender.reply(this.subscriber, text);
  }

  /** Sends a reply, and charges the client its bytes and the rows that were read for it. */
  replyLarge(text: string, rows = 0): void {
    this.limiter?.charge("command", replyCost(utf8Size(text, 0), rows));
    this.reply(text);
  }

  /** Closes the socket. */
  close(why: CloseReason): void {
    this.#parts.sender.close(this.subscriber, why);
  }

  /** Closes the connection, unless it has logged in or is closed already. */
  expireLogin(seconds: number): void {
    if (this.#isClosedForInput || this.isNamed) return;
    this.#parts.protocol.reject(this, rejection.tooLate(seconds));
    this.close(CLOSE.loginTimeout);
  }

  /** Counts a message that was submitted to the feed. */
  messageSubmitted(): void {
    this.#pendingMessages++;
  }

  /** Ends the count of a message: it was delivered, or failed. */
  messageSettled(): void {
    this.#pendingMessages--;
    this.#wake?.();
  }

  /** Returns a promise that resolves when a further message may be submitted, if not now. */
  whenMessageAllowed(): Promise<void> | undefined {
    if (this.#pendingMessages < this.#parts.limits.maxPendingMessages) return undefined;
    return this.#nextSettled();
  }

  /** Returns a promise that resolves when all messages are settled, unless they are. */
  whenMessagesSettled(): Promise<void> | undefined {
    if (this.#pendingMessages === 0) return undefined;
    return this.#nextSettled().then(() => this.whenMessagesSettled());
  }

  /** Runs no request until the returned function is called: another socket may take the session. */
  async suspend(): Promise<() => void> {
    while (this.#busy !== undefined) await this.#busy;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wait(promise);
    return resolve;
  }

  /** Takes no more frames. Resolves when those that have arrived are handled. */
  async drain(): Promise<void> {
    this.#isClosedForInput = true;
    while (this.#busy !== undefined) await this.#busy;
    await this.#parts.sessions.draining(this);
  }

  /**
   * Ends the connection: its socket is closed, or is to be. `dropped` means that the client did not
   * leave by itself, so that it may resume. Resolves when the session is kept or removed.
   */
  end(dropped: boolean): Promise<void> {
    return this.#ended ??= this.#end(dropped);
  }

  async #end(dropped: boolean): Promise<void> {
    const { sender, sessions } = this.#parts;
    sender.remove(this.subscriber);
    this.#isClosedForInput = true;
    this.#inbox.length = 0;
    while (this.#busy !== undefined) await this.#busy;
    await sessions.close(this, dropped);
  }

  /** Charges a frame without any request. */
  #chargeEmptyFrame(length: number): void {
    if (this.limiter?.take("command", costOf(length)) === DISCONNECT) {
      this.close(CLOSE.rateLimitIgnored);
    }
  }

  #handle(line: string): void {
    let request: ParsedRequest | undefined;
    try {
      request = this.#parts.protocol.parse(this, line);
      const work = this.#start(request);
      if (work !== undefined) this.#wait(work, request);
    } catch (error) {
      this.#reportFault(error, request);
    }
  }

  #start(request: ParsedRequest): void | Promise<void> {
    const { action } = request;
    const waitMs = this.limiter?.take(action, request.cost()) ?? 0;
    if (waitMs === DISCONNECT) return this.close(CLOSE.rateLimitIgnored);
    if (waitMs > 0) return request.reject(rejection.tooFast(action === "message", waitMs));
    if (request.rejection !== undefined) return request.reject(request.rejection);
    if (!this.tokenUnconfirmed) return this.#afterMessages(request);
    return this.#parts.sessions.confirmToken(this).then(() => this.#afterMessages(request));
  }

  /** Earlier messages are delivered before the reply, and in the room where they were sent. */
  #afterMessages(request: ParsedRequest): void | Promise<void> {
    const settled = request.waitsForMessages ? this.whenMessagesSettled() : undefined;
    if (settled !== undefined) return settled.then(() => this.#reserveAndRun(request));
    return this.#reserveAndRun(request);
  }

  #reserveAndRun(request: ParsedRequest): void | Promise<void> {
    if (request.maxReplyBytes === undefined) return request.run();
    const release = this.#parts.sender.reserve(this.subscriber, request.maxReplyBytes);
    if (release === undefined) return request.reject(rejection.tooMuchUnsent);
    return (async () => await request.run())().finally(release);
  }

  /** Handles the lines of the inbox when the present work is done. */
  #wait(work: Promise<void>, request?: ParsedRequest): void {
    this.#busy = work.catch((error) => this.#reportFault(error, request)).then(() => {
      this.#busy = undefined;
      while (this.#busy === undefined && this.#inbox.length > 0) {
        const line = this.#inbox.shift()!;
        this.#inboxUnits -= line.length;
        this.#handle(line);
      }
    });
  }

  /** Only one caller at a time may wait: the next request waits for it. */
  #nextSettled(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = () => {
        this.#wake = undefined;
        resolve();
      };
    });
  }

  /** Logs an internal error, or one of storage, and tells the client that its request failed. */
  #reportFault(error: unknown, request?: ParsedRequest): void {
    const { warn, protocol } = this.#parts;
    const { address } = this.handshake;
    warn(`Cannot handle a request: ${messageOf(error)}`, { connection: this.id, address });
    if (request === undefined) protocol.reject(this, rejection.notDone);
    else request.reject(rejection.notDone);
  }
}
