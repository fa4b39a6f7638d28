/** Moderation in the client: acts, the state of rooms, and what it does when its own user is concerned. */
import { assert, assertEquals } from "@std/assert";
import { CLOSE, type CloseReason } from "../../chat/base/close_codes.ts";
import {
  errorReply,
  historyReply,
  joinedEvent,
  leftEvent,
  type Line,
  messageEvent,
  outcomeOf,
  resumedLine,
  Scenario,
  userOf,
  welcome,
} from "./scenario.ts";

/** An act by Bob on Ann in the room. */
function actEvent(act: string, id: string, more: Line = {}): Line {
  return {
    type: "act",
    id,
    room: "red",
    ...userOf("Bob"),
    act,
    on: userOf("Ann"),
    time: 0,
    ...more,
  };
}

/** The types of the events that the client delivered since `from`, in order. */
function typesSince(scenario: Scenario, from: number): string[] {
  return scenario.events.slice(from).map(({ type }) => type);
}

Deno.test("acts, the record and ignoring are requests of chat.v1, and resolve to what the server replies", async () => {
  const { client, socket } = await new Scenario().logIn();
  const red = client.room("red");
  const act = actEvent("ban", "e5");
  const [bob, record] = [userOf("Bob"), {
    type: "modlog",
    events: [act, { type: "act" }],
    more: true,
  }];
  const calls: [Promise<unknown>, Line, Line, unknown][] = [
    [
      red.act("mute", { nick: "Bob", for: 600, reason: "spam" }),
      { type: "mute", room: "red", nick: "Bob", for: 600, reason: "spam" },
      { type: "ok", id: "e11" },
      { id: "e11" },
    ],
    [red.act("lock"), { type: "lock", room: "red" }, { type: "ok", id: "e12" }, { id: "e12" }],
    [
      red.act("topic", { text: "" }),
      { type: "topic", room: "red", text: "" },
      { type: "ok", id: "e13" },
      { id: "e13" },
    ],
    [
      client.act("ban", { network: "192.0.2.0/24", for: 60 }),
      { type: "ban", network: "192.0.2.0/24", for: 60 },
      { type: "ok", id: "e14" },
      { id: "e14" },
    ],
    [
      red.delete("e9", "spam"),
      { type: "delete", room: "red", id: "e9", reason: "spam" },
      { type: "ok", id: "e15" },
      undefined,
    ],
    [red.delete("e8"), { type: "delete", room: "red", id: "e8" }, { type: "ok" }, undefined],
    [
      red.modlog({ before: "e9", limit: 2 }),
      { type: "modlog", room: "red", before: "e9", limit: 2 },
      record,
      { events: [act], more: true },
    ],
    [client.modlog(), { type: "modlog" }, { ...record, more: false }, {
      events: [act],
      more: false,
    }],
    [
      client.op("a long secret"),
      { type: "op", secret: "a long secret" },
      { type: "ok" },
      undefined,
    ],
    [client.ignore({ nick: "Bob" }), { type: "ignore", nick: "Bob" }, { type: "ok", ...bob }, bob],
    [
      client.unignore({ user: "u-bob" }),
      { type: "unignore", user: "u-bob" },
      { type: "ok", ...bob },
      bob,
    ],
    [client.ignored(), { type: "ignored" }, { type: "ignored", users: [bob] }, [bob]],
  ];
  for (const [call, request, reply, result] of calls) {
    await socket.answer(request, reply);
    assertEquals(await call, result);
  }
  assertEquals(socket.requests, []);
  await client.close();
});

Deno.test("an act in JavaScript cannot change the type or the room of its request", async () => {
  const { client, socket } = await new Scenario().logIn();
  const fields = { reason: "x", type: "op", room: "blue" };
  void client.room("red").act("lock", fields).catch(() => {});
  socket.expectRequest({ type: "lock", room: "red", reason: "x" });
  await client.close();
});

for (const code of ["banned", "muted", "not-a-moderator", "protected-user", "bad-act"]) {
  Deno.test(`a post and an act that the server rejects with ${code} are rejected at once, and not sent again`, async () => {
    const { client, socket, clock } = await new Scenario().logIn();
    const error = { ...errorReply(code), retryAfter: 1_000 };
    const said = outcomeOf(client.room("red").say("one"));
    await socket.answer({ type: "message", room: "red", text: "one" }, error);
    const kicked = outcomeOf(client.room("red").act("kick", { nick: "Bob" }));
    await socket.answer({ type: "kick", room: "red", nick: "Bob" }, error);
    assertEquals([said.value, kicked.value], [code, code]);
    await clock.advanceAsync(5_000);
    assertEquals(socket.requests, []);
    await client.close();
  });
}

