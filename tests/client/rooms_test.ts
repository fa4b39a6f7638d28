/** Rooms of the client: the names that the server corrects, and servers that do not keep to the protocol. */
import { assert, assertEquals } from "@std/assert";
import { settlePromises } from "../support/fake_clock.ts";
import { Random } from "../support/random.ts";
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
  welcome,
} from "./scenario.ts";

/** A client that is in no room. */
async function inNoRoom(): Promise<Scenario> {
  const scenario = new Scenario({ rooms: [] });
  await scenario.socket.openSocket();
  await scenario.socket.answer({ type: "login", nick: "Ann" }, welcome("t1"));
  return scenario;
}

Deno.test("a room made before the join works under the name that the server gives it in joined or ok", async () => {
  for (const isInReply of [true, false]) {
    const scenario = await inNoRoom();
    const { client, socket } = scenario;
    const room = client.room("Саfe");
    const seen: string[] = [];
    room.on("*", ({ type }) => seen.push(type));
    const joined = client.join("Саfe");
    const said = room.say("one");
    const { ref } = socket.expectRequest({ type: "join", room: "Саfe" });
    // Another join is in flight: the ID tells which of them the event belongs to.
    const other = client.join("blue");
    const { ref: otherRef } = socket.expectRequest({ type: "join", room: "blue" });
    const name = isInReply ? { room: "Cafe" } : {};
    await socket.deliver(
      joinedEvent("e11", "blue"),
      joinedEvent("e10", "Cafe"),
      messageEvent("e12", { room: "Cafe" }),
      { type: "ok", ref, id: "e10", ...name },
      { type: "ok", ref: otherRef, id: "e11" },
    );
    assertEquals([(await joined).name, room.name, room.joined], ["Cafe", "Cafe", true]);
    assertEquals([(await other).name, client.rooms], ["blue", ["Cafe", "blue"]]);
    assertEquals(seen, ["joined", "message"]);
    await socket.answer({ type: "message", room: "Cafe", text: "one" }, { type: "ok", id: "e13" });
    assertEquals(await said, { id: "e13" });
    await scenario.reconnect();
    await scenario.resume(
      { token: "t1", last: { Cafe: "e12", blue: "e11" } },
      welcome("t2", {}, "Cafe", "blue"),
    );
    const left = room.leave();
    const leave = scenario.socket.expectRequest({ type: "leave", room: "Cafe" });
    await scenario.socket.deliver(leftEvent("e14", "Cafe"), { type: "ok", ref: leave.ref });
    await left;
    assertEquals([seen.at(-1), room.joined, client.rooms], ["left", false, ["blue"]]);
    await client.close();
  }
});

Deno.test("a room that the server gives another name after a lost session goes on under that name", async () => {
  const scenario = await inNoRoom();
  const { client } = scenario;
  const room = client.room("typed");
  void client.join("typed");
  await scenario.join("typed", "e10", "first");
  await scenario.loseSession({ token: "t1", last: { first: "e10" } });
  await scenario.join("first", "e20", "second");
  assertEquals([room.name, client.room("first").name], ["second", "second"]);
  assertEquals([client.rooms, scenario.saved?.rooms], [["second"], { second: "e20" }]);
  assertEquals(scenario.socket.requests, []);
  await client.close();
});

Deno.test("a join of a room that the client is in changes nothing", async () => {
  const scenario = await new Scenario().logIn();
  const joined = scenario.client.join("red");
  await scenario.socket.answer({ type: "join", room: "red" }, { type: "ok" });
  await joined;
  await scenario.socket.deliver(messageEvent("e11"));
  assertEquals([scenario.client.rooms, scenario.messageIds], [["red"], ["e11"]]);
  await scenario.client.close();
});

Deno.test("rooms whose names are those of object properties are rooms like others", async () => {
  const names = ["__proto__", "constructor", "toString"];
  const scenario = await inNoRoom();
  for (const [i, name] of names.entries()) {
    void scenario.client.join(name);
    await scenario.join(name, `e1${i}`);
  }
  assertEquals(scenario.client.rooms, names);
  const session = JSON.parse(JSON.stringify(scenario.saved));
  await scenario.client.detach();
  const again = new Scenario({}, session);
  await again.socket.openSocket();
  const { last } = again.socket.requests[0] as { last: Line };
  assertEquals(Object.entries(last), names.map((name, i) => [name, `e1${i}`]));
  await again.client.close();
});

Deno.test("events of rooms that the client is not in are not delivered, and nothing of them is kept", async () => {
  const scenario = await new Scenario().logIn();
  const { client, socket } = scenario;
  const before = scenario.events.length;
  const joined = outcomeOf(client.join("blue"));
  const { ref } = socket.expectRequest({ type: "join", room: "blue" });
  await socket.deliver(
    messageEvent("e11", { room: "green" }),
    joinedEvent("e12", "green", "Bob"),
    // As if a join of the client had led there, but no reply says so.
    joinedEvent("e13", "green"),
    messageEvent("e14", { room: "green" }),
    { type: "gap", room: "violet", after: "e1", until: "e9", missed: 3 },
    { type: "read", room: "violet", id: "e9" },
    resumedLine({ room: "violet" }),
    { ref, ...errorReply("bad-room") },
    messageEvent("e15", { room: "green" }),
  );
  assertEquals([joined.value, client.rooms], ["bad-room", ["red"]]);
  assertEquals(scenario.events.slice(before), []);
  assertEquals(Object.keys(scenario.saved!.rooms), ["red"]);
  await client.close();
});

