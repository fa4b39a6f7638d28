import { assert, assertEquals, assertRejects } from "@std/assert";
import type { Outcome } from "../../chat/feed/batch.ts";
import { type Clock, systemClock } from "../../chat/base/clock.ts";
import type { RoomEvent } from "../../chat/feed/events.ts";
import { Feed } from "../../chat/feed/feed.ts";
import { agreeOnShards } from "../../chat/feed/shards.ts";
import { AdjustedClock } from "../support/fake_clock.ts";
import {
  committingThrough,
  countingKv,
  eventually,
  feedParts,
  kvWith,
} from "../support/test_server.ts";

/** A feed alone, and what it delivers. */
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
    new Promise<Outcome>((settle) => feed.submit(room, { event: message(text, room), settle }));
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
  return { kind: "message", room, id: "1", nick: "Ann", text, time: 0, cid: "" };
}

Deno.test("what is said is delivered once, in the order in which it was said", async () => {
  using kv = await Deno.openKv(":memory:");
  await using house = await open(kv);
  const words = Array.from({ length: 1000 }, (_, i) => `word ${i}`);
  const outcomes = await Promise.all(words.map((word) => house.say(word)));
  assertEquals(house.texts, words);
  assert(outcomes.every((outcome) => outcome === "done"));
});

Deno.test("nobody is shown anything before its commit has succeeded", async () => {
  using kv = await Deno.openKv(":memory:");
  const gate = Promise.withResolvers<void>();
  await using house = await open(
    countingKv(kv, (what) => what === "commit" ? gate.promise : undefined).kv,
  );
  const said = house.say("hello");
  await new Promise((resolve) => setTimeout(resolve));
  assertEquals(house.texts, []);
  const rows = await Array.fromAsync(kv.list({ prefix: ["feed"] }));
  assertEquals(rows, []);
  gate.resolve();
  assertEquals(await said, "done");
  assertEquals(house.texts, ["hello"]);
});

Deno.test("alone, a message costs no read and three mutations at the most, and many share a commit", async () => {
  using kv = await Deno.openKv(":memory:");
  const { kv: counted, use } = countingKv(kv);
  await using house = await open(counted);
  await house.say("the first");
  const before = { ...use };
  for (let i = 0; i < 10; i++) await house.say(`one at a time ${i}`);
  assertEquals(use.commits - before.commits, 10);
  assertEquals(use.mutations - before.mutations, 20);
  await Promise.all(Array.from({ length: 300 }, (_, i) => house.say(`at once ${i}`)));
  assert(use.commits - before.commits <= 13, `${use.commits - before.commits} commits`);
  assertEquals([use.gets - before.gets, use.lists - before.lists], [0, 0]);
});

Deno.test("two feeds on one KV deliver the same, in the same order, each exactly once", async () => {
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
  await eventually(() => one.texts.length === 600 && other.texts.length === 600, "all is read");
  for (const room of rooms) {
    const of = (texts: string[]) => texts.filter((text) => text.startsWith(room));
    assertEquals(of(one.texts), of(other.texts));
    assertEquals(new Set(of(one.texts)).size, 200);
  }
});

Deno.test("in company a commit costs one range read and three mutations, however many messages share it", async () => {
  using kv = await Deno.openKv(":memory:");
  const { kv: counted, use } = countingKv(kv);
  await using one = await open(counted, "01A");
  await using other = await open(kv, "01B");
  await other.say("I am here");
  await one.say("so we are two");
  const before = { ...use };
  for (let i = 0; i < 10; i++) await one.say(`one at a time ${i}`);
  await Promise.all(Array.from({ length: 200 }, (_, i) => one.say(`at once ${i}`)));
  const commits = use.commits - before.commits;
  assert(commits <= 12, `${commits} commits`);
  assertEquals([use.lists - before.lists, use.gets - before.gets], [commits, 0]);
  assertEquals(use.mutations - before.mutations, 3 * commits);
});

