/**
 * The claims of nicknames in KV: a nickname, and every name that looks like it, belongs to one
 * connection or to one registration.
 *
 * A claim is a key. Its value is the ID of the connection that holds it, or names the registration
 * that keeps it while nobody is online. Therefore an instance that expects a free claim finds a
 * registered one taken, with no further read and no further check. This file does not decide what a
 * nickname claims: see confusables.ts.
 */
import type { Clock } from "../base/clock.ts";
import { claimKey } from "../kv/keys.ts";
import { withTimeout } from "../kv/retry.ts";
import {
  type ClaimHolder,
  claimHolderFrom,
  type ConnectionValue,
  keptClaimValue,
} from "../kv/values.ts";

/** Code units of a claim. At three bytes each it is part of a KV key, which ends at 2 KiB. */
export const MAX_CLAIM_CHARS = 600;

/** The claims that a connection holds. */
export interface HeldClaims {
  readonly claims: readonly string[];
  /** The registration that the connection is identified for: its folded nickname, or empty. */
  readonly account: string;
  /** The claims among them that go back to the registration when the connection gives them up. */
  readonly kept: readonly string[];
}

/** What a connection without a nickname holds. */
export const NO_CLAIMS: HeldClaims = { claims: [], account: "", kept: [] };

/** A registration that a connection is identified for, and what is to be committed with its use. */
export interface Ownership {
  /** The registration: its folded nickname. */
  readonly account: string;
  /** The claims that the registration keeps. */
  readonly claims: readonly string[];
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

/**
 * Reads the claims of a registration, and returns those that no connection holds at present.
 *
 * @throws when KV cannot be read.
 */
export async function readKeptClaims(
  kv: Deno.Kv,
  clock: Clock,
  { account, claims }: Ownership,
): Promise<Claimed[]> {
  const found = await readClaims(kv, clock, claims);
  return found.filter(({ holder }) =>
    holder !== undefined && "account" in holder && holder.account === account
  );
}

/**
 * Returns what a connection holds after it takes a nickname with these `claims`, the folded nickname
 * first; `undefined`: it cannot take that nickname. `owner` is the registration it identifies for.
 */
export function nextHeld(
  held: HeldClaims,
  claims: readonly string[],
  owner: Ownership | undefined,
): HeldClaims | undefined {
  const account = owner?.account ?? held.account;
  const kept = owner?.claims ?? held.kept;
  if (owner !== undefined || (account !== "" && account === claims[0])) {
    return { claims: [...new Set([...claims, ...kept])], account, kept };
  }
  // The nickname looks like the registered one that the connection leaves, which keeps its claims.
  if (claims.some((claim) => kept.includes(claim))) return undefined;
  return { ...NO_CLAIMS, claims };
}

/**
 * Returns the checks and mutations after which the connection `id` holds `next` in place of `held`.
 * A claim that is only in `held` becomes free, or its registration keeps it for `registrationMs`.
 * `found` are the claims that a registration keeps for this connection.
 */
export function changeClaims(
  id: string,
  held: HeldClaims,
  next: HeldClaims,
  registrationMs: number,
  found: readonly Claimed[] = [],
): { checks: Deno.AtomicCheck[]; mutations: Deno.KvMutation[] } {
  const checks: Deno.AtomicCheck[] = [];
  const mutations: Deno.KvMutation[] = [];
  for (const claim of next.claims) {
    if (held.claims.includes(claim)) continue;
    const kept = found.find((each) => each.claim === claim)?.check;
    checks.push(kept ?? { key: claimKey(claim), versionstamp: null });
    mutations.push({ type: "set", key: claimKey(claim), value: id });
  }
  for (const claim of held.claims) {
    if (next.claims.includes(claim)) continue;
    const key = claimKey(claim);
    mutations.push(
      held.kept.includes(claim)
        ? { type: "set", key, value: keptClaimValue(held.account), expireIn: registrationMs }
        : { type: "delete", key },
    );
  }
  return { checks, mutations };
}

/**
 * Returns what a connection's row stores of its claims. A row that stores none holds the folded
 * nickname only: `folded`, or `undefined` without a nickname.
 */
export function heldFrom(
  { claims, account, kept }: ConnectionValue,
  folded: string | undefined,
): HeldClaims {
  if (claims !== undefined) return { claims, account, kept };
  return folded === undefined ? NO_CLAIMS : { ...NO_CLAIMS, claims: [folded] };
}

/** Returns what to store of the claims in a connection's row: nothing for a folded nickname alone. */
export function storedHeld({ claims, account, kept }: HeldClaims): Partial<HeldClaims> {
  // Every nickname claims its folded form: if there is one claim, it is that one.
  return account === "" && claims.length === 1 ? {} : { claims, account, kept };
}
