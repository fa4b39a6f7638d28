/** History: compaction into few rows, reading in pages, and expiry. */
import { assert, assertEquals } from "@std/assert";
import { eventIdPrefix } from "../../chat/feed/events.ts";
import { shardOf } from "../../chat/feed/shards.ts";
import { AdjustedClock, compactingAfter } from "../support/fake_clock.ts";
import { countingKv, kvWith } from "../support/faulty_kv.ts";
import { TestServer } from "../support/test_server.ts";
import { eventually } from "../support/wait.ts";
import { JsonClient, type JsonObject } from "../support/json_client.ts";

/** Seven days in milliseconds, the default retention. */
const WEEK = 7 * 86_400_000;

/** A clock on which nothing is compacted: waits of a second never end. */
const neverFolding = compactingAfter(Infinity);

/** A clock on which waits of a second, such as that of compaction, take a moment. */
const quick = compactingAfter(50);

/** Returns the rows of a room's history as lists of texts. */
async function storedTexts(kv: Deno.Kv, room: string): Promise<string[][]> {
  const rows: string[][] = [];
  for await (const { value } of kv.list<{ events: string[][] }>({ prefix: ["log", room] })) {
    rows.push(value.events.map((event) => event[4]!));
  }
  return rows;
}

/** Waits until a room's rows hold so many events. */
async function compacted(kv: Deno.Kv, room: string, many: number): Promise<void> {
  const enough = async () => (await storedTexts(kv, room)).flat().length >= many;
  await eventually(enough, `${many} events are compacted`, 3_000);
}

/** Sends messages and receives them, as fast as possible. */
async function sayAll(client: JsonClient, texts: string[], more: object = {}): Promise<string[]> {
  const ids: string[] = [];
  for (let i = 0; i < texts.length; i += 100) {
    const some = texts.slice(i, i + 100);
    const frame = some.map((text) =>
      JSON.stringify({ type: "message", room: client.room, text, ...more })
    );
    client.send(frame.join("\n"));
    for (const text of some) {
      const line = await client.next();
      assertEquals(line.text, text);
      ids.push(line.id);
    }
  }
  return ids;
}

/** Returns a room's whole history, read in pages. */
async function pages(client: JsonClient, direction: "before" | "after", limit: number) {
  const all: JsonObject[] = [];
  let from = direction === "after" ? "a" : undefined, asked = 0;
  while (true) {
    const { events, more } = await client.request({
      type: "history",
      room: client.room,
      limit,
      [direction]: from,
    });
    asked++;
    if (direction === "after") all.push(...events);
    else all.unshift(...events);
    if (!more) return { all, asked };
    assertEquals(events.length, limit);
    from = direction === "after" ? events.at(-1).id : events[0].id;
  }
}

function numbers(from: number, to: number): string[] {
  return Array.from({ length: to - from }, (_, i) => `${from + i}`);
}

function texts(events: JsonObject[]): string[] {
  return events.map(({ text }) => text);
}

/**
 * Writes `many` compacted messages of a room, one a second until now. A chat that is opened on the KV
 * afterwards has them.
 */
async function write(kv: Deno.Kv, room: string, many: number, now = Date.now(), perRow = 200) {
  for (let i = 0; i < many; i += perRow) {
    const events = Array.from({ length: Math.min(perRow, many - i) }, (_, j) => {
      const time = now - (many - i - j) * 1_000;
      return [id(i + j), "message", "01A", "Ann", `${i + j}`, time, ""];
    });
    await kv.set(["log", room, events[0]![0]!], { v: 1, events }, { expireIn: WEEK });
  }
  await kv.set(["bell", shardOf(room, 8)], 1);
}

/** Returns the ID of the `n`th of them: earlier than any that KV will assign. */
function id(n: number): string {
  return `${eventIdPrefix("1")}${n.toString(16).padStart(8, "0")}`;
}

