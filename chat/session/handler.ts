/**
 * What a client can do: log in, change its nickname, join, leave, send, ask. One verb each, for both
 * protocols.
 *
 * A verb returns a result or a rejection; the protocol tells the client. Changes of state go to
 * Storage, messages to the feed. Handler knows neither the protocols' texts nor sockets nor keys.
 */
import type { Clock } from "../base/clock.ts";
import type { Limits } from "../base/limits.ts";
import { reject, rejection, type Result } from "../base/rejections.ts";
import { hashToken, newToken } from "../base/tokens.ts";
import { encodedEventBytes, MAX_REPLY_BYTES } from "../delivery/encoded_size.ts";
import type { LoggedEvent, RoomEvent } from "../feed/events.ts";
import type { Feed } from "../feed/feed.ts";
import type { History } from "../history/history.ts";
import type { Confusables } from "../nicknames/confusables.ts";
import { Imitation } from "../nicknames/imitation.ts";
import { foldNickname, nicknameFrom } from "../nicknames/names.ts";
import type { Registrations } from "../nicknames/registrations.ts";
import type { ChangeResult } from "../storage/changes.ts";
import type { ConnectionRecord, Session } from "../storage/records.ts";
import type { NewUsername, Storage } from "../storage/storage.ts";
import type { Connection } from "./connection.ts";
import { type MessageRequest, Messages } from "./messages.ts";
import type { LastSeen } from "./missed_events.ts";
import type { Resume, Resumption } from "./resume.ts";
import { RoomNames } from "./room_names.ts";

/** What Handler is made of. */
export interface HandlerParts {
  readonly storage: Storage;
  readonly feed: Feed;
  readonly history: History;
  readonly resume: Resume;
  readonly registrations: Registrations;
  readonly confusables: Confusables;
  readonly limits: Limits;
  readonly clock: Clock;
  /** Whether every user may read the history of every room. */
  readonly openHistory: boolean;
}

/** The events of a room's history that a client asks for: the newest, or those beside an event. */
export interface HistoryQuery {
  readonly room?: string;
  /** Ask for the events just before, or just after, the event with this ID; at most one is given. */
  readonly before?: string;
  readonly after?: string;
  readonly limit: number;
}

/** The result of a change: the ID of the event that announces it, if there is one. */
type Changed<T = unknown> = Result<{ eventId?: string } & T>;

/** Most events in a page of history. */
export const MAX_HISTORY_EVENTS = 100;

/** The verbs, for all connections of an instance. */
export class Handler {
  readonly #parts: HandlerParts;
  readonly #imitation: Imitation;
  readonly #roomNames: RoomNames;
  readonly #messages: Messages;

  constructor(parts: HandlerParts) {
    const { storage, feed, resume, clock, confusables, limits } = parts;
    this.#parts = parts;
    this.#imitation = new Imitation(confusables);
    const roomNames = this.#roomNames = new RoomNames(confusables, limits);
    const findOnline = (nick: string) => this.findOnline(nick);
    this.#messages = new Messages({ storage, feed, resume, roomNames, clock, findOnline });
  }

  /** Returns the session of a new connection. It has no rows in KV before its login. */
  newSession(id: string): Session {
    return this.#parts.storage.createConnection(id);
  }

  /** Takes a nickname for the first time. If `resumable`, the result holds a resume token. */
  async login(
    connection: Connection,
    typed: string,
    resumable: boolean,
  ): Promise<Result<{ nick: string; token: string }>> {
    const token = resumable ? newToken() : "";
    const named = await this.rename(connection, typed, resumable ? hashToken(token) : undefined);
    return named.ok ? { ...named, token } : named;
  }

  /**
   * Resumes the session that a token belongs to. The client receives only replies until
   * {@linkcode Handler.endCatchUp}, so that it can be told first what it missed.
   */
  async resume(
    connection: Connection,
    token: string,
    seen: LastSeen,
  ): Promise<Result<Resumption>> {
    const resumed = await this.#parts.resume.resume(connection.subscriber, token, seen);
    if (!resumed.ok) return resumed;
    // The connection's own session has no nickname and no rows.
    await this.#parts.storage.deleteConnection(connection.session.id);
    connection.session = resumed.session;
    connection.tokenUnconfirmed = true;
    return resumed;
  }

  /** Delivers the held events: the client has been told what it missed. */
  endCatchUp({ subscriber }: Connection, resumption: Resumption): void {
    this.#parts.resume.endCatchUp(subscriber, resumption);
  }

