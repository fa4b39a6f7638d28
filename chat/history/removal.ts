/**
 * The removal of history rows: finds the oldest rows, and removes rows together with everything that
 * belongs to them.
 *
 * It does not decide how much to remove (quota.ts). All removals check and set one key, the lock, so
 * that two instances never subtract the same row twice. From before a removal reads the rows until it
 * ends, another key exists, so that no edit of a message changes their bytes meanwhile. Only commits
 * that set the lock delete this key: while the lock is unchanged, it has existed all the time.
 */
import type { Clock } from "../base/clock.ts";
import {
  evictedKey,
  HISTORY_BYTES_KEY,
  HISTORY_REMOVAL_KEY,
  HISTORY_REMOVING_KEY,
  historyIndexKey,
  historyIndexPrefix,
  historyKindPrefix,
  historyRowKey,
  historyRowsBefore,
  type Stream,
  streamBytesKey,
  type StreamKind,
} from "../kv/keys.ts";
import { MAX_GETMANY_KEYS } from "../kv/limits.ts";
import { backOff, RETRY_FOR_MS, withTimeout } from "../kv/retry.ts";
import { addToCount, countFrom } from "../kv/values.ts";
import { groupsOf, type KeptRow, laterOf, rowOfIndex, uncountedRow } from "./kept_rows.ts";

/** Every kind of stream, and whether earlier versions wrote rows of it without index rows. */
const KINDS: Readonly<Record<StreamKind, boolean>> = {
  log: true,
  people: true,
  conversation: false,
  direct: true,
  sent: false,
  own: false,
  acts: false,
};

/** The kind of stream that the quota neither counts nor removes: few rows, which must not be displaced. */
const UNCOUNTED: StreamKind = "acts";

/** Returns whether the quota counts the rows of a stream. */
export function isCounted([kind]: Stream): boolean {
  return kind !== UNCOUNTED;
}

const ALL_KINDS = Object.keys(KINDS) as StreamKind[];

/** The kinds of streams that the quota counts. */
export const COUNTED_KINDS: readonly StreamKind[] = ALL_KINDS.filter((kind) => kind !== UNCOUNTED);

/** Rows in one removal. With the rows of an older version it stays below KV's 1,000 mutations. */
const MAX_ROWS = 100;

/**
 * Bytes of names of streams in one removal: KV takes 80 KiB of keys, and a name stands in up to four
 * of them.
 */
const MAX_NAME_BYTES = 12 * 1024;

/** Milliseconds after which a removal counts as crashed, and revisions do not wait for it any more. */
const MAX_REMOVAL_MS = 5_000;

/** Counters that one removal deletes, each with a check: denokv takes ten checks. */
const MAX_DELETED_COUNTERS = 8;

/** Finds and removes rows of history. */
export class Removal {
  readonly #kv: Deno.Kv;
  readonly #clock: Clock;
  /** The longest time in milliseconds for which a row is kept. */
  readonly #retentionMs: number;
  /** Unix milliseconds until which rows without index rows may exist; `undefined`: not known yet. */
  #uncountedUntilMs: number | undefined;

  constructor(kv: Deno.Kv, clock: Clock, retentionMs: number) {
    this.#kv = kv;
    this.#clock = clock;
    this.#retentionMs = retentionMs;
  }

