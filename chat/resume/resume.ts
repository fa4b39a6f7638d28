/**
 * Resumes sessions: keeps the session of a dropped client for a while, gives it to the socket that
 * comes with its token, and returns what the client missed.
 *
 * A session is taken over at one place in the order of events, by a "resume" event. Missed events
 * before that place are read from history; later ones are held until the client has been told the
 * missed ones. So no event is missing, and none comes twice.
 */
import { type Clock, delay } from "../base/clock.ts";
import { rejection, type Result } from "../base/rejections.ts";
import { hashToken, isToken, newToken } from "../base/tokens.ts";
import { isIgnored } from "../delivery/ignoring.ts";
import type { Sender } from "../delivery/sender.ts";
import type { Subscriber } from "../delivery/subscriber.ts";
import type { History } from "../history/history.ts";
import type { Moderation } from "../moderation/moderation.ts";
import { retry } from "../kv/retry.ts";
import { rememberCid, type Session } from "../storage/records.ts";
import type { Storage } from "../storage/storage.ts";
import type { Resumable } from "../storage/takeover.ts";
import { type IsCovered, type LastSeen, MissedEventsReader, roomsOf } from "./missed_events.ts";
import type { MissedPart } from "./missed_parts.ts";
import { ONLY_CIDS, readOwn } from "./own_events.ts";

/** What resuming is made of. */
export interface ResumeParts {
  readonly storage: Storage;
  readonly history: History;
  readonly sender: Sender;
  readonly moderation: Moderation;
  readonly clock: Clock;
  /** The ID of this instance. */
  readonly instance: string;
  /** Milliseconds for which a dropped session can be resumed; 0: it cannot. */
  readonly graceMs: number;
  /** Suspends the connection here that has a session, until the returned function is called. */
  suspend(id: string): Promise<() => void>;
  /** Returns when an instance was last alive, in Unix milliseconds, if that is known. May throw. */
  aliveAt(instance: string): Promise<number | undefined>;
}

/** A resumed session, and what its client missed. */
export interface Resumption {
  readonly session: Session;
  /** What the client missed: in each room, then of the direct messages. */
  readonly parts: readonly MissedPart[];
  /** The token for the next time. */
  readonly token: string;
}

/** Milliseconds within which a client usually gives up a socket that does not answer. */
const GIVEN_UP_MS = 5_000;

/** Milliseconds between two attempts to reach the present while KV does not answer. */
const REACH_RETRY_MS = 1_000;

/** How often a session may change while it is being taken over. */
const MAX_TAKEOVER_TRIES = 5;

/**
 * Milliseconds after which a reply has arrived if its socket is still open. The runtime sends a ping
 * after it, and closes a socket that does not answer one within 30 s (`idleSeconds` in limits.ts).
 */
export const ARRIVED_MS = 45_000;

/** Milliseconds within which a commit that seemed to fail is written, if at all. */
const LATE_COMMIT_MS = 10_000;

/** The resuming of sessions, for all connections of an instance. */
export class Resume {
  readonly #parts: ResumeParts;
  readonly #missed: MissedEventsReader;
  readonly #timers = new Set<() => void>();
  /** Sessions without a socket, each with a timer that ends it. */
  readonly #kept = new Set<Session>();
  /** The takeover in progress of a session ID: two sockets may come with the same token. */
  readonly #inProgress = new Map<string, Promise<unknown>>();

  constructor(parts: ResumeParts) {
    this.#parts = parts;
    this.#missed = new MissedEventsReader(parts);
  }

