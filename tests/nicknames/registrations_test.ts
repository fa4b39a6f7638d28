/** Registrations: registering and identifying, over instances, restarts and versions. */
import { assertEquals } from "@std/assert";
import { hashToken, newToken } from "../../chat/base/tokens.ts";
import { AdjustedClock } from "../support/fake_clock.ts";
import { Speaker } from "../support/json_client.ts";
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
import {
  countingKv,
  DenoKv,
  eventually,
  House,
  needs,
  Person,
  ServerProcess,
} from "../support/test_server.ts";

Deno.test("a registered nickname needs its password after a restart", async () => {
  using kv = await Deno.openKv(":memory:");
  {
    await using house = await House.open({ kv });
    await register(house, "Ann");
  }
  await using house = await House.open({ kv });
  const ann = await house.connect();
  await ann.asks("Ann", registeredReply("Ann"));
  await ann.asks("ANN", registeredReply("ANN"));
  await ann.asks("/identify wrong-horse", "Wrong password.");
  await ann.asks("/identify " + SECRET, welcomeReply("ANN"));
  await ann.asks("/identify " + SECRET, "You are signed in as ANN.");
  await ann.asks("/nick Ann", "Nickname is: Ann");
});

Deno.test("lookalikes of a registered nickname are refused while its owner is away", async () => {
  await using house = await House.open();
  await register(house, "Ann");
  await register(house, "сосо");
  const eve = await house.enter("Eve");
  await eve.asks("/nick Аnn", alikeReply("Аnn"));
  await eve.asks("/nick coco", alikeReply("coco"));
  await eve.asks("/nick СОСО", registeredReply("СОСО"));
  // Nor can its owner change to a lookalike of it.
  await eve.asks(`/identify Ann ${SECRET}`, "Nickname is: Ann");
  await eve.asks("/nick Аnn", alikeReply("Аnn"));
  await eve.asks("/nick Eve", "Nickname is: Eve");
  await eve.asks("/nick Аnn", alikeReply("Аnn"));
});

Deno.test("/identify works before the login and from another nickname, also for a nickname with spaces", async () => {
  await using house = await House.open();
  await register(house, "Mary Ann");
  const mary = await house.connect();
  await mary.asks("/identify", "Usage: /identify {password} or /identify {nickname} {password}");
  await mary.asks(
    "/identify " + SECRET,
    "Usage: /identify {password} or /identify {nickname} {password}",
  );
  await mary.asks(`/IDENTIFY mary ann ${SECRET}`, welcomeReply("mary ann"));
  await mary.leave();
  const again = await house.enter("Bob", "red");
  await again.asks(`/identify "Mary Ann" ${SECRET}`, "Nickname is: Mary Ann");
  await again.asks("/ls", "Mary Ann");
  await again.asks(`/identify ${SECRET}`, "You are signed in as Mary Ann.");
});

Deno.test("/identify for a nickname that is online is refused with one line", async () => {
  using kv = await Deno.openKv(":memory:");
  await using houses = await openTwo(kv);
  await register(houses.one, "Ann");
  const ann = await houses.one.connect();
  await ann.asks(`/identify Ann ${SECRET}`, welcomeReply("Ann"));
  const again = await houses.other.connect();
  await again.asks("Ann", takenReply("Ann"));
  await again.asks(
    `/identify Ann ${SECRET}`,
    'You are already connected as "Ann" elsewhere. Close that tab or device first.',
  );
  await ann.leave();
  await eventually(
    async () => typeof (await kv.get(["nick", "ann"])).value === "object",
    "the claim is kept",
  );
  await again.asks(`/identify Ann ${SECRET}`, welcomeReply("Ann"));
});

Deno.test("exactly one of a hundred concurrent clients takes and registers a nickname", async () => {
  using kv = await Deno.openKv(":memory:");
  await using houses = await openTwo(kv);
  const people = await Promise.all(
    Array.from({ length: 100 }, (_, i) => Speaker.connect(i % 2 === 0 ? houses.one : houses.other)),
  );
  const outcomes = await Promise.all(people.map(async (speaker, i) => {
    const { type } = await speaker.asks({ type: "login", nick: i % 3 === 0 ? "Ann" : "Аnn" });
    const { type: done } = await speaker.asks({ type: "register", password: `${SECRET}${i}` });
    return [type, done];
  }));
  assertEquals(outcomes.filter(([type, done]) => type === "welcome" && done === "ok").length, 1);
  assertEquals(outcomes.filter(([type, done]) => type === "error" && done === "error").length, 99);
  assertEquals((await valuesOf(kv, "account")).size, 1);
});

