/**
 * Changes of identity: a session logs in, changes its nickname, signs in to a registration or out of it.
 * Also that a session is away, or back, because rooms are told in the same way.
 *
 * Rooms are told in a sequence of operations, because they belong to different shards of the feed. The
 * first one changes everything but the rooms that it does not tell. Each one stores which rooms are not
 * told yet, so that the sequence can be finished later, also by another instance. This file does not
 * check passwords (nicknames/registrations.ts).
 */
import type { Clock } from "../base/clock.ts";
import type { UserRef } from "../feed/events.ts";
import { changeClaims, type ClaimChange, isKeptBy, keepClaims, readClaims } from "./claims.ts";
import type { Ownership } from "./claims.ts";
import {
  type Admit,
  type ChangeOutcome,
  type ChangeResult,
  type Changes,
  refused,
} from "./changes.ts";
import type { Planned, Presence } from "./presence.ts";
import { type Session, speakerOf, type Untold } from "./records.ts";
import type { SessionRows } from "./rows.ts";
import type { UserDrafts } from "./users.ts";

/** A nickname, and what taking it needs. */
export interface NewUsername {
  readonly nick: string;
  /** The nickname's claims, its folded form first. */
  readonly claims: readonly string[];
  /** The hash of a token that resumes the session from now on, in place of its other tokens. */
  readonly token?: string;
  /**
   * The registration that the session is signed in to from then on: its client has proved to own it.
   * Without it the session signs out, unless the first claim is the name of its registration.
   */
  readonly owner?: Ownership;
  /** The registration of the session, if it ends now: the session gets its claims. */
  readonly ended?: Ownership;
  /** Asks moderation; absent: nobody is asked. */
  readonly admit?: Admit;
}

/** Returns what a session keeps for itself from then on. */
export type OwnChange = () => Partial<Pick<Session, "isOperator" | "ignored">>;

/** What {@linkcode Identities} is made of. */
export interface IdentitiesParts {
  readonly kv: Deno.Kv;
  readonly clock: Clock;
  readonly rows: SessionRows;
  readonly presence: Presence;
  readonly changes: Changes;
  readonly maxRooms: number;
}

/** What a record holds of its identity. */
type Identity = Pick<Session, "nick" | "account" | "user" | "claims" | "tokens" | "untold">;

/** Changes the identities of sessions. */
export class Identities {
  readonly #parts: IdentitiesParts;

  constructor(parts: IdentitiesParts) {
    this.#parts = parts;
  }

  /**
   * Gives a session a nickname, and signs it in to a registration or out of it. Its rooms are told what
   * changed for them: that a user has another nickname, joined, left, or nothing.
   *
   * `"conflict"`: another user has one of the claims, the registration changed, or this instance does not
   * have the session any more. `"too-many-rooms"`, `"too-many-sessions"`: with this session the
   * registered user would have too many; nothing was changed.
   */
  setUsername(record: Session, username: NewUsername): Promise<ChangeResult> {
    const { changes } = this.#parts;
    const { owner, token } = username;
    const userIds = owner === undefined ? [record.user] : [record.user, owner.user];
    return changes.inTurn(record.id, userIds, async () => {
      const state = await changes.prepare(record);
      if (state !== "done") return refused(state);
      const groups = this.#parts.presence.groupsOf(record.rooms);
      const registered = record.account === "" ? [] : [record.user];
      const users = owner === undefined ? registered : [...registered, owner.user];
      let next: Identity = record;
      const result = await changes.attempt(groups[0]?.[0] ?? record.id, users, async (drafts) => {
        const planned = await this.#plan(record, username, groups, drafts);
        if (typeof planned === "string") return planned;
        next = planned.next;
        return planned;
      });
      if (result.outcome === "failed") {
        // It may be committed all the same.
        record.isStored = record.isUncertain = true;
        if (token !== undefined) record.tokens = [token, ...record.tokens];
      }
      if (result.outcome !== "done") return result;
      const { nick, account, user, claims, tokens, untold } = next;
      Object.assign(record, { nick, account, user, claims, tokens, untold, isStored: true });
      const { isTold, eventId } = await changes.tell(record);
      return {
        outcome: "done",
        eventId: result.eventId ?? eventId,
        isTold: result.isTold || isTold,
      };
    });
  }

