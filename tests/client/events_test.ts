/** How the client delivers events, and how it ends. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { ChatClient, ChatError } from "../../chat/client/client.js";
import type { ChatEvent } from "../../chat/client/client.js";
import { PROJECT } from "../support/processes.ts";
import {
  directEvent,
  historyReply,
  leftEvent,
  type Line,
  messageEvent,
  outcomeOf,
  Scenario,
  userOf,
  welcome,
} from "./scenario.ts";

Deno.test("a direct message is delivered once, also one to oneself", async () => {
  const scenario = await new Scenario().logIn();
  const own = directEvent("d1", userOf("Ann"));
  const sent = directEvent("d2", { ...userOf("Ann"), to: userOf("Bob") });
  await scenario.socket.deliver(own, own, sent, directEvent("d3"), sent, own);
  const directs = scenario.events.filter(({ type }) => type === "direct");
  assertEquals(directs, [own, sent, directEvent("d3")] as unknown as ChatEvent[]);
  await scenario.client.close();
});

Deno.test("a conversation delivers the direct messages of one user, their changes and read markers, and no others", async () => {
  const scenario = await new Scenario().logIn();
  const { client } = scenario;
  const seen: Record<string, string[]> = { bob: [], cy: [], ann: [] };
  for (const [name, ids] of Object.entries(seen)) {
    client.direct(`u-${name}`).on("*", (event) => ids.push(event.id));
  }
  const toBob = { ...userOf("Ann"), to: userOf("Bob") };
  const change = { ...userOf("Bob"), to: userOf("Ann"), target: "d1", time: 0 };
  await scenario.socket.deliver(
    directEvent("d1"),
    directEvent("d2", toBob),
    directEvent("d3", userOf("Cy")),
    directEvent("d4", userOf("Ann")),
    { type: "edited", id: "d5", text: "better", ...change },
    { type: "deleted", id: "d6", ...change },
    { type: "read", with: "u-bob", id: "d2" },
    messageEvent("e11"),
    { type: "nick", id: "e12", room: "red", ...userOf("Bob"), to: userOf("Cy"), time: 0 },
  );
  assertEquals(seen, { bob: ["d1", "d2", "d5", "d6", "d2"], cy: ["d3"], ann: ["d4"] });
  await client.close();
});

Deno.test("a room delivers its own events and no others, until its listener is removed", async () => {
  const scenario = await new Scenario({ rooms: ["red", "blue"] });
  const { client, socket } = scenario;
  const seen: string[] = [];
  const texts: string[] = [];
  const red = client.room("red");
  const stop = red.on("*", (event) => seen.push(event.type));
  red.on("message", ({ text }) => texts.push(text));
  await socket.openSocket();
  await socket.answer({ type: "login", nick: "Ann" }, welcome("t1"));
  await scenario.join("red", "e10");
  await scenario.join("blue", "e11");
  const change = { ...userOf("Bob"), target: "e12", time: 0 };
  const lines = (room: string) => [
    messageEvent("e12", { room }),
    { type: "edited", id: "e13", room, text: "better", ...change },
    { type: "deleted", id: "e14", room, ...change },
    { type: "away", id: "e15", room, ...userOf("Bob"), away: true, time: 0 },
    { type: "read", room, id: "e12" },
  ];
  await socket.deliver(...lines("red"), ...lines("blue"), directEvent("d1"));
  stop();
  await socket.deliver(messageEvent("e16"), messageEvent("e17", { room: "blue" }));
  assertEquals(seen, ["joined", "message", "edited", "deleted", "away", "read"]);
  assertEquals(texts, ["e12", "e16"]);
  await client.close();
});

Deno.test("edits and deletions have a place in the order of their room or of the direct messages; read markers have none", async () => {
  const scenario = await new Scenario().logIn();
  const { socket } = scenario;
  const change = { ...userOf("Bob"), target: "e9", time: 0 };
  await socket.deliver(
    { type: "edited", id: "e11", room: "red", text: "better", ...change },
    { type: "edited", id: "e11", room: "red", text: "better", ...change },
    { type: "read", room: "red", id: "e99" },
    directEvent("d1"),
    { type: "deleted", id: "d2", to: userOf("Ann"), ...change },
    { type: "read", with: "u-bob", id: "d99" },
  );
  assertEquals(scenario.events.slice(-5).map(({ type }) => type), [
    ...["edited", "read", "direct", "deleted", "read"],
  ]);
  await scenario.reconnect();
  const missed = { type: "deleted", id: "e12", room: "red", ...change };
  await scenario.resume(
    { token: "t1", last: { red: "e11" }, direct: "d2" },
    welcome("t2", {}, "red"),
    missed,
  );
  await scenario.reconnect();
  await scenario.resume(
    { token: "t2", last: { red: "e12" }, direct: "d2" },
    welcome("t3", {}, "red"),
  );
  await scenario.client.close();
});

Deno.test("the welcome event names the rooms and conversations of the user", async () => {
  const scenario = new Scenario({ password: "correct-horse" });
  await scenario.socket.openSocket();
  const rooms = [{ room: "red", joined: false, read: "e5", unread: 7 }];
  const directs = [{ ...userOf("Bob"), unread: 3 }];
  const identify = { type: "identify", nick: "Ann", password: "correct-horse" };
  const more = { registered: true, rooms: [...rooms, null, { room: 7 }], directs: [...directs, 7] };
  await scenario.socket.answer(identify, welcome("t1", more), directEvent("d1"));
  assertEquals(scenario.events.map(({ type }) => type), ["welcome", "state", "direct"]);
  assertEquals(scenario.events[0] as unknown, {
    type: "welcome",
    ...userOf("Ann"),
    registered: true,
    rooms,
    directs,
    history: 604_800,
    edit: 86_400,
    limits: { text: 16_384, nick: 32, room: 64, rooms: 50 },
  });
  assertEquals([scenario.client.user, scenario.client.registered], ["u-ann", true]);
  await scenario.client.close();
});

Deno.test("the client's user changes with its own requests, not with those of the user's other sessions", async () => {
  const scenario = await new Scenario().logIn();
  const { client, socket } = scenario;
  const nick = (id: string, nick: string, to: Line) => (
    { type: "nick", id, room: "red", user: "u-ann", nick, to: { user: "u-ann", ...to }, time: 0 }
  );
  // Another session of the same user.
  await socket.deliver(nick("e11", "Ann", { nick: "ANN" }));
  assertEquals(client.nick, "Ann");
  const renamed = client.rename("Anna");
  const { ref } = socket.expectRequest({ type: "nick", nick: "Anna" });
  await socket.deliver(nick("e12", "Ann", { nick: "Anna" }));
  assertEquals(client.nick, "Anna");
  await socket.deliver({ type: "ok", ref, id: "e12" });
  await renamed;
  const identified = client.identify("Jenny", "correct-horse");
  const request = { type: "identify", nick: "Jenny", password: "correct-horse" };
  const jenny = { user: "u-jenny", nick: "Jenny", registered: true };
  await socket.answer(request, { type: "ok", ...jenny, rooms: [], directs: [] });
  await identified;
  assertEquals([client.user, client.nick, client.registered], ["u-jenny", "Jenny", true]);
  // The new user was in the room already: that of before has left, but this session stays.
  await socket.deliver({ ...leftEvent("e13", "red", "Anna"), user: "u-ann" }, messageEvent("e14"));
  assertEquals([client.rooms, scenario.messageIds], [["red"], ["e14"]]);
  await client.close();
});

Deno.test("a client that left a room is out of it from its own left event on, and receives nothing more from it", async () => {
  const scenario = await new Scenario({ rooms: ["red", "blue"] });
  const { client, socket } = scenario;
  await socket.openSocket();
  await socket.answer({ type: "login", nick: "Ann" }, welcome("t1"));
  await scenario.join("red", "e10");
  await scenario.join("blue", "e11");
  const seen: (boolean | string)[] = [];
  client.room("red").on("left", ({ nick }) => seen.push(nick, client.room("red").joined));
  await socket.deliver(leftEvent("e12", "red", "Bob"));
  const left = client.room("red").leave();
  const { ref } = socket.expectRequest({ type: "leave", room: "red" });
  await socket.deliver(leftEvent("e13"), messageEvent("e14"), { type: "ok", ref, id: "e13" });
  await left;
  await socket.deliver(messageEvent("e15"), messageEvent("e16", { room: "blue" }));
  assertEquals([seen, client.rooms], [["Bob", true, "Ann", false], ["blue"]]);
  assertEquals(scenario.messageIds, ["e16"]);
  assertEquals(scenario.saved?.rooms, { blue: "e16" });
  await client.close();
});

Deno.test("malformed lines are reported and skipped; the lines beside them are delivered", async () => {
  const scenario = await new Scenario().logIn();
  const bad = [
    ...["{", "[]", "null", "7", '{"type":7}', '{"type":"message","id":1}', "constructor"],
    ...[{ ...messageEvent("e1"), user: 7 }, directEvent("d1", { to: "Ann" }), { type: "read" }],
    { type: "edited", id: "e1", ...userOf("Bob"), target: "e0", text: "", time: 0 },
  ];
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
    const { client } = scenario;
    const red = client.room("red");
    const waiting = [red.say("one"), red.members()].map((promise) => outcomeOf<unknown>(promise));
    // Nobody waits for these.
    void red.say("two");
    void client.join("blue");
    void client.identify("Ann", "correct-horse");
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
  await lost.loseSession({ token: "t1", last: { red: "e10" } });
  await lost.socket.answer({ type: "join", room: "red" }, { type: "ok", id: "e15" });
  await lost.socket.answer(
    { type: "history", room: "red", after: "e10", limit: 100 },
    historyReply([messageEvent("e11"), messageEvent("e12")]),
  );
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
  assertEquals((await first).value as unknown, messageEvent("e11"));
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
