/** An instance with feed, storage, history and moderation, but without sockets. */
import { assertEquals } from "@std/assert";
import { openMetrics } from "../../chat/base/metrics.ts";
import type { CloseReason } from "../../chat/base/close_codes.ts";
import { type Clock, systemClock } from "../../chat/base/clock.ts";
import { limitsFrom } from "../../chat/base/limits.ts";
import type { Result } from "../../chat/base/rejections.ts";
import type { LoggedEvent, RoomEvent } from "../../chat/feed/events.ts";
import { Feed, type FeedParts } from "../../chat/feed/feed.ts";
import { History } from "../../chat/history/history.ts";
import { retentionOf } from "../../chat/history/retention.ts";
import { Moderation, type ModerationParts } from "../../chat/moderation/moderation.ts";
import { Confusables } from "../../chat/nicknames/confusables.ts";
import { foldNickname } from "../../chat/nicknames/names.ts";
import { Users } from "../../chat/nicknames/users.ts";
import { accountOf, type Session } from "../../chat/storage/records.ts";
import { Storage } from "../../chat/storage/storage.ts";
import { accountKey } from "../../chat/kv/keys.ts";
import { feedParts } from "./feed_parts.ts";
import { eventually } from "./wait.ts";
import { ownership, STORAGE_DEFAULTS } from "./storage.ts";

const confusables = new Confusables();
const WEEK_MS = 7 * 86_400_000;

/** The operator of all tests. Its user ID is `01OLGA`. */
export const OPERATOR = "Olga";

/** What a test may change. */
export interface ModeratedOptions extends Partial<ModerationParts> {
  readonly feed?: Partial<FeedParts>;
  /** The KV handle of history. Default: the same. */
  readonly historyKv?: Deno.Kv;
}

