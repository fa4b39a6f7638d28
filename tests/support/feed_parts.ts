/** What a feed is made of, with defaults, for tests and benchmarks of a feed without a chat around it. */
import { systemClock } from "../../chat/base/clock.ts";
import { openMetrics } from "../../chat/base/metrics.ts";
import { MAX_LOCAL_CHECKS } from "../../chat/feed/batch.ts";
import type { FeedParts } from "../../chat/feed/feed.ts";
import { FEED_ROW_MS } from "../../chat/feed/shard_parts.ts";

/** Returns the parts of a feed, and writes a lease for `instance` if there is none. */
export async function feedParts(
  kv: Deno.Kv,
  instance: string,
  own: Pick<FeedParts, "deliver"> & Partial<FeedParts>,
): Promise<FeedParts> {
  const key = ["instance", instance];
  if ((await kv.get(key)).versionstamp === null) await kv.set(key, 1);
  return {
    kv,
    watcher: kv,
    shards: new Array(8).fill(kv),
    smallIsFast: false,
    maxChecks: MAX_LOCAL_CHECKS,
    feedRowMs: FEED_ROW_MS,
    commitDelivered: () => 0,
    isAllowed: () => true,
    instance,
    lease: { key, versionstamp: (await kv.get(key)).versionstamp },
    clock: systemClock,
    metrics: openMetrics(),
    instancesChanged: () => {},
    onLeaseLost: () => {},
    warn: (message) => {
      throw new Error(message);
    },
    ...own,
  };
}
