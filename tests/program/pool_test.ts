/** Pool: members that die, and their replacements. */
import { assertEquals, assertRejects } from "@std/assert";
import { type Member, Pool } from "../../chat/program/pool.ts";
import { AdjustedClock } from "../support/fake_clock.ts";

interface Worker extends Member {
  readonly port: number;
  died(): void;
}

/** Returns a pool of workers; `open` is called for each that starts, and may throw. */
function poolOf(open: (port: number | undefined) => number) {
  const pauses: number[] = [], warnings: string[] = [];
  const workers: Worker[] = [], ended: Worker[] = [];
  const clock = new AdjustedClock({
    delayOf(ms) {
      pauses.push(ms);
      return 0;
    },
  });
  const { promise: replaced, resolve } = Promise.withResolvers<void>();
  const pool = new Pool<Worker>({
    clock,
    start: (first, died) =>
      Promise.resolve().then(() => {
        const worker: Worker = {
          port: open(first?.port),
          died,
          end: () => Promise.resolve(void ended.push(worker)),
        };
        workers.push(worker);
        if (workers.length === 3) resolve();
        return worker;
      }),
    warn: (message) => void warnings.push(message),
  });
  return { pool, pauses, warnings, workers, ended, replaced };
}

Deno.test("Pool replaces a dead worker until one starts, on the port of the first, and waits longer each time", async () => {
  let failures = 0;
  const { pool, pauses, warnings, workers, ended, replaced } = poolOf((port) => {
    if (workers.length === 2 && failures++ < 7) throw new Error("the port is taken");
    return port ?? 9000;
  });
  assertEquals((await pool.open(2)).port, 9000);
  workers[0]!.died();
  await replaced;
  assertEquals(workers.map(({ port }) => port), [9000, 9000, 9000]);
  assertEquals(pauses, [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
  assertEquals(warnings, [
    "A worker crashed; restarting it.",
    ...new Array(7).fill("Cannot start a worker: the port is taken"),
  ]);
  await pool.end();
  assertEquals(ended, [workers[1], workers[2]]);
});

Deno.test("Pool does not replace a worker after end", async () => {
  const { pool, workers, ended, warnings } = poolOf(() => 9000);
  await pool.open(2);
  workers[0]!.died();
  await pool.end();
  workers[1]!.died();
  assertEquals(ended, workers.slice(1));
  assertEquals(warnings.length, 1);
});

Deno.test("Pool.open rejects if one of the workers cannot start", async () => {
  const { pool, workers } = poolOf(() => {
    if (workers.length === 1) throw new Error("the port is taken");
    return 9000;
  });
  await assertRejects(() => pool.open(2), Error, "the port is taken");
});
