/** The house's rules that a machine can check: who may import whom, who may name what, what lies where. */
import { assert, assertEquals } from "@std/assert";
import config from "../deno.json" with { type: "json" };
import browserConfig from "./browser/deno.json" with { type: "json" };
import { PROJECT } from "./house.ts";

/**
 * Who may import whom in chat/. In the order of a message's way: each imports only those to whom it
 * hands on, and helpers; what comes back comes by a function that it was given.
 */
const WAY: Record<string, string[]> = {
  "mod.ts": ["instance.ts", "server.ts", "feed.ts", "memory.ts"],
  "server.ts": [],
  "instance.ts": [
    "connection.ts",
    "lines.ts",
    "requests.ts",
    "handler.ts",
    "resume.ts",
    "accounts.ts",
    "storage.ts",
    "feed.ts",
    "batch.ts",
    "history.ts",
    "lease.ts",
    "sender.ts",
    "unnamed.ts",
  ],
  "connection.ts": ["lines.ts", "requests.ts", "handler.ts", "resume.ts", "sender.ts"],
  "lines.ts": ["handler.ts", "resume.ts", "sender.ts"],
  "requests.ts": ["handler.ts", "sender.ts"],
  "handler.ts": [
    "resume.ts",
    "accounts.ts",
    "storage.ts",
    "feed.ts",
    "batch.ts",
    "history.ts",
    "sender.ts",
  ],
  "resume.ts": ["storage.ts", "history.ts", "tail.ts", "sender.ts"],
  "accounts.ts": ["storage.ts", "claims.ts"],
  "storage.ts": ["members.ts", "table.ts", "claims.ts", "rooms.ts", "feed.ts", "batch.ts"],
  "claims.ts": [],
  "rooms.ts": [],
  "members.ts": [],
  "table.ts": [],
  "feed.ts": ["shard.ts", "batch.ts"],
  "shard.ts": ["batch.ts"],
  "batch.ts": [],
  "history.ts": ["quota.ts", "tail.ts", "leftovers.ts"],
  "quota.ts": ["tail.ts"],
  "leftovers.ts": [],
  "tail.ts": [],
  "sender.ts": [],
  "lease.ts": ["feed.ts"],
  "unnamed.ts": [],
  "memory.ts": [],
};

/** The files of the page. */
const PAGE = [
  ...[
    "index.html",
    "style.css",
    "page.js",
    "chat.js",
    "commands.js",
    "dom.js",
    "lists.js",
    "log.js",
  ],
];

/** Helpers: below everything, and what they need of each other. */
const HELPERS: Record<string, string[]> = {
  "text.ts": ["events.ts"],
  "json.ts": ["events.ts"],
  "events.ts": [],
  "kv_limits.ts": [],
  "place.ts": [],
  "retention.ts": [],
  "cursor.ts": [],
  "refusals.ts": [],
  "names.ts": ["limits.ts"],
  "likeness.ts": ["names.ts", "confusables.ts", "reserved.ts"],
  "reserved.ts": [],
  "imitation.ts": ["events.ts", "likeness.ts", "names.ts", "refusals.ts", "text.ts"],
  "confusables.ts": [],
  "passwords.ts": [],
  "attempts.ts": ["clock.ts"],
  "tokens.ts": [],
  "terminate.ts": [],
  "pongs.ts": ["clock.ts"],
  "limits.ts": ["buckets.ts"],
  "flood.ts": ["buckets.ts", "limits.ts", "clock.ts", "encoded.ts"],
  "encoded.ts": ["events.ts"],
  "settings.ts": ["limits.ts"],
  "buckets.ts": [],
  "access.ts": [],
  "addresses.ts": [],
  "backlog.ts": ["clock.ts"],
  "slow.ts": ["backlog.ts", "clock.ts"],
  "clock.ts": [],
  "moment.ts": ["clock.ts"],
  "pool.ts": ["clock.ts"],
  "log.ts": ["clock.ts"],
  "assets.ts": ["client.js", ...PAGE.map((name) => `page/${name}`)],
};

