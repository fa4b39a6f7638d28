/**
 * The export: yields the lines of a file with what a chat must not lose. Sessions and the feed are
 * not part of it.
 *
 * It holds one row at a time, and can go on after any line.
 */
import { openMetrics } from "../base/metrics.ts";
import type { Clock } from "../base/clock.ts";
import { Compactor } from "../history/compactor.ts";
import { Quota } from "../history/quota.ts";
import { longestOf, retentionOf } from "../history/retention.ts";
import { decodeEvent, encodeEvent } from "../history/rows.ts";
import {
  accountKey,
  historyIndexKey,
  notifyKey,
  rowsAfter,
  SHARDS_KEY,
  type Stream,
} from "../kv/keys.ts";
import { accountFrom, fieldsOf, historyIndexFrom, historyRowFrom } from "../kv/values.ts";
import { NO_END } from "../kv/moderation_values.ts";
import type { Row, Selection } from "./file_lines.ts";
import { EXPORTED, type ExportedForm, prefixesOf } from "./treatments.ts";

/** The row after which an export goes on. */
export type Position = Pick<Row, "form" | "key">;

/** Yields the selected rows after a position, in the order of the forms and their keys. */
export async function* exportedRows(
  kv: Deno.Kv,
  selection: Selection,
  after?: Position,
): AsyncGenerator<Row> {
  const forms = EXPORTED.slice(after === undefined ? 0 : EXPORTED.indexOf(after.form));
  for (const form of forms) {
    let isAfter = after === undefined || form !== after.form;
    for (const prefix of prefixesOf(form)) {
      const here = !isAfter && after!.key[0] === prefix[0];
      if (!isAfter && !here) continue;
      const selector = here ? rowsAfter(prefix, after!.key) : { prefix };
      isAfter = true;
      for await (const entry of kv.list<unknown>(selector, { batchSize: 100 })) {
        const row = await exportedRow(kv, form, entry, selection);
        if (row !== undefined) yield row;
      }
    }
  }
}

/** What moves the rest of the feed into history. */
export interface CompactFeedParts {
  readonly kv: Deno.Kv;
  readonly clock: Clock;
  /** Milliseconds: how long the chat keeps history and acts, and for how long a session can be resumed. */
  readonly historyMs: number;
  readonly modLogMs: number;
  readonly graceMs: number;
  /** Tells the operator of a fault. */
  warn(message: string): void;
}

/**
 * Moves what the feed holds now into history, as a chat does after its start: an export reads history
 * alone. Chats may run meanwhile.
 *
 * @throws when KV does not answer.
 */
export async function compactFeed(feed: CompactFeedParts): Promise<void> {
  const { kv, clock, historyMs, graceMs, modLogMs, warn } = feed;
  const retention = retentionOf(historyMs, graceMs, modLogMs);
  const shards = Number((await kv.get(SHARDS_KEY)).value ?? 0);
  const retentionMs = longestOf(retention);
  const quota = new Quota({ kv, clock, maxBytes: Infinity, retentionMs });
  await quota.begin(clock.now());
  const nowMs = () => clock.now();
  // A feed row stays for the chats that have not delivered it.
  const metrics = openMetrics();
  const parts = { kv, clock, quota, retention, shards, feedRowMs: Infinity, nowMs, warn, metrics };
  const compactor = new Compactor(parts);
  const versionstamps: (string | null)[] = [];
  for (let shard = 0; shard < shards; shard++) {
    versionstamps.push((await kv.get(notifyKey(shard))).versionstamp);
  }
  await compactor.compactStored(versionstamps);
  compactor.stop();
  await compactor.idle();
}

async function exportedRow(
  kv: Deno.Kv,
  form: ExportedForm,
  { key, value }: Deno.KvEntry<unknown>,
  selection: Selection,
): Promise<Row | undefined> {
  const parts = key as (string | number)[];
  const room = roomOf(form, parts);
  const { rooms } = selection;
  if (rooms.length > 0 && (room === undefined || !rooms.includes(room))) return undefined;
  switch (form) {
    case "historyRow":
      return await historyRow(kv, parts, value, selection);
    case "user": {
      const { v, account, rooms } = fieldsOf(value);
      // The sessions are not exported: the user was in these rooms.
      const left = Array.isArray(rooms) ? rooms.map(([room]: [string]) => [room, ""]) : [];
      const registration = accountFrom((await kv.get(accountKey(String(account)))).value);
      if (registration === undefined) return undefined;
      const { until } = registration;
      return { form, key: parts, value: { v, account, sessions: [], rooms: left }, until };
    }
    case "roomLook":
      return { form, key: parts, value: { ...fieldsOf(value), empty: true } };
    case "account":
    case "bannedNetwork":
    case "standing":
      return { form, key: parts, value, until: untilOf(value) };
    case "readMarker":
    case "conversation":
    case "roomRules":
    case "ignored":
    case "evicted":
      return { form, key: parts, value };
    default:
      return form satisfies never;
  }
}

/** Returns the room that a row belongs to; `undefined`: it belongs to none. */
function roomOf(form: ExportedForm, key: readonly (string | number)[]): string | undefined {
  const [first, second, third, fourth] = key.map(String);
  switch (form) {
    case "roomRules":
    case "standing":
      return second;
    case "readMarker":
      return third === "room" ? fourth : undefined;
    case "historyRow":
      return first === "conversation" ? undefined : second;
    case "evicted":
      return second === "conversation" ? undefined : third;
    case "account":
    case "bannedNetwork":
    case "conversation":
    case "ignored":
    case "roomLook":
    case "user":
      return undefined;
    default:
      return form satisfies never;
  }
}

/** Returns the latest of the times in a value; `undefined`: it has none. */
function untilOf(value: unknown): number | undefined {
  const { until, ban, mute } = fieldsOf(value);
  const times = [until, fieldsOf(ban).until, fieldsOf(mute).until]
    .filter((time) => typeof time === "number");
  return times.length === 0 ? undefined : Math.min(NO_END, Math.max(...times));
}

/** Returns a row of history with the selected events; `undefined`: none, or its time is unknown. */
async function historyRow(
  kv: Deno.Kv,
  key: (string | number)[],
  value: unknown,
  { fromMs, untilMs }: Selection,
): Promise<Row | undefined> {
  const stream = [key[0], key[1]] as unknown as Stream;
  const index = await kv.get(historyIndexKey(stream, String(key[2])));
  if (index.versionstamp === null) return undefined;
  const events = historyRowFrom(value)?.events.flatMap((stored) => {
    const entry = decodeEvent(stored, stream);
    if (entry === undefined || entry.event.time < fromMs || entry.event.time >= untilMs) return [];
    return [encodeEvent(entry, stream[0])];
  }) ?? [];
  if (events.length === 0) return undefined;
  const { untilMs: until } = historyIndexFrom(index.value);
  return { form: "historyRow", key, value: { v: 1, events }, until };
}
