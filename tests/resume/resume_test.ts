/** Resuming over real sockets, on one instance and on another. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { ARRIVED_MS } from "../../chat/resume/resume.ts";
import { AdjustedClock } from "../support/fake_clock.ts";
import { countingKv } from "../support/faulty_kv.ts";
import { TestServer } from "../support/test_server.ts";
import type { TextClient } from "../support/text_client.ts";
import { eventually } from "../support/wait.ts";

/** Returns a `chat.v1` client in the room, and its token. */
async function login(
  server: TestServer,
  nick: string,
): Promise<{ person: TextClient; token: string }> {
  const client = await server.connect("", "chat.v1");
  client.send(`{"type":"login","nick":"${nick}"}`, '{"type":"join","room":"red"}');
  const { token } = JSON.parse(await client.next());
  assertEquals(JSON.parse(await client.next()).type, "joined");
  return { person: client, token };
}

/** Sends a `resume`; `red` is the ID of the last event that the client saw in that room. */
async function resume(server: TestServer, token: string, red?: string): Promise<TextClient> {
  const client = await server.connect("", "chat.v1");
  const last = red === undefined ? undefined : { red };
  client.send(JSON.stringify({ type: "resume", token, last, ref: "back" }));
  return client;
}

/** Reads up to the last line of a resumption. Returns the lines before it, `welcome` included. */
async function linesOf(client: TextClient): Promise<Record<string, unknown>[]> {
  const lines: Record<string, unknown>[] = [];
  do lines.push(JSON.parse(await client.next())); while (
    lines.at(-1)!.type !== "resumed" || "room" in lines.at(-1)!
  );
  return lines.slice(0, -1);
}

Deno.test("an invalid token is rejected, and the client can log in", async () => {
  await using server = await TestServer.open();
  for (const token of ["", "nonsense", "A".repeat(43), "%00", "../..", "A".repeat(5000)]) {
    const ann = await resume(server, token);
    assertEquals(JSON.parse(await ann.next()).code, "bad-token");
    ann.send('{"type":"login","nick":"Ann"}');
    assertEquals(JSON.parse(await ann.next()).type, "welcome");
    await ann.disconnect();
    const left = async () =>
      (await server.connectionKeys()).filter(([first]) => !/instance$|beat/.test(String(first)));
    await eventually(async () => (await left()).length === 0, "nothing is left of it");
  }
});

Deno.test("a plain-text client cannot resume: its URL's query is ignored, and it leaves at once when it drops", async () => {
  await using server = await TestServer.open();
  const bob = await server.login("Bob", "red");
  const { person: cy, token } = await login(server, "Cy");
  await bob.expect("Cy joined room.");
  for (const query of ["", "?resume=", `?resume=${token}&last=g1a0000000`]) {
    const ann = await server.connect(query);
    await ann.request("Ann", "Using nickname: Ann\nType /help for list of commands.");
    await ann.request("/join red", 'Joined chat room "red"');
    await bob.expect("Ann joined room.");
    await bob.request("hi", "Bob: hi");
    await ann.expect("Bob: hi");
    await bob.request("/msg Ann psst", "[to Ann] psst");
    await ann.expect("[from Bob] psst");
    // 4000 is a drop, not a departure.
    ann.socket.close(4000);
    await bob.expect("Ann left room.");
  }
  assertEquals(cy.socket.readyState, WebSocket.OPEN);
});

