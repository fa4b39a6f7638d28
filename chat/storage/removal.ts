/**
 * Removes the rows of a session, and tells its rooms that the user left.
 *
 * A session in rooms of several shards is removed in a sequence of operations. The first makes its tokens
 * invalid, and the last removes the row that lists it. What a sequence that failed has left is still
 * listed there, so the same function finishes it, on any instance.
 */
import { type Clock, delay } from "../base/clock.ts";
import type { Outcome } from "../feed/batch.ts";
import { connectionKey } from "../kv/keys.ts";
import { changeClaims, keep } from "./claims.ts";
import type { Changes } from "./changes.ts";
import type { Planned, Presence } from "./presence.ts";
import type { Session, SessionRecords } from "./records.ts";
import type { Rooms } from "./rooms.ts";
import { type ListedSession, refOfListed, type SessionRows } from "./rows.ts";
import type { UserDrafts } from "./users.ts";

/** What {@linkcode Removals} is made of. */
export interface RemovalsParts {
  readonly clock: Clock;
  /** The ID of this instance. */
  readonly instance: string;
  readonly records: SessionRecords;
  readonly rows: SessionRows;
  readonly rooms: Rooms;
  readonly presence: Presence;
  readonly changes: Changes;
  /** Milliseconds for which a registration keeps claims that an earlier version had taken from it. */
  readonly registrationMs: number;
}

/** Milliseconds between two attempts to remove the rows of a session. */
export const REMOVAL_RETRY_MS = 1000;

/** Removes sessions. */
export class Removals {
  readonly #parts: RemovalsParts;

  constructor(parts: RemovalsParts) {
    this.#parts = parts;
  }

  /**
   * Removes a session that `instance` has. Every operation includes `checks` and the check that no other
   * instance has taken the session over. `"conflict"`: one of them failed.
   */
  async remove(
    session: ListedSession,
    instance: string,
    checks: readonly Deno.AtomicCheck[] = [],
  ): Promise<Outcome> {
    const { rows, rooms, presence, changes } = this.#parts;
    const guards = [...checks, ...rows.takeoverCheck(session, instance)];
    const users = [refOfListed(session), ...session.untold === undefined ? [] : [session.untold]]
      .filter(({ isRegistered }) => isRegistered).map(({ user }) => user);
    const groups = presence.groupsOf(session.rooms);
    if (groups.length === 0) groups.push([]);
    let rest: ListedSession = session;
    for (const [i, group] of groups.entries()) {
      const now = rest;
      const left = without(now, group);
      const isLast = i === groups.length - 1;
      const { outcome } = await changes.attempt(group[0] ?? session.id, users, (drafts) => {
        const { mutations, events } = presence.removal(now, group, drafts);
        const listed = isLast
          ? this.#removeListed(now, instance, drafts)
          : [...rows.deleteTokens(now.tokens), rows.putInstanceRow(left, instance)];
        return { checks: guards, mutations: [...mutations, ...listed], events } satisfies Planned;
      }, true);
      if (outcome !== "done") return outcome === "conflict" ? outcome : "failed";
      for (const room of group) rooms.removeIfEmpty(room);
      rest = left;
    }
    return "done";
  }

  /** Removes a session of this instance with its record. It retries until that is done. */
  async removeOwn(record: Session): Promise<void> {
    const { clock, instance, records, changes } = this.#parts;
    const removeOnce = async (): Promise<Outcome> => {
      const state = await changes.settle(record);
      const outcome = state === "done" && record.isStored
        ? await this.remove({ ...record, rooms: new Set(record.rooms) }, instance)
        : state;
      record.isUncertain = outcome === "failed";
      // Before the next change of the session has its turn.
      if (outcome !== "failed") records.remove(record);
      return outcome;
    };
    while (await changes.inTurn(record.id, [record.user], removeOnce) === "failed") {
      await delay(clock, REMOVAL_RETRY_MS);
      if (records.get(record.id) !== record) return;
    }
  }

  #removeListed(session: ListedSession, instance: string, drafts: UserDrafts): Deno.KvMutation[] {
    const { rows, registrationMs } = this.#parts;
    const { id, nick, account, tokens, claims, kept = [] } = session;
    drafts.of(refOfListed(session))?.remove(id);
    const isFreed = (claim: string) => !kept.includes(claim);
    return [
      ...rows.deleteName(id, nick),
      ...rows.deleteTokens(tokens),
      { type: "delete", key: connectionKey(instance, id) },
      ...changeClaims(id, claims.filter(isFreed), []).mutations,
      ...kept.map((claim) => keep(claim, account, registrationMs)),
    ];
  }
}

/** Returns a session without some of its rooms, and without tokens. */
function without(session: ListedSession, group: readonly string[]): ListedSession {
  const gone = new Set(group);
  const { untold } = session;
  return {
    ...session,
    tokens: [],
    rooms: new Set(session.rooms).difference(gone),
    untold: untold && { ...untold, rooms: new Set(untold.rooms).difference(gone) },
  };
}
