/** `chat.v1` over real sockets: the sessions in PROTOCOL.md, and every kind of wrong input. */
import { assert, assertEquals } from "@std/assert";
import { encodeJson, encodeReply } from "../../chat/delivery/json.ts";
import { hashToken } from "../../chat/base/tokens.ts";
import { shown } from "../../chat/delivery/text.ts";
import { countingKv } from "../support/faulty_kv.ts";
import { PROJECT } from "../support/processes.ts";
import { TestServer } from "../support/test_server.ts";
import type { TextClient } from "../support/text_client.ts";
import { eventually, withDeadline } from "../support/wait.ts";
import { AdjustedClock } from "../support/fake_clock.ts";
import { JsonClient, type JsonObject } from "../support/json_client.ts";

/** Returns a `chat.v1` client; each line of a frame counts as a frame. */
async function connect(server: TestServer): Promise<TextClient> {
  return await server.connect("", "chat.v1");
}

/** Numbers IDs and tokens in order of appearance: they differ in every run. */
class Names {
  readonly #ids = new Map<string, string>();
  readonly #tokens = new Map<string, string>();
  /** IDs of users and sessions. */
  readonly #ulids = new Map<string, string>();

  in(line: string): string {
    const numbered = (names: Map<string, string>, kind: string) => (found: string) => {
      if (!names.has(found)) names.set(found, `"<${kind} ${names.size}>"`);
      return names.get(found)!;
    };
    return line
      .replace(/"(time|edited|deleted|since|until)":\d+/g, '"$1":"<time>"')
      .replace(/"[\w-]{43}"/g, numbered(this.#tokens, "token"))
      .replace(/"0[0-9A-Z]{25}"/g, numbered(this.#ulids, "ulid"))
      .replace(/"[a-u][0-9a-f]{4,22}"/g, numbered(this.#ids, "id"));
  }

  /** Replaces the IDs and tokens of the document by those of this run. */
  static translate(line: string, from: Names, to: Names): string {
    const here = new Map<string, string>();
    const pairs = [[from.#ids, to.#ids], [from.#tokens, to.#tokens], [from.#ulids, to.#ulids]];
    for (const [theirs, ours] of pairs as [Map<string, string>, Map<string, string>][]) {
      const byName = new Map([...ours].map(([text, name]) => [name, text]));
      for (const [text, name] of theirs) here.set(text, byName.get(name) ?? text);
    }
    // In one pass: an ID of the document may be another ID of this run.
    return line.replace(/"[\w-]+"/g, (text) => here.get(text) ?? text);
  }
}

Deno.test("every session in PROTOCOL.md is what the server really sends", async () => {
  const text = await Deno.readTextFile(new URL("chat/docs/PROTOCOL.md", PROJECT));
  const sessions = [...text.matchAll(/<!-- replayed(: [^>]*)? -->\n\n```text\n([^]*?)```/g)];
  assert(sessions.length >= 6, `${sessions.length} sessions`);
  let server: TestServer | undefined, written = new Names(), seen = new Names();
  let last: TextClient | undefined;
  for (const [, note, session] of sessions) {
    const resumes = session!.includes('"resume"');
    if (!resumes) {
      await server?.[Symbol.asyncDispose]();
      server = await TestServer.open({ operatorSecret: "a-secret-of-operators" });
      written = new Names();
      seen = new Names();
    }
    const client = await connect(server!);
    for (const line of session!.trimEnd().split("\n")) {
      const rest = line.slice(2);
      if (line.startsWith("> ")) {
        written.in(rest);
        client.send(Names.translate(rest, written, seen));
      } else {
        assert(line.startsWith("< "), `neither a request nor a reply: ${line}`);
        assertEquals(seen.in(await client.next()), written.in(rest), `${note ?? ""} ${line}`);
      }
    }
    assertEquals(client.unreadCount, 0, "more came than is written");
    if (resumes) assertEquals((await last!.closed).code, 4001);
    last = client;
  }
  await server?.[Symbol.asyncDispose]();
});

/** Returns Ann, who sends wrong input, and one other client of each protocol. */
async function company(
  server: TestServer,
): Promise<{ ann: JsonClient; bob: JsonClient; tim: TextClient }> {
  const bob = await JsonClient.login(server, "Bob", "red");
  const tim = await server.login("Tim", "red");
  await bob.expect({ type: "joined", nick: "Tim" });
  const ann = await JsonClient.login(server, "Ann", "red");
  await bob.expect({ type: "joined", nick: "Ann" });
  await tim.expect("Ann joined room.");
  return { ann, bob, tim };
}

/** Returns the nicknames in a reply to `members`. */
function nicksOf({ members }: JsonObject): string[] {
  return members.map(({ nick }: JsonObject) => nick);
}

/** Checks that each frame gets exactly one error, and that other clients receive nothing. */
async function refusesEach(cases: Iterable<[frame: string, code: string, ref?: unknown]>) {
  await using server = await TestServer.open({ rateLimits: "off" });
  const { ann, bob, tim } = await company(server);
  for (const [frame, code, ref] of cases) {
    ann.send(frame);
    const { message, ...rest } = await ann.next();
    assertEquals(rest, { type: "error", code, ...ref === undefined ? {} : { ref } }, frame);
    assert(typeof message === "string" && message.length > 5, message);
    await ann.expectNothingElse();
  }
  // Ann is still in the room, under the same nickname.
  await ann.sendMessage("still here");
  await bob.expect({ type: "message", nick: "Ann", room: "red", text: "still here" });
  await tim.expect("Ann: still here");
  await bob.expectNothingElse();
  await tim.expectNothingElse();
  assertEquals(server.warnings, []);
}

/** Returns JSON of so many levels. */
function nested(levels: number, open = "[", close = "]"): string {
  return open.repeat(levels) + close.repeat(levels);
}

Deno.test("a line that is not a JSON object is malformed, and the connection stays open", async () => {
  const ping = '{"type":"ping"}';
  const frames = [
    ...["", " ", "hello", "{", "}", "[]", "[{}]", `[${ping}]`, "null", "true", "7", '"ping"'],
    ...["NaN", "undefined", "{'type':'ping'}", '{type:"ping"}', '{"type":"ping",}', "\u0000"],
    ...[`${ping}${ping}`, `${ping},${ping}`, `${ping} x`, `\ufeff${ping}`, '{"type":"ping"'],
    ...['{"type":"ping","x":"\t"}', '{"type":"ping","x":"\\x41"}', '{"type":"ping","x":01}'],
  ];
  await refusesEach(frames.map((frame) => [frame, "malformed"]));
});

Deno.test("a request nested too deep is malformed, and unknown nested fields are ignored", async () => {
  await refusesEach([
    [nested(10_000), "malformed"],
    ["[".repeat(60_000), "malformed"],
    ['{"a":'.repeat(10_000), "malformed"],
    [`{"type":"ping","x":${nested(10_000)}}`, "malformed"],
    [`{"type":"ping","ref":"r","x":${nested(10_000)}}`, "malformed", "r"],
    [`{"x":${nested(10_000)},"type":"ping","ref":7}`, "malformed", 7],
    [`{"type":"ping","ref":"r","x":${nested(17)}}`, "malformed", "r"],
    [`{"type":"ping","ref":"r","x":${nested(16)}}`, "malformed", "r"],
    [`{"type":"ping","ref":"r","x":${nested(8, '{"a":[', "]}")}}`, "malformed", "r"],
  ]);
  await using server = await TestServer.open({ rateLimits: "off" });
  const ann = await JsonClient.connect(server);
  ann.send(`{"type":"ping","ref":"r","x":${nested(15)}}`);
  await ann.expect({ type: "pong", ref: "r" });
  // Brackets in strings do not count as levels.
  ann.send(JSON.stringify({ type: "ping", ref: "s", x: `\\"${"[{".repeat(100)}`, '{"[\\': "\\" }));
  await ann.expect({ type: "pong", ref: "s" });
});

Deno.test("a duplicate key is malformed, also if it is written with escapes", async () => {
  await refusesEach([
    ['{"type":"ping","type":"ping"}', "malformed"],
    ['{"type":"ping","ref":1,"ref":2}', "malformed"],
    ['{"type":"message","room":"red","text":"a","text":"b"}', "malformed"],
    ['{"type":"ping","\\u0074ype":"message","text":"boo"}', "malformed"],
    ['{"\\u0074\\u0079pe":"ping","type":"ping"}', "malformed"],
    ['{"type":"message","room":"red","text":"boo","te\\u0078t":""}', "malformed"],
    ['{"type":"ping","x":1,"x":2}', "malformed"],
    ['{"type":"ping","__proto__":1,"__proto__":2}', "malformed"],
    ['{"type":"ping","x\\"":1,"x\\"":2}', "malformed"],
  ]);
});

Deno.test("duplicate keys inside an unknown field are ignored", async () => {
  await using server = await TestServer.open();
  const ann = await JsonClient.connect(server);
  for (
    const field of [
      '"x":{"a":1,"a":2}',
      '"x":[{"a":1,"a":2},{"a":3}]',
      '"x":"a\\":1,\\"type\\":2"',
      '"x:":{"type":"login","ref":2}',
      '"__proto__":{"type":"login"},"constructor":1',
    ]
  ) {
    ann.send(`{"type":"ping",${field},"ref":1}`);
    assertEquals(await ann.next(), { type: "pong", ref: 1 }, field);
  }
});

Deno.test("a request of an unknown type is rejected, whatever its name is", async () => {
  const names = ["dance", "", "PING", " ping", "ping ", "__proto__", "constructor", "toString"];
  const more = ["hasOwnProperty", "valueOf", "ok", "welcome", "joined", "error", "\u0000"];
  const requests = [...names, ...more, "x".repeat(60_000), "😀".repeat(100), "\ud800"];
  await refusesEach(
    requests.map((type, ref) => [JSON.stringify({ type, ref }), "unknown-type", ref]),
  );
});

Deno.test("a request whose type is missing or not a string is a bad request", async () => {
  const types = [undefined, null, 7, true, ["ping"], { ping: 1 }, []];
  await refusesEach([
    ...types.map((type, ref): [string, string, unknown] => [
      JSON.stringify({ type, ref }),
      "bad-request",
      ref,
    ]),
    ["{}", "bad-request"],
    ['{"__proto__":{"type":"ping"},"ref":"r"}', "bad-request", "r"],
  ]);
});

Deno.test("a missing field, or one of the wrong type, is a bad request", async () => {
  const fields = {
    login: { nick: "required" },
    resume: { token: "required", direct: "optional" },
    join: { room: "required" },
    leave: { room: "required" },
    members: { room: "required" },
    nick: { nick: "required" },
    identify: { nick: "required", password: "required" },
    register: { password: "required" },
    password: { password: "required", new: "required" },
    unregister: { password: "required" },
    message: { text: "required", room: "required", cid: "optional" },
    action: { text: "required", room: "required", cid: "optional" },
    direct: { to: "required", text: "required", cid: "optional" },
    edit: { room: "required", id: "required", text: "required" },
    delete: { room: "required", id: "required" },
    read: { room: "required", id: "required" },
    who: { nick: "required" },
    end: { session: "required" },
    history: { room: "required", before: "optional", after: "optional", limit: "optional" },
  };
  const good: Record<string, unknown> = { nick: "Ann", token: "x".repeat(43), room: "red" };
  Object.assign(good, { text: "BOO", to: "Bob", direct: "a", before: "a", limit: 1, id: "a" });
  Object.assign(good, { password: "x", new: "x", session: "x" });
  const cases: [string, string, unknown][] = [];
  for (const [type, named] of Object.entries(fields)) {
    for (const [field, how] of Object.entries(named)) {
      const others = Object.keys(named).filter((name) => name !== "after" && name !== "cid");
      const request = Object.fromEntries(others.map((name) => [name, good[name]]));
      if (field === "after") delete request.before;
      const wrong: unknown[] = [7, null, true, ["x"], { x: 1 }, 1.5];
      if (field === "limit") wrong.splice(0, 1, "7", 0, -1, 101, 1e300);
      for (const value of [...wrong, ...how === "required" ? [undefined] : []]) {
        const ref = `${type} ${field} ${JSON.stringify(value)}`;
        cases.push([JSON.stringify({ type, ref, ...request, [field]: value }), "bad-request", ref]);
      }
    }
  }
  for (const last of ["a", 7, null, true, ["a"], { red: 7 }, { red: null }, { red: {} }]) {
    const ref = `last ${JSON.stringify(last)}`;
    const request = { type: "resume", ref, token: "x".repeat(43), last };
    cases.push([JSON.stringify(request), "bad-request", ref]);
  }
  assert(cases.length > 200, `${cases.length}`);
  await refusesEach(cases);
});

Deno.test("a field that is too long, empty or excluded by another field is rejected", async () => {
  const long = "x".repeat(65);
  const cases: [object, string][] = [
    [{ type: "message", room: "red", text: "" }, "bad-request"],
    [{ type: "action", room: "red", text: "" }, "bad-request"],
    [{ type: "direct", to: "Bob", text: "" }, "bad-request"],
    [{ type: "message", room: "red", text: "BOO", cid: long }, "bad-request"],
    [{ type: "action", room: "red", text: "BOO", cid: long }, "bad-request"],
    [{ type: "direct", to: "Bob", text: "BOO", cid: long }, "bad-request"],
    [{ type: "message", room: "red", text: "x".repeat(16_385) }, "too-long"],
    [{ type: "message", room: "red", text: "é".repeat(8_192) + "x" }, "too-long"],
    [{ type: "action", room: "red", text: "\u0001".repeat(6_000) + "é".repeat(5_200) }, "too-long"],
    [{ type: "direct", to: "Bob", text: "😀".repeat(4_097) }, "too-long"],
    [{ type: "message", text: "BOO", room: "blue" }, "not-in-room"],
    [{ type: "message", text: "BOO", room: "" }, "not-in-room"],
    [{ type: "message", text: "BOO", room: "Red" }, "not-in-room"],
    [{ type: "direct", to: "Nobody", text: "BOO" }, "not-online"],
    [{ type: "direct", to: "", text: "BOO" }, "bad-nickname"],
    [{ type: "direct", to: "x".repeat(10_000), text: "BOO" }, "bad-nickname"],
    [{ type: "who", nick: "Nobody" }, "not-online"],
    [{ type: "who", nick: "\u0000" }, "bad-nickname"],
    [{ type: "nick", nick: "bob" }, "nickname-taken"],
    [{ type: "nick", nick: "/bob" }, "bad-nickname"],
    [{ type: "nick", nick: "" }, "bad-nickname"],
    [{ type: "nick", nick: "\ud800" }, "bad-nickname"],
    [{ type: "join", room: "" }, "bad-room"],
    [{ type: "join", room: long }, "bad-room"],
    [{ type: "join", room: "a\nb" }, "bad-room"],
    [{ type: "join", room: "\ud800" }, "bad-room"],
    [{ type: "history", before: "a", after: "b" }, "bad-request"],
    [{ type: "history", before: long }, "bad-request"],
    [{ type: "history", after: long }, "bad-request"],
    [{ type: "history", room: "blue" }, "not-allowed"],
    [{ type: "history", room: "" }, "not-allowed"],
    [{ type: "history", room: "x".repeat(10_000) }, "not-allowed"],
    [{ type: "login", nick: "Anna" }, "already-named"],
    [{ type: "login", nick: "Ann" }, "already-named"],
    [{ type: "resume", token: "x".repeat(43) }, "already-named"],
  ];
  await refusesEach(
    cases.map(([request, code], ref) => [JSON.stringify({ ...request, ref }), code, ref]),
  );
});

Deno.test("an error repeats at most a short part of a long value", async () => {
  await using server = await TestServer.open();
  const ann = await JsonClient.login(server, "Ann", "red");
  const long = "x".repeat(60_000);
  for (
    const request of [
      { type: long },
      { type: "who", nick: long },
      { type: "join", room: long },
      { type: "message", text: "x", room: long },
      { type: "history", room: long },
    ]
  ) {
    const { type, message } = await ann.request(request);
    assertEquals(type, "error");
    assert(message.length < 300, `${message.length} characters: ${message.slice(0, 40)}…`);
  }
});

Deno.test("an invalid ref is rejected without a ref, and the longest valid ref is repeated", async () => {
  const ping = (ref: string) => `{"type":"ping","ref":${ref}}`;
  const bad = [
    "null",
    '"\\ud800"',
    "true",
    "{}",
    "[]",
    "[1]",
    '{"toString":1}',
    "1.5",
    "1e300",
    "-1e-5",
  ];
  const more = [
    "9007199254740993",
    JSON.stringify("x".repeat(65)),
    JSON.stringify("é".repeat(65)),
    JSON.stringify("😀".repeat(33)),
  ];
  await refusesEach([
    ...[...bad, ...more].map((ref): [string, string] => [ping(ref), "bad-request"]),
    // The request is not carried out.
    ['{"type":"message","room":"red","text":"BOO","ref":1.5}', "bad-request"],
    ['{"type":"nick","nick":"Boo","ref":null}', "bad-request"],
    [ping(JSON.stringify("x".repeat(2 ** 20))), "too-long"],
    [ping(JSON.stringify("x".repeat(256 * 1024))), "too-long"],
  ]);
  await using server = await TestServer.open({ rateLimits: "off" });
  const ann = await JsonClient.connect(server);
  const limit = ["x".repeat(64), "\u0000\n\"\\'", "\ud83d\ude00", "__proto__", "", "1", 1, 0, -1];
  for (const ref of [...limit, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER]) {
    ann.send({ type: "ping", ref });
    assertEquals(await ann.next(), { type: "pong", ref });
  }
});

Deno.test("the requests of one frame are handled in order, wrong ones included", async () => {
  await using server = await TestServer.open();
  const { ann, bob, tim } = await company(server);
  const lines = [
    '{"type":"message","room":"red","text":"one","ref":1}\r',
    "what?",
    "",
    '{"type":"nick","nick":"Anna","ref":2}',
    '{"type":"nick","nick":"bob","ref":3}',
    "  ",
    '{"type":"message","room":"red","text":"two","ref":4}',
    '{"type":"leave","room":"red","ref":5}',
    '{"type":"message","room":"red","text":"BOO","ref":6}',
    "",
  ];
  ann.send(lines.join("\n"));
  await ann.expect(
    { type: "error", code: "malformed" },
    { type: "message", text: "one", nick: "Ann" },
    { type: "ok", ref: 1 },
    { type: "nick", nick: "Ann", to: { nick: "Anna" } },
    { type: "ok", ref: 2 },
    { type: "error", code: "nickname-taken", ref: 3 },
    { type: "message", text: "two", nick: "Anna" },
    { type: "ok", ref: 4 },
    { type: "left", nick: "Anna" },
    { type: "ok", ref: 5 },
    { type: "error", code: "not-in-room", ref: 6 },
  );
  await ann.expectNothingElse();
  await bob.expect(
    { type: "message", text: "one", nick: "Ann" },
    { type: "nick", to: { nick: "Anna" } },
    { type: "message", text: "two", nick: "Anna" },
    { type: "left", nick: "Anna" },
  );
  await bob.expectNothingElse();
  await tim.expect("Ann: one", "Ann is now known as Anna.", "Anna: two", "Anna left room.");
  await tim.expectNothingElse();
});

Deno.test("a frame of line breaks holds no request", async () => {
  await using server = await TestServer.open();
  const { ann, bob, tim } = await company(server);
  ann.send("\n", "\r\n", "\n\n\n", " \n\t\n", "\n".repeat(10_000));
  await ann.expectNothingElse();
  await bob.expectNothingElse();
  await tim.expectNothingElse();
});

Deno.test("a text is delivered exactly as it was sent, whatever its characters are", async () => {
  await using server = await TestServer.open({ rateLimits: "off" });
  const { ann, bob, tim } = await company(server);
  const limit = 16_384;
  const texts = [
    ...["a\nb\r\nc", "\n", "\u0000", "\u0000\u0001\u001f\u007f\u0085", "😀👩‍👩‍👧", "e\u0301 \u202e"],
    ...["\u2028\u2029", '"\\/', "__proto__", " ", "/quit", '{"type":"left"}', "x".repeat(limit)],
    ...["é".repeat(limit / 2), "😀".repeat(limit / 4), "日".repeat(5_461), "\u0000".repeat(6_000)],
  ];
  for (const text of texts) {
    await ann.sendMessage(text);
    await bob.expect({ type: "message", nick: "Ann", text });
    await tim.expect(`Ann: ${shown(text)}`);
    const heard = await ann.requestAll({ type: "direct", to: "Bob", text });
    assertEquals(heard.map(({ type }) => type), ["direct", "ok"]);
    assertEquals(heard[0]!.text, text);
    await bob.expect({ type: "direct", nick: "Ann", text });
  }
  const { events } = await bob.request({ type: "history", room: "red", limit: 100 });
  assertEquals(events.map(({ text }: JsonObject) => text), texts);
  await bob.expectNothingElse();
  await tim.expectNothingElse();
});

Deno.test("a lone surrogate is replaced in a text, and rejected in every other field", async () => {
  await using server = await TestServer.open();
  const { ann, bob, tim } = await company(server);
  const half = JSON.stringify("\ud83d");
  ann.send(`{"type":"message","room":"red","text":${half}}`);
  await ann.expect({ type: "message", room: "red", text: "\ufffd" });
  await bob.expect({ type: "message", room: "red", text: "\ufffd" });
  await tim.expect("Ann: \ufffd");
  ann.send(`{"type":"direct","to":"Bob","text":${half}}`);
  await ann.expect({ type: "direct", to: { nick: "Bob" }, text: "\ufffd" });
  await bob.expect({ type: "direct", text: "\ufffd" });
  for (
    const [request, code] of [
      [`{"type":"message","room":"red","text":"BOO","cid":${half}}`, "bad-request"],
      [`{"type":"message","text":"BOO","room":${half}}`, "not-in-room"],
      [`{"type":"nick","nick":${half}}`, "bad-nickname"],
      [`{"type":"join","room":${half}}`, "bad-room"],
      [`{"type":"history","room":${half}}`, "not-allowed"],
      [`{"type":"history","before":${half}}`, "bad-request"],
      [`{"type":"direct","to":${half},"text":"BOO"}`, "bad-nickname"],
      // The repeated part ends in the middle of a surrogate pair.
      [`{"type":"message","text":"BOO","room":"${"x".repeat(63)}😀"}`, "not-in-room"],
    ] as const
  ) {
    ann.send(request);
    const { type, code: given } = await ann.next();
    assertEquals([request, type, given], [request, "error", code]);
  }
  await bob.request({ type: "history", room: "red" });
  await bob.expectNothingElse();
  await tim.expectNothingElse();
  for (const { connection: client } of [ann, bob]) {
    for (const frame of client.received) assert(!/\\ud[89a-f]/i.test(frame), frame);
  }
});

Deno.test("a lone surrogate that an older version stored is replaced when it is sent", () => {
  const author = { id: "1", account: "", nick: "A\ud800" };
  const event = { room: "red", ...author, text: "b\udc00", time: 0, cid: "c\ud800" };
  const to = { user: "2", nick: "B\ud800", isRegistered: false };
  for (const kind of ["message", "action", "direct", "nick"] as const) {
    const line = encodeJson({ kind, ...event, to }, "g1a0000000");
    assert(!/\\ud[89a-f]/i.test(line) && line.isWellFormed(), line);
    assertEquals(JSON.parse(line).nick, "A\ufffd");
  }
  const reply = encodeReply("members", "\\ud800", { room: "red", nicks: ["A\ud800", "B"] });
  assertEquals(JSON.parse(reply).nicks, ["A\ufffd", "B"]);
  assert(reply.includes('"A\ufffd"') && reply.includes('"ref":"\\\\ud800"'), reply);
});

Deno.test("before the login, only pings are answered", async () => {
  await using server = await TestServer.open();
  const bob = await JsonClient.login(server, "Bob", "red");
  const ann = await JsonClient.connect(server);
  for (
    const request of [
      { type: "join", room: "red" },
      { type: "leave", room: "red" },
      { type: "nick", nick: "Ann" },
      { type: "message", room: "red", text: "BOO" },
      { type: "message", text: "BOO", room: "red", cid: "1" },
      { type: "action", room: "red", text: "boos" },
      { type: "direct", to: "Bob", text: "BOO" },
      { type: "who", nick: "Bob" },
      { type: "rooms" },
      { type: "members", room: "red" },
      { type: "history", room: "red" },
      { type: "history", room: "red" },
    ]
  ) await ann.expectError(request, "not-named");
  assertEquals(await ann.request({ type: "ping" }), { type: "pong", ref: "ref 13" });
  for (const nick of ["bob", "ＢＯＢ"]) {
    await ann.expectError({ type: "login", nick }, "nickname-taken");
  }
  for (const nick of ["", "/x", "x".repeat(33), "a\u0000"]) {
    await ann.expectError({ type: "login", nick }, "bad-nickname");
  }
  const welcome = await ann.request({ type: "login", nick: "Ann" });
  assertEquals([welcome.type, welcome.nick, welcome.rooms], ["welcome", "Ann", []]);
  await bob.expectNothingElse();
});

Deno.test("an invalid resume token is rejected, and other clients are not disturbed", async () => {
  await using server = await TestServer.open({ rateLimits: "off" });
  const bob = await JsonClient.login(server, "Bob", "red");
  const { token } = bob.welcome;
  const ann = await JsonClient.connect(server);
  const stored = new Set<string>();
  for await (const { key } of server.kv.list({ prefix: ["resume"] })) {
    for (const part of key) if (/^[\w-]{43}$/.test(String(part))) stored.add(String(part));
  }
  assert(stored.size > 0 && !stored.has(token));
  const last = token.at(-1) === "A" ? "E" : "A";
  const tokens = [
    ...[...stored, hashToken(token), hashToken(hashToken(token)), token.slice(0, -1) + last],
    ...["", " ", "x", "x".repeat(43), "x".repeat(60_000), token.slice(1), `${token} `, `${token}=`],
    ...[token.toUpperCase(), "\u0000".repeat(43), "../../../etc/passwd", "__proto__", "Bob"],
  ];
  for (const token of tokens) await ann.expectError({ type: "resume", token }, "bad-token");
  assertEquals((await ann.request({ type: "login", nick: "Ann" })).type, "welcome");
  await bob.sendMessage("still here");
  await bob.expectNothingElse();
});

Deno.test("a binary frame closes the connection with 1003 and a huge one with 1009, and other clients see only a leave", async () => {
  await using server = await TestServer.open({ graceSeconds: 0 });
  const bob = await JsonClient.login(server, "Bob", "red");
  const tim = await server.login("Tim", "red");
  await bob.expect({ type: "joined", nick: "Tim" });
  const huge = JSON.stringify({ type: "message", room: "red", text: "x".repeat(5 * 1024 * 1024) });
  const binary = new TextEncoder().encode('{"type":"ping"}');
  for (const [frame, code] of [[binary, 1003], [new Uint8Array(0), 1003], [huge, 1009]] as const) {
    const ann = await JsonClient.login(server, "Ann", "red");
    await bob.expect({ type: "joined", nick: "Ann" });
    ann.connection.send(frame, '{"type":"message","room":"red","text":"BOO"}');
    assertEquals((await withDeadline(ann.connection.closed, "the close")).code, code);
    await bob.expect({ type: "left", nick: "Ann" });
    await tim.expect("Ann joined room.", "Ann left room.");
  }
  await bob.expectNothingElse();
  await tim.expectNothingElse();
});

Deno.test("a message sent again with the same cid is delivered once, and gets the first reply again", async () => {
  await using server = await TestServer.open();
  const { ann, bob, tim } = await company(server);
  const say = (ref: number, type = "message") => ({
    type,
    room: "red",
    text: `try ${ref}`,
    cid: "a",
    ref,
  });
  // First in one frame, then one after the other, then as another kind.
  ann.send([say(1), say(2), say(3)].map((each) => JSON.stringify(each)).join("\n"));
  const heard = [await ann.next(), await ann.next(), await ann.next(), await ann.next()];
  const { id } = heard[0]!;
  assertEquals(heard.map(({ type, id, ref }) => [type, id, ref]), [
    ["message", id, undefined],
    ["ok", id, 1],
    ["ok", id, 2],
    ["ok", id, 3],
  ]);
  assertEquals(heard[0]!.cid, "a");
  ann.send(say(4));
  assertEquals(await ann.next(), { type: "ok", ref: 4, id });
  ann.send(say(5, "action"));
  assertEquals(await ann.next(), { type: "ok", ref: 5, id });
  await bob.expect({ type: "message", room: "red", text: "try 1", cid: "a" });
  // The same cid of another client is another message.
  await bob.sendMessage("mine", { cid: "a" });
  await ann.expect({ type: "message", nick: "Bob", cid: "a" });
  await bob.expectNothingElse();
  await ann.expectNothingElse();
  await tim.expect("Ann: try 1", "Bob: mine");
  await tim.expectNothingElse();
});

Deno.test("the cid of a rejected message is not remembered", async () => {
  await using server = await TestServer.open();
  const ann = await JsonClient.login(server, "Ann");
  const bob = await JsonClient.login(server, "Bob", "red");
  const words = { type: "message", room: "red", text: "hello", cid: "a" };
  await ann.expectError(words, "not-in-room");
  const direct = { type: "direct", text: "hello", cid: "a" };
  await ann.expectError({ ...direct, to: "Cy" }, "not-online");
  await ann.join("red");
  await bob.expect({ type: "joined" });
  await ann.expectError({ ...words, room: "blue" }, "not-in-room");
  await ann.expectError({ ...words, text: "x".repeat(16_385) }, "too-long");
  const id = await ann.sendMessage("hello", { cid: "a" });
  await bob.expect({ type: "message", room: "red", text: "hello", cid: "a", id });
  assertEquals((await ann.request(words)).id, id);
  await ann.requestAll({ ...direct, to: "Bob" });
  await bob.expect({ type: "direct", text: "hello", cid: "a" });
  await bob.expectNothingElse();
});

Deno.test("the cid of a message that could not be stored is not remembered", async () => {
  using kv = await Deno.openKv(":memory:");
  let away = false, faults = 0;
  const clock = new AdjustedClock();
  const { kv: faulty } = countingKv(kv, (what) => {
    if (what !== "commit" || !away) return;
    // After a few errors the server stops retrying.
    if (faults++ < 3) clock.monotonicAheadMs += 10_000;
    throw new Error("away");
  });
  await using server = await TestServer.open({ kv: faulty, clock });
  const ann = await JsonClient.login(server, "Ann", "red");
  const bob = await JsonClient.login(server, "Bob", "red");
  await ann.expect({ type: "joined" });
  away = true;
  const words = { type: "message", room: "red", text: "hello", cid: "a" };
  ann.send([1, 2].map((ref) => JSON.stringify({ ...words, ref })).join("\n"));
  const answers = [await ann.next(), await ann.next()];
  assertEquals(answers.map(({ code }) => code), ["unavailable", "unavailable"]);
  assertEquals(answers.map(({ ref }) => ref).sort(), [1, 2]);
  away = false;
  const heard = await ann.requestAll(words);
  assertEquals(heard.map(({ type }) => type), ["message", "ok"]);
  await bob.expect({ type: "message", room: "red", text: "hello" });
  await bob.expectNothingElse();
});

Deno.test("the last 512 cids of a client are remembered", async () => {
  await using server = await TestServer.open({ rateLimits: "off" });
  const ann = await JsonClient.login(server, "Ann", "red");
  const first = await ann.sendMessage("first", { cid: "first" });
  for (let i = 0; i < 511; i++) ann.send({ type: "message", room: "red", text: "x", cid: `${i}` });
  for (let i = 0; i < 511; i++) await ann.expect({ type: "message", cid: `${i}` });
  assertEquals(
    (await ann.request({ type: "message", room: "red", text: "first", cid: "first" })).id,
    first,
  );
});

Deno.test("a direct message sent again with the same cid is delivered once, and gets the first reply again", async () => {
  await using server = await TestServer.open();
  const { ann, bob, tim } = await company(server);
  const words = { type: "direct", text: "psst", cid: "a" };
  ann.send(
    [1, 2].map((ref) => JSON.stringify({ ...words, to: "Bob", ref })).join("\n"),
    { ...words, to: "bob", ref: 3 },
  );
  const [echo, ...answers] = [await ann.next(), await ann.next(), await ann.next()];
  answers.push(await ann.next());
  const { id } = echo!;
  assertEquals([echo!.type, echo!.to.nick, echo!.cid], ["direct", "Bob", "a"]);
  await bob.expect({ type: "direct", nick: "Ann", text: "psst", id, cid: "a" });
  await bob.expectNothingElse();
  await ann.expectNothingElse();
  await tim.expectNothingElse();
  assertEquals(answers, [1, 2, 3].map((ref) => ({ type: "ok", ref, id })));
});

Deno.test("an empty cid of a direct message is handled as that of a room message", async () => {
  await using server = await TestServer.open();
  const ann = await JsonClient.login(server, "Ann", "red");
  const times = async (request: object) => {
    const heard: JsonObject[] = [];
    for (let i = 0; i < 2; i++) heard.push(...await ann.requestAll(request));
    return heard.map(({ type, code }) => [type === request["type" as keyof object], code]);
  };
  assertEquals(
    await times({ type: "direct", to: "Cy", text: "hi", cid: "" }),
    [[false, "bad-request"], [false, "bad-request"]],
  );
  const cy = await JsonClient.login(server, "Cy");
  const direct = await times({ type: "direct", to: "Cy", text: "hi", cid: "" });
  const message = await times({ type: "message", room: "red", text: "hi", cid: "" });
  assertEquals(direct, message);
  cy.connection.socket.close();
});

Deno.test("a message goes to the room that it names, and is rejected if the client is not there", async () => {
  await using server = await TestServer.open();
  const { ann, bob, tim } = await company(server);
  const blue = await JsonClient.login(server, "Cy", "blue");
  ann.send(
    { type: "message", text: "one", room: "red", ref: 1 },
    { type: "message", text: "BOO", room: "blue", ref: 2 },
    { type: "join", room: "blue", ref: 3 },
    { type: "action", text: "waves", room: "blue", ref: 4 },
    // Waits until what was sent before has been delivered: two rooms have no common order.
    { type: "ping" },
    { type: "message", text: "two", room: "red", ref: 5 },
    { type: "leave", room: "red", ref: 6 },
    { type: "message", text: "BOO", room: "red", ref: 7 },
    { type: "leave", room: "red", ref: 8 },
  );
  await ann.expect(
    { type: "message", text: "one" },
    { type: "ok", ref: 1 },
    { type: "error", code: "not-in-room", ref: 2 },
    { type: "joined", room: "blue" },
    { type: "ok", ref: 3 },
    { type: "action", text: "waves", room: "blue" },
    { type: "ok", ref: 4 },
    { type: "message", text: "two", room: "red" },
    { type: "ok", ref: 5 },
    { type: "left", room: "red" },
    { type: "ok", ref: 6 },
    { type: "error", code: "not-in-room", ref: 7 },
    { type: "error", code: "not-in-room", ref: 8 },
  );
  await ann.expectNothingElse();
  await bob.expect({ text: "one" }, { text: "two" }, { type: "left", nick: "Ann" });
  await bob.expectNothingElse();
  await tim.expect("Ann: one", "Ann: two", "Ann left room.");
  await tim.expectNothingElse();
  await blue.expect({ type: "joined" }, { type: "action", text: "waves" });
  await blue.expectNothingElse();
});

Deno.test("a room name leads to the same room in every Unicode composition", async () => {
  await using server = await TestServer.open();
  const room = "cafe\u0301";
  const ann = await JsonClient.connect(server);
  await ann.request({ type: "login", nick: "Ann" });
  ann.send({ type: "join", room });
  await ann.expect({ type: "joined", room: "caf\u00e9" });
  await ann.sendMessage("one", { room: "caf\u00e9" });
  await ann.sendMessage("two", { room });
  assertEquals((await ann.request({ type: "history", room })).events.length, 2);
});

Deno.test("300 requests sent at once get one reply each, in order, and other clients see the same order", async () => {
  await using server = await TestServer.open({ rateLimits: "off" });
  const { ann, bob, tim } = await company(server);
  const requests = Array.from({ length: 300 }, (_, ref) => {
    if (ref % 50 === 17) return { type: "ping", ref };
    if (ref % 50 === 27) return { type: "nick", nick: `Ann${ref}`, ref };
    if (ref % 50 === 37) return { type: "dance", ref };
    return { type: ref % 3 === 0 ? "action" : "message", room: "red", text: `${ref}`, ref };
  });
  for (let i = 0; i < 300; i += 30) {
    ann.send(requests.slice(i, i + 20).map((each) => JSON.stringify(each)).join("\n"));
    ann.send(...requests.slice(i + 20, i + 30));
  }
  const heard: JsonObject[] = [];
  const answered = new Map<unknown, number>();
  while (answered.size < 300) {
    const line = await ann.next();
    heard.push(line);
    if ("ref" in line) answered.set(line.ref, (answered.get(line.ref) ?? 0) + 1);
  }
  await ann.expectNothingElse();
  assert([...answered.values()].every((times) => times === 1));
  // All replies except errors wait for earlier messages.
  const inOrder = heard.filter(({ type, ref }) => ref !== undefined && type !== "error");
  assertEquals(inOrder.map(({ ref }) => ref), inOrder.map(({ ref }) => ref).sort((a, b) => a - b));
  const said = requests.flatMap((each) => "text" in each ? [each.text!] : []);
  const texts = (lines: JsonObject[]) =>
    lines.flatMap(({ text }) => text === undefined ? [] : [text]);
  assertEquals(texts(heard), said);
  // A reply follows its event and has the event's ID.
  for (const [at, { type, ref, id }] of heard.entries()) {
    if (type !== "ok") continue;
    const event = heard.findIndex((each) => each.id === id);
    assert(event < at && (heard[event]!.text ?? `${ref}`) === `${ref}`);
  }
  const events = heard.filter(({ ref }) => ref === undefined);
  assertEquals(events.map(({ id }) => id), events.map(({ id }) => id).sort());
  for (const event of events) assertEquals(await bob.next(), event);
  await bob.expectNothingElse();
  let nick = "Ann";
  for (const { type, text, to } of events) {
    if (type === "nick") await tim.expect(`${nick} is now known as ${nick = to.nick}.`);
    else await tim.expect(type === "action" ? `* ${nick} ${text}` : `${nick}: ${text}`);
  }
  await tim.expectNothingElse();
});

Deno.test("a request without a ref gets a reply only if it fails", async () => {
  await using server = await TestServer.open();
  const { ann } = await company(server);
  ann.send({ type: "ping" }, { type: "message", room: "red", text: "one" }, {
    type: "nick",
    nick: "Anna",
  });
  ann.send({ type: "dance" }, { type: "leave", room: "red" }, { type: "nick", nick: "Ann" }, {
    type: "leave",
    room: "red",
  });
  await ann.expect(
    { type: "message", room: "red", text: "one" },
    { type: "nick", to: { nick: "Anna" } },
    { type: "error", code: "unknown-type" },
    { type: "left" },
    { type: "error", code: "not-in-room" },
  );
  await ann.expectNothingElse();
});

Deno.test("plain-text and chat.v1 clients of one room see the same events, and no other client sees them", async () => {
  await using server = await TestServer.open();
  const elsewhere = await JsonClient.login(server, "Eve", "blue");
  const nowhere = await server.login("Nora");
  const tim = await server.login("Tim", "red");
  const ann = await JsonClient.login(server, "Ann", "red");
  await tim.expect("Ann joined room.");
  await tim.request("hello", "Tim: hello");
  await ann.expect({ type: "message", room: "red", nick: "Tim", text: "hello" });
  await ann.sendMessage("hi");
  await tim.expect("Ann: hi");
  await tim.request("/me waves", "* Tim waves");
  await ann.expect({ type: "action", room: "red", nick: "Tim", text: "waves" });
  ann.send({ type: "action", room: "red", text: "bows" });
  await ann.expect({ type: "action", nick: "Ann", text: "bows" });
  await tim.expect("* Ann bows");
  await tim.request("/nick Tom", "Nickname is: Tom");
  await ann.expect({ type: "nick", room: "red", nick: "Tim", to: { nick: "Tom" } });
  ann.send({ type: "nick", nick: "Anna" });
  await ann.expect({ type: "nick", nick: "Ann", to: { nick: "Anna" } });
  await tim.expect("Ann is now known as Anna.");
  await tim.request("/msg Anna psst", "[to Anna] psst");
  await ann.expect({ type: "direct", nick: "Tom", text: "psst" });
  ann.send({ type: "direct", to: "tom", text: "what?" });
  await ann.expect({ type: "direct", nick: "Anna", to: { nick: "Tom" }, text: "what?" });
  await tim.expect("[from Anna] what?");
  await tim.request("/ls", "Tom\nAnna");
  assertEquals(nicksOf(await ann.request({ type: "members", room: "red" })), ["Tom", "Anna"]);
  await tim.request("/who anna", 'Anna is in room "red".');
  assertEquals((await ann.request({ type: "who", nick: "tom" })).rooms, ["red"]);
  assertEquals((await ann.request({ type: "who", nick: "nora" })).rooms, []);
  const rooms = [{ room: "blue", people: 1 }, { room: "red", people: 2 }];
  assertEquals((await ann.request({ type: "rooms" })).rooms, rooms);
  await tim.request("/quit", 'Left chat room "red"');
  await ann.expect({ type: "left", room: "red", nick: "Tom" });
  await ann.sendMessage("alone");
  await tim.expectNothingElse();
  await tim.request("/join red", 'Joined chat room "red"');
  await ann.expect({ type: "joined", room: "red", nick: "Tom" });
  ann.send({ type: "leave", room: "red" });
  await ann.expect({ type: "left", nick: "Anna" });
  await tim.expect("Anna left room.");
  await tim.request("alone", "Tom: alone");
  await ann.expectNothingElse();
  await elsewhere.expectNothingElse();
  await nowhere.expectNothingElse();
});

Deno.test("a client that closes with 1000 or without a code leaves at once, and its nickname is free", async () => {
  await using server = await TestServer.open();
  const { bob, tim } = await company(server);
  for (const code of [1000, undefined]) {
    const cy = await JsonClient.login(server, "Cy", "red");
    await bob.expect({ type: "joined", nick: "Cy" });
    cy.connection.socket.close(code);
    await bob.expect({ type: "left", nick: "Cy" });
    await tim.expect("Cy joined room.", "Cy left room.");
    await bob.expectError({ type: "who", nick: "Cy" }, "not-online");
  }
  await bob.expectNothingElse();
  await tim.expectNothingElse();
});

/** Connects over plain TCP, so that the client can disconnect without a close frame. */
async function comeInByHand(server: TestServer, ...requests: object[]): Promise<Deno.TcpConn> {
  const conn = await Deno.connect({ hostname: "127.0.0.1", port: server.port });
  const encoder = new TextEncoder();
  await conn.write(encoder.encode([
    "GET / HTTP/1.1",
    `Host: 127.0.0.1:${server.port}`,
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    "Sec-WebSocket-Protocol: chat.v1",
    "",
    "",
  ].join("\r\n")));
  const head = new Uint8Array(4096);
  const got = new TextDecoder().decode(head.subarray(0, await conn.read(head) ?? 0));
  assert(/^HTTP\/1\.1 101 /.test(got) && /sec-websocket-protocol: chat\.v1/i.test(got), got);
  // One masked text frame; the mask is zero.
  const text = encoder.encode(requests.map((each) => JSON.stringify(each)).join("\n"));
  assert(text.length > 125 && text.length < 65536);
  const frame = new Uint8Array(8 + text.length);
  frame.set([0x81, 0x80 | 126, text.length >> 8, text.length & 255]);
  frame.set(text, 8);
  await conn.write(frame);
  return conn;
}

Deno.test("a dropped client keeps its room and nickname for the grace, and then leaves once", async () => {
  await using server = await TestServer.open({ graceSeconds: 0.3 });
  const { bob, tim } = await company(server);
  const conn = await comeInByHand(
    server,
    { type: "login", nick: "Cy", padding: "x".repeat(100) },
    { type: "join", room: "red" },
  );
  await bob.expect({ type: "joined", nick: "Cy" });
  await tim.expect("Cy joined room.");
  const { size } = server.chat;
  conn.close();
  await eventually(() => server.chat.size < size, "the end is noticed");
  // Other clients see no leave.
  assertEquals(nicksOf(await bob.request({ type: "members", room: "red" })), [
    "Bob",
    "Tim",
    "Ann",
    "Cy",
  ]);
  const other = await JsonClient.connect(server);
  await other.expectError({ type: "login", nick: "cy" }, "nickname-taken");
  await bob.expect({ type: "left", nick: "Cy", room: "red" });
  await tim.expect("Cy left room.");
  assertEquals(nicksOf(await bob.request({ type: "members", room: "red" })), ["Bob", "Tim", "Ann"]);
  assertEquals((await other.request({ type: "login", nick: "Cy" })).type, "welcome");
  await bob.expectNothingElse();
  await tim.expectNothingElse();
});

Deno.test("without a grace, a dropped client leaves at once", async () => {
  await using server = await TestServer.open({ graceSeconds: 0 });
  const { bob } = await company(server);
  const conn = await comeInByHand(
    server,
    { type: "login", nick: "Cy", padding: "x".repeat(100) },
    { type: "join", room: "red" },
  );
  await bob.expect({ type: "joined", nick: "Cy" });
  conn.close();
  await bob.expect({ type: "left", nick: "Cy" });
  await bob.expectNothingElse();
});

Deno.test("chat.v1 is chosen from the offered subprotocols, only unknown ones are rejected, and none means plain text", async () => {
  await using server = await TestServer.open();
  for (const offered of ["chat.v1", ["chat.v2", "chat.v1"], ["chat.v1", "chat.v2"]]) {
    const client = await server.connect("", offered);
    assertEquals(client.socket.protocol, "chat.v1");
    await new JsonClient(client).expectNothingElse();
  }
  const by = async (protocols?: string) => {
    const conn = await Deno.connect({ hostname: "127.0.0.1", port: server.port });
    const lines = [
      ...["GET / HTTP/1.1", "Host: x", "Connection: Upgrade", "Upgrade: websocket"],
      ...["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="],
      ...protocols === undefined ? [] : [`Sec-WebSocket-Protocol: ${protocols}`],
    ];
    await conn.write(new TextEncoder().encode(`${lines.join("\r\n")}\r\n\r\n`));
    const head = new Uint8Array(4096);
    const got = new TextDecoder().decode(head.subarray(0, await conn.read(head) ?? 0));
    conn.close();
    return [got.slice(9, 12), /^sec-websocket-protocol: (.*)$/im.exec(got)?.[1]?.trim()];
  };
  assertEquals(await by("chat.v2, chat.v1"), ["101", "chat.v1"]);
  assertEquals(await by("chat.v2,chat.v1 ,chat.v3"), ["101", "chat.v1"]);
  // A client that offers another protocol would not understand plain text.
  assertEquals(await by("chat.v2"), ["400", undefined]);
  assertEquals(await by("CHAT.V1, chat.v11"), ["400", undefined]);
  assertEquals(await by(), ["101", undefined]);
  const client = await server.connect();
  await client.request("Tim", "Using nickname: Tim\nType /help for list of commands.");
});
