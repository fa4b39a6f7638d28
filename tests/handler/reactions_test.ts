/** Reactions over real sockets: who is told, what history shows, and what is refused. */
import { assert, assertEquals } from "@std/assert";
import { MAX_REACTIONS } from "../../chat/base/reactions.ts";
import { JsonClient, type JsonObject } from "../support/json_client.ts";
import { TestServer } from "../support/test_server.ts";

/** Returns the reactions to each message of the client's room, as the client reads them. */
async function reactionsIn(client: JsonClient): Promise<JsonObject[]> {
  const heard = await client.requestAll({ type: "history", room: client.room });
  return heard.at(-1)!.events.map(({ reactions = [] }: JsonObject) => reactions);
}

function thumb(id: string, more: object = {}): object {
  return { type: "react", room: "red", id, emoji: "👍", ...more };
}

Deno.test("a reaction is told to the members in the one order, and the history counts it", async () => {
  await using server = await TestServer.open();
  const bob = await JsonClient.login(server, "Bob", "red");
  const ann = await JsonClient.login(server, "Ann", "red");
  const tim = await server.login("Tim", "red");
  const eve = await JsonClient.login(server, "Eve", "blue");
  await bob.expect({ type: "joined", nick: "Ann" }, { type: "joined", nick: "Tim" });
  await ann.expect({ type: "joined", nick: "Tim" });
  const id = await ann.sendMessage("hello");
  await bob.expect({ text: "hello" });
  const [told, ok] = await bob.requestAll(thumb(id));
  assertEquals([told!.type, told!.target, told!.emoji, told!.nick], ["reaction", id, "👍", "Bob"]);
  assertEquals([ok!.type, ok!.id], ["ok", told!.id]);
  await ann.expect(told!);
  // The same once more changes nothing, and tells nobody.
  const [again] = await bob.requestAll(thumb(id));
  assertEquals([again!.type, "id" in again!], ["ok", false]);
  await ann.requestAll(thumb(id));
  await bob.expect({ type: "reaction", nick: "Ann" });
  assertEquals(await reactionsIn(bob), [[{ emoji: "👍", count: 2, own: true }]]);
  const [back] = await ann.requestAll(thumb(id, { remove: true }));
  assertEquals(back!.removed, true);
  await bob.expect({ type: "reaction", removed: true });
  assertEquals(await reactionsIn(ann), [[{ emoji: "👍", count: 1 }]]);
  // An edit keeps reactions, a deletion removes them.
  await ann.requestAll({ type: "edit", room: "red", id, text: "hello!" });
  assertEquals(await reactionsIn(ann), [[{ emoji: "👍", count: 1 }]]);
  await ann.requestAll({ type: "delete", room: "red", id });
  assertEquals(await reactionsIn(ann), [[]]);
  await bob.expect({ type: "edited" }, { type: "deleted" });
  await bob.expectError(thumb(id), "no-such-message");
  await tim.expect("Ann: hello");
  await tim.expectNothingElse();
  await eve.expectNothingElse();
});

Deno.test("two users on two instances react in the same instant, and both count", async () => {
  const kv = await Deno.openKv(":memory:");
  {
    await using one = await TestServer.open({ kv, local: false });
    await using other = await TestServer.open({ kv, local: false });
    const ann = await JsonClient.login(one, "Ann", "red");
    const bob = await JsonClient.login(other, "Bob", "red");
    await ann.expect({ type: "joined", nick: "Bob" });
    const id = await ann.sendMessage("hello");
    await bob.expect({ text: "hello" });
    const replies = await Promise.all([ann.requestAll(thumb(id)), bob.requestAll(thumb(id))]);
    assertEquals(replies.map((heard) => heard.at(-1)!.message ?? heard.at(-1)!.type), ["ok", "ok"]);
    assertEquals(await reactionsIn(ann), [[{ emoji: "👍", count: 2, own: true }]]);
    assertEquals(await reactionsIn(bob), [[{ emoji: "👍", count: 2, own: true }]]);
  }
  kv.close();
});

Deno.test("direct messages that are kept have reactions of both users, and nobody else hears of them", async () => {
  await using server = await TestServer.open();
  const ann = await JsonClient.register(server, "Ann");
  const bob = await JsonClient.register(server, "Bob");
  const cy = await JsonClient.register(server, "Cy");
  const { id } = (await ann.requestAll({ type: "direct", to: "Bob", text: "psst" })).at(-1)!;
  await bob.expect({ type: "direct", text: "psst" });
  const [told] = await bob.requestAll({ type: "react", with: ann.user, id, emoji: "😂" });
  assertEquals([told!.to.user, told!.target], [ann.user, id]);
  await ann.expect(told!);
  const { events } = await ann.request({ type: "history", with: bob.user });
  assertEquals(events[0].reactions, [{ emoji: "😂", count: 1 }]);
  await cy.expectError({ type: "react", with: ann.user, id, emoji: "😂" }, "no-such-message");
  await cy.expectNothingElse();
});

