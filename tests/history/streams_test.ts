/** Streams of history: which events each holds, their stored forms, and how they are counted. */
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { eventId, eventIdPrefix, type RoomEvent } from "../../chat/feed/events.ts";
import { retentionOf } from "../../chat/history/retention.ts";
import { decodeEvent, encodeEvent } from "../../chat/history/rows.ts";
import { feedNameOf, isEventId, nameOf, streamsOf } from "../../chat/history/streams.ts";
import { conversationOf, DIRECT_FEED_NAME, type Stream } from "../../chat/kv/keys.ts";
import { compactingAfter } from "../support/fake_clock.ts";
import { ANN, BOB, directBy, eventBy, openFeedHistory } from "../support/feed_history.ts";
import { eventually } from "../support/wait.ts";

const CONVERSATION: Stream = ["conversation", conversationOf(ANN.user, BOB.user)];
const RED: Stream = ["log", "red"];

/** Events of each kind, and the names of the streams that hold them. */
const CASES: readonly (readonly [RoomEvent, readonly string[]])[] = [
  [eventBy({ kind: "message", text: "hi" }), ["log red"]],
  [eventBy({ kind: "action", text: "hi", cid: "c" }), ["log red", "own 01SESSION"]],
  [eventBy({ kind: "message", text: "hi", editedAt: 5 }), ["log red"]],
  [eventBy({ kind: "message", account: "", deletedAt: 7 }), ["log red"]],
  [eventBy({ kind: "join" }), ["people red", "own 01SESSION"]],
  [eventBy({ kind: "leave", to: BOB }), ["people red", "own 01SESSION"]],
  [eventBy({ kind: "join", isQuiet: true }), ["own 01SESSION"]],
  [eventBy({ kind: "leave", isQuiet: true }), ["own 01SESSION"]],
  [eventBy({ kind: "nick", to: BOB }), ["people red"]],
  [eventBy({ kind: "nick", to: BOB, isQuiet: true }), []],
  [
    directBy({ text: "hi", cid: "c" }),
    ["direct 01USERANN", "direct 01USERBOB", nameOf(CONVERSATION), "own 01SESSION"],
  ],
  [directBy({ text: "me", to: ANN }), ["direct 01USERANN", "conversation 01USERANN_01USERANN"]],
  [directBy({ text: "hi", account: "" }), ["direct 01SESSION", "direct 01USERBOB"]],
  [
    directBy({ to: { user: "01GUEST", nick: "G", isRegistered: false } }),
    ["direct 01USERANN", "direct 01GUEST"],
  ],
  [eventBy({ kind: "edit", target: "b1000" }), ["people red"]],
  [eventBy({ kind: "delete", target: "b1000" }), ["people red"]],
  [
    eventBy({ kind: "delete", room: "", target: "b1000", to: BOB }),
    ["direct 01USERANN", "direct 01USERBOB"],
  ],
  [eventBy({ kind: "read", target: "b1000" }), []],
  [eventBy({ kind: "resume", room: "", text: "01A" }), []],
];

Deno.test("streamsOf names the streams of each kind of event", () => {
  for (const [event, expected] of CASES) {
    assertEquals(streamsOf(event).map(nameOf), expected, Deno.inspect(event));
  }
});

/** Returns an event without fields that are undefined. */
function withoutAbsent(event: RoomEvent): object {
  return Object.fromEntries(Object.entries(event).filter(([, value]) => value !== undefined));
}

Deno.test("decodeEvent returns what encodeEvent stored, in every stream that holds the event", () => {
  for (const [event] of CASES) {
    for (const stream of streamsOf(event)) {
      const stored = encodeEvent({ eventId: "b2000", event }, stream[0]);
      const decoded = decodeEvent(stored, stream);
      assertEquals(decoded?.eventId, "b2000");
      // In `own` another stream has the text and the nickname, except of a quiet event.
      const isShort = stream[0] === "own" && !event.isQuiet;
      const expected = isShort ? { ...event, nick: "", text: "" } : event;
      assertEquals(withoutAbsent(decoded!.event), withoutAbsent(expected), nameOf(stream));
    }
  }
});

