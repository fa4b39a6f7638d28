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
import { event, userRef } from "../support/sender_house.ts";

Deno.test("encodeText shows exactly the kinds that IS_SHOWN names", () => {
  for (const [kind, isShown] of Object.entries(IS_SHOWN)) {
    const to = kind === "nick" || kind === "direct" ? userRef("2") : undefined;
    for (const isOwn of [true, false]) {
      const text = encodeText(event(kind as EventKind, "1", "hi", "red", { to }), isOwn);
      assertEquals(text !== "", isShown, `${kind}: ${text}`);
    }
  }
});

Deno.test("encodeText shows a session its new nickname, whatever is told to the others, and only a new one", () => {
  for (const kind of ["nick", "join", "leave"] as const) {
    const renamed = event(kind, "1", "", "red", { to: userRef("2", "Anna") });
    assertEquals(encodeText(renamed, true), "Nickname is: Anna");
    const signedIn = event(kind, "1", "", "red", { to: userRef("2", "nick1", true) });
    assertEquals(encodeText(signedIn, true), "");
  }
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
