/**
 * Coming back: a place that is kept for a while, a token that leads back to it, and what was missed.
 *
 * Between Handler and Storage. A connection is taken over at a place in the one order, by an event
 * of its own: what is before that and was not seen is read from history, what comes after is held
 * until that has been told. So nothing is missing, and nothing comes twice.
 */
import { type Clock, delay, persist } from "./clock.ts";
import { encodedEventBytes, MAX_RESUME_BYTES } from "./encoded.ts";
import type { Entry } from "./events.ts";
import { type History, MAX_CLOCK_ERROR_MS } from "./history.ts";
import { refusal, type Result } from "./refusals.ts";
import type { Peer, Sender } from "./sender.ts";
import { type OwnRecord, remember, type Resumable, type Storage } from "./storage.ts";
import { hashToken, isToken, newToken } from "./tokens.ts";

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
}

/** Where somebody was: the ids of the last event of the room, and of the last direct one, if any. */
export interface Seen {
  readonly last?: string;
  readonly direct?: string;
}

/** What was missed. */
export interface Missed {
  /** In their order; at most {@linkcode MOST_MISSED} of the room. */
  readonly entries: readonly Entry[];
  /** Nothing is missing. */
  readonly recovered: boolean;
  /** Why something may be. */
  readonly reason?: "expired" | "too-many" | "history-off" | "unavailable";
}

/** Somebody who is back. */
export interface Back extends Missed {
  readonly record: OwnRecord;
  /** The token for the next time. */
  readonly token: string;
}

/** Most events that are told to whoever comes back. */
export const MOST_MISSED = 1_000;

/** Milliseconds in which it mostly shows that a client has given a socket up. */
const GIVEN_UP_MS = 5_000;

/** How often a connection may change under the hands of whoever takes it over. */
const TRIES = 5;

/**
 * Milliseconds: nobody is without a connection for longer than the grace and this, before that is
 * noticed. So with a longer retention nothing that could have been missed is past its time.
 */
const UNNOTICED = 5 * 60_000;

/**
 * Milliseconds after which a reply has arrived if its socket is still open. The runtime sends a ping
 * after it and closes a socket that does not answer one within 30 s (`idleSeconds` in limits.ts).
 */
export const ARRIVED_MS = 45_000;

/** Milliseconds within which what seemed to fail is written, if at all. */
const LATE = 10_000;

/** The last of these events, as many as may be told at once. */
function newestOf(entries: readonly Entry[]): readonly Entry[] {
  let bytes = 0, many = 0;
  while (many < Math.min(entries.length, MOST_MISSED)) {
    bytes += encodedEventBytes(entries[entries.length - 1 - many]!.event);
    if (bytes > MAX_RESUME_BYTES) break;
    many++;
  }
  return entries.slice(entries.length - many);
}

function expired(entries: readonly Entry[]): Missed {
  return { entries, recovered: false, reason: "expired" };
}

function inOrder(entries: Entry[]): Entry[] {
  return entries.sort((a, b) => a.at < b.at ? -1 : 1);
}

/** Coming back, for all connections of an instance. */
export class Resume {
  readonly #parts: ResumeParts;
  readonly #timers = new Set<() => void>();
  /** Records without a socket that have a timer of their own. */
  readonly #lingering = new Set<OwnRecord>();
  /** One at a time for each connection: two sockets may come with one token. */
  readonly #coming = new Map<string, Promise<unknown>>();

  constructor(parts: ResumeParts) {
    this.#parts = parts;
  }

