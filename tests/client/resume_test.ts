/** How the client resumes a session after a lost connection. */
import { assertEquals, assertRejects } from "@std/assert";
import { ChatError } from "../../chat/client/client.js";
import { settlePromises } from "../support/fake_clock.ts";
import {
  directEvent,
  errorReply,
  joinedEvent,
  leftEvent,
  messageEvent,
  outcomeOf,
  resumedLine,
  retryAt,
  Scenario,
  welcome,
} from "./scenario.ts";

Deno.test("after a lost connection ChatClient resumes with the IDs of the last events of all rooms and of the direct messages", async () => {
  const scenario = await new Scenario({ rooms: ["red", "blue", "green"] });
  const { client } = scenario;
  await scenario.socket.openSocket();
  await scenario.socket.answer({ type: "login", nick: "Ann" }, welcome("t1"));
  await scenario.join("red", "e10");
  await scenario.join("blue", "e11");
  await scenario.join("green", "e12");
  await scenario.socket.deliver(
    messageEvent("e14", { room: "blue" }),
    messageEvent("e13"),
    directEvent("d7"),
  );
  assertEquals(scenario.saved, {
    tokens: ["t1"],
    user: "u-ann",
    nick: "Ann",
    rooms: { red: "e13", blue: "e14", green: "e12" },
    direct: "d7",
    grace: 30,
  });
  await scenario.reconnect();
  const seen: string[] = [];
  client.on("resumed", ({ room = "", missed }) => seen.push(room, String(missed)));
  client.on("state", ({ state }) => seen.push(state));
  client.on("message", ({ id }) => seen.push(id));
  client.on("direct", ({ id }) => seen.push(id));
  await scenario.resume(
    { token: "t1", last: { red: "e13", blue: "e14", green: "e12" }, direct: "d7" },
    welcome("t2", {}, "red", "blue", "green"),
    messageEvent("e15"),
    resumedLine({ room: "red", missed: 1 }),
    messageEvent("e16", { room: "blue" }),
    resumedLine({ room: "blue", missed: 1 }),
    resumedLine({ room: "green", missed: 0 }),
    directEvent("d8"),
    resumedLine({ missed: 1 }),
    messageEvent("e17", { room: "green" }),
  );
  assertEquals(seen, [
    ...["e15", "red", "1", "e16", "blue", "1", "green", "0", "d8", "", "1", "online", "e17"],
  ]);
  await client.close();
});

Deno.test("ChatClient delivers a replayed event once", async () => {
  const scenario = await new Scenario().logIn();
  await scenario.socket.deliver(messageEvent("e11"), messageEvent("e12"), directEvent("d5"));
  await scenario.reconnect();
  const again = [messageEvent("e11"), messageEvent("e12"), messageEvent("e13"), directEvent("d5")];
  await scenario.resume(
    { token: "t1", last: { red: "e12" }, direct: "d5" },
    welcome("t2", {}, "red"),
    ...again,
  );
  assertEquals(scenario.messageIds, ["e11", "e12", "e13"]);
  assertEquals(scenario.events.filter(({ type }) => type === "direct").length, 1);
  await scenario.client.close();
});

Deno.test("ChatClient compares event IDs within one room only", async () => {
  const scenario = await new Scenario({ rooms: ["red", "blue"] });
  const { socket } = scenario;
  await socket.openSocket();
  await socket.answer({ type: "login", nick: "Ann" }, welcome("t1"));
  await scenario.join("red", "e10");
  await scenario.join("blue", "b1");
  await socket.deliver(
    messageEvent("e55"),
    messageEvent("b2", { room: "blue" }),
    messageEvent("e56"),
    messageEvent("b2", { room: "blue" }),
  );
  assertEquals(scenario.messageIds, ["e55", "b2", "e56"]);
  await scenario.client.close();
});

Deno.test("after a lost welcome ChatClient resumes with the old token", async () => {
  const scenario = await new Scenario().logIn();
  await scenario.reconnect();
  scenario.socket.expectRequest({ type: "resume", token: "t1", last: { red: "e10" } });
  await scenario.reconnect();
  await scenario.resume({ token: "t1", last: { red: "e10" } }, welcome("t3", {}, "red"));
  assertEquals(scenario.saved?.tokens, ["t3"]);
  await scenario.client.close();
});

Deno.test("ChatClient keeps the old token until the server has answered a request over the new connection", async () => {
  const scenario = await new Scenario().logIn();
  await scenario.reconnect();
  const { ref } = scenario.socket.expectRequest({
    type: "resume",
    token: "t1",
    last: { red: "e10" },
  });
  await scenario.socket.deliver({ ...welcome("t2", {}, "red"), ref });
  assertEquals(scenario.saved?.tokens, ["t2", "t1"]);
  await scenario.reconnect();
  await scenario.socket.answer(
    { type: "resume", token: "t2", last: { red: "e10" } },
    errorReply("bad-token"),
  );
  await scenario.resume({ token: "t1", last: { red: "e10" } }, welcome("t3", {}, "red"));
  assertEquals(scenario.saved?.tokens, ["t3"]);
  assertEquals(scenario.errorCodes, []);
  await scenario.client.close();
});

