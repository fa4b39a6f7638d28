/**
 * Registrations: whose a nickname is across days, by a password.
 *
 * Between Handler and Storage. A registration is a row of its own; it has a nickname by keeping its
 * claims (claims.ts) while its owner is away, so that whoever logs in without a password cannot tell
 * it from one that is taken, and costs no more. Who comes back by a token needs no password.
 */
import { type Bucket, type Limiter, type Pace, refilled, waitFor } from "./attempts.ts";
import type { Rate } from "../base/token_bucket.ts";
import type { Claimed } from "../storage/claims.ts";
import type { Clock } from "../base/clock.ts";
import { withTimeout } from "../kv/retry.ts";
import type { Confusables } from "./confusables.ts";
import { foldNickname } from "./names.ts";
import { passwordFrom, type Passwords } from "./passwords.ts";
import { reject, type Rejection, rejection, type Result } from "../base/rejections.ts";
import type { Ownership, SessionRecord, Storage } from "../storage/storage.ts";
import { hashToken } from "../base/tokens.ts";

/** What registrations are made of. */
export interface RegistrationsParts {
  readonly kv: Deno.Kv;
  readonly clock: Clock;
  readonly storage: Storage;
  readonly confusables: Confusables;
  readonly passwords: Passwords;
  /** Limits what one address may try. */
  readonly limiter: Limiter;
  /** Milliseconds for which a registration is kept that nobody uses; 0: there are no new ones. */
  readonly lifetime: number;
  /** How many nicknames an address may register; `undefined`: as many as it likes. */
  readonly registration: Rate | undefined;
}

/** A registration, as it stands in KV. */
interface Registration {
  /** As it is written. */
  readonly nick: string;
  readonly password: string;
  readonly claims: readonly string[];
  /** Until when it is kept, in Unix milliseconds: KV may keep rows longer. */
  readonly until: number;
}

/** A registration that was found, and holds as long as its row is as it was. */
interface Found {
  readonly account: Registration;
  readonly check: Deno.AtomicCheck;
}

/** Wrong passwords for one nickname, by whomever, on all instances together. */
export const RATE_PER_NICKNAME: Pace = { burst: 10, every: 60_000 };

/** Passwords from one address. */
export const RATE_PER_ADDRESS: Pace = { burst: 10, every: 20_000 };

/**
 * The part of a try that a right password gets back. It costs as much work as a wrong one (a quarter
 * of a second), so it counts; but a school has one address: 40 people may come at once.
 */
export const RIGHT_PASSWORD_REFUND = 0.75;

/** How often a row may change under the hands of whoever changes it. */
const MAX_TRIES = 5;

/** Registrations, for all connections of an instance. */
export class Registrations {
  readonly #parts: RegistrationsParts;

  constructor(parts: RegistrationsParts) {
    this.#parts = parts;
  }

