/** Edits and deletions of messages: what history shows, what KV holds, and what may happen meanwhile. */
import { assert, assertEquals } from "@std/assert";
import type { LoggedEvent, RoomEvent } from "../../chat/feed/events.ts";
import type { History, Revision } from "../../chat/history/history.ts";
import { conversationOf, type Stream } from "../../chat/kv/keys.ts";
import { AdjustedClock, compactingAfter } from "../support/fake_clock.ts";
import { countingKv } from "../support/faulty_kv.ts";
import { ANN, BOB, directBy, eventBy, openFeedHistory } from "../support/feed_history.ts";
import { checkedHistory } from "../support/kv_rows.ts";
import { eventually } from "../support/wait.ts";

const RED: Stream = ["log", "red"];
const CONVERSATION: Stream = ["conversation", conversationOf(ANN.user, BOB.user)];
const MIB = 1024 * 1024;

function message(text: string, own: Partial<RoomEvent> = {}): RoomEvent {
  return eventBy({ kind: "message", text, ...own });
}

function edit(target: string, text: string, own: Partial<RoomEvent> = {}): RoomEvent {
  return eventBy({ kind: "edit", target, text, ...own });
}

function deletion(target: string, own: Partial<RoomEvent> = {}): RoomEvent {
  return eventBy({ kind: "delete", target, ...own });
}

/** What belongs to an edit or deletion of a direct message to Bob. */
const TO_BOB = { room: "", to: BOB };

async function all(history: History, stream: Stream): Promise<LoggedEvent[]> {
  return (await Array.fromAsync(history.backwards(stream))).reverse();
}

/** Returns the texts of a stream, read in both directions. */
async function textsOf(history: History, stream: Stream): Promise<string[]> {
  const texts = (await all(history, stream)).map(({ event }) => event.text);
  const forwards = await Array.fromAsync(history.forwards(stream, ""));
  assertEquals(forwards.map(({ event }) => event.text), texts);
  return texts;
}

async function outcomeOf(revision: Promise<Revision>): Promise<string> {
  return (await revision).outcome;
}

/** Returns the keys of all rows whose value holds a text. */
async function rowsWith(kv: Deno.Kv, text: string): Promise<string[]> {
  const rows: string[] = [];
  for await (const { key, value } of kv.list({ prefix: [] })) {
    if (
      Deno.inspect(value, { depth: 9, iterableLimit: 1e6, strAbbreviateSize: 1e6 }).includes(text)
    ) {
      rows.push(String(key[0]));
    }
  }
  return [...new Set(rows)];
}

/** Waits until the rows of a stream hold so many events. */
async function compacted(kv: Deno.Kv, stream: Stream, many: number): Promise<void> {
  await eventually(
    async () => (await stored(kv, stream)).flat().length === many,
    "it is compacted",
  );
}

/** Returns the stored events of a stream, by row. */
async function stored(kv: Deno.Kv, stream: Stream): Promise<unknown[][]> {
  const rows = await Array.fromAsync(kv.list<{ events: unknown[] }>({ prefix: [...stream] }));
  return rows.map(({ value }) => value.events);
}

Deno.test("History.revise: an edit changes the text of one message and says when", async () => {
  using kv = await Deno.openKv(":memory:");
  await using one = await openFeedHistory(kv);
  const { history } = one;
  const ids = await one.sayAll(["one", "two", "three"].map((text) => message(text)));
  await compacted(kv, RED, 3);
  const event = edit(ids[1]!, "two and a half");
  const { outcome, eventId } = await history.revise(RED, event);
  assertEquals(outcome, "done");
  assert(eventId! > ids[2]!);
  assertEquals(await textsOf(history, RED), ["one", "two and a half", "three"]);
  const found = await history.find(RED, ids[1]!);
  assertEquals(found?.eventId, ids[1]);
  assertEquals([found?.event.editedAt, found?.event.deletedAt], [event.time, undefined]);
  assertEquals((await history.find(RED, ids[0]!))?.event.editedAt, undefined);
  // The event itself is in the order of the room, without the text.
  const [told] = await all(history, ["people", "red"]);
  assertEquals([told?.eventId, told?.event.kind, told?.event.target], [eventId, "edit", ids[1]]);
  assertEquals(told?.event.text, "");
  await compacted(kv, ["people", "red"], 1);
  assertEquals((await all(history, ["people", "red"]))[0]?.event.target, ids[1]);
  assertEquals((await all(history, ["people", "red"]))[0]?.event.text, "");
  await checkedHistory(kv);
  assertEquals(one.warnings, []);
});

