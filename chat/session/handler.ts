/**
 * What a person can do: log in, come, go, speak, ask. One verb each, for both protocols.
 *
 * Lines and Requests say what was asked for; changes of state go to Storage, what is said to the
 * feed. Each verb ends in a result or a refusal, which whoever called tells the person. It knows
 * neither the protocols' words nor sockets nor keys.
 */
import type { Registrations } from "../nicknames/registrations.ts";
import type { Outcome } from "../feed/batch.ts";
import type { Clock } from "../base/clock.ts";
import { encodedEventBytes, MAX_REPLY_BYTES } from "../delivery/encoded_size.ts";
import type { LoggedEvent, RoomEvent } from "../feed/events.ts";
import type { Feed } from "../feed/feed.ts";
import type { RateLimiter } from "./rate_limiter.ts";
import type { History } from "../history/history.ts";
import { Imitation } from "../nicknames/imitation.ts";
import type { Confusables } from "../nicknames/confusables.ts";
import type { Limits } from "../base/limits.ts";
import { foldNickname, type Name, nicknameFrom, roomFrom } from "../nicknames/names.ts";
import { reject, rejection, type Result } from "../base/rejections.ts";
import type { Resume, Resumption, Seen } from "./resume.ts";
import type { Subscriber } from "../delivery/sender.ts";
import type { ChangeResult } from "../storage/changes.ts";
import { MAX_CLAIM_CHARS } from "../storage/claims.ts";
import {
  type ConnectionRecord,
  rememberCid,
  saidKey,
  type SessionRecord,
} from "../storage/records.ts";
import type { NewUsername, Storage } from "../storage/storage.ts";
import { hashToken, newToken } from "../base/tokens.ts";

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
  /** Whether everybody may see the history of every room. */
  readonly openHistory: boolean;
}

/** Somebody at the other end of a connection, and what of theirs is still on its way. */
export interface Session {
  readonly subscriber: Subscriber;
  /** Where they come from, as far as that is known, to limit what is tried from there; or empty. */
  readonly address: string;
  /** The address for which their registrations are counted; `undefined`: they are not. */
  registersFrom: string | undefined;
  /** The last nickname that was refused because it is registered. */
  rejectedNick: string;
  /** Live: it changes as the connection's operations are delivered. Another one after a resumption. */
  record: SessionRecord;
  /** A token has been sent, and nothing has come since that shows that it arrived. */
  tokenUnconfirmed: boolean;
  /** Messages handed to the feed and not settled yet. */
  pending: number;
  /** Called when there is one message less pending. */
  wake: (() => void) | undefined;
  /** Says whether they go too fast; `undefined`: they may. */
  readonly limiter: RateLimiter | undefined;
}

/** Something to say: what, in the client's own numbering if it has one, and who is told how it went. */
export interface MessageRequest {
  readonly kind: "message" | "action";
  readonly text: string;
  /** The room it is meant for, if only that one will do. */
  readonly expectedRoom?: string;
  readonly cid?: string;
  readonly settle: (result: Result<{ at: string }>) => void;
}

/** Which events of a room's history: the newest, those before an id, or those after one. */
export interface HistoryQuery {
  readonly room?: string;
  readonly before?: string;
  readonly after?: string;
  readonly limit: number;
}

/** Most events in a page of history. */
export const MAX_HISTORY_EVENTS = 100;

/** The verbs, for all connections of an instance. */
export class Handler {
  readonly #storage: Storage;
  readonly #feed: Feed;
  readonly #history: History;
  readonly #resume: Resume;
  readonly #registrations: Registrations;
  readonly #confusables: Confusables;
  readonly #imitation: Imitation;
  readonly #limits: Limits;
  readonly #clock: Clock;
  readonly #openHistory: boolean;

  constructor(parts: HandlerParts) {
    this.#storage = parts.storage;
    this.#feed = parts.feed;
    this.#history = parts.history;
    this.#resume = parts.resume;
    this.#registrations = parts.registrations;
    this.#confusables = parts.confusables;
    this.#imitation = new Imitation(parts.confusables);
    this.#limits = parts.limits;
    this.#clock = parts.clock;
    this.#openHistory = parts.openHistory;
  }

