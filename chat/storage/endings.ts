/**
 * Ends sessions of a registered user, whichever instance has them: after a change of the password, or
 * because the user asks for it.
 *
 * To end a session, an instance takes it over by an event without a token, and then removes it. So a
 * resume of the same moment either comes first, and the ending starts over, or fails. If this instance
 * dies in between, the session is cleaned up with its other sessions.
 */
import { type Clock, delay } from "../base/clock.ts";
import { newToken } from "../base/tokens.ts";
import type { Outcome } from "../feed/batch.ts";
import { userKey } from "../kv/keys.ts";
import { backOff, withTimeout } from "../kv/retry.ts";
import { userFrom, type UserValue } from "../kv/values.ts";
import type { Changes } from "./changes.ts";
import { REMOVAL_RETRY_MS, type Removals } from "./removal.ts";
import type { ListedSession, SessionRows } from "./rows.ts";
import type { Takeovers } from "./takeover.ts";

/** What {@linkcode Endings} is made of. */
export interface EndingsParts {
  readonly kv: Deno.Kv;
  readonly clock: Clock;
  /** The ID of this instance. */
  readonly instance: string;
  readonly rows: SessionRows;
  readonly changes: Changes;
  readonly takeovers: Takeovers;
  readonly removals: Removals;
}

/** How the ending of a session ended. */
export type EndingOutcome = "done" | "not-found" | "failed";

/** Attempts to end a session that others change at the same time. */
const MAX_ATTEMPTS = 10;

/** Rounds in which the other sessions of a user are ended: others may be added meanwhile. */
const MAX_ROUNDS = 3;

/** Ends sessions. */
export class Endings {
  readonly #parts: EndingsParts;
  /** Removals of sessions that this instance has ended, by session ID. */
  readonly #removals = new Map<string, Promise<void>>();
  #isAbandoned = false;

  constructor(parts: EndingsParts) {
    this.#parts = parts;
  }

  /**
   * Reads the row of a registered user.
   *
   * @throws when KV cannot be read.
   */
  async readUser(user: string): Promise<UserValue | undefined> {
    const { kv, clock } = this.#parts;
    return userFrom((await withTimeout(clock, kv.get<unknown>(userKey(user)))).value);
  }

  /**
   * Returns the sessions of a user as their instances have listed them, wherever they are.
   *
   * @throws when KV cannot be read.
   */
  async listSessions(user: string, isRegistered: boolean): Promise<ListedSession[]> {
    const { rows } = this.#parts;
    const ids = isRegistered ? (await this.readUser(user))?.sessions.map(({ id }) => id) : [user];
    const found = await Promise.all((ids ?? []).map(async (id) => {
      const instance = await rows.instanceOf(id);
      return instance === undefined
        ? undefined
        : (await rows.readInstanceRow(id, instance)).session;
    }));
    return found.filter((session) => session !== undefined);
  }

  /** Ends a session of a registered user. After `"failed"` it may end later. */
  async end(user: string, id: string): Promise<EndingOutcome> {
    try {
      for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
        const value = await this.readUser(user);
        const isListed = value?.sessions.some((session) => session.id === id) ?? false;
        // After the first attempt: another instance has ended it, or its client has.
        if (!isListed) return attempt === 1 ? "not-found" : "done";
        const outcome = await this.#takeOver(user, id);
        if (outcome === "failed") return "failed";
        if (outcome === "done") {
          await this.#removals.get(id);
          return "done";
        }
        await backOff(this.#parts.clock, attempt);
      }
      return await this.#unlist(user, id);
    } catch {
      return "failed";
    }
  }

  /** Ends all sessions of a registered user but one. What fails three times stays. */
  async endOthers(user: string, except: string): Promise<void> {
    for (let round = 0; round < MAX_ROUNDS; round++) {
      const value = await this.readUser(user).catch(() => undefined);
      const others = value?.sessions.filter(({ id }) => id !== except) ?? [];
      if (value !== undefined && others.length === 0) return;
      await Promise.all(others.map(({ id }) => this.end(user, id)));
    }
  }

  /**
   * Removes a session that this instance has ended: called when the event of that is delivered. It
   * retries until that is done.
   */
  finish(id: string): void {
    const removal = this.#remove(id).finally(() => this.#removals.delete(id));
    this.#removals.set(id, removal);
  }

  /** Resolves when the sessions that this instance has ended are removed. */
  async whenIdle(): Promise<void> {
    await Promise.all(this.#removals.values());
  }

  /** Removes nothing more: another instance cleans up. */
  abandon(): void {
    this.#isAbandoned = true;
  }

  /** `"conflict"`: the session has changed meanwhile, or is in no state that can be taken over. */
  #takeOver(user: string, id: string): Promise<Outcome> {
    const { rows, changes, takeovers } = this.#parts;
    return changes.inTurn(id, [], async () => {
      const instance = await rows.instanceOf(id);
      if (instance === undefined) return "conflict";
      const { session, check } = await rows.readInstanceRow(id, instance);
      if (session === undefined || session.user !== user) return "conflict";
      const ended = { ...session, tokens: [], era: newToken() };
      const { outcome } = await changes.submit(id, {
        checks: [check],
        mutations: [
          ...rows.deleteTokens(session.tokens),
          ...takeovers.move(ended, instance, session.era),
        ],
        events: [takeovers.eventOf(ended, "")],
      });
      return outcome;
    });
  }

  /** Removes a session without rows from the row of its user. */
  async #unlist(user: string, id: string): Promise<EndingOutcome> {
    const { rows, changes } = this.#parts;
    if (await rows.instanceOf(id) !== undefined) return "failed";
    const { outcome } = await changes.attempt(id, [user], (drafts) => {
      drafts.of({ user, nick: "", isRegistered: true })?.forget(id);
      return { mutations: [] };
    });
    return outcome === "done" ? "done" : "failed";
  }

  async #remove(id: string): Promise<void> {
    const { rows, removals, instance, clock, changes } = this.#parts;
    const removeOnce = async (): Promise<Outcome> => {
      const { session } = await rows.readInstanceRow(id);
      return session === undefined ? "done" : await removals.remove(session, instance);
    };
    while (!this.#isAbandoned) {
      const outcome = await changes.inTurn(id, [], removeOnce).catch((): Outcome => "failed");
      if (outcome !== "failed") return;
      await delay(clock, REMOVAL_RETRY_MS);
    }
  }
}
