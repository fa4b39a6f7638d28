/**
 * The program: flags, environment, KV, listening, signals. Nothing else knows `Deno.env` or
 * `Deno.exit`. What the chat is stands in `chat/`.
 */
import { parseArgs } from "@std/cli";
import config from "./deno.json" with { type: "json" };
import {
  Access,
  Addresses,
  type Chat,
  type ChatOptions,
  LEAST,
  MOST,
  rateLimitsFrom,
  startChat,
  USUALLY_RESERVED,
} from "./chat/mod.ts";
import { systemClock } from "./chat/base/clock.ts";
import { quietLog } from "./chat/base/log.ts";
import { Pool } from "./chat/program/pool.ts";
import { bytesFrom, floodFrom, listFrom, secondsFrom } from "./chat/program/settings.ts";

const USAGE = `Parley ${config.version}, a chat server.

Usage: deno task start [flags]

  --port N          port to listen on, 0 for any that is free  [PORT, default 8000]
  --hostname NAME   address to listen on           [HOST, default all; with --dev 127.0.0.1]
  --kv WHERE        a file, :memory: or the http(s) address of a KV Connect server
                                               [CHAT_KV, default what the platform has]
  --max-nickname N  longest nickname, in characters, to ${MOST.nickname}    [CHAT_MAX_NICKNAME, default 32]
  --max-room N      longest room name, in characters, to ${MOST.room}       [CHAT_MAX_ROOM, default 64]
  --max-message N   longest message, in bytes, to ${MOST.message}    [CHAT_MAX_MESSAGE, default 16384]
  --history TIME    for how long what is said is kept, as 7d, 12h, 30m, 90s, or off
                                               [CHAT_HISTORY, default 7d]
  --max-history SIZE     bytes that it may take in KV, as 512M or 2G, or off: the oldest goes first
                                               [CHAT_MAX_HISTORY, default 1G]
  --open-history    let everybody read the history of every room  [CHAT_OPEN_HISTORY]
  --grace TIME      for how long the place of somebody who dropped out is kept, or off
                                               [CHAT_GRACE, default 30s]
  --registered TIME for how long a registered nickname is kept whose owner does not come, or off
                                               [CHAT_REGISTERED, default 365d]
  --reserved NAMES  nicknames that nobody can take, with commas between them, besides the usual
                    ones; off: not even those  [CHAT_RESERVED]
  --limits WHAT     what may be done how often: off, or as messages=30/15s,joins=off; see the
                    README                           [CHAT_LIMITS, default on]
  --max-connections N    connections of an instance  [CHAT_MAX_CONNECTIONS, default 10000]
  --max-per-address N    and from one address        [CHAT_MAX_PER_ADDRESS, default 100]
  --max-memory SIZE memory of the process above which connections are closed, as 512M, 2G, or off
                                               [CHAT_MAX_MEMORY, default 512M a worker]
  --max-unread N    bytes that may wait for somebody who does not read
                                               [CHAT_MAX_UNREAD, default 1048576]
  --token TOKEN     access token that whoever comes in must know      [CHAT_TOKEN]
  --origin ORIGIN   site whose pages may connect, too, like https://chat.example, or *; may be
                    repeated                         [CHAT_ORIGIN, with commas]
  --trust-proxy [NETWORKS]  proxies that are believed where somebody comes from: addresses, like
                    10.0.0.0/8, or private           [CHAT_TRUST_PROXY, alone: private]
  --cert FILE       certificate for TLS, as PEM      [CHAT_CERT]
  --key FILE        and its key                      [CHAT_KEY]
  --workers N       instances that share the port, auto for one a core  [CHAT_WORKERS, default 1]
  --dev             listen on 127.0.0.1 only, unless told otherwise
  --help            show this
  --version         show the version

A flag goes before its environment variable.`;

/** Milliseconds that are left to end in peace. Deno Deploy kills after five seconds. */
const DRAIN_LIMIT = 4_500;

