/**
 * Sends messages: to the room of a client, and directly to one user.
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
import { cidKey, type ConnectionRecord, rememberCid, type Session } from "../storage/records.ts";
import type { Storage } from "../storage/storage.ts";
import type { Connection } from "./connection.ts";
import type { Resume } from "./resume.ts";
import type { RoomNames } from "./room_names.ts";

/** What the sending of messages is made of. */
export interface MessagesParts {
  readonly storage: Storage;
  readonly feed: Feed;
  readonly resume: Resume;
  readonly roomNames: RoomNames;
  readonly clock: Clock;
  /** Finds an online user by nickname. */
  findOnline(nick: string): Promise<Result<{ record: ConnectionRecord }>>;
}

/** A message to the client's room. */
export interface MessageRequest {
  readonly kind: "message" | "action";
  readonly text: string;
  /** The only room that the message is meant for; `undefined`: whichever the client is in. */
  readonly expectedRoom?: string;
  /** The client's own ID of the message. */
  readonly cid?: string;
  /** Called once: when the message has been delivered, or with the reason why it was not. */
  readonly settle: (result: Result<{ eventId: string }>) => void;
}

/** The sending of messages, for all connections of an instance. */
export class Messages {
  readonly #parts: MessagesParts;

  constructor(parts: MessagesParts) {
    this.#parts = parts;
  }

  /**
   * Sends a message to the client's room. The next message may be sent when the returned promise has
   * resolved; usually it is `undefined`, so that many messages share one commit.
   */
  say(connection: Connection, message: MessageRequest): void | Promise<void> {
    const { session } = connection;
    const { cid } = message;
    if (cid !== undefined && !session.areCidsRecalled) {
      return this.#recallAndSay(connection, message);
    }
    const settle = (outcome: Outcome, eventId = "") =>
      message.settle(outcome === "done" ? { ok: true, eventId } : rejection.notSent);
    const earlier = cid === undefined ? undefined : session.cids.get(cid);
    // Before all other checks: a client that asks again may be in another room by now.
    if (earlier?.eventId !== undefined) return settle("done", earlier.eventId);
    if (earlier?.isUncertain) return this.#sayAgain(connection, message);
    if (earlier !== undefined) return void earlier.waiting.push(settle);
    const { room } = session;
    if (room === undefined) return message.settle(rejection.notInRoom);
    const { expectedRoom = room } = message;
    if (expectedRoom !== room && !this.#parts.roomNames.leadsTo(expectedRoom, room)) {
      return message.settle(rejection.notInThatRoom(expectedRoom));
    }
    const waitMs = connection.limiter?.takeFor(`room ${room}`, message.text) ?? 0;
    if (waitMs > 0) return message.settle(rejection.tooFast(true, waitMs));
    return this.#submit(connection, message, room, settle);
  }

  /** Sends a direct message. `event` is missing in the result if it was sent before. */
  async sendDirect(
    { session, limiter }: Connection,
    to: string,
    text: string,
    cid?: string,
  ): Promise<Result<{ eventId?: string; event: RoomEvent | undefined }>> {
    const { storage, clock } = this.#parts;
    const key = cid === undefined ? undefined : cidKey("direct", cid);
    if (key !== undefined) {
      if (!session.areCidsRecalled && !(await this.#parts.resume.recall(session))) {
        return rejection.notSent;
      }
      if (session.cids.get(key)?.isUncertain && !(await this.#settleUncertain())) {
        return rejection.notSent;
      }
      const eventId = session.cids.get(key)?.eventId;
      if (eventId !== undefined) return { ok: true, eventId, event: undefined };
    }
    const found = await this.#parts.findOnline(to);
    if (!found.ok) return found;
    const { id, nick } = found.record;
    const waitMs = limiter?.takeFor(`direct ${id}`, text) ?? 0;
    if (waitMs > 0) return rejection.tooFast(true, waitMs);
    const event: RoomEvent = {
      kind: "direct",
      room: "",
      id,
      nick: session.nick,
      text,
      time: clock.now(),
      cid: cid ?? "",
      to: nick,
    };
    if (key !== undefined) rememberCid(session, key);
    const { outcome, eventId } = await storage.sendDirect(session.id, event);
    if (key !== undefined) settleCid(session, key, outcome, eventId);
    return outcome === "done" ? { ok: true, eventId, event } : rejection.notSent;
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
    if (cid !== undefined) rememberCid(session, cid);
    connection.messageSubmitted();
    feed.submit(room, {
      // Prevents that the client sends it again over another instance while it is on its way.
      checks: cid === undefined ? undefined : storage.takeoverCheck(session),
      event: { kind, room, id, nick, text, time: clock.now(), cid: cid ?? "" },
      settle: (outcome, eventId) => {
        settle(outcome, eventId);
        if (cid !== undefined) settleCid(session, cid, outcome, eventId);
        connection.messageSettled();
      },
    });
    return connection.whenMessageAllowed();
  }

  /** Reads first what the client sent over another instance. */
  async #recallAndSay(connection: Connection, message: MessageRequest): Promise<void> {
    if (!(await this.#parts.resume.recall(connection.session))) {
      return message.settle(rejection.notSent);
    }
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

/** Records how the sending of a message with a client's own ID ended. */
function settleCid({ cids }: Session, key: string, outcome: Outcome, eventId?: string): void {
  const state = cids.get(key);
  if (state === undefined) return;
  state.eventId = eventId;
  state.isUncertain = outcome === "failed";
  if (outcome === "conflict") cids.delete(key);
  for (const settle of state.waiting.splice(0)) settle(outcome, eventId);
}
