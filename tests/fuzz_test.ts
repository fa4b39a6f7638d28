/**
 * What nobody would type, a hundred thousand times: bytes, lines and objects at random, from every
 * state of a connection, while somebody sane chats. `SEED=17` replays one run.
 */
import { assert, assertEquals } from "@std/assert";
import { Random } from "./support/random.ts";
import { eventually, House, type Person, soon } from "./support/test_server.ts";

const SEED = Number(Deno.env.get("SEED") ?? 20261122);
const MANY = 100_000;

/** Most connections of a house: more than there are lanes. */
const MOST_AT_ONCE = 50;

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

/** Somebody sane, who is answered throughout. */
class Sane {
  #asked = 0;
  #slowest = 0;
  #before: Promise<void> = Promise.resolve();

  constructor(readonly person: Person) {}

  /** Says something, and hears it; one after the other, whoever asks for it. */
  isAnswered(): Promise<void> {
    return this.#before = this.#before.then(() => this.#ask());
  }

  async #ask(): Promise<void> {
    const since = performance.now();
    const text = `still here ${++this.#asked}`;
    this.person.say(text);
    while (await this.person.next() !== `Sane: ${text}`);
    this.#slowest = Math.max(this.#slowest, performance.now() - since);
  }

  /** At the end: all went well, all the time. */
  assertWell(least: number): void {
    assert(this.#asked >= least, `asked ${this.#asked} times`);
    assert(this.#slowest < 2_000, `one answer took ${this.#slowest} ms`);
  }
}

/** A house in which somebody sane chats while others do something; nothing is left of them. */
async function withstands(
  rude: (house: House, sane: Sane) => Promise<void>,
): Promise<void> {
  const crowd = { connections: MOST_AT_ONCE };
  // What was registered would be left.
  await using house = await House.open({ flood: "off", grace: 0, crowd, registered: 0 });
  const sane = new Sane(await house.enter("Sane", "quiet"));
  await rude(house, sane);
  await sane.isAnswered();
  await eventually(() => house.chat.size === 1, "all others are gone");
  sane.assertWell(10);
  // Nobody is counted who is not there.
  for (let i = 1; i < MOST_AT_ONCE; i++) await house.connect();
  await house.leave();
  await eventually(async () => (await people(house)) === 0, "no row is left");
  assertEquals(house.warnings.filter((warning) => !warning.includes("--trust-proxy")), []);
}

async function people(house: House): Promise<number> {
  const keys = await house.rows();
  return keys.filter(([first]) => first !== "instance" && first !== "beat").length;
}

/** Runs something over and over in so many lanes, until it has been done often enough. */
async function inLanes(lanes: number, until: () => boolean, run: (lane: number) => Promise<void>) {
  await Promise.all(Array.from({ length: lanes }, async (_, lane) => {
    while (!until()) await run(lane);
  }));
}

function pick<T>(random: Random, list: readonly T[]): T {
  return list[random.below(list.length)]!;
}

function bytesOf(random: Random, length: number): Uint8Array {
  return Uint8Array.from({ length }, () => random.below(256));
}

/** What has a password in it. */
const SECRET = ["register", "identify", "password", "unregister"];

/** A line that may mean something. */
function line(random: Random): string {
  const word = () => pick(random, [ROOMS, NICKS, ODD])[random.below(9)]!;
  switch (random.below(16)) {
    case 0:
      return `/join ${pick(random, ROOMS)}`;
    case 1:
      return `/nick ${pick(random, NICKS)}${random.percent(50) ? random.below(50) : ""}`;
    case 2:
      return pick(random, ["/quit", "/QUIT now", "/ls", "/room", "/help", "/nick", "/history 3"]);
    case 3:
      return `/msg ${pick(random, ['"', "", '""', '"a b" '])}${word()} ${word()}`;
    case 4:
      return `/${pick(random, ["who", "me", "history", "join", "nick", "\0", " ", "/"])} ${word()}`;
    case 5:
      return `/${word()}${word()}`;
    case 8:
      return `${random.percent(20) ? " " : ""}/${pick(random, SECRET)} ${word()} ${word()}`;
    case 6:
      return word().repeat(random.below(random.percent(2) ? 9_000 : 9)).slice(0, 17_000);
    case 7:
      return new TextDecoder().decode(bytesOf(random, random.below(40)));
    default:
      return `${word()} ${word()}`;
  }
}

/** A frame of RFC 6455, section 5.2, in which anything may be wrong. */
function frame(random: Random, isGood: boolean): Uint8Array {
  const opcode = isGood ? pick(random, [1, 1, 1, 1, 9, 10]) : random.below(16);
  const payload = isGood
    ? encoder.encode(opcode === 1 ? line(random) : line(random).slice(0, 30))
    : bytesOf(random, pick(random, [0, 1, 2, 5, 30, 125, 126, 300]));
  const first = (isGood || random.percent(60) ? 0x80 : 0) | opcode |
    (isGood || random.percent(80) ? 0 : random.below(8) << 4);
  // The length may be another than there is, and be written in more bytes than it needs.
  const said = isGood || random.percent(60)
    ? payload.length
    : pick(random, [0, 125, 65_535, 2 ** 31, 2 ** 40, 2 ** 53 - 1]);
  const form = said > 65_535 ? 127 : said > 125 ? 126 : said;
  const size = isGood || random.percent(70) ? form : pick(random, [126, 127]);
  const isMasked = isGood || random.percent(70);
  const bytes = [first, (isMasked ? 0x80 : 0) | size];
  if (size === 126) bytes.push(said >> 8 & 255, said & 255);
  if (size === 127) {
    for (let i = 7; i >= 0; i--) bytes.push(Math.floor(said / 2 ** (8 * i)) & 255);
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

/** The beginning of a conversation, in which one thing may be wrong. */
function handshake(random: Random): Uint8Array {
  const lines = [...HANDSHAKE];
  if (random.percent(30)) lines.push("Sec-WebSocket-Protocol: chat.v1");
  if (random.percent(10)) {
    lines[0] = `GET ${pick(random, ["/ws", "/?resume=", "/?resume=x&last=y"])} HTTP/1.1`;
  }
  if (random.percent(75)) return encoder.encode(`${lines.join("\r\n")}\r\n\r\n`);
  const at = random.below(lines.length);
  const value = pick(random, [
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
        pick(random, [
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
      lines[0] = pick(random, [
        ...[
          "POST / HTTP/1.1",
          "GET / HTTP/1.0",
          "GET / HTTP/9.9",
          "PRI * HTTP/2.0",
          "GET /%zz HTTP/1.1",
        ],
        ...[
          "GET http://[::1/ HTTP/1.1",
          "OPTIONS * HTTP/1.1",
          "CONNECT a:1 HTTP/1.1",
          "\x16\x03\x01",
        ],
      ]);
      break;
    case 4:
      return encoder.encode(lines.join("\r\n")).slice(0, random.below(120));
  }
  const bytes = encoder.encode(`${lines.join(random.percent(90) ? "\r\n" : "\n")}\r\n\r\n`);
  if (random.percent(30)) bytes[random.below(bytes.length)] = random.below(256);
  return bytes;
}

Deno.test("100,000 frames and handshakes at random, as bytes, harm nobody and leave nothing", async () => {
  const random = new Random(SEED);
  let frames = 0, handshakes = 0;
  await withstands(async (house, sane) => {
    await inLanes(24, () => frames + handshakes >= MANY, async () => {
      if (++handshakes % 300 === 0) await sane.isAnswered();
      const peer = await Deno.connect({ hostname: "127.0.0.1", port: house.port });
      const parts = [handshake(random)];
      // Behind a bad one the server need not look, but one more may meet it while it hangs up.
      for (let bad = 0; parts.length < 60 && bad < 2;) {
        const isGood = random.percent(92);
        if (!isGood) bad++;
        parts.push(frame(random, isGood));
      }
      frames += parts.length - 1;
      // Many at once, or torn apart.
      const bytes = new Uint8Array(await new Blob(parts as BlobPart[]).arrayBuffer());
      const cut = random.percent(20) ? random.below(bytes.length) : bytes.length;
      try {
        await peer.write(bytes.subarray(0, cut));
        if (cut < bytes.length && random.percent(80)) await peer.write(bytes.subarray(cut));
        if (random.percent(90)) {
          await peer.closeWrite();
          const answer = new Uint8Array(65_536);
          while ((await soon(peer.read(answer), "the end of a connection")) !== null);
        }
      } catch (error) {
        // The server has hung up already.
        if (!/reset|broken pipe|not connected/i.test((error as Error).message)) throw error;
      } finally {
        peer.close();
      }
    });
  });
  assert(handshakes > 3_000, `${handshakes} handshakes`);
});

Deno.test("100,000 lines at random are taken in every state, and everybody is answered", async () => {
  const random = new Random(SEED);
  let lines = 0, batches = 0;
  await withstands(async (house, sane) => {
    await inLanes(20, () => lines >= MANY, async () => {
      const person = await house.connect(random.percent(20) ? "?resume=" : "");
      for (let i = random.below(12); i >= 0; i--) {
        const marker = `marker${++batches}`;
        const some = 40 + random.below(60);
        for (let j = 0; j < some; j++) person.say(line(random));
        lines += some;
        // The first of them is a nickname, if there was none yet.
        person.say(`n${batches}`, `/who ${marker}`);
        while (!(await person.next()).endsWith(`Nobody called "${marker}" is online.`));
        if (batches % 40 === 0) await sane.isAnswered();
      }
      if (random.percent(50)) person.socket.close(pick(random, [1000, 3000, 4999]));
      await person.leave();
    });
  });
});

/** A value of JSON that may be anything. */
function value(random: Random, depth = 0): unknown {
  switch (random.below(depth > 2 ? 8 : 11)) {
    case 0:
      return pick(random, ROOMS);
    case 1:
      return pick(random, NICKS);
    case 2:
      return pick(random, ODD).repeat(random.below(20));
    case 3:
      return pick(random, [0, -1, 1.5, 1e300, 2 ** 53, 17, 101]);
    case 4:
      return pick(random, [true, false, null]);
    case 5:
      return `g${random.below(1000).toString(16)}000`;
    case 6:
      return "x".repeat(pick(random, [1, 64, 65, 300]));
    case 7:
      return `word ${random.below(100)}`;
    case 8:
      return Array.from({ length: random.below(4) }, () => value(random, depth + 1));
    default:
      return object(random, depth + 1);
  }
}

const TYPES = [
  ...["message", "action", "direct", "login", "resume", "join", "leave", "nick", "who", "rooms"],
  ...SECRET,
  ...["members", "history", "ping", "welcome", "__proto__", "constructor", "", "dance"],
];
const FIELDS = [
  ...["text", "room", "nick", "to", "cid", "ref", "token", "last", "direct", "before", "after"],
  ...["password", "new", "limit", "__proto__", "toString", "more", "type"],
];

function object(random: Random, depth = 0): Record<string, unknown> {
  const fields: Record<string, unknown> = {};
  if (depth === 0 || random.percent(30)) fields.type = pick(random, TYPES);
  for (let i = random.below(6); i > 0; i--) {
    Object.defineProperty(fields, pick(random, FIELDS), {
      value: value(random, depth),
      enumerable: true,
      configurable: true,
      writable: true,
    });
  }
  // So that many are what they should be.
  if (random.percent(50)) {
    Object.assign(fields, {
      text: `word ${random.below(1000)}`,
      room: pick(random, ["red", "blue"]),
      nick: `n${random.below(1000)}`,
    });
  }
  return fields;
}

/** A request, or nearly one. */
function request(random: Random): string {
  const json = JSON.stringify(object(random));
  switch (random.below(20)) {
    case 0:
      return json.slice(0, random.below(json.length));
    case 1:
      return json + pick(random, ODD);
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

Deno.test("100,000 objects of chat.v1 at random are taken in every state, and everybody is answered", async () => {
  const random = new Random(SEED);
  let objects = 0, batches = 0;
  await withstands(async (house, sane) => {
    await inLanes(20, () => objects >= MANY, async () => {
      const person = await house.connect("", "chat.v1");
      for (let i = random.below(12); i >= 0; i--) {
        const ref = `marker ${++batches}`;
        if (random.percent(60)) person.say(JSON.stringify({ type: "login", nick: `n${batches}` }));
        const some = 40 + random.below(60);
        const requests = Array.from({ length: some }, () => request(random));
        objects += some;
        // In one frame, or each in its own.
        if (random.percent(30)) person.say(requests.join("\n"));
        else person.say(...requests);
        person.say(JSON.stringify({ type: "ping", ref }));
        while (true) {
          const line = await person.next();
          if (line.includes(ref) && JSON.parse(line).type === "pong") break;
        }
        if (batches % 40 === 0) await sane.isAnswered();
      }
      await person.leave();
    });
  });
});