Deno.test("in slow mode a post is rejected with too-fast and holds up no other; a moderator's waits for the rate limit", async () => {
  const scenario = await new Scenario().logIn();
  const { client, socket, clock } = scenario;
  const tooFast = { ...errorReply("too-fast"), retryAfter: 10_000 };
  const message = { type: "message", room: "red", text: "one" };
  await socket.deliver({ type: "room", room: "red", slow: 30 });
  const said = outcomeOf(client.room("red").say("one"));
  await socket.answer(message, tooFast);
  assertEquals(said.value, "too-fast");
  void client.tell("Bob", "two");
  await socket.answer({ type: "direct", to: "Bob", text: "two" }, { type: "ok", id: "d1" });
  await socket.deliver({ type: "room", room: "red", slow: 30, role: "moderator" });
  const waits = outcomeOf(client.room("red").say("one"));
  await socket.answer(message, tooFast);
  assert(!("value" in waits));
  await clock.advanceAsync(10_000);
  await socket.answer(message, { type: "ok", id: "e11" });
  assertEquals(waits.value, { id: "e11" });
  await client.close();
});

Deno.test("in slow mode a post still waits for storage that is unavailable", async () => {
  const { client, socket, clock } = await new Scenario().logIn();
  await socket.deliver({ type: "room", room: "red", slow: 30 });
  const said = outcomeOf(client.room("red").say("one"));
  const message = { type: "message", room: "red", text: "one" };
  await socket.answer(message, errorReply("unavailable"));
  await clock.advanceAsync(2_000);
  await socket.answer(message, { type: "ok", id: "e11" });
  assertEquals(said.value, { id: "e11" });
  await client.close();
});

Deno.test("a call that would have to wait for more than a minute is rejected with too-fast", async () => {
  const { client, socket } = await new Scenario().logIn();
  const said = outcomeOf(client.room("red").say("one"));
  const hour = { ...errorReply("too-fast"), retryAfter: 3_600_000 };
  await socket.answer({ type: "message", room: "red", text: "one" }, hour);
  void client.list().catch(() => {});
  socket.expectRequest({ type: "rooms" });
  assertEquals(said.value, "too-fast");
  await client.close();
});

Deno.test("room.state is what the last event room told, also under a corrected name, and empty once the client is out", async () => {
  const scenario = await new Scenario({ rooms: [] });
  const { client, socket } = scenario;
  await socket.openSocket();
  await socket.answer({ type: "login", nick: "Ann" }, welcome("t1"));
  const room = client.room("typed");
  const topics: unknown[] = [];
  room.on("room", ({ topic }) => topics.push(topic));
  const joined = client.join("typed");
  const { ref } = socket.expectRequest({ type: "join", room: "typed" });
  await socket.deliver(
    joinedEvent("e10", "name"),
    { type: "room", room: "name", topic: "Tea", locked: true },
    { type: "ok", ref, id: "e10" },
  );
  await joined;
  assertEquals(room.state, { topic: "Tea", locked: true });
  await socket.deliver({ type: "room", room: "name", role: "moderator" });
  await socket.deliver({ type: "room", room: "other", topic: "no" });
  assertEquals([room.state, client.room("other").state], [{ role: "moderator" }, {}]);
  assertEquals(topics, ["Tea", undefined]);
  const left = room.leave();
  const leave = socket.expectRequest({ type: "leave", room: "name" });
  await socket.deliver(leftEvent("e12", "name"), { type: "ok", ref: leave.ref });
  await left;
  assertEquals(room.state, {});
  await client.close();
});

Deno.test("after a lost connection the state of a room is what the server tells then, or empty, which the event room tells", async () => {
  for (const isLost of [false, true]) {
    const scenario = await new Scenario().logIn();
    const { client } = scenario;
    await scenario.socket.deliver({ type: "room", room: "red", topic: "Tea" });
    const before = scenario.events.length;
    if (isLost) {
      await scenario.loseSession({ token: "t1", last: { red: "e10" } });
      await scenario.join("red", "e15");
      const page = { type: "history", room: "red", after: "e10", limit: 100 };
      await scenario.socket.answer(page, historyReply([]));
    } else {
      await scenario.reconnect();
      await scenario.resume({ token: "t1", last: { red: "e10" } }, welcome("t2", {}, "red"));
    }
    assertEquals(client.room("red").state, {});
    const states = scenario.events.slice(before).filter(({ type }) => type === "room");
    assertEquals(states, [{ type: "room", room: "red" }]);
    await scenario.socket.deliver({ type: "room", room: "red", topic: "Coffee" });
    assertEquals(client.room("red").state, { topic: "Coffee" });
    await client.close();
  }
});

