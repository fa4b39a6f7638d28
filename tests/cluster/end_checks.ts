/**
 * What must hold in KV when a simulated run is quiet, and when all users have gone: the rows are those
 * that the feed asks for, histories show every message in its last state, and nothing is left over.
 */
import { assert, assertEquals } from "@std/assert";
import type { LoggedEvent } from "../../chat/feed/events.ts";
import { decodeEvent } from "../../chat/history/rows.ts";
import { conversationOf, type Stream, type StreamKind } from "../../chat/kv/keys.ts";
import { userFrom } from "../../chat/kv/values.ts";
import { Confusables } from "../../chat/nicknames/confusables.ts";
import { checkedHistory, connectionKeys } from "../support/kv_rows.ts";
import type { FeedLog, LoggedMessage } from "./feed_log.ts";
import { ROOMS } from "./people.ts";

/** A row of the sample's table. */
interface TableRow {
  readonly id: string;
  readonly sort: string;
  readonly value: { readonly nick: string; readonly account?: string };
}

async function tableRows(kv: Deno.Kv): Promise<TableRow[]> {
  return await Array.fromAsync(
    kv.list<TableRow["value"]>({ prefix: ["row"] }),
    ({ key, value }) => ({ id: String(key[1]), sort: String(key[2]), value }),
  );
}

async function keysOf(kv: Deno.Kv, ...prefix: string[]): Promise<string[]> {
  const keys = await Array.fromAsync(kv.list({ prefix }), ({ key }) => key[prefix.length]);
  return [...new Set(keys.map(String))];
}

/**
 * Checks who is online and where: rows, mirrors, counts, claims and the rows of users. `online` are the
 * sessions whose clients have been welcomed. `undecided` are connected clients that were told that
 * their login seemed to fail.
 */
export async function checkPresence(
  kv: Deno.Kv,
  log: FeedLog,
  { online, undecided }: { online: ReadonlySet<string>; undecided: ReadonlySet<string> },
): Promise<void> {
  const rows = await tableRows(kv);
  const nicks = rows.filter(({ sort }) => sort.startsWith("username_"));
  const ids = nicks.map(({ id }) => id).filter((id) => !undecided.has(id));
  assertEquals(ids.sort(), [...online].sort(), "the sessions online");
  const users = new Map(nicks.map(({ id, value }) => [id, value.account ?? id]));
  for (const room of ROOMS) {
    const seats = log.rooms.get(room) ?? new Map<string, string>();
    const stored = rows.filter(({ sort }) => sort === `room_${room}`);
    assertEquals(stored.map(({ id }) => id), [...seats.keys()].sort(), `the sessions in ${room}`);
    for (const { id, value } of stored) {
      assertEquals(value.account ?? id, seats.get(id), `the user of ${id} in ${room}`);
      assertEquals(users.get(id), seats.get(id), `the user of ${id}`);
    }
    const count = await kv.get<Deno.KvU64>(["room", room]);
    const number = Number(count.value?.value ?? 0n);
    assertEquals(number, log.membersOf(room).size, `the count of ${room}`);
  }
  for await (const { key: [, sort, id], value } of kv.list({ prefix: ["reverse_lookup"] })) {
    const row = rows.find((each) => each.id === id && each.sort === sort);
    assertEquals(row?.value, value as TableRow["value"], `the mirror of ${String(sort)}`);
  }
  const ended = await checkUsers(kv, log, users);
  // An `unregister` that seemed to fail ends no other session of the user.
  await checkClaims(kv, nicks.filter(({ value: { account = "" } }) => !ended.has(account)));
}

/**
 * Checks that the row of each registered user lists its sessions, and the rooms of each. Returns the
 * users whose registration has ended.
 */
async function checkUsers(
  kv: Deno.Kv,
  log: FeedLog,
  users: ReadonlyMap<string, string>,
): Promise<Set<string>> {
  const listed = new Set<string>(), ended = new Set<string>();
  for await (const { key, value } of kv.list({ prefix: ["user"] })) {
    const user = String(key[1]);
    const { account, sessions, rooms } = userFrom(value)!;
    if (account === "") ended.add(user);
    const own = [...users].filter(([, each]) => each === user).map(([id]) => id);
    assertEquals(sessions.map(({ id }) => id).sort(), own.sort(), `the sessions of ${user}`);
    const numbers = sessions.map(({ n }) => n);
    assertEquals(new Set(numbers).size, numbers.length, `the numbers of ${user}'s sessions`);
    for (const room of ROOMS) {
      const seats = log.rooms.get(room) ?? new Map<string, string>();
      const ids = (rooms.get(room) ?? []).map((n) => sessions.find((each) => each.n === n)?.id);
      const there = own.filter((id) => seats.has(id));
      assertEquals(ids.sort(), there.sort(), `the sessions of ${user} in ${room}`);
    }
    listed.add(user);
  }
  for (const [id, user] of users) {
    if (id !== user) assert(listed.has(user), `the user ${user} of ${id} has a row`);
  }
  return ended;
}

/**
 * Checks that each unregistered nickname in use has all its claims, each registration has its own, and
 * that there are no others.
 */
