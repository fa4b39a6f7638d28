/**
 * The state of the chat: who is connected, under which nickname and in which room. Its verbs are
 * those of the original sample.
 *
 * Each verb changes rows and announces the change by one event in the same atomic operation. Storage
 * does not judge names, and sends nothing to clients.
 */
import { type Clock, delay } from "../base/clock.ts";
import { roomSortKey } from "../kv/keys.ts";
import type { RoomEvent } from "../feed/events.ts";
import type { Feed } from "../feed/feed.ts";
import { type ChangeResult, Changes } from "./changes.ts";
import { changeClaims, nextHeld, type Ownership, readClaims, readKeptClaims } from "./claims.ts";
import { cleanUp } from "./cleanup.ts";
import { MemberCache } from "./members.ts";
import { type ConnectionRecord, newRecord, type Session, SessionRecords } from "./records.ts";
import { RoomLookalikes } from "./room_lookalikes.ts";
import { Rooms } from "./rooms.ts";
import { ConnectionRows } from "./rows.ts";
import { Table } from "./table.ts";
import { type Resumable, Takeovers } from "./takeover.ts";

/** What {@linkcode Storage} is made of. */
export interface StorageParts {
  readonly kv: Deno.Kv;
  readonly feed: Feed;
  readonly clock: Clock;
  /** The ID of this instance, under which its connections are listed for other instances. */
  readonly instance: string;
  /** Milliseconds for which a registration keeps its claims while nobody holds them. */
  readonly registrationMs: number;
  /** Milliseconds for which an empty room keeps its name against names that look like it. */
  readonly emptyRoomMs: number;
  /** Returns the folded form of a nickname, which is its first claim. */
  foldNickname(nick: string): string;
  /** Returns what all room names that look like this one have in common; `undefined` for ASCII. */
  lookOfRoom(name: string): string | undefined;
}

/** A nickname, and what taking it needs. */
export interface NewUsername {
  readonly nick: string;
  /** The nickname's claims, its folded form first. */
  readonly claims: readonly string[];
  /** The hash of a token that resumes the connection from now on, in place of its other tokens. */
  readonly token?: string;
  /** The registration that the client has proved to own. */
  readonly owner?: Ownership;
}

/** Attempts to join a room while others change which room the name leads to. */
const MAX_JOIN_ATTEMPTS = 5;

/** Milliseconds between two attempts to remove the rows of a connection. */
const REMOVAL_RETRY_MS = 1000;

/** The state of the chat. */
export class Storage {
  readonly #parts: StorageParts;
  readonly #table: Table;
  readonly #rows: ConnectionRows;
  readonly #records: SessionRecords;
  readonly #members: MemberCache;
  readonly #lookalikes: RoomLookalikes;
  readonly #rooms: Rooms;
  readonly #changes: Changes;
  readonly #takeovers: Takeovers;

