import { assertEquals } from "@std/assert";
import { MOST_CHECKS, type Operation, takeBatch } from "../chat/batch.ts";
import type { RoomEvent } from "../chat/events.ts";

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
  assertEquals(takeBatch(queue).checks.length, MOST_CHECKS);
  assertEquals(queue.length, 30 - MOST_CHECKS);
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
