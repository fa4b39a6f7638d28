import { assert, assertEquals } from "@std/assert";
import { MAX_CHECKS, type Operation, type Outcome } from "../../chat/feed/batch.ts";
import type { RoomEvent } from "../../chat/feed/events.ts";
import { Feed, type FeedParts } from "../../chat/feed/feed.ts";
import { Random } from "../support/random.ts";
import { type Commit, committingThrough, feedParts, repeating } from "../support/test_server.ts";

function event(text: string, id = "1"): RoomEvent {
  return { kind: "message", room: "red", id, nick: "Ann", text, time: 0, cid: "" };
}

/** A feed that notes what it delivers and warns of, and how operations end. */
async function open(kv: Deno.Kv, parts: Partial<FeedParts> = {}) {
  const delivered: string[] = [];
  const warnings: string[] = [];
  const feed = new Feed(
    await feedParts(kv, "01A", {
      deliver: ({ text }) => delivered.push(text) && 1,
      warn: (message) => void warnings.push(message),
      ...parts,
    }),
  );
  await feed.open();
  const submit = (operation: Partial<Operation>) =>
    new Promise<Outcome>((settle) => feed.submit("red", { ...operation, settle }));
  return {
    ...{ feed, delivered, warnings, submit },
    [Symbol.asyncDispose]: () => feed.close(),
  };
}

/** An operation that KV refuses, once something that is no number stands there. */
const REFUSED: Partial<Operation> = {
  mutations: [{ type: "sum", key: ["text"], value: new Deno.KvU64(1n) }],
};

Deno.test("Shard: an operation that KV refuses fails alone, at once, wherever it stands", async () => {
  const random = new Random(1);
  for (let round = 0; round < 30; round++) {
    using kv = await Deno.openKv(":memory:");
    await kv.set(["text"], "text");
    let commits = 0;
    const counted = committingThrough(kv, (commit) => (commits++, commit()));
    await using house = await open(counted);
    const many = 1 + random.below(80);
    const bad = new Set(Array.from({ length: 1 + random.below(3) }, () => random.below(many)));
    const outcomes = await Promise.all(
      Array.from({ length: many }, (_, i) => {
        const announced = random.percent(50) ? { event: event(`${i}`, `${i}`) } : {};
        const key = ["written", i];
        const mutations: Deno.KvMutation[] = [{ type: "set", key, value: i }];
        // What was written of a refused commit would make this a conflict.
        const checks = [{ key, versionstamp: null }];
        return house.submit({ ...announced, ...(bad.has(i) ? REFUSED : { checks, mutations }) });
      }),
    );
    outcomes.forEach((outcome, i) => assertEquals(outcome, bad.has(i) ? "failed" : "done", `${i}`));
    const written = await Array.fromAsync(kv.list({ prefix: ["written"] }), ({ key }) => key[1]);
    assertEquals(written, outcomes.flatMap((outcome, i) => outcome === "done" ? [i] : []));
    // In the order in which they were handed in, and each once.
    assertEquals(house.delivered, house.delivered.toSorted((a, b) => Number(a) - Number(b)));
    assertEquals(new Set(house.delivered).size, house.delivered.length);
    const message = "Failed to perform 'sum' mutation on a non-U64 value in the database";
    assertEquals(house.warnings, Array(bad.size).fill(`storage refuses an operation: ${message}`));
    // Not each operation by itself: two commits a halving, for each that is refused.
    const most = 1 + 2 * bad.size * Math.ceil(Math.log2(many));
    assert(commits <= most, `${commits} commits for ${many} operations`);
  }
});

Deno.test("Shard: a refused commit whose earlier tries may have been written loses and doubles nothing", async () => {
  using kv = await Deno.openKv(":memory:");
  let tries = 0;
  await using house = await open(committingThrough(kv, async (commit) => {
    tries++;
    if (tries === 1) {
      const result = await commit();
      assertEquals(result.ok, true);
      throw new Error("the answer was lost");
    }
    // As if it had been written by a try that nobody reckons with.
    if (tries === 2) throw new TypeError("Total key size too large (max 81920 bytes)");
    return await commit();
  }));
  const outcomes = ["one", "two", "three"].map((text) => house.submit({ event: event(text) }));
  assertEquals(await Promise.all(outcomes), ["done", "done", "done"]);
  assertEquals(house.delivered, ["one", "two", "three"]);
  assertEquals((await Array.fromAsync(kv.list({ prefix: ["feed"] }))).length, 1);
});

