/** A client of `chat.v1` over a real WebSocket. Every request gets a `ref`, by which its reply is found. */
import { assertEquals, assertObjectMatch } from "@std/assert";
import type { House } from "./test_server.ts";
import type { Person } from "./text_client.ts";

/** One JSON object from the server. */
// deno-lint-ignore no-explicit-any -- each test asserts the fields that it expects
export type Line = Record<string, any>;

/** A client of `chat.v1`. */
export class Speaker {
  /** The WebSocket. */
  readonly person: Person;
  #refs = 0;

  constructor(person: Person) {
    this.person = person;
  }

  /** Connects, and sends nothing. */
  static async connect(house: House): Promise<Speaker> {
    return new Speaker(await house.connect("", "chat.v1"));
  }

  /** Connects, logs in, and joins a room if one is given. */
  static async enter(house: House, nick: string, room?: string): Promise<Speaker> {
    const speaker = await Speaker.connect(house);
    await speaker.asks({ type: "login", nick });
    if (room !== undefined) {
      speaker.say({ type: "join", room });
      await speaker.hears({ type: "joined", room, nick });
    }
    return speaker;
  }

  /** Sends each request in a frame of its own. Strings are sent as they are. */
  say(...requests: (object | string)[]): void {
    for (const request of requests) {
      this.person.say(typeof request === "string" ? request : JSON.stringify(request));
    }
  }

  /** Returns the next object. Waits until it arrives. */
  async next(): Promise<Line> {
    return JSON.parse(await this.person.next());
  }

  /** Asserts that the next objects have at least these fields. */
  async hears(...lines: Line[]): Promise<void> {
    for (const line of lines) assertObjectMatch(await this.next(), line);
  }

  /** Sends a request. Returns everything that arrives up to its reply, the reply included. */
  async hearsUntilAnswer(request: object): Promise<Line[]> {
    const ref = `ref ${++this.#refs}`;
    this.say({ ...request, ref });
    const heard: Line[] = [];
    while (heard.at(-1)?.ref !== ref) heard.push(await this.next());
    return heard;
  }

  /** Sends a request, and returns its reply. Asserts that nothing else arrives before it. */
  async asks(request: object): Promise<Line> {
    const heard = await this.hearsUntilAnswer(request);
    assertEquals(heard.slice(0, -1), []);
    return heard[0]!;
  }

  /** Sends a request, and asserts that the reply is an error with this code. */
  async isRefused(request: object, code: string): Promise<void> {
    const { type, code: given } = await this.asks(request);
    assertEquals([type, given], ["error", code]);
  }

  /** Sends a message to the room, and returns its ID. */
  async says(text: string, more: object = {}): Promise<string> {
    const heard = await this.hearsUntilAnswer({ type: "message", text, ...more });
    assertEquals(heard.map(({ type }) => type), ["message", "ok"]);
    return heard[1]!.id;
  }

  /**
   * Asserts that nothing arrived that the test did not read: the reply to a ping comes next. An event
   * of another client counts only if the test has seen another client receive it.
   */
  async hearsNothingElse(): Promise<void> {
    assertEquals((await this.asks({ type: "ping" })).type, "pong");
    assertEquals(this.person.waiting, 0);
  }
}
