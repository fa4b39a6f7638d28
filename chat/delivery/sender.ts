/**
 * The sockets of this instance, and who of them is in which room: the last step of a message.
 *
 * Replies come straight from Lines and Requests, events from the feed, in its order. Nothing else
 * touches a socket. Who is in a room changes here only when a join or leave is delivered, so that
 * everyone's membership begins and ends at a place in the one order. Those who speak `chat.v1` get
 * all events of a commit in one frame, the others a frame an event.
 */
import { Backpressure, FRAME_OVERHEAD_BYTES, UNCHECKED_BYTES } from "./backpressure.ts";
import { type Clock, systemClock } from "../base/clock.ts";
import { MAX_REPLY_BYTES } from "./encoded_size.ts";
import type { RoomEvent } from "../feed/events.ts";
import { encodeGap, encodeJson } from "./json.ts";
import type { Limits } from "../base/limits.ts";
import { encodePlace, newPlace, type Place } from "./position.ts";
import { SlowReaders } from "./slow_readers.ts";
import { encodeText, further, isPersonal } from "./text.ts";

/** What Sender needs of a WebSocket. */
export interface Socket {
  readonly readyState: number;
  readonly bufferedAmount: number;
  send(text: string): void;
  close(code: number, reason: string): void;
}

/** Close codes that the server uses (RFC 6455, section 7.4.1, the IANA registry, and one of our own). */
export const CLOSE = {
  unsupported: 1003,
  policy: 1008,
  tooBig: 1009,
  restart: 1012,
  tryLater: 1013,
  takenOver: 4001,
} as const;

/** What is said to a socket whose connection another one has now. */
export const TAKEN_OVER_REASON = "you came back over another connection";

/** What is said to somebody who goes on although they were asked to wait. */
export const RATE_LIMIT_REASON = "you went on although you were asked to wait";

/** What is said to somebody for whom too much waits. */
const NOT_READING = "you do not read what is sent to you";

/** How events are written for a peer: as lines, as lines with their ids in front, as JSON. */
export type WireFormat = "text" | "text with ids" | "json";

const OPEN = 1;

/** An event that waits for its peer to have caught up; `part`: see {@linkcode Sender.show}. */
interface HeldEvent {
  readonly eventId: string;
  readonly text: string;
  readonly part?: keyof Place;
}

/** The events of its room that a reader was not sent, because it could not keep up. */
interface Gap {
  /** The ID of the last event that it was sent. */
  after: string;
  /** The ID of the last event that it was not sent. */
  until: string;
  /** How many it was not sent, and how many of them were said. */
  missed: number;
  messages: number;
}

/** A socket, and whose it is. Only Sender looks into it. */
export interface Subscriber {
  readonly socket: Socket;
  readonly wire: WireFormat;
  /** The connection it belongs to; `undefined` until that is known. */
  id: string | undefined;
  /** The id of the event by which it got that; what happened to the connection before is old news. */
  takeoverEventId: string;
  room: RoomSubscribers | undefined;
  /** With "text with ids": the events that were shown last. It stands in front of each line. */
  place: Place;
  /** What has to wait until the peer has been told what it missed. */
  heldEvents: HeldEvent[] | undefined;
  /** Characters of what is held. */
  heldUnits: number;
  /** At most so much waits in the socket: what was sent since its buffer was looked at, and that. */
  waiting: number;
  /** Replies that share the next frame with the events of a commit. */
  pendingLines: string;
  /** How much of its room's lines had been written when it came. */
  skipUnits: number;
  /** It is not sent the events of its room, because too much waits for it. */
  gap: Gap | undefined;
  /** Tells whoever handles its frames that the socket is of no use any more, and its close code. */
  readonly onClosed: (code: number) => void;
}

