/**
 * Finds clients that send pongs without end. A pong costs the server as much as a message, and Deno
 * shows a program none of them.
 *
 * Deno 2.9 calls a method of its own for each pong and each text message, to put off its idle
 * timeout. This file puts another one in its place that also counts. Where there is no such method,
 * nothing is counted. It closes nothing itself.
 */
import type { Clock } from "../base/clock.ts";

/** Pongs within {@linkcode WINDOW_MS}. The server itself asks for one each 15 s at the most. */
export const MAX_PONGS = 500;

const WINDOW_MS = 60_000;

/**
 * Calls `tooMany` once when more than {@linkcode MAX_PONGS} pongs came within a minute. Returns what
 * must be called for each message, which is no pong.
 */
export function limitPongs(socket: object, clock: Clock, tooMany: () => void): () => void {
  let pongs = 0;
  let since = clock.monotonicMs();
  const key = Object.getOwnPropertySymbols(Object.getPrototypeOf(socket)).find((each) =>
    each.description === "[[serverHandleIdleTimeout]]"
  );
  const original: unknown = key && Reflect.get(socket, key);
  if (key === undefined || typeof original !== "function") return () => {};
  const value = () => {
    if (++pongs === MAX_PONGS + 1) {
      const now = clock.monotonicMs();
      if (now - since < WINDOW_MS) tooMany();
      else {
        since = now;
        pongs = 0;
      }
    }
    Reflect.apply(original, socket, []);
  };
  Object.defineProperty(socket, key, { value });
  return () => void pongs--;
}