  /**
   * Commits a change of the registration that a session is signed in to. With the hash of a token, that
   * token alone resumes the session from then on.
   */
  async saveRegistration(
    record: Session,
    checks: readonly Deno.AtomicCheck[],
    mutations: readonly Deno.KvMutation[],
    token?: string,
  ): Promise<ChangeResult> {
    const { rows, changes } = this.#parts;
    const { id } = record;
    const result = await changes.change(record, id, () => {
      if (token === undefined) return { checks, mutations };
      const renewal = [
        ...rows.deleteTokens(record.tokens),
        rows.putToken(token, id),
        rows.putInstanceRow({ ...record, tokens: [token] }),
      ];
      return { checks, mutations: [...mutations, ...renewal] };
    }, false);
    if (token === undefined) return result;
    if (result.outcome === "done") record.tokens = [token];
    // It may be committed all the same.
    if (result.outcome === "failed") record.tokens = [token, ...record.tokens];
    return result;
  }

  /**
   * Changes what a session keeps for itself: its role, or whom it ignores. No room is told. `change` is
   * called in the session's turn.
   */
  async saveOwn(record: Session, change: OwnChange): Promise<ChangeResult> {
    const { rows, changes } = this.#parts;
    let own: ReturnType<OwnChange> = {};
    const result = await changes.change(record, record.id, () => {
      own = change();
      return { mutations: [rows.putInstanceRow({ ...record, ...own })] };
    }, false);
    if (result.outcome === "done") Object.assign(record, own);
    return result;
  }

  /**
   * Notes that a session is away, or back, and tells its rooms. Nothing happens if it is so already.
   * `"conflict"`: this instance does not have the session any more.
   */
  setAway(record: Session, isAway: boolean): Promise<ChangeResult> {
    const { rows, presence, changes } = this.#parts;
    return changes.inTurn(record.id, [record.user], async () => {
      const state = await changes.prepare(record);
      if (state !== "done" || record.isAway === isAway) return refused(state);
      const [first = [], ...later] = presence.groupsOf(record.rooms);
      const speaker = speakerOf(record);
      const users = speaker.isRegistered ? [record.user] : [];
      let untold: Untold | undefined;
      const result = await changes.attempt(first[0] ?? record.id, users, (drafts) => {
        const from = { ...speaker, n: drafts.of(speaker)?.numberOf(record.id) ?? -1 };
        untold = later.length === 0 ? undefined : { ...from, rooms: new Set(later.flat()) };
        const moved = presence.move(record.id, first, from, { ...speaker, isAway }, drafts);
        const row = rows.putInstanceRow({ ...record, isAway, untold });
        const mutations = [...moved.mutations, row];
        return { checks: rows.takeoverCheck(record), mutations, events: moved.events };
      });
      // It may be committed all the same.
      if (result.outcome === "failed") record.isUncertain = true;
      if (result.outcome !== "done") return result;
      Object.assign(record, { isAway, untold });
      await changes.tell(record);
      return result;
    });
  }

  /** Keeps a registration for longer: see `Storage.renewRegistration`. */
  async renewRegistration(owner: Ownership): Promise<ChangeResult> {
    const { kv, clock, changes } = this.#parts;
    const { account, user, claims } = owner;
    const keeping = keepClaims(owner, [], await readClaims(kv, clock, claims));
    if (keeping === undefined) return refused("conflict");
    return await changes.attempt(account, [user], (drafts) => {
      drafts.of({ user, nick: "", isRegistered: true })?.touch();
      return {
        checks: [...owner.checks, ...keeping.checks],
        mutations: [...owner.mutations, ...keeping.mutations],
      };
    });
  }