  /**
   * Registers the nickname that a connection has for whoever knows the password. `countedFor` is the
   * address for which that is counted; `undefined`: it is not.
   */
  async register(
    record: SessionRecord,
    typed: string,
    address: string,
    countedFor: string | undefined,
  ): Promise<Result> {
    const { storage, clock, lifetime } = this.#parts;
    if (lifetime === 0) return rejection.registrationOff;
    if (record.held.account !== "") return rejection.registeredAlready(record.nick);
    const hashed = await this.#hash(typed, address);
    if (!hashed.ok) return hashed;
    const { nick, held: { claims } } = record;
    const account = foldNickname(nick);
    const row = await this.#row(account);
    // An older version may have let somebody in over it.
    if (row.isThere) return rejection.nicknameRegistered(nick);
    const wait = await this.#chargeRegistration(countedFor);
    if (wait > 0) return rejection.tooManyRegistrations(wait);
    const until = clock.now() + lifetime;
    const { outcome } = await storage.keepClaims(record.id, {
      ...{ account, claims, checks: [row.check] },
      mutations: [this.#put(account, { nick, password: hashed.hash, claims, until })],
    });
    return outcome === "done" ? { ok: true } : rejection.notDone;
  }

  /**
   * Finds out whether somebody may use a nickname that is registered. `spelling` is how it is to be
   * written.
   */
  async prove(
    nick: string,
    typed: string,
    address: string,
  ): Promise<Result<{ owner: Ownership; spelling: string }>> {
    const { clock, confusables, passwords, lifetime } = this.#parts;
    const checked = await this.#checked(nick, typed, address);
    if (!checked.ok) return checked;
    const { account: name, found: { account, check }, password } = checked;
    const claims = confusables.claims(nick) ?? [];
    const isCovered = claims.length > 0 && claims.every((each) => account.claims.includes(each));
    const stored = account.password;
    // Should this be too much just now, the next time will do.
    const fresh = passwords.isOutdated(stored) ? await passwords.hash(password) : undefined;
    const until = Math.max(account.until, clock.now() + lifetime);
    const owner = {
      ...{ account: name, claims: account.claims, checks: [check] },
      mutations: [this.#put(name, { ...account, password: fresh ?? stored, until })],
    };
    return { ok: true, owner, spelling: isCovered ? nick : account.nick };
  }

  /**
   * Changes the password of the registration that a connection has identified itself for. With the
   * hash of a token, only that one resumes the connection from now on.
   */
  async changePassword(
    record: SessionRecord,
    typed: string,
    fresh: string,
    address: string,
    token?: string,
  ): Promise<Result> {
    if (record.held.account === "") return rejection.notIdentified;
    const usable = passwordFrom(fresh);
    if (!usable.ok) return reject("bad-password", usable.why);
    const checked = await this.#checked(record.held.account, typed, address);
    if (!checked.ok) return checked;
    const hash = await this.#parts.passwords.hash(usable.password);
    if (hash === undefined) return rejection.busy;
    const { account, found } = checked;
    return await this.#keep(record, account, found, [
      this.#put(account, { ...found.account, password: hash }),
    ], token);
  }

  /** Gives up the registration that a connection has identified itself for. */
  async unregister(record: SessionRecord, typed: string, address: string): Promise<Result> {
    if (record.held.account === "") return rejection.notIdentified;
    const checked = await this.#checked(record.held.account, typed, address);
    if (!checked.ok) return checked;
    const { account, found } = checked;
    return await this.#keep(record, "", found, [{ type: "delete", key: accountKey(account) }]);
  }

  /**
   * Why a nickname could not be had; `undefined`: nothing stands in its way any more. Claims of
   * connections and registrations that are not there are freed: an older version, which knows only
   * some of them, may have swept the rest.
   */
  async whyTaken({ id }: SessionRecord, nick: string): Promise<Rejection | undefined> {
    const { storage } = this.#parts;
    const taken: Claimed[] = [];
    const inVain: Claimed[] = [];
    for (const each of await storage.claimed(nick)) {
      const { check: { versionstamp }, holder } = each;
      const isOwn = holder !== undefined && "connection" in holder && holder.connection === id;
      if (versionstamp === null || isOwn) continue;
      (await this.#isHeld(each) ? taken : inVain).push(each);
    }
    if (inVain.length > 0) await storage.freeClaims(inVain);
    if (taken.length === 0) return undefined;
    const folded = foldNickname(nick);
    const itself = taken.find(({ claim }) => claim === folded);
    if (itself?.holder === undefined) return rejection.nicknameAlike(nick);
    if ("connection" in itself.holder) return rejection.nicknameTaken(nick);
    return itself.holder.account === folded
      ? rejection.nicknameRegistered(nick)
      : rejection.nicknameAlike(nick);
  }

  async #isHeld({ holder }: Claimed): Promise<boolean> {
    // Of a version that is newer than this one: not ours to judge.
    if (holder === undefined) return true;
    if ("account" in holder) return (await this.#row(holder.account)).isThere;
    return await this.#parts.storage.getRecordByConnection(holder.connection) !== undefined;
  }

  async #keep(
    record: SessionRecord,
    account: string,
    { account: { claims }, check }: Found,
    mutations: Deno.KvMutation[],
    token?: string,
  ): Promise<Result> {
    const { storage } = this.#parts;
    const ownership = { account, claims, checks: [check], mutations };
    const { outcome } = await storage.keepClaims(record.id, ownership, token);
    return outcome === "done" ? { ok: true } : rejection.notDone;
  }

