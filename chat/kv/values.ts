/**
 * The form of every value in KV, and the functions that read one.
 *
 * Rows outlive programs, and another version may have written them: each function takes an unknown
 * value, and returns `undefined` or defaults for what it does not know. The keys are in keys.ts.
 */

/** The value of a table row and of its mirror. */
export interface TableValue {
  readonly nick: string;
  /** The user ID of the registration that the connection has signed in to; absent: none. */
  readonly account?: string;
  /** In rows with a nickname: the instance that has the connection. */
  readonly instance?: string;
  /** In rows with a room: the client of the connection is away. */
  readonly away?: boolean;
}

/** Reads a table row; `undefined` for another form. */
export function tableValueFrom(value: unknown): TableValue | undefined {
  const { nick, account, instance, away } = fieldsOf(value);
  if (typeof nick !== "string") return undefined;
  return {
    nick,
    account: typeof account === "string" ? account : undefined,
    instance: typeof instance === "string" ? instance : undefined,
    ...away === true ? { away } : {},
  };
}

/** The holder of a claim: a connection, or a registration by its folded nickname. */
export type ClaimHolder = { readonly connection: string } | { readonly account: string };

/** Reads a claim; `undefined` for another form. */
export function claimHolderFrom(value: unknown): ClaimHolder | undefined {
  if (typeof value === "string") return { connection: value };
  const { kept } = fieldsOf(value);
  return typeof kept === "string" ? { account: kept } : undefined;
}

/** The value of a claim that a registration keeps. The value of other claims is the connection's ID. */
export function keptClaimValue(account: string): { kept: string } {
  return { kept: account };
}

/** Reads a counter as a signed number; another form counts as 0. */
export function countFrom(value: unknown): number {
  return value instanceof Deno.KvU64 ? Number(BigInt.asIntN(64, value.value)) : 0;
}

/** Returns a mutation that adds to a counter, or subtracts from it: KV sums modulo 2^64. */
export function addToCount(key: Deno.KvKey, change: number): Deno.KvMutation {
  return { type: "sum", key, value: new Deno.KvU64(BigInt.asUintN(64, BigInt(change))) };
}

/** The room for all names that look alike. `empty`: the room has no members, and the row expires. */
export interface RoomLookValue {
  readonly v: 1;
  readonly room: string;
  readonly empty: boolean;
}

/** Reads the row of a room's look; `undefined` for another form. */
export function roomLookFrom(value: unknown): RoomLookValue | undefined {
  const { room, empty } = fieldsOf(value);
  return typeof room === "string" ? { v: 1, room, empty: empty === true } : undefined;
}

/** A protocol that a client speaks. */
export type ProtocolName = "text" | "json";

/** What another instance must know of a connection, to clean it up or to take it over. */
export interface ConnectionValue {
  /** Empty: the connection has not logged in. */
  readonly nick: string;
  /** The rooms that know the connection under `nick` and `user`. */
  readonly rooms: readonly string[];
  /** Unix milliseconds at which the session began. */
  readonly since: number;
  /** The hashes of the tokens that resume it, the newest first; empty: it cannot be resumed. */
  readonly tokens: readonly string[];
  /** Tells the periods apart in which one instance had the connection. */
  readonly era: string;
  /** The claims that it holds; `undefined`: only the folded nickname itself. */
  readonly claims: readonly string[] | undefined;
  /** The registration that it has signed in to, as a folded nickname, or empty. */
  readonly account: string;
  /** The ID of its user; empty: an earlier version of the program wrote the row. */
  readonly user: string;
  readonly protocol: ProtocolName;
  /** The rooms that have not been told of its last change of identity, or that it is away or back. */
  readonly untold: UntoldValue | undefined;
  /** The hash of the client's address, or empty. */
  readonly address: string;
  /** Whether the client has given the operators' secret. */
  readonly isOperator: boolean;
  /** Whether the client is away. */
  readonly isAway: boolean;
  /** Of an unregistered user: the users that it ignores, with their nicknames. */
  readonly ignored: readonly UserPair[];
  /** Written by earlier versions: those of its claims that go back to the registration `account`. */
  readonly kept: readonly string[];
}

/** A user's ID and nickname. */
export type UserPair = readonly [user: string, nick: string];

/** Reads a list of users; another form is an empty list. */
export function userPairsFrom(value: unknown): UserPair[] {
  if (!Array.isArray(value)) return [];
  return value.filter((each) => Array.isArray(each) && each.length === 2)
    .map(([user, nick]) => [String(user), String(nick)]);
}

/** An earlier identity or state of a session, and the rooms that still know the session so. */
export interface UntoldValue {
  readonly nick: string;
  readonly user: string;
  readonly isRegistered: boolean;
  /** The number of the session in the row of that user; -1 if the user is not registered. */
  readonly n: number;
  readonly isAway: boolean;
  readonly rooms: readonly string[];
}