Deno.test("what is no emoji, room or message is refused in one line, and muted users may not react", async () => {
  await using server = await TestServer.open({ operatorSecret: "secret of operators" });
  const ann = await JsonClient.login(server, "Ann", "red");
  const bob = await JsonClient.login(server, "Bob", "red");
  await ann.expect({ type: "joined", nick: "Bob" });
  const id = await ann.sendMessage("hello");
  await bob.expect({ text: "hello" });
  for (const emoji of ["", "👎", "x".repeat(5_000), "👍👍", 1, null]) {
    await bob.expectError(thumb(id, { emoji }), "bad-request");
  }
  await bob.expectError(thumb("nonsense"), "no-such-message");
  await bob.expectError(thumb(id, { room: "blue" }), "not-in-room");
  await ann.requestAll({ type: "op", secret: "secret of operators" });
  await ann.requestAll({ type: "mute", room: "red", nick: "Bob" });
  const codes = (await bob.requestAll(thumb(id))).map(({ code }) => code).filter(Boolean);
  assertEquals(codes, ["muted"]);
  assertEquals(await reactionsIn(ann), [[]]);
});

Deno.test("a message holds a bounded number of reactions", async () => {
  await using server = await TestServer.open({ rateLimits: "off" });
  const ann = await JsonClient.login(server, "Ann", "red");
  const id = await ann.sendMessage("hello");
  const emoji = ["👍", "❤️", "😂", "🎉", "😮", "😢"];
  const users = Math.ceil(MAX_REACTIONS / emoji.length) + 1;
  let refused = 0;
  for (let n = 0; n < users; n++) {
    const user = await JsonClient.login(server, `U${n}`, "red");
    for (const each of emoji) {
      const heard = await user.requestAll(thumb(id, { emoji: each }));
      const { type, code } = heard.at(-1)!;
      if (type === "ok") continue;
      assertEquals(code, "too-many-reactions");
      refused++;
    }
    await user.connection.disconnect();
  }
  const [counts] = await reactionsIn(ann);
  const sum = counts!.reduce((all: number, { count }: JsonObject) => all + count, 0);
  assertEquals([sum, refused], [MAX_REACTIONS, users * emoji.length - MAX_REACTIONS]);
  assert(refused > 0);
});

Deno.test("a client that resumes learns of the reactions that it missed", async () => {
  await using server = await TestServer.open();
  const ann = await JsonClient.login(server, "Ann", "red");
  const bob = await JsonClient.login(server, "Bob", "red");
  await ann.expect({ type: "joined", nick: "Bob" });
  const id = await ann.sendMessage("hello");
  await bob.expect({ text: "hello" });
  ann.connection.socket.close(4000);
  await ann.connection.closed;
  await bob.requestAll(thumb(id));
  const back = await JsonClient.connect(server);
  back.send({ type: "resume", token: ann.welcome.token, last: { red: id } });
  const lines: JsonObject[] = [await back.next()];
  while (lines.at(-1)!.type !== "resumed" || lines.at(-1)!.room !== "red") {
    lines.push(await back.next());
  }
  const missed = lines.filter(({ type }) => type === "reaction");
  assertEquals(missed.map(({ target, emoji, nick }) => [target, emoji, nick]), [[id, "👍", "Bob"]]);
});

Deno.test("a missed message already includes a missed reaction, and the event's count says so", async () => {
  await using server = await TestServer.open();
  const ann = await JsonClient.login(server, "Ann", "red");
  const bob = await JsonClient.login(server, "Bob", "red");
  const cy = await JsonClient.login(server, "Cy", "red");
  await ann.expect({ type: "joined", nick: "Bob" }, { type: "joined", nick: "Cy" });
  await bob.expect({ type: "joined", nick: "Cy" });
  const first = await ann.sendMessage("first");
  await bob.expect({ text: "first" });
  await cy.expect({ text: "first" });
  ann.connection.socket.close(4000);
  await ann.connection.closed;
  const id = await bob.sendMessage("hello");
  await cy.expect({ text: "hello" });
  const [one] = await bob.requestAll(thumb(id));
  await cy.expect(one!);
  const [two] = await cy.requestAll(thumb(id));
  await bob.expect(two!);
  const [less] = await bob.requestAll(thumb(id, { remove: true }));
  assertEquals([one!.count, two!.count, less!.count, less!.removed], [1, 2, 1, true]);
  const back = await JsonClient.connect(server);
  back.send({ type: "resume", token: ann.welcome.token, last: { red: first } });
  const lines: JsonObject[] = [await back.next()];
  while (lines.at(-1)!.type !== "resumed" || lines.at(-1)!.room !== "red") {
    lines.push(await back.next());
  }
  const message = lines.find((each) => each.id === id);
  assertEquals(message!.reactions, [{ emoji: "👍", count: 1 }]);
  const missed = lines.filter(({ type }) => type === "reaction");
  assertEquals(missed.map(({ count }) => count), [1, 2, 1]);
});
