/**
 * Takes connections over from another instance, or from another socket of this one, by a resume
 * token.
 *
 * A takeover is one commit with an event of the kind `resume`. The commit adds a `taken` row, which
 * makes every later change by the previous instance fail. The record becomes this instance's when
 * the event is delivered here: its place in the feed is the place at which the connection changes
 * hands. resume.ts decides what the client missed.
 */
import type { Clock } from "../base/clock.ts";
import { connectionKey, resumeKey, takeoverKey } from "../kv/keys.ts";
import { withTimeout } from "../kv/retry.ts";
import { resumeFrom } from "../kv/values.ts";
import type { ChangeResult, Changes } from "./changes.ts";
import { newRecord, type Session, type SessionRecords } from "./records.ts";
import { type ConnectionRows, type ListedConnection, newEvent } from "./rows.ts";

/** A connection that a token resumes, as KV has it. */
export interface Resumable extends ListedConnection {
  /** The ID of the instance that has the connection. */
  readonly instance: string;
  /** The hash of the token that it was found by. */
  readonly token: string;
  /** Hold as long as nobody changes the connection. */
  readonly checks: readonly Deno.AtomicCheck[];
}

/** What {@linkcode Takeovers} is made of. */
export interface TakeoversParts {
  readonly kv: Deno.Kv;
  readonly clock: Clock;
  /** The ID of this instance. */
  readonly instance: string;
  readonly rows: ConnectionRows;
  readonly records: SessionRecords;
  readonly changes: Changes;
}

/**
 * Milliseconds for which a `taken` row stays. It is longer than any lease: within that time the
 * previous instance has read the event of the takeover, or has lost its lease.
 */
const TAKEN_ROW_MS = 60 * 60_000;

/** Finds connections by their tokens and takes them over. */
export class Takeovers {
  readonly #parts: TakeoversParts;

  constructor(parts: TakeoversParts) {
    this.#parts = parts;
  }

  /**
   * Returns the connection that the token of this hash resumes, if there is one.
   *
   * @throws when KV cannot be read.
   */
  async find(token: string): Promise<Resumable | undefined> {
    const { kv, clock, rows } = this.#parts;
    const pointer = await withTimeout(clock, kv.get<unknown>(resumeKey(token)));
    const target = resumeFrom(pointer.value);
    if (target === undefined) return undefined;
    const { id, instance } = target;
    const { connection, check } = await rows.readInstanceRow(id, instance);
    if (connection === undefined || !connection.tokens.includes(token)) return undefined;
    return { ...connection, instance, token, checks: [pointer, check] };
  }

  /**
   * Takes a connection over. `fresh` is the hash of its new token. The token that it was found by
   * stays valid until the new one is confirmed; all others become invalid. `"conflict"`: the
   * connection changed since it was found. After `"failed"` the takeover may be committed later; the
   * caller cancels it when it gives up.
   */
  async takeOver(found: Resumable, fresh: string): Promise<ChangeResult> {
    const { clock, instance: here, rows, records, changes } = this.#parts;
    const { id, room, instance, token } = found;
    const record = this.#recordOf(found, fresh);
    const mutations = [
      ...rows.deleteTokens(found.tokens.filter((each) => each !== token)),
      ...record.tokens.map((each) => rows.putToken(each, id)),
      rows.putInstanceRow(record),
    ];
    if (instance !== here) {
      mutations.push(
        { type: "delete", key: connectionKey(instance, id) },
        {
          type: "set",
          key: takeoverKey(instance, id, found.era),
          value: 1,
          expireIn: TAKEN_ROW_MS,
        },
      );
    }
    records.expectTakeover(record);
    // The event's `cid` tells this takeover from others of the same connection.
    const event = { ...newEvent(clock, "resume", record, room ?? "", here), cid: fresh };
    const result = await changes.submit(room ?? id, { mutations, checks: found.checks, event });
    if (result.outcome === "conflict") records.cancelTakeover(id, fresh);
    return result;
  }

  /**
   * Makes all tokens of a connection of this instance but the newest invalid: the client has received
   * that one.
   */
  async confirmToken(id: string): Promise<void> {
    const { rows, records, changes } = this.#parts;
    const record = records.get(id);
    if (record === undefined || record.tokens.length < 2) return;
    const [newest, ...old] = record.tokens;
    const tokens = [newest!];
    const { outcome } = await changes.change(record, () => ({
      checks: rows.takeoverCheck(record),
      mutations: [...rows.deleteTokens(old), rows.putInstanceRow({ ...record, tokens })],
    }));
    if (outcome === "done") record.tokens = tokens;
  }

  #recordOf(found: Resumable, fresh: string): Session {
    const { id, nick, room, since, held, instance, token } = found;
    // If another instance has had the connection meanwhile, a record here lacks part of its messages.
    const own = instance === this.#parts.instance ? this.#parts.records.get(id) : undefined;
    return {
      ...newRecord(id, since),
      nick,
      room,
      held,
      tokens: [fresh, token],
      era: fresh,
      cids: own?.cids ?? new Map(),
      areCidsRecalled: own?.areCidsRecalled ?? false,
      isStored: true,
    };
  }
}
