/**
 * What was said and who came and went, per stream (a room's talk, its people, one person's direct
 * messages, what a connection did), for as long as each is kept (retention.ts).
 *
 * Beside the way of a message: it is handed every event that is delivered, after the fact. The feed
 * is the write-ahead log; this folds it, a moment later, from memory into a few larger rows per
 * stream. Exactly one of all instances folds a row: the cursor `["fold", shard]` is checked by
 * whoever moves it. What is newer than the cursor is read from memory, what is older from KV, so a
 * crash in between loses nothing and a page costs a page. It does not know who may read what.
 */
import type { Clock } from "../base/clock.ts";
import { eachWithTimeout, retry, withTimeout } from "../kv/retry.ts";
import { cursorFrom, cursorKey } from "./cursor.ts";
import {
  eventId,
  eventIdPrefix,
  type LoggedEvent,
  type RoomEvent,
  unpack,
} from "../feed/events.ts";
import { keyBytes, MAX_KEY_BYTES, MAX_MUTATIONS } from "../kv/limits.ts";
import { Leftovers } from "./leftovers.ts";
import { bytesOfRow, countingKeys, type KeptRow, Quota } from "./quota.ts";
import { longestOf, MAX_CLOCK_ERROR_MS, type Retention, type StreamKind } from "./retention.ts";
import { bytesIn, Memtable, type Stream, type Streams } from "./memtable.ts";

/** What history is made of. */
export interface HistoryParts {
  readonly kv: Deno.Kv;
  readonly clock: Clock;
  readonly retention: Retention;
  /** Bytes that all of it may take in KV; `Infinity`: as many as it likes. */
  readonly maxBytes: number;
  /** How many shards the feed has, and in which one a room's or a connection's events are. */
  readonly shards: number;
  shardOf(name: string): number;
  /** Milliseconds for which the feed's rows must be left alone. */
  readonly feedRowMs: number;
  /** Tells the operator of a fault of ours, once each. */
  warn(message: string): void;
}

/**
 * The form of a row of history, under the id of its first event; in the streams of
 * {@linkcode MANY_SHARDS} under that of its last one.
 */
interface Chunk {
  readonly v: 1;
  /** Each event without what is in the key: see {@linkcode encodeEvent}. */
  readonly events: readonly (readonly (string | number)[])[];
}

/** A row of history that is to be written. */
interface NewRow {
  readonly key: Deno.KvKey;
  readonly value: Chunk;
  /** What is counted of it. */
  readonly kept: KeptRow;
  /** Milliseconds for which KV is to keep it. */
  readonly expireIn: number;
}

/**
 * A row of history in the list of all rows that hold some events; `undefined`: none is written, because
 * its time is over. The list has the same length on every instance, at every time: the cursor says how
 * much of it is done.
 */
type Planned = NewRow | undefined;

/** Rows of the feed that have been folded, and when, by the monotonic clock. */
interface CompactedRows {
  readonly shard: number;
  readonly atMs: number;
  /** Versionstamps, 20 characters each, one after the other: a list of strings takes three times that. */
  rows: string;
}

/** Milliseconds between an event and its folding: what comes in the meantime shares its rows. */
const COMPACT_AFTER_MS = 1_000;

/** Estimated bytes of events that wait in one shard from which on they are folded at once. */
const COMPACT_NOW_BYTES = 2 * 1024 * 1024;

/** The same from which on the shard waits: memory has an end. */
const MAX_MEMTABLE_BYTES = 16 * 1024 * 1024;

/**
 * Estimated bytes of events in one commit, and streams: KV takes 800 KiB and 1,000 mutations, and a
 * row of the feed, which is folded whole, may hold events of 700 streams.
 */
const MAX_COMMIT_BYTES = 600 * 1024;
const MAX_COMMIT_STREAMS = 250;

/**
 * Estimated bytes of events in one row: KV takes 64 KiB, and a page must not have to read much more
 * than itself. What is written mostly takes half of what is estimated.
 */
