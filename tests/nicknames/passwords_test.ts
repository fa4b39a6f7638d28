/** Passwords: which are usable, how they are hashed, and what is accepted as a stored hash. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { passwordFrom, Passwords, ROUNDS } from "../../chat/nicknames/passwords.ts";

const quick = new Passwords(1000);

function usable(typed: string): string {
  const password = passwordFrom(typed);
  if (!password.ok) throw new Error(password.why);
  return password.password;
}

Deno.test("passwordFrom accepts 8 to 128 characters without spaces and controls", () => {
  for (const good of ["12345678", "pässwörd", "x".repeat(128), "😀".repeat(128), "correct-horse"]) {
    assert(passwordFrom(good).ok, good);
  }
  const bad = [
    "",
    "1234567",
    "😀".repeat(7),
    "x".repeat(129),
    "x".repeat(100_000),
    "two words",
    "a\u00a0bcdefgh",
    "line\nbreak",
    "null\u0000null",
    "half\ud800half",
  ];
  for (const typed of bad) {
    const password = passwordFrom(typed);
    if (password.ok) throw new Error(`${JSON.stringify(typed)} was accepted`);
    assertEquals(password.why.split("\n").length, 1);
    assert(typed === "" || !password.why.includes(typed));
  }
});

Deno.test("Passwords.matches ignores the composition of letters, but not their case", async () => {
  const stored = (await quick.hash(usable("Zo\u00e9-and-Ann")))!;
  assertEquals(await quick.matches(usable("Zoe\u0301-and-Ann"), stored), true);
  assertEquals(await quick.matches("Zo\u00e9-and-ann", stored), false);
  assertEquals(await quick.matches("", stored), false);
});

Deno.test("Passwords.hash stores a new salt and the rounds, and not the password", async () => {
  const [one, other] = [await quick.hash("swordfish"), await quick.hash("swordfish")];
  assert(one !== other && !one!.includes("swordfish"));
  assert(one!.startsWith("$pbkdf2-sha256$i=1000$"));
});

Deno.test("Passwords.matches accepts a test vector of PBKDF2 with SHA-256", async () => {
  // RFC 7914, section 11: P="passwd", S="salt", c=1; the first 32 of 64 bytes.
  const salt = btoa("salt");
  const hash = "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc";
  const bytes = hash.match(/../g)!.map((pair) => String.fromCharCode(parseInt(pair, 16))).join("");
  const stored = `$pbkdf2-sha256$i=1$${salt}$${btoa(bytes)}`;
  assertEquals(await quick.matches("passwd", stored), true);
  assertEquals(await quick.matches("passwe", stored), false);
});

Deno.test("hashes of fewer rounds stay valid and are outdated", async () => {
  const stored = (await quick.hash("swordfish"))!;
  const slower = new Passwords(2000);
  assertEquals(await slower.matches("swordfish", stored), true);
  assertEquals([slower.isOutdated(stored), quick.isOutdated(stored)], [true, false]);
  assert(new Passwords().isOutdated(stored) && ROUNDS === 600_000);
});

Deno.test("Passwords.matches accepts no password for a stored value in another form, or with too many rounds", async () => {
  const stored = (await quick.hash("swordfish"))!;
  const strange = [
    "",
    "swordfish",
    stored.slice(0, -8),
    stored.replace("i=1000", "i=0"),
    stored.replace("i=1000", "i=99999999"),
    stored.replace("sha256", "md5"),
  ];
  for (const each of strange) assertEquals(await quick.matches("swordfish", each), false, each);
});

Deno.test("Passwords hashes one at a time and refuses more than 32 in the queue", async () => {
  const answers = await Promise.all(Array.from({ length: 50 }, () => quick.hash("swordfish")));
  assertEquals(answers.filter((answer) => answer === undefined).length, 50 - 32);
  assert(await quick.hash("swordfish") !== undefined, "the queue is empty again");
});

Deno.test("hashing does not block the event loop", async () => {
  const slow = new Passwords();
  let ticks = 0;
  const timer = setInterval(() => ticks++, 1);
  await Promise.all([slow.hash("swordfish"), slow.hash("swordfish")]);
  clearInterval(timer);
  assert(ticks > 10, `${ticks} ticks of a millisecond while two were made`);
});

Deno.test("new Passwords throws a RangeError for an invalid number of rounds", () => {
  for (const rounds of [0, -1, 1.5, NaN, 1e9]) {
    assertThrows(() => new Passwords(rounds), RangeError);
  }
});
