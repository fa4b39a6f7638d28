/** A client of the plain-text protocol over a real WebSocket. */
import { assertEquals } from "@std/assert";
import { withDeadline } from "./wait.ts";

/** Subprotocols to ask for, and request headers. */
export type Protocols =
  | string
  | string[]
  | { protocols: string[]; headers: Record<string, string> };

/** A WebSocket whose frames are kept until the test reads them. */
export class TextClient {
  readonly socket: WebSocket;
  readonly #frames: string[] = [];
  /** Every frame that was received, in order. */
  readonly received: string[] = [];
  #wake = (): void => {};
  /** Resolves when the socket is closed. */
  readonly closed: Promise<CloseEvent>;

  private constructor(socket: WebSocket) {
    this.socket = socket;
    socket.onmessage = ({ data }) => {
      // A frame of chat.v1 may hold many objects, one a line.
      const frames = socket.protocol === "" ? [data] : data.split("\n");
      this.#frames.push(...frames);
      this.received.push(...frames);
      this.#wake();
    };
    this.closed = new Promise((resolve) => socket.onclose = resolve);
  }

  /** Connects, and sends nothing. */
  static async connect(url: string, protocols: Protocols = []): Promise<TextClient> {
    // Deno's WebSocket takes headers. The types of browsers, which the page's tests use, do not.
    const socket = new WebSocket(url, protocols as string[]);
    const client = new TextClient(socket);
    await withDeadline(
      new Promise<void>((resolve, reject) => {
        socket.onopen = () => resolve();
        socket.onerror = (event) => reject(new Error((event as ErrorEvent).message));
      }),
      `a connection to ${url}`,
    );
    socket.onerror = null;
    return client;
  }

  /** Sends frames. */
  send(...frames: (string | Uint8Array<ArrayBuffer>)[]): void {
    for (const frame of frames) this.socket.send(frame);
  }

  /** How many frames were received and not read yet. */
  get unreadCount(): number {
    return this.#frames.length;
  }

  /** Returns the next frame, or the next line of a frame of chat.v1. Waits until it arrives. */
  async next(): Promise<string> {
    while (this.#frames.length === 0) {
      await withDeadline(new Promise<void>((resolve) => this.#wake = resolve), "a frame");
    }
    return this.#frames.shift()!;
  }

  /** Asserts that the next frames are exactly these. */
  async expect(...frames: string[]): Promise<void> {
    for (const frame of frames) assertEquals(await this.next(), frame);
  }

  /** Sends a line, and asserts that the next frames are exactly these. */
  async request(line: string, ...frames: string[]): Promise<void> {
    this.send(line);
    await this.expect(...frames);
  }

  /**
   * Asserts that no frame arrived that the test did not read: the answer to a command comes next. An
   * event of another client counts only if the test has seen another client receive it.
   */
  async expectNothingElse(): Promise<void> {
    this.send("/nick");
    const answer = await this.next();
    assertEquals(answer.slice(0, 17), "Current nickname:");
    assertEquals(this.#frames, []);
  }

  /** Closes the socket. Resolves when it is closed. */
  async disconnect(): Promise<CloseEvent> {
    this.socket.close();
    return await withDeadline(this.closed, "the end of a connection");
  }
}
