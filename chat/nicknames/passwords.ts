/**
 * Passwords: which may be used, what is stored of them, and whether one is right.
 *
 * A helper below the way of a message. It keeps nothing, and no message of its errors holds a
 * password. Who tries how often is not its business: see accounts.ts.
 */
import { Buffer } from "node:buffer";
import { randomBytes, timingSafeEqual } from "node:crypto";

/** Characters of a password: NIST SP 800-63B asks for eight at least where tries are limited. */
export const MIN_PASSWORD_CHARS = 8;

/** Long enough for any phrase, and short enough to cost nothing but the rounds. */
export const MAX_PASSWORD_CHARS = 128;

/** Rounds of PBKDF2 with SHA-256, as OWASP advises since 2023. 85 ms here, off the main thread. */
export const ROUNDS = 600_000;

/** Rounds that a stored hash may ask for: more was not written by us. */
const MAX_ROUNDS = 10_000_000;

/** Hashes that may wait for their turn: a few seconds' work. */
const MAX_QUEUED_HASHES = 32;

const SALT_BYTES = 16;
const HASH_BYTES = 32;

const FORM = /^\$pbkdf2-sha256\$i=(\d{1,8})\$([\w+/]+=*)\$([\w+/]+=*)$/;

/** A password that may be used, or one line that says why not. */
export type Password =
  | { readonly ok: true; readonly password: string }
  | { readonly ok: false; readonly why: string };

/**
 * A password as it is compared: NFC, as the OpaqueString profile has it (RFC 8265, section 4), but
 * without any white space, because in the text protocol a password is a word. `least` is for those
 * that were chosen when fewer characters were enough.
 */
export function passwordFrom(typed: string, least = MIN_PASSWORD_CHARS): Password {
  if (typed.length > 2 * MAX_PASSWORD_CHARS) return tooLong;
  const password = typed.normalize("NFC");
  if (/[\s\p{Z}]/u.test(password)) return refuse("A password cannot hold spaces.");
  if (/[\p{Cc}\p{Cs}]/u.test(password)) return refuse("A password cannot hold control characters.");
  const length = [...password].length;
  if (length > MAX_PASSWORD_CHARS) return tooLong;
  if (length >= least) return { ok: true, password };
  return refuse(`A password must have at least ${least} characters.`);
}

/** Hashes passwords, one at a time, so that people who chat do not notice. */
export class Passwords {
  readonly #rounds: number;
  #waiting = 0;
  #last: Promise<unknown> = Promise.resolve();

  /** @throws {RangeError} when `rounds` is no whole number from 1 to ten million. */
  constructor(rounds = ROUNDS) {
    if (!Number.isInteger(rounds) || rounds < 1 || rounds > MAX_ROUNDS) {
      throw new RangeError(`the rounds must be a whole number from 1 to ${MAX_ROUNDS}`);
    }
    this.#rounds = rounds;
  }

  /** What is to be stored of a password, with its own salt; `undefined`: too many wait already. */
  async hash(password: string): Promise<string | undefined> {
    const salt = new Uint8Array(randomBytes(SALT_BYTES));
    const hash = await this.#derive(password, salt, this.#rounds);
    if (hash === undefined) return undefined;
    const [saltText, hashText] = [salt, hash].map((bytes) => Buffer.from(bytes).toString("base64"));
    return `$pbkdf2-sha256$i=${this.#rounds}$${saltText}$${hashText}`;
  }

  /**
   * Whether a password is the one of which this is stored; `undefined`: too many wait already. What
   * this version cannot read is nobody's password.
   */
  async matches(password: string, stored: string): Promise<boolean | undefined> {
    const form = read(stored);
    if (form === undefined) return false;
    const hash = await this.#derive(password, form.salt, form.rounds);
    return hash && timingSafeEqual(hash, form.hash);
  }

  /** Whether what is stored should be made anew, because hashes have become slower since. */
  isOutdated(stored: string): boolean {
    return (read(stored)?.rounds ?? 0) < this.#rounds;
  }

  async #derive(
    password: string,
    salt: Uint8Array<ArrayBuffer>,
    iterations: number,
  ): Promise<Uint8Array | undefined> {
    if (this.#waiting >= MAX_QUEUED_HASHES) return undefined;
    this.#waiting++;
    const turn = this.#last.then(async () => {
      const words = new TextEncoder().encode(password);
      const key = await crypto.subtle.importKey("raw", words, "PBKDF2", false, ["deriveBits"]);
      const how = { name: "PBKDF2", hash: "SHA-256", salt, iterations };
      return new Uint8Array(await crypto.subtle.deriveBits(how, key, HASH_BYTES * 8));
    });
    this.#last = turn.catch(() => {});
    return await turn.finally(() => this.#waiting--);
  }
}

const tooLong = refuse(`A password can have at most ${MAX_PASSWORD_CHARS} characters.`);

function refuse(why: string): Password & { ok: false } {
  return { ok: false, why };
}

function read(
  stored: string,
): { rounds: number; salt: Uint8Array<ArrayBuffer>; hash: Uint8Array } | undefined {
  const [, rounds, salt, hash] = FORM.exec(stored) ?? [];
  if (Number(rounds ?? 0) < 1 || Number(rounds) > MAX_ROUNDS) return undefined;
  const bytes = (text: string) => new Uint8Array(Buffer.from(text, "base64"));
  const form = { rounds: Number(rounds), salt: bytes(salt!), hash: bytes(hash!) };
  return form.hash.length === HASH_BYTES ? form : undefined;
}
