/** The operator's log: repeated warnings are bounded. */
import { assert, assertEquals } from "@std/assert";
import { quietLog } from "../../chat/base/log.ts";
import { AdjustedClock } from "../support/fake_clock.ts";

function quiet() {
  const lines: string[] = [];
  const clock = new AdjustedClock({ stoppedAtMs: 1_000_000 });
  const write = (message: string) => void lines.push(message);
  return { lines, clock, log: quietLog({ log: write, warn: write }, clock) };
}

Deno.test("quietLog writes a warning of one cause once a minute, with the number of skipped ones", () => {
  const { lines, clock, log } = quiet();
  const warn = (i: number) =>
    log.warn(`row 01ARZ3NDEKTSV4RRFFQ69G5FA${i} of "room ${i}" took ${i} ms: it is busy`);
  for (let i = 0; i < 5; i++) warn(i);
  log.warn("storage does not answer: no route");
  const first = 'row 01ARZ3NDEKTSV4RRFFQ69G5FA0 of "room 0" took 0 ms: it is busy';
  assertEquals(lines, [first, "storage does not answer: no route"]);
  clock.monotonicAheadMs += 59_999;
  warn(6);
  assertEquals(lines.length, 2);
  clock.monotonicAheadMs += 1;
  warn(7);
  assertEquals(lines.length, 3);
  assert(lines[2]!.endsWith("it is busy (and 5 like it before)"), lines[2]);
  clock.monotonicAheadMs += 60_000;
  warn(8);
  assert(lines[3]!.endsWith("it is busy"), lines[3]);
});

Deno.test("quietLog bounds the number of causes and the length of a line", () => {
  const { lines, clock, log } = quiet();
  const word = (i: number) =>
    [...String(i)].map((digit) => String.fromCharCode(97 + Number(digit))).join("");
  for (let i = 0; i < 10_000; i++) log.warn(`failed at ${word(i)}: ${"x".repeat(10_000)}`);
  assertEquals(lines.length, 51);
  assert(lines.every((line) => line.length <= 540));
  clock.monotonicAheadMs += 120_000;
  log.warn("something else");
  assertEquals(lines.at(-1), "something else");
});

Deno.test("quietLog measures its minute with the monotonic clock", () => {
  const { lines, clock, log } = quiet();
  clock.wallAheadMs = -1_000_000;
  log.warn("it is busy");
  clock.wallAheadMs = 2_600_000;
  log.warn("it is busy");
  assertEquals(lines.length, 1);
  clock.wallAheadMs = -4_600_000;
  clock.monotonicAheadMs += 60_000;
  log.warn("it is busy");
  assertEquals(lines.length, 2);
});

Deno.test("quietLog writes log lines unchanged", () => {
  const { lines, log } = quiet();
  for (let i = 0; i < 3; i++) log.log("started");
  assertEquals(lines, ["started", "started", "started"]);
});
