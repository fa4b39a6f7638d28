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
        (await Promise.all(["own", "direct"].map((kind) => rowsOf(this.#kv, kind)))).flat().length >
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
  const speaker = await JsonClient.login(server, nick);
  return { speaker, token: speaker.welcome.token };
}

/** Drops a connection without a departure. */
async function drop({ connection: client }: JsonClient): Promise<void> {
  client.socket.close(4000);
  await client.closed;
}

/** A client that has resumed, and what it was told. */
interface Resumed {
  readonly speaker: JsonClient;
  readonly welcome: JsonObject;
  /** The missed events of all rooms, then the direct messages. */
  readonly missed: JsonObject[];
  /** The `resumed` of each room, without its type and room; that of the direct messages as "". */
  readonly ends: Record<string, JsonObject>;
}

/** Resumes. Reads the lines up to and including the `resumed` of the direct messages. */
async function resume(server: TestServer, token: string, seen: object): Promise<Resumed> {
  const client = await JsonClient.connect(server);
  const welcome = await client.request({ type: "resume", token, ...seen });
  assertEquals(welcome.type, "welcome", JSON.stringify(welcome));
  const missed: JsonObject[] = [];
  const ends: Record<string, JsonObject> = {};
  while (!("" in ends)) {
    const { type, room = "", ...rest } = await client.next();
    if (type === "resumed") ends[room] = rest;
    else missed.push({ type, ...room === "" ? {} : { room }, ...rest });
  }
  client.room = welcome.rooms[0]?.room ?? "";
  return { speaker: client, missed, ends, welcome };
}

/** Returns the names of the rooms in a `welcome` that the session is in. */
function roomsIn({ rooms }: JsonObject): string[] {
  return rooms.filter(({ joined }: JsonObject) => joined).map(({ room }: JsonObject) => room);
}

function briefly(lines: JsonObject[]): string[] {
  return lines.map(({ type, room, nick, text, to }) =>
    [type, room, nick, to && `to ${to.nick}`, text].filter((each) => each !== undefined).join(" ")
  );
}

const ALL = (missed: number) => ({ recovered: true, missed });

for (const way of WAYS) {
  for (const history of [undefined, 0]) {
    const name = `${way}${history === 0 ? ", without history" : ""}`;
    Deno.test(`a message is not delivered again for the same cid: ${name}`, async () => {
      await using houses = await Houses.open(way, history);
      const bob = await JsonClient.login(houses.first, "Bob", "red");
      const { speaker: ann, token } = await login(houses.first, "Ann");
      await ann.join("red");
      await bob.expect({ type: "joined", nick: "Ann" });
      const message = { type: "message", room: "red", text: "once", cid: "a" };
      const action = { type: "action", room: "red", text: "waves", cid: "b" };
      const direct = { type: "direct", to: "Bob", text: "psst", cid: "a" };
      const ids: string[] = [];
      for (const words of [message, action, direct]) {
        ids.push((await ann.requestAll(words)).at(-1)!.id);
      }
      await bob.expect({ text: "once" }, { text: "waves" }, { text: "psst" });
      // The client saw the events, but not the replies.
      await drop(ann);
      const server = await houses.second(history);
      const seen = { last: { red: ids[1] }, direct: ids[2] };
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
        const { events } = await again.request({ type: "history", room: "red" });
        assertEquals(briefly(events), [
          "message red Ann once",
          "action red Ann waves",
          "message red Ann new",
        ]);
      }
    });
  }

  Deno.test(`missed events of several rooms are told, and their direct messages: ${way}`, async () => {
    await using houses = await Houses.open(way);
    const bob = await JsonClient.login(houses.first, "Bob", "red");
    const cy = await JsonClient.login(houses.first, "Cy", "blue");
    await cy.sendMessage("before Ann came");
    const { speaker: ann, token } = await login(houses.first, "Ann");
    const red = await ann.join("red");
    const blue = await ann.join("blue");
    const green = await ann.join("green");
    await bob.expect({ type: "joined", nick: "Ann" });
    await cy.expect({ type: "joined", nick: "Ann" });
    await drop(ann);
    await bob.sendMessage("one");
    await cy.sendMessage("two");
    await bob.requestAll({ type: "direct", to: "Ann", text: "psst" });
    await bob.sendMessage("three");
    await cy.requestAll({ type: "nick", nick: "Cyd" });
    const server = await houses.second();
    const seen = { last: { red, blue, green } };
    const { speaker: again, missed, ends, welcome } = await resume(server, token, seen);
    assertEquals(roomsIn(welcome), ["blue", "green", "red"]);
    assertEquals(briefly(missed), [
      "message blue Cy two",
      "nick blue Cy to Cyd",
      "message red Bob one",
      "message red Bob three",
      "direct Bob to Ann psst",
    ]);
    assertEquals(ends, { blue: ALL(2), green: ALL(0), red: ALL(2), "": ALL(1) });
    await again.sendMessage("in red", { room: "red" });
    await again.sendMessage("in green", { room: "green" });
    // After the last events of the rooms, no event is told again.
    await drop(again);
    const last = { blue: missed[1]!.id, green, red: missed[3]!.id };
    const direct = missed[4]!.id;
    const third = await resume(server, welcome.token, { last, direct });
    assertEquals(briefly(third.missed), ["message green Ann in green", "message red Ann in red"]);
    assertEquals(third.ends, { blue: ALL(0), green: ALL(1), red: ALL(1), "": ALL(0) });
  });

  Deno.test(`a missed own leave is told, and no later event of that room: ${way}`, async () => {
    await using houses = await Houses.open(way);
    const bob = await JsonClient.login(houses.first, "Bob", "red");
    const { speaker: ann, token } = await login(houses.first, "Ann");
    const red = await ann.join("red");
    await bob.expect({ type: "joined", nick: "Ann" });
    await bob.sendMessage("one");
    await ann.expect({ text: "one" });
    await ann.requestAll({ type: "leave", room: "red" });
    await bob.expect({ type: "left", nick: "Ann" });
    await bob.sendMessage("not for Ann");
    const blue = await ann.join("blue");
    await drop(ann);
    const server = await houses.second();
    const { speaker: again, missed, ends, welcome } = await resume(server, token, {
      last: { red },
    });
    assertEquals(roomsIn(welcome), ["blue"]);
    assertEquals(briefly(missed), ["joined blue Ann", "message red Bob one", "left red Ann"]);
    assertEquals(ends, { blue: ALL(1), red: ALL(2), "": ALL(0) });
    await drop(again);
    const third = await resume(server, welcome.token, { last: { blue } });
    assertEquals([third.missed, third.ends], [[], { blue: ALL(0), "": ALL(0) }]);
  });

  Deno.test(`a stay in a room that the client saw nothing of begins with its own join: ${way}`, async () => {
    await using houses = await Houses.open(way);
    const bob = await JsonClient.login(houses.first, "Bob", "red");
    const { speaker: ann, token } = await login(houses.first, "Ann");
    const red = await ann.join("red");
    await bob.expect({ type: "joined" });
    await bob.sendMessage("first stay");
    await ann.expect({ text: "first stay" });
    await ann.requestAll({ type: "leave", room: "red" });
    await bob.expect({ type: "left" });
    await bob.sendMessage("not for Ann");
    await ann.join("red");
    await bob.expect({ type: "joined" });
    await bob.sendMessage("second stay");
    await ann.expect({ text: "second stay" });
    await drop(ann);
    const server = await houses.second();
    const both = await resume(server, token, { last: { red } });
    assertEquals(briefly(both.missed), [
      "message red Bob first stay",
      "left red Ann",
      "joined red Ann",
      "message red Bob second stay",
    ]);
    assertEquals(both.ends.red, ALL(4));
    await drop(both.speaker);
    // Without an ID the client has seen all of the earlier stay, and nothing of this one.
    const present = await resume(server, both.welcome.token, {});
    assertEquals(briefly(present.missed), ["joined red Ann", "message red Bob second stay"]);
    assertEquals(present.ends.red, ALL(2));
  });

  Deno.test(`missed direct messages are told once, sent and received: ${way}`, async () => {
    await using houses = await Houses.open(way);
    const bob = await JsonClient.login(houses.first, "Bob");
    const { speaker: ann, token } = await login(houses.first, "Ann");
    const ids: string[] = [];
    for (const text of ["one", "two"]) {
      ids.push((await ann.requestAll({ type: "direct", to: "bob", text })).at(-1)!.id);
      await bob.expect({ type: "direct", text });
    }
    ids.push((await bob.requestAll({ type: "direct", to: "Ann", text: "three" })).at(-1)!.id);
    await ann.expect({ type: "direct", text: "three" });
    ids.push((await ann.requestAll({ type: "direct", to: "Ann", text: "to herself" })).at(-1)!.id);
    await bob.expectNothingElse();
    await drop(ann);
    const server = await houses.second();
    const all = [
      "direct Ann to Bob one",
      "direct Ann to Bob two",
      "direct Bob to Ann three",
      "direct Ann to Ann to herself",
    ];
    let now = token;
    for (
      const [seen, told] of [
        [{}, all],
        [{ direct: "" }, all],
        ...ids.map((direct, i) => [{ direct }, all.slice(i + 1)] as const),
      ] as const
    ) {
      const { speaker: client, missed, ends, welcome } = await resume(server, now, seen);
      assertEquals(briefly(missed), told, JSON.stringify(seen));
      assertEquals(ends, { "": ALL(told.length) });
      now = welcome.token;
      await drop(client);
    }
  });

  Deno.test(`missed edits are told with the present texts, and none of what is deleted: ${way}`, async () => {
    await using houses = await Houses.open(way);
    const bob = await JsonClient.register(houses.first, "Bob", "red");
    const ann = await JsonClient.register(houses.first, "Ann");
    const { token } = ann.welcome;
    const red = await ann.join("red");
    await bob.expect({ type: "joined", nick: "Ann" });
    const [one, two, three] = [
      await bob.sendMessage("one"),
      await bob.sendMessage("two"),
      await bob.sendMessage("three"),
    ];
    const psst = (await bob.requestAll({ type: "direct", to: "Ann", text: "psst" })).at(-1)!.id;
    await ann.expect({ text: "one" }, { text: "two" }, { text: "three" }, { text: "psst" });
    await drop(ann);
    const revise = async (request: object) => {
      const heard = await bob.requestAll(request);
      assertEquals(heard.at(-1)!.type, "ok", JSON.stringify(heard));
    };
    await revise({ type: "edit", room: "red", id: one, text: "one, again" });
    await revise({ type: "edit", room: "red", id: two, text: "gone" });
    await revise({ type: "delete", room: "red", id: two });
    await revise({ type: "edit", room: "red", id: one, text: "one, at last" });
    await revise({ type: "edit", with: ann.user, id: psst, text: "hush" });
    const server = await houses.second();
    const changes = (lines: JsonObject[]) =>
      lines.map(({ type, room, target, text }) => [type, room, target, text]);
    const seen = { last: { red: three }, direct: psst };
    const back = await resume(server, token, seen);
    assertEquals(changes(back.missed), [
      ["edited", "red", one, "one, at last"],
      ["deleted", "red", two, undefined],
      ["edited", "red", one, "one, at last"],
      ["edited", undefined, psst, "hush"],
    ]);
    assertEquals(back.ends, { red: ALL(3), "": ALL(1) });
    await drop(back.speaker);
    // A client that missed the messages as well is told them as they are.
    const late = await resume(server, back.welcome.token, { last: { red } });
    assertEquals(late.ends.red, ALL(6));
    const texts = late.missed.slice(0, 3).map(({ text, edited, deleted }) => {
      return [text, edited !== undefined, deleted !== undefined];
    });
    assertEquals(texts, [["one, at last", true, false], ["", false, true], [
      "three",
      false,
      false,
    ]]);
  });

  Deno.test(`sessions of one user resume on their own, and quiet joins count: ${way}`, async () => {
    await using houses = await Houses.open(way);
    const bob = await JsonClient.login(houses.first, "Bob", "red");
    const desk = await JsonClient.register(houses.first, "Ann", "red");
    const phone = await JsonClient.identify(houses.first, "Ann");
    const joined = await phone.join("red");
    await bob.expect({ type: "joined", nick: "Ann" });
    await bob.expectNothingElse();
    const { token } = phone.welcome;
    await drop(phone);
    await bob.sendMessage("one");
    await desk.expect({ text: "one" });
    await desk.requestAll({ type: "leave", room: "red" });
    // The user is still in the room, by the session that is away.
    await bob.expectNothingElse();
    await bob.sendMessage("two");
    const server = await houses.second();
    // Told from the join on, whether the client saw that or not.
    const back = await resume(server, token, { last: { red: joined } });
    assertEquals(briefly(back.missed), ["message red Bob one", "message red Bob two"]);
    assertEquals(back.ends.red, ALL(2));
    await drop(back.speaker);
    const again = await resume(server, back.welcome.token, {});
    assertEquals(again.missed.map(({ type, id }) => [type, id])[0], ["joined", joined]);
    assertEquals(again.ends.red, ALL(3));
  });
}

Deno.test("IDs of no event, or of another room's or client's, do not count as seen", async () => {
  await using server = await TestServer.open();
  const bob = await JsonClient.login(server, "Bob", "blue");
  const foreign = await bob.sendMessage("elsewhere");
  const { speaker: ann, token } = await login(server, "Ann");
  await ann.join("red");
  await ann.sendMessage("one");
  await bob.requestAll({ type: "direct", to: "Ann", text: "psst" });
  await ann.next();
  const direct = (await ann.requestAll({ type: "direct", to: "Bob", text: "hm" })).at(-1)!.id;
  const red = await ann.sendMessage("two");
  await bob.expect({ type: "direct" });
  const strange = await bob.sendMessage("elsewhere, later");
  await drop(ann);
  const good = { last: { red }, direct };
  let now = token;
  const ends = async (seen: object) => {
    const { speaker: client, ends, missed, welcome } = await resume(server, now, seen);
    now = welcome.token;
    await drop(client);
    assert(!briefly(missed).join().includes("elsewhere"), briefly(missed).join());
    return ends;
  };
  assertEquals(await ends(good), { red: ALL(0), "": ALL(0) });
  const isExpired = (end: JsonObject) => !end.recovered && end.reason === "expired";
  for (const wrong of [strange, "zzzz", `${red}0`, direct]) {
    assert(isExpired((await ends({ ...good, last: { red: wrong } })).red!), wrong);
  }
  for (const wrong of [strange, "zzzz", red]) {
    assert(isExpired((await ends({ ...good, direct: wrong }))[""]!), wrong);
  }
  // An ID from before all missed events: all of them are told.
  for (const early of [foreign, "a", ""]) {
    assertEquals((await ends({ ...good, last: { red: early } })).red, ALL(3), early);
    assertEquals((await ends({ ...good, direct: early }))[""], ALL(2), early);
  }
});

Deno.test("a client that names a room it never was in, or has left, is told that it is not there, and nothing of the room", async () => {
  await using server = await TestServer.open();
  const bob = await JsonClient.login(server, "Bob", "blue");
  const secret = await bob.sendMessage("a secret");
  const { speaker: ann, token } = await login(server, "Ann");
  const red = await ann.join("red");
  const heard = await ann.requestAll({ type: "leave", room: "red" });
  const green = await ann.join("green");
  await drop(ann);
  const left = heard[0]!.id;
  const notThere = { recovered: false, missed: 0, reason: "not-in-room" };
  let now = token;
  for (
    const [last, ends] of [
      [{ blue: secret, green }, { blue: notThere, green: ALL(0) }],
      [{ blue: "a", green }, { blue: notThere, green: ALL(0) }],
      [{ blue: red, nowhere: green, green }, { blue: notThere, nowhere: notThere, green: ALL(0) }],
      // The client saw its own leave; or it did not.
      [{ red: left, green }, { red: notThere, green: ALL(0) }],
      [{ red, green }, { red: ALL(1), green: ALL(0) }],
      [{ "\u0000": "x", ["x".repeat(10_000)]: "y", green }, {
        "\u0000": notThere,
        ["x".repeat(10_000)]: notThere,
        green: ALL(0),
      }],
    ] as const
  ) {
    const back = await resume(server, now, { last });
    const { "": _, ...rooms } = back.ends;
    assertEquals(rooms, ends as Record<string, JsonObject>);
    now = back.welcome.token;
    await drop(back.speaker);
  }
});

Deno.test("without history, only missed direct messages are told", async () => {
  await using server = await TestServer.open({ historySeconds: 0 });
  const bob = await JsonClient.login(server, "Bob");
  const { speaker: ann, token } = await login(server, "Ann");
  await bob.requestAll({ type: "direct", to: "Ann", text: "psst" });
  await ann.expect({ type: "direct" });
  const out = await resume(server, token, {});
  assertEquals(briefly(out.missed), ["direct Bob to Ann psst"]);
  assertEquals(out.ends, { "": ALL(1) });
  const red = await out.speaker.join("red");
  const back = await resume(server, out.welcome.token, { last: { red } });
  assertEquals(briefly(back.missed), ["direct Bob to Ann psst"]);
  const off = { recovered: false, missed: 0, reason: "history-off" };
  assertEquals(back.ends, { red: off, "": ALL(1) });
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
    const red = await client.join("red");
    await bob.expect("Ann joined room.");
    close(client);
    const { code } = await withDeadline(client.connection.closed, "the close");
    assert(codes.includes(code), `${name}: closed with ${code}`);
    const { speaker: again, ends, welcome } = await resume(server, token, { last: { red } });
    assertEquals([roomsIn(welcome), ends.red], [["red"], ALL(0)], name);
    await bob.expectNothingElse();
    again.connection.socket.close(1000);
    await bob.expect("Ann left room.");
    const late = await JsonClient.connect(server);
    await late.expectError({ type: "resume", token: welcome.token }, "bad-token");
  }
  const { speaker: client } = await login(server, "Ann");
  await client.join("red");
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
      { type: "message", room: "red", text: "once", cid: "a" },
      { type: "direct", to: "Bob", text: "psst", cid: "a" },
      { type: "direct", to: "Bob", text: "without a cid" },
    ]
  ) {
    const { speaker: ann, token } = await login(one, "Ann");
    const red = await ann.join("red");
    await bob.expect({ type: "joined", nick: "Ann" });
    const { promise, resolve } = Promise.withResolvers<void>();
    [gate, held] = [promise, 0];
    ann.send(words);
    await eventually(() => held > 0, "a commit is held");
    const { speaker: again } = await resume(other, token, { last: { red } });
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
    const kinds = ["direct", ...history === 0 ? [] : ["log"]];
    const isWritten = async () =>
      kinds.every((kind) => noting.lives.has(kind)) &&
      JSON.stringify(await rowsOf(kv, "own")).includes("message");
    await eventually(isWritten, "both messages are compacted");
    const hour = 3_600_000;
    for (const kind of ["direct", "own"]) {
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
  let token: string, red: string;
  {
    await using server = await TestServer.open({ kv, clock: compactingAfter(20) });
    const bob = await JsonClient.login(server, "Bob");
    const ann = await login(server, "Ann");
    token = ann.token;
    red = await ann.speaker.join("red");
    await bob.requestAll({ type: "direct", to: "Ann", text: "psst" });
    await server.chat.close();
  }
  const clock = new AdjustedClock();
  clock.wallAheadMs = 5 * 3_600_000;
  await using server = await TestServer.open({ kv, clock });
  const { missed, ends } = await resume(server, token, { last: { red } });
  const expired = { recovered: false, missed: 0, reason: "expired" };
  // That of the room is in the history, which is kept for longer.
  assertEquals([missed, ends], [[], { red: ALL(0), "": expired }]);
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
  await ann.join("red");
  const bob = await JsonClient.login(other, "Bob", "red");
  const message = { type: "message", room: "red", text: "once", cid: "a" };
  const direct = { type: "direct", to: "Bob", text: "psst", cid: "b" };
  const id = (await ann.requestAll(message)).at(-1)!.id;
  const sent = (await ann.requestAll(direct)).at(-1)!.id;
  await bob.expect({ text: "once" }, { text: "psst" });
  await drop(ann);
  isAway = true;
  const seen = { last: { red: id }, direct: sent };
  const { speaker: again, ends } = await resume(other, token, seen);
  const unavailable = { recovered: false, missed: 0, reason: "unavailable" };
  assertEquals(ends, { red: unavailable, "": unavailable });
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
    const { missed, ends } = await resume(server, token, { direct: "" });
    const { recovered, reason, from } = ends[""]!;
    assertEquals([recovered, reason, from], [false, "too-many", missed[0]!.id]);
    const numbers = missed.map((line) => Number(line.text.slice(0, 2)));
    assertEquals(numbers, Array.from({ length: 17 }, (_, i) => 13 + i));
  }
});