  /** Records that the client has received its newest resume token: it has sent a request since. */
  async confirmToken(connection: Connection): Promise<void> {
    connection.tokenUnconfirmed = false;
    await this.#parts.storage.confirmToken(connection.session.id);
  }

  /**
   * Changes the nickname. The result holds no event ID if the client is in no room. With the hash of
   * a token, the session can be resumed by that token from now on.
   */
  async rename(
    connection: Connection,
    typed: string,
    tokenHash?: string,
  ): Promise<Changed<{ nick: string }>> {
    const { confusables, limits } = this.#parts;
    const name = nicknameFrom(typed, limits);
    if (!name.ok) return reject("bad-nickname", name.why);
    const { name: nick } = name;
    const claims = confusables.claims(nick);
    if (claims === undefined) return rejection.nicknameTooLong;
    if (this.#imitation.matches(nick)) return rejection.nicknameImitates;
    // The owner of a nickname that was registered before it was reserved may change its case.
    const isOwn = connection.session.held.account === foldNickname(nick);
    if (!isOwn && confusables.isReserved(nick)) return rejection.nicknameReserved(nick);
    const result = await this.#take(connection, { nick, claims, token: tokenHash });
    if (!result.ok && result.code === "nickname-registered") connection.rejectedNick = nick;
    return result;
  }

  /**
   * Signs in to a registered nickname; without `typed`, to the one that was rejected last, or else to
   * the present one. For a connection without a nickname this is its login: if `resumable`, the
   * result holds a resume token.
   */
  async identify(
    connection: Connection,
    typed: string | undefined,
    password: string,
    resumable: boolean,
  ): Promise<Changed<{ nick: string; token: string }>> {
    const { session, rejectedNick } = connection;
    const name = nicknameFrom(typed ?? (rejectedNick || session.nick), this.#parts.limits);
    if (!name.ok) return reject("bad-nickname", name.why);
    // The nickname may have been registered before this rule existed.
    if (this.#imitation.matches(name.name)) return rejection.nicknameImitates;
    const proof = await this.#parts.registrations.prove(
      name.name,
      password,
      connection.rateLimitKey,
    );
    if (!proof.ok) return proof;
    const { spelling: nick, claims, owner } = proof;
    const token = resumable && session.nick === "" ? newToken() : "";
    const tokenHash = token === "" ? undefined : hashToken(token);
    const taken = await this.#take(connection, { nick, claims, token: tokenHash, owner });
    if (taken.ok) connection.rejectedNick = "";
    else if (taken.code === "nickname-taken") return rejection.onlineAlready(nick);
    return taken.ok ? { ...taken, token } : taken;
  }

  /** Registers the present nickname. */
  register(connection: Connection, password: string): Promise<Result> {
    return this.#parts.registrations.register(
      connection.session,
      password,
      connection.rateLimitKey,
      connection.handshake.admission?.registersFrom,
    );
  }

  /**
   * Changes the password of the present nickname. If `renewsToken`, a session that can be resumed gets
   * a new token, and the old ones end: another user may have got them by the old password.
   */
  async changePassword(
    { session, rateLimitKey }: Connection,
    oldPassword: string,
    newPassword: string,
    renewsToken: boolean,
  ): Promise<Result<{ token?: string }>> {
    const token = renewsToken && session.tokens.length > 0 ? newToken() : undefined;
    const changed = await this.#parts.registrations.changePassword(
      session,
      oldPassword,
      newPassword,
      rateLimitKey,
      token && hashToken(token),
    );
    return changed.ok ? { ok: true, token } : changed;
  }

  /** Releases the registration of the present nickname. The client keeps it while it is online. */
  unregister({ session, rateLimitKey }: Connection, password: string): Promise<Result> {
    return this.#parts.registrations.unregister(session, password, rateLimitKey);
  }

