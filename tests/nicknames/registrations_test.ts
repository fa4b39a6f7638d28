/** Nicknames that are one person's: by their looks, and by registration, over instances and days. */
import { assert, assertEquals } from "@std/assert";
import {
  RATE_PER_ADDRESS,
  RATE_PER_NICKNAME,
  RIGHT_PASSWORD_REFUND,
} from "../../chat/nicknames/registrations.ts";
import type { RateLimitSettings } from "../../chat/base/limits.ts";
import { Confusables } from "../../chat/nicknames/confusables.ts";
import {
  countingKv,
  DenoKv,
  eventually,
  House,
  needs,
  Person,
  ServerProcess,
} from "../support/test_server.ts";
import { AdjustedClock } from "../support/fake_clock.ts";
import { Random } from "../support/random.ts";
import { Speaker } from "../support/json_client.ts";
import { hashToken, newToken } from "../../chat/base/tokens.ts";

const SECRET = "correct-horse";

const HOW_TO = (nick: string) =>
  `The nickname "${nick}" is registered. If it is yours, type /identify {password}; ` +
  "if not, choose another one.";

const YOURS = (nick: string) =>
  `The nickname "${nick}" is yours. To use it another time, type it, and then ` +
  "/identify {password}.";

const WELCOME = (nick: string) => `Using nickname: ${nick}\nType /help for list of commands.`;

/** Two instances on one KV. */
async function two(kv: Deno.Kv, options: Parameters<typeof House.open>[0] = {}) {
  const one = await House.open({ kv, local: false, ...options });
  const other = await House.open({ kv, local: false, ...options });
  return {
    one,
    other,
    async [Symbol.asyncDispose]() {
      await other[Symbol.asyncDispose]();
      await one[Symbol.asyncDispose]();
    },
  };
}

/** Somebody has registered a nickname, and has gone. */
async function registered(house: House, nick: string, password = SECRET): Promise<void> {
  const person = await house.enter(nick);
  await person.asks(`/register ${password}`, YOURS(nick));
  await person.leave();
  await eventually(async () => {
    const holder = (await house.kv.get(["nick", nick.toLowerCase()])).value;
    return typeof holder === "object";
  }, `${nick} has gone`);
}

async function valuesOf(kv: Deno.Kv, ...prefix: Deno.KvKey): Promise<Map<string, unknown>> {
  const values = new Map<string, unknown>();
  for await (const { key, value } of kv.list({ prefix })) values.set(String(key[1]), value);
  return values;
}

Deno.test("a lookalike of somebody online is refused, on another instance, too, whoever came first", async () => {
  using kv = await Deno.openKv(":memory:");
  await using houses = await two(kv);
  const ann = await houses.one.enter("Jenny");
  const eve = await houses.other.connect();
  const refused = (nick: string) =>
    `The nickname "${nick}" looks like one that is taken. Please choose another one.`;
  await eve.asks("Јenny", refused("Јenny"));
  await eve.asks("ЈЕΝΝΥ", refused("ЈЕΝΝΥ"));
  await eve.asks("Evе", WELCOME("Evе"));
  // Hers has a Cyrillic letter, and now nobody can be the Eve that she looks like.
  await ann.asks("/nick Eve", 'The nickname "Eve" is taken. Please choose another one.');
  await ann.asks("/nick Εve", refused("Εve"));
  await eve.asks("/nick Bob", "Nickname is: Bob");
  await ann.asks("/nick Eve", "Nickname is: Eve");
});

Deno.test("plain ASCII names that look alike are two people, as the contract has it", async () => {
  await using house = await House.open();
  for (const nick of ["l1", "11", "rn", "m", "O0", "00", "Ia", "la"]) await house.enter(nick);
  assertEquals(house.warnings, []);
});

Deno.test("reserved names are refused with one line", async () => {
  await using house = await House.open();
  const eve = await house.connect();
  const type = "Type the nickname that you want to use.";
  await eve.asks(
    "аdmin",
    `The nickname "аdmin" is reserved. Please choose another one. ${type}`,
  );
  await eve.asks("Eve", WELCOME("Eve"));
  await eve.asks(
    "/nick Server",
    'The nickname "Server" is reserved. Please choose another one.',
  );
});