Deno.test("History.revise: a deleted text is in no row but the feed's, and there only for ten minutes", async () => {
  using kv = await Deno.openKv(":memory:");
  // The timer of the removal of feed rows runs when the test says so.
  const clock = new AdjustedClock({
    delayOf: (ms) => ms === 1_000 ? 20 : ms > 60_000 ? "held" : ms,
  });
  await using one = await openFeedHistory(kv, "01A", { clock });
  const { history } = one;
  const [inRoom] = await one.sayAll([message("a secret"), message("other")]);
  const direct = await one.say(directBy({ text: "a secret", cid: "c" }));
  await compacted(kv, RED, 2);
  await compacted(kv, ["direct", BOB.user], 1);
  assertEquals(await outcomeOf(history.revise(RED, edit(inRoom!, "a secret, edited"))), "done");
  assertEquals(await outcomeOf(history.revise(RED, deletion(inRoom!))), "done");
  assertEquals(await outcomeOf(history.revise(CONVERSATION, deletion(direct, TO_BOB))), "done");
  await compacted(kv, ["people", "red"], 2);
  await compacted(kv, ["direct", BOB.user], 2);
  assertEquals(await rowsWith(kv, "secret"), ["feed"]);
  assertEquals(await textsOf(history, RED), ["", "other"]);
  const deleted = (await history.find(RED, inRoom!))!.event;
  assertEquals([typeof deleted.deletedAt, deleted.editedAt], ["number", undefined]);
  assertEquals([deleted.nick, deleted.account], [ANN.nick, ANN.user]);
  await checkedHistory(kv);
  clock.advance(599_000);
  for (const { run } of clock.held.splice(0)) run();
  assertEquals(await rowsWith(kv, "secret"), ["feed"]);
  clock.advance(10_000);
  await eventually(async () => {
    for (const { run } of clock.held.splice(0)) run();
    return (await rowsWith(kv, "secret")).length === 0;
  }, "the feed's rows are removed");
});

Deno.test("History.revise: a direct message changes in the streams of both users and their conversation at once", async () => {
  using kv = await Deno.openKv(":memory:");
  await using one = await openFeedHistory(kv);
  const { history } = one;
  const id = await one.say(directBy({ text: "hello" }));
  const streams: Stream[] = [CONVERSATION, ["direct", ANN.user], ["direct", BOB.user]];
  assertEquals(await outcomeOf(history.revise(CONVERSATION, edit(id, "hi", TO_BOB))), "done");
  assertEquals(one.operations.length, 1);
  for (const stream of streams) assertEquals((await history.find(stream, id))?.event.text, "hi");
  // The conversation has only messages; the streams for resuming have what was missed.
  const kinds = async (stream: Stream) =>
    (await all(history, stream)).map(({ event }) => event.kind);
  assertEquals(await kinds(CONVERSATION), ["direct"]);
  assertEquals(await kinds(["direct", BOB.user]), ["direct", "edit"]);
  // From an unregistered user, and to oneself.
  const guest = { account: "", id: "01GUEST", nick: "Guest" };
  const [fromGuest, toOneself] = await one.sayAll([
    directBy({ ...guest, text: "psst" }),
    directBy({ text: "a note", to: ANN }),
  ]);
  const guests: Stream = ["direct", "01GUEST"];
  assertEquals(
    await outcomeOf(history.revise(guests, deletion(fromGuest!, { ...guest, ...TO_BOB }))),
    "done",
  );
  assertEquals((await history.find(["direct", BOB.user], fromGuest!))?.event.text, "");
  const own: Stream = ["conversation", conversationOf(ANN.user, ANN.user)];
  const toAnn = { room: "", to: ANN };
  assertEquals(await outcomeOf(history.revise(own, edit(toOneself!, "my note", toAnn))), "done");
  assertEquals((await history.find(["direct", ANN.user], toOneself!))?.event.text, "my note");
  assertEquals(await textsOf(history, own), ["my note"]);
  await checkedHistory(kv);
});

