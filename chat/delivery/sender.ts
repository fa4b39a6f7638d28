/**
 * The subscribers of this instance: which socket receives the events of which connection.
 *
 * The protocols send replies through Sender at once; events come from the feed, in its order. No
 * file outside this folder touches a socket's queue. Rooms are in rooms.ts, frames in writer.ts.
 */
import { Backpressure } from "./backpressure.ts";
import { CLOSE, type CloseReason } from "../base/close_codes.ts";
import { type Clock, systemClock } from "../base/clock.ts";
import type { RoomEvent } from "../feed/events.ts";
import { encodeJson } from "./json.ts";
import type { Limits } from "../base/limits.ts";
import { Rooms } from "./rooms.ts";
import { newSubscriber, type Socket, type Subscriber, type WireFormat } from "./subscriber.ts";
import { encodeText } from "./text.ts";
import { Writer } from "./writer.ts";

/** The sockets of one instance. */
export class Sender {
  readonly #all = new Set<Subscriber>();
  /** By connection ID. */
  readonly #byId = new Map<string, Subscriber>();
  /** Subscribers that wait for the delivery of their resume event, by the hash of the new token. */
  readonly #expected = new Map<string, Subscriber>();
  readonly #backpressure: Backpressure;
  readonly #writer: Writer;
  readonly #rooms: Rooms;
  #muted = false;

  constructor(limits: Limits, clock: Clock = systemClock) {
    const close = (subscriber: Subscriber, why: CloseReason) => this.close(subscriber, why);
    this.#backpressure = new Backpressure(limits.maxUnsentBytes, limits.maxTotalUnsentBytes, clock);
    this.#writer = new Writer(this.#backpressure, limits.maxUnsentBytes, close);
    this.#rooms = new Rooms(this.#writer, this.#backpressure, clock, close);
  }

  /** The number of sockets. */
  get size(): number {
    return this.#all.size;
  }

  /** Adds a socket. `onClosed` is called once, with the close code, if Sender closes it. */
  add(socket: Socket, wire: WireFormat, onClosed: (code: number) => void): Subscriber {
    const subscriber = newSubscriber(socket, wire, onClosed);
    this.#all.add(subscriber);
    return subscriber;
  }

