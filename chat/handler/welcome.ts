/**
 * What a client is told when it logs in or resumes: its rooms and conversations, how much of them is
 * unread, and the direct messages that came while its user was away.
 *
 * The work is bounded whatever the user's rooms hold: counts end at {@linkcode MAX_UNREAD}.
 */
import { eachOf } from "../base/each_of.ts";
import { encodedEventBytes, MAX_REPLY_BYTES } from "../delivery/encoded_size.ts";
import { authorOf, type LoggedEvent, type UserRef } from "../feed/events.ts";
import { inOrder } from "../history/in_order.ts";
import type { History } from "../history/history.ts";
import { conversationOf, DIRECT_FEED_NAME, type Stream } from "../kv/keys.ts";
import type { Conversations } from "../storage/conversations.ts";
import type { Place, ReadMarkers } from "../storage/read_markers.ts";
import type { Session } from "../storage/records.ts";
import type { Storage } from "../storage/storage.ts";

/** What the welcome is made of. */
export interface WelcomeParts {
  readonly storage: Storage;
  readonly history: History;
  readonly markers: ReadMarkers;
  readonly conversations: Conversations;
}

/** How much a user has read in one place. */
interface ReadState {
  /** The ID of the last event that was read. */
  readonly read?: string;
  /** The number of later messages of other users, at most {@linkcode MAX_UNREAD}. */
  readonly unread?: number;
}

/** A room that the client's user is in. */
export interface RoomState extends ReadState {
  readonly room: string;
  /** Whether the session itself is in it. */
  readonly isJoined: boolean;
}

/** A conversation of the client's user. */
export interface ConversationState extends ReadState {
  readonly other: UserRef;
}

/** The rooms and conversations of a client's user. */
export interface UserState {
  /** In order of their names. */
  readonly rooms: readonly RoomState[];
  /** The newest first; empty for a user who is not registered. */
  readonly conversations: readonly ConversationState[];
  /** The number of messages that were counted, which the client is charged for. */
  readonly counted: number;
}

/** Direct messages that a user has not read. */
export interface UnreadDirects {
  /** Oldest first. */
  readonly entries: readonly LoggedEvent[];
  /** The IDs of users from whom there are further ones. */
  readonly unshown: ReadonlySet<string>;
}

/** A count of unread messages that means this many or more. */
const MAX_UNREAD = 100;

/** Conversations that a client is told of. */
const MAX_CONVERSATIONS = 50;

/** Unread direct messages that a client is sent after its login. */
const MAX_UNREAD_DIRECTS = 100;

/** Places whose unread messages are counted at the same time. */
const MAX_COUNTS_AT_ONCE = 8;

/** Reads what clients are told at the login. */
export class Welcome {
  readonly #parts: WelcomeParts;

  constructor(parts: WelcomeParts) {
    this.#parts = parts;
  }

  /**
   * Returns the rooms and conversations of a session's user. If KV cannot be read, these are only the
   * rooms of the session itself: it has logged in, and must be told so.
   */
  async stateOf(session: Session): Promise<UserState> {
    if (session.account !== "") {
      try {
        return await this.#read(session);
      } catch {
        // What it asks for next says that storage does not answer.
      }
    }
    const rooms = [...session.rooms].sort().map((room) => ({ room, isJoined: true }));
    return { rooms, conversations: [], counted: 0 };
  }

  async #read(session: Session): Promise<UserState> {
    const { storage, conversations, markers, history } = this.#parts;
    const { user } = session;
    const value = await storage.readUser(user);
    const rooms = [...new Set([...session.rooms, ...value?.rooms.keys() ?? []])].sort();
    const others = conversations.areKept ? await conversations.newest(user, MAX_CONVERSATIONS) : [];
    const places: Place[] = [...rooms.map((room) => ({ room })), ...others];
    const read = (await markers.read(user, places)).map(({ eventId }) => eventId);
    let counted = 0;
    const counts = new Array<number | undefined>(places.length);
    const isKept = history.retentionMs > 0;
    await eachOf(places, MAX_COUNTS_AT_ONCE, async (place, i) => {
      // A room without a marker is one whose earlier messages the user has never asked for.
      if (!isKept || ("room" in place && read[i] === undefined)) return;
      const options = { limit: MAX_UNREAD, except: user };
      counts[i] = await history.countAfter(streamOf(user, place), read[i] ?? "", options);
      counted += counts[i]!;
    });
    const stateAt = (i: number): ReadState => ({ read: read[i], unread: counts[i] });
    return {
      rooms: rooms.map((room, i) => ({
        room,
        isJoined: session.rooms.has(room),
        ...stateAt(i),
      })),
      conversations: others.map((other, i) => ({ other, ...stateAt(rooms.length + i) })),
      counted,
    };
  }

  /**
   * Returns the oldest unread direct messages that a user received.
   *
   * @throws when KV cannot be read.
   */
  async unreadDirects(
    user: string,
    conversations: readonly ConversationState[],
  ): Promise<UnreadDirects> {
    const { history } = this.#parts;
    const unread = conversations.filter((each) => (each.unread ?? 0) > 0);
    const events = inOrder(
      unread.map(({ other, read = "" }) => history.forwards(streamOf(user, other), read)),
    );
    // Later ones will be delivered, although another instance may have written them into history.
    const end = history.deliveredEnd(DIRECT_FEED_NAME);
    const entries: LoggedEvent[] = [];
    let bytes = 0;
    for await (const entry of events) {
      const { event } = entry;
      if (entry.eventId > end) break;
      if (authorOf(event) === user || event.deletedAt !== undefined) continue;
      bytes += encodedEventBytes(event);
      if (entries.length === MAX_UNREAD_DIRECTS || bytes > MAX_REPLY_BYTES) {
        return { entries, unshown: unshownOf(unread, entries) };
      }
      entries.push(entry);
    }
    return { entries, unshown: new Set() };
  }
}

/** Returns the other users of the conversations of which not all unread messages are among the entries. */
function unshownOf(
  unread: readonly ConversationState[],
  entries: readonly LoggedEvent[],
): ReadonlySet<string> {
  const shown = Map.groupBy(entries, ({ event }) => authorOf(event));
  const isUnshown = ({ other, unread = 0 }: ConversationState) =>
    unread === MAX_UNREAD || (shown.get(other.user)?.length ?? 0) < unread;
  return new Set(unread.filter(isUnshown).map(({ other }) => other.user));
}

function streamOf(user: string, place: Place): Stream {
  return "room" in place ? ["log", place.room] : ["conversation", conversationOf(user, place.user)];
}
