/** The layout of the database: new, older, newer. */
import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { LAYOUT, LayoutError, layoutOf, prepareLayout } from "../../chat/care/layout.ts";
import { LAYOUT_KEY, SHARDS_KEY } from "../../chat/kv/keys.ts";
import { runServer } from "../support/processes.ts";

Deno.test("layout: a new database gets the last layout without any step", async () => {
  using kv = await Deno.openKv(":memory:");
  assertEquals(await layoutOf(kv), undefined);
  const never = () => Promise.reject(new Error("a step was made"));
  await prepareLayout(kv, [never, never]);
  assertEquals(await layoutOf(kv), 2);
});

Deno.test("layout: an older database makes each missing step once, in order", async () => {
  using kv = await Deno.openKv(":memory:");
  await kv.set(SHARDS_KEY, 16);
  assertEquals(await layoutOf(kv), 0);
  const made: number[] = [];
  const steps = [0, 1, 2].map((step) => () => Promise.resolve(void made.push(step)));
  await prepareLayout(kv, steps.slice(0, 1));
  await prepareLayout(kv, steps);
  await prepareLayout(kv, steps);
  assertEquals(made, [0, 1, 2]);
});

Deno.test("layout: a step that fails is made again at the next start", async () => {
  using kv = await Deno.openKv(":memory:");
  await kv.set(SHARDS_KEY, 16);
  await assertRejects(() => prepareLayout(kv, [() => Promise.reject(new Error("no disk"))]));
  assertEquals(await layoutOf(kv), 0);
  let steps = 0;
  await prepareLayout(kv, [() => Promise.resolve(void steps++)]);
  assertEquals([steps, await layoutOf(kv)], [1, 1]);
});

Deno.test("layout: a newer database is refused and left as it is", async () => {
  using kv = await Deno.openKv(":memory:");
  await kv.set(LAYOUT_KEY, LAYOUT + 1);
  await assertRejects(() => prepareLayout(kv), LayoutError, `layout ${LAYOUT + 1}`);
  assertEquals((await kv.get(LAYOUT_KEY)).value, LAYOUT + 1);
  await kv.set(LAYOUT_KEY, "two");
  await assertRejects(() => prepareLayout(kv), LayoutError);
});

Deno.test("layout: the program upgrades the file of an old version, and refuses a newer one with exit code 1", async () => {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/kv`;
  const { readable } = await Deno.open(
    new URL("../storage/before_user_ids.kv.gz", import.meta.url),
  );
  await Deno.writeFile(path, readable.pipeThrough(new DecompressionStream("gzip")));
  {
    using kv = await Deno.openKv(path);
    assertEquals(await layoutOf(kv), 0);
    await prepareLayout(kv);
    assertEquals(await layoutOf(kv), LAYOUT);
    await kv.set(LAYOUT_KEY, LAYOUT + 1);
  }
  const { code, stdout, stderr } = await runServer(["--kv", path, "--port", "0"]);
  assertEquals([code, stdout], [1, ""]);
  assertMatch(stderr, /^The database has layout \d+, [^\n]+\n$/);
  await Deno.remove(folder, { recursive: true });
});