Deno.test("a used token ends when its client has been connected for a while, even if it only reads", async () => {
  const clock = new AdjustedClock({ delayOf: (ms) => ms === ARRIVED_MS ? "held" : ms });
  const later = clock.held;
  await using server = await TestServer.open({ clock });
  const { token } = await login(server, "Ann");
  const again = await resume(server, token);
  const next = (await linesOf(again))[0]!.token as string;
  // The reply with the new token may have been lost, so the old token still works.
  const third = await resume(server, token);
  const newest = (await linesOf(third))[0]!.token as string;
  assertEquals((await again.closed).code, 4001);
  await eventually(() => later.length === 2, "both connections have a timer");
  // The timer of the second connection must not confirm the token of the third.
  later[0]!.run();
  later[1]!.run();
  const known = async () =>
    (await server.connectionKeys()).filter(([first]) => first === "resume").length;
  await eventually(async () => await known() === 1, "one token is left");
  for (const old of [token, next]) {
    const eve = await resume(server, old);
    assertEquals(JSON.parse(await eve.next()).code, "bad-token");
  }
  const fourth = await resume(server, newest);
  assertEquals(JSON.parse(await fourth.next()).nick, "Ann");
});

Deno.test("a used token ends with the client's first request over the new connection", async () => {
  await using server = await TestServer.open();
  const { person: ann, token } = await login(server, "Ann");
  const again = await resume(server, token);
  assertEquals((await ann.closed).code, 4001);
  const [welcome, joined, resumed] = await linesOf(again);
  assertEquals(joined!.type, "joined");
  assertEquals(resumed, { type: "resumed", room: "red", recovered: true, missed: 1 });
  await again.request('{"type":"ping","ref":1}', '{"type":"pong","ref":1}');
  const thief = await resume(server, token);
  assertMatch(await thief.next(), /"ref":"back","code":"bad-token"/);
  // The client is not disturbed, and the other socket has no session.
  await again.request('{"type":"ping","ref":2}', '{"type":"pong","ref":2}');
  thief.send('{"type":"members","room":"red","ref":1}');
  assertMatch(await thief.next(), /"code":"not-named"/);
  const third = await resume(server, welcome!.token as string);
  assertEquals(JSON.parse(await third.next()).nick, "Ann");
});

Deno.test("a used token still works if the reply with the new one was lost", async () => {
  await using server = await TestServer.open();
  const { token } = await login(server, "Ann");
  for (let i = 0; i < 3; i++) {
    const again = await resume(server, token);
    assertMatch(await again.next(), /"nick":"Ann",.*"rooms":\[{"room":"red","joined":true}\]/);
  }
});

Deno.test("an event ID of another room gives no events of that room, and none from before the client's join", async () => {
  await using server = await TestServer.open();
  const bob = await server.login("Bob", "blue");
  await bob.request("a secret", "Bob: a secret");
  const cy = await login(server, "Cy");
  cy.person.send('{"type":"message","room":"red","text":"before Ann","ref":1}');
  await cy.person.next();
  const foreign = JSON.parse(await cy.person.next()).id;
  const { person: ann, token } = await login(server, "Ann");
  cy.person.send('{"type":"message","room":"red","text":"after"}');
  await ann.next();
  for (const last of [foreign, "a", "zzzz", "~", "\u0000"]) {
    const again = await resume(server, token, last);
    const lines = await linesOf(again);
    const texts = lines.flatMap(({ text }) => text === undefined ? [] : [text]);
    assert(!texts.includes("a secret") && !texts.includes("before Ann"), String(texts));
    // Either the events from the client's own join on, or none and `recovered: false`.
    const { recovered, missed } = lines.at(-1)!;
    assertEquals([recovered, missed], last < "v" ? [true, 2] : [false, 0], last);
  }
});

Deno.test("expired events are reported as missing", async () => {
  const clock = new AdjustedClock({ stoppedAtMs: Date.now() });
  await using server = await TestServer.open({ clock, historySeconds: 60 });
  const bob = await server.login("Bob", "red");
  const { person: ann, token } = await login(server, "Ann");
  const last = JSON.parse(ann.received.at(-1)!).id;
  await bob.expect("Ann joined room.");
  ann.socket.close(4000);
  await ann.closed;
  await bob.request("long ago", "Bob: long ago");
  clock.advance(61_000);
  await bob.request("just now", "Bob: just now");
  const again = await resume(server, token, last);
  await again.next();
  const { text, id } = JSON.parse(await again.next());
  assertEquals(text, "just now");
  assertEquals(JSON.parse(await again.next()), {
    type: "resumed",
    room: "red",
    recovered: false,
    missed: 1,
    reason: "expired",
    from: id,
  });
});

