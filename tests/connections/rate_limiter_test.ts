/** Rate limits and admission: rejections, disconnects, and the costs of messages, replies and lists. */
import { assert, assertAlmostEquals, assertEquals, assertMatch } from "@std/assert";
import { AdmissionControl } from "../../chat/connections/admission.ts";
import { DISCONNECT, messageCost } from "../../chat/connections/rate_limiter.ts";
import {
  type Allowance,
  type ConnectionSettings,
  type RateLimitSettings,
  rateLimitsFrom,
} from "../../chat/base/limits.ts";
import { ServerProcess } from "../support/processes.ts";
import { TestServer } from "../support/test_server.ts";
import { TextClient } from "../support/text_client.ts";
import { eventually, withDeadline } from "../support/wait.ts";
import { AdjustedClock, FakeClock } from "../support/fake_clock.ts";
import { JsonClient } from "../support/json_client.ts";

const few: Allowance = { count: 5, seconds: 50 };
const WAIT =
  /^(Not sent: you are sending too fast\. Wait \d+ seconds?|Too many commands\. Wait \d+ seconds? and try again)\.$/;

Deno.test("a client that sends too fast is asked to wait, loses nothing else, and can continue after the wait", async () => {
  const clock = new AdjustedClock();
  await using server = await TestServer.open({ clock, rateLimits: { messages: few } });
  const ann = await server.login("Ann", "red");
  const bob = await server.login("Bob", "red");
  await ann.expect("Bob joined room.");
  for (let i = 0; i < 5; i++) await ann.request(`word ${i}`, `Ann: word ${i}`);
  const refusal = "Not sent: you are sending too fast. Wait 10 seconds.";
  await ann.request("one too many", refusal);
  await ann.request("/me is impatient", refusal);
  await ann.request("/msg Bob psst", refusal);
  // Commands, and other clients, are not limited by it.
  await ann.request("/room", "red");
  for (let i = 0; i < 5; i++) await bob.expect(`Ann: word ${i}`);
  await bob.request("all is well", "Bob: all is well");
  await ann.expect("Bob: all is well");
  clock.monotonicAheadMs += 10_001;
  await ann.request("patient", "Ann: patient");
  await bob.expect("Ann: patient");
  await bob.expectNothingElse();
});

Deno.test("a client that ignores 128 rejections is disconnected with 1008 and leaves its room", async () => {
  await using server = await TestServer.open({ rateLimits: { messages: few } });
  const bob = await server.login("Bob", "red");
  const mad = await server.login("Mad", "red");
  await bob.expect("Mad joined room.");
  for (let i = 0; i < 1_000; i++) mad.send(`BUY ${i}`);
  const { code, reason } = await withDeadline(mad.closed, "the close");
  // Deno resets a connection whose client sends after a close: then the code may be unknown (0).
  if (code !== 0) {
    assertEquals([code, reason], [1008, "rate limit ignored"]);
  }
  for (let i = 0; i < 5; i++) await bob.expect(`Mad: BUY ${i}`);
  await bob.expect("Mad left room.");
  await bob.expectNothingElse();
  const refusals = mad.received.filter((line) => WAIT.test(line));
  assertEquals(refusals.length, code === 0 ? refusals.length : 129);
  await eventually(() => server.chat.size === 1, "Mad is gone");
  assertEquals(server.warnings, []);
});

