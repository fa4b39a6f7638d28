/** Editing and deleting over real sockets: who may change which message, and what the others see. */
import { assert, assertEquals } from "@std/assert";
import { AdjustedClock } from "../support/fake_clock.ts";
import { JsonClient, type JsonObject, PASSWORD } from "../support/json_client.ts";
import { TestServer } from "../support/test_server.ts";

/** Returns the messages of a room as its history has them. */
async function messages(client: JsonClient, where: object = {}): Promise<JsonObject[]> {
  const request = { type: "history", ..."with" in where ? {} : { room: client.room }, ...where };
  return (await client.request(request)).events;
}

Deno.test("an edit and a deletion are told to the members in the one order, and the history has the result", async () => {
  await using server = await TestServer.open();
  const bob = await JsonClient.login(server, "Bob", "red");
  const tim = await server.login("Tim", "red");
  const ann = await JsonClient.login(server, "Ann", "red");
  const eve = await JsonClient.login(server, "Eve", "blue");
  await bob.expect({ type: "joined", nick: "Tim" }, { type: "joined", nick: "Ann" });
  const id = await ann.sendMessage("helo");
  const second = await ann.sendMessage("second");
  const [edited, ok] = await ann.requestAll({ type: "edit", room: "red", id, text: "hello" });
  assertEquals([edited!.type, edited!.target, edited!.text], ["edited", id, "hello"]);
  assertEquals([ok!.type, ok!.id], ["ok", edited!.id]);
  await ann.sendMessage("third");
  const [deleted] = await ann.requestAll({ type: "delete", room: "red", id: second });
  assertEquals([deleted!.type, deleted!.target, "text" in deleted!], ["deleted", second, false]);
  const seen = ["helo", "second"].map((text) => ({ type: "message", text }));
  await bob.expect(...seen, edited!, { text: "third" }, deleted!);
  // Plain text shows only the result.
  await tim.expect("Ann joined room.", "Ann: helo", "Ann: second", "Ann: third");
  tim.send("/history");
  const past = (await tim.next()).replace(/^\[.{16}\] /gm, "");
  assertEquals(past, "Ann: hello\nAnn: third");
  const [first, gone, third] = await messages(bob);
  assertEquals([first!.text, first!.edited], ["hello", edited!.time]);
  assertEquals([gone!.text, gone!.deleted, "edited" in gone!], ["", deleted!.time, false]);
  assertEquals([third!.text, "edited" in third!, "deleted" in third!], ["third", false, false]);
  for (const client of [ann, bob, eve]) await client.expectNothingElse();
  await tim.expectNothingElse();
});

Deno.test("a user changes its messages from any of its sessions, and an unregistered one from the same session", async () => {
  await using server = await TestServer.open();
  const desk = await JsonClient.register(server, "Ann", "red");
  const id = await desk.sendMessage("from the desk");
  const phone = await JsonClient.identify(server, "Ann", "red");
  const heard = await phone.requestAll({ type: "edit", room: "red", id, text: "from the phone" });
  assertEquals(heard.map(({ type }) => type), ["edited", "ok"]);
  await desk.expect({ type: "edited", text: "from the phone" });
  const guest = await JsonClient.login(server, "Guest", "red");
  const own = await guest.sendMessage("as a guest");
  await guest.requestAll({ type: "nick", nick: "Visitor" });
  const later = await guest.requestAll({ type: "delete", room: "red", id: own });
  assertEquals(later.map(({ type }) => type), ["deleted", "ok"]);
  // Signed in, it is another user.
  const before = await guest.sendMessage("before");
  await guest.requestAll({ type: "register", password: PASSWORD });
  await guest.expectError(
    { type: "edit", room: "red", id: before, text: "BOO" },
    "no-such-message",
  );
});

