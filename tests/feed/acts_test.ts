/** Acts of moderation in the feed: what is committed after one has been judged by it, on any instance. */
import { assert, assertEquals } from "@std/assert";
import type { Operation, Outcome } from "../../chat/feed/batch.ts";
import type { RoomEvent } from "../../chat/feed/events.ts";
import { Feed, type FeedParts } from "../../chat/feed/feed.ts";
import { lastActKey, notifyKey } from "../../chat/kv/keys.ts";
import { kvWith } from "../support/faulty_kv.ts";
import { feedParts } from "../support/feed_parts.ts";

const ROOM = "red";

function event(text: string, kind: RoomEvent["kind"] = "message", room = ROOM): RoomEvent {
  return { kind, room, id: "1", account: "", nick: "Ann", text, time: 0, cid: "", target: "ban" };
}

/** Opens a feed that forbids messages with a text that an act has named. It does not watch. */
async function open(kv: Deno.Kv, instance: string, parts: Partial<FeedParts> = {}) {
  const delivered: { text: string; shard: number; eventId: string }[] = [];
  const banned = new Set<string>();
  const feed = new Feed(
    await feedParts(kv, instance, {
      deliver({ kind, text }, eventId, shard) {
        if (kind === "act") banned.add(text);
        delivered.push({ text: `${kind} ${text}`, shard, eventId });
        return 1;
      },
      isAllowed: ({ kind, text }) => kind !== "message" || !banned.has(text),
      ...parts,
    }),
  );
  await feed.open();
  return {
    feed,
    delivered,
    submit: (operation: Partial<Operation>, name = ROOM) =>
      new Promise<Outcome>((settle) => feed.submit(name, { ...operation, settle })),
    textsOf: (name = ROOM) =>
      delivered.filter(({ shard }) => shard === feed.shardOf(name)).map(({ text }) => text),
    [Symbol.asyncDispose]: () => feed.close(),
  };
}

Deno.test("Feed: an act reaches operations that wait behind it, those that were halved too", async () => {
  using kv = await Deno.openKv(":memory:");
  await using one = await open(kv, "01A");
  const outcomes = await Promise.all([
    one.submit({ events: [event("spam")] }),
    one.submit({ events: [event("spam", "act")] }),
    one.submit({ events: [event("spam")] }),
    one.submit({ events: [event("ham")] }),
  ]);
  assertEquals(outcomes, ["done", "done", "conflict", "done"]);
  assertEquals(one.textsOf(), ["message spam", "act spam", "message ham"]);
});

Deno.test("Feed: an operation that was planned before the last act is a conflict, in both modes", async () => {
  using kv = await Deno.openKv(":memory:");
  await using one = await open(kv, "01A");
  await using other = await open(kv, "01B");
  const key = lastActKey(one.feed.shardOf(ROOM));
  const joins = (lastAct: string | null) => ({ events: [event("", "join")], lastAct });
  assertEquals(await other.submit(joins(null)), "done");
  for (let round = 0; round < 3; round++) {
    const { versionstamp } = await kv.get(key);
    assertEquals(await one.submit({ events: [event("x", "act")] }), "done");
    assertEquals(await other.submit(joins(versionstamp)), "conflict");
    assertEquals(await other.submit(joins((await kv.get(key)).versionstamp)), "done");
  }
});

Deno.test("Feed: a plan that has seen an act which is not delivered here yet is committed after it", async () => {
  using kv = await Deno.openKv(":memory:");
  await using one = await open(kv, "01A");
  await using other = await open(kv, "01B");
  assertEquals(await one.submit({ events: [event("x", "act")] }), "done");
  const { versionstamp } = await kv.get(lastActKey(one.feed.shardOf(ROOM)));
  const join = { events: [event("", "join")], lastAct: versionstamp };
  assertEquals(await other.submit(join), "done");
  assertEquals(other.textsOf(), ["act x", "join "]);
});

Deno.test("Feed: copies put an act into other shards in the same commit, and each shard judges by it", async () => {
  using kv = await Deno.openKv(":memory:");
  await using one = await open(kv, "01A");
  await using other = await open(kv, "01B");
  const shard = one.feed.shardOf("blue");
  assert(shard !== one.feed.shardOf(ROOM));
  assertEquals(await one.submit({ events: [event("a", "message", "blue")] }, "blue"), "done");
  assertEquals(await other.submit({ events: [event("b", "message", "blue")] }, "blue"), "done");
  const copies = new Map([[shard, event("spam", "act", "")]]);
  assertEquals(await one.submit({ events: [event("spam", "act")], copies }), "done");
  assertEquals(
    await other.submit({ events: [event("spam", "message", "blue")] }, "blue"),
    "conflict",
  );
  assertEquals(
    await one.submit({ events: [event("spam", "message", "blue")] }, "blue"),
    "conflict",
  );
  assertEquals(await other.submit({ events: [event("c", "message", "blue")] }, "blue"), "done");
  assertEquals(await one.submit({ events: [event("d", "message", "blue")] }, "blue"), "done");
  const expected = ["message a", "message b", "act spam", "message c", "message d"];
  assertEquals(one.textsOf("blue"), expected);
  assertEquals(other.textsOf("blue"), expected.slice(0, 4));
  // One versionstamp in both shards.
  const [act, copy] = one.delivered.filter(({ text }) => text === "act spam")
    .map(({ eventId }) => eventId.slice(0, -3));
  assertEquals(act, copy);
});

Deno.test("Feed: in exclusive mode a message is committed with two checks, in shared mode with three", async () => {
  using kv = await Deno.openKv(":memory:");
  const checks: number[] = [];
  const counting = kvWith(kv, {
    atomic() {
      const atomic = kv.atomic();
      const check = atomic.check.bind(atomic);
      atomic.check = (...some) => {
        checks.push(some.length);
        return check(...some);
      };
      return atomic;
    },
  });
  await using one = await open(counting, "01A");
  await using other = await open(kv, "01B");
  assertEquals(await one.submit({ events: [event("a")] }), "done");
  assertEquals(checks.splice(0), [2]);
  assertEquals(await other.submit({ events: [event("b")] }), "done");
  assertEquals(await one.submit({ events: [event("c")] }), "done");
  assertEquals(checks.splice(0), [2, 3]);
  assertEquals(await one.submit({ events: [event("d")] }), "done");
  assertEquals(checks.splice(0), [3]);
});

Deno.test("Feed: it goes on when the key of the last act was removed, or its row is gone", async () => {
  using kv = await Deno.openKv(":memory:");
  await using one = await open(kv, "01A");
  await using other = await open(kv, "01B");
  const shard = one.feed.shardOf(ROOM);
  assertEquals(await one.submit({ events: [event("a")] }), "done");
  assertEquals(await other.submit({ events: [event("b")] }), "done");
  await kv.set(lastActKey(shard), 1);
  assertEquals(await other.submit({ events: [event("c")] }), "done");
  await kv.delete(lastActKey(shard));
  assertEquals(await other.submit({ events: [event("d")] }), "done");
  assertEquals(await one.submit({ events: [event("e")] }), "done");
  assert((await kv.get(notifyKey(shard))).versionstamp !== null);
});