Deno.test("in chat.v1 every rejected request gets its ref, the code too-fast and retryAfter", async () => {
  await using server = await TestServer.open({
    rateLimits: { messages: few, joins: few, commands: { count: 8, seconds: 80 }, nicks: few },
  });
  const ann = await JsonClient.login(server, "Ann", "red");
  const tooFast = (ref: number, message: RegExp, least: number, most: number) => async () => {
    const { retryAfter, message: said, ...rest } = await ann.next();
    assertEquals(rest, { type: "error", ref, code: "too-fast" });
    assertMatch(said, message);
    assert(retryAfter > least && retryAfter <= most, `${retryAfter} ms`);
  };
  for (let ref = 0; ref < 5; ref++) {
    ann.send({ type: ref % 2 === 0 ? "message" : "action", room: "red", text: "x", ref });
    await ann.expect({ text: "x" }, { type: "ok", ref });
  }
  ann.send({ type: "direct", to: "Ann", text: "x", ref: 5 });
  await tooFast(5, /^Not sent: /, 9_000, 10_000)();
  for (let i = 0; i < 8; i++) {
    const malformed = i % 3 === 0;
    ann.send(malformed ? "nonsense" : { type: "ping", ref: i });
    await ann.expect(malformed ? { code: "malformed" } : { type: "pong" });
  }
  ann.send("nonsense", { type: "rooms", ref: 7 });
  await ann.expect({ type: "error", code: "too-fast" });
  await tooFast(7, /^Too many commands\. /, 9_000, 10_000)();
  // The login and the first join were charged before.
  for (let i = 0; i < 4; i++) {
    ann.send({ type: "nick", nick: `Ann${i}`, ref: i }, { type: "join", room: `r${i}`, ref: i });
    // The nickname is told in each room that the client is in.
    for (let room = 0; room <= i; room++) await ann.expect({ type: "nick" });
    await ann.expect({ type: "ok" }, { type: "joined" }, { type: "ok" });
  }
  ann.send({ type: "nick", nick: "Anna", ref: 8 });
  await tooFast(8, /^Too many commands\. /, 9_000, 10_000)();
  ann.send({ type: "join", room: "blue", ref: 9 });
  await tooFast(9, /^Too many commands\. /, 9_000, 10_000)();
});

Deno.test("nicknames tried at login are limited, too", async () => {
  await using server = await TestServer.open({ rateLimits: { nicks: few } });
  const ann = await server.connect();
  for (let i = 0; i < 5; i++) {
    ann.send("/bad");
    assertMatch(await ann.next(), /^Nicknames cannot start with/);
  }
  ann.send("Ann");
  assertMatch(await ann.next(), WAIT);
});

Deno.test("a long message costs several, and rejected frames are charged, too", async () => {
  await using server = await TestServer.open({
    rateLimits: { messages: { count: 30, seconds: 300 }, commands: few },
  });
  const ann = await server.login("Ann", "red");
  const long = "x".repeat(15_000);
  for (let i = 0; i < 2; i++) await ann.request(long, `Ann: ${long}`);
  ann.send("short");
  assertMatch(await ann.next(), WAIT);
  const tooLong = "x".repeat(20_000);
  for (let i = 0; i < 500; i++) ann.send(tooLong);
  const { code } = await withDeadline(ann.closed, "the close");
  assert(code === 1008 || code === 0, `${code}`);
});

Deno.test("/ls in a large room costs more than in a small one", async () => {
  await using server = await TestServer.open({
    rateLimits: { commands: { count: 6, seconds: 60 } },
  });
  await Promise.all(Array.from({ length: 250 }, (_, i) => server.login(`p${i}`, "red")));
  const ann = await server.login("Ann");
  await ann.request("/join red", 'Joined chat room "red"');
  for (let i = 0; i < 2; i++) {
    ann.send("/ls");
    assertEquals((await ann.next()).split("\n").length, 251);
  }
  ann.send("/ls");
  assertMatch(await ann.next(), WAIT);
});

Deno.test("with default limits, thirty pasted lines, or twenty in one frame, are delivered whole", async () => {
  await using server = await TestServer.open();
  const ann = await server.login("Ann", "red");
  const lines = Array.from({ length: 30 }, (_, i) => `line ${i} ${"of a poem ".repeat(10)}`);
  ann.send(...lines);
  await ann.expect(...lines.map((line) => `Ann: ${line}`));
  const bob = await JsonClient.login(server, "Bob", "blue");
  const text = lines.slice(0, 20).join("\n");
  for (let i = 0; i < 3; i++) await bob.sendMessage(text);
});

