/**
 * Cuts the TCP connection of a WebSocket, without waiting for the peer.
 *
 * `WebSocket.close()` only asks the peer to close. Until the peer answers, Deno 2.9 goes on reading,
 * and keeps what it reads of a message that does not end. Deno has no public call that cuts a
 * connection, so this one closes the socket's resource inside the runtime, as Deno's own idle timeout
 * does. On a runtime without that resource it does nothing, and says so.
 */

/** The part of Deno's core that is needed here. */
interface Core {
  tryClose(resource: number): void;
}

/**
 * Cuts a socket's connection. Its `close` event follows. Close the socket first: what is cut while it
 * is open reports 1005, as if the peer had meant to leave.
 *
 * Returns whether this runtime can do that.
 */
export function terminate(socket: object): boolean {
  const core = coreOf(Deno);
  const key = Object.getOwnPropertySymbols(socket).find(({ description }) =>
    description === "[[rid]]"
  );
  const resource: unknown = key && Reflect.get(socket, key);
  if (core === undefined || typeof resource !== "number") return false;
  core.tryClose(resource);
  return true;
}

function coreOf(runtime: object): Core | undefined {
  const key: unknown = Reflect.get(runtime, "internal");
  if (typeof key !== "symbol") return undefined;
  const { core } = (Reflect.get(runtime, key) ?? {}) as { core?: Partial<Core> };
  return typeof core?.tryClose === "function" ? core as Core : undefined;
}
