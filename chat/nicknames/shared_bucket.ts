/**
 * A token bucket in a KV row, shared by all instances: `chat/base/token_bucket.ts` does the arithmetic.
 *
 * A row stores the tokens that were left and when that was. Instances have different clocks, so the
 * row's time may lie in the future: then nothing has come in since.
 */
import type { Clock } from "../base/clock.ts";
import { type Rate, TokenBucket } from "../base/token_bucket.ts";
import { withTimeout } from "../kv/retry.ts";
import { bucketFrom, type BucketValue } from "../kv/values.ts";

/** Attempts to take a token while others do: a user may sign in on 16 devices at the same moment. */
const MAX_ATTEMPTS = 16;

/**
 * Takes one token from the bucket in the row `key`. Returns 0, or the milliseconds to wait until there
 * is one; then none is taken. Under contention that does not end it returns the time of one token.
 *
 * @throws when KV does not answer.
 */
export async function takeShared(
  kv: Deno.Kv,
  clock: Clock,
  key: Deno.KvKey,
  rate: Rate,
): Promise<number> {
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
    const entry = await withTimeout(clock, kv.get<unknown>(key));
    const now = clock.now();
    const bucket = restored(bucketFrom(entry.value), rate, now);
    const wait = bucket.take(rate, 1, now);
    if (wait > 0) return wait;
    const operation = kv.atomic().check(entry)
      .set(key, valueOf(bucket, rate, now), { expireIn: rate.ms });
    if ((await withTimeout(clock, operation.commit())).ok) return 0;
  }
  return rate.ms / rate.burst;
}

function restored(value: BucketValue | undefined, { burst, ms }: Rate, now: number): TokenBucket {
  if (value === undefined) return new TokenBucket();
  const { left, at } = value;
  return new TokenBucket(Math.min(at, now) + (burst - left) * (ms / burst));
}

function valueOf(bucket: TokenBucket, { burst, ms }: Rate, now: number): BucketValue {
  return { left: burst - (bucket.fullMs - now) / (ms / burst), at: now };
}