Deno.test("messageCost is 1, and 1 more for each started KiB on the wire; four line breaks are as much as 1 KiB", () => {
  const costs = ["", "hi", "x".repeat(1024), "x".repeat(1025), "x".repeat(16_384)].map(messageCost);
  assertEquals(costs, [1, 1, 1, 2, 16]);
  // Each of these characters takes six bytes in JSON.
  assertEquals(messageCost("\u0001".repeat(1024)), 6);
  assertEquals(messageCost("語".repeat(1024)), 3);
  assertEquals(["a\nb\nc\nd", "\n".repeat(4), "\n".repeat(16)].map(messageCost), [1, 2, 5]);
  assertEquals([messageCost("\u0001".repeat(16_384)), messageCost("\n".repeat(16_384))], [96, 100]);
});

Deno.test("a message of escaped characters costs what each reader is sent", async () => {
  await using server = await TestServer.open({
    rateLimits: { messages: { count: 8, seconds: 80 } },
  });
  const ann = await JsonClient.login(server, "Ann", "red");
  await ann.sendMessage("\u0001".repeat(1024));
  for (let i = 0; i < 2; i++) await ann.sendMessage("short");
  const refused = await ann.request({ type: "message", room: "red", text: "short" });
  assertEquals([refused.code, refused.retryAfter > 8_000], ["too-fast", true]);
});

Deno.test("messages to one room are limited for all senders together, and other rooms are not affected", async () => {
  const clock = new AdjustedClock();
  await using server = await TestServer.open({
    clock,
    rateLimits: { room: { count: 10, seconds: 10 }, messages: "off" },
  });
  const [ann, bob] = [
    await JsonClient.login(server, "Ann", "red"),
    await server.login("Bob", "red"),
  ];
  await ann.expect({ type: "joined", nick: "Bob" });
  const cy = await server.login("Cy", "blue");
  for (let i = 0; i < 5; i++) {
    await ann.sendMessage(`a${i}`);
    await bob.request(`b${i}`, `Ann: a${i}`, `Bob: b${i}`);
    await ann.expect({ type: "message", nick: "Bob" });
  }
  const tooFast = "Not sent: you are sending too fast. Wait 1 second.";
  await bob.request("eleventh", tooFast);
  const { type, code, message, retryAfter, ...rest } = await ann.request({
    type: "action",
    room: "red",
    text: "waves",
    cid: "once",
  });
  assertEquals([type, code, message], ["error", "too-fast", tooFast]);
  assert(retryAfter > 800 && retryAfter <= 1_000, `${retryAfter} ms`);
  assertEquals(Object.keys(rest), ["ref"]);
  await cy.request("all is well", "Cy: all is well");
  clock.monotonicAheadMs += 1_001;
  // A rejected message is not remembered, and no later one of the client is delivered before the wait.
  await ann.requestAll({ type: "action", room: "red", text: "waves", cid: "once" });
  await bob.expect("* Ann waves");
  await bob.request("and now Bob", tooFast);
  await bob.expectNothingElse();
});

Deno.test("direct messages to one user are limited for all senders together", async () => {
  await using server = await TestServer.open({ rateLimits: { room: { count: 4, seconds: 40 } } });
  const [ann, bob, cy] = await Promise.all(["Ann", "Bob", "Cy"].map((nick) => server.login(nick)));
  for (let i = 0; i < 2; i++) {
    for (const [nick, from] of [["Ann", ann!], ["Bob", bob!]] as const) {
      await from.request(`/msg Cy ${i}`, `[to Cy] ${i}`);
      await cy!.expect(`[from ${nick}] ${i}`);
    }
  }
  const tooFast = "Not sent: you are sending too fast. Wait 10 seconds.";
  for (const from of [ann!, bob!]) await from.request("/msg Cy more", tooFast);
  await cy!.request("/msg Ann but I may", "[to Ann] but I may");
  await ann!.expect("[from Cy] but I may");
  await cy!.expectNothingElse();
});

Deno.test("RateLimiter.charge is a debt of the connection and of its address", () => {
  const { clock, comesIn } = street({ commands: { count: 10, seconds: 10 }, together: 2 });
  const [ann, bob, cy] = [comesIn(), comesIn(), comesIn("203.0.113.7")];
  assertEquals(ann.limiter!.take("command", 1), 0);
  ann.limiter!.charge("command", 29);
  // The connection has used 30 of 10, the address 30 of 20.
  assertAlmostEquals(ann.limiter!.take("command", 1), 21_000, 1);
  assertAlmostEquals(bob.limiter!.take("command", 1), 5_500, 1);
  assertEquals(cy.limiter!.take("command", 1), 0);
  clock.advance(5_501);
  assertEquals(bob.limiter!.take("command", 1), 0);
  assert(ann.limiter!.take("command", 1) > 15_000);
});

