/**
 * A simulated KV with an unreliable network, in virtual time. Calls take time, fail before or after
 * their work, or never answer; KV's client repeats commits; watches wake late or never.
 *
 * All random choices come from one seed, and time only passes when nothing else can happen, so a seed
 * always gives the same run.
 */
import { setImmediate } from "node:timers";
import type { Clock } from "../../chat/base/clock.ts";
import { FakeClock } from "../support/fake_clock.ts";
import type { Random } from "../support/random.ts";

/** A process that can be stopped for a while. Everything due meanwhile happens when it continues. */
export class Process {
  #waiting: (() => void)[] | undefined;

  do(run: () => void): void {
    if (this.#waiting === undefined) run();
    else this.#waiting.push(run);
  }

  /** Resolves when it is not stopped. */
  running(): Promise<void> {
    return new Promise((resolve) => this.do(resolve));
  }

  stop(): void {
    this.#waiting ??= [];
  }

  resume(): void {
    const waiting = this.#waiting ?? [];
    this.#waiting = undefined;
    for (const run of waiting) run();
  }
}

/** The clock of an instance, with its faults. */
export interface SimulatedClock extends Clock {
  /** Sets the wall clock ahead by `ms` milliseconds, or back. */
  jump(ms: number): void;
  /** Sets the monotonic clock back by `ms`, as if it had stopped while the machine was suspended. */
  suspend(ms: number): void;
}

/** The start of virtual time, in Unix milliseconds. */
const START_MS = 1_700_000_000_000;

/** The virtual time of all instances of a run. */
export class World {
  readonly #time = new FakeClock(START_MS);
  /** The number of unanswered calls to the real KV. */
  #busy = 0;
  /** Resolves when the last of them has answered. */
  #last: Promise<void> = Promise.resolve();

  get now(): number {
    return this.#time.now();
  }

  /** Returns the clock of one instance. Its wall clock is `skew` milliseconds ahead, and may jump. */
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
      // Whole milliseconds, as Date.now() returns them.
      now: () => Math.floor(this.now + skew),
      monotonicMs: () => this.#time.monotonicMs() - suspended,
      suspend: (ms) => void (suspended += ms),
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

