/**
 * Work that a client causes grows no faster than what it sends: the largest input of each kind, made
 * of what regular expressions, Unicode and JSON are worst at, takes a few milliseconds.
 */
import { assert } from "@std/assert";
import { Access } from "../../chat/http/access.ts";
import { Addresses } from "../../chat/http/addresses.ts";
import type { Handler, Session } from "../../chat/session/handler.ts";
import { Imitation } from "../../chat/nicknames/imitation.ts";
import { encodeJson } from "../../chat/delivery/json.ts";
import { Confusables } from "../../chat/nicknames/confusables.ts";
import { limitsFrom, MAX, sizeOf } from "../../chat/base/limits.ts";
import { PlainText } from "../../chat/session/plain_text.ts";
import { foldNickname, nicknameFrom, roomFrom } from "../../chat/nicknames/names.ts";
import { passwordFrom } from "../../chat/nicknames/passwords.ts";
import { ChatV1 } from "../../chat/session/chat_v1.ts";
import type { Sender, Subscriber } from "../../chat/delivery/sender.ts";
import { shown } from "../../chat/delivery/text.ts";

/**
 * Milliseconds that the best of a few tries may take. The worst is 10 ms here; what this is against
 * took seconds to minutes.
 */
const MOST_MS = 60;
const TRIES = 4;

/** Bytes of the largest frame of chat.v1, of a line of plain text, and of a header. */
const FRAME = 256 * 1024;
const LINE = 16 * 1024;
const HEADER = 16 * 1024;

/** Texts of about so many bytes of UTF-8. */
function hostile(bytes: number): string[] {
  const of = (unit: string, part = 1) => unit.repeat(Math.floor(bytes * part / sizeOf(unit, 0)));
  return [
    ...[
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
    ],
    ...[
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
    ],
    ...["adm!", "|", "іІ", "\u2028", "\u202e", "\u{1d15f}", "Bob: ", "[from ", "] "],
  ].map((unit) => of(unit)).concat([
    // 62,000 marks of two kinds: NFC sorts them.
    `a${of("\u0301", 0.49)}${of("\u0323", 0.49)}`,
    `x${of(" ", 0.9)}y z`,
    `${of("x", 0.9)} y`,
    `"${of("x", 0.4)}${of(" ", 0.4)}`,
    `x ${of("\n ", 0.9)}`,
  ]);
}

/** Fails if something takes too long even at its best. */
function isQuick(what: string, run: () => unknown): void {
  let best = Infinity;
  for (let tries = 0; tries < TRIES && best > MOST_MS; tries++) {
    const before = performance.now();
    run();
    best = Math.min(best, performance.now() - before);
    // That is no busy machine.
    if (best > 20 * MOST_MS) break;
  }
  assert(best <= MOST_MS, `${what.slice(0, 100)} took ${best.toFixed(0)} ms`);
}

function eachIsQuick(what: string, texts: string[], run: (text: string) => unknown): void {
  for (const text of texts) {
    isQuick(`${what} of ${JSON.stringify(text.slice(0, 8))}… (${text.length})`, () => run(text));
  }
}

const limits = limitsFrom({ nickname: MAX.nickname, room: MAX.room });

/** Somebody in a room, or without a nickname. */
function speaker(nick: string): Session {
  const record = { id: "1", nick, room: nick === "" ? undefined : "red", held: { account: "" } };
  const state = { pace: undefined, unconfirmed: false, pending: 0, wanted: "", address: "" };
  return { peer: {} as Subscriber, record, ...state } as unknown as Session;
}

/** What protocols are made of, where nobody is at home: everything is refused. */
function nobody(): { handler: Handler; sender: Sender } {
  const refused = { ok: false, code: "", message: "" };
  const handler = new Proxy({}, {
    get: (_, name) => name === "quiet" ? () => undefined : () => Promise.resolve(refused),
  });
  const sender = new Proxy({}, { get: () => () => {} });
  return { handler: handler as Handler, sender: sender as Sender };
}

Deno.test("names of any length and content are judged in a few milliseconds", () => {
  const likeness = new Confusables(), imitation = new Imitation(likeness);
  for (const bytes of [MAX.nickname, 4 * MAX.nickname, 8 * MAX.room, FRAME]) {
    eachIsQuick("nicknameFrom", hostile(bytes), (text) => nicknameFrom(text, limits));
    eachIsQuick("roomFrom", hostile(bytes), (text) => roomFrom(text, limits));
    eachIsQuick("passwordFrom", hostile(bytes), (text) => passwordFrom(text));
  }
  const names = hostile(4 * MAX.room);
  eachIsQuick("foldNickname", names, foldNickname);
  eachIsQuick("claims", names, (name) => likeness.claims(name));
  eachIsQuick("isReserved", names, (name) => likeness.isReserved(name));
  eachIsQuick("isOne", names, (name) => imitation.isOne(name));
  eachIsQuick("readingOfRoom", names, (name) => likeness.readingOfRoom(name));
  eachIsQuick("lookOfRoom", names, (name) => likeness.lookOfRoom(name));
});