Deno.test("a page of history is charged by its bytes, and the next request waits for that debt", async () => {
  await using server = await TestServer.open({
    rateLimits: { messages: "off", room: "off", commands: { count: 30, seconds: 30 } },
  });
  const ann = await JsonClient.login(server, "Ann", "red");
  for (let i = 0; i < 20; i++) await ann.sendMessage("x".repeat(16_000));
  let bytes = 0, refused;
  while (refused === undefined) {
    const reply = await ann.request({ type: "history", room: "red", limit: 100 });
    if (reply.type === "error") refused = reply;
    else bytes += JSON.stringify(reply).length;
    assert(bytes < 2_000_000, `${bytes} bytes`);
  }
  // One page of at most 256 KiB, which is 30 commands of 4 KiB and a debt of as many.
  assert(bytes > 200_000 && bytes < 300_000, `${bytes} bytes`);
  assertEquals(refused.code, "too-fast");
  assert(refused.retryAfter > 30_000, `${refused.retryAfter} ms`);
  // Messages are not limited by it.
  await ann.sendMessage("still here");
});

Deno.test("lists that are too long are cut, and say so", async () => {
  using kv = await Deno.openKv(":memory:");
  await using server = await TestServer.open({ kv, rateLimits: "off", graceSeconds: 0 });
  const long = "x".repeat(1_000);
  for (let i = 0; i < 1_000; i += 20) {
    const atomic = kv.atomic();
    for (let j = i; j < i + 20; j++) {
      atomic.set(["room", `${j}${long}`], new Deno.KvU64(1n));
      atomic.set(["reverse_lookup", "room_red", `0${j}`], { nick: `${j}${long}` });
    }
    await atomic.commit();
  }
  const [ann, bob] = [await JsonClient.connect(server), await server.login("Bob")];
  await ann.request({ type: "login", nick: "Ann" });
  const check = (names: string[], more: number) => {
    const bytes = names.join("\n").length;
    // A member of `chat.v1` takes 92 bytes besides the nickname.
    assert(bytes > 238_000 && bytes <= 256 * 1024, `${bytes} bytes`);
    assertEquals(names.length + more, 1_000);
  };
  for (const where of ["rooms", "members"]) {
    if (where === "members") {
      // Two more members, who connected last.
      await ann.requestAll({ type: "join", room: "red" });
      await bob.request("/join red", 'Joined chat room "red"');
      await ann.expect({ type: "joined", nick: "Bob" });
    }
    const { rooms, members, more } = await ann.request({ type: where, room: "red" });
    assertEquals(more, true);
    const names = rooms?.map(({ room }: { room: string }) => room) ??
      members.map(({ nick }: { nick: string }) => nick);
    check(names, 1_000 - names.length);
    bob.send("/ls");
    const lines = (await bob.next()).split("\n");
    const [, rest] = /^… and (\d+) more$/.exec(lines.at(-1)!) ?? [];
    check(lines.slice(0, -1), Number(rest) - (where === "members" ? 2 : 0));
  }
});

Deno.test("with limits off, no action is counted", async () => {
  const flood = new AdmissionControl(rateLimitsFrom("off"), new FakeClock());
  const guest = flood.admit("198.51.100.1", false);
  // There is no limiter at all, not even for rooms.
  assertEquals([guest.limiter, flood.addresses], [undefined, 0]);
  await using server = await TestServer.open({ rateLimits: "off" });
  const ann = await server.login("Ann", "red");
  for (let i = 0; i < 1_000; i++) ann.send(`word ${i}`);
  for (let i = 0; i < 1_000; i++) await ann.expect(`Ann: word ${i}`);
});

