/** The queue of calls: order, retries, limits and replies. */
import { assertEquals, assertRejects } from "@std/assert";
import { ChatError } from "../../chat/client/client.js";
import { settlePromises } from "../support/fake_clock.ts";
import { errorReply, messageEvent, outcomeOf, Scenario, welcome } from "./scenario.ts";

Deno.test("after a too-fast error ChatClient waits, then sends posts one at a time and in order", async () => {
  const scenario = await new Scenario().logIn();
  const said = ["one", "two", "three"].map((text) => scenario.client.say(text));
  const request = (text: string) => ({ type: "message", text, room: "red" });
  const tooFast = { type: "error", code: "too-fast", message: "Wait.", retryAfter: 3_000 };
  await scenario.socket.answer(request("one"), tooFast);
  await scenario.socket.answer(request("two"), tooFast);
  await scenario.socket.answer(request("three"), tooFast);
  await scenario.clock.advanceAsync(2_999);
  assertEquals(scenario.socket.requests, []);
  await scenario.clock.advanceAsync(1);
  for (const [i, text] of ["one", "two", "three"].entries()) {
    await scenario.socket.answer(request(text), { type: "ok", id: `e2${i}` });
    assertEquals(scenario.socket.requests.length, i < 2 ? 1 : 0);
    assertEquals(await said[i], { id: `e2${i}` });
  }
  // 30 seconds later several calls are in flight again.
  await scenario.clock.advanceAsync(19_000);
  await scenario.clock.advanceAsync(12_000);
  scenario.socket.expectRequest({ type: "ping" });
  void scenario.client.say("four").catch(() => {});
  void scenario.client.say("five").catch(() => {});
  assertEquals(scenario.socket.requests.length, 2);
  await scenario.client.close();
});

Deno.test("posts made while offline are sent in order, each to the room that the client was in", async () => {
  const scenario = await new Scenario().logIn();
  await scenario.socket.drop();
  const all = [
    scenario.client.say("one"),
    scenario.client.act("waves"),
    scenario.client.tell("Bob", "two"),
  ];
  const moved = scenario.client.join("blue");
  const last = scenario.client.say("three");
  await scenario.clock.advanceAsync(250);
  await scenario.socket.openSocket();
  await scenario.resume({ token: "t1", last: "e10" }, welcome("t2", "red"));
  const { socket } = scenario;
  await socket.answer({ type: "message", text: "one", room: "red" }, { type: "ok", id: "e11" });
  await socket.answer({ type: "action", text: "waves", room: "red" }, { type: "ok", id: "e12" });
  assertEquals(socket.requests.length, 1, "nothing overtakes the join");
  await socket.answer({ type: "direct", text: "two", to: "Bob" }, { type: "ok", id: "d1" });
  await socket.answer({ type: "join", room: "blue" }, { type: "ok", id: "b1" });
  await socket.answer({ type: "message", text: "three", room: "blue" }, { type: "ok", id: "b2" });
  assertEquals((await Promise.all(all)).map(({ id }) => id), ["e11", "e12", "d1"]);
  await moved;
  assertEquals(await last, { id: "b2" });
  await scenario.client.close();
});

for (const reason of ["expired", "too-many", "history-off", "unavailable"]) {
  Deno.test(`after an unrecovered replay (${reason}) a sent post is sent again, or is unknown if the session had expired`, async () => {
    const scenario = await new Scenario().logIn();
    const first = outcomeOf(scenario.client.say("one"));
    const directSent = outcomeOf(scenario.client.tell("Bob", "psst"));
    scenario.socket.expectRequest({ type: "message", text: "one", room: "red" });
    await scenario.socket.drop();
    const second = outcomeOf(scenario.client.say("two"));
    await scenario.clock.advanceAsync(250);
    await scenario.socket.openSocket();
    const gap = { type: "resumed", recovered: false, missed: 0, reason };
    await scenario.resume({ token: "t1", last: "e10" }, welcome("t2", "red"), gap);
    const one = { type: "message", text: "one", room: "red" };
    const psst = { type: "direct", text: "psst", to: "Bob" };
    if (reason !== "expired") {
      await scenario.socket.answer(one, { type: "ok", id: "e11" });
      await scenario.socket.answer(psst, { type: "ok", id: "d1" });
    }
    // A post that was never sent is sent in any case.
    await scenario.socket.answer({ type: "message", text: "two", room: "red" }, {
      type: "ok",
      id: "e20",
    });
    const asked = [{ id: "e11" }, { id: "d1" }];
    const unknown = ["unknown", "unknown"];
    assertEquals([first.value, directSent.value], reason === "expired" ? unknown : asked);
    assertEquals(second.value, { id: "e20" });
    assertEquals(scenario.socket.requests, []);
    await scenario.client.close();
  });
}

