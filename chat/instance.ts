/**
 * One instance: makes the parts of the chat, joins them along the way of a message, and takes them
 * down again in the right order.
 *
 * Around the way of a message, not on it. An instance whose lease is lost is over: another is made
 * in its place (mod.ts).
 */
import { foldNickname } from "./nicknames/names.ts";
import { Registrations } from "./nicknames/registrations.ts";
import { MAX_CHECKS, MAX_LOCAL_CHECKS } from "./feed/batch.ts";
import type { Rate } from "./base/token_bucket.ts";
import type { Clock } from "./base/clock.ts";
import { Connection } from "./session/connection.ts";
import type { RoomEvent } from "./feed/events.ts";
import { Feed } from "./feed/feed.ts";
import { FEED_ROW_MS } from "./feed/shard_parts.ts";
import type { Admission } from "./session/rate_limiter.ts";
import { Handler } from "./session/handler.ts";
import { History } from "./history/history.ts";
import { Lease } from "./feed/lease.ts";
import type { Confusables } from "./nicknames/confusables.ts";
import type { Limits } from "./base/limits.ts";
import { PlainText } from "./session/plain_text.ts";
import type { Log } from "./base/log.ts";
import type { Passwords } from "./nicknames/passwords.ts";
import { limitPongs } from "./session/pongs.ts";
import { ChatV1 } from "./session/chat_v1.ts";
import { Resume } from "./session/resume.ts";
import { longestOf, retentionOf } from "./history/retention.ts";
import { CLOSE, Sender, type Socket, type Subscriber } from "./delivery/sender.ts";
import { Storage } from "./storage/storage.ts";
import { terminate } from "./delivery/terminate.ts";
import { LoginTimeout } from "./session/login_timeout.ts";

/**
 * Handles to one KV. They may all be the same, but for KV Connect they should not be: on one
 * connection a request, or an open watch, makes the next request wait for a delayed TCP
 * acknowledgement (44 ms, measured against denokv on the same machine).
 */
export interface KvHandles {
  /** For what is rare: people who come and go, lists, leases. */
  readonly kv: Deno.Kv;
  /** For watching. */
  readonly watcher: Deno.Kv;
  /** For history: its rows are large. */
  readonly history: Deno.Kv;
  /** For the commits and reads of each shard of the feed, which come one at a time. */
  readonly shards: readonly Deno.Kv[];
  /** Whether they are different ones. */
  readonly separate: boolean;
}

/** What an instance is made of. */
export interface InstanceParts {
  readonly handles: KvHandles;
  /** Whether KV can only be reached from this machine: see {@linkcode Lease}. */
  readonly local: boolean;
  /** Whether to sweep at the start whoever is silent then: see {@linkcode Lease}. */
  readonly sweepSilent: boolean;
  readonly clock: Clock;
  /** New ids, each greater than those before. */
  readonly ids: () => string;
  readonly limits: Limits;
  /** Milliseconds in which a connection must have a nickname; 0: as many as it likes. */
  readonly unnamed: number;
  /** How many nicknames an address may register. */
  readonly registration: Rate | undefined;
  /** Milliseconds for which what is said is kept; 0: it is not. */
  readonly retention: number;
  /** Bytes that history may take in KV; `Infinity`: as many as it likes. */
  readonly maxHistory: number;
  /** Whether everybody may see the history of every room. */
  readonly openHistory: boolean;
  /** Milliseconds for which the place of somebody who dropped out is kept; 0: it is not. */
  readonly grace: number;
  /** Milliseconds for which a registered nickname is kept that nobody uses; 0: there are none. */
  readonly registered: number;
  readonly confusables: Confusables;
  readonly passwords: Passwords;
  /** How often the memory guard has looked; absent: there is none. */
  readonly looks?: { readonly count: number };
  readonly log: Log;
}

/** How somebody comes in, besides over a socket. */
export interface Hello {
  /** The subprotocol that was agreed on; empty for plain text. */
  readonly protocol: string;
  /** In plain text: the token to come back with, empty for a new one; `undefined`: none is wanted. */
  readonly resume?: string;
  /** In plain text: the id of the last event that was seen. */
  readonly last?: string;
  /** Where they come from. */
  readonly address?: string;
  /** Counts what they do, and that they are here. */
  readonly guest?: Admission;
}

/** The subprotocol for programs. */
export const CHAT_V1 = "chat.v1";

