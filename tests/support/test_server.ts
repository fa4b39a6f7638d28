/**
 * What tests need: a chat in this process on a port of its own, people who type and listen, and
 * parts that may not be on this machine.
 */
import { assert, assertEquals } from "@std/assert";
import { systemClock } from "../../chat/base/clock.ts";
import { MAX_LOCAL_CHECKS } from "../../chat/feed/batch.ts";
import type { FeedParts } from "../../chat/feed/feed.ts";
import { FEED_ROW_MS } from "../../chat/feed/shard_parts.ts";
import { type Chat, type ChatOptions, startChat } from "../../chat/mod.ts";

/** Milliseconds after which a frame that was waited for counts as missing. */
const PATIENCE = 15_000;

/** A promise that fails after a while, with what was waited for. */
export async function soon<T>(wanted: Promise<T>, what: string, ms = PATIENCE): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited in vain for ${what}`)), ms);
  });
  try {
    return await Promise.race([wanted, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Subprotocols, with headers if there are to be some. */
type Protocols = string | string[] | { protocols: string[]; headers: Record<string, string> };

/** Somebody with a WebSocket. */
export class Person {
  readonly socket: WebSocket;
  readonly #frames: string[] = [];
  /** Every frame that ever came. */
  readonly transcript: string[] = [];
  #wake = (): void => {};
  readonly closed: Promise<CloseEvent>;

  private constructor(socket: WebSocket) {
    this.socket = socket;
    socket.onmessage = ({ data }) => {
      // In chat.v1 many objects may share a frame, one a line.
      const frames = socket.protocol === "" ? [data] : data.split("\n");
      this.#frames.push(...frames);
      this.transcript.push(...frames);
      this.#wake();
    };
    this.closed = new Promise((resolve) => socket.onclose = resolve);
  }

  /** Connects, without saying anything. */
  static async connect(url: string, protocols: Protocols = []): Promise<Person> {
    // The types of browsers, which come in with the tests of the page, know of no headers.
    const socket = new WebSocket(url, protocols as string[]);
    const person = new Person(socket);
    await soon(
      new Promise<void>((resolve, reject) => {
        socket.onopen = () => resolve();
        socket.onerror = (event) => reject(new Error((event as ErrorEvent).message));
      }),
      `a connection to ${url}`,
    );
    socket.onerror = null;
    return person;
  }

  /** Sends frames. */
  say(...frames: (string | Uint8Array<ArrayBuffer>)[]): void {
    for (const frame of frames) this.socket.send(frame);
  }

  /** How many frames have come and were not heard yet. */
  get waiting(): number {
    return this.#frames.length;
  }

  /** The next frame. */
  async next(): Promise<string> {
    while (this.#frames.length === 0) {
      await soon(new Promise<void>((resolve) => this.#wake = resolve), "a frame");
    }
    return this.#frames.shift()!;
  }

  /** The next frames are exactly these. */
  async hears(...frames: string[]): Promise<void> {
    for (const frame of frames) assertEquals(await this.next(), frame);
  }

  /** Asks for something, and gets exactly this. */
  async asks(line: string, ...frames: string[]): Promise<void> {
    this.say(line);
    await this.hears(...frames);
  }

  /**
   * Nothing came that was not heard yet: a question is answered at once. What others did must have
   * been seen by somebody else before.
   */
  async hearsNothingElse(): Promise<void> {
    this.say("/nick");
    const answer = await this.next();
    assertEquals(answer.slice(0, 17), "Current nickname:");
    assertEquals(this.#frames, []);
  }

  /** Hangs up. Resolves when the socket is closed. */
  async leave(): Promise<CloseEvent> {
    this.socket.close();
    return await soon(this.closed, "the end of a connection");
  }
}

/** A chat that runs in this process. */
export class House implements AsyncDisposable {
  readonly kv: Deno.Kv;
  readonly chat: Chat;
  readonly port: number;
  readonly url: string;
  readonly warnings: string[];
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly #people: Person[] = [];
  #ownsKv: boolean;

  private constructor(kv: Deno.Kv, chat: Chat, warnings: string[], ownsKv: boolean) {
    this.kv = kv;
    this.chat = chat;
    this.warnings = warnings;
    this.#ownsKv = ownsKv;
    this.#server = Deno.serve(
      { port: 0, hostname: "127.0.0.1", onListen() {} },
      (request, info) => chat.fetch(request, info),
    );
    this.port = this.#server.addr.port;
    this.url = `ws://127.0.0.1:${this.port}/`;
  }

  /** Opens a house; without a KV, on a fresh one in memory. */
  static async open(options: Partial<ChatOptions> = {}): Promise<House> {
    const kv = options.kv ?? await Deno.openKv(":memory:");
    const warnings: string[] = [];
    const log = { log: () => {}, warn: (message: string) => void warnings.push(message) };
    // Few rounds: tests are not where passwords are guessed.
    const chat = await startChat({ local: true, log, passwordRounds: 1000, ...options, kv });
    return new House(kv, chat, warnings, options.kv === undefined);
  }

  /** Somebody who has connected, and not said anything. */
  async connect(path = "", protocols: Protocols = []): Promise<Person> {
    const person = await Person.connect(this.url + path, protocols);
    this.#people.push(person);
    return person;
  }

  /** Somebody who has logged in, and joined a room if one is named. */
  async enter(nick: string, room?: string): Promise<Person> {
    const person = await this.connect();
    await person.asks(nick, `Using nickname: ${nick}\nType /help for list of commands.`);
    if (room !== undefined) await person.asks(`/join ${room}`, `Joined chat room "${room}"`);
    return person;
  }

  /** The keys of everything that belongs to connections: nothing, when all have gone. */
  async rows(): Promise<Deno.KvKey[]> {
    return await rowsOf(this.kv);
  }

  /** Everybody hangs up. */
  async leave(): Promise<void> {
    for (const { socket } of this.#people) if (socket.readyState <= 1) socket.close();
    await soon(Promise.all(this.#people.map(({ closed }) => closed)), "all connections to end");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.leave();
    await this.chat.close();
    await this.#server.shutdown();
    if (this.#ownsKv) this.kv.close();
  }
}

/** The keys in a KV that belong to connections and instances. */
export async function rowsOf(kv: Deno.Kv): Promise<Deno.KvKey[]> {
  const keys: Deno.KvKey[] = [];
  for (
    const first of [
      ...["row", "reverse_lookup", "nick", "room", "instance_row", "instance", "beat"],
      ...["resume", "taken"],
    ]
  ) {
    for await (const { key } of kv.list({ prefix: [first] })) keys.push(key);
  }
  return keys;
}

/** The bytes that history is counted with: of a stream, or in all. */
export async function counterOf(kv: Deno.Kv, ...stream: string[]): Promise<number> {
  const { value } = await kv.get<Deno.KvU64>(["history_bytes", ...stream]);
  return Number(BigInt.asIntN(64, value?.value ?? 0n));
}

/** What history a KV holds; asserts that rows, index rows and counters agree. */
export async function kept(kv: Deno.Kv): Promise<{ bytes: number; ids: string[] }> {
  const sums: Record<string, number> = {};
  const ids: string[] = [];
  let bytes = 0;
  for await (const { key, value } of kv.list<[number]>({ prefix: ["history_row"] })) {
    const [, kind, id, name] = key as string[];
    const stream = `${kind} ${name}`;
    sums[stream] = (sums[stream] ?? 0) + value[0];
    bytes += value[0];
    ids.push(id!);
    assert((await kv.get([kind!, name!, id!])).versionstamp !== null, `row ${id} is there`);
  }
  const counters: Record<string, number> = {};
  for await (const { key } of kv.list({ prefix: ["history_bytes"] })) {
    const [, kind, name] = key as string[];
    if (name !== undefined) counters[`${kind} ${name}`] = await counterOf(kv, kind!, name);
  }
  assertEquals(counters, sums, "the counters of streams");
  assertEquals(await counterOf(kv), bytes, "the counter of all");
  for (const kind of ["log", "people", "direct", "sent", "own"]) {
    for await (const { key } of kv.list({ prefix: [kind] })) {
      assert(ids.includes(String(key[2])), `row ${String(key[2])} has an index row`);
    }
  }
  return { bytes, ids: ids.sort() };
}

/** Waits until something that happens by itself has happened. */
export async function eventually(
  holds: () => boolean | Promise<boolean>,
  what: string,
  ms = PATIENCE,
): Promise<void> {
  const until = Date.now() + ms;
  while (!(await holds())) {
    if (Date.now() > until) throw new Error(`it never came that ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** What a feed needs, with a lease of its own on a KV, for tests of what stands around a feed. */
export async function feedParts(
  kv: Deno.Kv,
  instance: string,
  own: Pick<FeedParts, "deliver"> & Partial<FeedParts>,
): Promise<FeedParts> {
  const key = ["instance", instance];
  if ((await kv.get(key)).versionstamp === null) await kv.set(key, 1);
  return {
    kv,
    watcher: kv,
    shards: new Array(8).fill(kv),
    smallIsFast: false,
    mostChecks: MAX_LOCAL_CHECKS,
    feedRowMs: FEED_ROW_MS,
    delivered: () => 0,
    instance,
    lease: { key, versionstamp: (await kv.get(key)).versionstamp },
    clock: systemClock,
    instancesChanged: () => {},
    onLeaseLost: () => {},
    warn: (message) => {
      throw new Error(message);
    },
    ...own,
  };
}

/** How often a KV was used, and how much was asked of it. */
export interface KvUse {
  gets: number;
  lists: number;
  commits: number;
  mutations: number;
}

/**
 * A KV that counts. Before each commit, and each read, `before` is awaited: it may delay, or throw.
 */
export function countingKv(
  kv: Deno.Kv,
  before: (what: "commit" | "read") => Promise<void> | void = () => {},
): { kv: Deno.Kv; use: KvUse } {
  const use: KvUse = { gets: 0, lists: 0, commits: 0, mutations: 0 };
  const handler: ProxyHandler<Deno.Kv> = {
    get(target, name) {
      if (name === "atomic") return () => countingAtomic(target.atomic());
      if (name === "get" || name === "getMany") {
        const read = (target[name] as (...args: never[]) => Promise<unknown>).bind(target);
        return async (...args: never[]) => {
          use.gets++;
          await before("read");
          return await read(...args);
        };
      }
      if (name === "list") {
        return (...args: [never]) => {
          use.lists++;
          return target.list(...args);
        };
      }
      const value = Reflect.get(target, name);
      return typeof value === "function" ? value.bind(target) : value;
    },
  };
  function countingAtomic(atomic: Deno.AtomicOperation): Deno.AtomicOperation {
    let mutations = 0;
    const counting: Deno.AtomicOperation = new Proxy(atomic, {
      get(target, name) {
        if (name === "commit") {
          return async () => {
            use.commits++;
            use.mutations += mutations;
            await before("commit");
            return await target.commit();
          };
        }
        const method = Reflect.get(target, name) as (...args: unknown[]) => unknown;
        return (...args: unknown[]) => {
          mutations += name === "mutate" ? args.length : name === "check" ? 0 : 1;
          method.apply(target, args);
          return counting;
        };
      },
    });
    return counting;
  }
  return { kv: new Proxy(kv, handler), use };
}

/** Commits an atomic, which may be done more than once. */
export type Commit = () => Promise<Deno.KvCommitResult | Deno.KvCommitError>;

/** A KV whose commits go through a function, which may repeat them, delay them, or lose their answers. */
export function committingThrough(
  kv: Deno.Kv,
  through: (commit: Commit) => ReturnType<Commit>,
): Deno.Kv {
  return new Proxy(kv, {
    get(target, name) {
      if (name !== "atomic") {
        const value = Reflect.get(target, name);
        return typeof value === "function" ? value.bind(target) : value;
      }
      return () => {
        const atomic = target.atomic();
        const commit = atomic.commit.bind(atomic);
        atomic.commit = () => through(commit) as Promise<Deno.KvCommitResult>;
        return atomic;
      };
    },
  });
}

/** Repeats a commit, as KV Connect's client does when it does not hear the answer. */
export async function repeating(commit: Commit): ReturnType<Commit> {
  await commit();
  return await commit();
}

/** A test that needs a program: ignored with its reason where that is not installed, but not in CI. */
export function needs(program: string, name: string, fn: () => Promise<void>): void {
  const found = isInstalled(program);
  const ignore = !found && Deno.env.get("CI") === undefined;
  Deno.test({
    name: ignore ? `${name} (ignored: ${program} is not installed)` : name,
    ignore,
    fn,
  });
}

function isInstalled(program: string): boolean {
  const separator = Deno.build.os === "windows" ? ";" : ":";
  return (Deno.env.get("PATH") ?? "").split(separator).some((folder) => {
    try {
      return Deno.statSync(`${folder}/${program}`).isFile;
    } catch {
      return false;
    }
  });
}

/** A `denokv` server on a file of its own. */
export class DenoKv implements AsyncDisposable {
  static readonly TOKEN = "a-token-for-tests-only";
  readonly url: string;
  readonly #folder: string;
  readonly #port: number;
  #process: Deno.ChildProcess;

  private constructor(folder: string, port: number) {
    this.#folder = folder;
    this.#port = port;
    this.url = `http://127.0.0.1:${port}`;
    this.#process = this.#spawn();
  }

  static async start(): Promise<DenoKv> {
    using free = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = free.addr;
    free.close();
    const server = new DenoKv(await Deno.makeTempDir(), port);
    await server.#listening();
    return server;
  }

  /** The environment that a process needs to reach it. */
  get env(): Record<string, string> {
    return { DENO_KV_ACCESS_TOKEN: DenoKv.TOKEN };
  }

  signal(signal: Deno.Signal): void {
    this.#process.kill(signal);
  }

  /** Kills it, and starts it again on the same file after a while. */
  async restart(ms: number): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#process.status;
    await new Promise((resolve) => setTimeout(resolve, ms));
    this.#process = this.#spawn();
    await this.#listening();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#process.status;
    await Deno.remove(this.#folder, { recursive: true });
  }

  #spawn(): Deno.ChildProcess {
    const address = `127.0.0.1:${this.#port}`;
    return new Deno.Command("denokv", {
      args: [
        ...["--sqlite-path", `${this.#folder}/kv`, "serve"],
        ...["--addr", address, "--access-token", DenoKv.TOKEN],
      ],
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
  }

  async #listening(): Promise<void> {
    const connects = async () => {
      try {
        (await Deno.connect({ hostname: "127.0.0.1", port: this.#port })).close();
        return true;
      } catch {
        return false;
      }
    };
    await eventually(connects, "denokv listens");
  }
}

/** The project's folder. */
export const PROJECT = new URL("../../", import.meta.url);

/** The server as a process of its own. */
export class ServerProcess implements AsyncDisposable {
  readonly port: number;
  readonly url: string;
  readonly process: Deno.ChildProcess;
  /** What it printed when it was ready. */
  readonly said: string;
  readonly #rest: Promise<unknown>;
  #alive = true;

  private constructor(process: Deno.ChildProcess, said: string, rest: Promise<unknown>) {
    this.process = process;
    this.said = said;
    const port = this.port = Number(/:(\d+)\//.exec(said)![1]);
    this.url = `ws://127.0.0.1:${port}/`;
    this.#rest = rest;
    process.status.then(() => this.#alive = false);
  }

  /**
   * Starts it on a free port, and waits until it listens. `run` is what stands before the flags,
   * `program` what runs that.
   */
  static async start(
    flags: string[],
    run: string[] = ["run", "-A", "main.ts"],
    env: Record<string, string> = {},
    stderr: "inherit" | "null" = "inherit",
    program: string = Deno.execPath(),
  ): Promise<ServerProcess> {
    const process = new Deno.Command(program, {
      args: [...run, "--hostname", "127.0.0.1", "--port", "0", ...flags],
      cwd: PROJECT,
      env,
      stdin: "null",
      stdout: "piped",
      stderr,
    }).spawn();
    const lines = process.stdout.pipeThrough(new TextDecoderStream()).getReader();
    let said = "";
    while (!/:(\d+)\//.test(said)) {
      const { done, value } = await soon(lines.read(), "the server to listen", 60_000);
      if (done) throw new Error(`the server ended before it listened: ${said}`);
      said += value;
    }
    const rest = (async () => {
      while (!(await lines.read()).done);
    })();
    return new ServerProcess(process, said, rest);
  }

  /** Sends a signal, and waits for the end. */
  async stop(signal: Deno.Signal = "SIGTERM"): Promise<Deno.CommandStatus> {
    if (this.#alive) this.process.kill(signal);
    const status = await soon(this.process.status, "the server to end");
    await this.#rest;
    return status;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop("SIGKILL");
  }
}
