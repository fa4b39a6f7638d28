/** A feed and the history of its events, without the rest of a chat, for tests of history. */
import { openMetrics } from "../../chat/base/metrics.ts";
import type { Clock } from "../../chat/base/clock.ts";
import type { Operation } from "../../chat/feed/batch.ts";
import type { RoomEvent, UserRef } from "../../chat/feed/events.ts";
import { Feed } from "../../chat/feed/feed.ts";
import { History, type HistoryParts } from "../../chat/history/history.ts";
import { retentionOf } from "../../chat/history/retention.ts";
import { DIRECT_FEED_NAME } from "../../chat/kv/keys.ts";
import { compactingAfter } from "./fake_clock.ts";
import { feedParts } from "./feed_parts.ts";

const WEEK_MS = 7 * 86_400_000;

/** Two registered users. */
export const ANN: UserRef = { user: "01USERANN", nick: "Ann", isRegistered: true };
export const BOB: UserRef = { user: "01USERBOB", nick: "Bob", isRegistered: true };

/** Returns an event of Ann's. */
export function eventBy(own: Partial<RoomEvent> & Pick<RoomEvent, "kind">): RoomEvent {
  const id = "01SESSION", time = Date.now();
  const { user: account, nick } = ANN;
  return { room: "red", id, account, nick, text: "", time, cid: "", ...own };
}

/** Returns a direct message of Ann's. */
export function directBy(own: Partial<RoomEvent>): RoomEvent {
  return eventBy({ kind: "direct", room: "", to: BOB, ...own });
}

/** The feed and the history of one instance. */
export interface FeedHistory extends AsyncDisposable {
  readonly feed: Feed;
  readonly history: History;
  /** The operations that history has submitted. */
  readonly operations: Operation[];
  readonly warnings: string[];
  /** Submits an event. Resolves with its ID when it is delivered. */
  say(event: RoomEvent): Promise<string>;
  /** Submits events at the same time, so that they share a commit. */
  sayAll(events: readonly RoomEvent[]): Promise<string[]>;
}

/** Opens a feed and its history. `instance`: an ID that no other one has. */
export async function openFeedHistory(
  kv: Deno.Kv,
  instance = "01A",
  own: Partial<HistoryParts> & { readonly clock?: Clock } = {},
): Promise<FeedHistory> {
  const { clock = compactingAfter(20) } = own;
  const operations: Operation[] = [], warnings: string[] = [];
  const warn = (message: string) => void warnings.push(message);
  const feed: Feed = new Feed(
    await feedParts(kv, instance, {
      clock,
      warn,
      deliver(event, eventId, shard) {
        history.add(event, eventId, shard);
        return 0;
      },
      async commitDelivered(shard, versionstamp) {
        await history.commitDelivered(shard, versionstamp);
        return 0;
      },
    }),
  );
  const history: History = new History({
    metrics: openMetrics(),
    kv,
    clock,
    retention: retentionOf(WEEK_MS, 30_000),
    maxBytes: Infinity,
    shards: 8,
    feedRowMs: 600_000,
    shardOf: (name) => feed.shardOf(name),
    submit(name, operation) {
      operations.push(operation);
      feed.submit(name, operation);
    },
    warn,
    ...own,
  });
  history.start(await feed.open());
  const say = (event: RoomEvent) =>
    new Promise<string>((resolve, reject) => {
      const settle: Operation["settle"] = (outcome, eventId) =>
        eventId === undefined ? reject(new Error(outcome)) : resolve(eventId);
      feed.submit(event.room || DIRECT_FEED_NAME, { events: [event], settle });
    });
  return {
    feed,
    history,
    operations,
    warnings,
    say,
    sayAll: (events) => Promise.all(events.map(say)),
    async [Symbol.asyncDispose]() {
      await feed.flush();
      await feed.close();
      await history.close();
    },
  };
}
