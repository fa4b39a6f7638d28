/**
 * Opens the database of the program, and explains why it cannot be opened.
 *
 * It knows nothing of the chat that uses the database.
 */
import { reasonOf, StartupError } from "./startup_error.ts";
import type { Settings } from "./settings.ts";
import { within } from "./within.ts";
import { SHARDS_KEY } from "../kv/keys.ts";

/** Milliseconds within which the database must answer when it is opened. */
export const OPEN_TIMEOUT_MS = 10_000;

/** The settings that say where the database is. */
export type KvSettings = Pick<Settings, "kv" | "isKvRemote">;

/**
 * Opens the database and reads one key, because a file that is no database and a server that does not
 * answer fail only at the first use.
 *
 * @throws {StartupError} if it cannot be opened, or does not answer in time.
 */
export async function openKv(settings: KvSettings): Promise<Deno.Kv> {
  const { kv: where } = settings;
  if (typeof Deno.openKv !== "function") {
    throw new StartupError(
      "Deno KV is unavailable: run with --unstable-kv, or `deno task start`.",
      1,
    );
  }
  try {
    if (!settings.isKvRemote) createPrivately(where);
    return await within(OPEN_TIMEOUT_MS, openAndRead(where));
  } catch (error) {
    const name = where === undefined
      ? "the default KV"
      : isUrl(where)
      ? `KV ${where}`
      : `KV file ${where}`;
    throw new StartupError(
      `Cannot open ${name}: ${reasonOf(error)}. ${kvAdvice(error, settings)}`,
      1,
    );
  }
}

async function openAndRead(where: string | undefined): Promise<Deno.Kv> {
  const kv = await Deno.openKv(where);
  await kv.get(SHARDS_KEY);
  return kv;
}

/**
 * Creates the file of a new database so that only this user can read it: it holds messages. SQLite
 * gives its other files (-wal, -shm) the same mode.
 */
function createPrivately(where: string | undefined): void {
  if (where === undefined || where === ":memory:") return;
  try {
    Deno.openSync(where, { createNew: true, write: true, mode: 0o600 }).close();
  } catch {
    // It exists, or cannot be created: opening it says why.
  }
}

/** Returns what the operator can do about an error of the database. */
export function kvAdvice(error: unknown, { isKvRemote }: KvSettings): string {
  if (error instanceof Deno.errors.NotCapable) {
    return "Run with --allow-read --allow-write --allow-net --allow-env, or `deno task start`.";
  }
  return isKvRemote
    ? "Check its address, and the token in DENO_KV_ACCESS_TOKEN."
    : "The folder must exist; --kv :memory: stores nothing.";
}

function isUrl(where: string): boolean {
  return /^https?:/i.test(where);
}