Deno.test("Resume recovers every event after the wall clock jumped by an hour, in either direction", async () => {
  for (const jump of [3_600_000, -3_600_000]) {
    const clock = new AdjustedClock();
    await using server = await TestServer.open({ clock, historySeconds: 3600 });
    const bob = await server.login("Bob", "red");
    const { person: ann, token } = await login(server, "Ann");
    const last = JSON.parse(ann.received.at(-1)!).id;
    await bob.expect("Ann joined room.");
    ann.socket.close(4000);
    await ann.closed;
    await bob.request("before", "Bob: before");
    clock.wallAheadMs = jump;
    await bob.request("after", "Bob: after");
    const again = await resume(server, token, last);
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
  await using server = await TestServer.open({ kv: faulty, clock, graceSeconds: 30 });
  const bob = await server.login("Bob", "red");
  const { person: ann, token } = await login(server, "Ann");
  await bob.expect("Ann joined room.");
  ann.socket.close(4000);
  await ann.closed;
  await eventually(() => waits.length === 1, "the place is kept");
  away = true;
  const inVain = await resume(server, token);
  assertEquals(JSON.parse(await inVain.next()).code, "unavailable");
  away = false;
  const again = await resume(server, token);
  const welcome = JSON.parse(await again.next());
  assertEquals(welcome.type, "welcome");
  again.socket.close(4000);
  await again.closed;
  await eventually(() => waits.length === 3, "the place is kept again");
  // The grace of the first drop, and of the failed resume, is over.
  const last = waits.pop()!;
  for (const { run } of waits.splice(0)) run();
  for (let i = 0; i < 5; i++) await bob.request(`word ${i}`, `Bob: word ${i}`);
  const back = await resume(server, welcome.token);
  const { type, token: newest } = JSON.parse(await back.next());
  assertEquals(type, "welcome");
  back.socket.close(4000);
  await back.closed;
  await eventually(() => waits.length === 1, "the place is kept once more");
  last.run();
  waits.pop()!.run();
  await bob.expect("Ann left room.");
  const late = await resume(server, newest);
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
  await using one = await TestServer.open({ kv: slow, clock });
  await using other = await TestServer.open({ kv, clock, cleanUpSilent: false });
  const bob = await other.login("Bob", "red");
  const { person: ann, token } = await login(other, "Ann");
  await bob.expect("Ann joined room.");
  ann.socket.close(4000);
  await ann.closed;
  const opened = Promise.withResolvers<void>();
  gate = opened.promise;
  // Also when an assertion fails: a server that waits for storage cannot be closed.
  using _opened = { [Symbol.dispose]: () => opened.resolve() };
  const givenUp = await resume(one, token);
  await eventually(() => isWaiting, "the first return waits for storage");
  const again = await resume(other, token);
  await linesOf(again);
  gate = undefined;
  opened.resolve();
  await eventually(() => waits.length > 0, "the first return meets the second");
  givenUp.socket.close(4000);
  await givenUp.closed;
  await eventually(() => one.chat.size === 0, "the first socket is gone");
  waits.pop()!.run();
  for (let i = 0; i < 5; i++) {
    await bob.request(`word ${i}`, `Bob: word ${i}`);
    assertEquals(JSON.parse(await again.next()).text, `word ${i}`);
  }
  assertEquals(again.socket.readyState, WebSocket.OPEN);
});

Deno.test("without history, the client is told that events may be missing", async () => {
  await using server = await TestServer.open({ historySeconds: 0 });
  const { person: ann, token } = await login(server, "Ann");
  const again = await resume(server, token, JSON.parse(ann.received.at(-1)!).id);
  assertMatch(await again.next(), /"nick":"Ann",.*"history":0.*"room":"red"/);
  assertMatch(await again.next(), /"recovered":false,"missed":0,"reason":"history-off"/);
  assertMatch(await again.next(), /"recovered":true,"missed":0/);
  await again.request(
    '{"type":"history","room":"red","ref":1}',
    '{"type":"error","ref":1,"code":"history-off","message":"This server keeps no history."}',
  );
});

Deno.test("of too many missed events the newest are told, and the rest is reported as missing", async () => {
  await using server = await TestServer.open({ rateLimits: "off" });
  const bob = await server.login("Bob", "red");
  const { person: ann, token } = await login(server, "Ann");
  await bob.expect("Ann joined room.");
  const last = JSON.parse(ann.received.at(-1)!).id;
  ann.socket.close(4000);
  await ann.closed;
  const words = Array.from({ length: 1200 }, (_, i) => `word ${i}`);
  for (let i = 0; i < words.length; i += 100) {
    const some = words.slice(i, i + 100);
    bob.send(...some);
    await bob.expect(...some.map((word) => `Bob: ${word}`));
  }
  const again = await resume(server, token, last);
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
    await using server = await TestServer.open({ kv });
    const ann = await login(server, "Ann");
    ({ token } = ann);
    last = JSON.parse(ann.person.received.at(-1)!).id;
    await server.chat.close();
    assertEquals((await ann.person.closed).code, 1012);
  }
  await using server = await TestServer.open({ kv });
  const bob = await server.login("Bob", "red");
  await bob.request("/ls", "Ann\nBob");
  const ann = await resume(server, token, last);
  const [welcome, joined, resumed] = await linesOf(ann);
  assertEquals([welcome!.nick, welcome!.rooms], ["Ann", [{ room: "red", joined: true }]]);
  assertEquals([joined!.type, joined!.nick], ["joined", "Bob"]);
  assertEquals(resumed, { type: "resumed", room: "red", recovered: true, missed: 1 });
  await bob.expectNothingElse();
});

