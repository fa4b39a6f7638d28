/** Resuming over real sockets: in plain text, in `chat.v1`, on one instance and on another. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { ARRIVED_MS } from "../../chat/session/resume.ts";
import { AdjustedClock } from "../support/fake_clock.ts";
import { countingKv, eventually, House, type Person } from "../support/test_server.ts";

const HOW = /^To reconnect within 30 s: \?resume=([\w-]{43})&last=\{id\}$/;

/** Returns a plain-text client that can resume and is in the room, and its token. */
async function enter(house: House, nick: string): Promise<{ person: Person; token: string }> {
  const person = await house.connect("?resume=");
  await person.asks(nick, `Using nickname: ${nick}\nType /help for list of commands.`);
  const [, token] = HOW.exec(await person.next())!;
  person.say("/join red");
  assertMatch(await person.next(), /^[a-u]\w+ Joined chat room "red"$/);
  return { person, token: token! };
}

function idOf(line: string): string {
  return line.slice(0, line.indexOf(" "));
}

/** Returns a `chat.v1` client in the room, and its token. */
async function login(house: House, nick: string): Promise<{ person: Person; token: string }> {
  const person = await house.connect("", "chat.v1");
  person.say(`{"type":"login","nick":"${nick}"}`, '{"type":"join","room":"red"}');
  const { token } = JSON.parse(await person.next());
  assertEquals(JSON.parse(await person.next()).type, "joined");
  return { person, token };
}

async function resume(house: House, token: string, last?: string): Promise<Person> {
  const person = await house.connect("", "chat.v1");
  person.say(JSON.stringify({ type: "resume", token, last, ref: "back" }));
  return person;
}

Deno.test("a plain-text client that resumes gets its nickname, its room and the events it missed", async () => {
  await using house = await House.open();
  const bob = await house.enter("Bob", "red");
  const { person: ann, token } = await enter(house, "Ann");
  await bob.hears("Ann joined room.");
  await bob.asks("one", "Bob: one");
  const one = await ann.next();
  assertMatch(one, /^\w+ Bob: one$/);
  // 4000 is a drop, not a departure.
  ann.socket.close(4000);
  await ann.closed;
  await bob.asks("two", "Bob: two");
  await bob.asks("/me waves", "* Bob waves");
  await bob.asks("/msg Ann psst", "[to Ann] psst");
  const again = await house.connect(`?resume=${token}&last=${idOf(one)}`);
  assertEquals(await again.next(), 'Welcome back, Ann. You are in room "red".');
  const [, next] = HOW.exec(await again.next())!;
  assert(next !== token);
  const missed = [await again.next(), await again.next(), await again.next()];
  assertEquals(missed.map((line) => line.slice(idOf(line).length + 1)), [
    "Bob: two",
    "* Bob waves",
    "[from Bob] psst",
  ]);
  await again.hears("3 missed messages above.");
  again.say("I am back");
  assertMatch(await again.next(), /^\w+ Ann: I am back$/);
  // Bob saw no leave.
  await bob.hears("Ann: I am back");
  await bob.asks("/ls", "Bob\nAnn");
  await again.leave();
  await bob.hears("Ann left room.");
});

Deno.test("a plain-text client that resumes without its position is told that it may have missed events", async () => {
  await using house = await House.open();
  const { person: ann, token } = await enter(house, "Ann");
  ann.say("hello");
  await ann.next();
  const again = await house.connect(`?resume=${token}`);
  assertEquals(await again.next(), 'Welcome back, Ann. You are in room "red".');
  assertMatch(await again.next(), HOW);
  await again.hears("You may have missed more. Type /history to see recent messages.");
  assertEquals((await ann.closed).code, 4001);
});

Deno.test("an invalid token gets one line, and the client can log in", async () => {
  await using house = await House.open();
  for (const token of ["nonsense", "A".repeat(43), "%00", "../..", "A".repeat(5000)]) {
    const ann = await house.connect(`?resume=${token}`);
    await ann.hears(
      "This session has expired. Type the nickname that you want to use.",
    );
    await ann.asks("Ann", "Using nickname: Ann\nType /help for list of commands.");
    assertMatch(await ann.next(), HOW);
    await ann.leave();
    const left = async () =>
      (await house.rows()).filter(([first]) => !/instance$|beat/.test(String(first)));
    await eventually(async () => (await left()).length === 0, "nothing is left of it");
  }
});

