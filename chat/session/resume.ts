/**
 * Coming back: a place that is kept for a while, a token that leads back to it, and what was missed.
 *
 * Between Handler and Storage. A connection is taken over at a place in the one order, by an event
 * of its own: what is before that and was not seen is read from history, what comes after is held
 * until that has been told. So nothing is missing, and nothing comes twice.
 */
import { type Clock, delay } from "../base/clock.ts";
import { retry } from "../kv/retry.ts";
import { encodedEventBytes, MAX_RESUME_BYTES } from "../delivery/encoded_size.ts";
import type { LoggedEvent } from "../feed/events.ts";
import type { History } from "../history/history.ts";
import { rejection, type Result } from "../base/rejections.ts";
import { MAX_CLOCK_ERROR_MS } from "../history/retention.ts";
import type { Sender, Subscriber } from "../delivery/sender.ts";
import { MAX_CIDS, rememberCid, saidKey, type SessionRecord } from "../storage/records.ts";
import type { Storage } from "../storage/storage.ts";
import type { Resumable } from "../storage/takeover.ts";
import type { Stream } from "../history/memtable.ts";
import { hashToken, isToken, newToken } from "../base/tokens.ts";

/** What coming back is made of. */
export interface ResumeParts {
  readonly storage: Storage;
  readonly history: History;
  readonly sender: Sender;
  readonly clock: Clock;
  /** The id of this instance. */
  readonly instance: string;
  /** Milliseconds for which the place of somebody who dropped out is kept; 0: it is not. */
  readonly grace: number;
  /**
   * Has the socket that has a connection now, if it is here, wait with everything until what this
   * resolves to is called.
   */
  suspend(id: string): Promise<() => void>;
  /** When an instance was alive last, in Unix milliseconds, if that is known. It may throw. */
  aliveAt(instance: string): Promise<number | undefined>;
}

/**
 * Where a client was: the IDs of the last events that it saw, of a room, of the direct messages that
 * it received, and of those that it sent. Without `sent`, `direct` counts for both.
 */
export interface Seen {
  readonly last?: string;
  readonly direct?: string;
  readonly sent?: string;
}

/** An event that was missed; `isSent`: a direct message, as the client that sent it sees it. */
export interface MissedEntry extends LoggedEvent {
  readonly isSent: boolean;
}

/** What was missed. */
export interface MissedEvents {
  /** In their order; at most {@linkcode MAX_MISSED_EVENTS}. */
  readonly entries: readonly MissedEntry[];
  /** Nothing is missing. */
  readonly recovered: boolean;
  /** Why something may be. */
  readonly reason?: Reason;
  /** The id from which on nothing is missing, if something may be and it is known. */
  readonly from?: string;
}

type Reason = "expired" | "too-many" | "history-off" | "unavailable";

/**
 * What came after an event that was seen, as far as it is kept. `isFound`: that event is kept, so
 * this is all; `isClear`: nothing is kept that is as old as it.
 */
interface Missing {
  readonly entries: readonly MissedEntry[];
  readonly isFound: boolean;
  readonly isClear: boolean;
}

/** A stream, and the ID of an event after which all of it has to be there. */
type Needed = readonly [Stream, string];

/** What a connection did, as far as it is kept. */
interface Doings {
  /** Its joins and leaves after the last event that it saw, the newest first. */
  readonly moves: readonly LoggedEvent[];
  /** The newest move before those, if it had to be known and is kept. */
  readonly before: LoggedEvent | undefined;
  /** Something is kept that is as old as the last event that it saw. */
  readonly isReached: boolean;
  /** All that is kept was read. */
  readonly isWhole: boolean;
}

/** A time in a room of which events may have been missed: those after `from`, before `to`. */
interface Stay {
  readonly room: string;
  readonly from: string;
  readonly to: string;
  /** `from` is the joining, and missed as well. */
  readonly isFromJoin: boolean;
}

/** Whether what was kept for so many milliseconds must hold everything that was missed. */
type Covers = (retentionMs: number) => boolean;

/** Somebody who is back. */
export interface Resumption extends MissedEvents {
  readonly record: SessionRecord;
  /** The token for the next time. */
  readonly token: string;
}

/** Most events that are told to whoever comes back. */
export const MAX_MISSED_EVENTS = 1_000;

/** Milliseconds in which it mostly shows that a client has given a socket up. */
const GIVEN_UP_MS = 5_000;

