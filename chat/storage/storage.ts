/**
 * The state of the chat: who is connected, under which nickname and in which rooms. Its verbs are those
 * of the original sample.
 *
 * Each verb changes rows and announces the change by events in the same atomic operation. Storage does
 * not judge names, and sends nothing to clients.
 */
import type { Clock } from "../base/clock.ts";
import type { Operation } from "../feed/batch.ts";
import type { RoomEvent } from "../feed/events.ts";
import type { Feed } from "../feed/feed.ts";
import { roomSortKey } from "../kv/keys.ts";
import type { ProtocolName, UserValue } from "../kv/values.ts";
import {
  type Admit,
  admittedTo,
  type ChangeResult,
  Changes,
  type OperationResult,
  refused,
} from "./changes.ts";
import { findHolder, type NicknameHolder, type Ownership } from "./claims.ts";
import { cleanUp } from "./cleanup.ts";
import { type EndingOutcome, Endings } from "./endings.ts";
import { Identities, type NewUsername, type OwnChange } from "./identities.ts";
import { type Member, MemberCache, membersFrom, usersOf } from "./members.ts";
import { Presence } from "./presence.ts";
import {
  type ConnectionRecord,
  newRecord,
  type Session,
  SessionRecords,
  type Speaker,
} from "./records.ts";
import { Removals } from "./removal.ts";
import { RoomLookalikes } from "./room_lookalikes.ts";
import { Rooms } from "./rooms.ts";
import { type ListedSession, SessionRows } from "./rows.ts";
import { Table } from "./table.ts";
import { type Resumable, Takeovers } from "./takeover.ts";

type CleanedUp = ReturnType<typeof cleanUp>;

/** What {@linkcode Storage} is made of. */
export interface StorageParts {
  readonly kv: Deno.Kv;
  readonly feed: Feed;
  readonly clock: Clock;
  /** The ID of this instance, under which its sessions are listed for other instances. */
  readonly instance: string;
  /** Milliseconds for which an unused registration is kept, and with it the row of its user. */
  readonly registrationMs: number;
  /** Milliseconds for which an empty room keeps its name against names that look like it. */
  readonly emptyRoomMs: number;
  /** Rooms that a user may be in at the same time. */
  readonly maxRooms: number;
  /** Returns the folded form of a nickname, which is its first claim. */
  foldNickname(nick: string): string;
  /** Returns what all room names that look like this one have in common; `undefined` for ASCII. */
  lookOfRoom(name: string): string | undefined;
}

/** The state of the chat. */
export class Storage {
  readonly #parts: StorageParts;
  readonly #rows: SessionRows;
  readonly #records: SessionRecords;
  readonly #members: MemberCache;
  readonly #lookalikes: RoomLookalikes;
  readonly #rooms: Rooms;
  readonly #presence: Presence;
  readonly #changes: Changes;
  readonly #identities: Identities;
  readonly #takeovers: Takeovers;
  readonly #removals: Removals;
  readonly #endings: Endings;

