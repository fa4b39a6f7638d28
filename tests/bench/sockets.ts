/**
 * Many TCP connections to one local port, as the crowd needs them: by number, with callbacks.
 *
 * Here the portable kind, over `Deno.connect`; on Linux `epoll.ts` does the same in half the time.
 * Nothing here knows of WebSockets.
 */

/** Bytes that are free before what is handed to `data`, for what was left over of a frame. */
export const HEADROOM = 1 << 20;

/** Bytes that are read at once, at most. */
export const CHUNK = 1 << 18;

/** What happens to connections. */
export interface Happenings {
  opened(id: number): void;
  /** Bytes came: those in `buffer` from `from` to `to`. They are gone after the call. */
  data(id: number, buffer: Uint8Array, from: number, to: number): void;
  /** The other side has ended it, or it never opened. */
  closed(id: number): void;
}

/** The connections. */
export interface Sockets {
  open(id: number): void;
  /** Takes the bytes; they may be changed afterwards. */
  send(id: number, bytes: Uint8Array): void;
  close(id: number): void;
  /** Lets happen what happens, at most for so long. */
  step(ms: number): Promise<void>;
}

/** Connections over `Deno.connect`. */
export class PortableSockets implements Sockets {
  readonly #port: number;
  readonly #happenings: Happenings;
  readonly #open = new Map<number, Deno.TcpConn>();
  readonly #shared = new Uint8Array(HEADROOM + CHUNK);

  constructor(port: number, happenings: Happenings) {
    this.#port = port;
    this.#happenings = happenings;
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

  async step(ms: number): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, ms));
  }

  async #send(connection: Deno.TcpConn | undefined, bytes: Uint8Array): Promise<void> {
    try {
      // Small writes are taken whole; the rest of a longer one follows.
      for (let at = 0; connection !== undefined && at < bytes.length;) {
        at += await connection.write(bytes.subarray(at));
      }
    } catch {
      // The reader sees the end, too.
    }
  }

  async #run(id: number): Promise<void> {
    let connection: Deno.TcpConn | undefined;
    try {
      connection = await Deno.connect({ hostname: "127.0.0.1", port: this.#port });
      connection.setNoDelay(true);
      this.#open.set(id, connection);
      this.#happenings.opened(id);
      const chunk = new Uint8Array(4096);
      for (;;) {
        const count = await connection.read(chunk);
        if (count === null) break;
        this.#shared.set(chunk.subarray(0, count), HEADROOM);
        this.#happenings.data(id, this.#shared, HEADROOM, HEADROOM + count);
      }
    } catch {
      // Reset, or refused: told as closed below.
    }
    // Who closes it here is not told, and may have opened the next one by now.
    if (connection !== undefined && this.#open.get(id) !== connection) return;
    this.close(id);
    this.#happenings.closed(id);
  }
}
