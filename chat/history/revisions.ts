/**
 * Edits and deletions of messages: rewrites the rows of history that hold a message, in one operation
 * with the event that announces it.
 *
 * The operation checks that no row has changed since it was read, and that no instance is removing
 * rows. So of two revisions one comes first, the counters of the quota stay exact, and a text that was
 * deleted or evicted does not return. Who may change a message is decided elsewhere.
 */
import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/log.ts";
import type { Operation, Outcome } from "../feed/batch.ts";
import type { RoomEvent } from "../feed/events.ts";
import {
  DIRECT_FEED_NAME,
  HISTORY_REMOVING_KEY,
  historyIndexKey,
  type Stream,
} from "../kv/keys.ts";
import { backOff, withTimeout } from "../kv/retry.ts";
import type { Compactor } from "./compactor.ts";
import { type KeptRow, rowOfIndex, uncountedRow } from "./kept_rows.ts";
import type { Quota } from "./quota.ts";
import type { ReadRow, RowReader } from "./row_reader.ts";
import { encodeEvent, type NewRow, replanRow, storedId } from "./rows.ts";
import {
  asTold,
  isEventId,
  isFromManyShards,
  nameOf,
  revisedBy,
  textStreamsOf,
} from "./streams.ts";

/** What revisions are made of. */
export interface RevisionsParts {
  readonly kv: Deno.Kv;
  readonly clock: Clock;
  readonly quota: Quota;
  readonly compactor: Compactor;
  readonly rows: RowReader;
  /** Returns the shard that holds the events of a stream. */
  shardOf(stream: Stream): number;
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

/** Events that the operation of a revision also has, before its own: an act of moderation. */
export interface Told {
  readonly events: readonly RoomEvent[];
  readonly copies?: Operation["copies"];
}

/** A revision that stands for itself. */
export const NOTHING_TOLD: Told = { events: [] };

/** The rows that take the place of a row. */
interface Replacement {
  /** The message as it is then. */
  readonly message: RoomEvent;
  readonly read: ReadRow;
  readonly before: KeptRow;
  readonly after: readonly NewRow[];
}

/** Tries of an operation that other instances make fail, with a longer pause after each. */
const MAX_TRIES = 12;

/** Changes messages, for one instance. */
export class Revisions {
  readonly #parts: RevisionsParts;
  /** The last revision of each stream that one is under way in, by the stream's name. */
  readonly #last = new Map<string, Promise<void>>();

  constructor(parts: RevisionsParts) {
    this.#parts = parts;
  }

  /** See {@linkcode History.revise}. */
  async revise(
    stream: Stream,
    event: RoomEvent,
    checks: readonly Deno.AtomicCheck[],
    told: Told,
  ): Promise<Revision> {
    const { compactor, rows, shardOf, warn } = this.#parts;
    const eventId = event.target ?? "";
    if (isFromManyShards(stream[0]) || !isEventId(eventId)) return { outcome: "not-found" };
    try {
      const compacted = await compactor.compactTo(shardOf(stream), eventId);
      if (compacted !== "done") return { outcome: compacted };
      const row = await rows.rowAt(stream, eventId);
      const message = row?.entries.find((entry) => entry.eventId === eventId)?.event;
      if (message === undefined) return { outcome: "not-found" };
      const streams = textStreamsOf(message);
      // One at a time: otherwise each would make all others that read the same row start again.
      return await this.#inTurn(streams, () => this.#tryOften(streams, event, checks, told));
    } catch (error) {
      warn(`Cannot change a message: ${messageOf(error)}`);
      return { outcome: "failed" };
    }
  }

