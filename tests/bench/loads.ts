/**
 * The loads that are run on each server, and the numbers that are read from their results.
 *
 * A load is one job or several (steps), each on a new server, and one main number. The runner decides
 * on which servers and how often a load runs.
 */
import type { Job, Result } from "./job.ts";

/** A job without the values that belong to one run. */
export type JobShape = Omit<Job, "port" | "pid" | "wire" | "run">;

/** A number that is read from results. */
export interface Reading {
  /** The title of the column, with the unit. */
  readonly name: string;
  /** Gets the results of all steps, in their order. */
  read(results: readonly Result[]): number;
}

/** A load. */
export interface Load {
  readonly name: string;
  readonly what: string;
  readonly steps: readonly JobShape[];
  /** The number from which ratios are calculated. */
  readonly main: Reading & { readonly better: "more" | "less" };
  readonly details: readonly Reading[];
  /** The load runs only if `--load` names it. */
  readonly onlyByName?: true;
}

const first = (name: string, of: (result: Result) => number): Reading => ({
  name,
  read: (results) => of(results[0]!),
});

const deliveries = {
  ...first("deliveries/s", (r) => r.delivered / r.seconds),
  better: "more" as const,
};
const p50 = { ...first("p50 ms", (r) => r.p50Ms), better: "less" as const };
const p99 = first("p99 ms", (r) => r.p99Ms);
const lost = first("lost", (r) => r.lost);
const rss = { ...first("RSS MB", (r) => r.rssMb), better: "less" as const };
const cpuPerDelivery = first("CPU µs/delivery", (r) => r.serverCpuSeconds * 1e6 / r.delivered);
const cpuPerMessage = (result: Result) => result.serverCpuSeconds * 1e6 / result.sent;

/** The load that shows how the cost of a message grows with its room, and with silent rooms. */
export const GROWTH = "growth";
export const ROOM_SIZES = [100, 200, 400, 800] as const;
export const SILENT_ROOMS = [10, 100, 1000] as const;

const DEFAULTS = { messageBytes: 32, maxConnecting: 256, rooms: 1 };

function closedLoad(
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
    steps: [{ ...DEFAULTS, clients, rooms, senders, seconds, load }],
    main: deliveries,
    details: [first("p50 ms", (r) => r.p50Ms), p99, cpuPerDelivery, lost],
  };
}

function dayLoad(name: string, what: string, seconds: number): Load {
  const load = { kind: "day" as const, rate: 500 };
  return {
    name,
    what,
    steps: [{ ...DEFAULTS, clients: 200, rooms: 20, senders: 0, seconds, load }],
    main: { ...cpuPerDelivery, better: "less" },
    details: [first("p50 ms", (r) => r.p50Ms), p99, first("RSS MB", (r) => r.rssMb), lost],
  };
}

/** Returns by how many percent memory at the end is above that of minute two. */
function memoryGrowth({ rssMbOverTime: rssOverTime, rssMb: rss }: Result): number {
  const then = rssOverTime[12];
  return then === undefined ? NaN : (rss / then - 1) * 100;
}

/** One of ten clients of a room sends messages. `silent` other rooms have two clients each. */
const besideSilentRooms = (silent: number, seconds: number): JobShape => ({
  ...DEFAULTS,
  clients: 10 + 2 * silent,
  rooms: 1 + silent,
  busyRoomClients: 10,
  senders: 1,
  seconds,
  load: { kind: "closed", window: 1 },
});

/** 32 clients, of which 8 send: all of them in one room, or in the same hundred rooms. */
function hundredRooms(seconds: number): Load {
  const shape = (rooms: number): JobShape => ({
    ...DEFAULTS,
    clients: 32,
    rooms,
    inAllRooms: true,
    senders: 8,
    seconds,
    load: { kind: "closed", window: 10 },
  });
  const rate = (result: Result) => result.delivered / result.seconds;
  const readings = (rooms: string, step: number): Reading[] => [
    { name: `deliveries/s in ${rooms}`, read: (all) => rate(all[step]!) },
    { name: `p99 ms in ${rooms}`, read: (all) => all[step]!.p99Ms },
    {
      name: `CPU µs/delivery in ${rooms}`,
      read: (all) => all[step]!.serverCpuSeconds * 1e6 / all[step]!.delivered,
    },
    { name: `RSS MB in ${rooms}`, read: (all) => all[step]!.rssMb },
  ];
  return {
    name: "rooms100",
    what: "32 clients, 8 send, in one room and then each in the same 100 rooms",
    steps: [shape(1), shape(100)],
    main: {
      name: "deliveries/s in 100 rooms to one",
      better: "more",
      read: (all) => rate(all[1]!) / rate(all[0]!),
    },
    details: [...readings("one room", 0), ...readings("100 rooms", 1)],
  };
}

