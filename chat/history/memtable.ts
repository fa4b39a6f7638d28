/**
 * The newest events of one shard, in memory until they are compacted: those that were delivered here
 * and that, as far as this instance knows, no instance has compacted.
 *
 * It handles every message, so it only stores an event until a reader or the compactor asks for it.
 * compactor.ts decides when to compact.
 */
import { afterCommit, type LoggedEvent, maxStoredBytes, type RoomEvent } from "../feed/events.ts";
import type { Stream } from "../kv/keys.ts";
import { bytesIn, isRevision, nameOf, revisedBy, type Streams, streamsOf } from "./streams.ts";

/** An event in memory. Lists by stream share it, so an edit changes it in all of them. */
interface Entry extends LoggedEvent {
  event: RoomEvent;
}

/** The events of one shard that are not compacted yet. */
export class Memtable {
  /** All events up to this versionstamp are in KV; `undefined` until that is so. */
  compactedTo: string | undefined;
  /** Later than the ID of every compacted event, and earlier than that of every other one. */
  end = "";
  /** Estimated bytes of these events: {@linkcode maxStoredBytes} of each. */
  bytes = 0;
  /** The versionstamps of the feed rows that hold these events, in order. */
  versionstamps: string[] = [];
  #entries: Entry[] = [];
  /** The first {@linkcode Memtable.#indexed} entries, by stream. */
  #streams: Streams = new Map();
  #indexed = 0;

  /** The ID of the newest event that was delivered; at the start empty. */
  delivered = "";

  /** Stores an event that was delivered. */
  add(event: RoomEvent, eventId: string): void {
    this.delivered = eventId;
    // No stream holds these two. An event before the end was compacted by an instance ahead.
    if (event.kind === "resume" || event.kind === "read" || eventId < this.end) return;
    if (isRevision(event)) event = this.#revise(event);
    this.#entries.push({ eventId, event });
    this.bytes += maxStoredBytes(event);
  }

  /** Changes the message of a revision, if it is here. Returns the event without a text. */
  #revise(event: RoomEvent): RoomEvent {
    const entry = this.#entryOf(event.target ?? "");
    if (entry !== undefined) {
      this.bytes -= maxStoredBytes(entry.event);
      entry.event = revisedBy(entry.event, event);
      this.bytes += maxStoredBytes(entry.event);
    }
    // Only the message has the text: a later deletion must find no copy of it. An emoji is no text.
    return event.kind === "reaction" ? event : { ...event, text: "" };
  }

  /** Returns the event of an ID, if it is here. */
  find(eventId: string): LoggedEvent | undefined {
    return this.#entryOf(eventId);
  }

  #entryOf(eventId: string): Entry | undefined {
    let low = 0, high = this.#entries.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#entries[middle]!.eventId < eventId) low = middle + 1;
      else high = middle;
    }
    const entry = this.#entries[low];
    return entry?.eventId === eventId ? entry : undefined;
  }

  /** A string that is not earlier than the ID of any event that was delivered; at the start empty. */
  get latest(): string {
    const versionstamp = this.versionstamps.at(-1);
    const delivered = versionstamp === undefined ? this.end : afterCommit(versionstamp);
    const newest = this.#entries.at(-1)?.eventId ?? "";
    return newest > delivered ? newest : delivered;
  }

  /** Returns the events of a stream, in order. */
  of(stream: Stream): LoggedEvent[] {
    addByStream(this.#streams, this.#entries, this.#indexed);
    this.#indexed = this.#entries.length;
    return this.#streams.get(nameOf(stream))?.entries ?? [];
  }

  /**
   * Returns the events of as many of the oldest feed rows as fit into one commit, but of at least one
   * row and at most `maxRows`, by stream, and the versionstamps of these rows.
   */
  takeOldest(
    maxBytes: number,
    maxStreams: number,
    maxRows: number,
  ): { streams: Streams; versionstamps: string[] } {
    const streams: Streams = new Map();
    const entries = this.#entries;
    let bytes = 0, taken = 0, rows = 0;
    for (const versionstamp of this.versionstamps.slice(0, maxRows)) {
      const end = afterCommit(versionstamp);
      const newStreams = new Set<string>();
      let next = taken;
      for (; next < entries.length && entries[next]!.eventId < end; next++) {
        const { event } = entries[next]!;
        for (const stream of streamsOf(event)) {
          bytes += bytesIn(stream, event);
          const name = nameOf(stream);
          if (!streams.has(name)) newStreams.add(name);
        }
      }
      const isFull = bytes > maxBytes || streams.size + newStreams.size > maxStreams;
      if (rows > 0 && isFull) break;
      addByStream(streams, entries, taken, next);
      taken = next;
      rows++;
    }
    return { streams, versionstamps: this.versionstamps.slice(0, rows) };
  }

  /** Removes the events of all feed rows up to a versionstamp: they are in KV. */
  forget(compactedTo: string): void {
    this.compactedTo = compactedTo;
    this.end = afterCommit(compactedTo);
    this.versionstamps = this.versionstamps.filter((versionstamp) => versionstamp > compactedTo);
    const kept = this.#entries.findIndex(({ eventId }) => eventId > this.end);
    const removed = this.#entries.splice(0, kept < 0 ? this.#entries.length : kept);
    for (const { event } of removed) this.bytes -= maxStoredBytes(event);
    this.#streams = new Map();
    this.#indexed = 0;
  }
}

/** Adds the entries from one index on, and before another one, to their streams. */
function addByStream(
  streams: Streams,
  entries: readonly LoggedEvent[],
  from = 0,
  to = entries.length,
): void {
  for (let i = from; i < to; i++) {
    const entry = entries[i]!;
    for (const stream of streamsOf(entry.event)) {
      const name = nameOf(stream);
      const known = streams.get(name);
      if (known === undefined) streams.set(name, { stream, entries: [entry] });
      else known.entries.push(entry);
    }
  }
}