Deno.test("History.revise: a message that is not compacted yet is compacted at once, and then changed", async () => {
  using kv = await Deno.openKv(":memory:");
  // Without an edit nothing is compacted.
  await using one = await openFeedHistory(kv, "01A", { clock: compactingAfter(Infinity) });
  const { history } = one;
  const ids = await one.sayAll(Array.from({ length: 20 }, (_, n) => message(`${n}`)));
  assertEquals(await stored(kv, RED), []);
  const edits = ids.map((id, n) => outcomeOf(history.revise(RED, edit(id, `${n}!`))));
  assertEquals(new Set(await Promise.all(edits)), new Set(["done"]));
  assertEquals(await textsOf(history, RED), ids.map((_, n) => `${n}!`));
  // All of them waited for one compaction.
  assertEquals((await stored(kv, RED)).length, 1);
  await checkedHistory(kv);
});

Deno.test("History: an instance that has not noticed the compaction shows no text that was changed elsewhere", async () => {
  using kv = await Deno.openKv(":memory:");
  await using one = await openFeedHistory(kv, "01A");
  await using other = await openFeedHistory(kv, "01B", { clock: compactingAfter(Infinity) });
  await one.feed.setShared(true);
  await other.feed.setShared(true);
  const [first, second] = await one.sayAll([message("a secret"), message("a typo")]);
  await compacted(kv, RED, 2);
  await eventually(async () => (await all(other.history, RED)).length === 2, "both are delivered");
  // A reader has begun before the change.
  const reading = other.history.backwards(RED);
  assertEquals((await reading.next()).value?.event.text, "a typo");
  await one.history.revise(RED, edit(first!, "a secret, edited"));
  await one.history.revise(RED, edit(second!, "no typo"));
  await one.history.revise(RED, deletion(first!));
  await other.feed.reached();
  assertEquals(await textsOf(other.history, RED), ["", "no typo"]);
  assertEquals((await reading.next()).value?.event.text, "");
  assertEquals((await other.history.find(RED, first!))?.event.text, "");
  const told = await all(other.history, ["people", "red"]);
  assertEquals(told.map(({ event }) => event.kind), ["edit", "edit", "delete"]);
  assert(!JSON.stringify(told).includes("secret"));
  // It compacts nothing a second time.
  await other.say(message("later", { room: "red" }));
  await compacted(kv, RED, 3);
  assertEquals(await textsOf(one.history, RED), ["", "no typo", "later"]);
  await checkedHistory(kv);
});

Deno.test("History.revise: a deleted message stays deleted, and cannot be found to change it", async () => {
  using kv = await Deno.openKv(":memory:");
  await using one = await openFeedHistory(kv);
  const { history } = one;
  const id = await one.say(message("gone"));
  assertEquals(await outcomeOf(history.revise(RED, deletion(id))), "done");
  assertEquals(await outcomeOf(history.revise(RED, edit(id, "back"))), "not-found");
  assertEquals(await outcomeOf(history.revise(RED, deletion(id))), "not-found");
  assertEquals(await textsOf(history, RED), [""]);
  // Nothing was announced for those.
  assertEquals((await all(history, ["people", "red"])).length, 1);
});

