/**
 * Keeps several members running, workers for instance: a member that dies is replaced until its
 * replacement runs.
 *
 * A helper of the program, beside the way of a message. It does not know what a member is.
 */
import { type Clock, delay } from "../base/clock.ts";

/** A member that runs. */
export interface Member {
  /** Ends it. */
  end(): Promise<void>;
}

/** What a pool is made of. */
export interface PoolParts<Running extends Member> {
  readonly clock: Clock;
  /**
   * Starts a member; `first` is the one that was started first, if this is not it. `died` must be
   * called once if the member dies by itself after it has started.
   *
   * @throws {Error} when it cannot be started; then nothing of it may be left.
   */
  start(first: Running | undefined, died: () => void): Promise<Running>;
  /** Tells the operator, one line each. */
  warn(message: string): void;
}

/** Milliseconds before the first try to replace a member. Each failure doubles it. */
const FIRST_PAUSE_MS = 1_000;
const MAX_PAUSE_MS = 30_000;

/** Members that run. */
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
   * Starts the first member, then all others at once. Returns the first.
   *
   * @throws {Error} when one of them cannot be started.
   */
  async open(members: number): Promise<Running> {
    const first = this.#first = await this.#start();
    await Promise.all(Array.from({ length: members - 1 }, () => this.#start()));
    return first;
  }

  /** Ends all members. None is replaced any more. */
  async end(): Promise<void> {
    this.#ending = true;
    await Promise.all([...this.#members].map((member) => member.end()));
    await Promise.all(this.#replacing);
  }

  async #start(): Promise<Running> {
    const member = await this.#parts.start(this.#first, () => {
      this.#members.delete(member);
      if (this.#ending) return;
      this.#parts.warn("A worker died; another one takes its place.");
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
