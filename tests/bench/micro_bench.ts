/**
 * What stands on a message's way, each alone: `deno bench -A tests/bench/micro_bench.ts`.
 *
 * Nanoseconds to compare before and after a change; what people feel is measured by `bench.ts`.
 */
import { systemClock } from "../../chat/clock.ts";
import type { RoomEvent } from "../../chat/events.ts";
import { Feed } from "../../chat/feed.ts";
import { Handler, type Speaker } from "../../chat/handler.ts";
import { limitsFrom } from "../../chat/limits.ts";
import { foldNickname } from "../../chat/names.ts";
import { Sender } from "../../chat/sender.ts";
import type { Storage } from "../../chat/storage.ts";
import { encodeText } from "../../chat/text.ts";
import { feedParts } from "../house.ts";

const event: RoomEvent = {
  kind: "message",
  room: "chalice",
  id: "01JD000000000000000000000",
  nick: "Jenny",
  text: "a message of a usual length",
  time: 1_795_372_236_123,
};

/** Results end here, so that no work is found to be of no use and left out. */
export let kept: unknown;

Deno.bench("encodeText", () => {
  kept = encodeText(event, false);
});

Deno.bench("foldNickname, ASCII", () => {
  kept = foldNickname("JennyJones");
});
Deno.bench("foldNickname, other scripts", () => {
  kept = foldNickname("Ζωή Пётр");
});

const limits = limitsFrom();
// Settles at once, so that only the handler's own work is left.
const settlingFeed = {
  submit: (_: string, { settle }: Parameters<Feed["submit"]>[1]) => settle("done"),
} as unknown as Feed;
const handler = new Handler({
  storage: {} as Storage,
  feed: settlingFeed,
  sender: new Sender(limits),
  limits,
  clock: systemClock,
});
const speaker = {
  record: { id: event.id, nick: event.nick, room: event.room },
  pending: 0,
  wake: undefined,
} as Speaker;

Deno.bench("Handler, a message", () => void handler.handle(speaker, event.text));

const sender = new Sender(limits);
for (let i = 0; i < 100; i++) {
  const id = String(i);
  sender.add(id, { readyState: 1, bufferedAmount: 0, send() {}, close() {} }, () => {});
  sender.deliver({ ...event, kind: "join", id });
}

Deno.bench("Sender, an event to a room of 100", () => void sender.deliver(event));

const kv = await Deno.openKv(":memory:");
const feed = new Feed(await feedParts(kv, "01BENCH", { deliver: () => 1 }));
await feed.open();
const append = () =>
  new Promise((settle) => void feed.submit(event.room, { event, settle: () => settle(undefined) }));

Deno.bench("feed append, one, KV in memory", async () => void await append());
Deno.bench("feed append, 100 at once, KV in memory", async () => {
  await Promise.all(Array.from({ length: 100 }, append));
});
