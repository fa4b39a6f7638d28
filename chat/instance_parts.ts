/**
 * What an instance is made of: the handles to KV, and the settings in the units that the parts use.
 *
 * Types only: mod.ts makes the parts from its options.
 */
import type { Clock } from "./base/clock.ts";
import type { Limits } from "./base/limits.ts";
import type { Log } from "./base/log.ts";
import type { Metrics } from "./base/metrics.ts";
import type { Rate } from "./base/token_bucket.ts";
import type { Confusables } from "./nicknames/confusables.ts";
import type { Passwords } from "./nicknames/passwords.ts";

/**
 * Handles to one KV. They may all be the same handle. For KV Connect they should differ: on one
 * handle, a request or an open watch makes the next request wait for a delayed TCP acknowledgement
 * (44 ms, measured with denokv on the same machine).
 */
export interface KvHandles {
  /** For rare operations: logins, joins, lists, leases. */
  readonly kv: Deno.Kv;
  /** For watching. */
  readonly watcher: Deno.Kv;
  /** For history, whose rows are large. */
  readonly history: Deno.Kv;
  /** For the commits and reads of each shard of the feed, which come one at a time. */
  readonly shards: readonly Deno.Kv[];
  /** Whether the handles differ. */
  readonly separate: boolean;
}

/** What an instance is made of. */
export interface InstanceParts {
  readonly handles: KvHandles;
  /** Whether only this machine can reach KV: see {@linkcode Lease}. */
  readonly local: boolean;
  /** Whether to clean up at the start after instances that are silent then: see {@linkcode Lease}. */
  readonly cleanUpSilent: boolean;
  readonly clock: Clock;
  /** Returns a new ID, greater than those before. */
  readonly ids: () => string;
  readonly limits: Limits;
  /** Milliseconds in which a connection must log in; 0: unlimited. */
  readonly loginMs: number;
  /** How many nicknames an address may register; `undefined`: unlimited. */
  readonly registrationRate: Rate | undefined;
  /** Milliseconds for which messages are kept; 0: they are not. */
  readonly historyMs: number;
  /** Bytes that history may take in KV; `Infinity`: unlimited. */
  readonly maxHistoryBytes: number;
  /** Whether every user may read the history of every room. */
  readonly openHistory: boolean;
  /** Milliseconds within which users may edit and delete their messages; 0: they cannot. */
  readonly editMs: number;
  /** Milliseconds for which a dropped session can be resumed; 0: it cannot. */
  readonly graceMs: number;
  /** Milliseconds for which an unused registration is kept; 0: nicknames cannot be registered. */
  readonly registrationMs: number;
  /** The nicknames of operators, which count once they are registered. */
  readonly operators: readonly string[];
  /** Makes a session an operator's; `undefined`: none does. */
  readonly operatorSecret: string | undefined;
  /** Whether a registered user who opens a room moderates it. */
  readonly roomOwners: boolean;
  /** Whether people are told who writes. */
  readonly isTypingTold: boolean;
  /** Milliseconds for which acts of moderation are kept; 0: they are not. */
  readonly modLogMs: number;
  readonly confusables: Confusables;
  readonly passwords: Passwords;
  /** The number of times that the memory guard has looked. */
  readonly looks: { readonly count: number };
  readonly log: Log;
  readonly metrics: Metrics;
}
