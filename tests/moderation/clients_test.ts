/**
 * Moderation over sockets: what users try who are banned, muted or kicked, acts on the whole chat, and what
 * people are told.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { JsonClient, type JsonObject, PASSWORD } from "../support/json_client.ts";
import { TestServer } from "../support/test_server.ts";
import type { TextClient } from "../support/text_client.ts";
import { eventually } from "../support/wait.ts";

const SECRET = "a-secret-of-operators";
const ROOM = "chalice";

/** Two instances around one KV, behind a proxy that tells the addresses of clients. */
class Chat implements AsyncDisposable {
  readonly kv: Deno.Kv;
  readonly one: TestServer;
  readonly other: TestServer;
  /** Operator by a registered nickname, in the room, on the first instance. */
  olga!: JsonClient;

  private constructor(kv: Deno.Kv, one: TestServer, other: TestServer) {
    this.kv = kv;
    this.one = one;
    this.other = other;
  }

  static async open(): Promise<Chat> {
    const kv = await Deno.openKv(":memory:");
    const options = {
      kv,
      local: false,
      rateLimits: "off",
      operators: ["Olga"],
      operatorSecret: SECRET,
      trustProxy: ["127.0.0.1"],
    } as const;
    const chat = new Chat(kv, await TestServer.open(options), await TestServer.open(options));
    chat.olga = await JsonClient.register(chat.one, "Olga", ROOM);
    return chat;
  }

  /** Connects a client of `chat.v1` from an address. */
  async json(nick: string, address: string, server = this.one): Promise<JsonClient> {
    const client = await this.connect(address, server);
    client.welcome = await client.request({ type: "login", nick });
    return client;
  }

  async connect(address: string, server = this.one): Promise<JsonClient> {
    const headers = { "x-forwarded-for": address };
    return new JsonClient(await server.connect("", { protocols: ["chat.v1"], headers }));
  }

  /** Connects a terminal from an address. */
  async text(nick: string, address: string, server = this.one): Promise<TextClient> {
    const headers = { "x-forwarded-for": address };
    const client = await server.connect("", { protocols: [], headers });
    client.send(nick);
    await client.next();
    return client;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.other[Symbol.asyncDispose]();
    await this.one[Symbol.asyncDispose]();
    this.kv.close();
  }
}

/** Returns "ok", or the code with which a request ends. */
async function codeOf(client: JsonClient, request: object): Promise<string> {
  const reply = (await client.requestAll(request)).at(-1)!;
  return reply.type === "error" ? reply.code : reply.type;
}

/** Waits until a client has received an object that has these fields. */
async function sees(client: JsonClient, fields: JsonObject): Promise<JsonObject> {
  let seen: JsonObject | undefined;
  await eventually(() => {
    seen = client.connection.received.map((line): JsonObject => JSON.parse(line)).find((line) =>
      Object.entries(fields).every(([name, value]) => line[name] === value)
    );
    return seen !== undefined;
  }, JSON.stringify(fields));
  return seen!;
}

/** Waits until a terminal has received a line. */
async function reads(terminal: TextClient, form: RegExp): Promise<string> {
  let line: string | undefined;
  const find = () => (line = terminal.received.find((each) => form.test(each))) !== undefined;
  await eventually(find, String(form));
  return line!;
}

/** Types a line, and asserts that a line of this form follows. */
async function types(terminal: TextClient, line: string, form: RegExp): Promise<void> {
  while (terminal.unreadCount > 0) await terminal.next();
  terminal.send(line);
  assertMatch(await terminal.next(), form, line);
}

