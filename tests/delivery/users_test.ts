/** Events for users: direct messages, read markers and changes of direct messages. */
import { assertEquals } from "@std/assert";
import { event, linesOf, SenderHouse, userRef } from "../support/sender_house.ts";

const ANN = userRef("ann", "Ann", true);
const BOB = userRef("bob", "Bob", true);

/** Returns a house in which Ann and Bob have a session of either kind, and Cy has one. */
function open() {
  const house = new SenderHouse();
  const { sender } = house;
  const sessionOf = (user: string, wire: "text" | "json") => {
    const client = house.enter(`${user}-${wire}`, wire);
    sender.setUser(client.subscriber, user);
    return client;
  };
  return {
    house,
    ann: { text: sessionOf("ann", "text"), json: sessionOf("ann", "json") },
    bob: { text: sessionOf("bob", "text"), json: sessionOf("bob", "json") },
    cy: house.enter("cy", "json"),
  };
}

const direct = (text: string, to = BOB) =>
  event("direct", "ann-json", text, "", { account: "ann", nick: "Ann", to });

Deno.test("a direct message is sent once to every session of both users, and to no one else", () => {
  const { house, ann, bob, cy } = open();
  house.deliver(direct("hi"));
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
  const { house, ann, bob } = open();
  house.deliver(direct("a note", ANN));
  assertEquals(ann.text.socket.sent, ["[from Ann] a note", "[to Ann] a note"]);
  assertEquals(linesOf(ann.json.socket).length, 1);
  assertEquals([bob.text.socket.sent, bob.json.socket.sent], [[], []]);
});

Deno.test("an unregistered user receives direct messages by its session ID, until it signs in", () => {
  const { house, cy } = open();
  const toCy = (text: string, user: string) => house.deliver(direct(text, userRef(user, "Cy")));
  toCy("before", "cy");
  house.sender.setUser(cy.subscriber, "cy-account");
  toCy("for nobody", "cy");
  toCy("signed in", "cy-account");
  house.sender.setUser(cy.subscriber, "cy");
  toCy("signed out", "cy");
  toCy("for nobody", "cy-account");
  assertEquals(linesOf(cy.socket).map(({ text }) => text), ["before", "signed in", "signed out"]);
});

Deno.test("a session that has gone receives nothing, and its user's other sessions still do", () => {
  const { house, bob } = open();
  house.sender.remove(bob.json.subscriber);
  house.sender.setUser(bob.json.subscriber, "bob");
  house.deliver(direct("hi"));
  assertEquals([bob.json.socket.sent, bob.text.socket.sent], [[], ["[from Ann] hi"]]);
  house.sender.remove(bob.text.subscriber);
  house.deliver(direct("anyone there?"));
  assertEquals(bob.text.socket.sent.length, 1);
});

Deno.test("a read marker is told to the author's chat.v1 sessions only", () => {
  const { house, ann, bob, cy } = open();
  const author = { account: "ann", nick: "Ann" };
  house.deliver(
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
  const { house, ann, bob, cy } = open();
  const author = { account: "ann", nick: "Ann", to: BOB, target: "id1" };
  house.deliver(
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
  const house = new SenderHouse();
  const { sender } = house;
  const { socket, subscriber } = house.enterRooms("1", "json", "red", "blue");
  sender.deliver(event("message", "2", "room", "blue"), house.nextId());
  sender.deliver(event("direct", "1", "direct", "", { to: userRef("9") }), house.nextId());
  sender.queueLine(subscriber, '{"text":"ok"}');
  sender.flush();
  assertEquals(linesOf(socket).map(({ text }) => text), ["room", "direct", "ok"]);
});
