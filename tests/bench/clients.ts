/**
 * Many WebSocket clients in one thread: handshakes, frames, the steps to join a room, and deliveries.
 *
 * Frames are not parsed. Each message contains a marker: `@`, sixteen digits, `@`. A delivery is a
 * marker in the received bytes, whatever the wire format puts around it. This file does not decide
 * what is sent and when.
 */
import { Skip } from "./job.ts";
import type { SocketHandler, Sockets } from "./sockets.ts";
import type { Step, Wire } from "./wire.ts";

const AT = 64, ZERO = 48;
/** The states of a client. */
const DISCONNECTED = 0, CONNECTING = 1, UPGRADING = 2, STEPPING = 3, READY = 4, LEAVING = 5;

/**
 * Bytes of a marker. Between the two `@` are seven digits of the sender and nine of the time in
 * microseconds: both fit into integers that V8 does not need to box.
 */
export const MARKER_BYTES = 18;
/** The time in a marker starts again at 0 after this many microseconds. */
const CLOCK_WRAP_MICROS = 1e9;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Returns the microseconds since this process started. */
export const micros = () => Math.floor(performance.now() * 1000);

/** Is told what happens to clients. */
export interface ClientObserver {
  /** A client received a message that `sender` sent `took` microseconds ago. */
  delivered(id: number, sender: number, took: number): void;
  /** A client has completed its steps. */
  ready(id: number): void;
  /** The connection of a client has ended. */
  disconnected(id: number): void;
}

/** A frame that contains a marker. The marker is written before each sending. */
interface MarkedFrame {
  readonly bytes: Uint8Array;
  readonly markerAt: number;
}

/** The clients, by number. */
export class BenchClients implements SocketHandler {
  readonly #wire: Wire;
  readonly #observer: ClientObserver;
  readonly #sockets: Sockets;
  readonly #states: Uint8Array;
  readonly #steps: (readonly Step[])[] = [];
  readonly #tails: (Uint8Array | undefined)[] = [];
  readonly #markedFrames = new Map<string, MarkedFrame>();
  readonly #handshake: Uint8Array;
  /** When the current bytes were read: reading the clock for each delivery costs too much. */
  #readAtMicros = 0;
  /** How many connections ended that the load did not close. */
  lostConnections = 0;