Deno.test("a banned guest is kept out on a new connection, by rename, lookalike, protocol and instance", async () => {
  await using chat = await Chat.open();
  const { olga, one, other } = chat;
  const bob = await chat.json("Bob", "192.0.2.1", other);
  await bob.join(ROOM);
  assertEquals(
    await codeOf(olga, { type: "ban", room: ROOM, nick: "Bob", for: 600, reason: "spam" }),
    "ok",
  );
  await sees(bob, { type: "left", user: bob.user });
  const told = await sees(bob, { type: "act", act: "ban" });
  assertEquals([told.reason, told.on.nick, told.nick], ["spam", "Bob", "Olga"]);

  const refused = (await bob.requestAll({ type: "join", room: ROOM })).at(-1)!;
  assertEquals([refused.code, refused.message.includes("spam")], ["banned", true]);
  assert(refused.retryAfter > 590_000 && refused.retryAfter <= 600_000, "the time that is left");
  assertEquals(await codeOf(bob, { type: "nick", nick: "Robert" }), "ok");
  assertEquals(await codeOf(bob, { type: "join", room: ROOM }), "banned");

  for (const server of [one, other]) {
    const again = await chat.json("Bertie", "192.0.2.1", server);
    assertEquals(await codeOf(again, { type: "join", room: ROOM }), "banned");
    const terminal = await chat.text("Billy", "192.0.2.1", server);
    await types(terminal, `/join ${ROOM}`, /^You are banned from "chalice" for another .*: spam$/);
    await terminal.disconnect();
    again.connection.socket.close();
    await again.connection.closed;
  }
  // The nickname is free, and the address is another one.
  const lookalike = await chat.json("Bоb", "192.0.2.2");
  assertEquals(await codeOf(lookalike, { type: "join", room: ROOM }), "banned");
  const friend = await chat.json("Fred", "192.0.2.3");
  assertEquals(await codeOf(friend, { type: "join", room: ROOM }), "ok");
  assertEquals(await codeOf(friend, { type: "nick", nick: "Bob" }), "banned");

  assertEquals(await codeOf(olga, { type: "unban", room: ROOM, nick: "Bob" }), "ok");
  assertEquals(await codeOf(bob, { type: "join", room: ROOM }), "ok");
});

Deno.test("a banned user is kept out by resume, second device and restart", async () => {
  await using chat = await Chat.open();
  const { olga, one, other } = chat;
  const bob = await JsonClient.register(one, "Bob", ROOM);
  const device = await JsonClient.identify(other, "Bob", ROOM);
  const { token } = device.welcome;
  // Dropped, not left: the session is kept.
  device.connection.socket.close(4000);
  await device.connection.closed;
  assertEquals(await codeOf(olga, { type: "ban", room: ROOM, nick: "bob", reason: "spam" }), "ok");
  await sees(bob, { type: "left", user: bob.user });
  const resumed = await JsonClient.connect(one);
  resumed.send({ type: "resume", token, last: {} });
  await sees(resumed, { type: "welcome" });
  // It may still be told that the session has left.
  await eventually(async () => {
    return await codeOf(resumed, { type: "message", room: ROOM, text: "hi" }) === "not-in-room";
  }, "the resumed session is not in the room");
  assertEquals(await codeOf(resumed, { type: "join", room: ROOM }), "banned");
  const third = await JsonClient.identify(other, "Bob");
  assertEquals(await codeOf(third, { type: "join", room: ROOM }), "banned");
  // A device that enters as a guest, and signs in then.
  const guest = await JsonClient.login(other, "Zed", ROOM);
  assertEquals(
    await codeOf(guest, { type: "identify", nick: "Bob", password: PASSWORD }),
    "banned",
  );
  assertEquals(await codeOf(guest, { type: "message", room: ROOM, text: "hi" }), "ok");
  const said = olga.connection.received.map((line) => JSON.parse(line));
  const ban = said.findIndex(({ act }) => act === "ban");
  const later = said.slice(ban).filter(({ type, nick }) => type === "message" && nick === "Bob");
  assertEquals(later, []);
});

