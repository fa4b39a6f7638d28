/** Events for users: direct messages, read markers and changes of direct messages. */
import { assertEquals } from "@std/assert";
import { event, linesOf, TestSender, userRef } from "../support/test_sender.ts";

const ANN = userRef("ann", "Ann", true);
const BOB = userRef("bob", "Bob", true);

/** Returns a sender for which Ann and Bob have a session of either kind, and Cy has one. */
function open() {
  const test = new TestSender();
  const { sender } = test;
  const sessionOf = (user: string, wire: "text" | "json") => {
    const client = test.enter(`${user}-${wire}`, wire);
    sender.setUser(client.subscriber, user);
    return client;
  };
  return {
    test,
    ann: { text: sessionOf("ann", "text"), json: sessionOf("ann", "json") },
    bob: { text: sessionOf("bob", "text"), json: sessionOf("bob", "json") },
    cy: test.enter("cy", "json"),
  };
}

const direct = (text: string, to = BOB) =>
  event("direct", "ann-json", text, "", { account: "ann", nick: "Ann", to });

Deno.test("a direct message is sent once to every session of both users, and to no one else", () => {
  const { test, ann, bob, cy } = open();
  test.deliver(direct("hi"));
  assertEquals(bob.text.socket.sent, ["[from Ann] hi"]);
  assertEquals(ann.text.socket.sent, ["[to Bob] hi"]);
  const line = linesOf(bob.json.socket);
  assertEquals(line, [{
    type: "direct",
    id: "id000000",
    user: "ann",
    nick: "Ann",
    registered: true,
    to: { user: "bob", nick: "Bob", registered: true },
    text: "hi",
    time: 0,
    kept: true,
  }]);
  assertEquals(linesOf(ann.json.socket), line);
  assertEquals(cy.socket.sent, []);
});

Deno.test("a direct message to oneself is shown from and to oneself in plain text, and once in chat.v1", () => {
  const { test, ann, bob } = open();
  test.deliver(direct("a note", ANN));
  assertEquals(ann.text.socket.sent, ["[from Ann] a note", "[to Ann] a note"]);
  assertEquals(linesOf(ann.json.socket).length, 1);
  assertEquals([bob.text.socket.sent, bob.json.socket.sent], [[], []]);
});

Deno.test("an unregistered user receives direct messages by its session ID, until it signs in", () => {
  const { test, cy } = open();
  const toCy = (text: string, user: string) => test.deliver(direct(text, userRef(user, "Cy")));
  toCy("before", "cy");
  test.sender.setUser(cy.subscriber, "cy-account");
  toCy("for nobody", "cy");
  toCy("signed in", "cy-account");
  test.sender.setUser(cy.subscriber, "cy");
  toCy("signed out", "cy");
  toCy("for nobody", "cy-account");
  assertEquals(linesOf(cy.socket).map(({ text }) => text), ["before", "signed in", "signed out"]);
});

Deno.test("a session that has gone receives nothing, and its user's other sessions still do", () => {
  const { test, bob } = open();
  test.sender.remove(bob.json.subscriber);
  test.sender.setUser(bob.json.subscriber, "bob");
  test.deliver(direct("hi"));
  assertEquals([bob.json.socket.sent, bob.text.socket.sent], [[], ["[from Ann] hi"]]);
  test.sender.remove(bob.text.subscriber);
  test.deliver(direct("anyone there?"));
  assertEquals(bob.text.socket.sent.length, 1);
});

Deno.test("a read marker is told to the author's chat.v1 sessions only", () => {
  const { test, ann, bob, cy } = open();
  const author = { account: "ann", nick: "Ann" };
  test.deliver(
    event("read", "ann-text", "", "red", { ...author, target: "id7" }),
    event("read", "ann-text", "", "", { ...author, target: "id8", to: BOB }),
  );
  assertEquals(linesOf(ann.json.socket), [
    { type: "read", room: "red", id: "id7" },
    { type: "read", with: "bob", id: "id8" },
  ]);
  const others = [ann.text, bob.text, bob.json, cy];
  assertEquals(others.map(({ socket }) => socket.sent), [[], [], [], []]);
});

Deno.test("an edit or deletion of a direct message is told to the chat.v1 sessions of both users", () => {
  const { test, ann, bob, cy } = open();
  const author = { account: "ann", nick: "Ann", to: BOB, target: "id1" };
  test.deliver(
    event("edit", "ann-json", "better", "", author),
    event("delete", "ann-json", "", "", author),
  );
  for (const { socket } of [ann.json, bob.json]) {
    assertEquals(linesOf(socket).map(({ type, target, room }) => [type, target, room]), [
      ["edited", "id1", undefined],
      ["deleted", "id1", undefined],
    ]);
  }
  assertEquals([ann.text, bob.text, cy].map(({ socket }) => socket.sent), [[], [], []]);
});

Deno.test("a direct message comes before the reply to it, and after the room events before it", () => {
  const test = new TestSender();
  const { sender } = test;
  const { socket, subscriber } = test.enterRooms("1", "json", "red", "blue");
  sender.deliver(event("message", "2", "room", "blue"), test.nextId());
  sender.deliver(event("direct", "1", "direct", "", { to: userRef("9") }), test.nextId());
  sender.queueLine(subscriber, '{"text":"ok"}');
  sender.flush();
  assertEquals(linesOf(socket).map(({ text }) => text), ["room", "direct", "ok"]);
});
