/** How the client delivers events, and how it ends. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { ChatClient, ChatError } from "../../chat/client/client.js";
import { PROJECT } from "../support/processes.ts";
import { errorReply, messageEvent, outcomeOf, Scenario, welcome } from "./scenario.ts";

Deno.test("a direct message to oneself is delivered as two copies, each once", async () => {
  const scenario = await new Scenario().logIn();
  const received = { type: "direct", id: "d1", nick: "Ann", text: "psst", time: 0 };
  const sent = { ...received, to: "Ann" };
  await scenario.socket.deliver(received, sent, received, sent);
  assertEquals(scenario.events.filter(({ type }) => type === "direct").length, 2);
  await scenario.client.close();
});

Deno.test("ChatClient takes its nickname and room from its own events", async () => {
  const scenario = await new Scenario().logIn();
  const event = { room: "red", nick: "Ann", time: 0 };
  await scenario.socket.deliver({ ...event, type: "nick", id: "e11", to: "Anna" });
  assertEquals(scenario.client.nick, "Anna");
  await scenario.socket.deliver({ ...event, type: "left", id: "e12", nick: "Bob" });
  assertEquals(scenario.client.room, "red");
  await scenario.socket.deliver({ ...event, type: "left", id: "e13", nick: "Anna" });
  assertEquals(scenario.client.room, undefined);
  await scenario.reconnect();
  await scenario.resume({ token: "t1", last: "e13" }, welcome("t2", undefined, "Anna"));
  await scenario.client.close();
});

Deno.test("malformed lines are reported and skipped; the lines beside them are delivered", async () => {
  const scenario = await new Scenario().logIn();
  const bad = ["{", "[]", "null", "7", '{"type":7}', '{"type":"message","id":1}', "constructor"];
  await scenario.socket.deliver(messageEvent("e11"), ...bad, "", messageEvent("e12"));
  scenario.socket.onmessage?.({ data: new ArrayBuffer(1) } as never);
  await scenario.socket.deliver({ type: "ok", ref: 99 }, {
    type: "error",
    code: "odd",
    message: "?",
  });
  assertEquals(scenario.messageIds, ["e11", "e12"]);
  assertEquals(scenario.errorCodes, [...new Array(bad.length + 1).fill("malformed"), "odd"]);
  assertEquals(scenario.client.state, "online");
  await scenario.client.close();
});

Deno.test("a line of an unknown type is delivered as an unknown event", async () => {
  const scenario = await new Scenario().logIn();
  const line = { type: "constructor", id: "x" };
  await scenario.socket.deliver(line);
  assertEquals(scenario.events.at(-1), { type: "unknown", line });
  await scenario.client.close();
});

Deno.test("an error thrown by a listener is reported as uncaught, and the other listeners run", async () => {
  const scenario = await new Scenario().logIn();
  const uncaught: string[] = [];
  const catches = (event: ErrorEvent) => {
    event.preventDefault();
    uncaught.push(event.message);
  };
  globalThis.addEventListener("error", catches);
  const received: string[] = [];
  scenario.client.on("message", () => {
    throw new Error("a clumsy listener");
  });
  const stop = scenario.client.on("message", ({ id }) => received.push(id));
  await scenario.socket.deliver(messageEvent("e11"), messageEvent("e12"));
  stop();
  await scenario.socket.deliver(messageEvent("e13"));
  globalThis.removeEventListener("error", catches);
  assertEquals([received, uncaught.length], [["e11", "e12"], 3]);
  await scenario.client.close();
});

Deno.test("close leaves no timer, no open socket and no waiting call", async () => {
  for (const when of ["connecting", "online", "offline"]) {
    const scenario = new Scenario();
    if (when !== "connecting") await scenario.logIn();
    if (when === "offline") await scenario.socket.drop();
    assertEquals(scenario.client.state, when);
    const waiting = [outcomeOf(scenario.client.say("one")), outcomeOf(scenario.client.members())];
    void scenario.client.say("nobody waits for this one");
    await scenario.client.close();
    assertEquals(waiting.map(({ value }) => value), ["closed", "closed"]);
    assertEquals([scenario.clock.timerCount, scenario.socket.readyState], [0, 3]);
    assertEquals(scenario.socket.closeCode, when === "offline" ? undefined : 1000);
    assertEquals(scenario.saved, null);
    await scenario.client.close();
  }
});

Deno.test("a listener may close the client in the middle of a frame", async () => {
  const scenario = await new Scenario().logIn();
  scenario.client.on("message", () => void scenario.client.close());
  await scenario.socket.deliver(messageEvent("e11"), messageEvent("e12"));
  assertEquals([scenario.messageIds, scenario.clock.timerCount], [["e11"], 0]);
  const lost = await new Scenario().logIn();
  lost.client.on("message", () => void lost.client.close());
  await lost.reconnect();
  await lost.socket.answer({ type: "resume", token: "t1", last: "e10" }, errorReply("bad-token"));
  await lost.socket.answer({ type: "login", nick: "Ann" }, welcome("n1"));
  await lost.socket.answer({ type: "join", room: "red" }, { type: "ok", id: "e15" });
  await lost.socket.answer({ type: "history", after: "e10", limit: 100 }, {
    type: "history",
    room: "red",
    events: [messageEvent("e11"), messageEvent("e12")],
    more: false,
  });
  assertEquals([lost.messageIds, lost.client.state, lost.clock.timerCount], [["e11"], "closed", 0]);
});

Deno.test("events() delivers all events to a fast reader, and throws too-slow to a slow one", async () => {
  const scenario = await new Scenario().logIn();
  const read: string[] = [];
  const reading = (async () => {
    for await (const event of scenario.client.events()) read.push(event.type);
  })();
  const slow = scenario.client.events({ limit: 1 });
  const first = slow.next();
  await scenario.socket.deliver(messageEvent("e11"));
  assertEquals((await first).value, messageEvent("e11"));
  await scenario.socket.deliver(messageEvent("e12"), messageEvent("e13"));
  await slow.next();
  await assertRejects(() => slow.next(), ChatError);
  await scenario.client.close();
  await reading;
  assertEquals(read, ["message", "message", "message", "state"]);
});

Deno.test("the constructor throws for a string that is not a URL", () => {
  assertThrows(() => new ChatClient("no url", { nick: "Ann" }), DOMException);
});

Deno.test("the client's modules import only each other, and use no API of one platform", async () => {
  const folder = new URL("chat/client/", PROJECT);
  for await (const { name } of Deno.readDir(folder)) {
    if (!name.endsWith(".js")) continue;
    const source = await Deno.readTextFile(new URL(name, folder));
    const code = source.replace(/\/\*[^]*?\*\//g, "");
    assert(!/\bimport\(|\bDeno\.|\bprocess\.|\bdocument\./.test(code), name);
    for (const [, specifier] of code.matchAll(/ from "([^"]+)"/g)) {
      assert(/^\.\/\w+\.js$/.test(specifier!), `${name} imports ${specifier}`);
    }
  }
});
