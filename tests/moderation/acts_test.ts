/** Acts: who may do which, what each changes, and that a refused one changes nothing. */
import { assert, assertEquals } from "@std/assert";
import { type ActName, type ActRow, ACTS } from "../../chat/base/acts.ts";
import type { ActRequest } from "../../chat/moderation/moderation.ts";
import { codeOf, type Moderated, openModerated, OPERATOR, userOf } from "../support/moderation.ts";
import { keysOf } from "../support/storage.ts";

const ROOM = "red";

/** An example of each act in a room, against Bob. */
const EXAMPLES: Readonly<Record<ActName, Partial<ActRequest>>> = {
  kick: { user: { nick: "Bob" }, text: "enough" },
  ban: { user: { nick: "Bob" }, seconds: 600, text: "spam" },
  unban: { user: { nick: "Bob" } },
  mute: { user: { nick: "Bob" }, seconds: 600 },
  unmute: { user: { nick: "Bob" } },
  slow: { count: 30 },
  topic: { text: "cups" },
  lock: {},
  unlock: {},
  private: {},
  public: {},
  invite: { user: { nick: "Bob" } },
  purge: { user: { nick: "Bob" }, count: 3 },
  delete: {},
  mod: { user: { nick: "Rita" } },
  unmod: { user: { nick: "Mel" } },
  report: { user: { nick: "Bob" }, text: "rude" },
};

/** Roles of the one who acts, and what each row of the table lets them do. */
const ROLES = {
  operator: () => true,
  moderator: ({ by }: ActRow, act: ActName) => by !== "operator" && act !== "unmod",
  member: ({ by }: ActRow) => by === "member",
  outsider: () => false,
} as const;

/** Opens a room with a moderator (Mona), another one (Mel), a member (Carl), Rita, Bob, and an operator. */
async function openRoom(kv: Deno.Kv): Promise<Moderated> {
  const server = await openModerated(kv);
  await server.appoint(ROOM, "Mona");
  await server.appoint(ROOM, "Mel");
  await server.member("1", OPERATOR, [ROOM]);
  await server.member("2", "Mona", [ROOM]);
  await server.guest("3", "Carl", [ROOM]);
  await server.guest("4", "Ove");
  await server.member("5", "Rita", [ROOM]);
  await server.guest("6", "Bob", [ROOM], "bobs-address");
  await server.member("7", "Mel", [ROOM]);
  assertEquals(await server.say("6", ROOM, "buy this"), "done");
  return server;
}

const SESSIONS = { operator: "1", moderator: "2", member: "3", outsider: "4" } as const;

/** Returns everything that acts store. */
async function stored(kv: Deno.Kv): Promise<string[]> {
  const rows: string[] = [];
  for (const first of ["room_rules", "standing", "banned_network", "private_room"]) {
    for await (const { key, value } of kv.list({ prefix: [first] })) {
      rows.push(Deno.inspect([key, value]));
    }
  }
  return rows;
}

for (const act of Object.keys(ACTS) as ActName[]) {
  Deno.test(`act ${act}: those who may do it can, and for all others nothing changes`, async () => {
    for (const [role, may] of Object.entries(ROLES)) {
      using kv = await Deno.openKv(":memory:");
      await using server = await openRoom(kv);
      const operator = server.session("1");
      if (act === "unban" || act === "unmute") {
        const opposite = act === "unban" ? "ban" : "mute";
        const request = { act: opposite, room: ROOM, user: { nick: "Bob" } } as const;
        assertEquals(codeOf(await server.moderation.act(operator, request)), "ok");
      }
      const message = server.delivered.findLast(({ event }) => event.kind === "message")!.eventId;
      await server.settled();
      const before = await stored(kv);
      const known = server.delivered.length;
      const session = server.session(SESSIONS[role as keyof typeof SESSIONS]);
      const request: ActRequest = { act, room: ROOM, message, ...EXAMPLES[act] };
      const result = await server.moderation.act(session, request);
      await server.settled();
      if (may(ACTS[act], act)) {
        assertEquals(codeOf(result), "ok", role);
        const told = server.delivered.slice(known).filter(({ event }) =>
          event.kind === "act" && !event.isQuiet
        );
        assertEquals(told.map(({ event }) => event.target), [act], role);
      } else {
        const line = result.ok ? "done" : result.message;
        assert(!result.ok && line.length < 120 && !line.includes("\n"), `${role}: ${line}`);
        assertEquals(server.delivered.length, known, role);
        assertEquals(await stored(kv), before, role);
      }
    }
  });
}

