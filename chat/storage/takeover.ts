/**
 * Takes sessions over from another instance, or from another socket of this one, by a resume
 * token.
 *
 * A takeover is one commit with an event of the kind `resume`. The commit adds a `taken` row, which
 * makes every later change by the previous instance fail. The record becomes this instance's when
 * the event is delivered here: its place in the feed is the place at which the session changes
 * hands. resume.ts decides what the client missed.
 */
import type { Clock } from "../base/clock.ts";
import type { RoomEvent } from "../feed/events.ts";
import { connectionKey, resumeKey, takeoverKey } from "../kv/keys.ts";
import { withTimeout } from "../kv/retry.ts";
import { resumeFrom } from "../kv/values.ts";
import { type ChangeResult, type Changes, refused } from "./changes.ts";
import { newRecord, type Session, type SessionRecords } from "./records.ts";
import { type ListedSession, newEvent, refOfListed, type SessionRows } from "./rows.ts";

/** A session that a token resumes, as KV has it. */
export interface Resumable extends ListedSession {
  /** The ID of the instance that has the session. */
  readonly instance: string;
  /** The hash of the token that it was found by. */
  readonly token: string;
  /** Hold as long as nobody changes the session. */
  readonly checks: readonly Deno.AtomicCheck[];
}

/** What {@linkcode Takeovers} is made of. */
export interface TakeoversParts {
  readonly kv: Deno.Kv;
  readonly clock: Clock;
  /** The ID of this instance. */
  readonly instance: string;
  readonly rows: SessionRows;
  readonly records: SessionRecords;
  readonly changes: Changes;
}

/**
 * Milliseconds for which a `taken` row stays. It is longer than any lease: within that time the
 * previous instance has read the event of the takeover, or has lost its lease.
 */
const TAKEN_ROW_MS = 60 * 60_000;

/** Finds sessions by their tokens and takes them over. */
export class Takeovers {
  readonly #parts: TakeoversParts;

  constructor(parts: TakeoversParts) {
    this.#parts = parts;
  }

  /**
   * Returns the session that the token of this hash resumes, if there is one. Sessions of an earlier
   * version of the program cannot be resumed.
   *
   * @throws when KV cannot be read.
   */
  async find(token: string): Promise<Resumable | undefined> {
    const { kv, clock, rows } = this.#parts;
    const pointer = await withTimeout(clock, kv.get<unknown>(resumeKey(token)));
    const target = resumeFrom(pointer.value);
    if (target === undefined) return undefined;
    const { id, instance } = target;
    const { session, check } = await rows.readInstanceRow(id, instance);
    if (session?.kept !== undefined || !session?.tokens.includes(token)) return undefined;
    return { ...session, instance, token, checks: [pointer, check] };
  }

  /**
   * Takes a session over. `fresh` is the hash of its new token. The token that it was found by stays
   * valid until the new one is confirmed; all others become invalid. `"conflict"`: the session changed
   * since it was found. After `"failed"` the takeover may be committed later; the caller cancels it when
   * it gives up. `address`: the hash of the client's address, or empty. `lastAct`: see Operation.lastAct.
   */
  async takeOver(
    found: Resumable,
    fresh: string,
    address = "",
    lastAct?: string | null,
  ): Promise<ChangeResult> {
    const { rows, records, changes } = this.#parts;
    const { id, token } = found;
    const { record, result } = await changes.inTurn(id, [], async () => {
      const record = this.#recordOf(found, fresh, address);
      const mutations = [
        ...rows.deleteTokens(found.tokens.filter((each) => each !== token)),
        ...record.tokens.map((each) => rows.putToken(each, id)),
        ...this.move(record, found.instance, found.era),
      ];
      records.expectTakeover(record);
      const events = [this.eventOf(record, fresh)];
      const result = await changes.submit(id, { mutations, checks: found.checks, events, lastAct });
      if (result.outcome === "conflict") records.cancelTakeover(id, fresh);
      // The session's record here, if there is one, may have been replaced all the same.
      const former = records.get(id);
      if (result.outcome === "failed" && former !== undefined) former.isUncertain = true;
      return { record, result };
    });
    if (result.outcome !== "done" || record.untold === undefined) return result;
    // If this fails, it is done later.
    await changes.inTurn(id, [record.user, record.untold.user], () => changes.prepare(record));
    return result;
  }

  /**
   * Returns the mutations after which this instance has the session, in place of the instance `from`,
   * which had it under `formerEra`.
   */
  move(session: ListedSession, from: string, formerEra: string): Deno.KvMutation[] {
    const { rows, instance: here } = this.#parts;
    const { id } = session;
    const own: Deno.KvMutation[] = [
      ...rows.putName(id, refOfListed(session)),
      rows.putInstanceRow(session),
    ];
    // Also from this instance itself: a commit of the former record may still be on its way to KV.
    const key = takeoverKey(from, id, formerEra);
    own.push({ type: "set", key, value: 1, expireIn: TAKEN_ROW_MS });
    if (from !== here) own.push({ type: "delete", key: connectionKey(from, id) });
    return own;
  }

  /**
   * Returns the event of a takeover by this instance. `token` is the hash of the new token, which tells
   * this takeover from others of the same session; empty: the user has ended the session.
   */
  eventOf(session: ListedSession, token: string): RoomEvent {
    const { clock, instance } = this.#parts;
    const event = newEvent(clock, "resume", session.id, refOfListed(session), "");
    return { ...event, text: instance, cid: token };
  }

  /**
   * Makes all tokens of a session of this instance but the newest invalid: the client has received that
   * one.
   */
  async confirmToken(id: string): Promise<ChangeResult> {
    const { rows, records, changes } = this.#parts;
    const record = records.get(id);
    if (record === undefined || record.tokens.length < 2) return refused("conflict");
    let tokens = record.tokens;
    const result = await changes.change(record, id, () => {
      const [newest, ...old] = record.tokens;
      if (old.length === 0) return "done";
      tokens = [newest!];
      return { mutations: [...rows.deleteTokens(old), rows.putInstanceRow({ ...record, tokens })] };
    }, false);
    if (result.outcome === "done") record.tokens = tokens;
    return result;
  }

  #recordOf(found: Resumable, fresh: string, address: string): Session {
    const { id, nick, account, user, rooms, untold, since, protocol, claims, instance, token } =
      found;
    const { isOperator, ignored, isAway } = found;
    // If another instance has had the session meanwhile, a record here lacks part of its messages.
    const own = instance === this.#parts.instance ? this.#parts.records.get(id) : undefined;
    return {
      ...newRecord(id, since, protocol, address),
      isOperator,
      ignored,
      isAway,
      nick,
      account,
      user,
      rooms: new Set(rooms),
      untold,
      claims,
      tokens: [fresh, token],
      era: fresh,
      cids: own?.cids ?? new Map(),
      areCidsRecalled: own?.areCidsRecalled ?? false,
      isStored: true,
    };
  }
}