/** Reads a connection's row. Missing fields get the values of a connection that has nothing. */
export function connectionFrom(value: unknown): ConnectionValue {
  const fields = fieldsOf(value);
  const { nick, room, rooms, since, tokens, era, claims, account, user, protocol, kept } = fields;
  // Earlier versions stored one room.
  const oldRooms = typeof room === "string" ? [room] : [];
  return {
    nick: typeof nick === "string" ? nick : "",
    rooms: Array.isArray(rooms) ? rooms.map(String) : oldRooms,
    since: typeof since === "number" ? since : 0,
    tokens: Array.isArray(tokens) ? tokens.map(String) : [],
    era: typeof era === "string" ? era : "",
    claims: Array.isArray(claims) ? claims.map(String) : undefined,
    account: typeof account === "string" ? account : "",
    user: typeof user === "string" ? user : "",
    protocol: protocol === "json" ? "json" : "text",
    untold: untoldFrom(fields.untold),
    address: typeof fields.address === "string" ? fields.address : "",
    isOperator: fields.operator === true,
    isAway: fields.away === true,
    ignored: userPairsFrom(fields.ignored),
    kept: Array.isArray(kept) ? kept.map(String) : [],
  };
}

function untoldFrom(value: unknown): UntoldValue | undefined {
  const { nick, user, isRegistered, n, isAway, rooms } = fieldsOf(value);
  if (typeof nick !== "string" || typeof user !== "string" || !Array.isArray(rooms)) {
    return undefined;
  }
  return {
    nick,
    user,
    isRegistered: isRegistered === true,
    n: typeof n === "number" ? n : -1,
    isAway: isAway === true,
    rooms: rooms.map(String),
  };
}

/** The connection that a token resumes, and its instance. */
export interface ResumeValue {
  readonly id: string;
  readonly instance: string;
}

/** Reads the row of a token; `undefined` for another form. */
export function resumeFrom(value: unknown): ResumeValue | undefined {
  const { id, instance } = fieldsOf(value);
  return typeof id === "string" && typeof instance === "string" ? { id, instance } : undefined;
}

/** A registration. */
export interface AccountValue {
  /** As its owner writes it. */
  readonly nick: string;
  /** The ID of the user; empty: an earlier version of the program registered the nickname. */
  readonly user: string;
  /** The hash of the password: see passwords.ts. */
  readonly password: string;
  readonly claims: readonly string[];
  /** Unix milliseconds until which it is kept. KV may keep the row longer. */
  readonly until: number;
}

/** Reads a registration; `undefined` for another form. */
export function accountFrom(value: unknown): AccountValue | undefined {
  const { nick, user, password, claims, until } = fieldsOf(value);
  if (typeof nick !== "string" || typeof password !== "string") return undefined;
  if (!Array.isArray(claims) || typeof until !== "number") return undefined;
  return {
    nick,
    user: typeof user === "string" ? user : "",
    password,
    claims: claims.map(String),
    until,
  };
}

/** A session of a registered user. */
export interface UserSession {
  readonly id: string;
  /** Stands for the session in the lists of rooms: a small number that no other session has. */
  readonly n: number;
  /** Unix milliseconds at which the session began. */
  readonly since: number;
  readonly protocol: ProtocolName;
}

/** The sessions and rooms of a registered user. */
export interface UserValue {
  /** The registration, as a folded nickname; empty: it ended, and the last session removes the row. */
  readonly account: string;
  readonly sessions: readonly UserSession[];
  /**
   * The numbers of the sessions in each room. A room without any is one that the user was in when its
   * last session there disconnected; of these, the one that was left first is first.
   */
  readonly rooms: ReadonlyMap<string, readonly number[]>;
  /** The numbers of those sessions in each room that are away. */
  readonly away: ReadonlyMap<string, readonly number[]>;
}

/**
 * Returns the stored form of a user. Rooms are pairs, because some names of fields would lose their order.
 * The numbers are a text: an array takes four bytes for each. A third element has a bit for each number
 * that is away.
 */
export function storedUser({ account, sessions, rooms, away }: UserValue): Record<string, unknown> {
  const stored = [...rooms].map(([room, numbers]) => {
    const bits = (away.get(room) ?? []).reduce((sum, n) => sum + 2 ** n, 0);
    return bits === 0 ? [room, numbers.join(" ")] : [room, numbers.join(" "), bits];
  });
  return { v: 1, account, sessions, rooms: stored };
}

/** Reads a user; `undefined` for another form. */
export function userFrom(value: unknown): UserValue | undefined {
  const { v, account, sessions, rooms } = fieldsOf(value);
  if (v !== 1 || !Array.isArray(sessions) || !Array.isArray(rooms)) return undefined;
  const numbersOf = (text: string) => text === "" ? [] : text.split(" ").map(Number);
  const stored = rooms as [string, string, number?][];
  const away = stored.map(([room, text, bits = 0]): [string, number[]] => [
    room,
    numbersOf(text).filter((n) => Math.floor(bits / 2 ** n) % 2 === 1),
  ]);
  return {
    account: String(account),
    sessions: sessions as UserSession[],
    rooms: new Map(stored.map(([room, text]) => [room, numbersOf(text)])),
    away: new Map(away.filter(([, numbers]) => numbers.length > 0)),
  };
}