Deno.test("acts against oneself, an operator or another moderator are refused", async () => {
  using kv = await Deno.openKv(":memory:");
  await using server = await openRoom(kv);
  const cases: [string, ActName, string][] = [
    ["2", "ban", "Mona"],
    ["1", "kick", OPERATOR],
    ["2", "kick", OPERATOR],
    ["2", "mute", "Mel"],
    ["2", "unmod", "Mel"],
    ["1", "unmod", OPERATOR],
  ];
  for (const [id, act, nick] of cases) {
    const result = await server.moderation.act(server.session(id), {
      act,
      room: ROOM,
      user: { nick },
    });
    assertEquals(codeOf(result), "protected-user", `${act} ${nick}`);
  }
  const report = { act: "report", room: ROOM, user: { nick: "Carl" }, text: "me" } as const;
  assertEquals(codeOf(await server.moderation.act(server.session("3"), report)), "protected-user");
  // An operator is above moderators.
  const unmod = { act: "unmod", room: ROOM, user: { nick: "Mel" } } as const;
  assertEquals(codeOf(await server.moderation.act(server.session("1"), unmod)), "ok");
});

Deno.test("an operator by secret is protected, on other instances too", async () => {
  using kv = await Deno.openKv(":memory:");
  await using one = await openModerated(kv, "01A", { operatorSecret: "a secret of some length" });
  await using other = await openModerated(kv, "01B");
  await one.guest("1", "Sam", [ROOM]);
  await other.appoint(ROOM, "Mona");
  await other.member("2", "Mona", [ROOM]);
  const wrong = await one.moderation.becomeOperator(one.session("1"), "a secret", "address");
  assertEquals(codeOf(wrong), "wrong-password");
  assert(!one.moderation.isOperator(one.session("1")));
  const right = one.moderation.becomeOperator(
    one.session("1"),
    "a secret of some length",
    "address",
  );
  assertEquals(codeOf(await right), "ok");
  const ban = { act: "ban", room: ROOM, user: { nick: "Sam" } } as const;
  assertEquals(codeOf(await other.moderation.act(other.session("2"), ban)), "protected-user");
});

Deno.test("wrong secrets are limited by address, and without a secret there are none", async () => {
  using kv = await Deno.openKv(":memory:");
  const operatorSecret = "a secret of some length";
  await using server = await openModerated(kv, "01A", { operatorSecret });
  await using other = await openModerated(kv, "01B");
  await server.guest("1", "Sam");
  await other.guest("2", "Tom");
  const attempt = (secret: string) =>
    server.moderation.becomeOperator(server.session("1"), secret, "address");
  for (let i = 0; i < 10; i++) assertEquals(codeOf(await attempt("guess")), "wrong-password");
  assertEquals(codeOf(await attempt(operatorSecret)), "too-many-attempts");
  const none = other.moderation.becomeOperator(other.session("2"), "", "address");
  assertEquals(codeOf(await none), "not-an-operator");
});

Deno.test("an operator's nickname counts only for the session that is signed in to it", async () => {
  using kv = await Deno.openKv(":memory:");
  await using server = await openModerated(kv);
  await server.guest("1", OPERATOR);
  assert(!server.moderation.isOperator(server.session("1")));
  await server.member("2", "Zoe");
  assert(!server.moderation.isOperator(server.session("2")));
});

