/**
 * A client in virtual time whose server the test plays: it expects requests, and answers them.
 */
import { assertEquals } from "@std/assert";
import { ChatClient, type ChatError } from "../../chat/client/client.js";
import type { ChatEvent, ClientOptions, Session } from "../../chat/client/client.js";
import { FakeClock, settlePromises } from "../support/fake_clock.ts";
import { FakeSocket } from "../support/fake_socket.ts";

/** A line of JSON. */
export type Line = Record<string, unknown>;

/** A connection whose server the test plays. */
export class ScriptedSocket extends FakeSocket {
  /** The requests that the test has not expected yet. */
  readonly requests: Line[] = [];

  constructor() {
    super(WebSocket.CONNECTING, "chat.v1");
  }

  override send(text: string): void {
    super.send(text);
    this.requests.push(JSON.parse(text));
  }

  override close(code?: number): void {
    super.close(code);
    this.disconnect(code);
  }

  /** Completes the handshake. */
  async openSocket(): Promise<void> {
    this.open();
    await settlePromises();
  }

  /** Delivers lines to the client in one frame. */
  async deliver(...lines: (Line | string)[]): Promise<void> {
    const frame = lines.map((line) => typeof line === "string" ? line : JSON.stringify(line));
    this.receive(frame.join("\n"));
    await settlePromises();
  }

  /** Asserts that the next request is this one, apart from `ref` and `cid`. Returns it with both. */
  expectRequest(request: Line): Line {
    const line = this.requests.shift();
    if (line === undefined) throw new Error(`${JSON.stringify(request)} was not sent`);
    const { ref: _ref, cid: _cid, ...rest } = line;
    assertEquals(rest, request);
    return line;
  }

  /** Expects a request and answers it; `more` follows the reply in the same frame. */
  async answer(request: Line, reply: Line, ...more: Line[]): Promise<void> {
    const { ref } = this.expectRequest(request);
    await this.deliver({ ...reply, ref }, ...more);
  }

  /** Ends the connection. */
  async drop(code = 1006): Promise<void> {
    this.disconnect(code);
    await settlePromises();
  }
}

/** A client named Ann with a fake clock, scripted sockets and a session in memory. */
export class Scenario {
  readonly clock = new FakeClock();
  readonly sockets: ScriptedSocket[] = [];
  /** Every event that the client delivered, in order. */
  readonly events: ChatEvent[] = [];
  readonly client: ChatClient;
  saved: Session | null | undefined;
  #ids = 0;

  constructor(options: Partial<ClientOptions> = {}, session?: Session) {
    this.saved = session;
    this.client = new ChatClient("ws://chat.example/", {
      nick: "Ann",
      room: "red",
      clock: this.clock,
      ids: () => `c${++this.#ids}`,
      connect: (url, protocol) => {
        assertEquals([url, protocol], ["ws://chat.example/", "chat.v1"]);
        this.sockets.push(new ScriptedSocket());
        return this.socket;
      },
      session: { load: () => this.saved, save: (session) => this.saved = session },
      ...options,
    });
    this.client.on("*", (event) => this.events.push(event));
  }

  /** The newest socket. */
  get socket(): ScriptedSocket {
    return this.sockets.at(-1)!;
  }

  /** The IDs of the messages that the client delivered, in order. */
  get messageIds(): string[] {
    return this.events.flatMap((event) => event.type === "message" ? event.id : []);
  }

  /** The codes of the errors that the client reported, in order. */
  get errorCodes(): string[] {
    return this.events.flatMap((event) => event.type === "error" ? event.error.code : []);
  }

  /** Opens the socket, logs in and enters the room. */
  async logIn(): Promise<this> {
    await this.socket.openSocket();
    await this.socket.answer({ type: "login", nick: "Ann" }, welcome("t1"));
    const { ref } = this.socket.expectRequest({ type: "join", room: "red" });
    await this.socket.deliver(joinedEvent("e10"), { type: "ok", ref, id: "e10" });
    assertEquals(this.client.state, "online");
    return this;
  }

  /** Drops the connection, and advances the clock until the next one opens. */
  async reconnect(): Promise<void> {
    const before = this.sockets.length;
    await this.socket.drop();
    await this.clock.advanceAsync(retryAt(this.events)! - this.clock.now());
    assertEquals(this.sockets.length, before + 1);
    await this.socket.openSocket();
  }

  /** Answers a `resume` and the ping that confirms it; `more` is the replay. */
  async resume(resume: Line, reply: Line, ...more: Line[]): Promise<void> {
    const hasEnd = more.some(({ type }) => type === "resumed");
    const end = { type: "resumed", recovered: true, missed: more.length };
    await this.socket.answer({ type: "resume", ...resume }, reply, ...more, ...hasEnd ? [] : [end]);
    await this.socket.answer({ type: "ping" }, { type: "pong" });
  }
}

/** A `welcome` with a token. */
export function welcome(token: string, room?: string, nick = "Ann"): Line {
  return { type: "welcome", nick, token, grace: 30, history: 604_800, ...(room && { room }) };
}

/** A user joined a room. */
export function joinedEvent(id: string, room = "red", nick = "Ann"): Line {
  return { type: "joined", id, room, nick, time: 0 };
}

/** A message by Bob, whose text is its ID. */
export function messageEvent(id: string, more: Line = {}): Line {
  return { type: "message", id, room: "red", nick: "Bob", text: id, time: 0, ...more };
}

/** An error reply. */
export function errorReply(code: string): Line {
  return { type: "error", code, message: `it is ${code}` };
}

/** The time of the next attempt, as the client last reported it. */
export function retryAt(events: ChatEvent[]): number | undefined {
  const state = events.findLast((event) => event.type === "state");
  return state?.type === "state" && state.state === "offline" ? state.retryAt : undefined;
}

/** Collects the value or error code of a promise. Without `value` it has not settled. */
export function outcomeOf<T>(promise: Promise<T>): { value?: T | string } {
  const outcome: { value?: T | string } = {};
  promise.then(
    (value) => outcome.value = value,
    (error) => outcome.value = (error as ChatError).code,
  );
  return outcome;
}