Deno.test("fuzz: no two people with confusable names are in one chat, whatever order they come in", async () => {
  const seed = Number(Deno.env.get("SEED") ?? 7);
  const random = new Random(seed);
  const likeness = new Confusables();
  // ASCII that is like other ASCII is left out: that is allowed to stand beside each other.
  const letters = [
    ..."acepxyhkt",
    ..."асерхуһкт",
    ..."αϲεрχγнκτ",
    ..."АСЕРХУНКТ",
    ..."ａｃ𝐞ⅽ",
    ..."ACEPXYHKT",
  ];
  // How it is shown; and, where it is not ASCII, how it would be in small letters.
  const looks = (name: string) => {
    const folded = name.normalize("NFKC").toLowerCase();
    const shown = likeness.skeleton(name).toLowerCase();
    return new Set(/^[ -~]*$/.test(name) ? [shown] : [shown, `~${likeness.skeleton(folded)}`]);
  };
  using kv = await Deno.openKv(":memory:");
  await using houses = await two(kv);
  const here = new Map<string, Speaker>();
  let refused = 0;
  for (let i = 0; i < 400; i++) {
    const house = random.percent(50) ? houses.one : houses.other;
    const nick = Array.from({ length: 2 }, () => random.pick(letters)).join("");
    const leaving = random.percent(30) ? [...here.keys()][0] : undefined;
    if (leaving !== undefined) {
      await here.get(leaving)!.person.leave();
      here.delete(leaving);
    }
    const speaker = await Speaker.connect(house);
    const { type, code } = await speaker.asks({ type: "login", nick });
    if (type === "welcome") here.set(nick, speaker);
    else {
      assertEquals(code, "nickname-taken", `seed ${seed}: ${nick}`);
      refused++;
      await speaker.person.leave();
    }
    for (const other of here.keys()) {
      if (other === nick || !here.has(nick)) continue;
      const same = [...looks(other)].filter((look) => looks(nick).has(look));
      assertEquals(same, [], `seed ${seed}: ${nick} and ${other} are both here`);
    }
  }
  assert(refused > 40 && here.size > 20, `${refused} refused, ${here.size} here`);
  for (const { person } of here.values()) await person.leave();
  await eventually(async () => (await valuesOf(kv, "nick")).size === 0, "all claims are gone");
});

Deno.test("of a hundred lookalikes that come at once to two instances exactly one is let in", async () => {
  using kv = await Deno.openKv(":memory:");
  await using houses = await two(kv);
  const spellings = [
    "coco",
    "сосо",
    "COCO",
    "сoco",
    "coсo",
    "ｃｏｃｏ",
    "сосO",
    "ⅽoⅽo",
    "COСO",
    "ϲoϲo",
  ];
  const people = await Promise.all(Array.from({ length: 100 }, async (_, i) => {
    const speaker = await Speaker.connect(i % 2 === 0 ? houses.one : houses.other);
    return { speaker, nick: spellings[i % spellings.length]! };
  }));
  const replies = await Promise.all(
    people.map(({ speaker, nick }) => speaker.asks({ type: "login", nick })),
  );
  assertEquals(replies.filter(({ type }) => type === "welcome").length, 1);
  assertEquals(replies.filter(({ code }) => code === "nickname-taken").length, 99);
});

Deno.test("a registered nickname is let in only by its password, another day and on another instance", async () => {
  using kv = await Deno.openKv(":memory:");
  {
    await using house = await House.open({ kv });
    await registered(house, "Ann");
  }
  await using house = await House.open({ kv });
  const ann = await house.connect();
  await ann.asks("Ann", HOW_TO("Ann"));
  await ann.asks("ANN", HOW_TO("ANN"));
  await ann.asks("/identify wrong-horse", "The password is wrong.");
  await ann.asks("/identify " + SECRET, WELCOME("ANN"));
  await ann.asks("/identify " + SECRET, "You are identified as ANN.");
  await ann.asks("/nick Ann", "Nickname is: Ann");
});

Deno.test("lookalikes of a registered nickname are refused while its owner is away, and its own are registered, too", async () => {
  await using house = await House.open();
  await registered(house, "Ann");
  await registered(house, "сосо");
  const eve = await house.enter("Eve");
  const refused = (nick: string) =>
    `The nickname "${nick}" looks like one that is taken. Please choose another one.`;
  await eve.asks("/nick Аnn", refused("Аnn"));
  await eve.asks("/nick coco", refused("coco"));
  await eve.asks("/nick СОСО", HOW_TO("СОСО"));
  // Not even the owner of one nickname can leave it for one that looks like it.
  await eve.asks(`/identify Ann ${SECRET}`, "Nickname is: Ann");
  await eve.asks("/nick Аnn", refused("Аnn"));
  await eve.asks("/nick Eve", "Nickname is: Eve");
  await eve.asks("/nick Аnn", refused("Аnn"));
});

