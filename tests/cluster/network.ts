/**
 * Connections of a simulated network: frames take time, keep their order, and are lost when the
 * connection is cut. Each end is a socket, as the server and the client see it.
 */
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
export class Connection {
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
