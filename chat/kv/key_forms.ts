/**
 * A table of every form of key: what its value is, who writes the row, and when it is removed.
 *
 * For people, for the test that compares chat/docs/ARCHITECTURE.md and keys.ts with it, and for
 * care/, which must know every form. A chat that runs does not use it.
 */

/** One form of key, described for people: chat/docs/ARCHITECTURE.md shows this table. */
export interface KeyForm {
  /** The key; a part in angle brackets varies. */
  readonly key: string;
  readonly value: string;
  /** Who writes the row. */
  readonly writer: string;
  /** When the row is removed. */
  readonly removed: string;
}

/** Every form of key. */
export const KEYS = {
  tableRow: {
    key: '["row", <connection>, "username_<nickname>" | "room_<room>"]',
    value: "{ nick, account? }; with a nickname also { instance }, with a room { away? }",
    writer: "the connection's instance",
    removed: "when the connection ends, changes its nickname or leaves the room",
  },
  tableMirror: {
    key: '["reverse_lookup", "username_<nickname>" | "room_<room>", <connection>]',
    value: "{ nick, account? }; with a nickname also { instance }, with a room { away? }",
    writer: "the connection's instance",
    removed: "together with its row",
  },
  claim: {
    key: '["nick", <claim>]',
    value: "the connection's ID, or { kept: <account> }: a registration has it",
    writer: "the connection's instance",
    removed: "when the connection gives it up; that of a registration expires with it",
  },
  roomCount: {
    key: '["room", <room>]',
    value: "KvU64: the number of users in it",
    writer: "the instances of the members",
    removed: "by the instance that finds the room empty",
  },
  roomLook: {
    key: '["room_look", <look>]',
    value: "{ v: 1, room, empty }",
    writer: "the instance of the first member",
    removed: "expires when the room has been empty as long as history is kept",
  },
  connection: {
    key: '["instance_row", <instance>, <connection>]',
    value: "{ nick, account, user, rooms, since, protocol, tokens, era, claims?, untold?, … }",
    writer: "the connection's instance",
    removed: "when the connection ends or moves to another instance",
  },
  passed: {
    key: '["passed"]',
    value: "{ instance, passed: who writes where }",
    writer: "any instance while there are others, once a second at most",
    removed: "expires after ten seconds",
  },
  resume: {
    key: '["resume", <token hash>]',
    value: "{ id, instance }",
    writer: "the connection's instance",
    removed: "when the token is replaced, or the connection ends",
  },
  takeover: {
    key: '["taken", <instance>, <connection>, <era>]',
    value: "1",
    writer: "the instance that took the connection over",
    removed: "expires after an hour, or with the lease of the instance that had the connection",
  },
  account: {
    key: '["account", <folded nickname>]',
    value: "{ nick, user, password, claims, until }",
    writer: "the instance that registers the nickname or verifies its password",
    removed: "when it is unregistered; expires when it was not used for too long",
  },
  user: {
    key: '["user", <user>]',
    value:
      "{ v: 1, account, sessions: [{ id, n, since, protocol }], rooms: [[room, numbers, away?]] }",
    writer: "the instances of the user's sessions",
    removed: "with the last session after the registration was removed; expires like it",
  },
  readMarker: {
    key: '["read", <user>, "room" | "with", <room or other user>]',
    value: "the ID of the last event that the user has read",
    writer: "the instance of one of the user's sessions",
    removed: "expires when history after it does",
  },
  conversation: {
    key: '["conversations", <user>, <other user>]',
    value: "{ nick, at }: the other user, and when the last message was sent",
    writer: "the instance of the sender of a direct message",
    removed: "expires with the message",
  },
  passwordAttempts: {
    key: '["attempts", <folded nickname>]',
    value: "{ left, at }",
    writer: "the instance that checks a password",
    removed: "by a right password; expires when the bucket is full again",
  },
  registrationAttempts: {
    key: '["registrations", <address hash>]',
    value: "{ left, at }",
    writer: "the instance that registers a nickname",
    removed: "expires when the bucket is full again",
  },
  lastAct: {
    key: '["last_act", <shard>]',
    value: "1; its versionstamp is that of the last act in the shard",
    writer: "every commit that puts an act into the shard's feed",
    removed: "never",
  },
  roomRules: {
    key: '["room_rules", <room>]',
    value: "{ v: 1, moderators, topic?, slow?, locked?, private?, mutedUntil? }",
    writer: "the instance that carries out an act in the room",
    removed: "when it says nothing any more; expires like a registration after the last act",
  },
  privateRoom: {
    key: '["private_room", <room>]',
    value: "1",
    writer: "the instance that makes the room private",
    removed: "when the room is public again; expires together with its rules",
  },
  standing: {
    key: '["standing", <room> | "", <user> | "@<hash>" | "~<hash>"]',
    value: "{ v: 1, nick, ban?, mute?, invited?, kickedAt? }",
    writer: "the instance that carries out an act against the user",
    removed: "when it says nothing any more; expires with the last of its times",
  },
  bannedNetwork: {
    key: '["banned_network", <network>]',
    value: "{ until, reason, by, at }",
    writer: "the instance that carries out the ban",
    removed: "by unban; expires with the ban",
  },
  ignored: {
    key: '["ignored", <user>]',
    value: "{ v: 1, users: [[user, nick]] }",
    writer: "the instance of one of the user's sessions",
    removed: "when it is empty; expires like a registration after the last change",
  },
  openedRooms: {
    key: '["opened_rooms", <user>]',
    value: "{ left, at }",
    writer: "the instance on which the user opens a room, with --room-owners",
    removed: "expires when the bucket is full again",
  },
  lease: {
    key: '["instance", <instance>]',
    value: "{ v: 1, since }, or { v: 1, sweeper } while another instance cleans up",
    writer: "the instance at its start; then the instance that cleans up",
    removed: "when the instance ends, or has been cleaned up",
  },
  commitGuard: {
    key: '["instance", <instance>, <shard>]',
    value: "the number of the instance's last commit to the shard",
    writer: "the instance, in shared mode",
    removed: "together with the lease",
  },
  heartbeat: {
    key: '["beat", <instance>]',
    value: "Unix ms; { retiredAt } after an end with sessions that can be resumed",
    writer: "the instance, every 5 s (1 s on a local file)",
    removed: "together with the lease",
  },
  shards: {
    key: '["shards"]',
    value: "the number of shards of the feed",
    writer: "the first instance",
    removed: "never",
  },
  layout: {
    key: '["layout"]',
    value: "the number of the layout that the rows have",
    writer: "the first instance; then one that upgrades the database",
    removed: "never",
  },
  importing: {
    key: '["importing"]',
    value: "{ v: 1, sha256, lines }",
    writer: "every commit of an import",
    removed: "by the last commit of the import",
  },
  feedRow: {
    key: '["feed", <shard>, <versionstamp>]',
    value: "{ v: 1, from, n, events }",
    writer: "the instance that commits the events",
    removed: "once it is compacted and at least 10 minutes old; expires otherwise",
  },
  notify: {
    key: '["bell", <shard>]',
    value: "the number of the writer's commit",
    writer: "every commit that adds to the shard's feed",
    removed: "never",
  },
  notifyInstances: {
    key: '["bell", "company"]',
    value: "an instance's ID",
    writer: "an instance that starts, ends, or has cleaned up another one",
    removed: "never",
  },
  compacted: {
    key: '["fold", <shard>]',
    value: "{ v: 1, upTo, rows }",
    writer: "the instance that compacts feed rows into history",
    removed: "never",
  },
  historyRow: {
    key: '["log" | "people" | "conversation" | "direct" | "sent" | "own" | "acts", <name>, <ID>]',
    value: "{ v: 1, events }",
    writer: "the instance that compacts feed rows, or edits or deletes a message",
    removed: "when its time is over or the quota is used up; expires otherwise",
  },
  historyIndex: {
    key: '["history_row", <stream kind>, <event ID>, <name>]',
    value: "[bytes, untilMs] or [bytes, untilMs, lastEventId]",
    writer: "every commit that writes the history row",
    removed: "together with its history row",
  },
  historyBytes: {
    key: '["history_bytes"]',
    value: "KvU64: bytes of all history rows",
    writer: "every commit that writes or removes history rows",
    removed: "never",
  },
  streamBytes: {
    key: '["history_bytes", <stream kind>, <name>]',
    value: "KvU64: bytes of the stream's history rows",
    writer: "every commit that writes or removes rows of the stream",
    removed: "together with the stream's last row",
  },
  historyRemoval: {
    key: '["history_removal"]',
    value: "Unix ms until which rows without an index row may exist",
    writer: "every commit that removes history rows",
    removed: "never",
  },
  historyRemoving: {
    key: '["history_removing"]',
    value: "1, while an instance finds out which history rows it removes",
    writer: "the instance that removes history rows",
    removed: "by the removal; by an instance that has waited for it too long",
  },
  evicted: {
    key: '["history_evicted", <stream kind>, <name>]',
    value: "the ID of the newest event that was removed for the quota",
    writer: "the instance that enforces the quota",
    removed: "expires after the longest retention",
  },
} as const satisfies Readonly<Record<string, KeyForm>>;