/** Names of the platform, and the only files in which they may stand. */
const PLATFORM: [RegExp, string[]][] = [
  [/\bDeno\.(env|exit|addSignalListener|args)\b/, []],
  [/\bnew Response\b|\bDeno\.upgradeWebSocket\b/, ["server.ts"]],
  [/\bDeno\.serve\b/, []],
  [/\.(atomic|list|getMany|watch)\(/, [
    "table.ts",
    "storage.ts",
    "accounts.ts",
    "shard.ts",
    "feed.ts",
    "history.ts",
    "leftovers.ts",
    "quota.ts",
    "lease.ts",
  ]],
];

async function sources(): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  for await (const { name } of Deno.readDir(new URL("chat", PROJECT))) {
    if (!name.endsWith(".ts")) continue;
    files.set(name, await Deno.readTextFile(new URL(`chat/${name}`, PROJECT)));
  }
  return files;
}

/** Without comments, in which anything may be named. */
function code(text: string): string {
  return text.replace(/\/\*[^]*?\*\//g, "").replace(/^\s*\/\/.*$/gm, "");
}

Deno.test("a file imports only those after it on a message's way, and helpers", async () => {
  const files = await sources();
  const table = { ...WAY, ...HELPERS };
  assertEquals([...files.keys()].sort(), Object.keys(table).sort());
  for (const [name, text] of files) {
    const imported = [...code(text).matchAll(/from "\.\/([^"]+)"/g)].map(([, file]) => file!);
    const allowed = name in HELPERS ? HELPERS[name]! : [...WAY[name]!, ...Object.keys(HELPERS)];
    for (const file of imported) assert(allowed.includes(file), `${name} imports ${file}`);
  }
});

Deno.test("the way of a message never turns back: no two files import each other, over any detour", () => {
  const table = { ...WAY, ...HELPERS };
  const visit = (file: string, path: string[]): void => {
    assert(!path.includes(file), `${[...path, file].join(" -> ")}`);
    for (const next of table[file] ?? []) visit(next, [...path, file]);
  };
  for (const file of Object.keys(table)) visit(file, []);
});

Deno.test("the platform is named only where it belongs", async () => {
  for (const [name, text] of await sources()) {
    for (const [platform, where] of PLATFORM) {
      if (!where.includes(name)) assert(!platform.test(code(text)), `${name} names ${platform}`);
    }
  }
});

Deno.test("no module has state of its own", async () => {
  for (const [name, text] of await sources()) {
    assert(!/^(export )?(let|var) /m.test(code(text)), `${name} has a module-level variable`);
    assert(!/^(export )?const \w+ = new (Map|Set|WeakMap)/m.test(code(text)), `${name} has a map`);
  }
});

Deno.test("a file opens with what it is for, and everything exported is explained", async () => {
  for (const [name, text] of await sources()) {
    assert(text.startsWith("/**\n"), `${name} does not say what it is for`);
    const lines = text.split("\n");
    lines.forEach((line, i) => {
      if (!/^export (async )?(function|class|interface|type|const) \w/.test(line)) return;
      assert(/\*\/$/.test(lines[i - 1]!), `${name}: ${line}`);
    });
  }
});

Deno.test("the top level holds what it should and nothing else", async () => {
  const allowed = [
    "main.ts",
    "chat",
    "deno.json",
    "tests",
    "README.md",
    "deno.lock",
    "LICENSE",
    "dist",
  ];
  for await (const { name } of Deno.readDir(PROJECT)) {
    assert(name.startsWith(".") || allowed.includes(name), name);
  }
});

/** The packages that a lock file names, by name and version. */
async function lockedPackages(path: string): Promise<Record<string, { integrity: string }>> {
  return JSON.parse(await Deno.readTextFile(new URL(path, PROJECT))).npm;
}

Deno.test("the server's lock file names at most 6 packages: a first run fetches all of them", async () => {
  const packages = Object.keys(await lockedPackages("deno.lock"));
  assert(packages.length <= 6, packages.join(", "));
});

Deno.test("the browser tests run with the server's settings and its versions of shared packages", async () => {
  for (const setting of ["unstable", "compilerOptions", "fmt"] as const) {
    assertEquals(browserConfig[setting], config[setting], setting);
  }
  const ownImports = ["@sparticuz/chromium", "axe-core", "puppeteer-core"];
  const rootImports: Record<string, string> = config.imports;
  for (const [name, target] of Object.entries(browserConfig.imports)) {
    if (!ownImports.includes(name)) assertEquals(target, rootImports[name], name);
  }
  const browserPackages = await lockedPackages("tests/browser/deno.lock");
  for (const [name, { integrity }] of Object.entries(await lockedPackages("deno.lock"))) {
    assertEquals(browserPackages[name]?.integrity, integrity, name);
  }
});