Deno.test("a muted user cannot talk by /me, edits, renames, topics, joins and leaves, or on another device", async () => {
  await using chat = await Chat.open();
  const { olga, one, other } = chat;
  const bob = await JsonClient.register(other, "Bob", ROOM);
  const id = (await bob.requestAll({ type: "message", room: ROOM, text: "first" })).at(-1)!.id;
  assertEquals(await codeOf(olga, { type: "mod", room: ROOM, nick: "Bob" }), "ok");
  assertEquals(await codeOf(olga, { type: "mute", room: ROOM, nick: "Bob", reason: "calm" }), "ok");
  const state = await sees(bob, { type: "room", muted: true });
  assertEquals(state.role, "moderator");
  const requests = [
    { type: "message", room: ROOM, text: "hi" },
    { type: "action", room: ROOM, text: "waves" },
    { type: "edit", room: ROOM, id, text: "changed" },
    { type: "nick", nick: "Bob_is_loud" },
    { type: "identify", nick: "Bob", password: PASSWORD },
    { type: "topic", room: ROOM, text: "hi" },
    { type: "slow", room: ROOM, seconds: 1 },
  ];
  const codes: string[] = [];
  for (const request of requests) codes.push(await codeOf(bob, request));
  assertEquals(codes, ["muted", "muted", "muted", "muted", "ok", "muted", "muted"]);
  assertEquals(await codeOf(bob, { type: "leave", room: ROOM }), "ok");
  assertEquals(await codeOf(bob, { type: "join", room: ROOM }), "ok");
  assertEquals(await codeOf(bob, { type: "message", room: ROOM, text: "hi" }), "muted");
  const terminal = await one.connect();
  terminal.send("Bob", `/identify ${PASSWORD}`, `/join ${ROOM}`);
  await reads(terminal, /^Joined/);
  await types(terminal, "/me waves", /^You are muted in "chalice": calm$/);
  await types(terminal, "hi", /^You are muted in "chalice": calm$/);
  const guest = await JsonClient.login(one, "Zed", ROOM);
  await guest.requestAll({ type: "identify", nick: "Bob", password: PASSWORD });
  assertEquals(await codeOf(guest, { type: "message", room: ROOM, text: "hi" }), "muted");
  assertEquals(await codeOf(bob, { type: "unregister", password: PASSWORD }), "ok");
  assertEquals(await codeOf(bob, { type: "message", room: ROOM, text: "hi" }), "muted");
});

Deno.test("acts on the whole chat: for operators only, and then everywhere", async () => {
  await using chat = await Chat.open();
  const { olga, one, other } = chat;
  const mia = await JsonClient.register(one, "Mia", ROOM);
  assertEquals(await codeOf(olga, { type: "mod", room: ROOM, nick: "Mia" }), "ok");
  for (const type of ["kick", "ban", "unban"]) {
    assertEquals(await codeOf(mia, { type, nick: "Olga" }), "not-an-operator");
  }
  assertEquals(await codeOf(mia, { type: "ban", network: "192.0.2.7" }), "not-an-operator");

  const bob = await chat.json("Bob", "192.0.2.1", other);
  assertEquals(await codeOf(olga, { type: "kick", nick: "Bob", reason: "calm" }), "ok");
  assertEquals((await bob.connection.closed).code, 1008);
  assertEquals(bob.connection.received.some((line) => line.includes('"act":"kick"')), true);
  const again = await chat.json("Bob", "192.0.2.1", other);
  assertEquals(again.welcome.type, "welcome");

  assertEquals(await codeOf(olga, { type: "ban", nick: "Bob", for: 60, reason: "spam" }), "ok");
  await again.connection.closed;
  for (const server of [one, other]) {
    const refused = await chat.json("Bertie", "192.0.2.1", server);
    assertEquals([refused.welcome.type, refused.welcome.code], ["error", "banned"]);
  }
  const resumed = await chat.connect("192.0.2.9", other);
  const request = { type: "resume", token: again.welcome.token };
  assert(["banned", "bad-token"].includes(await codeOf(resumed, request)));
  assertEquals(await codeOf(olga, { type: "unban", nick: "Bob" }), "ok");
  assertEquals((await chat.json("Bertie", "192.0.2.1", other)).welcome.type, "welcome");
});

Deno.test("a banned network is refused at the door, and its connections are closed", async () => {
  await using chat = await Chat.open();
  const { olga, other } = chat;
  const bob = await chat.json("Bob", "198.51.100.7", other);
  const ann = await chat.json("Ann", "192.0.2.7", other);
  const everyone = { type: "ban", network: "0.0.0.0/0" };
  assertEquals(await codeOf(olga, everyone), "bad-act");
  const ban = { type: "ban", network: "198.51.100.0/24", for: 60, reason: "spam" };
  assertEquals(await codeOf(olga, ban), "ok");
  const { code, reason } = await bob.connection.closed;
  assertEquals([code, reason], [1008, "banned"]);
  await ann.expectNothingElse();
  const headers = { "x-forwarded-for": "198.51.100.99" };
  const response = await fetch(`http://127.0.0.1:${other.port}/ws`, { headers });
  assertEquals(response.status, 403);
  assertMatch(await response.text(), /banned.*spam/s);
  assertEquals(await codeOf(olga, { type: "unban", network: "198.51.100.0/24" }), "ok");
  await eventually(async () => {
    const response = await fetch(`http://127.0.0.1:${other.port}/ws`, { headers });
    await response.body?.cancel();
    return response.status === 426;
  }, "the network may connect again");
});

