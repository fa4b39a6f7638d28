/**
 * Runs the same loads on this server and on others, in turn, and writes a table and charts.
 *
 *     deno task bench [--quick] [--rounds N] [--only PEER,…] [--load LOAD,…] [--out FOLDER]
 *
 * Rounds are interleaved, so that a slow minute of the machine affects every server. A ratio is always
 * between two results of the same round.
 */
import { parseArgs } from "@std/cli";
import { PROJECT } from "../support/processes.ts";
import { growthChart, ratioChart } from "./chart.ts";
import { hasEpoll } from "./epoll.ts";
import { type Job, type Result, Skip, type SkippedJob } from "./job.ts";
import { type JobShape, type Load, loads } from "./loads.ts";
import { BASE, type Peer, PEERS, type RunningServer, startSink } from "./peers.ts";
import * as report from "./report.ts";
import { targetTable } from "./targets.ts";
import { openFilesLimit } from "./usage.ts";
import type { WireName } from "./wire.ts";

const GENERATOR = new URL("generator.ts", import.meta.url).pathname;

/** The command-line options. */
interface BenchOptions {
  readonly quick: boolean;
  readonly rounds: number;
  readonly peers: readonly Peer[];
  readonly loads: readonly Load[];
  readonly out: string;
}

function readArgs(args: string[]): BenchOptions {
  const flags = parseArgs(args, {
    string: ["rounds", "only", "load", "out"],
    boolean: ["quick"],
    unknown: (arg: string) => exitWithUsageError(`Unknown option "${arg}".`),
  }) as Record<string, string | boolean | undefined>;
  const quick = flags.quick === true;
  const rounds = Number(flags.rounds ?? (quick ? 1 : 5));
  if (!Number.isInteger(rounds) || rounds < 1) {
    exitWithUsageError("Invalid --rounds: it must be a positive integer.");
  }
  const only = select(PEERS, flags.only, "peer");
  return {
    quick,
    rounds,
    // The base peer always runs: every ratio is against it.
    peers: PEERS.filter((peer) => only === undefined || only.includes(peer) || peer.name === BASE),
    loads: select(loads(quick), flags.load, "load") ??
      loads(quick).filter(({ onlyByName: long }) => !long),
    out: typeof flags.out === "string" ? flags.out : new URL(".build/bench/", PROJECT).pathname,
  };
}

function select<T extends { name: string }>(
  all: readonly T[],
  names: string | boolean | undefined,
  kind: string,
): T[] | undefined {
  if (typeof names !== "string") return undefined;
  return names.split(",").map((name) =>
    all.find((one) => one.name === name) ??
      exitWithUsageError(
        `Unknown ${kind} "${name}". Use one of: ${all.map(({ name }) => name).join(", ")}.`,
      )
  );
}

function exitWithUsageError(message: string): never {
  console.error(message);
  Deno.exit(2);
}

let runs = 0;

/** Runs the load generator once, as a process. Throws a `Skip` if it cannot do the job. */
async function generate(server: RunningServer, wire: WireName, shape: JobShape): Promise<Result> {
  // No two runs share a nickname or a room.
  const run = `${(Date.now() % 1e6).toString(36)}${(runs++).toString(36)}`;
  const job: Job = { ...shape, port: server.port, pid: server.pid, wire, run };
  const { stdout, success } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", GENERATOR, JSON.stringify(job)],
    cwd: PROJECT,
    stdout: "piped",
    stderr: "inherit",
  }).output();
  if (!success) throw new Error("The load generator failed");
  const outcome = JSON.parse(
    new TextDecoder().decode(stdout),
    (_, value) => value === null ? NaN : value,
  ) as Result | SkippedJob;
  if ("skipped" in outcome) throw new Skip(outcome.skipped);
  return outcome;
}

/** Runs a job on a new server. Runs it once more if the server process ends under the load. */
async function runOnNewServer(peer: Peer, shape: JobShape): Promise<Result> {
  for (let tries = 1; tries <= 2; tries++) {
    await using server = await peer.start();
    const result = await generate(server, peer.wire, shape);
    if (server.isAlive()) return result;
    console.error(`${peer.name}: the server process ended under the load.`);
  }
  throw new Skip("its process ended under the load, twice");
}

