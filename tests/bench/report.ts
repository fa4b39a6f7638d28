/**
 * What came out, as Markdown: ratios, numbers, targets, and the machine.
 *
 * Every number is measured, or a median of measured ones; nothing is left out without its reason.
 */
import type { Result } from "./job.ts";
import type { Load } from "./loads.ts";
import { BASE, PACKAGES, type Peer } from "./peers.ts";

/** The results of one peer under one load: each round's steps, or why there are none. */
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

  /** Median over the rounds in which `a` and `b` both ran of a's ratio to b; above 1, a is better. */
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

/** The middle of some numbers; those that could not be measured do not count. */
export function median(numbers: readonly number[]): number {
  const sorted = numbers.filter(Number.isFinite).sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return sorted.length % 2 === 1
    ? sorted[Math.floor(middle)]!
    : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** A number as a person reads it. */
export function shown(value: number): string {
  if (!Number.isFinite(value)) return "–";
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString("en");
  return Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(2);
}

const row = (...cells: string[]) => `| ${cells.join(" | ")} |`;
const head = (...cells: string[]) => `${row(...cells)}\n${row(...cells.map(() => "---"))}`;

/** The ratios: a line a load, a column a peer. */
export function ratioTable(outcomes: Outcomes): string {
  const { loads, peers } = outcomes;
  const lines = loads.map((load) =>
    row(
      `${load.name}: ${load.what}`,
      ...peers.map(({ name }) => {
        if (outcomes.cell(load, name).skipped !== undefined) return "skipped";
        return shown(outcomes.ratio(load, name, BASE));
      }),
    )
  );
  return [head("load", ...peers.map(({ name }) => name)), ...lines].join("\n");
}

/** The numbers behind the ratios: a table a load. */
export function numberTables(outcomes: Outcomes): string {
  return outcomes.loads.map((load) => {
    const readings = [load.main, ...load.further];
    const lines = outcomes.peers.filter(({ name }) => outcomes.cell(load, name).rounds.length > 0)
      .map(({ name }) => {
        const read = readings.map((reading) => shown(outcomes.value(load, name, reading.read)));
        const busy = outcomes.value(load, name, (all) => Math.max(...all.map((r) => r.busy)));
        const dead = outcomes.cell(load, name).rounds.flat().reduce((sum, r) => sum + r.dead, 0);
        const part = load.steps[0]!.seconds === 0 ? "–" : `${Math.round(busy * 100)} %`;
        return row(name, ...read, part, String(dead));
      });
    const names = readings.map(({ name }) => name);
    const table = head(load.name, ...names, "generator busy", "hung up on");
    return [table, ...lines].join("\n");
  }).join("\n\n");
}

/** Whoever was not measured, and why. */
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

/** What the peers are. */
export function peerList(peers: readonly Peer[]): string {
  return peers.map(({ name, what }) => `- \`${name}\`: ${what}`).join("\n");
}

/** Where this was measured. */
export async function machine(): Promise<string> {
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
