/** The memory guard: when it closes connections, how many, and when it stops. */
import { assertEquals } from "@std/assert";
import { MemoryGuard } from "../../chat/base/memory_guard.ts";
import { AdjustedClock } from "../support/fake_clock.ts";

const MIB = 1024 * 1024;

/** A guard of 100 MiB that measures when the test tells it to. */
function guarded(connections: number) {
  const clock = new AdjustedClock({ delayOf: () => "held" });
  let used = 50 * MIB;
  const asked: number[] = [];
  const warnings: string[] = [];
  const guard = new MemoryGuard({
    maxBytes: 100 * MIB,
    clock,
    usedBytes: () => used,
    closeConnections(most) {
      asked.push(most);
      const closed = Math.min(most, connections);
      connections -= closed;
      return closed;
    },
    warn: (message) => void warnings.push(message),
  });
  return {
    guard,
    asked,
    warnings,
    looks(...mib: number[]) {
      return mib.map((each) => {
        used = each * MIB;
        clock.held.shift()?.run();
        return guard.isOver;
      });
    },
  };
}

Deno.test("MemoryGuard closes nothing while the process is within its memory", () => {
  const { guard, asked, warnings, looks } = guarded(10);
  assertEquals(looks(50, 99, 100), [false, false, false]);
  assertEquals([asked, warnings, guard.checks.count], [[], [], 3]);
});

Deno.test("MemoryGuard closes few connections first, then more, and few again after it was within the limit", () => {
  const { asked, looks } = guarded(1000);
  assertEquals(looks(101, 150, 300, 90, 101), [true, true, true, false, true]);
  assertEquals(asked, [1, 4, 16, 1]);
});

Deno.test("MemoryGuard admits clients again when no connection holds the memory", () => {
  const { asked, looks } = guarded(1);
  // One connection is closed, then none is left, and 120 MiB remain.
  assertEquals(looks(120, 120, 120, 131), [true, true, false, false]);
  assertEquals(asked, [1, 4]);
  assertEquals(looks(133), [true]);
  assertEquals(asked.length, 3);
  // Once the process was within the limit, the old limit applies again.
  assertEquals(looks(99, 101), [false, true]);
});

Deno.test("MemoryGuard stops measuring when it is closed", () => {
  const { guard, asked, looks } = guarded(10);
  guard.close();
  looks(200);
  assertEquals([asked, guard.checks.count], [[], 0]);
});
