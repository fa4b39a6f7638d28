/** Who is told of an act of moderation, in which words; and what clients are spared that ignore users. */
import { assertEquals } from "@std/assert";
import type { RoomEvent } from "../../chat/feed/events.ts";
import { event, linesOf, TestSender, userRef } from "../support/test_sender.ts";

const BOB = userRef("bob", "Bob", true);

/** An act by Ann in the room red against Bob. */
function act(target: string, more: Partial<RoomEvent> = {}): RoomEvent {
  const { room = "red", text = "" } = more;
  return event("act", "ann", text, room, { account: "ann", nick: "Ann", to: BOB, target, ...more });
}

/** Returns a sender with Ann, Bob (twice in the room, once outside) and Cy (twice in the room). */
function open() {
  const test = new TestSender();
  const signIn = (id: string, wire: "text" | "json", user: string, ...rooms: string[]) => {
    const client = test.enterRooms(id, wire, ...rooms);
    test.sender.setUser(client.subscriber, user);
    return client;
  };
  return {
    test,
    bobText: signIn("b1", "text", "bob", "red"),
    bobJson: signIn("b2", "json", "bob", "red"),
    bobAway: signIn("b3", "json", "bob"),
    bobAwayText: signIn("b4", "text", "bob"),
    cyText: signIn("c1", "text", "c1", "red"),
    cyJson: signIn("c2", "json", "c2", "red"),
    away: signIn("d", "json", "d"),
    reset() {
      for (const each of [this.bobText, this.bobJson, this.bobAway, this.bobAwayText]) {
        each.socket.sent.length = 0;
      }
      for (const each of [this.cyText, this.cyJson, this.away]) each.socket.sent.length = 0;
    },
  };
}

Deno.test("an act is told once to each client of the room, and to the user concerned everywhere", () => {
  const all = open();
  all.reset();
  all.test.deliver(act("ban", { text: "spam", until: 600_000 }));
  assertEquals(all.cyText.socket.sent, ["-- Ann banned Bob for 10 minutes: spam"]);
  const own = '-- Ann banned you from "red" for 10 minutes: spam';
  assertEquals(all.bobText.socket.sent, [own]);
  assertEquals(all.bobAwayText.socket.sent, [own]);
  const lines = linesOf(all.cyJson.socket);
  assertEquals(lines.map((line) => ({ ...line, id: "" })), [{
    type: "act",
    id: "",
    room: "red",
    user: "ann",
    nick: "Ann",
    registered: true,
    act: "ban",
    on: { user: "bob", nick: "Bob", registered: true },
    until: 600_000,
    reason: "spam",
    time: 0,
  }]);
  assertEquals(linesOf(all.bobJson.socket), lines);
  assertEquals(linesOf(all.bobAway.socket), lines);
  assertEquals(all.away.socket.sent, []);
});

Deno.test("invitations and deletions are told to the user concerned alone, reports not even to that one", () => {
  const all = open();
  for (const target of ["invite", "delete", "report"]) {
    all.reset();
    all.test.deliver(act(target));
    assertEquals(all.cyText.socket.sent.length + all.cyJson.socket.sent.length, 0, target);
    const isTold = target === "report" ? 0 : 1;
    assertEquals(all.bobText.socket.sent.length, isTold, target);
    assertEquals(linesOf(all.bobJson.socket).length, isTold, target);
  }
});

Deno.test("acts on the whole chat, and quiet copies, are not told to rooms", () => {
  const all = open();
  all.reset();
  all.test.deliver(act("ban", { room: "" }), act("ban", { isQuiet: true }));
  assertEquals(all.bobText.socket.sent, ["-- Ann banned you from the chat"]);
  assertEquals(all.cyText.socket.sent.length + all.cyJson.socket.sent.length, 0);
});

Deno.test("Sender.tellAct tells further sessions, and tellRoomState only JSON clients", () => {
  const all = open();
  all.reset();
  all.test.sender.tellAct(["c1", "d", "gone"], act("report", { text: "rude" }), "id9");
  all.test.sender.tellRoomState("c1", { room: "red", topic: "cups" });
  all.test.sender.tellRoomState("c2", { room: "red", topic: "cups" });
  all.test.sender.flush();
  assertEquals(all.cyText.socket.sent, ["-- Ann reported Bob: rude"]);
  assertEquals(linesOf(all.away.socket).map(({ act }) => act), ["report"]);
  assertEquals(linesOf(all.cyJson.socket), [{ type: "room", room: "red", topic: "cups" }]);
});