/** Runs all steps of a load on one peer, once. */
async function runLoad(peer: Peer, load: Load): Promise<Result[]> {
  const results: Result[] = [];
  for (const shape of load.steps) {
    results.push(await runOnNewServer(peer, shape));
  }
  return results;
}

async function measureAll(options: BenchOptions): Promise<report.Outcomes> {
  const outcomes = new report.Outcomes(options.loads, options.peers);
  for (const load of options.loads) {
    for (let round = 0; round < options.rounds; round++) {
      for (let i = 0; i < options.peers.length; i++) {
        // Each round begins with another peer.
        const peer = options.peers[(i + round) % options.peers.length]!;
        const cell = outcomes.cell(load, peer.name);
        if (cell.skipped !== undefined) continue;
        try {
          const results = await runLoad(peer, load);
          cell.rounds.push(results);
          const main = report.formatNumber(load.main.read(results));
          console.error(
            `${load.name} ${round + 1}/${options.rounds} ${peer.name}: ${main} ${load.main.name}`,
          );
        } catch (error) {
          if (!(error instanceof Skip)) throw error;
          cell.skipped = error.message;
          cell.rounds.length = 0;
          console.error(`${load.name} ${peer.name}: skipped, ${error.message}`);
        }
      }
    }
  }
  return outcomes;
}

/** Measures how many deliveries the generator can receive: with 1 and with 64 per write. */
async function measureCeiling(seconds: number): Promise<string> {
  const parts: string[] = [];
  for (const each of [1, 64]) {
    await using sink = await startSink(each);
    const shape: JobShape = {
      clients: 200,
      rooms: 1,
      senders: 0,
      messageBytes: 32,
      maxConnecting: 64,
      seconds,
      load: { kind: "closed", window: 1 },
    };
    const { delivered, seconds: took, generatorBusy: busy } = await generate(sink, "plain", shape);
    const [rate, whole] = [delivered / took, delivered / took / busy].map(report.formatNumber);
    const part = Math.round(busy * 100);
    parts.push(
      `${rate} deliveries/s at ${each} a write with ${part} % of a core (${whole} a whole core)`,
    );
  }
  return parts.join(", ");
}

async function main(): Promise<void> {
  const options = readArgs(Deno.args);
  const started = performance.now();
  const limit = `ulimit -n is ${openFilesLimit()}: loads of more connections are skipped.`;
  console.error(limit);
  const own = await measureCeiling(options.quick ? 1 : 3);
  const outcomes = await measureAll(options);
  const minutes = ((performance.now() - started) / 60_000).toFixed(0);
  const how = `${options.rounds} interleaved ${options.rounds === 1 ? "round" : "rounds"}` +
    `${options.quick ? ", short" : ""}, ${minutes} minutes. Servers and generator share the cores.`;
  const sockets = hasEpoll() ? "epoll" : "Deno.connect (slower than epoll on Linux)";
  const table = [
    "# Parley beside others",
    `Measured on ${await report.describeMachine()}. ${how} ${limit}`,
    `Ratios to \`${BASE}\`, medians of rounds: above 1 is better than it.`,
    report.ratioTable(outcomes),
    report.peerList(outcomes.peers),
    report.skippedList(outcomes),
    `The generator, over ${sockets}, takes ${own}. Where it was busy for more than 90 % of a core, ` +
    "it may be what limited the run.",
    "## Targets",
    targetTable(outcomes),
    "## Numbers",
    report.numberTables(outcomes),
    "",
  ].join("\n\n");
  await Deno.mkdir(options.out, { recursive: true });
  await Deno.writeTextFile(`${options.out}/table.md`, table);
  await Deno.writeTextFile(`${options.out}/chart.svg`, ratioChart(outcomes));
  const growth = growthChart(outcomes);
  if (growth !== undefined) await Deno.writeTextFile(`${options.out}/growth.svg`, growth);
  console.log(table);
}

await main();
