/**
 * The program: flags, environment, KV, listening, signals. Nothing else knows `Deno.env` or
 * `Deno.exit`. What the chat is stands in `chat/`.
 */
import { parseArgs } from "@std/cli";
import config from "./deno.json" with { type: "json" };
import {
  type Chat,
  type KeepSettings,
  type LimitSettings,
  limitsFrom,
  MOST,
  startChat,
  USUALLY_RESERVED,
} from "./chat/mod.ts";

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
  --open-history    let everybody read the history of every room  [CHAT_OPEN_HISTORY]
  --grace TIME      for how long the place of somebody who dropped out is kept, or off
                                               [CHAT_GRACE, default 30s]
  --registered TIME for how long a registered nickname is kept whose owner does not come, or off
                                               [CHAT_REGISTERED, default 365d]
  --reserved NAMES  nicknames that nobody can take, with commas between them, besides the usual
                    ones; off: not even those  [CHAT_RESERVED]
  --workers N       instances that share the port, auto for one a core  [CHAT_WORKERS, default 1]
  --dev             listen on 127.0.0.1 only, unless told otherwise
  --help            show this
  --version         show the version

A flag goes before its environment variable.`;

/** Milliseconds that are left to end in peace. Deno Deploy kills after five seconds. */
const DRAIN_LIMIT = 4_500;

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
  readonly limits: LimitSettings;
  readonly keep: KeepSettings;
  /** Nicknames that nobody can take. */
  readonly reserved: readonly string[];
  readonly workers: number;
}

function readSettings(args: string[]): Settings | "help" | "version" {
  const flags = parseArgs(args, {
    string: [
      ...["port", "hostname", "kv", "max-nickname", "max-room", "max-message", "workers"],
      ...["history", "grace", "registered", "reserved"],
    ],
    boolean: ["dev", "help", "version", "open-history"],
    unknown: (arg: string) => {
      throw new StartError(`There is no "${arg}" here. Try --help.`, 2);
    },
  }) as Record<string, string | boolean | undefined>;
  if (flags.help) return "help";
  if (flags.version) return "version";
  const setting = (flag: string, variable: string): string | undefined => {
    const value = flags[flag] as string | undefined ?? (env(variable) || undefined);
    if (value === "") throw new StartError(`--${flag} needs a value. Try --help.`, 2);
    return value;
  };
  const count = (flag: string, variable: string, least: number, most: number) => {
    const value = setting(flag, variable);
    if (value === undefined) return undefined;
    const number = /^\d+$/.test(value) ? Number(value) : NaN;
    if (number >= least && number <= most) return number;
    throw new StartError(
      `--${flag} (or ${variable}) must be a whole number from ${least} to ${most}, not "${value}".`,
      2,
    );
  };
  const seconds = (flag: "history" | "grace" | "registered", variable: string) => {
    const value = setting(flag, variable);
    if (value === undefined) return undefined;
    const time = value === "off" ? 0 : secondsIn(value);
    if (time !== undefined && time <= MOST[flag]) return time;
    const most = flag === "grace" ? `${MOST.grace / 60}m` : `${MOST[flag] / 86_400}d`;
    throw new StartError(
      `--${flag} (or ${variable}) must be a time as 7d, 12h, 30m or 90s, at most ${most}, or off, not "${value}".`,
      2,
    );
  };
  const kv = setting("kv", "CHAT_KV");
  const workers = setting("workers", "CHAT_WORKERS") === "auto"
    ? navigator.hardwareConcurrency
    : count("workers", "CHAT_WORKERS", 1, 256) ?? 1;
  // Without a name each worker would have a KV of its own, and be a chat of its own.
  if (workers > 1 && (kv === undefined || kv === ":memory:")) {
    throw new StartError("--workers needs a KV that they can share: name a file with --kv.", 2);
  }
  return {
    port: count("port", "PORT", 0, 65535) ?? 8000,
    hostname: setting("hostname", "HOST") ?? (flags.dev ? "127.0.0.1" : "0.0.0.0"),
    kv,
    workers,
    keep: {
      history: seconds("history", "CHAT_HISTORY"),
      grace: seconds("grace", "CHAT_GRACE"),
      openHistory: flags["open-history"] === true || isOn("CHAT_OPEN_HISTORY"),
      registered: seconds("registered", "CHAT_REGISTERED"),
    },
    reserved: reservedFrom(setting("reserved", "CHAT_RESERVED")),
    limits: {
      nickname: count("max-nickname", "CHAT_MAX_NICKNAME", 1, MOST.nickname),
      room: count("max-room", "CHAT_MAX_ROOM", 1, MOST.room),
      message: count("max-message", "CHAT_MAX_MESSAGE", 1, MOST.message),
    },
  };
}

/** The nicknames in a list like `Boss, Acme`, and the usual ones; or none. */
function reservedFrom(list: string | undefined): readonly string[] {
  if (list === "off") return [];
  const names = list?.split(",").map((name) => name.trim()) ?? [];
  if (!names.includes("")) return [...USUALLY_RESERVED, ...names];
  throw new StartError(
    `--reserved (or CHAT_RESERVED) must be nicknames with commas between them, or off, not "${list}".`,
    2,
  );
}

/** The seconds in a time like `90s`, `30m`, `12h` or `7d`. */
function secondsIn(time: string): number | undefined {
  const [, many, unit] = /^(\d{1,9})([smhd])$/.exec(time) ?? [];
  const factor = { s: 1, m: 60, h: 3600, d: 86_400 }[unit ?? ""];
  return factor === undefined ? undefined : Number(many) * factor;
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
    const kv = await Deno.openKv(where);
    // A file that is no database, and a server that is not there, show at the first use.
    await kv.get(["bell"]);
    return kv;
  } catch (error) {
    const reason = (error as Error).message.split("\n")[0]!;
    throw new StartError(
      `KV ${where ?? ""} cannot be opened: ${reason}. ${kvAdvice(error, where)}`,
      1,
    );
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

function listen(
  { port, hostname }: Settings,
  { shared }: Place,
  chat: Promise<Chat>,
): Deno.HttpServer<Deno.NetAddr> {
  const options = { port, hostname, reusePort: shared, onListen() {} };
  try {
    return Deno.serve(options, async (request) => (await chat).fetch(request));
  } catch (error) {
    throw listenError(error, port, hostname);
  }
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
  const starting = Promise.withResolvers<Chat>();
  // Before KV is touched: who starts a second one by mistake learns it from the port.
  const server = listen(settings, place, starting.promise);
  const kv = await openKv(settings.kv);
  const remote = isRemote(settings.kv);
  const connect = remote ? () => Deno.openKv(settings.kv) : undefined;
  const { limits, keep, reserved } = settings;
  const chat = await startChat({
    ...{ kv, connect, local: !remote, sweepSilent: place.first, limits, reserved },
    ...keep,
  });
  starting.resolve(chat);
  return {
    port: server.addr.port,
    async end() {
      // From here on the door answers 503; shutting the server down first would close sockets as 1001.
      await chat.close();
      void server.shutdown();
      kv.close();
    },
  };
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
  const running = new Set<Running>();
  let ending = false;
  const keep = async (settings: Settings, first: boolean): Promise<Running> => {
    const worker = await startWorker(settings, { shared: true, first }, () => {
      running.delete(worker);
      if (ending) return;
      console.error("A worker died; another one takes its place.");
      setTimeout(() => keep(settings, false).catch((error) => console.error(error.message)), 1000);
    });
    running.add(worker);
    return worker;
  };
  // The workers would share the port with anybody: somebody else on it must be found out before.
  try {
    Deno.listen({ port, hostname }).close();
  } catch (error) {
    throw listenError(error, port, hostname);
  }
  const first = await keep(settings, true);
  const others = Array.from(
    { length: workers - 1 },
    () => keep({ ...settings, port: first.port }, false),
  );
  await Promise.all(others);
  return {
    port: first.port,
    async end() {
      ending = true;
      await Promise.all([...running].map((worker) => worker.end()));
    },
  };
}

/** Resolves when the worker listens. `died` is called if it ends without having been told to. */
function startWorker(start: Settings, place: Place, died: () => void): Promise<Running> {
  const worker = new Worker(import.meta.url, { type: "module" });
  const ended = Promise.withResolvers<void>();
  return new Promise((resolve, reject) => {
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
      if (ready) died();
      else reject(new StartError(`A worker did not start: ${event.message}`, 1));
    };
    worker.postMessage({ start, place } satisfies Tell);
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
  const host = shownHost(settings.hostname);
  console.log(
    `Parley listens on http://${host}:${running.port}/ — try: websocat ws://${host}:${running.port}/`,
  );
  let ending = false;
  const end = async () => {
    if (ending) Deno.exit(130);
    ending = true;
    setTimeout(() => {
      console.error("Not everything could be written before the end: it will be swept.");
      Deno.exit(1);
    }, DRAIN_LIMIT);
    await running.end();
    Deno.exit(0);
  };
  for (const signal of ["SIGINT", Deno.build.os === "windows" ? "SIGBREAK" : "SIGTERM"] as const) {
    Deno.addSignalListener(signal, () => void end());
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
    limitsFrom(settings.limits);
    await run(settings);
  } catch (error) {
    if (!(error instanceof StartError)) throw error;
    console.error(error.message);
    Deno.exit(error.code);
  }
}

const isWorker = "DedicatedWorkerGlobalScope" in globalThis;
if (import.meta.main || isWorker) {
  // One connection's fault, should there be one, must not end the others'.
  globalThis.addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    console.error("A fault of the program:", event.reason);
  });
  if (isWorker) work();
  else await main();
}