Deno.test("acts are delivered to the client and to their room, also acts elsewhere and on the whole chat", async () => {
  const scenario = await new Scenario().logIn();
  const { client, socket } = scenario;
  const inRed: unknown[] = [];
  client.room("red").on("act", ({ id }) => inRed.push(id));
  const acts = [
    actEvent("mute", "e11", { until: 5, reason: "spam" }),
    actEvent("invite", "e12", { room: "blue" }),
    actEvent("ban", "e13", { room: undefined, on: userOf("Cy") }),
    // A report may be told late. An act of a newer server is told, too.
    actEvent("report", "e09", { on: userOf("Cy") }),
    actEvent("juggle", "e14", { on: undefined }),
  ];
  const before = scenario.events.length;
  for (const act of acts) await socket.deliver(act);
  assertEquals(scenario.events.slice(before), acts.map((act) => JSON.parse(JSON.stringify(act))));
  assertEquals([inRed, client.rooms], [["e11", "e09", "e14"], ["red"]]);
  await client.close();
});

Deno.test("acts keep their place among the events of a room while a gap is closed, and hide no event that is repeated", async () => {
  const scenario = await new Scenario().logIn();
  const { socket } = scenario;
  const before = scenario.events.length;
  await socket.deliver(
    { type: "gap", room: "red", after: "e10", until: "e12", missed: 2 },
    messageEvent("e13"),
    actEvent("topic", "e14", { on: undefined, topic: "Tea" }),
    { type: "room", room: "red", topic: "Tea" },
    messageEvent("e15"),
  );
  const page = { type: "history", room: "red", after: "e10", limit: 100 };
  await socket.answer(page, historyReply([messageEvent("e11"), messageEvent("e12")]));
  assertEquals(typesSince(scenario, before), [
    ...["message", "message", "gap", "message", "act", "room", "message"],
  ]);
  await socket.deliver(actEvent("mute", "e20", { on: userOf("Cy") }));
  await scenario.reconnect();
  await scenario.resume({ token: "t1", last: { red: "e15" } }, welcome("t2", {}, "red"));
  await scenario.client.close();
});

for (const act of ["kick", "ban"]) {
  Deno.test(`after a ${act} ChatClient is out of the room with its own left, and enters it again only by a join`, async () => {
    const scenario = await new Scenario().logIn();
    const { client, socket } = scenario;
    const red = client.room("red");
    await socket.deliver(actEvent(act, "e11", { reason: "spam" }));
    assert(red.joined, "until the event left");
    await socket.deliver(leftEvent("e12"), messageEvent("e13"));
    assertEquals([red.joined, client.rooms, scenario.messageIds], [false, [], []]);
    assertEquals(typesSince(scenario, -2), ["act", "left"]);
    assertEquals(scenario.saved!.rooms, {});
    await scenario.loseSession({ token: "t1", last: {} });
    assertEquals([scenario.socket.requests, client.rooms], [[], []]);
    const joined = client.join("red");
    await scenario.join("red", "e20");
    await joined;
    await scenario.socket.deliver(messageEvent("e21"));
    assertEquals([red.joined, scenario.messageIds], [true, ["e21"]]);
    await client.close();
  });

  Deno.test(`a ${act} is remembered when the connection is lost before the own left`, async () => {
    const scenario = await new Scenario().logIn();
    const { client, socket } = scenario;
    await socket.deliver(actEvent(act, "e11"));
    const before = scenario.events.length;
    await scenario.loseSession({ token: "t1", last: { red: "e10" } });
    assertEquals([client.rooms, scenario.socket.requests], [[], []]);
    assertEquals(scenario.events.slice(before).filter(({ type }) => type === "resumed"), [
      { type: "resumed", room: "red", recovered: false, missed: 0, reason: "not-in-room" },
    ]);
    await client.close();
  });

  Deno.test(`a ${act} while the user signs in takes ChatClient out of the room`, async () => {
    const { client, socket } = await new Scenario().logIn();
    void client.identify("Ann", "correct-horse").catch(() => {});
    socket.expectRequest({ type: "identify", nick: "Ann", password: "correct-horse" });
    await socket.deliver(actEvent(act, "e11"), leftEvent("e12"));
    assertEquals(client.rooms, []);
    await client.close();
  });
}

