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
    nick: "Ann",
    text,
    time: 0,
    cid: "",
  };
  return { event, settle };
}

function claim(nick: string): Operation {
  const key = ["nick", nick];
  return {
    checks: [{ key, versionstamp: null }],
    mutations: [{ type: "set", key, value: 1 }],
    settle,
  };
}

Deno.test("what waits is taken in order, all of it where it fits", () => {
  const queue = [message("one"), message("two"), message("three")];
  const all = [...queue];
  assertEquals(takeBatch(queue).operations, all);
  assertEquals(queue, []);
});

Deno.test("a batch's events fit into one KV value, whatever their script", async () => {
  using kv = await Deno.openKv(":memory:");
  for (const letter of ["a", "é", "日", "\u0001"]) {
    const bytes = new TextEncoder().encode(letter).length;
    const queue = Array.from({ length: 20 }, () => message(letter.repeat(16384 / bytes)));
    const seen: number[] = [];
    while (queue.length > 0) {
      const { operations } = takeBatch(queue);
      seen.push(operations.length);
      await kv.set(["row"], operations.map(({ event }) => Object.values(event!)));
    }
    assertEquals(seen.reduce((sum, each) => sum + each), 20);
  }
});

Deno.test("two claims of one name never share a batch, and others do not wait for them", () => {
  const queue = [claim("ann"), claim("ann"), claim("bob")];
  const [first, second, third] = queue;
  assertEquals(takeBatch(queue).operations, [first, third]);
  assertEquals(takeBatch(queue).operations, [second]);
});

Deno.test("a name that is given up in a batch is claimed in the next", () => {
  const release: Operation = { mutations: [{ type: "delete", key: ["nick", "ann"] }], settle };
  const queue = [release, claim("ann")];
  assertEquals(takeBatch(queue).operations, [release]);
  assertEquals(queue.length, 1);
});

Deno.test("a batch has no more checks than denokv takes, and the same check counts once", () => {
  const queue = Array.from({ length: 30 }, (_, i) => claim(`nick${i}`));
  assertEquals(takeBatch(queue).checks.length, MAX_CHECKS);
  assertEquals(queue.length, 30 - MAX_CHECKS);
  const check = { key: ["instance", "dead"], versionstamp: "1" };
  const sweep = Array.from({ length: 30 }, () => ({ ...message("x"), checks: [check] }));
  assertEquals(takeBatch(sweep).checks, [check]);
  assertEquals(sweep, []);
});

Deno.test("operations that expect different things of one key never share a batch", () => {
  const key = ["instance", "dead"];
  const queue = ["1", "2"].map((versionstamp) => ({
    ...message("x"),
    checks: [{ key, versionstamp }],
  }));
  assertEquals(takeBatch(queue).operations.length, 1);
  assertEquals(takeBatch(queue).operations.length, 1);
});

Deno.test("the first operation is taken even if it is larger than a batch should be", () => {
  const huge = message("x".repeat(100_000));
  const queue = [huge, message("y")];
  assertEquals(takeBatch(queue).operations, [huge]);
});

/** A message whose author expects that something has not happened, like that of one who can resume. */
function checked(text: string, id: string): Operation {
  const key = ["taken", id];
  return { ...said(text, id), checks: [{ key, versionstamp: null }] };
}

function said(text: string, id: string): Operation {
  return { event: { ...message(text).event!, id }, settle };
}

/** What is in a queue, commit by commit, as denokv takes it. */
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

Deno.test("takeBatch passes nothing over that writes, or checks, what a passed-over operation writes", () => {
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
  // `behind` shares a key only with one that stays itself.
  assertEquals(batches(queue), [
    [...others, apart],
    [passed, writes, behind, overChecked],
    [checks],
  ]);
});

Deno.test("takeBatch keeps every connection's order in any queue, and takes everything once", () => {
  const random = new Random(1);
  for (let round = 0; round < 300; round++) {
    const queue = Array.from({ length: 200 }, (_, i) => {
      const id = `person${random.below(20)}`;
      return random.percent(50) ? checked(String(i), id) : said(String(i), id);
    });
    const before = [...queue];
    const after = batches(queue).flat();
    const of = (all: Operation[], id: string) => all.filter(({ event }) => event!.id === id);
    for (let i = 0; i < 20; i++) {
      assertEquals(of(after, `person${i}`), of(before, `person${i}`));
    }
    assertEquals(after.length, before.length);
  }
});

Deno.test("takeBatch takes an operation with more checks than KV allows, and does not keep it for ever", () => {
  const checks = Array.from({ length: 20 }, (_, i) => ({ key: ["k", i], versionstamp: null }));
  const large: Operation = { checks, settle }, one = said("one", "ann"), bob = checked("hi", "bob");
  assertEquals(batches([one, large, bob]), [[one, bob], [large]]);
});

Deno.test("takeBatch takes no more than KV does, with what the shard adds, whatever the keys and values", async () => {
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
    // In turn it is the keys that fill a commit, and the values.
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
    // Nor does it take much less than it could.
    assert(commits < 100, `${commits} commits`);
  }
});
