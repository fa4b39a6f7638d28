/** A shard when commits are refused, repeated, or written late. */
import { assert, assertEquals } from "@std/assert";
import { type Metrics, openMetrics } from "../../chat/base/metrics.ts";
import { MAX_CHECKS, type Operation, type Outcome } from "../../chat/feed/batch.ts";
import type { RoomEvent } from "../../chat/feed/events.ts";
import { Feed, type FeedParts } from "../../chat/feed/feed.ts";
import { Random } from "../support/random.ts";
import { type Commit, commitTwice, interceptCommits } from "../support/faulty_kv.ts";
import { feedParts } from "../support/feed_parts.ts";

function event(text: string, id = "1"): RoomEvent {
  return { kind: "message", room: "red", id, account: "", nick: "Ann", text, time: 0, cid: "" };
}

/** Opens a feed that records its deliveries and warnings. */
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

/** An operation that KV refuses while the value of its key is not a number. */
const REFUSED: Partial<Operation> = {
  mutations: [{ type: "sum", key: ["text"], value: new Deno.KvU64(1n) }],
};

Deno.test("Shard: each commit is measured once, with its messages, and each failed try is counted", async () => {
  using kv = await Deno.openKv(":memory:");
  let fails = 2;
  const failing = interceptCommits(kv, (commit) => {
    if (fails-- > 0) throw new Error("no route");
    return commit();
  });
  const commits: number[][] = [], failed: string[] = [];
  const metrics: Metrics = {
    ...openMetrics(),
    committed: (seconds, ...content) => void commits.push([Math.sign(seconds), ...content]),
    kvFailed: (call) => void failed.push(call),
  };
  await using one = await open(failing, { metrics });
  commits.length = 0;
  const join: RoomEvent = { ...event(""), kind: "join" };
  const outcome = await one.submit({ events: [event("hello"), join, event("you")] });
  assertEquals([outcome, failed], ["done", ["commit", "commit"]]);
  assertEquals(commits.map(([seconds, messages]) => [seconds, messages]), [[1, 2]]);
  assert(commits[0]![2]! > "hello you".length);
});

Deno.test("Shard: an operation that KV refuses fails alone and at once, wherever it is in the batch", async () => {
  const random = new Random(1);
  for (let round = 0; round < 30; round++) {
    using kv = await Deno.openKv(":memory:");
    await kv.set(["text"], "text");
    let commits = 0;
    const counted = interceptCommits(kv, (commit) => (commits++, commit()));
    await using one = await open(counted);
    const count = 1 + random.below(80);
    const bad = new Set(Array.from({ length: 1 + random.below(3) }, () => random.below(count)));
    const outcomes = await Promise.all(
      Array.from({ length: count }, (_, i) => {
        const announced = random.percent(50) ? { events: [event(`${i}`, `${i}`)] } : {};
        const key = ["written", i];
        const mutations: Deno.KvMutation[] = [{ type: "set", key, value: i }];
        // A refused commit that wrote this key would turn its retry into a conflict.
        const checks = [{ key, versionstamp: null }];
        return one.submit({ ...announced, ...(bad.has(i) ? REFUSED : { checks, mutations }) });
      }),
    );
    outcomes.forEach((outcome, i) => assertEquals(outcome, bad.has(i) ? "failed" : "done", `${i}`));
    const written = await Array.fromAsync(kv.list({ prefix: ["written"] }), ({ key }) => key[1]);
    assertEquals(written, outcomes.flatMap((outcome, i) => outcome === "done" ? [i] : []));
    // In the order of submission, and each once.
    assertEquals(one.delivered, one.delivered.toSorted((a, b) => Number(a) - Number(b)));
    assertEquals(new Set(one.delivered).size, one.delivered.length);
    const message = "Failed to perform 'sum' mutation on a non-U64 value in the database";
    assertEquals(one.warnings, Array(bad.size).fill(`Cannot commit an operation: ${message}`));
    // Two commits for each halving, for each refused operation; not one commit for each operation.
    const maxCommits = 1 + 2 * bad.size * Math.ceil(Math.log2(count));
    assert(commits <= maxCommits, `${commits} commits for ${count} operations`);
  }
});

Deno.test("Shard: a refused commit loses and doubles nothing when an earlier try was written", async () => {
  using kv = await Deno.openKv(":memory:");
  let tries = 0;
  await using one = await open(interceptCommits(kv, async (commit) => {
    tries++;
    if (tries === 1) {
      const result = await commit();
      assertEquals(result.ok, true);
      throw new Error("the answer was lost");
    }
    // A refusal although an earlier try was written.
    if (tries === 2) throw new TypeError("Total key size too large (max 81920 bytes)");
    return await commit();
  }));
  const outcomes = ["one", "two", "three"].map((text) => one.submit({ events: [event(text)] }));
  assertEquals(await Promise.all(outcomes), ["done", "done", "done"]);
  assertEquals(one.delivered, ["one", "two", "three"]);
  assertEquals((await Array.fromAsync(kv.list({ prefix: ["feed"] }))).length, 1);
});

