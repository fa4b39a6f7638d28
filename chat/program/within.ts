/** A time limit for a promise, in real time: what the program waits for at its start. */

/**
 * Returns what a promise resolves to. The work itself is not cancelled.
 *
 * @throws {Error} if it takes longer than `ms` milliseconds, or rejects.
 */
export async function within<T>(ms: number, work: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => late.reject(new Error(`no answer for ${ms / 1000} seconds`)),
    ms,
  );
  try {
    return await Promise.race([work, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
