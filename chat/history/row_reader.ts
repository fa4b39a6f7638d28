/**
 * Reads rows of history from KV, and tells which events' time is over.
 *
 * It does not know which events are still in memory: history.ts puts both together.
 */
import type { Clock } from "../base/clock.ts";
import type { LoggedEvent } from "../feed/events.ts";
import { historyRowsBefore, type Stream, type StreamKind } from "../kv/keys.ts";
import { eachWithTimeout } from "../kv/retry.ts";
import { historyRowFrom } from "../kv/values.ts";
import { MAX_CLOCK_ERROR_MS, type Retention } from "./retention.ts";
import { decodeEvent } from "./rows.ts";

/** What a reader of rows is made of. */
export interface RowReaderParts {
  readonly kv: Deno.Kv;
  readonly clock: Clock;
  readonly retention: Retention;
  /** Tells the operator of a fault on the server's side. */
  warn(message: string): void;
}

/** A row of history as it is read. */
export interface ReadRow {
  /** The event ID in its key. */
  readonly id: string;
  readonly entry: Deno.KvEntry<unknown>;
  /** Its events as they are stored, in any form. */
  readonly stored: readonly unknown[];
  /** Those of its events whose form this version knows. */
  readonly entries: LoggedEvent[];
}

/** Reads the rows of history of one KV. */
export class RowReader {
  readonly #parts: RowReaderParts;
  /** Unix time at the zero of the monotonic clock, as measured at the start. */
  readonly #epochMs: number;

  constructor(parts: RowReaderParts) {
    this.#parts = parts;
    this.#epochMs = parts.clock.now() - parts.clock.monotonicMs();
  }

  /** Returns the milliseconds for which the events of a kind of stream are kept; 0: they are not. */
  retentionOf(kind: StreamKind): number {
    return this.#parts.retention[kind];
  }

  /**
   * Returns Unix time by the earlier of both clocks, in whole milliseconds. A wall clock that jumps
   * ahead must not hide or remove events that are still kept. A monotonic clock that stops while the
   * machine is suspended keeps nothing for longer, because KV removes the rows by its own clock.
   */
  nowMs(): number {
    const { clock } = this.#parts;
    // KV accepts only whole numbers as the life of a row.
    return Math.floor(Math.min(clock.now(), this.#epochMs + clock.monotonicMs()));
  }

  /** Returns whether the time of an event is not over, or not for longer than `toleranceMs`. */
  isFresh({ event }: LoggedEvent, [kind]: Stream, toleranceMs = 0): boolean {
    return event.time > this.nowMs() - this.retentionOf(kind) - toleranceMs;
  }

  /** Returns the events of a row whose time is not over. */
  freshOf({ entries }: ReadRow, stream: Stream): LoggedEvent[] {
    return entries.filter((entry) => this.isFresh(entry, stream));
  }

  /** Returns whether the time of a whole row, and so of all earlier ones, is over by any clock. */
  isOver({ entries }: ReadRow, stream: Stream): boolean {
    return entries.length > 0 &&
      !entries.some((entry) => this.isFresh(entry, stream, MAX_CLOCK_ERROR_MS));
  }

  /**
   * Yields rows of a stream.
   *
   * @throws when KV cannot be read.
   */
  async *rows(
    stream: Stream,
    selector: Deno.KvListSelector,
    limit: number | undefined,
    reverse: boolean,
  ): AsyncGenerator<ReadRow> {
    const { kv, clock, warn } = this.#parts;
    const list = kv.list<unknown>(selector, { limit, reverse, batchSize: limit ?? 8 });
    for await (const entry of eachWithTimeout(clock, list)) {
      const row = historyRowFrom(entry.value);
      if (row === undefined) warn("Skipped a history row of an unknown version");
      const stored = row?.events ?? [];
      const entries = stored.flatMap((each) => decodeEvent(each, stream) ?? []);
      yield { id: String(entry.key.at(-1)), entry, stored, entries };
    }
  }

  /**
   * Returns the row that holds the event of an ID, if any row does. For streams whose rows have the ID
   * of their first event in the key.
   *
   * @throws when KV cannot be read.
   */
  async rowAt(stream: Stream, eventId: string): Promise<ReadRow | undefined> {
    const selector = historyRowsBefore(stream, `${eventId}\0`);
    for await (const row of this.rows(stream, selector, 1, true)) return row;
  }
}
