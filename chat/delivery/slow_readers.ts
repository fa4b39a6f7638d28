/**
 * Readers who cannot keep up: when one of them may be sent events again, and when one is given up.
 *
 * A helper of Sender, which sends them no events while they are listed here. A timer looks at their
 * unsent data while there are any, and does not run otherwise. It sends and closes nothing itself.
 */
import { type Backpressure, type SendQueue, UNCHECKED_BYTES } from "./backpressure.ts";
import type { Clock } from "../base/clock.ts";

/** Milliseconds between two looks: a reader at 5 Mbit/s takes 62 KB in that time. */
const LOOK_MS = 100;

/** Milliseconds after which a reader that takes nothing at all is given up. */
const STALL_MS = 30_000;

/** What is done with a reader. */
export interface SlowReadersEvents<Reader> {
  /** Its unsent data has become little. It is not listed any more. */
  caughtUp(reader: Reader): void;
  /** It has taken nothing for {@linkcode STALL_MS}. It is not listed any more. */
  stalled(reader: Reader): void;
}

/** What is known of a reader. */
interface Progress {
  /** Unsent bytes at the last look. */
  waits: number;
  /** When they last became fewer, in monotonic milliseconds. */
  progressMs: number;
}

/** The readers that are sent no events at the moment. */
export class SlowReaders<Reader extends { readonly socket: SendQueue }> {
  readonly #readers = new Map<Reader, Progress>();
  readonly #clock: Clock;
  readonly #backlog: Backpressure;
  readonly #on: SlowReadersEvents<Reader>;
  #cancel: (() => void) | undefined;

  constructor(clock: Clock, backlog: Backpressure, on: SlowReadersEvents<Reader>) {
    this.#clock = clock;
    this.#backlog = backlog;
    this.#on = on;
  }

  /** Lists a reader. */
  add(reader: Reader): void {
    const waits = reader.socket.bufferedAmount;
    this.#readers.set(reader, { waits, progressMs: this.#clock.monotonicMs() });
    this.#schedule();
  }

  /** Takes a reader off the list, if it is there. */
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
      const waits = this.#backlog.look(reader.socket);
      if (waits < progress.waits) progress.progressMs = now;
      progress.waits = waits;
      if (waits <= UNCHECKED_BYTES) {
        this.#readers.delete(reader);
        this.#on.caughtUp(reader);
      } else if (now - progress.progressMs >= STALL_MS) {
        this.#readers.delete(reader);
        this.#on.stalled(reader);
      }
    }
  }
}
