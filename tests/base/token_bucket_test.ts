/** Token buckets: how much they allow, how long they ask to wait, and when they are forgotten. */
import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { TokenBucket, TokenBucketMap } from "../../chat/base/token_bucket.ts";
import { Random } from "../support/random.ts";

const START = Date.UTC(2026, 10, 22);

Deno.test("TokenBucket gives its burst at once, then asks to wait, and gives again after that", () => {
  const rate = { burst: 7, ms: 10_000 };
  const bucket = new TokenBucket();
  for (let i = 0; i < 7; i++) assertEquals(bucket.take(rate, 1, START), 0);
  const wait = bucket.take(rate, 1, START);
  assertAlmostEquals(wait, 10_000 / 7, 0.01);
  assert(bucket.take(rate, 1, START + wait - 1) > 0);
  assertEquals(bucket.take(rate, 1, START + wait + 0.1), 0);
  assert(!bucket.isFull(START + 10_000));
  assert(bucket.isFull(START + 12_000));
});

Deno.test("TokenBucket gives, over any time, at most its burst, what flows in, and one debt", () => {
  const random = new Random(17);
  for (let round = 0; round < 50; round++) {
    const rate = { burst: 1 + random.below(50), ms: 1000 * (1 + random.below(60)) };
    const bucket = new TokenBucket();
    let now = START, given = 0, refused = 0, debt = 0;
    for (let i = 0; i < 2_000; i++) {
      now += random.below(2 * rate.ms / rate.burst);
      const cost = 1 + random.below(3);
      const wait = bucket.take(rate, cost, now);
      if (wait === 0) {
        given += cost;
        debt = Math.max(debt, cost - rate.burst);
      } else {
        refused++;
        const longest = rate.ms * (1 + debt / rate.burst) + 0.01;
        assert(wait <= longest, "nobody waits longer than a debt and an empty bucket take");
      }
    }
    const most = rate.burst + Math.max(0, debt) + (now - START) * rate.burst / rate.ms;
    assert(given <= most + 1e-6, `${given} of ${most}`);
    assert(refused > 0);
  }
});

Deno.test("TokenBucket: a cost above a full bucket needs a full bucket and leaves a debt", () => {
  const rate = { burst: 3, ms: 3_000 };
  const bucket = new TokenBucket();
  assertEquals(bucket.take(rate, 1, START), 0);
  // Not before it is full.
  assertAlmostEquals(bucket.take(rate, 9, START), 1_000, 0.01);
  assertEquals(bucket.take(rate, 9, START + 1_001), 0);
  assertAlmostEquals(bucket.take(rate, 1, START + 1_001), 7_000, 0.01);
  assertEquals(bucket.take(rate, 1, START + 8_002), 0);
});

Deno.test("TokenBucket.spend leaves a debt that is paid in full before the next take", () => {
  const rate = { burst: 10, ms: 10_000 };
  const bucket = new TokenBucket();
  for (let i = 0; i < 5; i++) bucket.spend(rate, 12, START);
  // 60, of which the bucket held 10.
  assertAlmostEquals(bucket.take(rate, 1, START), 51_000, 0.01);
  assert(bucket.take(rate, 1, START + 50_000) > 0);
  assertEquals(bucket.take(rate, 1, START + 51_001), 0);
});

Deno.test("TokenBucket: a debt is at most ten full buckets", () => {
  const rate = { burst: 10, ms: 10_000 };
  const bucket = new TokenBucket();
  bucket.spend(rate, 1e9, START);
  assertAlmostEquals(bucket.take(rate, 1, START), 101_000, 0.01);
});

Deno.test("TokenBucket: a negative cost gives back, and a bucket that was saved goes on where it was", () => {
  const rate = { burst: 3, ms: 3_000 };
  const bucket = new TokenBucket();
  const take = (from: TokenBucket) => from.take(rate, 1, START);
  assertEquals([take(bucket), take(bucket), take(bucket), take(bucket)], [0, 0, 0, 1000]);
  bucket.spend(rate, -1, START);
  assertEquals([take(bucket), take(bucket)], [0, 1000]);
  bucket.spend(rate, -100, START);
  assertEquals([take(bucket), take(bucket), take(bucket), take(bucket)], [0, 0, 0, 1000]);
  bucket.spend(rate, -1, START);
  const copy = new TokenBucket(bucket.fullMs);
  assertEquals([take(copy), take(copy)], [0, 1000]);
});

Deno.test("TokenBucket: a clock that is set back makes no client wait", () => {
  const rate = { burst: 2, ms: 10_000 };
  const bucket = new TokenBucket();
  for (let i = 0; i < 2; i++) assertEquals(bucket.take(rate, 1, START), 0);
  assertEquals(bucket.take(rate, 1, START - 3_600_000), 0);
});

Deno.test("TokenBucketMap: buckets are independent, and are forgotten when they are full", () => {
  const rate = { burst: 2, ms: 2_000 };
  const buckets = new TokenBucketMap(() => new TokenBucket(), 10_000);
  const take = (key: string, now: number) => buckets.get(key, now).take(rate, 1, now);
  for (const key of ["a", "b"]) {
    assertEquals([take(key, START), take(key, START)], [0, 0]);
    assert(take(key, START) > 0);
  }
  for (let i = 0; i < 1_000; i++) take(`key ${i}`, START);
  assertEquals(buckets.size, 1_002);
  for (let i = 0; i < 1_000; i++) take("c", START + 2_001);
  assertEquals(buckets.size, 1, "all but c");
});

Deno.test("TokenBucketMap forgets the oldest bucket rather than grow beyond its size", () => {
  const rate = { burst: 1, ms: 3_600_000 };
  const buckets = new TokenBucketMap(() => new TokenBucket(), 1_000);
  for (let i = 0; i < 10_000; i++) {
    buckets.get(`key ${i}`, START).take(rate, 1, START);
    assert(buckets.size <= 1_000);
  }
});

Deno.test("TokenBucketMap keeps buckets that are not full while it has room", () => {
  const made: string[] = [];
  const memory = new TokenBucketMap(() => {
    made.push("");
    return { isFull: () => false };
  }, 100);
  const first = memory.get("first", 0);
  for (let i = 0; i < 99; i++) memory.get(`key ${i}`, 0);
  for (let i = 0; i < 500; i++) assertEquals(memory.get("first", 0), first);
  assertEquals(made.length, 100);
});
