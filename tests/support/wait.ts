/** Waiting with a deadline: a test that would wait forever fails instead, and says for what it waited. */

/** Milliseconds that a test waits before it fails, unless it says otherwise. */
const DEADLINE_MS = 15_000;

/** Resolves after `ms` milliseconds. */
export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/**
 * Returns what `wanted` resolves to.
 *
 * @throws {Error} after `ms` milliseconds. `what` stands in its message.
 */
export async function withDeadline<T>(
  wanted: Promise<T>,
  what: string,
  ms = DEADLINE_MS,
): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`Timed out waiting for ${what}`)), ms);
  });
  try {
    return await Promise.race([wanted, late]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Waits until a condition holds. Checks it every 10 ms.
 *
 * @throws {Error} after `ms` milliseconds. `what` stands in its message.
 */
export async function eventually(
  holds: () => boolean | Promise<boolean>,
  what: string,
  ms = DEADLINE_MS,
): Promise<void> {
  const deadline = performance.now() + ms;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`Timed out waiting until ${what}`);
    await sleep(10);
  }
}