  async #plan(
    record: Session,
    username: NewUsername,
    [first = [], ...later]: readonly string[][],
    drafts: UserDrafts,
  ): Promise<Planned & { next: Identity } | ChangeOutcome> {
    const { rows, presence } = this.#parts;
    const { id } = record;
    const { nick, owner, ended, token } = username;
    const staysIn = owner === undefined && ended === undefined && record.account !== "" &&
      record.account === username.claims[0];
    const account = owner?.account ?? (staysIn ? record.account : "");
    const user = owner?.user ?? (staysIn ? record.user : id);
    const to = { user, nick, isRegistered: account !== "", isAway: record.isAway };
    const admitted = await username.admit?.(first[0] ?? id);
    if (admitted === "refused") return admitted;
    const claims = await this.#changeClaims(record, username, staysIn);
    if (claims === undefined) return "conflict";
    const from = speakerOf(record);
    const n = this.#changeUsers(record, from, to, account, drafts);
    if (typeof n === "string") return n;
    if (ended !== undefined) drafts.of(from)?.end();
    const isSame = from.user === user && from.nick === nick;
    const left = isSame ? [] : later.flat();
    const untold: Untold | undefined = left.length === 0
      ? undefined
      : { ...from, n, rooms: new Set(left) };
    const tokens = token === undefined ? record.tokens : [token];
    const next: Identity = { nick, account, user, claims: claims.held, tokens, untold };
    const moved = presence.move(id, isSame ? [] : first, { ...from, n }, to, drafts);
    return {
      next,
      lastAct: admitted?.lastAct,
      checks: [
        ...rows.takeoverCheck(record),
        ...claims.checks,
        ...(owner ?? ended)?.checks ?? [],
      ],
      mutations: [
        ...token === undefined
          ? []
          : [...rows.deleteTokens(record.tokens), rows.putToken(token, id)],
        ...record.nick === "" ? [] : rows.deleteName(id, record.nick),
        ...rows.putName(id, to),
        rows.putInstanceRow({ ...record, ...next }),
        ...claims.mutations,
        ...(owner ?? ended)?.mutations ?? [],
        ...moved.mutations,
      ],
      events: moved.events,
    };
  }

  /**
   * Moves a session from one user to another in their rows. Returns its former number, or why that is
   * not possible.
   */
  #changeUsers(
    record: Session,
    from: UserRef,
    to: UserRef,
    account: string,
    drafts: UserDrafts,
  ): number | ChangeOutcome {
    const entered = drafts.of(to);
    // Another session has ended the registration.
    if (entered?.hasEnded) return "conflict";
    const isSameUser = from.user === to.user;
    const n = isSameUser ? -1 : drafts.of(from)?.remove(record.id) ?? -1;
    if (entered === undefined) return n;
    if (!entered.add({ ...record, account })) return "too-many-sessions";
    if (isSameUser) return entered.numberOf(record.id);
    return entered.makePlace(record.rooms, this.#parts.maxRooms) ? n : "too-many-rooms";
  }

  /** Plans the change of claims. Returns `undefined` if another user has one of them. */
  async #changeClaims(
    { id, account, claims: before }: Session,
    { claims, owner, ended }: NewUsername,
    staysIn: boolean,
  ): Promise<ClaimChange | undefined> {
    const { kv, clock } = this.#parts;
    const kept = owner?.claims ?? ended?.claims ?? (staysIn ? claims : []);
    const found = kept.length === 0 ? [] : await readClaims(kv, clock, kept);
    if (owner !== undefined) {
      const keeping = keepClaims(owner, before, found);
      if (keeping === undefined) return undefined;
      const isOwn = (claim: string) => !owner.claims.includes(claim);
      const change = changeClaims(id, before.filter(isOwn), claims.filter(isOwn));
      return {
        held: change.held,
        checks: [...keeping.checks, ...change.checks],
        mutations: [...keeping.mutations, ...change.mutations],
      };
    }
    const ofAccount = found.filter((each) => isKeptBy(each, account)).map(({ claim }) => claim);
    if (ended === undefined) {
      // While signed in it needs only the claims of a spelling that the registration does not keep.
      return changeClaims(id, before, claims.filter((claim) => !ofAccount.includes(claim)));
    }
    const next = new Set([...before, ...ofAccount]);
    return changeClaims(id, before, [...next], ofAccount);
  }
}