Deno.test("Shard: a late try of a commit that was refused and halved changes nothing", async () => {
  using kv = await Deno.openKv(":memory:");
  const late: Commit[] = [];
  let tries = 0;
  await using one = await open(interceptCommits(kv, async (commit) => {
    tries++;
    if (tries === 1) {
      late.push(commit);
      throw new Error("no answer");
    }
    if (tries === 2) throw new TypeError("Total key size too large (max 81920 bytes)");
    return await commit();
  }));
  const outcomes = ["one", "two", "three"].map((text) => one.submit({ events: [event(text)] }));
  assertEquals(await Promise.all(outcomes), ["done", "done", "done"]);
  for (const commit of late) assertEquals((await commit()).ok, false);
  await one.feed.poll();
  await one.feed.flush();
  assertEquals(one.delivered, ["one", "two", "three"]);
});

Deno.test("Shard: a late try between the two halves of a refused commit changes nothing", async () => {
  using kv = await Deno.openKv(":memory:");
  let tries = 0, late: Commit | undefined;
  await using one = await open(interceptCommits(kv, async (commit) => {
    tries++;
    if (tries === 1) {
      late = commit;
      throw new Error("no answer");
    }
    if (tries === 2) throw new TypeError("Total key size too large (max 81920 bytes)");
    const result = await commit();
    // The first half has no event, so it does not move the guard of the whole commit.
    if ((await kv.get(["silent"])).versionstamp !== null && late !== undefined) {
      const whole = late;
      late = undefined;
      assertEquals((await whole()).ok, false);
    }
    return result;
  }));
  const silent = one.submit({ mutations: [{ type: "set", key: ["silent"], value: 1 }] });
  const said = one.submit({ events: [event("hello")] });
  assertEquals(await Promise.all([silent, said]), ["done", "done"]);
  assertEquals(late, undefined);
  assertEquals(one.delivered, ["hello"]);
});

Deno.test("Shard: a commit that KV's client repeats is done, not a conflict", async () => {
  for (const isShared of [false, true]) {
    using kv = await Deno.openKv(":memory:");
    await using one = await open(interceptCommits(kv, commitTwice));
    if (isShared) {
      // A row of another instance: from here on the guard is a row of the instance's own.
      const row = { v: 1, from: "01B", n: 1, events: [["message", "red", "2", "Bob", "hi", 0]] };
      for (let shard = 0; shard < 8; shard++) {
        await kv.atomic().set(["feed", shard, kv.commitVersionstamp()], row)
          .set(["bell", shard], 1).commit();
      }
      await one.feed.poll();
      await one.feed.flush();
      one.delivered.length = 0;
    }
    const claim = (nick: string): Partial<Operation> => ({
      checks: [{ key: ["nick", nick], versionstamp: null }],
      mutations: [{ type: "set", key: ["nick", nick], value: nick }],
    });
    // Without an event, with one, and both in one commit.
    assertEquals(await one.submit(claim("ann")), "done");
    assertEquals(await one.submit({ ...claim("bob"), events: [event("bob")] }), "done");
    const both = [one.submit(claim("cleo")), one.submit({ events: [event("hello")] })];
    assertEquals(await Promise.all(both), ["done", "done"]);
    // A real conflict is still one.
    assertEquals(await one.submit(claim("ann")), "conflict");
    assertEquals(one.delivered, ["bob", "hello"]);
    assertEquals(one.warnings, []);
  }
});

Deno.test("Shard: messages of one client keep their order when checked messages of others precede them", async () => {
  for (const withCid of [[true, false], [false, true], [true, true], [false, false]]) {
    using kv = await Deno.openKv(":memory:");
    await using one = await open(kv, { maxChecks: MAX_CHECKS });
    // A message with a cid checks that no other instance has taken its author's connection over.
    const say = (text: string, id: string, cid: string) =>
      one.submit({
        checks: cid === "" ? [] : [{ key: ["taken", "01A", id, "era"], versionstamp: null }],
        events: [{ ...event(text, id), cid }],
      });
    const others = Array.from({ length: MAX_CHECKS }, (_, i) => say(`${i}`, `other${i}`, "c"));
    const ann = ["first", "second"].map((text, i) => say(text, "ann", withCid[i] ? text : ""));
    for (const outcome of await Promise.all([...others, ...ann])) assertEquals(outcome, "done");
    const heard = one.delivered.filter((text) => text.length > 1);
    assertEquals(heard, ["first", "second"]);
    assertEquals(one.delivered.length, MAX_CHECKS + 2);
  }
});
