/**
 * Who is connected, under which nickname and in which room: the verbs of the original sample, over
 * the table, with the events that announce each change in the same atomic operation.
 *
 * Between Handler and the feed. It keeps the records of this instance's own connections in memory,
 * because nobody else writes them. It does not judge names (names.ts) and answers nobody.
 */
import type { Operation, Outcome } from "./batch.ts";
import { type Clock, delay, eachLimited, limited } from "./clock.ts";
import type { Kind, RoomEvent } from "./events.ts";
import type { Feed } from "./feed.ts";
import { foldNickname } from "./names.ts";
import { Table } from "./table.ts";

/** What is known of a connection. */
export interface ConnectionRecord {
  readonly id: string;
  /** Empty until it has logged in. */
  readonly nick: string;
  readonly room: string | undefined;
}

/** A record of this instance's own, which changes as its operations are delivered. */
interface OwnRecord extends ConnectionRecord {
  nick: string;
  room: string | undefined;
  /** The last operation failed: it may have been written all the same. */
  unsure: boolean;
  removal: Promise<void> | undefined;
}

/** How a verb ended: as {@linkcode Outcome}, where a conflict can only be a nickname in use. */
export type Change = "done" | "taken" | "failed";

/** What Storage is made of. */
export interface StorageParts {
  readonly kv: Deno.Kv;
  readonly feed: Feed;
  readonly clock: Clock;
  /** The id of this instance, under which its connections are listed for whoever has to sweep. */
  readonly instance: string;
}

/** The state of the chat. */
export class Storage {
  readonly #kv: Deno.Kv;
  readonly #feed: Feed;
  readonly #clock: Clock;
  readonly #instance: string;
  readonly #table: Table;
  readonly #own = new Map<string, OwnRecord>();
  readonly #untidy = new Set<string>();
  #tidying: Promise<void> | undefined;

  constructor({ kv, feed, clock, instance }: StorageParts) {
    this.#kv = kv;
    this.#feed = feed;
    this.#clock = clock;
    this.#instance = instance;
    this.#table = new Table(kv, clock);
  }

