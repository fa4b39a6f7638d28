import { assert, assertEquals } from "@std/assert";
import { CLOSE } from "../../chat/base/close_codes.ts";
import { limitsFrom } from "../../chat/base/limits.ts";
import { drain, event, fill, linesOf, TestSender, userRef } from "../support/test_sender.ts";

/** Returns a sender with plain-text clients that are in the room and have received no events. */
function open(...ids: string[]) {
  const test = new TestSender();
  const people = ids.map((id) => test.enterRooms(id, "text", "red"));
  const sockets = people.map(({ socket }) => socket);
  for (const socket of sockets) socket.sent.length = 0;
  const { sender, deliver, enter, gone, time } = test;
  const subscribers = people.map(({ subscriber }) => subscriber);
  return { sender, deliver, enter, gone, time, sockets, subscribers };
}

Deno.test("a client that reads nothing is sent nothing more and closed after 30 s, and other clients keep receiving", () => {
  const { maxUnsentBytes: bufferedBytes } = limitsFrom();
  for (const letter of ["a", "ä", "語", "😀"]) {
    const { deliver, sockets: [ann, slow, cy], gone, time } = open("1", "2", "3");
    slow!.reads = false;
    const text = letter.repeat(100);
    for (let i = 0; i < 20_000; i++) deliver(event("message", "1", text));
    // The client was sent data up to the limit, and hardly more.
    const most = slow!.bufferedAmount;
    assert(most > bufferedBytes && most < bufferedBytes + 1024, `${most} bytes were waiting`);
    time.advance(29_000);
    assertEquals(slow!.closeCode, undefined);
    time.advance(1_100);
    assertEquals([slow!.closeCode, gone], [1013, ["2"]]);
    for (const socket of [ann!, cy!]) {
      assertEquals([socket.sent.length, socket.closeCode], [20_000, undefined]);
    }
    assertEquals(time.timerCount, 0);
  }
});

Deno.test("a slow plain-text client stays, is told how much it missed, and receives later events", () => {
  const { deliver, sockets: [ann, slow], time, gone } = open("1", "2", "3");
  fill(deliver, slow!, "1");
  for (let i = 0; i < 1_233; i++) deliver(event("message", "1", "missed"));
  deliver(event("leave", "3"));
  drain(slow!);
  deliver(event("message", "1", "not yet"));
  time.advance(200);
  deliver(event("message", "1", "again"));
  assertEquals(slow!.sent, [
    "You missed 1,235 messages: your connection is too slow. Type /history to read them.",
    "nick1: again",
  ]);
  assertEquals([ann!.closeCode, slow!.closeCode, gone, time.timerCount], [
    undefined,
    undefined,
    [],
    0,
  ]);
});

Deno.test("a slow plain-text client that missed no message is told that it missed joins and leaves", () => {
  const { sender, deliver, sockets: [, slow], subscribers, time, enter } = open("1", "2");
  slow!.reads = false;
  while (slow!.bufferedAmount < 1_050_000) sender.reply(subscribers[1]!, "x".repeat(10_000));
  enter("3");
  deliver(event("join", "3"));
  drain(slow!);
  time.advance(200);
  assertEquals(slow!.sent, [
    "You missed who joined and left: your connection is too slow. Type /ls to see who is here.",
  ]);
});

Deno.test("a slow JSON client is told the IDs around its gap, and every event is delivered once or counted", () => {
  const { deliver, enter, time } = new TestSender();
  const [ann, slow] = [enter("1"), enter("2", "json")];
  deliver(event("join", "1"));
  deliver(event("join", "2"));
  slow.socket.reads = false;
  const last = () => linesOf(slow.socket).at(-1).id;
  let sent = "", before = -1;
  while (before < slow.socket.sent.length) {
    before = slow.socket.sent.length;
    sent = last();
    deliver(event("message", "1", "x".repeat(10_000)), event("message", "1", "y"));
  }
  deliver(event("message", "1", "missed"), event("leave", "1"));
  drain(slow.socket);
  time.advance(200);
  deliver(event("join", "1"), event("message", "1", "again"));
  const [gap, ...rest] = linesOf(slow.socket);
  const number = (id: string) => Number(id.slice(2));
  const { after, until, missed, ...others } = gap;
  assertEquals(others, { type: "gap", room: "red" });
  assertEquals([after, missed], [sent, 4]);
  assertEquals(number(until), number(after) + 4);
  assertEquals(rest.map(({ type, id }) => [type, number(id)]), [
    ["joined", number(until) + 1],
    ["message", number(until) + 2],
  ]);
  assertEquals(ann.socket.closeCode, undefined);
});

