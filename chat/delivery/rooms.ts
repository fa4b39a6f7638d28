/**
 * Delivers the events of rooms to their subscribers on this instance.
 *
 * Plain-text clients get one frame an event, `chat.v1` clients all events of a commit in one frame.
 * A client that reads too slowly is sent no events of its rooms until it has caught up, and then one
 * line a room that says what it missed. Membership changes only when a join or a leave is delivered.
 */
import type { Backpressure } from "./backpressure.ts";
import { CLOSE, type CloseReason } from "../base/close_codes.ts";
import type { Clock } from "../base/clock.ts";
import type { RoomEvent } from "../feed/events.ts";
import { encodeGap, encodeJson } from "./json.ts";
import { SlowReaders } from "./slow_readers.ts";
import { isIgnorable, isIgnored, shownAuthorOf } from "./ignoring.ts";
import {
  addTo,
  countIgnorer,
  type Gap,
  newRoom,
  removeFrom,
  roomOf,
  type RoomSubscribers,
  type Subscriber,
} from "./subscriber.ts";
import { encodeText, IS_SHOWN, isMemberChange, ownReply } from "./text.ts";
import type { Writer } from "./writer.ts";

/** The rooms that have subscribers on this instance. */
export class Rooms {
  readonly #writer: Writer;
  readonly #rooms = new Map<string, RoomSubscribers>();
  /** Rooms with lines that have not been sent. */
  readonly #dirty = new Set<RoomSubscribers>();
  readonly #slow: SlowReaders<Subscriber>;

