/** A chat server in the test's own process, on a free port of this machine. */
import { type Chat, type ChatOptions, startChat } from "../../chat/mod.ts";
import { connectionKeys } from "./kv_rows.ts";
import { type Protocols, TextClient } from "./text_client.ts";
import { withDeadline } from "./wait.ts";

/** A chat server in this process. At the end of a test it disconnects its clients, and closes. */
export class TestServer implements AsyncDisposable {
  readonly kv: Deno.Kv;
  readonly chat: Chat;
  readonly port: number;
  readonly url: string;
  /** Every warning that the chat logged, in order. */
  readonly warnings: string[];
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly #clients: TextClient[] = [];
  readonly #ownsKv: boolean;

  private constructor(
    kv: Deno.Kv,
    chat: Chat,
    warnings: string[],
    ownsKv: boolean,
    port: number,
  ) {
    this.kv = kv;
    this.chat = chat;
    this.warnings = warnings;
    this.#ownsKv = ownsKv;
    this.#server = Deno.serve(
      { port, hostname: "127.0.0.1", onListen() {} },
      (request, info) => chat.fetch(request, info),
    );
    this.port = this.#server.addr.port;
    this.url = `ws://127.0.0.1:${this.port}/`;
  }

  /**
   * Starts a server. Without `options.kv` it uses a new KV in memory, and closes it at the end. `port` is
   * that of an earlier server that comes back.
   */
  static async open(options: Partial<ChatOptions> = {}, port = 0): Promise<TestServer> {
    const kv = options.kv ?? await Deno.openKv(":memory:");
    const warnings: string[] = [];
    const warn = (message: string) => void warnings.push(message);
    const log = { info: () => {}, warn, error: warn };
    // Few rounds of hashing: in tests nobody guesses passwords.
    const chat = await startChat({ local: true, log, passwordRounds: 1000, ...options, kv });
    return new TestServer(kv, chat, warnings, options.kv === undefined, port);
  }

  /** Connects a client, which sends nothing. `path` is appended to the URL: a path or a query. */
  async connect(path = "", protocols: Protocols = []): Promise<TextClient> {
    const client = await TextClient.connect(this.url + path, protocols);
    this.#clients.push(client);
    return client;
  }

  /** Connects a plain-text client, logs it in, and joins a room if one is given. */
  async login(nick: string, room?: string): Promise<TextClient> {
    const client = await this.connect();
    await client.request(nick, `Using nickname: ${nick}\nType /help for list of commands.`);
    if (room !== undefined) await client.request(`/join ${room}`, `Joined chat room "${room}"`);
    return client;
  }

  /** Returns the keys that belong to connections and instances. */
  async connectionKeys(): Promise<Deno.KvKey[]> {
    return await connectionKeys(this.kv);
  }

  /** Closes the sockets of all clients, and waits until they are closed. */
  async disconnectAll(): Promise<void> {
    for (const { socket } of this.#clients) if (socket.readyState <= 1) socket.close();
    await withDeadline(
      Promise.all(this.#clients.map(({ closed }) => closed)),
      "all connections to end",
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.disconnectAll();
    await this.chat.close();
    await this.#server.shutdown();
    if (this.#ownsKv) this.kv.close();
  }
}
