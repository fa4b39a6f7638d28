/**
 * Clients that use the project's client module in a simulated cluster. Their connections drop, on one
 * side or both, and they resume on any instance. The events of each are compared with the room's order.
 */
import { assert, assertEquals } from "@std/assert";
import { ChatClient, type ChatEvent, type WebSocketLike } from "../../chat/client/client.js";
import type { LoggedEvent } from "../../chat/feed/events.ts";
import { type Chat, CHAT_V1 } from "../../chat/mod.ts";
import { FakeSocket } from "../support/fake_socket.ts";
import type { Random } from "../support/random.ts";
import type { Process, World } from "./sim_kv.ts";

/** An instance to connect to. */
export interface Place {
  readonly chat: Chat;
  readonly network: { readonly isDead: boolean; readonly process: Process };
}

/** One end of a connection: what it sends travels over the simulated network. */
class End extends FakeSocket {
  readonly #send: (text: string) => void;
  readonly #close: (code: number) => void;

  constructor(send: (text: string) => void, close: (code: number) => void) {
    super(WebSocket.CONNECTING, CHAT_V1);
    this.#send = send;
    this.#close = close;
  }

  override send(text: string): void {
    if (this.readyState === WebSocket.OPEN) this.#send(text);
  }

  override close(code = 1005): void {
    if (this.readyState >= WebSocket.CLOSING) return;
    super.close(code);
    this.#close(code);
  }

  override open(): void {
    if (this.readyState === WebSocket.CONNECTING) super.open();
  }

  override receive(data: string): void {
    if (this.readyState === WebSocket.OPEN) super.receive(data);
  }

  override disconnect(code: number): void {
    if (this.readyState !== WebSocket.CLOSED) super.disconnect(code);
  }
}

/** A connection over a network that delays frames, keeps their order, and may be cut. */
class Connection {
  readonly near: End;
  readonly far: End;
  readonly #world: World;
  readonly #random: Random;
  /** The arrival of the last frame in each direction. The next one arrives after it. */
  readonly #due = { there: 0, back: 0 };
  #cut = false;

  constructor(readonly place: Place, world: World, random: Random) {
    this.#world = world;
    this.#random = random;
    const there = (run: () => void) => this.#carry("there", run);
    const back = (run: () => void) => this.#carry("back", run);
    this.near = new End(
      (text) => there(() => this.far.receive(text)),
      (code) => (there(() => this.far.disconnect(code)), back(() => this.near.disconnect(code))),
    );
    this.far = new End(
      (text) => back(() => this.near.receive(text)),
      (code) => (back(() => this.near.disconnect(code)), there(() => this.far.disconnect(code))),
    );
    there(() => {
      place.chat.accept(this.far, { subprotocol: CHAT_V1 });
      this.far.open();
      if (this.far.readyState === 1) back(() => this.near.open());
    });
    // A dead instance does not answer.
    if (place.network.isDead) this.cut();
  }

  /** Loses all frames under way. Each side notices after a random time. */
  cut(): void {
    if (this.#cut) return;
    this.#cut = true;
    for (const end of [this.near, this.far]) {
      const { process } = this.place.network;
      const closed = () => end.disconnect(1006);
      this.#world.after(
        this.#random.below(5_000),
        () => end === this.far ? process.do(closed) : closed(),
      );
    }
  }

  #carry(direction: "there" | "back", run: () => void): void {
    const due = this.#due;
    due[direction] = Math.max(due[direction], this.#world.now + this.#random.below(30));
    this.#world.after(due[direction] - this.#world.now, () => {
      const { isDead, process } = this.place.network;
      const arrive = () => void (this.#cut || isDead || run());
      if (direction === "there") process.do(arrive);
      else arrive();
    });
  }
}

/** A message of a visitor, and its outcome. */
interface SentMessage {
  readonly text: string;
  id: string | undefined;
  failed: string | undefined;
}

/** Consecutive events of a room. */
interface Run {
  readonly room: string;
  readonly ids: string[];
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
    room: string,
    world: World,
    random: Random,
    places: () => Place[],
  ) {
    let ids = 0;
    this.client = new ChatClient("ws://simulated/", {
      nick,
      room,
      clock: world.clock(0, random),
      ids: () => `${nick}.${ids++}`,
      connect: () => {
        this.connection = new Connection(random.pick(places()), world, random);
        return this.connection.near as unknown as WebSocketLike;
      },
    });
    this.client.on("*", (event) => void this.events.push(event));
  }

  say(text: string): void {
    const message: SentMessage = { text, id: undefined, failed: undefined };
    this.said.push(message);
    this.client.say(text).then(
      ({ id }) => message.id = id,
      (error) => message.failed = error.code,
    );
  }

  /** Leaves for good. The server sees a lost connection. */
  vanish(): void {
    this.hasLeft = true;
    this.connection?.cut();
    this.client.close();
  }

  /** Checks that the received events are in the room's order, without a gap that was not reported. */
  check(log: readonly LoggedEvent[]): void {
    const { runs, run } = this.#runs();
    for (const { room, ids } of runs) {
      const ofRoom = log.filter(({ event }) => event.room === room && shown(event.kind));
      const from = ofRoom.findIndex(({ eventId: at }) => at === ids[0]);
      const expected = ofRoom.slice(from, from + ids.length).map(({ eventId: at }) => at);
      assertEquals(ids, expected, `${this.nick} in ${room}`);
    }
    // A visitor whose leave was under way when the connection was lost gets no event of it.
    if (!this.hasLeft && run !== undefined && this.client.room === run.room) {
      const newest = log.findLast(({ event }) => event.room === run.room && shown(event.kind));
      assertEquals(run.ids.at(-1), newest?.eventId, `${this.nick} missed the newest event`);
    }
    for (const { text, id, failed } of this.said) {
      const found = log.filter(({ event }) => event.text === text);
      assert(found.length <= 1, `${text} was posted twice`);
      if (id !== undefined) assertEquals(found[0]?.eventId, id, text);
      else if (!/^(unknown|unavailable|closed|offline)$/.test(failed ?? "unknown")) {
        assertEquals(found, [], `${text} failed, ${failed}`);
      }
    }
  }

  /** Returns the runs of events in which none may be missing, and the run that still continues. */
  #runs(): { runs: Run[]; run: Run | undefined } {
    const runs: Run[] = [];
    let run: Run | undefined;
    let since: string[] = [];
    let away = false;
    const seen = new Set<string>();
    for (const event of this.events) {
      if (event.type === "state") away ||= event.state !== "online" && runs.length > 0;
      else if (event.type === "resumed") {
        // Events since the loss of the connection belong to the run only if all of them arrived.
        if (event.recovered) run?.ids.push(...since);
        else run = undefined;
        since = [];
        away = false;
      } else if ("room" in event && event.type !== "gap") {
        assert(!seen.has(event.id), `${this.nick} saw ${event.id} twice`);
        seen.add(event.id);
        if (event.type === "joined" && event.nick === this.nick) {
          runs.push(run = { room: event.room, ids: [] });
          away = false;
          since = [];
        } else if (!away && run === undefined) runs.push(run = { room: event.room, ids: [] });
        if (away) since.push(event.id);
        else {
          assertEquals(event.room, run!.room, `${this.nick} received an event of another room`);
          run!.ids.push(event.id);
        }
        if (event.type === "left" && event.nick === this.nick && !away) run = undefined;
      }
    }
    return { runs, run };
  }
}

function shown(kind: string): boolean {
  return kind !== "resume" && kind !== "direct";
}
