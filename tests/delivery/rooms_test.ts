/** Subscribers that are in several rooms, and sessions that move in or out of one unseen by others. */
import { assert, assertEquals } from "@std/assert";
import { drain, event, fill, linesOf, TestSender, userRef } from "../support/test_sender.ts";

/** Returns what each line is about: its room and its text, or else its type. */
function told(lines: ReturnType<typeof linesOf>): string[] {
  return lines.map(({ type, room, text, missed }) => `${room} ${text ?? missed ?? type}`);
}

Deno.test("a client in several rooms receives the events of each from its join to its leave, in order", () => {
  const { deliver, enter } = new TestSender();
  const { socket } = enter("1", "json");
  deliver(event("message", "2", "before"));
  deliver(event("join", "1", "", "red"), event("join", "1", "", "blue"));
  deliver(event("message", "2", "one", "blue"), event("message", "2", "two", "red"));
  deliver(
    event("message", "2", "three", "red"),
    event("leave", "1", "", "red"),
    event("message", "2", "none of its business", "red"),
    event("message", "2", "four", "blue"),
  );
  assertEquals(told(linesOf(socket)), [
    "red joined",
    "blue joined",
    "blue one",
    "red two",
    "red three",
    "red left",
    "blue four",
  ]);
});

Deno.test("a second join of the same room changes nothing", () => {
  const test = new TestSender();
  const { deliver } = test;
  const { socket, subscriber } = test.enterRooms("1", "json", "red");
  deliver(event("join", "1"), event("message", "2", "hi"));
  assertEquals(told(linesOf(socket)), ["red joined", "red hi"]);
  deliver(event("leave", "1"), event("message", "2", "gone"));
  assertEquals(told(linesOf(socket)), ["red joined", "red hi", "red left"]);
  assertEquals(subscriber.rooms, []);
});

Deno.test("queued replies follow the events of all rooms of a client, in one room in the same frame", () => {
  const test = new TestSender();
  const { sender } = test;
  const one = test.enterRooms("1", "json", "red");
  const several = test.enterRooms("2", "json", "red", "blue");
  one.socket.sent.length = 0;
  sender.deliver(event("message", "1", "a", "red"), test.nextId());
  for (const { subscriber } of [one, several]) sender.queueLine(subscriber, '{"text":"ok"}');
  sender.deliver(event("message", "2", "b", "blue"), test.nextId());
  sender.flush();
  assertEquals(told(linesOf(one.socket)), ["red a", "undefined ok"]);
  assertEquals(one.socket.sent.length, 1);
  assertEquals(told(linesOf(several.socket)), ["red a", "blue b", "undefined ok"]);
});

Deno.test("a queued reply follows the events of all rooms when a client leaves one of them in the same commit", () => {
  const test = new TestSender();
  const { sender, deliver } = test;
  const { socket, subscriber } = test.enterRooms("1", "json", "red", "blue");
  sender.deliver(event("message", "1", "a", "blue"), test.nextId());
  sender.queueLine(subscriber, '{"text":"ok"}');
  deliver(event("leave", "1", "", "red"));
  assertEquals(told(linesOf(socket)), ["red left", "blue a", "undefined ok"]);
});

Deno.test("a client that reads too slowly is told one gap a room, and then receives the events of all rooms", () => {
  const test = new TestSender();
  const { deliver, time } = test;
  const { socket } = test.enterRooms("1", "json", "red", "blue", "green");
  fill(deliver, socket, "2", "red");
  for (let i = 0; i < 3; i++) deliver(event("message", "2", "missed", "blue"));
  deliver(event("message", "2", "missed", "red"));
  drain(socket);
  // Until the next look, no room sends events: otherwise a busy one could delay all others for ever.
  deliver(event("message", "2", "missed", "blue"));
  assertEquals(socket.sent, []);
  time.advance(200);
  assertEquals(told(linesOf(socket)), ["red 2", "blue 4"]);
  drain(socket);
  for (const room of ["red", "blue", "green"]) deliver(event("message", "2", "again", room));
  assertEquals(told(linesOf(socket)), ["red again", "blue again", "green again"]);
  assertEquals(time.timerCount, 0);
});

