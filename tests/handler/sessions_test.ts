/** Listing and ending the sessions of a user, over real sockets. */
import { assertEquals, assertMatch } from "@std/assert";
import { JsonClient, type JsonObject, PASSWORD } from "../support/json_client.ts";
import { takenReply } from "../support/registrations.ts";
import { TestServer } from "../support/test_server.ts";
import type { TextClient } from "../support/text_client.ts";
import { eventually, withDeadline } from "../support/wait.ts";

/** Two instances on one KV. */
class Instances implements AsyncDisposable {
  constructor(readonly kv: Deno.Kv, readonly one: TestServer, readonly other: TestServer) {}

  static async open(): Promise<Instances> {
    const kv = await Deno.openKv(":memory:");
    const one = await TestServer.open({ kv, local: false, rateLimits: "off" });
    const other = await TestServer.open({ kv, local: false, rateLimits: "off" });
    return new Instances(kv, one, other);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.other[Symbol.asyncDispose]();
    await this.one[Symbol.asyncDispose]();
    this.kv.close();
  }
}

/** Returns how a connection was closed. */
async function closeOf({ connection }: JsonClient): Promise<[number, string]> {
  const { code, reason } = await withDeadline(connection.closed, "the close");
  return [code, reason];
}

const ENDED: [number, string] = [4002, "session ended by its user"];

async function sessionsOf(client: JsonClient): Promise<JsonObject[]> {
  return (await client.request({ type: "sessions" })).sessions;
}

/** Signs a plain-text client in to Ann's nickname. */
async function shellOf(server: TestServer): Promise<TextClient> {
  const shell = await server.connect();
  await shell.request(
    `/identify Ann ${PASSWORD}`,
    "Using nickname: Ann\nType /help for list of commands.",
  );
  return shell;
}

Deno.test("sessions lists the user's sessions on all instances and in both protocols, and nobody else's", async () => {
  await using instances = await Instances.open();
  const desk = await JsonClient.register(instances.one, "Ann");
  const phone = await JsonClient.identify(instances.other, "Ann");
  const shell = await shellOf(instances.one);
  const bob = await JsonClient.login(instances.one, "Bob");
  const brief = ({ session, protocol, current }: JsonObject) => [session, protocol, current];
  const [first, second, third] = await sessionsOf(phone);
  assertEquals(brief(first!), [desk.welcome.session, "chat.v1", undefined]);
  assertEquals(brief(second!), [phone.welcome.session, "chat.v1", true]);
  assertEquals(brief(third!).slice(1), ["text", undefined]);
  assertEquals((await sessionsOf(bob)).map(brief), [[bob.welcome.session, "chat.v1", true]]);
  shell.send("/sessions");
  const lines = (await shell.next()).split("\n");
  const line =
    /^#\d (chat\.v1|plain text) since \d{4}-\d\d-\d\d \d\d:\d\d UTC( \(this session\))?$/;
  for (const each of lines) assertMatch(each, line);
  assertEquals(lines.map((each) => each.includes("this session")), [false, false, true]);
});

Deno.test("end closes another session of the user with 4002, wherever it is, and its rooms see it leave", async () => {
  await using instances = await Instances.open();
  const bob = await JsonClient.login(instances.other, "Bob", "red");
  const desk = await JsonClient.register(instances.one, "Ann");
  for (const server of [instances.one, instances.other]) {
    const phone = await JsonClient.identify(server, "Ann", "red");
    await bob.expect({ type: "joined", user: desk.user });
    const { session, token } = phone.welcome;
    assertEquals((await desk.request({ type: "end", session })).type, "ok");
    assertEquals(await closeOf(phone), ENDED);
    await bob.expect({ type: "left", user: desk.user });
    const late = await JsonClient.connect(server);
    await late.expectError({ type: "resume", token }, "bad-token");
    await desk.expectError({ type: "end", session }, "no-such-session");
  }
  assertEquals((await sessionsOf(desk)).length, 1);
  await bob.expectNothingElse();
});

