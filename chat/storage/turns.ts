/**
 * Turns: work that concerns the same session or the same user runs one after another on an instance.
 *
 * It only orders the work of one instance. Checks in the commits guard against other instances.
 */

/** Runs work under keys: of two pieces of work with a common key the one that came first runs first. */
export class Turns {
  /** The end of the last work under each key. */
  readonly #last = new Map<string, Promise<void>>();

  /** Runs `work` when all earlier work under one of the keys has ended. Returns its result. */
  async run<T>(keys: readonly string[], work: () => Promise<T>): Promise<T> {
    const own = Promise.withResolvers<void>();
    // All keys at once: pieces of work never wait for each other in a circle.
    const earlier = keys.map((key) => this.#last.get(key));
    for (const key of keys) this.#last.set(key, own.promise);
    try {
      for (const each of earlier) if (each !== undefined) await each;
      return await work();
    } finally {
      own.resolve();
      for (const key of keys) if (this.#last.get(key) === own.promise) this.#last.delete(key);
    }
  }
}