Deno.test("History.revise: of edits and deletions on two instances at once, none revives a text, and each is told once", async () => {
  using kv = await Deno.openKv(":memory:");
  await using one = await openFeedHistory(kv, "01A");
  await using other = await openFeedHistory(kv, "01B");
  await one.feed.setShared(true);
  await other.feed.setShared(true);
  const ids = await one.sayAll(Array.from({ length: 12 }, (_, n) => message(`text ${n}`)));
  await compacted(kv, RED, 12);
  await other.feed.reached();
  const outcomes = await Promise.all(ids.flatMap((id, n) => [
    outcomeOf(one.history.revise(RED, edit(id, `edited ${n}`))),
    outcomeOf(other.history.revise(RED, deletion(id))),
    outcomeOf(other.history.revise(RED, edit(id, `edited elsewhere ${n}`))),
  ]));
  for (const [n, id] of ids.entries()) {
    assertEquals(outcomes[3 * n + 1], "done", "a deletion always succeeds");
    for (const { history } of [one, other]) {
      assertEquals((await history.find(RED, id))?.event.text, "");
    }
  }
  assertEquals((await all(one.history, RED)).map(({ eventId }) => eventId), ids);
  await one.feed.reached();
  const told = await all(one.history, ["people", "red"]);
  assertEquals(told.length, outcomes.filter((each) => each === "done").length);
  const rest = (await rowsWith(kv, "edited")).filter((each) => each !== "feed");
  assertEquals(rest, []);
  await checkedHistory(kv);
});

Deno.test("History.revise: a row that becomes too large is divided, and readers see each event once", async () => {
  using kv = await Deno.openKv(":memory:");
  await using one = await openFeedHistory(kv);
  const { history } = one;
  const ids = await one.sayAll(Array.from({ length: 30 }, (_, n) => message(`${n}`)));
  await compacted(kv, RED, 30);
  assertEquals((await stored(kv, RED)).length, 1);
  // A reader is in the middle of the row when it is divided.
  const reading = history.forwards(RED, "");
  const read: string[] = [(await reading.next()).value!.eventId];
  const long = "ł".repeat(16_000);
  for (const id of [...ids].reverse()) {
    assertEquals(await outcomeOf(history.revise(RED, edit(id, long))), "done");
  }
  for await (const { eventId } of reading) read.push(eventId);
  assertEquals(read, ids);
  assert((await textsOf(history, RED)).every((text) => text === long));
  const rows = await stored(kv, RED);
  assert(rows.length >= 15 && rows.length <= 30, `${rows.length} rows`);
  for (const { event } of await all(history, RED)) assertEquals(typeof event.editedAt, "number");
  // Pages begin in the middle of rows.
  for (const [n, id] of ids.entries()) {
    const [next] = await Array.fromAsync(history.forwards(RED, id));
    assertEquals(next?.eventId, ids[n + 1]);
  }
  await checkedHistory(kv);
  assertEquals(one.warnings, []);
});

Deno.test("History.revise: a thousand edits of one message leave one row of its size", async () => {
  using kv = await Deno.openKv(":memory:");
  await using one = await openFeedHistory(kv);
  const id = await one.say(message("0"));
  await compacted(kv, RED, 1);
  const edits = Array.from(
    { length: 1_000 },
    (_, n) => outcomeOf(one.history.revise(RED, edit(id, `${n}`.repeat(1 + n % 3_000)))),
  );
  assertEquals(new Set(await Promise.all(edits)), new Set(["done"]));
  // Edits that are asked for at the same time have no order.
  assertEquals(
    await outcomeOf(one.history.revise(RED, edit(id, "the last".repeat(1_000)))),
    "done",
  );
  const rows = await stored(kv, RED);
  assertEquals([rows.length, rows[0]!.length], [1, 1]);
  assertEquals(await textsOf(one.history, RED), ["the last".repeat(1_000)]);
  await checkedHistory(kv);
});