/** Reads a read marker: the ID of the last event that was read; `undefined` for another form. */
export function readMarkerFrom(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

/** The last direct message between two users. */
export interface ConversationValue {
  /** The nickname of the other user at that time. */
  readonly nick: string;
  /** Unix milliseconds. */
  readonly at: number;
}

/** Reads a conversation; `undefined` for another form. */
export function conversationFrom(value: unknown): ConversationValue | undefined {
  const { nick, at } = fieldsOf(value);
  return typeof nick === "string" && typeof at === "number" ? { nick, at } : undefined;
}

/** A token bucket: the tokens that were left at a Unix time in milliseconds. */
export interface BucketValue {
  readonly left: number;
  readonly at: number;
}

/** Reads a token bucket; `undefined`, which means a full one, for another form. */
export function bucketFrom(value: unknown): BucketValue | undefined {
  const { left, at } = fieldsOf(value);
  return typeof left === "number" && typeof at === "number" ? { left, at } : undefined;
}

/** What a heartbeat's row says. */
export interface Heartbeat {
  /** Unix milliseconds by the clock of its instance; `undefined`: unknown. */
  readonly aliveAtMs: number | undefined;
  /** Whether the instance ended, and left sessions that can be resumed. */
  readonly isRetired: boolean;
}

/** Reads a heartbeat. Earlier versions wrote "retired" without a time, and 0 as the first heartbeat. */
export function heartbeatFrom(value: unknown): Heartbeat {
  if (value === "retired") return { aliveAtMs: undefined, isRetired: true };
  const { retiredAt } = fieldsOf(value);
  const at = retiredAt ?? value;
  const aliveAtMs = typeof at === "number" && at > 0 ? at : undefined;
  return { aliveAtMs, isRetired: retiredAt !== undefined };
}

/** The value of the heartbeat of an instance that ended, and left sessions that can be resumed. */
export function retiredValue(nowMs: number): { retiredAt: number } {
  return { retiredAt: nowMs };
}

/** The events of one commit. Each has the form that `pack` in events.ts writes. */
export interface FeedRowValue {
  readonly v: 1;
  /** The instance that wrote it. */
  readonly from: string;
  /** The writer's count of its commits to this shard: `from` and `n` together are unique. */
  readonly n: number;
  readonly events: readonly unknown[];
}

/** Reads a feed row; `undefined` for another form. */
export function feedRowFrom(value: unknown): FeedRowValue | undefined {
  const { v, from, n, events } = fieldsOf(value);
  if (v !== 1 || typeof n !== "number" || !Array.isArray(events)) return undefined;
  return { v, from: String(from), n, events };
}

/** How far the feed of a shard has been compacted into history. */
export interface CompactedValue {
  /** The versionstamp of the last feed row of which all events are in history; empty: of none. */
  readonly upTo: string;
  /** How many of the history rows of the next feed row are already written, from the first on. */
  readonly rows: number;
}

/** Reads how far a shard has been compacted. */
export function compactedFrom(value: unknown): CompactedValue {
  const { upTo, rows } = fieldsOf(value);
  return {
    upTo: typeof upTo === "string" ? upTo : "",
    rows: typeof rows === "number" ? rows : 0,
  };
}

/** A row of history. Each event has the form that `encodeEvent` in history/rows.ts writes. */
export interface HistoryRowValue {
  readonly v: 1;
  readonly events: readonly unknown[];
}

/** Reads a row of history; `undefined` for another form. */
export function historyRowFrom(value: unknown): HistoryRowValue | undefined {
  const { v, events } = fieldsOf(value);
  return v === 1 && Array.isArray(events) ? { v, events } : undefined;
}

/** What is counted of a history row. */
export interface HistoryIndexValue {
  readonly bytes: number;
  /** Unix milliseconds until which the row is kept. */
  readonly untilMs: number;
  /** The ID of the row's last event; `undefined`: the ID in its key. */
  readonly last: string | undefined;
}

/** Reads an index row. In another form the row has no bytes, and its time is over. */
export function historyIndexFrom(value: unknown): HistoryIndexValue {
  const [bytes, untilMs, last] = Array.isArray(value) ? value as unknown[] : [];
  return {
    bytes: typeof bytes === "number" ? bytes : 0,
    untilMs: typeof untilMs === "number" ? untilMs : 0,
    last: typeof last === "string" ? last : undefined,
  };
}

/** Returns the fields of a value; none if it is no object. */
export function fieldsOf(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? value as Record<string, unknown> : {};
}