/** Opens an instance. At the end it deletes its sessions and its lease. */
export async function openModerated(kv: Deno.Kv, instance = "01A", own: ModeratedOptions = {}) {
  const { feed: feedOptions, historyKv = kv, ...options } = own;
  const clock: Clock = options.clock ?? systemClock;
  const delivered: LoggedEvent[] = [];
  const closed: { id: string; why: CloseReason }[] = [];
  const warnings: string[] = [];
  const warn = (message: string) => void warnings.push(message);
  const fed = await feedParts(kv, instance, {
    clock,
    warn,
    deliver(event, eventId, shard) {
      moderation.apply(event);
      storage.apply(event, eventId);
      history.add(event, eventId, shard);
      delivered.push({ event, eventId });
      moderation.carryOut(event);
      return 1;
    },
    commitDelivered: (shard, versionstamp) => {
      const slow = history.commitDelivered(shard, versionstamp);
      return slow === undefined ? 0 : slow.then(() => 0);
    },
    isAllowed: (event) => moderation.isAllowed(event),
    ...feedOptions,
  });
  const feed: Feed = new Feed(fed);
  const shards = fed.shards.length;
  const shardOf = (name: string) => feed.shardOf(name);
  const storage: Storage = new Storage({ ...STORAGE_DEFAULTS, kv, feed, instance, clock });
  const history: History = new History({
    metrics: openMetrics(),
    kv: historyKv,
    clock,
    retention: retentionOf(WEEK_MS, 30_000, WEEK_MS),
    maxBytes: Infinity,
    shards,
    shardOf,
    feedRowMs: 600_000,
    submit: (name, operation) => feed.submit(name, operation),
    warn,
  });
  const moderation: Moderation = new Moderation({
    kv,
    clock,
    storage,
    history,
    users: new Users({ storage, limits: limitsFrom() }),
    operators: [OPERATOR],
    operatorSecret: undefined,
    roomOwners: false,
    rulesMs: WEEK_MS,
    shards,
    shardOf,
    closeSession: (id, why) => void closed.push({ id, why }),
    closeBanned: () => {},
    ignoredChanged: () => {},
    ...options,
  });
  history.start(await feed.open());
  await moderation.start();
  const server = {
    kv,
    feed,
    storage,
    history,
    moderation,
    delivered,
    closed,
    warnings,
    /** Watches the commits of other instances. */
    share: () => feed.setShared(true),
    /** Returns a session of this instance. */
    session(id: string): Session {
      const session = storage.session(id);
      if (session === undefined) throw new Error(`no session ${id}`);
      return session;
    },
    /** Takes a nickname, as a client does. Returns "done", or the code of the rejection. */
    async name(id: string, nick: string): Promise<string> {
      const claims = confusables.claims(nick)!;
      const gate = moderation.mayBecome(server.session(id), { nick, claims });
      const { outcome } = await storage.setUsername(id, { nick, claims, admit: gate.admit });
      return outcome === "refused" ? gate.rejection!.code : outcome;
    },
    /** Signs in to the registration of a nickname, whose user ID is `01<NICK>`. */
    async identify(id: string, nick: string, user = userOf(nick)): Promise<string> {
      const claims = confusables.claims(nick)!;
      const until = clock.now() + WEEK_MS;
      await kv.set(accountKey(foldNickname(nick)), { nick, user, password: "", claims, until });
      const gate = moderation.mayBecome(server.session(id), { nick, claims, user });
      const owner = ownership(nick, user);
      const { outcome } = await storage.setUsername(id, { nick, claims, owner, admit: gate.admit });
      return outcome === "refused" ? gate.rejection!.code : outcome;
    },
    /** Enters a room, as a client does. */
    async join(id: string, room: string): Promise<string> {
      const gate = moderation.enter(server.session(id));
      const { outcome } = await storage.setRoom(id, room, gate.admit);
      return outcome === "refused" ? gate.rejection!.code : outcome;
    },
    /** Logs an unregistered user in, and joins rooms. `address`: the hash of its address. */
    async guest(id: string, nick: string, rooms: readonly string[] = [], address = "") {
      storage.createConnection(id, "json", address);
      assertEquals(await server.name(id, nick), "done");
      for (const room of rooms) assertEquals(await server.join(id, room), "done");
      return server.session(id);
    },
    /** Logs a registered user in, and joins rooms. */
    async member(id: string, nick: string, rooms: readonly string[] = [], address = "") {
      storage.createConnection(id, "json", address);
      assertEquals(await server.identify(id, nick), "done");
      for (const room of rooms) assertEquals(await server.join(id, room), "done");
      return server.session(id);
    },
    /** Makes a registered user a moderator of a room. */
    async appoint(room: string, nick: string) {
      const rules = { v: 1, moderators: [[userOf(nick), nick]] };
      const entry = await kv.get<{ moderators: string[][] }>(["room_rules", room]);
      const moderators = [...entry.value?.moderators ?? [], ...rules.moderators];
      await kv.set(["room_rules", room], { ...entry.value, v: 1, moderators });
    },
    /** Says something, as a client does. Resolves with "done", or the code of the rejection. */
    say(id: string, room: string, text: string, kind: "message" | "action" = "message") {
      const session = server.session(id);
      if (!session.rooms.has(room)) return Promise.resolve("not-in-room");
      const why = moderation.maySay(session, room);
      if (why !== undefined) return Promise.resolve(why.code as string);
      return server.submit({ ...eventOf(session, room, text), kind });
    },
    /** Submits an event without asking moderation. */
    submit(event: RoomEvent): Promise<string> {
      return new Promise<string>((resolve) =>
        feed.submit(event.room, {
          events: [event],
          settle(outcome) {
            const session = storage.session(event.id);
            const why = session && outcome === "conflict"
              ? moderation.whyConflict(session, event.room)
              : undefined;
            resolve(why?.code ?? outcome);
          },
        })
      );
    },
    /** Resolves when everything that was committed is delivered, and what follows from it is done. */
    async settled() {
      await feed.reached();
      await eventually(() => moderation.isIdle, "what follows from acts is done");
      await feed.reached();
    },
    /** Returns what was told in a room, in short. */
    told(room: string): string[] {
      return delivered.filter(({ event }) => event.room === room && !event.isQuiet)
        .map(({ event }) => shortAct(event));
    },
    /** Ends as a crash does: the rows stay. */
    async crash() {
      storage.abandon();
      await feed.close();
      await history.close();
    },
    async [Symbol.asyncDispose]() {
      await storage.deleteAll(false);
      await feed.flush();
      await feed.close();
      await history.close();
      await kv.delete(fed.lease.key);
      for await (const { key } of kv.list({ prefix: fed.lease.key })) await kv.delete(key);
    },
  };
  return server;
}

/** An instance of {@linkcode openModerated}. */
export type Moderated = Awaited<ReturnType<typeof openModerated>>;

/** Returns the user ID of a registered nickname in these tests. */
export function userOf(nick: string): string {
  return `01${nick.toUpperCase()}`;
}

/** Returns a message of a session. */
export function eventOf(session: Session, room: string, text: string): RoomEvent {
  const { id, nick } = session;
  const time = Date.now();
  return { kind: "message", room, id, account: accountOf(session), nick, text, time, cid: "" };
}

/** Returns an event in short: "Bob: hi", "join Bob", "Ann ban Bob". */
export function shortAct({ kind, nick, text, target, to }: RoomEvent): string {
  if (kind === "message") return `${nick}: ${text}`;
  if (kind === "act") return `${nick} ${target}${to === undefined ? "" : ` ${to.nick}`}`;
  return `${kind} ${nick}`;
}

/** Returns the code of a rejection, or "ok". */
export function codeOf(result: Result): string {
  return result.ok ? "ok" : result.code;
}
