/** Direct messages over real sockets: to whom they go, which are kept, and when they are delivered. */
import { assertEquals } from "@std/assert";
import { JsonClient, type JsonObject, PASSWORD } from "../support/json_client.ts";
import { TestServer } from "../support/test_server.ts";
import type { TextClient } from "../support/text_client.ts";
import { eventually } from "../support/wait.ts";

/** Sends a direct message, and returns its reply. */
async function send(client: JsonClient, request: object): Promise<JsonObject> {
  return (await client.requestAll({ type: "direct", ...request })).at(-1)!;
}

/** Disconnects a registered client for good, and waits until its user is offline. */
async function leave(server: TestServer, client: JsonClient | TextClient, nick: string) {
  const { socket, closed } = client instanceof JsonClient ? client.connection : client;
  socket.close(1000);
  await closed;
  const asker = await JsonClient.login(server, "Asker");
  const isOffline = async () => !(await asker.request({ type: "who", nick })).online;
  await eventually(isOffline, `${nick} is offline`);
  asker.connection.socket.close(1000);
  await asker.connection.closed;
}

/** Signs a plain-text client in, and returns the lines that it is shown then. */
async function shellOf(
  server: TestServer,
  nick: string,
  count: number,
): Promise<{ shell: TextClient; shown: string[] }> {
  const shell = await server.connect();
  const hello = `Using nickname: ${nick}\nType /help for list of commands.`;
  await shell.request(`/identify ${nick} ${PASSWORD}`, hello);
  const shown: string[] = [];
  while (shown.length < count) shown.push(await shell.next());
  await shell.expectNothingElse();
  return { shell, shown };
}

function texts(lines: JsonObject[]): string[] {
  return lines.filter(({ type }) => type === "direct").map(({ text }) => text);
}

Deno.test("a direct message is kept only between two registered users, and event and reply say so", async () => {
  await using server = await TestServer.open();
  const clients: Record<string, JsonClient> = {
    ann: await JsonClient.register(server, "Ann"),
    bob: await JsonClient.register(server, "Bob"),
    cy: await JsonClient.login(server, "Cy"),
    dora: await JsonClient.login(server, "Dora"),
  };
  for (
    const [from, to, kept] of [
      ["ann", "bob", true],
      ["ann", "cy", undefined],
      ["cy", "ann", undefined],
      ["cy", "dora", undefined],
    ] as const
  ) {
    const [author, recipient] = [clients[from]!, clients[to]!];
    for (const named of [{ to: to.toUpperCase() }, { user: recipient.user }]) {
      const heard = await author.requestAll({ type: "direct", ...named, text: "psst" });
      assertEquals(heard.map(({ type, kept }) => [type, kept]), [["direct", kept], ["ok", kept]]);
      const event = await recipient.next();
      assertEquals(event, heard[0]);
      assertEquals([event.user, event.to.user], [author.user, recipient.user]);
    }
  }
  for (const client of Object.values(clients)) await client.expectNothingElse();
});

Deno.test("all sessions of both users receive a direct message, in both protocols, and nobody else", async () => {
  await using server = await TestServer.open();
  const eve = await JsonClient.login(server, "Eve");
  const ann = await JsonClient.register(server, "Ann");
  const annsPhone = await JsonClient.identify(server, "Ann");
  const { shell: annsShell } = await shellOf(server, "Ann", 0);
  const bob = await JsonClient.register(server, "Bob");
  const { shell: bobsShell } = await shellOf(server, "Bob", 0);
  await annsPhone.requestAll({ type: "direct", to: "Bob", text: "hi" });
  for (const client of [ann, bob]) await client.expect({ nick: "Ann", text: "hi" });
  await annsShell.expect("[to Bob] hi");
  await bobsShell.expect("[from Ann] hi");
  await bobsShell.request("/msg ann hello", "[to Ann] hello");
  await annsShell.expect("[from Bob] hello");
  for (const client of [ann, annsPhone, bob]) await client.expect({ nick: "Bob", text: "hello" });
  // To oneself.
  await annsShell.request("/msg Ann note", "[from Ann] note", "[to Ann] note");
  for (const client of [ann, annsPhone]) await client.expect({ nick: "Ann", text: "note" });
  for (const client of [eve, ann, annsPhone, bob]) await client.expectNothingElse();
  for (const client of [annsShell, bobsShell]) await client.expectNothingElse();
});

