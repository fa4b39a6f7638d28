/**
 * Answers HTTP requests: the page and its files, health checks, and who may open a WebSocket.
 *
 * It does not listen: `Deno.serve`, or the platform's own server, calls it. The upgrade to a WebSocket
 * stands in upgrade.ts.
 */
import { type Access, isOwnSite } from "./access.ts";
import type { Addresses, RequestSource } from "./addresses.ts";
import { type Asset, ASSETS } from "./assets.ts";
import { checkHealth, HEALTH_PATHS, type HealthContext } from "./health.ts";
import { closedResponse, textResponse } from "./responses.ts";
import { upgrade } from "./upgrade.ts";
import { inWords } from "../base/durations.ts";
import type { Clock } from "../base/clock.ts";
import type { Fields } from "../base/log.ts";
import type { AdmissionControl } from "../connections/admission.ts";
import type { Handshake } from "../connections/connection.ts";

/** What `Deno.serve` tells about a request; other servers may leave it out. */
export interface RequestInfo {
  readonly remoteAddr: Deno.Addr;
}

/** What the HTTP layer needs from the chat. */
export interface HttpContext extends HealthContext {
  /** Reads client addresses from requests. */
  readonly addresses: Addresses;
  /** Decides which pages and clients may connect. */
  readonly access: Access;
  /** Limits connections, in total and per address. */
  readonly admission: AdmissionControl;
  /** The supported subprotocols, besides plain text, which has none. */
  readonly protocols: readonly string[];
  /** Seconds without any frame after which the runtime drops a socket. */
  readonly idleSeconds: number;
  readonly clock: Clock;
  /** Returns the ban of a client's address, if it is banned now. */
  banOf(
    address: string | undefined,
  ): { readonly until: number; readonly reason: string } | undefined;
  /** Returns whether the process uses more memory than it may. */
  isShortOfMemory(): boolean;
  /** Called for each request of an untrusted proxy. */
  warnUntrustedProxy(): void;
  /** Tells the operator why a connection was refused. The same cause is written once a minute. */
  warn(message: string, fields?: Fields): void;
  /** Counts a handshake that was refused. */
  rejected(reason: string): void;
  /** Takes a new socket that is not open yet. */
  accept(socket: WebSocket, handshake: Handshake): void;
}

/** Seconds of a ban beyond which it has no end that matters: a hundred years. */
const MAX_RETRY_SECONDS = 100 * 365 * 86_400;

/** Seconds after which a client may try again that was rejected because memory is short. */
const MEMORY_RETRY_SECONDS = 5;

/** Answers a request: at once, unless it asks for an upgrade. */
export function handleRequest(
  request: Request,
  context: HttpContext,
  info?: RequestInfo,
): Response | Promise<Response> {
  const url = URL.parse(request.url);
  if (url === null) return textResponse(400, "Invalid Host header.");
  const { pathname } = url;
  const isRoot = pathname === "/";
  const asset = ASSETS.get(pathname);
  const isHealthCheck = HEALTH_PATHS.has(pathname);
  if (asset === undefined && pathname !== "/ws" && !isHealthCheck) {
    return textResponse(404, `Not found: ${pathname}. The chat is at /.`);
  }
  if (request.method !== "GET" && request.method !== "HEAD") {
    const line = `Method ${request.method} not allowed for ${pathname}. Use GET.`;
    return textResponse(405, line, { allow: "GET, HEAD" });
  }
  if (isHealthCheck) return checkHealth(pathname, context);
  const source = context.addresses.of(request, hostnameOf(info));
  if (source.isUntrustedProxy) context.warnUntrustedProxy();
  const wantsUpgrade = request.headers.get("upgrade")?.toLowerCase() === "websocket";
  if (wantsUpgrade && (isRoot || pathname === "/ws")) {
    const rejected = reject(request, source, context);
    if (rejected === undefined) return upgrade(request, source, context);
    context.rejected(`http-${rejected.status}`);
    return rejected;
  }
  // A user of curl gets instructions there instead of HTML.
  if (isRoot && !request.headers.get("accept")?.includes("text/html")) {
    return textResponse(200, instructions(source), { vary: "accept" });
  }
  if (asset !== undefined) return serve(asset, request, source.host);
  // A page cannot see why an upgrade was rejected. With a plain GET of /ws it can.
  return reject(request, source, context) ??
    textResponse(426, "WebSocket connections only.", {
      upgrade: "websocket",
      connection: "upgrade",
    });
}

/** Returns how to connect, for a client without a browser. */
function instructions({ protocol, host }: RequestSource): string {
  const socketUrl = `${protocol === "https:" ? "wss" : "ws"}://${host}/`;
  return `This is a Parley chat server. Open ${protocol}//${host}/ in a browser, or connect with a
WebSocket client:

    websocat ${socketUrl}
    npx wscat -c ${socketUrl}

The first line that you type is your nickname. Then type /help.`;
}

