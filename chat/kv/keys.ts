/**
 * Every key in KV: the functions that make keys, prefixes and selectors of lists.
 *
 * No other folder spells a key; tests/rules_test.ts checks that. key_forms.ts lists all forms with the
 * writer and the end of each row; values.ts reads the values. Stored keys outlive programs: a form
 * never changes its meaning, and old words in keys ("bell", "fold", "beat") stay.
 */

/**
 * A kind of stream of history, as it is spelled in keys:
 *
 * - `log`: the messages of a room, as they are after edits and deletions.
 * - `people`: the joins, leaves, renames, who is away or back, edits, deletions and acts in a room; only acts have texts.
 * - `conversation`: the direct messages between two registered users (see {@linkcode conversationOf}).
 * - `direct`: all direct messages that a user sent or received; only to resume sessions.
 * - `own`: the joins and leaves of a session, and its messages with a `cid`, without texts.
 * - `acts`: the acts of moderation in a room; with the name {@linkcode ALL_ACTS} all acts.
 * - `sent`: written by earlier versions, and only removed any more.
 */
export type StreamKind = "log" | "people" | "conversation" | "direct" | "sent" | "own" | "acts";

/** A stream of history: its kind, and the room, session, user or conversation that it belongs to. */
export type Stream = readonly [StreamKind, string];

/** Returns the name of the conversation of two users, given by their IDs in either order. */
export function conversationOf(user: string, other: string): string {
  return user < other ? `${user}_${other}` : `${other}_${user}`;
}

/**
 * The name under which all direct messages, read markers and acts on the whole chat are submitted to the
 * feed: one shard gives them one order, so one ID says up to where a client has received them.
 */
export const DIRECT_FEED_NAME = "direct messages";

/** The name of the stream of all acts, and of what concerns the whole chat: no room has it. */
export const ALL_ACTS = "";

/** The part of a table row's key that tells a connection's nickname. */
export function usernameSortKey(nickname: string): string {
  return `username_${nickname}`;
}

/** The part of a table row's key that tells a room that a connection is in. */
export function roomSortKey(room: string): string {
  return `room_${room}`;
}

/** A row of the sample's table: what a connection has. Removed with the connection. */
export function tableRowKey(connection: string, sortKey: string): Deno.KvKey {
  return ["row", connection, sortKey];
}

/** The prefix of the table rows of one connection. */
export function tableRowPrefix(connection: string): Deno.KvKey {
  return ["row", connection];
}

/** Selects the table row of one connection that tells its nickname. */
export function usernameRow(connection: string): Deno.KvListSelector {
  return {
    prefix: tableRowPrefix(connection),
    start: tableRowKey(connection, usernameSortKey("")),
  };
}

/** The mirror of {@linkcode tableRowKey}: written and removed in the same commit. */
export function tableMirrorKey(sortKey: string, connection: string): Deno.KvKey {
  return ["reverse_lookup", sortKey, connection];
}

/** The prefix of the mirrors with one sort key, such as all members of a room. */
export function tableMirrorPrefix(sortKey: string): Deno.KvKey {
  return ["reverse_lookup", sortKey];
}

/** The holder of a nickname, or of another spelling that looks like it. */
export function claimKey(claim: string): Deno.KvKey {
  return ["nick", claim];
}

/** The number of members of a room. Removed by the instance that finds the room empty. */
export function roomCountKey(room: string): Deno.KvKey {
  return ["room", room];
}

/** The prefix of the counts of all rooms. */
export const ROOM_COUNT_PREFIX: Deno.KvKey = ["room"];

/** The room that all names with one look lead to. Expires after the room is empty. */
export function roomLookKey(look: string): Deno.KvKey {
  return ["room_look", look];
}

/** What another instance must know to clean a connection up, or to take it over. */
export function connectionKey(instance: string, connection: string): Deno.KvKey {
  return ["instance_row", instance, connection];
}

/** The prefix of all connections of an instance. */
export function connectionPrefix(instance: string): Deno.KvKey {
  return ["instance_row", instance];
}

/** The connection that a token resumes. Removed with the token. */
export function resumeKey(tokenHash: string): Deno.KvKey {
  return ["resume", tokenHash];
}

/**
 * Exists once another instance has taken a connection over: the instance that had it checks that the
 * key does not exist. `era` tells the periods apart in which one instance had the connection.
 */
export function takeoverKey(instance: string, connection: string, era: string): Deno.KvKey {
  return ["taken", instance, connection, era];
}

/** The prefix of all connections that were taken over from an instance. */
export function takeoverPrefix(instance: string): Deno.KvKey {
  return ["taken", instance];
}