Deno.test("History.revise: an edit does not change how long the row is kept", async () => {
  using kv = await Deno.openKv(":memory:");
  const clock = compactingAfter(20);
  await using one = await openFeedHistory(kv, "01A", { clock });
  const { history } = one;
  const ids = await one.sayAll(Array.from({ length: 10 }, (_, n) => message(`${n}`)));
  await compacted(kv, RED, 10);
  const untils = async () => {
    const rows = await Array.fromAsync(kv.list<number[]>({ prefix: ["history_row", "log"] }));
    return [...new Set(rows.map(({ value }) => value[1]!))];
  };
  const [until] = await untils();
  for (const aheadMs of [1_000, 86_400_000, 6 * 86_400_000]) {
    clock.setAhead(aheadMs);
    assertEquals(await outcomeOf(history.revise(RED, edit(ids[5]!, "x".repeat(20_000)))), "done");
    assertEquals(await outcomeOf(history.revise(RED, edit(ids[7]!, "y".repeat(20_000)))), "done");
    for (const { type, key, ...more } of one.operations.at(-1)!.mutations!) {
      if (type !== "set" || key[0] !== "log") continue;
      const { expireIn } = more as { expireIn: number };
      assert(Math.abs(clock.now() + expireIn - until!) < 1_000, `${expireIn} after ${aheadMs}`);
    }
    assertEquals(await untils(), [until]);
  }
  clock.setAhead(7 * 86_400_000 + 1_000);
  assertEquals(await outcomeOf(history.revise(RED, edit(ids[5]!, "late"))), "not-found");
  assertEquals(await history.find(RED, ids[5]!), undefined);
});

Deno.test("History.revise: if a check of the caller fails, nothing is changed or told", async () => {
  using kv = await Deno.openKv(":memory:");
  await using one = await openFeedHistory(kv);
  const { history } = one;
  const id = await one.say(message("as it was"));
  await kv.set(["taken", "01A"], 1);
  const checks = [{ key: ["taken", "01A"], versionstamp: null }];
  assertEquals(await outcomeOf(history.revise(RED, deletion(id), checks)), "failed");
  assertEquals(await textsOf(history, RED), ["as it was"]);
  assertEquals(await all(history, ["people", "red"]), []);
  await checkedHistory(kv);
});

Deno.test("History.find, isReached and revise: texts that are no ID of the stream find nothing, at the cost of one row", async () => {
  using kv = await Deno.openKv(":memory:");
  const { kv: counted, use } = countingKv(kv);
  await using one = await openFeedHistory(counted);
  const { history } = one;
  const [first] = await one.sayAll(Array.from({ length: 500 }, (_, n) => message(`${n}`)));
  const elsewhere = await one.say(message("elsewhere", { room: "blue" }));
  const join = await one.say(eventBy({ kind: "join" }));
  await compacted(kv, RED, 500);
  await compacted(kv, ["people", "red"], 1);
  await compacted(kv, ["log", "blue"], 1);
  const bad = ["", "a", "\0", "z000", "é", "😀", "x".repeat(100_000), "~", "../..", `${first}0`];
  for (const id of [...bad, elsewhere, join, `${elsewhere}~`]) {
    const before = use.lists;
    assertEquals(await history.find(RED, id), undefined, id.slice(0, 20));
    assertEquals(await outcomeOf(history.revise(RED, edit(id, "x"))), "not-found", id.slice(0, 20));
    assert(use.lists - before <= 2, `${use.lists - before} lists`);
  }
  for (const id of ["", "\0", "é", "x".repeat(100_000)]) {
    assertEquals(await history.isReached(RED, id), false);
  }
  // A join is no message, and `people` no stream of texts.
  const people: Stream = ["people", "red"];
  assertEquals(await outcomeOf(history.revise(people, edit(join, "x"))), "not-found");
  assertEquals(await outcomeOf(history.revise(["own", "01SESSION"], edit(join, "x"))), "not-found");
  assertEquals(one.warnings, []);
  assertEquals(one.operations, []);
});

