/**
 * The rows of history: which rows hold some events, and how an event is encoded in a row.
 *
 * It reads and writes nothing: compactor.ts writes the rows, and history.ts reads them.
 */
import { type LoggedEvent, type StoredEvent, unpack } from "../feed/events.ts";
import { historyRowKey, type Stream, type StreamKind } from "../kv/keys.ts";
import { keyBytes, MAX_KEY_BYTES, MAX_MUTATIONS } from "../kv/limits.ts";
import type { HistoryRowValue } from "../kv/values.ts";
import { bytesOfRow, countingKeys, type KeptRow } from "./kept_rows.ts";
import { bytesIn, type Streams } from "./memtable.ts";
import type { Retention } from "./retention.ts";

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

/**
 * Whether a stream's events come from several shards. Then the events of two of its rows may
 * alternate, so its rows have the ID of their last event in the key: no row holds an event later than
 * its key, and a reader can merge the rows in order.
 */
export function isFromManyShards(kind: StreamKind): boolean {
  switch (kind) {
    case "log":
    case "people":
    case "direct":
      return false;
    case "sent":
    case "own":
      return true;
    default:
      return kind satisfies never;
  }
}

/** Returns the rows of history that hold these events, at the Unix time `nowMs`. */
export function planRows(streams: Streams, retention: Retention, nowMs: number): PlannedRow[] {
  const rows: PlannedRow[] = [];
  for (const { stream, entries } of streams.values()) {
    for (let from = 0, to = 0; to < entries.length; from = to) {
      for (let bytes = 0; to < entries.length; to++) {
        bytes += bytesIn(stream, entries[to]!.event);
        if (bytes > MAX_ROW_BYTES && to > from) break;
      }
      rows.push(planRow(stream, entries.slice(from, to), retention[stream[0]], nowMs));
    }
  }
  return rows;
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

/** Returns the form of an event in a row of its stream, without what the row's key says. */
function encodeEvent({ eventId, event }: LoggedEvent, stream: StreamKind): StoredEvent {
  const { kind, room, id, nick, text, time, cid, from = "", to = "" } = event;
  switch (stream) {
    case "log":
    case "people":
      return [eventId, kind, id, nick, text, time, cid];
    case "direct":
    case "sent":
      return [eventId, kind, id, nick, text, time, cid, from, to];
    case "own":
      // Another stream holds the text.
      return [eventId, kind, room, "", "", time, cid];
    default:
      return stream satisfies never;
  }
}

/** Returns the event in an encoded form; `undefined` for a form of another version. */
export function decodeEvent(stored: unknown, [stream, name]: Stream): LoggedEvent | undefined {
  if (!Array.isArray(stored)) return undefined;
  const [eventId, ...encoded] = stored as unknown[];
  const event = unpack(withKeyParts(encoded, stream, name));
  return typeof eventId === "string" && event !== undefined ? { eventId, event } : undefined;
}

/** Puts the part that a row's key says back into the form that {@linkcode unpack} reads. */
function withKeyParts([kind, id, ...rest]: unknown[], stream: StreamKind, name: string): unknown[] {
  switch (stream) {
    case "log":
    case "people":
      return [kind, name, id, ...rest];
    case "direct":
    case "sent":
      return [kind, "", id, ...rest];
    case "own":
      return [kind, id, name, ...rest];
    default:
      return stream satisfies never;
  }
}