  constructor(parts: StorageParts) {
    const { kv, clock, feed, instance } = parts;
    this.#parts = parts;
    const table = this.#table = new Table(kv, clock);
    const rows = this.#rows = new ConnectionRows({ ...parts, table });
    const records = this.#records = new SessionRecords(instance);
    this.#members = new MemberCache(clock, async (room) => {
      const members = await table.reverseLookup(roomSortKey(room));
      return new Map([...members].map(([id, { nick }]) => [id, nick]));
    });
    this.#lookalikes = new RoomLookalikes(parts);
    this.#rooms = new Rooms(kv, clock, this.#lookalikes);
    const changes = this.#changes = new Changes(feed, rows);
    this.#takeovers = new Takeovers({ kv, clock, instance, rows, records, changes });
  }

  /**
   * Creates a connection without a nickname, in memory only. KV stores a connection from its first
   * nickname on: a client that connects and sends nothing leaves no row and costs no commit.
   */
  createConnection(id: string): Session {
    const record = newRecord(id, this.#parts.clock.now());
    this.#records.add(record);
    return record;
  }

  /**
   * Gives a connection a nickname. `"conflict"`: another connection, or a registration other than
   * `owner`, has one of the claims.
   *
   * @throws {TypeError} if this instance has no such connection.
   * @throws when KV cannot be read.
   */
  async setUsername(id: string, username: NewUsername): Promise<ChangeResult> {
    const { token, owner } = username;
    const { kv, clock } = this.#parts;
    const record = this.#records.expect(id);
    const before = record.tokens;
    const found = owner === undefined ? [] : await readKeptClaims(kv, clock, owner);
    let held = record.held;
    const result = await this.#changes.change(record, () => {
      const next = nextHeld(record.held, username.claims, owner);
      if (next === undefined) return "conflict";
      held = next;
      if (token !== undefined) record.tokens = [token];
      const { registrationMs } = this.#parts;
      const claims = changeClaims(id, record.held, held, registrationMs, found);
      return this.#rows.rename(record, { ...username, held, claims, before });
    });
    switch (result.outcome) {
      case "done":
        record.nick = username.nick;
        record.held = held;
        record.isStored = true;
        break;
      case "conflict":
        record.tokens = before;
        break;
      case "failed":
        // It may be committed all the same.
        record.isStored = true;
        if (token !== undefined) record.tokens = [token, ...before];
        break;
      default:
        result.outcome satisfies never;
    }
    return result;
  }

  /**
   * Commits a change of a registration together with what its connection holds from then on: the
   * claims as kept by the registration `account`, or by none if that is empty. With the hash of a
   * token, that token alone resumes the connection from now on.
   *
   * @throws {TypeError} if this instance has no such connection.
   */
  async saveRegistration(
    id: string,
    { account, claims, checks, mutations }: Ownership,
    token?: string,
  ): Promise<ChangeResult> {
    const record = this.#records.expect(id);
    const before = record.tokens;
    const tokens = token === undefined ? before : [token];
    let held = record.held;
    const result = await this.#changes.change(record, () => {
      held = { ...record.held, account, kept: account === "" ? [] : claims };
      return {
        checks: [...this.#rows.takeoverCheck(record), ...checks],
        mutations: [
          ...mutations,
          ...token === undefined ? [] : this.#rows.deleteTokens(before),
          ...token === undefined ? [] : [this.#rows.putToken(token, id)],
          this.#rows.putInstanceRow({ ...record, held, tokens }),
        ],
      };
    });
    if (result.outcome === "done") {
      record.held = held;
      record.tokens = tokens;
    } else if (token !== undefined) {
      // It may be committed all the same.
      record.tokens = [token, ...before];
    }
    return result;
  }

  /**
   * Returns the rooms with at least one connection in them, in order of their names, and how many
   * are in each.
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
   * Puts a connection into the room that a name leads to. `"failed"` also if the connection turns
   * out to be in a room.
   *
   * @throws {TypeError} if this instance has no such connection.
   * @throws when KV cannot be read.
   */
  async setRoom(id: string, name: string): Promise<ChangeResult> {
    const record = this.#records.expect(id);
    for (let attempt = 1;; attempt++) {
      const look = await this.#lookalikes.forJoin(name);
      const { room } = look;
      const result = await this.#changes.change(record, () => {
        if (record.room !== undefined) return "failed";
        const { checks, mutations, event } = this.#rows.join(record, room);
        return {
          checks: [...checks, ...look.checks],
          mutations: [...mutations, ...look.mutations],
          event,
        };
      }, room);
      const mayHaveChanged = result.outcome === "conflict" && look.checks.length > 0;
      if (!mayHaveChanged || attempt === MAX_JOIN_ATTEMPTS) return result;
    }
  }

  /**
   * Takes a connection out of its room.
   *
   * @throws {TypeError} if this instance has no such connection.
   */
  async removeRoom(id: string): Promise<ChangeResult> {
    const record = this.#records.expect(id);
    const { room } = record;
    const result = await this.#changes.change(record, () => {
      return record.room === undefined ? {} : this.#rows.leave(record, record.room);
    });
    if (room !== undefined && result.outcome === "done") this.#rooms.removeIfEmpty(room);
    return result;
  }

  /**
   * Sends a direct message from a connection of this instance. `"conflict"`: another instance has
   * taken the connection over.
   */
  async sendDirect(from: string, event: RoomEvent): Promise<ChangeResult> {
    const record = this.#records.get(from);
    if (record === undefined) return { outcome: "conflict", eventId: undefined };
    // The sender's ID is needed only to tell the sender of its message when it resumes.
    const sender = record.tokens.length > 0 ? from : undefined;
    const checks = this.takeoverCheck(record);
    return await this.#changes.submit(event.id, { checks, event: { ...event, from: sender } });
  }

  /**
   * Returns the members of a room: the connections' IDs in their order, each with its nickname.
   *
   * @throws when KV cannot be read.
   */
  getConnectionIdsByRoom(room: string): Promise<ReadonlyMap<string, string>> {
    return this.#members.of(room);
  }

  /**
   * Deletes a connection of this instance with all its rows; its room learns that it left. It
   * retries until that is done.
   */
  async deleteConnection(id: string): Promise<void> {
    // The takeover decides what becomes of the connection.
    if (this.#records.isBeingTakenOver(id)) return;
    const record = this.#records.get(id);
    // Once: the socket may close while all connections are being deleted.
    if (record !== undefined) await (record.removal ??= this.#remove(record));
  }

  /**
   * Returns a connection of any instance.
   *
   * @throws when KV cannot be read.
   */
  async getRecordByConnection(id: string): Promise<ConnectionRecord | undefined> {
    return this.#records.get(id) ?? await this.#rows.read(id);
  }

  /**
   * Returns the ID of the connection that holds a nickname, or another one that reads as it.
   * `folded` is the folded nickname.
   *
   * @throws when KV cannot be read.
   */
  async getConnectionByNickname(folded: string): Promise<string | undefined> {
    const [found] = await readClaims(this.#parts.kv, this.#parts.clock, [folded]);
    const holder = found?.holder;
    return holder !== undefined && "connection" in holder ? holder.connection : undefined;
  }

  /** Applies an event of the feed. The caller passes every event, in order, before it is shown. */
  apply(event: RoomEvent, eventId: string): void {
    switch (event.kind) {
      case "join":
      case "leave":
      case "nick":
        this.#members.apply(event);
        return this.#records.apply(event, eventId);
      case "message":
      case "action":
      case "direct":
      case "resume":
        return this.#records.apply(event, eventId);
      default:
        event.kind satisfies never;
    }
  }

  /** Returns the record of a connection of this instance. */
  session(id: string): Session | undefined {
    return this.#records.get(id);
  }

  /** See {@linkcode Takeovers.find}. */
  findResumable(token: string): Promise<Resumable | undefined> {
    return this.#takeovers.find(token);
  }

  /** See {@linkcode Takeovers.takeOver}. */
  takeOver(found: Resumable, fresh: string): Promise<ChangeResult> {
    return this.#takeovers.takeOver(found, fresh);
  }

  /** See {@linkcode SessionRecords.cancelTakeover}. */
  cancelTakeover(id: string, token: string): void {
    this.#records.cancelTakeover(id, token);
  }

  /** Returns the checks that hold as long as no other instance has taken the connection over. */
  takeoverCheck(record: Session): Deno.AtomicCheck[] {
    return this.#rows.takeoverCheck(record);
  }

  /** See {@linkcode Takeovers.confirmToken}. */
  confirmToken(id: string): Promise<void> {
    return this.#takeovers.confirmToken(id);
  }

  /**
   * Deletes all connections of this instance, as `deleteConnection` does each. With `keep`, those that
   * a token can resume keep their rows. Returns how many do.
   */
  async deleteAll(keep: boolean): Promise<number> {
    this.#records.cancelAllTakeovers();
    const kept = this.#records.all().filter(({ tokens }) => keep && tokens.length > 0);
    for (const record of kept) this.#records.remove(record);
    await Promise.all(this.#records.all().map(({ id }) => this.deleteConnection(id)));
    await this.#rooms.whenIdle();
    return kept.length;
  }

  /** Forgets all connections in memory. Another instance cleans their rows up. */
  abandon(): void {
    this.#records.clear();
  }

  /** Removes what a dead instance left: see {@linkcode cleanUp} in cleanup.ts. */
  cleanUp(
    instance: string,
    claim: Deno.AtomicCheck,
    includeResumable: boolean,
  ): Promise<{ gone: number; left: number } | undefined> {
    const { kv, clock } = this.#parts;
    const parts = { kv, clock, rows: this.#rows, rooms: this.#rooms, changes: this.#changes };
    return cleanUp(parts, instance, claim, includeResumable);
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

  async #remove(record: Session): Promise<void> {
    const { id, room } = record;
    if (record.isStored || record.isUncertain) {
      const removal = () => this.#rows.removal(record);
      while ((await this.#changes.change(record, removal)).outcome === "failed") {
        await delay(this.#parts.clock, REMOVAL_RETRY_MS);
        if (this.#records.get(id) !== record) return;
      }
    }
    this.#records.remove(record);
    if (room !== undefined) this.#rooms.removeIfEmpty(room);
  }
}
