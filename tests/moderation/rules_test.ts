/** The rules of rooms: locked, private, muted, slow; owners; and how they reach each session. */
import { assert, assertEquals } from "@std/assert";
import type { ActRequest } from "../../chat/moderation/moderation.ts";
import { AdjustedClock } from "../support/fake_clock.ts";
import { countingKv } from "../support/faulty_kv.ts";
import { codeOf, type Moderated, openModerated, OPERATOR, userOf } from "../support/moderation.ts";
import { keysOf } from "../support/storage.ts";

const ROOM = "red";

/** Lets the operator act, who must be session 1. */
async function acts(server: Moderated, ...requests: Omit<ActRequest, "room">[]): Promise<void> {
  for (const request of requests) {
    const result = await server.moderation.act(server.session("1"), { room: ROOM, ...request });
    assertEquals(codeOf(result), "ok", request.act);
  }
  await server.settled();
}

Deno.test("a locked room lets in registered users, moderators, operators and invited users only", async () => {
  using kv = await Deno.openKv(":memory:");
  await using server = await openModerated(kv);
  await server.member("1", OPERATOR);
  await server.guest("2", "Carl");
  await server.guest("3", "Dora");
  await server.member("4", "Rita");
  await acts(server, { act: "lock" }, { act: "invite", user: { nick: "Dora" } });
  assertEquals(await server.join("1", ROOM), "done");
  assertEquals(await server.join("2", ROOM), "locked");
  assertEquals(await server.join("3", ROOM), "done");
  assertEquals(await server.join("4", ROOM), "done");
  await acts(server, { act: "unlock" });
  assertEquals(await server.join("2", ROOM), "done");
});

Deno.test("a private room lets in and shows itself to invited users, moderators and operators only", async () => {
  using kv = await Deno.openKv(":memory:");
  await using one = await openModerated(kv, "01A");
  await using other = await openModerated(kv, "01B");
  await one.share();
  await other.share();
  await one.member("1", OPERATOR, [ROOM]);
  await one.appoint(ROOM, "Mona");
  await other.member("2", "Rita");
  await other.guest("3", "Dora");
  await other.member("4", "Mona");
  await acts(one, { act: "private" }, { act: "invite", user: { nick: "Dora" } });
  await other.settled();
  const sees = async (server: Moderated, id: string) =>
    (await server.moderation.visible(server.session(id), [ROOM, "blue"])).has(ROOM);
  assertEquals(await sees(one, "1"), true);
  assertEquals(await sees(other, "2"), false);
  assertEquals(await sees(other, "3"), true);
  assertEquals(await sees(other, "4"), true);
  assertEquals(await other.join("2", ROOM), "private");
  assertEquals(await other.join("3", ROOM), "done");
  assertEquals(await other.join("4", ROOM), "done");
  // An instance that starts later knows it, too.
  await using later = await openModerated(kv, "01C");
  await later.member("5", "Zoe");
  assertEquals(await sees(later, "5"), false);
  await acts(one, { act: "public" });
  await other.settled();
  assertEquals(await sees(other, "2"), true);
  assertEquals(await other.join("2", ROOM), "done");
});

Deno.test("a ban ends an invitation", async () => {
  using kv = await Deno.openKv(":memory:");
  await using server = await openModerated(kv);
  await server.member("1", OPERATOR);
  await server.member("2", "Rita");
  const user = { nick: "Rita" };
  await acts(server, { act: "private" }, { act: "invite", user }, { act: "ban", user });
  assertEquals(await server.join("2", ROOM), "banned");
  await acts(server, { act: "unban", user });
  assertEquals(await server.join("2", ROOM), "private");
});

Deno.test("in a muted room only moderators and operators write, until its time is over", async () => {
  using kv = await Deno.openKv(":memory:");
  const clock = new AdjustedClock();
  await using server = await openModerated(kv, "01A", { clock });
  await server.appoint(ROOM, "Mona");
  await server.member("1", OPERATOR, [ROOM]);
  await server.member("2", "Mona", [ROOM]);
  await server.guest("3", "Carl", [ROOM]);
  await acts(server, { act: "mute", seconds: 60 });
  assertEquals(await server.say("1", ROOM, "a"), "done");
  assertEquals(await server.say("2", ROOM, "b"), "done");
  assertEquals(await server.say("3", ROOM, "c"), "muted");
  const { muted } = server.moderation.stateOf(server.session("3"), ROOM);
  assert(typeof muted === "number" && muted > clock.now());
  assertEquals(server.moderation.stateOf(server.session("2"), ROOM).muted, undefined);
  // Who joins later is bound by it, too.
  await server.guest("4", "Dora", [ROOM]);
  assertEquals(await server.say("4", ROOM, "d"), "muted");
  clock.advance(60_001);
  assertEquals(await server.say("3", ROOM, "e"), "done");
  await acts(server, { act: "mute" });
  assertEquals(await server.say("3", ROOM, "f"), "muted");
  await acts(server, { act: "unmute" });
  assertEquals(await server.say("3", ROOM, "g"), "done");
});