Deno.test("/history shows the last 20, or as many as are asked for, oldest first, with times in UTC", async () => {
  const clock = new AdjustedClock({ stoppedAtMs: Date.UTC(2026, 10, 22, 23, 59, 58) });
  await using server = await TestServer.open({ rateLimits: "off", clock });
  const ann = await server.login("Ann", "red");
  await ann.request("/history", "No messages here yet.");
  const said = numbers(0, 101);
  for (const text of said) await ann.request(text, `Ann: ${text}`);
  const shown = (many: number) =>
    said.slice(-many).map((text) => `[2026-11-22 23:59] Ann: ${text}`).join("\n");
  await ann.request("/history", shown(20));
  await ann.request("/HISTORY 3 of them", shown(3));
  for (const many of [1, 20, 21, 100]) await ann.request(`/history ${many}`, shown(many));
  for (const bad of ["0", "-1", "101", "1.5", "ten", "1e1", "0x10", "999999999999", "٣"]) {
    await ann.request(
      `/history ${bad}`,
      "Usage: /history {n}, n from 1 to 100",
    );
  }
  await ann.expectNothingElse();
  assertEquals(server.warnings, []);
});

Deno.test("/history shows messages and actions of the room, no joins, and nothing of other rooms", async () => {
  const now = Date.UTC(2026, 0, 2, 3, 4, 5);
  const clock = new AdjustedClock({ stoppedAtMs: now });
  await using server = await TestServer.open({ clock });
  const ann = await server.login("Ann");
  await ann.request("/history", "Not currently in a room. Type /join {room_name} to do so.");
  await ann.request("/join red", 'Joined chat room "red"');
  const bob = await server.login("Bob", "red");
  await ann.expect("Bob joined room.");
  await ann.request("one", "Ann: one");
  await ann.request("/me waves", "* Ann waves");
  await ann.request("/nick Anna", "Nickname is: Anna");
  await ann.request("two", "Anna: two");
  await ann.request("/msg Bob psst", "[to Bob] psst");
  await bob.expect("Ann: one", "* Ann waves", "Ann is now known as Anna.", "Anna: two");
  await bob.expect("[from Anna] psst");
  await ann.request("/join blue", 'Left chat room "red"', 'Joined chat room "blue"');
  await ann.request("/history", "No messages here yet.");
  await ann.request("three", "Anna: three");
  await ann.request("/history", "[2026-01-02 03:04] Anna: three");
  // A client that joins later sees earlier messages.
  const past = ["Ann: one", "* Ann waves", "Anna: two"].map((text) => `[2026-01-02 03:04] ${text}`);
  await bob.expect("Anna left room.");
  await bob.request("/history", past.join("\n"));
  const cy = await server.login("Cy", "red");
  await bob.expect("Cy joined room.");
  await cy.request("/history", past.join("\n"));
  await cy.request("/history 1", past[2]!);
  const v1 = await JsonClient.login(server, "Vi", "red");
  const { events, more, room } = await v1.request({ type: "history", room: "red" });
  assertEquals([room, more], ["red", false]);
  assertEquals(
    events.map(({ type, nick, text, time }: JsonObject) => [type, nick, text, time]),
    [["message", "Ann", "one", now], ["action", "Ann", "waves", now], [
      "message",
      "Anna",
      "two",
      now,
    ]],
  );
  await bob.expect("Vi joined room.");
  await bob.expectNothingElse();
  await ann.expectNothingElse();
});

Deno.test("History that is turned off writes nothing, and a client that asks is told", async () => {
  await using server = await TestServer.open({ historySeconds: 0 });
  const ann = await JsonClient.login(server, "Ann", "red");
  const tim = await server.login("Tim", "red");
  await ann.expect({ type: "joined" });
  await ann.sendMessage("hello");
  await tim.expect("Ann: hello");
  await ann.expectError({ type: "history", room: "red" }, "history-off");
  await ann.expectError({ type: "history", room: "blue" }, "history-off");
  await tim.request("/history", "This server keeps no history.");
  await server.chat.close();
  for (const first of ["log", "people"]) {
    assertEquals(await Array.fromAsync(server.kv.list({ prefix: [first] })), [], first);
  }
});

