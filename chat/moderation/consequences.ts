/**
 * What follows on this instance when an act is delivered: what it keeps in memory changes, sessions leave a
 * room or end, connections are closed.
 *
 * Every instance does this for its own sessions, so an act needs no answer from any of them. If one crashes
 * first, its sessions are cleaned up, or lose the room when they resume (entries.ts).
 */
import { actNameFrom } from "../base/acts.ts";
import { type Clock, delay } from "../base/clock.ts";
import { CLOSE, type CloseReason } from "../base/close_codes.ts";
import type { RoomEvent } from "../feed/events.ts";
import { PRIVATE_ROOM_PREFIX } from "../kv/keys.ts";
import { NO_STANDING } from "../kv/moderation_values.ts";
import { eachWithTimeout } from "../kv/retry.ts";
import type { Session } from "../storage/records.ts";
import { REMOVAL_RETRY_MS } from "../storage/removal.ts";
import type { Storage } from "../storage/storage.ts";
import { standingAfter } from "./effects.ts";
import { type Ignores, isIgnoresChanged } from "./ignores.ts";
import type { BannedNetworks } from "./networks.ts";
import type { Roles } from "./roles.ts";
import type { RoomStates } from "./room_states.ts";
import type { ModerationRows } from "./rows.ts";

/** What {@linkcode Consequences} is made of. */
export interface ConsequencesParts {
  readonly kv: Deno.Kv;
  readonly clock: Clock;
  readonly storage: Storage;
  readonly roles: Roles;
  readonly rows: ModerationRows;
  readonly states: RoomStates;
  readonly networks: BannedNetworks;
  readonly ignores: Ignores;
  /** Returns the shard of a name. */
  shardOf(name: string): number;
  /** Reads what holds for a session in a room, and keeps it in memory. May throw. */
  load(session: Session, room: string): Promise<void>;
  /** Closes the socket of a session of this instance, if it has one. */
  closeSession(id: string, why: CloseReason): void;
  /** Closes the sockets of this instance whose clients' addresses are banned now. */
  closeBanned(): void;
}

/** Applies the acts that are delivered on one instance. */
export class Consequences {
  readonly #parts: ConsequencesParts;
  readonly #privateRooms = new Set<string>();
  #delivered = 0;
  /** Sessions that are being taken out of a room, or ended. */
  #work = 0;

  constructor(parts: ConsequencesParts) {
    this.#parts = parts;
  }

  /** The private rooms of the whole chat. */
  get privateRooms(): ReadonlySet<string> {
    return this.#privateRooms;
  }

  /** The number of acts that were delivered. */
  get delivered(): number {
    return this.#delivered;
  }

  /** Whether everything is done that follows from the acts that were delivered. */
  get isIdle(): boolean {
    return this.#work === 0;
  }

  /**
   * Reads which rooms are private.
   *
   * @throws when KV cannot be read.
   */
  async start(): Promise<void> {
    const { kv, clock } = this.#parts;
    for (let before = -1; before !== this.#delivered;) {
      before = this.#delivered;
      this.#privateRooms.clear();
      const rows = kv.list({ prefix: PRIVATE_ROOM_PREFIX }, { batchSize: 500 });
      for await (const { key } of eachWithTimeout(clock, rows)) {
        this.#privateRooms.add(String(key[1]));
      }
    }
  }

  /** Applies an event of the feed. The caller passes every event, in order, before it is shown. */
  apply(event: RoomEvent): void {
    const { kind, id, room, to } = event;
    switch (kind) {
      case "message":
      case "action":
        return this.#parts.states.noteMessage(event);
      case "join":
      case "leave":
      case "nick": {
        const session = this.#parts.storage.session(id);
        if (session === undefined || room === "") return;
        if (to !== undefined) return this.#noteUser(session, event);
        if (kind === "join") this.#parts.states.noteJoin(session, room);
        if (kind === "leave") this.#parts.states.noteLeave(session, room);
        return;
      }
      case "act":
        return this.#applyAct(event);
      case "direct":
      case "edit":
      case "delete":
      case "reaction":
      case "read":
      case "away":
      case "resume":
        return;
      default:
        kind satisfies never;
    }
  }

  /** Does what follows from an act on this instance. Call it when its clients have been told. */
  carryOut(event: RoomEvent): void {
    const { kind, room, target, to, isQuiet } = event;
    if (kind !== "act" || isQuiet || (target !== "ban" && target !== "kick")) return;
    if (to === undefined) return this.#parts.closeBanned();
    for (const session of this.#sessionsOf(to.user)) {
      if (room !== "") this.takeOut(session, room);
      else this.#end(session, target === "ban" ? CLOSE.banned : CLOSE.kicked);
    }
  }

