/**
 * Joins several streams of events into one, in the order of their IDs.
 *
 * It holds one event of each stream at a time, so a reader that stops early has read little.
 */
import type { LoggedEvent } from "../feed/events.ts";

/** Whether the streams, and what is made of them, begin with the oldest or the newest event. */
export type Order = "oldest first" | "newest first";

/** Yields the events of streams that are in this order, in the same order. An ID comes once. */
export async function* inOrder(
  streams: readonly AsyncGenerator<LoggedEvent>[],
  order: Order = "oldest first",
): AsyncGenerator<LoggedEvent> {
  const isBefore = (one: LoggedEvent, other: LoggedEvent) =>
    order === "oldest first" ? one.eventId < other.eventId : one.eventId > other.eventId;
  try {
    const heads = await Promise.all(streams.map((stream) => stream.next()));
    let last = "";
    while (true) {
      let first: LoggedEvent | undefined, from = 0;
      for (const [i, { done, value }] of heads.entries()) {
        if (!done && (first === undefined || isBefore(value, first))) [first, from] = [value, i];
      }
      if (first === undefined) return;
      if (first.eventId !== last) yield first;
      last = first.eventId;
      heads[from] = await streams[from]!.next();
    }
  } finally {
    await Promise.all(streams.map((stream) => stream.return(undefined)));
  }
}