Deno.test("identifying works before the login, by name, with spaces in it, and from another nickname", async () => {
  await using house = await House.open();
  await registered(house, "Mary Ann");
  const mary = await house.connect();
  await mary.asks("/identify", "Type /identify {password}, or /identify {nickname} {password}.");
  await mary.asks(
    "/identify " + SECRET,
    "Type /identify {password}, or /identify {nickname} {password}.",
  );
  await mary.asks(`/IDENTIFY mary ann ${SECRET}`, WELCOME("mary ann"));
  await mary.leave();
  const again = await house.enter("Bob", "red");
  await again.asks(`/identify "Mary Ann" ${SECRET}`, "Nickname is: Mary Ann");
  await again.asks("/ls", "Mary Ann");
  await again.asks(`/identify ${SECRET}`, "You are identified as Mary Ann.");
});

Deno.test("who is online with a nickname keeps it: a second connection of the owner is told so", async () => {
  using kv = await Deno.openKv(":memory:");
  await using houses = await two(kv);
  await registered(houses.one, "Ann");
  const ann = await houses.one.connect();
  await ann.asks(`/identify Ann ${SECRET}`, WELCOME("Ann"));
  const again = await houses.other.connect();
  await again.asks("Ann", 'The nickname "Ann" is taken. Please choose another one.');
  await again.asks(
    `/identify Ann ${SECRET}`,
    '"Ann" is online over another connection. Close that one first.',
  );
  await ann.leave();
  await eventually(
    async () => typeof (await kv.get(["nick", "ann"])).value === "object",
    "she left",
  );
  await again.asks(`/identify Ann ${SECRET}`, WELCOME("Ann"));
});

