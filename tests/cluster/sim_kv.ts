/**
 * A KV as an instance sees it over a bad network, and the virtual time in which that happens: calls
 * take a while, fail before or after their work, or never answer; KV's client repeats commits by
 * itself; bells wake late, or not at all.
 *
 * Everything random comes from one seed, and time only passes when nothing else can happen, so that
 * a run with the same seed is the same run.
 */
import { setImmediate } from "node:timers";
import type { Clock } from "../../chat/base/clock.ts";
import { FakeClock } from "../support/fake_clock.ts";
import type { Random } from "../support/random.ts";

/** A process that may be stopped for a while: what should happen in it meanwhile happens then. */
export class Process {
  #waiting: (() => void)[] | undefined;

  do(run: () => void): void {
    if (this.#waiting === undefined) run();
    else this.#waiting.push(run);
  }

  /** Resolves when it runs. */
  runs(): Promise<void> {
    return new Promise((resolve) => this.do(resolve));
  }

  stop(): void {
    this.#waiting ??= [];
  }

  goOn(): void {
    const waiting = this.#waiting ?? [];
    this.#waiting = undefined;
    for (const run of waiting) run();
  }
}

/** The clock of an instance, as it may go wrong. */
export interface SimulatedClock extends Clock {
  /** The wall clock is set, so many milliseconds ahead. */
  jump(ms: number): void;
  /** The monotonic clock stood still for so many milliseconds, as in a machine that is suspended. */
  stoodStill(ms: number): void;
}

/** When virtual time begins, in Unix milliseconds. */
const BEGINNING = 1_700_000_000_000;

/** Virtual time, for all instances of a run. */
export class World {
  readonly #time = new FakeClock(BEGINNING);
  /** Calls to the real KV that have not answered. */
  #busy = 0;
  /** The last of them. */
  #last: Promise<void> = Promise.resolve();

  get now(): number {
    return this.#time.now();
  }

  /** The clock of one instance. Its wall clock is wrong by `skew` milliseconds, and may jump. */
  clock(skew: number, random: Random, process = new Process()): SimulatedClock {
    let suspended = 0;
    const after = (ms: number, run: () => void) => {
      let cancelled = false;
      const cancel = this.after(ms, () => process.do(() => cancelled || run()));
      return () => {
        cancelled = true;
        cancel();
      };
    };
    return {
      jitter: () => random.next(),
      now: () => this.now + skew,
      monotonicMs: () => this.#time.monotonicMs() - suspended,
      stoodStill: (ms) => void (suspended += ms),
      jump: (ms) => void (skew += ms),
      after,
      soon: (run) => void after(0, run),
    };
  }

  after(ms: number, run: () => void): () => void {
    return this.#time.after(ms, run);
  }

  delay(ms: number): Promise<void> {
    return new Promise((resolve) => void this.after(ms, resolve));
  }

  /** Does something that takes real time: virtual time waits for it. */
  async real<T>(work: () => Promise<T>): Promise<T> {
    this.#busy++;
    // One at a time: what happens at the same instant must happen in the same order in every run.
    const before = this.#last;
    const done = Promise.withResolvers<void>();
    this.#last = done.promise;
    await before;
    try {
      return await work();
    } finally {
      this.#busy--;
      done.resolve();
    }
  }

  /** Lets so many milliseconds pass. */
  async pass(ms: number): Promise<void> {
    await this.#time.advanceAsync(ms, () => this.#settle());
  }

  /** Lets time pass until something has resolved. */
  async until<T>(wanted: Promise<T>): Promise<T> {
    let settled = false;
    const done = () => void (settled = true);
    wanted.then(done, done);
    for (let waited = 0; !settled; waited += 50) {
      if (waited > 300_000) throw new Error("five minutes have passed in vain");
      await this.pass(50);
    }
    return await wanted;
  }

  /** Until nothing can happen any more without time passing. */
  async #settle(): Promise<void> {
    do await new Promise((resolve) => setImmediate(resolve)); while (this.#busy > 0);
    // What the last answer set off may ask again, microtask by microtask.
    await new Promise((resolve) => setImmediate(resolve));
    if (this.#busy > 0) await this.#settle();
  }
}

type Entries = Deno.KvEntryMaybe<unknown>[];

interface Watcher {
  readonly keys: readonly Deno.KvKey[];
  readonly wake: () => void;
}

/** The one KV behind all instances, and who watches it. */
export class Hub {
  readonly watchers = new Set<Watcher>();
  /** Rows of the feed that are not there any more. */
  readonly removed: Deno.KvEntry<unknown>[] = [];

  constructor(readonly kv: Deno.Kv, readonly world: World, readonly random: Random) {}