Deno.test("History: pages in both directions have neither gaps nor overlaps", async () => {
  await using server = await TestServer.open({ rateLimits: "off", clock: quick });
  const ann = await JsonClient.login(server, "Ann", "red");
  const eve = await JsonClient.login(server, "Eve", "blue");
  const ids: string[] = [];
  // In three rows and in memory: each of the first three is compacted before the next is sent.
  for (const [from, to] of [[0, 150], [150, 300], [300, 400], [400, 500]] as const) {
    if (from > 0 && from < 400) await compacted(server.kv, "red", from);
    ids.push(...await sayAll(ann, numbers(from, to)));
    await sayAll(eve, ["elsewhere"]);
  }
  assertEquals(ids, ids.toSorted());
  for (const direction of ["before", "after"] as const) {
    for (const limit of [100, 70, 7, 50]) {
      const { all, asked } = await pages(ann, direction, limit);
      assertEquals(texts(all), numbers(0, 500), `${direction}, ${limit}`);
      assertEquals(all.map(({ id }) => id), ids);
      assertEquals(asked, Math.ceil(500 / limit));
    }
  }
  const usual = await ann.request({ type: "history", room: "red" });
  assertEquals([texts(usual.events), usual.more], [numbers(450, 500), true]);
  // All events before each event, and all after it.
  for (let n = 0; n < 500; n += 23) {
    const { events: before } = await ann.request({
      type: "history",
      room: "red",
      limit: 2,
      before: ids[n],
    });
    assertEquals(texts(before), numbers(Math.max(0, n - 2), n));
    const { events: after } = await ann.request({
      type: "history",
      room: "red",
      limit: 2,
      after: ids[n],
    });
    assertEquals(texts(after), numbers(n + 1, Math.min(500, n + 3)));
  }
  await ann.expectNothingElse();
});

Deno.test("History: pages that are read during compaction have neither gaps nor overlaps", async () => {
  await using server = await TestServer.open({ rateLimits: "off" });
  const ann = await JsonClient.login(server, "Ann", "red");
  const bob = await JsonClient.login(server, "Bob", "red");
  await ann.expect({ type: "joined" });
  const gone = { it: false };
  const talk = (async () => {
    for (let n = 0; n < 1_000 || (await storedTexts(server.kv, "red")).length < 2; n += 10) {
      await sayAll(ann, numbers(n, n + 10));
    }
    gone.it = true;
  })();
  let read = 0;
  while (!gone.it) {
    const heard: JsonObject[] = [];
    for (const direction of ["before", "after"] as const) {
      let from: string | undefined = direction === "after" ? "a" : undefined;
      let more = true;
      const all: number[] = [];
      for (let page = 0; more && page < 8; page++) {
        const answer = (await bob.requestAll({
          ...{ type: "history", room: "red", limit: 60, [direction]: from },
        })).at(-1)!;
        heard.push(answer);
        const some = texts(answer.events).map(Number);
        if (direction === "after") all.push(...some);
        else all.unshift(...some);
        more = answer.more;
        from = direction === "after" ? answer.events.at(-1)?.id : answer.events[0]?.id;
        if (from === undefined) break;
      }
      // Consecutive pages, from the first or to the last event.
      assertEquals(all, all.map((_, i) => i + (all[0] ?? 0)));
      if (direction === "after" && all.length > 0) assertEquals(all[0], 0);
    }
    read++;
  }
  await talk;
  assert(read > 3, `${read} times`);
});

Deno.test("History: IDs of other rooms, and texts that are no IDs, show no other room", async () => {
  await using server = await TestServer.open({ clock: quick });
  const ann = await JsonClient.login(server, "Ann", "red");
  const eve = await JsonClient.login(server, "Eve", "blue");
  await sayAll(ann, ["one", "two"]);
  const [between] = await sayAll(eve, ["elsewhere"]);
  await sayAll(ann, ["three"]);
  const shown = async (where: object) => {
    const { events, room, more } = await ann.request({ type: "history", room: "red", ...where });
    assertEquals([room, more], ["red", false]);
    return texts(events);
  };
  const look = async () => {
    const before = await shown({ before: between }), after = await shown({ after: between });
    assertEquals([...before, ...after], ["one", "two", "three"]);
    for (const least of ["", "\u0000", "0", "A", "a", "a0"]) {
      assertEquals(await shown({ before: least }), [], `before ${JSON.stringify(least)}`);
      assertEquals(await shown({ after: least }), ["one", "two", "three"], `after "${least}"`);
    }
    for (const most of ["z", "zzz", "~", "x".repeat(64), "é", "😀", "\uffff"]) {
      assertEquals(await shown({ before: most }), ["one", "two", "three"], `before "${most}"`);
      assertEquals(await shown({ after: most }), [], `after "${most}"`);
    }
  };
  await look();
  await compacted(server.kv, "red", 3);
  await look();
  assertEquals(server.warnings, []);
});

Deno.test("History: pages after a text that is no ID begin with the next event in string order", async () => {
  using kv = await Deno.openKv(":memory:");
  await write(kv, "red", 1_000);
  await using server = await TestServer.open({ kv });
  const ann = await JsonClient.login(server, "Ann", "red");
  for (const least of ["", "a", "b"]) {
    const { events } = await ann.request({ type: "history", room: "red", after: least, limit: 2 });
    assertEquals(texts(events), ["0", "1"], `after "${least}"`);
  }
});

