import { assert, assertEquals, assertThrows } from "@std/assert";
import { Attempts, refilled } from "../../chat/nicknames/attempts.ts";
import { passwordFrom, Passwords, ROUNDS } from "../../chat/nicknames/passwords.ts";
import { FakeClock } from "../support/fake_clock.ts";

const quick = new Passwords(1000);

function usable(typed: string): string {
  const password = passwordFrom(typed);
  if (!password.ok) throw new Error(password.why);
  return password.password;
}

Deno.test("a password has 8 to 128 characters, and no spaces or controls", () => {
  for (const good of ["12345678", "pässwörd", "x".repeat(128), "😀".repeat(128), "correct-horse"]) {
    assert(passwordFrom(good).ok, good);
  }
  const bad = [
    ...[
      "",
      "1234567",
      "😀".repeat(7),
      "x".repeat(129),
      "x".repeat(100_000),
      "two words",
      "a\u00a0bcdefgh",
    ],
    ...["line\nbreak", "null\u0000null", "half\ud800half"],
  ];
  for (const typed of bad) {
    const password = passwordFrom(typed);
    if (password.ok) throw new Error(`${JSON.stringify(typed)} was let in`);
    assertEquals(password.why.split("\n").length, 1);
    assert(typed === "" || !password.why.includes(typed));
  }
});

Deno.test("a password is right however its letters are composed, and wrong in another case", async () => {
  const stored = (await quick.hash(usable("Zo\u00e9-and-Ann")))!;
  assertEquals(await quick.matches(usable("Zoe\u0301-and-Ann"), stored), true);
  assertEquals(await quick.matches("Zo\u00e9-and-ann", stored), false);
  assertEquals(await quick.matches("", stored), false);
});

Deno.test("what is stored has its own salt and its rounds, and not the password", async () => {
  const [one, other] = [await quick.hash("swordfish"), await quick.hash("swordfish")];
  assert(one !== other && !one!.includes("swordfish"));
  assert(one!.startsWith("$pbkdf2-sha256$i=1000$"));
});

Deno.test("the hash is PBKDF2 with SHA-256, as others compute it", async () => {
  // RFC 7914, section 11: P="passwd", S="salt", c=1; the first 32 of 64 bytes.
  const salt = btoa("salt");
  const hash = "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc";
  const bytes = hash.match(/../g)!.map((pair) => String.fromCharCode(parseInt(pair, 16))).join("");
  const stored = `$pbkdf2-sha256$i=1$${salt}$${btoa(bytes)}`;
  assertEquals(await quick.matches("passwd", stored), true);
  assertEquals(await quick.matches("passwe", stored), false);
});

Deno.test("rounds may grow: what was stored before is still right, and known as outdated", async () => {
  const stored = (await quick.hash("swordfish"))!;
  const slower = new Passwords(2000);
  assertEquals(await slower.matches("swordfish", stored), true);
  assertEquals([slower.isOutdated(stored), quick.isOutdated(stored)], [true, false]);
  assert(new Passwords().isOutdated(stored) && ROUNDS === 600_000);
});

Deno.test("what cannot be read is nobody's password, and cannot ask for endless rounds", async () => {
  const stored = (await quick.hash("swordfish"))!;
  const strange = [
    ...["", "swordfish", stored.slice(0, -8), stored.replace("i=1000", "i=0")],
    ...[stored.replace("i=1000", "i=99999999"), stored.replace("sha256", "md5")],
  ];
  for (const each of strange) assertEquals(await quick.matches("swordfish", each), false, each);
});

Deno.test("one hash at a time, and of many at once only so many wait", async () => {
  const answers = await Promise.all(Array.from({ length: 50 }, () => quick.hash("swordfish")));
  assertEquals(answers.filter((answer) => answer === undefined).length, 50 - 32);
  assert(await quick.hash("swordfish") !== undefined, "nothing is left of the crowd");
});

Deno.test("hashing as many rounds as in earnest does not hold up others", async () => {
  const slow = new Passwords();
  let ticks = 0;
  const timer = setInterval(() => ticks++, 1);
  await Promise.all([slow.hash("swordfish"), slow.hash("swordfish")]);
  clearInterval(timer);
  assert(ticks > 10, `${ticks} ticks of a millisecond while two were made`);
});

Deno.test("misuse by code is an error: rounds that are none", () => {
  for (const rounds of [0, -1, 1.5, NaN, 1e9]) {
    assertThrows(() => new Passwords(rounds), RangeError);
  }
});

Deno.test("a bucket is empty after its burst, says how long to wait, and fills up with time", () => {
  const clock = new FakeClock();
  clock.advance(1_000_000);
  const attempts = new Attempts(clock, {
    burst: 3,
    every: 1000,
  });
  const take = () => attempts.take("ann");
  assertEquals([take(), take(), take(), take()], [0, 0, 0, 1000]);
  assertEquals(attempts.take("bob"), 0);
  clock.advance(400);
  assertEquals(take(), 600);
  clock.advance(600);
  assertEquals([take(), take()], [0, 1000]);
  attempts.give("ann", 1);
  assertEquals([take(), take()], [0, 1000]);
  clock.advance(1e9);
  assertEquals([take(), take(), take(), take()], [0, 0, 0, 1000]);
  assertEquals(
    refilled(
      { burst: 3, every: 1000 },
      { left: 1, at: clock.monotonicMs() },
      clock.monotonicMs() - 5000,
    ),
    1,
  );
});

Deno.test("buckets of ever new keys take no more and more memory", () => {
  const attempts = new Attempts(new FakeClock(), { burst: 1, every: 1e9 });
  for (let i = 0; i < 30_000; i++) attempts.take(`key ${i}`);
  assertEquals(attempts.take("key 0"), 0, "the oldest are forgotten");
  assert(attempts.take("key 29999") > 0, "the youngest are not");
});
