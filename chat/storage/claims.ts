/**
 * The claims of nicknames in KV: what makes a nickname, and all that looks like it, one person's.
 *
 * Beside the table, under Storage: it gives the checks and mutations with which claims are taken and
 * let go, for whoever commits them. What a nickname claims is worked out in likeness.ts.
 *
 * A claim is a key. Its value is the id of the connection that holds it; while nobody does, nothing,
 * or whose registration keeps it. So a registered nickname is one that cannot be had by whoever
 * expects to find nothing: that costs no read and no check more, and older versions keep to it, too.
 */
import { foldNickname } from "../nicknames/names.ts";

/** What a connection holds. */
export interface HeldClaims {
  readonly claims: readonly string[];
  /** The registration that it has identified itself for, as a folded nickname, or empty. */
  readonly account: string;
  /** Those of its claims that go back to the registration. */
  readonly kept: readonly string[];
}

/** What a connection without a nickname holds. */
export const NO_CLAIMS: HeldClaims = { claims: [], account: "", kept: [] };

/** Who has a claim: a connection, a registration, or nobody. */
export type Holder =
  | { readonly connection: string }
  | { readonly account: string }
  | undefined;

/** A claim as it stands in KV. */
export interface Claimed {
  readonly claim: string;
  readonly check: Deno.AtomicCheck;
  readonly holder: Holder;
}

/** The key of a claim. */
export function claimKey(claim: string): Deno.KvKey {
  return ["nick", claim];
}

/** Who has a claim, by what its row holds: rows outlive programs, so that may be anything. */
export function holderFrom(value: unknown): Holder {
  if (typeof value === "string") return { connection: value };
  const { kept } = (value ?? {}) as { kept?: unknown };
  return typeof kept === "string" ? { account: kept } : undefined;
}

/** What an `instance_row` says about claims; rows of older versions say only who it is. */
export function heldFrom(nick: string, row: Record<string, unknown>): HeldClaims {
  const { claims, account, kept } = row;
  if (!Array.isArray(claims)) {
    return nick === "" ? NO_CLAIMS : { ...NO_CLAIMS, claims: [foldNickname(nick)] };
  }
  return {
    claims: claims.map(String),
    account: typeof account === "string" ? account : "",
    kept: Array.isArray(kept) ? kept.map(String) : [],
  };
}

/** The same to be stored: nothing where the nickname says it all. */
export function storedHeld(
  nick: string,
  { claims, account, kept }: HeldClaims,
): Partial<HeldClaims> {
  if (account === "" && claims.length === 1 && claims[0] === foldNickname(nick)) return {};
  return { claims, account, kept };
}

/**
 * What turns one set of claims into another: `next` is had by the connection `id` alone, what is
 * only in `held` is free, or its registration's again for `lifetime` milliseconds. `found` tells
 * what a registration keeps for this connection.
 */
export function changeClaims(
  id: string,
  held: HeldClaims,
  next: HeldClaims,
  lifetime: number,
  found: readonly Claimed[] = [],
): { checks: Deno.AtomicCheck[]; mutations: Deno.KvMutation[] } {
  const checks: Deno.AtomicCheck[] = [];
  const mutations: Deno.KvMutation[] = [];
  for (const claim of next.claims) {
    if (held.claims.includes(claim)) continue;
    const keeper = found.find((each) => each.claim === claim)?.check;
    checks.push(keeper ?? { key: claimKey(claim), versionstamp: null });
    mutations.push({ type: "set", key: claimKey(claim), value: id });
  }
  for (const claim of held.claims) {
    if (next.claims.includes(claim)) continue;
    const key = claimKey(claim);
    mutations.push(
      held.kept.includes(claim)
        ? { type: "set", key, value: { kept: held.account }, expireIn: lifetime }
        : { type: "delete", key },
    );
  }
  return { checks, mutations };
}
