/**
 * The files of the page and the client, imported as texts, so that a bundle and an executable contain them.
 *
 * The page is minified (tests/page/build.ts), and its pictures are base64. The modules of the client are as they
 * stand in client/, for other sites that import them. Each file is compressed once, when the module loads,
 * because `automaticCompression` of `Deno.serve` is missing in Deno 2.5, which Deno Deploy documents, and
 * would compress again for each request.
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";
import actTypes from "../client/acts.d.ts" with { type: "text" };
import backoff from "../client/backoff.js" with { type: "text" };
import call from "../client/call.js" with { type: "text" };
import calls from "../client/calls.js" with { type: "text" };
import chatClient from "../client/chat_client.js" with { type: "text" };
import clientTypes from "../client/client.d.ts" with { type: "text" };
import client from "../client/client.js" with { type: "text" };
import connection from "../client/connection.js" with { type: "text" };
import eventTypes from "../client/events.d.ts" with { type: "text" };
import handshake from "../client/handshake.js" with { type: "text" };
import historyReader from "../client/history_reader.js" with { type: "text" };
import holds from "../client/holds.js" with { type: "text" };
import inbox from "../client/inbox.js" with { type: "text" };
import listeners from "../client/listeners.js" with { type: "text" };
import membership from "../client/membership.js" with { type: "text" };
import protocol from "../client/protocol.js" with { type: "text" };
import reconnector from "../client/reconnector.js" with { type: "text" };
import replyTypes from "../client/replies.d.ts" with { type: "text" };
import room from "../client/room.js" with { type: "text" };
import session from "../client/session.js" with { type: "text" };
import built from "../page/built.json" with { type: "json" };

/** A file of the page. */
export interface Asset {
  /** The value of `Content-Type`. */
  readonly type: string;
  readonly body: string | Uint8Array<ArrayBuffer>;
  /** The body, compressed. */
  readonly gzip: Uint8Array<ArrayBuffer>;
  /** A hash of the body. It is weak, because the compressed body has the same. */
  readonly etag: string;
}

/** The module that users of the client import from a server. */
const CLIENT_ENTRY = `// @ts-self-types="./client/client.d.ts"
export * from "./client/client.js";
`;

/** The types of the page's files, by the ends of their names. */
const TYPES: Readonly<Record<string, string>> = {
  js: "text/javascript",
  css: "text/css",
  svg: "image/svg+xml",
  png: "image/png",
  webmanifest: "application/manifest+json",
};

/**
 * The files of the page that browsers look for outside /page/. A service worker serves only paths below
 * its own.
 */
const AT_THE_ROOT = /^(icon.*|sw\.js|manifest\.webmanifest)$/;

/**
 * All files of the page and the client, by their paths on the server. Made when the module loads: so a chat that
 * starts waits for storage only, and a simulated clock controls everything that it waits for.
 */
export const ASSETS: ReadonlyMap<string, Asset> = new Map([
  ["/", asset("text/html", built["index.html"])],
  ["/client.js", asset("text/javascript", CLIENT_ENTRY)],
  ["/client/acts.d.ts", asset("text/typescript", actTypes)],
  ["/client/client.d.ts", asset("text/typescript", clientTypes)],
  ["/client/events.d.ts", asset("text/typescript", eventTypes)],
  ["/client/replies.d.ts", asset("text/typescript", replyTypes)],
  ["/client/backoff.js", asset("text/javascript", backoff)],
  ["/client/call.js", asset("text/javascript", call)],
  ["/client/calls.js", asset("text/javascript", calls)],
  ["/client/chat_client.js", asset("text/javascript", chatClient)],
  ["/client/client.js", asset("text/javascript", client)],
  ["/client/connection.js", asset("text/javascript", connection)],
  ["/client/handshake.js", asset("text/javascript", handshake)],
  ["/client/history_reader.js", asset("text/javascript", historyReader)],
  ["/client/holds.js", asset("text/javascript", holds)],
  ["/client/inbox.js", asset("text/javascript", inbox)],
  ["/client/listeners.js", asset("text/javascript", listeners)],
  ["/client/membership.js", asset("text/javascript", membership)],
  ["/client/protocol.js", asset("text/javascript", protocol)],
  ["/client/reconnector.js", asset("text/javascript", reconnector)],
  ["/client/room.js", asset("text/javascript", room)],
  ["/client/session.js", asset("text/javascript", session)],
  ...Object.entries(built).filter(([name]) => name !== "index.html").map(([name, text]) => {
    const type = TYPES[name.split(".").at(-1)!]!;
    const body = type === "image/png" ? new Uint8Array(Buffer.from(text, "base64")) : text;
    return [AT_THE_ROOT.test(name) ? `/${name}` : `/page/${name}`, asset(type, body)] as const;
  }),
]);

function asset(type: string, body: Asset["body"]): Asset {
  const hash = createHash("sha256").update(body).digest("base64url").slice(0, 22);
  return {
    type: typeof body === "string" ? `${type}; charset=utf-8` : type,
    body,
    gzip: new Uint8Array(gzipSync(body)),
    etag: `W/"${hash}"`,
  };
}
