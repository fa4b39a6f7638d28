/** Several rooms for one session, and several sessions for one user, over real sockets. */
import { assertEquals } from "@std/assert";
import { JsonClient, type JsonObject, PASSWORD } from "../support/json_client.ts";
import { TestServer } from "../support/test_server.ts";
import { eventually, withDeadline } from "../support/wait.ts";

/** Opens two instances on one KV. */
async function openTwo(): Promise<AsyncDisposable & { one: TestServer; other: TestServer }> {
  const kv = await Deno.openKv(":memory:");
  const one = await TestServer.open({ kv, local: false, rateLimits: "off" });
  const other = await TestServer.open({ kv, local: false, rateLimits: "off" });
  return {
    one,
    other,
    async [Symbol.asyncDispose]() {
      await other[Symbol.asyncDispose]();
      await one[Symbol.asyncDispose]();
      kv.close();
    },
  };
}

function nicksOf({ members }: JsonObject): string[] {
  return members.map(({ nick }: JsonObject) => nick);
}

Deno.test("a room that is joined twice or left twice tells the others one join and one leave", async () => {
  await using server = await TestServer.open();
  const bob = await JsonClient.login(server, "Bob", "red");
  const ann = await JsonClient.login(server, "Ann", "red");
  const again = await ann.request({ type: "join", room: "red" });
  assertEquals([again.type, "id" in again], ["ok", false]);
  await ann.requestAll({ type: "leave", room: "red" });
  await ann.expectError({ type: "leave", room: "red" }, "not-in-room");
  await ann.expectError({ type: "leave", room: "blue" }, "not-in-room");
  await bob.expect({ type: "joined", nick: "Ann" }, { type: "left", nick: "Ann" });
  await bob.expectNothingElse();
});

Deno.test("a room beyond the limit is refused, over all sessions of a user, and costs none of the others", async () => {
  await using server = await TestServer.open({ rateLimits: "off", limits: { maxRooms: 3 } });
  const bob = await JsonClient.login(server, "Bob", "fourth");
  const ann = await JsonClient.register(server, "Ann");
  for (const room of ["first", "second", "third"]) await ann.join(room);
  await ann.expectError({ type: "join", room: "fourth" }, "too-many-rooms");
  const phone = await JsonClient.identify(server, "Ann");
  await phone.expectError({ type: "join", room: "fourth" }, "too-many-rooms");
  // A room in which the user is already takes no further place.
  await phone.join("first");
  await ann.sendMessage("still here", { room: "third" });
  await bob.expectNothingElse();
  await ann.requestAll({ type: "leave", room: "second" });
  await phone.join("fourth");
  await bob.expect({ type: "joined", nick: "Ann" });
  assertEquals(phone.welcome.limits.rooms, 3);
});

Deno.test("a rename and a departure are told once in each room of the session, and in no other", async () => {
  await using server = await TestServer.open();
  const others = await Promise.all(
    ["red", "blue", "green"].map((room) => JsonClient.login(server, `In ${room}`, room)),
  );
  const ann = await JsonClient.login(server, "Ann", "red");
  await ann.join("blue");
  const heard = await ann.requestAll({ type: "nick", nick: "Anna" });
  assertEquals(heard.map(({ type, room }) => [type, room]).sort(), [
    ["nick", "blue"],
    ["nick", "red"],
    ["ok", undefined],
  ]);
  ann.connection.socket.close(1000);
  for (const client of others.slice(0, 2)) {
    const { room } = client;
    await client.expect(
      { type: "joined", room, nick: "Ann" },
      { type: "nick", room, nick: "Ann", to: { nick: "Anna" } },
      { type: "left", room, nick: "Anna" },
    );
  }
  for (const client of others) await client.expectNothingElse();
});

