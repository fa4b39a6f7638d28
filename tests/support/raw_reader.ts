/** A WebSocket client on a bare TCP socket, for tests: it reads only as fast as the test asks it to. */
import { assert } from "@std/assert";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** A client that takes nothing from its socket unless it is asked for the next line. */
export class RawReader implements Disposable {
  readonly #socket: Deno.TcpConn;
  readonly #buffer = new Uint8Array(64 * 1024);
  #bytes = new Uint8Array(0);
  #lines: string[] = [];
  readonly #bytesPerSecond: number;
  /** Bytes that have been read. */
  read = 0;

  private constructor(socket: Deno.TcpConn, bytesPerSecond: number) {
    this.#socket = socket;
    this.#bytesPerSecond = bytesPerSecond;
  }

  /** Connects to a server on this machine, with a subprotocol or without, over a line of some speed. */
  static async open(port: number, protocol = "", bytesPerSecond = Infinity): Promise<RawReader> {
    const socket = await Deno.connect({ hostname: "127.0.0.1", port });
    const reader = new RawReader(socket, bytesPerSecond);
    const header = protocol === "" ? "" : `Sec-WebSocket-Protocol: ${protocol}\r\n`;
    await reader.#socket.write(encoder.encode(
      "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n" +
        `${header}\r\n`,
    ));
    let head = -1;
    while ((head = decoder.decode(reader.#bytes).indexOf("\r\n\r\n")) < 0) await reader.#take();
    const answer = decoder.decode(reader.#bytes.subarray(0, head));
    assert(answer.startsWith("HTTP/1.1 101"), answer);
    reader.#bytes = reader.#bytes.slice(head + 4);
    return reader;
  }

  /** Sends a frame, masked with zeros. */
  async send(text: string): Promise<void> {
    const bytes = encoder.encode(text);
    assert(bytes.length < 65_536);
    const length = bytes.length < 126
      ? [0x80 | bytes.length]
      : [0x80 | 126, bytes.length >> 8, bytes.length & 255];
    const frame = new Uint8Array([0x81, ...length, 0, 0, 0, 0, ...bytes]);
    for (let sent = 0; sent < frame.length;) {
      sent += await this.#socket.write(frame.subarray(sent));
    }
  }

  /** The next line of a text frame. */
  async next(): Promise<string> {
    const line = await this.nextOrClose();
    if (typeof line === "number") throw new Error(`closed with ${line}`);
    return line;
  }

  /** The next line, or the code with which the server closes; 1006 if it hangs up. */
  async nextOrClose(): Promise<string | number> {
    while (this.#lines.length === 0) {
      const frame = this.#frame();
      if (frame === undefined) {
        if (!await this.#take()) return 1006;
      } else if (frame.opcode === 8) {
        return frame.data.length < 2 ? 1005 : frame.data[0]! << 8 | frame.data[1]!;
      } else if (frame.opcode === 9) {
        // Masked with zeros, the answer is the same bytes.
        const pong = [0x8a, 0x80 | frame.data.length, 0, 0, 0, 0, ...frame.data];
        await this.#socket.write(new Uint8Array(pong));
      } else if (frame.opcode === 1) {
        this.#lines = decoder.decode(frame.data).split("\n");
      }
    }
    return this.#lines.shift()!;
  }

  /** Takes some bytes from the socket, and keeps them. */
  async #take(): Promise<boolean> {
    const n = await this.#socket.read(this.#buffer);
    if (n === null) return false;
    this.read += n;
    const ms = n / this.#bytesPerSecond * 1000;
    if (ms >= 1) await new Promise((resolve) => setTimeout(resolve, ms));
    const bytes = new Uint8Array(this.#bytes.length + n);
    bytes.set(this.#bytes);
    bytes.set(this.#buffer.subarray(0, n), this.#bytes.length);
    this.#bytes = bytes;
    return true;
  }

  #frame(): { opcode: number; data: Uint8Array } | undefined {
    const bytes = this.#bytes;
    if (bytes.length < 2) return undefined;
    const short = bytes[1]! & 0x7f;
    const head = short === 126 ? 4 : short === 127 ? 10 : 2;
    if (bytes.length < head) return undefined;
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const length = short === 126
      ? view.getUint16(2)
      : short === 127
      ? Number(view.getBigUint64(2))
      : short;
    if (bytes.length < head + length) return undefined;
    this.#bytes = bytes.slice(head + length);
    return { opcode: bytes[0]! & 15, data: bytes.slice(head, head + length) };
  }

  [Symbol.dispose](): void {
    this.#socket.close();
  }
}
