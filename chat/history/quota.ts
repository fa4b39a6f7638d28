/**
 * The quota of history: counts the bytes that its rows take, per stream and in all, and removes the
 * oldest rows when there are too many bytes, or when the rows' time is over.
 *
 * Below History, which writes the rows and says when to look. Each row of history has an index row,
 * which is written and removed in the same commit as the row and its share of the counters. So the
 * counters are right after a crash. All removals check and set one key, so that two instances never
 * subtract the same row twice. It does not know what an event says, nor how long events are kept.
 */
import type { Clock } from "../base/clock.ts";
import { withTimeout } from "../kv/retry.ts";
import { estimateStringBytes, type StoredEvent } from "../feed/events.ts";
import { keyBytes } from "../kv/limits.ts";
import type { StreamKind } from "./retention.ts";
import type { Stream } from "./memtable.ts";

/** What a quota is made of. */
export interface QuotaParts {
  readonly kv: Deno.Kv;
  readonly clock: Clock;
  /** Bytes that all rows may take; `Infinity`: there is no limit, but rows are counted. */
  readonly maxBytes: number;
  /** The longest time in milliseconds for which a row is kept. */
  readonly retentionMs: number;
}

/** A row of history, as the quota counts it. */
export interface KeptRow {
  readonly stream: Stream;
  /** The event ID in the row's key: that of its first or, in some kinds of streams, its last event. */
  readonly id: string;
  /** The ID of the row's last event. */
  readonly last: string;
  readonly bytes: number;
  /** Unix milliseconds from which on the row is not kept any more. */
  readonly untilMs: number;
}

/** Rows of one stream, oldest first, and the sum of their bytes. */
interface Group {
  readonly stream: Stream;
  readonly rows: KeptRow[];
  bytes: number;
}

/** Every kind of stream, and whether earlier versions wrote rows of it that they did not count. */
const KINDS: Readonly<Record<StreamKind, boolean>> = {
  log: true,
  people: true,
  direct: true,
  sent: false,
  own: false,
};

/** A stream may take this part of all bytes, so that one room cannot displace all others. */
const STREAM_PART = 10;

/** Bytes that a stream may take at least, if all may. */
const MIN_STREAM_BYTES = 1024 * 1024;

/**
 * An instance reads a counter when it has itself written this part of that counter's quota since it
 * last did: a read for each row would double the requests. So removal begins that far below the quota,
 * and goes as far again below that.
 */
const LOOK_PART = 32;

/** Streams of which an instance remembers how much it has written. */
const MAX_STREAMS = 10_000;

/** Rows in one removal. With the rows of an older version it stays below KV's 1,000 mutations. */
const MAX_ROWS = 100;

/**
 * Bytes of names of streams in one removal: KV takes 80 KiB of keys, and a name stands in up to four
 * of them.
 */
const MAX_NAME_BYTES = 12 * 1024;

/** Counters that one removal deletes, each with a check: denokv takes ten checks. */
const MAX_EMPTIED = 8;

/** Removals before other work has its turn. */
const MAX_REMOVALS = 20;

/** Milliseconds after which rows are removed that are past their time: many at once, not each alone. */
const SWEEP_DELAY_MS = 60_000;

/** Keys in one `getMany`: KV takes no more. */
const MAX_KEYS = 10;

/** The counter of all bytes. */
const TOTAL_KEY: Deno.KvKey = ["history_bytes"];

/**
 * The key that every removal checks and sets. Its value is the Unix time in milliseconds until which
 * there may be rows of a version that wrote no index rows.
 */
const REMOVAL_KEY: Deno.KvKey = ["history_removal"];

/** Counts and bounds the rows of one instance's history. */
export class Quota {
  readonly #parts: QuotaParts;
  readonly #maxStreamBytes: number;
  /** Bytes that this instance has written since it last read the counter, by stream. */
  readonly #written = new Map<string, { readonly stream: Stream; bytes: number }>();
  /** The same of all streams. At the start nothing is known. */
  #writtenInAll = Infinity;
  /** Unix milliseconds at which the first row is past its time, as far as is known. */
  #expiryMs = -Infinity;
  /** Unix milliseconds until which there may be rows without index rows; `undefined`: not known yet. */
  #uncountedUntilMs: number | undefined;

