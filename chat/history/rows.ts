/**
 * The rows of history: which rows hold some events, and how an event is encoded in a row.
 *
 * It reads and writes nothing: compactor.ts writes the rows, and history.ts reads them.
 */
import { type LoggedEvent, pack, type StoredEvent, unpack } from "../feed/events.ts";
import { historyRowKey, type Stream, type StreamKind } from "../kv/keys.ts";
import { keyBytes, MAX_KEY_BYTES, MAX_MUTATIONS, valueBytes } from "../kv/limits.ts";
import type { HistoryRowValue } from "../kv/values.ts";
import { bytesOfRow, countingKeys, type KeptRow } from "./kept_rows.ts";
import type { Retention } from "./retention.ts";
import { bytesIn, isFromManyShards, type Streams } from "./streams.ts";

/** A row of history that is to be written. */
export interface NewRow {
  readonly key: Deno.KvKey;
  readonly value: HistoryRowValue;
  /** What the quota counts of it. */
  readonly kept: KeptRow;
  /** Milliseconds for which KV is to keep it. */
  readonly expireIn: number;
}

/**
 * A row in the list of all rows that hold some events; `undefined`: it is not written, because its time
 * is over. The list has the same length on every instance and at every time: the cursor of compaction
 * counts the entries that are done.
 */
export type PlannedRow = NewRow | undefined;

/**
 * Estimated bytes of events in one row. KV takes 64 KiB, and a page should not have to read much more
 * than itself. Most rows take half of the estimate.
 */
const MAX_ROW_BYTES = 56 * 1024;

/** Milliseconds for which KV keeps a row at least, whatever the clocks say. */
const MIN_ROW_LIFE_MS = 60_000;

/** Bytes of the keys of new rows in one commit. The cursor and the counter of all rows need the rest. */
const MAX_NEW_KEY_BYTES = MAX_KEY_BYTES - 512;

/** Feed rows that one commit may remove besides. */
export const MAX_REMOVED_ROWS = 200;

/**
 * New rows in one commit, besides the cursor, the counter of all rows and the removed feed rows. Each
 * row has an index row, and may have a counter of its own.
 */
const MAX_NEW_ROWS = Math.floor((MAX_MUTATIONS - MAX_REMOVED_ROWS - 2) / 3);

/** Returns the rows of history that hold these events, at the Unix time `nowMs`. */
export function planRows(streams: Streams, retention: Retention, nowMs: number): PlannedRow[] {
  const rows: PlannedRow[] = [];
  for (const { stream, entries } of streams.values()) {
    for (const some of divideIntoRows(entries, ({ event }) => bytesIn(stream, event))) {
      rows.push(planRow(stream, some, retention[stream[0]], nowMs));
    }
  }
  return rows;
}

/** Divides the events of a row, or of several, into parts that one row can hold. */
function divideIntoRows<T>(
  events: readonly T[],
  bytesOf: (event: T) => number,
  canBegin: (event: T) => boolean = () => true,
): T[][] {
  const parts: T[][] = [];
  let from = 0, bytes = 0;
  for (const [i, event] of events.entries()) {
    const more = bytesOf(event);
    if (bytes + more > MAX_ROW_BYTES && i > from && canBegin(event)) {
      parts.push(events.slice(from, i));
      from = i;
      bytes = 0;
    }
    bytes += more;
  }
  parts.push(events.slice(from));
  return parts;
}

function planRow(
  stream: Stream,
  entries: readonly LoggedEvent[],
  retentionMs: number,
  nowMs: number,
): PlannedRow {
  const [kind] = stream;
  const newest = entries.at(-1)!;
  // Events that a crash left in the feed for a while are not kept any longer because of that.
  const ageMs = Math.max(0, nowMs - newest.event.time);
  if (ageMs >= retentionMs) return undefined;
  const expireIn = Math.max(MIN_ROW_LIFE_MS, retentionMs - ageMs);
  const events = entries.map((entry) => encodeEvent(entry, kind));
  const last = newest.eventId;
  const id = isFromManyShards(kind) ? last : entries[0]!.eventId;
  const kept = { stream, id, last, bytes: bytesOfRow(stream, events), untilMs: nowMs + expireIn };
  return { key: historyRowKey(stream, id), value: { v: 1, events }, kept, expireIn };
}

