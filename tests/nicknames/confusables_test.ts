/** Confusables: skeletons, claims, reserved names, and the table behind them. */
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { Confusables, DEFAULT_RESERVED } from "../../chat/nicknames/confusables.ts";
import TABLE from "../../chat/nicknames/confusables.txt" with { type: "text" };
import { foldNickname } from "../../chat/nicknames/names.ts";

const confusables = new Confusables();

/** Each claim is a check: with two more they must fit into one commit on denokv, which allows ten. */
const MAX_CLAIMS = 6;

/** Whether two nicknames share a claim, so that only one of them can be taken. */
function clash(one: string, other: string): boolean {
  const claims = confusables.claims(one) ?? [];
  return (confusables.claims(other) ?? []).some((claim) => claims.includes(claim));
}

Deno.test("the table of confusables is complete and is used", () => {
  const [, version, characters] = /^# .* Unicode ([\d.]+) .* (\d+) characters/.exec(TABLE)!;
  const tokens = TABLE.split("\n").filter((line) => !line.startsWith("#")).join(" ").trim()
    .split(/\s/);
  assertEquals([version, Number(characters), tokens.length], ["18.0.0", 6712, 6712]);
  assert(/^[\x20-\x7e\n]*$/.test(TABLE), "the table is not plain ASCII");
  // Pairs from UTS 39 and from the comments of confusables.txt.
  const pairs = [["paypal", "раураl"], ["scope", "ѕсоре"], ["1", "l"], ["m", "rn"], ["ß", "β"]];
  for (const [one, other] of pairs) {
    assertEquals(confusables.skeleton(one!), confusables.skeleton(other!), `${one} ${other}`);
  }
  assertEquals(confusables.skeleton("カ"), confusables.skeleton("力"));
  assertNotEquals(confusables.skeleton("Ann"), confusables.skeleton("Anna"));
});

Deno.test("an ASCII nickname claims its folded form only", () => {
  for (const nick of ["Ann", "l1", "11", "rn", "m", "O0", "Il|1", "a b_c", "~*~"]) {
    assertEquals(confusables.claims(nick), [foldNickname(nick)]);
  }
  for (const [one, other] of [["l1", "11"], ["rn", "m"], ["O0", "00"], ["Ia", "la"]]) {
    assert(!clash(one!, other!), `${one} ${other}`);
  }
});

Deno.test("lookalikes share a claim, in any case, width and script", () => {
  const pairs = [
    ["admin", "аdmin"],
    ["Helen", "Неlen"],
    ["HELEN", "НELEN"],
    ["paypal", "ρayρal"],
    ["coco", "сосо"],
    ["COCO", "сосо"],
    ["coco", "СОСО"],
    ["Ian", "Ιan"],
    ["lan", "Ιan"],
    ["ipa", "Іра"],
    ["mike", "ⅿike"],
    ["mike", "ｍｉｋｅ"],
    ["10", "1\u09e6"],
    ["Ann", "Аnn"],
    ["Ann", "𝒜nn"],
    ["Ann", "Αnn"],
    // Neither of them is ASCII.
    ["Аnn", "Αnn"],
    ["Straße", "Straβe"],
    ["カ", "力"],
    ["Іhor", "ІНОR"],
    ["сосm", "сосrn"],
    ["א1", "1א"],
    ["אב (1)", "1) אב)"],
  ];
  for (const [one, other] of pairs) assert(clash(one!, other!), `${one} ${other}`);
});

Deno.test("names of different looks share no claim, in all scripts", () => {
  const names = [
    "Иван",
    "Ірина",
    "Анна",
    "Ann",
    "Anna",
    "Ζωή",
    "Zoe",
    "Zoë",
    "Chloé",
    "Chloe",
    "ปลา",
    "দীপা",
    "محمد",
    "דנה",
    "日本語",
    "日本",
    "김민수",
    "❤️",
    "👩‍👩‍👧",
    "José",
    "Jose",
    "Søren",
    "Ðann",
  ];
  for (const one of names) {
    const claims = confusables.claims(one);
    assert(claims !== undefined && claims.length <= MAX_CLAIMS, one);
    for (const other of names) if (one !== other) assert(!clash(one, other), `${one} ${other}`);
  }
});

Deno.test("a nickname has at most six claims, each short enough for a key", () => {
  assertEquals(confusables.claims("ІІІІІІ"), ["іііііі", "/llllll", "llllll", "iiiiii"]);
  assertEquals(confusables.claims("ΑΝΝΑ")!.filter((claim) => claim.startsWith("a")), ["anna"]);
  for (const letter of ["Ι", "\u09e6", "ⅿ", "א1", "𝐈"]) {
    assert(confusables.claims(letter.repeat(16))!.length <= MAX_CLAIMS, letter);
  }
  assertEquals(confusables.claims("\u{fdfa}".repeat(128)), undefined);
  for (const claim of confusables.claims("\u{fdfa}".repeat(9)) ?? []) {
    assert(new TextEncoder().encode(claim).length < 2000);
  }
});

Deno.test("isReserved finds reserved names in other letters, and with signs around and between them", () => {
  const reserved = [
    ...[
      "admin",
      "Admin",
      "ADMIN",
      "аdmin",
      "АDМIN",
      "ａｄｍｉｎ",
      "[admin]",
      "*** Server ***",
      "@system",
    ],
    "ADMlN",
    "adrnin",
    "adm1n",
    "4dm!n",
    "@dmin",
    "a.d.m.i.n",
    "admiṇ",
    "ádmin",
    "aclmin",
    "🅰🅳🅼🅸🅽",
    "🇦🇩🇲🇮🇳",
    "ᴀᴅᴍɪɴ",
    "ꜱʏꜱᴛᴇᴍ",
    "!@dmin!",
    "∣admin∣",
    "$erver",
    "5y5t3m",
    "R00T",
    "Pɑrley",
    "ѕуѕtem",
    "rооt",
    "ѕtaff",
    "parlеy",
    "(аdmin)",
    "ⓐⓓⓜⓘⓝ",
    "moderator!",
  ];
  for (const nick of reserved) assert(confusables.isReserved(nick), nick);
  const others = [
    "Adm",
    "administer",
    "admin2",
    "Adminton",
    "Roota",
    "not admin",
    "John",
    "server room",
    "mod",
    "op",
    "Админ Иванов",
    "Анна",
    "***",
    "❤️",
  ];
  for (const nick of others) assert(!confusables.isReserved(nick), nick);
});

Deno.test("the operator chooses the reserved names, possibly none", () => {
  const own = new Confusables([...DEFAULT_RESERVED, " Boss "]);
  assert(own.isReserved("boss") && own.isReserved("bоss") && own.isReserved("admin"));
  const none = new Confusables([]);
  assert(!none.isReserved("admin") && !none.isReserved("аdmin") && !none.isReserved("!!"));
});

Deno.test("isReserved accepts every nickname of the golden conversations", async () => {
  const golden = await Deno.readTextFile(new URL("../golden/conversations.json", import.meta.url));
  for (const [, nick] of golden.matchAll(/Using nickname: (.+?)\\n/g)) {
    assert(!confusables.isReserved(nick!), nick);
  }
});
