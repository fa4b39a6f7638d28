/**
 * Who is connected, under which nickname and in which room: the verbs of the original sample, over
 * the table, with the events that announce each change in the same atomic operation.
 *
 * Between Handler and the feed. It keeps the records of this instance's own connections in memory,
 * because nobody else writes them. It does not judge names (names.ts) and answers nobody.
 */
import type { Operation, Outcome } from "../feed/batch.ts";
import {
  changeClaims,
  type Claimed,
  claimKey,
  type HeldClaims,
  heldFrom,
  holderFrom,
  NO_CLAIMS,
  storedHeld,
} from "./claims.ts";
import { type Clock, delay } from "../base/clock.ts";
import { backOff, eachWithTimeout, withTimeout } from "../kv/retry.ts";
import type { EventKind, RoomEvent } from "../feed/events.ts";
import type { Feed } from "../feed/feed.ts";
import type { Confusables } from "../nicknames/confusables.ts";
import { MemberCache } from "./members.ts";
import { foldNickname } from "../nicknames/names.ts";
import { RoomLooks } from "./room_lookalikes.ts";
import { Table } from "./table.ts";

/** What is known of a connection. */
export interface ConnectionRecord {
  readonly id: string;
  /** Empty until it has logged in. */
  readonly nick: string;
  readonly room: string | undefined;
}

/** Something that was said under an id of the client's own, or is being said. */
export interface CidState {
  /** The id of its event, once it is stored. */
  eventId: string | undefined;
  /** It seemed to fail: it may be stored all the same. */
  unsure: boolean;
  /** Told when it is, or that it failed. */
  readonly waiting: ((outcome: Outcome, eventId?: string) => void)[];
}

/**
 * The key in {@linkcode SessionRecord.cids} of something said under an id of the client's own: of
 * messages to a room and of direct ones the same id may be used, and these are not the same words.
 */
export function saidKey(kind: EventKind, cid: string): string {
  return kind === "direct" ? `direct ${cid}` : cid;
}

/** How many of somebody's own ids are remembered. */
export const MAX_CIDS = 512;

/** Remembers that something was said under an id of the client's own, or without `at`: is being said. */
export function rememberCid({ cids: said }: SessionRecord, key: string, eventId?: string): void {
  said.set(key, { eventId, unsure: false, waiting: [] });
  if (said.size > MAX_CIDS) said.delete(said.keys().next().value!);
}

/** A record of this instance's own, which changes as its operations are delivered. */
export interface SessionRecord extends ConnectionRecord {
  nick: string;
  room: string | undefined;
  /** When it came into being, by the clock of the instance where it did. */
  readonly since: number;
  /** The hashes of the tokens with which it can be resumed, the newest first; empty: it cannot. */
  tokens: readonly string[];
  /** Tells the times apart that an instance had it: the token of the takeover, or empty. */
  readonly era: string;
  /** The claims of its nickname. */
  held: HeldClaims;
  /** What was said, by the client's own ids: see {@linkcode saidKey}. */
  readonly cids: Map<string, CidState>;
  /** Whether `said` also holds what was said over other instances, and before a restart. */
  recalled: boolean;
  /** It has rows in KV. */
  stored: boolean;
  /**
   * The id of the event by which this instance got it; empty: here it came into being. What is
   * older may still be delivered here, from another shard, and is in the record already.
   */
  takeoverEventId: string;
  /** The last operation failed: it may have been written all the same. */
  unsure: boolean;
  removal: Promise<void> | undefined;
}

/** How a verb ended: as {@linkcode Outcome}, where a conflict can only be a nickname in use. */
export type Change = "done" | "taken" | "failed";

/** A connection that can be resumed, as it stands in KV. */
export interface Resumable extends ConnectionRecord {
  /** The instance that has it. */
  readonly instance: string;
  readonly since: number;
  readonly era: string;
  readonly held: HeldClaims;
  /** The token that it was found by, and all that it has, as hashes. */
  readonly token: string;
  readonly tokens: readonly string[];
  /** Hold as long as nothing about it has changed. */
  readonly checks: readonly Deno.AtomicCheck[];
}