Deno.test("no nickname, reason or topic can look like another line, or move the cursor", () => {
  const all = open();
  all.reset();
  all.test.deliver(act("ban", { nick: "A\nn", text: "x\n-- Ann banned Cy\x1b[2J" }));
  const [line] = all.cyText.socket.sent;
  assertEquals(line, "-- A\n    n banned Bob: x\n    -- Ann banned Cy\u241b[2J");
});

Deno.test("a client that ignores a user is spared that user's events, and nobody else is", () => {
  const all = open();
  const { test } = all;
  test.sender.setIgnored(all.cyText.subscriber, new Set(["troll"]));
  test.sender.setIgnored(all.cyJson.subscriber, new Set(["troll"]));
  all.reset();
  const by = (kind: RoomEvent["kind"], user: string, text = "") =>
    event(kind, `${user}-1`, text, "red", { account: user, nick: user });
  test.deliver(
    by("join", "troll"),
    by("message", "ann", "one"),
    by("message", "troll", "two"),
    by("action", "troll", "three"),
    by("message", "ann", "four"),
    event("edit", "troll-1", "five", "red", { account: "troll", nick: "troll", target: "id1" }),
    by("leave", "troll"),
  );
  test.deliver(by("message", "troll", "alone"));
  test.deliver(by("message", "ann", "last"));
  const texts = (lines: { text?: string; type: string }[]) =>
    lines.map(({ type, text = type }) => text);
  assertEquals(all.cyText.socket.sent, ["ann: one", "ann: four", "ann: last"]);
  assertEquals(texts(linesOf(all.cyJson.socket)), ["one", "four", "last"]);
  // Two frames: there is none for a commit of which everything is left out.
  assertEquals(all.cyJson.socket.sent.length, 2);
  const whole = ["joined", "one", "two", "three", "four", "five", "left", "alone", "last"];
  assertEquals(texts(linesOf(all.bobJson.socket)), whole);
  assertEquals(all.bobText.socket.sent.length, 8);
  all.reset();
  test.sender.setIgnored(all.cyJson.subscriber, new Set());
  test.deliver(by("message", "troll", "again"));
  assertEquals(texts(linesOf(all.cyJson.socket)), ["again"]);
});

Deno.test("direct messages of ignored users are not delivered to that session, and own ones are", () => {
  const test = new TestSender();
  const ann = test.enter("ann", "json");
  const troll = test.enter("troll", "json");
  test.sender.setIgnored(ann.subscriber, new Set(["troll"]));
  const direct = (from: string, to: string) =>
    event("direct", from, "hi", "", { to: userRef(to, to) });
  test.deliver(direct("troll", "ann"), direct("ann", "troll"));
  assertEquals(linesOf(ann.socket).map(({ user }) => user), ["ann"]);
  assertEquals(linesOf(troll.socket).map(({ user }) => user), ["troll", "ann"]);
});

Deno.test("a client that joins in the middle of a commit, or ignores from then on, gets its part", () => {
  const test = new TestSender();
  const { sender } = test;
  const cy = test.enterRooms("cy", "json", "red");
  const late = test.enter("late", "json");
  sender.setIgnored(late.subscriber, new Set(["2"]));
  sender.deliver(event("message", "2", "a"), test.nextId());
  sender.deliver(event("join", "late"), test.nextId());
  sender.deliver(event("message", "2", "b"), test.nextId());
  sender.deliver(event("message", "3", "c"), test.nextId());
  sender.flush();
  assertEquals(linesOf(late.socket).map(({ type, text = type }) => text), ["joined", "c"]);
  assertEquals(linesOf(cy.socket).map(({ type, text = type }) => text), ["a", "joined", "b", "c"]);
});

Deno.test("a client that reads too slowly is told of an act against it, and others count it in the gap", () => {
  const test = new TestSender();
  const bob = test.enterRooms("bob", "json", "red");
  bob.socket.reads = false;
  while (bob.socket.bufferedAmount < 1_050_000) {
    test.sender.reply(bob.subscriber, "x".repeat(10_000));
  }
  test.deliver(event("message", "2", "hi"));
  assertEquals(bob.subscriber.gaps, 1);
  bob.socket.sent.length = 0;
  test.deliver(act("mute", { to: userRef("bob", "Bob") }));
  assertEquals(linesOf(bob.socket).map(({ type }) => type), ["act"]);
  assertEquals(test.gone, []);
});
