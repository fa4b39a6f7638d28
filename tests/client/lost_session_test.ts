/** What the client does when the server no longer has its session, or refuses its nickname. */
import { assert, assertEquals } from "@std/assert";
import {
  directEvent,
  errorReply,
  historyReply,
  joinedEvent,
  type Line,
  messageEvent,
  outcomeOf,
  resumedLine,
  Scenario,
  userOf,
  welcome,
} from "./scenario.ts";

/** The request for a page of missed messages. */
function pageAfter(after: string, room = "red"): Line {
  return { type: "history", room, after, limit: 100 };
}

/** The `resumed` events of rooms that the client delivered, in order. */
function resumedEvents(scenario: Scenario): unknown[] {
  return scenario.events.filter(({ type }) => type === "resumed");
}

Deno.test("after a lost session missed messages are delivered once and in order, then resumed, recovered if the history is complete", async () => {
  for (const complete of [true, false]) {
    const scenario = await new Scenario().logIn();
    await scenario.socket.deliver(messageEvent("e11"));
    await scenario.loseSession({ token: "t1", last: { red: "e11" } });
    const { socket } = scenario;
    assertEquals(scenario.client.state, "online");
    const { ref } = socket.expectRequest({ type: "join", room: "red" });
    await socket.deliver(joinedEvent("e15"), messageEvent("e16"), { type: "ok", ref, id: "e15" });
    await socket.deliver(messageEvent("e17"));
    const first = [messageEvent("e12"), messageEvent("e13")];
    await socket.answer(pageAfter("e11"), historyReply(first, { more: true, complete }));
    const second = [messageEvent("e14"), messageEvent("e16")];
    await socket.answer(pageAfter("e13"), historyReply(second, { more: true }));
    assertEquals(scenario.messageIds, ["e11", "e12", "e13", "e14", "e16", "e17"]);
    assertEquals(scenario.events.slice(-7).map(({ type }) => type), [
      ...["message", "message", "message", "resumed", "joined", "message", "message"],
    ]);
    const end = complete ? { recovered: true } : {
      recovered: false,
      reason: "expired",
      from: "e15",
    };
    assertEquals(resumedEvents(scenario), [{ type: "resumed", room: "red", missed: 3, ...end }]);
    assertEquals(socket.requests, []);
    await scenario.client.close();
  }
});

Deno.test("after a lost session ChatClient returns to all rooms; each is recovered by itself, and posts wait for their room only", async () => {
  const scenario = await new Scenario({ rooms: ["red", "blue"] });
  const { client } = scenario;
  await scenario.socket.openSocket();
  await scenario.socket.answer({ type: "login", nick: "Ann" }, welcome("t1"));
  await scenario.join("red", "e10");
  await scenario.join("blue", "e11");
  await scenario.loseSession({ token: "t1", last: { red: "e10", blue: "e11" } });
  const { socket } = scenario;
  void client.room("red").say("one").catch(() => {});
  void client.room("blue").say("two").catch(() => {});
  await scenario.join("red", "e20");
  const blue = socket.expectRequest({ type: "join", room: "blue" });
  await socket.answer({ type: "message", text: "one", room: "red" }, { type: "ok", id: "e21" });
  const red = socket.expectRequest(pageAfter("e10"));
  assertEquals(socket.requests, []);
  await socket.deliver({ ...errorReply("bad-room"), ref: blue.ref });
  await socket.answer(
    { type: "message", text: "two", room: "blue" },
    errorReply("not-in-room"),
  );
  assertEquals([client.rooms, scenario.errorCodes], [["red"], ["bad-room"]]);
  await socket.deliver({ ...historyReply([messageEvent("e12")]), ref: red.ref });
  assertEquals(resumedEvents(scenario), [
    { type: "resumed", room: "blue", recovered: false, missed: 0, reason: "not-in-room" },
    { type: "resumed", room: "red", recovered: true, missed: 1 },
  ]);
  await client.close();
});

