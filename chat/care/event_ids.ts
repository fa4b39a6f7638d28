/**
 * The IDs of imported events. An ID comes from the versionstamp of a commit, and a new database counts
 * these from the start, so an imported ID could be later than those of new events.
 *
 * An imported event gets an ID that is earlier than every ID of the new database. The order stays.
 */
import type { LoggedEvent } from "../feed/events.ts";
import { isEventId, isRevision } from "../history/streams.ts";

/** Returns the ID of an imported event: the letter "a" is before those of all new IDs. */
export function importedId(id: string): string {
  return isEventId(id) ? `a${id.charCodeAt(0).toString(16)}${id.slice(1)}` : id;
}

/** Returns an imported event, with the new IDs of itself and of the message that it is about. */
export function importedEvent({ eventId, event }: LoggedEvent): LoggedEvent {
  const { target, subject } = event;
  const changes = isRevision(event) && target !== undefined
    ? { target: importedId(target) }
    : event.kind === "act" && subject !== undefined
    ? { subject: importedId(subject) }
    : {};
  return { eventId: importedId(eventId), event: { ...event, ...changes } };
}