Deno.test("bad parts of an act are refused in one line, and store nothing", async () => {
  using kv = await Deno.openKv(":memory:");
  await using server = await openRoom(kv);
  const bob = { nick: "Bob" };
  const before = await stored(kv);
  const known = server.delivered.length;
  const cases: [Omit<ActRequest, "room"> & { room?: string }, string][] = [
    [{ act: "ban", room: ROOM }, "bad-act"],
    [{ act: "slow", room: ROOM }, "bad-act"],
    [{ act: "slow", room: ROOM, count: -1 }, "bad-act"],
    [{ act: "slow", room: ROOM, count: 1e9 }, "bad-act"],
    [{ act: "slow", room: ROOM, count: 0.5 }, "bad-act"],
    [{ act: "slow", room: ROOM, count: NaN }, "bad-act"],
    [{ act: "purge", room: ROOM, user: bob, count: 101 }, "bad-act"],
    [{ act: "purge", room: ROOM, user: bob, count: 0 }, "bad-act"],
    [{ act: "ban", room: ROOM, user: bob, seconds: 0 }, "bad-time"],
    [{ act: "ban", room: ROOM, user: bob, seconds: -60 }, "bad-time"],
    [{ act: "ban", room: ROOM, user: bob, seconds: 1e12 }, "bad-time"],
    [{ act: "ban", room: ROOM, user: bob, seconds: NaN }, "bad-time"],
    [{ act: "kick", room: ROOM, user: bob, seconds: 60 }, "bad-time"],
    [{ act: "ban", room: ROOM, user: bob, text: "x".repeat(1_000_000) }, "bad-act"],
    [{ act: "ban", room: ROOM, user: bob, text: "a\nb" }, "bad-act"],
    [{ act: "topic", room: ROOM, text: "\x1b[2J" }, "bad-act"],
    [{ act: "topic", room: ROOM, text: "a\u2028b" }, "bad-act"],
    [{ act: "ban", room: ROOM, user: { nick: "Nobody" } }, "no-such-user"],
    [{ act: "ban", room: ROOM, user: { user: "01NOBODY" } }, "no-such-user"],
    [{ act: "ban", room: ROOM, user: { nick: "" } }, "bad-nickname"],
    [{ act: "unban", room: ROOM, user: bob }, "no-such-user"],
    [{ act: "unmute", room: ROOM, user: bob }, "no-such-user"],
    [{ act: "unmod", room: ROOM, user: bob }, "no-such-user"],
    [{ act: "mod", room: ROOM, user: bob }, "no-such-user"],
    [{ act: "kick", room: ROOM, user: { nick: "Ove" } }, "no-such-user"],
    [{ act: "kick", room: "nowhere", user: bob }, "no-such-user"],
    [{ act: "delete", room: ROOM, message: "nonsense" }, "no-such-message"],
    [{ act: "delete", room: ROOM, message: "b1000" }, "no-such-message"],
    [{ act: "purge", room: ROOM, user: { nick: "Rita" }, count: 5 }, "no-such-message"],
    [{ act: "report", room: ROOM, user: bob }, "bad-act"],
    [{ act: "topic", text: "for all" }, "bad-act"],
    [{ act: "mute", user: bob }, "bad-act"],
    [{ act: "ban", room: ROOM, network: "10.0.0.1" }, "bad-act"],
    [{ act: "kick", network: "10.0.0.1" }, "bad-act"],
    [{ act: "ban", network: "10.0.0.0/33" }, "bad-act"],
    [{ act: "ban", network: "everyone" }, "bad-act"],
    [{ act: "ban", network: "0.0.0.0/0" }, "bad-act"],
    [{ act: "ban", network: "::/0" }, "bad-act"],
    [{ act: "ban", network: "1.0.0.0/7" }, "bad-act"],
    [{ act: "unban", network: "10.0.0.1" }, "no-such-user"],
  ];
  for (const [request, code] of cases) {
    const result = await server.moderation.act(server.session("1"), request);
    assertEquals(codeOf(result), code, Deno.inspect(request).slice(0, 200));
    const line = result.ok ? "" : result.message;
    assert(line.length < 200 && !line.includes("\n") && !line.includes("\x1b"), line);
  }
  await server.settled();
  assertEquals(server.delivered.length, known);
  assertEquals(await stored(kv), before);
});

Deno.test("a reason and a topic may have 512 characters, and lone surrogates are replaced", async () => {
  using kv = await Deno.openKv(":memory:");
  await using server = await openRoom(kv);
  const text = "🎲".repeat(512);
  const set = (text: string) =>
    server.moderation.act(server.session("1"), { act: "topic", room: ROOM, text });
  assertEquals(codeOf(await set(text)), "ok");
  assertEquals(server.moderation.stateOf(server.session("2"), ROOM).topic, text);
  assertEquals(codeOf(await set(`${text}x`)), "bad-act");
  assertEquals(codeOf(await set("a\ud800")), "ok");
  assertEquals(server.moderation.stateOf(server.session("2"), ROOM).topic, "a\ufffd");
});

