/** A WebSocket client that writes its bytes itself: what a well-behaved client would never send. */
import type { Buffer } from "node:buffer";
import { connect, type Socket } from "node:net";

/** A handshake for a server on this machine. */
export function handshake(port: number): string {
  return [
    "GET / HTTP/1.1",
    `Host: 127.0.0.1:${port}`,
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "\r\n",
  ].join("\r\n");
}

/** A masked frame; the mask is zero. `first` is the first byte: FIN and the opcode. */
export function frame(first: number, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(14 + payload.length);
  bytes[0] = first;
  bytes[1] = 0x80 | 127;
  new DataView(bytes.buffer).setBigUint64(2, BigInt(payload.length));
  bytes.set(payload, 14);
  return bytes;
}

/** A connection that shook hands. */
export class RawSocket {
  readonly socket: Socket;

  private constructor(socket: Socket) {
    this.socket = socket;
  }

  /** Connects, and resolves with the status of the answer: 101 if the server let it in. */
  static async open(port: number): Promise<{ raw: RawSocket; status: number }> {
    const socket = connect(port, "127.0.0.1");
    // What follows an error is a close.
    socket.on("error", () => {});
    socket.write(handshake(port));
    const head = await new Promise<string>((resolve) => {
      socket.once("data", (data: Buffer) => resolve(data.toString("latin1")));
      socket.once("close", () => resolve(""));
    });
    return { raw: new RawSocket(socket), status: Number(/^HTTP\/1.1 (\d+)/.exec(head)?.[1] ?? 0) };
  }

  /** Writes, and waits until there is room for more. Returns whether the connection is still there. */
  async write(bytes: Uint8Array): Promise<boolean> {
    const { socket } = this;
    if (socket.destroyed) return false;
    if (!socket.write(bytes)) {
      await new Promise<void>((resolve) => {
        const done = () => {
          socket.off("drain", done);
          socket.off("close", done);
          resolve();
        };
        socket.on("drain", done);
        socket.on("close", done);
      });
    }
    return !socket.destroyed;
  }

  /** Hangs up. Resolves when the socket is closed. */
  async close(): Promise<void> {
    const { socket } = this;
    if (socket.closed) return;
    const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
    socket.destroy();
    await closed;
  }
}

/** Bytes of memory that a process has used at the most, and uses now (Linux). */
export function memoryOf(pid: number): { peak: number; now: number } {
  const status = Deno.readTextFileSync(`/proc/${pid}/status`);
  const kib = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)![1]);
  return { peak: kib("VmHWM") * 1024, now: kib("VmRSS") * 1024 };
}

/** How many descriptors a process has open (Linux). */
export function descriptorsOf(pid: number): number {
  return [...Deno.readDirSync(`/proc/${pid}/fd`)].length;
}
