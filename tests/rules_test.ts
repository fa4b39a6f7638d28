/** The rules of the tree that a machine can check: layers, platform names, documentation, top level. */
import { assert, assertEquals } from "@std/assert";
import browserConfig from "./browser/deno.json" with { type: "json" };
import config from "../deno.json" with { type: "json" };
import { KEYS } from "../chat/kv/key_forms.ts";
import { PROJECT } from "./support/test_server.ts";

/**
 * The layers of chat/, one row a folder, from the top down. A file imports from its own folder and
 * from the folders that its row names; every named folder stands further down.
 */
const LAYERS: Readonly<Record<string, readonly string[]>> = {
  "program": ["", "http", "session", "nicknames", "feed", "base"],
  "": ["http", "session", "nicknames", "storage", "history", "delivery", "feed", "kv", "base"],
  "http": ["session", "base", "client", "page"],
  "session": ["nicknames", "storage", "history", "delivery", "feed", "kv", "base"],
  "nicknames": ["storage", "delivery", "feed", "kv", "base"],
  "storage": ["feed", "kv", "base"],
  "history": ["feed", "kv", "base"],
  "delivery": ["feed", "base"],
  "feed": ["kv", "base"],
  "kv": ["base"],
  "base": [],
  "page": ["client"],
  "client": [],
};

/** Names of the platform, and the only folders or files of chat/ in which they may stand. */
const PLATFORM: readonly (readonly [RegExp, readonly string[]])[] = [
  [/\bDeno\.(env|exit|addSignalListener|args)\b/, []],
  [/\bnew Response\b|\bDeno\.upgradeWebSocket\b/, ["http/"]],
  [/\bDeno\.serve\b/, ["program/"]],
  [
    /\.(atomic|list|getMany|watch)\(/,
    [
      "kv/",
      "feed/",
      "history/",
      "storage/",
      "nicknames/shared_bucket.ts",
    ],
  ],
];

/**
 * How a KV key is spelled: an array as a key or selector, or one that begins with a stored word. "nick",
 * "room" and the stream kinds are also words of other arrays, so only the first form finds them.
 */
const SPELLED_KEYS: readonly RegExp[] = [
  /\b(key|prefix|start|end|\w*KEY|\w*PREFIX)\b(: Deno\.KvKey)? ?[:=] ?\[/,
  /\): Deno\.KvKey \{/,
  /\b(kv|atomic|removal)\.(get|set|delete|check|sum|enqueue)\(\s*\[/,
  new RegExp(`\\["(${storedWords().join("|")})"`),
];

/** The first words of all keys that are not also words of other arrays. */
function storedWords(): string[] {
  const words = Object.values(KEYS).map(({ key }) => /^\["(\w+)"/.exec(key)![1]!);
  return [...new Set(words)].filter((word) => !["nick", "room", "resume", "log"].includes(word));
}

/** The source files of chat/ by their paths below it. */
async function sources(folder = ""): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  for await (const { name, isDirectory } of Deno.readDir(new URL(`chat/${folder}`, PROJECT))) {
    const path = `${folder}${name}`;
    if (isDirectory) {
      for (const [inner, text] of await sources(`${path}/`)) files.set(inner, text);
    } else if (/\.(ts|js)$/.test(name)) {
      files.set(path, await Deno.readTextFile(new URL(`chat/${path}`, PROJECT)));
    }
  }
  return files;
}

/** The folder of a path below chat/; empty for the files that compose the layers. */
function folderOf(path: string): string {
  return path.includes("/") ? path.slice(0, path.indexOf("/")) : "";
}

/** The source without comments, in which anything may be named. */
function code(text: string): string {
  return text.replace(/\/\*[^]*?\*\//g, "").replace(/^\s*\/\/.*$/gm, "");
}

/** The paths below chat/ that a file imports. */
function importsOf(path: string, text: string): string[] {
  const specifiers = code(text).matchAll(/(?:from|import) "(\.\.?\/[^"]+)"/g);
  return [...specifiers].map(([, specifier]) =>
    new URL(specifier!, `file:///${path}`).pathname.slice(1)
  );
}

Deno.test("a file of chat/ imports from its own layer and from the layers below that its row names", async () => {
  for (const [path, text] of await sources()) {
    const folder = folderOf(path);
    const row = LAYERS[folder] ?? [];
    assert(folder in LAYERS, `${folder} is no layer`);
    for (const imported of importsOf(path, text)) {
      const target = folderOf(imported);
      assert(target === folder || row.includes(target), `${path} imports ${imported}`);
    }
  }
});

Deno.test("the layers are in order: each row names only layers further down", () => {
  const order = Object.keys(LAYERS).filter((layer) => layer !== "page" && layer !== "client");
  for (const [i, layer] of order.entries()) {
    for (const below of LAYERS[layer]!) {
      if (below === "page" || below === "client") continue;
      assert(order.indexOf(below) > i, `${layer || "chat/"} names ${below}`);
    }
  }
});

Deno.test("the platform is named only where it belongs", async () => {
  for (const [path, text] of await sources()) {
    if (!path.endsWith(".ts")) continue;
    for (const [platform, where] of PLATFORM) {
      if (where.some((each) => path.startsWith(each))) continue;
      assert(!platform.test(code(text)), `${path} names ${platform}`);
    }
  }
});

Deno.test("no file outside kv/ spells a KV key", async () => {
  for (const [path, text] of await sources()) {
    if (!path.endsWith(".ts") || folderOf(path) === "kv") continue;
    for (const spelling of SPELLED_KEYS) {
      const [found] = spelling.exec(code(text)) ?? [];
      assertEquals(found, undefined, `${path} spells a key`);
    }
  }
});

Deno.test("no module has mutable state, on the server, in the client and in the page", async () => {
  for (const [path, text] of await sources()) {
    assert(!/^(export )?(let|var) /m.test(code(text)), `${path} has a module-level variable`);
    assert(
      !/^(export )?const \w+ = new (Map|Set|WeakMap)\(\)/m.test(code(text)),
      `${path} has a map`,
    );
  }
});

Deno.test("a file opens with what it is for, and everything exported is documented", async () => {
  for (const [path, text] of await sources()) {
    assert(
      /^(\/\/ @ts-[^\n]*\n|\/\/\/ [^\n]*\n)*\/\*\*\n/.test(text),
      `${path} does not say what it is for`,
    );
    const lines = text.split("\n");
    lines.forEach((line, i) => {
      if (!/^export (async )?(function\*?|class|interface|type|const) \w/.test(line)) return;
      assert(/\*\/$/.test(lines[i - 1]!), `${path}: ${line}`);
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
