/**
 * The results as Markdown: ratios, numbers, and the machine.
 *
 * Every number is measured, or is a median of measured numbers. If a result is missing, the report
 * gives the reason.
 */
import type { Result } from "./job.ts";
import type { Load } from "./loads.ts";
import { BASE, PACKAGES, type Peer } from "./peers.ts";

/** The results of one peer under one load: the steps of each round, or why there are none. */
export interface Cell {
  readonly rounds: (readonly Result[])[];
  skipped?: string;
}

/** All results, by load and peer. */
export class Outcomes {
  readonly #cells = new Map<string, Cell>();

  constructor(readonly loads: readonly Load[], readonly peers: readonly Peer[]) {}

  cell(load: Load, peer: string): Cell {
    const key = `${load.name} ${peer}`;
    let cell = this.#cells.get(key);
    if (cell === undefined) this.#cells.set(key, cell = { rounds: [] });
    return cell;
  }

  /** Returns the median ratio of `a` to `b` over the rounds of both. Above 1, `a` is better. */
  ratio(load: Load, a: string, b: string): number {
    const { read, better } = load.main;
    const others = this.cell(load, b).rounds;
    return median(
      this.cell(load, a).rounds.flatMap((mine, round) => {
        const theirs = others[round];
        if (theirs === undefined) return [];
        return [better === "more" ? read(mine) / read(theirs) : read(theirs) / read(mine)];
      }),
    );
  }

  value(load: Load, peer: string, read: (results: readonly Result[]) => number): number {
    return median(this.cell(load, peer).rounds.map(read));
  }
}

/** Returns the median of the finite numbers; NaN if there is none. */
export function median(numbers: readonly number[]): number {
  const sorted = numbers.filter(Number.isFinite).sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return sorted.length % 2 === 1
    ? sorted[Math.floor(middle)]!
    : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Returns a number with the digits that a reader needs; a dash if it is not finite. */
export function formatNumber(value: number): string {
  if (!Number.isFinite(value)) return "–";
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString("en");
  return Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(2);
}

const tableRow = (...cells: string[]) => `| ${cells.join(" | ")} |`;
const tableHead = (...cells: string[]) =>
  `${tableRow(...cells)}\n${tableRow(...cells.map(() => "---"))}`;

/** Returns the table of ratios: a line for each load, a column for each peer. */
export function ratioTable(outcomes: Outcomes): string {
  const { loads, peers } = outcomes;
  const lines = loads.map((load) =>
    tableRow(
      `${load.name}: ${load.what}`,
      ...peers.map(({ name }) => {
        if (outcomes.cell(load, name).skipped !== undefined) return "skipped";
        return formatNumber(outcomes.ratio(load, name, BASE));
      }),
    )
  );
  return [tableHead("load", ...peers.map(({ name }) => name)), ...lines].join("\n");
}

/** Returns the numbers behind the ratios: a table for each load. */
export function numberTables(outcomes: Outcomes): string {
  return outcomes.loads.map((load) => {
    const readings = [load.main, ...load.details];
    const lines = outcomes.peers.filter(({ name }) => outcomes.cell(load, name).rounds.length > 0)
      .map(({ name }) => {
        const read = readings.map((reading) =>
          formatNumber(outcomes.value(load, name, reading.read))
        );
        const busy = outcomes.value(
          load,
          name,
          (all) => Math.max(...all.map((r) => r.generatorBusy)),
        );
        const dead = outcomes.cell(load, name).rounds.flat().reduce(
          (sum, r) => sum + r.lostConnections,
          0,
        );
        const part = load.steps[0]!.seconds === 0 ? "–" : `${Math.round(busy * 100)} %`;
        return tableRow(name, ...read, part, String(dead));
      });
    const names = readings.map(({ name }) => name);
    const table = tableHead(load.name, ...names, "generator busy", "lost connections");
    return [table, ...lines].join("\n");
  }).join("\n\n");
}

/** Returns the list of peers that were skipped, and why. */
export function skippedList(outcomes: Outcomes): string {
  const reasons = new Map<string, string[]>();
  for (const load of outcomes.loads) {
    for (const { name } of outcomes.peers) {
      const why = outcomes.cell(load, name).skipped;
      if (why === undefined) continue;
      const key = `${name}: ${why}`;
      reasons.set(key, [...reasons.get(key) ?? [], load.name]);
    }
  }
  if (reasons.size === 0) return "Skipped: nothing.";
  const lines = [...reasons].map(([why, at]) =>
    `- ${why}${at.length === outcomes.loads.length ? "" : ` (${at.join(", ")})`}`
  );
  return ["Skipped:", "", ...lines].join("\n");
}

/** Returns the list of peers, with their descriptions. */
export function peerList(peers: readonly Peer[]): string {
  return peers.map(({ name, what }) => `- \`${name}\`: ${what}`).join("\n");
}

/** Returns a description of the machine and of the versions. */
export async function describeMachine(): Promise<string> {
  const cpu = /model name\s*:\s*(.+)/.exec(await textOf("/proc/cpuinfo"))?.[1] ?? Deno.build.arch;
  const memory = (Deno.systemMemoryInfo().total / 1e9).toFixed(0);
  return [
    `${cpu}, ${navigator.hardwareConcurrency} cores`,
    `${memory} GB`,
    `${Deno.build.os} ${Deno.osRelease()}`,
    `Deno ${Deno.version.deno} (V8 ${Deno.version.v8})`,
    ...(await nodeVersion()),
    Object.entries(PACKAGES).map(([name, version]) => `${name} ${version}`).join(", "),
    new Date().toISOString().slice(0, 10),
  ].join("; ");
}

async function nodeVersion(): Promise<string[]> {
  try {
    const { stdout } = await new Deno.Command("node", { args: ["--version"] }).output();
    return [`Node ${new TextDecoder().decode(stdout).trim()}`];
  } catch {
    return [];
  }
}

async function textOf(path: string): Promise<string> {
  return await Deno.readTextFile(path).catch(() => "");
}
