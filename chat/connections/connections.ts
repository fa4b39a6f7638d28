/**
 * The WebSockets of one instance, from their acceptance to their end on both sides.
 *
 * Here a socket's events become calls of its Connection. This file reads no frames and sends no
 * replies.
 */
import { CLOSE, type CloseReason, isDeparture } from "../base/close_codes.ts";
import type { Clock } from "../base/clock.ts";
import type { Fields } from "../base/log.ts";
import type { Limits } from "../base/limits.ts";
import type { Sender } from "../delivery/sender.ts";
import type { Socket, WireFormat } from "../delivery/subscriber.ts";
import { terminate } from "../delivery/terminate.ts";
import type { Session } from "../storage/records.ts";
import { Connection, type Handshake, type Protocol, type SessionEvents } from "./connection.ts";
import { LoginTimeout } from "./login_timeout.ts";
import { limitPongs } from "./pongs.ts";

/** A WebSocket that has not opened yet. */
export interface AcceptedSocket extends Socket {
  onopen: ((event: Event) => unknown) | null;
  onmessage: ((event: MessageEvent) => unknown) | null;
  onclose: ((event: CloseEvent) => unknown) | null;
}

/** What the connections of an instance are made of. */
export interface ConnectionsParts {
  readonly sessions: SessionEvents;
  readonly sender: Sender;
  readonly clock: Clock;
  /** Returns a new connection ID, greater than those before. */
  readonly ids: () => string;
  readonly limits: Limits;
  /** Milliseconds in which a connection must log in; 0: unlimited. */
  readonly loginMs: number;
  /** The number of times that the memory guard has looked. */
  readonly looks: { readonly count: number };
  /** Returns the protocol of a subprotocol; that of the empty name is plain text. */
  protocolOf(subprotocol: string): Protocol;
  /** Returns the session of a new connection. `address`: that of its client alone, if it is known. */
  newSession(id: string, wire: WireFormat, address?: string): Session;
  warn(message: string, fields?: Fields): void;
}

/** Milliseconds in which a socket must open. A handshake that the client resets never opens one. */
export const OPENING_MS = 5_000;

/** Milliseconds that a client has to answer a close before its TCP connection is cut. */
const CLOSING_MS = 10_000;

/** Milliseconds that all clients have to answer a close when the instance ends. */
const SHUTDOWN_CLOSING_MS = 1_000;

/** Unsent bytes that make a client one of the slow readers when memory is short. */
const SLOW_READER_BYTES = 64 * 1024;

/** The connections of one instance. */
export class Connections {
  readonly #parts: ConnectionsParts;
  readonly #all = new Set<Connection>();
  readonly #loginTimeout: LoginTimeout;
  /** Sockets that have opened and whose end has not been reported. */
  readonly #sockets = new Set<AcceptedSocket>();
  /** Sockets closed here whose clients have not answered yet, each with the end of its timer. */
  readonly #closing = new Map<Socket, () => void>();
  #onLastClosed = (): void => {};
  #isOpen = true;

  constructor(parts: ConnectionsParts) {
    this.#parts = parts;
    this.#loginTimeout = new LoginTimeout(parts.clock, parts.loginMs);
  }

