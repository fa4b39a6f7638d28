// @ts-self-types="./client.d.ts"
/**
 * The client of `chat.v1` (see PROTOCOL.md): keeps a user in the chat across lost connections, reloads
 * and restarts of the server. It delivers each event once and posts each message at most once.
 *
 * This is the module to import. Browsers, Deno and Node 22 load it and the files beside it as they are.
 */
export { ChatClient } from "./chat_client.js";
export { ChatError } from "./protocol.js";