  /** Runs something that takes real time. Virtual time waits for it. */
  async real<T>(work: () => Promise<T>): Promise<T> {
    this.#busy++;
    // One at a time, so that calls at the same virtual instant run in the same order in every run.
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

  /** Lets `ms` milliseconds pass. */
  async pass(ms: number): Promise<void> {
    await this.#time.advanceAsync(ms, () => this.#settle());
  }

  /** Lets time pass until a promise has settled. */
  async until<T>(wanted: Promise<T>): Promise<T> {
    let settled = false;
    const done = () => void (settled = true);
    wanted.then(done, done);
    for (let waited = 0; !settled; waited += 50) {
      if (waited > 300_000) throw new Error("the promise did not settle within five minutes");
      await this.pass(50);
    }
    return await wanted;
  }

  /** Resolves when nothing more can happen before time passes. */
  async #settle(): Promise<void> {
    do await new Promise((resolve) => setImmediate(resolve)); while (this.#busy > 0);
    // The code that received the last answer may call again, after some microtasks.
    await new Promise((resolve) => setImmediate(resolve));
    if (this.#busy > 0) await this.#settle();
  }
}

/**
 * Lets virtual time wait while passwords are hashed, which happens in real time on other threads. Ends
 * when the returned object is disposed of.
 */
export function waitingForHashes(world: World): Disposable {
  const { importKey, deriveBits } = crypto.subtle;
  const { subtle } = crypto;
  subtle.importKey = (...args: unknown[]) =>
    world.real(() => Reflect.apply(importKey, subtle, args) as Promise<CryptoKey>);
  subtle.deriveBits = (...args: unknown[]) =>
    world.real(() => Reflect.apply(deriveBits, subtle, args) as Promise<ArrayBuffer>);
  return {
    [Symbol.dispose]() {
      Reflect.deleteProperty(subtle, "importKey");
      Reflect.deleteProperty(subtle, "deriveBits");
    },
  };
}

type Entries = Deno.KvEntryMaybe<unknown>[];

interface Watcher {
  readonly keys: readonly Deno.KvKey[];
  readonly wake: () => void;
}

/** The one KV of all instances, and its watchers. */
export class Hub {
  readonly watchers = new Set<Watcher>();
  /** Feed rows that have been removed. */
  readonly removedRows: Deno.KvEntry<unknown>[] = [];

  constructor(readonly kv: Deno.Kv, readonly world: World, readonly random: Random) {}

  notify(keys: readonly Deno.KvKey[]): void {
    const texts = new Set(keys.map((key) => key.join()));
    for (const watcher of this.watchers) {
      if (watcher.keys.some((key) => texts.has(key.join()))) watcher.wake();
    }
  }
}

/** The faults of one instance's network, and whether the instance is alive. */
export interface Network {
  /** Percent of calls that fail, half of them after their work. */
  errorPercent: number;
  /** Percent of calls that never answer, half of them after their work. */
  silentPercent: number;
  /**
   * Percent of commits whose answer is lost before it reaches KV's client. The client commits again,
   * and returns the second answer.
   */
  repeatPercent: number;
  /** The longest time in milliseconds that a call takes in each direction. */
  maxDelayMs: number;
  /** Percent of notifications that a watch loses. */
  lostWakePercent: number;
  /** The instance is dead: nothing that it does has an effect. */
  isDead: boolean;
  readonly process: Process;
}

/** Returns a KV behind an unreliable network. It has only the methods that the chat uses. */
export function simulatedKv(hub: Hub, network: Network): Deno.Kv {
  const { kv, world, random } = hub;
  const forever = new Promise<never>(() => {});

  async function call<T>(work: () => Promise<T>): Promise<T> {
    const fails = random.percent(network.errorPercent);
    const silent = random.percent(network.silentPercent);
    const worked = random.percent(50);
    await world.delay(random.below(network.maxDelayMs + 1));
    await network.process.running();
    if (network.isDead) return await forever;
    if ((fails || silent) && !worked) {
      if (silent) return await forever;
      throw new Error("simulated fault");
    }
    // A late call: it never answers, and does its work after its caller has given up.
    if (silent) await world.delay(random.below(6_000));
    const result = await world.real(work);
    await world.delay(random.below(network.maxDelayMs + 1));
    await network.process.running();
    if (network.isDead || silent) return await forever;
    if (fails) throw new Error("simulated fault after the work was done");
    return result;
  }

  function atomic(): Deno.AtomicOperation {
    const real = kv.atomic();
    const notified: Deno.KvKey[] = [];
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
        // Without expireIn, because KV does not use virtual time.
        real.set(key, value);
        if (key[0] === "bell") notified.push(key);
        return simulated;
      },
      async commit() {
        const commit = async () => {
          const rows = await Promise.all(removed.map((key) => kv.get<unknown>(key)));
          const result = await real.commit();
          if (!result.ok) return result;
          hub.notify(notified);
          for (const row of rows) if (row.versionstamp !== null) hub.removedRows.push(row);
          return result;
        };
        // Other instances may commit before the client commits again.
        if (random.percent(network.repeatPercent) && !network.isDead) {
          await world.delay(random.below(network.maxDelayMs + 1));
          if (!network.isDead) await world.real(commit);
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
          await network.process.running();
          if (network.isDead || !hub.watchers.has(watcher)) return;
          const entries = await world.real(() => kv.getMany([...keys]));
          if (hub.watchers.has(watcher)) controller.enqueue(entries as Entries);
        };
        watcher = {
          keys,
          wake() {
            if (due || random.percent(network.lostWakePercent)) return;
            due = true;
            world.after(random.below(network.maxDelayMs * 2 + 1), () => void tell());
            // The stream ends without an error.
            if (random.percent(network.lostWakePercent / 4)) {
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
    delete: (key: Deno.KvKey) => call(() => kv.delete(key)),
    atomic,
    list,
    watch,
  } as unknown as Deno.Kv;
}
