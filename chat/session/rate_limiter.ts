/**
 * Flood control: who does too much is first asked to wait, and who goes on is shown the door.
 *
 * Server asks at the door, Lines and Requests before each thing that somebody does. Counted are
 * connections, and addresses, behind which may be many people. It sends nothing, and closes nothing:
 * it says how long to wait. What it keeps is bounded, and is forgotten when it says nothing any more.
 */
import { type Expirable, type Rate, TokenBucket, TokenBucketMap } from "../base/token_bucket.ts";
import type { Clock } from "../base/clock.ts";
import { encodedBytes } from "../delivery/encoded_size.ts";
import type { ActionKind, ActionRates, RateLimits } from "../base/limits.ts";

/** What {@linkcode RateLimiter.take} returns to who has been asked often enough to wait. */
export const DISCONNECT = Infinity;

/**
 * What is done although one was asked to wait: some of it was on its way already, and whoever pastes
 * a book has to read the answer first. A program may have sent 64 requests at once.
 */
const REJECTION_RATE: Rate = { burst: 128, ms: 60_000 };

/** Whoever is asked to wait is told a time after which this part of all that is allowed at once is. */
const PART = 10;

/**
 * As how many new connections it counts for an address, if one of its connections is closed, or one
 * of its handshakes comes to nothing.
 */
const FLOODER = 20;

/** Most addresses that are remembered: some fifty megabytes. */
const MAX_ADDRESSES = 100_000;

/** Characters of a command or request that count as one. */
const UNIT = 2048;

/** Encoded bytes of a message that count as one. */
const MESSAGE_UNIT_BYTES = 1024;

/** Bytes that a line break of a message counts besides its own: four lines are as much as 1 KiB. */
const LINE_BREAK_BYTES = 256;

/** Bytes of a reply that count as one command. A page of fifty short messages counts as three. */
const REPLY_UNIT_BYTES = 4096;

/** Rows that are read for a list that count as one command. */
const ROWS_UNIT = 100;

/** Most rooms and receivers of direct messages whose rate is remembered: some twenty megabytes. */
const MAX_DESTINATIONS = 100_000;

/** Seconds after which to try again when there is no room. */
const NO_ROOM = 30;

/** The most that one thing costs: a single mistake must not use up everything. */
const MAX_COST = 32;

/** The most that one message costs: what the longest one of the default length takes on the wire. */
const MAX_MESSAGE_COST = 100;

/** What something costs that is so many characters long. */
export function costOf(characters: number): number {
  return Math.min(MAX_COST, 1 + Math.floor(characters / UNIT));
}

/**
 * Returns what a message costs: 1, and one more for each started 1 KiB that each reader is sent
 * beyond the first. Four line breaks count as much as 1 KiB.
 */
export function messageCost(text: string): number {
  let bytes = encodedBytes(text);
  for (let i = text.indexOf("\n"); i >= 0; i = text.indexOf("\n", i + 1)) bytes += LINE_BREAK_BYTES;
  return Math.min(MAX_MESSAGE_COST, Math.max(1, Math.ceil(bytes / MESSAGE_UNIT_BYTES)));
}

/**
 * Returns what a reply costs besides the asking, by its bytes and by the rows that were read for it.
 * It is known only after the fact: see {@linkcode RateLimiter.charge}.
 */
export function replyCost(bytes: number, rows = 0): number {
  return Math.floor(bytes / REPLY_UNIT_BYTES) + Math.floor(rows / ROWS_UNIT);
}

/** Why somebody is not let in. */
export interface AdmissionRejection {
  /** 429: it is about their address; 503: it is about the chat. */
  readonly status: 429 | 503;
  readonly why: string;
  /** Seconds to wait. */
  readonly seconds: number;
}

/** Somebody who was let in. */
export interface Admission {
  /** `undefined`: nothing is counted. */
  readonly limiter: RateLimiter | undefined;
  /** The address for which registrations are counted; `undefined`: they are not. */
  readonly registersFrom?: string;
  /** Their connection is gone. May be called more than once. */
  leave(): void;
  /** Their handshake came to nothing: the same, and it counts as many. Deno keeps its descriptor. */
  fail(): void;
}