Deno.test("of two concurrent registrations by one client the second is refused", async () => {
  await using house = await House.open();
  const ann = await Speaker.enter(house, "Ann");
  ann.say({ type: "register", password: SECRET, ref: 1 }, {
    type: "register",
    password: "another-one",
    ref: 2,
  });
  await ann.hears({ type: "ok", ref: 1 }, { type: "error", ref: 2, code: "already-registered" });
  await ann.isRefused({ type: "identify", nick: "Ann", password: "another-one" }, "wrong-password");
  await ann.asks({ type: "identify", nick: "Ann", password: SECRET });
});

Deno.test("/password and /unregister need the password", async () => {
  await using house = await House.open();
  const ann = await house.enter("Ann");
  const none = "You are not signed in to a registered nickname.";
  await ann.asks(`/password ${SECRET} battery-staple`, none);
  await ann.asks(`/unregister ${SECRET}`, none);
  await ann.asks(`/identify ${SECRET}`, '"Ann" is not registered.');
  await ann.asks(`/register ${SECRET}`, ownedReply("Ann"));
  await ann.asks("/password wrong-horse battery-staple", "Wrong password.");
  await ann.asks(`/password ${SECRET} short`, "Passwords need at least 8 characters.");
  await ann.asks(`/password ${SECRET} battery-staple`, "Password changed.");
  await ann.asks("/nick Bob", "Nickname is: Bob");
  await ann.asks(`/identify Ann ${SECRET}`, "Wrong password.");
  await ann.asks("/identify Ann battery-staple", "Nickname is: Ann");
  await ann.asks(`/unregister ${SECRET}`, "Wrong password.");
  await ann.asks("/unregister battery-staple", '"Ann" is no longer registered.');
  // The nickname stays taken as long as its client is online with it.
  const bob = await house.enter("Bob");
  await bob.asks("/nick Ann", takenReply("Ann"));
  await ann.asks("/nick Cy", "Nickname is: Cy");
  await bob.asks("/nick Ann", "Nickname is: Ann");
  assertEquals((await valuesOf(house.kv, "account")).size, 0);
});

Deno.test("the claims that a killed instance held go back to the registration", async () => {
  using kv = await Deno.openKv(":memory:");
  {
    const dead = await House.open({ kv, grace: 0 });
    const ann = await dead.enter("сосо");
    await ann.asks(`/register ${SECRET}`, ownedReply("сосо"));
    // As after a kill: the rows are copied before the shutdown and restored after it.
    const rows: Deno.KvEntry<unknown>[] = [];
    for await (const entry of kv.list({ prefix: [] })) rows.push(entry);
    await dead[Symbol.asyncDispose]();
    for (const { key, value } of rows) await kv.set(key, value);
  }
  await using house = await House.open({ kv, grace: 0 });
  assertEquals(await valuesOf(kv, "instance_row").then((rows) => rows.size), 0);
  const eve = await house.connect();
  await eve.asks("сосо", registeredReply("сосо"));
  await eve.asks("coco", alikeReply("coco"));
  await eve.asks(`/identify сосо ${SECRET}`, welcomeReply("сосо"));
});

Deno.test("rows of an older version, without claims, are respected, taken over and cleaned up", async () => {
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
    await using house = await House.open({ kv, local: false });
    const eve = await house.connect();
    await eve.asks("Ann", takenReply("Ann"));
    await eve.asks("Аnn", alikeReply("Аnn"));
    const ivan = await Speaker.connect(house);
    const welcome = await ivan.asks({ type: "resume", token });
    assertEquals(welcome.nick, "Иван");
    await ivan.hears({ type: "resumed" });
    await eve.asks("ИВАН", takenReply("ИВАН"));
    await ivan.asks({ type: "register", password: SECRET });
    await ivan.person.leave();
    const gone = async () => typeof (await kv.get(["nick", "иван"])).value === "object";
    await eventually(gone, "the claim is kept");
    await eve.asks("ИВАН", registeredReply("ИВАН"));
  }
  await using house = await House.open({ kv, grace: 0 });
  assertEquals([...(await valuesOf(kv, "nick")).keys()], ["иван"]);
  await house.enter("Ann");
});

