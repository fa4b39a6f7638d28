/**
 * Every way in which the server closes a connection: the close code, the reason that the client is
 * sent, and whether the client should reconnect.
 *
 * Codes are those of RFC 6455 (section 7.4.1) and the IANA registry, and two of our own. The
 * documents list them, and a test compares the lists. This file closes nothing.
 */

/** One way in which the server closes a connection. */
export interface CloseReason {
  readonly code: number;
  /** At most 123 bytes of UTF-8: what a close frame holds. */
  readonly reason: string;
  /** Whether the same client may reconnect at once or after a pause, and be accepted again. */
  readonly reconnect: boolean;
}

/** The ways in which the server closes a connection. */
export const CLOSE = {
  binaryFrame: { code: 1003, reason: "text frames only", reconnect: false },
  rateLimitIgnored: { code: 1008, reason: "rate limit ignored", reconnect: true },
  inboxFull: { code: 1008, reason: "sending too fast", reconnect: true },
  loginTimeout: { code: 1008, reason: "no nickname in time", reconnect: true },
  tooManyPongs: { code: 1008, reason: "too many unsolicited pongs", reconnect: false },
  banned: { code: 1008, reason: "banned", reconnect: false },
  kicked: { code: 1008, reason: "kicked", reconnect: false },
  restart: { code: 1012, reason: "the server is restarting", reconnect: true },
  slowReader: { code: 1013, reason: "reading too slowly", reconnect: true },
  slowHandshake: { code: 1013, reason: "the handshake took too long", reconnect: true },
  lowMemory: { code: 1013, reason: "the server is short of memory", reconnect: true },
  takenOver: { code: 4001, reason: "session resumed on another connection", reconnect: false },
  ended: { code: 4002, reason: "session ended by its user", reconnect: false },
} as const satisfies Record<string, CloseReason>;

/** Returns how a connection is closed that sent a frame of more than `maxBytes`. */
export function frameTooLarge(maxBytes: number): CloseReason {
  return { code: 1009, reason: `frame larger than ${maxBytes} bytes`, reconnect: false };
}

/** Returns whether a client that closes with this code leaves for good: 1000, or no code at all. */
export function isDeparture(code: number): boolean {
  return code === 1000 || code === 1005;
}
