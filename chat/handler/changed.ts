/** The result of a change of state, for the protocols: its event, or why it was not done. */
import type { Limits } from "../base/limits.ts";
import { type Rejection, rejection, type Result } from "../base/rejections.ts";
import type { ChangeResult } from "../storage/changes.ts";
import { MAX_SESSIONS } from "../storage/users.ts";

/** The result of a change: the ID of the first event that announces it, if there is one. */
export type Changed<T = unknown> = Result<{ eventId?: string } & T>;

/**
 * Returns the result of a change that Storage made or refused. `why`: the reason, if moderation has
 * refused it.
 */
export function changedFrom(
  { outcome, eventId }: ChangeResult,
  limits: Limits,
  why: Rejection = rejection.notDone,
): Changed {
  switch (outcome) {
    case "done":
      return { ok: true, eventId };
    case "too-many-rooms":
      return rejection.tooManyRooms(limits.maxRooms);
    case "too-many-sessions":
      return rejection.tooManySessions(MAX_SESSIONS);
    case "refused":
      return why;
    case "conflict":
    case "failed":
      return rejection.notDone;
    default:
      return outcome satisfies never;
  }
}