/** Returns a file of the page. `no-cache` has the browser ask each time whether the file has changed. */
function serve({ type, etag, body, gzip }: Asset, request: Request, host: string): Response {
  const isRoot = type.startsWith("text/html");
  const isCompressed = /\bgzip\b(?!;q=0(\.0*)?(,|$))/.test(
    request.headers.get("accept-encoding") ?? "",
  );
  const headers: Record<string, string> = {
    "content-type": type,
    "cache-control": "no-cache",
    vary: isRoot ? "accept, accept-encoding" : "accept-encoding",
    etag,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
  };
  if (isRoot) {
    headers["content-security-policy"] = contentSecurityPolicy(host);
    headers["cross-origin-opener-policy"] = "same-origin";
  }
  const known = request.headers.get("if-none-match")?.split(",") ?? [];
  if (known.some((each) => each.trim() === etag)) {
    return new Response(null, { status: 304, headers });
  }
  if (isCompressed) headers["content-encoding"] = "gzip";
  return new Response(isCompressed ? gzip : body, { headers });
}

/** Lets the page load its own files, connect to this server, and do nothing else. */
function contentSecurityPolicy(host: string): string {
  // Some browsers do not count WebSockets as 'self'. A host with other characters could end the list.
  const sockets = /^[\w.-]+(:\d+)?$/.test(host) ? ` ws://${host} wss://${host}` : "";
  // The named policy accepts only the address of the service worker (page/install.js).
  return [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    `connect-src 'self'${sockets}`,
    "manifest-src 'self'",
    "worker-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types parley-worker",
  ].join("; ");
}

/** Returns why a client may not connect; `undefined` if it may. */
function reject(
  { headers }: Request,
  source: RequestSource,
  context: HttpContext,
): Response | undefined {
  if (!context.isOpen()) return closedResponse();
  if (context.isShortOfMemory()) {
    const line = `The server is short of memory. Try again in ${MEMORY_RETRY_SECONDS} seconds.`;
    return textResponse(503, line, { "retry-after": String(MEMORY_RETRY_SECONDS) });
  }
  const { address } = source;
  const ban = context.banOf(address);
  if (ban !== undefined) return bannedResponse(ban, context.clock.now());
  const rejection = context.admission.check(address, source.isLoopback);
  if (rejection !== undefined) {
    const { status, why, retryAfterSeconds: seconds } = rejection;
    if (status === 503) {
      context.warn(`Refused a connection: ${why} See --max-connections.`, { address });
    }
    return textResponse(status, why, { "retry-after": String(seconds) });
  }
  // A page that asks why it was refused names its origin itself: browsers leave it out of a GET.
  const origin = headers.get("origin") ?? headers.get("x-page-origin");
  if (origin !== null && !context.access.allowsOrigin(origin, source)) {
    const line = originRejection(origin, source);
    // In quotes, all origins are one cause for the log: a client can send any number of them.
    context.warn(`Refused a page: "${line}"`, { address });
    return textResponse(403, line);
  }
  switch (context.access.checkToken(headers)) {
    case "ok":
      return undefined;
    case "missing":
      return unauthorized("This chat is private. Enter its access token.");
    case "wrong":
      return unauthorized("Wrong access token.");
  }
}

/** Returns the response to a client whose address is banned. */
function bannedResponse(
  { until, reason }: { readonly until: number; readonly reason: string },
  nowMs: number,
): Response {
  const seconds = Math.max(1, Math.ceil((until - nowMs) / 1000));
  const isEndless = seconds > MAX_RETRY_SECONDS;
  const time = isEndless ? "" : ` for another ${inWords(seconds)}`;
  const why = reason === "" ? "." : `: ${reason}`;
  const headers: Record<string, string> = isEndless ? {} : { "retry-after": String(seconds) };
  return textResponse(403, `Your address is banned from this chat${time}${why}`, headers);
}

function originRejection(origin: string, source: RequestSource): string {
  // What a client sends is shown only if it is an origin: the operator may copy it.
  const site = URL.parse(origin)?.origin ?? "null";
  if (site === "null") return "This origin is not allowed. See --origin.";
  const advice = isOwnSite(origin, source)
    ? "."
    : ", or have the proxy pass the original Host header.";
  return `Origin ${site} not allowed. Start with --origin ${site}${advice}`;
}

function unauthorized(line: string): Response {
  return textResponse(401, line, { "www-authenticate": 'Bearer realm="Parley"' });
}

function hostnameOf(info: RequestInfo | undefined): string | undefined {
  const address = info?.remoteAddr;
  return address !== undefined && "hostname" in address ? address.hostname : undefined;
}
