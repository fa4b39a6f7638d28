/**
 * Batches: the operations that go into one commit. They are taken from a queue in order, as many as
 * KV accepts in one atomic operation, and no two that could make each other fail.
 *
 * It does not touch KV: committer.ts commits the batches.
 */
import { estimateStoredBytes, type EventKind, type RoomEvent } from "./events.ts";
import { addMutation, type CommitSize, keyBytes, MAX_KEY_BYTES } from "../kv/limits.ts";

/**
 * How an operation ended: `done` (committed, and its events delivered here), `conflict` (one of its
 * own checks failed, and nothing of it was written), or `failed` (KV did not answer or refused it;
 * after a lost answer it may have been written).
 */
export type Outcome = "done" | "conflict" | "failed";

/** A change of state, events, or both. All of it is committed, or nothing. */
export interface Operation {
  /** What must hold for it to be committed: checks of at most {@linkcode MAX_CHECKS} keys. */
  readonly checks?: readonly Deno.AtomicCheck[];
  readonly mutations?: readonly Deno.KvMutation[];
  /** Events of one session, in the order in which they are delivered. */
  readonly events?: readonly RoomEvent[];
  /**
   * Events that the same commit puts into other shards, by the number of the shard. Each is the only
   * event of its feed row. Only an operation with an `act` has copies.
   */
  readonly copies?: ReadonlyMap<number, RoomEvent>;
  /**
   * The versionstamp of the last act in the shard when the operation was planned: after a later act, the
   * operation is a conflict. `undefined`: it does not depend on acts.
   */
  readonly lastAct?: string | null;
  /** Estimated bytes of the events, once {@linkcode bytesOfEvents} has computed them. */
  eventBytes?: number;
  /** Called exactly once, with the ID of the first event if one was delivered. It must not throw. */
  readonly settle: (outcome: Outcome, eventId?: string) => void;
}

/**
 * Checks in one batch: denokv accepts ten in a commit, and the shard adds three (guard, lease and last
 * act).
 */
export const MAX_CHECKS = 7;

/** The same on a local file, where KV accepts a hundred. */
export const MAX_LOCAL_CHECKS = 90;

/** Mutations in one batch: KV accepts 1,000, and with half of that a commit takes a few milliseconds. */
const MAX_BATCH_MUTATIONS = 500;

/** Bytes of checks and mutations in one batch: KV accepts 800 KiB, the feed row's 64 KiB included. */
const MAX_BATCH_BYTES = 600 * 1024;

/** Bytes of keys that the shard adds to a commit: guard, lease, feed row and notification key. */
const SHARD_KEY_BYTES = 512;

/** Bytes of the keys in one batch that are written with a value. */
const MAX_BATCH_KEY_BYTES = MAX_KEY_BYTES - SHARD_KEY_BYTES;

/** Bytes of events in one batch: together they are one KV value, of at most 64 KiB. */
const MAX_EVENT_BYTES = 60 * 1024;

/** The kinds of events that are messages. */
const MESSAGE_KINDS: ReadonlySet<EventKind> = new Set(["message", "action", "direct"]);

/** Operations that a batch passes over before it stops looking further. */
const MAX_SKIPPED = 64;

/** Operations that are committed together. */
export interface Batch {
  readonly operations: Operation[];
  /** The operations' checks, each once. */
  readonly checks: Deno.AtomicCheck[];
}

/**
 * Takes the operations that fit into one commit from the front of `queue`, and leaves the rest in
 * order. Always takes the first operation.
 *
 * An operation that checks a key which an earlier operation of the batch writes stays in the queue: the
 * checks of a commit see the state before it, so both would pass. An operation also stays if it must
 * not overtake one that stays: see {@linkcode PassedOver}. An operation with an act is the last of its
 * batch: whatever comes after it must be judged again.
 */
