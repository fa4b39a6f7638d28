/**
 * Gives missed edits the texts that the messages have now: history keeps edits without texts.
 *
 * An edit of a message that is deleted or no longer kept is left out. Look-ups are bounded.
 */
import { eachOf } from "../base/each_of.ts";
import type { LoggedEvent } from "../feed/events.ts";
import type { History } from "../history/history.ts";
import { keepEntries, type MissedParts } from "./missed_parts.ts";

/** Edited messages that are looked up for one client. */
const MAX_LOOKUPS = 100;

/** Look-ups at the same time. */
const MAX_LOOKUPS_AT_ONCE = 8;

/** An edit, and the message in its stream. */
interface Edit {
  readonly eventId: string;
  readonly room: string | undefined;
  readonly target: string;
}

/**
 * Fills in the texts of the edits among missed events. `user` is the one whose direct messages they
 * are. If there are too many, the older edits are dropped with all events before them.
 *
 * @throws when KV cannot be read.
 */
export async function fillEdits(history: History, user: string, parts: MissedParts): Promise<void> {
  const texts = new Map<string, string | undefined>();
  const newestFirst = parts.all().flatMap(({ room, entries }) =>
    entries.filter(isEdit).map(({ eventId, event }): Edit => {
      return { eventId, room, target: event.target ?? "" };
    })
  ).sort((one, other) => one.eventId > other.eventId ? -1 : 1);
  const wanted = new Map<string, Edit>();
  for (const edit of newestFirst) {
    if (wanted.size === MAX_LOOKUPS && !wanted.has(edit.target)) {
      parts.cutUpTo(edit.eventId);
      break;
    }
    wanted.set(edit.target, edit);
  }
  await eachOf([...wanted.values()], MAX_LOOKUPS_AT_ONCE, async ({ room, target }) => {
    const found = await history.find(room === undefined ? ["direct", user] : ["log", room], target);
    if (found !== undefined && found.event.deletedAt === undefined) {
      texts.set(target, found.event.text);
    }
  });
  for (const part of parts.all()) {
    keepEntries(part, (entry) => {
      if (!isEdit(entry)) return entry;
      const text = texts.get(entry.event.target ?? "");
      return text === undefined ? undefined : { ...entry, event: { ...entry.event, text } };
    });
  }
}

function isEdit({ event }: LoggedEvent): boolean {
  return event.kind === "edit";
}
