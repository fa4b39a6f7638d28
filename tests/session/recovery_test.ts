/** Missed events that a client is told when it resumes, and the cids that the server remembers. */
import { assert, assertEquals } from "@std/assert";
import { AdjustedClock, compactingAfter } from "../support/fake_clock.ts";
import { countingKv, kvWith } from "../support/faulty_kv.ts";
import { TestServer } from "../support/test_server.ts";
import { eventually, withDeadline } from "../support/wait.ts";
import { JsonClient, type JsonObject } from "../support/json_client.ts";

/** Where a client resumes: on the same server, or on a second one with these options. */
const WAYS = [
  "on the same instance",
  "on another instance",
  "on another instance before anything was compacted",
  "after a restart",
] as const;

/** Two servers on one KV: the one where a client was, and the one where it resumes. */
class Houses implements AsyncDisposable {
  readonly #way: typeof WAYS[number];
  readonly #kv: Deno.Kv;
  readonly first: TestServer;
  #second: TestServer | undefined;

  private constructor(way: typeof WAYS[number], kv: Deno.Kv, first: TestServer) {
    this.#way = way;
    this.#kv = kv;
    this.first = first;
  }

  static async open(way: typeof WAYS[number], history?: number): Promise<Houses> {
    const kv = await Deno.openKv(":memory:");
    const clock = compactingAfter(way === WAYS[2] ? Infinity : 20);
    const options = { kv, local: false, clock, ...history === undefined ? {} : { history } };
    return new Houses(way, kv, await TestServer.open(options));
  }