/** What is told to whoever asked for it: what came of the operation, and the id of its event. */
export interface ChangeResult {
  readonly outcome: Change;
  readonly eventId: string | undefined;
}

/** A registration, and the proof that it may be used: what it keeps goes to who comes with it. */
export interface Ownership {
  /** The registration: its nickname, folded. */
  readonly account: string;
  /** The claims that it keeps. */
  readonly claims: readonly string[];
  /** Hold as long as it is as it was; and what is to change about it. */
  readonly checks: readonly Deno.AtomicCheck[];
  readonly mutations: readonly Deno.KvMutation[];
}

/** What Storage is made of. */
export interface StorageParts {
  readonly kv: Deno.Kv;
  readonly feed: Feed;
  readonly clock: Clock;
  readonly confusables: Confusables;
  /** Milliseconds for which a registration keeps a nickname that nobody uses. */
  readonly keepNicknames: number;
  /** Milliseconds for which an empty room keeps its name against others that look like it. */
  readonly keepRooms: number;
  /** The id of this instance, under which its connections are listed for whoever has to sweep. */
  readonly instance: string;
}

/**
 * Milliseconds for which it is kept that a connection was taken over: longer than any lease, so
 * that whoever had it learns of it, or is dead.
 */
const TAKEOVER_ROW_MS = 60 * 60_000;

/** How often the removal of an empty room is tried: a file that another worker writes is busy for a moment. */
const MAX_TIDY_TRIES = 4;

/** How often the look of a room may change while somebody joins it. */
const MAX_JOIN_TRIES = 5;

/** The state of the chat. */
export class Storage {
  readonly #kv: Deno.Kv;
  readonly #feed: Feed;
  readonly #clock: Clock;
  readonly #instance: string;
  readonly #confusables: Confusables;
  readonly #keepNicknames: number;
  readonly #table: Table;
  readonly #members: MemberCache;
  readonly #looks: RoomLooks;
  readonly #sessions = new Map<string, SessionRecord>();
  /**
   * Connections that are being taken over from another instance, or from another socket, by the hash
   * of the token that they are to have: of several tries that seemed to fail one may be written yet.
   */
  readonly #takeovers = new Map<string, Map<string, SessionRecord>>();
  readonly #emptyRooms = new Set<string>();
  #removingEmptyRooms: Promise<void> | undefined;

