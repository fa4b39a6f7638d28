/**
 * Carries acts out: checks who may do it and to whom, and commits what the act changes in one operation
 * with the event that tells of it.
 *
 * The commit depends on the last act in the shard, so of two acts of the same moment the second one is
 * planned again. Messages that an act deletes are in deleting.ts. What follows from an act, such as that
 * a session leaves the room, each instance does when the event is delivered (moderation.ts).
 */
import { type ActRow, ACTS } from "../base/acts.ts";
import type { Clock } from "../base/clock.ts";
import type { Network } from "../base/networks.ts";
import { type Rejection, rejection, type Result } from "../base/rejections.ts";
import type { Operation } from "../feed/batch.ts";
import type { RoomEvent } from "../feed/events.ts";
import { DIRECT_FEED_NAME } from "../kv/keys.ts";
import { NO_END, NO_STANDING, type RoomRules } from "../kv/moderation_values.ts";
import { backOff } from "../kv/retry.ts";
import { accountOf, type Session } from "../storage/records.ts";
import type { Storage } from "../storage/storage.ts";
import { type ActRequest, type CheckedRequest, checkedRequest } from "./act_request.ts";
import type { Deleting } from "./deleting.ts";
import { rulesAfter, standingAfter } from "./effects.ts";
import { type BannedNetworks, putNetworkBan } from "./networks.ts";
import type { Roles } from "./roles.ts";
import type { FoundStanding, ModerationRows, Reading } from "./rows.ts";
import { nameOf, type Target, type Targets } from "./targets.ts";

/** The result of an act: the ID of its event, and the event. */
export type Acted = Result<{ eventId: string; event: RoomEvent }>;

/** What {@linkcode Acting} is made of. */
export interface ActingParts {
  readonly clock: Clock;
  readonly storage: Storage;
  readonly roles: Roles;
  readonly rows: ModerationRows;
  readonly targets: Targets;
  readonly networks: BannedNetworks;
  readonly deleting: Deleting;
  /** The number of shards of the feed, and the shard of a name. */
  readonly shards: number;
  shardOf(name: string): number;
}

/** What the commit of an act changes besides telling it. */
type Changes = Result<{ mutations: readonly Deno.KvMutation[]; checks?: Deno.AtomicCheck[] }>;

/** Moderators of a room: they are one KV value. */
const MAX_MODERATORS = 100;

/** Standings that one act changes, at most. */
const MAX_CHANGED_STANDINGS = 200;

/** Attempts of an act while other acts are committed. */
const MAX_ATTEMPTS = 20;

/** Carries acts out, for one instance. */
export class Acting {
  readonly #parts: ActingParts;

  constructor(parts: ActingParts) {
    this.#parts = parts;
  }

  /**
   * Carries an act out.
   *
   * @throws when KV cannot be read.
   */
  async act(session: Session, request: ActRequest): Promise<Acted> {
    const checked = checkedRequest(request);
    if (!checked.ok) return checked;
    const { checked: words } = checked;
    const row: ActRow = ACTS[words.act];
    if (words.act === "delete" || words.act === "purge") {
      const allowed = await this.#authorise(session, words, row);
      return allowed.ok ? await this.#delete(session, words, allowed.reading) : allowed;
    }
    for (let attempts = 1; attempts <= MAX_ATTEMPTS; attempts++) {
      const allowed = await this.#authorise(session, words, row);
      if (!allowed.ok) return allowed;
      const planned = await this.#plan(session, words, row, allowed.reading);
      if (!planned.ok) return planned;
      const { event, operation } = planned;
      const name = words.room || DIRECT_FEED_NAME;
      const { outcome, eventId } = await this.#parts.storage.submit(name, operation);
      if (outcome === "done") return { ok: true, eventId: eventId!, event };
      if (outcome === "failed") break;
      await backOff(this.#parts.clock, attempts);
    }
    return rejection.notDone;
  }

  /** Returns what KV says of the place, if the session may do the act there. */
  async #authorise(
    session: Session,
    { room }: CheckedRequest,
    row: ActRow,
  ): Promise<Result<{ reading: Reading }>> {
    const { rows, roles, shardOf } = this.#parts;
    const actor = { user: session.user, isRegistered: true, address: "", claims: [] };
    const reading = await rows.read(room, shardOf(room || DIRECT_FEED_NAME), actor);
    if (roles.isOperator(session)) return { ok: true, reading };
    if (row.by === "member") {
      const isMember = room === "" || session.rooms.has(room);
      return isMember ? { ok: true, reading } : rejection.notInThatRoom(room);
    }
    if (room === "") return rejection.notAnOperator;
    if (row.by === "operator") return rejection.notAnOperator;
    const isModerator = session.account !== "" && reading.rules.moderators.has(session.user);
    if (!isModerator) return rejection.notAModerator(room);
    const { ban, mute } = reading.standings[0]!.standing;
    if (ban !== undefined) {
      return rejection.bannedFromRoom(room, ban.reason, this.#waitOf(ban.until));
    }
    if (mute !== undefined) return rejection.muted(room, mute.reason, this.#waitOf(mute.until));
    return { ok: true, reading };
  }

  async #plan(
    session: Session,
    words: CheckedRequest,
    row: ActRow,
    reading: Reading,
  ): Promise<Result<{ event: RoomEvent; operation: Omit<Operation, "settle"> }>> {
    const { storage } = this.#parts;
    const { room } = words;
    const event = this.#eventOf(session, words);
    const planned = words.banned !== undefined
      ? this.#planNetwork(event, words.banned)
      : words.user === undefined
      ? this.#planRoom(event, reading)
      : await this.#planUser(session, words, row, event, reading);
    if (!planned.ok) return planned;
    const { mutations, checks = [], told = event } = planned;
    const { events, copies } = this.#copiesOf(told, room);
    return {
      ok: true,
      event: told,
      operation: {
        checks: [...storage.takeoverCheck(session), ...checks],
        mutations,
        events,
        copies,
        lastAct: reading.lastAct,
      },
    };
  }

  #planNetwork(event: RoomEvent, network: Network): Changes & { told?: RoomEvent } {
    const isBan = event.target === "ban";
    if (!isBan && !this.#parts.networks.has(network)) {
      return rejection.notInState(network.text, "banned");
    }
    const { ban } = standingAfter(NO_STANDING, event);
    return { ok: true, mutations: [putNetworkBan(network, ban, event.time)] };
  }

