import { assert, assertEquals } from "@std/assert";
import {
  addMutation,
  type CommitSize,
  isRefusal,
  keyBytes,
  MAX_COMMIT_BYTES,
  MAX_KEY_BYTES,
  MAX_MUTATIONS,
  valueBytes,
} from "../../chat/kv/limits.ts";
import { serialize } from "node:v8";
import { Random } from "../support/random.ts";
import { DenoKv, testWithProgram } from "../support/processes.ts";

/** What KV says of a commit: the error, or nothing when it took it. */
async function errorOf(kv: Deno.Kv, mutations: Deno.KvMutation[]): Promise<Error | undefined> {
  try {
    await kv.atomic().mutate(...mutations).commit();
  } catch (error) {
    return error as Error;
  }
}

const set = (key: Deno.KvKey): Deno.KvMutation => ({ type: "set", key, value: 1 });

function sizeOf(mutations: Deno.KvMutation[]): CommitSize {
  const size = { mutations: 0, keyBytes: 0, bytes: 0 };
  for (const mutation of mutations) addMutation(size, mutation);
  return size;
}

/** A key of parts of every kind, and of characters that take one to four bytes. */
function randomKey(random: Random): Deno.KvKeyPart[] {
  const letters = ["a", "\0", "é", "ß", "日", "ﷺ", "💚", "\ud800", "\udc00", "\uffff"];
  const parts: (() => Deno.KvKeyPart)[] = [
    () => Array.from({ length: random.below(100) }, () => random.pick(letters)).join(""),
    () => random.next() * 10 ** random.below(20) - 5,
    () => BigInt(random.below(1000) - 500) ** BigInt(1 + random.below(12)),
    () => random.percent(50),
    () => new Uint8Array(Array.from({ length: random.below(20) }, () => random.below(3))),
  ];
  return Array.from({ length: 1 + random.below(4) }, () => random.pick(parts)());
}

Deno.test("keyBytes counts as KV does: at the limit a commit is taken, one byte more is refused", async () => {
  using kv = await Deno.openKv(":memory:");
  const random = new Random(1);
  for (let round = 0; round < 30; round++) {
    const mutations: Deno.KvMutation[] = [];
    const size = sizeOf([]);
    while (size.keyBytes < MAX_KEY_BYTES - 4000) {
      mutations.push(set([round, mutations.length, ...randomKey(random)]));
      addMutation(size, mutations.at(-1)!);
    }
    // What is missing, in two keys.
    const missing = MAX_KEY_BYTES - size.keyBytes;
    const filler = (bytes: number, fill: string) => ["\0" + fill.repeat(bytes - 4)];
    const half = missing >> 1;
    mutations.push(set(filler(half, "x")));
    const exact = [...mutations, set(filler(missing - half, "y"))];
    assertEquals(sizeOf(exact).keyBytes, MAX_KEY_BYTES);
    assertEquals(await errorOf(kv, exact), undefined);
    const more = [...mutations, set(filler(missing - half + 1, "y"))];
    assertEquals((await errorOf(kv, more))?.message, "Total key size too large (max 81920 bytes)");
  }
});

Deno.test("addMutation counts a key that is removed once, and not towards the keys with a value", async () => {
  using kv = await Deno.openKv(":memory:");
  const mutations: Deno.KvMutation[] = Array.from({ length: 400 }, (_, i) => {
    return { type: "delete", key: [String(i).padEnd(2046, "x")] };
  });
  assertEquals(sizeOf(mutations), { mutations: 400, keyBytes: 0, bytes: MAX_COMMIT_BYTES });
  assertEquals(await errorOf(kv, mutations), undefined);
  mutations.push({ type: "delete", key: [true] });
  const message = `Total mutation size too large (max ${MAX_COMMIT_BYTES} bytes)`;
  assertEquals((await errorOf(kv, mutations))?.message, message);
});

Deno.test("valueBytes is never less than what V8 writes", () => {
  const random = new Random(2);
  const values: (() => unknown)[] = [
    () => random.pick(["a", "é", "日", "💚"]).repeat(random.below(300)),
    () => Math.floor(random.next() * 10 ** random.below(18)) - 1000,
    () => random.next(),
    () => random.pick([true, null, undefined, 2n ** BigInt(random.below(200))]),
    () => ({ nick: "é日".repeat(random.below(30)), room: undefined, since: Date.now() }),
    () => Array.from({ length: random.below(12) }, () => random.pick(values.slice(0, 5))()),
    () => ({ v: 1, claims: Array.from({ length: random.below(12) }, () => values[0]!()) }),
  ];
  for (let i = 0; i < 2000; i++) {
    const value = random.pick(values)();
    const real = serialize(value).length;
    assert(valueBytes(value) >= real, `${valueBytes(value)} for ${real}: ${Deno.inspect(value)}`);
  }
});

