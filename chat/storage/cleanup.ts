/**
 * Removes the rows of connections that a dead instance left, and announces that their clients left.
 *
 * Every commit here checks the row by which one surviving instance claims the cleanup, so that two
 * instances never do it at the same time. lease.ts decides which instances are dead.
 */
import type { Clock } from "../base/clock.ts";
import { connectionPrefix } from "../kv/keys.ts";
import { eachWithTimeout } from "../kv/retry.ts";
import type { Changes } from "./changes.ts";
import type { Rooms } from "./rooms.ts";
import type { ConnectionRows } from "./rows.ts";

/** What {@linkcode cleanUp} uses. */
export interface CleanUpParts {
  readonly kv: Deno.Kv;
  readonly clock: Clock;
  readonly rows: ConnectionRows;
  readonly rooms: Rooms;
  readonly changes: Changes;
}

/**
 * Removes the connections of the dead instance `instance`. Connections that a token can resume stay,
 * unless `includeResumable` is set. `claim` is the check under which all of it is done. Returns how many
 * connections were removed (`gone`) and how many stay (`left`); `undefined` if the claim was lost or
 * KV failed: then the cleanup must be repeated.
 *
 * @throws when KV cannot be read.
 */
export async function cleanUp(
  { kv, clock, rows, rooms, changes }: CleanUpParts,
  instance: string,
  claim: Deno.AtomicCheck,
  includeResumable: boolean,
): Promise<{ gone: number; left: number } | undefined> {
  const removals: Promise<"gone" | "resumed" | "failed">[] = [];
  const leftRooms = new Set<string>();
  let left = 0;
  const entries = kv.list<unknown>({ prefix: connectionPrefix(instance) }, { batchSize: 1000 });
  for await (const { key, value } of eachWithTimeout(clock, entries)) {
    const connection = rows.parse(String(key[2]), value);
    const { id, room } = connection;
    const isResumable = connection.tokens.length > 0;
    if (!includeResumable && isResumable) {
      left++;
      continue;
    }
    if (room !== undefined) leftRooms.add(room);
    const { checks, ...removal } = rows.removal(connection, instance);
    const operation = { ...removal, checks: [claim, ...checks] };
    removals.push(
      changes.submit(room ?? id, operation).then(({ outcome }) => {
        switch (outcome) {
          case "done":
            return "gone";
          case "conflict":
            // Its client may have resumed it on another instance, which is no failure.
            return isResumable ? "resumed" : "failed";
          case "failed":
            return "failed";
          default:
            return outcome satisfies never;
        }
      }),
    );
  }
  const results = await Promise.all(removals);
  for (const room of leftRooms) rooms.removeIfEmpty(room);
  if (results.includes("failed")) return undefined;
  return { gone: results.filter((result) => result === "gone").length, left };
}
