/** What a KV holds, read directly from its keys, for assertions. */
import { assert, assertEquals } from "@std/assert";

/** The first parts of all keys that belong to connections and instances. */
const CONNECTION_KEYS = [
  "row",
  "reverse_lookup",
  "nick",
  "room",
  "instance_row",
  "instance",
  "beat",
  "resume",
  "taken",
];

/** Returns the keys that belong to connections and instances. */
export async function connectionKeys(kv: Deno.Kv): Promise<Deno.KvKey[]> {
  const keys: Deno.KvKey[] = [];
  for (const first of CONNECTION_KEYS) {
    for await (const { key } of kv.list({ prefix: [first] })) keys.push(key);
  }
  return keys;
}

/** Returns the counter of history bytes: that of a stream, or the total if no stream is named. */
export async function historyCounter(kv: Deno.Kv, ...stream: string[]): Promise<number> {
  const { value } = await kv.get<Deno.KvU64>(["history_bytes", ...stream]);
  return Number(BigInt.asIntN(64, value?.value ?? 0n));
}

/**
 * Returns how many bytes of history a KV holds, and the IDs of the rows, sorted. Asserts that rows,
 * index rows and counters agree.
 */
export async function checkedHistory(kv: Deno.Kv): Promise<{ bytes: number; ids: string[] }> {
  const sums: Record<string, number> = {};
  const ids: string[] = [];
  let bytes = 0;
  for await (const { key, value } of kv.list<[number]>({ prefix: ["history_row"] })) {
    const [, kind, id, name] = key as string[];
    // The record of moderation is not part of the quota.
    if (kind === "acts") continue;
    const stream = `${kind} ${name}`;
    sums[stream] = (sums[stream] ?? 0) + value[0];
    bytes += value[0];
    ids.push(id!);
    assert((await kv.get([kind!, name!, id!])).versionstamp !== null, `row ${id} exists`);
  }
  const counters: Record<string, number> = {};
  for await (const { key } of kv.list({ prefix: ["history_bytes"] })) {
    const [, kind, name] = key as string[];
    if (name !== undefined) counters[`${kind} ${name}`] = await historyCounter(kv, kind!, name);
  }
  assertEquals(counters, sums, "each stream's counter is the sum of its rows");
  assertEquals(await historyCounter(kv), bytes, "the total counter is the sum of all rows");
  for (const kind of ["log", "people", "conversation", "direct", "sent", "own"]) {
    for await (const { key } of kv.list({ prefix: [kind] })) {
      assert(ids.includes(String(key[2])), `row ${String(key[2])} has an index row`);
    }
  }
  return { bytes, ids: ids.sort() };
}
