/**
 * Random input, a hundred thousand times: bytes, lines and objects, in every state of a connection. A
 * control client chats all the while, and must be answered. `SEED=17` replays one run.
 */
import { assert, assertEquals } from "@std/assert";
import type { ConnectionSettings } from "../chat/base/limits.ts";
import { Random } from "./support/random.ts";
import { TestServer } from "./support/test_server.ts";
import type { TextClient } from "./support/text_client.ts";
import { eventually, withDeadline } from "./support/wait.ts";

const SEED = Number(Deno.env.get("SEED") ?? 20261122);
const INPUTS = 100_000;

/** The most connections of the server: more than any test opens at the same time. */
const MAX_CONNECTIONS = 50;

const encoder = new TextEncoder();
const ROOMS = ["red", "blue", "a room", "\u202e", "日本", "r".repeat(65), "", "\0", "__proto__"];
const NICKS = [
  "Ann",
  "ann",
  "Bob",
  "/x",
  "",
  " ",
  "é",
  "e\u0301",
  "\u200b",
  "x".repeat(40),
  "😀",
  "#",
];
const ODD = [
  "\0",
  "\n",
  "\r\n",
  "\u2028",
  "\u202e",
  "\ufeff",
  "😀",
  "\ud800",
  "é".repeat(200),
  '"',
  "\\",
];

/** A client that behaves well, and measures how long the server takes to answer it. */
class ControlClient {
  #sent = 0;
  #slowestMs = 0;
  #previous: Promise<void> = Promise.resolve();

  constructor(readonly client: TextClient) {}

  /** Sends a message, and waits until it receives it. Calls at the same time run one by one. */
  chat(): Promise<void> {
    return this.#previous = this.#previous.then(() => this.#chat());
  }