  #planRoom(event: RoomEvent, { rules, rulesCheck }: Reading): Changes & { told?: RoomEvent } {
    const { rows } = this.#parts;
    const mutations = rows.putRules(event.room, rulesAfter(rules, event));
    return { ok: true, mutations, checks: [rulesCheck] };
  }

  async #planUser(
    session: Session,
    words: CheckedRequest,
    row: ActRow,
    event: RoomEvent,
    reading: Reading,
  ): Promise<Changes & { told?: RoomEvent }> {
    const { targets } = this.#parts;
    const { act, room, user: sought } = words;
    const found = await targets.find(sought!);
    if (!found.ok) return await this.#planGone(words, event, reading, found);
    const { target } = found;
    const why = this.#whyNot(session, words, row, target, reading.rules);
    if (why !== undefined) return why;
    const told = { ...event, to: target.ref };
    switch (act) {
      case "mod":
      case "unmod":
        return this.#planModerator(told, reading);
      case "report":
        return { ok: true, mutations: [], told };
      case "unban":
      case "unmute": {
        const own = await this.#standingsOf(room, target);
        const lifted = await this.#lift(words, told, own);
        return lifted.ok ? { ...lifted, told } : lifted;
      }
      default: {
        const all = await this.#standingsOf(room, target);
        // A kick and an invitation are about the user alone.
        const standings = act === "ban" || act === "mute" ? all : all.slice(0, 1);
        return { ok: true, mutations: this.#change(room, standings, told), told };
      }
    }
  }

  /** Plans the end of what was stored about a user that has gone. */
  async #planGone(
    words: CheckedRequest,
    event: RoomEvent,
    reading: Reading,
    notFound: Rejection,
  ): Promise<Changes & { told?: RoomEvent }> {
    const { act, room, user: sought } = words;
    if (act === "unmod") {
      const name = nameOf(sought!).toLowerCase();
      const moderator = [...reading.rules.moderators].find(([user, nick]) =>
        user === nameOf(sought!) || nick.toLowerCase() === name
      );
      if (moderator === undefined) return notFound;
      const to = { user: moderator[0], nick: moderator[1], isRegistered: true };
      return this.#planModerator({ ...event, to }, reading);
    }
    if (act !== "unban" && act !== "unmute") return notFound;
    const stored = await this.#parts.targets.findStored(sought!, room);
    if (stored === undefined) return notFound;
    const told = { ...event, to: stored.ref };
    const lifted = await this.#lift(words, told, stored.standings);
    return lifted.ok ? { ...lifted, told } : lifted;
  }

  #planModerator(event: RoomEvent, { rules, rulesCheck }: Reading): Changes & { told?: RoomEvent } {
    const { room, to } = event;
    const isModerator = rules.moderators.has(to!.user);
    if (event.target === "unmod" && !isModerator) {
      return rejection.notInState(to!.nick, "a moderator here");
    }
    if (event.target === "mod" && !isModerator && rules.moderators.size >= MAX_MODERATORS) {
      return rejection.badAct(`A room can have ${MAX_MODERATORS} moderators.`);
    }
    const mutations = this.#parts.rows.putRules(room, rulesAfter(rules, event));
    return { ok: true, mutations, checks: [rulesCheck], told: event };
  }

  /** Plans the end of a ban or a mute, under all subjects that it was stored for. */
  async #lift(
    { act, room, user: sought }: CheckedRequest,
    event: RoomEvent,
    own: readonly FoundStanding[],
  ): Promise<Changes> {
    const isLifted = ({ standing }: FoundStanding) =>
      (act === "unban" ? standing.ban : standing.mute) !== undefined;
    // The user may have another ID, address or spelling by now.
    const stored = await this.#parts.targets.findStored(sought!, room);
    const all = [...own, ...stored?.standings ?? []].filter(isLifted);
    const lifted = [...new Map(all.map((found) => [found.subject, found])).values()];
    if (lifted.length === 0) {
      return rejection.notInState(event.to!.nick, act === "unban" ? "banned" : "muted");
    }
    return {
      ok: true,
      mutations: this.#change(room, lifted.slice(0, MAX_CHANGED_STANDINGS), event),
    };
  }

  #change(room: string, standings: readonly FoundStanding[], event: RoomEvent): Deno.KvMutation[] {
    return standings.map(({ subject, standing }) =>
      this.#parts.rows.putStanding(room, subject, standingAfter(standing, event))
    );
  }

  /** Returns the standings of a user in a place, also under the address and nickname. */
  async #standingsOf(room: string, target: Target): Promise<readonly FoundStanding[]> {
    const { rows, shardOf } = this.#parts;
    const { standings } = await rows.read(room, shardOf(room || DIRECT_FEED_NAME), target);
    return standings;
  }

  /** Returns why an act may not be done to a user; `undefined`: it may. */
  #whyNot(
    session: Session,
    { act, room }: CheckedRequest,
    row: ActRow,
    target: Target,
    rules: RoomRules,
  ): Rejection | undefined {
    const { nick } = target.ref;
    if (row.needsRegistered && !target.isRegistered) return rejection.notRegisteredUser(nick);
    if (act === "report" && target.user === session.user) return rejection.notToYourself;
    const why = row.isAgainst && this.#parts.targets.whyProtected(session, target, rules);
    if (why) return why;
    if (act !== "kick") return undefined;
    if (room === "") return target.isOnline ? undefined : rejection.notOnline(nick);
    return target.rooms.includes(room) ? undefined : rejection.notInRoomUser(nick, room);
  }

  async #delete(session: Session, words: CheckedRequest, { rules }: Reading): Promise<Acted> {
    const { deleting, targets } = this.#parts;
    const { room } = words;
    const event = this.#eventOf(session, words);
    const copiesOf = (told: RoomEvent) => this.#copiesOf(told, room);
    if (words.act === "delete") {
      const message = await deleting.find(room, words.message ?? "");
      if (!message.ok) return message;
      const found = await targets.find({ user: message.author.user });
      const why = found.ok ? targets.whyProtected(session, found.target, rules) : undefined;
      if (why !== undefined) return why;
      const told = { ...event, to: message.author, subject: words.message };
      return await deleting.one(session, told, copiesOf(told));
    }
    const found = await targets.find(words.user!);
    const why = found.ok ? targets.whyProtected(session, found.target, rules) : undefined;
    if (why !== undefined) return why;
    // An unregistered user may have gone.
    const to = found.ok ? found.target.ref : await deleting.findAuthor(room, words.user!);
    if (to === undefined) return rejection.noSuchUser(nameOf(words.user!));
    return await deleting.last(session, { ...event, to }, copiesOf);
  }

  #eventOf(session: Session, words: CheckedRequest): RoomEvent {
    const { act, room, text, seconds, count, banned } = words;
    const time = this.#parts.clock.now();
    return {
      kind: "act",
      room,
      id: session.id,
      account: accountOf(session),
      nick: session.nick,
      text,
      time,
      cid: "",
      target: act,
      until: seconds === undefined ? undefined : time + seconds * 1000,
      subject: banned?.text,
      count,
    };
  }

  /**
   * Returns an act and its copies. An act on the whole chat is told to every shard, so that each has it at
   * one place in its order. An act in a room is told to the shard that has the record of all acts.
   */
  #copiesOf(
    event: RoomEvent,
    room: string,
  ): { events: RoomEvent[]; copies: ReadonlyMap<number, RoomEvent> } {
    const { shards, shardOf } = this.#parts;
    const copy: RoomEvent = { ...event, isQuiet: true };
    const record = shardOf(DIRECT_FEED_NAME);
    const own = room === "" ? record : shardOf(room);
    if (room === "") {
      const others = Array.from({ length: shards }, (_, i) => i).filter((shard) => shard !== own);
      return { events: [event], copies: new Map(others.map((shard) => [shard, copy])) };
    }
    return own === record
      ? { events: [event, copy], copies: new Map() }
      : { events: [event], copies: new Map([[record, copy]]) };
  }

  #waitOf(until: number): number | undefined {
    return until === NO_END ? undefined : Math.max(1, until - this.#parts.clock.now());
  }
}