/** Returns all loads. With `quick` they are short: they show whether everything works. */
export function loads(quick: boolean): readonly Load[] {
  const seconds = quick ? 2 : 5;
  const soak = dayLoad("soak", "day5m for ten minutes", 600);
  return [
    closedLoad("busy32", "one room of 32, all send", 32, 1, 32, 1, seconds),
    closedLoad("busy32x64", "one room of 32, 8 send, 64 outstanding", 32, 1, 8, 64, seconds),
    closedLoad("room1000x1", "one room of 1,000, 10 send, 1 outstanding", 1000, 1, 10, 1, seconds),
    closedLoad(
      "room1000x20",
      "one room of 1,000, 10 send, 20 outstanding",
      1000,
      1,
      10,
      20,
      seconds,
    ),
    closedLoad(
      "rooms10x1",
      "100 rooms of 10, one sends, 1 outstanding",
      1000,
      100,
      100,
      1,
      seconds,
    ),
    closedLoad(
      "rooms10x10",
      "100 rooms of 10, one sends, 10 outstanding",
      1000,
      100,
      100,
      10,
      seconds,
    ),
    hundredRooms(seconds),
    {
      name: "one-talking",
      what: "20 clients, one sends 20 messages a second",
      steps: [{
        ...DEFAULTS,
        clients: 20,
        senders: 1,
        seconds: quick ? 4 : 15,
        load: { kind: "open", rate: 20 },
      }],
      main: p50,
      details: [p99, first("max ms", (r) => r.maxMs), lost],
    },
    {
      name: "idle10k",
      what: "10,000 clients in 1,000 rooms, one room active",
      steps: [{
        ...DEFAULTS,
        clients: 10_000,
        rooms: 1000,
        busyRoomClients: 10,
        senders: 1,
        seconds,
        load: { kind: "closed", window: 1 },
      }],
      main: rss,
      details: [first("in rooms", (r) => r.ready), deliveries, p99, lost],
    },
    {
      name: "storm5k",
      what: "5,000 clients connect, log in and join rooms of ten",
      steps: [{
        ...DEFAULTS,
        clients: 5000,
        rooms: 500,
        senders: 0,
        seconds: 0,
        load: { kind: "closed", window: 1 },
      }],
      main: { ...first("arrivals/s", (r) => r.ready / r.setupSeconds), better: "more" },
      details: [first("in rooms", (r) => r.ready)],
    },
    dayLoad(
      "day5m",
      "200 clients in 20 rooms send, change rooms, leave: 500 actions a second",
      quick ? 20 : 300,
    ),
    {
      name: GROWTH,
      what: "CPU per message in a room of 100 to 800, and beside 10 to 1,000 silent rooms",
      steps: [
        ...ROOM_SIZES.map((clients): JobShape => ({
          ...DEFAULTS,
          clients,
          senders: 5,
          seconds,
          load: { kind: "closed", window: 1 },
        })),
        ...SILENT_ROOMS.map((rooms) => besideSilentRooms(rooms, seconds)),
      ],
      main: {
        name: "most, on doubling",
        better: "less",
        read: (all) =>
          Math.max(...[1, 2, 3].map((i) => cpuPerMessage(all[i]!) / cpuPerMessage(all[i - 1]!))),
      },
      details: [
        ...ROOM_SIZES.map((people, i): Reading => ({
          name: `µs at ${people}`,
          read: (all) => cpuPerMessage(all[i]!),
        })),
        ...SILENT_ROOMS.map((rooms, i): Reading => ({
          name: `µs beside ${rooms} silent rooms`,
          read: (all) => cpuPerMessage(all[ROOM_SIZES.length + i]!),
        })),
      ],
    },
    {
      name: "ls1000",
      what: "one client lists the members of a room of 1,000",
      steps: [{ ...DEFAULTS, clients: 1000, senders: 0, seconds, load: { kind: "list" } }],
      main: p50,
      details: [p99, first("max ms", (r) => r.maxMs)],
    },
    {
      ...soak,
      main: { ...soak.main },
      details: [...soak.details, first("RSS after minute two, %", memoryGrowth)],
      onlyByName: true,
    },
  ];
}
