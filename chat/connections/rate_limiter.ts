/**
 * Limits how fast one connection may act, together with the others of its address.
 *
 * A client that exceeds a limit is asked to wait. A client that ignores that is to be disconnected.
 * Connection asks before each request. This file sends and closes nothing: it returns how long to
 * wait.
 */
import {
  type Expirable,
  type Rate,
  TokenBucket,
  type TokenBucketMap,
} from "../base/token_bucket.ts";
import type { Clock } from "../base/clock.ts";
import { encodedBytes } from "../delivery/encoded_size.ts";
import type { ActionKind, ActionRates } from "../base/limits.ts";

/** Returned by {@linkcode RateLimiter.take} for a client that has ignored too many rejections. */
export const DISCONNECT = Infinity;

/**
 * Requests that a client may send although it was asked to wait. Some were on their way already: a
 * user who pastes a book has to read the answer first, and a program may have sent 64 at once.
 */
const IGNORED_REJECTION_RATE: Rate = { burst: 128, ms: 60_000 };

/** A client is asked to wait until at least this part of a full burst is available again. */
const MIN_WAIT_DIVISOR = 10;

/** New connections that an address is charged for a disconnect or a failed handshake. */
export const MISUSE_COST = 20;

/** Characters of a command or request that cost 1. */
const UNIT_CHARS = 2048;

/** Encoded bytes of a message that cost 1. */
const MESSAGE_UNIT_BYTES = 1024;

/** Bytes that a line break of a message counts besides its own: four lines cost as much as 1 KiB. */
const LINE_BREAK_BYTES = 256;

/** Bytes of a reply that cost as much as one command. A page of fifty short messages costs 3. */
const REPLY_UNIT_BYTES = 4096;

/** Rows read for a list that cost as much as one command. */
const UNIT_ROWS = 100;

/** The most that one request costs: a single mistake must not use up the whole burst. */
const MAX_COST = 32;

/** The most that one message costs: the cost of the longest one of the default length. */
const MAX_MESSAGE_COST = 100;

/** Returns the cost of a request of so many characters. */
export function costOf(characters: number): number {
  return Math.min(MAX_COST, 1 + Math.floor(characters / UNIT_CHARS));
}

/**
 * Returns the cost of a message: 1, and 1 more for each started 1 KiB beyond the first that each
 * reader is sent. Four line breaks cost as much as 1 KiB.
 */
export function messageCost(text: string): number {
  let bytes = encodedBytes(text);
  for (let i = text.indexOf("\n"); i >= 0; i = text.indexOf("\n", i + 1)) bytes += LINE_BREAK_BYTES;
  return Math.min(MAX_MESSAGE_COST, Math.max(1, Math.ceil(bytes / MESSAGE_UNIT_BYTES)));
}

/**
 * Returns the additional cost of a reply, by its bytes and by the rows that were read for it. It is
 * known only after the reply has been made: see {@linkcode RateLimiter.charge}.
 */
export function replyCost(bytes: number, rows = 0): number {
  return Math.floor(bytes / REPLY_UNIT_BYTES) + Math.floor(rows / UNIT_ROWS);
}

/** One token bucket for each kind of action. */
export type Buckets = Readonly<Record<ActionKind, TokenBucket>>;

/** Returns full buckets. */
export function newBuckets(): Buckets {
  return {
    message: new TokenBucket(),
    command: new TokenBucket(),
    join: new TokenBucket(),
    nick: new TokenBucket(),
  };
}

/** What the connections of one address have used together. */
export class AddressUsage implements Expirable {
  readonly buckets: Buckets = newBuckets();
  /** Limits how often the address may connect. */
  readonly newConnections: TokenBucket = new TokenBucket();
  connections = 0;

  /** Returns whether the address has nothing in use and can be forgotten. */
  isFull(now: number): boolean {
    if (this.connections > 0 || !this.newConnections.isFull(now)) return false;
    return Object.values(this.buckets).every((bucket) => bucket.isFull(now));
  }
}

