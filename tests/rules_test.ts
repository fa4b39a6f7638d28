/**
 * The rules of the tree that a machine can check: layers, platform names, sizes, documentation, state,
 * the top level, dependencies.
 */
import { assert, assertEquals } from "@std/assert";
import browserConfig from "./browser/deno.json" with { type: "json" };
import config from "../deno.json" with { type: "json" };
import { KEYS } from "../chat/kv/key_forms.ts";
import { PROJECT } from "./support/processes.ts";

/**
 * The layers of chat/, one row a folder, from the top down. A file imports from its own folder and
 * from the folders that its row names. The row "" is the files of chat/ itself, which compose the
 * layers. `client` and `page` run in a browser, outside this order: only `http` serves them.
 */
const LAYERS: Readonly<Record<string, readonly string[]>> = {
  "program": ["", "care", "kv", "base"],
  "": [
    "http",
    "protocols",
    "handler",
    "resume",
    "connections",
    "moderation",
    "nicknames",
    "storage",
    "history",
    "delivery",
    "feed",
    "kv",
    "base",
  ],
  "care": ["history", "feed", "kv", "base"],
  "http": ["connections", "base", "client", "page"],
  "protocols": ["handler", "connections", "storage", "delivery", "feed", "base"],
  "handler": [
    "resume",
    "connections",
    "moderation",
    "nicknames",
    "storage",
    "history",
    "delivery",
    "feed",
    "kv",
    "base",
  ],
  "resume": ["moderation", "storage", "history", "delivery", "feed", "kv", "base"],
  "connections": ["storage", "delivery", "base"],
  "moderation": ["nicknames", "storage", "history", "delivery", "feed", "kv", "base"],
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

/** The layers that run in a browser. */
const BROWSER_LAYERS = ["page", "client"];

/** Folders of tests/ that mirror no layer. */
const OTHER_TESTS = ["attacks", "bench", "browser", "cluster", "golden", "support"];

/** Names of the platform, with the only folders or files of the server that may use them. */
const SERVER_PLATFORM: readonly (readonly [RegExp, readonly string[]])[] = [
  [/\bDeno\.(env|exit|addSignalListener|removeSignalListener|kill|args)\b/, []],
  [/\bnew Response\b/, ["http/"]],
  [/\bDeno\.upgradeWebSocket\b/, ["http/upgrade.ts"]],
  [/\bDeno\.(serve|listen)\b/, ["program/"]],
  [/\bDeno\.openKv\b/, ["program/"]],
  [/\bnew Worker\b/, ["program/workers.ts"]],
  [/\bDeno\.memoryUsage\b/, ["mod.ts"]],
  [/\bconsole\b/, ["mod.ts", "program/"]],
  // Time and chance come from the clock, so that a test controls both.
  [
    /\b(setTimeout|setInterval|setImmediate|Date\.now|performance\.now|Math\.random)\b/,
    ["base/clock.ts", "program/"],
  ],
  [
    /\.(atomic|list|getMany|watch)\(/,
    [
      "kv/",
      "care/",
      "feed/",
      "history/",
      "storage/",
      "moderation/",
      "nicknames/shared_bucket.ts",
    ],
  ],
];

/** Names of the platform, with the only folders of the browser's code that may use them. */
const BROWSER_PLATFORM: readonly (readonly [RegExp, readonly string[]])[] = [
  [/\bDeno\b|\bnode:|\bnpm:/, []],
  [/\bdocument\b|\blocalStorage\b/, ["page/"]],
  [/\.innerHTML\b|\binsertAdjacentHTML\b|\beval\(/, []],
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

/** Returns the first words of all keys, except those that are also words of other arrays. */
function storedWords(): string[] {
  const words = Object.values(KEYS).map(({ key }) => /^\["(\w+)"/.exec(key)![1]!);
  return [...new Set(words)].filter((word) =>
    !["nick", "room", "resume", "log", "user", "read"].includes(word)
  );
}

/** Lines of a file. A longer file is more than one idea. */
const MAX_FILE_LINES = 400;

/**
 * Files that are longer. A stylesheet is one idea, however many elements the page has.
 */
const LONG_FILES = ["page/style.css"];

/** Lines of a function's body. */
const MAX_FUNCTION_LINES = 60;

/** Lines of main.ts. */
const MAX_MAIN_LINES = 150;

/** Reads the source files of chat/, by their paths below it. */
async function sources(folder = ""): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  for await (const { name, isDirectory } of Deno.readDir(new URL(`chat/${folder}`, PROJECT))) {
    const path = `${folder}${name}`;
    if (isDirectory) {
      for (const [inner, text] of await sources(`${path}/`)) files.set(inner, text);
    } else if (/\.(ts|js|css)$/.test(name)) {
      files.set(path, await Deno.readTextFile(new URL(`chat/${path}`, PROJECT)));
    }
  }
  return files;
}

/** Returns the folder of a path below chat/; empty for the files of chat/ itself. */
function folderOf(path: string): string {
  return path.includes("/") ? path.slice(0, path.indexOf("/")) : "";
}

/** Returns the source without comments, which may name anything. */
function code(text: string): string {
  return text.replace(/\/\*[^]*?\*\//g, "").replace(/^\s*\/\/.*$/gm, "");
}

/** Returns the paths below chat/ that a file imports. */
function importsOf(path: string, text: string): string[] {
  const specifiers = code(text).matchAll(/(?:from|import) "(\.\.?\/[^"]+)"/g);
  return [...specifiers].map(([, specifier]) =>
    new URL(specifier!, `file:///${path}`).pathname.slice(1)
  );
}

/** Yields the functions and methods of a formatted file: their first lines and numbers of lines. */
function* functionsOf(text: string): Generator<{ head: string; size: number }> {
  const lines = text.split("\n");
  const isHead = (line: string) =>
    /^(export )?(async )?function\b.*\{$|^\).* \{$/.test(line) ||
    /^ {2}(?!if\b|for\b|while\b|switch\b)((static|async|get|set|override) )*\*?[#\w]+(<.*>)?\(.*\{$/
      .test(line) ||
    /^ {2}\).* \{$/.test(line);
  for (const [i, head] of lines.entries()) {
    if (!isHead(head)) continue;
    const indentation = /^ */.exec(head)![0];
    const end = lines.findIndex((line, j) => j > i && line.startsWith(`${indentation}}`));
    yield { head: head.trim(), size: end - i - 1 };
  }
}

Deno.test("every folder of chat/ is a layer, and every folder of tests/ mirrors one or is listed", async () => {
  for (const path of (await sources()).keys()) {
    assert(folderOf(path) in LAYERS, `${folderOf(path)} is not a layer`);
  }
  for await (const { name, isDirectory } of Deno.readDir(new URL("tests/", PROJECT))) {
    if (isDirectory && !name.startsWith(".")) {
      assert(name in LAYERS || OTHER_TESTS.includes(name), `tests/${name} mirrors no layer`);
    }
  }
});

Deno.test("a file of chat/ imports from its own layer and from the layers below that its row names", async () => {
  const found: string[] = [];
  for (const [path, text] of await sources()) {
    const folder = folderOf(path);
    for (const imported of importsOf(path, text)) {
      const target = folderOf(imported);
      if (target === folder || LAYERS[folder]?.includes(target)) continue;
      found.push(`${path} imports ${imported}`);
    }
  }
  assertEquals(found, []);
});

Deno.test("the layers are in order: each row names only layers further down", () => {
  const order = Object.keys(LAYERS).filter((layer) => !BROWSER_LAYERS.includes(layer));
  for (const [i, layer] of order.entries()) {
    for (const below of LAYERS[layer]!) {
      if (BROWSER_LAYERS.includes(below)) continue;
      assert(order.indexOf(below) > i, `${layer || "chat/"} names ${below}`);
    }
  }
});

Deno.test("only the files that the tables name use the platform", async () => {
  const found: string[] = [];
  for (const [path, text] of await sources()) {
    const isBrowser = BROWSER_LAYERS.includes(folderOf(path));
    for (const [platform, where] of isBrowser ? BROWSER_PLATFORM : SERVER_PLATFORM) {
      if (where.some((each) => path.startsWith(each))) continue;
      const name = platform.exec(code(text))?.[0];
      if (name !== undefined) found.push(`${path} uses ${name}`);
    }
  }
  assertEquals(found, []);
});

Deno.test("no file outside kv/ spells a KV key", async () => {
  const found: string[] = [];
  for (const [path, text] of await sources()) {
    if (!path.endsWith(".ts") || folderOf(path) === "kv") continue;
    for (const spelling of SPELLED_KEYS) {
      const key = spelling.exec(code(text))?.[0];
      if (key !== undefined) found.push(`${path} spells ${key}`);
    }
  }
  assertEquals(found, []);
});

Deno.test("no module has mutable state, on the server, in the client and in the page", async () => {
  const found: string[] = [];
  const forms = [
    /^(export )?(let|var) .*/m,
    /^(export )?const .* = new (Map|Set|WeakMap|WeakSet|Array)(<.*>)?\(\);/m,
    /^(export )?const (?!.*\breadonly\b).* = (\[\]|\{\});/mi,
  ];
  for (const [path, text] of await sources()) {
    for (const form of forms) {
      const line = form.exec(code(text))?.[0];
      if (line !== undefined) found.push(`${path}: ${line}`);
    }
  }
  assertEquals(found, []);
});

Deno.test("files and functions are short", async () => {
  const found: string[] = [];
  for (const [path, text] of await sources()) {
    const lines = text.split("\n").length - 1;
    const isListed = LONG_FILES.includes(path);
    if (lines > MAX_FILE_LINES && !isListed) found.push(`${path}: ${lines} lines`);
    if (lines <= MAX_FILE_LINES && isListed) {
      found.push(`${path} is short: remove it from the list`);
    }
    for (const { head, size } of functionsOf(text)) {
      if (size > MAX_FUNCTION_LINES) found.push(`${path}: ${size} lines in ${head}`);
    }
  }
  const main = await Deno.readTextFile(new URL("main.ts", PROJECT));
  if (main.split("\n").length > MAX_MAIN_LINES) found.push("main.ts");
  assertEquals(found, []);
});

Deno.test("a file opens with what it is for, and everything exported is documented", async () => {
  const found: string[] = [];
  for (const [path, text] of await sources()) {
    if (!/^(\/\/ @ts-[^\n]*\n|\/\/\/ [^\n]*\n)*\/\*/.test(text)) {
      found.push(`${path} does not say what it is for`);
    }
    const lines = text.split("\n");
    lines.forEach((line, i) => {
      if (!/^export (async )?(function\*?|class|interface|type|const) \w/.test(line)) return;
      if (!/\*\/$/.test(lines[i - 1]!)) found.push(`${path}: ${line}`);
    });
  }
  assertEquals(found, []);
});

Deno.test("the top level holds only what it must", async () => {
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

/** Returns the packages that a lock file names, by name and version. */
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
