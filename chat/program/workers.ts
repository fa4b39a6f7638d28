/**
 * Runs several chats in this process, each in a worker, on one port and one database.
 *
 * The worker runs the same module as the main thread, so that a bundle of one file has workers too.
 */
import { systemClock } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import { OPEN_TIMEOUT_MS } from "./kv.ts";
import { listenError } from "./listener.ts";
import { Pool } from "./pool.ts";
import { openLog } from "./program_log.ts";
import { type Placement, runChat, type Running, START_TIMEOUT_MS } from "./run.ts";
import type { Settings } from "./settings.ts";
import { reasonOf, StartupError } from "./startup_error.ts";
import { within } from "./within.ts";

/** Longer than a worker needs to report by itself why it cannot start. */
const WORKER_TIMEOUT_MS = OPEN_TIMEOUT_MS + START_TIMEOUT_MS + 5_000;

/** A message from the main thread to a worker. */
type Command =
  | { readonly kind: "start"; readonly settings: Settings; readonly placement: Placement }
  | { readonly kind: "end" };

/** A message from a worker to the main thread. */
type Report =
  | { readonly kind: "ready"; readonly port: number }
  | { readonly kind: "failed"; readonly message: string; readonly exitCode: 1 | 2 }
  | { readonly kind: "ended" };

/**
 * Starts as many workers as the settings say. `module` is the URL of the program, which calls
 * {@linkcode serveAsWorker} when it runs in a worker.
 *
 * @throws {StartupError} if one of them cannot start.
 */
export async function runWorkers(
  settings: Settings,
  module: string,
  log: Log,
): Promise<Running> {
  const { port, hostname, workers } = settings;
  const pool = new Pool<Running>({
    clock: systemClock,
    start: (first, died) =>
      startWorker(
        module,
        // Port 0 is a different one each time: all workers listen where the first one does.
        { ...settings, port: first?.port ?? port },
        { shared: true, first: first === undefined },
        { died, log },
      ),
    warn: (message) => log.error(message),
  });
  // A worker shares its port with every program of this user: check first that no program uses it.
  try {
    Deno.listen({ port, hostname }).close();
  } catch (error) {
    throw listenError(error, { port, hostname, tls: undefined });
  }
  const first = await pool.open(workers);
  return { port: first.port, end: () => pool.end() };
}

/**
 * Resolves when the worker has started; a worker that cannot start is terminated. `died` is called if a
 * worker that has started ends without having been told to.
 */
async function startWorker(
  module: string,
  settings: Settings,
  placement: Placement,
  { died, log }: { readonly died: () => void; readonly log: Log },
): Promise<Running> {
  const worker = new Worker(module, { type: "module" });
  const started = Promise.withResolvers<Running>();
  const ended = Promise.withResolvers<void>();
  const send = (command: Command) => worker.postMessage(command);
  let isReady = false;
  const end = () => {
    send({ kind: "end" });
    return ended.promise;
  };
  worker.onmessage = ({ data: report }: MessageEvent<Report>) => {
    switch (report.kind) {
      case "ready":
        isReady = true;
        return started.resolve({ port: report.port, end });
      case "failed":
        if (isReady) log.error(report.message);
        started.reject(new StartupError(report.message, report.exitCode));
        return ended.resolve();
      case "ended":
        return ended.resolve();
      default:
        report satisfies never;
    }
  };
  worker.onerror = (event) => {
    event.preventDefault();
    ended.resolve();
    started.reject(new Error(event.message));
    if (!isReady) return;
    isReady = false;
    died();
  };
  send({ kind: "start", settings, placement });
  try {
    return await within(WORKER_TIMEOUT_MS, started.promise);
  } catch (error) {
    worker.terminate();
    if (error instanceof StartupError) throw error;
    throw new StartupError(`Cannot start a worker: ${reasonOf(error)}.`, 1);
  }
}

/** Serves the commands of the main thread; called in a worker, whose global scope is `scope`. */
export function serveAsWorker(scope: WorkerScope): void {
  const report = (message: Report) => scope.postMessage(message);
  let running: Running | undefined;
  scope.onmessage = async ({ data: command }) => {
    try {
      switch (command.kind) {
        case "start":
          running = await runChat(command.settings, command.placement, openLog(command.settings));
          return report({ kind: "ready", port: running.port });
        case "end":
          await running?.end();
          report({ kind: "ended" });
          return scope.close();
        default:
          command satisfies never;
      }
    } catch (error) {
      const exitCode = error instanceof StartupError ? error.exitCode : 1;
      report({ kind: "failed", message: (error as Error).message, exitCode });
    }
  };
}

/** The global scope of a worker, as far as it is used here. */
export interface WorkerScope {
  onmessage: (event: MessageEvent<Command>) => void;
  postMessage(report: Report): void;
  close(): void;
}