Deno.test("events about the slow client itself are always delivered, after the gap before them", () => {
  for (const wire of ["text", "json"] as const) {
    const { deliver, enter, time } = new TestSender();
    const [slow] = [enter("2", wire), enter("1")];
    deliver(event("join", "1"));
    deliver(event("join", "2"));
    fill(deliver, slow.socket, "1");
    slow.socket.sent.length = 0;
    deliver(
      event("nick", "2", "", "red", { to: userRef("2", "Anna") }),
      event("message", "1", "missed"),
      event("leave", "2"),
    );
    deliver(event("message", "1", "none of its business"));
    const told = wire === "json"
      ? linesOf(slow.socket).map(({ type, missed }) => `${type} ${missed ?? ""}`.trim())
      : slow.socket.sent.map((line) => line.replace(/:.*/, ""));
    assertEquals(
      told,
      wire === "json" ? ["gap 1", "nick", "gap 1", "left"] : [
        "You missed 1 message",
        "Nickname is",
        "You missed 1 message",
        'Left chat room "red"',
      ],
    );
    assertEquals(time.timerCount, 0, "outside of the room nothing more is to be told");
    // In another room it receives events again, beginning with its own join.
    drain(slow.socket);
    deliver(event("join", "2", "", "blue"), event("message", "2", "hi", "blue"));
    assertEquals(slow.socket.sent.length > 0, true);
    const all = slow.socket.sent.join("\n");
    assert(wire === "json" ? all.includes('"joined"') : all.startsWith("Joined"), all);
  }
});

Deno.test("a commit with an event about a JSON client is sent to it even when it falls behind just then", () => {
  const { sender, deliver, enter, time } = new TestSender();
  const { socket, subscriber } = enter("2", "json");
  deliver(event("join", "2"));
  socket.reads = false;
  while (socket.bufferedAmount < 1_050_000) sender.reply(subscriber, "x".repeat(10_000));
  socket.sent.length = 0;
  deliver(
    event("message", "1", "before"),
    event("nick", "2", "", "red", { to: userRef("2", "Anna") }),
  );
  deliver(event("message", "1", "missed"));
  assertEquals(linesOf(socket).map(({ type }) => type), ["message", "nick"]);
  const last = linesOf(socket)[1].id;
  drain(socket);
  time.advance(200);
  assertEquals(linesOf(socket).map(({ type, after, missed }) => [type, after, missed]), [
    ["gap", last, 1],
  ]);
});

Deno.test("replies and direct messages are sent to a slow client, which is closed if they do not fit", () => {
  const { sender, deliver, sockets: [, slow], subscribers } = open("1", "2");
  fill(deliver, slow!, "1");
  slow!.sent.length = 0;
  sender.reply(subscribers[1]!, "a reply");
  deliver(event("direct", "1", "psst", "", { to: userRef("2") }));
  deliver(event("message", "1", "missed"));
  assertEquals(slow!.sent, ["a reply", "[from nick1] psst"]);
  for (let i = 0; i < 50; i++) sender.reply(subscribers[1]!, "x".repeat(10_000));
  assertEquals(slow!.closeCode, 1013);
});

Deno.test("a slow client that leaves or disconnects leaves no timer", () => {
  const { sender, deliver, sockets: [, slow], subscribers, time } = open("1", "2");
  fill(deliver, slow!, "1");
  assertEquals(time.timerCount, 1);
  sender.remove(subscribers[1]!);
  assertEquals(time.timerCount, 0);
  deliver(event("message", "1", "on it goes"));
});

Deno.test("events go only to members of the room", () => {
  const { deliver, enter, sockets: [ann, bob] } = open("1", "2");
  const { socket: outsider } = enter("9");
  deliver(event("join", "9", "", "blue"));
  deliver(event("leave", "2"));
  deliver(event("message", "1", "hi"));
  assertEquals(outsider.sent, ['Joined chat room "blue"']);
  assertEquals(bob!.sent, ['Left chat room "red"']);
  assertEquals(ann!.sent, ["nick2 left room.", "nick1: hi"]);
});

