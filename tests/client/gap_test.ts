/** How the client closes gaps that a slow connection left. */
import { assertEquals } from "@std/assert";
import type { ChatEvent } from "../../chat/client/client.js";
import {
  errorReply,
  historyReply,
  joinedEvent,
  type Line,
  messageEvent,
  Scenario,
  welcome,
} from "./scenario.ts";

function gapLine(after: string, until: string, missed: number, room = "red"): Line {
  return { type: "gap", room, after, until, missed };
}

Deno.test("ChatClient reads the messages of a gap from the history and delivers them before later events", async () => {
  const scenario = await new Scenario().logIn();
  const { socket } = scenario;
  await socket.deliver(messageEvent("e11"));
  await socket.deliver(
    gapLine("e11", "e20", 8),
    messageEvent("e21"),
    joinedEvent("e22", "red", "Cy"),
  );
  assertEquals(scenario.messageIds, ["e11"]);
  const page = { type: "history", room: "red", limit: 100 };
  const events = [messageEvent("e12"), messageEvent("e15")];
  await socket.answer({ ...page, after: "e11" }, historyReply(events, { more: true }));
  // e21 and e23 lie behind the gap: they are delivered as events, not from this page.
  const rest = [messageEvent("e20"), messageEvent("e21"), messageEvent("e23")];
  await socket.answer({ ...page, after: "e15" }, historyReply(rest, { more: true }));
  await socket.deliver(messageEvent("e23"));
  assertEquals(scenario.messageIds, ["e11", "e12", "e15", "e20", "e21", "e23"]);
  const lastEvents = scenario.events.slice(-5).map((event) =>
    event.type === "gap" ? event : "id" in event ? event.id : event.type
  );
  const gap = {
    type: "gap",
    room: "red",
    missed: 8,
    filled: 3,
    recovered: true,
  };
  assertEquals(lastEvents, ["e20", gap, "e21", "e22", "e23"]);
  assertEquals([socket.requests, scenario.errorCodes], [[], []]);
  await scenario.client.close();
});

Deno.test("ChatClient retries a page of history after a too-fast error, and closes two gaps one after the other", async () => {
  const scenario = await new Scenario().logIn();
  const { socket, clock } = scenario;
  await socket.deliver(
    gapLine("e10", "e20", 8),
    messageEvent("e21"),
    gapLine("e21", "e30", 9),
    messageEvent("e31"),
  );
  const page = { type: "history", room: "red", limit: 100 };
  const slowly = { ...errorReply("too-fast"), retryAfter: 4_000 };
  await socket.answer({ ...page, after: "e10" }, slowly);
  await clock.advanceAsync(3_999);
  assertEquals(socket.requests, []);
  await clock.advanceAsync(1);
  await socket.answer({ ...page, after: "e10" }, historyReply([messageEvent("e20")]));
  assertEquals(scenario.messageIds, ["e20", "e21"]);
  await socket.answer({ ...page, after: "e21" }, historyReply([messageEvent("e30")]));
  assertEquals(scenario.messageIds, ["e20", "e21", "e30", "e31"]);
  await scenario.client.close();
});

Deno.test("a gap that the history cannot close is reported as not recovered, and later events are delivered", async () => {
  for (const [code, reason] of [["history-off", "history-off"], ["not-allowed", "unavailable"]]) {
    const scenario = await new Scenario().logIn();
    await scenario.socket.deliver(gapLine("e10", "e20", 8), messageEvent("e21"));
    const page = { type: "history", room: "red", after: "e10", limit: 100 };
    await scenario.socket.answer(page, errorReply(code!));
    assertEquals(scenario.messageIds, ["e21"]);
    const gap = { type: "gap", room: "red", missed: 8, filled: 0, recovered: false, reason };
    assertEquals(scenario.events.filter(({ type }) => type === "gap"), [gap] as ChatEvent[]);
    await scenario.client.close();
  }
});

Deno.test("if the connection is lost while a gap is open, the replay starts at the last delivered event", async () => {
  const scenario = await new Scenario().logIn();
  await scenario.socket.deliver(messageEvent("e11"));
  await scenario.socket.deliver(gapLine("e11", "e20", 8), messageEvent("e21"));
  await scenario.reconnect();
  const missed = [messageEvent("e12"), messageEvent("e20"), messageEvent("e21")];
  await scenario.resume({ token: "t1", last: { red: "e11" } }, welcome("t2", {}, "red"), ...missed);
  await scenario.socket.deliver(messageEvent("e22"));
  assertEquals(scenario.messageIds, ["e11", "e12", "e20", "e21", "e22"]);
  assertEquals(scenario.events.filter(({ type }) => type === "gap"), []);
  await scenario.client.close();
});

Deno.test("a gap in one room holds back no other room; messages that were kept no longer make it expired", async () => {
  const scenario = await new Scenario({ rooms: ["red", "blue"] });
  const { socket } = scenario;
  await socket.openSocket();
  await socket.answer({ type: "login", nick: "Ann" }, welcome("t1"));
  await scenario.join("red", "e10");
  await scenario.join("blue", "e11");
  await socket.deliver(
    gapLine("e10", "e20", 8),
    messageEvent("e21"),
    messageEvent("e22", { room: "blue" }),
    gapLine("e22", "e30", 1, "blue"),
  );
  assertEquals(scenario.messageIds, ["e22"]);
  const red = { type: "history", room: "red", after: "e10", limit: 100 };
  // One room after the other: both together would use up the rate limit for each other.
  const { ref } = socket.expectRequest(red);
  assertEquals(socket.requests, []);
  await socket.deliver({ ...historyReply([messageEvent("e20")], { complete: false }), ref });
  assertEquals(scenario.messageIds, ["e22", "e20", "e21"]);
  const gaps = scenario.events.filter((event) => event.type === "gap");
  assertEquals(gaps.map(({ room, recovered, reason }) => [room, recovered, reason]), [
    ["red", false, "expired"],
  ]);
  await socket.answer(
    { type: "history", room: "blue", after: "e22", limit: 100 },
    historyReply([messageEvent("e30", { room: "blue" })], { room: "blue" }),
  );
  assertEquals(scenario.messageIds, ["e22", "e20", "e21", "e30"]);
  await scenario.client.close();
});

Deno.test("a gap in a room that the client leaves meanwhile is dropped", async () => {
  const scenario = await new Scenario().logIn();
  const { client, socket } = scenario;
  await socket.deliver(gapLine("e10", "e20", 8), messageEvent("e21"));
  const { ref } = socket.expectRequest({
    type: "history",
    room: "red",
    after: "e10",
    limit: 100,
  });
  const left = client.room("red").leave();
  await socket.answer({ type: "leave", room: "red" }, { type: "ok", id: "e22" });
  await left;
  await socket.deliver({ ...historyReply([messageEvent("e20")]), ref }, messageEvent("e23"));
  assertEquals([scenario.messageIds, client.rooms], [[], []]);
  await client.close();
});