const MAX_CHUNK_BYTES = 56 * 1024;

/** Bytes of the keys for new rows in one commit; the cursor and the counter of all have keys, too. */
const MAX_NEW_KEY_BYTES = MAX_KEY_BYTES - 512;

/** Feed rows that one commit removes besides. */
const MAX_REMOVED_ROWS = 200;

/**
 * Streams whose events come from several shards, so that the events of two rows may alternate. Rows
 * named by their last event can be read in order all the same: no row holds anything newer than its
 * name.
 */
const MANY_SHARDS: readonly StreamKind[] = ["sent", "own"];

/** Milliseconds for which a row is left to KV at least, whatever the clock says. */
const MIN_ROW_LIFE_MS = 60_000;

/**
 * New rows in one commit, besides the cursor, the counter of all and what is removed. Each has an
 * index row, and may have a counter of its own.
 */
const MAX_NEW_ROWS = Math.floor((MAX_MUTATIONS - MAX_REMOVED_ROWS - 2) / 3);

/** Feed rows in one read, of at most 64 KiB each, when an earlier instance left some unfolded. */
const READ_BATCH_ROWS = 32;

const VERSIONSTAMP_CHARS = 20;

/** The history that one instance keeps and reads. */
export class History {
  readonly #parts: HistoryParts;
  readonly #quota: Quota;
  readonly #memtables: Memtable[];
  /** Unix time at the moment from which the monotonic clock counts. */
  readonly #epochMs: number;
  readonly #compacted: CompactedRows[] = [];
  readonly #leftovers: Leftovers;
  #ready: Promise<void> = Promise.resolve();
  #compacting: Promise<void> | undefined;
  /** When folding is due by the timer that is set, if one is, by the monotonic clock. */
  #due = Infinity;
  #cancel = (): void => {};
  /** More may be in KV than should be: there was no time yet to remove all of it. */
  #isOver = true;
  #ended = false;

  constructor(parts: HistoryParts) {
    this.#parts = parts;
    const { kv, clock, maxBytes, retention } = parts;
    this.#quota = new Quota({ kv, clock, maxBytes, retentionMs: longestOf(retention) });
    this.#epochMs = clock.now() - clock.monotonicMs();
    this.#memtables = Array.from({ length: parts.shards }, () => new Memtable());
    this.#leftovers = new Leftovers({ ...parts, retention: parts.retention.direct });
  }

  /** Milliseconds for which the events of rooms are kept; 0: they are not. */
  get retention(): number {
    return this.#parts.retention.log;
  }

  /** Milliseconds for which the events of a kind of stream are kept; 0: they are not. */
  retentionOf(kind: StreamKind): number {
    return this.#parts.retention[kind];
  }

