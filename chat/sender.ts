/**
 * The sockets of this instance, and who of them is in which room: the last step of a message.
 *
 * Replies come straight from Handler, events from the feed, in its order. Nothing else touches a
 * socket. Who is in a room changes here only when a join or leave is delivered, so that everyone's
 * membership begins and ends at a place in the one order.
 */
import type { RoomEvent } from "./events.ts";
import type { Limits } from "./limits.ts";
import { encodeText, isPersonal } from "./text.ts";

/** What Sender needs of a WebSocket. */
export interface Socket {
  readonly readyState: number;
  readonly bufferedAmount: number;
  send(text: string): void;
  close(code: number, reason: string): void;
}

/** Close codes that the server uses (RFC 6455, section 7.4.1, and the IANA registry). */
export const CLOSE = {
  unsupported: 1003,
  policy: 1008,
  tooBig: 1009,
  restart: 1012,
  tryLater: 1013,
} as const;

const OPEN = 1;

interface Peer {
  readonly id: string;
  readonly socket: Socket;
  room: string | undefined;
  /** Tells whoever handles its frames that the socket is of no use any more. */
  readonly gone: () => void;
}

/** The sockets of one instance. */
export class Sender {
  readonly #peers = new Map<string, Peer>();
  readonly #rooms = new Map<string, Set<Peer>>();
  readonly #limits: Limits;
  #muted = false;

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  /** How many sockets there are. */
  get size(): number {
    return this.#peers.size;
  }

  /** Takes a socket. `gone` is called, once, if Sender has to let go of it. */
  add(id: string, socket: Socket, gone: () => void): void {
    this.#peers.set(id, { id, socket, room: undefined, gone });
  }

  /** Forgets a socket: nothing is sent to it from now on. */
  remove(id: string): void {
    const peer = this.#peers.get(id);
    if (peer === undefined) return;
    this.#peers.delete(id);
    this.#leave(peer);
  }

  /** Sends a line to one connection of this instance, if it is still there. */
  reply(id: string, text: string): void {
    const peer = this.#peers.get(id);
    if (peer !== undefined) this.#send(peer, text);
  }

  /** Closes a connection and forgets it. */
  close(id: string, code: number, reason: string): void {
    const peer = this.#peers.get(id);
    if (peer === undefined) return;
    this.remove(id);
    closeSocket(peer.socket, code, reason);
    peer.gone();
  }

  /** Shows an event to those in its room. Returns how many frames that took. */
  deliver(event: RoomEvent): number {
    if (this.#muted) return 0;
    if (event.kind === "direct") return this.#deliverTo(event);
    const self = isPersonal(event) ? this.#peers.get(event.id) : undefined;
    if (self !== undefined && event.kind === "join") this.#join(self, event.room);
    const room = this.#rooms.get(event.room);
    if (self !== undefined) this.#send(self, encodeText(event, true));
    if (room === undefined) return 0;
    const frames = room.size;
    const text = encodeText(event, false);
    for (const peer of room) if (peer !== self) this.#send(peer, text);
    if (self !== undefined && event.kind === "leave") this.#leave(self);
    return frames;
  }

  /** To one connection, if it is here: on all other instances it is nobody. */
  #deliverTo(event: RoomEvent): number {
    const peer = this.#peers.get(event.id);
    if (peer === undefined) return 0;
    this.#send(peer, encodeText(event, false));
    return 1;
  }

  /** Stops showing events: what happens from now on is only for other instances. */
  mute(): void {
    this.#muted = true;
  }

  /** Closes every connection. */
  closeAll(code: number, reason: string): void {
    for (const id of [...this.#peers.keys()]) this.close(id, code, reason);
  }

  #send(peer: Peer, text: string): void {
    const { socket } = peer;
    if (socket.readyState !== OPEN) return;
    // A socket queues without bound, so a peer that does not read has to be let go by us.
    if (socket.bufferedAmount > this.#limits.bufferedBytes) {
      return this.close(peer.id, CLOSE.tryLater, "you do not read what is sent to you");
    }
    socket.send(text);
  }

  #join(peer: Peer, room: string): void {
    this.#leave(peer);
    let peers = this.#rooms.get(room);
    if (peers === undefined) this.#rooms.set(room, peers = new Set());
    peers.add(peer);
    peer.room = room;
  }

  #leave(peer: Peer): void {
    if (peer.room === undefined) return;
    const peers = this.#rooms.get(peer.room);
    peers?.delete(peer);
    if (peers?.size === 0) this.#rooms.delete(peer.room);
    peer.room = undefined;
  }
}

function closeSocket(socket: Socket, code: number, reason: string): void {
  try {
    socket.close(code, reason);
  } catch {
    // It was never open, or is closed already.
  }
}
