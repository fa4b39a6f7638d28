/** Limits on passwords and registrations: per nickname, per address, over instances and restarts. */
import { assert, assertEquals } from "@std/assert";
import type { RateLimitSettings } from "../../chat/base/limits.ts";
import {
  RATE_PER_ADDRESS,
  RATE_PER_NICKNAME,
  RIGHT_PASSWORD_REFUND,
} from "../../chat/nicknames/registrations.ts";
import { AdjustedClock } from "../support/fake_clock.ts";
import { JsonClient } from "../support/json_client.ts";
import { openTwo, register, SECRET, valuesOf } from "../support/registrations.ts";
import { TestServer } from "../support/test_server.ts";

Deno.test("wrong passwords for one nickname are limited over all instances, and the right one waits, too", async () => {
  const clock = new AdjustedClock({ stoppedAtMs: Date.now() });
  using kv = await Deno.openKv(":memory:");
  await using houses = await openTwo(kv, { clock });
  await register(houses.one, "Ann");
  const people = await Promise.all(
    Array.from(
      { length: 40 },
      (_, i) => JsonClient.connect(i % 2 === 0 ? houses.one : houses.other),
    ),
  );
  const guess = (client: JsonClient, password: string) =>
    client.request({ type: "identify", nick: "Ann", password });
  const codes = await Promise.all(
    people.map(async (client, i) => (await guess(client, `wrong-horse-${i}`)).code),
  );
  const wrong = codes.filter((code) => code === "wrong-password").length;
  assert(wrong > 0 && wrong <= RATE_PER_NICKNAME.burst, `${wrong} guesses were made`);
  assert(codes.every((code) => code === "wrong-password" || code === "too-many-attempts"));
  clock.advance(RATE_PER_NICKNAME.ms);
  const [ann, bob] = people as [JsonClient, JsonClient];
  for (let i = 0; i < RATE_PER_NICKNAME.burst; i++) {
    assertEquals((await guess(people[2 + i]!, "wrong-horse")).code, "wrong-password");
  }
  const { code, message } = await guess(ann, SECRET);
  assertEquals([code, message], [
    "too-many-attempts",
    "Too many wrong passwords. Wait 60 seconds.",
  ]);
  clock.advance(RATE_PER_NICKNAME.ms / RATE_PER_NICKNAME.burst);
  assertEquals((await guess(ann, SECRET)).type, "welcome");
  // The right password fills the bucket again.
  assertEquals((await valuesOf(kv, "attempts")).size, 0);
  assertEquals((await guess(bob, "wrong-horse")).code, "wrong-password");
});

Deno.test("passwords from one address are limited over all nicknames", async () => {
  const clock = new AdjustedClock({ stoppedAtMs: Date.now() });
  await using server = await TestServer.open({ clock, trustProxy: ["private"] });
  const from = async (address: string) => {
    const headers = { "X-Forwarded-For": address };
    return new JsonClient(await server.connect("", { protocols: ["chat.v1"], headers }));
  };
  const eve = await from("198.51.100.1");
  const guess = (i: number) => ({ type: "identify", nick: `Ann ${i}`, password: SECRET });
  for (let i = 0; i < RATE_PER_ADDRESS.burst; i++) {
    await eve.expectError(guess(i), "not-registered");
  }
  await eve.expectError(guess(99), "too-many-attempts");
  clock.advance(RATE_PER_ADDRESS.ms / RATE_PER_ADDRESS.burst);
  await eve.expectError(guess(99), "not-registered");
  await eve.expectError(guess(99), "too-many-attempts");
  const mallory = await from("198.51.100.1");
  await mallory.expectError(guess(98), "too-many-attempts");
  // An unusable password costs no attempt, and other addresses do not wait.
  await eve.expectError({ ...guess(1), password: "two words" }, "bad-password");
  const bob = await from("198.51.100.2");
  await bob.expectError(guess(1), "not-registered");
  assertEquals((await valuesOf(server.kv, "attempts")).size, 0);
});

