/** Programs that tests run: the server, denokv, and Deno itself. */
import { eventually, sleep, withDeadline } from "./wait.ts";

/** The project's folder. */
export const PROJECT = new URL("../../", import.meta.url);

/** How a program ended, and what it printed. */
export interface ProgramResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Runs Deno in the project's folder, and waits until it ends.
 *
 * @throws {Error} if it runs for more than a minute. It is killed then.
 */
export async function runDeno(
  args: string[],
  env: Record<string, string> = {},
  stdin = "",
): Promise<ProgramResult> {
  const process = new Deno.Command(Deno.execPath(), {
    args,
    cwd: PROJECT,
    env: { NO_COLOR: "1", ...env },
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const input = process.stdin.getWriter();
  // A program that ends without reading its input breaks the pipe.
  const written = input.write(new TextEncoder().encode(stdin)).then(() => input.close())
    .catch(() => {});
  const output = process.output();
  try {
    const { code, stdout, stderr } = await withDeadline(output, "Deno to end", 60_000);
    const decoder = new TextDecoder();
    return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
  } catch (error) {
    process.kill("SIGKILL");
    await output;
    throw error;
  } finally {
    await written;
  }
}

/** Runs the server with options, and waits until it ends: for `--help` and for errors. */
export function runServer(
  options: string[],
  env: Record<string, string> = {},
): Promise<ProgramResult> {
  return runDeno(["run", "-A", "main.ts", ...options], env);
}

/** The server as a process. */
export class ServerProcess implements AsyncDisposable {
  readonly port: number;
  readonly url: string;
  readonly process: Deno.ChildProcess;
  /** What it printed until it listened. */
  readonly output: string;
  /** Everything it printed; with `stderr` piped, that too. Resolves when it has ended. */
  readonly #printed: Promise<string>;
  #isAlive = true;

  private constructor(process: Deno.ChildProcess, said: string, printed: Promise<string>) {
    this.process = process;
    this.output = said;
    const port = this.port = Number(/:(\d+)\//.exec(said)![1]);
    this.url = `ws://127.0.0.1:${port}/`;
    this.#printed = printed;
    process.status.then(() => this.#isAlive = false);
  }

  /**
   * Starts the server on a free port, and waits until it listens. `run` are the arguments before the
   * server's options, `program` is the executable that gets them.
   */
  static async start(
    options: string[],
    run: string[] = ["run", "-A", "main.ts"],
    env: Record<string, string> = {},
    stderr: "inherit" | "null" | "piped" = "inherit",
    program: string = Deno.execPath(),
  ): Promise<ServerProcess> {
    const process = new Deno.Command(program, {
      args: [...run, "--hostname", "127.0.0.1", "--port", "0", ...options],
      cwd: PROJECT,
      env,
      stdin: "null",
      stdout: "piped",
      stderr,
    }).spawn();
    const output = process.stdout.pipeThrough(new TextDecoderStream()).getReader();
    let said = "";
    while (!/:(\d+)\//.test(said)) {
      const { done, value } = await withDeadline(output.read(), "the server to listen", 60_000);
      if (done) throw new Error(`The server ended before it listened: ${said}`);
      said += value;
    }
    const rest = (async () => {
      let text = said;
      for (let next = await output.read(); !next.done; next = await output.read()) {
        text += next.value;
      }
      return text;
    })();
    const errors = stderr === "piped" ? new Response(process.stderr).text() : "";
    const printed = Promise.all([rest, errors]).then((texts) => texts.join(""));
    return new ServerProcess(process, said, printed);
  }

  /** Stops the server, and returns the lines that it printed. */
  async stopAndRead(): Promise<string[]> {
    await this.stop();
    return (await this.#printed).split("\n").filter((line) => line !== "");
  }

  /** Sends a signal, and waits until the process has ended. */
  async stop(signal: Deno.Signal = "SIGTERM"): Promise<Deno.CommandStatus> {
    if (this.#isAlive) this.process.kill(signal);
    const status = await withDeadline(this.process.status, "the server to end");
    await this.#printed;
    return status;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop("SIGKILL");
  }
}

/** A `denokv` server with a file of its own, which is deleted at the end. */
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

  /** Starts denokv on a free port, and waits until it listens. */
  static async start(): Promise<DenoKv> {
    using free = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = free.addr;
    free.close();
    const server = new DenoKv(await Deno.makeTempDir(), port);
    await server.#listening();
    return server;
  }

  /** The environment variables that a process needs to open this KV. */
  get env(): Record<string, string> {
    return { DENO_KV_ACCESS_TOKEN: DenoKv.TOKEN };
  }

  /** Sends a signal: `SIGSTOP` makes denokv stop answering. */
  signal(signal: Deno.Signal): void {
    this.#process.kill(signal);
  }

  /** Kills denokv, and starts it with the same file after `ms` milliseconds. */
  async restart(ms: number): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#process.status;
    await sleep(ms);
    this.#process = this.#spawn();
    await this.#listening();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#process.status;
    await Deno.remove(this.#folder, { recursive: true });
  }

  #spawn(): Deno.ChildProcess {
    const file = `${this.#folder}/kv`;
    const address = `127.0.0.1:${this.#port}`;
    return new Deno.Command("denokv", {
      args: ["--sqlite-path", file, "serve", "--addr", address, "--access-token", DenoKv.TOKEN],
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

/**
 * Defines a test that needs a program. Where the program is not installed the test is ignored, and
 * its title says why. With `CI` set it is not ignored, and fails.
 */
export function testWithProgram(program: string, name: string, fn: () => Promise<void>): void {
  const ignore = !isInstalled(program) && Deno.env.get("CI") === undefined;
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

/** Returns how many bytes of memory a process uses now, and the most it used (Linux only). */
export function memoryBytes(pid: number): { peak: number; now: number } {
  const status = Deno.readTextFileSync(`/proc/${pid}/status`);
  const kib = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)![1]);
  return { peak: kib("VmHWM") * 1024, now: kib("VmRSS") * 1024 };
}

/** Returns how many bytes of memory a process uses, from `ps`; 0 on Windows. */
export async function residentBytes(pid: number): Promise<number> {
  if (Deno.build.os === "windows") return 0;
  const { stdout } = await new Deno.Command("ps", { args: ["-o", "rss=", "-p", `${pid}`] })
    .output();
  return Number(new TextDecoder().decode(stdout)) * 1024;
}

/** Returns how many file descriptors a process has open (Linux only). */
export function openDescriptors(pid: number): number {
  return [...Deno.readDirSync(`/proc/${pid}/fd`)].length;
}
