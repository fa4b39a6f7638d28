/**
 * One connection: takes its frames, refuses those that no protocol knows, and has what is in the
 * others handled one at a time, in order.
 *
 * The first step of a message after the socket. It does not know what a line means (that is its
 * protocol's), and sends nothing itself (Sender).
 */
import { costOf, DISCONNECT, type RateLimiter } from "./rate_limiter.ts";
import type { Handler, Session } from "./handler.ts";
import type { PlainText } from "./plain_text.ts";
import { type Limits, sizeOf } from "../base/limits.ts";
import { rejection } from "../base/rejections.ts";
import { AnsweredError, type ChatV1 } from "./chat_v1.ts";
import type { Seen } from "./resume.ts";
import { CLOSE, RATE_LIMIT_REASON, type Sender, type Subscriber } from "../delivery/sender.ts";

/** How somebody comes in: with a token of an earlier time, or without (empty). */
export interface Entrance extends Seen {
  readonly token: string;
}

/** What a connection is made of. */
export interface ConnectionParts {
  readonly id: string;
  readonly subscriber: Subscriber;
  readonly protocol: PlainText | ChatV1;
  readonly handler: Handler;
  readonly sender: Sender;
  readonly limits: Limits;
  /** Says whether somebody goes too fast; `undefined`: they may. */
  readonly limiter: RateLimiter | undefined;
  /** Where they come from, if that is known. */
  readonly address: string | undefined;
  /** How often the memory guard has looked. */
  readonly looks: { readonly count: number };
  /** The address for which their registrations are counted; `undefined`: they are not. */
  readonly registersFrom: string | undefined;
  warn(message: string): void;
}

/** A connection, from its socket's opening to the removal of its rows. */
export class Connection {
  readonly #parts: ConnectionParts;
  readonly #inbox: string[] = [];
  #inboxUnits = 0;
  #session: Session | undefined;
  /** What is being done now, if it takes time. */
  #busy: Promise<void> | undefined;
  /** No more frames are taken. */
  #closedForInput = false;
  #ended: Promise<void> | undefined;
  /** The number of looks when the last frame was complete. */
  #heardAtLook = -1;

  constructor(parts: ConnectionParts) {
    this.#parts = parts;
  }

  /** The client, as far as the socket concerns it. */
  get peer(): Subscriber {
    return this.#parts.subscriber;
  }

  /** Whether the client has a nickname. */
  get isNamed(): boolean {
    return (this.#session?.record.nick ?? "") !== "";
  }

  /** Whether no frame was completed since the memory guard looked last. */
  get isSilent(): boolean {
    return this.#heardAtLook < this.#parts.looks.count;
  }

  /** The id of the connection, once there is one: that of an earlier time for whoever came back. */
  get id(): string | undefined {
    return this.#session?.record.id;
  }

  /** The socket is open. */
  open(entrance: Entrance): void {
    this.#work(this.#open(entrance));
  }

  /** A frame came. */
  receive(data: unknown): void {
    this.#heardAtLook = this.#parts.looks.count;
    if (this.#closedForInput) return;
    const { sender, limits, subscriber, protocol } = this.#parts;
    if (typeof data !== "string") {
      return sender.close(subscriber, CLOSE.unsupported, "only text is understood here");
    }
    const lines = protocol.split(subscriber, data, sizeOf(data, limits.messageBytes));
    if (lines.length === 0) return this.#count(data.length);
    for (const line of lines) {
      // One of them may have been the last.
      if (this.#closedForInput) return;
      if (this.#busy === undefined) {
        this.#handle(line);
        continue;
      }
      this.#inboxUnits += line.length;
      if (this.#inbox.push(line) > limits.inboxFrames || this.#inboxUnits > limits.inboxUnits) {
        return sender.close(subscriber, CLOSE.policy, "you send faster than the chat can take it");
      }
    }
  }

  /** Their time to choose a nickname is over. */
  expireLogin(seconds: number): void {
    const { protocol, subscriber, sender } = this.#parts;
    if (this.#closedForInput || this.isNamed) return;
    protocol.reject(subscriber, rejection.tooLate(seconds));
    sender.close(subscriber, CLOSE.policy, "no nickname was chosen");
  }

  /** Handles nothing more until what this resolves to is called: another socket may take over. */
  async suspend(): Promise<() => void> {
    while (this.#busy !== undefined) await this.#busy;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#work(promise);
    return resolve;
  }

  /** Takes no more frames. Resolves when those that have come are handled. */
  async drain(): Promise<void> {
    this.#closedForInput = true;
    while (this.#busy !== undefined) await this.#busy;
  }

  /**
   * The socket is closed, or of no use any more; `dropped`: not because whoever had it wanted to go.
   * Resolves when nothing is left of it.
   */
  end(dropped: boolean): Promise<void> {
    return this.#ended ??= this.#end(dropped);
  }

  async #open({ token, ...seen }: Entrance): Promise<void> {
    const { id, subscriber, protocol, sender, address = "", limiter } = this.#parts;
    sender.bind(subscriber, id);
    const session = await protocol.open(id, subscriber, address, limiter, token, seen);
    session.registersFrom = this.#parts.registersFrom;
    this.#session = session;
  }

  /** A frame in which there was nothing to do: it is counted all the same. */
  #count(length: number): void {
    const { limiter, sender, subscriber } = this.#parts;
    if (limiter?.take("command", costOf(length)) !== DISCONNECT) return;
    sender.close(subscriber, CLOSE.policy, RATE_LIMIT_REASON);
  }

  #handle(line: string): void {
    // Without one, the connection is being closed.
    if (this.#session === undefined) return;
    try {
      const work = this.#parts.protocol.handle(this.#session, line);
      if (work !== undefined) this.#work(work);
    } catch (error) {
      this.#reportFault(error);
    }
  }

  #work(work: Promise<void>): void {
    this.#busy = work.catch((error) => this.#reportFault(error)).then(() => {
      this.#busy = undefined;
      while (this.#busy === undefined && this.#inbox.length > 0) {
        const line = this.#inbox.shift()!;
        this.#inboxUnits -= line.length;
        this.#handle(line);
      }
    });
  }

  async #end(dropped: boolean): Promise<void> {
    const { sender, subscriber, handler } = this.#parts;
    sender.remove(subscriber);
    this.#closedForInput = true;
    this.#inbox.length = 0;
    while (this.#busy !== undefined) await this.#busy;
    if (this.#session !== undefined) await handler.close(this.#session, dropped);
  }

  /** A fault of ours, or of storage: the operator reads why, the person one line. */
  #reportFault(error: unknown): void {
    const { warn, protocol, subscriber } = this.#parts;
    warn(`a line could not be handled: ${error instanceof Error ? error.message : String(error)}`);
    if (!(error instanceof AnsweredError)) protocol.reject(subscriber, rejection.notDone);
  }
}