Deno.test("without ?resume=, a plain-text client gets no token and leaves at once when it drops", async () => {
  await using house = await House.open();
  const bob = await house.enter("Bob", "red");
  const ann = await house.enter("Ann", "red");
  await bob.hears("Ann joined room.");
  ann.socket.close(4000);
  await bob.hears("Ann left room.");
});

Deno.test("a used token ends when its client has been connected for a while, even if it only reads", async () => {
  const clock = new AdjustedClock({ delayOf: (ms) => ms === ARRIVED_MS ? "held" : ms });
  const later = clock.held;
  await using house = await House.open({ clock });
  const { token } = await enter(house, "Ann");
  const again = await house.connect(`?resume=${token}`);
  assertEquals(await again.next(), 'Welcome back, Ann. You are in room "red".');
  const [, next] = HOW.exec(await again.next())!;
  await again.next();
  // The reply with the new token may have been lost, so the old token still works.
  const third = await house.connect(`?resume=${token}`);
  assertEquals(await third.next(), 'Welcome back, Ann. You are in room "red".');
  const [, newest] = HOW.exec(await third.next())!;
  await third.next();
  assertEquals((await again.closed).code, 4001);
  assertEquals(later.length, 2);
  // The timer of the second connection must not confirm the token of the third.
  later[0]!.run();
  later[1]!.run();
  const known = async () => (await house.rows()).filter(([first]) => first === "resume").length;
  await eventually(async () => await known() === 1, "one token is left");
  for (const old of [token, next!]) {
    const eve = await house.connect(`?resume=${old}`);
    assertMatch(await eve.next(), /^This session has expired/);
  }
  const fourth = await house.connect(`?resume=${newest}`);
  assertEquals(await fourth.next(), 'Welcome back, Ann. You are in room "red".');
});

Deno.test("a used token ends with the client's first request over the new connection", async () => {
  await using house = await House.open();
  const { person: ann, token } = await login(house, "Ann");
  const again = await resume(house, token);
  assertEquals((await ann.closed).code, 4001);
  const welcome = JSON.parse(await again.next());
  assertEquals(JSON.parse(await again.next()).type, "joined");
  assertEquals(JSON.parse(await again.next()), { type: "resumed", recovered: true, missed: 1 });
  await again.asks('{"type":"ping","ref":1}', '{"type":"pong","ref":1}');
  const thief = await resume(house, token);
  assertMatch(await thief.next(), /"ref":"back","code":"bad-token"/);
  // The client is not disturbed, and the other socket has no session.
  await again.asks('{"type":"ping","ref":2}', '{"type":"pong","ref":2}');
  thief.say('{"type":"members","ref":1}');
  assertMatch(await thief.next(), /"code":"not-named"/);
  const third = await resume(house, welcome.token);
  assertEquals(JSON.parse(await third.next()).nick, "Ann");
});

Deno.test("a used token still works if the reply with the new one was lost", async () => {
  await using house = await House.open();
  const { token } = await login(house, "Ann");
  for (let i = 0; i < 3; i++) {
    const again = await resume(house, token);
    assertMatch(await again.next(), /"nick":"Ann","room":"red"/);
  }
});

Deno.test("an event ID of another room gives no events of that room, and none from before the client's join", async () => {
  await using house = await House.open();
  const bob = await house.enter("Bob", "blue");
  await bob.asks("a secret", "Bob: a secret");
  const cy = await login(house, "Cy");
  cy.person.say('{"type":"message","text":"before Ann","ref":1}');
  await cy.person.next();
  const foreign = JSON.parse(await cy.person.next()).id;
  const { person: ann, token } = await login(house, "Ann");
  cy.person.say('{"type":"message","text":"after"}');
  await ann.next();
  for (const last of [foreign, "a", "zzzz", "~", "\u0000"]) {
    const again = await resume(house, token, last);
    const lines: Record<string, unknown>[] = [];
    do lines.push(JSON.parse(await again.next())); while (lines.at(-1)!.type !== "resumed");
    const texts = lines.flatMap(({ text }) => text === undefined ? [] : [text]);
    assert(!texts.includes("a secret") && !texts.includes("before Ann"), String(texts));
    // Either the events from the client's own join on, or none and `recovered: false`.
    const { recovered, missed } = lines.at(-1)!;
    assertEquals([recovered, missed], last < "v" ? [true, 2] : [false, 0], last);
  }
});