Deno.test("rules are removed when they say nothing any more", async () => {
  using kv = await Deno.openKv(":memory:");
  await using server = await openModerated(kv);
  await server.member("1", OPERATOR, [ROOM]);
  const acts: Omit<ActRequest, "room">[] = [
    { act: "topic", text: "cups" },
    { act: "slow", count: 5 },
    { act: "lock" },
    { act: "private" },
    { act: "mute", seconds: 60 },
    { act: "topic", text: "" },
    { act: "slow", count: 0 },
    { act: "unlock" },
    { act: "public" },
  ];
  for (const act of acts) {
    assertEquals(
      codeOf(await server.moderation.act(server.session("1"), { ...act, room: ROOM })),
      "ok",
    );
  }
  assertEquals(await keysOf(kv, "room_rules"), [ROOM]);
  const unmute = { act: "unmute", room: ROOM } as const;
  assertEquals(codeOf(await server.moderation.act(server.session("1"), unmute)), "ok");
  assertEquals(await stored(kv), []);
});

Deno.test("a room has at most 100 moderators", async () => {
  using kv = await Deno.openKv(":memory:");
  await using server = await openRoom(kv);
  for (let i = 0; i < 98; i++) await server.appoint(ROOM, `Extra${i}`);
  const mod = { act: "mod", room: ROOM, user: { nick: "Rita" } } as const;
  const result = await server.moderation.act(server.session("1"), mod);
  assertEquals(codeOf(result), "bad-act");
});

Deno.test("acts of the same moment are done one after the other, on any instance", async () => {
  using kv = await Deno.openKv(":memory:");
  await using one = await openModerated(kv, "01A");
  await using other = await openModerated(kv, "01B");
  await one.share();
  await other.share();
  await one.member("1", OPERATOR, [ROOM]);
  other.storage.createConnection("2", "json");
  assertEquals(await other.identify("2", OPERATOR), "done");
  for (let i = 0; i < 8; i++) await one.member(`3${i}`, `M${i}`, [ROOM]);
  const results = await Promise.all(Array.from({ length: 8 }, (_, i) => {
    const server = i % 2 === 0 ? one : other;
    const mod = { act: "mod", room: ROOM, user: { nick: `M${i}` } } as const;
    return server.moderation.act(server.session(i % 2 === 0 ? "1" : "2"), mod);
  }));
  assertEquals(results.map(codeOf), Array(8).fill("ok"));
  const { value } = await kv.get<{ moderators: string[][] }>(["room_rules", ROOM]);
  const moderators = value!.moderators.map(([user]) => user).sort();
  assertEquals(moderators, Array.from({ length: 8 }, (_, i) => userOf(`M${i}`)));
});

Deno.test("the record holds each act once: its room's, and all for operators, by pages", async () => {
  using kv = await Deno.openKv(":memory:");
  await using server = await openRoom(kv);
  const operator = server.session("1");
  for (let i = 0; i < 5; i++) {
    const topic = { act: "topic", room: ROOM, text: `${i}` } as const;
    assertEquals(codeOf(await server.moderation.act(operator, topic)), "ok");
    const slow = { act: "slow", room: "blue", count: i } as const;
    assertEquals(codeOf(await server.moderation.act(operator, slow)), "ok");
  }
  const ban = { act: "ban", user: { nick: "Bob" }, text: "spam" } as const;
  assertEquals(codeOf(await server.moderation.act(operator, ban)), "ok");
  await server.settled();
  const textsOf = async (id: string, room: string | undefined, before?: string, limit = 100) => {
    const page = await server.moderation.modlog(server.session(id), room, before, limit);
    if (!page.ok) return page.code;
    return page.entries.map(({ event }) => `${event.target} ${event.text || event.count}`);
  };
  assertEquals(await textsOf("2", ROOM), [0, 1, 2, 3, 4].map((i) => `topic ${i}`));
  assertEquals(await textsOf("1", undefined), [
    ...[0, 1, 2, 3, 4].flatMap((i) => [`topic ${i}`, `slow ${i}`]),
    "ban spam",
  ]);
  assertEquals(await textsOf("2", undefined), "not-an-operator");
  assertEquals(await textsOf("2", "blue"), "not-a-moderator");
  assertEquals(await textsOf("3", ROOM), "not-a-moderator");
  // By pages, the newest first.
  const last = await server.moderation.modlog(operator, undefined, undefined, 3);
  if (!last.ok) throw new Error(last.code);
  assert(last.more && last.entries.length === 3);
  assertEquals(await textsOf("1", undefined, last.entries[0]!.eventId, 4), [
    "topic 2",
    "slow 2",
    "topic 3",
    "slow 3",
  ]);
});