Deno.test("the others see one join and one leave of a user with several sessions, on any instances and in both protocols", async () => {
  await using both = await openTwo();
  const bob = await JsonClient.login(both.one, "Bob", "red");
  const tim = await both.other.login("Tim", "red");
  await bob.expect({ type: "joined", nick: "Tim" });
  const desk = await JsonClient.register(both.one, "Ann", "red");
  const { user } = desk;
  await bob.expect({ type: "joined", user, registered: true });
  await tim.expect("Ann joined room.");
  const phone = await JsonClient.identify(both.other, "Ann", "red");
  const shell = await both.one.connect();
  await shell.request(
    `/identify Ann ${PASSWORD}`,
    "Using nickname: Ann\nType /help for list of commands.",
  );
  await shell.request("/join red", 'Joined chat room "red"');
  await shell.request("/ls", "Bob\nTim\nAnn");
  assertEquals(nicksOf(await bob.request({ type: "members", room: "red" })), ["Bob", "Tim", "Ann"]);
  assertEquals((await bob.request({ type: "rooms" })).rooms, [{ room: "red", people: 3 }]);
  // What one session says appears on all that are in the room.
  await desk.sendMessage("from the desk");
  await phone.expect({ type: "message", user, text: "from the desk" });
  await shell.expect("Ann: from the desk");
  await shell.request("from the shell", "Ann: from the shell");
  for (const client of [desk, phone]) await client.expect({ user, text: "from the shell" });
  await bob.expect({ text: "from the desk" }, { text: "from the shell" });
  // They leave one after the other.
  await desk.requestAll({ type: "leave", room: "red" });
  await shell.disconnect();
  await phone.sendMessage("still here");
  await bob.expect({ user, text: "still here" });
  await bob.expectNothingElse();
  phone.connection.socket.close(1000);
  await bob.expect({ type: "left", user });
  await tim.expect(
    "Ann: from the desk",
    "Ann: from the shell",
    "Ann: still here",
    "Ann left room.",
  );
  await bob.expectNothingElse();
  await tim.expectNothingElse();
});

Deno.test("a session that signs in or out is told as what it is: another user, a new one, or none", async () => {
  await using server = await TestServer.open({ rateLimits: "off" });
  const bob = await JsonClient.login(server, "Bob", "red");
  const desk = await JsonClient.register(server, "Ann");
  const { user } = desk;
  const phone = await JsonClient.login(server, "Guest", "red");
  const guest = phone.user;
  await bob.expect({ type: "joined", user: guest });
  const identify = { type: "identify", nick: "Ann", password: PASSWORD };
  const nick = (nick: string) => ({ type: "nick", nick });
  // Neither user has another session in the room.
  const heard = await phone.requestAll(identify);
  assertEquals(heard.map(({ type }) => type), ["nick", "ok"]);
  assertEquals([heard[1]!.user, heard[1]!.nick, heard[1]!.registered], [user, "Ann", true]);
  await bob.expect({ type: "nick", user: guest, nick: "Guest", to: { user, registered: true } });
  await phone.requestAll(nick("Guest"));
  await bob.expect({ type: "nick", user, to: { user: guest, nick: "Guest" } });
  // The registered user is there already.
  await desk.join("red");
  await bob.expect({ type: "joined", user });
  await phone.expect({ type: "joined", user });
  await phone.requestAll(identify);
  await bob.expect({ type: "left", user: guest, nick: "Guest" });
  await phone.requestAll(nick("Visitor"));
  await bob.expect({ type: "joined", user: guest, nick: "Visitor" });
  await bob.expectNothingElse();
  // The session has received the events of the room all the time.
  await bob.sendMessage("hello");
  const seen = phone.connection.received.map((line) => JSON.parse(line));
  await eventually(
    () => phone.connection.received.some((line) => line.includes('"text":"hello"')),
    "the message arrives",
  );
  assertEquals(seen.some(({ type, user }) => type === "left" && user !== guest), false);
});

Deno.test("in plain text a session is told its new nickname, whatever its room is told", async () => {
  await using server = await TestServer.open({ rateLimits: "off" });
  const desk = await JsonClient.register(server, "Ann");
  for (const isThere of [false, true]) {
    if (isThere) await desk.join("red");
    const shell = await server.login("Guest", "red");
    await shell.request(`/identify Ann ${PASSWORD}`, "Nickname is: Ann");
    await shell.request("/nick Visitor", "Nickname is: Visitor");
    await shell.request("/room", "red");
    await shell.expectNothingElse();
    await shell.disconnect();
  }
  const other = await JsonClient.identify(server, "Ann", "red");
  // Both users have another session in the room: the others are told nothing at all.
  const shell = await server.connect();
  await shell.request(
    `/identify Ann ${PASSWORD}`,
    "Using nickname: Ann\nType /help for list of commands.",
  );
  await shell.request("/join red", 'Joined chat room "red"');
  await shell.request("/nick ANN", "Nickname is: ANN");
  await other.connection.disconnect();
  await shell.expectNothingElse();
});

