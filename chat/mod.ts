/**
 * The public API: everything that a program needs to run a chat of its own.
 *
 * ```ts ignore
 * import { startChat } from "./chat/mod.ts";
 *
 * const chat = await startChat({ kv: await Deno.openKv() });
 * Deno.serve(chat.fetch);
 * ```
 *
 * It checks the options, makes the parts from them and starts a {@linkcode Supervisor}, nothing else.
 *
 * @module
 */
import { monotonicUlid } from "@std/ulid";
import { type Clock, systemClock } from "./base/clock.ts";
import {
  type ConnectionSettings,
  type LimitSettings,
  limitsFrom,
  type RateLimitSettings,
  rateLimitsFrom,
  retentionFrom,
  type RetentionSettings,
} from "./base/limits.ts";
import { type Log, quietLog } from "./base/log.ts";
import { MemoryGuard } from "./base/memory_guard.ts";
import { MIN_OPERATOR_SECRET_CHARS } from "./base/options.ts";
import { agreeOnShards } from "./feed/shards.ts";
import { Access, type AccessSettings } from "./http/access.ts";
import { Addresses } from "./http/addresses.ts";
import { handleRequest, type HttpContext, type RequestInfo } from "./http/router.ts";
import type { KvHandles } from "./instance.ts";
import { Confusables, DEFAULT_RESERVED } from "./nicknames/confusables.ts";
import { Passwords } from "./nicknames/passwords.ts";
import { AdmissionControl } from "./connections/admission.ts";
import { CHAT_V1 } from "./protocols/chat_v1.ts";
import type { Handshake } from "./connections/connection.ts";
import type { AcceptedSocket } from "./connections/connections.ts";
import { Supervisor } from "./supervisor.ts";

export { Access, type AccessSettings } from "./http/access.ts";
export { Addresses } from "./http/addresses.ts";
export { DEFAULT_RESERVED } from "./nicknames/confusables.ts";
export {
  type Allowance,
  type ConnectionSettings,
  type LimitSettings,
  type RateLimitSettings,
  rateLimitsFrom,
  type RetentionSettings,
} from "./base/limits.ts";
export type { Clock } from "./base/clock.ts";
export { CHAT_V1 } from "./protocols/chat_v1.ts";
export type { Handshake } from "./connections/connection.ts";
export type { AcceptedSocket } from "./connections/connections.ts";
export type { Log } from "./base/log.ts";
export type { RequestInfo } from "./http/router.ts";

/** What the operator of a chat decides. It can be posted to a worker. */
export interface ChatSettings extends RetentionSettings {
  readonly limits?: LimitSettings;
  /** Rate limits; `off`: none. */
  readonly rateLimits?: RateLimitSettings | "off";
  /** Limits on the number of connections. */
  readonly connectionLimits?: ConnectionSettings;
  /**
   * Bytes of memory that the process may use. Above it, the chat closes connections that may be the
   * cause (1013) and rejects new ones (503). Default: no limit.
   */
  readonly maxMemoryBytes?: number;
  /** Which pages and clients may connect. Default: all clients, but no pages of other sites. */
  readonly access?: AccessSettings;
  /**
   * Proxies whose headers are trusted for client addresses: addresses, networks such as `10.0.0.0/8`,
   * or `private` for every network that is not on the internet. Default: none.
   */
  readonly trustProxy?: readonly string[];
  /**
   * Reserved nicknames: no client can use them or their lookalikes. Default: {@linkcode DEFAULT_RESERVED}.
   */
  readonly reserved?: readonly string[];
  /** The nicknames of operators. They count once they are registered. Default: none. */
  readonly operators?: readonly string[];
  /** Makes a session an operator's (`/op`): at least 16 characters. Default: no session. */
  readonly operatorSecret?: string;
  /** Whether a registered user who opens a room moderates it. Default: false. */
  readonly roomOwners?: boolean;
  /** Whether people are told who writes. Default: true. */
  readonly typing?: boolean;
}

/** The options of {@linkcode startChat}. */
export interface ChatOptions extends ChatSettings {
  /** The database. The caller closes it, after {@linkcode Chat.close}. */
  readonly kv: Deno.Kv;
  /**
   * Opens another handle to the same database; for KV Connect, where requests on one handle delay each
   * other. The chat opens ten handles and closes them itself. Default: `kv` serves every request.
   */
  readonly connect?: () => Promise<Deno.Kv>;
  /** Whether `kv` is a file on this machine, used by one process at a time. Default: false. */
  readonly local?: boolean;
  /**
   * With `local`: whether every instance that is silent at the start counts as dead at once, and not
   * only when its lease has expired. False for the second and later instances of a process, which may
   * be starting at the same time. Default: true.
   */
  readonly cleanUpSilent?: boolean;
  /** Iterations of the password hash (PBKDF2, SHA-256). Default: 600,000; tests use fewer. */
  readonly passwordRounds?: number;
  /** Default: the machine's clock. */
  readonly clock?: Clock;
  /** Makes IDs, each greater than those before. Default: monotonic ULIDs. */
  readonly ids?: () => string;
  /** Default: the console. */
  readonly log?: Log;
}

