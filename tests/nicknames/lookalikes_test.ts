/** Lookalikes: which nicknames clients may have at the same time, on all instances of one KV. */
import { assert, assertEquals } from "@std/assert";
import { Confusables } from "../../chat/nicknames/confusables.ts";
import { Speaker } from "../support/json_client.ts";
import { Random } from "../support/random.ts";
import {
  alikeReply,
  openTwo,
  registeredReply,
  SECRET,
  takenReply,
  valuesOf,
  welcomeReply,
} from "../support/registrations.ts";
import { eventually, House } from "../support/test_server.ts";

Deno.test("a lookalike of an online nickname is refused on every instance, in both orders", async () => {
  using kv = await Deno.openKv(":memory:");
  await using houses = await openTwo(kv);
  const ann = await houses.one.enter("Jenny");
  const eve = await houses.other.connect();
  await eve.asks("Јenny", alikeReply("Јenny"));
  await eve.asks("ЈЕΝΝΥ", alikeReply("ЈЕΝΝΥ"));
  await eve.asks("Evе", welcomeReply("Evе"));
  // The nickname with a Cyrillic letter also claims the ASCII nickname that it looks like.
  await ann.asks("/nick Eve", takenReply("Eve"));
  await ann.asks("/nick Εve", alikeReply("Εve"));
  await eve.asks("/nick Bob", "Nickname is: Bob");
  await ann.asks("/nick Eve", "Nickname is: Eve");
});

Deno.test("ASCII nicknames that look alike are different nicknames, as the contract requires", async () => {
  await using house = await House.open();
  for (const nick of ["l1", "11", "rn", "m", "O0", "00", "Ia", "la"]) await house.enter(nick);
  assertEquals(house.warnings, []);
});

Deno.test("a reserved nickname is refused with one line", async () => {
  await using house = await House.open();
  const eve = await house.connect();
  await eve.asks(
    "аdmin",
    '"аdmin" is reserved. Choose another nickname.',
  );
  await eve.asks("Eve", welcomeReply("Eve"));
  await eve.asks(
    "/nick Server",
    '"Server" is reserved. Choose another nickname.',
  );
});

Deno.test("fuzz: no two clients with confusable nicknames are online at the same time", async () => {
  const seed = Number(Deno.env.get("SEED") ?? 7);
  const random = new Random(seed);
  const confusables = new Confusables();
  // No ASCII letters that look like other ASCII letters: those may be online together.
  const letters = [
    ..."acepxyhkt",
    ..."асерхуһкт",
    ..."αϲεрχγнκτ",
    ..."АСЕРХУНКТ",
    ..."ａｃ𝐞ⅽ",
    ..."ACEPXYHKT",
  ];
  // The skeleton of the name; unless it is ASCII, also that of its lower-case form.
  const looks = (name: string) => {
    const folded = name.normalize("NFKC").toLowerCase();
    const shown = confusables.skeleton(name).toLowerCase();
    return new Set(/^[ -~]*$/.test(name) ? [shown] : [shown, `~${confusables.skeleton(folded)}`]);
  };
  using kv = await Deno.openKv(":memory:");
  await using houses = await openTwo(kv);
  const online = new Map<string, Speaker>();
  let refused = 0;
  for (let i = 0; i < 400; i++) {
    const house = random.percent(50) ? houses.one : houses.other;
    const nick = Array.from({ length: 2 }, () => random.pick(letters)).join("");
    const leaving = random.percent(30) ? [...online.keys()][0] : undefined;
    if (leaving !== undefined) {
      await online.get(leaving)!.person.leave();
      online.delete(leaving);
    }
    const speaker = await Speaker.connect(house);
    const { type, code } = await speaker.asks({ type: "login", nick });
    if (type === "welcome") online.set(nick, speaker);
    else {
      assertEquals(code, "nickname-taken", `seed ${seed}: ${nick}`);
      refused++;
      await speaker.person.leave();
    }
    for (const other of online.keys()) {
      if (other === nick || !online.has(nick)) continue;
      const same = [...looks(other)].filter((look) => looks(nick).has(look));
      assertEquals(same, [], `seed ${seed}: ${nick} and ${other} are both online`);
    }
  }
  assert(refused > 40 && online.size > 20, `${refused} refused, ${online.size} online`);
  for (const { person } of online.values()) await person.leave();
  await eventually(async () => (await valuesOf(kv, "nick")).size === 0, "all claims are gone");
});

Deno.test("exactly one of a hundred concurrent logins with lookalikes succeeds, over two instances", async () => {
  using kv = await Deno.openKv(":memory:");
  await using houses = await openTwo(kv);
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

Deno.test("claims of connections and registrations that do not exist are deleted", async () => {
  await using house = await House.open();
  const { kv } = house;
  // An older version of the program removed a connection, and knew only one of its claims.
  await kv.set(["nick", "coco"], "01GONE");
  await kv.set(["nick", "/coco"], "01GONE");
  await kv.set(["nick", "ann"], { kept: "ann" });
  const cy = await house.enter("сосо");
  await cy.asks("/nick Ann", "Nickname is: Ann");
  // Claims and registrations in an unknown form stay.
  await kv.set(["nick", "bob"], { v: 9 });
  await kv.set(["nick", "dora"], { kept: "dora" });
  await kv.set(["account", "dora"], { v: 9, secret: true });
  await cy.asks("/nick Bob", alikeReply("Bob"));
  await cy.asks("/nick Dora", registeredReply("Dora"));
  await cy.asks(`/identify ${SECRET}`, '"Dora" is not registered.');
});