  /**
   * Returns the sessions of this instance that are told of an act besides its room and the user concerned:
   * operators of an act on the whole chat, and moderators of a report.
   *
   * @throws when KV cannot be read.
   */
  async othersToldOf({ room, target, to, isQuiet }: RoomEvent): Promise<string[]> {
    if (isQuiet || (target !== "report" && room !== "")) return [];
    const { rules } = await this.#parts.rows.read(room, this.#parts.shardOf(room));
    return this.#parts.storage.sessions().filter((session) => {
      if (session.user === to?.user) return false;
      return this.#parts.roles.isOperator(session) ||
        (session.account !== "" && rules.moderators.has(session.user));
    }).map(({ id }) => id);
  }

  /** Returns the sessions of this instance for which an act has changed the state of its room. */
  changedFor({ kind, room, target, to, isQuiet }: RoomEvent): Session[] {
    const act = actNameFrom(target ?? "");
    if (kind !== "act" || isQuiet || room === "" || act === undefined) return [];
    const sessions = this.#parts.storage.sessions().filter(({ rooms }) => rooms.has(room));
    switch (act) {
      case "topic":
      case "slow":
      case "lock":
      case "unlock":
      case "private":
      case "public":
        return sessions;
      case "mute":
      case "unmute":
      case "mod":
      case "unmod":
        return sessions.filter(({ user }) => to === undefined || user === to.user);
      case "kick":
      case "ban":
      case "unban":
      case "invite":
      case "purge":
      case "delete":
      case "report":
        return [];
      default:
        return act satisfies never;
    }
  }

  /** Finds out what holds for the user that a session has become. Until then it cannot write there. */
  #noteUser(session: Session, { room, to, account, id, kind }: RoomEvent): void {
    // A `join` is by the new user: the author does not tell the old one.
    if (kind !== "join" && to!.user === (account || id)) return;
    this.#parts.states.noteNewUser(session, room);
    const { storage, clock } = this.#parts;
    const load = async () => {
      while (storage.session(session.id) === session && session.rooms.has(room)) {
        try {
          return await this.#parts.load(session, room);
        } catch {
          await delay(clock, REMOVAL_RETRY_MS);
        }
      }
    };
    // The event is applied to the session first.
    clock.soon(() => void load());
  }

  #applyAct(event: RoomEvent): void {
    if (isIgnoresChanged(event)) return this.#parts.ignores.apply(event);
    const { room, target, to, subject, isQuiet } = event;
    // The quiet copy of an act in a room is only for the record.
    if (room !== "" && isQuiet) return;
    this.#delivered++;
    const isRemoval = target === "ban" || target === "kick";
    if (room === "" && to === undefined) {
      const { ban } = standingAfter(NO_STANDING, event);
      if (subject !== undefined) this.#parts.networks.apply(subject, ban);
      return;
    }
    const concerned = to === undefined ? [] : this.#sessionsOf(to.user);
    if (room === "") {
      for (const session of isRemoval ? concerned : []) this.#parts.states.end(session);
      return;
    }
    this.#parts.states.apply(event, concerned);
    if (target === "private") this.#privateRooms.add(room);
    if (target === "public") this.#privateRooms.delete(room);
    for (const session of isRemoval ? concerned : []) {
      if (session.rooms.has(room)) this.#parts.states.end(session, room);
    }
  }

  /** Returns the sessions of this instance that speak for a user, or began as that unregistered user. */
  #sessionsOf(user: string): Session[] {
    return this.#parts.storage.sessions().filter((each) => each.user === user || each.id === user);
  }

  /** Takes a session out of a room. It retries until that is done, or the session is not here any more. */
  takeOut(session: Session, room: string): void {
    this.#parts.states.end(session, room);
    const { storage, clock } = this.#parts;
    const takeOut = async () => {
      while (storage.session(session.id) === session && session.rooms.has(room)) {
        const { outcome } = await storage.removeRoom(session.id, room);
        if (outcome !== "failed") return;
        await delay(clock, REMOVAL_RETRY_MS);
      }
    };
    this.#work++;
    void takeOut().finally(() => this.#work--);
  }

  /** Ends a session for good: it cannot be resumed. */
  #end(session: Session, why: CloseReason): void {
    const { storage, closeSession } = this.#parts;
    this.#parts.states.end(session);
    // First: a session whose socket is closed would be kept for a while.
    this.#work++;
    void storage.deleteConnection(session.id).finally(() => this.#work--);
    closeSession(session.id, why);
  }
}