Deno.test("History: a page costs the same in a long and in a short history", async () => {
  const costs: number[][] = [];
  for (const many of [1_000, 20_000]) {
    using kv = await Deno.openKv(":memory:");
    await write(kv, "red", many);
    const { kv: counted, use } = countingKv(kv);
    let rows = 0;
    const list = <T>(...args: Parameters<Deno.Kv["list"]>) => {
      const found = counted.list<T>(...args);
      const next = found.next.bind(found);
      if ((args[0] as { prefix?: Deno.KvKey }).prefix?.[0] === "beat") return found;
      found.next = async () => {
        const each = await next();
        if (!each.done) rows++;
        return each;
      };
      return found;
    };
    const counting = kvWith(counted, { list });
    await using server = await TestServer.open({ kv: counting });
    const ann = await JsonClient.login(server, "Ann", "red");
    // In the middle of a row.
    const middle = id(Math.floor(many / 400) * 200 + 100);
    for (const where of [{}, { before: middle }, { after: middle }]) {
      const before = { lists: use.lists, rows, gets: use.gets };
      const { events, more } = await ann.request({
        type: "history",
        room: "red",
        limit: 100,
        ...where,
      });
      assertEquals([events.length, more], [100, true]);
      const [lists, read] = [use.lists - before.lists, rows - before.rows];
      assert(lists <= 4, `${lists} lists`);
      assert(read <= 4, `${read} rows`);
      costs.push([many, lists, read, use.gets - before.gets]);
    }
    assertEquals(texts((await ann.request({ type: "history", room: "red", limit: 2 })).events), [
      `${many - 2}`,
      `${many - 1}`,
    ]);
  }
  const of = (many: number) =>
    costs.filter(([which]) => which === many).map((cost) => cost.slice(1));
  assertEquals(of(1_000), of(20_000));
});

Deno.test("History compacts a thousand messages into a few rows", async () => {
  await using server = await TestServer.open({ rateLimits: "off" });
  const ann = await JsonClient.login(server, "Ann", "red");
  const said = numbers(0, 1_000);
  await sayAll(ann, said);
  await compacted(server.kv, "red", 1_000);
  const rows = await storedTexts(server.kv, "red");
  assertEquals(rows.flat(), said);
  assert(rows.length <= 12, `${rows.length} rows`);
  assertEquals(texts((await pages(ann, "before", 100)).all), said);
});

Deno.test("History has every message once after a crash before compaction", async () => {
  using kv = await Deno.openKv(":memory:");
  await using crashed = await TestServer.open({
    rateLimits: "off",
    kv,
    clock: neverFolding,
    local: false,
  });
  const ann = await JsonClient.login(crashed, "Ann", "red");
  const bob = await JsonClient.login(crashed, "Bob", "blue");
  const said = numbers(0, 300);
  await sayAll(ann, said);
  await sayAll(bob, ["one", "two"]);
  assertEquals(await storedTexts(kv, "red"), []);
  await using server = await TestServer.open({ kv, local: false });
  const cy = await JsonClient.login(server, "Cy", "red");
  assertEquals(texts((await pages(cy, "before", 100)).all), said);
  assertEquals(texts((await pages(cy, "after", 33)).all), said);
  await cy.join("blue");
  assertEquals(texts((await cy.request({ type: "history", room: "blue" })).events), ["one", "two"]);
  await compacted(kv, "red", 300);
  assertEquals((await storedTexts(kv, "red")).flat(), said);
  assertEquals((await storedTexts(kv, "blue")).flat(), ["one", "two"]);
  // A third chat finds nothing left to compact.
  await using third = await TestServer.open({ kv, local: false });
  const dora = await JsonClient.login(third, "Dora", "red");
  assertEquals(texts((await pages(dora, "before", 100)).all), said);
  assertEquals((await storedTexts(kv, "red")).flat(), said);
});

