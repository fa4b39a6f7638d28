/**
 * History: what was said and who came and went, by stream, for as long as each stream is kept.
 *
 * It receives every event after its delivery. Events that are compacted are read from KV, later ones
 * from memory; compactor.ts moves them from one to the other, so a page costs about as much as it
 * holds. History does not know which client may read what.
 */
import type { Clock } from "../base/clock.ts";
import type { Operation } from "../feed/batch.ts";
import { afterCommit, authorOf, type LoggedEvent, type RoomEvent } from "../feed/events.ts";
import { historyRowsBefore, historyRowsBetween, type Stream, type StreamKind } from "../kv/keys.ts";
import { Compactor } from "./compactor.ts";
import { Leftovers } from "./leftovers.ts";
import type { Memtable } from "./memtable.ts";
import { Quota } from "./quota.ts";
import { longestOf, type Retention } from "./retention.ts";
import { type Revision, Revisions } from "./revisions.ts";
import { type ReadRow, RowReader } from "./row_reader.ts";
import {
  feedNameOf,
  isEventId,
  isFromManyShards,
  isMessage,
  nameOf,
  streamsOf,
} from "./streams.ts";

export type { Revision } from "./revisions.ts";

/** What history is made of. */
export interface HistoryParts {
  readonly kv: Deno.Kv;
  readonly clock: Clock;
  readonly retention: Retention;
  /** Bytes that all of it may take in KV; `Infinity`: no limit. */
  readonly maxBytes: number;
  /** How many shards the feed has. */
  readonly shards: number;
  /** Returns the shard that holds the events that are submitted under a name. */
  shardOf(name: string): number;
  /** Milliseconds for which a feed row must be kept. */
  readonly feedRowMs: number;
  /** Submits an operation to the feed: see Feed.submit. */
  submit(name: string, operation: Operation): void;
  /** Tells the operator of a fault on the server's side. */
  warn(message: string): void;
}

/** Rows in the first read of a stream, which is often enough, and in each later one. */
const FIRST_READ_ROWS = 2;
const READ_ROWS = 16;

/** Events that one count of messages looks at, at most. */
const MAX_COUNTED_EVENTS = 1_000;

/** The history of one instance. */
export class History {
  readonly #parts: HistoryParts;
  readonly #quota: Quota;
  readonly #compactor: Compactor;
  readonly #leftovers: Leftovers;
  readonly #reader: RowReader;
  readonly #revisions: Revisions;
  /** For each shard, a string that is later than the ID of every event from before the start. */
  #startIds: readonly string[] = [];
  /** Resolves when everything that the feed held at the start is compacted. */
  #ready: Promise<void> = Promise.resolve();

