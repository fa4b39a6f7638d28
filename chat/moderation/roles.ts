/**
 * Who is an operator: a session that is signed in to one of the operators' registered nicknames, or whose
 * client has given the operators' secret.
 *
 * The moderators of a room stand in its rules. The role by secret belongs to the session, and so survives
 * a resume.
 */
import { timingSafeEqual } from "node:crypto";
import { Buffer } from "node:buffer";
import type { Clock } from "../base/clock.ts";
import { rejection, type Result } from "../base/rejections.ts";
import { type Rate, TokenBucket, TokenBucketMap } from "../base/token_bucket.ts";
import { hashToken } from "../base/tokens.ts";
import { foldNickname } from "../nicknames/names.ts";
import type { Session } from "../storage/records.ts";
import type { Storage } from "../storage/storage.ts";

/** What {@linkcode Roles} is made of. */
export interface RolesParts {
  readonly clock: Clock;
  readonly storage: Storage;
  /** The operators' nicknames. They count only once they are registered. */
  readonly operators: readonly string[];
  /** Makes a session an operator's; `undefined`: none does. */
  readonly operatorSecret: string | undefined;
}

/** Wrong secrets from one address, on one instance. */
const RATE_PER_ADDRESS: Rate = { burst: 10, ms: 200_000 };

/** Addresses whose attempts are remembered; beyond that, old ones are forgotten. */
const MAX_ADDRESSES = 10_000;

/** The roles of users. */
export class Roles {
  readonly #parts: RolesParts;
  readonly #operators: ReadonlySet<string>;
  readonly #secretHash: Uint8Array | undefined;
  readonly #attempts = new TokenBucketMap(() => new TokenBucket(), MAX_ADDRESSES);

  constructor(parts: RolesParts) {
    this.#parts = parts;
    this.#operators = new Set(parts.operators.map(foldNickname));
    const { operatorSecret: secret } = parts;
    this.#secretHash = secret === undefined ? undefined : hashBytes(secret);
  }

  /** Returns whether a session, here or elsewhere, is one of an operator. */
  isOperator({ account, isOperator }: Pick<Session, "account" | "isOperator">): boolean {
    return isOperator || (account !== "" && this.#operators.has(account));
  }

  /** Returns whether a registration, by its folded nickname, is an operator's. */
  isOperatorAccount(account: string): boolean {
    return this.#operators.has(account);
  }

  /**
   * Makes a session an operator's if the secret is right. `address` is the key of the limit of wrong tries.
   *
   * @throws when KV cannot be read.
   */
  async becomeOperator(session: Session, secret: string, address: string): Promise<Result> {
    const { clock, storage } = this.#parts;
    if (this.#secretHash === undefined || session.nick === "") return rejection.notAnOperator;
    const nowMs = clock.monotonicMs();
    // Before the comparison: otherwise many tries could be made at once.
    const waitMs = this.#attempts.get(address, nowMs).take(RATE_PER_ADDRESS, 1, nowMs);
    if (waitMs > 0) return rejection.tooManyAttempts(waitMs);
    // The hashes have one length, so the time of the comparison tells nothing of the secret.
    if (!timingSafeEqual(hashBytes(secret), this.#secretHash)) return rejection.wrongPassword;
    this.#attempts.get(address, nowMs).spend(RATE_PER_ADDRESS, -1, nowMs);
    const { outcome } = await storage.saveOwn(session.id, () => ({ isOperator: true }));
    return outcome === "done" ? { ok: true } : rejection.notDone;
  }
}

function hashBytes(secret: string): Uint8Array {
  return Buffer.from(hashToken(secret));
}
