/**
 * Commits changes of sessions through the feed: one change of a session at a time, again if a row that
 * it depends on has changed, and after a correction of the record if the last commit seemed to fail.
 *
 * A commit without an answer from KV may have been written. Therefore the next change of the same
 * record first reads what KV has. This file does not plan changes.
 */
import type { Clock } from "../base/clock.ts";
import { keyText, type Operation, type Outcome } from "../feed/batch.ts";
import type { Feed } from "../feed/feed.ts";
import { backOff } from "../kv/retry.ts";
import type { Planned, Presence } from "./presence.ts";
import { type Session, type SessionRecords, speakerOf } from "./records.ts";
import type { SessionRows } from "./rows.ts";
import { Turns } from "./turns.ts";
import { UserDrafts } from "./users.ts";

/**
 * How a change ended: as operations do (see {@linkcode Outcome}), or refused because the user is in too
 * many rooms or has too many sessions, or by moderation. Then nothing was changed.
 */
export type ChangeOutcome = Outcome | "too-many-rooms" | "too-many-sessions" | "refused";

/** What the commit of a change must carry that moderation allows. */
export interface Admitted {
  /** The last act in the shard of the commit that was taken into account: see Operation.lastAct. */
  readonly lastAct: string | null;
  readonly checks?: readonly Deno.AtomicCheck[];
  readonly mutations?: readonly Deno.KvMutation[];
}

/**
 * Asks moderation whether a change is allowed, each time it is planned. `name`: the room that is entered,
 * or otherwise the name under which the change is submitted. May throw when KV cannot be read.
 */
export type Admit = (name: string) => Promise<Admitted | "refused">;

/** The result of a change. */
export interface ChangeResult {
  readonly outcome: ChangeOutcome;
  /** The ID of the change's first event; `undefined` if it was not delivered, or has none. */
  readonly eventId: string | undefined;
  /** Whether a change of nickname was told in a room, so that the session itself was told of it. */
  readonly isTold: boolean;
}

/** The result of one operation. */
export interface OperationResult extends ChangeResult {
  readonly outcome: Outcome;
}

/**
 * Plans a change, given drafts of the users' rows, which it may change. Returns the outcome if there is
 * nothing to commit. May throw when KV cannot be read.
 */
export type Plan = (
  drafts: UserDrafts,
) => Planned | ChangeOutcome | Promise<Planned | ChangeOutcome>;

/** What {@linkcode Changes} is made of. */
export interface ChangesParts {
  readonly kv: Deno.Kv;
  readonly clock: Clock;
  readonly feed: Feed;
  readonly rows: SessionRows;
  readonly records: SessionRecords;
  readonly presence: Presence;
  /** Milliseconds for which the row of a user is kept when none of its sessions changes. */
  readonly registrationMs: number;
}

/**
 * Attempts of a change while other instances change the same rows. Each attempt of all instances
 * together succeeds for at least one, and a user has at most 16 sessions.
 */
const MAX_ATTEMPTS = 20;

/** Milliseconds after which a change that seemed to fail, or was not told everywhere, is looked at again. */
const FINISH_AFTER_MS = 1_000;

/** Commits changes. */
export class Changes {
  readonly #parts: ChangesParts;
  readonly #turns = new Turns();
  /** The timers of sessions whose last change is to be finished. */
  readonly #unfinished = new Map<Session, () => void>();

  constructor(parts: ChangesParts) {
    this.#parts = parts;
  }

  /** Submits an operation. Operations of one `name` (a room or a session) keep their order. */
  submit(name: string, operation: Partial<Operation>): Promise<OperationResult> {
    const { events = [] } = operation;
    const hasTold = events.some(({ kind, isQuiet }) => kind === "nick" && !isQuiet);
    return new Promise((resolve) => {
      const settle = (outcome: Outcome, eventId?: string) =>
        resolve({ outcome, eventId, isTold: hasTold && outcome === "done" });
      this.#parts.feed.submit(name, { ...operation, settle });
    });
  }

