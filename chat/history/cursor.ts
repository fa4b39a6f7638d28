/**
 * The cursor of compaction: how far the feed of a shard has been written to history.
 *
 * A helper below history and the removal of old feed rows. It reads and writes nothing itself.
 */

/** How far a shard has been compacted. */
export interface Cursor {
  /** The versionstamp of the last feed row of which everything is in history; empty: of none. */
  readonly upTo: string;
  /** The history rows of the next feed row that are done already, counted from its first. */
  readonly rows: number;
}

/** The key of a shard's cursor. */
export function cursorKey(shard: number): Deno.KvKey {
  return ["fold", shard];
}

/** The cursor in what stands under {@linkcode cursorKey}. Rows outlive programs: they may be unknown. */
export function cursorFrom(value: unknown): Cursor {
  const { upTo, rows } = (value ?? {}) as { upTo?: unknown; rows?: unknown };
  return {
    upTo: typeof upTo === "string" ? upTo : "",
    rows: typeof rows === "number" ? rows : 0,
  };
}
