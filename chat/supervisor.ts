/**
 * Keeps one instance running: an instance that lost its lease is replaced by a new one.
 *
 * It does not know what an instance does with its connections.
 */
import type { Gauges } from "./base/metrics.ts";
import { backOff } from "./kv/retry.ts";
import type { Sanction } from "./kv/moderation_values.ts";
import { Instance } from "./instance.ts";
import type { InstanceParts } from "./instance_parts.ts";
import type { Handshake } from "./connections/connection.ts";
import type { AcceptedSocket } from "./connections/connections.ts";

/** The current instance of a chat, and its replacement. */
export class Supervisor {
  readonly #parts: InstanceParts;
  /** Set by {@linkcode start}. */
  #instance!: Instance;
  #replaced: Promise<void> = Promise.resolve();
  #isClosing = false;

  private constructor(parts: InstanceParts) {
    this.#parts = parts;
  }

  /**
   * Starts the first instance.
   *
   * @throws {Error} if KV cannot be used.
   */
  static async start(parts: InstanceParts): Promise<Supervisor> {
    const supervisor = new Supervisor(parts);
    supervisor.#instance = await supervisor.#start();
    return supervisor;
  }

  /** Whether new connections are accepted. */
  get isOpen(): boolean {
    return !this.#isClosing && this.#instance.isOpen;
  }

  /** The number of connections. */
  get size(): number {
    return this.#instance.size;
  }

  /** What is measured now. */
  get gauges(): Gauges {
    return this.#instance.gauges;
  }

  /** Returns the ban of a client's address, if it is banned now. */
  banOf(address: string | undefined): Sanction | undefined {
    return this.#instance.banOf(address);
  }

  /** Takes a socket that is not open yet. */
  accept(socket: AcceptedSocket, handshake?: Handshake): void {
    this.#instance.accept(socket, handshake);
  }

  /** Closes up to `max` connections to free memory. Returns how many it closed. */
  shed(max: number): number {
    return this.#instance.shed(max);
  }

  /** Shuts down gracefully. While KV does not answer, this takes as long as that lasts. */
  async close(): Promise<void> {
    this.#isClosing = true;
    await this.#replaced;
    if (this.#instance.isOpen) await this.#instance.close();
  }

  #start(): Promise<Instance> {
    let isLost = false;
    const started = Instance.start(this.#parts, () => {
      if (isLost) return;
      isLost = true;
      // An instance may lose its lease while it starts. If it does not start, its caller learns that.
      this.#replaced = Promise.all([this.#replaced, started])
        .then(([, lost]) => this.#replace(lost), () => {});
    });
    return started;
  }

  async #replace(lost: Instance): Promise<void> {
    const { clock, log } = this.#parts;
    log.warn("Other instances considered this one dead; closing its connections.");
    await lost.abandon();
    for (let failures = 1; !this.#isClosing; failures++) {
      try {
        this.#instance = await this.#start();
        return;
      } catch (error) {
        log.warn(`Cannot start a new instance, retrying: ${(error as Error).message}`);
        await backOff(clock, failures);
      }
    }
  }
}
