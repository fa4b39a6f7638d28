/**
 * Edits and deletes messages, a user's own within a time; and adds reactions to those of anybody.
 *
 * History rewrites the rows; the event tells the members, in the one order. Only the author may change
 * a message: the same registered user from any session, or the same session of an unregistered one.
 */
import type { Clock } from "../base/clock.ts";
import { hasReaction, isFull, type Reaction } from "../base/reactions.ts";
import { rejection, type Result } from "../base/rejections.ts";
import { authorOf, authorRef, type RoomEvent } from "../feed/events.ts";
import type { History } from "../history/history.ts";
import { isEventId, isMessage } from "../history/streams.ts";
import type { Moderation } from "../moderation/moderation.ts";
import { conversationOf, type Stream } from "../kv/keys.ts";
import type { Place } from "../storage/read_markers.ts";
import { accountOf, type Session } from "../storage/records.ts";
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

/** An emoji that is to be added to a message, or removed from it. */
export interface ReactionRequest {
  readonly place: Place;
  /** The ID of the message. */
  readonly target: string;
  readonly emoji: Reaction;
  readonly isAdded: boolean;
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
    const { storage, history, moderation, clock, editMs } = this.#parts;
    if (editMs === 0) return rejection.editOff;
    const found = this.#locate(session, place, target);
    if (!found.ok) return found;
    const { room, stream } = found;
    const why = text === undefined || room === "" ? undefined : moderation.maySay(session, room);
    if (why !== undefined) return why;
    const waitMs = limiter?.takeFor(destinationOf(place, room), text ?? "") ?? 0;
    if (waitMs > 0) return rejection.tooFast(true, waitMs);
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

  /**
   * Adds a reaction of the client's user to a message, or removes it. The result holds the ID of the event
   * that tells of it, unless that is so already.
   *
   * @throws when KV cannot be read.
   */
  async react(
    { session, limiter }: Connection,
    { place, target, emoji, isAdded }: ReactionRequest,
  ): Promise<Result<{ eventId?: string }>> {
    const { storage, history, moderation, clock } = this.#parts;
    const found = this.#locate(session, place, target);
    if (!found.ok) return found;
    const { room, stream } = found;
    const why = room === "" ? undefined : moderation.whyConflict(session, room);
    if (why !== undefined) return why;
    const waitMs = limiter?.takeFor(destinationOf(place, room), emoji) ?? 0;
    if (waitMs > 0) return rejection.tooFast(true, waitMs);
    const find = async () => {
      const message = (await history.find(stream, target))?.event;
      return message?.deletedAt === undefined ? message : undefined;
    };
    const isSo = (message: RoomEvent) =>
      hasReaction(message.reactions, session.user, emoji) === isAdded;
    const message = await find();
    if (message === undefined || !isMessage(message)) return rejection.noSuchMessage;
    if (isSo(message)) return { ok: true };
    if (isAdded && isFull(message.reactions)) return rejection.tooManyReactions;
    const isOwn = authorOf(message) === session.user;
    const event: RoomEvent = {
      kind: "reaction",
      room,
      id: session.id,
      account: accountOf(session),
      nick: session.nick,
      text: emoji,
      time: clock.now(),
      cid: "",
      // The other user of the conversation.
      to: message.to === undefined || isOwn ? message.to : authorRef(message),
      target,
      isRemoved: isAdded ? undefined : true,
    };
    const check = storage.takeoverCheck(session);
    const { outcome, eventId } = await history.revise(stream, event, check);
    if (outcome === "done") return { ok: true, eventId };
    if (outcome === "failed") return moderation.whyConflict(session, room) ?? rejection.notSent;
    // Another session of the user was first, others have filled it, or it was deleted.
    const present = await find();
    if (present === undefined) return rejection.noSuchMessage;
    return isSo(present) ? { ok: true } : rejection.tooManyReactions;
  }

  /** Returns the room (empty: none) and the stream of history in which a message would be. */
  #locate(
    session: Session,
    place: Place,
    target: string,
  ): Result<{ room: string; stream: Stream }> {
    const { history, roomNames } = this.#parts;
    if (history.retentionMs === 0) return rejection.historyOff;
    const room = "room" in place ? roomNames.find(place.room, session.rooms) : "";
    if (room === undefined) return rejection.notInThatRoom("room" in place ? place.room : "");
    if (!isEventId(target)) return rejection.noSuchMessage;
    const stream: Stream = "user" in place
      ? ["conversation", conversationOf(session.user, place.user)]
      : ["log", room];
    return { ok: true, room, stream };
  }
}

function destinationOf(place: Place, room: string): string {
  return "user" in place ? `direct ${place.user}` : `room ${room}`;
}

/** Returns whether an event is a text by a user that is not deleted. */
function isTextOf(user: string, event: RoomEvent): boolean {
  return authorOf(event) === user && event.deletedAt === undefined;
}