  constructor(parts: QuotaParts) {
    this.#parts = parts;
    const { maxBytes } = parts;
    this.#maxStreamBytes = Math.max(
      Math.floor(maxBytes / STREAM_PART),
      Math.min(maxBytes, MIN_STREAM_BYTES),
    );
  }

  /**
   * Finds out whether there are rows of a version that wrote no index rows. To be called before the
   * first row is written.
   *
   * @throws when KV does not answer. Then it may be called again.
   */
  async begin(nowMs: number): Promise<void> {
    const { kv, clock, retentionMs } = this.#parts;
    while (this.#uncountedUntilMs === undefined) {
      const lock = await withTimeout(clock, kv.get<unknown>(REMOVAL_KEY));
      if (lock.versionstamp !== null) {
        this.#uncountedUntilMs = typeof lock.value === "number" ? lock.value : Infinity;
        return;
      }
      const lists = Object.keys(KINDS).map((kind) =>
        withTimeout(clock, Array.fromAsync(kv.list<unknown>({ prefix: [kind] }, { limit: 1 })))
      );
      const isNew = (await Promise.all(lists)).every((rows) => rows.length === 0);
      const untilMs = isNew ? 0 : nowMs + retentionMs;
      await withTimeout(clock, kv.atomic().check(lock).set(REMOVAL_KEY, untilMs).commit());
    }
  }

  /** Adds the index rows of these rows to the commit that writes them, and counts their bytes. */
  count(atomic: Deno.AtomicOperation, rows: readonly KeptRow[]): void {
    for (const row of rows) {
      const { bytes, untilMs, id, last } = row;
      atomic.set(indexKey(row), id === last ? [bytes, untilMs] : [bytes, untilMs, last]);
    }
    const groups = groupsOf(rows);
    let bytes = 0;
    for (const group of groups) {
      atomic.mutate(addition(counterKey(group.stream), group.bytes));
      bytes += group.bytes;
    }
    if (bytes > 0) atomic.mutate(addition(TOTAL_KEY, bytes));
  }

  /** The commit with these rows has been made. */
  wrote(rows: readonly KeptRow[]): void {
    for (const { stream, bytes, rows: [oldest] } of groupsOf(rows)) {
      const name = nameOf(stream);
      const before = this.#written.get(name)?.bytes ?? 0;
      this.#written.delete(name);
      this.#written.set(name, { stream, bytes: before + bytes });
      if (this.#written.size > MAX_STREAMS) {
        this.#written.delete(this.#written.keys().next().value!);
      }
      this.#writtenInAll += bytes;
      this.#expiryMs = Math.min(this.#expiryMs, oldest!.untilMs);
    }
  }

  /**
   * Removes rows that are past their time at `nowMs` (Unix time), and the oldest rows of what is over
   * its quota. Returns whether that is finished: it stops after a while.
   *
   * @throws when KV does not answer. Nothing is half done then, and it may be called again.
   */
  async enforce(nowMs: number): Promise<boolean> {
    await this.begin(nowMs);
    if (nowMs >= this.#expiryMs + SWEEP_DELAY_MS && !(await this.#sweep(nowMs))) return false;
    const { maxBytes } = this.#parts;
    if (maxBytes === Infinity) return true;
    for (const [name, { stream, bytes }] of this.#written) {
      if (bytes < this.#maxStreamBytes / LOOK_PART) continue;
      const oldest = (excess: number) => this.#oldestOf(stream, excess);
      if (!(await this.#trim(counterKey(stream), this.#maxStreamBytes, oldest))) {
        return false;
      }
      this.#written.delete(name);
    }
    if (this.#writtenInAll < maxBytes / LOOK_PART) return true;
    const oldest = async (excess: number) => {
      const rows = await this.#oldest((_, bytes) => bytes < excess);
      return nowMs < this.#uncountedUntilMs! ? await this.#withUncounted(rows) : rows;
    };
    if (!(await this.#trim(TOTAL_KEY, maxBytes, oldest))) return false;
    this.#writtenInAll = 0;
    return true;
  }

  /**
   * For streams, each with an event ID: the ID of the newest event that was removed for its bytes and
   * is later than the ID of its stream; empty if there is none. Read the events first: rows may be
   * removed meanwhile.
   *
   * @throws when KV cannot be read.
   */
  async evictedAfter(seen: readonly (readonly [Stream, string])[]): Promise<string> {
    const marks = await this.#entries(seen.map(([stream]) => evictedKey(stream)));
    let newest = "";
    for (const [i, { value }] of marks.entries()) {
      if (typeof value === "string" && value > seen[i]![1]) newest = laterOf(value, newest);
    }
    return newest;
  }

  /** Removes what is past its time. Returns whether that is finished. */
  async #sweep(nowMs: number): Promise<boolean> {
    const { kv, clock } = this.#parts;
    for (let removals = 0; removals < MAX_REMOVALS; removals++) {
      const lock = await withTimeout(clock, kv.get<unknown>(REMOVAL_KEY));
      let next = Infinity;
      const rows = await this.#oldest(({ untilMs }) => {
        if (untilMs > nowMs) next = Math.min(next, untilMs);
        return untilMs <= nowMs;
      });
      if (rows.length === 0) {
        this.#expiryMs = next;
        return true;
      }
      await this.#remove(lock, rows, false);
    }
    return false;
  }

  /**
   * Removes the oldest rows if a counter has almost come to `maxBytes`, until it is a part below that.
   * Returns whether that is finished.
   */
  async #trim(
    key: Deno.KvKey,
    maxBytes: number,
    oldest: (excess: number) => Promise<KeptRow[]>,
  ): Promise<boolean> {
    const { kv, clock } = this.#parts;
    const part = maxBytes / LOOK_PART;
    const enough = maxBytes - 2 * part;
    let limit = maxBytes - part;
    for (let removals = 0; removals < MAX_REMOVALS; removals++) {
      const keys: [Deno.KvKey, Deno.KvKey] = [REMOVAL_KEY, key];
      const [lock, counter] = await withTimeout(clock, kv.getMany<[unknown, unknown]>(keys));
      const bytes = bytesIn(counter.value);
      if (bytes <= limit) return true;
      limit = enough;
      const rows = await oldest(bytes - enough);
      if (rows.length === 0) return true;
      await this.#remove(lock, rows, true);
    }
    return false;
  }

  /** The oldest rows of all, as long as `isWanted` says so, given the bytes of those before. */
  async #oldest(isWanted: (row: KeptRow, bytes: number) => boolean): Promise<KeptRow[]> {
    const { kv, clock } = this.#parts;
    const lists = Object.keys(KINDS).map(async (kind) => {
      const list = kv.list<unknown>({ prefix: ["history_row", kind] }, { limit: MAX_ROWS });
      return (await withTimeout(clock, Array.fromAsync(list))).map(rowFrom);
    });
    // By time over all kinds; of one kind a row that is not wanted hides those after it.
    const found = (await Promise.all(lists)).flat().sort((a, b) => a.id < b.id ? -1 : 1);
    const ended = new Set<string>();
    const rows: KeptRow[] = [];
    let bytes = 0, names = 0;
    for (const row of found) {
      const [kind, name] = row.stream;
      if (ended.has(kind)) continue;
      names += 3 * name.length;
      const isFull = rows.length === MAX_ROWS || (names > MAX_NAME_BYTES && rows.length > 0);
      if (isFull || !isWanted(row, bytes)) {
        ended.add(kind);
        continue;
      }
      rows.push(row);
      bytes += row.bytes;
    }
    return rows;
  }

  /** The oldest rows of a stream that hold so many bytes, or some of them. */
  async #oldestOf(stream: Stream, excess: number): Promise<KeptRow[]> {
    const { kv, clock } = this.#parts;
    // The rows themselves have to be read, because nothing else is ordered by stream.
    const list = kv.list<unknown>({ prefix: [...stream] }, { limit: MAX_KEYS });
    const found = await withTimeout(clock, Array.fromAsync(list));
    const index = await this.#entries(
      found.map(({ key }) => indexKey({ stream, id: String(key.at(-1)) })),
    );
    const rows: KeptRow[] = [];
    let bytes = 0;
    for (const [i, entry] of index.entries()) {
      if (bytes >= excess) break;
      const row = entry.versionstamp === null ? uncounted(found[i]!) : rowFrom(entry);
      rows.push(row);
      bytes += row.bytes;
    }
    return rows;
  }

  /**
   * Puts before the rows of each stream those that an older version wrote, without index rows: they
   * are older, and must go first, or the stream would have a gap that no reader sees.
   */
  async #withUncounted(rows: readonly KeptRow[]): Promise<KeptRow[]> {
    const { kv, clock } = this.#parts;
    const all: KeptRow[] = [];
    for (const { stream, rows: own } of groupsOf(rows)) {
      if (!KINDS[stream[0]]) {
        all.push(...own);
        continue;
      }
      const selector = { prefix: [...stream], end: [...stream, own[0]!.id] };
      const list = kv.list<unknown>(selector, { limit: MAX_ROWS });
      all.push(...(await withTimeout(clock, Array.fromAsync(list))).map(uncounted));
      // There may be more of them.
      if (all.length >= MAX_ROWS) return all;
      all.push(...own);
    }
    return all;
  }

  /**
   * Removes rows with all that belongs to them, unless another instance has removed something since
   * `lock` was read. With `isEarly` it is written down that they were not past their time.
   */
  async #remove(
    lock: Deno.KvEntryMaybe<unknown>,
    rows: readonly KeptRow[],
    isEarly: boolean,
  ): Promise<void> {
    const { kv, clock, retentionMs } = this.#parts;
    const groups = groupsOf(rows);
    const marked = isEarly ? groups : [];
    const [counters, marks] = await Promise.all([
      this.#entries(groups.map(({ stream }) => counterKey(stream))),
      this.#entries(marked.map(({ stream }) => evictedKey(stream))),
    ]);
    const atomic = kv.atomic().check(lock).set(REMOVAL_KEY, this.#uncountedUntilMs!);
    let emptied = 0, freed = 0;
    for (const [i, group] of groups.entries()) {
      const counter = counters[i]!;
      if (bytesIn(counter.value) > group.bytes) atomic.mutate(addition(counter.key, -group.bytes));
      // Nothing may have been added to a counter that is deleted. The rest is for the next time.
      else if (++emptied > MAX_EMPTIED) continue;
      else atomic.check(counter).delete(counter.key);
      for (const row of group.rows) {
        atomic.delete([...row.stream, row.id]).delete(indexKey(row));
      }
      freed += group.bytes;
      if (!isEarly) continue;
      // Another shard may have written an older row of the stream after a newer one was removed.
      const last = group.rows.reduce((id, row) => laterOf(row.last, id), "");
      atomic.set(marks[i]!.key, laterOf(marks[i]!.value, last), { expireIn: retentionMs });
    }
    atomic.mutate(addition(TOTAL_KEY, -freed));
    await withTimeout(clock, atomic.commit());
  }

  async #entries(keys: readonly Deno.KvKey[]): Promise<Deno.KvEntryMaybe<unknown>[]> {
    const { kv, clock } = this.#parts;
    const reads: Promise<Deno.KvEntryMaybe<unknown>[]>[] = [];
    for (let i = 0; i < keys.length; i += MAX_KEYS) {
      reads.push(withTimeout(clock, kv.getMany<unknown[]>(keys.slice(i, i + MAX_KEYS))));
    }
    return (await Promise.all(reads)).flat();
  }
}