  /** Binds a subscriber to a connection ID: it receives that connection's events from now on. */
  bind(subscriber: Subscriber, id: string): void {
    if (!this.#all.has(subscriber)) return;
    if (subscriber.id !== undefined) this.#byId.delete(subscriber.id);
    subscriber.id = id;
    this.#byId.set(id, subscriber);
  }

  /** Lets a subscriber wait for the resume event whose token has this hash. */
  expect(tokenHash: string, subscriber: Subscriber): void {
    this.#expected.set(tokenHash, subscriber);
  }

  /** Ends the wait for a resume event. */
  cancelExpect(tokenHash: string): void {
    this.#expected.delete(tokenHash);
  }

  /** Returns whether a subscriber still has its socket. */
  includes(subscriber: Subscriber): boolean {
    return this.#all.has(subscriber);
  }

  /** Returns whether this instance has a socket for a connection ID. */
  has(id: string): boolean {
    return this.#byId.has(id);
  }

  /** Removes a subscriber: it is sent nothing from now on. */
  remove(subscriber: Subscriber): void {
    if (!this.#all.delete(subscriber)) return;
    this.#rooms.leave(subscriber);
    this.#writer.forget(subscriber);
    if (subscriber.id !== undefined && this.#byId.get(subscriber.id) === subscriber) {
      this.#byId.delete(subscriber.id);
    }
  }

  /** Sends a reply, if the socket is still there. Events that were delivered before go first. */
  reply(subscriber: Subscriber, text: string): void {
    this.flush();
    if (this.#all.has(subscriber)) this.#writer.send(subscriber, text);
  }

  /**
   * Reserves room for a large reply that has yet to be made, or returns `undefined` if it does not
   * fit now. The caller must call the returned function when the reply has been sent.
   */
  reserve({ socket }: Subscriber, bytes: number): (() => void) | undefined {
    return this.#backpressure.reserve(socket, bytes);
  }

  /** Sends a reply in one frame with the events that are being delivered, or else very soon. */
  queueLine(subscriber: Subscriber, line: string): void {
    if (!this.#all.has(subscriber)) return;
    if (subscriber.heldEvents !== undefined) return this.#writer.send(subscriber, line);
    const isFirst = this.#writer.queue(subscriber, line);
    // Perhaps no events are being delivered, so that no flush follows.
    if (isFirst) queueMicrotask(() => this.flush());
  }

  /** Closes a socket and removes its subscriber. */
  close(subscriber: Subscriber, { code, reason }: CloseReason): void {
    if (!this.#all.has(subscriber)) return;
    this.remove(subscriber);
    this.#backpressure.closing(subscriber.socket);
    closeSocket(subscriber.socket, code, reason);
    subscriber.onClosed(code);
  }

  /** Stops counting the unsent data of a socket that is closed on both sides. */
  socketClosed(socket: Socket): void {
    this.#backpressure.remove(socket);
  }

  /** Closes the subscriber of a connection that another socket or instance has taken over. */
  takenOver(id: string): void {
    const subscriber = this.#byId.get(id);
    if (subscriber !== undefined) this.close(subscriber, CLOSE.takenOver);
  }

  /**
   * Gives a resumed connection, in `room` or (if empty) in none, to the subscriber that waits for it.
   * Its events are held until {@linkcode Sender.endCatchUp}.
   */
  attach(id: string, tokenHash: string, room: string, eventId: string): void {
    this.takenOver(id);
    const subscriber = this.#expected.get(tokenHash);
    this.#expected.delete(tokenHash);
    if (subscriber === undefined || !this.#all.has(subscriber)) return;
    subscriber.heldEvents = [];
    subscriber.takeoverEventId = eventId;
    this.bind(subscriber, id);
    if (room !== "") this.#rooms.join(subscriber, room);
  }

  /** Sends the held events, except those with `knownIds`: the client knows now what it missed. */
  endCatchUp(subscriber: Subscriber, knownIds: ReadonlySet<string>): void {
    const held = subscriber.heldEvents ?? [];
    this.#rooms.endCatchUp(subscriber);
    subscriber.heldEvents = undefined;
    subscriber.heldUnits = 0;
    for (const { eventId, text } of held) {
      if (!knownIds.has(eventId)) this.#writer.send(subscriber, text);
    }
  }

  /**
   * Delivers an event to its subscribers here. Returns the number of frames that were sent; those of
   * JSON clients follow at the next {@linkcode Sender.flush}.
   */
  deliver(event: RoomEvent, eventId: string): number {
    if (this.#muted) return 0;
    const { kind, id } = event;
    switch (kind) {
      case "message":
      case "action":
        return this.#rooms.deliver(event, eventId, undefined);
      case "nick":
        return this.#rooms.deliver(event, eventId, this.#subscriberOf(id, eventId));
      case "join": {
        const self = this.#subscriberOf(id, eventId);
        if (self !== undefined) this.#rooms.join(self, event.room);
        return this.#rooms.deliver(event, eventId, self);
      }
      case "leave": {
        const self = this.#subscriberOf(id, eventId);
        const frames = this.#rooms.deliver(event, eventId, self);
        if (self !== undefined) this.#rooms.leave(self);
        return frames;
      }
      case "direct":
        return this.#deliverDirect(event, eventId);
      case "resume":
        return 0;
      default:
        return kind satisfies never;
    }
  }

  /** Sends the frames of the events that were delivered. Returns the number of frames. */
  flush(): number {
    return this.#rooms.flush() + this.#writer.flush();
  }

  /** Stops delivering events: from now on they are only for other instances. */
  mute(): void {
    this.flush();
    this.#muted = true;
  }

  /** Closes every socket. */
  closeAll(why: CloseReason): void {
    for (const subscriber of [...this.#all]) this.close(subscriber, why);
  }

  /** Returns the subscriber of a connection, unless the event is from before it was resumed here. */
  #subscriberOf(id: string, eventId: string): Subscriber | undefined {
    const subscriber = this.#byId.get(id);
    return subscriber !== undefined && eventId > subscriber.takeoverEventId
      ? subscriber
      : undefined;
  }

  #deliverDirect(event: RoomEvent, eventId: string): number {
    const subscriber = this.#byId.get(event.id);
    if (subscriber === undefined) return 0;
    if (subscriber.wire !== "json") {
      this.#writer.send(subscriber, encodeText(event, false));
    } else if (subscriber.heldEvents !== undefined) {
      this.#writer.hold(subscriber, encodeJson(event, eventId), eventId);
    } else this.queueLine(subscriber, encodeJson(event, eventId));
    return 1;
  }
}

function closeSocket(socket: Socket, code: number, reason: string): void {
  try {
    socket.close(code, reason);
  } catch {
    // The socket never opened, or is closed already.
  }
}
