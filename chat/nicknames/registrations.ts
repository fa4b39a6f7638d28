/**
 * Registrations: a nickname that belongs to the user who knows its password.
 *
 * A registration is a row of its own, with the ID of its user. It keeps the nickname's claims
 * (storage/claims.ts), so that a login without a password finds the nickname taken, at no further
 * cost. A client that resumes with a token needs no password. Registrations does not hash passwords
 * (passwords.ts) and answers no client.
 */
import type { Clock } from "../base/clock.ts";
import { reject, type Rejection, rejection, type Result } from "../base/rejections.ts";
import { type Rate, TokenBucket, TokenBucketMap } from "../base/token_bucket.ts";
import { hashToken } from "../base/tokens.ts";
import { accountKey, passwordAttemptsKey, registrationAttemptsKey } from "../kv/keys.ts";
import { withTimeout } from "../kv/retry.ts";
import { accountFrom, type AccountValue } from "../kv/values.ts";
import type { ChangeResult } from "../storage/changes.ts";
import {
  type Claimed,
  deleteClaims,
  isKeptBy,
  type Ownership,
  readClaims,
} from "../storage/claims.ts";
import type { Session } from "../storage/records.ts";
import type { Storage } from "../storage/storage.ts";
import type { Confusables } from "./confusables.ts";
import { foldNickname } from "./names.ts";
import { passwordFrom, type Passwords } from "./passwords.ts";
import { takeShared } from "./shared_bucket.ts";

/** What {@linkcode Registrations} is made of. */
export interface RegistrationsParts {
  readonly kv: Deno.Kv;
  readonly clock: Clock;
  readonly storage: Storage;
  /** Returns a new ID, greater than those before. */
  readonly ids: () => string;
  readonly confusables: Confusables;
  readonly passwords: Passwords;
  /** Milliseconds for which an unused registration is kept; 0 allows no new ones. */
  readonly lifetimeMs: number;
  /** How many nicknames one address may register; `undefined` sets no limit. */
  readonly registrationRate: Rate | undefined;
}

/** A registration's row as it was read. */
interface AccountRow {
  /** `undefined`: it does not exist, or another version of the program wrote it in an unknown form. */
  readonly account: AccountValue | undefined;
  /** Whether the row exists, in whatever form, and has not expired. */
  readonly exists: boolean;
  /** Holds as long as nobody changes the row. */
  readonly check: Deno.AtomicCheck;
}

/** A registration whose password the client has given. */
interface ProvenAccount {
  /** The folded nickname. */
  readonly name: string;
  readonly account: AccountValue;
  readonly check: Deno.AtomicCheck;
  readonly password: string;
}

/** A client's proof that it owns a registration. */
export interface Proof {
  readonly owner: Ownership;
  /** The nickname in the spelling that the client gets. */
  readonly spelling: string;
  /** The claims of that spelling. */
  readonly claims: readonly string[];
}

/**
 * The result of a change of identity: the ID of the first event that told it, and whether the session
 * itself was told of it in a room.
 */
export type Changed = Result<{ eventId: string | undefined; isTold: boolean }>;

/** The longest time between two renewals of the registrations of online users. */
const MAX_RENEWAL_MS = 86_400_000;

/** Wrong passwords for one nickname, from all addresses and on all instances together. */
export const RATE_PER_NICKNAME: Rate = { burst: 10, ms: 600_000 };

/** Passwords from one address, on one instance. */
export const RATE_PER_ADDRESS: Rate = { burst: 10, ms: 200_000 };

/**
 * The part of an attempt that a right password gets back. Checking it takes a quarter of a second of
 * work like any other, so it is not free; but a school has one address, and 40 clients may identify
 * at once.
 */
export const RIGHT_PASSWORD_REFUND = 0.75;

/** Addresses whose attempts are remembered; beyond that, old ones are forgotten. */
const MAX_ADDRESSES = 10_000;

/** Registrations, for all sessions of an instance. */
export class Registrations {
  readonly #parts: RegistrationsParts;
  readonly #addresses = new TokenBucketMap(() => new TokenBucket(), MAX_ADDRESSES);

  constructor(parts: RegistrationsParts) {
    this.#parts = parts;
  }

