/**
 * The loads: what is put on each server, and what is read off.
 *
 * A load is one job or several (steps), each on a server that was just started, and one number that
 * the table shows. Which server, and how often, is the runner's.
 */
import type { Job, Result } from "./job.ts";

/** A job without what only the run knows. */
export type Shape = Omit<Job, "port" | "pid" | "wire" | "run">;

/** A number read off results. */
export interface Reading {
  /** With its unit, for the head of a column. */
  readonly name: string;
  /** The results of all steps, in their order. */
  read(results: readonly Result[]): number;
}

/** Something that is put on each server. */
export interface Load {
  readonly name: string;
  readonly what: string;
  readonly steps: readonly Shape[];
  /** What the ratio is made of. */
  readonly main: Reading & { readonly better: "more" | "less" };
  readonly further: readonly Reading[];
  /** Only done when asked for by name. */
  readonly long?: true;
}

const first = (name: string, of: (result: Result) => number): Reading => ({
  name,
  read: (results) => of(results[0]!),
});

const deliveries = {
  ...first("deliveries/s", (r) => r.delivered / r.seconds),
  better: "more" as const,
};
const p50 = { ...first("p50 ms", (r) => r.p50), better: "less" as const };
const p99 = first("p99 ms", (r) => r.p99);
const lost = first("lost", (r) => r.lost);
const rss = { ...first("RSS MB", (r) => r.rss), better: "less" as const };
const cpuEach = first("CPU µs/delivery", (r) => r.serverCpu * 1e6 / r.delivered);
const cpuPerMessage = (result: Result) => result.serverCpu * 1e6 / result.sent;

/** The load that shows how the cost of a message grows: with the people, with silent rooms beside. */
export const GROWING = "growth";
export const PEOPLE = [100, 200, 400, 800] as const;
export const SILENT = [10, 100, 1000] as const;

const CROWD = { size: 32, backlog: 256, rooms: 1 };

function closed(
  name: string,
  what: string,
  clients: number,
  rooms: number,
  senders: number,
  window: number,
  seconds: number,
): Load {
  const load = { kind: "closed" as const, window };
  return {
    name,
    what,
    steps: [{ ...CROWD, clients, rooms, senders, seconds, load }],
    main: deliveries,
    further: [first("p50 ms", (r) => r.p50), p99, cpuEach, lost],
  };
}

function day(name: string, what: string, seconds: number): Load {
  const load = { kind: "day" as const, rate: 500 };
  return {
    name,
    what,
    steps: [{ ...CROWD, clients: 200, rooms: 20, senders: 0, seconds, load }],
    main: { ...cpuEach, better: "less" },
    further: [first("p50 ms", (r) => r.p50), p99, first("RSS MB", (r) => r.rss), lost],
  };
}

/** Memory at the end against minute two, in percent. */
function memoryGrowth({ rssOverTime, rss }: Result): number {
  const then = rssOverTime[12];
  return then === undefined ? NaN : (rss / then - 1) * 100;
}

/** One of ten in a lively room talks; `silent` further rooms have two people each. */
const beside = (silent: number, seconds: number): Shape => ({
  ...CROWD,
  clients: 10 + 2 * silent,
  rooms: 1 + silent,
  lively: 10,
  senders: 1,
  seconds,
  load: { kind: "closed", window: 1 },
});

/** All loads. `quick`: short ones, to see whether everything works and about how. */
export function loads(quick: boolean): readonly Load[] {
  const seconds = quick ? 2 : 5;
  const soak = day("soak", "the same for ten minutes", 600);
  return [
    closed("busy32", "one room of 32, all talk", 32, 1, 32, 1, seconds),
    closed("busy32x64", "one room of 32, 8 talk, 64 outstanding", 32, 1, 8, 64, seconds),
    closed("room1000x1", "one room of 1,000, 10 talk, 1 outstanding", 1000, 1, 10, 1, seconds),
    closed("room1000x20", "one room of 1,000, 10 talk, 20 outstanding", 1000, 1, 10, 20, seconds),
    closed("rooms10x1", "100 rooms of 10, one talks, 1 outstanding", 1000, 100, 100, 1, seconds),
    closed("rooms10x10", "100 rooms of 10, one talks, 10 outstanding", 1000, 100, 100, 10, seconds),
    {
      name: "one-talking",
      what: "20 people, one says 20 things a second",
      steps: [{
        ...CROWD,
        clients: 20,
        senders: 1,
        seconds: quick ? 4 : 15,
        load: { kind: "open", rate: 20 },
      }],
      main: p50,
      further: [p99, first("max ms", (r) => r.max), lost],
    },
    {
      name: "idle10k",
      what: "10,000 in 1,000 rooms, one room lively",
      steps: [{
        ...CROWD,
        clients: 10_000,
        rooms: 1000,
        lively: 10,
        senders: 1,
        seconds,
        load: { kind: "closed", window: 1 },
      }],
      main: rss,
      further: [first("in rooms", (r) => r.ready), deliveries, p99, lost],
    },
    {
      name: "storm5k",
      what: "5,000 connect, log in and join rooms of ten",
      steps: [{
        ...CROWD,
        clients: 5000,
        rooms: 500,
        senders: 0,
        seconds: 0,
        load: { kind: "closed", window: 1 },
      }],
      main: { ...first("arrivals/s", (r) => r.ready / r.setup), better: "more" },
      further: [first("in rooms", (r) => r.ready)],
    },
    day("day5m", "200 people in 20 rooms talk, move, leave: 500 a second", quick ? 20 : 300),
    {
      name: GROWING,
      what: "CPU per message in a room of 100 to 800, and beside 10 to 1,000 silent rooms",
      steps: [
        ...PEOPLE.map((clients): Shape => ({
          ...CROWD,
          clients,
          senders: 5,
          seconds,
          load: { kind: "closed", window: 1 },
        })),
        ...SILENT.map((rooms) => beside(rooms, seconds)),
      ],
      main: {
        name: "most, on doubling",
        better: "less",
        read: (all) =>
          Math.max(...[1, 2, 3].map((i) => cpuPerMessage(all[i]!) / cpuPerMessage(all[i - 1]!))),
      },
      further: [
        ...PEOPLE.map((people, i): Reading => ({
          name: `µs at ${people}`,
          read: (all) => cpuPerMessage(all[i]!),
        })),
        ...SILENT.map((rooms, i): Reading => ({
          name: `µs beside ${rooms} silent rooms`,
          read: (all) => cpuPerMessage(all[PEOPLE.length + i]!),
        })),
      ],
    },
    {
      name: "ls1000",
      what: "one asks who is there, in a room of 1,000",
      steps: [{ ...CROWD, clients: 1000, senders: 0, seconds, load: { kind: "list" } }],
      main: p50,
      further: [p99, first("max ms", (r) => r.max)],
    },
    {
      ...soak,
      main: { ...soak.main },
      further: [...soak.further, first("RSS after minute two, %", memoryGrowth)],
      long: true,
    },
  ];
}
