/**
 * The work that a client causes grows at most in proportion to what it sends. The largest input of
 * each kind takes a few milliseconds, also for the worst cases of regular expressions, Unicode and
 * JSON.
 */
import { assert } from "@std/assert";
import { openMetrics } from "../../chat/base/metrics.ts";
import { Access } from "../../chat/http/access.ts";
import { Addresses } from "../../chat/http/addresses.ts";
import type { Connection } from "../../chat/connections/connection.ts";
import type { Handler } from "../../chat/handler/handler.ts";
import { Imitation } from "../../chat/nicknames/imitation.ts";
import { encodeJson } from "../../chat/delivery/json.ts";
import { Confusables } from "../../chat/nicknames/confusables.ts";
import { limitsFrom, utf8Size } from "../../chat/base/limits.ts";
import { OPTIONS } from "../../chat/base/options.ts";
import { PlainText } from "../../chat/protocols/plain_text.ts";
import { foldNickname, nicknameFrom, roomFrom } from "../../chat/nicknames/names.ts";
import { passwordFrom } from "../../chat/nicknames/passwords.ts";
import { ChatV1 } from "../../chat/protocols/chat_v1.ts";
import type { Sender } from "../../chat/delivery/sender.ts";
import { shown } from "../../chat/delivery/text.ts";

/**
 * Milliseconds that the fastest of a few attempts may take. Measured: at most 10 ms; quadratic code
 * took seconds to minutes.
 */
const MAX_MS = 60;
const ATTEMPTS = 4;

/** Bytes of the largest frame of chat.v1. */
const FRAME_BYTES = 256 * 1024;

/** Bytes of the longest line of plain text. */
const LINE_BYTES = 16 * 1024;

/** Bytes of the longest header. */
const HEADER_BYTES = 16 * 1024;

/** Headers that the server reads. */
const HEADERS = [
  "x-forwarded-for",
  "forwarded",
  "x-forwarded-host",
  "x-forwarded-proto",
  "origin",
  "sec-websocket-protocol",
];

/** Returns hostile texts of about `bytes` bytes of UTF-8. */
function hostile(bytes: number): string[] {
  const of = (unit: string, part = 1) => unit.repeat(Math.floor(bytes * part / utf8Size(unit, 0)));
  return [
    " ",
    "\n",
    "\r",
    "\t",
    "\u00a0",
    "x",
    "\u0301",
    "a ",
    " a",
    '"',
    "\\",
    "%",
    "/",
    "[",
    "\u0001",
    "\u{fdfa}",
    "ﬃ",
    "\u0344",
    "👩‍",
    "🏴\u{e0067}",
    "क्\u200d",
    "\u1100\u1161",
    "א1",
    "(א",
    "İ",
    "\u1e9e",
    "adm!",
    "|",
    "іІ",
    "\u2028",
    "\u202e",
    "\u{1d15f}",
    "Bob: ",
    "[from ",
    "] ",
  ].map((unit) => of(unit)).concat([
    // Marks of two classes, which NFC sorts: 62,000 of each in a frame.
    `a${of("\u0301", 0.49)}${of("\u0323", 0.49)}`,
    `x${of(" ", 0.9)}y z`,
    `${of("x", 0.9)} y`,
    `"${of("x", 0.4)}${of(" ", 0.4)}`,
    `x ${of("\n ", 0.9)}`,
  ]);
}

/** Fails if even the fastest attempt takes too long. */
function assertFast(what: string, run: () => unknown): void {
  let best = Infinity;
  for (let attempt = 0; attempt < ATTEMPTS && best > MAX_MS; attempt++) {
    const before = performance.now();
    run();
    best = Math.min(best, performance.now() - before);
    // So slow is not explained by a busy machine.
    if (best > 20 * MAX_MS) break;
  }
  assert(best <= MAX_MS, `${what.slice(0, 100)} took ${best.toFixed(0)} ms`);
}