Deno.test("welcome has the rooms of the user's other sessions, and those of its last session", async () => {
  await using server = await TestServer.open();
  const desk = await JsonClient.register(server, "Ann", "red");
  await desk.join("blue");
  assertEquals([desk.welcome.rooms, "directs" in desk.welcome], [[], false]);
  const phone = await JsonClient.identify(server, "Ann");
  assertEquals(phone.welcome.rooms, ["blue", "red"].map((room) => ({ room, joined: false })));
  assertEquals(phone.welcome.directs, []);
  assertEquals(phone.welcome.session === desk.welcome.session, false);
  await desk.requestAll({ type: "leave", room: "blue" });
  desk.connection.socket.close(1000);
  phone.connection.socket.close(1000);
  await withDeadline(Promise.all([desk, phone].map(({ connection }) => connection.closed)), "ends");
  await eventually(() => server.chat.size === 0, "both sessions are over");
  const who = await JsonClient.login(server, "Bob");
  const isOffline = async () => !(await who.request({ type: "who", nick: "ann" })).online;
  await eventually(isOffline, "the user is offline");
  const tablet = await JsonClient.identify(server, "Ann");
  // It left the other one itself.
  assertEquals(tablet.welcome.rooms, [{ room: "red", joined: false }]);
});

Deno.test("who finds users by nickname and by ID, online and offline, with all rooms of their sessions", async () => {
  await using server = await TestServer.open();
  const bob = await JsonClient.login(server, "Bob", "red");
  const ann = await JsonClient.register(server, "Ann", "red");
  await bob.expect({ type: "joined", nick: "Ann" });
  const phone = await JsonClient.identify(server, "Ann", "blue");
  const { user } = ann;
  const found = { user, nick: "Ann", registered: true, rooms: ["blue", "red"], online: true };
  for (const named of [{ nick: "ANN" }, { user }]) {
    const { type: _, ref: __, ...who } = await bob.request({ type: "who", ...named });
    assertEquals(who, found);
  }
  const guest = { user: bob.user, nick: "Bob", rooms: ["red"], online: true };
  for (const named of [{ nick: "bob" }, { user: bob.user }]) {
    const { type: _, ref: __, ...who } = await ann.request({ type: "who", ...named });
    assertEquals(who, guest);
  }
  const tim = await server.login("Tim");
  await tim.request("/who ann", 'Ann is in rooms "blue" and "red".');
  // The ID of a session that has signed in is no user's.
  for (const user of [ann.welcome.session, "nobody", "", "\u0000"]) {
    await bob.expectError({ type: "who", user }, "not-online");
  }
  ann.connection.socket.close(1000);
  phone.connection.socket.close(1000);
  const away = async () => (await bob.requestAll({ type: "who", user })).at(-1)!;
  await eventually(async () => !(await away()).online, "the user is offline");
  assertEquals((await away()).rooms, []);
  await tim.request("/who ann", "Ann is offline.");
  await tim.request("/who Nobody", 'No one named "Nobody" is online.');
});

Deno.test("a user has at most 16 sessions, and one more is refused without harm to them", async () => {
  await using server = await TestServer.open({ rateLimits: "off" });
  const first = await JsonClient.register(server, "Ann", "red");
  for (let i = 1; i < 16; i++) await JsonClient.identify(server, "Ann");
  const one = await JsonClient.login(server, "Guest", "red");
  await first.expect({ type: "joined", nick: "Guest" });
  const identify = { type: "identify", nick: "Ann", password: PASSWORD };
  await one.expectError(identify, "too-many-sessions");
  const { sessions } = await first.request({ type: "sessions" });
  assertEquals(sessions.length, 16);
  // The session that was refused is what it was.
  await one.sendMessage("hello");
  await first.expect({ nick: "Guest", text: "hello" });
  await first.request({ type: "end", session: sessions[3].session });
  assertEquals((await one.requestAll(identify)).at(-1)!.type, "ok");
});
