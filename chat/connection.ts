/**
 * One connection: takes its frames, refuses those that are no lines, and has the others handled
 * one at a time, in order.
 *
 * The first step of a message after the socket. It does not know what a line means (Handler), and
 * sends nothing itself (Sender).
 */
import type { Handler, Speaker } from "./handler.ts";
import type { Limits } from "./limits.ts";
import { CLOSE, type Sender } from "./sender.ts";
import { further } from "./text.ts";

/** What a connection is made of. */
export interface ConnectionParts {
  readonly handler: Handler;
  readonly sender: Sender;
  readonly limits: Limits;
  warn(message: string): void;
}

const encoder = new TextEncoder();

/** A connection, from its socket's opening to the removal of its rows. */
export class Connection {
  readonly #id: string;
  readonly #parts: ConnectionParts;
  readonly #inbox: string[] = [];
  #inboxUnits = 0;
  #speaker: Speaker | undefined;
  /** What is being done now, if it takes time. */
  #busy: Promise<void> | undefined;
  /** No more frames are taken. */
  #deaf = false;
  #ended: Promise<void> | undefined;

  constructor(id: string, parts: ConnectionParts) {
    this.#id = id;
    this.#parts = parts;
  }

  /** The socket is open. */
  open(): void {
    this.#work(this.#open());
  }

  /** A frame came. */
  receive(data: unknown): void {
    if (this.#deaf) return;
    const { sender, limits } = this.#parts;
    if (typeof data !== "string") {
      return sender.close(this.#id, CLOSE.unsupported, "only text is understood here");
    }
    const bytes = sizeOf(data, limits.messageBytes);
    if (bytes > limits.frameBytes) {
      return sender.close(this.#id, CLOSE.tooBig, `a frame has at most ${limits.frameBytes} bytes`);
    }
    if (bytes > limits.messageBytes) {
      return sender.reply(this.#id, further.tooLong(bytes, limits.messageBytes));
    }
    // `websocat` sends the end of the line that was typed with it, others do not.
    const line = data.replace(/\r?\n$/, "");
    if (this.#busy === undefined) return this.#handle(line);
    this.#inboxUnits += line.length;
    if (this.#inbox.push(line) > limits.inboxFrames || this.#inboxUnits > limits.inboxUnits) {
      sender.close(this.#id, CLOSE.policy, "you send faster than the chat can take it");
    }
  }

  /** Takes no more frames. Resolves when those that have come are handled. */
  async drain(): Promise<void> {
    this.#deaf = true;
    while (this.#busy !== undefined) await this.#busy;
  }

  /** The socket is closed, or of no use any more. Resolves when nothing is left of it. */
  end(): Promise<void> {
    return this.#ended ??= this.#end();
  }

  async #open(): Promise<void> {
    const { handler, sender } = this.#parts;
    this.#speaker = await handler.open(this.#id);
    if (this.#speaker !== undefined) return;
    sender.close(this.#id, CLOSE.tryLater, "the chat's storage does not answer");
  }

  #handle(line: string): void {
    const { handler } = this.#parts;
    // Without one, the connection is being closed.
    if (this.#speaker === undefined) return;
    try {
      const work = handler.handle(this.#speaker, line);
      if (work !== undefined) this.#work(work);
    } catch (error) {
      this.#fault(error);
    }
  }

  #work(work: Promise<void>): void {
    this.#busy = work.catch((error) => this.#fault(error)).then(() => {
      this.#busy = undefined;
      while (this.#busy === undefined && this.#inbox.length > 0) {
        const line = this.#inbox.shift()!;
        this.#inboxUnits -= line.length;
        this.#handle(line);
      }
    });
  }

  async #end(): Promise<void> {
    this.#parts.sender.remove(this.#id);
    this.#deaf = true;
    this.#inbox.length = 0;
    while (this.#busy !== undefined) await this.#busy;
    await this.#parts.handler.close(this.#id);
  }

  /** A fault of ours, or of storage: the operator reads why, the person one line. */
  #fault(error: unknown): void {
    const { sender, warn } = this.#parts;
    warn(`a line could not be handled: ${error instanceof Error ? error.message : String(error)}`);
    sender.reply(this.#id, further.notDone);
  }
}

/** Bytes of UTF-8; an upper bound of them where that is within `enough`. */
function sizeOf(text: string, enough: number): number {
  return text.length * 3 <= enough ? text.length * 3 : encoder.encode(text).length;
}
