/**
 * Being alive, and noticing who no longer is: every instance holds a lease, and beats; whoever's
 * beat stops is swept by exactly one of the others.
 *
 * Beside the way of a message. Nobody's clock is compared with anybody else's: an instance is dead
 * when its beat stood still while ours went on. It does not know what there is to sweep.
 */
import { type Clock, delay } from "../base/clock.ts";
import { eachWithTimeout, retry, withTimeout } from "../kv/retry.ts";
import { INSTANCES_NOTIFY_KEY } from "./feed.ts";

/** Milliseconds between two beats. */
const HEARTBEAT_MS = 5_000;

/** Our beats during which another's must stand still before it counts as dead: 15 to 20 s. */
const MAX_MISSED_HEARTBEATS = 3;

/** The same on a KV that only this machine can reach, where a restart must not wait for a lease. */
const LOCAL_HEARTBEAT_MS = 1_000;

/**
 * What stands in the place of a last beat when an instance ended, but people may come back to it.
 * Earlier versions wrote only a word.
 */
interface Retired {
  readonly retiredAt: number;
}

/** What a lease is made of. */
export interface LeaseParts {
  readonly kv: Deno.Kv;
  readonly clock: Clock;
  /** The id of this instance. */
  readonly instance: string;
  /** Whether KV is a file of this machine's: one process uses it at a time, so silence is death. */
  readonly local: boolean;
  /** Whether, on such a KV, who is silent while this one starts is swept at once. */
  readonly cleanUpSilent: boolean;
  /** Milliseconds for which a place is kept for those who may come back. */
  readonly grace: number;
  /**
   * Removes what a dead instance left, under a check that only its sweeper can hold: `everybody`, or
   * only those who cannot come back. See {@linkcode Storage.sweep}.
   */
  cleanUp(
    instance: string,
    claim: Deno.AtomicCheck,
    everybody: boolean,
  ): Promise<{ gone: number; left: number } | undefined>;
  /** Told whether any other instance is there: at each beat, and whenever that may have changed. */
  setShared(company: boolean): Promise<void>;
  /** Called when the lease is found to be gone. */
  onLost(): void;
  warn(message: string): void;
  log(message: string): void;
}

/** How another instance's beat was last seen. */
interface PeerInstance {
  readonly at: string;
  /** Our beats since then. */
  missed: number;
  /** It ended in peace. */
  readonly retired: boolean;
  /** Of its people only those are left who may come back. */
  cleanedUp: boolean;
}

/** Whether an instance lives, is dead, or has been so for so long that nobody will come back. */
type PeerState = "alive" | "dead" | "forgotten";

/** The lease of one instance. */
export class Lease {
  readonly #parts: LeaseParts;
  readonly #check: Deno.AtomicCheck;
  #peers = new Map<string, PeerInstance>();
  #cancel = (): void => {};
  #lookDone: Promise<void> | undefined;
  #ended = false;

  /** `check` is what {@linkcode Lease.take} gave. */
  constructor(parts: LeaseParts, check: Deno.AtomicCheck) {
    this.#parts = parts;
    this.#check = check;
  }

  /**
   * Writes a new lease. What is written under the check that it returns is written only as long as
   * nobody has declared the instance dead.
   *
   * @throws when KV cannot be written.
   */
  static async take(kv: Deno.Kv, clock: Clock, instance: string): Promise<Deno.AtomicCheck> {
    const key = ["instance", instance];
    // The check: of several tries only one writes, and none moves the lease later.
    const lease = kv.atomic().check({ key, versionstamp: null })
      .set(key, { v: 1, since: clock.now() }).set(heartbeatKey(instance), clock.now())
      .set(INSTANCES_NOTIFY_KEY, instance);
    let versionstamp: string | null = null;
    await retry(clock, async () => {
      const taken = await withTimeout(clock, lease.commit());
      // Nobody else takes this lease: an earlier try did, or KV's client has repeated this one.
      ({ versionstamp } = taken.ok ? taken : await withTimeout(clock, kv.get(key)));
    }, () => {});
    if (versionstamp === null) throw new Error("storage cannot be written");
    return { key, versionstamp };
  }

