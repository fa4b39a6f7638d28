/**
 * The other instances on the same KV: finds out which of them are alive, and has exactly one instance
 * clean up after each dead one.
 *
 * It does not write this instance's own heartbeat (lease.ts), and does not know what an instance
 * leaves behind.
 */
import type { Clock } from "../base/clock.ts";
import {
  commitGuardPrefix,
  HEARTBEAT_PREFIX,
  heartbeatKey,
  leaseKey,
  NOTIFY_INSTANCES_KEY,
  takeoverPrefix,
} from "../kv/keys.ts";
import { eachWithTimeout, withTimeout } from "../kv/retry.ts";
import { heartbeatFrom } from "../kv/values.ts";

/** Rows that belong to a lease and are removed with it in one commit. */
const MAX_REMOVED_ROWS = 400;

/** What the peers are made of. */
export interface PeersParts {
  readonly kv: Deno.Kv;
  readonly clock: Clock;
  /** The ID of this instance. */
  readonly instance: string;
  /**
   * Removes the connections of a dead instance that cannot be resumed, and with `includeResumable` all.
   * Every commit includes `claim`, which only one instance can hold. Returns how many connections were
   * removed (`gone`) and how many are left; `undefined` if the claim was lost or KV failed.
   */
  cleanUp(
    instance: string,
    claim: Deno.AtomicCheck,
    includeResumable: boolean,
  ): Promise<{ gone: number; left: number } | undefined>;
  /** Called after each look with whether any other instance exists. */
  setShared(isShared: boolean): Promise<void>;
  warn(message: string): void;
  info(message: string): void;
}

/** What is known of another instance. */
interface Peer {
  /** The versionstamp of its last heartbeat. */
  readonly heartbeat: string;
  /** Heartbeats of this instance since that one was first seen. */
  missed: number;
  /** It ended and left sessions that can be resumed. */
  readonly isRetired: boolean;
  /** All its connections are removed, except those that can be resumed. */
  isCleanedUp: boolean;
}

/** Whether a peer is alive, dead, or dead for so long that none of its sessions can be resumed. */
export type PeerState = "alive" | "dead" | "forgotten";

/** The other instances. */
export class Peers {
  readonly #parts: PeersParts;
  #peers = new Map<string, Peer>();
  #looking: Promise<void> | undefined;
  #hasEnded = false;

  constructor(parts: PeersParts) {
    this.#parts = parts;
  }