  constructor(parts: StorageParts) {
    const { kv, clock, feed, instance } = parts;
    this.#parts = parts;
    const table = new Table(kv, clock);
    const rows = this.#rows = new SessionRows({ ...parts, table });
    const records = this.#records = new SessionRecords(instance);
    this.#members = new MemberCache(
      clock,
      async (room) => membersFrom(await table.reverseLookup(roomSortKey(room))),
    );
    this.#lookalikes = new RoomLookalikes(parts);
    const rooms = this.#rooms = new Rooms(kv, clock, this.#lookalikes);
    const shardOf = (room: string) => feed.shardOf(room);
    const presence = this.#presence = new Presence({ ...parts, rows, shardOf });
    const changes = this.#changes = new Changes({ ...parts, rows, records, presence });
    this.#identities = new Identities({ ...parts, rows, presence, changes });
    const takeovers = this.#takeovers = new Takeovers({ ...parts, rows, records, changes });
    const removals = this.#removals = new Removals({
      ...parts,
      rows,
      records,
      rooms,
      presence,
      changes,
    });
    this.#endings = new Endings({ ...parts, rows, changes, takeovers, removals });
  }

  /**
   * Creates a connection without a nickname, in memory only. KV stores a connection from its first
   * nickname on. `address`: its hash, or empty.
   */
  createConnection(id: string, protocol: ProtocolName, address = ""): Session {
    const record = newRecord(id, this.#parts.clock.now(), protocol, address);
    this.#records.add(record);
    return record;
  }

  /** See {@linkcode Identities.setUsername}. */
  async setUsername(id: string, username: NewUsername): Promise<ChangeResult> {
    const record = this.#records.get(id);
    if (record === undefined) return refused("conflict");
    return await this.#identities.setUsername(record, username);
  }

  /** See {@linkcode Identities.saveRegistration}. */
  async saveRegistration(
    id: string,
    { checks, mutations }: Pick<Ownership, "checks" | "mutations">,
    token?: string,
  ): Promise<ChangeResult> {
    const record = this.#records.get(id);
    if (record === undefined) return refused("conflict");
    return await this.#identities.saveRegistration(record, checks, mutations, token);
  }

  /**
   * Keeps a registration, its claims and the row of its user for longer.
   *
   * @throws when KV cannot be read.
   */
  renewRegistration(owner: Ownership): Promise<ChangeResult> {
    return this.#identities.renewRegistration(owner);
  }

  /** Returns the registrations that sessions of this instance are signed in to, with their users. */
  signedIn(): Map<string, string> {
    const signedIn = this.#records.all().filter(({ account }) => account !== "");
    return new Map(signedIn.map(({ account, user }) => [account, user]));
  }

  /**
   * Returns the rooms with at least one user in them, in order of their names, and how many are in each.
   *
   * @throws when KV cannot be read.
   */
  listRooms(): Promise<Map<string, number>> {
    return this.#rooms.list();
  }

  /**
   * Returns the room that a name leads to: the room of that name, or one that looks like it.
   *
   * @throws when KV cannot be read.
   */
  async resolveRoom(name: string): Promise<string> {
    return (await this.#lookalikes.forJoin(name)).room;
  }

  /**
   * Puts a session into the room that a name leads to. Nothing happens if it is there. `"conflict"`: the
   * session has no nickname, this instance does not have it any more, or its registration has ended.
   * `"refused"`: `admit`, which is asked for the room, does not allow it.
   */
  async setRoom(id: string, name: string, admit?: Admit): Promise<ChangeResult> {
    const record = this.#records.get(id);
    if (record === undefined) return refused("conflict");
    return await this.#changes.change(record, name, async (drafts) => {
      const { room, checks, mutations } = await this.#lookalikes.forJoin(name);
      if (record.nick === "") return "conflict";
      if (record.rooms.has(room)) return "done";
      const admitted = await admit?.(room);
      if (admitted === "refused") return admitted;
      const planned = this.#presence.join(record, room, drafts);
      if (typeof planned === "string") return planned;
      const all = [...planned.mutations, ...mutations];
      return admittedTo({ ...planned, name: room, checks, mutations: all }, admitted);
    });
  }

  /** Takes a session out of a room. Nothing happens if it is not there. */
  async removeRoom(id: string, room: string): Promise<ChangeResult> {
    const record = this.#records.get(id);
    if (record === undefined) return refused("conflict");
    const result = await this.#changes.change(record, room, (drafts) => {
      return record.rooms.has(room) ? this.#presence.leave(record, room, drafts) : "done";
    });
    if (result.outcome === "done") this.#rooms.removeIfEmpty(room);
    return result;
  }

  /** See {@linkcode Identities.saveOwn}. */
  async saveOwn(id: string, change: OwnChange): Promise<ChangeResult> {
    const record = this.#records.get(id);
    if (record === undefined) return refused("conflict");
    return await this.#identities.saveOwn(record, change);
  }

  /** See {@linkcode Identities.setAway}. */
  async setAway(id: string, isAway: boolean): Promise<ChangeResult> {
    const record = this.#records.get(id);
    if (record === undefined) return refused("conflict");
    return await this.#identities.setAway(record, isAway);
  }

  /** See {@linkcode Changes.prepare}. Nothing happens if KV does not answer. */
  async prepare(id: string): Promise<void> {
    const record = this.#records.get(id);
    if (record === undefined) return;
    await this.#changes.inTurn(id, [record.user], () => this.#changes.prepare(record));
  }

  /**
   * Submits an operation that changes no presence. Operations of one `name` keep their order.
   * `"conflict"`: one of its checks failed.
   */
  submit(name: string, operation: Omit<Operation, "settle">): Promise<OperationResult> {
    return this.#changes.submit(name, operation);
  }

  /**
   * Returns the sessions in a room in the order of their IDs, each with the user that it speaks for. The
   * caller must not keep the map.
   *
   * @throws when KV cannot be read.
   */
  getConnectionIdsByRoom(room: string): Promise<ReadonlyMap<string, Member>> {
    return this.#members.of(room);
  }

  /**
   * Returns the members of a room: each user once, in the order of their oldest sessions in it.
   *
   * @throws when KV cannot be read.
   */
  async getMembers(room: string): Promise<Speaker[]> {
    return usersOf(await this.#members.of(room));
  }

  /**
   * Deletes a session of this instance with all its rows; its rooms learn that it left. A registered user
   * is remembered to have been in them. It retries until that is done.
   */
  async deleteConnection(id: string): Promise<void> {
    // The takeover decides what becomes of the session.
    if (this.#records.isBeingTakenOver(id)) return;
    const record = this.#records.get(id);
    // Once: the socket may close while all sessions are being deleted.
    if (record !== undefined) await (record.removal ??= this.#removals.removeOwn(record));
  }

  /** Returns a session of any instance. May throw when KV cannot be read. */
  async getRecordByConnection(id: string): Promise<ConnectionRecord | undefined> {
    const own = this.#records.get(id);
    if (own === undefined) return await this.#rows.read(id);
    const { user, nick, account, rooms } = own;
    return { id, user, nick, isRegistered: account !== "", rooms: [...rooms] };
  }

  /** Returns who has a folded nickname, or another one that reads as it. May throw. */
  findClaim(folded: string): Promise<NicknameHolder | undefined> {
    return findHolder(this.#parts.kv, this.#parts.clock, folded);
  }

  /** Returns the sessions and rooms of a registered user; `undefined`: there is none. May throw. */
  readUser(user: string): Promise<UserValue | undefined> {
    return this.#endings.readUser(user);
  }

  /**
   * Ends a session of a registered user, whichever instance has it: its socket is closed with
   * `CLOSE.ended`, and its rooms learn that it left. After `"failed"` it may end later.
   */
  endSession(user: string, session: string): Promise<EndingOutcome> {
    return this.#endings.end(user, session);
  }

  /** Ends all sessions of a registered user except one. */
  endOtherSessions(user: string, except: string): Promise<void> {
    return this.#endings.endOthers(user, except);
  }

  /** Applies an event of the feed. The caller passes every event, in order, before it is shown. */
  apply(event: RoomEvent, eventId: string): void {
    const { kind, id, text, cid } = event;
    switch (kind) {
      case "join":
      case "leave":
      case "nick":
      case "away":
        this.#members.apply(event);
        return this.#records.apply(event, eventId);
      case "resume":
        this.#records.apply(event, eventId);
        if (cid === "" && text === this.#parts.instance) this.#endings.finish(id);
        return;
      case "message":
      case "action":
      case "direct":
      case "edit":
      case "delete":
      case "reaction":
      case "read":
      case "act":
        return this.#records.apply(event, eventId);
      default:
        kind satisfies never;
    }
  }

  /** Returns the sessions of this instance. */
  sessions(): Session[] {
    return this.#records.all();
  }

  /** See {@linkcode Endings.listSessions}. */
  listSessions(user: string, isRegistered: boolean): Promise<ListedSession[]> {
    return this.#endings.listSessions(user, isRegistered);
  }

  /** Returns the record of a session of this instance. */
  session(id: string): Session | undefined {
    return this.#records.get(id);
  }

  /** See {@linkcode Takeovers.find}. */
  findResumable(token: string): Promise<Resumable | undefined> {
    return this.#takeovers.find(token);
  }

  /** See {@linkcode Takeovers.takeOver}. */
  takeOver(...of: Parameters<Takeovers["takeOver"]>): Promise<ChangeResult> {
    return this.#takeovers.takeOver(...of);
  }

  /** See {@linkcode SessionRecords.cancelTakeover}. */
  cancelTakeover(id: string, token: string): void {
    this.#records.cancelTakeover(id, token);
  }

  /** Returns the checks that hold as long as no other instance has taken the session over. */
  takeoverCheck(record: Session): Deno.AtomicCheck[] {
    return this.#rows.takeoverCheck(record);
  }

  /** See {@linkcode Takeovers.confirmToken}. */
  async confirmToken(id: string): Promise<void> {
    await this.#takeovers.confirmToken(id);
  }

  /**
   * Deletes all sessions of this instance, as `deleteConnection` does each. With `keep`, those that a
   * token can resume keep their rows. Returns how many do.
   */
  async deleteAll(keep: boolean): Promise<number> {
    this.#records.cancelAllTakeovers();
    const kept = this.#records.all().filter(({ tokens }) => keep && tokens.length > 0);
    for (const record of kept) this.#records.remove(record);
    await Promise.all(this.#records.all().map(({ id }) => this.deleteConnection(id)));
    await this.#endings.whenIdle();
    await this.#rooms.whenIdle();
    this.#changes.close();
    return kept.length;
  }

  /** Forgets all sessions in memory. Another instance cleans their rows up. */
  abandon(): void {
    this.#records.clear();
    this.#changes.close();
    this.#endings.abandon();
  }

  /** Removes what a dead instance left: see {@linkcode cleanUp} in cleanup.ts. */
  cleanUp(dead: string, claim: Deno.AtomicCheck, includeResumable: boolean): CleanedUp {
    const { kv, clock } = this.#parts;
    const [rows, changes, removals] = [this.#rows, this.#changes, this.#removals];
    return cleanUp({ kv, clock, rows, changes, removals }, dead, claim, includeResumable);
  }

  /** See {@linkcode Changes.settleUncertain}. */
  settleUncertain(): Promise<void> {
    return this.#changes.settleUncertain();
  }

  /**
   * Resolves when everything that any instance committed before the call has been delivered here.
   *
   * @throws when KV cannot be read, or does not answer in time.
   */
  reached(): Promise<void> {
    return this.#parts.feed.reached();
  }
}
