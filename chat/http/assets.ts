/**
 * The page's files, as texts: they are part of the program, so that a bundle and an executable carry
 * them.
 *
 * A helper below the way of a message: the door serves what stands here. Nothing is built; only
 * comments and indentation are left out, which nobody on the other side of a network reads.
 */
import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";
import client from "../client/client.js" with { type: "text" };
import chat from "../page/chat.js" with { type: "text" };
import commands from "../page/commands.js" with { type: "text" };
import dom from "../page/dom.js" with { type: "text" };
import page from "../page/index.html" with { type: "text" };
import lists from "../page/lists.js" with { type: "text" };
import log from "../page/log.js" with { type: "text" };
import main from "../page/page.js" with { type: "text" };
import style from "../page/style.css" with { type: "text" };

/** A file of the page. */
export interface Asset {
  readonly type: string;
  readonly body: string;
  /** The same, compressed. */
  readonly gzip: Uint8Array<ArrayBuffer>;
  /** Changes with the body, and with nothing else. */
  readonly etag: string;
}

/**
 * All files of the page, by their paths on the server. Made while the module loads: a chat that starts
 * waits for storage only, so that a simulated clock knows of everything that it waits for.
 */
export const ASSETS: ReadonlyMap<string, Asset> = makeAssets();

function makeAssets(): ReadonlyMap<string, Asset> {
  const modules = {
    "/client.js": client,
    "/page/chat.js": chat,
    "/page/commands.js": commands,
    "/page/dom.js": dom,
    "/page/lists.js": lists,
    "/page/log.js": log,
    "/page/page.js": main,
  };
  const files: [path: string, type: string, body: string][] = [
    ["/", "text/html", minify(page)],
    ["/page/style.css", "text/css", minify(style)],
    ...Object.entries(modules).map(([path, text]): [string, string, string] => [
      path,
      "text/javascript",
      minify(text),
    ]),
  ];
  return new Map(files.map(([path, type, body]): [string, Asset] => [
    path,
    {
      type: `${type}; charset=utf-8`,
      body,
      gzip: new Uint8Array(gzipSync(body)),
      etag: etagOf(body),
    },
  ]));
}

/**
 * Without comments and indentation, ends of lines after which more has to come, spaces around operators
 * and braces, and what may be left out before a bracket that closes. Not a parser: the house's own files
 * have nothing in their strings that looks like a comment, or like an operator or a brace with its
 * spaces, no string over several lines that needs them, and no loop without a body.
 */
function minify(text: string): string {
  return text
    .replace(/^[ \t]*\/\*(?:(?!\*\/)[^])*\*\/[ \t]*\n/gm, "")
    .replace(/^[ \t]*\/\/.*\n/gm, "")
    .replace(/\/\*\* .*?\*\/ ?/g, "")
    .replace(/^[ \t]+|\n(?=\n)/gm, "")
    .replace(/[,;]?\n(?=[)\]}])/g, "")
    .replace(/ ([!=]==|=>?|&&|\|\||\?\??|:) /g, "$1")
    .replace(/^([\w-]+:|[?:]|if|for) | (?=\{$)|(?<=\{) | (?=\})/gm, "$1")
    .replace(/(?<=[,;{([])\n/g, "");
}

function etagOf(body: string): string {
  // Weak: whoever holds it compressed holds the same.
  return `W/"${createHash("sha256").update(body).digest("base64url").slice(0, 22)}"`;
}