  /** Joins a room, after leaving the present one. */
  async join(connection: Connection, typed: string): Promise<Changed> {
    const name = this.#roomNames.parse(typed);
    if (!name.ok) return reject("bad-room", name.why);
    if (connection.session.room !== undefined) {
      const left = await this.leave(connection);
      if (!left.ok) return left;
    }
    return changedFrom(await this.#parts.storage.setRoom(connection.session.id, name.name));
  }

  /** Leaves the room. */
  async leave({ session: { id, room } }: Connection): Promise<Changed> {
    if (room === undefined) return rejection.notInRoom;
    return changedFrom(await this.#parts.storage.removeRoom(id));
  }

  /** Sends a message to the room: see {@linkcode Messages.say}. */
  say(connection: Connection, message: MessageRequest): void | Promise<void> {
    return this.#messages.say(connection, message);
  }

  /** Sends a direct message: see {@linkcode Messages.sendDirect}. */
  sendDirect(
    connection: Connection,
    to: string,
    text: string,
    cid?: string,
  ): Promise<Result<{ eventId?: string; event: RoomEvent | undefined }>> {
    return this.#messages.sendDirect(connection, to, text, cid);
  }

  /** Finds an online user, on any instance, by nickname. */
  async findOnline(typed: string): Promise<Result<{ record: ConnectionRecord }>> {
    const { storage, limits } = this.#parts;
    const name = nicknameFrom(typed, limits);
    if (!name.ok) return reject("bad-nickname", name.why);
    const id = await storage.getConnectionByNickname(foldNickname(name.name));
    const record = id === undefined ? undefined : await storage.getRecordByConnection(id);
    return record === undefined ? rejection.notOnline(name.name) : { ok: true, record };
  }

  /** Returns the rooms that have members, in order of their names, and the number of members. */
  rooms(): Promise<Map<string, number>> {
    return this.#parts.storage.listRooms();
  }

  /** Returns the nicknames in the client's room, in order of connection. */
  async members(
    { session: { room } }: Connection,
  ): Promise<Result<{ room: string; nicks: string[] }>> {
    if (room === undefined) return rejection.notInRoom;
    const members = await this.#parts.storage.getConnectionIdsByRoom(room);
    return { ok: true, room, nicks: [...members.values()] };
  }

  /**
   * Returns a page of a room's messages, oldest first. `more` says whether there are further ones in
   * that direction. A page has at most {@linkcode MAX_REPLY_BYTES}, but at least one event if there is
   * one.
   */
  async history(
    connection: Connection,
    { room, before, after, limit }: HistoryQuery,
  ): Promise<Result<{ room: string; entries: LoggedEvent[]; more: boolean }>> {
    const { history } = this.#parts;
    if (history.retentionMs === 0) return rejection.historyOff;
    const readable = await this.#readableRoom(connection, room ?? connection.session.room);
    if (!readable.ok) return readable;
    const stream = ["log", readable.room] as const;
    const events = after === undefined
      ? history.backwards(stream, before)
      : history.forwards(stream, after);
    const entries: LoggedEvent[] = [];
    let more = false, bytes = 0;
    for await (const entry of events) {
      bytes += encodedEventBytes(entry.event);
      more = entries.length === limit || (bytes > MAX_REPLY_BYTES && entries.length > 0);
      if (more) break;
      entries.push(entry);
    }
    if (after === undefined) entries.reverse();
    return { ok: true, room: readable.room, entries, more };
  }

  /** Ends a session, or keeps it for a while if its client dropped. */
  async close({ session }: Connection, dropped: boolean): Promise<void> {
    const { storage, resume } = this.#parts;
    // Another socket may have taken the session over.
    if (storage.session(session.id) !== session) return;
    if (dropped && resume.keep(session)) return;
    await storage.deleteConnection(session.id);
  }

  /** Returns the name of a room whose history the client may read. */
  async #readableRoom(
    { session }: Connection,
    room: string | undefined,
  ): Promise<Result<{ room: string }>> {
    if (room === undefined) return rejection.notInRoom;
    if (session.room !== undefined && this.#roomNames.leadsTo(room, session.room)) {
      return { ok: true, room: session.room };
    }
    if (!this.#parts.openHistory) return rejection.notAllowed(room);
    const name = this.#roomNames.parse(room);
    if (!name.ok) return reject("bad-room", name.why);
    return { ok: true, room: await this.#parts.storage.resolveRoom(name.name) };
  }

  async #take(
    { session }: Connection,
    username: NewUsername,
  ): Promise<Changed<{ nick: string }>> {
    const { storage, registrations } = this.#parts;
    const { nick, claims } = username;
    const take = () => storage.setUsername(session.id, username);
    let { outcome, eventId } = await take();
    if (outcome === "conflict") {
      const why = await registrations.explainConflict(session.id, nick, claims);
      if (why !== undefined) return why;
      // The claims were stale and are free now.
      ({ outcome, eventId } = await take());
    }
    if (outcome === "conflict") return rejection.nicknameAlike(nick);
    return outcome === "done" ? { ok: true, nick, eventId } : rejection.notDone;
  }
}

function changedFrom({ outcome, eventId }: ChangeResult): Changed {
  return outcome === "done" ? { ok: true, eventId } : rejection.notDone;
}