Deno.test("a kick of another user, or from another room, leaves ChatClient where it is", async () => {
  const { client, socket } = await new Scenario().logIn();
  await socket.deliver(
    actEvent("kick", "e11", { on: userOf("Cy") }),
    leftEvent("e12", "red", "Cy"),
    actEvent("kick", "e13", { room: "blue" }),
  );
  // A user that signs in may leave as the user that it was.
  void client.identify("Ann", "correct-horse").catch(() => {});
  await socket.deliver(leftEvent("e14"));
  assertEquals(client.rooms, ["red"]);
  await client.close();
});

Deno.test("a room that the session lost by an act while ChatClient was away is left with the own left", async () => {
  const scenario = await new Scenario().logIn();
  await scenario.reconnect();
  // The server takes the session out of the room after the replay.
  await scenario.resume({ token: "t1", last: { red: "e10" } }, welcome("t2", {}, "red"));
  await scenario.socket.deliver(leftEvent("e11"));
  assertEquals([scenario.client.rooms, scenario.events.at(-1)?.type], [[], "left"]);
  await scenario.client.close();
});

Deno.test("a replay in which the session left the room and came back keeps ChatClient in it", async () => {
  const scenario = await new Scenario().logIn();
  await scenario.reconnect();
  await scenario.resume(
    { token: "t1", last: { red: "e10" } },
    welcome("t2", {}, "red"),
    leftEvent("e11"),
    joinedEvent("e12"),
    messageEvent("e13"),
    resumedLine({ room: "red", missed: 3 }),
  );
  assertEquals([scenario.client.rooms, scenario.messageIds], [["red"], ["e13"]]);
  await scenario.client.close();
});

for (const code of ["banned", "locked", "private"]) {
  Deno.test(`after a lost session a room that answers ${code} is dropped with one error, and not asked for again`, async () => {
    const scenario = await new Scenario().logIn();
    const { client } = scenario;
    await scenario.loseSession({ token: "t1", last: { red: "e10" } });
    await scenario.socket.answer({ type: "join", room: "red" }, errorReply(code));
    assertEquals([client.rooms, scenario.errorCodes, client.state], [[], [code], "online"]);
    await scenario.reconnect();
    await scenario.resume({ token: "n1", last: {} }, welcome("n2", { user: "u-ann-2" }));
    assertEquals([scenario.socket.requests, scenario.errorCodes], [[], [code]]);
    await client.close();
  });
}

const expulsions: CloseReason[] = [CLOSE.banned, CLOSE.kicked];
for (const { code, reason } of expulsions) {
  Deno.test(`after the close ${code} "${reason}" ChatClient waits, without a session, until retryNow`, async () => {
    const scenario = await new Scenario().logIn();
    const { client, clock } = scenario;
    await scenario.socket.drop(code, reason);
    assertEquals(scenario.events.at(-1), { type: "state", state: "offline", code, reason });
    assertEquals([clock.timerCount, scenario.saved], [0, null]);
    client.retryNow();
    await scenario.socket.openSocket();
    await scenario.socket.answer({ type: "login", nick: "Ann" }, errorReply("banned"));
    assertEquals([client.state, scenario.errorCodes, clock.timerCount], ["offline", ["banned"], 0]);
    const renamed = client.rename("Anna");
    await scenario.socket.openSocket();
    const again = welcome("n1", { nick: "Anna" });
    await scenario.socket.answer({ type: "login", nick: "Anna" }, again);
    await renamed;
    assertEquals(client.state, "online");
    await client.close();
  });
}

Deno.test("a resume that the server answers with banned is one error, and ChatClient waits", async () => {
  const scenario = await new Scenario().logIn();
  await scenario.reconnect();
  const resume = { type: "resume", token: "t1", last: { red: "e10" } };
  const banned = { ...errorReply("banned"), retryAfter: 60_000 };
  await scenario.socket.answer(resume, banned);
  assertEquals([scenario.client.state, scenario.errorCodes], ["offline", ["banned"]]);
  assertEquals([scenario.clock.timerCount, scenario.saved?.tokens], [0, undefined]);
  await scenario.client.close();
});

Deno.test("an act that a replay repeats is delivered once", async () => {
  const scenario = await new Scenario().logIn();
  await scenario.socket.deliver(actEvent("mute", "e11"));
  await scenario.reconnect();
  const from = scenario.events.length;
  await scenario.resume(
    { token: "t1", last: { red: "e10" } },
    welcome("t2", {}, "red"),
    actEvent("mute", "e11"),
    actEvent("unmute", "e12"),
    resumedLine({ room: "red", missed: 2 }),
    resumedLine({ missed: 0 }),
  );
  const acts = scenario.events.slice(from).filter(({ type }) => type === "act");
  assertEquals(acts.map((event) => "id" in event && event.id), ["e12"]);
  await scenario.client.close();
});