  /** Keeps a dropped session for the grace period. Returns false if it cannot be resumed. */
  keep(session: Session): boolean {
    const { storage, graceMs } = this.#parts;
    if (graceMs === 0 || session.tokens.length === 0 || session.nick === "") return false;
    // It has been ended, for example by a ban.
    if (session.removal !== undefined) return false;
    this.#kept.add(session);
    this.#later(graceMs, () => {
      this.#kept.delete(session);
      if (storage.session(session.id) === session) void storage.deleteConnection(session.id);
    });
    return true;
  }

  /**
   * Gives a subscriber the session that a token belongs to. Its events are held from then on, until
   * {@linkcode Resume.endCatchUp}. `address`: the hash of the client's address, or empty.
   */
  async resume(
    subscriber: Subscriber,
    token: string,
    seen: LastSeen,
    address: string,
  ): Promise<Result<Resumption>> {
    if (!isToken(token)) return rejection.badToken;
    const { storage, clock } = this.#parts;
    const tokenHash = hashToken(token);
    let era: string | undefined;
    for (let tries = 0; tries < MAX_TAKEOVER_TRIES; tries++) {
      const found = await storage.findResumable(tokenHash);
      if (found === undefined) return rejection.badToken;
      const { id } = found;
      if (this.#inProgress.has(id)) {
        await this.#inProgress.get(id);
        continue;
      }
      if (era !== undefined && era !== found.era) {
        // Another socket has the session now, perhaps a newer one of a client that gave this one up.
        await delay(clock, GIVEN_UP_MS);
        era = undefined;
        continue;
      }
      era = found.era;
      const takeover = this.#takeOver(subscriber, found, seen, address);
      this.#inProgress.set(id, takeover.catch(() => {}));
      try {
        const resumed = await takeover;
        if (resumed !== undefined) return resumed;
      } finally {
        this.#inProgress.delete(id);
      }
    }
    return rejection.notDone;
  }

  /** Delivers the held events: the client has been told what it missed. */
  async endCatchUp(subscriber: Subscriber, { parts, session }: Resumption): Promise<void> {
    const { storage, sender } = this.#parts;
    const known = parts.flatMap(({ entries, leftOut = [] }) => [
      ...entries.map(({ eventId }) => eventId),
      ...leftOut,
    ]);
    if (parts.some(({ reason }) => reason === "unavailable")) await this.#reachPresent(subscriber);
    sender.endCatchUp(subscriber, new Set(known));
    // A client that only reads never shows that its new token arrived.
    this.#later(ARRIVED_MS, async () => {
      if (sender.includes(subscriber) && storage.session(session.id) === session) {
        await storage.confirmToken(session.id);
      }
    });
  }

  /**
   * Waits until no event from before the takeover will be delivered any more: the client may have
   * received those on another instance.
   */
  async #reachPresent(subscriber: Subscriber): Promise<void> {
    const { storage, sender, clock } = this.#parts;
    const reached = () => storage.reached().then(() => true, () => false);
    while (sender.includes(subscriber) && !(await reached())) await delay(clock, REACH_RETRY_MS);
  }

  /** Reads the `cid`s that a client used over other instances. Returns whether that succeeded. */
  async recall(session: Session): Promise<boolean> {
    const read = async () => void await readOwn(this.#parts, session, ONLY_CIDS);
    return await retry(this.#parts.clock, read, () => {});
  }

  /** Cancels all timers. */
  close(): void {
    for (const cancel of this.#timers) cancel();
    this.#timers.clear();
    this.#kept.clear();
  }

  /** Returns `undefined` if the session changed since it was found. */
  async #takeOver(
    subscriber: Subscriber,
    found: Resumable,
    seen: LastSeen,
    address: string,
  ): Promise<Result<Resumption> | undefined> {
    const { storage, instance, clock } = this.#parts;
    if (found.instance !== instance) {
      // Read before the takeover: after that of its last session, others may remove the instance.
      const aliveAt = await this.#parts.aliveAt(found.instance).catch(() => undefined);
      return await this.#move(subscriber, found, seen, address, aliveAt);
    }
    const session = storage.session(found.id);
    if (session === undefined || session.removal !== undefined) return rejection.badToken;
    const proceed = await this.#parts.suspend(found.id);
    try {
      return await this.#move(subscriber, found, seen, address, clock.now());
    } finally {
      proceed();
    }
  }

  async #move(
    subscriber: Subscriber,
    found: Resumable,
    seen: LastSeen,
    address: string,
    aliveAt: number | undefined,
  ): Promise<Result<Resumption> | undefined> {
    const { storage, sender, moderation } = this.#parts;
    const { id } = found;
    const allowed = await moderation.mayResume(found);
    if (!allowed.ok) return allowed;
    // The client has gone, perhaps to another instance.
    if (!sender.includes(subscriber)) return rejection.badToken;
    // Before its events are held.
    sender.setIgnored(subscriber, new Set(allowed.ignored.keys()));
    const token = newToken(), tokenHash = hashToken(token);
    sender.expect(tokenHash, subscriber);
    const { outcome, eventId } = await storage.takeOver(found, tokenHash, address, allowed.lastAct);
    const session = storage.session(id);
    if (outcome === "done" && session !== undefined) {
      const load = () => moderation.resumed(session, allowed.lostRooms);
      if (!(await retry(this.#parts.clock, load, () => {}))) {
        this.#removeLater(id, tokenHash);
        return rejection.notDone;
      }
      const isCovered = this.#missed.coverage(aliveAt);
      const missed = await this.#readMissed(session, eventId!, seen, isCovered);
      const parts = missed.map((part): MissedPart => {
        const entries = part.entries.filter(({ event }) => !isIgnored(subscriber, event));
        return { ...part, entries };
      });
      // After a long outage, room history is kept longer than the client's own events.
      for (const { eventId, event: { kind, id, cid } } of parts.flatMap(({ entries }) => entries)) {
        const isKnown = cid === "" || kind === "direct" || session.cids.has(cid);
        if (id === session.id && !isKnown) rememberCid(session, cid, eventId);
      }
      return { ok: true, session, token, parts };
    }
    sender.cancelExpect(tokenHash);
    sender.setIgnored(subscriber, new Set());
    if (outcome === "conflict") return undefined;
    this.#removeLater(id, tokenHash);
    return rejection.notDone;
  }

  /** Removes a session whose takeover seemed to fail, if it was written after all and has no client. */
  #removeLater(id: string, tokenHash: string): void {
    const { storage, sender, graceMs } = this.#parts;
    const before = storage.session(id);
    this.#later(Math.max(graceMs, LATE_COMMIT_MS), async () => {
      try {
        await storage.settleUncertain();
      } catch {
        return this.#removeLater(id, tokenHash);
      }
      storage.cancelTakeover(id, tokenHash);
      const session = storage.session(id);
      // A client that has resumed since has another session object, with a timer of its own.
      if (session === undefined || (session !== before && session.era !== tokenHash)) return;
      if (sender.has(id) || this.#kept.has(session)) return;
      await storage.deleteConnection(id);
    });
  }

  /** Returns what was missed, or that it is unknown: the session is taken over in any case. */
  async #readMissed(
    session: Session,
    eventId: string,
    seen: LastSeen,
    isCovered: IsCovered,
  ): Promise<readonly MissedPart[]> {
    let parts = [...roomsOf(session, seen), undefined].map((room): MissedPart => {
      return { room, entries: [], recovered: false, reason: "unavailable" };
    });
    await retry(this.#parts.clock, async () => {
      parts = [...await this.#missed.read(session, eventId, seen, isCovered)];
    }, () => {});
    return parts;
  }

  #later(ms: number, run: () => void | Promise<void>): void {
    const cancel = this.#parts.clock.after(ms, () => {
      this.#timers.delete(cancel);
      void run();
    });
    this.#timers.add(cancel);
  }
}