Deno.test("a server that sends events without an end while the client waits for its history loses the connection", async () => {
  const scenario = await new Scenario().logIn();
  const { socket } = scenario;
  await socket.deliver({ type: "gap", room: "red", after: "e10", until: "e11", missed: 1 });
  const id = (i: number) => `e2${String(i).padStart(5, "0")}`;
  await socket.deliver(...Array.from({ length: 10_000 }, (_, i) => messageEvent(id(i))));
  assertEquals(scenario.client.state, "online");
  await socket.deliver(messageEvent("e3"));
  assertEquals([scenario.client.state, scenario.messageIds], ["offline", []]);
  await scenario.clock.advanceAsync(250);
  await scenario.socket.openSocket();
  await scenario.resume(
    { token: "t1", last: { red: "e10" } },
    welcome("t2", {}, "red"),
    messageEvent("e11"),
  );
  assertEquals(scenario.messageIds, ["e11"]);
  await scenario.client.close();
});

Deno.test("no sequence of lines makes the client throw, or leaves anything behind", async () => {
  for (let seed = 1; seed <= 300; seed++) {
    const random = new Random(seed);
    const scenario = await new Scenario({ session: undefined }).logIn();
    const { client, clock } = scenario;
    client.on("*", () => {
      if (random.percent(1)) void client.join(random.pick(ROOMS)).catch(() => {});
    });
    const calls = [
      () => client.join(random.pick(ROOMS)),
      () => client.room(random.pick(ROOMS)).leave(),
      () => client.room(random.pick(ROOMS)).say("one"),
      () => client.room(random.pick(ROOMS)).history({ after: "e1" }),
      () => client.direct("u-bob").say("psst"),
      () => client.rename("Anna"),
      () => client.list(),
    ];
    for (let step = 0; step < 60; step++) {
      const { socket } = scenario;
      if (random.percent(5)) client.retryNow();
      if (socket.readyState === WebSocket.CONNECTING) await socket.openSocket();
      if (random.percent(50)) void random.pick<() => Promise<unknown>>(calls)().catch(() => {});
      const request = random.percent(70) ? socket.requests.shift() : undefined;
      const line: Line = { ...random.pick(LINES), ...request && { ref: request.ref } };
      if (random.percent(10)) delete line[random.pick(Object.keys(line))];
      if (random.percent(10)) {
        line[random.pick(Object.keys(line))] = random.pick([null, 7, [], {}, "red"]);
      }
      if (line.type === "message" && random.percent(30)) line.id = `e${random.below(100)}`;
      if (socket.readyState === WebSocket.OPEN) await socket.deliver(line);
      if (random.percent(5)) {
        await socket.drop(random.pick([1006, 1008, 1013]), random.pick(["", "banned"]));
      }
      if (random.percent(20)) await clock.advanceAsync(random.pick([100, 1_000, 20_000]));
    }
    const rooms = new Set([...ROOMS, "green"]);
    assert(client.rooms.every((room) => rooms.has(room)), String(client.rooms));
    await client.close();
    await settlePromises();
    assertEquals(clock.timerCount, 0, `seed ${seed}`);
  }
});

const ROOMS = ["red", "blue", "Саfe", "__proto__"];

/** Lines of every type, as replies and as events. */
const LINES: readonly Line[] = [
  ...ROOMS.flatMap((room, i) => [
    messageEvent(`e2${i}`, { room }),
    joinedEvent(`e3${i}`, room),
    leftEvent(`e4${i}`, room),
    { type: "gap", room, after: "e1", until: "e2", missed: 5 },
    resumedLine({ room, recovered: false, reason: "expired" }),
    { type: "read", room, id: "e1" },
    { type: "room", room, topic: "Tea", slow: 5 },
    ...["kick", "topic"].map((act) => ({
      ...{ type: "act", id: `e5${i}`, room, user: "u-bob", nick: "Bob" },
      ...{ act, on: { user: "u-ann", nick: "Ann" } },
    })),
    historyReply([messageEvent("e11", { room })], { room, more: i % 2 === 0 }),
  ]),
  welcome("t9", {}, "red", "green"),
  welcome("t8", { user: "u-other" }),
  directEvent("d1"),
  resumedLine(),
  { type: "ok" },
  { type: "ok", id: "e30", room: "green" },
  { type: "pong" },
  { type: "rooms", rooms: [] },
  { type: "dance", room: "red" },
  ...["bad-token", "too-fast", "unavailable", "not-in-room", "nickname-taken", "banned"].map(
    errorReply,
  ),
];
