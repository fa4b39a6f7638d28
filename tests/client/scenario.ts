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
  async drop(code = 1006, reason = ""): Promise<void> {
    this.disconnect(code, reason);
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
      rooms: ["red"],
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
    assertEquals(this.client.state, "online");
    await this.join("red", "e10");
    return this;
  }

  /** Expects a `join`, and lets the client enter the room. */
  async join(room: string, id: string, name = room): Promise<void> {
    const { ref } = this.socket.expectRequest({ type: "join", room });
    await this.socket.deliver(joinedEvent(id, name), { type: "ok", ref, id });
  }

  /** Drops the connection, and advances the clock until the next one opens. */
  async reconnect(): Promise<void> {
    const before = this.sockets.length;
    await this.socket.drop();
    await this.clock.advanceAsync(retryAt(this.events)! - this.clock.now());
    assertEquals(this.sockets.length, before + 1);
    await this.socket.openSocket();
  }

  /**
   * Answers a `resume` and the ping that confirms it; `more` is the replay. Each room of the `welcome`
   * whose `resumed` is not among it was recovered.
   */
  async resume(resume: Line, reply: Line, ...more: Line[]): Promise<void> {
    const ended = more.filter(({ type }) => type === "resumed").map(({ room }) => room);
    const rooms = [...(reply.rooms as { room: string }[]).map(({ room }) => room), undefined];
    const ends = rooms.filter((room) => !ended.includes(room))
      .map((room) => resumedLine({ room, missed: 0 }));
    await this.socket.answer({ type: "resume", ...resume }, reply, ...more, ...ends);
    await this.socket.answer({ type: "ping" }, { type: "pong" });
  }

  /** Loses the session: the connection drops, and the token is refused. The client then logs in. */
  async loseSession(resume: Line): Promise<void> {
    await this.reconnect();
    await this.socket.answer({ type: "resume", ...resume }, errorReply("bad-token"));
    await this.socket.answer({ type: "login", nick: "Ann" }, welcome("n1", { user: "u-ann-2" }));
  }
}

/** The user IDs of the scenarios: that of Ann is `u-ann`. */
export function userOf(nick: string): Line {
  return { user: `u-${nick.toLowerCase()}`, nick };
}

/** A `welcome` with a token, of a session that is in rooms. */
export function welcome(token: string, more: Line = {}, ...rooms: string[]): Line {
  return {
    type: "welcome",
    ...userOf("Ann"),
    session: "s1",
    token,
    grace: 30,
    history: 604_800,
    edit: 86_400,
    limits: { text: 16_384, nick: 32, room: 64, rooms: 50 },
    rooms: rooms.map((room) => ({ room, joined: true })),
    ...more,
  };
}

/** The end of a replay: of a room, or of the direct messages. */
export function resumedLine(more: Line = {}): Line {
  return { type: "resumed", recovered: true, missed: 0, ...more };
}

/** A user joined a room. */
export function joinedEvent(id: string, room = "red", nick = "Ann"): Line {
  return { type: "joined", id, room, ...userOf(nick), time: 0 };
}

/** A user left a room. */
export function leftEvent(id: string, room = "red", nick = "Ann"): Line {
  return { type: "left", id, room, ...userOf(nick), time: 0 };
}

/** A message by Bob, whose text is its ID. */
export function messageEvent(id: string, more: Line = {}): Line {
  return { type: "message", id, room: "red", ...userOf("Bob"), text: id, time: 0, ...more };
}

/** A direct message from Bob to Ann, whose text is its ID. */
export function directEvent(id: string, more: Line = {}): Line {
  return { type: "direct", id, ...userOf("Bob"), to: userOf("Ann"), text: id, time: 0, ...more };
}

/** A page of the history of a room, with nothing missing before it. */
export function historyReply(events: Line[], more: Line = {}): Line {
  return { type: "history", room: "red", events, more: false, complete: true, ...more };
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
