/**
 * The error of a program that cannot start.
 *
 * It carries the exit code; only main.ts exits.
 */

/** A startup error, one line. Exit code 2: bad usage. Exit code 1: a missing or unusable resource. */
export class StartupError extends Error {
  /** `message` is what the operator reads. */
  constructor(message: string, readonly exitCode: 1 | 2) {
    super(message);
  }
}

/** Returns the first line of an error's message, without a full stop: the rest is not for operators. */
export function reasonOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split("\n")[0]!
    .replace(/\.$/, "");
}
