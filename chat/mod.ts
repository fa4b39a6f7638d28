/**
 * Parley, the chat: everything that a program needs to have one of its own.
 *
 * ```ts ignore
 * import { startChat } from "./chat/mod.ts";
 *
 * const chat = await startChat({ kv: await Deno.openKv() });
 * Deno.serve(chat.fetch);
 * ```
 *
 * The public face: it stands before everything else and holds nothing but the life of instances,
 * one after another.
 *
 * @module
 */
import { monotonicUlid } from "@std/ulid";
import { Access, type AccessSettings } from "./http/access.ts";
import { Addresses } from "./http/addresses.ts";
import { ASSETS } from "./http/assets.ts";
import { type Clock, systemClock } from "./base/clock.ts";
import { backOff } from "./kv/retry.ts";
import { agreeOnShards } from "./feed/shards.ts";
import { AdmissionControl } from "./session/rate_limiter.ts";
import { type AcceptedSocket, CHAT_V1, type Hello, Instance, type KvHandles } from "./instance.ts";
import { Confusables, DEFAULT_RESERVED } from "./nicknames/confusables.ts";
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
import { Passwords } from "./nicknames/passwords.ts";
import { handleRequest, type RequestInfo } from "./http/router.ts";

export { Access, type AccessSettings } from "./http/access.ts";
export { Addresses } from "./http/addresses.ts";
export { DEFAULT_RESERVED as USUALLY_RESERVED } from "./nicknames/confusables.ts";
export {
  type Allowance,
  type ConnectionSettings as CrowdSettings,
  type LimitSettings,
  limitsFrom,
  MAX as MOST,
  MIN as LEAST,
  type RateLimitSettings as FloodSettings,
  rateLimitsFrom,
  retentionFrom,
  type RetentionSettings as KeepSettings,
} from "./base/limits.ts";
export type { Clock } from "./base/clock.ts";
export { type AcceptedSocket, CHAT_V1, type Hello } from "./instance.ts";
export type { Log } from "./base/log.ts";
export type { RequestInfo } from "./http/router.ts";

/** What a chat is made of. */
export interface ChatOptions extends RetentionSettings {
  /** Where everything is kept. It stays the caller's to close, after {@linkcode Chat.close}. */
  readonly kv: Deno.Kv;
  /**
   * Opens a further handle to the same KV. Wanted for KV Connect, where requests on one handle hold
   * each other up; the chat opens ten, and closes them when it is closed. Default: `kv` does it all.
   */
  readonly connect?: () => Promise<Deno.Kv>;
  /** Whether `kv` is a file of this machine, used by one process at a time. Default: false. */
  readonly local?: boolean;
  /**
   * With `local`: whether instances that are silent at the start are swept then, and not only when
   * their leases have lapsed. Not for the second and further instances in a process, whose
   * neighbours may be busy starting. Default: true.
   */
  readonly sweepSilent?: boolean;
  readonly limits?: LimitSettings;
  /** Nicknames that nobody can take, nor what looks like them. Default {@linkcode DEFAULT_RESERVED}. */
  readonly reserved?: readonly string[];
  /** Rounds of the hash of a password (PBKDF2, SHA-256). Default 600,000; tests want fewer. */
  readonly passwordRounds?: number;
  /** What may be done how often; `off`: whatever anybody likes. */
  readonly flood?: RateLimitSettings | "off";
  /** How many may be connected. */
  readonly crowd?: ConnectionSettings;
  /**
   * Bytes of memory that the process may use. Above it, connections are closed (1013) that may be the
   * cause, and new ones get 503. Default: no limit.
   */
  readonly maxMemoryBytes?: number;
  /** Who may come in. Default: everybody, but no pages of other sites. */
  readonly access?: AccessSettings;
  /**
   * The proxies whose word is taken for where somebody comes from: addresses, networks as
   * `10.0.0.0/8`, or `private` for all that is not on the internet. Default: none.
   */
  readonly trustProxy?: readonly string[];
  /** Default: the machine's. */
  readonly clock?: Clock;
  /** Makes ids, each greater than those before. Default: monotonic ULIDs. */
  readonly ids?: () => string;
  /** Default: the console. */
  readonly log?: Log;
}

/** A chat that runs. */
export interface Chat {
  /** Answers a request: hand it to `Deno.serve`, which tells it where that comes from, too. */
  readonly fetch: (request: Request, info?: RequestInfo) => Response | Promise<Response>;
  /** Takes a socket that something else upgraded, before it opens. Closes it (1012) if it must. */
  accept(socket: AcceptedSocket, hello?: Hello): void;
  /** How many people are connected here. */
  readonly size: number;
  /**
   * Ends in peace: what was said is committed and shown, rows are removed, sockets closed with
   * 1012. With KV away this takes as long as KV is away.
   */
  close(): Promise<void>;
}

