/**
 * Makes chat/nicknames/confusables_data.ts out of Unicode's confusables.txt (UTS 39), which is at
 * unicode.org/Public/security/: `deno run -RW .ci/confusables.ts confusables.txt`.
 *
 * The data of Unicode 18.0.0 was taken from the crate unicode-security 0.1.3 (src/tables.rs), which
 * is generated from that file, because unicode.org could not be reached.
 */

/** Characters of a line of the packed table. */
const WIDTH = 98;

const [path] = Deno.args;
if (path === undefined) throw new TypeError("which file? deno run -RW .ci/confusables.ts FILE");
const text = await Deno.readTextFile(path);
const version = /^# Version: ([\d.]+)/m.exec(text)?.[1];
if (version === undefined) throw new TypeError(`${path} does not say which version it is`);

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
  if (line.length + 1 + token.length > WIDTH) lines.push(token);
  else lines[lines.length - 1] = line === "" ? token : `${line} ${token}`;
}

await Deno.writeTextFile(
  new URL("../chat/nicknames/confusables_data.ts", import.meta.url),
  `/**
 * Characters that look like others, and like what: Unicode's confusables.txt (UTS 39), packed.
 *
 * A helper below the way of a message, of data alone: .ci/confusables.ts makes this file, and
 * likeness.ts reads it. Each token is a character and what it looks like, \`source:prototype\`, in
 * code points of base 36: the source as its distance from the one before, the prototype's joined
 * by \`+\`. ASCII alone, so that nothing in here can look like something else.
 *
 * © Unicode, Inc., under the Unicode License V3 (https://www.unicode.org/license.txt).
 */

/** The version of Unicode that the data is of. */
export const UNICODE = ${JSON.stringify(version)};

/** How many characters the table has. */
export const MANY = ${prototypes.size};

/** The table. */
export const CONFUSABLES = \`
${lines.join("\n")}
\`;
`,
);

function base36(number: number): string {
  return number.toString(36);
}
