/** The stored form of events: what is written is read again, and bounds of its size hold. */
import { assert, assertEquals } from "@std/assert";
import { serialize } from "node:v8";
import {
  authorOf,
  authorRef,
  estimateStoredBytes,
  maxStoredBytes,
  pack,
  type RoomEvent,
  unpack,
  type UserRef,
} from "../../chat/feed/events.ts";

const ANN: UserRef = { user: "A", nick: "Ann", isRegistered: true };

function event(kind: RoomEvent["kind"], own: Partial<RoomEvent> = {}): RoomEvent {
  const fields = { room: "red", id: "1", account: "", nick: "Bob", text: "", time: 7, cid: "" };
  return { kind, ...fields, ...own };
}

/** Returns an event without the fields that are `undefined`. */
function defined(event: RoomEvent | undefined): unknown {
  return event &&
    Object.fromEntries(Object.entries(event).filter(([, each]) => each !== undefined));
}

const EVENTS: readonly RoomEvent[] = [
  event("message", { text: "hi", cid: "c" }),
  event("message", { text: "hi", account: "B" }),
  event("action", { text: "waves", editedAt: 8 }),
  event("message", { deletedAt: 9 }),
  event("join"),
  event("join", { account: "B", isQuiet: true }),
  event("join", { account: "A", nick: "Ann", to: ANN }),
  event("leave"),
  event("leave", { isQuiet: true }),
  event("leave", { to: ANN }),
  event("nick", { to: ANN }),
  event("nick", { to: { user: "1", nick: "Bo", isRegistered: false } }),
  event("nick", { account: "B", to: ANN, isQuiet: true }),
  event("direct", { room: "", text: "psst", to: ANN, cid: "c", editedAt: 8 }),
  event("resume", { room: "", text: "01B", cid: "hash" }),
  event("edit", { text: "ho", target: "i001" }),
  event("delete", { room: "", target: "i001", to: ANN }),
  event("read", { account: "B", target: "i001" }),
  event("message", { text: "hi", reactions: "0:A 1:B" }),
  event("direct", { room: "", text: "psst", to: ANN, editedAt: 8, reactions: "0:A" }),
  event("reaction", { text: "❤️", target: "i001", count: 1 }),
  event("reaction", { room: "", text: "👍", target: "i001", to: ANN, count: 200, isRemoved: true }),
  event("away", { account: "B", count: 1 }),
  event("away", { count: 0, isQuiet: true }),
];

Deno.test("pack and unpack keep every field of every kind of event", () => {
  for (const each of EVENTS) assertEquals(defined(unpack(pack(each))), defined(each));
});

Deno.test("estimateStoredBytes and maxStoredBytes are bounds of the stored form", () => {
  for (const each of EVENTS) {
    for (const text of ["", "x".repeat(300), "ж".repeat(300)]) {
      const long = { ...each, text, nick: text || each.nick };
      const bytes = serialize(pack(long)).length;
      assert(estimateStoredBytes(long) >= bytes, `${each.kind}: ${bytes}`);
      assert(maxStoredBytes(long) >= bytes, `${each.kind}: ${bytes}`);
    }
  }
});

Deno.test("unpack reads what earlier versions stored, and skips what it does not know", () => {
  assertEquals(
    defined(unpack(["nick", "red", "1", "Bob", "Bo", 7])),
    event("nick", { to: { user: "1", nick: "Bo", isRegistered: false } }),
  );
  assertEquals(defined(unpack(["join", "red", "1", "Bob", "", 7])), event("join"));
  // Direct messages were sent to sessions that are over.
  assertEquals(unpack(["direct", "2", "1", "Bob", "psst", 7, "", "3", "Ann"]), undefined);
  for (const unknown of [["party", "red", "1", "Bob", "", 7], ["join", "red"], {}, null, "join"]) {
    assertEquals(unpack(unknown), undefined);
  }
});

Deno.test("authorOf and authorRef name the registered user, or else the session", () => {
  assertEquals(authorOf(event("join")), "1");
  assertEquals(authorRef(event("join")), { user: "1", nick: "Bob", isRegistered: false });
  assertEquals(authorRef(event("join", { account: "B" })), {
    user: "B",
    nick: "Bob",
    isRegistered: true,
  });
});
