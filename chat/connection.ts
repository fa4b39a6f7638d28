/**
 * One connection: takes its frames, refuses those that no protocol knows, and has what is in the
 * others handled one at a time, in order.
 *
 * The first step of a message after the socket. It does not know what a line means (that is its
 * protocol's), and sends nothing itself (Sender).
 */
import { costOf, ENOUGH, type Pace } from "./flood.ts";
import type { Handler, Speaker } from "./handler.ts";
import type { Lines } from "./lines.ts";
import { type Limits, sizeOf } from "./limits.ts";
import { refusal } from "./refusals.ts";
import { Answered, type Requests } from "./requests.ts";
import type { Seen } from "./resume.ts";
import { CLOSE, type Peer, type Sender, TOO_FAST } from "./sender.ts";

/** How somebody comes in: with a token of an earlier time, or without (empty). */
export interface Entrance extends Seen {
  readonly token: string;
}

/** What a connection is made of. */
export interface ConnectionParts {
  readonly id: string;
  readonly peer: Peer;
  readonly protocol: Lines | Requests;
  readonly handler: Handler;
  readonly sender: Sender;
  readonly limits: Limits;
  /** Says whether somebody goes too fast; `undefined`: they may. */
  readonly pace: Pace | undefined;
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
  #speaker: Speaker | undefined;
  /** What is being done now, if it takes time. */
  #busy: Promise<void> | undefined;
  /** No more frames are taken. */
  #deaf = false;
  #ended: Promise<void> | undefined;
  /** The number of looks when the last frame was complete. */
  #heardAtLook = -1;

  constructor(parts: ConnectionParts) {
    this.#parts = parts;
  }

  /** The client, as far as the socket concerns it. */
  get peer(): Peer {
    return this.#parts.peer;
  }

  /** Whether the client has a nickname. */
  get isNamed(): boolean {
    return (this.#speaker?.record.nick ?? "") !== "";
  }

  /** Whether no frame was completed since the memory guard looked last. */
  get isSilent(): boolean {
    return this.#heardAtLook < this.#parts.looks.count;
  }

  /** The id of the connection, once there is one: that of an earlier time for whoever came back. */
  get id(): string | undefined {
    return this.#speaker?.record.id;
  }

  /** The socket is open. */
  open(entrance: Entrance): void {
    this.#work(this.#open(entrance));
  }

  /** A frame came. */
  receive(data: unknown): void {
    this.#heardAtLook = this.#parts.looks.count;
    if (this.#deaf) return;
    const { sender, limits, peer, protocol } = this.#parts;
    if (typeof data !== "string") {
      return sender.close(peer, CLOSE.unsupported, "only text is understood here");
    }
    const lines = protocol.split(peer, data, sizeOf(data, limits.messageBytes));
    if (lines.length === 0) return this.#count(data.length);
    for (const line of lines) {
      // One of them may have been the last.
      if (this.#deaf) return;
      if (this.#busy === undefined) {
        this.#handle(line);
        continue;
      }
      this.#inboxUnits += line.length;
      if (this.#inbox.push(line) > limits.inboxFrames || this.#inboxUnits > limits.inboxUnits) {
        return sender.close(peer, CLOSE.policy, "you send faster than the chat can take it");
      }
    }
  }

  /** Their time to choose a nickname is over. */
  expire(seconds: number): void {
    const { protocol, peer, sender } = this.#parts;
    if (this.#deaf || this.isNamed) return;
    protocol.refuse(peer, refusal.tooLate(seconds));
    sender.close(peer, CLOSE.policy, "no nickname was chosen");
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
    this.#deaf = true;
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
    const { id, peer, protocol, sender, address = "", pace } = this.#parts;
    sender.bind(peer, id);
    const speaker = await protocol.open(id, peer, address, pace, token, seen);
    speaker.registersFrom = this.#parts.registersFrom;
    this.#speaker = speaker;
  }

  /** A frame in which there was nothing to do: it is counted all the same. */
  #count(length: number): void {
    const { pace, sender, peer } = this.#parts;
    if (pace?.take("command", costOf(length)) !== ENOUGH) return;
    sender.close(peer, CLOSE.policy, TOO_FAST);
  }

  #handle(line: string): void {
    // Without one, the connection is being closed.
    if (this.#speaker === undefined) return;
    try {
      const work = this.#parts.protocol.handle(this.#speaker, line);
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

  async #end(dropped: boolean): Promise<void> {
    const { sender, peer, handler } = this.#parts;
    sender.remove(peer);
    this.#deaf = true;
    this.#inbox.length = 0;
    while (this.#busy !== undefined) await this.#busy;
    if (this.#speaker !== undefined) await handler.close(this.#speaker, dropped);
  }

  /** A fault of ours, or of storage: the operator reads why, the person one line. */
  #fault(error: unknown): void {
    const { warn, protocol, peer } = this.#parts;
    warn(`a line could not be handled: ${error instanceof Error ? error.message : String(error)}`);
    if (!(error instanceof Answered)) protocol.refuse(peer, refusal.notDone);
  }
}