Deno.test("membership begins with the delivered join and ends with the delivered leave", () => {
  const { deliver, enter } = new TestSender();
  const { socket } = enter("1");
  deliver(event("message", "2", "before"));
  deliver(event("join", "1"));
  deliver(event("message", "2", "during"));
  deliver(event("leave", "1"));
  deliver(event("message", "2", "after"));
  assertEquals(socket.sent, ['Joined chat room "red"', "nick2: during", 'Left chat room "red"']);
});

Deno.test("a change of nickname is shown to its owner and to the others in different words", () => {
  const { deliver, sockets: [ann, bob] } = open("1", "2");
  deliver(event("nick", "1", "", "red", { to: userRef("1", "Anna") }));
  assertEquals(ann!.sent, ["Nickname is: Anna"]);
  assertEquals(bob!.sent, ["nick1 is now known as Anna."]);
});

Deno.test("frames for a closed socket are dropped, whichever side closed it", () => {
  const { sender, deliver, sockets: [ann, bob], subscribers, gone } = open("1", "2");
  bob!.readyState = 3;
  deliver(event("message", "1", "hi"));
  sender.remove(subscribers[1]!);
  sender.reply(subscribers[1]!, "late");
  sender.close(subscribers[1]!, CLOSE.inboxFull);
  assertEquals([bob!.sent, bob!.closeCode, gone], [[], undefined, []]);
  assertEquals(ann!.sent, ["nick1: hi"]);
});

Deno.test("a muted Sender delivers no events, and still closes every socket", () => {
  const { sender, deliver, sockets, gone } = open("1", "2");
  sender.mute();
  deliver(event("leave", "1"));
  deliver(event("message", "2", "hi"));
  sender.closeAll(CLOSE.restart);
  assertEquals(sockets.map(({ closeCode }) => closeCode), [1012, 1012]);
  assertEquals(sockets.map(({ sent }) => sent), [[], []]);
  assertEquals([gone, sender.size], [["1", "2"], 0]);
});

Deno.test("JSON clients get the events of a commit in one frame, plain-text clients in one frame each", () => {
  const { deliver, enter, sockets: [ann] } = open("1");
  const { socket } = enter("2", "json");
  deliver(event("join", "2"));
  deliver(event("message", "1", "one"), event("message", "1", "two"));
  assertEquals(socket.sent.map((frame) => frame.split("\n").length), [1, 2]);
  assertEquals(ann!.sent, ["nick2 joined room.", "nick1: one", "nick1: two"]);
});

Deno.test("a shared frame holds only the events of the client's time in the room", () => {
  const { deliver, enter } = new TestSender();
  const [ann, bob, cy] = [enter("1", "json"), enter("2", "json"), enter("3", "json")];
  deliver(event("join", "1"), event("join", "3"));
  ann.socket.sent.length = cy.socket.sent.length = 0;
  deliver(
    event("message", "1", "before"),
    event("join", "2"),
    event("message", "1", "during"),
    event("leave", "2"),
    event("message", "1", "after"),
  );
  const types = ({ socket }: typeof ann) =>
    socket.sent.flatMap((frame) => frame.split("\n")).map((line) => {
      const { type, text } = JSON.parse(line);
      return text ?? type;
    });
  assertEquals(types(ann), ["before", "joined", "during", "left", "after"]);
  assertEquals(types(bob), ["joined", "during", "left"]);
  assertEquals(types(cy), types(ann));
  assertEquals(cy.socket.sent.length, 1);
});

Deno.test("of two sockets for one connection the last one keeps it, and the other is closed", () => {
  const { sender, deliver, sockets: [old], enter } = open("1");
  const { subscriber, socket } = enter("new", "json");
  sender.expect("token", subscriber);
  sender.attach({ id: "1", user: "1", rooms: ["red"] }, "token", "id1");
  sender.endCatchUp(subscriber, new Set());
  deliver(event("message", "1", "hi"));
  assertEquals([old!.closeCode, old!.sent], [4001, []]);
  assertEquals(socket.sent.length, 1);
});

Deno.test("Sender closes the socket of a session that its user ended, and does nothing without one", () => {
  const { sender, sockets: [ann, bob], gone } = open("1", "2");
  sender.closeSession("1", CLOSE.ended);
  sender.closeSession("elsewhere", CLOSE.ended);
  assertEquals([ann!.closeCode, bob!.closeCode, gone, sender.has("1")], [
    4002,
    undefined,
    ["1"],
    false,
  ]);
});
