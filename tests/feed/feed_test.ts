/** The feed: order, delivery exactly once, its cost, faults of KV, and the number of shards. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import type { Outcome } from "../../chat/feed/batch.ts";
import { type Clock, systemClock } from "../../chat/base/clock.ts";
import type { RoomEvent } from "../../chat/feed/events.ts";
import { Feed } from "../../chat/feed/feed.ts";
import { agreeOnShards } from "../../chat/feed/shards.ts";
import { AdjustedClock } from "../support/fake_clock.ts";
import { countingKv, interceptCommits, kvWith } from "../support/faulty_kv.ts";
import { feedParts } from "../support/feed_parts.ts";
import { eventually } from "../support/wait.ts";

/** Opens a feed, and records its deliveries. */
async function open(kv: Deno.Kv, instance = "01A", clock: Clock = systemClock) {
  const texts: string[] = [];
  const warnings: string[] = [];
  let lost = 0;
  const parts = await feedParts(kv, instance, {
    clock,
    deliver({ text }) {
      texts.push(text);
      return 1;
    },
    onLeaseLost: () => void lost++,
    warn: (message) => void warnings.push(message),
  });
  const feed = new Feed(parts);
  await feed.open();
  const say = (text: string, room = "red") =>
    new Promise<Outcome>((settle) => feed.submit(room, { events: [message(text, room)], settle }));
  return {
    feed,
    texts,
    warnings,
    say,
    get lost() {
      return lost;
    },
    [Symbol.asyncDispose]: () => feed.close(),
  };
}

async function removeRows(kv: Deno.Kv): Promise<void> {
  for await (const { key } of kv.list({ prefix: ["feed"] })) await kv.delete(key);
}

function message(text: string, room: string): RoomEvent {
  return { kind: "message", room, id: "1", account: "", nick: "Ann", text, time: 0, cid: "" };
}

Deno.test("Feed delivers each message once, in the order of submission", async () => {
  using kv = await Deno.openKv(":memory:");
  await using one = await open(kv);
  const words = Array.from({ length: 1000 }, (_, i) => `word ${i}`);
  const outcomes = await Promise.all(words.map((word) => one.say(word)));
  assertEquals(one.texts, words);
  assert(outcomes.every((outcome) => outcome === "done"));
});

Deno.test("Feed delivers nothing before its commit has succeeded", async () => {
  using kv = await Deno.openKv(":memory:");
  const gate = Promise.withResolvers<void>();
  await using one = await open(
    countingKv(kv, (what) => what === "commit" ? gate.promise : undefined).kv,
  );
  const said = one.say("hello");
  await new Promise((resolve) => setTimeout(resolve));
  assertEquals(one.texts, []);
  const rows = await Array.fromAsync(kv.list({ prefix: ["feed"] }));
  assertEquals(rows, []);
  gate.resolve();
  assertEquals(await said, "done");
  assertEquals(one.texts, ["hello"]);
});

Deno.test("Feed in exclusive mode: no reads, at most three mutations a message, and messages share commits", async () => {
  using kv = await Deno.openKv(":memory:");
  const { kv: counted, use } = countingKv(kv);
  await using one = await open(counted);
  await one.say("the first");
  const before = { ...use };
  for (let i = 0; i < 10; i++) await one.say(`one at a time ${i}`);
  assertEquals(use.commits - before.commits, 10);
  assertEquals(use.mutations - before.mutations, 20);
  await Promise.all(Array.from({ length: 300 }, (_, i) => one.say(`at once ${i}`)));
  assert(use.commits - before.commits <= 13, `${use.commits - before.commits} commits`);
  assertEquals([use.gets - before.gets, use.lists - before.lists], [0, 0]);
});

Deno.test("Feed: two feeds on one KV deliver the same events in the same order, each exactly once", async () => {
  using kv = await Deno.openKv(":memory:");
  await using one = await open(kv, "01A");
  await using other = await open(kv, "01B");
  await one.feed.setShared(true);
  await other.feed.setShared(true);
  const rooms = ["red", "green", "blue"];
  await Promise.all(rooms.flatMap((room) =>
    Array.from({ length: 200 }, async (_, i) => {
      await (i % 2 === 0 ? one : other).say(`${room} ${i}`, room);
    })
  ));
  await eventually(
    () => one.texts.length === 600 && other.texts.length === 600,
    "everything is delivered",
  );
  for (const room of rooms) {
    const of = (texts: string[]) => texts.filter((text) => text.startsWith(room));
    assertEquals(of(one.texts), of(other.texts));
    assertEquals(new Set(of(one.texts)).size, 200);
  }
});

