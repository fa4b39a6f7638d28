/**
 * The tokens by which one comes back: made here, and known to storage only by their hashes.
 *
 * A helper below the way of a message.
 */
import { createHash, randomBytes } from "node:crypto";

/** A new token: 256 random bits, as 43 characters that may stand in an address. */
export function newToken(): string {
  return randomBytes(32).toString("base64url");
}

/** What is stored of a token. Unsalted: there is nothing to guess in 256 random bits. */
export function hashToken(token: string): string {
  return createHash("sha256").update(token).digest("base64url");
}

/** Whether something could be a token at all. */
export function isToken(text: string): boolean {
  return /^[\w-]{43}$/.test(text);
}
