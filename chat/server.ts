/**
 * The door: what HTTP asks for, and the upgrade to a WebSocket.
 *
 * The beginning of a message's way, and the only place that knows `Response` and the upgrade. It
 * does not listen: `Deno.serve`, or whatever the platform has, calls it.
 */

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
  if (!isRoot && url.pathname !== "/ws" && url.pathname !== "/healthz") {
    return text(404, `There is nothing at ${url.pathname}. The chat is at /.`);
  }
  if (request.method !== "GET" && request.method !== "HEAD") {
    return text(405, `${url.pathname} can only be read.`, { allow: "GET, HEAD" });
  }
  if (url.pathname === "/healthz") {
    return house.isOpen() ? text(200, "ok") : closed();
  }
  if (request.headers.get("upgrade")?.toLowerCase() === "websocket") {
    return upgrade(request, url.searchParams, house);
  }
  if (isRoot) return text(200, house.greeting(url));
  return text(426, "This address speaks WebSocket only.", {
    upgrade: "websocket",
    connection: "upgrade",
  });
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