/** Milliseconds within which signals are one and the same. */
const SAME_SIGNAL_MS = 500;

/**
 * Milliseconds after which a SIGTERM must have been a real one. `deno run --watch` pretends that
 * there was one when a file changes, and takes away what still runs after 500 ms (Deno 2.9).
 */
const RELOAD_MS = 1_500;

/** Milliseconds in which storage must answer when it is opened. */
const OPEN_LIMIT_MS = 10_000;

/** Milliseconds in which an instance must have started, what dead ones left behind included. */
const START_LIMIT_MS = 60_000;

/** Milliseconds until the port is listened on again, should that have failed. */
const LISTEN_PAUSE = 1_000;

/** A fault of whoever started the program (2) or of what it needs (1), in one line. */
class StartError extends Error {
  constructor(message: string, readonly code: 1 | 2) {
    super(message);
  }
}

interface Settings {
  readonly port: number;
  readonly hostname: string;
  /** `undefined`: the platform's own. */
  readonly kv: string | undefined;
  /** As the chat takes them. All can be told to a worker. */
  readonly chat: Pick<
    ChatOptions,
    | "limits"
    | "flood"
    | "crowd"
    | "maxMemoryBytes"
    | "access"
    | "trustProxy"
    | "history"
    | "maxHistory"
    | "openHistory"
    | "grace"
    | "registered"
    | "reserved"
  >;
  readonly tls: { readonly cert: string; readonly key: string } | undefined;
  readonly workers: number;
  /** Whether it is run while somebody works on it: perhaps by `deno run --watch`. */
  readonly dev: boolean;
}

/** Flags that have a value, and their variables. */
const VARIABLES = {
  port: "PORT",
  hostname: "HOST",
  kv: "CHAT_KV",
  "max-nickname": "CHAT_MAX_NICKNAME",
  "max-room": "CHAT_MAX_ROOM",
  "max-message": "CHAT_MAX_MESSAGE",
  history: "CHAT_HISTORY",
  "max-history": "CHAT_MAX_HISTORY",
  grace: "CHAT_GRACE",
  registered: "CHAT_REGISTERED",
  reserved: "CHAT_RESERVED",
  limits: "CHAT_LIMITS",
  "max-connections": "CHAT_MAX_CONNECTIONS",
  "max-per-address": "CHAT_MAX_PER_ADDRESS",
  "max-memory": "CHAT_MAX_MEMORY",
  "max-unread": "CHAT_MAX_UNREAD",
  token: "CHAT_TOKEN",
  origin: "CHAT_ORIGIN",
  "trust-proxy": "CHAT_TRUST_PROXY",
  cert: "CHAT_CERT",
  key: "CHAT_KEY",
  workers: "CHAT_WORKERS",
} as const;

type Flag = keyof typeof VARIABLES;

/** What was set, by flags and by variables. */
class Given {
  readonly #flags: Readonly<Record<string, string | boolean | string[] | undefined>>;

