/** Somebody who speaks `chat.v1`, for tests: asks, and hears what comes before the answer. */
import { assertEquals, assertObjectMatch } from "@std/assert";
import type { House, Person } from "./test_server.ts";

/** A line from the server, as it was read. */
// deno-lint-ignore no-explicit-any -- tests say themselves what they expect of a line
export type Line = Record<string, any>;

/** Somebody who speaks `chat.v1`. */
export class Speaker {
  readonly person: Person;
  #refs = 0;

  constructor(person: Person) {
    this.person = person;
  }

  /** Somebody who has connected, and not said anything. */
  static async connect(house: House): Promise<Speaker> {
    return new Speaker(await house.connect("", "chat.v1"));
  }

  /** Somebody who has logged in, and joined a room if one is named. */
  static async enter(house: House, nick: string, room?: string): Promise<Speaker> {
    const speaker = await Speaker.connect(house);
    await speaker.asks({ type: "login", nick });
    if (room !== undefined) {
      speaker.say({ type: "join", room });
      await speaker.hears({ type: "joined", room, nick });
    }
    return speaker;
  }

  /** Sends requests, each in a frame of its own; strings as they are. */
  say(...requests: (object | string)[]): void {
    for (const request of requests) {
      this.person.say(typeof request === "string" ? request : JSON.stringify(request));
    }
  }

  /** The next line. */
  async next(): Promise<Line> {
    return JSON.parse(await this.person.next());
  }

  /** The next lines hold at least these fields. */
  async hears(...lines: Line[]): Promise<void> {
    for (const line of lines) assertObjectMatch(await this.next(), line);
  }

  /** Asks for something: what is heard until the answer, and that. */
  async hearsUntilAnswer(request: object): Promise<Line[]> {
    const ref = `ref ${++this.#refs}`;
    this.say({ ...request, ref });
    const heard: Line[] = [];
    while (heard.at(-1)?.ref !== ref) heard.push(await this.next());
    return heard;
  }

  /** Asks for something, and hears nothing before the answer. */
  async asks(request: object): Promise<Line> {
    const heard = await this.hearsUntilAnswer(request);
    assertEquals(heard.slice(0, -1), []);
    return heard[0]!;
  }

  /** Asks for something, and is refused with that code. */
  async isRefused(request: object, code: string): Promise<void> {
    const { type, code: given } = await this.asks(request);
    assertEquals([type, given], ["error", code]);
  }

  /** Says something to the room; the id of it. */
  async says(text: string, more: object = {}): Promise<string> {
    const heard = await this.hearsUntilAnswer({ type: "message", text, ...more });
    assertEquals(heard.map(({ type }) => type), ["message", "ok"]);
    return heard[1]!.id;
  }

  /**
   * Nothing came that was not heard yet: a question is answered at once. What others did must have
   * been seen by somebody else before.
   */
  async hearsNothingElse(): Promise<void> {
    assertEquals((await this.asks({ type: "ping" })).type, "pong");
    assertEquals(this.person.waiting, 0);
  }
}