Deno.test("of a hundred who want to have a nickname and register it exactly one does", async () => {
  using kv = await Deno.openKv(":memory:");
  await using houses = await two(kv);
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

Deno.test("what the owner asks for twice at once is done once, and registering again is refused", async () => {
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

Deno.test("the password can be changed by whoever knows it, and the registration dropped", async () => {
  await using house = await House.open();
  const ann = await house.enter("Ann");
  const none = "Your nickname is not registered, or not by you.";
  await ann.asks(`/password ${SECRET} battery-staple`, none);
  await ann.asks(`/unregister ${SECRET}`, none);
  await ann.asks(`/identify ${SECRET}`, 'The nickname "Ann" is not registered.');
  await ann.asks(`/register ${SECRET}`, YOURS("Ann"));
  await ann.asks("/password wrong-horse battery-staple", "The password is wrong.");
  await ann.asks(`/password ${SECRET} short`, "A password must have at least 8 characters.");
  await ann.asks(`/password ${SECRET} battery-staple`, "The password is changed.");
  await ann.asks("/nick Bob", "Nickname is: Bob");
  await ann.asks(`/identify Ann ${SECRET}`, "The password is wrong.");
  await ann.asks("/identify Ann battery-staple", "Nickname is: Ann");
  await ann.asks(`/unregister ${SECRET}`, "The password is wrong.");
  await ann.asks("/unregister battery-staple", 'The nickname "Ann" is not registered any more.');
  // It is hers as long as she is online, and anybody's after that.
  const bob = await house.enter("Bob");
  await bob.asks("/nick Ann", 'The nickname "Ann" is taken. Please choose another one.');
  await ann.asks("/nick Cy", "Nickname is: Cy");
  await bob.asks("/nick Ann", "Nickname is: Ann");
  assertEquals((await valuesOf(house.kv, "account")).size, 0);
});

Deno.test("whoever comes back by a token needs no password, and the nickname stays registered", async () => {
  using kv = await Deno.openKv(":memory:");
  await using houses = await two(kv);
  const ann = await Speaker.enter(houses.one, "сосо", "red");
  await ann.asks({ type: "register", password: SECRET });
  const token = tokenOf(ann);
  const back = await Speaker.connect(houses.other);
  const welcome = await back.hearsUntilAnswer({ type: "resume", token });
  assertEquals([welcome.at(-1)!.nick, welcome.at(-1)!.registered], ["сосо", true]);
  assertEquals((await ann.person.closed).code, 4001);
  await back.hears({ type: "joined" }, { type: "resumed" });
  await back.asks({ type: "password", password: SECRET, new: "battery-staple" });
  await back.person.leave();
  await eventually(
    async () => typeof (await kv.get(["nick", "сосо"])).value === "object",
    "she left",
  );
  const eve = await Speaker.connect(houses.one);
  await eve.isRefused({ type: "login", nick: "сосо" }, "nickname-registered");
  await eve.isRefused({ type: "login", nick: "coco" }, "nickname-taken");
});

/** The token of somebody's welcome. */
function tokenOf({ person }: Speaker): string {
  const lines = person.transcript.map((line) => JSON.parse(line));
  return lines.find(({ type }) => type === "welcome").token;
}

Deno.test("what a killed instance leaves of a registered nickname is kept for its owner", async () => {
  using kv = await Deno.openKv(":memory:");
  {
    const dead = await House.open({ kv, grace: 0 });
    const ann = await dead.enter("сосо");
    await ann.asks(`/register ${SECRET}`, YOURS("сосо"));
    // As it would stand there after a kill: taken before the peaceful end, put back after it.
    const rows: Deno.KvEntry<unknown>[] = [];
    for await (const entry of kv.list({ prefix: [] })) rows.push(entry);
    await dead[Symbol.asyncDispose]();
    for (const { key, value } of rows) await kv.set(key, value);
  }
  await using house = await House.open({ kv, grace: 0 });
  assertEquals(await valuesOf(kv, "instance_row").then((rows) => rows.size), 0);
  const eve = await house.connect();
  await eve.asks("сосо", HOW_TO("сосо"));
  await eve.asks(
    "coco",
    'The nickname "coco" looks like one that is taken. Please choose another one.',
  );
  await eve.asks(`/identify сосо ${SECRET}`, WELCOME("сосо"));
});

Deno.test("rows of an older version, which say nothing of claims, are kept, taken over and swept", async () => {
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
    await eve.asks("Ann", 'The nickname "Ann" is taken. Please choose another one.');
    await eve.asks(
      "Аnn",
      'The nickname "Аnn" looks like one that is taken. Please choose another one.',
    );
    const ivan = await Speaker.connect(house);
    const welcome = await ivan.asks({ type: "resume", token });
    assertEquals(welcome.nick, "Иван");
    await ivan.hears({ type: "resumed" });
    await eve.asks("ИВАН", 'The nickname "ИВАН" is taken. Please choose another one.');
    await ivan.asks({ type: "register", password: SECRET });
    await ivan.person.leave();
    const gone = async () => typeof (await kv.get(["nick", "иван"])).value === "object";
    await eventually(gone, "he left");
    await eve.asks("ИВАН", HOW_TO("ИВАН"));
  }
  await using house = await House.open({ kv, grace: 0 });
  assertEquals([...(await valuesOf(kv, "nick")).keys()], ["иван"]);
  await house.enter("Ann");
});

Deno.test("claims that nobody can have are freed: of connections and registrations that are not there", async () => {
  await using house = await House.open();
  const { kv } = house;
  // An older version swept the rows of somebody, and knew of one claim only.
  await kv.set(["nick", "coco"], "01GONE");
  await kv.set(["nick", "/coco"], "01GONE");
  await kv.set(["nick", "ann"], { kept: "ann" });
  const cy = await house.enter("сосо");
  await cy.asks("/nick Ann", "Nickname is: Ann");
  // But not those that this version does not understand.
  await kv.set(["nick", "bob"], { v: 9 });
  await kv.set(["nick", "dora"], { kept: "dora" });
  await kv.set(["account", "dora"], { v: 9, secret: true });
  await cy.asks(
    "/nick Bob",
    'The nickname "Bob" looks like one that is taken. Please choose another one.',
  );
  await cy.asks("/nick Dora", HOW_TO("Dora"));
  await cy.asks(`/identify ${SECRET}`, 'The nickname "Dora" is not registered.');
});

Deno.test("a registration that nobody uses ends after its time, one that is used does not", async () => {
  const clock = new AdjustedClock({ stoppedAtMs: Date.now() });
  await using house = await House.open({ clock, registered: 100 * 86_400 });
  await registered(house, "Ann");
  clock.advance(99 * 86_400_000);
  const ann = await house.connect();
  await ann.asks(`/identify Ann ${SECRET}`, WELCOME("Ann"));
  await ann.leave();
  clock.advance(99 * 86_400_000);
  const eve = await house.connect();
  await eve.asks("Ann", HOW_TO("Ann"));
  clock.advance(2 * 86_400_000);
  await eve.asks(`/identify ${SECRET}`, 'The nickname "Ann" is not registered.');
  await eve.asks("Ann", WELCOME("Ann"));
  await eve.asks("/register another-one", YOURS("Ann"));
});

Deno.test("where registration is off nothing is registered, and what was is still its owner's", async () => {
  using kv = await Deno.openKv(":memory:");
  {
    await using house = await House.open({ kv });
    await registered(house, "Ann");
  }
  await using house = await House.open({ kv, registered: 0 });
  const bob = await house.enter("Bob");
  await bob.asks(`/register ${SECRET}`, "Nicknames cannot be registered here.");
  await bob.asks("/nick Ann", HOW_TO("Ann"));
  await bob.asks(`/identify ${SECRET}`, "Nickname is: Ann");
  await bob.asks("/nick Bob", "Nickname is: Bob");
  await bob.asks("/nick Ann", HOW_TO("Ann"));
});

Deno.test("a reserved name that was registered before is its owner's", async () => {
  using kv = await Deno.openKv(":memory:");
  {
    await using house = await House.open({ kv, reserved: [] });
    await registered(house, "admin");
  }
  await using house = await House.open({ kv });
  const boss = await house.connect();
  await boss.asks(`/identify admin ${SECRET}`, WELCOME("admin"));
  await boss.asks("/nick Admin", "Nickname is: Admin");
});

Deno.test("so many wrong passwords may be tried for a nickname on all instances, and not one more; then the right one, too, has to wait", async () => {
  const clock = new AdjustedClock({ stoppedAtMs: Date.now() });
  using kv = await Deno.openKv(":memory:");
  await using houses = await two(kv, { clock });
  await registered(houses.one, "Ann");
  const people = await Promise.all(
    Array.from({ length: 40 }, (_, i) => Speaker.connect(i % 2 === 0 ? houses.one : houses.other)),
  );
  const guess = (speaker: Speaker, password: string) =>
    speaker.asks({ type: "identify", nick: "Ann", password });
  const codes = await Promise.all(
    people.map(async (speaker, i) => (await guess(speaker, `wrong-horse-${i}`)).code),
  );
  const wrong = codes.filter((code) => code === "wrong-password").length;
  assert(wrong > 0 && wrong <= RATE_PER_NICKNAME.burst, `${wrong} guesses were made`);
  assert(codes.every((code) => code === "wrong-password" || code === "too-many-attempts"));
  clock.advance(RATE_PER_NICKNAME.burst * RATE_PER_NICKNAME.every);
  const [ann, bob] = people as [Speaker, Speaker];
  for (let i = 0; i < RATE_PER_NICKNAME.burst; i++) {
    assertEquals((await guess(people[2 + i]!, "wrong-horse")).code, "wrong-password");
  }
  const { code, message } = await guess(ann, SECRET);
  assertEquals([code, message], [
    "too-many-attempts",
    "Too many passwords were tried. Please wait 60 s.",
  ]);
  clock.advance(RATE_PER_NICKNAME.every);
  assertEquals((await guess(ann, SECRET)).type, "welcome");
  // The right one wipes the slate.
  assertEquals((await valuesOf(kv, "attempts")).size, 0);
  assertEquals((await guess(bob, "wrong-horse")).code, "wrong-password");
});

Deno.test("so many passwords may be tried from one address, for whichever nicknames", async () => {
  const clock = new AdjustedClock({ stoppedAtMs: Date.now() });
  await using house = await House.open({ clock, trustProxy: ["private"] });
  const from = async (address: string) => {
    const headers = { "X-Forwarded-For": address };
    return new Speaker(await house.connect("", { protocols: ["chat.v1"], headers }));
  };
  const eve = await from("198.51.100.1");
  const guess = (i: number) => ({ type: "identify", nick: `Ann ${i}`, password: SECRET });
  for (let i = 0; i < RATE_PER_ADDRESS.burst; i++) await eve.isRefused(guess(i), "not-registered");
  await eve.isRefused(guess(99), "too-many-attempts");
  clock.advance(RATE_PER_ADDRESS.every);
  await eve.isRefused(guess(99), "not-registered");
  await eve.isRefused(guess(99), "too-many-attempts");
  const mallory = await from("198.51.100.1");
  await mallory.isRefused(guess(98), "too-many-attempts");
  // What is no password at all costs nothing, and others are not kept waiting.
  await eve.isRefused({ ...guess(1), password: "two words" }, "bad-password");
  const bob = await from("198.51.100.2");
  await bob.isRefused(guess(1), "not-registered");
  assertEquals((await valuesOf(house.kv, "attempts")).size, 0);
});

Deno.test("a changed password ends the tokens before it, in both protocols, and gives a new one", async () => {
  await using house = await House.open();
  const resume = async (token: string) => {
    const speaker = await Speaker.connect(house);
    return await speaker.asks({ type: "resume", token });
  };
  const ann = await Speaker.connect(house);
  const { token: old } = await ann.asks({ type: "login", nick: "Ann" });
  await ann.asks({ type: "register", password: SECRET });
  const other = "another-horse";
  // A wrong password changes nothing.
  await ann.isRefused({ type: "password", password: other, new: other }, "wrong-password");
  const changed = await ann.asks({ type: "password", password: SECRET, new: other });
  assertEquals([changed.type, typeof changed.token], ["ok", "string"]);
  assertEquals((await resume(old)).code, "bad-token");
  assertEquals((await ann.asks({ type: "ping" })).type, "pong");
  assertEquals((await resume(changed.token)).type, "welcome");

  const bob = await house.connect("?resume=");
  await bob.asks("Bob", "Using nickname: Bob\nType /help for list of commands.");
  const how = /\?resume=([\w-]+)/;
  const [, first] = how.exec(await bob.next())!;
  await bob.asks(`/register ${SECRET}`, YOURS("Bob"));
  await bob.asks(`/password ${SECRET} ${other}`, "The password is changed.");
  const [, second] = how.exec(await bob.next())!;
  assertEquals((await resume(first!)).code, "bad-token");
  assertEquals((await resume(second!)).type, "welcome");
});

Deno.test("right passwords are counted, too, at a quarter of a wrong one", async () => {
  const clock = new AdjustedClock({ stoppedAtMs: Date.now() });
  await using house = await House.open({ flood: { nicks: "off" }, clock, trustProxy: ["private"] });
  const headers = { "X-Forwarded-For": "198.51.100.1" };
  const ann = new Speaker(await house.connect("", { protocols: ["chat.v1"], headers }));
  await ann.asks({ type: "login", nick: "Ann" });
  await ann.asks({ type: "register", password: SECRET });
  clock.advance(RATE_PER_ADDRESS.every);
  const change = { type: "password", password: SECRET, new: SECRET };
  const most = Math.floor((RATE_PER_ADDRESS.burst - 1) / (1 - RIGHT_PASSWORD_REFUND)) + 1;
  for (let i = 0; i < most; i++) assertEquals((await ann.asks(change)).type, "ok", `${i}`);
  await ann.isRefused(change, "too-many-attempts");
  // Others are not kept waiting.
  const bob = await Speaker.enter(house, "Bob");
  await bob.isRefused({ type: "identify", nick: "Ann", password: "wrong-horse" }, "wrong-password");
});

Deno.test("an address registers five nicknames in a day, on all instances together, and after a restart", async () => {
  const clock = new AdjustedClock({ stoppedAtMs: Date.now() });
  using kv = await Deno.openKv(":memory:");
  const options = { clock, trustProxy: ["private"], passwordRounds: 1 };
  const from = async (house: House, address: string, nick: string) => {
    const headers = { "X-Forwarded-For": address };
    const speaker = new Speaker(await house.connect("", { protocols: ["chat.v1"], headers }));
    assertEquals((await speaker.asks({ type: "login", nick })).type, "welcome");
    return speaker;
  };
  const register = { type: "register", password: SECRET };
  const passes = async (house: House, address: string, nick: string) =>
    assertEquals((await (await from(house, address, nick)).asks(register)).type, "ok", nick);
  {
    await using houses = await two(kv, options);
    for (let i = 0; i < 5; i++) {
      await passes(i % 2 === 0 ? houses.one : houses.other, "198.51.100.1", `Eve ${i}`);
    }
    for (const house of [houses.one, houses.other]) {
      const eve = await from(house, "198.51.100.1", house === houses.one ? "Mallory" : "Trudy");
      const { code, message, retryAfter } = await eve.asks(register);
      assertEquals([code, message, retryAfter], [
        "registration-limit",
        "Not done: too many nicknames were registered from your address. " +
        "Please try again in 5 hours.",
        4.8 * 3_600_000,
      ]);
      await eve.hearsNothingElse();
    }
    await passes(houses.one, "198.51.100.2", "Ann");
  }
  await using house = await House.open({ kv, ...options });
  const eve = await from(house, "198.51.100.1", "Mallory");
  await eve.isRefused(register, "registration-limit");
  clock.advance(4.8 * 3_600_000);
  assertEquals((await eve.asks(register)).type, "ok");
  await (await from(house, "198.51.100.1", "Trudy")).isRefused(register, "registration-limit");
  // Addresses themselves are not stored.
  const stored = [...(await valuesOf(kv, "registrations")).keys()];
  assertEquals(stored.length, 2);
  assert(stored.every((key) => /^[\w-]{43}$/.test(key)), stored.join());
});

Deno.test("registrations from this machine are counted only where that was set, and never with limits off", async () => {
  const registered = async (flood: RateLimitSettings | "off" | undefined) => {
    await using house = await House.open({ flood, passwordRounds: 1 });
    for (let i = 0; i < 7; i++) {
      const ann = await Speaker.enter(house, `Ann ${i}`);
      const { type, code } = await ann.asks({ type: "register", password: SECRET });
      if (type !== "ok") return [i, code];
    }
    return [7];
  };
  assertEquals(await registered(undefined), [7]);
  assertEquals(await registered("off"), [7]);
  assertEquals(await registered({ registrations: "off" }), [7]);
  assertEquals(await registered({ registrations: { many: 3, seconds: 86_400 } }), [
    3,
    "registration-limit",
  ]);
});

Deno.test("no password is ever seen: not by others, not in history, not in a log, not in KV", async () => {
  await using house = await House.open();
  const bob = await house.enter("Bob", "red");
  const ann = await house.enter("Ann", "red");
  await bob.hears("Ann joined room.");
  const words = ["pass-for-all-1", "pass-for-all-2", "pass-for-all-3"];
  await ann.asks(`/register ${words[0]}`, YOURS("Ann"));
  await ann.asks(
    `/register  ${words[0]}  extra`,
    "With which password? Type /register {password}; it is one word.",
  );
  const slipped = "Not sent: this looks like a password. A command starts with its /.";
  for (const blank of [" ", "\t", "   "]) await ann.asks(`${blank}/identify ${words[0]}`, slipped);
  await ann.asks(` /Register ${words[0]}`, slipped);
  await ann.asks(`/password ${words[0]} ${words[1]}`, "The password is changed.");
  await ann.asks(`/identify ${words[2]}`, "The password is wrong.");
  await ann.asks(`/unregistre ${words[1]}`, "Unknown command: unregistre");
  const speaker = await Speaker.enter(house, "Cy", "red");
  await bob.hears("Cy joined room.");
  await ann.hears("Cy joined room.");
  for (const type of ["register", "identify", "password", "unregister"]) {
    const { message } = await speaker.asks({
      type,
      password: { is: words[0] },
      nick: "Ann",
      new: words[1],
    });
    assert(!JSON.stringify(message).includes("pass-for"), message);
  }
  // A line with a blank before it is otherwise said, as it is.
  await ann.asks(" /registered mail", "Ann:  /registered mail");
  await bob.hears("Ann:  /registered mail");
  await bob.hearsNothingElse();
  bob.say("/history");
  assert((await bob.next()).includes("mail"));
  const seen = [
    ...bob.transcript,
    ...ann.transcript,
    ...speaker.person.transcript,
    ...house.warnings,
  ];
  for await (const { key, value } of house.kv.list({ prefix: [] })) {
    seen.push(
      JSON.stringify([key, value], (_, each) => typeof each === "bigint" ? `${each}` : each),
    );
  }
  for (const word of words) assert(!seen.join("\n").includes(word), word);
});

needs(
  "denokv",
  "on a real denokv, too, with its ten checks: lookalikes, registering, identifying",
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

Deno.test("storage that is away is told, and nothing is half registered", async () => {
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