Deno.test("a replay delivers a room that the client has left up to its own leave, and a room that it has entered", async () => {
  const scenario = await new Scenario().logIn();
  const { client } = scenario;
  const moves = [client.join("blue"), client.room("red").leave()]
    .map((promise) => outcomeOf<unknown>(promise));
  scenario.socket.requests.length = 0;
  await scenario.reconnect();
  await scenario.resume(
    { token: "t1", last: { red: "e10" } },
    welcome("t2", {}, "blue"),
    messageEvent("e11"),
    leftEvent("e12"),
    resumedLine({ room: "red", missed: 2 }),
    joinedEvent("e13", "blue"),
    messageEvent("e14", { room: "blue" }),
    resumedLine({ room: "blue", missed: 2 }),
  );
  await scenario.socket.deliver(messageEvent("e15"));
  assertEquals(scenario.messageIds, ["e11", "e14"]);
  assertEquals([moves.every((move) => "value" in move), client.rooms], [true, ["blue"]]);
  assertEquals(scenario.socket.requests, [], "neither is asked again");
  await scenario.reconnect();
  await scenario.resume({ token: "t2", last: { blue: "e14" } }, welcome("t3", {}, "blue"));
  await client.close();
});

Deno.test("a room that the session is not in any more is forgotten, with or without its resumed", async () => {
  for (
    const ends of [[resumedLine({ room: "red", recovered: false, reason: "not-in-room" })], []]
  ) {
    const scenario = await new Scenario().logIn();
    await scenario.reconnect();
    await scenario.resume(
      { token: "t1", last: { red: "e10" } },
      welcome("t2"),
      ...ends,
    );
    assertEquals(scenario.client.rooms, []);
    const reasons = scenario.events.flatMap((event) =>
      event.type === "resumed" && event.room ? event.reason : []
    );
    assertEquals(reasons, ends.map(() => "not-in-room"));
    await scenario.reconnect();
    await scenario.resume({ token: "t2", last: {} }, welcome("t3"));
    await scenario.client.close();
  }
});

Deno.test("resumed lines of unknown rooms, and those that nothing asked for, are ignored", async () => {
  const scenario = await new Scenario().logIn();
  await scenario.socket.deliver(resumedLine(), resumedLine({ room: "red" }));
  await scenario.reconnect();
  await scenario.resume(
    { token: "t1", last: { red: "e10" } },
    welcome("t2", {}, "red"),
    resumedLine({ room: "green", recovered: false, reason: "expired" }),
    messageEvent("e11", { room: "green" }),
  );
  await scenario.socket.deliver(resumedLine());
  const ends = scenario.events.filter((event) => event.type === "resumed");
  assertEquals(ends.map(({ room }) => room), ["red", undefined]);
  assertEquals([scenario.client.rooms, scenario.messageIds], [["red"], []]);
  await scenario.client.close();
});

Deno.test("a welcome that names further rooms of the session makes the client a member of them", async () => {
  const scenario = await new Scenario().logIn();
  await scenario.reconnect();
  await scenario.resume(
    { token: "t1", last: { red: "e10" } },
    welcome("t2", {}, "red", "blue"),
    messageEvent("e11", { room: "blue" }),
  );
  assertEquals([scenario.client.rooms, scenario.messageIds], [["red", "blue"], ["e11"]]);
  await scenario.client.close();
});

Deno.test("close code 4001 while two tokens are kept makes ChatClient reconnect: it may have taken over its own session", async () => {
  const scenario = await new Scenario().logIn();
  await scenario.reconnect();
  await scenario.socket.answer(
    { type: "resume", token: "t1", last: { red: "e10" } },
    welcome("t2", {}, "red"),
  );
  scenario.socket.close(4001);
  await settlePromises();
  assertEquals(scenario.client.state, "offline");
  await scenario.clock.advanceAsync(retryAt(scenario.events)! - scenario.clock.now());
  await scenario.socket.openSocket();
  const { ref } = scenario.socket.expectRequest({
    type: "resume",
    token: "t2",
    last: { red: "e10" },
  });
  await scenario.socket.deliver({ type: "error", ref, code: "bad-token", message: "" });
  await scenario.resume({ token: "t1", last: { red: "e10" } }, welcome("t3", {}, "red"));
  assertEquals(scenario.client.state, "online");
  await scenario.client.close();
});

for (const [code, reason] of [[4001, "taken-over"], [4002, "ended"]] as const) {
  Deno.test(`close code ${code} closes the client for good`, async () => {
    const scenario = await new Scenario().logIn();
    const said = outcomeOf(scenario.client.room("red").say("one"));
    await scenario.socket.drop(code);
    assertEquals(scenario.events.at(-1), { type: "state", state: "closed", reason });
    assertEquals([said.value, scenario.saved, scenario.clock.timerCount], ["closed", null, 0]);
    scenario.client.retryNow();
    await scenario.clock.advanceAsync(600_000);
    assertEquals(scenario.sockets.length, 1);
    await assertRejects(() => scenario.client.room("red").say("two"), ChatError);
  });
}

Deno.test("a new client resumes the session of one that was detached", async () => {
  const before = await new Scenario().logIn();
  await before.socket.deliver(messageEvent("e11"));
  await before.client.detach();
  assertEquals([before.socket.closeCode, before.clock.timerCount], [4000, 0]);
  const session = JSON.parse(JSON.stringify(before.saved));
  const after = new Scenario({ nick: "Nobody", rooms: ["elsewhere"] }, session);
  await after.socket.openSocket();
  await after.resume(
    { token: "t1", last: { red: "e11" } },
    welcome("t2", {}, "red"),
    messageEvent("e12"),
  );
  const { nick, rooms } = after.client;
  assertEquals([after.messageIds, nick, rooms], [["e12"], "Ann", ["red"]]);
  await after.client.close();
});
