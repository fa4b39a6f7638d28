/**
 * Upgrades a request to a WebSocket: subprotocol, a short pause, the handshake.
 *
 * The router has decided before that the client may connect. The chat takes the socket after it.
 */
import { TOKEN_PROTOCOL } from "./access.ts";
import type { RequestSource } from "./addresses.ts";
import { closedResponse, textResponse } from "./responses.ts";
import type { HttpContext } from "./router.ts";
import { delay, yieldToEventLoop } from "../base/clock.ts";

/**
 * Minimum milliseconds between a handshake and its answer; the maximum is twice as long. Deno 2.9 never
 * frees the file descriptor of a connection that the client has reset when it is upgraded. Within this
 * time the server notices a reset that is on its way. A client that times its reset mostly misses.
 */
const HANDSHAKE_PAUSE_MS = 10;

/** Upgrades a request, unless its client disconnects first. It counts as a connection from here on. */
export async function upgrade(
  request: Request,
  { address, isLoopback }: RequestSource,
  context: HttpContext,
): Promise<Response> {
  const offered = offeredProtocols(request.headers);
  const protocol = offered.find((each) => context.protocols.includes(each));
  if (protocol === undefined && offered.length > 0) {
    // A client that asks for another protocol would send its frames to the plain-text protocol.
    const known = context.protocols.join(", ");
    return textResponse(400, `Unknown subprotocol. Offer ${known}, or none for plain text.`);
  }
  const admission = context.admission.admit(address, isLoopback);
  // Deno begins to watch for a reset when the signal is read.
  const { signal } = request;
  await delay(context.clock, HANDSHAKE_PAUSE_MS * (1 + context.clock.jitter()));
  // After a busy moment the timer ends before the sockets have been polled.
  await yieldToEventLoop(context.clock);
  if (signal.aborted || !context.isOpen()) {
    admission.leave();
    return closedResponse();
  }
  try {
    const { socket, response } = Deno.upgradeWebSocket(request, {
      idleTimeout: context.idleSeconds,
    });
    if (protocol !== undefined) response.headers.set("sec-websocket-protocol", protocol);
    context.accept(socket, {
      subprotocol: protocol ?? "",
      address,
      isAddressShared: isLoopback,
      admission,
    });
    return response;
  } catch (error) {
    admission.leave();
    if (!(error instanceof TypeError)) throw error;
    return textResponse(400, `Not a WebSocket handshake: ${error.message}`);
  }
}

/** Returns the subprotocols that a client offers, without one that carries an access token. */
function offeredProtocols(headers: Headers): string[] {
  const all = headers.get("sec-websocket-protocol")?.split(",").map((each) => each.trim()) ?? [];
  return all.filter((each) => each !== "" && !each.startsWith(TOKEN_PROTOCOL));
}
