/** How the client resumes a session after a lost connection. */
import { assertEquals, assertRejects } from "@std/assert";
import { ChatError } from "../../chat/client/client.js";
import { settlePromises } from "../support/fake_clock.ts";
import {
  errorReply,
  joinedEvent,
  messageEvent,
  outcomeOf,
  retryAt,
  Scenario,
  welcome,
} from "./scenario.ts";

Deno.test("after a lost connection ChatClient resumes with the IDs of the last events it saw", async () => {
  const scenario = await new Scenario().logIn();
  const direct = { type: "direct", id: "d7", nick: "Bob", text: "psst", time: 0 };
  await scenario.socket.deliver(messageEvent("e11"), direct, messageEvent("e12"));
  await scenario.reconnect();
  const missed = [messageEvent("e13"), { type: "resumed", recovered: true, missed: 1 }];
  await scenario.resume(
    { token: "t1", last: "e12", direct: "d7", sent: "" },
    welcome("t2", "red"),
    ...missed,
  );
  assertEquals(scenario.messageIds, ["e11", "e12", "e13"]);
  assertEquals(scenario.events.slice(-2).map(({ type }) => type), ["resumed", "state"]);
  await scenario.client.close();
});

Deno.test("ChatClient delivers a replayed event once", async () => {
  const scenario = await new Scenario().logIn();
  await scenario.socket.deliver(messageEvent("e11"), messageEvent("e12"));
  await scenario.reconnect();
  const again = [messageEvent("e11"), messageEvent("e12"), messageEvent("e13")];
  await scenario.resume({ token: "t1", last: "e12" }, welcome("t2", "red"), ...again);
  assertEquals(scenario.messageIds, ["e11", "e12", "e13"]);
  await scenario.client.close();
});

Deno.test("ChatClient compares event IDs within one room only", async () => {
  const scenario = await new Scenario().logIn();
  await scenario.socket.deliver(messageEvent("e55"));
  const left = { type: "left", id: "e56", room: "red", nick: "Ann", time: 0 };
  const done = scenario.client.join("blue");
  await scenario.socket.answer({ type: "join", room: "blue" }, { type: "ok", id: "b1" });
  await scenario.socket.deliver(
    left,
    joinedEvent("b1", "blue"),
    messageEvent("b2", { room: "blue" }),
  );
  await done;
  assertEquals(scenario.messageIds, ["e55", "b2"]);
  assertEquals(scenario.client.room, "blue");
  await scenario.reconnect();
  await scenario.resume({ token: "t1", last: "b2" }, welcome("t2", "blue"));
  await scenario.client.close();
});

Deno.test("after a lost welcome ChatClient resumes with the old token", async () => {
  const scenario = await new Scenario().logIn();
  await scenario.reconnect();
  scenario.socket.expectRequest({ type: "resume", token: "t1", last: "e10" });
  await scenario.reconnect();
  await scenario.resume({ token: "t1", last: "e10" }, welcome("t3", "red"));
  assertEquals(scenario.saved?.tokens, ["t3"]);
  await scenario.client.close();
});

Deno.test("ChatClient keeps the old token until the server has answered a request over the new connection", async () => {
  const scenario = await new Scenario().logIn();
  await scenario.reconnect();
  const { ref } = scenario.socket.expectRequest({ type: "resume", token: "t1", last: "e10" });
  await scenario.socket.deliver({ ...welcome("t2", "red"), ref });
  assertEquals(scenario.saved?.tokens, ["t2", "t1"]);
  await scenario.reconnect();
  await scenario.socket.answer(
    { type: "resume", token: "t2", last: "e10" },
    errorReply("bad-token"),
  );
  await scenario.resume({ token: "t1", last: "e10" }, welcome("t3", "red"));
  assertEquals(scenario.saved?.tokens, ["t3"]);
  assertEquals(scenario.errorCodes, []);
  await scenario.client.close();
});

Deno.test("a replay over two rooms delivers the old room up to the client's own leave, then the new room", async () => {
  const scenario = await new Scenario().logIn();
  const moved = outcomeOf(scenario.client.join("blue"));
  scenario.socket.expectRequest({ type: "join", room: "blue" });
  await scenario.reconnect();
  await scenario.resume(
    { token: "t1", last: "e10" },
    welcome("t2", "blue"),
    messageEvent("e11"),
    { type: "left", id: "e12", room: "red", nick: "Ann", time: 0 },
    joinedEvent("e13", "blue"),
    messageEvent("e14", { room: "blue" }),
  );
  assertEquals(scenario.messageIds, ["e11", "e14"]);
  assertEquals(["value" in moved, scenario.client.room], [true, "blue"]);
  assertEquals(scenario.socket.requests, [], "it is not asked again");
  await scenario.reconnect();
  await scenario.resume({ token: "t2", last: "e14" }, welcome("t3", "blue"));
  await scenario.client.close();
});

