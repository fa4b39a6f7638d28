/**
 * Reads streams of history: puts the events that are still in memory behind those that are in KV.
 *
 * It does not know which client may read what, and changes nothing.
 */
import type { LoggedEvent } from "../feed/events.ts";
import { historyRowsBefore, historyRowsBetween, type Stream } from "../kv/keys.ts";
import type { Memtable } from "./memtable.ts";
import type { ReadRow, RowReader } from "./row_reader.ts";
import { feedNameOf, isEventId, isFromManyShards, nameOf, streamsOf } from "./streams.ts";

/** What a reader of streams is made of. */
export interface StreamReaderParts {
  readonly rows: RowReader;
  /** The events that are not compacted yet, by shard. */
  readonly memtables: readonly Memtable[];
  /** Returns the shard that holds the events that are submitted under a name. */
  shardOf(name: string): number;
  /** Resolves when everything that the feed held at the start is compacted. */
  ready(): Promise<void>;
}

/** Rows in the first read of a stream, which is often enough, and in each later one. */
const FIRST_READ_ROWS = 2;
const READ_ROWS = 16;

/** Reads the streams of one instance's history. */
export class StreamReader {
  readonly #parts: StreamReaderParts;

  constructor(parts: StreamReaderParts) {
    this.#parts = parts;
  }

  /**
   * Yields the events of a stream backwards from the newest one, or from the one before an event ID.
   * Leaves out events whose time is over.
   *
   * @throws {TypeError} for a stream with events of several shards: use {@linkcode StreamReader.newestOf}.
   * @throws when KV cannot be read.
   */
  async *backwards(stream: Stream, before?: string): AsyncGenerator<LoggedEvent> {
    const [kind] = stream;
    if (isFromManyShards(kind)) throw new TypeError(`${kind}: use newestOf`);
    if (this.#parts.rows.retentionOf(kind) === 0) return;
    await this.#parts.ready();
    const { rows: reader } = this.#parts;
    const { entries, end } = this.#snapshot(stream);
    for (const entry of entries.reverse()) {
      if (before === undefined || entry.eventId < before) yield entry;
    }
    const last = before !== undefined && before < end ? before : end;
    // A list cannot change how many rows it reads at once, so each read is a list of its own.
    for (let limit = FIRST_READ_ROWS, from = last;; limit = READ_ROWS) {
      let rows = 0;
      for await (const row of reader.rows(stream, historyRowsBefore(stream, from), limit, true)) {
        rows++;
        from = row.id;
        for (const entry of reader.freshOf(row, stream).reverse()) {
          if (entry.eventId < last) yield entry;
        }
        if (reader.isOver(row, stream)) return;
      }
      if (rows < limit) return;
    }
  }

  /**
   * Yields the events of a stream backwards from the newest one. For streams with events of several
   * shards. Leaves out events whose time is over.
   *
   * @throws when KV cannot be read.
   */
  async *newestOf(stream: Stream): AsyncGenerator<LoggedEvent> {
    if (this.#parts.rows.retentionOf(stream[0]) === 0) return;
    await this.#parts.ready();
    const found = new Map<string, LoggedEvent>();
    // Memory first: an event that is compacted meanwhile is found twice instead of missed.
    for (const memtable of this.#parts.memtables) {
      for (const entry of memtable.of(stream)) {
        if (entry.eventId > memtable.end && this.#parts.rows.isFresh(entry, stream)) {
          found.set(entry.eventId, entry);
        }
      }
    }
    const takeAfter = (eventId: string): LoggedEvent[] => {
      const taken = [...found.values()].filter((entry) => entry.eventId > eventId);
      for (const entry of taken) found.delete(entry.eventId);
      return taken.sort((one, other) => one.eventId > other.eventId ? -1 : 1);
    };
    const selector = historyRowsBefore(stream);
    for await (const row of this.#parts.rows.rows(stream, selector, undefined, true)) {
      // Neither this row nor a later one of the list holds an event after the ID in its key.
      yield* takeAfter(row.id);
      const fresh = this.#parts.rows.freshOf(row, stream);
      if (this.#parts.rows.isOver(row, stream)) break;
      for (const entry of fresh) found.set(entry.eventId, entry);
    }
    yield* takeAfter("");
  }

  /**
   * Yields the events of a stream after an event ID, in order. Leaves out events whose time is over.
   *
   * @throws {TypeError} for a stream with events of several shards.
   * @throws when KV cannot be read.
   */
  async *forwards(stream: Stream, after: string): AsyncGenerator<LoggedEvent> {
    if (this.#parts.rows.retentionOf(stream[0]) === 0) return;
    await this.#parts.ready();
    const { entries, end } = this.#snapshot(stream);
    let last = after;
    for await (const row of this.#rowsAfter(stream, after, end)) {
      for (const entry of row.entries) {
        // An edit may move events of a row that was read into a new row.
        const isWanted = entry.eventId > last && entry.eventId < end;
        if (!isWanted || !this.#parts.rows.isFresh(entry, stream)) continue;
        last = entry.eventId;
        yield entry;
      }
    }
    for (const entry of entries) if (entry.eventId > after) yield entry;
  }

  /** Yields the rows that hold the events after one ID and before another one. */
  async *#rowsAfter(stream: Stream, after: string, end: string): AsyncGenerator<ReadRow> {
    // A key has the ID of the row's first event: the row that holds `after` may begin before it.
    const holding = await this.#parts.rows.rowAt(stream, after);
    if (holding !== undefined) yield holding;
    let from = `${holding?.id ?? after}\0`;
    for (let limit = FIRST_READ_ROWS; from < end; limit = READ_ROWS) {
      let rows = 0;
      const selector = historyRowsBetween(stream, from, end);
      for await (const row of this.#parts.rows.rows(stream, selector, limit, false)) {
        rows++;
        from = `${row.id}\0`;
        yield row;
      }
      if (rows < limit) return;
    }
  }

  /**
   * Returns an event of a stream as it is now: an edited message has its new text, a deleted one has no
   * text. Returns `undefined` if there is no such event, or its time is over, or the ID is not one.
   *
   * @throws {TypeError} for a stream with events of several shards.
   * @throws when KV cannot be read.
   */
  async find(stream: Stream, eventId: string): Promise<LoggedEvent | undefined> {
    const memtable = this.#memtableOf(stream);
    if (this.#parts.rows.retentionOf(stream[0]) === 0 || !isEventId(eventId)) return undefined;
    await this.#parts.ready();
    let entry: LoggedEvent | undefined;
    if (eventId > memtable.end) {
      const found = memtable.find(eventId);
      const isInStream = found !== undefined &&
        streamsOf(found.event).some((each) => nameOf(each) === nameOf(stream));
      if (isInStream) entry = found;
    } else {
      const row = await this.#parts.rows.rowAt(stream, eventId);
      entry = row?.entries.find((each) => each.eventId === eventId);
    }
    return entry !== undefined && this.#parts.rows.isFresh(entry, stream) ? entry : undefined;
  }

  /** Returns the events of a stream in memory, and the event ID before which KV holds the others. */
  #snapshot(stream: Stream): { entries: LoggedEvent[]; end: string } {
    const memtable = this.#memtableOf(stream);
    const { end } = memtable;
    const entries = memtable.of(stream)
      .filter((entry) => entry.eventId > end && this.#parts.rows.isFresh(entry, stream));
    return { entries, end };
  }

  /** Returns the memtable of the shard that all events of a stream come from. */
  #memtableOf(stream: Stream): Memtable {
    return this.#parts.memtables[this.#parts.shardOf(feedNameOf(stream))]!;
  }
}