  constructor(
    clients: number,
    port: number,
    wire: Wire,
    observer: ClientObserver,
    sockets: (handler: SocketHandler) => Sockets,
  ) {
    this.#wire = wire;
    this.#observer = observer;
    this.#states = new Uint8Array(clients);
    this.#handshake = encoder.encode(
      [
        `GET ${wire.path} HTTP/1.1`,
        `Host: 127.0.0.1:${port}`,
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        `Origin: http://127.0.0.1:${port}`,
        ...(wire.subprotocol === undefined ? [] : [`Sec-WebSocket-Protocol: ${wire.subprotocol}`]),
        "\r\n",
      ].join("\r\n"),
    );
    this.#sockets = sockets(this);
  }

  /** Handles what is ready on the sockets. Waits at most `ms` milliseconds for it. */
  poll(ms: number): Promise<void> {
    return this.#sockets.poll(ms);
  }

  /** Connects a client, and runs its steps. */
  connect(id: number, steps: readonly Step[]): void {
    this.#states[id] = CONNECTING;
    this.#steps[id] = steps;
    this.#sockets.open(id);
  }

  /** Runs further steps of a connected client. */
  runSteps(id: number, steps: readonly Step[]): void {
    this.#states[id] = STEPPING;
    this.#steps[id] = steps;
    this.#beginStep(id);
  }

  /** Begins to close the connection of a client, with code 1000. */
  disconnect(id: number): void {
    this.#states[id] = LEAVING;
    this.#sockets.send(id, frame(8, new Uint8Array([1000 >> 8, 1000 & 255])));
  }

  /** Returns whether a client has completed its steps, and is in its room. */
  isReady(id: number): boolean {
    return this.#states[id] === READY;
  }

  /** Sends a message of `size` bytes, marked with the sender and the time. */
  sendMessage(id: number, room: string, size: number): void {
    const key = `${size} ${room}`;
    let saying = this.#markedFrames.get(key);
    if (saying === undefined) this.#markedFrames.set(key, saying = this.#markedFrame(room, size));
    const { bytes, markerAt: at } = saying;
    let rest = id * CLOCK_WRAP_MICROS + micros() % CLOCK_WRAP_MICROS;
    for (let i = at + 16; i > at; i--) {
      const next = Math.floor(rest / 10);
      bytes[i] = ZERO + rest - next * 10;
      rest = next;
    }
    this.#sockets.send(id, bytes);
  }

  opened(id: number): void {
    this.#states[id] = UPGRADING;
    this.#sockets.send(id, this.#handshake);
  }

  closed(id: number): void {
    if (this.#states[id] === CONNECTING || this.#states[id] === UPGRADING) {
      throw new Skip("the server refuses connections");
    }
    if (this.#states[id] !== LEAVING) this.lostConnections++;
    this.#states[id] = DISCONNECTED;
    this.#tails[id] = undefined;
    this.#observer.disconnected(id);
  }

  data(id: number, buffer: Uint8Array, from: number, to: number): void {
    this.#readAtMicros = micros() % CLOCK_WRAP_MICROS;
    const tail = this.#tails[id];
    if (tail !== undefined) {
      from -= tail.length;
      buffer.set(tail, from);
      this.#tails[id] = undefined;
    }
    if (this.#states[id] === UPGRADING) from = this.#upgraded(id, buffer, from, to);
    else from = this.#frames(id, buffer, from, to);
    if (from < to && this.#states[id] !== DISCONNECTED) this.#tails[id] = buffer.slice(from, to);
  }

  #upgraded(id: number, buffer: Uint8Array, from: number, to: number): number {
    const head = decoder.decode(buffer.subarray(from, to));
    const end = head.indexOf("\r\n\r\n");
    if (end < 0) return from;
    const status = head.slice(0, head.indexOf("\r\n"));
    if (!status.startsWith("HTTP/1.1 101")) {
      throw new Skip(`the server answers the handshake with "${status}"`);
    }
    const { subprotocol } = this.#wire;
    const selected = /^sec-websocket-protocol:\s*(\S+)/im.exec(head.slice(0, end))?.[1];
    if (subprotocol !== undefined && selected !== subprotocol) {
      throw new Skip(`the server does not select the subprotocol ${subprotocol}`);
    }
    this.#states[id] = STEPPING;
    this.#beginStep(id);
    return this.#frames(id, buffer, from + end + 4, to);
  }

  /** Handles all complete frames. Returns where the incomplete rest begins. */
  #frames(id: number, buffer: Uint8Array, from: number, to: number): number {
    while (to - from >= 2) {
      let length = buffer[from + 1]! & 127;
      let start = from + 2;
      if (length >= 126) {
        const bytes = length === 126 ? 2 : 8;
        if (to - start < bytes) break;
        length = 0;
        for (let i = 0; i < bytes; i++) length = length * 256 + buffer[start++]!;
      }
      const end = start + length;
      if (end > to) break;
      const kind = buffer[from]! & 15;
      from = end;
      if (kind <= 2) this.#text(id, buffer, start, end);
      else if (kind === 9) this.#sockets.send(id, frame(10, buffer.subarray(start, end)));
      else if (kind === 8) {
        this.#sockets.close(id);
        this.closed(id);
        return to;
      }
    }
    return from;
  }

  #text(id: number, buffer: Uint8Array, start: number, end: number): void {
    const found = this.#scan(id, buffer, start, end);
    if (this.#states[id] === STEPPING) {
      const text = decoder.decode(buffer.subarray(start, end));
      const [step, ...further] = this.#steps[id]!;
      if (step !== undefined && text.includes(step.until)) {
        this.#steps[id] = further;
        this.#beginStep(id);
      }
    }
    if (found || this.#wire.answer === undefined) return;
    const answer = this.#wire.answer(decoder.decode(buffer.subarray(start, end)));
    if (answer !== undefined) this.#sockets.send(id, frame(1, encoder.encode(answer)));
  }

  /** Reports every marker between two positions. Returns whether there was one. */
  #scan(id: number, buffer: Uint8Array, start: number, end: number): boolean {
    let found = false;
    const now = this.#readAtMicros;
    for (let i = start, last = end - MARKER_BYTES; i <= last; i++) {
      if (buffer[i] !== AT || buffer[i + MARKER_BYTES - 1] !== AT) continue;
      let sender = 0, sent = 0;
      for (let k = i + 1; k < i + 8; k++) sender = sender * 10 + buffer[k]! - ZERO;
      for (let k = i + 8; k < i + 17; k++) sent = sent * 10 + buffer[k]! - ZERO;
      i += MARKER_BYTES - 1;
      found = true;
      this.#observer.delivered(
        id,
        sender,
        sent <= now ? now - sent : now - sent + CLOCK_WRAP_MICROS,
      );
    }
    return found;
  }

  #beginStep(id: number): void {
    const step = this.#steps[id]![0];
    if (step === undefined) {
      this.#states[id] = READY;
      this.#observer.ready(id);
      return;
    }
    for (const line of step.send) this.#sockets.send(id, frame(1, encoder.encode(line)));
  }

  #markedFrame(room: string, size: number): MarkedFrame {
    const text = `@${"0".repeat(MARKER_BYTES - 2)}@`.padEnd(size, "x");
    const bytes = frame(1, encoder.encode(this.#wire.message(text, room)));
    return { bytes, markerAt: bytes.indexOf(AT, 6) };
  }
}

/** Returns a client's frame. Its mask is zero: legal, and the payload needs no change. */
function frame(kind: number, payload: Uint8Array): Uint8Array {
  const { length } = payload;
  const head = length < 126 ? 2 : length < 65536 ? 4 : 10;
  const bytes = new Uint8Array(head + 4 + length);
  const view = new DataView(bytes.buffer);
  bytes[0] = 0x80 | kind;
  bytes[1] = 0x80 | (head === 2 ? length : head === 4 ? 126 : 127);
  if (head === 4) view.setUint16(2, length);
  if (head === 10) view.setBigUint64(2, BigInt(length));
  bytes.set(payload, head + 4);
  return bytes;
}
