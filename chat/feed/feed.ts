/**
 * The feed: one ordered log of everything that happens in rooms, in shards, and the bells by which
 * instances hear of each other's additions.
 *
 * Storage and Handler hand operations in; whoever made the feed is handed the events of all
 * instances in the one order. It does not know what an event means.
 */
import type { Operation } from "./batch.ts";
import { type Clock, delay } from "../base/clock.ts";
import { eachWithTimeout, withTimeout } from "../kv/retry.ts";
import { notifyKey, Shard, type ShardParts } from "./shard.ts";

export { FEED_ROW_MS as ROW_LIFE } from "./shard.ts";

/** Most shards: with the company's bell they are ten keys, as many as one `kv.watch` covers. */
const MAX_SHARDS = 9;

/** Shards of a KV on which nothing says how many there are. */
const DEFAULT_SHARDS = 8;

/**
 * The same on a file of this machine's: it takes one commit at a time anyhow, so that more only make
 * the commits smaller (measured in rooms of ten: 28 % fewer messages with eight). While the events
 * of one are shown, the other's are committed.
 */
const LOCAL_SHARDS = 2;

/** Where it is written how many shards there are: all instances on one KV must agree. */
const SHARDS_KEY: Deno.KvKey = ["shards"];

/** Rung by an instance that comes or goes. */
export const INSTANCES_NOTIFY_KEY: Deno.KvKey = ["bell", "company"];

/** What a feed is made of. */
export interface FeedParts extends ShardParts {
  readonly kv: Deno.Kv;
  /** The handle on which bells are watched. */
  readonly watcher: Deno.Kv;
  /** Called when another instance has come or gone. */
  instancesChanged(): void;
}

type WatchReader = ReadableStreamDefaultReader<Deno.KvEntryMaybe<unknown>[]>;

/** The feed of one instance. */
export class Feed {
  readonly #parts: FeedParts;
  #shards: Shard[] = [];
  #watching: WatchReader | undefined;
  /** Where the company's bell was last seen by watching. */
  #instancesVersionstamp: string | null | undefined;
  /** Where it was when the shards' bells were last looked at. */
  #polledVersionstamp: string | null | undefined;
  #watchLoopDone: Promise<void> | undefined;
  #shared = false;
  #closed = false;

  constructor(parts: FeedParts) {
    this.#parts = parts;
  }