Deno.test("after an unrecovered replay that ends in another room ChatClient resumes from its last event there", async () => {
  for (const replayed of [[messageEvent("e14", { room: "blue" })], []]) {
    const scenario = await new Scenario().logIn();
    await scenario.reconnect();
    const gap = { type: "resumed", recovered: false, missed: 1, reason: "too-many" };
    await scenario.resume({ token: "t1", last: "e10" }, welcome("t2", "blue"), ...replayed, gap);
    assertEquals(scenario.client.room, "blue");
    await scenario.reconnect();
    const last = replayed.length > 0 ? { last: "e14" } : {};
    await scenario.resume({ token: "t2", ...last }, welcome("t3", "blue"));
    await scenario.client.close();
  }
});

Deno.test("received and sent direct messages are two orders of IDs", async () => {
  const scenario = await new Scenario().logIn();
  const got = { type: "direct", nick: "Bob", text: "psst", time: 0 };
  const sent = { ...got, nick: "Ann", to: "Bob" };
  await scenario.socket.deliver({ ...sent, id: "d5" }, { ...got, id: "d4" }, { ...got, id: "d4" });
  const directs = () => scenario.events.flatMap((each) => each.type === "direct" ? each.id : []);
  assertEquals(directs(), ["d5", "d4"]);
  await scenario.reconnect();
  await scenario.resume(
    { token: "t1", last: "e10", direct: "d4", sent: "d5" },
    welcome("t2", "red"),
    ...[{ ...got, id: "d4" }, { ...sent, id: "d5" }, { ...sent, id: "d6" }],
  );
  assertEquals(directs(), ["d5", "d4", "d6"]);
  await scenario.client.close();
});

Deno.test("close code 4001 while two tokens are kept makes ChatClient reconnect: it may have taken over its own session", async () => {
  const scenario = await new Scenario().logIn();
  await scenario.reconnect();
  await scenario.socket.answer({ type: "resume", token: "t1", last: "e10" }, welcome("t2", "red"));
  scenario.socket.close(4001);
  await settlePromises();
  assertEquals(scenario.client.state, "offline");
  await scenario.clock.advanceAsync(retryAt(scenario.events)! - scenario.clock.now());
  await scenario.socket.openSocket();
  const { ref } = scenario.socket.expectRequest({ type: "resume", token: "t2", last: "e10" });
  await scenario.socket.deliver({ type: "error", ref, code: "bad-token", message: "" });
  await scenario.resume({ token: "t1", last: "e10" }, welcome("t3", "red"));
  assertEquals(scenario.client.state, "online");
  await scenario.client.close();
});

Deno.test("close code 4001 closes the client for good", async () => {
  const scenario = await new Scenario().logIn();
  const said = outcomeOf(scenario.client.say("one"));
  await scenario.socket.drop(4001);
  assertEquals(scenario.events.at(-1), { type: "state", state: "closed", reason: "taken-over" });
  assertEquals([said.value, scenario.saved, scenario.clock.timerCount], ["closed", null, 0]);
  scenario.client.retryNow();
  await scenario.clock.advanceAsync(600_000);
  assertEquals(scenario.sockets.length, 1);
  await assertRejects(() => scenario.client.say("two"), ChatError);
});

Deno.test("a new client resumes the session of one that was detached", async () => {
  const before = await new Scenario().logIn();
  await before.socket.deliver(messageEvent("e11"));
  await before.client.detach();
  assertEquals([before.socket.closeCode, before.clock.timerCount], [4000, 0]);
  const session = JSON.parse(JSON.stringify(before.saved));
  const after = new Scenario({ nick: "Nobody", room: "elsewhere" }, session);
  await after.socket.openSocket();
  await after.resume({ token: "t1", last: "e11" }, welcome("t2", "red"), messageEvent("e12"));
  assertEquals([after.messageIds, after.client.nick, after.client.room], [["e12"], "Ann", "red"]);
  await after.client.close();
});
