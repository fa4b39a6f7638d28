/**
 * The sockets of this instance, and who of them is in which room: the last step of a message.
 *
 * Replies come straight from Lines and Requests, events from the feed, in its order. Nothing else
 * touches a socket. Who is in a room changes here only when a join or leave is delivered, so that
 * everyone's membership begins and ends at a place in the one order. Those who speak `chat.v1` get
 * all events of a commit in one frame, the others a frame an event.
 */
import { Backlog, FRAME, UNSUSPICIOUS } from "./backlog.ts";
import { type Clock, systemClock } from "./clock.ts";
import { MAX_REPLY_BYTES } from "./encoded.ts";
import type { RoomEvent } from "./events.ts";
import { encodeGap, encodeJson } from "./json.ts";
import type { Limits } from "./limits.ts";
import { encodePlace, newPlace, type Place } from "./place.ts";
import { SlowReaders } from "./slow.ts";
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
export const TAKEN_OVER = "you came back over another connection";

/** What is said to somebody who goes on although they were asked to wait. */
export const TOO_FAST = "you went on although you were asked to wait";

/** What is said to somebody for whom too much waits. */
const NOT_READING = "you do not read what is sent to you";

/** How events are written for a peer: as lines, as lines with their ids in front, as JSON. */
export type Wire = "text" | "text with ids" | "json";

const OPEN = 1;

/** An event that waits for its peer to have caught up; `part`: see {@linkcode Sender.show}. */
interface Held {
  readonly at: string;
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
export interface Peer {
  readonly socket: Socket;
  readonly wire: Wire;
  /** The connection it belongs to; `undefined` until that is known. */
  id: string | undefined;
  /** The id of the event by which it got that; what happened to the connection before is old news. */
  from: string;
  room: Room | undefined;
  /** With "text with ids": the events that were shown last. It stands in front of each line. */
  place: Place;
  /** What has to wait until the peer has been told what it missed. */
  held: Held[] | undefined;
  /** Characters of what is held. */
  heldUnits: number;
  /** At most so much waits in the socket: what was sent since its buffer was looked at, and that. */
  waiting: number;
  /** Replies that share the next frame with the events of a commit. */
  lines: string;
  /** How much of its room's lines had been written when it came. */
  skip: number;
  /** It is not sent the events of its room, because too much waits for it. */
  gap: Gap | undefined;
  /** Tells whoever handles its frames that the socket is of no use any more, and its close code. */
  readonly gone: (code: number) => void;
}

/** Those of a room who are here. */
interface Room {
  readonly name: string;
  readonly text: Set<Peer>;
  readonly json: Set<Peer>;
  /** Those who would be in `json`, but have not been told yet what they missed. */
  readonly behind: Set<Peer>;
  /** Those who would be in `text` or `json`, but cannot keep up. */
  readonly slow: Set<Peer>;
  /** The events of this commit, a line each, not sent yet. */
  lines: string;
  /** Of those in `json`: whom an event in `lines` is about. They must have it. */
  readonly own: Set<Peer>;
  /** What is in `lines`: how many events, how many of them were said, and the ID of the last. */
  events: number;
  messages: number;
  last: string;
  /** The ID of the last event that those in `json` were sent. */
  sent: string;
}

/** The sockets of one instance. */
export class Sender {
  readonly #all = new Set<Peer>();
  readonly #peers = new Map<string, Peer>();
  /** Peers that will have a connection when its resumption is delivered, by the new token's hash. */
  readonly #expected = new Map<string, Peer>();
  readonly #rooms = new Map<string, Room>();
  readonly #dirtyRooms = new Set<Room>();
  readonly #dirtyPeers = new Set<Peer>();
  readonly #limits: Limits;
  readonly #backlog: Backlog;
  readonly #slow: SlowReaders<Peer>;
  #muted = false;