Deno.test("each gap of a client in several rooms has the IDs around it in that room", () => {
  const test = new TestSender();
  const { sender, deliver, time } = test;
  const { socket, subscriber } = test.enterRooms("1", "json", "red", "blue");
  const lastIds = { red: test.nextId(), blue: test.nextId() };
  for (const [room, id] of Object.entries(lastIds)) {
    sender.deliver(event("message", "2", "", room), id);
  }
  sender.flush();
  socket.reads = false;
  while (socket.bufferedAmount < 1_050_000) sender.reply(subscriber, "x".repeat(10_000));
  const untilIds = { red: test.nextId(), blue: test.nextId() };
  for (const [room, id] of Object.entries(untilIds)) {
    sender.deliver(event("message", "2", "", room), id);
    sender.flush();
  }
  drain(socket);
  time.advance(200);
  assertEquals(linesOf(socket).map(({ room, after, until }) => [room, after, until]), [
    ["red", lastIds.red, untilIds.red],
    ["blue", lastIds.blue, untilIds.blue],
  ]);
  deliver(event("message", "2", "again"));
});

Deno.test("a slow client that leaves its slow room receives the events of its other rooms, and leaves no timer", () => {
  const test = new TestSender();
  const { deliver, time } = test;
  const { socket, subscriber } = test.enterRooms("1", "json", "red", "blue");
  fill(deliver, socket, "2", "red");
  assertEquals([subscriber.gaps, time.timerCount], [1, 1]);
  deliver(event("leave", "1", "", "red"));
  assertEquals([subscriber.gaps, time.timerCount], [0, 0]);
  drain(socket);
  deliver(event("message", "2", "on it goes", "blue"));
  assertEquals(told(linesOf(socket)), ["blue on it goes"]);
});

Deno.test("a client that joins while it reads too slowly is told of its join, then of its gap", () => {
  const test = new TestSender();
  const { deliver, time } = test;
  const { socket } = test.enterRooms("1", "json", "red");
  fill(deliver, socket, "2", "red");
  socket.sent.length = 0;
  deliver(event("join", "1", "", "blue"));
  deliver(event("message", "2", "missed", "blue"));
  assertEquals(told(linesOf(socket)), ["blue joined"]);
  drain(socket);
  time.advance(200);
  assertEquals(told(linesOf(socket)), ["red 1", "blue 1"]);
});

Deno.test("a quiet join or leave is told only to the session itself, which moves", () => {
  for (const wire of ["text", "json"] as const) {
    const test = new TestSender();
    const { deliver, enter } = test;
    const other = test.enterRooms("2", "json", "red");
    const self = enter("1", wire);
    deliver(
      event("message", "2", "before"),
      event("join", "1", "", "red", { isQuiet: true }),
      event("message", "2", "during"),
      event("leave", "1", "", "red", { isQuiet: true }),
      event("message", "2", "after"),
    );
    assertEquals(told(linesOf(other.socket)), ["red before", "red during", "red after"]);
    if (wire === "json") {
      assertEquals(told(linesOf(self.socket)), ["red joined", "red during", "red left"]);
    } else {
      assertEquals(self.socket.sent, [
        'Joined chat room "red"',
        "nick2: during",
        'Left chat room "red"',
      ]);
    }
    assertEquals(self.subscriber.rooms, []);
  }
});

Deno.test("a quiet leave of a slow client is told after its gap", () => {
  const test = new TestSender();
  const { deliver, time } = test;
  const { socket } = test.enterRooms("1", "json", "red");
  fill(deliver, socket, "2", "red");
  socket.sent.length = 0;
  deliver(event("leave", "1", "", "red", { isQuiet: true }));
  assertEquals(told(linesOf(socket)), ["red 1", "red left"]);
  assertEquals(time.timerCount, 0);
});

Deno.test("the first gap after a quiet join begins at the join", () => {
  const test = new TestSender();
  const { sender, deliver, enter, time } = test;
  deliver(event("message", "2", "long ago"));
  const { socket, subscriber } = enter("1", "json");
  socket.reads = false;
  while (socket.bufferedAmount < 1_050_000) sender.reply(subscriber, "x".repeat(10_000));
  socket.sent.length = 0;
  deliver(event("join", "1", "", "red", { isQuiet: true }));
  const [joined] = linesOf(socket);
  deliver(event("message", "2", "missed"));
  drain(socket);
  time.advance(200);
  assertEquals(linesOf(socket).map(({ type, after }) => [type, after]), [["gap", joined.id]]);
});

