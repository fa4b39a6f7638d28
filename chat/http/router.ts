/**
 * The door: what HTTP asks for, and the upgrade to a WebSocket.
 *
 * The beginning of a message's way, and the only place that knows `Response` and the upgrade. It
 * does not listen: `Deno.serve`, or whatever the platform has, calls it.
 */
import { type Access, isOwnSite, TOKEN_PROTOCOL } from "./access.ts";
import type { Addresses, Origin } from "./addresses.ts";
import type { Asset } from "./assets.ts";
import { type Clock, delay, yieldToEventLoop } from "../base/clock.ts";
import type { Admission, AdmissionControl } from "../session/rate_limiter.ts";

/** What the door learned about somebody who comes in. */
export interface Handshake {
  /** The subprotocol that was agreed on, or empty. */
  readonly protocol: string;
  /** The address's parameters of these names. */
  readonly resume: string | undefined;
  readonly last: string | undefined;
  /** Where they come from, if that is known. */
  readonly address: string | undefined;
  /** Counts what they do. */
  readonly guest: Admission;
}

/** What `Deno.serve` tells about whoever asks; other servers may leave it out. */
export interface RequestInfo {
  readonly remoteAddr: Deno.Addr;
}

/** What the door leads to. */
export interface HttpContext {
  /** A short text on how to connect, for whoever asks without a WebSocket. */
  greeting(url: URL): string;
  /** The page's files, by their paths; the page itself is at `/`. */
  readonly assets: ReadonlyMap<string, Asset>;
  /** Seconds without a sign of life after which a socket is dropped. */
  readonly idleSeconds: number;
  /** Whether new connections are taken now. */
  isOpen(): boolean;
  /** The subprotocols that are spoken here, besides plain text. */
  readonly protocols: readonly string[];
  /** Where somebody comes from. */
  readonly addresses: Addresses;
  /** Who may come in. */
  readonly access: Access;
  /** How many may, and how often. */
  readonly flood: AdmissionControl;
  readonly clock: Clock;
  /** Whether the process uses more memory than it may. */
  isShortOfMemory(): boolean;
  /** Somebody came by a proxy whose word is not taken. */
  warnUntrustedProxy(): void;
  /** Takes a new socket, not open yet. */
  accept(socket: WebSocket, hello: Handshake): void;
}

const TEXT = { "content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff" };

/**
 * Milliseconds between a handshake and its answer, at the least; at the most twice as many. Deno 2.9
 * never frees the descriptor of a connection that the client has reset when it is upgraded. A reset
 * that is on its way already is seen within this time, and one that is timed mostly misses.
 */
const HANDSHAKE_PAUSE_MS = 10;

/** Seconds after which a client may try again that was refused for want of memory. */
const MEMORY_RETRY_S = 5;

/** Answers a request: at once, unless it asks for an upgrade. */
export function handleRequest(
  request: Request,
  context: HttpContext,
  info?: RequestInfo,
): Response | Promise<Response> {
  const url = URL.parse(request.url);
  if (url === null) return text(400, "The Host header names no host.");
  const isRoot = url.pathname === "/";
  const asset = context.assets.get(url.pathname);
  if (asset === undefined && url.pathname !== "/ws" && url.pathname !== "/healthz") {
    return text(404, `There is nothing at ${url.pathname}. The chat is at /.`);
  }
  if (request.method !== "GET" && request.method !== "HEAD") {
    return text(405, `${url.pathname} can only be read.`, { allow: "GET, HEAD" });
  }
  if (url.pathname === "/healthz") {
    return context.isOpen() ? text(200, "ok") : closed();
  }
  const from = context.addresses.of(request, hostnameOf(info));
  if (from.unknownProxy) context.warnUntrustedProxy();
  const wantsSocket = request.headers.get("upgrade")?.toLowerCase() === "websocket";
  if (wantsSocket && (isRoot || url.pathname === "/ws")) {
    return refuse(request, from, context) ?? admit(request, url.searchParams, from, context);
  }
  // Who types `curl` gets something to read there.
  if (isRoot && !request.headers.get("accept")?.includes("text/html")) {
    return text(200, context.greeting(ownUrl(url, from)), { vary: "accept" });
  }
  if (asset !== undefined) return serve(asset, request, ownUrl(url, from));
  // A page cannot see why an upgrade was refused: here it can ask whether it may come in.
  return refuse(request, from, context) ??
    text(426, "This address speaks WebSocket only.", {
      upgrade: "websocket",
      connection: "upgrade",
    });
}

