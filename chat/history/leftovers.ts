/**
 * Removes what nobody removes from memory any more: feed rows that a crashed instance had compacted
 * already, and direct messages that an earlier version stored for as long as the history.
 *
 * Beside history.ts, which removes what its own instance compacted. This looks only at the oldest
 * feed rows: in the steady state that is one row for each shard, every ten minutes.
 */
import type { Clock } from "../base/clock.ts";
import { eachWithTimeout, retry, withTimeout } from "../kv/retry.ts";
import { cursorFrom, cursorKey } from "./cursor.ts";
import { MAX_CLOCK_ERROR_MS } from "./retention.ts";

/** What Leftovers is made of. */
export interface LeftoversParts {
  readonly kv: Deno.Kv;
  readonly clock: Clock;
  readonly shards: number;
  /** Milliseconds for which the feed's rows must be left alone. */
  readonly feedRowMs: number;
  /** Milliseconds for which direct messages are kept. */
  readonly retention: number;
  /** Tells the operator of a fault of ours, once each. */
  warn(message: string): void;
}

/** Rows in one read and one removal: a feed row has at most 64 KiB. */
const MAX_ROWS = 32;

/** The removal of what is left over, by one instance. */
export class Leftovers {
  readonly #parts: LeftoversParts;
  /** Old rows of direct messages are looked for at the start, and once more when all are too old. */
  #directsAt: number[] = [];
  #cancel = (): void => {};
  #cleaning: Promise<void> | undefined;
  #ended = false;

  constructor(parts: LeftoversParts) {
    this.#parts = parts;
  }

  /** Removes what is too old now, and looks again every `feedRowMs` milliseconds. */
  start(): void {
    const { clock, retention } = this.#parts;
    this.#directsAt = [-Infinity, clock.monotonicMs() + retention + MAX_CLOCK_ERROR_MS];
    this.#run();
  }

  /** Stops. Resolves when nothing of it is under way. */
  async close(): Promise<void> {
    this.#ended = true;
    this.#cancel();
    await this.#cleaning;
  }

  #run(): void {
    const { clock, feedRowMs, warn } = this.#parts;
    const failed = (error: unknown) =>
      warn(`Cannot remove old rows: ${error instanceof Error ? error.message : String(error)}`);
    this.#cleaning = retry(clock, () => this.#clean(), failed).then(() => {
      if (!this.#ended) this.#cancel = clock.after(feedRowMs, () => this.#run());
    });
  }

  async #clean(): Promise<void> {
    const { clock, kv, shards, retention, feedRowMs } = this.#parts;
    for (let shard = 0; shard < shards; shard++) {
      const { value } = await withTimeout(clock, kv.get<unknown>(cursorKey(shard)));
      const { upTo } = cursorFrom(value);
      if (upTo === "") continue;
      const selector = { start: ["feed", shard], end: ["feed", shard, `${upTo}0`] };
      await this.#remove(selector, feedRowMs, true);
    }
    while (this.#directsAt.length > 0 && this.#directsAt[0]! <= clock.monotonicMs()) {
      await this.#remove({ prefix: ["direct"] }, retention, false);
      this.#directsAt.shift();
    }
  }

  /** Removes the rows whose newest event is older than `lifeMs`; `inOrder`: up to the first younger. */
  async #remove(
    selector: Deno.KvListSelector,
    lifeMs: number,
    inOrder: boolean,
  ): Promise<void> {
    const { clock, kv } = this.#parts;
    const removal = async (keys: Deno.KvKey[]) => {
      const atomic = kv.atomic();
      for (const key of keys) atomic.delete(key);
      await withTimeout(clock, atomic.commit());
    };
    const old: Deno.KvKey[] = [];
    for await (const row of eachWithTimeout(clock, kv.list(selector, { batchSize: MAX_ROWS }))) {
      const time = timeOf(row.value);
      if (this.#ended) return;
      // What this version cannot read is left to KV.
      if (time === undefined) continue;
      if (time + lifeMs + MAX_CLOCK_ERROR_MS <= clock.now()) old.push(row.key);
      else if (inOrder) break;
      if (old.length === MAX_ROWS) await removal(old.splice(0));
    }
    if (old.length > 0) await removal(old);
  }
}

/** The time of the newest event in a row of the feed or of history, if that can be read. */
function timeOf(value: unknown): number | undefined {
  const { v, events } = (value ?? {}) as { v?: unknown; events?: unknown };
  if (v !== 1 || !Array.isArray(events)) return undefined;
  // In both it is the sixth element: see pack in events.ts, and fold in history.ts.
  const times = events.map((event) => Array.isArray(event) ? event[5] : undefined)
    .filter((time) => typeof time === "number");
  return times.length === 0 ? undefined : Math.max(...times);
}
