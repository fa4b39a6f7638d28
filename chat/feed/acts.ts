/**
 * What the commit of an act of moderation has besides its event: the mark of the last act in its shard, and
 * its copies in other shards.
 *
 * A copy is a feed row of its own under the same versionstamp, so each shard has the act at one place in
 * its order. What an act means is decided in chat/moderation/.
 */
import { feedRowKey, lastActKey, notifyKey } from "../kv/keys.ts";
import type { FeedRowValue } from "../kv/values.ts";
import type { Operation } from "./batch.ts";
import { pack } from "./events.ts";
import type { ShardContext } from "./shard_parts.ts";

/** Stands in feed rows in place of the number of a commit, if the commit belongs to another shard. */
const COPY_N = 0;

/** Adds to a commit what an operation with an act needs. */
export function addAct(
  atomic: Deno.AtomicOperation,
  { copies = new Map() }: Operation,
  { index, kv, parts: { instance, feedRowMs } }: ShardContext,
): void {
  atomic.set(lastActKey(index), 1);
  for (const [shard, event] of copies) {
    const row: FeedRowValue = { v: 1, from: instance, n: COPY_N, events: [pack(event)] };
    atomic.set(feedRowKey(shard, kv.commitVersionstamp()), row, { expireIn: feedRowMs })
      .set(notifyKey(shard), COPY_N).set(lastActKey(shard), 1);
  }
}