Deno.test("decodeEvent reads rows of the version before user IDs as they were", () => {
  const own = ["own", "01SESSION"] as const, people = ["people", "red"] as const;
  const common = { room: "red", id: "01A", account: "", nick: "Ann", text: "", time: 5, cid: "" };
  const cases: readonly (readonly [Stream, unknown[], object | undefined])[] = [
    [RED, ["b1000", "message", "01A", "Ann", "hi", 5, ""], { kind: "message", text: "hi" }],
    [RED, ["b1000", "message", "01A", "Ann", "hi", 5, "c"], {
      kind: "message",
      text: "hi",
      cid: "c",
    }],
    [RED, ["b1000", "action", "01A", "Ann", "hi\0é😀", 5, ""], { kind: "action", text: "hi\0é😀" }],
    [people, ["b1000", "join", "01A", "Ann", "", 5, ""], { kind: "join" }],
    [people, ["b1000", "leave", "01A", "Ann", "", 5, ""], { kind: "leave" }],
    [
      people,
      ["b1000", "nick", "01A", "Ann", "Anna", 5, ""],
      { kind: "nick", to: { user: "01A", nick: "Anna", isRegistered: false } },
    ],
    [own, ["b1000", "join", "red", "", "", 5, ""], { kind: "join", id: "01SESSION", nick: "" }],
    [own, ["b1000", "leave", "red", "", "", 5, ""], { kind: "leave", id: "01SESSION", nick: "" }],
    [
      own,
      ["b1000", "message", "red", "", "", 5, "c"],
      { kind: "message", id: "01SESSION", nick: "", cid: "c" },
    ],
    // Of connections, which are over. Nothing reads them under a user's ID.
    [["direct", "01A"], ["b1000", "direct", "01A", "Eve", "hi", 5, "", "01E", "Ann"], undefined],
    [["sent", "01E"], ["b1000", "direct", "01A", "Eve", "hi", 5, "", "01E", "Ann"], undefined],
    [own, ["b1000", "direct", "", "", "", 5, "c"], undefined],
    [RED, ["b1000", "dance", "01A", "Ann", "", 5, ""], undefined],
  ];
  for (const [stream, stored, expected] of cases) {
    const decoded = decodeEvent(stored, stream);
    const event = decoded && withoutAbsent(decoded.event);
    assertEquals(event, expected && { ...common, ...expected }, Deno.inspect(stored));
  }
});

Deno.test("History shows old rows, and skips old direct messages without a warning", async () => {
  using kv = await Deno.openKv(":memory:");
  const time = Date.now();
  await kv.set([...RED, "a001"], {
    v: 1,
    events: [["a001", "message", "01A", "Ann", "hi", time, ""]],
  });
  const direct = ["a001", "direct", ANN.user, "Eve", "hi", time, "", "01E", "Ann"];
  await kv.set(["direct", ANN.user, "a001"], { v: 1, events: [direct] });
  await using one = await openFeedHistory(kv);
  await one.say(eventBy({ kind: "message", text: "new" }));
  const texts = async (stream: Stream) =>
    (await Array.fromAsync(one.history.forwards(stream, ""))).map(({ event }) => event.text);
  assertEquals(await texts(RED), ["hi", "new"]);
  assertEquals(await texts(["direct", ANN.user]), []);
  assertEquals(one.warnings, []);
});

Deno.test("feedNameOf: direct messages and conversations come from one shard, whatever their name", () => {
  for (const kind of ["direct", "conversation"] as const) {
    assertEquals(feedNameOf([kind, "01A"]), DIRECT_FEED_NAME);
  }
  for (const kind of ["log", "people"] as const) assertEquals(feedNameOf([kind, "red"]), "red");
  assertThrows(() => feedNameOf(["own", "01A"]), TypeError);
});

Deno.test("retentionOf keeps conversations as long as rooms, and direct messages as long as sessions", () => {
  const { log, people, conversation, direct, own } = retentionOf(7 * 86_400_000, 30_000);
  assertEquals([people, conversation, own], [log, log, direct]);
  assertEquals(retentionOf(0, 30_000).conversation, 0);
  assertEquals(retentionOf(5, 0).direct, 0);
});

Deno.test("isEventId accepts the IDs of events, and nothing that is long or not lower-case hexadecimal", () => {
  assertEquals(isEventId(eventId(eventIdPrefix("0000000000012ab30000"), 17)), true);
  assertEquals(isEventId(eventId(eventIdPrefix("ffffffffffffffffffff"), 4095)), true);
  for (
    const bad of ["", "a", "B1000", "b1000~", "b1000\0", "b1000\n", "é000", `b${"0".repeat(99)}`]
  ) {
    assertEquals(isEventId(bad), false, bad);
  }
});

