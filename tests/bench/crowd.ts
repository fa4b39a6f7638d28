/**
 * Many WebSocket clients in one thread: handshake, frames, the steps into a room, and deliveries.
 *
 * Frames are counted as bytes, never made into objects: a delivery is the marker of what was said,
 * `@`, sixteen digits, `@`, whatever a wire puts around it. What to say and when is not known here.
 */
import { Skip } from "./job.ts";
import type { Happenings, Sockets } from "./sockets.ts";
import type { Step, Wire } from "./wire.ts";

const AT = 64, ZERO = 48;
/** Where a client stands. */
const AWAY = 0, CONNECTING = 1, UPGRADING = 2, STEPPING = 3, IN = 4, LEAVING = 5;

/** Bytes of a marker: seven digits of who, nine of when: whole numbers that need no floating point. */
export const MARKER = 18;
const AROUND = 1e9;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Microseconds since this process started. */
export const micros = () => Math.floor(performance.now() * 1000);

/** What a crowd tells. */
export interface Watcher {
  /** A client was delivered what `sender` said so many microseconds ago. */
  delivered(id: number, sender: number, took: number): void;
  /** A client has done its steps. */
  settled(id: number): void;
  /** A client is not connected any more. */
  gone(id: number): void;
}

/** A frame with a marker in it, ready to be sent once the marker is written. */
interface Saying {
  readonly bytes: Uint8Array;
  readonly at: number;
}

/** The clients. */
export class Crowd implements Happenings {
  readonly #wire: Wire;
  readonly #watcher: Watcher;
  readonly #sockets: Sockets;
  readonly #states: Uint8Array;
  readonly #steps: (readonly Step[])[] = [];
  readonly #tails: (Uint8Array | undefined)[] = [];
  readonly #sayings = new Map<string, Saying>();
  readonly #hello: Uint8Array;
  /** When the bytes that are looked at came: to look at the clock for each delivery costs too much. */
  #now = 0;
  /** Connections that ended although nobody here wanted it. */
  dead = 0;

  constructor(
    clients: number,
    port: number,
    wire: Wire,
    watcher: Watcher,
    sockets: (happenings: Happenings) => Sockets,
  ) {
    this.#wire = wire;
    this.#watcher = watcher;
    this.#states = new Uint8Array(clients);
    this.#hello = encoder.encode(
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

  /** Lets happen what happens, at most for so long. */
  step(ms: number): Promise<void> {
    return this.#sockets.step(ms);
  }

  /** Connects, and takes the steps. */
  enter(id: number, steps: readonly Step[]): void {
    this.#states[id] = CONNECTING;
    this.#steps[id] = steps;
    this.#sockets.open(id);
  }

  /** Takes further steps. */
  take(id: number, steps: readonly Step[]): void {
    this.#states[id] = STEPPING;
    this.#steps[id] = steps;
    this.#begin(id);
  }

  /** Hangs up in peace, with 1000. */
  leave(id: number): void {
    this.#states[id] = LEAVING;
    this.#sockets.send(id, frame(8, new Uint8Array([1000 >> 8, 1000 & 255])));
  }

  /** Whether a client is in its room, and has nothing else to do. */
  isIn(id: number): boolean {
    return this.#states[id] === IN;
  }

  /** Says something of so many bytes, marked with who and when. */
  say(id: number, room: string, size: number): void {
    const key = `${size} ${room}`;
    let saying = this.#sayings.get(key);
    if (saying === undefined) this.#sayings.set(key, saying = this.#saying(room, size));
    const { bytes, at } = saying;
    let rest = id * AROUND + micros() % AROUND;
    for (let i = at + 16; i > at; i--) {
      const next = Math.floor(rest / 10);
      bytes[i] = ZERO + rest - next * 10;
      rest = next;
    }
    this.#sockets.send(id, bytes);
  }

  opened(id: number): void {
    this.#states[id] = UPGRADING;
    this.#sockets.send(id, this.#hello);
  }

  closed(id: number): void {
    if (this.#states[id] === CONNECTING || this.#states[id] === UPGRADING) {
      throw new Skip("the server does not take a connection");
    }
    if (this.#states[id] !== LEAVING) this.dead++;
    this.#states[id] = AWAY;
    this.#tails[id] = undefined;
    this.#watcher.gone(id);
  }

  data(id: number, buffer: Uint8Array, from: number, to: number): void {
    this.#now = micros() % AROUND;
    const tail = this.#tails[id];
    if (tail !== undefined) {
      from -= tail.length;
      buffer.set(tail, from);
      this.#tails[id] = undefined;
    }
    if (this.#states[id] === UPGRADING) from = this.#upgraded(id, buffer, from, to);
    else from = this.#frames(id, buffer, from, to);
    if (from < to && this.#states[id] !== AWAY) this.#tails[id] = buffer.slice(from, to);
  }

  #upgraded(id: number, buffer: Uint8Array, from: number, to: number): number {
    const head = decoder.decode(buffer.subarray(from, to));
    const end = head.indexOf("\r\n\r\n");
    if (end < 0) return from;
    const status = head.slice(0, head.indexOf("\r\n"));
    if (!status.startsWith("HTTP/1.1 101")) throw new Skip(`the upgrade was answered "${status}"`);
    const { subprotocol } = this.#wire;
    const selected = /^sec-websocket-protocol:\s*(\S+)/im.exec(head.slice(0, end))?.[1];
    if (subprotocol !== undefined && selected !== subprotocol) {
      throw new Skip(`the server does not select the subprotocol ${subprotocol}`);
    }
    this.#states[id] = STEPPING;
    this.#begin(id);
    return this.#frames(id, buffer, from + end + 4, to);
  }

  /** Takes all whole frames; returns where the rest begins. */
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
        this.#begin(id);
      }
    }
    if (found || this.#wire.answer === undefined) return;
    const answer = this.#wire.answer(decoder.decode(buffer.subarray(start, end)));
    if (answer !== undefined) this.#sockets.send(id, frame(1, encoder.encode(answer)));
  }

  /** Tells of every marker between two places; whether there was one. */
  #scan(id: number, buffer: Uint8Array, start: number, end: number): boolean {
    let found = false;
    const now = this.#now;
    for (let i = start, last = end - MARKER; i <= last; i++) {
      if (buffer[i] !== AT || buffer[i + MARKER - 1] !== AT) continue;
      let sender = 0, sent = 0;
      for (let k = i + 1; k < i + 8; k++) sender = sender * 10 + buffer[k]! - ZERO;
      for (let k = i + 8; k < i + 17; k++) sent = sent * 10 + buffer[k]! - ZERO;
      i += MARKER - 1;
      found = true;
      this.#watcher.delivered(id, sender, sent <= now ? now - sent : now - sent + AROUND);
    }
    return found;
  }

  #begin(id: number): void {
    const step = this.#steps[id]![0];
    if (step === undefined) {
      this.#states[id] = IN;
      this.#watcher.settled(id);
      return;
    }
    for (const line of step.say) this.#sockets.send(id, frame(1, encoder.encode(line)));
  }

  #saying(room: string, size: number): Saying {
    const text = `@${"0".repeat(MARKER - 2)}@`.padEnd(size, "x");
    const bytes = frame(1, encoder.encode(this.#wire.say(text, room)));
    return { bytes, at: bytes.indexOf(AT, 6) };
  }
}

/** A frame from a client. Its mask is zero: legal, and no work. */
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