  constructor(limits: Limits, clock: Clock = systemClock) {
    this.#limits = limits;
    this.#backlog = new Backlog(limits.bufferedBytes, limits.bufferedBytesInAll, clock);
    this.#slow = new SlowReaders(clock, this.#backlog, {
      caughtUp: (peer) => this.#caughtUp(peer),
      stalled: (peer) => this.close(peer, CLOSE.tryLater, NOT_READING),
    });
  }

  /** How many sockets there are. */
  get size(): number {
    return this.#all.size;
  }

  /** Takes a socket. `gone` is called, once, if Sender has to let go of it. */
  add(socket: Socket, wire: Wire, gone: (code: number) => void): Peer {
    const peer: Peer = {
      socket,
      wire,
      id: undefined,
      from: "",
      room: undefined,
      place: newPlace(),
      held: undefined,
      heldUnits: 0,
      waiting: 0,
      lines: "",
      skip: 0,
      gap: undefined,
      gone,
    };
    this.#all.add(peer);
    return peer;
  }

  /** From now on the peer has that connection, and is shown what concerns it. */
  bind(peer: Peer, id: string): void {
    if (!this.#all.has(peer)) return;
    if (peer.id !== undefined) this.#peers.delete(peer.id);
    peer.id = id;
    this.#peers.set(id, peer);
  }

  /** When a connection is resumed here, with this token's hash, this peer is to have it. */
  expect(token: string, peer: Peer): void {
    this.#expected.set(token, peer);
  }

  /** That came to nothing. */
  expectNoMore(token: string): void {
    this.#expected.delete(token);
  }

  /** Whether a socket is still there. */
  isThere(peer: Peer): boolean {
    return this.#all.has(peer);
  }

  /** Whether there is a socket for a connection here. */
  has(id: string): boolean {
    return this.#peers.has(id);
  }

  /** Forgets a socket: nothing is sent to it from now on. */
  remove(peer: Peer): void {
    if (!this.#all.delete(peer)) return;
    this.#leave(peer);
    this.#dirtyPeers.delete(peer);
    if (peer.id !== undefined && this.#peers.get(peer.id) === peer) this.#peers.delete(peer.id);
  }

  /** Sends a line to one peer, if it is still there. What was delivered before it goes first. */
  reply(peer: Peer, text: string): void {
    this.flush();
    if (this.#all.has(peer)) this.#send(peer, text);
  }

  /**
   * Keeps room for a large reply that has yet to be made; `undefined`: it does not fit now. The caller
   * must call what is returned when the reply has been sent.
   */
  reserve({ socket }: Peer, bytes: number): (() => void) | undefined {
    return this.#backlog.reserve(socket, bytes);
  }

  /** The same as {@linkcode Sender.reply}, but in one frame with the events that are being delivered just now. */
  confirm(peer: Peer, line: string): void {
    if (!this.#all.has(peer)) return;
    if (peer.held !== undefined) return this.#send(peer, line);
    peer.lines += peer.lines === "" ? line : `\n${line}`;
    // Nothing may be being delivered just now.
    if (this.#dirtyPeers.size === 0) queueMicrotask(() => this.flush());
    this.#dirtyPeers.add(peer);
  }

  /** Closes a connection and forgets it. */
  close(peer: Peer, code: number, reason: string): void {
    if (!this.#all.has(peer)) return;
    this.remove(peer);
    this.#backlog.closing(peer.socket);
    closeSocket(peer.socket, code, reason);
    peer.gone(code);
  }

  /** A socket is closed on both sides: what still waited for it is gone. */
  ended(socket: Socket): void {
    this.#backlog.gone(socket);
  }

  /** Closes whoever has a connection that another socket, or instance, has taken over. */
  takenOver(id: string): void {
    const peer = this.#peers.get(id);
    if (peer !== undefined) this.close(peer, CLOSE.takenOver, TAKEN_OVER);
  }

  /**
   * A connection has been resumed here, in a room or in none: the peer that was expected has it,
   * and what concerns it is held from here on until {@linkcode Sender.release}.
   */
  arrive(id: string, token: string, room: string, at: string): void {
    this.takenOver(id);
    const peer = this.#expected.get(token);
    this.#expected.delete(token);
    if (peer === undefined || !this.#all.has(peer)) return;
    peer.held = [];
    peer.from = at;
    this.bind(peer, id);
    if (room !== "") this.#join(peer, room);
  }

  /** The peer has been told what it missed: what was held comes now, but for what it knows already. */
  release(peer: Peer, known: ReadonlySet<string>): void {
    const { held, room } = peer;
    if (room?.behind.has(peer)) {
      // What waits for the flush is among what was held.
      this.#flushRoom(room);
      room.behind.delete(peer);
      room.json.add(peer);
    }
    peer.held = undefined;
    peer.heldUnits = 0;
    for (const { at, text, part } of held ?? []) {
      if (known.has(at)) continue;
      if (part === undefined) this.#send(peer, text);
      else this.#sendLine(peer, text, at, part);
    }
  }

  /** A peer that has come back says which events it saw last. */
  continueFrom(peer: Peer, place: Place): void {
    peer.place = { ...place };
  }

  /**
   * Shows an event to one peer that reads lines, as a reply: one that it missed, or that nobody else
   * sees. `part` says of which kind it is.
   */
  show(peer: Peer, text: string, at: string, part: keyof Place): void {
    this.flush();
    if (this.#all.has(peer)) this.#sendLine(peer, text, at, part);
  }

  /**
   * Shows an event to those in its room. Returns how many frames that took; those who speak JSON
   * get theirs at the next {@linkcode Sender.flush}.
   */
  deliver(event: RoomEvent, at: string): number {
    if (this.#muted) return 0;
    if (event.kind === "direct") return this.#deliverTo(event, at);
    const self = isPersonal(event) ? this.#self(event.id, at) : undefined;
    if (self !== undefined && event.kind === "join") this.#join(self, event.room);
    const room = this.#rooms.get(event.room);
    if (room !== undefined && room.slow.size > 0) this.#passOver(room, event, at, self);
    if (room !== undefined && room.json.size + room.behind.size > 0) {
      this.#write(room, event, at);
      if (self !== undefined && self.wire === "json") room.own.add(self);
    }
    if (self !== undefined && self.wire !== "json") this.#show(self, encodeText(event, true), at);
    const frames = room === undefined ? 1 : room.text.size;
    if (room !== undefined && frames > 0) {
      const text = encodeText(event, false);
      for (const peer of room.text) if (peer !== self) this.#offer(peer, room, event, at, text);
    }
    if (self !== undefined && event.kind === "leave") this.#leave(self);
    return frames;
  }

  /** Sends what was held back to share a frame. Returns how many frames that took. */
  flush(): number {
    let frames = 0;
    for (const room of this.#dirtyRooms) frames += this.#flushRoom(room);
    for (const peer of this.#dirtyPeers) {
      const { lines } = peer;
      peer.lines = "";
      this.#send(peer, lines);
      frames++;
    }
    if (this.#dirtyPeers.size > 0) this.#dirtyPeers.clear();
    return frames;
  }

  /** Stops showing events: what happens from now on is only for other instances. */
  mute(): void {
    this.flush();
    this.#muted = true;
  }

  /** Closes every connection. */
  closeAll(code: number, reason: string): void {
    for (const peer of [...this.#all]) this.close(peer, code, reason);
  }

  /** Whose doing an event is, if they are here, and were when it happened. */
  #self(id: string, at: string): Peer | undefined {
    const peer = this.#peers.get(id);
    return peer !== undefined && at > peer.from ? peer : undefined;
  }

  /** To one connection, if it is here: on all other instances it is nobody. */
  #deliverTo(event: RoomEvent, at: string): number {
    const peer = this.#peers.get(event.id);
    if (peer === undefined) return 0;
    if (peer.wire !== "json") this.#show(peer, encodeText(event, false), at, "direct");
    else if (peer.held !== undefined) this.#hold(peer, encodeJson(event, at), at);
    else this.confirm(peer, encodeJson(event, at));
    return 1;
  }

  /** Keeps an event's line for the frame that those of the room who speak JSON will get. */
  #write(room: Room, event: RoomEvent, at: string): void {
    const line = encodeJson(event, at);
    // Each ends in a line break, so that whoever came in between can be given the rest.
    room.lines += `${line}\n`;
    this.#dirtyRooms.add(room);
    room.events++;
    room.last = at;
    if (!isPersonal(event)) room.messages++;
    for (const peer of room.behind) this.#hold(peer, line, at);
  }

  #flushRoom(room: Room): number {
    const { lines } = room;
    if (lines === "") return 0;
    room.lines = "";
    this.#dirtyRooms.delete(room);
    const text = lines.slice(0, -1);
    for (const peer of room.json) {
      if (peer.skip > 0 || peer.lines !== "") this.#sendRest(peer, room, lines);
      else if (!this.#sendIfItFits(peer, text)) this.#sendOrFallBehind(peer, room, text);
    }
    const frames = room.json.size;
    room.sent = room.last;
    room.events = room.messages = 0;
    if (room.own.size > 0) room.own.clear();
    return frames;
  }

  /** Sends what of its room's lines is for a peer, and its own replies after that. */
  #sendRest(peer: Peer, room: Room, lines: string): void {
    const { lines: replies } = peer;
    const events = lines.slice(peer.skip);
    peer.skip = 0;
    peer.lines = "";
    this.#dirtyPeers.delete(peer);
    const rest = withoutBreak(events + replies);
    if (rest === "" || this.#sendIfItFits(peer, rest)) return;
    if (events !== "") this.#sendOrFallBehind(peer, room, withoutBreak(events));
    if (replies !== "") this.#send(peer, replies);
  }

  /** Events do not fit any more: sends those that are about the peer all the same, and no others. */
  #sendOrFallBehind(peer: Peer, room: Room, text: string): void {
    if (room.own.has(peer)) return this.#send(peer, text);
    const { sent: after, last: until, events: missed, messages } = room;
    this.#fallBehind(peer, room, { after, until, missed, messages });
  }

  /** Shows an event to somebody in the room who reads lines, if that is not too much. */
  #offer(peer: Peer, room: Room, event: RoomEvent, at: string, text: string): void {
    if (peer.held !== undefined) return this.#show(peer, text, at);
    const { room: shown } = peer.place;
    peer.place.room = at;
    if (this.#sendIfItFits(peer, lineFor(peer, text))) return;
    // It is not shown this one.
    peer.place.room = shown;
    const messages = isPersonal(event) ? 0 : 1;
    this.#fallBehind(peer, room, { after: "", until: at, missed: 1, messages });
  }

  /** From now on the peer is sent no events of its room, until less waits for it. */
  #fallBehind(peer: Peer, room: Room, gap: Gap): void {
    membersLike(peer, room).delete(peer);
    peer.gap = gap;
    room.slow.add(peer);
    this.#slow.add(peer);
  }

  /** Counts an event for those who cannot keep up; whom it is about must have it all the same. */
  #passOver(room: Room, event: RoomEvent, at: string, self: Peer | undefined): void {
    for (const peer of room.slow) {
      const gap = peer.gap!;
      if (peer === self) {
        this.#tellGap(peer, room, gap);
        gap.after = at;
        if (peer.wire === "json") this.#send(peer, encodeJson(event, at));
      } else {
        gap.until = at;
        gap.missed++;
        if (!isPersonal(event)) gap.messages++;
      }
    }
  }

  #tellGap(peer: Peer, { name }: Room, gap: Gap): void {
    const { after, until, missed, messages } = gap;
    if (missed === 0) return;
    gap.after = until;
    gap.missed = gap.messages = 0;
    this.#send(
      peer,
      peer.wire === "json" ? encodeGap(name, after, until, missed) : further.tooSlow(messages),
    );
  }

  /** Less waits for a peer: it is told what it missed, and is sent events again. */
  #caughtUp(peer: Peer): void {
    const { room, gap } = peer;
    if (room === undefined || gap === undefined) return;
    this.#tellGap(peer, room, gap);
    if (peer.room === undefined) return;
    room.slow.delete(peer);
    peer.gap = undefined;
    // What waits for the flush was counted among what it missed.
    peer.skip = room.lines.length;
    if (room.lines === "") room.sent = gap.after;
    membersLike(peer, room).add(peer);
  }

  /** Shows an event to somebody who reads lines. */
  #show(peer: Peer, text: string, at: string, part: keyof Place = "room"): void {
    if (peer.held === undefined) this.#sendLine(peer, text, at, part);
    else this.#hold(peer, text, at, part);
  }

  #sendLine(peer: Peer, text: string, at: string, part: keyof Place): void {
    peer.place[part] = at;
    this.#send(peer, lineFor(peer, text));
  }

  #hold(peer: Peer, text: string, at: string, part?: keyof Place): void {
    peer.heldUnits += text.length;
    if (peer.heldUnits > this.#limits.bufferedBytes) {
      return this.close(peer, CLOSE.tryLater, "more happens than you can catch up with");
    }
    peer.held!.push({ at, text, part });
  }

  /** Sends a reply, or an event that the peer must have; closes it if even that is too much. */
  #send(peer: Peer, text: string): void {
    const { socket } = peer;
    if (socket.readyState !== OPEN) return;
    peer.waiting += 3 * text.length + FRAME;
    if (peer.waiting > UNSUSPICIOUS) {
      const waits = socket.bufferedAmount;
      // A large reply is counted at once: nothing may come after it for a long while.
      if (waits + text.length <= UNSUSPICIOUS) peer.waiting = waits;
      else if (this.#backlog.isTooMuch(socket, text.length, MAX_REPLY_BYTES)) {
        return this.close(peer, CLOSE.tryLater, NOT_READING);
      }
    }
    socket.send(text);
  }

  /** Sends events, unless too much waits for the peer already. Returns whether that is so. */
  #sendIfItFits(peer: Peer, text: string): boolean {
    const { socket } = peer;
    if (socket.readyState !== OPEN) return true;
    // A character takes three bytes at the most: below that there is no need to look, and to look each
    // time cost 7 % in rooms of ten.
    peer.waiting += 3 * text.length + FRAME;
    if (peer.waiting > UNSUSPICIOUS && this.#isBehind(peer, text.length)) return false;
    socket.send(text);
    return true;
  }

  /** Whether what waits for a peer is too much; how much that is, is only now looked at. */
  #isBehind(peer: Peer, length: number): boolean {
    const waits = peer.socket.bufferedAmount;
    // As long as it is much, each further frame is looked at.
    if (waits > UNSUSPICIOUS) return this.#backlog.isTooMuch(peer.socket, length);
    peer.waiting = waits;
    return false;
  }

  #join(peer: Peer, name: string): void {
    this.#leave(peer);
    let room = this.#rooms.get(name);
    if (room === undefined) {
      room = newRoom(name);
      this.#rooms.set(name, room);
    }
    // What was said before is not for whoever comes now.
    peer.skip = peer.held === undefined ? room.lines.length : 0;
    membersLike(peer, room).add(peer);
    peer.room = room;
  }

  #leave(peer: Peer): void {
    const { room } = peer;
    if (room === undefined) return;
    // Their own leaving, and what was said before it, is for them too.
    if (room.json.has(peer)) this.#sendRest(peer, room, room.lines);
    membersLike(peer, room).delete(peer);
    room.own.delete(peer);
    this.#slow.delete(peer);
    peer.gap = undefined;
    if (room.text.size + room.json.size + room.behind.size + room.slow.size === 0) {
      this.#rooms.delete(room.name);
      this.#dirtyRooms.delete(room);
    }
    peer.room = undefined;
  }
}

/** The line of an event for a peer, with the peer's place in front of it if it may resume. */
function lineFor({ wire, place }: Peer, text: string): string {
  return wire === "text" ? text : `${encodePlace(place)} ${text}`;
}

function newRoom(name: string): Room {
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

function membersLike({ wire, held, gap }: Peer, room: Room): Set<Peer> {
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
