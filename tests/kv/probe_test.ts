/** Whether KV answers: how often the probe reads, and what it says while KV is silent. */
import { assertEquals } from "@std/assert";
import { Probe } from "../../chat/kv/probe.ts";
import { FakeClock, settlePromises } from "../support/fake_clock.ts";

/** A probe of a KV whose reads the test answers. */
function probeWithReads() {
  const clock = new FakeClock();
  const reads: PromiseWithResolvers<void>[] = [];
  const get = () => {
    const read = Promise.withResolvers<void>();
    reads.push(read);
    return read.promise;
  };
  const probe = new Probe({ get } as unknown as Deno.Kv, clock);
  return { clock, reads, probe };
}

Deno.test("Probe reads once a second, however often it is asked", async () => {
  const { clock, reads, probe } = probeWithReads();
  const asked = Array.from({ length: 100 }, () => probe.answers());
  reads[0]!.resolve();
  assertEquals(new Set(await Promise.all(asked)), new Set([true]));
  clock.advance(999);
  assertEquals([await probe.answers(), reads.length], [true, 1]);
  clock.advance(1);
  const next = probe.answers();
  reads[1]!.reject(new Error("database is locked"));
  assertEquals([await next, reads.length], [false, 2]);
  assertEquals(clock.timerCount, 0);
});

Deno.test("Probe says no after a second without an answer, does not pile up reads, and recovers", async () => {
  const { clock, reads, probe } = probeWithReads();
  const asked = probe.answers();
  await clock.advanceAsync(1_000);
  assertEquals(await asked, false);
  clock.advance(20_000);
  assertEquals([await probe.answers(), reads.length], [false, 1]);
  reads[0]!.resolve();
  await settlePromises();
  const next = probe.answers();
  reads[1]!.resolve();
  assertEquals(await next, true);
});

Deno.test("Probe reads again when a read has had no answer for half a minute", async () => {
  const { clock, reads, probe } = probeWithReads();
  const lost = probe.answers();
  await clock.advanceAsync(30_000);
  assertEquals(await lost, false);
  const next = probe.answers();
  reads[1]!.resolve();
  assertEquals(await next, true);
});
