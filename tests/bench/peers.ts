/**
 * The servers that are measured ("peers"): how each is started on a free port, and when it is skipped.
 *
 * Packages from npm are pinned below, and installed in `.build/bench/npm/`. The programs of the peers
 * are in `peers/`. Parley is started with its own command line.
 */
import { PROJECT, ServerProcess } from "../support/processes.ts";
import { sleep, withDeadline } from "../support/wait.ts";
import { inspircdConfig } from "./inspircd.ts";
import { Skip } from "./job.ts";
import type { WireName } from "./wire.ts";

/** Exact versions, so that a run on another machine measures the same programs. */
export const PACKAGES = { ws: "8.23.0", "socket.io": "4.8.4", bun: "1.4.4" } as const;

/** The package with Bun's executable for this machine. */
const BUN_PACKAGE = `@oven/bun-${Deno.build.os}-${
  Deno.build.arch === "x86_64" ? "x64" : "aarch64"
}`;

/** A running server. */
export interface RunningServer extends AsyncDisposable {
  readonly port: number;
  readonly pid: number;
  /** Returns whether its process still runs. If it ended during a load, the result is not used. */
  isAlive(): boolean;
}

/** A server to measure. */
export interface Peer {
  readonly name: string;
  /** A short description for the report. */
  readonly what: string;
  readonly wire: WireName;
  /** Starts it. Throws a `Skip` if it cannot run on this machine. */
  start(): Promise<RunningServer>;
}

/** The peer to which all ratios are. */
export const BASE = "bare";

const pathOf = (path: string) => new URL(path, import.meta.url).pathname;
const NPM = new URL(".build/bench/npm/", PROJECT).pathname;

/** All peers: Parley first, then the others. */
export const PEERS: readonly Peer[] = [
  parley("text", "Parley, plain text, KV on a file", "text", "file"),
  parley("chat.v1", "Parley, chat.v1, KV on a file", "chat.v1", "file"),
  parley("text-memory", "Parley, plain text, KV in memory", "text", "memory"),
  parley("text-workers", "Parley, plain text, two workers on one file", "text", "workers"),
  {
    name: BASE,
    what: "a loop over sockets on Deno, nothing stored",
    wire: "plain",
    start: () => startLoop("bare"),
  },
  {
    name: "durable",
    what: "the same loop, which stores each message in Deno KV, in a file, before it sends it",
    wire: "plain",
    start: startDurableLoop,
  },
  {
    name: "batched",
    what: "the same loop with lines of JSON, all messages of a turn in one frame, nothing stored",
    wire: "plain",
    start: () => startLoop("batched"),
  },
  {
    name: "ws",
    what: `ws ${PACKAGES.ws} on Node, nothing stored`,
    wire: "plain",
    start: async () => startProgram(findProgram("node"), [await installPeer("ws.mjs")]),
  },
  {
    name: "socket.io",
    what: `socket.io ${PACKAGES["socket.io"]} on Node, nothing stored`,
    wire: "socket.io",
    start: async () => startProgram(findProgram("node"), [await installPeer("socket.io.mjs")]),
  },
  {
    name: "bun",
    what: `the publish function of Bun ${PACKAGES.bun}, nothing stored`,
    wire: "plain",
    start: async () => {
      const path = await installPeer("bun.mjs");
      return startProgram(bunPath(), [path]);
    },
  },
  {
    name: "inspircd",
    what: "InspIRCd (Debian) with its websocket module, nothing stored",
    wire: "irc",
    start: startInspircd,
  },
];

function startLoop(...args: string[]): Promise<RunningServer> {
  return startProgram(Deno.execPath(), [
    "run",
    "-A",
    "--unstable-kv",
    pathOf("peers/loop.ts"),
    ...args,
  ]);
}

async function startDurableLoop(): Promise<RunningServer> {
  const folder = await Deno.makeTempDir({ prefix: "parley-bench-" });
  const server = await startLoop("durable", `${folder}/kv`);
  return {
    ...server,
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await Deno.remove(folder, { recursive: true });
    },
  };
}

/** Starts the program that measures how much the generator can receive. */
export function startSink(deliveriesEach: number): Promise<RunningServer> {
  return startProgram(Deno.execPath(), [
    "run",
    "-A",
    pathOf("peers/sink.ts"),
    String(deliveriesEach),
  ]);
}

