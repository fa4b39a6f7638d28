/** The page's table of acts and its commands, compared with those of the server. No browser is needed. */
import { assertEquals } from "@std/assert";
import {
  type ActName,
  type ActRow,
  ACTS,
  MAX_ACT_TEXT_CHARS,
  sentenceOf,
} from "../../chat/base/acts.ts";
import { inWords as serverInWords } from "../../chat/base/durations.ts";
import { actWordsFrom } from "../../chat/page/act_words.js";
import * as page from "../../chat/page/acts.js";
import { questionOf } from "../../chat/page/questions.js";
import { actWordsFrom as serverActWordsFrom } from "../../chat/protocols/act_words.ts";

const NAMES = Object.keys(ACTS) as ActName[];

Deno.test("the page's table of acts says the same as the server's", () => {
  assertEquals(Object.keys(page.ACTS), NAMES);
  for (const name of NAMES) {
    const row: ActRow = ACTS[name];
    const { number, needs: _needs, ...own } = page.ACTS[name];
    const { about, isChatWide, takesNetwork, takesTime, text, help, sentence, otherwise } = row;
    const shared = { about, isChatWide, takesNetwork, takesTime, text, help, sentence, otherwise };
    const present = Object.entries(shared).filter(([, value]) => value !== undefined);
    assertEquals<unknown>(own, Object.fromEntries(present), name);
    assertEquals(number, row.count?.name, name);
  }
  assertEquals(page.MAX_ACT_TEXT_CHARS, MAX_ACT_TEXT_CHARS);
});

Deno.test("predicateOf words every act as the server does, for all readers", () => {
  const time = 1_000_000;
  const seen = new Set<string>();
  for (const act of NAMES) {
    for (const on of [undefined, "Bob"]) {
      for (const room of ["", "red"]) {
        for (const text of ["", "spam: {on} $& $1"]) {
          for (const seconds of [undefined, 600]) {
            for (const count of [undefined, 0, 1, 90]) {
              for (const [isYou, namesRoom] of [[false, false], [false, true], [true, true]]) {
                // No such events exist.
                if (isYou && on === undefined) continue;
                if ((ACTS[act] as ActRow).count && count === undefined) continue;
                const told = { act, by: "Ann", on, isYou, room, namesRoom, text, seconds, count };
                const isTopic = act === "topic";
                const words = page.predicateOf({
                  act,
                  room: room || undefined,
                  on: on === undefined ? undefined : { user: "u", nick: on },
                  time,
                  until: seconds === undefined ? undefined : time + seconds * 1000,
                  reason: isTopic ? undefined : text || undefined,
                  text: isTopic ? text : undefined,
                  count,
                }, { isYou, namesRoom });
                const plain = `Ann ${words.replace(/[\u2068\u2069]/g, "")}`;
                assertEquals(plain, sentenceOf(told), JSON.stringify(told));
                seen.add(plain);
              }
            }
          }
        }
      }
    }
  }
  assertEquals(seen.has("Ann banned you from the chat for 10 minutes"), true);
  assertEquals(seen.has('Ann deleted 1 message by Bob in "red"'), true);
});

Deno.test("predicateOf isolates names, and has words for an act that the page does not know", () => {
  const event = { act: "ban", on: { user: "u", nick: "Bob" }, time: 0 } as const;
  assertEquals(page.predicateOf(event), "banned \u2068Bob\u2069 from the chat");
  const later = { ...event, act: "constructor" as "ban" };
  assertEquals(page.predicateOf(later), "constructor \u2068Bob\u2069");
});

Deno.test("inWords says spans as the server does", () => {
  for (const seconds of [0, 0.2, 1, 59, 60, 61, 119, 120, 3599, 3600, 5400, 86_400, 90_000, 6e6]) {
    assertEquals(page.inWords(seconds), serverInWords(seconds));
  }
});

Deno.test("actWordsFrom reads the words after every command as the terminal does", () => {
  const lines = [
    "",
    "Bob",
    '"Bob the Builder" 10m he knows why',
    '"Bob"x spam',
    '"Bob',
    "Bob 10m",
    "Bob 10 minutes",
    "Bob +5m",
    "Bob 7d  two  spaces ",
    "Bob 0m",
    "Bob 5 spam",
    "Bob five spam",
    "Bob for spam",
    "10m",
    '"10m"',
    '"10m" 10m',
    "10m a reason",
    "30",
    "12345678901",
    "192.0.2.7 10m spam",
    '"192.0.2.7" 10m spam',
    "192.0.2.0/24 --force spam",
    "192.0.2.0/33",
    "192.0.2.256",
    "1.2.3",
    "::1",
    "2001:db8::/32 1h",
    "a:b spam",
    "a topic: https://example.org/",
  ];
  for (const name of NAMES) {
    for (const line of lines) {
      const expected = serverActWordsFrom(name, line);
      const read = actWordsFrom(name, line);
      const message = `/${name} ${line}`;
      if (typeof expected === "string" || typeof read === "string") {
        assertEquals(read, expected as typeof read, message);
        continue;
      }
      const { user, network, isForced, seconds, count, text } = expected;
      assertEquals(read.nick, user && "nick" in user ? user.nick : undefined, message);
      assertEquals([read.network, read.force ?? false], [network, isForced ?? false], message);
      assertEquals([read.for, read.seconds ?? read.count], [seconds, count], message);
      assertEquals(
        read.text ?? read.reason ?? "",
        (ACTS[name] as ActRow).text ? text : "",
        message,
      );
    }
  }
});

Deno.test("a question has a field for each thing that its act takes, and the words for it", () => {
  const fieldsOf = (name: ActName, nick?: string, isOperator = false) =>
    Object.keys(questionOf(name, { nick, isOperator }, () => Promise.resolve()).fields ?? {});
  assertEquals(fieldsOf("ban", "Bob"), ["for", "reason"]);
  assertEquals(fieldsOf("ban", "Bob", true), ["for", "reason", "everywhere"]);
  assertEquals(fieldsOf("mute"), ["for", "reason"]);
  assertEquals(fieldsOf("purge", "Bob"), ["count", "reason"]);
  assertEquals(fieldsOf("unban"), ["nick", "reason"]);
  assertEquals(fieldsOf("topic"), ["text"]);
  let submitted: unknown;
  const { title, submit } = questionOf("ban", { nick: "$& {nick}" }, (words, isChatWide) => {
    submitted = { ...words, isChatWide };
    return Promise.resolve();
  });
  assertEquals(title, "Ban $& {nick}?");
  submit({ for: "600", reason: "", everywhere: "on" });
  assertEquals(submitted, { for: 600, isChatWide: true });
  submit({ for: "", reason: "spam", everywhere: "" });
  assertEquals(submitted, { reason: "spam", isChatWide: false });
});
