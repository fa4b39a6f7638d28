/**
 * The rows of moderation in KV: reads rules and standings, and returns the mutations that change them.
 *
 * It commits nothing, and does not decide what an act changes (effects.ts).
 */
import type { Clock } from "../base/clock.ts";
import { hashToken } from "../base/tokens.ts";
import {
  lastActKey,
  privateRoomKey,
  roomRulesKey,
  standingKey,
  standingPrefix,
} from "../kv/keys.ts";
import { MAX_GETMANY_KEYS } from "../kv/limits.ts";
import {
  NO_END,
  type RoomRules,
  roomRulesFrom,
  type Standing,
  standingFrom,
  storedRoomRules,
  storedStanding,
} from "../kv/moderation_values.ts";
import { eachWithTimeout, withTimeout } from "../kv/retry.ts";

/** What {@linkcode ModerationRows} is made of. */
export interface ModerationRowsParts {
  readonly kv: Deno.Kv;
  readonly clock: Clock;
  /** Milliseconds for which rules and invitations are kept after the last act that changed them. */
  readonly rulesMs: number;
}

/** Who somebody is for acts: a user, and for an unregistered one also an address and a nickname. */
export interface Person {
  /** The ID of the user. */
  readonly user: string;
  readonly isRegistered: boolean;
  /** The hash of the address, or empty. */
  readonly address: string;
  /** The claims of the nickname. */
  readonly claims: readonly string[];
}

/** The standing of a person, by what it was found. */
export interface FoundStanding {
  readonly subject: string;
  readonly standing: Standing;
}

/** What KV says of a place: a room, or the whole chat. */
export interface Reading {
  /** The versionstamp of the last act in the shard. Whatever depends on the reading must check it. */
  readonly lastAct: string | null;
  readonly rules: RoomRules;
  /** Holds as long as nobody changes the rules. */
  readonly rulesCheck: Deno.AtomicCheck;
  /** The standings of the person; the one of the user is first. */
  readonly standings: readonly FoundStanding[];
}

/** Milliseconds for which a kick is remembered: longer than any session without an instance. */
const KICK_MS = 2 * 60 * 60_000;

/** User IDs are ULIDs. The subjects of addresses and nicknames begin with a sign. */
const ADDRESS_SIGN = "@", CLAIM_SIGN = "~";

/** Reads the rows of moderation, and makes mutations of them. */
export class ModerationRows {
  readonly #parts: ModerationRowsParts;

  constructor(parts: ModerationRowsParts) {
    this.#parts = parts;
  }

  /**
   * Reads what holds for a person in a place, whose acts are in `shard`.
   *
   * @throws when KV cannot be read.
   */
  async read(room: string, shard: number, person?: Person): Promise<Reading> {
    const subjects = person === undefined ? [] : subjectsOf(person);
    const keys = [
      lastActKey(shard),
      roomRulesKey(room),
      ...subjects.map((subject) => standingKey(room, subject)),
    ];
    const [last, rules, ...standings] = await this.#entries(keys);
    const nowMs = this.#parts.clock.now();
    return {
      lastAct: last!.versionstamp,
      rules: roomRulesFrom(rules!.value),
      rulesCheck: { key: rules!.key, versionstamp: rules!.versionstamp },
      standings: standings.map(({ value }, i) => ({
        subject: subjects[i]!,
        standing: standingFrom(value, nowMs),
      })),
    };
  }

  /**
   * Yields all standings in a place that say something.
   *
   * @throws when KV cannot be read.
   */
  async *all(room: string): AsyncGenerator<FoundStanding> {
    const { kv, clock } = this.#parts;
    const rows = kv.list<unknown>({ prefix: standingPrefix(room) }, { batchSize: 500 });
    for await (const { key, value } of eachWithTimeout(clock, rows)) {
      yield { subject: String(key[2]), standing: standingFrom(value, clock.now()) };
    }
  }

  /** Returns the mutations that store the rules of a room, or remove them if they say nothing. */
  putRules(room: string, rules: RoomRules): Deno.KvMutation[] {
    const { rulesMs: expireIn } = this.#parts;
    const value = storedRoomRules(rules);
    const key = roomRulesKey(room);
    const privateKey = privateRoomKey(room);
    return [
      value === undefined ? { type: "delete", key } : { type: "set", key, value, expireIn },
      rules.isPrivate
        ? { type: "set", key: privateKey, value: 1, expireIn }
        : { type: "delete", key: privateKey },
    ];
  }

  /** Returns the mutation that stores a standing, or removes it if it says nothing. */
  putStanding(room: string, subject: string, standing: Standing): Deno.KvMutation {
    const key = standingKey(room, subject);
    const value = storedStanding(standing);
    if (value === undefined) return { type: "delete", key };
    const expireIn = this.#lifeOf(standing);
    return expireIn === undefined
      ? { type: "set", key, value }
      : { type: "set", key, value, expireIn };
  }

  /** Returns the milliseconds for which a standing is kept; `undefined`: for ever. */
  #lifeOf({ ban, mute, isInvited, kickedAt }: Standing): number | undefined {
    const { clock, rulesMs } = this.#parts;
    const nowMs = clock.now();
    const untilMs = Math.max(
      ban?.until ?? 0,
      mute?.until ?? 0,
      kickedAt > 0 ? kickedAt + KICK_MS : 0,
      isInvited ? nowMs + rulesMs : 0,
    );
    return untilMs >= NO_END ? undefined : Math.max(1, Math.ceil(untilMs - nowMs));
  }

  /** Reads any number of keys. All are as they were when, or after, the first one was read. */
  async #entries(keys: readonly Deno.KvKey[]): Promise<Deno.KvEntryMaybe<unknown>[]> {
    const { kv, clock } = this.#parts;
    const entries: Deno.KvEntryMaybe<unknown>[] = [];
    for (let i = 0; i < keys.length; i += MAX_GETMANY_KEYS) {
      const some = kv.getMany<unknown[]>(keys.slice(i, i + MAX_GETMANY_KEYS));
      entries.push(...await withTimeout(clock, some));
    }
    return entries;
  }
}

/** Returns the subjects under which acts about a person are stored: the user first. */
export function subjectsOf({ user, address, claims }: Person): string[] {
  return [
    user,
    ...address === "" ? [] : [ADDRESS_SIGN + address],
    // Hashed because a claim may be longer than a key with a room can hold.
    ...claims.map((claim) => CLAIM_SIGN + hashToken(claim)),
  ];
}

/** Returns whether a subject is a nickname. */
export function isNickname(subject: string): boolean {
  return subject.startsWith(CLAIM_SIGN);
}

/** Returns whether a subject is a user: neither an address nor a nickname. */
export function isUser(subject: string): boolean {
  return !subject.startsWith(CLAIM_SIGN) && !subject.startsWith(ADDRESS_SIGN);
}
