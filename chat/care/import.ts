/**
 * The import: writes the rows of an export into a database without any, exactly once, and continues
 * after an interruption.
 *
 * It reads the file twice: first all of it is checked, then it is applied.
 */
import { decodeEvent, encodeEvent } from "../history/rows.ts";
import { bytesOfRow } from "../history/kept_rows.ts";
import { isCounted } from "../history/removal.ts";
import {
  claimKey,
  HISTORY_BYTES_KEY,
  historyIndexKey,
  historyRowKey,
  IMPORTING_KEY,
  LAYOUT_KEY,
  privateRoomKey,
  type Stream,
  streamBytesKey,
} from "../kv/keys.ts";
import { MAX_COMMIT_BYTES, valueBytes } from "../kv/limits.ts";
import { NO_END } from "../kv/moderation_values.ts";
import { accountFrom, addToCount, fieldsOf, historyRowFrom, keptClaimValue } from "../kv/values.ts";
import { importedEvent, importedId } from "./event_ids.ts";
import {
  Checksum,
  ExportFileError,
  type FileLine,
  headerOf,
  isTrailer,
  linesOf,
  objectOf,
  type Row,
  type Trailer,
} from "./file_lines.ts";
import { isInUse } from "./in_use.ts";
import { LAYOUT } from "./layout.ts";
import { EXPORTED, type ExportedForm, prefixesOf } from "./treatments.ts";

/** How long rows are kept whose own time the file does not tell, and what time it is. */
export interface ImportParts {
  readonly kv: Deno.Kv;
  readonly nowMs: number;
  readonly historyMs: number;
  readonly registrationMs: number;
  /** Rows in one commit at most; a test interrupts the import between them. */
  readonly maxRows?: number;
  /** Opens the file. It is called twice. */
  open(): Promise<ReadableStream<Uint8Array>>;
}

/** The database cannot take the import. The message is one line. */
export class ImportRefused extends Error {}

/** Mutations in one commit; KV takes 1,000, and one row may need 40. */
const MAX_MUTATIONS = 800;

/** Milliseconds for which an imported row is kept at least. */
const MIN_LIFE_MS = 60_000;

/**
 * Imports a file. Returns the number of rows in it.
 *
 * @throws {ExportFileError} if the file is damaged or newer; then nothing is imported.
 * @throws {ImportRefused} if the database is in use, or holds other rows.
 */
export async function importFile(parts: ImportParts): Promise<number> {
  const { kv, maxRows = Infinity } = parts;
  const { sha256, rows } = await validate(await parts.open());
  await refuseInUse(kv);
  let cursor: Deno.KvEntryMaybe<unknown> = await kv.get(IMPORTING_KEY);
  const { sha256: begun, lines: applied = 1 } = fieldsOf(cursor.value);
  if (cursor.versionstamp === null) await refuseFilled(kv);
  else if (begun !== sha256) {
    throw new ImportRefused("Cannot import: the import of another file is unfinished.");
  }
  const commit = async (mutations: readonly Deno.KvMutation[], lines: number | undefined) => {
    const atomic = kv.atomic().check(cursor).mutate(...mutations);
    if (lines === undefined) atomic.delete(IMPORTING_KEY).set(LAYOUT_KEY, LAYOUT);
    else atomic.set(IMPORTING_KEY, { v: 1, sha256, lines });
    const done = await atomic.commit();
    if (!done.ok) throw new ImportRefused("Cannot import: another import runs.");
    cursor = { ...cursor, versionstamp: done.versionstamp } as Deno.KvEntryMaybe<unknown>;
  };
  await commit([], Number(applied));
  // Again: a chat that has started before the commit did not see the cursor.
  await refuseInUse(kv);
  let batch: Deno.KvMutation[] = [], bytes = 0, count = 0;
  for await (const line of linesOf(await parts.open())) {
    if (line.number <= Number(applied)) continue;
    const object = objectOf(line);
    const more = isTrailer(object) ? [] : mutationsOf(rowOf(object, line), parts);
    const isFull = batch.length + more.length > MAX_MUTATIONS || bytes > MAX_COMMIT_BYTES / 4;
    if (isFull || count >= maxRows) {
      await commit(batch, line.number - 1);
      batch = [];
      bytes = 0;
      count = 0;
    }
    count++;
    batch.push(...more);
    for (const each of more) bytes += each.type === "set" ? valueBytes(each.value) : 0;
  }
  await commit(batch, undefined);
  return rows;
}

