/** Registrations: registering and identifying, over instances, restarts and versions. */
import { assert, assertEquals } from "@std/assert";
import type { Clock } from "../../chat/base/clock.ts";
import { hashToken, newToken } from "../../chat/base/tokens.ts";
import { accountFrom } from "../../chat/kv/values.ts";
import { Confusables } from "../../chat/nicknames/confusables.ts";
import { Passwords } from "../../chat/nicknames/passwords.ts";
import { Registrations } from "../../chat/nicknames/registrations.ts";
import { AdjustedClock } from "../support/fake_clock.ts";
import { JsonClient } from "../support/json_client.ts";
import {
  alikeReply,
  openTwo,
  ownedReply,
  register,
  registeredReply,
  SECRET,
  takenReply,
  valuesOf,
  welcomeReply,
} from "../support/registrations.ts";
import { countingKv } from "../support/faulty_kv.ts";
import { DenoKv, ServerProcess, testWithProgram } from "../support/processes.ts";
import { openStorage } from "../support/storage.ts";
import { TestServer } from "../support/test_server.ts";
import { TextClient } from "../support/text_client.ts";

/** Milliseconds for which {@linkcode openRegistrations} keeps a registration. */
const LIFETIME_MS = 3_600_000;

/** Opens Storage with registrations, without a server. */
async function openRegistrations(kv: Deno.Kv, clock: Clock) {
  const server = await openStorage(kv, "01A", { clock, registrationMs: LIFETIME_MS });
  const registrations = new Registrations({
    kv,
    clock,
    storage: server.storage,
    ids: () => crypto.randomUUID(),
    confusables: new Confusables(),
    passwords: new Passwords(1000),
    lifetimeMs: LIFETIME_MS,
    registrationRate: undefined,
  });
  return Object.assign(server, { registrations });
}

Deno.test("a registered nickname needs its password after a restart", async () => {
  using kv = await Deno.openKv(":memory:");
  {
    await using server = await TestServer.open({ kv });
    await register(server, "Ann");
  }
  await using server = await TestServer.open({ kv });
  const ann = await server.connect();
  await ann.request("Ann", registeredReply("Ann"));
  await ann.request("ANN", registeredReply("ANN"));
  await ann.request("/identify wrong-horse", "Wrong password.");
  await ann.request("/identify " + SECRET, welcomeReply("ANN"));
  await ann.request("/identify " + SECRET, "You are signed in as ANN.");
  await ann.request("/nick Ann", "Nickname is: Ann");
});

Deno.test("lookalikes of a registered nickname are refused while its owner is away", async () => {
  await using server = await TestServer.open();
  await register(server, "Ann");
  await register(server, "сосо");
  const eve = await server.login("Eve");
  await eve.request("/nick Аnn", alikeReply("Аnn"));
  await eve.request("/nick coco", alikeReply("coco"));
  await eve.request("/nick СОСО", registeredReply("СОСО"));
  // Nor can its owner change to a lookalike of it.
  await eve.request(`/identify Ann ${SECRET}`, "Nickname is: Ann");
  await eve.request("/nick Аnn", alikeReply("Аnn"));
  await eve.request("/nick Eve", "Nickname is: Eve");
  await eve.request("/nick Аnn", alikeReply("Аnn"));
});

Deno.test("/identify works before the login and from another nickname, also for a nickname with spaces", async () => {
  await using server = await TestServer.open();
  await register(server, "Mary Ann");
  const mary = await server.connect();
  await mary.request("/identify", "Usage: /identify {password} or /identify {nickname} {password}");
  await mary.request(
    "/identify " + SECRET,
    "Usage: /identify {password} or /identify {nickname} {password}",
  );
  await mary.request(`/IDENTIFY mary ann ${SECRET}`, welcomeReply("mary ann"));
  await mary.disconnect();
  const again = await server.login("Bob", "red");
  await again.request(`/identify "Mary Ann" ${SECRET}`, "Nickname is: Mary Ann");
  await again.request("/ls", "Mary Ann");
  await again.request(`/identify ${SECRET}`, "You are signed in as Mary Ann.");
});