Deno.test("History: two chats on one KV compact each event once, and both show all of them", async () => {
  using kv = await Deno.openKv(":memory:");
  await using one = await TestServer.open({ kv, local: false, clock: quick, rateLimits: "off" });
  await using other = await TestServer.open({ kv, local: false, clock: quick, rateLimits: "off" });
  const ann = await JsonClient.login(one, "Ann", "red");
  const bob = await JsonClient.login(other, "Bob", "red");
  await ann.expect({ type: "joined", nick: "Bob" });
  const hearing = async (client: JsonClient) => {
    const heard: string[] = [];
    while (heard.length < 600) heard.push((await client.next()).text);
    return heard;
  };
  const speaking = async (client: JsonClient, from: number) => {
    for (let n = from; n < from + 300; n += 10) {
      client.send(
        numbers(n, n + 10).map((text) => JSON.stringify({ type: "message", room: "red", text }))
          .join("\n"),
      );
      await new Promise((resolve) => setTimeout(resolve));
    }
  };
  const [heard, heardThere] = await Promise.all([
    hearing(ann),
    hearing(bob),
    speaking(ann, 0),
    speaking(bob, 300),
  ]);
  assertEquals(heard, heardThere);
  assertEquals(heard.map(Number).toSorted((a, b) => a - b).map(String), numbers(0, 600));
  await compacted(kv, "red", 600);
  await sayAll(ann, ["the last"]);
  await bob.expect({ text: "the last" });
  await compacted(kv, "red", 601);
  for (const client of [ann, bob]) {
    assertEquals(texts((await pages(client, "before", 100)).all), [...heard, "the last"]);
    assertEquals(texts((await pages(client, "after", 100)).all), [...heard, "the last"]);
  }
  assertEquals((await storedTexts(kv, "red")).flat(), [...heard, "the last"]);
});

Deno.test("History does not show expired events, even if KV still has them", async () => {
  using kv = await Deno.openKv(":memory:");
  const clock = compactingAfter(50, { stoppedAtMs: Date.now() });
  await using server = await TestServer.open({ rateLimits: "off", kv, historySeconds: 60, clock });
  const ann = await JsonClient.login(server, "Ann", "red");
  const [old] = await sayAll(ann, ["old"]);
  clock.setAhead(30_000);
  await sayAll(ann, ["newer"]);
  const shown = async (where: object = {}) => {
    const { events, more } = await ann.request({ type: "history", room: "red", ...where });
    assertEquals(more, false);
    return texts(events);
  };
  assertEquals(await shown(), ["old", "newer"]);
  for (const place of ["memory", "KV"]) {
    if (place === "KV") await compacted(kv, "red", 2);
    clock.setAhead(59_999);
    assertEquals(await shown(), ["old", "newer"], place);
    clock.setAhead(60_001);
    assertEquals(await shown(), ["newer"], place);
    assertEquals(await shown({ after: "a" }), ["newer"], place);
    assertEquals(await shown({ after: old }), ["newer"], place);
    clock.setAhead(90_001);
    assertEquals(await shown(), [], place);
    assertEquals(await shown({ after: "a" }), [], place);
    clock.setAhead(30_000);
  }
  assertEquals((await storedTexts(kv, "red")).flat(), ["old", "newer"]);
});

Deno.test("History compacts and shows everything when the wall clock jumps by an hour in either direction", async () => {
  for (const jump of [3_600_000, -3_600_000]) {
    using kv = await Deno.openKv(":memory:");
    const clock = compactingAfter(50);
    await using server = await TestServer.open({ kv, historySeconds: 1800, clock });
    const ann = await JsonClient.login(server, "Ann", "red");
    const shown = async () => texts((await ann.request({ type: "history", room: "red" })).events);
    await sayAll(ann, ["before"]);
    await compacted(kv, "red", 1);
    clock.wallAheadMs = jump;
    assertEquals(await shown(), ["before"]);
    await sayAll(ann, ["after"]);
    await compacted(kv, "red", 2);
    assertEquals(await shown(), ["before", "after"]);
  }
});

Deno.test("History shows events before one that a wrong clock dated too early", async () => {
  using kv = await Deno.openKv(":memory:");
  const clock = compactingAfter(50);
  await using server = await TestServer.open({ kv, historySeconds: 1800, clock });
  const ann = await JsonClient.login(server, "Ann", "red");
  await sayAll(ann, ["at the right time"]);
  await compacted(kv, "red", 1);
  clock.wallAheadMs = -3_600_000;
  await sayAll(ann, ["dated an hour too early"]);
  await compacted(kv, "red", 2);
  clock.wallAheadMs = 0;
  assertEquals(texts((await ann.request({ type: "history", room: "red" })).events), [
    "at the right time",
  ]);
});

