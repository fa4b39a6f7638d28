/** Commits at the limits of every name: many people at once, with the longest names that there can be. */
import { assertEquals } from "@std/assert";
import { Confusables } from "../../chat/nicknames/confusables.ts";
import { limitsFrom } from "../../chat/base/limits.ts";
import { OPTIONS } from "../../chat/base/options.ts";
import type { ChatOptions } from "../../chat/mod.ts";
import { nicknameFrom } from "../../chat/nicknames/names.ts";
import { compactingAfter } from "../support/fake_clock.ts";
import { Random } from "../support/random.ts";
import { DenoKv, testWithProgram } from "../support/processes.ts";
import { TestServer } from "../support/test_server.ts";
import type { TextClient } from "../support/text_client.ts";
import { eventually } from "../support/wait.ts";

/** A clock on which history is compacted soon, and not after a second. */
const quick = compactingAfter(50);

const PEOPLE = 60;

const LARGEST: Partial<ChatOptions> = {
  limits: { maxNicknameChars: OPTIONS["max-nickname"].max, maxRoomChars: OPTIONS["max-room"].max },
  rateLimits: "off",
  clock: quick,
};

/** Characters of one to four bytes; the first folds to eighteen, others have looks and readings. */
const LETTERS = ["ﷺ", "💚", "é", "Ω", "日", "а", "𝐀", "ß", "ﬃ", "x", "ع", "Ⅷ"];

/** Different nicknames, with claims as large as claims can be. */
function nicknames(random: Random, most: number): string[] {
  const likeness = new Confusables();
  const limits = limitsFrom(LARGEST.limits);
  const claimed = new Set<string>();
  const names: string[] = [];
  while (names.length < most) {
    const few = Array.from({ length: 1 + random.below(4) }, () => random.pick(LETTERS));
    const own = String.fromCodePoint(0x4e00 + names.length);
    // As long as it may be: one character after the other is left out.
    for (let length = OPTIONS["max-nickname"].max - 1; length > 0; length--) {
      const typed = own + Array.from({ length }, () => random.pick(few)).join("");
      const name = nicknameFrom(typed, limits);
      const claims = name.ok ? likeness.claims(name.name) : undefined;
      if (!name.ok || claims === undefined || claims.some((each) => claimed.has(each))) continue;
      claims.forEach((each) => claimed.add(each));
      names.push(name.name);
      break;
    }
  }
  return names;
}

/** All say something at once; each must get exactly this. */
async function allAsk(
  people: TextClient[],
  line: (i: number) => string,
  answer: (i: number) => string,
) {
  people.forEach((client, i) => client.send(line(i)));
  for (const [i, client] of people.entries()) await client.expect(answer(i));
}

/** Everything that can be done with names, by all at once. Nothing of it may fail. */
async function useLongNames(options: Partial<ChatOptions>, seed: number): Promise<void> {
  const random = new Random(seed);
  await using server = await TestServer.open({ ...LARGEST, ...options });
  const people = await Promise.all(Array.from({ length: PEOPLE }, () => server.connect()));
  const first = nicknames(random, PEOPLE), second = nicknames(new Random(seed + 1000), PEOPLE);
  const uses = (i: number) => `Using nickname: ${first[i]}\nType /help for list of commands.`;
  await allAsk(people, (i) => `guest${i}`, (i) => uses(i).replace(first[i]!, `guest${i}`));
  await allAsk(people, (i) => `/nick ${first[i]}`, (i) => `Nickname is: ${first[i]}`);
  // Rooms of their own: all of the longest names there can be, in one script each.
  const room = (i: number) =>
    String.fromCodePoint(0x4e00 + i) +
    ["💚", "é", "日"][i % 3]!.repeat(OPTIONS["max-room"].max - 1);
  await allAsk(people, (i) => `/join ${room(i)}`, (i) => `Joined chat room "${room(i)}"`);
  await allAsk(people, () => "hello", (i) => `${first[i]}: hello`);
  await allAsk(people, (i) => `/nick guest${i}`, (i) => `Nickname is: guest${i}`);
  await allAsk(people, (i) => `/nick ${second[i]}`, (i) => `Nickname is: ${second[i]}`);
  await allAsk(people, () => "hello again", (i) => `${second[i]}: hello again`);
  // All that happened in the rooms gets into history.
  const kept = async () => {
    let said = 0;
    for await (const { value } of server.kv.list<{ events: unknown[] }>({ prefix: ["log"] })) {
      said += value.events.length;
    }
    return said === 2 * PEOPLE;
  };
  await eventually(kept, "history holds everything that was said", 10_000);
  // One room for all.
  const shared = "💚".repeat(OPTIONS["max-room"].max);
  for (const client of people) client.send(`/join ${shared}`);
  const areIn = () =>
    people.every(({ received: transcript }) => transcript.includes(`Joined chat room "${shared}"`));
  await eventually(areIn, "all are in one room", 10_000);
  await server.disconnectAll();
  const gone = async () =>
    (await server.connectionKeys()).every(([first]) => /^(instance|beat)$/.test(String(first)));
  await eventually(gone, "nothing is left of those who have gone", 10_000);
  assertEquals(server.warnings, []);
}

Deno.test("the longest names, used by many at once, are no more than KV takes", async () => {
  for (let seed = 1; seed <= 3; seed++) await useLongNames({}, seed);
});

testWithProgram(
  "denokv",
  "the longest names, used by many at once, are no more than denokv takes",
  async () => {
    await using server = await DenoKv.start();
    Deno.env.set("DENO_KV_ACCESS_TOKEN", DenoKv.TOKEN);
    using kv = await Deno.openKv(server.url);
    await useLongNames({ kv, local: false }, 4);
  },
);