Deno.test("/identify signs in to a nickname that is online in another session, on any instance", async () => {
  using kv = await Deno.openKv(":memory:");
  await using houses = await openTwo(kv);
  await register(houses.one, "Ann");
  const ann = await houses.one.connect();
  await ann.request(`/identify Ann ${SECRET}`, welcomeReply("Ann"));
  const again = await houses.other.connect();
  await again.request("Ann", registeredReply("Ann"));
  await again.request(`/identify ${SECRET}`, welcomeReply("Ann"));
  const eve = await houses.other.connect();
  await eve.request("Ann", registeredReply("Ann"));
  // Neither of them is the owner of the nickname while the other is online.
  await ann.disconnect();
  await eve.request("ann", registeredReply("ann"));
  await again.request("/nick", "Current nickname: Ann");
  await again.disconnect();
  await eve.request("ann", registeredReply("ann"));
});

Deno.test("all of a user's devices that sign in at the same time are signed in", async () => {
  using kv = await Deno.openKv(":memory:");
  await using houses = await openTwo(kv);
  await register(houses.one, "Ann");
  const devices = await Promise.all(
    Array.from({ length: 6 }, (_, i) => JsonClient.connect(i % 2 ? houses.one : houses.other)),
  );
  const request = { type: "identify", nick: "Ann", password: SECRET };
  const welcomes = await Promise.all(devices.map((device) => device.request(request)));
  assertEquals(
    welcomes.map(({ type }) => type),
    Array(6).fill("welcome"),
    JSON.stringify(welcomes),
  );
  assertEquals(new Set(welcomes.map(({ user }) => user)).size, 1);
});

Deno.test("exactly one of a hundred concurrent clients takes and registers a nickname", async () => {
  using kv = await Deno.openKv(":memory:");
  await using houses = await openTwo(kv);
  const people = await Promise.all(
    Array.from(
      { length: 100 },
      (_, i) => JsonClient.connect(i % 2 === 0 ? houses.one : houses.other),
    ),
  );
  const outcomes = await Promise.all(people.map(async (client, i) => {
    const { type } = await client.request({ type: "login", nick: i % 3 === 0 ? "Ann" : "Аnn" });
    const { type: done } = await client.request({ type: "register", password: `${SECRET}${i}` });
    return [type, done];
  }));
  assertEquals(outcomes.filter(([type, done]) => type === "welcome" && done === "ok").length, 1);
  assertEquals(outcomes.filter(([type, done]) => type === "error" && done === "error").length, 99);
  assertEquals((await valuesOf(kv, "account")).size, 1);
});

Deno.test("of two concurrent registrations by one client the second is refused", async () => {
  await using server = await TestServer.open();
  const ann = await JsonClient.login(server, "Ann");
  ann.send({ type: "register", password: SECRET, ref: 1 }, {
    type: "register",
    password: "another-one",
    ref: 2,
  });
  await ann.expect({ type: "ok", ref: 1 }, { type: "error", ref: 2, code: "already-registered" });
  await ann.expectError(
    { type: "identify", nick: "Ann", password: "another-one" },
    "wrong-password",
  );
  await ann.request({ type: "identify", nick: "Ann", password: SECRET });
});

Deno.test("/password and /unregister need the password", async () => {
  await using server = await TestServer.open();
  const ann = await server.login("Ann");
  const none = "You are not signed in to a registered nickname.";
  await ann.request(`/password ${SECRET} battery-staple`, none);
  await ann.request(`/unregister ${SECRET}`, none);
  await ann.request(`/identify ${SECRET}`, '"Ann" is not registered.');
  await ann.request(`/register ${SECRET}`, ownedReply("Ann"));
  await ann.request("/password wrong-horse battery-staple", "Wrong password.");
  await ann.request(`/password ${SECRET} short`, "Passwords need at least 8 characters.");
  await ann.request(`/password ${SECRET} battery-staple`, "Password changed.");
  await ann.request("/nick Bob", "Nickname is: Bob");
  await ann.request(`/identify Ann ${SECRET}`, "Wrong password.");
  await ann.request("/identify Ann battery-staple", "Nickname is: Ann");
  await ann.request(`/unregister ${SECRET}`, "Wrong password.");
  await ann.request("/unregister battery-staple", '"Ann" is no longer registered.');
  // The nickname stays taken as long as its client is online with it.
  const bob = await server.login("Bob");
  await bob.request("/nick Ann", takenReply("Ann"));
  await ann.request("/nick Cy", "Nickname is: Cy");
  await bob.request("/nick Ann", "Nickname is: Ann");
  assertEquals((await valuesOf(server.kv, "account")).size, 0);
});