Deno.test("History: only with --open-history can clients read rooms that they are not in", async () => {
  await using server = await TestServer.open({ openHistory: true });
  const ann = await JsonClient.login(server, "Ann", "red");
  await sayAll(ann, numbers(0, 10));
  const eve = await JsonClient.login(server, "Eve");
  const page = await eve.request({ type: "history", room: "red", limit: 3 });
  assertEquals([page.room, texts(page.events), page.more], ["red", ["7", "8", "9"], true]);
  assertEquals((await eve.request({ type: "history", room: "nowhere" })).events, []);
  await ann.expectNothingElse();
  assertEquals(server.warnings, []);

  await using closed = await TestServer.open();
  const bob = await JsonClient.login(closed, "Bob", "red");
  await sayAll(bob, ["hello"]);
  const fay = await JsonClient.login(closed, "Fay", "blue");
  await fay.expectError({ type: "history", room: "red" }, "not-allowed");
  await fay.expectError({ type: "history", room: "nowhere" }, "not-allowed");
  await fay.requestAll({ type: "leave", room: "blue" });
  await fay.expectError({ type: "history", room: "blue" }, "not-allowed");
});

Deno.test("History: with --open-history a room with an invalid name is empty or refused", async () => {
  await using server = await TestServer.open({ openHistory: true });
  const eve = await JsonClient.login(server, "Eve");
  for (
    const room of ["", "\u0000", "\ud800", "x".repeat(65), "x".repeat(5_000), "😀".repeat(600)]
  ) {
    const { type, code, events } = await eve.request({ type: "history", room });
    const answer = type === "error" ? code : events;
    assert(code === "bad-room" || events?.length === 0, `${room.length}: ${answer}`);
  }
  assertEquals(server.warnings, []);
});

Deno.test("History skips rows of an unknown version with a warning, and shows the rest", async () => {
  using kv = await Deno.openKv(":memory:");
  await write(kv, "red", 60, Date.now(), 10);
  for (const n of [0, 20, 50]) await kv.set(["log", "red", id(n)], { v: 2, what: "is this?" });
  await kv.set(["log", "red", id(45)], null);
  await using server = await TestServer.open({ kv });
  const ann = await JsonClient.login(server, "Ann", "red");
  const rest = [...numbers(10, 20), ...numbers(30, 50)];
  const forwards = await ann.request({ type: "history", room: "red", after: "a" });
  assertEquals(texts(forwards.events), rest);
  assertEquals(server.warnings.length > 0, true);
  const backwards = await ann.request({ type: "history", room: "red" });
  assertEquals(texts(backwards.events), rest);
  assert(server.warnings.every((line) => line === "Skipped a history row of an unknown version"));
});

Deno.test("History skips values that are no events, and shows the rest of a row", async () => {
  using kv = await Deno.openKv(":memory:");
  await write(kv, "red", 2, Date.now());
  const key = ["log", "red", id(0)];
  const { events } = (await kv.get<{ events: unknown[] }>(key)).value!;
  const strange = ["dance", null, 5, {}, [], [id(1), "dance", "1", "Bob", "x", Date.now(), ""]];
  await kv.set(key, { v: 1, events: [...strange, ...events] });
  await using server = await TestServer.open({ kv });
  const ann = await JsonClient.login(server, "Ann", "red");
  assertEquals(texts((await ann.request({ type: "history", room: "red" })).events), ["0", "1"]);
});

Deno.test("History does not compact feed rows of an unknown version", async () => {
  using kv = await Deno.openKv(":memory:");
  const event = ["message", "red", "1", "Bob", "from elsewhere", Date.now()];
  const shard = shardOf("red", 8);
  for (const row of [{ v: 2, events: [event] }, null, 5, "text", { v: 1, events: "none" }]) {
    await kv.atomic().set(["feed", shard, kv.commitVersionstamp()], row).set(["bell", shard], 1)
      .commit();
  }
  await using server = await TestServer.open({ kv });
  const ann = await JsonClient.login(server, "Ann", "red");
  await sayAll(ann, ["hello"]);
  assertEquals(texts((await ann.request({ type: "history", room: "red" })).events), ["hello"]);
});