Deno.test("Feed in shared mode: one range read and three mutations a commit, however many messages share it", async () => {
  using kv = await Deno.openKv(":memory:");
  const { kv: counted, use } = countingKv(kv);
  await using one = await open(counted, "01A");
  await using other = await open(kv, "01B");
  await other.say("from the other instance");
  await one.say("another instance exists");
  const before = { ...use };
  for (let i = 0; i < 10; i++) await one.say(`one at a time ${i}`);
  await Promise.all(Array.from({ length: 200 }, (_, i) => one.say(`at once ${i}`)));
  const commits = use.commits - before.commits;
  assert(commits <= 12, `${commits} commits`);
  assertEquals([use.lists - before.lists, use.gets - before.gets], [commits, 0]);
  assertEquals(use.mutations - before.mutations, 3 * commits);
});

Deno.test("Feed returns to exclusive mode after foreign rows, and loses nothing", async () => {
  using kv = await Deno.openKv(":memory:");
  const { kv: counted, use } = countingKv(kv);
  const clock = new AdjustedClock({ stoppedAtMs: 0 });
  await using one = await open(counted, "01A", clock);
  await using other = await open(kv, "01B");
  await other.say("from the other instance");
  await one.say("another instance exists");
  clock.monotonicAheadMs += 6_000;
  const { lists } = use;
  for (let i = 0; i < 5; i++) await one.say(`exclusive ${i}`);
  assertEquals(use.lists, lists);
  await other.say("back again");
  await one.say("welcome");
  assertEquals(one.texts.slice(-2), ["back again", "welcome"]);
  assertEquals(new Set(one.texts).size, one.texts.length);
});

for (const clockThatCounts of ["monotonicAheadMs", "wallAheadMs"] as const) {
  Deno.test(`Feed delivers nothing after a pause in which rows were removed and the lease was lost (${clockThatCounts})`, async () => {
    using kv = await Deno.openKv(":memory:");
    const clock = new AdjustedClock();
    await using sleeper = await open(kv, "01A", clock);
    await using other = await open(kv, "01B");
    const read = async () => {
      await sleeper.feed.poll();
      await sleeper.feed.flush();
    };
    await other.say("seen");
    await read();
    await other.say("removed");
    await removeRows(kv);
    await kv.set(["instance", "01A"], { v: 1, sweeper: "01B" });
    clock[clockThatCounts] = 11 * 60_000;
    await other.say("after a gap");
    await read();
    assertEquals(sleeper.texts, ["seen"]);
    assertEquals(sleeper.lost, 1);
    await other.say("later");
    await read();
    assertEquals(await sleeper.say("too late"), "failed");
    assertEquals(sleeper.texts, ["seen"]);
    assertEquals(other.texts, ["seen", "removed", "after a gap", "later"]);
  });
}

Deno.test("Feed continues after a long pause with its lease, and reads the lease only then", async () => {
  using kv = await Deno.openKv(":memory:");
  const { kv: counted, use } = countingKv(kv);
  const clock = new AdjustedClock();
  await using sleeper = await open(counted, "01A", clock);
  await using other = await open(kv, "01B");
  const read = async () => {
    const { gets } = use;
    await sleeper.feed.poll();
    await sleeper.feed.flush();
    // Without the read of the notification keys.
    return use.gets - gets - 1;
  };
  await other.say("first");
  assertEquals(await read(), 1);
  await other.say("soon after");
  assertEquals(await read(), 0);
  clock.wallAheadMs = 11 * 60_000;
  await other.say("long after");
  assertEquals(await read(), 1);
  assertEquals(sleeper.texts, ["first", "soon after", "long after"]);
  assertEquals(sleeper.lost, 0);
});

Deno.test("Feed ends its instance, even with a lease, when it could not read for five minutes", async () => {
  using kv = await Deno.openKv(":memory:");
  let isBroken = false;
  const list: Deno.Kv["list"] = (...args) => {
    if (isBroken) throw new Error("away");
    return kv.list(...args);
  };
  const faulty = kvWith(kv, { list });
  const clock = new AdjustedClock();
  await using one = await open(faulty, "01A", clock);
  await using other = await open(kv, "01B");
  await other.say("seen");
  await one.feed.poll();
  await one.feed.flush();
  isBroken = true;
  await other.say("removed");
  await one.feed.poll();
  await eventually(() => one.warnings.length > 0, "reading fails");
  await removeRows(kv);
  clock.monotonicAheadMs = 5 * 60_000;
  await other.say("after a gap");
  isBroken = false;
  await one.feed.flush();
  assertEquals([one.texts, one.lost], [["seen"], 1]);
});

Deno.test("Feed delivers only what is committed after it was opened", async () => {
  using kv = await Deno.openKv(":memory:");
  await using one = await open(kv, "01A");
  await one.say("before");
  await using other = await open(kv, "01B");
  await other.feed.setShared(true);
  await one.say("after");
  await eventually(() => other.texts.length > 0, "it is delivered");
  assertEquals(other.texts, ["after"]);
});