/** Most entries of what a connection did, or was told, that are read for that. */
const MAX_READ = 4 * MAX_MISSED_EVENTS;

/** How often a connection may change under the hands of whoever takes it over. */
const MAX_TAKEOVER_TRIES = 5;

/**
 * Milliseconds: nobody is without a connection for longer than the grace and this, before that is
 * noticed. So with a longer retention nothing that could have been missed is past its time.
 */
const MAX_UNDETECTED_MS = 5 * 60_000;

/**
 * Milliseconds after which a reply has arrived if its socket is still open. The runtime sends a ping
 * after it and closes a socket that does not answer one within 30 s (`idleSeconds` in limits.ts).
 */
export const ARRIVED_MS = 45_000;

/** Milliseconds within which what seemed to fail is written, if at all. */
const LATE_COMMIT_MS = 10_000;

/** The last of these events, as many as may be told at once. */
function newestOf(entries: readonly MissedEntry[]): readonly MissedEntry[] {
  let bytes = 0, many = 0;
  while (many < Math.min(entries.length, MAX_MISSED_EVENTS)) {
    bytes += encodedEventBytes(entries[entries.length - 1 - many]!.event);
    if (bytes > MAX_RESUME_BYTES) break;
    many++;
  }
  return entries.slice(entries.length - many);
}

function inOrder(entries: MissedEntry[]): MissedEntry[] {
  return entries.sort((a, b) =>
    a.eventId === b.eventId ? Number(a.isSent) - Number(b.isSent) : a.eventId < b.eventId ? -1 : 1
  );
}

function isMove({ event: { kind } }: LoggedEvent): boolean {
  return kind === "join" || kind === "leave";
}

/**
 * The stays in rooms since `last`, the newest first, of a connection that is in `room` now, and
 * what moves it made. `isInRoom`: it was in a room at `last`.
 */
function staysOf(
  room: string | undefined,
  moves: readonly LoggedEvent[],
  last: string,
  now: string,
): { stays: Stay[]; isInRoom: boolean } {
  const stays: Stay[] = [];
  let to = now;
  for (const { eventId, event } of moves) {
    if (event.kind === "leave") {
      room = event.room;
      // The leaving is the last event of a room for whoever leaves.
      to = `${eventId}\0`;
    } else {
      stays.push({ room: event.room, from: eventId, to, isFromJoin: true });
      room = undefined;
    }
  }
  if (room !== undefined) stays.push({ room, from: last, to, isFromJoin: false });
  return { stays, isInRoom: room !== undefined };
}

/** Coming back, for all connections of an instance. */
export class Resume {
  readonly #parts: ResumeParts;
  readonly #timers = new Set<() => void>();
  /** Records without a socket that have a timer of their own. */
  readonly #lingering = new Set<SessionRecord>();
  /** One at a time for each connection: two sockets may come with one token. */
  readonly #inProgress = new Map<string, Promise<unknown>>();

  constructor(parts: ResumeParts) {
    this.#parts = parts;
  }

