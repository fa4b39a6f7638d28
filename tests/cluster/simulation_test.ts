/**
 * Many instances on one KV in virtual time. Clients connect, talk, rename, move and leave at random.
 * Meanwhile KV fails, answers late or never, watches lose notifications, clocks differ by minutes and
 * jump by an hour, and instances die, are suspended, or lose their lease. Afterwards everything that a
 * client received, and everything stored, is compared with the feed.
 *
 * `SEED=17 deno test -A tests/cluster/simulation_test.ts` replays one run; `SEEDS=5000` does more.
 */
import { assert, assertEquals } from "@std/assert";
import {
  eventId,
  eventIdPrefix,
  type LoggedEvent,
  type RoomEvent,
  unpack,
} from "../../chat/feed/events.ts";
import { type Chat, startChat } from "../../chat/mod.ts";
import { Confusables } from "../../chat/nicknames/confusables.ts";
import { encodeText } from "../../chat/delivery/text.ts";
import { FakeSocket } from "../support/fake_socket.ts";
import { Random } from "../support/random.ts";
import { checkedHistory as keptHistory, connectionKeys } from "../support/kv_rows.ts";
import { Hub, type Network, Process, type SimulatedClock, simulatedKv, World } from "./sim_kv.ts";
import { Visitor } from "./visitors.ts";

const ROOMS = ["red", "green", "blue"];
const STEPS = 60;

/** Percent of commits that KV's client repeats without other faults. */
const USUAL_REPEAT_PERCENT = 2;

/** Replies to commands, as opposed to events. */
const REPLY =
  /^(Using nickname|Nicknames cannot|Nickname is|Not |That did not work|"[^"]*" (is|looks)|Cannot send)/;

/** A client with a socket on one of the instances. */
class Client extends FakeSocket {
  readonly said: string[] = [];
  id = "";

  constructor(readonly name: string, readonly host: Host, readonly world: World) {
    super(WebSocket.CONNECTING);
  }

  get frames(): readonly string[] {
    return this.sent;
  }

  override close(): void {
    if (this.readyState === WebSocket.CLOSED) return;
    this.readyState = WebSocket.CLOSED;
    const { process } = this.host.network;
    this.world.after(0, () => process.do(() => this.disconnect()));
  }

  type(line: string): void {
    if (this.readyState !== WebSocket.OPEN) return;
    if (!line.startsWith("/")) this.said.push(line);
    this.host.network.process.do(() => this.receive(line));
  }

  get isConnected(): boolean {
    return this.readyState === 1 && !this.host.network.isDead;
  }
}

/** An instance and its network. */
interface Host {
  readonly chat: Chat;
  readonly network: Network;
  readonly clock: SimulatedClock;
  /** The newest connection ID that it created. */
  readonly ids: { last: string };
  ending: Promise<void> | undefined;
}

class Simulation {
  readonly #random: Random;
  readonly #world = new World();
  readonly #hub: Hub;
  readonly #hosts: Host[] = [];
  readonly #clients: Client[] = [];
  readonly #visitors: Visitor[] = [];
  readonly #keep: { graceSeconds: number; historySeconds: number };
  #ids = 0;
  #words = 0;

  constructor(seed: number, readonly kv: Deno.Kv) {
    this.#random = new Random(seed);
    this.#hub = new Hub(kv, this.#world, this.#random);
    const history = this.#random.percent(10) ? 0 : 7 * 86_400;
    this.#keep = { graceSeconds: this.#random.pick([10, 30]), historySeconds: history };
  }

  async run(): Promise<void> {
    // All three at the same instant.
    await this.#world.until(Promise.all([this.#start(), this.#start(), this.#start()]));
    const sleepAt = this.#random.percent(15) ? this.#random.below(STEPS) : STEPS;
    for (let step = 0; step < STEPS; step++) {
      await this.#act();
      if (step === sleepAt) await this.#sleep();
      await this.#world.pass(this.#random.below(300));
    }
    await this.#recover();
    await this.#check();
    await this.#leave();
  }

  async #start(): Promise<Host> {
    const ids = { last: "" };
    const network: Network = {
      errorPercent: 0,
      silentPercent: 0,
      repeatPercent: USUAL_REPEAT_PERCENT,
      maxDelayMs: 10,
      lostWakePercent: 0,
      isDead: false,
      process: new Process(),
    };
    const skew = this.#random.below(600_000) - 300_000;
    const clock = this.#world.clock(skew, this.#random, network.process);
    const chat = await startChat({
      kv: simulatedKv(this.#hub, network),
      clock,
      ids: () => ids.last = `01${String(++this.#ids).padStart(8, "0")}`,
      log: { log: () => {}, warn: () => {} },
      // Because of the faults, a client may be without a nickname for long.
      rateLimits: "off",
      ...this.#keep,
    });
    const host = { chat, network, clock, ids, ending: undefined };
    this.#hosts.push(host);
    return host;
  }

