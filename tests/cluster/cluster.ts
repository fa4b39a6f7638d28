/**
 * The instances of a simulated run, and their faults: errors and silence of KV, lost notifications,
 * jumping clocks, suspended machines, crashes and shutdowns. Users know nothing of them.
 */
import { startChat } from "../../chat/mod.ts";
import type { Random } from "../support/random.ts";
import { type Hub, type Network, Process, simulatedKv, type World } from "./sim_kv.ts";
import type { Host } from "./terminals.ts";

/** Percent of commits that KV's client repeats without other faults. */
const USUAL_REPEAT_PERCENT = 2;

const NO_FAULTS = {
  errorPercent: 0,
  silentPercent: 0,
  repeatPercent: USUAL_REPEAT_PERCENT,
  maxDelayMs: 10,
};

/** Makes a session an operator's. */
export const OPERATOR_SECRET = "secret of operators";

/** What a cluster is made of. */
export interface ClusterParts {
  readonly hub: Hub;
  readonly world: World;
  readonly random: Random;
  readonly graceSeconds: number;
  readonly historySeconds: number;
  /** Is called when an instance dies: its connections are cut. */
  onDeath(host: Host): void;
  /** Lets users talk while a fault lasts. */
  talk(): void;
}

/** The instances of one run. */
export class Cluster {
  readonly hosts: Host[] = [];
  readonly #parts: ClusterParts;
  #ids = 0;

  constructor(parts: ClusterParts) {
    this.#parts = parts;
  }

  async start(): Promise<Host> {
    const { hub, world, random, graceSeconds, historySeconds } = this.#parts;
    const ids = { last: "" };
    const process = new Process();
    const network: Network = { ...NO_FAULTS, lostWakePercent: 0, isDead: false, process };
    const skew = random.below(600_000) - 300_000;
    const clock = world.clock(skew, random, process);
    const chat = await startChat({
      kv: simulatedKv(hub, network),
      clock,
      ids: () => ids.last = `01${String(++this.#ids).padStart(8, "0")}`,
      log: { info: () => {}, warn: () => {}, error: () => {} },
      // Because of the faults, a client may be without a nickname for long.
      rateLimits: "off",
      passwordRounds: 1,
      operatorSecret: OPERATOR_SECRET,
      graceSeconds,
      historySeconds,
    });
    const host = { chat, network, clock, ids, ending: undefined };
    this.hosts.push(host);
    return host;
  }

  /** The instances that run and are not shutting down. */
  get alive(): Host[] {
    return this.hosts.filter(({ network, ending }) => !network.isDead && ending === undefined);
  }

  /** Lets one thing happen to the instances. `chance`: from 0 to 99. */
  async act(chance: number): Promise<void> {
    const { world, random } = this.#parts;
    const host = random.pick(this.alive);
    if (random.percent(10)) host.clock.jump(random.below(7_200_000) - 3_600_000);
    if (chance < 38) await this.#disturb([host], 3_000, { errorPercent: 30, silentPercent: 10 });
    else if (chance < 52) {
      await this.#disturb(this.alive, 3_000, { errorPercent: 20, silentPercent: 5 });
    } else if (chance < 62) await this.#disturb(this.alive, 12_000, { errorPercent: 100 });
    // Long enough to lose the lease.
    else if (chance < 72) await this.#disturb([host], 30_000, { silentPercent: 100 });
    else if (chance < 82) host.network.lostWakePercent = 100;
    else if (this.alive.length < 2) await world.until(this.start());
    else if (chance < 92) this.#kill(host);
    else host.ending = host.chat.close();
  }

  /** Stops one instance, or suspends its machine, for longer than feed rows are kept. */
  async sleep(): Promise<void> {
    const { world, random, talk } = this.#parts;
    const [host, ...others] = this.alive;
    if (host === undefined || others.length === 0) return;
    host.network.process.stop();
    const minutes = 11 + random.below(5);
    for (let minute = 0; minute < minutes; minute++) {
      talk();
      await world.pass(60_000);
    }
    if (random.percent(50)) host.clock.suspend(minutes * 60_000);
    host.network.process.resume();
  }

  /** Ends all faults. */
  async heal(): Promise<void> {
    if (this.alive.length === 0) await this.#parts.world.until(this.start());
    for (const { network } of this.hosts) {
      Object.assign(network, { ...NO_FAULTS, lostWakePercent: 0 });
    }
  }

  /** Waits until the instances that are shutting down have done so. */
  async settle(): Promise<void> {
    for (const { network, ending } of this.hosts) {
      if (!network.isDead && ending !== undefined) await this.#parts.world.until(ending);
    }
  }

  #kill(host: Host): void {
    host.network.isDead = true;
    this.#parts.onDeath(host);
  }

  async #disturb(hosts: Host[], ms: number, network: Partial<Network>): Promise<void> {
    const { world, random, talk } = this.#parts;
    for (const host of hosts) {
      Object.assign(host.network, { maxDelayMs: 200, repeatPercent: 20, ...network });
    }
    const lasts = random.below(ms);
    for (let past = 0; past < lasts; past += 500) {
      talk();
      await world.pass(Math.min(500, lasts));
    }
    for (const host of hosts) Object.assign(host.network, NO_FAULTS);
  }
}