Deno.test("a rate limit on joins after a lost session delays the return to a room, and does not fail it", async () => {
  const scenario = await new Scenario().logIn();
  await scenario.loseSession({ token: "t1", last: { red: "e10" } });
  const { socket, clock } = scenario;
  const tooFast = { ...errorReply("too-fast"), retryAfter: 2_000 };
  await socket.answer({ type: "join", room: "red" }, tooFast);
  await clock.advanceAsync(2_000);
  await scenario.join("red", "e15");
  await socket.answer(pageAfter("e10"), historyReply([]));
  assertEquals(resumedEvents(scenario).length, 1);
  // The storage does not answer: the client tries again over the next connection.
  await scenario.reconnect();
  const resume = { type: "resume", token: "n1", last: { red: "e15" } };
  await scenario.socket.answer(resume, errorReply("bad-token"));
  const again = welcome("n2", { user: "u-ann-3" });
  await scenario.socket.answer({ type: "login", nick: "Ann" }, again);
  for (let i = 0; i < 4; i++) {
    await scenario.socket.answer({ type: "join", room: "red" }, errorReply("unavailable"));
    if (i < 3) await clock.advanceAsync(8_000);
  }
  assertEquals([scenario.client.state, scenario.client.rooms], ["offline", ["red"]]);
  await clock.advanceAsync(250);
  await scenario.socket.openSocket();
  await scenario.resume({ token: "n2", last: {} }, welcome("n3", { user: "u-ann-3" }));
  await scenario.join("red", "e16");
  await scenario.socket.answer(pageAfter("e15"), historyReply([]));
  assertEquals(resumedEvents(scenario).length, 3);
  await scenario.client.close();
});

Deno.test("events of a server that lost its data are delivered although their IDs are smaller", async () => {
  const scenario = await new Scenario().logIn();
  await scenario.socket.deliver(messageEvent("e11"), directEvent("e12"));
  await scenario.loseSession({ token: "t1", last: { red: "e11" }, direct: "e12" });
  const { socket } = scenario;
  const { ref } = socket.expectRequest({ type: "join", room: "red" });
  await socket.deliver(
    joinedEvent("a1"),
    { type: "ok", ref, id: "a1" },
    messageEvent("a2"),
    directEvent("a3"),
  );
  assertEquals(scenario.messageIds, ["e11", "a2"]);
  assertEquals(scenario.events.at(-1)?.type, "direct");
  assertEquals(resumedEvents(scenario), [
    { type: "resumed", recovered: false, missed: 0, reason: "expired" },
    {
      type: "resumed",
      room: "red",
      recovered: false,
      missed: 0,
      reason: "forgotten",
      from: "a1",
    },
  ]);
  await scenario.client.close();
});

Deno.test("posts in flight when the session is lost are found in the history or unknown, never sent again", async () => {
  const scenario = await new Scenario().logIn();
  const { client, socket: old } = scenario;
  const red = client.room("red");
  const [found, lost, direct] = [red.say("found"), red.say("lost"), client.tell("Bob", "psst")]
    .map(outcomeOf);
  const { cid } = old.expectRequest({ type: "message", text: "found", room: "red" });
  await old.drop();
  const never = outcomeOf(red.say("never sent"));
  await scenario.clock.advanceAsync(250);
  const { socket } = scenario;
  await socket.openSocket();
  const resume = { type: "resume", token: "t1", last: { red: "e10" } };
  await socket.answer(resume, errorReply("bad-token"));
  const again = welcome("n1", { user: "u-ann-2" });
  await socket.answer({ type: "login", nick: "Ann" }, again);
  assertEquals([lost!.value, direct!.value], [undefined, "unknown"]);
  await socket.answer({ type: "join", room: "red" }, { type: "ok", id: "e15" });
  const request = socket.expectRequest({ type: "message", text: "never sent", room: "red" });
  const own = messageEvent("e11", { ...userOf("Ann"), cid });
  await socket.answer(pageAfter("e10"), historyReply([own]));
  assertEquals([found!.value, lost!.value], [{ id: "e11" }, "unknown"]);
  await socket.deliver({ type: "ok", ref: request.ref, id: "e16" });
  assertEquals(never.value, { id: "e16" });
  assertEquals(socket.requests, []);
  await client.close();
});

