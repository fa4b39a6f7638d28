/**
 * Who is in a room, from memory: read from KV when somebody asks, and from then on kept true by the
 * events of the feed.
 *
 * Below Storage, which hands it the events. To read a room of a thousand from KV takes ten times as
 * long as to answer from here. It is as far as the events are that were shown here: nobody is in the
 * list before they were seen to come. It does not know keys.
 */
import type { Clock } from "../base/clock.ts";
import type { RoomEvent } from "../feed/events.ts";

/** Most rooms that are known at a time; the one that was read first is forgotten first. */
const MAX_CACHED_ROOMS = 256;

/** Milliseconds after which a room is read anew: nothing that went wrong is wrong for ever. */
const CACHE_TTL_MS = 60_000;

/** Nicknames by the connections' ids. */
type NicksById = Map<string, string>;

interface CachedRoom {
  readonly since: number;
  /** Being read; what happens meanwhile is applied when it has been. */
  readonly reading: Promise<void>;
  readonly meanwhile: RoomEvent[];
  people: NicksById | undefined;
  /** Somebody came who may not stand in order. */
  isUnordered: boolean;
}

/** The members of rooms. */
export class MemberCache {
  readonly #clock: Clock;
  readonly #read: (room: string) => Promise<NicksById>;
  readonly #rooms = new Map<string, CachedRoom>();

  /** `read` gives those who are in a room, in the order of their ids, as KV has them. */
  constructor(clock: Clock, read: (room: string) => Promise<NicksById>) {
    this.#clock = clock;
    this.#read = read;
  }

  /**
   * Who is in a room, in the order of the connections' ids. Not to be kept: it changes.
   *
   * @throws when KV cannot be read.
   */
  async of(room: string): Promise<ReadonlyMap<string, string>> {
    let known = this.#rooms.get(room);
    if (known === undefined || known.since + CACHE_TTL_MS < this.#clock.monotonicMs()) {
      known = this.#learn(room);
    }
    await known.reading;
    if (known.isUnordered) {
      known.people = new Map([...known.people!].sort(([a], [b]) => a < b ? -1 : 1));
      known.isUnordered = false;
    }
    return known.people!;
  }

  /** To be called with every event by which somebody comes, goes or is renamed, in their order. */
  apply(event: RoomEvent): void {
    const known = this.#rooms.get(event.room);
    if (known?.people === undefined) known?.meanwhile.push(event);
    else applyTo(known, known.people, event);
  }

  #learn(room: string): CachedRoom {
    const known: CachedRoom = {
      since: this.#clock.monotonicMs(),
      reading: this.#read(room).then((people) => {
        // Some of it may be in what was read: to apply it once more changes nothing.
        for (const event of known.meanwhile.splice(0)) applyTo(known, people, event);
        known.people = people;
      }, (error) => {
        if (this.#rooms.get(room) === known) this.#rooms.delete(room);
        throw error;
      }),
      meanwhile: [],
      people: undefined,
      isUnordered: false,
    };
    this.#rooms.delete(room);
    this.#rooms.set(room, known);
    if (this.#rooms.size > MAX_CACHED_ROOMS) this.#rooms.delete(this.#rooms.keys().next().value!);
    return known;
  }
}

function applyTo(known: CachedRoom, people: NicksById, { kind, id, nick, text }: RoomEvent): void {
  if (kind === "leave") people.delete(id);
  else if (kind === "nick") people.set(id, text);
  else if (kind === "join") {
    people.set(id, nick);
    known.isUnordered = true;
  }
}
