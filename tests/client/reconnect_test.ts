/** How the client connects: login, reconnect delays, pings and close codes. */
import { assert, assertEquals } from "@std/assert";
import { messageEvent, retryAt, Scenario, ScriptedSocket, welcome } from "./scenario.ts";

Deno.test("ChatClient logs in, enters its room and reports that it is online", async () => {
  const { client, events } = await new Scenario().logIn();
  assertEquals(events.map((event) => event.type === "state" ? event.state : event.type), [
    "welcome",
    "online",
    "joined",
  ]);
  assertEquals(
    [client.nick, client.user, client.rooms, client.room("red").joined, client.state],
    ["Ann", "u-ann", ["red"], true, "online"],
  );
  await client.close();
});

Deno.test("ChatClient doubles the longest reconnect delay up to 30 s, and waits at least 250 ms", async () => {
  for (
    const [spread, wanted] of [[0, [250, 250, 250, 250, 250, 250, 250, 250]], [
      1,
      [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000],
    ]] as const
  ) {
    const { client, clock, sockets, events } = new Scenario();
    clock.jitterValue = spread;
    for (const pause of wanted) {
      const since = clock.now();
      await sockets.at(-1)!.drop();
      assertEquals(retryAt(events), since + pause);
      const before = sockets.length;
      await clock.advanceAsync(pause - 1);
      assertEquals(sockets.length, before);
      await clock.advanceAsync(1);
      assertEquals(sockets.length, before + 1);
    }
    await client.close();
  }
});

Deno.test("reconnect delays keep growing after a short time online, and start again after 10 s", async () => {
  const scenario = new Scenario();
  scenario.clock.jitterValue = 1;
  await scenario.socket.drop();
  await scenario.clock.advanceAsync(500);
  await scenario.logIn();
  const pause = () => retryAt(scenario.events)! - scenario.clock.now();
  await scenario.clock.advanceAsync(9_999);
  await scenario.socket.drop();
  assertEquals(pause(), 1000);
  await scenario.clock.advanceAsync(1000);
  await scenario.socket.openSocket();
  await scenario.resume({ token: "t1", last: { red: "e10" } }, welcome("t2", {}, "red"));
  await scenario.clock.advanceAsync(10_000);
  await scenario.socket.drop();
  assertEquals(pause(), 500);
  await scenario.client.close();
});

Deno.test("after close code 1008 ChatClient waits at least 15 s", async () => {
  const scenario = await new Scenario().logIn();
  await scenario.socket.drop(1008);
  await scenario.clock.advanceAsync(14_999);
  assertEquals(scenario.sockets.length, 1);
  await scenario.clock.advanceAsync(1);
  assertEquals(scenario.sockets.length, 2);
  await scenario.client.close();
});

Deno.test("after close code 1013 the delay doubles each time, also if the client was online for 19 s between", async () => {
  const scenario = await new Scenario().logIn();
  let sockets = 1;
  for (const pause of [250, 500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000]) {
    await scenario.socket.drop(1013);
    await scenario.clock.advanceAsync(pause - 1);
    assertEquals(scenario.sockets.length, sockets, `${pause} ms`);
    await scenario.clock.advanceAsync(1);
    assertEquals(scenario.sockets.length, ++sockets, `${pause} ms`);
    await scenario.socket.openSocket();
    await scenario.resume(
      { token: `t${sockets - 1}`, last: { red: "e10" } },
      welcome(`t${sockets}`, {}, "red"),
    );
    await scenario.clock.advanceAsync(19_000);
  }
  // After 5 minutes online the delay starts again.
  for (let i = 0; i < 30; i++) {
    await scenario.clock.advanceAsync(10_000);
    for (const { ref } of scenario.socket.requests.splice(0)) {
      await scenario.socket.deliver({ type: "pong", ref });
    }
  }
  await scenario.socket.drop(1013);
  await scenario.clock.advanceAsync(250);
  assertEquals(scenario.sockets.length, ++sockets);
  await scenario.client.close();
});