Deno.test("a registration expires when it is not used for its lifetime", async () => {
  const clock = new AdjustedClock({ stoppedAtMs: Date.now() });
  await using house = await House.open({ clock, registered: 100 * 86_400 });
  await register(house, "Ann");
  clock.advance(99 * 86_400_000);
  const ann = await house.connect();
  await ann.asks(`/identify Ann ${SECRET}`, welcomeReply("Ann"));
  await ann.leave();
  clock.advance(99 * 86_400_000);
  const eve = await house.connect();
  await eve.asks("Ann", registeredReply("Ann"));
  clock.advance(2 * 86_400_000);
  await eve.asks(`/identify ${SECRET}`, '"Ann" is not registered.');
  await eve.asks("Ann", welcomeReply("Ann"));
  await eve.asks("/register another-one", ownedReply("Ann"));
});

Deno.test("with registration off no nickname can be registered, and earlier registrations stay valid", async () => {
  using kv = await Deno.openKv(":memory:");
  {
    await using house = await House.open({ kv });
    await register(house, "Ann");
  }
  await using house = await House.open({ kv, registered: 0 });
  const bob = await house.enter("Bob");
  await bob.asks(`/register ${SECRET}`, "This server registers no nicknames.");
  await bob.asks("/nick Ann", registeredReply("Ann"));
  await bob.asks(`/identify ${SECRET}`, "Nickname is: Ann");
  await bob.asks("/nick Bob", "Nickname is: Bob");
  await bob.asks("/nick Ann", registeredReply("Ann"));
});

Deno.test("a nickname that was registered before it was reserved stays with its owner", async () => {
  using kv = await Deno.openKv(":memory:");
  {
    await using house = await House.open({ kv, reserved: [] });
    await register(house, "admin");
  }
  await using house = await House.open({ kv });
  const boss = await house.connect();
  await boss.asks(`/identify admin ${SECRET}`, welcomeReply("admin"));
  await boss.asks("/nick Admin", "Nickname is: Admin");
});

needs(
  "denokv",
  "lookalikes and registrations work on denokv, which allows ten checks in a commit",
  async () => {
    await using server = await DenoKv.start();
    const flags = ["--kv", server.url];
    await using one = await ServerProcess.start(flags, undefined, server.env);
    await using other = await ServerProcess.start(flags, undefined, server.env);
    const enter = async ({ url }: ServerProcess) =>
      new Speaker(await Person.connect(url, "chat.v1"));
    const ann = await enter(one);
    assertEquals((await ann.asks({ type: "login", nick: "ΙВ１०" })).type, "welcome");
    assertEquals((await ann.asks({ type: "register", password: SECRET })).type, "ok");
    const eve = await enter(other);
    for (const nick of ["ib10", "lblo"]) {
      await eve.isRefused(
        { type: "login", nick },
        "nickname-taken",
      );
    }
    assertEquals((await ann.asks({ type: "nick", nick: "Ann" })).type, "ok");
    await eve.isRefused({ type: "login", nick: "ib10" }, "nickname-taken");
    await eve.isRefused({ type: "login", nick: "ιВ１०" }, "nickname-registered");
    const identify = { type: "identify", nick: "ΙВ１०", password: SECRET };
    assertEquals((await eve.asks(identify)).type, "welcome");
    assertEquals((await eve.asks(identify)).type, "ok");
    assertEquals((await eve.asks({ type: "unregister", password: SECRET })).type, "ok");
    await eve.person.leave();
    await ann.person.leave();
  },
);

Deno.test("a registration that KV cannot store is refused, and leaves nothing behind", async () => {
  using kv = await Deno.openKv(":memory:");
  let away = false;
  const faulty = countingKv(kv, () => {
    if (away) throw new Error("away");
  });
  await using house = await House.open({ kv: faulty.kv });
  const ann = await Speaker.enter(house, "Ann");
  away = true;
  await ann.isRefused({ type: "register", password: SECRET }, "unavailable");
  away = false;
  await ann.asks({ type: "ping" });
  const { type } = await ann.asks({ type: "register", password: SECRET });
  assertEquals(type, "ok");
  const row = [...(await valuesOf(kv, "account")).values()][0] as { claims: string[] };
  assertEquals(row.claims, ["ann"]);
});
