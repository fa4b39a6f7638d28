/**
 * A WebSocket without a network. The code under test holds it; the test plays the other end. It
 * serves both sides: as a socket that the server accepted, and as the one that a client opened.
 */

/** A WebSocket whose other end the test plays. */
export class FakeSocket {
  onopen: ((event: Event) => unknown) | null = null;
  onmessage: ((event: MessageEvent) => unknown) | null = null;
  onclose: ((event: CloseEvent) => unknown) | null = null;
  onerror: ((event: Event) => unknown) | null = null;
  protocol: string;
  readyState: number;
  bufferedAmount = 0;
  /** Whether the other end reads. If it does not, what is sent is added to `bufferedAmount`. */
  reads = true;
  /** Every frame that was sent, in order. */
  readonly sent: string[] = [];
  /** The code of every call of `close`, in order. */
  readonly closeCodes: (number | undefined)[] = [];

  constructor(readyState: number = WebSocket.OPEN, protocol = "") {
    this.readyState = readyState;
    this.protocol = protocol;
  }

  send(text: string): void {
    this.sent.push(text);
    if (!this.reads) this.bufferedAmount += new TextEncoder().encode(text).length;
  }

  /** Begins to close. `onclose` is not called until the test calls {@linkcode disconnect}. */
  close(code?: number): void {
    this.closeCodes.push(code);
    this.readyState = WebSocket.CLOSING;
  }

  /** The code of the last call of `close`. */
  get closeCode(): number | undefined {
    return this.closeCodes.at(-1);
  }

  /** The handshake succeeds. */
  open(): void {
    this.readyState = WebSocket.OPEN;
    this.onopen?.(new Event("open"));
  }

  /** A frame arrives from the other end. */
  receive(data: string): void {
    this.onmessage?.(new MessageEvent("message", { data }));
  }

  /** The connection has ended. */
  disconnect(code = 1006, reason = ""): void {
    this.readyState = WebSocket.CLOSED;
    this.onclose?.(new CloseEvent("close", { code, reason }));
  }
}