async function checkClaims(kv: Deno.Kv, nicks: readonly TableRow[]): Promise<void> {
  const confusables = new Confusables();
  const wanted: Record<string, unknown> = {};
  const claim = (name: string, holder: unknown) => {
    assert(wanted[name] === undefined, `${name} is claimed twice`);
    wanted[name] = holder;
  };
  for await (const { key, value } of kv.list<{ claims: string[] }>({ prefix: ["account"] })) {
    for (const name of value.claims) claim(name, { kept: key[1] });
  }
  for (const { id, value: { nick, account } } of nicks) {
    for (const name of confusables.claims(nick)!) {
      if (account === undefined) claim(name, id);
      else assert(wanted[name] !== undefined, `the registration of ${nick} keeps ${name}`);
    }
  }
  const claims: Record<string, unknown> = {};
  for await (const { key, value } of kv.list({ prefix: ["nick"] })) claims[String(key[1])] = value;
  assertEquals(claims, wanted, "claims");
}

/** Returns the events in the rows of a stream, in their order. */
export async function storedEvents(kv: Deno.Kv, stream: Stream): Promise<LoggedEvent[]> {
  const rows = await Array.fromAsync(kv.list<{ events: unknown[] }>({ prefix: [...stream] }));
  return rows.flatMap(({ value }) => value.events.map((each) => decodeEvent(each, stream)!));
}

/** A message in history: its ID and text, whether it is deleted, and the number of reactions. */
export type State = [id: string, text: string, isDeleted: boolean, reactions: number];

/** Returns what the order and the texts of messages are in history. */
export function lastStates(messages: readonly LoggedMessage[]): State[] {
  return messages.map(({ id, texts, isDeleted, reactions }) => [
    id,
    isDeleted ? "" : texts.at(-1)!,
    isDeleted,
    isDeleted ? 0 : reactions.size,
  ]);
}

function storedStates(entries: readonly LoggedEvent[]): State[] {
  return entries.map(({ eventId, event: { text, deletedAt, reactions } }) => [
    eventId,
    text,
    deletedAt !== undefined,
    reactions?.split(" ").length ?? 0,
  ]);
}

/** Returns the messages between registered users, by the name of their conversation. */
export function conversations(log: FeedLog): Map<string, LoggedMessage[]> {
  const found = new Map<string, LoggedMessage[]>();
  for (const message of log.messages.values()) {
    const { kind, account, to } = message.event;
    if (kind !== "direct" || account === "" || !to!.isRegistered) continue;
    const name = conversationOf(account, to!.user);
    found.set(name, [...found.get(name) ?? [], message]);
  }
  return found;
}

/**
 * Checks that history holds each message once, in order and in its last state, and that no earlier
 * text and no deleted one is in any of its rows.
 */
export async function checkHistory(kv: Deno.Kv, log: FeedLog, isKept: boolean): Promise<void> {
  for (const room of ROOMS) {
    const stored = storedStates(await storedEvents(kv, ["log", room]));
    const wanted = isKept ? lastStates(log.saidIn(room)) : [];
    assertEquals(stored, wanted, `the history of ${room}`);
  }
  for (const [name, messages] of conversations(log)) {
    const stored = storedStates(await storedEvents(kv, ["conversation", name]));
    assertEquals(stored, isKept ? lastStates(messages) : [], `the conversation ${name}`);
  }
  const kinds: StreamKind[] = ["log", "people", "conversation", "direct", "own"];
  const gone = [...log.messages.values()].flatMap(({ texts, isDeleted }) =>
    isDeleted ? texts : texts.slice(0, -1)
  );
  for (const kind of kinds) {
    for await (const { key, value } of kv.list({ prefix: [kind] })) {
      const row = JSON.stringify(value);
      for (const text of gone) {
        assert(!row.includes(`"${text}"`), `"${text}" is still in ${key.join(" ")}`);
      }
    }
  }
  // Every row is counted once.
  await checkedHistory(kv);
}

/** Checks the read markers of registered users. */
export async function checkMarkers(kv: Deno.Kv, log: FeedLog): Promise<void> {
  for await (const { key, value } of kv.list({ prefix: ["read"] })) {
    const [, user, kind, name] = key;
    const newest = log.markers.get([user, kind, name].map(String).join(" "));
    assertEquals(value as string, newest, `the marker of ${key.join(" ")}`);
  }
}

/** Checks that nothing belongs to a connection any more; `instancesRun`: instances have not ended. */
export async function checkNothingLeft(kv: Deno.Kv, instancesRun: boolean): Promise<void> {
  const accounts = new Set(await keysOf(kv, "account"));
  const left: Deno.KvKey[] = [];
  for (const key of await connectionKeys(kv)) {
    const [first, name] = key;
    if (instancesRun && /^(instance|beat|taken)$/.test(String(first))) continue;
    const { value } = await kv.get<{ kept?: string }>(key);
    // A registration keeps its nickname.
    if (first === "nick" && accounts.has(String(value?.kept))) continue;
    left.push([first!, name!]);
  }
  assertEquals(left, [], "rows that are left");
  for await (const { key, value } of kv.list({ prefix: ["user"] })) {
    const { account, sessions, rooms } = userFrom(value)!;
    assert(accounts.has(account), `${key.join(" ")} has no registration`);
    assertEquals(sessions, [], `the sessions of ${key.join(" ")}`);
    assertEquals([...rooms.values()].flat(), [], `the rooms of ${key.join(" ")}`);
  }
}
