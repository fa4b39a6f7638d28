/**
 * The layout of the database: a number that tells which forms its rows have, and the steps from each
 * layout to the next.
 *
 * Forms that values.ts reads in several versions need no new layout. The steps know nothing of a chat
 * that runs.
 */
import { IMPORTING_KEY, LAYOUT_KEY, SHARDS_KEY } from "../kv/keys.ts";

/** A step from one layout to the next. A crash may interrupt it, so it must be repeatable. */
export type Upgrade = (kv: Deno.Kv) => Promise<void>;

/** The steps: the first leads from layout 0, which has no row of its layout, to layout 1. */
export const UPGRADES: readonly Upgrade[] = [
  // Layout 1 only adds the row of the layout.
  async () => {},
];

/** The layout that this version of the program writes. */
export const LAYOUT = UPGRADES.length;

/** The database has a layout that this version does not know. */
export class LayoutError extends Error {}

/**
 * Returns the layout of a database; `undefined`: the database is new.
 *
 * @throws {LayoutError} if the row of the layout is no number.
 */
export async function layoutOf(kv: Deno.Kv): Promise<number | undefined> {
  const [layout, shards] = await kv.getMany<[unknown, unknown]>([LAYOUT_KEY, SHARDS_KEY]);
  if (layout.versionstamp === null) return shards.versionstamp === null ? undefined : 0;
  if (Number.isSafeInteger(layout.value) && Number(layout.value) >= 0) return Number(layout.value);
  throw new LayoutError("The database's layout is not a number. Run a newer version of Parley.");
}

/**
 * Brings a database to the last of the layouts, one step after the other. A new database gets it at
 * once. Instances that start at the same time may do so together.
 *
 * @throws {LayoutError} if the database has a newer layout, or an import into it is unfinished.
 */
export async function prepareLayout(kv: Deno.Kv, upgrades = UPGRADES): Promise<void> {
  if ((await kv.get(IMPORTING_KEY)).versionstamp !== null) {
    throw new LayoutError("An import into the database is unfinished. Import the same file again.");
  }
  while (true) {
    const layout = await layoutOf(kv);
    if (layout !== undefined && layout > upgrades.length) {
      throw new LayoutError(
        `The database has layout ${layout}, and this version of Parley knows layouts up to ` +
          `${upgrades.length}. Run the version that wrote it, or a newer one.`,
      );
    }
    if (layout === upgrades.length) return;
    const before = await kv.get(LAYOUT_KEY);
    if (layout !== undefined) {
      // Another instance has made this step meanwhile.
      if ((before.value ?? 0) !== layout) continue;
      await upgrades[layout]!(kv);
    }
    const next = layout === undefined ? upgrades.length : layout + 1;
    await kv.atomic().check(before).set(LAYOUT_KEY, next).commit();
  }
}
