/** Export, import and check, with a real server on files. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { IMPORTING_KEY } from "../../chat/kv/keys.ts";
import { KEYS } from "../../chat/kv/key_forms.ts";
import { formOf } from "../../chat/care/check.ts";
import { importedId } from "../../chat/care/event_ids.ts";
import { importFile } from "../../chat/care/import.ts";
import { TREATMENTS } from "../../chat/care/treatments.ts";
import { JsonClient, type JsonObject } from "../support/json_client.ts";
import { checkedHistory } from "../support/kv_rows.ts";
import { runServer } from "../support/processes.ts";
import { TestServer } from "../support/test_server.ts";

const PASSWORD = "correct-horse";

interface Folder extends AsyncDisposable {
  readonly path: string;
}

async function tempFolder(): Promise<Folder> {
  const path = await Deno.makeTempDir();
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

async function succeed(client: JsonClient, request: object): Promise<JsonObject> {
  const reply = (await client.requestAll(request)).at(-1)!;
  assert(reply.type !== "error", JSON.stringify(reply));
  return reply;
}

/** Runs a server on a file, and does something as Ann in the room "red". */
async function asAnn<T>(
  path: string,
  first: boolean,
  act: (client: JsonClient, server: TestServer) => Promise<T>,
): Promise<T> {
  using kv = await Deno.openKv(path);
  await using server = await TestServer.open({ kv, rateLimits: "off" });
  const client = await JsonClient.connect(server);
  if (first) {
    await succeed(client, { type: "login", nick: "Ann" });
    await succeed(client, { type: "register", password: PASSWORD });
  } else await succeed(client, { type: "identify", nick: "Ann", password: PASSWORD });
  await succeed(client, { type: "join", room: "red" });
  const result = await act(client, server);
  await client.connection.disconnect();
  assertEquals(server.warnings, []);
  return result;
}

async function historyOf(client: JsonClient): Promise<JsonObject[]> {
  return (await succeed(client, { type: "history", room: "red", limit: 100 })).events;
}

/** Fills a new database. Returns the history of its room. */
async function fill(path: string): Promise<JsonObject[]> {
  return await asAnn(path, true, async (client) => {
    for (let i = 0; i < 20; i++) {
      await succeed(client, { type: "message", room: "red", text: `word ${i} 👋` });
    }
    const [first, second] = await historyOf(client);
    await succeed(client, { type: "edit", room: "red", id: first!.id, text: "edited" });
    await succeed(client, { type: "delete", room: "red", id: second!.id });
    return await historyOf(client);
  });
}

/** Leaves out what an import changes: the IDs. */
function withoutIds(events: JsonObject[]): JsonObject[] {
  return events.map(({ id: _, ...event }) => event);
}

Deno.test("export, wipe, import: registrations and history are equal, and new messages are later", async () => {
  await using folder = await tempFolder();
  const [from, to, file] = ["from", "to", "file"].map((name) => `${folder.path}/${name}`) as [
    string,
    string,
    string,
  ];
  const before = await fill(from);
  const exported = await runServer(["export", "--kv", from, file]);
  assertEquals([exported.code, exported.stderr], [0, ""]);
  const imported = await runServer(["import", "--kv", to, file]);
  assertEquals([imported.code, imported.stderr], [0, ""]);
  {
    using kv = await Deno.openKv(to);
    await checkedHistory(kv);
  }
  await asAnn(to, false, async (client) => {
    const after = await historyOf(client);
    assertEquals(withoutIds(after), withoutIds(before));
    assertEquals(after.map(({ id }) => id), before.map(({ id }) => importedId(id)));
    await succeed(client, { type: "message", room: "red", text: "new" });
    assertEquals((await historyOf(client)).at(-1)!.text, "new");
  });
  const checked = await runServer(["check", "--kv", to]);
  assertMatch(checked.stdout, /^Read \d+ rows: 0 findings, 0 repaired\.\n$/);
  assertEquals(checked.code, 0);
  const again = await runServer(["import", "--kv", to, file]);
  assertEquals(again.code, 1);
  assertMatch(again.stderr, /^Cannot import: the database is not empty[^\n]*\n$/);
});

Deno.test("export: an interrupted file is continued to the same file, and a finished one is kept", async () => {
  await using folder = await tempFolder();
  const from = `${folder.path}/from`, file = `${folder.path}/file`;
  await fill(from);
  assertEquals((await runServer(["export", "--kv", from, file])).code, 0);
  const whole = await Deno.readTextFile(file);
  for (const part of [0.2, 0.5, 0.9]) {
    await Deno.writeTextFile(file, whole.slice(0, whole.length * part));
    assertEquals((await runServer(["export", "--kv", from, file])).code, 0);
    assertEquals(await Deno.readTextFile(file), whole);
  }
  assertEquals((await runServer(["export", "--kv", from, file])).code, 1);
  assertEquals(await Deno.readTextFile(file), whole);
});

Deno.test("import: damaged and newer files are refused with the line's number, and nothing is imported", async () => {
  await using folder = await tempFolder();
  const from = `${folder.path}/from`, to = `${folder.path}/to`, file = `${folder.path}/file`;
  await fill(from);
  await runServer(["export", "--kv", from, file]);
  const whole = await Deno.readTextFile(file);
  const lines = whole.trimEnd().split("\n");
  const join = (lines: string[]) => lines.join("\n") + "\n";
  const damaged: [string, RegExp][] = [
    [whole.replace('"format":1', '"format":2'), /^Line 1: .*newer/],
    [whole.replace("word 7", "word 8"), /^Line \d+: the checksum is wrong/],
    [join(lines.slice(0, -1)), /^Line \d+ is missing/],
    [join(lines.toSpliced(2, 1)), /checksum/],
    [join(lines.with(3, "{")), /^Line 4 is damaged/],
    [join(lines.with(2, '{"form":"lease","key":["instance","x"],"value":1}')), /^Line 3 is/],
    [whole + "{}\n", /is after the last one/],
  ];
  using kv = await Deno.openKv(to);
  for (const [text, reason] of damaged) {
    const open = () => Promise.resolve(new Blob([text]).stream() as ReadableStream<Uint8Array>);
    const error = await importFile({ kv, nowMs: 0, historyMs: 1e9, registrationMs: 1e9, open })
      .then(() => undefined, (error) => error as Error);
    assertMatch(error?.message ?? "it was imported", reason);
    assertEquals((await Array.fromAsync(kv.list({ prefix: [] }))).length, 0);
  }
});