/** Bytes that SQLite keeps besides the key and the value of an entry: lengths, versions, pointers. */
const ENTRY_BYTES = 28;

/** Bytes of the fixed parts of the keys of a row of history, and of its index row. */
const ROW_KEY_BYTES = 34;
const INDEX_KEY_BYTES = 48;

/** Bytes of the value of an index row. */
const INDEX_BYTES = 40;

/**
 * An estimate of the bytes that a row of history takes in KV, its index row and keys included: those
 * that SQLite uses of its pages. It is at most twice of that, and not below it.
 */
export function bytesOfRow([, name]: Stream, events: readonly StoredEvent[]): number {
  let bytes = 32;
  for (const event of events) {
    // The list itself.
    bytes += 8;
    for (const value of event) bytes += typeof value === "string" ? estimateStringBytes(value) : 8;
  }
  const nameBytes = keyBytes([name]);
  return bytesOfEntry(ROW_KEY_BYTES + nameBytes, bytes) +
    bytesOfEntry(INDEX_KEY_BYTES + nameBytes, INDEX_BYTES);
}

/** What an entry takes in the table of all entries, and its key once more in an index of expiry. */
function bytesOfEntry(keyBytes: number, valueBytes: number): number {
  return bytesOfCell(keyBytes + valueBytes) + bytesOfCell(keyBytes);
}