Deno.test("expired events are reported as missing", async () => {
  const clock = new AdjustedClock({ stoppedAtMs: Date.now() });
  await using house = await House.open({ clock, history: 60 });
  const bob = await house.enter("Bob", "red");
  const { person: ann, token } = await login(house, "Ann");
  const last = JSON.parse(ann.transcript.at(-1)!).id;
  await bob.hears("Ann joined room.");
  ann.socket.close(4000);
  await ann.closed;
  await bob.asks("long ago", "Bob: long ago");
  clock.advance(61_000);
  await bob.asks("just now", "Bob: just now");
  const again = await resume(house, token, last);
  await again.next();
  const { text, id } = JSON.parse(await again.next());
  assertEquals(text, "just now");
  assertEquals(JSON.parse(await again.next()), {
    type: "resumed",
    recovered: false,
    missed: 1,
    reason: "expired",
    from: id,
  });
});

Deno.test("Resume recovers every event after the wall clock jumped by an hour, in either direction", async () => {
  for (const jump of [3_600_000, -3_600_000]) {
    const clock = new AdjustedClock();
    await using house = await House.open({ clock, history: 3600 });
    const bob = await house.enter("Bob", "red");
    const { person: ann, token } = await login(house, "Ann");
    const last = JSON.parse(ann.transcript.at(-1)!).id;
    await bob.hears("Ann joined room.");
    ann.socket.close(4000);
    await ann.closed;
    await bob.asks("before", "Bob: before");
    clock.wallAheadMs = jump;
    await bob.asks("after", "Bob: after");
    const again = await resume(house, token, last);
    await again.next();
    assertEquals([JSON.parse(await again.next()).text, JSON.parse(await again.next()).text], [
      "before",
      "after",
    ]);
    const { recovered, missed } = JSON.parse(await again.next());
    assertEquals([recovered, missed], [true, 2]);
  }
});

Deno.test("Resume keeps a session for the whole grace after the last drop, whatever failed before", async () => {
  using kv = await Deno.openKv(":memory:");
  let away = false;
  const clock = new AdjustedClock({ delayOf: (ms) => ms === 30_000 ? "held" : ms });
  const waits = clock.held;
  const { kv: faulty } = countingKv(kv, (what) => {
    if (what !== "commit" || !away) return;
    // After a few errors the server stops retrying.
    clock.monotonicAheadMs += 5_000;
    throw new Error("away");
  });
  await using house = await House.open({ kv: faulty, clock, grace: 30 });
  const bob = await house.enter("Bob", "red");
  const { person: ann, token } = await login(house, "Ann");
  await bob.hears("Ann joined room.");
  ann.socket.close(4000);
  await ann.closed;
  await eventually(() => waits.length === 1, "the place is kept");
  away = true;
  const inVain = await resume(house, token);
  assertEquals(JSON.parse(await inVain.next()).code, "unavailable");
  away = false;
  const again = await resume(house, token);
  const welcome = JSON.parse(await again.next());
  assertEquals(welcome.type, "welcome");
  again.socket.close(4000);
  await again.closed;
  await eventually(() => waits.length === 3, "the place is kept again");
  // The grace of the first drop, and of the failed resume, is over.
  const last = waits.pop()!;
  for (const { run } of waits.splice(0)) run();
  for (let i = 0; i < 5; i++) await bob.asks(`word ${i}`, `Bob: word ${i}`);
  const back = await resume(house, welcome.token);
  const { type, token: newest } = JSON.parse(await back.next());
  assertEquals(type, "welcome");
  back.socket.close(4000);
  await back.closed;
  await eventually(() => waits.length === 1, "the place is kept once more");
  last.run();
  waits.pop()!.run();
  await bob.hears("Ann left room.");
  const late = await resume(house, newest);
  assertEquals(JSON.parse(await late.next()).code, "bad-token");
});