  /** `close` is called for a client that reads nothing at all. */
  constructor(
    writer: Writer,
    backpressure: Backpressure,
    clock: Clock,
    close: (subscriber: Subscriber, why: CloseReason) => void,
  ) {
    this.#writer = writer;
    this.#slow = new SlowReaders(clock, backpressure, {
      caughtUp: (subscriber) => this.#caughtUp(subscriber),
      stalled: (subscriber) => close(subscriber, CLOSE.slowReader),
    });
  }

  /**
   * Puts a subscriber into a room, unless it is there already. It has been, or will be, told of all
   * events up to `eventId`.
   */
  join(subscriber: Subscriber, name: string, eventId: string): void {
    if (roomOf(subscriber, name) !== undefined) return;
    let room = this.#rooms.get(name);
    if (room === undefined) {
      room = newRoom(name);
      this.#rooms.set(name, room);
    }
    if (room.json.size + room.behind.size === 0 && room.lines === "") room.sentEventId = eventId;
    subscriber.rooms = subscriber.rooms.concat(room);
    addTo(room, subscriber);
    countIgnorer(room, subscriber);
    skipLines(room, subscriber);
  }

  /** Called when the users that a subscriber ignores have changed. */
  ignoredChanged(subscriber: Subscriber): void {
    for (const room of subscriber.rooms) countIgnorer(room, subscriber);
  }

  /** Lets the JSON client of a subscriber in an event's room receive the event, however slow it is. */
  mustReceive(subscriber: Subscriber, event: RoomEvent): void {
    roomOf(subscriber, event.room)?.mustReceive.add(subscriber);
  }

  /** Takes a subscriber out of a room, after sending it the room's pending lines. */
  leave(subscriber: Subscriber, name: string): void {
    const room = roomOf(subscriber, name);
    if (room !== undefined) this.#leave(subscriber, room);
  }

  /** Takes a subscriber out of all rooms, after sending it their pending lines. */
  leaveAll(subscriber: Subscriber): void {
    for (const room of subscriber.rooms) this.#leave(subscriber, room);
  }

  #leave(subscriber: Subscriber, room: RoomSubscribers): void {
    // Its own leaving, and the events before that, are for it too.
    if (room.json.has(subscriber)) this.#sendRest(subscriber, room, room.lines);
    if (removeFrom(room, subscriber)) {
      this.#rooms.delete(room.name);
      this.#dirty.delete(room);
    }
    if (subscriber.gaps === 0) this.#slow.delete(subscriber);
  }

  /**
   * Delivers an event to its room. `self` is the subscriber that it is about, if that is here.
   * Returns the number of frames that were sent; those of JSON clients follow at the next flush.
   */
  deliver(event: RoomEvent, eventId: string, self: Subscriber | undefined): number {
    const room = this.#rooms.get(event.room);
    if (room !== undefined && room.slow.size > 0) this.#addToGaps(room, event, eventId, self);
    if (room !== undefined && room.json.size + room.behind.size > 0) {
      this.#addLine(room, event, eventId);
      if (self?.wire === "json") room.mustReceive.add(self);
    }
    if (self !== undefined && self.wire !== "json") this.#tell(self, event, eventId);
    const frames = room === undefined ? 1 : room.text.size;
    if (room !== undefined && frames > 0) this.#offerText(room, event, eventId, self);
    return frames;
  }

  /** Moves a subscriber by a join or leave of which only that subscriber is told. */
  moveQuietly(event: RoomEvent, eventId: string, self: Subscriber): number {
    const room = this.#rooms.get(event.room);
    const gap = room?.slow.get(self);
    if (room !== undefined && gap !== undefined) this.#sendGap(self, room, gap);
    if (event.kind === "leave") this.leave(self, event.room);
    // It is told at once: after the earlier events of the room, and before all later ones.
    this.#tell(self, event, eventId);
    if (event.kind === "join") this.join(self, event.room, eventId);
    return 1;
  }

  /** Returns the JSON clients in a room that are sent its events at once. */
  listenersOf(name: string): Iterable<Subscriber> {
    return this.#rooms.get(name)?.json ?? [];
  }

  /** Sends the pending lines of all rooms. Returns the number of frames. */
  flush(): number {
    let frames = 0;
    for (const room of this.#dirty) frames += this.#flushRoom(room);
    return frames;
  }

  /** Moves a JSON client that has been told what it missed to those that are sent events. */
  endCatchUp(subscriber: Subscriber): void {
    for (const room of subscriber.rooms) {
      if (!room.behind.has(subscriber)) continue;
      // The room's pending lines are among the held events.
      this.#flushRoom(room);
      room.behind.delete(subscriber);
      room.json.add(subscriber);
    }
  }

  /** Sends an event to the subscriber that it is about, whatever else is unsent. */
  #tell(self: Subscriber, event: RoomEvent, eventId: string): void {
    const isJson = self.wire === "json";
    const line = isJson ? encodeJson(event, eventId) : encodeText(event, true);
    // For plain-text clients only direct messages are held.
    if (isJson && self.heldEvents !== undefined) this.#writer.hold(self, line, eventId);
    else if (line !== "") this.#writer.send(self, line);
  }

  /** Adds an event to the next frame of the room's JSON clients. */
  #addLine(room: RoomSubscribers, event: RoomEvent, eventId: string): void {
    const line = encodeJson(event, eventId);
    if (room.ignorers !== undefined && isIgnorable(event.kind)) {
      const start = room.lines.length;
      room.authored.push({ author: shownAuthorOf(event), start, end: start + line.length + 1 });
    }
    // Each line ends in a line break, so that a client that joined in between can skip the first ones.
    room.lines += `${line}\n`;
    this.#dirty.add(room);
    room.events++;
    room.lastEventId = eventId;
    for (const subscriber of room.behind) {
      if (!isIgnored(subscriber, event)) this.#writer.hold(subscriber, line, eventId);
    }
  }

  #flushRoom(room: RoomSubscribers): number {
    const { lines } = room;
    if (lines === "") return 0;
    room.lines = "";
    this.#dirty.delete(room);
    const text = lines.slice(0, -1);
    const { skipUnits } = room;
    for (const subscriber of room.json) {
      if (
        subscriber.pendingLines !== "" || subscriber.ignored !== undefined ||
        skipUnits?.has(subscriber)
      ) {
        this.#sendRest(subscriber, room, lines);
      } else if (!this.#writer.sendIfItFits(subscriber, text)) {
        this.#sendOrStartGap(subscriber, room, text);
      }
    }
    const frames = room.json.size;
    room.skipUnits = undefined;
    if (room.authored.length > 0) room.authored = [];
    room.sentEventId = room.lastEventId;
    room.events = 0;
    if (room.mustReceive.size > 0) room.mustReceive.clear();
    return frames;
  }

  /**
   * Sends a client its part of a room's lines. A client in one room gets its queued replies after them
   * in the same frame. One in several rooms gets them later: after the events of all its rooms.
   */
  #sendRest(subscriber: Subscriber, room: RoomSubscribers, lines: string): void {
    const replies = subscriber.rooms.length > 1 ? "" : this.#writer.takeQueued(subscriber);
    const events = linesFor(subscriber, room, lines);
    const rest = withoutLastBreak(events + replies);
    if (rest === "" || this.#writer.sendIfItFits(subscriber, rest)) return;
    if (events !== "") this.#sendOrStartGap(subscriber, room, withoutLastBreak(events));
    if (replies !== "") this.#writer.send(subscriber, replies);
  }

  /** The lines do not fit: sends them only to a client that one of them is about. */
  #sendOrStartGap(subscriber: Subscriber, room: RoomSubscribers, text: string): void {
    if (room.mustReceive.has(subscriber)) return this.#writer.send(subscriber, text);
    const { sentEventId: after, lastEventId: until, events: missed } = room;
    // JSON clients are not told how many of the events were messages.
    this.#startGap(subscriber, room, { after, until, missed, messages: 0 });
  }

  /** Sends an event to the plain-text clients of the room for which it fits. */
  #offerText(
    room: RoomSubscribers,
    event: RoomEvent,
    eventId: string,
    self: Subscriber | undefined,
  ): void {
    const text = encodeText(event, false);
    if (text === "") return;
    // The user concerned is told of an act in other words, by Sender.
    const concerned = event.kind === "act" ? event.to?.user : undefined;
    for (const subscriber of room.text) {
      if (concerned !== undefined && subscriber.user === concerned) continue;
      if (subscriber.ignored !== undefined && isIgnored(subscriber, event)) continue;
      if (subscriber === self || this.#writer.sendIfItFits(subscriber, text)) continue;
      const messages = isMemberChange(event.kind) ? 0 : 1;
      this.#startGap(subscriber, room, { after: "", until: eventId, missed: 1, messages });
    }
  }

  /** Stops sending a client the events of a room until it has caught up. */
  #startGap(subscriber: Subscriber, room: RoomSubscribers, gap: Gap): void {
    room.text.delete(subscriber);
    room.json.delete(subscriber);
    room.slow.set(subscriber, gap);
    if (subscriber.gaps++ === 0) this.#slow.add(subscriber);
  }

  /** Counts an event for the slow clients; the one that it is about receives it all the same. */
  #addToGaps(
    room: RoomSubscribers,
    event: RoomEvent,
    eventId: string,
    self: Subscriber | undefined,
  ): void {
    for (const [subscriber, gap] of room.slow) {
      if (subscriber === self) {
        this.#sendGap(subscriber, room, gap);
        gap.after = eventId;
        if (subscriber.wire === "json") this.#tell(subscriber, event, eventId);
      } else if (subscriber.wire === "json" || IS_SHOWN[event.kind]) {
        gap.until = eventId;
        gap.missed++;
        if (!isMemberChange(event.kind)) gap.messages++;
      }
    }
  }

  /** Tells a client what it was not sent, and begins a new gap. */
  #sendGap(subscriber: Subscriber, { name }: RoomSubscribers, gap: Gap): void {
    const { after, until, missed, messages } = gap;
    if (missed === 0) return;
    gap.after = until;
    gap.missed = 0;
    gap.messages = 0;
    this.#writer.send(
      subscriber,
      subscriber.wire === "json"
        ? encodeGap(name, after, until, missed)
        : ownReply.tooSlow(messages),
    );
  }

  /** Tells a client what it missed in each room, and sends it events again. */
  #caughtUp(subscriber: Subscriber): void {
    for (const room of subscriber.rooms) {
      const gap = room.slow.get(subscriber);
      if (gap === undefined) continue;
      this.#sendGap(subscriber, room, gap);
      // Sending may have closed it.
      if (!room.slow.delete(subscriber)) return;
      subscriber.gaps--;
      addTo(room, subscriber);
      // The room's pending lines were counted in the gap.
      skipLines(room, subscriber);
      if (subscriber.wire === "json" && room.lines === "") room.sentEventId = gap.after;
    }
  }
}

/** Returns the part of a room's lines that a member is sent: not those before it joined, or of ignored users. */
function linesFor(subscriber: Subscriber, room: RoomSubscribers, lines: string): string {
  const { ignored } = subscriber;
  let from = room.skipUnits?.get(subscriber) ?? 0;
  if (ignored === undefined) return lines.slice(from);
  let kept = "";
  for (const { author, start, end } of room.authored) {
    if (start < from || !ignored.has(author)) continue;
    kept += lines.slice(from, start);
    from = end;
  }
  return kept + lines.slice(from);
}

/** Excludes the room's pending lines from what a member is sent, if it receives JSON events. */
function skipLines(room: RoomSubscribers, subscriber: Subscriber): void {
  if (room.lines === "" || !room.json.has(subscriber)) return;
  room.skipUnits ??= new Map();
  room.skipUnits.set(subscriber, room.lines.length);
}

function withoutLastBreak(lines: string): string {
  return lines.endsWith("\n") ? lines.slice(0, -1) : lines;
}
