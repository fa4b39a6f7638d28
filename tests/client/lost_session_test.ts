/** What the client does when the server no longer has its session, or refuses its nickname. */
import { assert, assertEquals } from "@std/assert";
import { errorReply, joinedEvent, messageEvent, outcomeOf, Scenario, welcome } from "./scenario.ts";

Deno.test("after a lost session missed messages are delivered once and in order, then resumed with recovered: false", async () => {
  const scenario = await new Scenario().logIn();
  await scenario.socket.deliver(messageEvent("e11"));
  await scenario.reconnect();
  const { socket } = scenario;
  await socket.answer({ type: "resume", token: "t1", last: "e11" }, errorReply("bad-token"));
  await socket.answer({ type: "login", nick: "Ann" }, welcome("n1"));
  const { ref } = socket.expectRequest({ type: "join", room: "red" });
  await socket.deliver(joinedEvent("e15"), messageEvent("e16"), { type: "ok", ref, id: "e15" });
  const history = (after: string) => ({ type: "history", after, limit: 100 });
  await socket.deliver(messageEvent("e17"));
  await socket.answer(history("e11"), {
    type: "history",
    room: "red",
    events: [messageEvent("e12"), messageEvent("e13")],
    more: true,
  });
  await socket.answer(history("e13"), {
    type: "history",
    room: "red",
    events: [messageEvent("e14"), messageEvent("e16")],
    more: true,
  });
  assertEquals(scenario.messageIds, ["e11", "e12", "e13", "e14", "e16", "e17"]);
  assertEquals(scenario.events.slice(-8).map(({ type }) => type), [
    ...["message", "message", "message", "resumed", "joined", "message", "message", "state"],
  ]);
  assertEquals(scenario.events.find(({ type }) => type === "resumed"), {
    type: "resumed",
    recovered: false,
    missed: 3,
    reason: "expired",
    from: "e15",
  });
  await scenario.client.close();
});

Deno.test("events of a server that lost its data are delivered although their IDs are smaller", async () => {
  const scenario = await new Scenario().logIn();
  await scenario.socket.deliver(messageEvent("e11"));
  await scenario.reconnect();
  const { socket } = scenario;
  await socket.answer({ type: "resume", token: "t1", last: "e11" }, errorReply("bad-token"));
  await socket.answer({ type: "login", nick: "Ann" }, welcome("n1"));
  const { ref } = socket.expectRequest({ type: "join", room: "red" });
  await socket.deliver(joinedEvent("a1"), { type: "ok", ref, id: "a1" }, messageEvent("a2"));
  assertEquals(scenario.messageIds, ["e11", "a2"]);
  const resumed = scenario.events.find(({ type }) => type === "resumed");
  assertEquals(resumed, {
    ...{ type: "resumed", recovered: false, missed: 0, reason: "forgotten", from: "a1" },
  });
  await scenario.client.close();
});

Deno.test("posts in flight when the session is lost are found in the history or unknown, never sent again", async () => {
  const scenario = await new Scenario().logIn();
  const { client, socket: old } = scenario;
  const [found, lost, direct] = [
    client.say("found"),
    client.say("lost"),
    client.tell("Bob", "psst"),
  ]
    .map(outcomeOf);
  const { cid } = old.expectRequest({ type: "message", text: "found", room: "red" });
  await old.drop();
  const never = outcomeOf(client.say("never sent"));
  await scenario.clock.advanceAsync(250);
  const { socket } = scenario;
  await socket.openSocket();
  await socket.answer({ type: "resume", token: "t1", last: "e10" }, errorReply("bad-token"));
  await socket.answer({ type: "login", nick: "Ann" }, welcome("n1"));
  await socket.answer({ type: "join", room: "red" }, { type: "ok", id: "e15" });
  await socket.answer({ type: "history", after: "e10", limit: 100 }, {
    type: "history",
    room: "red",
    events: [messageEvent("e11", { nick: "Ann", cid })],
    more: false,
  });
  assertEquals([found!.value, lost!.value, direct!.value], [{ id: "e11" }, "unknown", "unknown"]);
  await socket.answer({ type: "message", text: "never sent", room: "red" }, {
    type: "ok",
    id: "e16",
  });
  assertEquals(never.value, { id: "e16" });
  assertEquals(socket.requests, []);
  await client.close();
});