/**
 * Returns the rows that hold these stored events in place of the row `kept`, at the Unix time `nowMs`:
 * the first one under its key, others if it has become too large. They are kept as long as it was.
 * Events in the form of another version stay as they are.
 */
export function replanRow(
  { stream, id, last, untilMs }: KeptRow,
  stored: readonly unknown[],
  nowMs: number,
): NewRow[] {
  const bytesOf = (each: unknown) => {
    const event = decodeEvent(each, stream)?.event;
    return event === undefined ? valueBytes(each) : bytesIn(stream, event);
  };
  const parts = divideIntoRows(stored, bytesOf, (each) => storedId(each) !== undefined);
  return parts.map((events, i): NewRow => {
    const newId = i === 0 ? id : storedId(events[0])!;
    const isLast = i === parts.length - 1;
    const newLast = isLast ? last : storedId(events.findLast(storedId)) ?? newId;
    const bytes = bytesOfRow(stream, events);
    return {
      key: historyRowKey(stream, newId),
      value: { v: 1, events },
      kept: { stream, id: newId, last: newLast, bytes, untilMs },
      // The time of a row of an earlier version may be a fraction.
      expireIn: Math.ceil(untilMs - nowMs),
    };
  });
}

/** Returns the ID of an event in any stored form, if it has one. */
export function storedId(stored: unknown): string | undefined {
  const id = Array.isArray(stored) ? stored[0] as unknown : undefined;
  return typeof id === "string" && id !== "" ? id : undefined;
}

/** Divides rows into commits, in their order, by their number and the bytes of their keys. */
export function divideIntoCommits(rows: readonly PlannedRow[]): PlannedRow[][] {
  const commits: PlannedRow[][] = [];
  let bytes = Infinity;
  for (const row of rows) {
    const keys = row === undefined ? [] : [row.key, ...countingKeys(row.kept)];
    const more = keys.reduce((sum, key) => sum + keyBytes(key), 0);
    bytes += more;
    if (bytes > MAX_NEW_KEY_BYTES || commits.at(-1)!.length === MAX_NEW_ROWS) {
      commits.push([]);
      bytes = more;
    }
    commits.at(-1)!.push(row);
  }
  return commits;
}

/**
 * Returns the form of an event in a row of its stream: its ID, then what {@linkcode pack} returns
 * without the part that the row's key says.
 */
export function encodeEvent({ eventId, event }: LoggedEvent, stream: StreamKind): StoredEvent {
  switch (stream) {
    case "acts": {
      // The stream of all acts holds those of many rooms.
      const stored = pack(event);
      return [eventId, ...stored];
    }
    case "log":
    case "people":
    case "conversation":
    case "direct":
    case "sent": {
      // In place: rest patterns take three times as long.
      const stored = pack(event).slice();
      stored[1] = event.kind;
      stored[0] = eventId;
      return stored;
    }
    case "own": {
      // Another stream holds the text and the author, except of a quiet event.
      const stored = pack(event.isQuiet ? event : { ...event, nick: "", text: "" }).slice();
      stored[2] = event.room;
      stored[1] = event.kind;
      stored[0] = eventId;
      return stored;
    }
    default:
      return stream satisfies never;
  }
}

/** Returns the event in an encoded form; `undefined` for a form of another version. */
export function decodeEvent(stored: unknown, [stream, name]: Stream): LoggedEvent | undefined {
  if (!Array.isArray(stored)) return undefined;
  const [eventId, ...encoded] = stored as unknown[];
  const event = unpack(stream === "acts" ? encoded : withKeyParts(encoded, stream, name));
  return typeof eventId === "string" && event !== undefined ? { eventId, event } : undefined;
}

/** Puts the part that a row's key says back into the form that {@linkcode unpack} reads. */
function withKeyParts(
  [kind, second, ...rest]: unknown[],
  stream: Exclude<StreamKind, "acts">,
  name: string,
) {
  switch (stream) {
    case "log":
    case "people":
      return [kind, name, second, ...rest];
    case "conversation":
    case "direct":
    case "sent":
      return [kind, "", second, ...rest];
    case "own":
      return [kind, second, name, ...rest];
    default:
      return stream satisfies never;
  }
}