  /** Waits until the revisions that are under way in these streams have ended. */
  async #inTurn<T>(streams: readonly Stream[], revise: () => Promise<T>): Promise<T> {
    const names = streams.map(nameOf);
    const earlier = names.map((name) => this.#last.get(name));
    const { promise, resolve } = Promise.withResolvers<void>();
    for (const name of names) this.#last.set(name, promise);
    await Promise.all(earlier);
    try {
      return await revise();
    } finally {
      for (const name of names) {
        if (this.#last.get(name) === promise) this.#last.delete(name);
      }
      resolve();
    }
  }

  async #tryOften(
    streams: readonly Stream[],
    event: RoomEvent,
    checks: readonly Deno.AtomicCheck[],
    told: Told,
  ): Promise<Revision> {
    const { clock, quota } = this.#parts;
    for (let tries = 1; tries <= MAX_TRIES; tries++) {
      const found = await Promise.all(streams.map((stream) => this.#replace(stream, event)));
      const replacements = found.filter((each) => each !== undefined);
      // Each stream has its own retention, so some may not hold the message any more.
      if (replacements.length === 0) return { outcome: "not-found" };
      const revision = asTold(event, replacements[0]!.message);
      const { outcome, eventId } = await this.#submit(replacements, revision, checks, told);
      if (outcome !== "conflict") return { outcome, eventId };
      await backOff(clock, tries);
      if (!(await quota.removalsEnded())) break;
    }
    return { outcome: "failed" };
  }

  /** Plans the rows with the changed message; `undefined` if the stream does not hold it as a message. */
  async #replace(stream: Stream, event: RoomEvent): Promise<Replacement | undefined> {
    const { kv, clock, rows } = this.#parts;
    const eventId = event.target!;
    const read = await rows.rowAt(stream, eventId);
    const entry = read?.entries.find((each) => each.eventId === eventId);
    if (read === undefined || entry === undefined || !rows.isFresh(entry, stream)) {
      return undefined;
    }
    const message = revisedBy(entry.event, event);
    if (message === entry.event) return undefined;
    const index = await withTimeout(clock, kv.get<unknown>(historyIndexKey(stream, read.id)));
    const nowMs = rows.nowMs();
    const before = index.versionstamp === null ? this.#uncounted(stream, read) : rowOfIndex(index);
    if (before.untilMs <= nowMs) return undefined;
    const changed = encodeEvent({ eventId, event: message }, stream[0]);
    const stored = read.stored.map((each) => storedId(each) === eventId ? changed : each);
    return { message, read, before, after: replanRow(before, stored, nowMs) };
  }

  /** Returns what the quota would count of a row that an earlier version wrote. */
  #uncounted(stream: Stream, { entry, entries }: ReadRow): KeptRow {
    const newestMs = Math.max(...entries.map(({ event }) => event.time));
    const untilMs = newestMs + this.#parts.rows.retentionOf(stream[0]);
    return { ...uncountedRow(stream, entry), untilMs };
  }

  async #submit(
    replacements: readonly Replacement[],
    event: RoomEvent,
    checks: readonly Deno.AtomicCheck[],
    told: Told,
  ): Promise<{ outcome: Outcome; eventId?: string }> {
    const { quota, submit } = this.#parts;
    const before = replacements.map((each) => each.before);
    const newRows = replacements.flatMap(({ after }) => after);
    const kept = newRows.map((row) => row.kept);
    const mutations = newRows.map(({ key, value, expireIn }): Deno.KvMutation => {
      return { type: "set", key, value, expireIn };
    });
    const settled = await new Promise<{ outcome: Outcome; eventId?: string }>((resolve) => {
      submit(event.room || DIRECT_FEED_NAME, {
        checks: [
          ...checks,
          { key: HISTORY_REMOVING_KEY, versionstamp: null },
          // A row's index row changes only together with the row.
          ...replacements.map(({ read: { entry: { key, versionstamp } } }) => ({
            key,
            versionstamp,
          })),
        ],
        mutations: [...mutations, ...quota.counting(kept, before)],
        events: [...told.events, event],
        copies: told.copies,
        settle: (outcome, eventId) => resolve({ outcome, eventId }),
      });
    });
    if (settled.outcome === "done") quota.wrote(kept, before);
    return settled;
  }
}