  constructor(
    { kv, feed, clock, instance, confusables, keepNicknames, keepRooms }: StorageParts,
  ) {
    this.#kv = kv;
    this.#feed = feed;
    this.#clock = clock;
    this.#instance = instance;
    this.#confusables = confusables;
    this.#keepNicknames = keepNicknames;
    this.#table = new Table(kv, clock);
    this.#looks = new RoomLooks({ kv, clock, likeness: confusables, lifetime: keepRooms });
    this.#members = new MemberCache(clock, async (room) => {
      const rows = await this.#table.reverseLookup(roomKey(room));
      return new Map([...rows].map(([id, { nick }]) => [id, nick]));
    });
  }

  /**
   * A new connection, not named yet and in no room. KV learns of it when it is named: of those who
   * connect and say nothing there is no trace, and whoever comes costs one commit less.
   */
  createConnection(id: string): SessionRecord {
    const record: SessionRecord = {
      id,
      nick: "",
      room: undefined,
      since: this.#clock.now(),
      tokens: [],
      era: "",
      held: NO_CLAIMS,
      cids: new Map(),
      recalled: true,
      stored: false,
      takeoverEventId: "",
      unsure: false,
      removal: undefined,
    };
    this.#sessions.set(id, record);
    return record;
  }

  /**
   * Gives a connection a nickname, if nobody else who is online has it or one that looks like it,
   * and it is registered for nobody but `owner`; with the hash of a token it can be resumed from
   * now on.
   *
   * @throws {TypeError} for a nickname whose claims are too long: see {@linkcode Confusables.claims}.
   */
  async setUsername(
    id: string,
    nick: string,
    token?: string,
    owner?: Ownership,
  ): Promise<ChangeResult> {
    const record = this.#record(id);
    const before = record.tokens;
    const claimed = this.#claimsOf(nick);
    const found = owner === undefined ? [] : await this.#keptFor(owner);
    let next: HeldClaims | undefined;
    const done = await this.#change(record, () => {
      const { nick: old, room, stored, held } = record;
      next = heldNext(held, nick, claimed, owner);
      if (next === undefined) return "taken";
      if (token !== undefined) record.tokens = [token];
      const claims = changeClaims(id, held, next, this.#keepNicknames, found);
      const mutations = [
        ...this.#forgottenTokens(token === undefined ? [] : before),
        ...(stored ? this.#table.delete(id, usernameKey(old)) : []),
        ...this.#table.put(id, usernameKey(nick), { nick }),
        this.#instanceRow({ ...record, nick, held: next }),
        ...record.tokens.map((each) => this.#resumable(each, id)),
        ...claims.mutations,
        ...owner?.mutations ?? [],
      ];
      const checks = [...this.takeoverCheck(record), ...claims.checks, ...owner?.checks ?? []];
      // Who only proves that the nickname is theirs is called the same as before.
      if (room === undefined || (owner !== undefined && nick === old)) return { mutations, checks };
      mutations.push(...this.#table.put(id, roomKey(room), { nick }));
      return { mutations, checks, event: this.#event("nick", record, room, nick) };
    });
    if (done.outcome === "done") Object.assign(record, { nick, held: next });
    // Should it have failed, it may have been written all the same.
    if (done.outcome !== "taken") record.stored = true;
    if (done.outcome === "taken") record.tokens = before;
    else if (done.outcome === "failed" && token !== undefined) record.tokens = [token, ...before];
    return done;
  }

  /**
   * Makes a registration of what a connection holds, with all that belongs to it. With the hash of a
   * token, only that one resumes the connection from now on.
   */
  async keepClaims(
    id: string,
    { account, claims, checks, mutations }: Ownership,
    token?: string,
  ): Promise<ChangeResult> {
    const record = this.#record(id);
    const before = record.tokens;
    const tokens = token === undefined ? before : [token];
    let held = record.held;
    const done = await this.#change(record, () => {
      // Without an account: what was kept is held like any other nickname from now on.
      held = { ...record.held, account, kept: account === "" ? [] : claims };
      return {
        checks: [...this.takeoverCheck(record), ...checks],
        mutations: [
          ...mutations,
          ...(token === undefined ? [] : this.#forgottenTokens(before)),
          ...(token === undefined ? [] : [this.#resumable(token, id)]),
          this.#instanceRow({ ...record, held, tokens }),
        ],
      };
    });
    if (done.outcome === "done") Object.assign(record, { held, tokens });
    // It may have been written all the same.
    else if (token !== undefined) record.tokens = [token, ...before];
    return done;
  }

  /** What a nickname claims, each as it stands now. */
  async claimed(nick: string): Promise<Claimed[]> {
    return await this.#claimed(this.#claimsOf(nick));
  }

  /** Frees claims, if they are still as they were found: for those that nobody can have. */
  async freeClaims(found: readonly Claimed[]): Promise<void> {
    const removal = this.#kv.atomic();
    for (const { check } of found) removal.check(check).delete(check.key);
    await withTimeout(this.#clock, removal.commit());
  }

  /** The rooms with somebody in them, in order of their names, and how many are in each. */
  async listRooms(): Promise<Map<string, number>> {
    const rooms = new Map<string, number>();
    const entries = this.#kv.list<unknown>({ prefix: ["room"] }, { batchSize: 1000 });
    for await (const { key, value } of eachWithTimeout(this.#clock, entries)) {
      const name = String(key[1]);
      const people = peopleIn(value);
      if (people > 0) rooms.set(name, people);
      else this.#removeEmptyRoom(name);
    }
    return rooms;
  }

  /**
   * The name of the room that a name leads to: its own, or that of a room which looks like it.
   *
   * @throws when KV cannot be read.
   */
  async roomCalled(name: string): Promise<string> {
    return (await this.#looks.entered(name)).room;
  }

  /**
   * Puts a connection that is in no room into the one that a name leads to; fails for one that turns
   * out to be in one.
   *
   * @throws when KV cannot be read.
   */
  async setRoom(id: string, name: string): Promise<ChangeResult> {
    const record = this.#record(id);
    for (let tries = 1;; tries++) {
      const look = await this.#looks.entered(name);
      const { room } = look;
      const done = await this.#change(record, () => {
        if (record.room !== undefined) return undefined;
        return {
          checks: [...this.takeoverCheck(record), ...look.checks],
          mutations: [
            ...this.#table.put(id, roomKey(room), { nick: record.nick }),
            addToRoom(room, 1),
            this.#instanceRow({ ...record, room }),
            ...look.mutations,
          ],
          event: this.#event("join", record, room),
        };
      }, room);
      const mayHaveChanged = done.outcome === "taken" && look.checks.length > 0;
      if (!mayHaveChanged || tries === MAX_JOIN_TRIES) return done;
    }
  }

  /** Takes a connection out of the room it is in. */
  async removeRoom(id: string): Promise<ChangeResult> {
    const record = this.#record(id);
    const { room } = record;
    const done = await this.#change(record, () => {
      if (record.room === undefined) return {};
      return {
        checks: this.takeoverCheck(record),
        mutations: [
          ...this.#table.delete(id, roomKey(record.room)),
          addToRoom(record.room, -1),
          this.#instanceRow({ ...record, room: undefined }),
        ],
        event: this.#event("leave", record, record.room),
      };
    });
    if (room !== undefined && done.outcome === "done") this.#removeEmptyRoom(room);
    return done;
  }

  /**
   * Says something to one person, from a connection of this instance; `taken`: another instance has
   * that by now.
   */
  async sendDirect(from: string, event: RoomEvent): Promise<ChangeResult> {
    const record = this.#sessions.get(from);
    if (record === undefined) return { outcome: "taken", eventId: undefined };
    // A connection that cannot be resumed needs no place to find it in again.
    const sender = record.tokens.length > 0 ? from : undefined;
    const checks = this.takeoverCheck(record);
    return await this.#submit(event.id, { checks, event: { ...event, from: sender } });
  }

  /** Who is in a room: the connections' ids in their order, each with its nickname. */
  getConnectionIdsByRoom(room: string): Promise<ReadonlyMap<string, string>> {
    return this.#members.of(room);
  }

  /** Forgets a connection; whoever is in its room learns that it left. Tried until it is done. */
  async deleteConnection(id: string): Promise<void> {
    // Whoever takes it over will see to it.
    if (this.#takeovers.has(id)) return;
    const record = this.#sessions.get(id);
    // Once: the socket may close while all connections are being deleted.
    if (record !== undefined) await (record.removal ??= this.#remove(record));
  }

  /** What is known of a connection, of whichever instance; `undefined` if there is none. */
  async getRecordByConnection(id: string): Promise<ConnectionRecord | undefined> {
    return this.#sessions.get(id) ?? await this.#read(id);
  }

  /** The connection that has a nickname, or one that can be read as it, if somebody has. */
  async getConnectionByNickname(nick: string): Promise<string | undefined> {
    const [found] = await this.#claimed([foldNickname(nick)]);
    const holder = found?.holder;
    return holder !== undefined && "connection" in holder ? holder.connection : undefined;
  }

  /** Keeps the records true to the feed: to be called with every event, before it is shown. */
  apply(event: RoomEvent, eventId: string): void {
    const { kind, id, room, text, cid } = event;
    if (kind === "message" || kind === "action" || kind === "direct") {
      if (cid === "") return;
      const author = kind === "direct" ? event.from : id;
      const saying = this.#sessions.get(author ?? "")?.cids.get(saidKey(kind, cid));
      if (saying !== undefined) saying.eventId = eventId;
      return;
    }
    if (kind === "resume" && text === this.#instance) {
      return this.#takeoverDelivered(id, cid, eventId);
    }
    this.#members.apply(event);
    const record = this.#sessions.get(id);
    if (record === undefined || eventId < record.takeoverEventId) return;
    if (kind === "resume") this.#sessions.delete(id);
    else if (kind === "join") record.room = room;
    else if (kind === "leave") record.room = undefined;
    else record.nick = text;
  }

  /** The record of a connection of this instance. */
  session(id: string): SessionRecord | undefined {
    return this.#sessions.get(id);
  }

  /** The connection that can be resumed with the token of this hash, if there is one. */
  async find(token: string): Promise<Resumable | undefined> {
    const pointer = await withTimeout(this.#clock, this.#kv.get<unknown>(["resume", token]));
    const { id, instance } = (pointer.value ?? {}) as Partial<Record<string, string>>;
    if (typeof id !== "string" || typeof instance !== "string") return undefined;
    const key = ["instance_row", instance, id];
    const row = await withTimeout(this.#clock, this.#kv.get<unknown>(key));
    const listed = instanceRowFrom(row.value);
    if (row.versionstamp === null || !listed.tokens.includes(token)) return undefined;
    return { id, instance, token, ...listed, checks: [pointer, row] };
  }

  /**
   * Makes a connection this instance's, and `fresh` (a hash) its new token; the one that it was
   * found by stays good until {@linkcode Storage.confirm}. `taken`: it changed since it was found.
   */
  async takeOver(found: Resumable, fresh: string): Promise<ChangeResult> {
    const { id, nick, room, since, held, instance, token } = found;
    const isHere = instance === this.#instance;
    const record: SessionRecord = {
      ...{
        id,
        nick,
        room,
        since,
        held,
        stored: true,
        takeoverEventId: "",
        unsure: false,
        removal: undefined,
      },
      tokens: [fresh, token],
      era: fresh,
      // Of a record from before another instance had the connection only a part is known.
      cids: (isHere ? this.#sessions.get(id)?.cids : undefined) ?? new Map(),
      recalled: isHere && (this.#sessions.get(id)?.recalled ?? false),
    };
    const mutations = [
      ...this.#forgottenTokens(found.tokens.filter((each) => each !== token)),
      ...record.tokens.map((each) => this.#resumable(each, id)),
      this.#instanceRow(record),
    ];
    if (!isHere) {
      mutations.push(
        { type: "delete", key: ["instance_row", instance, id] },
        // From here on whoever had it can change nothing about it.
        { type: "set", key: takenKey(instance, found), value: 1, expireIn: TAKEOVER_ROW_MS },
      );
    }
    const tries = this.#takeovers.get(id) ?? new Map<string, SessionRecord>();
    this.#takeovers.set(id, tries.set(fresh, record));
    // By the token's hash this takeover is known from others of the same connection.
    const event = { ...this.#event("resume", record, room ?? "", this.#instance), cid: fresh };
    const done = await this.#submit(room ?? id, { mutations, checks: found.checks, event });
    // What failed may be written yet.
    if (done.outcome === "taken") this.cancelTakeover(id, fresh);
    return done;
  }

  /** A connection whose taking over failed will not be kept if that turns out to have worked. */
  cancelTakeover(id: string, token: string): void {
    const tries = this.#takeovers.get(id);
    if (tries?.delete(token) && tries.size === 0) this.#takeovers.delete(id);
  }

  /** The newest token has arrived where it belongs: those before it are good for nothing now. */
  async confirm(id: string): Promise<void> {
    const record = this.#sessions.get(id);
    if (record === undefined || record.tokens.length < 2) return;
    const [fresh, ...old] = record.tokens;
    const { outcome } = await this.#change(record, () => ({
      checks: this.takeoverCheck(record),
      mutations: [
        ...this.#forgottenTokens(old),
        this.#instanceRow({ ...record, tokens: [fresh!] }),
      ],
    }));
    if (outcome === "done") record.tokens = [fresh!];
  }

  /**
   * Forgets all connections of this instance, as `deleteConnection` does each; but with `keep`
   * those that can be resumed are left to be. Returns how many.
   */
  async deleteAll(keep: boolean): Promise<number> {
    this.#takeovers.clear();
    const kept = [...this.#sessions.values()].filter(({ tokens }) => keep && tokens.length > 0);
    for (const { id } of kept) this.#sessions.delete(id);
    await Promise.all([...this.#sessions.keys()].map((id) => this.deleteConnection(id)));
    await this.#removingEmptyRooms;
    return kept.length;
  }

  /** Forgets all connections in memory only: the rows are somebody else's to sweep. */
  abandon(): void {
    this.#sessions.clear();
  }

  /**
   * Removes what an instance left behind that no longer lives, and announces its people as left;
   * those who may come back only with `everybody`. Everything is done under `claim`, which only one
   * survivor can hold. Returns how many people left, and how many are still there, or `undefined`
   * if the claim was lost or storage failed: then somebody has to try again.
   */
  async cleanUp(
    instance: string,
    claim: Deno.AtomicCheck,
    everybody: boolean,
  ): Promise<{ gone: number; left: number } | undefined> {
    const removals: Promise<Change>[] = [];
    const rooms = new Set<string>();
    const prefix = ["instance_row", instance];
    const entries = this.#kv.list<unknown>({ prefix }, { batchSize: 1000 });
    let left = 0, failed = false;
    for await (const { key, value } of eachWithTimeout(this.#clock, entries)) {
      const id = String(key[2]);
      const record = { id, ...instanceRowFrom(value) };
      if (!everybody && record.tokens.length > 0) {
        left++;
        continue;
      }
      if (record.room !== undefined) rooms.add(record.room);
      const { checks, ...removal } = this.#removal(record, instance);
      const all = { ...removal, checks: [claim, ...checks ?? []] };
      const mayBeBack = record.tokens.length > 0;
      removals.push(
        this.#submit(record.room ?? id, all).then(({ outcome }) => {
          // Whoever came back just now is not there any more: that is no failure.
          if (outcome === "failed" || (outcome === "taken" && !mayBeBack)) failed = true;
          return outcome;
        }),
      );
    }
    const outcomes = await Promise.all(removals);
    rooms.forEach((room) => this.#removeEmptyRoom(room));
    if (failed) return undefined;
    return { gone: outcomes.filter((outcome) => outcome === "done").length, left };
  }

  #claimsOf(nick: string): readonly string[] {
    const claims = this.#confusables.claims(nick);
    if (claims === undefined) throw new TypeError("the claims of this nickname are too long");
    return claims;
  }

  async #claimed(claims: readonly string[]): Promise<Claimed[]> {
    const entries = await withTimeout(
      this.#clock,
      this.#kv.getMany<unknown[]>(claims.map(claimKey)),
    );
    return entries.map(({ key, versionstamp, value }) => ({
      claim: String(key[1]),
      check: { key, versionstamp },
      holder: holderFrom(value),
    }));
  }

  /** Those of a registration's claims that it keeps just now. */
  async #keptFor({ account, claims }: Ownership): Promise<Claimed[]> {
    const found = await this.#claimed(claims);
    return found.filter(({ holder }) =>
      holder !== undefined && "account" in holder && holder.account === account
    );
  }

  async #read(id: string): Promise<ConnectionRecord | undefined> {
    const rows = await this.#table.query(id);
    const name = [...rows].find(([sk]) => sk.startsWith(usernameKey("")));
    const room = [...rows.keys()].find((sk) => sk.startsWith(roomKey("")));
    return name && { id, nick: name[1].nick, room: room?.slice(roomKey("").length) };
  }

  /** A connection has become this instance's, unless it did so in vain, or long ago. */
  #takeoverDelivered(id: string, token: string, eventId: string): void {
    const record = this.#takeovers.get(id)?.get(token);
    if (record === undefined) return;
    this.cancelTakeover(id, token);
    // It may come from another shard, after a later one.
    if (eventId < (this.#sessions.get(id)?.takeoverEventId ?? "")) return;
    record.takeoverEventId = eventId;
    this.#sessions.set(id, record);
  }

  async #remove(record: SessionRecord): Promise<void> {
    const { id, room } = record;
    if (record.stored || record.unsure) {
      while ((await this.#change(record, () => this.#removal(record))).outcome === "failed") {
        await delay(this.#clock, 1000);
        if (this.#sessions.get(id) !== record) return;
      }
    }
    if (this.#sessions.get(id) === record) this.#sessions.delete(id);
    if (room !== undefined) this.#removeEmptyRoom(room);
  }

  #removal(
    record: ConnectionRecord & Pick<SessionRecord, "tokens" | "era" | "held">,
    instance = this.#instance,
  ): Partial<Operation> {
    const { id, nick, room, tokens, held } = record;
    const checks = this.takeoverCheck(record, instance);
    const mutations = [
      ...this.#table.delete(id, usernameKey(nick)),
      ...this.#forgottenTokens(tokens),
      { type: "delete", key: ["instance_row", instance, id] } as const,
      ...changeClaims(id, held, NO_CLAIMS, this.#keepNicknames).mutations,
    ];
    if (room === undefined) return { checks, mutations };
    mutations.push(...this.#table.delete(id, roomKey(room)), addToRoom(room, -1));
    return { checks, mutations, event: this.#event("leave", record, room) };
  }

  /** What whoever sweeps, or takes over, needs to know of a connection. */
  #instanceRow({ id, nick, room, since, tokens, era, held }: SessionRecord): Deno.KvMutation {
    const value = { nick, room, since, tokens, era, ...storedHeld(nick, held) };
    return { type: "set", key: ["instance_row", this.#instance, id], value };
  }

  /** By the hash of a token one finds the connection that it resumes. */
  #resumable(token: string, id: string): Deno.KvMutation {
    return { type: "set", key: ["resume", token], value: { id, instance: this.#instance } };
  }

  #forgottenTokens(tokens: readonly string[]): Deno.KvMutation[] {
    return tokens.map((token) => ({ type: "delete", key: ["resume", token] }));
  }

  /** The checks that hold as long as no other instance has taken a connection over. */
  takeoverCheck(
    record: Pick<SessionRecord, "id" | "tokens" | "era">,
    instance = this.#instance,
  ): Deno.AtomicCheck[] {
    if (record.tokens.length === 0) return [];
    return [{ key: takenKey(instance, record), versionstamp: null }];
  }

  #event(
    kind: EventKind,
    { id, nick }: Pick<ConnectionRecord, "id" | "nick">,
    room: string,
    text = "",
  ): RoomEvent {
    return { kind, room, id, nick, text, time: this.#clock.now(), cid: "" };
  }

  #record(id: string): SessionRecord {
    const record = this.#sessions.get(id);
    if (record === undefined) throw new TypeError(`there is no connection ${id}`);
    return record;
  }

  /** Runs an operation that is made when the record is known to be true. */
  async #change(
    record: SessionRecord,
    make: () => Partial<Operation> | "taken" | undefined,
    room?: string,
  ): Promise<ChangeResult> {
    const failed: ChangeResult = { outcome: "failed", eventId: undefined };
    if (record.unsure && !(await this.#reread(record))) return failed;
    const operation = make();
    if (operation === undefined) return failed;
    if (operation === "taken") return { ...failed, outcome: "taken" };
    const done = await this.#submit(room ?? record.room ?? record.id, operation);
    record.unsure = done.outcome === "failed";
    return done;
  }

  /**
   * Whatever seemed to fail before this was called has been delivered if it did not.
   *
   * @throws when KV cannot be read.
   */
  async settleUncertain(): Promise<void> {
    await this.#feed.poll();
    await this.#feed.flush();
  }

  /**
   * Resolves when everything that any instance committed before the call has been delivered here.
   *
   * @throws when KV cannot be read, or that takes too long.
   */
  async reached(): Promise<void> {
    await this.#feed.reached();
  }

  /** What seemed to fail may have been written: makes the record true again. */
  async #reread(record: SessionRecord): Promise<boolean> {
    try {
      // First what the feed has, so that its events are not applied on top of what is read.
      await this.settleUncertain();
      const { nick, room } = await this.#read(record.id) ?? { nick: "", room: undefined };
      const key = ["instance_row", this.#instance, record.id];
      const { value } = await withTimeout(this.#clock, this.#kv.get<unknown>(key));
      const held = nick === "" ? NO_CLAIMS : instanceRowFrom(value).held;
      Object.assign(record, { nick, room, held, unsure: false });
      return true;
    } catch {
      return false;
    }
  }

  #submit(name: string, operation: Partial<Operation>): Promise<ChangeResult> {
    return new Promise((resolve) => {
      const settle = (outcome: Outcome, eventId?: string) =>
        resolve({ outcome: outcome === "conflict" ? "taken" : outcome, eventId });
      this.#feed.submit(name, { ...operation, settle });
    });
  }

  /** Removes rooms that nobody is in any more, one at a time and off everybody's way. */
  #removeEmptyRoom(room: string): void {
    this.#emptyRooms.add(room);
    this.#removingEmptyRooms ??= this.#removeEmptyRooms().finally(() =>
      this.#removingEmptyRooms = undefined
    );
  }

  async #removeEmptyRooms(): Promise<void> {
    for (const room of this.#emptyRooms) {
      this.#emptyRooms.delete(room);
      for (let failures = 0; failures < MAX_TIDY_TRIES; failures++) {
        try {
          await this.#removeEmptyRoomOnce(room);
          break;
        } catch {
          // After the last one it stays as it is, an empty room that `/ls` does not list and will tidy.
          await backOff(this.#clock, failures);
        }
      }
    }
  }

  async #removeEmptyRoomOnce(room: string): Promise<void> {
    const get = this.#kv.get<unknown>(["room", room]);
    const { key, value, versionstamp } = await withTimeout(this.#clock, get);
    if (versionstamp === null || peopleIn(value) > 0) return;
    const look = await this.#looks.emptied(room);
    // The check: somebody may just have joined.
    const removal = this.#kv.atomic().check({ key, versionstamp }, ...look.checks).delete(key)
      .mutate(...look.mutations).commit();
    await withTimeout(this.#clock, removal);
  }
}

function usernameKey(nick: string): string {
  return `username_${nick}`;
}

function roomKey(room: string): string {
  return `room_${room}`;
}

/** What a connection will hold under another nickname; `undefined`: it cannot have that. */
function heldNext(
  held: HeldClaims,
  nick: string,
  claims: readonly string[],
  owner: Ownership | undefined,
): HeldClaims | undefined {
  const account = owner?.account ?? held.account;
  const kept = owner?.claims ?? held.kept;
  if (owner !== undefined || (account !== "" && account === foldNickname(nick))) {
    return { claims: [...new Set([...claims, ...kept])], account, kept };
  }
  // It looks like the registered one that is being left: that would be without its claims then.
  if (claims.some((claim) => kept.includes(claim))) return undefined;
  return { ...NO_CLAIMS, claims };
}

/** KV sums modulo 2^64, so adding 2^64 - 1 takes one away, without a read. */
function addToRoom(room: string, people: 1 | -1): Deno.KvMutation {
  const value = new Deno.KvU64(BigInt.asUintN(64, BigInt(people)));
  return { type: "sum", key: ["room", room], value };
}

function peopleIn(count: unknown): number {
  return count instanceof Deno.KvU64 ? Number(BigInt.asIntN(64, count.value)) : 0;
}

function takenKey(instance: string, { id, era }: Pick<SessionRecord, "id" | "era">): Deno.KvKey {
  return ["taken", instance, id, era];
}

/** What an `instance_row` holds. Rows outlive programs: they are read as something unknown. */
function instanceRowFrom(
  value: unknown,
): Pick<SessionRecord, "nick" | "room" | "since" | "tokens" | "era" | "held"> {
  const row = (value ?? {}) as Record<string, unknown>;
  const { room, since, tokens, era } = row;
  const nick = typeof row.nick === "string" ? row.nick : "";
  return {
    nick,
    held: heldFrom(nick, row),
    room: typeof room === "string" ? room : undefined,
    since: typeof since === "number" ? since : 0,
    era: typeof era === "string" ? era : "",
    tokens: Array.isArray(tokens) ? tokens.map(String) : [],
  };
}
