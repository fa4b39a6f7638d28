/**
 * Many TCP connections to one local port, by number, with callbacks.
 *
 * `PortableSockets` uses `Deno.connect`. On Linux, `epoll.ts` does the same in half the time. Nothing
 * here knows WebSocket.
 */

/** Free bytes before those that `data` gets: there the handler puts the rest of an incomplete frame. */
export const HEADROOM_BYTES = 1 << 20;

/** The most bytes that one read returns. */
export const CHUNK_BYTES = 1 << 18;

/** Is told what happens to connections. */
export interface SocketHandler {
  opened(id: number): void;
  /** Bytes arrived: `buffer` from `from` to `to`. They are valid only during the call. */
  data(id: number, buffer: Uint8Array, from: number, to: number): void;
  /** The peer closed the connection, or it could not be opened. Not called after `close`. */
  closed(id: number): void;
}

/** TCP connections, by number. */
export interface Sockets {
  open(id: number): void;
  /** Sends bytes. The caller may change them afterwards. */
  send(id: number, bytes: Uint8Array): void;
  close(id: number): void;
  /** Handles what is ready. Waits at most `ms` milliseconds for it. */
  poll(ms: number): Promise<void>;
}

/** Connections over `Deno.connect`. */
export class PortableSockets implements Sockets {
  readonly #port: number;
  readonly #handler: SocketHandler;
  readonly #open = new Map<number, Deno.TcpConn>();
  readonly #shared = new Uint8Array(HEADROOM_BYTES + CHUNK_BYTES);

  constructor(port: number, handler: SocketHandler) {
    this.#port = port;
    this.#handler = handler;
  }

  open(id: number): void {
    void this.#run(id);
  }

  send(id: number, bytes: Uint8Array): void {
    void this.#send(this.#open.get(id), bytes.slice());
  }

  close(id: number): void {
    const connection = this.#open.get(id);
    this.#open.delete(id);
    connection?.close();
  }

  async poll(ms: number): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, ms));
  }

  async #send(connection: Deno.TcpConn | undefined, bytes: Uint8Array): Promise<void> {
    try {
      // A long write may be taken in parts.
      for (let at = 0; connection !== undefined && at < bytes.length;) {
        at += await connection.write(bytes.subarray(at));
      }
    } catch {
      // The read of the same connection fails too, and reports it.
    }
  }

  async #run(id: number): Promise<void> {
    let connection: Deno.TcpConn | undefined;
    try {
      connection = await Deno.connect({ hostname: "127.0.0.1", port: this.#port });
      connection.setNoDelay(true);
      this.#open.set(id, connection);
      this.#handler.opened(id);
      const chunk = new Uint8Array(4096);
      for (;;) {
        const count = await connection.read(chunk);
        if (count === null) break;
        this.#shared.set(chunk.subarray(0, count), HEADROOM_BYTES);
        this.#handler.data(id, this.#shared, HEADROOM_BYTES, HEADROOM_BYTES + count);
      }
    } catch {
      // Reset or refused: reported as closed below.
    }
    // After `close` the handler is not told, and the number may belong to a newer connection.
    if (connection !== undefined && this.#open.get(id) !== connection) return;
    this.close(id);
    this.#handler.closed(id);
  }
}
