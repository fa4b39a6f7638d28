/**
 * One shard of the feed: takes operations into a queue, and runs one step after another: commit a
 * batch (committer.ts), or read and deliver rows (reader.ts).
 *
 * Commit, read and delivery of a shard never interleave. If one moved the cursor while another runs,
 * a row would be delivered twice or never. A shard does not know rooms or sockets.
 */
import { retry } from "../kv/retry.ts";
import { type Batch, bytesOfEvents, type Operation, takeBatch } from "./batch.ts";
import { Committer } from "./committer.ts";
import { ShardReader } from "./reader.ts";
import { settleAll, type ShardContext, type ShardParts, storageFailure } from "./shard_parts.ts";

/**
 * Estimated bytes of messages that may wait in one shard; more fail at once, to bound memory. Changes
 * of state do not count: each connection has at most one.
 */
const MAX_QUEUED_BYTES = 4 * 1024 * 1024;

/**
 * Bytes of events that fit into a request of less than 1 KiB, with everything else in it. Deno's KV
 * Connect client writes a larger request in two pieces, and the second waits for a delayed TCP
 * acknowledgement: 44 ms instead of 1 (measured against denokv on the same machine).
 */
const SMALL_COMMIT_BYTES = 620;

/** Estimated queued bytes from which one large, slow commit is faster than many small ones. */
const LARGE_COMMIT_FROM_BYTES = 32 * 1024;

/** One shard. Idle until {@linkcode Shard.notify} or {@linkcode Shard.submit} is called. */
export class Shard {
  readonly #parts: ShardParts;
  readonly #reader: ShardReader;
  readonly #committer: Committer;
  readonly #queue: Operation[] = [];
  #queuedBytes = 0;
  /** The versionstamp of the last act when the waiting operations were last judged. */
  #judgedAct: string;
  #pumping: Promise<void> | undefined;
  /** Called when the current step is done. */
  #afterStep: (() => void)[] = [];

  /**
   * `versionstamp` is that of the notification key: nothing up to it is delivered. `lastAct` is that of
   * the last act in the shard before. `copied`: see {@linkcode ShardContext.copied}.
   */
  constructor(
    index: number,
    versionstamp: string | null,
    lastAct: string | null,
    parts: ShardParts,
    copied: ShardContext["copied"],
  ) {
    this.#parts = parts;
    const context: ShardContext = {
      index,
      kv: parts.shards[index]!,
      parts,
      retry: (attempt) => this.#retry(attempt),
      copied,
      failQueue: () => this.#failQueue(),
    };
    this.#judgedAct = lastAct ?? "";
    this.#reader = new ShardReader(versionstamp, lastAct, context);
    this.#committer = new Committer(this.#reader, context);
  }

  /**
   * Queues an operation for the next commit, or settles it as failed if the queue is full. An edit or reaction takes
   * a while to prepare: it is a conflict if an act that forbids it was delivered meanwhile.
   */
  submit(operation: Operation): void {
    const revision = operation.events?.find(({ kind }) => kind === "edit" || kind === "reaction");
    if (revision !== undefined && !this.#parts.isAllowed(revision)) {
      return operation.settle("conflict");
    }
    const bytes = queuedBytes(operation);
    const isFull = bytes > 0 && this.#queuedBytes + bytes > MAX_QUEUED_BYTES;
    if (this.#reader.isLost || isFull) return operation.settle("failed");
    this.#queuedBytes += bytes;
    this.#queue.push(operation);
    this.#wake();
  }

  /** Called when the notification key was seen at this versionstamp: reads and delivers new rows. */
  notify(versionstamp: string | null): void {
    if (this.#reader.notify(versionstamp)) this.#wake();
  }

  /** Resolves when nothing is queued, unread or uncertain. */
  async idle(): Promise<void> {
    while (this.#pumping !== undefined) await this.#pumping;
  }

  /** Resolves when everything up to this versionstamp of the notification key has been delivered. */
  async reached(versionstamp: string | null): Promise<void> {
    this.notify(versionstamp);
    // The cursor moves before a row is delivered, so the current step must end in any case.
    while (this.#pumping !== undefined) {
      await new Promise<void>((resolve) => this.#afterStep.push(resolve));
      if (this.#reader.cursor >= (versionstamp ?? "")) return;
    }
  }

  #stepDone(): void {
    for (const resolve of this.#afterStep.splice(0)) resolve();
  }

  #wake(): void {
    this.#pumping ??= this.#pump().finally(() => {
      this.#pumping = undefined;
      this.#stepDone();
      // Work may have arrived after the pump's last check.
      if (this.#isBusy()) this.#wake();
    });
  }

  #isBusy(): boolean {
    return this.#committer.isUncertain || this.#reader.isBehind || this.#committer.hasHalves ||
      this.#queue.length > 0;
  }

  async #pump(): Promise<void> {
    // Operations that are submitted in the same turn of the event loop share the commit.
    await Promise.resolve();
    while (this.#isBusy()) {
      if (this.#committer.isUncertain) {
        await this.#retry(() => this.#committer.resolveUncertain());
      } else if (this.#reader.isBehind) {
        await this.#reader.catchUp();
      } else {
        if (this.#judgedAct !== this.#reader.lastAct) this.#judgeWaiting();
        await this.#committer.commit(this.#committer.nextHalf() ?? this.#takeBatch());
      }
      this.#stepDone();
    }
  }

  #takeBatch(): Batch {
    const { smallIsFast, maxChecks: mostChecks } = this.#parts;
    const isSmall = smallIsFast && this.#queuedBytes < LARGE_COMMIT_FROM_BYTES;
    const batch = takeBatch(this.#queue, isSmall ? SMALL_COMMIT_BYTES : undefined, mostChecks);
    for (const operation of batch.operations) this.#queuedBytes -= queuedBytes(operation);
    return batch;
  }

  /** Lets moderation judge all waiting operations: an act was delivered after they were submitted. */
  #judgeWaiting(): void {
    this.#judgedAct = this.#reader.lastAct;
    this.#committer.judgeHalves();
    const kept = this.#committer.judge(this.#queue.splice(0));
    this.#queue.unshift(...kept);
    this.#queuedBytes = this.#queue.reduce((sum, each) => sum + queuedBytes(each), 0);
  }

  async #retry(attempt: () => Promise<void>): Promise<boolean> {
    const { clock, metrics, warn } = this.#parts;
    const counted = () =>
      attempt().catch((error) => {
        metrics.kvFailed("read");
        throw error;
      });
    const hasSucceeded = await retry(clock, counted, (error) => warn(storageFailure(error)));
    if (!hasSucceeded) this.#failQueue();
    return hasSucceeded;
  }

  /** Settles everything that waits as failed, so that clients are told instead of kept waiting. */
  #failQueue(): void {
    this.#queuedBytes = 0;
    this.#committer.failHalves();
    settleAll(this.#queue.splice(0), "failed");
  }
}

/** Returns an estimate of the bytes of memory that a message holds while it is queued. */
function queuedBytes(operation: Operation): number {
  return operation.mutations === undefined ? bytesOfEvents(operation) : 0;
}