/** A file of the page: it is asked each time whether it is still the same. */
function serve(asset: Asset, request: Request, { host, pathname }: URL): Response {
  const { type, etag } = asset;
  const isCompressed = /\bgzip\b(?!;q=0(\.0*)?(,|$))/.test(
    request.headers.get("accept-encoding") ?? "",
  );
  const headers: Record<string, string> = {
    "content-type": type,
    "cache-control": "no-cache",
    vary: pathname === "/" ? "accept, accept-encoding" : "accept-encoding",
    etag,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
  };
  if (pathname === "/") {
    headers["content-security-policy"] = policy(host);
    headers["cross-origin-opener-policy"] = "same-origin";
  }
  const known = request.headers.get("if-none-match")?.split(",") ?? [];
  if (known.some((each) => each.trim() === etag)) {
    return new Response(null, { status: 304, headers });
  }
  if (isCompressed) headers["content-encoding"] = "gzip";
  return new Response(isCompressed ? asset.gzip : asset.body, { headers });
}

/** What the page may do: load its own files, talk to this server, and nothing else. */
function policy(host: string): string {
  // Not every browser counts sockets as 'self'. What could end the list here is no name of a host.
  const sockets = /^[\w.-]+(:\d+)?$/.test(host) ? ` ws://${host} wss://${host}` : "";
  return [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    `connect-src 'self'${sockets}`,
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ].join("; ");
}

/** Why somebody is not let in, if they are not. */
function refuse({ headers }: Request, from: Origin, context: HttpContext): Response | undefined {
  if (!context.isOpen()) return closed();
  if (context.isShortOfMemory()) {
    const again = `Please try again in ${MEMORY_RETRY_S} seconds.`;
    return text(503, `The server is short of memory. ${again}`, {
      "retry-after": String(MEMORY_RETRY_S),
    });
  }
  const turned = context.flood.check(from.address, from.shared);
  if (turned !== undefined) {
    return text(turned.status, turned.why, { "retry-after": String(turned.seconds) });
  }
  const origin = headers.get("origin");
  if (!context.access.allowsOrigin(origin, from)) {
    return text(403, whyNotOrigin(origin!, from));
  }
  if (!context.access.allows(headers)) {
    return text(401, "This chat is private: its access token is needed.", {
      "www-authenticate": 'Bearer realm="Parley"',
    });
  }
}

function whyNotOrigin(origin: string, from: Origin): string {
  if (!isOwnSite(origin, from)) return "Pages of other sites may not connect here: see --origin.";
  const site = new URL(origin).origin;
  return `This server does not know that it is ${site}: start it with --origin ${site}.`;
}

/** Upgrades a request, unless its client hangs up first. Its place is taken while it waits. */
async function admit(
  request: Request,
  parameters: URLSearchParams,
  from: Origin,
  context: HttpContext,
): Promise<Response> {
  const offered = offeredProtocols(request.headers);
  const protocol = offered.find((each) => context.protocols.includes(each));
  if (protocol === undefined && offered.length > 0) {
    // A client that asks for another protocol must not be left to speak it to plain text.
    const known = context.protocols.join(", ");
    return text(400, `Unknown subprotocol. Offer ${known}, or none for plain text.`);
  }
  const guest = context.flood.admit(from.address, from.shared);
  // Deno begins to watch for a reset when the signal is asked for.
  const { signal } = request;
  await delay(context.clock, HANDSHAKE_PAUSE_MS * (1 + context.clock.jitter()));
  // After a busy moment the timer is over before the sockets have been looked at.
  await yieldToEventLoop(context.clock);
  if (!signal.aborted && context.isOpen()) {
    return upgrade(request, protocol, parameters, from, context, guest);
  }
  guest.leave();
  return closed();
}

function upgrade(
  request: Request,
  protocol: string | undefined,
  parameters: URLSearchParams,
  { address }: Origin,
  context: HttpContext,
  guest: Admission,
): Response {
  try {
    const { socket, response } = Deno.upgradeWebSocket(request, {
      idleTimeout: context.idleSeconds,
    });
    if (protocol !== undefined) response.headers.set("sec-websocket-protocol", protocol);
    context.accept(socket, {
      protocol: protocol ?? "",
      resume: parameters.get("resume") ?? undefined,
      last: parameters.get("last") ?? undefined,
      address,
      guest,
    });
    return response;
  } catch (error) {
    guest.leave();
    if (!(error instanceof TypeError)) throw error;
    return text(400, `This is no WebSocket handshake: ${error.message}`);
  }
}

/** The subprotocols that a client asks for, without the one that carries an access token. */
function offeredProtocols(headers: Headers): string[] {
  const all = headers.get("sec-websocket-protocol")?.split(",").map((each) => each.trim()) ?? [];
  return all.filter((each) => each !== "" && !each.startsWith(TOKEN_PROTOCOL));
}

function hostnameOf(info: RequestInfo | undefined): string | undefined {
  const address = info?.remoteAddr;
  return address !== undefined && "hostname" in address ? address.hostname : undefined;
}

function ownUrl(url: URL, { protocol, host }: Origin): URL {
  return URL.parse(url.pathname, `${protocol}//${host}`) ?? url;
}

function closed(): Response {
  return text(503, "The server is restarting. Please try again in a moment.", {
    "retry-after": "1",
  });
}

function text(status: number, line: string, headers: Record<string, string> = {}): Response {
  return new Response(`${line}\n`, { status, headers: { ...TEXT, ...headers } });
}