Deno.test("after a long absence ChatClient delivers 1,000 messages and reports too-many", async () => {
  const scenario = await new Scenario().logIn();
  await scenario.loseSession({ token: "t1", last: { red: "e10" } });
  const { socket } = scenario;
  await socket.answer({ type: "join", room: "red" }, { type: "ok", id: "e9" });
  const id = (i: number) => `e1${String(i).padStart(4, "0")}`;
  for (let page = 0, after = "e10"; page < 10; page++) {
    const events = Array.from({ length: 100 }, (_, i) => messageEvent(id(page * 100 + i)));
    await socket.answer(pageAfter(after), historyReply(events, { more: true }));
    after = id(page * 100 + 99);
  }
  assertEquals(scenario.messageIds.length, 1000);
  const end = { recovered: false, missed: 1000, reason: "too-many", from: "e9" };
  assertEquals(resumedEvents(scenario), [{ type: "resumed", room: "red", ...end }]);
  await scenario.client.close();
});

for (
  const [code, reason] of [["history-off", "history-off"], ["not-allowed", "unavailable"]] as const
) {
  Deno.test(`after a lost session a history that answers ${code} makes the room not recovered: ${reason}`, async () => {
    const scenario = await new Scenario().logIn();
    await scenario.loseSession({ token: "t1", last: { red: "e10" } });
    await scenario.join("red", "e15");
    await scenario.socket.answer(pageAfter("e10"), errorReply(code));
    const end = { recovered: false, missed: 0, reason, from: "e15" };
    assertEquals(resumedEvents(scenario), [{ type: "resumed", room: "red", ...end }]);
    await scenario.client.close();
  });
}

Deno.test("a connection lost before the client is back in its rooms loses no messages", async () => {
  const scenario = await new Scenario({ rooms: ["red", "blue"] });
  const { client } = scenario;
  await scenario.socket.openSocket();
  await scenario.socket.answer({ type: "login", nick: "Ann" }, welcome("t1"));
  await scenario.join("red", "e10");
  await scenario.join("blue", "e11");
  await scenario.loseSession({ token: "t1", last: { red: "e10", blue: "e11" } });
  await scenario.join("red", "e15");
  await scenario.reconnect();
  // The new session is in red, but what was missed before comes from the history. It is not in blue,
  // but not because the client left.
  await scenario.resume(
    { token: "n1", last: {} },
    welcome("n2", { user: "u-ann-2" }, "red"),
    messageEvent("e16"),
    resumedLine({ room: "red", recovered: false, reason: "expired" }),
  );
  const { socket } = scenario;
  const blueJoin = socket.expectRequest({ type: "join", room: "blue" });
  const red = socket.expectRequest(pageAfter("e10"));
  await socket.deliver(messageEvent("e17"));
  await socket.deliver({
    ...historyReply([messageEvent("e12"), messageEvent("e16"), messageEvent("e17")]),
    ref: red.ref,
  });
  await socket.deliver(joinedEvent("e18", "blue"), { type: "ok", ref: blueJoin.ref, id: "e18" });
  const blue = messageEvent("e13", { room: "blue" });
  await socket.answer(pageAfter("e11", "blue"), historyReply([blue], { room: "blue" }));
  assertEquals(scenario.messageIds, ["e12", "e16", "e17", "e13"]);
  assertEquals(client.rooms, ["red", "blue"]);
  assertEquals(resumedEvents(scenario), [
    { type: "resumed", recovered: true, missed: 0 },
    { type: "resumed", room: "red", recovered: true, missed: 1 },
    { type: "resumed", room: "blue", recovered: true, missed: 1 },
  ]);
  await client.close();
});