  /** Starts to beat, and sweeps whoever is known to be dead already. */
  async start(): Promise<void> {
    // Beating before looking: others may be looking at this one already.
    this.#schedule();
    await this.look();
    const { local, cleanUpSilent: sweepSilent, clock, grace } = this.#parts;
    const silent = [...this.#peers.values()].some(({ retired }) => !retired);
    if (!local || !sweepSilent || !silent) return;
    // Left by a crash, or another process on the same file: a moment shows which.
    const before = this.#peers;
    await delay(clock, LOCAL_HEARTBEAT_MS * 1.5);
    const dead = grace > 0 ? "dead" : "forgotten";
    await this.#serialized((id, at) => before.get(id)?.at === at ? dead : "alive");
  }

  /** Looks who is there. To be called when somebody came or went. */
  async look(): Promise<void> {
    await this.#serialized(() => "alive");
  }

  /**
   * When an instance was alive last, by its own clock; `undefined` where that is not known.
   *
   * @throws when KV cannot be read.
   */
  async aliveAt(instance: string): Promise<number | undefined> {
    const { kv, clock } = this.#parts;
    const { value } = await withTimeout(clock, kv.get<unknown>(heartbeatKey(instance)));
    const at = isRetired(value) && value !== "retired" ? value.retiredAt : value;
    // Of earlier versions the first beat is 0.
    return typeof at === "number" && at > 0 ? at : undefined;
  }

  /** Stops beating. */
  async stop(): Promise<void> {
    this.#ended = true;
    this.#cancel();
    await this.#lookDone?.catch(() => {});
  }

  /** Stops, and gives the lease back. What it covered must be gone by now. */
  async end(): Promise<void> {
    await this.stop();
    const { clock, instance, warn } = this.#parts;
    const warned = (error: unknown) =>
      warn(`the lease could not be given back: ${(error as Error).message}`);
    await retry(clock, async () => void await this.#remove(instance, this.#check), warned);
  }

  /** Stops for good, but leaves the lease to be swept when nobody can come back any more. */
  async retire(): Promise<void> {
    await this.stop();
    const { kv, clock, instance, warn } = this.#parts;
    const warned = (error: unknown) =>
      warn(`the lease could not be left: ${(error as Error).message}`);
    const retired: Retired = { retiredAt: clock.now() };
    const last = kv.atomic().check(this.#check).set(heartbeatKey(instance), retired)
      .set(INSTANCES_NOTIFY_KEY, instance);
    await retry(clock, async () => void await withTimeout(clock, last.commit()), warned);
  }

  #schedule(): void {
    const { clock, local } = this.#parts;
    if (this.#ended) return;
    this.#cancel = clock.after(local ? LOCAL_HEARTBEAT_MS : HEARTBEAT_MS, async () => {
      await this.#heartbeat();
      this.#schedule();
    });
  }

  async #heartbeat(): Promise<void> {
    const { kv, clock, instance, onLost: lost, warn } = this.#parts;
    const failed = (error: unknown) =>
      warn(`the lease could not be renewed: ${(error as Error).message}`);
    const beat = kv.atomic().check(this.#check).set(heartbeatKey(instance), clock.now());
    let held = true;
    const told = await retry(clock, async () => {
      held = (await withTimeout(clock, beat.commit())).ok;
    }, failed);
    if (this.#ended) return;
    if (!held) {
      this.#ended = true;
      return lost();
    }
    // Nobody may have been able to beat: their silence says nothing.
    if (!told) return this.#peers.forEach((seen) => seen.missed = 0);
    try {
      await this.#serialized((id, at) => {
        const seen = this.#peers.get(id);
        if (seen?.at !== at) return "alive";
        seen.missed++;
        if (seen.missed >= this.#heartbeatsOfGrace()) return "forgotten";
        return seen.missed >= MAX_MISSED_HEARTBEATS && !seen.cleanedUp ? "dead" : "alive";
      });
    } catch (error) {
      failed(error);
    }
  }

  /**
   * Our beats during which another's must stand still before nobody can come back to it. Where
   * leases lapse slowly, all must be over within 30 s of its death if the grace is no longer.
   */
  #heartbeatsOfGrace(): number {
    const { local, grace } = this.#parts;
    const beats = local ? grace / LOCAL_HEARTBEAT_MS : (grace - 2 * HEARTBEAT_MS) / HEARTBEAT_MS;
    return Math.max(MAX_MISSED_HEARTBEATS, Math.ceil(beats));
  }

