/**
 * What a client reads: pages of history, and the read markers of its user.
 *
 * A marker only moves forward, whatever order the requests of a user's sessions arrive in.
 */
import type { Clock } from "../base/clock.ts";
import { eachOf } from "../base/each_of.ts";
import { reject, rejection, type Result } from "../base/rejections.ts";
import { encodedEventBytes, MAX_REPLY_BYTES } from "../delivery/encoded_size.ts";
import { isIgnored } from "../delivery/ignoring.ts";
import type { LoggedEvent, RoomEvent } from "../feed/events.ts";
import type { History } from "../history/history.ts";
import { isEventId } from "../history/streams.ts";
import { conversationOf, DIRECT_FEED_NAME, type Stream } from "../kv/keys.ts";
import type { Moderation } from "../moderation/moderation.ts";
import type { Conversations } from "../storage/conversations.ts";
import type { Place, ReadMarkers } from "../storage/read_markers.ts";
import { accountOf, type Session } from "../storage/records.ts";
import type { Storage } from "../storage/storage.ts";
import type { Connection } from "../connections/connection.ts";
import type { RoomNames } from "./room_names.ts";

/** What reading is made of. */
export interface ReadingParts {
  readonly storage: Storage;
  readonly history: History;
  readonly moderation: Moderation;
  readonly markers: ReadMarkers;
  readonly conversations: Conversations;
  readonly roomNames: RoomNames;
  readonly clock: Clock;
  /** Whether every user may read the history of every room. */
  readonly openHistory: boolean;
}

/** The messages that a client asks for: the newest, or those beside an event. */
export interface HistoryQuery {
  readonly place: Place;
  /** Ask for the messages just before, or just after, the event with this ID; at most one is given. */
  readonly before?: string;
  readonly after?: string;
  readonly limit: number;
}

/** A page of history, oldest first. */
export interface HistoryPage {
  /** Where the messages are: a room by its name. */
  readonly place: Place;
  readonly entries: readonly LoggedEvent[];
  /** Whether there are further ones in the direction of the query. */
  readonly more: boolean;
  /** Whether nothing is missing between `after` and the page; `undefined`: the query had no `after`. */
  readonly isComplete: boolean | undefined;
}

/** Most events in a page of history. */
export const MAX_HISTORY_EVENTS = 100;

/** Messages of ignored users that one page passes over. */
const MAX_SKIPPED_EVENTS = 1_000;

/** Markers that are set at the same time. */
const MAX_MARKS_AT_ONCE = 8;

/** How often a marker may be moved by other sessions while it is being set. */
const MAX_MARK_TRIES = 5;

/** The verbs about reading, for all connections of an instance. */
export class Reading {
  readonly #parts: ReadingParts;

  constructor(parts: ReadingParts) {
    this.#parts = parts;
  }

  /**
   * Returns a page of messages. It has at most {@linkcode MAX_REPLY_BYTES}, but at least one event if
   * there is one.
   *
   * @throws when KV cannot be read.
   */
  async history(
    { session, subscriber }: Connection,
    { place: asked, before, after, limit }: HistoryQuery,
  ): Promise<Result<HistoryPage>> {
    const { history } = this.#parts;
    if (history.retentionMs === 0) return rejection.historyOff;
    const readable = await this.#readable(session, asked);
    if (!readable.ok) return readable;
    const { place } = readable;
    const stream: Stream = "room" in place
      ? ["log", place.room]
      : ["conversation", conversationOf(session.user, place.user)];
    const events = after === undefined
      ? history.backwards(stream, before)
      : history.forwards(stream, after);
    const entries: LoggedEvent[] = [];
    let more = false, bytes = 0, skipped = 0;
    for await (const entry of events) {
      // A conversation with an ignored user is shown to who asks for it. The page must not stay empty, or
      // the client could not ask for the next one.
      const isSkipped = "room" in place && isIgnored(subscriber, entry.event);
      if (isSkipped && ++skipped < MAX_SKIPPED_EVENTS) continue;
      bytes += encodedEventBytes(entry.event);
      more = entries.length === limit || (bytes > MAX_REPLY_BYTES && entries.length > 0);
      if (more) break;
      entries.push(entry);
    }
    if (after === undefined) entries.reverse();
    const isComplete = after === undefined
      ? undefined
      : await this.#isComplete(session, stream, after);
    return { ok: true, place, entries, more, isComplete };
  }