  /** A new connection, of which KV learns at its login. `address` and `pace`: see {@linkcode Session}. */
  open(id: string, subscriber: Subscriber, address = "", limiter?: RateLimiter): Session {
    return newSession(this.#storage.createConnection(id), subscriber, address, limiter);
  }

  /** Takes a nickname for the first time; if `resumable`, the result holds a token. */
  async login(
    session: Session,
    typed: string,
    resumable: boolean,
  ): Promise<Result<{ nick: string; token: string }>> {
    const token = resumable ? newToken() : "";
    const named = await this.rename(session, typed, resumable ? hashToken(token) : undefined);
    return named.ok ? { ...named, token } : named;
  }

  /**
   * Takes the place that a token leads to. Until {@linkcode Handler.endCatchUp} nothing is shown but
   * replies: first the person has to be told what they missed.
   */
  async resume(session: Session, token: string, seen: Seen): Promise<Result<Resumption>> {
    const back = await this.#resume.resume(session.subscriber, token, seen);
    if (!back.ok) return back;
    // What it was until now has no name, and no rows.
    await this.#storage.deleteConnection(session.record.id);
    session.record = back.record;
    session.tokenUnconfirmed = true;
    return back;
  }

  /** Whoever came back has been told what they missed: life goes on. */
  endCatchUp({ subscriber }: Session, back: Resumption): void {
    this.#resume.endCatchUp(subscriber, back);
  }

  /**
   * Changes the nickname. Without an `at` nobody but the one who asked learns of it. With the hash
   * of a token the connection can be resumed from now on.
   */
  async rename(
    session: Session,
    typed: string,
    token?: string,
  ): Promise<Result<{ nick: string; at?: string }>> {
    const name = nicknameFrom(typed, this.#limits);
    if (!name.ok) return reject("bad-nickname", name.why);
    const { name: nick } = name;
    const claims = this.#confusables.claims(nick);
    if (claims === undefined) return rejection.nicknameTooLong;
    if (this.#imitation.isOne(nick)) return rejection.nicknameImitates;
    // Whoever has it by a registration of old may write it in another case.
    const isOwn = session.record.held.account === foldNickname(nick);
    if (!isOwn && this.#confusables.isReserved(nick)) return rejection.nicknameReserved(nick);
    const result = await this.#take(session, { nick, claims, token });
    if (!result.ok && result.code === "nickname-registered") session.rejectedNick = nick;
    return result;
  }

  /**
   * Takes a nickname that is registered, or proves that the one that one has is one's own. Without
   * `typed` it is the one that was refused last. For a connection without a nickname this is its
   * login: if it is `resumable`, the result holds a token.
   */
  async identify(
    session: Session,
    typed: string | undefined,
    password: string,
    resumable: boolean,
  ): Promise<Result<{ nick: string; at?: string; token: string }>> {
    const { record, rejectedNick: wanted } = session;
    const name = nicknameFrom(typed ?? (wanted || record.nick), this.#limits);
    if (!name.ok) return reject("bad-nickname", name.why);
    // It may have been registered before that was refused.
    if (this.#imitation.isOne(name.name)) return rejection.nicknameImitates;
    const proof = await this.#registrations.prove(name.name, password, rateLimitKey(session));
    if (!proof.ok) return proof;
    const { spelling, claims, owner } = proof;
    const token = resumable && record.nick === "" ? newToken() : "";
    const hash = token === "" ? undefined : hashToken(token);
    const taken = await this.#take(session, { nick: spelling, claims, token: hash, owner });
    if (taken.ok) session.rejectedNick = "";
    else if (taken.code === "nickname-taken") return rejection.onlineAlready(spelling);
    return taken.ok ? { ...taken, token } : taken;
  }

  /** Registers the nickname that one has. */
  register(session: Session, password: string): Promise<Result> {
    return this.#registrations.register(
      session.record,
      password,
      rateLimitKey(session),
      session.registersFrom,
    );
  }

  /**
   * Changes the password of the nickname that one has. A connection that can be resumed gets a new
   * token if `renews`, and the old ones end: another may have taken them with the old password.
   */
  async changePassword(
    session: Session,
    password: string,
    fresh: string,
    renews: boolean,
  ): Promise<Result<{ token?: string }>> {
    const { record } = session;
    const token = renews && record.tokens.length > 0 ? newToken() : undefined;
    const hash = token && hashToken(token);
    const address = rateLimitKey(session);
    const changed = await this.#registrations.changePassword(
      record,
      password,
      fresh,
      address,
      hash,
    );
    return changed.ok ? { ok: true, token } : changed;
  }

  /** Gives up the registration of the nickname that one has; it stays one's own while online. */
  unregister(session: Session, password: string): Promise<Result> {
    return this.#registrations.unregister(session.record, password, rateLimitKey(session));
  }

  async #take(
    { record }: Session,
    username: NewUsername,
  ): Promise<Result<{ nick: string; at?: string }>> {
    const { nick, claims } = username;
    const take = () => this.#storage.setUsername(record.id, username);
    let { outcome, eventId } = await take();
    if (outcome === "conflict") {
      const why = await this.#registrations.explainConflict(record.id, nick, claims);
      if (why !== undefined) return why;
      // Nobody has it after all.
      ({ outcome, eventId } = await take());
    }
    if (outcome === "conflict") return rejection.nicknameAlike(nick);
    return outcome === "done" ? { ok: true, nick, at: eventId } : rejection.notDone;
  }

  /** Enters a room, after leaving the one that one is in. */
  async join(session: Session, typed: string): Promise<Result<{ at?: string }>> {
    const name = this.#roomFrom(typed);
    if (!name.ok) return reject("bad-room", name.why);
    if (session.record.room !== undefined) {
      const left = await this.leave(session);
      if (!left.ok) return left;
    }
    return resultOf(await this.#storage.setRoom(session.record.id, name.name));
  }

  /** Leaves the room. */
  async leave({ record: { id, room } }: Session): Promise<Result<{ at?: string }>> {
    if (room === undefined) return rejection.notInRoom;
    return resultOf(await this.#storage.removeRoom(id));
  }

  /**
   * Says something to the room. The next thing may be said when what is returned has resolved; that
   * is mostly at once, so that many can share a commit. `settle` is called when everybody has seen
   * it, or with the reason why nobody will.
   */
  say(session: Session, words: MessageRequest): void | Promise<void> {
    const { cid } = words;
    if (cid !== undefined && !session.record.recalled) return this.#sayRecalled(session, words);
    const settle = (outcome: Outcome, eventId?: string) =>
      words.settle(outcome === "done" ? { ok: true, at: eventId ?? "" } : rejection.notSent);
    const saying = cid === undefined ? undefined : session.record.cids.get(cid);
    // Before everything else: who asks again may be elsewhere by now.
    if (saying?.eventId !== undefined) settle("done", saying.eventId);
    else if (saying?.unsure) return this.#sayAgain(session, words);
    else if (saying !== undefined) saying.waiting.push(settle);
    else {
      const { room } = session.record;
      if (room === undefined) return words.settle(rejection.notInRoom);
      const { expectedRoom: only = room } = words;
      if (only !== room && !this.#leadsTo(only, room)) {
        return words.settle(rejection.notInThatRoom(only));
      }
      const wait = session.limiter?.takeFor(`room ${room}`, words.text) ?? 0;
      if (wait > 0) return words.settle(rejection.tooFast(true, wait));
      return this.#sayNow(session, words, room, settle);
    }
  }

  #sayNow(
    session: Session,
    { kind, text, cid }: MessageRequest,
    room: string,
    settle: (outcome: Outcome, eventId?: string) => void,
  ): void | Promise<void> {
    const { record } = session;
    const { id, nick } = record;
    if (cid !== undefined) rememberCid(record, cid);
    session.pending++;
    this.#feed.submit(room, {
      // Nobody may say it once more elsewhere while this is on its way.
      checks: cid === undefined ? undefined : this.#storage.takeoverCheck(record),
      event: { kind, room, id, nick, text, time: this.#clock.now(), cid: cid ?? "" },
      settle: (outcome, eventId) => {
        session.pending--;
        settle(outcome, eventId);
        if (cid !== undefined) this.#wasSettled(record, cid, outcome, eventId);
        session.wake?.();
      },
    });
    // Whoever sends faster than storage takes it waits here, and their further frames with them.
    if (session.pending >= this.#limits.pendingMessages) return nextSettled(session);
  }

  /** What was said over another instance could not be read yet: that has to be known first. */
  async #sayRecalled(session: Session, words: MessageRequest): Promise<void> {
    if (!(await this.#resume.recall(session.record))) return words.settle(rejection.notSent);
    await this.say(session, words);
  }

  /** What seemed to fail may have been stored all the same: that has to be known first. */
  async #sayAgain(session: Session, words: MessageRequest): Promise<void> {
    const { cids: said } = session.record;
    if (!(await this.#isSettled())) return words.settle(rejection.notSent);
    const saying = said.get(words.cid!);
    if (saying?.eventId === undefined) said.delete(words.cid!);
    await this.say(session, words);
  }

  /** Resolves when everything that somebody said has been seen, or has failed. */
  whenIdle(session: Session): Promise<void> | undefined {
    if (session.pending === 0) return undefined;
    return nextSettled(session).then(() => this.whenIdle(session));
  }

  /** Says something to one person; `told` is missing if that was done before. */
  async sendDirect(
    { record, limiter }: Session,
    to: string,
    text: string,
    cid?: string,
  ): Promise<Result<{ at?: string; told: RoomEvent | undefined }>> {
    const key = cid === undefined ? undefined : saidKey("direct", cid);
    if (key !== undefined) {
      if (!record.recalled && !(await this.#resume.recall(record))) return rejection.notSent;
      if (record.cids.get(key)?.unsure && !(await this.#isSettled())) return rejection.notSent;
      const eventId = record.cids.get(key)?.eventId;
      if (eventId !== undefined) return { ok: true, at: eventId, told: undefined };
    }
    const found = await this.findOnline(to);
    if (!found.ok) return found;
    const { id, nick } = found.record;
    const wait = limiter?.takeFor(`direct ${id}`, text) ?? 0;
    if (wait > 0) return rejection.tooFast(true, wait);
    const event: RoomEvent = {
      kind: "direct",
      room: "",
      id,
      nick: record.nick,
      text,
      time: this.#clock.now(),
      cid: cid ?? "",
      to: nick,
    };
    if (key !== undefined) rememberCid(record, key);
    const { outcome, eventId } = await this.#storage.sendDirect(record.id, event);
    if (key !== undefined) this.#wasSettled(record, key, outcome, eventId);
    return outcome === "done" ? { ok: true, at: eventId, told: event } : rejection.notSent;
  }

  /** Whether it is known of everything that seemed to fail if it was stored. */
  async #isSettled(): Promise<boolean> {
    return await this.#storage.settleUncertain().then(() => true, () => false);
  }

  /** Somebody online, of whichever instance. */
  async findOnline(typed: string): Promise<Result<{ record: ConnectionRecord }>> {
    const name = nicknameFrom(typed, this.#limits);
    if (!name.ok) return reject("bad-nickname", name.why);
    const id = await this.#storage.getConnectionByNickname(foldNickname(name.name));
    const record = id === undefined ? id : await this.#storage.getRecordByConnection(id);
    return record === undefined ? rejection.notOnline(name.name) : { ok: true, record };
  }

  /** The rooms with somebody in them, and how many are in each. */
  rooms(): Promise<Map<string, number>> {
    return this.#storage.listRooms();
  }

  /** The nicknames of those in the room, in the order in which they connected. */
  async members({ record: { room } }: Session): Promise<Result<{ room: string; nicks: string[] }>> {
    if (room === undefined) return rejection.notInRoom;
    const people = await this.#storage.getConnectionIdsByRoom(room);
    return { ok: true, room, nicks: [...people.values()] };
  }

  /**
   * A page of what was said in a room, oldest first; `more`: there is more in that direction. It ends
   * before {@linkcode MAX_REPLY_BYTES}, but holds one event at least if there is one.
   */
  async history(
    { record }: Session,
    { room = record.room, before, after, limit }: HistoryQuery,
  ): Promise<Result<{ room: string; entries: LoggedEvent[]; more: boolean }>> {
    if (this.#history.retention === 0) return rejection.historyOff;
    if (room === undefined) return rejection.notInRoom;
    if (record.room !== undefined && this.#leadsTo(room, record.room)) room = record.room;
    else if (!this.#openHistory) return rejection.notAllowed(room);
    else {
      const name = this.#roomFrom(room);
      if (!name.ok) return reject("bad-room", name.why);
      room = await this.#storage.roomCalled(name.name);
    }
    const stream = ["log", room] as const;
    const from = after === undefined
      ? this.#history.backwards(stream, before)
      : this.#history.forwards(stream, after);
    const entries: LoggedEvent[] = [];
    let more = false, bytes = 0;
    for await (const entry of from) {
      bytes += encodedEventBytes(entry.event);
      more = entries.length === limit || (bytes > MAX_REPLY_BYTES && entries.length > 0);
      if (more) break;
      entries.push(entry);
    }
    if (after === undefined) entries.reverse();
    return { ok: true, room, entries, more };
  }

  /** Something came from somebody to whom a new token was sent: it has arrived. */
  async confirmToken(session: Session): Promise<void> {
    session.tokenUnconfirmed = false;
    await this.#storage.confirm(session.record.id);
  }

  /** The connection is gone; `dropped`: whoever had it did not mean to go. */
  async close({ record }: Session, dropped: boolean): Promise<void> {
    // Another socket may have it by now.
    if (this.#storage.session(record.id) !== record) return;
    if (dropped && this.#resume.keepPlace(record)) return;
    await this.#storage.deleteConnection(record.id);
  }

  /** A room's name in the form in which Storage takes it: what reads as ASCII is ASCII. */
  #roomFrom(typed: string): Name {
    const name = roomFrom(typed, this.#limits);
    if (!name.ok) return name;
    const reading = this.#confusables.readingOfRoom(name.name);
    // Spaces may have come in, and more characters than there were.
    if (reading !== name.name) return roomFrom(reading, this.#limits);
    const look = this.#confusables.lookOfRoom(reading) ?? "";
    if (look.length <= MAX_CLAIM_CHARS) return name;
    return { ok: false, why: "Room name too long once its ligatures are expanded." };
  }

  /** Whether a name leads to a room in which somebody is. */
  #leadsTo(typed: string, room: string): boolean {
    if (typed === room) return true;
    const name = this.#roomFrom(typed);
    if (!name.ok) return false;
    if (name.name === room) return true;
    const look = this.#confusables.lookOfRoom(name.name);
    return look !== undefined && look === this.#confusables.lookOfRoom(room);
  }

  #wasSettled(
    { cids: said }: SessionRecord,
    key: string,
    outcome: Outcome,
    eventId?: string,
  ): void {
    const saying = said.get(key);
    if (saying === undefined) return;
    saying.eventId = eventId;
    saying.unsure = outcome === "failed";
    if (outcome === "conflict") said.delete(key);
    for (const settle of saying.waiting.splice(0)) settle(outcome, eventId);
  }
}

function newSession(
  record: SessionRecord,
  subscriber: Subscriber,
  address: string,
  limiter?: RateLimiter,
): Session {
  return {
    subscriber,
    address,
    registersFrom: undefined,
    rejectedNick: "",
    record,
    tokenUnconfirmed: false,
    pending: 0,
    wake: undefined,
    limiter,
  };
}

/** Whoever comes from nowhere that is known is limited for themselves. */
function rateLimitKey({ address, record }: Session): string {
  return address || record.id;
}

function resultOf({ outcome, eventId }: ChangeResult): Result<{ at?: string }> {
  return outcome === "done" ? { ok: true, at: eventId } : rejection.notDone;
}

/** Resolves when one more of somebody's messages is settled. Only one at a time may wait. */
function nextSettled(session: Session): Promise<void> {
  return new Promise((resolve) => {
    session.wake = () => {
      session.wake = undefined;
      resolve();
    };
  });
}