Deno.test("after company a feed tries being alone again, and loses nothing by it", async () => {
  using kv = await Deno.openKv(":memory:");
  const { kv: counted, use } = countingKv(kv);
  const clock = new AdjustedClock({ stoppedAtMs: 0 });
  await using one = await open(counted, "01A", clock);
  await using other = await open(kv, "01B");
  await other.say("I am here");
  await one.say("so we are two");
  clock.monotonicAheadMs += 6_000;
  const { lists } = use;
  for (let i = 0; i < 5; i++) await one.say(`alone ${i}`);
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

Deno.test("Feed goes on after a long pause while its lease is held, and asks for the lease only then", async () => {
  using kv = await Deno.openKv(":memory:");
  const { kv: counted, use } = countingKv(kv);
  const clock = new AdjustedClock();
  await using sleeper = await open(counted, "01A", clock);
  await using other = await open(kv, "01B");
  const read = async () => {
    const { gets } = use;
    await sleeper.feed.poll();
    await sleeper.feed.flush();
    // Besides the one for the notification keys.
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

Deno.test("Feed gives up its instance when it could not read for five minutes, also with a lease", async () => {
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
  await eventually(() => one.warnings.length > 0, "it could not be read");
  await removeRows(kv);
  clock.monotonicAheadMs = 5 * 60_000;
  await other.say("after a gap");
  isBroken = false;
  await one.feed.flush();
  assertEquals([one.texts, one.lost], [["seen"], 1]);
});

Deno.test("a feed that begins later delivers only what comes after", async () => {
  using kv = await Deno.openKv(":memory:");
  await using one = await open(kv, "01A");
  await one.say("before");
  await using other = await open(kv, "01B");
  await other.feed.setShared(true);
  await one.say("after");
  await eventually(() => other.texts.length > 0, "it is read");
  assertEquals(other.texts, ["after"]);
});

Deno.test("rows and events of an unknown version are skipped with a warning, the rest is delivered", async () => {
  using kv = await Deno.openKv(":memory:");
  await using house = await open(kv);
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
  await house.feed.poll();
  await house.feed.flush();
  assertEquals(house.texts, shards.map(() => "from elsewhere"));
  assertEquals([...new Set(house.warnings)].sort(), [
    "Skipped a feed row of an unknown version",
    "Skipped an event of an unknown kind",
  ]);
  assertEquals(await house.say("still here"), "done");
});

Deno.test("a commit that fails once is tried again, and nothing is said twice", async () => {
  using kv = await Deno.openKv(":memory:");
  let faults = 2;
  const { kv: faulty } = countingKv(kv, (what) => {
    if (what === "commit" && faults-- > 0) throw new Error("no such luck");
  });
  await using house = await open(faulty);
  assertEquals(await house.say("hello"), "done");
  assertEquals(house.texts, ["hello"]);
});

Deno.test("a commit whose answer was lost is not committed twice", async () => {
  using kv = await Deno.openKv(":memory:");
  let faults = 1;
  // Commits, and then fails: the worst of both.
  const lossy = committingThrough(kv, async (commit) => {
    const result = await commit();
    if (faults-- > 0) throw new Error("the answer was lost");
    return result;
  });
  await using house = await open(lossy);
  assertEquals(await house.say("hello"), "done");
  assertEquals(await house.say("again"), "done");
  assertEquals(house.texts, ["hello", "again"]);
  assertEquals((await Array.fromAsync(kv.list({ prefix: ["feed"] }))).length, 2);
});

Deno.test("who was taken for dead writes nothing more, and learns of it", async () => {
  using kv = await Deno.openKv(":memory:");
  await using house = await open(kv);
  await house.say("alive");
  await kv.set(["instance", "01A"], { sweeper: "01B" });
  assertEquals(await house.say("dead"), "failed");
  assertEquals(house.lost, 1);
  assertEquals(house.texts, ["alive"]);
});

Deno.test("more than a shard can hold is refused at once, and the rest goes its way", async () => {
  using kv = await Deno.openKv(":memory:");
  const gate = Promise.withResolvers<void>();
  await using house = await open(
    countingKv(kv, (what) => what === "commit" ? gate.promise : undefined).kv,
  );
  const said = Array.from({ length: 400 }, (_, i) => house.say(`${i}${"x".repeat(16_000)}`));
  // Who comes or goes is not turned away for it.
  const state = new Promise<Outcome>((settle) =>
    house.feed.submit("red", { mutations: [{ type: "delete", key: ["row", "1"] }], settle })
  );
  gate.resolve();
  assertEquals(await state, "done");
  const outcomes = await Promise.all(said);
  const done = outcomes.filter((outcome) => outcome === "done").length;
  assert(done > 100 && done < 300, `${done} were taken`);
  assertEquals(outcomes.indexOf("failed"), done);
  assertEquals(house.texts.length, done);
});

Deno.test("a KV has as many shards as whoever came first decided, whoever comes later", async () => {
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

Deno.test("a KV from before shards were counted keeps the eight it has", async () => {
  using kv = await Deno.openKv(":memory:");
  await kv.set(["bell", "company"], 1);
  await kv.set(["bell", 0], 1);
  assertEquals(await agreeOnShards(kv, systemClock, true), 8);
});

Deno.test("a number of shards that cannot be is told, not guessed around", async () => {
  for (const nonsense of [0, 10, 1.5, "8", null, { many: 8 }]) {
    using kv = await Deno.openKv(":memory:");
    await kv.set(["shards"], nonsense);
    await assertRejects(() => agreeOnShards(kv, systemClock, true), Error, '["shards"]');
  }
});