  get #isOn(): boolean {
    const { log, own } = this.#parts.retention;
    return log > 0 || own > 0;
  }

  /** Begins: `at` is where each shard stood before what will be added. Folds what is older. */
  start(eventId: readonly (string | null)[]): void {
    // Also where nothing is kept any more: what was kept before is removed when its time is over.
    this.#schedule(COMPACT_AFTER_MS);
    if (!this.#isOn) return;
    this.#leftovers.start();
    const folds = eventId.map((stamp, shard) => this.#compactStored(shard, stamp ?? ""));
    this.#ready = Promise.all(folds).then(() => {});
    this.#ready.catch(() => {});
  }

  /** Takes an event that was delivered. */
  add(event: RoomEvent, eventId: string, shard: number): void {
    if (!this.#isOn || event.kind === "resume") return;
    this.#memtables[shard]!.add(event, eventId);
  }

  /** All events of a row have been added. What it returns, the shard has to wait for. */
  commitDelivered(shard: number, versionstamp: string): Promise<void> | undefined {
    if (!this.#isOn) return undefined;
    const memtable = this.#memtables[shard]!;
    if (memtable.compactedTo !== undefined && versionstamp <= memtable.compactedTo) {
      return undefined;
    }
    memtable.rows.push(versionstamp);
    if (memtable.bytes > MAX_MEMTABLE_BYTES) return this.#compact();
    if (memtable.bytes > COMPACT_NOW_BYTES) void this.#compact();
    else this.#schedule(COMPACT_AFTER_MS);
    return undefined;
  }

  /**
   * The events of a stream from the newest on backwards: those before an id, if one is given, and
   * not past their time.
   *
   * @throws {TypeError} for a stream of {@linkcode MANY_SHARDS}: see {@linkcode History.newestOf}.
   * @throws when KV cannot be read.
   */
  async *backwards(stream: Stream, before?: string): AsyncGenerator<LoggedEvent> {
    if (MANY_SHARDS.includes(stream[0])) throw new TypeError(`${stream[0]}: use newestOf`);
    if (this.retentionOf(stream[0]) === 0) return;
    await this.#ready;
    const { entries, end } = this.#snapshot(stream);
    for (const entry of entries.reverse()) {
      if (before === undefined || entry.eventId < before) yield entry;
    }
    const last = before !== undefined && before < end ? before : end;
    // First few rows: often they are enough. A list cannot change its mind on how many it reads.
    for (let limit = 2, from = last;; limit = 16) {
      let rows = 0;
      const selector = { prefix: [...stream], end: [...stream, from] };
      for await (const { at: eventId, chunk } of this.#chunks(stream, selector, limit, true)) {
        rows++;
        from = eventId;
        const fresh = chunk.filter((entry) => this.#isFresh(entry, stream));
        for (const entry of fresh.reverse()) if (entry.eventId < last) yield entry;
        // All of it is past its time, and so is everything before it, whatever the clocks did.
        if (
          chunk.length > 0 && !chunk.some((each) => this.#isFresh(each, stream, MAX_CLOCK_ERROR_MS))
        ) return;
      }
      if (rows < limit) return;
    }
  }

  /**
   * The same for a stream whose events come from several shards.
   *
   * @throws when KV cannot be read.
   */
  async *newestOf(stream: Stream): AsyncGenerator<LoggedEvent> {
    if (this.retentionOf(stream[0]) === 0) return;
    await this.#ready;
    const found = new Map<string, LoggedEvent>();
    // First what is in memory: what is folded meanwhile is found twice, and not missed.
    for (const memtable of this.#memtables) {
      for (const entry of memtable.of(stream)) {
        if (entry.eventId > memtable.end && this.#isFresh(entry, stream)) {
          found.set(entry.eventId, entry);
        }
      }
    }
    const take = (after: string): LoggedEvent[] => {
      const taken = [...found.values()].filter(({ eventId }) => eventId > after);
      for (const { eventId } of taken) found.delete(eventId);
      return taken.sort((one, other) => one.eventId > other.eventId ? -1 : 1);
    };
    const rows = this.#chunks(stream, { prefix: [...stream] }, undefined, true);
    for await (const { at: eventId, chunk } of rows) {
      // Neither this row nor those after it hold anything newer than its name.
      yield* take(eventId);
      const fresh = chunk.filter((entry) => this.#isFresh(entry, stream));
      if (chunk.length > 0 && !chunk.some((e) => this.#isFresh(e, stream, MAX_CLOCK_ERROR_MS))) {
        break;
      }
      for (const entry of fresh) found.set(entry.eventId, entry);
    }
    yield* take("");
  }

  /**
   * The events of a stream after an id, in their order.
   *
   * @throws when KV cannot be read.
   */
  async *forwards(stream: Stream, after: string): AsyncGenerator<LoggedEvent> {
    if (this.retentionOf(stream[0]) === 0) return;
    await this.#ready;
    const { entries, end } = this.#snapshot(stream);
    // Rows are named by their first event: the one that holds `after` may begin before it.
    let start = after;
    const holding = { prefix: [...stream], end: [...stream, `${after}\0`] };
    for await (const { at: eventId } of this.#chunks(stream, holding, 1, true)) start = eventId;
    if (start < end) {
      const selector = { start: [...stream, start], end: [...stream, end] };
      for await (const { chunk } of this.#chunks(stream, selector, undefined, false)) {
        for (const entry of chunk) {
          if (entry.eventId > after && entry.eventId < end && this.#isFresh(entry, stream)) {
            yield entry;
          }
        }
      }
    }
    for (const entry of entries) if (entry.eventId > after) yield entry;
  }

  /**
   * For streams, each with an event ID: the ID of the newest event that was removed to make room and is
   * later than the ID of its stream; empty if there is none. Read the events first.
   *
   * @throws when KV cannot be read.
   */
  async evictedAfter(seen: readonly (readonly [Stream, string])[]): Promise<string> {
    return await this.#quota.evictedAfter(seen);
  }

  /** Stops. What has not been folded will be, by whoever is next. */
  async close(): Promise<void> {
    this.#ended = true;
    this.#cancel();
    await this.#leftovers.close();
    await this.#ready.catch(() => {});
    await this.#compacting;
  }

  /** What of a stream is in memory, and the id at which what is read from KV must end. */
  #snapshot(stream: Stream): { entries: LoggedEvent[]; end: string } {
    const memtable = this.#memtables[this.#parts.shardOf(stream[1])]!;
    const { end } = memtable;
    const entries = memtable.of(stream)
      .filter((entry) => entry.eventId > end && this.#isFresh(entry, stream));
    return { entries, end };
  }

  /** Whether an event is not past its time, or not for longer than `toleranceMs`. */
  #isFresh({ event }: LoggedEvent, [kind]: Stream, toleranceMs = 0): boolean {
    return event.time > this.#nowMs() - this.retentionOf(kind) - toleranceMs;
  }

  /**
   * Unix time by the earlier of both clocks: a wall clock that jumps ahead must not hide or remove
   * what is still kept. A monotonic clock that stands still in a suspended machine keeps nothing for
   * longer, because KV removes the rows by its own clock.
   */
  #nowMs(): number {
    const { clock } = this.#parts;
    // KV takes only whole numbers as the life of a row.
    return Math.floor(Math.min(clock.now(), this.#epochMs + clock.monotonicMs()));
  }

  async *#chunks(
    stream: Stream,
    selector: Deno.KvListSelector,
    limit: number | undefined,
    reverse: boolean,
  ): AsyncGenerator<{ at: string; chunk: LoggedEvent[] }> {
    const { kv, clock, warn } = this.#parts;
    const options = { limit, reverse, batchSize: limit ?? 8 };
    for await (
      const { key, value } of eachWithTimeout(clock, kv.list<unknown>(selector, options))
    ) {
      const chunk = value as Partial<Chunk> | null;
      const known = chunk?.v === 1 && Array.isArray(chunk.events);
      if (!known) warn("a row of history of an unknown version was passed over");
      const events = known ? chunk.events! : [];
      yield { at: String(key.at(-1)), chunk: events.flatMap((each) => decodeEvent(each, stream)) };
    }
  }

  /** Folds in so many milliseconds, unless that happens earlier anyway. */
  #schedule(ms: number): void {
    const { clock } = this.#parts;
    const due = clock.monotonicMs() + ms;
    if (this.#ended || due >= this.#due) return;
    this.#cancel();
    this.#due = due;
    this.#cancel = clock.after(ms, () => {
      this.#due = Infinity;
      void this.#compact();
    });
  }

  #compact(): Promise<void> {
    return this.#compacting ??= this.#compactAll().finally(() => {
      this.#compacting = undefined;
      const isLeft = this.#isOver || this.#memtables.some(({ rows }) => rows.length > 0);
      if (isLeft) return this.#schedule(COMPACT_AFTER_MS);
      const next = this.#compacted[0];
      if (next === undefined) return;
      // Not long before they are due: nothing else may happen here for hours.
      const { clock, feedRowMs: rowLife } = this.#parts;
      this.#schedule(Math.max(COMPACT_AFTER_MS, next.atMs + rowLife - clock.monotonicMs()));
    });
  }

  async #compactAll(): Promise<void> {
    const { clock, warn } = this.#parts;
    for (const [shard, memtable] of this.#memtables.entries()) {
      if (memtable.compactedTo === undefined) continue;
      const warned = (error: unknown) =>
        warn(`history could not be written: ${(error as Error).message}`);
      // Not what comes meanwhile: folded at once, little by little, it would fill many small rows.
      const newest = memtable.rows.at(-1) ?? "";
      const isLeft = () => memtable.rows.length > 0 && memtable.rows[0]! <= newest;
      const due = () => !this.#ended && (isLeft() || this.#isDue(shard));
      while (due()) {
        const worked = await retry(clock, () => this.#compactOnce(shard, memtable), warned);
        // It stays in memory, and in the feed.
        if (!worked) break;
        // Before the next commit: where rows are removed more slowly than written, writing waits.
        await this.#enforceQuota();
      }
    }
    if (this.#isOver) await this.#enforceQuota();
  }

  async #enforceQuota(): Promise<void> {
    const { clock, warn } = this.#parts;
    const warned = (error: unknown) =>
      warn(`old history could not be removed: ${(error as Error).message}`);
    this.#isOver = true;
    await retry(clock, async () => {
      this.#isOver = !(await this.#quota.enforce(this.#nowMs()));
    }, warned);
  }

  /** Folds the oldest rows of a tail, unless somebody else did, and removes old rows of the feed. */
  async #compactOnce(shard: number, memtable: Memtable): Promise<void> {
    const { kv, clock } = this.#parts;
    const cursor = await withTimeout(clock, kv.get<unknown>(cursorKey(shard)));
    const folded = cursorFrom(cursor.value);
    if (folded.upTo > memtable.compactedTo!) {
      memtable.forget(folded.upTo);
      if (memtable.rows.length === 0) return;
    }
    const { upTo, commits, stamps } = this.#oldest(memtable, folded.rows);
    const old = this.#removable(shard);
    if (stamps.length === 0 && old.length === 0) return;
    if (!await this.#move(shard, cursor, upTo, commits, old)) return;
    if (old.length > 0) this.#forgetRemoved(shard, old.length);
    if (upTo === undefined) return;
    this.#compacted.push({ shard, atMs: clock.monotonicMs(), rows: stamps.join("") });
    memtable.forget(upTo);
  }

  /**
   * The rows of history for the oldest rows of a tail, but for the first `written`, divided into
   * commits. Only the events of a single row of the feed ever take more than one commit: see
   * {@linkcode History.#move}.
   */
  #oldest(
    memtable: Memtable,
    written: number,
  ): { upTo: string | undefined; stamps: string[]; commits: Planned[][] } {
    for (let most = written > 0 ? 1 : Infinity;;) {
      const { streams, rows } = memtable.takeOldest({
        bytes: MAX_COMMIT_BYTES,
        streams: MAX_COMMIT_STREAMS,
        rows: most,
      });
      const commits = inCommits(this.#newRows(streams).slice(written));
      if (rows.length <= 1 || commits.length <= 1) {
        return { upTo: rows.at(-1), stamps: rows, commits };
      }
      most = rows.length >> 1;
    }
  }

  /**
   * Writes rows of history and moves the cursor from where it stood to `upTo`, and removes rows of
   * the feed. Returns whether that was done; if not, somebody else has moved the cursor.
   *
   * Of several commits each moves the cursor, all but the last only within the next row of the feed:
   * whoever goes on after a crash does not count again what was written. Nobody reads what is past it.
   */
  async #move(
    shard: number,
    cursor: Deno.KvEntryMaybe<unknown>,
    upTo: string | undefined,
    commits: Planned[][],
    old: readonly Deno.KvKey[] = [],
  ): Promise<boolean> {
    const { kv, clock } = this.#parts;
    const last = commits.at(-1) ?? [];
    let eventId: Deno.AtomicCheck = cursor;
    let { upTo: before, rows: written } = cursorFrom(cursor.value);
    for (const rows of [...commits.slice(0, -1), last]) {
      written += rows.length;
      const next = rows === last
        ? { upTo: upTo ?? before, rows: 0 }
        : { upTo: before, rows: written };
      const atomic = kv.atomic().check(eventId);
      const kept: KeptRow[] = [];
      for (const row of rows) {
        if (row === undefined) continue;
        atomic.set(row.key, row.value, { expireIn: row.expireIn });
        kept.push(row.kept);
      }
      this.#quota.count(atomic, kept);
      if (upTo !== undefined) atomic.set(cursorKey(shard), { v: 1, ...next });
      if (rows === last) { for (const key of old) atomic.delete(key); }
      const done = await withTimeout(clock, atomic.commit());
      if (done.ok) eventId = { key: cursor.key, versionstamp: done.versionstamp };
      else {
        // KV Connect's client may have repeated a commit that was written.
        eventId = await withTimeout(clock, kv.get<unknown>(cursorKey(shard)));
        const found = cursorFrom((eventId as Deno.KvEntryMaybe<unknown>).value);
        if (upTo === undefined || found.upTo !== next.upTo || found.rows !== next.rows) {
          return false;
        }
      }
      this.#quota.wrote(kept);
    }
    return true;
  }

  /** The rows of history that hold these events. */
  #newRows(streams: Streams): Planned[] {
    const { retention } = this.#parts;
    const now = this.#nowMs();
    const rows: Planned[] = [];
    for (const { stream, entries } of streams.values()) {
      const [kind] = stream;
      for (let from = 0, to = 0; to < entries.length; from = to) {
        for (let bytes = 0; to < entries.length; to++) {
          bytes += bytesIn(stream, entries[to]!.event);
          if (bytes > MAX_CHUNK_BYTES && to > from) break;
        }
        // What a crash left for a while is not kept any longer for that.
        const age = Math.max(0, now - entries[to - 1]!.event.time);
        if (age >= retention[kind]) {
          rows.push(undefined);
          continue;
        }
        const expireIn = Math.max(MIN_ROW_LIFE_MS, retention[kind] - age);
        const value: Chunk = {
          v: 1,
          events: entries.slice(from, to).map((each) => encodeEvent(each, kind)),
        };
        const bytes = bytesOfRow(stream, value.events);
        const last = entries[to - 1]!.eventId;
        const id = MANY_SHARDS.includes(kind) ? last : entries[from]!.eventId;
        const kept = { stream, id, last, bytes, untilMs: now + expireIn };
        rows.push({ key: [...stream, id], value, kept, expireIn });
      }
    }
    return rows;
  }

  #isDue(shard: number): boolean {
    const first = this.#compacted.find((each) => each.shard === shard);
    if (first === undefined) return false;
    return first.atMs + this.#parts.feedRowMs <= this.#parts.clock.monotonicMs();
  }

  /** The rows of the feed that nobody needs any more, as many as one commit may remove. */
  #removable(shard: number): Deno.KvKey[] {
    if (!this.#isDue(shard)) return [];
    const { rows } = this.#compacted.find((each) => each.shard === shard)!;
    const many = Math.min(rows.length / VERSIONSTAMP_CHARS, MAX_REMOVED_ROWS);
    return Array.from(
      { length: many },
      (_, i) => ["feed", shard, rows.slice(i * VERSIONSTAMP_CHARS, (i + 1) * VERSIONSTAMP_CHARS)],
    );
  }

  #forgetRemoved(shard: number, many: number): void {
    const eventId = this.#compacted.findIndex((each) => each.shard === shard);
    const done = this.#compacted[eventId]!;
    done.rows = done.rows.slice(many * VERSIONSTAMP_CHARS);
    if (done.rows === "") this.#compacted.splice(eventId, 1);
  }

  /** Folds what stands in the feed up to where this instance begins: left by a crash, mostly. */
  async #compactStored(shard: number, upTo: string): Promise<void> {
    const { clock, warn } = this.#parts;
    const memtable = this.#memtables[shard]!;
    const warned = (error: unknown) =>
      warn(`history could not be folded: ${(error as Error).message}`);
    // Nobody is told of a failure here, and nobody can go on without: again and again.
    while (!this.#ended && memtable.compactedTo === undefined) {
      await retry(clock, async () => {
        await this.#quota.begin(this.#nowMs());
        if (await this.#compactStoredOnce(shard, upTo)) memtable.forget(upTo);
      }, warned);
    }
  }

  async #compactStoredOnce(shard: number, upTo: string): Promise<boolean> {
    const { kv, clock } = this.#parts;
    const cursor = await withTimeout(clock, kv.get<unknown>(cursorKey(shard)));
    const folded = cursorFrom(cursor.value);
    if (folded.upTo >= upTo) return true;
    const prefix = ["feed", shard];
    const selector = { start: [...prefix, `${folded.upTo}0`], end: [...prefix, `${upTo}0`] };
    const rows = kv.list<{ v?: unknown; events?: unknown }>(selector, {
      limit: READ_BATCH_ROWS,
      batchSize: 8,
    });
    const stored = new Memtable();
    for await (const { versionstamp, value } of eachWithTimeout(clock, rows)) {
      const events = value?.v === 1 && Array.isArray(value.events) ? value.events : [];
      const prefix = eventIdPrefix(versionstamp);
      for (const [index, each] of events.entries()) {
        const event = unpack(each);
        if (event === undefined || event.kind === "resume") continue;
        stored.add(event, eventId(prefix, index));
      }
      stored.rows.push(versionstamp);
      if (stored.bytes > MAX_COMMIT_BYTES) break;
    }
    const { upTo: last = upTo, stamps, commits } = this.#oldest(stored, folded.rows);
    if (!await this.#move(shard, cursor, last, commits)) return false;
    if (stamps.length > 0) {
      this.#compacted.push({ shard, atMs: clock.monotonicMs(), rows: stamps.join("") });
      this.#schedule(COMPACT_AFTER_MS);
    }
    return last >= upTo;
  }
}

/** Divides rows into commits by their number and the bytes of their keys, in their order. */
function inCommits(rows: readonly Planned[]): Planned[][] {
  const commits: Planned[][] = [];
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

/** An event as it stands in a row of its stream. */
function encodeEvent({ eventId, event }: LoggedEvent, stream: StreamKind): (string | number)[] {
  const { kind, room, id, nick, text, time, cid, from = "", to = "" } = event;
  switch (stream) {
    case "log":
    case "people":
      return [eventId, kind, id, nick, text, time, cid];
    case "direct":
    case "sent":
      return [eventId, kind, id, nick, text, time, cid, from, to];
    case "own":
      // Whose it is stands in the key, and what was said in another stream.
      return [eventId, kind, room, "", "", time, cid];
  }
}

function decodeEvent(stored: unknown, [kind, name]: Stream): LoggedEvent[] {
  if (!Array.isArray(stored)) return [];
  const [eventId, what, id, ...rest] = stored;
  const event = kind === "own"
    ? unpack([what, id, name, ...rest])
    : unpack([what, kind === "direct" || kind === "sent" ? "" : name, id, ...rest]);
  return typeof eventId === "string" && event !== undefined ? [{ eventId, event }] : [];
}