  #alive(): Host[] {
    return this.#hosts.filter(({ network, ending }) => !network.isDead && ending === undefined);
  }

  async #act(): Promise<void> {
    const random = this.#random;
    const client = this.#clients.length > 0 ? random.pick(this.#clients) : undefined;
    const host = random.pick(this.#alive());
    this.#visit();
    if (random.percent(5)) host.clock.jump(random.below(7_200_000) - 3_600_000);
    const chance = random.below(100);
    if (client === undefined || chance < 18) this.#connect(host);
    else if (chance < 32) client.type(`/join ${random.pick(ROOMS)}`);
    else if (chance < 36) client.type("/quit");
    else if (chance < 42) client.type(`/nick ${this.#nickname()}`);
    else if (chance < 68) this.#talk(client, 1 + random.below(4));
    else if (chance < 74) { for (const each of this.#clients) this.#talk(each, 1); }
    else if (chance < 79) client.close();
    else if (chance < 87) {
      await this.#disturb([host], 3_000, { errorPercent: 30, silentPercent: 10 });
    } else if (chance < 90) {
      await this.#disturb(this.#alive(), 3_000, { errorPercent: 20, silentPercent: 5 });
    } else if (chance < 92) await this.#disturb(this.#alive(), 12_000, { errorPercent: 100 });
    // Long enough to lose the lease.
    else if (chance < 94) await this.#disturb([host], 30_000, { silentPercent: 100 });
    else if (chance < 96) host.network.lostWakePercent = 100;
    else if (this.#alive().length < 2) await this.#world.until(this.#start());
    else if (chance < 98) this.#kill(host);
    else host.ending = host.chat.close();
  }

  /** Returns the nickname of another client, or a lookalike with a letter of another script. */
  #nickname(): string {
    const name = `${this.#random.pick(this.#clients).name}${this.#random.below(2)}`;
    return name.replace("p", this.#random.pick(["p", "p", "\u0440", "\u03c1"]));
  }

  #kill(host: Host): void {
    host.network.isDead = true;
    for (const { connection } of this.#visitors) if (connection?.place === host) connection.cut();
  }

  /** Lets the clients that resume their sessions talk, move, and lose their connections. */
  #visit(): void {
    const random = this.#random;
    const chance = random.below(100);
    if (this.#visitors.length === 0 || (chance < 5 && this.#visitors.length < 6)) {
      const nick = `v${this.#visitors.length}`;
      const places = () => random.percent(5) ? this.#hosts : this.#alive();
      const room = random.pick(ROOMS);
      this.#visitors.push(new Visitor(nick, room, this.#world, random, places));
      return;
    }
    const visitor = random.pick(this.#visitors);
    if (visitor.hasLeft) return;
    if (chance < 40) visitor.say(`visitor's word ${++this.#words}`);
    else if (chance < 60) visitor.connection?.cut();
    else if (chance < 65) visitor.client.join(random.pick(ROOMS)).catch(() => {});
    else if (chance < 67) visitor.client.leave().catch(() => {});
    else if (chance < 69 && this.#visitors.length > 2) visitor.vanish();
    else if (chance < 72) visitor.client.retryNow();
  }

  #connect(host: Host): void {
    const client = new Client(`p${this.#clients.length}`, host, this.#world);
    this.#clients.push(client);
    host.chat.accept(client);
    client.open();
    client.id = host.ids.last;
    client.type(client.name);
    client.type(`/join ${this.#random.pick(ROOMS)}`);
  }

  #talk(client: Client, words: number): void {
    for (let i = 0; i < words; i++) client.type(`word ${++this.#words}`);
  }

  async #disturb(hosts: Host[], ms: number, network: Partial<Network>): Promise<void> {
    for (const host of hosts) {
      Object.assign(host.network, { maxDelayMs: 200, repeatPercent: 20, ...network });
    }
    const lasts = this.#random.below(ms);
    // Clients continue to talk.
    for (let past = 0; past < lasts; past += 500) {
      this.#talk(this.#random.pick(this.#clients), 1);
      await this.#world.pass(Math.min(500, lasts));
    }
    for (const host of hosts) {
      Object.assign(host.network, {
        errorPercent: 0,
        silentPercent: 0,
        repeatPercent: USUAL_REPEAT_PERCENT,
        maxDelayMs: 10,
      });
    }
  }

  /** Stops one instance, or suspends its machine, for longer than feed rows are kept. */
  async #sleep(): Promise<void> {
    const [host, ...others] = this.#alive();
    if (host === undefined || others.length === 0) return;
    host.network.process.stop();
    const minutes = 11 + this.#random.below(5);
    for (let minute = 0; minute < minutes; minute++) {
      this.#talk(this.#random.pick(this.#clients), 1);
      this.#visit();
      await this.#world.pass(60_000);
    }
    if (this.#random.percent(50)) host.clock.suspend(minutes * 60_000);
    host.network.process.resume();
  }

  /** Ends all faults, until the live instances have cleaned up and caught up. */
  async #recover(): Promise<void> {
    if (this.#alive().length === 0) await this.#world.until(this.#start());
    for (const { network } of this.#hosts) {
      Object.assign(network, {
        errorPercent: 0,
        silentPercent: 0,
        maxDelayMs: 10,
        lostWakePercent: 0,
      });
    }
    // Until the last earlier call has failed. After that, cleaning up may take half a minute.
    await this.#world.pass(15_000);
    for (const { client } of this.#visitors) client.retryNow();
    await this.#world.pass(40_000);
    // A nickname may have been taken by the client's own lost connection, which is cleaned up by now,
    // and another try may reach an instance that has ended (seed 1208).
    for (let tries = 0; tries < 3; tries++) {
      for (const { client } of this.#visitors) if (client.state === "offline") client.retryNow();
      await this.#world.pass(20_000);
    }
    for (const { network, ending } of this.#hosts) {
      if (!network.isDead && ending !== undefined) await this.#world.until(ending);
    }
  }

  /** Returns all events in the order of the feed. */
  async #log(): Promise<LoggedEvent[]> {
    type Row = { from: string; n: number; events: unknown[] };
    const rows = [
      ...this.#hub.removedRows as Deno.KvEntry<Row>[],
      ...await Array.fromAsync(this.kv.list<Row>({ prefix: ["feed"] })),
    ];
    const commits = rows.map(({ key, value: { from, n } }) => [key[1], from, n].join(" "));
    assertEquals(new Set(commits).size, commits.length, "a commit was written twice");
    return rows.toSorted((a, b) => a.versionstamp < b.versionstamp ? -1 : 1)
      .flatMap(({ value, versionstamp }) => {
        const prefix = eventIdPrefix(versionstamp);
        return value.events.map((event, i) => ({
          eventId: eventId(prefix, i),
          event: unpack(event)!,
        }));
      });
  }

  async #check(): Promise<void> {
    const entries = await this.#log();
    const log = entries.map(({ event }) => event);
    for (const client of this.#clients) this.#checkClient(client, log);
    for (const visitor of this.#visitors) visitor.check(entries);
    await this.#checkHistory(entries);
    const rooms = new Map<string, Set<string>>(ROOMS.map((room) => [room, new Set()]));
    for (const { kind, room, id } of log) {
      if (kind === "join") rooms.get(room)!.add(id);
      if (kind === "leave") assert(rooms.get(room)!.delete(id), `${id} left ${room} twice`);
    }
    const connected = new Set(this.#clients.filter((each) => each.isConnected).map(({ id }) => id));
    for (const { client, hasLeft: gone, nick } of this.#visitors) {
      if (gone) continue;
      assertEquals(client.state, "online", `${nick} did not come back`);
      const [id, ...more] = await this.#keys("reverse_lookup", `username_${nick}`);
      assertEquals(more, [], `${nick} is online twice`);
      connected.add(id!);
      const isIn = [...rooms].filter(([, people]) => people.has(id!)).map(([room]) => room);
      assertEquals(isIn, client.room === undefined ? [] : [client.room], `the room of ${nick}`);
    }
    for (const [room, people] of rooms) {
      for (const id of people) assert(connected.has(id), `${id} is a ghost in ${room}`);
      const stored = await this.#keys("reverse_lookup", `room_${room}`);
      assertEquals(stored, [...people].sort(), `the members of ${room}`);
      const count = await this.kv.get<Deno.KvU64>(["room", room]);
      assertEquals(Number(count.value?.value ?? 0n), people.size, `the count of ${room}`);
    }
    assertEquals((await this.#keys("row")).filter((id) => !connected.has(id)), [], "ghosts");
    await this.#checkClaims();
  }

  /** Checks that each connection with a nickname has all its claims, and that there are no others. */
  async #checkClaims(): Promise<void> {
    const confusables = new Confusables();
    const wanted: Record<string, string> = {};
    for await (const { key: [, id, sort] } of this.kv.list({ prefix: ["row"] })) {
      const nick = /^username_(.+)$/.exec(String(sort))?.[1];
      if (nick === undefined) continue;
      for (const claim of confusables.claims(nick)!) {
        assert(wanted[claim] === undefined, `${claim} is claimed twice`);
        wanted[claim] = String(id);
      }
    }
    const claims: Record<string, unknown> = {};
    for await (const { key, value } of this.kv.list({ prefix: ["nick"] })) {
      claims[String(key[1])] = value;
    }
    assertEquals(claims, wanted, "claims");
  }

  async #keys(...prefix: string[]): Promise<string[]> {
    const keys = await Array.fromAsync(this.kv.list({ prefix }), ({ key }) => key[prefix.length]);
    return [...new Set(keys.map(String))];
  }

  /** Checks that a client received the log from its join on, and all of it if it is connected. */
  #checkClient(client: Client, log: readonly RoomEvent[]): void {
    const expected: string[] = [];
    let room: string | undefined;
    for (const event of log) {
      const own = event.id === client.id;
      if (own && event.kind === "join") room = event.room;
      if (event.room !== room || event.kind === "resume") continue;
      const personal = own && event.kind !== "message";
      expected.push(encodeText(event, personal));
      if (own && event.kind === "leave") room = undefined;
    }
    const wanted = expected.filter((frame) => !REPLY.test(frame));
    const seen = client.frames.filter((frame) => !REPLY.test(frame));
    assertEquals(seen, wanted.slice(0, seen.length), `${client.name} received other events`);
    if (client.isConnected) assertEquals(seen.length, wanted.length, `${client.name} missed some`);
    const stored = log.filter(({ kind, id }) => kind === "message" && id === client.id);
    const words = new Set(stored.map(({ text }) => text));
    assertEquals(words.size, stored.length, `a message of ${client.name} was stored twice`);
    if (!client.isConnected) return;
    const missing = client.said.filter((word) => !words.has(word)).length;
    const told = client.frames.filter((frame) =>
      /^(Not sent|Cannot send|Using|That did not work|"[^"]*" (is taken|is reg|looks))/.test(frame)
    );
    assert(missing <= told.length, `${client.name} was not told about an unsent message`);
  }

  /** Checks that history holds each message of the log once and in order. */
  async #checkHistory(log: readonly LoggedEvent[]): Promise<void> {
    for (const room of ROOMS) {
      const rows = await Array.fromAsync(this.kv.list<{ events: string[][] }>({
        prefix: ["log", room],
      }));
      const kept = rows.flatMap(({ value }) => value.events.map(([at]) => at!));
      const said = log.filter(({ event: { kind, room: where } }) =>
        kind === "message" && where === room
      ).map(({ eventId: at }) => at);
      assertEquals(kept, this.#keep.historySeconds === 0 ? [] : said, `the history of ${room}`);
    }
    // Every row is counted once.
    await keptHistory(this.kv);
  }

  async #leave(): Promise<void> {
    for (const { client } of this.#visitors) client.close();
    for (const client of this.#clients) client.close();
    await this.#world.pass(2_000);
    const survivors = this.#alive();
    // An empty room whose removal failed is removed by the next `/ls`.
    const last = new Client("last", survivors[0]!, this.#world);
    survivors[0]!.chat.accept(last);
    last.open();
    for (const line of ["last", "/ls"]) last.type(line);
    await this.#world.pass(1_000);
    assertEquals(last.frames.at(-1), "No rooms yet. Type /join {room} to start one.");
    last.close();
    await this.#world.pass(1_000);
    assertEquals(
      (await connectionKeys(this.kv)).filter(([first]) =>
        !/^(instance|beat|taken)$/.test(String(first))
      ),
      [],
    );
    await this.#world.until(Promise.all(survivors.map(({ chat }) => chat.close())));
    assertEquals(
      await connectionKeys(this.kv),
      [],
      "rows that are left after all instances have ended",
    );
  }
}

async function simulate(seed: number): Promise<void> {
  using kv = await Deno.openKv(":memory:");
  try {
    await new Simulation(seed, kv).run();
  } catch (error) {
    throw new Error(`SEED=${seed} fails: ${(error as Error).message}`, { cause: error });
  }
}

const only = Deno.env.get("SEED");
const seeds = Number(Deno.env.get("SEEDS") ?? 300);

Deno.test(`Cluster: ${seeds} random runs keep one order, deliver exactly once, and leave no ghosts`, async () => {
  if (only !== undefined) return await simulate(Number(only));
  for (let seed = 1; seed <= seeds; seed++) await simulate(seed);
});
