/** The cache of rooms' members: when it reads, and how events change it. */
import { assertEquals, assertRejects } from "@std/assert";
import type { Clock } from "../../chat/base/clock.ts";
import type { RoomEvent, UserRef } from "../../chat/feed/events.ts";
import { MemberCache, usersOf } from "../../chat/storage/members.ts";
import { FakeClock } from "../support/fake_clock.ts";

function event(kind: RoomEvent["kind"], id: string, nick: string, to?: string): RoomEvent {
  const fields = { room: "red", id, account: "", nick, text: "", time: 0, cid: "" };
  return {
    kind,
    ...fields,
    to: to === undefined ? to : { user: id, nick: to, isRegistered: false },
  };
}

/** A user's ID for a registered nickname. */
function registered(user: string, nick: string): UserRef {
  return { user, nick, isRegistered: true };
}

/** Opens a cache over a KV in which room "red" has these members. A test resolves each read. */
function open(people: Record<string, string>, clock: Clock = new FakeClock()) {
  const reads: PromiseWithResolvers<void>[] = [];
  const members = new MemberCache(clock, async () => {
    // A list in KV returns the state at its start.
    const now = new Map(Object.entries(people).map(([id, nick]) => [id, { nick, account: "" }]));
    const read = Promise.withResolvers<void>();
    reads.push(read);
    await read.promise;
    return now;
  });
  const list = async () => [...await members.of("red")].map(([id, { nick }]) => [id, nick]);
  return { members, reads, list };
}

Deno.test("MemberCache reads a room once and applies its events", async () => {
  const { members, reads, list } = open({ b: "Bob", c: "Cy" });
  const both = Promise.all([list(), list()]);
  reads[0]!.resolve();
  assertEquals(await both, [[["b", "Bob"], ["c", "Cy"]], [["b", "Bob"], ["c", "Cy"]]]);
  members.apply(event("join", "a", "Ann"));
  members.apply(event("nick", "b", "Bob", "Bo"));
  members.apply(event("leave", "c", "Cy"));
  members.apply({ ...event("join", "z", "Zoe"), room: "blue" });
  // In the order of their IDs, not of their joins.
  assertEquals(await list(), [["a", "Ann"], ["b", "Bo"]]);
  assertEquals(reads.length, 1);
});

Deno.test("MemberCache applies events that are delivered during a read, each once", async () => {
  const { members, reads, list } = open({ a: "Ann", b: "Bob" });
  const listed = list();
  members.apply(event("leave", "b", "Bob"));
  members.apply(event("join", "a", "Ann"));
  members.apply(event("join", "c", "Cy"));
  reads[0]!.resolve();
  assertEquals(await listed, [["a", "Ann"], ["c", "Cy"]]);
  members.apply(event("leave", "c", "Cy"));
  assertEquals(await list(), [["a", "Ann"]]);
});

Deno.test("MemberCache reads a room again after a failed read", async () => {
  const { reads, list } = open({ a: "Ann" });
  const both = [list(), list()];
  reads[0]!.reject(new Error("no answer"));
  for (const each of both) await assertRejects(() => each, Error, "no answer");
  const listed = list();
  reads[1]!.resolve();
  assertEquals(await listed, [["a", "Ann"]]);
});

Deno.test("MemberCache reads a room again after a minute", async () => {
  const people: Record<string, string> = { a: "Ann" };
  const clock = new FakeClock();
  const { reads, list } = open(people, clock);
  const listed = list();
  reads[0]!.resolve();
  await listed;
  people["b"] = "Bob";
  clock.advance(60_000);
  assertEquals(await list(), [["a", "Ann"]]);
  clock.advance(1);
  const again = list();
  reads[1]!.resolve();
  assertEquals(await again, [["a", "Ann"], ["b", "Bob"]]);
});

Deno.test("MemberCache drops the room that was read first when it is full", async () => {
  const asked: string[] = [];
  const members = new MemberCache(new FakeClock(), (room) => {
    asked.push(room);
    return Promise.resolve(new Map());
  });
  for (let i = 0; i < 300; i++) await members.of(`room ${i}`);
  asked.length = 0;
  await members.of("room 299");
  await members.of("room 0");
  assertEquals(asked, ["room 0"]);
});

Deno.test("MemberCache and usersOf show a user once while one of its sessions is in the room", async () => {
  const { members, reads } = open({ a: "Ann" });
  const users = async () =>
    usersOf(await members.of("red")).map(({ user, nick }) => `${nick}@${user}`);
  const first = users();
  reads[0]!.resolve();
  assertEquals(await first, ["Ann@a"]);
  const bob = { account: "BOB" };
  members.apply({ ...event("join", "c", "Bob"), ...bob });
  members.apply({ ...event("join", "b", "bob"), ...bob, isQuiet: true });
  // In the order of the oldest sessions.
  assertEquals(await users(), ["Ann@a", "bob@BOB"]);
  members.apply({ ...event("leave", "b", "bob"), ...bob, isQuiet: true });
  assertEquals(await users(), ["Ann@a", "Bob@BOB"]);
  // A session that speaks for another user from then on stays, whichever event tells it.
  members.apply({ ...event("leave", "a", "Ann"), to: registered("BOB", "Bob") });
  assertEquals(await users(), ["Bob@BOB"]);
  members.apply({ ...event("join", "c", "Cy"), account: "CY", to: registered("CY", "Cy") });
  assertEquals(await users(), ["Bob@BOB", "Cy@CY"]);
  members.apply({ ...event("join", "d", "Cy"), account: "CY", isQuiet: true });
  members.apply({
    ...event("nick", "d", "Cy"),
    account: "CY",
    to: registered("BOB", "Bob"),
    isQuiet: true,
  });
  members.apply({ ...event("leave", "a", "Bob"), ...bob, isQuiet: true });
  assertEquals(await users(), ["Cy@CY", "Bob@BOB"]);
  members.apply({ ...event("leave", "d", "Bob"), ...bob });
  assertEquals(await users(), ["Cy@CY"]);
});