Deno.test("a leave that was in flight or waiting when the session was lost is sent after the return, or is done if the client is out", async () => {
  const scenario = await new Scenario().logIn();
  const left = outcomeOf(scenario.client.room("red").leave());
  scenario.socket.expectRequest({ type: "leave", room: "red" });
  await scenario.loseSession({ token: "t1", last: { red: "e10" } });
  await scenario.reconnect();
  // The new session is in no room, but not because the client left.
  await scenario.resume({ token: "n1", last: {} }, welcome("n2", { user: "u-ann-2" }));
  assert(!("value" in left));
  await scenario.join("red", "e15");
  const { ref } = scenario.socket.expectRequest({ type: "leave", room: "red" });
  scenario.socket.expectRequest(pageAfter("e10"));
  await scenario.socket.deliver({ type: "ok", ref, id: "e16" });
  assertEquals([left, scenario.client.rooms], [{ value: undefined }, []]);
  await scenario.client.close();

  const other = await new Scenario().logIn();
  await other.loseSession({ token: "t1", last: { red: "e10" } });
  const tooFast = { ...errorReply("too-fast"), retryAfter: 2_000 };
  await other.socket.answer({ type: "join", room: "red" }, tooFast);
  const out = outcomeOf(other.client.room("red").leave());
  await other.clock.advanceAsync(2_000);
  await other.socket.answer({ type: "leave", room: "red" }, errorReply("not-in-room"));
  assertEquals([out, other.client.rooms, other.socket.requests], [{ value: undefined }, [], []]);
  await other.client.close();
});

Deno.test("a room that the client left before it was back in it is not entered again, and its posts are unknown", async () => {
  const scenario = await new Scenario().logIn();
  const said = outcomeOf(scenario.client.room("red").say("one"));
  await scenario.loseSession({ token: "t1", last: { red: "e10" } });
  const left = outcomeOf(scenario.client.room("red").leave());
  await scenario.join("red", "e15");
  scenario.socket.expectRequest({ type: "leave", room: "red" });
  scenario.socket.expectRequest(pageAfter("e10"));
  await scenario.reconnect();
  await scenario.resume({ token: "n1", last: {} }, welcome("n2", { user: "u-ann-2" }));
  assertEquals([left, said.value], [{ value: undefined }, "unknown"]);
  assertEquals([scenario.client.rooms, scenario.socket.requests], [[], []]);
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
  const resume = { type: "resume", token: "t1", last: { red: "e10" } };
  await socket.answer(resume, errorReply("bad-token"));
  for (let i = 0; i < 5; i++) {
    await socket.answer({ type: "login", nick: "Ann" }, errorReply("nickname-taken"));
    await scenario.clock.advanceAsync(1_000);
  }
  assertEquals([scenario.client.state, scenario.errorCodes], ["connecting", []]);
  await socket.answer({ type: "login", nick: "Ann" }, welcome("n1", { user: "u-ann-2" }));
  socket.expectRequest({ type: "join", room: "red" });
  await scenario.client.close();
});

Deno.test("after the grace period a taken nickname is reported and ChatClient stays offline", async () => {
  const scenario = await new Scenario().logIn();
  await scenario.reconnect();
  const { socket, clock } = scenario;
  const resume = { type: "resume", token: "t1", last: { red: "e10" } };
  await socket.answer(resume, errorReply("bad-token"));
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
  await scenario.socket.answer({ type: "login", nick: "Anna" }, welcome("t1", { nick: "Anna" }));
  await renamed;
  await scenario.socket.answer({ type: "join", room: "red" }, { type: "ok", id: "e10" });
  assertEquals([scenario.client.nick, scenario.client.state], ["Anna", "online"]);
  assertEquals(scenario.sockets.slice(0, -1).map(({ closeCode }) => closeCode), [4000, 4000]);
  await scenario.client.close();
});