/** The limits that a connection shares with the others of its address. */
export interface AddressLimit {
  readonly usage: AddressUsage;
  readonly rates: ActionRates;
  readonly newConnections: Rate | undefined;
}

/** The limits of messages to one room, or to one recipient of direct messages, from all senders. */
export interface DestinationLimits {
  readonly rate: Rate;
  readonly buckets: TokenBucketMap<TokenBucket>;
}

/** The rate limits of one connection. */
export class RateLimiter {
  readonly #clock: Clock;
  readonly #rates: ActionRates;
  readonly #buckets = newBuckets();
  readonly #address: AddressLimit | undefined;
  readonly #destinations: DestinationLimits | undefined;
  /** When the client may act again, for each kind of action, in monotonic milliseconds. */
  readonly #allowedFromMs: Record<ActionKind, number> = {
    message: 0,
    command: 0,
    join: 0,
    nick: 0,
  };
  readonly #ignoredRejections = new TokenBucket();

  constructor(
    clock: Clock,
    rates: ActionRates,
    address?: AddressLimit,
    destinations?: DestinationLimits,
  ) {
    this.#clock = clock;
    this.#rates = rates;
    this.#address = address;
    this.#destinations = destinations;
  }

  /**
   * Charges an action and returns 0 if it is allowed now. Otherwise returns the milliseconds to wait,
   * or {@linkcode DISCONNECT} for a client that has ignored too many rejections.
   */
  take(action: ActionKind, cost: number): number {
    const rate = this.#rates[action];
    if (rate === undefined) return 0;
    const now = this.#clock.monotonicMs();
    const left = this.#allowedFromMs[action] - now;
    // No request is allowed before the wait is over: otherwise parts of a pasted text would be lost.
    if (left > 0) return this.#hasIgnoredTooMany(now) ? DISCONNECT : left;
    const wait = this.#buckets[action].take(rate, cost, now) ||
      this.#takeFromAddress(action, cost, now);
    return wait === 0 ? 0 : this.#askToWait(action, wait, rate, now);
  }

  /**
   * Charges a message to its room or recipient, together with those of all other senders. Returns 0
   * if it is allowed now, otherwise the milliseconds to wait.
   */
  takeFor(destination: string, text: string): number {
    if (this.#destinations === undefined) return 0;
    const { rate, buckets } = this.#destinations;
    const now = this.#clock.monotonicMs();
    const wait = buckets.get(destination, now).take(rate, messageCost(text), now);
    return wait === 0 ? 0 : this.#askToWait("message", wait, rate, now);
  }

  /**
   * Charges the connection and its address a cost that was unknown before the action. A cost beyond
   * what is available is a debt: the next action waits for it.
   */
  charge(action: ActionKind, cost: number): void {
    const rate = this.#rates[action];
    if (rate === undefined || cost === 0) return;
    const now = this.#clock.monotonicMs();
    this.#buckets[action].spend(rate, cost, now);
    const addressRate = this.#address?.rates[action];
    if (addressRate !== undefined) {
      this.#address!.usage.buckets[action].spend(addressRate, cost, now);
    }
  }

  #askToWait(action: ActionKind, wait: number, rate: Rate, now: number): number {
    const advised = Math.max(wait, rate.ms / MIN_WAIT_DIVISOR);
    this.#allowedFromMs[action] = now + advised;
    return advised;
  }

  #takeFromAddress(action: ActionKind, cost: number, now: number): number {
    const rate = this.#address?.rates[action];
    return rate === undefined ? 0 : this.#address!.usage.buckets[action].take(rate, cost, now);
  }

  /** Counts an ignored rejection. After too many, the address is charged for new connections. */
  #hasIgnoredTooMany(now: number): boolean {
    if (this.#ignoredRejections.take(IGNORED_REJECTION_RATE, 1, now) === 0) return false;
    const { newConnections, usage } = this.#address ?? {};
    if (newConnections !== undefined) usage!.newConnections.spend(newConnections, MISUSE_COST, now);
    return true;
  }
}
