/**
 * One instance: makes the parts of the chat, joins them along the way of a message, and takes them
 * down again in the right order.
 *
 * Around the way of a message, not on it. An instance whose lease is lost is over: another is made
 * in its place (mod.ts).
 */
import type { Clock } from "./clock.ts";
import { Connection } from "./connection.ts";
import { Feed } from "./feed.ts";
import { Handler } from "./handler.ts";
import { Lease } from "./lease.ts";
import type { Limits } from "./limits.ts";
import type { Log } from "./log.ts";
import { CLOSE, Sender, type Socket } from "./sender.ts";
import { Storage } from "./storage.ts";

/**
 * Handles to one KV. They may all be the same, but for KV Connect they should not be: on one
 * connection a request, or an open watch, makes the next request wait for a delayed TCP
 * acknowledgement (44 ms, measured against denokv on the same machine).
 */
export interface Handles {
  /** For what is rare: people who come and go, lists, leases. */
  readonly kv: Deno.Kv;
  /** For watching. */
  readonly bells: Deno.Kv;
  /** For the commits and reads of each shard of the feed, which come one at a time. */
  readonly shards: readonly Deno.Kv[];
  /** Whether they are different ones. */
  readonly apart: boolean;
}

/** What an instance is made of. */
export interface InstanceParts {
  readonly handles: Handles;
  /** Whether KV can only be reached from this machine: see {@linkcode Lease}. */
  readonly local: boolean;
  /** Whether to sweep at the start whoever is silent then: see {@linkcode Lease}. */
  readonly sweepSilent: boolean;
  readonly clock: Clock;
  /** New ids, each greater than those before. */
  readonly ids: () => string;
  readonly limits: Limits;
  readonly log: Log;
}

/** A WebSocket as the instance needs it. */
export interface AcceptedSocket extends Socket {
  onopen: ((event: Event) => unknown) | null;
  onmessage: ((event: MessageEvent) => unknown) | null;
  onclose: ((event: CloseEvent) => unknown) | null;
}

/** Milliseconds that peers have to answer a close. */
const FAREWELL = 1_000;

const RESTARTING = "the server is restarting";

/** One instance of the chat. */
export class Instance {
  readonly #parts: InstanceParts;
  readonly #feed: Feed;
  readonly #storage: Storage;
  readonly #sender: Sender;
  readonly #handler: Handler;
  readonly #connections = new Set<Connection>();
  /** Sockets whose end has not been seen. */
  readonly #sockets = new Set<AcceptedSocket>();
  #lastClosed = (): void => {};
  readonly #lease: Lease;
  #open = true;

  private constructor(id: string, parts: InstanceParts, check: Deno.AtomicCheck, lost: () => void) {
    const { handles, clock, limits, log: { log, warn }, local, sweepSilent } = parts;
    const { kv, bells, shards } = handles;
    this.#parts = parts;
    const sender = this.#sender = new Sender(limits);
    const feed = this.#feed = new Feed({
      kv,
      bells,
      shards,
      smallIsFast: handles.apart,
      instance: id,
      lease: check,
      clock,
      deliver: (event) => {
        storage.apply(event);
        return sender.deliver(event);
      },
      companyChanged: () => void lease.look().catch((error) => warn(String(error))),
      lost,
      warn,
    });
    const storage = this.#storage = new Storage({ kv, feed, clock, instance: id });
    const lease = this.#lease = new Lease({
      kv,
      clock,
      instance: id,
      local,
      sweepSilent,
      sweep: (dead, claim) => storage.sweep(dead, claim),
      keepCompany: (company) => feed.keepCompany(company),
      lost,
      warn,
      log,
    }, check);
    this.#handler = new Handler({ storage, feed, sender, limits, clock });
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
      await instance.#feed.open();
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
  accept(socket: AcceptedSocket): void {
    const id = this.#parts.ids();
    const connection = new Connection(id, {
      handler: this.#handler,
      sender: this.#sender,
      limits: this.#parts.limits,
      warn: this.#parts.log.warn,
    });
    const end = () => {
      connection.end().finally(() => this.#connections.delete(connection));
    };
    socket.onopen = () => {
      if (!this.#open) return socket.close(CLOSE.restart, RESTARTING);
      this.#connections.add(connection);
      this.#sockets.add(socket);
      this.#sender.add(id, socket, end);
      connection.open();
    };
    socket.onmessage = ({ data }) => connection.receive(data);
    // An error is always followed by a close.
    socket.onclose = () => {
      this.#sockets.delete(socket);
      if (this.#sockets.size === 0) this.#lastClosed();
      end();
    };
  }

  /**
   * Ends in peace: what has been said is committed and shown, the rows are removed, the people
   * elsewhere learn who left, and only then the sockets are closed.
   */
  async close(): Promise<void> {
    this.#open = false;
    await Promise.all([...this.#connections].map((connection) => connection.drain()));
    await this.#feed.flush();
    this.#sender.mute();
    await this.#storage.deleteAll();
    await this.#lease.end();
    await this.#closeSockets();
    await this.#feed.close();
  }

  /** Ends at once, leaving the rows to whoever sweeps: the lease is gone, nothing can be written. */
  async abandon(): Promise<void> {
    this.#open = false;
    this.#sender.mute();
    this.#storage.abandon();
    await this.#lease.stop();
    await this.#closeSockets();
    await this.#feed.close();
  }

  async #closeSockets(): Promise<void> {
    this.#sender.closeAll(CLOSE.restart, RESTARTING);
    await Promise.all([...this.#connections].map((connection) => connection.end()));
    if (this.#sockets.size === 0) return;
    // Until the peers have seen it: a process that ends now would take the close frames with it.
    await new Promise<void>((resolve) => {
      const cancel = this.#parts.clock.after(FAREWELL, resolve);
      this.#lastClosed = () => {
        cancel();
        resolve();
      };
    });
  }
}
