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

/**
 * Returns the built files: their texts by name. Names of parts contain a hash of their content.
 * The result does not depend on where the tree and the cache of packages are.
 *
 * @throws if a module has a mistake, or Deno cannot fetch its bundler
 */
export async function buildPage(): Promise<Record<string, string>> {
  const files: Record<string, string> = {};
  const { success, errors, outputFiles = [] } = await Deno.bundle({
    entrypoints: ENTRIES.map((each) => new URL(each, PAGE).pathname),
    outputDir: "built",
    platform: "browser",
    minify: true,
    codeSplitting: true,
    write: false,
  });
  if (!success) throw new Error(errors.map(({ text }) => text).join("\n"));
  for (const file of outputFiles) files[file.path.replace(/^.*\//, "")] = file.text();
  nameByContent(files);
  files["index.html"] = withPreloads(await readSource("index.html"), files["page.js"] ?? "");
  return Object.fromEntries(Object.entries(files).sort(([one], [other]) => one < other ? -1 : 1));
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