Deno.test("ChatClient offers an access token as a subprotocol in base64url", async () => {
  const offered: unknown[] = [];
  const connect = (_: string, protocols: string | string[]) => {
    offered.push(protocols);
    return new ScriptedSocket();
  };
  for (const access of ["correct-horse!", "öäü", ">>>???>>>"]) {
    await new Scenario({ access, connect }).client.close();
  }
  assertEquals(offered, [
    ["chat.v1", "chat.token.Y29ycmVjdC1ob3JzZSE"],
    ["chat.v1", "chat.token.w7bDpMO8"],
    ["chat.v1", "chat.token.Pj4-Pz8_Pj4-"],
  ]);
});

Deno.test("retryNow reconnects at once", async () => {
  const scenario = await new Scenario().logIn();
  await scenario.socket.drop();
  scenario.client.retryNow();
  assertEquals(scenario.sockets.length, 2);
  await scenario.clock.advanceAsync(9_000);
  assertEquals(scenario.sockets.length, 2);
  await scenario.client.close();
});

Deno.test("ChatClient pings a server that is silent for 20 s, and abandons the connection 15 s later", async () => {
  const scenario = await new Scenario().logIn();
  await scenario.clock.advanceAsync(20_000);
  await scenario.socket.answer({ type: "ping" }, { type: "pong" });
  await scenario.clock.advanceAsync(15_000);
  assertEquals(scenario.client.state, "online");
  await scenario.clock.advanceAsync(5_000);
  scenario.socket.expectRequest({ type: "ping" });
  await scenario.clock.advanceAsync(14_999);
  assertEquals(scenario.client.state, "online");
  await scenario.clock.advanceAsync(1);
  assertEquals([scenario.client.state, scenario.socket.closeCode], ["offline", 4000]);
  await scenario.client.close();
});

Deno.test("ChatClient does not ping a server that sends lines", async () => {
  const scenario = await new Scenario().logIn();
  for (let i = 0; i < 10; i++) {
    await scenario.clock.advanceAsync(15_000);
    await scenario.socket.deliver(messageEvent(`e2${i}`));
  }
  assertEquals(scenario.socket.requests, []);
  await scenario.client.close();
});

Deno.test("ChatClient abandons a connection that does not open in 10 s, or does not answer within 5 s of retryNow", async () => {
  const scenario = new Scenario();
  await scenario.clock.advanceAsync(10_000);
  assertEquals([scenario.client.state, scenario.socket.closeCode], ["offline", 4000]);
  scenario.client.retryNow();
  await scenario.logIn();
  scenario.client.retryNow();
  scenario.socket.expectRequest({ type: "ping" });
  await scenario.clock.advanceAsync(5_000);
  assertEquals([scenario.client.state, scenario.socket.closeCode], ["offline", 4000]);
  await scenario.client.close();
});

Deno.test("a malformed reply to the login ends the connection", async () => {
  const scenario = new Scenario();
  await scenario.socket.openSocket();
  const { ref } = scenario.socket.expectRequest({ type: "login", nick: "Ann" });
  await scenario.socket.deliver({ type: "welcome", ref });
  assertEquals([scenario.client.state, scenario.errorCodes], ["offline", ["malformed"]]);
  assert(retryAt(scenario.events) !== undefined, "the client tries again");
  await scenario.client.close();
});

Deno.test("a login or resume that is answered with another reply ends the connection", async () => {
  const scenario = new Scenario();
  await scenario.socket.openSocket();
  await scenario.socket.answer({ type: "login", nick: "Ann" }, { type: "ok" });
  assertEquals([scenario.client.state, scenario.errorCodes], ["offline", ["malformed"]]);
  await scenario.clock.advanceAsync(250);
  await scenario.logIn();
  await scenario.reconnect();
  const resume = { type: "resume", token: "t1", last: { red: "e10" } };
  await scenario.socket.answer(resume, { type: "pong" });
  assertEquals([scenario.client.state, scenario.errorCodes.length], ["offline", 2]);
  assertEquals(scenario.saved?.tokens, ["t1"]);
  await scenario.client.close();
});

Deno.test("ChatClient sends nothing to a server that does not speak chat.v1", async () => {
  const scenario = new Scenario();
  scenario.socket.protocol = "";
  await scenario.socket.openSocket();
  assertEquals([scenario.client.state, scenario.errorCodes], ["offline", ["malformed"]]);
  assertEquals(scenario.socket.requests, []);
  await scenario.client.close();
});
