/**
 * Moderation: what the session layer asks before it does something, the acts of moderators and operators,
 * and what follows on this instance when an act is delivered.
 *
 * One mechanism carries all of it: an act is an event in the room's order, and the same commit changes
 * what it is about. The feed makes sure that nothing is committed after an act which the act forbids, on
 * any instance (feed/committer.ts).
 */
import type { Clock } from "../base/clock.ts";
import type { CloseReason } from "../base/close_codes.ts";
import { type Rejection, rejection, type Result } from "../base/rejections.ts";
import type { RoomState } from "../delivery/json.ts";
import type { RoomEvent, UserRef } from "../feed/events.ts";
import type { History } from "../history/history.ts";
import { NO_END, type Sanction } from "../kv/moderation_values.ts";
import type { SoughtUser, Users } from "../nicknames/users.ts";
import type { Session } from "../storage/records.ts";
import type { Storage } from "../storage/storage.ts";
import type { Resumable } from "../storage/takeover.ts";
import type { ActRequest } from "./act_request.ts";
import { type Acted, Acting } from "./acting.ts";
import { Consequences } from "./consequences.ts";
import { Deleting } from "./deleting.ts";
import { Entries, type Gate, type MayResume, type NewIdentity } from "./entries.ts";
import { Ignores } from "./ignores.ts";
import { BannedNetworks } from "./networks.ts";
import { ActRecord, type RecordPage } from "./record.ts";
import { Roles } from "./roles.ts";
import { RoomStates } from "./room_states.ts";
import { ModerationRows } from "./rows.ts";
import { Targets } from "./targets.ts";

export type { ActRequest } from "./act_request.ts";
export type { Acted } from "./acting.ts";
export type { Gate } from "./entries.ts";
export type { RecordPage } from "./record.ts";

/** What {@linkcode Moderation} is made of. */
export interface ModerationParts {
  readonly kv: Deno.Kv;
  readonly clock: Clock;
  readonly storage: Storage;
  readonly history: History;
  readonly users: Users;
  /** The operators' nicknames. */
  readonly operators: readonly string[];
  /** Makes a session an operator's; `undefined`: none does. */
  readonly operatorSecret: string | undefined;
  /** Whether a registered user who opens a room moderates it. */
  readonly roomOwners: boolean;
  /** Milliseconds for which rules, invitations and lists of ignored users are kept unchanged. */
  readonly rulesMs: number;
  /** The number of shards of the feed. */
  readonly shards: number;
  /** Returns the shard of a name. */
  shardOf(name: string): number;
  /** Closes the socket of a session of this instance, if it has one. */
  closeSession(id: string, why: CloseReason): void;
  /** Closes the sockets of this instance whose clients' addresses are banned now. */
  closeBanned(): void;
  /** Called when it is known whom a session of this instance ignores. */
  ignoredChanged(session: Session, ignored: ReadonlyMap<string, string>): void;
}

/** Moderation of one instance. */
export class Moderation {
  readonly #parts: ModerationParts;
  readonly #roles: Roles;
  readonly #rows: ModerationRows;
  readonly #states: RoomStates;
  readonly #entries: Entries;
  readonly #acting: Acting;
  readonly #networks: BannedNetworks;
  readonly #ignores: Ignores;
  readonly #record: ActRecord;
  readonly #consequences: Consequences;

