/** The queue of calls: order, retries, limits and replies. */
import { assertEquals, assertRejects } from "@std/assert";
import { ChatError } from "../../chat/client/client.js";
import { settlePromises } from "../support/fake_clock.ts";
import {
  directEvent,
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

Deno.test("after a too-fast error ChatClient waits, then sends posts one at a time and in order", async () => {
  const scenario = await new Scenario().logIn();
  const said = ["one", "two", "three"].map((text) => scenario.client.room("red").say(text));
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
  void scenario.client.room("red").say("four").catch(() => {});
  void scenario.client.room("red").say("five").catch(() => {});
  assertEquals(scenario.socket.requests.length, 2);
  await scenario.client.close();
});

Deno.test("posts made while offline are sent in order; those behind a join wait for its reply, others do not", async () => {
  const scenario = await new Scenario().logIn();
  const { client } = scenario;
  await scenario.socket.drop();
  const red = client.room("red");
  const all = [red.say("one"), red.emote("waves"), client.tell("Bob", "two")];
  const joined = client.join("blue");
  const last = client.room("blue").say("three");
  const later = red.say("four");
  await scenario.clock.advanceAsync(250);
  await scenario.socket.openSocket();
  await scenario.resume({ token: "t1", last: { red: "e10" } }, welcome("t2", {}, "red"));
  const { socket } = scenario;
  await socket.answer({ type: "message", text: "one", room: "red" }, { type: "ok", id: "e11" });
  await socket.answer({ type: "action", text: "waves", room: "red" }, { type: "ok", id: "e12" });
  await socket.answer({ type: "direct", text: "two", to: "Bob" }, { type: "ok", id: "d1" });
  const { ref } = socket.expectRequest({ type: "join", room: "blue" });
  await socket.answer({ type: "message", text: "four", room: "red" }, { type: "ok", id: "e13" });
  assertEquals(socket.requests, [], "nothing overtakes the join in its room");
  await socket.deliver(joinedEvent("e14", "blue"), { type: "ok", ref, id: "e14" });
  await socket.answer({ type: "message", text: "three", room: "blue" }, { type: "ok", id: "e15" });
  assertEquals((await Promise.all(all)).map(({ id }) => id), ["e11", "e12", "d1"]);
  assertEquals((await joined).name, "blue");
  assertEquals([await last, await later], [{ id: "e15" }, { id: "e13" }]);
  await client.close();
});

for (const reason of ["expired", "too-many", "history-off", "unavailable"]) {
  Deno.test(`after an unrecovered replay (${reason}) a sent post is sent again, or is unknown if the session had expired`, async () => {
    const scenario = await new Scenario().logIn();
    const first = outcomeOf(scenario.client.room("red").say("one"));
    const directSent = outcomeOf(scenario.client.tell("Bob", "psst"));
    scenario.socket.expectRequest({ type: "message", text: "one", room: "red" });
    await scenario.socket.drop();
    const second = outcomeOf(scenario.client.room("red").say("two"));
    await scenario.clock.advanceAsync(250);
    await scenario.socket.openSocket();
    const gap = { recovered: false, missed: 0, reason };
    const ends = [resumedLine({ room: "red", ...gap }), resumedLine(gap)];
    await scenario.resume(
      { token: "t1", last: { red: "e10" } },
      welcome("t2", {}, "red"),
      ...ends,
    );
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
  const first = scenario.client.room("red").say("one");
  const { cid } = scenario.socket.expectRequest({ type: "message", text: "one", room: "red" });
  await scenario.socket.drop();
  const second = outcomeOf(scenario.client.room("red").say("two"));
  await scenario.clock.advanceAsync(250);
  await scenario.socket.openSocket();
  await scenario.resume({ token: "t1", last: { red: "e10" } }, welcome("t2", {}, "red"));
  const again = scenario.socket.expectRequest({ type: "message", text: "one", room: "red" });
  assertEquals(again.cid, cid);
  scenario.socket.expectRequest({ type: "message", text: "two", room: "red" });
  await scenario.socket.deliver({ type: "ok", ref: again.ref, id: "e11" });
  assertEquals(await first, { id: "e11" });
  assertEquals(second.value, undefined);
  await scenario.reconnect();
  await scenario.resume({ token: "t2", last: { red: "e10" } }, welcome("t3", {}, "red"));
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
  const said = outcomeOf(scenario.client.room("red").say("one"));
  const { cid } = scenario.socket.expectRequest({ type: "message", text: "one", room: "red" });
  await scenario.socket.deliver(messageEvent("e11", { cid }));
  assertEquals(said.value, undefined);
  await scenario.socket.deliver(messageEvent("e12", { cid, ...userOf("Ann") }));
  assertEquals(said.value, { id: "e12" });
  await scenario.client.close();
});

Deno.test("a move without a reply is not sent again if the resumed session shows that it was executed", async () => {
  const scenario = await new Scenario().logIn();
  const { client } = scenario;
  const joined = outcomeOf(client.join("blue"));
  const left = outcomeOf(client.room("red").leave());
  scenario.socket.expectRequest({ type: "join", room: "blue" });
  scenario.socket.expectRequest({ type: "leave", room: "red" });
  await scenario.reconnect();
  const missed = [
    leftEvent("e11"),
    resumedLine({ room: "red" }),
    joinedEvent("e12", "blue"),
  ];
  await scenario.resume(
    { token: "t1", last: { red: "e10" } },
    welcome("t2", {}, "blue"),
    ...missed,
  );
  assertEquals(["value" in joined, "value" in left, client.rooms], [true, true, ["blue"]]);
  const renamed = outcomeOf(client.rename("Anna"));
  scenario.socket.expectRequest({ type: "nick", nick: "Anna" });
  await scenario.reconnect();
  await scenario.resume({ token: "t2", last: { blue: "e12" } }, welcome("t3", {}, "blue"));
  await scenario.socket.answer({ type: "nick", nick: "Anna" }, { type: "ok" });
  assertEquals([renamed, client.nick], [{ value: undefined }, "Anna"]);
  assertEquals(scenario.socket.requests, []);
  await client.close();
});

Deno.test("nothing of a room is sent behind its join or leave, nor that before what concerns the room", async () => {
  const scenario = await new Scenario().logIn();
  const { client, socket } = scenario;
  const outcomes = [
    client.join("/"),
    client.room("/").say("one"),
    client.room("/").leave(),
    client.room("/").members(),
    client.room("red").say("two"),
  ].map((promise) => outcomeOf<unknown>(promise));
  const { ref } = socket.expectRequest({ type: "join", room: "/" });
  await socket.answer({ type: "message", text: "two", room: "red" }, { type: "ok", id: "e11" });
  assertEquals(socket.requests, []);
  await socket.deliver({ ...errorReply("bad-room"), ref });
  for (
    const request of [
      { type: "message", text: "one", room: "/" },
      { type: "leave", room: "/" },
      { type: "members", room: "/" },
    ]
  ) {
    assertEquals(socket.requests.length, 1);
    await socket.answer(request, errorReply("not-in-room"));
  }
  assertEquals(outcomes.map(({ value }) => value), [
    "bad-room",
    "not-in-room",
    "not-in-room",
    "not-in-room",
    { id: "e11" },
  ]);
  await client.close();
});

Deno.test("a call that changes the user is sent alone: posts come from the user that they were made for", async () => {
  const scenario = await new Scenario().logIn();
  const { client, socket } = scenario;
  const red = client.room("red");
  void red.say("as Ann").catch(() => {});
  void client.rename("Anna");
  void red.say("as Anna").catch(() => {});
  void client.register("correct-horse").catch(() => {});
  void red.say("registered").catch(() => {});
  const steps = [
    [{ type: "message", text: "as Ann", room: "red" }, { type: "ok", id: "e11" }],
    [{ type: "nick", nick: "Anna" }, { type: "ok", id: "e12" }],
    [{ type: "message", text: "as Anna", room: "red" }, { type: "ok", id: "e13" }],
    [{ type: "register", password: "correct-horse" }, { type: "ok", user: "u-anna" }],
    [{ type: "message", text: "registered", room: "red" }, { type: "ok", id: "e14" }],
  ] as const;
  for (const [request, reply] of steps) {
    assertEquals(socket.requests.length, 1);
    await socket.answer(request, reply);
  }
  assertEquals([client.nick, client.user, client.registered], ["Anna", "u-anna", true]);
  await client.close();
});

Deno.test("messages to different rooms may be answered out of order", async () => {
  const scenario = await new Scenario({ rooms: ["red", "blue"] });
  const { client, socket } = scenario;
  await socket.openSocket();
  await socket.answer({ type: "login", nick: "Ann" }, welcome("t1"));
  await scenario.join("red", "e10");
  await scenario.join("blue", "e11");
  const said = [client.room("red").say("one"), client.room("blue").say("two")];
  const one = socket.expectRequest({ type: "message", text: "one", room: "red" });
  const two = socket.expectRequest({ type: "message", text: "two", room: "blue" });
  await socket.deliver(
    { type: "ok", ref: two.ref, id: "e12" },
    { type: "ok", ref: one.ref, id: "e13" },
  );
  assertEquals(await Promise.all(said), [{ id: "e13" }, { id: "e12" }]);
  await client.close();
});

Deno.test("a join or leave that was not sent is replaced by the next one of the same room, a rename by the next rename", async () => {
  const scenario = await new Scenario().logIn();
  const { client } = scenario;
  await scenario.socket.drop();
  const moves = [
    client.join("blue"),
    client.room("red").leave(),
    client.room("blue").leave(),
    client.join("red"),
    client.join("blue"),
    client.rename("Anne"),
    client.rename("Anna"),
  ].map((promise) => outcomeOf<unknown>(promise));
  const said = outcomeOf(client.room("blue").say("one"));
  // A post lies between: both are sent.
  const left = outcomeOf(client.room("blue").leave());
  await scenario.clock.advanceAsync(250);
  const { socket } = scenario;
  await socket.openSocket();
  await scenario.resume({ token: "t1", last: { red: "e10" } }, welcome("t2", {}, "red"));
  await socket.answer({ type: "join", room: "red" }, { type: "ok" });
  await scenario.join("blue", "e11");
  await socket.answer({ type: "nick", nick: "Anna" }, { type: "ok", id: "e12" });
  await socket.answer({ type: "message", text: "one", room: "blue" }, { type: "ok", id: "e13" });
  await socket.answer({ type: "leave", room: "blue" }, { type: "ok", id: "e14" });
  const values = moves.map(({ value }) => value);
  assertEquals(values.slice(0, 3), ["replaced", "replaced", "replaced"]);
  assertEquals(values[5], "replaced");
  assertEquals([said.value, "value" in left], [{ id: "e13" }, true]);
  assertEquals([socket.requests, client.rooms], [[], ["red"]]);
  await client.close();
});

Deno.test("a read marker that waits to be sent is moved, and both calls get its reply", async () => {
  const scenario = await new Scenario().logIn();
  const { client, socket } = scenario;
  const tooFast = { type: "error", code: "too-fast", message: "Wait.", retryAfter: 3_000 };
  const [red, bob] = [client.room("red"), client.direct("u-bob")];
  const marked = [outcomeOf(red.markRead("e10"))];
  await socket.answer({ type: "read", room: "red", id: "e10" }, tooFast);
  for (const promise of [red.markRead("e11"), red.markRead("e13"), bob.markRead("d1")]) {
    marked.push(outcomeOf(promise));
  }
  assertEquals(socket.requests, []);
  await scenario.clock.advanceAsync(3_000);
  await socket.answer({ type: "read", room: "red", id: "e13" }, { type: "ok" });
  assertEquals(marked.map((outcome) => "value" in outcome), [true, true, true, false]);
  await socket.answer({ type: "read", with: "u-bob", id: "d1" }, errorReply("no-such-message"));
  assertEquals(marked[3]!.value, "no-such-message");
  assertEquals(socket.requests, []);
  await client.close();
});

Deno.test("a full outbox rejects a call, and accepts one after a reply", async () => {
  const scenario = await new Scenario({ outbox: 2 }).logIn();
  const said = ["one", "two", "three"].map((text) =>
    outcomeOf(scenario.client.room("red").say(text))
  );
  await settlePromises();
  assertEquals(said.map(({ value }) => value), [undefined, undefined, "full"]);
  const one = { type: "message", text: "one", room: "red" };
  await scenario.socket.answer(one, { type: "ok", id: "e11" });
  const four = outcomeOf(scenario.client.room("red").say("four"));
  await settlePromises();
  assertEquals(four.value, undefined);
  const closing = scenario.client.close();
  await settlePromises();
  assertEquals(said[1]!.value, "closed");
  await closing;
});

Deno.test("at most 64 calls and 131,072 characters are in flight", async () => {
  const scenario = await new Scenario().logIn();
  for (let i = 0; i < 70; i++) outcomeOf(scenario.client.room("red").say(String(i)));
  assertEquals(scenario.socket.requests.length, 64);
  await scenario.socket.answer({ type: "message", text: "0", room: "red" }, {
    type: "ok",
    id: "e",
  });
  assertEquals(scenario.socket.requests.length, 64);
  await scenario.client.close();
  const large = await new Scenario().logIn();
  for (let i = 0; i < 20; i++) outcomeOf(large.client.room("red").say("x".repeat(16_000)));
  assertEquals(large.socket.requests.length, 8);
  await assertRejects(
    () => large.client.room("red").say("x".repeat(70_000)),
    ChatError,
    "too many",
  );
  await large.client.close();
});

Deno.test("ChatClient sends nothing while the socket has more than 1 MiB of unsent data", async () => {
  const scenario = await new Scenario().logIn();
  scenario.socket.bufferedAmount = 1024 * 1024 + 1;
  outcomeOf(scenario.client.room("red").say("one"));
  await scenario.clock.advanceAsync(1_000);
  assertEquals(scenario.socket.requests, []);
  scenario.socket.bufferedAmount = 0;
  await scenario.clock.advanceAsync(50);
  scenario.socket.expectRequest({ type: "message", text: "one", room: "red" });
  await scenario.client.close();
});

Deno.test("a post is sent four times while the storage is unavailable", async () => {
  const scenario = await new Scenario().logIn();
  const said = outcomeOf(scenario.client.room("red").say("one"));
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
  const scenario = new Scenario({ rooms: [] });
  await scenario.socket.openSocket();
  await scenario.socket.answer({ type: "login", nick: "Ann" }, welcome("t1"));
  const directSent = outcomeOf(scenario.client.tell("Bob", "psst"));
  const direct = { type: "direct", to: "Bob", text: "psst" };
  await scenario.socket.answer(direct, errorReply("unavailable"));
  await scenario.reconnect();
  await scenario.socket.answer({ type: "resume", token: "t1", last: {} }, errorReply("bad-token"));
  await scenario.socket.answer({ type: "login", nick: "Ann" }, welcome("n1", { user: "u-ann-2" }));
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
  const bob = { type: "who", ...userOf("Bob"), rooms: ["red"], online: true };
  await scenario.socket.answer({ type: "who", nick: "bob" }, bob);
  assertEquals([directSent.value, who.value], [
    "not-online",
    { ...userOf("Bob"), rooms: ["red"], online: true },
  ]);
  await scenario.client.close();
});

Deno.test("a query is sent once: it rejects when the connection is lost, or after 30 s", async () => {
  const scenario = await new Scenario().logIn();
  const list = outcomeOf(scenario.client.list());
  const edit = outcomeOf(scenario.client.room("red").edit("e9", "better"));
  await scenario.socket.drop();
  await settlePromises();
  assertEquals([list.value, edit.value], ["offline", "offline"]);
  const members = outcomeOf(scenario.client.room("red").members());
  await scenario.clock.advanceAsync(30_000);
  assertEquals(members.value, "offline");
  await scenario.client.close();
});

Deno.test("each call sends its request and resolves to what the reply says", async () => {
  const scenario = await new Scenario().logIn();
  const { client, socket } = scenario;
  const [red, bob] = [client.room("red"), client.direct("u-bob")];
  const page = historyReply([messageEvent("e5")], { more: true });
  const directs = [directEvent("d5", { kept: true })];
  const session = { session: "s2", since: 5, protocol: "text" };
  const calls: [() => Promise<unknown>, Line, Line, unknown][] = [
    [() => red.edit("e9", "x"), { type: "edit", room: "red", id: "e9", text: "x" }, {
      type: "ok",
      id: "e11",
    }, undefined],
    [() => red.delete("e9"), { type: "delete", room: "red", id: "e9" }, { type: "ok" }, undefined],
    [() => red.members(), { type: "members", room: "red" }, {
      type: "members",
      room: "red",
      members: [userOf("Ann"), { ...userOf("Bob"), registered: true, x: 1 }],
      more: true,
    }, {
      room: "red",
      members: [userOf("Ann"), { ...userOf("Bob"), registered: true }],
      more: true,
    }],
    [
      () => red.history({ after: "e1", limit: 5 }),
      { type: "history", room: "red", after: "e1", limit: 5 },
      page,
      { events: [messageEvent("e5")], more: true, complete: true },
    ],
    [() => bob.say("psst"), { type: "direct", user: "u-bob", text: "psst" }, {
      type: "ok",
      id: "d6",
      kept: true,
    }, { id: "d6", kept: true }],
    [() => client.tell("Bob", "psst"), { type: "direct", to: "Bob", text: "psst" }, {
      type: "ok",
      id: "d7",
    }, { id: "d7" }],
    [() => bob.edit("d5", "x"), { type: "edit", with: "u-bob", id: "d5", text: "x" }, {
      type: "ok",
    }, undefined],
    [() => bob.delete("d5"), { type: "delete", with: "u-bob", id: "d5" }, {
      type: "ok",
    }, undefined],
    [
      () => bob.history(),
      { type: "history", with: "u-bob" },
      { type: "history", with: "u-bob", events: directs, more: false },
      { events: directs, more: false },
    ],
    [() => client.list(), { type: "rooms" }, {
      type: "rooms",
      rooms: [{ room: "red", people: 2 }],
    }, [{ room: "red", people: 2 }]],
    [() => client.sessions(), { type: "sessions" }, {
      type: "sessions",
      sessions: [session],
    }, [session]],
    [() => client.endSession("s2"), { type: "end", session: "s2" }, { type: "ok" }, undefined],
  ];
  for (const [call, request, reply, wanted] of calls) {
    const result = call();
    await socket.answer(request, reply);
    assertEquals(await result, wanted);
  }
  await client.close();
});

Deno.test("a reply of another type rejects its call as malformed", async () => {
  const scenario = await new Scenario().logIn();
  const { client, socket } = scenario;
  const red = client.room("red");
  const asked = [red.members(), red.history(), client.list(), client.sessions()]
    .map((promise) => outcomeOf<unknown>(promise));
  for (const { ref } of socket.requests.splice(0)) await socket.deliver({ type: "ok", ref });
  assertEquals(asked.map(({ value }) => value), Array(4).fill("malformed"));
  await client.close();
});
