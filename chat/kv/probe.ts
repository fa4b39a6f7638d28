/**
 * Tells whether KV answers, for health checks.
 *
 * It judges one read. It does not know what waits for the answer, and logs nothing.
 */
import type { Clock } from "../base/clock.ts";
import { SHARDS_KEY } from "./keys.ts";
import { withTimeout } from "./retry.ts";

/** Milliseconds within which KV must answer. */
const ANSWER_MS = 1_000;

/** Milliseconds for which an answer counts. Whoever asks more often causes no more reads. */
const KEEP_MS = 1_000;

/** Milliseconds after which a read without an answer no longer keeps another one from starting. */
const GIVE_UP_MS = 30_000;

/** Reads one key of KV at most once a second, however often it is asked. */
export class Probe {
  readonly #kv: Pick<Deno.Kv, "get">;
  readonly #clock: Clock;
  #answers: Promise<boolean> = Promise.resolve(false);
  #startedMs = -Infinity;
  #isReading = false;

  constructor(kv: Pick<Deno.Kv, "get">, clock: Clock) {
    this.#kv = kv;
    this.#clock = clock;
  }

  /** Returns whether KV answered the last read within a second. Reads if that was a second ago. */
  answers(): Promise<boolean> {
    const ageMs = this.#clock.monotonicMs() - this.#startedMs;
    // Reads that hang would otherwise add up for as long as somebody asks.
    if (ageMs >= (this.#isReading ? GIVE_UP_MS : KEEP_MS)) this.#answers = this.#read();
    return this.#answers;
  }

  #read(): Promise<boolean> {
    const startedMs = this.#startedMs = this.#clock.monotonicMs();
    this.#isReading = true;
    const ended = () => {
      if (this.#startedMs === startedMs) this.#isReading = false;
    };
    const read = this.#kv.get(SHARDS_KEY);
    read.then(ended, ended);
    return withTimeout(this.#clock, read, ANSWER_MS).then(() => true, () => false);
  }
}