Deno.test("end reaches a session whose client has dropped", async () => {
  await using instances = await Instances.open();
  const bob = await JsonClient.login(instances.one, "Bob", "red");
  const desk = await JsonClient.register(instances.one, "Ann");
  const phone = await JsonClient.identify(instances.other, "Ann", "red");
  await bob.expect({ type: "joined", user: desk.user });
  phone.connection.socket.close(4000);
  await phone.connection.closed;
  const { session, token } = phone.welcome;
  assertEquals((await desk.request({ type: "end", session })).type, "ok");
  await bob.expect({ type: "left", user: desk.user });
  const late = await JsonClient.connect(instances.other);
  await late.expectError({ type: "resume", token }, "bad-token");
});

Deno.test("end refuses the sessions of other users, and texts that are none, and disturbs nobody", async () => {
  await using server = await TestServer.open();
  const ann = await JsonClient.register(server, "Ann", "red");
  const bob = await JsonClient.register(server, "Bob", "red");
  const eve = await JsonClient.login(server, "Eve");
  await ann.expect({ type: "joined", nick: "Bob" });
  const { session } = ann.welcome;
  for (const client of [bob, eve]) {
    for (const id of [session, ann.user, "", "nobody", "\u0000", "../red", "x".repeat(64)]) {
      await client.expectError({ type: "end", session: id }, "no-such-session");
    }
  }
  await ann.sendMessage("still here");
  await bob.expect({ text: "still here" });
});

Deno.test("a client that ends its own session gets its reply, and leaves at once", async () => {
  await using server = await TestServer.open();
  const bob = await JsonClient.login(server, "Bob", "red");
  const ann = await JsonClient.login(server, "Ann", "red");
  const { session, token } = ann.welcome;
  assertEquals((await ann.request({ type: "end", session })).type, "ok");
  assertEquals(await closeOf(ann), ENDED);
  await bob.expect({ type: "joined", nick: "Ann" }, { type: "left", nick: "Ann" });
  const late = await JsonClient.connect(server);
  await late.expectError({ type: "resume", token }, "bad-token");
  // The nickname is free at once.
  assertEquals((await late.request({ type: "login", nick: "Ann" })).type, "welcome");
});