  /** Whether there is a peer that has not retired. */
  get hasActive(): boolean {
    return [...this.#peers.values()].some(({ isRetired }) => !isRetired);
  }

  /** Returns the versionstamp of each peer's last heartbeat, by the peer's ID. */
  heartbeats(): Map<string, string> {
    return new Map([...this.#peers].map(([id, { heartbeat }]) => [id, heartbeat]));
  }

  /** Forgets how many heartbeats the peers have missed. */
  resetMissed(): void {
    for (const peer of this.#peers.values()) peer.missed = 0;
  }

  /** Stops. Resolves when no look is under way. */
  async stop(): Promise<void> {
    this.#hasEnded = true;
    await this.#looking?.catch(() => {});
  }

  /**
   * Looks at all peers after a heartbeat of this instance. A peer that missed `deadAfter` heartbeats
   * is dead, one that missed `forgottenAfter` is forgotten.
   *
   * @throws when KV cannot be read.
   */
  async lookAndCount(deadAfter: number, forgottenAfter: number): Promise<void> {
    await this.look((id, heartbeat) => {
      const peer = this.#peers.get(id);
      if (peer?.heartbeat !== heartbeat) return "alive";
      peer.missed++;
      if (peer.missed >= forgottenAfter) return "forgotten";
      return peer.missed >= deadAfter && !peer.isCleanedUp ? "dead" : "alive";
    });
  }

  /**
   * Reads all heartbeats, and cleans up the instances that `judge` does not call alive. One look runs
   * at a time, and each call gets a look that starts after it.
   *
   * @throws when KV cannot be read.
   */
  async look(judge: (id: string, heartbeat: string) => PeerState): Promise<void> {
    while (this.#looking !== undefined) await this.#looking.catch(() => {});
    // Removing the lease also wakes the watch of this instance, whose KV may be closed by then.
    if (this.#hasEnded) return;
    this.#looking = this.#lookOnce(judge).finally(() => this.#looking = undefined);
    await this.#looking;
  }

  async #lookOnce(judge: (id: string, heartbeat: string) => PeerState): Promise<void> {
    const { kv, clock, instance, setShared } = this.#parts;
    const peers = new Map<string, Peer>();
    const dead = new Map<string, PeerState>();
    const rows = kv.list({ prefix: HEARTBEAT_PREFIX }, { batchSize: 500 });
    for await (const { key, value, versionstamp } of eachWithTimeout(clock, rows)) {
      const id = String(key[1]);
      if (id === instance) continue;
      const state = judge(id, versionstamp);
      if (state !== "alive") dead.set(id, state);
      const before = this.#peers.get(id);
      const { isRetired } = heartbeatFrom(value);
      const isUnchanged = before?.heartbeat === versionstamp;
      peers.set(id, isUnchanged ? before : newPeer(versionstamp, isRetired));
    }
    this.#peers = peers;
    for (const [id, state] of dead) if (await this.#cleanUp(id, state)) peers.delete(id);
    await setShared(peers.size > 0);
  }

  /** Cleans up a dead instance, unless another instance does. Returns whether nothing of it is left. */
  async #cleanUp(dead: string, state: PeerState): Promise<boolean> {
    const { kv, clock, instance, cleanUp, info } = this.#parts;
    const key = leaseKey(dead);
    const { versionstamp } = await withTimeout(clock, kv.get(key));
    if (versionstamp === null) {
      // Another instance was faster. A claim now would only create a row that must be removed again.
      await withTimeout(clock, kv.atomic().delete(heartbeatKey(dead)).commit());
      return true;
    }
    // From here on the dead instance, should it continue, can write nothing, and no other instance
    // can clean it up.
    const claim = await withTimeout(
      clock,
      kv.atomic().check({ key, versionstamp }).set(key, { v: 1, sweeper: instance }).commit(),
    );
    if (!claim.ok) return false;
    const check = { key, versionstamp: claim.versionstamp };
    const result = await cleanUp(dead, check, state === "forgotten");
    if (result === undefined) return false;
    const { gone, left } = result;
    if (gone > 0) {
      info(
        `Cleaned up ${gone} ${gone === 1 ? "connection" : "connections"} left by instance ${dead}`,
      );
    }
    if (left === 0) return await removeLease(kv, clock, dead, check);
    const peer = this.#peers.get(dead);
    if (peer !== undefined) peer.isCleanedUp = true;
    return false;
  }
}

/** Removes a lease, its heartbeat and the rows that go with it. Returns false if it is not held. */
export async function removeLease(
  kv: Deno.Kv,
  clock: Clock,
  instance: string,
  lease: Deno.AtomicCheck,
): Promise<boolean> {
  const removal = kv.atomic().check(lease).delete(lease.key).delete(heartbeatKey(instance))
    .set(NOTIFY_INSTANCES_KEY, instance);
  for (const prefix of [commitGuardPrefix(instance), takeoverPrefix(instance)]) {
    const rows = kv.list({ prefix }, { limit: MAX_REMOVED_ROWS });
    for await (const { key } of eachWithTimeout(clock, rows)) removal.delete(key);
  }
  return (await withTimeout(clock, removal.commit())).ok;
}

function newPeer(heartbeat: string, isRetired: boolean): Peer {
  // A retired instance has removed its connections itself.
  return { heartbeat, missed: 0, isRetired, isCleanedUp: isRetired };
}
