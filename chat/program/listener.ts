/**
 * Listens for HTTP requests, and listens again if the runtime stops.
 *
 * It knows nothing of the chat beyond a function that answers requests.
 */
import { systemClock } from "../base/clock.ts";
import { type Log, quietLog } from "../base/log.ts";
import { answerWhileStarting, type Chat } from "../mod.ts";
import { reasonOf, StartupError } from "./startup_error.ts";
import type { Settings } from "./settings.ts";

/** Milliseconds until a listener that failed listens again. */
const RETRY_MS = 1_000;

/** Where to listen. */
export interface ListenerOptions extends Pick<Settings, "port" | "hostname" | "tls"> {
  /** Whether other listeners of this process use the same port. */
  readonly reusePort: boolean;
}

/**
 * Listens on a port until it is stopped. When the system has no file descriptors left,
 * `Deno.serve` stops, so a client that opens enough connections would end the server. This listener
 * listens again.
 */
export class Listener {
  readonly #options: ListenerOptions;
  readonly #warn: Log["warn"];
  #server: Deno.HttpServer<Deno.NetAddr>;
  #stopped = false;
  /** Answers requests; unset while the chat starts. */
  fetch: Chat["fetch"] | undefined;

  /** @throws {StartupError} if the port, address or certificate cannot be used. */
  constructor(options: ListenerOptions, log: Log) {
    this.#warn = quietLog(log, systemClock).warn;
    this.#server = this.#listen(options);
    // Port 0 is a different one each time.
    this.#options = { ...options, port: this.port };
    this.#watch();
  }

  /** The port, also where port 0 was asked for. */
  get port(): number {
    return this.#server.addr.port;
  }

  /** Stops listening. Does not wait for requests that are being answered. */
  stop(): void {
    this.#stopped = true;
    void this.#server.shutdown().catch(() => {});
  }

  #listen(options: ListenerOptions): Deno.HttpServer<Deno.NetAddr> {
    const { port, hostname, reusePort, tls } = options;
    try {
      return Deno.serve(
        { port, hostname, reusePort, onListen() {}, ...tls },
        (request, info) => this.fetch?.(request, info) ?? answerWhileStarting(request),
      );
    } catch (error) {
      throw listenError(error, options);
    }
  }

  #watch(): void {
    this.#server.finished.catch((error) => {
      if (this.#stopped) return;
      this.#warn(`Cannot accept connections, retrying: ${reasonOf(error)}.`);
      this.#listenLater();
    });
  }

  #listenLater(): void {
    setTimeout(() => {
      if (this.#stopped) return;
      try {
        this.#server = this.#listen(this.#options);
        this.#watch();
      } catch {
        this.#listenLater();
      }
    }, RETRY_MS);
  }
}

/** Returns the startup error for an error of listening. */
export function listenError(
  error: unknown,
  { port, hostname, tls }: Pick<Settings, "port" | "hostname" | "tls">,
): StartupError {
  const reason = reasonOf(error);
  if (tls !== undefined && isAboutTls(error as Error)) {
    return new StartupError(`--cert and --key do not match or are not PEM: ${reason}.`, 1);
  }
  if (error instanceof Deno.errors.AddrInUse) {
    return new StartupError(
      `Port ${port} is already in use. Stop the other program or choose another port with --port.`,
      1,
    );
  }
  return new StartupError(
    `Cannot listen on ${hostname}, port ${port}: ${reason}. See --hostname and --port.`,
    1,
  );
}

function isAboutTls({ name, message }: Error): boolean {
  return name === "InvalidData" || name === "TypeError" || /KeyMismatch|certificate/.test(message);
}