  /** A new connection, not named yet and in no room. */
  async createConnection(id: string): Promise<Change> {
    const record: OwnRecord = { id, nick: "", room: undefined, unsure: false, removal: undefined };
    this.#own.set(id, record);
    return await this.#change(record, () => ({
      mutations: [
        ...this.#table.put(id, usernameKey(""), { nick: "" }),
        this.#listed(record, "", undefined),
      ],
    }));
  }

  /** Gives a connection a nickname, if nobody else who is online has it. */
  async setUsername(id: string, nick: string): Promise<Change> {
    const record = this.#record(id);
    const outcome = await this.#change(record, () => {
      const { nick: old, room } = record;
      const mutations = [
        ...this.#table.delete(id, usernameKey(old)),
        ...this.#table.put(id, usernameKey(nick), { nick }),
        this.#listed(record, nick, room),
      ];
      const checks: Deno.AtomicCheck[] = [];
      if (nickKeyText(old) !== nickKeyText(nick)) {
        checks.push({ key: nickKey(nick), versionstamp: null });
        mutations.push({ type: "set", key: nickKey(nick), value: id });
        if (old !== "") mutations.push({ type: "delete", key: nickKey(old) });
      }
      if (room === undefined) return { mutations, checks };
      mutations.push(...this.#table.put(id, roomKey(room), { nick }));
      return { mutations, checks, event: this.#event("nick", record, room, nick) };
    });
    if (outcome === "done") record.nick = nick;
    return outcome;
  }

  /** The names of the rooms with somebody in them, in order of their names. */
  async listRooms(): Promise<string[]> {
    const rooms: string[] = [];
    const entries = this.#kv.list<unknown>({ prefix: ["room"] }, { batchSize: 1000 });
    for await (const { key, value } of eachLimited(this.#clock, entries)) {
      const name = String(key[1]);
      if (isEmpty(value)) this.#tidy(name);
      else rooms.push(name);
    }
    return rooms;
  }

  /** Puts a connection that is in no room into one; fails for one that turns out to be in one. */
  async setRoom(id: string, room: string): Promise<Change> {
    const record = this.#record(id);
    return await this.#change(record, () => {
      if (record.room !== undefined) return undefined;
      return {
        mutations: [
          ...this.#table.put(id, roomKey(room), { nick: record.nick }),
          addToRoom(room, 1),
          this.#listed(record, record.nick, room),
        ],
        event: this.#event("join", record, room),
      };
    }, room);
  }

  /** Takes a connection out of the room it is in. */
  async removeRoom(id: string): Promise<Change> {
    const record = this.#record(id);
    const { room } = record;
    const outcome = await this.#change(record, () => {
      if (record.room === undefined) return {};
      return {
        mutations: [
          ...this.#table.delete(id, roomKey(record.room)),
          addToRoom(record.room, -1),
          this.#listed(record, record.nick, undefined),
        ],
        event: this.#event("leave", record, record.room),
      };
    });
    if (room !== undefined && outcome === "done") this.#tidy(room);
    return outcome;
  }

  /** Who is in a room: the connections' ids in their order, each with its nickname. */
  async getConnectionIdsByRoom(room: string): Promise<Map<string, string>> {
    const rows = await this.#table.reverseLookup(roomKey(room));
    return new Map([...rows].map(([id, { nick }]) => [id, nick]));
  }

  /** Forgets a connection; whoever is in its room learns that it left. Tried until it is done. */
  async deleteConnection(id: string): Promise<void> {
    const record = this.#own.get(id);
    // Once: the socket may close while all connections are being deleted.
    if (record !== undefined) await (record.removal ??= this.#remove(record));
  }

  /** What is known of a connection, of whichever instance; `undefined` if there is none. */
  async getRecordByConnection(id: string): Promise<ConnectionRecord | undefined> {
    return this.#own.get(id) ?? await this.#read(id);
  }

  /** The connection that has a nickname, if somebody has. */
  async getConnectionByNickname(nick: string): Promise<string | undefined> {
    const { value } = await limited(this.#clock, this.#kv.get<unknown>(nickKey(nick)));
    return typeof value === "string" ? value : undefined;
  }

  /** Keeps the records true to the feed: to be called with every event, before it is shown. */
  apply({ kind, id, room, text }: RoomEvent): void {
    if (kind === "message" || kind === "action" || kind === "direct") return;
    const record = this.#own.get(id);
    if (record === undefined) return;
    if (kind === "join") record.room = room;
    else if (kind === "leave") record.room = undefined;
    else record.nick = text;
  }

  /** Forgets all connections of this instance, as `deleteConnection` does each. */
  async deleteAll(): Promise<void> {
    await Promise.all([...this.#own.keys()].map((id) => this.deleteConnection(id)));
    await this.#tidying;
  }

  /** Forgets all connections in memory only: the rows are somebody else's to sweep. */
  abandon(): void {
    this.#own.clear();
  }

  /**
   * Removes what an instance left behind that no longer lives, and announces its people as left.
   * Everything is done under `claim`, which only one survivor can hold. Returns how many people
   * there were, or `undefined` if the claim was lost or storage failed: then somebody has to try
   * again.
   */
  async sweep(instance: string, claim: Deno.AtomicCheck): Promise<number | undefined> {
    const left: Promise<Outcome>[] = [];
    const rooms = new Set<string>();
    const prefix = ["instance_row", instance];
    const entries = this.#kv.list<unknown>({ prefix }, { batchSize: 1000 });
    for await (const { key, value } of eachLimited(this.#clock, entries)) {
      const id = String(key[2]);
      const { nick, room } = (value ?? {}) as Partial<ConnectionRecord>;
      const record = { id, nick: String(nick ?? ""), room };
      if (record.room !== undefined) rooms.add(record.room);
      left.push(this.#run(room ?? id, { ...this.#removal(record, instance), checks: [claim] }));
    }
    const outcomes = await Promise.all(left);
    rooms.forEach((room) => this.#tidy(room));
    return outcomes.every((outcome) => outcome === "done") ? outcomes.length : undefined;
  }

  async #read(id: string): Promise<ConnectionRecord | undefined> {
    const rows = await this.#table.query(id);
    const name = [...rows].find(([sk]) => sk.startsWith(usernameKey("")));
    const room = [...rows.keys()].find((sk) => sk.startsWith(roomKey("")));
    return name && { id, nick: name[1].nick, room: room?.slice(roomKey("").length) };
  }

  async #remove(record: OwnRecord): Promise<void> {
    const { id, room } = record;
    while (await this.#change(record, () => this.#removal(record)) === "failed") {
      await delay(this.#clock, 1000);
      if (!this.#own.has(id)) return;
    }
    this.#own.delete(id);
    if (room !== undefined) this.#tidy(room);
  }

  #removal(record: ConnectionRecord, instance = this.#instance): Partial<Operation> {
    const { id, nick, room } = record;
    const mutations = [
      ...this.#table.delete(id, usernameKey(nick)),
      { type: "delete", key: ["instance_row", instance, id] } as const,
    ];
    if (nick !== "") mutations.push({ type: "delete", key: nickKey(nick) });
    if (room === undefined) return { mutations };
    mutations.push(...this.#table.delete(id, roomKey(room)), addToRoom(room, -1));
    return { mutations, event: this.#event("leave", record, room) };
  }

  /** What whoever sweeps needs to know of a connection: it spares a read for each. */
  #listed({ id }: ConnectionRecord, nick: string, room: string | undefined): Deno.KvMutation {
    return { type: "set", key: ["instance_row", this.#instance, id], value: { nick, room } };
  }

  #event(kind: Kind, { id, nick }: ConnectionRecord, room: string, text = ""): RoomEvent {
    return { kind, room, id, nick, text, time: this.#clock.now() };
  }

  #record(id: string): OwnRecord {
    const record = this.#own.get(id);
    if (record === undefined) throw new TypeError(`there is no connection ${id}`);
    return record;
  }

  /** Runs an operation that is made when the record is known to be true. */
  async #change(
    record: OwnRecord,
    make: () => Partial<Operation> | undefined,
    room?: string,
  ): Promise<Change> {
    if (record.unsure && !(await this.#reread(record))) return "failed";
    const operation = make();
    if (operation === undefined) return "failed";
    const outcome = await this.#run(room ?? record.room ?? record.id, operation);
    record.unsure = outcome === "failed";
    return outcome === "conflict" ? "taken" : outcome;
  }

  /** What seemed to fail may have been written: makes the record true again. */
  async #reread(record: OwnRecord): Promise<boolean> {
    try {
      // First what the feed has, so that its events are not applied on top of what is read.
      await this.#feed.poll();
      await this.#feed.flush();
      const { nick, room } = await this.#read(record.id) ?? { nick: "", room: undefined };
      Object.assign(record, { nick, room, unsure: false });
      return true;
    } catch {
      return false;
    }
  }

  #run(name: string, operation: Partial<Operation>): Promise<Outcome> {
    return new Promise((settle) => this.#feed.submit(name, { ...operation, settle }));
  }

  /** Removes rooms that nobody is in any more, one at a time and off everybody's way. */
  #tidy(room: string): void {
    this.#untidy.add(room);
    this.#tidying ??= this.#tidyAll().finally(() => this.#tidying = undefined);
  }

  async #tidyAll(): Promise<void> {
    for (const room of this.#untidy) {
      this.#untidy.delete(room);
      try {
        const { key, value, versionstamp } = await limited(
          this.#clock,
          this.#kv.get<unknown>(["room", room]),
        );
        if (versionstamp === null || !isEmpty(value)) continue;
        // The check: somebody may just have joined.
        const removal = this.#kv.atomic().check({ key, versionstamp }).delete(key).commit();
        await limited(this.#clock, removal);
      } catch {
        // It stays as it is, an empty room that `/ls` does not list and will tidy.
      }
    }
  }
}

function usernameKey(nick: string): string {
  return `username_${nick}`;
}

function roomKey(room: string): string {
  return `room_${room}`;
}

function nickKeyText(nick: string): string {
  return nick === "" ? "" : foldNickname(nick);
}

function nickKey(nick: string): Deno.KvKey {
  return ["nick", foldNickname(nick)];
}

/** KV sums modulo 2^64, so adding 2^64 - 1 takes one away, without a read. */
function addToRoom(room: string, people: 1 | -1): Deno.KvMutation {
  const value = new Deno.KvU64(BigInt.asUintN(64, BigInt(people)));
  return { type: "sum", key: ["room", room], value };
}

function isEmpty(people: unknown): boolean {
  return !(people instanceof Deno.KvU64) || BigInt.asIntN(64, people.value) <= 0n;
}
