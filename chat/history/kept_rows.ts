/**
 * The rows of history as the quota counts them: their bytes, their time, and their index rows.
 *
 * It reads and writes nothing: quota.ts counts the rows, and removal.ts removes them.
 */
import { estimateStringBytes } from "../feed/events.ts";
import { historyIndexKey, historyIndexParts, type Stream, streamBytesKey } from "../kv/keys.ts";
import { keyBytes, valueBytes } from "../kv/limits.ts";
import { historyIndexFrom, historyRowFrom } from "../kv/values.ts";
import { nameOf } from "./streams.ts";

/** A row of history, as the quota counts it. */
export interface KeptRow {
  readonly stream: Stream;
  /** The event ID in the row's key: that of its first or, in some kinds of stream, its last event. */
  readonly id: string;
  /** The ID of the row's last event. */
  readonly last: string;
  readonly bytes: number;
  /** Unix milliseconds until which the row is kept. */
  readonly untilMs: number;
}

/** Rows of one stream, in their order, and the sum of their bytes. */
export interface RowGroup {
  readonly stream: Stream;
  readonly rows: KeptRow[];
  bytes: number;
}

/** Groups rows by stream. The bytes of `replaced` rows are subtracted from those of their streams. */
export function groupsOf(
  rows: readonly KeptRow[],
  replaced: readonly KeptRow[] = [],
): RowGroup[] {
  const groups = new Map<string, RowGroup>();
  for (const row of rows) {
    const name = nameOf(row.stream);
    const group = groups.get(name);
    if (group === undefined) {
      groups.set(name, { stream: row.stream, rows: [row], bytes: row.bytes });
    } else {
      group.rows.push(row);
      group.bytes += row.bytes;
    }
  }
  for (const { stream, bytes } of replaced) groups.get(nameOf(stream))!.bytes -= bytes;
  return [...groups.values()];
}

/** Returns the later of two event IDs. Anything that is not an ID is earlier than every ID. */
export function laterOf(one: unknown, other: string): string {
  return typeof one === "string" && one > other ? one : other;
}

/** Returns the keys that a commit writes to count a row, besides the key of the row itself. */
export function countingKeys({ stream, id }: KeptRow): Deno.KvKey[] {
  return [historyIndexKey(stream, id), streamBytesKey(stream)];
}

/** Returns the row that an index row belongs to. */
export function rowOfIndex(
  { key, value }: Pick<Deno.KvEntryMaybe<unknown>, "key" | "value">,
): KeptRow {
  const [stream, id] = historyIndexParts(key);
  const { bytes, untilMs, last = id } = historyIndexFrom(value);
  return { stream, id, last, bytes, untilMs };
}

/** Returns a row of a stream that has no index row, because an earlier version wrote it. */
export function uncountedRow(stream: Stream, { key, value }: Deno.KvEntry<unknown>): KeptRow {
  const id = String(key.at(-1));
  const newest = historyRowFrom(value)?.events.at(-1);
  const last = Array.isArray(newest) ? newest[0] as unknown : undefined;
  return { stream, id, last: typeof last === "string" ? last : id, bytes: 0, untilMs: 0 };
}

/** Bytes that SQLite keeps besides the key and the value of an entry: lengths, versions, pointers. */
const ENTRY_BYTES = 28;

/** Bytes of the fixed parts of the keys of a row of history and of its index row. */
const ROW_KEY_BYTES = 34;
const INDEX_KEY_BYTES = 48;

/** Bytes of the value of an index row. */
const INDEX_BYTES = 40;

/**
 * Returns an estimate of the bytes that a row of history takes in KV, with its index row and all keys:
 * the bytes that SQLite uses of its pages. The estimate is never too low, and at most twice too high.
 */
export function bytesOfRow([, name]: Stream, events: readonly unknown[]): number {
  let bytes = 32;
  for (const event of events) {
    // The list itself.
    bytes += 8;
    // A rewritten row may hold the forms of another version.
    for (const value of Array.isArray(event) ? event as unknown[] : [event]) {
      if (typeof value === "string") bytes += estimateStringBytes(value);
      else bytes += typeof value === "number" ? 8 : valueBytes(value);
    }
  }
  const nameBytes = keyBytes([name]);
  return bytesOfEntry(ROW_KEY_BYTES + nameBytes, bytes) +
    bytesOfEntry(INDEX_KEY_BYTES + nameBytes, INDEX_BYTES);
}

/** Returns the bytes of an entry in the table of entries, and of its key in the index of expiry. */
function bytesOfEntry(keyBytes: number, valueBytes: number): number {
  return bytesOfCell(keyBytes + valueBytes) + bytesOfCell(keyBytes);
}

/**
 * Returns the bytes of a cell. A cell of more than 1,002 bytes keeps 489 of them in its page and the
 * rest in overflow pages. Pages of smaller cells are not quite full.
 */
function bytesOfCell(bytes: number): number {
  if (bytes + ENTRY_BYTES <= 1002) return Math.ceil((bytes + ENTRY_BYTES) * 1.25);
  return 489 + Math.ceil((bytes + ENTRY_BYTES - 489) / 4092) * 4096;
}