Deno.test("after a long absence ChatClient delivers 1,000 messages and reports too-many", async () => {
  const scenario = await new Scenario().logIn();
  await scenario.reconnect();
  const { socket } = scenario;
  await socket.answer({ type: "resume", token: "t1", last: "e10" }, errorReply("bad-token"));
  await socket.answer({ type: "login", nick: "Ann" }, welcome("n1"));
  await socket.answer({ type: "join", room: "red" }, { type: "ok", id: "e9" });
  const id = (i: number) => `e1${String(i).padStart(4, "0")}`;
  for (let page = 0, after = "e10"; page < 10; page++) {
    const events = Array.from({ length: 100 }, (_, i) => messageEvent(id(page * 100 + i)));
    const history = { type: "history", room: "red", events, more: true };
    await socket.answer({ type: "history", after, limit: 100 }, history);
    after = id(page * 100 + 99);
  }
  assertEquals(scenario.messageIds.length, 1000);
  const resumed = scenario.events.find((event) => event.type === "resumed");
  assertEquals(resumed, {
    type: "resumed",
    recovered: false,
    missed: 1000,
    reason: "too-many",
    from: "e9",
  });
  await scenario.client.close();
});

Deno.test("a connection lost during the login after a lost session loses no messages", async () => {
  const scenario = await new Scenario().logIn();
  await scenario.reconnect();
  await scenario.socket.answer(
    { type: "resume", token: "t1", last: "e10" },
    errorReply("bad-token"),
  );
  await scenario.socket.answer({ type: "login", nick: "Ann" }, welcome("n1"));
  await scenario.socket.answer({ type: "join", room: "red" }, { type: "ok", id: "e15" });
  await scenario.reconnect();
  const { socket } = scenario;
  const missed = [messageEvent("e16"), { type: "resumed", recovered: false, missed: 1 }];
  await socket.answer({ type: "resume", token: "n1" }, welcome("n2", "red"), ...missed);
  await socket.answer({ type: "ping" }, { type: "pong" });
  // Joining the room again leaves it first. That event belongs to the time before.
  await socket.deliver({ type: "left", id: "e17", room: "red", nick: "Ann", time: 0 });
  await socket.answer({ type: "join", room: "red" }, { type: "ok", id: "e18" });
  await socket.deliver(joinedEvent("e18"));
  await socket.answer({ type: "history", after: "e10", limit: 100 }, {
    type: "history",
    room: "red",
    events: [messageEvent("e11"), messageEvent("e16")],
    more: false,
  });
  assertEquals(scenario.messageIds, ["e11", "e16"]);
  assertEquals(scenario.client.room, "red");
  assert(!scenario.events.some(({ type }) => type === "left"));
  assertEquals(scenario.events.filter(({ type }) => type === "resumed").length, 1);
  await scenario.client.close();
});

Deno.test("a move that was in flight when the session was lost is sent again", async () => {
  const scenario = await new Scenario().logIn();
  const left = outcomeOf(scenario.client.leave());
  scenario.socket.expectRequest({ type: "leave" });
  await scenario.reconnect();
  await scenario.socket.answer(
    { type: "resume", token: "t1", last: "e10" },
    errorReply("bad-token"),
  );
  await scenario.socket.answer({ type: "login", nick: "Ann" }, welcome("n1"));
  await scenario.reconnect();
  // The new session is in no room, but not because the client left.
  await scenario.resume({ token: "n1" }, welcome("n2"));
  assert(!("value" in left));
  await scenario.socket.answer({ type: "join", room: "red" }, { type: "ok", id: "e15" });
  const nothing = { type: "history", room: "red", events: [], more: false };
  await scenario.socket.answer({ type: "history", after: "e10", limit: 100 }, nothing);
  await scenario.socket.answer({ type: "leave" }, { type: "ok", id: "e16" });
  assert("value" in left);
  await scenario.client.close();
});