  /**
   * Begins: what is added from now on is delivered. Before that nothing may be handed in. Gives
   * where each shard stood: what it delivers comes after that.
   *
   * @throws when KV cannot be read.
   */
  async open(): Promise<(string | null)[]> {
    const { clock, kv } = this.#parts;
    const watcher = await withTimeout(clock, kv.getMany(this.#notifyKeys()));
    const at = watcher.map(({ versionstamp }) => versionstamp);
    this.#shards = at.map((versionstamp, i) => new Shard(i, versionstamp, this.#parts));
    this.#watchLoopDone = this.#watchLoop();
    return at;
  }

  /**
   * Hands in an operation. `name` (of a room, or of a connection in none) chooses the shard:
   * operations of the same name keep their order.
   */
  submit(name: string, operation: Operation): void {
    this.#shards[this.shardOf(name)]!.submit(operation);
  }

  /**
   * Whether other instances are there: only then the shards' bells are watched. Said again and
   * again, it covers a watch that died without a word, by a look at the bells.
   */
  async setShared(company: boolean): Promise<void> {
    const { kv, clock } = this.#parts;
    if (company) this.#watchShards(true);
    const { versionstamp } = await withTimeout(clock, kv.get(INSTANCES_NOTIFY_KEY));
    // Alone, and nobody has come and gone since the last look.
    if (!company && !this.#shared && versionstamp === this.#polledVersionstamp) return;
    // Of whoever has gone, the last words must have been read before nobody listens any more.
    await this.poll();
    this.#polledVersionstamp = versionstamp;
    this.#watchShards(company);
  }

  /** The shard of a name. */
  shardOf(name: string): number {
    return shardOf(name, this.#parts.shards.length);
  }

  /** Looks at the bells once. */
  async poll(): Promise<void> {
    const watcher = await withTimeout(
      this.#parts.clock,
      this.#parts.kv.getMany(this.#notifyKeys()),
    );
    watcher.forEach((bell, i) => this.#shards[i]!.notify(bell.versionstamp));
  }

  /**
   * Resolves when everything that was committed before the call, by whichever instance, has been
   * delivered here.
   *
   * @throws when KV cannot be read, or that takes too long.
   */
  async reached(): Promise<void> {
    const { clock, kv } = this.#parts;
    const watcher = await withTimeout(clock, kv.getMany(this.#notifyKeys()));
    const reached = watcher.map(({ versionstamp }, i) => this.#shards[i]!.reached(versionstamp));
    await withTimeout(clock, Promise.all(reached));
  }

  /** Resolves when everything handed in so far has been committed and delivered, or has failed. */
  async flush(): Promise<void> {
    await Promise.all(this.#shards.map((shard) => shard.idle()));
  }

  /** Stops watching. Nothing may be handed in after this. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#watching?.cancel();
    await this.#watchLoopDone;
  }

  #notifyKeys(): Deno.KvKey[] {
    return this.#parts.shards.map((_, shard) => notifyKey(shard));
  }

  #watchShards(company: boolean): void {
    if (company === this.#shared) return;
    this.#shared = company;
    void this.#watching?.cancel();
  }

  /** Watches the bells, again and again: a stream that ends or fails is opened anew. */
  async #watchLoop(): Promise<void> {
    const { watcher, clock, warn } = this.#parts;
    while (!this.#closed) {
      // Alone, only the company's bell: watching those that we ring doubles a commit's time.
      const keys = this.#shared
        ? [INSTANCES_NOTIFY_KEY, ...this.#notifyKeys()]
        : [INSTANCES_NOTIFY_KEY];
      const company = this.#shared;
      try {
        this.#watching = watcher.watch<unknown[]>(keys).getReader();
        await this.#readWatch(this.#watching);
      } catch (error) {
        if (!this.#closed) warn(`storage's watch failed: ${(error as Error).message}`);
      }
      if (!this.#closed && company === this.#shared) await delay(clock, 1000);
    }
  }

  async #readWatch(reader: WatchReader): Promise<void> {
    while (true) {
      const { done, value: [company, ...watcher] = [] } = await reader.read();
      if (done) return;
      watcher.forEach((bell, i) => this.#shards[i]!.notify(bell.versionstamp));
      const at = company!.versionstamp;
      // The first answer is how things stand.
      if (this.#instancesVersionstamp !== undefined && this.#instancesVersionstamp !== at) {
        this.#parts.instancesChanged();
      }
      this.#instancesVersionstamp = at;
    }
  }
}

/**
 * How many shards the feed on a KV has. Whoever comes first decides, for good. `local`: the KV can
 * only be reached from this machine.
 *
 * @throws when KV cannot be used, or holds something else there.
 */
export async function agreeOnShards(kv: Deno.Kv, clock: Clock, local: boolean): Promise<number> {
  while (true) {
    const entry = await withTimeout(clock, kv.get<unknown>(SHARDS_KEY));
    const { value, versionstamp } = entry;
    if (versionstamp !== null) {
      if (isNumberOfShards(value)) return value;
      throw new Error(
        `in ["shards"] is ${Deno.inspect(value)}, not a number from 1 to ${MAX_SHARDS}`,
      );
    }
    // Before it was written down there were always as many as elsewhere.
    const many = local && !(await hasNotifyKeys(kv, clock)) ? LOCAL_SHARDS : DEFAULT_SHARDS;
    await withTimeout(clock, kv.atomic().check(entry).set(SHARDS_KEY, many).commit());
  }
}

async function hasNotifyKeys(kv: Deno.Kv, clock: Clock): Promise<boolean> {
  for await (const { key } of eachWithTimeout(clock, kv.list({ prefix: ["bell"] }))) {
    if (typeof key[1] === "number") return true;
  }
  return false;
}

function isNumberOfShards(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 1 && (value as number) <= MAX_SHARDS;
}

/**
 * The shard, of so many, of a name (of a room, or of a connection). FNV-1a: cheap, and rooms with similar names
 * land in different shards.
 */
export function shardOf(name: string, shards: number): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) {
    hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
  }
  return (hash >>> 0) % shards;
}