Deno.test("a direct message to a user who is offline is kept if both are registered, and refused otherwise", async () => {
  await using server = await TestServer.open();
  const bob = await JsonClient.register(server, "Bob");
  const { user } = bob;
  await leave(server, bob, "Bob");
  const ann = await JsonClient.register(server, "Ann");
  const cy = await JsonClient.login(server, "Cy");
  const offline = [{ to: "Bob" }, { to: "bob" }, { user }];
  for (const named of offline) {
    await cy.expectError({ type: "direct", ...named, text: "BOO" }, "not-online");
    assertEquals((await send(ann, { ...named, text: "psst" })).kept, true);
  }
  for (const user of ["nobody", "", "\u0000", ann.welcome.session, bob.welcome.session]) {
    await ann.expectError({ type: "direct", user, text: "BOO" }, "not-online");
  }
  await ann.expectError({ type: "direct", to: "Nobody", text: "BOO" }, "not-online");
  for (const both of [{}, { to: "Bob", user }]) {
    await ann.expectError({ type: "direct", ...both, text: "BOO" }, "bad-request");
  }
  const back = await JsonClient.identify(server, "Bob");
  const unread = [{ user: ann.user, nick: "Ann", registered: true, unread: 3 }];
  assertEquals(back.welcome.directs, unread);
  for (const _ of offline) await back.expect({ type: "direct", user: ann.user, text: "psst" });
  await back.expectNothingElse();
});

Deno.test("without history no direct message is kept", async () => {
  await using server = await TestServer.open({ historySeconds: 0 });
  const bob = await JsonClient.register(server, "Bob");
  const ann = await JsonClient.register(server, "Ann");
  const heard = await ann.requestAll({ type: "direct", to: "Bob", text: "psst" });
  assertEquals(heard.map(({ kept }) => kept), [undefined, undefined]);
  await bob.expect({ text: "psst" });
  await ann.expectError({ type: "history", with: bob.user }, "history-off");
  await ann.expectError({ type: "read", with: bob.user, id: heard[0]!.id }, "history-off");
  await leave(server, bob, "Bob");
  await ann.expectError({ type: "direct", to: "Bob", text: "BOO" }, "not-online");
  assertEquals((await JsonClient.identify(server, "Bob")).welcome.directs, []);
});

Deno.test("unread direct messages come after the welcome, oldest first, at most 100, until they are read", async () => {
  await using server = await TestServer.open({ rateLimits: "off" });
  const bob = await JsonClient.register(server, "Bob");
  const [ann, cy] = [
    await JsonClient.register(server, "Ann"),
    await JsonClient.register(server, "Cy"),
  ];
  await leave(server, bob, "Bob");
  const ids: string[] = [];
  for (let i = 0; i < 60; i++) {
    for (const client of [ann, cy]) {
      ids.push((await send(client, { to: "Bob", text: `${ids.length}` })).id);
    }
  }
  const login = async (count: number) => {
    const client = await JsonClient.identify(server, "Bob");
    const told: string[] = [];
    while (told.length < count) told.push((await client.next()).text);
    await client.expectNothingElse();
    return { client, told };
  };
  const first = await login(100);
  assertEquals(first.told, ids.slice(0, 100).map((_, i) => `${i}`));
  assertEquals(first.client.welcome.directs.map(({ unread }: JsonObject) => unread), [60, 60]);
  // Nothing is marked as read by being told.
  const again = await login(100);
  assertEquals(again.told, first.told);
  await again.client.requestAll({ type: "read", with: ann.user, id: ids.at(-2) });
  await again.client.requestAll({ type: "read", with: cy.user, id: ids[99] });
  const last = await login(10);
  assertEquals(last.told, ids.map((_, i) => `${i}`).slice(100).filter((_, i) => i % 2 === 1));
  const states = last.client.welcome.directs as JsonObject[];
  const stateOf = ({ user }: JsonClient) => states.find((each) => each.user === user)!;
  assertEquals([stateOf(ann).unread, stateOf(ann).read], [0, ids.at(-2)]);
  assertEquals([stateOf(cy).unread, stateOf(cy).read], [10, ids[99]]);
});

