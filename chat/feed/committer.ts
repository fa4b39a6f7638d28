/**
 * The committing part of a shard: writes a batch exactly once however often it is tried, and finds
 * out which operations fail when a check of the commit does.
 *
 * It does not choose what a batch holds (batch.ts), and delivers through reader.ts.
 *
 * Each commit checks and moves a guard, so that of all tries of the commit at most one succeeds. In
 * exclusive mode the guard is the notification key: as long as this instance moved it last, no row
 * stands between the cursor and the commit, and the commit is delivered without a read. In shared mode
 * the guard is a row of this instance's own (its "commit guard"), and reading finds the order.
 *
 * After an act of moderation was delivered, nothing that it forbids may be committed. In exclusive mode
 * no other instance can have added an act. In shared mode each commit checks the key that every act
 * sets. When that check fails, the act is read and delivered, and then each operation is judged again.
 */
import { commitGuardKey, feedRowKey, lastActKey, notifyKey } from "../kv/keys.ts";
import { isRefusal, MAX_GETMANY_KEYS } from "../kv/limits.ts";
import { backOff, RETRY_FOR_MS, shouldLog, withTimeout } from "../kv/retry.ts";
import type { FeedRowValue } from "../kv/values.ts";
import { addAct } from "./acts.ts";
import { type Batch, batchOf, contentOf, hasAct, keyText, type Operation } from "./batch.ts";
import { pack, type StoredEvent } from "./events.ts";
import type { ShardReader } from "./reader.ts";
import { hasEvents, settleAll, type ShardContext, storageFailure } from "./shard_parts.ts";

/** The key that makes a commit succeed at most once: see the head of this file. */
type Guard = "notify" | "commitGuard";

/** One commit while it is tried. */
interface Commit {
  /** The number of the commit: no other commit of this instance to this shard has it. */
  readonly n: number;
  readonly operations: Operation[];
  readonly checks: Deno.AtomicCheck[];
  readonly guard: Guard;
  /** Whether an earlier try failed without an answer: it may have succeeded, or may yet. */
  readonly isUncertain: boolean;
}

/** What the failed checks of a commit leave to try again; `isGuardMoved`: no earlier try can succeed. */
type Remainder = Batch & { readonly isGuardMoved: boolean };

/** Commits the batches of one shard. */
export class Committer {
  readonly #context: ShardContext;
  readonly #reader: ShardReader;
  readonly #guardKey: Deno.KvKey;
  /** Halves of batches that KV refused, the first one last: each is committed by itself. */
  readonly #halves: Batch[] = [];
  #lastN = 0;
  /** A commit was given up, and may yet be written. */
  #isUncertain = false;
  /** The versionstamp of the commit guard. */
  #guardVersionstamp: string | null = null;

  constructor(reader: ShardReader, context: ShardContext) {
    this.#reader = reader;
    this.#context = context;
    this.#guardKey = commitGuardKey(context.parts.instance, context.index);
  }

  /** Whether a commit was given up that may yet be written: see {@linkcode Committer.resolveUncertain}. */
  get isUncertain(): boolean {
    return this.#isUncertain;
  }

  /** Whether {@linkcode Committer.nextHalf} has something to commit. */
  get hasHalves(): boolean {
    return this.#halves.length > 0;
  }

  /** Takes the half of a refused batch that is to be committed next. */
  nextHalf(): Batch | undefined {
    return this.#halves.pop();
  }

  /** See {@linkcode Committer.judge}, for the halves that wait. */
  judgeHalves(): void {
    const halves = this.#halves.splice(0);
    this.#halves.push(...halves.map(({ operations }) => batchOf(this.judge(operations))));
  }

