/**
 * TCP connections through Linux system calls (`epoll_wait`, `recv`, `send`), with Deno's FFI.
 *
 * It uses one thread and no promise per read, so that the generator does not limit a measurement. It
 * needs Linux with glibc on x86-64 or arm64; elsewhere the generator uses `PortableSockets`.
 */
import { CHUNK_BYTES, HEADROOM_BYTES, type SocketHandler, type Sockets } from "./sockets.ts";

const SYMBOLS = {
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
  epoll_create1: { parameters: ["i32"], result: "i32" },
  epoll_ctl: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
  epoll_wait: { parameters: ["i32", "buffer", "i32", "i32"], result: "i32" },
  // `size_t` has 64 bits. Sizes here fit into 32, and Deno clears the upper half of the register.
  recv: { parameters: ["i32", "buffer", "u32", "i32"], result: "i32" },
  send: { parameters: ["i32", "buffer", "u32", "i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
} as const;

const AF_INET = 2, SOCK_STREAM = 1, SOCK_NONBLOCK = 0o4000, IPPROTO_TCP = 6, TCP_NODELAY = 1;
const MSG_NOSIGNAL = 0x4000, EPOLL_ADD = 1, EPOLL_MOD = 3;
const IN = 1, OUT = 4, ERR = 8, HUP = 16;
const MAX_EVENTS = 1024;

/** Bytes of `struct epoll_event`, which is packed on x86-64. */
const EVENT_BYTES = Deno.build.arch === "x86_64" ? 12 : 16;
const DATA_AT = EVENT_BYTES - 8;

/** Returns whether this machine has epoll and glibc. */
export function hasEpoll(): boolean {
  if (Deno.build.os !== "linux") return false;
  try {
    Deno.dlopen("libc.so.6", SYMBOLS).close();
    return true;
  } catch {
    return false;
  }
}

/** TCP connections over epoll. */
export class EpollSockets implements Sockets {
  readonly #handler: SocketHandler;
  readonly #c = Deno.dlopen("libc.so.6", SYMBOLS).symbols;
  readonly #epoll: number;
  readonly #address = new Uint8Array(16);
  readonly #event = new DataView(new ArrayBuffer(EVENT_BYTES));
  readonly #eventBytes = new Uint8Array(this.#event.buffer);
  readonly #events = new DataView(new ArrayBuffer(EVENT_BYTES * MAX_EVENTS));
  readonly #eventsBytes = new Uint8Array(this.#events.buffer);
  readonly #buffer = new Uint8Array(HEADROOM_BYTES + CHUNK_BYTES);
  readonly #chunk = this.#buffer.subarray(HEADROOM_BYTES);
  /** The file descriptor of each open connection. */
  readonly #fds = new Map<number, number>();
  readonly #opening = new Set<number>();
  /** Bytes that the kernel did not accept yet. */
  readonly #unsent = new Map<number, Uint8Array>();

  constructor(port: number, handler: SocketHandler) {
    this.#handler = handler;
    this.#epoll = this.#c.epoll_create1(0);
    this.#address.set([AF_INET, 0, port >> 8, port & 255, 127, 0, 0, 1]);
  }

  open(id: number): void {
    const fd = this.#c.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0) throw new Error("Cannot open a socket: raise `ulimit -n`");
    this.#c.setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, new Uint8Array([1, 0, 0, 0]), 4);
    this.#c.connect(fd, this.#address, 16);
    this.#fds.set(id, fd);
    this.#opening.add(id);
    this.#watch(EPOLL_ADD, id, fd, IN | OUT);
  }

  send(id: number, bytes: Uint8Array): void {
    const fd = this.#fds.get(id);
    if (fd === undefined) return;
    const before = this.#unsent.get(id);
    const sent = before === undefined
      ? Math.max(0, this.#c.send(fd, bytes as Uint8Array<ArrayBuffer>, bytes.length, MSG_NOSIGNAL))
      : 0;
    if (sent === bytes.length) return;
    const rest = new Uint8Array((before?.length ?? 0) + bytes.length - sent);
    if (before !== undefined) rest.set(before);
    rest.set(bytes.subarray(sent), before?.length ?? 0);
    this.#unsent.set(id, rest);
    this.#watch(EPOLL_MOD, id, fd, IN | OUT);
  }

  close(id: number): void {
    const fd = this.#fds.get(id);
    if (fd === undefined) return;
    this.#c.close(fd);
    this.#fds.delete(id);
    this.#opening.delete(id);
    this.#unsent.delete(id);
  }

  // deno-lint-ignore require-await -- the interface is asynchronous for `PortableSockets`
  async poll(ms: number): Promise<void> {
    const count = this.#c.epoll_wait(this.#epoll, this.#eventsBytes, MAX_EVENTS, ms);
    for (let i = 0; i < count; i++) {
      const flags = this.#events.getUint32(i * EVENT_BYTES, true);
      const id = this.#events.getUint32(i * EVENT_BYTES + DATA_AT, true);
      // The handler of an earlier event may have closed it.
      const fd = this.#fds.get(id);
      if (fd !== undefined) this.#ready(id, fd, flags);
    }
  }

  #ready(id: number, fd: number, flags: number): void {
    if (flags & OUT && !(flags & (ERR | HUP))) this.#writable(id, fd);
    if (!(flags & (IN | ERR | HUP))) return;
    const count = this.#c.recv(fd, this.#chunk, CHUNK_BYTES, 0);
    if (count > 0) {
      this.#handler.data(id, this.#buffer, HEADROOM_BYTES, HEADROOM_BYTES + count);
    } else if (count === 0 || flags & (ERR | HUP)) {
      this.close(id);
      this.#handler.closed(id);
    }
  }

  #writable(id: number, fd: number): void {
    this.#watch(EPOLL_MOD, id, fd, IN);
    if (this.#opening.delete(id)) this.#handler.opened(id);
    const unsent = this.#unsent.get(id);
    if (unsent === undefined) return;
    this.#unsent.delete(id);
    this.send(id, unsent);
  }

  #watch(operation: number, id: number, fd: number, flags: number): void {
    this.#event.setUint32(0, flags, true);
    this.#event.setUint32(DATA_AT, id, true);
    this.#c.epoll_ctl(this.#epoll, operation, fd, this.#eventBytes);
  }
}
