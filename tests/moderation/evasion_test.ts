/**
 * What a banned, muted or kicked user tries: another instance in the same instant, another name, another
 * session, a resume; and that nothing of that user is delivered after the act.
 */
import { assert, assertEquals } from "@std/assert";
import { hashToken } from "../../chat/base/tokens.ts";
import { interceptCommits } from "../support/faulty_kv.ts";
import type { ActRequest } from "../../chat/moderation/moderation.ts";
import {
  codeOf,
  eventOf,
  type Moderated,
  openModerated,
  OPERATOR,
  shortAct,
} from "../support/moderation.ts";
import { Random } from "../support/random.ts";
import { keysOf } from "../support/storage.ts";
import { eventually } from "../support/wait.ts";

const ROOM = "red";
const BAN: ActRequest = { act: "ban", room: ROOM, user: { nick: "Bob" }, text: "spam" };

/** Opens the operator's instance and Bob's. Bob's watches nothing: it learns of an act when it commits. */
async function openTwo(kv: Deno.Kv, bobsKv = kv) {
  const one = await openModerated(kv, "01A");
  const other = await openModerated(bobsKv, "01B");
  await one.member("1", OPERATOR, [ROOM]);
  await other.guest("2", "Bob", [ROOM], "bobs-address");
  await one.settled();
  return {
    one,
    other,
    async [Symbol.asyncDispose]() {
      await other[Symbol.asyncDispose]();
      await one[Symbol.asyncDispose]();
    },
  };
}

/** Returns what an instance delivered in the room after the last act against Bob. */
function afterAct({ delivered }: Moderated): string[] {
  const last = delivered.findLastIndex(({ event }) =>
    event.kind === "act" && event.to?.nick === "Bob" && !event.isQuiet
  );
  assert(last >= 0, "the act was delivered");
  return delivered.slice(last + 1).filter(({ event }) => event.room === ROOM && !event.isQuiet)
    .map(({ event }) => shortAct(event));
}

for (const mode of ["exclusive", "shared"]) {
  Deno.test(`a message that another instance in ${mode} mode submits after an act is not committed`, async () => {
    for (const act of ["ban", "kick", "mute"] as const) {
      using kv = await Deno.openKv(":memory:");
      await using two = await openTwo(kv);
      const { one, other } = two;
      // The other's last commit decides its mode: a foreign row before it makes the mode shared.
      if (mode === "shared") assertEquals(await one.say("1", ROOM, "first"), "done");
      assertEquals(await other.say("2", ROOM, "before"), "done");
      const result = await one.moderation.act(one.session("1"), { ...BAN, act });
      assertEquals(codeOf(result), "ok");
      const code = await other.say("2", ROOM, "after");
      assertEquals(code, act === "mute" ? "muted" : "not-in-room");
      await other.settled();
      await one.settled();
      for (const server of [one, other]) {
        assert(server.told(ROOM).includes("Bob: before"));
        assertEquals(afterAct(server), act === "mute" ? [] : ["leave Bob"], act);
      }
    }
  });
}

Deno.test("a message that was committed before the act is delivered before it, on all instances", async () => {
  using kv = await Deno.openKv(":memory:");
  await using two = await openTwo(kv);
  const { one, other } = two;
  // The operator's instance has not seen the message when it commits the act.
  assertEquals(await other.say("2", ROOM, "first"), "done");
  assertEquals(codeOf(await one.moderation.act(one.session("1"), BAN)), "ok");
  await other.settled();
  await one.settled();
  for (const server of [one, other]) {
    assertEquals(server.told(ROOM).slice(-3), ["Bob: first", `${OPERATOR} ban Bob`, "leave Bob"]);
  }
});