  /**
   * Finds out whether an earlier version left rows without index rows. Call it before the first row is
   * written.
   *
   * @throws when KV does not answer. Then it may be called again.
   */
  async begin(nowMs: number): Promise<void> {
    while (this.#uncountedUntilMs === undefined) {
      const lock = await withTimeout(this.#clock, this.#kv.get<unknown>(HISTORY_REMOVAL_KEY));
      if (lock.versionstamp !== null) {
        this.#uncountedUntilMs = typeof lock.value === "number" ? lock.value : Infinity;
        return;
      }
      const rows = await Promise.all(
        ALL_KINDS.map((kind) => this.#list({ prefix: historyKindPrefix(kind) }, 1)),
      );
      const untilMs = rows.flat().length === 0 ? 0 : nowMs + this.#retentionMs;
      const atomic = this.#kv.atomic().check(lock).set(HISTORY_REMOVAL_KEY, untilMs);
      await withTimeout(this.#clock, atomic.commit());
    }
  }

  /**
   * Reads the lock, and keeps revisions out until {@linkcode Removal.remove}. Read the rows after it. A
   * removal fails if another instance has removed rows since.
   */
  async lock(): Promise<Deno.KvEntryMaybe<unknown>> {
    const lock = await withTimeout(this.#clock, this.#kv.get<unknown>(HISTORY_REMOVAL_KEY));
    const claim = this.#kv.atomic().check(lock).set(HISTORY_REMOVING_KEY, 1);
    // If the lock has changed, the removal will fail in the same way.
    await withTimeout(this.#clock, claim.commit());
    return lock;
  }

  /**
   * Resolves when no instance removes rows. Returns false if that takes too long.
   *
   * @throws when KV does not answer.
   */
  async ended(): Promise<boolean> {
    const keys: [Deno.KvKey, Deno.KvKey] = [HISTORY_REMOVING_KEY, HISTORY_REMOVAL_KEY];
    const startedMs = this.#clock.monotonicMs();
    let seen: string | null = null, seenMs = startedMs;
    for (let waits = 1;; waits++) {
      const entries = this.#kv.getMany<[unknown, unknown]>(keys);
      const [removing, lock] = await withTimeout(this.#clock, entries);
      if (removing.versionstamp === null) return true;
      const nowMs = this.#clock.monotonicMs();
      if (nowMs - startedMs > RETRY_FOR_MS) return false;
      if (removing.versionstamp !== seen) [seen, seenMs] = [removing.versionstamp, nowMs];
      else if (nowMs - seenMs > MAX_REMOVAL_MS) {
        const atomic = this.#kv.atomic().check(removing, lock).set(lock.key, lock.value);
        await withTimeout(this.#clock, atomic.delete(removing.key).commit());
      }
      await backOff(this.#clock, waits);
    }
  }

  /** Reads a counter of bytes. */
  async bytes(counter: Deno.KvKey): Promise<number> {
    return countFrom((await withTimeout(this.#clock, this.#kv.get(counter))).value);
  }

  /**
   * Returns the oldest rows of all streams, as long as `isWanted` accepts them. It is called with a row
   * and the bytes of the rows before it. `kinds`: only those of these kinds.
   */
  async oldest(
    isWanted: (row: KeptRow, bytes: number) => boolean,
    kinds: readonly StreamKind[] = ALL_KINDS,
  ): Promise<KeptRow[]> {
    const lists = kinds.map(async (kind) =>
      (await this.#list({ prefix: historyIndexPrefix(kind) }, MAX_ROWS)).map(rowOfIndex)
    );
    // By time over all kinds. An unwanted row hides those after it of its kind.
    const found = (await Promise.all(lists)).flat().sort((a, b) => a.id < b.id ? -1 : 1);
    const finished = new Set<string>();
    const rows: KeptRow[] = [];
    let bytes = 0, nameBytes = 0;
    for (const row of found) {
      const [kind, name] = row.stream;
      if (finished.has(kind)) continue;
      nameBytes += 3 * name.length;
      const isFull = rows.length === MAX_ROWS || (nameBytes > MAX_NAME_BYTES && rows.length > 0);
      if (isFull || !isWanted(row, bytes)) {
        finished.add(kind);
        continue;
      }
      rows.push(row);
      bytes += row.bytes;
    }
    return rows;
  }

  /** Returns the oldest rows of a stream that hold so many bytes, or some of them. */
  async oldestOf(stream: Stream, excess: number): Promise<KeptRow[]> {
    // Reads the rows themselves, because the index is not ordered by stream.
    const found = await this.#list(historyRowsBefore(stream), MAX_GETMANY_KEYS);
    const keys = found.map(({ key }) => historyIndexKey(stream, String(key.at(-1))));
    const rows: KeptRow[] = [];
    let bytes = 0;
    for (const [i, entry] of (await this.#entries(keys)).entries()) {
      if (bytes >= excess) break;
      const isUncounted = entry.versionstamp === null;
      const row = isUncounted ? uncountedRow(stream, found[i]!) : rowOfIndex(entry);
      rows.push(row);
      bytes += row.bytes;
    }
    return rows;
  }

  /**
   * Puts before the rows of each stream those that an earlier version wrote without index rows. They
   * are older and must go first, or the stream would have a gap that no reader notices.
   */
  async withUncounted(rows: readonly KeptRow[], nowMs: number): Promise<readonly KeptRow[]> {
    if (nowMs >= this.#uncountedUntilMs!) return rows;
    const all: KeptRow[] = [];
    for (const { stream, rows: counted } of groupsOf(rows)) {
      if (KINDS[stream[0]]) {
        const before = await this.#list(historyRowsBefore(stream, counted[0]!.id), MAX_ROWS);
        for (const row of before) all.push(uncountedRow(stream, row));
        // There may be more of them.
        if (all.length >= MAX_ROWS) return all;
      }
      all.push(...counted);
    }
    return all;
  }

  /**
   * Removes rows with everything that belongs to them, unless another instance has removed rows since
   * {@linkcode Removal.lock}, and lets revisions in again. `isEarly`: their time was not over, so readers
   * must be able to see the gap.
   */
  async remove(
    lock: Deno.KvEntryMaybe<unknown>,
    rows: readonly KeptRow[],
    isEarly: boolean,
  ): Promise<void> {
    const groups = groupsOf(rows);
    const [counters, evicted] = await Promise.all([
      this.#entries(groups.map(({ stream }) => streamBytesKey(stream))),
      this.evicted(isEarly ? groups.map(({ stream }) => stream) : []),
    ]);
    const atomic = this.#kv.atomic().check(lock).set(HISTORY_REMOVAL_KEY, this.#uncountedUntilMs!)
      .delete(HISTORY_REMOVING_KEY);
    let deletedCounters = 0, freed = 0;
    for (const [i, { stream, rows, bytes }] of groups.entries()) {
      const counter = counters[i]!;
      if (!isCounted(stream)) { /* It has no counter. */ }
      else if (countFrom(counter.value) > bytes) atomic.mutate(addToCount(counter.key, -bytes));
      // The check: nothing may have been added to a deleted counter. More are left to the next removal.
      else if (++deletedCounters > MAX_DELETED_COUNTERS) continue;
      else atomic.check(counter).delete(counter.key);
      for (const { id } of rows) {
        atomic.delete(historyRowKey(stream, id)).delete(historyIndexKey(stream, id));
      }
      if (isCounted(stream)) freed += bytes;
      if (!isEarly) continue;
      // Another shard may have written an older row of the stream after a newer one was removed.
      const last = rows.reduce((id, row) => laterOf(row.last, id), "");
      const newest = laterOf(evicted[i], last);
      atomic.set(evictedKey(stream), newest, { expireIn: this.#retentionMs });
    }
    if (freed > 0) atomic.mutate(addToCount(HISTORY_BYTES_KEY, -freed));
    await withTimeout(this.#clock, atomic.commit());
  }

  /** Reads, for each stream, the ID of the newest event that was removed early. */
  async evicted(streams: readonly Stream[]): Promise<unknown[]> {
    return (await this.#entries(streams.map(evictedKey))).map(({ value }) => value);
  }

  async #list(selector: Deno.KvListSelector, limit: number): Promise<Deno.KvEntry<unknown>[]> {
    return await withTimeout(
      this.#clock,
      Array.fromAsync(this.#kv.list<unknown>(selector, { limit })),
    );
  }

  async #entries(keys: readonly Deno.KvKey[]): Promise<Deno.KvEntryMaybe<unknown>[]> {
    const reads: Promise<Deno.KvEntryMaybe<unknown>[]>[] = [];
    for (let i = 0; i < keys.length; i += MAX_GETMANY_KEYS) {
      const some = this.#kv.getMany<unknown[]>(keys.slice(i, i + MAX_GETMANY_KEYS));
      reads.push(withTimeout(this.#clock, some));
    }
    return (await Promise.all(reads)).flat();
  }
}
