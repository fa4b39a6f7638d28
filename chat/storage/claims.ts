/**
 * The claims of nicknames in KV: a nickname, and every name that looks like it, belongs to one session
 * or to one registration.
 *
 * A claim is a key. Its value is the ID of the session that holds it, or names the registration that
 * keeps it, whether its owner is online or not. Therefore an instance that expects a free claim finds a
 * registered one taken, with no further read and no further check. This file does not decide what a
 * nickname claims: see confusables.ts.
 */
import type { Clock } from "../base/clock.ts";
import { accountKey, claimKey } from "../kv/keys.ts";
import { withTimeout } from "../kv/retry.ts";
import { accountFrom, type ClaimHolder, claimHolderFrom, keptClaimValue } from "../kv/values.ts";

/** Code units of a claim. At three bytes each it is part of a KV key, which ends at 2 KiB. */
export const MAX_CLAIM_CHARS = 600;

/** A registration, and what is to be committed when a session signs in to it or ends it. */
export interface Ownership {
  /** The registration: its folded nickname. */
  readonly account: string;
  /** The ID of its user. */
  readonly user: string;
  /** The claims that the registration keeps. */
  readonly claims: readonly string[];
  /** Milliseconds for which its claims are kept from now on. */
  readonly expireIn: number;
  /** Hold as long as nobody changes the registration. */
  readonly checks: readonly Deno.AtomicCheck[];
  /** Change the registration. */
  readonly mutations: readonly Deno.KvMutation[];
}

/** A claim as it was read. */
export interface Claimed {
  readonly claim: string;
  /** Holds as long as nobody changes the claim. */
  readonly check: Deno.AtomicCheck;
  /** `undefined`: nobody holds it, or another version of the program wrote it in an unknown form. */
  readonly holder: ClaimHolder | undefined;
}

/** Who has a nickname: a session, or a registered user, who may be offline. */
export type NicknameHolder =
  | { readonly connection: string }
  /** The folded nickname, the nickname as its owner writes it, and the ID of the user. */
  | { readonly account: string; readonly nick: string; readonly user: string };

/** The claims that a session holds after a change, and the checks and mutations of the change. */
export interface ClaimChange {
  readonly held: readonly string[];
  readonly checks: readonly Deno.AtomicCheck[];
  readonly mutations: readonly Deno.KvMutation[];
}

/**
 * Reads claims.
 *
 * @throws when KV cannot be read.
 */
export async function readClaims(
  kv: Deno.Kv,
  clock: Clock,
  claims: readonly string[],
): Promise<Claimed[]> {
  const entries = await withTimeout(clock, kv.getMany<unknown[]>(claims.map(claimKey)));
  return entries.map(({ key, versionstamp, value }) => ({
    claim: String(key[1]),
    check: { key, versionstamp },
    holder: claimHolderFrom(value),
  }));
}

/**
 * Returns who has a nickname, or another one that reads as it. `folded` is the folded nickname.
 *
 * @throws when KV cannot be read.
 */
export async function findHolder(
  kv: Deno.Kv,
  clock: Clock,
  folded: string,
): Promise<NicknameHolder | undefined> {
  const [found] = await readClaims(kv, clock, [folded]);
  const holder = found?.holder;
  if (holder === undefined || "connection" in holder) return holder;
  const { account } = holder;
  const { value } = await withTimeout(clock, kv.get<unknown>(accountKey(account)));
  const row = accountFrom(value);
  // A registration of an earlier version has no user before its owner has signed in again.
  if (row === undefined || row.user === "" || row.until <= clock.now()) return undefined;
  return { account, nick: row.nick, user: row.user };
}

/**
 * Deletes claims, all or none: none if any of them changed since it was read.
 *
 * @throws when KV cannot be written.
 */
export async function deleteClaims(
  kv: Deno.Kv,
  clock: Clock,
  found: readonly Claimed[],
): Promise<void> {
  const removal = kv.atomic();
  for (const { check } of found) removal.check(check).delete(check.key);
  await withTimeout(clock, removal.commit());
}

/** Returns whether the registration `account` keeps a claim. */
export function isKeptBy({ holder }: Claimed, account: string): boolean {
  return holder !== undefined && "account" in holder && holder.account === account;
}

/**
 * Plans that the session `id`, which holds `before`, holds `next` from then on. A claim of `before` that
 * is not in `next` becomes free. Claims in `given` are those of a registration that ends with this
 * change: they need no check, because that of the registration's row covers them.
 */
export function changeClaims(
  id: string,
  before: readonly string[],
  next: readonly string[],
  given: readonly string[] = [],
): ClaimChange {
  const added = next.filter((claim) => !before.includes(claim));
  const freed = before.filter((claim) => !next.includes(claim));
  return {
    held: next,
    checks: added.filter((claim) => !given.includes(claim)).map((claim) => isFree(claim)),
    mutations: [
      ...added.map((claim): Deno.KvMutation => ({ type: "set", key: claimKey(claim), value: id })),
      ...freed.map((claim): Deno.KvMutation => ({ type: "delete", key: claimKey(claim) })),
    ],
  };
}

/**
 * Plans that a registration keeps its claims from then on, in place of the session that holds `before`,
 * if it holds some of them. `found` are the claims as they were read. Returns `undefined` if another
 * user has one of them.
 */
export function keepClaims(
  { account, claims, expireIn }: Ownership,
  before: readonly string[],
  found: readonly Claimed[],
): Pick<ClaimChange, "checks" | "mutations"> | undefined {
  const checks: Deno.AtomicCheck[] = [];
  for (const claimed of found) {
    const { claim, check } = claimed;
    if (before.includes(claim) || isKeptBy(claimed, account)) continue;
    if (check.versionstamp !== null) return undefined;
    checks.push(check);
  }
  return { checks, mutations: claims.map((claim) => keep(claim, account, expireIn)) };
}

/** Returns the mutation after which a registration keeps a claim. */
export function keep(claim: string, account: string, expireIn: number): Deno.KvMutation {
  return { type: "set", key: claimKey(claim), value: keptClaimValue(account), expireIn };
}

function isFree(claim: string): Deno.AtomicCheck {
  return { key: claimKey(claim), versionstamp: null };
}
