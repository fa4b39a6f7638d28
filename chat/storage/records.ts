/**
 * The records of this instance's own connections, in memory, kept up to date by the feed's events.
 *
 * An instance is the only writer of its own connections' rows, so it does not read them again. This
 * file does not touch KV: see {@linkcode ConnectionRows} for the rows.
 */
import type { Outcome } from "../feed/batch.ts";
import type { EventKind, RoomEvent, UserRef } from "../feed/events.ts";
import type { ProtocolName } from "../kv/values.ts";

/** A connection of any instance. */
export interface ConnectionRecord {
  readonly id: string;
  /** The ID of its user. */
  readonly user: string;
  readonly nick: string;
  /** Whether it has signed in to a registration. */
  readonly isRegistered: boolean;
  readonly rooms: readonly string[];
}

/** A message that a client sent under a `cid`, its own ID of the message. */
export interface CidState {
  /** The ID of the message's event; `undefined` until it is delivered. */
  eventId: string | undefined;
  /** The commit seemed to fail: the message may be stored all the same. */
  isUncertain: boolean;
  /** For a direct message: it is kept like history. */
  readonly isKept: boolean;
  /** Called with the outcome: the client sent the same `cid` again before the first was settled. */
  readonly waiting: ((outcome: Outcome, eventId?: string) => void)[];
}

/** An earlier identity or state of a session, and the rooms that still know the session so. */
export interface Untold extends UserRef {
  /** The number of the session in the row of that user; -1 if the user is not registered. */
  readonly n: number;
  readonly rooms: ReadonlySet<string>;
  /** Whether these rooms still know the session as away. */
  readonly isAway: boolean;
}

/** The user that a session speaks for, and whether the session is away. */
export interface Speaker extends UserRef {
  readonly isAway: boolean;
}

/** A session of this instance. Its fields change as the feed delivers its operations. */
export interface Session {
  /** The ID of its first connection. */
  readonly id: string;
  /** When the session began, in Unix milliseconds of the instance that accepted it. */
  readonly since: number;
  readonly protocol: ProtocolName;
  /** The hash of its client's address; empty: unknown, or one that many clients may share. */
  readonly address: string;
  /** Whether its client has given the operators' secret. */
  isOperator: boolean;
  /** Of an unregistered user: the users that it ignores, by ID, with their nicknames. */
  ignored: ReadonlyMap<string, string>;
  /** Whether its client has said that nobody is there. */
  isAway: boolean;
  /** Empty before the login. */
  nick: string;
  /** The registration that it has signed in to, as a folded nickname, or empty. */
  account: string;
  /** The ID of its user: that of the registration, or else its own. */
  user: string;
  readonly rooms: Set<string>;
  /** Hashes of the tokens that resume the session, newest first; empty if none does. */
  tokens: readonly string[];
  /**
   * A string that the last takeover created; empty before the first. It tells apart the times at which
   * one instance had the session.
   */
  readonly era: string;
  /** The claims that it holds: those of its nickname, except the claims of its registration. */
  claims: readonly string[];
  /** What the client sent under its own IDs, by {@linkcode cidKey}; the oldest first. */
  readonly cids: Map<string, CidState>;
  /** Whether `cids` also holds what other instances, or an earlier process, stored. */
  areCidsRecalled: boolean;
  /** Whether KV has, or may have, rows of the session. */
  isStored: boolean;
  /**
   * The ID of the event by which this instance took the session over; empty if it did not. Older
   * events of another shard may still be delivered after it; the record holds their effects already.
   */
  takeoverEventId: string;
  /** The last operation seemed to fail: it may be committed all the same. */
  isUncertain: boolean;
  /** The rooms that have not been told of the last change of identity, or that it is away or back. */
  untold: Untold | undefined;
  /** Set once the session is being deleted. */
  removal: Promise<void> | undefined;
}

const NO_ONE: ReadonlyMap<string, string> = new Map([]);

/** Returns the record of a new session without a nickname. `address`: see {@linkcode Session.address}. */
export function newRecord(
  id: string,
  since: number,
  protocol: ProtocolName,
  address: string,
): Session {
  return {
    id,
    since,
    protocol,
    address,
    isOperator: false,
    ignored: NO_ONE,
    isAway: false,
    nick: "",
    account: "",
    user: id,
    rooms: new Set(),
    tokens: [],
    era: "",
    claims: [],
    cids: new Map(),
    areCidsRecalled: true,
    isStored: false,
    takeoverEventId: "",
    isUncertain: false,
    untold: undefined,
    removal: undefined,
  };
}

/** Returns the user that a session speaks for. */
export function userRefOf({ user, nick, account }: Session): UserRef {
  return { user, nick, isRegistered: account !== "" };
}

/** Returns the user that a session speaks for, and whether it is away. */
export function speakerOf(session: Session): Speaker {
  return { ...userRefOf(session), isAway: session.isAway };
}

/** Returns the user ID that events of a session have as `account`: empty if it is not registered. */
export function accountOf({ user, account }: Session): string {
  return account === "" ? "" : user;
}

/** Messages of one connection whose `cid` is remembered. */
export const MAX_CIDS = 512;