  /** Runs work on a session when all earlier work on it, and on the given users, has ended. */
  async inTurn<T>(session: string, users: readonly string[], work: () => Promise<T>): Promise<T> {
    const result = await this.#turns.run([...new Set([session, ...users])], work);
    const record = this.#parts.records.get(session);
    if (record !== undefined) this.#finishLater(record);
    return result;
  }

  /** Stops finishing changes: the sessions end, or another instance cleans them up. */
  close(): void {
    for (const cancel of this.#unfinished.values()) cancel();
    this.#unfinished.clear();
  }

  /**
   * Finds out a little later how the last change of a session ended, if that is uncertain, and tells the
   * rooms that do not know of it, until both is done. Its client may never change anything again.
   */
  #finishLater(record: Session): void {
    const { clock, records } = this.#parts;
    const { id, isUncertain, untold, removal } = record;
    const isFinished = !isUncertain && untold === undefined;
    if (isFinished || removal !== undefined || this.#unfinished.has(record)) return;
    const cancel = clock.after(FINISH_AFTER_MS, () => {
      this.#unfinished.delete(record);
      if (records.get(id) !== record) return;
      const users = [record.user, ...record.untold === undefined ? [] : [record.untold.user]];
      void this.inTurn(id, users, () => this.prepare(record));
    });
    this.#unfinished.set(record, cancel);
  }

  /**
   * Changes a session in its turn. `name` is that of the operation, unless the plan has one. The plan gets
   * a draft of the session's registered user, unless `needsUser` is false.
   */
  change(
    record: Session,
    name: string,
    plan: Plan,
    needsUser = true,
  ): Promise<ChangeResult> {
    return this.inTurn(record.id, [record.user], async () => {
      const state = await this.prepare(record);
      if (state !== "done") return refused(state);
      const users = needsUser && record.account !== "" ? [record.user] : [];
      const result = await this.attempt(name, users, async (drafts) => {
        const planned = await plan(drafts);
        return typeof planned === "string" ? planned : this.#guarded(record, planned);
      });
      record.isUncertain = result.outcome === "failed";
      return result;
    });
  }

  /**
   * Makes a record right before a change: reads it again if its last change seemed to fail, and tells
   * the rooms that have not been told of its last change. `"conflict"`: another instance,
   * or another record, has the session. Call it in the session's turn.
   */
  async prepare(record: Session): Promise<Outcome> {
    const state = await this.settle(record);
    return state === "done" && !(await this.tell(record)).isComplete ? "failed" : state;
  }

  /** Does the first part of {@linkcode Changes.prepare}: makes a record right. */
  async settle(record: Session): Promise<Outcome> {
    if (this.#parts.records.get(record.id) !== record) return "conflict";
    return record.isUncertain ? await this.#reread(record) : "done";
  }

  /**
   * Tells the rooms of a session that have not been told of its last change. Call it in the
   * session's turn.
   */
  async tell(record: Session): Promise<{ isComplete: boolean; isTold: boolean; eventId?: string }> {
    const { rows, presence } = this.#parts;
    let isTold = false, eventId: string | undefined;
    while (record.untold !== undefined) {
      const { rooms: untold, ...from } = record.untold;
      const [group = []] = presence.groupsOf(untold);
      const left = new Set(untold).difference(new Set(group));
      const rest = left.size === 0 ? undefined : { ...from, rooms: left };
      const to = speakerOf(record);
      const users = [from, to].filter(({ isRegistered }) => isRegistered).map(({ user }) => user);
      const result = await this.attempt(group[0] ?? record.id, users, (drafts) => {
        drafts.of(to)?.add(record);
        const { mutations, events } = presence.move(record.id, group, from, to, drafts);
        const row = rows.putInstanceRow({ ...record, untold: rest });
        return this.#guarded(record, { mutations: [...mutations, row], events });
      });
      record.isUncertain = result.outcome === "failed";
      if (result.outcome !== "done") return { isComplete: false, isTold, eventId };
      isTold ||= result.isTold;
      eventId ??= result.eventId;
      record.untold = rest;
    }
    return { isComplete: true, isTold, eventId };
  }

  /**
   * Plans and commits until that succeeds, or fails for another reason than that a row on which the plan
   * depends has changed. `users` are those whose rows it needs. Unless `isLenient`, it fails if one of
   * these has a form of another version of the program.
   */
  async attempt(
    name: string,
    users: readonly string[],
    plan: Plan,
    isLenient = false,
  ): Promise<ChangeResult> {
    const { kv, clock, registrationMs } = this.#parts;
    let failed: Pick<Operation, "lastAct"> & Required<Pick<Operation, "checks">> | undefined;
    for (let attempts = 1; attempts <= MAX_ATTEMPTS; attempts++) {
      let drafts, planned;
      try {
        drafts = await UserDrafts.read(kv, clock, [...new Set(users)]);
        if (drafts.hasUnknown && !isLenient) return refused("failed");
        planned = await plan(drafts);
      } catch {
        return refused("failed");
      }
      if (typeof planned === "string") return refused(planned);
      const own = drafts.changes(registrationMs);
      const checks = [...planned.checks ?? [], ...own.checks];
      // The same checks would fail again.
      const isSame = failed !== undefined && areSame(failed.checks, checks) &&
        failed.lastAct === planned.lastAct;
      if (isSame) return refused("conflict");
      const mutations = [...planned.mutations, ...own.mutations];
      const { events, lastAct } = planned;
      const operation = { checks, mutations, events, lastAct };
      const result = await this.submit(planned.name ?? name, operation);
      if (result.outcome !== "conflict") return result;
      if (failed !== undefined) await backOff(clock, attempts);
      failed = { checks, lastAct };
    }
    return refused("failed");
  }

  /**
   * Resolves when every commit that seemed to fail before the call has been delivered, if it was
   * written.
   *
   * @throws when KV cannot be read.
   */
  async settleUncertain(): Promise<void> {
    await this.#parts.feed.poll();
    await this.#parts.feed.flush();
  }

  #guarded(record: Session, planned: Planned): Planned {
    const { rows } = this.#parts;
    return { ...planned, checks: [...rows.takeoverCheck(record), ...planned.checks ?? []] };
  }

  /** Sets a record to what KV has. `"conflict"`: this instance has the session no longer. */
  async #reread(record: Session): Promise<Outcome> {
    try {
      // First delivers what the feed has: its events must not be applied on top of newer rows.
      await this.settleUncertain();
      const { session } = await this.#parts.rows.readInstanceRow(record.id);
      if (session === undefined && record.nick !== "") return "conflict";
      record.isUncertain = false;
      record.isStored = session !== undefined;
      if (session === undefined) return "done";
      const { nick, account, user, tokens, claims, untold, isAway, rooms, era } = session;
      if (era !== record.era) return "conflict";
      Object.assign(record, { nick, account, user, tokens, claims, untold, isAway });
      record.rooms.clear();
      for (const room of rooms) record.rooms.add(room);
      return "done";
    } catch {
      return "failed";
    }
  }
}

/** Returns whether two plans depend on the same rows in the same state. */
function areSame(some: readonly Deno.AtomicCheck[], others: readonly Deno.AtomicCheck[]): boolean {
  const texts = new Set(some.map(textOf));
  return some.length === others.length && others.every((check) => texts.has(textOf(check)));
}

function textOf({ key, versionstamp }: Deno.AtomicCheck): string {
  return `${versionstamp} ${keyText(key)}`;
}

/** Returns the result of a change that was not committed. */
export function refused(outcome: ChangeOutcome): ChangeResult {
  return { outcome, eventId: undefined, isTold: false };
}

/** Returns a plan with what its commit must carry because moderation was asked. */
export function admittedTo(planned: Planned, admitted: Admitted | undefined): Planned {
  if (admitted === undefined) return planned;
  const { lastAct, checks = [], mutations = [] } = admitted;
  return {
    ...planned,
    lastAct,
    checks: [...planned.checks ?? [], ...checks],
    mutations: [...planned.mutations, ...mutations],
  };
}
