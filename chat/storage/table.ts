/**
 * The sample's table on KV: rows under a partition key and a sort key, and a mirror of each row.
 * With the mirror, both "the rows of this connection" and "the members of this room" are one `list`.
 *
 * A row and its mirror change only together: `put` and `delete` return the mutations of both, which
 * the caller commits in one atomic operation. This file does not commit.
 */
import type { Clock } from "../base/clock.ts";
import { tableMirrorKey, tableMirrorPrefix, tableRowKey, tableRowPrefix } from "../kv/keys.ts";
import { eachWithTimeout } from "../kv/retry.ts";
import { type TableValue, tableValueFrom } from "../kv/values.ts";

/** Rows that KV returns at once: the most that it allows. */
const LIST_BATCH_ROWS = 1000;

/** The table. */
export class Table {
  readonly #kv: Deno.Kv;
  readonly #clock: Clock;

  constructor(kv: Deno.Kv, clock: Clock) {
    this.#kv = kv;
    this.#clock = clock;
  }

  /** Returns the mutations that write a row and its mirror. */
  put(pk: string, sk: string, data: TableValue): Deno.KvMutation[] {
    return keys(pk, sk).map((key) => ({ type: "set", key, value: data }));
  }

  /** Returns the mutations that remove a row and its mirror. */
  delete(pk: string, sk: string): Deno.KvMutation[] {
    return keys(pk, sk).map((key) => ({ type: "delete", key }));
  }

  /**
   * Returns the rows with a partition key, in order of their sort keys.
   *
   * @throws when KV cannot be read.
   */
  query(pk: string): Promise<Map<string, TableValue>> {
    return this.#read(tableRowPrefix(pk));
  }

  /**
   * Returns the rows with a sort key, in order of their partition keys: one `list`, however many.
   *
   * @throws when KV cannot be read.
   */
  reverseLookup(sk: string): Promise<Map<string, TableValue>> {
    return this.#read(tableMirrorPrefix(sk));
  }

  async #read(prefix: Deno.KvKey): Promise<Map<string, TableValue>> {
    const rows = new Map<string, TableValue>();
    const entries = this.#kv.list<unknown>({ prefix }, { batchSize: LIST_BATCH_ROWS });
    for await (const entry of eachWithTimeout(this.#clock, entries)) {
      const row = tableValueFrom(entry.value);
      // Skips a row that another version of the program wrote in a form unknown here.
      if (row !== undefined) rows.set(String(entry.key.at(-1)), row);
    }
    return rows;
  }
}

function keys(pk: string, sk: string): Deno.KvKey[] {
  return [tableRowKey(pk, sk), tableMirrorKey(sk, pk)];
}