  /** Settles the halves that wait as failed. */
  failHalves(): void {
    for (const half of this.#halves.splice(0).reverse()) settleAll(half.operations, "failed");
  }

  /**
   * Settles those of some operations as conflicts that moderation does not allow any more, and returns
   * the others. None of them may be under way.
   */
  judge(operations: readonly Operation[]): Operation[] {
    const { isAllowed } = this.#context.parts;
    const { lastAct } = this.#reader;
    const isKept = ({ events = [], lastAct: planned }: Operation) =>
      (planned === undefined || (planned ?? "") >= lastAct) && events.every(isAllowed);
    const kept = operations.filter(isKept);
    if (kept.length < operations.length) {
      settleAll(operations.filter((each) => !kept.includes(each)), "conflict");
    }
    return kept;
  }

  /**
   * Commits a batch, and delivers its events or leaves them to the next read. Settles each operation.
   * Moderation must have allowed them.
   */
  async commit(batch: Batch): Promise<void> {
    const { clock, metrics } = this.#context.parts;
    const startedMs = clock.monotonicMs();
    const n = ++this.#lastN;
    let { operations, checks } = batch;
    let guard = this.#chooseGuard(operations);
    let { lastAct } = this.#reader;
    let failures = 0, firstFailureMs = 0;
    while (operations.length > 0) {
      const commit: Commit = { n, operations, checks, guard, isUncertain: failures > 0 };
      let result: Deno.KvCommitResult | Deno.KvCommitError;
      try {
        result = await withTimeout(clock, this.#atomic(commit).commit());
      } catch (error) {
        if (isRefusal(error)) {
          // This try wrote nothing. An earlier try may have, or may yet.
          if (failures > 0) ({ operations } = await this.#findConflicts(commit));
          return this.#halve(operations, error as Error);
        }
        metrics.kvFailed("commit");
        // The commit may have been written. Another try is safe: the guard lets only one succeed.
        if (failures++ === 0) firstFailureMs = clock.monotonicMs();
        if (shouldLog(failures)) this.#context.parts.warn(storageFailure(error));
        if (clock.monotonicMs() - firstFailureMs > RETRY_FOR_MS) {
          return this.#giveUp(operations, true);
        }
        await backOff(clock, failures);
        continue;
      }
      if (result.ok) {
        metrics.committed((clock.monotonicMs() - startedMs) / 1000, ...contentOf(operations));
        return await this.#succeeded(commit, result.versionstamp);
      }
      const remainder = await this.#findConflicts(commit);
      // The other guard is safe only when no earlier try can succeed, or there was none.
      if (remainder.isGuardMoved || failures === 0) {
        guard = this.#chooseGuard(remainder.operations);
      }
      ({ operations, checks } = remainder);
      // None of them is under way any more.
      if (lastAct !== this.#reader.lastAct) {
        lastAct = this.#reader.lastAct;
        ({ operations, checks } = batchOf(this.judge(operations)));
      }
    }
  }

  /**
   * Moves both guards, so that no earlier try can succeed any more, and the notification key: a try
   * that did succeed is read and delivered, even though its operations were settled as failed.
   *
   * @throws when KV does not answer. Then it may be called again.
   */
  async resolveUncertain(): Promise<void> {
    const { index, kv, parts: { clock, lease, onLeaseLost } } = this.#context;
    const n = ++this.#lastN;
    const keys: [Deno.KvKey, Deno.KvKey] = [this.#guardKey, lease.key];
    const [guard, held] = await withTimeout(clock, kv.getMany<[unknown, unknown]>(keys));
    if (held.versionstamp !== lease.versionstamp) {
      this.#isUncertain = false;
      return onLeaseLost();
    }
    // The check of the commit guard keeps a late try of this move from overwriting a newer commit.
    const move = kv.atomic().check(lease, guard).set(notifyKey(index), n).set(guard.key, n);
    const moved = await withTimeout(clock, move.commit());
    if (!moved.ok) throw new Error("the guards of a commit were moved meanwhile");
    this.#isUncertain = false;
    this.#guardVersionstamp = moved.versionstamp;
    this.#reader.notify(moved.versionstamp);
  }

  #chooseGuard(operations: readonly Operation[]): Guard {
    return !this.#reader.isShared() && operations.some(hasEvents) ? "notify" : "commitGuard";
  }

  #guardCheck(guard: Guard): Deno.AtomicCheck {
    switch (guard) {
      case "notify":
        return { key: notifyKey(this.#context.index), versionstamp: this.#reader.cursor || null };
      case "commitGuard":
        return { key: this.#guardKey, versionstamp: this.#guardVersionstamp };
      default:
        return guard satisfies never;
    }
  }

  /** Returns the checks that the shard adds to those of the operations, the guard's first. */
  #ownChecks(guard: Guard): Deno.AtomicCheck[] {
    const { index, parts: { lease } } = this.#context;
    const own = [this.#guardCheck(guard), lease];
    // As long as the notification key is unchanged, no other instance has added an act.
    if (guard === "notify") return own;
    return [...own, { key: lastActKey(index), versionstamp: this.#reader.lastAct || null }];
  }

  #atomic({ n, guard, operations, checks }: Commit): Deno.AtomicOperation {
    const { index, kv, parts: { instance, feedRowMs } } = this.#context;
    const atomic = kv.atomic().check(...this.#ownChecks(guard), ...checks);
    // Sums first: KV notices only while it writes that a sum finds no number. Then it refuses the
    // commit, but keeps the mutations that it has already written.
    for (const { mutations } of operations) {
      if (mutations?.some(isSum)) atomic.mutate(...mutations.filter(isSum));
    }
    if (guard === "commitGuard") atomic.set(this.#guardKey, n);
    const events: StoredEvent[] = [];
    for (const operation of operations) {
      const { mutations } = operation;
      if (mutations !== undefined) atomic.mutate(...mutations.filter((each) => !isSum(each)));
      if (operation.events !== undefined) events.push(...operation.events.map(pack));
      if (hasAct(operation)) addAct(atomic, operation, this.#context);
    }
    if (events.length > 0) {
      const row: FeedRowValue = { v: 1, from: instance, n, events };
      atomic.set(feedRowKey(index, kv.commitVersionstamp()), row, { expireIn: feedRowMs })
        .set(notifyKey(index), n);
    }
    return atomic;
  }

  async #succeeded({ n, guard, operations }: Commit, versionstamp: string): Promise<void> {
    if (guard === "commitGuard") this.#guardVersionstamp = versionstamp;
    if (!operations.some(hasEvents)) return settleAll(operations, "done");
    if (guard === "commitGuard") {
      // Rows of other instances may stand before this one, so it is delivered when it is read.
      this.#reader.awaitRead(n, operations);
      this.#reader.notify(versionstamp);
      return;
    }
    // Delivered before the next commit starts: what arrives meanwhile shares that commit. (Committing
    // and delivering at the same time was tried: smaller commits and frames, 10 to 20 % slower.)
    await this.#reader.deliverCommitted(operations, versionstamp);
  }

  /**
   * KV refuses a commit as invalid, and always will: its halves are committed separately, until the
   * invalid operation is alone and fails alone.
   */
  #halve(operations: Operation[], { message }: Error): void {
    if (operations.length === 0) return;
    if (operations.length === 1) {
      this.#context.parts.warn(`Cannot commit an operation: ${message}`);
      return settleAll(operations, "failed");
    }
    const middle = operations.length >> 1;
    this.#halves.push(batchOf(operations.slice(middle)), batchOf(operations.slice(0, middle)));
  }

  /**
   * After a failed check, finds out which check failed. An operation whose own check fails is settled
   * as a conflict; the other operations are returned, to be tried again.
   */
  async #findConflicts(commit: Commit): Promise<Remainder> {
    const { n, guard, operations, checks, isUncertain } = commit;
    const { index, parts: { lease, onLeaseLost } } = this.#context;
    const nothing: Remainder = { operations: [], checks: [], isGuardMoved: true };
    const guardCheck = this.#guardCheck(guard);
    const entries = await this.#readChecked([...this.#ownChecks(guard), ...checks]);
    if (entries === undefined) {
      this.#giveUp(operations, isUncertain);
      return nothing;
    }
    const { stale, guardEntry } = entries;
    if (stale.has(keyText(lease.key))) {
      settleAll(operations, "failed");
      onLeaseLost();
      return nothing;
    }
    let isGuardMoved = stale.has(keyText(guardCheck.key));
    // The value of a guard is the number of the commit that moved it.
    let moved = { hasSucceeded: guardEntry.value === n, versionstamp: guardEntry.versionstamp };
    if (isUncertain && !isGuardMoved) {
      // No operation may be settled while an earlier try can still succeed.
      const invalidated = await this.#invalidateGuard(n, guard);
      if (invalidated === undefined) {
        this.#giveUp(operations, isUncertain);
        return nothing;
      }
      isGuardMoved = true;
      moved = invalidated;
    }
    if (isGuardMoved && !(await this.#readAfterMove(commit, moved))) return nothing;
    const newAct = stale.get(keyText(lastActKey(index)));
    if (newAct !== undefined && !(await this.#readActs(newAct))) {
      this.#giveUp(operations, isUncertain);
      return nothing;
    }
    const isStale = ({ key }: Deno.AtomicCheck) => stale.has(keyText(key));
    const kept = operations.filter((operation) => !operation.checks?.some(isStale));
    settleAll(operations.filter((operation) => operation.checks?.some(isStale)), "conflict");
    return { ...batchOf(kept), isGuardMoved };
  }

  /**
   * Reads checked keys, the guard's first. Returns those that changed, with their versionstamps;
   * `undefined`: KV does not answer.
   */
  async #readChecked(
    checks: readonly Deno.AtomicCheck[],
  ): Promise<
    { stale: Map<string, string | null>; guardEntry: Deno.KvEntryMaybe<unknown> } | undefined
  > {
    const { kv, parts: { clock }, retry } = this.#context;
    const keys = checks.map(({ key }) => key);
    let entries: Deno.KvEntryMaybe<unknown>[] = [];
    const wasRead = await retry(async () => {
      entries = [];
      for (let i = 0; i < keys.length; i += MAX_GETMANY_KEYS) {
        const some = kv.getMany<unknown[]>(keys.slice(i, i + MAX_GETMANY_KEYS));
        entries.push(...await withTimeout(clock, some));
      }
    });
    if (!wasRead) return undefined;
    const stale = new Map<string, string | null>();
    for (const [i, { key, versionstamp }] of checks.entries()) {
      const entry = entries[i]!;
      if (entry.versionstamp !== versionstamp) stale.set(keyText(key), entry.versionstamp);
    }
    return { stale, guardEntry: entries[0]! };
  }

  /**
   * After the guard was moved, finds out whether a try of the commit has succeeded. Returns whether
   * operations are left to try again; if not, they are settled, or will be when their row is read.
   */
  async #readAfterMove(
    { n, guard, operations, isUncertain }: Commit,
    { hasSucceeded, versionstamp }: { hasSucceeded: boolean; versionstamp: string | null },
  ): Promise<boolean> {
    if (guard === "commitGuard") this.#guardVersionstamp = versionstamp;
    else this.#reader.enterSharedMode();
    // Also when no try seemed to fail: KV Connect's client repeats a commit whose answer was lost, and
    // then reports that its check failed.
    if (!operations.some(hasEvents) && hasSucceeded) {
      settleAll(operations, "done");
      return false;
    }
    // A try whose answer was lost is found among the rows. Otherwise another instance wrote the shard.
    this.#reader.awaitRead(n, operations);
    this.#reader.notify(versionstamp);
    const wasRead = await this.#reader.catchUp();
    if (!this.#reader.cancelAwaitRead(n)) return false;
    if (!wasRead) this.#giveUp(operations, isUncertain);
    return wasRead;
  }

  /** Delivers all acts up to the last one. Returns whether KV could be read. */
  async #readActs(lastAct: string | null): Promise<boolean> {
    this.#reader.notify(lastAct);
    const wasRead = await this.#reader.catchUp();
    // Also if the act's row is gone: otherwise the check would fail for ever.
    if (wasRead) this.#reader.actsDelivered(lastAct);
    return wasRead;
  }

  /**
   * Moves a guard that has not moved, so that no earlier try can succeed any more. Returns whether one
   * had succeeded by then; `undefined` if KV does not answer.
   */
  async #invalidateGuard(
    n: number,
    guard: Guard,
  ): Promise<{ hasSucceeded: boolean; versionstamp: string } | undefined> {
    const { kv, parts: { clock, lease }, retry } = this.#context;
    const check = this.#guardCheck(guard);
    let result: { hasSucceeded: boolean; versionstamp: string } | undefined;
    await retry(async () => {
      const { versionstamp, value } = await withTimeout(clock, kv.get<unknown>(check.key));
      if (versionstamp !== null && versionstamp !== check.versionstamp) {
        result = { hasSucceeded: value === n, versionstamp };
        return;
      }
      const move = kv.atomic().check(check, lease).set(check.key, -n);
      const moved = await withTimeout(clock, move.commit());
      if (!moved.ok) throw new Error("the guard of a commit was moved, or the lease is lost");
      result = { hasSucceeded: false, versionstamp: moved.versionstamp };
    });
    return result;
  }

  /** Settles operations, and the whole queue, as failed: KV does not answer. */
  #giveUp(operations: readonly Operation[], isUncertain: boolean): void {
    this.#isUncertain ||= isUncertain;
    settleAll(operations, "failed");
    this.#context.failQueue();
  }
}

function isSum({ type }: Deno.KvMutation): boolean {
  return type === "sum";
}