Deno.test("a post without a reply is sent again with its cid, before later posts, and settles once", async () => {
  const scenario = await new Scenario().logIn();
  const first = scenario.client.say("one");
  const { cid } = scenario.socket.expectRequest({ type: "message", text: "one", room: "red" });
  await scenario.socket.drop();
  const second = outcomeOf(scenario.client.say("two"));
  await scenario.clock.advanceAsync(250);
  await scenario.socket.openSocket();
  await scenario.resume({ token: "t1", last: "e10" }, welcome("t2", "red"));
  const again = scenario.socket.expectRequest({ type: "message", text: "one", room: "red" });
  assertEquals(again.cid, cid);
  scenario.socket.expectRequest({ type: "message", text: "two", room: "red" });
  await scenario.socket.deliver({ type: "ok", ref: again.ref, id: "e11" });
  assertEquals(await first, { id: "e11" });
  assertEquals(second.value, undefined);
  await scenario.reconnect();
  await scenario.resume({ token: "t2", last: "e10" }, welcome("t3", "red"));
  await scenario.socket.answer({ type: "message", text: "two", room: "red" }, {
    type: "ok",
    id: "e12",
  });
  assertEquals(second.value, { id: "e12" });
  assertEquals(scenario.socket.requests, []);
  await scenario.client.close();
});

Deno.test("the client's own event settles a post; another user's event with the same cid does not", async () => {
  const scenario = await new Scenario().logIn();
  const said = outcomeOf(scenario.client.say("one"));
  const { cid } = scenario.socket.expectRequest({ type: "message", text: "one", room: "red" });
  await scenario.socket.deliver(messageEvent("e11", { cid }));
  assertEquals(said.value, undefined);
  await scenario.socket.deliver(messageEvent("e12", { cid, nick: "Ann" }));
  assertEquals(said.value, { id: "e12" });
  await scenario.client.close();
});

Deno.test("a move without a reply is not sent again if the resumed session shows that it was executed", async () => {
  const scenario = await new Scenario().logIn();
  const moved = outcomeOf(scenario.client.join("blue"));
  scenario.socket.expectRequest({ type: "join", room: "blue" });
  await scenario.reconnect();
  await scenario.resume({ token: "t1", last: "e10" }, welcome("t2", "blue"));
  assertEquals([moved, scenario.client.room], [{ value: undefined }, "blue"]);
  const renamed = outcomeOf(scenario.client.rename("Anna"));
  scenario.socket.expectRequest({ type: "nick", nick: "Anna" });
  await scenario.reconnect();
  await scenario.resume({ token: "t2" }, welcome("t3", "blue"));
  await scenario.socket.answer({ type: "nick", nick: "Anna" }, { type: "ok" });
  assertEquals([renamed, scenario.client.nick], [{ value: undefined }, "Anna"]);
  assertEquals(scenario.socket.requests, []);
  await scenario.client.close();
});

Deno.test("nothing is sent behind a move until its reply arrives", async () => {
  const scenario = await new Scenario().logIn();
  const moved = outcomeOf(scenario.client.join("/"));
  const said = outcomeOf(scenario.client.say("one"));
  const { ref } = scenario.socket.expectRequest({ type: "join", room: "/" });
  assertEquals(scenario.socket.requests, []);
  await scenario.socket.deliver({ ...errorReply("bad-room"), ref });
  await scenario.socket.answer(
    { type: "message", text: "one", room: "/" },
    errorReply("not-in-room"),
  );
  assertEquals([moved.value, said.value], ["bad-room", "not-in-room"]);
  await scenario.client.close();
});

Deno.test("moves made while offline replace each other: only the last one is sent", async () => {
  const scenario = await new Scenario().logIn();
  await scenario.socket.drop();
  const moves = [
    scenario.client.join("blue"),
    scenario.client.leave(),
    scenario.client.join("green"),
  ]
    .map(outcomeOf);
  await scenario.clock.advanceAsync(250);
  await scenario.socket.openSocket();
  await scenario.resume({ token: "t1", last: "e10" }, welcome("t2", "red"));
  await scenario.socket.answer({ type: "join", room: "green" }, { type: "ok", id: "g1" });
  assertEquals(moves.map(({ value }) => value), ["replaced", "replaced", undefined]);
  assertEquals(scenario.socket.requests, []);
  await scenario.client.close();
});

