/**
 * The time since a moment, including the time for which the process or the machine was suspended.
 */
import type { Clock } from "./clock.ts";

/** A moment by both clocks, in milliseconds. */
export interface Moment {
  readonly monotonicMs: number;
  readonly wallMs: number;
}

/** A moment before all others. */
export const LONG_AGO: Moment = { monotonicMs: -Infinity, wallMs: -Infinity };

/** Returns the present moment. */
export function momentOf(clock: Clock): Moment {
  return { monotonicMs: clock.monotonicMs(), wallMs: clock.now() };
}

/**
 * Returns the milliseconds since a moment, or more, but never less. The monotonic clock stops while the
 * machine is suspended (on Linux and macOS), and the wall clock may jump. So the larger of both
 * differences counts.
 */
export function elapsedMs(clock: Clock, { monotonicMs, wallMs }: Moment): number {
  return Math.max(clock.monotonicMs() - monotonicMs, Math.abs(clock.now() - wallMs));
}
