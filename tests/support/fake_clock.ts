/**
 * Clocks for tests. `FakeClock` is virtual time: nothing happens until the test advances it.
 * `AdjustedClock` is the system clock with changes: for tests with real sockets, which need real time.
 */
import { type Clock, systemClock } from "../../chat/base/clock.ts";

interface Timer {
  readonly dueMs: number;
  readonly run: () => void;
}

/** Virtual time. Its timers run only while the test advances it, in the order of their times. */
export class FakeClock implements Clock {
  readonly #startMs: number;
  #nowMs: number;
  /** Sorted by time; timers of the same time stay in the order in which they were set. */
  readonly #timers: Timer[] = [];
  /** What `jitter()` returns. */
  jitterValue = 0;
  /** Milliseconds that pass each time the monotonic clock is read. */
  readMs = 0;

  /** `startMs`: the Unix time in milliseconds at the start. The monotonic clock starts at 0. */
  constructor(startMs = 0) {
    this.#startMs = startMs;
    this.#nowMs = startMs;
  }

  now(): number {
    return this.#nowMs;
  }

  monotonicMs(): number {
    this.#nowMs += this.readMs;
    return this.#nowMs - this.#startMs;
  }

  after(ms: number, run: () => void): () => void {
    const timer = { dueMs: this.#nowMs + ms, run };
    let i = this.#timers.length;
    while (i > 0 && this.#timers[i - 1]!.dueMs > timer.dueMs) i--;
    this.#timers.splice(i, 0, timer);
    return () => {
      const at = this.#timers.indexOf(timer);
      if (at >= 0) this.#timers.splice(at, 1);
    };
  }

  soon(run: () => void): void {
    this.after(0, run);
  }

  jitter(): number {
    return this.jitterValue;
  }

  /** How many timers are set. */
  get timerCount(): number {
    return this.#timers.length;
  }

  /** Lets `ms` milliseconds pass, and runs the timers that are due. */
  advance(ms: number): void {
    const untilMs = this.#nowMs + ms;
    while (this.#runNext(untilMs));
    this.#nowMs = untilMs;
  }

  /**
   * Does the same as {@linkcode advance}, and awaits `settle` before each timer and at the end: what
   * a timer started without a timer of its own is done before the next timer runs.
   */
  async advanceAsync(ms: number, settle: () => Promise<void> = settlePromises): Promise<void> {
    const untilMs = this.#nowMs + ms;
    do await settle(); while (this.#runNext(untilMs));
    this.#nowMs = untilMs;
  }

  #runNext(untilMs: number): boolean {
    const next = this.#timers[0];
    if (next === undefined || next.dueMs > untilMs) return false;
    this.#timers.shift();
    this.#nowMs = Math.max(this.#nowMs, next.dueMs);
    next.run();
    return true;
  }
}

/** Lets everything happen that waits only for resolved promises. */
export async function settlePromises(): Promise<void> {
  for (let i = 0; i < 50; i++) await Promise.resolve();
}

/** A timer that an {@linkcode AdjustedClock} holds back until the test runs it. */
export interface HeldTimer {
  readonly ms: number;
  readonly run: () => void;
}

/** What an {@linkcode AdjustedClock} changes. */
export interface Adjustments {
  /** Time stands still, at this Unix time in milliseconds, until the test advances it. */
  stoppedAtMs?: number;
  /** How many times as fast as the system clock it runs, its timers too. Default 1. */
  speed?: number;
  /**
   * After how many milliseconds a timer of `ms` milliseconds runs: `Infinity` is never, `"held"` is
   * when the test runs it. Default `ms`.
   */
  delayOf?: (ms: number) => number | "held";
}

/** The system clock with changes. What `Adjustments` does not change is as on the system clock. */
export class AdjustedClock implements Clock {
  readonly #adjustments: Adjustments;
  readonly #sinceMs = Date.now();
  /** Milliseconds by which the wall clock is ahead. */
  wallAheadMs = 0;
  /** Milliseconds by which the monotonic clock is ahead. */
  monotonicAheadMs = 0;
  /** Timers that are held back and were not cancelled, in the order in which they were set. */
  readonly held: HeldTimer[] = [];

  constructor(adjustments: Adjustments = {}) {
    this.#adjustments = adjustments;
  }

  now(): number {
    const { stoppedAtMs, speed = 1 } = this.#adjustments;
    const ownMs = stoppedAtMs ?? this.#sinceMs + (Date.now() - this.#sinceMs) * speed;
    return ownMs + this.wallAheadMs;
  }

  monotonicMs(): number {
    const { stoppedAtMs, speed = 1 } = this.#adjustments;
    return (stoppedAtMs ?? systemClock.monotonicMs() * speed) + this.monotonicAheadMs;
  }

  after(ms: number, run: () => void): () => void {
    const { speed = 1, delayOf } = this.#adjustments;
    const delayMs = delayOf?.(ms) ?? ms;
    if (delayMs === "held") return this.#hold(ms, run);
    if (delayMs === Infinity) return () => {};
    return systemClock.after(delayMs / speed, run);
  }

  soon(run: () => void): void {
    systemClock.soon(run);
  }

  jitter(): number {
    return systemClock.jitter();
  }

  /** Moves the wall clock and the monotonic clock ahead. Timers do not notice. */
  advance(ms: number): void {
    this.wallAheadMs += ms;
    this.monotonicAheadMs += ms;
  }

  /** Sets by how many milliseconds both clocks are ahead. */
  setAhead(ms: number): void {
    this.wallAheadMs = ms;
    this.monotonicAheadMs = ms;
  }

  #hold(ms: number, run: () => void): () => void {
    const timer = { ms, run };
    this.held.push(timer);
    return () => {
      const at = this.held.indexOf(timer);
      if (at >= 0) this.held.splice(at, 1);
    };
  }
}

/**
 * Returns the system clock, with a second as long as `ms` milliseconds for its timers: history is
 * compacted a second after an event, and tests do not wait for that. `Infinity`: never.
 */
export function compactingAfter(
  ms: number,
  more: Omit<Adjustments, "delayOf"> = {},
): AdjustedClock {
  return new AdjustedClock({ ...more, delayOf: (delayMs) => delayMs === 1_000 ? ms : delayMs });
}
