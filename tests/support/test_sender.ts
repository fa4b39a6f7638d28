/** A Sender with fake sockets, and functions that deliver events to it. */
import { limitsFrom } from "../../chat/base/limits.ts";
import { Sender } from "../../chat/delivery/sender.ts";
import type { Subscriber, WireFormat } from "../../chat/delivery/subscriber.ts";
import type { RoomEvent, UserRef } from "../../chat/feed/events.ts";
import { FakeClock } from "./fake_clock.ts";
import { FakeSocket } from "./fake_socket.ts";

/** A client of a {@linkcode TestSender}. */
export interface FakeSubscriber {
  readonly socket: FakeSocket;
  readonly subscriber: Subscriber;
}

/** A Sender whose event IDs are `id000000`, `id000001` and so on. */
export class TestSender {
  readonly time = new FakeClock();
  readonly sender = new Sender(limitsFrom(), this.time);
  /** The session IDs of the clients that Sender closed. */
  readonly gone: string[] = [];
  #ids = 0;

  /** Delivers events as one commit. */
  readonly deliver = (...events: RoomEvent[]): void => {
    for (const each of events) this.sender.deliver(each, this.nextId());
    this.sender.flush();
  };

  /** Returns the next event ID. */
  nextId(): string {
    return `id${String(this.#ids++).padStart(6, "0")}`;
  }

  /** Adds a client that is in no room. */
  readonly enter = (id: string, wire: WireFormat = "text"): FakeSubscriber => {
    const socket = new FakeSocket();
    const subscriber = this.sender.add(socket, wire, () => this.gone.push(id));
    this.sender.bind(subscriber, id);
    return { socket, subscriber };
  };

  /** Adds a client that is in these rooms and has received no events. */
  enterRooms(id: string, wire: WireFormat, ...rooms: string[]): FakeSubscriber {
    const client = this.enter(id, wire);
    for (const room of rooms) this.deliver(event("join", id, "", room));
    client.socket.sent.length = 0;
    return client;
  }
}

/** Returns an event by the session `id`, whose nickname is `nick{id}`. */
export function event(
  kind: RoomEvent["kind"],
  id: string,
  text = "",
  room = "red",
  more: Partial<RoomEvent> = {},
): RoomEvent {
  return { kind, room, id, account: "", nick: `nick${id}`, text, time: 0, cid: "", ...more };
}

/** Returns a reference to an unregistered user, or with `account` to a registered one. */
export function userRef(user: string, nick = `nick${user}`, isRegistered = false): UserRef {
  return { user, nick, isRegistered };
}

/** Fills the queue of a client that reads nothing. */
export function fill(
  deliver: (event: RoomEvent) => void,
  socket: FakeSocket,
  from: string,
  room = "red",
): void {
  socket.reads = false;
  for (let before = -1; before < socket.sent.length;) {
    before = socket.sent.length;
    deliver(event("message", from, "x".repeat(10_000), room));
  }
}

/** Lets a client read all unsent data. */
export function drain(socket: FakeSocket): void {
  socket.reads = true;
  socket.bufferedAmount = 0;
  socket.sent.length = 0;
}

/** Returns the lines that were sent to a chat.v1 client. */
export function linesOf(socket: FakeSocket) {
  return socket.sent.flatMap((frame) => frame.split("\n")).map((line) => JSON.parse(line));
}
