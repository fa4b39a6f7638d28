/**
 * The times that a session spent in a room after the last event that its client saw there.
 *
 * They follow from the session's own joins and leaves. This file reads nothing.
 */
import type { LoggedEvent } from "../feed/events.ts";

/** A time in a room whose events the client may have missed: those after `from`, before `to`. */
export interface RoomStay {
  readonly from: string;
  readonly to: string;
  /** The session's join at `from`, if the client missed it. */
  readonly join?: LoggedEvent;
  /** The session's leave, which is the last event that it was to see. */
  readonly leave?: LoggedEvent;
}

/**
 * Returns the stays in a room, newest first, of a session that made these `moves` there (newest first)
 * and is in it at `now`, or not. `last` is the ID of the last event that the client saw there. Without
 * it, the client has seen nothing of the present stay.
 */
export function staysOf(
  isInRoom: boolean,
  moves: readonly LoggedEvent[],
  last: string | undefined,
  now: string,
): RoomStay[] {
  if (last === undefined) {
    if (!isInRoom) return [];
    const join = moves.find(({ event }) => event.kind === "join");
    return [{ from: join?.eventId ?? "", to: now, join }];
  }
  const stays: RoomStay[] = [];
  let to = now, leave: LoggedEvent | undefined;
  for (const move of moves) {
    if (move.eventId <= last) break;
    if (move.event.kind === "leave") {
      isInRoom = true;
      leave = move;
      to = `${move.eventId}\0`;
    } else {
      stays.push({ from: move.eventId, to, join: move, leave });
      isInRoom = false;
      leave = undefined;
    }
  }
  if (isInRoom) stays.push({ from: last, to, leave });
  return stays;
}