Deno.test("Feed skips rows and events of an unknown version with a warning, and delivers the rest", async () => {
  using kv = await Deno.openKv(":memory:");
  await using one = await open(kv);
  const shards = Array.from({ length: 8 }, (_, shard) => shard);
  const event = ["message", "red", "1", "Bob", "from elsewhere", 0];
  for (
    const row of [
      { v: 2, what: "is this?" },
      null,
      "text",
      { v: 1, from: "01B", n: 1, events: "none" },
      { v: 1, from: "01B", n: 2, events: [["dance", "red", "1", "Bob", "", 0], 5, null, event] },
    ]
  ) {
    for (const shard of shards) {
      await kv.atomic().set(["feed", shard, kv.commitVersionstamp()], row)
        .set(["bell", shard], 1).commit();
    }
  }
  await one.feed.poll();
  await one.feed.flush();
  assertEquals(one.texts, shards.map(() => "from elsewhere"));
  assertEquals([...new Set(one.warnings)].sort(), [
    "Skipped a feed row of an unknown version",
    "Skipped an event of an unknown kind",
  ]);
  assertEquals(await one.say("still here"), "done");
});

Deno.test("Feed tries a failed commit again, and delivers nothing twice", async () => {
  using kv = await Deno.openKv(":memory:");
  let faults = 2;
  const { kv: faulty } = countingKv(kv, (what) => {
    if (what === "commit" && faults-- > 0) throw new Error("no answer");
  });
  await using one = await open(faulty);
  assertEquals(await one.say("hello"), "done");
  assertEquals(one.texts, ["hello"]);
});

Deno.test("Feed does not commit twice when the answer to a commit is lost", async () => {
  using kv = await Deno.openKv(":memory:");
  let faults = 1;
  // Commits, and then throws.
  const lossy = interceptCommits(kv, async (commit) => {
    const result = await commit();
    if (faults-- > 0) throw new Error("the answer was lost");
    return result;
  });
  await using one = await open(lossy);
  assertEquals(await one.say("hello"), "done");
  assertEquals(await one.say("again"), "done");
  assertEquals(one.texts, ["hello", "again"]);
  assertEquals((await Array.fromAsync(kv.list({ prefix: ["feed"] }))).length, 2);
});

Deno.test("Feed writes nothing after its lease is lost, and reports that", async () => {
  using kv = await Deno.openKv(":memory:");
  await using one = await open(kv);
  await one.say("alive");
  await kv.set(["instance", "01A"], { sweeper: "01B" });
  assertEquals(await one.say("dead"), "failed");
  assertEquals(one.lost, 1);
  assertEquals(one.texts, ["alive"]);
});

Deno.test("Feed fails messages beyond the queue of a shard at once, and commits the others", async () => {
  using kv = await Deno.openKv(":memory:");
  const gate = Promise.withResolvers<void>();
  await using one = await open(
    countingKv(kv, (what) => what === "commit" ? gate.promise : undefined).kv,
  );
  const said = Array.from({ length: 400 }, (_, i) => one.say(`${i}${"x".repeat(16_000)}`));
  // A change of state is not refused.
  const state = new Promise<Outcome>((settle) =>
    one.feed.submit("red", { mutations: [{ type: "delete", key: ["row", "1"] }], settle })
  );
  gate.resolve();
  assertEquals(await state, "done");
  const outcomes = await Promise.all(said);
  const done = outcomes.filter((outcome) => outcome === "done").length;
  assert(done > 100 && done < 300, `${done} were taken`);
  assertEquals(outcomes.indexOf("failed"), done);
  assertEquals(one.texts.length, done);
});

Deno.test("agreeOnShards: the first instance decides the number of shards of a KV", async () => {
  using file = await Deno.openKv(":memory:");
  const asked = Array.from({ length: 10 }, (_, i) => agreeOnShards(file, systemClock, i === 0));
  assertEquals(new Set(await Promise.all(asked)).size, 1);
  using other = await Deno.openKv(":memory:");
  assertEquals(await agreeOnShards(other, systemClock, true), 2);
  assertEquals(await agreeOnShards(other, systemClock, false), 2);
  using far = await Deno.openKv(":memory:");
  assertEquals(await agreeOnShards(far, systemClock, false), 8);
  assertEquals(await agreeOnShards(far, systemClock, true), 8);
});

Deno.test("agreeOnShards: a KV of a version that stored no number keeps its eight shards", async () => {
  using kv = await Deno.openKv(":memory:");
  await kv.set(["bell", "company"], 1);
  await kv.set(["bell", 0], 1);
  assertEquals(await agreeOnShards(kv, systemClock, true), 8);
});

Deno.test("agreeOnShards throws for an impossible number of shards", async () => {
  for (const nonsense of [0, 10, 1.5, "8", null, { many: 8 }]) {
    using kv = await Deno.openKv(":memory:");
    await kv.set(["shards"], nonsense);
    await assertRejects(() => agreeOnShards(kv, systemClock, true), Error, '["shards"]');
  }
});
