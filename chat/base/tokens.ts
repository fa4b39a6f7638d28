/**
 * The tokens that resume a session. KV only stores their hashes.
 */
import { createHash, randomBytes } from "node:crypto";

/** Returns a new token: 256 random bits, as 43 characters that are allowed in a URL. */
export function newToken(): string {
  return randomBytes(32).toString("base64url");
}

/** Returns the hash of a token. It needs no salt, because 256 random bits cannot be guessed. */
export function hashToken(token: string): string {
  return createHash("sha256").update(token).digest("base64url");
}

/** Returns whether a text has the form of a token. */
export function isToken(text: string): boolean {
  return /^[\w-]{43}$/.test(text);
}
