/** Token buckets in KV rows: what they allow over all instances, and the form of their rows. */
import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { takeShared } from "../../chat/nicknames/shared_bucket.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { countingKv } from "../support/faulty_kv.ts";

const KEY = ["attempts", "ann"];
const RATE = { burst: 3, ms: 3_000 };
const START = Date.UTC(2026, 10, 22);

Deno.test("takeShared allows the burst, then returns the wait, and allows more with time", async () => {
  using kv = await Deno.openKv(":memory:");
  const clock = new FakeClock(START);
  const take = (key = KEY) => takeShared(kv, clock, key, RATE);
  assertEquals([await take(), await take(), await take(), await take()], [0, 0, 0, 1000]);
  assertEquals(await take(["attempts", "bob"]), 0);
  clock.advance(400);
  assertEquals(await take(), 600);
  clock.advance(600);
  assertEquals([await take(), await take()], [0, 1000]);
  clock.advance(1e9);
  assertEquals([await take(), await take(), await take(), await take()], [0, 0, 0, 1000]);
});

Deno.test("takeShared stores the tokens left and the time, as all versions of the program do", async () => {
  using kv = await Deno.openKv(":memory:");
  const clock = new FakeClock(START);
  await takeShared(kv, clock, KEY, RATE);
  assertEquals((await kv.get(KEY)).value, { left: 2, at: START });
  // A row of any version: half a token left two seconds ago.
  await kv.set(KEY, { left: 0.5, at: START - 2_000 });
  assertEquals(await takeShared(kv, clock, KEY, RATE), 0);
  const { left, at } = (await kv.get<{ left: number; at: number }>(KEY)).value!;
  assertAlmostEquals(left, 1.5, 1e-9);
  assertEquals(at, START);
});

Deno.test("takeShared takes a row in an unknown form for a full bucket", async () => {
  using kv = await Deno.openKv(":memory:");
  for (const value of ["text", { left: "1", at: START }, { v: 9 }]) {
    await kv.set(KEY, value);
    assertEquals(await takeShared(kv, new FakeClock(START), KEY, RATE), 0);
    assertEquals((await kv.get(KEY)).value, { left: 2, at: START });
  }
});

Deno.test("takeShared keeps the tokens of a row that an instance with a faster clock wrote", async () => {
  using kv = await Deno.openKv(":memory:");
  await kv.set(KEY, { left: 1, at: START + 5_000 });
  const clock = new FakeClock(START);
  assertEquals(await takeShared(kv, clock, KEY, RATE), 0);
  assertEquals(await takeShared(kv, clock, KEY, RATE), 1000);
});

Deno.test("concurrent calls of takeShared take no more than the burst", async () => {
  using kv = await Deno.openKv(":memory:");
  const clock = new FakeClock(START);
  const waits = await Promise.all(
    Array.from({ length: 40 }, () => takeShared(kv, clock, KEY, RATE)),
  );
  const taken = waits.filter((wait) => wait === 0).length;
  assert(taken >= 1 && taken <= RATE.burst, `${taken} tokens were taken`);
});

Deno.test("takeShared gives up after sixteen attempts while other instances change the row", async () => {
  using kv = await Deno.openKv(":memory:");
  // Before every commit another instance writes.
  let writes = 0;
  const contended = countingKv(kv, async (what) => {
    if (what === "commit") await kv.set(KEY, { left: 3, at: START + writes++ });
  });
  assertEquals(await takeShared(contended.kv, new FakeClock(START), KEY, RATE), 1000);
  assertEquals(writes, 16);
});