/** Commits that KV refuses, each for another reason. */
const REFUSED: Record<string, (atomic: Deno.AtomicOperation) => Deno.AtomicOperation> = {
  "a key too long": (atomic) => atomic.set(["x".repeat(2047)], 1),
  "a value too long": (atomic) => atomic.set(["a"], "x".repeat(65_536)),
  "too many key bytes": (atomic) => {
    for (let i = 0; i < 50; i++) atomic.set([String(i).padEnd(2046, "x")], 1);
    return atomic;
  },
  "too many bytes": (atomic) => {
    for (let i = 0; i < 13; i++) atomic.set([i], "x".repeat(65_000));
    return atomic;
  },
  "too many mutations": (atomic) => {
    for (let i = 0; i <= MAX_MUTATIONS; i++) atomic.delete([i]);
    return atomic;
  },
  "too many checks": (atomic) => {
    for (let i = 0; i < 101; i++) atomic.check({ key: [i], versionstamp: null });
    return atomic;
  },
  "an empty key": (atomic) => atomic.set([], 1),
  "a check that is none": (atomic) => atomic.check({ key: ["a"], versionstamp: "1" }),
  "a value that cannot be stored": (atomic) => atomic.set(["a"], () => {}),
  "a sum with something that is no number": (atomic) =>
    atomic.mutate({ type: "sum", key: ["text"], value: new Deno.KvU64(1n) }),
  "an expiry that never comes": (atomic) => atomic.set(["a"], 1, { expireIn: 1e20 }),
};

async function areRefusals(kv: Deno.Kv): Promise<void> {
  await kv.set(["text"], "text");
  for (const [what, make] of Object.entries(REFUSED)) {
    const error = await Promise.resolve().then(() => make(kv.atomic()).commit()).then(
      () => undefined,
      (error) => error,
    );
    assert(isRefusal(error), `${what}: ${error}`);
  }
}

Deno.test("isRefusal knows each reason for which the local KV refuses a commit", async () => {
  using kv = await Deno.openKv(":memory:");
  await areRefusals(kv);
});

testWithProgram(
  "denokv",
  "isRefusal knows each reason for which denokv refuses a commit",
  async () => {
    await using server = await DenoKv.start();
    Deno.env.set("DENO_KV_ACCESS_TOKEN", DenoKv.TOKEN);
    using kv = await Deno.openKv(server.url);
    await areRefusals(kv);
    // Ten checks are taken, and a commit with eleven is refused by the server alone.
    const checking = (checks: number) => {
      const atomic = kv.atomic().set(["a"], 1);
      for (let i = 0; i < checks; i++) atomic.check({ key: ["no", i], versionstamp: null });
      return atomic.commit();
    };
    assert((await checking(10)).ok);
    assert(isRefusal(await checking(11).catch((error) => error)));
  },
);

Deno.test("isRefusal takes a file that is locked, broken or closed for an outage", async () => {
  const folder = await Deno.makeTempDir();
  const kv = await Deno.openKv(`${folder}/kv`);
  await kv.set(["a"], 1);
  kv.close();
  const closed = await kv.set(["a"], 1).catch((error) => error);
  await Deno.remove(folder, { recursive: true });
  assertEquals(isRefusal(closed), false);
  // What SQLite says of these, by Deno 2.9.6, in errors of the same class as a refusal.
  for (const message of ["database is locked", "no such table: kv", "database or disk is full"]) {
    assertEquals(isRefusal(new TypeError(message)), false);
  }
  const url = "http://127.0.0.1:1/v2/atomic_write";
  for (const status of ["401 Unauthorized", "429 Too Many Requests", "503 Service Unavailable"]) {
    const error = new Error(`KV Connect failed to call '${url}' (status=${status}): later`);
    assertEquals(isRefusal(error), false);
  }
});

Deno.test("keyBytes is what a key takes alone, part by part", () => {
  assertEquals(keyBytes(["a", "\0", "💚", "\ud800"]), 3 + 4 + 6 + 5);
  assertEquals(keyBytes([1, true, 0n, 255n, -256n, 2n ** 64n]), 9 + 1 + 1 + 2 + 3 + 11);
});
