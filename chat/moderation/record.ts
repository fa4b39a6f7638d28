/**
 * The record of moderation, by pages: who did what to whom, when and why.
 *
 * History keeps it, in streams of their own that the quota does not touch. Moderators read that of their
 * rooms, operators that of everything.
 */
import { rejection, type Result } from "../base/rejections.ts";
import type { LoggedEvent } from "../feed/events.ts";
import type { History } from "../history/history.ts";
import { ALL_ACTS, DIRECT_FEED_NAME } from "../kv/keys.ts";
import type { Session } from "../storage/records.ts";
import type { Roles } from "./roles.ts";
import type { ModerationRows } from "./rows.ts";

/** What {@linkcode ActRecord} is made of. */
export interface ActRecordParts {
  readonly history: History;
  readonly roles: Roles;
  readonly rows: ModerationRows;
  shardOf(name: string): number;
}

/** A page of the record, oldest first. */
export interface RecordPage {
  readonly entries: readonly LoggedEvent[];
  /** Whether there are earlier acts. */
  readonly more: boolean;
}

/** Acts in a page, at most. */
export const MAX_RECORD_ACTS = 100;

/** Reads the record. */
export class ActRecord {
  readonly #parts: ActRecordParts;

  constructor(parts: ActRecordParts) {
    this.#parts = parts;
  }

  /**
   * Returns the last acts, or those before the event ID `before`: of a room, or without one of everything.
   *
   * @throws when KV cannot be read.
   */
  async page(
    session: Session,
    room: string | undefined,
    before: string | undefined,
    limit: number,
  ): Promise<Result<RecordPage>> {
    const { history, roles, rows, shardOf } = this.#parts;
    if (!roles.isOperator(session)) {
      if (room === undefined) return rejection.notAnOperator;
      const { rules } = await rows.read(room, shardOf(room || DIRECT_FEED_NAME));
      const isModerator = session.account !== "" && rules.moderators.has(session.user);
      if (!isModerator) return rejection.notAModerator(room);
    }
    const most = Math.min(limit, MAX_RECORD_ACTS);
    const entries: LoggedEvent[] = [];
    for await (const entry of history.backwards(["acts", room ?? ALL_ACTS], before)) {
      if (entries.length === most) return { ok: true, entries: entries.reverse(), more: true };
      entries.push(entry);
    }
    return { ok: true, entries: entries.reverse(), more: false };
  }
}
