/** The JSON of events: the fields of every kind. */
import { assertEquals } from "@std/assert";
import { encodeJson, encodeReply, userFields } from "../../chat/delivery/json.ts";
import type { RoomEvent } from "../../chat/feed/events.ts";
import { event, userRef } from "../support/test_sender.ts";

const encoded = (each: RoomEvent, keepsHistory?: boolean) =>
  JSON.parse(encodeJson(each, "id1", keepsHistory));
const BOB = userRef("bob", "Bob", true);
const ANN = { user: "1", nick: "nick1" };

Deno.test("encodeJson names the author by user and nickname, and registered authors as such", () => {
  const message = event("message", "1", "hi");
  const line = { type: "message", id: "id1", room: "red", ...ANN, text: "hi", time: 0 };
  assertEquals(encoded(message), line);
  assertEquals(encoded({ ...message, account: "ann" }), { ...line, user: "ann", registered: true });
  assertEquals(encoded({ ...message, kind: "action", cid: "c" }), {
    ...line,
    type: "action",
    cid: "c",
  });
});

Deno.test("encodeJson says when a message was edited, or else when it was deleted", () => {
  const message = event("message", "1", "hi", "red", { editedAt: 5 });
  assertEquals([encoded(message).edited, encoded(message).deleted], [5, undefined]);
  const deleted = encoded({ ...message, text: "", deletedAt: 7 });
  assertEquals([deleted.text, deleted.edited, deleted.deleted], ["", undefined, 7]);
  const direct = encoded(event("direct", "1", "hi", "", { to: BOB, editedAt: 5 }));
  assertEquals(direct.edited, 5);
});

Deno.test("encodeJson writes every other kind of event with its documented fields", () => {
  const where = { id: "id1", room: "red", ...ANN };
  const to = { user: "bob", nick: "Bob", registered: true };
  assertEquals(encoded(event("join", "1")), { type: "joined", ...where, time: 0 });
  assertEquals(encoded(event("leave", "1")), { type: "left", ...where, time: 0 });
  assertEquals(encoded(event("nick", "1", "", "red", { to: BOB })), {
    type: "nick",
    ...where,
    to,
    time: 0,
  });
  const change = { target: "id0" };
  const edit = event("edit", "1", "better", "red", change);
  assertEquals(encoded(edit), { type: "edited", ...where, ...change, text: "better", time: 0 });
  const removal = event("delete", "1", "", "red", change);
  assertEquals(encoded(removal), { type: "deleted", ...where, ...change, time: 0 });
  assertEquals(encoded({ ...removal, room: "", to: BOB }), {
    type: "deleted",
    id: "id1",
    ...ANN,
    to,
    ...change,
    time: 0,
  });
  assertEquals(encoded(event("read", "1", "", "red", change)), {
    type: "read",
    room: "red",
    id: "id0",
  });
  const away = { type: "away", ...where, room: "red", id: "id1", time: 0 };
  assertEquals(encoded(event("away", "1", "", "red", { count: 1 })), { ...away, away: true });
  assertEquals(encoded(event("away", "1", "", "red", { count: 0 })), { ...away, away: false });
  assertEquals(encodeJson(event("resume", "1"), "id1"), "");
});

Deno.test("encodeJson says that a direct message is kept only if both users are registered and history is on", () => {
  const message = event("direct", "1", "hi", "", { account: "ann", to: BOB });
  assertEquals(encoded(message).kept, true);
  assertEquals(encoded(message, false).kept, undefined);
  assertEquals(encoded({ ...message, account: "" }).kept, undefined);
  assertEquals(encoded({ ...message, to: userRef("2") }).kept, undefined);
});

Deno.test("encodeJson escapes what a client chose: names, texts and IDs", () => {
  const bad = '"\\\n\ud800';
  const well = bad.toWellFormed();
  const to = userRef(bad, bad);
  const marker = encoded(event("read", "1", "", "", { to, target: bad }));
  assertEquals([marker.with, marker.id], [well, well]);
  const direct = encoded(event("direct", "1", bad, "", { nick: bad, cid: bad, to }));
  assertEquals([direct.nick, direct.text, direct.cid, direct.to], [well, well, well, {
    user: well,
    nick: well,
  }]);
  const edit = encoded(event("edit", "1", bad, bad, { target: bad }));
  assertEquals([edit.room, edit.text, edit.target], [well, well, well]);
});

Deno.test("userFields names a user in a reply as events do", () => {
  assertEquals(JSON.parse(encodeReply("ok", 1, { ...userFields(BOB) })), {
    type: "ok",
    ref: 1,
    user: "bob",
    nick: "Bob",
    registered: true,
  });
  assertEquals(userFields(userRef("1")), ANN);
});