/** A WebSocket as the instance needs it. */
export interface AcceptedSocket extends Socket {
  onopen: ((event: Event) => unknown) | null;
  onmessage: ((event: MessageEvent) => unknown) | null;
  onclose: ((event: CloseEvent) => unknown) | null;
}

/** Milliseconds that peers have to answer a close. */
const CLOSE_HANDSHAKE_MS = 1_000;

/** Milliseconds in which a socket must open. A handshake that the client resets never opens one. */
export const OPENING_MS = 5_000;

/** Milliseconds that a peer has to answer a close before its connection is cut. */
const CLOSING_MS = 10_000;

/** Unread bytes that make a client one of the slow readers when memory is short. */
const SLOW_READER_BYTES = 64 * 1024;

const NO_LOOKS = { count: 0 };

const SHORT_OF_MEMORY = "the server is short of memory";

/** Milliseconds for which what was registered before that was switched off is kept. */
const DEFAULT_REGISTRATION_MS = 365 * 86_400_000;

const RESTARTING = "the server is restarting";

/** One instance of the chat. */
export class Instance {
  readonly #parts: InstanceParts;
  readonly #id: string;
  readonly #feed: Feed;
  readonly #storage: Storage;
  readonly #history: History;
  readonly #resume: Resume;
  readonly #sender: Sender;
  readonly #handler: Handler;
  readonly #lines: PlainText;
  readonly #linesWithIds: PlainText;
  readonly #requests: ChatV1;
  readonly #connections = new Set<Connection>();
  readonly #unnamed: LoginTimeout;
  /** Sockets whose end has not been seen. */
  readonly #sockets = new Set<AcceptedSocket>();
  /** Sockets that were closed here and whose peers have not answered yet, and what ends the wait. */
  readonly #closing = new Map<Socket, () => void>();
  #lastClosed = (): void => {};
  readonly #lease: Lease;
  #open = true;

