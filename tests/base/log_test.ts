/** The operator's log: one line an event, without what must not be in it; repeated warnings are bounded. */
import { assert, assertEquals } from "@std/assert";
import { type Level, lineLog, type LogSettings, messageOf, quietLog } from "../../chat/base/log.ts";
import { AdjustedClock } from "../support/fake_clock.ts";

function quiet() {
  const lines: string[] = [];
  const clock = new AdjustedClock({ stoppedAtMs: 1_000_000 });
  const write = (message: string) => void lines.push(message);
  return { lines, clock, log: quietLog({ info: write, warn: write, error: write }, clock) };
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

Deno.test("quietLog writes every fact", () => {
  const { lines, log } = quiet();
  for (let i = 0; i < 3; i++) log.info("started");
  assertEquals(lines, ["started", "started", "started"]);
});

/** A log whose lines the test reads, with the level at which each was written. */
function lined(settings?: LogSettings, showsAddresses?: boolean) {
  const lines: [Level, string][] = [];
  const write = (level: Level) => (line: string) => void lines.push([level, line]);
  const target = { info: write("info"), warn: write("warn"), error: write("error") };
  const clock = new AdjustedClock({ stoppedAtMs: 1_000_000 });
  return { lines, log: quietLog(lineLog(target, clock, settings), clock, showsAddresses) };
}

/** What must never start a second line, or confuse a terminal. */
const TRICKS = "a\r\nb\u2028c\u2029d\x85e\x1b[2Jf\u202eg\ud800h\0i";

Deno.test("lineLog writes an event as one line of text, without control characters", () => {
  const { lines, log } = lined();
  log.info(`started ${TRICKS}`);
  log.warn(TRICKS, { connection: "01ARZ3NDEKTSV4RRFFQ69G5FAV" });
  log.error("it broke");
  assertEquals(lines, [
    ["info", "started a b c d e [2Jf g h i"],
    ["warn", "a b c d e [2Jf g h i connection=01ARZ3NDEKTSV4RRFFQ69G5FAV"],
    ["error", "it broke"],
  ]);
});

Deno.test("lineLog writes JSON with time, level, message and fields", () => {
  const { lines, log } = lined({ format: "json", level: "info" });
  log.warn(TRICKS, { connection: "x", address: undefined });
  assertEquals(lines.length, 1);
  assertEquals(JSON.parse(lines[0]![1]), {
    time: "1970-01-01T00:16:40.000Z",
    level: "warn",
    message: "a b c d e [2Jf g h i",
    connection: "x",
  });
  assertEquals(lines[0]![1].split(/[\p{Cc}\p{Zl}\p{Zp}]/u).length, 1);
});

Deno.test("lineLog leaves out lines that are less urgent than its level", () => {
  const written = (level: Level) => {
    const { lines, log } = lined({ format: "text", level });
    log.info("fact");
    log.warn("warning");
    log.error("fault");
    return lines.map(([level]) => level);
  };
  assertEquals(written("info"), ["info", "warn", "error"]);
  assertEquals(written("warn"), ["warn", "error"]);
  assertEquals(written("error"), ["error"]);
});

Deno.test("quietLog shortens addresses to /24 and /48 unless it may show them", () => {
  const shown = (address: string, showsAddresses?: boolean) => {
    const { lines, log } = lined(undefined, showsAddresses);
    log.warn("refused", { address });
    return lines[0]![1];
  };
  assertEquals(shown("192.0.2.77"), "refused address=192.0.2.0/24");
  assertEquals(shown("2001:db8:1:2:0:0:0:0"), "refused address=2001:db8:1:0::/48");
  assertEquals(shown("2001:db8:1:2::/64"), "refused address=2001:db8:1:0::/48");
  assertEquals(shown("no address"), "refused address=unknown");
  assertEquals(shown("192.0.2.77", true), "refused address=192.0.2.77");
});

Deno.test("quietLog counts warnings of different connections and addresses as one cause", () => {
  const { lines, log } = lined();
  for (let i = 0; i < 9; i++) log.warn("refused", { connection: `c${i}`, address: `10.0.${i}.1` });
  assertEquals(lines.length, 1);
});

Deno.test("the log shows no password of a URL, and nothing that an error quotes from its input", () => {
  const { lines, log } = lined();
  log.error("Cannot open KV https://ann:secret@kv.example/x//y: no route");
  assertEquals(lines[0]![1], "Cannot open KV https://kv.example/x//y: no route");
  let error: unknown;
  try {
    JSON.parse("my secret words");
  } catch (caught) {
    error = caught;
  }
  assertEquals(messageOf(error), "SyntaxError");
  assertEquals(messageOf(new TypeError("it is not a function")), "it is not a function");
});
