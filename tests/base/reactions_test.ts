/** Reactions as a message holds them. */
import { assertEquals } from "@std/assert";
import {
  countsOf,
  hasReaction,
  isFull,
  MAX_REACTIONS,
  REACTIONS,
  withReaction,
} from "../../chat/base/reactions.ts";

Deno.test("withReaction counts a user once for each emoji, and takes back only that user's", () => {
  let held = withReaction(undefined, "a", "👍", true);
  held = withReaction(held, "a", "👍", true);
  held = withReaction(held, "b", "👍", true);
  held = withReaction(held, "a", "😢", true);
  assertEquals(countsOf(held, "a"), [
    { emoji: "👍", count: 2, own: true },
    { emoji: "😢", count: 1, own: true },
  ]);
  held = withReaction(held, "a", "👍", false);
  assertEquals(countsOf(held, "a"), [{ emoji: "👍", count: 1 }, {
    emoji: "😢",
    count: 1,
    own: true,
  }]);
  assertEquals([hasReaction(held, "a", "👍"), hasReaction(held, "b", "👍")], [false, true]);
  held = withReaction(withReaction(held, "b", "👍", false), "a", "😢", false);
  assertEquals([held, countsOf(held, "a")], [undefined, []]);
});

Deno.test("withReaction adds no more than a message may hold", () => {
  let held: string | undefined;
  for (let n = 0; n < MAX_REACTIONS + 5; n++) held = withReaction(held, `u${n}`, "🎉", true);
  assertEquals([isFull(held), countsOf(held, "")[0]!.count], [true, MAX_REACTIONS]);
  // One who has reacted can still take it back.
  held = withReaction(held, "u0", "🎉", false);
  assertEquals([isFull(held), countsOf(held, "")[0]!.count], [false, MAX_REACTIONS - 1]);
});

Deno.test("the emoji of reactions are stored by their places, so their order stays", () => {
  assertEquals([...REACTIONS], ["👍", "❤️", "😂", "🎉", "😮", "😢"]);
});