Deno.test("what is shown is encoded in a few milliseconds", () => {
  const event = { kind: "message", room: "red", id: "1", nick: "Ann", time: 0, cid: "" } as const;
  eachIsQuick("shown", hostile(LINE), shown);
  eachIsQuick("encodeJson", hostile(LINE), (text) => encodeJson({ ...event, text }, "g1a0000000"));
});

Deno.test("a line of plain text is handled in a few milliseconds, whatever it holds", () => {
  const lines = new PlainText({ ...nobody(), limits, grace: 0 }, false);
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
      eachIsQuick(`${command} by "${nick}"`, hostile(LINE), (text) => {
        const frame = command + text;
        for (const line of lines.split({} as Subscriber, frame, LINE)) {
          // What comes later only waits for nobody.
          void lines.handle(speaker(nick), line);
        }
      });
    }
  }
});

Deno.test("a frame of chat.v1 is read in a few milliseconds, whatever it holds", () => {
  const parts = { ...nobody(), limits, grace: 0, retention: 0 };
  const requests = new ChatV1(parts);
  const handle = (nick: string, frame: string) => {
    const most = limits.inboxFrames;
    for (const line of requests.split({} as Subscriber, frame, FRAME).slice(0, most)) {
      void requests.handle(speaker(nick), line);
    }
  };
  const texts = hostile(FRAME - 100);
  eachIsQuick("a frame", texts, (text) => handle("Ann", text));
  const fields: Record<string, string[]> = {
    ...{ message: ["text", "room", "cid", "ref"], direct: ["to", "text"], login: ["nick"] },
    ...{ resume: ["token", "last", "direct"], join: ["room"], nick: ["nick"], who: ["nick"] },
    ...{ identify: ["nick", "password"], register: ["password"], password: ["password", "new"] },
    ...{ history: ["room", "before", "after"], ping: ["ref"], dance: ["type"] },
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
      eachIsQuick(`${type}.${name}`, texts, (text) => {
        const frame = JSON.stringify({ type, ...usual, [name]: text });
        handle(["login", "resume"].includes(type) ? "" : "Ann", frame);
      });
    }
  }
  const many = (unit: (i: number) => string, bytes: number) =>
    Array.from({ length: Math.floor(FRAME / bytes) }, (_, i) => unit(i));
  const shapes = [
    "[".repeat(FRAME),
    '{"a":'.repeat(FRAME / 5),
    `{"type":"ping","a":${"[".repeat(FRAME / 3)}${"]".repeat(FRAME / 3)}}`,
    `{"type":"ping",${many((i) => `"k${i}":0`, 12).join(",")}}`,
    // Whole numbers: V8 hashes some by their value alone.
    `{"type":"ping",${many((i) => `"${i * 65536 % 4294967295}":0`, 16).join(",")}}`,
    `{"type":"ping","a":[${many((i) => `"${i * 131072 % 16777216}"`, 12).join(",")}]}`,
    `{"type":"ping",${many(() => `"a":0`, 6).join(",")}}`,
    `{"type":"ping","a":${"1".repeat(FRAME - 100)}}`,
    `{"type":"ping","a":0.${"1".repeat(FRAME - 100)}}`,
    '{"type":"ping"}\n'.repeat(FRAME / 16),
    "{}\n".repeat(FRAME / 3),
    "x\n".repeat(FRAME / 2),
  ];
  eachIsQuick("a shape", shapes, (frame) => handle("Ann", frame));
});

Deno.test("a handshake is judged in a few milliseconds, whatever its headers hold", () => {
  const access = new Access({ token: "12345678" });
  const addresses = new Addresses(["private"]);
  // What a header cannot hold, a server does not hand on.
  const values = hostile(HEADER).map((text) => text.replace(/[^\x20-\x7e]/g, "x"));
  const rows = ["1,", "[", "for=1;", "for=", "127.0.0.1,", "1.", "::1,", "bearer ", "gzip;q=0.0,"];
  const repeated = rows.map((row) => row.repeat(HEADER / row.length));
  eachIsQuick("headers", [...values, ...repeated], (value) => {
    const headers = new Headers();
    for (
      const name of [
        ...["x-forwarded-for", "forwarded", "x-forwarded-host", "x-forwarded-proto", "origin"],
        ...["sec-websocket-protocol"],
      ]
    ) headers.set(name, value);
    headers.set("authorization", `Bearer ${value}`);
    const request = new Request("http://127.0.0.1/", { headers });
    const from = addresses.of(request, "127.0.0.1");
    access.allows(headers);
    access.allowsOrigin(value, from);
  });
});