export function takeBatch(
  queue: Operation[],
  maxEventBytes = MAX_EVENT_BYTES,
  maxChecks = MAX_CHECKS,
): Batch {
  const operations: Operation[] = [];
  const passedOver = new PassedOver();
  const checks = new Map<string, Deno.AtomicCheck>();
  const written = new Set<string>();
  const total: CommitSize = { mutations: 0, keyBytes: 0, bytes: 0 };
  let eventBytes = 0, next = 0;
  for (; next < queue.length; next++) {
    const operation = queue[next]!;
    if (passedOver.operations.length > 0 && passedOver.mustPrecede(operation)) {
      passedOver.add(operation);
      if (passedOver.operations.length < MAX_SKIPPED) continue;
      next++;
      break;
    }
    const size = sizeOf(operation);
    const eventSize = bytesOfEvents(operation);
    const isFull = total.mutations + size.mutations > MAX_BATCH_MUTATIONS ||
      total.keyBytes + size.keyBytes > MAX_BATCH_KEY_BYTES ||
      total.bytes + size.bytes > MAX_BATCH_BYTES || eventBytes + eventSize > maxEventBytes;
    if (isFull && operations.length > 0) break;
    if (operation.checks !== undefined) {
      const keyed = operation.checks.map((check) => [keyText(check.key), check] as const);
      const newChecks = keyed.filter(([key]) => !checks.has(key)).length;
      // Of two that expect different versionstamps of one key, one must fail, and the other with it.
      const clashes = keyed.some(([key, { versionstamp }]) =>
        written.has(key) || (checks.get(key) ?? { versionstamp }).versionstamp !== versionstamp
      );
      // The first is taken even with too many checks: KV refuses it, so it leaves the queue.
      if (operations.length > 0 && (clashes || checks.size + newChecks > maxChecks)) {
        passedOver.add(operation);
        if (passedOver.operations.length < MAX_SKIPPED) continue;
        next++;
        break;
      }
      for (const [key, check] of keyed) checks.set(key, check);
    }
    for (const { key } of operation.mutations ?? []) written.add(keyText(key));
    total.mutations += size.mutations;
    total.keyBytes += size.keyBytes;
    total.bytes += size.bytes;
    eventBytes += eventSize;
    operations.push(operation);
    if (hasAct(operation)) {
      next++;
      break;
    }
  }
  queue.splice(0, next, ...passedOver.operations);
  return { operations, checks: [...checks.values()] };
}

/** Returns whether an operation has an act of moderation. Its act is its first event. */
export function hasAct({ events }: Operation): boolean {
  return events !== undefined && events.length > 0 && events[0]!.kind === "act";
}

/** Returns a batch of some operations of another batch, in their order. */
export function batchOf(operations: Operation[]): Batch {
  const checks = new Map<string, Deno.AtomicCheck>();
  for (const operation of operations) {
    for (const check of operation.checks ?? []) checks.set(keyText(check.key), check);
  }
  return { operations, checks: [...checks.values()] };
}

/**
 * The operations that a batch passes over. Others must wait behind them: operations of the same
 * session, those that write a key which one of these checks or writes, and those that check a key
 * which one of these writes.
 */
class PassedOver {
  readonly operations: Operation[] = [];
  readonly #sessions = new Set<string>();
  readonly #checked = new Set<string>();
  readonly #written = new Set<string>();

  add(operation: Operation): void {
    const { events = [], checks, mutations } = operation;
    this.operations.push(operation);
    for (const { id } of events) this.#sessions.add(id);
    for (const { key } of checks ?? []) this.#checked.add(keyText(key));
    for (const { key } of mutations ?? []) this.#written.add(keyText(key));
  }

  /** Returns whether one of these must be committed before the operation. */
  mustPrecede({ events = [], checks = [], mutations = [] }: Operation): boolean {
    if (events.some(({ id }) => this.#sessions.has(id))) return true;
    return checks.some(({ key }) => this.#written.has(keyText(key))) ||
      mutations.some(({ key }) => {
        const text = keyText(key);
        return this.#checked.has(text) || this.#written.has(text);
      });
  }
}

const EMPTY: CommitSize = { mutations: 0, keyBytes: 0, bytes: 0 };

/** Returns the part of KV's limits that an operation uses, without its events. */
function sizeOf({ checks, mutations }: Operation): CommitSize {
  // Most operations are messages.
  if (checks === undefined && mutations === undefined) return EMPTY;
  const size: CommitSize = { mutations: 0, keyBytes: 0, bytes: 0 };
  for (const mutation of mutations ?? []) addMutation(size, mutation);
  for (const { key } of checks ?? []) size.bytes += keyBytes(key);
  return size;
}

/** Returns the estimated bytes of an operation's events, and keeps them in the operation. */
export function bytesOfEvents(operation: Operation): number {
  return operation.eventBytes ??= (operation.events ?? [])
    .reduce((bytes, event) => bytes + estimateStoredBytes(event), 0);
}

/** Returns a key as text, for comparison with other keys. */
export function keyText(key: Deno.KvKey): string {
  return key.join("\u0000");
}

/** Returns how many messages some operations hold, and the estimated bytes of their events. */
export function contentOf(operations: readonly Operation[]): [messages: number, bytes: number] {
  let messages = 0, bytes = 0;
  for (const operation of operations) {
    for (const { kind } of operation.events ?? []) if (MESSAGE_KINDS.has(kind)) messages++;
    bytes += bytesOfEvents(operation);
  }
  return [messages, bytes];
}
