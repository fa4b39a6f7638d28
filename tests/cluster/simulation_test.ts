/**
 * Many instances on one KV in virtual time. Users with one or several sessions in both protocols talk,
 * join and leave rooms, sign in and out, and change what they said. Meanwhile KV fails, answers late or
 * never, watches lose notifications, clocks differ by minutes and jump by an hour, and instances die,
 * are suspended, or lose their lease. Afterwards everything that a client received, and everything
 * stored, is compared with the feed.
 *
 * `SEED=17 deno test -A tests/cluster/simulation_test.ts` replays one run; `SEEDS=5000` does more.
 */
import { assert, assertEquals } from "@std/assert";
import { conversationOf } from "../../chat/kv/keys.ts";
import { Random } from "../support/random.ts";
import { checkObeyed, checkRecord } from "./act_checks.ts";
import { Cluster } from "./cluster.ts";
import { type Device, membersFrom } from "./devices.ts";
import {
  checkHistory,
  checkMarkers,
  checkNothingLeft,
  checkPresence,
  conversations,
  lastStates,
  type State,
} from "./end_checks.ts";
import { FeedLog } from "./feed_log.ts";
import { People, ROOMS, saidBy } from "./people.ts";
import type { Line } from "./session_log.ts";
import { Hub, waitingForHashes, World } from "./sim_kv.ts";
import { Terminal } from "./terminals.ts";
import { checkSaid, Visitor } from "./visitors.ts";

const STEPS = 50;
const MAX_TERMINALS = 12;
const MAX_VISITORS = 3;

class Simulation {
  readonly #random: Random;
  readonly #world: World;
  readonly #hub: Hub;
  readonly #cluster: Cluster;
  readonly #people: People;
  readonly #terminals: Terminal[] = [];
  readonly #visitors: Visitor[] = [];
  readonly #keepsHistory: boolean;
  #nicks = 0;
  /** The acts against users that were compared with what the users did. */
  checkedActs = 0;