function assertEachFast(what: string, texts: string[], run: (text: string) => unknown): void {
  for (const text of texts) {
    assertFast(`${what} of ${JSON.stringify(text.slice(0, 8))}… (${text.length})`, () => run(text));
  }
}

const limits = limitsFrom({
  maxNicknameChars: OPTIONS["max-nickname"].max,
  maxRoomChars: OPTIONS["max-room"].max,
});

/** Returns a connection in a room, or before its login if `nick` is empty. */
function connectionOf(nick: string): Connection {
  const room = nick === "" ? undefined : "red";
  const session = { id: "1", nick, account: "", rooms: new Set(room) };
  return {
    session,
    room,
    isNamed: nick !== "",
    rejectedNick: "",
    reply: () => {},
    replyLarge: () => {},
    close: () => {},
  } as unknown as Connection;
}

/** Returns a handler that rejects everything, and a sender that sends nothing. */
function rejecting(): { handler: Handler; sender: Sender } {
  const rejected = { ok: false, code: "", message: "" };
  const verbs = new Proxy({}, { get: () => () => Promise.resolve(rejected) });
  const handler = new Proxy({}, { get: () => verbs });
  const sender = new Proxy({}, { get: () => () => {} });
  return { handler: handler as Handler, sender: sender as Sender };
}

Deno.test("names of any length and content are checked in linear time", () => {
  const confusables = new Confusables(), imitation = new Imitation(confusables);
  for (
    const bytes of [
      OPTIONS["max-nickname"].max,
      4 * OPTIONS["max-nickname"].max,
      8 * OPTIONS["max-room"].max,
      FRAME_BYTES,
    ]
  ) {
    assertEachFast("nicknameFrom", hostile(bytes), (text) => nicknameFrom(text, limits));
    assertEachFast("roomFrom", hostile(bytes), (text) => roomFrom(text, limits));
    assertEachFast("passwordFrom", hostile(bytes), (text) => passwordFrom(text));
  }
  const names = hostile(4 * OPTIONS["max-room"].max);
  assertEachFast("foldNickname", names, foldNickname);
  assertEachFast("claims", names, (name) => confusables.claims(name));
  assertEachFast("isReserved", names, (name) => confusables.isReserved(name));
  assertEachFast("Imitation", names, (name) => imitation.matches(name));
  assertEachFast("readingOfRoom", names, (name) => confusables.readingOfRoom(name));
  assertEachFast("lookOfRoom", names, (name) => confusables.lookOfRoom(name));
});

Deno.test("events are encoded in linear time", () => {
  const author = { id: "1", account: "", nick: "Ann" };
  const event = { kind: "message", room: "red", ...author, time: 0, cid: "" } as const;
  assertEachFast("shown", hostile(LINE_BYTES), shown);
  assertEachFast(
    "encodeJson",
    hostile(LINE_BYTES),
    (text) => encodeJson({ ...event, text }, "g1a0000000"),
  );
});

Deno.test("a line of plain text is handled in linear time", () => {
  const lines = new PlainText({ ...rejecting(), limits, metrics: openMetrics() });
  const commands = [
    "",
    "/",
    "/identify ",
    "/msg ",
    "/nick ",
    "/join ",
    "/me ",
    "/who ",
    "/history ",
  ];
  const more = ["/register ", "/password ", "/unregister ", "/dance", " /identify ", " "];
  for (const command of [...commands, ...more]) {
    for (const nick of ["", "Ann"]) {
      assertEachFast(`${command} by "${nick}"`, hostile(LINE_BYTES), (text) => {
        const frame = command + text;
        const connection = connectionOf(nick);
        for (const line of lines.split(connection, frame, LINE_BYTES)) {
          // What the handler does later is not measured.
          void lines.parse(connection, line).run();
        }
      });
    }
  }
});