  /** Whether new sockets are accepted. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Accepts a socket that has not opened yet. */
  accept(socket: AcceptedSocket, handshake: Handshake): void {
    let connection: Connection | undefined;
    let onMessage = (): void => {};
    let isLate = false;
    const cancelOpening = this.#parts.clock.after(OPENING_MS, () => {
      isLate = true;
      handshake.admission?.fail();
    });
    socket.onopen = () => {
      cancelOpening();
      // Its admission has ended, so it would stay without being counted.
      if (isLate) return closeUnopened(socket, CLOSE.slowHandshake);
      if (!this.#isOpen) return closeUnopened(socket, CLOSE.restart);
      this.#sockets.add(socket);
      connection = this.#open(socket, handshake);
      onMessage = limitPongs(socket, this.#parts.clock, () => {
        connection?.close(CLOSE.tooManyPongs);
        // Otherwise the client would continue to send, and the runtime to read.
        this.#cut(socket);
      });
    };
    socket.onmessage = ({ data }) => {
      onMessage();
      connection?.receive(data);
    };
    // A `close` event follows every `error` event.
    socket.onclose = ({ code }) => {
      cancelOpening();
      handshake.admission?.leave();
      this.#closing.get(socket)?.();
      this.#closing.delete(socket);
      this.#parts.sender.socketClosed(socket);
      this.#sockets.delete(socket);
      if (this.#sockets.size === 0) this.#onLastClosed();
      if (connection !== undefined) this.#end(connection, code);
    };
  }

  /**
   * Closes at most `maxCount` connections to free memory, and cuts them: a close alone frees nothing.
   * Returns how many. First those whose clients do not answer a close, then silent ones that have not
   * logged in: they lose nothing. Then the slowest readers, which certainly take memory. Then the other
   * silent ones, newest first: a client that is cut because of an endless message comes back as one of
   * the newest.
   */
  shed(maxCount: number): number {
    const waiting = [...this.#closing.keys()].slice(0, maxCount);
    for (const socket of waiting) this.#cut(socket);
    const suspects = this.#suspects().slice(0, maxCount - waiting.length);
    for (const connection of suspects) {
      connection.close(CLOSE.lowMemory);
      this.#cut(connection.subscriber.socket);
    }
    return waiting.length + suspects.length;
  }

  /** Suspends the connection that has a session: see {@linkcode Connection.suspend}. */
  suspend(id: string): Promise<() => void> {
    for (const connection of this.#all) {
      if (connection.id === id) return connection.suspend();
    }
    return Promise.resolve(() => {});
  }

  /** Closes the connections of addresses that are banned. */
  closeBanned(isBanned: (address: string) => boolean): void {
    for (const connection of [...this.#all]) {
      const { address } = connection.handshake;
      if (address !== undefined && isBanned(address)) connection.close(CLOSE.banned);
    }
  }

  /** Accepts no more sockets. */
  stopAccepting(): void {
    this.#isOpen = false;
  }

  /** Resolves when the frames that have arrived are handled. No more are taken. */
  async drain(): Promise<void> {
    await Promise.all([...this.#all].map((connection) => connection.drain()));
  }

  /** Closes all sockets with 1012, and waits a moment for their clients to answer. */
  async closeAll(): Promise<void> {
    this.#loginTimeout.close();
    this.#parts.sender.closeAll(CLOSE.restart);
    await Promise.all([...this.#all].map((connection) => connection.end(true)));
    for (const cancel of this.#closing.values()) cancel();
    this.#closing.clear();
    if (this.#sockets.size === 0) return;
    // A process that ended now would lose the close frames.
    await new Promise<void>((resolve) => {
      const cancel = this.#parts.clock.after(SHUTDOWN_CLOSING_MS, resolve);
      this.#onLastClosed = () => {
        cancel();
        resolve();
      };
    });
  }

  #open(socket: AcceptedSocket, handshake: Handshake): Connection {
    const { sessions, sender, ids, limits, looks, warn } = this.#parts;
    const protocol = this.#parts.protocolOf(handshake.subprotocol);
    const subscriber = sender.add(socket, protocol.wire, (code) => {
      this.#cutLater(socket);
      this.#end(connection, code);
    });
    const { address, isAddressShared } = handshake;
    const ownAddress = isAddressShared ? undefined : address;
    const session = this.#parts.newSession(ids(), protocol.wire, ownAddress);
    const connection = new Connection({
      handshake,
      subscriber,
      session,
      protocol,
      sessions,
      sender,
      limits,
      looks,
      warn,
    });
    this.#all.add(connection);
    this.#loginTimeout.add(connection);
    sender.bind(subscriber, connection.id);
    return connection;
  }

  #end(connection: Connection, code: number): void {
    this.#loginTimeout.remove(connection);
    void connection.end(!isDeparture(code)).finally(() => this.#all.delete(connection));
  }

  #suspects(): Connection[] {
    const newestFirst = [...this.#all].reverse();
    const silent = newestFirst.filter((each) => each.isSilent);
    const unsent = ({ subscriber: { socket } }: Connection) => socket.bufferedAmount;
    const slow = newestFirst.filter((each) => unsent(each) > SLOW_READER_BYTES)
      .sort((a, b) => unsent(b) - unsent(a));
    const named = silent.filter((each) => each.isNamed).sort((a, b) => a.id < b.id ? 1 : -1);
    return [...new Set([...silent.filter((each) => !each.isNamed), ...slow, ...named])];
  }

  /** A client that does not answer a close would keep its admission and its unsent data for good. */
  #cutLater(socket: Socket): void {
    const cancel = this.#parts.clock.after(CLOSING_MS, () => this.#cut(socket));
    this.#closing.set(socket, cancel);
  }

  #cut(socket: Socket): void {
    this.#closing.get(socket)?.();
    // Where the runtime cannot cut, the `close` event comes when the client hangs up.
    terminate(socket);
    this.#closing.delete(socket);
  }
}

function closeUnopened(socket: Socket, { code, reason }: CloseReason): void {
  socket.close(code, reason);
}
