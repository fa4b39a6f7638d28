/**
 * The door: what HTTP asks for, and the upgrade to a WebSocket.
 *
 * The beginning of a message's way, and the only place that knows `Response` and the upgrade. It
 * does not listen: `Deno.serve`, or whatever the platform has, calls it.
 */
import type { Asset } from "./assets.ts";

/** What the door learned about somebody who comes in. */
export interface Welcome {
  /** The subprotocol that was agreed on, or empty. */
  readonly protocol: string;
  /** The address's parameters of these names. */
  readonly resume: string | undefined;
  readonly last: string | undefined;
}

/** What the door leads to. */
export interface House {
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
  /** Takes a new socket, not open yet. */
  welcome(socket: WebSocket, hello: Welcome): void;
}

const TEXT = { "content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff" };

/** Answers a request. */
export function answer(request: Request, house: House): Response {
  const url = new URL(request.url);
  const isRoot = url.pathname === "/";
  const asset = house.assets.get(url.pathname);
  if (asset === undefined && url.pathname !== "/ws" && url.pathname !== "/healthz") {
    return text(404, `There is nothing at ${url.pathname}. The chat is at /.`);
  }
  if (request.method !== "GET" && request.method !== "HEAD") {
    return text(405, `${url.pathname} can only be read.`, { allow: "GET, HEAD" });
  }
  if (url.pathname === "/healthz") {
    return house.isOpen() ? text(200, "ok") : closed();
  }
  const wantsSocket = request.headers.get("upgrade")?.toLowerCase() === "websocket";
  if (wantsSocket && (isRoot || url.pathname === "/ws")) {
    return upgrade(request, url.searchParams, house);
  }
  // Who types `curl` gets something to read there.
  if (isRoot && !request.headers.get("accept")?.includes("text/html")) {
    return text(200, house.greeting(url), { vary: "accept" });
  }
  if (asset !== undefined) return serve(asset, request, url);
  return text(426, "This address speaks WebSocket only.", {
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

function upgrade(request: Request, parameters: URLSearchParams, house: House): Response {
  if (!house.isOpen()) return closed();
  const offered = request.headers.get("sec-websocket-protocol")?.split(",") ?? [];
  const protocol = offered.map((each) => each.trim()).find((each) =>
    house.protocols.includes(each)
  );
  try {
    const { socket, response } = Deno.upgradeWebSocket(request, {
      idleTimeout: house.idleSeconds,
    });
    if (protocol !== undefined) response.headers.set("sec-websocket-protocol", protocol);
    house.welcome(socket, {
      protocol: protocol ?? "",
      resume: parameters.get("resume") ?? undefined,
      last: parameters.get("last") ?? undefined,
    });
    return response;
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return text(400, `This is no WebSocket handshake: ${error.message}`);
  }
}

function closed(): Response {
  return text(503, "The server is restarting. Please try again in a moment.", {
    "retry-after": "1",
  });
}

function text(status: number, line: string, headers: Record<string, string> = {}): Response {
  return new Response(`${line}\n`, { status, headers: { ...TEXT, ...headers } });
}