Deno.test("history after the last seen event is complete for a client whose session is gone, unless messages expired", async () => {
  const clock = new AdjustedClock({ stoppedAtMs: Date.now() });
  await using server = await TestServer.open({ clock, historySeconds: 3600 });
  const bob = await JsonClient.login(server, "Bob", "red");
  const after = async (id: string) => {
    const ann = await JsonClient.login(server, "Ann", "red");
    await bob.expect({ type: "joined", nick: "Ann" });
    const { events, complete } = await ann.request({ type: "history", room: "red", after: id });
    ann.connection.socket.close(1000);
    await bob.expect({ type: "left", nick: "Ann" });
    return [events.map(({ text }: JsonObject) => text), complete];
  };
  const ann = await JsonClient.login(server, "Ann");
  // The first event that a client sees may be its own join.
  const joined = await ann.join("red");
  await bob.expect({ type: "joined" });
  ann.connection.socket.close(1000);
  const { id: left } = await bob.next();
  const one = await bob.sendMessage("one");
  const two = await bob.sendMessage("two");
  assertEquals(await after(joined), [["one", "two"], true]);
  assertEquals(await after(left), [["one", "two"], true]);
  assertEquals(await after(one), [["two"], true]);
  assertEquals(await after(two), [[], true]);
  // No event is kept that is as old.
  for (const early of ["a", "", "~"]) assertEquals((await after(early))[1], false, early);
  clock.advance(3_601_000);
  await bob.sendMessage("three");
  for (const gone of [joined, one, two]) assertEquals(await after(gone), [["three"], false], gone);
  const { complete } = await bob.request({ type: "history", room: "red" });
  assertEquals(complete, undefined);
});

