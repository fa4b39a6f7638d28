/** The lease: written once, whatever happens to the commits that write it. */
import { assertEquals } from "@std/assert";
import { systemClock } from "../../chat/base/clock.ts";
import { Lease } from "../../chat/feed/lease.ts";
import { type Commit, commitTwice, interceptCommits } from "../support/faulty_kv.ts";

Deno.test("Lease.take writes one lease, even if several of its tries succeed, or one late", async () => {
  using kv = await Deno.openKv(":memory:");
  let tries = 0, late: Commit | undefined;
  const slow = interceptCommits(kv, async (commit) => {
    if (++tries > 1) return await commit();
    late = commit;
    throw new Error("no answer");
  });
  const check = await Lease.take(slow, systemClock, "01A");
  assertEquals((await late!()).ok, false);
  assertEquals(check.versionstamp, (await kv.get(check.key)).versionstamp);

  const twice = await Lease.take(interceptCommits(kv, commitTwice), systemClock, "01B");
  assertEquals(twice.versionstamp, (await kv.get(twice.key)).versionstamp);

  // The answer to the try that writes is lost.
  let answers = 0;
  const lossy = interceptCommits(kv, async (commit) => {
    const result = await commit();
    if (answers++ === 0) throw new Error("the answer was lost");
    return result;
  });
  const third = await Lease.take(lossy, systemClock, "01C");
  assertEquals(third.versionstamp, (await kv.get(third.key)).versionstamp);
});
