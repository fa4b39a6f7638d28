/**
 * Commits changes of this instance's connections through the feed, and corrects a record whose last
 * commit seemed to fail.
 *
 * A commit without an answer from KV may have been written. Therefore the next change of the same
 * record first reads what KV has.
 */
import type { Operation, Outcome } from "../feed/batch.ts";
import type { Feed } from "../feed/feed.ts";
import { NO_CLAIMS } from "./claims.ts";
import type { Session } from "./records.ts";
import type { ConnectionRows } from "./rows.ts";

/** The result of a change. */
export interface ChangeResult {
  readonly outcome: Outcome;
  /** The ID of the change's event; `undefined` if it was not delivered, or has none. */
  readonly eventId: string | undefined;
}

/** Commits changes. */
export class Changes {
  readonly #feed: Feed;
  readonly #rows: ConnectionRows;

  constructor(feed: Feed, rows: ConnectionRows) {
    this.#feed = feed;
    this.#rows = rows;
  }

  /** Submits an operation. Operations of one `name` (a room or a connection) keep their order. */
  submit(name: string, operation: Partial<Operation>): Promise<ChangeResult> {
    return new Promise((resolve) => {
      const settle = (outcome: Outcome, eventId?: string) => resolve({ outcome, eventId });
      this.#feed.submit(name, { ...operation, settle });
    });
  }

  /**
   * Submits a change of a record. `make` is called when the record is known to be right, and may
   * refuse. The operation is ordered with those of `room`: by default the room that the record is in.
   */
  async change(
    record: Session,
    make: () => Partial<Operation> | Exclude<Outcome, "done">,
    room?: string,
  ): Promise<ChangeResult> {
    if (record.isUncertain && !(await this.#reread(record))) {
      return { outcome: "failed", eventId: undefined };
    }
    const operation = make();
    if (typeof operation === "string") return { outcome: operation, eventId: undefined };
    const result = await this.submit(room ?? record.room ?? record.id, operation);
    record.isUncertain = result.outcome === "failed";
    return result;
  }

  /**
   * Resolves when every commit that seemed to fail before the call has been delivered, if it was
   * written.
   *
   * @throws when KV cannot be read.
   */
  async settleUncertain(): Promise<void> {
    await this.#feed.poll();
    await this.#feed.flush();
  }

  /** Sets a record to what KV has. Returns whether that could be read. */
  async #reread(record: Session): Promise<boolean> {
    try {
      // First delivers what the feed has: its events must not be applied on top of newer rows.
      await this.settleUncertain();
      const { nick, room } = await this.#rows.read(record.id) ?? { nick: "", room: undefined };
      const { connection } = await this.#rows.readInstanceRow(record.id);
      record.nick = nick;
      record.room = room;
      record.held = nick === "" ? NO_CLAIMS : connection?.held ?? NO_CLAIMS;
      record.isUncertain = false;
      return true;
    } catch {
      return false;
    }
  }
}