  rang(keys: readonly Deno.KvKey[]): void {
    const texts = new Set(keys.map((key) => key.join()));
    for (const watcher of this.watchers) {
      if (watcher.keys.some((key) => texts.has(key.join()))) watcher.wake();
    }
  }
}

/** How bad the network is for one instance, and whether it is there at all. */
export interface Weather {
  /** Percent of calls that fail, half of them after their work was done. */
  faults: number;
  /** Percent of calls that never answer, half of them after their work was done. */
  silences: number;
  /**
   * Percent of commits whose answer is lost before it reaches KV's client: the client commits again
   * by itself, and gives the answer to that.
   */
  repeats: number;
  /** Milliseconds that a call takes at the most, each way. */
  delay: number;
  /** Percent of wake-ups of a watch that get lost. */
  deaf: number;
  /** The instance is dead: nothing that it does has an effect any more. */
  dead: boolean;
  readonly process: Process;
}

/** A KV through the weather. Only what the chat uses is there. */
export function simulatedKv(hub: Hub, weather: Weather): Deno.Kv {
  const { kv, world, random } = hub;
  const forever = new Promise<never>(() => {});

  async function call<T>(work: () => Promise<T>): Promise<T> {
    const fails = random.percent(weather.faults);
    const silent = random.percent(weather.silences);
    const worked = random.percent(50);
    await world.delay(random.below(weather.delay + 1));
    await weather.process.runs();
    if (weather.dead) return await forever;
    if ((fails || silent) && !worked) {
      if (silent) return await forever;
      throw new Error("simulated fault");
    }
    // A late one: it seems lost, and does its work when nobody reckons with it any more.
    if (silent) await world.delay(random.below(6_000));
    const result = await world.real(work);
    await world.delay(random.below(weather.delay + 1));
    await weather.process.runs();
    if (weather.dead || silent) return await forever;
    if (fails) throw new Error("simulated fault after the work was done");
    return result;
  }

  function atomic(): Deno.AtomicOperation {
    const real = kv.atomic();
    const rung: Deno.KvKey[] = [];
    const removed: Deno.KvKey[] = [];
    const simulated = {
      check: (...checks: Deno.AtomicCheck[]) => (real.check(...checks), simulated),
      mutate: (...mutations: Deno.KvMutation[]) => (real.mutate(...mutations), simulated),
      delete(key: Deno.KvKey) {
        real.delete(key);
        if (key[0] === "feed") removed.push(key);
        return simulated;
      },
      set(key: Deno.KvKey, value: unknown) {
        // Without expireIn: virtual time is not KV's.
        real.set(key, value);
        if (key[0] === "bell") rung.push(key);
        return simulated;
      },
      async commit() {
        const commit = async () => {
          const rows = await Promise.all(removed.map((key) => kv.get<unknown>(key)));
          const result = await real.commit();
          if (!result.ok) return result;
          hub.rang(rung);
          for (const row of rows) if (row.versionstamp !== null) hub.removed.push(row);
          return result;
        };
        // While the client waits to commit again, others may commit.
        if (random.percent(weather.repeats) && !weather.dead) {
          await world.delay(random.below(weather.delay + 1));
          if (!weather.dead) await world.real(commit);
        }
        return await call(commit);
      },
    };
    return simulated as unknown as Deno.AtomicOperation;
  }

  function watch(keys: readonly Deno.KvKey[]): ReadableStream<Entries> {
    let watcher: Watcher;
    let due = false;
    return new ReadableStream<Entries>({
      start(controller) {
        const tell = async () => {
          due = false;
          await weather.process.runs();
          if (weather.dead || !hub.watchers.has(watcher)) return;
          const entries = await world.real(() => kv.getMany([...keys]));
          if (hub.watchers.has(watcher)) controller.enqueue(entries as Entries);
        };
        watcher = {
          keys,
          wake() {
            if (due || random.percent(weather.deaf)) return;
            due = true;
            world.after(random.below(weather.delay * 2 + 1), () => void tell());
            // A stream that ends without a word.
            if (random.percent(weather.deaf / 4)) {
              hub.watchers.delete(watcher);
              controller.close();
            }
          },
        };
        hub.watchers.add(watcher);
        due = true;
        world.after(0, () => void tell());
      },
      cancel: () => void hub.watchers.delete(watcher),
    });
  }

  async function* list(selector: Deno.KvListSelector, options?: Deno.KvListOptions) {
    yield* await call(() => Array.fromAsync(kv.list(selector, options)));
  }

  return {
    get: (key: Deno.KvKey) => call(() => kv.get(key)),
    getMany: (keys: Deno.KvKey[]) => call(() => kv.getMany(keys)),
    commitVersionstamp: () => kv.commitVersionstamp(),
    atomic,
    list,
    watch,
  } as unknown as Deno.Kv;
}