Deno.test("a join or leave by a change of identity is told to all, and the session stays in the room", () => {
  const to = userRef("account", "Anna", true);
  for (const kind of ["join", "leave"] as const) {
    const test = new TestSender();
    const { deliver } = test;
    const text = test.enterRooms("1", "text", "red");
    const json = test.enterRooms("2", "json", "red");
    const other = test.enterRooms("3", "text", "red");
    for (const { socket } of [text, json, other]) socket.sent.length = 0;
    deliver(event(kind, "1", "", "red", { to }), event(kind, "2", "", "red", { to }));
    deliver(event("message", "9", "hi"));
    const [first, second] = kind === "join"
      ? ["Anna joined room.", "Anna joined room."]
      : ["nick1 left room.", "nick2 left room."];
    // The reply to its request tells the session itself.
    assertEquals(text.socket.sent, [second, "nick9: hi"]);
    assertEquals(other.socket.sent, [first, second, "nick9: hi"]);
    const user = kind === "join"
      ? { user: "account", nick: "Anna", registered: true }
      : { user: "2", nick: "nick2" };
    const [, own] = linesOf(json.socket);
    assertEquals(own, {
      ...user,
      type: kind === "join" ? "joined" : "left",
      id: own.id,
      room: "red",
      time: 0,
    });
    assertEquals(linesOf(json.socket).length, 3);
  }
});

Deno.test("a change of the user under the same nickname is told to chat.v1 clients only", () => {
  const test = new TestSender();
  const { deliver } = test;
  const text = test.enterRooms("1", "text", "red");
  const json = test.enterRooms("2", "json", "red");
  text.socket.sent.length = 0;
  deliver(event("nick", "1", "", "red", { to: userRef("account", "nick1", true) }));
  assertEquals(text.socket.sent, []);
  assertEquals(linesOf(json.socket).map(({ type, user, to }) => [type, user, to]), [
    ["nick", "1", { user: "account", nick: "nick1", registered: true }],
  ]);
});

Deno.test("a quiet change of nickname is told to no client", () => {
  const test = new TestSender();
  const clients = (["text", "json"] as const).map((wire) => test.enterRooms(wire, wire, "red"));
  for (const { socket } of clients) socket.sent.length = 0;
  test.deliver(event("nick", "text", "", "red", { to: userRef("a", "Anna"), isQuiet: true }));
  assertEquals(clients.map(({ socket }) => socket.sent), [[], []]);
});

Deno.test("an edit or deletion in a room is told to its chat.v1 members, and counts in their gaps only", () => {
  const test = new TestSender();
  const { sender, deliver, time } = test;
  const text = test.enterRooms("1", "text", "red");
  const json = test.enterRooms("2", "json", "red");
  const elsewhere = test.enterRooms("3", "json", "blue");
  text.socket.sent.length = 0;
  const changes = [
    event("edit", "2", "better", "red", { target: "id1" }),
    event("delete", "2", "", "red", { target: "id1" }),
  ];
  deliver(...changes);
  assertEquals(linesOf(json.socket).map(({ type, target }) => [type, target]), [
    ["edited", "id1"],
    ["deleted", "id1"],
  ]);
  assertEquals([text.socket.sent, elsewhere.socket.sent], [[], []]);
  for (const { socket, subscriber } of [text, json]) {
    socket.reads = false;
    while (socket.bufferedAmount < 1_050_000) sender.reply(subscriber, "x".repeat(10_000));
  }
  deliver(event("message", "9", "missed"));
  deliver(...changes);
  for (const { socket } of [text, json]) drain(socket);
  time.advance(200);
  assertEquals(told(linesOf(json.socket)), ["red 3"]);
  assert(text.socket.sent[0]?.startsWith("You missed 1 message:"), text.socket.sent[0]);
});

Deno.test("a client that is closed in several rooms leaves nothing behind", () => {
  const test = new TestSender();
  const { sender, deliver, time } = test;
  const { socket, subscriber } = test.enterRooms("1", "json", "red", "blue");
  fill(deliver, socket, "2", "red");
  sender.remove(subscriber);
  const sent = socket.sent.length;
  deliver(event("message", "2", "hi", "red"), event("message", "2", "hi", "blue"));
  assertEquals([subscriber.rooms, subscriber.gaps, time.timerCount], [[], 0, 0]);
  assertEquals(socket.sent.length, sent);
});
