/** Upper bounds of encoded sizes, compared with what is really sent. */
import { assert, assertEquals } from "@std/assert";
import {
  countThatFits,
  encodedBytes,
  encodedEventBytes,
} from "../../chat/delivery/encoded_size.ts";
import type { RoomEvent } from "../../chat/feed/events.ts";
import { encodeJson } from "../../chat/delivery/json.ts";
import { encodeHistoryLine, encodeText } from "../../chat/delivery/text.ts";
import { Random } from "../support/random.ts";

const bytes = (text: string) => new TextEncoder().encode(text).length;

const LETTERS = [
  ...'a~ !"\\/',
  ...["\u0000", "\u001f", "\n", "\t", "\u007f", "\u0085", "\u00a0", "é", "߿", "ࠀ", "語", "\u2028"],
  ...["\ud800", "\udfff", "😀", "\uffff"],
];

Deno.test("encodedBytes is an upper bound of a text's JSON, and a close one", () => {
  const random = new Random(5);
  for (const letter of LETTERS) {
    const exact = bytes(JSON.stringify(letter.repeat(100))) - 2;
    assert(encodedBytes(letter.repeat(100)) >= exact, JSON.stringify(letter));
  }
  for (let round = 0; round < 2_000; round++) {
    const text = Array.from(
      { length: random.below(20) },
      () => LETTERS[random.below(LETTERS.length)],
    )
      .join("");
    assert(encodedBytes(text) >= bytes(JSON.stringify(text)) - 2, JSON.stringify(text));
    assert(encodedBytes(text) >= bytes(text.replaceAll("\n", "\n    ")), JSON.stringify(text));
  }
  assertEquals(encodedBytes("plain words"), 11);
  assertEquals(encodedBytes("\u0001".repeat(10)), 60);
  assertEquals(encodedBytes("😀"), 4);
});

Deno.test("encodedEventBytes is an upper bound of an event in both protocols, live and in history", () => {
  const random = new Random(6);
  const some = (most: number) =>
    Array.from({ length: random.below(most) }, () => LETTERS[random.below(LETTERS.length)]).join(
      "",
    );
  for (let round = 0; round < 2_000; round++) {
    const event: RoomEvent = {
      kind: random.below(2) === 0 ? "message" : "action",
      room: some(10),
      id: "01JDXXXXXXXXXXXXXXXXXXXXXX",
      nick: some(10),
      text: some(50),
      time: 1_795_372_236_123,
      cid: some(5),
    };
    const most = encodedEventBytes(event);
    const sent = [encodeJson(event, "t0123456789abcdef0123000"), encodeText(event, false)];
    for (const line of [...sent, encodeHistoryLine(event)]) assert(bytes(line) <= most, line);
  }
});

Deno.test("countThatFits stops at the first item that does not fit", () => {
  const lengths = [3, 3, 3, 1];
  const fits = (most: number) => countThatFits(lengths, most, (length) => length);
  assertEquals([0, 2, 3, 6, 8, 9, 10, 11].map(fits), [0, 0, 1, 2, 2, 3, 4, 4]);
});
