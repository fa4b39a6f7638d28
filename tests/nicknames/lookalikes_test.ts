/** Lookalikes: which nicknames clients may have at the same time, on all instances of one KV. */
import { assert, assertEquals } from "@std/assert";
import { Confusables } from "../../chat/nicknames/confusables.ts";
import { JsonClient } from "../support/json_client.ts";
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
import { TestServer } from "../support/test_server.ts";
import { eventually } from "../support/wait.ts";

Deno.test("a lookalike of an online nickname is refused on every instance, in both orders", async () => {
  using kv = await Deno.openKv(":memory:");
  await using houses = await openTwo(kv);
  const ann = await houses.one.login("Jenny");
  const eve = await houses.other.connect();
  await eve.request("Јenny", alikeReply("Јenny"));
  await eve.request("ЈЕΝΝΥ", alikeReply("ЈЕΝΝΥ"));
  await eve.request("Evе", welcomeReply("Evе"));
  // The nickname with a Cyrillic letter also claims the ASCII nickname that it looks like.
  await ann.request("/nick Eve", takenReply("Eve"));
  await ann.request("/nick Εve", alikeReply("Εve"));
  await eve.request("/nick Bob", "Nickname is: Bob");
  await ann.request("/nick Eve", "Nickname is: Eve");
});

Deno.test("ASCII nicknames that look alike are different nicknames, as the contract requires", async () => {
  await using server = await TestServer.open();
  for (const nick of ["l1", "11", "rn", "m", "O0", "00", "Ia", "la"]) await server.login(nick);
  assertEquals(server.warnings, []);
});

Deno.test("a reserved nickname is refused with one line", async () => {
  await using server = await TestServer.open();
  const eve = await server.connect();
  await eve.request(
    "аdmin",
    '"аdmin" is reserved. Choose another nickname.',
  );
  await eve.request("Eve", welcomeReply("Eve"));
  await eve.request(
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
  const online = new Map<string, JsonClient>();
  let refused = 0;
  for (let i = 0; i < 400; i++) {
    const server = random.percent(50) ? houses.one : houses.other;
    const nick = Array.from({ length: 2 }, () => random.pick(letters)).join("");
    const leaving = random.percent(30) ? [...online.keys()][0] : undefined;
    if (leaving !== undefined) {
      await online.get(leaving)!.connection.disconnect();
      online.delete(leaving);
    }
    const client = await JsonClient.connect(server);
    const { type, code } = await client.request({ type: "login", nick });
    if (type === "welcome") online.set(nick, client);
    else {
      assertEquals(code, "nickname-taken", `seed ${seed}: ${nick}`);
      refused++;
      await client.connection.disconnect();
    }
    for (const other of online.keys()) {
      if (other === nick || !online.has(nick)) continue;
      const same = [...looks(other)].filter((look) => looks(nick).has(look));
      assertEquals(same, [], `seed ${seed}: ${nick} and ${other} are both online`);
    }
  }
  assert(refused > 40 && online.size > 20, `${refused} refused, ${online.size} online`);
  for (const { connection: client } of online.values()) await client.disconnect();
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
    const client = await JsonClient.connect(i % 2 === 0 ? houses.one : houses.other);
    return { speaker: client, nick: spellings[i % spellings.length]! };
  }));
  const replies = await Promise.all(
    people.map(({ speaker: client, nick }) => client.request({ type: "login", nick })),
  );
  assertEquals(replies.filter(({ type }) => type === "welcome").length, 1);
  assertEquals(replies.filter(({ code }) => code === "nickname-taken").length, 99);
});

Deno.test("claims of connections and registrations that do not exist are deleted", async () => {
  await using server = await TestServer.open();
  const { kv } = server;
  // An older version of the program removed a connection, and knew only one of its claims.
  await kv.set(["nick", "coco"], "01GONE");
  await kv.set(["nick", "/coco"], "01GONE");
  await kv.set(["nick", "ann"], { kept: "ann" });
  const cy = await server.login("сосо");
  await cy.request("/nick Ann", "Nickname is: Ann");
  // Claims and registrations in an unknown form stay.
  await kv.set(["nick", "bob"], { v: 9 });
  await kv.set(["nick", "dora"], { kept: "dora" });
  await kv.set(["account", "dora"], { v: 9, secret: true });
  await cy.request("/nick Bob", alikeReply("Bob"));
  await cy.request("/nick Dora", registeredReply("Dora"));
  await cy.request(`/identify ${SECRET}`, '"Dora" is not registered.');
});
