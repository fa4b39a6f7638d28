/**
 * Resume tokens. The client keeps the token, and KV keeps only its hash.
 *
 * This file does not know which session a token belongs to.
 */
import { createHash, randomBytes } from "node:crypto";

/** Returns a new token: 256 random bits in base64url, which are 43 characters. */
export function newToken(): string {
  return randomBytes(32).toString("base64url");
}

/** Returns the stored form of a token. It is unsalted: 256 random bits cannot be guessed. */
export function hashToken(token: string): string {
  return createHash("sha256").update(token).digest("base64url");
}

/** Returns whether a text has the form of a token. */
export function isToken(text: string): boolean {
  return /^[\w-]{43}$/.test(text);
}
