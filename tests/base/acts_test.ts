/** The sentences by which people are told of acts. */
import { assert, assertEquals } from "@std/assert";
import { type ActName, type ActRow, ACTS, sentenceOf, type ToldAct } from "../../chat/base/acts.ts";

const told = (own: Partial<ToldAct> & Pick<ToldAct, "act">) =>
  sentenceOf({ by: "Ann", room: "chalice", text: "", ...own });

Deno.test("sentenceOf tells an act to the room, and to the user concerned in the second person", () => {
  const on = "Bob", text = "spam", seconds = 600;
  assertEquals(told({ act: "ban", on, text, seconds }), "Ann banned Bob for 10 minutes: spam");
  assertEquals(
    told({ act: "ban", on, text, seconds, isYou: true }),
    'Ann banned you from "chalice" for 10 minutes: spam',
  );
  assertEquals(told({ act: "ban", on, room: "" }), "Ann banned Bob from the chat");
  assertEquals(told({ act: "unban", on }), "Ann unbanned Bob");
  assertEquals(told({ act: "kick", on, isYou: true }), 'Ann kicked you from "chalice"');
  assertEquals(told({ act: "mute", on }), "Ann muted Bob");
  assertEquals(told({ act: "mute" }), "Ann muted everyone but the moderators");
  assertEquals(told({ act: "unmute" }), "Ann unmuted the room");
  assertEquals(told({ act: "slow", count: 30 }), "Ann set slow mode: one message in 30 seconds");
  assertEquals(told({ act: "slow", count: 0 }), "Ann ended slow mode");
  assertEquals(told({ act: "topic", text: "cups" }), "Ann set the topic: cups");
  assertEquals(told({ act: "topic" }), "Ann removed the topic");
  assertEquals(told({ act: "mod", on, isYou: true }), 'Ann made you a moderator of "chalice"');
  assertEquals(told({ act: "purge", on, count: 1 }), "Ann deleted 1 message by Bob");
  assertEquals(told({ act: "invite", on, isYou: true }), 'Ann invited you to "chalice"');
});

Deno.test("no sentence of an act leaves a placeholder, and placeholders in texts are not filled in", () => {
  for (const act of Object.keys(ACTS) as ActName[]) {
    const sentence = told({ act, on: "{text}", text: "{on}", count: 2, seconds: 60 });
    assert(!/\{(?!on\}|text\})/.test(sentence), sentence);
  }
  assertEquals(told({ act: "ban", on: "{reason}", text: "{on}" }), "Ann banned {reason}: {on}");
});

Deno.test("every act that may lack its user, number or text has another sentence for that", () => {
  for (const [name, row] of Object.entries(ACTS) as [string, ActRow][]) {
    const isNeeded = row.about === "user or room" || row.text === "topic" || row.count?.min === 0;
    assertEquals(row.otherwise !== undefined, isNeeded, name);
  }
});
