/** Which parts of a text name a user. */
import { assert, assertEquals } from "@std/assert";
import { mentionFinder } from "../../chat/page/mentions.js";

const find = mentionFinder("Ann", [{ nick: "Bob" }, { nick: "Bob Lee" }, { nick: "安" }]);

/** Returns the mentions in a text; own ones with an exclamation mark. */
function namesIn(text: string): string[] {
  return find(text).map(({ start, end, isOwn }) => text.slice(start, end) + (isOwn ? "!" : ""));
}

Deno.test("mentionFinder finds the user's own name as a word, and others after the sign", () => {
  assertEquals(namesIn("Ann, ann and @ANN"), ["Ann!", "ann!", "@ANN!"]);
  assertEquals(namesIn("@Bob and Bob, (@bob)"), ["@Bob", "@bob"]);
  assertEquals(namesIn("@Bob Lee, @Bob Leek"), ["@Bob Lee", "@Bob"]);
  assertEquals(namesIn("@安さん"), ["@安"]);
});

Deno.test("mentionFinder takes no part of a longer word, of an address or of a file for a name", () => {
  for (
    const text of [
      "Annette",
      "Joann",
      "Ann-Marie",
      "ann@example.org",
      "me@ann.org",
      "ann.png",
      "_ann_",
      "Bob",
      "@Bobby",
      "@",
    ]
  ) {
    assertEquals(namesIn(text), [], text);
  }
  assertEquals(namesIn("Thanks Ann. And then"), ["Ann!"]);
});

Deno.test("mentionFinder takes linear time, whatever the text, and finds nothing for a user without a name", () => {
  const start = performance.now();
  for (const part of ["@", "ann", "@ann", "ann ", "@ann-", "\u0301"]) find(part.repeat(5_000));
  assert(performance.now() - start < 1_000);
  assertEquals(mentionFinder("", [{ nick: "Bob" }])("@Bob"), []);
});
