/**
 * What a person can do: log in, come, go, speak, ask. One verb each, for both protocols.
 *
 * Lines and Requests say what was asked for; changes of state go to Storage, what is said to the
 * feed. Each verb ends in a result or a refusal, which whoever called tells the person. It knows
 * neither the protocols' words nor sockets nor keys.
 */
import type { Accounts } from "./accounts.ts";
import type { Outcome } from "./batch.ts";
import type { Clock } from "./clock.ts";
import { encodedEventBytes, MAX_REPLY_BYTES } from "./encoded.ts";
import type { Entry, RoomEvent } from "./events.ts";
import type { Feed } from "./feed.ts";
import type { Pace } from "./flood.ts";
import type { History } from "./history.ts";
import { Imitation } from "./imitation.ts";
import { type Likeness, MOST_CLAIM_UNITS } from "./likeness.ts";
import type { Limits } from "./limits.ts";
import { foldNickname, type Name, nicknameFrom, roomFrom } from "./names.ts";
import { refusal, refuse, type Result } from "./refusals.ts";
import type { Back, Resume, Seen } from "./resume.ts";
import type { Peer } from "./sender.ts";
import {
  type ConnectionRecord,
  type Done,
  type Ownership,
  type OwnRecord,
  remember,
  saidKey,
  type Storage,
} from "./storage.ts";
import { hashToken, newToken } from "./tokens.ts";

/** What Handler is made of. */
export interface HandlerParts {
  readonly storage: Storage;
  readonly feed: Feed;
  readonly history: History;
  readonly resume: Resume;
  readonly accounts: Accounts;
  readonly likeness: Likeness;
  readonly limits: Limits;
  readonly clock: Clock;
  /** Whether everybody may see the history of every room. */
  readonly openHistory: boolean;
}

/** Somebody at the other end of a connection, and what of theirs is still on its way. */
export interface Speaker {
  readonly peer: Peer;
  /** Where they come from, as far as that is known, to limit what is tried from there; or empty. */
  readonly address: string;
  /** The address for which their registrations are counted; `undefined`: they are not. */
  registersFrom: string | undefined;
  /** The last nickname that was refused because it is registered. */
  wanted: string;
  /** Live: it changes as the connection's operations are delivered. Another one after a resumption. */
  record: OwnRecord;
  /** A token has been sent, and nothing has come since that shows that it arrived. */
  unconfirmed: boolean;
  /** Messages handed to the feed and not settled yet. */
  pending: number;
  /** Called when there is one message less pending. */
  wake: (() => void) | undefined;
  /** Says whether they go too fast; `undefined`: they may. */
  readonly pace: Pace | undefined;
}

/** Something to say: what, in the client's own numbering if it has one, and who is told how it went. */
export interface Words {
  readonly kind: "message" | "action";
  readonly text: string;
  /** The room it is meant for, if only that one will do. */
  readonly only?: string;
  readonly cid?: string;
  readonly settle: (result: Result<{ at: string }>) => void;
}

/** Which events of a room's history: the newest, those before an id, or those after one. */
export interface Page {
  readonly room?: string;
  readonly before?: string;
  readonly after?: string;
  readonly limit: number;
}

/** Most events in a page of history. */
export const MOST_PAST = 100;

/** The verbs, for all connections of an instance. */
export class Handler {
  readonly #storage: Storage;
  readonly #feed: Feed;
  readonly #history: History;
  readonly #resume: Resume;
  readonly #accounts: Accounts;
  readonly #likeness: Likeness;
  readonly #imitation: Imitation;
  readonly #limits: Limits;
  readonly #clock: Clock;
  readonly #openHistory: boolean;

  constructor(parts: HandlerParts) {
    this.#storage = parts.storage;
    this.#feed = parts.feed;
    this.#history = parts.history;
    this.#resume = parts.resume;
    this.#accounts = parts.accounts;
    this.#likeness = parts.likeness;
    this.#imitation = new Imitation(parts.likeness);
    this.#limits = parts.limits;
    this.#clock = parts.clock;
    this.#openHistory = parts.openHistory;
  }

