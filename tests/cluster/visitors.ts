/**
 * Clients that use the project's client module in a simulated cluster. Their connections drop, on one
 * side or both, and they resume on any instance. The messages that each received are compared with
 * those of its rooms; devices.ts compares joins and leaves, too.
 */
import { assert, assertEquals } from "@std/assert";
import { ChatClient, type ChatEvent, type WebSocketLike } from "../../chat/client/client.js";
import type { Random } from "../support/random.ts";
import type { SentMessage } from "./devices.ts";
import type { FeedLog } from "./feed_log.ts";
import { Connection, type Place } from "./network.ts";
import type { World } from "./sim_kv.ts";

/** Consecutive messages of a room. */
interface Run {
  readonly ids: string[];
  /** The ID of the own join with which it began, if the client was told of that. */
  readonly since: string | undefined;
}

/** The messages that a visitor received in one room. */
interface RoomRuns {
  readonly runs: Run[];
  /** The run that still continues. */
  run: Run | undefined;
  /** Events since the connection was lost; `undefined`: it is not. */
  held: string[] | undefined;
}

/** A client that resumes its session after each loss of its connection. */
export class Visitor {
  readonly events: ChatEvent[] = [];
  readonly said: SentMessage[] = [];
  readonly client: ChatClient;
  connection: Connection | undefined;
  /** It has left for good without a `leave`. */
  hasLeft = false;

  constructor(
    readonly nick: string,
    rooms: readonly string[],
    world: World,
    random: Random,
    places: () => readonly Place[],
  ) {
    let ids = 0;
    this.client = new ChatClient("ws://simulated/", {
      nick,
      rooms,
      clock: world.clock(0, random),
      ids: () => `${nick}.${ids++}`,
      connect: () => {
        this.connection = new Connection(random.pick(places()), world, random);
        return this.connection.near as unknown as WebSocketLike;
      },
    });
    this.client.on("*", (event) => void this.events.push(event));
  }

  say(room: string, text: string): void {
    const message: SentMessage = { text, id: undefined, failed: undefined };
    this.said.push(message);
    this.client.room(room).say(text).then(
      ({ id }) => message.id = id,
      (error) => message.failed = error.code,
    );
  }

  /** Goes away without a word: the others learn of it when the grace period ends. */
  vanish(): void {
    this.hasLeft = true;
    this.client.detach();
    this.connection?.cut();
  }

  /** Checks that no message is missing and none came twice, except where the client was told so. */
  check(log: FeedLog): void {
    for (const [room, { runs, run }] of this.#rooms()) {
      const said = log.saidIn(room).map(({ id }) => id);
      for (const { ids } of runs) {
        const from = ids.length === 0 ? 0 : said.indexOf(ids[0]!);
        assertEquals(ids, said.slice(from, from + ids.length), `${this.nick} in ${room}`);
      }
      const newest = said.at(-1) ?? "";
      if (this.hasLeft || run?.since === undefined || newest < run.since) continue;
      if (!this.client.room(room).joined) continue;
      assertEquals(run.ids.at(-1), newest, `${this.nick} missed the newest message of ${room}`);
    }
    checkSaid(this.said, log);
  }

  #rooms(): Map<string, RoomRuns> {
    const rooms = new Map<string, RoomRuns>();
    const seen = new Set<string>();
    for (const event of this.events) {
      if (event.type === "state" && event.state !== "online") {
        for (const room of rooms.values()) room.held ??= [];
      }
      if (!("room" in event) || event.room === undefined) continue;
      let room = rooms.get(event.room);
      if (room === undefined) {
        rooms.set(event.room, room = { runs: [], run: undefined, held: undefined });
      }
      if (event.type === "gap") room.run = undefined;
      else if (event.type === "resumed") {
        if (event.recovered) room.run?.ids.push(...room.held ?? []);
        else room.run = undefined;
        room.held = undefined;
      } else if (event.type !== "read" && event.type !== "room" && event.type !== "typing") {
        this.#receive(room, event, seen);
      }
    }
    return rooms;
  }

  #receive(room: RoomRuns, event: Extract<ChatEvent, { id: string }>, seen: Set<string>): void {
    const { type, id } = event;
    assert(!seen.has(id), `${this.nick} received ${id} twice`);
    seen.add(id);
    if (type === "joined" && event.nick === this.nick) {
      room.runs.push(room.run = { ids: [], since: id });
      room.held = undefined;
    } else if (type === "left" && event.nick === this.nick) {
      room.run?.ids.push(...room.held ?? []);
      room.held = undefined;
      room.run = undefined;
    } else if (type === "message" || type === "action") {
      if (room.held !== undefined) return void room.held.push(id);
      if (room.run === undefined) room.runs.push(room.run = { ids: [], since: undefined });
      room.run.ids.push(id);
    }
  }
}

/** Checks that each message was posted at most once, under the ID that its sender was told. */
export function checkSaid(said: readonly SentMessage[], log: FeedLog): void {
  for (const { text, id, failed } of said) {
    const found = [...log.messages.values()].filter(({ texts }) => texts[0] === text);
    assert(found.length <= 1, `${text} was posted twice`);
    if (id !== undefined) assertEquals(found[0]?.id, id, text);
    else if (!/^(unknown|unavailable|closed|offline)$/.test(failed ?? "unknown")) {
      assertEquals(found, [], `${text} failed, ${failed}`);
    }
  }
}