  private constructor(id: string, parts: InstanceParts, check: Deno.AtomicCheck, lost: () => void) {
    const { handles, clock, limits, log: { log, warn }, local, sweepSilent } = parts;
    const {
      retention: historyMs,
      openHistory,
      grace,
      registered: lifetime,
      confusables,
      passwords,
    } = parts;
    const { kv, watcher, shards, history: past } = handles;
    this.#parts = parts;
    this.#id = id;
    const sender = this.#sender = new Sender(limits, clock);
    this.#unnamed = new LoginTimeout(clock, parts.unnamed);
    const retention = retentionOf(historyMs, grace);
    const history = this.#history = new History({
      kv: past,
      clock,
      retention,
      maxBytes: parts.maxHistory,
      shards: shards.length,
      shardOf: (name) => this.#feed.shardOf(name),
      feedRowMs: FEED_ROW_MS,
      warn,
    });
    const feed = this.#feed = new Feed({
      kv,
      watcher,
      shards,
      smallIsFast: handles.separate,
      mostChecks: local ? MAX_LOCAL_CHECKS : MAX_CHECKS,
      // What history has not got yet must be there even after a crash and a long while.
      feedRowMs: longestOf(retention) + FEED_ROW_MS,
      instance: id,
      lease: check,
      clock,
      deliver: (event, at, shard) => this.#deliver(event, at, shard),
      delivered: (shard, versionstamp) => this.#delivered(shard, versionstamp),
      instancesChanged: () => void lease.look().catch((error) => warn(String(error))),
      onLeaseLost: lost,
      warn,
    });
    const storage = this.#storage = new Storage({
      kv,
      feed,
      clock,
      instance: id,
      registrationMs: lifetime || DEFAULT_REGISTRATION_MS,
      emptyRoomMs: historyMs,
      foldNickname,
      lookOfRoom: (name) => confusables.lookOfRoom(name),
    });
    const lease = this.#lease = new Lease({
      kv,
      clock,
      instance: id,
      local,
      cleanUpSilent: sweepSilent,
      grace,
      cleanUp: (dead, claim, everybody) => storage.cleanUp(dead, claim, everybody),
      setShared: (company) => feed.setShared(company),
      onLost: lost,
      warn,
      log,
    }, check);
    const suspend = (id: string) => this.#suspend(id);
    const aliveAt = (instance: string) => lease.aliveAt(instance);
    const resume = this.#resume = new Resume({
      ...{ storage, history, sender, clock, instance: id, grace, suspend, aliveAt },
    });
    const accounts = new Registrations({
      kv,
      clock,
      storage,
      confusables,
      passwords,
      lifetimeMs: lifetime,
      registrationRate: parts.registration,
    });
    const handler = this.#handler = new Handler({
      ...{
        storage,
        feed,
        history,
        resume,
        registrations: accounts,
        confusables,
        limits,
        clock,
        openHistory,
      },
    });
    this.#lines = new PlainText({ handler, sender, limits, grace }, false);
    this.#linesWithIds = new PlainText({ handler, sender, limits, grace }, true);
    this.#requests = new ChatV1({ handler, sender, limits, grace, retention: historyMs });
  }

  /**
   * An instance that is ready to take connections; what dead ones left has been swept. `lost` is
   * called, perhaps more than once, if others come to take it for dead.
   *
   * @throws when KV cannot be used.
   */
  static async start(parts: InstanceParts, lost: () => void): Promise<Instance> {
    const id = parts.ids();
    const check = await Lease.take(parts.handles.kv, parts.clock, id);
    const instance = new Instance(id, parts, check, lost);
    try {
      instance.#history.start(await instance.#feed.open());
      await instance.#lease.start();
      return instance;
    } catch (error) {
      // Or it would go on beating, and nobody could ever take it for dead.
      await instance.abandon();
      throw error;
    }
  }

  /** Whether new connections are taken. */
  get isOpen(): boolean {
    return this.#open;
  }

  /** How many sockets there are. */
  get size(): number {
    return this.#sender.size;
  }

  /** Takes a socket that is not open yet. */
  accept(socket: AcceptedSocket, hello: Hello = { protocol: "" }): void {
    const { protocol, resume, last, guest } = hello;
    const speaks = protocol === CHAT_V1
      ? this.#requests
      : resume === undefined
      ? this.#lines
      : this.#linesWithIds;
    let connection: Connection | undefined;
    let isLate = false;
    let heardMessage = (): void => {};
    const opened = this.#parts.clock.after(OPENING_MS, () => {
      isLate = true;
      guest?.fail();
    });
    const end = (code: number) => {
      // Whoever closes without a code, or with that of a normal end, means to go.
      const dropped = code !== 1000 && code !== 1005;
      connection?.end(dropped).finally(() => this.#connections.delete(connection!));
      if (connection !== undefined) this.#unnamed.remove(connection);
    };
    socket.onopen = () => {
      opened();
      // Its place is given away: as one that is not counted it may not stay.
      if (isLate) return socket.close(CLOSE.tryLater, "the handshake took too long");
      if (!this.#open) return socket.close(CLOSE.restart, RESTARTING);
      this.#sockets.add(socket);
      const subscriber = this.#sender.add(socket, speaks.wire, (code) => {
        this.#cutLater(socket);
        end(code);
      });
      connection = this.#connection(subscriber, speaks, hello);
      this.#connections.add(connection);
      heardMessage = limitPongs(socket, this.#parts.clock, () => {
        this.#sender.close(subscriber, CLOSE.policy, "you send pongs that nobody asked for");
        // It would go on sending, and the runtime reading.
        this.#cut(socket);
      });
      this.#unnamed.add(connection);
      connection.open({ token: resume ?? "", last });
    };
    socket.onmessage = ({ data }) => {
      heardMessage();
      connection?.receive(data);
    };
    // An error is always followed by a close.
    socket.onclose = ({ code }) => {
      opened();
      guest?.leave();
      this.#closing.get(socket)?.();
      this.#closing.delete(socket);
      this.#sender.socketClosed(socket);
      this.#sockets.delete(socket);
      if (this.#sockets.size === 0) this.#lastClosed();
      end(code);
    };
  }

  /**
   * Closes some connections to free memory, and cuts them: a close alone frees nothing. Returns how
   * many. First those that wait for their peer to answer a close, then those without a nickname that
   * have completed no frame since the last look: they lose nothing. Then the slowest readers, of whom
   * it is known that they cost memory. Then the others that have completed no frame, the youngest
   * first: who is cut for a message without end must come back as one of the youngest.
   */
  shed(most: number): number {
    const waiting = [...this.#closing.keys()].slice(0, most);
    for (const socket of waiting) this.#cut(socket);
    let many = waiting.length;
    for (const { peer: subscriber } of this.#suspects()) {
      if (many >= most) break;
      many++;
      this.#sender.close(subscriber, CLOSE.tryLater, SHORT_OF_MEMORY);
      this.#cut(subscriber.socket);
    }
    return many;
  }

  #suspects(): Connection[] {
    const all = [...this.#connections].reverse();
    const silent = all.filter((each) => each.isSilent);
    const unread = ({ peer: { socket } }: Connection) => socket.bufferedAmount;
    const slow = all.filter((each) => unread(each) > SLOW_READER_BYTES)
      .sort((a, b) => unread(b) - unread(a));
    const named = silent.filter((each) => each.isNamed)
      .sort((a, b) => (a.id ?? "") < (b.id ?? "") ? 1 : -1);
    return [...new Set([...silent.filter((each) => !each.isNamed), ...slow, ...named])];
  }

  /** A peer that does not answer a close would keep its place, and what was not sent, for good. */
  #cutLater(socket: Socket): void {
    const cancel = this.#parts.clock.after(CLOSING_MS, () => this.#cut(socket));
    this.#closing.set(socket, cancel);
  }

  #cut(socket: Socket): void {
    this.#closing.get(socket)?.();
    // Where the runtime cannot cut, the end of the socket comes when the peer hangs up.
    terminate(socket);
    this.#closing.delete(socket);
  }

  #connection(
    subscriber: Subscriber,
    protocol: PlainText | ChatV1,
    { guest, address }: Hello,
  ): Connection {
    const { limits, ids, log: { warn } } = this.#parts;
    const handler = this.#handler, sender = this.#sender;
    const limiter = guest?.limiter;
    return new Connection({
      ...{ id: ids(), subscriber, protocol, handler, sender, limits, limiter, address, warn },
      looks: this.#parts.looks ?? NO_LOOKS,
      registersFrom: guest?.registersFrom,
    });
  }

  #deliver(event: RoomEvent, at: string, shard: number): number {
    this.#storage.apply(event, at);
    this.#history.add(event, at, shard);
    if (event.kind !== "resume") return this.#sender.deliver(event, at);
    const record = this.#storage.session(event.id);
    if (record === undefined) this.#sender.takenOver(event.id);
    else if (record.takeoverEventId === at) {
      this.#sender.attach(event.id, event.cid, event.room, at);
    }
    return 0;
  }

  #delivered(shard: number, versionstamp: string): number | Promise<number> {
    const frames = this.#sender.flush();
    const slow = this.#history.commitDelivered(shard, versionstamp);
    return slow === undefined ? frames : slow.then(() => frames);
  }

  #suspend(id: string): Promise<() => void> {
    for (const connection of this.#connections) {
      if (connection.id === id) return connection.suspend();
    }
    return Promise.resolve(() => {});
  }

  /**
   * Ends in peace: what has been said is committed and shown, the rows are removed, the people
   * elsewhere learn who left, and only then the sockets are closed. The places of those who can come
   * back are kept, as if this instance had died.
   */
  async close(): Promise<void> {
    this.#open = false;
    await Promise.all([...this.#connections].map((connection) => connection.drain()));
    await this.#feed.flush();
    this.#sender.mute();
    this.#resume.close();
    const kept = await this.#storage.deleteAll(this.#parts.grace > 0);
    if (kept > 0) await this.#lease.retire();
    else await this.#lease.end();
    await this.#end();
  }

  /** Ends at once, leaving the rows to whoever sweeps: the lease is gone, nothing can be written. */
  async abandon(): Promise<void> {
    this.#open = false;
    this.#sender.mute();
    this.#resume.close();
    this.#storage.abandon();
    await this.#lease.stop();
    await this.#end();
  }

  async #end(): Promise<void> {
    await this.#closeSockets();
    this.#resume.close();
    await this.#feed.close();
    await this.#history.close();
  }

  async #closeSockets(): Promise<void> {
    this.#unnamed.close();
    this.#sender.closeAll(CLOSE.restart, RESTARTING);
    await Promise.all([...this.#connections].map((connection) => connection.end(true)));
    for (const cancel of this.#closing.values()) cancel();
    this.#closing.clear();
    if (this.#sockets.size === 0) return;
    // Until the peers have seen it: a process that ends now would take the close frames with it.
    await new Promise<void>((resolve) => {
      const cancel = this.#parts.clock.after(CLOSE_HANDSHAKE_MS, resolve);
      this.#lastClosed = () => {
        cancel();
        resolve();
      };
    });
  }
}
