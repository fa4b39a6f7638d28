/** The client against a real server. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { ChatError } from "../../chat/client/client.js";
import { runDeno } from "../support/processes.ts";
import { TestServer } from "../support/test_server.ts";
import { withDeadline } from "../support/wait.ts";
import { answer, connect, type Connected } from "./connected.ts";

Deno.test("two users exchange messages in two rooms and directly through a server", async () => {
  await using server = await TestServer.open();
  await using ann = connect(server, "Ann", { rooms: ["red", "blue"] });
  await answer(ann.client.room("blue").say("hello"));
  const bob = await server.login("Bob", "red");
  const received = ann.next("message", ({ nick }) => nick === "Bob");
  await bob.request("Hello, Ann", "Bob: Hello, Ann");
  const { room, text, user } = await received;
  assertEquals([room, text, ann.client.rooms], ["red", "Hello, Ann", ["red", "blue"]]);
  const { members } = await answer(ann.client.room("red").members());
  assertEquals(members.map(({ nick }) => nick).sort(), ["Ann", "Bob"]);
  const who = await answer(ann.client.who("bob"));
  assertEquals(who, { user, nick: "Bob", rooms: ["red"], online: true });
  const rooms = [{ room: "blue", people: 1 }, { room: "red", people: 2 }];
  assertEquals(await answer(ann.client.list()), rooms);
  await answer(ann.client.rename("Anna"));
  await bob.expect("Ann is now known as Anna.");
  await answer(ann.client.tell("Bob", "psst"));
  await bob.expect("[from Anna] psst");
  const direct = ann.next("direct", ({ nick }) => nick === "Bob");
  await bob.request("/msg Anna yes?", "[to Anna] yes?");
  assertEquals((await direct).user, user);
  const sent = await answer(ann.client.direct(user).say("no"));
  assertEquals("kept" in sent, false);
  await bob.expect("[from Anna] no");
  await answer(ann.client.room("red").leave());
  await bob.expect("Anna left room.");
  assertEquals(ann.client.rooms, ["blue"]);
});

Deno.test("messages are edited and deleted, and history shows the result", async () => {
  await using server = await TestServer.open();
  await using ann = connect(server, "Ann");
  await using bob = connect(server, "Bob");
  const red = await answer(ann.client.join("red"));
  await answer(bob.client.join("red"));
  const [first, second] = [await answer(red.say("frist")), await answer(red.say("oops"))];
  const [edited, deleted] = [bob.next("edited"), bob.next("deleted")];
  await answer(red.edit(first.id, "first"));
  await answer(red.delete(second.id));
  assertEquals([(await edited).text, (await edited).target], ["first", first.id]);
  assertEquals((await deleted).target, second.id);
  const { events } = await answer(bob.client.room("red").history());
  assertEquals(events.map(({ text }) => text), ["first", ""]);
  assert(events[0]!.edited !== undefined && events[1]!.deleted !== undefined);
  await assertRejects(() => answer(bob.client.room("red").edit(first.id, "mine")), ChatError);
});

Deno.test("a registered nickname is refused to others and regained by its password", async () => {
  await using server = await TestServer.open();
  {
    await using ann = connect(server, "Ann", { rooms: ["red"] });
    await answer(ann.client.register("correct-horse"));
    assert(ann.client.registered);
  }
  await using eve = connect(server, "ANN", { rooms: ["red"] });
  const { error } = await eve.next("error");
  assertEquals(error.code, "nickname-registered");
  await assertRejects(() => answer(eve.client.identify("Ann", "wrong-horse")), ChatError);
  await answer(eve.client.identify("Ann", "correct-horse"));
  await answer(eve.client.room("red").say("It is me"));
  await eve.client.close();
  await using ann = connect(server, "Ann", { password: "correct-horse", rooms: ["red"] });
  await answer(ann.client.room("red").say("Me, too"));
  assertEquals([ann.client.nick, ann.client.user], ["Ann", eve.client.user]);
});

Deno.test("two sessions of a user share rooms, direct messages and read markers, and one can end the other", async () => {
  await using server = await TestServer.open();
  await using laptop = connect(server, "Ann", { rooms: ["red"] });
  await answer(laptop.client.register("correct-horse"));
  const { id } = await answer(laptop.client.room("red").say("one"));
  await using phone = connect(server, "Ann", { password: "correct-horse" });
  const { rooms } = await phone.next("welcome");
  assertEquals(rooms.map(({ room, joined }) => [room, joined]), [["red", false]]);
  await answer(phone.client.join("red"));
  assertEquals(phone.client.user, laptop.client.user);
  const { members } = await answer(phone.client.room("red").members());
  assertEquals(members.map(({ nick }) => nick), ["Ann"]);
  const [message, direct, read] = [
    laptop.next("message", ({ text }) => text === "two"),
    laptop.next("direct"),
    laptop.next("read"),
  ];
  await answer(phone.client.room("red").say("two"));
  await answer(phone.client.tell("Ann", "to myself"));
  await answer(phone.client.room("red").markRead(id));
  assertEquals((await message).user, laptop.client.user);
  assertEquals([(await direct).text, (await read).id], ["to myself", id]);
  const sessions = await answer(phone.client.sessions());
  assertEquals(sessions.map(({ protocol }) => protocol), ["chat.v1", "chat.v1"]);
  const closed = laptop.next("state", ({ state }) => state === "closed");
  const other = sessions.find(({ current }) => !current)!;
  await answer(phone.client.endSession(other.session));
  assertEquals(await closed, { type: "state", state: "closed", reason: "ended" });
});

Deno.test("a direct message to a registered user who is offline arrives once, when the user comes back", async () => {
  await using server = await TestServer.open();
  await using ann = connect(server, "Ann");
  await answer(ann.client.register("correct-horse"));
  await using bob = connect(server, "Bob");
  await answer(bob.client.register("battery-staple"));
  await bob.client.close();
  const { id, kept } = await answer(ann.client.direct(bob.client.user).say("later"));
  assertEquals(kept, true);
  await using again = connect(server, "Bob", { password: "battery-staple" });
  assertEquals((await again.next("direct")).id, id);
  const { events } = await answer(again.client.direct(ann.client.user).history());
  assertEquals(events.map(({ text }) => text), ["later"]);
  assertEquals(again.events.filter(({ type }) => type === "direct").length, 1);
});

Deno.test("a client that loses its connection misses nothing in any room and posts everything once", async () => {
  await using server = await TestServer.open();
  const sockets: WebSocket[] = [];
  await using ann = connect(server, "Ann", {
    rooms: ["red", "blue"],
    connect: (url, protocol) => {
      const socket = new WebSocket(url, protocol);
      sockets.push(socket);
      return socket;
    },
  });
  const [red, blue] = [ann.client.room("red"), ann.client.room("blue")];
  await answer(Promise.all([red.say("one"), blue.say("two")]));
  const bob = await server.login("Bob", "red");
  const cy = await server.login("Cy", "blue");
  await ann.next("joined", ({ nick }) => nick === "Bob");
  await ann.next("joined", ({ nick }) => nick === "Cy");
  const gone = new Promise((resolve) => sockets[0]!.addEventListener("close", resolve));
  sockets[0]!.close(4999);
  await withDeadline(gone, "the end of the first connection");
  await bob.request("three", "Bob: three");
  await cy.request("four", "Cy: four");
  await answer(red.say("five"));
  await bob.expect("Ann: five");
  await ann.next("resumed", ({ room }) => room === undefined);
  const ends = ann.events.filter((event) => event.type === "resumed");
  assertEquals(
    ends.map(({ room = "", recovered, missed }) => [room, recovered, missed]).sort(),
    [["", true, 0], ["blue", true, 1], ["red", true, 1]],
  );
  const shown = (room: string) =>
    ann.events.flatMap((event) =>
      event.type === "message" && event.room === room ? event.text : []
    );
  assertEquals([shown("red"), shown("blue")], [["one", "three", "five"], ["two", "four"]]);
  await bob.expectNothingElse();
});

Deno.test("a client whose session is lost returns to its rooms and recovers what was said there", async () => {
  await using server = await TestServer.open();
  await using before = connect(server, "Ann", { rooms: ["red"] });
  await answer(before.client.room("red").say("one"));
  const bob = await server.login("Bob", "red");
  const { rooms } = savedSession(before);
  await before.client.close();
  await bob.expect("Ann left room.");
  await bob.request("two", "Bob: two");
  // The server does not know this token.
  const session = { tokens: ["none"], user: "none", nick: "Ann", rooms, grace: 30 };
  await using ann = connect(server, "Ann", { session: { load: () => session, save() {} } });
  const { room, recovered, missed } = await ann.next("resumed");
  assertEquals([room, recovered, missed], ["red", true, 1]);
  const texts = ann.events.flatMap((event) => event.type === "message" ? event.text : []);
  assertEquals(texts, ["two"]);
});

Deno.test("a client that exceeds the rate limit posts everything in order and stays connected", async () => {
  await using server = await TestServer.open({
    rateLimits: { messages: { count: 40, seconds: 1 } },
  });
  await using ann = connect(server, "Ann", { rooms: ["red"] });
  const words = Array.from({ length: 150 }, (_, i) => `word ${i}`);
  await answer(Promise.all(words.map((word) => ann.client.room("red").say(word))));
  const shown = ann.events.flatMap((event) => event.type === "message" ? event.text : []);
  assertEquals(shown, words);
  const states = ann.events.flatMap((event) => event.type === "state" ? event.state : []);
  assertEquals(states, ["online"]);
});

Deno.test("a program that imports /client.js from a server runs, and has the types", async () => {
  await using server = await TestServer.open();
  const url = `http://127.0.0.1:${server.port}/client.js`;
  const flags = ["--no-config", "--no-lock", "--check", "-A", `--reload=${url}`, "--ext=ts", "-"];
  const program = `import { ChatClient } from "${url}";
    const client = new ChatClient("${server.url}", { nick: "Ann", rooms: ["red"] });
    await client.room("red").say("Hello");
    console.log(await client.list());
    await client.close();`;
  const right = await runDeno(["run", ...flags], {}, program);
  assertEquals(right.stdout, '[ { room: "red", people: 1 } ]\n', right.stderr);
  const wrong = await runDeno(["run", ...flags], {}, program.replace('say("Hello")', "say(7)"));
  assert(wrong.stderr.includes("TS2345"), wrong.stderr);
});

/** Returns the rooms of a client as it would save them. */
function savedSession({ events }: Connected): { rooms: Record<string, string | null> } {
  const rooms: Record<string, string | null> = {};
  for (const event of events) {
    if ("room" in event && event.room !== undefined && "id" in event) rooms[event.room] = event.id;
  }
  return { rooms };
}