  /**
   * Moves the user's read marker in a place forward to an event. A marker that is there already, or
   * further, stays.
   *
   * @throws when KV cannot be read.
   */
  async markRead({ session }: Connection, place: Place, target: string): Promise<Result> {
    const { history, roomNames, conversations } = this.#parts;
    if (session.account === "") return rejection.notIdentified;
    if (history.retentionMs === 0) return rejection.historyOff;
    let name = DIRECT_FEED_NAME;
    if ("room" in place) {
      const room = roomNames.find(place.room, session.rooms);
      if (room === undefined) return rejection.notInThatRoom(place.room);
      place = { room };
      name = room;
    } else if (!(await conversations.has(session.user, place.user))) return rejection.noSuchMessage;
    if (!isEventId(target) || target > history.latestId(name)) return rejection.noSuchMessage;
    return await this.mark(session, place, target);
  }

  /**
   * As {@linkcode Reading.markRead}, for an event that the server knows to be in that place.
   *
   * @throws when KV cannot be read.
   */
  async mark(session: Session, place: Place, target: string): Promise<Result> {
    const { storage, markers } = this.#parts;
    const { user } = session;
    for (let tries = 0; tries < MAX_MARK_TRIES; tries++) {
      const [marker] = await markers.read(user, [place]);
      const { eventId = "", check } = marker!;
      if (target <= eventId) return { ok: true };
      const { outcome } = await storage.submit(DIRECT_FEED_NAME, {
        checks: [check, ...storage.takeoverCheck(session)],
        mutations: [markers.put(user, place, target)],
        events: [this.#readEvent(session, place, target)],
      });
      if (outcome === "done") return { ok: true };
      if (outcome === "failed") break;
    }
    return rejection.notDone;
  }

  /**
   * Marks the direct messages as read that a plain-text client was shown: it cannot do that itself. What
   * fails is shown again at the next login.
   */
  async markShown({ session, subscriber, unshown }: Connection): Promise<void> {
    const { shownDirects: shown } = subscriber;
    subscriber.shownDirects = undefined;
    if (shown === undefined || session.account === "") return;
    const read = new Map([...shown].filter(([user]) => !unshown?.has(user)));
    await this.markAll(session, read).catch(() => {});
  }

  /**
   * Marks conversations as read, each up to an event, by the ID of the other user.
   *
   * @throws when KV cannot be read.
   */
  async markAll(session: Session, read: ReadonlyMap<string, string>): Promise<void> {
    await eachOf([...read], MAX_MARKS_AT_ONCE, async ([user, eventId]) => {
      await this.mark(session, { user }, eventId);
    });
  }

  #readEvent(session: Session, place: Place, target: string): RoomEvent {
    return {
      kind: "read",
      room: "room" in place ? place.room : "",
      id: session.id,
      account: accountOf(session),
      nick: session.nick,
      text: "",
      time: this.#parts.clock.now(),
      cid: "",
      to: "user" in place ? { user: place.user, nick: "", isRegistered: true } : undefined,
      target,
    };
  }

  /** Returns the place whose messages the client may read. */
  async #readable(session: Session, place: Place): Promise<Result<{ place: Place }>> {
    const { roomNames, openHistory, storage, moderation } = this.#parts;
    if ("user" in place) {
      return session.account === "" ? rejection.notIdentified : { ok: true, place };
    }
    const room = roomNames.find(place.room, session.rooms);
    if (room !== undefined) return { ok: true, place: { room } };
    if (!openHistory) return rejection.notAllowed(place.room);
    const name = roomNames.parse(place.room);
    if (!name.ok) return reject("bad-room", name.why);
    const other = await storage.resolveRoom(name.name);
    const visible = await moderation.visible(session, [other]);
    return visible.has(other) ? { ok: true, place: { room: other } } : rejection.notAllowed(other);
  }

  async #isComplete(session: Session, stream: Stream, after: string): Promise<boolean> {
    const { history } = this.#parts;
    if (await history.isReached(stream, after)) return true;
    if (stream[0] !== "conversation") return false;
    // The conversation may have begun after that event.
    return await history.isReached(["direct", session.user], after) &&
      await history.evictedAfter([[stream, after]]) === "";
  }
}
