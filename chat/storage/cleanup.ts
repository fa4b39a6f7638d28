/**
 * Removes the rows of sessions that a dead instance left, and announces that their clients left.
 *
 * Every commit here checks the row by which one surviving instance claims the cleanup, so that two
 * instances never do it at the same time. lease.ts decides which instances are dead.
 */
import type { Clock } from "../base/clock.ts";
import { connectionPrefix } from "../kv/keys.ts";
import { eachWithTimeout } from "../kv/retry.ts";
import type { Changes } from "./changes.ts";
import type { Removals } from "./removal.ts";
import type { SessionRows } from "./rows.ts";

/** What {@linkcode cleanUp} uses. */
export interface CleanUpParts {
  readonly kv: Deno.Kv;
  readonly clock: Clock;
  readonly rows: SessionRows;
  readonly changes: Changes;
  readonly removals: Removals;
}

/** Sessions that are removed at the same time: their operations share commits, and wait in memory. */
const MAX_CONCURRENT_REMOVALS = 500;

/**
 * Removes the sessions of the dead instance `instance`. Sessions that a token can resume stay, unless
 * `includeResumable` is set. `claim` is the check under which all of it is done. Returns how many
 * sessions were removed (`gone`) and how many stay (`left`); `undefined` if the claim was lost or KV
 * failed: then the cleanup must be repeated.
 *
 * @throws when KV cannot be read.
 */
export async function cleanUp(
  { kv, clock, rows, changes, removals }: CleanUpParts,
  instance: string,
  claim: Deno.AtomicCheck,
  includeResumable: boolean,
): Promise<{ gone: number; left: number } | undefined> {
  let gone = 0, left = 0, hasFailed = false;
  const removing = new Set<Promise<void>>();
  const entries = kv.list<unknown>({ prefix: connectionPrefix(instance) }, { batchSize: 1000 });
  for await (const { key, value } of eachWithTimeout(clock, entries)) {
    const session = rows.parse(String(key[2]), value);
    if (!includeResumable && session.tokens.length > 0) {
      left++;
      continue;
    }
    // A session that can be taken over may be on another instance by now, which is no failure.
    const isMovable = rows.takeoverCheck(session, instance).length > 0;
    const remove = () => removals.remove(session, instance, [claim]);
    // Sessions of one user one after another: they change the same row.
    const removal = changes.inTurn(session.id, [session.user], remove).then((outcome) => {
      if (outcome === "done") gone++;
      else hasFailed ||= outcome === "failed" || !isMovable;
      removing.delete(removal);
    });
    removing.add(removal);
    if (removing.size >= MAX_CONCURRENT_REMOVALS) await Promise.race(removing);
  }
  await Promise.all(removing);
  return hasFailed ? undefined : { gone, left };
}
