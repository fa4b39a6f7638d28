/**
 * The number of shards of the feed, which all instances on one KV share, and the shard of a name.
 */
import type { Clock } from "../base/clock.ts";
import { NOTIFY_PREFIX, SHARDS_KEY } from "../kv/keys.ts";
import { eachWithTimeout, withTimeout } from "../kv/retry.ts";

/** One `kv.watch` covers ten keys: those of nine shards, and that of the instances. */
const MAX_SHARDS = 9;

/** Shards of a KV that does not say how many it has. */
const DEFAULT_SHARDS = 8;

/**
 * The same on a local file. It takes one commit at a time, so more shards only make commits smaller
 * (measured in rooms of ten: 28 % fewer messages with eight). While the events of one shard are
 * delivered, those of the other are committed.
 */
const LOCAL_SHARDS = 2;

/**
 * Returns the number of shards of the feed on a KV. The first instance decides it for ever. `isLocal`:
 * only this machine can use the KV.
 *
 * @throws {Error} when KV does not answer, or holds something else than a number of shards.
 */
export async function agreeOnShards(kv: Deno.Kv, clock: Clock, isLocal: boolean): Promise<number> {
  while (true) {
    const entry = await withTimeout(clock, kv.get<unknown>(SHARDS_KEY));
    const { value, versionstamp } = entry;
    if (versionstamp !== null) {
      if (isNumberOfShards(value)) return value;
      throw new Error(
        `Cannot use this KV: ${JSON.stringify(SHARDS_KEY)} is ${Deno.inspect(value)}, ` +
          `not a number from 1 to ${MAX_SHARDS}`,
      );
    }
    // Versions that did not store the number had DEFAULT_SHARDS everywhere.
    const shards = isLocal && !(await hasNotifyKeys(kv, clock)) ? LOCAL_SHARDS : DEFAULT_SHARDS;
    await withTimeout(clock, kv.atomic().check(entry).set(SHARDS_KEY, shards).commit());
  }
}

async function hasNotifyKeys(kv: Deno.Kv, clock: Clock): Promise<boolean> {
  for await (const { key } of eachWithTimeout(clock, kv.list({ prefix: NOTIFY_PREFIX }))) {
    if (typeof key[1] === "number") return true;
  }
  return false;
}

function isNumberOfShards(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 1 && (value as number) <= MAX_SHARDS;
}

/**
 * Returns the shard, of so many, of a room's or a connection's name. The hash is FNV-1a: cheap, and
 * similar names get different shards.
 */
export function shardOf(name: string, shards: number): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) {
    hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
  }
  return (hash >>> 0) % shards;
}