  /**
   * Registers the nickname that a session has. `address` limits the passwords. `countedFor` is the
   * address whose registrations are counted; `undefined` counts none.
   *
   * @throws when KV does not answer.
   */
  async register(
    record: Session,
    typed: string,
    address: string,
    countedFor: string | undefined,
  ): Promise<Changed> {
    const { kv, storage, clock, ids, passwords, lifetimeMs, registrationRate } = this.#parts;
    if (lifetimeMs === 0) return rejection.registrationOff;
    if (record.account !== "") return rejection.registeredAlready(record.nick);
    const usable = passwordFrom(typed);
    if (!usable.ok) return reject("bad-password", usable.why);
    const wait = this.#takeAttempt(address);
    if (wait > 0) return rejection.tooManyAttempts(wait);
    const password = await passwords.hash(usable.password);
    if (password === undefined) return rejection.busy;
    const { nick, claims } = record;
    const name = foldNickname(nick);
    const { exists, check } = await this.#read(name);
    // An older version of the program may have let the client use a registered nickname.
    if (exists) return rejection.nicknameRegistered(nick);
    if (registrationRate !== undefined && countedFor !== undefined) {
      // Not the address itself is stored, but its hash.
      const key = registrationAttemptsKey(hashToken(countedFor));
      const wait = await takeShared(kv, clock, key, registrationRate);
      if (wait > 0) return rejection.tooManyRegistrations(wait);
    }
    const until = clock.now() + lifetimeMs;
    const account = { nick, user: ids(), password, claims, until };
    const owner = this.#ownership(name, account, check);
    const result = await storage.setUsername(record.id, { nick, claims, owner });
    // The names of these rooms are too long for the row of a user.
    if (result.outcome === "too-many-rooms") return rejection.tooManyRooms(record.rooms.size);
    return changedFrom(result);
  }

  /**
   * Checks the password of a registered nickname. Using a registration renews it, at most once a day.
   *
   * @throws when KV does not answer.
   */
  async prove(nick: string, typed: string, address: string): Promise<Result<Proof>> {
    const { clock, ids, confusables, passwords, lifetimeMs } = this.#parts;
    const checked = await this.#checkPassword(nick, typed, address);
    if (!checked.ok) return checked;
    const { name, account, check } = checked;
    // The client chooses the spelling, as long as the registration keeps all of its claims.
    const typedClaims = confusables.claims(nick) ?? [];
    const isKept = typedClaims.length > 0 &&
      typedClaims.every((each) => account.claims.includes(each));
    const spelling = isKept ? nick : account.nick;
    const claims = isKept ? typedClaims : confusables.claims(spelling) ?? account.claims;
    // If too many hashes are queued now, the next login renews the hash.
    const fresh = passwords.isOutdated(account.password)
      ? await passwords.hash(checked.password)
      : undefined;
    const password = fresh ?? account.password;
    // An earlier version of the program registered nicknames without a user.
    const user = account.user || ids();
    const until = clock.now() + lifetimeMs;
    // Otherwise of several sessions that sign in at the same time only one would succeed.
    const isCurrent = password === account.password && user === account.user &&
      until - account.until < Math.min(MAX_RENEWAL_MS, lifetimeMs / 64);
    const owner = isCurrent
      ? { ...this.#ownership(name, account, check), mutations: [] }
      : this.#ownership(
        name,
        { ...account, user, password, until: Math.max(account.until, until) },
        check,
      );
    return { ok: true, owner, spelling, claims };
  }

  /**
   * Changes the password of the registration that a session is signed in to, and ends the other sessions
   * of the user: another person may have begun them with the old password. With the hash of a token, that
   * token alone resumes the session from now on.
   *
   * @throws when KV does not answer.
   */
  async changePassword(
    record: Session,
    typed: string,
    fresh: string,
    address: string,
    token?: string,
  ): Promise<Result> {
    if (record.account === "") return rejection.notIdentified;
    const usable = passwordFrom(fresh);
    if (!usable.ok) return reject("bad-password", usable.why);
    const checked = await this.#checkPassword(record.account, typed, address);
    if (!checked.ok) return checked;
    const { storage, passwords } = this.#parts;
    const password = await passwords.hash(usable.password);
    if (password === undefined) return rejection.busy;
    const { name, account, check } = checked;
    const change = this.#ownership(name, { ...account, password }, check);
    const saved = await storage.saveRegistration(record.id, change, token);
    if (saved.outcome !== "done") return rejection.notDone;
    await storage.endOtherSessions(record.user, record.id);
    return { ok: true };
  }

