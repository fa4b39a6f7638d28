/**
 * The banned addresses and networks, in memory: read at the start, and changed by the acts that are
 * delivered. So the HTTP layer can ask for each request.
 *
 * One look costs as many steps as there are different sizes of banned networks, however many networks are
 * banned. This file closes no connections.
 */
import type { Clock } from "../base/clock.ts";
import { type Network, networkAround, networkFrom, versionOf } from "../base/networks.ts";
import { BANNED_NETWORK_PREFIX, bannedNetworkKey } from "../kv/keys.ts";
import { NO_END, type Sanction, sanctionFrom } from "../kv/moderation_values.ts";
import { eachWithTimeout } from "../kv/retry.ts";

/** Bits of the largest network that can be banned without force: 1/256 of IPv4, 1/65,536 of IPv6. */
const MIN_BITS: Readonly<Record<4 | 6, number>> = { 4: 8, 6: 16 };

/** Returns whether a network is so large that only a forced ban may cover it. */
export function needsForce({ version, bits }: Network): boolean {
  return bits < MIN_BITS[version];
}

/** The banned networks of one instance. */
export class BannedNetworks {
  readonly #clock: Clock;
  /** By their written form. */
  readonly #bans = new Map<string, Sanction>();
  /** How many networks are banned, by version and bits. */
  readonly #sizes = { 4: new Map<number, number>(), 6: new Map<number, number>() };
  /** The number of changes: see {@linkcode BannedNetworks.load}. */
  #changes = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Reads all bans. Acts that are delivered meanwhile are applied.
   *
   * @throws when KV cannot be read.
   */
  async load(kv: Deno.Kv): Promise<void> {
    for (let changes = -1; changes !== this.#changes;) {
      changes = this.#changes;
      const found = new Map<string, Sanction>();
      const rows = kv.list<unknown>({ prefix: BANNED_NETWORK_PREFIX }, { batchSize: 500 });
      for await (const { key, value } of eachWithTimeout(this.#clock, rows)) {
        const ban = sanctionFrom(value);
        if (ban !== undefined) found.set(String(key[1]), ban);
      }
      // Otherwise an unban that was delivered meanwhile would be lost.
      if (changes !== this.#changes) continue;
      for (const [text, ban] of found) this.#set(text, ban);
    }
  }

  /** Returns the ban of an address, as a rate limit's key, if it is banned now. */
  banOf(address: string): Sanction | undefined {
    if (this.#bans.size === 0) return undefined;
    for (const bits of this.#sizes[versionOf(address)].keys()) {
      const { text } = networkAround(address, bits);
      const ban = this.#bans.get(text);
      if (ban === undefined) continue;
      if (ban.until > this.#clock.now()) return ban;
      this.#delete(text);
    }
    return undefined;
  }

  /** Returns whether this very network is banned now. */
  has({ text }: Network): boolean {
    return (this.#bans.get(text)?.until ?? 0) > this.#clock.now();
  }

  /** Bans a network, or ends its ban. */
  apply(network: string, ban: Sanction | undefined): void {
    this.#changes++;
    if (ban === undefined) this.#delete(network);
    else this.#set(network, ban);
  }

  #set(text: string, ban: Sanction): void {
    const network = networkFrom(text);
    if (network?.text !== text) return;
    if (!this.#bans.has(text)) this.#count(network, 1);
    this.#bans.set(text, ban);
  }

  #delete(text: string): void {
    const network = networkFrom(text);
    if (network !== undefined && this.#bans.delete(text)) this.#count(network, -1);
  }

  #count({ version, bits }: Network, change: number): void {
    const sizes = this.#sizes[version];
    const count = (sizes.get(bits) ?? 0) + change;
    if (count === 0) sizes.delete(bits);
    else sizes.set(bits, count);
  }
}

/** Returns the mutation that stores the ban of a network, or removes it. */
export function putNetworkBan(
  { text }: Network,
  ban: Sanction | undefined,
  nowMs: number,
): Deno.KvMutation {
  const key = bannedNetworkKey(text);
  if (ban === undefined) return { type: "delete", key };
  return ban.until >= NO_END
    ? { type: "set", key, value: ban }
    : { type: "set", key, value: ban, expireIn: Math.max(1, Math.ceil(ban.until - nowMs)) };
}