  constructor(seed: number, readonly kv: Deno.Kv, world: World) {
    const random = this.#random = new Random(seed);
    this.#world = world;
    this.#hub = new Hub(kv, world, random);
    this.#keepsHistory = !random.percent(10);
    const places = () => random.percent(5) ? this.#cluster.hosts : this.#cluster.alive;
    const freshNick = () => `u${++this.#nicks}`;
    this.#people = new People(
      { world, random, places, freshNick },
      (account) =>
        this.#terminals.filter((each) => each.account === account && each.isConnected).length,
      () => this.#terminals.filter((each) => each.isConnected).map(({ id }) => id),
    );
    this.#cluster = new Cluster({
      hub: this.#hub,
      world,
      random,
      graceSeconds: random.pick([10, 30]),
      historySeconds: this.#keepsHistory ? 7 * 86_400 : 0,
      onDeath: (host) => {
        for (const { connection } of [...this.#people.devices, ...this.#visitors]) {
          if (connection?.place === host) connection.cut();
        }
      },
      talk: () => this.#talk(),
    });
  }

  async run(): Promise<void> {
    const cluster = this.#cluster;
    // All three at the same instant.
    await this.#world.until(Promise.all([cluster.start(), cluster.start(), cluster.start()]));
    const sleepAt = this.#random.percent(15) ? this.#random.below(STEPS) : STEPS;
    for (let step = 0; step < STEPS; step++) {
      await this.#act();
      if (step === sleepAt) await cluster.sleep();
      await this.#world.pass(this.#random.below(300));
    }
    await this.#recover();
    const log = await this.#log();
    for (const terminal of this.#terminals) terminal.check(log);
    for (const visitor of this.#visitors) visitor.check(log);
    checkSaid(saidBy(this.#people), log);
    this.checkedActs = checkObeyed(log, this.#people.operators);
    await checkRecord(this.kv, log);
    for (const device of this.#people.devices) this.#checkDevice(device, log);
    await checkPresence(this.kv, log, await this.#connected());
    await checkHistory(this.kv, log, this.#keepsHistory);
    await checkMarkers(this.kv, log);
    for (const device of this.#people.devices) {
      if (device.isOnline) await this.#world.until(this.#ask(device, log));
    }
    await this.#leave();
  }

  async #act(): Promise<void> {
    const random = this.#random;
    for (let acts = 1 + random.below(3); acts > 0; acts--) this.#people.act();
    this.#visit();
    const chance = random.below(100);
    if (chance < 14 && this.#terminals.length < MAX_TERMINALS) this.#connect();
    else if (chance < 75) this.#useTerminal();
    else if (chance < 78) this.#talk();
    else await this.#cluster.act(random.below(100));
  }

  /** Connects a terminal: of a registered user or of a new one. */
  #connect(): void {
    const random = this.#random;
    const account = random.percent(35) ? this.#people.freeAccount() : undefined;
    const name = account?.nick ?? `p${this.#terminals.length}`;
    const terminal = new Terminal(name, random.pick(this.#cluster.alive), this.#world, account);
    this.#terminals.push(terminal);
    terminal.type(`/join ${random.pick(ROOMS)}`);
  }

  #useTerminal(): void {
    const random = this.#random;
    if (this.#terminals.length === 0) return this.#connect();
    const terminal = random.pick(this.#terminals);
    const chance = random.below(100);
    if (chance < 30) terminal.type(`/join ${random.pick(ROOMS)}`);
    else if (chance < 38) terminal.type("/quit");
    else if (chance < 48) terminal.type(`/nick ${this.#nickname()}`);
    else if (chance < 58) {
      const { nick } = random.pick([...this.#people.devices, { nick: terminal.name }]);
      terminal.type(`/msg ${nick} ${this.#people.directText()}`);
    } else if (chance < 65) terminal.close();
    else for (let i = random.below(4); i >= 0; i--) terminal.type(this.#people.text());
  }

  /** Returns the nickname of another client, or a lookalike with a letter of another script. */
  #nickname(): string {
    const name = `${this.#random.pick(this.#terminals).name}${this.#random.below(2)}`;
    return name.replace("p", this.#random.pick(["p", "p", "\u0440", "\u03c1"]));
  }

  #talk(): void {
    this.#people.act();
    this.#visit();
    if (this.#terminals.length > 0) {
      this.#random.pick(this.#terminals).type(this.#people.text());
    }
  }

  /** Lets the clients that use the client module talk, move, and lose their connections. */
  #visit(): void {
    const random = this.#random;
    const chance = random.below(100);
    const { length } = this.#visitors;
    if (length === 0 || (chance < 4 && length < MAX_VISITORS)) {
      const places = () => random.percent(5) ? this.#cluster.hosts : this.#cluster.alive;
      const rooms = [random.pick(ROOMS), random.pick(ROOMS)];
      const nick = `v${length}`;
      this.#visitors.push(new Visitor(nick, [...new Set(rooms)], this.#world, random, places));
      return;
    }
    const visitor = random.pick(this.#visitors);
    if (visitor.hasLeft) return;
    const room = random.pick([...visitor.client.rooms, "red"]);
    if (chance < 30) visitor.say(room, this.#people.text());
    else if (chance < 40) visitor.connection?.cut();
    else if (chance < 45) visitor.client.join(random.pick(ROOMS)).catch(() => {});
    else if (chance < 48) visitor.client.room(room).leave().catch(() => {});
    else if (chance < 49 && length > 1) visitor.vanish();
    else if (chance < 52) visitor.client.retryNow();
  }

  /** Ends all faults, until the live instances have cleaned up and caught up. */
  async #recover(): Promise<void> {
    await this.#cluster.heal();
    // Until the last earlier call has failed. After that, cleaning up may take half a minute.
    await this.#world.pass(15_000);
    this.#reconnect();
    await this.#world.pass(40_000);
    // A nickname may have been taken by the client's own lost connection, which is cleaned up by now,
    // and another try may reach an instance that has ended.
    for (let tries = 0; tries < 3; tries++) {
      this.#reconnect();
      await this.#world.pass(20_000);
    }
    await this.#cluster.settle();
  }

  #reconnect(): void {
    for (const { client } of this.#visitors) if (client.state === "offline") client.retryNow();
    for (const device of this.#people.devices) device.connect();
  }

  /** Returns all events in the order of the feed. */
  async #log(): Promise<FeedLog> {
    const kept = await Array.fromAsync(this.kv.list({ prefix: ["feed"] }));
    return new FeedLog([...this.#hub.removedRows, ...kept]);
  }

  #checkDevice({ name, state, isOnline, session, sessions }: Device, log: FeedLog): void {
    if (state !== "closed") assert(isOnline, `${name} did not come back: ${state}`);
    const sentAtMs = (text: string) => this.#people.directSentMs.get(text)!;
    for (const each of sessions) each.check(log, isOnline && each === session, sentAtMs);
  }

  /** Returns the sessions of the clients that are connected. */
  async #connected(): Promise<{ online: Set<string>; undecided: Set<string> }> {
    const terminals = this.#terminals.filter((each) => each.isConnected);
    const idsOf = (some: readonly Terminal[]) => new Set(some.map(({ id }) => id));
    const online = idsOf(terminals.filter((each) => each.hasLoggedIn));
    const undecided = idsOf(terminals.filter((each) => !each.hasLoggedIn));
    for (const { isOnline, session } of this.#people.devices) {
      if (isOnline) online.add(session!.id);
    }
    for (const { client, hasLeft, nick } of this.#visitors) {
      if (hasLeft) continue;
      assertEquals(client.state, "online", `${nick} did not come back`);
      const rows = this.kv.list({ prefix: ["reverse_lookup", `username_${nick}`] });
      const ids = await Array.fromAsync(rows, ({ key }) => String(key[2]));
      assertEquals(ids.length, 1, `the sessions of ${nick}`);
      online.add(ids[0]!);
    }
    return { online, undecided };
  }

  /** Compares what the server tells a client that asks with the feed. */
  async #ask(device: Device, log: FeedLog): Promise<void> {
    const session = device.session!;
    await device.askForMembers();
    for (const room of session.joined) {
      if (session.view(room).mayBeOut) continue;
      const { members } = await device.ask({ type: "members", room });
      const asked = membersFrom(members);
      const what = `${device.name}: the members of ${room}`;
      assertEquals(asked, log.told.get(room), what);
      assertEquals(session.view(room).members, asked, `${what}, from events`);
      if (!this.#keepsHistory) continue;
      const events = await history(device, { room });
      assertEquals(events.map(stateOf), lastStates(log.saidIn(room)), `${device.name}: ${room}`);
    }
    if (session.user === session.id || !session.knowsUser) return;
    const { sessions } = await device.ask({ type: "sessions" });
    const own = this.#people.devices.filter(({ session: other }) =>
      other?.knowsUser && other.user === session.user
    );
    for (const { session } of own) {
      assert(
        sessions.some((each: Line) => each.session === session!.id),
        `${device.name}: sessions`,
      );
    }
    if (this.#keepsHistory) await this.#askForConversations(device, log);
  }

  async #askForConversations(device: Device, log: FeedLog): Promise<void> {
    const { user } = device.session!;
    for (const [name, messages] of conversations(log)) {
      const { event: { account, to } } = messages[0]!;
      const other = account === user ? to!.user : account;
      if (name !== conversationOf(user, other)) continue;
      const events = await history(device, { with: other });
      assertEquals(events.map(stateOf), lastStates(messages), `${device.name} with ${other}`);
    }
  }

  async #leave(): Promise<void> {
    for (const { client } of this.#visitors) client.close();
    for (const device of this.#people.devices) device.close();
    for (const terminal of this.#terminals) terminal.close();
    await this.#world.pass(2_000);
    const survivors = this.#cluster.alive;
    // An empty room whose removal failed is removed by the next `/ls`.
    const last = new Terminal("last", survivors[0]!, this.#world);
    last.type("/ls");
    await this.#world.pass(1_000);
    assertEquals(last.sent.at(-1), "No rooms yet. Type /join {room} to start one.");
    last.close();
    await this.#world.pass(1_000);
    await checkNothingLeft(this.kv, true);
    await this.#world.until(Promise.all(survivors.map(({ chat }) => chat.close())));
    await checkNothingLeft(this.kv, false);
  }
}

/** Returns all messages of a place, by one request after the other. */
async function history(device: Device, place: Line): Promise<Line[]> {
  const events: Line[] = [];
  for (let more = true; more;) {
    const before = events[0] && { before: events[0].id };
    const page = await device.ask({ type: "history", ...place, ...before, limit: 20 });
    assertEquals(page.type, "history", JSON.stringify(page));
    events.unshift(...page.events);
    more = page.more;
  }
  return events;
}

function stateOf({ id, text, deleted, reactions = [] }: Line): State {
  const many = reactions.reduce((sum: number, { count }: Line) => sum + count, 0);
  return [id, text, deleted !== undefined, many];
}

/** Returns how many acts against users there were. */
async function simulate(seed: number): Promise<number> {
  using kv = await Deno.openKv(":memory:");
  const world = new World();
  using _hashes = waitingForHashes(world);
  try {
    const simulation = new Simulation(seed, kv, world);
    await simulation.run();
    return simulation.checkedActs;
  } catch (error) {
    throw new Error(`SEED=${seed} fails: ${(error as Error).message}`, { cause: error });
  }
}

const only = Deno.env.get("SEED");
const seeds = Number(Deno.env.get("SEEDS") ?? 300);

Deno.test(`Cluster: ${seeds} random runs keep one order, deliver exactly once, and leave no ghosts`, async () => {
  if (only !== undefined) return void await simulate(Number(only));
  let acts = 0;
  for (let seed = 1; seed <= seeds; seed++) acts += await simulate(seed);
  assert(acts >= seeds, `only ${acts} acts in ${seeds} runs`);
});