  constructor(parts: HistoryParts) {
    this.#parts = parts;
    const { kv, clock, maxBytes, retention, shards, feedRowMs, warn } = parts;
    const reader = this.#reader = new RowReader(parts);
    const quota = this.#quota = new Quota({
      kv,
      clock,
      maxBytes,
      retentionMs: longestOf(retention),
    });
    const compactor = this.#compactor = new Compactor({
      kv,
      clock,
      quota,
      retention,
      shards,
      feedRowMs,
      nowMs: () => reader.nowMs(),
      warn,
    });
    this.#revisions = new Revisions({
      kv,
      clock,
      quota,
      compactor,
      reader,
      shardOf: (stream) => parts.shardOf(feedNameOf(stream)),
      submit: (name, operation) => parts.submit(name, operation),
      warn,
    });
    this.#leftovers = new Leftovers({ ...parts, retentionMs: retention.direct });
  }

  /** Milliseconds for which the events of rooms are kept; 0: they are not. */
  get retentionMs(): number {
    return this.#parts.retention.log;
  }

  /** Returns the milliseconds for which the events of a kind of stream are kept; 0: they are not. */
  retentionOf(kind: StreamKind): number {
    return this.#reader.retentionOf(kind);
  }

  get #isOn(): boolean {
    const { log, own } = this.#parts.retention;
    return log > 0 || own > 0;
  }

  /** Starts. `versionstamps`: where each shard stood before the events that will be added. */
  start(versionstamps: readonly (string | null)[]): void {
    // Also when history is off: rows from before are removed when their time is over.
    this.#compactor.start();
    if (!this.#isOn) return;
    this.#startIds = versionstamps.map((versionstamp) => afterCommit(versionstamp ?? ""));
    this.#leftovers.start();
    this.#ready = this.#compactor.compactStored(versionstamps);
    this.#ready.catch(() => {});
  }

  /** Adds an event that was delivered. */
  add(event: RoomEvent, eventId: string, shard: number): void {
    if (this.#isOn) this.#compactor.memtables[shard]!.add(event, eventId);
  }

  /** Called when all events of a feed row have been added. The shard must wait for a returned promise. */
  commitDelivered(shard: number, versionstamp: string): Promise<void> | undefined {
    return this.#isOn ? this.#compactor.commitDelivered(shard, versionstamp) : undefined;
  }

  /**
   * Yields the events of a stream backwards from the newest one, or from the one before an event ID.
   * Leaves out events whose time is over.
   *
   * @throws {TypeError} for a stream with events of several shards: use {@linkcode History.newestOf}.
   * @throws when KV cannot be read.
   */
  async *backwards(stream: Stream, before?: string): AsyncGenerator<LoggedEvent> {
    const [kind] = stream;
    if (isFromManyShards(kind)) throw new TypeError(`${kind}: use newestOf`);
    if (this.retentionOf(kind) === 0) return;
    await this.#ready;
    const reader = this.#reader;
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
    if (this.retentionOf(stream[0]) === 0) return;
    await this.#ready;
    const found = new Map<string, LoggedEvent>();
    // Memory first: an event that is compacted meanwhile is found twice instead of missed.
    for (const memtable of this.#compactor.memtables) {
      for (const entry of memtable.of(stream)) {
        if (entry.eventId > memtable.end && this.#reader.isFresh(entry, stream)) {
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
    for await (const row of this.#reader.rows(stream, selector, undefined, true)) {
      // Neither this row nor a later one of the list holds an event after the ID in its key.
      yield* takeAfter(row.id);
      const fresh = this.#reader.freshOf(row, stream);
      if (this.#reader.isOver(row, stream)) break;
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
    if (this.retentionOf(stream[0]) === 0) return;
    await this.#ready;
    const { entries, end } = this.#snapshot(stream);
    let last = after;
    for await (const row of this.#rowsAfter(stream, after, end)) {
      for (const entry of row.entries) {
        // An edit may move events of a row that was read into a new row.
        const isWanted = entry.eventId > last && entry.eventId < end;
        if (!isWanted || !this.#reader.isFresh(entry, stream)) continue;
        last = entry.eventId;
        yield entry;
      }
    }
    for (const entry of entries) if (entry.eventId > after) yield entry;
  }

  /** Yields the rows that hold the events after one ID and before another one. */
  async *#rowsAfter(stream: Stream, after: string, end: string): AsyncGenerator<ReadRow> {
    // A key has the ID of the row's first event: the row that holds `after` may begin before it.
    const holding = await this.#reader.rowAt(stream, after);
    if (holding !== undefined) yield holding;
    let from = `${holding?.id ?? after}\0`;
    for (let limit = FIRST_READ_ROWS; from < end; limit = READ_ROWS) {
      let rows = 0;
      const selector = historyRowsBetween(stream, from, end);
      for await (const row of this.#reader.rows(stream, selector, limit, false)) {
        rows++;
        from = `${row.id}\0`;
        yield row;
      }
      if (rows < limit) return;
    }
  }

  /**
   * Returns the ID of the newest event that was removed for the quota and that is later than the event
   * ID given with its stream; empty if there is none. Read the events first.
   *
   * @throws when KV cannot be read.
   */
  async evictedAfter(seen: readonly (readonly [Stream, string])[]): Promise<string> {
    return await this.#quota.evictedAfter(seen);
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
    if (this.retentionOf(stream[0]) === 0 || !isEventId(eventId)) return undefined;
    await this.#ready;
    let entry: LoggedEvent | undefined;
    if (eventId > memtable.end) {
      const found = memtable.find(eventId);
      const isInStream = found !== undefined &&
        streamsOf(found.event).some((each) => nameOf(each) === nameOf(stream));
      if (isInStream) entry = found;
    } else {
      const row = await this.#reader.rowAt(stream, eventId);
      entry = row?.entries.find((each) => each.eventId === eventId);
    }
    return entry !== undefined && this.#reader.isFresh(entry, stream) ? entry : undefined;
  }

  /**
   * Returns whether nothing is missing in a stream after an event ID: an event at or before it is still
   * kept, and none after it was removed for the quota. For `log`, an event in `people` will also do.
   *
   * @throws {TypeError} for a stream with events of several shards.
   * @throws when KV cannot be read.
   */
  async isReached(stream: Stream, eventId: string): Promise<boolean> {
    if (!isEventId(eventId)) return false;
    const [kind, name] = stream;
    // A client may have seen a join last. Both streams are kept equally long.
    const streams: Stream[] = kind === "log" ? [stream, ["people", name]] : [stream];
    for (const each of streams) {
      const { done } = await this.backwards(each, `${eventId}\0`).next();
      if (!done) return await this.evictedAfter([[stream, eventId]]) === "";
    }
    return false;
  }

  /**
   * Returns how many messages of a stream after an event ID are not by the user `except` and not
   * deleted, at most `limit`. Looks at no more than {@linkcode MAX_COUNTED_EVENTS} events.
   *
   * @throws {TypeError} for a stream with events of several shards.
   * @throws when KV cannot be read.
   */
  async countAfter(
    stream: Stream,
    after: string,
    { limit, except }: { readonly limit: number; readonly except: string },
  ): Promise<number> {
    let count = 0, read = 0;
    for await (const { event } of this.forwards(stream, after)) {
      const isWanted = isMessage(event) && event.deletedAt === undefined;
      if (isWanted && authorOf(event) !== except) count++;
      if (count >= limit || ++read >= MAX_COUNTED_EVENTS) break;
    }
    return count;
  }

  /**
   * Returns a string that is not earlier than the ID of any event delivered so far in the shard of a
   * name, as given to {@linkcode HistoryParts.submit}. Empty if neither history nor resuming is on.
   */
  latestId(name: string): string {
    if (!this.#isOn) return "";
    const shard = this.#parts.shardOf(name);
    const start = this.#startIds[shard] ?? "";
    const { latest } = this.#compactor.memtables[shard]!;
    return latest > start ? latest : start;
  }

  /**
   * Edits or deletes a message: `event` is the `edit` or `delete`, and its `target` the ID of a message
   * in `stream`. The caller has checked that its author may do that. Rewrites all rows that hold the
   * text, whatever stream they are in, in one operation with the event, which also has `checks`. How
   * long the rows are kept does not change.
   *
   * `not-found`: there is no such message, or it is deleted, or its time is over. `failed`: KV does not
   * answer, or one of `checks` failed. If KV does not answer, the message may have been changed.
   */
  async revise(
    stream: Stream,
    event: RoomEvent,
    checks: readonly Deno.AtomicCheck[] = [],
  ): Promise<Revision> {
    if (this.retentionOf(stream[0]) === 0) return { outcome: "not-found" };
    await this.#ready;
    return await this.#revisions.revise(stream, event, checks);
  }

  /** Stops. Another instance compacts what is left. */
  async close(): Promise<void> {
    this.#compactor.stop();
    await this.#leftovers.close();
    await this.#ready.catch(() => {});
    await this.#compactor.idle();
  }

  /** Returns the events of a stream in memory, and the event ID before which KV holds the others. */
  #snapshot(stream: Stream): { entries: LoggedEvent[]; end: string } {
    const memtable = this.#memtableOf(stream);
    const { end } = memtable;
    const entries = memtable.of(stream)
      .filter((entry) => entry.eventId > end && this.#reader.isFresh(entry, stream));
    return { entries, end };
  }

  /** Returns the memtable of the shard that all events of a stream come from. */
  #memtableOf(stream: Stream): Memtable {
    return this.#compactor.memtables[this.#parts.shardOf(feedNameOf(stream))]!;
  }
}