  /** A new connection, of which KV learns at its login. `address` and `pace`: see {@linkcode Speaker}. */
  open(id: string, peer: Peer, address = "", pace?: Pace): Speaker {
    return speakerOf(this.#storage.createConnection(id), peer, address, pace);
  }

  /** Takes a nickname for the first time; if `resumable`, the result holds a token. */
  async login(
    speaker: Speaker,
    typed: string,
    resumable: boolean,
  ): Promise<Result<{ nick: string; token: string }>> {
    const token = resumable ? newToken() : "";
    const named = await this.rename(speaker, typed, resumable ? hashToken(token) : undefined);
    return named.ok ? { ...named, token } : named;
  }

  /**
   * Takes the place that a token leads to. Until {@linkcode Handler.caughtUp} nothing is shown but
   * replies: first the person has to be told what they missed.
   */
  async comeBack(speaker: Speaker, token: string, seen: Seen): Promise<Result<Back>> {
    const back = await this.#resume.comeBack(speaker.peer, token, seen);
    if (!back.ok) return back;
    // What it was until now has no name, and no rows.
    await this.#storage.deleteConnection(speaker.record.id);
    speaker.record = back.record;
    speaker.unconfirmed = true;
    return back;
  }

  /** Whoever came back has been told what they missed: life goes on. */
  caughtUp({ peer }: Speaker, back: Back): void {
    this.#resume.caughtUp(peer, back);
  }

  /**
   * Changes the nickname. Without an `at` nobody but the one who asked learns of it. With the hash
   * of a token the connection can be resumed from now on.
   */
  async rename(
    speaker: Speaker,
    typed: string,
    token?: string,
  ): Promise<Result<{ nick: string; at?: string }>> {
    const name = nicknameFrom(typed, this.#limits);
    if (!name.ok) return refuse("bad-nickname", name.why);
    const { name: nick } = name;
    if (this.#likeness.claims(nick) === undefined) return refusal.nicknameTooLong;
    if (this.#imitation.isOne(nick)) return refusal.nicknameImitates;
    // Whoever has it by a registration of old may write it in another case.
    const isOwn = speaker.record.held.account === foldNickname(nick);
    if (!isOwn && this.#likeness.isReserved(nick)) return refusal.nicknameReserved(nick);
    const result = await this.#take(speaker, nick, token);
    if (!result.ok && result.code === "nickname-registered") speaker.wanted = nick;
    return result;
  }

  /**
   * Takes a nickname that is registered, or proves that the one that one has is one's own. Without
   * `typed` it is the one that was refused last. For a connection without a nickname this is its
   * login: if it is `resumable`, the result holds a token.
   */
  async identify(
    speaker: Speaker,
    typed: string | undefined,
    password: string,
    resumable: boolean,
  ): Promise<Result<{ nick: string; at?: string; token: string }>> {
    const { record, wanted } = speaker;
    const name = nicknameFrom(typed ?? (wanted || record.nick), this.#limits);
    if (!name.ok) return refuse("bad-nickname", name.why);
    // It may have been registered before that was refused.
    if (this.#imitation.isOne(name.name)) return refusal.nicknameImitates;
    const proof = await this.#accounts.prove(name.name, password, addressOf(speaker));
    if (!proof.ok) return proof;
    const { spelling, owner } = proof;
    const token = resumable && record.nick === "" ? newToken() : "";
    const hash = token === "" ? undefined : hashToken(token);
    const taken = await this.#take(speaker, spelling, hash, owner);
    if (taken.ok) speaker.wanted = "";
    else if (taken.code === "nickname-taken") return refusal.onlineAlready(spelling);
    return taken.ok ? { ...taken, token } : taken;
  }

  /** Registers the nickname that one has. */
  register(speaker: Speaker, password: string): Promise<Result> {
    return this.#accounts.register(
      speaker.record,
      password,
      addressOf(speaker),
      speaker.registersFrom,
    );
  }

  /**
   * Changes the password of the nickname that one has. A connection that can be resumed gets a new
   * token if `renews`, and the old ones end: another may have taken them with the old password.
   */
  async changePassword(
    speaker: Speaker,
    password: string,
    fresh: string,
    renews: boolean,
  ): Promise<Result<{ token?: string }>> {
    const { record } = speaker;
    const token = renews && record.tokens.length > 0 ? newToken() : undefined;
    const hash = token && hashToken(token);
    const address = addressOf(speaker);
    const changed = await this.#accounts.changePassword(record, password, fresh, address, hash);
    return changed.ok ? { ok: true, token } : changed;
  }

  /** Gives up the registration of the nickname that one has; it stays one's own while online. */
  unregister(speaker: Speaker, password: string): Promise<Result> {
    return this.#accounts.unregister(speaker.record, password, addressOf(speaker));
  }

  async #take(
    { record }: Speaker,
    nick: string,
    token?: string,
    owner?: Ownership,
  ): Promise<Result<{ nick: string; at?: string }>> {
    const take = () => this.#storage.setUsername(record.id, nick, token, owner);
    let { outcome, at } = await take();
    if (outcome === "taken") {
      const why = await this.#accounts.whyTaken(record, nick);
      if (why !== undefined) return why;
      // Nobody has it after all.
      ({ outcome, at } = await take());
    }
    if (outcome === "taken") return refusal.nicknameAlike(nick);
    return outcome === "done" ? { ok: true, nick, at } : refusal.notDone;
  }

  /** Enters a room, after leaving the one that one is in. */
  async join(speaker: Speaker, typed: string): Promise<Result<{ at?: string }>> {
    const name = this.#roomFrom(typed);
    if (!name.ok) return refuse("bad-room", name.why);
    if (speaker.record.room !== undefined) {
      const left = await this.leave(speaker);
      if (!left.ok) return left;
    }
    return doneOrNot(await this.#storage.setRoom(speaker.record.id, name.name));
  }

  /** Leaves the room. */
  async leave({ record: { id, room } }: Speaker): Promise<Result<{ at?: string }>> {
    if (room === undefined) return refusal.notInRoom;
    return doneOrNot(await this.#storage.removeRoom(id));
  }

  /**
   * Says something to the room. The next thing may be said when what is returned has resolved; that
   * is mostly at once, so that many can share a commit. `settle` is called when everybody has seen
   * it, or with the reason why nobody will.
   */
  say(speaker: Speaker, words: Words): void | Promise<void> {
    const { cid } = words;
    if (cid !== undefined && !speaker.record.recalled) return this.#sayRecalled(speaker, words);
    const settle = (outcome: Outcome, at?: string) =>
      words.settle(outcome === "done" ? { ok: true, at: at ?? "" } : refusal.notSent);
    const saying = cid === undefined ? undefined : speaker.record.said.get(cid);
    // Before everything else: who asks again may be elsewhere by now.
    if (saying?.at !== undefined) settle("done", saying.at);
    else if (saying?.unsure) return this.#sayAgain(speaker, words);
    else if (saying !== undefined) saying.waiting.push(settle);
    else {
      const { room } = speaker.record;
      if (room === undefined) return words.settle(refusal.notInRoom);
      const { only = room } = words;
      if (only !== room && !this.#leadsTo(only, room)) {
        return words.settle(refusal.notInThatRoom(only));
      }
      const wait = speaker.pace?.takeFor(`room ${room}`, words.text) ?? 0;
      if (wait > 0) return words.settle(refusal.tooFast(true, wait));
      return this.#sayNow(speaker, words, room, settle);
    }
  }

  #sayNow(
    speaker: Speaker,
    { kind, text, cid }: Words,
    room: string,
    settle: (outcome: Outcome, at?: string) => void,
  ): void | Promise<void> {
    const { record } = speaker;
    const { id, nick } = record;
    if (cid !== undefined) remember(record, cid);
    speaker.pending++;
    this.#feed.submit(room, {
      // Nobody may say it once more elsewhere while this is on its way.
      checks: cid === undefined ? undefined : this.#storage.notTaken(record),
      event: { kind, room, id, nick, text, time: this.#clock.now(), cid: cid ?? "" },
      settle: (outcome, at) => {
        speaker.pending--;
        settle(outcome, at);
        if (cid !== undefined) this.#wasSettled(record, cid, outcome, at);
        speaker.wake?.();
      },
    });
    // Whoever sends faster than storage takes it waits here, and their further frames with them.
    if (speaker.pending >= this.#limits.pendingMessages) return settled(speaker);
  }

  /** What was said over another instance could not be read yet: that has to be known first. */
  async #sayRecalled(speaker: Speaker, words: Words): Promise<void> {
    if (!(await this.#resume.recall(speaker.record))) return words.settle(refusal.notSent);
    await this.say(speaker, words);
  }

  /** What seemed to fail may have been stored all the same: that has to be known first. */
  async #sayAgain(speaker: Speaker, words: Words): Promise<void> {
    const { said } = speaker.record;
    if (!(await this.#isSettled())) return words.settle(refusal.notSent);
    const saying = said.get(words.cid!);
    if (saying?.at === undefined) said.delete(words.cid!);
    await this.say(speaker, words);
  }

  /** Resolves when everything that somebody said has been seen, or has failed. */
  quiet(speaker: Speaker): Promise<void> | undefined {
    if (speaker.pending === 0) return undefined;
    return settled(speaker).then(() => this.quiet(speaker));
  }

  /** Says something to one person; `told` is missing if that was done before. */
  async tell(
    { record, pace }: Speaker,
    to: string,
    text: string,
    cid?: string,
  ): Promise<Result<{ at?: string; told: RoomEvent | undefined }>> {
    const key = cid === undefined ? undefined : saidKey("direct", cid);
    if (key !== undefined) {
      if (!record.recalled && !(await this.#resume.recall(record))) return refusal.notSent;
      if (record.said.get(key)?.unsure && !(await this.#isSettled())) return refusal.notSent;
      const at = record.said.get(key)?.at;
      if (at !== undefined) return { ok: true, at, told: undefined };
    }
    const found = await this.find(to);
    if (!found.ok) return found;
    const { id, nick } = found.record;
    const wait = pace?.takeFor(`direct ${id}`, text) ?? 0;
    if (wait > 0) return refusal.tooFast(true, wait);
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
    if (key !== undefined) remember(record, key);
    const { outcome, at } = await this.#storage.tell(record.id, event);
    if (key !== undefined) {
      this.#wasSettled(record, key, outcome === "taken" ? "conflict" : outcome, at);
    }
    return outcome === "done" ? { ok: true, at, told: event } : refusal.notSent;
  }

  /** Whether it is known of everything that seemed to fail if it was stored. */
  async #isSettled(): Promise<boolean> {
    return await this.#storage.settleDoubts().then(() => true, () => false);
  }

  /** Somebody online, of whichever instance. */
  async find(typed: string): Promise<Result<{ record: ConnectionRecord }>> {
    const name = nicknameFrom(typed, this.#limits);
    if (!name.ok) return refuse("bad-nickname", name.why);
    const id = await this.#storage.getConnectionByNickname(name.name);
    const record = id === undefined ? id : await this.#storage.getRecordByConnection(id);
    return record === undefined ? refusal.notOnline(name.name) : { ok: true, record };
  }

  /** The rooms with somebody in them, and how many are in each. */
  rooms(): Promise<Map<string, number>> {
    return this.#storage.listRooms();
  }

  /** The nicknames of those in the room, in the order in which they connected. */
  async members({ record: { room } }: Speaker): Promise<Result<{ room: string; nicks: string[] }>> {
    if (room === undefined) return refusal.notInRoom;
    const people = await this.#storage.getConnectionIdsByRoom(room);
    return { ok: true, room, nicks: [...people.values()] };
  }

  /**
   * A page of what was said in a room, oldest first; `more`: there is more in that direction. It ends
   * before {@linkcode MAX_REPLY_BYTES}, but holds one event at least if there is one.
   */
  async history(
    { record }: Speaker,
    { room = record.room, before, after, limit }: Page,
  ): Promise<Result<{ room: string; entries: Entry[]; more: boolean }>> {
    if (this.#history.retention === 0) return refusal.historyOff;
    if (room === undefined) return refusal.notInRoom;
    if (record.room !== undefined && this.#leadsTo(room, record.room)) room = record.room;
    else if (!this.#openHistory) return refusal.notAllowed(room);
    else {
      const name = this.#roomFrom(room);
      if (!name.ok) return refuse("bad-room", name.why);
      room = await this.#storage.roomCalled(name.name);
    }
    const stream = ["log", room] as const;
    const from = after === undefined
      ? this.#history.backwards(stream, before)
      : this.#history.forwards(stream, after);
    const entries: Entry[] = [];
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
  async confirm(speaker: Speaker): Promise<void> {
    speaker.unconfirmed = false;
    await this.#storage.confirm(speaker.record.id);
  }

  /** The connection is gone; `dropped`: whoever had it did not mean to go. */
  async close({ record }: Speaker, dropped: boolean): Promise<void> {
    // Another socket may have it by now.
    if (this.#storage.own(record.id) !== record) return;
    if (dropped && this.#resume.linger(record)) return;
    await this.#storage.deleteConnection(record.id);
  }

  /** A room's name in the form in which Storage takes it: what reads as ASCII is ASCII. */
  #roomFrom(typed: string): Name {
    const name = roomFrom(typed, this.#limits);
    if (!name.ok) return name;
    const reading = this.#likeness.readingOfRoom(name.name);
    // Spaces may have come in, and more characters than there were.
    if (reading !== name.name) return roomFrom(reading, this.#limits);
    const look = this.#likeness.lookOfRoom(reading) ?? "";
    if (look.length <= MOST_CLAIM_UNITS) return name;
    return { ok: false, why: "A room name cannot hold so many ligatures." };
  }

  /** Whether a name leads to a room in which somebody is. */
  #leadsTo(typed: string, room: string): boolean {
    if (typed === room) return true;
    const name = this.#roomFrom(typed);
    if (!name.ok) return false;
    if (name.name === room) return true;
    const look = this.#likeness.lookOfRoom(name.name);
    return look !== undefined && look === this.#likeness.lookOfRoom(room);
  }

  #wasSettled({ said }: OwnRecord, key: string, outcome: Outcome, at?: string): void {
    const saying = said.get(key);
    if (saying === undefined) return;
    saying.at = at;
    saying.unsure = outcome === "failed";
    if (outcome === "conflict") said.delete(key);
    for (const settle of saying.waiting.splice(0)) settle(outcome, at);
  }
}

function speakerOf(record: OwnRecord, peer: Peer, address: string, pace?: Pace): Speaker {
  const state = { unconfirmed: false, pending: 0, wake: undefined, pace };
  return { peer, address, registersFrom: undefined, wanted: "", record, ...state };
}

/** Whoever comes from nowhere that is known is limited for themselves. */
function addressOf({ address, record }: Speaker): string {
  return address || record.id;
}

function doneOrNot({ outcome, at }: Done): Result<{ at?: string }> {
  return outcome === "done" ? { ok: true, at } : refusal.notDone;
}

/** Resolves when one more of somebody's messages is settled. Only one at a time may wait. */
function settled(speaker: Speaker): Promise<void> {
  return new Promise((resolve) => {
    speaker.wake = () => {
      speaker.wake = undefined;
      resolve();
    };
  });
}