Deno.test("Resume does not take a session from the newer socket of a client that gave this one up", async () => {
  using kv = await Deno.openKv(":memory:");
  let gate: Promise<void> | undefined;
  let isWaiting = false;
  const { kv: slow } = countingKv(kv, (what) => {
    if (what !== "commit" || gate === undefined) return;
    isWaiting = true;
    return gate;
  });
  const clock = new AdjustedClock({ delayOf: (ms) => ms === 5_000 ? "held" : ms });
  const waits = clock.held;
  await using one = await House.open({ kv: slow, clock });
  await using other = await House.open({ kv, clock, sweepSilent: false });
  const bob = await other.enter("Bob", "red");
  const { person: ann, token } = await login(other, "Ann");
  await bob.hears("Ann joined room.");
  ann.socket.close(4000);
  await ann.closed;
  const opened = Promise.withResolvers<void>();
  gate = opened.promise;
  // Also when an assertion fails: a server that waits for storage cannot be closed.
  using _opened = { [Symbol.dispose]: () => opened.resolve() };
  const givenUp = await resume(one, token);
  await eventually(() => isWaiting, "the first return waits for storage");
  const again = await resume(other, token);
  while (JSON.parse(await again.next()).type !== "resumed");
  gate = undefined;
  opened.resolve();
  await eventually(() => waits.length > 0, "the first return meets the second");
  givenUp.socket.close(4000);
  await givenUp.closed;
  await eventually(() => one.chat.size === 0, "the first socket is gone");
  waits.pop()!.run();
  for (let i = 0; i < 5; i++) {
    await bob.asks(`word ${i}`, `Bob: word ${i}`);
    assertEquals(JSON.parse(await again.next()).text, `word ${i}`);
  }
  assertEquals(again.socket.readyState, WebSocket.OPEN);
});

Deno.test("without history, the client is told that events may be missing", async () => {
  await using house = await House.open({ history: 0 });
  const { person: ann, token } = await login(house, "Ann");
  const again = await resume(house, token, JSON.parse(ann.transcript.at(-1)!).id);
  assertMatch(await again.next(), /"nick":"Ann","room":"red".*"history":0/);
  assertMatch(await again.next(), /"recovered":false,"missed":0,"reason":"history-off"/);
  await again.asks(
    '{"type":"history","ref":1}',
    '{"type":"error","ref":1,"code":"history-off","message":"This server keeps no history."}',
  );
});

Deno.test("of too many missed events the newest are told, and the rest is reported as missing", async () => {
  await using house = await House.open({ flood: "off" });
  const bob = await house.enter("Bob", "red");
  const { person: ann, token } = await login(house, "Ann");
  await bob.hears("Ann joined room.");
  const last = JSON.parse(ann.transcript.at(-1)!).id;
  ann.socket.close(4000);
  await ann.closed;
  const words = Array.from({ length: 1200 }, (_, i) => `word ${i}`);
  for (let i = 0; i < words.length; i += 100) {
    const some = words.slice(i, i + 100);
    bob.say(...some);
    await bob.hears(...some.map((word) => `Bob: ${word}`));
  }
  const again = await resume(house, token, last);
  await again.next();
  const got: string[] = [];
  for (let i = 0; i < 1000; i++) got.push(JSON.parse(await again.next()).text);
  assertEquals(got, words.slice(200));
  assertMatch(await again.next(), /"recovered":false,"missed":1000,"reason":"too-many","from":/);
});

Deno.test("sessions survive a graceful restart, and other clients see no leave", async () => {
  using kv = await Deno.openKv(":memory:");
  let token: string, last: string;
  {
    await using house = await House.open({ kv });
    const ann = await login(house, "Ann");
    ({ token } = ann);
    last = JSON.parse(ann.person.transcript.at(-1)!).id;
    await house.chat.close();
    assertEquals((await ann.person.closed).code, 1012);
  }
  await using house = await House.open({ kv });
  const bob = await house.enter("Bob", "red");
  await bob.asks("/ls", "Ann\nBob");
  const ann = await resume(house, token, last);
  assertMatch(await ann.next(), /"nick":"Ann","room":"red"/);
  assertEquals(JSON.parse(await ann.next()).nick, "Bob");
  assertEquals(JSON.parse(await ann.next()), { type: "resumed", recovered: true, missed: 1 });
  await bob.hearsNothingElse();
});

Deno.test("of two sockets with the same token one gets the session, and the other is told", async () => {
  await using house = await House.open();
  const { token } = await login(house, "Ann");
  const both = await Promise.all([resume(house, token), resume(house, token)]);
  await eventually(() => both.some(({ socket }) => socket.readyState === 3), "one was closed");
  const [open] = both.filter(({ socket }) => socket.readyState === 1);
  open!.say('{"type":"members","ref":"m"}');
  await eventually(
    () => open!.transcript.some((line) => line.includes('"nicks":["Ann"]')),
    "it is there",
  );
});
