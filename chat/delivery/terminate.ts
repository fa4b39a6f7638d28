/**
 * Cuts the TCP connection of a WebSocket, without waiting for the client.
 *
 * `WebSocket.close()` only asks the client to close. Until the client answers, Deno 2.9 continues to
 * read, and keeps what it reads of a message that does not end. Deno has no public call that cuts a
 * connection. So this file closes the socket's resource inside the runtime, as Deno's own idle
 * timeout does. On a runtime without that resource it does nothing and returns false.
 */

/** The part of Deno's core that is needed here. */
interface Core {
  tryClose(resource: number): void;
}

/**
 * Cuts a socket's connection, and returns whether this runtime can do that. The socket's `close`
 * event follows. Close the socket first: a socket that is cut while it is open reports 1005, as if
 * the client had left.
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