Deno.test("History returns the longest message unchanged, with any characters, from memory and KV", async () => {
  const limit = 24 * 1024;
  await using server = await TestServer.open({
    rateLimits: "off",
    clock: quick,
    limits: { maxMessageBytes: limit },
  });
  const tim = await server.login("Tim", "red");
  const ann = await JsonClient.login(server, "Ann", "red");
  await tim.expect("Ann joined room.");
  const said = ["\u0001", "\u0000", '"', "é", "😀"]
    .map((letter) => letter.repeat(limit / new TextEncoder().encode(letter).length));
  for (const text of said) {
    await tim.request(text, `Tim: ${text.replaceAll("\0", "␀").replaceAll("\u0001", "␁")}`);
    await ann.expect({ type: "message", text });
  }
  for (const place of ["memory", "KV"]) {
    if (place === "KV") await compacted(server.kv, "red", said.length);
    // A page ends where its encoded bytes do: the first two take 144 KiB each.
    const newest = await ann.request({ type: "history", room: "red" });
    const older = await ann.request({ type: "history", room: "red", before: newest.events[0].id });
    assertEquals([older.more, newest.more], [false, true]);
    const events = [...older.events, ...newest.events];
    assert(texts(events).every((text, i) => text === said[i]), place);
    assertEquals(events.length, said.length);
    const past = (await (async () => {
      tim.send("/history 1");
      return await tim.next();
    })()).slice("[2026-11-22 00:00] Tim: ".length);
    assert(past === said.at(-1), place);
  }
  await ann.expectNothingElse();
  assertEquals(server.warnings, []);
});

Deno.test("History compacts consecutive longest messages of two bytes a character", async () => {
  await using server = await TestServer.open({
    rateLimits: "off",
    clock: quick,
    limits: { maxMessageBytes: 24 * 1024 },
  });
  const ann = await JsonClient.login(server, "Ann", "red");
  // With one character beyond Latin-1 each character takes two bytes: 48 KiB, then 30 KiB.
  await sayAll(ann, [`ł${"x".repeat(24_000)}`, `ł${"x".repeat(15_000)}`, "the end"]);
  await compacted(server.kv, "red", 3);
  assertEquals(server.warnings, []);
});

Deno.test("History compacts messages after the first compaction as early as the first ones", async () => {
  await using server = await TestServer.open({ clock: quick });
  const ann = await JsonClient.login(server, "Ann", "red");
  for (const many of [1, 2, 3]) {
    await ann.sendMessage(`${many}`);
    await compacted(server.kv, "red", many);
  }
});

Deno.test("History: after the largest page the connection works as before", async () => {
  await using server = await TestServer.open({ rateLimits: "off" });
  const ann = await JsonClient.login(server, "Ann", "red");
  const text = "x".repeat(16_384);
  for (let i = 0; i < 100; i++) {
    ann.send({ type: "message", room: "red", text });
    // More than a megabyte at once exceeds the unsent data of one connection.
    if (i % 20 === 19) { for (let j = 0; j < 20; j++) await ann.expect({ type: "message" }); }
  }
  ann.send('{"type":"history","room":"red","limit":100,"ref":1}\n{"type":"ping","ref":2}');
  const next = async (): Promise<JsonObject> => {
    const line = await Promise.race([ann.next(), ann.connection.closed]);
    if (line instanceof CloseEvent) throw new Error(`closed with ${line.code}`);
    return line;
  };
  // However many events it holds: each once, and with the information whether there are more.
  const page = await next();
  assertEquals([page.type, page.ref], ["history", 1]);
  assert(texts(page.events).every((each) => each === text));
  assert(page.events.length === 100 || page.more);
  assertEquals(await next(), { type: "pong", ref: 2 });
});

Deno.test("History is complete after the server restarts on the same file", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const said = numbers(0, 30);
    for (const time of ["first", "second", "third"]) {
      using kv = await Deno.openKv(`${folder}/kv`);
      await using server = await TestServer.open({ kv });
      const ann = await JsonClient.login(server, `Ann ${time}`, "red");
      if (time === "first") await sayAll(ann, numbers(0, 20));
      if (time === "second") await sayAll(ann, numbers(20, 30));
      const { events } = await ann.request({ type: "history", room: "red" });
      assertEquals(texts(events), time === "first" ? said.slice(0, 20) : said, time);
      const ids = events.map(({ id }: JsonObject) => id);
      assertEquals(ids, ids.toSorted());
      // A client that quits leaves nothing to clean up.
      await ann.connection.disconnect();
      const there = async () => await Array.fromAsync(kv.list({ prefix: ["nick"] }));
      await eventually(async () => (await there()).length === 0, "no connection is left");
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