  async #hash(typed: string, address: string): Promise<Result<{ hash: string }>> {
    const usable = passwordFrom(typed);
    if (!usable.ok) return reject("bad-password", usable.why);
    const wait = this.#parts.limiter.take(address);
    if (wait > 0) return rejection.tooManyAttempts(wait);
    const hash = await this.#parts.passwords.hash(usable.password);
    return hash === undefined ? rejection.busy : { ok: true, hash };
  }

  /** A registration whose password this is. */
  async #checked(
    nick: string,
    typed: string,
    address: string,
  ): Promise<Result<{ account: string; found: Found; password: string }>> {
    const { limiter, passwords } = this.#parts;
    const usable = passwordFrom(typed, 1);
    if (!usable.ok) return reject("bad-password", usable.why);
    const wait = limiter.take(address);
    if (wait > 0) return rejection.tooManyAttempts(wait);
    const name = foldNickname(nick);
    const { account, check } = await this.#row(name);
    // That a nickname is registered is no secret: whoever tries to log in with it is told.
    if (account === undefined) return rejection.notRegistered(nick);
    const waitForName = await this.#charge(attemptsKey(name), RATE_PER_NICKNAME);
    if (waitForName > 0) return rejection.tooManyAttempts(waitForName);
    const isRight = await passwords.matches(usable.password, account.password);
    if (isRight === undefined) return rejection.busy;
    if (!isRight) return rejection.wrongPassword;
    limiter.give(address, RIGHT_PASSWORD_REFUND);
    await this.#commit(this.#parts.kv.atomic().delete(attemptsKey(name)));
    return { ok: true, account: name, found: { account, check }, password: usable.password };
  }

  /** Takes one of the registrations that an address has. The address is not stored, but its hash. */
  async #chargeRegistration(address: string | undefined): Promise<number> {
    const rate = this.#parts.registration;
    if (rate === undefined || address === undefined) return 0;
    const { burst, ms } = rate;
    return await this.#charge(["registrations", hashToken(address)], { burst, every: ms / burst });
  }

  /**
   * Takes one of the tries that a key has, on all instances together, before it is known whether it is
   * a good one: otherwise many at once could be made. Returns the milliseconds to wait if there is
   * none.
   */
  async #charge(key: Deno.KvKey, limiter: Pace): Promise<number> {
    const { kv, clock } = this.#parts;
    const { burst, every } = limiter;
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const { versionstamp, value } = await withTimeout(clock, kv.get<unknown>(key));
      const now = clock.now();
      const left = refilled(limiter, bucketFrom(value), now);
      const wait = waitFor(limiter, left);
      if (wait > 0) return wait;
      const charged = await this.#commit(
        kv.atomic().check({ key, versionstamp })
          .set(key, { left: left - 1, at: now }, { expireIn: burst * every }),
      );
      if (charged) return 0;
    }
    // So many others try at the same time.
    return every;
  }

  async #commit(operation: Deno.AtomicOperation): Promise<boolean> {
    return (await withTimeout(this.#parts.clock, operation.commit())).ok;
  }

  /** A registration, if there is one that can be read, and what holds as long as that is so. */
  async #row(
    name: string,
  ): Promise<{ account: Registration | undefined; isThere: boolean; check: Deno.AtomicCheck }> {
    const { kv, clock } = this.#parts;
    const key = accountKey(name);
    const { versionstamp, value } = await withTimeout(clock, kv.get<unknown>(key));
    const account = accountFrom(value);
    const isOver = account !== undefined && account.until <= clock.now();
    return {
      account: isOver ? undefined : account,
      isThere: versionstamp !== null && !isOver,
      check: { key, versionstamp },
    };
  }

  #put(name: string, account: Registration): Deno.KvMutation {
    const expireIn = Math.max(1, account.until - this.#parts.clock.now());
    return { type: "set", key: accountKey(name), value: account, expireIn };
  }
}

function accountKey(name: string): Deno.KvKey {
  return ["account", name];
}

function attemptsKey(name: string): Deno.KvKey {
  return ["attempts", name];
}

/** Rows outlive programs: they are read as something unknown. */
function accountFrom(value: unknown): Registration | undefined {
  const { nick, password, claims, until } = (value ?? {}) as Record<string, unknown>;
  if (typeof nick !== "string" || typeof password !== "string") return undefined;
  if (!Array.isArray(claims) || typeof until !== "number") return undefined;
  return { nick, password, claims: claims.map(String), until };
}

function bucketFrom(value: unknown): Bucket | undefined {
  const { left, at } = (value ?? {}) as Record<string, unknown>;
  return typeof left === "number" && typeof at === "number" ? { left, at } : undefined;
}
