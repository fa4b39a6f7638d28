/** The texts of the plain-text protocol that no golden conversation shows. */
import { assertEquals } from "@std/assert";
import {
  encodeHistoryLine,
  encodeText,
  IS_SHOWN,
  minuteOf,
  ownReply,
} from "../../chat/delivery/text.ts";
import type { EventKind } from "../../chat/feed/events.ts";
import { event, userRef } from "../support/test_sender.ts";

Deno.test("encodeText shows exactly the kinds that IS_SHOWN names", () => {
  for (const [kind, isShown] of Object.entries(IS_SHOWN)) {
    const to = kind === "nick" || kind === "direct" ? userRef("2") : undefined;
    for (const isOwn of [true, false]) {
      const text = encodeText(event(kind as EventKind, "1", "hi", "red", { to }), isOwn);
      assertEquals(text !== "", isShown, `${kind}: ${text}`);
    }
  }
});

Deno.test("encodeText shows a change of nickname, and nothing if only the user changed", () => {
  const renamed = event("nick", "1", "", "red", { to: userRef("1", "Anna") });
  assertEquals(encodeText(renamed, true), "Nickname is: Anna");
  assertEquals(encodeText(renamed, false), "nick1 is now known as Anna.");
  const signedIn = event("nick", "1", "", "red", { to: userRef("2", "nick1", true) });
  assertEquals([encodeText(signedIn, true), encodeText(signedIn, false)], ["", ""]);
});

Deno.test("encodeText shows only the others that the user of a session in the room joined or left", () => {
  const to = userRef("2", "Anna");
  const joined = event("join", "1", "", "red", { to });
  assertEquals([encodeText(joined, true), encodeText(joined, false)], ["", "Anna joined room."]);
  const left = event("leave", "1", "", "red", { to });
  assertEquals([encodeText(left, true), encodeText(left, false)], ["", "nick1 left room."]);
});

Deno.test("encodeHistoryLine leaves out a deleted message, and shows an edited one as it is now", () => {
  const message = event("message", "1", "hi", "red", { time: 1_795_372_236_123 });
  assertEquals(encodeHistoryLine({ ...message, editedAt: 5 }), "[2026-11-22 18:30] nick1: hi");
  assertEquals(encodeHistoryLine({ ...message, text: "", deletedAt: 5 }), "");
});

Deno.test("ownReply names all rooms of a user", () => {
  assertEquals(ownReply.isInRoom("Bob", "a"), 'Bob is in room "a".');
  assertEquals(ownReply.isInRooms("Bob", "a", "b"), 'Bob is in rooms "a" and "b".');
  assertEquals(ownReply.isInRooms("Bob", "a", "b", "c"), 'Bob is in rooms "a", "b" and "c".');
  assertEquals(ownReply.isOffline("Bob"), "Bob is offline.");
});

Deno.test("ownReply lists a session with its number, protocol and age", () => {
  const since = minuteOf(1_795_372_236_123);
  assertEquals(
    ownReply.session(1, "text", since, true),
    "#1 plain text since 2026-11-22 18:30 UTC (this session)",
  );
  assertEquals(
    ownReply.session(12, "json", since, false),
    "#12 chat.v1 since 2026-11-22 18:30 UTC",
  );
});