  /** Returns the server where the client resumes, after compaction if the way asks for it. */
  async second(history?: number): Promise<TestServer> {
    if (this.#way === WAYS[0]) return this.first;
    if (this.#way === WAYS[1]) {
      const isCompacted = async () =>
        (await Promise.all(["own", "sent"].map((kind) => rowsOf(this.#kv, kind)))).flat().length >
          0;
      await eventually(isCompacted, "what happened is compacted");
    }
    if (this.#way === WAYS[3]) await this.first.chat.close();
    const options = history === undefined ? {} : { history };
    return this.#second ??= await TestServer.open({ kv: this.#kv, local: false, ...options });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#second?.[Symbol.asyncDispose]();
    await this.first[Symbol.asyncDispose]();
    this.#kv.close();
  }
}

async function rowsOf(kv: Deno.Kv, first: string): Promise<Deno.KvEntry<unknown>[]> {
  return await Array.fromAsync(kv.list({ prefix: [first] }));
}

/** Returns a client that has logged in, and its token. */
async function login(
  server: TestServer,
  nick: string,
): Promise<{ speaker: JsonClient; token: string }> {
  const client = await JsonClient.connect(server);
  const { token } = await client.request({ type: "login", nick });
  return { speaker: client, token };
}

async function join(client: JsonClient, room: string): Promise<string> {
  const heard = await client.requestAll({ type: "join", room });
  return heard.at(-1)!.id;
}

/** Drops a connection without a departure. */
async function drop({ connection: client }: JsonClient): Promise<void> {
  client.socket.close(4000);
  await client.closed;
}

/** Resumes. Returns the client and the lines up to and including `resumed`. */
async function resume(
  server: TestServer,
  token: string,
  seen: object,
): Promise<{ speaker: JsonClient; missed: JsonObject[]; end: JsonObject; welcome: JsonObject }> {
  const client = await JsonClient.connect(server);
  const welcome = await client.request({ type: "resume", token, ...seen });
  assertEquals(welcome.type, "welcome", JSON.stringify(welcome));
  const missed: JsonObject[] = [];
  while (missed.at(-1)?.type !== "resumed") missed.push(await client.next());
  return { speaker: client, missed: missed.slice(0, -1), end: missed.at(-1)!, welcome };
}

function briefly(lines: JsonObject[]): string[] {
  return lines.map(({ type, room, nick, text, to }) =>
    [type, room, nick, to && `to ${to}`, text].filter((each) => each !== undefined).join(" ")
  );
}

for (const way of WAYS) {
  for (const history of [undefined, 0]) {
    const name = `${way}${history === 0 ? ", without history" : ""}`;
    Deno.test(`a message is not delivered again for the same cid: ${name}`, async () => {
      await using houses = await Houses.open(way, history);
      const bob = await JsonClient.login(houses.first, "Bob", "red");
      const { speaker: ann, token } = await login(houses.first, "Ann");
      await join(ann, "red");
      await bob.expect({ type: "joined", nick: "Ann" });
      const message = { type: "message", text: "once", cid: "a" };
      const action = { type: "action", text: "waves", cid: "b" };
      const direct = { type: "direct", to: "Bob", text: "psst", cid: "a" };
      const ids: string[] = [];
      for (const words of [message, action, direct]) {
        ids.push((await ann.requestAll(words)).at(-1)!.id);
      }
      await bob.expect({ text: "once" }, { text: "waves" }, { text: "psst" });
      // The client saw the events, but not the replies.
      await drop(ann);
      const server = await houses.second(history);
      const seen = { last: ids[1], direct: "", sent: ids[2] };
      const { speaker: again, missed } = await resume(server, token, seen);
      assertEquals(missed, []);
      for (const [i, words] of [message, action, direct].entries()) {
        assertEquals(await again.request(words), { type: "ok", ref: `ref ${2 + i}`, id: ids[i] });
      }
      // A new message is delivered next to the other clients.
      await again.sendMessage("new", { cid: "c" });
      if (way !== "after a restart") {
        await bob.expect({ text: "new" });
        await bob.expectNothingElse();
      }
      if (history !== 0) {
        const { events } = await again.request({ type: "history" });
        assertEquals(briefly(events), [
          "message red Ann once",
          "action red Ann waves",
          "message red Ann new",
        ]);
      }
    });
  }

  Deno.test(`missed events of a room end with the client's own leave, and those of the next room follow: ${way}`, async () => {
    await using houses = await Houses.open(way);
    const bob = await JsonClient.login(houses.first, "Bob", "red");
    const cy = await JsonClient.login(houses.first, "Cy", "blue");
    await cy.sendMessage("before Ann came");
    const { speaker: ann, token } = await login(houses.first, "Ann");
    const last = await join(ann, "red");
    await bob.sendMessage("one").catch(() => {});
    await ann.expect({ text: "one" });
    await join(ann, "blue");
    await bob.expect({ type: "left", nick: "Ann" });
    await bob.sendMessage("not for Ann");
    await cy.expect({ type: "joined", nick: "Ann" });
    await cy.sendMessage("two");
    await ann.expect({ text: "two" });
    await drop(ann);
    const server = await houses.second();
    const { speaker: again, missed, end, welcome } = await resume(server, token, { last });
    assertEquals(welcome.room, "blue");
    assertEquals(briefly(missed), [
      "message red Bob one",
      "left red Ann",
      "joined blue Ann",
      "message blue Cy two",
    ]);
    assertEquals(end, { type: "resumed", recovered: true, missed: 4 });
    // After the new room's last event, no event is told again.
    await drop(again);
    const third = await resume(server, welcome.token, { last: missed.at(-1)!.id });
    assertEquals([third.missed, third.end.recovered], [[], true]);
  });

  Deno.test(`a missed own leave is told, and no later event of that room: ${way}`, async () => {
    await using houses = await Houses.open(way);
    const bob = await JsonClient.login(houses.first, "Bob", "red");
    const { speaker: ann, token } = await login(houses.first, "Ann");
    const last = await join(ann, "red");
    await bob.expect({ type: "joined", nick: "Ann" });
    await bob.sendMessage("one");
    await ann.expect({ text: "one" });
    await ann.requestAll({ type: "leave" });
    await bob.expect({ type: "left", nick: "Ann" });
    await bob.sendMessage("not for Ann");
    await drop(ann);
    const server = await houses.second();
    const { speaker: again, missed, end, welcome } = await resume(server, token, { last });
    assertEquals(welcome.room, undefined);
    assertEquals(briefly(missed), ["message red Bob one", "left red Ann"]);
    assertEquals(end, { type: "resumed", recovered: true, missed: 2 });
    // A client that saw its own leave missed nothing.
    await drop(again);
    const third = await resume(server, welcome.token, { last: missed[1]!.id });
    assertEquals([third.missed, third.end.recovered], [[], true]);
  });

  Deno.test(`missed direct messages that the client sent are told once each: ${way}`, async () => {
    await using houses = await Houses.open(way);
    const bob = await JsonClient.login(houses.first, "Bob");
    const { speaker: ann, token } = await login(houses.first, "Ann");
    const sent: string[] = [];
    for (const text of ["one", "two"]) {
      sent.push((await ann.requestAll({ type: "direct", to: "bob", text })).at(-1)!.id);
      await bob.expect({ type: "direct", text });
    }
    await bob.requestAll({ type: "direct", to: "Ann", text: "three" });
    const { id } = await ann.next();
    await ann.requestAll({ type: "direct", to: "Ann", text: "to herself" });
    await bob.expectNothingElse();
    await drop(ann);
    const server = await houses.second();
    const all = [
      "direct Ann to Bob one",
      "direct Ann to Bob two",
      "direct Bob three",
      "direct Ann to herself",
      "direct Ann to Ann to herself",
    ];
    let now = token;
    for (
      const [seen, told] of [
        [{}, all],
        [{ direct: "", sent: "" }, all],
        [{ direct: "", sent: sent[0] }, all.slice(1)],
        [{ direct: "", sent: sent[1] }, all.slice(2)],
        [{ direct: id, sent: sent[1] }, all.slice(3)],
        [{ direct: id, sent: sent[0] }, [all[1], ...all.slice(3)]],
        // One ID for both, as older clients send it.
        [{ direct: sent[1] }, all.slice(2)],
        [{ direct: id }, all.slice(3)],
      ] as const
    ) {
      const { speaker: client, missed, end, welcome } = await resume(server, now, seen);
      assertEquals(briefly(missed), told, JSON.stringify(seen));
      assertEquals(end, { type: "resumed", recovered: true, missed: told.length });
      now = welcome.token;
      await drop(client);
    }
  });
}

Deno.test("IDs of no event, or of another client's, do not count as seen", async () => {
  await using server = await TestServer.open();
  const bob = await JsonClient.login(server, "Bob", "blue");
  const foreign = await bob.sendMessage("elsewhere");
  const { speaker: ann, token } = await login(server, "Ann");
  await join(ann, "red");
  await ann.sendMessage("one");
  await bob.requestAll({ type: "direct", to: "Ann", text: "psst" });
  const received = (await ann.next()).id;
  const sent = (await ann.requestAll({ type: "direct", to: "Bob", text: "hm" })).at(-1)!.id;
  const last = await ann.sendMessage("two");
  await bob.expect({ type: "direct" });
  const strange = await bob.sendMessage("elsewhere, later");
  await drop(ann);
  const good = { last, direct: received, sent };
  let now = token;
  const isRecovered = async (seen: object) => {
    const { speaker: client, end, welcome } = await resume(server, now, seen);
    now = welcome.token;
    await drop(client);
    return [end.recovered, end.reason];
  };
  assertEquals(await isRecovered(good), [true, undefined]);
  for (
    const wrong of [
      { last: strange },
      { last: "zzzz" },
      { last: `${last}0` },
      { last: received },
      { direct: strange },
      { direct: "zzzz" },
      { direct: last },
      { sent: strange },
      { sent: "zzzz" },
    ]
  ) {
    assertEquals(
      await isRecovered({ ...good, ...wrong }),
      [false, "expired"],
      JSON.stringify(wrong),
    );
  }
  // An ID from before all missed events: all of them are told.
  for (const early of [{ last: foreign }, { last: "a" }, { direct: foreign }, { sent: "a" }]) {
    assertEquals(
      await isRecovered({ ...good, ...early }),
      [true, undefined],
      JSON.stringify(early),
    );
  }
});

Deno.test("a client that names no last event is told the events of its present room, and that others may be missing", async () => {
  await using server = await TestServer.open();
  const { speaker: ann, token } = await login(server, "Ann");
  await join(ann, "red");
  await join(ann, "blue");
  await ann.sendMessage("hello");
  await drop(ann);
  const { missed, end, welcome, speaker: client } = await resume(server, token, {});
  assertEquals(briefly(missed), ["joined blue Ann", "message blue Ann hello"]);
  const from = missed[0]!.id;
  assertEquals(end, { type: "resumed", recovered: false, missed: 2, reason: "expired", from });
  await client.requestAll({ type: "leave" });
  await drop(client);
  const out = await resume(server, welcome.token, {});
  assertEquals([out.missed, out.end.recovered], [[], false]);
});

Deno.test("without history, only missed direct messages are told", async () => {
  await using server = await TestServer.open({ historySeconds: 0 });
  const bob = await JsonClient.login(server, "Bob");
  const { speaker: ann, token } = await login(server, "Ann");
  await bob.requestAll({ type: "direct", to: "Ann", text: "psst" });
  await ann.expect({ type: "direct" });
  const out = await resume(server, token, {});
  assertEquals(briefly(out.missed), ["direct Bob psst"]);
  assertEquals(out.end, { type: "resumed", recovered: true, missed: 1 });
  const last = await join(out.speaker, "red");
  const back = await resume(server, out.welcome.token, { last });
  assertEquals(briefly(back.missed), ["direct Bob psst"]);
  assertEquals(back.end, { type: "resumed", recovered: false, missed: 1, reason: "history-off" });
});

Deno.test("only a close with 1000 or without a code is a departure", async () => {
  await using server = await TestServer.open();
  const bob = await server.login("Bob", "red");
  const closings: [name: string, close: (client: JsonClient) => void, codes: number[]][] = [
    ["3000", ({ connection: client }) => client.socket.close(3000), [3000]],
    ["4999", ({ connection: client }) => client.socket.close(4999), [4999]],
    ["1003", ({ connection: client }) => client.send(new Uint8Array([1])), [1003]],
    ["1009", ({ connection: client }) => client.send("x".repeat(4 * 1024 * 1024 + 1)), [
      1009,
      1006,
    ]],
    [
      "1008",
      // More requests than may be pending.
      ({ connection: client }) => client.send('{"type":"rooms"}\n'.repeat(3_000)),
      [1008, 1006, 0],
    ],
  ];
  for (const [name, close, codes] of closings) {
    const { speaker: client, token } = await login(server, "Ann");
    const last = await join(client, "red");
    await bob.expect("Ann joined room.");
    close(client);
    const { code } = await withDeadline(client.connection.closed, "the close");
    assert(codes.includes(code), `${name}: closed with ${code}`);
    const { speaker: again, end, welcome } = await resume(server, token, { last });
    assertEquals([welcome.room, end.recovered], ["red", true], name);
    await bob.expectNothingElse();
    again.connection.socket.close(1000);
    await bob.expect("Ann left room.");
    const late = await JsonClient.connect(server);
    await late.expectError({ type: "resume", token: welcome.token }, "bad-token");
  }
  const { speaker: client } = await login(server, "Ann");
  await join(client, "red");
  await bob.expect("Ann joined room.");
  client.connection.socket.close();
  await bob.expect("Ann left room.");
});

Deno.test("a message that is being stored while its session is taken over is delivered once", async () => {
  using kv = await Deno.openKv(":memory:");
  let gate: Promise<void> | undefined, held = 0;
  const slow = countingKv(kv, async (what) => {
    if (what !== "commit" || gate === undefined) return;
    held++;
    await gate;
  });
  await using one = await TestServer.open({ kv: slow.kv, local: false });
  await using other = await TestServer.open({ kv, local: false });
  const bob = await JsonClient.login(other, "Bob", "red");
  for (
    const words of [
      { type: "message", text: "once", cid: "a" },
      { type: "direct", to: "Bob", text: "psst", cid: "a" },
      { type: "direct", to: "Bob", text: "without a cid" },
    ]
  ) {
    const { speaker: ann, token } = await login(one, "Ann");
    const last = await join(ann, "red");
    await bob.expect({ type: "joined", nick: "Ann" });
    const { promise, resolve } = Promise.withResolvers<void>();
    [gate, held] = [promise, 0];
    ann.send(words);
    await eventually(() => held > 0, "a commit is held");
    const { speaker: again } = await resume(other, token, { last });
    const { type, id } = (await again.requestAll(words)).at(-1)!;
    assertEquals([type, typeof id], ["ok", "string"]);
    gate = undefined;
    resolve();
    await withDeadline(ann.connection.closed, "the end of the old connection");
    await bob.expect({ type: words.type, text: words.text, id });
    again.connection.socket.close(1000);
    await bob.expect({ type: "left", nick: "Ann" });
  }
  await bob.expectNothingElse();
});

/** Returns a KV that records the `expireIn` of its rows. */
function notingKv(kv: Deno.Kv): { kv: Deno.Kv; lives: Map<string, number | undefined> } {
  const lives = new Map<string, number | undefined>();
  const noting = kvWith(kv, {
    atomic() {
      const atomic = kv.atomic();
      const { set } = atomic;
      atomic.set = (key, value, options) => {
        lives.set(String(key[0]), options?.expireIn);
        return set.call(atomic, key, value, options);
      };
      return atomic;
    },
  });
  return { kv: noting, lives };
}

Deno.test("direct messages, and rows that only resuming needs, are kept for the grace and three hours", async () => {
  for (const history of [undefined, 0]) {
    using kv = await Deno.openKv(":memory:");
    const noting = notingKv(kv);
    const clock = compactingAfter(20);
    await using server = await TestServer.open({
      ...{ kv: noting.kv, clock },
      ...history === undefined ? {} : { historySeconds: history },
    });
    const bob = await JsonClient.login(server, "Bob", "red");
    const ann = await JsonClient.login(server, "Ann", "red");
    await bob.expect({ type: "joined", nick: "Ann" });
    await ann.requestAll({ type: "direct", to: "Bob", text: "psst", cid: "a" });
    await ann.sendMessage("hello", { cid: "a" });
    // The shards compact at different times, the direct message and the room message in either order.
    const kinds = ["direct", "sent", ...history === 0 ? [] : ["log"]];
    const isWritten = async () =>
      kinds.every((kind) => noting.lives.has(kind)) &&
      JSON.stringify(await rowsOf(kv, "own")).includes("message");
    await eventually(isWritten, "both messages are compacted");
    const hour = 3_600_000;
    for (const kind of ["direct", "sent", "own"]) {
      const life = noting.lives.get(kind)!;
      assert(life > 3 * hour && life <= 3 * hour + 30_000, `${kind}: ${life}`);
    }
    const week = 7 * 24 * hour;
    const log = noting.lives.get("log");
    if (history === 0) assertEquals([log, await rowsOf(kv, "log")], [undefined, []]);
    else assert(log! > week - hour && log! <= week, `log: ${log}`);
    // Room messages are not among the rows that only resuming needs.
    assert(!JSON.stringify(await rowsOf(kv, "own")).includes("hello"));
    assertEquals(server.warnings, []);
  }
});

Deno.test("without grace and history, only the feed row of a direct message is kept", async () => {
  await using server = await TestServer.open({
    historySeconds: 0,
    graceSeconds: 0,
    clock: compactingAfter(20),
  });
  const bob = await JsonClient.login(server, "Bob");
  const ann = await JsonClient.login(server, "Ann");
  await ann.requestAll({ type: "direct", to: "Bob", text: "psst", cid: "a" });
  await bob.expect({ type: "direct" });
  await server.chat.close();
  for (const kind of ["direct", "sent", "own", "said", "fold"]) {
    assertEquals(await rowsOf(server.kv, kind), [], kind);
  }
});

Deno.test("old feed rows that an earlier instance compacted are removed by the next one", async () => {
  using kv = await Deno.openKv(":memory:");
  {
    await using server = await TestServer.open({
      kv,
      clock: compactingAfter(20),
      rateLimits: "off",
    });
    const bob = await JsonClient.login(server, "Bob");
    const ann = await JsonClient.login(server, "Ann");
    for (let i = 0; i < 100; i++) {
      await ann.requestAll({ type: "direct", to: "Bob", text: `psst ${i}` });
      await bob.expect({ type: "direct" });
    }
    const last = async () => JSON.stringify(await rowsOf(kv, "direct")).includes("psst 99");
    await eventually(last, "all is compacted");
  }
  const before = (await rowsOf(kv, "feed")).length;
  assert(before > 32, `${before} rows`);
  const later = (minutes: number) => {
    const clock = new AdjustedClock();
    clock.wallAheadMs = minutes * 60_000;
    return clock;
  };
  {
    // Other instances may be ten minutes behind, and clocks may be wrong by two hours.
    await using _house = await TestServer.open({ kv, clock: later(129) });
    await using _other = await TestServer.open({ kv, clock: later(129) });
  }
  assertEquals((await rowsOf(kv, "feed")).length, before);
  await using server = await TestServer.open({ kv, clock: later(131) });
  await eventually(async () => (await rowsOf(kv, "feed")).length === 0, "they are removed");
  assertEquals(server.warnings, []);
});

Deno.test("direct messages that an earlier version kept for longer are removed, and others are not", async () => {
  using kv = await Deno.openKv(":memory:");
  const row = (minutes: number) => ({
    v: 1,
    events: [["a1", "direct", "01A", "Bob", "psst", Date.now() - minutes * 60_000, ""]],
  });
  await kv.set(["direct", "01A", "a1"], row(302));
  await kv.set(["direct", "01A", "a2"], row(299));
  await kv.set(["direct", "01B", "a1"], { v: 2 });
  await kv.set(["log", "01A", "a1"], row(302));
  await using _house = await TestServer.open({ kv });
  const keys = async () => (await rowsOf(kv, "direct")).map(({ key }) => key.slice(1).join(" "));
  await eventually(async () => (await keys()).length < 3, "it is removed");
  assertEquals(await keys(), ["01A a2", "01B a1"]);
  assertEquals((await rowsOf(kv, "log")).length, 1);
});

Deno.test("after a long outage, expired events count as missing", async () => {
  using kv = await Deno.openKv(":memory:");
  let token: string, last: string;
  {
    await using server = await TestServer.open({ kv, clock: compactingAfter(20) });
    const bob = await JsonClient.login(server, "Bob");
    const ann = await login(server, "Ann");
    token = ann.token;
    last = await join(ann.speaker, "red");
    await bob.requestAll({ type: "direct", to: "Ann", text: "psst" });
    await server.chat.close();
  }
  const clock = new AdjustedClock();
  clock.wallAheadMs = 5 * 3_600_000;
  await using server = await TestServer.open({ kv, clock });
  const { missed, end } = await resume(server, token, { last });
  assertEquals([missed, end.recovered, end.reason], [[], false, "expired"]);
});

Deno.test("while earlier cids cannot be read, a message with a cid is rejected and not delivered twice", async () => {
  using kv = await Deno.openKv(":memory:");
  await using one = await TestServer.open({ kv, local: false });
  let isAway = false;
  const list: Deno.Kv["list"] = (selector, options) => {
    if (isAway && "prefix" in selector && selector.prefix[0] === "own") throw new Error("away");
    return kv.list(selector, options);
  };
  const faulty = kvWith(kv, { list });
  // The clock runs twenty times as fast: retries last eight seconds.
  const clock = new AdjustedClock({ speed: 20 });
  await using other = await TestServer.open({ kv: faulty, local: false, clock });
  const { speaker: ann, token } = await login(one, "Ann");
  await join(ann, "red");
  const bob = await JsonClient.login(other, "Bob", "red");
  const message = { type: "message", text: "once", cid: "a" };
  const direct = { type: "direct", to: "Bob", text: "psst", cid: "b" };
  const id = (await ann.requestAll(message)).at(-1)!.id;
  const sent = (await ann.requestAll(direct)).at(-1)!.id;
  await bob.expect({ text: "once" }, { text: "psst" });
  await drop(ann);
  isAway = true;
  const { speaker: again, end } = await resume(other, token, { last: id, direct: "", sent });
  assertEquals([end.recovered, end.reason], [false, "unavailable"]);
  await again.expectError(message, "unavailable");
  await again.expectError(direct, "unavailable");
  isAway = false;
  assertEquals((await again.request(message)).id, id);
  assertEquals((await again.request(direct)).id, sent);
  await bob.expectNothingElse();
});

Deno.test("the newest missed direct messages are told, up to 512 KiB on the wire", async () => {
  await using server = await TestServer.open({ rateLimits: "off" });
  const { speaker: ann, token: annToken } = await login(server, "Ann");
  const { speaker: bob, token: bobToken } = await login(server, "Bob");
  // Each takes 30,000 bytes in JSON: 17 fit.
  const text = '"'.repeat(15_000);
  for (let i = 10; i < 30; i++) {
    await ann.requestAll({ type: "direct", to: "Bob", text: `${i}${text}` });
    await bob.expect({ type: "direct", nick: "Ann" });
  }
  await drop(ann);
  await drop(bob);
  for (const token of [annToken, bobToken]) {
    const { missed, end } = await resume(server, token, { direct: "" });
    assertEquals([end.recovered, end.reason, end.from], [false, "too-many", missed[0]!.id]);
    const numbers = missed.map((line) => Number(line.text.slice(0, 2)));
    assertEquals(numbers, Array.from({ length: 17 }, (_, i) => 13 + i));
  }
});