/** A registration, by its folded nickname. */
export function accountKey(account: string): Deno.KvKey {
  return ["account", account];
}

/** The sessions and rooms of a registered user. Removed with the registration. */
export function userKey(user: string): Deno.KvKey {
  return ["user", user];
}

/**
 * Up to where a registered user has read a room, or its conversation with another user. Expires with
 * history.
 */
export function readMarkerKey(user: string, kind: "room" | "with", name: string): Deno.KvKey {
  return ["read", user, kind, name];
}

/** The prefix of all read markers of a user. */
export function readMarkerPrefix(user: string): Deno.KvKey {
  return ["read", user];
}

/** The last direct message between two registered users, listed for one of them. Expires with history. */
export function conversationKey(user: string, other: string): Deno.KvKey {
  return ["conversations", user, other];
}

/** The prefix of the conversations of a user. */
export function conversationPrefix(user: string): Deno.KvKey {
  return ["conversations", user];
}

/**
 * Set by every commit that puts an act of moderation into a shard. A commit that checks it has not
 * overlooked an act. Never removed.
 */
export function lastActKey(shard: number): Deno.KvKey {
  return ["last_act", shard];
}

/** The rules of a room, and its moderators. Removed when it says nothing any more. */
export function roomRulesKey(room: string): Deno.KvKey {
  return ["room_rules", room];
}

/** Exists while a room is private: lists of rooms leave it out. */
export function privateRoomKey(room: string): Deno.KvKey {
  return ["private_room", room];
}

/** The prefix of the names of all private rooms. */
export const PRIVATE_ROOM_PREFIX: Deno.KvKey = ["private_room"];

/**
 * What acts say of a subject in a room, or in the whole chat (room ""). A subject is a user ID, or else
 * `@` and the hash of an address, or `~` and that of a claim of a nickname. Expires with the last of its times.
 */
export function standingKey(room: string, subject: string): Deno.KvKey {
  return ["standing", room, subject];
}

/** The prefix of all standings in a room, or in the whole chat. */
export function standingPrefix(room: string): Deno.KvKey {
  return ["standing", room];
}

/** A banned address or network, in its one written form. Expires with the ban. */
export function bannedNetworkKey(network: string): Deno.KvKey {
  return ["banned_network", network];
}

/** The prefix of all banned networks. */
export const BANNED_NETWORK_PREFIX: Deno.KvKey = ["banned_network"];

/** Whom a registered user ignores. Expires with the registration. */
export function ignoredKey(user: string): Deno.KvKey {
  return ["ignored", user];
}

/** The token bucket of rooms that a user has opened as their owner. Expires when it is full. */
export function openedRoomsKey(user: string): Deno.KvKey {
  return ["opened_rooms", user];
}

/** The token bucket of wrong passwords for a folded nickname. Expires when it is full. */
export function passwordAttemptsKey(account: string): Deno.KvKey {
  return ["attempts", account];
}

/** The token bucket of registrations from an address, by its hash. Expires when it is full. */
export function registrationAttemptsKey(addressHash: string): Deno.KvKey {
  return ["registrations", addressHash];
}

/** The lease of an instance: without it the instance may write nothing. */
export function leaseKey(instance: string): Deno.KvKey {
  return ["instance", instance];
}

/** The prefix of an instance's {@linkcode commitGuardKey} rows. It does not list the lease itself. */
export function commitGuardPrefix(instance: string): Deno.KvKey {
  return ["instance", instance];
}

/**
 * The number of an instance's last commit to a shard in shared mode. Each commit checks and sets it,
 * so a commit that is tried again succeeds at most once.
 */
export function commitGuardKey(instance: string, shard: number): Deno.KvKey {
  return ["instance", instance, shard];
}

/** The time of an instance's last heartbeat. Removed with the lease. */
export function heartbeatKey(instance: string): Deno.KvKey {
  return ["beat", instance];
}

/** The prefix of the heartbeats of all instances. */
export const HEARTBEAT_PREFIX: Deno.KvKey = ["beat"];

/** The number of shards: all instances on one KV must agree. Never removed. */
export const SHARDS_KEY: Deno.KvKey = ["shards"];

/** The number of the database's layout: see care/layout.ts. Never removed. */
export const LAYOUT_KEY: Deno.KvKey = ["layout"];

/** Exists while an import is unfinished: which file, and how many of its lines are applied. */
export const IMPORTING_KEY: Deno.KvKey = ["importing"];