Deno.test("after a login without a reply ChatClient asks again for its own nickname", async () => {
  const scenario = new Scenario();
  await scenario.socket.openSocket();
  scenario.socket.expectRequest({ type: "login", nick: "Ann" });
  await scenario.reconnect();
  await scenario.socket.answer({ type: "login", nick: "Ann" }, errorReply("nickname-taken"));
  await scenario.clock.advanceAsync(1_000);
  await scenario.socket.answer({ type: "login", nick: "Ann" }, welcome("t1"));
  assertEquals(scenario.errorCodes, []);
  await scenario.client.close();
});

Deno.test("after a lost session ChatClient asks again for its nickname while the server keeps it", async () => {
  const scenario = await new Scenario().logIn();
  await scenario.reconnect();
  const { socket } = scenario;
  await socket.answer({ type: "resume", token: "t1", last: "e10" }, errorReply("bad-token"));
  for (let i = 0; i < 5; i++) {
    await socket.answer({ type: "login", nick: "Ann" }, errorReply("nickname-taken"));
    await scenario.clock.advanceAsync(1_000);
  }
  assertEquals([scenario.client.state, scenario.errorCodes], ["connecting", []]);
  await socket.answer({ type: "login", nick: "Ann" }, welcome("n1"));
  await socket.answer({ type: "join", room: "red" }, { type: "ok", id: "e15" });
  await scenario.client.close();
});

Deno.test("after the grace period a taken nickname is reported and ChatClient stays offline", async () => {
  const scenario = await new Scenario().logIn();
  await scenario.reconnect();
  const { socket, clock } = scenario;
  await socket.answer({ type: "resume", token: "t1", last: "e10" }, errorReply("bad-token"));
  for (let i = 0; i < 31; i++) {
    await socket.answer({ type: "login", nick: "Ann" }, errorReply("nickname-taken"));
    await clock.advanceAsync(1_000);
  }
  assertEquals([scenario.client.state, scenario.errorCodes], ["offline", ["nickname-taken"]]);
  await scenario.client.close();
});

Deno.test("a refused nickname is reported, and rename logs in with another one", async () => {
  const scenario = new Scenario();
  await scenario.socket.openSocket();
  await scenario.socket.answer({ type: "login", nick: "Ann" }, errorReply("nickname-taken"));
  assertEquals(scenario.errorCodes, ["nickname-taken"]);
  assertEquals(scenario.events.at(-1), {
    type: "state",
    state: "offline",
    code: 4000,
    reason: "nickname-taken",
  });
  assertEquals(scenario.clock.timerCount, 0, "it does not try by itself");
  const refused = outcomeOf(scenario.client.rename("/Ann"));
  await scenario.socket.openSocket();
  await scenario.socket.answer({ type: "login", nick: "/Ann" }, errorReply("bad-nickname"));
  assertEquals(refused.value, "bad-nickname");
  await scenario.socket.answer({ type: "login", nick: "Ann" }, errorReply("nickname-taken"));
  const renamed = scenario.client.rename(" Anna ");
  await scenario.socket.openSocket();
  await scenario.socket.answer({ type: "login", nick: "Anna" }, welcome("t1", undefined, "Anna"));
  await renamed;
  await scenario.socket.answer({ type: "join", room: "red" }, { type: "ok", id: "e10" });
  assertEquals([scenario.client.nick, scenario.client.state], ["Anna", "online"]);
  assertEquals(scenario.sockets.slice(0, -1).map(({ closeCode }) => closeCode), [4000, 4000]);
  await scenario.client.close();
});
