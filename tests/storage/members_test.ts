import { assertEquals, assertRejects } from "@std/assert";
import type { Clock } from "../../chat/base/clock.ts";
import type { RoomEvent } from "../../chat/feed/events.ts";
import { MemberCache } from "../../chat/storage/members.ts";
import { FakeClock } from "../support/fake_clock.ts";

function event(kind: RoomEvent["kind"], id: string, nick: string, text = ""): RoomEvent {
  return { kind, room: "red", id, nick, text, time: 0, cid: "" };
}

/** Members of rooms of which KV knows these people; each read waits until it is let go. */
function open(people: Record<string, string>, clock: Clock = new FakeClock()) {
  const reads: PromiseWithResolvers<void>[] = [];
  const members = new MemberCache(clock, async () => {
    // What is there when it is asked for, as KV's snapshots have it.
    const now = new Map(Object.entries(people));
    const read = Promise.withResolvers<void>();
    reads.push(read);
    await read.promise;
    return now;
  });
  const list = async () => [...await members.of("red")];
  return { members, reads, list };
}

Deno.test("a room is read once, and kept true by what happens there", async () => {
  const { members, reads, list } = open({ b: "Bob", c: "Cy" });
  const both = Promise.all([list(), list()]);
  reads[0]!.resolve();
  assertEquals(await both, [[["b", "Bob"], ["c", "Cy"]], [["b", "Bob"], ["c", "Cy"]]]);
  members.apply(event("join", "a", "Ann"));
  members.apply(event("nick", "b", "Bob", "Bo"));
  members.apply(event("leave", "c", "Cy"));
  members.apply({ ...event("join", "z", "Zoe"), room: "blue" });
  // In the order of their ids, whoever came when.
  assertEquals(await list(), [["a", "Ann"], ["b", "Bo"]]);
  assertEquals(reads.length, 1);
});

Deno.test("what happens while a room is read is in the list, once", async () => {
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

Deno.test("a room that could not be read is read again when it is asked for again", async () => {
  const { reads, list } = open({ a: "Ann" });
  const both = [list(), list()];
  reads[0]!.reject(new Error("no answer"));
  for (const each of both) await assertRejects(() => each, Error, "no answer");
  const listed = list();
  reads[1]!.resolve();
  assertEquals(await listed, [["a", "Ann"]]);
});

Deno.test("after a minute a room is read anew", async () => {
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

Deno.test("of many rooms those that were read first are forgotten first", async () => {
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
