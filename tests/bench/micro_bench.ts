/**
 * Benchmarks of the functions on a message's path, each alone:
 * `deno bench -A tests/bench/micro_bench.ts`.
 *
 * They compare a function before and after a change. `bench.ts` measures what a client notices.
 */
import { type Operation, takeBatch } from "../../chat/feed/batch.ts";
import { systemClock } from "../../chat/base/clock.ts";
import type { RoomEvent } from "../../chat/feed/events.ts";
import { Feed } from "../../chat/feed/feed.ts";
import type { Connection } from "../../chat/connections/connection.ts";
import { type MessageRequest, Messages } from "../../chat/handler/messages.ts";
import { RoomNames } from "../../chat/handler/room_names.ts";
import type { Users } from "../../chat/handler/users.ts";
import { Confusables } from "../../chat/nicknames/confusables.ts";
import { limitsFrom } from "../../chat/base/limits.ts";
import { foldNickname } from "../../chat/nicknames/names.ts";
import { Sender } from "../../chat/delivery/sender.ts";
import type { WireFormat } from "../../chat/delivery/subscriber.ts";
import { encodeJson } from "../../chat/delivery/json.ts";
import type { Resume } from "../../chat/resume/resume.ts";
import type { Conversations } from "../../chat/storage/conversations.ts";
import { newRecord } from "../../chat/storage/records.ts";
import type { Storage } from "../../chat/storage/storage.ts";
import { encodeText } from "../../chat/delivery/text.ts";
import { feedParts } from "../support/feed_parts.ts";

const event: RoomEvent = {
  kind: "message",
  room: "chalice",
  id: "01JD000000000000000000000",
  account: "",
  nick: "Jenny",
  text: "a message of a usual length",
  time: 1_795_372_236_123,
  cid: "",
};
const AT = "i29160000000";

/** Keeps results, so that the compiler cannot leave out work whose result is not used. */
export let kept: unknown;

Deno.bench("encodeText", () => {
  kept = encodeText(event, false);
});
Deno.bench("encodeJson", () => {
  kept = encodeJson(event, AT);
});

Deno.bench("foldNickname, ASCII", () => {
  kept = foldNickname("JennyJones");
});
Deno.bench("foldNickname, other scripts", () => {
  kept = foldNickname("Ζωή Пётр");
});

const limits = limitsFrom();
// Settles at once, so that only the handler's own work is measured.
const settlingFeed = {
  submit: (_: string, { settle }: Parameters<Feed["submit"]>[1]) => settle("done"),
} as unknown as Feed;
const messages = new Messages({
  storage: {} as Storage,
  conversations: {} as Conversations,
  feed: settlingFeed,
  resume: {} as Resume,
  roomNames: new RoomNames(new Confusables(), limits),
  users: {} as Users,
  clock: systemClock,
});
const connection = {
  session: {
    ...newRecord(event.id, 0, "json"),
    nick: event.nick,
    rooms: new Set([event.room]),
  },
  messageSubmitted: () => {},
  messageSettled: () => {},
  whenMessageAllowed: () => {},
} as unknown as Connection;
const words: MessageRequest = {
  kind: "message",
  text: event.text,
  room: event.room,
  settle: (result) => kept = result,
};

Deno.bench("Messages, a message to a room", () => void messages.say(connection, words));

const settle = () => {};
const operations = Array.from(
  { length: 300 },
  (): Operation => ({ events: [event], eventBytes: 130, settle }),
);
// As Storage makes it: a row and its mirror, the head count, and the row for the clean-up.
const join = (i: number): Operation => ({
  checks: [{ key: ["taken", "01JD000000000000000000001", event.id, `${i}`], versionstamp: null }],
  mutations: [
    { type: "set", key: ["row", `${event.id}${i}`, "room_chalice"], value: { nick: "Jenny" } },
    { type: "set", key: ["reverse_lookup", "room_chalice", event.id], value: { nick: "Jenny" } },
    { type: "sum", key: ["room", "chalice"], value: new Deno.KvU64(1n) },
    {
      type: "set",
      key: ["instance_row", "01JD000000000000000000001", `${event.id}${i}`],
      value: { nick: "Jenny", room: "chalice", since: event.time, tokens: [event.id], era: "" },
    },
  ],
  events: [{ ...event, kind: "join", id: `${i}` }],
  eventBytes: 130,
  settle,
});
const joins = Array.from({ length: 50 }, (_, i) => join(i));

Deno.bench("takeBatch, 300 messages", () => {
  kept = takeBatch([...operations]);
});
Deno.bench("takeBatch, 50 joins", () => {
  kept = takeBatch([...joins], undefined, 90);
});

// Not a FakeSocket: that would keep every frame.
const socket = { readyState: 1, bufferedAmount: 0, send() {}, close() {} };

function roomOf(many: number, wire: WireFormat): Sender {
  const sender = new Sender(limits);
  for (let i = 0; i < many; i++) {
    const id = String(i);
    sender.bind(sender.add(socket, wire, () => {}), id);
    sender.deliver({ ...event, kind: "join", id }, AT);
  }
  sender.flush();
  return sender;
}

const text = roomOf(100, "text");
Deno.bench("Sender, an event to a room of 100 plain-text clients", () => {
  kept = text.deliver(event, AT);
});
const json = roomOf(100, "json");
Deno.bench("Sender, 20 events in one frame to a room of 100 chat.v1 clients", () => {
  for (let i = 0; i < 20; i++) json.deliver(event, AT);
  kept = json.flush();
});

const kv = await Deno.openKv(":memory:");
const feed = new Feed(await feedParts(kv, "01BENCH", { deliver: () => 1 }));
await feed.open();
const append = () =>
  new Promise((settle) =>
    void feed.submit(event.room, { events: [event], settle: () => settle(undefined) })
  );

Deno.bench("feed append, one, KV in memory", async () => void await append());
Deno.bench("feed append, 100 at once, KV in memory", async () => {
  await Promise.all(Array.from({ length: 100 }, append));
});
