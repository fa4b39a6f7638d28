/**
 * What a session did itself, as history keeps it: its joins and leaves, and the `cid`s of the messages
 * that it sent over any instance.
 *
 * This file changes no session, except that it fills in the `cid`s.
 */
import type { LoggedEvent, RoomEvent } from "../feed/events.ts";
import type { History } from "../history/history.ts";
import { cidKey, MAX_CIDS, rememberCid, type Session } from "../storage/records.ts";
import type { Storage } from "../storage/storage.ts";

/** Most of a session's own events that are read. */
const MAX_OWN_READ = 4_000;

/** How far back the own events are needed. */
export interface OwnNeeds {
  /** An event ID: one event that is as old is enough. */
  readonly last: string;
  /** Rooms whose newest join is needed, however old it is. */
  readonly joined: ReadonlySet<string>;
}

/** What a session did itself, as far as it is kept and was needed. */
export interface OwnEvents {
  /** The joins and leaves, newest first. */
  readonly moves: readonly LoggedEvent[];
  /** The ID of the oldest event that was read; a letter after all IDs if there is none. */
  readonly oldestId: string;
  /** Whether all kept events were read. */
  readonly isWhole: boolean;
}

/** Needs that {@linkcode readOwn} meets by the `cid`s alone. */
export const ONLY_CIDS: OwnNeeds = { last: "~", joined: new Set() };

/** Returns whether an event is a session's join or leave, and not a change of its user. */
export function isMove({ kind, to }: RoomEvent): boolean {
  return (kind === "join" || kind === "leave") && to === undefined;
}

/**
 * Returns what a session did itself, from the newest event back to what is needed. Fills in the `cid`s
 * of the messages that it sent, if they are not known yet.
 *
 * @throws when KV cannot be read.
 */
export async function readOwn(
  { history, storage }: { readonly history: History; readonly storage: Storage },
  session: Session,
  { last, joined }: OwnNeeds,
): Promise<OwnEvents> {
  // The rooms are in several shards, and each is read up to the present by itself.
  await storage.reached();
  const moves: LoggedEvent[] = [];
  const sent = new Map<string, LoggedEvent>();
  const missing = new Set(joined);
  let oldestId = "~", isWhole = true, read = 0;
  const isRecalled = () => session.areCidsRecalled || sent.size >= MAX_CIDS;
  for await (const entry of history.newestOf(["own", session.id])) {
    if (isRecalled() && oldestId <= last && missing.size === 0 || ++read > MAX_OWN_READ) {
      isWhole = false;
      break;
    }
    const { eventId, event } = entry;
    oldestId = eventId;
    if (isMove(event)) {
      moves.push(entry);
      if (event.kind === "join") missing.delete(event.room);
    } else if (event.cid !== "" && !isRecalled()) sent.set(cidKey(event.kind, event.cid), entry);
  }
  if (!session.areCidsRecalled) {
    for (const [key, { eventId, event }] of [...sent].reverse()) {
      rememberCid(session, key, eventId, isKeptDirect(event));
    }
    session.areCidsRecalled = true;
  }
  return { moves, oldestId, isWhole };
}

function isKeptDirect({ account, to }: RoomEvent): boolean {
  return account !== "" && to?.isRegistered === true;
}