Deno.test("kept direct messages can be changed, for all sessions of both users, and others cannot", async () => {
  await using server = await TestServer.open();
  const ann = await JsonClient.register(server, "Ann");
  const bob = await JsonClient.register(server, "Bob");
  const phone = await JsonClient.identify(server, "Bob");
  const cy = await JsonClient.login(server, "Cy");
  const send = async (to: string) =>
    (await ann.requestAll({ type: "direct", to, text: "psst" })).at(-1)!.id;
  const [id, other] = [await send("Bob"), await send("Cy")];
  await bob.expect({ text: "psst" });
  await phone.expect({ text: "psst" });
  await cy.expect({ text: "psst" });
  const edit = { type: "edit", with: bob.user, id, text: "hush" };
  const [edited] = await ann.requestAll(edit);
  assertEquals([edited!.type, edited!.to.user, "room" in edited!], ["edited", bob.user, false]);
  for (const client of [bob, phone]) assertEquals(await client.next(), edited);
  await bob.expectError({ ...edit, with: ann.user, text: "BOO" }, "no-such-message");
  await ann.expectError({ ...edit, with: cy.user, id: other }, "no-such-message");
  await ann.expectError({ ...edit, with: cy.user }, "no-such-message");
  assertEquals((await messages(bob, { with: ann.user })).map(({ text }) => text), ["hush"]);
  await ann.requestAll({ type: "delete", with: bob.user, id });
  for (const client of [bob, phone]) await client.expect({ type: "deleted", target: id });
  const [gone] = await messages(phone, { with: ann.user });
  assertEquals([gone!.text, typeof gone!.deleted], ["", "number"]);
  for (const client of [ann, bob, phone, cy]) await client.expectNothingElse();
});

Deno.test("messages of others, deleted ones, and what is none are refused with one line, and nobody is told", async () => {
  await using server = await TestServer.open({ rateLimits: "off" });
  const bob = await JsonClient.login(server, "Bob", "red");
  const ann = await JsonClient.login(server, "Ann", "red");
  await bob.expect({ type: "joined", nick: "Ann" });
  const theirs = await bob.sendMessage("theirs");
  await ann.expect({ text: "theirs" });
  const deleted = await ann.sendMessage("deleted");
  await ann.requestAll({ type: "delete", room: "red", id: deleted });
  await bob.expect({ text: "deleted" }, { type: "deleted" });
  const id = await ann.sendMessage("mine");
  await bob.expect({ text: "mine" });
  const joined = await ann.join("blue");
  const cases: [object, string][] = [
    ...[
      theirs,
      deleted,
      joined,
      "",
      "a",
      "~",
      "hello",
      "\u0000",
      "é",
      `${id}0`,
      `z${"f".repeat(30)}`,
    ]
      .map((id): [object, string] => [{ room: "red", id }, "no-such-message"]),
    [{ room: "blue", id }, "no-such-message"],
    [{ room: "nowhere", id }, "not-in-room"],
    [{ room: "", id }, "not-in-room"],
    [{ with: bob.user, id }, "no-such-message"],
    [{ with: "", id }, "no-such-message"],
    [{ id }, "bad-request"],
    [{ room: "red", with: bob.user, id }, "bad-request"],
    [{ room: "red" }, "bad-request"],
    [{ room: "red", id: "x".repeat(65) }, "bad-request"],
  ];
  for (const [fields, code] of cases) {
    await ann.expectError({ type: "edit", ...fields, text: "BOO" }, code);
    await ann.expectError({ type: "delete", ...fields }, code);
  }
  await ann.expectError({ type: "edit", room: "red", id, text: "" }, "bad-request");
  await ann.expectError({ type: "edit", room: "red", id, text: "x".repeat(16_385) }, "too-long");
  const expected = [["theirs", false], ["", true], ["mine", false]];
  assertEquals((await messages(bob)).map(({ text, deleted }) => [text, !!deleted]), expected);
  await bob.expectNothingElse();
  assertEquals(server.warnings, []);
});

Deno.test("a message can be changed for the time that the operator set, and not at all if that is off", async () => {
  const clock = new AdjustedClock();
  await using server = await TestServer.open({ clock, editSeconds: 60 });
  const ann = await JsonClient.login(server, "Ann", "red");
  assertEquals(ann.welcome.edit, 60);
  const id = await ann.sendMessage("one");
  const edit = { type: "edit", room: "red", id, text: "two" };
  clock.wallAheadMs = 50_000;
  assertEquals((await ann.requestAll(edit)).at(-1)!.type, "ok");
  // The time counts from the message, not from its last edit.
  clock.wallAheadMs = 61_000;
  await ann.expectError({ ...edit, text: "BOO" }, "edit-too-late");
  await ann.expectError({ type: "delete", room: "red", id }, "edit-too-late");
  assertEquals((await messages(ann)).map(({ text }) => text), ["two"]);
  await using off = await TestServer.open({ editSeconds: 0 });
  const bob = await JsonClient.login(off, "Bob", "red");
  assertEquals(bob.welcome.edit, 0);
  const mine = await bob.sendMessage("one");
  await bob.expectError({ ...edit, id: mine }, "edit-too-late");
  await using none = await TestServer.open({ historySeconds: 0 });
  const cy = await JsonClient.login(none, "Cy", "red");
  const gone = await cy.sendMessage("one");
  await cy.expectError({ ...edit, id: gone }, "history-off");
});

