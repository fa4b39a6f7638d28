/**
 * Sends messages: to one of a client's rooms, and directly to one user.
 *
 * A client may give a message an ID of its own (`cid`). Sending it again with the same ID sends
 * nothing, and has the result of the first time, also after a resume on another instance. So a client
 * that lost the reply can safely ask again. This file delivers nothing: the feed does.
 */
import type { Clock } from "../base/clock.ts";
import { rejection, type Result } from "../base/rejections.ts";
import type { Outcome } from "../feed/batch.ts";
import type { RoomEvent } from "../feed/events.ts";
import type { Feed } from "../feed/feed.ts";
import { DIRECT_FEED_NAME } from "../kv/keys.ts";
import type { OperationResult } from "../storage/changes.ts";
import type { Conversations } from "../storage/conversations.ts";
import { accountOf, cidKey, rememberCid, type Session } from "../storage/records.ts";
import type { Storage } from "../storage/storage.ts";
import type { Connection } from "../connections/connection.ts";
import type { Resume } from "../resume/resume.ts";
import type { RoomNames } from "./room_names.ts";
import type { Moderation } from "../moderation/moderation.ts";
import type { SoughtUser, Users } from "../nicknames/users.ts";

/** What the sending of messages is made of. */
export interface MessagesParts {
  readonly storage: Storage;
  readonly conversations: Conversations;
  readonly feed: Feed;
  readonly resume: Resume;
  readonly moderation: Moderation;
  readonly roomNames: RoomNames;
  readonly users: Users;
  readonly clock: Clock;
}

/** A message to one of the client's rooms. */
export interface MessageRequest {
  readonly kind: "message" | "action";
  readonly text: string;
  readonly room: string;
  /** The client's own ID of the message. */
  readonly cid?: string;
  /** Called once: when the message has been delivered, or with the reason why it was not. */
  readonly settle: (result: Result<{ eventId: string }>) => void;
}

/** A message to one user. */
export interface DirectRequest {
  readonly to: SoughtUser;
  readonly text: string;
  readonly cid?: string;
}

/** A direct message that was sent. `isKept`: it is kept like history, for both users. */
export interface DirectSent {
  readonly eventId: string;
  readonly isKept: boolean;
}

/** The sending of messages, for all connections of an instance. */
export class Messages {
  readonly #parts: MessagesParts;

  constructor(parts: MessagesParts) {
    this.#parts = parts;
  }

  /**
   * Sends a message to a room. The next message may be sent when the returned promise has resolved;
   * usually it is `undefined`, so that many messages share one commit.
   */
  say(connection: Connection, message: MessageRequest): void | Promise<void> {
    const { moderation } = this.#parts;
    const { session } = connection;
    const { cid } = message;
    if (cid !== undefined && !session.areCidsRecalled) {
      return this.#recallAndSay(connection, message);
    }
    if (isUnsettled(session)) return this.#prepareAndSay(connection, message);
    const settle = (outcome: Outcome, eventId = "") => {
      if (outcome === "done") return message.settle({ ok: true, eventId });
      const why = outcome === "conflict"
        ? moderation.whyConflict(session, message.room)
        : undefined;
      message.settle(why ?? rejection.notSent);
    };
    const earlier = cid === undefined ? undefined : session.cids.get(cid);
    // Before all other checks: a client that asks again may have left the room by now.
    if (earlier?.eventId !== undefined) return settle("done", earlier.eventId);
    if (earlier?.isUncertain) return this.#sayAgain(connection, message);
    if (earlier !== undefined) return void earlier.waiting.push(settle);
    const room = this.#parts.roomNames.find(message.room, session.rooms);
    if (room === undefined) return message.settle(rejection.notInThatRoom(message.room));
    const why = moderation.maySay(session, room);
    if (why !== undefined) return message.settle(why);
    const waitMs = connection.limiter?.takeFor(`room ${room}`, message.text) ?? 0;
    if (waitMs > 0) return message.settle(rejection.tooFast(true, waitMs));
    return this.#submit(connection, message, room, settle);
  }

