/**
 * Puts the same loads on this server and on others, in turn, and writes a table and a chart.
 *
 *     deno task bench [--quick] [--rounds N] [--only PEER,…] [--load LOAD,…] [--out FOLDER]
 *
 * Rounds are interleaved, so that a slow minute of the machine hits all; ratios are within a round.
 */
import { parseArgs } from "@std/cli";
import { PROJECT } from "../support/test_server.ts";
import { chart, growthChart } from "./chart.ts";
import { hasEpoll } from "./epoll.ts";
import { type Job, type Refusal, type Result, Skip } from "./job.ts";
import { type Load, loads, type Shape } from "./loads.ts";
import { BASE, type Peer, PEERS, type Running, startSink } from "./peers.ts";
import * as report from "./report.ts";
import { targetTable } from "./targets.ts";
import { openFilesLimit } from "./usage.ts";
import type { WireName } from "./wire.ts";

const GENERATOR = new URL("generator.ts", import.meta.url).pathname;

/** What was asked for. */
interface Wanted {
  readonly quick: boolean;
  readonly rounds: number;
  readonly peers: readonly Peer[];
  readonly loads: readonly Load[];
  readonly out: string;
}

function readArgs(args: string[]): Wanted {
  const flags = parseArgs(args, {
    string: ["rounds", "only", "load", "out"],
    boolean: ["quick"],
    unknown: (arg: string) => fail(`There is no "${arg}" here.`),
  }) as Record<string, string | boolean | undefined>;
  const quick = flags.quick === true;
  const rounds = Number(flags.rounds ?? (quick ? 1 : 5));
  if (!Number.isInteger(rounds) || rounds < 1) fail("--rounds must be a whole number, at least 1.");
  const only = chosen(PEERS, flags.only, "peer");
  return {
    quick,
    rounds,
    // Without the one that ratios are against there are none.
    peers: PEERS.filter((peer) => only === undefined || only.includes(peer) || peer.name === BASE),
    loads: chosen(loads(quick), flags.load, "load") ?? loads(quick).filter(({ long }) => !long),
    out: typeof flags.out === "string" ? flags.out : new URL(".build/bench/", PROJECT).pathname,
  };
}

function chosen<T extends { name: string }>(
  all: readonly T[],
  names: string | boolean | undefined,
  kind: string,
): T[] | undefined {
  if (typeof names !== "string") return undefined;
  return names.split(",").map((name) =>
    all.find((one) => one.name === name) ??
      fail(`There is no ${kind} "${name}", but: ${all.map(({ name }) => name).join(", ")}.`)
  );
}

function fail(message: string): never {
  console.error(message);
  Deno.exit(2);
}

let runs = 0;

/** Runs the generator once. */
async function generate(server: Running, wire: WireName, shape: Shape): Promise<Result> {
  // Nobody meets a nickname or a room of another run.
  const run = `${(Date.now() % 1e6).toString(36)}${(runs++).toString(36)}`;
  const job: Job = { ...shape, port: server.port, pid: server.pid, wire, run };
  const { stdout, success } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", GENERATOR, JSON.stringify(job)],
    cwd: PROJECT,
    stdout: "piped",
    stderr: "inherit",
  }).output();
  if (!success) throw new Error("the generator failed");
  const outcome = JSON.parse(
    new TextDecoder().decode(stdout),
    (_, value) => value === null ? NaN : value,
  ) as Result | Refusal;
  if ("skipped" in outcome) throw new Skip(outcome.skipped);
  return outcome;
}

/** On a server just started; once more if it does not live through it. */
async function onFresh(peer: Peer, shape: Shape): Promise<Result> {
  for (let tries = 1; tries <= 2; tries++) {
    await using server = await peer.start();
    const result = await generate(server, peer.wire, shape);
    if (server.alive()) return result;
    console.error(`${peer.name} ended under the load.`);
  }
  throw new Skip("its process ended under the load, twice");
}

/** One peer, one load, once. */
async function measure(peer: Peer, load: Load): Promise<Result[]> {
  const results: Result[] = [];
  for (const shape of load.steps) {
    results.push(await onFresh(peer, shape));
  }
  return results;
}

async function measureAll(wanted: Wanted): Promise<report.Outcomes> {
  const outcomes = new report.Outcomes(wanted.loads, wanted.peers);
  for (const load of wanted.loads) {
    for (let round = 0; round < wanted.rounds; round++) {
      for (let i = 0; i < wanted.peers.length; i++) {
        // Whoever is first in one round is not in the next.
        const peer = wanted.peers[(i + round) % wanted.peers.length]!;
        const cell = outcomes.cell(load, peer.name);
        if (cell.skipped !== undefined) continue;
        try {
          const results = await measure(peer, load);
          cell.rounds.push(results);
          const main = report.shown(load.main.read(results));
          console.error(
            `${load.name} ${round + 1}/${wanted.rounds} ${peer.name}: ${main} ${load.main.name}`,
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

/** How many deliveries the generator can take: one a read, and many. */
async function ceiling(seconds: number): Promise<string> {
  const parts: string[] = [];
  for (const each of [1, 64]) {
    await using sink = await startSink(each);
    const shape: Shape = {
      ...{ clients: 200, rooms: 1, senders: 0, size: 32, backlog: 64, seconds },
      load: { kind: "closed", window: 1 },
    };
    const { delivered, seconds: took, busy } = await generate(sink, "plain", shape);
    const [rate, whole] = [delivered / took, delivered / took / busy].map(report.shown);
    const part = Math.round(busy * 100);
    parts.push(
      `${rate} deliveries/s at ${each} a write with ${part} % of a core (${whole} a whole core)`,
    );
  }
  return parts.join(", ");
}

async function main(): Promise<void> {
  const wanted = readArgs(Deno.args);
  const started = performance.now();
  const limit = `ulimit -n is ${openFilesLimit()}: loads of more connections are skipped.`;
  console.error(limit);
  const own = await ceiling(wanted.quick ? 1 : 3);
  const outcomes = await measureAll(wanted);
  const minutes = ((performance.now() - started) / 60_000).toFixed(0);
  const how = `${wanted.rounds} interleaved ${wanted.rounds === 1 ? "round" : "rounds"}` +
    `${wanted.quick ? ", short" : ""}, ${minutes} minutes. Servers and generator share the cores.`;
  const sockets = hasEpoll() ? "epoll" : "Deno.connect (slower than epoll on Linux)";
  const table = [
    "# Parley beside others",
    `Measured on ${await report.machine()}. ${how} ${limit}`,
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
  await Deno.mkdir(wanted.out, { recursive: true });
  await Deno.writeTextFile(`${wanted.out}/table.md`, table);
  await Deno.writeTextFile(`${wanted.out}/chart.svg`, chart(outcomes));
  const growth = growthChart(outcomes);
  if (growth !== undefined) await Deno.writeTextFile(`${wanted.out}/growth.svg`, growth);
  console.log(table);
}

await main();