Deno.test("/end ends the session that has the number, and asks for a number that is one", async () => {
  await using server = await TestServer.open();
  const phone = await JsonClient.register(server, "Ann");
  const shell = await shellOf(server);
  const other = await shellOf(server);
  const usage = "Usage: /end {n}, n as /sessions shows it";
  for (const line of ["/end", "/end x", "/end -1", "/end 1.5", "/end 1000000"]) {
    await shell.request(line, usage);
  }
  for (const line of ["/end 0", "/end 4", "/end 999"]) {
    await shell.request(line, "You have no such session.");
  }
  shell.send("/sessions");
  assertEquals((await shell.next()).split("\n").length, 3);
  await shell.request("/end 1", "Session ended.");
  assertEquals(await closeOf(phone), ENDED);
  // The numbers are those of the list, also when a session of it is over.
  await shell.request("/end 1", "You have no such session.");
  await shell.request("/end 3", "Session ended.");
  assertEquals((await withDeadline(other.closed, "the close")).code, 4002);
  shell.send("/sessions");
  assertMatch(await shell.next(), /^#1 plain text since .* \(this session\)$/);
  shell.send("/end 1");
  assertEquals((await withDeadline(shell.closed, "the close")).code, 4002);
});

Deno.test("of the end and the resume of a session at the same moment one wins, and nothing is left over", async () => {
  await using instances = await Instances.open();
  const bob = await JsonClient.login(instances.one, "Bob", "red");
  const desk = await JsonClient.register(instances.one, "Ann");
  const outcomes = new Set<string>();
  for (let i = 0; i < 12; i++) {
    const phone = await JsonClient.identify(instances.other, "Ann", "red");
    await bob.expect({ type: "joined" });
    const { session, token } = phone.welcome;
    const back = await JsonClient.connect(i % 2 ? instances.one : instances.other);
    back.send({ type: "resume", token, ref: 1 });
    const end = await desk.request({ type: "end", session });
    assertEquals(end.type, "ok");
    const { received, socket } = back.connection;
    await eventually(() => received.length > 0 || socket.readyState === 3, "the resume has ended");
    const { type, code } = received.length > 0 ? JSON.parse(received[0]!) : { type: "closed" };
    outcomes.add(code ?? type);
    // Whoever was first: in the end the session is over.
    await bob.expect({ type: "left" });
    const isOver = async () => (await sessionsOf(desk)).length === 1;
    await eventually(isOver, "the session is over");
    await closeOf(phone);
    const late = await JsonClient.connect(instances.one);
    await late.expectError({ type: "resume", token }, "bad-token");
    for (const { connection } of [back, late]) connection.socket.close();
  }
  for (const outcome of outcomes) assertMatch(outcome, /^(bad-token|welcome|closed)$/);
  await bob.expectNothingElse();
});

Deno.test("a new password ends all other sessions of the user, and none of other users", async () => {
  await using instances = await Instances.open();
  const bob = await JsonClient.register(instances.one, "Bob", "red");
  const desk = await JsonClient.register(instances.one, "Ann", "red");
  await bob.expect({ type: "joined", nick: "Ann" });
  const others = [
    await JsonClient.identify(instances.one, "Ann", "red"),
    await JsonClient.identify(instances.other, "Ann"),
  ];
  const change = { type: "password", password: PASSWORD, new: "battery-staple" };
  assertEquals(typeof (await desk.request(change)).token, "string");
  for (const each of others) assertEquals(await closeOf(each), ENDED);
  await desk.sendMessage("it is me");
  await bob.expect({ user: desk.user, text: "it is me" });
  await bob.expectNothingElse();
});

Deno.test("a registration that ends while another device talks ends that device's session, and the room hears each message once", async () => {
  await using instances = await Instances.open();
  const bob = await JsonClient.login(instances.one, "Bob", "red");
  const desk = await JsonClient.register(instances.one, "Ann", "red");
  const { user } = desk;
  const phone = await JsonClient.identify(instances.other, "Ann", "red");
  await bob.expect({ type: "joined", user });
  const talk = (from: number, to: number) => {
    for (let i = from; i < to; i++) phone.send({ type: "message", room: "red", text: `${i}` });
  };
  talk(0, 20);
  await bob.expect({ user, text: "0" });
  const unregistering = desk.requestAll({ type: "unregister", password: PASSWORD });
  talk(20, 500);
  const heard = await unregistering;
  const { type, user: next } = heard.at(-1)!;
  assertEquals([type, next], ["ok", desk.welcome.session]);
  // A client that is still sending may see a broken connection before it reads the close frame.
  const closed = await closeOf(phone);
  if (closed[0] !== 0) assertEquals(closed, ENDED);
  await desk.requestAll({ type: "message", room: "red", text: "the end" });
  const lines: JsonObject[] = [{ type: "message", user, text: "0" }];
  while (lines.at(-1)?.text !== "the end") lines.push(await bob.next());
  // The messages of the phone are the first ones, in order, by the registered user.
  const said = lines.filter(({ type, user: by }) => type === "message" && by === user);
  assertEquals(said.map(({ text }) => text), said.map((_, i) => `${i}`));
  // The room is told that the user left, or that it is another one now, and of no one else.
  const moves = lines.filter(({ type }) => type !== "message");
  const left = moves.filter((each) => each.type === "left" && each.user === user).length;
  const renamed = moves.filter((each) => each.type === "nick" && each.to.user === next).length;
  assertEquals([left + renamed, lines.at(-1)!.user], [1, next]);
});

Deno.test("a second login with a nickname in use is refused, and the reply says what its owner can do", async () => {
  await using server = await TestServer.open();
  const ann = await JsonClient.login(server, "Ann");
  const again = await JsonClient.connect(server);
  const refused = await again.request({ type: "login", nick: "Ann" });
  assertEquals([refused.code, refused.message], ["nickname-taken", takenReply("Ann")]);
  // It does as the reply says.
  await ann.request({ type: "register", password: PASSWORD });
  const { code } = await again.request({ type: "login", nick: "Ann" });
  assertEquals(code, "nickname-registered");
  const welcome = await again.request({ type: "identify", nick: "Ann", password: PASSWORD });
  assertEquals([welcome.type, welcome.user], ["welcome", ann.user]);
});
