/**
 * What the numbers should be, beside what they are.
 *
 * A target is judged only by what the same run measured; one whose load or peer was not run says so.
 */
import type { Result } from "./job.ts";
import type { Load } from "./loads.ts";
import { type Outcomes, shown } from "./report.ts";

/** A number that should be at least, or at most, so much. */
interface Target {
  readonly what: string;
  readonly load: string;
  readonly measure: (outcomes: Outcomes, load: Load) => number;
  readonly least?: number;
  readonly most?: number;
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
    { what: "text / bare", load, measure: ratio("text", "bare"), least: 0.95 },
    { what: "text / ws", load, measure: ratio("text", "ws"), least: 1 },
    { what: "text / socket.io", load, measure: ratio("text", "socket.io"), least: 1 },
  ]),
  ...MANY_OUTSTANDING.map((load): Target => (
    { what: "chat.v1 / bun", load, measure: ratio("chat.v1", "bun"), least: 1 }
  )),
  // What the platform leaves to us, where the others are beyond it.
  ...FAN_OUT.map((load): Target => (
    { what: "text / durable", load, measure: ratio("text", "durable"), least: 0.95 }
  )),
  ...MANY_OUTSTANDING.map((load): Target => (
    { what: "chat.v1 / batched", load, measure: ratio("chat.v1", "batched"), least: 0.95 }
  )),
  { what: "text / bare", load: "storm5k", measure: ratio("text", "bare"), least: 0.95 },
  ...["room1000x1", "room1000x20"].map((load): Target => (
    { what: "chat.v1 / inspircd", load, measure: ratio("chat.v1", "inspircd"), least: 3 }
  )),
  ...["text", "chat.v1"].flatMap((peer): Target[] => [
    { what: `${peer}: p50 ms`, load: "one-talking", measure: value(peer, (r) => r.p50), most: 1 },
    { what: `${peer}: p99 ms`, load: "one-talking", measure: value(peer, (r) => r.p99), most: 5 },
    { what: `${peer}: RSS MB`, load: "idle10k", measure: value(peer, (r) => r.rss), most: 350 },
    {
      what: `${peer}: in rooms`,
      load: "idle10k",
      measure: value(peer, (r) => r.ready),
      least: 1e4,
    },
    { what: `${peer}: arrivals/s`, load: "storm5k", measure: main(peer), least: 3000 },
    { what: `${peer}: p50 ms`, load: "ls1000", measure: main(peer), most: 5 },
    { what: `${peer}: CPU, on doubling`, load: "growth", measure: main(peer), most: 2.1 },
    {
      what: `${peer}: CPU, 1,000 / 10 silent rooms`,
      load: "growth",
      measure: (all, load) => {
        const [few, , many] = load.further.slice(-3).map(({ read }) => all.value(load, peer, read));
        return many! / few!;
      },
      most: 1.1,
    },
    {
      what: `${peer}: RSS after minute two, %`,
      load: "soak",
      measure: (all, load) => all.value(load, peer, load.further.at(-1)!.read),
      most: 5,
    },
  ]),
];

/** The targets whose loads were run, and whether they were met. */
export function targetTable(outcomes: Outcomes): string {
  const lines: string[] = [];
  for (const { what, load: name, measure, least, most } of TARGETS) {
    const load = outcomes.loads.find((load) => load.name === name);
    if (load === undefined) continue;
    const measured = measure(outcomes, load);
    const met = measured >= (least ?? -Infinity) && measured <= (most ?? Infinity);
    const verdict = Number.isFinite(measured) ? (met ? "met" : "**missed**") : "not measured";
    const target = least === undefined ? `at most ${shown(most!)}` : `at least ${shown(least)}`;
    lines.push(`| ${name} | ${what} | ${target} | ${shown(measured)} | ${verdict} |`);
  }
  return ["| load | what | target | measured | |", "| --- | --- | --- | --- | --- |", ...lines]
    .join("\n");
}
