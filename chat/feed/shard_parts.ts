/**
 * What a shard of the feed needs from its instance, and what the parts of a shard share.
 *
 * Types and helpers only: shard.ts, committer.ts and reader.ts do the work.
 */
import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/log.ts";
import type { Metrics } from "../base/metrics.ts";
import type { Operation, Outcome } from "./batch.ts";
import type { RoomEvent } from "./events.ts";

/**
 * Milliseconds for which a feed row is kept at least: longer than any lease, so that every live
 * instance can read it.
 */
export const FEED_ROW_MS = 10 * 60_000;

/** What a shard is made of; the same for all shards of a feed. */
export interface ShardParts {
  /** A handle for each shard. They may all be the same. See {@linkcode Handles}. */
  readonly shards: readonly Deno.Kv[];
  /** Whether a request of less than 1 KiB takes much less time than a larger one. */
  readonly smallIsFast: boolean;
  /** This instance's ID. Distinguishes its own rows from those of others. */
  readonly instance: string;
  /** Passes as long as this instance holds its lease. Every commit includes it. */
  readonly lease: Deno.AtomicCheck;
  /** Checks that KV accepts in one commit, besides the two of the shard. */
  readonly maxChecks: number;
  /** Milliseconds after which KV may remove a feed row: at least {@linkcode FEED_ROW_MS}. */
  readonly feedRowMs: number;
  /** Delivers an event on this instance. Returns how many frames it sent to sockets. */
  deliver(event: RoomEvent, eventId: string, shard: number): number;
  /**
   * Returns whether moderation allows an event that waits for its commit. It is asked only after an act
   * was delivered in the meantime: when an event is submitted, the caller has asked.
   */
  isAllowed(event: RoomEvent): boolean;
  /**
   * Called when all events of a commit have been delivered: sends what was held back to share a
   * frame. Returns how many frames that were. The shard waits for a returned promise.
   */
  commitDelivered(shard: number, versionstamp: string): number | Promise<number>;
  /** Called when the lease is found to be lost. */
  onLeaseLost(): void;
  readonly clock: Clock;
  readonly metrics: Metrics;
  /** Tells the operator of a fault on the server's side. */
  warn(message: string): void;
}

/** What the parts of one shard share. */
export interface ShardContext {
  readonly index: number;
  readonly kv: Deno.Kv;
  readonly parts: ShardParts;
  /**
   * Repeats an attempt until it succeeds. Returns false if it does not for several seconds; then the
   * whole queue of the shard has failed.
   */
  retry(attempt: () => Promise<void>): Promise<boolean>;
  /** Called when a commit has put an event into another shard. */
  copied(shard: number, versionstamp: string): void;
  /** Settles all waiting operations as failed: storage does not answer, or the instance has ended. */
  failQueue(): void;
}

/** Settles operations with one outcome. */
export function settleAll(operations: readonly Operation[], outcome: Outcome): void {
  for (const operation of operations) operation.settle(outcome);
}

/** Returns whether an operation announces something. */
export function hasEvents({ events = [] }: Operation): boolean {
  return events.length > 0;
}

/** Returns what the operator is told when KV does not answer. */
export function storageFailure(error: unknown): string {
  return `Cannot reach storage: ${messageOf(error)}`;
}
