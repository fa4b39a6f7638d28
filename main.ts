/**
 * The program: arguments, environment, exit codes and signals.
 *
 * Only this file uses `Deno.args`, `Deno.env`, `Deno.exit` and signals. How a server is run stands in
 * chat/program/, the chat itself in the rest of chat/.
 */
import config from "./deno.json" with { type: "json" };
import { systemClock } from "./chat/base/clock.ts";
import { lineLog, type Log } from "./chat/base/log.ts";
import { isCareCommand, runCare } from "./chat/program/care.ts";
import { openLog } from "./chat/program/program_log.ts";
import { runChat, type Running } from "./chat/program/run.ts";
import { readSettings, type Settings } from "./chat/program/settings.ts";
import { StartupError } from "./chat/program/startup_error.ts";
import { usage } from "./chat/program/usage.ts";
import { runWorkers, serveAsWorker, type WorkerScope } from "./chat/program/workers.ts";

/** Milliseconds for a graceful shutdown. Deno Deploy kills the process after five seconds. */
const SHUTDOWN_TIMEOUT_MS = 4_500;

/** Milliseconds within which several signals count as one. */
const SAME_SIGNAL_MS = 500;

/**
 * Milliseconds after which a SIGTERM must have been a real one. When a file changes, `deno run --watch`
 * simulates a SIGTERM and stops the program after 500 ms (Deno 2.9).
 */
const RELOAD_MS = 1_500;

async function main(): Promise<void> {
  // Until the settings say how the log is written.
  let log = lineLog(console, systemClock);
  try {
    const [command, ...args] = Deno.args;
    if (isCareCommand(command)) return exit(await runCare(command, args, readVariable));
    const settings = readSettings(Deno.args, readVariable);
    if (settings === "help") return console.log(usage(config.version));
    if (settings === "version") return console.log(config.version);
    log = openLog(settings);
    const running = settings.workers > 1
      ? await runWorkers(settings, import.meta.url, log)
      : await runChat(settings, { shared: false, first: true }, log);
    log.info(greeting(settings, running.port));
    endOnSignals(running, settings.dev, log);
  } catch (error) {
    if (!(error instanceof StartupError)) throw error;
    log.error(error.message);
    Deno.exit(error.exitCode);
  }
}

/** A variable that may not be read counts as not set, so `deno run -N main.ts` can start. */
function readVariable(name: string): string | undefined {
  const { state } = Deno.permissions.querySync({ name: "env", variable: name });
  return state === "granted" ? Deno.env.get(name) : undefined;
}

function greeting({ hostname, tls, chat }: Settings, port: number): string {
  const isEverywhere = hostname === "0.0.0.0" || hostname === "::";
  const shown = isEverywhere ? "localhost" : hostname.includes(":") ? `[${hostname}]` : hostname;
  const s = tls === undefined ? "" : "s";
  const token = chat.access?.token === undefined ? "" : ' -H "Authorization: Bearer $CHAT_TOKEN"';
  return `Parley is running: open http${s}://${shown}:${port}/ in a browser. ` +
    `Terminal: npx wscat${token} -c ws${s}://${shown}:${port}/`;
}

/** Shuts down gracefully on SIGINT and SIGTERM, and at once on a second one. */
function endOnSignals(running: Running, dev: boolean, log: Log): void {
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
      log.error("Shutdown timed out; leftovers are cleaned up at the next start.");
      leave(1);
    }, SHUTDOWN_TIMEOUT_MS);
    await Promise.all([running.end(), new Promise((resolve) => setTimeout(resolve, minMs))]);
    leave(0);
  };
  Deno.addSignalListener("SIGINT", () => void end(exit, 0));
  if (Deno.build.os === "windows") {
    Deno.addSignalListener("SIGBREAK", () => void end(exit, 0));
    return;
  }
  const onTerminate = () => void (dev ? end(terminate, RELOAD_MS) : end(exit, 0));
  Deno.addSignalListener("SIGTERM", onTerminate);

  /** Ends the process as an unhandled SIGTERM does: under `--watch`, `Deno.exit` would not end it. */
  function terminate(code: number): void {
    Deno.removeSignalListener("SIGTERM", onTerminate);
    try {
      Deno.kill(Deno.pid, "SIGTERM");
    } catch {
      // Older versions of Deno require --allow-run for that.
    }
    exit(code);
  }
}

/**
 * Ends the process; under `deno run --watch` only this run of it. The watcher itself ends after Ctrl-C,
 * and otherwise waits for a file to change.
 */
function exit(code: number): void {
  try {
    Deno.exit(code);
  } catch {
    // Under `deno run --watch` it throws.
  }
}

const isWorker = "DedicatedWorkerGlobalScope" in globalThis;
if (import.meta.main || isWorker) {
  if (isWorker) serveAsWorker(globalThis as unknown as WorkerScope);
  else await main();
}