/** A chat that runs. */
export interface Chat {
  /** Answers a request: pass it to `Deno.serve`, which also passes the client's address. */
  readonly fetch: (request: Request, info?: RequestInfo) => Response | Promise<Response>;
  /** Takes a socket that the caller upgraded and that is not open yet; closes it (1012) if it must. */
  accept(socket: AcceptedSocket, handshake?: Handshake): void;
  /** The number of connections. */
  readonly size: number;
  /**
   * Shuts down gracefully: accepted messages are stored and shown, rows are removed, sockets are closed
   * with 1012. While KV does not answer, this takes as long as that lasts.
   */
  close(): Promise<void>;
}

const PROXY_ADVICE =
  "A reverse proxy seems to be in front of Parley (requests have X-Forwarded-For or Forwarded). " +
  "Add --trust-proxy so that limits apply per client.";

/**
 * Starts a chat on a database.
 *
 * @throws {RangeError} if an option is outside its range.
 * @throws {Error} if the database cannot be used.
 */
export async function startChat(options: ChatOptions): Promise<Chat> {
  const { kv, clock = systemClock, local = false } = options;
  const log = quietLog(options.log ?? console, clock);
  const limits = limitsFrom(options.limits, options.rateLimits === "off");
  const rateLimits = rateLimitsFrom(options.rateLimits, options.connectionLimits);
  const retention = retentionFrom(options);
  const addresses = new Addresses(options.trustProxy);
  const access = new Access(options.access);
  const handles = await openHandles(kv, await agreeOnShards(kv, clock, local), options.connect);
  const looks = { count: 0 };
  const supervisor = await Supervisor.start({
    handles,
    local,
    cleanUpSilent: options.cleanUpSilent ?? true,
    clock,
    ids: options.ids ?? (() => monotonicUlid(clock.now())),
    limits,
    loginMs: rateLimits.loginTimeoutMs,
    registrationRate: rateLimits.registrations,
    ...retention,
    operators: operatorsFrom(options),
    operatorSecret: options.operatorSecret,
    roomOwners: options.roomOwners ?? false,
    isTypingTold: options.typing ?? true,
    confusables: new Confusables(options.reserved ?? DEFAULT_RESERVED),
    passwords: new Passwords(options.passwordRounds),
    looks,
    log,
  }).catch((error) => {
    closeHandles(handles);
    throw error;
  });
  const guard = guardMemory(options, supervisor, looks, { clock, log });
  const context: HttpContext = {
    addresses,
    access,
    admission: new AdmissionControl(rateLimits, clock),
    protocols: [CHAT_V1],
    idleSeconds: limits.idleSeconds,
    clock,
    isOpen: () => supervisor.isOpen,
    banOf: (address) => supervisor.banOf(address),
    isShortOfMemory: () => guard?.isOver ?? false,
    warnUntrustedProxy: once(() => log.warn(PROXY_ADVICE)),
    warn: log.warn,
    accept: (socket, handshake) => supervisor.accept(socket, handshake),
  };
  const close = async () => {
    guard?.close();
    await supervisor.close();
    closeHandles(handles);
  };
  let closed: Promise<void> | undefined;
  return {
    fetch: (request, info) => handleRequest(request, context, info),
    accept: (socket, hello) => supervisor.accept(socket, hello),
    get size() {
      return supervisor.size;
    },
    close: () => closed ??= close(),
  };
}

/** Returns the operators' nicknames, and checks their secret. */
function operatorsFrom({ operators = [], operatorSecret: secret }: ChatOptions): readonly string[] {
  if (secret === undefined || secret.length >= MIN_OPERATOR_SECRET_CHARS) return operators;
  throw new RangeError(
    `operatorSecret must have at least ${MIN_OPERATOR_SECRET_CHARS} characters; got ${secret.length}`,
  );
}

/** Starts the memory guard, if the options limit the memory; it counts its checks in `looks`. */
function guardMemory(
  { maxMemoryBytes: maxBytes }: ChatOptions,
  supervisor: Supervisor,
  looks: { count: number },
  { clock, log }: { readonly clock: Clock; readonly log: Log },
): MemoryGuard | undefined {
  if (maxBytes === undefined) return undefined;
  const memory = () => Deno.memoryUsage().rss;
  const shed = (max: number) => supervisor.shed(max);
  return new MemoryGuard({
    maxBytes,
    clock,
    warn: log.warn,
    usedBytes: memory,
    closeConnections: shed,
  }, looks);
}

/** Returns a function that runs another at its first call only. */
function once(run: () => void): () => void {
  let hasRun = false;
  return () => {
    if (!hasRun) run();
    hasRun = true;
  };
}

async function openHandles(
  kv: Deno.Kv,
  shardCount: number,
  connect: ChatOptions["connect"],
): Promise<KvHandles> {
  if (connect === undefined) {
    const shards = new Array(shardCount).fill(kv);
    return { kv, watcher: kv, history: kv, shards, separate: false };
  }
  const handles = Array.from({ length: shardCount + 2 }, connect);
  const [watcher, history, ...shards] = await Promise.all(handles);
  return { kv, watcher: watcher!, history: history!, shards, separate: true };
}

function closeHandles({ watcher, history, shards, separate }: KvHandles): void {
  // Handles that are not separate are the caller's own.
  if (!separate) return;
  for (const handle of [watcher, history, ...shards]) handle.close();
}
