/**
 * Makes chat/page/built.json, the files that the browser loads: the modules of the page and the client in one
 * minified file, parts that are loaded when they are needed, and the style. `deno task page` runs it after
 * a change in page/ or client/.
 *
 * The result is committed, so that whoever runs the server builds nothing. The server does not import
 * this file. With `--check` it only compares, which a test does.
 */
const PAGE = new URL("../../chat/page/", import.meta.url);
const RESULT = new URL("built.json", PAGE);
const ENTRIES = ["page.js", "style.css"];

/**
 * Returns the built files: their texts by name. Names of parts contain a hash of their content.
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
  files["index.html"] = withPreloads(await readSource("index.html"), files["page.js"] ?? "");
  return Object.fromEntries(Object.entries(files).sort(([one], [other]) => one < other ? -1 : 1));
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
