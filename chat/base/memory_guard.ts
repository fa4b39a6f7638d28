/**
 * Bounds the memory of the process: measures it many times a second, and has connections closed, a few
 * at a time, while the process uses too much.
 *
 * It does not choose the connections. It exists for memory that no limit of the chat sees: Deno keeps
 * the fragments of a WebSocket message until the last one arrives.
 */
import type { Clock } from "./clock.ts";

/** What a guard is made of. */
export interface MemoryGuardParts {
  /** Bytes that the process may use. */
  readonly maxBytes: number;
  readonly clock: Clock;
  /** Bytes that the process uses. */
  usedBytes(): number;
  /** Closes up to `max` connections. Returns how many it closed. */
  closeConnections(max: number): number;
  warn(message: string): void;
}

/** Milliseconds between two measurements, of 4 µs each. One connection sends 1 MB a millisecond. */
const MEASURE_MS = 20;

/** Each measurement over the limit closes this many times as many connections as the one before. */
const GROWTH = 4;

/**
 * If no connection is left to close, connections do not hold the memory. Then it must grow by this
 * factor before connections are closed again.
 */
const HEADROOM = 1.1;

const MIB = 1024 * 1024;

/** Bounds the memory of the process, from its construction until it is closed. */
export class MemoryGuard {
  readonly #parts: MemoryGuardParts;
  /** The number of measurements. */
  readonly checks: { count: number };
  /** Bytes above which connections are closed. */
  #threshold: number;
  #batch = 1;
  #isOver = false;
  #cancelTimer = (): void => {};

  /** `looks.count` is incremented at each measurement. */
  constructor(parts: MemoryGuardParts, looks: { count: number } = { count: 0 }) {
    this.#parts = parts;
    this.checks = looks;
    this.#threshold = parts.maxBytes;
    this.#schedule();
  }

  /** Whether the process uses too much memory, so that new connections should wait. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** Stops measuring. */
  close(): void {
    this.#cancelTimer();
  }

  #schedule(): void {
    this.#cancelTimer = this.#parts.clock.after(MEASURE_MS, () => {
      this.#measure();
      this.#schedule();
    });
  }

  #measure(): void {
    const { maxBytes, usedBytes: memory, closeConnections: shed, warn } = this.#parts;
    const used = memory();
    if (used <= maxBytes) this.#threshold = maxBytes;
    this.#isOver = used > this.#threshold;
    if (this.#isOver) {
      // Few at first, because the allocator may return free memory with a delay.
      const closed = shed(this.#batch);
      this.#batch *= GROWTH;
      if (closed === 0) this.#threshold = used * HEADROOM;
      warn(
        `The process uses ${Math.round(used / MIB)} MiB, more than ${maxBytes / MIB} ` +
          `(--max-memory); closed ${closed} ${closed === 1 ? "connection" : "connections"}`,
      );
    } else {
      this.#batch = 1;
    }
    this.checks.count++;
  }
}
