/**
 * Makes chat/page/built.json, the files that the browser loads: the modules of the page and the client in one
 * minified file, parts that are loaded when they are needed, and the style. `deno task page` runs it after
 * a change in page/ or client/.
 *
 * The result is committed, so that whoever runs the server builds nothing. The server does not import
 * this file. With `--check` it only compares, which a test does.
 */
import { createHash } from "node:crypto";

const PAGE = new URL("../../chat/page/", import.meta.url);
const RESULT = new URL("built.json", PAGE);
const ENTRIES = ["page.js", "style.css"];
/** The end of the name of a part, with the hash of the bundler. */
const PART = /-[A-Z0-9]{8}\.js$/;

/** The pictures, which JSON holds as base64. */
const PICTURES = ["icon-192.png", "icon-512.png"];

/**
 * Returns the built files: their texts by name. Names of parts contain a hash of their content.
 * The result does not depend on where the tree and the cache of packages are.
 *
 * @throws if a module has a mistake, or Deno cannot fetch its bundler
 */
export async function buildPage(): Promise<Record<string, string>> {
  const files = await bundle(ENTRIES, true);
  files["index.html"] = withPreloads(await readSource("index.html"), files["page.js"] ?? "");
  files["icon.svg"] = await readSource("icon.svg");
  // The worker keeps the files that stand here, under a version that each change of them changes.
  const worker = (await bundle(["sw.js"], false))["sw.js"] ?? "";
  const version = createHash("sha256").update(JSON.stringify(files)).digest("hex").slice(0, 16);
  files["sw.js"] = worker.replace("PAGE_FILES", Object.keys(files).map(pathOf).sort().join(" "))
    .replace("PAGE_VERSION", version);
  files["manifest.webmanifest"] = JSON.stringify(
    JSON.parse(await readSource("manifest.webmanifest")),
  );
  for (const name of PICTURES) {
    files[name] = (await Deno.readFile(new URL(name, PAGE))).toBase64();
  }
  return Object.fromEntries(Object.entries(files).sort(([one], [other]) => one < other ? -1 : 1));
}

/** Bundles and minifies modules, with what they import. Parts that several share stand alone. */
async function bundle(entries: readonly string[], split: boolean): Promise<Record<string, string>> {
  const { success, errors, outputFiles = [] } = await Deno.bundle({
    entrypoints: entries.map((each) => new URL(each, PAGE).pathname),
    outputDir: "built",
    platform: "browser",
    minify: true,
    codeSplitting: split,
    write: false,
  });
  if (!success) throw new Error(errors.map(({ text }) => text).join("\n"));
  const files = Object.fromEntries(
    outputFiles.map((file): [string, string] => [file.path.replace(/^.*\//, ""), file.text()]),
  );
  nameByContent(files);
  return files;
}

/** Returns the path at which the server serves a file (assets.ts). */
function pathOf(name: string): string {
  if (name === "index.html") return "/";
  return name.startsWith("icon") ? `/${name}` : `/page/${name}`;
}

/**
 * Renames the parts by their own content. The bundler's hashes also contain the paths of packages relative
 * to the tree, which differ between machines. A part is renamed after the parts that it names.
 */
function nameByContent(files: Record<string, string>): void {
  const parts = new Set(Object.keys(files).filter((name) => PART.test(name)));
  while (parts.size > 0) {
    const ready = [...parts].find((name) =>
      parts.values().every((other) => other === name || !files[name]!.includes(`./${other}`))
    );
    if (ready === undefined) throw new Error("Parts of the page import each other in a circle");
    const hash = createHash("sha256").update(files[ready]!).digest("hex").slice(0, 8);
    const name = ready.replace(PART, `-${hash.toUpperCase()}.js`);
    files[name] = files[ready]!;
    if (name !== ready) delete files[ready];
    parts.delete(ready);
    for (const [each, text] of Object.entries(files)) {
      files[each] = text.replaceAll(`"./${ready}"`, `"./${name}"`);
    }
  }
}

function readSource(name: string): Promise<string> {
  return Deno.readTextFile(new URL(name, PAGE));
}

/** Has the browser load the parts of the page together with it, and not after it. */
function withPreloads(html: string, page: string): string {
  const links = [...page.matchAll(/\bfrom"\.\/([^"]+)"/g)].map(([, name]) =>
    `<link rel="modulepreload" href="/page/${name}">\n    `
  );
  // Indentation is a quarter of the document.
  return html.replace("<script", `${links.join("")}<script`).replace(/\n\s+/g, "\n");
}

if (import.meta.main) {
  const files = await buildPage();
  const json = JSON.stringify(files, null, 1) + "\n";
  if (Deno.args.includes("--check")) {
    if (json === await Deno.readTextFile(RESULT)) Deno.exit(0);
    console.error("The page has changed since it was built. Run: deno task page");
    Deno.exit(1);
  }
  await Deno.writeTextFile(RESULT, json);
  for (const [name, text] of Object.entries(files)) console.log(`${text.length}\t${name}`);
}