Deno.test("History.revise: events of another version in the same row stay as they are", async () => {
  using kv = await Deno.openKv(":memory:");
  await using one = await openFeedHistory(kv);
  const ids = await one.sayAll(["one", "two"].map((text) => message(text)));
  await compacted(kv, RED, 2);
  const [row] = await Array.fromAsync(kv.list<{ v: 1; events: unknown[] }>({ prefix: [...RED] }));
  const strange = [["b1f000", "dance", { what: "is this?" }], null, 5, "text", []];
  const events = [...strange, ...row!.value.events, ...strange];
  await kv.set(row!.key, { v: 1, events });
  assertEquals(await outcomeOf(one.history.revise(RED, edit(ids[1]!, "2"))), "done");
  const after = (await stored(kv, RED))[0]!;
  assertEquals(after.slice(0, 6), events.slice(0, 6));
  assertEquals(after.slice(7), strange);
  assertEquals(await textsOf(one.history, RED), ["one", "2"]);
  await checkedHistory(kv);
});

Deno.test("History.revise: rows of the old version without index rows are counted from then on", async () => {
  using kv = await Deno.openKv(":memory:");
  const time = Date.now() - 1_000;
  const old = [["a001", "message", "01SESSION", "Ann", "old", time, ""]];
  await kv.set(["log", "red", "a001"], { v: 1, events: old });
  await using one = await openFeedHistory(kv);
  assertEquals(await outcomeOf(one.history.revise(RED, edit("a001", "new"))), "done");
  assertEquals(await textsOf(one.history, RED), ["new"]);
  const { bytes } = await checkedHistory(kv);
  assert(bytes > 0);
});

Deno.test("History.revise: while the quota removes the oldest rows, their edits keep the counters exact and revive nothing", async () => {
  using kv = await Deno.openKv(":memory:");
  await using one = await openFeedHistory(kv, "01A", { maxBytes: MIB, clock: compactingAfter(5) });
  await using other = await openFeedHistory(kv, "01B", { maxBytes: MIB });
  const { history } = one;
  let isOver = false;
  const counts: Record<string, number> = { "done": 0, "not-found": 0, "failed": 0 };
  // Each makes the oldest messages larger and smaller, again and again.
  const editing = [0, 1, 2].map(async (who) => {
    while (!isOver) {
      const oldest = await Array.fromAsync(
        kv.list<{ events: string[][] }>({ prefix: [...RED] }, { limit: 2 }),
      );
      const id = oldest[who % 2]?.value.events.at(-1)?.[0];
      const text = "e".repeat(who * 9_000 + 10);
      if (id !== undefined) counts[await outcomeOf(history.revise(RED, edit(id, text)))]!++;
      else await new Promise((resolve) => setTimeout(resolve, 5));
    }
  });
  const first = await one.say(message("the first"));
  await eventually(async () => {
    await one.sayAll(Array.from({ length: 10 }, () => message("x".repeat(8_000))));
    const isEvicted = await history.find(RED, first) === undefined;
    return isEvicted && counts["done"]! > 100 && counts["not-found"]! > 5;
  }, "rows are edited and evicted");
  isOver = true;
  await Promise.all(editing);
  assertEquals(counts["failed"], 0);
  assertEquals(await outcomeOf(history.revise(RED, edit(first, "back"))), "not-found");
  await eventually(async () => {
    const { bytes } = await checkedHistory(kv).catch(() => ({ bytes: Infinity }));
    return bytes <= MIB;
  }, "the bytes are below the quota, and the counters agree");
  const ids = (await all(history, RED)).map(({ eventId }) => eventId);
  assertEquals(ids, [...new Set(ids)].toSorted());
  assertEquals([...one.warnings, ...other.warnings], []);
});

Deno.test("History.revise: a removal that crashed keeps edits out for some seconds only", async () => {
  using kv = await Deno.openKv(":memory:");
  const clock = compactingAfter(20, { speed: 20 });
  await using one = await openFeedHistory(kv, "01A", { clock });
  const id = await one.say(message("one"));
  await compacted(kv, RED, 1);
  await kv.set(["history_removing"], 1);
  const startedMs = clock.monotonicMs();
  assertEquals(await outcomeOf(one.history.revise(RED, edit(id, "two"))), "done");
  assert(clock.monotonicMs() - startedMs > 5_000);
  assertEquals((await kv.get(["history_removing"])).value, null);
  assertEquals(await textsOf(one.history, RED), ["two"]);
});