Deno.test("people are told: the room in one line, the user concerned in the second person", async () => {
  await using chat = await Chat.open();
  const { olga, one, other } = chat;
  const bob = await chat.text("Bob", "192.0.2.1", other);
  await types(bob, `/join ${ROOM}`, /^Joined/);
  const ann = await chat.text("Ann", "192.0.2.2", one);
  await types(ann, `/join ${ROOM}`, /^Joined/);
  await codeOf(olga, { type: "topic", room: ROOM, text: "tea and \u001b[31mcake" });
  const topic = { type: "topic", room: ROOM, text: "tea and cake" };
  assertEquals(await codeOf(olga, topic), "ok");
  await codeOf(olga, { type: "mute", room: ROOM, nick: "Bob", for: 600, reason: "calm down" });
  assertEquals(await reads(ann, /topic/), "-- Olga set the topic: tea and cake");
  assertEquals(await reads(ann, /muted/), "-- Olga muted Bob for 10 minutes: calm down");
  assertEquals(
    await reads(bob, /muted/),
    '-- Olga muted you in "chalice" for 10 minutes: calm down',
  );
  const late = await chat.text("Late", "192.0.2.3", other);
  late.send(`/join ${ROOM}`);
  await late.expect('Joined chat room "chalice"', "-- Topic: tea and cake");
  const json = await chat.json("Jo", "192.0.2.4", other);
  const heard = await json.requestAll({ type: "join", room: ROOM });
  assertEquals(heard.map(({ type }) => type), ["joined", "room", "ok"]);
  assertEquals(heard[1], { type: "room", room: ROOM, topic: "tea and cake" });
  // Nobody can write such a line.
  for (const nick of ["-- Olga", "-- Topic", "--"]) {
    const refused = await chat.json(nick, "192.0.2.5", other);
    assertEquals([nick, refused.welcome.code], [nick, "bad-nickname"]);
  }
});

Deno.test("a report reaches moderators and operators on all instances, and nobody else", async () => {
  await using chat = await Chat.open();
  const { olga, one, other } = chat;
  const mo = await JsonClient.register(other, "Mo", ROOM);
  const bob = await JsonClient.login(one, "Bob", ROOM);
  const ann = await JsonClient.login(other, "Ann", ROOM);
  assertEquals(await codeOf(olga, { type: "mod", room: ROOM, nick: "Mo" }), "ok");
  const report = { type: "report", room: ROOM, nick: "Bob" };
  assertEquals(await codeOf(ann, { ...report, reason: "rude" }), "ok");
  assertEquals(await codeOf(ann, report), "bad-act");
  for (const client of [olga, mo]) {
    const told = await sees(client, { type: "act", act: "report" });
    assertEquals([told.nick, told.on.nick, told.reason], ["Ann", "Bob", "rude"]);
  }
  await bob.requestAll({ type: "ping" });
  for (const client of [ann, bob]) {
    assertEquals(client.connection.received.some((line) => line.includes("report")), false);
  }
});

Deno.test("ignored users are not heard, over both protocols, until they are no longer ignored", async () => {
  await using chat = await Chat.open();
  const { one, other } = chat;
  const bob = await JsonClient.login(other, "Bob", ROOM);
  const ann = await JsonClient.login(one, "Ann", ROOM);
  const terminal = await one.login("Tom", ROOM);
  assertEquals(await codeOf(ann, { type: "ignore", nick: "Bob" }), "ok");
  const { users } = (await ann.requestAll({ type: "ignored" })).at(-1)!;
  assertEquals(users, [{ user: bob.user, nick: "Bob" }]);
  await types(terminal, "/ignore Bob", /^You ignore Bob now\.$/);
  await types(terminal, "/ignore", /^Bob$/);
  assertEquals(await codeOf(bob, { type: "message", room: ROOM, text: "unheard" }), "ok");
  assertEquals(await codeOf(bob, { type: "direct", to: "Ann", text: "unheard" }), "ok");
  assertEquals(await codeOf(bob, { type: "direct", to: "Tom", text: "unheard" }), "ok");
  assertEquals(await codeOf(ann, { type: "unignore", user: bob.user }), "ok");
  await types(terminal, '/unignore "Bob"', /^You no longer ignore Bob\.$/);
  await types(terminal, "/unignore Bob", /^Bob is not ignored\.$/);
  assertEquals(await codeOf(bob, { type: "message", room: ROOM, text: "heard" }), "ok");
  await sees(ann, { type: "message", text: "heard" });
  await reads(terminal, /^Bob: heard$/);
  for (const client of [ann.connection, terminal]) {
    assertEquals(client.received.some((line) => line.includes("unheard")), false);
  }
  assertEquals(await codeOf(ann, { type: "ignore", nick: "Ann" }), "protected-user");
  assertEquals(await codeOf(ann, { type: "ignore", nick: "Nobody1" }), "no-such-user");
});

