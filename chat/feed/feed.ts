/**
 * The feed: one ordered log of everything that happens in rooms, divided into shards, and the watch
 * on the notification keys by which instances learn of each other's commits.
 *
 * Storage and Handler submit operations; the instance receives the events of all instances in one
 * order. The feed does not know what an event means.
 */
import { delay } from "../base/clock.ts";
import { lastActKey, NOTIFY_INSTANCES_KEY, notifyKey, PASSED_KEY } from "../kv/keys.ts";
import { withTimeout } from "../kv/retry.ts";
import type { Operation } from "./batch.ts";
import { Shard } from "./shard.ts";
import type { ShardParts } from "./shard_parts.ts";
import { shardOf } from "./shards.ts";

/** Milliseconds before a watch that ended is opened again. */
const REWATCH_DELAY_MS = 1_000;

/** What a feed is made of. */
export interface FeedParts extends ShardParts {
  readonly kv: Deno.Kv;
  /** The handle on which notification keys are watched. */
  readonly watcher: Deno.Kv;
  /** Called when another instance has started or ended. */
  instancesChanged(): void;
  /** Called with what another instance has passed on: see {@linkcode Feed.pass}. Default: nothing. */
  passed?(value: unknown): void;
}

/** One `kv.watch` covers ten keys. */
const MAX_WATCHED_KEYS = 10;
/** Milliseconds after which KV may remove what was passed on. */
const PASSED_MS = 10_000;

type WatchReader = ReadableStreamDefaultReader<Deno.KvEntryMaybe<unknown>[]>;

/** The feed of one instance. */
export class Feed {
  readonly #parts: FeedParts;
  #shards: Shard[] = [];
  #watching: WatchReader | undefined;
  /** The versionstamp at which the watch last saw the instances' notification key. */
  #watchedVersionstamp: string | null | undefined;
  /** The versionstamp that this key had when the shards' keys were last polled. */
  #polledVersionstamp: string | null | undefined;
  #watchLoopDone: Promise<void> | undefined;
  #isShared = false;
  #isClosed = false;

  constructor(parts: FeedParts) {
    this.#parts = parts;
  }

