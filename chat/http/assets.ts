/**
 * The page's files, imported as texts, so that a bundle and an executable contain them.
 *
 * Nothing is built or minified: the browser gets the files as they stand in client/ and page/. Each is
 * compressed once, when the module loads, because `automaticCompression` of `Deno.serve` is missing in
 * Deno 2.5, which Deno Deploy documents, and would compress again for each request.
 */
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
import actWords from "../page/act_words.js" with { type: "text" };
import pageActs from "../page/acts.js" with { type: "text" };
import chat from "../page/chat.js" with { type: "text" };
import commandContext from "../page/command_context.js" with { type: "text" };
import commands from "../page/commands.js" with { type: "text" };
import composer from "../page/composer.js" with { type: "text" };
import conversation from "../page/conversation.js" with { type: "text" };
import dialog from "../page/dialog.js" with { type: "text" };
import direct from "../page/direct.js" with { type: "text" };
import directs from "../page/directs.js" with { type: "text" };
import dom from "../page/dom.js" with { type: "text" };
import entry from "../page/entry.js" with { type: "text" };
import ignored from "../page/ignored.js" with { type: "text" };
import page from "../page/index.html" with { type: "text" };
import lists from "../page/lists.js" with { type: "text" };
import log from "../page/log.js" with { type: "text" };
import logButtons from "../page/log_buttons.js" with { type: "text" };
import loginForm from "../page/login_form.js" with { type: "text" };
import menu from "../page/menu.js" with { type: "text" };
import messageButtons from "../page/message_buttons.js" with { type: "text" };
import moderation from "../page/moderation.js" with { type: "text" };
import notice from "../page/notice.js" with { type: "text" };
import main from "../page/page.js" with { type: "text" };
import questions from "../page/questions.js" with { type: "text" };
import readMarker from "../page/read_marker.js" with { type: "text" };
import record from "../page/record.js" with { type: "text" };
import roomList from "../page/room_list.js" with { type: "text" };
import roomConversation from "../page/room.js" with { type: "text" };
import rooms from "../page/rooms.js" with { type: "text" };
import rows from "../page/rows.js" with { type: "text" };
import scrollPosition from "../page/scroll_position.js" with { type: "text" };
import statusLine from "../page/status_line.js" with { type: "text" };
import style from "../page/style.css" with { type: "text" };
import tabSession from "../page/tab_session.js" with { type: "text" };
import tools from "../page/tools.js" with { type: "text" };
import unsent from "../page/unsent.js" with { type: "text" };
import view from "../page/view.js" with { type: "text" };

/** A file of the page. */
export interface Asset {
  /** The value of `Content-Type`. */
  readonly type: string;
  readonly body: string;
  /** The body, compressed. */
  readonly gzip: Uint8Array<ArrayBuffer>;
  /** A hash of the body. It is weak, because the compressed body has the same. */
  readonly etag: string;
}

/** The module that users of the client import from a server. */
const CLIENT_ENTRY = `// @ts-self-types="./client/client.d.ts"
export * from "./client/client.js";
`;

/**
 * All files of the page and the client, by their paths on the server. Made when the module loads: so a chat that
 * starts waits for storage only, and a simulated clock controls everything that it waits for.
 */
export const ASSETS: ReadonlyMap<string, Asset> = new Map([
  ["/", asset("text/html", page)],
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
  ["/page/act_words.js", asset("text/javascript", actWords)],
  ["/page/acts.js", asset("text/javascript", pageActs)],
  ["/page/chat.js", asset("text/javascript", chat)],
  ["/page/command_context.js", asset("text/javascript", commandContext)],
  ["/page/commands.js", asset("text/javascript", commands)],
  ["/page/composer.js", asset("text/javascript", composer)],
  ["/page/conversation.js", asset("text/javascript", conversation)],
  ["/page/dialog.js", asset("text/javascript", dialog)],
  ["/page/direct.js", asset("text/javascript", direct)],
  ["/page/directs.js", asset("text/javascript", directs)],
  ["/page/dom.js", asset("text/javascript", dom)],
  ["/page/entry.js", asset("text/javascript", entry)],
  ["/page/ignored.js", asset("text/javascript", ignored)],
  ["/page/lists.js", asset("text/javascript", lists)],
  ["/page/log.js", asset("text/javascript", log)],
  ["/page/log_buttons.js", asset("text/javascript", logButtons)],
  ["/page/login_form.js", asset("text/javascript", loginForm)],
  ["/page/menu.js", asset("text/javascript", menu)],
  ["/page/message_buttons.js", asset("text/javascript", messageButtons)],
  ["/page/moderation.js", asset("text/javascript", moderation)],
  ["/page/notice.js", asset("text/javascript", notice)],
  ["/page/page.js", asset("text/javascript", main)],
  ["/page/questions.js", asset("text/javascript", questions)],
  ["/page/read_marker.js", asset("text/javascript", readMarker)],
  ["/page/record.js", asset("text/javascript", record)],
  ["/page/room.js", asset("text/javascript", roomConversation)],
  ["/page/room_list.js", asset("text/javascript", roomList)],
  ["/page/rooms.js", asset("text/javascript", rooms)],
  ["/page/rows.js", asset("text/javascript", rows)],
  ["/page/scroll_position.js", asset("text/javascript", scrollPosition)],
  ["/page/status_line.js", asset("text/javascript", statusLine)],
  ["/page/style.css", asset("text/css", style)],
  ["/page/tab_session.js", asset("text/javascript", tabSession)],
  ["/page/tools.js", asset("text/javascript", tools)],
  ["/page/unsent.js", asset("text/javascript", unsent)],
  ["/page/view.js", asset("text/javascript", view)],
]);

function asset(type: string, body: string): Asset {
  const hash = createHash("sha256").update(body).digest("base64url").slice(0, 22);
  return {
    type: `${type}; charset=utf-8`,
    body,
    gzip: new Uint8Array(gzipSync(body)),
    etag: `W/"${hash}"`,
  };
}