Deno.test("History.countAfter counts messages of others that are not deleted, from memory and KV", async () => {
  using kv = await Deno.openKv(":memory:");
  const clock = compactingAfter(20);
  await using one = await openFeedHistory(kv, "01A", { clock });
  const { history } = one;
  const bob = { account: BOB.user, nick: BOB.nick };
  const events = Array.from({ length: 20 }, (_, n) => {
    return eventBy({ kind: n % 5 === 0 ? "action" : "message", ...(n % 2 === 0 ? bob : {}) });
  });
  const ids = await one.sayAll(events);
  await one.sayAll([eventBy({ kind: "join", ...bob }), eventBy({ kind: "nick", to: BOB })]);
  const count = (after: string, limit = 100, except = ANN.user) =>
    history.countAfter(RED, after, { limit, except });
  for (const place of ["memory", "KV"]) {
    if (place === "KV") {
      const isDone = async () => (await Array.fromAsync(kv.list({ prefix: [...RED] }))).length > 0;
      await eventually(isDone, "it is compacted");
    }
    assertEquals(await count(""), 10, place);
    assertEquals(await count(ids[10]!), 4, place);
    assertEquals(await count(ids[10]!, 3), 3, place);
    assertEquals(await count(ids[10]!, 100, BOB.user), 5, place);
    assertEquals(await count(ids[10]!, 100, ""), 9, place);
    assertEquals(await count("z"), 0, place);
  }
  const event = eventBy({ kind: "delete", target: ids[12]!, ...bob });
  assertEquals((await history.revise(RED, event)).outcome, "done");
  assertEquals(await count(ids[10]!), 3);
  await assertRejects(
    () => history.countAfter(["own", "01A"], "", { limit: 1, except: "" }),
    TypeError,
  );
});

Deno.test("History.countAfter looks at a bounded number of events", async () => {
  using kv = await Deno.openKv(":memory:");
  await using one = await openFeedHistory(kv);
  await one.sayAll(Array.from({ length: 1_200 }, () => eventBy({ kind: "message" })));
  await one.say(eventBy({ kind: "message", account: BOB.user }));
  const count = (limit: number, except: string) =>
    one.history.countAfter(RED, "", { limit, except });
  assertEquals(await count(100, ANN.user), 0);
  assertEquals(await count(1_100, BOB.user), 1_000);
});

Deno.test("History.isReached: an event at or before the ID must be kept, and none after it evicted", async () => {
  using kv = await Deno.openKv(":memory:");
  const clock = compactingAfter(20);
  await using one = await openFeedHistory(kv, "01A", { clock });
  const { history } = one;
  const before = await one.say(eventBy({ kind: "message", room: "blue" }));
  assertEquals(await history.isReached(RED, before), false);
  const join = await one.say(eventBy({ kind: "join" }));
  // A client that has seen only its join has missed nothing.
  assertEquals(await history.isReached(RED, join), true);
  assertEquals(await history.isReached(["people", "red"], before), false);
  const first = await one.say(eventBy({ kind: "message" }));
  assertEquals(await history.isReached(RED, first), true);
  const later = await one.say(eventBy({ kind: "message", room: "blue" }));
  assertEquals(await history.isReached(RED, later), true);
  await kv.set(["history_evicted", "log", "red"], first);
  assertEquals(await history.isReached(RED, join), false);
  assertEquals(await history.isReached(RED, first), true);
  clock.setAhead(7 * 86_400_000 + 1_000);
  assertEquals(await history.isReached(RED, later), false);
});

Deno.test("History.latestId is not earlier than anything delivered, on every instance and after a start", async () => {
  using kv = await Deno.openKv(":memory:");
  await using one = await openFeedHistory(kv, "01A");
  const said = await one.say(eventBy({ kind: "message" }));
  const read = await one.say(eventBy({ kind: "read", target: said }));
  await using other = await openFeedHistory(kv, "01B");
  for (const { history } of [one, other]) {
    assertEquals(history.latestId("red") > read, true);
    assertEquals(history.latestId("red") < "z", true);
  }
  // In a shard without events, nothing has been delivered.
  assertEquals(one.history.latestId(DIRECT_FEED_NAME), "a~");
  await using off = await openFeedHistory(kv, "01C", { retention: retentionOf(0, 0) });
  assertEquals(off.history.latestId("red"), "");
});

Deno.test("History.find returns an event of the stream only, from memory and KV", async () => {
  using kv = await Deno.openKv(":memory:");
  await using one = await openFeedHistory(kv);
  const { history } = one;
  const [id] = await one.sayAll([eventBy({ kind: "message", text: "hi" })]);
  for (const place of ["memory", "KV"]) {
    if (place === "KV") {
      const isDone = async () => (await Array.fromAsync(kv.list({ prefix: [...RED] }))).length > 0;
      await eventually(isDone, "it is compacted");
    }
    assertEquals((await history.find(RED, id!))?.event.text, "hi", place);
    assertEquals(await history.find(["log", "blue"], id!), undefined, place);
    assertEquals(await history.find(["people", "red"], id!), undefined, place);
    assertEquals(await history.find(CONVERSATION, id!), undefined, place);
  }
  await assertRejects(() => history.find(["own", "01SESSION"], id!), TypeError);
});