  async #chat(): Promise<void> {
    const since = performance.now();
    const text = `still here ${++this.#sent}`;
    this.client.send(text);
    while (await this.client.next() !== `Sane: ${text}`);
    this.#slowestMs = Math.max(this.#slowestMs, performance.now() - since);
  }

  /** Asserts that the client sent at least `min` messages, and waited less than 2 s for each. */
  assertAnswered(min: number): void {
    assert(this.#sent >= min, `${this.#sent} messages were sent`);
    assert(this.#slowestMs < 2_000, `one answer took ${this.#slowestMs} ms`);
  }
}

/** Runs an attack while a control client chats. Asserts that the attackers leave nothing behind. */
async function withstands(
  attack: (server: TestServer, control: ControlClient) => Promise<void>,
): Promise<void> {
  const crowd: ConnectionSettings = { maxConnections: MAX_CONNECTIONS };
  // Without registrations, whose rows would stay.
  await using server = await TestServer.open({
    rateLimits: "off",
    graceSeconds: 0,
    connectionLimits: crowd,
    registrationSeconds: 0,
  });
  const control = new ControlClient(await server.login("Sane", "quiet"));
  await attack(server, control);
  await control.chat();
  await eventually(() => server.chat.size === 1, "all attackers are gone");
  control.assertAnswered(10);
  // Every connection slot is free again.
  for (let i = 1; i < MAX_CONNECTIONS; i++) await server.connect();
  await server.disconnectAll();
  await eventually(async () => (await connectionRows(server)) === 0, "no row is left");
  const known = /--trust-proxy|^Refused a page/;
  assertEquals(server.warnings.filter((warning) => !known.test(warning)), []);
}

/** Returns how many rows of connections the server has stored. */
async function connectionRows(server: TestServer): Promise<number> {
  const keys = await server.connectionKeys();
  return keys.filter(([first]) => first !== "instance" && first !== "beat").length;
}

/** Runs a function again and again, `count` times in parallel, until `isDone` returns true. */
async function inParallel(count: number, isDone: () => boolean, run: () => Promise<void>) {
  await Promise.all(Array.from({ length: count }, async () => {
    while (!isDone()) await run();
  }));
}

function bytesOf(random: Random, length: number): Uint8Array {
  return Uint8Array.from({ length }, () => random.below(256));
}

/** Commands with a password. */
const PASSWORD_COMMANDS = ["register", "identify", "password", "unregister"];

/** Returns a line of plain text that may be a command. */
function line(random: Random): string {
  const word = () => random.pick([ROOMS, NICKS, ODD])[random.below(9)]!;
  switch (random.below(16)) {
    case 0:
      return `/join ${random.pick(ROOMS)}`;
    case 1:
      return `/nick ${random.pick(NICKS)}${random.percent(50) ? random.below(50) : ""}`;
    case 2:
      return random.pick(["/quit", "/ls", "/room", "/help", "/nick", "/history 3", "/sessions"]);
    case 3:
      return `/msg ${random.pick(['"', "", '""', '"a b" '])}${word()} ${word()}`;
    case 4:
      return `/${
        random.pick(["who", "me", "history", "join", "nick", "end", "\0", " ", "/"])
      } ${word()}`;
    case 5:
      return `/${word()}${word()}`;
    case 8:
      return `${random.percent(20) ? " " : ""}/${
        random.pick(PASSWORD_COMMANDS)
      } ${word()} ${word()}`;
    case 6:
      return word().repeat(random.below(random.percent(2) ? 9_000 : 9)).slice(0, 17_000);
    case 7:
      return new TextDecoder().decode(bytesOf(random, random.below(40)));
    default:
      return `${word()} ${word()}`;
  }
}

/** Returns a frame (RFC 6455, section 5.2). Unless `isGood`, anything in it may be wrong. */
function frame(random: Random, isGood: boolean): Uint8Array {
  const opcode = isGood ? random.pick([1, 1, 1, 1, 9, 10]) : random.below(16);
  const payload = isGood
    ? encoder.encode(opcode === 1 ? line(random) : line(random).slice(0, 30))
    : bytesOf(random, random.pick([0, 1, 2, 5, 30, 125, 126, 300]));
  const first = (isGood || random.percent(60) ? 0x80 : 0) | opcode |
    (isGood || random.percent(80) ? 0 : random.below(8) << 4);
  // The declared length may be wrong, and in a longer form than it needs.
  const declared = isGood || random.percent(60)
    ? payload.length
    : random.pick([0, 125, 65_535, 2 ** 31, 2 ** 40, 2 ** 53 - 1]);
  const form = declared > 65_535 ? 127 : declared > 125 ? 126 : declared;
  const size = isGood || random.percent(70) ? form : random.pick([126, 127]);
  const isMasked = isGood || random.percent(70);
  const bytes = [first, (isMasked ? 0x80 : 0) | size];
  if (size === 126) bytes.push(declared >> 8 & 255, declared & 255);
  if (size === 127) {
    for (let i = 7; i >= 0; i--) bytes.push(Math.floor(declared / 2 ** (8 * i)) & 255);
  }
  const mask = isMasked ? bytesOf(random, 4) : new Uint8Array();
  return new Uint8Array([
    ...bytes,
    ...mask,
    ...(isMasked ? payload.map((byte, i) => byte ^ mask[i % 4]!) : payload),
  ]);
}

const HANDSHAKE = [
  "GET / HTTP/1.1",
  "Host: chat.example",
  "Upgrade: websocket",
  "Connection: Upgrade",
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
  "Sec-WebSocket-Version: 13",
];

/** Returns a handshake in which one thing may be wrong. */
function handshake(random: Random): Uint8Array {
  const lines = [...HANDSHAKE];
  if (random.percent(30)) lines.push("Sec-WebSocket-Protocol: chat.v1");
  if (random.percent(10)) {
    lines[0] = `GET ${random.pick(["/ws", "/?x=y"])} HTTP/1.1`;
  }
  if (random.percent(75)) return encoder.encode(`${lines.join("\r\n")}\r\n\r\n`);
  const at = random.below(lines.length);
  const value = random.pick([
    "",
    "x",
    "\0",
    "é",
    "x".repeat(3_000),
    "websocket, websocket",
    "13, 8",
    "%",
  ]);
  switch (random.below(6)) {
    case 0:
      lines.splice(at, 1);
      break;
    case 1:
      lines[at] = `${lines[at]!.split(":")[0]}: ${value}`;
      break;
    case 2:
      lines.push(
        random.pick([
          "Origin",
          "Authorization",
          "X-Forwarded-For",
          "Forwarded",
          "Content-Length",
        ]) +
          `: ${value}`,
      );
      break;
    case 3:
      lines[0] = random.pick([
        "POST / HTTP/1.1",
        "GET / HTTP/1.0",
        "GET / HTTP/9.9",
        "PRI * HTTP/2.0",
        "GET /%zz HTTP/1.1",
        "GET http://[::1/ HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "CONNECT a:1 HTTP/1.1",
        "\x16\x03\x01",
      ]);
      break;
    case 4:
      return encoder.encode(lines.join("\r\n")).slice(0, random.below(120));
  }
  const bytes = encoder.encode(`${lines.join(random.percent(90) ? "\r\n" : "\n")}\r\n\r\n`);
  if (random.percent(30)) bytes[random.below(bytes.length)] = random.below(256);
  return bytes;
}

Deno.test("the server answers other clients, and keeps nothing, after 100,000 random handshakes and frames", async () => {
  const random = new Random(SEED);
  let frames = 0, handshakes = 0;
  await withstands(async (server, control) => {
    await inParallel(24, () => frames + handshakes >= INPUTS, async () => {
      if (++handshakes % 300 === 0) await control.chat();
      const peer = await Deno.connect({ hostname: "127.0.0.1", port: server.port });
      const parts = [handshake(random)];
      // The server need not read beyond a bad frame. A second one may arrive while it closes.
      for (let bad = 0; parts.length < 60 && bad < 2;) {
        const isGood = random.percent(92);
        if (!isGood) bad++;
        parts.push(frame(random, isGood));
      }
      frames += parts.length - 1;
      // Many frames in one write, or cut in two.
      const bytes = new Uint8Array(await new Blob(parts as BlobPart[]).arrayBuffer());
      const cut = random.percent(20) ? random.below(bytes.length) : bytes.length;
      try {
        await peer.write(bytes.subarray(0, cut));
        if (cut < bytes.length && random.percent(80)) await peer.write(bytes.subarray(cut));
        if (random.percent(90)) {
          await peer.closeWrite();
          const answer = new Uint8Array(65_536);
          while ((await withDeadline(peer.read(answer), "the end of a connection")) !== null);
        }
      } catch (error) {
        // The server has closed the connection already.
        if (!/reset|broken pipe|not connected/i.test((error as Error).message)) throw error;
      } finally {
        peer.close();
      }
    });
  });
  assert(handshakes > 3_000, `${handshakes} handshakes`);
});

Deno.test("the server answers every client after 100,000 random lines in every state", async () => {
  const random = new Random(SEED);
  let lines = 0, batches = 0;
  await withstands(async (server, control) => {
    await inParallel(20, () => lines >= INPUTS, async () => {
      const client = await server.connect();
      for (let i = random.below(12); i >= 0; i--) {
        const marker = `marker${++batches}`;
        const count = 40 + random.below(60);
        for (let j = 0; j < count; j++) client.send(line(random));
        lines += count;
        // The nickname, if the client has none yet.
        client.send(`n${batches}`, `/who ${marker}`);
        while (!(await client.next()).endsWith(`No one named "${marker}" is online.`));
        if (batches % 40 === 0) await control.chat();
      }
      if (random.percent(50)) client.socket.close(random.pick([1000, 3000, 4999]));
      await client.disconnect();
    });
  });
});

/** Random numbers, and IDs of events that exist: edits and markers name some of them. */
class Source extends Random {
  readonly ids = ["g1a0000000"];

  /** Adds an ID, in place of another one if there are many. */
  remember(id: string): void {
    if (this.ids.length < 100) this.ids.push(id);
    else this.ids[this.below(100)] = id;
  }
}

/** Returns a random JSON value. */
function value(random: Source, depth = 0): unknown {
  switch (random.below(depth > 2 ? 8 : 11)) {
    case 0:
      return random.pick(ROOMS);
    case 1:
      return random.pick(NICKS);
    case 2:
      return random.pick(ODD).repeat(random.below(20));
    case 3:
      return random.pick([0, -1, 1.5, 1e300, 2 ** 53, 17, 101]);
    case 4:
      return random.pick([true, false, null]);
    case 5:
      return random.percent(50)
        ? random.pick(random.ids)
        : `g${random.below(1000).toString(16)}0000000`;
    case 6:
      return "x".repeat(random.pick([1, 64, 65, 300]));
    case 7:
      return `word ${random.below(100)}`;
    case 8:
      return Array.from({ length: random.below(4) }, () => value(random, depth + 1));
    default:
      return object(random, depth + 1);
  }
}

const TYPES = [
  "message",
  "action",
  "direct",
  "edit",
  "delete",
  "react",
  "read",
  "sessions",
  "end",
  "login",
  "resume",
  "join",
  "leave",
  "nick",
  "who",
  "rooms",
  ...PASSWORD_COMMANDS,
  "members",
  "history",
  "ping",
  "welcome",
  "__proto__",
  "constructor",
  "",
  "away",
  "dance",
];
const FIELDS = [
  "text",
  "room",
  "with",
  "id",
  "nick",
  "user",
  "session",
  "to",
  "cid",
  "ref",
  "token",
  "last",
  "direct",
  "before",
  "after",
  "password",
  "new",
  "away",
  "limit",
  "emoji",
  "remove",
  "__proto__",
  "toString",
  "more",
  "type",
];

/** Returns an object with random fields, some of them those of a request. */
function object(random: Source, depth = 0): Record<string, unknown> {
  const fields: Record<string, unknown> = {};
  if (depth === 0 || random.percent(30)) fields.type = random.pick(TYPES);
  for (let i = random.below(6); i > 0; i--) {
    Object.defineProperty(fields, random.pick(FIELDS), {
      value: value(random, depth),
      enumerable: true,
      configurable: true,
      writable: true,
    });
  }
  // Half of the objects get fields with valid values.
  if (random.percent(50)) {
    Object.assign(fields, {
      text: `word ${random.below(1000)}`,
      room: random.pick(["red", "blue"]),
      nick: `n${random.below(1000)}`,
      id: random.pick(random.ids),
    });
  }
  return fields;
}

/** Returns a request of chat.v1 in which something may be wrong. */
function request(random: Source): string {
  const json = JSON.stringify(object(random));
  switch (random.below(20)) {
    case 0:
      return json.slice(0, random.below(json.length));
    case 1:
      return json + random.pick(ODD);
    case 2:
      return `${"[".repeat(random.below(2_000))}${json}`;
    case 3:
      return JSON.stringify(value(random));
    case 4:
      return json.replace("{", '{"type":"ping",');
    case 5: {
      const at = random.below(json.length);
      return json.slice(0, at) + String.fromCharCode(random.below(0x300)) + json.slice(at + 1);
    }
    default:
      return json;
  }
}

Deno.test("the server answers every client after 100,000 random objects of chat.v1 in every state", async () => {
  const random = new Source(SEED);
  let objects = 0, batches = 0;
  await withstands(async (server, control) => {
    await inParallel(20, () => objects >= INPUTS, async () => {
      const client = await server.connect("", "chat.v1");
      for (let i = random.below(12); i >= 0; i--) {
        const ref = `marker ${++batches}`;
        if (random.percent(60)) client.send(JSON.stringify({ type: "login", nick: `n${batches}` }));
        const count = 40 + random.below(60);
        const requests = Array.from({ length: count }, () => request(random));
        objects += count;
        // All in one frame, or each in a frame of its own.
        if (random.percent(30)) client.send(requests.join("\n"));
        else client.send(...requests);
        client.send(JSON.stringify({ type: "ping", ref }));
        while (true) {
          const line = await client.next();
          const { type, id } = JSON.parse(line);
          if (typeof id === "string") random.remember(id);
          if (type === "pong" && line.includes(ref)) break;
        }
        if (batches % 40 === 0) await control.chat();
      }
      await client.disconnect();
    });
  });
});