  constructor(args: string[]) {
    this.#flags = parseArgs(args, {
      string: Object.keys(VARIABLES),
      collect: ["origin"],
      boolean: ["dev", "help", "version", "open-history"],
      unknown: (arg: string) => {
        throw new StartError(`There is no "${arg}" here. Try --help.`, 2);
      },
    }) as Record<string, string | boolean | string[] | undefined>;
  }

  has(flag: "dev" | "help" | "version" | "open-history"): boolean {
    return this.#flags[flag] === true;
  }

  /** What was given; `alone` is what the flag means without a value. */
  value(flag: Flag, alone = ""): string | undefined {
    const given = this.#flags[flag];
    const value = Array.isArray(given) ? given.join(",") : given as string | undefined;
    const isThere = Array.isArray(given) ? given.length > 0 : value !== undefined;
    const said = isThere ? value || alone : env(VARIABLES[flag]) || undefined;
    if (said === "") throw new StartError(`--${flag} needs a value. Try --help.`, 2);
    return said;
  }

  count(flag: Flag, least: number, most: number): number | undefined {
    const value = this.value(flag);
    if (value === undefined) return undefined;
    const number = /^\d+$/.test(value) ? Number(value) : NaN;
    if (number >= least && number <= most) return number;
    throw new StartError(
      `${named(flag)} must be a whole number from ${least} to ${most}, not "${value}".`,
      2,
    );
  }

  /** `undefined`: as much as there is. Each worker has a heap of its own. */
  memory(workers: number): number | undefined {
    const value = this.value("max-memory") ?? `${512 * workers}M`;
    if (value === "off") return undefined;
    const bytes = bytesFrom(value);
    if (bytes !== undefined && bytes >= LEAST.memoryBytes) return bytes;
    const least = `${LEAST.memoryBytes / 1024 / 1024}M`;
    throw new StartError(
      `${
        named("max-memory")
      } must be a size as 512M or 2G, at least ${least}, or off, not "${value}".`,
      2,
    );
  }

  bytes(flag: Flag, least: number, most: number): number | undefined {
    const value = this.value(flag);
    if (value === undefined) return undefined;
    if (value === "off") return Infinity;
    const bytes = bytesFrom(value);
    if (bytes !== undefined && bytes >= least && bytes <= most) return bytes;
    throw new StartError(
      `${named(flag)} must be a size as 512M or 2G, at least ${
        least / 1024 / 1024
      }M, or off, not "${value}".`,
      2,
    );
  }

  seconds(flag: "history" | "grace" | "registered"): number | undefined {
    const value = this.value(flag);
    if (value === undefined) return undefined;
    const time = value === "off" ? 0 : secondsFrom(value);
    if (time !== undefined && time <= MOST[flag]) return time;
    const most = flag === "grace" ? `${MOST.grace / 60}m` : `${MOST[flag] / 86_400}d`;
    throw new StartError(
      `${
        named(flag)
      } must be a time as 7d, 12h, 30m or 90s, at most ${most}, or off, not "${value}".`,
      2,
    );
  }
}

function named(flag: Flag): string {
  return `--${flag} (or ${VARIABLES[flag]})`;
}

/** What is made of a setting, or one line on what is wrong with it. */
function made<T>(flag: Flag, make: () => T): T {
  try {
    return make();
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new StartError(`${named(flag)}: ${error.message}.`, 2);
  }
}

function readSettings(args: string[]): Settings | "help" | "version" {
  const given = new Given(args);
  if (given.has("help")) return "help";
  if (given.has("version")) return "version";
  const kv = given.value("kv");
  const workers = given.value("workers") === "auto"
    ? navigator.hardwareConcurrency
    : given.count("workers", 1, 256) ?? 1;
  // Without a name each worker would have a KV of its own, and be a chat of its own.
  if (workers > 1 && (kv === undefined || kv === ":memory:")) {
    throw new StartError("--workers needs a KV that they can share: name a file with --kv.", 2);
  }
  return {
    port: given.count("port", 0, 65535) ?? 8000,
    hostname: given.value("hostname") ?? (given.has("dev") ? "127.0.0.1" : "0.0.0.0"),
    kv,
    workers,
    dev: given.has("dev"),
    tls: readTls(given.value("cert"), given.value("key")),
    chat: {
      history: given.seconds("history"),
      maxHistory: given.bytes("max-history", LEAST.maxHistory, MOST.maxHistory),
      grace: given.seconds("grace"),
      openHistory: given.has("open-history") || isOn("CHAT_OPEN_HISTORY"),
      registered: given.seconds("registered"),
      reserved: reservedFrom(given.value("reserved")),
      limits: {
        nickname: given.count("max-nickname", 1, MOST.nickname),
        room: given.count("max-room", 1, MOST.room),
        message: given.count("max-message", 1, MOST.message),
        unread: given.count("max-unread", LEAST.unread, MOST.unread),
      },
      crowd: {
        connections: given.count("max-connections", 1, MOST.connections),
        perAddress: given.count("max-per-address", 1, MOST.perAddress),
      },
      maxMemoryBytes: given.memory(workers),
      ...readDoor(given),
    },
  };
}

