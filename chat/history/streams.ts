/**
 * Streams: which of them hold an event, and what an edit or a deletion makes of a message.
 *
 * It stores nothing: memtable.ts holds the newest events, and rows.ts plans the rows of the others.
 */
import { countOf, reactionFrom, withReaction } from "../base/reactions.ts";
import { actNameFrom, ACTS } from "../base/acts.ts";
import { authorOf, type LoggedEvent, maxStoredBytes, type RoomEvent } from "../feed/events.ts";
import {
  ALL_ACTS,
  conversationOf,
  DIRECT_FEED_NAME,
  type Stream,
  type StreamKind,
} from "../kv/keys.ts";

/** Events by the name of their stream; each list is in the order of the feed. */
export type Streams = Map<string, { readonly stream: Stream; readonly entries: LoggedEvent[] }>;

/** Returns the name of a stream, as the key of a map. */
export function nameOf([kind, name]: Stream): string {
  return `${kind} ${name}`;
}

/** Returns the streams that hold an event: those that others read, then the one of its session. */
export function streamsOf(event: RoomEvent): readonly Stream[] {
  const { kind, room, id, cid, isQuiet } = event;
  switch (kind) {
    case "message":
    case "action":
      return cid === "" ? [["log", room]] : [["log", room], ["own", id]];
    case "join":
    case "leave":
      return isQuiet ? [["own", id]] : [["people", room], ["own", id]];
    case "nick":
    case "away":
      return isQuiet ? [] : [["people", room]];
    case "direct":
      return cid === "" ? conversationStreams(event) : [...conversationStreams(event), ["own", id]];
    case "edit":
    case "delete":
    case "reaction":
      // A client that resumes must learn of them. The message itself shows the result.
      return event.to === undefined ? [["people", room]] : directStreams(event);
    case "act":
      if (room === "") return isQuiet ? [] : [["acts", ALL_ACTS]];
      // The quiet copy of an act in a room is for the record of all acts.
      if (isQuiet) return [["acts", ALL_ACTS]];
      // A client that resumes must learn of what the room was told.
      return isShown(event) ? [["acts", room], ["people", room]] : [["acts", room]];
    case "read":
    case "resume":
      return [];
    default:
      return kind satisfies never;
  }
}

/** Returns whether all members of the room are told of an act. */
function isShown({ target = "" }: RoomEvent): boolean {
  const act = actNameFrom(target);
  return act !== undefined && ACTS[act].isShown;
}

/** Returns the streams that hold the text of a message. */
export function textStreamsOf(message: RoomEvent): readonly Stream[] {
  return streamsOf(message).filter(([kind]) => kind !== "own");
}

function directStreams(event: RoomEvent): Stream[] {
  const author = authorOf(event), other = event.to?.user ?? author;
  return author === other ? [["direct", author]] : [["direct", author], ["direct", other]];
}

function conversationStreams(event: RoomEvent): Stream[] {
  const { account, to } = event;
  const streams = directStreams(event);
  if (account !== "" && to?.isRegistered) {
    streams.push(["conversation", conversationOf(account, to.user)]);
  }
  return streams;
}

/** Returns the name under which the feed gets the events of a stream that come from one shard. */
export function feedNameOf([kind, name]: Stream): string {
  switch (kind) {
    case "acts":
      return name === ALL_ACTS ? DIRECT_FEED_NAME : name;
    case "log":
    case "people":
      return name;
    case "direct":
    case "conversation":
      return DIRECT_FEED_NAME;
    case "sent":
    case "own":
      throw new TypeError(`the events of ${kind} come from several shards`);
    default:
      return kind satisfies never;
  }
}

/**
 * Whether a stream's events come from several shards. Then the events of two of its rows may
 * alternate, so its rows have the ID of their last event in the key: no row holds an event later than
 * its key, and a reader can merge the rows in order.
 */
export function isFromManyShards(kind: StreamKind): boolean {
  switch (kind) {
    case "log":
    case "people":
    case "conversation":
    case "direct":
    case "acts":
      return false;
    case "sent":
    case "own":
      return true;
    default:
      return kind satisfies never;
  }
}

/** Returns the estimated bytes of an event in a row of one of its streams. */
export function bytesIn([kind]: Stream, event: RoomEvent): number {
  // In `own` the text is left out: another stream holds it.
  return maxStoredBytes(event) - (kind === "own" ? 2 * event.text.length : 0);
}

/** Returns whether an event is a message, in a room or to one user. */
export function isMessage({ kind }: RoomEvent): boolean {
  return kind === "message" || kind === "action" || kind === "direct";
}

/** Returns whether an event changes an earlier message. */
export function isRevision({ kind }: RoomEvent): boolean {
  return kind === "edit" || kind === "delete" || kind === "reaction";
}

/**
 * Returns a message as an `edit`, `delete` or `reaction` leaves it; the same object if nothing changes. A
 * deleted message stays deleted, and has no reactions.
 */
export function revisedBy(message: RoomEvent, revision: RoomEvent): RoomEvent {
  if (message.deletedAt !== undefined || !isMessage(message)) return message;
  const { kind, text, time, isRemoved } = revision;
  if (kind === "edit") return { ...message, text, editedAt: time };
  if (kind === "delete") {
    return { ...message, text: "", editedAt: undefined, deletedAt: time, reactions: undefined };
  }
  const emoji = reactionFrom(text);
  if (emoji === undefined) return message;
  const reactions = withReaction(message.reactions, authorOf(revision), emoji, !isRemoved);
  return reactions === message.reactions ? message : { ...message, reactions };
}

/**
 * Returns a revision as clients are told it: a `reaction` says how many there are after it. A client that
 * has read a later state of the message meanwhile counts nobody twice.
 */
export function asTold(revision: RoomEvent, { reactions }: RoomEvent): RoomEvent {
  const emoji = revision.kind === "reaction" ? reactionFrom(revision.text) : undefined;
  return emoji === undefined ? revision : { ...revision, count: countOf(reactions, emoji) };
}

/** Returns whether a text can be an event ID. IDs from clients may be anything. */
export function isEventId(text: string): boolean {
  return /^[a-z][0-9a-f]{1,40}$/.test(text);
}
