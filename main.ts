/**
 * The program: flags, environment, KV, listening, signals. Nothing else knows `Deno.env` or
 * `Deno.exit`. What the chat is stands in `chat/`.
 */
import { parseArgs } from "@std/cli";
import config from "./deno.json" with { type: "json" };
import { type Chat, type LimitSettings, limitsFrom, MOST, startChat } from "./chat/mod.ts";

const USAGE = `Parley ${config.version}, a chat server.

Usage: deno task start [flags]

  --port N          port to listen on, 0 for any that is free  [PORT, default 8000]
  --hostname NAME   address to listen on           [HOST, default all; with --dev 127.0.0.1]
  --kv WHERE        a file, :memory: or the http(s) address of a KV Connect server
                                               [CHAT_KV, default what the platform has]
  --max-nickname N  longest nickname, in characters, to ${MOST.nickname}    [CHAT_MAX_NICKNAME, default 32]
  --max-room N      longest room name, in characters, to ${MOST.room}       [CHAT_MAX_ROOM, default 64]
  --max-message N   longest message, in bytes, to ${MOST.message}    [CHAT_MAX_MESSAGE, default 16384]
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
}

function readSettings(args: string[]): Settings | "help" | "version" {
  const flags = parseArgs(args, {
    string: ["port", "hostname", "kv", "max-nickname", "max-room", "max-message"],
    boolean: ["dev", "help", "version"],
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
  return {
    port: count("port", "PORT", 0, 65535) ?? 8000,
    hostname: setting("hostname", "HOST") ?? (flags.dev ? "127.0.0.1" : "0.0.0.0"),
    kv: setting("kv", "CHAT_KV"),
    limits: {
      nickname: count("max-nickname", "CHAT_MAX_NICKNAME", 1, MOST.nickname),
      room: count("max-room", "CHAT_MAX_ROOM", 1, MOST.room),
      message: count("max-message", "CHAT_MAX_MESSAGE", 1, MOST.message),
    },
  };
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

function listen(settings: Settings, chat: Promise<Chat>): Deno.HttpServer<Deno.NetAddr> {
  const { port, hostname } = settings;
  const options = { port, hostname, onListen() {} };
  try {
    return Deno.serve(options, async (request) => (await chat).fetch(request));
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse) {
      throw new StartError(
        `Port ${port} is taken. Stop what uses it, or choose another one with --port.`,
        1,
      );
    }
    const reason = (error as Error).message.split("\n")[0];
    throw new StartError(
      `Cannot listen on ${hostname}, port ${port}: ${reason}. See --hostname and --port.`,
      1,
    );
  }
}

async function run(settings: Settings): Promise<void> {
  const starting = Promise.withResolvers<Chat>();
  // Before KV is touched: who starts a second one by mistake learns it from the port.
  const server = listen(settings, starting.promise);
  const kv = await openKv(settings.kv);
  const remote = isRemote(settings.kv);
  const bells = remote ? await openKv(settings.kv) : kv;
  const chat = await startChat({ kv, bells, local: !remote, limits: settings.limits });
  starting.resolve(chat);
  const { hostname, port } = server.addr;
  const host = hostname === "0.0.0.0"
    ? "localhost"
    : hostname.includes(":")
    ? `[${hostname}]`
    : hostname;
  console.log(`Parley listens on http://${host}:${port}/ — try: websocat ws://${host}:${port}/`);

  let ending = false;
  const end = async () => {
    if (ending) Deno.exit(130);
    ending = true;
    const late = setTimeout(() => {
      console.error("Not everything could be written before the end: others will sweep it.");
      Deno.exit(1);
    }, DRAIN_LIMIT);
    // From here on the door answers 503; shutting the server down first would close sockets as 1001.
    await chat.close();
    void server.shutdown();
    clearTimeout(late);
    kv.close();
    Deno.exit(0);
  };
  for (const signal of ["SIGINT", Deno.build.os === "windows" ? "SIGBREAK" : "SIGTERM"] as const) {
    Deno.addSignalListener(signal, () => void end());
  }
}

if (import.meta.main) {
  // One connection's fault, should there be one, must not end the others'.
  globalThis.addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    console.error("A fault of the program:", event.reason);
  });
  try {
    const settings = readSettings(Deno.args);
    if (settings === "help") console.log(USAGE);
    else if (settings === "version") console.log(config.version);
    else {
      limitsFrom(settings.limits);
      await run(settings);
    }
  } catch (error) {
    if (!(error instanceof StartError)) throw error;
    console.error(error.message);
    Deno.exit(error.code);
  }
}