Deno.test("slow mode: one message of a user in so many seconds, on all instances, not for moderators", async () => {
  using kv = await Deno.openKv(":memory:");
  const clock = new AdjustedClock();
  await using one = await openModerated(kv, "01A", { clock });
  await using other = await openModerated(kv, "01B", { clock });
  await one.share();
  await other.share();
  await one.member("1", OPERATOR, [ROOM]);
  await one.member("2", "Rita", [ROOM]);
  await other.member("3", "Rita", [ROOM]);
  await one.guest("4", "Carl", [ROOM]);
  await acts(one, { act: "slow", count: 30 });
  await other.settled();
  assertEquals(await one.say("2", ROOM, "a"), "done");
  await other.settled();
  assertEquals(await one.say("2", ROOM, "b"), "too-fast");
  assertEquals(await other.say("3", ROOM, "c"), "too-fast");
  assertEquals(await one.say("4", ROOM, "d"), "done");
  assertEquals(await one.say("1", ROOM, "e"), "done");
  assertEquals(await one.say("1", ROOM, "f"), "done");
  clock.advance(30_000);
  assertEquals(await other.say("3", ROOM, "g"), "done");
  await acts(one, { act: "slow", count: 0 });
  assertEquals(await one.say("4", ROOM, "h"), "done");
  assertEquals(await one.say("4", ROOM, "i"), "done");
});

Deno.test("bans and mutes end when their time is over, and their rows with them", async () => {
  using kv = await Deno.openKv(":memory:");
  const clock = new AdjustedClock();
  await using server = await openModerated(kv, "01A", { clock });
  await server.member("1", OPERATOR, [ROOM]);
  await server.member("2", "Rita", [ROOM]);
  await server.guest("3", "Carl", [ROOM]);
  await acts(
    server,
    { act: "ban", user: { nick: "Rita" }, seconds: 60 },
    { act: "mute", user: { nick: "Carl" }, seconds: 60 },
  );
  clock.advance(59_000);
  assertEquals(await server.join("2", ROOM), "banned");
  assertEquals(await server.say("3", ROOM, "a"), "muted");
  clock.advance(1_001);
  assertEquals(await server.join("2", ROOM), "done");
  assertEquals(await server.say("3", ROOM, "b"), "done");
  const rows = kv.list({ prefix: ["standing"] });
  for await (const { value } of rows) assert(Deno.inspect(value).includes("until"));
  // An act on what has ended finds nothing.
  const unban = { act: "unban", room: ROOM, user: { nick: "Rita" } } as const;
  assertEquals(codeOf(await server.moderation.act(server.session("1"), unban)), "no-such-user");
});

Deno.test("a refusal says the reason and the time left", async () => {
  using kv = await Deno.openKv(":memory:");
  await using server = await openModerated(kv);
  await server.member("1", OPERATOR, [ROOM]);
  await server.member("2", "Rita", [ROOM]);
  await acts(server, { act: "ban", user: { nick: "Rita" }, seconds: 600, text: "spam" });
  const gate = server.moderation.enter(server.session("2"));
  assertEquals((await server.storage.setRoom("2", ROOM, gate.admit)).outcome, "refused");
  const { message, retryAfterMs = 0 } = gate.rejection!;
  assertEquals(message, 'You are banned from "red" for another 10 minutes: spam');
  assert(retryAfterMs > 590_000 && retryAfterMs <= 600_000);
});

Deno.test("the state of a room reaches sessions on all instances, and those that join later", async () => {
  using kv = await Deno.openKv(":memory:");
  await using one = await openModerated(kv, "01A");
  await using other = await openModerated(kv, "01B");
  await one.share();
  await other.share();
  await one.member("1", OPERATOR, [ROOM]);
  await other.member("2", "Rita", [ROOM]);
  await acts(
    one,
    { act: "topic", text: "cups" },
    { act: "slow", count: 5 },
    { act: "lock" },
    { act: "mod", user: { nick: "Rita" } },
  );
  await other.settled();
  const state = { room: ROOM, topic: "cups", slow: 5, locked: true, private: undefined } as const;
  const stateOf = (server: Moderated, id: string) =>
    server.moderation.stateOf(server.session(id), ROOM);
  assertEquals(stateOf(other, "2"), { ...state, muted: undefined, role: "moderator" });
  assertEquals(stateOf(one, "1"), { ...state, muted: undefined, role: "operator" });
  await using later = await openModerated(kv, "01C");
  await later.member("3", "Zoe", [ROOM]);
  assertEquals(stateOf(later, "3"), { ...state, muted: undefined, role: undefined });
  const { event } = other.delivered.findLast(({ event }) =>
    event.target === "mod" && !event.isQuiet
  )!;
  assertEquals(other.moderation.changedFor(event).map(({ id }) => id), ["2"]);
});