/** Returns an AdmissionControl with a fake clock, and functions that use it. */
function street(settings: RateLimitSettings = {}, crowd: ConnectionSettings = {}) {
  const clock = new FakeClock();
  const flood = new AdmissionControl(rateLimitsFrom(settings, crowd), clock);
  const enter = (address: string | undefined = "198.51.100.1", shared = false) => {
    const turned = flood.check(address, shared);
    return turned ?? flood.admit(address, shared);
  };
  /** Connects a client that must be admitted. */
  const comesIn = (address?: string) => {
    const guest = enter(address);
    if ("status" in guest) throw new Error(guest.why);
    return guest;
  };
  return { clock, flood, enter, comesIn };
}

Deno.test("Admission.fail ends the count once, and charges the address as for many connections", () => {
  const { flood, enter, comesIn } = street({ connections: { count: 45, seconds: 45 } });
  const [first, second] = [comesIn(), comesIn()];
  first.fail();
  first.leave();
  assertEquals(flood.connections, 1);
  second.fail();
  assertEquals(flood.connections, 0);
  // 2 connections and 40 for the failed ones: 3 are left.
  const more = Array.from({ length: 4 }, () => enter());
  assertEquals(more.map((each) => "status" in each && each.status), [false, false, false, 429]);
  assertEquals("status" in enter("203.0.113.7"), false);
});

Deno.test("the connections of one address may do ten times as much as one, and other addresses are not affected", () => {
  const { comesIn } = street({ messages: few });
  let taken = 0;
  for (let i = 0; i < 20; i++) {
    const { limiter: pace } = comesIn();
    for (let j = 0; j < 5; j++) if (pace!.take("message", 1) === 0) taken++;
  }
  assertEquals(taken, 50);
  assertEquals(comesIn("203.0.113.7").limiter!.take("message", 1), 0);
});

Deno.test("new connections of an address are limited, and more so after one of them was disconnected", () => {
  const { clock, enter, comesIn } = street({
    connections: { count: 30, seconds: 30 },
    messages: few,
  });
  for (let i = 0; i < 29; i++) comesIn();
  const mad = comesIn();
  assertEquals(enter(), {
    status: 429,
    why: "Too many new connections from your address. Try again in 1 second.",
    retryAfterSeconds: 1,
  });
  comesIn("203.0.113.7");
  clock.advance(25_000);
  while (mad.limiter!.take("message", 1) !== DISCONNECT);
  let came = 0;
  while ("limiter" in enter()) came++;
  assertEquals(came, 5);
});

Deno.test("connections are limited in total and per address, and one that leaves does not count any more", () => {
  const { enter, comesIn, flood } = street({}, { maxConnections: 3, maxPerAddress: 2 });
  const first = comesIn();
  comesIn();
  const turned = enter();
  assertEquals("status" in turned && turned.status, 429);
  comesIn("203.0.113.7");
  const full = enter("203.0.113.8");
  assertEquals("status" in full && full.status, 503);
  first.leave();
  // Deno reports some ends twice.
  first.leave();
  assertEquals(flood.connections, 2);
  comesIn();
  assert("status" in enter());
});

Deno.test("an address is forgotten once it no longer limits anything", () => {
  const { clock, enter, comesIn, flood } = street();
  const guests = Array.from({ length: 1_000 }, (_, i) => comesIn(`198.51.${i >> 8}.${i & 255}`));
  assertEquals(flood.addresses, 1_000);
  clock.advance(120_000);
  for (let i = 0; i < 2_000; i++) enter("203.0.113.7");
  assertEquals(flood.addresses, 1_001, "who is still there is counted");
  for (const guest of guests) guest.leave();
  clock.advance(120_000);
  for (let i = 0; i < 2_000; i++) enter("203.0.113.7");
  assertEquals(flood.addresses, 1);
});

Deno.test("loopback addresses are limited only where the settings say so", () => {
  const plain = street({ messages: few });
  for (let i = 0; i < 1_000; i++) assert("limiter" in plain.enter("127.0.0.1", true));
  assertEquals(plain.flood.addresses, 0);
  for (
    const { enter } of [
      street({ connections: { count: 5, seconds: 5 } }),
      street({}, { maxPerAddress: 5 }),
    ]
  ) {
    for (let i = 0; i < 5; i++) assert("limiter" in enter("127.0.0.1", true));
    assert("status" in enter("127.0.0.1", true));
  }
});