Deno.test("/op: the secret makes an operator, survives a resume, and is never sent to a room", async () => {
  await using chat = await Chat.open();
  const { one, other } = chat;
  const ann = await JsonClient.login(one, "Ann", ROOM);
  assertEquals(await codeOf(ann, { type: "op", secret: "a-guess-of-a-secret" }), "wrong-password");
  assertEquals(await codeOf(ann, { type: "lock", room: ROOM }), "not-a-moderator");
  const heard = await ann.requestAll({ type: "op", secret: SECRET });
  assertEquals(heard.map(({ type, role }) => [type, role]), [
    ["room", "operator"],
    ["ok", "operator"],
  ]);
  ann.connection.socket.close(4000);
  await ann.connection.closed;
  const resumed = await JsonClient.connect(other);
  resumed.send({ type: "resume", token: ann.welcome.token, last: {} });
  assertEquals((await sees(resumed, { type: "room" })).role, "operator");
  assertEquals(await codeOf(resumed, { type: "lock", room: ROOM }), "ok");

  const tom = await one.login("Tom");
  await types(tom, "/op", /^Usage: \/op \{secret\}$/);
  await types(tom, "/op wrong-secret-of-operators", /^Wrong password\.$/);
  await types(tom, `/op ${SECRET}`, /^You are an operator now\.$/);
  await types(tom, `/join ${ROOM}`, /^Joined/);
  await types(tom, ` /op ${SECRET}`, /^Not sent: that looks like a command with a password\./);
});

Deno.test("the record comes by pages, to moderators their room's and to operators all", async () => {
  await using chat = await Chat.open();
  const { olga, other } = chat;
  const mo = await JsonClient.register(other, "Mo", ROOM);
  for (const text of ["one", "two", "three"]) {
    assertEquals(await codeOf(olga, { type: "topic", room: ROOM, text }), "ok");
  }
  assertEquals(await codeOf(mo, { type: "modlog", room: ROOM }), "not-a-moderator");
  assertEquals(await codeOf(olga, { type: "mod", room: ROOM, nick: "Mo" }), "ok");
  assertEquals(await codeOf(olga, { type: "lock", room: "attic", reason: "private" }), "ok");
  assertEquals(await codeOf(mo, { type: "modlog" }), "not-an-operator");
  assertEquals(await codeOf(mo, { type: "modlog", room: "attic" }), "not-a-moderator");
  const newest = (await mo.requestAll({ type: "modlog", room: ROOM, limit: 2 })).at(-1)!;
  assertEquals(newest.events.map(({ act }: JsonObject) => act), ["topic", "mod"]);
  assertEquals([newest.room, newest.more], [ROOM, true]);
  const before = newest.events[0].id;
  const older = (await mo.requestAll({ type: "modlog", room: ROOM, before })).at(-1)!;
  assertEquals(older.events.map(({ text }: JsonObject) => text), ["one", "two"]);
  assertEquals(older.more, false);
  const all = (await olga.requestAll({ type: "modlog" })).at(-1)!;
  assertEquals(all.events.map(({ act, room }: JsonObject) => `${act} ${room}`), [
    ...["topic", "topic", "topic", "mod"].map((act) => `${act} ${ROOM}`),
    "lock attic",
  ]);
  const terminal = await other.connect();
  terminal.send("Olga", `/identify ${PASSWORD}`);
  await reads(terminal, /^Using/);
  while (terminal.unreadCount > 0) await terminal.next();
  await types(
    terminal,
    "/modlog 1",
    /^\[[\d: -]+\] -- Olga locked the room: only registered users may join.*private$/,
  );
  await types(terminal, "/modlog 0", /^Usage: \/modlog \{n\}/);
});
