/** What the operator reads: nothing repeats itself without end. */
import { assert, assertEquals } from "@std/assert";
import { systemClock } from "../../chat/base/clock.ts";
import { quietLog } from "../../chat/base/log.ts";

function quiet() {
  const lines: string[] = [];
  const clock = { ...systemClock, time: 1_000_000, monotonicMs: () => clock.time };
  const write = (message: string) => void lines.push(message);
  return { lines, clock, log: quietLog({ log: write, warn: write }, clock) };
}

Deno.test("quietLog writes a warning of one cause once a minute, and how many were left out", () => {
  const { lines, clock, log } = quiet();
  const warn = (i: number) =>
    log.warn(`row 01ARZ3NDEKTSV4RRFFQ69G5FA${i} of "room ${i}" took ${i} ms: it is busy`);
  for (let i = 0; i < 5; i++) warn(i);
  log.warn("storage does not answer: no route");
  const first = 'row 01ARZ3NDEKTSV4RRFFQ69G5FA0 of "room 0" took 0 ms: it is busy';
  assertEquals(lines, [first, "storage does not answer: no route"]);
  clock.time += 59_999;
  warn(6);
  assertEquals(lines.length, 2);
  clock.time += 1;
  warn(7);
  assertEquals(lines.length, 3);
  assert(lines[2]!.endsWith("it is busy (and 5 like it before)"), lines[2]);
  clock.time += 60_000;
  warn(8);
  assert(lines[3]!.endsWith("it is busy"), lines[3]);
});

Deno.test("quietLog bounds the causes of a minute, and each line", () => {
  const { lines, clock, log } = quiet();
  const word = (i: number) =>
    [...String(i)].map((digit) => String.fromCharCode(97 + Number(digit))).join("");
  for (let i = 0; i < 10_000; i++) log.warn(`failed at ${word(i)}: ${"x".repeat(10_000)}`);
  assertEquals(lines.length, 51);
  assert(lines.every((line) => line.length <= 540));
  clock.time += 120_000;
  log.warn("something else");
  assertEquals(lines.at(-1), "something else");
});

Deno.test("quietLog measures its minute with the monotonic clock, whatever the wall clock does", () => {
  const { lines, clock, log } = quiet();
  clock.now = () => 0;
  log.warn("it is busy");
  clock.now = () => 3_600_000;
  log.warn("it is busy");
  assertEquals(lines.length, 1);
  clock.now = () => -3_600_000;
  clock.time += 60_000;
  log.warn("it is busy");
  assertEquals(lines.length, 2);
});

Deno.test("quietLog writes what is no warning as it is", () => {
  const { lines, log } = quiet();
  for (let i = 0; i < 3; i++) log.log("started");
  assertEquals(lines, ["started", "started", "started"]);
});
