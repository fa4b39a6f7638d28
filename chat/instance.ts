/**
 * One instance of the chat: makes its parts, joins them, and takes them down in the right order.
 *
 * The composition root: it decides nothing about clients, events or storage. An instance whose lease
 * is lost is over; mod.ts then makes another one.
 */
import type { Clock } from "./base/clock.ts";
import { CLOSE } from "./base/close_codes.ts";
import type { Limits } from "./base/limits.ts";
import type { Log } from "./base/log.ts";
import type { Rate } from "./base/token_bucket.ts";
import { hashToken } from "./base/tokens.ts";
import { Sender } from "./delivery/sender.ts";
import { MAX_CHECKS, MAX_LOCAL_CHECKS } from "./feed/batch.ts";
import type { RoomEvent } from "./feed/events.ts";
import { Feed } from "./feed/feed.ts";
import { Lease } from "./feed/lease.ts";
import { FEED_ROW_MS } from "./feed/shard_parts.ts";
import { History } from "./history/history.ts";
import { longestOf, retentionOf } from "./history/retention.ts";
import type { Sanction } from "./kv/moderation_values.ts";
import { Moderation } from "./moderation/moderation.ts";
import type { Confusables } from "./nicknames/confusables.ts";
import { foldNickname } from "./nicknames/names.ts";
import type { Passwords } from "./nicknames/passwords.ts";
import { Registrations } from "./nicknames/registrations.ts";
import { Users } from "./nicknames/users.ts";
import { CHAT_V1, ChatV1 } from "./protocols/chat_v1.ts";
import type { Handshake } from "./connections/connection.ts";
import { type AcceptedSocket, Connections } from "./connections/connections.ts";
import { Handler } from "./handler/handler.ts";
import { PlainText } from "./protocols/plain_text.ts";
import { Resume } from "./resume/resume.ts";
import { Conversations } from "./storage/conversations.ts";
import { ReadMarkers } from "./storage/read_markers.ts";
import { Storage } from "./storage/storage.ts";

/**
 * Handles to one KV. They may all be the same handle. For KV Connect they should differ: on one
 * handle, a request or an open watch makes the next request wait for a delayed TCP acknowledgement
 * (44 ms, measured with denokv on the same machine).
 */
export interface KvHandles {
  /** For rare operations: logins, joins, lists, leases. */
  readonly kv: Deno.Kv;
  /** For watching. */
  readonly watcher: Deno.Kv;
  /** For history, whose rows are large. */
  readonly history: Deno.Kv;
  /** For the commits and reads of each shard of the feed, which come one at a time. */
  readonly shards: readonly Deno.Kv[];
  /** Whether the handles differ. */
  readonly separate: boolean;
}

/** What an instance is made of. */
export interface InstanceParts {
  readonly handles: KvHandles;
  /** Whether only this machine can reach KV: see {@linkcode Lease}. */
  readonly local: boolean;
  /** Whether to clean up at the start after instances that are silent then: see {@linkcode Lease}. */
  readonly cleanUpSilent: boolean;
  readonly clock: Clock;
  /** Returns a new ID, greater than those before. */
  readonly ids: () => string;
  readonly limits: Limits;
  /** Milliseconds in which a connection must log in; 0: unlimited. */
  readonly loginMs: number;
  /** How many nicknames an address may register; `undefined`: unlimited. */
  readonly registrationRate: Rate | undefined;
  /** Milliseconds for which messages are kept; 0: they are not. */
  readonly historyMs: number;
  /** Bytes that history may take in KV; `Infinity`: unlimited. */
  readonly maxHistoryBytes: number;
  /** Whether every user may read the history of every room. */
  readonly openHistory: boolean;
  /** Milliseconds within which users may edit and delete their messages; 0: they cannot. */
  readonly editMs: number;
  /** Milliseconds for which a dropped session can be resumed; 0: it cannot. */
  readonly graceMs: number;
  /** Milliseconds for which an unused registration is kept; 0: nicknames cannot be registered. */
  readonly registrationMs: number;
  /** The nicknames of operators, which count once they are registered. */
  readonly operators: readonly string[];
  /** Makes a session an operator's; `undefined`: none does. */
  readonly operatorSecret: string | undefined;
  /** Whether a registered user who opens a room moderates it. */
  readonly roomOwners: boolean;
  /** Whether people are told who writes. */
  readonly isTypingTold: boolean;
  /** Milliseconds for which acts of moderation are kept; 0: they are not. */
  readonly modLogMs: number;
  readonly confusables: Confusables;
  readonly passwords: Passwords;
  /** The number of times that the memory guard has looked; absent: there is no guard. */
  readonly looks?: { readonly count: number };
  readonly log: Log;
}

const NO_LOOKS = { count: 0 };

/** Milliseconds for which existing registrations are kept when registering is switched off. */
const DEFAULT_REGISTRATION_MS = 365 * 86_400_000;

