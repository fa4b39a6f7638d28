/**
 * What one shard delivered here and has not been folded yet, as far as is known here: the newest
 * part of history, in memory.
 *
 * Below History, which decides when it is folded. It holds an event a message and does nothing else
 * with it until somebody reads or folds: it stands on the way of every message.
 */
import { afterCommit, type LoggedEvent, maxStoredBytes, type RoomEvent } from "../feed/events.ts";
import type { StreamKind } from "./retention.ts";

/** A stream: its kind, and the room or the connection that it belongs to. */
export type Stream = readonly [StreamKind, string];

/** Events by the name of their stream, each list in the order of the feed. */
export type Streams = Map<string, { readonly stream: Stream; readonly entries: LoggedEvent[] }>;

/** The tail of one shard. */
export class Memtable {
  /** All events up to this versionstamp are in KV; `undefined` while that is being made so. */
  compactedTo: string | undefined;
  /** What is greater than the ids of all of these events. */
  end = "";
  /** Estimated bytes of the events that wait: {@linkcode maxStoredBytes} of each. */
  bytes = 0;
  /** The rows that these came in, in their order. */
  rows: string[] = [];
  #entries: LoggedEvent[] = [];
  /** The first so many of the entries, by stream. */
  #streams: Streams = new Map();
  #indexed = 0;

  /** Takes an event that was delivered. */
  add(event: RoomEvent, eventId: string): void {
    // Others are ahead of this instance, and have folded it already.
    if (eventId < this.end) return;
    this.#entries.push({ eventId, event });
    this.bytes += maxStoredBytes(event);
  }

  /** The events of a stream, in their order. */
  of(stream: Stream): LoggedEvent[] {
    addByStream(this.#streams, this.#entries, this.#indexed);
    this.#indexed = this.#entries.length;
    return this.#streams.get(nameOf(stream))?.entries ?? [];
  }

  /** As many of the oldest rows as fit into one commit, one at least, and their events. */
  takeOldest(
    most: { bytes: number; streams: number; rows: number },
  ): { streams: Streams; rows: string[] } {
    const streams: Streams = new Map();
    const entries = this.#entries;
    let bytes = 0, taken = 0, rows = 0;
    for (const stamp of this.rows.slice(0, most.rows)) {
      const end = afterCommit(stamp);
      const fresh = new Set<string>();
      let next = taken;
      for (; next < entries.length && entries[next]!.eventId < end; next++) {
        const { event } = entries[next]!;
        const more = streamsOfAuthor(event);
        const stream = streamOf(event);
        bytes += bytesIn(stream, event);
        const name = nameOf(stream);
        if (!streams.has(name)) fresh.add(name);
        for (const stream of more) {
          bytes += bytesIn(stream, event);
          const name = nameOf(stream);
          if (!streams.has(name)) fresh.add(name);
        }
      }
      const full = bytes > most.bytes || streams.size + fresh.size > most.streams;
      if (rows > 0 && full) break;
      addByStream(streams, entries, taken, next);
      taken = next;
      rows++;
    }
    return { streams, rows: this.rows.slice(0, rows) };
  }

  /** Everything up to a versionstamp is in KV: memory need not hold it. */
  forget(folded: string): void {
    this.compactedTo = folded;
    this.end = afterCommit(folded);
    this.rows = this.rows.filter((stamp) => stamp > folded);
    const kept = this.#entries.findIndex(({ eventId }) => eventId > this.end);
    const gone = this.#entries.splice(0, kept < 0 ? this.#entries.length : kept);
    for (const { event } of gone) this.bytes -= maxStoredBytes(event);
    this.#streams = new Map();
    this.#indexed = 0;
  }
}

/** No more streams: most events belong to one. */
const NONE: readonly Stream[] = [];

/** The stream of what is said in a room, of its people, of what one person is told. */
function streamOf({ kind, room, id }: RoomEvent): Stream {
  switch (kind) {
    case "message":
    case "action":
      return ["log", room];
    case "direct":
      return ["direct", id];
    case "join":
    case "leave":
    case "nick":
    case "resume":
      return ["people", room];
  }
}

/** The streams of the connection that did it, for its resumption. */
function streamsOfAuthor({ kind, id, cid, from }: RoomEvent): readonly Stream[] {
  switch (kind) {
    case "message":
    case "action":
      return cid === "" ? NONE : [["own", id]];
    case "direct":
      if (from === undefined) return NONE;
      return cid === "" ? [["sent", from]] : [["sent", from], ["own", from]];
    case "join":
    case "leave":
      return [["own", id]];
    case "nick":
    case "resume":
      return NONE;
  }
}

/** Estimated bytes of an event in a row of one of its streams. */
export function bytesIn([kind]: Stream, event: RoomEvent): number {
  // What was said stands in another stream.
  return maxStoredBytes(event) - (kind === "own" ? 2 * event.text.length : 0);
}

/** Adds entries, from one on and before another, to those of their streams. */
export function addByStream(
  streams: Streams,
  entries: readonly LoggedEvent[],
  from = 0,
  to = entries.length,
): void {
  for (let i = from; i < to; i++) {
    const entry = entries[i]!;
    addTo(streams, streamOf(entry.event), entry);
    for (const stream of streamsOfAuthor(entry.event)) addTo(streams, stream, entry);
  }
}

function addTo(streams: Streams, stream: Stream, entry: LoggedEvent): void {
  const name = nameOf(stream);
  const known = streams.get(name);
  if (known === undefined) streams.set(name, { stream, entries: [entry] });
  else known.entries.push(entry);
}

function nameOf([kind, name]: Stream): string {
  return `${kind} ${name}`;
}
