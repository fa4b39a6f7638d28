/**
 * Passwords: which are valid, how they are hashed for storage, and how a password is checked.
 *
 * This file stores nothing, and none of its messages contains a password. It does not limit attempts:
 * see registrations.ts.
 */
import { Buffer } from "node:buffer";
import { randomBytes, timingSafeEqual } from "node:crypto";

/** Characters of a password: NIST SP 800-63B asks for at least eight where attempts are limited. */
export const MIN_PASSWORD_CHARS = 8;

/** Characters of a password: enough for any phrase, and little work besides the rounds. */
export const MAX_PASSWORD_CHARS = 128;

/** Rounds of PBKDF2 with SHA-256, as OWASP advises since 2023. Measured: 85 ms, off the main thread. */
export const ROUNDS = 600_000;

/** Rounds of a stored hash: no version of the program has written more. */
const MAX_ROUNDS = 10_000_000;

/** Hashes in the queue: a few seconds of work. */
const MAX_QUEUED_HASHES = 32;

const SALT_BYTES = 16;
const HASH_BYTES = 32;

const FORM = /^\$pbkdf2-sha256\$i=(\d{1,8})\$([\w+/]+=*)\$([\w+/]+=*)$/;

/** A valid password, normalized; or one line for the user that says why it is not valid. */
export type Password =
  | { readonly ok: true; readonly password: string }
  | { readonly ok: false; readonly why: string };

/**
 * Returns a typed password as it is compared: in NFC, as the OpaqueString profile requires (RFC 8265,
 * section 4). Unlike there it contains no white space: in plain text a password is one word. A lower
 * `minChars` accepts passwords that were chosen when fewer characters were enough.
 */
export function passwordFrom(typed: string, minChars = MIN_PASSWORD_CHARS): Password {
  if (typed.length > 2 * MAX_PASSWORD_CHARS) return TOO_LONG;
  const password = typed.normalize("NFC");
  if (/[\s\p{Z}]/u.test(password)) return invalid("Passwords cannot contain spaces.");
  if (/[\p{Cc}\p{Cs}]/u.test(password)) {
    return invalid("Passwords cannot contain control characters.");
  }
  const length = [...password].length;
  if (length > MAX_PASSWORD_CHARS) return TOO_LONG;
  if (length >= minChars) return { ok: true, password };
  return invalid(`Passwords need at least ${minChars} characters.`);
}

/** Hashes passwords, one at a time, so that the chat stays fast meanwhile. */
export class Passwords {
  readonly #rounds: number;
  #queued = 0;
  #last: Promise<unknown> = Promise.resolve();

  /** @throws {RangeError} if `rounds` is not a whole number from 1 to ten million. */
  constructor(rounds = ROUNDS) {
    if (!Number.isInteger(rounds) || rounds < 1 || rounds > MAX_ROUNDS) {
      throw new RangeError(
        `Cannot hash passwords in ${rounds} rounds: use a whole number from 1 to ${MAX_ROUNDS}`,
      );
    }
    this.#rounds = rounds;
  }

  /** Returns what to store of a password, with a new salt; `undefined`: the queue is full. */
  async hash(password: string): Promise<string | undefined> {
    const salt = new Uint8Array(randomBytes(SALT_BYTES));
    const hash = await this.#derive(password, salt, this.#rounds);
    if (hash === undefined) return undefined;
    const [saltText, hashText] = [salt, hash].map((bytes) => Buffer.from(bytes).toString("base64"));
    return `$pbkdf2-sha256$i=${this.#rounds}$${saltText}$${hashText}`;
  }

  /**
   * Whether a password is the one that was stored; `undefined`: the queue is full. No password
   * matches a stored value in an unknown form.
   */
  async matches(password: string, stored: string): Promise<boolean | undefined> {
    const form = parse(stored);
    if (form === undefined) return false;
    const hash = await this.#derive(password, form.salt, form.rounds);
    return hash && timingSafeEqual(hash, form.hash);
  }

  /** Whether a stored hash has fewer rounds than new ones, and should be replaced. */
  isOutdated(stored: string): boolean {
    return (parse(stored)?.rounds ?? 0) < this.#rounds;
  }

  async #derive(
    password: string,
    salt: Uint8Array<ArrayBuffer>,
    iterations: number,
  ): Promise<Uint8Array | undefined> {
    if (this.#queued >= MAX_QUEUED_HASHES) return undefined;
    this.#queued++;
    const turn = this.#last.then(async () => {
      const bytes = new TextEncoder().encode(password);
      const key = await crypto.subtle.importKey("raw", bytes, "PBKDF2", false, ["deriveBits"]);
      const algorithm = { name: "PBKDF2", hash: "SHA-256", salt, iterations };
      return new Uint8Array(await crypto.subtle.deriveBits(algorithm, key, HASH_BYTES * 8));
    });
    this.#last = turn.catch(() => {});
    return await turn.finally(() => this.#queued--);
  }
}

const TOO_LONG = invalid(`Passwords can have at most ${MAX_PASSWORD_CHARS} characters.`);

function invalid(why: string): Password & { ok: false } {
  return { ok: false, why };
}

function parse(
  stored: string,
): { rounds: number; salt: Uint8Array<ArrayBuffer>; hash: Uint8Array } | undefined {
  const [, rounds, salt, hash] = FORM.exec(stored) ?? [];
  if (Number(rounds ?? 0) < 1 || Number(rounds) > MAX_ROUNDS) return undefined;
  const bytes = (text: string) => new Uint8Array(Buffer.from(text, "base64"));
  const form = { rounds: Number(rounds), salt: bytes(salt!), hash: bytes(hash!) };
  return form.hash.length === HASH_BYTES ? form : undefined;
}
