/**
 * Keeps the process within its memory: looks at it several times a second, and while it uses too
 * much, has connections closed, a few at a time.
 *
 * Beside the way of a message. It does not choose the connections. It is there for what Deno shows
 * nobody: a message in fragments that does not end is kept whole until it ends.
 */
import type { Clock } from "./clock.ts";

/** What a guard is made of. */
export interface MemoryGuardParts {
  /** Bytes that the process may use. */
  readonly maxBytes: number;
  readonly clock: Clock;
  /** Bytes that the process uses. */
  memory(): number;
  /** Closes up to so many connections. Returns how many it closed. */
  shed(most: number): number;
  warn(message: string): void;
}

/** Milliseconds between two looks. A look takes 4 µs; a single connection sends 1 MB a millisecond. */
const LOOK_MS = 20;

/** Each look that finds too much closes so many times as many connections as the one before. */
const GROWTH = 4;

/**
 * Memory that stays when nothing is left to close is not what connections hold. Then it must grow to
 * so many times as much before connections are closed again.
 */
const HEADROOM = 1.1;

const MIB = 1024 * 1024;

/** Looks at the memory of the process, from its making until it is closed. */
export class MemoryGuard {
  readonly #parts: MemoryGuardParts;
  /** How often it has looked. */
  readonly looks: { count: number };
  /** Bytes above which connections are closed. */
  #threshold: number;
  #batch = 1;
  #isOver = false;
  #cancel = (): void => {};

  /** `looks` is counted up at each look. */
  constructor(parts: MemoryGuardParts, looks: { count: number } = { count: 0 }) {
    this.#parts = parts;
    this.looks = looks;
    this.#threshold = parts.maxBytes;
    this.#wait();
  }

  /** Whether the process uses too much, so that new connections should wait. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** Looks no more. */
  close(): void {
    this.#cancel();
  }

  #wait(): void {
    this.#cancel = this.#parts.clock.after(LOOK_MS, () => {
      this.#look();
      this.#wait();
    });
  }

  #look(): void {
    const { maxBytes, memory, shed, warn } = this.#parts;
    const used = memory();
    if (used <= maxBytes) this.#threshold = maxBytes;
    this.#isOver = used > this.#threshold;
    if (this.#isOver) {
      // The allocator may take a moment to give back what is free: so few at first.
      const closed = shed(this.#batch);
      this.#batch *= GROWTH;
      if (closed === 0) this.#threshold = used * HEADROOM;
      warn(
        `the process uses ${Math.round(used / MIB)} MiB, more than ${maxBytes / MIB} ` +
          `(--max-memory): ${closed} connections were closed`,
      );
    } else {
      this.#batch = 1;
    }
    this.looks.count++;
  }
}
