/** Registered nicknames and their passwords in the client. */
import { assert, assertEquals } from "@std/assert";
import { errorReply, joinedEvent, outcomeOf, retryAt, Scenario, welcome } from "./scenario.ts";

Deno.test("register, changePassword and unregister send their requests and settle with the replies", async () => {
  const scenario = await new Scenario().logIn();
  const ok = { type: "ok" };
  const registered = scenario.client.register("correct-horse");
  await scenario.socket.answer({ type: "register", password: "correct-horse" }, ok);
  await registered;
  const changed = scenario.client.changePassword("correct-horse", "battery-staple");
  const change = { type: "password", password: "correct-horse", new: "battery-staple" };
  await scenario.socket.answer(change, ok);
  await changed;
  const refused = outcomeOf(scenario.client.unregister("wrong-horse"));
  const request = { type: "unregister", password: "wrong-horse" };
  await scenario.socket.answer(request, errorReply("wrong-password"));
  assertEquals(refused.value, "wrong-password");
  await scenario.client.close();
});

Deno.test("identify while online takes over the server's spelling of the nickname", async () => {
  const scenario = await new Scenario().logIn();
  const done = scenario.client.identify(" JENNY ", "correct-horse");
  const request = { type: "identify", nick: "JENNY", password: "correct-horse" };
  await scenario.socket.answer(request, { type: "ok", nick: "Jenny" });
  await done;
  assertEquals(scenario.client.nick, "Jenny");
  await scenario.client.close();
});

Deno.test("a registered nickname waits for identify, which logs in with the password", async () => {
  const scenario = new Scenario();
  await scenario.socket.openSocket();
  await scenario.socket.answer({ type: "login", nick: "Ann" }, errorReply("nickname-registered"));
  assertEquals([scenario.errorCodes, scenario.client.state], [["nickname-registered"], "offline"]);
  const identify = (password: string) => ({ type: "identify", nick: "Ann", password });
  const wrong = outcomeOf(scenario.client.identify("Ann", "wrong-horse"));
  await scenario.socket.openSocket();
  await scenario.socket.answer(identify("wrong-horse"), errorReply("wrong-password"));
  assertEquals(wrong.value, "wrong-password");
  // The client logs in without a password: the nickname may be free by now.
  await scenario.socket.answer({ type: "login", nick: "Ann" }, errorReply("nickname-registered"));
  const early = outcomeOf(scenario.client.identify("Ann", "early-horse"));
  await scenario.socket.openSocket();
  await scenario.socket.answer(identify("early-horse"), errorReply("wrong-password"));
  assertEquals(early.value, "wrong-password");
  // The user enters another password before the login is refused again.
  const right = scenario.client.identify("Ann", "correct-horse");
  await scenario.socket.answer({ type: "login", nick: "Ann" }, errorReply("nickname-registered"));
  await scenario.socket.answer(identify("correct-horse"), welcome("t1"));
  await scenario.socket.answer({ type: "join", room: "red" }, { type: "ok", id: "e10" });
  await right;
  assertEquals(scenario.client.state, "online");
  await scenario.client.close();
});

Deno.test("a client with a password logs in with it, also after a lost session", async () => {
  const scenario = new Scenario({ password: "correct-horse" });
  const identify = { type: "identify", nick: "Ann", password: "correct-horse" };
  await scenario.socket.openSocket();
  await scenario.socket.answer(identify, welcome("t1"));
  const { ref } = scenario.socket.expectRequest({ type: "join", room: "red" });
  await scenario.socket.deliver(joinedEvent("e10"), { type: "ok", ref, id: "e10" });
  assert(!JSON.stringify(scenario.saved).includes("horse"), "the password is not saved");
  await scenario.reconnect();
  await scenario.socket.answer(
    { type: "resume", token: "t1", last: "e10" },
    errorReply("bad-token"),
  );
  await scenario.socket.answer(identify, errorReply("nickname-taken"));
  // The server still keeps the nickname for the lost connection: the client asks again.
  await scenario.clock.advanceAsync(1000);
  await scenario.socket.answer(identify, welcome("t2"));
  await scenario.socket.answer({ type: "join", room: "red" }, { type: "ok", id: "e11" });
  await scenario.socket.answer({ type: "history", after: "e10", limit: 100 }, {
    type: "history",
    room: "red",
    events: [],
    more: false,
  });
  assertEquals(scenario.client.state, "online");
  await scenario.client.close();
});

Deno.test("a client with a password logs in without it if the nickname is not registered, and reports a wrong password", async () => {
  const scenario = new Scenario({ password: "correct-horse" });
  const identify = { type: "identify", nick: "Ann", password: "correct-horse" };
  await scenario.socket.openSocket();
  await scenario.socket.answer(identify, errorReply("not-registered"));
  await scenario.socket.answer({ type: "login", nick: "Ann" }, welcome("t1"));
  await scenario.client.close();
  const other = new Scenario({ password: "correct-horse" });
  await other.socket.openSocket();
  await other.socket.answer(identify, errorReply("too-many-attempts"));
  assert(retryAt(other.events) !== undefined, "the client retries by itself");
  await other.clock.advanceAsync(1000);
  await other.socket.openSocket();
  await other.socket.answer(identify, errorReply("wrong-password"));
  assertEquals(other.errorCodes, ["too-many-attempts", "wrong-password"]);
  assertEquals(retryAt(other.events), undefined);
  await other.client.close();
});
