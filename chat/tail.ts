/**
 * What one shard delivered here and has not been folded yet, as far as is known here: the newest
 * part of history, in memory.
 *
 * Below History, which decides when it is folded. It holds an event a message and does nothing else
 * with it until somebody reads or folds: it stands on the way of every message.
 */
import { afterCommit, type Entry, mostBytes, type RoomEvent } from "./events.ts";

/** What a stream holds: what was said in a room, who came and went there, or what one person was told. */
export type Stream = readonly ["log" | "people" | "direct", string];

/** Events by the name of their stream, each list in the order of the feed. */
export type Streams = Map<string, Entry[]>;

/** The tail of one shard. */
export class Tail {
  /** All events up to this versionstamp are in KV; `undefined` while that is being made so. */
  folded: string | undefined;
  /** What is greater than the ids of all of these events. */
  end = "";
  /** Estimated bytes of the events that wait: {@linkcode mostBytes} of each. */
  bytes = 0;
  /** The rows that these came in, in their order. */
  rows: string[] = [];
  #entries: Entry[] = [];
  /** The first so many of the entries, by stream. */
  #streams: Streams = new Map();
  #indexed = 0;

  /** Takes an event that was delivered. */
  add(event: RoomEvent, at: string): void {
    // Others are ahead of this instance, and have folded it already.
    if (at < this.end) return;
    this.#entries.push({ at, event });
    this.bytes += mostBytes(event);
  }

  /** The events of a stream, in their order. */
  of(stream: Stream): Entry[] {
    addByStream(this.#streams, this.#entries, this.#indexed);
    this.#indexed = this.#entries.length;
    return this.#streams.get(nameOf(stream)) ?? [];
  }

  /** As many of the oldest rows as fit into one commit, one at least, and their events. */
  oldest(
    most: { bytes: number; streams: number; rows: number },
  ): { streams: Streams; rows: string[] } {
    const streams: Streams = new Map();
    const entries = this.#entries;
    let bytes = 0, taken = 0, rows = 0;
    for (const stamp of this.rows.slice(0, most.rows)) {
      const end = afterCommit(stamp);
      const fresh = new Set<string>();
      let next = taken;
      for (; next < entries.length && entries[next]!.at < end; next++) {
        const { event } = entries[next]!;
        bytes += mostBytes(event);
        const name = nameOf(streamOf(event));
        if (!streams.has(name)) fresh.add(name);
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
    this.folded = folded;
    this.end = afterCommit(folded);
    this.rows = this.rows.filter((stamp) => stamp > folded);
    const kept = this.#entries.findIndex(({ at }) => at > this.end);
    const gone = this.#entries.splice(0, kept < 0 ? this.#entries.length : kept);
    for (const { event } of gone) this.bytes -= mostBytes(event);
    this.#streams = new Map();
    this.#indexed = 0;
  }
}

/** The stream of what is said to a room, of its people, of what one person is told. */
export function streamOf({ kind, room, id }: RoomEvent): Stream {
  if (kind === "direct") return ["direct", id];
  return [kind === "message" || kind === "action" ? "log" : "people", room];
}

/** Adds entries, from one on and before another, to those of their streams. */
export function addByStream(
  streams: Streams,
  entries: readonly Entry[],
  from = 0,
  to = entries.length,
): void {
  for (let i = from; i < to; i++) {
    const entry = entries[i]!;
    const name = nameOf(streamOf(entry.event));
    const stream = streams.get(name);
    if (stream === undefined) streams.set(name, [entry]);
    else stream.push(entry);
  }
}

function nameOf([kind, name]: Stream): string {
  return `${kind} ${name}`;
}
