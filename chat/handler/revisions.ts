/**
 * Edits and deletes messages: a user's own, within a time.
 *
 * History rewrites the rows; the event tells the members, in the one order. Only the author may change
 * a message: the same registered user from any session, or the same session of an unregistered one.
 */
import type { Clock } from "../base/clock.ts";
import { rejection, type Result } from "../base/rejections.ts";
import { authorOf, type RoomEvent } from "../feed/events.ts";
import type { History } from "../history/history.ts";
import { isEventId } from "../history/streams.ts";
import type { Moderation } from "../moderation/moderation.ts";
import { conversationOf, type Stream } from "../kv/keys.ts";
import type { Place } from "../storage/read_markers.ts";
import { accountOf } from "../storage/records.ts";
import type { Storage } from "../storage/storage.ts";
import type { Connection } from "../connections/connection.ts";
import type { RoomNames } from "./room_names.ts";

/** What the changing of messages is made of. */
export interface RevisionsParts {
  readonly storage: Storage;
  readonly history: History;
  readonly moderation: Moderation;
  readonly roomNames: RoomNames;
  readonly clock: Clock;
  /** Milliseconds within which a message may be changed; 0: it cannot. */
  readonly editMs: number;
}

/** A message that is to be changed. Without `text` it is deleted. */
export interface RevisionRequest {
  readonly place: Place;
  /** The ID of the message. */
  readonly target: string;
  readonly text?: string;
}

/** The changing of messages, for all connections of an instance. */
export class Revisions {
  readonly #parts: RevisionsParts;

  constructor(parts: RevisionsParts) {
    this.#parts = parts;
  }

  /**
   * Edits or deletes a message. The result holds the ID of the event that tells of it.
   *
   * @throws when KV cannot be read.
   */
  async revise(
    { session, limiter }: Connection,
    { place, target, text }: RevisionRequest,
  ): Promise<Result<{ eventId?: string }>> {
    const { storage, history, roomNames, moderation, clock, editMs } = this.#parts;
    if (editMs === 0) return rejection.editOff;
    if (history.retentionMs === 0) return rejection.historyOff;
    const room = "room" in place ? roomNames.find(place.room, session.rooms) : "";
    if (room === undefined) return rejection.notInThatRoom("room" in place ? place.room : "");
    if (!isEventId(target)) return rejection.noSuchMessage;
    const why = text === undefined || room === "" ? undefined : moderation.maySay(session, room);
    if (why !== undefined) return why;
    const waitMs = limiter?.takeFor(destinationOf(place, room), text ?? "") ?? 0;
    if (waitMs > 0) return rejection.tooFast(true, waitMs);
    const stream: Stream = "user" in place
      ? ["conversation", conversationOf(session.user, place.user)]
      : ["log", room];
    const message = (await history.find(stream, target))?.event;
    if (message === undefined || !isTextOf(session.user, message)) return rejection.noSuchMessage;
    if (clock.now() - message.time > editMs) return rejection.editTooLate;
    const event: RoomEvent = {
      kind: text === undefined ? "delete" : "edit",
      room,
      id: session.id,
      account: accountOf(session),
      nick: session.nick,
      text: text ?? "",
      time: clock.now(),
      cid: "",
      to: message.to,
      target,
    };
    const { outcome, eventId } = await history.revise(
      stream,
      event,
      storage.takeoverCheck(session),
    );
    switch (outcome) {
      case "done":
        return { ok: true, eventId };
      case "not-found":
        return rejection.noSuchMessage;
      case "failed":
        // An act may have forbidden it meanwhile.
        return (text === undefined ? undefined : moderation.whyConflict(session, room)) ??
          rejection.notSent;
      default:
        return outcome satisfies never;
    }
  }
}

function destinationOf(place: Place, room: string): string {
  return "user" in place ? `direct ${place.user}` : `room ${room}`;
}

/** Returns whether an event is a text by a user that is not deleted. */
function isTextOf(user: string, event: RoomEvent): boolean {
  return authorOf(event) === user && event.deletedAt === undefined;
}