Deno.test("of two sockets with the same token one gets the session, and the other is told", async () => {
  await using server = await TestServer.open();
  const { token } = await login(server, "Ann");
  const both = await Promise.all([resume(server, token), resume(server, token)]);
  await eventually(() => both.some(({ socket }) => socket.readyState === 3), "one was closed");
  const [open] = both.filter(({ socket }) => socket.readyState === 1);
  open!.send('{"type":"members","room":"red","ref":"m"}');
  const isMember = /"members":\[{"user":"\w+","nick":"Ann"}\]/;
  await eventually(
    () => open!.received.some((line) => isMember.test(line)),
    "it is there",
  );
});

Deno.test("Resume tells of the acts in the room that a client missed, and takes one as the last event that it saw", async () => {
  const operatorSecret = "secret of operators";
  await using server = await TestServer.open({ operatorSecret });
  const { person: ann, token } = await login(server, "Ann");
  const { person: op } = await login(server, "Op");
  op.send(JSON.stringify({ type: "op", secret: operatorSecret }));
  const seen = async (client: TextClient, type: string) => {
    let line: Record<string, unknown>;
    do line = JSON.parse(await client.next()); while (line.type !== type);
    return line;
  };
  const setTopic = async (text: string) => {
    op.send(JSON.stringify({ type: "topic", room: "red", text }));
    return (await seen(op, "act")).id as string;
  };
  const first = await setTopic("one");
  assertEquals((await seen(ann, "act")).id, first);
  ann.socket.close(4000);
  const second = await setTopic("two");
  op.send(JSON.stringify({ type: "report", room: "red", nick: "Ann", reason: "spam", ref: 1 }));
  let reported: Record<string, unknown>;
  do reported = await seen(op, "ok"); while (reported.ref !== 1);
  const again = await resume(server, token, first);
  const lines = await linesOf(again);
  const acts = lines.filter(({ type }) => type === "act");
  // Reports are for moderators.
  assertEquals(acts.map(({ id, text }) => [id, text]), [[second, "two"]]);
  const { recovered } = lines.find(({ type, room }) => type === "resumed" && room === "red")!;
  assertEquals(recovered, true);
});