/** The nicknames in a list like `Boss, Acme`, and the usual ones; or none. */
function reservedFrom(list: string | undefined): readonly string[] {
  if (list === "off") return [];
  const names = list?.split(",").map((name) => name.trim()) ?? [];
  if (!names.includes("")) return [...USUALLY_RESERVED, ...names];
  throw new StartError(
    `${named("reserved")} must be nicknames with commas between them, or off, not "${list}".`,
    2,
  );
}

function readDoor(given: Given): Pick<ChatOptions, "flood" | "access" | "trustProxy"> {
  const flood = made("limits", () => {
    const settings = floodFrom(given.value("limits") ?? "on");
    rateLimitsFrom(settings);
    return settings;
  });
  const said = given.value("trust-proxy", "private") ?? "off";
  const trustProxy = /^(1|true|yes|on)$/i.test(said)
    ? ["private"]
    : /^(0|false|no|off)$/i.test(said)
    ? []
    : listFrom(said);
  made("trust-proxy", () => new Addresses(trustProxy));
  const origins = listFrom(given.value("origin") ?? "");
  made("origin", () => new Access({ origins }));
  const token = given.value("token");
  made("token", () => new Access({ token }));
  const hostname = given.value("hostname");
  // On Deno Deploy every request comes through its proxies, and the name is the app's own.
  const hosts = env("DENO_DEPLOYMENT_ID") === undefined ? [hostname ?? []].flat() : "any";
  return { flood, trustProxy, access: { origins, hosts, token } };
}

function readTls(cert: string | undefined, key: string | undefined): Settings["tls"] {
  if (cert === undefined && key === undefined) return undefined;
  if (cert === undefined || key === undefined) {
    throw new StartError("TLS needs both --cert and --key.", 2);
  }
  const read = (flag: Flag, file: string) => {
    try {
      return Deno.readTextFileSync(file);
    } catch (error) {
      const reason = (error as Error).message.split("\n")[0]!;
      throw new StartError(`${named(flag)} cannot be read: ${reason}.`, 1);
    }
  };
  return { cert: read("cert", cert), key: read("key", key) };
}

/** Whether a variable says yes. */
function isOn(variable: string): boolean {
  const value = env(variable) ?? "";
  if (/^(1|true|yes|on)$/i.test(value)) return true;
  if (/^(0|false|no|off|)$/i.test(value)) return false;
  throw new StartError(`${variable} must be 1 or 0, not "${value}".`, 2);
}

/** A variable that may not be read counts as not set: `deno run -N main.ts` is enough to start. */
function env(name: string): string | undefined {
  const { state } = Deno.permissions.querySync({ name: "env", variable: name });
  return state === "granted" ? Deno.env.get(name) : undefined;
}

async function openKv(where: string | undefined): Promise<Deno.Kv> {
  if (typeof Deno.openKv !== "function") {
    throw new StartError("Deno KV is not there: run with --unstable-kv, or `deno task start`.", 1);
  }
  try {
    makePrivate(where);
    return await within(
      OPEN_LIMIT_MS,
      (async () => {
        const kv = await Deno.openKv(where);
        // A file that is no database, and a server that is not there, show at the first use.
        await kv.get(["bell"]);
        return kv;
      })(),
    );
  } catch (error) {
    const reason = (error as Error).message.split("\n")[0]!;
    throw new StartError(
      `KV ${where ?? ""} cannot be opened: ${reason}. ${kvAdvice(error, where)}`,
      1,
    );
  }
}

/**
 * Makes the file of a KV that is not there yet so that only this user can read it: it holds what
 * people say. SQLite gives its other files (-wal, -shm) the same mode.
 */
function makePrivate(where: string | undefined): void {
  if (where === undefined || where === ":memory:" || isRemote(where)) return;
  try {
    Deno.openSync(where, { createNew: true, write: true, mode: 0o600 }).close();
  } catch {
    // It is there, or cannot be made: opening it says why.
  }
}

