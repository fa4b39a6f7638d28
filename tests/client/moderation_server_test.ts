/** Moderation by the client against a real server. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { ChatError } from "../../chat/client/client.js";
import type { ChatEvent } from "../../chat/client/client.js";
import { TestServer } from "../support/test_server.ts";
import { answer, connect, type Connected } from "./connected.ts";

const SECRET = "a secret of the operators";

/** Connects an operator who is in the room. */
async function connectOperator(server: TestServer): Promise<Connected> {
  const ann = connect(server, "Ann", { rooms: ["red"] });
  await answer(ann.client.op(SECRET));
  await ann.next("room", ({ role }) => role === "operator");
  return ann;
}

/** Asserts that a call rejects with an error code. */
async function assertCode(call: Promise<unknown>, code: string): Promise<void> {
  const error = await assertRejects(() => answer(call), ChatError);
  assertEquals(error.code, code);
}

Deno.test("a client kicks and bans a user of a room, who is out of it and is refused, and reads that in the record", async () => {
  await using server = await TestServer.open({ operatorSecret: SECRET });
  await using ann = await connectOperator(server);
  await using bob = connect(server, "Bob", { rooms: ["red"] });
  await answer(bob.client.room("red").say("one"));
  const { user } = bob.client;
  await assertCode(bob.client.room("red").act("kick", { nick: "Ann" }), "not-a-moderator");
  const kick = await answer(ann.client.room("red").act("kick", { user, reason: "spam" }));
  const told = await bob.next("act");
  assertEquals([told.id, told.act, told.on?.user, told.reason], [kick.id, "kick", user, "spam"]);
  await bob.next("left");
  assertEquals(bob.client.rooms, []);
  await answer(bob.client.join("red"));
  await answer(ann.client.room("red").act("ban", { nick: "Bob", for: 600 }));
  await bob.next("left", ({ id }) => id > kick.id);
  await assertCode(bob.client.join("red"), "banned");
  await assertCode(bob.client.room("red").say("two"), "not-in-room");
  const { events, more } = await answer(ann.client.room("red").modlog());
  assertEquals(events.map(({ act, on }) => [act, on?.user]), [["kick", user], ["ban", user]]);
  assertEquals([more, events[1]!.until! - events[1]!.time], [false, 600_000]);
  const last = await answer(ann.client.modlog({ limit: 1 }));
  assertEquals([last.events[0]?.act, last.events[0]?.room, last.more], ["ban", "red", true]);
  await assertCode(bob.client.modlog(), "not-an-operator");
});

Deno.test("a client is told the state of a room when it enters, when it changes, and after a lost connection", async () => {
  await using server = await TestServer.open({ operatorSecret: SECRET });
  await using ann = await connectOperator(server);
  const red = ann.client.room("red");
  await answer(red.act("topic", { text: "Tea" }));
  const sockets: WebSocket[] = [];
  await using bob = connect(server, "Bob", {
    rooms: ["red"],
    connect: (url, protocol) => {
      sockets.push(new WebSocket(url, protocol));
      return sockets.at(-1)!;
    },
  });
  assertEquals((await bob.next("room")).topic, "Tea");
  await answer(red.act("mute", { nick: "Bob", for: 600, reason: "spam" }));
  const muted = await bob.next("room", (event) => event.muted !== undefined);
  assert(typeof muted.muted === "number" && muted.muted > Date.now());
  await assertCode(bob.client.room("red").say("one"), "muted");
  await answer(red.act("unmute", { nick: "Bob" }));
  const isLater = (event: ChatEvent) => bob.events.indexOf(event) > bob.events.indexOf(muted);
  assertEquals((await bob.next("room", isLater)).muted, undefined);
  await answer(red.act("slow", { seconds: 100 }));
  await bob.next("room", ({ slow }) => slow === 100);
  await answer(bob.client.room("red").say("two"));
  await assertCode(bob.client.room("red").say("three"), "too-fast");
  sockets[0]!.close(4999);
  await bob.next("state", ({ state }) => state === "offline");
  await answer(red.act("slow", { seconds: 0 }));
  await answer(red.act("topic", { text: "" }));
  await bob.next("resumed", ({ room }) => room === undefined);
  await answer(bob.client.room("red").say("four"));
  assertEquals(bob.client.room("red").state, {});
});

Deno.test("a client deletes the message of another user with a reason, and ignores users", async () => {
  await using server = await TestServer.open({ operatorSecret: SECRET });
  await using ann = await connectOperator(server);
  await using bob = connect(server, "Bob", { rooms: ["red"] });
  const { id } = await answer(bob.client.room("red").say("one"));
  await assertCode(bob.client.room("red").delete("none"), "no-such-message");
  const deleted = bob.next("deleted");
  await answer(ann.client.room("red").delete(id, "spam"));
  assertEquals((await deleted).target, id);
  const { act, message, reason } = await bob.next("act");
  assertEquals([act, message, reason], ["delete", id, "spam"]);
  const { user } = ann.client;
  assertEquals(await answer(bob.client.ignore({ nick: "Ann" })), { user, nick: "Ann" });
  assertEquals(await answer(bob.client.ignored()), [{ user, nick: "Ann" }]);
  await answer(ann.client.room("red").say("unheard"));
  assertEquals(await answer(bob.client.unignore({ user })), { user, nick: "Ann" });
  await answer(ann.client.room("red").say("heard"));
  const { text } = await bob.next("message", ({ nick }) => nick === "Ann");
  assertEquals([text, await answer(bob.client.ignored())], ["heard", []]);
});

Deno.test("a client that is banned from the chat is told so, and waits without a connection", async () => {
  await using server = await TestServer.open({ operatorSecret: SECRET });
  await using ann = await connectOperator(server);
  await using bob = connect(server, "Bob", { rooms: ["red"] });
  await answer(bob.client.register("correct-horse"));
  await answer(ann.client.act("ban", { nick: "Bob", reason: "spam" }));
  const state = await bob.next("state", ({ state }) => state === "offline");
  assertEquals(state, { type: "state", state: "offline", code: 1008, reason: "banned" });
  const { on, room } = await bob.next("act");
  assertEquals([on?.user, room], [bob.client.user, undefined]);
  bob.client.retryNow();
  assertEquals((await bob.next("error")).error.code, "banned");
  assertEquals(bob.client.state, "offline");
});