Deno.test("a direct message that arrives during the login comes once, and after the earlier ones", async () => {
  await using server = await TestServer.open({ rateLimits: "off" });
  const bob = await JsonClient.register(server, "Bob");
  const ann = await JsonClient.register(server, "Ann");
  await leave(server, bob, "Bob");
  for (let round = 0; round < 5; round++) {
    await send(ann, { to: "Bob", text: `${round} earlier` });
    const back = await JsonClient.connect(server);
    back.send({ type: "identify", nick: "Bob", password: PASSWORD });
    for (let i = 0; i < 40; i++) ann.send({ type: "direct", to: "Bob", text: `${round} ${i}` });
    for (let i = 0; i < 40; i++) await ann.expect({ text: `${round} ${i}` });
    const { type, directs } = await back.next();
    assertEquals([type, directs.length], ["welcome", 1]);
    const heard: JsonObject[] = [];
    while (heard.at(-1)?.text !== `${round} 39`) heard.push(await back.next());
    const expected = ["earlier", ...Array.from({ length: 40 }, (_, i) => `${i}`)];
    assertEquals(texts(heard), expected.map((text) => `${round} ${text}`));
    const { id } = heard.at(-1)!;
    await back.requestAll({ type: "read", with: ann.user, id });
    await leave(server, back, "Bob");
  }
});

Deno.test("a plain-text client is shown its unread direct messages once, and those that it was shown count as read", async () => {
  await using server = await TestServer.open();
  const ann = await JsonClient.register(server, "Ann");
  const bob = await JsonClient.register(server, "Bob");
  await leave(server, bob, "Bob");
  await send(ann, { to: "Bob", text: "one" });
  await send(ann, { to: "Bob", text: "two" });
  const { shell, shown } = await shellOf(server, "Bob", 2);
  assertEquals(shown, ["[from Ann] one", "[from Ann] two"]);
  // Live, and after a login as someone else.
  await send(ann, { to: "Bob", text: "three" });
  await shell.expect("[from Ann] three");
  await leave(server, shell, "Bob");
  await send(ann, { to: "Bob", text: "four" });
  const guest = await server.login("Guest", "red");
  await guest.request(`/identify Bob ${PASSWORD}`, "Nickname is: Bob", "[from Ann] four");
  await guest.request(`/identify ${PASSWORD}`, "You are signed in as Bob.");
  await guest.expectNothingElse();
  await leave(server, guest, "Bob");
  const back = await JsonClient.identify(server, "Bob");
  assertEquals(back.welcome.directs[0].unread, 0);
  await back.expectNothingElse();
});

Deno.test("a plain-text client with more than 100 unread direct messages is shown the others at its next logins", async () => {
  await using server = await TestServer.open({ rateLimits: "off" });
  const ann = await JsonClient.register(server, "Ann");
  const bob = await JsonClient.register(server, "Bob");
  await leave(server, bob, "Bob");
  for (let i = 0; i < 130; i++) await send(ann, { to: "Bob", text: `${i}` });
  const all = Array.from({ length: 130 }, (_, i) => `[from Ann] ${i}`);
  const first = await shellOf(server, "Bob", 100);
  assertEquals(first.shown, all.slice(0, 100));
  // A live one does not make those in between count as read.
  await send(ann, { to: "Bob", text: "live" });
  await first.shell.expect("[from Ann] live");
  await leave(server, first.shell, "Bob");
  const second = await shellOf(server, "Bob", 31);
  assertEquals(second.shown, [...all.slice(100), "[from Ann] live"]);
  await leave(server, second.shell, "Bob");
  await shellOf(server, "Bob", 0);
});

Deno.test("a plain-text client's direct messages count as read after a graceful restart of the server", async () => {
  using kv = await Deno.openKv(":memory:");
  {
    await using server = await TestServer.open({ kv });
    const ann = await JsonClient.register(server, "Ann");
    const shell = await server.login("Bob");
    shell.send(`/register ${PASSWORD}`);
    await shell.next();
    await send(ann, { to: "Bob", text: "seen" });
    await shell.expect("[from Ann] seen");
    await server.chat.close();
  }
  await using server = await TestServer.open({ kv });
  const back = await JsonClient.identify(server, "Bob");
  assertEquals(back.welcome.directs[0].unread, 0);
});

