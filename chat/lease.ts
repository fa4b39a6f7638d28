/**
 * Being alive, and noticing who no longer is: every instance holds a lease, and beats; whoever's
 * beat stops is swept by exactly one of the others.
 *
 * Beside the way of a message. Nobody's clock is compared with anybody else's: an instance is dead
 * when its beat stood still while ours went on. It does not know what there is to sweep.
 */
import { type Clock, delay, eachLimited, limited, persist } from "./clock.ts";
import { COMPANY_BELL } from "./feed.ts";

/** Milliseconds between two beats. */
const BEAT = 5_000;

/** Our beats during which another's must stand still before it counts as dead: 15 to 20 s. */
const MISSED_BEATS = 3;

/** The same on a KV that only this machine can reach, where a restart must not wait for a lease. */
const LOCAL_BEAT = 1_000;

/** What a lease is made of. */
export interface LeaseParts {
  readonly kv: Deno.Kv;
  readonly clock: Clock;
  /** The id of this instance. */
  readonly instance: string;
  /** Whether KV is a file of this machine's: one process uses it at a time, so silence is death. */
  readonly local: boolean;
  /** Whether, on such a KV, who is silent while this one starts is swept at once. */
  readonly sweepSilent: boolean;
  /** Removes what a dead instance left, under a check that only its sweeper can hold. */
  sweep(instance: string, claim: Deno.AtomicCheck): Promise<number | undefined>;
  /** Told whether any other instance is there: at each beat, and whenever that may have changed. */
  keepCompany(company: boolean): Promise<void>;
  /** Called when the lease is found to be gone. */
  lost(): void;
  warn(message: string): void;
  log(message: string): void;
}

/** How another instance's beat was last seen. */
interface Seen {
  readonly at: string;
  /** Our beats since then. */
  missed: number;
}

/** The lease of one instance. */
export class Lease {
  readonly #parts: LeaseParts;
  readonly #check: Deno.AtomicCheck;
  #others = new Map<string, Seen>();
  #cancel = (): void => {};
  #looking: Promise<void> | undefined;
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
    const lease = kv.atomic().set(key, { v: 1, since: clock.now() }).set(beatKey(instance), 0)
      .set(COMPANY_BELL, instance);
    let versionstamp: string | undefined;
    await persist(clock, async () => {
      const taken = await limited(clock, lease.commit());
      if (taken.ok) versionstamp = taken.versionstamp;
    }, () => {});
    if (versionstamp === undefined) throw new Error("storage cannot be written");
    return { key, versionstamp };
  }

  /** Starts to beat, and sweeps whoever is known to be dead already. */
  async start(): Promise<void> {
    // Beating before looking: others may be looking at this one already.
    this.#schedule();
    await this.look();
    const { local, sweepSilent, clock } = this.#parts;
    if (!local || !sweepSilent || this.#others.size === 0) return;
    // Left by a crash, or another process on the same file: a moment shows which.
    const before = this.#others;
    await delay(clock, LOCAL_BEAT * 1.5);
    await this.#inTurn((id, at) => before.get(id)?.at === at);
  }

  /** Looks who is there. To be called when somebody came or went. */
  async look(): Promise<void> {
    await this.#inTurn(() => false);
  }

  /** Stops beating. */
  async stop(): Promise<void> {
    this.#ended = true;
    this.#cancel();
    await this.#looking?.catch(() => {});
  }

  /** Stops, and gives the lease back. What it covered must be gone by now. */
  async end(): Promise<void> {
    await this.stop();
    const { clock, instance, warn } = this.#parts;
    const warned = (error: unknown) =>
      warn(`the lease could not be given back: ${(error as Error).message}`);
    await persist(clock, async () => void await this.#remove(instance, this.#check), warned);
  }

  #schedule(): void {
    const { clock, local } = this.#parts;
    if (this.#ended) return;
    this.#cancel = clock.after(local ? LOCAL_BEAT : BEAT, async () => {
      await this.#beat();
      this.#schedule();
    });
  }

  async #beat(): Promise<void> {
    const { kv, clock, instance, lost, warn } = this.#parts;
    const failed = (error: unknown) =>
      warn(`the lease could not be renewed: ${(error as Error).message}`);
    const beat = kv.atomic().check(this.#check).set(beatKey(instance), clock.now());
    let held = true;
    const told = await persist(clock, async () => {
      held = (await limited(clock, beat.commit())).ok;
    }, failed);
    if (!held) {
      this.#ended = true;
      return lost();
    }
    // Nobody may have been able to beat: their silence says nothing.
    if (!told) return this.#others.forEach((seen) => seen.missed = 0);
    try {
      await this.#inTurn((id, at) => {
        const seen = this.#others.get(id);
        if (seen?.at !== at) return false;
        return ++seen.missed >= MISSED_BEATS;
      });
    } catch (error) {
      failed(error);
    }
  }

  /** One look at a time: whoever asks meanwhile wants one that starts after now. */
  async #inTurn(isDead: (id: string, at: string) => boolean): Promise<void> {
    while (this.#looking !== undefined) await this.#looking.catch(() => {});
    this.#looking = this.#look(isDead).finally(() => this.#looking = undefined);
    await this.#looking;
  }

  async #look(isDead: (id: string, at: string) => boolean): Promise<void> {
    const { kv, clock, instance, keepCompany } = this.#parts;
    const others = new Map<string, Seen>();
    const dead: string[] = [];
    const beats = kv.list({ prefix: ["beat"] }, { batchSize: 500 });
    for await (const beat of eachLimited(clock, beats)) {
      const id = String(beat.key[1]);
      if (id === instance) continue;
      if (isDead(id, beat.versionstamp)) dead.push(id);
      const before = this.#others.get(id);
      const still = before?.at === beat.versionstamp;
      others.set(id, still ? before : { at: beat.versionstamp, missed: 0 });
    }
    this.#others = others;
    for (const id of dead) if (await this.#bury(id)) others.delete(id);
    await keepCompany(others.size > 0);
  }

  /** Sweeps a dead instance, if nobody else does. Returns whether it is gone. */
  async #bury(dead: string): Promise<boolean> {
    const { kv, clock, instance, sweep, log } = this.#parts;
    const key = ["instance", dead];
    const { versionstamp } = await limited(clock, kv.get(key));
    // From here on the dead one, should it wake up, can write no more, and no other sweeper can.
    const claim = await limited(
      clock,
      kv.atomic().check({ key, versionstamp }).set(key, { v: 1, sweeper: instance }).commit(),
    );
    if (!claim.ok) return false;
    const check = { key, versionstamp: claim.versionstamp };
    const people = await sweep(dead, check);
    if (people === undefined) return false;
    log(`swept ${people} connections that instance ${dead} left behind`);
    return await this.#remove(dead, check);
  }

  /** Removes what there is of an instance besides its connections. */
  async #remove(instance: string, check: Deno.AtomicCheck): Promise<boolean> {
    const { kv, clock } = this.#parts;
    const removal = kv.atomic().check(check).delete(check.key).delete(beatKey(instance))
      .set(COMPANY_BELL, instance);
    const turns = kv.list({ prefix: ["instance", instance] });
    for await (const { key } of eachLimited(clock, turns)) removal.delete(key);
    return (await limited(clock, removal.commit())).ok;
  }
}

function beatKey(instance: string): Deno.KvKey {
  return ["beat", instance];
}
