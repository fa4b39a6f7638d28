/**
 * The original table on KV: rows under a partition key and a sort key, and their mirror, so that
 * both "what has this connection" and "who is in this room" are one `list`.
 *
 * A row and its mirror change only together: `put` and `delete` give the mutations of both, for
 * whoever commits them. It does not commit, and does not know what the keys mean.
 */
import type { Clock } from "../base/clock.ts";
import { eachWithTimeout } from "../kv/retry.ts";

/** What a row holds. Rows outlive programs: read it as something unknown. */
export type RowData = { readonly nick: string };

/** Rows of one `list` batch: the most that KV gives. */
const LIST_BATCH_ROWS = 1000;

/** The table. */
export class Table {
  readonly #kv: Deno.Kv;
  readonly #clock: Clock;

  constructor(kv: Deno.Kv, clock: Clock) {
    this.#kv = kv;
    this.#clock = clock;
  }

  /** The mutations that write a row and its mirror. */
  put(pk: string, sk: string, data: RowData): Deno.KvMutation[] {
    return keys(pk, sk).map((key) => ({ type: "set", key, value: data }));
  }

  /** The mutations that remove a row and its mirror. */
  delete(pk: string, sk: string): Deno.KvMutation[] {
    return keys(pk, sk).map((key) => ({ type: "delete", key }));
  }

  /** The rows under a partition key, in order of their sort keys. */
  query(pk: string): Promise<Map<string, RowData>> {
    return this.#read(["row", pk]);
  }

  /** The rows with a sort key, in order of their partition keys: one `list`, however many. */
  reverseLookup(sk: string): Promise<Map<string, RowData>> {
    return this.#read(["reverse_lookup", sk]);
  }

  async #read(prefix: Deno.KvKey): Promise<Map<string, RowData>> {
    const rows = new Map<string, RowData>();
    const entries = this.#kv.list<unknown>({ prefix }, { batchSize: LIST_BATCH_ROWS });
    for await (const entry of eachWithTimeout(this.#clock, entries)) {
      const nick = (entry.value as Partial<RowData> | null)?.nick;
      // A row of another version of the program: of no use to this one, and not in its way.
      if (typeof nick === "string") rows.set(String(entry.key.at(-1)), { nick });
    }
    return rows;
  }
}

function keys(pk: string, sk: string): Deno.KvKey[] {
  return [["row", pk, sk], ["reverse_lookup", sk, pk]];
}
