/**
 * Deletes messages of others: one, or the last ones of a user in a room.
 *
 * History rewrites the rows, in one operation with the events that tell of it. Who may do it to whom is
 * decided in acting.ts.
 */
import type { Clock } from "../base/clock.ts";
import { rejection, type Result } from "../base/rejections.ts";
import type { Operation } from "../feed/batch.ts";
import { authorOf, authorRef, type RoomEvent, type UserRef } from "../feed/events.ts";
import type { History } from "../history/history.ts";
import { isEventId, isMessage } from "../history/streams.ts";
import { foldNickname } from "../nicknames/names.ts";
import type { SoughtUser } from "../nicknames/users.ts";
import type { Session } from "../storage/records.ts";
import type { Storage } from "../storage/storage.ts";

/** What {@linkcode Deleting} is made of. */
export interface DeletingParts {
  readonly clock: Clock;
  readonly storage: Storage;
  readonly history: History;
}

/** An act, and its copies for other shards. */
type Told = Pick<Operation, "copies"> & { readonly events: readonly RoomEvent[] };

/** Messages of a room among which those of a user are looked for. */
const MAX_SEARCHED_EVENTS = 5_000;

/** Deletes messages, for one instance. */
export class Deleting {
  readonly #parts: DeletingParts;

  constructor(parts: DeletingParts) {
    this.#parts = parts;
  }

  /**
   * Returns the author of a message that can be deleted.
   *
   * @throws when KV cannot be read.
   */
  async find(room: string, id: string): Promise<Result<{ author: UserRef }>> {
    const { history } = this.#parts;
    if (history.retentionMs === 0) return rejection.historyOff;
    if (!isEventId(id)) return rejection.noSuchMessage;
    const found = await history.find(["log", room], id);
    if (found === undefined || found.event.deletedAt !== undefined) return rejection.noSuchMessage;
    return { ok: true, author: authorRef(found.event) };
  }

  /**
   * Returns the last author of that name, or user ID, of a message in a room.
   *
   * @throws when KV cannot be read.
   */
  async findAuthor(room: string, sought: SoughtUser): Promise<UserRef | undefined> {
    const isSought = (event: RoomEvent) =>
      "user" in sought
        ? authorOf(event) === sought.user
        : foldNickname(event.nick) === foldNickname(sought.nick);
    let searched = 0;
    for await (const { event } of this.#parts.history.backwards(["log", room])) {
      if (isSought(event)) return authorRef(event);
      if (++searched > MAX_SEARCHED_EVENTS) return undefined;
    }
  }

  /**
   * Deletes the message that an act names, in one operation with the act.
   *
   * @throws when KV cannot be read.
   */
  async one(
    session: Session,
    event: RoomEvent,
    told: Told,
  ): Promise<Result<{ eventId: string; event: RoomEvent }>> {
    const deleted = await this.#delete(session, event, event.subject!, told);
    return deleted.ok ? { ...deleted, event } : deleted;
  }

  /**
   * Deletes the last messages of the user that an act names, as many as it says, and then tells the act
   * with the number of those that were deleted.
   *
   * @throws when KV cannot be read.
   */
  async last(
    session: Session,
    event: RoomEvent,
    toldOf: (event: RoomEvent) => Told,
  ): Promise<Result<{ eventId: string; event: RoomEvent }>> {
    const { history, storage } = this.#parts;
    if (history.retentionMs === 0) return rejection.historyOff;
    const ids = await this.#lastOf(event.room, event.to!.user, event.count ?? 0);
    let count = 0;
    for (const id of ids) {
      const deleted = await this.#delete(session, event, id);
      if (deleted.ok) count++;
      // Others were deleted or removed meanwhile.
      else if (deleted.code !== "no-such-message") break;
    }
    if (count === 0) return ids.length === 0 ? rejection.noSuchMessage : rejection.notDone;
    const counted = { ...event, count };
    const { outcome, eventId } = await storage.submit(event.room, toldOf(counted));
    return outcome === "done" ? { ok: true, eventId: eventId!, event: counted } : rejection.notDone;
  }

  /** Returns the IDs of the last messages of a user in a room, the newest first. */
  async #lastOf(room: string, user: string, count: number): Promise<string[]> {
    const ids: string[] = [];
    let searched = 0;
    for await (const { eventId, event } of this.#parts.history.backwards(["log", room])) {
      if (ids.length === count || ++searched > MAX_SEARCHED_EVENTS) break;
      const isWanted = isMessage(event) && authorOf(event) === user;
      if (isWanted && event.deletedAt === undefined) ids.push(eventId);
    }
    return ids;
  }

  async #delete(
    session: Session,
    { room, id, account, nick }: RoomEvent,
    target: string,
    told?: Told,
  ): Promise<Result<{ eventId: string }>> {
    const { clock, history, storage } = this.#parts;
    const event: RoomEvent = {
      kind: "delete",
      room,
      id,
      account,
      nick,
      text: "",
      time: clock.now(),
      cid: "",
      target,
    };
    const checks = storage.takeoverCheck(session);
    const { outcome, eventId } = await history.revise(["log", room], event, checks, told);
    switch (outcome) {
      case "done":
        return { ok: true, eventId: eventId! };
      case "not-found":
        return rejection.noSuchMessage;
      case "failed":
        return rejection.notDone;
      default:
        return outcome satisfies never;
    }
  }
}