/** One instance of the chat. */
export class Instance {
  readonly #feed: Feed;
  readonly #storage: Storage;
  readonly #history: History;
  readonly #resume: Resume;
  readonly #moderation: Moderation;
  readonly #sender: Sender;
  readonly #connections: Connections;
  readonly #lease: Lease;
  readonly #registrations: Registrations;
  #cancelRenewal = (): void => {};
  #hasEnded = false;
  readonly #warn: (message: string) => void;
  /** Called with what another instance passed on: nothing, until there is someone to tell. */
  #heard: (value: unknown) => void = () => {};
  readonly #canResume: boolean;

  private constructor(id: string, parts: InstanceParts, check: Deno.AtomicCheck, lost: () => void) {
    const { clock, limits, confusables, graceMs: grace, log: { log, warn } } = parts;
    const { kv } = parts.handles;
    const retention = retentionOf(parts.historyMs, grace, parts.modLogMs);
    this.#canResume = grace > 0;
    this.#warn = warn;
    const sender = this.#sender = new Sender(limits, clock, parts.historyMs > 0);
    this.#history = new History({
      kv: parts.handles.history,
      clock,
      retention,
      maxBytes: parts.maxHistoryBytes,
      shards: parts.handles.shards.length,
      shardOf: (name) => this.#feed.shardOf(name),
      feedRowMs: FEED_ROW_MS,
      submit: (name, operation) => this.#feed.submit(name, operation),
      warn,
    });
    const history = this.#history;
    const feed = this.#feed = new Feed({
      kv,
      watcher: parts.handles.watcher,
      shards: parts.handles.shards,
      smallIsFast: parts.handles.separate,
      maxChecks: parts.local ? MAX_LOCAL_CHECKS : MAX_CHECKS,
      // Rows that history has not compacted yet must survive a crash and a long outage.
      feedRowMs: longestOf(retention) + FEED_ROW_MS,
      instance: id,
      lease: check,
      clock,
      deliver: (event, eventId, shard) => this.#deliver(event, eventId, shard),
      isAllowed: (event) => this.#moderation.isAllowed(event),
      commitDelivered: (shard, versionstamp) => this.#delivered(shard, versionstamp),
      passed: (value) => this.#heard(value),
      instancesChanged: () => void this.#lease.look().catch((error) => warn(String(error))),
      onLeaseLost: lost,
      warn,
    });
    const storage = this.#storage = new Storage({
      kv,
      feed,
      clock,
      instance: id,
      registrationMs: parts.registrationMs || DEFAULT_REGISTRATION_MS,
      emptyRoomMs: parts.historyMs,
      maxRooms: limits.maxRooms,
      foldNickname,
      lookOfRoom: (name) => confusables.lookOfRoom(name),
    });
    this.#lease = new Lease({
      kv,
      clock,
      instance: id,
      isLocal: parts.local,
      cleanUpSilent: parts.cleanUpSilent,
      graceMs: grace,
      cleanUp: (dead, claim, includeResumable) => storage.cleanUp(dead, claim, includeResumable),
      setShared: (isShared) => feed.setShared(isShared),
      onLost: lost,
      warn,
      log,
    }, check);
    const users = new Users({ storage, limits });
    const moderation = this.#moderation = new Moderation({
      ...parts,
      kv,
      clock,
      storage,
      history,
      users,
      rulesMs: parts.registrationMs || DEFAULT_REGISTRATION_MS,
      shards: parts.handles.shards.length,
      shardOf: (name) => feed.shardOf(name),
      closeSession: (id, why) => sender.closeSession(id, why),
      closeBanned: () =>
        this.#connections.closeBanned((address) => this.banOf(address) !== undefined),
      ignoredChanged: ({ id }, ignored) => {
        const subscriber = sender.subscriberOf(id);
        if (subscriber !== undefined) sender.setIgnored(subscriber, new Set(ignored.keys()));
      },
    });
    const resume = this.#resume = new Resume({
      storage,
      history,
      sender,
      clock,
      instance: id,
      graceMs: grace,
      moderation,
      suspend: (id) => this.#connections.suspend(id),
      aliveAt: (instance) => this.#lease.aliveAt(instance),
    });
    const registrations = this.#registrations = new Registrations({
      kv,
      clock,
      storage,
      ids: parts.ids,
      confusables,
      passwords: parts.passwords,
      lifetimeMs: parts.registrationMs,
      registrationRate: parts.registrationRate,
    });
    const handler = new Handler({
      ...parts,
      storage,
      conversations: new Conversations(kv, clock, parts.historyMs),
      markers: new ReadMarkers(kv, clock, parts.historyMs),
      feed,
      history,
      sender,
      resume,
      moderation,
      users,
      registrations,
    });
    this.#heard = (value) => handler.typing.heard(value);
    const plainText = new PlainText({ handler, sender, limits });
    const chatV1 = new ChatV1({
      handler,
      sender,
      limits,
      graceMs: grace,
      retentionMs: parts.historyMs,
      editMs: parts.editMs,
    });
    this.#connections = new Connections({
      protocolOf: (subprotocol) => subprotocol === CHAT_V1 ? chatV1 : plainText,
      newSession: (id, wire, address) =>
        // Not the address itself is stored, but its hash.
        storage.createConnection(id, wire, address === undefined ? "" : hashToken(address)),
      sessions: handler,
      sender,
      clock,
      ids: parts.ids,
      limits,
      loginMs: parts.loginMs,
      looks: parts.looks ?? NO_LOOKS,
      warn,
    });
  }

  /**
   * Returns an instance that accepts connections, after cleaning up what dead instances left. `lost`
   * is called, perhaps more than once, if other instances consider this one dead.
   *
   * @throws when KV cannot be used.
   */
  static async start(parts: InstanceParts, lost: () => void): Promise<Instance> {
    const id = parts.ids();
    const check = await Lease.take(parts.handles.kv, parts.clock, id);
    const instance = new Instance(id, parts, check, lost);
    try {
      instance.#history.start(await instance.#feed.open());
      await instance.#moderation.start();
      await instance.#lease.start();
      instance.#scheduleRenewal(parts);
      return instance;
    } catch (error) {
      // Otherwise its heartbeat would continue, and no other instance could clean up after it.
      await instance.abandon();
      throw error;
    }
  }

  /** Whether new connections are accepted. */
  get isOpen(): boolean {
    return this.#connections.isOpen;
  }

  /** The number of sockets. */
  get size(): number {
    return this.#sender.size;
  }

  /** Returns the ban of a client's address, if it is banned now. */
  banOf(address: string | undefined): Sanction | undefined {
    return this.#moderation.banOf(address);
  }

  /** Accepts a socket that has not opened yet. */
  accept(socket: AcceptedSocket, handshake: Handshake = { subprotocol: "" }): void {
    this.#connections.accept(socket, handshake);
  }

  /** Closes connections to free memory: see {@linkcode Connections.shed}. */
  shed(maxCount: number): number {
    return this.#connections.shed(maxCount);
  }

  /**
   * Shuts down gracefully: commits and delivers all messages, removes the rows, which tells other
   * instances who left, and only then closes the sockets. Sessions that can be resumed keep their
   * rows, as after a crash.
   */
  async close(): Promise<void> {
    this.#connections.stopAccepting();
    await this.#connections.drain();
    await this.#feed.flush();
    this.#sender.mute();
    this.#resume.close();
    const kept = await this.#storage.deleteAll(this.#canResume);
    if (kept > 0) await this.#lease.retire();
    else await this.#lease.end();
    await this.#end();
  }

  /** Ends at once and leaves its rows to other instances: without the lease it cannot write. */
  async abandon(): Promise<void> {
    this.#connections.stopAccepting();
    this.#sender.mute();
    this.#resume.close();
    this.#storage.abandon();
    await this.#lease.stop();
    await this.#end();
  }

  /** Renews the registrations of online users from time to time, so that none of them expires. */
  #scheduleRenewal(parts: InstanceParts): void {
    const { renewalMs } = this.#registrations;
    if (renewalMs === 0) return;
    this.#cancelRenewal = parts.clock.after(renewalMs, async () => {
      // Registrations that are not renewed now have time left until the next renewal.
      await this.#registrations.renewOnline().catch((error) => parts.log.warn(String(error)));
      if (!this.#hasEnded) this.#scheduleRenewal(parts);
    });
  }

  async #end(): Promise<void> {
    this.#hasEnded = true;
    this.#cancelRenewal();
    await this.#connections.closeAll();
    // Closing the sockets may have kept sessions again.
    this.#resume.close();
    await this.#feed.close();
    await this.#history.close();
  }

  /** Hands an event of the feed to the parts, in this order. Returns the number of frames. */
  #deliver(event: RoomEvent, eventId: string, shard: number): number {
    this.#moderation.apply(event);
    this.#storage.apply(event, eventId);
    this.#history.add(event, eventId, shard);
    if (event.kind === "act") return this.#deliverAct(event, eventId);
    if (event.kind !== "resume") return this.#sender.deliver(event, eventId);
    const session = this.#storage.session(event.id);
    // Without a token the user has ended the session.
    if (event.cid === "") this.#sender.closeSession(event.id, CLOSE.ended);
    else if (session === undefined) this.#sender.closeSession(event.id, CLOSE.takenOver);
    else if (session.takeoverEventId === eventId) {
      this.#sender.attach(session, event.cid, eventId);
    }
    return 0;
  }

  /** Tells the clients here of an act, and then does what follows from it. */
  #deliverAct(event: RoomEvent, eventId: string): number {
    const sender = this.#sender, moderation = this.#moderation;
    const frames = sender.deliver(event, eventId);
    for (const session of moderation.changedFor(event)) {
      sender.tellRoomState(session.id, moderation.stateOf(session, event.room));
    }
    moderation.othersToldOf(event)
      .then((sessions) => sender.tellAct(sessions, event, eventId))
      .catch((error) => this.#warn(`Cannot tell of an act: ${(error as Error).message}`));
    // A client whose session ends is told why first.
    sender.flush();
    moderation.carryOut(event);
    return frames;
  }

  /** Ends the delivery of a commit. Returns the number of frames, when history can take more. */
  #delivered(shard: number, versionstamp: string): number | Promise<number> {
    const frames = this.#sender.flush();
    const slow = this.#history.commitDelivered(shard, versionstamp);
    return slow === undefined ? frames : slow.then(() => frames);
  }
}