/** Those of a room who are here. */
interface RoomSubscribers {
  readonly name: string;
  readonly text: Set<Subscriber>;
  readonly json: Set<Subscriber>;
  /** Those who would be in `json`, but have not been told yet what they missed. */
  readonly behind: Set<Subscriber>;
  /** Those who would be in `text` or `json`, but cannot keep up. */
  readonly slow: Set<Subscriber>;
  /** The events of this commit, a line each, not sent yet. */
  lines: string;
  /** Of those in `json`: whom an event in `lines` is about. They must have it. */
  readonly own: Set<Subscriber>;
  /** What is in `lines`: how many events, how many of them were said, and the ID of the last. */
  events: number;
  messages: number;
  last: string;
  /** The ID of the last event that those in `json` were sent. */
  sent: string;
}

/** The sockets of one instance. */
export class Sender {
  readonly #all = new Set<Subscriber>();
  readonly #subscribers = new Map<string, Subscriber>();
  /** Peers that will have a connection when its resumption is delivered, by the new token's hash. */
  readonly #expected = new Map<string, Subscriber>();
  readonly #rooms = new Map<string, RoomSubscribers>();
  readonly #dirtyRooms = new Set<RoomSubscribers>();
  readonly #dirtySubscribers = new Set<Subscriber>();
  readonly #limits: Limits;
  readonly #backpressure: Backpressure;
  readonly #slow: SlowReaders<Subscriber>;
  #muted = false;

