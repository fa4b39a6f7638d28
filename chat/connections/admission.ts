/**
 * Decides whether a new connection is admitted, by the connections of its address and of the
 * instance.
 *
 * The HTTP layer asks before it upgrades a request. This file sends and closes nothing. What it
 * remembers of an address is bounded, and is forgotten once it no longer limits anything.
 */
import { TokenBucket, TokenBucketMap } from "../base/token_bucket.ts";
import type { Clock } from "../base/clock.ts";
import type { RateLimits } from "../base/limits.ts";
import { AddressUsage, type DestinationLimits, MISUSE_COST, RateLimiter } from "./rate_limiter.ts";

/** Most addresses that are remembered: some fifty megabytes. */
const MAX_ADDRESSES = 100_000;

/** Most rooms and recipients of direct messages whose rates are remembered: some twenty megabytes. */
const MAX_DESTINATIONS = 100_000;

/** Seconds after which a client may try again when the server or its address is full. */
const FULL_RETRY_S = 30;

/** The reason why a connection is not admitted, as an HTTP response. */
export interface AdmissionRejection {
  /** 429: the address exceeds a limit. 503: the server is full. */
  readonly status: 429 | 503;
  readonly why: string;
  /** Seconds after which the client may try again. */
  readonly retryAfterSeconds: number;
}

/** A connection that was admitted. It counts until it leaves. */
export interface Admission {
  /** Limits what the connection does; `undefined`: nothing is limited. */
  readonly limiter: RateLimiter | undefined;
  /** The address whose registrations are limited; `undefined`: they are not. */
  readonly registersFrom?: string;
  /** Ends the count of the connection. A second call does nothing. */
  leave(): void;
  /** As `leave`, for a failed handshake: charges the address, because Deno keeps a descriptor. */
  fail(): void;
}

/** The admissions of one instance. */
export class AdmissionControl {
  readonly #limits: RateLimits;
  readonly #clock: Clock;
  readonly #addresses = new TokenBucketMap(() => new AddressUsage(), MAX_ADDRESSES);
  readonly #destinations: DestinationLimits | undefined;
  readonly #limitsActions: boolean;
  #connections = 0;

  constructor(limits: RateLimits, clock: Clock) {
    this.#limits = limits;
    this.#clock = clock;
    const { roomMessages: rate } = limits;
    if (rate !== undefined) {
      const buckets = new TokenBucketMap(() => new TokenBucket(), MAX_DESTINATIONS);
      this.#destinations = { rate, buckets };
    }
    this.#limitsActions = [rate, ...Object.values(limits.connectionActions)].some((each) =>
      each !== undefined
    );
  }

  /** The number of remembered addresses. */
  get addresses(): number {
    return this.#addresses.size;
  }

  /** The number of connections. */
  get connections(): number {
    return this.#connections;
  }

  /**
   * Returns why a connection from an address would not be admitted, or `undefined`. Every call counts
   * as a try, even if the caller refuses the client for another reason. This limits how often a client
   * can guess the access token.
   */
  check(address: string | undefined, shared: boolean): AdmissionRejection | undefined {
    const { newConnections: rate, maxPerAddress: perAddress, maxConnections: connections } =
      this.#limits;
    const usage = this.#usageOf(address, shared);
    const wait = rate && usage?.newConnections.take(rate, 1, this.#clock.monotonicMs()) || 0;
    if (wait > 0) {
      const seconds = Math.ceil(wait / 1000);
      return rejected(429, "Too many new connections from your address.", seconds);
    }
    if (this.#connections >= connections) {
      return rejected(503, "The server is full.", FULL_RETRY_S);
    }
    if (usage !== undefined && usage.connections >= perAddress) {
      const why = `Too many connections from your address (${perAddress}).`;
      return rejected(429, why, FULL_RETRY_S);
    }
  }

  /** Admits a connection, and counts it until it leaves. */
  admit(address: string | undefined, shared: boolean): Admission {
    const { connectionActions: one, addressActions: rates, newConnections } = this.#limits;
    const { registrations: registration, limitsLoopbackRegistrations: registersShared } =
      this.#limits;
    const usage = this.#usageOf(address, shared);
    this.#connections++;
    if (usage !== undefined) usage.connections++;
    let isCounted = true;
    const leave = () => {
      // Deno reports the end of some connections twice.
      if (!isCounted) return;
      isCounted = false;
      this.#connections--;
      if (usage !== undefined) usage.connections--;
    };
    const limit = usage && { usage, rates, newConnections };
    return {
      registersFrom: registration !== undefined && (!shared || registersShared)
        ? address
        : undefined,
      limiter: this.#limitsActions
        ? new RateLimiter(this.#clock, one, limit, this.#destinations)
        : undefined,
      leave,
      fail: () => {
        if (newConnections !== undefined) {
          usage?.newConnections.spend(newConnections, MISUSE_COST, this.#clock.monotonicMs());
        }
        leave();
      },
    };
  }

  #usageOf(address: string | undefined, shared: boolean): AddressUsage | undefined {
    const {
      newConnections: connection,
      maxPerAddress: perAddress,
      addressActions: { message },
      limitsLoopback: countsShared,
    } = this.#limits;
    if (address === undefined || (shared && !countsShared)) return undefined;
    if (connection === undefined && perAddress === Infinity && message === undefined) return;
    return this.#addresses.get(address, this.#clock.monotonicMs());
  }
}

function rejected(status: 429 | 503, why: string, seconds: number): AdmissionRejection {
  const retry = `Try again in ${seconds} ${seconds === 1 ? "second" : "seconds"}.`;
  return { status, why: `${why} ${retry}`, retryAfterSeconds: seconds };
}