/**
 * A cell of more than 1,002 bytes keeps 489 of them in its page, and has other pages of its own. Of
 * smaller ones the pages are not quite full.
 */
function bytesOfCell(bytes: number): number {
  if (bytes + ENTRY_BYTES <= 1002) return Math.ceil((bytes + ENTRY_BYTES) * 1.25);
  return 489 + Math.ceil((bytes + ENTRY_BYTES - 489) / 4092) * 4096;
}

/** The keys that a commit writes besides that of the row itself, to count it. */
export function countingKeys(row: KeptRow): Deno.KvKey[] {
  return [indexKey(row), counterKey(row.stream)];
}

function groupsOf(rows: readonly KeptRow[]): Group[] {
  const groups = new Map<string, Group>();
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
  return [...groups.values()];
}

function nameOf([kind, name]: Stream): string {
  return `${kind} ${name}`;
}

function indexKey({ stream: [kind, name], id }: Pick<KeptRow, "stream" | "id">): Deno.KvKey {
  return ["history_row", kind, id, name];
}

function counterKey(stream: Stream): Deno.KvKey {
  return [...TOTAL_KEY, ...stream];
}

/** The ID of the last event of a stream that was removed for its bytes. */
function evictedKey(stream: Stream): Deno.KvKey {
  return ["history_evicted", ...stream];
}

