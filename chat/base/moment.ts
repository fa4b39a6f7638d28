/**
 * How much time has passed since a moment, also while the process or the machine was asleep.
 *
 * A helper below the way of a message. It only measures: it does not know what may have happened in
 * that time.
 */
import type { Clock } from "./clock.ts";

/** A moment, by both clocks. */
export interface Moment {
  readonly monotonicMs: number;
  readonly wallMs: number;
}

/** Before everything else. */
export const LONG_AGO: Moment = { monotonicMs: -Infinity, wallMs: -Infinity };

/** The present moment. */
export function momentOf(clock: Clock): Moment {
  return { monotonicMs: clock.monotonicMs(), wallMs: clock.now() };
}

/**
 * Returns the milliseconds since a moment, or more. The monotonic clock stands still while a machine
 * is suspended (on Linux and macOS), the wall clock may jump: the larger of both differences counts.
 */
export function elapsedMs(clock: Clock, { monotonicMs, wallMs }: Moment): number {
  return Math.max(clock.monotonicMs() - monotonicMs, Math.abs(clock.now() - wallMs));
}