  /** Keeps the place of somebody who dropped out, if that can be. */
  linger(record: OwnRecord): boolean {
    const { storage, grace } = this.#parts;
    if (grace === 0 || record.tokens.length === 0 || record.nick === "") return false;
    this.#lingering.add(record);
    this.#later(grace, () => {
      this.#lingering.delete(record);
      if (storage.own(record.id) === record) void storage.deleteConnection(record.id);
    });
    return true;
  }

  /**
   * Gives a peer the connection that a token leads to. What happens from then on is held until
   * {@linkcode Resume.caughtUp}.
   */
  async comeBack(peer: Peer, token: string, seen: Seen): Promise<Result<Back>> {
    if (!isToken(token)) return refusal.badToken;
    const { storage } = this.#parts;
    const hash = hashToken(token);
    let era: string | undefined;
    for (let tries = 0; tries < TRIES; tries++) {
      const found = await storage.find(hash);
      if (found === undefined) return refusal.badToken;
      const { id } = found;
      if (this.#coming.has(id)) {
        await this.#coming.get(id);
        continue;
      }
      if (era !== undefined && era !== found.era) {
        // Another socket has it now, perhaps the newer one of a client that gave this one up.
        await delay(this.#parts.clock, GIVEN_UP_MS);
        era = undefined;
        continue;
      }
      era = found.era;
      const coming = this.#takeOver(peer, found, seen);
      this.#coming.set(id, coming.catch(() => {}));
      try {
        const back = await coming;
        if (back !== undefined) return back;
      } finally {
        this.#coming.delete(id);
      }
    }
    return refusal.notDone;
  }

  /** Whoever came back has been told what they missed. */
  caughtUp(peer: Peer, { entries, record }: Back): void {
    const { storage, sender } = this.#parts;
    sender.release(peer, new Set(entries.map(({ at }) => at)));
    // A client that only reads never shows that its new token arrived. Its old one stands in an address.
    this.#later(ARRIVED_MS, async () => {
      if (sender.isThere(peer) && storage.own(record.id) === record) {
        await storage.confirm(record.id);
      }
    });
  }

  /** Stops waiting for anybody. */
  close(): void {
    for (const cancel of this.#timers) cancel();
    this.#timers.clear();
    this.#lingering.clear();
  }

  /** `undefined`: the connection changed since it was found. */
  async #takeOver(peer: Peer, found: Resumable, seen: Seen): Promise<Result<Back> | undefined> {
    const { storage, instance, suspend } = this.#parts;
    const { id } = found;
    if (found.instance !== instance) return await this.#move(peer, found, seen);
    const own = storage.own(id);
    // Gone, or going just now.
    if (own === undefined || own.removal !== undefined) return refusal.badToken;
    const proceed = await suspend(id);
    try {
      return await this.#move(peer, found, seen);
    } finally {
      proceed();
    }
  }

  async #move(peer: Peer, found: Resumable, seen: Seen): Promise<Result<Back> | undefined> {
    const { storage, sender } = this.#parts;
    const { id } = found;
    // Whoever asked has gone, or asked somebody else by now.
    if (!sender.isThere(peer)) return refusal.badToken;
    const token = newToken(), hash = hashToken(token);
    sender.expect(hash, peer);
    const { outcome, at } = await storage.takeOver(found, hash);
    const record = storage.own(id);
    if (outcome === "done" && record !== undefined) {
      // Whoever has seen it with an id of their own may not say it again.
      const missed = await this.#missedAtLast(record, at!, seen);
      for (const { at, event: { id, cid } } of missed.entries) {
        if (id === record.id && cid !== "") remember(record, cid, at);
      }
      return { ok: true, record, token, ...missed };
    }
    sender.expectNoMore(hash);
    if (outcome === "taken") return undefined;
    this.#letGoLater(id, hash);
    return refusal.notDone;
  }

  /** What seemed to fail may have been written, or be yet, with nobody there to have it. */
  #letGoLater(id: string, token: string): void {
    const { storage, sender, grace } = this.#parts;
    const before = storage.own(id);
    this.#later(Math.max(grace, LATE), async () => {
      try {
        await storage.settleDoubts();
      } catch {
        return this.#letGoLater(id, token);
      }
      storage.forgetArrival(id, token);
      const record = storage.own(id);
      // A client that has come back since has a record of its own, and its own time when it drops.
      if (record === undefined || (record !== before && record.era !== token)) return;
      if (sender.has(id) || this.#lingering.has(record)) return;
      await storage.deleteConnection(id);
    });
  }

  /** It has been taken over: its owner must learn what was missed, or that it cannot be known. */
  async #missedAtLast(record: OwnRecord, at: string, seen: Seen): Promise<Missed> {
    let missed: Missed = { entries: [], recovered: false, reason: "unavailable" };
    await persist(this.#parts.clock, async () => {
      missed = await this.#missed(record, at, seen);
    }, () => {});
    return missed;
  }

  /** What happened in somebody's room, and was said to them, before the place `at` and after what was seen. */
  async #missed(record: OwnRecord, at: string, { last, direct = "" }: Seen): Promise<Missed> {
    const { history } = this.#parts;
    const { id, room } = record;
    if (history.retention === 0) {
      return { entries: [], recovered: false, reason: "history-off" };
    }
    const entries: Entry[] = [];
    for await (const entry of history.backwards(["direct", id])) {
      if (entry.at <= direct || entries.length === MOST_MISSED) break;
      entries.push(entry);
    }
    const isWhole = await history.isWholeAfter([["direct", id]], direct);
    if (room === undefined) {
      entries.reverse();
      return isWhole ? { entries, recovered: true } : expired(entries);
    }
    const ofRoom = await this.#missedIn(room, id, at, last);
    // What was seen last may be there although something after it was removed to make room.
    const streams = [["log", room], ["people", room]] as const;
    const isRoomWhole = await history.isWholeAfter(streams, ofRoom.from);
    const newest = newestOf(ofRoom.entries);
    const all = inOrder([...newest, ...entries]);
    if (newest.length < ofRoom.entries.length) {
      return { entries: all, recovered: false, reason: "too-many" };
    }
    const isAll = isWhole && isRoomWhole && (ofRoom.found || this.#mustBeAll(record, last));
    return isAll ? { entries: all, recovered: true } : expired(all);
  }

  /**
   * The events of a room; `found`: they go back to the last one that was seen, or to the joining, which
   * is `from`.
   */
  async #missedIn(
    room: string,
    id: string,
    at: string,
    last = "",
  ): Promise<{ entries: Entry[]; found: boolean; from: string }> {
    const { history } = this.#parts;
    const entries: Entry[] = [];
    let found = false, from = last;
    for await (const entry of history.backwards(["people", room], at)) {
      found = entry.at === last;
      if (entry.at <= last || entries.length > MOST_MISSED) break;
      entries.push(entry);
      // What was before that is none of their business, whatever they say that they have seen.
      found = entry.event.kind === "join" && entry.event.id === id;
      if (found) {
        from = entry.at;
        break;
      }
    }
    const people = entries.length;
    for await (const entry of history.backwards(["log", room], at)) {
      if (entry.at === last) found = true;
      if (entry.at <= from || entries.length > people + MOST_MISSED) break;
      entries.push(entry);
    }
    return { entries: inOrder(entries), found, from };
  }

  /** Whether what was seen last is past its time, but nothing that came after it can be. */
  #mustBeAll({ since }: OwnRecord, last: string | undefined): boolean {
    const { history, clock, grace } = this.#parts;
    const old = clock.now() - since > history.retention - MAX_CLOCK_ERROR_MS;
    const isKept = history.retention > grace + UNNOTICED + MAX_CLOCK_ERROR_MS;
    return last !== undefined && old && isKept;
  }

  #later(ms: number, run: () => void | Promise<void>): void {
    const cancel = this.#parts.clock.after(ms, () => {
      this.#timers.delete(cancel);
      void run();
    });
    this.#timers.add(cancel);
  }
}