Deno.test("whoever opens a room while registered moderates it, only with --room-owners", async () => {
  using kv = await Deno.openKv(":memory:");
  await using plain = await openModerated(kv, "01A");
  await plain.member("1", "Rita", ["green"]);
  assertEquals(plain.moderation.roleIn(plain.session("1"), "green"), undefined);
  assertEquals(await keysOf(kv, "room_rules"), []);
  await using owners = await openModerated(kv, "01B", { roomOwners: true });
  await owners.guest("2", "Carl", ["blue"]);
  await owners.member("3", "Zoe", ["blue", "green", ROOM]);
  assertEquals(await keysOf(kv, "room_rules"), [ROOM]);
  const topic = { act: "topic", text: "mine" } as const;
  const act = (room: string) => owners.moderation.act(owners.session("3"), { ...topic, room });
  assertEquals(codeOf(await act(ROOM)), "ok");
  assertEquals(codeOf(await act("blue")), "not-a-moderator");
  assertEquals(codeOf(await act("green")), "not-a-moderator");
  // Who comes later gets nothing, also when all have left.
  await owners.member("4", "Max", [ROOM]);
  assertEquals(owners.moderation.roleIn(owners.session("4"), ROOM), undefined);
});

Deno.test("a user opens at most ten rooms a day as their owner", async () => {
  using kv = await Deno.openKv(":memory:");
  await using server = await openModerated(kv, "01A", { roomOwners: true });
  await server.member("1", "Rita", Array.from({ length: 12 }, (_, i) => `room${i}`));
  assertEquals((await keysOf(kv, "room_rules")).length, 10);
});

Deno.test("two users who open a room at the same moment: one of them moderates it", async () => {
  using kv = await Deno.openKv(":memory:");
  await using one = await openModerated(kv, "01A", { roomOwners: true });
  await using other = await openModerated(kv, "01B", { roomOwners: true });
  await one.member("1", "Rita");
  await other.member("2", "Zoe");
  const codes = await Promise.all([one.join("1", ROOM), other.join("2", ROOM)]);
  assertEquals(codes, ["done", "done"]);
  const { value } = await kv.get<{ moderators: string[][] }>(["room_rules", ROOM]);
  assertEquals(value!.moderators.length, 1);
});

Deno.test("10,000 bans cost a message nothing, and a join not one read more", async () => {
  using kv = await Deno.openKv(":memory:");
  const { kv: counted, use } = countingKv(kv);
  await using server = await openModerated(counted, "01A", { historyKv: kv });
  await server.guest("1", "Carl");
  await server.guest("2", "Dora");
  const before = { ...use };
  assertEquals(await server.join("1", ROOM), "done");
  const joining = { gets: use.gets - before.gets, lists: use.lists - before.lists };
  const ban = { until: 8.64e15, reason: "spam", by: "Olga", at: 1 };
  for (let i = 0; i < 100; i++) {
    const atomic = kv.atomic();
    for (let j = 0; j < 100; j++) {
      const nick = `bad${i}x${j}`;
      atomic.set(["standing", ROOM, `01B${nick}`], { v: 1, nick, ban });
      atomic.set(["standing", "", `01B${nick}`], { v: 1, nick, ban });
    }
    await atomic.commit();
  }
  const banned = { ...use };
  assertEquals(await server.join("2", ROOM), "done");
  assertEquals({ gets: use.gets - banned.gets, lists: use.lists - banned.lists }, joining);
  const said = { ...use };
  assertEquals(await server.say("2", ROOM, "hi"), "done");
  assertEquals(use.gets - said.gets + use.lists - said.lists, 0);
  // One of them can be ended all the same.
  await server.member("3", OPERATOR);
  const unban = { act: "unban", room: ROOM, user: { nick: "bad99x99" } } as const;
  assertEquals(codeOf(await server.moderation.act(server.session("3"), unban)), "ok");
  assertEquals((await kv.get(["standing", ROOM, "01Bbad99x99"])).versionstamp, null);
});

Deno.test("a moderator who is banned, or muted, cannot act; one who is no moderator any more, neither", async () => {
  using kv = await Deno.openKv(":memory:");
  await using server = await openModerated(kv);
  await server.appoint(ROOM, "Mona");
  await server.member("1", OPERATOR, [ROOM]);
  await server.member("2", "Mona", [ROOM]);
  const topic = { act: "topic", room: ROOM, text: "mine" } as const;
  const act = async () => codeOf(await server.moderation.act(server.session("2"), topic));
  const user = { nick: "Mona" };
  assertEquals(await act(), "ok");
  await acts(server, { act: "mute", user });
  assertEquals(await act(), "muted");
  await acts(server, { act: "unmute", user }, { act: "ban", user });
  assertEquals(await act(), "banned");
  const unban = { act: "unban", room: ROOM, user } as const;
  assertEquals(codeOf(await server.moderation.act(server.session("2"), unban)), "banned");
  await acts(server, { act: "unban", user }, { act: "unmod", user });
  assertEquals(await act(), "not-a-moderator");
  assertEquals(await server.join("2", ROOM), "done");
  assertEquals(userOf("Mona"), server.session("2").user);
});
