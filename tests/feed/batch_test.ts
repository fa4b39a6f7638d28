/** Batches: which operations share a commit, and in which order the others follow. */
import { assert, assertEquals } from "@std/assert";
import { MAX_CHECKS, MAX_LOCAL_CHECKS, type Operation, takeBatch } from "../../chat/feed/batch.ts";
import type { RoomEvent } from "../../chat/feed/events.ts";
import { Random } from "../support/random.ts";

const settle = () => {};

function message(text: string): Operation {
  const event: RoomEvent = {
    kind: "message",
    room: "r",
    id: "1",
    account: "",
    nick: "Ann",
    text,
    time: 0,
    cid: "",
  };
  return { events: [event], settle };
}

function claim(nick: string): Operation {
  const key = ["nick", nick];
  return {
    checks: [{ key, versionstamp: null }],
    mutations: [{ type: "set", key, value: 1 }],
    settle,
  };
}

Deno.test("takeBatch takes a whole queue in order if it fits", () => {
  const queue = [message("one"), message("two"), message("three")];
  const all = [...queue];
  assertEquals(takeBatch(queue).operations, all);
  assertEquals(queue, []);
});

Deno.test("takeBatch: the events of a batch fit into one KV value, in any script", async () => {
  using kv = await Deno.openKv(":memory:");
  for (const letter of ["a", "é", "日", "\u0001"]) {
    const bytes = new TextEncoder().encode(letter).length;
    const queue = Array.from({ length: 20 }, () => message(letter.repeat(16384 / bytes)));
    const seen: number[] = [];
    while (queue.length > 0) {
      const { operations } = takeBatch(queue);
      seen.push(operations.length);
      await kv.set(["row"], operations.map(({ events }) => Object.values(events![0]!)));
    }
    assertEquals(seen.reduce((sum, each) => sum + each), 20);
  }
});

Deno.test("takeBatch never puts two claims of one name into a batch, and others do not wait for them", () => {
  const queue = [claim("ann"), claim("ann"), claim("bob")];
  const [first, second, third] = queue;
  assertEquals(takeBatch(queue).operations, [first, third]);
  assertEquals(takeBatch(queue).operations, [second]);
});

Deno.test("takeBatch leaves the claim of a name that the batch releases to the next batch", () => {
  const release: Operation = { mutations: [{ type: "delete", key: ["nick", "ann"] }], settle };
  const queue = [release, claim("ann")];
  assertEquals(takeBatch(queue).operations, [release]);
  assertEquals(queue.length, 1);
});

Deno.test("takeBatch takes no more checks than denokv accepts, and counts equal checks once", () => {
  const queue = Array.from({ length: 30 }, (_, i) => claim(`nick${i}`));
  assertEquals(takeBatch(queue).checks.length, MAX_CHECKS);
  assertEquals(queue.length, 30 - MAX_CHECKS);
  const check = { key: ["instance", "dead"], versionstamp: "1" };
  const removals = Array.from({ length: 30 }, () => ({ ...message("x"), checks: [check] }));
  assertEquals(takeBatch(removals).checks, [check]);
  assertEquals(removals, []);
});

Deno.test("takeBatch separates operations that expect different versionstamps of one key", () => {
  const key = ["instance", "dead"];
  const queue = ["1", "2"].map((versionstamp) => ({
    ...message("x"),
    checks: [{ key, versionstamp }],
  }));
  assertEquals(takeBatch(queue).operations.length, 1);
  assertEquals(takeBatch(queue).operations.length, 1);
});

Deno.test("takeBatch takes the first operation even if it is larger than a batch may be", () => {
  const huge = message("x".repeat(100_000));
  const queue = [huge, message("y")];
  assertEquals(takeBatch(queue).operations, [huge]);
});

/** A message with a check, like that of an author whose session can be resumed. */
function checked(text: string, id: string): Operation {
  const key = ["taken", id];
  return { ...said(text, id), checks: [{ key, versionstamp: null }] };
}

function said(text: string, id: string): Operation {
  return { events: [{ ...message(text).events![0]!, id }], settle };
}

/** The operations of a queue by commit, with the checks that denokv accepts. */
function batches(queue: Operation[]): Operation[][] {
  const all: Operation[][] = [];
  while (queue.length > 0) all.push(takeBatch(queue, undefined, MAX_CHECKS).operations);
  return all;
}

Deno.test("takeBatch keeps the order of one connection when it passes an operation over", () => {
  const others = Array.from({ length: MAX_CHECKS }, (_, i) => checked("hello", `other${i}`));
  const first = checked("first", "ann"), second = said("second", "ann"), bob = said("hi", "bob");
  const queue = [...others, first, second, bob];
  assertEquals(batches(queue), [[...others, bob], [first, second]]);
});