Deno.test("a frame of chat.v1 is handled in linear time", () => {
  const metrics = openMetrics();
  const parts = { ...rejecting(), limits, metrics, graceMs: 0, retentionMs: 0, editMs: 0 };
  const requests = new ChatV1(parts);
  const handle = (nick: string, frame: string) => {
    const most = limits.maxInboxFrames;
    const connection = connectionOf(nick);
    for (const line of requests.split(connection, frame, FRAME_BYTES).slice(0, most)) {
      const request = requests.parse(connection, line);
      if (request.rejection === undefined) void request.run();
      else request.reject(request.rejection);
    }
  };
  const texts = hostile(FRAME_BYTES - 100);
  assertEachFast("a frame", texts, (text) => handle("Ann", text));
  const fields: Record<string, string[]> = {
    message: ["text", "room", "cid", "ref"],
    direct: ["to", "user", "text"],
    login: ["nick"],
    resume: ["token", "last", "direct"],
    join: ["room"],
    nick: ["nick"],
    who: ["nick", "user"],
    leave: ["room"],
    edit: ["room", "with", "id", "text"],
    delete: ["room", "with", "id"],
    read: ["room", "with", "id"],
    end: ["session"],
    identify: ["nick", "password"],
    register: ["password"],
    password: ["password", "new"],
    history: ["room", "with", "before", "after"],
    ping: ["ref"],
    dance: ["type"],
  };
  const usual = {
    text: "x",
    to: "Bob",
    nick: "Bob",
    token: "x",
    room: "red",
    password: "x",
    new: "x",
  };
  for (const [type, names] of Object.entries(fields)) {
    for (const name of names) {
      assertEachFast(`${type}.${name}`, texts, (text) => {
        const frame = JSON.stringify({ type, ...usual, [name]: text });
        handle(["login", "resume"].includes(type) ? "" : "Ann", frame);
      });
    }
  }
  const many = (unit: (i: number) => string, bytes: number) =>
    Array.from({ length: Math.floor(FRAME_BYTES / bytes) }, (_, i) => unit(i));
  const shapes = [
    "[".repeat(FRAME_BYTES),
    '{"a":'.repeat(FRAME_BYTES / 5),
    `{"type":"ping","a":${"[".repeat(FRAME_BYTES / 3)}${"]".repeat(FRAME_BYTES / 3)}}`,
    `{"type":"ping",${many((i) => `"k${i}":0`, 12).join(",")}}`,
    // Integer keys: V8 hashes some by their value alone, so that they collide.
    `{"type":"ping",${many((i) => `"${i * 65536 % 4294967295}":0`, 16).join(",")}}`,
    `{"type":"ping","a":[${many((i) => `"${i * 131072 % 16777216}"`, 12).join(",")}]}`,
    `{"type":"ping",${many(() => `"a":0`, 6).join(",")}}`,
    `{"type":"ping","a":${"1".repeat(FRAME_BYTES - 100)}}`,
    `{"type":"ping","a":0.${"1".repeat(FRAME_BYTES - 100)}}`,
    '{"type":"ping"}\n'.repeat(FRAME_BYTES / 16),
    "{}\n".repeat(FRAME_BYTES / 3),
    "x\n".repeat(FRAME_BYTES / 2),
  ];
  assertEachFast("a shape", shapes, (frame) => handle("Ann", frame));
});

Deno.test("the headers of a handshake are checked in linear time", () => {
  const access = new Access({ token: "12345678" });
  const addresses = new Addresses(["private"]);
  // The runtime rejects headers with other characters before they come here.
  const values = hostile(HEADER_BYTES).map((text) => text.replace(/[^\x20-\x7e]/g, "x"));
  const rows = ["1,", "[", "for=1;", "for=", "127.0.0.1,", "1.", "::1,", "bearer ", "gzip;q=0.0,"];
  const repeated = rows.map((row) => row.repeat(HEADER_BYTES / row.length));
  assertEachFast("headers", [...values, ...repeated], (value) => {
    const headers = new Headers();
    for (const name of HEADERS) headers.set(name, value);
    headers.set("authorization", `Bearer ${value}`);
    const request = new Request("http://127.0.0.1/", { headers });
    const from = addresses.of(request, "127.0.0.1");
    access.checkToken(headers);
    access.allowsOrigin(value, from);
  });
});
