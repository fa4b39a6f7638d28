/** Names: which nicknames and room names are valid, and which nicknames are the same. */
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { limitsFrom } from "../../chat/base/limits.ts";
import { foldNickname, nicknameFrom, roomFrom } from "../../chat/nicknames/names.ts";

const limits = limitsFrom();

Deno.test("nicknameFrom accepts underscores, spaces inside, any script, and emoji", () => {
  for (const name of ["john_doe", "Mary Ann", "Ζωή", "দীপা", "محمد", "👩‍👩‍👧", "❤️", "日本語"]) {
    assertEquals(nicknameFrom(name, limits), { ok: true, name });
  }
});

Deno.test("nicknameFrom trims white space and normalizes to NFC", () => {
  assertEquals(nicknameFrom("  Ann ", limits), { ok: true, name: "Ann" });
  assertEquals(nicknameFrom("Zoe\u0301", limits), { ok: true, name: "Zo\u00e9" });
});

Deno.test("nicknameFrom rejects an empty, unprintable or too long nickname, and a command, with one line", () => {
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
    if (name.ok) throw new Error(`${JSON.stringify(typed)} was accepted`);
    assertEquals(name.why.split("\n").length, 1);
  }
});

Deno.test("nicknameFrom accepts joiners in emoji and joining scripts, and nowhere else", () => {
  const joined = [
    "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
    "1\ufe0f\u20e3",
    "🏳\ufe0f\u200d🌈",
    "🧑🏽\u200d🚀",
    "☎\ufe0e",
    "می\u200cخواهم",
    "സുബിന്\u200d",
    "क्\u200dष",
  ];
  for (const name of joined) assertEquals(nicknameFrom(name, limits), { ok: true, name });
  const stray = [
    "An\u200dn",
    "Ann\u200d",
    "\u200dAnn",
    "a\ufe0f",
    "1\ufe0f",
    "a\u{e0067}\u{e007f}",
    "日\u200c本",
  ];
  for (const typed of stray) assert(!nicknameFrom(typed, limits).ok, JSON.stringify(typed));
});

Deno.test("nicknameFrom rejects a combining mark without a letter, and too many on one letter", () => {
  // Many scripts end words with marks: these are valid names.
  for (const name of ["দীপা", "เอมี่", "שָׁלוֹם", "مُحَمَّد", "Nguyễn", "བཀྲ་ཤིས"]) {
    assert(nicknameFrom(name, limits).ok, name);
  }
  for (
    const typed of [
      "\u0301",
      "\u0301\u0302",
      "\u0301a",
      "a \u0301b",
      "ก็็",
      "Z\u0335\u0321\u031b\u0301\u0302\u0303",
    ]
  ) {
    assert(!nicknameFrom(typed, limits).ok, JSON.stringify(typed));
  }
});

Deno.test("nicknameFrom rejects blank, unassigned and private characters, and lone surrogates", () => {
  for (
    const typed of [
      "a\u2800",
      "\u3164",
      "a\u00adb",
      "a\ufffd",
      "a\ufffc",
      "\ud800a",
      "a\udc00",
      "a\u0378",
      "a\ue000",
      "a\u{f0000}",
      "a\u180e",
    ]
  ) {
    assert(!nicknameFrom(typed, limits).ok, JSON.stringify(typed));
  }
});

Deno.test("nicknameFrom rejects a nickname that folds to a command, or to more than a key holds", () => {
  for (const typed of ["／help", "\u{fdfa}".repeat(100)]) {
    assert(!nicknameFrom(typed, limitsFrom({ maxNicknameChars: 128 })).ok, typed);
  }
});

Deno.test("length limits count characters, not code units or bytes", () => {
  for (const letter of ["a", "é", "日", "😀"]) {
    assert(nicknameFrom(letter.repeat(32), limits).ok, letter);
    assert(!nicknameFrom(letter.repeat(33), limits).ok, letter);
    assert(roomFrom(letter.repeat(64), limits).ok, letter);
    assert(!roomFrom(letter.repeat(65), limits).ok, letter);
  }
});

Deno.test("foldNickname ignores case, width, composition and kinds of spaces (RFC 8266)", () => {
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

Deno.test("foldNickname is idempotent", () => {
  for (const nick of ["\u1e9e", "İ", "\u03d4\u0301", "ＡＢＣ", "ǅ", "  A  B "]) {
    const folded = foldNickname(nick);
    assertEquals(foldNickname(folded), folded);
  }
});

Deno.test("roomFrom keeps case and spaces, and rejects unsafe names", () => {
  assertEquals(roomFrom("Straße", limits), { ok: true, name: "Straße" });
  assertEquals(roomFrom("e\u0301", limits), { ok: true, name: "\u00e9" });
  assertEquals(roomFrom(" the\u00a0\u3000red  room ", limits), { ok: true, name: "the red room" });
  for (const typed of ["", " \u00a0 ", "a\u0007", "a\tb", "a\u202e", "\u200d\u200d"]) {
    assert(!roomFrom(typed, limits).ok, JSON.stringify(typed));
  }
});