Deno.test("of many rooms the newest 1,000 missed events are told, and each room says whether some are missing", async () => {
  await using server = await TestServer.open({ rateLimits: "off" });
  const bob = await JsonClient.login(server, "Bob");
  const { speaker: ann, token } = await login(server, "Ann");
  const last: Record<string, string> = {};
  const rooms = Array.from({ length: 30 }, (_, i) => `room ${10 + i}`);
  for (const room of rooms) {
    await bob.join(room);
    last[room] = await ann.join(room);
    await bob.expect({ type: "joined", room, nick: "Ann" });
  }
  await drop(ann);
  for (const room of rooms) {
    const lines = Array.from({ length: 50 }, (_, i) => ({ type: "message", room, text: `${i}` }));
    bob.send(lines.map((line) => JSON.stringify(line)).join("\n"));
    for (const line of lines) await bob.expect(line);
  }
  const { missed, ends } = await resume(server, token, { last });
  assertEquals(missed.length, 1_000);
  for (const [i, room] of rooms.entries()) {
    // The last twenty rooms hold the newest thousand.
    if (i >= 10) assertEquals(ends[room], ALL(50), room);
    else assertEquals(ends[room], { recovered: false, missed: 0, reason: "too-many" }, room);
  }
  assertEquals(ends[""], ALL(0));
});

Deno.test("more rooms than a client can have been in are a bad request", async () => {
  await using server = await TestServer.open();
  const { speaker: ann, token } = await login(server, "Ann");
  await drop(ann);
  const last = (count: number) =>
    Object.fromEntries(Array.from({ length: count }, (_, i) => [`room ${i}`, "a"]));
  const client = await JsonClient.connect(server);
  await client.expectError({ type: "resume", token, last: last(401) }, "bad-request");
  const { ends } = await resume(server, token, { last: last(400) });
  assertEquals(Object.keys(ends).length, 401);
});
