import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { CONFUSABLES, MANY, UNICODE } from "../../chat/nicknames/confusables_data.ts";
import { Confusables, DEFAULT_RESERVED } from "../../chat/nicknames/confusables.ts";
import { foldNickname } from "../../chat/nicknames/names.ts";

const likeness = new Confusables();

/** Each is a check: with two more they must fit into an atomic of denokv. */
const MOST_CLAIMS = 6;

/** Whether two nicknames cannot both be had. */
function clash(one: string, other: string): boolean {
  const claims = likeness.claims(one) ?? [];
  return (likeness.claims(other) ?? []).some((claim) => claims.includes(claim));
}

Deno.test("the data is whole: as many characters as Unicode has, and what it says of some", () => {
  assertEquals([UNICODE, CONFUSABLES.trim().split(/\s/).length], ["18.0.0", MANY]);
  assert(/^[\x20-\x7e\n]*$/.test(CONFUSABLES), "it is not plain ASCII");
  // From UTS 39 itself, and from the file's own comments.
  const pairs = [["paypal", "раураl"], ["scope", "ѕсоре"], ["1", "l"], ["m", "rn"], ["ß", "β"]];
  for (const [one, other] of pairs) {
    assertEquals(likeness.skeleton(one!), likeness.skeleton(other!), `${one} ${other}`);
  }
  assertEquals(likeness.skeleton("カ"), likeness.skeleton("力"));
  assertNotEquals(likeness.skeleton("Ann"), likeness.skeleton("Anna"));
});

Deno.test("plain ASCII claims nothing but itself, so that nobody is in anybody's way who never was", () => {
  for (const nick of ["Ann", "l1", "11", "rn", "m", "O0", "Il|1", "a b_c", "~*~"]) {
    assertEquals(likeness.claims(nick), [foldNickname(nick)]);
  }
  for (const [one, other] of [["l1", "11"], ["rn", "m"], ["O0", "00"], ["Ia", "la"]]) {
    assert(!clash(one!, other!), `${one} ${other}`);
  }
});

Deno.test("a lookalike and what it looks like cannot both be had, in whatever case, width or script", () => {
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

Deno.test("what does not look alike does not clash: people of all scripts have their names", () => {
  const names = [
    ...["Иван", "Ірина", "Анна", "Ann", "Anna", "Ζωή", "Zoe", "Zoë", "Chloé", "Chloe", "ปลา"],
    ...[
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
    ],
  ];
  for (const one of names) {
    const claims = likeness.claims(one);
    assert(claims !== undefined && claims.length <= MOST_CLAIMS, one);
    for (const other of names) if (one !== other) assert(!clash(one, other), `${one} ${other}`);
  }
});

Deno.test("however a nickname can be read, its claims are few, and no key is too long", () => {
  assertEquals(likeness.claims("ІІІІІІ"), ["іііііі", "/llllll", "llllll", "iiiiii"]);
  assertEquals(likeness.claims("ΑΝΝΑ")!.filter((claim) => claim.startsWith("a")), ["anna"]);
  for (const letter of ["Ι", "\u09e6", "ⅿ", "א1", "𝐈"]) {
    assert(likeness.claims(letter.repeat(16))!.length <= MOST_CLAIMS, letter);
  }
  assertEquals(likeness.claims("\u{fdfa}".repeat(128)), undefined);
  for (const claim of likeness.claims("\u{fdfa}".repeat(9)) ?? []) {
    assert(new TextEncoder().encode(claim).length < 2000);
  }
});

Deno.test("nobody is called as the server or its staff, whatever the letters or the signs around them", () => {
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
    ...["ADMlN", "adrnin", "adm1n", "4dm!n", "@dmin", "a.d.m.i.n", "admiṇ", "ádmin", "aclmin"],
    ...[
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
    ],
    ...["ѕуѕtem", "rооt", "ѕtaff", "parlеy", "(аdmin)", "ⓐⓓⓜⓘⓝ", "moderator!"],
  ];
  for (const nick of reserved) assert(likeness.isReserved(nick), nick);
  const others = [
    ...[
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
    ],
    ...["Админ Иванов", "Анна", "***", "❤️"],
  ];
  for (const nick of others) assert(!likeness.isReserved(nick), nick);
});

Deno.test("what is reserved can be chosen, also to be nothing", () => {
  const own = new Confusables([...DEFAULT_RESERVED, " Boss "]);
  assert(own.isReserved("boss") && own.isReserved("bоss") && own.isReserved("admin"));
  const none = new Confusables([]);
  assert(!none.isReserved("admin") && !none.isReserved("аdmin") && !none.isReserved("!!"));
});

Deno.test("no name in the golden conversations is reserved", async () => {
  const golden = await Deno.readTextFile(new URL("../golden/conversations.json", import.meta.url));
  for (const [, nick] of golden.matchAll(/Using nickname: (.+?)\\n/g)) {
    assert(!likeness.isReserved(nick!), nick);
  }
});
