/** A client of `chat.v1` over a real WebSocket. Every request gets a `ref`, by which its reply is found. */
import { assertEquals, assertObjectMatch } from "@std/assert";
import type { TestServer } from "./test_server.ts";
import type { TextClient } from "./text_client.ts";

/** One JSON object from the server. */
// deno-lint-ignore no-explicit-any -- each test asserts the fields that it expects
export type JsonObject = Record<string, any>;

/** The password of every nickname that tests register. */
export const PASSWORD = "correct-horse";

/** A client of `chat.v1`. */
export class JsonClient {
  /** The WebSocket. */
  readonly connection: TextClient;
  /** The room that it joined first, where its messages go by default. */
  room = "";
  /** The `welcome` of its login. */
  welcome: JsonObject = {};
  #refs = 0;

  constructor(client: TextClient) {
    this.connection = client;
  }

  /** Connects, and sends nothing. */
  static async connect(server: TestServer): Promise<JsonClient> {
    return new JsonClient(await server.connect("", "chat.v1"));
  }

  /** Connects, logs in, and joins a room if one is given. */
  static async login(server: TestServer, nick: string, room?: string): Promise<JsonClient> {
    const client = await JsonClient.connect(server);
    client.welcome = await client.request({ type: "login", nick });
    if (room !== undefined) await client.join(room);
    return client;
  }

  /** Logs in, registers the nickname, and joins a room if one is given. */
  static async register(server: TestServer, nick: string, room?: string): Promise<JsonClient> {
    const client = await JsonClient.login(server, nick);
    await client.request({ type: "register", password: PASSWORD });
    if (room !== undefined) await client.join(room);
    return client;
  }

  /** Connects, and logs in to a registered nickname. Then joins a room if one is given. */
  static async identify(server: TestServer, nick: string, room?: string): Promise<JsonClient> {
    const client = await JsonClient.connect(server);
    client.welcome = await client.request({ type: "identify", nick, password: PASSWORD });
    assertEquals(client.welcome.type, "welcome", JSON.stringify(client.welcome));
    if (room !== undefined) await client.join(room);
    return client;
  }

  /** Joins a room, and returns the ID of the event. Messages go there if it is the first one. */
  async join(room: string): Promise<string> {
    const all = await this.requestAll({ type: "join", room });
    // Rooms in which something is set, or where the client has a role, say so.
    const heard = all.filter(({ type }) => type !== "room");
    assertEquals(heard.map(({ type }) => type), ["joined", "ok"], JSON.stringify(heard));
    this.room ||= heard[0]!.room;
    return heard[0]!.id;
  }

  /** The ID of its user, as the last reply that named one said. */
  get user(): string {
    const users = this.connection.received.map((line) => JSON.parse(line))
      .filter(({ type, user }) => (type === "welcome" || type === "ok") && user !== undefined);
    return users.at(-1).user;
  }

  /** Sends each request in a frame of its own. Strings are sent as they are. */
  send(...requests: (object | string)[]): void {
    for (const request of requests) {
      this.connection.send(typeof request === "string" ? request : JSON.stringify(request));
    }
  }

  /** Returns the next object. Waits until it arrives. */
  async next(): Promise<JsonObject> {
    return JSON.parse(await this.connection.next());
  }

  /** Asserts that the next objects have at least these fields. */
  async expect(...lines: JsonObject[]): Promise<void> {
    for (const line of lines) assertObjectMatch(await this.next(), line);
  }

  /** Sends a request. Returns everything that arrives up to its reply, the reply included. */
  async requestAll(request: object): Promise<JsonObject[]> {
    const ref = `ref ${++this.#refs}`;
    this.send({ ...request, ref });
    const heard: JsonObject[] = [];
    while (heard.at(-1)?.ref !== ref) heard.push(await this.next());
    return heard;
  }

  /** Sends a request, and returns its reply. Asserts that nothing else arrives before it. */
  async request(request: object): Promise<JsonObject> {
    const heard = await this.requestAll(request);
    assertEquals(heard.slice(0, -1), []);
    return heard[0]!;
  }

  /** Sends a request, and asserts that the reply is an error with this code. */
  async expectError(request: object, code: string): Promise<void> {
    const { type, code: given } = await this.request(request);
    assertEquals([type, given], ["error", code]);
  }

  /** Sends a message to the room that it joined first, and returns its ID. */
  async sendMessage(text: string, more: object = {}): Promise<string> {
    const heard = await this.requestAll({ type: "message", room: this.room, text, ...more });
    assertEquals(heard.map(({ type }) => type), ["message", "ok"]);
    return heard[1]!.id;
  }

  /**
   * Asserts that nothing arrived that the test did not read: the reply to a ping comes next. An event
   * of another client counts only if the test has seen another client receive it.
   */
  async expectNothingElse(): Promise<void> {
    assertEquals((await this.request({ type: "ping" })).type, "pong");
    assertEquals(this.connection.unreadCount, 0);
  }
}