Deno.test("a right password costs a quarter of an attempt", async () => {
  const clock = new AdjustedClock({ stoppedAtMs: Date.now() });
  await using server = await TestServer.open({
    rateLimits: { nicks: "off" },
    clock,
    trustProxy: ["private"],
  });
  const headers = { "X-Forwarded-For": "198.51.100.1" };
  const ann = new JsonClient(await server.connect("", { protocols: ["chat.v1"], headers }));
  await ann.request({ type: "login", nick: "Ann" });
  await ann.request({ type: "register", password: SECRET });
  clock.advance(RATE_PER_ADDRESS.ms / RATE_PER_ADDRESS.burst);
  const change = { type: "password", password: SECRET, new: SECRET };
  const most = Math.floor((RATE_PER_ADDRESS.burst - 1) / (1 - RIGHT_PASSWORD_REFUND)) + 1;
  for (let i = 0; i < most; i++) assertEquals((await ann.request(change)).type, "ok", `${i}`);
  await ann.expectError(change, "too-many-attempts");
  // Other addresses do not wait.
  const bob = await JsonClient.login(server, "Bob");
  await bob.expectError(
    { type: "identify", nick: "Ann", password: "wrong-horse" },
    "wrong-password",
  );
});

Deno.test("an address registers five nicknames a day, over all instances and restarts", async () => {
  const clock = new AdjustedClock({ stoppedAtMs: Date.now() });
  using kv = await Deno.openKv(":memory:");
  const options = { clock, trustProxy: ["private"], passwordRounds: 1 };
  const from = async (server: TestServer, address: string, nick: string) => {
    const headers = { "X-Forwarded-For": address };
    const client = new JsonClient(await server.connect("", { protocols: ["chat.v1"], headers }));
    assertEquals((await client.request({ type: "login", nick })).type, "welcome");
    return client;
  };
  const register = { type: "register", password: SECRET };
  const passes = async (server: TestServer, address: string, nick: string) =>
    assertEquals((await (await from(server, address, nick)).request(register)).type, "ok", nick);
  {
    await using houses = await openTwo(kv, options);
    for (let i = 0; i < 5; i++) {
      await passes(i % 2 === 0 ? houses.one : houses.other, "198.51.100.1", `Eve ${i}`);
    }
    for (const server of [houses.one, houses.other]) {
      const eve = await from(server, "198.51.100.1", server === houses.one ? "Mallory" : "Trudy");
      const { code, message, retryAfter } = await eve.request(register);
      assertEquals([code, message, retryAfter], [
        "registration-limit",
        "Too many nicknames were registered from your address. " +
        "Try again in 5 hours.",
        4.8 * 3_600_000,
      ]);
      await eve.expectNothingElse();
    }
    await passes(houses.one, "198.51.100.2", "Ann");
  }
  await using server = await TestServer.open({ kv, ...options });
  const eve = await from(server, "198.51.100.1", "Mallory");
  await eve.expectError(register, "registration-limit");
  clock.advance(4.8 * 3_600_000);
  assertEquals((await eve.request(register)).type, "ok");
  await (await from(server, "198.51.100.1", "Trudy")).expectError(register, "registration-limit");
  // The rows store hashes of addresses.
  const stored = [...(await valuesOf(kv, "registrations")).keys()];
  assertEquals(stored.length, 2);
  assert(stored.every((key) => /^[\w-]{43}$/.test(key)), stored.join());
});

Deno.test("registrations from the local machine are limited only if the operator sets a limit", async () => {
  const registered = async (flood: RateLimitSettings | "off" | undefined) => {
    await using server = await TestServer.open({ rateLimits: flood, passwordRounds: 1 });
    for (let i = 0; i < 7; i++) {
      const ann = await JsonClient.login(server, `Ann ${i}`);
      const { type, code } = await ann.request({ type: "register", password: SECRET });
      if (type !== "ok") return [i, code];
    }
    return [7];
  };
  assertEquals(await registered(undefined), [7]);
  assertEquals(await registered("off"), [7]);
  assertEquals(await registered({ registrations: "off" }), [7]);
  assertEquals(await registered({ registrations: { count: 3, seconds: 86_400 } }), [
    3,
    "registration-limit",
  ]);
});
