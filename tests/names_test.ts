import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { limitsFrom } from "../chat/limits.ts";
import { foldNickname, nicknameFrom, roomFrom } from "../chat/names.ts";

const limits = limitsFrom();

Deno.test("a nickname may hold underscores, spaces inside, any script, and emoji", () => {
  for (const name of ["john_doe", "Mary Ann", "Ζωή", "দীপা", "محمد", "👩‍👩‍👧", "❤️", "日本語"]) {
    assertEquals(nicknameFrom(name, limits), { ok: true, name });
  }
});

Deno.test("white space around a nickname is no part of it, and its form is NFC", () => {
  assertEquals(nicknameFrom("  Ann ", limits), { ok: true, name: "Ann" });
  assertEquals(nicknameFrom("Zoe\u0301", limits), { ok: true, name: "Zo\u00e9" });
});

Deno.test("a nickname that is empty, a command, unprintable or too long is refused with one line", () => {
  const bad = [
    "",
    "   ",
    "/help",
    " /help",
    "a\u0000b",
    "a\nb",
    "a\u0085b",
    "a\u2028b",
    "a\u202eb",
    "a\u2066b",
    "\u200fa",
    "a\u200bb",
    "\u200d",
    "a\ue000",
    "\uffff",
    "a".repeat(33),
    "𝒳".repeat(33),
  ];
  for (const typed of bad) {
    const name = nicknameFrom(typed, limits);
    if (name.ok) throw new Error(`${JSON.stringify(typed)} was let in`);
    assertEquals(name.why.split("\n").length, 1);
  }
});

Deno.test("length is counted in characters, so that every script has the same room", () => {
  for (const letter of ["a", "é", "日", "😀"]) {
    assert(nicknameFrom(letter.repeat(32), limits).ok, letter);
    assert(!nicknameFrom(letter.repeat(33), limits).ok, letter);
    assert(roomFrom(letter.repeat(64), limits).ok, letter);
    assert(!roomFrom(letter.repeat(65), limits).ok, letter);
  }
});

Deno.test("nicknames that differ in case, width, composition or spaces only are the same (RFC 8266)", () => {
  const same = [
    ["Ann", "ANN"],
    ["Ann", "Ａｎｎ"],
    ["Zo\u00e9", "Zoe\u0301"],
    ["Mary  Ann", "mary ann"],
    ["Mary\u00a0Ann", "mary\u3000ann"],
    ["ﬁn", "fin"],
    ["Ann", "An\u200dn"],
    ["❤️", "❤"],
    ["Σ", "σ"],
  ];
  for (const [one, other] of same) assertEquals(foldNickname(one!), foldNickname(other!));
  for (const [one, other] of [["Ann", "Anna"], ["maryann", "mary ann"], ["β", "b"]]) {
    assertNotEquals(foldNickname(one!), foldNickname(other!));
  }
});

Deno.test("folding a folded nickname changes nothing", () => {
  for (const nick of ["\u1e9e", "İ", "\u03d4\u0301", "ＡＢＣ", "ǅ", "  A  B "]) {
    const folded = foldNickname(nick);
    assertEquals(foldNickname(folded), folded);
  }
});

Deno.test("a room's name keeps its case and its spaces, and is refused where it is unsafe", () => {
  assertEquals(roomFrom("Straße", limits), { ok: true, name: "Straße" });
  assertEquals(roomFrom("e\u0301", limits), { ok: true, name: "\u00e9" });
  for (const typed of ["", "a\u0007", "a\tb", "a\u202e", "\u200d\u200d"]) {
    assert(!roomFrom(typed, limits).ok, JSON.stringify(typed));
  }
});