Deno.test("a registration keeps its claims when an instance with its owner is killed", async () => {
  using kv = await Deno.openKv(":memory:");
  {
    const dead = await TestServer.open({ kv, graceSeconds: 0 });
    const ann = await dead.login("сосо");
    await ann.request(`/register ${SECRET}`, ownedReply("сосо"));
    // As after a kill: the rows are copied before the shutdown and restored after it.
    const rows: Deno.KvEntry<unknown>[] = [];
    for await (const entry of kv.list({ prefix: [] })) rows.push(entry);
    await dead[Symbol.asyncDispose]();
    for (const { key, value } of rows) await kv.set(key, value);
  }
  await using server = await TestServer.open({ kv, graceSeconds: 0 });
  assertEquals(await valuesOf(kv, "instance_row").then((rows) => rows.size), 0);
  const eve = await server.connect();
  await eve.request("сосо", registeredReply("сосо"));
  await eve.request("coco", alikeReply("coco"));
  await eve.request(`/identify сосо ${SECRET}`, welcomeReply("сосо"));
});

Deno.test("rows of an older version, without claims, are respected and cleaned up, and cannot be resumed", async () => {
  using kv = await Deno.openKv(":memory:");
  await kv.set(["instance", "01OLD"], { v: 1, since: 0 });
  await kv.set(["beat", "01OLD"], 1);
  const token = newToken();
  const old = async (id: string, nick: string, fold: string, tokens: string[]) => {
    await kv.set(["row", id, `username_${nick}`], { nick });
    await kv.set(["reverse_lookup", `username_${nick}`, id], { nick });
    await kv.set(["nick", fold], id);
    await kv.set(["instance_row", "01OLD", id], { nick, since: 0, tokens, era: "" });
    for (const hash of tokens) await kv.set(["resume", hash], { id, instance: "01OLD" });
  };
  await old("01A", "Ann", "ann", []);
  await old("01B", "Иван", "иван", [hashToken(token)]);
  {
    await using server = await TestServer.open({ kv, local: false });
    const eve = await server.connect();
    await eve.request("Ann", takenReply("Ann"));
    await eve.request("Аnn", alikeReply("Аnn"));
    await eve.request("ИВАН", takenReply("ИВАН"));
    // It does not say which user it is of.
    const ivan = await JsonClient.connect(server);
    await ivan.expectError({ type: "resume", token }, "bad-token");
  }
  await using server = await TestServer.open({ kv, graceSeconds: 0 });
  assertEquals([...(await valuesOf(kv, "nick")).keys()], []);
  await server.login("Ann");
});

Deno.test("a registration expires when it is not used for its lifetime", async () => {
  const clock = new AdjustedClock({ stoppedAtMs: Date.now() });
  await using server = await TestServer.open({ clock, registrationSeconds: 100 * 86_400 });
  await register(server, "Ann");
  clock.advance(99 * 86_400_000);
  const ann = await server.connect();
  await ann.request(`/identify Ann ${SECRET}`, welcomeReply("Ann"));
  await ann.disconnect();
  clock.advance(99 * 86_400_000);
  const eve = await server.connect();
  await eve.request("Ann", registeredReply("Ann"));
  clock.advance(2 * 86_400_000);
  await eve.request(`/identify ${SECRET}`, '"Ann" is not registered.');
  await eve.request("Ann", welcomeReply("Ann"));
  await eve.request("/register another-one", ownedReply("Ann"));
});

