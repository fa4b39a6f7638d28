/**
 * The clients that read too slowly: when one of them can be sent events again, and when to give up.
 *
 * Rooms sends no room events to a client listed here. A timer looks at the clients' unsent data
 * while the list is not empty. This file sends and closes nothing.
 */
import { type Backpressure, type SendQueue, UNCHECKED_BYTES } from "./backpressure.ts";
import type { Clock } from "../base/clock.ts";

/** Milliseconds between two looks. A client at 5 Mbit/s reads 62 KB in that time. */
const LOOK_MS = 100;

/** Milliseconds after which a client that reads nothing at all is given up. */
const STALL_MS = 30_000;

/** What happens to a slow client. It is not listed any more when either is called. */
export interface SlowReadersEvents<Reader> {
  /** At most {@linkcode UNCHECKED_BYTES} of its data are unsent. */
  caughtUp(reader: Reader): void;
  /** It has read nothing for {@linkcode STALL_MS}. */
  stalled(reader: Reader): void;
}

/** The progress of one slow client. */
interface Progress {
  /** Unsent bytes at the last look. */
  unsentBytes: number;
  /** When they last became fewer, in monotonic milliseconds. */
  progressMs: number;
}

/** The list of slow clients. */
export class SlowReaders<Reader extends { readonly socket: SendQueue }> {
  readonly #readers = new Map<Reader, Progress>();
  readonly #clock: Clock;
  readonly #backpressure: Backpressure;
  readonly #events: SlowReadersEvents<Reader>;
  #cancel: (() => void) | undefined;

  constructor(clock: Clock, backpressure: Backpressure, events: SlowReadersEvents<Reader>) {
    this.#clock = clock;
    this.#backpressure = backpressure;
    this.#events = events;
  }

  /** Lists a client that is not listed. */
  add(reader: Reader): void {
    const unsentBytes = reader.socket.bufferedAmount;
    this.#readers.set(reader, { unsentBytes, progressMs: this.#clock.monotonicMs() });
    this.#schedule();
  }

  /** Removes a client from the list if it is listed. */
  delete(reader: Reader): void {
    if (!this.#readers.delete(reader) || this.#readers.size > 0) return;
    this.#cancel?.();
    this.#cancel = undefined;
  }

  #schedule(): void {
    this.#cancel ??= this.#clock.after(LOOK_MS, () => {
      this.#cancel = undefined;
      this.#look();
      if (this.#readers.size > 0) this.#schedule();
    });
  }

  #look(): void {
    const now = this.#clock.monotonicMs();
    for (const [reader, progress] of this.#readers) {
      const unsent = this.#backpressure.look(reader.socket);
      if (unsent < progress.unsentBytes) progress.progressMs = now;
      progress.unsentBytes = unsent;
      if (unsent <= UNCHECKED_BYTES) {
        this.#readers.delete(reader);
        this.#events.caughtUp(reader);
      } else if (now - progress.progressMs >= STALL_MS) {
        this.#readers.delete(reader);
        this.#events.stalled(reader);
      }
    }
  }
}