/** The events of one commit. `versionstamp` may be `kv.commitVersionstamp()`. */
export function feedRowKey(shard: number, versionstamp: unknown): Deno.KvKey {
  return ["feed", shard, versionstamp as Deno.KvKeyPart];
}

/**
 * Selects the feed rows of a shard after one versionstamp (empty: from the first one) and up to
 * another, which is included; without it, up to the last one.
 */
export function feedRowsBetween(shard: number, after: string, upTo?: string): Deno.KvListSelector {
  // Longer than the versionstamp and beginning with it: sorts after it and before all others.
  const start = feedRowKey(shard, `${after}0`);
  if (upTo === undefined) return { prefix: ["feed", shard], start };
  return { start, end: feedRowKey(shard, `${upTo}0`) };
}

/** Set by every commit that adds to a shard's feed: instances watch it. Never removed. */
export function notifyKey(shard: number): Deno.KvKey {
  return ["bell", shard];
}

/** The prefix of the notification keys of all shards; {@linkcode NOTIFY_INSTANCES_KEY} has it, too. */
export const NOTIFY_PREFIX: Deno.KvKey = ["bell"];

/** Set by an instance that starts or ends: instances watch it. Never removed. */
export const NOTIFY_INSTANCES_KEY: Deno.KvKey = ["bell", "company"];

/** What an instance tells the others for a moment: each value replaces the one before, and expires soon. */
export const PASSED_KEY: Deno.KvKey = ["passed"];

/** How far the feed of a shard has been compacted into history. Never removed. */
export function compactedKey(shard: number): Deno.KvKey {
  return ["fold", shard];
}

/**
 * A row of history. `eventId` is the ID of its first event; in streams whose events come from several
 * shards (`own`, and `sent` of earlier versions), of its last one.
 */
export function historyRowKey(stream: Stream, eventId: string): Deno.KvKey {
  return [...stream, eventId];
}

/** The prefix of the history rows of one kind of stream. */
export function historyKindPrefix(kind: StreamKind): Deno.KvKey {
  return [kind];
}

/** Selects the history rows of a stream whose keys have an event ID before this one; or all rows. */
export function historyRowsBefore([kind, name]: Stream, eventId?: string): Deno.KvListSelector {
  const prefix: Deno.KvKey = [kind, name];
  return eventId === undefined ? { prefix } : { prefix, end: [kind, name, eventId] };
}

/** Selects the history rows from one event ID on, and before another one. */
export function historyRowsBetween(
  stream: Stream,
  from: string,
  before: string,
): Deno.KvListSelector {
  return { start: historyRowKey(stream, from), end: historyRowKey(stream, before) };
}

/** The bytes and the time of a history row, ordered by event ID over all streams of a kind. */
export function historyIndexKey([kind, name]: Stream, eventId: string): Deno.KvKey {
  return ["history_row", kind, eventId, name];
}

/** Returns the stream and the event ID in the key of an index row. */
export function historyIndexParts([, kind, eventId, name]: Deno.KvKey): [Stream, string] {
  return [[kind as StreamKind, String(name)], String(eventId)];
}

/** The prefix of the index rows of one kind of stream. */
export function historyIndexPrefix(kind: StreamKind): Deno.KvKey {
  return ["history_row", kind];
}

/** Selects every row. */
export const ALL_ROWS: Deno.KvListSelector = { prefix: [] };

/** Selects the rows under a prefix whose keys are after this one. */
export function rowsAfter(prefix: Deno.KvKey, key: Deno.KvKey): Deno.KvListSelector {
  // The least key that begins with that one: bytes sort before everything else.
  return { prefix, start: [...key, new Uint8Array()] };
}

/** The bytes of all history rows. Never removed. */
export const HISTORY_BYTES_KEY: Deno.KvKey = ["history_bytes"];

/** The bytes of the history rows of one stream. Removed with the stream's last row. */
export function streamBytesKey([kind, name]: Stream): Deno.KvKey {
  return ["history_bytes", kind, name];
}

/**
 * Checked and set by every commit that removes history rows: two instances never remove the same rows.
 * The value is the Unix time in milliseconds until which rows without an index row may exist.
 */
export const HISTORY_REMOVAL_KEY: Deno.KvKey = ["history_removal"];

/**
 * Exists while an instance finds out which history rows it removes: no commit may change a row then.
 * Only commits that set {@linkcode HISTORY_REMOVAL_KEY} delete it.
 */
export const HISTORY_REMOVING_KEY: Deno.KvKey = ["history_removing"];

/** The ID of the newest event of a stream that was removed for the quota. Expires. */
export function evictedKey([kind, name]: Stream): Deno.KvKey {
  return ["history_evicted", kind, name];
}