Deno.test("a full outbox rejects a call, and accepts one after a reply", async () => {
  const scenario = await new Scenario({ outbox: 2 }).logIn();
  const said = ["one", "two", "three"].map((text) => outcomeOf(scenario.client.say(text)));
  await settlePromises();
  assertEquals(said.map(({ value }) => value), [undefined, undefined, "full"]);
  const one = { type: "message", text: "one", room: "red" };
  await scenario.socket.answer(one, { type: "ok", id: "e11" });
  const four = outcomeOf(scenario.client.say("four"));
  await settlePromises();
  assertEquals(four.value, undefined);
  const closing = scenario.client.close();
  await settlePromises();
  assertEquals(said[1]!.value, "closed");
  await closing;
});

Deno.test("at most 64 calls and 131,072 characters are in flight", async () => {
  const scenario = await new Scenario().logIn();
  for (let i = 0; i < 70; i++) outcomeOf(scenario.client.say(String(i)));
  assertEquals(scenario.socket.requests.length, 64);
  await scenario.socket.answer({ type: "message", text: "0", room: "red" }, {
    type: "ok",
    id: "e",
  });
  assertEquals(scenario.socket.requests.length, 64);
  await scenario.client.close();
  const large = await new Scenario().logIn();
  for (let i = 0; i < 20; i++) outcomeOf(large.client.say("x".repeat(16_000)));
  assertEquals(large.socket.requests.length, 8);
  await assertRejects(() => large.client.say("x".repeat(70_000)), ChatError, "too many");
  await large.client.close();
});

Deno.test("ChatClient sends nothing while the socket has more than 1 MiB of unsent data", async () => {
  const scenario = await new Scenario().logIn();
  scenario.socket.bufferedAmount = 1024 * 1024 + 1;
  outcomeOf(scenario.client.say("one"));
  await scenario.clock.advanceAsync(1_000);
  assertEquals(scenario.socket.requests, []);
  scenario.socket.bufferedAmount = 0;
  await scenario.clock.advanceAsync(50);
  scenario.socket.expectRequest({ type: "message", text: "one", room: "red" });
  await scenario.client.close();
});

Deno.test("a post is sent four times while the storage is unavailable", async () => {
  const scenario = await new Scenario().logIn();
  const said = outcomeOf(scenario.client.say("one"));
  const one = { type: "message", text: "one", room: "red" };
  for (let i = 0; i < 4; i++) {
    assertEquals(said.value, undefined);
    await scenario.socket.answer(one, errorReply("unavailable"));
    assertEquals(scenario.socket.requests, []);
    await scenario.clock.advanceAsync(8_000);
  }
  assertEquals([said.value, scenario.socket.requests], ["unavailable", []]);
  await scenario.client.close();
});

Deno.test("a post that was rejected as unavailable is not sent again in a new session", async () => {
  const scenario = new Scenario({ room: undefined });
  await scenario.socket.openSocket();
  await scenario.socket.answer({ type: "login", nick: "Ann" }, welcome("t1"));
  const directSent = outcomeOf(scenario.client.tell("Bob", "psst"));
  const direct = { type: "direct", to: "Bob", text: "psst" };
  await scenario.socket.answer(direct, errorReply("unavailable"));
  await scenario.reconnect();
  await scenario.socket.answer({ type: "resume", token: "t1" }, errorReply("bad-token"));
  await scenario.socket.answer({ type: "login", nick: "Ann" }, welcome("n1"));
  assertEquals(directSent.value, "unknown");
  assertEquals(scenario.socket.requests, []);
  await scenario.client.close();
  assertEquals(scenario.clock.timerCount, 0);
});

Deno.test("an error reply rejects its call and no other", async () => {
  const scenario = await new Scenario().logIn();
  const directSent = outcomeOf(scenario.client.tell("Cy", "psst"));
  const who = outcomeOf(scenario.client.who("bob"));
  const direct = { type: "direct", to: "Cy", text: "psst" };
  await scenario.socket.answer(direct, errorReply("not-online"));
  const bob = { type: "who", nick: "Bob", room: null };
  await scenario.socket.answer({ type: "who", nick: "bob" }, bob);
  assertEquals([directSent.value, who.value], ["not-online", { nick: "Bob", room: null }]);
  await scenario.client.close();
});

Deno.test("a query is sent once: it rejects when the connection is lost, or after 30 s", async () => {
  const scenario = await new Scenario().logIn();
  const rooms = outcomeOf(scenario.client.rooms());
  await scenario.socket.drop();
  await settlePromises();
  assertEquals(rooms.value, "offline");
  const members = outcomeOf(scenario.client.members());
  await scenario.clock.advanceAsync(30_000);
  assertEquals(members.value, "offline");
  await scenario.client.close();
});
