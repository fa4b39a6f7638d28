/**
 * The job that the runner gives to the generator, and the result that it gets: one JSON object each.
 *
 * The file holds types only, and the error of a job that cannot be done.
 */
import type { WireName } from "./wire.ts";

/** Clients, and the load that they make. */
export interface Job {
  readonly port: number;
  readonly wire: WireName;
  /** The server's process ID, to read its CPU time and memory. */
  readonly pid: number;
  /** Part of each nickname and room, so that no two runs share one. */
  readonly run: string;
  readonly clients: number;
  /** The number of rooms. Client i is in room i modulo this number. */
  readonly rooms: number;
  /** If true, every client is in all rooms, and sends to them in turn. */
  readonly inAllRooms?: true;
  /** If given, this many clients are in room 0, and the others spread over the other rooms. */
  readonly busyRoomClients?: number;
  /** How many clients send messages: the first of them. */
  readonly senders: number;
  /** The bytes of a message's text. */
  readonly messageBytes: number;
  /** Seconds of the load; 0 if only joining is measured. */
  readonly seconds: number;
  /** The most clients that connect and join at the same time. */
  readonly maxConnecting: number;
  readonly load: LoadKind;
}

/**
 * The kinds of load.
 *
 * - closed: each sender keeps `window` messages outstanding. A message is done when the room's
 *   observer, its last client, has received it.
 * - open: `rate` messages a second in all, whatever is received.
 * - list: the first client requests the members of its room, again and again.
 * - day: `rate` actions a second: messages, room changes, departures.
 */
export type LoadKind =
  | { readonly kind: "closed"; readonly window: number }
  | { readonly kind: "open"; readonly rate: number }
  | { readonly kind: "list" }
  | { readonly kind: "day"; readonly rate: number };

/** What was measured. */
export interface Result {
  /** Clients in their rooms when the load began. */
  readonly ready: number;
  /** Connections that ended and that the load did not close. */
  readonly lostConnections: number;
  /** Seconds until all clients had connected, logged in and joined. */
  readonly setupSeconds: number;
  readonly seconds: number;
  readonly sent: number;
  /** Messages received by all clients while the load ran. */
  readonly delivered: number;
  /** Messages sent, and not received by the observer (day: by the sender) after the load either. */
  readonly lost: number;
  /** Milliseconds from sending a message to each delivery (list: from the request to the reply). */
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  /** Seconds of CPU time that the server used during the load; NaN if it cannot be read. */
  readonly serverCpuSeconds: number;
  /** The server's memory in MB: at the end of the load, and every ten seconds. */
  readonly rssMb: number;
  readonly rssMbOverTime: readonly number[];
  /** How much of one core the generator used. At 1 the generator may be the limit. */
  readonly generatorBusy: number;
}

/** The reason why a job could not be done. */
export interface SkippedJob {
  readonly skipped: string;
}

/** The job cannot be done. The message is the reason. */
export class Skip extends Error {}
