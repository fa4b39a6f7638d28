/**
 * WebSocket clients on plain TCP sockets. They send what `WebSocket` does not, and read only when the
 * test asks. `requestUpgrade` looks at the response to a handshake, `RawReader` reads at a chosen
 * speed, `RawSocket` writes any bytes.
 */
import { assert } from "@std/assert";
import type { Buffer } from "node:buffer";
import { connect, type Socket } from "node:net";
import { sleep, withDeadline } from "./wait.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Returns the bytes of a WebSocket handshake for a server on this machine, as text. */
export function upgradeRequest(
  port: number,
  headers: Record<string, string> = {},
  path = "/",
): string {
  const all = {
    Host: `127.0.0.1:${port}`,
    Upgrade: "websocket",
    Connection: "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
    ...headers,
  };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}`);
  return `GET ${path} HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n`;
}

/** Sends a handshake, returns the response's status, text and headers, and closes the connection. */
export async function requestUpgrade(
  port: number,
  headers: Record<string, string> = {},
  path = "/",
) {
  using socket = await Deno.connect({ hostname: "127.0.0.1", port });
  await socket.write(encoder.encode(upgradeRequest(port, headers, path)));
  let response = "";
  const responseDecoder = new TextDecoder();
  const bytes = new Uint8Array(4096);
  while (!/\r\n\r\n(?:HTTP|.+\n$|$)/s.test(response) || !isWhole(response)) {
    const n = await withDeadline(socket.read(bytes), "a response");
    if (n === null) break;
    response += responseDecoder.decode(bytes.subarray(0, n));
  }
  const [head = "", text = ""] = response.split("\r\n\r\n");
  const status = Number(/^HTTP\/1\.1 (\d+)/.exec(head)?.[1]);
  const header = (name: string) => new RegExp(`^${name}: (.*)$`, "im").exec(head)?.[1]?.trim();
  return { status, text, header };
}

function isWhole(response: string): boolean {
  const [head = "", text = ""] = response.split("\r\n\r\n");
  const length = Number(/^content-length: (\d+)$/im.exec(head)?.[1] ?? 0);
  return response.includes("\r\n\r\n") && encoder.encode(text).length >= length;
}

/** A client that reads from its socket only while the test waits for the next line. */
export class RawReader implements Disposable {
  readonly #socket: Deno.TcpConn;
  readonly #buffer = new Uint8Array(64 * 1024);
  #bytes = new Uint8Array(0);
  #lines: string[] = [];
  readonly #bytesPerSecond: number;
  /** How many bytes were read. */
  bytesRead = 0;

  private constructor(socket: Deno.TcpConn, bytesPerSecond: number) {
    this.#socket = socket;
    this.#bytesPerSecond = bytesPerSecond;
  }

  /** Connects to a server on this machine. It never reads faster than `bytesPerSecond`. */
  static async open(port: number, protocol = "", bytesPerSecond = Infinity): Promise<RawReader> {
    const socket = await Deno.connect({ hostname: "127.0.0.1", port });
    const reader = new RawReader(socket, bytesPerSecond);
    const headers: Record<string, string> = protocol === ""
      ? {}
      : { "Sec-WebSocket-Protocol": protocol };
    await socket.write(encoder.encode(upgradeRequest(port, headers)));
    let headEnd = -1;
    while ((headEnd = decoder.decode(reader.#bytes).indexOf("\r\n\r\n")) < 0) await reader.#take();
    const response = decoder.decode(reader.#bytes.subarray(0, headEnd));
    assert(response.startsWith("HTTP/1.1 101"), response);
    reader.#bytes = reader.#bytes.slice(headEnd + 4);
    return reader;
  }

  /** Sends a text frame. */
  async send(text: string): Promise<void> {
    const bytes = textFrame(text);
    for (let sent = 0; sent < bytes.length;) sent += await this.#socket.write(bytes.subarray(sent));
  }

  /** Returns the next line of a text frame. Throws if the server closes the connection. */
  async next(): Promise<string> {
    const line = await this.nextOrClose();
    if (typeof line === "number") throw new Error(`closed with ${line}`);
    return line;
  }

  /** Returns the next line, or the server's close code: 1006 if it sends no close frame. */
  async nextOrClose(): Promise<string | number> {
    while (this.#lines.length === 0) {
      const received = this.#frame();
      if (received === undefined) {
        if (!await this.#take()) return 1006;
      } else if (received.opcode === 8) {
        return received.data.length < 2 ? 1005 : received.data[0]! << 8 | received.data[1]!;
      } else if (received.opcode === 9) {
        await this.#socket.write(frame(PONG_FRAME, received.data));
      } else if (received.opcode === 1) {
        this.#lines = decoder.decode(received.data).split("\n");
      }
    }
    return this.#lines.shift()!;
  }

  /** Reads some bytes from the socket. Returns false when the connection has ended. */
  async #take(): Promise<boolean> {
    const n = await this.#socket.read(this.#buffer);
    if (n === null) return false;
    this.bytesRead += n;
    const ms = n / this.#bytesPerSecond * 1000;
    if (ms >= 1) await sleep(ms);
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

/** The first byte of a frame: FIN and the opcode. */
const TEXT_FRAME = 0x81, PONG_FRAME = 0x8a;

/** Returns a frame, masked with zeros. `first` is its first byte: FIN and the opcode. */
export function frame(first: number, payload: Uint8Array): Uint8Array {
  const { length } = payload;
  const form = length < 126 ? length : length < 65_536 ? 126 : 127;
  const lengthBytes = form < 126 ? 0 : form === 126 ? 2 : 8;
  const bytes = new Uint8Array(2 + lengthBytes + 4 + length);
  bytes[0] = first;
  bytes[1] = 0x80 | form;
  const view = new DataView(bytes.buffer);
  if (form === 126) view.setUint16(2, length);
  if (form === 127) view.setBigUint64(2, BigInt(length));
  bytes.set(payload, bytes.length - length);
  return bytes;
}

/** Returns a text frame, masked with zeros. */
export function textFrame(text: string): Uint8Array {
  return frame(TEXT_FRAME, encoder.encode(text));
}

/** A client whose bytes the test writes. */
export class RawSocket {
  readonly socket: Socket;

  private constructor(socket: Socket) {
    this.socket = socket;
  }

  /** Connects. Returns the response's status too: 101 if the server accepted the handshake. */
  static async open(port: number): Promise<{ raw: RawSocket; status: number }> {
    const socket = connect(port, "127.0.0.1");
    // An error is always followed by "close".
    socket.on("error", () => {});
    socket.write(upgradeRequest(port));
    const head = await new Promise<string>((resolve) => {
      socket.once("data", (data: Buffer) => resolve(data.toString("latin1")));
      socket.once("close", () => resolve(""));
    });
    return { raw: new RawSocket(socket), status: Number(/^HTTP\/1.1 (\d+)/.exec(head)?.[1] ?? 0) };
  }

  /** Writes, and waits until the buffer has room again. Returns whether the socket is still open. */
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

  /** Closes the connection without a close frame. Resolves when it is closed. */
  async close(): Promise<void> {
    const { socket } = this;
    if (socket.closed) return;
    const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
    socket.destroy();
    await closed;
  }
}