Deno.test("a connection that does not log in within a minute is disconnected, after one line that says why", async () => {
  // Longer timers remove old rows.
  const clock = new AdjustedClock({
    delayOf: (ms) => ms < 20_000 || ms > 60_000 ? ms : "held",
  });
  const waits = clock.held;
  await using server = await TestServer.open({ clock });
  const silent = await server.connect();
  const program = await server.connect("", "chat.v1");
  const ann = await server.login("Ann");
  const gone = await server.connect();
  await gone.disconnect();
  assertEquals(waits.length, 1, "one timer for all");
  clock.monotonicAheadMs += 30_000;
  const late = await server.connect();
  await late.request(
    "/bad",
    'Nicknames cannot start with "/". Type the nickname that you want to use.',
  );
  clock.monotonicAheadMs += 31_000;
  waits.shift()!.run();
  await silent.expect("Disconnected: no nickname within 60 seconds.");
  assertEquals((await withDeadline(silent.closed, "the close")).code, 1008);
  await program.expect(
    '{"type":"error","code":"too-late","message":"Disconnected: no nickname within 60 seconds."}',
  );
  assertEquals((await withDeadline(program.closed, "the close")).code, 1008);
  await ann.expectNothingElse();
  clock.monotonicAheadMs += 30_000;
  waits.shift()!.run();
  await late.expect("Disconnected: no nickname within 60 seconds.");
  await withDeadline(late.closed, "the close");
  assertEquals([waits.length, server.chat.size], [0, 1]);
});

Deno.test("a client that floods and reconnects does not raise the p99 of a room of 100 above 100 ms", async () => {
  await using server = await ServerProcess.start([
    ...["--kv", ":memory:", "--limits", "messages=300/30s,room=off"],
  ]);
  const sent = new Map<string, number>();
  const took: number[] = [];
  const room = await Promise.all(Array.from({ length: 100 }, async (_, i) => {
    const client = await TextClient.connect(server.url);
    client.send(`p${i}`, "/join red");
    while (!(await client.next()).startsWith("Joined"));
    return client;
  }));
  for (const { socket } of room) {
    const heard = socket.onmessage!.bind(socket);
    socket.onmessage = (event) => {
      const at = sent.get(event.data);
      if (at !== undefined) took.push(performance.now() - at);
      heard(event);
    };
  }
  const stop = { it: false };
  let floods = 0;
  const flooding = (async () => {
    while (!stop.it) {
      const mad = await TextClient.connect(server.url);
      mad.send(`mad ${floods}`, "/join red");
      for (let i = 0; i < 2_000 && mad.socket.readyState === 1; i++) mad.send(`BUY BUY BUY ${i}`);
      await withDeadline(mad.closed, "the close");
      floods++;
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  })();
  /** Returns the 99th percentile of the milliseconds that 100 messages took to all clients. */
  const p99 = async (round: number) => {
    took.length = 0;
    for (let word = 0; word < 100; word++) {
      const i = word % 10, text = `word ${round} ${word}`;
      sent.set(`p${i}: ${text}`, performance.now());
      room[i]!.send(text);
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
    await eventually(() => took.length === 100 * 100, "every client received every message");
    return took.toSorted((a, b) => a - b)[Math.floor(took.length * 0.99)]!;
  };
  // Other load on the machine can only raise it, so the best of several tries counts.
  const rounds: number[] = [];
  while (rounds.length < 4 && !(rounds.at(-1)! < 100)) rounds.push(await p99(rounds.length));
  stop.it = true;
  await flooding;
  if (Deno.env.get("SHOW")) console.log({ rounds, floods });
  assert(floods >= 3, `${floods} floods`);
  assert(rounds.at(-1)! < 100, `p99 was ${rounds} ms`);
  await Promise.all(room.map((client) => client.disconnect()));
  assertEquals((await server.stop()).code, 0);
});
