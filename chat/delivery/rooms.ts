/**
 * Delivers the events of rooms to their subscribers on this instance.
 *
 * Plain-text clients get one frame an event, `chat.v1` clients all events of a commit in one frame.
 * A client that reads too slowly is sent no events of its room until it has caught up, and then one
 * line that says what it missed. Membership changes only when a join or a leave is delivered.
 */
import type { Backpressure } from "./backpressure.ts";
import { CLOSE, type CloseReason } from "../base/close_codes.ts";
import type { Clock } from "../base/clock.ts";
import type { RoomEvent } from "../feed/events.ts";
import { encodeGap, encodeJson } from "./json.ts";
import { SlowReaders } from "./slow_readers.ts";
import { type Gap, newRoom, type RoomSubscribers, setFor, type Subscriber } from "./subscriber.ts";
import { encodeText, isMemberChange, ownReply } from "./text.ts";
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

  /** Puts a subscriber into a room, after taking it out of the one it is in. */
  join(subscriber: Subscriber, name: string): void {
    this.leave(subscriber);
    let room = this.#rooms.get(name);
    if (room === undefined) {
      room = newRoom(name);
      this.#rooms.set(name, room);
    }
    // Lines that were written before the subscriber joined are not for it.
    subscriber.skipUnits = subscriber.heldEvents === undefined ? room.lines.length : 0;
    setFor(subscriber, room).add(subscriber);
    subscriber.room = room;
  }

  /** Takes a subscriber out of its room, after sending it the room's pending lines. */
  leave(subscriber: Subscriber): void {
    const { room } = subscriber;
    if (room === undefined) return;
    // Its own leaving, and the events before that, are for it too.
    if (room.json.has(subscriber)) this.#sendRest(subscriber, room, room.lines);
    setFor(subscriber, room).delete(subscriber);
    room.mustReceive.delete(subscriber);
    this.#slow.delete(subscriber);
    subscriber.gap = undefined;
    if (room.text.size + room.json.size + room.behind.size + room.slow.size === 0) {
      this.#rooms.delete(room.name);
      this.#dirty.delete(room);
    }
    subscriber.room = undefined;
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
      if (self !== undefined && self.wire === "json") room.mustReceive.add(self);
    }
    if (self !== undefined && self.wire !== "json") {
      this.#writer.send(self, encodeText(event, true));
    }
    const frames = room === undefined ? 1 : room.text.size;
    if (room !== undefined && frames > 0) {
      const text = encodeText(event, false);
      for (const subscriber of room.text) {
        if (subscriber !== self) this.#offer(subscriber, room, event, eventId, text);
      }
    }
    return frames;
  }

  /** Sends the pending lines of all rooms. Returns the number of frames. */
  flush(): number {
    let frames = 0;
    for (const room of this.#dirty) frames += this.#flushRoom(room);
    return frames;
  }

  /** Moves a JSON client that has been told what it missed to those that are sent events. */
  endCatchUp(subscriber: Subscriber): void {
    const { room } = subscriber;
    if (!room?.behind.has(subscriber)) return;
    // The room's pending lines are among the held events.
    this.#flushRoom(room);
    room.behind.delete(subscriber);
    room.json.add(subscriber);
  }

  /** Adds an event to the next frame of the room's JSON clients. */
  #addLine(room: RoomSubscribers, event: RoomEvent, eventId: string): void {
    const line = encodeJson(event, eventId);
    // Each line ends in a line break, so that a client that joined in between can skip the first ones.
    room.lines += `${line}\n`;
    this.#dirty.add(room);
    room.events++;
    room.lastEventId = eventId;
    if (!isMemberChange(event.kind)) room.messages++;
    for (const subscriber of room.behind) this.#writer.hold(subscriber, line, eventId);
  }

  #flushRoom(room: RoomSubscribers): number {
    const { lines } = room;
    if (lines === "") return 0;
    room.lines = "";
    this.#dirty.delete(room);
    const text = lines.slice(0, -1);
    for (const subscriber of room.json) {
      if (subscriber.skipUnits > 0 || subscriber.pendingLines !== "") {
        this.#sendRest(subscriber, room, lines);
      } else if (!this.#writer.sendIfItFits(subscriber, text)) {
        this.#sendOrStartGap(subscriber, room, text);
      }
    }
    const frames = room.json.size;
    room.sentEventId = room.lastEventId;
    room.events = 0;
    room.messages = 0;
    if (room.mustReceive.size > 0) room.mustReceive.clear();
    return frames;
  }

  /** Sends a client its part of the room's lines, and its own queued replies after that. */
  #sendRest(subscriber: Subscriber, room: RoomSubscribers, lines: string): void {
    const replies = this.#writer.takeQueued(subscriber);
    const events = lines.slice(subscriber.skipUnits);
    subscriber.skipUnits = 0;
    const rest = withoutLastBreak(events + replies);
    if (rest === "" || this.#writer.sendIfItFits(subscriber, rest)) return;
    if (events !== "") this.#sendOrStartGap(subscriber, room, withoutLastBreak(events));
    if (replies !== "") this.#writer.send(subscriber, replies);
  }

  /** The lines do not fit: sends them only to a client that one of them is about. */
  #sendOrStartGap(subscriber: Subscriber, room: RoomSubscribers, text: string): void {
    if (room.mustReceive.has(subscriber)) return this.#writer.send(subscriber, text);
    const { sentEventId: after, lastEventId: until, events: missed, messages } = room;
    this.#startGap(subscriber, room, { after, until, missed, messages });
  }

  /** Sends an event to a plain-text client of the room, if it fits. */
  #offer(
    subscriber: Subscriber,
    room: RoomSubscribers,
    event: RoomEvent,
    eventId: string,
    text: string,
  ): void {
    if (this.#writer.sendIfItFits(subscriber, text)) return;
    const messages = isMemberChange(event.kind) ? 0 : 1;
    this.#startGap(subscriber, room, { after: "", until: eventId, missed: 1, messages });
  }

  /** Stops sending a client the events of its room until it has caught up. */
  #startGap(subscriber: Subscriber, room: RoomSubscribers, gap: Gap): void {
    setFor(subscriber, room).delete(subscriber);
    subscriber.gap = gap;
    room.slow.add(subscriber);
    this.#slow.add(subscriber);
  }

  /** Counts an event for the slow clients; the one that it is about receives it all the same. */
  #addToGaps(
    room: RoomSubscribers,
    event: RoomEvent,
    eventId: string,
    self: Subscriber | undefined,
  ): void {
    for (const subscriber of room.slow) {
      const gap = subscriber.gap!;
      if (subscriber === self) {
        this.#sendGap(subscriber, room, gap);
        gap.after = eventId;
        if (subscriber.wire === "json") {
          this.#writer.send(subscriber, encodeJson(event, eventId));
        }
      } else {
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

  /** Tells a client what it missed, and sends it events again. */
  #caughtUp(subscriber: Subscriber): void {
    const { room, gap } = subscriber;
    if (room === undefined || gap === undefined) return;
    this.#sendGap(subscriber, room, gap);
    // Sending may have closed it.
    if (subscriber.room === undefined) return;
    room.slow.delete(subscriber);
    subscriber.gap = undefined;
    // The room's pending lines were counted in the gap.
    subscriber.skipUnits = room.lines.length;
    if (room.lines === "") room.sentEventId = gap.after;
    setFor(subscriber, room).add(subscriber);
  }
}

function withoutLastBreak(lines: string): string {
  return lines.endsWith("\n") ? lines.slice(0, -1) : lines;
}
