/**
 * History: what was said and who came and went, by stream, for as long as each stream is kept.
 *
 * It receives every event after its delivery. Events that are compacted are read from KV, later ones
 * from memory; compactor.ts moves them from one to the other, so a page costs about as much as it
 * holds. History does not know which client may read what.
 */
import type { Clock } from "../base/clock.ts";
import type { Metrics } from "../base/metrics.ts";
import type { Operation } from "../feed/batch.ts";
import { afterCommit, authorOf, type LoggedEvent, type RoomEvent } from "../feed/events.ts";
import type { Stream, StreamKind } from "../kv/keys.ts";
import { Compactor } from "./compactor.ts";
import { Leftovers } from "./leftovers.ts";
import { Quota } from "./quota.ts";
import { longestOf, type Retention } from "./retention.ts";
import { NOTHING_TOLD, type Revision, Revisions, type Told } from "./revisions.ts";
import { RowReader } from "./row_reader.ts";
import { StreamReader } from "./stream_reader.ts";
import { feedNameOf, isEventId, isMessage } from "./streams.ts";

export type { Revision } from "./revisions.ts";

/** What history is made of. */
export interface HistoryParts {
  readonly kv: Deno.Kv;
  readonly clock: Clock;
  readonly metrics: Metrics;
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

/** Events that one count of messages looks at, at most. */
const MAX_COUNTED_EVENTS = 1_000;

/** The history of one instance. */
export class History {
  readonly #parts: HistoryParts;
  readonly #quota: Quota;
  readonly #compactor: Compactor;
  readonly #leftovers: Leftovers;
  readonly #rows: RowReader;
  readonly #streams: StreamReader;
  readonly #revisions: Revisions;
  /** For each shard, a string that is later than the ID of every event from before the start. */
  #startIds: readonly string[] = [];
  /** Resolves when everything that the feed held at the start is compacted. */
  #ready: Promise<void> = Promise.resolve();

  constructor(parts: HistoryParts) {
    this.#parts = parts;
    const { kv, clock, metrics, maxBytes, retention, shards, feedRowMs, warn } = parts;
    const rows = this.#rows = new RowReader(parts);
    const quota = this.#quota = new Quota({
      kv,
      clock,
      maxBytes,
      retentionMs: longestOf(retention),
    });
    const compactor = this.#compactor = new Compactor({
      kv,
      clock,
      metrics,
      quota,
      retention,
      shards,
      feedRowMs,
      nowMs: () => rows.nowMs(),
      warn,
    });
    this.#streams = new StreamReader({
      rows,
      memtables: compactor.memtables,
      shardOf: (name) => parts.shardOf(name),
      ready: () => this.#ready,
    });
    this.#revisions = new Revisions({
      kv,
      clock,
      quota,
      compactor,
      rows,
      shardOf: (stream) => parts.shardOf(feedNameOf(stream)),
      submit: (name, operation) => parts.submit(name, operation),
      warn,
    });
    this.#leftovers = new Leftovers({ ...parts, retentionMs: retention.direct });
  }

  /** The number of commits that were delivered here and are not compacted yet. */
  get uncompacted(): number {
    return this.#compactor.memtables.reduce((sum, each) => sum + each.versionstamps.length, 0);
  }

  /** Milliseconds for which the events of rooms are kept; 0: they are not. */
  get retentionMs(): number {
    return this.#parts.retention.log;
  }

  /** Returns the milliseconds for which the events of a kind of stream are kept; 0: they are not. */
  retentionOf(kind: StreamKind): number {
    return this.#rows.retentionOf(kind);
  }

  get #isOn(): boolean {
    const { log, own, acts } = this.#parts.retention;
    return log > 0 || own > 0 || acts > 0;
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

  /** See {@linkcode StreamReader.backwards}. */
  backwards(stream: Stream, before?: string): AsyncGenerator<LoggedEvent> {
    return this.#streams.backwards(stream, before);
  }

  /** See {@linkcode StreamReader.newestOf}. */
  newestOf(stream: Stream): AsyncGenerator<LoggedEvent> {
    return this.#streams.newestOf(stream);
  }

  /** See {@linkcode StreamReader.forwards}. */
  forwards(stream: Stream, after: string): AsyncGenerator<LoggedEvent> {
    return this.#streams.forwards(stream, after);
  }

  /** See {@linkcode StreamReader.find}. */
  async find(stream: Stream, eventId: string): Promise<LoggedEvent | undefined> {
    return await this.#streams.find(stream, eventId);
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
   * Returns a string that is later than the ID of every event delivered so far in the shard of a name,
   * and earlier than those of all others. Other instances may have written later events into history.
   */
  deliveredEnd(name: string): string {
    if (!this.#isOn) return "";
    const shard = this.#parts.shardOf(name);
    const start = this.#startIds[shard] ?? "";
    const { delivered } = this.#compactor.memtables[shard]!;
    return delivered > start ? `${delivered}\0` : start;
  }

  /**
   * Edits or deletes a message: `event` is the `edit` or `delete`, and its `target` the ID of a message
   * in `stream`. The caller has checked that its author may do that. Rewrites all rows that hold the
   * text, whatever stream they are in, in one operation with the event, which also has `checks`, and
   * what is `told` before the event. How long the rows are kept does not change.
   *
   * `not-found`: there is no such message, or it is deleted, or its time is over. `failed`: KV does not
   * answer, or one of `checks` failed. If KV does not answer, the message may have been changed.
   */
  async revise(
    stream: Stream,
    event: RoomEvent,
    checks: readonly Deno.AtomicCheck[] = [],
    told: Told = NOTHING_TOLD,
  ): Promise<Revision> {
    if (this.retentionOf(stream[0]) === 0) return { outcome: "not-found" };
    await this.#ready;
    return await this.#revisions.revise(stream, event, checks, told);
  }

  /** Stops. Another instance compacts what is left. */
  async close(): Promise<void> {
    this.#compactor.stop();
    await this.#leftovers.close();
    await this.#ready.catch(() => {});
    await this.#compactor.idle();
  }
}