/**
 * Returns what something resolves to, if that is in time.
 *
 * @throws {Error} when it is not. The work may still go on.
 */
async function within<T>(ms: number, work: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => late.reject(new Error(`no answer for ${ms / 1000} seconds`)),
    ms,
  );
  try {
    return await Promise.race([work, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

function kvAdvice(error: unknown, where: string | undefined): string {
  if (error instanceof Deno.errors.NotCapable) {
    return "Run with --allow-read --allow-write --allow-net --allow-env, or `deno task start`.";
  }
  return isRemote(where)
    ? "Look at its address, and at the token in DENO_KV_ACCESS_TOKEN."
    : "Name a file in a folder that exists, or --kv :memory: to keep nothing.";
}

function isRemote(kv: string | undefined): boolean {
  return kv === undefined ? env("DENO_DEPLOYMENT_ID") !== undefined : /^https?:/i.test(kv);
}

/** How an instance is one of several in this process. */
interface Place {
  /** Whether others listen on the same port. */
  readonly shared: boolean;
  /** Whether it is the first: only that one can know that whoever is silent must be dead. */
  readonly first: boolean;
}

type Server = Deno.HttpServer<Deno.NetAddr>;

/** What answers requests; without a chat as long as that starts. */
interface Front {
  chat: Chat | undefined;
}

/** The answer to requests that come too early. */
function starting(): Response {
  return new Response("The server is starting. Please try again in a moment.\n", {
    status: 503,
    headers: { "content-type": "text/plain; charset=utf-8", "retry-after": "1" },
  });
}

function listen(
  { port, hostname, tls }: Settings,
  { shared }: Place,
  front: Front,
): Server {
  const options = { port, hostname, reusePort: shared, onListen() {}, ...tls };
  try {
    return Deno.serve(
      options,
      (request, info) => front.chat?.fetch(request, info) ?? starting(),
    );
  } catch (error) {
    if (tls !== undefined && isAboutTls(error as Error)) {
      const reason = (error as Error).message.split("\n")[0];
      throw new StartError(`--cert and --key are no certificate with its key: ${reason}.`, 1);
    }
    throw listenError(error, port, hostname);
  }
}

function isAboutTls({ name, message }: Error): boolean {
  return name === "InvalidData" || name === "TypeError" || /KeyMismatch|certificate/.test(message);
}

/**
 * Listens again whenever that fails by itself: `Deno.serve` gives up for good when the system has no
 * more files to open, so that the first who opens enough connections would end the chat. Returns what
 * stops it.
 */
function keepListening(
  server: Server,
  settings: Settings,
  place: Place,
  front: Front,
): () => void {
  let stopped = false;
  const { warn } = quietLog(console, systemClock);
  const again = () => {
    if (stopped) return;
    try {
      watch(server = listen(settings, place, front));
    } catch {
      setTimeout(again, LISTEN_PAUSE);
    }
  };
  const watch = ({ finished }: Server) => {
    finished.catch((error) => {
      if (stopped) return;
      warn(`Nobody new can come in for a moment: ${(error as Error).message}.`);
      setTimeout(again, LISTEN_PAUSE);
    });
  };
  watch(server);
  return () => {
    stopped = true;
    void server.shutdown().catch(() => {});
  };
}

function listenError(error: unknown, port: number, hostname: string): StartError {
  if (error instanceof Deno.errors.AddrInUse) {
    const advice = "Stop what uses it, or choose another one with --port.";
    return new StartError(`Port ${port} is taken. ${advice}`, 1);
  }
  const reason = (error as Error).message.split("\n")[0];
  const what = `Cannot listen on ${hostname}, port ${port}: ${reason}.`;
  return new StartError(`${what} See --hostname and --port.`, 1);
}

/** An instance, or several, that run. */
interface Running {
  readonly port: number;
  end(): Promise<void>;
}

async function runInstance(settings: Settings, place: Place): Promise<Running> {
  const front: Front = { chat: undefined };
  // Before KV is touched: who starts a second one by mistake learns it from the port.
  const server = listen(settings, place, front);
  const { port } = server.addr;
  const stopListening = keepListening(server, { ...settings, port }, place, front);
  const { kv, chat } = await startChatOn(settings, place).catch((error) => {
    stopListening();
    throw error;
  });
  front.chat = chat;
  return {
    port,
    async end() {
      // From here on the door answers 503; shutting the server down first would close sockets as 1001.
      await chat.close();
      stopListening();
      kv.close();
    },
  };
}

async function startChatOn(
  settings: Settings,
  place: Place,
): Promise<{ kv: Deno.Kv; chat: Chat }> {
  const kv = await openKv(settings.kv);
  const remote = isRemote(settings.kv);
  const options = {
    kv,
    connect: remote ? () => Deno.openKv(settings.kv) : undefined,
    local: !remote,
    sweepSilent: place.first,
    ...settings.chat,
  };
  try {
    return { kv, chat: await within(START_LIMIT_MS, startChat(options)) };
  } catch (error) {
    const reason = (error as Error).message.split("\n")[0];
    const advice = kvAdvice(error, settings.kv);
    throw new StartError(`Cannot start the chat on its KV: ${reason}. ${advice}`, 1);
  }
}

/** What a worker and the main thread tell each other. */
type Tell =
  | { readonly start: Settings; readonly place: Place }
  | { readonly end: true }
  | { readonly ready: number }
  | { readonly fault: string; readonly code: 1 | 2 }
  | { readonly ended: true };

/** Several instances in this process, each in a worker, on one port. */
async function runWorkers(settings: Settings): Promise<Running> {
  const { port, hostname, workers } = settings;
  const pool = new Pool<Running>({
    clock: systemClock,
    start: (first, died) => {
      // Port 0 is another one each time: all listen where the first one does.
      const start = { ...settings, port: first?.port ?? port };
      return startWorker(start, { shared: true, first: first === undefined }, died);
    },
    warn: (message) => console.error(message),
  });
  // The workers would share the port with anybody: somebody else on it must be found out before.
  try {
    Deno.listen({ port, hostname }).close();
  } catch (error) {
    throw listenError(error, port, hostname);
  }
  const first = await pool.open(workers);
  return { port: first.port, end: () => pool.end() };
}

/**
 * Resolves when the worker has started. `died` is called if it ends after that without having been
 * told to. Nothing is left of a worker that cannot start.
 */
function startWorker(start: Settings, place: Place, died: () => void): Promise<Running> {
  const worker = new Worker(import.meta.url, { type: "module" });
  const ended = Promise.withResolvers<void>();
  const started = new Promise<Running>((resolve, reject) => {
    let ready = false;
    worker.onmessage = ({ data }: MessageEvent<Tell>) => {
      if ("ready" in data) {
        ready = true;
        resolve({
          port: data.ready,
          end() {
            worker.postMessage({ end: true } satisfies Tell);
            return ended.promise;
          },
        });
      } else if ("fault" in data) {
        if (ready) console.error(data.fault);
        reject(new StartError(data.fault, data.code));
        ended.resolve();
      } else if ("ended" in data) ended.resolve();
    };
    worker.onerror = (event) => {
      event.preventDefault();
      ended.resolve();
      if (ready) {
        ready = false;
        died();
      } else reject(new StartError(`A worker did not start: ${event.message}`, 1));
    };
    worker.postMessage({ start, place } satisfies Tell);
  });
  // Longer than what it takes the worker to say by itself what is wrong.
  return within(OPEN_LIMIT_MS + START_LIMIT_MS + 5_000, started).catch((error) => {
    worker.terminate();
    if (error instanceof StartError) throw error;
    throw new StartError(`A worker did not start: ${error.message}.`, 1);
  });
}

/** What runs in a worker. */
function work(): void {
  const scope = globalThis as unknown as {
    onmessage: (event: MessageEvent<Tell>) => void;
    postMessage(tell: Tell): void;
    close(): void;
  };
  let running: Running | undefined;
  scope.onmessage = async ({ data }) => {
    try {
      if ("start" in data) {
        running = await runInstance(data.start, data.place);
        scope.postMessage({ ready: running.port });
      } else {
        await running?.end();
        scope.postMessage({ ended: true });
        scope.close();
      }
    } catch (error) {
      const { message, code } = error as StartError;
      scope.postMessage({ fault: message, code: code ?? 1 });
    }
  };
}

async function run(settings: Settings): Promise<void> {
  const { workers } = settings;
  const running = workers > 1
    ? await runWorkers(settings)
    : await runInstance(settings, { shared: false, first: true });
  const host = `${shownHost(settings.hostname)}:${running.port}`;
  const s = settings.tls === undefined ? "" : "s";
  const token = settings.chat.access?.token === undefined
    ? ""
    : ' -H="Authorization: Bearer $CHAT_TOKEN"';
  console.log(`Parley listens on http${s}://${host}/ — try: websocat${token} ws${s}://${host}/`);
  endOnSignals(running, settings.dev);
}

/** Has SIGINT and SIGTERM end the program in peace, and a further one end it at once. */
function endOnSignals(running: Running, dev: boolean): void {
  let sinceMs: number | undefined;
  const end = async (leave: (code: number) => void, minMs: number) => {
    const nowMs = performance.now();
    if (sinceMs !== undefined) {
      // `deno run --watch` passes one Ctrl-C on two or three times, once as a SIGTERM.
      if (nowMs - sinceMs > SAME_SIGNAL_MS) leave(130);
      return;
    }
    sinceMs = nowMs;
    setTimeout(() => {
      console.error("Not everything could be written before the end: it will be swept.");
      leave(1);
    }, DRAIN_LIMIT);
    await Promise.all([
      running.end(),
      new Promise((resolve) => setTimeout(resolve, minMs)),
    ]);
    leave(0);
  };
  Deno.addSignalListener("SIGINT", () => void end(exit, 0));
  if (Deno.build.os === "windows") {
    Deno.addSignalListener("SIGBREAK", () => void end(exit, 0));
    return;
  }
  const terminated = () => void (dev ? end(terminate, RELOAD_MS) : end(exit, 0));
  Deno.addSignalListener("SIGTERM", terminated);

  /** Ends the process as a SIGTERM does that nobody listens to, because `exit` would not. */
  function terminate(code: number): void {
    Deno.removeSignalListener("SIGTERM", terminated);
    try {
      Deno.kill(Deno.pid, "SIGTERM");
    } catch {
      // Older versions of Deno do not let a program do that without --allow-run.
    }
    exit(code);
  }
}

/**
 * Ends the process, or only this run of it under `deno run --watch`. That ends itself after Ctrl-C,
 * but otherwise waits for a file to change.
 */
function exit(code: number): void {
  try {
    Deno.exit(code);
  } catch {
    // There it comes back, with an error.
  }
}

function shownHost(hostname: string): string {
  if (hostname === "0.0.0.0" || hostname === "::") return "localhost";
  return hostname.includes(":") ? `[${hostname}]` : hostname;
}

async function main(): Promise<void> {
  try {
    const settings = readSettings(Deno.args);
    if (settings === "help") return console.log(USAGE);
    if (settings === "version") return console.log(config.version);
    await run(settings);
  } catch (error) {
    if (!(error instanceof StartError)) throw error;
    console.error(error.message);
    Deno.exit(error.code);
  }
}

const isWorker = "DedicatedWorkerGlobalScope" in globalThis;
if (import.meta.main || isWorker) {
  const { warn } = quietLog(console, systemClock);
  // One connection's fault, should there be one, must not end the others'.
  globalThis.addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    const { reason } = event;
    warn(`A fault of the program: ${reason instanceof Error ? reason.message : String(reason)}`);
  });
  if (isWorker) work();
  else await main();
}