Deno.test("history with a user has their kept messages on every device, and nothing of others", async () => {
  await using server = await TestServer.open();
  const ann = await JsonClient.register(server, "Ann");
  const bob = await JsonClient.register(server, "Bob");
  const cy = await JsonClient.register(server, "Cy");
  const ids: string[] = [];
  for (
    const [from, to, text] of [[ann, "Bob", "one"], [bob, "Ann", "two"], [
      ann,
      "Bob",
      "three",
    ]] as const
  ) {
    ids.push((await send(from, { to, text })).id);
  }
  await send(cy, { to: "Ann", text: "of another conversation" });
  const phone = await JsonClient.identify(server, "Ann");
  while ((await phone.next()).text !== "of another conversation");
  for (const [client, other] of [[phone, bob], [bob, ann]] as const) {
    const reply = (await client.requestAll({ type: "history", with: other.user })).at(-1)!;
    assertEquals([reply.with, texts(reply.events)], [other.user, ["one", "two", "three"]]);
    const page = { type: "history", with: other.user, limit: 1 };
    assertEquals(texts((await client.request({ ...page, before: ids[1] })).events), ["one"]);
    const after = await client.request({ ...page, after: ids[1] });
    assertEquals([texts(after.events), after.more, after.complete], [["three"], false, true]);
  }
  assertEquals((await cy.requestAll({ type: "history", with: bob.user })).at(-1)!.events, []);
  for (const other of ["nobody", "", "\u0000", `${ann.user}_${bob.user}`, cy.user]) {
    assertEquals((await cy.request({ type: "history", with: other })).events, [], other);
  }
  const eve = await JsonClient.login(server, "Eve");
  await eve.expectError({ type: "history", with: ann.user }, "not-identified");
  for (const both of [{}, { room: "red", with: ann.user }]) {
    await ann.requestAll({ type: "ping" });
    await ann.expectError({ type: "history", ...both }, "bad-request");
  }
});

Deno.test("a kept direct message sent again with the same cid says so again, also after a resume", async () => {
  await using server = await TestServer.open();
  const bob = await JsonClient.register(server, "Bob");
  const ann = await JsonClient.register(server, "Ann");
  const words = { to: "Bob", text: "once", cid: "a" };
  const { id } = await send(ann, words);
  const again = await ann.request({ type: "direct", ...words });
  assertEquals([again.id, again.kept], [id, true]);
  ann.connection.socket.close(4000);
  await ann.connection.closed;
  const back = await JsonClient.connect(server);
  await back.request({ type: "resume", token: ann.welcome.token, direct: id });
  await back.expect({ type: "resumed", recovered: true });
  const third = await back.request({ type: "direct", ...words });
  assertEquals([third.id, third.kept], [id, true]);
  await bob.expect({ text: "once" });
  await bob.expectNothingElse();
});

Deno.test("a nickname that changed hands is another user, whose conversations are its own", async () => {
  await using server = await TestServer.open();
  const bob = await JsonClient.register(server, "Bob");
  const ann = await JsonClient.register(server, "Ann");
  const { id } = await send(ann, { to: "Bob", text: "for the first Bob" });
  await bob.expect({ text: "for the first Bob" });
  const first = bob.user;
  await bob.requestAll({ type: "unregister", password: PASSWORD });
  bob.connection.socket.close(1000);
  await bob.connection.closed;
  const second = await JsonClient.connect(server);
  const isFree = async () =>
    (await second.requestAll({ type: "login", nick: "Bob" })).at(-1)!.type === "welcome";
  await eventually(isFree, "the nickname is free");
  await second.request({ type: "register", password: PASSWORD });
  assertEquals(second.user === first, false);
  assertEquals((await second.request({ type: "history", with: ann.user })).events, []);
  await ann.expectError({ type: "direct", user: first, text: "BOO" }, "not-online");
  // The conversation with the first one stays what it was.
  const { events } = await ann.request({ type: "history", with: first });
  assertEquals(events.map((each: JsonObject) => [each.id, each.to.user]), [[id, first]]);
  await second.expectNothingElse();
});