Deno.test("edits count as messages: of the sender, and of the room together with those of others", async () => {
  await using server = await TestServer.open({
    rateLimits: { messages: { count: 10, seconds: 100 }, room: "off" },
  });
  const bob = await JsonClient.login(server, "Bob", "red");
  const ann = await JsonClient.login(server, "Ann", "red");
  await bob.expect({ type: "joined" });
  const id = await ann.sendMessage("0");
  const edits = Array.from({ length: 1_000 }, (_, i) => {
    return JSON.stringify({ type: "edit", room: "red", id, text: `${i + 1}`, ref: i });
  });
  // As many as a client may ignore, in one frame.
  ann.send(edits.slice(0, 100).join("\n"));
  const codes = new Map<string, number>();
  let replies = 0;
  while (replies < 100) {
    const { type, ref, code = type } = await ann.next();
    if (ref === undefined) continue;
    replies++;
    codes.set(code, (codes.get(code) ?? 0) + 1);
  }
  assertEquals([...codes], [["ok", 9], ["too-fast", 91]]);
  await bob.expect({ text: "0" });
  for (let i = 1; i <= 9; i++) await bob.expect({ type: "edited", text: `${i}` });
  await bob.expectNothingElse();
  // The others go on.
  await bob.sendMessage("all is well");
  assertEquals((await messages(bob)).map(({ text }) => text), ["9", "all is well"]);
  await using busy = await TestServer.open({ rateLimits: { room: { count: 4, seconds: 40 } } });
  const [cy, dora] = [
    await JsonClient.login(busy, "Cy", "red"),
    await JsonClient.login(busy, "Dora", "red"),
  ];
  const own = await dora.sendMessage("one");
  for (const text of ["two", "three", "four"]) {
    await dora.requestAll({ type: "edit", room: "red", id: own, text });
  }
  const refused = await cy.requestAll({ type: "message", room: "red", text: "BOO" });
  assertEquals(refused.at(-1)!.code, "too-fast");
});

Deno.test("edits of one message by several sessions at once leave the last one that was told", async () => {
  using kv = await Deno.openKv(":memory:");
  await using one = await TestServer.open({ kv, local: false, rateLimits: "off" });
  await using other = await TestServer.open({ kv, local: false, rateLimits: "off" });
  const ann = await JsonClient.register(one, "Ann", "red");
  const id = await ann.sendMessage("0");
  const phone = await JsonClient.identify(other, "Ann", "red");
  const outcomes = await Promise.all([ann, phone].flatMap((client, i) =>
    [client].map(async () => {
      const types: string[] = [];
      for (let n = 0; n < 10; n++) {
        const edit = { type: "edit", room: "red", id, text: `${i} ${n}` };
        types.push((await client.requestAll(edit)).at(-1)!.type);
      }
      return types;
    })
  ));
  assertEquals(outcomes.flat(), Array(20).fill("ok"));
  await phone.requestAll({ type: "message", room: "red", text: "end" });
  const edits = phone.connection.received.map((line) => JSON.parse(line))
    .filter(({ type }) => type === "edited");
  assertEquals(edits.length, 20);
  const [message] = (await ann.requestAll({ type: "history", room: "red" })).at(-1)!.events;
  assertEquals(message.text, edits.at(-1).text);
});

Deno.test("the text of a deleted message is in no row of the history, and in no page", async () => {
  await using server = await TestServer.open();
  const ann = await JsonClient.register(server, "Ann", "red");
  await JsonClient.register(server, "Bob");
  const secret = "this must go";
  const id = await ann.sendMessage(secret);
  const direct = (await ann.requestAll({ type: "direct", to: "Bob", text: secret })).at(-1)!;
  const { to } = JSON.parse(ann.connection.received.at(-2)!);
  await ann.requestAll({ type: "edit", room: "red", id, text: `${secret}, really` });
  await ann.requestAll({ type: "delete", room: "red", id });
  await ann.requestAll({ type: "delete", with: to.user, id: direct.id });
  for await (const { key, value } of server.kv.list({ prefix: [] })) {
    // The feed has what was said for about ten minutes.
    if (key[0] === "feed") continue;
    const row = JSON.stringify([key, value], (_, each) => typeof each === "bigint" ? "" : each);
    assert(!row.includes(secret), row);
  }
});