/** Bucket by bucket what a connection, or an address, has done. */
type Buckets = Readonly<Record<ActionKind, TokenBucket>>;

/** What one address does. */
class AddressUsage implements Expirable {
  readonly buckets: Buckets = newBuckets();
  readonly connection: TokenBucket = new TokenBucket();
  connections = 0;

  isFull(now: number): boolean {
    if (this.connections > 0 || !this.connection.isFull(now)) return false;
    return Object.values(this.buckets).every((bucket) => bucket.isFull(now));
  }
}

/** The doorkeeper who counts. */
export class AdmissionControl {
  readonly #limits: RateLimits;
  readonly #clock: Clock;
  readonly #addresses = new TokenBucketMap(() => new AddressUsage(), MAX_ADDRESSES);
  readonly #destinations: Destinations | undefined;
  readonly #limitsActions: boolean;
  #connections = 0;

  constructor(limits: RateLimits, clock: Clock) {
    this.#limits = limits;
    this.#clock = clock;
    const { room: rate } = limits;
    if (rate !== undefined) {
      this.#destinations = {
        rate,
        buckets: new TokenBucketMap(() => new TokenBucket(), MAX_DESTINATIONS),
      };
    }
    this.#limitsActions = [rate, ...Object.values(limits.one)].some((each) => each !== undefined);
  }

  /** How many addresses are remembered. */
  get addresses(): number {
    return this.#addresses.size;
  }

  /** How many connections there are. */
  get connections(): number {
    return this.#connections;
  }

  /**
   * Somebody asks to be let in. Each try counts, also of those who are turned away after this: so
   * nobody can guess at the access token for long.
   */
  check(address: string | undefined, shared: boolean): AdmissionRejection | undefined {
    const { connection, perAddress, connections } = this.#limits;
    const neighbours = this.#at(address, shared);
    const wait =
      connection && neighbours?.connection.take(connection, 1, this.#clock.monotonicMs()) || 0;
    if (wait > 0) {
      const seconds = Math.ceil(wait / 1000);
      return rejected(429, `Too many connections were opened from your address.`, seconds);
    }
    if (this.#connections >= connections) return rejected(503, "The chat is full.", NO_ROOM);
    if (neighbours !== undefined && neighbours.connections >= perAddress) {
      return rejected(429, `There are ${perAddress} connections from your address.`, NO_ROOM);
    }
  }

  /** Somebody comes in. */
  admit(address: string | undefined, shared: boolean): Admission {
    const neighbours = this.#at(address, shared);
    this.#connections++;
    if (neighbours !== undefined) neighbours.connections++;
    let isHere = true;
    const { one, address: together, connection, registration, registersShared } = this.#limits;
    const registers = registration !== undefined && (!shared || registersShared);
    const leave = () => {
      // Deno tells of the end of some connections twice.
      if (!isHere) return;
      isHere = false;
      this.#connections--;
      if (neighbours !== undefined) neighbours.connections--;
    };
    return {
      registersFrom: registers ? address : undefined,
      limiter: this.#limitsActions
        ? new RateLimiter(
          this.#clock,
          one,
          neighbours && { neighbours, rates: together, connection },
          this.#destinations,
        )
        : undefined,
      leave,
      fail: () => {
        if (connection !== undefined) {
          neighbours?.connection.spend(connection, FLOODER, this.#clock.monotonicMs());
        }
        leave();
      },
    };
  }

  #at(address: string | undefined, shared: boolean): AddressUsage | undefined {
    const { connection, perAddress, address: { message }, countsShared } = this.#limits;
    if (address === undefined || (shared && !countsShared)) return undefined;
    if (connection === undefined && perAddress === Infinity && message === undefined) return;
    return this.#addresses.at(address, this.#clock.monotonicMs());
  }
}

/** How fast somebody goes. */
export class RateLimiter {
  readonly #clock: Clock;
  readonly #rates: ActionRates;
  readonly #buckets = newBuckets();
  readonly #address: AddressLimit | undefined;
  readonly #destinations: Destinations | undefined;
  /** Until when they were asked to wait, deed by deed. */
  readonly #until: Record<ActionKind, number> = { message: 0, command: 0, join: 0, nick: 0 };
  readonly #rejections = new TokenBucket();

  constructor(
    clock: Clock,
    rates: ActionRates,
    address?: AddressLimit,
    destinations?: Destinations,
  ) {
    this.#clock = clock;
    this.#rates = rates;
    this.#address = address;
    this.#destinations = destinations;
  }

  /**
   * 0 if that may be done now, and it is counted; otherwise the milliseconds to wait, or
   * {@linkcode DISCONNECT} for whoever has been told so and goes on.
   */
  take(action: ActionKind, cost: number): number {
    const rate = this.#rates[action];
    if (rate === undefined) return 0;
    const now = this.#clock.monotonicMs();
    const left = this.#until[action] - now;
    // Nothing gets through before the time is over: what was said at once would be torn apart.
    if (left > 0) return this.#ignoresRejections(now) ? DISCONNECT : left;
    const wait = this.#buckets[action].take(rate, cost, now) ||
      this.#takeFromAddress(action, cost, now);
    return wait === 0 ? 0 : this.#askToWait(action, wait, rate, now);
  }

  /**
   * Counts a message for the room that it goes to, together with those of everybody else, or for the
   * one person whom it is said to. Returns 0 if it may go there now, otherwise the milliseconds to wait.
   */
  takeFor(destination: string, text: string): number {
    if (this.#destinations === undefined) return 0;
    const { rate, buckets } = this.#destinations;
    const now = this.#clock.monotonicMs();
    const wait = buckets.at(destination, now).take(rate, messageCost(text), now);
    return wait === 0 ? 0 : this.#askToWait("message", wait, rate, now);
  }

  /**
   * Counts what turned out to be more work than could be known before, for the connection and for its
   * address. What is more than they may do now is a debt, for which the next request waits.
   */
  charge(action: ActionKind, cost: number): void {
    const rate = this.#rates[action];
    if (rate === undefined || cost === 0) return;
    const now = this.#clock.monotonicMs();
    this.#buckets[action].spend(rate, cost, now);
    const together = this.#address?.rates[action];
    if (together !== undefined) {
      this.#address!.neighbours.buckets[action].spend(together, cost, now);
    }
  }

  #askToWait(action: ActionKind, wait: number, rate: Rate, now: number): number {
    const advice = Math.max(wait, rate.ms / PART);
    this.#until[action] = now + advice;
    return advice;
  }

  #takeFromAddress(action: ActionKind, cost: number, now: number): number {
    const rate = this.#address?.rates[action];
    return rate === undefined ? 0 : this.#address!.neighbours.buckets[action].take(rate, cost, now);
  }

  /** Whether that was once too often. Then their next connections are let in more slowly. */
  #ignoresRejections(now: number): boolean {
    if (this.#rejections.take(REJECTION_RATE, 1, now) === 0) return false;
    const { connection, neighbours } = this.#address ?? {};
    if (connection !== undefined) neighbours!.connection.spend(connection, FLOODER, now);
    return true;
  }
}

/** What is counted for all of an address together. */
interface AddressLimit {
  readonly neighbours: AddressUsage;
  readonly rates: ActionRates;
  readonly connection: Rate | undefined;
}

/** What is counted for a room, or for one person who is told something, whoever says it. */
interface Destinations {
  readonly rate: Rate;
  readonly buckets: TokenBucketMap<TokenBucket>;
}

function newBuckets(): Buckets {
  return {
    message: new TokenBucket(),
    command: new TokenBucket(),
    join: new TokenBucket(),
    nick: new TokenBucket(),
  };
}

function rejected(status: 429 | 503, why: string, seconds: number): AdmissionRejection {
  const please = `Please try again in ${seconds} ${seconds === 1 ? "second" : "seconds"}.`;
  return { status, why: `${why} ${please}`, seconds };
}
