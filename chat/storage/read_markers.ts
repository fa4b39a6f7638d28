/**
 * Read markers: up to which event a registered user has read a room, or the direct messages with
 * another user.
 *
 * A marker is a row of its own, and expires with history. handler/reading.ts decides which markers may
 * be set, and commits them.
 */
import type { Clock } from "../base/clock.ts";
import { readMarkerKey } from "../kv/keys.ts";
import { withTimeout } from "../kv/retry.ts";
import { readMarkerFrom } from "../kv/values.ts";

/** Where messages are read, edited and deleted: a room, or the conversation with a user (its ID). */
export type Place = { readonly room: string } | { readonly user: string };

/** A marker as it was read. */
export interface ReadMarker {
  /** The ID of the last event that was read; `undefined`: there is no marker. */
  readonly eventId: string | undefined;
  /** Holds as long as nobody changes the marker. */
  readonly check: Deno.AtomicCheck;
}

/** Keys in one read: KV accepts ten. */
const MAX_READ_KEYS = 10;

/** The read markers in KV. */
export class ReadMarkers {
  readonly #kv: Deno.Kv;
  readonly #clock: Clock;
  readonly #lifeMs: number;

  /** `lifeMs`: for how many milliseconds a marker is kept. */
  constructor(kv: Deno.Kv, clock: Clock, lifeMs: number) {
    this.#kv = kv;
    this.#clock = clock;
    this.#lifeMs = lifeMs;
  }

  /**
   * Reads the markers of a user in some places, in the order of these.
   *
   * @throws when KV cannot be read.
   */
  async read(user: string, places: readonly Place[]): Promise<ReadMarker[]> {
    const keys = places.map((place) => readMarkerKey(user, ...partsOf(place)));
    const reads: Promise<Deno.KvEntryMaybe<unknown>[]>[] = [];
    for (let i = 0; i < keys.length; i += MAX_READ_KEYS) {
      reads.push(this.#kv.getMany<unknown[]>(keys.slice(i, i + MAX_READ_KEYS)));
    }
    const entries = (await withTimeout(this.#clock, Promise.all(reads))).flat();
    return entries.map(({ key, value, versionstamp }) => ({
      eventId: readMarkerFrom(value),
      check: { key, versionstamp },
    }));
  }

  /** Returns the mutation that sets a marker. */
  put(user: string, place: Place, eventId: string): Deno.KvMutation {
    return {
      type: "set",
      key: readMarkerKey(user, ...partsOf(place)),
      value: eventId,
      expireIn: this.#lifeMs,
    };
  }
}

/** Returns what the key of a place's marker says about it. */
function partsOf(place: Place): ["room" | "with", string] {
  return "room" in place ? ["room", place.room] : ["with", place.user];
}