  /** Keeps the place of somebody who dropped out, if that can be. */
  keepPlace(record: SessionRecord): boolean {
    const { storage, grace } = this.#parts;
    if (grace === 0 || record.tokens.length === 0 || record.nick === "") return false;
    this.#lingering.add(record);
    this.#later(grace, () => {
      this.#lingering.delete(record);
      if (storage.session(record.id) === record) void storage.deleteConnection(record.id);
    });
    return true;
  }

  /**
   * Gives a peer the connection that a token leads to. What happens from then on is held until
   * {@linkcode Resume.endCatchUp}.
   */
  async resume(subscriber: Subscriber, token: string, seen: Seen): Promise<Result<Resumption>> {
    if (!isToken(token)) return rejection.badToken;
    const { storage } = this.#parts;
    const hash = hashToken(token);
    let era: string | undefined;
    for (let tries = 0; tries < MAX_TAKEOVER_TRIES; tries++) {
      const found = await storage.find(hash);
      if (found === undefined) return rejection.badToken;
      const { id } = found;
      if (this.#inProgress.has(id)) {
        await this.#inProgress.get(id);
        continue;
      }
      if (era !== undefined && era !== found.era) {
        // Another socket has it now, perhaps the newer one of a client that gave this one up.
        await delay(this.#parts.clock, GIVEN_UP_MS);
        era = undefined;
        continue;
      }
      era = found.era;
      const coming = this.#takeOver(subscriber, found, seen);
      this.#inProgress.set(id, coming.catch(() => {}));
      try {
        const back = await coming;
        if (back !== undefined) return back;
      } finally {
        this.#inProgress.delete(id);
      }
    }
    return rejection.notDone;
  }

  /** Whoever came back has been told what they missed. */
  endCatchUp(subscriber: Subscriber, { entries, record }: Resumption): void {
    const { storage, sender } = this.#parts;
    const known = entries.filter(({ isSent }) => !isSent).map(({ eventId }) => eventId);
    sender.release(subscriber, new Set(known));
    // A client that only reads never shows that its new token arrived. Its old one stands in an address.
    this.#later(ARRIVED_MS, async () => {
      if (sender.includes(subscriber) && storage.session(record.id) === record) {
        await storage.confirm(record.id);
      }
    });
  }

  /**
   * Reads what a connection said under ids of its own over other instances. Returns whether it
   * could be read.
   */
  async recall(record: SessionRecord): Promise<boolean> {
    return await retry(this.#parts.clock, async () => void await this.#doings(record), () => {});
  }

  /** Stops waiting for anybody. */
  close(): void {
    for (const cancel of this.#timers) cancel();
    this.#timers.clear();
    this.#lingering.clear();
  }

  /** `undefined`: the connection changed since it was found. */
  async #takeOver(
    subscriber: Subscriber,
    found: Resumable,
    seen: Seen,
  ): Promise<Result<Resumption> | undefined> {
    const { storage, instance, suspend } = this.#parts;
    const { id } = found;
    if (found.instance !== instance) {
      // Read first: when its last connection is taken over, others may remove it.
      const aliveAt = await this.#parts.aliveAt(found.instance).catch(() => undefined);
      return await this.#move(subscriber, found, seen, aliveAt);
    }
    const own = storage.session(id);
    // Gone, or going just now.
    if (own === undefined || own.removal !== undefined) return rejection.badToken;
    const proceed = await suspend(id);
    try {
      return await this.#move(subscriber, found, seen, this.#parts.clock.now());
    } finally {
      proceed();
    }
  }

  async #move(
    subscriber: Subscriber,
    found: Resumable,
    seen: Seen,
    aliveAt: number | undefined,
  ): Promise<Result<Resumption> | undefined> {
    const { storage, sender } = this.#parts;
    const { id } = found;
    // Whoever asked has gone, or asked somebody else by now.
    if (!sender.includes(subscriber)) return rejection.badToken;
    const token = newToken(), hash = hashToken(token);
    sender.expect(hash, subscriber);
    const { outcome, eventId } = await storage.takeOver(found, hash);
    const record = storage.session(id);
    if (outcome === "done" && record !== undefined) {
      const missed = await this.#missedAtLast(record, eventId!, seen, this.#coversAll(aliveAt));
      // After a long silence of the server this is kept longer than what was said by whom.
      for (const { eventId, event: { kind, id, cid } } of missed.entries) {
        const isKnown = cid === "" || kind === "direct" || record.cids.has(cid);
        if (id === record.id && !isKnown) rememberCid(record, cid, eventId);
      }
      return { ok: true, record, token, ...missed };
    }
    sender.cancelExpect(hash);
    if (outcome === "conflict") return undefined;
    this.#removeLater(id, hash);
    return rejection.notDone;
  }

  /** What seemed to fail may have been written, or be yet, with nobody there to have it. */
  #removeLater(id: string, token: string): void {
    const { storage, sender, grace } = this.#parts;
    const before = storage.session(id);
    this.#later(Math.max(grace, LATE_COMMIT_MS), async () => {
      try {
        await storage.settleUncertain();
      } catch {
        return this.#removeLater(id, token);
      }
      storage.cancelTakeover(id, token);
      const record = storage.session(id);
      // A client that has come back since has a record of its own, and its own time when it drops.
      if (record === undefined || (record !== before && record.era !== token)) return;
      if (sender.has(id) || this.#lingering.has(record)) return;
      await storage.deleteConnection(id);
    });
  }

  /** It has been taken over: its owner must learn what was missed, or that it cannot be known. */
  async #missedAtLast(
    record: SessionRecord,
    eventId: string,
    seen: Seen,
    covers: Covers,
  ): Promise<MissedEvents> {
    let missed: MissedEvents = { entries: [], recovered: false, reason: "unavailable" };
    await retry(this.#parts.clock, async () => {
      missed = await this.#missed(record, eventId, seen, covers);
    }, () => {});
    return missed;
  }

  /** What happened after what was seen, in the rooms before the place `at`. */
  async #missed(
    record: SessionRecord,
    eventId: string,
    seen: Seen,
    covers: Covers,
  ): Promise<MissedEvents> {
    const doings = await this.#doings(record, seen.last);
    const rooms = await this.#missedInRooms(record, eventId, seen.last, doings, covers);
    const received = await this.#missedDirect(record.id, "direct", seen.direct ?? "");
    const sent = await this.#missedDirect(record.id, "sent", seen.sent ?? seen.direct ?? "");
    const isKept = covers(this.#parts.history.retentionOf("direct"));
    const isOneId = seen.sent === undefined;
    const isKnown = ({ isFound, isClear }: Missing, other: Missing) =>
      isFound || (isOneId && other.isFound) || (isClear && isKept);
    const areKnown = isKnown(received, sent) && isKnown(sent, received);
    // What was seen last may be there although something after it was removed to make room.
    const evicted = await this.#parts.history.evictedAfter([
      ...rooms.needed,
      [["direct", record.id], seen.direct ?? ""],
      [["sent", record.id], seen.sent ?? seen.direct ?? ""],
    ]);
    const all = inOrder([...rooms.entries, ...received.entries, ...sent.entries]);
    const entries = newestOf(all);
    const isTooMany = entries.length < all.length ? "too-many" : undefined;
    const reason = areKnown && evicted === "" ? rooms.reason ?? isTooMany : "expired";
    if (reason === undefined) return { entries, recovered: true };
    // Of a room of which nothing is kept nothing is whole.
    const from = rooms.reason === "history-off"
      ? undefined
      : entries.find(({ eventId }) => eventId > evicted)?.eventId;
    return { entries, recovered: false, reason, from };
  }

  /**
   * What a connection did, from the newest on back to `last`; and remembers what it said under ids
   * of its own, if that is not known yet.
   */
  async #doings(record: SessionRecord, last = ""): Promise<Doings> {
    const { history, storage } = this.#parts;
    // Its rooms are in several shards, and each is read up to now by itself.
    await storage.reached();
    const moves: LoggedEvent[] = [];
    const said = new Map<string, string>();
    let before: LoggedEvent | undefined, isReached = false, isWhole = true, read = 0;
    for await (const entry of history.newestOf(["own", record.id])) {
      const { eventId, event: { kind, cid } } = entry;
      isReached ||= eventId <= last;
      const wasInRoom = (moves.at(-1)?.event.kind ?? (record.room && "leave")) === "leave";
      const isRecalled = record.recalled || said.size >= MAX_CIDS;
      const isEnough = isRecalled && isReached && (wasInRoom || before !== undefined);
      if (isEnough || ++read > MAX_READ) {
        isWhole = false;
        break;
      }
      if (!isMove(entry)) {
        if (!isRecalled) said.set(saidKey(kind, cid), eventId);
      } else if (eventId > last) moves.push(entry);
      else before ??= entry;
    }
    if (!record.recalled) {
      for (const [key, eventId] of [...said].reverse()) rememberCid(record, key, eventId);
      record.recalled = true;
    }
    return { moves, before, isReached, isWhole };
  }

  /**
   * The events of the rooms that a connection was in since `last`, until `now`; and what must not have
   * been removed for that to be all.
   */
  async #missedInRooms(
    { id, room, since }: SessionRecord,
    now: string,
    last: string | undefined,
    { moves, before, isReached, isWhole }: Doings,
    covers: Covers,
  ): Promise<{ entries: readonly MissedEntry[]; reason?: Reason; needed: readonly Needed[] }> {
    const { history, clock } = this.#parts;
    const { stays, isInRoom } = staysOf(room, moves, last ?? "", now);
    // Where it was in no room at `last`, also an earlier move may say what it saw.
    const isLastEnough = last !== undefined && (isInRoom || before?.eventId === last);
    const needed: Needed[] = [[["own", id], isLastEnough ? last : ""]];
    if (history.retention === 0) {
      return { entries: [], reason: stays.length === 0 ? undefined : "history-off", needed };
    }
    const isAllKept = isWhole && covers(history.retentionOf("own"));
    // Where the client was in no room at `last`: was it there that it saw that?
    let isCertain = isInRoom || last === undefined || before?.eventId === last ||
      (before === undefined && isAllKept);
    if (last === undefined) {
      // It may have seen all, or nothing, of the rooms before.
      const most = room === undefined ? 0 : 1;
      if (stays.splice(most).length > 0 || !isWhole) isCertain = false;
    }
    const entries: MissedEntry[] = [];
    for (const stay of stays) {
      const part = await this.#missedIn(stay, id);
      entries.push(...part.entries);
      needed.push([["people", stay.room], part.start], [["log", stay.room], part.start]);
      if (entries.length > MAX_MISSED_EVENTS) break;
      const isOld = clock.now() - since > history.retention - MAX_CLOCK_ERROR_MS;
      // Nothing that is kept is as old as what was seen: so what came after that is kept.
      const isAll = part.isClear && covers(history.retention) && !stay.isFromJoin &&
        last !== undefined && isOld;
      if (!part.isFound && !isAll && !(part.isJoined && (isReached || isAllKept))) {
        isCertain = false;
      }
    }
    return { entries, reason: isCertain ? undefined : "expired", needed };
  }

  /**
   * The events of a stay in a room; `isJoined`: they go back to the joining, and no further. They are
   * all those after `start` that are kept.
   */
  async #missedIn(
    { room, from, to, isFromJoin }: Stay,
    id: string,
  ): Promise<Missing & { start: string; isJoined: boolean }> {
    const { history } = this.#parts;
    const entries: MissedEntry[] = [];
    let start = from, isFound = false, isClear = true, isJoined = false;
    for await (const entry of history.backwards(["people", room], to)) {
      if (entry.eventId <= from) {
        isFound = entry.eventId === from;
        isClear = isFound;
        if (isFound && isFromJoin) entries.push({ ...entry, isSent: false });
        break;
      }
      if (entries.push({ ...entry, isSent: false }) > MAX_MISSED_EVENTS) break;
      // What was before that is none of their business, whatever they say that they have seen.
      isJoined = entry.event.kind === "join" && entry.event.id === id;
      if (isJoined) {
        start = entry.eventId;
        isClear = false;
        break;
      }
    }
    // The joining is not kept. Where it was removed to make room, older words may be foreign.
    const isUnknown = isClear && !isFound && !isFromJoin;
    const evicted = isUnknown ? await history.evictedAfter([[["people", room], start]]) : "";
    const people = entries.length;
    for await (const entry of history.backwards(["log", room], to)) {
      if (entry.eventId === from) isFound = true;
      if (entry.eventId <= from) isClear = false;
      if (entry.eventId <= start || entry.eventId <= evicted) break;
      if (entries.push({ ...entry, isSent: false }) > people + MAX_MISSED_EVENTS) break;
    }
    return { entries, start, isFound, isClear, isJoined };
  }

  /** The direct messages that a connection received, or sent, after the last one that it saw. */
  async #missedDirect(id: string, kind: "direct" | "sent", last: string): Promise<Missing> {
    const { history } = this.#parts;
    const entries: MissedEntry[] = [];
    const isSent = kind === "sent";
    const newest = isSent ? history.newestOf([kind, id]) : history.backwards([kind, id]);
    let bytes = 0;
    for await (const entry of newest) {
      const isFound = entry.eventId === last;
      if (entry.eventId <= last) return { entries, isFound, isClear: false };
      bytes += encodedEventBytes(entry.event);
      // Of more than is told no more need be read.
      if (entries.push({ ...entry, isSent }) > MAX_MISSED_EVENTS || bytes > MAX_RESUME_BYTES) break;
    }
    return { entries, isFound: false, isClear: true };
  }

  /** What is kept for long enough, if the instance that had a connection was alive last at `aliveAt`. */
  #coversAll(aliveAt = -Infinity): Covers {
    const { clock, grace } = this.#parts;
    const away = grace + MAX_UNDETECTED_MS + Math.max(0, clock.now() - aliveAt);
    return (retentionMs) => retentionMs > away + MAX_CLOCK_ERROR_MS;
  }

  #later(ms: number, run: () => void | Promise<void>): void {
    const cancel = this.#parts.clock.after(ms, () => {
      this.#timers.delete(cancel);
      void run();
    });
    this.#timers.add(cancel);
  }
}
