/**
 * Keeps several members running: a member that dies is replaced.
 *
 * It does not know that the members are workers.
 */
import { type Clock, delay } from "../base/clock.ts";

/** A member that runs. */
export interface Member {
  /** Ends it. */
  end(): Promise<void>;
}

/** What a pool needs. */
export interface PoolParts<Running extends Member> {
  readonly clock: Clock;
  /**
   * Starts a member; `first` is the member that started first, `undefined` for that one itself. The
   * member calls `died` once if it dies by itself after it has started.
   *
   * @throws {Error} if the member cannot start; then none of its resources may be left.
   */
  start(first: Running | undefined, died: () => void): Promise<Running>;
  /** Logs a line for the operator. */
  warn(message: string): void;
}

/** Milliseconds before the first attempt to replace a member. Each failure doubles them. */
const FIRST_PAUSE_MS = 1_000;
const MAX_PAUSE_MS = 30_000;

/** Running members. */
export class Pool<Running extends Member> {
  readonly #parts: PoolParts<Running>;
  readonly #members = new Set<Running>();
  readonly #replacing = new Set<Promise<void>>();
  #first: Running | undefined;
  #ending = false;

  constructor(parts: PoolParts<Running>) {
    this.#parts = parts;
  }

  /**
   * Starts the first member, then all others at the same time. Returns the first.
   *
   * @throws {Error} if one of them cannot start.
   */
  async open(size: number): Promise<Running> {
    const first = this.#first = await this.#start();
    await Promise.all(Array.from({ length: size - 1 }, () => this.#start()));
    return first;
  }

  /** Ends all members and stops replacing them. */
  async end(): Promise<void> {
    this.#ending = true;
    await Promise.all([...this.#members].map((member) => member.end()));
    await Promise.all(this.#replacing);
  }

  async #start(): Promise<Running> {
    const member = await this.#parts.start(this.#first, () => {
      this.#members.delete(member);
      if (this.#ending) return;
      this.#parts.warn("A worker crashed; restarting it.");
      const replacing = this.#replace().finally(() => this.#replacing.delete(replacing));
      this.#replacing.add(replacing);
    });
    this.#members.add(member);
    return member;
  }

  async #replace(): Promise<void> {
    for (let failures = 0; !this.#ending; failures++) {
      await delay(this.#parts.clock, Math.min(MAX_PAUSE_MS, FIRST_PAUSE_MS * 2 ** failures));
      if (this.#ending) return;
      try {
        const member = await this.#start();
        if (this.#ending) await member.end();
        return;
      } catch (error) {
        this.#parts.warn(`Cannot start a worker: ${(error as Error).message}`);
      }
    }
  }
}