Deno.test("Shard: a late try of a commit that was refused and split changes nothing any more", async () => {
  using kv = await Deno.openKv(":memory:");
  const late: Commit[] = [];
  let tries = 0;
  await using house = await open(committingThrough(kv, async (commit) => {
    tries++;
    if (tries === 1) {
      late.push(commit);
      throw new Error("no answer");
    }
    if (tries === 2) throw new TypeError("Total key size too large (max 81920 bytes)");
    return await commit();
  }));
  const outcomes = ["one", "two", "three"].map((text) => house.submit({ event: event(text) }));
  assertEquals(await Promise.all(outcomes), ["done", "done", "done"]);
  for (const commit of late) assertEquals((await commit()).ok, false);
  await house.feed.poll();
  await house.feed.flush();
  assertEquals(house.delivered, ["one", "two", "three"]);
});

Deno.test("Shard: a late try comes too late between the parts of a refused commit, too", async () => {
  using kv = await Deno.openKv(":memory:");
  let tries = 0, late: Commit | undefined;
  await using house = await open(committingThrough(kv, async (commit) => {
    tries++;
    if (tries === 1) {
      late = commit;
      throw new Error("no answer");
    }
    if (tries === 2) throw new TypeError("Total key size too large (max 81920 bytes)");
    const result = await commit();
    // The first part announces nothing: it does not move what guarded the whole.
    if ((await kv.get(["silent"])).versionstamp !== null && late !== undefined) {
      const whole = late;
      late = undefined;
      assertEquals((await whole()).ok, false);
    }
    return result;
  }));
  const silent = house.submit({ mutations: [{ type: "set", key: ["silent"], value: 1 }] });
  const said = house.submit({ event: event("hello") });
  assertEquals(await Promise.all([silent, said]), ["done", "done"]);
  assertEquals(late, undefined);
  assertEquals(house.delivered, ["hello"]);
});

Deno.test("Shard: a commit that KV's client repeats by itself is done, not a conflict", async () => {
  for (const company of [false, true]) {
    using kv = await Deno.openKv(":memory:");
    await using house = await open(committingThrough(kv, repeating));
    if (company) {
      // A row of another instance: from here on the guard is a row of our own.
      const row = { v: 1, from: "01B", n: 1, events: [["message", "red", "2", "Bob", "hi", 0]] };
      for (let shard = 0; shard < 8; shard++) {
        await kv.atomic().set(["feed", shard, kv.commitVersionstamp()], row)
          .set(["bell", shard], 1).commit();
      }
      await house.feed.poll();
      await house.feed.flush();
      house.delivered.length = 0;
    }
    const claim = (nick: string): Partial<Operation> => ({
      checks: [{ key: ["nick", nick], versionstamp: null }],
      mutations: [{ type: "set", key: ["nick", nick], value: nick }],
    });
    // Without an event, with one, and both in one commit.
    assertEquals(await house.submit(claim("ann")), "done");
    assertEquals(await house.submit({ ...claim("bob"), event: event("bob") }), "done");
    const both = [house.submit(claim("cleo")), house.submit({ event: event("hello") })];
    assertEquals(await Promise.all(both), ["done", "done"]);
    // A real conflict is still one.
    assertEquals(await house.submit(claim("ann")), "conflict");
    assertEquals(house.delivered, ["bob", "hello"]);
    assertEquals(house.warnings, []);
  }
});

Deno.test("Shard: messages of one client arrive in their order, when others with a cid are in front", async () => {
  for (const withCid of [[true, false], [false, true], [true, true], [false, false]]) {
    using kv = await Deno.openKv(":memory:");
    await using house = await open(kv, { mostChecks: MAX_CHECKS });
    // A message with a cid checks that nobody else has taken its author's connection.
    const say = (text: string, id: string, cid: string) =>
      house.submit({
        checks: cid === "" ? [] : [{ key: ["taken", "01A", id, "era"], versionstamp: null }],
        event: { ...event(text, id), cid },
      });
    const others = Array.from({ length: MAX_CHECKS }, (_, i) => say(`${i}`, `other${i}`, "c"));
    const ann = ["first", "second"].map((text, i) => say(text, "ann", withCid[i] ? text : ""));
    for (const outcome of await Promise.all([...others, ...ann])) assertEquals(outcome, "done");
    const heard = house.delivered.filter((text) => text.length > 1);
    assertEquals(heard, ["first", "second"]);
    assertEquals(house.delivered.length, MAX_CHECKS + 2);
  }
});
