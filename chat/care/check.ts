/**
 * The check: reads every row, and finds rows of unknown form, missing mirrors, orphans and wrong
 * counters. It repairs what is derived from other rows.
 *
 * It holds one row at a time. A chat that writes meanwhile makes it find what is no fault.
 */
import { isCounted } from "../history/removal.ts";
import { bytesOfRow } from "../history/kept_rows.ts";
import { decodeEvent } from "../history/rows.ts";
import * as keys from "../kv/keys.ts";
import { KEYS } from "../kv/key_forms.ts";
import { roomRulesFrom } from "../kv/moderation_values.ts";
import * as values from "../kv/values.ts";
import { ImportRefused } from "./import.ts";
import { type FormName, wordsOf } from "./treatments.ts";

/** Something wrong, in one line. */
export interface Finding {
  readonly what: string;
  readonly isRepaired: boolean;
}

/** A fault in a row, and what repairs it; without it a person must decide. */
interface Fault {
  readonly what: string;
  readonly repair?: readonly Deno.KvMutation[];
}

/** What a check of a row needs. */
interface Context {
  readonly kv: Deno.Kv;
  /** The sum of the bytes of the stream that is being read, and of all. */
  readonly sums: { stream?: keys.Stream; bytes: number; all: number };
}

type Entry = Deno.KvEntry<unknown>;

/**
 * Reads all rows and reports each fault. Returns the number of rows.
 *
 * @throws {ImportRefused} if it should repair while a chat uses the database.
 */
export async function check(
  kv: Deno.Kv,
  repair: boolean,
  report: (finding: Finding) => void,
): Promise<number> {
  if (repair) {
    for await (const _ of kv.list({ prefix: keys.HEARTBEAT_PREFIX }, { limit: 1 })) {
      throw new ImportRefused("Cannot repair: a chat uses the database. Stop the chat first.");
    }
  }
  const context: Context = { kv, sums: { bytes: 0, all: 0 } };
  const tell = async (faults: readonly Fault[], entry?: Entry) => {
    for (const fault of faults) {
      let isRepaired = false;
      if (repair && fault.repair !== undefined) {
        const atomic = kv.atomic().mutate(...fault.repair);
        if (entry !== undefined) atomic.check(entry);
        isRepaired = (await atomic.commit()).ok;
      }
      report({ what: fault.what, isRepaired });
    }
  };
  let rows = 0;
  for await (const entry of kv.list<unknown>({ prefix: [] }, { batchSize: 100 })) {
    rows++;
    const form = formOf(entry.key);
    if (form !== "historyRow") await tell(await endOfStream(context));
    await tell(
      form === undefined
        ? [{ what: `${shown(entry.key)} has an unknown form` }]
        : await faultsOf(form, entry, context),
      entry,
    );
  }
  await tell(await endOfStream(context));
  const all = await kv.get(keys.HISTORY_BYTES_KEY);
  if (values.countFrom(all.value) !== context.sums.all) {
    await tell([{
      what: `the bytes of history are ${context.sums.all}, not ${values.countFrom(all.value)}`,
      repair: [counter(keys.HISTORY_BYTES_KEY, context.sums.all)],
    }]);
  }
  return rows;
}

/** Returns the form of a key; `undefined` for an unknown one. */
export function formOf(key: Deno.KvKey): FormName | undefined {
  return (Object.keys(KEYS) as FormName[]).find((form) => {
    const parts = KEYS[form].key.slice(1, -1).split(", ");
    if (parts.length !== key.length || !wordsOf(form).includes(String(key[0]))) return false;
    return parts.every((part, i) => {
      if (i === 0 || part.includes("<")) return true;
      return part.split(" | ").includes(`"${String(key[i])}"`);
    }) && (form !== "notify" || typeof key[1] === "number");
  });
}

function shown(key: Deno.KvKey): string {
  return JSON.stringify(key, (_, part) => typeof part === "bigint" ? String(part) : part);
}

function counter(key: Deno.KvKey, count: number): Deno.KvMutation {
  return { type: "set", key, value: new Deno.KvU64(BigInt(count)) };
}

