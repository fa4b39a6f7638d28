/** Registered nicknames and their passwords in the client. */
import { assert, assertEquals } from "@std/assert";
import type { WelcomeEvent } from "../../chat/client/client.d.ts";
import {
  directEvent,
  errorReply,
  historyReply,
  messageEvent,
  outcomeOf,
  retryAt,
  Scenario,
  userOf,
  welcome,
} from "./scenario.ts";

Deno.test("register, changePassword and unregister send their requests and settle with the replies", async () => {
  const scenario = await new Scenario().logIn();
  const ok = { type: "ok" };
  const { client } = scenario;
  const registered = client.register("correct-horse");
  const register = { type: "register", password: "correct-horse" };
  await scenario.socket.answer(register, { ...ok, user: "u-registered" });
  await registered;
  assertEquals([client.user, client.registered, client.nick], ["u-registered", true, "Ann"]);
  const changed = scenario.client.changePassword("correct-horse", "battery-staple");
  const change = { type: "password", password: "correct-horse", new: "battery-staple" };
  await scenario.socket.answer(change, { ...ok, token: "t2" });
  await changed;
  assertEquals(scenario.saved?.tokens, ["t2"]);
  const refused = outcomeOf(scenario.client.unregister("wrong-horse"));
  const request = { type: "unregister", password: "wrong-horse" };
  await scenario.socket.answer(request, errorReply("wrong-password"));
  assertEquals([refused.value, client.registered], ["wrong-password", true]);
  const unregistered = client.unregister("battery-staple");
  await scenario.socket.answer({ ...request, password: "battery-staple" }, { ...ok, user: "s1" });
  await unregistered;
  assertEquals([client.user, client.registered], ["s1", false]);
  await scenario.client.close();
});

Deno.test("identify while online takes over the server's spelling of the nickname", async () => {
  const scenario = await new Scenario().logIn();
  const done = scenario.client.identify(" JENNY ", "correct-horse");
  const request = { type: "identify", nick: "JENNY", password: "correct-horse" };
  await scenario.socket.answer(request, {
    type: "ok",
    user: "u-jenny",
    nick: "Jenny",
    registered: true,
    rooms: [{ room: "red", joined: true }],
    directs: [],
  });
  await done;
  const { type, rooms } = scenario.events.at(-1) as WelcomeEvent;
  assertEquals({ type, rooms }, { type: "welcome", rooms: [{ room: "red", joined: true }] });
  const { user, nick, registered } = scenario.client;
  assertEquals({ user, nick, registered }, { ...userOf("Jenny"), registered: true });
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

Deno.test("a client with a password logs in with it, also after a lost session, and sees each direct message once", async () => {
  const scenario = new Scenario({ password: "correct-horse" });
  const { client } = scenario;
  const identify = { type: "identify", nick: "Ann", password: "correct-horse" };
  await scenario.socket.openSocket();
  const more = { registered: true };
  await scenario.socket.answer(identify, welcome("t1", more), directEvent("d1"));
  await scenario.join("red", "e10");
  await scenario.socket.deliver(directEvent("d2"));
  assert(!JSON.stringify(scenario.saved).includes("horse"), "the password is not saved");
  for (const [i, unread] of [3, 4].entries()) {
    await scenario.reconnect();
    const { socket } = scenario;
    const resume = { type: "resume", token: `t${i + 1}`, last: { red: "e10" } };
    await socket.answer({ ...resume, direct: i === 0 ? "d2" : "d3" }, errorReply("bad-token"));
    const directs = [{ ...userOf("Bob"), unread }];
    await socket.answer(
      identify,
      welcome(`t${i + 2}`, { ...more, directs }),
      ...["d1", "d2", "d3"].map((id) => directEvent(id)),
    );
    await socket.answer({ type: "ping" }, { type: "pong" });
    const { ref } = socket.expectRequest({ type: "join", room: "red" });
    await socket.deliver({ type: "ok", ref, id: "e11" });
    const history = { type: "history", room: "red", after: "e10", limit: 100 };
    await socket.answer(history, historyReply([]));
  }
  const directs = scenario.events.flatMap((event) => event.type === "direct" ? event.id : []);
  assertEquals(directs, ["d1", "d2", "d3"]);
  const resumed = scenario.events.filter((event) => event.type === "resumed" && !event.room);
  assertEquals(resumed as unknown[], [
    { type: "resumed", recovered: true, missed: 1 },
    { type: "resumed", recovered: false, missed: 0, reason: "too-many" },
  ]);
  assertEquals([client.state, client.user], ["online", "u-ann"]);
  await client.close();
});

Deno.test("a login as another user delivers direct messages that are older than those seen before", async () => {
  const scenario = await new Scenario().logIn();
  await scenario.socket.deliver(directEvent("d5"));
  await scenario.reconnect();
  const { socket, client } = scenario;
  const resume = { type: "resume", token: "t1", last: { red: "e10" }, direct: "d5" };
  await socket.answer(resume, errorReply("bad-token"));
  const said = outcomeOf(client.identify("Jenny", "correct-horse"));
  await socket.answer({ type: "login", nick: "Ann" }, errorReply("nickname-registered"));
  const identify = { type: "identify", nick: "Jenny", password: "correct-horse" };
  const jenny = { ...userOf("Jenny"), registered: true };
  await socket.answer(identify, welcome("n1", jenny), directEvent("d3", { to: jenny }));
  assert("value" in said);
  const order = scenario.events.slice(-4).map((event) => "id" in event ? event.id : event.type);
  assertEquals(order, ["welcome", "resumed", "state", "d3"]);
  await socket.deliver(messageEvent("e11"));
  await client.close();
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