Deno.test("a registration does not expire while its user is online, nor do its claims", async () => {
  using kv = await Deno.openKv(":memory:");
  const clock = new AdjustedClock({ stoppedAtMs: Date.now() });
  await using server = await openRegistrations(kv, clock);
  const { registrations, storage } = server;
  await server.person("1", "Zoë");
  const record = storage.session("1")!;
  assertEquals((await registrations.register(record, SECRET, "address", undefined)).ok, true);
  const rows = async () => {
    const { user, until, claims: kept } = accountFrom((await kv.get(["account", "zoë"])).value)!;
    assertEquals(kept.length, 2);
    const entry = await kv.get(["user", user]);
    const claims = await Promise.all(kept.map((claim) => kv.get(["nick", claim])));
    return { until, stamps: [entry, ...claims].map(({ versionstamp }) => versionstamp) };
  };
  const first = await rows();
  await registrations.renewOnline();
  // Most of its lifetime is left.
  assertEquals(await rows(), first);
  clock.advance(LIFETIME_MS * 0.6);
  await registrations.renewOnline();
  const second = await rows();
  assert(second.until >= first.until + LIFETIME_MS * 0.6);
  for (const [i, stamp] of second.stamps.entries()) assert(stamp !== first.stamps[i]);
  // Of a user who is offline nothing is renewed.
  await storage.deleteConnection("1");
  clock.advance(LIFETIME_MS * 0.6);
  await registrations.renewOnline();
  assertEquals((await rows()).until, second.until);
  assertEquals(registrations.renewalMs, LIFETIME_MS / 4);
});

Deno.test("with registration off no nickname can be registered, and earlier registrations stay valid", async () => {
  using kv = await Deno.openKv(":memory:");
  {
    await using server = await TestServer.open({ kv });
    await register(server, "Ann");
  }
  await using server = await TestServer.open({ kv, registrationSeconds: 0 });
  const bob = await server.login("Bob");
  await bob.request(`/register ${SECRET}`, "This server registers no nicknames.");
  await bob.request("/nick Ann", registeredReply("Ann"));
  await bob.request(`/identify ${SECRET}`, "Nickname is: Ann");
  await bob.request("/nick Bob", "Nickname is: Bob");
  await bob.request("/nick Ann", registeredReply("Ann"));
});

Deno.test("a nickname that was registered before it was reserved stays with its owner", async () => {
  using kv = await Deno.openKv(":memory:");
  {
    await using server = await TestServer.open({ kv, reserved: [] });
    await register(server, "admin");
  }
  await using server = await TestServer.open({ kv });
  const boss = await server.connect();
  await boss.request(`/identify admin ${SECRET}`, welcomeReply("admin"));
  await boss.request("/nick Admin", "Nickname is: Admin");
});

testWithProgram(
  "denokv",
  "lookalikes and registrations work on denokv, which allows ten checks in a commit",
  async () => {
    await using server = await DenoKv.start();
    const flags = ["--kv", server.url];
    await using one = await ServerProcess.start(flags, undefined, server.env);
    await using other = await ServerProcess.start(flags, undefined, server.env);
    const enter = async ({ url }: ServerProcess) =>
      new JsonClient(await TextClient.connect(url, "chat.v1"));
    const ann = await enter(one);
    assertEquals((await ann.request({ type: "login", nick: "ΙВ１०" })).type, "welcome");
    assertEquals((await ann.request({ type: "register", password: SECRET })).type, "ok");
    const eve = await enter(other);
    for (const nick of ["ib10", "lblo"]) {
      await eve.expectError(
        { type: "login", nick },
        "nickname-taken",
      );
    }
    assertEquals((await ann.request({ type: "nick", nick: "Ann" })).type, "ok");
    await eve.expectError({ type: "login", nick: "ib10" }, "nickname-taken");
    await eve.expectError({ type: "login", nick: "ιВ１०" }, "nickname-registered");
    const identify = { type: "identify", nick: "ΙВ１०", password: SECRET };
    assertEquals((await eve.request(identify)).type, "welcome");
    assertEquals((await eve.request(identify)).type, "ok");
    assertEquals((await eve.request({ type: "unregister", password: SECRET })).type, "ok");
    await eve.connection.disconnect();
    await ann.connection.disconnect();
  },
);

Deno.test("a registration that KV cannot store is refused, and leaves nothing behind", async () => {
  using kv = await Deno.openKv(":memory:");
  let away = false;
  const faulty = countingKv(kv, () => {
    if (away) throw new Error("away");
  });
  await using server = await TestServer.open({ kv: faulty.kv });
  const ann = await JsonClient.login(server, "Ann");
  away = true;
  await ann.expectError({ type: "register", password: SECRET }, "unavailable");
  away = false;
  await ann.request({ type: "ping" });
  const { type } = await ann.request({ type: "register", password: SECRET });
  assertEquals(type, "ok");
  const row = [...(await valuesOf(kv, "account")).values()][0] as { claims: string[] };
  assertEquals(row.claims, ["ann"]);
});
