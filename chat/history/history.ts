/**
 * History: what was said and who came and went, by stream, for as long as each stream is kept.
 *
 * It receives every event after its delivery. Events that are compacted are read from KV, later ones
 * from memory; compactor.ts moves them from one to the other, so a page costs about as much as it
 * holds. History does not know which client may read what.
 */
import type { Clock } from "../base/clock.ts";
import type { Operation } from "../feed/batch.ts";
import type { LoggedEvent, RoomEvent } from "../feed/events.ts";
import { historyRowsBefore, historyRowsBetween, type Stream, type StreamKind } from "../kv/keys.ts";
import { eachWithTimeout } from "../kv/retry.ts";
import { historyRowFrom } from "../kv/values.ts";
import { Compactor } from "./compactor.ts";
import { Leftovers } from "./leftovers.ts";
import { Quota } from "./quota.ts";
import { longestOf, MAX_CLOCK_ERROR_MS, type Retention } from "./retention.ts";
import { decodeEvent, isFromManyShards } from "./rows.ts";

/** What history is made of. */
export interface HistoryParts {
  readonly kv: Deno.Kv;
  readonly clock: Clock;
  readonly retention: Retention;
  /** Bytes that all of it may take in KV; `Infinity`: no limit. */
  readonly maxBytes: number;
  /** How many shards the feed has. */
  readonly shards: number;
  /** Returns the shard that holds the events of a room or a connection. */
  shardOf(name: string): number;
  /** Milliseconds for which a feed row must be kept. */
  readonly feedRowMs: number;
  /** Submits an operation to the feed: see Feed.submit. */
  submit(name: string, operation: Operation): void;
  /** Tells the operator of a fault on the server's side. */
  warn(message: string): void;
}

/** How a revision ended. `eventId`: the ID of the `edit` or `delete`, if it is `done`. */
export interface Revision {
  readonly outcome: "done" | "not-found" | "failed";
  readonly eventId?: string;
}

/** A row of history as it is read. */
interface ReadRow {
  /** The event ID in its key. */
  readonly id: string;
  readonly entries: LoggedEvent[];
}

/** Rows in the first read of a stream, which is often enough, and in each later one. */
const FIRST_READ_ROWS = 2;
const READ_ROWS = 16;

/** The history of one instance. */
export class History {
  readonly #parts: HistoryParts;
  readonly #quota: Quota;
  readonly #compactor: Compactor;
  readonly #leftovers: Leftovers;
  /** Unix time at the zero of the monotonic clock, as measured at the start. */
  readonly #epochMs: number;
  /** Resolves when everything that the feed held at the start is compacted. */
  #ready: Promise<void> = Promise.resolve();

