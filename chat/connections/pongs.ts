/**
 * Finds clients that send unsolicited pongs. A pong costs the server as much as a message, and Deno
 * reports none of them.
 *
 * For each pong and each text message, Deno 2.9 calls a method of the socket that puts off the idle
 * timeout. This file replaces that method by one that also counts. On a runtime without the method
 * it counts nothing. It closes nothing.
 */
import type { Clock } from "../base/clock.ts";

/** Pongs allowed within {@linkcode WINDOW_MS}. The server asks for at most one each 15 s. */
export const MAX_PONGS = 500;

const WINDOW_MS = 60_000;

/**
 * Calls `onTooMany` once, when a socket received more than {@linkcode MAX_PONGS} pongs within a
 * minute. Returns a function that the caller must call for each message, because the replaced method
 * does not tell messages from pongs.
 */
export function limitPongs(socket: object, clock: Clock, onTooMany: () => void): () => void {
  let pongs = 0;
  let windowStartMs = clock.monotonicMs();
  const key = Object.getOwnPropertySymbols(Object.getPrototypeOf(socket)).find((each) =>
    each.description === "[[serverHandleIdleTimeout]]"
  );
  const original: unknown = key && Reflect.get(socket, key);
  if (key === undefined || typeof original !== "function") return () => {};
  const value = () => {
    if (++pongs === MAX_PONGS + 1) {
      const now = clock.monotonicMs();
      if (now - windowStartMs < WINDOW_MS) onTooMany();
      else {
        windowStartMs = now;
        pongs = 0;
      }
    }
    Reflect.apply(original, socket, []);
  };
  Object.defineProperty(socket, key, { value });
  return () => void pongs--;
}
