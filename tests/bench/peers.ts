/**
 * Who is measured: how each is started on a free port, and why one cannot be here.
 *
 * Packages from npm are pinned below, and kept in `.build/bench/npm/`. What the peers do is in
 * `peers/`; ours is started as anybody starts it.
 */
import { PROJECT, ServerProcess, soon } from "../support/test_server.ts";
import { inspircdConfig } from "./inspircd.ts";
import { Skip } from "./job.ts";
import type { WireName } from "./wire.ts";

/** Exact versions: another run elsewhere measures the same. */
export const PACKAGES = { ws: "8.23.0", "socket.io": "4.8.4", bun: "1.4.4" } as const;

/** The package that holds Bun's executable for this machine. */
const BUN_PACKAGE = `@oven/bun-${Deno.build.os}-${
  Deno.build.arch === "x86_64" ? "x64" : "aarch64"
}`;

/** A server that runs. */
export interface Running extends AsyncDisposable {
  readonly port: number;
  readonly pid: number;
  /** Whether it still runs: what was measured on one that died counts for nothing. */
  alive(): boolean;
}

/** Somebody to measure. */
export interface Peer {
  readonly name: string;
  /** What it is, in a few words, for the table. */
  readonly what: string;
  readonly wire: WireName;
  /** Throws a `Skip` where it cannot run. */
  start(): Promise<Running>;
}

/** The peer that ratios are against. */
export const BASE = "bare";

const here = (path: string) => new URL(path, import.meta.url).pathname;
const NPM = new URL(".build/bench/npm/", PROJECT).pathname;

/** All of them; Parley first, then the others. */
export const PEERS: readonly Peer[] = [
  parley("text", "Parley, plain text, KV on a file", "text", "file"),
  parley("chat.v1", "Parley, chat.v1, KV on a file", "chat.v1", "file"),
  parley("text-memory", "Parley, plain text, KV in memory", "text", "memory"),
  parley("text-workers", "Parley, plain text, two workers on one file", "text", "workers"),
  {
    name: BASE,
    what: "a loop over sockets on Deno, nothing stored",
    wire: "plain",
    start: () => loop("bare"),
  },
  {
    name: "durable",
    what: "the same loop, which stores what was said in Deno KV, on a file, before it shows it",
    wire: "plain",
    start: durable,
  },
  {
    name: "batched",
    what: "the same loop in lines of JSON, all of a turn in one frame, nothing stored",
    wire: "plain",
    start: () => loop("batched"),
  },
  {
    name: "ws",
    what: `ws ${PACKAGES.ws} on Node, nothing stored`,
    wire: "plain",
    start: async () => program(needed("node"), [await withPackages("ws.mjs")]),
  },
  {
    name: "socket.io",
    what: `socket.io ${PACKAGES["socket.io"]} on Node, nothing stored`,
    wire: "socket.io",
    start: async () => program(needed("node"), [await withPackages("socket.io.mjs")]),
  },
  {
    name: "bun",
    what: `publish of Bun ${PACKAGES.bun}, nothing stored`,
    wire: "plain",
    start: async () => {
      const path = await withPackages("bun.mjs");
      return program(bunPath(), [path]);
    },
  },
  {
    name: "inspircd",
    what: "InspIRCd (Debian) with its websocket module, nothing stored",
    wire: "irc",
    start: inspircd,
  },
];

function loop(...args: string[]): Promise<Running> {
  return program(Deno.execPath(), ["run", "-A", "--unstable-kv", here("peers/loop.ts"), ...args]);
}

async function durable(): Promise<Running> {
  const folder = await Deno.makeTempDir({ prefix: "parley-bench-" });
  const server = await loop("durable", `${folder}/kv`);
  return {
    ...server,
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await Deno.remove(folder, { recursive: true });
    },
  };
}

/** Starts what the generator's ceiling is measured against. */
export function startSink(deliveriesEach: number): Promise<Running> {
  return program(Deno.execPath(), ["run", "-A", here("peers/sink.ts"), String(deliveriesEach)]);
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
      // What a person may do is limited; what one server can do is measured here.
      const env = { CHAT_LIMITS: "off" };
      const server = await ServerProcess.start(flags, undefined, env, "null");
      return {
        port: server.port,
        pid: server.process.pid,
        alive: watched(server.process),
        async [Symbol.asyncDispose]() {
          await server.stop("SIGKILL");
          await Deno.remove(folder, { recursive: true });
        },
      };
    },
  };
}

/** Starts a program that prints `listening PORT`. */
async function program(command: string, args: string[]): Promise<Running> {
  const child = new Deno.Command(command, { args, stdin: "null", stdout: "piped" }).spawn();
  const lines = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let said = "";
  while (!/listening \d+\n/.test(said)) {
    const { done, value } = await soon(lines.read(), `${command} to listen`, 60_000);
    if (done) throw new Skip(`${command} ended before it listened: ${said}`);
    said += value;
  }
  return running(child, Number(/listening (\d+)/.exec(said)![1]), () => lines.cancel());
}

function running(child: Deno.ChildProcess, port: number, after: () => Promise<void>): Running {
  return {
    port,
    pid: child.pid,
    alive: watched(child),
    async [Symbol.asyncDispose]() {
      try {
        child.kill("SIGKILL");
      } catch {
        // It has ended by itself; what it could not do shows in the results.
      }
      await child.status;
      await after();
    },
  };
}

function watched(child: Deno.ChildProcess): () => boolean {
  let alive = true;
  child.status.then(() => alive = false);
  return () => alive;
}

async function inspircd(): Promise<Running> {
  const command = needed("inspircd", ["/usr/sbin"]);
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
  const server = running(child, port, () => Deno.remove(folder, { recursive: true }));
  for (let tries = 0; tries < 100; tries++) {
    try {
      (await Deno.connect({ hostname: "127.0.0.1", port })).close();
      return server;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
  await server[Symbol.asyncDispose]();
  throw new Skip("inspircd does not listen; has it the modules websocket and sha1?");
}

/** The path of a program. */
function needed(name: string, further: string[] = []): string {
  for (const folder of [...(Deno.env.get("PATH") ?? "").split(":"), ...further]) {
    try {
      if (Deno.statSync(`${folder}/${name}`).isFile) return `${folder}/${name}`;
    } catch {
      // Not there.
    }
  }
  throw new Skip(`${name} is not installed`);
}

/** Installs the packages, once, and copies a peer's program beside them. Its path there. */
async function withPackages(file: string): Promise<string> {
  await Deno.mkdir(NPM, { recursive: true });
  const wanted = JSON.stringify({ private: true, dependencies: PACKAGES });
  const manifest = `${NPM}package.json`;
  const done = `${NPM}installed.json`;
  if (await Deno.readTextFile(done).catch(() => "") !== wanted) {
    await Deno.writeTextFile(manifest, wanted);
    // A configuration of its own: these packages are none of the server's.
    await Deno.writeTextFile(`${NPM}deno.json`, '{"nodeModulesDir":"auto"}');
    const { success, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["install", "--quiet", "--config", `${NPM}deno.json`],
      cwd: NPM,
      stdout: "null",
      stderr: "piped",
    }).output();
    const why = new TextDecoder().decode(stderr).trim().split("\n").at(-1);
    if (!success) throw new Skip(`npm packages cannot be had: ${why}`);
    await Deno.writeTextFile(done, wanted);
  }
  await Deno.copyFile(here(`peers/${file}`), `${NPM}${file}`);
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
