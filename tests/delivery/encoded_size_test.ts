/** Upper bounds of encoded sizes, compared with what is really sent. */
import { assert, assertEquals } from "@std/assert";
import {
  countThatFits,
  encodedBytes,
  encodedEventBytes,
} from "../../chat/delivery/encoded_size.ts";
import type { EventKind, RoomEvent } from "../../chat/feed/events.ts";
import { encodeJson } from "../../chat/delivery/json.ts";
import { encodeHistoryLine, encodeText, IS_SHOWN } from "../../chat/delivery/text.ts";
import { Random } from "../support/random.ts";

const KINDS = Object.keys(IS_SHOWN) as EventKind[];

/** The longest event ID: a versionstamp of 20 digits, and the latest time that `Date` can show. */
const EVENT_ID = "u0123456789abcdef0123000";
const TIME = 8_640_000_000_000_000;

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
  const maybe = <T>(value: T): T | undefined => random.below(2) === 0 ? value : undefined;
  const id = "01JDXXXXXXXXXXXXXXXXXXXXXX";
  for (let round = 0; round < 4_000; round++) {
    const kind = KINDS[random.below(KINDS.length)]!;
    const event: RoomEvent = {
      kind,
      room: some(10),
      id,
      account: maybe(id) ?? "",
      nick: some(10),
      text: some(50),
      time: TIME,
      cid: some(5),
      to: kind === "direct" || kind === "nick" || random.below(2) === 0
        ? { user: maybe(id) ?? some(10), nick: some(10), isRegistered: true }
        : undefined,
      target: maybe(some(10)),
      editedAt: maybe(TIME),
      deletedAt: maybe(TIME),
    };
    const most = encodedEventBytes(event);
    const sent = [encodeJson(event, EVENT_ID), encodeText(event, false), encodeText(event, true)];
    for (const line of [...sent, encodeHistoryLine(event)]) assert(bytes(line) <= most, line);
  }
});

Deno.test("encodedEventBytes is exact but for the fields that an event does not have", () => {
  const id = "01JDXXXXXXXXXXXXXXXXXXXXXX";
  const common = {
    room: "red",
    id,
    account: id,
    nick: "Ann",
    text: "hi",
    cid: "c",
    deletedAt: TIME,
  };
  const to = { user: id, nick: "Bob", isRegistered: true };
  for (
    const event of [{ kind: "message", ...common }, { kind: "direct", ...common, to }] as const
  ) {
    const whole: RoomEvent = { ...event, time: TIME };
    const spare = encodedEventBytes(whole) - bytes(encodeJson(whole, EVENT_ID));
    assert(spare >= 0 && spare < 24, `${event.kind}: ${spare}`);
  }
});

Deno.test("countThatFits stops at the first item that does not fit", () => {
  const lengths = [3, 3, 3, 1];
  const fits = (most: number) => countThatFits(lengths, most, (length) => length);
  assertEquals([0, 2, 3, 6, 8, 9, 10, 11].map(fits), [0, 0, 1, 2, 2, 3, 4, 4]);
});