Deno.test("takeBatch lets no operation overtake one that shares a written key with it", () => {
  const others = Array.from({ length: MAX_CHECKS }, (_, i) => checked("hello", `other${i}`));
  const set = (...keys: string[]): Operation => ({
    mutations: keys.map((key) => ({ type: "set", key: [key], value: 1 })),
    settle,
  });
  const check = (...keys: string[]): Operation => ({
    checks: keys.map((key) => ({ key: [key], versionstamp: null })),
    settle,
  });
  const passed: Operation = { ...set("row"), ...check("claim") };
  const writes = set("row", "more"), behind = set("more"), overChecked = set("claim");
  const checks = check("row");
  const apart = set("another");
  const queue = [...others, passed, writes, behind, overChecked, checks, apart];
  // `behind` shares a key only with an operation that also stays.
  assertEquals(batches(queue), [
    [...others, apart],
    [passed, writes, behind, overChecked],
    [checks],
  ]);
});

Deno.test("takeBatch keeps the order of every connection in random queues, and takes each operation once", () => {
  const random = new Random(1);
  for (let round = 0; round < 300; round++) {
    const queue = Array.from({ length: 200 }, (_, i) => {
      const id = `person${random.below(20)}`;
      return random.percent(50) ? checked(String(i), id) : said(String(i), id);
    });
    const before = [...queue];
    const after = batches(queue).flat();
    const of = (all: Operation[], id: string) => all.filter(({ events }) => events![0]!.id === id);
    for (let i = 0; i < 20; i++) {
      assertEquals(of(after, `person${i}`), of(before, `person${i}`));
    }
    assertEquals(after.length, before.length);
  }
});

Deno.test("takeBatch takes an operation with more checks than KV accepts instead of keeping it for ever", () => {
  const checks = Array.from({ length: 20 }, (_, i) => ({ key: ["k", i], versionstamp: null }));
  const large: Operation = { checks, settle }, one = said("one", "ann"), bob = checked("hi", "bob");
  assertEquals(batches([one, large, bob]), [[one, bob], [large]]);
});

Deno.test("takeBatch stays within KV's limits with any keys and values, including what the shard adds", async () => {
  using kv = await Deno.openKv(":memory:");
  const random = new Random(2);
  const text = (most: number) =>
    random.pick(["x", "é", "日", "💚", "\0"]).repeat(random.below(most));
  const mutation = (i: number, value: number): Deno.KvMutation => {
    const key = ["row", i, text(500)];
    if (random.percent(30)) return { type: "delete", key };
    return { type: "set", key, value: { nick: text(random.pick([10, value])) } };
  };
  const shardAdds = () =>
    kv.atomic()
      .check({ key: ["instance", "01JD000000000000000000001", 7], versionstamp: null })
      .check({ key: ["instance", "01JD000000000000000000001"], versionstamp: null })
      .set(["no", "instance", "01JD000000000000000000001", 7], 1)
      .set(["feed", 7, kv.commitVersionstamp()], "x".repeat(65_000))
      .set(["bell", 7], 1);
  for (let round = 0; round < 20; round++) {
    // Alternately, the keys or the values fill a commit.
    const largest = round % 2 === 0 ? 10 : 10_000;
    const queue = Array.from({ length: 300 }, (_, i): Operation => ({
      checks: random.percent(50) ? [{ key: ["no", i, text(500)], versionstamp: null }] : undefined,
      mutations: Array.from({ length: random.below(8) }, (_, k) => mutation(10 * i + k, largest)),
      settle,
    }));
    let taken = 0, commits = 0;
    while (queue.length > 0) {
      const { operations, checks } = takeBatch(queue, undefined, MAX_LOCAL_CHECKS);
      const mutations = operations.flatMap(({ mutations = [] }) => mutations);
      const { ok } = await shardAdds().check(...checks).mutate(...mutations).commit();
      assertEquals(ok, true);
      taken += operations.length;
      commits++;
    }
    assertEquals(taken, 300);
    // A batch is not much smaller than allowed.
    assert(commits < 100, `${commits} commits`);
  }
});

Deno.test("takeBatch: an operation with an act is the last of its batch", () => {
  const act = message("spam");
  const acting: Operation = {
    ...act,
    events: [{ ...act.events![0]!, kind: "act", target: "ban" }],
  };
  const queue = [message("one"), acting, message("two"), message("three")];
  const all = [...queue];
  assertEquals(takeBatch(queue).operations, all.slice(0, 2));
  assertEquals(queue, all.slice(2));
});
