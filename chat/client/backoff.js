// @ts-check
/**
 * How long the client waits before it reconnects. It starts no timer.
 */
import { POLICY_VIOLATION, TRY_AGAIN_LATER } from "./protocol.js";

/** @import { Clock } from "./client.d.ts" */

/** The longest first delay. Half of it is the minimum; jitter adds the rest. */
const FIRST_DELAY_MS = 500;
const MAX_DELAY_MS = 30_000;
/** After so long online the next loss counts as the first. */
const STABLE_MS = 10_000;
/** The same after the server closed a slow connection (1013). Without it a client that is too slow
 * for the replay would reconnect every half minute, and be closed again each time. */
const STABLE_AFTER_OVERLOAD_MS = 300_000;

/** Counts failures and computes the delay before the next attempt. */
export class Backoff {
  #failures = 0;
  #stableMs = STABLE_MS;
  /** @type {number | undefined} */
  #onlineSinceMs;
  #clock;

  /** @param {Clock} clock */
  constructor(clock) {
    this.#clock = clock;
  }

  /** Notes that the client is online. */
  online() {
    this.#onlineSinceMs = this.#clock.monotonicMs();
  }

  /**
   * Notes a lost connection. Returns the milliseconds to wait: a random delay, whose upper bound doubles
   * with each failure.
   *
   * @param {number} closeCode
   */
  lost(closeCode) {
    const since = this.#onlineSinceMs;
    if (since !== undefined && this.#clock.monotonicMs() - since >= this.#stableMs) {
      this.#failures = 0;
      this.#stableMs = STABLE_MS;
    }
    this.#onlineSinceMs = undefined;
    const maxMs = Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** this.#failures++);
    if (closeCode === TRY_AGAIN_LATER) this.#stableMs = STABLE_AFTER_OVERLOAD_MS;
    const [fromMs, toMs] = delayRange(closeCode, maxMs);
    return Math.round(fromMs + this.#clock.jitter() * (toMs - fromMs));
  }
}

/**
 * @param {number} closeCode
 * @param {number} maxMs
 * @returns {[fromMs: number, toMs: number]}
 */
function delayRange(closeCode, maxMs) {
  // A client that broke the rate limits would be closed again.
  if (closeCode === POLICY_VIOLATION) return [MAX_DELAY_MS / 2, MAX_DELAY_MS];
  if (closeCode === TRY_AGAIN_LATER) return [maxMs / 2, maxMs];
  return [FIRST_DELAY_MS / 2, maxMs];
}