  /**
   * Starts: everything committed from now on is delivered. Call it before the first
   * {@linkcode Feed.submit}. Returns the versionstamp up to which each shard delivers nothing.
   *
   * @throws when KV cannot be read.
   */
  async open(): Promise<(string | null)[]> {
    // The acts first: one that is committed in between is delivered.
    const acts = await this.#readVersionstamps(this.#parts.shards.map((_, i) => lastActKey(i)));
    const versionstamps = await this.#readNotifyKeys();
    this.#shards = versionstamps.map((versionstamp, i) =>
      new Shard(
        i,
        versionstamp,
        acts[i]!,
        this.#parts,
        (shard, at) => this.#shards[shard]!.notify(at),
      )
    );
    this.#watchLoopDone = this.#watchLoop();
    return versionstamps;
  }

  /**
   * Submits an operation. `name` (of a room, or the ID of a connection in no room) chooses the shard:
   * operations with one name keep their order.
   */
  submit(name: string, operation: Operation): void {
    this.#shards[this.shardOf(name)]!.submit(operation);
  }

  /**
   * Sets whether other instances exist: only then the shards' notification keys are watched. Call it
   * regularly: each call with other instances also polls the keys, which covers a watch that died.
   *
   * @throws when KV cannot be read.
   */
  async setShared(isShared: boolean): Promise<void> {
    const { kv, clock } = this.#parts;
    if (isShared) this.#watchShards(true);
    const { versionstamp } = await withTimeout(clock, kv.get(NOTIFY_INSTANCES_KEY));
    const isUnchanged = versionstamp === this.#polledVersionstamp;
    if (!isShared && !this.#isShared && isUnchanged) return;
    // The last commits of an instance that has ended must be read before the watch stops.
    await this.poll();
    this.#polledVersionstamp = versionstamp;
    this.#watchShards(isShared);
  }

  /** Whether other instances exist, as far as this one knows. */
  get isShared(): boolean {
    return this.#isShared;
  }

  /**
   * Tells the other instances a small value. It replaces the one before: of two in the same moment one may
   * be lost. Use it for what needs no order and no memory.
   *
   * @throws when KV cannot be written.
   */
  async pass(passed: unknown): Promise<void> {
    const { kv, clock, instance } = this.#parts;
    await withTimeout(clock, kv.set(PASSED_KEY, { instance, passed }, { expireIn: PASSED_MS }));
  }

  /** The number of shards. */
  get shards(): number {
    return this.#parts.shards.length;
  }

  /** Returns the shard of a name. */
  shardOf(name: string): number {
    return shardOf(name, this.#parts.shards.length);
  }

  /**
   * Reads the notification keys once, and wakes the shards that have new rows.
   *
   * @throws when KV cannot be read.
   */
  async poll(): Promise<void> {
    this.#notifyShards(await this.#readNotifyKeys());
  }

  /**
   * Resolves when everything that any instance committed before the call has been delivered here.
   *
   * @throws when KV cannot be read, or delivery takes too long.
   */
  async reached(): Promise<void> {
    const versionstamps = await this.#readNotifyKeys();
    const reached = versionstamps.map((each, i) => this.#shards[i]!.reached(each));
    await withTimeout(this.#parts.clock, Promise.all(reached));
  }

  /** Resolves when every operation submitted so far is settled and delivered. */
  async flush(): Promise<void> {
    await Promise.all(this.#shards.map((shard) => shard.idle()));
  }

  /** Stops watching. Submit nothing after this. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#watching?.cancel();
    await this.#watchLoopDone;
  }

  #notifyKeys(): Deno.KvKey[] {
    return this.#parts.shards.map((_, shard) => notifyKey(shard));
  }

  #readNotifyKeys(): Promise<(string | null)[]> {
    return this.#readVersionstamps(this.#notifyKeys());
  }

  async #readVersionstamps(keys: readonly Deno.KvKey[]): Promise<(string | null)[]> {
    const { clock, kv } = this.#parts;
    const entries = await withTimeout(clock, kv.getMany<unknown[]>(keys));
    return entries.map(({ versionstamp }) => versionstamp);
  }

  #notifyShards(versionstamps: readonly (string | null)[]): void {
    versionstamps.forEach((versionstamp, i) => this.#shards[i]!.notify(versionstamp));
  }

  #watchShards(isShared: boolean): void {
    if (isShared === this.#isShared) return;
    this.#isShared = isShared;
    void this.#watching?.cancel();
  }

  /** Watches the notification keys. A stream that ends or fails is opened again. */
  async #watchLoop(): Promise<void> {
    const { watcher, clock, warn } = this.#parts;
    while (!this.#isClosed) {
      const isShared = this.#isShared;
      // In exclusive mode not the shards' keys: watching keys that this instance sets doubles the
      // time of a commit.
      const shardKeys = isShared ? this.#notifyKeys() : [];
      const keys = [NOTIFY_INSTANCES_KEY, ...shardKeys];
      if (isShared && keys.length < MAX_WATCHED_KEYS) keys.push(PASSED_KEY);
      try {
        this.#watching = watcher.watch<unknown[]>(keys).getReader();
        await this.#readWatch(this.#watching, shardKeys.length);
      } catch (error) {
        if (!this.#isClosed) warn(`Cannot watch storage: ${(error as Error).message}`);
      }
      if (!this.#isClosed && isShared === this.#isShared) await delay(clock, REWATCH_DELAY_MS);
    }
  }

  async #readWatch(reader: WatchReader, shards: number): Promise<void> {
    let passedAt: string | null | undefined;
    while (true) {
      const { done, value: [instances, ...others] = [] } = await reader.read();
      if (done) return;
      this.#notifyShards(others.slice(0, shards).map(({ versionstamp }) => versionstamp));
      const passed = others[shards];
      // The first value of a watch is an old one.
      if (passedAt !== undefined && passed?.versionstamp !== passedAt) this.#hear(passed?.value);
      passedAt = passed?.versionstamp ?? null;
      const { versionstamp } = instances!;
      // The first value of a watch is the present state, not a change.
      const isFirst = this.#watchedVersionstamp === undefined;
      if (!isFirst && this.#watchedVersionstamp !== versionstamp) this.#parts.instancesChanged();
      this.#watchedVersionstamp = versionstamp;
    }
  }

  #hear(value: unknown): void {
    if (typeof value !== "object" || value === null) return;
    const { instance, passed } = value as { instance?: unknown; passed?: unknown };
    if (instance !== this.#parts.instance) this.#parts.passed?.(passed);
  }
}
