/**
 * What the runner asks of the generator, and what it gets: one JSON object each way.
 *
 * Types only, and the one way in which a job ends without a result.
 */
import type { WireName } from "./wire.ts";

/** A crowd, and what it does. */
export interface Job {
  readonly port: number;
  readonly wire: WireName;
  /** The server's process, whose CPU time and memory are read. */
  readonly pid: number;
  /** Part of each nickname, so that no two runs share one. */
  readonly run: string;
  readonly clients: number;
  /** Client i is in room i modulo this. */
  readonly rooms: number;
  /** If given, that many clients are in room 0, and the others spread over the other rooms. */
  readonly lively?: number;
  /** The first of the clients, that many of them, talk. */
  readonly senders: number;
  /** Bytes of what is said. */
  readonly size: number;
  /** Seconds of the load; 0 when only the way in is measured. */
  readonly seconds: number;
  /** Clients that are on their way in at once. */
  readonly backlog: number;
  readonly load: LoadKind;
}

/**
 * closed: each sender keeps `window` messages outstanding; one is done when the room's observer, the
 * last of its clients, has it. open: `rate` messages a second in all, whatever comes back. list: the
 * first client asks who is there, again and again. day: `rate` things a second: talk, moves, leaves.
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
  /** Connections that ended although nobody wanted them to. */
  readonly dead: number;
  /** Seconds in which all connected, logged in and joined. */
  readonly setup: number;
  readonly seconds: number;
  readonly sent: number;
  /** Seen while the load ran. */
  readonly delivered: number;
  /** Sent, and not seen by the observer (day: by the sender) even after the end. */
  readonly lost: number;
  /** Milliseconds from sending to each delivery; list: from asking to the answer. */
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
  /** Seconds of CPU that the server used during the load; NaN where it cannot be read. */
  readonly serverCpu: number;
  /** Memory of the server in MB at the end of the load, and every ten seconds. */
  readonly rss: number;
  readonly rssOverTime: readonly number[];
  /** The part of one core that the generator was busy. At 1 the generator may be the limit. */
  readonly busy: number;
}

/** Why a job could not be done. */
export interface Refusal {
  readonly skipped: string;
}

/** A reason to skip, thrown inside the generator. */
export class Skip extends Error {}
