/**
 * The sockets of this instance: which of them receives which event, and every reply.
 *
 * The protocols send replies through Sender at once; events come from the feed, in its order. No
 * file outside this folder touches a socket's queue. Rooms are in rooms.ts, frames in writer.ts.
 */
import { Backpressure } from "./backpressure.ts";
import { actNameFrom, ACTS } from "../base/acts.ts";
import { CLOSE, type CloseReason } from "../base/close_codes.ts";
import { type Clock, systemClock } from "../base/clock.ts";
import { authorOf, type RoomEvent, type UserRef } from "../feed/events.ts";
import { encodeJson, encodeRoomState, encodeTyping, type RoomState } from "./json.ts";
import type { Limits } from "../base/limits.ts";
import type { Gauges } from "../base/metrics.ts";
import { Rooms } from "./rooms.ts";
import { isIgnored } from "./ignoring.ts";
import {
  newSubscriber,
  roomOf,
  type Socket,
  type Subscriber,
  type WireFormat,
} from "./subscriber.ts";
import { Subscribers } from "./subscribers.ts";
import { encodeText } from "./text.ts";
import { Writer } from "./writer.ts";

/** A session that a subscriber is given when it resumes. */
export interface ResumedSession {
  readonly id: string;
  /** The user that it speaks for. */
  readonly user: string;
  /** The rooms that it is in. */
  readonly rooms: Iterable<string>;
}

/** Authors whose direct messages to one plain-text client are remembered as shown. */
const MAX_SHOWN_DIRECTS = 256;

/** The sockets of one instance. */
export class Sender {
  readonly #subscribers = new Subscribers();
  /** Subscribers that wait for the delivery of their resume event, by the hash of the new token. */
  readonly #expected = new Map<string, Subscriber>();
  readonly #backpressure: Backpressure;
  readonly #writer: Writer;
  readonly #rooms: Rooms;
  readonly #keepsHistory: boolean;
  #muted = false;

  /** `keepsHistory`: direct messages between registered users are kept. */
  constructor(limits: Limits, clock: Clock = systemClock, keepsHistory = true) {
    const close = (subscriber: Subscriber, why: CloseReason) => this.close(subscriber, why);
    this.#keepsHistory = keepsHistory;
    this.#backpressure = new Backpressure(limits.maxUnsentBytes, limits.maxTotalUnsentBytes, clock);
    this.#writer = new Writer(this.#backpressure, limits.maxUnsentBytes, close);
    this.#rooms = new Rooms(this.#writer, this.#backpressure, clock, close);
  }

  /** What is measured of the sockets now. */
  get gauges(): Pick<Gauges, "connections" | "rooms" | "unsentBytes"> {
    const unsent = this.#subscribers.all().map(({ socket }) => socket.bufferedAmount);
    return {
      connections: this.size,
      rooms: this.#rooms.size,
      unsentBytes: unsent.reduce((sum, each) => sum + each, 0),
    };
  }

  /** The number of sockets. */
  get size(): number {
    return this.#subscribers.size;
  }

  /** Adds a socket. `onClosed` is called once, with the close code, if Sender closes it. */
  add(socket: Socket, wire: WireFormat, onClosed: (code: number) => void): Subscriber {
    const subscriber = newSubscriber(socket, wire, onClosed);
    this.#subscribers.add(subscriber);
    return subscriber;
  }

  /** Binds a subscriber to a session ID: it receives that session's events from now on. */
  bind(subscriber: Subscriber, id: string): void {
    this.#subscribers.bind(subscriber, id);
  }

  /**
   * Says which user the session of a subscriber speaks for: it receives that user's direct messages
   * and read markers from now on. Until the first call, the user is the session itself.
   */
  setUser(subscriber: Subscriber, user: string): void {
    this.#subscribers.setUser(subscriber, user);
  }

  /**
   * Says which users a subscriber's client ignores, by their IDs: it is sent no messages, joins and leaves
   * of theirs from now on.
   */
  setIgnored(subscriber: Subscriber, ignored: ReadonlySet<string>): void {
    if (subscriber.ignored === undefined && ignored.size === 0) return;
    // What is pending was written for the earlier list.
    this.flush();
    subscriber.ignored = ignored.size === 0 ? undefined : ignored;
    this.#rooms.ignoredChanged(subscriber);
  }

  /** Returns the subscriber of a session, if it has one here. */
  subscriberOf(session: string): Subscriber | undefined {
    return this.#subscribers.byId(session);
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
    return this.#subscribers.includes(subscriber);
  }

  /** Returns whether this instance has a socket for a session ID. */
  has(id: string): boolean {
    return this.#subscribers.byId(id) !== undefined;
  }

