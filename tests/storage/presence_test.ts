/**
 * Random sessions of few users on three instances, with faults of KV, takeovers, endings and crashes. In
 * the end the rooms were told what KV has.
 */
import { assert, assertEquals } from "@std/assert";
import { delay } from "../../chat/base/clock.ts";
import { AdjustedClock } from "../support/fake_clock.ts";
import { interceptCommits } from "../support/faulty_kv.ts";
import { Random } from "../support/random.ts";
import { keysOf, named, openStorage, short, signedIn } from "../support/storage.ts";
import { ToldRooms } from "../support/told_rooms.ts";

type Server = Awaited<ReturnType<typeof openStorage>>;

const ROOMS = ["red", "blue", "green", "привет", "room 5", "room 6", "room 7"];
const ACCOUNTS = [["Ann", "A"], ["Bob", "B"]] as const;

/** Milliseconds of an outage: the server gives up after eight seconds. */
const OUTAGE_MS = 12_000;

/** Milliseconds after which a call to KV counts as failed. */
const CALL_TIMEOUT_MS = 4_000;

/** A session of the test: where it is, and the token that resumes it. */
interface Simulated {
  readonly id: string;
  server: Server;
  token: string;
}

/** One simulation. */
class Simulation {
  readonly #random: Random;
  readonly #kv: Deno.Kv;
  /** Fast, so that an outage that is too long for retries takes 60 ms. No call times out. */
  readonly #clock = new AdjustedClock({
    speed: 200,
    delayOf: (ms) => ms === CALL_TIMEOUT_MS ? Infinity : ms,
  });
  readonly #plain: Deno.Kv;
  readonly servers: Server[] = [];
  #sessions: Simulated[] = [];
  #next = 100;
  #hasFaults = true;
  /** KV answers no commit, but carries out some of them. */
  #isDown = false;

  constructor(kv: Deno.Kv, seed: number) {
    this.#random = new Random(seed);
    this.#plain = kv;
    this.#kv = interceptCommits(kv, async (commit) => {
      if (this.#isDown && this.#random.percent(50)) throw new Error("down");
      if (this.#hasFaults && this.#random.percent(3)) throw new Error("Too many mutations");
      const result = await commit();
      if (this.#isDown) throw new Error("down");
      if (this.#hasFaults && this.#random.percent(3)) throw new Error("the answer was lost");
      return result;
    });
  }

  /** Opens an instance. */
  async open(): Promise<void> {
    const { kv, name } = { kv: this.#kv, name: `01${this.#next++}` };
    const server = await openStorage(kv, name, { maxRooms: 6, clock: this.#clock });
    await server.share();
    this.servers.push(Object.assign(server, { name }));
  }

  /** Lets some sessions do something at the same time. */
  async step(): Promise<void> {
    const count = 1 + this.#random.below(6);
    // Perhaps one of them twice: another socket takes it over, or its user ends it.
    this.#isDown = this.#random.percent(8);
    const busy = Array.from({ length: count }, () => this.#pick());
    const acting = Promise.all(busy.map((session) => this.#act(session)));
    if (this.#isDown) await delay(this.#clock, OUTAGE_MS);
    this.#isDown = false;
    await acting;
    if (this.#random.percent(3)) await this.#crash();
  }

  /** Ends all faults, and makes every session finish what it began. */
  async settle(): Promise<void> {
    this.#hasFaults = false;
    for (const { id, server: { storage } } of this.#sessions) await storage.setRoom(id, "the end");
    for (const server of this.servers) await server.storage.reached();
  }

  #pick(): Simulated {
    const session = this.#random.pick(this.#sessions.length === 0 ? [undefined] : this.#sessions);
    if (session !== undefined && !this.#random.percent(20)) return session;
    const id = `1${this.#next++}`, server = this.#random.pick(this.servers);
    // Plain-text sessions have no token.
    const fresh = { id, server, token: this.#random.percent(30) ? "" : `${id} first` };
    server.storage.createConnection(id, "json");
    this.#sessions.push(fresh);
    return fresh;
  }

  #username(id: string, token?: string) {
    const [nick, user] = this.#random.pick(ACCOUNTS);
    if (this.#random.percent(50)) return signedIn(nick, user, token);
    return named(this.#random.pick([`P${id}`, `Q${id}`, nick]), token);
  }

  async #act(session: Simulated): Promise<void> {
    const random = this.#random;
    const { id, server: { storage } } = session;
    const record = storage.session(id);
    if (record === undefined) return this.#forget(session);
    if (record.nick === "") {
      return void await storage.setUsername(id, this.#username(id, session.token || undefined));
    }
    const kind = random.below(100);
    const room = random.pick(ROOMS);
    if (kind < 12) await storage.setAway(id, random.percent(60));
    else if (kind < 40) await storage.setRoom(id, room);
    else if (kind < 60) await storage.removeRoom(id, room);
    else if (kind < 80) await storage.setUsername(id, this.#username(id));
    else if (kind < 84) await this.#end(session);
    else if (kind < 88) await storage.endSession(record.user, id);
    else if (kind < 90) {
      const { sessions = [] } = await storage.readUser(record.user) ?? {};
      if (sessions.length > 0) await storage.endSession(record.user, random.pick(sessions).id);
    } else await this.#move(session);
  }

  async #end(session: Simulated): Promise<void> {
    await session.server.storage.deleteConnection(session.id);
    this.#forget(session);
  }

  #forget(session: Simulated): void {
    this.#sessions = this.#sessions.filter((each) => each !== session);
  }

  /** Resumes a session on another instance, or on the same. */
  async #move(session: Simulated): Promise<void> {
    const { storage } = this.#random.pick(this.servers);
    const found = await storage.findResumable(session.token);
    if (found === undefined) return;
    const token = `${session.id} ${this.#next++}`;
    const { outcome } = await storage.takeOver(found, token);
    if (outcome === "failed") {
      // As Resume does later: perhaps it was committed.
      await storage.settleUncertain();
      storage.cancelTakeover(session.id, token);
      if (storage.session(session.id)?.era !== token) return;
    } else if (outcome !== "done") return;
    session.server = this.servers.find((server) => server.storage === storage)!;
    session.token = token;
    await storage.confirmToken(session.id);
  }

  /** Ends an instance without a farewell. Another one cleans up after it. */
  async #crash(): Promise<void> {
    const index = this.#random.below(this.servers.length);
    const [dead] = this.servers.splice(index, 1);
    const { name } = dead as Server & { name: string };
    await dead!.crash();
    await this.open();
    const key = ["instance", name];
    const { versionstamp } = await this.#plain.set(key, "claimed");
    const storage = this.servers[0]!.storage;
    while (await storage.cleanUp(name, { key, versionstamp }, true) === undefined);
    await this.#plain.delete(key);
    for await (const guard of this.#plain.list({ prefix: key })) {
      await this.#plain.delete(guard.key);
    }
    this.#sessions = this.#sessions.filter(({ server }) => server !== dead);
  }
}

/** Asserts that what a room was told is what KV has: members, counts, users' rows, records. */
async function assertConsistent(kv: Deno.Kv, simulation: Simulation, told: ToldRooms) {
  const [{ storage }] = simulation.servers as [Server];
  const rooms = [...ROOMS, "the end"];
  const counts = await storage.listRooms();
  for (const room of rooms) {
    const members = new Set<string>(), present = new Set<string>();
    for await (
      const { key, value } of kv.list<{ account?: string; away?: boolean }>({
        prefix: ["reverse_lookup", `room_${room}`],
      })
    ) {
      const user = value.account ?? String(key[2]);
      members.add(user);
      if (value.away !== true) present.add(user);
    }
    const away = [...members.difference(present)].sort();
    assertEquals(told.awayIn(room), away, `told to be away in ${room}`);
    assertEquals(told.usersIn(room), [...members].sort(), `told of ${room}`);
    assertEquals(counts.get(room) ?? 0, members.size, `the count of ${room}`);
    for (const server of simulation.servers) {
      const listed = await server.storage.getMembers(room);
      const users = listed.map(({ user }) => user).sort();
      assertEquals(users, [...members].sort(), `the members of ${room}`);
      const absent = listed.filter(({ isAway }) => isAway).map(({ user }) => user).sort();
      assertEquals(absent, away, `those away in ${room}`);
    }
  }
  for (const [, user] of ACCOUNTS) {
    const row = await storage.readUser(user);
    for (const { id, n } of row?.sessions ?? []) {
      const record = await storage.getRecordByConnection(id);
      assertEquals([record?.user, record?.isRegistered], [user, true], `${id} of ${user}`);
      const inRow = [...row!.rooms].filter(([, numbers]) => numbers.includes(n)).map(([room]) =>
        room
      );
      assertEquals(inRow.sort(), [...record!.rooms].sort(), `the rooms of ${id}`);
    }
    const numbers = new Set([...row?.rooms.values() ?? []].flat());
    assert(numbers.size <= (row?.sessions.length ?? 0), "no number without a session");
  }
  for (const { storage } of simulation.servers) {
    for (const key of await keysOf(kv, "row")) {
      const id = key.split(" ")[0]!;
      const record = storage.session(id);
      if (record === undefined) continue;
      const rows = (await keysOf(kv, "row", id)).filter((each) => each.startsWith("room_"));
      assertEquals([...record.rooms].map((room) => `room_${room}`).sort(), rows.sort());
    }
  }
}

const only = Deno.env.get("SEED");
const count = Number(Deno.env.get("SEEDS") ?? 8);
const seeds = only === undefined ? Array.from({ length: count }, (_, i) => i) : [Number(only)];
for (const seed of seeds) {
  Deno.test(`Storage tells rooms what KV has, whatever fails (SEED=${seed})`, async () => {
    using kv = await Deno.openKv(":memory:");
    await using witness = await openStorage(kv, "00W");
    await witness.share();
    const simulation = new Simulation(kv, seed);
    for (let i = 0; i < 3; i++) await simulation.open();
    for (let i = 0; i < 60; i++) await simulation.step();
    await simulation.settle();
    await witness.storage.reached();
    const told = new ToldRooms();
    try {
      for (const event of witness.events) told.apply(event);
      await assertConsistent(kv, simulation, told);
    } catch (error) {
      console.error(witness.events.map(short).join("\n"));
      throw error;
    }
    for (const server of simulation.servers) await server[Symbol.asyncDispose]();
    assertEquals(await keysOf(kv, "row"), []);
    assertEquals(await keysOf(kv, "instance_row"), []);
    assertEquals(await keysOf(kv, "resume"), []);
    assertEquals((await keysOf(kv, "nick")).filter((each) => /^[pq]/.test(each)), []);
  });
}
