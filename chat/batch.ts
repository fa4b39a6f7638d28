/**
 * What goes into one commit: operations of many connections, taken from a queue in order, as many
 * as KV allows in one atomic and no two that could hurt each other.
 *
 * The first half of the group commit; the shard (shard.ts) commits what is taken here. It does not
 * touch KV itself.
 */
import { packedBytes, type RoomEvent } from "./events.ts";

/**
 * How an operation ended: `done` (committed, and its event delivered here), `conflict` (one of its
 * own checks failed; nothing of it was written), `failed` (storage did not take it).
 */
export type Outcome = "done" | "conflict" | "failed";

/** A change of state, an event that announces something, or both: all or nothing of it happens. */
export interface Operation {
  /** What must still be so for it to happen. At most {@linkcode MOST_CHECKS} different ones. */
  readonly checks?: readonly Deno.AtomicCheck[];
  readonly mutations?: readonly Deno.KvMutation[];
  readonly event?: RoomEvent;
  /** Estimated bytes of the event: whoever queues it may note it here, so that it is reckoned once. */
  eventBytes?: number;
  /** Called exactly once, for an event that was delivered with its id. It must not throw. */
  readonly settle: (outcome: Outcome, at?: string) => void;
}

/** Checks in one atomic: denokv takes ten, and two are the shard's (its guard, the lease). */
export const MOST_CHECKS = 8;

/** The same on a file of this machine's, where KV takes a hundred. */
export const MOST_LOCAL_CHECKS = 90;

/** Mutations in one atomic: KV takes 1,000; half of it keeps a commit at a few milliseconds. */
const MOST_MUTATIONS = 500;

/** Bytes of mutations in one atomic: KV takes 800 KiB, the feed row's 64 KiB among them. */
const MOST_BYTES = 600 * 1024;

/** Bytes of events in one commit: they are one KV value, which ends at 64 KiB. */
const MOST_EVENT_BYTES = 60 * 1024;

/** Operations that may be passed over for the next batch before looking further is not worth it. */
const MOST_LEFT = 64;

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
 * batch: an atomic's checks look at what was there before it, so both would pass.
 */
export function takeBatch(
  queue: Operation[],
  mostEventBytes = MOST_EVENT_BYTES,
  mostChecks = MOST_CHECKS,
): Batch {
  const operations: Operation[] = [];
  const left: Operation[] = [];
  const checks = new Map<string, Deno.AtomicCheck>();
  const written = new Set<string>();
  let mutations = 0, bytes = 0, eventBytes = 0, next = 0;
  for (; next < queue.length; next++) {
    const operation = queue[next]!;
    const keys = operation.mutations?.map(({ key }) => keyText(key));
    const size = keys === undefined ? 0 : mutationBytes(keys);
    const eventSize = bytesOfEvent(operation);
    mutations += operation.mutations?.length ?? 0;
    bytes += size;
    eventBytes += eventSize;
    const full = mutations > MOST_MUTATIONS || bytes > MOST_BYTES || eventBytes > mostEventBytes;
    if (full && operations.length > 0) break;
    if (operation.checks !== undefined) {
      const more = operation.checks.map((check) => [keyText(check.key), check] as const);
      const fresh = more.filter(([key]) => !checks.has(key)).length;
      // Of two that expect different things of a key one must fail, and would take the other along.
      const clashes = more.some(([key, { versionstamp }]) =>
        written.has(key) || (checks.get(key) ?? { versionstamp }).versionstamp !== versionstamp
      );
      if (clashes || checks.size + fresh > mostChecks) {
        mutations -= operation.mutations?.length ?? 0;
        bytes -= size;
        eventBytes -= eventSize;
        left.push(operation);
        if (left.length === MOST_LEFT) {
          next++;
          break;
        }
        continue;
      }
      for (const [key, check] of more) checks.set(key, check);
    }
    for (const key of keys ?? []) written.add(key);
    operations.push(operation);
  }
  queue.splice(0, next, ...left);
  return { operations, checks: [...checks.values()] };
}

/** Estimated bytes of an operation's event. */
export function bytesOfEvent(operation: Operation): number {
  return operation.eventBytes ??= operation.event === undefined ? 0 : packedBytes(operation.event);
}

/** A key as text, to compare keys by. */
export function keyText(key: Deno.KvKey): string {
  return key.join("\u0000");
}

// KV counts keys twice. Three bytes a character bound every script; no value is larger than the rest.
function mutationBytes(keys: readonly string[]): number {
  let bytes = 0;
  for (const key of keys) bytes += 600 + 6 * key.length;
  return bytes;
}
