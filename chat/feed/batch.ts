/**
 * What goes into one commit: operations of many connections, taken from a queue in order, as many
 * as KV allows in one atomic and no two that could hurt each other.
 *
 * The first half of the group commit; the shard (shard.ts) commits what is taken here. It does not
 * touch KV itself.
 */
import { estimateStoredBytes, type RoomEvent } from "./events.ts";
import { addMutation, type CommitSize, keyBytes, MAX_KEY_BYTES } from "../kv/limits.ts";

/**
 * How an operation ended: `done` (committed, and its event delivered here), `conflict` (one of its
 * own checks failed; nothing of it was written), `failed` (storage did not take it).
 */
export type Outcome = "done" | "conflict" | "failed";

/** A change of state, an event that announces something, or both: all or nothing of it happens. */
export interface Operation {
  /** What must still be so for it to happen. At most {@linkcode MAX_CHECKS} different ones. */
  readonly checks?: readonly Deno.AtomicCheck[];
  readonly mutations?: readonly Deno.KvMutation[];
  readonly event?: RoomEvent;
  /** Estimated bytes of the event: whoever queues it may note it here, so that it is reckoned once. */
  eventBytes?: number;
  /** Called exactly once, for an event that was delivered with its id. It must not throw. */
  readonly settle: (outcome: Outcome, at?: string) => void;
}

/** Checks in one atomic: denokv takes ten, and two are the shard's (its guard, the lease). */
export const MAX_CHECKS = 8;

/** The same on a file of this machine's, where KV takes a hundred. */
export const MAX_LOCAL_CHECKS = 90;

/** Mutations in one atomic: KV takes 1,000; half of it keeps a commit at a few milliseconds. */
const MAX_MUTATIONS = 500;

/** Bytes of checks and mutations in one atomic: KV takes 800 KiB, the feed row's 64 KiB among them. */
const MAX_BATCH_BYTES = 600 * 1024;

/** Bytes of keys that the shard adds to a commit: its guard, the lease, the feed row and the bell. */
const SHARD_KEY_BYTES = 512;

/** Bytes of the keys that carry a value, the shard's left out. */
const MAX_BATCH_KEY_BYTES = MAX_KEY_BYTES - SHARD_KEY_BYTES;

/** Bytes of events in one commit: they are one KV value, which ends at 64 KiB. */
const MAX_EVENT_BYTES = 60 * 1024;

/** Operations that may be passed over for the next batch before looking further is not worth it. */
const MAX_SKIPPED = 64;

/** Operations out of one queue that are committed together. */
export interface Batch {
  readonly operations: Operation[];
  /** The operations' checks, each once. */
  readonly checks: Deno.AtomicCheck[];
}

/**
 * Takes from the front of `queue` what fits into one commit, and leaves the rest in its order.
 * The first operation is always taken. `mostEventBytes` and `mostChecks` bound the batch.
 *
 * An operation that checks a key which an earlier one in the batch writes stays for the next
 * batch: an atomic's checks look at what was there before it, so both would pass. An operation
 * also stays when it must not come before one that stays: see {@linkcode PassedOver}.
 */
export function takeBatch(
  queue: Operation[],
  mostEventBytes = MAX_EVENT_BYTES,
  mostChecks = MAX_CHECKS,
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
    const eventSize = bytesOfEvent(operation);
    const full = total.mutations + size.mutations > MAX_MUTATIONS ||
      total.keyBytes + size.keyBytes > MAX_BATCH_KEY_BYTES ||
      total.bytes + size.bytes > MAX_BATCH_BYTES || eventBytes + eventSize > mostEventBytes;
    if (full && operations.length > 0) break;
    if (operation.checks !== undefined) {
      const more = operation.checks.map((check) => [keyText(check.key), check] as const);
      const fresh = more.filter(([key]) => !checks.has(key)).length;
      // Of two that expect different things of a key one must fail, and would take the other along.
      const clashes = more.some(([key, { versionstamp }]) =>
        written.has(key) || (checks.get(key) ?? { versionstamp }).versionstamp !== versionstamp
      );
      // The first is taken even with too many checks: KV refuses it, and it is out of the way.
      if (operations.length > 0 && (clashes || checks.size + fresh > mostChecks)) {
        passedOver.add(operation);
        if (passedOver.operations.length < MAX_SKIPPED) continue;
        next++;
        break;
      }
      for (const [key, check] of more) checks.set(key, check);
    }
    for (const { key } of operation.mutations ?? []) written.add(keyText(key));
    total.mutations += size.mutations;
    total.keyBytes += size.keyBytes;
    total.bytes += size.bytes;
    eventBytes += eventSize;
    operations.push(operation);
  }
  queue.splice(0, next, ...passedOver.operations);
  return { operations, checks: [...checks.values()] };
}

/** These operations as a batch, in their order. They must come out of one batch. */
export function batchOf(operations: Operation[]): Batch {
  const checks = new Map<string, Deno.AtomicCheck>();
  for (const operation of operations) {
    for (const check of operation.checks ?? []) checks.set(keyText(check.key), check);
  }
  return { operations, checks: [...checks.values()] };
}

/**
 * The operations that a batch passes over, and which others must therefore wait behind them: those
 * of the same connection, those that write a key which one of them checks or writes, and those that
 * check a key which one of them writes.
 */
class PassedOver {
  readonly operations: Operation[] = [];
  readonly #connections = new Set<string>();
  readonly #checked = new Set<string>();
  readonly #written = new Set<string>();

  add(operation: Operation): void {
    const { event, checks, mutations } = operation;
    this.operations.push(operation);
    if (event !== undefined) this.#connections.add(event.id);
    for (const { key } of checks ?? []) this.#checked.add(keyText(key));
    for (const { key } of mutations ?? []) this.#written.add(keyText(key));
  }

  /** Whether one of these must be committed before the operation. */
  mustPrecede({ event, checks = [], mutations = [] }: Operation): boolean {
    if (event !== undefined && this.#connections.has(event.id)) return true;
    return checks.some(({ key }) => this.#written.has(keyText(key))) ||
      mutations.some(({ key }) => {
        const text = keyText(key);
        return this.#checked.has(text) || this.#written.has(text);
      });
  }
}

const EMPTY: CommitSize = { mutations: 0, keyBytes: 0, bytes: 0 };

/** What an operation takes of KV's limits, its event left out. Most operations only say something. */
function sizeOf({ checks, mutations }: Operation): CommitSize {
  if (checks === undefined && mutations === undefined) return EMPTY;
  const size: CommitSize = { mutations: 0, keyBytes: 0, bytes: 0 };
  for (const mutation of mutations ?? []) addMutation(size, mutation);
  for (const { key } of checks ?? []) size.bytes += keyBytes(key);
  return size;
}

/** Estimated bytes of an operation's event. */
export function bytesOfEvent(operation: Operation): number {
  return operation.eventBytes ??= operation.event === undefined
    ? 0
    : estimateStoredBytes(operation.event);
}

/** A key as text, to compare keys by. */
export function keyText(key: Deno.KvKey): string {
  return key.join("\u0000");
}