/** The row that an index row belongs to. Rows outlive programs: they are read as something unknown. */
function rowFrom({ key, value }: Pick<Deno.KvEntryMaybe<unknown>, "key" | "value">): KeptRow {
  const [, kind, id, name] = key;
  const [bytes, untilMs, last] = Array.isArray(value) ? value as unknown[] : [];
  return {
    stream: [kind as Stream[0], String(name)],
    id: String(id),
    last: typeof last === "string" ? last : String(id),
    bytes: typeof bytes === "number" ? bytes : 0,
    untilMs: typeof untilMs === "number" ? untilMs : 0,
  };
}

/** A row of history that has no index row. */
function uncounted({ key, value }: Deno.KvEntry<unknown>): KeptRow {
  const [kind, name, id] = key;
  const { events } = (value ?? {}) as { events?: unknown };
  const newest: unknown = Array.isArray(events) ? events.at(-1) : undefined;
  const last: unknown = Array.isArray(newest) ? newest[0] : undefined;
  return {
    stream: [kind as Stream[0], String(name)],
    id: String(id),
    last: typeof last === "string" ? last : String(id),
    bytes: 0,
    untilMs: 0,
  };
}

/** The later of two event IDs; what is none stands for the time before all. */
function laterOf(one: unknown, other: string): string {
  return typeof one === "string" && one > other ? one : other;
}

function bytesIn(count: unknown): number {
  return count instanceof Deno.KvU64 ? Number(BigInt.asIntN(64, count.value)) : 0;
}

/** Adds bytes to a counter, or takes them away: KV sums modulo 2^64. */
function addition(key: Deno.KvKey, bytes: number): Deno.KvMutation {
  return { type: "sum", key, value: new Deno.KvU64(BigInt.asUintN(64, BigInt(bytes))) };
}