  constructor(parts: ModerationParts) {
    this.#parts = parts;
    const { storage, clock } = parts;
    const shardOf = (name: string) => parts.shardOf(name);
    const roles = this.#roles = new Roles(parts);
    const rows = this.#rows = new ModerationRows(parts);
    const networks = this.#networks = new BannedNetworks(clock);
    const states = this.#states = new RoomStates({
      clock,
      sessions: () => storage.sessions(),
      isOperator: (session) => roles.isOperator(session),
    });
    this.#entries = new Entries({
      ...parts,
      roles,
      rows,
      states,
      delivered: () => this.#consequences.delivered,
      shardOf,
    });
    const targets = new Targets({ ...parts, roles, rows });
    const deleting = new Deleting(parts);
    this.#acting = new Acting({ ...parts, roles, rows, targets, networks, deleting, shardOf });
    this.#ignores = new Ignores({
      ...parts,
      lifetimeMs: parts.rulesMs,
      changed: (session, ignored) => parts.ignoredChanged(session, ignored),
    });
    this.#record = new ActRecord({ ...parts, roles, rows, shardOf });
    const ignores = this.#ignores;
    this.#consequences = new Consequences({
      ...parts,
      roles,
      rows,
      states,
      networks,
      ignores,
      load: (session, room) => this.#entries.loadRoom(session, room),
    });
  }

  /**
   * Reads what concerns the whole chat. Call it when acts are delivered already, and before the first
   * client is accepted.
   *
   * @throws when KV cannot be read.
   */
  async start(): Promise<void> {
    await this.#networks.load(this.#parts.kv);
    await this.#consequences.start();
  }

  // Roles.

  /** Returns whether a session is one of an operator. */
  isOperator(session: Session): boolean {
    return this.#roles.isOperator(session);
  }

  /** Makes a session an operator's: see {@linkcode Roles.becomeOperator}. */
  becomeOperator(session: Session, secret: string, address: string): Promise<Result> {
    return this.#roles.becomeOperator(session, secret, address);
  }

  /** Returns what a session may do in a room that it is in; `undefined`: what every member may. */
  roleIn(session: Session, room: string): "operator" | "moderator" | undefined {
    if (this.#roles.isOperator(session)) return "operator";
    return this.#states.isModerator(session, room) ? "moderator" : undefined;
  }

  // Acts, and the record of them.

  /**
   * Carries an act out. The room must be one that a name leads to: see Storage.resolveRoom.
   *
   * @throws when KV cannot be read.
   */
  act(session: Session, request: ActRequest): Promise<Acted> {
    return this.#acting.act(session, request);
  }

  /**
   * Returns a page of the record: of a room, or without one of everything. See {@linkcode ActRecord.page}.
   *
   * @throws when KV cannot be read.
   */
  modlog(
    session: Session,
    room: string | undefined,
    before: string | undefined,
    limit: number,
  ): Promise<Result<RecordPage>> {
    return this.#record.page(session, room, before, limit);
  }

  // What the session layer asks.

  /**
   * Returns why a session may not enter a room now; `undefined`: it may. The answer may change before it
   * enters: {@linkcode Moderation.enter} decides.
   *
   * @throws when KV cannot be read.
   */
  whyNotEnter(session: Session, room: string): Promise<Rejection | undefined> {
    return this.#entries.whyNotEnter(session, room);
  }

  /** Returns the question whether a session may enter a room: for Storage.setRoom. */
  enter(session: Session): Gate {
    return this.#entries.room(session);
  }

  /** Returns the question whether a session may log in, sign in or be renamed: for Storage.setUsername. */
  mayBecome(session: Session, identity: NewIdentity): Gate {
    return this.#entries.identity(session, identity);
  }

  /**
   * Returns whether a session may be resumed, and whom its user ignores: see {@linkcode Entries.resume}.
   *
   * @throws when KV cannot be read.
   */
  async mayResume(
    found: Resumable,
  ): Promise<Result<MayResume & { ignored: ReadonlyMap<string, string> }>> {
    const allowed = await this.#entries.resume(found);
    return allowed.ok ? { ...allowed, ignored: await this.#ignores.of(found) } : allowed;
  }

  /**
   * Takes over what holds for a session that was resumed, and takes it out of the rooms that it has lost.
   *
   * @throws when KV cannot be read.
   */
  async resumed(session: Session, lostRooms: readonly string[]): Promise<void> {
    await this.#entries.load(session);
    for (const room of lostRooms) this.#consequences.takeOut(session, room);
    await this.#ignores.load(session);
  }

  /** Returns why a session may not write in a room now; `undefined`: it may, and in slow mode it counts. */
  maySay(session: Session, room: string): Rejection | undefined {
    const why = this.#states.whyNotWrite(session, room);
    if (why !== undefined) return why;
    const waitMs = this.#states.takeSlow(session, room);
    return waitMs > 0 ? rejection.slowMode(waitMs) : undefined;
  }

  /** Returns why a message was not committed that an act has forbidden meanwhile, if that is the reason. */
  whyConflict(session: Session, room: string): Rejection | undefined {
    return this.#states.whyNotWrite(session, room);
  }

  /** Returns whether an event may still be committed: see ShardParts.isAllowed. */
  isAllowed(event: RoomEvent): boolean {
    const { kind, id, room } = event;
    switch (kind) {
      case "message":
      case "action":
      case "reaction":
      case "edit": {
        const session = this.#parts.storage.session(id);
        // Another instance has the session by now.
        if (session === undefined || this.#states.hasEnded(session)) return false;
        if (room === "") return true;
        return session.rooms.has(room) &&
          this.#states.whyNotWrite(session, room) === undefined;
      }
      case "direct": {
        const session = this.#parts.storage.session(id);
        return session !== undefined && !this.#states.hasEnded(session);
      }
      // Joins, changes of identity and acts depend on the last act by themselves. The rest must be told.
      case "join":
      case "leave":
      case "nick":
      case "delete":
      case "read":
      case "away":
      case "resume":
      case "act":
        return true;
      default:
        return kind satisfies never;
    }
  }

  /** Returns the ban of a client's address, as a key of limits, if it is banned now. */
  banOf(address: string | undefined): Sanction | undefined {
    return address === undefined ? undefined : this.#networks.banOf(address);
  }

  /** Returns the state of a room that a session is in, as the session is told it. */
  stateOf(session: Session, room: string): RoomState {
    const { topic, slow, isLocked, isPrivate, mutedUntil } = this.#states.rulesOf(room);
    const role = this.roleIn(session, room);
    const until = Math.max(
      role === undefined ? mutedUntil : 0,
      this.#states.muteOf(session, room)?.until ?? 0,
    );
    return {
      room,
      topic: topic || undefined,
      slow: slow || undefined,
      locked: isLocked || undefined,
      private: isPrivate || undefined,
      muted: until === NO_END || (until > this.#parts.clock.now() ? until : undefined),
      role,
    };
  }

  /**
   * Returns those of some rooms that a session may know of: private rooms only if it is in them, or may
   * enter them.
   *
   * @throws when KV cannot be read.
   */
  async visible(session: Session, rooms: Iterable<string>): Promise<Set<string>> {
    const visible = new Set(rooms);
    if (this.#consequences.privateRooms.size === 0 || this.#roles.isOperator(session)) {
      return visible;
    }
    for (const room of visible) {
      if (!this.#consequences.privateRooms.has(room) || session.rooms.has(room)) continue;
      if (!(await this.#isInvited(session, room))) visible.delete(room);
    }
    return visible;
  }

  // Ignoring.

  /** Returns whom a session's user ignores: nicknames by user ID. May throw. */
  ignoredBy(session: Session): Promise<ReadonlyMap<string, string>> {
    return this.#ignores.of(session);
  }

  /** Ignores a user: see {@linkcode Ignores.set}. */
  ignore(session: Session, user: SoughtUser): Promise<Result<{ user: UserRef }>> {
    return this.#ignores.set(session, user, true);
  }

  /** Ends that a user is ignored: see {@linkcode Ignores.set}. */
  unignore(session: Session, user: SoughtUser): Promise<Result<{ user: UserRef }>> {
    return this.#ignores.set(session, user, false);
  }

  /** Called when a session speaks for another user: loads what holds for that one. May throw. */
  async identityChanged(session: Session): Promise<void> {
    await this.#entries.load(session);
    await this.#ignores.userChanged(session);
  }

  // What is delivered.

  /** Applies an event of the feed. The caller passes every event, in order, before it is shown. */
  apply(event: RoomEvent): void {
    this.#consequences.apply(event);
  }

  /** Does what follows from an act on this instance. Call it when its clients have been told. */
  carryOut(event: RoomEvent): void {
    this.#consequences.carryOut(event);
  }

  /** Whether everything is done that follows from the acts that were delivered. */
  get isIdle(): boolean {
    return this.#consequences.isIdle;
  }

  /** See {@linkcode Consequences.othersToldOf}. */
  othersToldOf(event: RoomEvent): Promise<string[]> {
    return this.#consequences.othersToldOf(event);
  }

  /** See {@linkcode Consequences.changedFor}. */
  changedFor(event: RoomEvent): Session[] {
    return this.#consequences.changedFor(event);
  }

  async #isInvited(session: Session, room: string): Promise<boolean> {
    const { user, account } = session;
    const person = { user, isRegistered: account !== "", address: "", claims: [] };
    const { rules, standings } = await this.#rows.read(room, this.#parts.shardOf(room), person);
    const isModerator = account !== "" && rules.moderators.has(user);
    return isModerator || (standings[0]!.standing.isInvited && !standings[0]!.standing.ban);
  }
}
