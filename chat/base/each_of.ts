/** Works on many items with a bound on how many are worked on at the same time. */

/**
 * Calls `work` for each item with its index, for at most `maxAtOnce` items at a time. Resolves when all
 * calls have. After an error it begins no further calls, and rejects with the first one.
 */
export async function eachOf<T>(
  items: readonly T[],
  maxAtOnce: number,
  work: (item: T, index: number) => Promise<void>,
): Promise<void> {
  let next = 0;
  const worker = async () => {
    while (next < items.length) {
      const index = next++;
      try {
        await work(items[index]!, index);
      } catch (error) {
        next = items.length;
        throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(maxAtOnce, items.length) }, worker));
}