  /** One look at a time: whoever asks meanwhile wants one that starts after now. */
  async #serialized(judge: (id: string, at: string) => PeerState): Promise<void> {
    while (this.#lookDone !== undefined) await this.#lookDone.catch(() => {});
    // Giving the lease back wakes the watch of this instance, too, when its KV may be closed already.
    if (this.#ended) return;
    this.#lookDone = this.#look(judge).finally(() => this.#lookDone = undefined);
    await this.#lookDone;
  }

  async #look(judge: (id: string, at: string) => PeerState): Promise<void> {
    const { kv, clock, instance, setShared: keepCompany } = this.#parts;
    const others = new Map<string, PeerInstance>();
    const dead = new Map<string, PeerState>();
    const beats = kv.list({ prefix: ["beat"] }, { batchSize: 500 });
    for await (const { key, value, versionstamp: at } of eachWithTimeout(clock, beats)) {
      const id = String(key[1]);
      if (id === instance) continue;
      const state = judge(id, at);
      if (state !== "alive") dead.set(id, state);
      const before = this.#peers.get(id);
      others.set(id, before?.at === at ? before : fresh(at, isRetired(value)));
    }
    this.#peers = others;
    for (const [id, state] of dead) if (await this.#cleanUp(id, state)) others.delete(id);
    await keepCompany(others.size > 0);
  }

  /** Sweeps a dead instance, if nobody else does. Returns whether it is gone. */
  async #cleanUp(dead: string, state: PeerState): Promise<boolean> {
    const { kv, clock, instance, cleanUp: sweep, log } = this.#parts;
    const key = ["instance", dead];
    const { versionstamp } = await withTimeout(clock, kv.get(key));
    if (versionstamp === null) {
      // Another was faster: to claim it now would only make a row that somebody has to remove.
      await withTimeout(clock, kv.atomic().delete(heartbeatKey(dead)).commit());
      return true;
    }
    // From here on the dead one, should it wake up, can write no more, and no other sweeper can.
    const claim = await withTimeout(
      clock,
      kv.atomic().check({ key, versionstamp }).set(key, { v: 1, sweeper: instance }).commit(),
    );
    if (!claim.ok) return false;
    const check = { key, versionstamp: claim.versionstamp };
    const swept = await sweep(dead, check, state === "forgotten");
    if (swept === undefined) return false;
    const { gone, left } = swept;
    if (gone > 0) log(`swept ${gone} connections that instance ${dead} left behind`);
    if (left === 0) return await this.#remove(dead, check);
    const seen = this.#peers.get(dead);
    if (seen !== undefined) seen.cleanedUp = true;
    return false;
  }

  /** Removes what there is of an instance besides its connections. */
  async #remove(instance: string, check: Deno.AtomicCheck): Promise<boolean> {
    const { kv, clock } = this.#parts;
    const removal = kv.atomic().check(check).delete(check.key).delete(heartbeatKey(instance))
      .set(INSTANCES_NOTIFY_KEY, instance);
    for (const prefix of [["instance", instance], ["taken", instance]]) {
      const rows = kv.list({ prefix }, { limit: 400 });
      for await (const { key } of eachWithTimeout(clock, rows)) removal.delete(key);
    }
    return (await withTimeout(clock, removal.commit())).ok;
  }
}

function isRetired(value: unknown): value is Retired | "retired" {
  if (value === "retired") return true;
  return typeof value === "object" && value !== null && "retiredAt" in value;
}

function fresh(at: string, retired: boolean): PeerInstance {
  return { at, missed: 0, retired, cleanedUp: retired };
}

function heartbeatKey(instance: string): Deno.KvKey {
  return ["beat", instance];
}