/** Returns the faults of one row. A new form does not compile until it has a case here. */
async function faultsOf(form: FormName, entry: Entry, context: Context): Promise<Fault[]> {
  const { kv } = context;
  const { key, value } = entry;
  const name = shown(key);
  const unreadable = [{ what: `${name} has an unreadable value` }];
  const remove: Deno.KvMutation[] = [{ type: "delete", key }];
  const exists = async (other: Deno.KvKey) => (await kv.get(other)).versionstamp !== null;
  const orphan = async (other: Deno.KvKey) =>
    await exists(other) ? [] : [{ what: `${name} has no ${shown(other)}`, repair: remove }];
  const [, second, third] = key.map(String) as [string, string, string];
  switch (form) {
    case "tableRow": {
      const mirror = keys.tableMirrorKey(third, second);
      const repair = [{ type: "set", key: mirror, value } as const];
      return await exists(mirror) ? [] : [{ what: `${name} has no mirror`, repair }];
    }
    case "tableMirror":
      return await orphan(keys.tableRowKey(third, second));
    case "claim": {
      const holder = values.claimHolderFrom(value);
      if (holder === undefined) return unreadable;
      if ("account" in holder) return await orphan(keys.accountKey(holder.account));
      return await hasConnection(kv, holder.connection)
        ? []
        : [{ what: `${name} is a claim of no connection`, repair: remove }];
    }
    case "account": {
      const account = values.accountFrom(value);
      if (account === undefined) return unreadable;
      const faults: Fault[] = [];
      for (const claim of account.claims) {
        const claimKey = keys.claimKey(claim);
        if (await exists(claimKey)) continue;
        const kept = values.keptClaimValue(second);
        const repair = [{ type: "set", key: claimKey, value: kept } as const];
        faults.push({ what: `${name} has no ${shown(claimKey)}`, repair });
      }
      return faults;
    }
    case "user":
      return values.userFrom(value) === undefined ? unreadable : [];
    case "roomCount": {
      let members = 0;
      const prefix = keys.tableMirrorPrefix(keys.roomSortKey(second));
      for await (const _ of kv.list({ prefix })) members++;
      const count = values.countFrom(value);
      const repair = members === 0 ? remove : [counter(key, members)];
      // A registered user with several sessions counts as one.
      return members === 0 && count > 0 || count > members
        ? [{ what: `${name} counts ${count}, and has ${members} members`, repair }]
        : [];
    }
    case "resume": {
      const resume = values.resumeFrom(value);
      if (resume === undefined) return unreadable;
      return await orphan(keys.connectionKey(resume.instance, resume.id));
    }
    case "connection":
    case "commitGuard":
    case "heartbeat":
      return await orphan(keys.leaseKey(second));
    case "privateRoom":
      return await orphan(keys.roomRulesKey(second));
    case "roomRules": {
      const privateKey = keys.privateRoomKey(second);
      if (!roomRulesFrom(value).isPrivate || await exists(privateKey)) return [];
      const repair = [{ type: "set", key: privateKey, value: 1 } as const];
      return [{ what: `${name} has no ${shown(privateKey)}`, repair }];
    }
    case "feedRow":
      return values.feedRowFrom(value) === undefined ? unreadable : [];
    case "readMarker":
      return values.readMarkerFrom(value) === undefined ? unreadable : [];
    case "conversation":
      return values.conversationFrom(value) === undefined ? unreadable : [];
    case "historyRow":
      return await historyFaults(entry, context);
    case "historyIndex": {
      const [stream, id] = keys.historyIndexParts(key);
      return await orphan(keys.historyRowKey(stream, id));
    }
    case "streamBytes": {
      const stream = [second, third] as unknown as keys.Stream;
      for await (const _ of kv.list(keys.historyRowsBefore(stream), { limit: 1 })) return [];
      return [{ what: `${name} counts a stream without rows`, repair: remove }];
    }
    case "importing":
      return [{ what: "an import is unfinished: import the same file again" }];
    case "roomLook":
    case "takeover":
    case "passwordAttempts":
    case "registrationAttempts":
    case "lastAct":
    case "standing":
    case "bannedNetwork":
    case "ignored":
    case "openedRooms":
    case "lease":
    case "shards":
    case "layout":
    case "notify":
    case "notifyInstances":
    case "compacted":
    case "historyBytes":
    case "historyRemoval":
    case "historyRemoving":
    case "evicted":
      return [];
    default:
      return form satisfies never;
  }
}

async function hasConnection(kv: Deno.Kv, connection: string): Promise<boolean> {
  const prefix = keys.tableRowPrefix(connection);
  for await (const _ of kv.list({ prefix }, { limit: 1 })) return true;
  return false;
}

/** Returns the faults of a row of history, and adds its bytes. */
async function historyFaults({ key, value }: Entry, context: Context): Promise<Fault[]> {
  const stream = [key[0], key[1]] as unknown as keys.Stream, id = String(key[2]);
  const faults = context.sums.stream?.join(" ") === stream.join(" ")
    ? []
    : await endOfStream(context);
  context.sums.stream = stream;
  const row = values.historyRowFrom(value);
  const index = await context.kv.get(keys.historyIndexKey(stream, id));
  let { bytes } = values.historyIndexFrom(index.value);
  if (row === undefined) faults.push({ what: `${shown(key)} has an unreadable value` });
  for (const stored of row?.events ?? []) {
    if (decodeEvent(stored, stream) !== undefined) continue;
    faults.push({ what: `${shown(key)} has an unreadable event` });
  }
  if (index.versionstamp === null && row !== undefined) {
    const events = row.events.flatMap((stored) => decodeEvent(stored, stream) ?? []);
    const last = events.at(-1);
    // How long it is kept is unknown: as long as a row without events, if it has none.
    const untilMs = (last?.event.time ?? 0) + ORPHAN_LIFE_MS;
    bytes = bytesOfRow(stream, row.events);
    const indexValue = [bytes, untilMs, last?.eventId ?? id];
    const indexKey = keys.historyIndexKey(stream, id);
    faults.push({
      what: `${shown(key)} has no index row`,
      repair: [{ type: "set", key: indexKey, value: indexValue }],
    });
  }
  if (isCounted(stream)) {
    context.sums.bytes += bytes;
    context.sums.all += bytes;
  }
  return faults;
}

/** Milliseconds after its last event for which a row of history without an index row is kept. */
const ORPHAN_LIFE_MS = 24 * 60 * 60_000;

/** Compares the counter of the stream that was read last with its rows. */
async function endOfStream({ kv, sums }: Context): Promise<Fault[]> {
  const { stream, bytes } = sums;
  sums.stream = undefined;
  sums.bytes = 0;
  if (stream === undefined || !isCounted(stream)) return [];
  const key = keys.streamBytesKey(stream);
  const count = values.countFrom((await kv.get(key)).value);
  if (count === bytes) return [];
  const what = `${shown(key)} counts ${count}, and its rows have ${bytes} bytes`;
  return [{ what, repair: [counter(key, bytes)] }];
}
