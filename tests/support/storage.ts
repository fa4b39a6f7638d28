/** Storage over a feed, without history and without sockets. */
import { assertEquals } from "@std/assert";
import { type Clock, systemClock } from "../../chat/base/clock.ts";
import type { RoomEvent } from "../../chat/feed/events.ts";
import { Feed } from "../../chat/feed/feed.ts";
import { Confusables } from "../../chat/nicknames/confusables.ts";
import { foldNickname } from "../../chat/nicknames/names.ts";
import type { Ownership } from "../../chat/storage/claims.ts";
import type { NewUsername } from "../../chat/storage/identities.ts";
import { Storage, type StorageParts } from "../../chat/storage/storage.ts";
import { feedParts } from "./feed_parts.ts";

const confusables = new Confusables();

/** The parts of Storage that tests rarely change. */
export const STORAGE_DEFAULTS = {
  clock: systemClock as Clock,
  registrationMs: 86_400_000,
  emptyRoomMs: 86_400_000,
  maxRooms: 50,
  foldNickname,
  lookOfRoom: (name: string) => confusables.lookOfRoom(name),
};

/** Returns a nickname with its claims, as Handler passes it. */
export function named(nick: string, token?: string): NewUsername {
  return { nick, claims: confusables.claims(nick)!, token };
}

/** Returns a registration of a nickname, as Registrations passes it after a right password. */
export function ownership(nick: string, user: string): Ownership {
  const claims = confusables.claims(nick)!;
  return { account: claims[0]!, user, claims, expireIn: 86_400_000, checks: [], mutations: [] };
}

/** Returns a nickname of a registered user. */
export function signedIn(nick: string, user: string, token?: string): NewUsername {
  return { ...named(nick, token), owner: ownership(nick, user) };
}

/** Opens Storage over a feed. At the end it deletes its sessions and its lease. */
export async function openStorage(
  kv: Deno.Kv,
  instance = "01A",
  own: Partial<StorageParts> & { maxChecks?: number } = {},
) {
  const events: RoomEvent[] = [];
  const ids: string[] = [];
  const { maxChecks, ...parts } = own;
  const fed = await feedParts(kv, instance, {
    deliver(event, eventId) {
      storage.apply(event, eventId);
      events.push(event);
      ids.push(eventId);
      return 1;
    },
    warn: () => {},
    ...maxChecks === undefined ? {} : { maxChecks },
    ...parts.clock === undefined ? {} : { clock: parts.clock },
  });
  const feed = new Feed(fed);
  const storage = new Storage({ ...STORAGE_DEFAULTS, kv, feed, instance, ...parts });
  await feed.open();
  return {
    storage,
    feed,
    /** All events that were delivered, and their IDs. */
    events,
    eventIds: ids,
    /** Watches the commits of other instances. */
    share: () => feed.setShared(true),
    /** Logs a session in, and joins rooms. */
    async person(id: string, name: string | NewUsername, ...rooms: string[]) {
      storage.createConnection(id, "json");
      const username = typeof name === "string" ? named(name) : name;
      assertEquals((await storage.setUsername(id, username)).outcome, "done");
      for (const room of rooms) assertEquals((await storage.setRoom(id, room)).outcome, "done");
    },
    /** Ends as a crash does: the rows stay. */
    async crash() {
      storage.abandon();
      await feed.close();
    },
    /** Returns the events that were delivered since the last call, in short. */
    told: () => events.splice(0).map(short),
    [Symbol.asyncDispose]: async () => {
      await storage.deleteAll(false);
      await feed.close();
      await kv.delete(fed.lease.key);
      for await (const { key } of kv.list({ prefix: fed.lease.key })) await kv.delete(key);
    },
  };
}

/** Returns an event in short: "join red Ann", for a registered user "join red Ann@ann". */
export function short({ kind, room, nick, account, to, isQuiet }: RoomEvent): string {
  const user = account === "" ? nick : `${nick}@${account}`;
  const other = to && ` > ${to.isRegistered ? `${to.nick}@${to.user}` : to.nick}`;
  return `${isQuiet ? "quiet " : ""}${kind} ${room} ${user}${other ?? ""}`;
}

/** Returns the keys under a prefix, without it. */
export async function keysOf(kv: Deno.Kv, ...prefix: Deno.KvKey): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of kv.list({ prefix })) keys.push(key.slice(prefix.length).join(" "));
  return keys;
}

/** Returns the members of a room in short. */
export async function membersOf(storage: Storage, room: string): Promise<string[]> {
  const members = await storage.getMembers(room);
  return members.map(({ nick, user, isRegistered }) => isRegistered ? `${nick}@${user}` : nick);
}