  constructor(parts: HistoryParts) {
    this.#parts = parts;
    const { kv, clock, maxBytes, retention, shards, feedRowMs, warn } = parts;
    this.#epochMs = clock.now() - clock.monotonicMs();
    const nowMs = () => this.#nowMs();
    const quota = this.#quota = new Quota({
      kv,
      clock,
      maxBytes,
      retentionMs: longestOf(retention),
    });
    this.#compactor = new Compactor({
      kv,
      clock,
      quota,
      retention,
      shards,
      feedRowMs,
      nowMs,
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
    return this.#parts.retention[kind];
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
    const { entries, end } = this.#snapshot(stream);
    for (const entry of entries.reverse()) {
      if (before === undefined || entry.eventId < before) yield entry;
    }
    const last = before !== undefined && before < end ? before : end;
    // A list cannot change how many rows it reads at once, so each read is a list of its own.
    for (let limit = FIRST_READ_ROWS, from = last;; limit = READ_ROWS) {
      let rows = 0;
      for await (const row of this.#rows(stream, historyRowsBefore(stream, from), limit, true)) {
        rows++;
        from = row.id;
        for (const entry of this.#freshOf(row, stream).reverse()) {
          if (entry.eventId < last) yield entry;
        }
        if (this.#isOver(row, stream)) return;
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
        if (entry.eventId > memtable.end && this.#isFresh(entry, stream)) {
          found.set(entry.eventId, entry);
        }
      }
    }
    const takeAfter = (eventId: string): LoggedEvent[] => {
      const taken = [...found.values()].filter((entry) => entry.eventId > eventId);
      for (const entry of taken) found.delete(entry.eventId);
      return taken.sort((one, other) => one.eventId > other.eventId ? -1 : 1);
    };
    for await (const row of this.#rows(stream, historyRowsBefore(stream), undefined, true)) {
      // Neither this row nor a later one of the list holds an event after the ID in its key.
      yield* takeAfter(row.id);
      const fresh = this.#freshOf(row, stream);
      if (this.#isOver(row, stream)) break;
      for (const entry of fresh) found.set(entry.eventId, entry);
    }
    yield* takeAfter("");
  }

  /**
   * Yields the events of a stream after an event ID, in order. Leaves out events whose time is over.
   *
   * @throws when KV cannot be read.
   */
  async *forwards(stream: Stream, after: string): AsyncGenerator<LoggedEvent> {
    if (this.retentionOf(stream[0]) === 0) return;
    await this.#ready;
    const { entries, end } = this.#snapshot(stream);
    // A key has the ID of the row's first event: the row that holds `after` may begin before it.
    let start = after;
    const holding = historyRowsBefore(stream, `${after}\0`);
    for await (const { id } of this.#rows(stream, holding, 1, true)) start = id;
    if (start < end) {
      const selector = historyRowsBetween(stream, start, end);
      for await (const row of this.#rows(stream, selector, undefined, false)) {
        for (const entry of row.entries) {
          const isWanted = entry.eventId > after && entry.eventId < end;
          if (isWanted && this.#isFresh(entry, stream)) yield entry;
        }
      }
    }
    for (const entry of entries) if (entry.eventId > after) yield entry;
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
  find(_stream: Stream, _eventId: string): Promise<LoggedEvent | undefined> {
    throw new Error("to be written");
  }

  /**
   * Returns whether nothing is missing in a stream after an event ID: an event at or before it is still
   * kept, and none after it was removed for the quota. For `log`, an event in `people` will also do.
   *
   * @throws when KV cannot be read.
   */
  isReached(_stream: Stream, _eventId: string): Promise<boolean> {
    throw new Error("to be written");
  }

  /**
   * Returns how many messages of a stream after an event ID are not by the user `except` and not
   * deleted, at most `limit`. Looks at a bounded number of events.
   *
   * @throws when KV cannot be read.
   */
  countAfter(
    _stream: Stream,
    _after: string,
    _options: { readonly limit: number; readonly except: string },
  ): Promise<number> {
    throw new Error("to be written");
  }

  /**
   * Returns a string that is not earlier than the ID of any event delivered so far in the shard of a
   * name, as given to `submit`. Empty if neither history nor resuming is on.
   */
  latestId(_name: string): string {
    throw new Error("to be written");
  }

  /**
   * Edits or deletes a message: `event` is the `edit` or `delete`, and its `target` the ID of a message
   * in `stream`. The caller has checked that its author may do that. Rewrites all rows that hold the
   * text, whatever stream they are in, in one operation with the event, which also has `checks`.
   *
   * `not-found`: there is no such message, or it is deleted, or its time is over. `failed`: KV does not
   * answer, or one of `checks` failed.
   */
  revise(
    _stream: Stream,
    _event: RoomEvent,
    _checks: readonly Deno.AtomicCheck[] = [],
  ): Promise<Revision> {
    throw new Error("to be written");
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
    const memtable = this.#compactor.memtables[this.#parts.shardOf(stream[1])]!;
    const { end } = memtable;
    const entries = memtable.of(stream)
      .filter((entry) => entry.eventId > end && this.#isFresh(entry, stream));
    return { entries, end };
  }

  /** Returns whether the time of an event is not over, or not for longer than `toleranceMs`. */
  #isFresh({ event }: LoggedEvent, [kind]: Stream, toleranceMs = 0): boolean {
    return event.time > this.#nowMs() - this.retentionOf(kind) - toleranceMs;
  }

  #freshOf({ entries }: ReadRow, stream: Stream): LoggedEvent[] {
    return entries.filter((entry) => this.#isFresh(entry, stream));
  }

  /** Returns whether the time of a whole row, and so of all earlier ones, is over by any clock. */
  #isOver({ entries }: ReadRow, stream: Stream): boolean {
    return entries.length > 0 &&
      !entries.some((entry) => this.#isFresh(entry, stream, MAX_CLOCK_ERROR_MS));
  }

  /**
   * Returns Unix time by the earlier of both clocks, in whole milliseconds. A wall clock that jumps
   * ahead must not hide or remove events that are still kept. A monotonic clock that stops while the
   * machine is suspended keeps nothing for longer, because KV removes the rows by its own clock.
   */
  #nowMs(): number {
    const { clock } = this.#parts;
    // KV accepts only whole numbers as the life of a row.
    return Math.floor(Math.min(clock.now(), this.#epochMs + clock.monotonicMs()));
  }

  async *#rows(
    stream: Stream,
    selector: Deno.KvListSelector,
    limit: number | undefined,
    reverse: boolean,
  ): AsyncGenerator<ReadRow> {
    const { kv, clock, warn } = this.#parts;
    const list = kv.list<unknown>(selector, { limit, reverse, batchSize: limit ?? 8 });
    for await (const { key, value } of eachWithTimeout(clock, list)) {
      const row = historyRowFrom(value);
      if (row === undefined) warn("Skipped a history row of an unknown version");
      const events = row?.events ?? [];
      const entries = events.flatMap((stored) => decodeEvent(stored, stream) ?? []);
      yield { id: String(key.at(-1)), entries };
    }
  }
}