function parley(
  name: string,
  what: string,
  wire: WireName,
  kind: "file" | "memory" | "workers",
): Peer {
  return {
    name,
    what,
    wire,
    async start() {
      const folder = await Deno.makeTempDir({ prefix: "parley-bench-" });
      const flags = ["--kv", kind === "memory" ? ":memory:" : `${folder}/kv`];
      if (kind === "workers") flags.push("--workers", "2");
      // One of the loads needs 100.
      flags.push("--max-rooms", "200");
      // Rate limits would limit the load.
      const env = { CHAT_LIMITS: "off" };
      const server = await ServerProcess.start(flags, undefined, env, "null");
      return {
        port: server.port,
        pid: server.process.pid,
        isAlive: exitWatcher(server.process),
        async [Symbol.asyncDispose]() {
          await server.stop("SIGKILL");
          await Deno.remove(folder, { recursive: true });
        },
      };
    },
  };
}

/** Starts a program, and waits until it prints `listening PORT`. */
async function startProgram(command: string, args: string[]): Promise<RunningServer> {
  const child = new Deno.Command(command, { args, stdin: "null", stdout: "piped" }).spawn();
  const lines = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let said = "";
  while (!/listening \d+\n/.test(said)) {
    const { done, value } = await withDeadline(lines.read(), `${command} to listen`, 60_000);
    if (done) throw new Skip(`${command} ended before it listened: ${said}`);
    said += value;
  }
  return runningServer(child, Number(/listening (\d+)/.exec(said)![1]), () => lines.cancel());
}

function runningServer(
  child: Deno.ChildProcess,
  port: number,
  after: () => Promise<void>,
): RunningServer {
  return {
    port,
    pid: child.pid,
    isAlive: exitWatcher(child),
    async [Symbol.asyncDispose]() {
      try {
        child.kill("SIGKILL");
      } catch {
        // The process has ended already.
      }
      await child.status;
      await after();
    },
  };
}

function exitWatcher(child: Deno.ChildProcess): () => boolean {
  let alive = true;
  child.status.then(() => alive = false);
  return () => alive;
}

async function startInspircd(): Promise<RunningServer> {
  const command = findProgram("inspircd", ["/usr/sbin"]);
  const folder = await Deno.makeTempDir({ prefix: "parley-bench-irc-" });
  using free = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = free.addr;
  free.close();
  await Deno.writeTextFile(`${folder}/inspircd.conf`, inspircdConfig(port, folder));
  const child = new Deno.Command(command, {
    args: ["--nofork", "--runasroot", `--config=${folder}/inspircd.conf`],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  const server = runningServer(child, port, () => Deno.remove(folder, { recursive: true }));
  for (let tries = 0; tries < 100; tries++) {
    try {
      (await Deno.connect({ hostname: "127.0.0.1", port })).close();
      return server;
    } catch {
      await sleep(50);
    }
  }
  await server[Symbol.asyncDispose]();
  throw new Skip("inspircd does not listen: it needs the modules websocket and sha1");
}

/** Returns the path of a program. Throws a `Skip` if it is not installed. */
function findProgram(name: string, further: string[] = []): string {
  for (const folder of [...(Deno.env.get("PATH") ?? "").split(":"), ...further]) {
    try {
      if (Deno.statSync(`${folder}/${name}`).isFile) return `${folder}/${name}`;
    } catch {
      // It is not in this folder.
    }
  }
  throw new Skip(`${name} is not installed`);
}

/** Installs the packages once, and copies a peer's program beside them. Returns its path there. */
async function installPeer(file: string): Promise<string> {
  await Deno.mkdir(NPM, { recursive: true });
  const wanted = JSON.stringify({ private: true, dependencies: PACKAGES });
  const manifest = `${NPM}package.json`;
  const done = `${NPM}installed.json`;
  if (await Deno.readTextFile(done).catch(() => "") !== wanted) {
    await Deno.writeTextFile(manifest, wanted);
    // A configuration file here, so that the packages do not become the server's.
    await Deno.writeTextFile(`${NPM}deno.json`, '{"nodeModulesDir":"auto"}');
    const { success, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["install", "--quiet", "--config", `${NPM}deno.json`],
      cwd: NPM,
      stdout: "null",
      stderr: "piped",
    }).output();
    const why = new TextDecoder().decode(stderr).trim().split("\n").at(-1);
    if (!success) throw new Skip(`npm packages cannot be installed: ${why}`);
    await Deno.writeTextFile(done, wanted);
  }
  await Deno.copyFile(pathOf(`peers/${file}`), `${NPM}${file}`);
  return `${NPM}${file}`;
}

function bunPath(): string {
  const folder = `${BUN_PACKAGE.replace("/", "+")}@${PACKAGES.bun}`;
  const path = `${NPM}node_modules/.deno/${folder}/node_modules/${BUN_PACKAGE}/bin/bun`;
  try {
    Deno.statSync(path);
    return path;
  } catch {
    throw new Skip(`npm has no Bun for this machine (${BUN_PACKAGE})`);
  }
}
