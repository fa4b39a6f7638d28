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
import { roomRulesFrom, sanctionFrom } from "../kv/moderation_values.ts";
import * as values from "../kv/values.ts";
import { ImportRefused } from "./import.ts";
import { isInUse } from "./in_use.ts";
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
  if (repair && await isInUse(kv)) {
    throw new ImportRefused("Cannot repair: a chat uses the database. Stop the chat first.");
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
  for await (const entry of kv.list<unknown>(keys.ALL_ROWS, { batchSize: 100 })) {
    rows++;
    const form = formOf(entry.key);
    if (form !== "historyRow") await tell(await endOfStream(context));
    await tell(
      form === undefined
        ? [{ what: `${shown(entry.key)} has an unknown form` }]
        : await CHECKS[form](entry, context),
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

/** Returns the faults of one row. */
type RowCheck = (entry: Entry, context: Context) => Fault[] | Promise<Fault[]>;

/** Finds nothing: any value is read as something, and no other row belongs to it. */
const anything: RowCheck = () => [];

/** The check of the rows of every form. A new form does not compile until it has one. */
const CHECKS: Readonly<Record<FormName, RowCheck>> = {
  tableRow: checkTableRow,
  tableMirror: ({ key }, { kv }) => orphan(kv, key, keys.tableRowKey(text(key, 2), text(key, 1))),
  claim: checkClaim,
  account: checkAccount,
  user: readable(values.userFrom),
  roomCount: checkRoomCount,
  resume: checkResume,
  connection: ({ key }, { kv }) => orphan(kv, key, keys.leaseKey(text(key, 1))),
  commitGuard: ({ key }, { kv }) => orphan(kv, key, keys.leaseKey(text(key, 1))),
  heartbeat: ({ key }, { kv }) => orphan(kv, key, keys.leaseKey(text(key, 1))),
  privateRoom: ({ key }, { kv }) => orphan(kv, key, keys.roomRulesKey(text(key, 1))),
  roomRules: checkRoomRules,
  feedRow: readable(values.feedRowFrom),
  readMarker: readable(values.readMarkerFrom),
  conversation: readable(values.conversationFrom),
  historyRow: historyFaults,
  historyIndex: ({ key }, { kv }) =>
    orphan(kv, key, keys.historyRowKey(...keys.historyIndexParts(key))),
  streamBytes: checkStreamBytes,
  importing: () => [{ what: "an import is unfinished: import the same file again" }],
  roomLook: readable(values.roomLookFrom),
  passwordAttempts: readable(values.bucketFrom),
  registrationAttempts: readable(values.bucketFrom),
  openedRooms: readable(values.bucketFrom),
  bannedNetwork: readable(sanctionFrom),
  takeover: anything,
  lastAct: anything,
  standing: anything,
  ignored: anything,
  lease: anything,
  passed: anything,
  shards: anything,
  layout: anything,
  notify: anything,
  notifyInstances: anything,
  compacted: anything,
  historyBytes: anything,
  historyRemoval: anything,
  historyRemoving: anything,
  evicted: anything,
};

function text(key: Deno.KvKey, part: number): string {
  return String(key[part]);
}

/** Returns the check that a value can be read. */
function readable(read: (value: unknown) => unknown): RowCheck {
  return ({ key, value }) => read(value) === undefined ? unreadable(key) : [];
}

function unreadable(key: Deno.KvKey): Fault[] {
  return [{ what: `${shown(key)} has an unreadable value` }];
}

async function exists(kv: Deno.Kv, key: Deno.KvKey): Promise<boolean> {
  return (await kv.get(key)).versionstamp !== null;
}

/** Finds a row without another one that it belongs to, and removes it. */
async function orphan(kv: Deno.Kv, key: Deno.KvKey, other: Deno.KvKey): Promise<Fault[]> {
  if (await exists(kv, other)) return [];
  return [{ what: `${shown(key)} has no ${shown(other)}`, repair: [{ type: "delete", key }] }];
}

/** Finds a row without another one that mirrors it, and writes that one. */
async function mirrored(
  kv: Deno.Kv,
  key: Deno.KvKey,
  other: Deno.KvKey,
  value: unknown,
): Promise<Fault[]> {
  if (await exists(kv, other)) return [];
  const repair = [{ type: "set", key: other, value } as const];
  return [{ what: `${shown(key)} has no ${shown(other)}`, repair }];
}

async function checkTableRow({ key, value }: Entry, { kv }: Context): Promise<Fault[]> {
  if (values.tableValueFrom(value) === undefined) return unreadable(key);
  return await mirrored(kv, key, keys.tableMirrorKey(text(key, 2), text(key, 1)), value);
}

async function checkClaim({ key, value }: Entry, { kv }: Context): Promise<Fault[]> {
  const holder = values.claimHolderFrom(value);
  if (holder === undefined) return unreadable(key);
  if ("account" in holder) return await orphan(kv, key, keys.accountKey(holder.account));
  if (await hasConnection(kv, holder.connection)) return [];
  const what = `${shown(key)} is a claim of no connection`;
  return [{ what, repair: [{ type: "delete", key }] }];
}

async function checkAccount({ key, value }: Entry, { kv }: Context): Promise<Fault[]> {
  const account = values.accountFrom(value);
  if (account === undefined) return unreadable(key);
  const kept = values.keptClaimValue(text(key, 1));
  const faults: Fault[] = [];
  for (const claim of account.claims) {
    faults.push(...await mirrored(kv, key, keys.claimKey(claim), kept));
  }
  return faults;
}

async function checkRoomCount({ key, value }: Entry, { kv }: Context): Promise<Fault[]> {
  const prefix = keys.tableMirrorPrefix(keys.roomSortKey(text(key, 1)));
  let members = 0;
  for await (const _ of kv.list({ prefix })) members++;
  const count = values.countFrom(value);
  // A registered user with several sessions counts as one.
  if (count >= 0 && count <= members) return [];
  const what = `${shown(key)} counts ${count}, and has ${members} members`;
  return [{ what, repair: [members === 0 ? { type: "delete", key } : counter(key, members)] }];
}

async function checkResume({ key, value }: Entry, { kv }: Context): Promise<Fault[]> {
  const resume = values.resumeFrom(value);
  if (resume === undefined) return unreadable(key);
  return await orphan(kv, key, keys.connectionKey(resume.instance, resume.id));
}

async function checkRoomRules({ key, value }: Entry, { kv }: Context): Promise<Fault[]> {
  if (!roomRulesFrom(value).isPrivate) return [];
  return await mirrored(kv, key, keys.privateRoomKey(text(key, 1)), 1);
}

async function checkStreamBytes({ key }: Entry, { kv }: Context): Promise<Fault[]> {
  const stream = [key[1], key[2]] as unknown as keys.Stream;
  for await (const _ of kv.list(keys.historyRowsBefore(stream), { limit: 1 })) return [];
  const what = `${shown(key)} counts a stream without rows`;
  return [{ what, repair: [{ type: "delete", key }] }];
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
