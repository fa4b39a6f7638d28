/**
 * The feed: one ordered log of everything that happens in rooms, in shards, and the bells by which
 * instances hear of each other's additions.
 *
 * Storage and Handler hand operations in; whoever made the feed is handed the events of all
 * instances in the one order. It does not know what an event means.
 */
import type { Operation } from "./batch.ts";
import { delay, limited } from "./clock.ts";
import { bellKey, Shard, type ShardParts } from "./shard.ts";

export { ROW_LIFE } from "./shard.ts";

/**
 * How many shards there are. All instances on one KV must agree. With the company's bell they are
 * nine keys: one `kv.watch` covers ten.
 */
export const SHARDS = 8;

/** Rung by an instance that comes or goes. */
export const COMPANY_BELL: Deno.KvKey = ["bell", "company"];

/** What a feed is made of. */
export interface FeedParts extends ShardParts {
  readonly kv: Deno.Kv;
  /** The handle on which bells are watched. */
  readonly bells: Deno.Kv;
  /** Called when another instance has come or gone. */
  companyChanged(): void;
}

type BellReader = ReadableStreamDefaultReader<Deno.KvEntryMaybe<unknown>[]>;

/** The feed of one instance. */
export class Feed {
  readonly #parts: FeedParts;
  #shards: Shard[] = [];
  #watching: BellReader | undefined;
  /** Where the company's bell was last seen by watching. */
  #companyAt: string | null | undefined;
  /** Where it was when the shards' bells were last looked at. */
  #polledAt: string | null | undefined;
  #listening: Promise<void> | undefined;
  #company = false;
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
    const bells = await limited(clock, kv.getMany(shardBells()));
    const at = bells.map(({ versionstamp }) => versionstamp);
    this.#shards = at.map((versionstamp, i) => new Shard(i, versionstamp, this.#parts));
    this.#listening = this.#listen();
    return at;
  }

  /**
   * Hands in an operation. `name` (of a room, or of a connection in none) chooses the shard:
   * operations of the same name keep their order.
   */
  submit(name: string, operation: Operation): void {
    this.#shards[shardOf(name)]!.submit(operation);
  }

  /**
   * Whether other instances are there: only then the shards' bells are watched. Said again and
   * again, it covers a watch that died without a word, by a look at the bells.
   */
  async keepCompany(company: boolean): Promise<void> {
    const { kv, clock } = this.#parts;
    if (company) this.#listenTo(true);
    const { versionstamp } = await limited(clock, kv.get(COMPANY_BELL));
    // Alone, and nobody has come and gone since the last look.
    if (!company && !this.#company && versionstamp === this.#polledAt) return;
    // Of whoever has gone, the last words must have been read before nobody listens any more.
    await this.poll();
    this.#polledAt = versionstamp;
    this.#listenTo(company);
  }

  /** Looks at the bells once. */
  async poll(): Promise<void> {
    const bells = await limited(this.#parts.clock, this.#parts.kv.getMany(shardBells()));
    bells.forEach((bell, i) => this.#shards[i]!.ring(bell.versionstamp));
  }

  /** Resolves when everything handed in so far has been committed and delivered, or has failed. */
  async flush(): Promise<void> {
    await Promise.all(this.#shards.map((shard) => shard.idle()));
  }

  /** Stops watching. Nothing may be handed in after this. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#watching?.cancel();
    await this.#listening;
  }

  #listenTo(company: boolean): void {
    if (company === this.#company) return;
    this.#company = company;
    void this.#watching?.cancel();
  }

  /** Watches the bells, again and again: a stream that ends or fails is opened anew. */
  async #listen(): Promise<void> {
    const { bells, clock, warn } = this.#parts;
    while (!this.#closed) {
      // Alone, only the company's bell: watching those that we ring doubles a commit's time.
      const keys = this.#company ? [COMPANY_BELL, ...shardBells()] : [COMPANY_BELL];
      const company = this.#company;
      try {
        this.#watching = bells.watch<unknown[]>(keys).getReader();
        await this.#follow(this.#watching);
      } catch (error) {
        if (!this.#closed) warn(`storage's watch failed: ${(error as Error).message}`);
      }
      if (!this.#closed && company === this.#company) await delay(clock, 1000);
    }
  }

  async #follow(reader: BellReader): Promise<void> {
    while (true) {
      const { done, value: [company, ...bells] = [] } = await reader.read();
      if (done) return;
      bells.forEach((bell, i) => this.#shards[i]!.ring(bell.versionstamp));
      const at = company!.versionstamp;
      // The first answer is how things stand.
      if (this.#companyAt !== undefined && this.#companyAt !== at) this.#parts.companyChanged();
      this.#companyAt = at;
    }
  }
}

function shardBells(): Deno.KvKey[] {
  return Array.from({ length: SHARDS }, (_, shard) => bellKey(shard));
}

/**
 * The shard of a name (of a room, or of a connection). FNV-1a: cheap, and rooms with similar names
 * land in different shards.
 */
export function shardOf(name: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) {
    hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
  }
  return (hash >>> 0) % SHARDS;
}