  /**
   * Sends a direct message. If both users are registered, it is kept like history, so the recipient may
   * be offline.
   */
  async sendDirect(
    { session, limiter }: Connection,
    { to, text, cid }: DirectRequest,
  ): Promise<Result<DirectSent>> {
    const { clock, conversations, users } = this.#parts;
    const key = cid === undefined ? undefined : cidKey("direct", cid);
    if (key !== undefined) {
      const earlier = await this.#earlierDirect(session, key);
      if (earlier !== undefined) return earlier;
    }
    const result = await users.find(to);
    if (!result.ok) return result;
    const { user, nick, isRegistered, isOnline } = result.found;
    const isKept = isRegistered && session.account !== "" && conversations.areKept;
    if (!isOnline && !isKept) return rejection.notOnline(nick);
    const waitMs = limiter?.takeFor(`direct ${user}`, text) ?? 0;
    if (waitMs > 0) return rejection.tooFast(true, waitMs);
    const event: RoomEvent = {
      kind: "direct",
      room: "",
      id: session.id,
      account: accountOf(session),
      nick: session.nick,
      text,
      time: clock.now(),
      cid: cid ?? "",
      to: { user, nick, isRegistered },
    };
    if (key !== undefined) rememberCid(session, key, undefined, isKept);
    const { outcome, eventId } = await this.#submitDirect(session, event, isKept);
    if (key !== undefined) settleCid(session, key, outcome, eventId);
    return outcome === "done" ? { ok: true, eventId: eventId!, isKept } : rejection.notSent;
  }

  #submit(
    connection: Connection,
    { kind, text, cid }: MessageRequest,
    room: string,
    settle: (outcome: Outcome, eventId?: string) => void,
  ): void | Promise<void> {
    const { storage, feed, clock } = this.#parts;
    const { session } = connection;
    const { id, nick } = session;
    const account = accountOf(session);
    if (cid !== undefined) rememberCid(session, cid);
    connection.messageSubmitted();
    feed.submit(room, {
      // Prevents that the client sends it again over another instance while it is on its way.
      checks: cid === undefined ? undefined : storage.takeoverCheck(session),
      events: [{ kind, room, id, account, nick, text, time: clock.now(), cid: cid ?? "" }],
      settle: (outcome, eventId) => {
        settle(outcome, eventId);
        if (cid !== undefined) settleCid(session, cid, outcome, eventId);
        connection.messageSettled();
      },
    });
    return connection.whenMessageAllowed();
  }

  #submitDirect(session: Session, event: RoomEvent, isKept: boolean): Promise<OperationResult> {
    const { storage, conversations } = this.#parts;
    return storage.submit(DIRECT_FEED_NAME, {
      checks: storage.takeoverCheck(session),
      mutations: isKept ? conversations.putBoth(event) : undefined,
      events: [event],
    });
  }

  /** Returns the result of a direct message that was sent before under the same `cid`, if it was. */
  async #earlierDirect(session: Session, key: string): Promise<Result<DirectSent> | undefined> {
    if (!session.areCidsRecalled && !(await this.#parts.resume.recall(session))) {
      return rejection.notSent;
    }
    if (session.cids.get(key)?.isUncertain && !(await this.#settleUncertain())) {
      return rejection.notSent;
    }
    const { eventId, isKept } = session.cids.get(key) ?? {};
    return eventId === undefined ? undefined : { ok: true, eventId, isKept: isKept ?? false };
  }

  /** Reads first what the client sent over another instance. */
  async #recallAndSay(connection: Connection, message: MessageRequest): Promise<void> {
    if (!(await this.#parts.resume.recall(connection.session))) {
      return message.settle(rejection.notSent);
    }
    await this.say(connection, message);
  }

  /** Finds out first whether the client is in the room, and tells the room which user it is. */
  async #prepareAndSay(connection: Connection, message: MessageRequest): Promise<void> {
    const { session } = connection;
    await this.#parts.storage.prepare(session.id);
    if (isUnsettled(session)) return message.settle(rejection.notSent);
    await this.say(connection, message);
  }

  /** Finds out first whether the message was stored although its commit seemed to fail. */
  async #sayAgain(connection: Connection, message: MessageRequest): Promise<void> {
    const { cids } = connection.session;
    if (!(await this.#settleUncertain())) return message.settle(rejection.notSent);
    if (cids.get(message.cid!)?.eventId === undefined) cids.delete(message.cid!);
    await this.say(connection, message);
  }

  /** Returns whether it is known now of every commit that seemed to fail if it was stored. */
  async #settleUncertain(): Promise<boolean> {
    return await this.#parts.storage.settleUncertain().then(() => true, () => false);
  }
}

/** Whether it is not certain which rooms a session is in, or some do not know which user it is. */
function isUnsettled({ isUncertain, untold }: Session): boolean {
  return isUncertain || untold !== undefined;
}

/** Records how the sending of a message with a client's own ID ended. */
function settleCid({ cids }: Session, key: string, outcome: Outcome, eventId?: string): void {
  const state = cids.get(key);
  if (state === undefined) return;
  state.eventId = eventId;
  state.isUncertain = outcome === "failed";
  if (outcome === "conflict") cids.delete(key);
  for (const settle of state.waiting.splice(0)) settle(outcome, eventId);
}