/** Checks all lines of a file. Returns its last one. @throws {ExportFileError} at the first fault. */
async function validate(file: ReadableStream<Uint8Array>): Promise<Trailer> {
  const checksum = new Checksum();
  let trailer: Trailer | undefined, number = 0;
  for await (const line of linesOf(file)) {
    number = line.number;
    if (trailer !== undefined) throw new ExportFileError(`Line ${number} is after the last one.`);
    if (number === 1) headerOf(line, LAYOUT);
    else {
      const object = objectOf(line);
      if (isTrailer(object)) {
        trailer = checksum.trailer();
        if (object.sha256 !== trailer.sha256 || object.rows !== trailer.rows) {
          throw new ExportFileError(`Line ${number}: the checksum is wrong; the file is damaged.`);
        }
        continue;
      }
      rowOf(object, line);
    }
    checksum.add(line.text);
  }
  if (trailer !== undefined) return trailer;
  throw new ExportFileError(`Line ${number + 1} is missing: the export was not finished.`);
}

/** Returns the row in a line. @throws {ExportFileError} if its form or value is unknown. */
function rowOf(object: Record<string, unknown>, { number }: FileLine): Row {
  const { form, key, value, until } = object;
  const isKnown = EXPORTED.includes(form as ExportedForm) && Array.isArray(key) &&
    prefixesOf(form as ExportedForm).some(([word]) => word === key[0]) &&
    key.every((part) => typeof part === "string" || typeof part === "number") &&
    (until === undefined || typeof until === "number") && value !== undefined &&
    (form !== "historyRow" || key.length === 3 && historyRowFrom(value) !== undefined) &&
    (form !== "account" || accountFrom(value) !== undefined);
  if (isKnown) return object as unknown as Row;
  throw new ExportFileError(`Line ${number} is damaged: it is no row of an export.`);
}

async function refuseInUse(kv: Deno.Kv): Promise<void> {
  if (!await isInUse(kv)) return;
  throw new ImportRefused("Cannot import: a chat uses the database. Stop the chat first.");
}

async function refuseFilled(kv: Deno.Kv): Promise<void> {
  for (const form of EXPORTED) {
    for (const prefix of prefixesOf(form)) {
      for await (const _ of kv.list({ prefix }, { limit: 1 })) {
        throw new ImportRefused("Cannot import: the database is not empty. Name a new one.");
      }
    }
  }
}

/** Returns what writes a row, with everything that is derived from it; nothing if its time is over. */
function mutationsOf(row: Row, parts: ImportParts): Deno.KvMutation[] {
  const { form, key, value, until } = row;
  const { nowMs, historyMs, registrationMs } = parts;
  const isOfHistory = form === "readMarker" || form === "conversation" || form === "evicted" ||
    form === "roomLook";
  const untilMs = until ?? nowMs + (isOfHistory ? historyMs : registrationMs);
  if (untilMs <= nowMs) return [];
  const expireIn = untilMs >= NO_END
    ? undefined
    : Math.max(MIN_LIFE_MS, Math.ceil(untilMs - nowMs));
  const set = (key: Deno.KvKey, value: unknown): Deno.KvMutation =>
    expireIn === undefined ? { type: "set", key, value } : { type: "set", key, value, expireIn };
  switch (form) {
    case "historyRow":
      return historyMutations(row, untilMs, set);
    case "account": {
      const claims = accountFrom(value)!.claims;
      const kept = keptClaimValue(String(key[1]));
      return [set(key, value), ...claims.map((claim) => set(claimKey(claim), kept))];
    }
    case "roomRules":
      return fieldsOf(value).private === true
        ? [set(key, value), set(privateRoomKey(String(key[1])), 1)]
        : [set(key, value)];
    case "readMarker":
    case "evicted":
      return [set(key, importedId(String(value)))];
    case "bannedNetwork":
    case "conversation":
    case "ignored":
    case "roomLook":
    case "standing":
    case "user":
      return [set(key, value)];
    default:
      return form satisfies never;
  }
}

function historyMutations(
  { key, value }: Row,
  untilMs: number,
  set: (key: Deno.KvKey, value: unknown) => Deno.KvMutation,
): Deno.KvMutation[] {
  const stream = [key[0], key[1]] as unknown as Stream;
  const entries = historyRowFrom(value)!.events.flatMap((stored) => {
    const entry = decodeEvent(stored, stream);
    return entry === undefined ? [] : [importedEvent(entry)];
  });
  if (entries.length === 0) return [];
  const events = entries.map((entry) => encodeEvent(entry, stream[0]));
  const id = importedId(String(key[2])), last = entries.at(-1)!.eventId;
  const bytes = bytesOfRow(stream, events);
  const index = id === last ? [bytes, untilMs] : [bytes, untilMs, last];
  const mutations = [
    set(historyRowKey(stream, id), { v: 1, events }),
    // Without an expiry, as the compactor writes it: the removal needs it.
    { type: "set", key: historyIndexKey(stream, id), value: index } as const,
  ];
  if (!isCounted(stream)) return mutations;
  return [
    ...mutations,
    addToCount(streamBytesKey(stream), bytes),
    addToCount(HISTORY_BYTES_KEY, bytes),
  ];
}
