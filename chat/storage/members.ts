/**
 * The members of rooms, cached: a room is read from KV when a client asks for it, and the feed's
 * events keep it up to date from then on.
 *
 * Reading a room of a thousand members from KV takes ten times as long as answering from here. A
 * connection is in the list only after its join was delivered on this instance. This file knows no
 * keys.
 */
import type { Clock } from "../base/clock.ts";
import type { RoomEvent } from "../feed/events.ts";

/** Rooms in the cache; beyond that, the room that was read first is dropped. */
const MAX_CACHED_ROOMS = 256;

/** Milliseconds after which a room is read again, so that no error in the cache lasts. */
const CACHE_TTL_MS = 60_000;

/** Nicknames by connection ID. */
type NicksById = Map<string, string>;

interface CachedRoom {
  /** The start of the read, in milliseconds of the monotonic clock. */
  readonly readAtMs: number;
  /** Resolves when `nicks` is set. */
  readonly reading: Promise<void>;
  /** Events that were delivered during the read; they are applied after it. */
  readonly meanwhile: RoomEvent[];
  nicks: NicksById | undefined;
  /** A join has put a connection at the end, where it may not belong. */
  isUnordered: boolean;
}

/** The members of rooms. */
export class MemberCache {
  readonly #clock: Clock;
  readonly #read: (room: string) => Promise<NicksById>;
  readonly #rooms = new Map<string, CachedRoom>();

  /** `read` returns a room's members from KV, in order of their connection IDs. */
  constructor(clock: Clock, read: (room: string) => Promise<NicksById>) {
    this.#clock = clock;
    this.#read = read;
  }

  /**
   * Returns a room's members, in order of their connection IDs. The caller must not keep the map: it
   * changes.
   *
   * @throws when KV cannot be read.
   */
  async of(room: string): Promise<ReadonlyMap<string, string>> {
    let cached = this.#rooms.get(room);
    if (cached === undefined || cached.readAtMs + CACHE_TTL_MS < this.#clock.monotonicMs()) {
      cached = this.#load(room);
    }
    await cached.reading;
    if (cached.isUnordered) {
      cached.nicks = new Map([...cached.nicks!].sort(([a], [b]) => a < b ? -1 : 1));
      cached.isUnordered = false;
    }
    return cached.nicks!;
  }

  /** Applies an event that changes a room's members. The events must come in the feed's order. */
  apply(event: RoomEvent): void {
    const cached = this.#rooms.get(event.room);
    if (cached?.nicks === undefined) cached?.meanwhile.push(event);
    else applyTo(cached, cached.nicks, event);
  }

  #load(room: string): CachedRoom {
    const cached: CachedRoom = {
      readAtMs: this.#clock.monotonicMs(),
      reading: this.#read(room).then((nicks) => {
        // The read may include some of these events: applying them again changes nothing.
        for (const event of cached.meanwhile.splice(0)) applyTo(cached, nicks, event);
        cached.nicks = nicks;
      }, (error) => {
        if (this.#rooms.get(room) === cached) this.#rooms.delete(room);
        throw error;
      }),
      meanwhile: [],
      nicks: undefined,
      isUnordered: false,
    };
    this.#rooms.delete(room);
    this.#rooms.set(room, cached);
    if (this.#rooms.size > MAX_CACHED_ROOMS) this.#rooms.delete(this.#rooms.keys().next().value!);
    return cached;
  }
}

function applyTo(
  cached: CachedRoom,
  nicks: NicksById,
  { kind, id, nick, text }: RoomEvent,
): void {
  switch (kind) {
    case "join":
      nicks.set(id, nick);
      cached.isUnordered = true;
      break;
    case "leave":
      nicks.delete(id);
      break;
    case "nick":
      nicks.set(id, text);
      break;
    case "message":
    case "action":
    case "direct":
    case "resume":
      break;
    default:
      kind satisfies never;
  }
}