  /**
   * Deletes the registration that a session is signed in to, and ends the other sessions of the user. The
   * session keeps the nickname while it is online.
   *
   * @throws when KV does not answer.
   */
  async unregister(record: Session, typed: string, address: string): Promise<Changed> {
    if (record.account === "") return rejection.notIdentified;
    const checked = await this.#checkPassword(record.account, typed, address);
    if (!checked.ok) return checked;
    const { storage } = this.#parts;
    const { name, account, check } = checked;
    const { nick, user } = record;
    const mutations: Deno.KvMutation[] = [{ type: "delete", key: accountKey(name) }];
    const ended = { ...this.#ownership(name, account, check), mutations };
    const result = await storage.setUsername(record.id, { nick, claims: account.claims, ended });
    if (result.outcome === "done") await storage.endOtherSessions(user, record.id);
    return changedFrom(result);
  }

  /** Returns the milliseconds between two calls of {@linkcode Registrations.renewOnline}; 0: none. */
  get renewalMs(): number {
    return Math.min(MAX_RENEWAL_MS, this.#parts.lifetimeMs / 4);
  }

  /**
   * Renews the registrations that sessions of this instance are signed in to, so that none expires while
   * its user is online. Those that have more than half of their lifetime left are not written.
   *
   * @throws when KV does not answer.
   */
  async renewOnline(): Promise<void> {
    const { storage, clock, lifetimeMs } = this.#parts;
    for (const [name, user] of storage.signedIn()) {
      const { account, check } = await this.#read(name);
      if (account?.user !== user || account.until > clock.now() + lifetimeMs / 2) continue;
      const until = clock.now() + lifetimeMs;
      await storage.renewRegistration(this.#ownership(name, { ...account, until }, check));
    }
  }

  /**
   * Explains why the session `id` could not take a nickname; `undefined`: nothing prevents it any
   * more. It deletes claims of sessions and registrations that do not exist: an older version of
   * the program knows only some of a nickname's claims, and may have left the others.
   *
   * @throws when KV does not answer.
   */
  async explainConflict(
    id: string,
    nick: string,
    claims: readonly string[],
  ): Promise<Rejection | undefined> {
    const { kv, clock, storage } = this.#parts;
    const account = storage.session(id)?.account ?? "";
    const taken: Claimed[] = [];
    const orphaned: Claimed[] = [];
    for (const claim of await readClaims(kv, clock, claims)) {
      const { check, holder } = claim;
      const isOwn = holder !== undefined && "connection" in holder && holder.connection === id;
      if (check.versionstamp === null || isOwn || isKeptBy(claim, account)) continue;
      (await this.#isHeld(claim) ? taken : orphaned).push(claim);
    }
    if (orphaned.length > 0) await deleteClaims(kv, clock, orphaned);
    if (taken.length === 0) return undefined;
    const folded = foldNickname(nick);
    const holder = taken.find(({ claim }) => claim === folded)?.holder;
    if (holder === undefined) return rejection.nicknameAlike(nick);
    if ("connection" in holder) return rejection.nicknameTaken(nick);
    return holder.account === folded
      ? rejection.nicknameRegistered(nick)
      : rejection.nicknameAlike(nick);
  }

  async #isHeld({ holder }: Claimed): Promise<boolean> {
    // A newer version of the program wrote it, in a form that this one does not know.
    if (holder === undefined) return true;
    if ("account" in holder) return (await this.#read(holder.account)).exists;
    return await this.#parts.storage.getRecordByConnection(holder.connection) !== undefined;
  }

  /** Takes an attempt of an address. Returns 0, or the milliseconds to wait. */
  #takeAttempt(address: string): number {
    const now = this.#parts.clock.monotonicMs();
    return this.#addresses.get(address, now).take(RATE_PER_ADDRESS, 1, now);
  }

  /** Returns a registration if `typed` is its password. */
  async #checkPassword(
    nick: string,
    typed: string,
    address: string,
  ): Promise<Result<ProvenAccount>> {
    const { kv, clock, passwords } = this.#parts;
    const usable = passwordFrom(typed, 1);
    if (!usable.ok) return reject("bad-password", usable.why);
    const wait = this.#takeAttempt(address);
    if (wait > 0) return rejection.tooManyAttempts(wait);
    const name = foldNickname(nick);
    const { account, check } = await this.#read(name);
    // That a nickname is registered is no secret: a login with it is told so.
    if (account === undefined) return rejection.notRegistered(nick);
    // Before the result is known: otherwise many attempts could be made at once.
    const waitForName = await takeShared(kv, clock, passwordAttemptsKey(name), RATE_PER_NICKNAME);
    if (waitForName > 0) return rejection.tooManyAttempts(waitForName);
    const { password } = usable;
    const isRight = await passwords.matches(password, account.password);
    if (isRight === undefined) return rejection.busy;
    if (!isRight) return rejection.wrongPassword;
    const now = clock.monotonicMs();
    this.#addresses.get(address, now).spend(RATE_PER_ADDRESS, -RIGHT_PASSWORD_REFUND, now);
    await withTimeout(clock, kv.delete(passwordAttemptsKey(name)));
    return { ok: true, name, account, check, password };
  }

  async #read(name: string): Promise<AccountRow> {
    const { kv, clock } = this.#parts;
    const key = accountKey(name);
    const { versionstamp, value } = await withTimeout(clock, kv.get<unknown>(key));
    const account = accountFrom(value);
    const isExpired = account !== undefined && account.until <= clock.now();
    return {
      account: isExpired ? undefined : account,
      exists: versionstamp !== null && !isExpired,
      check: { key, versionstamp },
    };
  }

  /** Returns what is to be committed to store a registration, and what it then keeps. */
  #ownership(name: string, account: AccountValue, check: Deno.AtomicCheck): Ownership {
    const { user, claims, until } = account;
    const expireIn = Math.max(1, until - this.#parts.clock.now());
    return {
      account: name,
      user,
      claims,
      expireIn,
      checks: [check],
      mutations: [{ type: "set", key: accountKey(name), value: account, expireIn }],
    };
  }
}

function changedFrom({ outcome, eventId, isTold }: ChangeResult): Changed {
  return outcome === "done" ? { ok: true, eventId, isTold } : rejection.notDone;
}