  constructor(limits: Limits, clock: Clock = systemClock) {
    this.#limits = limits;
    this.#backpressure = new Backpressure(limits.bufferedBytes, limits.bufferedBytesInAll, clock);
    this.#slow = new SlowReaders(clock, this.#backpressure, {
      caughtUp: (subscriber) => this.#caughtUp(subscriber),
      stalled: (subscriber) => this.close(subscriber, CLOSE.tryLater, NOT_READING),
    });
  }

  /** How many sockets there are. */
  get size(): number {
    return this.#all.size;
  }

  /** Takes a socket. `gone` is called, once, if Sender has to let go of it. */
  add(socket: Socket, wire: WireFormat, gone: (code: number) => void): Subscriber {
    const subscriber: Subscriber = {
      socket,
      wire,
      id: undefined,
      takeoverEventId: "",
      room: undefined,
      place: newPlace(),
      heldEvents: undefined,
      heldUnits: 0,
      waiting: 0,
      pendingLines: "",
      skipUnits: 0,
      gap: undefined,
      onClosed: gone,
    };
    this.#all.add(subscriber);
    return subscriber;
  }

  /** From now on the peer has that connection, and is shown what concerns it. */
  bind(subscriber: Subscriber, id: string): void {
    if (!this.#all.has(subscriber)) return;
    if (subscriber.id !== undefined) this.#subscribers.delete(subscriber.id);
    subscriber.id = id;
    this.#subscribers.set(id, subscriber);
  }

  /** When a connection is resumed here, with this token's hash, this peer is to have it. */
  expect(token: string, subscriber: Subscriber): void {
    this.#expected.set(token, subscriber);
  }

  /** That came to nothing. */
  cancelExpect(token: string): void {
    this.#expected.delete(token);
  }

  /** Whether a socket is still there. */
  includes(subscriber: Subscriber): boolean {
    return this.#all.has(subscriber);
  }

  /** Whether there is a socket for a connection here. */
  has(id: string): boolean {
    return this.#subscribers.has(id);
  }

  /** Forgets a socket: nothing is sent to it from now on. */
  remove(subscriber: Subscriber): void {
    if (!this.#all.delete(subscriber)) return;
    this.#leave(subscriber);
    this.#dirtySubscribers.delete(subscriber);
    if (subscriber.id !== undefined && this.#subscribers.get(subscriber.id) === subscriber) {
      this.#subscribers.delete(subscriber.id);
    }
  }

  /** Sends a line to one peer, if it is still there. What was delivered before it goes first. */
  reply(subscriber: Subscriber, text: string): void {
    this.flush();
    if (this.#all.has(subscriber)) this.#send(subscriber, text);
  }

  /**
   * Keeps room for a large reply that has yet to be made; `undefined`: it does not fit now. The caller
   * must call what is returned when the reply has been sent.
   */
  reserve({ socket }: Subscriber, bytes: number): (() => void) | undefined {
    return this.#backpressure.reserve(socket, bytes);
  }

  /** The same as {@linkcode Sender.reply}, but in one frame with the events that are being delivered just now. */
  queueLine(subscriber: Subscriber, line: string): void {
    if (!this.#all.has(subscriber)) return;
    if (subscriber.heldEvents !== undefined) return this.#send(subscriber, line);
    subscriber.pendingLines += subscriber.pendingLines === "" ? line : `\n${line}`;
    // Nothing may be being delivered just now.
    if (this.#dirtySubscribers.size === 0) queueMicrotask(() => this.flush());
    this.#dirtySubscribers.add(subscriber);
  }

  /** Closes a connection and forgets it. */
  close(subscriber: Subscriber, code: number, reason: string): void {
    if (!this.#all.has(subscriber)) return;
    this.remove(subscriber);
    this.#backpressure.closing(subscriber.socket);
    closeSocket(subscriber.socket, code, reason);
    subscriber.onClosed(code);
  }

  /** A socket is closed on both sides: what still waited for it is gone. */
  socketClosed(socket: Socket): void {
    this.#backpressure.remove(socket);
  }

  /** Closes whoever has a connection that another socket, or instance, has taken over. */
  takenOver(id: string): void {
    const subscriber = this.#subscribers.get(id);
    if (subscriber !== undefined) this.close(subscriber, CLOSE.takenOver, TAKEN_OVER_REASON);
  }

  /**
   * A connection has been resumed here, in a room or in none: the peer that was expected has it,
   * and what concerns it is held from here on until {@linkcode Sender.release}.
   */
  attach(id: string, token: string, room: string, eventId: string): void {
    this.takenOver(id);
    const subscriber = this.#expected.get(token);
    this.#expected.delete(token);
    if (subscriber === undefined || !this.#all.has(subscriber)) return;
    subscriber.heldEvents = [];
    subscriber.takeoverEventId = eventId;
    this.bind(subscriber, id);
    if (room !== "") this.#join(subscriber, room);
  }

  /** The peer has been told what it missed: what was held comes now, but for what it knows already. */
  release(subscriber: Subscriber, known: ReadonlySet<string>): void {
    const { heldEvents: held, room } = subscriber;
    if (room?.behind.has(subscriber)) {
      // What waits for the flush is among what was held.
      this.#flushRoom(room);
      room.behind.delete(subscriber);
      room.json.add(subscriber);
    }
    subscriber.heldEvents = undefined;
    subscriber.heldUnits = 0;
    for (const { eventId, text, part } of held ?? []) {
      if (known.has(eventId)) continue;
      if (part === undefined) this.#send(subscriber, text);
      else this.#sendLine(subscriber, text, eventId, part);
    }
  }

  /** A peer that has come back says which events it saw last. */
  continueFrom(subscriber: Subscriber, place: Place): void {
    subscriber.place = { ...place };
  }

  /**
   * Shows an event to one peer that reads lines, as a reply: one that it missed, or that nobody else
   * sees. `part` says of which kind it is.
   */
  show(subscriber: Subscriber, text: string, eventId: string, part: keyof Place): void {
    this.flush();
    if (this.#all.has(subscriber)) this.#sendLine(subscriber, text, eventId, part);
  }

  /**
   * Shows an event to those in its room. Returns how many frames that took; those who speak JSON
   * get theirs at the next {@linkcode Sender.flush}.
   */
  deliver(event: RoomEvent, eventId: string): number {
    if (this.#muted) return 0;
    if (event.kind === "direct") return this.#deliverTo(event, eventId);
    const self = isPersonal(event) ? this.#subscriberOf(event.id, eventId) : undefined;
    if (self !== undefined && event.kind === "join") this.#join(self, event.room);
    const room = this.#rooms.get(event.room);
    if (room !== undefined && room.slow.size > 0) this.#passOver(room, event, eventId, self);
    if (room !== undefined && room.json.size + room.behind.size > 0) {
      this.#write(room, event, eventId);
      if (self !== undefined && self.wire === "json") room.own.add(self);
    }
    if (self !== undefined && self.wire !== "json") {
      this.#show(self, encodeText(event, true), eventId);
    }
    const frames = room === undefined ? 1 : room.text.size;
    if (room !== undefined && frames > 0) {
      const text = encodeText(event, false);
      for (const subscriber of room.text) {
        if (subscriber !== self) this.#offer(subscriber, room, event, eventId, text);
      }
    }
    if (self !== undefined && event.kind === "leave") this.#leave(self);
    return frames;
  }

  /** Sends what was held back to share a frame. Returns how many frames that took. */
  flush(): number {
    let frames = 0;
    for (const room of this.#dirtyRooms) frames += this.#flushRoom(room);
    for (const subscriber of this.#dirtySubscribers) {
      const { pendingLines: lines } = subscriber;
      subscriber.pendingLines = "";
      this.#send(subscriber, lines);
      frames++;
    }
    if (this.#dirtySubscribers.size > 0) this.#dirtySubscribers.clear();
    return frames;
  }

  /** Stops showing events: what happens from now on is only for other instances. */
  mute(): void {
    this.flush();
    this.#muted = true;
  }

  /** Closes every connection. */
  closeAll(code: number, reason: string): void {
    for (const subscriber of [...this.#all]) this.close(subscriber, code, reason);
  }

  /** Whose doing an event is, if they are here, and were when it happened. */
  #subscriberOf(id: string, eventId: string): Subscriber | undefined {
    const subscriber = this.#subscribers.get(id);
    return subscriber !== undefined && eventId > subscriber.takeoverEventId
      ? subscriber
      : undefined;
  }

  /** To one connection, if it is here: on all other instances it is nobody. */
  #deliverTo(event: RoomEvent, eventId: string): number {
    const subscriber = this.#subscribers.get(event.id);
    if (subscriber === undefined) return 0;
    if (subscriber.wire !== "json") {
      this.#show(subscriber, encodeText(event, false), eventId, "direct");
    } else if (subscriber.heldEvents !== undefined) {
      this.#hold(subscriber, encodeJson(event, eventId), eventId);
    } else this.queueLine(subscriber, encodeJson(event, eventId));
    return 1;
  }

  /** Keeps an event's line for the frame that those of the room who speak JSON will get. */
  #write(room: RoomSubscribers, event: RoomEvent, eventId: string): void {
    const line = encodeJson(event, eventId);
    // Each ends in a line break, so that whoever came in between can be given the rest.
    room.lines += `${line}\n`;
    this.#dirtyRooms.add(room);
    room.events++;
    room.last = eventId;
    if (!isPersonal(event)) room.messages++;
    for (const subscriber of room.behind) this.#hold(subscriber, line, eventId);
  }

  #flushRoom(room: RoomSubscribers): number {
    const { lines } = room;
    if (lines === "") return 0;
    room.lines = "";
    this.#dirtyRooms.delete(room);
    const text = lines.slice(0, -1);
    for (const subscriber of room.json) {
      if (subscriber.skipUnits > 0 || subscriber.pendingLines !== "") {
        this.#sendRest(subscriber, room, lines);
      } else if (!this.#sendIfItFits(subscriber, text)) {
        this.#sendOrFallBehind(subscriber, room, text);
      }
    }
    const frames = room.json.size;
    room.sent = room.last;
    room.events = room.messages = 0;
    if (room.own.size > 0) room.own.clear();
    return frames;
  }

  /** Sends what of its room's lines is for a peer, and its own replies after that. */
  #sendRest(subscriber: Subscriber, room: RoomSubscribers, lines: string): void {
    const { pendingLines: replies } = subscriber;
    const events = lines.slice(subscriber.skipUnits);
    subscriber.skipUnits = 0;
    subscriber.pendingLines = "";
    this.#dirtySubscribers.delete(subscriber);
    const rest = withoutBreak(events + replies);
    if (rest === "" || this.#sendIfItFits(subscriber, rest)) return;
    if (events !== "") this.#sendOrFallBehind(subscriber, room, withoutBreak(events));
    if (replies !== "") this.#send(subscriber, replies);
  }

  /** Events do not fit any more: sends those that are about the peer all the same, and no others. */
  #sendOrFallBehind(subscriber: Subscriber, room: RoomSubscribers, text: string): void {
    if (room.own.has(subscriber)) return this.#send(subscriber, text);
    const { sent: after, last: until, events: missed, messages } = room;
    this.#fallBehind(subscriber, room, { after, until, missed, messages });
  }

  /** Shows an event to somebody in the room who reads lines, if that is not too much. */
  #offer(
    subscriber: Subscriber,
    room: RoomSubscribers,
    event: RoomEvent,
    eventId: string,
    text: string,
  ): void {
    if (subscriber.heldEvents !== undefined) return this.#show(subscriber, text, eventId);
    const { room: shown } = subscriber.place;
    subscriber.place.room = eventId;
    if (this.#sendIfItFits(subscriber, lineFor(subscriber, text))) return;
    // It is not shown this one.
    subscriber.place.room = shown;
    const messages = isPersonal(event) ? 0 : 1;
    this.#fallBehind(subscriber, room, { after: "", until: eventId, missed: 1, messages });
  }

  /** From now on the peer is sent no events of its room, until less waits for it. */
  #fallBehind(subscriber: Subscriber, room: RoomSubscribers, gap: Gap): void {
    membersLike(subscriber, room).delete(subscriber);
    subscriber.gap = gap;
    room.slow.add(subscriber);
    this.#slow.add(subscriber);
  }

  /** Counts an event for those who cannot keep up; whom it is about must have it all the same. */
  #passOver(
    room: RoomSubscribers,
    event: RoomEvent,
    eventId: string,
    self: Subscriber | undefined,
  ): void {
    for (const subscriber of room.slow) {
      const gap = subscriber.gap!;
      if (subscriber === self) {
        this.#tellGap(subscriber, room, gap);
        gap.after = eventId;
        if (subscriber.wire === "json") this.#send(subscriber, encodeJson(event, eventId));
      } else {
        gap.until = eventId;
        gap.missed++;
        if (!isPersonal(event)) gap.messages++;
      }
    }
  }

  #tellGap(subscriber: Subscriber, { name }: RoomSubscribers, gap: Gap): void {
    const { after, until, missed, messages } = gap;
    if (missed === 0) return;
    gap.after = until;
    gap.missed = gap.messages = 0;
    this.#send(
      subscriber,
      subscriber.wire === "json"
        ? encodeGap(name, after, until, missed)
        : further.tooSlow(messages),
    );
  }

  /** Less waits for a peer: it is told what it missed, and is sent events again. */
  #caughtUp(subscriber: Subscriber): void {
    const { room, gap } = subscriber;
    if (room === undefined || gap === undefined) return;
    this.#tellGap(subscriber, room, gap);
    if (subscriber.room === undefined) return;
    room.slow.delete(subscriber);
    subscriber.gap = undefined;
    // What waits for the flush was counted among what it missed.
    subscriber.skipUnits = room.lines.length;
    if (room.lines === "") room.sent = gap.after;
    membersLike(subscriber, room).add(subscriber);
  }

  /** Shows an event to somebody who reads lines. */
  #show(subscriber: Subscriber, text: string, eventId: string, part: keyof Place = "room"): void {
    if (subscriber.heldEvents === undefined) this.#sendLine(subscriber, text, eventId, part);
    else this.#hold(subscriber, text, eventId, part);
  }

  #sendLine(subscriber: Subscriber, text: string, eventId: string, part: keyof Place): void {
    subscriber.place[part] = eventId;
    this.#send(subscriber, lineFor(subscriber, text));
  }

  #hold(subscriber: Subscriber, text: string, eventId: string, part?: keyof Place): void {
    subscriber.heldUnits += text.length;
    if (subscriber.heldUnits > this.#limits.bufferedBytes) {
      return this.close(subscriber, CLOSE.tryLater, "more happens than you can catch up with");
    }
    subscriber.heldEvents!.push({ eventId, text, part });
  }

  /** Sends a reply, or an event that the peer must have; closes it if even that is too much. */
  #send(subscriber: Subscriber, text: string): void {
    const { socket } = subscriber;
    if (socket.readyState !== OPEN) return;
    subscriber.waiting += 3 * text.length + FRAME_OVERHEAD_BYTES;
    if (subscriber.waiting > UNCHECKED_BYTES) {
      const waits = socket.bufferedAmount;
      // A large reply is counted at once: nothing may come after it for a long while.
      if (waits + text.length <= UNCHECKED_BYTES) subscriber.waiting = waits;
      else if (this.#backpressure.exceedsLimit(socket, text.length, MAX_REPLY_BYTES)) {
        return this.close(subscriber, CLOSE.tryLater, NOT_READING);
      }
    }
    socket.send(text);
  }

  /** Sends events, unless too much waits for the peer already. Returns whether that is so. */
  #sendIfItFits(subscriber: Subscriber, text: string): boolean {
    const { socket } = subscriber;
    if (socket.readyState !== OPEN) return true;
    // A character takes three bytes at the most: below that there is no need to look, and to look each
    // time cost 7 % in rooms of ten.
    subscriber.waiting += 3 * text.length + FRAME_OVERHEAD_BYTES;
    if (subscriber.waiting > UNCHECKED_BYTES && this.#isBehind(subscriber, text.length)) {
      return false;
    }
    socket.send(text);
    return true;
  }

  /** Whether what waits for a peer is too much; how much that is, is only now looked at. */
  #isBehind(subscriber: Subscriber, length: number): boolean {
    const waits = subscriber.socket.bufferedAmount;
    // As long as it is much, each further frame is looked at.
    if (waits > UNCHECKED_BYTES) return this.#backpressure.exceedsLimit(subscriber.socket, length);
    subscriber.waiting = waits;
    return false;
  }

  #join(subscriber: Subscriber, name: string): void {
    this.#leave(subscriber);
    let room = this.#rooms.get(name);
    if (room === undefined) {
      room = newRoom(name);
      this.#rooms.set(name, room);
    }
    // What was said before is not for whoever comes now.
    subscriber.skipUnits = subscriber.heldEvents === undefined ? room.lines.length : 0;
    membersLike(subscriber, room).add(subscriber);
    subscriber.room = room;
  }

  #leave(subscriber: Subscriber): void {
    const { room } = subscriber;
    if (room === undefined) return;
    // Their own leaving, and what was said before it, is for them too.
    if (room.json.has(subscriber)) this.#sendRest(subscriber, room, room.lines);
    membersLike(subscriber, room).delete(subscriber);
    room.own.delete(subscriber);
    this.#slow.delete(subscriber);
    subscriber.gap = undefined;
    if (room.text.size + room.json.size + room.behind.size + room.slow.size === 0) {
      this.#rooms.delete(room.name);
      this.#dirtyRooms.delete(room);
    }
    subscriber.room = undefined;
  }
}

/** The line of an event for a peer, with the peer's place in front of it if it may resume. */
function lineFor({ wire, place }: Subscriber, text: string): string {
  return wire === "text" ? text : `${encodePlace(place)} ${text}`;
}

function newRoom(name: string): RoomSubscribers {
  return {
    name,
    text: new Set(),
    json: new Set(),
    behind: new Set(),
    slow: new Set(),
    lines: "",
    own: new Set(),
    events: 0,
    messages: 0,
    last: "",
    sent: "",
  };
}

function withoutBreak(lines: string): string {
  return lines.endsWith("\n") ? lines.slice(0, -1) : lines;
}

function membersLike(
  { wire, heldEvents: held, gap }: Subscriber,
  room: RoomSubscribers,
): Set<Subscriber> {
  if (gap !== undefined) return room.slow;
  if (wire !== "json") return room.text;
  return held === undefined ? room.json : room.behind;
}

function closeSocket(socket: Socket, code: number, reason: string): void {
  try {
    socket.close(code, reason);
  } catch {
    // It was never open, or is closed already.
  }
}
