/**
 * The lease of this instance: proves that it is alive by a regular heartbeat, and cleans up after
 * instances whose heartbeat stopped (peers.ts).
 *
 * Clocks of different machines are never compared. An instance is dead when its heartbeat did not
 * change during several heartbeats of this one. The lease does not know what an instance leaves
 * behind.
 */
import { type Clock, delay } from "../base/clock.ts";
import { messageOf } from "../base/log.ts";
import { heartbeatKey, leaseKey, NOTIFY_INSTANCES_KEY } from "../kv/keys.ts";
import { retry, withTimeout } from "../kv/retry.ts";
import { heartbeatFrom, retiredValue } from "../kv/values.ts";
import { Peers, type PeersParts, removeLease } from "./peers.ts";

/** Milliseconds between two heartbeats. */
const HEARTBEAT_MS = 5_000;

/** The same on a local file, where the next start must not wait long for a lease to lapse. */
const LOCAL_HEARTBEAT_MS = 1_000;

/** Heartbeats of this instance after which an unchanged peer counts as dead: 15 to 20 s. */
const MAX_MISSED_HEARTBEATS = 3;

/** What a lease is made of. */
export interface LeaseParts extends PeersParts {
  /**
   * Whether KV is a file of this machine. Then one process uses it at a time, and heartbeats are more
   * frequent.
   */
  readonly isLocal: boolean;
  /** Whether to clean up, on a local file, the instances that are silent during the start. */
  readonly cleanUpSilent: boolean;
  /** Milliseconds for which a lost connection can be resumed. */
  readonly graceMs: number;
  /** Called when the lease is found to be lost: another instance declared this one dead. */
  onLost(): void;
}

/** The lease of one instance. */
export class Lease {
  readonly #parts: LeaseParts;
  readonly #check: Deno.AtomicCheck;
  readonly #peers: Peers;
  #cancelTimer = (): void => {};
  #hasEnded = false;

  /** `check` is the result of {@linkcode Lease.take}. */
  constructor(parts: LeaseParts, check: Deno.AtomicCheck) {
    this.#parts = parts;
    this.#check = check;
    this.#peers = new Peers(parts);
  }

  /**
   * Writes a new lease. Returns the check that every commit of the instance must include: it passes
   * until another instance declares this one dead.
   *
   * @throws {Error} when KV cannot be written.
   */
  static async take(kv: Deno.Kv, clock: Clock, instance: string): Promise<Deno.AtomicCheck> {
    const key = leaseKey(instance);
    // The check: only one of several tries writes, so none changes the versionstamp later.
    const lease = kv.atomic().check({ key, versionstamp: null })
      .set(key, { v: 1, since: clock.now() }).set(heartbeatKey(instance), clock.now())
      .set(NOTIFY_INSTANCES_KEY, instance);
    let versionstamp: string | null = null;
    await retry(clock, async () => {
      const taken = await withTimeout(clock, lease.commit());
      // No other instance takes this lease: an earlier try did, or KV's client repeated this one.
      ({ versionstamp } = taken.ok ? taken : await withTimeout(clock, kv.get(key)));
    }, () => {});
    if (versionstamp === null) throw new Error("Cannot write the lease: storage does not answer");
    return { key, versionstamp };
  }

  /**
   * Starts the heartbeat, and cleans up instances that are known to be dead.
   *
   * @throws when KV cannot be read.
   */
  async start(): Promise<void> {
    // The heartbeat first: other instances may already be counting.
    this.#schedule();
    await this.look();
    const { isLocal: local, cleanUpSilent, clock, graceMs: grace } = this.#parts;
    if (!local || !cleanUpSilent || !this.#peers.hasActive) return;
    // A crash left these instances, or another process uses the file. A heartbeat shows which.
    const before = this.#peers.heartbeats();
    await delay(clock, LOCAL_HEARTBEAT_MS * 1.5);
    const dead = grace > 0 ? "dead" : "forgotten";
    await this.#peers.look((id, heartbeat) => before.get(id) === heartbeat ? dead : "alive");
  }

  /**
   * Finds out which other instances exist. Call it when one may have started or ended.
   *
   * @throws when KV cannot be read.
   */
  async look(): Promise<void> {
    await this.#peers.look(() => "alive");
  }

  /**
   * Returns when an instance was last alive, in Unix milliseconds of its own clock; `undefined` if
   * that is not known.
   *
   * @throws when KV cannot be read.
   */
  async aliveAt(instance: string): Promise<number | undefined> {
    const { kv, clock } = this.#parts;
    const { value } = await withTimeout(clock, kv.get<unknown>(heartbeatKey(instance)));
    return heartbeatFrom(value).aliveAtMs;
  }

  /** Stops the heartbeat. */
  async stop(): Promise<void> {
    this.#hasEnded = true;
    this.#cancelTimer();
    await this.#peers.stop();
  }

  /** Stops the heartbeat and removes the lease. Remove everything that it covers first. */
  async end(): Promise<void> {
    await this.stop();
    const { kv, clock, instance } = this.#parts;
    await this.#retryRelease(async () => void await removeLease(kv, clock, instance, this.#check));
  }

  /** Stops the heartbeat, but leaves the lease: it is cleaned up when no session can be resumed. */
  async retire(): Promise<void> {
    await this.stop();
    const { kv, clock, instance } = this.#parts;
    const retired = kv.atomic().check(this.#check)
      .set(heartbeatKey(instance), retiredValue(clock.now())).set(NOTIFY_INSTANCES_KEY, instance);
    await this.#retryRelease(async () => void await withTimeout(clock, retired.commit()));
  }

  async #retryRelease(release: () => Promise<void>): Promise<void> {
    const { clock, warn } = this.#parts;
    await retry(clock, release, (error) => warn(`Cannot release the lease: ${messageOf(error)}`));
  }

  #schedule(): void {
    const { clock, isLocal: local } = this.#parts;
    if (this.#hasEnded) return;
    this.#cancelTimer = clock.after(local ? LOCAL_HEARTBEAT_MS : HEARTBEAT_MS, async () => {
      await this.#heartbeat();
      this.#schedule();
    });
  }

  async #heartbeat(): Promise<void> {
    const { kv, clock, instance, onLost, warn } = this.#parts;
    const failed = (error: unknown) => warn(`Cannot renew the lease: ${messageOf(error)}`);
    const heartbeat = kv.atomic().check(this.#check).set(heartbeatKey(instance), clock.now());
    let isHeld = true;
    const wasWritten = await retry(clock, async () => {
      isHeld = (await withTimeout(clock, heartbeat.commit())).ok;
    }, failed);
    if (this.#hasEnded) return;
    if (!isHeld) {
      this.#hasEnded = true;
      void this.#peers.stop();
      return onLost();
    }
    // Perhaps no instance could write: then the silence of the others proves nothing.
    if (!wasWritten) return this.#peers.resetMissed();
    try {
      await this.#peers.lookAndCount(MAX_MISSED_HEARTBEATS, this.#heartbeatsOfGrace());
    } catch (error) {
      failed(error);
    }
  }

  /**
   * Returns the heartbeats of this instance after which no session of an unchanged peer can be
   * resumed. Except on a local file, everything must be cleaned up within 30 s of a peer's death if
   * the grace is no longer than that.
   */
  #heartbeatsOfGrace(): number {
    const { isLocal: local, graceMs: grace } = this.#parts;
    const beats = local ? grace / LOCAL_HEARTBEAT_MS : (grace - 2 * HEARTBEAT_MS) / HEARTBEAT_MS;
    return Math.max(MAX_MISSED_HEARTBEATS, Math.ceil(beats));
  }
}