const PROXIED =
  "There seems to be a proxy before the chat (it sends X-Forwarded-For or Forwarded): " +
  "with --trust-proxy people are counted by their own addresses.";

/**
 * Starts a chat on a KV.
 *
 * @throws {RangeError} when a setting is out of its range.
 * @throws {Error} when the KV cannot be used.
 */
export async function startChat(options: ChatOptions): Promise<Chat> {
  const { kv, clock = systemClock, local = false } = options;
  const limits = limitsFrom(options.limits, options.flood === "off");
  const floodLimits = rateLimitsFrom(options.flood, options.crowd);
  const addresses = new Addresses(options.trustProxy);
  const access = new Access(options.access);
  const flood = new AdmissionControl(floodLimits, clock);
  const log = quietLog(options.log ?? console, clock);
  const parts = {
    handles: await openHandles(kv, await agreeOnShards(kv, clock, local), options.connect),
    local,
    sweepSilent: options.sweepSilent ?? true,
    clock,
    ids: options.ids ?? (() => monotonicUlid(clock.now())),
    limits,
    unnamed: floodLimits.unnamed,
    registration: floodLimits.registration,
    ...retentionFrom(options),
    confusables: new Confusables(options.reserved ?? DEFAULT_RESERVED),
    passwords: new Passwords(options.passwordRounds),
    looks: { count: 0 },
    log,
  };
  let closing = false;
  let reborn = Promise.resolve();
  let instance: Instance;
  try {
    instance = await start();
  } catch (error) {
    closeHandles(parts.handles);
    throw error;
  }
  const { maxMemoryBytes: maxBytes } = options;
  const guard = maxBytes === undefined ? undefined : new MemoryGuard({
    ...{ maxBytes, clock, warn: log.warn },
    memory: () => Deno.memoryUsage().rss,
    shed: (most) => instance.shed(most),
  }, parts.looks);
  let closed: Promise<void> | undefined;

  /** An instance that was taken for dead is replaced by a new one: it cannot come back. */
  function start(): Promise<Instance> {
    let lost = false;
    const started = Instance.start(parts, () => {
      if (lost) return;
      lost = true;
      // It may be lost while it starts. One that does not start is gone already.
      reborn = Promise.all([reborn, started]).then(replace, () => {});
    });
    return started;
  }

  async function replace(): Promise<void> {
    log.warn("this instance was taken for dead by others: its connections are closed");
    await instance.abandon();
    for (let failures = 1; !closing; failures++) {
      try {
        instance = await start();
        return;
      } catch (error) {
        log.warn(`storage does not answer: ${(error as Error).message}`);
        await backOff(clock, failures);
      }
    }
  }

  let knowsOfProxy = false;
  const context = {
    warnUntrustedProxy() {
      if (!knowsOfProxy) log.warn(PROXIED);
      knowsOfProxy = true;
    },
    greeting,
    assets: ASSETS,
    idleSeconds: limits.idleSeconds,
    isOpen: () => !closing && instance.isOpen,
    protocols: [CHAT_V1],
    ...{ addresses, access, flood, clock },
    isShortOfMemory: () => guard?.isOver ?? false,
    accept: (socket: AcceptedSocket, hello?: Hello) => instance.accept(socket, hello),
  };
  return {
    fetch: (request, info) => handleRequest(request, context, info),
    accept: context.accept,
    get size() {
      return instance.size;
    },
    close: () => closed ??= close(),
  };

  async function close(): Promise<void> {
    closing = true;
    guard?.close();
    await reborn;
    if (instance.isOpen) await instance.close();
    closeHandles(parts.handles);
  }
}

async function openHandles(
  kv: Deno.Kv,
  many: number,
  connect: ChatOptions["connect"],
): Promise<KvHandles> {
  if (connect === undefined) {
    return { kv, watcher: kv, history: kv, shards: new Array(many).fill(kv), separate: false };
  }
  const [watcher, past, ...shards] = await Promise.all(Array.from({ length: many + 2 }, connect));
  return { kv, watcher: watcher!, history: past!, shards, separate: true };
}

function closeHandles({ watcher, history: past, shards, separate: apart }: KvHandles): void {
  // Otherwise they are the caller's one.
  if (!apart) return;
  for (const handle of [watcher, past, ...shards]) handle.close();
}

function greeting({ host, protocol }: URL): string {
  const address = `${protocol === "https:" ? "wss" : "ws"}://${host}/`;
  return `This is a Parley chat. Open ${protocol}//${host}/ in a browser, or come in with a WebSocket
client, for example:

    websocat ${address}
    npx wscat -c ${address}

The first line that you type is your nickname. Then type /help.`;
}