/**
 * Returns the key of a message in {@linkcode Session.cids}. A client may use the same `cid` for
 * a room message and for a direct message: these are two messages.
 */
export function cidKey(kind: EventKind, cid: string): string {
  switch (kind) {
    case "direct":
      return `direct ${cid}`;
    case "message":
    case "action":
    case "join":
    case "leave":
    case "nick":
    case "resume":
    case "edit":
    case "delete":
    case "reaction":
    case "read":
    case "act":
    case "away":
      return cid;
    default:
      return kind satisfies never;
  }
}

/** Remembers a message sent under a `cid`. Without `eventId` the message is not delivered yet. */
export function rememberCid(
  { cids }: Session,
  key: string,
  eventId?: string,
  isKept = false,
): void {
  cids.set(key, { eventId, isUncertain: false, isKept, waiting: [] });
  if (cids.size > MAX_CIDS) cids.delete(cids.keys().next().value!);
}

/** The records, by the connections' IDs. */
export class SessionRecords {
  readonly #instance: string;
  readonly #records = new Map<string, Session>();
  /**
   * Records of connections that this instance is taking over, by connection ID and by the hash of
   * the new token. One connection may have several: an attempt that seemed to fail may be committed
   * later.
   */
  readonly #takeovers = new Map<string, Map<string, Session>>();

  /** `instance` is the ID of this instance. */
  constructor(instance: string) {
    this.#instance = instance;
  }

  /** Returns the record of a connection of this instance. */
  get(id: string): Session | undefined {
    return this.#records.get(id);
  }

  /** Adds a record. */
  add(record: Session): void {
    this.#records.set(record.id, record);
  }

  /** Removes a record, unless another record has replaced it. */
  remove(record: Session): void {
    if (this.#records.get(record.id) === record) this.#records.delete(record.id);
  }

  /** Returns all records, in the order in which they were added. */
  all(): Session[] {
    return [...this.#records.values()];
  }

  /** Removes all records and forgets all takeovers. */
  clear(): void {
    this.#records.clear();
    this.#takeovers.clear();
  }

  /** Forgets all takeovers: the connections stay with the instance that has them. */
  cancelAllTakeovers(): void {
    this.#takeovers.clear();
  }

  /** Prepares a takeover: `record` becomes the connection's record when its event is delivered. */
  expectTakeover(record: Session): void {
    const attempts = this.#takeovers.get(record.id) ?? new Map<string, Session>();
    this.#takeovers.set(record.id, attempts.set(record.era, record));
  }

  /** Forgets a takeover: if it turns out to be committed, this instance does not keep its record. */
  cancelTakeover(id: string, token: string): void {
    const attempts = this.#takeovers.get(id);
    if (attempts?.delete(token) && attempts.size === 0) this.#takeovers.delete(id);
  }

  /** Whether a takeover of the connection is under way. */
  isBeingTakenOver(id: string): boolean {
    return this.#takeovers.has(id);
  }

  /**
   * Applies an event to the record that it is about. The events must come in the feed's order. The
   * identity of a record changes only with the outcome of `setUsername`: if another instance takes the
   * session over, its record has the identity that KV had at that moment.
   */
  apply(event: RoomEvent, eventId: string): void {
    const { kind, id, room, to } = event;
    switch (kind) {
      case "message":
      case "action":
      case "direct":
      case "edit":
      case "delete":
        return this.#applyCid(event, eventId);
      case "join":
        if (to !== undefined) return;
        return this.#update(id, eventId, ({ rooms }) => rooms.add(room));
      case "leave":
        if (to !== undefined) return;
        return this.#update(id, eventId, ({ rooms }) => rooms.delete(room));
      case "resume":
        return this.#applyTakeover(event, eventId);
      case "nick":
      case "reaction":
      case "read":
      case "act":
      case "away":
        return;
      default:
        kind satisfies never;
    }
  }

  #applyCid({ kind, id, cid }: RoomEvent, eventId: string): void {
    if (cid === "") return;
    const message = this.#records.get(id)?.cids.get(cidKey(kind, cid));
    if (message !== undefined) message.eventId = eventId;
  }

  #update(id: string, eventId: string, change: (record: Session) => void): void {
    const record = this.#records.get(id);
    if (record !== undefined && eventId >= record.takeoverEventId) change(record);
  }

  #applyTakeover({ id, text: instance, cid: token }: RoomEvent, eventId: string): void {
    // The user has ended the session, or another instance has it now.
    if (token === "" || instance !== this.#instance) {
      return this.#update(id, eventId, (record) => this.remove(record));
    }
    const attempts = this.#takeovers.get(id);
    const record = attempts?.get(token);
    // The takeover was cancelled.
    if (attempts === undefined || record === undefined) return;
    // With it end the attempts that began earlier and seemed to fail: they cannot succeed any more.
    for (const each of [...attempts.keys()]) {
      this.cancelTakeover(id, each);
      if (each === token) break;
    }
    // The event comes from another shard, and a later takeover was delivered before it.
    if (eventId < (this.#records.get(id)?.takeoverEventId ?? "")) return;
    record.takeoverEventId = eventId;
    this.#records.set(id, record);
  }
}