  /** Removes a subscriber: it is sent nothing from now on. */
  remove(subscriber: Subscriber): void {
    if (!this.#subscribers.remove(subscriber)) return;
    this.#rooms.leaveAll(subscriber);
    this.#writer.forget(subscriber);
  }

  /** Sends a reply, if the socket is still there. Events that were delivered before go first. */
  reply(subscriber: Subscriber, text: string): void {
    this.flush();
    if (this.includes(subscriber)) this.#writer.send(subscriber, text);
  }

  /**
   * Reserves room for a large reply that has yet to be made, or returns `undefined` if it does not
   * fit now. The caller must call the returned function when the reply has been sent.
   */
  reserve({ socket }: Subscriber, bytes: number): (() => void) | undefined {
    return this.#backpressure.reserve(socket, bytes);
  }

  /** Sends a reply after the events that are being delivered, or else very soon. */
  queueLine(subscriber: Subscriber, line: string): void {
    if (!this.includes(subscriber)) return;
    if (subscriber.heldEvents !== undefined) return this.#writer.send(subscriber, line);
    const isFirst = this.#writer.queue(subscriber, line);
    // Perhaps no events are being delivered, so that no flush follows.
    if (isFirst) queueMicrotask(() => this.flush());
  }

  /** Closes a socket and removes its subscriber. */
  close(subscriber: Subscriber, { code, reason }: CloseReason): void {
    if (!this.includes(subscriber)) return;
    this.remove(subscriber);
    this.#backpressure.closing(subscriber.socket);
    closeSocket(subscriber.socket, code, reason);
    subscriber.onClosed(code);
  }

  /** Stops counting the unsent data of a socket that is closed on both sides. */
  socketClosed(socket: Socket): void {
    this.#backpressure.remove(socket);
  }

  /** Closes the socket of a session, if it has one here. */
  closeSession(id: string, why: CloseReason): void {
    const subscriber = this.#subscribers.byId(id);
    if (subscriber !== undefined) this.close(subscriber, why);
  }

  /**
   * Gives a resumed session to the subscriber that waits for it, at the delivery of the resume event
   * `eventId`. Later events are held until {@linkcode Sender.endCatchUp}. Earlier ones, which other
   * shards may deliver until then, are dropped: the client is told them as missed.
   */
  attach({ id, user, rooms }: ResumedSession, tokenHash: string, eventId: string): void {
    this.closeSession(id, CLOSE.takenOver);
    const subscriber = this.#expected.get(tokenHash);
    this.#expected.delete(tokenHash);
    if (subscriber === undefined || !this.includes(subscriber)) return;
    subscriber.heldEvents = [];
    subscriber.takeoverEventId = eventId;
    this.bind(subscriber, id);
    this.setUser(subscriber, user);
    for (const room of rooms) this.#rooms.join(subscriber, room, eventId);
  }

  /**
   * Holds the direct messages for a subscriber that is in no room, or speaks plain text, until
   * {@linkcode Sender.endCatchUp}: its client is to be told earlier ones first.
   */
  holdDirects(subscriber: Subscriber): void {
    if (this.includes(subscriber)) subscriber.heldEvents = [];
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
    const { kind } = event;
    switch (kind) {
      case "message":
      case "action":
        return this.#rooms.deliver(event, eventId, undefined);
      case "nick":
        if (event.isQuiet) return 0;
        return this.#rooms.deliver(event, eventId, this.#subscriberOf(event, eventId));
      case "away":
        return event.isQuiet ? 0 : this.#rooms.deliver(event, eventId, undefined);
      case "join":
      case "leave":
        return this.#deliverMove(event, eventId);
      case "edit":
      case "delete":
      case "reaction":
        if (event.to === undefined) return this.#rooms.deliver(event, eventId, undefined);
        return this.#deliverToUsers(event, eventId, event.to.user);
      case "direct":
        return this.#deliverToUsers(event, eventId, event.to?.user);
      case "read":
        return this.#deliverToUsers(event, eventId);
      case "act":
        return event.isQuiet ? 0 : this.#deliverAct(event, eventId);
      case "resume":
        return 0;
      default:
        return kind satisfies never;
    }
  }

  /** Tells some sessions here of an act that neither their room nor they themselves were told of. */
  tellAct(sessions: readonly string[], event: RoomEvent, eventId: string): void {
    for (const id of sessions) {
      const subscriber = this.#subscribers.byId(id);
      if (subscriber !== undefined) this.#tellAct(subscriber, event, eventId, false);
    }
  }

  /** Tells a JSON client the state of a room, unless it is being told what it missed. */
  tellRoomState(session: string, state: RoomState): void {
    const subscriber = this.#subscribers.byId(session);
    if (subscriber?.wire !== "json" || subscriber.heldEvents !== undefined) return;
    this.queueLine(subscriber, encodeRoomState(state));
  }

  /**
   * Tells JSON clients here that a user writes: in a room, or to one of them. The user's own sessions, those
   * that ignore the user, and clients with much unsent data are left out.
   */
  tellTyping(
    { room, to, user }: { readonly room?: string; readonly to?: string; readonly user: UserRef },
  ): void {
    if (this.#muted) return;
    const line = encodeTyping(room, user);
    const listeners = room === undefined
      ? this.#subscribers.ofUsers(to ?? "", to ?? "")
      : this.#rooms.listenersOf(room);
    for (const subscriber of listeners) {
      const isMeant = subscriber.wire === "json" && subscriber.heldEvents === undefined &&
        subscriber.user !== user.user && !subscriber.ignored?.has(user.user);
      if (isMeant) this.#writer.sendIfItFits(subscriber, line);
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
    for (const subscriber of this.#subscribers.all()) this.close(subscriber, why);
  }

  /** Returns the subscriber an event is about, unless the event is from before it resumed here. */
  #subscriberOf({ id }: RoomEvent, eventId: string): Subscriber | undefined {
    const subscriber = this.#subscribers.byId(id);
    return subscriber !== undefined && eventId > subscriber.takeoverEventId
      ? subscriber
      : undefined;
  }

  #deliverMove(event: RoomEvent, eventId: string): number {
    const { kind, room, to, isQuiet } = event;
    const self = this.#subscriberOf(event, eventId);
    // With `to` the session stays in the room: only the user that it speaks for is another one.
    const moving = to === undefined ? self : undefined;
    if (isQuiet) return moving ? this.#rooms.moveQuietly(event, eventId, moving) : 0;
    if (moving && kind === "join") this.#rooms.join(moving, room, eventId);
    const frames = this.#rooms.deliver(event, eventId, self);
    if (moving && kind === "leave") this.#rooms.leave(moving, room);
    return frames;
  }

  /** Delivers an event to all sockets here of its author and of another user, which may be the same. */
  #deliverToUsers(event: RoomEvent, eventId: string, other?: string): number {
    const author = authorOf(event);
    const subscribers = this.#subscribers.ofUsers(author, other ?? author);
    if (subscribers.size === 0) return 0;
    const line = encodeJson(event, eventId, this.#keepsHistory);
    for (const subscriber of subscribers) {
      if (isIgnored(subscriber, event)) continue;
      if (subscriber.wire !== "json") {
        if (subscriber.user === other) this.#sendText(subscriber, event, eventId, false);
        if (subscriber.user === author) this.#sendText(subscriber, event, eventId, true);
      } else if (subscriber.heldEvents === undefined) this.queueLine(subscriber, line);
      else this.#writer.hold(subscriber, line, eventId);
    }
    return subscribers.size;
  }

  /**
   * Tells of an act: its room if all members are told, and the user concerned. A client that is in the room
   * and concerned is told once.
   */
  #deliverAct(event: RoomEvent, eventId: string): number {
    const { room, to, target = "" } = event;
    const act = actNameFrom(target);
    const isShown = act !== undefined && ACTS[act].isShown && room !== "";
    const frames = isShown ? this.#rooms.deliver(event, eventId, undefined) : 0;
    // Who is reported is not told.
    if (to === undefined || target === "report") return frames;
    const concerned = this.#subscribers.ofUsers(to.user, to.user);
    for (const subscriber of concerned) {
      // One that reads too slowly is sent no events of its rooms.
      const isMember = isShown && subscriber.gaps === 0 && roomOf(subscriber, room) !== undefined;
      if (isMember && subscriber.wire === "json") this.#rooms.mustReceive(subscriber, event);
      else this.#tellAct(subscriber, event, eventId, true);
    }
    return frames + concerned.size;
  }

  #tellAct(subscriber: Subscriber, event: RoomEvent, eventId: string, isConcerned: boolean): void {
    if (subscriber.wire !== "json") {
      return this.#sendLine(subscriber, encodeText(event, isConcerned), eventId);
    }
    const line = encodeJson(event, eventId);
    if (subscriber.heldEvents === undefined) this.queueLine(subscriber, line);
    else this.#writer.hold(subscriber, line, eventId);
  }

  /** Sends a line to a plain-text client, or holds it. */
  #sendLine(subscriber: Subscriber, text: string, eventId: string): void {
    if (subscriber.heldEvents === undefined) this.#writer.send(subscriber, text);
    else this.#writer.hold(subscriber, text, eventId);
  }

  /** Sends a direct message to a plain-text client of its author (`isOwn`) or of its recipient. */
  #sendText(subscriber: Subscriber, event: RoomEvent, eventId: string, isOwn: boolean): void {
    const text = encodeText(event, isOwn);
    if (text === "") return;
    this.#sendLine(subscriber, text, eventId);
    const { account, to } = event;
    if (isOwn || !this.#keepsHistory || account === "" || !to?.isRegistered) return;
    const shown = subscriber.shownDirects ??= new Map();
    // The newest authors: a user has this many conversations only by an attack.
    if (shown.size === MAX_SHOWN_DIRECTS && !shown.has(account)) {
      shown.delete(shown.keys().next().value!);
    }
    shown.set(account, eventId);
  }
}

function closeSocket(socket: Socket, code: number, reason: string): void {
  try {
    socket.close(code, reason);
  } catch {
    // The socket never opened, or is closed already.
  }
}
