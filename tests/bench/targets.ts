/**
 * Targets: the values that measured numbers should reach.
 *
 * A target is compared only with results of the same run. If its load or peer was not run, the table
 * says so.
 */
import type { Result } from "./job.ts";
import type { Load } from "./loads.ts";
import { formatNumber, type Outcomes } from "./report.ts";

/** A number with a lower or an upper bound. */
interface Target {
  readonly what: string;
  readonly load: string;
  readonly measure: (outcomes: Outcomes, load: Load) => number;
  readonly min?: number;
  readonly max?: number;
}

const ratio = (a: string, b: string) => (outcomes: Outcomes, load: Load) =>
  outcomes.ratio(load, a, b);

const value = (peer: string, read: (result: Result) => number) => (all: Outcomes, load: Load) =>
  all.value(load, peer, (results) => read(results[0]!));

const main = (peer: string) => (outcomes: Outcomes, load: Load) =>
  outcomes.value(load, peer, load.main.read);

const FAN_OUT = ["busy32", "busy32x64", "room1000x1", "room1000x20", "rooms10x1", "rooms10x10"];
const MANY_OUTSTANDING = ["busy32x64", "room1000x20"];

const TARGETS: readonly Target[] = [
  ...FAN_OUT.flatMap((load): Target[] => [
    { what: "text / bare", load, measure: ratio("text", "bare"), min: 0.95 },
    { what: "text / ws", load, measure: ratio("text", "ws"), min: 1 },
    { what: "text / socket.io", load, measure: ratio("text", "socket.io"), min: 1 },
  ]),
  ...MANY_OUTSTANDING.map((load): Target => (
    { what: "chat.v1 / bun", load, measure: ratio("chat.v1", "bun"), min: 1 }
  )),
  // The most that the platform allows: the same loop with storage, or with lines of JSON.
  ...FAN_OUT.map((load): Target => (
    { what: "text / durable", load, measure: ratio("text", "durable"), min: 0.95 }
  )),
  ...MANY_OUTSTANDING.map((load): Target => (
    { what: "chat.v1 / batched", load, measure: ratio("chat.v1", "batched"), min: 0.95 }
  )),
  { what: "text / bare", load: "storm5k", measure: ratio("text", "bare"), min: 0.95 },
  ...["room1000x1", "room1000x20"].map((load): Target => (
    { what: "chat.v1 / inspircd", load, measure: ratio("chat.v1", "inspircd"), min: 3 }
  )),
  ...["text", "chat.v1"].flatMap((peer): Target[] => [
    { what: `${peer}: p50 ms`, load: "one-talking", measure: value(peer, (r) => r.p50Ms), max: 1 },
    { what: `${peer}: p99 ms`, load: "one-talking", measure: value(peer, (r) => r.p99Ms), max: 5 },
    { what: `${peer}: RSS MB`, load: "idle10k", measure: value(peer, (r) => r.rssMb), max: 350 },
    {
      what: `${peer}: in rooms`,
      load: "idle10k",
      measure: value(peer, (r) => r.ready),
      min: 1e4,
    },
    { what: `${peer}: arrivals/s`, load: "storm5k", measure: main(peer), min: 3000 },
    { what: `${peer}: p50 ms`, load: "ls1000", measure: main(peer), max: 5 },
    { what: `${peer}: CPU, on doubling`, load: "growth", measure: main(peer), max: 2.1 },
    {
      what: `${peer}: CPU, 1,000 / 10 silent rooms`,
      load: "growth",
      measure: (all, load) => {
        const [few, , many] = load.details.slice(-3).map(({ read }) => all.value(load, peer, read));
        return many! / few!;
      },
      max: 1.1,
    },
    {
      what: `${peer}: RSS after minute two, %`,
      load: "soak",
      measure: (all, load) => all.value(load, peer, load.details.at(-1)!.read),
      max: 5,
    },
  ]),
];

/** Returns a table of the targets whose loads were run, and whether they were met. */
export function targetTable(outcomes: Outcomes): string {
  const lines: string[] = [];
  for (const { what, load: name, measure, min: least, max: most } of TARGETS) {
    const load = outcomes.loads.find((load) => load.name === name);
    if (load === undefined) continue;
    const measured = measure(outcomes, load);
    const met = measured >= (least ?? -Infinity) && measured <= (most ?? Infinity);
    const verdict = Number.isFinite(measured) ? (met ? "met" : "**missed**") : "not measured";
    const target = least === undefined
      ? `at most ${formatNumber(most!)}`
      : `at least ${formatNumber(least)}`;
    lines.push(`| ${name} | ${what} | ${target} | ${formatNumber(measured)} | ${verdict} |`);
  }
  return ["| load | what | target | measured | |", "| --- | --- | --- | --- | --- |", ...lines]
    .join("\n");
}