Deno.test("import: after an interruption at any commit it continues, and applies nothing twice", async () => {
  await using folder = await tempFolder();
  const from = `${folder.path}/from`, file = `${folder.path}/file`;
  await fill(from);
  await runServer(["export", "--kv", from, file]);
  const nowMs = Date.now();
  const rowsOf = async (kv: Deno.Kv) =>
    (await Array.fromAsync(kv.list<unknown>({ prefix: [] }))).map(({ key, value }) => [key, value]);
  const open = async () => (await Deno.open(file)).readable;
  using whole = await Deno.openKv(":memory:");
  const parts = { nowMs, historyMs: 1e9, registrationMs: 1e9, open, maxRows: 1 };
  await importFile({ ...parts, kv: whole });
  let interruptions = 0;
  using kv = await Deno.openKv(":memory:");
  for (let isDone = false; !isDone;) {
    let commits = 0;
    const faulty = new Proxy(kv, {
      get(target, name) {
        if (name === "atomic" && ++commits > 2) throw new Error("interrupted");
        const value = Reflect.get(target, name) as unknown;
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
    isDone = await importFile({ ...parts, kv: faulty }).then(() => true, (error: Error) => {
      assertEquals(error.message, "interrupted");
      return false;
    });
    if (!isDone) interruptions++;
    assert(interruptions < 100);
  }
  assert(interruptions > 3, `${interruptions} interruptions`);
  assertEquals(await rowsOf(kv), await rowsOf(whole));
  assertEquals((await kv.get(IMPORTING_KEY)).versionstamp, null);
});

Deno.test("import and repair refuse a database that a chat uses", async () => {
  await using folder = await tempFolder();
  const path = `${folder.path}/kv`, file = `${folder.path}/file`;
  using kv = await Deno.openKv(path);
  await using _server = await TestServer.open({ kv });
  const empty = `${folder.path}/empty`;
  (await Deno.openKv(empty)).close();
  await runServer(["export", "--kv", empty, file]);
  for (const args of [["import", "--kv", path, file], ["check", "--repair", "--kv", path]]) {
    const { code, stderr } = await runServer(args);
    assertEquals(code, 1);
    assertMatch(stderr, /^Cannot (import|repair): a chat uses the database[^\n]*\n$/);
  }
});

Deno.test("check: finds a missing mirror, orphans and wrong counters, and --repair mends them", async () => {
  await using folder = await tempFolder();
  const path = `${folder.path}/kv`;
  await fill(path);
  const run = async (...args: string[]) => await runServer(["check", "--kv", path, ...args]);
  const clean = await run();
  assertEquals([clean.code, clean.stderr], [0, ""], clean.stdout);
  {
    using kv = await Deno.openKv(path);
    const [row] = await Array.fromAsync(kv.list({ prefix: ["log"] }));
    await kv.delete(["history_row", "log", row!.key[2]!, "red"]);
    await kv.set(["history_row", "log", "b1000", "blue"], [1, 1]);
    await kv.set(["history_bytes"], new Deno.KvU64(7n));
    await kv.set(["nick", "nobody"], { kept: "nobody" });
    await kv.set(["row", "x", "room_red"], { nick: "x" });
    await kv.set(["surprise"], 1);
  }
  const found = await run();
  assertEquals(found.code, 1);
  for (
    const word of [
      "no index row",
      "blue",
      "bytes of history",
      "nobody",
      "reverse_lookup",
      "surprise",
    ]
  ) {
    assert(found.stdout.includes(word), `${word}: ${found.stdout}`);
  }
  await run("--repair");
  const left = (await run()).stdout.trimEnd().split("\n");
  assertEquals(left.length, 2, left.join("\n"));
  assertEquals(left[0], '["surprise"] has an unknown form');
});

Deno.test("care: every form of key has a treatment, and the check knows it", () => {
  assertEquals(Object.keys(TREATMENTS).sort(), Object.keys(KEYS).sort());
  for (const [name, { key }] of Object.entries(KEYS)) {
    const sample = key.slice(1, -1).split(", ").map((part) => {
      if (part === "<shard>") return 7;
      return part.split(" | ")[0]!.replaceAll('"', "");
    });
    assertEquals(formOf(sample) ?? key, name);
  }
});

Deno.test("export: --room and --from select messages, and registrations stay out", async () => {
  await using folder = await tempFolder();
  const from = `${folder.path}/from`, file = `${folder.path}/file`;
  await fill(from);
  const forms = async (...options: string[]) => {
    await Deno.remove(file).catch(() => {});
    assertEquals((await runServer(["export", "--kv", from, ...options, file])).code, 0);
    const lines = (await Deno.readTextFile(file)).trimEnd().split("\n").slice(1, -1);
    return lines.map((line) => JSON.parse(line).form as string);
  };
  assert((await forms()).includes("account"));
  assertEquals([...new Set(await forms("--room", "red"))], ["historyRow"]);
  assertEquals(await forms("--room", "blue"), []);
  assert(!(await forms("--from", "2200-01-01")).includes("historyRow"));
});