Deno.test("a message and an act of the same batch: what stands behind the act is judged again", async () => {
  using kv = await Deno.openKv(":memory:");
  await using server = await openModerated(kv);
  await server.member("1", OPERATOR, [ROOM]);
  await server.guest("2", "Bob", [ROOM]);
  await server.guest("3", "Carl", [ROOM]);
  // While one commit is under way, all of these wait in one queue.
  const first = server.say("3", ROOM, "first");
  const acted = server.moderation.act(server.session("1"), BAN);
  let isDone = false;
  void acted.then(() => isDone = true);
  const said: Promise<string>[] = [];
  while (!isDone) {
    said.push(server.say("2", ROOM, "from Bob"), server.say("3", ROOM, "from Carl"));
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
  assertEquals(await first, "done");
  assertEquals(codeOf(await acted), "ok");
  await Promise.all(said);
  assertEquals(await server.say("3", ROOM, "last"), "done");
  const after = afterAct(server);
  assertEquals(after.filter((line) => line.includes("Bob")), ["leave Bob"]);
  assert(after.includes("Carl: last"));
});

Deno.test("whatever the timing, nothing of a user is delivered after an act, and others lose nothing", async () => {
  const random = new Random(7);
  for (let run = 0; run < 30; run++) {
    using kv = await Deno.openKv(":memory:");
    const slow = interceptCommits(kv, async (commit) => {
      for (let i = random.below(4); i > 0; i--) {
        await new Promise((resolve) => setTimeout(resolve, 0));
      }
      return await commit();
    });
    await using two = await openTwo(slow);
    const { one, other } = two;
    await one.share();
    await other.share();
    await one.guest("3", "Carl", [ROOM]);
    await other.guest("4", "Dora", [ROOM]);
    const said: Promise<string>[] = [];
    const act = (["ban", "kick", "mute"] as const)[run % 3]!;
    const at = random.below(20);
    let acted: Promise<unknown> | undefined;
    for (let i = 0; i < 30; i++) {
      if (i === at) acted = one.moderation.act(one.session("1"), { ...BAN, act });
      said.push(one.say("3", ROOM, `c${i}`), other.say("4", ROOM, `d${i}`));
      other.say("2", ROOM, `b${i}`);
      if (random.below(3) === 0) await new Promise((resolve) => setTimeout(resolve, 0));
    }
    await acted;
    assertEquals(new Set(await Promise.all(said)), new Set(["done"]));
    await other.settled();
    await one.settled();
    for (const server of [one, other]) {
      const after = afterAct(server).filter((line) => line.includes("Bob"));
      assertEquals(after, act === "mute" ? [] : ["leave Bob"], `run ${run}, ${act}`);
      const carls = server.told(ROOM).filter((line) => line.startsWith("Carl: "));
      assertEquals(carls, Array.from({ length: 30 }, (_, i) => `Carl: c${i}`));
    }
    assertEquals(one.told(ROOM), other.told(ROOM));
  }
});

Deno.test("a lost answer to the commit of an act does not let a message pass", async () => {
  using kv = await Deno.openKv(":memory:");
  let loses = false;
  const lossy = interceptCommits(kv, async (commit) => {
    const result = await commit();
    if (!loses) return result;
    loses = false;
    throw new Error("lost");
  });
  await using one = await openModerated(lossy, "01A");
  await using other = await openModerated(kv, "01B");
  await one.member("1", OPERATOR, [ROOM]);
  await other.guest("2", "Bob", [ROOM]);
  await one.settled();
  loses = true;
  assertEquals(codeOf(await one.moderation.act(one.session("1"), BAN)), "ok");
  assertEquals(await other.say("2", ROOM, "after"), "not-in-room");
  await other.settled();
  await one.settled();
  const acts = one.told(ROOM).filter((line) => line === `${OPERATOR} ban Bob`);
  assertEquals(acts.length, 1);
  assertEquals(afterAct(other), ["leave Bob"]);
});

Deno.test("a banned user is kept out under another ID, from the same address, by name and by lookalike", async () => {
  using kv = await Deno.openKv(":memory:");
  await using server = await openModerated(kv);
  await server.member("1", OPERATOR, [ROOM]);
  await server.guest("2", "Bøb", [ROOM], "bobs-address");
  await server.guest("3", "Carl", [], "bobs-address");
  const ban = { ...BAN, user: { nick: "Bøb" }, seconds: 600 } as const;
  assertEquals(codeOf(await server.moderation.act(server.session("1"), ban)), "ok");
  await server.settled();
  assertEquals(server.told(ROOM).slice(-2), [`${OPERATOR} ban Bøb`, "leave Bøb"]);
  // The same session, another one from the address, and a lookalike from elsewhere.
  assertEquals(await server.join("2", ROOM), "banned");
  assertEquals(await server.join("3", ROOM), "banned");
  await server.storage.deleteConnection("2");
  await server.guest("4", "BØB", [], "other-address");
  assertEquals(await server.join("4", ROOM), "banned");
  // A name that has nothing to do with it may enter, but not become one that does.
  await server.guest("5", "Dora", [ROOM], "other-address");
  await server.storage.deleteConnection("4");
  assertEquals(await server.name("5", "bøb"), "banned");
  // Other rooms are open.
  assertEquals(await server.join("3", "blue"), "done");
});

Deno.test("who registers after a ban of the address stays out; who was registered before may enter", async () => {
  using kv = await Deno.openKv(":memory:");
  await using server = await openModerated(kv);
  await server.member("1", OPERATOR, [ROOM]);
  await server.guest("2", "Bob", [ROOM], "school");
  assertEquals(codeOf(await server.moderation.act(server.session("1"), BAN)), "ok");
  await server.settled();
  // A ULID of the far future, and one of the past.
  server.storage.createConnection("3", "json", "school");
  assertEquals(await server.identify("3", "Bobby", "7ZZZZZZZZZ0000000000000000"), "done");
  assertEquals(await server.join("3", ROOM), "banned");
  server.storage.createConnection("4", "json", "school");
  assertEquals(await server.identify("4", "Carl", "01AAAAAAAA0000000000000000"), "done");
  assertEquals(await server.join("4", ROOM), "done");
});

Deno.test("a registered user is banned on all devices, whatever the address, and after a restart", async () => {
  using kv = await Deno.openKv(":memory:");
  {
    await using two = await openTwo(kv);
    const { one, other } = two;
    await one.share();
    await other.share();
    await one.member("5", "Rita", [ROOM]);
    await other.member("6", "Rita", [ROOM]);
    const ban = { ...BAN, user: { nick: "Rita" } } as const;
    assertEquals(codeOf(await one.moderation.act(one.session("1"), ban)), "ok");
    await one.settled();
    await eventually(() => other.session("6").rooms.size === 0, "the second device has left");
    await one.settled();
    assertEquals(one.session("5").rooms.size, 0);
    // The room sees one user leave.
    assertEquals(one.told(ROOM).filter((line) => line === "leave Rita").length, 1);
    assertEquals(await other.join("6", ROOM), "banned");
  }
  await using later = await openModerated(kv, "01C");
  await later.member("7", "Rita");
  assertEquals(await later.join("7", ROOM), "banned");
  await later.member("8", OPERATOR);
  const unban = { act: "unban", room: ROOM, user: { nick: "Rita" } } as const;
  assertEquals(codeOf(await later.moderation.act(later.session("8"), unban)), "ok");
  assertEquals(await later.join("7", ROOM), "done");
});

Deno.test("a banned registered user cannot come back as a guest from the same address, until the ban ends", async () => {
  using kv = await Deno.openKv(":memory:");
  await using server = await openModerated(kv, "01A");
  await server.member("1", OPERATOR, [ROOM]);
  await server.member("2", "Rita", [ROOM], "ritas-address");
  await server.guest("3", "Carl", [], "ritas-address");
  await server.guest("4", "Dora", [], "other-address");
  const ban = { ...BAN, user: { nick: "Rita" } } as const;
  assertEquals(codeOf(await server.moderation.act(server.session("1"), ban)), "ok");
  await server.settled();
  assertEquals(await server.join("3", ROOM), "banned");
  assertEquals(await server.join("4", ROOM), "done");
  const unban = { act: "unban", room: ROOM, user: { nick: "Rita" } } as const;
  assertEquals(codeOf(await server.moderation.act(server.session("1"), unban)), "ok");
  assertEquals(await server.join("3", ROOM), "done");
  assertEquals(await server.join("2", ROOM), "done");
});

Deno.test("a muted user cannot write, edit, or be renamed, also after leaving and joining again", async () => {
  using kv = await Deno.openKv(":memory:");
  await using server = await openModerated(kv);
  await server.member("1", OPERATOR, [ROOM]);
  await server.guest("2", "Bob", [ROOM], "bobs-address");
  const mute = { ...BAN, act: "mute", seconds: 600 } as const;
  assertEquals(codeOf(await server.moderation.act(server.session("1"), mute)), "ok");
  await server.settled();
  const known = server.delivered.length;
  assertEquals(await server.say("2", ROOM, "hi"), "muted");
  assertEquals(await server.say("2", ROOM, "waves", "action"), "muted");
  assertEquals(await server.name("2", "Buy-this"), "muted");
  const topic = { act: "topic", room: ROOM, text: "buy" } as const;
  assertEquals(codeOf(await server.moderation.act(server.session("2"), topic)), "not-a-moderator");
  const edit = {
    ...eventOf(server.session("2"), ROOM, "new"),
    kind: "edit",
    target: "b1",
  } as const;
  assert(!server.moderation.isAllowed(edit));
  assertEquals(server.delivered.length, known);
  assertEquals((await server.storage.removeRoom("2", ROOM)).outcome, "done");
  assertEquals(await server.join("2", ROOM), "done");
  assertEquals(await server.say("2", ROOM, "hi"), "muted");
  // Another session from the same address is muted, too.
  await server.guest("3", "Bub", [ROOM], "bobs-address");
  assertEquals(await server.say("3", ROOM, "hi"), "muted");
  // In other rooms all may write.
  assertEquals(await server.join("2", "blue"), "done");
  assertEquals(await server.say("2", "blue", "hi"), "done");
});

Deno.test("signing in does not end a mute", async () => {
  using kv = await Deno.openKv(":memory:");
  await using server = await openModerated(kv);
  await server.member("1", OPERATOR, [ROOM]);
  await server.guest("2", "Bob", [ROOM]);
  const mute = { ...BAN, act: "mute" } as const;
  assertEquals(codeOf(await server.moderation.act(server.session("1"), mute)), "ok");
  assertEquals(await server.identify("2", "Rita"), "muted");
  assertEquals(await server.identify("2", "Bob", "01BOB"), "done");
  assertEquals(await server.say("2", ROOM, "hi"), "muted");
});

Deno.test("a kicked user may come back, and is not taken out again", async () => {
  using kv = await Deno.openKv(":memory:");
  await using server = await openModerated(kv);
  await server.member("1", OPERATOR, [ROOM]);
  await server.guest("2", "Bob", [ROOM]);
  const kick = { ...BAN, act: "kick" } as const;
  assertEquals(codeOf(await server.moderation.act(server.session("1"), kick)), "ok");
  await server.settled();
  assertEquals(server.session("2").rooms.size, 0);
  assertEquals(await server.join("2", ROOM), "done");
  assertEquals(await server.say("2", ROOM, "back"), "done");
  assertEquals(server.told(ROOM).slice(-3), ["leave Bob", "join Bob", "Bob: back"]);
  assertEquals(await keysOf(kv, "standing"), []);
});

Deno.test("a crash between an act and what follows: the session loses the room when it resumes", async () => {
  for (const act of ["ban", "kick"] as const) {
    using kv = await Deno.openKv(":memory:");
    await using one = await openModerated(kv, "01A");
    const dead = await openModerated(kv, "01B");
    await one.member("1", OPERATOR, [ROOM]);
    dead.storage.createConnection("2", "json");
    const token = hashToken("token");
    const named = { nick: "Bob", claims: ["bob"], token };
    assertEquals((await dead.storage.setUsername("2", named)).outcome, "done");
    assertEquals(await dead.join("2", ROOM), "done");
    assertEquals(await dead.join("2", "blue"), "done");
    // It never learns of the act.
    await dead.crash();
    assertEquals(codeOf(await one.moderation.act(one.session("1"), { ...BAN, act })), "ok");
    await one.settled();
    const found = (await one.storage.findResumable(token))!;
    const allowed = await one.moderation.mayResume(found);
    if (!allowed.ok) throw new Error(allowed.code);
    assertEquals(allowed.lostRooms, [ROOM]);
    const fresh = hashToken("fresh");
    const taken = await one.storage.takeOver(found, fresh, "", allowed.lastAct);
    assertEquals(taken.outcome, "done");
    await one.moderation.resumed(one.session("2"), allowed.lostRooms);
    assertEquals(await one.say("2", ROOM, "still here"), "not-in-room");
    await eventually(() => one.session("2").rooms.size === 1, "the session has lost the room");
    assertEquals(await one.say("2", "blue", "hi"), "done");
    assertEquals(one.told(ROOM).at(-1), "leave Bob");
  }
});

Deno.test("a takeover and a ban from the chat of the same moment: whichever comes second sees the first", async () => {
  using kv = await Deno.openKv(":memory:");
  await using one = await openModerated(kv, "01A");
  const dead = await openModerated(kv, "01B");
  await one.member("1", OPERATOR);
  dead.storage.createConnection("2", "json");
  const token = hashToken("token");
  await dead.storage.setUsername("2", { nick: "Bob", claims: ["bob"], token });
  await dead.crash();
  const found = (await one.storage.findResumable(token))!;
  const allowed = await one.moderation.mayResume(found);
  if (!allowed.ok) throw new Error(allowed.code);
  const ban = { act: "ban", user: { nick: "Bob" } } as const;
  assertEquals(codeOf(await one.moderation.act(one.session("1"), ban)), "ok");
  const taken = await one.storage.takeOver(found, hashToken("fresh"), "", allowed.lastAct);
  assertEquals(taken.outcome, "conflict");
  assertEquals(codeOf(await one.moderation.mayResume(found)), "banned");
});

Deno.test("a join and a ban of the same moment have an order", async () => {
  for (let run = 0; run < 20; run++) {
    using kv = await Deno.openKv(":memory:");
    await using two = await openTwo(kv);
    const { one, other } = two;
    await one.share();
    await other.share();
    assertEquals((await other.storage.removeRoom("2", ROOM)).outcome, "done");
    const joined = other.join("2", ROOM);
    for (let i = run % 7; i > 0; i--) await Promise.resolve();
    const acted = one.moderation.act(one.session("1"), BAN);
    const code = await joined;
    assertEquals(codeOf(await acted), "ok");
    await other.settled();
    await one.settled();
    await eventually(() => other.session("2").rooms.size === 0, "Bob is not in the room");
    await one.settled();
    assert(code === "done" || code === "banned", code);
    const after = afterAct(one).filter((line) => line.includes("Bob"));
    assertEquals(
      after,
      one.told(ROOM).filter((line) => line === "join Bob").length > 1 ? ["leave Bob"] : [],
    );
  }
});

Deno.test("a join whose commit comes after a ban that its plan has not seen is planned again", async () => {
  using kv = await Deno.openKv(":memory:");
  let held: Promise<void> | undefined;
  const slow = interceptCommits(kv, async (commit) => {
    await held;
    return await commit();
  });
  for (const what of ["room", "chat"] as const) {
    await using two = await openTwo(kv, slow);
    const { one, other } = two;
    other.storage.createConnection("3", "json", "bobs-address");
    if (what === "room") assertEquals(await other.name("3", "Bub"), "done");
    const { promise, resolve } = Promise.withResolvers<void>();
    held = promise;
    const entered = what === "room" ? other.join("3", ROOM) : other.name("3", "Bub");
    // The plan has read everything, and its commit waits.
    await new Promise((resolve) => setTimeout(resolve, 20));
    const ban = what === "room" ? BAN : { ...BAN, room: undefined };
    assertEquals(codeOf(await one.moderation.act(one.session("1"), ban)), "ok");
    resolve();
    assertEquals(await entered, "banned", what);
    await other.settled();
    const unban = { ...ban, act: "unban" } as const;
    assertEquals(codeOf(await one.moderation.act(one.session("1"), unban)), "ok");
  }
});

Deno.test("a ban from the chat ends all sessions, and refuses logins; the record has it once", async () => {
  using kv = await Deno.openKv(":memory:");
  await using two = await openTwo(kv);
  const { one, other } = two;
  await one.share();
  await other.share();
  const ban = { act: "ban", user: { nick: "Bob" }, text: "spam", seconds: 60 } as const;
  assertEquals(codeOf(await one.moderation.act(one.session("1"), ban)), "ok");
  await eventually(() => other.storage.session("2") === undefined, "the session has ended");
  assertEquals(other.closed, [
    { id: "2", why: { code: 1008, reason: "banned", reconnect: false } },
  ]);
  await one.settled();
  assertEquals(one.told(ROOM).at(-1), "leave Bob");
  other.storage.createConnection("3", "json", "bobs-address");
  assertEquals(await other.name("3", "Other"), "banned");
  other.storage.createConnection("4", "json", "elsewhere");
  assertEquals(await other.name("4", "Bob"), "banned");
  assertEquals(await other.name("4", "Other"), "done");
  const page = await one.moderation.modlog(one.session("1"), undefined, undefined, 10);
  if (!page.ok) throw new Error(page.code);
  assertEquals(page.entries.map(({ event }) => shortAct(event)), [`${OPERATOR} ban Bob`]);
  // The user has gone, and is found by what was stored.
  const unban = { act: "unban", user: { nick: "bob" } } as const;
  assertEquals(codeOf(await one.moderation.act(one.session("1"), unban)), "ok");
  assertEquals(await keysOf(kv, "standing"), []);
  assertEquals(await other.name("3", "Bob"), "done");
});

Deno.test("after a ban from the chat no shard delivers a message of the user behind its copy of the act", async () => {
  using kv = await Deno.openKv(":memory:");
  await using two = await openTwo(kv);
  const { one, other } = two;
  const rooms = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
  for (const room of rooms) assertEquals(await other.join("2", room), "done");
  assert(new Set(rooms.map((room) => other.feed.shardOf(room))).size > 4);
  const ban = { act: "ban", user: { nick: "Bob" } } as const;
  assertEquals(codeOf(await one.moderation.act(one.session("1"), ban)), "ok");
  // The other instance has not delivered any copy of the act when it submits these.
  const codes = await Promise.all(rooms.map((room) => other.say("2", room, "after")));
  assertEquals(new Set(codes), new Set(["banned"]));
});

Deno.test("a kick from the chat ends the session; the user may log in again", async () => {
  using kv = await Deno.openKv(":memory:");
  await using server = await openModerated(kv);
  await server.member("1", OPERATOR);
  await server.guest("2", "Bob", [ROOM]);
  const kick = { act: "kick", user: { nick: "Bob" } } as const;
  assertEquals(codeOf(await server.moderation.act(server.session("1"), kick)), "ok");
  await eventually(() => server.storage.session("2") === undefined, "the session has ended");
  await server.guest("3", "Bob", [ROOM]);
  const offline = { act: "kick", user: { nick: "Nobody" } } as const;
  assertEquals(codeOf(await server.moderation.act(server.session("1"), offline)), "no-such-user");
});
