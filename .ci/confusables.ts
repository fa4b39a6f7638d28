/**
 * Writes chat/nicknames/confusables.txt from Unicode's confusables.txt (UTS 39), which is at
 * unicode.org/Public/security/: `deno run -RW .ci/confusables.ts confusables.txt`.
 *
 * The data of Unicode 18.0.0 was taken from the crate unicode-security 0.1.3 (src/tables.rs), which
 * is generated from that file, because unicode.org could not be reached.
 */

/** Characters of a line of the packed table. */
const LINE_CHARS = 98;

const [path] = Deno.args;
if (path === undefined) {
  throw new TypeError("Cannot read the table: run deno run -RW .ci/confusables.ts FILE");
}
const text = await Deno.readTextFile(path);
const version = /^# Version: ([\d.]+)/m.exec(text)?.[1];
if (version === undefined) throw new TypeError(`Cannot read ${path}: it names no version`);

const prototypes = new Map<number, number[]>();
for (const [, source, prototype] of text.matchAll(/^([0-9A-F]+)\s*;\s*([0-9A-F ]+?)\s*;/gm)) {
  prototypes.set(parseInt(source!, 16), prototype!.split(" ").map((each) => parseInt(each, 16)));
}

const tokens: string[] = [];
let before = 0;
for (const [source, prototype] of [...prototypes].sort(([a], [b]) => a - b)) {
  tokens.push(`${base36(source - before)}:${prototype.map(base36).join("+")}`);
  before = source;
}

const lines = [""];
for (const token of tokens) {
  const line = lines.at(-1)!;
  if (line.length + 1 + token.length > LINE_CHARS) lines.push(token);
  else lines[lines.length - 1] = line === "" ? token : `${line} ${token}`;
}

await Deno.writeTextFile(
  new URL("../chat/nicknames/confusables.txt", import.meta.url),
  `# Confusables of Unicode ${version} (UTS 39), ${prototypes.size} characters.
# Written by .ci/confusables.ts, read by chat/nicknames/confusables.ts. Each token is
# source:prototype: a character, and the characters it looks like, as code points in base 36. The
# source is the distance from the source before it; "+" joins the code points of a prototype.
# (c) Unicode, Inc., under the Unicode License V3 (https://www.unicode.org/license.txt).
${lines.join("\n")}
`,
);

function base36(number: number): string {
  return number.toString(36);
}
